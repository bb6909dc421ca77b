//! The Runtime API as a runtime sees it: real HTTP over a pair of streams.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use lambic_rt::{Instant, Rt, TaskKind};
use tokio::io::{AsyncWriteExt, DuplexStream};
use tokio::sync::oneshot;

use super::connection::{self, CONNECTIONS_MAX, HEAD_BYTES_MAX};
use super::desk::{Completion, Desk, Event, Finished, NotIdle, Outcome, Owner, Work};
use super::extensions::About;
use super::life::Life;
use super::restore::SnapStart;
use super::stream::Sink;
use super::testing::Client;
use crate::invoke::fault::{Exit, Fault, RESPONSE_BYTES_MAX};
use crate::telemetry::{self, Api};

/// What the desk told its owner.
#[derive(Clone, Default)]
pub(super) struct Told {
    words: Arc<Mutex<Vec<String>>>,
    outcomes: Arc<Mutex<Vec<Outcome>>>,
}

impl Told {
    fn add(&self, text: String) {
        self.words.lock().unwrap().push(text);
    }

    pub(super) fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.words.lock().unwrap())
    }

    /// What was to be recorded so far.
    pub(super) fn outcomes(&self) -> Vec<Outcome> {
        self.outcomes.lock().unwrap().clone()
    }
}

impl Owner for Told {
    fn registered(&self) {
        self.add("registered".into());
    }

    fn runtime_done(&self, outcome: &Outcome) {
        self.add(format!("done {}", outcome.request_id));
    }

    fn runtime_started(&self) {
        self.add("started".into());
    }

    fn ready(&self) {
        self.add("ready".into());
    }

    fn imported(&self, modules: &str) {
        self.add(format!("imported {modules}"));
    }

    fn is_template(&self) {
        self.add("template".into());
    }

    fn restoring(&self) {
        self.add("restoring".into());
    }

    fn restore_failed(&self, body: Bytes, error_type: String) {
        self.add(format!("restore failed {error_type} {}", String::from_utf8_lossy(&body)));
    }

    fn init_failed(&self, body: Bytes, error_type: String) {
        self.add(format!("init failed {error_type} {}", String::from_utf8_lossy(&body)));
    }

    fn responded(&self, _until: Instant) {
        self.add("responded".into());
    }

    fn subscribe(&self, api: Api, extension: &str, body: &[u8]) -> telemetry::Answer {
        self.add(format!("subscribe {api:?} {extension} {}", String::from_utf8_lossy(body)));
        telemetry::Answer { status: http::StatusCode::OK, body: Bytes::from_static(b"\"OK\"") }
    }

    fn record(&self, outcome: &Outcome, wants_tail: bool) -> Option<Vec<u8>> {
        self.outcomes.lock().unwrap().push(outcome.clone());
        self.add(format!("record {} error={}", outcome.request_id, outcome.is_error));
        wants_tail.then(|| b"tail".to_vec())
    }
}

pub(super) struct Bench {
    pub(super) rt: Rt,
    pub(super) desk: Arc<Desk>,
    pub(super) told: Told,
}

impl Bench {
    pub(super) fn new() -> Bench {
        Bench::with_extensions(&[])
    }

    /// Of a function with SnapStart.
    pub(super) fn with_snapstart(snapstart: SnapStart) -> Bench {
        let Bench { rt, desk, told } = Bench::new();
        let desk = Arc::into_inner(desk).expect("nobody else has it yet");
        Bench { rt, desk: Arc::new(desk.with_snapstart(snapstart)), told }
    }

    pub(super) fn with_extensions(names: &[&str]) -> Bench {
        let (rt, told) = (Rt::real(), Told::default());
        let about = About {
            function_name: "f".to_owned(),
            function_version: "$LATEST".to_owned(),
            handler: "a.b".to_owned(),
            account_id: Some("111122223333".to_owned()),
        };
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        let desk = Arc::new(Desk::new(Box::new(told.clone()), rt.clone(), about, names));
        Bench { rt, desk, told }
    }

    pub(super) fn connect(&self) -> Client<DuplexStream> {
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        let served = connection::serve(Box::pin(theirs), self.desk.clone());
        self.rt.spawn("test connection", TaskKind::Request, served).detach();
        Client::new(ours)
    }

    /// The stream that our own clients have.
    pub(super) fn inherit(&self) -> Client<DuplexStream> {
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        let served = connection::serve_inherited(Box::pin(theirs), self.desk.clone());
        self.rt.spawn("test connection", TaskKind::Request, served).detach();
        Client::new(ours)
    }

    pub(super) fn hand_out(&self, id: &str) -> Result<oneshot::Receiver<Finished>, NotIdle> {
        self.hand_out_with(id, false, None)
    }

    pub(super) fn hand_out_with(
        &self,
        id: &str,
        wants_tail: bool,
        sink: Option<Sink>,
    ) -> Result<oneshot::Receiver<Finished>, NotIdle> {
        let work = Work {
            event: Event {
                request_id: id.to_owned(),
                deadline_ms: 1_767_225_603_000,
                invoked_arn: "arn:aws:lambda:eu-central-1:000000000000:function:f".to_owned(),
                trace_id: "Root=1-5759e988-bd862e3fe1be46a994272793;Sampled=0".to_owned(),
                client_context: Some(r#"{"custom":{"a":"ä"}}"#.to_owned()),
                tenant_id: Some("blue".to_owned()),
                payload: Bytes::from_static(br#"{"n":1}"#),
            },
            timeout: Duration::from_secs(3),
            since: self.rt.instant(),
            init: None,
            wants_tail,
            segment: None,
            sink,
        };
        self.desk.hand_out(work, |id| self.told.add(format!("begins {id}")))
    }

    /// A runtime that waits for its first event.
    pub(super) async fn waiting(&self) -> Client<DuplexStream> {
        let mut client = self.connect();
        client.send(b"GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\nHost: x\r\n\r\n").await;
        self.until(Life::Idle).await;
        client
    }

    pub(super) async fn until(&self, life: Life) {
        let reached = async {
            while self.desk.life() != life {
                tokio::task::yield_now().await;
            }
        };
        let reached = self.rt.within(Duration::from_secs(10), reached).await;
        assert!(reached.is_some(), "{:?} instead of {life:?}", self.desk.life());
    }

    /// A runtime that has an event with id `a`.
    pub(super) async fn running(&self) -> (Client<DuplexStream>, oneshot::Receiver<Finished>) {
        let mut client = self.waiting().await;
        let receiver = self.hand_out("a").unwrap();
        assert_eq!(client.try_reply().await.unwrap().request_id(), "a");
        (client, receiver)
    }
}

#[tokio::test]
async fn an_event_goes_out_with_its_headers_and_the_response_comes_back() {
    let bench = Bench::new();
    let mut client = bench.waiting().await;
    let receiver = bench.hand_out("a").unwrap();
    let event = client.try_reply().await.unwrap();
    assert_eq!((event.status, event.text()), (200, r#"{"n":1}"#));
    let expected = [
        ("content-type", "application/json"),
        ("lambda-runtime-aws-request-id", "a"),
        ("lambda-runtime-deadline-ms", "1767225603000"),
        (
            "lambda-runtime-invoked-function-arn",
            "arn:aws:lambda:eu-central-1:000000000000:function:f",
        ),
        ("lambda-runtime-trace-id", "Root=1-5759e988-bd862e3fe1be46a994272793;Sampled=0"),
        ("lambda-runtime-client-context", r#"{"custom":{"a":"ä"}}"#),
        ("lambda-runtime-aws-tenant-id", "blue"),
    ];
    for (name, value) in expected {
        assert_eq!(event.header(name), Some(value), "{name}");
    }
    assert_eq!(event.header("lambda-runtime-cognito-identity"), None);
    let accepted = client.respond("a", b"\"done\"").await;
    assert_eq!((accepted.status, accepted.text()), (202, "{\"status\":\"OK\"}\n"));
    let finished = receiver.await.unwrap();
    assert_eq!(finished.completion, Completion::Response(Bytes::from_static(b"\"done\"")));
    assert_eq!(bench.told.take(), ["started", "ready", "begins a", "responded"]);
    client.send(b"GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\nHost: x\r\n\r\n").await;
    bench.until(Life::Idle).await;
    assert_eq!(bench.told.take(), ["done a", "record a error=false", "ready"]);
}

#[tokio::test]
async fn an_error_is_passed_on_and_the_runtime_goes_on() {
    let bench = Bench::new();
    let (mut client, receiver) = bench.running().await;
    let document = br#"{"errorMessage":"m","errorType":"T","stackTrace":[]}"#;
    assert_eq!(client.fail("a", document).await.status, 202);
    let finished = receiver.await.unwrap();
    assert_eq!(finished.completion, Completion::Error(Bytes::from_static(document)));
    client.send(b"GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\nHost: x\r\n\r\n").await;
    bench.until(Life::Idle).await;
    assert!(bench.hand_out("b").is_ok());
}

#[tokio::test]
async fn an_error_without_a_body_keeps_its_type_and_a_cause_is_taken_out() {
    let bench = Bench::new();
    let (mut client, receiver) = bench.running().await;
    let kind = "Lambda-Runtime-Function-Error-Type: Runtime.Odd\r\n";
    client.post_with("invocation/a/error", kind, b"").await;
    let expected = Bytes::from_static(br#"{"errorType":"Runtime.Odd","errorMessage":""}"#);
    assert_eq!(receiver.await.unwrap().completion, Completion::Error(expected));

    let bench = Bench::new();
    let (mut client, receiver) = bench.running().await;
    let kind = "Content-Type: application/vnd.aws.lambda.error.cause+json\r\n";
    let body = br#"{"errorMessage":"m","errorType":"T","errorCause":{"x":1}}"#;
    client.post_with("invocation/a/error", kind, body).await;
    let expected = Bytes::from_static(br#"{"errorMessage":"m","errorType":"T"}"#);
    assert_eq!(receiver.await.unwrap().completion, Completion::Error(expected));
}

#[tokio::test]
async fn what_the_state_does_not_allow_is_refused_in_the_words_of_aws() {
    let bench = Bench::new();
    let mut client = bench.connect();
    let early = client.respond("a", b"1").await;
    assert_eq!((early.status, early.text()), (400, INVALID_ID));
    let (mut client, _receiver) = {
        drop(client);
        bench.running().await
    };
    assert_eq!(client.respond("b", b"1").await.text(), INVALID_ID);
    let late = client.post("init/error", b"{}").await;
    assert_eq!(late.status, 403);
    assert!(late.text().contains("State transition from Running to InitError failed"));
    assert_eq!(client.respond("a", b"1").await.status, 202);
    let twice = client.respond("a", b"2").await;
    assert_eq!(twice.status, 403);
    assert_eq!(
        twice.text(),
        "{\"errorType\":\"InvalidStateTransition\",\"errorMessage\":\"State transition from \
         ResponseSent to InvocationResponse failed for runtime. Error: State transition is not \
         allowed\"}"
    );
    let mode = "Lambda-Runtime-Function-Response-Mode: sideways\r\n";
    let mode = client.post_with("invocation/a/response", mode, b"1").await;
    assert_eq!(mode.status, 400);
    assert!(mode.text().contains("InvalidFunctionResponseMode"));
}

const INVALID_ID: &str =
    "{\"errorType\":\"InvalidRequestID\",\"errorMessage\":\"Invalid request ID\"}";

#[tokio::test]
async fn unknown_routes_and_ping() {
    let bench = Bench::new();
    let mut client = bench.connect();
    for (request, status) in [
        ("GET /2018-06-01/ping", 200),
        ("GET /2018-06-01/runtime/restore/next", 404),
        ("POST /2018-06-01/runtime/restore/error", 404),
        ("POST /2018-06-01/runtime/invocation/next", 405),
        ("GET /2018-06-01/runtime/invocation/a/response", 405),
        ("PUT /2018-06-01/runtime/invocation/a/error", 405),
        ("BREW /2018-06-01/runtime/init/error", 405),
        ("POST /2018-06-01/ping", 405),
        ("GET /2018-06-01/runtime/invocation//next", 404),
        ("GET /", 404),
        ("GET /2018-06-01/runtime/invocation/next/", 404),
    ] {
        client.send(format!("{request} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).await;
        assert_eq!(client.try_reply().await.unwrap().status, status, "{request}");
    }
    assert_eq!(bench.desk.life(), Life::Init);
}

#[tokio::test]
async fn asking_again_gives_the_same_event_and_takes_the_place_of_an_older_question() {
    let bench = Bench::new();
    let mut first = bench.waiting().await;
    let mut second = bench.connect();
    second.send(b"GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert_eq!(first.try_reply().await.unwrap().status, 403);
    let _receiver = bench.hand_out("a").unwrap();
    assert_eq!(second.try_reply().await.unwrap().request_id(), "a");
    assert_eq!(first.next().await.request_id(), "a");
    assert_eq!(bench.told.take(), ["started", "ready", "begins a"]);
}

#[tokio::test]
async fn an_event_for_a_broken_connection_waits_for_the_next_question() {
    let bench = Bench::new();
    drop(bench.waiting().await);
    let receiver = bench.hand_out("a").unwrap();
    let mut client = bench.connect();
    assert_eq!(client.next().await.request_id(), "a");
    client.respond("a", b"7").await;
    let finished = receiver.await.unwrap();
    assert_eq!(finished.completion, Completion::Response(Bytes::from_static(b"7")));
}

#[tokio::test]
async fn only_one_report_of_a_failed_start_is_read_at_a_time() {
    let bench = Bench::new();
    let (mut slow, mut second, mut third) = (bench.connect(), bench.connect(), bench.connect());
    let head = "POST /2018-06-01/runtime/init/error HTTP/1.1\r\nHost: x\r\n\
                Content-Length: 1000\r\n\r\n{";
    slow.send(head.as_bytes()).await;
    // The first connection's request has been taken up once a second one is refused.
    assert_eq!(second.post("init/error", b"{}").await.status, 403);
    // One that breaks off makes room for another.
    drop(slow);
    let until_free = async { while third.post("init/error", b"{}").await.status == 403 {} };
    let limit = std::time::Duration::from_secs(10);
    assert!(lambic_rt::Rt::real().within(limit, until_free).await.is_some());
}

#[tokio::test]
async fn a_start_that_fails_is_told() {
    let bench = Bench::new();
    let mut client = bench.connect();
    let kind = "Lambda-Runtime-Function-Error-Type: Runtime.ImportModuleError\r\n";
    let reply = client.post_with("init/error", kind, br#"{"errorMessage":"no"}"#).await;
    assert_eq!(reply.status, 202);
    assert_eq!(
        bench.told.take(),
        [r#"init failed Runtime.ImportModuleError {"errorMessage":"no"}"#]
    );
    assert_eq!(client.post("init/error", b"{}").await.status, 403);
    assert_eq!(client.next().await.status, 403);
}

#[tokio::test]
async fn six_megabytes_pass_and_one_byte_more_does_not() {
    let bench = Bench::new();
    let (mut client, receiver) = bench.running().await;
    let body = vec![b'x'; RESPONSE_BYTES_MAX];
    assert_eq!(client.respond("a", &body).await.status, 202);
    assert_eq!(receiver.await.unwrap().completion, Completion::Response(Bytes::from(body)));

    let bench = Bench::new();
    let (mut client, receiver) = bench.running().await;
    let bytes = RESPONSE_BYTES_MAX + 1;
    let reply = client.respond("a", &vec![b'x'; bytes]).await;
    assert_eq!(reply.status, 413);
    assert!(reply.text().contains("Exceeded maximum allowed payload size (6291556 bytes)."));
    let fault = Fault::ResponseTooLarge { bytes: bytes as u64 };
    assert_eq!(receiver.await.unwrap().completion, Completion::Fault(fault));
    client.send(b"GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\nHost: x\r\n\r\n").await;
    bench.until(Life::Idle).await;
}

#[tokio::test]
async fn a_streamed_response_is_gathered_and_may_fail_in_its_trailers() {
    let mode = "Lambda-Runtime-Function-Response-Mode: streaming\r\n";
    let bench = Bench::new();
    let (mut client, receiver) = bench.running().await;
    let head = format!(
        "POST /2018-06-01/runtime/invocation/a/response HTTP/1.1\r\nHost: x\r\n{mode}\
         Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    );
    client.send(head.as_bytes()).await;
    assert_eq!(client.try_reply().await.unwrap().status, 202);
    let whole = Completion::Response(Bytes::from_static(b"abcde"));
    assert_eq!(receiver.await.unwrap().completion, whole);

    let bench = Bench::new();
    let (mut client, receiver) = bench.running().await;
    let head = format!(
        "POST /2018-06-01/runtime/invocation/a/response HTTP/1.1\r\nHost: x\r\n{mode}\
         Trailer: Lambda-Runtime-Function-Error-Type, Lambda-Runtime-Function-Error-Body\r\n\
         Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\
         Lambda-Runtime-Function-Error-Type: Oops\r\n\
         Lambda-Runtime-Function-Error-Body: eyJlcnJvclR5cGUiOiJPb3BzIn0=\r\n\r\n"
    );
    client.send(head.as_bytes()).await;
    assert_eq!(client.try_reply().await.unwrap().status, 202);
    let failed = Completion::Error(Bytes::from_static(br#"{"errorType":"Oops"}"#));
    assert_eq!(receiver.await.unwrap().completion, failed);
}

#[tokio::test]
async fn an_answer_that_breaks_off_may_be_repeated() {
    let bench = Bench::new();
    let (mut client, receiver) = bench.running().await;
    client
        .send(
            b"POST /2018-06-01/runtime/invocation/a/response HTTP/1.1\r\nHost: x\r\n\
              Content-Length: 100\r\n\r\nhalf",
        )
        .await;
    bench.until(Life::Answering).await;
    drop(client);
    bench.until(Life::Running).await;
    assert_eq!(bench.connect().respond("a", b"whole").await.status, 202);
    let whole = Completion::Response(Bytes::from_static(b"whole"));
    assert_eq!(receiver.await.unwrap().completion, whole);
}

#[tokio::test]
async fn an_exit_ends_the_invocation_even_in_the_middle_of_its_answer() {
    let exit = Exit { code: Some(3), ..Exit::default() };
    let bench = Bench::new();
    let (_client, receiver) = bench.running().await;
    bench.desk.exited(exit);
    assert_eq!(receiver.await.unwrap().completion, Completion::Fault(Fault::Exited(exit)));
    bench.told.take();
    assert!(bench.hand_out("b").is_err());
    assert!(bench.told.take().is_empty(), "what is not taken has not begun");

    let bench = Bench::new();
    let (mut client, receiver) = bench.running().await;
    client
        .send(
            b"POST /2018-06-01/runtime/invocation/a/response HTTP/1.1\r\nHost: x\r\n\
              Content-Length: 9\r\n\r\n1234",
        )
        .await;
    bench.until(Life::Answering).await;
    bench.desk.exited(exit);
    drop(client);
    assert_eq!(receiver.await.unwrap().completion, Completion::Fault(Fault::Exited(exit)));
}

#[tokio::test]
async fn time_is_up_once_and_a_late_answer_is_refused() {
    let bench = Bench::new();
    let (mut client, _receiver) = bench.running().await;
    let timeout = Duration::from_secs(3);
    let finished = bench.desk.time_out("a", timeout).unwrap();
    assert_eq!(finished.completion, Completion::Fault(Fault::TimedOut { timeout }));
    assert_eq!(bench.desk.time_out("a", timeout), None);
    assert_eq!(client.respond("a", b"1").await.status, 403);
    assert_eq!(
        bench.told.take(),
        ["started", "ready", "begins a", "done a", "record a error=true"]
    );
}

#[tokio::test]
async fn the_tail_comes_with_the_answer_when_it_is_wanted() {
    let bench = Bench::new();
    let mut client = bench.waiting().await;
    let receiver = bench.hand_out_with("a", true, None).unwrap();
    client.try_reply().await.unwrap();
    client.respond("a", b"1").await;
    assert_eq!(receiver.await.unwrap().log_tail, Some(b"tail".to_vec()));
    assert_eq!(
        bench.told.take(),
        ["started", "ready", "begins a", "responded", "done a", "record a error=false"]
    );
}

#[tokio::test]
async fn garbage_and_huge_heads_close_only_their_own_connection() {
    let bench = Bench::new();
    let mut good = bench.waiting().await;
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(1_000));
    let long = format!("GET / HTTP/1.1\r\na: {}", "x".repeat(HEAD_BYTES_MAX));
    for bad in ["\0\0\0\0 nonsense\r\n\r\n", many.as_str(), long.as_str()] {
        let mut client = bench.connect();
        // It may be closed before it has said everything.
        let _ = client.io.write_all(bad.as_bytes()).await;
        let reply = client.try_reply().await;
        assert!(reply.is_none_or(|reply| reply.status >= 400));
    }
    let _half: Vec<_> = (0..CONNECTIONS_MAX).map(|_| bench.connect()).collect();
    let _receiver = bench.hand_out("a").unwrap();
    assert_eq!(good.try_reply().await.unwrap().request_id(), "a");
}
