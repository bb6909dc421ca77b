//! The Extensions API, `2020-01-01`: what runs beside the runtime registers here, asks for events and
//! tells of errors.
//!
//! External extensions are programs of `/opt/extensions`, started before the runtime; internal ones
//! are threads of the runtime that register while it starts. Both keep an invocation from ending until
//! they have asked for their next event. An error that is reported here names the reason; what ends
//! the environment is that the process exits, as on AWS.

pub mod crew;
mod error_report;
mod event_next;
pub mod life;
mod register;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use http::{HeaderMap, Method, Request, StatusCode};
use tokio::sync::oneshot;

use super::answer::{Answer, Payload, plain, refused};
use super::desk::{Desk, Event};
use crate::invoke::fault::{ExtensionFault, Fault};
use crew::{Info, Next, Refusal, Subscriptions};
use life::{Life, Move};
pub use register::About;

/// The header by which an extension names itself.
const IDENTIFIER: &str = "lambda-extension-identifier";

/// Why an environment ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ShutdownReason {
    /// It is not needed any more.
    Spindown,
    /// An invocation took too long.
    Timeout,
    /// The runtime or an extension failed.
    Failure,
}

impl ShutdownReason {
    /// AWS's name.
    pub fn name(self) -> &'static str {
        match self {
            ShutdownReason::Spindown => "spindown",
            ShutdownReason::Timeout => "timeout",
            ShutdownReason::Failure => "failure",
        }
    }
}

/// What an extension gets from `next`.
#[derive(Clone, Debug)]
pub enum ExtensionEvent {
    /// An invocation has begun.
    Invoke(Arc<Event>),
    /// The environment ends.
    Shutdown {
        /// Why.
        reason: ShutdownReason,
        /// When what is left is killed, in ms since 1970.
        deadline_ms: i64,
    },
}

/// All routes below `/2020-01-01/extension`.
pub(super) async fn route(desk: &Desk, path: &[&str], request: Request<Payload>) -> Answer {
    match (request.method(), path) {
        (&Method::POST, ["register"]) => register::post(desk, request).await,
        (&Method::GET, ["event", "next"]) => event_next::get(desk, request.headers()).await,
        (&Method::POST, ["init", "error"]) => {
            error_report::post(desk, Move::InitError, request).await
        }
        (&Method::POST, ["exit", "error"]) => {
            error_report::post(desk, Move::ExitError, request).await
        }
        (_, ["register"] | ["event", "next"] | ["init" | "exit", "error"]) => {
            plain(StatusCode::METHOD_NOT_ALLOWED, "")
        }
        _ => plain(StatusCode::NOT_FOUND, "404 page not found\n"),
    }
}

/// The identifier that a request names its extension by.
fn identifier(headers: &HeaderMap) -> Result<&str, Box<Answer>> {
    let given = headers.get(IDENTIFIER).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if given.is_empty() {
        let text = "Missing Lambda-Extension-Identifier header";
        return Err(Box::new(forbidden("Extension.MissingExtensionIdentifier", text)));
    }
    if uuid::Uuid::try_parse(given).is_err() {
        let text = "Invalid Lambda-Extension-Identifier";
        return Err(Box::new(forbidden("Extension.InvalidExtensionIdentifier", text)));
    }
    Ok(given)
}

/// The name of the extension that makes a request of another API.
pub(super) fn subscriber(desk: &Desk, headers: &HeaderMap) -> Result<String, Box<Answer>> {
    let id = identifier(headers)?;
    let name = desk.extension_name(id);
    name.ok_or_else(|| Box::new(from_refusal(&Refusal::Unknown, id)))
}

fn forbidden(error_type: &str, message: &str) -> Answer {
    refused(StatusCode::FORBIDDEN, error_type, message)
}

/// The answer to a request that was refused, in AWS's words.
fn from_refusal(refusal: &Refusal, id: &str) -> Answer {
    match refusal {
        Refusal::Unknown => {
            let text = format!("Unknown extension {id}");
            forbidden("Extension.UnknownExtensionIdentifier", &text)
        }
        Refusal::Closed => {
            forbidden("Extension.RegistrationClosed", "Extension registration closed already")
        }
        Refusal::NameTaken => {
            let text = "Extension with this name already registered";
            forbidden("Extension.InvalidExtensionState", text)
        }
        Refusal::TooMany => {
            let text = format!("Extension limit ({}) reached", crew::EXTENSIONS_MAX);
            forbidden("Extension.TooManyExtensions", &text)
        }
        Refusal::ShutdownOfInternal => forbidden(
            "Extension.InvalidEventType",
            "SHUTDOWN: ShutdownEventNotSupportedForInternalExtension",
        ),
        Refusal::State { extension, illegal } => {
            let text = format!(
                "State transition from {} to {} failed for extension {extension}. Error: {illegal}",
                illegal.from.name(),
                illegal.tried.target(),
            );
            forbidden("Extension.InvalidExtensionState", &text)
        }
    }
}

impl Desk {
    /// Whether anything runs beside the runtime.
    pub fn has_extensions(&self) -> bool {
        !self.lock().crew.is_empty()
    }

    /// Whether any of it is a program of its own.
    pub fn has_external_extensions(&self) -> bool {
        self.lock().crew.has_external()
    }

    /// What the log and telemetry tell of the extensions.
    pub fn extensions(&self) -> Vec<Info> {
        self.lock().crew.infos()
    }

    /// The name of the extension with this identifier.
    pub fn extension_name(&self, id: &str) -> Option<String> {
        self.lock().crew.name(id).map(str::to_owned)
    }

    /// An extension registers. Its identifier.
    pub fn register(&self, name: &str, events: Subscriptions) -> Result<String, Refusal> {
        let mut state = self.lock();
        let waited = !state.crew.all_registered();
        let id = state.crew.register(name, events, self.rt.uuid())?;
        let complete = waited && state.crew.all_registered();
        drop(state);
        if complete {
            self.owner.registered();
        }
        Ok(id)
    }

    /// An extension asks for its next event. An error of the receiver says that the environment is
    /// gone, or that another request has taken this one's place.
    pub fn extension_next(&self, id: &str) -> Result<oneshot::Receiver<ExtensionEvent>, Refusal> {
        let (sender, receiver) = oneshot::channel();
        let mut state = self.lock();
        let shutdown = state.shutdown.clone();
        let next = state.crew.next(id, sender)?;
        drop(state);
        match (next, shutdown) {
            (Next::Shutdown(sender), Some(event)) => {
                // Its own request is waiting for it.
                let _ = sender.send(event);
            }
            (Next::Waits, _) => self.settle(),
            _ => {}
        }
        Ok(receiver)
    }

    /// An extension reports that it cannot start, or cannot go on.
    pub fn extension_error(&self, id: &str, tried: Move, error_type: &str) -> Result<(), Refusal> {
        self.lock().crew.report(id, tried, error_type)
    }

    /// The process of the launched extension at this position has ended. What this makes of the
    /// environment.
    pub fn extension_exited(&self, at: usize, how: String) -> Fault {
        let before = self.lock().crew.exited(at, Move::Exit, None);
        let kind = match before {
            Some(Life::InitError) => ExtensionFault::Init,
            Some(Life::ExitError) => ExtensionFault::Exit,
            _ => ExtensionFault::Crash,
        };
        Fault::Extension { kind, reason: how }
    }

    /// The launched extension at this position could not be started.
    pub fn extension_not_launched(&self, at: usize, reason: String) -> Fault {
        let denied = reason.ends_with("permission denied");
        let error_type = if denied { "PermissionDenied" } else { "UnknownError" };
        self.lock().crew.exited(at, Move::LaunchError, Some(error_type));
        Fault::Extension { kind: ExtensionFault::Launch, reason }
    }

    /// Tells the extensions that the environment ends, now or when they ask. The launched ones that
    /// live: their positions, and whether each is told.
    pub fn shut_down(&self, reason: ShutdownReason, deadline_ms: i64) -> Vec<(usize, bool)> {
        let event = ExtensionEvent::Shutdown { reason, deadline_ms };
        let mut state = self.lock();
        state.shutdown = Some(event.clone());
        let told = state.crew.shut_down();
        let living = state.crew.living();
        drop(state);
        for sender in told {
            // One whose connection broke is told when it asks again.
            let _ = sender.send(event.clone());
        }
        living
    }
}
