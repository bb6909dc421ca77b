//! `POST /2018-06-01/runtime/invocation/{id}/error`: the function failed; the environment goes on.

use bytes::Bytes;
use http::{HeaderMap, Request};

use super::answer::{
    Answer, Payload, Received, accepted, error_type, from_refusal, receive, too_large, truncated,
};
use super::desk::{Completion, Desk};
use super::life::Move;
use crate::invoke::fault::{Fault, error_payload};

pub(super) async fn post(desk: &Desk, id: &str, request: Request<Payload>) -> Answer {
    if let Err(refusal) = desk.begin_answer(id, Move::Error) {
        return from_refusal(refusal);
    }
    let (head, body) = request.into_parts();
    let (completion, answer) = match receive(body).await {
        Received::Whole(body, _) => (Completion::Error(document(body, &head.headers)), accepted()),
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

/// The error document that the caller gets. A runtime that sent none still has its type reported;
/// one that sends error and cause together has the error taken out.
pub(super) fn document(body: Bytes, headers: &HeaderMap) -> Bytes {
    if body.is_empty() {
        return error_payload(&error_type(headers), "");
    }
    let kind = headers.get(http::header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let essence = kind.and_then(|kind| kind.split(';').next()).unwrap_or_default().trim();
    if !essence.eq_ignore_ascii_case("application/vnd.aws.lambda.error.cause+json") {
        return body;
    }
    // The members of the error stand beside `errorCause`, which is for tracing only.
    match serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(&body) {
        Ok(mut members) => {
            members.remove("errorCause");
            Bytes::from(serde_json::Value::Object(members).to_string())
        }
        Err(_) => body,
    }
}
