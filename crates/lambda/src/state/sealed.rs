//! Something that is stored encrypted under a key of the operator's.
//!
//! AES-256-GCM under a data key that is there for this one text only, and the data key in the same way
//! under the operator's key. Each of the two is a nonce of 12 bytes, the ciphertext and a tag of 16, in
//! base64. What it belongs to is authenticated with both, so it cannot be put elsewhere.

use serde::{Deserialize, Serialize};

/// Part of a function's record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sealed {
    /// The data key under the operator's key.
    pub data_key: String,
    /// The text under the data key.
    pub text: String,
}
