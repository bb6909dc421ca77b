//! Every event in both forms, and its level.

use super::*;
use crate::invoke::fault::{Exit, Fault};
use crate::runtime_api::desk::Reply;
use crate::runtime_api::extensions::crew::Info;

fn outcome(duration_us: u64, init_us: Option<u64>, fault: Option<Fault>) -> Outcome {
    Outcome {
        request_id: "r".into(),
        duration: Duration::from_micros(duration_us),
        init: init_us.map(Duration::from_micros).map(ColdStart::Init),
        status: fault.as_ref().map_or(Status::Answered, Fault::status),
        is_error: fault.is_some(),
        fault,
        segment: None,
        extension_overhead: None,
        reply: None,
    }
}

fn at(micros: i64) -> Timestamp {
    Timestamp::from_micros(1_790_000_000_000_000 + micros)
}

/// Renders an event in both forms.
fn check(record: PlatformRecord, level: Level, text: Option<&str>, json: &str) {
    let event = PlatformEvent { time: at(0), record };
    assert_eq!(event.level(), level, "{event:?}");
    assert_eq!(event.to_text().as_deref(), text, "{event:?}");
    let expected = format!(r#"{{"time":"2026-09-21T14:13:20.000Z","type":{json}}}"#);
    assert_eq!(event.to_json(), expected);
    let value: serde_json::Value = serde_json::from_str(&event.to_json()).unwrap();
    let kind = value["type"].as_str().unwrap();
    let is_other = matches!(kind, "platform.end" | "platform.fault");
    assert_eq!(event.is_in_json_log(), !is_other);
}

fn late() -> Fault {
    Fault::TimedOut { timeout: Duration::from_secs(3) }
}

fn killed() -> Fault {
    Fault::Exited(Exit { code: None, signal: Some(9), oom: true })
}

#[test]
fn starts() {
    let runtime = ("python:3.13.1", "arn:rt".to_owned());
    let start =
        InitStart::new(Phase::Init, runtime, ("f", "$LATEST"), "2026/09/21/[$LATEST]ab", 128);
    check(
        PlatformRecord::InitStart(start),
        Level::Info,
        Some("INIT_START Runtime Version: python:3.13.1\tRuntime Version ARN: arn:rt\n"),
        r#""platform.initStart","record":{"initializationType":"on-demand","phase":"init","runtimeVersion":"python:3.13.1","runtimeVersionArn":"arn:rt","functionName":"f","functionVersion":"$LATEST","instanceId":"2026/09/21/[$LATEST]ab","instanceMaxMemory":134217728}"#,
    );
    check(
        PlatformRecord::InitRuntimeDone(InitRuntimeDone::new(Phase::Init, &Status::Answered)),
        Level::Debug,
        None,
        r#""platform.initRuntimeDone","record":{"initializationType":"on-demand","phase":"init","status":"success"}"#,
    );
    let failed = Status::Error("Runtime.ExitError".into());
    check(
        PlatformRecord::InitRuntimeDone(InitRuntimeDone::new(Phase::Invoke, &failed)),
        Level::Warn,
        None,
        r#""platform.initRuntimeDone","record":{"initializationType":"on-demand","phase":"invoke","status":"error","errorType":"Runtime.ExitError"}"#,
    );
}

#[test]
fn reports_of_starts() {
    let cases = [
        (
            (Phase::Init, Status::Answered),
            Level::Debug,
            None,
            r#""phase":"init","status":"success""#,
        ),
        (
            (Phase::Init, Status::Timeout),
            Level::Warn,
            Some("Phase: init\tStatus: timeout"),
            r#""phase":"init","status":"timeout""#,
        ),
        (
            (Phase::Invoke, Status::Error("Runtime.ExitError".into())),
            Level::Warn,
            Some("Phase: invoke\tStatus: error\tError Type: Runtime.ExitError"),
            r#""phase":"invoke","status":"error","errorType":"Runtime.ExitError""#,
        ),
        (
            (Phase::Init, Status::Error("Sandbox.Failure".into())),
            Level::Warn,
            Some("Phase: init\tStatus: error\tError Type: Sandbox.Failure"),
            r#""phase":"init","status":"failure","errorType":"Sandbox.Failure""#,
        ),
    ];
    for ((phase, status), level, text, json) in cases {
        let report = InitReport::new(phase, &status, Duration::from_micros(10_000_487));
        check(
            PlatformRecord::InitReport(report),
            level,
            text.map(|text| format!("INIT_REPORT Init Duration: 10000.49 ms\t{text}\n")).as_deref(),
            &format!(
                r#""platform.initReport","record":{{"initializationType":"on-demand",{json},"metrics":{{"durationMs":10000.487}}}}"#
            ),
        );
    }
}

#[test]
fn invocations_begin_and_end() {
    let header = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1";
    let start = |tracing| {
        PlatformRecord::Start(Start {
            request_id: "r".into(),
            function_arn: "arn:f".into(),
            version: "7".into(),
            tracing,
            tenant_id: None,
        })
    };
    let text = "START RequestId: r Version: 7\n";
    let json = r#""platform.start","record":{"requestId":"r","functionArn":"arn:f","version":"7""#;
    check(start(None), Level::Info, Some(text), &format!("{json}}}"));
    let traced = format!(r#"{json},"tracing":{{"type":"X-Amzn-Trace-Id","value":"{header}"}}}}"#);
    check(start(Tracing::of_header(header)), Level::Info, Some(text), &traced);
    let PlatformRecord::Start(of_tenant) = start(None) else { unreachable!() };
    check(
        PlatformRecord::Start(Start { tenant_id: Some("blue".into()), ..of_tenant }),
        Level::Info,
        Some(text),
        &format!(r#"{json},"tenantId":"blue"}}"#),
    );
    assert_eq!(Tracing::of_header(&header.replace("Sampled=1", "Sampled=0")), None);
    check(
        PlatformRecord::End(End { request_id: "r".into() }),
        Level::Debug,
        Some("END RequestId: r\n"),
        r#""platform.end","record":{"requestId":"r"}"#,
    );
    check(
        PlatformRecord::Fault("RequestId: r Error: x\nRuntime.ExitError\n".into()),
        Level::Warn,
        Some("RequestId: r Error: x\nRuntime.ExitError\n"),
        r#""platform.fault","record":"RequestId: r Error: x\nRuntime.ExitError\n""#,
    );
    check(
        PlatformRecord::LogsDropped(LogsDropped {
            reason: "too many in a second",
            dropped_records: 5,
            dropped_bytes: 99,
        }),
        Level::Warn,
        Some("5 lines were dropped: too many in a second\n"),
        r#""platform.logsDropped","record":{"reason":"too many in a second","droppedRecords":5,"droppedBytes":99}"#,
    );
}

#[test]
fn what_the_runtime_did() {
    let done = |outcome: &Outcome| {
        PlatformRecord::RuntimeDone(RuntimeDone::new(outcome, at(1_000_000), None))
    };
    let mut answered = outcome(1_230, None, None);
    let latency = Duration::from_micros(1_000);
    answered.reply = Some(Reply { bytes: 50, latency, overhead: None });
    let kind = r#""platform.runtimeDone","record":{"requestId":"r","#;
    let spans = r#""status":"success","spans":[{"name":"responseLatency","start":"2026-09-21T14:13:21.000Z","durationMs":1.0},{"name":"responseDuration","start":"2026-09-21T14:13:21.001Z","durationMs":0.23}"#;
    let metrics = r#""metrics":{"durationMs":1.23,"producedBytes":50}}"#;
    check(done(&answered), Level::Debug, None, &format!("{kind}{spans}],{metrics}"));
    answered.reply.as_mut().unwrap().overhead = Some(Duration::from_micros(211));
    let overhead =
        r#"{"name":"runtimeOverhead","start":"2026-09-21T14:13:21.001Z","durationMs":0.211}"#;
    check(done(&answered), Level::Debug, None, &format!("{kind}{spans},{overhead}],{metrics}"));
    check(
        done(&outcome(3_000_000, None, Some(late()))),
        Level::Warn,
        None,
        &format!(
            r#"{kind}"status":"timeout","metrics":{{"durationMs":3000.0,"producedBytes":0}}}}"#
        ),
    );
    check(
        done(&outcome(500, None, Some(killed()))),
        Level::Warn,
        None,
        &format!(
            r#"{kind}"status":"error","errorType":"Runtime.OutOfMemory","metrics":{{"durationMs":0.5,"producedBytes":0}}}}"#
        ),
    );
}

#[test]
fn reports() {
    let head = "REPORT RequestId: r\tDuration: ";
    let memory = "Memory Size: 128 MB\tMax Memory Used: 35 MB\t";
    let json = |metrics: &str, ending: &str| {
        format!(
            r#""platform.report","record":{{"requestId":"r","metrics":{{{metrics}}},"status":{ending}}}"#
        )
    };
    let used = r#""memorySizeMB":128,"maxMemoryUsedMB":35"#;
    let cases = [
        (
            outcome(1_230, None, None),
            Level::Info,
            format!("{head}1.23 ms\tBilled Duration: 2 ms\t{memory}\n"),
            json(&format!(r#""durationMs":1.23,"billedDurationMs":2,{used}"#), r#""success""#),
        ),
        (
            outcome(1_230, Some(100_123), None),
            Level::Info,
            format!("{head}1.23 ms\tBilled Duration: 102 ms\t{memory}Init Duration: 100.12 ms\t\n"),
            json(
                &format!(
                    r#""durationMs":1.23,"billedDurationMs":102,{used},"initDurationMs":100.123"#
                ),
                r#""success""#,
            ),
        ),
        (
            outcome(3_000_000, None, Some(late())),
            Level::Warn,
            format!("{head}3000.00 ms\tBilled Duration: 3000 ms\t{memory}Status: timeout\n"),
            json(&format!(r#""durationMs":3000.0,"billedDurationMs":3000,{used}"#), r#""timeout""#),
        ),
        (
            outcome(500, None, Some(killed())),
            Level::Warn,
            format!(
                "{head}0.50 ms\tBilled Duration: 1 ms\t{memory}Status: error\t\
                 Error Type: Runtime.OutOfMemory\n"
            ),
            json(
                &format!(r#""durationMs":0.5,"billedDurationMs":1,{used}"#),
                r#""error","errorType":"Runtime.OutOfMemory""#,
            ),
        ),
    ];
    for (outcome, level, text, json) in cases {
        let report = Report::new(&outcome, at(0), 128, 35, None);
        check(PlatformRecord::Report(report), level, Some(&text), &json);
    }
}

proptest::proptest! {
    /// Whatever a name or a text holds, the event stays one line of JSON that says the same.
    #[test]
    fn one_line_whatever_is_in_it(text in ".*", micros in 0_u64..1 << 40) {
        let mut of = outcome(micros, Some(micros), None);
        of.request_id.clone_from(&text);
        let record = PlatformRecord::Report(Report::new(&of, at(0), 128, 35, None));
        let line = PlatformEvent { time: at(0), record }.to_json();
        proptest::prop_assert!(!line.contains('\n'));
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        proptest::prop_assert_eq!(value["record"]["requestId"].as_str(), Some(text.as_str()));
        let ms = value["record"]["metrics"]["durationMs"].as_f64().unwrap();
        proptest::prop_assert!((ms * 1_000.0 - micros as f64).abs() < 0.5);
    }
}

#[test]
fn a_sampled_invocation_names_its_segment() {
    let segment = Segment { trace_id: "1-5759e988-b".into(), id: "53995c3f42cd8ad8".into() };
    let sampled = Outcome { segment: Some(segment), ..outcome(1_230, None, None) };
    let tracing = Tracing::of_header("Root=1-5759e988-b;Parent=53995c3f42cd8ad8;Sampled=1");
    let record = PlatformRecord::Report(Report::new(&sampled, at(0), 128, 35, tracing));
    check(
        record,
        Level::Info,
        Some(
            "REPORT RequestId: r\tDuration: 1.23 ms\tBilled Duration: 2 ms\tMemory Size: 128 MB\t\
             Max Memory Used: 35 MB\t\n\
             XRAY TraceId: 1-5759e988-b\tSegmentId: 53995c3f42cd8ad8\tSampled: true\t\n",
        ),
        r#""platform.report","record":{"requestId":"r","metrics":{"durationMs":1.23,"billedDurationMs":2,"memorySizeMB":128,"maxMemoryUsedMB":35},"tracing":{"spanId":"53995c3f42cd8ad8","type":"X-Amzn-Trace-Id","value":"Root=1-5759e988-b;Parent=53995c3f42cd8ad8;Sampled=1"},"status":"success"}"#,
    );
}

#[test]
fn subscriptions() {
    let subscription = |state, types: &[&'static str]| Subscription {
        name: "mine".into(),
        state,
        types: types.to_vec(),
    };
    check(
        PlatformRecord::TelemetrySubscription(subscription(
            "Subscribed",
            &["platform", "function", "extension"],
        )),
        Level::Info,
        Some("TELEMETRY\tName: mine\tState: Subscribed\tTypes: [Platform, Function, Extension]\n"),
        r#""platform.telemetrySubscription","record":{"name":"mine","state":"Subscribed","types":["platform","function","extension"]}"#,
    );
    check(
        PlatformRecord::LogsSubscription(subscription("Already subscribed", &["platform"])),
        Level::Info,
        Some("LOGS\tName: mine\tState: Already subscribed\tTypes: [Platform]\n"),
        r#""platform.logsSubscription","record":{"name":"mine","state":"Already subscribed","types":["platform"]}"#,
    );
}

#[test]
fn extensions() {
    let info = |error_type: Option<&str>| Info {
        name: "watcher".to_owned(),
        state: "Ready",
        events: vec!["INVOKE", "SHUTDOWN"],
        error_type: error_type.map(str::to_owned),
    };
    check(
        PlatformRecord::Extension(ExtensionState::of(info(None))),
        Level::Info,
        Some("EXTENSION\tName: watcher\tState: Ready\tEvents: [INVOKE, SHUTDOWN]\n"),
        r#""platform.extension","record":{"name":"watcher","state":"Ready","events":["INVOKE","SHUTDOWN"]}"#,
    );
    check(
        PlatformRecord::Extension(ExtensionState::of(info(Some("Extension.Mine")))),
        Level::Warn,
        Some(
            "EXTENSION\tName: watcher\tState: Ready\tEvents: [INVOKE, SHUTDOWN]\t\
             Error Type: Extension.Mine\n",
        ),
        r#""platform.extension","record":{"name":"watcher","state":"Ready","events":["INVOKE","SHUTDOWN"],"errorType":"Extension.Mine"}"#,
    );
    let mut busy = outcome(1_230, None, None);
    busy.extension_overhead = Some(Duration::from_micros(1_000));
    let json = PlatformEvent {
        time: at(0),
        record: PlatformRecord::Report(Report::new(&busy, at(0), 128, 35, None)),
    }
    .to_json();
    let spans = r#""spans":[{"name":"extensionOverhead","start":"2026-09-21T14:13:20.000Z","durationMs":1.0}]"#;
    assert!(json.contains(spans), "{json}");
}

#[test]
fn snapshots() {
    let report = |status: &Status| {
        let report = InitReport::new(Phase::SnapStart, status, Duration::from_micros(250_001));
        PlatformRecord::InitReport(report.of_type(InitType::SnapStart))
    };
    check(
        report(&Status::Answered),
        Level::Info,
        Some("INIT_REPORT Init Duration: 250.00 ms\n"),
        r#""platform.initReport","record":{"initializationType":"snap-start","phase":"snap-start","status":"success","metrics":{"durationMs":250.001}}"#,
    );
    check(
        report(&Status::Timeout),
        Level::Warn,
        Some("INIT_REPORT Init Duration: 250.00 ms\tPhase: init\tStatus: timeout\n"),
        r#""platform.initReport","record":{"initializationType":"snap-start","phase":"snap-start","status":"timeout","metrics":{"durationMs":250.001}}"#,
    );
    let runtime = ("python:3.13.1", "arn:rt".to_owned());
    check(
        PlatformRecord::RestoreStart(RestoreStart::new(runtime, ("f", "1"), "2026/[1]ab", 128)),
        Level::Info,
        Some("RESTORE_START Runtime Version: python:3.13.1\tRuntime Version ARN: arn:rt\n"),
        r#""platform.restoreStart","record":{"runtimeVersion":"python:3.13.1","runtimeVersionArn":"arn:rt","functionName":"f","functionVersion":"1","instanceId":"2026/[1]ab","instanceMaxMemory":134217728}"#,
    );
    let failed = Status::Error("Runtime.AfterRestoreError".into());
    for (status, level, done, text, json) in [
        (Status::Answered, Level::Info, Level::Debug, "", r#""status":"success""#),
        (Status::Timeout, Level::Warn, Level::Warn, "\tStatus: timeout", r#""status":"timeout""#),
        (
            failed,
            Level::Warn,
            Level::Warn,
            "\tStatus: error\tError Type: Runtime.AfterRestoreError",
            r#""status":"error","errorType":"Runtime.AfterRestoreError""#,
        ),
    ] {
        check(
            PlatformRecord::RestoreRuntimeDone(RestoreRuntimeDone::new(&status)),
            done,
            None,
            &format!(r#""platform.restoreRuntimeDone","record":{{{json}}}"#),
        );
        check(
            PlatformRecord::RestoreReport(RestoreReport::new(
                &status,
                Duration::from_micros(4_321),
            )),
            level,
            Some(&format!("RESTORE_REPORT Restore Duration: 4.32 ms{text}\n")),
            &format!(
                r#""platform.restoreReport","record":{{{json},"metrics":{{"durationMs":4.321}}}}"#
            ),
        );
    }
}

#[test]
fn of_a_restored_environment_its_hooks_are_billed() {
    let (whole, billed) = (Duration::from_micros(4_321), Duration::from_micros(1_001));
    let restored =
        Outcome { init: Some(ColdStart::Restore { whole, billed }), ..outcome(2_230, None, None) };
    check(
        PlatformRecord::Report(Report::new(&restored, at(0), 128, 35, None)),
        Level::Info,
        Some(
            "REPORT RequestId: r\tDuration: 2.23 ms\tBilled Duration: 4 ms\tMemory Size: 128 MB\t\
             Max Memory Used: 35 MB\tRestore Duration: 4.32 ms\tBilled Restore Duration: 2 ms\t\n",
        ),
        r#""platform.report","record":{"requestId":"r","metrics":{"durationMs":2.23,"billedDurationMs":4,"memorySizeMB":128,"maxMemoryUsedMB":35,"restoreDurationMs":4.321,"billedRestoreDurationMs":2},"status":"success"}"#,
    );
}
