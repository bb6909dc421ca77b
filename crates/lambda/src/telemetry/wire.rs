//! One attempt to bring a batch to a subscriber: a request, or lines on a connection.
//!
//! The subscriber is user code and may be hostile. Whoever calls this bounds the time of an attempt;
//! here the rest is bounded: what is read of an answer, and that nothing of it is kept. Each request
//! has a connection of its own, so that a subscriber that serves one connection at a time (as
//! Python's `HTTPServer` does) is not kept from its other work.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{Either, select};
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use lambic_rt::Rt;
use thiserror::Error;
use tokio::io::AsyncWriteExt;

use super::gate::Connect;
use super::subscription::Destination;
use crate::runtime_api::connection::BoxIo;

/// Head of an answer, and what is buffered of one.
const ANSWER_HEAD_BYTES_MAX: usize = 64 * 1024;
/// Body of an answer; what is longer is not read to its end.
const ANSWER_BODY_BYTES_MAX: usize = 64 * 1024;
/// How long the body of a good answer may take; it changes nothing.
const ANSWER_BODY_MAX: Duration = Duration::from_secs(1);

/// Why a batch was not taken.
#[derive(Debug, Error)]
pub(super) enum Failed {
    /// Nobody listens, or the connection broke.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The answer is none.
    #[error(transparent)]
    Http(#[from] hyper::Error),
    /// The answer is an error.
    #[error("the subscriber answered {0}")]
    Refused(StatusCode),
}

/// The way to one subscriber.
pub(super) struct Wire {
    destination: Destination,
    /// Of a subscriber that is sent lines.
    kept: Option<BoxIo>,
}

impl Wire {
    pub(super) fn new(destination: Destination) -> Wire {
        Wire { destination, kept: None }
    }

    /// Brings a batch. `written` is how much of it went out in attempts before: lines that were
    /// written whole are not written again.
    pub(super) async fn send(
        &mut self,
        rt: &Rt,
        connect: Arc<dyn Connect>,
        text: &Bytes,
        written: &mut usize,
    ) -> Result<(), Failed> {
        match &self.destination {
            Destination::Http { method, port, authority, path } => {
                let request = Request::builder()
                    .method(method)
                    .uri(path)
                    .header(header::HOST, authority)
                    .header(header::CONTENT_TYPE, "application/json")
                    .header(header::CONNECTION, "close")
                    .body(Full::new(text.clone()))
                    .expect("a subscription has a valid path and authority");
                post(rt, connect.connect(*port).await?, request).await
            }
            Destination::Tcp { port } => {
                // If this attempt ends early the connection ends with it: a line would be torn.
                let mut io = match self.kept.take() {
                    Some(io) => io,
                    None => connect.connect(*port).await?,
                };
                while *written < text.len() {
                    match io.write(&text[*written..]).await? {
                        0 => return Err(Failed::Io(io::ErrorKind::WriteZero.into())),
                        count => *written += count,
                    }
                }
                io.flush().await?;
                self.kept = Some(io);
                Ok(())
            }
        }
    }
}

async fn post(rt: &Rt, io: BoxIo, request: Request<Full<Bytes>>) -> Result<(), Failed> {
    let mut builder = http1::Builder::new();
    builder.max_buf_size(ANSWER_HEAD_BYTES_MAX);
    let (mut sender, connection) = builder.handshake(TokioIo::new(io)).await?;
    let exchange = pin!(async move {
        let answer = sender.send_request(request).await?;
        let status = answer.status();
        // A server that cannot write its answer to the end may take that for a failure of its own.
        let _ = rt.within(ANSWER_BODY_MAX, discard(answer.into_body())).await;
        match status {
            status if status.as_u16() < 400 => Ok(()),
            status => Err(Failed::Refused(status)),
        }
    });
    match select(exchange, pin!(connection)).await {
        Either::Left((result, _)) => result,
        // The connection is done; what it has brought is still to be looked at.
        Either::Right((_, exchange)) => exchange.await,
    }
}

async fn discard(mut body: Incoming) {
    let mut bytes = 0;
    while bytes < ANSWER_BODY_BYTES_MAX {
        match body.frame().await {
            Some(Ok(frame)) => bytes += frame.data_ref().map_or(0, Bytes::len),
            _ => return,
        }
    }
}
