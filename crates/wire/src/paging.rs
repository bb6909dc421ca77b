//! Opaque paging tokens (`Marker`, `NextMarker`). A token names the last key that was given out,
//! so that paging goes on rightly when entries come and go between two pages.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// Leading byte of every token, so that a later form can be told apart.
const FORM: u8 = b'1';

/// A token's longest text, in bytes.
pub const TOKEN_BYTES_MAX: usize = 4096;

/// The token that continues after `key`.
pub fn encode(key: &str) -> String {
    let mut plain = Vec::with_capacity(key.len() + 1);
    plain.push(FORM);
    plain.extend_from_slice(key.as_bytes());
    URL_SAFE_NO_PAD.encode(plain)
}

/// The key to continue after; `None` when the token is not one of ours.
pub fn decode(token: &str) -> Option<String> {
    if token.len() > TOKEN_BYTES_MAX {
        return None;
    }
    let plain = URL_SAFE_NO_PAD.decode(token.trim_end_matches('=')).ok()?;
    let (form, key) = plain.split_first()?;
    if *form != FORM {
        return None;
    }
    String::from_utf8(key.to_vec()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip_and_refusal() {
        assert_eq!(decode(&encode("my-function")).as_deref(), Some("my-function"));
        for token in ["", "!", "AAAA", "eyJ4IjoxfQ"] {
            assert_eq!(decode(token), None, "{token}");
        }
    }
}
