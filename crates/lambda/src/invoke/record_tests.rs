//! Lines as AWS writes them, and output that is bounded however much there is.

use std::io;
use std::path::PathBuf;

use futures_util::future::BoxFuture;
use lambic_rt::TaskKind;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use super::*;
use crate::invoke::cold_start::ColdStart;
use crate::invoke::fault::Fault;
use crate::invoke::launcher::Stop;
use crate::invoke::lines::RECORD_BYTES_MAX;
use crate::runtime_api::connection::BoxIo;
use crate::state::logging::{Level, LogFormat};
use crate::state::version::VersionState;

fn version() -> Arc<Version> {
    Arc::new(version_of(LogFormat::Text))
}

fn version_of(log_format: LogFormat) -> Version {
    Version {
        account: "000000000000".into(),
        region: "us-east-1".into(),
        function_name: "f".into(),
        function_arn: "arn:aws:lambda:us-east-1:000000000000:function:f".into(),
        version: "$LATEST".into(),
        revision_id: String::new(),
        runtime: "provided.al2023".into(),
        handler: None,
        role: String::new(),
        memory_mb: 128,
        timeout_s: 3,
        tmp_mb: 512,
        environment: Vec::new(),
        log_group: "/aws/lambda/f".into(),
        log_format,
        active_tracing: false,
        isolates_tenants: false,
        snap_start: false,
        sealed_environment: None,
        bundle: String::new(),
        bundle_path: PathBuf::new(),
        layers_path: None,
        file_system: None,
        vpc: None,
        generation: 1,
        state: VersionState::Active,
        holds: Vec::new(),
    }
}

fn outcome(duration_us: u64, init_us: Option<u64>, fault: Option<Fault>) -> Outcome {
    Outcome {
        request_id: "r".into(),
        duration: Duration::from_micros(duration_us),
        init: init_us.map(Duration::from_micros).map(ColdStart::Init),
        status: fault.as_ref().map_or(Status::Answered, Fault::status),
        is_error: fault.is_some(),
        fault,
        reply: None,
        segment: None,
        extension_overhead: None,
    }
}

/// The whole end of an invocation without extensions.
fn finish(recorder: &Recorder, outcome: &Outcome, wants_tail: bool) -> Option<Vec<u8>> {
    recorder.runtime_done(outcome);
    recorder.finish(outcome, wants_tail)
}

fn printed(pipe: tokio::io::DuplexStream) -> Outputs {
    Outputs { printed: Box::new(Pipe(pipe)), frames: None, extensions: None }
}

struct Pipe(tokio::io::DuplexStream);

impl Output for Pipe {
    fn read<'a>(&'a mut self, buffer: &'a mut [u8]) -> BoxFuture<'a, io::Result<usize>> {
        tokio::io::AsyncReadExt::read(&mut self.0, buffer).boxed()
    }
}

struct Figures;

impl Control for Figures {
    fn kill(&self) {}

    fn limit_cpu(&self, _millis: u32) {}

    fn set_frozen(&self, _frozen: bool) {}

    fn memory_peak_bytes(&self) -> Option<u64> {
        Some(35 * 1024 * 1024)
    }

    fn go(&self) {}

    fn stop(&self, _program: usize, _stop: Stop) {}

    fn connect(&self, _port: u16) -> BoxFuture<'static, io::Result<BoxIo>> {
        std::future::ready(Err(io::ErrorKind::ConnectionRefused.into())).boxed()
    }
}

/// A recorder whose environment goes on until the first is dropped.
struct Setup {
    _attached: Attached,
    recorder: Arc<Recorder>,
    printed: tokio::io::DuplexStream,
}

fn setup(rt: &Rt, version: Arc<Version>, bytes: usize) -> Setup {
    let recorder = Arc::new(Recorder::new(version, rt.clone()));
    let (ours, theirs) = tokio::io::duplex(bytes);
    let (_attached, reading) = recorder.attach(printed(theirs), Arc::new(Figures));
    rt.spawn("test output", TaskKind::Request, reading).detach();
    Setup { _attached, recorder, printed: ours }
}

#[tokio::test]
async fn what_was_printed_before_the_answer_stands_before_end() {
    use tokio::io::AsyncWriteExt;
    let rt = Rt::real();
    let Setup { _attached, recorder, mut printed } = setup(&rt, version(), 64 * 1024);
    recorder.start("r", "");
    printed.write_all("hä\nno newline".as_bytes()).await.unwrap();
    let tail = finish(&recorder, &outcome(1_000, None, None), true).unwrap();
    assert_eq!(
        String::from_utf8(tail).unwrap(),
        "START RequestId: r Version: $LATEST\nhä\nno newline\nEND RequestId: r\n\
         REPORT RequestId: r\tDuration: 1.00 ms\tBilled Duration: 1 ms\tMemory Size: 128 MB\t\
         Max Memory Used: 35 MB\t\n"
    );
    recorder.start("s", "");
    let tail = finish(&recorder, &outcome(1_000, None, None), true).unwrap();
    assert!(tail.starts_with(b"START RequestId: s"), "a tail holds its own invocation only");
}

#[tokio::test]
async fn a_flood_is_read_and_only_its_end_is_kept() {
    use tokio::io::AsyncWriteExt;
    let rt = Rt::real();
    let Setup { _attached, recorder, mut printed } = setup(&rt, version(), 64 * 1024);
    recorder.start("r", "");
    for number in 0..2_000 {
        let line = format!("{number} {}\n", "x".repeat(1_000));
        printed.write_all(line.as_bytes()).await.unwrap();
    }
    drop(printed);
    let tail = finish(&recorder, &outcome(1_000, None, None), true).unwrap();
    assert_eq!(tail.len(), TAIL_BYTES_MAX);
    let text = String::from_utf8(tail).unwrap();
    assert!(text.contains("1999 xxx") && text.contains("REPORT") && !text.contains("START"));
}

#[test]
fn a_tenant_is_named_where_its_invocations_begin_and_end() {
    let recorder = Recorder::new(json(Level::Debug, Level::Debug), Rt::simulated(1));
    let recorder = recorder.of_tenant(Some("blue".into()));
    recorder.start("r", "");
    let tail = recorder.finish(&outcome(1_000, None, None), true).unwrap();
    let tail = String::from_utf8(tail).unwrap();
    let of_tenant: Vec<_> =
        tail.lines().filter(|line| line.contains(r#""tenantId":"blue""#)).collect();
    assert_eq!(of_tenant.len(), 2, "{tail}");
    assert!(of_tenant[0].contains("platform.start") && of_tenant[1].contains("platform.report"));
}

#[test]
fn lines_beyond_the_limits_of_a_second_are_dropped_and_counted() {
    let rt = Rt::simulated(1);
    let now = rt.instant();
    let mut window = Window::new(now);
    let passed = (0..LINES_PER_S_MAX + 5).filter(|_| window.may_pass(now, 10)).count();
    assert_eq!(passed, LINES_PER_S_MAX as usize);
    let dropped = window.take_dropped().unwrap();
    assert_eq!((dropped.dropped_records, dropped.dropped_bytes), (5, 50));
    assert_eq!(window.take_dropped(), None);
    assert!(window.may_pass(now + Duration::from_secs(1), 10));
    window.read_bytes = READ_BYTES_PER_S_MAX;
    let half = now + Duration::from_millis(1_500);
    assert_eq!(window.wait_to_read(half), Some(Duration::from_millis(500)));
    assert_eq!(window.wait_to_read(now + Duration::from_secs(2)), None);
}

/// Keeps the lines that are passed on.
#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Vec<String>>>);

impl Visit for Heard {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        if field.name() == "message" {
            self.0.lock().unwrap().push(format!("{value:?}"));
        }
    }
}

impl Subscriber for Heard {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "function"
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn event(&self, event: &Event<'_>) {
        event.record(&mut self.clone());
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

#[test]
fn a_line_that_is_too_long_is_cut_and_nothing_of_it_is_lost() {
    let heard = Heard::default();
    let _guard = tracing::subscriber::set_default(heard.clone());
    let recorder = Recorder::new(version(), Rt::simulated(1));
    // Pieces of a size at which the cut falls inside of one.
    let printed: String = (0..100_000).map(|number| format!("{number:06}")).collect();
    for piece in printed.as_bytes().chunks(1_000) {
        recorder.take(Stream::Output, piece);
    }
    recorder.take(Stream::Output, b"\nnext\n");
    let lines = heard.0.lock().unwrap().clone();
    let (next, pieces) = lines.split_last().unwrap();
    assert_eq!((next.as_str(), pieces.concat() == printed), ("next", true));
    let lengths: Vec<usize> = pieces.iter().map(String::len).collect();
    assert_eq!(lengths, [RECORD_BYTES_MAX, RECORD_BYTES_MAX, 600_000 - 2 * RECORD_BYTES_MAX]);
}

fn json(application: Level, system: Level) -> Arc<Version> {
    Arc::new(version_of(LogFormat::Json { application, system }))
}

/// The types of the platform's events in a tail, and its other lines as they are.
fn outline(tail: &[u8]) -> Vec<String> {
    let text = String::from_utf8(tail.to_vec()).unwrap();
    let kind = |line: &str| {
        let value: serde_json::Value = serde_json::from_str(line).ok()?;
        Some(value["type"].as_str()?.to_owned())
    };
    text.lines().map(|line| kind(line).unwrap_or_else(|| line.to_owned())).collect()
}

#[tokio::test]
async fn a_log_as_json_has_what_its_levels_let_through() {
    use tokio::io::AsyncWriteExt;
    let line = |level: &str| format!(r#"{{"timestamp":"2026-11-28T07:00:00Z","level":"{level}"}}"#);
    let late = Fault::TimedOut { timeout: Duration::from_secs(3) };
    let answered = outcome(1_000, None, None);
    let timed_out = outcome(1_000, None, Some(late));
    let (start, done, report) = ("platform.start", "platform.runtimeDone", "platform.report");
    let (debug, error) = (line("DEBUG"), line("ERROR"));
    let cases: [(Level, Level, &Outcome, &[&str]); 5] = [
        (Level::Trace, Level::Debug, &answered, &[start, "text", &debug, &error, done, report]),
        (Level::Debug, Level::Info, &answered, &[start, "text", &debug, &error, report]),
        (Level::Info, Level::Warn, &answered, &["text", &error]),
        (Level::Fatal, Level::Warn, &timed_out, &["text", done, report]),
        (Level::Error, Level::Info, &timed_out, &[start, "text", &error, done, report]),
    ];
    let rt = Rt::real();
    for (application, system, outcome, expected) in cases {
        let Setup { _attached, recorder, mut printed } =
            setup(&rt, json(application, system), 64 * 1024);
        recorder.start("r", "");
        let text = format!("text\n{debug}\n{error}");
        printed.write_all(text.as_bytes()).await.unwrap();
        let tail = finish(&recorder, outcome, true).unwrap();
        assert_eq!(outline(&tail), expected, "{application:?} {system:?}");
    }
}

#[tokio::test]
async fn a_start_is_told_in_json_and_a_failed_one_in_the_tail_too() {
    let heard = Heard::default();
    let _guard = tracing::subscriber::set_default(heard.clone());
    let version = Version {
        log_group: "shared".into(),
        ..version_of(LogFormat::Json { application: Level::Info, system: Level::Debug })
    };
    let recorder = Recorder::new(Arc::new(version), Rt::real());
    recorder.init_start(Phase::Init, "provided:al2023");
    recorder.init_ended(Phase::Init, Duration::from_millis(9), &Status::Timeout, vec![]);
    recorder.init_start(Phase::Invoke, "provided:al2023");
    recorder.init_ended(Phase::Invoke, Duration::from_millis(9), &Status::Answered, vec![]);
    let lines = heard.0.lock().unwrap().clone();
    let values: Vec<serde_json::Value> =
        lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let seen: Vec<_> = values
        .iter()
        .map(|event| {
            let record = &event["record"];
            let word = |value: &serde_json::Value| value.as_str().unwrap_or("-").to_owned();
            [word(&event["type"]), word(&record["phase"]), word(&record["status"])].join(" ")
        })
        .collect();
    assert_eq!(
        seen,
        [
            "platform.initStart init -",
            "platform.initRuntimeDone init timeout",
            "platform.initReport init timeout",
            "platform.initStart invoke -",
            "platform.initRuntimeDone invoke success",
            "platform.initReport invoke success",
        ]
    );
    let stream = values[0]["record"]["instanceId"].as_str().unwrap();
    assert_eq!(stream, recorder.log_stream());
    assert_eq!(&stream[10..21], "/f[$LATEST]", "a group of several functions: {stream}");
    recorder.start("r", "");
    let tail = finish(&recorder, &outcome(1_000, None, None), true).unwrap();
    let seen = outline(&tail);
    assert_eq!(
        seen,
        [
            "platform.initRuntimeDone",
            "platform.initReport",
            "platform.start",
            "platform.runtimeDone",
            "platform.report"
        ]
    );
}

#[test]
fn the_stream_of_a_function_s_own_group_does_not_repeat_its_name() {
    let recorder = Recorder::new(version(), Rt::simulated(1));
    assert_eq!(&recorder.log_stream()[10..20], "/[$LATEST]");
}

#[test]
fn a_record_of_several_lines_stays_one() {
    let heard = Heard::default();
    let _guard = tracing::subscriber::set_default(heard.clone());
    let version = Version { runtime: "python3.13".into(), ..version_of(LogFormat::Text) };
    let recorder = Recorder::new(Arc::new(version), Rt::simulated(1));
    recorder.take(
        Stream::Output,
        b"before\n\xa5\x5a\x00\x17\x00\x00\x00\x03\0\0\0\0\0\0\0\0a\nbafter\n",
    );
    assert_eq!(*heard.0.lock().unwrap(), ["before", "a\nb", "after"]);
}

/// A start that is repeated reads its own output; the first one's task is left with its own.
#[tokio::test]
async fn a_repeated_start_has_a_reading_of_its_own() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let rt = Rt::real();
    let Setup { _attached: first, recorder, printed: mut first_output } =
        setup(&rt, version(), 64 * 1024);
    let (mut second_output, theirs) = tokio::io::duplex(64 * 1024);
    let (second, task) = recorder.attach(printed(theirs), Arc::new(Figures));
    first_output.write_all(b"from the first\n").await.unwrap();
    drop(first);
    // Its end is seen although this side is still open.
    assert_eq!(first_output.read(&mut [0; 1]).await.unwrap(), 0);
    let task = rt.spawn("test output", TaskKind::Request, task);
    recorder.start("r", "");
    second_output.write_all(b"from the second\n").await.unwrap();
    let tail = finish(&recorder, &outcome(1_000, None, None), true).unwrap();
    let text = String::from_utf8(tail).unwrap();
    assert!(text.starts_with("from the first\nSTART"), "{text}");
    assert!(text.contains("$LATEST\nfrom the second\nEND"), "{text}");
    drop(second_output);
    // A drain finds the end; the task has to hear of it.
    recorder.drain();
    rt.within(Duration::from_secs(10), task).await.expect("the task has ended");
    drop(second);
    assert_eq!(Arc::strong_count(&recorder), 1, "nobody else keeps the recorder");
}

#[tokio::test]
async fn framed_records_have_a_descriptor_of_their_own() {
    use tokio::io::AsyncWriteExt;
    let rt = Rt::real();
    let recorder = Arc::new(Recorder::new(json(Level::Info, Level::Warn), rt.clone()));
    let (_printed, output) = tokio::io::duplex(1024);
    let (mut framed, frames) = tokio::io::duplex(1024);
    let frames: Box<dyn Output> = Box::new(Pipe(frames));
    let (_attached, reading) =
        recorder.attach(Outputs { frames: Some(frames), ..printed(output) }, Arc::new(Figures));
    rt.spawn("test output", TaskKind::Request, reading).detach();
    recorder.start("r", "");
    for (kind, text) in [(0x0a, "{\"fine\":1}"), (0x12, "{\"warned\":1}"), (0x17, "two\nlines")] {
        let mut frame = vec![0xa5, 0x5a, 0, kind, 0, 0, 0, text.len() as u8];
        frame.extend([0; 8]);
        frame.extend(text.as_bytes());
        framed.write_all(&frame).await.unwrap();
    }
    let tail = finish(&recorder, &outcome(1_000, None, None), true).unwrap();
    assert_eq!(String::from_utf8(tail).unwrap(), "{\"warned\":1}\ntwo\nlines\n");
}

/// Connections to whoever takes the other ends.
struct Listened(tokio::sync::mpsc::UnboundedSender<tokio::io::DuplexStream>);

impl Connect for Listened {
    fn connect(&self, _port: u16) -> BoxFuture<'static, io::Result<BoxIo>> {
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        self.0.send(theirs).unwrap();
        async move { Ok(Box::pin(ours) as BoxIo) }.boxed()
    }
}

/// The events that have been sent as lines, by type and gist.
async fn told(recorder: &Recorder, io: &mut tokio::io::DuplexStream) -> Vec<String> {
    let flushed = recorder.hub().flush(Duration::from_secs(60)).await;
    assert!(flushed);
    let mut bytes = Vec::new();
    while let Some(Ok(1..)) = tokio::io::AsyncReadExt::read_buf(io, &mut bytes).now_or_never() {}
    let value = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap();
    let lines = String::from_utf8(bytes).unwrap();
    let gist = |line: &str| {
        let event = value(line);
        let record = &event["record"];
        let text = record.as_str().or_else(|| record["message"].as_str()).unwrap_or_default();
        format!("{} {}", event["type"].as_str().unwrap(), text).trim_end().to_owned()
    };
    lines.lines().map(gist).collect()
}

/// Subscribers are told what the log leaves out, and of extensions what they print.
#[tokio::test(start_paused = true)]
async fn subscribers_are_told_more_than_the_log() {
    let heard = Heard::default();
    let _guard = tracing::subscriber::set_default(heard.clone());
    let rt = Rt::simulated(1);
    let recorder = Recorder::new(json(Level::Error, Level::Warn), rt.clone());
    let (sender, mut dialled) = tokio::sync::mpsc::unbounded_channel();
    recorder.init_start(Phase::Init, "provided:al2023");
    recorder.hub().reach(Arc::new(Listened(sender)));
    let body = br#"{"schemaVersion": "2025-01-29", "types": ["platform", "function", "extension"],
        "destination": {"protocol": "TCP", "port": 1}}"#;
    assert_eq!(recorder.subscribe(Api::Telemetry, "mine", body).status, 200);
    recorder.take(Stream::Extensions, b"by an extension\n");
    let extension = |error_type: Option<&str>| Info {
        name: "mine".into(),
        state: "Ready",
        events: Vec::new(),
        error_type: error_type.map(str::to_owned),
    };
    let extensions = vec![extension(None), extension(Some("Extension.Mine"))];
    recorder.init_ended(Phase::Init, Duration::from_millis(9), &Status::Answered, extensions);
    assert_eq!(recorder.subscribe(Api::Telemetry, "late", body).status, 403);
    recorder.start("r", "");
    let fine =
        b"{\"timestamp\":\"2026-11-28T07:00:00Z\",\"level\":\"DEBUG\",\"message\":\"fine\"}\n";
    recorder.take(Stream::Output, fine);
    let outcome = outcome(1_000, None, None);
    recorder.runtime_done(&outcome);
    recorder.finish(&outcome, false);
    let mut io = dialled.recv().await.unwrap();
    assert_eq!(
        told(&recorder, &mut io).await,
        [
            "platform.initStart",
            "platform.telemetrySubscription",
            "extension by an extension",
            "platform.initRuntimeDone",
            "platform.extension",
            "platform.extension",
            "platform.initReport",
            "platform.start",
            "function fine",
            "platform.runtimeDone",
            "platform.report",
        ]
    );
    let lines = heard.0.lock().unwrap().clone();
    assert_eq!(outline(lines.join("\n").as_bytes()), ["by an extension", "platform.extension"]);
}

/// The end of the runtime's start is told when it is known, and once.
#[tokio::test(start_paused = true)]
async fn the_runtime_s_start_is_told_before_that_of_extensions() {
    let rt = Rt::simulated(1);
    let recorder = Recorder::new(version(), rt.clone());
    let (sender, mut dialled) = tokio::sync::mpsc::unbounded_channel();
    recorder.init_start(Phase::Init, "provided:al2023");
    recorder.hub().reach(Arc::new(Listened(sender)));
    let body = br#"{"schemaVersion": "2022-07-01", "types": ["platform"],
        "destination": {"protocol": "TCP", "port": 1}}"#;
    assert_eq!(recorder.subscribe(Api::Telemetry, "mine", body).status, 200);
    recorder.runtime_started();
    let started =
        ["platform.initStart", "platform.telemetrySubscription", "platform.initRuntimeDone"];
    let mut io = dialled.recv().await.unwrap();
    assert_eq!(told(&recorder, &mut io).await, started);
    let failed = Status::Error("Extension.Crash".into());
    recorder.init_ended(Phase::Init, Duration::from_millis(9), &failed, Vec::new());
    assert_eq!(told(&recorder, &mut io).await, ["platform.initReport"]);
}

/// What an extension spoils after the runtime was done is told once, and before END.
#[tokio::test]
async fn a_fault_that_comes_late_is_told_too() {
    let recorder = Recorder::new(version(), Rt::simulated(1));
    recorder.start("r", "");
    recorder.runtime_done(&outcome(1_000, None, None));
    let late = outcome(1_000, None, Some(Fault::TimedOut { timeout: Duration::from_secs(3) }));
    let tail = String::from_utf8(recorder.finish(&late, true).unwrap()).unwrap();
    let at = |what: &str| tail.find(what).expect(what);
    assert!(at("Task timed out") < at("END RequestId"), "{tail}");
    assert_eq!(tail.matches("Task timed out").count(), 1);
}

/// In a log as text a subscription is a line of its own.
#[tokio::test]
async fn a_subscription_is_in_the_log() {
    let heard = Heard::default();
    let _guard = tracing::subscriber::set_default(heard.clone());
    let recorder = Recorder::new(version(), Rt::simulated(1));
    let (sender, _dialled) = tokio::sync::mpsc::unbounded_channel();
    recorder.hub().reach(Arc::new(Listened(sender)));
    let body = br#"{"types": ["function"], "destination": {"protocol": "TCP", "port": 1}}"#;
    recorder.subscribe(Api::Logs, "mine", body);
    let line = "LOGS\tName: mine\tState: Subscribed\tTypes: [Function]";
    assert_eq!(*heard.0.lock().unwrap(), [line]);
}
