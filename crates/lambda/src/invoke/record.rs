//! What is written down of an environment's invocations: START, END and REPORT among the lines
//! that the function prints.
//!
//! The output pipe is read to its end when an invocation ends, before its END, so that its lines
//! stand in it. Each environment keeps the last 4 KB (AWS's log tail) and at most one unfinished line; lines
//! go to the tracing target `function`. A function that floods its output loses lines beyond
//! [`LINES_PER_S_MAX`] or [`BYTES_PER_S_MAX`], is told so in one line, and is slowed down by its
//! full pipe beyond [`READ_BYTES_PER_S_MAX`]; it never blocks the server nor grows its memory.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_util::future::BoxFuture;
use lambic_rt::{Instant, Rt};

use super::fault::Status;
use super::launcher::{Control, Output};
use super::trace::Segment;
use crate::runtime_api::desk::Outcome;
use crate::state::runtime_id;
use crate::state::version::Version;

/// AWS's log tail.
pub const TAIL_BYTES_MAX: usize = 4 * 1024;
/// A longer line is cut into pieces of this size, as CloudWatch Logs has it.
pub const LINE_BYTES_MAX: usize = 256 * 1024;
/// Lines of one environment that are passed on in a second.
pub const LINES_PER_S_MAX: u32 = 10_000;
/// Bytes of one environment that are passed on in a second.
pub const BYTES_PER_S_MAX: usize = 4 * 1024 * 1024;
/// Bytes that are read of one environment in a second.
pub const READ_BYTES_PER_S_MAX: usize = 32 * 1024 * 1024;
/// Read at a time before others have their turn; a pipe holds at most 64 KB.
const TURN_BYTES_MAX: usize = 128 * 1024;
/// A figure of used memory that is younger than this is good enough for a line that nobody waits
/// for.
const MEMORY_FRESH_MS: u64 = 50;
const CHUNK_BYTES: usize = 4 * 1024;

/// The log of one environment.
pub struct Recorder {
    version: Arc<Version>,
    rt: Rt,
    state: Mutex<State>,
    pump: Mutex<Pump>,
}

/// What reads the output. Its task drives it; the end of an invocation drives it once more, so
/// that what was printed before the answer is read by then.
#[derive(Default)]
struct Pump {
    reading: Option<BoxFuture<'static, ()>>,
    /// Of the pump's task.
    waker: Option<Waker>,
}

struct State {
    /// Of the invocation at work; empty before the first.
    request_id: String,
    invocations: u64,
    tail: VecDeque<u8>,
    line: Vec<u8>,
    window: Window,
    control: Option<Arc<dyn Control>>,
    memory: Option<(Instant, u64)>,
}

/// What has been read and passed on in the present second.
struct Window {
    since: Instant,
    lines: u32,
    bytes: usize,
    read_bytes: usize,
    dropped_lines: u64,
}

/// How a start ended; for the INIT_REPORT line.
pub struct InitReport<'a> {
    /// `init`, or `invoke` when it was repeated inside an invocation.
    pub phase: &'static str,
    /// How long it took.
    pub duration: Duration,
    /// `Status: …`
    pub status: &'a Status,
}

impl Recorder {
    /// The log of an environment that is about to be started.
    pub fn new(version: Arc<Version>, rt: Rt) -> Recorder {
        let since = rt.instant();
        let window = Window { since, lines: 0, bytes: 0, read_bytes: 0, dropped_lines: 0 };
        let state = State {
            request_id: String::new(),
            invocations: 0,
            tail: VecDeque::new(),
            line: Vec::new(),
            window,
            control: None,
            memory: None,
        };
        Recorder { version, rt, state: Mutex::new(state), pump: Mutex::default() }
    }

    /// The environment is there (again). The future reads what it prints until it ends, and has
    /// to be spawned.
    pub fn attach(
        self: &Arc<Recorder>,
        output: Box<dyn Output>,
        control: Arc<dyn Control>,
    ) -> impl Future<Output = ()> + Send + 'static {
        let mut state = self.lock();
        state.control = Some(control);
        state.memory = None;
        drop(state);
        let reading = read(self.clone(), output);
        *self.lock_pump() = Pump { reading: Some(Box::pin(reading)), waker: None };
        let recorder = self.clone();
        poll_fn(move |context| {
            let mut pump = recorder.lock_pump();
            pump.waker = Some(context.waker().clone());
            pump.poll()
        })
    }

    /// Writes INIT_START. `runtime` names what runs, such as `python:3.13.1`.
    pub fn init_start(&self, runtime: &str) {
        let region = &self.version.region;
        let arn = runtime_id::version_arn(region, &self.version.runtime);
        let text = format!("INIT_START Runtime Version: {runtime}\tRuntime Version ARN: {arn}\n");
        self.hear(&mut self.lock(), &text);
    }

    /// Writes INIT_REPORT, for a start that went wrong.
    pub fn init_report(&self, report: &InitReport<'_>) {
        self.drain();
        let mut state = self.lock();
        let text = format!(
            "INIT_REPORT Init Duration: {:.2} ms\tPhase: {}{}\n",
            millis(report.duration),
            report.phase,
            status_text(report.status)
        );
        self.platform(&mut state, &text);
    }

    /// Writes START. What was printed before belongs to the start of the environment, or to
    /// nobody; it is in the first invocation's tail only.
    pub fn start(&self, request_id: &str) {
        let mut state = self.lock();
        state.invocations += 1;
        if state.invocations > 1 {
            state.tail.clear();
        }
        state.request_id.clear();
        state.request_id.push_str(request_id);
        let text = format!("START RequestId: {request_id} Version: {}\n", self.version.version);
        self.platform(&mut state, &text);
    }

    /// Writes what ended the invocation, END and REPORT. The tail, when it is wanted.
    pub fn finish(&self, outcome: &Outcome, wants_tail: bool) -> Option<Vec<u8>> {
        self.drain();
        let mut state = self.lock();
        let used = self.memory_mb(&mut state, wants_tail);
        if let Some(fault) = &outcome.fault {
            let text = fault.log_text(&outcome.request_id, &self.rt.now().rfc3339());
            self.platform(&mut state, &text);
        }
        self.platform(&mut state, &format!("END RequestId: {}\n", outcome.request_id));
        let report = report_line(outcome, self.version.memory_mb, used);
        self.platform(&mut state, &report);
        wants_tail.then(|| state.tail.iter().copied().collect())
    }

    /// Reads what has been printed until now.
    fn drain(&self) {
        let _ = self.lock_pump().poll();
    }

    /// Bytes that the function printed.
    fn take(&self, bytes: &[u8]) {
        let state = &mut *self.lock();
        state.window.read_bytes += bytes.len();
        remember(&mut state.tail, bytes);
        if !self.is_heard() {
            return;
        }
        for mut rest in bytes.split_inclusive(|byte| *byte == b'\n') {
            while !rest.is_empty() {
                let room = LINE_BYTES_MAX - state.line.len();
                let (piece, behind) = rest.split_at(rest.len().min(room));
                state.line.extend_from_slice(piece);
                if piece.ends_with(b"\n") || state.line.len() == LINE_BYTES_MAX {
                    self.end_line(state);
                }
                rest = behind;
            }
        }
    }

    fn end_line(&self, state: &mut State) {
        let line = std::mem::take(&mut state.line);
        if !line.is_empty() && state.window.may_pass(self.rt.instant(), line.len()) {
            self.pass_on(state, &String::from_utf8_lossy(&line));
        }
    }

    /// A line of the platform itself.
    fn platform(&self, state: &mut State, text: &str) {
        self.end_line(state);
        if state.tail.back().is_some_and(|last| *last != b'\n') {
            remember(&mut state.tail, b"\n");
        }
        remember(&mut state.tail, text.as_bytes());
        self.hear(state, text);
    }

    /// A line of the platform that is in the log, but in no invocation's tail.
    fn hear(&self, state: &mut State, text: &str) {
        if self.is_heard() {
            let dropped = std::mem::take(&mut state.window.dropped_lines);
            if dropped > 0 {
                self.pass_on(state, &format!("{dropped} lines were dropped: too many in a second"));
            }
            self.pass_on(state, text);
        }
    }

    fn is_heard(&self) -> bool {
        tracing::enabled!(target: "function", tracing::Level::INFO)
    }

    fn pass_on(&self, state: &State, text: &str) {
        tracing::info!(
            target: "function",
            function = %self.version.function_name,
            request_id = %state.request_id,
            "{}",
            text.trim_end_matches(['\n', '\t'])
        );
    }

    fn memory_mb(&self, state: &mut State, exact: bool) -> u64 {
        let now = self.rt.instant();
        let fresh = Duration::from_millis(MEMORY_FRESH_MS);
        let known = state.memory.filter(|(at, _)| !exact && now.duration_since(*at) < fresh);
        let bytes = match known {
            Some((_, bytes)) => bytes,
            None => {
                let read = state.control.as_ref().and_then(|control| control.memory_peak_bytes());
                // An environment that is gone is remembered by its last figure.
                let bytes = read.unwrap_or(state.memory.map_or(0, |(_, bytes)| bytes));
                state.memory = Some((now, bytes));
                bytes
            }
        };
        bytes.div_ceil(1024 * 1024).min(u64::from(self.version.memory_mb))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_pump(&self) -> MutexGuard<'_, Pump> {
        self.pump.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pump {
    /// Reads on, woken as the pump's task is.
    fn poll(&mut self) -> Poll<()> {
        let Some(reading) = &mut self.reading else { return Poll::Ready(()) };
        let waker = self.waker.as_ref().unwrap_or(Waker::noop());
        let polled = reading.as_mut().poll(&mut Context::from_waker(waker));
        if polled.is_ready() {
            self.reading = None;
        }
        polled
    }
}

/// Reads what an environment prints until every writer is gone.
async fn read(recorder: Arc<Recorder>, mut output: Box<dyn Output>) {
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut turn_bytes = 0;
    while let Ok(count) = output.read(&mut chunk).await {
        if count == 0 {
            break;
        }
        recorder.take(&chunk[..count]);
        turn_bytes += count;
        if turn_bytes > TURN_BYTES_MAX {
            turn_bytes = 0;
            let wait = recorder.lock().window.wait_to_read(recorder.rt.instant());
            match wait {
                Some(wait) => recorder.rt.sleep(wait).await,
                None => pause().await,
            }
        }
    }
    recorder.end_line(&mut recorder.lock());
}

/// Lets others have their turn.
async fn pause() {
    let mut paused = false;
    poll_fn(|context| {
        if std::mem::replace(&mut paused, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

impl Window {
    fn renew(&mut self, now: Instant) {
        if now.duration_since(self.since) >= Duration::from_secs(1) {
            let dropped_lines = self.dropped_lines;
            *self = Window { since: now, lines: 0, bytes: 0, read_bytes: 0, dropped_lines };
        }
    }

    fn wait_to_read(&mut self, now: Instant) -> Option<Duration> {
        self.renew(now);
        let end = self.since + Duration::from_secs(1);
        (self.read_bytes >= READ_BYTES_PER_S_MAX).then(|| end.duration_since(now))
    }

    fn may_pass(&mut self, now: Instant, bytes: usize) -> bool {
        self.renew(now);
        let passes = self.lines < LINES_PER_S_MAX && self.bytes + bytes <= BYTES_PER_S_MAX;
        if passes {
            self.lines += 1;
            self.bytes += bytes;
        } else {
            self.dropped_lines += 1;
        }
        passes
    }
}

/// Keeps the last [`TAIL_BYTES_MAX`] bytes.
fn remember(tail: &mut VecDeque<u8>, bytes: &[u8]) {
    let bytes = &bytes[bytes.len().saturating_sub(TAIL_BYTES_MAX)..];
    let over = (tail.len() + bytes.len()).saturating_sub(TAIL_BYTES_MAX);
    tail.drain(..over);
    tail.extend(bytes);
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}

/// Milliseconds that are billed: rounded up, the start of the environment included.
pub fn billed_ms(outcome: &Outcome) -> u64 {
    let total = outcome.duration + outcome.init.unwrap_or_default();
    let ms = u64::try_from(total.as_micros().div_ceil(1_000)).unwrap_or(u64::MAX);
    ms.max(1)
}

/// The REPORT line, with its newline.
pub fn report_line(outcome: &Outcome, memory_mb: u32, used_mb: u64) -> String {
    let init = match outcome.init {
        Some(init) => format!("Init Duration: {:.2} ms\t", millis(init)),
        None => String::new(),
    };
    let status = status_text(&outcome.status);
    format!(
        "REPORT RequestId: {}\tDuration: {:.2} ms\tBilled Duration: {} ms\t\
         Memory Size: {memory_mb} MB\tMax Memory Used: {used_mb} MB\t{init}{}{}\n",
        outcome.request_id,
        millis(outcome.duration),
        billed_ms(outcome),
        status.trim_start_matches('\t'),
        outcome.segment.as_ref().map_or_else(String::new, segment_text),
    )
}

/// AWS puts it on a line of its own, in the same event of the log.
fn segment_text(segment: &Segment) -> String {
    format!("\nXRAY TraceId: {}\tSegmentId: {}\tSampled: true\t", segment.trace_id, segment.id)
}

fn status_text(status: &Status) -> String {
    match status {
        Status::Answered => String::new(),
        Status::Timeout => "\tStatus: timeout".to_owned(),
        Status::Error(kind) => format!("\tStatus: error\tError Type: {kind}"),
    }
}

#[cfg(test)]
#[path = "record_tests.rs"]
mod tests;
