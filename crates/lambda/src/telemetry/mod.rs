//! The Telemetry API (`PUT /2022-07-01/telemetry`) and the Logs API (`PUT /2020-08-15/logs`): what
//! extensions are told of an environment's life, and how.
//!
//! There is one [`Hub`] for each environment. The recorder tells it everything that happens, before
//! the log's levels leave anything out. As long as the environment starts, extensions may subscribe,
//! and what has happened until then is kept for them; after that the hub of an environment without
//! subscribers costs one atomic load per event. Each subscriber has a queue (`queue`) and a task that
//! sends it (`delivery`, `wire`), through the gate (`gate`) that is closed while the environment is
//! frozen.
//!
//! Nothing here waits for a subscriber, nothing blocks an invocation, and what may be held for the
//! subscribers of one environment together is bounded by [`HELD_BYTES_MAX`] and what is on its way.
//! An environment whose start failed and is repeated keeps its subscriptions, as on AWS.

mod delivery;
mod early;
mod gate;
mod queue;
mod schema;
mod subscription;
mod wire;

#[cfg(test)]
mod delivery_tests;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use lambic_rt::{Rt, Task, TaskKind};

use crate::invoke::fault::error_payload;
use crate::invoke::platform_events::{PlatformEvent, PlatformRecord, Subscription};
use delivery::Mailbox;
use early::Early;
pub use gate::Connect;
use gate::Gate;
use queue::{Budget, Framing, Queue};
use schema::Event;
use subscription::{BODY_BYTES_MAX, Category, Destination, Request};
use wire::Wire;

/// Bytes of events that the subscribers of one environment may have waiting together.
pub const HELD_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Where a subscription was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Api {
    /// `PUT /2022-07-01/telemetry`
    Telemetry,
    /// `PUT /2020-08-15/logs`, which the Telemetry API supersedes.
    Logs,
}

/// Who printed a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The function, its runtime, and extensions inside of it.
    Function,
    /// Extensions with a process of their own.
    Extension,
}

/// What a request for a subscription is answered; the body is JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// 200, 202, 400, 403 or 413.
    pub status: StatusCode,
    /// `"OK"`, or an error as AWS words it.
    pub body: Bytes,
}

/// See the module.
pub struct Hub {
    rt: Rt,
    /// Whether the function logs as JSON.
    is_json: bool,
    /// Whether anybody listens, or may still begin to.
    is_heard: AtomicBool,
    gate: Gate,
    budget: Arc<Budget>,
    state: Mutex<State>,
}

struct State {
    /// What has happened, while extensions may still subscribe.
    early: Option<Early>,
    subscribers: Vec<Subscriber>,
}

struct Subscriber {
    extension: String,
    api: Api,
    request: Request,
    mailbox: Arc<Mailbox>,
    delivery: Task<()>,
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        self.delivery.abort();
    }
}

impl Api {
    fn closed(self) -> Answer {
        match self {
            Api::Telemetry => Answer::error(
                StatusCode::FORBIDDEN,
                "Telemetry.SubscriptionClosed",
                "Telemetry API subscription is closed already",
            ),
            Api::Logs => Answer::error(
                StatusCode::FORBIDDEN,
                "Logs.SubscriptionClosed",
                "Logs API subscription is closed already",
            ),
        }
    }

    /// Nobody can be reached inside; as AWS's emulator, which has no telemetry, answers.
    fn not_supported(self) -> Answer {
        match self {
            Api::Telemetry => Answer::error(
                StatusCode::ACCEPTED,
                "Telemetry.NotSupported",
                "Telemetry API is not supported",
            ),
            Api::Logs => Answer::error(
                StatusCode::ACCEPTED,
                "Logs.NotSupported",
                "Logs API is not supported",
            ),
        }
    }

    fn invalid(self, message: &str) -> Answer {
        let kind = match self {
            Api::Telemetry => "ValidationError",
            Api::Logs => "Logs.ValidationError",
        };
        Answer::error(StatusCode::BAD_REQUEST, kind, message)
    }

    fn name(self) -> &'static str {
        match self {
            Api::Telemetry => "Telemetry API",
            Api::Logs => "Logs API",
        }
    }
}

impl Answer {
    fn ok() -> Answer {
        Answer { status: StatusCode::OK, body: Bytes::from_static(b"\"OK\"") }
    }

    fn error(status: StatusCode, kind: &str, message: &str) -> Answer {
        Answer { status, body: error_payload(kind, message) }
    }
}

impl Hub {
    /// The hub of an environment that is about to be started; `is_json` says whether its function
    /// logs as JSON.
    pub fn new(rt: Rt, is_json: bool) -> Hub {
        Hub {
            rt,
            is_json,
            is_heard: AtomicBool::new(true),
            gate: Gate::default(),
            budget: Budget::new(HELD_BYTES_MAX),
            state: Mutex::new(State { early: Some(Early::default()), subscribers: Vec::new() }),
        }
    }

    /// The environment is there and can be reached so.
    pub fn reach(&self, connect: Arc<dyn Connect>) {
        self.gate.set_connect(Some(connect));
    }

    /// The environment is being started (again). Who has subscribed in a start that failed stays
    /// subscribed, and what it was not sent yet it will be sent.
    pub fn restart(&self) {
        self.gate.set_connect(None);
        self.gate.set_frozen(false);
        self.lock().early.get_or_insert_default();
        self.is_heard.store(true, Ordering::Relaxed);
    }

    /// The environment has started: nobody can subscribe any more.
    pub fn close_subscriptions(&self) {
        let mut state = self.lock();
        state.early = None;
        self.is_heard.store(!state.subscribers.is_empty(), Ordering::Relaxed);
    }

    /// An extension asks to be told. Besides the answer, what is to be told of it: the caller lets
    /// it happen like any other event.
    pub fn subscribe(
        &self,
        api: Api,
        extension: &str,
        body: &[u8],
    ) -> (Answer, Option<PlatformRecord>) {
        let mut state = self.lock();
        let request = match check(&state, api, extension, body, self.gate.has_environment()) {
            Ok(request) => request,
            Err(answer) => return (answer, None),
        };
        let types = request.types.iter().map(|category| category.name()).collect();
        let known = state.subscribers.iter().position(|known| known.extension == extension);
        let said = match known {
            Some(at) if state.subscribers[at].request == request => "Already subscribed",
            Some(at) => {
                state.subscribers[at] = self.subscriber(&state, api, extension, request);
                "Subscribed"
            }
            None => {
                let new = self.subscriber(&state, api, extension, request);
                state.subscribers.push(new);
                "Subscribed"
            }
        };
        let told = Subscription { name: extension.to_owned(), state: said, types };
        let told = match api {
            Api::Telemetry => PlatformRecord::TelemetrySubscription(told),
            Api::Logs => PlatformRecord::LogsSubscription(told),
        };
        (Answer::ok(), Some(told))
    }

    /// A subscriber that is told first what happened before.
    fn subscriber(&self, state: &State, api: Api, extension: &str, request: Request) -> Subscriber {
        let framing = match request.destination {
            Destination::Http { .. } => Framing::Array,
            Destination::Tcp { .. } => Framing::Lines,
        };
        let queue = Queue::new(request.buffering, framing, self.budget.clone());
        let (schema, types) = (request.schema, request.types.clone());
        let mailbox = Arc::new(Mailbox::new(self.rt.clone(), schema, types, queue));
        if let Some(early) = &state.early {
            early.tell(&mailbox);
        }
        let wire = Wire::new(request.destination.clone());
        let delivering = delivery::deliver(mailbox.clone(), self.gate.way(), wire);
        let delivery = self.rt.spawn("telemetry", TaskKind::Request, delivering);
        Subscriber { extension: extension.to_owned(), api, request, mailbox, delivery }
    }

    /// The platform tells of something.
    pub fn platform(&self, event: &PlatformEvent) {
        if self.is_heard() {
            self.happened(&Event::Platform(event));
        }
    }

    /// A line was printed; `text` ends with a newline if the line does.
    pub fn line(&self, source: Source, text: &[u8]) {
        if self.is_heard() {
            let category = match source {
                Source::Function => Category::Function,
                Source::Extension => Category::Extension,
            };
            let (time, text) = (self.rt.now(), String::from_utf8_lossy(text));
            self.happened(&Event::Line { category, time, text: &text, is_json: self.is_json });
        }
    }

    /// Whether anybody is told.
    pub fn is_heard(&self) -> bool {
        self.is_heard.load(Ordering::Relaxed)
    }

    fn happened(&self, event: &Event<'_>) {
        let mut state = self.lock();
        for subscriber in &state.subscribers {
            subscriber.mailbox.put(event);
        }
        if let Some(early) = &mut state.early {
            early.keep(event);
        }
    }

    /// Nothing inside runs any more, or it does again. What passes in between does not count against
    /// subscribers.
    pub fn set_frozen(&self, is_frozen: bool) {
        if self.is_heard() {
            self.gate.set_frozen(is_frozen);
        }
    }

    /// Sends what there is without waiting for more of it: an output was closed, for instance
    /// because the runtime has crashed.
    pub fn hurry(&self) {
        if self.is_heard() {
            self.lock().subscribers.iter().for_each(|subscriber| subscriber.mailbox.hurry());
        }
    }

    /// Sends what there is and waits until subscribers have it, for at most `limit`; whether they
    /// have. Nothing is to be frozen then.
    pub fn flush(&self, limit: Duration) -> impl Future<Output = bool> + Send + 'static {
        let mailboxes: Vec<_> =
            self.lock().subscribers.iter().map(|subscriber| subscriber.mailbox.clone()).collect();
        let rt = self.rt.clone();
        async move {
            let flushed = mailboxes.iter().map(|mailbox| mailbox.flush());
            rt.within(limit, futures_util::future::join_all(flushed)).await.is_some()
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether this may be subscribed.
fn check(
    state: &State,
    api: Api,
    extension: &str,
    body: &[u8],
    has_environment: bool,
) -> Result<Request, Answer> {
    if state.early.is_none() {
        return Err(api.closed());
    }
    if !has_environment {
        return Err(api.not_supported());
    }
    if body.len() > BODY_BYTES_MAX {
        let text = format!("Exceeded maximum allowed payload size ({BODY_BYTES_MAX} bytes).");
        let status = StatusCode::PAYLOAD_TOO_LARGE;
        return Err(Answer::error(status, "RequestEntityTooLarge", &text));
    }
    let request = Request::parse(api, body).map_err(|message| api.invalid(&message))?;
    let known = state.subscribers.iter().find(|known| known.extension == extension);
    match known {
        Some(known) if known.api != api => {
            let name = known.api.name();
            Err(api.invalid(&format!("the extension is already subscribed to the {name}")))
        }
        _ => Ok(request),
    }
}
