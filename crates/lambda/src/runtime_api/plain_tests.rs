//! Plain requests: what is answered by hand, and that hyper would have answered the same.

use bytes::Bytes;
use lambic_rt::TaskKind;
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::oneshot;

use super::connection::{self, Kind};
use super::desk::{Completion, Finished};
use super::hostile_tests::{request, sent};
use super::life::Life;
use super::testing::Client;
use super::tests::Bench;
use crate::invoke::fault::Exit;

fn next() -> Vec<u8> {
    request("GET", "runtime/invocation/next", "", "")
}

fn response(id: &str, body: &str) -> Vec<u8> {
    let headers = format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len());
    request("POST", &format!("runtime/invocation/{id}/response"), &headers, body)
}

/// One of our clients, which has an event with id `a`.
async fn running(bench: &Bench) -> (Client<DuplexStream>, oneshot::Receiver<Finished>) {
    let mut client = bench.inherit();
    client.send(&next()).await;
    bench.until(Life::Idle).await;
    let receiver = bench.hand_out("a").unwrap();
    assert_eq!(client.try_reply().await.unwrap().request_id(), "a");
    (client, receiver)
}

#[tokio::test]
async fn an_answer_and_the_next_question_at_once() {
    let bench = Bench::new();
    let (mut client, receiver) = running(&bench).await;
    bench.told.take();
    // Whoever waits for the answer, as a caller's connection does.
    let told = bench.told.clone();
    let caller = async move { (receiver.await.unwrap().completion, told.take()) };
    let caller = bench.rt.spawn("test caller", TaskKind::Request, caller);
    tokio::task::yield_now().await;
    client.send(&[response("a", "\"done\""), next()].concat()).await;
    let (completion, told) = caller.await.unwrap();
    assert_eq!(completion, Completion::Response(Bytes::from_static(b"\"done\"")));
    assert_eq!(told, ["responded"], "the caller has it before anything is recorded");
    bench.until(Life::Idle).await;
    assert_eq!(bench.told.take(), ["done a", "record a error=false", "ready"]);
    let _receiver = bench.hand_out("b").unwrap();
    assert_eq!(client.try_reply().await.unwrap().text(), "{\"status\":\"OK\"}\n");
    assert_eq!(client.try_reply().await.unwrap().request_id(), "b");
}

#[tokio::test]
async fn an_answer_alone_is_accepted_at_once() {
    let bench = Bench::new();
    let (mut client, receiver) = running(&bench).await;
    client.send(&response("a", "1")).await;
    assert_eq!(client.try_reply().await.unwrap().status, 202);
    assert!(receiver.await.is_ok());
    assert_eq!(bench.desk.life(), Life::Settling);
    assert_eq!(client.respond("a", b"2").await.status, 403, "a second one");
}

#[tokio::test]
async fn long_answers_and_long_events_arrive_whole() {
    let bench = Bench::new();
    let (mut client, receiver) = running(&bench).await;
    // Kept from the buffer, copied out of it, and too long for it.
    let mut receiver = Some(receiver);
    for (index, length) in [5_000, 200_000, 30, 20_000].into_iter().enumerate() {
        let (id, following) = (["a", "b", "c", "d"][index], ["b", "c", "d", "e"][index]);
        let body = "x".repeat(length);
        client.send(&[response(id, &body), next()].concat()).await;
        let finished = receiver.take().unwrap().await.unwrap();
        assert_eq!(finished.completion, Completion::Response(Bytes::from(body)));
        bench.until(Life::Idle).await;
        receiver = Some(bench.hand_out(following).unwrap());
        assert_eq!(client.try_reply().await.unwrap().status, 202);
        assert_eq!(client.try_reply().await.unwrap().request_id(), following);
    }
}

#[tokio::test]
async fn what_is_unusual_is_not_lost_on_its_way_to_hyper() {
    let bench = Bench::new();
    let (mut client, receiver) = running(&bench).await;
    let chunked = "Transfer-Encoding: chunked\r\n";
    let body = "3\r\nabc\r\n0\r\n\r\n";
    let post = request("POST", "runtime/invocation/a/response", chunked, body);
    let (begin, rest) = post.split_at(post.len() - 7);
    client.send(begin).await;
    bench.until(Life::Answering).await;
    client.send(&[rest, &next()].concat()).await;
    assert_eq!(
        receiver.await.unwrap().completion,
        Completion::Response(Bytes::from_static(b"abc"))
    );
    assert_eq!(client.try_reply().await.unwrap().status, 202);
    bench.until(Life::Idle).await;
    let _receiver = bench.hand_out("b").unwrap();
    assert_eq!(client.try_reply().await.unwrap().request_id(), "b");
}

/// All that is answered to these bytes, as lines in alphabetical order, those with the date included if
/// they count.
async fn answers(bench: &Bench, dated: bool, mut io: DuplexStream, bytes: &[u8]) -> Vec<String> {
    bench.desk.next().expect("a first question");
    let _receiver = bench.hand_out("a").unwrap();
    let (mut read, mut write) = tokio::io::split(&mut io);
    let mut all = Vec::new();
    let talk = async {
        // It may hang up in the middle.
        let _ = write.write_all(bytes).await;
        let _ = write.shutdown().await;
    };
    // Meanwhile, because nobody reads on while it waits for an event, and then it cannot be written.
    let close = async {
        bench.rt.sleep(std::time::Duration::from_millis(20)).await;
        bench.desk.close(Exit::default());
    };
    let (_, _, _) = tokio::join!(talk, close, read.read_to_end(&mut all));
    let text = String::from_utf8_lossy(&all).into_owned();
    let mut lines: Vec<String> = text
        .split("\r\n")
        .flat_map(|line| line.split("\n"))
        // The clock of tests is not hyper's.
        .map(|line| if line.starts_with("date: ") { "date" } else { line })
        .filter(|line| dated || *line != "date")
        .map(|line| line.replace("}HTTP", "}\nHTTP"))
        .collect();
    lines.sort();
    lines
}

/// A runtime that asks for its next event and writes on, more than anybody takes.
#[tokio::test(start_paused = true)]
async fn who_writes_on_while_it_waits_is_answered_as_by_hyper() {
    let huge = format!("A: {}\r\n", "x".repeat(300 * 1024));
    let on = request("GET", "runtime/invocation/next", &huge, "");
    let bytes = [response("a", "1"), next(), on].concat();
    for kind in KINDS {
        let of_ours = by_hand(kind, &bytes).await.0;
        assert!(of_ours.iter().any(|line| line.contains("202 Accepted")), "{of_ours:?}");
        assert_eq!(of_ours, by_hyper(kind, &bytes).await.0);
    }
}

/// A request may come in two pieces, of which the first is no request yet.
#[tokio::test(start_paused = true)]
async fn requests_that_come_in_pieces_are_answered_as_by_hyper() {
    let whole = response("a", "\"done\"");
    for at in 1..whole.len() {
        let bench = Bench::new();
        let mut client = bench.connect();
        client.send(&next()).await;
        bench.until(Life::Idle).await;
        let receiver = bench.hand_out("a").unwrap();
        assert_eq!(client.try_reply().await.unwrap().request_id(), "a");
        client.send(&whole[..at]).await;
        bench.rt.sleep(std::time::Duration::from_millis(1)).await;
        client.send(&[&whole[at..], &next()].concat()).await;
        let completion = receiver.await.unwrap().completion;
        assert_eq!(completion, Completion::Response(Bytes::from_static(b"\"done\"")), "{at}");
        assert_eq!(client.try_reply().await.unwrap().status, 202);
        bench.until(Life::Idle).await;
        let _receiver = bench.hand_out("b").unwrap();
        assert_eq!(client.try_reply().await.unwrap().request_id(), "b");
    }
}

const KINDS: [Kind; 2] = [Kind::Accepted, Kind::Inherited];

async fn by_hand(kind: Kind, bytes: &[u8]) -> (Vec<String>, Life) {
    let bench = Bench::new();
    let io = if kind == Kind::Inherited { bench.inherit().io } else { bench.connect().io };
    let answers = answers(&bench, kind == Kind::Accepted, io, bytes).await;
    (answers, bench.desk.life())
}

async fn by_hyper(kind: Kind, bytes: &[u8]) -> (Vec<String>, Life) {
    let bench = Bench::new();
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    let served = connection::serve_by_hyper(kind, Box::pin(theirs), bench.desk.clone());
    bench.rt.spawn("test connection", TaskKind::Request, served).detach();
    let answers = answers(&bench, kind == Kind::Accepted, ours, bytes).await;
    (answers, bench.desk.life())
}

/// Headers as clients send them, and as nobody should: of those that tell where a request ends, twice,
/// with strange white space, line ends and values.
fn header() -> impl Strategy<Value = String> {
    let name = prop::sample::select(vec![
        "Host",
        "host",
        "User-Agent",
        "accept",
        "Accept-Encoding",
        "Content-Type",
        "Connection",
        "Content-Length",
        "content-length",
        "Content-Length ",
        " Content-Length",
        "Content-Length\t",
        "Transfer-Encoding",
        "Expect",
        "Content-Length\r",
        "Content\u{e4}-Length",
        "",
        "Lambda-Runtime-Function-Error-Type",
        "Lambda-Runtime-Function-Response-Mode",
    ]);
    let value = prop::sample::select(vec![
        "x",
        "*/*",
        "5",
        "0",
        "05",
        "+5",
        "5,5",
        "5, 5",
        "5 5",
        "0x5",
        "-1",
        "5;",
        "1e1",
        "999999",
        "1000000",
        "18446744073709551621",
        "keep-alive",
        "Keep-Alive",
        "close",
        "keep-alive, close",
        "chunked",
        "gzip, chunked",
        "identity",
        "100-continue",
        "application/json",
        "",
        "a\rb",
        "a\u{c}b",
        "\u{e4}",
        "a\u{7f}b",
        "a\0b",
        "streaming",
        "\"5\"",
    ]);
    let blank = || prop::sample::select(vec!["", " ", "  ", "\t", "\u{b}", "\u{c}", "\r", "\r\n "]);
    let end = prop::sample::select(vec!["\r\n", "\r\n", "\r\n", "\r\n", "\n", "\r\r\n", "\r"]);
    (name, blank(), value, blank(), end)
        .prop_map(|(name, before, value, after, end)| format!("{name}:{before}{value}{after}{end}"))
}

/// One request with such headers, and another one after it, whose beginning depends on them.
fn smuggled() -> impl Strategy<Value = Vec<u8>> {
    let line = prop::sample::select(vec![
        "GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\n",
        "POST /2018-06-01/runtime/invocation/a/response HTTP/1.1\r\n",
        "POST /2018-06-01/runtime/invocation/a/response HTTP/1.1\r\n",
        "POST /2018-06-01/runtime/invocation/a/error HTTP/1.1\r\n",
        "POST /2018-06-01/runtime/invocation/a/response HTTP/1.0\r\n",
        "POST  /2018-06-01/runtime/invocation/a/response HTTP/1.1\r\n",
        "POST /2018-06-01/runtime/invocation/a/response?b HTTP/1.1\n",
        "HEAD /2018-06-01/ping HTTP/1.1\r\n",
        "GET /2018-06-01/ping HTTP/1.1\r\n",
    ]);
    let body = prop::sample::select(vec!["", "12345", "0\r\n\r\n", "5\r\n12345\r\n0\r\n\r\n", "1"]);
    let many = prop_oneof![20 => Just(0_usize), 1 => Just(98), 1 => Just(100), 1 => Just(120)];
    let headers = prop::collection::vec(header(), 0..4);
    (line, headers, many, body).prop_map(|(line, headers, many, body)| {
        let many = "accept: */*\r\n".repeat(many);
        let ping = "GET /2018-06-01/ping HTTP/1.1\r\nHost: x\r\n\r\n";
        format!("{line}{}{many}\r\n{body}{ping}", headers.concat()).into_bytes()
    })
}

fn same_by_hand_and_by_hyper(bytes: &[u8]) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async {
        for kind in KINDS {
            let text = String::from_utf8_lossy(bytes);
            assert_eq!(by_hand(kind, bytes).await, by_hyper(kind, bytes).await, "{text}");
        }
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn hyper_gives_the_same_answers(sent in prop::collection::vec(sent(), 1..4)) {
        same_by_hand_and_by_hyper(&sent.concat());
    }

    /// Both find the same end of every request.
    #[test]
    fn nothing_is_smuggled(bytes in smuggled()) {
        same_by_hand_and_by_hyper(&bytes);
    }
}
