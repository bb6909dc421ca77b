//! The Python client as a real process: what a function and its caller see is what AWS shows.

use serde_json::json;

use super::client_harness::{Function, Said, interpreters};
use super::packs::Family;
use crate::state::logging::Level;

const RUNTIME: &str = "python3.13";
const ID: &str = "8476a536-e9f4-11e8-9739-2dfe598c3fcd";

async fn run(code: &str, event: &str) -> Said {
    let function = Function::new(RUNTIME, "app.handler", &[("app.py", code)]).await;
    function.call(event).await
}

#[tokio::test]
async fn the_client_works_with_every_python_on_this_machine() {
    let code = "import logging\nlogging.getLogger().setLevel('INFO')\n\
                def handler(event, context):\n    logging.info('hi %s', event['n'])\n    \
                if event['n'] == 2:\n        raise KeyError('two')\n    return event\n";
    let found = interpreters(Family::Python).await;
    assert!(!found.is_empty(), "no python3 on this machine");
    for (release, path) in found {
        let files = [("app.py", code)];
        let function = Function::with(RUNTIME, "app.handler", &files, &[], Some(path), false).await;
        let said = function.call(r#"{"n": 1}"#).await;
        assert_eq!(said.value, json!({"n": 1}), "{release}: {said:?}");
        assert!(said.log.contains(&format!("Z\t{ID}\thi 1\n")), "{release}: {}", said.log);
        let said = function.call(r#"{"n": 2}"#).await;
        assert_eq!(said.value["errorType"], "KeyError", "{release}");
        assert_eq!(function.launches(), 1, "{release}");
    }
}

#[tokio::test]
async fn an_error_looks_as_on_aws() {
    let said = run("def handler(event, context):\n    raise ValueError('bööm')\n", "{}").await;
    assert!(said.is_error);
    assert_eq!(said.value["errorMessage"], "bööm");
    assert_eq!(said.value["errorType"], "ValueError");
    assert_eq!(said.value["requestId"], ID);
    let trace = said.value["stackTrace"][0].as_str().unwrap();
    assert!(trace.starts_with("  File \"/"), "{trace}");
    assert!(trace.ends_with("app.py\", line 2, in handler\n    raise ValueError('bööm')\n"));
    let log = &said.log;
    let expected = "[ERROR] ValueError: bööm\nTraceback (most recent call last):\n\u{a0}\u{a0}File";
    assert!(log.contains(expected), "{log}");
}

#[tokio::test]
async fn what_cannot_be_loaded_is_named() {
    let cases = [
        (
            "nope.handler",
            "",
            "Runtime.ImportModuleError",
            "Unable to import module 'nope': No module named 'nope'",
        ),
        (
            "app.handler",
            "import not_there\n",
            "Runtime.ImportModuleError",
            "Unable to import module 'app': No module named 'not_there'",
        ),
        ("app.nope", "", "Runtime.HandlerNotFound", "Handler 'nope' missing on module 'app'"),
        (
            "app",
            "",
            "Runtime.MalformedHandlerName",
            "Bad handler 'app': not enough values to unpack (expected 2, got 1)",
        ),
        (
            "sys.exit",
            "",
            "Runtime.BuiltInModuleConflict",
            "Cannot use built-in module sys as a handler module",
        ),
        ("app.handler", "1 / 0\n", "ZeroDivisionError", "division by zero"),
    ];
    for (handler, code, kind, message) in cases {
        let function = Function::new(RUNTIME, handler, &[("app.py", code)]).await;
        let said = function.call("{}").await;
        assert_eq!(said.value["errorType"], kind, "{said:?}");
        assert_eq!(said.value["errorMessage"], message);
        assert_eq!(said.value["requestId"], "");
        assert!(said.log.contains(&format!("[ERROR] {kind}: {message}\n")), "{}", said.log);
        assert!(said.is_error && function.launches() == 2);
    }
}

#[tokio::test]
async fn what_a_function_does_to_its_modules_hides_no_error_and_no_logger() {
    let raises = "def handler(event, context):\n    raise ValueError('boom')\n";
    let cuts = "import sys\ndef handler(event, context):\n    sys.path[:] = ['/nowhere']\n    raise ValueError('boom')\n";
    let leaks = "import resource\nkept = []\ndef handler(event, context):\n    \
                 resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))\n    \
                 while True: kept.append(open('/dev/null'))\n";
    let logs =
        "import logging\ndef handler(event, context):\n    logging.error('said')\n    return 1\n";
    let asks = format!("import importlib.util\nimportlib.util.find_spec('logging')\n{logs}");
    let cases = [
        (raises, "token.py", "ValueError"),
        (raises, "linecache.py", "ValueError"),
        (cuts, "other.py", "ValueError"),
        (leaks, "other.py", "OSError"),
        (logs, "token.py", ""),
        (logs, "logging.py", ""),
        (&asks, "other.py", ""),
    ];
    for (code, own, kind) in cases {
        let files = [("app.py", code), (own, "own = True\n")];
        let function = Function::new(RUNTIME, "app.handler", &files).await;
        let said = function.call("{}").await;
        match kind {
            "" => {
                assert_eq!(said.value, 1, "{own}: {said:?}");
                assert!(said.log.contains("[ERROR]") && said.log.contains("said"), "{}", said.log);
            }
            kind => assert_eq!(said.value["errorType"], kind, "{own}: {said:?}"),
        }
        assert_eq!(function.launches(), 1, "{own}");
    }
}

#[tokio::test]
async fn a_syntax_error_shows_its_line() {
    let said = run("def handler(:\n", "{}").await;
    assert_eq!(said.value["errorType"], "Runtime.UserCodeSyntaxError");
    let message = said.value["errorMessage"].as_str().unwrap();
    assert!(message.starts_with("Syntax error in module 'app': "), "{message}");
    assert!(message.ends_with("(app.py, line 1)"), "{message}");
    assert!(said.value["stackTrace"][0].as_str().unwrap().contains("Line 1\n    def handler(:"));
}

#[tokio::test]
async fn children_know_the_trace_of_the_invocation_however_they_are_started() {
    let code = r#"
import os, subprocess, sys
SHOW = "printenv _X_AMZN_TRACE_ID"
def forked():
    read, write = os.pipe()
    if os.fork() == 0:
        os.dup2(write, 1)
        os.execlp("sh", "sh", "-c", SHOW)
    os.close(write)
    os.wait()
    return os.read(read, 4096).decode()
def ran():
    os.system(SHOW + " > /tmp/%d" % os.getpid())
    with open("/tmp/%d" % os.getpid()) as told:
        os.unlink(told.name)
        return told.read()
ways = {
    "fork": forked,
    "system": ran,
    "popen": lambda: os.popen(SHOW).read(),
    "shell": lambda: subprocess.check_output(SHOW, shell=True, text=True),
    "path": lambda: subprocess.check_output(["/usr/bin/" + SHOW.split()[0], SHOW.split()[1]], text=True),
    "name": lambda: subprocess.check_output(SHOW.split(), text=True),
    "prepared": lambda: subprocess.check_output(SHOW.split(), text=True, preexec_fn=lambda: None),
}
def handler(event, context):
    mine = os.environ["_X_AMZN_TRACE_ID"]
    return [mine, ways[event]().strip()]
"#;
    let function = Function::new(RUNTIME, "app.handler", &[("app.py", code)]).await;
    // One at a time: what is told for one way is there for all others of that invocation, too.
    let mut seen = Vec::new();
    for way in ["shell", "path", "name", "prepared", "fork", "system", "popen", "shell"] {
        let said = function.call(&format!("\"{way}\"")).await;
        assert!(!said.is_error, "{way}: {said:?}");
        assert_eq!(said.value[0], said.value[1], "{way}: {said:?}");
        assert!(!seen.contains(&said.value[0]), "{way}");
        seen.push(said.value[0].clone());
    }
}

#[tokio::test]
async fn results_are_marshalled_as_on_aws() {
    let code = "import decimal\n\ndef handler(event, context):\n    return {\n        \
                'set': {1}, 'bytes': b'\\x00raw', 'none': None, 'text': {'ä': 'ö'},\n        \
                'decimal': {'a': decimal.Decimal('1.10'), 'b': [decimal.Decimal('1e3')]},\n    \
                }[event]\n";
    let function = Function::new(RUNTIME, "app.handler", &[("app.py", code)]).await;
    let said = function.call("\"set\"").await;
    assert_eq!(said.value["errorType"], "Runtime.MarshalError");
    assert_eq!(
        said.value["errorMessage"],
        "Unable to marshal response: Object of type set is not JSON serializable"
    );
    assert_eq!(said.value["stackTrace"], json!([]));
    assert_eq!(&function.call("\"bytes\"").await.raw[..], b"\x00raw");
    assert_eq!(&function.call("\"none\"").await.raw[..], b"null");
    assert_eq!(function.call("\"text\"").await.raw, r#"{"ä": "ö"}"#.as_bytes());
    assert_eq!(&function.call("\"decimal\"").await.raw[..], br#"{"a": 1.10, "b": [1E+3]}"#);
    let said = function.call("not json").await;
    assert_eq!(said.value["errorType"], "Runtime.UnmarshalError");
    assert_eq!(function.launches(), 1);
}

#[tokio::test]
async fn the_context_has_all_its_fields() {
    let code = "import os\n\ndef handler(event, context):\n    c = context\n    return [\n        \
                c.aws_request_id, c.function_name, c.function_version, c.invoked_function_arn,\n        \
                c.memory_limit_in_mb, c.log_group_name, c.log_stream_name[10:20],\n        \
                55000 < c.get_remaining_time_in_millis() <= 60000,\n        \
                c.identity.cognito_identity_id, c.client_context.custom,\n        \
                c.client_context.client.app_title, c.client_context.env,\n        \
                os.environ['_X_AMZN_TRACE_ID'][:40], '_LAMBIC_RUNTIME_FD' in os.environ,\n        \
                os.environ['AWS_EXECUTION_ENV'],\n    ]\n";
    let function = Function::new(RUNTIME, "app.handler", &[("app.py", code)]).await;
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
            null,
            {"a": "ü"},
            "t",
            {"x": 1},
            "Root=1-5759e988-bd862e3fe1be46a994272793",
            false,
            "AWS_Lambda_python3.13",
        ]),
        "{said:?}"
    );
}

#[tokio::test]
async fn what_is_printed_and_logged_is_in_the_invocation_s_log() {
    let code = "import logging, sys\nlog = logging.getLogger()\n\ndef handler(event, context):\n    \
                print('plain ä')\n    log.warning('care %d', 7)\n    log.info('quiet')\n    \
                print('err', file=sys.stderr)\n    print('no newline', end='')\n";
    let function = Function::new(RUNTIME, "app.handler", &[("app.py", code)]).await;
    function.call("{}").await;
    let log = function.call("{}").await.log;
    let lines: Vec<&str> = log.lines().collect();
    assert_eq!(lines[0], format!("START RequestId: {ID} Version: $LATEST"));
    assert_eq!(lines[1], "plain ä");
    assert!(lines[2].starts_with("[WARNING]\t20"), "{log}");
    assert!(lines[2].ends_with(&format!("Z\t{ID}\tcare 7")), "{log}");
    assert_eq!(lines[3..5], ["err", "no newline"], "{log}");
    assert_eq!(lines[5], format!("END RequestId: {ID}"));
    assert!(lines[6].starts_with(&format!("REPORT RequestId: {ID}\tDuration: ")), "{log}");
}

#[tokio::test]
async fn exits_end_the_invocation_with_an_exit_error() {
    for (code, text) in [
        ("import sys\ndef handler(e, c):\n    sys.exit(3)\n", "exited with error: exit status 3"),
        ("import sys\ndef handler(e, c):\n    sys.exit(0)\n", "exited without providing a reason"),
        ("import os\ndef handler(e, c):\n    os.kill(os.getpid(), 9)\n", "signal: killed"),
        ("import os\ndef handler(e, c):\n    os.abort()\n", "signal: aborted"),
    ] {
        let said = run(code, "{}").await;
        assert_eq!(said.value["errorType"], "Runtime.ExitError", "{said:?}");
        assert!(said.value["errorMessage"].as_str().unwrap().ends_with(text), "{said:?}");
    }
    let said = run("import sys\nsys.exit(4)\n", "{}").await;
    assert!(said.value["errorMessage"].as_str().unwrap().ends_with("exit status 4"), "{said:?}");
    assert!(said.log.contains("Phase: init\tStatus: error\tError Type: Runtime.ExitError"));
}

#[tokio::test]
async fn handlers_in_folders_and_packages() {
    let files = [("pkg/__init__.py", ""), ("pkg/sub/app.py", "def handler(e, c): return e\n")];
    for handler in ["pkg.sub.app.handler", "pkg/sub/app.handler"] {
        let function = Function::new(RUNTIME, handler, &files).await;
        assert_eq!(function.call("[1]").await.value, json!([1]), "{handler}");
    }
}

#[tokio::test]
async fn six_megabytes_go_in_and_out_and_more_is_refused() {
    let code = "def handler(e, c):\n    return 'y' * e if isinstance(e, int) else e\n";
    let function = Function::new(RUNTIME, "app.handler", &[("app.py", code)]).await;
    let event = format!("\"{}\"", "x".repeat(6 * 1024 * 1024 - 2));
    let said = function.call(&event).await;
    assert!(!said.is_error && said.raw == event.as_bytes());
    let said = function.call("7000000").await;
    assert_eq!(said.value["errorType"], "Function.ResponseSizeTooLarge");
    let text = "Response payload size (7000002 bytes) exceeded maximum allowed payload size \
                (6291556 bytes).";
    assert_eq!(said.value["errorMessage"], text);
    assert_eq!(function.call("1").await.value, "y");
    assert_eq!(function.launches(), 1);
}

#[tokio::test]
async fn without_an_inherited_socket_it_connects_by_tcp() {
    let files = [("app.py", "def handler(e, c): return e\n")];
    let function = Function::with(RUNTIME, "app.handler", &files, &[], None, true).await;
    for number in 0..3 {
        assert_eq!(function.call(&number.to_string()).await.value, number);
    }
}

#[tokio::test]
async fn the_log_level_of_the_environment_is_obeyed() {
    let code = "import logging\ndef handler(e, c):\n    logging.info('shown')\n    \
                logging.debug('hidden')\n";
    let environment = [("AWS_LAMBDA_LOG_LEVEL", "INFO")];
    let files = [("app.py", code)];
    let function = Function::with(RUNTIME, "app.handler", &files, &environment, None, false).await;
    let log = function.call("{}").await.log;
    assert!(log.contains("\tshown\n") && !log.contains("hidden"), "{log}");
}

/// A platform by hand: gives no event but a refusal.
#[tokio::test]
async fn a_client_that_is_refused_an_event_ends_quietly() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("app.py"), "def handler(e, c): print('ran')\n").unwrap();
    std::fs::write(folder.path().join("app.rb"), "def handler(event:, context:) = puts('ran')\n")
        .unwrap();
    std::fs::write(folder.path().join("app.mjs"), "export const handler = () => 'ran';").unwrap();
    let clients = super::clients::Clients::install(&folder.path().join("clients")).unwrap();
    for (family, client) in [
        (Family::Python, clients.python.join("bootstrap.py")),
        (Family::Nodejs, clients.nodejs.join("index.mjs")),
        (Family::Ruby, clients.ruby.join("bootstrap.rb")),
    ] {
        let (_, program) =
            interpreters(family).await.pop().expect("python3, node and ruby are needed");
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let child = tokio::process::Command::new(program)
            .arg(client)
            .env("AWS_LAMBDA_RUNTIME_API", listener.local_addr().unwrap().to_string())
            .env("LAMBDA_TASK_ROOT", folder.path())
            .env("_HANDLER", "app.handler")
            .current_dir(folder.path())
            .stdout(std::process::Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let (mut io, _) = listener.accept().await.unwrap();
        let mut head = [0; 1024];
        assert!(io.read(&mut head).await.unwrap() > 0);
        io.write_all(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\n{}").await.unwrap();
        let output = child.wait_with_output().await.unwrap();
        assert_eq!((output.status.code(), &output.stdout[..]), (Some(0), &b""[..]), "{family}");
    }
}

/// Takes out of a record what is another one each time, after a look at its form.
fn timeless(mut record: serde_json::Value) -> serde_json::Value {
    let members = record.as_object_mut().unwrap();
    let time = members.remove("timestamp").unwrap();
    let time = time.as_str().unwrap();
    assert!(time.len() == 24 && time.starts_with("20") && time.ends_with('Z'), "{time}");
    record
}

#[tokio::test]
async fn records_as_json() {
    let code = "import logging, sys\nlog = logging.getLogger('my.log')\n\n\
                class Odd:\n    def __str__(self): return 'odd'\n\n\
                def handler(event, context):\n    log.debug('hidden')\n    \
                log.info('two\\nlines %s', 'ä', extra={'user': {'id': 7}, 'odd': Odd()})\n    \
                try:\n        {}['key']\n    except KeyError:\n        \
                log.exception('went wrong')\n    \
                log.log(35, 'between')\n    log.critical('last')\n";
    let files = [("app.py", code)];
    for (release, path) in interpreters(Family::Python).await {
        let function = Function::with(RUNTIME, "app.handler", &files, &[], Some(path), false).await;
        let function = function.with_json_log(Level::Info);
        let said = function.call("{}").await;
        let mut records: Vec<_> = said.records().into_iter().map(timeless).collect();
        let members = |level: &str, message: &str| json!({"level": level, "message": message, "logger": "my.log", "requestId": ID});
        let mut first = members("INFO", "two\nlines ä");
        first["user"] = json!({"id": 7});
        first["odd"] = json!("odd");
        assert_eq!(records[0], first, "{release}");
        let failed = records[1].as_object_mut().unwrap();
        let location = failed.remove("location").unwrap();
        assert!(location.as_str().unwrap().ends_with("/app.py:handler:13"), "{location}");
        let trace = failed.remove("stackTrace").unwrap();
        assert!(trace[0].as_str().unwrap().contains("line 11, in handler\n    {}['key']\n"));
        let mut second = members("ERROR", "went wrong");
        second["errorType"] = json!("KeyError");
        second["errorMessage"] = json!("'key'");
        assert_eq!(records[1], second, "{release}");
        let rest = [members("WARNING", "between"), members("CRITICAL", "last")];
        assert_eq!(records[2..], rest, "{release}");
    }
}

#[tokio::test]
async fn errors_and_prints_of_a_log_as_json() {
    let code = "import logging\n\ndef handler(event, context):\n    print('plain')\n    \
                logging.warning('hidden')\n    raise ValueError('bööm')\n";
    let function = Function::new(RUNTIME, "app.handler", &[("app.py", code)]).await;
    let said = function.with_json_log(Level::Error).call("{}").await;
    let (plain, rest) = said.log.split_once('\n').unwrap();
    assert_eq!(plain, "plain", "what is printed stays as it is");
    let mut record = timeless(serde_json::from_str(rest).unwrap());
    let trace = record["stackTrace"].take();
    assert!(trace[0].as_str().unwrap().contains("line 6, in handler"), "{trace}");
    let expected = json!({"level": "ERROR", "errorMessage": "bööm", "errorType": "ValueError",
                          "requestId": ID, "stackTrace": null});
    assert_eq!(record, expected);
}

#[tokio::test]
async fn the_platform_filters_what_the_function_lets_through() {
    let code = "import json, logging\n\ndef handler(event, context):\n    \
                logging.getLogger().setLevel('DEBUG')\n    logging.debug('hidden')\n    \
                print(json.dumps({'timestamp': '2026-11-28T07:00:00Z', 'level': 'debug'}))\n    \
                logging.warning('shown')\n";
    let function = Function::new(RUNTIME, "app.handler", &[("app.py", code)]).await;
    let said = function.with_json_log(Level::Info).call("{}").await;
    let messages: Vec<_> = said.records().iter().map(|record| record["message"].clone()).collect();
    assert_eq!(messages, ["shown"]);
}

/// What is logged has lines of its own and stands where it was printed.
#[tokio::test]
async fn records_of_several_lines_keep_their_place() {
    let code = "import logging\n\ndef handler(event, context):\n    print('one', end='')\n    \
                logging.warning('two\\nthree')\n    print('four')\n    \
                logging.getLogger().handlers[0].setFormatter(None)\n    \
                logging.error('five\\nsix')\n    print('seven', flush=True)\n";
    let said = run(code, "{}").await;
    let lines: Vec<&str> = said.log.lines().collect();
    assert!(lines[2].starts_with("[WARNING]\t") && lines[2].ends_with("\ttwo"), "{}", said.log);
    assert_eq!(lines[1], "one");
    assert_eq!(lines[3..8], ["three", "four", "five", "six", "seven"]);
}

#[tokio::test]
async fn pth_files_of_the_package_count() {
    let files = [
        ("app.py", "import inner\ndef handler(event, context):\n    return [inner.x, inner.y]\n"),
        ("vendored/inner.py", "import builtins\nx = 1\ny = builtins.from_pth\n"),
        ("own.pth", "vendored\nimport builtins; builtins.from_pth = 2\n"),
    ];
    let function = Function::new(RUNTIME, "app.handler", &files).await;
    assert_eq!(function.call("{}").await.value, json!([1, 2]));
}

/// What a function that has `tool` in a layer imports, and which of our variables it sees.
async fn with_layer(environment: &[(&str, &str)]) -> Said {
    let code = "import os\ntry:\n    from tool import which\nexcept ImportError:\n    which = None\n\
                def handler(event, context):\n    \
                return [which, [name for name in os.environ if 'LAMBIC' in name]]\n";
    let files = [("app.py", code)];
    let function = Function::with(RUNTIME, "app.handler", &files, environment, None, false).await;
    assert_eq!(function.call("{}").await.value, json!([null, []]), "without layers");
    let layer = tempfile::tempdir().unwrap();
    std::fs::create_dir(layer.path().join("python")).unwrap();
    std::fs::write(layer.path().join("python/tool.py"), "which = 'the layer'\n").unwrap();
    let function = Function::with(RUNTIME, "app.handler", &files, environment, None, false).await;
    function.with_layers(layer.path()).call("{}").await
}

#[tokio::test]
async fn layers_are_on_the_module_path_unless_the_function_has_its_own() {
    assert_eq!(with_layer(&[]).await.value, json!(["the layer", []]));
    assert_eq!(with_layer(&[("PYTHONPATH", "/nowhere")]).await.value, json!([null, []]));
}

const HOOKS: &str = "\
import os, sys
from snapshot_restore_py import register_after_restore, register_before_snapshot
done = []
register_before_snapshot(done.append, 'before 1')
register_after_restore(done.append, 'after 1')
@register_before_snapshot
def before():
    done.append('before 2')
@register_after_restore
def after(of='after 2'):
    done.append(of)
def handler(event, context):
    names = ('AWS_ACCESS_KEY_ID', 'AWS_LAMBDA_LOG_STREAM_NAME', '_LAMBIC_TEMPLATE')
    given = [name for name in names if name in os.environ]
    return [done, before.__name__, given, context.log_stream_name]
";

#[tokio::test]
async fn hooks_of_snapstart_are_called_in_the_order_of_aws() {
    let files = [("app.py", HOOKS)];
    let function = Function::new(RUNTIME, "app.handler", &files).await.with_snapstart();
    let said = function.call("{}").await;
    let expected = ["before 2", "before 1", "after 1", "after 2"];
    assert_eq!(said.value, json!([expected, "before", [], null]), "{said:?}");
    assert_eq!(function.call("{}").await.value, said.value, "once");
    let plain = Function::new(RUNTIME, "app.handler", &files).await;
    let said = plain.call("{}").await;
    assert_eq!(said.value[0], json!([]), "without SnapStart there are none: {said:?}");
    // A package that brings AWS's module uses that.
    let own = include_str!("python/snapshot_restore_py.py").replace("func, args", "func, args[:0]");
    let files = [("app.py", HOOKS), ("snapshot_restore_py.py", &own)];
    let function = Function::new(RUNTIME, "app.handler", &files).await.with_snapstart();
    let said = function.call("{}").await;
    assert!(said.is_error || said.value[0] != json!(expected), "{said:?}");
}

#[tokio::test]
async fn hooks_that_fail_end_the_environment() {
    let code = |which: &str| {
        format!(
            "import snapshot_restore_py\n@snapshot_restore_py.register_{which}\ndef hook():\n    \
             raise KeyError('in a hook')\ndef handler(event, context):\n    return 1\n"
        )
    };
    let after = code("after_restore");
    let function = Function::new(RUNTIME, "app.handler", &[("app.py", &after)]).await;
    let function = function.with_snapstart();
    assert_eq!(function.refused("{}").await, "SnapStartException");
    assert_eq!(function.launches(), 1);
    function.until_gone().await;
    let before = code("before_snapshot");
    let function = Function::new(RUNTIME, "app.handler", &[("app.py", &before)]).await;
    let said = function.with_snapstart().call("{}").await;
    assert_eq!((said.is_error, &said.value["errorType"]), (true, &json!("KeyError")), "{said:?}");
    assert!(said.log.contains("Error Type: Runtime.BeforeSnapshotError"), "{}", said.log);
}
