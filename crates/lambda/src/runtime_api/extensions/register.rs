//! `POST /2020-01-01/extension/register`: an extension says who it is and what it wants to hear of.
//!
//! A program of `/opt/extensions` goes by its file's name; any other name is that of an internal
//! extension. Allowed until the runtime has asked for its first event.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::Full;
use serde::{Deserialize, Serialize};

use super::crew::Subscriptions;
use super::{IDENTIFIER, forbidden, from_refusal};
use crate::runtime_api::answer::{Answer, Payload, Received, receive, too_large, truncated};
use crate::runtime_api::desk::Desk;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Registration {
    #[serde(default)]
    events: Vec<String>,
    /// Not offered any more; named so that whoever uses it hears of it.
    #[serde(default)]
    configuration_keys: Vec<String>,
}

/// What an extension learns of its function.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct About {
    /// Without a qualifier.
    pub function_name: String,
    /// `$LATEST` or a number.
    pub function_version: String,
    /// As it was configured.
    pub handler: String,
    /// Only for those that accept it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account_id: Option<String>,
}

pub(super) async fn post(desk: &Desk, request: Request<Payload>) -> Answer {
    let (head, body) = request.into_parts();
    let name = text(&head.headers, "lambda-extension-name");
    if name.is_empty() {
        return forbidden("Extension.InvalidExtensionName", "Empty extension name");
    }
    let body = match receive(body).await {
        Received::Whole(body, _) => body,
        Received::TooLarge(_) => return too_large(),
        Received::Broken => return truncated(),
    };
    let events = match parse(&body) {
        Ok(events) => events,
        Err(text) => return forbidden("InvalidRequestFormat", &text),
    };
    let subscriptions = match subscriptions(&events) {
        Ok(subscriptions) => subscriptions,
        Err(text) => return forbidden("Extension.InvalidEventType", &text),
    };
    match desk.register(name, subscriptions) {
        Ok(id) => registered(desk, &id, &head.headers),
        Err(refusal) => from_refusal(&refusal, name),
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

fn parse(body: &[u8]) -> Result<Vec<String>, String> {
    let registration: Registration =
        serde_json::from_slice(body).map_err(|error| error.to_string())?;
    if !registration.configuration_keys.is_empty() {
        let text = "configurationKeys are deprecated; use environment variables instead";
        return Err(text.to_owned());
    }
    Ok(registration.events)
}

fn subscriptions(events: &[String]) -> Result<Subscriptions, String> {
    let mut subscriptions = Subscriptions::default();
    for event in events {
        match event.as_str() {
            "INVOKE" => subscriptions.invoke = true,
            "SHUTDOWN" => subscriptions.shutdown = true,
            other => return Err(format!("{other}: ErrorInvalidEventType")),
        }
    }
    Ok(subscriptions)
}

fn registered(desk: &Desk, id: &str, headers: &HeaderMap) -> Answer {
    let mut about = desk.about().clone();
    let accepts = text(headers, "lambda-extension-accept-feature");
    if !accepts.split(',').any(|feature| feature.trim() == "accountId") {
        about.account_id = None;
    }
    let body = serde_json::to_vec(&about).expect("texts are JSON");
    let mut answer = Response::new(Full::new(Bytes::from(body)));
    *answer.status_mut() = StatusCode::OK;
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Ok(id) = HeaderValue::from_str(id) {
        headers.insert(IDENTIFIER, id);
    }
    answer
}
