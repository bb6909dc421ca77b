//! `POST /2018-06-01/runtime/invocation/{id}/response`: what the function returned.
//!
//! For a caller that asked for a stream it goes on as it comes (`stream.rs`). The caller alone decides
//! that: a runtime may say that it streams (`Lambda-Runtime-Function-Response-Mode`), but Go's sends
//! chunks and trailers without saying so. Invoke answers in one piece: for it a response is gathered.
//! One may end with trailers that say that the function failed half-way: then the caller of Invoke
//! gets that error and nothing of what came before it.

use std::sync::Arc;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Request, StatusCode};

use super::answer::{
    Answer, Payload, Received, accepted, error_type, from_refusal, receive, refused, too_large,
    truncated,
};
use super::desk::{Completion, Desk};
use super::life::Move;
use super::stream;
use crate::invoke::fault::{Fault, error_payload};

pub(super) async fn post(desk: &Arc<Desk>, id: &str, request: Request<Payload>) -> Answer {
    if !is_known_mode(request.headers()) {
        let text = "Invalid response mode header";
        return refused(StatusCode::BAD_REQUEST, "InvalidFunctionResponseMode", text);
    }
    if let Err(refusal) = desk.begin_answer(id, Move::Response) {
        return from_refusal(refusal);
    }
    if let Some(sink) = desk.begin_stream() {
        sink.say_content_type(request.headers());
        return stream::serve(desk, &sink, request.into_body()).await;
    }
    let (completion, answer) = match receive(request.into_body()).await {
        Received::Whole(body, trailers) => (completed(body, &trailers), accepted()),
        Received::TooLarge(bytes) => {
            (Completion::Fault(Fault::ResponseTooLarge { bytes }), too_large())
        }
        Received::Broken => {
            desk.answer_broken();
            return truncated();
        }
    };
    let answered = desk.answer(completion);
    // The caller comes first: its answer leaves before the runtime hears that it arrived.
    lambic_rt::turn().await;
    match answered {
        Ok(()) => answer,
        Err(refusal) => from_refusal(refusal),
    }
}

/// The same for a response that is there in one piece and says nothing of streams; `None` is
/// [`accepted`].
pub(super) async fn whole(
    desk: &Arc<Desk>,
    id: &str,
    content_type: Option<&[u8]>,
    body: Bytes,
) -> Option<Answer> {
    if let Err(refusal) = desk.begin_answer(id, Move::Response) {
        return Some(from_refusal(refusal));
    }
    if let Some(sink) = desk.begin_stream() {
        let mut headers = HeaderMap::new();
        let value = content_type.and_then(|value| HeaderValue::from_bytes(value).ok());
        value.into_iter().for_each(|value| drop(headers.insert(CONTENT_TYPE, value)));
        sink.say_content_type(&headers);
        return Some(stream::serve(desk, &sink, Payload::Whole(Some(body))).await);
    }
    let answered = desk.answer(Completion::Response(body));
    // The caller comes first, as above.
    lambic_rt::turn().await;
    answered.err().map(from_refusal)
}

fn is_known_mode(headers: &HeaderMap) -> bool {
    match headers.get("lambda-runtime-function-response-mode") {
        None => true,
        Some(mode) => mode.as_bytes().eq_ignore_ascii_case(b"streaming"),
    }
}

fn completed(body: Bytes, trailers: &HeaderMap) -> Completion {
    match stream::failure(trailers) {
        None => Completion::Response(body),
        Some(failure) if failure.document.is_empty() => {
            Completion::Error(error_payload(&error_type(trailers), ""))
        }
        Some(failure) => Completion::Error(failure.document),
    }
}
