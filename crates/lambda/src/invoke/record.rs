//! What is written down of an environment's invocations: the platform's events among the lines that
//! the function prints.
//!
//! The output is read to its end when an invocation ends, before its END, so that its lines stand in
//! it. Each environment keeps the last 4 KB (AWS's log tail) and at most one unfinished line; lines
//! go to the tracing target `function`. In a log as JSON, what is below the function's levels is in
//! neither. A function that floods its output loses lines beyond [`LINES_PER_S_MAX`] or
//! [`BYTES_PER_S_MAX`], is told so in one line, and is slowed down by its full pipe beyond
//! [`READ_BYTES_PER_S_MAX`]; it never blocks the server nor grows its memory.
//!
//! Everything is also told to the environment's telemetry hub, before levels and limits of the log
//! leave anything out.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, OptionFuture};
use lambic_rt::{Instant, Rt, Timestamp};

use super::fault::Status;
use super::launcher::{Control, Output};
use super::lines::{Piece, Splitter, level_of};
use super::platform_events::{
    End, ExtensionState, InitReport, InitRuntimeDone, InitStart, PlatformEvent, PlatformRecord,
    Report, RuntimeDone, Start, Tracing,
};
pub use super::platform_events::{InitType, Phase};
pub use super::reading::Attached;
use super::reading::Reading;
use super::window::Window;
pub use super::window::{BYTES_PER_S_MAX, LINES_PER_S_MAX, READ_BYTES_PER_S_MAX};
use crate::runtime_api::connection::BoxIo;
use crate::runtime_api::desk::Outcome;
use crate::runtime_api::extensions::crew::Info;
use crate::state::logging::{LogFormat, own_group};
use crate::state::runtime_id;
use crate::state::version::Version;
use crate::telemetry::{Answer, Api, Connect, Hub, Source};

/// AWS's log tail.
pub const TAIL_BYTES_MAX: usize = 4 * 1024;
/// Read at a time before others have their turn; a pipe holds at most 64 KB.
const TURN_BYTES_MAX: usize = 128 * 1024;
/// A figure of used memory that is younger than this is good enough for a line that nobody waits
/// for.
const MEMORY_FRESH_MS: u64 = 50;
const CHUNK_BYTES: usize = 4 * 1024;

/// The log of one environment.
pub struct Recorder {
    version: Arc<Version>,
    /// For whom the environment is, if the function isolates tenants.
    tenant: Option<Arc<str>>,
    rt: Rt,
    log_stream: String,
    /// The log group, when it is not the function's own.
    log_group: Option<String>,
    /// Why the environment is started.
    init_type: InitType,
    hub: Arc<Hub>,
    state: Mutex<State>,
    /// Of the present start; kept by its environment.
    reading: Mutex<Weak<Reading>>,
}

struct State {
    /// Of the invocation at work; empty before the first.
    request_id: String,
    began: Timestamp,
    tracing: Option<Tracing>,
    /// Of a start whose runtime is still at it.
    starting: Option<Phase>,
    /// Whether it is told that the runtime has started, though the start is not over.
    is_started: bool,
    /// What begins the log of the invocation, until it is written.
    start: Option<PlatformEvent>,
    /// Whether it is told that the runtime is done with it.
    is_done: bool,
    /// Whether it is told what fault ended it.
    is_fault_told: bool,
    invocations: u64,
    tail: VecDeque<u8>,
    output: Splitter,
    frames: Splitter,
    beside: Splitter,
    window: Window,
    control: Option<Arc<dyn Control>>,
    memory: Option<(Instant, u64)>,
}

/// What is read of an environment.
#[derive(Clone, Copy)]
enum Stream {
    /// Standard output and error.
    Output,
    /// The descriptor for framed records.
    Frames,
    /// Standard output and error of extensions.
    Extensions,
}

/// What there is to be read of an environment.
pub struct Outputs {
    /// Standard output and error of the runtime.
    pub printed: Box<dyn Output>,
    /// Its framed records.
    pub frames: Option<Box<dyn Output>>,
    /// Standard output and error of the extensions.
    pub extensions: Option<Box<dyn Output>>,
}

impl State {
    fn splitter(&mut self, stream: Stream) -> &mut Splitter {
        match stream {
            Stream::Output => &mut self.output,
            Stream::Frames => &mut self.frames,
            Stream::Extensions => &mut self.beside,
        }
    }
}

impl Stream {
    fn source(self) -> Source {
        match self {
            Stream::Output | Stream::Frames => Source::Function,
            Stream::Extensions => Source::Extension,
        }
    }
}

/// The way to those who listen inside.
struct Inside(Arc<dyn Control>);

impl Connect for Inside {
    fn connect(&self, port: u16) -> BoxFuture<'static, io::Result<BoxIo>> {
        self.0.connect(port)
    }
}

impl Recorder {
    /// The log of an environment that is about to be started.
    pub fn new(version: Arc<Version>, rt: Rt) -> Recorder {
        let state = State {
            request_id: String::new(),
            began: rt.now(),
            tracing: None,
            starting: None,
            is_started: false,
            start: None,
            is_done: true,
            is_fault_told: true,
            invocations: 0,
            tail: VecDeque::new(),
            // A custom runtime has a descriptor of its own for frames.
            output: Splitter::new(!runtime_id::is_provided(&version.runtime)),
            frames: Splitter::new(true),
            beside: Splitter::new(false),
            window: Window::new(rt.instant()),
            control: None,
            memory: None,
        };
        let has_own_group = version.log_group == own_group(&version.function_name);
        let log_group = (!has_own_group).then(|| version.log_group.clone());
        let log_stream = log_stream(&version, has_own_group, &rt);
        let is_json = matches!(version.log_format, LogFormat::Json { .. });
        let hub = Arc::new(Hub::new(rt.clone(), is_json));
        let (state, reading) = (Mutex::new(state), Mutex::default());
        let init_type = InitType::OnDemand;
        Recorder {
            version,
            tenant: None,
            rt,
            log_stream,
            log_group,
            init_type,
            hub,
            state,
            reading,
        }
    }

    /// The same of an environment that is started for this reason.
    pub fn of_type(self, init_type: InitType) -> Recorder {
        Recorder { init_type, ..self }
    }

    /// The log of an environment that serves this tenant only.
    pub fn of_tenant(self, tenant: Option<Arc<str>>) -> Recorder {
        Recorder { tenant, ..self }
    }

    /// Why the environment is started.
    pub fn init_type(&self) -> InitType {
        self.init_type
    }

    /// What tells extensions of this environment.
    pub fn hub(&self) -> &Arc<Hub> {
        &self.hub
    }

    /// The name of this environment's log stream.
    pub fn log_stream(&self) -> &str {
        &self.log_stream
    }

    /// The environment is there (again), until the first is dropped. The second reads what it and
    /// its extensions print, and has to be spawned.
    pub fn attach(
        self: &Arc<Recorder>,
        outputs: Outputs,
        control: Arc<dyn Control>,
    ) -> (Attached, impl Future<Output = ()> + Send + 'static) {
        self.hub.reach(Arc::new(Inside(control.clone())));
        let mut state = self.lock();
        state.control = Some(control);
        state.memory = None;
        drop(state);
        let read_all = |output, stream| read(self.clone(), output, stream);
        let printed = read_all(outputs.printed, Stream::Output);
        let framed = outputs.frames.map(|output| read_all(output, Stream::Frames));
        let beside = outputs.extensions.map(|output| read_all(output, Stream::Extensions));
        let (framed, beside) = (OptionFuture::from(framed), OptionFuture::from(beside));
        let all = futures_util::future::join3(printed, framed, beside);
        let reading = Reading::new(all.map(drop).boxed());
        *self.lock_reading() = Arc::downgrade(&reading);
        (reading.attached(), reading.task())
    }

    /// An extension asks to be told what happens; see [`Hub::subscribe`].
    pub fn subscribe(&self, api: Api, extension: &str, body: &[u8]) -> Answer {
        let mut state = self.lock();
        let (answer, told) = self.hub.subscribe(api, extension, body);
        if let Some(record) = told {
            self.hear(&mut state, record);
        }
        answer
    }

    /// A runtime is being started; `runtime` names what runs, such as `python:3.13.1`.
    pub fn init_start(&self, phase: Phase, runtime: &str) {
        self.hub.restart();
        let version = &self.version;
        let arn = runtime_id::version_arn(&version.region, &version.runtime);
        let function = (version.function_name.as_str(), version.version.as_str());
        let memory_mb = version.memory_mb;
        let start = InitStart::new(phase, (runtime, arn), function, &self.log_stream, memory_mb)
            .of_type(self.init_type);
        let mut state = self.lock();
        state.starting = Some(phase);
        self.hear(&mut state, PlatformRecord::InitStart(start));
    }

    /// The runtime has started; extensions may still be at it, and some wait to be told of this.
    pub fn runtime_started(&self) {
        self.drain();
        let mut state = self.lock();
        if let Some(phase) = state.starting.take() {
            state.is_started = true;
            let done = InitRuntimeDone::new(phase, &Status::Answered).of_type(self.init_type);
            self.hear(&mut state, PlatformRecord::InitRuntimeDone(done));
        }
    }

    /// The start has ended after `duration`, and so far the extensions have come. What went wrong is
    /// also in the tail; after a good start nobody can subscribe to telemetry any more.
    pub fn init_ended(
        &self,
        phase: Phase,
        duration: Duration,
        status: &Status,
        extensions: Vec<Info>,
    ) {
        self.drain();
        let report = InitReport::new(phase, status, duration).of_type(self.init_type);
        let report = PlatformRecord::InitReport(report);
        let extensions =
            extensions.into_iter().map(|info| PlatformRecord::Extension(ExtensionState::of(info)));
        let mut state = self.lock();
        state.starting = None;
        let done = (!std::mem::take(&mut state.is_started)).then(|| {
            // A runtime that has not started by now never does.
            let done = InitRuntimeDone::new(phase, status).of_type(self.init_type);
            PlatformRecord::InitRuntimeDone(done)
        });
        for record in done.into_iter().chain(extensions).chain([report]) {
            match status {
                Status::Answered => self.hear(&mut state, record),
                Status::Timeout | Status::Error(_) => self.platform(&mut state, record),
            }
        }
        if *status == Status::Answered {
            self.hub.close_subscriptions();
        }
    }

    /// An invocation begins. What was printed before belongs to the start of the environment, or to
    /// nobody; it is in the first invocation's tail only.
    pub fn start(&self, request_id: &str, trace_id: &str) {
        let mut state = self.lock();
        self.begin(&mut state);
        self.end_line(&mut state);
        state.invocations += 1;
        if state.invocations > 1 {
            state.tail.clear();
        }
        state.request_id.clear();
        state.request_id.push_str(request_id);
        let now = self.rt.now();
        state.began = now;
        state.tracing = Tracing::of_header(trace_id);
        state.is_done = false;
        state.is_fault_told = false;
        let start = Start {
            request_id: request_id.to_owned(),
            function_arn: self.version.function_arn.clone(),
            version: self.version.version.clone(),
            tracing: state.tracing.clone(),
            tenant_id: self.tenant.as_deref().map(str::to_owned),
        };
        let record = PlatformRecord::Start(start);
        state.start = Some(PlatformEvent { time: now, record });
    }

    /// Writes that it begins, before anything else of it is written, if it is not written yet. Apart
    /// from [`Recorder::start`], so that the function need not wait for it.
    pub fn tell_start(&self) {
        self.begin(&mut self.lock());
    }

    fn begin(&self, state: &mut State) {
        if let Some(event) = state.start.take() {
            self.tell_dropped(state);
            self.tell(state, &event);
        }
    }

    /// Writes that the runtime is done, and what went wrong.
    pub fn runtime_done(&self, outcome: &Outcome) {
        self.drain();
        self.tell_done(&mut self.lock(), outcome);
    }

    /// Writes the end of the invocation and its figures, after [`Recorder::runtime_done`]. The tail,
    /// when it is wanted.
    pub fn finish(&self, outcome: &Outcome, wants_tail: bool) -> Option<Vec<u8>> {
        if outcome.extension_overhead.is_some() {
            self.drain();
        }
        let mut state = self.lock();
        self.tell_done(&mut state, outcome);
        let used = self.memory_mb(&mut state, wants_tail);
        let tracing = state.tracing.take();
        let end = End { request_id: outcome.request_id.clone() };
        self.platform(&mut state, PlatformRecord::End(end));
        let report = Report::new(outcome, state.began, self.version.memory_mb, used, tracing);
        let report = report.of_tenant(self.tenant.as_deref().map(str::to_owned));
        self.platform(&mut state, PlatformRecord::Report(report));
        wants_tail.then(|| state.tail.iter().copied().collect())
    }

    /// Once for each invocation. A fault may come after it: that of an extension.
    fn tell_done(&self, state: &mut State, outcome: &Outcome) {
        if let Some(fault) = &outcome.fault
            && !std::mem::replace(&mut state.is_fault_told, true)
        {
            let text = fault.log_text(&outcome.request_id, &self.rt.now().rfc3339());
            self.platform(state, PlatformRecord::Fault(text));
        }
        let is_done = std::mem::replace(&mut state.is_done, true);
        // In a log as text it does not stand.
        if !is_done && (self.hub.is_heard() || self.version.log_format != LogFormat::Text) {
            let done = RuntimeDone::new(outcome, state.began, state.tracing.clone());
            self.platform(state, PlatformRecord::RuntimeDone(done));
        }
    }

    /// Reads what has been printed until now.
    fn drain(&self) {
        let reading = self.lock_reading().upgrade();
        if let Some(reading) = reading {
            reading.drain();
        }
    }

    /// Bytes that the function printed.
    fn take(&self, stream: Stream, bytes: &[u8]) {
        let state = &mut *self.lock();
        state.window.read_bytes += bytes.len();
        let mut splitter = std::mem::take(state.splitter(stream));
        splitter.take(bytes, |piece| self.piece(state, stream, piece));
        *state.splitter(stream) = splitter;
    }

    /// Ends what the function has begun to say.
    fn end_line(&self, state: &mut State) {
        self.end_record(state, Stream::Output);
        self.end_record(state, Stream::Frames);
        self.end_record(state, Stream::Extensions);
    }

    fn end_record(&self, state: &mut State, stream: Stream) {
        let mut splitter = std::mem::take(state.splitter(stream));
        splitter.end(|piece| self.piece(state, stream, piece));
        *state.splitter(stream) = splitter;
    }

    /// A record of the function or of an extension, or a piece of one.
    fn piece(&self, state: &mut State, stream: Stream, piece: Piece<'_>) {
        self.begin(state);
        self.hub.line(stream.source(), piece.bytes);
        if let LogFormat::Json { application, .. } = self.version.log_format
            && piece
                .level
                .or_else(|| level_of(piece.bytes))
                .is_some_and(|level| level < application)
        {
            return;
        }
        if piece.opens_frame {
            end_tail_line(&mut state.tail);
        }
        remember(&mut state.tail, piece.bytes);
        if piece.closes_frame {
            end_tail_line(&mut state.tail);
        }
        if self.is_heard() && state.window.may_pass(self.rt.instant(), piece.bytes.len()) {
            self.pass_on(state, &String::from_utf8_lossy(piece.bytes));
        }
    }

    /// An event of the platform.
    fn platform(&self, state: &mut State, record: PlatformRecord) {
        self.begin(state);
        self.end_line(state);
        self.tell_dropped(state);
        self.tell(state, &PlatformEvent { time: self.rt.now(), record });
    }

    fn tell(&self, state: &mut State, event: &PlatformEvent) {
        self.hub.platform(event);
        let Some(line) = self.log_line(event) else { return };
        end_tail_line(&mut state.tail);
        remember(&mut state.tail, line.as_bytes());
        self.pass_on(state, &line);
    }

    /// An event of the platform that is in the log, but in no invocation's tail.
    fn hear(&self, state: &mut State, record: PlatformRecord) {
        self.begin(state);
        if let Some(line) = self.line(record) {
            self.tell_dropped(state);
            self.pass_on(state, &line);
        }
    }

    /// Tells subscribers. The event in the log's format; `None` when it is not to be in the log.
    fn line(&self, record: PlatformRecord) -> Option<String> {
        let event = PlatformEvent { time: self.rt.now(), record };
        self.hub.platform(&event);
        self.log_line(&event)
    }

    fn log_line(&self, event: &PlatformEvent) -> Option<String> {
        match self.version.log_format {
            LogFormat::Text => event.to_text(),
            LogFormat::Json { system, .. } => {
                let is_wanted = event.is_in_json_log() && event.level() >= system;
                is_wanted.then(|| event.to_json() + "\n")
            }
        }
    }

    /// In the log only: subscribers have their own count of what they were not sent.
    fn tell_dropped(&self, state: &mut State) {
        let Some(dropped) = state.window.take_dropped() else { return };
        let record = PlatformRecord::LogsDropped(dropped);
        if let Some(line) = self.log_line(&PlatformEvent { time: self.rt.now(), record }) {
            self.pass_on(state, &line);
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
            log_group = self.log_group.as_deref(),
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

    fn lock_reading(&self) -> MutexGuard<'_, Weak<Reading>> {
        self.reading.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// As AWS names log streams: by day, version and environment, and in a group that several functions
/// may share by the function's name too.
fn log_stream(version: &Version, has_own_group: bool, rt: &Rt) -> String {
    let (year, month, day, ..) = rt.now().utc();
    let id = rt.uuid().replace('-', "");
    let name = if has_own_group { "" } else { &version.function_name };
    format!("{year:04}/{month:02}/{day:02}/{name}[{}]{id}", version.version)
}

/// Reads what an environment prints until every writer is gone.
async fn read(recorder: Arc<Recorder>, mut output: Box<dyn Output>, stream: Stream) {
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut turn_bytes = 0;
    while let Ok(count) = output.read(&mut chunk).await {
        if count == 0 {
            break;
        }
        recorder.take(stream, &chunk[..count]);
        turn_bytes += count;
        if turn_bytes > TURN_BYTES_MAX {
            turn_bytes = 0;
            let wait = recorder.lock().window.wait_to_read(recorder.rt.instant());
            match wait {
                Some(wait) => recorder.rt.sleep(wait).await,
                None => lambic_rt::turn().await,
            }
        }
    }
    recorder.end_record(&mut recorder.lock(), stream);
    recorder.hub.hurry();
}

/// What comes next begins a line of its own.
fn end_tail_line(tail: &mut VecDeque<u8>) {
    if tail.back().is_some_and(|last| *last != b'\n') {
        remember(tail, b"\n");
    }
}

/// Keeps the last [`TAIL_BYTES_MAX`] bytes.
fn remember(tail: &mut VecDeque<u8>, bytes: &[u8]) {
    let bytes = &bytes[bytes.len().saturating_sub(TAIL_BYTES_MAX)..];
    let over = (tail.len() + bytes.len()).saturating_sub(TAIL_BYTES_MAX);
    tail.drain(..over);
    tail.extend(bytes);
}

#[path = "record_restore.rs"]
mod restore;

#[cfg(test)]
#[path = "record_tests.rs"]
mod tests;
