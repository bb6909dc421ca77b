//! Which version of its runtime one version of a function runs, kept in the function's record.
//!
//! There is one version of each runtime here, the one that is installed. So the mode never changes what
//! runs; a pinned version is always the installed one, because no other is let in.

use serde::{Deserialize, Serialize};

/// A mode other than AWS's default, `Auto`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RuntimeManagement {
    /// The newest version at the time of the last update of the function.
    FunctionUpdate,
    /// This version only.
    Manual {
        /// As [`super::runtime_id::version_arn`] makes it.
        version_arn: String,
    },
}
