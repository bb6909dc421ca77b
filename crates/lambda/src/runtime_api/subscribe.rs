//! `PUT /2022-07-01/telemetry` and `PUT /2020-08-15/logs`: an extension asks to be told what happens in
//! its environment. What is asked for, and what becomes of it, is the matter of `telemetry`.

use http::Request;

use super::answer::{Answer, Payload, Received, json, receive, too_large, truncated};
use super::desk::Desk;
use super::extensions::subscriber;
use crate::telemetry::Api;

pub(super) async fn put(desk: &Desk, api: Api, request: Request<Payload>) -> Answer {
    let (head, body) = request.into_parts();
    let extension = match subscriber(desk, &head.headers) {
        Ok(extension) => extension,
        Err(answer) => return *answer,
    };
    match receive(body).await {
        Received::Whole(body, _) => {
            let answer = desk.owner.subscribe(api, &extension, &body);
            json(answer.status, answer.body)
        }
        Received::TooLarge(_) => too_large(),
        Received::Broken => truncated(),
    }
}
