//! Sites: requests that their `Host` tells apart and that are none of an AWS API, such as those to the
//! URLs of functions.
//!
//! A site's requests keep the same limits as all others (requests in flight, bytes of bodies, pauses),
//! and what they begin is driven to its end. Two steps of the pipeline are left out on purpose. Web
//! pages are not kept out, because a site is made for them and says itself whom it lets in; its names
//! are not a page's own to give. And nobody is authenticated, unless the site asks who signed
//! ([`SiteCall::signer`]): `Authorization` may be the site's own business.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use bytes::Bytes;
use http::Version;
use http::header::HOST;
use lambic_rt::Rt;
use lambic_wire::{Error, Request, Response};

use crate::body::Refusal;
use crate::budget::Slot;
use crate::connection::Peer;
use crate::credentials::Principal;
use crate::cx::{Call, Origin};
use crate::driven::{self, Driven};
use crate::front::Front;
use crate::internal::InternalReply;
use crate::pipeline;
use crate::service::BoxFuture;

/// A family of sites.
pub trait Sites: Send + Sync + 'static {
    /// Whether this host is one of them; in lower case, without a port and a dot at its end.
    fn has(&self, host: &str) -> bool;

    /// What a request to it is called where operations are counted and named.
    fn operation_name(&self) -> &'static str;

    /// The greatest body, in bytes, that a request may have.
    fn body_bytes_max(&self) -> usize;

    /// Answers one request. It is driven to its end even if the client goes away.
    fn handle<'a>(
        &'a self,
        call: &'a SiteCall,
        request: Request,
    ) -> BoxFuture<'a, Result<Response, Error>>;

    /// How these sites tell of an error: their own, or one that the front found.
    fn refusal(&self, error: &Error) -> Response;
}

/// The facts of one request to a site.
pub struct SiteCall {
    /// The host that was asked for, as [`Sites::has`] was told it.
    pub host: String,
    /// The request's id, a UUID in text form.
    pub request_id: String,
    /// Where the request came from.
    pub origin: Origin,
    /// HTTP's version.
    pub version: Version,
    /// Time, randomness, tasks.
    pub rt: Rt,
    front: Arc<Front>,
}

/// Who signed a request, verified as far as the front verifies.
#[derive(Debug)]
pub struct Signer {
    /// Whom the key stands for.
    pub principal: Arc<Principal>,
    /// The key's id.
    pub access_key_id: String,
    /// The service that the request was signed for.
    pub service: String,
    /// The region that the request was signed for.
    pub region: String,
}

impl SiteCall {
    /// A request that came to this front.
    pub fn new(front: &Arc<Front>, origin: Origin, host: &str) -> SiteCall {
        let request_id = front.rt.uuid();
        SiteCall::received(front, &origin, host.to_owned(), Version::HTTP_11, &request_id)
    }

    pub(crate) fn received(
        front: &Arc<Front>,
        origin: &Origin,
        host: String,
        version: Version,
        request_id: &str,
    ) -> SiteCall {
        SiteCall {
            host,
            request_id: request_id.to_owned(),
            origin: origin.clone(),
            version,
            rt: front.rt.clone(),
            front: front.clone(),
        }
    }

    /// Who signed the request with Signature Version 4, if anybody did; and the request, its body
    /// without the chunks of a signature. In development mode a key that nobody knows is believed, but
    /// no signature is none.
    ///
    /// # Errors
    /// AWS's, for a signature that is malformed, wrong, too old, or of an unknown key.
    pub async fn signer(&self, request: Request) -> Result<(Request, Option<Signer>), Error> {
        let Some(claim) = pipeline::read_claim(&self.front, &request)? else {
            return Ok((request, None));
        };
        let (front, origin) = (&self.front, &self.origin);
        let authenticated =
            pipeline::authenticate(front, origin, &self.request_id, request, Some(&claim));
        let (request, identity) = authenticated.await?;
        let signer = Signer {
            principal: identity.principal,
            access_key_id: claim.access_key_id,
            service: claim.service,
            region: identity.region,
        };
        Ok((request, Some(signer)))
    }

    /// The call that this request makes of a service, for `principal`.
    pub fn call(&self, service: &'static str, principal: Arc<Principal>, region: &str) -> Call {
        Call {
            service,
            principal,
            region: region.to_owned(),
            request_id: self.request_id.clone(),
            endpoint: self.front.config.endpoint_default.clone(),
            origin: self.origin.clone(),
            trace_header: None,
            rt: self.rt.clone(),
            metrics: self.front.config.metrics.clone(),
        }
    }

    /// The address of whoever is connected.
    pub fn source_ip(&self) -> IpAddr {
        match &self.origin {
            Origin::Remote(address) => address.ip().to_canonical(),
            Origin::Environment(_) | Origin::Process => IpAddr::V4(Ipv4Addr::LOCALHOST),
        }
    }
}

/// The site that a request is for, and its host.
pub(crate) fn find(front: &Front, request: &Request) -> Option<(Arc<dyn Sites>, String)> {
    if front.sites.is_empty() {
        return None;
    }
    let mut named = request.headers.get_all(HOST).iter();
    let host = named.next()?.to_str().ok()?;
    // Who names two hosts is none of a site's clients, and the browser guard will see both.
    if named.next().is_some() {
        return None;
    }
    let host = plain(host)?;
    let family = front.sites.iter().find(|family| family.has(&host))?;
    Some((family.clone(), host.into_owned()))
}

/// A host's name in lower case, without its port; `None` for what is no name.
fn plain(host: &str) -> Option<Cow<'_, str>> {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        Some(_) => return None,
        None => host,
    };
    let name = name.strip_suffix('.').unwrap_or(name);
    let known = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.';
    if name.is_empty() || !name.bytes().all(known) {
        return None;
    }
    // Every request passes here, and hardly any host is not in lower case.
    match name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        true => Some(Cow::Owned(name.to_ascii_lowercase())),
        false => Some(Cow::Borrowed(name)),
    }
}

/// Answers a request to a site. Never fails: what goes wrong is told as the site tells it.
pub(crate) async fn answer<B: http_body::Body<Data = Bytes> + Unpin>(
    peer: &Arc<Peer>,
    family: Arc<dyn Sites>,
    call: SiteCall,
    mut request: Request,
    body: &mut B,
    slot: Result<Slot, Error>,
) -> InternalReply {
    let front = call.front.clone();
    let slot = match slot {
        Ok(slot) => slot,
        Err(error) => return family.refusal(&error).into(),
    };
    let bytes_max = family.body_bytes_max();
    let (bytes, loan) = match pipeline::read_body(&front, peer, &request, body, bytes_max).await {
        Ok(read) => read,
        Err(refusal) => {
            let error = match refusal {
                Refusal::TooLarge => {
                    pipeline::too_large(&front, bytes_max, family.operation_name())
                }
                other => pipeline::refused_plainly(&front, &other),
            };
            return family.refusal(&error).into();
        }
    };
    request.body = bytes;
    let budget = front.load.budget.clone();
    let from_environment = pipeline::is_environment(peer);
    Driven::new(&front.rt, async move {
        let held = (slot, loan);
        let handled = driven::unwinding_caught(family.handle(&call, request)).await;
        let response = handled.unwrap_or_else(|error| family.refusal(&error));
        let (slot, _read) = held;
        pipeline::counted(response, slot, budget, from_environment)
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_hosts() {
        for (host, expect) in [
            ("a.example", Some("a.example")),
            ("A.Example:4566", Some("a.example")),
            ("a.example.", Some("a.example")),
            ("a.example.:80", Some("a.example")),
            ("a.example:", Some("a.example")),
            ("", None),
            (":80", None),
            ("[::1]:80", None),
            ("a b", None),
            ("a.example/b", None),
            ("user@a.example", None),
            ("a.example:80:80", None),
        ] {
            assert_eq!(plain(host).as_deref(), expect, "{host}");
        }
    }
}
