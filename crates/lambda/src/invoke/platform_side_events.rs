//! What the platform says about what is beside the runtime: extensions and those who listen.

use serde::Serialize;

use crate::runtime_api::extensions::crew::Info;

/// Of `platform.extension`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ExtensionState {
    name: String,
    state: &'static str,
    events: Vec<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) error_type: Option<String>,
}

impl ExtensionState {
    /// Of this extension.
    pub fn of(info: Info) -> ExtensionState {
        let Info { name, state, events, error_type } = info;
        ExtensionState { name, state, events, error_type }
    }

    pub(super) fn text(&self) -> String {
        let error = match &self.error_type {
            Some(kind) => format!("\tError Type: {kind}"),
            None => String::new(),
        };
        let events = self.events.join(", ");
        format!(
            "EXTENSION\tName: {}\tState: {}\tEvents: [{events}]{error}\n",
            self.name, self.state
        )
    }
}

/// Of `platform.telemetrySubscription` and `platform.logsSubscription`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Subscription {
    /// The extension's.
    pub name: String,
    /// `Subscribed`, or `Already subscribed` when it asked for the same again.
    pub state: &'static str,
    /// `platform`, `function`, `extension`.
    pub types: Vec<&'static str>,
}

/// Of `platform.logsDropped`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LogsDropped {
    /// Why.
    pub reason: &'static str,
    /// Lines.
    pub dropped_records: u64,
    /// Their bytes.
    pub dropped_bytes: u64,
}
