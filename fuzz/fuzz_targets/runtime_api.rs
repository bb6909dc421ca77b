//! One connection of a runtime that sends any bytes, while it has an invocation: it may be answered
//! or refused, and the invocation always ends.
//!
//! The input's first byte says whether the runtime has asked for work before and whether the caller
//! wants a stream; the rest goes over the connection, cut in two where the second byte says.

#![no_main]

use std::time::Duration;

use bytes::Bytes;
use lambic_lambda::invoke::fault::Exit;
use lambic_lambda::runtime_api::connection;
use lambic_lambda::runtime_api::desk::{Desk, Event, Outcome, Owner, Work};
use lambic_lambda::runtime_api::extensions::About;
use lambic_lambda::runtime_api::extensions::crew::Subscriptions;
use lambic_lambda::runtime_api::stream;
use lambic_lambda::telemetry::{Answer, Api, Hub};
use lambic_rt::{Instant, Rt, TaskKind};
use libfuzzer_sys::fuzz_target;
use tokio::io::AsyncWriteExt;

struct Nobody;

impl Owner for Nobody {
    fn ready(&self) {}

    fn init_failed(&self, _body: Bytes, _error_type: String) {}

    fn registered(&self) {}

    fn runtime_done(&self, _outcome: &Outcome) {}

    fn responded(&self, _until: Instant) {}

    fn subscribe(&self, api: Api, extension: &str, body: &[u8]) -> Answer {
        // What the body is made of is the business of the target `telemetry`.
        Hub::new(Rt::simulated(1), false).subscribe(api, extension, body).0
    }

    fn record(&self, _outcome: &Outcome, _wants_tail: bool) -> Option<Vec<u8>> {
        None
    }
}

/// An invocation whose caller wants a stream and is gone, or wants its answer in one piece.
fn work(rt: &Rt, streams: bool) -> Work {
    let event =
        Event { request_id: "a".into(), payload: Bytes::from_static(b"1"), ..Event::default() };
    let timeout = Duration::from_secs(3);
    let sink = streams.then(|| stream::channel().0);
    let since = rt.instant();
    Work { event, timeout, since, init: None, wants_tail: false, segment: None, sink }
}

async fn attack(input: &[u8]) {
    let [has_asked, cut, bytes @ ..] = input else { return };
    let rt = Rt::simulated(1);
    let desk = std::sync::Arc::new(Desk::new(Box::new(Nobody), rt.clone(), About::default(), vec!["x".to_owned()]));
    // It waits for ever; what comes over the connection may register others.
    let id = desk.register("x", Subscriptions::default()).expect("it was launched");
    let _waiting = desk.extension_next(&id);
    let mut finished = None;
    let streams = has_asked & 2 != 0;
    if has_asked % 2 == 1 {
        let _ = desk.next();
        finished = desk.hand_out(work(&rt, streams), |_| {}).ok();
    }
    let (mut io, theirs) = tokio::io::duplex(64 * 1024);
    let served = connection::serve(Box::pin(theirs), desk.clone());
    rt.spawn("fuzzed connection", TaskKind::Request, served).detach();
    let (before, after) = bytes.split_at(usize::from(*cut).min(bytes.len()));
    for piece in [before, after] {
        let _ = rt.within(Duration::from_millis(1), io.write_all(piece)).await;
        rt.sleep(Duration::from_millis(1)).await;
        finished = finished.or_else(|| desk.hand_out(work(&rt, streams), |_| {}).ok());
    }
    drop(io);
    rt.sleep(Duration::from_millis(1)).await;
    desk.close(Exit::default());
    if let Some(finished) = finished {
        let ended = rt.within(Duration::from_secs(1), finished).await;
        assert!(ended.is_some_and(|ended| ended.is_ok()), "the invocation never ended");
    }
}

fuzz_target!(|input: &[u8]| {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime needs nothing of the machine");
    runtime.block_on(attack(input));
});
