//! Who else may read a layer version: `layer-policy/<account>/<region>/<name>/<number>`.
//!
//! Invariants: there is a record exactly while there is a statement; ids of statements differ;
//! `revision_id` changes with every write.

use lambic_store::Record;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// The stored record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerPolicyRecord {
    /// In the order in which they were added.
    pub statements: Vec<LayerStatement>,
    /// Changes with every write of this record.
    pub revision_id: String,
}

/// Lets somebody read the version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerStatement {
    /// Given by the caller; unique in its policy.
    pub id: String,
    /// An account, `*`, or the ARN of an account's root.
    pub principal: String,
}

impl Record for LayerPolicyRecord {
    const KIND: &'static str = "layer-policy";
    const VERSION: u32 = 1;

    fn upgrade(version: u32, _: Value) -> Result<LayerPolicyRecord, String> {
        Err(format!("there never was a version {version}"))
    }
}

impl LayerStatement {
    /// As AWS shows it, for this version of a layer.
    pub fn document(&self, version_arn: &str) -> Value {
        let principal = match self.account() {
            Some(account) => json!({"AWS": format!("arn:aws:iam::{account}:root")}),
            None => json!("*"),
        };
        json!({
            "Sid": self.id, "Effect": "Allow", "Principal": principal,
            "Action": "lambda:GetLayerVersion", "Resource": version_arn,
        })
    }

    /// The account it is for; `None` is everybody.
    fn account(&self) -> Option<&str> {
        match self.principal.as_str() {
            "*" => None,
            arn if arn.starts_with("arn:") => arn.split(':').nth(4),
            account => Some(account),
        }
    }

    /// Whether this account may read.
    pub fn lets_in(&self, account: &str) -> bool {
        self.account().is_none_or(|allowed| allowed == account)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whom_a_statement_lets_in() {
        let statement =
            |principal: &str| LayerStatement { id: "a".into(), principal: principal.to_owned() };
        for (principal, one, other) in [
            ("*", true, true),
            ("111111111111", true, false),
            ("arn:aws:iam::111111111111:root", true, false),
        ] {
            let statement = statement(principal);
            assert_eq!(statement.lets_in("111111111111"), one, "{principal}");
            assert_eq!(statement.lets_in("222222222222"), other, "{principal}");
        }
        assert_eq!(
            statement("111111111111").document("arn:v").to_string(),
            r#"{"Sid":"a","Effect":"Allow","Principal":{"AWS":"arn:aws:iam::111111111111:root"},"Action":"lambda:GetLayerVersion","Resource":"arn:v"}"#
        );
    }
}
