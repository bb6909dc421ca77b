//! The key that signs: derived from the secret for one day, region and service.

use std::fmt;

use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};

use super::{ALGORITHM, hex, unhex};

/// The last part of every credential scope.
pub(super) const TERMINATOR: &str = "aws4_request";

/// A derived key. As good as the secret for its day, so it is never printed.
#[derive(Clone)]
pub struct SigningKey {
    /// `date/region/service/aws4_request`
    scope: String,
    /// Has taken in the key, which is half of the work for a short text.
    state: Hmac<Sha256>,
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "SigningKey({}, <redacted>)", self.scope)
    }
}

impl SigningKey {
    /// Derives the key of a date (`20261120`), region and service.
    pub fn derive(secret: &str, date: &str, region: &str, service: &str) -> SigningKey {
        let by_date = mac(format!("AWS4{secret}").as_bytes(), date.as_bytes());
        let by_region = mac(&by_date, region.as_bytes());
        let by_service = mac(&by_region, service.as_bytes());
        SigningKey {
            scope: format!("{date}/{region}/{service}/{TERMINATOR}"),
            state: keyed(&mac(&by_service, TERMINATOR.as_bytes())),
        }
    }

    /// The credential scope it is good for.
    pub fn scope(&self) -> &str {
        &self.scope
    }

    /// The signature of a text, in hexadecimal digits.
    pub(crate) fn sign(&self, string_to_sign: &str) -> String {
        let mut state = self.state.clone();
        state.update(string_to_sign.as_bytes());
        hex(&state.finalize().into_bytes())
    }

    /// Whether a signature is this text's, found out in constant time.
    pub(crate) fn agrees(&self, string_to_sign: &str, signature: &str) -> bool {
        let Some(claimed) = unhex(signature) else { return false };
        let mut state = self.state.clone();
        state.update(string_to_sign.as_bytes());
        state.verify_slice(&claimed).is_ok()
    }
}

/// What is signed for a canonical request.
pub(super) fn string_to_sign(timestamp: &str, scope: &str, canonical_request: &str) -> String {
    let hash = sha256_hex(canonical_request.as_bytes());
    format!("{ALGORITHM}\n{timestamp}\n{scope}\n{hash}")
}

/// SHA-256 in hexadecimal digits; the bytes are not copied.
pub(crate) fn sha256_hex(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn mac(key: &[u8], data: &[u8]) -> [u8; 32] {
    let mut state = keyed(key);
    state.update(data);
    state.finalize().into_bytes().into()
}

fn keyed(key: &[u8]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).expect("an HMAC takes keys of any length")
}
