//! AWS Signature Version 4, both sides. Being built; the signatures stand.

use crate::error::Error;
use crate::operation::Request;

/// A key pair, with the session token of temporary ones.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// Public part.
    pub access_key_id: String,
    /// Secret part; never printed.
    pub secret_access_key: String,
    /// Token of temporary credentials.
    pub session_token: Option<String>,
}

/// Where the signature stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// In the `Authorization` header.
    Header,
    /// In the query of a presigned address.
    Presigned {
        /// Seconds from the signature's date until it expires.
        expires_s: u32,
    },
}

/// What a request says about its signer. Parsed, not yet trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Whose key.
    pub access_key_id: String,
    /// Moment of signing, `20261120T213000Z`.
    pub timestamp: String,
    /// Date of the credential scope, `20261120`.
    pub date: String,
    /// Region of the credential scope.
    pub region: String,
    /// Service of the credential scope, the signing name.
    pub service: String,
    /// Lower-case header names in the order given.
    pub signed_headers: Vec<String>,
    /// 64 hexadecimal digits.
    pub signature: String,
    /// Session token sent along.
    pub session_token: Option<String>,
    /// Header or presigned.
    pub kind: Kind,
}

/// Reads the claim of a request; `None` when it is not signed at all.
///
/// # Errors
/// `IncompleteSignatureException` and its like when a signature is there but malformed.
pub fn parse(_request: &Request) -> Result<Option<Claim>, Error> {
    Ok(None)
}

/// Verifies a claim against the secret of its key.
///
/// # Errors
/// `InvalidSignatureException` and its like, 403, in AWS's words.
pub fn verify(
    _request: &Request,
    _claim: &Claim,
    _secret: &str,
    _now_epoch_s: i64,
) -> Result<(), Error> {
    Err(Error::not_offered("signature verification"))
}

/// Signs a request in its headers (`X-Amz-Date`, `X-Amz-Security-Token`, `Authorization`). The
/// `Host` header must be set.
pub fn sign(
    _request: &mut Request,
    _credentials: &Credentials,
    _region: &str,
    _service: &str,
    _now_epoch_s: i64,
) {
}

/// Signs a request in its query. The `Host` header must be set.
pub fn presign(
    _request: &mut Request,
    _credentials: &Credentials,
    _region: &str,
    _service: &str,
    _now_epoch_s: i64,
    _expires_s: u32,
) {
}
