//! The desk between one execution environment and the platform: the platform lays an event on it,
//! the runtime takes it with `next` and brings back a response or an error.
//!
//! Life of an invocation here: [`Desk::hand_out`] (event in, receiver of its end out) →
//! [`Desk::next`] gives the event → [`Desk::begin_answer`] … [`Desk::answer`] ends it. It may also
//! end by [`Desk::time_out`], [`Desk::exited`] or [`Desk::fail`]; whichever is first ends it, the
//! others find nothing to end. A `next` that waits costs one oneshot channel and no polling.
//!
//! The environment is ready for the next invocation when its runtime and all of its extensions have
//! asked for more (what extensions ask is in `extensions`). With extensions an invocation lasts until
//! then, though its caller has the answer as soon as the runtime gave it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use lambic_rt::{Instant, Rt};
use tokio::sync::oneshot;

use super::becoming::Becoming;
use super::extensions::crew::Crew;
use super::extensions::{About, ExtensionEvent};
use super::life::{IllegalMove, Life, Move};
pub use super::owner::Owner;
use super::restore::SnapStart;
use super::stream::{Failure, Sink};
use crate::invoke::cold_start::ColdStart;
use crate::invoke::fault::{Exit, Fault, Status};
use crate::invoke::trace::Segment;

/// After its answer a runtime has the rest of the function's timeout, but at least so long, to ask
/// for the next event.
const SETTLE_MIN: Duration = Duration::from_secs(2);

/// What a runtime gets from `next`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// AWS request id (a UUID).
    pub request_id: String,
    /// When the invocation times out, in ms since 1970.
    pub deadline_ms: i64,
    /// The ARN it was invoked by.
    pub invoked_arn: String,
    /// X-Ray header for this invocation.
    pub trace_id: String,
    /// The caller's client context: JSON.
    pub client_context: Option<String>,
    /// For whom it is, if the function isolates tenants.
    pub tenant_id: Option<String>,
    /// The event itself.
    pub payload: Bytes,
}

/// How an invocation ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Completion {
    /// The function answered.
    Response(Bytes),
    /// The function sent its answer to the caller while it ran, and may have failed in the end.
    Streamed(Option<Failure>),
    /// The function, or its runtime, reported an error of its own.
    Error(Bytes),
    /// The platform ended it.
    Fault(Fault),
}

/// What the runtime sent back, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Of the response or the error document.
    pub bytes: u64,
    /// From handing out the event to the beginning of the answer.
    pub latency: Duration,
    /// From the end of the answer until the runtime asked for more, once it has.
    pub overhead: Option<Duration>,
}

/// The figures of one invocation; the REPORT line, the metrics and the bill are made of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// AWS request id.
    pub request_id: String,
    /// From handing out the event to the end of the answer.
    pub duration: Duration,
    /// How long the environment's start took, if it was started for this invocation.
    pub init: Option<ColdStart>,
    /// How it ended.
    pub status: Status,
    /// Whether the caller got an error.
    pub is_error: bool,
    /// What the log says of a fault, if it was one.
    pub fault: Option<Fault>,
    /// The runtime's answer, if it gave one.
    pub reply: Option<Reply>,
    /// The segment it is in X-Ray, when it was sampled.
    pub segment: Option<Segment>,
    /// From the runtime's next request for work until the last extension's, which is the end of the
    /// invocation then; `None` without extensions.
    pub extension_overhead: Option<Duration>,
}

/// An invocation that has ended.
#[derive(Debug, PartialEq, Eq)]
pub struct Finished {
    /// How.
    pub completion: Completion,
    /// The last 4 KB of its log, when the caller asked for them.
    pub log_tail: Option<Vec<u8>>,
}

/// What the invoke path asks of an environment.
#[derive(Debug)]
pub struct Work {
    /// What the runtime gets.
    pub event: Event,
    /// The function's timeout as far as it is left.
    pub timeout: Duration,
    /// Moment from which its duration counts.
    pub since: Instant,
    /// How long the environment's start took, if it was started for this invocation.
    pub init: Option<ColdStart>,
    /// Whether the caller wants the end of the log.
    pub wants_tail: bool,
    /// The segment it is in X-Ray, when it was sampled.
    pub segment: Option<Segment>,
    /// Where a streamed response goes, when the caller wants one.
    pub sink: Option<Sink>,
}

/// Why the runtime's request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The state does not allow it.
    State(IllegalMove),
    /// The request id is not the one being worked on.
    RequestId,
}

impl From<IllegalMove> for Refusal {
    fn from(illegal: IllegalMove) -> Refusal {
        Refusal::State(illegal)
    }
}

/// The answer to `next`.
#[derive(Debug)]
pub enum NextEvent {
    /// Here it is.
    Now(Arc<Event>),
    /// It comes through this; an error says that the environment ends.
    Later(oneshot::Receiver<Arc<Event>>),
}

/// The environment cannot take work (any more).
#[derive(Debug, PartialEq, Eq)]
pub struct NotIdle;

struct Current {
    event: Arc<Event>,
    done: oneshot::Sender<Finished>,
    work: WorkFacts,
}

struct WorkFacts {
    since: Instant,
    timeout: Duration,
    init: Option<ColdStart>,
    wants_tail: bool,
    segment: Option<Segment>,
    sink: Option<Sink>,
}

/// An answered invocation whose END is still to be written.
struct Unrecorded {
    outcome: Outcome,
    since: Instant,
    timeout: Duration,
    answered: Instant,
    /// When the runtime asked for more, once it has.
    runtime_ready: Option<Instant>,
}

pub(super) struct State {
    pub(super) life: Life,
    waiting: Option<oneshot::Sender<Arc<Event>>>,
    current: Option<Current>,
    /// The last invocation's id, so that a second answer to it is told apart from a wrong id.
    last_id: String,
    /// The last invocation's figures.
    unrecorded: Option<Unrecorded>,
    /// The owner is being told that the runtime is done.
    telling: bool,
    /// The owner knows that the environment is ready.
    announced: bool,
    pub(super) crew: Crew<oneshot::Sender<ExtensionEvent>>,
    /// What extensions that ask are told from now on, once the environment ends.
    pub(super) shutdown: Option<ExtensionEvent>,
    /// When the answer to the current event began.
    answer_began: Option<Instant>,
    exit: Option<Exit>,
    /// A report that the runtime cannot start is being read.
    reporting: bool,
    /// The request of a template to be restored, which is not answered.
    pub(super) template: Option<oneshot::Sender<()>>,
    /// An invocation whose streamed response broke off, until it is known why.
    broken: Option<Current>,
}

/// See the module.
pub struct Desk {
    state: Mutex<State>,
    pub(super) owner: Box<dyn Owner>,
    pub(super) rt: Rt,
    about: About,
    pub(super) becoming: Becoming,
    pub(super) snapstart: Option<SnapStart>,
}

impl Desk {
    /// The desk of an environment that has just been started. `extensions` are the names of the
    /// programs that run beside the runtime, and `about` is what they learn of the function.
    pub fn new(owner: Box<dyn Owner>, rt: Rt, about: About, extensions: Vec<String>) -> Desk {
        let crew = Crew::launched(extensions.into_iter().map(|name| (name, rt.uuid())));
        let state = State {
            life: Life::Init,
            waiting: None,
            current: None,
            last_id: String::new(),
            unrecorded: None,
            telling: false,
            announced: false,
            crew,
            shutdown: None,
            answer_began: None,
            exit: None,
            reporting: false,
            template: None,
            broken: None,
        };
        let (becoming, snapstart) = (Becoming::default(), None);
        Desk { state: Mutex::new(state), owner, rt, about, becoming, snapstart }
    }

    /// What extensions learn of the function.
    pub fn about(&self) -> &About {
        &self.about
    }

    /// A name that nothing had before: a UUID.
    pub fn fresh_id(&self) -> String {
        self.rt.uuid()
    }

    /// Gives the environment an event. The receiver tells how the invocation ended. `begins` is
    /// called once it is certain that the environment takes the event and before the runtime can
    /// see it; it must be short and not come back to the desk, whose lock is held.
    pub fn hand_out(
        &self,
        work: Work,
        begins: impl FnOnce(&str),
    ) -> Result<oneshot::Receiver<Finished>, NotIdle> {
        let (done, finished) = oneshot::channel();
        let facts = WorkFacts {
            since: work.since,
            timeout: work.timeout,
            init: work.init,
            wants_tail: work.wants_tail,
            segment: work.segment,
            sink: work.sink,
        };
        let event = Arc::new(work.event);
        let mut state = self.lock();
        if !state.announced {
            return Err(NotIdle);
        }
        state.life = state.life.step(Move::HandOut).map_err(|_| NotIdle)?;
        state.announced = false;
        begins(&event.request_id);
        state.last_id.clone_from(&event.request_id);
        state.current = Some(Current { event: event.clone(), done, work: facts });
        let waiting = state.waiting.take();
        let extensions = state.crew.invoke();
        drop(state);
        for extension in extensions {
            // One whose connection broke has missed it.
            let _ = extension.send(ExtensionEvent::Invoke(event.clone()));
        }
        if let Some(waiting) = waiting {
            // A `next` whose connection broke finds the event again when it is repeated.
            let _ = waiting.send(event);
        }
        Ok(finished)
    }

    /// The runtime asks for an event.
    pub fn next(&self) -> Result<NextEvent, Refusal> {
        self.settle_broken(|_| true);
        let mut state = self.lock();
        let before = state.life;
        state.life = before.step(Move::Next)?;
        if let Some(current) = &state.current {
            return Ok(NextEvent::Now(current.event.clone()));
        }
        let (sender, receiver) = oneshot::channel();
        state.waiting = Some(sender);
        state.crew.close();
        let now = self.rt.instant();
        let done = state.unrecorded.as_mut().filter(|last| last.runtime_ready.is_none());
        let done = done.map(|last| {
            last.runtime_ready = Some(now);
            if let Some(reply) = &mut last.outcome.reply {
                reply.overhead = Some(now.saturating_duration_since(last.answered));
            }
            last.outcome.clone()
        });
        state.telling = done.is_some();
        drop(state);
        if before == Life::Init {
            self.owner.runtime_started();
        }
        if let Some(outcome) = done {
            self.owner.runtime_done(&outcome);
            self.lock().telling = false;
        }
        self.settle();
        Ok(NextEvent::Later(receiver))
    }

    /// Tells the owner when the environment has become ready.
    pub(super) fn settle(&self) {
        let mut state = self.lock();
        let is_ready = state.life == Life::Idle && state.crew.is_ready();
        if !is_ready || state.telling || std::mem::replace(&mut state.announced, true) {
            return;
        }
        let has_extensions = !state.crew.is_empty();
        let unrecorded = state.unrecorded.take();
        drop(state);
        if let Some(mut last) = unrecorded {
            if has_extensions && let Some(runtime_ready) = last.runtime_ready {
                let now = self.rt.instant();
                last.outcome.duration = now.saturating_duration_since(last.since);
                last.outcome.extension_overhead =
                    Some(now.saturating_duration_since(runtime_ready));
            }
            self.owner.record(&last.outcome, false);
        }
        self.owner.ready();
    }

    /// The runtime begins to send its response (or error) to this request id.
    pub fn begin_answer(&self, request_id: &str, with: Move) -> Result<(), Refusal> {
        let mut state = self.lock();
        if state.last_id != request_id {
            return Err(Refusal::RequestId);
        }
        state.life = state.life.step(with)?;
        state.answer_began = Some(self.rt.instant());
        Ok(())
    }

    /// The runtime's answer is complete. Refused when the invocation has ended meanwhile.
    pub fn answer(&self, completion: Completion) -> Result<(), Refusal> {
        let mut state = self.lock();
        state.life = state.life.step(Move::Answered)?;
        let current = state.current.take();
        drop(state);
        let Some(current) = current else { return Ok(()) };
        let deadline = current.work.since + current.work.timeout;
        self.owner.responded(deadline.max(self.rt.instant() + SETTLE_MIN));
        self.finish(current, completion, false);
        Ok(())
    }

    /// The runtime's answer broke off.
    pub fn answer_broken(&self) {
        let mut state = self.lock();
        if let Ok(life) = state.life.step(Move::Broken) {
            state.life = life;
        }
        let exit = state.exit;
        drop(state);
        if let Some(exit) = exit {
            self.exited(exit);
        }
    }

    /// The answer that has begun is a stream: where it goes. `None`: it is wanted in one piece.
    pub(super) fn begin_stream(&self) -> Option<Sink> {
        let sink = self.lock().current.as_ref()?.work.sink.clone()?;
        sink.begin();
        Some(sink)
    }

    /// The runtime's stream broke off. Unlike any other answer it cannot be repeated, so the
    /// invocation is over; its id, if it is still to be settled why.
    pub(super) fn stream_broken(&self) -> Option<String> {
        let mut state = self.lock();
        let life = state.life.step(Move::Answered).ok()?;
        if let Some(exit) = state.exit {
            drop(state);
            self.exited(exit);
            return None;
        }
        let current = state.current.take()?;
        state.life = life;
        let deadline = current.work.since + current.work.timeout;
        let request_id = current.event.request_id.clone();
        state.broken = Some(current);
        drop(state);
        self.owner.responded(deadline.max(self.rt.instant() + SETTLE_MIN));
        Some(request_id)
    }

    /// Ends the invocation whose stream broke off without an exit that explains it.
    pub(super) fn settle_broken(&self, is_this: impl FnOnce(&str) -> bool) {
        let broken = self.lock().broken.take_if(|current| is_this(&current.event.request_id));
        if let Some(current) = broken {
            self.finish(current, Completion::Fault(Fault::Truncated), false);
        }
    }

    pub(super) fn rt(&self) -> &Rt {
        &self.rt
    }

    /// The runtime says that it cannot start.
    pub fn init_error(&self, body: Bytes, error_type: String) -> Result<(), Refusal> {
        let mut state = self.lock();
        state.life = state.life.step(Move::InitError)?;
        let is_restoring = state.life == Life::RestoreFailed;
        drop(state);
        match is_restoring {
            true => self.owner.restore_failed(body, error_type),
            false => self.owner.init_failed(body, error_type),
        }
        Ok(())
    }

    /// The runtime begins to report that it cannot start. Asked before its body is read, and
    /// granted once: what a second one sends at the same time is not read.
    pub fn begin_init_error(&self) -> Result<(), Refusal> {
        let mut state = self.lock();
        let (from, tried) = (state.life, Move::InitError);
        from.step(tried)?;
        if std::mem::replace(&mut state.reporting, true) {
            return Err(Refusal::State(IllegalMove { from, tried }));
        }
        Ok(())
    }

    /// The report did not arrive whole; another may begin.
    pub fn init_error_broken(&self) {
        self.lock().reporting = false;
    }

    /// Time is up for this request. `None` when it has ended already by other means, which its
    /// receiver tells.
    pub fn time_out(&self, request_id: &str, timeout: Duration) -> Option<Finished> {
        let mut state = self.lock();
        let is_current =
            state.current.as_ref().is_some_and(|current| current.event.request_id == request_id);
        if !is_current {
            return None;
        }
        let current = state.current.take()?;
        state.life = Life::Dead;
        drop(state);
        Some(self.outcome_recorded(&current, Completion::Fault(Fault::TimedOut { timeout }), true))
    }

    /// The runtime process has ended; ends what it worked on.
    pub fn exited(&self, exit: Exit) {
        let mut state = self.lock();
        if state.life == Life::Answering && state.exit.is_none() {
            // The whole answer may already be in the socket; the connection's end settles it.
            state.exit = Some(exit);
            return;
        }
        self.end(state, Fault::Exited(exit), false);
    }

    /// The platform or an extension ends the environment; so ends what the runtime worked on, and
    /// what extensions still work on.
    pub fn fail(&self, fault: Fault) {
        self.end(self.lock(), fault, true);
    }

    /// The time for what comes after an answer is up.
    pub fn overrun(&self) {
        let state = self.lock();
        // One that was recorded with its answer, for the sake of its tail, only ends.
        let timeout = state.unrecorded.as_ref().map_or(Duration::ZERO, |last| last.timeout);
        self.end(state, Fault::TimedOut { timeout }, true);
    }

    fn end(&self, mut state: MutexGuard<'_, State>, fault: Fault, is_of_the_answered: bool) {
        state.life = Life::Dead;
        (state.waiting, state.template) = (None, None);
        let current = state.current.take().or(state.broken.take());
        let unrecorded = state.unrecorded.take();
        drop(state);
        if let Some(mut last) = unrecorded {
            if is_of_the_answered {
                last.outcome.duration = self.rt.instant().saturating_duration_since(last.since);
                last.outcome.status = fault.status();
                last.outcome.fault = Some(fault.clone());
            }
            if last.runtime_ready.is_none() {
                self.owner.runtime_done(&last.outcome);
            }
            self.owner.record(&last.outcome, false);
        }
        if let Some(current) = current {
            self.finish(current, Completion::Fault(fault), true);
        }
    }

    /// Ends everything that is still open: the environment is gone for good.
    pub fn close(&self, exit: Exit) {
        // The second call ends an answer that never became complete.
        self.exited(exit);
        self.exited(exit);
        self.lock().crew.abandon();
    }

    /// Where the runtime is in its life.
    pub fn life(&self) -> Life {
        self.lock().life
    }

    fn finish(&self, current: Current, completion: Completion, record_now: bool) {
        let record_now = record_now || current.work.wants_tail;
        let finished = self.outcome_recorded(&current, completion, record_now);
        // Nobody listening means that the caller's task is gone with the server.
        let _ = current.done.send(finished);
    }

    fn outcome_recorded(&self, current: &Current, completion: Completion, now: bool) -> Finished {
        let began = self.lock().answer_began.take();
        let ended = self.rt.instant();
        let streamed = current.work.sink.as_ref().and_then(Sink::bytes);
        let (status, fault, bytes) = match &completion {
            Completion::Fault(fault) => (fault.status(), Some(fault.clone()), streamed),
            Completion::Streamed(_) => (Status::Answered, None, streamed),
            Completion::Response(body) | Completion::Error(body) => {
                (Status::Answered, None, Some(body.len() as u64))
            }
        };
        let reply = bytes.map(|bytes| {
            let latency = began.unwrap_or(ended).saturating_duration_since(current.work.since);
            Reply { bytes, latency, overhead: None }
        });
        let outcome = Outcome {
            request_id: current.event.request_id.clone(),
            duration: ended.saturating_duration_since(current.work.since),
            init: current.work.init,
            status,
            is_error: !matches!(completion, Completion::Response(_) | Completion::Streamed(None)),
            fault,
            reply,
            segment: current.work.segment.clone(),
            extension_overhead: None,
        };
        let log_tail = if now {
            self.owner.runtime_done(&outcome);
            self.owner.record(&outcome, current.work.wants_tail)
        } else {
            self.lock().unrecorded = Some(Unrecorded {
                outcome,
                since: current.work.since,
                timeout: current.work.timeout,
                answered: ended,
                runtime_ready: None,
            });
            None
        };
        Finished { completion, log_tail }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
