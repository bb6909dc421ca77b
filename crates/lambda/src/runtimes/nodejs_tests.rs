//! The Node.js client as a real process: what a function and its caller see is what AWS shows.

use serde_json::json;

use super::client_harness::{Function, Said};
use crate::state::logging::Level;

const RUNTIME: &str = "nodejs20.x";
const ID: &str = "8476a536-e9f4-11e8-9739-2dfe598c3fcd";

async fn run(code: &str, event: &str) -> Said {
    Function::new(RUNTIME, "index.handler", &[("index.js", code)]).await.call(event).await
}

#[tokio::test]
async fn every_kind_of_module_and_handler() {
    let module = "export const handler = async (e) => e;";
    let common = "exports.handler = async (e) => e;";
    let cases: [(&str, &[(&str, &str)]); 9] = [
        ("index.handler", &[("index.js", common)]),
        ("index.handler", &[("index.cjs", common)]),
        ("index.handler", &[("index.mjs", module)]),
        ("index.handler", &[("index.js", module), ("package.json", r#"{"type":"module"}"#)]),
        ("src/deep/index.handler", &[("src/deep/index.js", common)]),
        ("index.a.b", &[("index.js", "exports.a = {b: async (e) => e};")]),
        ("index.handler", &[("index.js", "exports.handler = (e, c, done) => done(null, e);")]),
        ("index.handler", &[("index.js", "exports.handler = (e, c) => c.succeed(e);")]),
        ("index.handler", &[("index.js", "exports.handler = (e, c) => { c.done(null, e); };")]),
    ];
    for (handler, files) in cases {
        let function = Function::new(RUNTIME, handler, files).await;
        for number in 1..4 {
            let said = function.call(&number.to_string()).await;
            assert_eq!(said.value, number, "{files:?}: {said:?}");
        }
        assert_eq!(function.launches(), 1, "{files:?}");
    }
}

#[tokio::test]
async fn errors_look_as_on_aws() {
    for code in [
        "exports.handler = async () => { throw new TypeError('bööm'); };",
        "exports.handler = () => { throw new TypeError('bööm'); };",
        "exports.handler = (e, c, done) => done(new TypeError('bööm'));",
        "exports.handler = (e, c) => c.fail(new TypeError('bööm'));",
    ] {
        let said = run(code, "{}").await;
        assert!(said.is_error, "{said:?}");
        assert_eq!(said.value["errorType"], "TypeError");
        assert_eq!(said.value["errorMessage"], "bööm");
        assert_eq!(said.value["trace"][0], "TypeError: bööm");
        assert!(said.value["trace"][1].as_str().unwrap().contains("index.js:1"), "{said:?}");
        let line = format!("Z\t{ID}\tERROR\tInvoke Error \t{{\"errorType\":\"TypeError\",");
        assert!(said.log.contains(&line), "{}", said.log);
    }
    let said = run("exports.handler = async () => { throw 'text'; };", "{}").await;
    assert_eq!(said.raw, r#"{"errorType":"string","errorMessage":"text","trace":[]}"#);
    let said = run("exports.handler = (e, c) => c.fail();", "{}").await;
    assert_eq!(said.value["errorMessage"], "handled");
}

#[tokio::test]
async fn what_cannot_be_loaded_is_named() {
    let cases = [
        ("nope.handler", "", "Runtime.ImportModuleError", "Error: Cannot find module 'nope'"),
        (
            "index.handler",
            "require('not-there')",
            "Runtime.ImportModuleError",
            "Error: Cannot find module 'not-there'\nRequire stack:\n- ",
        ),
        (
            "index.nope",
            "exports.handler = 1",
            "Runtime.HandlerNotFound",
            "index.nope is undefined or not exported",
        ),
        (
            "index.handler",
            "exports.handler = 1",
            "Runtime.HandlerNotFound",
            "index.handler is not a function",
        ),
        ("index", "", "Runtime.MalformedHandlerName", "Bad handler"),
        ("../x.handler", "", "Runtime.MalformedHandlerName", "'../x.handler' is not a valid"),
        ("index.handler", "exports.handler = (", "Runtime.UserCodeSyntaxError", "SyntaxError: Un"),
        ("index.handler", "throw new RangeError('r')", "RangeError", "r"),
        (
            "index.handler",
            "Promise.reject(new Error('lost')); exports.handler = () => new Promise(() => {});",
            "Runtime.UnhandledPromiseRejection",
            "Error: lost",
        ),
    ];
    for (handler, code, kind, message) in cases {
        let function = Function::new(RUNTIME, handler, &[("index.js", code)]).await;
        let said = function.call("{}").await;
        assert_eq!(said.value["errorType"], kind, "{code}: {said:?}");
        let text = said.value["errorMessage"].as_str().unwrap();
        assert!(text.starts_with(message), "{text}");
        assert!(said.is_error, "{said:?}");
        assert!(said.value["trace"].is_array());
    }
}

#[tokio::test]
async fn crashes_are_the_invocation_s_error_and_end_the_process() {
    let cases = [
        (
            "exports.handler = () => new Promise(() => { setTimeout(() => { throw new Error('late') }, 1) });",
            "Error",
            "late",
        ),
        (
            "exports.handler = () => new Promise(() => { Promise.reject(new Error('lost')) });",
            "Runtime.UnhandledPromiseRejection",
            "Error: lost",
        ),
    ];
    for (code, kind, message) in cases {
        let function = Function::new(RUNTIME, "index.handler", &[("index.js", code)]).await;
        let said = function.call("{}").await;
        assert_eq!(said.value["errorType"], kind, "{said:?}");
        assert_eq!(said.value["errorMessage"], message);
        function.call("{}").await;
        assert_eq!(function.launches(), 2, "the process goes on after {message}");
    }
    let said = run("exports.handler = () => process.exit(7);", "{}").await;
    let text = said.value["errorMessage"].as_str().unwrap();
    assert!(text.ends_with("Runtime exited with error: exit status 7"), "{said:?}");
}

#[tokio::test]
async fn callbacks_are_refused_from_node_24_on() {
    let code = "exports.handler = (event, context, done) => done(null, 1);";
    let function = Function::new("nodejs24.x", "index.handler", &[("index.js", code)]).await;
    let said = function.call("{}").await;
    assert!(said.is_error);
    assert_eq!(said.value["errorType"], "Runtime.CallbackHandlerDeprecated", "{said:?}");
}

#[tokio::test]
async fn callbacks_wait_for_an_empty_loop_unless_told_otherwise() {
    let code = "let ran = 0; exports.handler = (wait, context, done) => {\n\
                if (wait === null) return;\n\
                context.callbackWaitsForEmptyEventLoop = wait;\n\
                setTimeout(() => { ran += 1; }, 30);\n\
                done(null, { get ran() { return ran; } });\n};";
    let function = Function::new(RUNTIME, "index.handler", &[("index.js", code)]).await;
    assert_eq!(function.call("true").await.value, json!({"ran": 1}));
    assert_eq!(function.call("false").await.value, json!({"ran": 1}));
    let said = function.call("null").await;
    assert_eq!((&said.raw[..], said.is_error), (&b"null"[..], false), "{said:?}");
    assert_eq!(function.launches(), 1);
}

#[tokio::test]
async fn results_are_json_or_null() {
    let code = "exports.handler = async (e) => ({u: undefined, n: null, t: {'ä': 'ö'}, \
                b: 1n}[e]);";
    let function = Function::new(RUNTIME, "index.handler", &[("index.js", code)]).await;
    assert_eq!(&function.call("\"u\"").await.raw[..], b"null");
    assert_eq!(&function.call("\"n\"").await.raw[..], b"null");
    assert_eq!(function.call("\"t\"").await.raw, r#"{"ä":"ö"}"#);
    let said = function.call("\"b\"").await;
    assert_eq!(said.value["errorMessage"], "Unable to stringify response body", "{said:?}");
    let said = function.call("not json").await;
    assert_eq!(said.value["errorType"], "SyntaxError");
    assert_eq!(function.launches(), 1);
}

#[tokio::test]
async fn the_context_has_all_its_fields() {
    let code = "exports.handler = async (e, c) => [c.awsRequestId, c.functionName, \
                c.functionVersion, c.invokedFunctionArn, c.memoryLimitInMB, c.logGroupName, \
                c.logStreamName.slice(10, 20), c.clientContext, c.identity === undefined, \
                c.getRemainingTimeInMillis() > 55000 && c.getRemainingTimeInMillis() <= 60000, \
                c.callbackWaitsForEmptyEventLoop, process.env._X_AMZN_TRACE_ID.slice(0, 40), \
                process.env._LAMBIC_RUNTIME_FD === undefined];";
    let function = Function::new(RUNTIME, "index.handler", &[("index.js", code)]).await;
    let said = function.call_with(b"{}", Some(r#"{"custom":{"a":"ü"}}"#)).await;
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
            {"custom": {"a": "ü"}},
            true,
            true,
            true,
            "Root=1-5759e988-bd862e3fe1be46a994272793",
            true,
        ]),
        "{said:?}"
    );
}

#[tokio::test]
async fn the_console_writes_as_on_aws() {
    let code = "console.log('at start'); exports.handler = async () => { console.log('a %d', 1, \
                {b: 2}); console.warn('w'); console.error('two\\nlines'); console.debug('d'); \
                process.stdout.write('plain\\n'); };";
    let function = Function::new(RUNTIME, "index.handler", &[("index.js", code)]).await;
    let first = function.call("{}").await.log;
    assert!(first.contains("Z\tundefined\tINFO\tat start\n"), "{first}");
    let log = function.call("{}").await.log;
    for line in ["INFO\ta 1 { b: 2 }", "WARN\tw", "ERROR\ttwo\nlines", "DEBUG\td"] {
        assert!(log.contains(&format!("Z\t{ID}\t{line}\n")), "{line}: {log}");
    }
    assert!(log.contains("\nplain\n") && !log.contains("at start"), "{log}");
}

#[tokio::test]
async fn streams_are_gathered() {
    let code = "exports.handler = awslambda.streamifyResponse(async (event, out) => {\n\
                if (event.fail) throw new Error('half-way');\n\
                if (event.http) out = awslambda.HttpResponseStream.from(out, {statusCode: 201});\n\
                out.write('a'); out.write(Buffer.from('b')); out.write({c: 1}); out.end();\n});";
    let function = Function::new(RUNTIME, "index.handler", &[("index.js", code)]).await;
    assert_eq!(&function.call("{}").await.raw[..], br#"ab{"c":1}"#);
    let said = function.call(r#"{"http":true}"#).await;
    assert_eq!(&said.raw[..], b"{\"statusCode\":201}\0\0\0\0\0\0\0\0ab{\"c\":1}");
    let said = function.call(r#"{"fail":true}"#).await;
    assert_eq!(said.value["errorMessage"], "half-way");
    assert_eq!(function.launches(), 1);
}

#[tokio::test]
async fn six_megabytes_go_in_and_out_and_more_is_refused() {
    let code = "exports.handler = async (e) => typeof e === 'number' ? 'y'.repeat(e) : e;";
    let function = Function::new(RUNTIME, "index.handler", &[("index.js", code)]).await;
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
    let files = [("index.js", "exports.handler = async (e) => e;")];
    let function = Function::with(RUNTIME, "index.handler", &files, &[], None, true).await;
    for number in 0..3 {
        assert_eq!(function.call(&number.to_string()).await.value, number);
    }
}

#[tokio::test]
async fn layers_and_task_are_on_node_path() {
    let files = [
        ("sub/index.js", "exports.handler = async () => require('shared/x').v;"),
        ("shared/x.js", "exports.v = 5;"),
    ];
    let function = Function::new(RUNTIME, "sub/index.handler", &files).await;
    assert_eq!(function.call("{}").await.value, 5);
}

/// Calls a function whose NODE_PATH leads to two packages: `tool`, which says how it was loaded and what
/// it loads itself, and `deep`.
async fn with_modules(handler: (&str, &str)) -> Said {
    let folder = tempfile::tempdir().unwrap();
    let modules = folder.path().join("nodejs/node_modules");
    let exports = r#"{"name": "tool", "exports": {"import": "./i.mjs", "require": "./r.cjs"}}"#;
    for (path, text) in [
        ("tool/package.json", exports),
        ("tool/i.mjs", "import deep from 'deep';\nexport const how = ['import', deep];\n"),
        ("tool/r.cjs", "exports.how = ['require', require('deep')];\n"),
        ("deep/index.js", "module.exports = 7;\n"),
    ] {
        let path = modules.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    let node_path = format!("/nowhere/node_modules:{}", modules.display());
    let environment = [("NODE_PATH", node_path.as_str())];
    let files = [handler, ("near.js", "exports.x = 1;")];
    let function =
        Function::with(RUNTIME, "index.handler", &files, &environment, None, false).await;
    function.call("{}").await
}

#[tokio::test]
async fn import_finds_what_node_path_leads_to() {
    let code = "import { how } from 'tool';\nimport fs from 'fs';\nimport { x } from './near.js';\n\
                export const handler = async () => [how, x, typeof fs.openSync];\n";
    let said = with_modules(("index.mjs", code)).await;
    assert_eq!(said.value, json!([["import", 7], 1, "function"]), "{said:?}");
    let code =
        "exports.handler = async () =>\n  [require('tool').how, (await import('tool')).how];\n";
    let said = with_modules(("index.js", code)).await;
    assert_eq!(said.value, json!([["require", 7], ["import", 7]]), "{said:?}");
}

#[tokio::test]
async fn import_of_what_is_nowhere_fails_in_node_s_words() {
    let code = "import 'absent';\nexport const handler = async () => 1;\n";
    let said = with_modules(("index.mjs", code)).await;
    let message = said.value["errorMessage"].as_str().unwrap();
    assert!(message.starts_with("Cannot find package 'absent' imported from /"), "{said:?}");
    assert!(message.ends_with("/task/index.mjs"), "{said:?}");
}

#[tokio::test]
async fn a_crash_between_two_invocations_ends_the_process_and_harms_nobody() {
    let code = "exports.handler = async (e) => { setTimeout(() => { throw new Error('x') }, 20); \
                return e; };";
    let function = Function::new(RUNTIME, "index.handler", &[("index.js", code)]).await;
    assert_eq!(function.call("1").await.value, 1);
    function.until_gone().await;
    assert_eq!(function.call("2").await.value, 2);
    assert_eq!(function.launches(), 2);
}

/// One call of a function whose log is JSON: its records, without their times.
async fn json_log(application: Level, code: &str) -> Vec<serde_json::Value> {
    let function = Function::new(RUNTIME, "index.handler", &[("index.js", code)]).await;
    let said = function.with_json_log(application).call("{}").await;
    let timeless = |mut record: serde_json::Value| {
        let time = record.as_object_mut().unwrap().remove("timestamp").unwrap();
        let time = time.as_str().unwrap();
        assert!(time.len() == 24 && time.starts_with("20") && time.ends_with('Z'), "{time}");
        record
    };
    said.records().into_iter().map(timeless).collect()
}

#[tokio::test]
async fn records_as_json() {
    let code = "exports.handler = async () => {\n  console.debug('hidden');\n  \
                console.log('two\\nlines %s', 'ä', { a: 1 });\n  \
                console.info({ id: 7, list: [1] });\n  console.warn('one');\n  \
                const loop = {}; loop.self = loop; console.error(loop);\n  console.error(7n);\n  \
                console.error('went wrong:', new TypeError('bööm'));\n  \
                const own = new RangeError('far'); own.code = 'E'; console.error(own);\n  \
                console.fatal();\n};";
    let mut records = json_log(Level::Info, code).await;
    let record = |level: &str, message: serde_json::Value| json!({"level": level, "requestId": ID, "message": message});
    let stack = |value: &mut serde_json::Value| {
        let stack = value.as_object_mut().unwrap().remove("stackTrace").unwrap();
        assert!(stack[1].as_str().unwrap().contains("index.js:"), "{stack}");
        stack[0].as_str().unwrap().to_owned()
    };
    assert_eq!(stack(&mut records[5]), "TypeError: bööm");
    assert_eq!(stack(&mut records[6]["message"]), "RangeError: far");
    let message = records[5].as_object_mut().unwrap().remove("message").unwrap();
    let message = message.as_str().unwrap();
    assert!(message.starts_with("went wrong: TypeError: bööm\n    at "), "{message}");
    let expected = [
        record("INFO", json!("two\nlines ä { a: 1 }")),
        record("INFO", json!({"id": 7, "list": [1]})),
        record("WARN", json!("one")),
        record("ERROR", json!("<ref *1> { self: [Circular *1] }")),
        record("ERROR", json!("7n")),
        json!({"level": "ERROR", "requestId": ID, "errorType": "TypeError",
               "errorMessage": "bööm"}),
        record("ERROR", json!({"errorType": "RangeError", "errorMessage": "far", "code": "E"})),
        record("FATAL", json!("")),
    ];
    assert_eq!(records, expected);
}

#[tokio::test]
async fn errors_as_json() {
    for (code, kind, message) in [
        ("exports.handler = async () => { throw new TypeError('bööm'); };", "TypeError", "bööm"),
        ("exports.handler = async () => { throw 'text'; };", "Error", "text"),
    ] {
        let records = json_log(Level::Error, code).await;
        let [record] = &records[..] else { panic!("{records:?}") };
        assert_eq!((&record["level"], &record["requestId"]), (&json!("ERROR"), &json!(ID)));
        let said = &record["message"];
        assert_eq!((&said["errorType"], &said["errorMessage"]), (&json!(kind), &json!(message)));
        assert!(said["stackTrace"].is_array(), "{said}");
    }
    let code = "exports.handler = () => { setImmediate(() => { throw new Error('late'); }); };";
    assert_eq!(json_log(Level::Error, code).await[0]["message"]["errorMessage"], "late");
    assert!(json_log(Level::Fatal, code).await.is_empty(), "it is below the level");
}

#[tokio::test]
async fn records_of_several_lines_keep_their_place() {
    let code = "exports.handler = async () => {\n  process.stdout.write('one');\n  \
                console.log('two\\nthree');\n  process.stdout.write('four\\n');\n};";
    let said = run(code, "{}").await;
    let lines: Vec<&str> = said.log.lines().collect();
    assert!(lines[2].ends_with("\tINFO\ttwo"), "{}", said.log);
    assert_eq!((lines[1], &lines[3..5]), ("one", &["three", "four"][..]));
}

#[tokio::test]
async fn a_process_that_is_about_to_end_takes_no_other_event() {
    for code in [
        "exports.handler = async () => { Promise.reject(new Error('left behind')); return 'ok'; };",
        "const later = async () => { for (let i = 0; i < 50; i++) await 0; process.exit(0); };\
         exports.handler = async () => { later(); return 'ok'; };",
    ] {
        let function = Function::new(RUNTIME, "index.handler", &[("index.js", code)]).await;
        for number in 1..4 {
            let said = function.call("{}").await;
            assert_eq!((&said.value, said.is_error), (&json!("ok"), false), "{code}: {said:?}");
            assert_eq!(function.launches(), number, "{code}");
        }
    }
}
