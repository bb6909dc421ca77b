//! The Ruby client as a real process: what a function and its caller see is what AWS shows.

use serde_json::{Value, json};

use super::client_harness::{Function, Said, interpreters};
use super::packs::Family;
use crate::state::logging::Level;

const RUNTIME: &str = "ruby3.4";
const ID: &str = "8476a536-e9f4-11e8-9739-2dfe598c3fcd";

async fn run(code: &str, event: &str) -> Said {
    let function = Function::new(RUNTIME, "app.handler", &[("app.rb", code)]).await;
    function.call(event).await
}

fn text<'a>(said: &'a Said, member: &str) -> &'a str {
    said.value[member].as_str().unwrap_or_else(|| panic!("no {member}: {said:?}"))
}

fn list(said: &Said) -> &[Value] {
    said.value.as_array().unwrap_or_else(|| panic!("no list: {said:?}"))
}

#[tokio::test]
async fn the_client_works_with_every_ruby_on_this_machine() {
    let code = "LOG = Logger.new($stdout)\ndef handler(event:, context:)\n  LOG.info(\"hi #{event['n']}\")\n  \
                raise KeyError, 'two' if event['n'] == 2\n  event\nend\n";
    let found = interpreters(Family::Ruby).await;
    assert!(!found.is_empty(), "no ruby on this machine");
    for (release, path) in found {
        let files = [("app.rb", code)];
        let function = Function::with(RUNTIME, "app.handler", &files, &[], Some(path), false).await;
        let said = function.call(r#"{"n": 1}"#).await;
        assert_eq!(said.value, json!({"n": 1}), "{release}: {said:?}");
        assert!(said.log.contains(&format!("]  INFO {ID} -- : hi 1\n")), "{release}: {}", said.log);
        let said = function.call(r#"{"n": 2}"#).await;
        assert_eq!(said.value["errorType"], "Function<KeyError>", "{release}");
        assert_eq!(function.launches(), 1, "{release}");
    }
}

#[tokio::test]
async fn every_form_of_handler() {
    let code = "def handler(event:, context:) = ['method', event]\n\
                class Plain\n  def self.process(event:, context:) = ['class', event]\nend\n\
                module Deep\n  class Inner\n    class << self\n      def process(event:, **) = ['deep', event]\n    \
                end\n  end\nend\ndef options(**options) = options.keys\ndef call_it(event:, context:) = event\n";
    for (handler, file, expected) in [
        ("app.handler", "app.rb", json!(["method", 7])),
        ("app.Plain.process", "app.rb", json!(["class", 7])),
        ("app.Deep::Inner.process", "app.rb", json!(["deep", 7])),
        ("src/app.handler", "src/app.rb", json!(["method", 7])),
        ("lib/deep/app.Plain.process", "lib/deep/app.rb", json!(["class", 7])),
        ("app.options", "app.rb", json!(["event", "context"])),
        ("app.call_it", "app.rb", json!(7)),
    ] {
        let function = Function::new(RUNTIME, handler, &[(file, code)]).await;
        for _ in 0..2 {
            let said = function.call("7").await;
            assert_eq!(said.value, expected, "{handler}: {said:?}");
        }
        assert_eq!(function.launches(), 1, "{handler}");
    }
}

#[tokio::test]
async fn an_error_looks_as_on_aws() {
    let code =
        "def inner = raise(ArgumentError, 'bööm')\ndef handler(event:, context:)\n  inner\nend\n";
    let function = Function::new(RUNTIME, "app.handler", &[("app.rb", code)]).await;
    for _ in 0..2 {
        let said = function.call("{}").await;
        assert!(said.is_error);
        let members: Vec<&String> = said.value.as_object().unwrap().keys().collect();
        assert_eq!(members, ["errorMessage", "errorType", "stackTrace"]);
        assert_eq!(
            (text(&said, "errorMessage"), text(&said, "errorType")),
            ("bööm", "Function<ArgumentError>")
        );
        let trace = said.value["stackTrace"].as_array().unwrap();
        assert_eq!(trace.len(), 2, "nothing of the client is in it: {said:?}");
        assert!(trace[0].as_str().unwrap().contains("/app.rb:1:in "), "{said:?}");
        let log = &said.log;
        let expected = "Error raised from handler method\n{\n  \"errorMessage\": \"bööm\",\n  \
                        \"errorType\": \"Function<ArgumentError>\",\n  \"stackTrace\": [\n    \"/";
        assert!(log.contains(expected), "{log}");
    }
    assert_eq!(function.launches(), 1, "it goes on");
}

/// After these AWS's client ends, so that the next invocation has a fresh environment.
#[tokio::test]
async fn critical_errors_are_told_and_end_the_process() {
    let cases = [
        ("nowhere", "NameError", "undefined local variable or method"),
        ("nil.nowhere", "NoMethodError", "undefined method"),
        ("def deep = deep\n  deep", "SystemStackError", "stack level too deep"),
        ("exit 3", "SystemExit", "exit"),
        ("require 'not/there'", "LoadError", "cannot load such file -- not/there"),
        ("eval('(')", "SyntaxError", ""),
        ("raise Exception, 'bare'", "Exception", "bare"),
    ];
    for (code, kind, message) in cases {
        let code = format!("def handler(event:, context:)\n  {code}\nend\n");
        let files = [("app.rb", code.as_str())];
        let function = Function::new(RUNTIME, "app.handler", &files).await;
        let said = function.call("{}").await;
        assert_eq!(text(&said, "errorType"), format!("Function<{kind}>"), "{said:?}");
        assert!(text(&said, "errorMessage").starts_with(message), "{said:?}");
        assert!(!text(&said, "errorMessage").contains("^^"), "no picture of the line: {said:?}");
        // A hundred frames leave nothing else in the end of the log.
        let is_told = said.log.contains("Critical exception from handler\n{\n");
        assert!(is_told || kind == "SystemStackError", "{}", said.log);
        function.until_gone().await;
        function.call("{}").await;
        assert_eq!(function.launches(), 2, "{kind}");
    }
}

#[tokio::test]
async fn what_cannot_be_loaded_is_named() {
    let cases = [
        ("nope.handler", "", "Init<LoadError>", "cannot load such file -- nope"),
        (
            "app.handler",
            "require 'not_there'",
            "Init<LoadError>",
            "cannot load such file -- not_there",
        ),
        ("app.handler", "1 / 0", "Init<ZeroDivisionError>", "divided by 0"),
        ("app.handler", "def handler(", "Init<SyntaxError>", ""),
        ("app.handler", "exit 3", "Init<SystemExit>", "exit"),
        (
            "app",
            "",
            "Init<ArgumentError>",
            "Invalid handler [\"app\"], must be of form FILENAME.METHOD",
        ),
        (
            "a.b.c.d",
            "",
            "Init<ArgumentError>",
            "Invalid handler [\"a\", \"b\", \"c\", \"d\"], must be",
        ),
    ];
    for (handler, code, kind, message) in cases {
        let function = Function::new(RUNTIME, handler, &[("app.rb", code)]).await;
        let said = function.call("{}").await;
        assert_eq!(text(&said, "errorType"), kind, "{said:?}");
        assert!(text(&said, "errorMessage").starts_with(message), "{said:?}");
        assert!(said.log.contains("Init error when loading handler \n{\n"), "{}", said.log);
        assert!(said.is_error && function.launches() == 2);
    }
    for (handler, kind) in [
        ("app.nope", "NoMethodError"),
        ("app.No::Such.x", "NameError"),
        ("app.Here.x", "NoMethodError"),
    ] {
        let function = Function::new(RUNTIME, handler, &[("app.rb", "class Here; end\n")]).await;
        let said = function.call("{}").await;
        assert_eq!(text(&said, "errorType"), format!("Function<{kind}>"), "{said:?}");
    }
}

#[tokio::test]
async fn results_are_marshalled_as_on_aws() {
    let code = "def handler(event:, context:)\n  case event\n  when 'nil' then nil\n  when 'text' then { ä: :ö, n: 1.5 }\n  \
                when 'string' then \"x\"\n  when 'stream' then StringIO.new(\"\\x00raw\")\n  \
                when 'file' then File.open(__FILE__)\n  when 'object' then Object\n  \
                when 'nan' then Float::NAN\n  when 'closed' then StringIO.new('').tap(&:close)\n  end\nend\n";
    let function = Function::new(RUNTIME, "app.handler", &[("app.rb", code)]).await;
    for (event, answer) in [
        ("nil", &b"null"[..]),
        ("text", "{\"ä\":\"ö\",\"n\":1.5}".as_bytes()),
        ("string", b"\"x\""),
        ("stream", b"\x00raw"),
        ("file", code.as_bytes()),
        ("object", b"\"Object\""),
    ] {
        let said = function.call(&format!("\"{event}\"")).await;
        assert_eq!(&said.raw[..], answer, "{event}: {said:?}");
    }
    let said = function.call("\"nan\"").await;
    assert_eq!(text(&said, "errorType"), "Function<JSON::GeneratorError>");
    assert_eq!(function.launches(), 1);
    let said = function.call("\"closed\"").await;
    assert_eq!(text(&said, "errorType"), "Runtime<IOError>");
}

#[tokio::test]
async fn a_function_may_bring_its_own_marshaller() {
    let code = "class AwsLambda::Marshaller\n  def self.marshall_request(raw) = raw['Content-Type'] + raw.body\n  \
                def self.marshall_response(value) = [value.upcase, 'text/plain']\nend\n\
                def handler(event:, context:) = event\n";
    let said = run(code, "[1]").await;
    assert_eq!(&said.raw[..], b"APPLICATION/JSON[1]");
}

#[tokio::test]
async fn the_context_has_all_its_fields() {
    let code = "def handler(event:, context:)\n  c = context\n  [c.aws_request_id, c.function_name, c.function_version,\n   \
                c.invoked_function_arn, c.memory_limit_in_mb, c.log_group_name, c.log_stream_name[10, 10],\n   \
                (55_000..60_000).cover?(c.get_remaining_time_in_millis), c.deadline_ms > 0, c.identity,\n   \
                c.client_context, c.tenant_id, ENV['_X_AMZN_TRACE_ID'][0, 40], ENV.keys.grep(/LAMBIC/),\n   \
                ENV['AWS_EXECUTION_ENV'], $_global_aws_request_id]\nend\n";
    let function = Function::new(RUNTIME, "app.handler", &[("app.rb", code)]).await;
    let context = r#"{"custom":{"a":"ü"},"client":{"app_title":"t"},"env":{"x":1}}"#;
    let said = function.call_with(b"{}", Some(context)).await;
    assert_eq!(
        said.value,
        json!([
            ID,
            "f",
            "$LATEST",
            "arn:aws:lambda:eu-central-1:000000000000:function:f:live",
            "256",
            "/aws/lambda/f",
            "/[$LATEST]",
            true,
            true,
            null,
            {"custom": {"a": "ü"}, "client": {"app_title": "t"}, "env": {"x": 1}},
            null,
            "Root=1-5759e988-bd862e3fe1be46a994272793",
            [],
            "AWS_Lambda_ruby3.4",
            ID,
        ]),
        "{said:?}"
    );
}

#[tokio::test]
async fn what_aws_has_loaded_can_be_used_by_name() {
    let code = "def handler(event:, context:)\n  [JSON.generate([1]), Time.parse('2026-11-28T00:00:00Z').to_i, Net::HTTP.name, URI('http://x/y').path,\n   \
                Logger.name, StringIO.new('s').read, Timeout.name, OpenSSL.name, TCPSocket.name,\n   \
                Encoding.default_external.to_s, ENV['OWN'], ENV['OWN'].encoding.to_s, ENV.key?('LC_CTYPE')]\nend\n";
    let files = [("app.rb", code)];
    let function =
        Function::with(RUNTIME, "app.handler", &files, &[("OWN", "ä")], None, false).await;
    let said = function.call("{}").await;
    let expected = json!([
        "[1]",
        1_795_824_000,
        "Net::HTTP",
        "/y",
        "Logger",
        "s",
        "Timeout",
        "OpenSSL",
        "TCPSocket",
        "UTF-8",
        "ä",
        "UTF-8",
        false
    ]);
    assert_eq!(said.value, expected, "{said:?}");
}

#[tokio::test]
async fn a_locale_of_the_function_s_own_is_kept() {
    let code = "def handler(event:, context:) = [ENV['LC_CTYPE'], ENV.keys.grep(/LAMBIC/)]\n";
    let files = [("app.rb", code)];
    let own = [("LC_CTYPE", "C.UTF-8")];
    let said = Function::with(RUNTIME, "app.handler", &files, &own, None, false).await;
    assert_eq!(said.call("{}").await.value, json!(["C.UTF-8", []]));
}

#[tokio::test]
async fn what_is_printed_and_logged_is_in_the_invocation_s_log() {
    let code = "require 'logger'\nLOG = Logger.new($stderr, progname: 'p')\nFILE = Logger.new('/dev/null')\n\
                def handler(event:, context:)\n  puts 'plain ä', [1, [nil]]\n  print 'one'\n  puts \"two\\nthree\"\n  \
                LOG.warn(\"care\\n7\")\n  LOG.debug { 'block' }\n  FILE.error('elsewhere')\n  warn 'err'\n  \
                $stdout = StringIO.new\n  puts 'caught'\n  caught = $stdout.string\n  $stdout = STDOUT\n  p caught\n  \
                STDOUT.sync = false\n  print 'no newline'\nend\n";
    let function = Function::new(RUNTIME, "app.handler", &[("app.rb", code)]).await;
    function.call("{}").await;
    let log = function.call("{}").await.log;
    let lines: Vec<&str> = log.lines().collect();
    assert_eq!(lines[0], format!("START RequestId: {ID} Version: $LATEST"));
    assert_eq!(lines[1..7], ["plain ä", "1", "", "one", "two", "three"], "{log}");
    assert!(lines[7].starts_with("W, [20"), "{log}");
    assert!(lines[7].ends_with(&format!("]  WARN {ID} -- p: care")), "{log}");
    assert_eq!(lines[8], "7");
    assert!(lines[9].ends_with(&format!("] DEBUG {ID} -- p: block")), "{log}");
    assert_eq!(lines[10..13], ["err", "\"caught\\n\"", "no newline"], "{log}");
    assert_eq!(lines[13], format!("END RequestId: {ID}"));
}

#[tokio::test]
async fn loggers_of_the_function_s_own_making_keep_it() {
    let code = "class Loud < Logger\n  def initialize(device) = super(device, level: :error)\nend\n\
                OWN = Logger.new($stdout, formatter: proc { |level, _, _, text| \"#{level}! #{text}\\n\" })\n\
                def handler(event:, context:)\n  OWN.info('own')\n  Loud.new($stdout).warn('hidden')\n  \
                Loud.new($stdout).error('loud')\n  Object.singleton_methods(false)\nend\n";
    let said = run(code, "{}").await;
    let lines: Vec<&str> = said.log.lines().collect();
    assert_eq!((&said.value, lines[1]), (&json!([]), "INFO! own"), "{}", said.log);
    assert!(lines[2].ends_with("-- : loud") && !said.log.contains("hidden"), "{}", said.log);
}

#[tokio::test]
async fn the_log_level_of_the_environment_is_obeyed() {
    let code = "def handler(event:, context:)\n  Logger.new(STDOUT).info('hidden')\n  \
                Logger.new(STDOUT).warn('shown')\n  Logger.new(STDOUT, level: 0).debug('asked for')\nend\n";
    let environment = [("AWS_LAMBDA_LOG_LEVEL", "WARN")];
    let files = [("app.rb", code)];
    let function = Function::with(RUNTIME, "app.handler", &files, &environment, None, false).await;
    let log = function.call("{}").await.log;
    assert!(log.contains(": shown\n") && log.contains(": asked for\n"), "{log}");
    assert!(!log.contains("hidden"), "{log}");
}

#[tokio::test]
async fn records_as_json() {
    let code = "LOG = Logger.new($stdout, progname: 'my.log')\n\
                def handler(event:, context:)\n  LOG.debug('hidden')\n  LOG.info(\"two\\nlines ä\")\n  \
                begin\n    {}.fetch('key')\n  rescue KeyError => e\n    LOG.error(e)\n  end\n  LOG.fatal('last')\nend\n";
    let function = Function::new(RUNTIME, "app.handler", &[("app.rb", code)]).await;
    let said = function.with_json_log(Level::Info).call("{}").await;
    let mut records = said.records();
    for record in &mut records {
        let time = record.as_object_mut().unwrap().remove("timestamp").unwrap();
        let time = time.as_str().unwrap();
        assert!(time.len() == 27 && time.starts_with("20") && time.ends_with('Z'), "{time}");
    }
    let members = |level: &str, message: &str| json!({"level": level, "message": message, "logger": "my.log", "requestId": ID});
    assert_eq!(records[0], members("INFO", "two\nlines ä"));
    let failed = records[1].as_object_mut().unwrap();
    let location = failed.remove("location").unwrap();
    assert!(
        location.as_str().unwrap().ends_with(":5") || location.as_str().unwrap().ends_with(":6"),
        "{location}"
    );
    let trace = failed.remove("stackTrace").unwrap();
    assert!(trace[0].as_str().unwrap().contains("app.rb:"), "{trace}");
    let mut second = members("ERROR", "key not found: \"key\"");
    second["errorType"] = json!("KeyError");
    second["errorMessage"] = json!("key not found: \"key\"");
    assert_eq!(records[1], second);
    assert_eq!(records[2..], [members("FATAL", "last")]);
}

#[tokio::test]
async fn ends_of_the_process_are_exit_errors() {
    for (code, text) in [
        ("exit!(3)", "exited with error: exit status 3"),
        ("exit!(0)", "exited without providing a reason"),
        ("Process.kill(9, $$); sleep", "signal: killed"),
    ] {
        let said = run(&format!("def handler(event:, context:)\n  {code}\nend\n"), "{}").await;
        assert_eq!(said.value["errorType"], "Runtime.ExitError", "{said:?}");
        assert!(said.value["errorMessage"].as_str().unwrap().ends_with(text), "{said:?}");
    }
}

#[tokio::test]
async fn six_megabytes_go_in_and_out_and_more_is_refused() {
    let code = "def handler(event:, context:) = event.is_a?(Integer) ? 'y' * event : event\n";
    let function = Function::new(RUNTIME, "app.handler", &[("app.rb", code)]).await;
    let event = format!("\"{}\"", "x".repeat(6 * 1024 * 1024 - 2));
    let said = function.call(&event).await;
    assert!(!said.is_error && said.raw == event.as_bytes());
    let said = function.call("7000000").await;
    assert_eq!(said.value["errorType"], "Function.ResponseSizeTooLarge");
    assert_eq!(function.call("1").await.value, "y");
    assert_eq!(function.launches(), 1);
}

#[tokio::test]
async fn without_an_inherited_socket_it_connects_by_tcp() {
    let files = [("app.rb", "def handler(event:, context:) = event\n")];
    let function = Function::with(RUNTIME, "app.handler", &files, &[], None, true).await;
    for number in 0..3 {
        assert_eq!(function.call(&number.to_string()).await.value, number);
    }
}

/// What `gem` would have installed: a gem of one file.
fn gem(folder: &str, name: &str, version: &str, code: &str) -> [(String, String); 2] {
    let specification = format!(
        "Gem::Specification.new do |s|\n  s.name = \"{name}\"\n  s.version = \"{version}\"\n  s.summary = \"x\"\n  \
         s.authors = [\"x\"]\n  s.require_paths = [\"lib\"]\n  s.files = [\"lib/{name}.rb\"]\nend\n"
    );
    [
        (format!("{folder}/specifications/{name}-{version}.gemspec"), specification),
        (format!("{folder}/gems/{name}-{version}/lib/{name}.rb"), code.to_owned()),
    ]
}

const GEMS: &str = "require 'bundled'\nrequire 'layered'\nrequire 'plain'\n\
                    def handler(event:, context:)\n  began = File.read('/proc/self/environ').include?('_LAMBIC_SPARE=1')\n  \
                    [Bundled::IT, Layered::IT, Plain::IT, JSON::VERSION, Gem.loaded_specs['json'].version.to_s, began]\nend\n";

/// A package with a gem and a layer with another, for this version of Ruby.
async fn with_gems(runtime: &str, version: &str, more: &[(String, String)]) -> Said {
    let bundle = format!("vendor/bundle/ruby/{version}");
    let mut files = vec![("app.rb".to_owned(), GEMS.to_owned())];
    files.extend(gem(&bundle, "bundled", "1.2", "module Bundled; IT = 'the bundle'; end"));
    files.extend(more.iter().cloned());
    let layer = tempfile::tempdir().unwrap();
    let gems = format!("ruby/gems/{version}");
    let mut layered = gem(&gems, "layered", "3", "module Layered; IT = 'the layer'; end").to_vec();
    layered.push(("ruby/lib/plain.rb".to_owned(), "module Plain; IT = 'its lib'; end".to_owned()));
    for (path, text) in layered {
        let path = layer.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    let files: Vec<(&str, &str)> =
        files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    let function = Function::new(runtime, "app.handler", &files).await;
    function.with_layers(layer.path()).call("{}").await
}

fn own_version(release: &str) -> String {
    let mut numbers = release.split('.');
    format!("{}.{}.0", numbers.next().unwrap(), numbers.next().unwrap())
}

#[tokio::test]
async fn gems_of_the_package_and_of_layers_are_found() {
    let (release, _) = interpreters(Family::Ruby).await.pop().expect("ruby is needed");
    // Those for the version that serves, and those for the one that the function asks for.
    for version in [own_version(&release), "3.4.0".to_owned()] {
        let said = with_gems(RUNTIME, &version, &[]).await;
        assert_eq!(
            list(&said)[..3],
            [json!("the bundle"), json!("the layer"), json!("its lib")],
            "{said:?}"
        );
        assert_eq!(said.value[3], said.value[4], "{said:?}");
    }
}

/// As on AWS a newer gem in the place of one that the client loads is the one that is loaded. What only
/// a fresh start can give is not made from a spare.
#[tokio::test]
async fn a_gem_that_the_client_uses_may_be_the_function_s_own() {
    let (release, _) = interpreters(Family::Ruby).await.pop().expect("ruby is needed");
    let version = own_version(&release);
    // The machine's own, under another number.
    let code = "v = $VERBOSE\n$VERBOSE = nil\nload RbConfig::CONFIG['rubylibdir'] + '/json.rb'\n\
                JSON::VERSION.replace('99.1') rescue JSON.const_set(:VERSION, '99.1')\n$VERBOSE = v\n";
    let own = gem(&format!("vendor/bundle/ruby/{version}"), "json", "99.1", code);
    let said = with_gems(RUNTIME, &version, &own).await;
    assert_eq!(list(&said)[3..], [json!("99.1"), json!("99.1"), json!(false)], "{said:?}");
    let shadow =
        [("time.rb".to_owned(), "class Time; def self.parse(text) = 'mine'; end\n".to_owned())];
    let said = with_gems(RUNTIME, &version, &shadow).await;
    assert_eq!(said.value[5], json!(false), "{said:?}");
}

#[tokio::test]
async fn a_gem_path_of_the_function_s_own_counts() {
    let code = "require 'other'\ndef handler(event:, context:) = Other::IT\n";
    let mut files = vec![("app.rb".to_owned(), code.to_owned())];
    files.extend(gem("gems", "other", "1", "module Other; IT = 'own path'; end"));
    let files: Vec<(&str, &str)> =
        files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    let own = [("GEM_PATH", "/var/task/gems")];
    let function = Function::with(RUNTIME, "app.handler", &files, &own, None, false).await;
    assert_eq!(function.call("{}").await.value, Value::from("own path"));
}
