//! What every generated operation is: a pure pair of decode and encode around typed input and
//! output.

use std::fmt;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, Method};

use crate::error::Error;
use crate::event_stream::Pieces;

/// A whole request as the front hands it on. The body is fully read.
#[derive(Clone, Debug)]
pub struct Request {
    /// HTTP method.
    pub method: Method,
    /// Raw path, percent-encoded, without the query.
    pub path: String,
    /// Raw query without the question mark; empty when there is none.
    pub query: String,
    /// Headers as received.
    pub headers: HeaderMap,
    /// The body's bytes.
    pub body: Bytes,
}

impl Request {
    /// A header's value, when present and readable as text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

/// An answer.
#[derive(Debug)]
pub struct Response {
    /// HTTP status.
    pub status: u16,
    /// Headers in the order they are sent.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// What follows them.
    pub body: Body,
}

/// The body of an answer.
pub enum Body {
    /// All of it.
    Whole(Bytes),
    /// Piece after piece, as they become known.
    Pieces(Box<dyn Pieces>),
}

impl Body {
    /// All of it, unless it comes in pieces.
    pub fn whole(&self) -> Option<&Bytes> {
        match self {
            Body::Whole(bytes) => Some(bytes),
            Body::Pieces(_) => None,
        }
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Body::Whole(bytes) => bytes.fmt(formatter),
            Body::Pieces(_) => formatter.write_str("pieces"),
        }
    }
}

impl Response {
    /// An answer without headers and body.
    pub fn empty(status: u16) -> Response {
        Response { status, headers: Vec::new(), body: Body::Whole(Bytes::new()) }
    }

    /// An answer with a JSON body.
    pub fn json(status: u16, body: Bytes) -> Response {
        let content_type = HeaderValue::from_static("application/json");
        Response { status, headers: vec![(CONTENT_TYPE, content_type)], body: Body::Whole(body) }
    }

    /// A header's value, when present and readable as text.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(have, _)| have.as_str().eq_ignore_ascii_case(name));
        found.and_then(|(_, value)| value.to_str().ok())
    }
}

/// Percent-decoded URI labels, by the member they are bound to.
pub type Labels = Vec<(&'static str, String)>;

/// One operation of a service's API, seen from the wire.
pub trait Operation {
    /// AWS's name, such as `CreateFunction`.
    const NAME: &'static str;
    /// The decoded request.
    type Input: Send;
    /// What is encoded into the answer.
    type Output: Send;

    /// Binds, validates (with AWS's texts) and types a request.
    ///
    /// # Errors
    /// `SerializationException` for a wrong JSON form, `ValidationException` for violated
    /// constraints.
    fn decode(request: &Request, labels: &Labels) -> Result<Self::Input, Error>;

    /// Writes the answer.
    ///
    /// # Errors
    /// `ServiceException` when a value cannot be sent, such as a header with a line break.
    fn encode(output: Self::Output) -> Result<Response, Error>;
}
