//! `GET /2020-01-01/extension/event/next`: an extension is done with what it had and waits for more,
//! as long as it takes.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use http_body_util::Full;
use serde::Serialize;

use super::{ExtensionEvent, from_refusal, identifier};
use crate::runtime_api::answer::{Answer, refused};
use crate::runtime_api::desk::Desk;

/// The event's own identifier, in a header.
const EVENT_IDENTIFIER: &str = "lambda-extension-event-identifier";

#[derive(Serialize)]
#[serde(tag = "eventType", rename_all = "UPPERCASE", rename_all_fields = "camelCase")]
enum Document<'a> {
    Invoke {
        deadline_ms: i64,
        request_id: &'a str,
        invoked_function_arn: &'a str,
        tracing: Tracing<'a>,
    },
    Shutdown {
        shutdown_reason: &'static str,
        deadline_ms: i64,
    },
}

#[derive(Serialize)]
struct Tracing<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    value: &'a str,
}

pub(super) async fn get(desk: &Desk, headers: &HeaderMap) -> Answer {
    let id = match identifier(headers) {
        Ok(id) => id,
        Err(answer) => return *answer,
    };
    let receiver = match desk.extension_next(id) {
        Ok(receiver) => receiver,
        Err(refusal) => return from_refusal(&refusal, id),
    };
    match receiver.await {
        Ok(event) => handed_out(desk, &event),
        Err(_) => refused(
            StatusCode::INTERNAL_SERVER_ERROR,
            "InternalServerError",
            "there is no next event for this request",
        ),
    }
}

fn handed_out(desk: &Desk, event: &ExtensionEvent) -> Answer {
    let document = match event {
        ExtensionEvent::Invoke(event) => Document::Invoke {
            deadline_ms: event.deadline_ms,
            request_id: &event.request_id,
            invoked_function_arn: &event.invoked_arn,
            tracing: Tracing { kind: "X-Amzn-Trace-Id", value: &event.trace_id },
        },
        ExtensionEvent::Shutdown { reason, deadline_ms } => {
            Document::Shutdown { shutdown_reason: reason.name(), deadline_ms: *deadline_ms }
        }
    };
    let body = serde_json::to_vec(&document).expect("texts and numbers are JSON");
    let mut answer = Response::new(Full::new(Bytes::from(body)));
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Ok(id) = HeaderValue::from_str(&desk.fresh_id()) {
        headers.insert(EVENT_IDENTIFIER, id);
    }
    answer
}
