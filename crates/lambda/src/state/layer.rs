//! Layers: one record for a layer, `layer/<account>/<region>/<name>`, and one for each of its
//! versions, `layer-version/<account>/<region>/<name>/<number>`.
//!
//! Invariants: a number is never given twice, also not after its version was deleted. A function keeps
//! what it needs of a layer version in its own record ([`LayerUse`]), so a deleted version goes on
//! working for those that have it.

use lambic_store::{Digest, Record};
use serde::{Deserialize, Serialize};

use super::function::Code;

/// The layer itself: only its numbers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerRecord {
    /// Twelve digits.
    pub account: String,
    /// Such as `us-east-1`.
    pub region: String,
    /// The plain name.
    pub name: String,
    /// The number that was given last.
    pub last_version: u64,
}

impl Record for LayerRecord {
    const KIND: &'static str = "layer";
    const VERSION: u32 = 1;

    fn upgrade(version: u32, _: serde_json::Value) -> Result<LayerRecord, String> {
        Err(format!("there never was a version {version}"))
    }
}

impl LayerRecord {
    /// The segments of its key.
    pub fn key(&self) -> [&str; 3] {
        [&self.account, &self.region, &self.name]
    }
}

/// One version of a layer. Never altered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerVersionRecord {
    /// Twelve digits.
    pub account: String,
    /// Such as `us-east-1`.
    pub region: String,
    /// The layer's name.
    pub name: String,
    /// From 1.
    pub version: u64,
    /// At most 256 characters; may be empty.
    pub description: String,
    /// Runtimes that it says it is for; empty when it says nothing.
    pub runtimes: Vec<String>,
    /// Architectures that it says it is for; empty when it says nothing.
    pub architectures: Vec<String>,
    /// At most 512 characters.
    pub license: Option<String>,
    /// What it brings.
    pub code: Code,
    /// When it was published, in microseconds since the epoch.
    pub created_micros: i64,
}

impl Record for LayerVersionRecord {
    const KIND: &'static str = "layer-version";
    const VERSION: u32 = 1;

    fn upgrade(version: u32, _: serde_json::Value) -> Result<LayerVersionRecord, String> {
        Err(format!("there never was a version {version}"))
    }
}

/// A version's number as the last segment of its key: as long as the longest, so that the order of
/// keys is that of numbers.
pub fn version_key(version: u64) -> String {
    format!("{version:020}")
}

impl LayerVersionRecord {
    /// ARN of the layer.
    pub fn layer_arn(&self) -> String {
        format!("arn:aws:lambda:{}:{}:layer:{}", self.region, self.account, self.name)
    }

    /// ARN of this version.
    pub fn arn(&self) -> String {
        format!("{}:{}", self.layer_arn(), self.version)
    }
}

/// A layer version that a function uses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerUse {
    /// ARN of the version.
    pub arn: String,
    /// What it brings.
    pub code: Code,
}

/// Names the folder that these layers make together, in this order; `None` without layers. One layer
/// is its own folder.
pub fn merged_digest(layers: &[LayerUse]) -> Option<Digest> {
    match layers {
        [] => None,
        [one] => Some(one.code.sha256.clone()),
        several => {
            let names: Vec<_> = several.iter().map(|layer| layer.code.sha256.as_str()).collect();
            let mut bytes = Digest::of(names.join("\n").as_bytes()).to_bytes();
            // A package has the hash of what was sent as its name. Were this one such a hash, whoever
            // knows the digests of layers could send that text in place of a zip and be given what
            // the layers hold.
            bytes.reverse();
            Some(Digest::from_bytes(bytes))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_versions_are_in_the_order_of_their_numbers() {
        let mut keys: Vec<_> = [1, 2, 9, 10, 99, 100, u64::MAX].map(version_key).into();
        let sorted = keys.clone();
        keys.sort();
        assert_eq!(keys, sorted);
    }

    #[test]
    fn what_layers_make_together_depends_on_their_order() {
        let layer = |text: &str| LayerUse {
            arn: String::new(),
            code: Code { sha256: Digest::of(text.as_bytes()), zip_bytes: 1, unzipped_bytes: None },
        };
        let (a, b) = (layer("a"), layer("b"));
        assert_eq!(merged_digest(&[]), None);
        assert_eq!(merged_digest(std::slice::from_ref(&a)), Some(Digest::of(b"a")));
        let forth = merged_digest(&[a.clone(), b.clone()]);
        assert_ne!(forth, merged_digest(&[b, a]));
    }
}
