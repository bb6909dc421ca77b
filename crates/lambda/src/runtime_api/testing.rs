//! A runtime's side of the Runtime API, for tests: HTTP/1.1 written by hand, so that tests can also
//! say what no well-behaved client would.

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

const API: &str = "/2018-06-01/runtime/";

/// One answer of the Runtime API.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Bytes,
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(": ")?;
            key.eq_ignore_ascii_case(name).then_some(value)
        })
    }

    pub(crate) fn request_id(&self) -> String {
        self.header("lambda-runtime-aws-request-id").expect("an event").to_owned()
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("text")
    }
}

/// One connection.
pub(crate) struct Client<S> {
    pub(crate) io: S,
    rest: Vec<u8>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    pub(crate) fn new(io: S) -> Client<S> {
        Client { io, rest: Vec::new() }
    }

    pub(crate) async fn send(&mut self, text: &[u8]) {
        self.io.write_all(text).await.expect("the platform reads");
    }

    pub(crate) async fn try_next(&mut self) -> Option<Reply> {
        let head = format!("GET {API}invocation/next HTTP/1.1\r\nHost: x\r\n\r\n");
        self.io.write_all(head.as_bytes()).await.ok()?;
        self.try_reply().await
    }

    pub(crate) async fn next(&mut self) -> Reply {
        self.try_next().await.expect("an answer to next")
    }

    pub(crate) async fn post(&mut self, route: &str, body: &[u8]) -> Reply {
        self.post_with(route, "", body).await
    }

    pub(crate) async fn post_with(&mut self, route: &str, more: &str, body: &[u8]) -> Reply {
        let head = format!(
            "POST {API}{route} HTTP/1.1\r\nHost: x\r\n{more}Content-Length: {}\r\n\r\n",
            body.len()
        );
        self.send(head.as_bytes()).await;
        self.send(body).await;
        self.try_reply().await.expect("an answer")
    }

    pub(crate) async fn respond(&mut self, request_id: &str, body: &[u8]) -> Reply {
        self.post(&format!("invocation/{request_id}/response"), body).await
    }

    /// Any request, with these further lines in its head.
    pub(crate) async fn request(&mut self, line: &str, more: &str, body: &[u8]) -> Reply {
        let length = body.len();
        let head = format!("{line} HTTP/1.1\r\nHost: x\r\n{more}Content-Length: {length}\r\n\r\n");
        self.send(head.as_bytes()).await;
        self.send(body).await;
        self.try_reply().await.expect("an answer")
    }

    pub(crate) async fn fail(&mut self, request_id: &str, body: &[u8]) -> Reply {
        self.post(&format!("invocation/{request_id}/error"), body).await
    }

    pub(crate) async fn try_reply(&mut self) -> Option<Reply> {
        let end = loop {
            if let Some(at) = self.rest.windows(4).position(|window| window == b"\r\n\r\n") {
                break at;
            }
            self.fill().await?;
        };
        let head = String::from_utf8(self.rest[..end].to_vec()).expect("text");
        let status = head[9..12].parse().expect("a status");
        let mut reply = Reply { status, head, body: Bytes::new() };
        let length = reply.header("content-length").map_or(0, |n| n.parse().expect("a number"));
        while self.rest.len() < end + 4 + length {
            self.fill().await?;
        }
        reply.body = Bytes::copy_from_slice(&self.rest[end + 4..end + 4 + length]);
        self.rest.drain(..end + 4 + length);
        Some(reply)
    }

    async fn fill(&mut self) -> Option<()> {
        let mut chunk = vec![0; 16 * 1024];
        let count = self.io.read(&mut chunk).await.ok().filter(|count| *count > 0)?;
        self.rest.extend_from_slice(&chunk[..count]);
        Some(())
    }
}
