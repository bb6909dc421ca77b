//! The name of a blob: the SHA-256 of its contents.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::BlobError;

/// A SHA-256 in lower-case hexadecimal, 64 characters. Nothing else can be made into one, so it is
/// safe as a file name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(String);

impl Digest {
    /// The digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Digest {
        Digest::from_bytes(Sha256::digest(bytes).into())
    }

    /// From the 32 bytes of a SHA-256.
    pub fn from_bytes(bytes: [u8; 32]) -> Digest {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = String::with_capacity(64);
        for byte in bytes {
            text.push(char::from(DIGITS[usize::from(byte >> 4)]));
            text.push(char::from(DIGITS[usize::from(byte & 15)]));
        }
        Digest(text)
    }

    /// The 32 bytes (whose base64 is AWS's `CodeSha256`).
    pub fn to_bytes(&self) -> [u8; 32] {
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(self.0.as_bytes().chunks(2)) {
            *byte = pair.iter().fold(0, |value, digit| value << 4 | digit_value(*digit));
        }
        bytes
    }

    /// The hexadecimal text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn digit_value(digit: u8) -> u8 {
    if digit.is_ascii_digit() { digit - b'0' } else { digit - b'a' + 10 }
}

impl fmt::Display for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl TryFrom<String> for Digest {
    type Error = BlobError;

    fn try_from(text: String) -> Result<Digest, BlobError> {
        let digits = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if text.len() == 64 && text.bytes().all(digits) {
            Ok(Digest(text))
        } else {
            Err(BlobError::NoDigest)
        }
    }
}

impl FromStr for Digest {
    type Err = BlobError;

    fn from_str(text: &str) -> Result<Digest, BlobError> {
        Digest::try_from(text.to_string())
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> String {
        digest.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_answer_and_round_trip() {
        let text = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let digest = Digest::of(b"abc");
        assert_eq!(digest.as_str(), text);
        assert_eq!(text.parse(), Ok(digest.clone()));
        assert_eq!(Digest::from_bytes(digest.to_bytes()), digest);
    }

    #[test]
    fn nothing_else_is_a_digest() {
        for text in ["", "../../etc/passwd", &"A".repeat(64), &"a".repeat(63), &"/".repeat(64)] {
            assert_eq!(text.parse::<Digest>(), Err(BlobError::NoDigest), "{text}");
        }
    }
}
