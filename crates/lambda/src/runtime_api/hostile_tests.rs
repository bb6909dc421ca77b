//! A runtime that means harm: whatever it sends, on however many connections, nothing panics,
//! nothing waits for ever, and the platform gets an end of every invocation that it handed out.
//!
//! Time is virtual, so that a limit of an hour costs nothing and what hangs is found.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use super::desk::{Completion, Desk};
use super::life::Life;
use super::stream;
use super::tests::Bench;
use crate::invoke::fault::Exit;

/// The function's.
const TIMEOUT: Duration = Duration::from_secs(3);

/// What one connection does next.
#[derive(Clone, Debug)]
enum Deed {
    Send(Vec<u8>),
    /// Reads what has come, without waiting for more.
    Read,
    /// Says that it will send nothing more.
    HalfClose,
    /// Closes without reading.
    Close,
    /// Lets others go on.
    Wait,
    /// Lets the function's timeout pass.
    Linger,
}

pub(super) fn request(method: &str, route: &str, headers: &str, body: &str) -> Vec<u8> {
    format!("{method} /2018-06-01/{route} HTTP/1.1\r\nHost: x\r\n{headers}\r\n{body}").into_bytes()
}

/// Requests as they should be, as they should not be, and pieces of both.
pub(super) fn sent() -> impl Strategy<Value = Vec<u8>> {
    let next = request("GET", "runtime/invocation/next", "", "");
    let respond = |headers, body| request("POST", "runtime/invocation/a/response", headers, body);
    let fail = |headers, body| request("POST", "runtime/invocation/a/error", headers, body);
    let twice = [next.clone(), next.clone()].concat();
    let pipelined = [next.clone(), respond("Content-Length: 1\r\n", "1"), next.clone()].concat();
    let huge = format!("A: {}\r\n", "x".repeat(300 * 1024));
    let many = "a: b\r\n".repeat(500);
    let streaming =
        "Lambda-Runtime-Function-Response-Mode: streaming\r\nTransfer-Encoding: chunked\r\n";
    let requests = vec![
        next.clone(),
        twice,
        pipelined,
        respond("Content-Length: 1\r\n", "1"),
        respond("Content-Length: 100\r\n", "short"),
        respond("Content-Length: 2\r\n", "much too long"),
        respond("Content-Length: 99999999999999999999\r\n", ""),
        respond("Content-Length: 1\r\nContent-Length: 2\r\n", "12"),
        respond("Content-Length: -1\r\n", ""),
        respond("Content-Length: 1\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
        respond("Expect: 100-continue\r\nContent-Length: 3\r\n", ""),
        respond(streaming, "3\r\nabc\r\n0\r\nLambda-Runtime-Function-Error-Type: X\r\n\r\n"),
        respond(streaming, "3\r\nabc\r\n"),
        respond(streaming, "fffffffffffffffff\r\n"),
        respond("Lambda-Runtime-Function-Response-Mode: \u{e4}\r\nContent-Length: 1\r\n", "1"),
        fail("Content-Length: 2\r\n", "{}"),
        fail("Content-Length: 0\r\nLambda-Runtime-Function-Error-Type: \u{e4}\u{f6}\r\n", ""),
        fail(
            "Content-Type: application/vnd.aws.lambda.error.cause+json\r\nContent-Length: 7\r\n",
            "[[[[[[[",
        ),
        request("POST", "runtime/init/error", "Content-Length: 2\r\n", "{}"),
        request("POST", "runtime/init/error", "Content-Length: 9\r\n", "{"),
        request("POST", "runtime/invocation/%00%ff/response", "Content-Length: 1\r\n", "1"),
        request("POST", "runtime/invocation/../../a/response", "Content-Length: 1\r\n", "1"),
        request("GET", "runtime/invocation/next", &huge, ""),
        request("GET", "runtime/invocation/next", &many, ""),
        request("GET", "runtime/invocation/next", "Content-Length: 5\r\n", "abcde"),
        request("GET", "runtime/invocation/next", "Upgrade: h2c\r\nConnection: Upgrade\r\n", ""),
        request("CONNECT", "runtime/restore/next", "", ""),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        b"GET http://169.254.169.254/2018-06-01/ping HTTP/1.0\r\n\r\n".to_vec(),
        b"\r\n\r\n\r\n\0\0\0".to_vec(),
    ];
    let cut = prop::sample::select(requests.clone()).prop_flat_map(|whole| {
        let length = whole.len();
        (Just(whole), 0..length).prop_map(|(whole, at)| whole[..at].to_vec())
    });
    prop_oneof![
        6 => prop::sample::select(requests),
        2 => cut,
        1 => prop::collection::vec(any::<u8>(), 0..80),
    ]
}

fn deed() -> impl Strategy<Value = Deed> {
    prop_oneof![
        10 => sent().prop_map(Deed::Send),
        3 => Just(Deed::Read),
        3 => Just(Deed::Wait),
        1 => Just(Deed::Linger),
        1 => Just(Deed::HalfClose),
        1 => Just(Deed::Close),
    ]
}

/// Does it all on one connection. A platform that does not read is not waited for.
async fn attack(bench: &Bench, is_inherited: bool, deeds: Vec<Deed>) {
    let mut io: Option<DuplexStream> = None;
    let connect = || if is_inherited { bench.inherit().io } else { bench.connect().io };
    let moment = Duration::from_millis(5);
    for deed in deeds {
        let stream = io.get_or_insert_with(connect);
        match deed {
            Deed::Send(bytes) => {
                let _ = bench.rt.within(moment, stream.write_all(&bytes)).await;
            }
            Deed::Read => {
                let mut some = [0; 4096];
                let _ = bench.rt.within(moment, stream.read(&mut some)).await;
            }
            Deed::HalfClose => {
                let _ = stream.shutdown().await;
            }
            Deed::Close => io = None,
            Deed::Wait => bench.rt.sleep(moment).await,
            Deed::Linger => bench.rt.sleep(TIMEOUT + moment).await,
        }
    }
}

/// Who waits for the answer.
#[derive(Clone, Copy, Debug)]
enum Caller {
    /// Wants it in one piece.
    Whole,
    /// Wanted a stream and is gone.
    Gone,
    /// Wants a stream and takes nothing of it.
    TakesNothing,
}

/// The platform's side: hands out one event, always the same id, whenever the runtime waits, and
/// ends each by its timeout if need be, as the invoke path does. How the invocations ended.
async fn platform(bench: &Bench, callers: &[Caller]) -> Vec<Completion> {
    let timeout = TIMEOUT;
    let mut ends = Vec::new();
    let mut untaken = Vec::new();
    loop {
        let sink = match callers[ends.len() % callers.len()] {
            Caller::Whole => None,
            Caller::Gone => Some(stream::channel().0),
            Caller::TakesNothing => {
                let (sink, pieces) = stream::channel();
                untaken.push(pieces);
                Some(sink)
            }
        };
        match bench.hand_out_with("a", false, sink) {
            Ok(mut receiver) => {
                let finished = match bench.rt.within(timeout, &mut receiver).await {
                    Some(finished) => finished.expect("an end"),
                    None => match bench.desk.time_out("a", timeout) {
                        Some(finished) => finished,
                        None => receiver.await.expect("an end"),
                    },
                };
                ends.push(finished.completion);
            }
            Err(_) if matches!(bench.desk.life(), Life::Dead | Life::InitFailed) => return ends,
            Err(_) => bench.rt.sleep(Duration::from_millis(1)).await,
        }
    }
}

fn ends(desk: &Desk) {
    desk.close(Exit::default());
    assert_eq!(desk.life(), Life::Dead);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn whatever_a_runtime_does_every_invocation_ends(
        connections in prop::collection::vec(prop::collection::vec(deed(), 0..16), 1..5),
        has_asked in prop::bool::weighted(0.8),
        callers in prop::collection::vec(
            prop::sample::select(vec![Caller::Whole, Caller::Gone, Caller::TakesNothing]),
            1..4,
        ),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async {
            let bench = Bench::new();
            if has_asked {
                bench.desk.next().expect("a first question");
            }
            let attacks = connections.into_iter().enumerate();
            // The first of them on the stream that our own clients have.
            let attacks = attacks.map(|(at, deeds)| attack(&bench, at == 0, deeds));
            let attacks = async {
                join_all(attacks).await;
                // The process is gone, and what it left open with it.
                bench.desk.exited(Exit::default());
                ends(&bench.desk);
            };
            let both = async { tokio::join!(platform(&bench, &callers), attacks).0 };
            let ended = bench.rt.within(Duration::from_secs(3_600), both).await;
            let ended = ended.expect("an invocation never ended");
            for completion in ended {
                if let Completion::Response(body) | Completion::Error(body) = completion {
                    assert!(body.len() <= 300 * 1024, "{} bytes out of nowhere", body.len());
                }
            }
        });
    }
}

#[tokio::test]
async fn two_questions_at_once_and_one_while_answering_harm_nobody() {
    let bench = Bench::new();
    let (mut client, receiver) = bench.running().await;
    let head = "POST /2018-06-01/runtime/invocation/a/response HTTP/1.1\r\nHost: x\r\n\
                Content-Length: 4\r\n\r\n12";
    client.send(head.as_bytes()).await;
    bench.until(Life::Answering).await;
    let mut other = bench.connect();
    assert_eq!(other.next().await.status, 403, "in the middle of its answer");
    assert_eq!(other.respond("a", b"9").await.status, 403, "a second answer at the same time");
    client.send(b"34").await;
    assert_eq!(client.try_reply().await.unwrap().status, 202);
    let whole = Completion::Response(Bytes::from_static(b"1234"));
    assert_eq!(receiver.await.unwrap().completion, whole);
    // Two questions in one write on one connection: the second waits behind the first.
    let next = "GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\nHost: x\r\n\r\n";
    other.send(next.repeat(2).as_bytes()).await;
    bench.until(Life::Idle).await;
    let _receiver = bench.hand_out("b").unwrap();
    assert_eq!(other.try_reply().await.unwrap().request_id(), "b");
    assert_eq!(other.try_reply().await.unwrap().request_id(), "b");
}
