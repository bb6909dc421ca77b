//! One request, from its head to its answer: the list of steps, in order.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{EXPECT, HOST};
use lambic_wire::sigv4::{self, Claim};
use lambic_wire::{Body, Error, Request, Response};

use crate::absent;
use crate::authenticate::{Authenticator, Identity};
use crate::body::{self, Refusal};
use crate::browser;
use crate::budget::{Budget, Loan, Slot};
use crate::connection::Peer;
use crate::cx::{Call, Origin};
use crate::driven::{self, Driven};
use crate::front::Front;
use crate::internal::{self, InternalCall, InternalReply};
use crate::reply::{self, ReplyBody};
use crate::service::Service;
use crate::sites;
use crate::streamed::Counted;

/// AWS X-Ray's header. It is no part of any operation's model, so it is read here.
const TRACE_HEADER: &str = "x-amzn-trace-id";

/// Answers one request. Never fails: what goes wrong is an answer too.
pub(crate) async fn answer<B: http_body::Body<Data = Bytes> + Unpin>(
    front: &Arc<Front>,
    peer: &Arc<Peer>,
    request: http::Request<B>,
) -> http::Response<ReplyBody> {
    peer.activity.request_begins();
    let request_id = front.rt.uuid();
    let reply = match steps(front, peer, &request_id, request).await {
        Ok(reply) => reply,
        Err(error) => InternalReply::from(error.to_response()),
    };
    reply::print(reply, &request_id, &front.rt, &peer.activity)
}

/// The list.
async fn steps<B: http_body::Body<Data = Bytes> + Unpin>(
    front: &Arc<Front>,
    peer: &Arc<Peer>,
    request_id: &str,
    request: http::Request<B>,
) -> Result<InternalReply, Error> {
    let (head, mut body) = request.into_parts();
    let version = head.version;
    let mut request = without_body(head);
    let internal = internal::is_internal(&request.path);
    // limit
    let slot = limit(front);
    // what is told by its host is none of the API
    if let Some((family, host)) = sites::find(front, &request) {
        let call = sites::SiteCall::received(front, &peer.origin, host, version, request_id);
        // In boxes, as what is internal: no other request has to carry the room for them.
        let answer = sites::answer(peer, family, call, request, &mut body, slot);
        return Ok(Box::pin(answer).await);
    }
    let slot = slot?;
    // keep web pages out
    keep_browsers_out(front, peer, &request, internal)?;
    if internal {
        let answer = internal_answer(front, peer, request_id, request, &mut body, slot);
        return Box::pin(answer).await;
    }
    // identify the service
    let claim = read_claim(front, &request)?;
    let Some(service) = identify(front, &request, claim.as_ref()) else {
        let Some(claim) = &claim else {
            return Err(Error::new("UnknownOperationException", 404, ""));
        };
        return absent::answer(&request, &claim.service, request_id);
    };
    // read the body
    let bytes_max = service.body_bytes_max(&request.method, &request.path);
    let (bytes, loan) = match read_body(front, peer, &request, &mut body, bytes_max).await {
        Ok(read) => read,
        Err(refusal) => return Err(refused_body(front, &request, &*service, bytes_max, refusal)),
    };
    request.body = bytes;
    // authenticate, and let the service route, decode, authorize and operate: to the end, even if
    // the client goes away
    let work = operate(front.clone(), peer.clone(), request_id.to_owned(), service, request, claim);
    let budget = front.load.budget.clone();
    let from_environment = is_environment(peer);
    Driven::new(&front.rt, async move {
        let held = (slot, loan);
        let response = driven::unwinding_caught(work).await?;
        let (slot, _read) = held;
        Ok(counted(response, slot, budget, from_environment))
    })
    .await
}

/// A reply that counts as bytes in memory until it has gone; the request goes on until its last piece.
pub(crate) fn counted(
    mut response: Response,
    slot: Slot,
    budget: Arc<Budget>,
    from_environment: bool,
) -> InternalReply {
    response.body = match response.body {
        Body::Whole(bytes) => Body::Whole(reply::counted(bytes, budget.loan(from_environment))),
        Body::Pieces(pieces) => {
            Body::Pieces(Box::new(Counted::new(pieces, slot, budget, from_environment)))
        }
    };
    InternalReply::from(response)
}

fn without_body(head: http::request::Parts) -> Request {
    Request {
        path: head.uri.path().to_owned(),
        query: head.uri.query().unwrap_or_default().to_owned(),
        method: head.method,
        headers: head.headers,
        body: Bytes::new(),
    }
}

fn limit(front: &Front) -> Result<Slot, Error> {
    front.load.requests.take().ok_or_else(|| {
        front.refused.busy.increment();
        reply::too_many("Too many requests are being served.")
    })
}

fn keep_browsers_out(
    front: &Front,
    peer: &Peer,
    request: &Request,
    internal: bool,
) -> Result<(), Error> {
    // Where signatures are demanded a page has none to give, and no browser runs in a function.
    if !front.config.auth.is_development() || is_environment(peer) {
        return Ok(());
    }
    browser::guard(&request.headers, internal, &front.config)
        .inspect_err(|_| front.refused.browser.increment())
}

pub(crate) fn read_claim(front: &Front, request: &Request) -> Result<Option<Claim>, Error> {
    match sigv4::parse(request) {
        // Development mode takes any credentials, so also what is no AWS signature at all.
        Err(_) if front.config.auth.is_development() => Ok(None),
        read => read.inspect_err(|_| front.refused.unauthenticated.increment()),
    }
}

/// By the signature's service; an unsigned request by its path.
fn identify(front: &Front, request: &Request, claim: Option<&Claim>) -> Option<Arc<dyn Service>> {
    let mut services = front.services.iter();
    let found = match claim {
        Some(claim) => services.find(|service| service.signing_name() == claim.service),
        None => services.find(|service| service.owns_path(&request.method, &request.path)),
    };
    found.cloned()
}

pub(crate) async fn read_body<B: http_body::Body<Data = Bytes> + Unpin>(
    front: &Front,
    peer: &Peer,
    request: &Request,
    body: &mut B,
    bytes_max: usize,
) -> Result<(Bytes, Loan), Refusal> {
    let limits = &front.config.limits;
    let mut loan = front.load.budget.loan(is_environment(peer));
    match body::read(body, bytes_max, &mut loan, &front.rt, limits).await {
        Ok(bytes) => Ok((bytes, loan)),
        Err(refusal) => {
            drop(loan);
            // Who asked before sending (`Expect: 100-continue`) has not sent anything yet.
            let sending = matches!(refusal, Refusal::TooLarge | Refusal::Busy)
                && !request.headers.contains_key(EXPECT);
            if sending {
                body::discard(body, &front.rt, limits).await;
            }
            Err(refusal)
        }
    }
}

fn refused_body(
    front: &Front,
    request: &Request,
    service: &dyn Service,
    bytes_max: usize,
    refusal: Refusal,
) -> Error {
    match refusal {
        Refusal::TooLarge => {
            let named = service.operation_name(&request.method, &request.path, &request.query);
            too_large(front, bytes_max, named.unwrap_or("requested"))
        }
        other => refused_plainly(front, &other),
    }
}

pub(crate) fn too_large(front: &Front, bytes_max: usize, operation: &str) -> Error {
    front.refused.too_large.increment();
    let text =
        format!("Request must be smaller than {bytes_max} bytes for the {operation} operation");
    Error::new("RequestEntityTooLargeException", 413, text)
}

pub(crate) fn refused_plainly(front: &Front, refusal: &Refusal) -> Error {
    match refusal {
        Refusal::Busy => {
            front.refused.busy.increment();
            reply::too_many("Too many bytes of requests are in flight.")
        }
        Refusal::Slow => {
            front.refused.broken_body.increment();
            Error::new("RequestTimeoutException", 408, "The request body did not arrive in time.")
        }
        Refusal::Broken | Refusal::TooLarge => {
            front.refused.broken_body.increment();
            Error::serialization("The request body ended early or is not correctly chunked.")
        }
    }
}

/// Authenticates and hands on to the service.
async fn operate(
    front: Arc<Front>,
    peer: Arc<Peer>,
    request_id: String,
    service: Arc<dyn Service>,
    request: Request,
    claim: Option<Claim>,
) -> Result<Response, Error> {
    let authenticated = authenticate(&front, &peer.origin, &request_id, request, claim.as_ref());
    let (request, identity) = authenticated.await?;
    let call = Call {
        service: service.signing_name(),
        principal: identity.principal,
        region: identity.region,
        endpoint: endpoint(&front, &request),
        request_id,
        origin: peer.origin.clone(),
        trace_header: request.header(TRACE_HEADER).map(str::to_owned),
        rt: front.rt.clone(),
        metrics: front.config.metrics.clone(),
    };
    service.handle(&call, request).await
}

/// Who asks; whoever cannot tell is counted and recorded.
pub(crate) async fn authenticate(
    front: &Front,
    origin: &Origin,
    request_id: &str,
    request: Request,
    claim: Option<&Claim>,
) -> Result<(Request, Identity), Error> {
    let authenticator = Authenticator {
        mode: &front.config.auth,
        credentials: &front.credentials,
        origin,
        region_default: &front.config.region_default,
        rt: &front.rt,
    };
    authenticator.authenticate(request, claim).await.inspect_err(|error| {
        front.refused.unauthenticated.increment();
        let access_key_id = claim.map(|claim| claim.access_key_id.as_str());
        tracing::info!(
            target: "audit",
            request_id, access_key_id, code = %error.code, "a request was not authenticated"
        );
    })
}

async fn internal_answer<B: http_body::Body<Data = Bytes> + Unpin>(
    front: &Arc<Front>,
    peer: &Arc<Peer>,
    request_id: &str,
    mut request: Request,
    body: &mut B,
    slot: Slot,
) -> Result<InternalReply, Error> {
    let route = internal::route(front, &peer.origin, &request)?;
    let bytes_max = route.body_bytes_max();
    let (bytes, loan) = match read_body(front, peer, &request, body, bytes_max).await {
        Ok(read) => read,
        Err(Refusal::TooLarge) => return Err(too_large(front, bytes_max, "requested")),
        Err(refusal) => return Err(refused_plainly(front, &refusal)),
    };
    request.body = bytes;
    let call = InternalCall {
        request_id: request_id.to_owned(),
        endpoint: endpoint(front, &request),
        origin: peer.origin.clone(),
        rt: front.rt.clone(),
    };
    let front = front.clone();
    Driven::new(&call.rt.clone(), async move {
        let _held = (slot, loan);
        driven::unwinding_caught(route.handle(&front, &call, request)).await
    })
    .await
}

pub(crate) fn is_environment(peer: &Peer) -> bool {
    matches!(peer.origin, Origin::Environment(_))
}

/// How the client addressed us, for links in answers. A host that could not stand in a link is
/// not repeated.
fn endpoint(front: &Front, request: &Request) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte);
    match request.header(HOST.as_str()) {
        Some(host) if !host.is_empty() && host.bytes().all(plain) => format!("http://{host}"),
        _ => front.config.endpoint_default.clone(),
    }
}
