//! What the invoke path hears of the runtime at a desk.

use bytes::Bytes;
use lambic_rt::Instant;

use super::desk::Outcome;
use crate::telemetry::{self, Api};

/// Who is told what happens at the desk. Called without the desk's lock.
pub trait Owner: Send + Sync + 'static {
    /// All launched extensions have registered: the runtime may begin.
    fn registered(&self);
    /// The runtime asked for its first work; extensions may still be at it.
    fn runtime_started(&self);
    /// Runtime and extensions ask for work: their first, or their next after an invocation.
    fn ready(&self);
    /// The runtime reported that it cannot start. The body is its error document.
    fn init_failed(&self, body: Bytes, error_type: String);
    /// The runtime's client says what of certain modules the function has imported.
    fn imported(&self, _modules: &str) {}
    /// The runtime is initialized and asks to be restored, which is not done here: the environment is
    /// a template now.
    fn is_template(&self) {}
    /// The runtime is initialized, has asked to be restored, and is: its hooks run.
    fn restoring(&self) {}
    /// A hook that runs after restoring failed. The body is its error document.
    fn restore_failed(&self, _body: Bytes, _error_type: String) {}
    /// The runtime has answered and has until `until` to ask for the next event.
    fn responded(&self, until: Instant);
    /// The runtime is done with an invocation; extensions may still be at work.
    fn runtime_done(&self, outcome: &Outcome);
    /// An extension asks to be told what happens.
    fn subscribe(&self, api: Api, extension: &str, body: &[u8]) -> telemetry::Answer;
    /// The invocation is over: writes END and REPORT. The log's tail, when `wants_tail`.
    fn record(&self, outcome: &Outcome, wants_tail: bool) -> Option<Vec<u8>>;
}
