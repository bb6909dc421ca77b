//! Lines as AWS writes them, and output that is bounded however much there is.

use std::io;
use std::path::PathBuf;

use futures_util::FutureExt;
use lambic_rt::TaskKind;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use super::*;
use crate::invoke::fault::{Exit, Fault};
use crate::state::version::VersionState;

fn version() -> Arc<Version> {
    Arc::new(Version {
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
        log_group: String::new(),
        active_tracing: false,
        bundle: String::new(),
        bundle_path: PathBuf::new(),
        generation: 1,
        state: VersionState::Active,
        hold: None,
    })
}

fn outcome(duration_us: u64, init_us: Option<u64>, fault: Option<Fault>) -> Outcome {
    Outcome {
        request_id: "r".into(),
        duration: Duration::from_micros(duration_us),
        init: init_us.map(Duration::from_micros),
        status: fault.as_ref().map_or(Status::Answered, Fault::status),
        is_error: fault.is_some(),
        fault,
        segment: None,
    }
}

#[test]
fn report_lines() {
    let killed = Fault::Exited(Exit { code: None, signal: Some(9), oom: true });
    let late = Fault::TimedOut { timeout: Duration::from_secs(3) };
    let cases = [
        (
            outcome(1_230, None, None),
            "REPORT RequestId: r\tDuration: 1.23 ms\tBilled Duration: 2 ms\tMemory Size: 128 MB\t\
             Max Memory Used: 35 MB\t\n",
        ),
        (
            outcome(1_230, Some(100_120), None),
            "REPORT RequestId: r\tDuration: 1.23 ms\tBilled Duration: 102 ms\tMemory Size: 128 MB\
             \tMax Memory Used: 35 MB\tInit Duration: 100.12 ms\t\n",
        ),
        (
            outcome(3_000_000, None, Some(late)),
            "REPORT RequestId: r\tDuration: 3000.00 ms\tBilled Duration: 3000 ms\t\
             Memory Size: 128 MB\tMax Memory Used: 35 MB\tStatus: timeout\n",
        ),
        (
            outcome(500, None, Some(killed)),
            "REPORT RequestId: r\tDuration: 0.50 ms\tBilled Duration: 1 ms\tMemory Size: 128 MB\t\
             Max Memory Used: 35 MB\tStatus: error\tError Type: Runtime.OutOfMemory\n",
        ),
    ];
    for (outcome, line) in cases {
        assert_eq!(report_line(&outcome, 128, 35), line);
    }
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
}

fn recorder(rt: &Rt, bytes: usize) -> (Arc<Recorder>, tokio::io::DuplexStream) {
    let recorder = Arc::new(Recorder::new(version(), rt.clone()));
    let (ours, theirs) = tokio::io::duplex(bytes);
    let pump = recorder.attach(Box::new(Pipe(theirs)), Arc::new(Figures));
    rt.spawn("test output", TaskKind::Request, pump).detach();
    (recorder, ours)
}

#[tokio::test]
async fn what_was_printed_before_the_answer_stands_before_end() {
    use tokio::io::AsyncWriteExt;
    let rt = Rt::real();
    let (recorder, mut printed) = recorder(&rt, 64 * 1024);
    recorder.start("r");
    printed.write_all("hä\nno newline".as_bytes()).await.unwrap();
    let tail = recorder.finish(&outcome(1_000, None, None), true).unwrap();
    assert_eq!(
        String::from_utf8(tail).unwrap(),
        "START RequestId: r Version: $LATEST\nhä\nno newline\nEND RequestId: r\n\
         REPORT RequestId: r\tDuration: 1.00 ms\tBilled Duration: 1 ms\tMemory Size: 128 MB\t\
         Max Memory Used: 35 MB\t\n"
    );
    recorder.start("s");
    let tail = recorder.finish(&outcome(1_000, None, None), true).unwrap();
    assert!(tail.starts_with(b"START RequestId: s"), "a tail holds its own invocation only");
}

#[tokio::test]
async fn a_flood_is_read_and_only_its_end_is_kept() {
    use tokio::io::AsyncWriteExt;
    let rt = Rt::real();
    let (recorder, mut printed) = recorder(&rt, 64 * 1024);
    recorder.start("r");
    for number in 0..2_000 {
        let line = format!("{number} {}\n", "x".repeat(1_000));
        printed.write_all(line.as_bytes()).await.unwrap();
    }
    drop(printed);
    let tail = recorder.finish(&outcome(1_000, None, None), true).unwrap();
    assert_eq!(tail.len(), TAIL_BYTES_MAX);
    let text = String::from_utf8(tail).unwrap();
    assert!(text.contains("1999 xxx") && text.contains("REPORT") && !text.contains("START"));
}

#[test]
fn lines_beyond_the_limits_of_a_second_are_dropped_and_counted() {
    let rt = Rt::simulated(1);
    let now = rt.instant();
    let mut window = Window { since: now, lines: 0, bytes: 0, read_bytes: 0, dropped_lines: 0 };
    let passed = (0..LINES_PER_S_MAX + 5).filter(|_| window.may_pass(now, 10)).count();
    assert_eq!((passed, window.dropped_lines), (LINES_PER_S_MAX as usize, 5));
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
        recorder.take(piece);
    }
    recorder.take(b"\nnext\n");
    let lines = heard.0.lock().unwrap().clone();
    let (next, pieces) = lines.split_last().unwrap();
    assert_eq!((next.as_str(), pieces.concat() == printed), ("next", true));
    let lengths: Vec<usize> = pieces.iter().map(String::len).collect();
    assert_eq!(lengths, [LINE_BYTES_MAX, LINE_BYTES_MAX, 600_000 - 2 * LINE_BYTES_MAX]);
}

#[test]
fn a_sampled_invocation_names_its_segment_on_a_line_of_its_own() {
    let segment = Segment { trace_id: "1-5759e988-b".into(), id: "53995c3f42cd8ad8".into() };
    let sampled = Outcome { segment: Some(segment), ..outcome(1_230, None, None) };
    assert_eq!(
        report_line(&sampled, 128, 35),
        "REPORT RequestId: r\tDuration: 1.23 ms\tBilled Duration: 2 ms\tMemory Size: 128 MB\t\
         Max Memory Used: 35 MB\t\n\
         XRAY TraceId: 1-5759e988-b\tSegmentId: 53995c3f42cd8ad8\tSampled: true\t\n"
    );
}
