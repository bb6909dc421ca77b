//! Answers in pieces: they arrive while the operation goes on, are no faster than their client, and
//! are counted, recorded and waited for until their last piece.

use std::sync::atomic::Ordering;
use std::time::Duration;

use lambic_rt::TaskKind;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};

use crate::world::{Client, World, development};

const PIECE_BYTES: usize = 20_000;

fn stream(bytes: &str) -> String {
    let length = bytes.len();
    format!("POST /stream HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n{bytes}")
}

async fn begun(world: &World, bytes: &str) -> Client {
    let mut client = world.connect();
    client.send(&stream(bytes)).await;
    client.head_of_chunks().await;
    client
}

#[tokio::test]
async fn pieces_arrive_one_by_one_and_the_connection_goes_on() {
    let world = World::new(development());
    let mut client = begun(&world, "ab").await;
    for byte in *b"ab" {
        assert_eq!(world.front.requests_in_flight(), 1);
        world.fake.gate.notify_one();
        assert_eq!(client.chunk().await, [byte; PIECE_BYTES]);
    }
    assert!(client.chunk().await.is_empty(), "the end");
    assert_eq!(world.front.requests_in_flight(), 0);
    client.send("GET /echo HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    assert_eq!(client.reply().await.status, 200);
}

#[tokio::test]
async fn it_is_counted_when_it_ends() {
    let world = World::new(development());
    let mut client = begun(&world, "a").await;
    let counted = "lambic_operations_total{service=\"fake\",operation=\"Stream\",status=\"200\"} 1";
    assert!(!world.front.metrics().render().contains(counted));
    world.fake.gate.notify_one();
    while !client.chunk().await.is_empty() {}
    let shown = world.front.metrics().render();
    assert!(shown.contains(counted), "{shown}");
    assert!(shown.contains("lambic_front_streamed_bytes_total 20000"), "{shown}");
}

#[tokio::test]
async fn bytes_in_memory_are_counted_until_they_have_gone() {
    let world = World::new(development());
    let mut client = begun(&world, "abc").await;
    for _ in 0..3 {
        world.fake.gate.notify_one();
        client.chunk().await;
    }
    client.chunk().await;
    let shown = world.ask("GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    let text = String::from_utf8(shown.body).unwrap();
    assert!(text.contains("lambic_front_body_bytes 0\n"), "{text}");
}

#[tokio::test]
async fn a_client_that_hangs_up_ends_nothing() {
    let world = World::new(development());
    let mut client = begun(&world, "abc").await;
    world.fake.gate.notify_one();
    client.chunk().await;
    drop(client);
    for _ in 0..2 {
        assert_eq!(world.fake.ended.load(Ordering::SeqCst), 0);
        assert_eq!(world.front.requests_in_flight(), 1);
        world.fake.gate.notify_one();
        tokio::task::yield_now().await;
    }
    world.fake.ended_signal.notified().await;
    let counted = "operation=\"Stream\",status=\"200\"} 1";
    let ended = async {
        while world.front.requests_in_flight() > 0 {
            tokio::task::yield_now().await;
        }
    };
    assert!(world.rt.within(Duration::from_secs(10), ended).await.is_some());
    assert!(world.front.metrics().render().contains(counted));
}

/// A client that takes nothing is closed after a minute; what makes the pieces still comes to its end.
#[tokio::test(start_paused = true)]
async fn a_client_that_takes_nothing_stops_the_pieces_and_then_is_let_go() {
    let world = World::new(development());
    let started = world.rt.instant();
    let mut client = world.connect();
    client.send(&stream(&"x".repeat(500)).replace("/stream", "/stream?open")).await;
    client.head_of_chunks().await;
    world.rt.sleep(Duration::from_secs(50)).await;
    assert_eq!(world.fake.ended.load(Ordering::SeqCst), 0, "10 MB that nobody takes");
    let ended = world.fake.ended_signal.notified();
    assert!(world.rt.within(Duration::from_secs(600), ended).await.is_some());
    let took = world.rt.instant().duration_since(started);
    assert!(took >= Duration::from_secs(60) && took < Duration::from_secs(70), "{took:?}");
    assert!(client.closed().await.len() < 2_000_000);
}

#[tokio::test]
async fn draining_waits_for_the_last_piece() {
    let world = World::new(development());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (front, shutdown) = (world.front.clone(), world.rt.shutdown());
    let serving = async move { front.serve_listener(listener, shutdown).await };
    let serving = world.rt.spawn("listener", TaskKind::Essential, serving);
    let mut client = TcpStream::connect(address).await.unwrap();
    client.write_all(stream("ab").as_bytes()).await.unwrap();
    world.fake.gate.notify_one();
    let mut some = [0; 1];
    tokio::io::AsyncReadExt::read_exact(&mut client, &mut some).await.unwrap();
    world.rt.shutdown_sender().stop();
    world.fake.gate.notify_one();
    let mut rest = Vec::new();
    tokio::io::AsyncReadExt::read_to_end(&mut client, &mut rest).await.unwrap();
    assert!(rest.ends_with(b"b\r\n0\r\n\r\n"), "the whole answer came");
    let drained = serving.await.unwrap().unwrap();
    assert_eq!((drained.requests_abandoned, drained.connections_abandoned), (0, 0));
}
