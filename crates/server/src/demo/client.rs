//! A very small client of the Lambda API: signed requests over HTTP, as any SDK would send them.
//!
//! The demo goes through the real front door and not through the functions behind it, so that what
//! it shows is what a user's tools will see.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use lambic_rt::{Rt, TaskKind};
use lambic_wire::Request;
use lambic_wire::sigv4::{self, Credentials};
use serde_json::Value;
use tokio::net::TcpStream;

/// A reply is a function's answer or an error, never more than this.
const REPLY_BYTES_MAX: usize = 8 * 1_048_576;
/// A synchronous invoke of the examples takes far less.
const REPLY_S_MAX: u64 = 60;

pub(crate) struct Client {
    pub(crate) address: SocketAddr,
    pub(crate) credentials: Credentials,
    pub(crate) region: String,
    pub(crate) rt: Rt,
}

/// A reply, read whole.
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: http::HeaderMap,
    pub(crate) body: Bytes,
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    pub(crate) fn json(&self) -> Result<Value, String> {
        serde_json::from_slice(&self.body).map_err(|error| format!("the reply is no JSON: {error}"))
    }

    /// This reply, or its status and message when the status is not the wanted one.
    pub(crate) fn expect(self, status: u16) -> Result<Reply, String> {
        if self.status == status {
            return Ok(self);
        }
        let text = String::from_utf8_lossy(&self.body);
        Err(format!("status {} instead of {status}: {text}", self.status))
    }
}

impl Client {
    /// Sends one signed request and reads its reply.
    pub(crate) async fn call(
        &self,
        method: &str,
        path: &str,
        headers: &[(&'static str, &str)],
        body: impl Into<Bytes>,
    ) -> Result<Reply, String> {
        let request = self.signed(method, path, headers, body.into())?;
        let limit = Duration::from_secs(REPLY_S_MAX);
        match self.rt.within(limit, self.send(request)).await {
            Some(reply) => reply.map_err(|error| format!("{method} {path}: {error}")),
            None => Err(format!("{method} {path}: no reply within {REPLY_S_MAX} s")),
        }
    }

    fn signed(
        &self,
        method: &str,
        path: &str,
        headers: &[(&'static str, &str)],
        body: Bytes,
    ) -> Result<Request, String> {
        let mut request = Request {
            method: method.parse().map_err(|_| format!("{method} is no method"))?,
            path: path.to_owned(),
            query: String::new(),
            headers: http::HeaderMap::new(),
            body,
        };
        let host = self.address.to_string();
        for (name, value) in [("host", host.as_str())].iter().chain(headers) {
            let value = value.parse().map_err(|_| format!("{value} is no header"))?;
            request.headers.insert(*name, value);
        }
        let now = self.rt.now().seconds();
        sigv4::sign(&mut request, &self.credentials, &self.region, "lambda", now);
        Ok(request)
    }

    async fn send(&self, request: Request) -> Result<Reply, String> {
        let text = |error: hyper::Error| error.to_string();
        let stream = TcpStream::connect(self.address).await.map_err(|error| error.to_string())?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(text)?;
        self.rt.spawn("demo connection", TaskKind::Request, connection).detach();
        let mut sent = http::Request::new(Full::new(request.body));
        *sent.method_mut() = request.method;
        *sent.uri_mut() = request.path.parse().map_err(|_| "the path is no address".to_owned())?;
        *sent.headers_mut() = request.headers;
        let (parts, body) = sender.send_request(sent).await.map_err(text)?.into_parts();
        let body = Limited::new(body, REPLY_BYTES_MAX).collect().await;
        let body = body.map_err(|error| error.to_string())?.to_bytes();
        Ok(Reply { status: parts.status.as_u16(), headers: parts.headers, body })
    }
}
