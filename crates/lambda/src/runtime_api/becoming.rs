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

#[cfg(test)]
mod tests {
    use lambic_rt::TaskKind;

    use super::*;
    use crate::runtime_api::connection;
    use crate::runtime_api::testing::Client;
    use crate::runtime_api::tests::Bench;

    #[tokio::test]
    async fn it_is_told_once_and_only_on_the_inherited_stream() {
        let bench = Bench::new();
        let mut anybody = bench.connect();
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        let served = connection::serve_inherited(Box::pin(theirs), bench.desk.clone());
        bench.rt.spawn("test connection", TaskKind::Request, served).detach();
        let mut spare = Client::new(ours);
        let ask = "GET /lambic/become";
        assert_eq!(spare.request(ask, "", b"").await.status, 404, "it was no spare");
        let env = [("B", "2"), ("A", "ä=\n")].map(|(name, value)| (name.into(), value.into()));
        bench.desk.offer(document(&env, "/var/task"));
        let refused = anybody.request(ask, "", b"").await;
        assert_eq!((refused.status, refused.text()), (404, "404 page not found\n"));
        let told = spare.request(ask, "", b"").await;
        assert_eq!(told.status, 200);
        assert_eq!(told.text(), r#"{"env":{"A":"ä=\n","B":"2"},"cwd":"/var/task"}"#);
        assert_eq!(spare.request(ask, "", b"").await.status, 404, "only once");
        // It goes on as any other runtime.
        spare.send(b"GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\nHost: x\r\n\r\n").await;
        while bench.told.take() != ["started", "ready"] {
            tokio::task::yield_now().await;
        }
    }
}
