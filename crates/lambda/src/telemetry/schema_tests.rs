//! Every event in every schema, against the files in `golden/`.

use std::path::Path;
use std::time::Duration;

use super::*;
use crate::invoke::cold_start::ColdStart;
use crate::invoke::fault::{Exit, Fault, Status};
use crate::invoke::platform_events::{
    End, ExtensionState, InitReport, InitRuntimeDone, InitStart, InitType, LogsDropped, Phase,
    Report, RestoreReport, RestoreRuntimeDone, RestoreStart, RuntimeDone, Start, Subscription,
    Tracing,
};
use crate::invoke::trace::Segment;
use crate::runtime_api::desk::{Outcome, Reply};
use crate::runtime_api::extensions::crew::Info;

const TRACE: &str = "Root=1-6352a70e-1e2c502e358361800241fd45;Parent=35465b3a9e2f7c6a;Sampled=1";

fn at(micros: i64) -> Timestamp {
    Timestamp::from_micros(1_790_000_000_000_000 + micros)
}

fn answered() -> Outcome {
    let (latency, overhead) = (Duration::from_micros(2_000), Duration::from_micros(211));
    Outcome {
        request_id: "6d68ca91".into(),
        duration: Duration::from_micros(2_230),
        init: Some(ColdStart::Init(Duration::from_micros(100_123))),
        status: Status::Answered,
        is_error: false,
        fault: None,
        reply: Some(Reply { bytes: 50, latency, overhead: Some(overhead) }),
        segment: Some(Segment { trace_id: "1-6352a70e".into(), id: "24cd7d670fa455f0".into() }),
        extension_overhead: Some(Duration::from_micros(730)),
    }
}

fn crashed() -> Outcome {
    let fault = Fault::Exited(Exit { code: Some(1), signal: None, oom: false });
    Outcome {
        request_id: "79b4f56e".into(),
        duration: Duration::from_micros(1_500),
        init: None,
        status: fault.status(),
        is_error: true,
        fault: Some(fault),
        reply: None,
        segment: None,
        extension_overhead: None,
    }
}

fn of_outcome(outcome: &Outcome, header: &str) -> Vec<PlatformRecord> {
    let tracing = Tracing::of_header(header);
    let fault = outcome.fault.as_ref();
    let fault = fault.map(|fault| fault.log_text(&outcome.request_id, "T"));
    let mut records = vec![PlatformRecord::Start(Start {
        request_id: outcome.request_id.clone(),
        function_arn: "arn:aws:lambda:us-east-1:000000000000:function:f".into(),
        version: "$LATEST".into(),
        tracing: tracing.clone(),
        tenant_id: None,
    })];
    records.extend(fault.map(PlatformRecord::Fault));
    records.extend([
        PlatformRecord::RuntimeDone(RuntimeDone::new(outcome, at(0), tracing.clone())),
        PlatformRecord::End(End { request_id: outcome.request_id.clone() }),
        PlatformRecord::Report(Report::new(outcome, at(0), 128, 35, tracing)),
    ]);
    records
}

/// Of each kind one that went well and one that did not.
fn records() -> Vec<PlatformRecord> {
    let runtime = ("python:3.13.1", "arn:rt".to_owned());
    let broken = Status::Error("Runtime.ImportModuleError".into());
    let stream = "2026/09/21/[$LATEST]ab";
    let mut records = vec![PlatformRecord::InitStart(InitStart::new(
        Phase::Init,
        runtime,
        ("f", "$LATEST"),
        stream,
        128,
    ))];
    let subscription = |state| Subscription {
        name: "my-extension".into(),
        state,
        types: vec!["platform", "function"],
    };
    records.extend([
        PlatformRecord::TelemetrySubscription(subscription("Subscribed")),
        PlatformRecord::LogsSubscription(subscription("Already subscribed")),
        PlatformRecord::Extension(ExtensionState::of(Info {
            name: "my-extension".into(),
            state: "Ready",
            events: vec!["INVOKE", "SHUTDOWN"],
            error_type: None,
        })),
        PlatformRecord::Extension(ExtensionState::of(Info {
            name: "other".into(),
            state: "LaunchError",
            events: Vec::new(),
            error_type: Some("PermissionDenied".into()),
        })),
    ]);
    for (phase, status) in [(Phase::Init, broken), (Phase::Invoke, Status::Answered)] {
        let report = InitReport::new(phase, &status, Duration::from_micros(500_487));
        records.push(PlatformRecord::InitRuntimeDone(InitRuntimeDone::new(phase, &status)));
        records.push(PlatformRecord::InitReport(report));
    }
    records.extend(of_outcome(&answered(), TRACE));
    records.extend(of_outcome(&crashed(), ""));
    records.extend(snapshots());
    records.push(PlatformRecord::LogsDropped(LogsDropped {
        reason: "Some logs were dropped",
        dropped_records: 123,
        dropped_bytes: 12_345,
    }));
    records
}

/// Of a version with SnapStart: its snapshot, two environments, and an invocation of the first.
fn snapshots() -> Vec<PlatformRecord> {
    let init = InitReport::new(Phase::SnapStart, &Status::Answered, Duration::from_micros(250_001));
    let mut records = vec![PlatformRecord::InitReport(init.of_type(InitType::SnapStart))];
    for status in [Status::Answered, Status::Error("Runtime.AfterRestoreError".into())] {
        let runtime = ("python:3.13.1", "arn:rt".to_owned());
        let start = RestoreStart::new(runtime, ("f", "1"), "2026/09/21/[1]ab", 128);
        let report = RestoreReport::new(&status, Duration::from_micros(4_321));
        records.push(PlatformRecord::RestoreStart(start));
        records.push(PlatformRecord::RestoreRuntimeDone(RestoreRuntimeDone::new(&status)));
        records.push(PlatformRecord::RestoreReport(report));
    }
    let (whole, billed) = (Duration::from_micros(4_321), Duration::from_micros(1_001));
    let restored = Outcome {
        init: Some(ColdStart::Restore { whole, billed }),
        extension_overhead: None,
        ..answered()
    };
    records.push(PlatformRecord::Report(Report::new(&restored, at(0), 128, 35, None)));
    records
}

fn lines() -> Vec<(Category, &'static str, bool)> {
    let object = "{\"level\": \"INFO\",\n \"message\": \"two\\nlines\"}\n";
    vec![
        (Category::Function, "[INFO]\tHello \"world\"\n", false),
        (Category::Function, object, false),
        (Category::Function, object, true),
        (Category::Function, "no object: {}", true),
        (Category::Function, "[1]", true),
        (Category::Function, "{\"cut", true),
        (Category::Extension, "{\"level\":\"INFO\",\"message\":\"I am an extension\"}\n", true),
        (Category::Extension, "plain\n", true),
    ]
}

/// Writes the file instead when `LAMBIC_BLESS` is set.
fn check(name: &str, schema: Schema) {
    let mut rendered = Vec::new();
    for record in records() {
        let event = PlatformEvent { time: at(0), record };
        rendered.extend(render(schema, &Event::Platform(&event)));
    }
    for (category, text, is_json) in lines() {
        let event = Event::Line { category, time: at(1_000), text, is_json };
        rendered.extend(render(schema, &event));
    }
    assert!(rendered.iter().all(|line| !line.contains(['\n', '\r'])), "{name}");
    let text = format!("[\n{}\n]\n", rendered.join(",\n"));
    serde_json::from_str::<Vec<Value>>(&text).expect("a batch");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/telemetry/golden").join(name);
    if std::env::var_os("LAMBIC_BLESS").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    assert_eq!(text, std::fs::read_to_string(&path).unwrap_or_default(), "{name}");
}

#[test]
fn golden_logs_2020_08_15() {
    check("logs-2020-08-15.json", Schema::Logs20200815);
}

#[test]
fn golden_logs_2021_03_18() {
    check("logs-2021-03-18.json", Schema::Logs20210318);
}

#[test]
fn golden_telemetry_2022_07_01() {
    check("telemetry-2022-07-01.json", Schema::Telemetry20220701);
}

#[test]
fn golden_telemetry_2022_12_13() {
    check("telemetry-2022-12-13.json", Schema::Telemetry20221213);
}

#[test]
fn golden_telemetry_2025_01_29() {
    check("telemetry-2025-01-29.json", Schema::Telemetry20250129);
}

proptest::proptest! {
    /// Whatever a function prints, a batch stays valid, on one line, and says the same.
    #[test]
    fn a_line_is_one_line_of_json(text in ".*", is_json in proptest::bool::ANY) {
        let event = Event::Line { category: Category::Function, time: at(0), text: &text, is_json };
        let line = render(Schema::Telemetry20250129, &event).unwrap();
        proptest::prop_assert!(!line.contains(['\n', '\r']));
        let value: Value = serde_json::from_str(&line).unwrap();
        match &value["record"] {
            Value::String(record) => proptest::prop_assert_eq!(record, &text),
            record => proptest::prop_assert_eq!(record, &serde_json::from_str::<Value>(&text).unwrap()),
        }
    }
}
