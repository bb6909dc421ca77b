//! `POST /2018-06-01/runtime/invocation/{id}/response`: what the function returned.
//!
//! A streamed response is accepted too and gathered, because Invoke answers in one piece; the limit
//! of its size is that of any other. It may end with trailers that say that the function failed
//! half-way: then the caller gets that error and nothing of what came before it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use hyper::body::Incoming;

use super::answer::{
    Answer, Received, accepted, error_type, from_refusal, receive, refused, too_large, truncated,
};
use super::desk::{Completion, Desk};
use super::life::Move;
use crate::invoke::fault::{Fault, error_payload};

pub(super) async fn post(desk: &Desk, id: &str, request: Request<Incoming>) -> Answer {
    if !is_known_mode(request.headers()) {
        let text = "Invalid response mode header";
        return refused(StatusCode::BAD_REQUEST, "InvalidFunctionResponseMode", text);
    }
    if let Err(refusal) = desk.begin_answer(id, Move::Response) {
        return from_refusal(refusal);
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
    if !trailers.contains_key("lambda-runtime-function-error-type") {
        return Completion::Response(body);
    }
    let document = trailers
        .get("lambda-runtime-function-error-body")
        .and_then(|value| STANDARD.decode(value.as_bytes()).ok())
        .filter(|document| !document.is_empty());
    let typed = || error_payload(&error_type(trailers), "");
    Completion::Error(document.map_or_else(typed, Bytes::from))
}
