//! What AWS answers to a request whose signer it does not believe.

use crate::error::Error;

/// No signature at all.
pub fn missing() -> Error {
    Error::new("MissingAuthenticationTokenException", 403, "Missing Authentication Token")
}

/// A signature is there but malformed; `message` says how.
pub fn incomplete(message: impl Into<String>) -> Error {
    Error::new("IncompleteSignatureException", 403, message)
}

/// The signature is well formed and wrong; `message` says why.
pub fn invalid(message: impl Into<String>) -> Error {
    Error::new("InvalidSignatureException", 403, message)
}

/// The signature is not the one that the secret gives.
pub fn mismatch() -> Error {
    invalid(
        "The request signature we calculated does not match the signature you provided. Check \
         your AWS Secret Access Key and signing method. Consult the service documentation for \
         details.",
    )
}

/// Nobody has this access key id, or its session token is not the right one.
pub fn unrecognized() -> Error {
    Error::new(
        "UnrecognizedClientException",
        403,
        "The security token included in the request is invalid.",
    )
}

/// Temporary credentials whose time is over.
pub fn expired() -> Error {
    Error::new(
        "ExpiredTokenException",
        403,
        "The security token included in the request is expired",
    )
}

/// The credential scope names another service than the one asked.
pub fn wrong_service(service: &str) -> Error {
    invalid(format!("Credential should be scoped to correct service: '{service}'. "))
}

/// The credential scope names another region than the one asked.
pub fn wrong_region(region: &str) -> Error {
    invalid(format!("Credential should be scoped to a valid region, not '{region}'. "))
}
