//! The stream of our own clients: what is answered by hand, and that hyper would have answered the same.

use bytes::Bytes;
use lambic_rt::TaskKind;
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::oneshot;

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

/// All that is answered to these bytes, as lines in alphabetical order.
async fn answers(bench: &Bench, mut io: DuplexStream, bytes: &[u8]) -> Vec<String> {
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
        .filter(|line| !line.starts_with("date: "))
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
    let (ours, hypers) = (Bench::new(), Bench::new());
    let of_ours = answers(&ours, ours.inherit().io, &bytes).await;
    assert!(of_ours.iter().any(|line| line.contains("202 Accepted")), "{of_ours:?}");
    assert_eq!(of_ours, answers(&hypers, hypers.connect().io, &bytes).await);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn hyper_gives_the_same_answers(sent in prop::collection::vec(sent(), 1..4)) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async {
            let bytes = sent.concat();
            let (ours, hypers) = (Bench::new(), Bench::new());
            let of_ours = answers(&ours, ours.inherit().io, &bytes).await;
            let of_hyper = answers(&hypers, hypers.connect().io, &bytes).await;
            assert_eq!(of_ours, of_hyper, "{}", String::from_utf8_lossy(&bytes));
            assert_eq!(ours.desk.life(), hypers.desk.life());
        });
    }
}
