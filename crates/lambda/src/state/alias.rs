//! One alias of a function, kept in the function's record: a name that leads to a published version,
//! or for a part of the invokes to a second one.

use serde::{Deserialize, Serialize};

/// What an alias leads to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alias {
    /// The number of a published version, or `$LATEST`.
    pub version: String,
    /// At most 256 characters; may be empty.
    pub description: String,
    /// A second version, which gets a part of the invokes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub second: Option<Second>,
    /// Changes with every write of this alias.
    pub revision_id: String,
}

/// The second version of an alias.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Second {
    /// The number of a published version.
    pub version: String,
    /// Its part of the invokes.
    pub weight: Weight,
}

/// A part of all invokes, from 0 to 1.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Weight(pub f64);

impl PartialEq for Weight {
    fn eq(&self, other: &Weight) -> bool {
        self.0.to_bits() == other.0.to_bits()
    }
}

impl Eq for Weight {}
