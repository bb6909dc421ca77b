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

use lambic_rt::Rt;
use lambic_wire::chunked::{self, Signer};
use lambic_wire::sigv4::{self, Claim, SigningKey, errors};
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
    pub(crate) rt: &'a Rt,
}

/// Bodies from this length on are hashed on a blocking thread: a package of 50 MB would hold up
/// everything else on its thread.
const HASH_APART_BYTES_MIN: usize = 256 * 1_024;

impl Authenticator<'_> {
    /// Turns a request's claim into an identity, and takes a chunked body's chunks apart.
    pub(crate) async fn authenticate(
        &self,
        request: Request,
        claim: Option<&Claim>,
    ) -> Result<(Request, Identity), Error> {
        let region = self.region(claim)?;
        let known = claim.and_then(|claim| self.credentials.entry(&claim.access_key_id));
        let (request, principal) = match (claim, known) {
            (Some(claim), Some(entry)) => {
                self.check_session(claim, &entry)?;
                (self.verified(request, claim, &entry).await?, entry.principal.clone())
            }
            (claim, None) if self.mode.is_development() => {
                let principal = self.believed(&request, claim)?;
                (unchunked(request, None)?, principal)
            }
            (Some(_), None) => return Err(errors::unrecognized()),
            (None, _) => return Err(errors::missing()),
        };
        Ok((request, Identity { principal, region }))
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
            Ok(claim.region.clone())
        } else {
            Err(errors::wrong_region(&claim.region))
        }
    }

    fn check_session(&self, claim: &Claim, entry: &Entry) -> Result<(), Error> {
        if claim.session_token != entry.session_token {
            return Err(errors::unrecognized());
        }
        if entry.expires.is_some_and(|expires| expires <= self.rt.now()) {
            return Err(errors::expired());
        }
        Ok(())
    }

    async fn verified(
        &self,
        request: Request,
        claim: &Claim,
        entry: &Entry,
    ) -> Result<Request, Error> {
        let (key, kept) = entry.signing_key(claim);
        let now_epoch_s = self.rt.now().seconds();
        let request = if request.body.len() < HASH_APART_BYTES_MIN {
            verified_now(request, claim, &key, now_epoch_s)?
        } else {
            let (claim, key) = (claim.clone(), key.clone());
            let work = move || verified_now(request, &claim, &key, now_epoch_s);
            self.rt.blocking("verify a signature", work).await?
        };
        if !kept {
            entry.keep(key);
        }
        Ok(request)
    }

    /// Development mode: a key that nobody knows, or none.
    fn believed(&self, request: &Request, claim: Option<&Claim>) -> Result<Arc<Principal>, Error> {
        // Presigned with version 2, as boto3 does for addresses it does not know.
        let old = if claim.is_none() { sigv4::v2::parse(request) } else { None };
        if let Some(old) = &old {
            self.check_old(old)?;
        }
        let id = match (claim, &old) {
            (Some(claim), _) => Some(claim.access_key_id.as_str()),
            (None, Some(old)) => Some(old.access_key_id.as_str()),
            (None, None) => None,
        };
        let named = id.filter(|id| is_account(id));
        let account = match (self.origin, named) {
            (Origin::Environment(environment), Some(named)) if named != environment.account => {
                return Err(errors::unrecognized());
            }
            (Origin::Environment(environment), _) => &environment.account,
            (Origin::Remote(_) | Origin::Process, named) => named.unwrap_or(ACCOUNT_DEFAULT),
        };
        Ok(Arc::new(Principal::root(account)))
    }

    fn check_old(&self, old: &sigv4::v2::Claim) -> Result<(), Error> {
        if self.credentials.lookup(&old.access_key_id).is_some() {
            // A known key is verified or refused, and version 2 is not verified.
            return Err(errors::invalid("Signature version 2 is accepted for unknown keys only."));
        }
        if old.is_expired(self.rt.now().seconds()) {
            return Err(Error::new("AccessDenied", 403, "Request has expired"));
        }
        Ok(())
    }
}

fn verified_now(
    request: Request,
    claim: &Claim,
    key: &SigningKey,
    now_epoch_s: i64,
) -> Result<Request, Error> {
    sigv4::verify_with_key(&request, claim, key, now_epoch_s)?;
    unchunked(request, Some(Signer { claim, key }))
}

/// Takes the chunks of an aws-chunked body apart; other bodies stay as they are.
fn unchunked(mut request: Request, signer: Option<Signer<'_>>) -> Result<Request, Error> {
    match sigv4::payload_form(&request) {
        Ok(form) => {
            request.body = chunked::decode(&request.body, form, signer)?.body;
            Ok(request)
        }
        // An unreadable form matters only to whoever verifies, and there it was refused before.
        Err(_) if signer.is_none() => Ok(request),
        Err(error) => Err(error),
    }
}

fn is_account(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_region(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=32).contains(&text.len()) && text.bytes().all(plain)
}
