//! Verifies a claim: its date, its body, its signature, in this order, in AWS's words.

use crate::error::Error;
use crate::operation::Request;
use crate::timestamp::Timestamp;

use super::key::{SigningKey, sha256_hex, string_to_sign};
use super::{CLOCK_SKEW_S_MAX, Claim, Kind, canonical, errors};

/// How a request's payload is signed, from `X-Amz-Content-SHA256`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PayloadForm {
    /// By its SHA-256, given or computed.
    Signed,
    /// Not at all: `UNSIGNED-PAYLOAD`.
    Unsigned,
    /// Chunk by chunk: `STREAMING-AWS4-HMAC-SHA256-PAYLOAD`.
    Chunks,
    /// Chunk by chunk, with signed trailers: `STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER`.
    ChunksTrailer,
    /// Unsigned chunks with trailers: `STREAMING-UNSIGNED-PAYLOAD-TRAILER`.
    UnsignedTrailer,
}

/// Reads the payload form of a request.
///
/// # Errors
/// `InvalidSignatureException` for a value that is neither a SHA-256 nor one of AWS's words.
pub fn payload_form(request: &Request) -> Result<PayloadForm, Error> {
    let Some(value) = request.header("x-amz-content-sha256") else {
        return Ok(PayloadForm::Signed);
    };
    match value {
        "UNSIGNED-PAYLOAD" => Ok(PayloadForm::Unsigned),
        "STREAMING-AWS4-HMAC-SHA256-PAYLOAD" => Ok(PayloadForm::Chunks),
        "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER" => Ok(PayloadForm::ChunksTrailer),
        "STREAMING-UNSIGNED-PAYLOAD-TRAILER" => Ok(PayloadForm::UnsignedTrailer),
        hash if hash.len() == 64 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()) => {
            Ok(PayloadForm::Signed)
        }
        _ => Err(errors::invalid(
            "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, \
             STREAMING-UNSIGNED-PAYLOAD-TRAILER, STREAMING-AWS4-HMAC-SHA256-PAYLOAD, \
             STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER or a valid sha256 value.",
        )),
    }
}

/// Verifies a claim with a key that was derived before. The chunks of a chunked body are not
/// looked at; [`crate::chunked::decode`] does that.
///
/// # Errors
/// `InvalidSignatureException` 403.
pub fn verify_with_key(
    request: &Request,
    claim: &Claim,
    key: &SigningKey,
    now_epoch_s: i64,
) -> Result<(), Error> {
    check_time(claim, now_epoch_s)?;
    let payload = payload_word(request, claim)?;
    let canonical = canonical::request(request, &claim.service, &claim.signed_headers, &payload);
    let scope = claim.scope();
    let string_to_sign = string_to_sign(&claim.timestamp, &scope, &canonical);
    if key.scope() != scope || !key.agrees(&string_to_sign, &claim.signature) {
        return Err(errors::mismatch());
    }
    Ok(())
}

fn check_time(claim: &Claim, now_epoch_s: i64) -> Result<(), Error> {
    let Some(signed) = Timestamp::from_basic_text(&claim.timestamp) else {
        return Err(errors::mismatch());
    };
    let signed_s = signed.epoch_ms / 1000;
    let good_for_s = match claim.kind {
        Kind::Header => CLOCK_SKEW_S_MAX,
        Kind::Presigned { expires_s } => i64::from(expires_s),
    };
    let now = || text(now_epoch_s);
    let stamp = &claim.timestamp;
    if signed_s < now_epoch_s - good_for_s {
        let earliest = text(now_epoch_s - good_for_s);
        let span = span(good_for_s);
        return Err(errors::invalid(format!(
            "Signature expired: {stamp} is now earlier than {earliest} ({} - {span})",
            now()
        )));
    }
    if signed_s > now_epoch_s + CLOCK_SKEW_S_MAX {
        let latest = text(now_epoch_s + CLOCK_SKEW_S_MAX);
        let span = span(CLOCK_SKEW_S_MAX);
        return Err(errors::invalid(format!(
            "Signature not yet current: {stamp} is still later than {latest} ({} + {span})",
            now()
        )));
    }
    Ok(())
}

fn text(epoch_s: i64) -> String {
    Timestamp::from_epoch_s(epoch_s).to_basic_text()
}

fn span(seconds: i64) -> String {
    if seconds % 60 == 0 { format!("{} min.", seconds / 60) } else { format!("{seconds} s.") }
}

/// The last line of the canonical request; a given hash must be the body's.
fn payload_word(request: &Request, claim: &Claim) -> Result<String, Error> {
    let given = request.header("x-amz-content-sha256");
    let form = payload_form(request)?;
    match (form, given) {
        (PayloadForm::Signed, Some(hash)) => {
            if !hash.eq_ignore_ascii_case(&sha256_hex(&request.body)) {
                return Err(errors::mismatch());
            }
            Ok(hash.to_owned())
        }
        (PayloadForm::Signed, None) if is_unsigned_by_custom(claim) => {
            Ok("UNSIGNED-PAYLOAD".to_owned())
        }
        (PayloadForm::Signed, None) => Ok(sha256_hex(&request.body)),
        (_, given) => Ok(given.unwrap_or_default().to_owned()),
    }
}

/// Presigned S3 addresses leave the payload open.
fn is_unsigned_by_custom(claim: &Claim) -> bool {
    matches!(claim.kind, Kind::Presigned { .. }) && canonical::is_s3(&claim.service)
}
