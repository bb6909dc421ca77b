//! One published version of a function: `function-version/<account>/<region>/<name>/<number>`, the
//! number with leading zeros, so that lists are in the order of publication. Which numbers there are
//! stands in the function's record, so that nobody has to look for them here.
//!
//! Invariants: a number is never given twice while the function lives, also not after its version was
//! deleted. Once published, what a version runs does not change.

use lambic_rt::Timestamp;
use lambic_store::Record;
use serde::{Deserialize, Serialize};

use super::function::Configuration;

/// The stored record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionRecord {
    /// Twelve digits.
    pub account: String,
    /// Such as `us-east-1`.
    pub region: String,
    /// The function's plain name.
    pub name: String,
    /// From 1.
    pub number: u64,
    /// What it runs.
    pub configuration: Configuration,
    /// What `$LATEST` was described as when it was published, which the version's own description
    /// may hide.
    pub latest_description: String,
    /// Given at its publication; changes with its policy.
    pub revision_id: String,
    /// From when on it is `Active`, in microseconds since the epoch; until then it is `Pending`.
    pub active_at_micros: i64,
}

impl Record for VersionRecord {
    const KIND: &'static str = "function-version";
    const VERSION: u32 = 1;

    fn upgrade(version: u32, _: serde_json::Value) -> Result<VersionRecord, String> {
        Err(format!("there never was a version {version}"))
    }
}

/// The last segment of the key of that number.
pub fn number_key(number: u64) -> String {
    format!("{number:020}")
}

impl VersionRecord {
    /// Whether it is still `Pending`.
    pub fn is_pending(&self, now: Timestamp) -> bool {
        self.active_at_micros > now.micros()
    }
}
