//! What is set for one qualifier of a function, kept in the function's record. Each setting is of the
//! version or the alias that it names, and goes with it.

use serde::{Deserialize, Serialize};

use super::event_invoke::EventInvoke;

/// The settings of one qualifier; those that are not set are absent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Qualified {
    /// How asynchronous invokes are tried again, and who is told how they ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_invoke: Option<EventInvoke>,
}

impl Qualified {
    /// Whether nothing is set; then it is not kept.
    pub fn is_empty(&self) -> bool {
        *self == Qualified::default()
    }
}
