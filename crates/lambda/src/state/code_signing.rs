//! Code signing configurations, `code-signing-config/<account>/<region>/<id>`, and one record for each
//! function that uses one, `code-signing-use/<account>/<region>/<id>/<function>`.
//!
//! Invariants: a function that names a configuration in its record has a use record, both come and go in
//! one transaction, and the configuration is there. So whoever lets a function begin to use one writes
//! the configuration once more, unchanged, in the same transaction: a deletion that has looked at the
//! uses before notices it.

use lambic_store::Record;
use lambic_wire::Pairs;
use serde::{Deserialize, Serialize};

/// The stored record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CodeSigningRecord {
    /// Twelve digits.
    pub account: String,
    /// Such as `us-east-1`.
    pub region: String,
    /// `csc-` and 17 letters and digits.
    pub id: String,
    /// At most 256 characters.
    pub description: Option<String>,
    /// ARNs of the signing profile versions that may sign; 1 to 20.
    pub publishers: Vec<String>,
    /// Whether what they have not signed is refused, or deployed with a warning.
    pub enforced: bool,
    /// At most 50.
    pub tags: Pairs<String>,
    /// When it was last changed, in microseconds since the epoch.
    pub last_modified_micros: i64,
}

impl Record for CodeSigningRecord {
    const KIND: &'static str = "code-signing-config";
    const VERSION: u32 = 1;

    fn upgrade(version: u32, _: serde_json::Value) -> Result<CodeSigningRecord, String> {
        Err(format!("there never was a version {version}"))
    }
}

impl CodeSigningRecord {
    /// The segments of its key.
    pub fn key(&self) -> [&str; 3] {
        [&self.account, &self.region, &self.id]
    }

    /// Its ARN.
    pub fn arn(&self) -> String {
        format!("arn:aws:lambda:{}:{}:code-signing-config:{}", self.region, self.account, self.id)
    }
}

/// That a function uses a configuration; all it says is in its key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CodeSigningUse {}

impl Record for CodeSigningUse {
    const KIND: &'static str = "code-signing-use";
    const VERSION: u32 = 1;

    fn upgrade(version: u32, _: serde_json::Value) -> Result<CodeSigningUse, String> {
        Err(format!("there never was a version {version}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip() {
        let record = CodeSigningRecord {
            account: "000000000000".to_owned(),
            region: "us-east-1".to_owned(),
            id: "csc-0123456789abcdef0".to_owned(),
            description: Some("ours".to_owned()),
            publishers: vec!["arn:aws:signer:us-east-1:000000000000:/signing-profiles/p/v".into()],
            enforced: true,
            tags: Pairs(vec![("team".into(), "blue".into())]),
            last_modified_micros: 1_763_674_200_123_456,
        };
        let text = serde_json::to_string(&record).unwrap();
        assert_eq!(serde_json::from_str::<CodeSigningRecord>(&text).unwrap(), record);
        assert_eq!(
            record.arn(),
            "arn:aws:lambda:us-east-1:000000000000:code-signing-config:csc-0123456789abcdef0"
        );
    }
}
