//! Layers: one record for a layer, `layer/<account>/<region>/<name>`, and one for each of its
//! versions, `layer-version/<account>/<region>/<name>/<key of the number>` ([`version_key`]).
//!
//! Invariants: a number is never given twice, also not after its version was deleted; a layer's bytes
//! are the sum of its versions'. A function keeps what it needs of a layer version in its own record
//! ([`LayerUse`]), so a deleted version goes on working for those that have it.

use lambic_store::{Digest, Record};
use serde::{Deserialize, Serialize};

use super::function::Code;

/// The layer itself: what its versions have in common.
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
    /// The packages of all its versions that are there, zipped, in bytes.
    pub code_bytes: u64,
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

/// A version's number as the last segment of its key: how far it is from the largest there can be,
/// with as many digits as that has. So the newest version comes first, and no list has to be read to
/// its end for it.
pub fn version_key(version: u64) -> String {
    format!("{:020}", u64::MAX - version)
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
    fn the_newest_version_has_the_first_key() {
        let mut keys: Vec<_> = [u64::MAX, 100, 99, 10, 9, 2, 1].map(version_key).into();
        let newest_first = keys.clone();
        keys.sort();
        assert_eq!(keys, newest_first);
    }

    #[test]
    fn what_layers_make_together_depends_on_their_order() {
        let layer = |text: &str| LayerUse {
            arn: String::new(),
            code: Code {
                sha256: Digest::of(text.as_bytes()),
                zip_bytes: 1,
                unzipped_bytes: None,
                signature: None,
            },
        };
        let (a, b) = (layer("a"), layer("b"));
        assert_eq!(merged_digest(&[]), None);
        assert_eq!(merged_digest(std::slice::from_ref(&a)), Some(Digest::of(b"a")));
        let forth = merged_digest(&[a.clone(), b.clone()]);
        assert_ne!(forth, merged_digest(&[b, a]));
    }
}
