//! `POST /2018-06-01/runtime/invocation/{id}/response`: what the function returned.
//!
//! For a caller that asked for a stream it goes on as it comes (`stream.rs`). The caller alone decides
//! that: a runtime may say that it streams (`Lambda-Runtime-Function-Response-Mode`), but Go's sends
//! chunks and trailers without saying so. Invoke answers in one piece: for it a response is gathered.
//! One may end with trailers that say that the function failed half-way: then the caller of Invoke
//! gets that error and nothing of what came before it.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use hyper::body::Incoming;

use super::answer::{
    Answer, Received, accepted, error_type, from_refusal, receive, refused, too_large, truncated,
};
use super::desk::{Completion, Desk};
use super::life::Move;
use super::stream;
use crate::invoke::fault::{Fault, error_payload};

pub(super) async fn post(desk: &Arc<Desk>, id: &str, request: Request<Incoming>) -> Answer {
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
    match desk.answer(completion) {
        Ok(()) => answer,
        Err(refusal) => from_refusal(refusal),
    }
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
