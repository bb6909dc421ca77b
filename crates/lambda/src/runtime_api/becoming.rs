//! `GET /lambic/become`: the runtime client of a spare asks what it becomes, before it has seen
//! anything of a function. Answered once, on the stream that it inherited; to everybody else there is
//! no such page.

use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response};
use http_body_util::Full;
use serde::Serialize;

use super::answer::Answer;
use super::desk::Desk;
use super::no_such_page;

/// What a spare becomes, until it has asked.
#[derive(Default)]
pub(super) struct Becoming(Mutex<Option<Bytes>>);

/// The answer.
#[derive(Serialize)]
struct Document<'a> {
    /// The complete set of environment variables.
    env: std::collections::BTreeMap<&'a str, &'a str>,
    /// Working directory inside.
    cwd: &'a str,
}

/// What the client of a spare gets to know.
pub fn document(env: &[(String, String)], cwd: &str) -> Bytes {
    let env = env.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let text = serde_json::to_vec(&Document { env, cwd });
    text.expect("texts by texts are JSON").into()
}

impl Desk {
    /// The runtime of this environment was a spare's: it may now learn what it is.
    pub fn offer(&self, document: Bytes) {
        *self.becoming.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(document);
    }
}

pub(super) fn get(desk: &Desk) -> Answer {
    let offered = desk.becoming.0.lock().unwrap_or_else(PoisonError::into_inner).take();
    let Some(document) = offered else { return no_such_page() };
    let mut answer = Response::new(Full::new(document));
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}
