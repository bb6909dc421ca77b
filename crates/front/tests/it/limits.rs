//! Every limit answers quickly, or closes; nothing waits for ever.

use std::sync::Arc;
use std::time::Duration;

use lambic_front::{EnvironmentOrigin, Origin};
use tokio::io::AsyncReadExt;

use crate::world::{BIG_BODY_BYTES_MAX, World, development};

#[tokio::test(start_paused = true)]
async fn a_body_too_long_is_413_in_aws_s_words() {
    let world = World::new(development());
    let mut client = world.connect();
    let body = "x".repeat(300_000);
    client
        .send(&format!(
            "POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ))
        .await;
    let reply = client.reply().await;
    let (status, code, text) = reply.error();
    assert_eq!((status, code), (413, "RequestEntityTooLargeException"));
    assert_eq!(text, "Request must be smaller than 1000 bytes for the GetEcho operation");
    assert!(reply.header("x-amzn-requestid").is_some());
    // The body was read away, so the connection serves on.
    client.send("GET /echo HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    assert_eq!(client.reply().await.status, 200);
    // The same without a length that would tell beforehand.
    client
        .send(&format!(
            "POST /echo HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n\
             3e9\r\n{}\r\n0\r\n\r\n",
            "x".repeat(1_001)
        ))
        .await;
    assert_eq!(client.reply().await.status, 413);
    assert_eq!(world.fake.begun.load(std::sync::atomic::Ordering::SeqCst), 0);
}

#[tokio::test(start_paused = true)]
async fn too_many_bytes_in_flight_are_429() {
    let mut config = development();
    config.limits.body_bytes_in_flight_max = 1_500;
    let world = World::new(config);
    let mut first = world.connect();
    let request = format!(
        "POST /wait HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n{}",
        "x".repeat(1_000)
    );
    first.send(&request).await;
    world.fake.begun_signal.notified().await;
    let mut second = world.connect();
    second.send(&request.replace("/wait", "/echo")).await;
    let reply = second.reply().await;
    assert_eq!(reply.error().1, "TooManyRequestsException");
    assert_eq!((reply.status, reply.header("retry-after")), (429, Some("1")));
    assert_eq!(reply.json()["Type"], "User");
    world.fake.gate.notify_one();
    assert_eq!(first.reply().await.status, 200);
    second.send(&request.replace("/wait", "/echo")).await;
    assert_eq!(second.reply().await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn environments_leave_half_of_the_bytes_to_the_outside() {
    let mut config = development();
    config.limits.body_bytes_in_flight_max = 1_500;
    let world = World::new(config);
    let origin = Origin::Environment(Arc::new(EnvironmentOrigin {
        name: "e".to_owned(),
        account: "111111111111".to_owned(),
        region: "eu-west-1".to_owned(),
    }));
    let request = format!(
        "POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n{}",
        "x".repeat(1_000)
    );
    let mut inside = world.connect_from(origin);
    inside.send(&request).await;
    assert_eq!(inside.reply().await.status, 429);
    assert_eq!(world.ask(&request).await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn replies_count_too_until_they_are_taken() {
    let mut config = development();
    config.limits.body_bytes_in_flight_max = 2_000_000;
    let world = World::new(config);
    let mut slow = world.connect();
    slow.send("GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    tokio::task::yield_now().await;
    let mut beginning = [0; 100];
    slow.stream.read_exact(&mut beginning).await.unwrap();
    let small = "POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\nx";
    assert_eq!(world.ask(small).await.status, 429);
    // It takes nothing more: its connection is closed and its bytes are given back.
    world.rt.sleep(Duration::from_secs(61)).await;
    assert_eq!(world.ask(small).await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn too_many_requests_and_connections_are_429() {
    let mut config = development();
    config.limits.requests_in_flight_max = 1;
    config.limits.connections_max = 2;
    let world = World::new(config);
    let mut first = world.connect();
    first.send("POST /wait HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n").await;
    world.fake.begun_signal.notified().await;
    let mut second = world.connect();
    second.send("GET /echo HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    assert_eq!(second.reply().await.error().1, "TooManyRequestsException");
    let mut third = world.connect();
    third.send("GET /echo HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    let reply = third.reply().await;
    assert_eq!((reply.status, reply.error().1), (429, "TooManyRequestsException"));
    assert!(reply.header("x-amzn-requestid").is_some());
    third.closed().await;
    world.fake.gate.notify_one();
    assert_eq!(first.reply().await.status, 200);
    drop(first);
    second.send("GET /echo HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    assert_eq!(second.reply().await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn an_excess_connection_that_says_nothing_is_closed() {
    let mut config = development();
    config.limits.connections_max = 0;
    let world = World::new(config);
    let mut client = world.connect();
    let started = world.rt.instant();
    client.closed().await;
    assert!(world.rt.instant() - started < Duration::from_secs(2));
}

/// Sends this, then nothing; how many simulated seconds until the connection is closed, and the
/// bytes that came.
async fn seconds_until_closed(text: &str) -> (u64, String) {
    let world = World::new(development());
    let mut client = world.connect();
    let started = world.rt.instant();
    client.send(text).await;
    let came = client.closed().await;
    let took = (world.rt.instant() - started).as_secs();
    (took, String::from_utf8(came).unwrap())
}

#[tokio::test(start_paused = true)]
async fn slow_clients_are_not_waited_for() {
    assert_eq!(seconds_until_closed("").await, (300, String::new()));
    assert_eq!(seconds_until_closed("GET /echo HT").await, (30, String::new()));
    let (took, text) = seconds_until_closed("GET /empty HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    assert!(took == 300 && text.starts_with("HTTP/1.1 204"), "{took} {text}");
    let body = "POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nx";
    let (took, text) = seconds_until_closed(body).await;
    assert!(text.starts_with("HTTP/1.1 408"), "{text}");
    assert_eq!(took, 30);
}

#[tokio::test(start_paused = true)]
async fn dripping_a_head_or_a_body_does_not_help() {
    let world = World::new(development());
    let mut client = world.connect();
    let started = world.rt.instant();
    for byte in
        "GET /echo HTTP/1.1\r\nHost: localhost\r\nX: ".bytes().chain(std::iter::repeat(b'x'))
    {
        use tokio::io::AsyncWriteExt;
        if client.stream.write_all(&[byte]).await.is_err() {
            break;
        }
        world.rt.sleep(Duration::from_secs(1)).await;
    }
    assert!(world.rt.instant() - started < Duration::from_secs(33));

    let mut client = world.connect();
    let started = world.rt.instant();
    let head = format!(
        "POST /big HTTP/1.1\r\nHost: localhost\r\nContent-Length: {BIG_BODY_BYTES_MAX}\r\n\r\n"
    );
    client.send(&head).await;
    loop {
        use tokio::io::AsyncWriteExt;
        if client.stream.write_all(b"x").await.is_err() {
            break;
        }
        world.rt.sleep(Duration::from_secs(20)).await;
    }
    assert!(world.rt.instant() - started < Duration::from_secs(640));
}

#[tokio::test(start_paused = true)]
async fn heads_too_long_are_431() {
    let world = World::new(development());
    let mut client = world.connect();
    let long = format!("GET /echo HTTP/1.1\r\nHost: localhost\r\nX: {}", "x".repeat(70_000));
    use tokio::io::AsyncWriteExt;
    let _ = client.stream.write_all(long.as_bytes()).await;
    let text = String::from_utf8(client.closed().await).unwrap();
    assert!(text.starts_with("HTTP/1.1 431"), "{text}");
}
