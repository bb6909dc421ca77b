//! HTTP/1.1 as clients use it.

use tokio::io::AsyncWriteExt;

use crate::world::{Download, World, development};

#[tokio::test(start_paused = true)]
async fn one_request_and_its_headers() {
    let world = World::new(development());
    let reply = world.ask("GET /echo?a=b HTTP/1.1\r\nHost: 127.0.0.1:4566\r\n\r\n").await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.header("content-type"), Some("application/json"));
    assert_eq!(reply.header("date"), Some("Thu, 01 Jan 2026 00:00:00 GMT"));
    let json = reply.json();
    assert_eq!(json["request_id"], reply.header("x-amzn-requestid").unwrap());
    assert_eq!(json["endpoint"], "http://127.0.0.1:4566");
    assert_eq!(json["query"], "a=b");
}

#[tokio::test(start_paused = true)]
async fn keep_alive_and_pipelining() {
    let world = World::new(development());
    let mut client = world.connect();
    let one = "POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\none";
    let two = "POST /echo HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n\
               2\r\ntw\r\n1\r\no\r\n0\r\n\r\n";
    let three = "GET /empty HTTP/1.1\r\nHost: localhost\r\n\r\n";
    client.send(&format!("{one}{two}{three}{one}")).await;
    let replies = [client.reply().await, client.reply().await, client.reply().await];
    assert_eq!(replies[0].json()["body"], "one");
    assert_eq!(replies[1].json()["body"], "two");
    assert_eq!((replies[2].status, replies[2].body.len()), (204, 0));
    assert_eq!(client.reply().await.json()["body"], "one");
    let ids: Vec<_> = replies.iter().map(|reply| reply.header("x-amzn-requestid")).collect();
    assert!(ids[0].is_some() && ids[0] != ids[1] && ids[1] != ids[2]);
    // Much later on the same connection, but within the idle limit.
    world.rt.sleep(std::time::Duration::from_secs(200)).await;
    client.send(one).await;
    assert_eq!(client.reply().await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn bodies_in_many_small_pieces() {
    let world = World::new(development());
    let mut client = world.connect();
    client.send("POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 500\r\n\r\n").await;
    for _ in 0..500 {
        client.send("x").await;
        tokio::task::yield_now().await;
    }
    assert_eq!(client.reply().await.json()["bytes"], 500);
    let request = format!(
        "POST /big HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n{}",
        "y".repeat(1_000_000)
    );
    client.send(&request).await;
    assert_eq!(client.reply().await.json()["bytes"], 1_000_000);
}

#[tokio::test(start_paused = true)]
async fn who_expects_100_is_told_to_continue() {
    let world = World::new(development());
    let mut client = world.connect();
    let head = "POST /echo HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\n";
    client.send(&format!("{head}Content-Length: 5\r\n\r\n")).await;
    assert_eq!(client.reply().await.status, 100);
    client.send("hello").await;
    assert_eq!(client.reply().await.json()["body"], "hello");
    // Too long: refused before a byte of it was sent.
    client.send(&format!("{head}Content-Length: 5000\r\n\r\n")).await;
    assert_eq!(client.reply().await.status, 413);
    client.closed().await;
}

#[tokio::test(start_paused = true)]
async fn head_has_no_body() {
    let world = World::new(development());
    let mut client = world.connect();
    client.send("HEAD /_lambic/health HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    let reply = client.reply_to(true).await;
    assert_eq!(reply.status, 200);
    assert_ne!(reply.header("content-length"), Some("0"));
    client.send("GET /_lambic/health HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    let json = client.reply().await.json();
    assert_eq!(json["status"], "running");
    assert_eq!(json["services"][0], "fake");
}

#[tokio::test(start_paused = true)]
async fn http_1_0_and_connection_close() {
    let world = World::new(development());
    let mut client = world.connect();
    client.send("GET /echo HTTP/1.0\r\n\r\n").await;
    assert_eq!(client.reply().await.json()["endpoint"], "http://127.0.0.1:4566");
    client.closed().await;
    let mut client = world.connect();
    client.send("GET /echo HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await;
    assert_eq!(client.reply().await.status, 200);
    client.closed().await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_closes_its_sending_side_still_gets_its_answer() {
    let world = World::new(development());
    let mut client = world.connect();
    client.send("POST /wait HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n").await;
    client.stream.shutdown().await.unwrap();
    world.fake.begun_signal.notified().await;
    world.fake.gate.notify_one();
    assert_eq!(client.reply().await.json(), "waited");
    client.closed().await;
}

#[tokio::test(start_paused = true)]
async fn an_odd_host_is_not_repeated_in_links() {
    let world = World::new(crate::world::required());
    let reply = world.ask("GET /_lambic/health HTTP/1.1\r\nHost: a\"<b>\r\n\r\n").await;
    assert_eq!(reply.status, 200);
}

#[tokio::test(start_paused = true)]
async fn internal_routes() {
    let world = World::new(development());
    let mut client = world.connect();
    client.send("GET /_lambic/code/abc?X=1 HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    let reply = client.reply().await;
    assert_eq!(reply.header("content-type"), Some("application/zip"));
    assert_eq!(reply.body.len(), 700_000);
    assert!(reply.body.iter().enumerate().all(|(at, byte)| *byte == at as u8));
    client.send("GET /echo HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    assert_eq!(client.reply().await.status, 200);
    client.send("GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    let text = String::from_utf8(client.reply().await.body).unwrap();
    let wanted = "lambic_operations_total{service=\"fake\",operation=\"GetEcho\",status=\"200\"} 1";
    assert!(text.contains(wanted), "{text}");
    assert!(text.contains("lambic_front_connections 1"), "{text}");
    client.send("POST /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    assert_eq!(client.reply().await.status, 405);
    client.send("GET /_lambic/other HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    assert_eq!(client.reply().await.status, 404);
}

#[tokio::test(start_paused = true)]
async fn a_file_that_is_too_short_is_not_taken_for_whole() {
    let download = Download { content: vec![1; 300_000], length: 600_000 };
    let world = World::with_download(development(), download);
    let mut client = world.connect();
    client.send("GET /_lambic/code/abc HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    let all = client.closed().await;
    assert!(all.len() < 600_000, "{}", all.len());
}
