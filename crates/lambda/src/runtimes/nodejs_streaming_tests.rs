//! Response streams of the Node.js client, as a real process: what a handler writes, and how its
//! stream may end.

use serde_json::{Value, json};

use super::client_harness::{Function, taken};
use crate::invoke::streamed::End;

const RUNTIME: &str = "nodejs20.x";

/// A function whose handler's body is this; it has `event`, `out` and `context`.
async fn streaming(body: &str) -> Function {
    let code = format!(
        "const {{ pipeline, finished }} = require('node:stream/promises');\n\
         const {{ Readable }} = require('node:stream');\n\
         const tick = () => new Promise((done) => setImmediate(done));\n\
         exports.handler = awslambda.streamifyResponse(async (event, out, context) => {{\n\
         {body}\n}});"
    );
    Function::new(RUNTIME, "index.handler", &[("index.js", &code)]).await
}

/// The text that is streamed for this event, and the end.
async fn said(function: &Function, event: &str) -> (String, End, String) {
    let (bytes, end, log) = taken(function.stream(event).await).await;
    (String::from_utf8(bytes).unwrap(), end, log)
}

fn document(end: &End) -> Value {
    serde_json::from_str(end.error_details.as_deref().expect("an error document")).unwrap()
}

#[tokio::test]
async fn everything_that_may_be_written() {
    let function = streaming(
        "out.write('a'); out.write(Buffer.from('ü')); out.write(new Uint8Array([98]));\n\
         out.write({c: 1}); out.write('7a', 'hex'); out.write(''); await tick();\n\
         out.end('!');",
    )
    .await;
    for _ in 0..3 {
        let (text, end, _) = said(&function, "{}").await;
        assert_eq!((text.as_str(), end), ("aüb{\"c\":1}z!", End::default()));
    }
    assert_eq!(function.launches(), 1);
}

#[tokio::test]
async fn a_pipeline_of_two_megabytes() {
    let function =
        streaming("await pipeline(Readable.from(Array(200).fill('x'.repeat(10_000))), out);").await;
    let (text, end, _) = said(&function, "{}").await;
    assert_eq!((text.len(), end), (2_000_000, End::default()));
    let (text, ..) = said(&function, "{}").await;
    assert_eq!(text.len(), 2_000_000);
    assert_eq!(function.launches(), 1);
}

#[tokio::test]
async fn a_prelude_for_http_stands_before_the_first_byte() {
    let function = streaming(
        "out = awslambda.HttpResponseStream.from(out, {statusCode: 201, cookies: ['a=b']});\n\
         if (event.end) return out.end('whole');\n\
         if (event.nothing) return out.end();\n\
         out.write('body'); out.end();",
    )
    .await;
    let prelude = "{\"statusCode\":201,\"cookies\":[\"a=b\"]}\0\0\0\0\0\0\0\0";
    assert_eq!(said(&function, "{}").await.0, format!("{prelude}body"));
    assert_eq!(said(&function, r#"{"end":1}"#).await.0, format!("{prelude}whole"));
    // As on AWS: without a byte there is no prelude either.
    assert_eq!(said(&function, r#"{"nothing":1}"#).await.0, "");
}

#[tokio::test]
async fn the_content_type_is_settled_by_the_first_byte() {
    let function = streaming(
        "out.setContentType('text/plain'); out.write('a');\n\
         try { out.setContentType('text/html'); } catch (error) {\n\
         out.write(`${error.name}: ${error.message}`); }\n\
         out.end();",
    )
    .await;
    let (text, end, _) = said(&function, "{}").await;
    let expected = "aRuntime.InvalidStreamingOperation: Cannot set content-type, too late.";
    assert_eq!((text.as_str(), end), (expected, End::default()));
}

#[tokio::test]
async fn errors_before_the_first_byte_in_the_middle_and_after_the_end() {
    let function = streaming(
        "if (event.at === 'first') throw new TypeError('bööm');\n\
         out.write('abc'); await tick();\n\
         if (event.at === 'middle') throw new TypeError('bööm');\n\
         out.end(); await finished(out);\n\
         if (event.at === 'last') throw new TypeError('bööm');",
    )
    .await;
    for (at, sent) in [("first", ""), ("middle", "abc")] {
        let (text, end, log) = said(&function, &json!({"at": at}).to_string()).await;
        assert_eq!((text.as_str(), end.error_code.as_deref()), (sent, Some("TypeError")), "{at}");
        let document = document(&end);
        assert_eq!(document["errorType"], "TypeError");
        assert_eq!(document["errorMessage"], "bööm");
        assert_eq!(document["trace"][0], "TypeError: bööm");
        assert!(log.contains("ERROR\tInvoke Error \t{\"errorType\":\"TypeError\","), "{log}");
    }
    // The answer has been given; it is too late for an error.
    let (text, end, _) = said(&function, r#"{"at":"last"}"#).await;
    assert_eq!((text.as_str(), end), ("abc", End::default()));
    assert_eq!(said(&function, "{}").await.0, "abc");
    assert_eq!(function.launches(), 1);
}

#[tokio::test]
async fn a_source_that_fails_fails_the_stream() {
    let function = streaming(
        "async function* source() { yield 'abc'; await tick(); throw new RangeError('dry'); }\n\
         if (event.swallow) return void pipeline(source(), out).catch(() => {});\n\
         await pipeline(source(), out);",
    )
    .await;
    for event in ["{}", r#"{"swallow":1}"#] {
        let (text, end, _) = said(&function, event).await;
        assert_eq!(text, "abc");
        assert_eq!(
            (end.error_code.as_deref(), &document(&end)["errorMessage"]),
            (Some("RangeError"), &json!("dry"))
        );
    }
    assert_eq!(function.launches(), 1);
}

#[tokio::test]
async fn a_handler_may_return_before_its_stream_ends() {
    let function = streaming(
        "out.write('a'); setTimeout(() => { out.write('b'); setTimeout(() => out.end('c'), 20); }, 20);",
    )
    .await;
    for _ in 0..2 {
        let (text, end, _) = said(&function, "{}").await;
        assert_eq!((text.as_str(), end), ("abc", End::default()));
    }
}

#[tokio::test]
async fn a_stream_that_nobody_can_end_is_an_error() {
    let function = streaming("if (event.some) out.write('abc');").await;
    for (event, sent) in [("{}", ""), (r#"{"some":1}"#, "abc"), ("{}", "")] {
        let (text, end, _) = said(&function, event).await;
        assert_eq!(text, sent);
        assert_eq!(document(&end)["errorMessage"], "Response stream is not finished.");
    }
    let plain = "exports.handler = awslambda.streamifyResponse((event, out) => { out.end('a'); });";
    let function = Function::new(RUNTIME, "index.handler", &[("index.js", plain)]).await;
    let (_, end, _) = said(&function, "{}").await;
    // It has ended its stream before it could be told.
    assert_eq!(end, End::default());
    let plain =
        "exports.handler = awslambda.streamifyResponse((event, out) => { out.write('a'); });";
    let function = Function::new(RUNTIME, "index.handler", &[("index.js", plain)]).await;
    let (_, end, _) = said(&function, "{}").await;
    let expected = "Streaming does not support non-async handlers.";
    assert_eq!(document(&end)["errorMessage"], expected);
    assert_eq!(function.launches(), 1);
}

#[tokio::test]
async fn the_event_loop_is_waited_for_unless_the_context_says_otherwise() {
    // A timer that does not end in this test: a process that waits for it serves nobody else.
    for (waits, processes) in [(true, 2), (false, 1)] {
        let function = streaming(&format!(
            "context.callbackWaitsForEmptyEventLoop = {waits};\n\
             setTimeout(() => {{}}, 600_000); out.end('a');",
        ))
        .await;
        for _ in 0..2 {
            assert_eq!(said(&function, "{}").await.0, "a");
        }
        assert_eq!(function.launches(), processes, "waits: {waits}");
    }
}

#[tokio::test]
async fn a_crash_is_told_and_ends_the_process() {
    for (before, sent, code) in [("", "", "Unhandled"), ("out.write('abc');", "abc", "RangeError")]
    {
        let body = format!(
            "{before} setTimeout(() => {{ throw new RangeError('bang'); }}, 10);\n\
             await new Promise((done) => setTimeout(done, 60_000));"
        );
        let function = streaming(&body).await;
        let (text, end, log) = said(&function, "{}").await;
        assert_eq!((text.as_str(), end.error_code.as_deref()), (sent, Some(code)), "{log}");
        assert_eq!(document(&end)["errorMessage"], "bang");
        assert!(log.contains("Uncaught Exception"), "{log}");
        function.until_gone().await;
    }
}

#[tokio::test]
async fn an_exit_in_the_middle_is_a_truncated_response() {
    // It exits when it is told so, which is after its first bytes have arrived.
    let function = streaming(
        "out.write('abc');\n\
         setInterval(() => { if (require('fs').existsSync(event)) process.exit(3); }, 5);\n\
         await new Promise(() => {});",
    )
    .await;
    let folder = tempfile::tempdir().unwrap();
    let sign = folder.path().join("exit");
    let answer = function.stream(&json!(sign).to_string()).await;
    std::fs::write(&sign, "").unwrap();
    let (bytes, end, log) = taken(answer).await;
    assert_eq!(bytes, b"abc");
    let code = end.error_code.as_deref();
    assert_eq!((code, end.error_details), (Some("Runtime.TruncatedResponse"), None));
    let told = "Error: Runtime exited with error: exit status 3\nRuntime.ExitError\n";
    assert!(log.contains(told), "{log}");
    assert!(log.ends_with("\tStatus: error\tError Type: Runtime.ExitError\n"), "{log}");
}

#[tokio::test]
async fn by_tcp_it_streams_as_well() {
    let code = "exports.handler = awslambda.streamifyResponse(async (event, out) => {\n\
                out.write('a'); out.end('b'); });";
    let files = [("index.js", code)];
    let function = Function::with(RUNTIME, "index.handler", &files, &[], None, true).await;
    for _ in 0..3 {
        assert_eq!(said(&function, "{}").await.0, "ab");
    }
    assert_eq!(function.launches(), 1);
}
