//! `GET /2021-04-23/credentials`: the credentials of a function with SnapStart. They are asked for
//! instead of standing in the environment, so that a restored environment gets its own once those that
//! were in the snapshot expire. To everybody who does not know the token there is no such page.

use std::time::Duration;

use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Request, Response};
use http_body_util::Full;
use serde::Serialize;

use super::answer::Answer;
use super::desk::Desk;
use super::no_such_page;

/// Credentials are good for longer (as long as their environment, or any that is forked from it); SDKs
/// ask again when this is over.
const EXPIRE_AFTER: Duration = Duration::from_secs(3_600);

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Document<'a> {
    access_key_id: &'a str,
    secret_access_key: &'a str,
    token: &'a str,
    expiration: String,
}

pub(super) fn get<B>(desk: &Desk, request: &Request<B>) -> Answer {
    let given = request.headers().get(AUTHORIZATION).map(HeaderValue::as_bytes);
    let Some(snapstart) = &desk.snapstart else { return no_such_page() };
    if given != Some(snapstart.token.as_bytes()) {
        return no_such_page();
    }
    let session = &snapstart.session;
    let document = Document {
        access_key_id: &session.access_key_id,
        secret_access_key: &session.secret_access_key,
        token: &session.session_token,
        expiration: desk.rt().now().after(EXPIRE_AFTER).rfc3339(),
    };
    let text = serde_json::to_vec(&document).expect("texts by names are JSON");
    let mut answer = Response::new(Full::new(text.into()));
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}
