//! What the Runtime API answers, and how the runtime's bodies are read within limits.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Frame, Incoming, SizeHint};

use super::desk::Refusal;
use crate::invoke::fault::{RESPONSE_BYTES_MAX, STREAMED_BYTES_MAX, error_payload};

/// Every answer has a whole body.
pub(super) type Answer = Response<Full<Bytes>>;

/// What comes with a request.
pub(super) enum Payload {
    /// From hyper, piece by piece.
    Pieces(Incoming),
    /// It was there with its head; `None` once it has been taken.
    Whole(Option<Bytes>),
}

impl Body for Payload {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match self.get_mut() {
            Payload::Pieces(body) => Pin::new(body).poll_frame(context),
            Payload::Whole(body) => Poll::Ready(body.take().map(|whole| Ok(Frame::data(whole)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Payload::Pieces(body) => body.is_end_stream(),
            Payload::Whole(body) => body.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Payload::Pieces(body) => body.size_hint(),
            Payload::Whole(body) => {
                SizeHint::with_exact(body.as_ref().map_or(0, |whole| whole.len() as u64))
            }
        }
    }
}

/// A body that is too large is read on to its end, up to here, so that the runtime hears why it is
/// refused instead of finding a closed connection.
const DISCARD_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// What came of reading a body.
pub(super) enum Received {
    /// All of it, and the trailers.
    Whole(Bytes, HeaderMap),
    /// More than allowed: so many bytes were counted.
    TooLarge(u64),
    /// The connection broke.
    Broken,
}

/// Reads a body of at most [`RESPONSE_BYTES_MAX`] bytes.
pub(super) async fn receive(mut body: Payload) -> Received {
    let expected = body.size_hint().exact().unwrap_or(0);
    let mut first = Bytes::new();
    let mut all = BytesMut::new();
    let (mut bytes, mut trailers) = (0_u64, HeaderMap::new());
    while let Some(frame) = body.frame().await {
        let frame = match frame {
            Ok(frame) => frame,
            Err(_) => return Received::Broken,
        };
        match frame.into_data() {
            Ok(data) => {
                bytes += data.len() as u64;
                if bytes > DISCARD_BYTES_MAX {
                    return Received::TooLarge(bytes.max(expected));
                }
                if bytes > RESPONSE_BYTES_MAX as u64 {
                    // What was kept is of no use any more.
                    (first, all) = (Bytes::new(), BytesMut::new());
                } else if first.is_empty() && all.is_empty() {
                    first = data;
                } else {
                    if all.is_empty() {
                        all.reserve((expected as usize).min(RESPONSE_BYTES_MAX));
                        all.extend_from_slice(&std::mem::take(&mut first));
                    }
                    all.extend_from_slice(&data);
                }
            }
            Err(frame) => {
                if let Ok(more) = frame.into_trailers() {
                    trailers = more;
                }
            }
        }
    }
    if bytes > RESPONSE_BYTES_MAX as u64 {
        return Received::TooLarge(bytes);
    }
    Received::Whole(if all.is_empty() { first } else { all.freeze() }, trailers)
}

/// `202 {"status":"OK"}`
pub(super) fn accepted() -> Answer {
    json(StatusCode::ACCEPTED, Bytes::from_static(b"{\"status\":\"OK\"}\n"))
}

/// An error as the Runtime API words it.
pub(super) fn refused(status: StatusCode, error_type: &str, message: &str) -> Answer {
    json(status, error_payload(error_type, message))
}

/// The answer to a request that the desk refused.
pub(super) fn from_refusal(refusal: Refusal) -> Answer {
    match refusal {
        Refusal::RequestId => {
            refused(StatusCode::BAD_REQUEST, "InvalidRequestID", "Invalid request ID")
        }
        Refusal::State(illegal) => {
            refused(StatusCode::FORBIDDEN, "InvalidStateTransition", &illegal.to_string())
        }
    }
}

/// 413 for a body over the limit.
pub(super) fn too_large() -> Answer {
    beyond(RESPONSE_BYTES_MAX as u64)
}

/// 413 for a stream over its limit.
pub(super) fn stream_too_large() -> Answer {
    beyond(STREAMED_BYTES_MAX)
}

fn beyond(bytes_max: u64) -> Answer {
    let text = format!("Exceeded maximum allowed payload size ({bytes_max} bytes).");
    refused(StatusCode::PAYLOAD_TOO_LARGE, "RequestEntityTooLarge", &text)
}

/// 400 for a body that broke off.
pub(super) fn truncated() -> Answer {
    let text = "HTTP request detected as truncated";
    refused(StatusCode::BAD_REQUEST, "TruncatedHTTPRequest", text)
}

/// A short text.
pub(super) fn plain(status: StatusCode, text: &'static str) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from_static(text.as_bytes())));
    *answer.status_mut() = status;
    answer
}

/// JSON as it is.
pub(super) fn json(status: StatusCode, body: Bytes) -> Answer {
    let mut answer = Response::new(Full::new(body));
    *answer.status_mut() = status;
    let kind = HeaderValue::from_static("application/json");
    answer.headers_mut().insert(header::CONTENT_TYPE, kind);
    answer
}

/// The error type that a runtime gave in its header, as AWS lets it through.
pub(super) fn error_type(headers: &HeaderMap) -> String {
    let given = headers
        .get("lambda-runtime-function-error-type")
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let Some((family, name)) = given.split_once('.') else { return "Runtime.Unknown".to_owned() };
    let is_plain = name.starts_with(|c: char| c.is_ascii_uppercase())
        && name.len() > 1
        && name.chars().all(|c| c.is_ascii_alphabetic());
    match (family, is_plain) {
        ("Runtime" | "Function", true) => given.to_owned(),
        ("Function", false) => "Function.Unknown".to_owned(),
        _ => "Runtime.Unknown".to_owned(),
    }
}

#[cfg(test)]
mod unit {
    use super::*;

    #[test]
    fn error_types_are_let_through_as_by_aws() {
        let cases = [
            ("Runtime.ImportModuleError", "Runtime.ImportModuleError"),
            ("Function.MyError", "Function.MyError"),
            ("Function.my error", "Function.Unknown"),
            ("ValueError", "Runtime.Unknown"),
            ("Runtime.x", "Runtime.Unknown"),
            ("", "Runtime.Unknown"),
        ];
        for (given, expected) in cases {
            let mut headers = HeaderMap::new();
            let value = HeaderValue::from_str(given).unwrap();
            headers.insert("lambda-runtime-function-error-type", value);
            assert_eq!(error_type(&headers), expected, "{given}");
        }
    }
}
