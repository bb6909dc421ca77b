//! A front with a small service of its own, and a client that speaks raw HTTP.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use lambic_front::metrics::Metrics;
use lambic_front::{
    AuthMode, BoxFuture, Call, CredentialTable, Cx, Front, FrontConfig, InputOf, InternalCall,
    InternalReply, InternalRoute, Origin, OutputOf, PolicyQuestion, PolicySays, ReplyContent,
    ResourcePolicies, Serve, Service, serve,
};
use lambic_rt::{Rt, TaskKind};
use lambic_wire::event_stream::Pieces;
use lambic_wire::{Arn, Body, Error, Labels, Operation, Request, Response};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::Notify;

use crate::sites::Site;

pub(crate) const BODY_BYTES_MAX: usize = 1_000;
pub(crate) const BIG_BODY_BYTES_MAX: usize = 1_000_000;

/// A service called `fake` whose operations are chosen by path.
#[derive(Default)]
pub(crate) struct Fake {
    /// Lets operations at `/wait` end, and those at `/stream` go on.
    pub(crate) gate: Notify,
    pub(crate) begun: AtomicUsize,
    pub(crate) ended: AtomicUsize,
    /// Told whenever an operation at `/wait` has begun.
    pub(crate) begun_signal: Notify,
    /// Told whenever an operation at `/wait` or `/stream` has ended.
    pub(crate) ended_signal: Notify,
    me: OnceLock<Weak<Fake>>,
}

impl ResourcePolicies for Fake {
    /// What is called `open` lets everybody in, what is called `closed` nobody.
    fn policy_says(&self, question: &PolicyQuestion<'_>) -> PolicySays {
        match question.resource.resource.as_str() {
            "open" => PolicySays::Allow,
            "closed" => PolicySays::Deny,
            _ => PolicySays::Nothing,
        }
    }
}

/// Any request is an input, any JSON an output.
struct Raw<const KIND: u8>;

macro_rules! raw_operation {
    ($kind:literal, $name:literal) => {
        impl Operation for Raw<$kind> {
            const NAME: &'static str = $name;
            type Input = Request;
            type Output = Value;

            fn decode(request: &Request, _: &Labels) -> Result<Request, Error> {
                if request.query == "bad" {
                    return Err(Error::validation(vec!["bad query".to_owned()]));
                }
                Ok(request.clone())
            }

            fn encode(output: Value) -> Result<Response, Error> {
                Ok(Response::json(200, Bytes::from(output.to_string())))
            }
        }
    };
}

raw_operation!(0, "GetEcho");
raw_operation!(1, "Wait");
raw_operation!(2, "Panic");
raw_operation!(3, "GetForeign");

struct Echo;

impl Serve for Echo {
    type Service = Fake;
    type Operation = Raw<0>;

    fn resource(cx: &Cx<'_, Fake>, _: &InputOf<Self>) -> Arn {
        Arn::new("fake", cx.region, cx.account, "echo")
    }

    async fn run(cx: &Cx<'_, Fake>, input: InputOf<Self>) -> Result<OutputOf<Self>, Error> {
        Ok(json!({
            "account": cx.account, "region": cx.region, "principal": cx.principal.arn,
            "endpoint": cx.endpoint, "trace": cx.trace_header, "request_id": cx.request_id, "bytes": input.body.len(),
            "body": String::from_utf8_lossy(&input.body), "query": input.query,
        }))
    }
}

struct Wait;

impl Serve for Wait {
    type Service = Fake;
    type Operation = Raw<1>;

    fn resource(cx: &Cx<'_, Fake>, _: &InputOf<Self>) -> Arn {
        Arn::new("fake", cx.region, cx.account, "wait")
    }

    async fn run(cx: &Cx<'_, Fake>, _: InputOf<Self>) -> Result<OutputOf<Self>, Error> {
        cx.service.begun.fetch_add(1, Ordering::SeqCst);
        cx.service.begun_signal.notify_one();
        cx.service.gate.notified().await;
        cx.service.ended.fetch_add(1, Ordering::SeqCst);
        cx.service.ended_signal.notify_one();
        Ok(json!("waited"))
    }
}

struct Panic;

impl Serve for Panic {
    type Service = Fake;
    type Operation = Raw<2>;

    fn resource(cx: &Cx<'_, Fake>, _: &InputOf<Self>) -> Arn {
        Arn::new("fake", cx.region, cx.account, "panic")
    }

    async fn run(_: &Cx<'_, Fake>, _: InputOf<Self>) -> Result<OutputOf<Self>, Error> {
        panic!("asked to")
    }
}

/// Answers in pieces, as many as the body has bytes: the next one whenever the gate is opened, or all
/// at once with the query `open`.
struct Stream;

struct Gated {
    fake: Arc<Fake>,
    left: Vec<u8>,
    is_open: bool,
    opening: Option<BoxFuture<'static, ()>>,
}

impl Pieces for Gated {
    fn poll_piece(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if self.left.is_empty() {
            self.fake.ended.fetch_add(1, Ordering::SeqCst);
            self.fake.ended_signal.notify_one();
            return Poll::Ready(None);
        }
        if !self.is_open {
            let fake = self.fake.clone();
            let opened = async move { fake.gate.notified().await };
            let opening = self.opening.get_or_insert_with(|| Box::pin(opened));
            ready!(opening.as_mut().poll(context));
            self.opening = None;
        }
        let byte = self.left.remove(0);
        Poll::Ready(Some(Bytes::from(vec![byte; 20_000])))
    }
}

impl Operation for Stream {
    const NAME: &'static str = "Stream";
    type Input = Request;
    type Output = Gated;

    fn decode(request: &Request, _: &Labels) -> Result<Request, Error> {
        Ok(request.clone())
    }

    fn encode(gated: Gated) -> Result<Response, Error> {
        let mut response = Response::empty(200);
        response.body = Body::Pieces(Box::new(gated));
        Ok(response)
    }
}

struct Streams;

impl Serve for Streams {
    type Service = Arc<Fake>;
    type Operation = Stream;

    fn resource(cx: &Cx<'_, Arc<Fake>>, _: &InputOf<Self>) -> Arn {
        Arn::new("fake", cx.region, cx.account, "stream")
    }

    async fn run(cx: &Cx<'_, Arc<Fake>>, input: InputOf<Self>) -> Result<OutputOf<Self>, Error> {
        let is_open = input.query == "open";
        let left = input.body.to_vec();
        Ok(Gated { fake: cx.service.clone(), left, is_open, opening: None })
    }
}

struct Foreign;

impl Serve for Foreign {
    type Service = Fake;
    type Operation = Raw<3>;
    const ACTION: &'static str = "GetForeignThing";

    fn resource(cx: &Cx<'_, Fake>, input: &InputOf<Self>) -> Arn {
        let (account, name) = input.query.split_once('=').unwrap_or(("999999999999", "foreign"));
        Arn::new("fake", cx.region, account, name)
    }

    async fn run(_: &Cx<'_, Fake>, _: InputOf<Self>) -> Result<OutputOf<Self>, Error> {
        Ok(json!("let in"))
    }
}

impl Service for Fake {
    fn signing_name(&self) -> &'static str {
        "fake"
    }

    fn body_bytes_max(&self, _: &http::Method, path: &str) -> usize {
        if path == "/big" { BIG_BODY_BYTES_MAX } else { BODY_BYTES_MAX }
    }

    fn operation_name(&self, _: &http::Method, path: &str, _: &str) -> Option<&str> {
        (path == "/echo").then_some("GetEcho")
    }

    fn owns_path(&self, _: &http::Method, path: &str) -> bool {
        path != "/nobody"
    }

    fn handle<'a>(
        &'a self,
        call: &'a Call,
        request: Request,
    ) -> BoxFuture<'a, Result<Response, Error>> {
        Box::pin(async move {
            let cx = call.cx(self);
            match request.path.as_str() {
                "/echo" | "/big" => serve::<Echo>(&cx, request, Labels::new()).await,
                "/wait" => serve::<Wait>(&cx, request, Labels::new()).await,
                "/panic" => serve::<Panic>(&cx, request, Labels::new()).await,
                "/foreign" => serve::<Foreign>(&cx, request, Labels::new()).await,
                "/stream" => {
                    let this = self.me.get().and_then(Weak::upgrade).expect("a whole world");
                    serve::<Streams>(&call.cx(&this), request, Labels::new()).await
                }
                "/empty" => Ok(Response::empty(204)),
                "/large" => Ok(Response::json(200, Bytes::from(vec![b'x'; 3_000_000]))),
                _ => Err(Error::new("UnknownOperationException", 404, "")),
            }
        })
    }
}

/// Sends the bytes of one file.
pub(crate) struct Download {
    pub(crate) content: Vec<u8>,
    /// What is promised; more than there is breaks the connection off.
    pub(crate) length: u64,
}

impl InternalRoute for Download {
    fn prefix(&self) -> &'static str {
        "/_lambic/code/"
    }

    fn handle<'a>(
        &'a self,
        _: &'a InternalCall,
        _: Request,
    ) -> BoxFuture<'a, Result<InternalReply, Error>> {
        Box::pin(async move {
            use std::io::{Seek, Write};
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(&self.content).unwrap();
            file.rewind().unwrap();
            let zip = http::HeaderValue::from_static("application/zip");
            Ok(InternalReply {
                status: 200,
                headers: vec![(http::header::CONTENT_TYPE, zip)],
                content: ReplyContent::File { file, length: self.length },
            })
        })
    }
}

pub(crate) struct World {
    pub(crate) rt: Rt,
    pub(crate) front: Arc<Front>,
    pub(crate) fake: Arc<Fake>,
    pub(crate) credentials: Arc<CredentialTable>,
}

pub(crate) fn loopback() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 4_566))
}

pub(crate) fn development() -> FrontConfig {
    config(AuthMode::development(loopback()).unwrap())
}

pub(crate) fn required() -> FrontConfig {
    config(AuthMode::Required)
}

fn config(auth: AuthMode) -> FrontConfig {
    let mut config = FrontConfig::new(auth);
    config.metrics = Metrics::new();
    config
}

impl World {
    pub(crate) fn new(config: FrontConfig) -> World {
        let content: Vec<u8> = (0..700_000_u32).map(|number| number as u8).collect();
        let length = content.len() as u64;
        World::with_download(config, Download { content, length })
    }

    pub(crate) fn with_download(config: FrontConfig, download: Download) -> World {
        let rt = Rt::simulated(7);
        let fake = Arc::new(Fake::default());
        fake.me.set(Arc::downgrade(&fake)).expect("set once");
        let credentials = Arc::new(CredentialTable::new());
        let front = Front::new(
            config,
            rt.clone(),
            credentials.clone(),
            vec![fake.clone()],
            vec![Arc::new(download)],
            vec![Arc::new(Site)],
        );
        World { rt, front, fake, credentials }
    }

    pub(crate) fn connect(&self) -> Client {
        self.connect_from(Origin::Remote(loopback()))
    }

    pub(crate) fn connect_from(&self, origin: Origin) -> Client {
        let (ours, theirs) = tokio::io::duplex(64 * 1_024);
        let front = self.front.clone();
        let connection = async move { front.serve_connection(theirs, origin).await };
        self.rt.spawn("connection", TaskKind::Request, connection).detach();
        Client { stream: ours, buffer: Vec::new() }
    }

    /// One request on a connection of its own.
    pub(crate) async fn ask(&self, request: &str) -> Reply {
        let mut client = self.connect();
        client.send(request).await;
        client.reply().await
    }
}

#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(have, _)| have == name);
        found.map(|(_, value)| value.as_str())
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// Status, code, and message under either spelling.
    pub(crate) fn error(&self) -> (u16, &str, String) {
        let json = self.json();
        let message = json.get("message").or_else(|| json.get("Message")).unwrap();
        let code = self.header("x-amzn-errortype").unwrap();
        (self.status, code, message.as_str().unwrap().to_owned())
    }
}

pub(crate) struct Client {
    pub(crate) stream: DuplexStream,
    buffer: Vec<u8>,
}

impl Client {
    pub(crate) async fn send(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).await.unwrap();
    }

    /// The next answer, without a body's bytes if `head` was asked.
    pub(crate) async fn reply(&mut self) -> Reply {
        self.reply_to(false).await
    }

    pub(crate) async fn reply_to(&mut self, head: bool) -> Reply {
        let end = loop {
            if let Some(at) = self.buffer.windows(4).position(|four| four == b"\r\n\r\n") {
                break at;
            }
            assert_ne!(self.more().await, 0, "closed before an answer: {:?}", self.text());
        };
        let text = String::from_utf8(self.buffer[..end].to_vec()).unwrap();
        self.buffer.drain(..end + 4);
        let mut lines = text.split("\r\n");
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers: Vec<(String, String)> = lines
            .map(|line| line.split_once(": ").unwrap())
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        let mut reply = Reply { status, headers, body: Vec::new() };
        let length = reply.header("content-length").map_or(0, |text| text.parse().unwrap());
        let length = if head || status == 100 { 0 } else { length };
        while self.buffer.len() < length {
            assert_ne!(self.more().await, 0, "closed within a body");
        }
        reply.body = self.buffer.drain(..length).collect();
        reply
    }

    /// The head of an answer whose body comes in chunks.
    pub(crate) async fn head_of_chunks(&mut self) -> String {
        let end = loop {
            if let Some(at) = self.buffer.windows(4).position(|four| four == b"\r\n\r\n") {
                break at;
            }
            assert_ne!(self.more().await, 0, "closed before an answer: {:?}", self.text());
        };
        let head = String::from_utf8(self.buffer.drain(..end + 4).collect()).unwrap();
        assert!(head.to_ascii_lowercase().contains("transfer-encoding: chunked\r\n"), "{head}");
        head
    }

    /// The next chunk of such a body; empty at its end.
    pub(crate) async fn chunk(&mut self) -> Vec<u8> {
        let end = loop {
            if let Some(at) = self.buffer.windows(2).position(|two| two == b"\r\n") {
                break at;
            }
            assert_ne!(self.more().await, 0, "closed within a body");
        };
        let size = String::from_utf8(self.buffer.drain(..end + 2).take(end).collect()).unwrap();
        let size = usize::from_str_radix(&size, 16).unwrap();
        while self.buffer.len() < size + 2 {
            assert_ne!(self.more().await, 0, "closed within a chunk");
        }
        let chunk = self.buffer.drain(..size).collect();
        self.buffer.drain(..2);
        chunk
    }

    async fn more(&mut self) -> usize {
        self.stream.read_buf(&mut self.buffer).await.unwrap_or(0)
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.buffer).into_owned()
    }

    /// Waits for the other side to close; what still came.
    pub(crate) async fn closed(&mut self) -> Vec<u8> {
        while self.more().await != 0 {}
        std::mem::take(&mut self.buffer)
    }
}
