//! Who asks? A request's claim becomes a principal, or is refused in AWS's words.
//!
//! Two modes. `Required` believes nothing but a verified signature. `Development` believes anybody,
//! because whoever reaches the loopback address of this machine could run the functions' code
//! anyway; it therefore cannot be had without proof that the address is a loopback address. Even
//! there a key that the table knows is verified, so that a function's own credentials mean what
//! they mean on AWS, and a function's unknown credentials are never another account's.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use lambic_rt::Timestamp;
use lambic_wire::sigv4::{self, Claim};
use lambic_wire::{Error, Request};

use crate::credentials::{CredentialTable, Entry, Principal};
use crate::cx::Origin;

/// The account of development mode's requests that name none.
pub(crate) const ACCOUNT_DEFAULT: &str = "000000000000";

/// Whether signatures are demanded.
#[derive(Clone, Debug)]
pub enum AuthMode {
    /// Any credentials or none, for clients on this machine: the account is the access key id if
    /// that has 12 digits, else `000000000000`. A key that the table knows is verified. Made by
    /// [`AuthMode::development`] only.
    Development(LoopbackOnly),
    /// Every request must carry a valid signature of a known key.
    Required,
}

/// The proof that the listening address is a loopback address.
#[derive(Clone, Debug)]
pub struct LoopbackOnly {
    listen: SocketAddr,
}

/// Development mode was asked for an address that others can reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotLoopback {
    /// The address.
    pub listen: SocketAddr,
}

impl fmt::Display for NotLoopback {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "development mode accepts any credentials and so may listen only on a loopback \
             address, and {} is none: listen on 127.0.0.1 or require signatures",
            self.listen
        )
    }
}

impl std::error::Error for NotLoopback {}

impl AuthMode {
    /// Development mode for a listener on this address.
    ///
    /// # Errors
    /// [`NotLoopback`] when others than this machine can reach the address.
    pub fn development(listen: SocketAddr) -> Result<AuthMode, NotLoopback> {
        if is_loopback(&listen) {
            Ok(AuthMode::Development(LoopbackOnly { listen }))
        } else {
            Err(NotLoopback { listen })
        }
    }

    /// Whether any credentials are accepted.
    pub fn is_development(&self) -> bool {
        matches!(self, AuthMode::Development(_))
    }
}

impl LoopbackOnly {
    /// The loopback address that was given.
    pub fn listen(&self) -> SocketAddr {
        self.listen
    }
}

/// 127.0.0.0/8 or ::1, also when written as an IPv4 address inside an IPv6 one.
pub(crate) fn is_loopback(address: &SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}

/// Who asks, and for which region.
#[derive(Debug)]
pub(crate) struct Identity {
    pub(crate) principal: Arc<Principal>,
    pub(crate) region: String,
}

/// What authentication looks at beside the request.
pub(crate) struct Authenticator<'a> {
    pub(crate) mode: &'a AuthMode,
    pub(crate) credentials: &'a CredentialTable,
    pub(crate) origin: &'a Origin,
    pub(crate) region_default: &'a str,
    pub(crate) now: Timestamp,
}

impl Authenticator<'_> {
    /// Turns a request's claim into an identity.
    pub(crate) fn authenticate(
        &self,
        request: &mut Request,
        claim: Option<&Claim>,
    ) -> Result<Identity, Error> {
        let region = self.region(claim)?;
        let known = claim.and_then(|claim| self.credentials.entry(&claim.access_key_id));
        let principal = match (claim, known) {
            (Some(claim), Some(entry)) => self.verified(request, claim, &entry)?,
            (claim, None) if self.mode.is_development() => self.believed(claim)?,
            (Some(_), None) => return Err(token_invalid()),
            (None, _) => return Err(token_missing()),
        };
        Ok(Identity { principal, region })
    }

    fn region(&self, claim: Option<&Claim>) -> Result<String, Error> {
        let Some(claim) = claim else {
            return Ok(match self.origin {
                Origin::Environment(environment) => environment.region.clone(),
                Origin::Remote(_) | Origin::Process => self.region_default.to_owned(),
            });
        };
        // The region becomes a part of ARNs and of stored keys, and in development mode nothing
        // has vouched for it.
        if is_region(&claim.region) {
            return Ok(claim.region.clone());
        }
        Err(refused("InvalidSignatureException", "Credential should be scoped to a valid region."))
    }

    fn verified(
        &self,
        request: &Request,
        claim: &Claim,
        entry: &Entry,
    ) -> Result<Arc<Principal>, Error> {
        if claim.session_token != entry.session_token {
            return Err(token_invalid());
        }
        if entry.expires.is_some_and(|expires| expires <= self.now) {
            let text = "The security token included in the request is expired";
            return Err(refused("ExpiredTokenException", text));
        }
        sigv4::verify(request, claim, &entry.secret_access_key, self.now.seconds())?;
        Ok(entry.principal.clone())
    }

    /// Development mode: a key that nobody knows.
    fn believed(&self, claim: Option<&Claim>) -> Result<Arc<Principal>, Error> {
        let named = claim.map(|claim| claim.access_key_id.as_str()).filter(|id| is_account(id));
        let account = match (self.origin, named) {
            (Origin::Environment(environment), None) => &environment.account,
            (Origin::Environment(environment), Some(named)) => {
                if named != environment.account {
                    return Err(token_invalid());
                }
                named
            }
            (Origin::Remote(_) | Origin::Process, named) => named.unwrap_or(ACCOUNT_DEFAULT),
        };
        Ok(Arc::new(Principal::root(account)))
    }
}

fn is_account(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_region(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=32).contains(&text.len()) && text.bytes().all(plain)
}

fn refused(code: &'static str, text: &str) -> Error {
    Error::new(code, 403, text)
}

fn token_invalid() -> Error {
    refused("UnrecognizedClientException", "The security token included in the request is invalid.")
}

fn token_missing() -> Error {
    refused("MissingAuthenticationTokenException", "Missing Authentication Token")
}
