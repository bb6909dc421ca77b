//! Signature Version 2 in a query, as boto3 presigns by default for endpoints it does not know.
//!
//! Read, not verified: it uses SHA-1. The caller may take it in development mode, where any
//! credentials are good, and must refuse it elsewhere.

use crate::operation::Request;
use crate::uri;

/// What a version 2 presigned address says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Whose key.
    pub access_key_id: String,
    /// Base64 text.
    pub signature: String,
    /// Epoch seconds after which the address is no longer good.
    pub expires_epoch_s: i64,
    /// Session token sent along.
    pub session_token: Option<String>,
}

impl Claim {
    /// Whether the address' time is over.
    pub fn is_expired(&self, now_epoch_s: i64) -> bool {
        now_epoch_s > self.expires_epoch_s
    }
}

/// Reads the claim; `None` when the request is not presigned with version 2.
pub fn parse(request: &Request) -> Option<Claim> {
    let value = |name: &str| uri::query_value(&request.query, name).map(|text| text.into_owned());
    Some(Claim {
        access_key_id: value("AWSAccessKeyId")?,
        signature: value("Signature")?,
        expires_epoch_s: value("Expires")?.parse().ok()?,
        session_token: value("x-amz-security-token"),
    })
}
