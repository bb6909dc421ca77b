//! `GET /2018-06-01/runtime/restore/next` and `POST …/restore/error`: the runtime of a function with
//! SnapStart is initialized and asks to be restored; a hook that runs after that has failed.
//!
//! An environment that becomes a template is never answered: what has been forked from it asks again,
//! as its own runtime, and is answered at once. So is one that was initialized in the ordinary way,
//! whose hooks then run one kind after the other.

use std::sync::Arc;

use bytes::Bytes;
use http::{Request, StatusCode};
use tokio::sync::oneshot;

use super::answer::{
    Answer, Payload, Received, accepted, error_type, from_refusal, plain, receive, refused,
    too_large, truncated,
};
use super::desk::{Desk, Refusal};
use super::error::document;
use super::life::Move;
use crate::invoke::launcher::Session;

/// What a function with SnapStart finds beyond the others.
#[derive(Clone, Debug)]
pub struct SnapStart {
    /// Whether it becomes a template, which is never restored itself.
    pub is_template: bool,
    /// What a request for credentials has to name.
    pub token: Arc<str>,
    /// The credentials.
    pub session: Session,
}

impl Desk {
    /// The desk of a function with SnapStart.
    pub fn with_snapstart(mut self, snapstart: SnapStart) -> Desk {
        self.snapstart = Some(snapstart);
        self
    }

    /// Whether the function has SnapStart.
    pub(super) fn has_snapstart(&self) -> bool {
        self.snapstart.is_some()
    }

    /// The runtime is initialized and asks to be restored. The receiver is that of a template: it ends
    /// with its environment.
    pub fn restore_next(&self) -> Result<Option<oneshot::Receiver<()>>, Refusal> {
        let is_template = self.snapstart.as_ref().is_some_and(|snapstart| snapstart.is_template);
        let mut state = self.lock();
        state.life = state.life.step(Move::RestoreNext)?;
        if is_template {
            let (sender, receiver) = oneshot::channel();
            state.template = Some(sender);
            drop(state);
            self.owner.is_template();
            return Ok(Some(receiver));
        }
        state.life = state.life.step(Move::Restore)?;
        drop(state);
        self.owner.restoring();
        Ok(None)
    }

    /// The runtime says that a hook failed.
    pub fn restore_error(&self, body: Bytes, error_type: String) -> Result<(), Refusal> {
        let mut state = self.lock();
        state.life = state.life.step(Move::RestoreError)?;
        drop(state);
        self.owner.restore_failed(body, error_type);
        Ok(())
    }
}

pub(super) async fn next(desk: &Desk) -> Answer {
    match desk.restore_next() {
        Ok(None) => plain(StatusCode::OK, ""),
        Ok(Some(receiver)) => {
            let _ = receiver.await;
            refused(StatusCode::FORBIDDEN, "InvalidStateTransition", "the environment ends")
        }
        Err(refusal) => from_refusal(refusal),
    }
}

pub(super) async fn error(desk: &Desk, request: Request<Payload>) -> Answer {
    // Asked before the body is read.
    if let Err(illegal) = desk.life().step(Move::RestoreError) {
        return from_refusal(illegal.into());
    }
    let (head, body) = request.into_parts();
    let body = match receive(body).await {
        Received::Whole(body, _) => document(body, &head.headers),
        Received::TooLarge(_) => return too_large(),
        Received::Broken => return truncated(),
    };
    match desk.restore_error(body, error_type(&head.headers)) {
        Ok(()) => accepted(),
        Err(refusal) => from_refusal(refusal),
    }
}

#[cfg(test)]
#[path = "restore_tests.rs"]
pub(super) mod tests;
