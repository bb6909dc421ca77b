//! Routes that are not AWS's: `/_lambic/health`, `/metrics`, and what other crates hook in
//! (downloads of code packages, for example).
//!
//! They are not authenticated here: health and figures tell no secret, and a hooked-in route checks
//! what it must by itself (a code link carries its own signature). Functions inside execution
//! environments do not get to see the figures.

use std::fs::File;
use std::sync::Arc;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderName, HeaderValue, Method};
use lambic_rt::Rt;
use lambic_wire::event_stream::Pieces;
use lambic_wire::{Body, Error, Request, Response};

use crate::cx::Origin;
use crate::front::Front;
use crate::service::BoxFuture;

/// One family of internal routes, by path prefix.
pub trait InternalRoute: Send + Sync + 'static {
    /// What the paths begin with, for example `/_lambic/code/`. Must begin with `/_lambic/`.
    fn prefix(&self) -> &'static str;

    /// The greatest body, in bytes, that a request may have.
    fn body_bytes_max(&self) -> usize {
        0
    }

    /// Answers one request. It is driven to its end even if the client goes away.
    fn handle<'a>(
        &'a self,
        call: &'a InternalCall,
        request: Request,
    ) -> BoxFuture<'a, Result<InternalReply, Error>>;
}

/// The facts of a request for an internal route. Nobody has been authenticated.
pub struct InternalCall {
    /// The request's id, a UUID in text form.
    pub request_id: String,
    /// `http://host:port` as the client addressed us.
    pub endpoint: String,
    /// Where the request came from.
    pub origin: Origin,
    /// Time, randomness, tasks.
    pub rt: Rt,
}

/// The answer of an internal route.
pub struct InternalReply {
    /// HTTP status.
    pub status: u16,
    /// Headers beside `Content-Length`, `Date` and `x-amzn-RequestId`.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The body.
    pub content: ReplyContent,
}

/// The body of an answer.
pub enum ReplyContent {
    /// All of it.
    Bytes(Bytes),
    /// So many bytes of this file from its current position, read in pieces while they are sent.
    File {
        /// Open for reading.
        file: File,
        /// Bytes to send; a file that turns out shorter breaks the connection off.
        length: u64,
    },
    /// Piece after piece, as they become known.
    Pieces(Box<dyn Pieces>),
}

impl From<Response> for InternalReply {
    fn from(response: Response) -> InternalReply {
        InternalReply {
            status: response.status,
            headers: response.headers,
            content: match response.body {
                Body::Whole(bytes) => ReplyContent::Bytes(bytes),
                Body::Pieces(pieces) => ReplyContent::Pieces(pieces),
            },
        }
    }
}

/// Who answers an internal request.
pub(crate) enum Route {
    Health,
    Metrics,
    Hooked(Arc<dyn InternalRoute>),
}

/// Whether a path is none of a service's.
pub(crate) fn is_internal(path: &str) -> bool {
    path.starts_with("/_lambic/") || path == METRICS
}

const METRICS: &str = "/metrics";
const HEALTH: &str = "/_lambic/health";

/// Finds who answers.
pub(crate) fn route(front: &Front, origin: &Origin, request: &Request) -> Result<Route, Error> {
    let reads = matches!(request.method, Method::GET | Method::HEAD);
    let inside = matches!(origin, Origin::Environment(_));
    match request.path.as_str() {
        HEALTH | METRICS if !reads => {
            Err(Error::new("MethodNotAllowedException", 405, "").with_header("allow", "GET, HEAD"))
        }
        HEALTH => Ok(Route::Health),
        METRICS if !inside => Ok(Route::Metrics),
        path => front
            .internal
            .iter()
            .find(|route| path.starts_with(route.prefix()))
            .map(|route| Route::Hooked(route.clone()))
            .ok_or_else(|| Error::new("UnknownOperationException", 404, "")),
    }
}

impl Route {
    pub(crate) fn body_bytes_max(&self) -> usize {
        match self {
            Route::Health | Route::Metrics => 0,
            Route::Hooked(route) => route.body_bytes_max(),
        }
    }

    pub(crate) async fn handle(
        self,
        front: &Front,
        call: &InternalCall,
        request: Request,
    ) -> Result<InternalReply, Error> {
        match self {
            Route::Health => Ok(health(front)),
            Route::Metrics => Ok(metrics(front)),
            Route::Hooked(route) => route.handle(call, request).await,
        }
    }
}

/// `{"status":"running","version":"0.1.0","uptime_s":12,"services":["lambda"]}`; 503 and
/// `draining` once the process was asked to stop, so that a load balancer looks elsewhere.
fn health(front: &Front) -> InternalReply {
    let draining = front.rt.shutdown().is_requested();
    let services: Vec<&str> = front.services.iter().map(|service| service.signing_name()).collect();
    let body = serde_json::json!({
        "status": if draining { "draining" } else { "running" },
        "version": front.config.version,
        "uptime_s": front.rt.instant().duration_since(front.started).as_secs(),
        "services": services,
    });
    let status = if draining { 503 } else { 200 };
    Response::json(status, Bytes::from(body.to_string())).into()
}

fn metrics(front: &Front) -> InternalReply {
    let set = &front.config.metrics;
    let load = &front.load;
    let gauges = [
        ("lambic_front_requests", "Requests being served.", load.requests.used()),
        ("lambic_front_body_bytes", "Bytes of bodies in memory.", load.budget.used()),
        ("lambic_front_connections", "Connections from outside.", load.remote_connections.used()),
        (
            "lambic_front_environment_connections",
            "Connections from execution environments.",
            load.environment_connections.used(),
        ),
    ];
    for (name, help, value) in gauges {
        set.gauge(name, help, &[]).set(i64::try_from(value).unwrap_or(i64::MAX));
    }
    let content_type = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    InternalReply {
        status: 200,
        headers: vec![(CONTENT_TYPE, content_type)],
        content: ReplyContent::Bytes(Bytes::from(set.render())),
    }
}
