//! What happens to asynchronous invokes of one qualifier that fail, and where their outcome goes.
//!
//! Nothing obeys it yet: asynchronous invokes are not offered.

use serde::{Deserialize, Serialize};

/// The settings as they are stored; what was not given is absent and AWS's default.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventInvoke {
    /// Attempts after the first, 0 to 2.
    #[serde(default)]
    pub retries_max: Option<i32>,
    /// Age of an event that is still tried, 60 to 21,600 seconds.
    #[serde(default)]
    pub event_age_s_max: Option<i32>,
    /// ARN of who is told of successes.
    #[serde(default)]
    pub on_success: Option<String>,
    /// ARN of who is told of failures.
    #[serde(default)]
    pub on_failure: Option<String>,
    /// In microseconds since the epoch.
    pub last_modified_micros: i64,
}
