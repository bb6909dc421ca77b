//! A runtime and the platform on the two ends of a pair of streams in one thread: what an invocation
//! costs at the Runtime API, without the kernel.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use lambic_lambda::runtime_api::connection;
use lambic_lambda::runtime_api::desk::{Desk, Event, Outcome, Owner, Work};
use lambic_lambda::runtime_api::extensions::About;
use lambic_lambda::telemetry::{self, Api};
use lambic_rt::{Instant, Rt, TaskKind};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::runtime::Runtime;

const NEXT: &[u8] = b"GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\nHost: x\r\n\r\n";
const EVENT: &[u8] = br#"{"name": "Ada", "n": 1}"#;
const ANSWER: &[u8] = br#"{"ok":true,"n":2}"#;

/// Nobody listens to what the desk tells.
struct Quiet;

impl Owner for Quiet {
    fn registered(&self) {}
    fn runtime_started(&self) {}
    fn ready(&self) {}
    fn init_failed(&self, _: Bytes, _: String) {}
    fn responded(&self, _: Instant) {}
    fn runtime_done(&self, _: &Outcome) {}
    fn subscribe(&self, _: Api, _: &str, _: &[u8]) -> telemetry::Answer {
        telemetry::Answer { status: http::StatusCode::OK, body: Bytes::new() }
    }
    fn record(&self, _: &Outcome, _: bool) -> Option<Vec<u8>> {
        None
    }
}

/// See the module.
pub struct Conversation {
    runtime: Runtime,
    rt: Rt,
    desk: Arc<Desk>,
    client: DuplexStream,
    count: u64,
}

impl Conversation {
    pub fn new() -> Conversation {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let rt = Rt::real();
        let about = About {
            function_name: "hello".to_owned(),
            function_version: "$LATEST".to_owned(),
            handler: "app.handler".to_owned(),
            account_id: Some("111122223333".to_owned()),
        };
        let desk = Arc::new(Desk::new(Box::new(Quiet), rt.clone(), about, Vec::new()));
        let (client, server) = tokio::io::duplex(64 * 1024);
        let mut conversation = Conversation { rt, desk: desk.clone(), client, count: 0, runtime };
        conversation.runtime.block_on(async {
            let served = connection::serve_inherited(Box::pin(server), desk);
            conversation.rt.spawn("a runtime's connection", TaskKind::Request, served).detach();
            conversation.client.write_all(NEXT).await.expect("the platform reads");
            // The desk has to have seen it.
            tokio::task::yield_now().await;
            tokio::task::yield_now().await;
        });
        conversation
    }

    /// The platform hands out an event; the runtime takes it, answers, and asks for the next one.
    pub fn invoke(&mut self) {
        self.count += 1;
        let id = format!("8f5b2c9e-3a61-4b0f-9c65-{:012x}", self.count);
        let work = Work {
            event: Event {
                request_id: id.clone(),
                deadline_ms: 1_767_225_603_000,
                invoked_arn: "arn:aws:lambda:us-east-1:111122223333:function:hello".to_owned(),
                trace_id: "Root=1-5759e988-bd862e3fe1be46a994272793;Sampled=0".to_owned(),
                client_context: None,
                tenant_id: None,
                payload: Bytes::from_static(EVENT),
            },
            timeout: Duration::from_secs(3),
            since: self.rt.instant(),
            init: None,
            wants_tail: false,
            segment: None,
            sink: None,
        };
        self.runtime.block_on(async {
            let finished = self.desk.hand_out(work, |_| {}).expect("the runtime waits");
            message(&mut self.client, EVENT).await;
            let head = format!(
                "POST /2018-06-01/runtime/invocation/{id}/response HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n",
                ANSWER.len()
            );
            self.client.write_all(&[head.as_bytes(), ANSWER].concat()).await.expect("the platform reads");
            message(&mut self.client, b"}").await;
            divan::black_box(finished.await.expect("an answer"));
            self.client.write_all(NEXT).await.expect("the platform reads");
            while self.desk.life() != lambic_lambda::runtime_api::life::Life::Idle {
                tokio::task::yield_now().await;
            }
        });
    }
}

/// Reads until the end of a message that ends like this.
async fn message(client: &mut DuplexStream, end: &[u8]) {
    let mut buffer = Vec::with_capacity(1_024);
    while !buffer.trim_ascii_end().ends_with(end) {
        assert!(client.read_buf(&mut buffer).await.expect("the platform answers") > 0);
    }
}
