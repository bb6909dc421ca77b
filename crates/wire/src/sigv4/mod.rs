//! AWS Signature Version 4, both sides: header and presigned requests.
//!
//! Parsing gives a [`Claim`], which nobody may trust before [`verify`] has said so. Verification
//! is split so that callers can keep the [`SigningKey`] of a day, region and service: deriving it
//! costs four hash rounds, using it one. Secrets never leave this module in a printable form.
//!
//! The reference is "Authenticating Requests (AWS Signature Version 4)" of the AWS General
//! Reference.

mod canonical;
pub mod errors;
mod key;
mod parse;
mod sign;
pub mod v2;
mod verify;

use std::fmt;

use crate::error::Error;
use crate::operation::Request;

pub use key::SigningKey;
pub(crate) use key::sha256_hex;
pub use parse::parse;
pub use sign::{presign, sign};
pub use verify::{PayloadForm, payload_form, verify_with_key};

/// The one algorithm that is accepted.
pub const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// How far a header signature's date may be from now, in seconds.
pub const CLOCK_SKEW_S_MAX: i64 = 15 * 60;

/// The longest a presigned address may be good for, in seconds.
pub const EXPIRES_S_MAX: u32 = 7 * 24 * 60 * 60;

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

impl fmt::Debug for Credentials {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Credentials({}, <redacted>)", self.access_key_id)
    }
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

impl Claim {
    /// The credential scope, `20261120/us-east-1/lambda/aws4_request`.
    pub fn scope(&self) -> String {
        format!("{}/{}/{}/{}", self.date, self.region, self.service, key::TERMINATOR)
    }
}

/// Verifies a claim against the secret of its key. `now_epoch_s` is the time in epoch seconds.
///
/// # Errors
/// `InvalidSignatureException` 403 in AWS's words: a wrong signature, a date too far off, an
/// expired presigned address, a body other than the one that was signed.
pub fn verify(
    request: &Request,
    claim: &Claim,
    secret: &str,
    now_epoch_s: i64,
) -> Result<(), Error> {
    let key = SigningKey::derive(secret, &claim.date, &claim.region, &claim.service);
    verify_with_key(request, claim, &key, now_epoch_s)
}

/// Lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    text
}

/// The bytes of hexadecimal digits; `None` for anything else.
pub(crate) fn unhex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    text.as_bytes()
        .chunks_exact(2)
        .map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?))
        .collect()
}
