//! The Runtime API's contract where it is refused or unusual: every illegal move over the wire, error
//! documents of all kinds, failures in trailers, heads that are very long.

use bytes::Bytes;
use tokio::io::{AsyncWriteExt, DuplexStream};
use tokio::sync::oneshot;

use super::connection::HEAD_BYTES_MAX;
use super::desk::{Completion, Finished};
use super::life::{Life, Move};
use super::restore::tests as restore_tests;
use super::testing::Client;
use super::tests::Bench;
use crate::invoke::fault::{Fault, RESPONSE_BYTES_MAX};

const STREAMED: &str = "POST /2018-06-01/runtime/invocation/a/response HTTP/1.1\r\nHost: x\r\n\
                        Lambda-Runtime-Function-Response-Mode: streaming\r\n\
                        Transfer-Encoding: chunked\r\n\r\n";

const RESTORE_NEXT: &str = "GET /2018-06-01/runtime/restore/next HTTP/1.1\r\nHost: x\r\n\r\n";

/// A desk in this state, whose last invocation is `a` as soon as it has had one.
async fn bench_in(life: Life) -> (Bench, Vec<Client<DuplexStream>>) {
    let bench = match life {
        Life::RestoreReady => restore_tests::bench(true),
        Life::Restoring | Life::RestoreFailed => restore_tests::bench(false),
        _ => Bench::new(),
    };
    let mut clients = Vec::new();
    match life {
        Life::Init => {}
        Life::RestoreReady | Life::Restoring | Life::RestoreFailed => {
            let mut client = bench.connect();
            client.send(RESTORE_NEXT.as_bytes()).await;
            if life == Life::RestoreReady {
                bench.until(life).await;
                clients.push(client);
            } else {
                assert_eq!(client.try_reply().await.unwrap().status, 200);
            }
            if life == Life::RestoreFailed {
                assert_eq!(bench.connect().post("restore/error", b"{}").await.status, 202);
            }
        }
        Life::InitFailed => {
            let mut client = bench.connect();
            assert_eq!(client.post("init/error", b"{}").await.status, 202);
        }
        Life::Idle => clients.push(bench.waiting().await),
        Life::Running | Life::Answering | Life::Settling | Life::Dead => {
            let (mut client, receiver) = bench.running().await;
            match life {
                Life::Answering => {
                    client.send(STREAMED.as_bytes()).await;
                    bench.until(Life::Answering).await;
                }
                Life::Settling => assert_eq!(client.respond("a", b"1").await.status, 202),
                Life::Dead => bench.desk.close(crate::invoke::fault::Exit::default()),
                _ => {}
            }
            drop(receiver);
            clients.push(client);
        }
    }
    assert_eq!(bench.desk.life(), life);
    (bench, clients)
}

#[tokio::test]
async fn every_illegal_move_is_refused_with_403_and_changes_nothing() {
    let states = [
        Life::Init,
        Life::InitFailed,
        Life::RestoreReady,
        Life::Restoring,
        Life::RestoreFailed,
        Life::Idle,
        Life::Running,
        Life::Answering,
        Life::Settling,
        Life::Dead,
    ];
    let routes = [
        (Move::Next, "GET", "invocation/next"),
        (Move::Response, "POST", "invocation/a/response"),
        (Move::Error, "POST", "invocation/a/error"),
        (Move::InitError, "POST", "init/error"),
    ];
    let mut refused = 0;
    for life in states {
        for (tried, method, route) in routes {
            let Err(illegal) = life.step(tried) else { continue };
            let (bench, _clients) = bench_in(life).await;
            let mut client = bench.connect();
            let request = format!(
                "{method} /2018-06-01/runtime/{route} HTTP/1.1\r\nHost: x\r\n\
                 Content-Length: 2\r\n\r\n{{}}"
            );
            client.send(request.as_bytes()).await;
            let reply = client.try_reply().await.unwrap();
            let has_invocation =
                matches!(life, Life::Running | Life::Answering | Life::Settling | Life::Dead);
            let (status, kind) = match tried {
                // The id is looked at first, and there has been none.
                Move::Response | Move::Error if !has_invocation => (400, "InvalidRequestID"),
                _ => (403, "InvalidStateTransition"),
            };
            assert_eq!(reply.status, status, "{life:?} {tried:?}: {reply:?}");
            let document: serde_json::Value = serde_json::from_slice(&reply.body).unwrap();
            assert_eq!(document["errorType"], kind, "{life:?} {tried:?}");
            if status == 403 {
                assert_eq!(document["errorMessage"], illegal.to_string(), "{life:?} {tried:?}");
            }
            assert_eq!(bench.desk.life(), life, "{tried:?}");
            refused += 1;
        }
    }
    assert_eq!(refused, 31);
}

async fn failed(headers: &str, body: &[u8]) -> String {
    let bench = Bench::new();
    let (mut client, receiver) = bench.running().await;
    let reply = client.post_with("invocation/a/error", headers, body).await;
    assert_eq!((reply.status, reply.text()), (202, "{\"status\":\"OK\"}\n"));
    match receiver.await.unwrap().completion {
        Completion::Error(document) => String::from_utf8(document.to_vec()).unwrap(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn errors_of_every_content_type_and_header_reach_the_caller() {
    let document = r#"{"errorMessage":"m","errorType":"T","stackTrace":[]}"#;
    for kind in [
        "",
        "Content-Type: application/json\r\n",
        "Content-Type: application/vnd.aws.lambda.error+json\r\n",
        "Lambda-Runtime-Function-Error-Type: Runtime.Mine\r\n",
        "Lambda-Runtime-Function-XRay-Error-Cause: {\"working_directory\":\"/var/task\"}\r\n",
        "Lambda-Runtime-Function-XRay-Error-Cause: not json\r\n",
    ] {
        assert_eq!(failed(kind, document.as_bytes()).await, document, "{kind}");
    }
    let cause = "Content-Type: application/vnd.aws.lambda.error.cause+json; charset=utf-8\r\n";
    let both = r#"{"errorMessage":"m","errorType":"T","errorCause":{"paths":[]}}"#;
    let taken: serde_json::Value =
        serde_json::from_str(&failed(cause, both.as_bytes()).await).unwrap();
    assert_eq!(taken, serde_json::json!({"errorMessage": "m", "errorType": "T"}));
    assert_eq!(failed(cause, b"no json").await, "no json");
    let typed = "Lambda-Runtime-Function-Error-Type: Function.Mine\r\n";
    assert_eq!(failed(typed, b"").await, r#"{"errorType":"Function.Mine","errorMessage":""}"#);
}

#[tokio::test]
async fn heads_up_to_256_kb_pass_and_longer_ones_get_431() {
    let document = br#"{"errorMessage":"m"}"#;
    for kb in [64, 200, 255] {
        let cause =
            format!("Lambda-Runtime-Function-XRay-Error-Cause: {}\r\n", "x".repeat(kb * 1000));
        assert_eq!(failed(&cause, document).await.as_bytes(), document, "{kb} KB");
    }
    let bench = Bench::new();
    let (mut client, _receiver) = bench.running().await;
    let head = format!(
        "POST /2018-06-01/runtime/invocation/a/error HTTP/1.1\r\nHost: x\r\nA: {}",
        "x".repeat(HEAD_BYTES_MAX)
    );
    // It is refused before it has said everything.
    let _ = client.io.write_all(head.as_bytes()).await;
    assert_eq!(client.try_reply().await.unwrap().status, 431);
    assert_eq!(bench.desk.life(), Life::Running);
    assert_eq!(bench.connect().respond("a", b"1").await.status, 202, "another may still answer");
}

/// What comes of chunks and trailers, and with which status.
async fn streamed(rest: &[u8]) -> (u16, oneshot::Receiver<Finished>, Bench) {
    let bench = Bench::new();
    let (mut client, receiver) = bench.running().await;
    client.send(STREAMED.as_bytes()).await;
    client.send(rest).await;
    let reply = client.try_reply().await;
    (reply.map_or(0, |reply| reply.status), receiver, bench)
}

#[tokio::test]
async fn a_stream_that_fails_at_its_end_is_an_error_of_the_function() {
    let long = "QUFB".repeat(40_000);
    let decoded = "AAA".repeat(40_000);
    let cases = [
        (
            "Lambda-Runtime-Function-Error-Body: eyJhIjoxfQ==\r\n".to_owned(),
            r#"{"a":1}"#.to_owned(),
        ),
        (format!("Lambda-Runtime-Function-Error-Body: {long}\r\n"), decoded),
        (String::new(), r#"{"errorType":"Function.Mine","errorMessage":""}"#.to_owned()),
        (
            "Lambda-Runtime-Function-Error-Body: not base64!\r\n".to_owned(),
            r#"{"errorType":"Function.Mine","errorMessage":""}"#.to_owned(),
        ),
    ];
    for (body, expected) in cases {
        let rest = format!(
            "3\r\nabc\r\n0\r\nLambda-Runtime-Function-Error-Type: Function.Mine\r\n{body}\r\n"
        );
        let (status, receiver, _bench) = streamed(rest.as_bytes()).await;
        assert_eq!(status, 202);
        let Completion::Error(document) = receiver.await.unwrap().completion else { panic!() };
        assert_eq!(document, Bytes::from(expected));
    }
    let (status, receiver, _bench) = streamed(b"3\r\nabc\r\n0\r\nOther: x\r\n\r\n").await;
    let whole = Completion::Response(Bytes::from_static(b"abc"));
    assert_eq!((status, receiver.await.unwrap().completion), (202, whole));
}

#[tokio::test]
async fn a_stream_beyond_the_limit_or_malformed_is_told_to_both_sides() {
    let chunk = format!("100000\r\n{}\r\n", "x".repeat(0x10_0000));
    let rest = format!("{}0\r\n\r\n", chunk.repeat(7));
    let (status, receiver, _bench) = streamed(rest.as_bytes()).await;
    let fault = Fault::ResponseTooLarge { bytes: 7 * 1024 * 1024 };
    const { assert!(RESPONSE_BYTES_MAX < 7 * 1024 * 1024) };
    assert_eq!((status, receiver.await.unwrap().completion), (413, Completion::Fault(fault)));

    let (status, mut receiver, bench) = streamed(b"zz\r\nabc\r\n").await;
    assert_eq!(status, 400, "truncated or malformed");
    assert!(receiver.try_recv().is_err(), "it may answer again");
    assert_eq!(bench.connect().respond("a", b"1").await.status, 202);
    assert_eq!(receiver.await.unwrap().completion, Completion::Response(Bytes::from_static(b"1")));
}

#[tokio::test]
async fn a_body_that_is_shorter_than_said_may_be_repeated_as_an_error() {
    let bench = Bench::new();
    let (mut client, receiver) = bench.running().await;
    let head = "POST /2018-06-01/runtime/invocation/a/response HTTP/1.1\r\nHost: x\r\n\
                Content-Length: 10\r\n\r\nhalf";
    client.send(head.as_bytes()).await;
    bench.until(Life::Answering).await;
    drop(client);
    bench.until(Life::Running).await;
    let mut again = bench.connect();
    assert_eq!(again.fail("a", b"{\"errorMessage\":\"m\"}").await.status, 202);
    let error = Completion::Error(Bytes::from_static(b"{\"errorMessage\":\"m\"}"));
    assert_eq!(receiver.await.unwrap().completion, error);
}
