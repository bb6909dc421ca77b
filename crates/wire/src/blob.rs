//! Binary data that travels as base64 inside JSON.

use std::fmt;

use base64::Engine;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use bytes::Bytes;
use serde::de::{Error as _, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// AWS accepts base64 with and without padding.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Bytes that are base64 text in JSON. Never printed: they are packages and payloads.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Blob(pub Bytes);

impl Blob {
    /// Decodes base64 text; `None` when it is not base64.
    pub fn from_base64(text: &str) -> Option<Blob> {
        LENIENT.decode(text).ok().map(|bytes| Blob(Bytes::from(bytes)))
    }

    /// The padded base64 text.
    pub fn to_base64(&self) -> String {
        STANDARD.encode(&self.0)
    }
}

impl fmt::Debug for Blob {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Blob({} bytes)", self.0.len())
    }
}

impl From<Bytes> for Blob {
    fn from(bytes: Bytes) -> Blob {
        Blob(bytes)
    }
}

impl Serialize for Blob {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.to_base64())
    }
}

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Blob, D::Error> {
        struct Base64;
        impl Visitor<'_> for Base64 {
            type Value = Blob;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("base64 text")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Blob, E> {
                Blob::from_base64(text).ok_or_else(|| E::custom("invalid base64"))
            }
        }
        deserializer.deserialize_str(Base64).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_with_and_without_padding() {
        for text in ["aGk=", "aGk"] {
            assert_eq!(Blob::from_base64(text), Some(Blob(Bytes::from_static(b"hi"))));
        }
        assert_eq!(Blob::from_base64("a b"), None);
        assert_eq!(Blob(Bytes::from_static(b"hi")).to_base64(), "aGk=");
    }
}
