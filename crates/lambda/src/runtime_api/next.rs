//! `GET /2018-06-01/runtime/invocation/next`: the runtime asks for an event and waits for it as
//! long as it takes. Its first request ends the environment's start.

use std::sync::Arc;

use http::header::CONTENT_TYPE;
use http::{HeaderName, HeaderValue, Response, StatusCode};
use http_body_util::Full;

use super::answer::{Answer, from_refusal, refused};
use super::desk::{Desk, Event, NextEvent};

pub(super) async fn get(desk: &Desk) -> Answer {
    let receiver = match desk.next() {
        Ok(NextEvent::Now(event)) => return handed_out(&event),
        Ok(NextEvent::Later(receiver)) => receiver,
        Err(refusal) => return from_refusal(refusal),
    };
    match receiver.await {
        Ok(event) => handed_out(&event),
        Err(_) => superseded(),
    }
}

/// Another `next` took this one's place, or the environment ends.
pub(super) fn superseded() -> Answer {
    refused(
        StatusCode::FORBIDDEN,
        "InvalidStateTransition",
        "a newer request for the next event has taken this one's place",
    )
}

fn handed_out(event: &Arc<Event>) -> Answer {
    let mut answer = Response::new(Full::new(event.payload.clone()));
    let headers = answer.headers_mut();
    headers.reserve(8);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert("lambda-runtime-deadline-ms", HeaderValue::from(event.deadline_ms));
    for (name, text) in texts_of(event) {
        // What cannot stand in a header (a line break in a client context) is left out.
        if let Ok(value) = HeaderValue::from_bytes(text.as_bytes()) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    answer
}

/// What is told of an event in text headers.
pub(super) fn texts_of(event: &Event) -> impl Iterator<Item = (&'static str, &String)> {
    let texts = [
        ("lambda-runtime-aws-request-id", Some(&event.request_id)),
        ("lambda-runtime-invoked-function-arn", Some(&event.invoked_arn)),
        ("lambda-runtime-trace-id", Some(&event.trace_id)),
        ("lambda-runtime-client-context", event.client_context.as_ref()),
        ("lambda-runtime-aws-tenant-id", event.tenant_id.as_ref()),
    ];
    let told = texts.into_iter().filter_map(|(name, text)| Some((name, text?)));
    told.filter(|(_, text)| !text.is_empty())
}
