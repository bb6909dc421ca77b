//! Drives operations the way the front does, and checks the examples in their headers.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use lambic_front::{BoxFuture, Call, InternalCall, Origin, Principal, ReplyContent, Service};
use lambic_rt::Rt;
use lambic_store::{Store, Transaction};
use lambic_wire::{Body, Error, Request};
use serde_json::{Value, json};

use crate::code::testing::{Item, zip_of};
use crate::invoke::streamed::{End, Part, StreamedAnswer};
use crate::invoke::templates::SnapshotFault;
use crate::invoke::{Answer, Invocation, Provision};
use crate::service::{ControlConfig, Lambda, Runner};
use crate::state::function::FunctionRecord;
use crate::state::mapping;
use crate::state::runtime_id::AllowRetired;
use crate::state::version::Version;
use crate::tasks::{mappings, provision, settle, snapshots};

const ENDPOINT: &str = "http://127.0.0.1:4566";

/// Answers every event with itself; `{"fail": …}` fails, `{"trace": …}` answers the trace header.
#[derive(Default)]
pub(crate) struct Echo {
    provisioned: std::sync::Mutex<std::collections::HashMap<u64, u32>>,
    no_snapshots: bool,
}

impl Runner for Echo {
    fn invoke<'a>(
        &'a self,
        version: Arc<Version>,
        invocation: Invocation,
    ) -> BoxFuture<'a, Result<Answer, Error>> {
        let fails = invocation.payload.starts_with(br#"{"fail""#);
        let payload = match invocation.payload.starts_with(br#"{"trace""#) {
            true => Bytes::from(json!(invocation.trace_id).to_string()),
            false => invocation.payload,
        };
        Box::pin(async move {
            Ok(Answer {
                payload,
                function_error: fails.then_some("Unhandled"),
                log_tail: invocation.log_tail.then(|| b"log".to_vec()),
                executed_version: version.version.clone(),
            })
        })
    }

    fn invoke_streamed<'a>(
        &'a self,
        version: Arc<Version>,
        invocation: Invocation,
    ) -> BoxFuture<'a, Result<StreamedAnswer, Error>> {
        Box::pin(async move {
            let answer = self.invoke(version, invocation).await?;
            let mut end = End { log_tail: answer.log_tail, ..End::default() };
            let piece = match answer.function_error {
                None => Some(Part::Piece(answer.payload)),
                Some(code) => {
                    end.error_code = Some(code.to_owned());
                    end.error_details = Some(String::from_utf8(answer.payload.to_vec()).unwrap());
                    None
                }
            };
            let parts = piece.into_iter().chain([Part::End(end)]);
            Ok(StreamedAnswer::of(&answer.executed_version, parts))
        })
    }

    fn follow(&self, _: &str, _: Option<&FunctionRecord>) {}

    fn has_snapshots(&self) -> bool {
        !self.no_snapshots
    }

    /// A function that has a variable `FAILS` cannot be initialized.
    fn take_snapshot<'a>(
        &'a self,
        version: &'a Arc<Version>,
    ) -> BoxFuture<'a, Result<(), SnapshotFault>> {
        let fails = version.environment.iter().any(|(name, _)| name == "FAILS");
        let failed = || Err(SnapshotFault::of_function());
        Box::pin(async move { if fails { failed() } else { Ok(()) } })
    }

    fn provision(&self, version: &Arc<Version>, count: u32) {
        self.provisioned.lock().unwrap().insert(version.generation, count);
    }

    /// All there at once.
    fn provisioned(&self, version: &Arc<Version>) -> Provision {
        let available = self.provisioned.lock().unwrap().get(&version.generation).copied();
        Provision { available: available.unwrap_or(0), fails: false }
    }
}

/// The service with nothing around it.
pub(crate) struct Harness {
    pub(crate) lambda: Arc<Lambda>,
    rt: Rt,
    region: String,
}

/// An answer, whether it was an error or not.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    headers: Vec<(HeaderName, HeaderValue)>,
    pub(crate) body: Bytes,
}

impl Reply {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(have, _)| have.as_str() == name);
        found.map(|(_, value)| value.to_str().unwrap())
    }

    /// The messages of an event stream: what kind of event, and its payload.
    pub(crate) fn events(&self) -> Vec<(String, Vec<u8>)> {
        let mut events = Vec::new();
        let mut rest = &self.body[..];
        while !rest.is_empty() {
            let number = |at: usize| u32::from_be_bytes(rest[at..at + 4].try_into().unwrap());
            let (total, headers) = (number(0) as usize, number(4) as usize);
            let name = b"\x0b:event-type\x07\0";
            let at = rest.windows(name.len()).position(|window| window == name).unwrap();
            let value = at + name.len() + 1;
            let kind = &rest[value..value + usize::from(rest[value - 1])];
            let kind = String::from_utf8(kind.to_vec()).unwrap();
            events.push((kind, rest[12 + headers..total - 4].to_vec()));
            rest = &rest[total..];
        }
        events
    }

    /// The error's code.
    pub(crate) fn code(&self) -> String {
        self.header("x-amzn-errortype").unwrap_or_default().to_owned()
    }

    /// The error's text.
    pub(crate) fn message(&self) -> String {
        let body = self.json();
        let message = body.get("message").or(body.get("Message"));
        message.unwrap().as_str().unwrap().to_owned()
    }
}

/// The package of every test's function.
pub(crate) fn zip() -> Vec<u8> {
    zip_of(&[Item::file("main.py", b"def handler(event, context): return event")])
}

/// [`zip`] as it is sent.
pub(crate) fn zip_base64() -> String {
    STANDARD.encode(zip())
}

/// Another package as it is sent.
pub(crate) fn other_zip() -> String {
    STANDARD.encode(zip_of(&[Item::file("main.py", b"handler = print")]))
}

impl Harness {
    pub(crate) async fn new() -> Harness {
        Harness::with(|_| {}).await
    }

    /// With a function `hello`, and nothing that is acknowledged comes into force during the test.
    pub(crate) async fn slow_to_settle() -> Harness {
        let slowly =
            |config: &mut ControlConfig| config.settle_after = Duration::from_secs(1_000_000);
        let harness = Harness::with(slowly).await;
        let reply = harness.post("/2015-03-31/functions", &Harness::creation("hello")).await;
        assert_eq!(reply.status, 201, "{reply:?}");
        harness
    }

    /// Configured as the tests want it; `change` may change that.
    pub(crate) async fn with(change: impl FnOnce(&mut ControlConfig)) -> Harness {
        let rt = Rt::real();
        Harness::on(Store::in_memory(rt.clone()).unwrap(), rt, change).await
    }

    /// On a machine that cannot take snapshots.
    pub(crate) async fn without_snapshots() -> Harness {
        let rt = Rt::real();
        let store = Store::in_memory(rt.clone()).unwrap();
        let runner = Arc::new(Echo { no_snapshots: true, ..Echo::default() });
        let config = ControlConfig {
            allow_retired: AllowRetired::new(vec!["python3.13".to_owned()]),
            ..ControlConfig::default()
        };
        Harness::of(Lambda::new(config, rt.clone(), store, runner).await.unwrap(), rt)
    }

    /// On what is stored there.
    pub(crate) async fn on(
        store: Store,
        rt: Rt,
        change: impl FnOnce(&mut ControlConfig),
    ) -> Harness {
        // Everything is due at once and happens when the test says so, and whatever day it is.
        let mut config = ControlConfig {
            settle_after: Duration::ZERO,
            allow_retired: AllowRetired::new(vec!["python3.13".to_owned()]),
            ..ControlConfig::default()
        };
        change(&mut config);
        let lambda =
            Lambda::new(config, rt.clone(), store, Arc::new(Echo::default())).await.unwrap();
        Harness::of(lambda, rt)
    }

    /// Around this service.
    pub(crate) fn of(lambda: Lambda, rt: Rt) -> Harness {
        Harness { lambda: Arc::new(lambda), rt, region: "us-east-1".to_owned() }
    }

    /// With an active function `hello`, tagged `team: blue`.
    pub(crate) async fn with_hello() -> Harness {
        let harness = Harness::new().await;
        harness.create("hello").await;
        harness
    }

    /// With a function `two`, its versions 1 and 2, and an alias `stable` of version 1.
    pub(crate) async fn with_versions() -> Harness {
        let harness = Harness::new().await;
        harness.create("two").await;
        let path = "/2015-03-31/functions/two";
        for timeout in [4, 5] {
            let change = json!({"Timeout": timeout});
            harness.put(&format!("{path}/configuration"), &change).await;
            harness.settle().await;
            let published = harness.post(&format!("{path}/versions"), &json!({})).await;
            assert_eq!(published.status, 201, "{published:?}");
        }
        let alias = json!({"Name": "stable", "FunctionVersion": "1"});
        assert_eq!(harness.post(&format!("{path}/aliases"), &alias).await.status, 201);
        harness
    }

    /// With version 1 of a layer `shared`, for python3.13.
    pub(crate) async fn with_layer() -> Harness {
        let harness = Harness::new().await;
        let body = json!({
            "Content": {"ZipFile": zip_base64()}, "CompatibleRuntimes": ["python3.13"],
        });
        let reply = harness.post("/2018-10-31/layers/shared/versions", &body).await;
        assert_eq!(reply.status, 201, "{reply:?}");
        harness
    }

    /// The ARN of a new code signing configuration with this policy.
    pub(crate) async fn code_signing_config(&self, policy: &str) -> String {
        let profile = "arn:aws:signer:us-east-1:000000000000:/signing-profiles/release/abcdefghij";
        let body = json!({
            "AllowedPublishers": {"SigningProfileVersionArns": [profile]},
            "CodeSigningPolicies": {"UntrustedArtifactOnDeployment": policy},
        });
        let mut reply = self.post("/2020-04-22/code-signing-configs", &body).await.json();
        reply["CodeSigningConfig"]["CodeSigningConfigArn"].take().as_str().unwrap().to_owned()
    }

    pub(crate) fn in_region(&self, region: &str) -> Harness {
        let (lambda, rt) = (self.lambda.clone(), self.rt.clone());
        Harness { lambda, rt, region: region.to_owned() }
    }

    /// Creates a function and waits until it is active.
    pub(crate) async fn create(&self, name: &str) {
        let mut body = Harness::creation(name);
        body["Tags"] = json!({"team": "blue"});
        let reply = self.post("/2015-03-31/functions", &body).await;
        assert_eq!(reply.status, 201, "{reply:?}");
        self.settle().await;
    }

    /// With a mapping of a queue to the function `hello`.
    pub(crate) async fn with_mapping() -> Harness {
        let harness = Harness::with_hello().await;
        let record = mapping::tests::record("11111111-2222-4333-8444-555555555555");
        let mut transaction = Transaction::new();
        transaction.put(&record.key(), &record);
        harness.lambda.store.commit(transaction).await.unwrap();
        harness
    }

    /// Maps a queue to the function `hello`; the answer.
    pub(crate) async fn map_queue(&self, queue: &str) -> Value {
        let arn = format!("arn:aws:sqs:us-east-1:000000000000:{queue}");
        let body = json!({"FunctionName": "hello", "EventSourceArn": arn, "Enabled": false});
        let reply = self.post("/2015-03-31/event-source-mappings", &body).await;
        assert_eq!(reply.status, 202, "{reply:?}");
        reply.json()
    }

    /// A request that creates a function.
    pub(crate) fn creation(name: &str) -> Value {
        json!({
            "FunctionName": name, "Runtime": "python3.13", "Handler": "main.handler",
            "Role": "arn:aws:iam::000000000000:role/r", "Code": {"ZipFile": zip_base64()},
        })
    }

    pub(crate) async fn settle(&self) {
        settle::settle(&self.lambda.catalog, &self.lambda.store, &self.rt).await.unwrap();
        mappings::remove_deleted(&self.lambda.store, &self.rt).await.unwrap();
    }

    /// Takes the snapshots of published versions.
    pub(crate) async fn take_snapshots(&self) {
        let lambda = &self.lambda;
        snapshots::take_all(&lambda.catalog, &lambda.store, &lambda.runner, &self.rt).await;
    }

    /// Lets what is to be provisioned be it.
    pub(crate) async fn provision(&self) {
        let mut applied = provision::Applied::default();
        applied.apply(&self.lambda.catalog, &*self.lambda.runner).await;
    }

    pub(crate) fn call(&self) -> Call {
        let principal = Arc::new(Principal::root("000000000000"));
        Call::in_process(&self.rt, "lambda", principal, &self.region, ENDPOINT)
    }

    pub(crate) fn request(method: &str, path_and_query: &str, body: &[u8]) -> Request {
        let (path, query) = path_and_query.split_once('?').unwrap_or((path_and_query, ""));
        Request {
            method: Method::from_bytes(method.as_bytes()).unwrap(),
            path: path.to_owned(),
            query: query.to_owned(),
            headers: HeaderMap::new(),
            body: Bytes::copy_from_slice(body),
        }
    }

    pub(crate) async fn send(&self, request: Request) -> Reply {
        self.send_as(Principal::root("000000000000"), request).await
    }

    /// As somebody else.
    pub(crate) async fn send_as(&self, principal: Principal, request: Request) -> Reply {
        let call = Call { principal: Arc::new(principal), ..self.call() };
        self.send_call(&call, request).await
    }

    async fn send_call(&self, call: &Call, request: Request) -> Reply {
        let response = match self.lambda.handle(call, request).await {
            Ok(response) => response,
            Err(error) => error.to_response(),
        };
        let body = match response.body {
            Body::Whole(bytes) => bytes,
            Body::Pieces(mut pieces) => {
                let mut all = Vec::new();
                while let Some(piece) = poll_fn(|context| pieces.poll_piece(context)).await {
                    all.extend_from_slice(&piece);
                }
                Bytes::from(all)
            }
        };
        Reply { status: response.status, headers: response.headers, body }
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.send(Harness::request("GET", path, b"")).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Reply {
        self.send(Harness::request("DELETE", path, b"")).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Reply {
        self.send(Harness::request("POST", path, body.to_string().as_bytes())).await
    }

    pub(crate) async fn put(&self, path: &str, body: &Value) -> Reply {
        self.send(Harness::request("PUT", path, body.to_string().as_bytes())).await
    }

    pub(crate) async fn invoke(
        &self,
        path: &str,
        body: &[u8],
        headers: &[(&'static str, &str)],
    ) -> Reply {
        let mut request = Harness::request("POST", path, body);
        for (name, value) in headers {
            request.headers.insert(*name, HeaderValue::from_str(value).unwrap());
        }
        self.send(request).await
    }

    /// Invokes a function with a trace header of the caller.
    pub(crate) async fn invoke_traced(&self, name: &str, header: &str) -> Reply {
        let mut call = self.call();
        call.trace_header = Some(header.to_owned());
        let path = format!("/2015-03-31/functions/{name}/invocations");
        self.send_call(&call, Harness::request("POST", &path, b"{}")).await
    }

    /// Follows a link that GetFunction gave.
    pub(crate) async fn download(&self, link: &str) -> Vec<u8> {
        let path = link.strip_prefix(ENDPOINT).unwrap();
        let call = InternalCall {
            request_id: self.rt.uuid(),
            endpoint: ENDPOINT.to_owned(),
            origin: Origin::Process,
            rt: self.rt.clone(),
        };
        let route = self.lambda.code_route();
        let reply = route.handle(&call, Harness::request("GET", path, b"")).await.unwrap();
        assert_eq!(reply.status, 200);
        match reply.content {
            ReplyContent::Bytes(bytes) => bytes.to_vec(),
            ReplyContent::Pieces(_) => panic!("a package is a file"),
            ReplyContent::File { mut file, length } => {
                let mut bytes = Vec::new();
                std::io::Read::read_to_end(&mut file, &mut bytes).unwrap();
                assert_eq!(bytes.len() as u64, length);
                bytes
            }
        }
    }

    /// Sends the example's request and compares the reply. `<zip>` in the request stands for a
    /// package, `<any>` in the reply for any value; members must be the same ones.
    pub(crate) async fn check(&self, example: &Example) {
        let body = example.request_body.replace("<zip>", &zip_base64());
        let reply =
            self.send(Harness::request(&example.method, &example.path, body.as_bytes())).await;
        assert_eq!(reply.status, example.status, "{reply:?}");
        if example.reply_body.is_empty() {
            assert!(reply.body.is_empty(), "{reply:?}");
            return;
        }
        let expected: Value = serde_json::from_str(&example.reply_body).unwrap();
        compare(&reply.json(), &expected, "");
    }
}

impl Harness {
    /// As [`Harness::check`], for an answer that is an event stream: a line of the example for each
    /// message, `{"PayloadChunk": "text"}` or `{"InvokeComplete": {members}}`.
    pub(crate) async fn check_events(&self, example: &Example) {
        let body = example.request_body.as_bytes();
        let reply = self.send(Harness::request(&example.method, &example.path, body)).await;
        assert_eq!(reply.status, example.status, "{reply:?}");
        let shown = reply.events().into_iter().map(|(kind, payload)| {
            let text = String::from_utf8(payload).unwrap();
            match kind.as_str() {
                "PayloadChunk" => json!({kind: text}),
                _ => json!({kind: serde_json::from_str::<Value>(&text).unwrap()}),
            }
        });
        let lines = example.reply_body.lines().map(|line| serde_json::from_str(line).unwrap());
        assert_eq!(shown.collect::<Vec<Value>>(), lines.collect::<Vec<Value>>());
    }
}

/// One request and its reply, as an operation's header shows them.
#[derive(Debug)]
pub(crate) struct Example {
    method: String,
    path: String,
    request_body: String,
    status: u16,
    reply_body: String,
}

/// The example in the header of an operation's file.
pub(crate) fn documented(source: &str) -> Example {
    let header: Vec<&str> = source
        .lines()
        .map_while(|line| line.strip_prefix("//!"))
        .map(|line| line.strip_prefix(' ').unwrap_or(line))
        .collect();
    let header = header.join("\n");
    let block = header.split("```text\n").nth(1).unwrap().split("\n```").next().unwrap();
    let (request, reply) = block.split_once("\n\n").unwrap();
    let (line, request_body) = request.split_once('\n').unwrap_or((request, ""));
    let (method, path) = line.split_once(' ').unwrap();
    let (status, reply_body) = reply.split_once('\n').unwrap_or((reply, ""));
    Example {
        method: method.to_owned(),
        path: path.to_owned(),
        request_body: request_body.to_owned(),
        status: status.parse().unwrap(),
        reply_body: reply_body.to_owned(),
    }
}

fn compare(got: &Value, expected: &Value, at: &str) {
    match (got, expected) {
        (_, Value::String(any)) if any == "<any>" => {}
        (Value::Object(got), Value::Object(expected)) => {
            let names = |object: &serde_json::Map<String, Value>| {
                let mut names: Vec<String> = object.keys().cloned().collect();
                names.sort();
                names
            };
            assert_eq!(names(got), names(expected), "members at {at}/");
            for (name, value) in expected {
                compare(&got[name], value, &format!("{at}/{name}"));
            }
        }
        (Value::Array(got), Value::Array(expected)) => {
            assert_eq!(got.len(), expected.len(), "length at {at}");
            for (index, value) in expected.iter().enumerate() {
                compare(&got[index], value, &format!("{at}/{index}"));
            }
        }
        _ => assert_eq!(got, expected, "at {at}"),
    }
}
