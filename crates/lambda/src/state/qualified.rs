//! What is set for one qualifier of a function, kept in the function's record. Each setting is of the
//! version or the alias that it names, and goes with it.

use serde::{Deserialize, Serialize};

use super::event_invoke::EventInvoke;
use super::function_url::FunctionUrl;
use super::runtime_management::RuntimeManagement;
use crate::policy::Document;

/// The settings of one qualifier; those that are not set are absent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Qualified {
    /// Its URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<FunctionUrl>,
    /// How asynchronous invokes are tried again, and who is told how they ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_invoke: Option<EventInvoke>,
    /// Which version of its runtime it runs; absent for AWS's default, always the newest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime_management: Option<RuntimeManagement>,
    /// Who else may use it; that of `$LATEST` is the policy of the function without a qualifier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<Document>,
    /// Execution environments that are there before anybody asks for them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provisioned: Option<Provisioned>,
}

impl Qualified {
    /// Whether nothing is set; then it is not kept.
    pub fn is_empty(&self) -> bool {
        *self == Qualified::default()
    }
}

/// A provisioned concurrency configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provisioned {
    /// At least 1.
    pub requested: u32,
    /// When it was set, in microseconds since the epoch.
    pub last_modified_micros: i64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_stored_without_a_setting_opens_without_it() {
        let old: Qualified = serde_json::from_str("{}").unwrap();
        assert!(old.is_empty());
        let text = r#"{"event_invoke": {"last_modified_micros": 7}}"#;
        let settings: Qualified = serde_json::from_str(text).unwrap();
        let expected = EventInvoke {
            retries_max: None,
            event_age_s_max: None,
            on_success: None,
            on_failure: None,
            last_modified_micros: 7,
        };
        assert_eq!(settings.event_invoke, Some(expected));
    }
}
