//! Keys as PEM files, in the forms that OpenSSL writes: `openssl genpkey -algorithm ed25519` makes a
//! private key, `openssl pkey -pubout` its public one (RFC 8410).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signature, Signer};

/// What stands before the 32 bytes of a public key.
const PUBLIC_PREFIX: [u8; 12] =
    [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
/// What stands before the 32 bytes of a private key.
const PRIVATE_PREFIX: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];

/// The key of those who sign. It is never printed.
pub struct SigningKey(ed25519_dalek::SigningKey);

/// The key of those who verify.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifyingKey(ed25519_dalek::VerifyingKey);

impl SigningKey {
    /// From 32 random bytes.
    pub fn from_seed(seed: &[u8; 32]) -> SigningKey {
        SigningKey(ed25519_dalek::SigningKey::from_bytes(seed))
    }

    /// From the text of a PEM file; `None` if that is no private Ed25519 key.
    pub fn from_pem(text: &str) -> Option<SigningKey> {
        let bytes = pem_body(text, "PRIVATE KEY", &PRIVATE_PREFIX)?;
        Some(SigningKey::from_seed(&bytes))
    }

    /// The text of its PEM file.
    pub fn to_pem(&self) -> String {
        pem("PRIVATE KEY", &PRIVATE_PREFIX, self.0.as_bytes())
    }

    /// Its other half.
    pub fn public(&self) -> VerifyingKey {
        VerifyingKey(self.0.verifying_key())
    }

    pub(super) fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).to_bytes()
    }
}

impl VerifyingKey {
    /// From the text of a PEM file; `None` if that is no public Ed25519 key.
    pub fn from_pem(text: &str) -> Option<VerifyingKey> {
        let bytes = pem_body(text, "PUBLIC KEY", &PUBLIC_PREFIX)?;
        let key = ed25519_dalek::VerifyingKey::from_bytes(&bytes).ok()?;
        // With a weak key everybody can sign.
        (!key.is_weak()).then_some(VerifyingKey(key))
    }

    /// The text of its PEM file.
    pub fn to_pem(&self) -> String {
        pem("PUBLIC KEY", &PUBLIC_PREFIX, self.0.as_bytes())
    }

    pub(super) fn has_signed(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        self.0.verify_strict(message, &Signature::from_bytes(signature)).is_ok()
    }
}

fn pem(label: &str, prefix: &[u8], key: &[u8; 32]) -> String {
    let body = STANDARD.encode([prefix, key].concat());
    format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n")
}

/// The 32 bytes of a key, if `text` is that one key and nothing else.
fn pem_body(text: &str, label: &str, prefix: &[u8]) -> Option<[u8; 32]> {
    let text = text.trim();
    let body = text.strip_prefix(&format!("-----BEGIN {label}-----"))?;
    let body = body.strip_suffix(&format!("-----END {label}-----"))?;
    let body: String = body.split_ascii_whitespace().collect();
    let bytes = STANDARD.decode(body).ok()?;
    bytes.strip_prefix(prefix)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made by OpenSSL 3.0.
    const PRIVATE: &str = "-----BEGIN PRIVATE KEY-----\n\
        MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n\
        -----END PRIVATE KEY-----\n";
    /// As in RFC 8410, section 10.1.
    const PUBLIC: &str = "-----BEGIN PUBLIC KEY-----\n\
        MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n\
        -----END PUBLIC KEY-----\n";

    #[test]
    fn the_keys_of_the_rfc() {
        let key = SigningKey::from_pem(PRIVATE).unwrap();
        assert_eq!(key.to_pem(), PRIVATE);
        assert_eq!(key.public().to_pem(), PUBLIC);
        assert_eq!(VerifyingKey::from_pem(PUBLIC), Some(key.public()));
        let signature = key.sign(b"message");
        assert!(key.public().has_signed(b"message", &signature));
        assert!(!key.public().has_signed(b"massage", &signature));
    }

    #[test]
    fn what_is_no_key() {
        let weak = pem("PUBLIC KEY", &PUBLIC_PREFIX, &[0; 32]);
        let short = PUBLIC.replace("ZuE=", "");
        let rsa = PUBLIC.replace("MCowBQYDK2Vw", "MCowBQYDK2Vx");
        for bad in ["", PRIVATE, &weak, &short, &rsa, &format!("{PUBLIC}{PUBLIC}")] {
            assert_eq!(VerifyingKey::from_pem(bad), None, "{bad}");
        }
        assert!(SigningKey::from_pem(PUBLIC).is_none());
    }
}
