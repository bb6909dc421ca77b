//! A streamed response: first the head (a JSON document, then eight bytes of zero), then the body as it
//! comes. A runtime says by its content type that it sends a head; without one the response is 200 with
//! the runtime's type.
//!
//! A function that fails before the head is complete gets the answer of any failed function. After
//! that the status has been sent, and all that is left is to break the connection off.

use std::future::poll_fn;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http::HeaderValue;
use http::header::CONTENT_TYPE;
use lambic_wire::event_stream::Pieces;
use lambic_wire::{Body, Error, Response};

use super::answer::{Head, Malformed, SEPARATOR, head_of, split};
use crate::invoke::streamed::{AnswerStream, Part, StreamedAnswer};

/// What a runtime says of a response that begins with a head.
const WITH_HEAD: &str = "application/vnd.awslambda.http-integration-response";
/// What a response is when nobody says so.
const UNKNOWN: HeaderValue = HeaderValue::from_static("application/octet-stream");
/// Bytes of a head; what is longer is none.
const HEAD_BYTES_MAX: usize = 1024 * 1024;

/// Why there is no response.
#[derive(Debug)]
pub(super) enum NoResponse {
    /// The function failed, or what it sent is no response.
    Function,
    /// The platform failed.
    Platform(Error),
}

impl From<Malformed> for NoResponse {
    fn from(_: Malformed) -> NoResponse {
        NoResponse::Function
    }
}

/// Waits for the head; the body follows on its own.
pub(super) async fn response(answer: StreamedAnswer) -> Result<Response, NoResponse> {
    let StreamedAnswer { mut stream, content_type, .. } = answer;
    let content_type = content_type.as_deref().unwrap_or_default();
    if !content_type.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case(WITH_HEAD) {
        let first = next(&mut stream).await?;
        let content_type = HeaderValue::from_str(content_type);
        let content_type = content_type.ok().filter(|value| !value.is_empty()).unwrap_or(UNKNOWN);
        let head = Head { status: 200, headers: vec![(CONTENT_TYPE, content_type)] };
        return Ok(with(head, first, stream));
    }
    let mut read = Reading::default();
    loop {
        let Some(piece) = next(&mut stream).await? else { return Err(NoResponse::Function) };
        if let Some((head, rest)) = read.take(&piece)? {
            return Ok(with(head, Some(rest), stream));
        }
    }
}

fn with(head: Head, first: Option<Bytes>, stream: AnswerStream) -> Response {
    let first = first.filter(|bytes| !bytes.is_empty());
    head.with(Body::Pieces(Box::new(Rest { first, stream, is_cut_short: false })))
}

/// The next piece; `None` at an end without an error.
async fn next(stream: &mut AnswerStream) -> Result<Option<Bytes>, NoResponse> {
    match poll_fn(|context| stream.poll_part(context)).await {
        Some(Ok(Part::Piece(bytes))) => Ok(Some(bytes)),
        Some(Ok(Part::End(end))) if end.error_code.is_some() => Err(NoResponse::Function),
        Some(Ok(Part::End(_))) | None => Ok(None),
        Some(Err(error)) => Err(NoResponse::Platform(error)),
    }
}

/// The pieces of a head, which may be cut anywhere.
#[derive(Default)]
struct Reading {
    bytes: BytesMut,
}

impl Reading {
    /// One more piece. The head and what follows it, once it is complete.
    fn take(&mut self, piece: &[u8]) -> Result<Option<(Head, Bytes)>, Malformed> {
        // The separator may have begun in what is here already.
        let from = self.bytes.len().saturating_sub(SEPARATOR.len() - 1);
        self.bytes.extend_from_slice(piece);
        let Some((before, rest)) = split(&self.bytes[from..]) else {
            return if self.bytes.len() > HEAD_BYTES_MAX { Err(Malformed) } else { Ok(None) };
        };
        let head = head_of(&self.bytes[..from + before.len()])?;
        let body = self.bytes.split_off(self.bytes.len() - rest).freeze();
        Ok(Some((head, body)))
    }
}

/// The body, or what is left of it.
struct Rest {
    first: Option<Bytes>,
    stream: AnswerStream,
    is_cut_short: bool,
}

impl Pieces for Rest {
    fn poll_piece(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(first));
        }
        match ready!(self.stream.poll_part(context)) {
            Some(Ok(Part::Piece(bytes))) => return Poll::Ready(Some(bytes)),
            Some(Ok(Part::End(end))) => self.is_cut_short = end.error_code.is_some(),
            Some(Err(_)) => self.is_cut_short = true,
            None => {}
        }
        Poll::Ready(None)
    }

    fn is_cut_short(&self) -> bool {
        self.is_cut_short
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::invoke::streamed::End;

    fn end(error_code: Option<&str>) -> Part {
        Part::End(End { error_code: error_code.map(str::to_owned), ..End::default() })
    }

    fn streamed(
        content_type: Option<&str>,
        pieces: &[&[u8]],
        error: Option<&str>,
    ) -> StreamedAnswer {
        let pieces = pieces.iter().map(|piece| Part::Piece(Bytes::copy_from_slice(piece)));
        let parts: Vec<Part> = pieces.chain([end(error)]).collect();
        StreamedAnswer {
            content_type: content_type.map(str::to_owned),
            ..StreamedAnswer::of("$LATEST", parts)
        }
    }

    /// Status, content type, body, and whether it was cut short; `None` when there is no response.
    async fn check(answer: StreamedAnswer) -> Option<(u16, String, Vec<u8>, bool)> {
        let response = response(answer).await.ok()?;
        let content_type = response.header("content-type").unwrap().to_owned();
        let Body::Pieces(mut pieces) = response.body else { panic!("it is streamed") };
        let mut body = Vec::new();
        while let Some(piece) = poll_fn(|context| pieces.poll_piece(context)).await {
            assert!(!piece.is_empty());
            body.extend_from_slice(&piece);
        }
        Some((response.status, content_type, body, pieces.is_cut_short()))
    }

    #[tokio::test]
    async fn without_a_head() {
        let expect =
            |kind: &str, body: &[u8], cut| Some((200, kind.to_owned(), body.to_vec(), cut));
        let answer = streamed(Some("text/plain"), &[b"a", b"b"], None);
        assert_eq!(check(answer).await, expect("text/plain", b"ab", false));
        let answer = streamed(None, &[b"a"], Some("Unhandled"));
        assert_eq!(check(answer).await, expect("application/octet-stream", b"a", true));
        let answer = streamed(None, &[], None);
        assert_eq!(check(answer).await, expect("application/octet-stream", b"", false));
        assert_eq!(check(streamed(None, &[], Some("Unhandled"))).await, None);
    }

    #[tokio::test]
    async fn with_a_head() {
        let head = b"{\"statusCode\":418,\"headers\":{\"content-type\":\"text/tea\"}}";
        let answer = |pieces: &[&[u8]], error| streamed(Some(WITH_HEAD), pieces, error);
        let expect = |body: &[u8], cut| Some((418, "text/tea".to_owned(), body.to_vec(), cut));
        let whole = answer(&[head, &SEPARATOR, b"tea"], None);
        assert_eq!(check(whole).await, expect(b"tea", false));
        assert_eq!(check(answer(&[head, &SEPARATOR], None)).await, expect(b"", false));
        let cut = answer(&[head, &SEPARATOR, b"t"], Some("Runtime.TruncatedResponse"));
        assert_eq!(check(cut).await, expect(b"t", true));
        // The head never ends, or is none.
        assert_eq!(check(answer(&[head], None)).await, None);
        assert_eq!(check(answer(&[head], Some("Unhandled"))).await, None);
        assert_eq!(check(answer(&[b"{", &SEPARATOR], None)).await, None);
        let long = vec![b' '; HEAD_BYTES_MAX + 1];
        assert_eq!(check(answer(&[&long, head, &SEPARATOR], None)).await, None);
    }

    proptest! {
        #[test]
        fn a_head_may_be_cut_anywhere(
            cuts in proptest::collection::vec(0_usize..60, 0..6),
            body in proptest::collection::vec(prop_oneof![Just(0_u8), any::<u8>()], 0..20),
        ) {
            let head = b"{\"statusCode\":404,\"cookies\":[\"a=b\"]}";
            let whole = [&head[..], &SEPARATOR, &body].concat();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(whole.len())).collect();
            cuts.extend([0, whole.len()]);
            cuts.sort_unstable();
            let (mut reading, mut found) = (Reading::default(), None);
            for pair in cuts.windows(2) {
                let piece = &whole[pair[0]..pair[1]];
                match &mut found {
                    None => found = reading.take(piece).unwrap().map(|(head, rest)| (head, rest.to_vec())),
                    Some((_, rest)) => rest.extend_from_slice(piece),
                }
            }
            let (head, rest) = found.unwrap();
            prop_assert_eq!((head.status, rest), (404, body));
        }
    }
}
