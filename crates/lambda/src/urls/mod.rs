//! The URLs of functions: plain HTTP in, the function's answer out.
//!
//! Life of a request: the host names a URL ([`address`], [`index`]) → a browser's preflight is answered
//! ([`cors`]) → who asks, if the URL demands a signature, and whether the function's policy lets them
//! ([`access`]) → the request becomes an event ([`event`]) → the invoke path, as for any invoke → the
//! function's answer becomes a response, whole ([`answer`]) or as it comes ([`stream`]).
//!
//! A URL whose `AuthType` is `NONE` is public as soon as a policy says so, also on an address that
//! others can reach: that is what it is for. It leads to its function and to no operation of the API.

mod access;
pub mod address;
mod answer;
mod cors;
mod event;
pub(crate) mod index;
mod stream;

use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, ORIGIN};
use http::{HeaderName, HeaderValue};
use lambic_front::{BoxFuture, Call, Principal, Signer, SiteCall, Sites, recorded};
use lambic_wire::{Arn, Body, Error, MessageKey, Request, Response};

pub use address::UrlBase;

use crate::Lambda;
use crate::catalog::Function;
use crate::invoke::trace;
use crate::limits::PAYLOAD_BYTES_MAX;
use crate::names::{LATEST, Target};
use crate::state::function_url::{FunctionUrl, UrlAuth};

/// What invoking by URL is called; the first of the two actions that a policy has to allow.
const ACTION: &str = "InvokeFunctionUrl";
const TRACE: HeaderName = HeaderName::from_static("x-amzn-trace-id");

/// One URL that there is.
struct Found {
    target: Target,
    function: Arc<Function>,
    url: FunctionUrl,
}

impl Sites for Lambda {
    fn has(&self, host: &str) -> bool {
        self.config.url_base.split(host).is_some()
    }

    fn operation_name(&self) -> &'static str {
        ACTION
    }

    fn body_bytes_max(&self) -> usize {
        PAYLOAD_BYTES_MAX
    }

    fn handle<'a>(
        &'a self,
        site: &'a SiteCall,
        request: Request,
    ) -> BoxFuture<'a, Result<Response, Error>> {
        Box::pin(async move {
            let found = self.found(&site.host).ok_or_else(no_such_url)?;
            let cors = found.url.cors.as_ref();
            if let Some(answer) = cors.and_then(|cors| cors::preflight(cors, &request)) {
                return Ok(answer);
            }
            let origin = request.header(ORIGIN.as_str()).map(str::to_owned);
            let trace = trace::with_root(&site.rt, request.header(TRACE.as_str()));
            let answered = self.serve(site, &found, request, &trace).await;
            let mut response = answered.unwrap_or_else(|error| self.refusal(&error));
            if let Some(cors) = cors {
                cors::decorate(cors, origin.as_deref(), &mut response);
            }
            if let Ok(trace) = HeaderValue::from_str(&trace) {
                response.headers.push((TRACE, trace));
            }
            Ok(response)
        })
    }

    /// `{"Message": …}`, with the error's code in a header.
    fn refusal(&self, error: &Error) -> Response {
        let mut plain = Error::new(error.code.clone(), error.status, error.message.clone())
            .with_message_key(MessageKey::Upper);
        plain.headers.clone_from(&error.headers);
        let mut response = plain.to_response();
        if error.message.is_empty() {
            response.body = Body::Whole(Bytes::from_static(b"{\"Message\":null}"));
        }
        response
    }
}

impl Lambda {
    fn found(&self, host: &str) -> Option<Found> {
        let (id, region) = self.config.url_base.split(host)?;
        let target = self.catalog.url(id).filter(|target| target.region == region)?;
        let function = self.catalog.find(&target.account, &target.region, &target.name)?;
        let qualifier = target.qualifier.as_deref().unwrap_or(LATEST);
        let url = function.stored.value.qualified.get(qualifier)?.url.clone()?;
        Some(Found { target, function, url })
    }

    /// Who asks, and what the function answers; counted and recorded like an operation.
    async fn serve(
        &self,
        site: &SiteCall,
        found: &Found,
        request: Request,
        trace: &str,
    ) -> Result<Response, Error> {
        let (request, signer) = match found.url.auth {
            // Whatever the request has of a signature is the function's business.
            UrlAuth::None => (request, None),
            UrlAuth::AwsIam => site.signer(request).await?,
        };
        let principal = signer.as_ref().map_or_else(anybody, |signer| signer.principal.clone());
        let mut call = site.call("lambda", principal, &found.target.region);
        call.trace_header = Some(trace.to_owned());
        let target = &found.target;
        let resource = resource(target);
        let work = async {
            let asker =
                access::Asker { signer: signer.as_ref(), origin: &site.origin, now: site.rt.now() };
            let record = &found.function.stored.value;
            if !access::allows(record, target, found.url.auth, &asker) {
                return Err(forbidden());
            }
            let event = event(site, found, &request, trace, signer.as_ref());
            drop(request);
            self.run(&call, found, event).await
        };
        recorded(&call, ACTION, resource, work).await
    }

    /// Invokes the function like anybody else does, in its own account.
    async fn run(&self, call: &Call, found: &Found, event: Bytes) -> Result<Response, Error> {
        if event.len() > PAYLOAD_BYTES_MAX {
            return Err(too_large());
        }
        let (version, invocation) = self.by_url(call, &found.target, event).await?;
        if found.url.streams() {
            let answer = self.runner.invoke_streamed(version, invocation).await?;
            return match stream::response(answer).await {
                Ok(response) => Ok(response),
                Err(stream::NoResponse::Function) => Ok(failed()),
                Err(stream::NoResponse::Platform(error)) => Err(error),
            };
        }
        let answer = self.runner.invoke(version, invocation).await?;
        if answer.function_error.is_some() {
            return Ok(failed());
        }
        Ok(answer::answer(&answer.payload).unwrap_or_else(|answer::Malformed| failed()))
    }
}

fn event(
    site: &SiteCall,
    found: &Found,
    request: &Request,
    trace: &str,
    signer: Option<&Signer>,
) -> Bytes {
    let caller = signer.map(|signer| event::Caller {
        account: &signer.principal.account,
        arn: &signer.principal.arn,
        access_key_id: &signer.access_key_id,
    });
    let facts = event::Facts {
        id: &found.url.id,
        host: &site.host,
        version: site.version,
        source_ip: site.source_ip(),
        request_id: &site.request_id,
        trace,
        now: site.rt.now(),
        caller,
    };
    event::event(request, &facts)
}

/// Whoever has not signed. It may do nothing of itself.
fn anybody() -> Arc<Principal> {
    Arc::new(Principal {
        account: "anonymous".to_owned(),
        arn: "anonymous".to_owned(),
        admin: false,
    })
}

fn resource(target: &Target) -> Arn {
    let mut resource = format!("function:{}", target.name);
    if let Some(qualifier) = &target.qualifier {
        resource.push(':');
        resource.push_str(qualifier);
    }
    Arn::new("lambda", &target.region, &target.account, resource)
}

/// As AWS answers for a name that nobody has.
fn no_such_url() -> Error {
    Error::new("AccessDeniedException", 403, "")
}

fn forbidden() -> Error {
    let text = "Forbidden. For troubleshooting Function URL authorization issues, see: \
                https://docs.aws.amazon.com/lambda/latest/dg/urls-auth.html";
    Error::new("AccessDeniedException", 403, text)
}

fn too_large() -> Error {
    let text = format!("The request is larger than {PAYLOAD_BYTES_MAX} bytes once it is an event.");
    Error::new("RequestEntityTooLargeException", 413, text)
}

/// The function failed, or what it answered is no response. Why is in its log and nobody else's.
fn failed() -> Response {
    let json = HeaderValue::from_static("application/json");
    Response {
        status: 502,
        headers: vec![(CONTENT_TYPE, json)],
        body: Body::Whole(Bytes::from_static(b"Internal Server Error")),
    }
}

#[cfg(test)]
mod tests;
