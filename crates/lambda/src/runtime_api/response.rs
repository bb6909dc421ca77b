//! `POST /2018-06-01/runtime/invocation/{id}/response`: what the function returned.
//!
//! A streamed response goes on to the caller as it comes (`stream.rs`), if the caller asked for a
//! stream. Invoke answers in one piece: for it a stream is gathered, up to the limit of any other
//! response. It may end with trailers that say that the function failed half-way: then the caller
//! of Invoke gets that error and nothing of what came before it.

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
    let Some(mode) = Mode::of(request.headers()) else {
        let text = "Invalid response mode header";
        return refused(StatusCode::BAD_REQUEST, "InvalidFunctionResponseMode", text);
    };
    if let Err(refusal) = desk.begin_answer(id, Move::Response) {
        return from_refusal(refusal);
    }
    if mode == Mode::Streaming
        && let Some(sink) = desk.begin_stream()
    {
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

/// How the runtime sends its response.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Buffered,
    Streaming,
}

impl Mode {
    fn of(headers: &HeaderMap) -> Option<Mode> {
        match headers.get("lambda-runtime-function-response-mode") {
            None => Some(Mode::Buffered),
            Some(mode) if mode.as_bytes().eq_ignore_ascii_case(b"streaming") => {
                Some(Mode::Streaming)
            }
            Some(_) => None,
        }
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
