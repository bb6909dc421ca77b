//! The one place where answers are printed: AWS's errors, headers that every answer has, and the
//! body as HTTP sends it.

use std::fs::File;
use std::io::{self, Read};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::{CONTENT_TYPE, DATE};
use http::{HeaderName, HeaderValue, StatusCode};
use http_body::{Body, Frame, SizeHint};
use lambic_rt::Rt;
use lambic_wire::{Error, Fault};

use crate::budget::Loan;
use crate::connection::Activity;
use crate::date;
use crate::internal::{InternalReply, ReplyContent};
use crate::service::BoxFuture;
use crate::streamed::Streamed;

/// Every answer's id.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");

/// Bytes of a file that are read at a time.
const FILE_PIECE_BYTES: usize = 256 * 1_024;

/// `TooManyRequestsException` 429, to be tried again in a second.
pub(crate) fn too_many(text: &str) -> Error {
    Error::new("TooManyRequestsException", 429, text)
        .with_fault(Fault::User)
        .with_member("Reason", "CallerRateLimitExceeded")
        .with_header("retry-after", "1")
}

/// Replies shorter than this are not counted; there is at most one per connection.
const COUNTED_BYTES_MIN: usize = 16 * 1_024;

/// The same bytes, which give back their loan when the last of them has gone to the client (HTTP
/// takes a whole body over long before it has been sent).
pub(crate) fn counted(bytes: Bytes, mut loan: Loan) -> Bytes {
    if bytes.len() < COUNTED_BYTES_MIN {
        return bytes;
    }
    loan.extend_regardless(bytes.len());
    Bytes::from_owner(Counted { bytes, _loan: loan })
}

struct Counted {
    bytes: Bytes,
    _loan: Loan,
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Prints an answer.
pub(crate) fn print(
    reply: InternalReply,
    request_id: &str,
    rt: &Rt,
    activity: &Arc<Activity>,
) -> http::Response<ReplyBody> {
    let content = match reply.content {
        ReplyContent::Bytes(bytes) => Content::Bytes(bytes),
        ReplyContent::File { file, length } => Content::File(FilePieces {
            state: PieceState::Ready(Some(file)),
            left: length,
            rt: rt.clone(),
        }),
        ReplyContent::Pieces(pieces) => Content::Streamed(Streamed::new(rt, pieces)),
    };
    let body = ReplyBody { content, activity: activity.clone() };
    let typed = reply.headers.iter().any(|(name, _)| name == CONTENT_TYPE);
    let untyped = !typed && !body.is_end_stream();
    let mut response = http::Response::new(body);
    *response.status_mut() =
        StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(DATE, date::header(rt.now()));
    headers.insert(REQUEST_ID, header_value(request_id));
    if untyped {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    for (name, value) in reply.headers {
        // A map of headers has a largest size; what is beyond it is more than any client takes.
        if headers.try_append(name, value).is_err() {
            tracing::warn!(request_id, "a reply has too many headers; the last ones are left out");
            break;
        }
    }
    response
}

/// A text that is known to have only characters that a header may have.
pub(crate) fn header_value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static(""))
}

/// A reply's body. Its end is the moment from which the connection is idle.
pub(crate) struct ReplyBody {
    content: Content,
    activity: Arc<Activity>,
}

enum Content {
    /// What is left to send.
    Bytes(Bytes),
    File(FilePieces),
    Streamed(Streamed),
}

struct FilePieces {
    state: PieceState,
    left: u64,
    rt: Rt,
}

enum PieceState {
    /// `None` after an error.
    Ready(Option<File>),
    Reading(BoxFuture<'static, (File, io::Result<Bytes>)>),
}

impl FilePieces {
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        loop {
            match &mut self.state {
                PieceState::Ready(file) => {
                    if self.left == 0 {
                        return Poll::Ready(None);
                    }
                    let Some(file) = file.take() else { return Poll::Ready(None) };
                    let bytes = usize::try_from(self.left).unwrap_or(usize::MAX);
                    let rt = self.rt.clone();
                    let piece = async move {
                        let work = move || read_piece(file, bytes.min(FILE_PIECE_BYTES));
                        rt.blocking("read a piece of a file", work).await
                    };
                    self.state = PieceState::Reading(Box::pin(piece));
                }
                PieceState::Reading(piece) => {
                    let (file, read) = ready!(piece.as_mut().poll(context));
                    if let Ok(bytes) = &read {
                        self.left -= bytes.len() as u64;
                    }
                    self.state = PieceState::Ready(read.is_ok().then_some(file));
                    return Poll::Ready(Some(read));
                }
            }
        }
    }
}

/// Reads exactly so many bytes; a file that is shorter than it was promised to be is an error, so
/// that nobody takes half a download for the whole.
fn read_piece(mut file: File, bytes: usize) -> (File, io::Result<Bytes>) {
    let mut piece = vec![0; bytes];
    let read = file.read_exact(&mut piece);
    (file, read.map(|()| Bytes::from(piece)))
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match &mut self.content {
            Content::Bytes(bytes) if bytes.is_empty() => Poll::Ready(None),
            Content::Bytes(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Content::File(pieces) => {
                pieces.poll_next(context).map(|piece| piece.map(|read| read.map(Frame::data)))
            }
            Content::Streamed(streamed) => {
                streamed.poll_piece(context).map(|piece| piece.map(|read| read.map(Frame::data)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Streamed(streamed) => streamed.has_ended(),
            Content::Bytes(_) | Content::File(_) => self.left() == Some(0),
        }
    }

    fn size_hint(&self) -> SizeHint {
        self.left().map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

impl ReplyBody {
    /// Bytes that are still to be sent, where that is known.
    fn left(&self) -> Option<u64> {
        match &self.content {
            Content::Bytes(bytes) => Some(bytes.len() as u64),
            Content::File(pieces) => Some(pieces.left),
            Content::Streamed(_) => None,
        }
    }
}

impl Drop for ReplyBody {
    fn drop(&mut self) {
        self.activity.reply_ends();
    }
}
