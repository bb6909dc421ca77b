//! Subscribers for tests, well-behaved and not, in memory or on the machine's loopback.

use std::io;
use std::sync::{Arc, Mutex};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use super::*;
use crate::invoke::platform_events::{End, Start};
use crate::runtime_api::connection::BoxIo;

/// Connections to the machine's own loopback.
pub(super) struct Loopback;

impl Connect for Loopback {
    fn connect(&self, port: u16) -> BoxFuture<'static, io::Result<BoxIo>> {
        async move {
            let stream = TcpStream::connect(("127.0.0.1", port)).await?;
            Ok(Box::pin(stream) as BoxIo)
        }
        .boxed()
    }
}

/// Connections in memory; whoever listens gets the other ends.
pub(super) struct Fake {
    dialled: Mutex<Option<mpsc::UnboundedSender<DuplexStream>>>,
}

impl Fake {
    pub(super) fn new() -> (Arc<Fake>, mpsc::UnboundedReceiver<DuplexStream>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (Arc::new(Fake { dialled: Mutex::new(Some(sender)) }), receiver)
    }
}

impl Connect for Fake {
    fn connect(&self, _port: u16) -> BoxFuture<'static, io::Result<BoxIo>> {
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        let is_heard = match &*self.dialled.lock().unwrap() {
            Some(sender) => sender.send(theirs).is_ok(),
            None => false,
        };
        async move {
            match is_heard {
                true => Ok(Box::pin(ours) as BoxIo),
                false => Err(io::ErrorKind::ConnectionRefused.into()),
            }
        }
        .boxed()
    }
}

/// One request as a subscriber gets it.
#[derive(Debug)]
pub(super) struct Post {
    pub(super) head: String,
    pub(super) batch: Vec<Value>,
}

/// Reads one request; `None` at the end of the connection.
pub(super) async fn read_post(io: &mut (impl AsyncRead + Unpin)) -> Option<Post> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break at;
        }
        (io.read_buf(&mut bytes).await.ok()? > 0).then_some(())?;
    };
    let head = String::from_utf8(bytes[..end].to_vec()).expect("text");
    let length = head
        .lines()
        .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok())
        .expect("a length");
    let mut body = bytes.split_off(end + 4);
    while body.len() < length {
        (io.read_buf(&mut body).await.ok()? > 0).then_some(())?;
    }
    assert_eq!(body.len(), length, "nothing follows the batch");
    Some(Post { head, batch: serde_json::from_slice(&body).expect("a JSON array") })
}

pub(super) async fn answer(io: &mut (impl AsyncWrite + Unpin), text: &str) {
    // A platform that has gone away does not read.
    let _ = io.write_all(text.as_bytes()).await;
    let _ = io.shutdown().await;
}

pub(super) const GOOD: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK";

/// What a subscriber does with its connections; the number counts them from 0.
pub(super) type Manner = Arc<dyn Fn(usize, TcpStream) -> BoxFuture<'static, ()> + Send + Sync>;

/// A subscriber on the machine's loopback. Its port, until the task is dropped or aborted.
pub(super) async fn listen(rt: &Rt, manner: Manner) -> (u16, Task<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let serving = rt.clone();
    let task = rt.spawn("test subscriber", TaskKind::Request, async move {
        for number in 0.. {
            let Ok((stream, _)) = listener.accept().await else { return };
            serving.spawn("test connection", TaskKind::Request, manner(number, stream)).detach();
        }
    });
    (port, task)
}

/// A subscriber that takes everything, and what it has taken.
pub(super) fn taking() -> (Manner, mpsc::UnboundedReceiver<Post>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let manner: Manner = Arc::new(move |_, mut stream| {
        let sender = sender.clone();
        async move {
            if let Some(post) = read_post(&mut stream).await {
                answer(&mut stream, GOOD).await;
                let _ = sender.send(post);
            }
        }
        .boxed()
    });
    (manner, receiver)
}

pub(super) fn body(port: u16, types: &[&str]) -> Vec<u8> {
    json!({
        "schemaVersion": "2022-12-13",
        "types": types,
        "buffering": {"timeoutMs": 100, "maxItems": 1000},
        "destination": {"protocol": "HTTP", "URI": format!("http://sandbox.localdomain:{port}/path")},
    })
    .to_string()
    .into_bytes()
}

pub(super) fn tcp_body(port: u16, types: &[&str]) -> Vec<u8> {
    json!({
        "schemaVersion": "2025-01-29",
        "types": types,
        "buffering": {"timeoutMs": 100},
        "destination": {"protocol": "TCP", "port": port},
    })
    .to_string()
    .into_bytes()
}

impl Hub {
    /// Subscribes as the recorder does: what is told of it happens.
    pub(super) fn join(&self, api: Api, extension: &str, body: &[u8]) -> Answer {
        let (answer, told) = self.subscribe(api, extension, body);
        if let Some(record) = told {
            self.tell(record);
        }
        answer
    }

    pub(super) fn tell(&self, record: PlatformRecord) {
        self.platform(&PlatformEvent { time: self.rt.now(), record });
    }

    pub(super) fn tell_start(&self, request_id: &str) {
        self.tell(PlatformRecord::Start(Start {
            request_id: request_id.to_owned(),
            function_arn: "arn".into(),
            version: "1".into(),
            tracing: None,
            tenant_id: None,
        }));
    }

    pub(super) fn tell_end(&self, request_id: &str) {
        self.tell(PlatformRecord::End(End { request_id: request_id.to_owned() }));
    }
}

/// Type and gist of each event.
pub(super) fn outline(batch: &[Value]) -> Vec<String> {
    let gist = |event: &Value| {
        let record = &event["record"];
        let word = ["requestId", "state", "droppedRecords"].iter().find_map(|name| {
            let member = record.get(name)?;
            Some(member.as_str().map_or_else(|| member.to_string(), str::to_owned))
        });
        let word = word.or_else(|| Some(record.as_str()?.trim_end().to_owned()));
        let kind = event["type"].as_str().unwrap();
        format!("{} {}", kind.trim_start_matches("platform."), word.unwrap_or_default())
    };
    batch.iter().map(gist).collect()
}
