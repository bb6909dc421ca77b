//! The hub with subscribers in memory and a clock that is moved by hand.

use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader, DuplexStream};
use tokio::sync::mpsc::UnboundedReceiver;

use super::delivery::{ATTEMPT_MAX, ATTEMPTS_MAX};
use super::testing::*;
use super::*;

type Dialled = UnboundedReceiver<DuplexStream>;

fn hub(rt: &Rt) -> (Hub, Dialled) {
    let hub = Hub::new(rt.clone(), false);
    let (fake, dialled) = Fake::new();
    hub.reach(fake);
    (hub, dialled)
}

/// The next request, which is answered well.
async fn next(dialled: &mut Dialled) -> Post {
    let mut io = dialled.recv().await.expect("a connection");
    let post = read_post(&mut io).await.expect("a request");
    answer(&mut io, GOOD).await;
    post
}

fn said(answer: &Answer) -> (u16, &str) {
    (answer.status.as_u16(), std::str::from_utf8(&answer.body).unwrap())
}

#[tokio::test(start_paused = true)]
async fn a_subscriber_is_told_what_happened_before_and_after() {
    let rt = Rt::simulated(1);
    let (hub, mut dialled) = hub(&rt);
    hub.tell_start("early");
    hub.line(Source::Function, b"printed early\n");
    hub.line(Source::Extension, b"by another extension\n");
    let answer = hub.join(Api::Telemetry, "mine", &body(8080, &["platform", "function"]));
    assert_eq!(said(&answer), (200, "\"OK\""));
    hub.line(Source::Function, b"printed late");
    let began = rt.instant();
    let post = next(&mut dialled).await;
    assert_eq!(rt.instant().duration_since(began), Duration::from_millis(100), "timeoutMs");
    assert!(post.head.starts_with("POST /path HTTP/1.1\r\n"), "{}", post.head);
    let head = post.head.to_ascii_lowercase();
    assert!(head.contains("\r\nhost: sandbox.localdomain:8080\r\n"), "{head}");
    assert!(head.contains("\r\ncontent-type: application/json\r\n"), "{head}");
    let first = ["start early", "function printed early"];
    let then = ["telemetrySubscription Subscribed", "function printed late"];
    assert_eq!(outline(&post.batch), [first, then].concat());
    assert_eq!(post.batch[1]["record"], "printed early\n", "with its newline");
    hub.close_subscriptions();
    hub.tell_start("r");
    hub.tell_end("r");
    hub.line(Source::Extension, b"not wanted\n");
    assert_eq!(outline(&next(&mut dialled).await.batch), ["start r"]);
}

#[tokio::test(start_paused = true)]
async fn every_subscriber_has_what_it_asked_for_in_its_own_form() {
    let rt = Rt::simulated(1);
    let (hub, mut dialled) = hub(&rt);
    hub.join(Api::Telemetry, "lines", &body(1, &["function"]));
    hub.line(Source::Function, b"one\n");
    let post = next(&mut dialled).await;
    assert_eq!(
        outline(&post.batch),
        ["function one"],
        "not of subscriptions: those are platform's"
    );
    let logs = br#"{"types": ["platform", "extension"], "buffering": {"timeoutMs": 50},
        "destination": {"protocol": "HTTP", "URI": "http://sandbox:2", "method": "PUT"}}"#;
    hub.join(Api::Logs, "logs", logs);
    hub.close_subscriptions();
    hub.line(Source::Extension, b"two\n");
    hub.line(Source::Function, b"three\n");
    hub.tell_start("r");
    hub.tell_end("r");
    let post = next(&mut dialled).await;
    assert!(post.head.starts_with("PUT / HTTP/1.1"), "{}", post.head);
    let expected = ["logsSubscription Subscribed", "extension two", "start r", "end r"];
    assert_eq!(outline(&post.batch), expected);
    assert_eq!(outline(&next(&mut dialled).await.batch), ["function three"]);
}

#[tokio::test(start_paused = true)]
async fn what_is_refused() {
    let rt = Rt::simulated(1);
    let hub = Hub::new(rt.clone(), false);
    let good = body(8080, &["platform"]);
    let logs = br#"{"types": ["platform"], "destination": {"protocol": "TCP", "port": 1}}"#;
    let refused = |api, name: &str, body: &[u8]| {
        let (answer, told) = hub.subscribe(api, name, body);
        assert_eq!(told, None);
        (answer.status.as_u16(), String::from_utf8(answer.body.to_vec()).unwrap())
    };
    let error = |status, kind: &str, message: &str| {
        (status, format!(r#"{{"errorType":"{kind}","errorMessage":"{message}"}}"#))
    };
    let unsupported = |kind, what| error(202, kind, &format!("{what} API is not supported"));
    let (telemetry, logging) = (Api::Telemetry, Api::Logs);
    assert_eq!(refused(telemetry, "a", &good), unsupported("Telemetry.NotSupported", "Telemetry"));
    assert_eq!(refused(logging, "a", logs), unsupported("Logs.NotSupported", "Logs"));
    let (fake, _dialled) = Fake::new();
    hub.reach(fake);
    let empty = "destination is not provided; types is not provided";
    assert_eq!(
        refused(telemetry, "a", br#"{"schemaVersion": "2022-07-01"}"#),
        error(400, "ValidationError", empty)
    );
    assert_eq!(refused(logging, "a", b"{}"), error(400, "Logs.ValidationError", empty));
    let large = vec![b' '; BODY_BYTES_MAX + 1];
    assert_eq!(refused(telemetry, "a", &large).0, 413);
    assert_eq!(hub.join(telemetry, "a", &good).status, 200);
    assert_eq!(
        refused(logging, "a", logs),
        error(
            400,
            "Logs.ValidationError",
            "the extension is already subscribed to the Telemetry API"
        )
    );
    assert_eq!(hub.join(logging, "b", logs).status, 200, "another extension may");
    hub.close_subscriptions();
    assert_eq!(
        refused(telemetry, "c", &good),
        error(403, "Telemetry.SubscriptionClosed", "Telemetry API subscription is closed already")
    );
    assert_eq!(
        refused(logging, "c", b"{"),
        error(403, "Logs.SubscriptionClosed", "Logs API subscription is closed already")
    );
}

#[tokio::test(start_paused = true)]
async fn the_same_request_again_changes_nothing_and_another_one_replaces_it() {
    let rt = Rt::simulated(1);
    let (hub, mut dialled) = hub(&rt);
    hub.tell_start("early");
    hub.join(Api::Telemetry, "mine", &body(1, &["platform"]));
    let again = hub.join(Api::Telemetry, "mine", &body(1, &["platform"]));
    assert_eq!(said(&again), (200, "\"OK\""));
    let post = next(&mut dialled).await;
    let (new, old) =
        ("telemetrySubscription Subscribed", "telemetrySubscription Already subscribed");
    assert_eq!(outline(&post.batch), ["start early", new, old]);
    hub.join(Api::Telemetry, "mine", &body(2, &["platform", "function"]));
    hub.line(Source::Function, b"printed\n");
    let post = next(&mut dialled).await;
    assert!(post.head.to_ascii_lowercase().contains("host: sandbox.localdomain:2\r\n"));
    assert_eq!(outline(&post.batch), ["start early", new, old, new, "function printed"]);
    hub.tell_start("r");
    assert_eq!(outline(&next(&mut dialled).await.batch), ["start r"]);
    rt.sleep(Duration::from_secs(60)).await;
    assert!(dialled.try_recv().is_err(), "the first one is told nothing any more");
}

#[tokio::test(start_paused = true)]
async fn without_subscribers_nothing_is_kept() {
    let rt = Rt::simulated(1);
    let (hub, _dialled) = hub(&rt);
    hub.tell_start("early");
    assert!(hub.is_heard());
    hub.close_subscriptions();
    assert!(!hub.is_heard());
    assert!(hub.lock().early.is_none());
    hub.tell_start("r");
    hub.line(Source::Function, b"printed\n");
    assert!(hub.flush(Duration::ZERO).await, "there is nothing to wait for");
    hub.restart();
    assert!(hub.is_heard() && hub.lock().early.is_some());
}

#[tokio::test(start_paused = true)]
async fn what_happens_early_is_bounded_and_its_loss_is_told() {
    let rt = Rt::simulated(1);
    let (hub, mut dialled) = hub(&rt);
    for number in 0..early::ITEMS_MAX + 7 {
        hub.line(Source::Function, format!("{number}\n").as_bytes());
    }
    hub.line(Source::Extension, b"one of another kind\n");
    hub.join(Api::Telemetry, "mine", &body(1, &["platform", "function"]));
    let (mut seen, mut next_number) = (0, 0);
    while seen < early::ITEMS_MAX + 2 {
        let post = next(&mut dialled).await;
        for event in outline(&post.batch) {
            let expected = match seen.checked_sub(early::ITEMS_MAX) {
                None => format!("function {next_number}"),
                Some(0) => "logsDropped 7".to_owned(),
                Some(_) => "telemetrySubscription Subscribed".to_owned(),
            };
            assert_eq!(event, expected);
            (seen, next_number) = (seen + 1, next_number + 1);
        }
    }
    let long = vec![b'x'; early::BYTES_MAX];
    hub.line(Source::Function, &long);
    assert_eq!(next(&mut dialled).await.batch.len(), 1, "who has subscribed gets all");
}

#[tokio::test(start_paused = true)]
async fn a_flush_does_not_wait_for_the_timeout_but_for_the_subscriber() {
    let rt = Rt::simulated(1);
    let (hub, mut dialled) = hub(&rt);
    hub.join(Api::Telemetry, "mine", &body(1, &["platform"]));
    let began = rt.instant();
    let flush = hub.flush(Duration::from_secs(2));
    let (flushed, post) = tokio::join!(flush, next(&mut dialled));
    assert!(flushed);
    assert_eq!(outline(&post.batch), ["telemetrySubscription Subscribed"]);
    assert_eq!(rt.instant(), began, "at once");
    hub.tell_start("r");
    let never = hub.flush(Duration::from_secs(2)).await;
    assert!(!never, "nobody answers");
    assert_eq!(rt.instant().duration_since(began), Duration::from_secs(2));
    assert_eq!(outline(&next(&mut dialled).await.batch), ["start r"], "it is still on its way");
}

#[tokio::test(start_paused = true)]
async fn while_frozen_nothing_is_sent_and_nothing_fails() {
    let rt = Rt::simulated(1);
    let (hub, mut dialled) = hub(&rt);
    hub.join(Api::Telemetry, "mine", &body(1, &["platform"]));
    hub.close_subscriptions();
    next(&mut dialled).await;
    hub.tell_start("frozen before it is sent");
    hub.set_frozen(true);
    rt.sleep(Duration::from_secs(3_600)).await;
    assert!(dialled.try_recv().is_err());
    hub.set_frozen(false);
    // This one is frozen while it is on its way, for longer than all attempts take.
    let mut io = dialled.recv().await.unwrap();
    let post = read_post(&mut io).await.unwrap();
    assert_eq!(outline(&post.batch), ["start frozen before it is sent"]);
    hub.set_frozen(true);
    rt.sleep(ATTEMPT_MAX * ATTEMPTS_MAX * 2).await;
    hub.set_frozen(false);
    rt.sleep(ATTEMPT_MAX / 2).await;
    answer(&mut io, GOOD).await;
    hub.tell_start("next");
    assert_eq!(outline(&next(&mut dialled).await.batch), ["start next"], "no second attempt");
}

#[tokio::test(start_paused = true)]
async fn who_never_answers_loses_events_and_is_told_how_many() {
    let rt = Rt::simulated(1);
    let (hub, mut dialled) = hub(&rt);
    hub.join(Api::Telemetry, "mine", &body(1, &["platform", "function"]));
    let mut silent = Vec::new();
    for attempt in 1..=ATTEMPTS_MAX {
        let mut io = dialled.recv().await.unwrap();
        let post = read_post(&mut io).await.unwrap();
        assert_eq!(outline(&post.batch), ["telemetrySubscription Subscribed"], "{attempt}");
        silent.push(io);
    }
    for number in 0..3_000 {
        hub.line(Source::Function, format!("{number}\n").as_bytes());
    }
    let mut told = Vec::new();
    while told.len() < 2_002 {
        told.extend(outline(&next(&mut dialled).await.batch));
    }
    assert_eq!(told[0], "logsDropped 1", "the batch that nobody took");
    let lines = (0..2_000).map(|number| format!("function {number}"));
    assert!(told[1..2_001].iter().cloned().eq(lines), "two batches waited");
    assert_eq!(told[2_001], "logsDropped 1000", "the third had no room");
}

#[tokio::test(start_paused = true)]
async fn a_start_that_is_repeated_keeps_its_subscriptions() {
    let rt = Rt::simulated(1);
    let (hub, first) = hub(&rt);
    hub.join(Api::Telemetry, "mine", &body(1, &["platform"]));
    hub.tell_start("of the first");
    drop(first);
    hub.restart();
    hub.tell_start("in between");
    rt.sleep(Duration::from_secs(3_600)).await;
    let (fake, mut dialled) = Fake::new();
    hub.reach(fake);
    let post = next(&mut dialled).await;
    let subscribed = "telemetrySubscription Subscribed";
    assert_eq!(outline(&post.batch), [subscribed, "start of the first", "start in between"]);
    hub.join(Api::Telemetry, "mine", &body(1, &["platform"]));
    let post = next(&mut dialled).await;
    assert_eq!(outline(&post.batch), ["telemetrySubscription Already subscribed"], "as on AWS");
}

/// A subscriber reads a part of a batch and goes away in the middle of a line.
#[tokio::test(start_paused = true)]
async fn a_broken_connection_goes_on_with_the_line_that_was_torn() {
    const LINE_BYTES: usize = 100_000;
    let rt = Rt::simulated(1);
    let (hub, mut dialled) = hub(&rt);
    hub.join(Api::Telemetry, "mine", &tcp_body(1, &["function"]));
    for letter in [b'a', b'b'] {
        hub.line(Source::Function, &vec![letter; LINE_BYTES]);
    }
    let mut first = BufReader::new(dialled.recv().await.unwrap());
    let mut line = String::new();
    first.read_line(&mut line).await.unwrap();
    assert!(line.contains("\"aaaa") && line.ends_with('\n'));
    first.read_exact(&mut [0; 1_000]).await.unwrap();
    drop(first);
    let mut second = BufReader::new(dialled.recv().await.unwrap()).lines();
    for letter in ["b", "c"] {
        let line = second.next_line().await.unwrap().unwrap();
        let event: serde_json::Value = serde_json::from_str(&line).expect("a whole line");
        assert!(event["record"].as_str().unwrap().starts_with(letter), "{letter}");
        hub.line(Source::Function, b"c");
    }
}

#[tokio::test(start_paused = true)]
async fn with_the_hub_everything_ends() {
    let rt = Rt::simulated(1);
    let (hub, mut dialled) = hub(&rt);
    hub.join(Api::Telemetry, "mine", &body(1, &["platform"]));
    let mut io = dialled.recv().await.unwrap();
    read_post(&mut io).await.unwrap();
    hub.tell_start("waiting");
    let budget = hub.budget.clone();
    drop(hub);
    assert!(read_post(&mut io).await.is_none(), "the connection is closed");
    assert!(dialled.recv().await.is_none(), "nobody dials any more");
    assert_eq!(Arc::strong_count(&budget), 1);
}
