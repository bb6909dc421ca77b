//! How long the start of an environment took, and what is billed of it.

use std::time::Duration;

/// How long the start of an environment took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColdStart {
    /// It was initialized.
    Init(Duration),
    /// It was restored from a snapshot.
    Restore {
        /// In all.
        whole: Duration,
        /// What is billed of it: its hooks.
        billed: Duration,
    },
}

impl ColdStart {
    /// What is billed of it.
    pub fn billed(self) -> Duration {
        match self {
            ColdStart::Init(whole) => whole,
            ColdStart::Restore { billed, .. } => billed,
        }
    }
}
