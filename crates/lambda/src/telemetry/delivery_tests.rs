//! Delivery to real servers on the machine's loopback, good ones and hostile ones. No test waits for
//! time to pass: what has to happen is waited for, at most a minute.

use std::sync::atomic::AtomicUsize;

use futures_util::FutureExt;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::sync::mpsc::{self, UnboundedReceiver};

use super::testing::*;
use super::*;

const PATIENCE: Duration = Duration::from_secs(60);

struct Setup {
    rt: Rt,
    hub: Hub,
}

fn setup() -> Setup {
    let rt = Rt::real();
    let hub = Hub::new(rt.clone(), false);
    hub.reach(Arc::new(Loopback));
    Setup { rt, hub }
}

/// Prints numbered lines, and lets the deliveries have their turns.
async fn print(hub: &Hub, lines: usize) {
    for number in 0..lines {
        hub.line(Source::Function, format!("{number}\n").as_bytes());
        if number % 500 == 499 {
            tokio::task::yield_now().await;
        }
    }
}

/// Reads posts until as many lines are accounted for, as delivered or as dropped; how many were
/// delivered. Fails when one is missing, doubled or out of order.
async fn account(rt: &Rt, posts: &mut UnboundedReceiver<Post>, lines: u64) -> u64 {
    let (mut next, mut delivered) = (0, 0);
    while next < lines {
        let post = rt.within(PATIENCE, posts.recv()).await.expect("in time").expect("a post");
        for event in post.batch {
            match event["type"].as_str().unwrap() {
                "function" => {
                    assert_eq!(event["record"], format!("{next}\n"));
                    (next, delivered) = (next + 1, delivered + 1);
                }
                "platform.logsDropped" => {
                    next += event["record"]["droppedRecords"].as_u64().unwrap();
                }
                _ => {}
            }
        }
    }
    assert_eq!(next, lines);
    delivered
}

#[tokio::test]
async fn everything_arrives_in_order() {
    let Setup { rt, hub } = setup();
    let (manner, mut posts) = taking();
    let (port, _server) = listen(&rt, manner).await;
    hub.join(Api::Telemetry, "mine", &body(port, &["platform", "function"]));
    print(&hub, 20_000).await;
    assert!(hub.flush(PATIENCE).await);
    let delivered = account(&rt, &mut posts, 20_000).await;
    assert!(delivered >= 2_000, "{delivered}");
}

/// The first attempts go wrong, each in its own way; what was sent arrives once.
#[tokio::test]
async fn what_fails_is_tried_again() {
    let Setup { rt, hub } = setup();
    let (sender, mut posts) = mpsc::unbounded_channel();
    let manner: Manner = Arc::new(move |number, mut stream| {
        let sender = sender.clone();
        async move {
            let Some(post) = read_post(&mut stream).await else { return };
            let text = match number {
                0 => "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n",
                1 => "HTTP/1.1 400 Bad Request\r\n\r\nno",
                2 => "",
                3 => "what?\r\n\r\n",
                4 => "HTTP/1.1 20",
                _ => "HTTP/1.0 204 No Content\r\n\r\n",
            };
            answer(&mut stream, text).await;
            if number > 4 {
                let _ = sender.send(post);
            }
        }
        .boxed()
    });
    let (port, _server) = listen(&rt, manner).await;
    hub.join(Api::Telemetry, "mine", &body(port, &["function"]));
    print(&hub, 10).await;
    assert!(hub.flush(PATIENCE).await);
    assert_eq!(account(&rt, &mut posts, 10).await, 10);
    assert!(posts.try_recv().is_err());
}

#[tokio::test]
async fn a_listener_may_be_later_than_its_subscription() {
    let Setup { rt, hub } = setup();
    let (manner, mut posts) = taking();
    let (port, server) = listen(&rt, manner.clone()).await;
    server.abort();
    let _ = server.await;
    hub.join(Api::Telemetry, "mine", &body(port, &["function"]));
    print(&hub, 3).await;
    assert!(!hub.flush(Duration::from_millis(20)).await, "nobody listens");
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await.unwrap();
    let serve = async {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            manner(0, stream).await;
        }
    };
    tokio::select! {
        delivered = account(&rt, &mut posts, 3) => assert_eq!(delivered, 3),
        () = serve => {}
    }
}

#[tokio::test]
async fn lines_on_a_connection() {
    let Setup { rt, hub } = setup();
    let (sender, mut lines) = mpsc::unbounded_channel();
    let connections = Arc::new(AtomicUsize::new(0));
    let seen = connections.clone();
    let manner: Manner = Arc::new(move |_, stream| {
        let (sender, seen) = (sender.clone(), seen.clone());
        async move {
            seen.fetch_add(1, Ordering::SeqCst);
            let mut stream = BufReader::new(stream);
            let mut line = String::new();
            while stream.read_line(&mut line).await.is_ok_and(|count| count > 0) {
                let event: Value = serde_json::from_str(&line).expect("a line of JSON");
                let _ = sender.send(event["record"].as_str().unwrap().to_owned());
                line.clear();
            }
        }
        .boxed()
    });
    let (port, _server) = listen(&rt, manner).await;
    hub.join(Api::Telemetry, "mine", &tcp_body(port, &["function"]));
    print(&hub, 100).await;
    assert!(hub.flush(PATIENCE).await);
    hub.line(Source::Function, b"100\n");
    for number in 0..=100 {
        let line = rt.within(PATIENCE, lines.recv()).await.expect("in time");
        assert_eq!(line, Some(format!("{number}\n")));
    }
    assert_eq!(connections.load(Ordering::SeqCst), 1, "one connection for all batches");
}

fn endless(first: &'static str, again: &'static str) -> Manner {
    Arc::new(move |_, mut stream| {
        async move {
            if read_post(&mut stream).await.is_none()
                || stream.write_all(first.as_bytes()).await.is_err()
            {
                return;
            }
            while stream.write_all(again.as_bytes()).await.is_ok() {}
        }
        .boxed()
    })
}

/// Subscribers that mean harm, each with what it does.
fn hostile() -> Vec<(&'static str, Manner)> {
    let plain = |what: &'static str, text: &'static str| -> (&'static str, Manner) {
        let manner: Manner =
            Arc::new(move |_, mut stream| async move { answer(&mut stream, text).await }.boxed());
        (what, manner)
    };
    let silent: Manner = Arc::new(|_, stream| {
        async move {
            let _stream = stream;
            std::future::pending().await
        }
        .boxed()
    });
    let closing: Manner = Arc::new(|_, stream| async move { drop(stream) }.boxed());
    vec![
        ("never answers", silent),
        ("closes", closing),
        plain("talks first", "220 mail.example.com ESMTP\r\n"),
        plain("answers before it is asked", GOOD),
        plain("switches protocols", "HTTP/1.1 101 Switching Protocols\r\n\r\n\0\0\0\0"),
        ("has an endless head", endless("HTTP/1.1 200 OK\r\n", "X-More: and more\r\n")),
        ("has an endless header", endless("HTTP/1.1 200 OK\r\nX: ", "xxxxxxxxxxxxxxxx")),
        ("has an endless body", endless("HTTP/1.1 200 OK\r\n\r\n", "xxxxxxxxxxxxxxxx")),
        ("always says to continue", endless("", "HTTP/1.1 100 Continue\r\n\r\n")),
        (
            "has endless chunks",
            endless("HTTP/1.1 500 Oops\r\nTransfer-Encoding: chunked\r\n\r\n", "1\r\nx\r\n"),
        ),
    ]
}

/// All of them at once, under a flood: the platform goes on, a good subscriber loses nothing to them
/// that it is not told, and what is held stays within the budget.
#[tokio::test]
async fn hostile_subscribers_harm_nobody() {
    let Setup { rt, hub } = setup();
    let mut servers = Vec::new();
    for (what, manner) in hostile() {
        let (port, server) = listen(&rt, manner).await;
        let types = ["platform", "function"];
        assert_eq!(hub.join(Api::Telemetry, what, &body(port, &types)).status, 200, "{what}");
        let tcp = format!("{what}, by TCP");
        assert_eq!(hub.join(Api::Telemetry, &tcp, &tcp_body(port, &types)).status, 200, "{what}");
        servers.push(server);
    }
    let (manner, mut posts) = taking();
    let (port, _good) = listen(&rt, manner).await;
    hub.join(Api::Telemetry, "good", &body(port, &["platform", "function"]));
    hub.close_subscriptions();
    let filler = "x".repeat(1_000);
    for number in 0..5_000 {
        hub.line(Source::Function, format!("{number}\n").as_bytes());
        hub.line(Source::Extension, filler.as_bytes());
        if number % 100 == 99 {
            tokio::task::yield_now().await;
        }
    }
    let delivered = account(&rt, &mut posts, 5_000).await;
    assert!(delivered > 0);
    // They are on their way for as long as they like; nobody waits for that.
    assert!(!hub.flush(Duration::from_millis(50)).await);
    drop(hub);
}

/// What one attempt comes to; `None` is left to the limit of an attempt.
#[tokio::test]
async fn an_attempt_ends_soon_or_is_ended() {
    let rt = Rt::real();
    let text = Bytes::from_static(b"[]");
    for (what, manner) in hostile() {
        let (port, _server) = listen(&rt, manner).await;
        let request = Request::parse(Api::Telemetry, &body(port, &["function"])).unwrap();
        let mut wire = Wire::new(request.destination);
        let written = &mut 0;
        let ends = !matches!(what, "never answers" | "always says to continue");
        let limit = if ends { PATIENCE } else { Duration::from_millis(50) };
        let sent = rt.within(limit, wire.send(&rt, Arc::new(Loopback), &text, written)).await;
        assert_eq!(sent.is_some(), ends, "{what}");
        let is_good = matches!(
            what,
            "answers before it is asked" | "switches protocols" | "has an endless body"
        );
        assert_eq!(sent.is_some_and(|sent| sent.is_ok()), is_good, "{what}");
    }
}
