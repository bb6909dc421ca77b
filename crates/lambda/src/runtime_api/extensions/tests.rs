//! The Extensions API as an extension sees it, and every order in which runtime, extensions, timer
//! and caller can act.

mod interleavings;

use tokio::io::DuplexStream;

use crate::invoke::fault::{ExtensionFault, Fault};
use crate::runtime_api::desk::Completion;
use crate::runtime_api::extensions::ShutdownReason;
use crate::runtime_api::testing::{Client, Reply};
use crate::runtime_api::tests::Bench;

const API: &str = "/2020-01-01/extension";

async fn register(client: &mut Client<DuplexStream>, name: &str, events: &str) -> Reply {
    let body = format!(r#"{{"events":{events}}}"#);
    let head = format!("Lambda-Extension-Name: {name}\r\n");
    client.request(&format!("POST {API}/register"), &head, body.as_bytes()).await
}

fn identifier(reply: &Reply) -> String {
    reply.header("lambda-extension-identifier").expect("an identifier").to_owned()
}

/// Asks for the next event without waiting for it.
async fn ask(client: &mut Client<DuplexStream>, id: &str) {
    let head = format!(
        "GET {API}/event/next HTTP/1.1\r\nHost: x\r\nLambda-Extension-Identifier: {id}\r\n\r\n"
    );
    client.send(head.as_bytes()).await;
}

async fn until_asked(bench: &Bench, name: &str) {
    let waits = || {
        let infos = bench.desk.extensions();
        infos.iter().any(|info| info.name == name && info.state == "Ready")
    };
    while !waits() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn who_has_registered_may_subscribe_to_telemetry() {
    let bench = Bench::with_extensions(&["watcher"]);
    let mut client = bench.connect();
    let identifier_header = |id: &str| format!("Lambda-Extension-Identifier: {id}\r\n");
    let (telemetry, logs) = ("PUT /2022-07-01/telemetry", "PUT /2020-08-15/logs");
    let unknown = "11111111-1111-4111-8111-111111111111";
    for (head, kind) in [
        (String::new(), "Extension.MissingExtensionIdentifier"),
        (identifier_header("mine"), "Extension.InvalidExtensionIdentifier"),
        (identifier_header(unknown), "Extension.UnknownExtensionIdentifier"),
    ] {
        for route in [telemetry, logs] {
            let reply = client.request(route, &head, b"{}").await;
            assert_eq!(reply.status, 403);
            assert!(reply.text().contains(kind), "{}", reply.text());
        }
    }
    assert_eq!(client.request("POST /2022-07-01/telemetry", "", b"{}").await.status, 405);
    assert_eq!(client.request("GET /2020-08-15/logs", "", b"").await.status, 405);
    let head = identifier_header(&identifier(&register(&mut client, "watcher", "[]").await));
    let (inside, body) = (register(&mut client, "inner", "[]").await, b"anything");
    let reply = client.request(telemetry, &head, body).await;
    assert_eq!((reply.status, reply.text()), (200, "\"OK\""));
    assert_eq!(reply.header("content-type"), Some("application/json"));
    client.request(logs, &identifier_header(&identifier(&inside)), body).await;
    assert_eq!(
        bench.told.take(),
        ["registered", "subscribe Telemetry watcher anything", "subscribe Logs inner anything"]
    );
}

#[tokio::test]
async fn from_registration_to_shutdown() {
    let bench = Bench::with_extensions(&["watcher"]);
    let mut client = bench.connect();
    let reply = register(&mut client, "watcher", r#"["INVOKE","SHUTDOWN"]"#).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(reply.text(), r#"{"functionName":"f","functionVersion":"$LATEST","handler":"a.b"}"#);
    assert_eq!(bench.told.take(), ["registered"]);
    let id = identifier(&reply);
    ask(&mut client, &id).await;
    until_asked(&bench, "watcher").await;
    let mut runtime = bench.waiting().await;
    assert_eq!(bench.told.take(), ["ready"]);

    let mut finished = bench.hand_out("r1").unwrap();
    let event = client.try_reply().await.unwrap();
    assert!(event.header("lambda-extension-event-identifier").is_some());
    assert_eq!(
        event.text(),
        r#"{"eventType":"INVOKE","deadlineMs":1767225603000,"requestId":"r1","invokedFunctionArn":"arn:aws:lambda:eu-central-1:000000000000:function:f","tracing":{"type":"X-Amzn-Trace-Id","value":"Root=1-5759e988-bd862e3fe1be46a994272793;Sampled=0"}}"#
    );
    runtime.try_reply().await.unwrap();
    runtime.respond("r1", b"1").await;
    // The caller has its answer; the invocation ends with the extension.
    assert!(matches!(finished.try_recv().unwrap().completion, Completion::Response(_)));
    runtime.send(b"GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\nHost: x\r\n\r\n").await;
    bench.until(crate::runtime_api::life::Life::Idle).await;
    assert_eq!(bench.told.take(), ["begins r1", "responded", "done r1"]);
    assert!(bench.hand_out("r2").is_err());
    ask(&mut client, &id).await;
    until_asked(&bench, "watcher").await;
    assert_eq!(bench.told.take(), ["record r1 error=false", "ready"]);

    assert_eq!(bench.desk.shut_down(ShutdownReason::Spindown, 7), [(0, true)]);
    let event = client.try_reply().await.unwrap();
    assert_eq!(
        event.text(),
        r#"{"eventType":"SHUTDOWN","shutdownReason":"spindown","deadlineMs":7}"#
    );
}

#[tokio::test]
async fn the_account_is_for_those_that_accept_it() {
    let bench = Bench::with_extensions(&["x"]);
    let mut client = bench.connect();
    let head = "Lambda-Extension-Name: x\r\nLambda-Extension-Accept-Feature: other, accountId\r\n";
    let reply = client.request(&format!("POST {API}/register"), head, br#"{"events":[]}"#).await;
    assert_eq!(
        reply.text(),
        r#"{"functionName":"f","functionVersion":"$LATEST","handler":"a.b","accountId":"111122223333"}"#
    );
}

const NAME: &str = "Lambda-Extension-Name: x\r\n";
const INNER: &str = "Lambda-Extension-Name: inner\r\n";
const NAMED: &str = "Lambda-Extension-Identifier: 01234567-89ab-cdef-0123-456789abcdef\r\n";
const TYPED: &str = "Lambda-Extension-Identifier: 01234567-89ab-cdef-0123-456789abcdef\r\n\
                     Lambda-Extension-Function-Error-Type: Extension.A\r\n";

/// Request line, further lines of its head, body; type and text of the error.
const REFUSED: [(&str, &str, &str, &str, &str); 12] = [
    ("POST /register", "", "{}", "Extension.InvalidExtensionName", "Empty extension name"),
    (
        "POST /register",
        NAME,
        r#"{"events":["OTHER"]}"#,
        "Extension.InvalidEventType",
        "OTHER: ErrorInvalidEventType",
    ),
    (
        "POST /register",
        INNER,
        r#"{"events":["SHUTDOWN"]}"#,
        "Extension.InvalidEventType",
        "SHUTDOWN: ShutdownEventNotSupportedForInternalExtension",
    ),
    (
        "POST /register",
        NAME,
        "{",
        "InvalidRequestFormat",
        "EOF while parsing an object at line 1 column 1",
    ),
    (
        "POST /register",
        NAME,
        r#"{"events":[],"configurationKeys":["a"]}"#,
        "InvalidRequestFormat",
        "configurationKeys are deprecated; use environment variables instead",
    ),
    (
        "GET /event/next",
        "",
        "",
        "Extension.MissingExtensionIdentifier",
        "Missing Lambda-Extension-Identifier header",
    ),
    (
        "GET /event/next",
        "Lambda-Extension-Identifier: me\r\n",
        "",
        "Extension.InvalidExtensionIdentifier",
        "Invalid Lambda-Extension-Identifier",
    ),
    (
        "GET /event/next",
        NAMED,
        "",
        "Extension.UnknownExtensionIdentifier",
        "Unknown extension 01234567-89ab-cdef-0123-456789abcdef",
    ),
    (
        "POST /init/error",
        NAMED,
        "{}",
        "Extension.MissingHeader",
        "Lambda-Extension-Function-Error-Type not found",
    ),
    (
        "POST /exit/error",
        NAMED,
        "{}",
        "Extension.MissingHeader",
        "Lambda-Extension-Function-Error-Type not found",
    ),
    (
        "POST /exit/error",
        TYPED,
        "{}",
        "Extension.UnknownExtensionIdentifier",
        "Unknown extension 01234567-89ab-cdef-0123-456789abcdef",
    ),
    (
        "POST /init/error",
        "",
        "{}",
        "Extension.MissingExtensionIdentifier",
        "Missing Lambda-Extension-Identifier header",
    ),
];

#[tokio::test]
async fn what_is_refused() {
    let bench = Bench::with_extensions(&["x"]);
    let mut client = bench.connect();
    for (line, head, body, kind, text) in REFUSED {
        let line = line.replacen('/', &format!("{API}/"), 1);
        let reply = client.request(&line, head, body.as_bytes()).await;
        assert_eq!(reply.status, 403, "{line} {}", reply.text());
        let expected = serde_json::json!({"errorType": kind, "errorMessage": text}).to_string();
        let actual: serde_json::Value = serde_json::from_str(reply.text()).unwrap();
        assert_eq!(actual.to_string(), expected, "{line}");
    }
    for (line, status) in [("GET /register", 405), ("POST /event/next", 405), ("GET /other", 404)] {
        let line = line.replacen('/', &format!("{API}/"), 1);
        assert_eq!(client.request(&line, "", b"").await.status, status, "{line}");
    }
}

#[tokio::test]
async fn who_registers_twice_or_too_late() {
    let bench = Bench::with_extensions(&["x"]);
    let mut client = bench.connect();
    let id = identifier(&register(&mut client, "x", "[]").await);
    let again = register(&mut client, "x", "[]").await;
    assert_eq!(again.status, 403);
    assert!(
        again.text().contains(
            "State transition from Registered to Registered failed for extension x. \
             Error: State transition is not allowed"
        ),
        "{}",
        again.text()
    );
    let inner = identifier(&register(&mut client, "inner", r#"["INVOKE"]"#).await);
    assert_ne!(inner, id);
    let taken = register(&mut client, "inner", "[]").await;
    assert!(taken.text().contains("Extension with this name already registered"));
    let _runtime = bench.waiting().await;
    let late = register(&mut client, "late", "[]").await;
    assert_eq!(late.status, 403);
    assert!(late.text().contains("Extension.RegistrationClosed"), "{}", late.text());
    // The start is over when all have asked.
    assert_eq!(bench.told.take(), ["registered"]);
    let mut other = bench.connect();
    ask(&mut client, &id).await;
    ask(&mut other, &inner).await;
    until_asked(&bench, "inner").await;
    until_asked(&bench, "x").await;
    assert_eq!(bench.told.take(), ["ready"]);
}

#[tokio::test]
async fn what_is_reported_names_the_failure() {
    for (route, kind, error_type) in [
        ("init", ExtensionFault::Init, "Extension.InitError"),
        ("exit", ExtensionFault::Exit, "Extension.ExitError"),
    ] {
        let bench = Bench::with_extensions(&["x"]);
        let mut client = bench.connect();
        let id = identifier(&register(&mut client, "x", "[]").await);
        let head = format!(
            "Lambda-Extension-Identifier: {id}\r\n\
             Lambda-Extension-Function-Error-Type: Extension.Mine\r\n"
        );
        let reply = client.request(&format!("POST {API}/{route}/error"), &head, b"{}").await;
        assert_eq!((reply.status, reply.text()), (202, "{\"status\":\"OK\"}\n"));
        let fault = bench.desk.extension_exited(0, "exit status 1".to_owned());
        assert_eq!(fault, Fault::Extension { kind, reason: "exit status 1".to_owned() });
        assert_eq!(fault.error_type(), error_type);
        assert_eq!(fault.message("r"), "RequestId: r Error: exit status 1");
        assert_eq!(bench.desk.extensions()[0].error_type.as_deref(), Some("Extension.Mine"));
    }
}
