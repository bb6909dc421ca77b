//! How far the snapshot of one published version with SnapStart is: part of its function's record, so
//! that whoever follows functions hears of it.
//!
//! Pending → Taken, or Failed, and both are for good, as what a version runs is. A snapshot is only
//! ever in memory: one that is lost is taken again while the version stays as it is, and what starts
//! meanwhile is initialized in the ordinary way.

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Snapshot {
    /// The version is being initialized; it cannot be invoked.
    Pending,
    /// It could be initialized.
    Taken,
    /// It could not; it cannot be invoked.
    Failed {
        /// For `StateReason`.
        reason: String,
    },
}

/// How the first attempt to take it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is there.
    Taken,
    /// The function cannot be initialized.
    Failed {
        /// For `StateReason`.
        reason: String,
    },
}

/// It was settled before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the snapshot was settled before")]
pub struct Settled;

impl Snapshot {
    /// What becomes of it.
    pub fn settle(&self, outcome: Outcome) -> Result<Snapshot, Settled> {
        match (self, outcome) {
            (Snapshot::Pending, Outcome::Taken) => Ok(Snapshot::Taken),
            (Snapshot::Pending, Outcome::Failed { reason }) => Ok(Snapshot::Failed { reason }),
            (Snapshot::Taken | Snapshot::Failed { .. }, _) => Err(Settled),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_table() {
        let failed = |reason: &str| Snapshot::Failed { reason: reason.to_owned() };
        let fails = || Outcome::Failed { reason: "new".to_owned() };
        for (before, taken, fails_then) in [
            (Snapshot::Pending, Ok(Snapshot::Taken), Ok(failed("new"))),
            (Snapshot::Taken, Err(Settled), Err(Settled)),
            (failed("old"), Err(Settled), Err(Settled)),
        ] {
            assert_eq!(before.settle(Outcome::Taken), taken, "{before:?}");
            assert_eq!(before.settle(fails()), fails_then, "{before:?}");
            let text = serde_json::to_string(&before).unwrap();
            assert_eq!(serde_json::from_str::<Snapshot>(&text).unwrap(), before);
        }
    }
}
