//! The Java client as a real process: what a function and its caller see is what AWS shows.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use serde_json::{Value, json};

use super::client_harness::{Function, Said, interpreters};
use super::packs::Family;
use crate::state::logging::Level;

const RUNTIME: &str = "java17";
const ID: &str = "8476a536-e9f4-11e8-9739-2dfe598c3fcd";
const SOURCE: &str = include_str!("java/test/Fn.java");
const CORE: &str = "src/runtimes/java/lib/aws-lambda-java-core-1.4.0.jar";

/// The classes, compiled once.
fn classes() -> &'static Path {
    static MADE: OnceLock<tempfile::TempDir> = OnceLock::new();
    let made = MADE.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        compile(SOURCE, "Fn.java", folder.path());
        folder
    });
    made.path()
}

fn compile(source: &str, name: &str, into: &Path) {
    let sources = tempfile::tempdir().unwrap();
    let file = sources.path().join(name);
    std::fs::write(&file, source).unwrap();
    let core = Path::new(env!("CARGO_MANIFEST_DIR")).join(CORE);
    let mut command = Command::new("javac");
    command
        .args(["--release", "8", "-Xlint:-options", "-encoding", "UTF-8", "-cp"])
        .arg(core)
        .arg("-d");
    let done = command.arg(into).arg(file).output();
    let done = done.expect("the tests need javac (Debian: apt-get install default-jdk-headless)");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

/// A function of [`SOURCE`], by the name of its class there.
async fn function(handler: &str) -> Function {
    function_with(handler, &[], None, false).await
}

async fn function_with(
    handler: &str,
    environment: &[(&str, &str)],
    java: Option<PathBuf>,
    by_tcp: bool,
) -> Function {
    let files = [("data.txt", "from the package")];
    let handler = format!("t.Fn${handler}");
    let function = Function::with(RUNTIME, &handler, &files, environment, java, by_tcp).await;
    let package = function.package().join("t");
    std::fs::create_dir_all(&package).unwrap();
    for class in std::fs::read_dir(classes().join("t")).unwrap() {
        let class = class.unwrap();
        std::fs::copy(class.path(), package.join(class.file_name())).unwrap();
    }
    function
}

async fn does(what: &str) -> Said {
    function("Does").await.call(&json!({"do": what}).to_string()).await
}

fn text<'a>(said: &'a Said, member: &str) -> &'a str {
    said.value[member].as_str().unwrap_or_else(|| panic!("no {member}: {said:?}"))
}

#[tokio::test]
async fn the_client_works_with_every_java_on_this_machine() {
    let found = interpreters(Family::Java).await;
    assert!(!found.is_empty(), "no java on this machine");
    for (release, path) in found {
        let function = function_with("Does", &[], Some(path), false).await;
        for number in 1..3 {
            let said = function.call(r#"{"do": "count"}"#).await;
            assert_eq!(said.value, json!(number), "{release}: {said:?}");
        }
        let said = function.call(r#"{"do": "throw"}"#).await;
        assert_eq!(text(&said, "errorType"), "t.Fn$Refused", "{release}");
        let said = function.call(r#"{"do": "process"}"#).await;
        assert_eq!(said.value["own"], Value::Null, "{release}: {said:?}");
        assert_eq!(said.value["file"], "from the package", "{release}: {said:?}");
        assert_eq!(function.launches(), 1, "{release}");
    }
}

#[tokio::test]
async fn every_form_of_handler() {
    let person = r#"{"name":"Ä","age":3,"tags":["a","b"],"unknown":[1],"height":null}"#;
    for (handler, event, expected) in [
        ("Echo", r#"{"a":[1,2.5,null,"ü"]}"#, json!({"a": [1, 2.5, null, "ü"]})),
        ("Echo::handleRequest", "7", json!(7)),
        ("OfPerson", person, json!("Ä/3/[a, b]/null")),
        ("OfPerson::handleRequest", person, json!("Ä/3/[a, b]/null")),
        ("OfList", &format!("[{person}]"), json!([{"name": "Ä", "age": 3, "tags": ["a", "b"]}])),
        ("Methods::none", "1", json!("none")),
        ("Methods::fixed", "41", json!(42)),
        ("Methods::person", person, json!({"name": "Ä", "age": 3, "tags": ["a", "b"]})),
        ("Methods::withContext", r#"{"n":1}"#, json!("{n=1} f")),
        ("Methods::onlyContext", "1", json!("f")),
        ("Methods::nothing", "\"x\"", Value::Null),
        ("Methods::in", "{}", Value::Null),
        ("Methods::out", "{}", json!("out")),
        ("Methods::inOut", r#"{"b": 1}"#, json!({"b": 1})),
        ("Methods::inOutContext", "[2]", json!([2])),
        ("Methods::inContext", "[2]", Value::Null),
        ("Methods::over", "\"x\"", json!("with context")),
    ] {
        let function = function(handler).await;
        for _ in 0..2 {
            let said = function.call(event).await;
            assert!(!said.is_error && said.value == expected, "{handler}: {said:?}");
        }
        assert_eq!(function.launches(), 1, "{handler}");
    }
    for (handler, expected) in [("Stream", "got f [1]"), ("Methods::outContext", "f")] {
        let said = function(handler).await.call("[1]").await;
        assert_eq!(said.raw, expected.as_bytes(), "{handler}");
    }
}

#[tokio::test]
async fn an_error_looks_as_on_aws() {
    let function = function("Does").await;
    for _ in 0..2 {
        let said = function.call(r#"{"do": "throw"}"#).await;
        assert!(said.is_error);
        let members: Vec<&String> = said.value.as_object().unwrap().keys().collect();
        assert_eq!(members, ["errorMessage", "errorType", "stackTrace"]);
        assert_eq!(
            (text(&said, "errorMessage"), text(&said, "errorType")),
            ("bööm", "t.Fn$Refused")
        );
        let trace = said.value["stackTrace"].as_array().unwrap();
        assert!(trace[0].as_str().unwrap().starts_with("t.Fn$Does.act(Fn.java:"), "{said:?}");
        assert!(trace.iter().all(|frame| !frame.as_str().unwrap().contains("lambic")), "{said:?}");
        let log = &said.log;
        assert!(
            log.contains("bööm: t.Fn$Refused\nt.Fn$Refused: bööm\n\tat t.Fn$Does.act("),
            "{log}"
        );
        assert!(
            log.contains("\nCaused by: java.lang.IllegalStateException: inner\nlines\n"),
            "{log}"
        );
        assert!(!log.contains("lambic"), "{log}");
    }
    let said = function.call(r#"{"do": "without message"}"#).await;
    assert_eq!(text(&said, "errorMessage"), "java.lang.NullPointerException");
    let said = function.call(r#"{"do": "stuck"}"#).await;
    assert_eq!(
        text(&said, "errorMessage"),
        "An error occurred during JSON serialization of response"
    );
    assert_eq!(text(&said, "errorType"), "java.lang.RuntimeException");
    let said = function.call("[1]").await;
    assert_eq!(text(&said, "errorMessage"), "An error occurred during JSON parsing");
    assert!(said.log.contains("Caused by: java.io.UncheckedIOException"), "{}", said.log);
    assert_eq!(function.launches(), 1, "it goes on");
}

#[tokio::test]
async fn errors_of_the_virtual_machine_end_the_process() {
    for (what, kind) in
        [("deep", "java.lang.StackOverflowError"), ("memory", "java.lang.OutOfMemoryError")]
    {
        let function = function("Does").await;
        let event = json!({"do": what}).to_string();
        assert_eq!(text(&function.call(&event).await, "errorType"), kind);
        function.until_gone().await;
        function.call(&event).await;
        assert_eq!(function.launches(), 2, "{kind}");
    }
}

/// Told to each caller, by a process that goes on.
#[tokio::test]
async fn what_is_no_handler_is_named() {
    let no_type = "Class t.Fn$Raw does not implement RequestHandler with concrete type parameters";
    let unbounded = "Class t.Fn$Loose does not implement RequestHandler with concrete type parameters: \
                     parameter T has no upper bound.";
    let no_method =
        "No public method named nope with appropriate method signature found on class t.Fn$Echo";
    for (handler, message, kind) in [
        ("Absent", "Class not found: t.Fn$Absent", Some("java.lang.ClassNotFoundException")),
        ("Absent::x", "Class not found: t.Fn$Absent", Some("java.lang.ClassNotFoundException")),
        ("Echo::nope", no_method, None),
        ("Echo::", "Invalid handler: `t.Fn$Echo::'", None),
        ("Person", "Class does not implement an appropriate handler interface: t.Fn$Person", None),
        ("Raw", no_type, None),
        ("Loose", unbounded, None),
        (
            "Inner",
            "Class t.Fn$Inner cannot be instantiated because it is a non-static inner class",
            Some("java.lang.Exception"),
        ),
        (
            "NoConstructor",
            "Class t.Fn$NoConstructor has no public zero-argument constructor",
            Some("java.lang.Exception"),
        ),
    ] {
        let function = function(handler).await;
        for _ in 0..2 {
            let said = function.call("{}").await;
            assert!(said.is_error && text(&said, "errorMessage") == message, "{said:?}");
            assert_eq!(said.value["errorType"].as_str(), kind, "{said:?}");
            assert_eq!(said.value["stackTrace"], Value::Null);
            assert!(said.log.contains(message), "{}", said.log);
        }
        assert_eq!(function.launches(), 1, "{handler}");
    }
    let said = function("Methods::never").await.call("\"x\"").await;
    assert!(
        text(&said, "errorMessage").starts_with("No public method named never with"),
        "{said:?}"
    );
}

#[tokio::test]
async fn what_the_function_throws_while_it_loads_is_an_error_of_its_initialization() {
    for (handler, message, kind) in [
        ("Throws", "not made", "java.lang.IllegalArgumentException"),
        (
            "ThrowsStatic",
            "Error loading class t.Fn$ThrowsStatic",
            "java.lang.ExceptionInInitializerError",
        ),
    ] {
        let function = function(handler).await;
        let said = function.call("{}").await;
        assert!(said.is_error && function.launches() == 2, "{said:?}");
        assert_eq!((text(&said, "errorMessage"), text(&said, "errorType")), (message, kind));
        assert!(said.log.contains(&format!("{message}: {kind}\n{kind}")), "{}", said.log);
    }
}

#[tokio::test]
async fn the_context_has_all_its_fields() {
    let function = function("Does").await;
    let context = r#"{"custom":{"a":"ü"},"client":{"app_title":"t"},"env":{"x":1}}"#;
    let said = function.call_with(br#"{"do": "context"}"#, Some(context)).await;
    let trace = "Root=1-5759e988-bd862e3fe1be46a994272793";
    let expected = json!([
        ID,
        "f",
        "$LATEST",
        "arn:aws:lambda:eu-central-1:000000000000:function:f:live",
        256,
        "/aws/lambda/f",
        "/[$LATEST]",
        true,
        null,
        [{"a": "ü"}, {"x": "1"}, "t"],
        null,
        trace,
        trace,
    ]);
    assert_eq!(said.value, expected, "{said:?}");
    let said = function.call(r#"{"do": "context"}"#).await;
    assert_eq!(said.value[9], Value::Null, "that of one event is gone with it");
}

#[tokio::test]
async fn the_process_is_as_on_aws() {
    let function = function_with("Does", &[("OWN", "ä=1")], None, false).await;
    let said = function.call(r#"{"do": "process"}"#).await;
    let mut told = said.value.as_object().unwrap().clone();
    told.remove("began");
    let expected = json!({
        "ours": [],
        "own": "ä=1",
        "execution": "AWS_Lambda_java17",
        "folder": true,
        "absolute": true,
        "file": "from the package",
        "path": true,
        "resource": true,
        "child": "ä=1 |true",
        "encodings": "UTF-8 UTF-8",
        "negative": "1",
        "heap": told["heap"],
        "loader": true,
        "core": true,
    });
    assert_eq!(Value::from(told.clone()), expected);
    let heap = told["heap"].as_u64().unwrap();
    assert!((200..=218).contains(&heap), "of 256 MB: {heap}");
}

#[tokio::test]
async fn variables_of_the_function_s_own_are_obeyed() {
    let own = [
        ("LC_ALL", "C"),
        ("AWS_LAMBDA_JAVA_NETWORKADDRESS_CACHE_NEGATIVE_TTL", "7"),
        ("JAVA_TOOL_OPTIONS", "-Xmx100m"),
    ];
    let function = function_with("Does", &own, None, false).await;
    let said = function.call(r#"{"do": "process"}"#).await;
    assert_eq!((&said.value["ours"], &said.value["negative"]), (&json!(["LC_ALL"]), &json!("7")));
    assert_eq!(said.value["began"], json!(false), "{said:?}");
}

#[tokio::test]
async fn what_is_printed_and_logged_is_in_the_invocation_s_log() {
    let function = function("Does").await;
    for _ in 0..2 {
        let log = function.call(r#"{"do": "print"}"#).await.log;
        let lines: Vec<&str> = log.lines().collect();
        let expected = [
            "plain ä",
            "onetwo",
            "three",
            "err",
            "logged",
            "twice",
            "[WARN] a warning",
            "bytes",
            "null",
        ];
        assert_eq!(lines[0], format!("START RequestId: {ID} Version: $LATEST"));
        assert_eq!(lines[1..10], expected, "{log}");
        assert!(log.contains("without context\nno newline"), "{log}");
    }
}

#[tokio::test]
async fn the_log_level_of_the_environment_is_obeyed() {
    let environment = [("AWS_LAMBDA_LOG_LEVEL", "WARN")];
    let function = function_with("Does", &environment, None, false).await;
    let log = function.call(r#"{"do": "levels"}"#).await.log;
    let levels = |name: &str| log.contains(&format!("{name} \"ü\""));
    assert!(levels("UNDEFINED") && levels("[WARN] WARN") && levels("[FATAL] FATAL"), "{log}");
    assert!(!levels("INFO") && !levels("TRACE"), "{log}");
}

#[tokio::test]
async fn records_as_json() {
    let function = function("Does").await.with_json_log(Level::Info);
    let said = function.call(r#"{"do": "levels"}"#).await;
    let records = said.records();
    let levels: Vec<&str> = records.iter().map(|r| r["level"].as_str().unwrap()).collect();
    assert_eq!(levels, ["UNDEFINED", "INFO", "WARN", "ERROR", "FATAL"], "{}", said.log);
    for record in &records {
        let time = record["timestamp"].as_str().unwrap();
        assert!(time.len() == 24 && time.ends_with('Z'), "{time}");
        assert_eq!(record["AWSRequestId"], ID);
        assert_eq!(record["message"], format!("{} \"ü\"\n2", record["level"].as_str().unwrap()));
    }
    let said = function.call(r#"{"do": "throw"}"#).await;
    let record = &said.records()[0];
    assert_eq!(record["level"], "ERROR");
    assert!(record["message"].as_str().unwrap().starts_with("bööm: t.Fn$Refused\n"), "{record}");
}

#[tokio::test]
async fn ends_of_the_process_are_exit_errors() {
    for (what, text) in [
        ("exit", "exited with error: exit status 3"),
        ("halt", "exited without providing a reason"),
    ] {
        let said = does(what).await;
        assert_eq!(said.value["errorType"], "Runtime.ExitError", "{said:?}");
        assert!(said.value["errorMessage"].as_str().unwrap().ends_with(text), "{said:?}");
    }
}

#[tokio::test]
async fn six_megabytes_go_in_and_out_and_more_is_refused() {
    let function = function("Echo").await;
    let event = format!("\"{}\"", "x".repeat(6 * 1024 * 1024 - 2));
    for _ in 0..2 {
        let said = function.call(&event).await;
        assert!(!said.is_error && said.raw == event.as_bytes());
        assert_eq!(function.call("1").await.value, 1);
    }
    assert_eq!(function.launches(), 1);
}

#[tokio::test]
async fn an_interrupt_does_not_outlive_its_event() {
    let function = function("Does").await;
    for _ in 0..2 {
        assert_eq!(function.call(r#"{"do": "interrupt"}"#).await.value, true);
    }
    assert_eq!(function.call(r#"{"do": "count"}"#).await.value, 3);
}

#[tokio::test]
async fn without_an_inherited_socket_it_connects_by_tcp() {
    let function = function_with("Echo", &[], None, true).await;
    for number in 0..3 {
        assert_eq!(function.call(&number.to_string()).await.value, number);
    }
}

/// A jar of classes, as they lie in this folder.
fn jar(folder: &Path, into: &Path) {
    std::fs::create_dir_all(into.parent().unwrap()).unwrap();
    let done = Command::new("jar").arg("cf").arg(into).arg("-C").arg(folder).arg(".").output();
    assert!(done.expect("the tests need jar, of the JDK").status.success());
}

#[tokio::test]
async fn jars_of_the_package_and_of_layers_are_found_in_their_order() {
    let function =
        Function::with(RUNTIME, "t.Fn$Methods::none", &[("x", "")], &[], None, false).await;
    let layer = tempfile::tempdir().unwrap();
    jar(classes(), &layer.path().join("java/lib/fn.jar"));
    // AWS's interfaces once more, as most packages bring them.
    std::fs::create_dir_all(function.package().join("lib")).unwrap();
    let core = Path::new(env!("CARGO_MANIFEST_DIR")).join(CORE);
    std::fs::copy(core, function.package().join("lib/core.jar")).unwrap();
    let function = function.with_layers(layer.path());
    assert_eq!(function.call("1").await.value, "none");
    let changed = "package t; public class Fn { public static class Methods { public String none() { return \"package\"; } } }";
    let classes = tempfile::tempdir().unwrap();
    compile(changed, "Fn.java", classes.path());
    let other = Function::with(RUNTIME, "t.Fn$Methods::none", &[("x", "")], &[], None, false).await;
    jar(classes.path(), &other.package().join("lib/a.jar"));
    let other = other.with_layers(layer.path());
    assert_eq!(other.call("1").await.value, "package");
}

#[tokio::test]
async fn a_wrapper_gets_the_command_line_and_may_change_it() {
    let script = "#!/bin/bash\nset -- \"${@:1:$#-1}\" -Xmx77m \"${@: -1}\"\nexec \"$@\"\n";
    let own = [("AWS_LAMBDA_EXEC_WRAPPER", "/var/task/wrapper"), ("OWN", "1")];
    let function = function_with("Does", &own, None, false).await;
    let wrapper = function.package().join("wrapper");
    std::fs::write(&wrapper, script).unwrap();
    std::fs::set_permissions(wrapper, std::fs::Permissions::from_mode(0o755)).unwrap();
    for _ in 0..2 {
        let said = function.call(r#"{"do": "process"}"#).await;
        assert!(said.value["heap"].as_u64().is_some_and(|mb| mb <= 77), "{said:?}");
        assert_eq!(
            (&said.value["file"], &said.value["own"]),
            (&json!("from the package"), &json!("1"))
        );
    }
    assert_eq!(function.launches(), 1);
}
