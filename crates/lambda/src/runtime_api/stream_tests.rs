//! Streamed responses, from the runtime's socket to the caller's end of the channel.

use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncWriteExt, DuplexStream};
use tokio::sync::{mpsc, oneshot};

use super::desk::{Completion, Finished};
use super::life::Life;
use super::stream::{Failure, PIECE_BYTES_MAX, Sink, channel};
use super::testing::Client;
use super::tests::Bench;
use crate::invoke::fault::{Exit, Fault, STREAMED_BYTES_MAX, Status};

const HEAD: &[u8] = b"POST /2018-06-01/runtime/invocation/a/response HTTP/1.1\r\nHost: x\r\n\
                      Lambda-Runtime-Function-Response-Mode: streaming\r\n\
                      Transfer-Encoding: chunked\r\n\r\n";
const NEXT: &[u8] = b"GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\nHost: x\r\n\r\n";

/// A runtime that has begun to stream its response to event `a`.
struct Streaming {
    bench: Bench,
    client: Client<DuplexStream>,
    sink: Sink,
    pieces: mpsc::Receiver<Bytes>,
    finished: oneshot::Receiver<Finished>,
}

async fn streaming() -> Streaming {
    let bench = Bench::new();
    let mut client = bench.waiting().await;
    let (sink, pieces) = channel();
    let finished = bench.hand_out_with("a", false, Some(sink.clone())).unwrap();
    assert_eq!(client.try_reply().await.unwrap().request_id(), "a");
    assert!(!sink.has_begun());
    client.send(HEAD).await;
    bench.until(Life::Answering).await;
    Streaming { bench, client, sink, pieces, finished }
}

fn chunk(bytes: &[u8]) -> Vec<u8> {
    [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat()
}

#[tokio::test]
async fn pieces_arrive_before_the_end_and_the_figures_are_those_of_the_stream() {
    let Streaming { bench, mut client, mut pieces, mut finished, sink } = streaming().await;
    for text in ["abc", "de"] {
        client.send(&chunk(text.as_bytes())).await;
        assert_eq!(pieces.recv().await.unwrap(), text);
        assert!(finished.try_recv().is_err(), "it goes on");
    }
    assert!(sink.has_begun());
    assert!(bench.told.outcomes().is_empty());
    client.send(b"0\r\n\r\n").await;
    assert_eq!(client.try_reply().await.unwrap().status, 202);
    assert_eq!(finished.await.unwrap().completion, Completion::Streamed(None));
    client.send(NEXT).await;
    bench.until(Life::Idle).await;
    let outcome = bench.told.outcomes().remove(0);
    assert_eq!((outcome.status, outcome.is_error, outcome.fault), (Status::Answered, false, None));
    let reply = outcome.reply.unwrap();
    assert_eq!(reply.bytes, 5);
    assert!(reply.latency <= outcome.duration && reply.overhead.is_some());
    let words =
        ["started", "ready", "begins a", "responded", "done a", "record a error=false", "ready"];
    assert_eq!(bench.told.take(), words);
}

#[tokio::test]
async fn an_error_in_the_trailers_follows_what_was_sent() {
    let cases = [
        ("Error-Type: Mine\r\n", Some(("Mine", ""))),
        (
            "Error-Type: Mine\r\nLambda-Runtime-Function-Error-Body: eyJhIjoxfQ==\r\n",
            Some(("Mine", r#"{"a":1}"#)),
        ),
        ("Error-Type: Mine\r\nLambda-Runtime-Function-Error-Body: ?\r\n", Some(("Mine", ""))),
        ("Error-Type: \r\nLambda-Runtime-Function-Error-Body: \r\n", None),
        ("Error-Body: eyJhIjoxfQ==\r\n", None),
    ];
    for (trailers, expected) in cases {
        let Streaming { bench, mut client, mut pieces, finished, .. } = streaming().await;
        client.send(&chunk(b"abc")).await;
        let end = format!("0\r\nLambda-Runtime-Function-{trailers}\r\n");
        client.send(end.as_bytes()).await;
        assert_eq!(client.try_reply().await.unwrap().status, 202);
        assert_eq!(pieces.recv().await.unwrap(), "abc");
        let failure = expected.map(|(error_type, document)| Failure {
            error_type: error_type.to_owned(),
            document: Bytes::from(document),
        });
        let is_error = failure.is_some();
        assert_eq!(finished.await.unwrap().completion, Completion::Streamed(failure), "{trailers}");
        client.send(NEXT).await;
        bench.until(Life::Idle).await;
        assert_eq!(bench.told.outcomes()[0].is_error, is_error);
    }
}

#[tokio::test]
async fn who_wants_a_stream_gets_one_of_a_response_that_is_none() {
    let bench = Bench::new();
    let mut client = bench.waiting().await;
    let (sink, mut pieces) = channel();
    let finished = bench.hand_out_with("a", false, Some(sink)).unwrap();
    client.try_reply().await.unwrap();
    assert_eq!(client.respond("a", b"whole").await.status, 202);
    assert_eq!(finished.await.unwrap().completion, Completion::Streamed(None));
    assert_eq!(pieces.recv().await.unwrap(), "whole");
    assert!(pieces.recv().await.is_none());
}

#[tokio::test]
async fn a_slow_caller_slows_the_runtime_down() {
    const TOTAL: usize = 8 * 1024 * 1024;
    /// The channel, the piece that waits for it, what HTTP has read ahead, and the socket.
    const AHEAD_MAX: usize = 5 * PIECE_BYTES_MAX + 512 * 1024;
    let Streaming { bench, mut client, sink, mut pieces, finished } = streaming().await;
    let writes = async {
        for _ in 0..TOTAL / 8_192 {
            client.send(&chunk(&[b'x'; 8_192])).await;
        }
        client.send(b"0\r\n\r\n").await;
        client.try_reply().await.unwrap().status
    };
    let mut taken = 0;
    let reads = async {
        while let Some(piece) = pieces.recv().await {
            assert!(piece.len() <= PIECE_BYTES_MAX);
            taken += piece.len();
            // Whoever writes has every chance to run ahead.
            for _ in 0..50 {
                tokio::task::yield_now().await;
            }
            let ahead = usize::try_from(sink.bytes().unwrap()).unwrap() - taken;
            assert!(ahead <= AHEAD_MAX, "{ahead} bytes ahead");
            if taken == TOTAL {
                break;
            }
        }
    };
    let (status, ()) = tokio::join!(writes, reads);
    assert_eq!((status, taken), (202, TOTAL));
    assert_eq!(finished.await.unwrap().completion, Completion::Streamed(None));
    assert_eq!(bench.desk.life(), Life::Settling);
}

#[tokio::test]
async fn a_caller_that_is_gone_ends_nothing() {
    let Streaming { mut client, pieces, finished, sink, .. } = streaming().await;
    drop(pieces);
    for _ in 0..100 {
        client.send(&chunk(&[b'x'; 50_000])).await;
    }
    client.send(b"0\r\n\r\n").await;
    assert_eq!(client.try_reply().await.unwrap().status, 202);
    assert_eq!(finished.await.unwrap().completion, Completion::Streamed(None));
    assert_eq!(sink.bytes(), Some(5_000_000));
}

#[tokio::test]
async fn beyond_the_limit_the_caller_gets_what_is_within_and_both_sides_are_told() {
    let Streaming { mut client, sink, mut pieces, finished, .. } = streaming().await;
    sink.skip(STREAMED_BYTES_MAX - 3);
    client.send(&chunk(b"abcde")).await;
    assert_eq!(pieces.recv().await.unwrap(), "abc");
    let fault = Fault::StreamTooLarge { bytes: STREAMED_BYTES_MAX + 2 };
    assert_eq!(finished.await.unwrap().completion, Completion::Fault(fault));
    // What it goes on to send is thrown away.
    client.send(&chunk(&[b'x'; 500_000])).await;
    client.send(b"0\r\n\r\n").await;
    let reply = client.try_reply().await.unwrap();
    assert_eq!(reply.status, 413);
    assert!(reply.text().contains("payload size (209715200 bytes)"), "{}", reply.text());
}

#[tokio::test]
async fn exactly_the_limit_is_no_error() {
    let Streaming { mut client, sink, mut pieces, finished, .. } = streaming().await;
    sink.skip(STREAMED_BYTES_MAX - 3);
    client.send(&chunk(b"abc")).await;
    client.send(b"0\r\n\r\n").await;
    assert_eq!(pieces.recv().await.unwrap(), "abc");
    assert_eq!(client.try_reply().await.unwrap().status, 202);
    assert_eq!(finished.await.unwrap().completion, Completion::Streamed(None));
}

#[tokio::test]
async fn a_broken_stream_of_a_runtime_that_lives_is_truncated() {
    let Streaming { bench, mut client, mut pieces, finished, .. } = streaming().await;
    client.send(&chunk(b"abc")).await;
    assert_eq!(pieces.recv().await.unwrap(), "abc");
    drop(client);
    bench.until(Life::Settling).await;
    // It cannot be repeated, as another answer could.
    assert_eq!(bench.connect().respond("a", b"again").await.status, 403);
    assert_eq!(finished.await.unwrap().completion, Completion::Fault(Fault::Truncated));
    let mut other = bench.connect();
    other.send(NEXT).await;
    bench.until(Life::Idle).await;
    let outcome = bench.told.outcomes().remove(0);
    assert_eq!(outcome.status, Status::Error("Runtime.TruncatedResponse".to_owned()));
    assert_eq!(outcome.reply.unwrap().bytes, 3);
}

#[tokio::test]
async fn a_runtime_that_asks_on_after_it_broke_off_is_not_kept_waiting() {
    let Streaming { bench, mut client, finished, .. } = streaming().await;
    client.send(b"zz\r\nabc\r\n").await;
    assert_eq!(client.try_reply().await.map_or(400, |reply| reply.status), 400);
    let mut other = bench.connect();
    other.send(NEXT).await;
    bench.until(Life::Idle).await;
    assert_eq!(finished.await.unwrap().completion, Completion::Fault(Fault::Truncated));
    let _finished = bench.hand_out("b").unwrap();
    assert_eq!(other.try_reply().await.unwrap().request_id(), "b");
}

#[tokio::test]
async fn an_exit_explains_a_broken_stream_whichever_is_known_first() {
    let exit = Exit { code: Some(3), ..Exit::default() };
    for exit_first in [true, false] {
        let Streaming { bench, mut client, mut pieces, finished, .. } = streaming().await;
        client.send(&chunk(b"abc")).await;
        assert_eq!(pieces.recv().await.unwrap(), "abc");
        if exit_first {
            bench.desk.exited(exit);
            drop(client);
        } else {
            drop(client);
            bench.until(Life::Settling).await;
            bench.desk.exited(exit);
        }
        assert_eq!(finished.await.unwrap().completion, Completion::Fault(Fault::Exited(exit)));
        assert_eq!(bench.desk.life(), Life::Dead);
        let outcomes = bench.told.outcomes();
        assert_eq!(outcomes.len(), 1);
        assert_eq!(outcomes[0].fault, Some(Fault::Exited(exit)));
        assert_eq!(outcomes[0].reply.unwrap().bytes, 3);
    }
}

#[tokio::test]
async fn a_stream_that_is_whole_stands_though_the_process_has_ended() {
    let Streaming { bench, mut client, mut pieces, finished, .. } = streaming().await;
    client.io.write_all(&chunk(b"abc")).await.unwrap();
    client.io.write_all(b"0\r\n\r\n").await.unwrap();
    client.io.shutdown().await.unwrap();
    bench.desk.exited(Exit::default());
    assert_eq!(pieces.recv().await.unwrap(), "abc");
    assert_eq!(finished.await.unwrap().completion, Completion::Streamed(None));
}

#[tokio::test]
async fn time_is_up_in_the_middle_of_a_stream() {
    let timeout = Duration::from_secs(3);
    let Streaming { bench, mut client, mut pieces, .. } = streaming().await;
    client.send(&chunk(b"abc")).await;
    assert_eq!(pieces.recv().await.unwrap(), "abc");
    let finished = bench.desk.time_out("a", timeout).unwrap();
    assert_eq!(finished.completion, Completion::Fault(Fault::TimedOut { timeout }));
    let outcome = bench.told.outcomes().remove(0);
    assert_eq!((outcome.status, outcome.reply.unwrap().bytes), (Status::Timeout, 3));
    // What comes too late ends nothing a second time.
    client.send(b"0\r\n\r\n").await;
    assert_eq!(client.try_reply().await.unwrap().status, 403);
    assert_eq!(bench.told.outcomes().len(), 1);
}
