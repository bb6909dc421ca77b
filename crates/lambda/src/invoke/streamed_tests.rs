//! Answers that are taken while the function sends them, over fake environments.

use std::future::poll_fn;

use bytes::Bytes;
use tokio::sync::Semaphore;

use super::fake::{Inside, Machine, echo, exited, request, script};
use super::streamed::{End, Part};
use super::*;

const LIMIT: Duration = Duration::from_secs(10);

/// Begins to stream.
async fn begin(inside: &mut Inside, request_id: &str) {
    let head = format!(
        "POST /2018-06-01/runtime/invocation/{request_id}/response HTTP/1.1\r\nHost: x\r\n\
         Lambda-Runtime-Function-Response-Mode: streaming\r\nTransfer-Encoding: chunked\r\n\r\n"
    );
    inside.runtime.send(head.as_bytes()).await;
}

/// Streams each event with `ends` after it.
fn streams(ends: &'static str) -> fake::Script {
    script(move |mut inside: Inside| async move {
        while let Some(event) = inside.runtime.try_next().await {
            begin(&mut inside, &event.request_id()).await;
            let chunk = format!("{:x}\r\n{}\r\n", event.body.len(), event.text());
            inside.runtime.send(chunk.as_bytes()).await;
            inside.runtime.send(ends.as_bytes()).await;
            inside.runtime.try_reply().await;
        }
        exited(0)
    })
}

impl Machine {
    async fn stream(&self, payload: &str) -> Result<StreamedAnswer, Error> {
        let invocation = Invocation { log_tail: false, ..request(payload) };
        self.invoker.invoke_streamed(Arc::new(self.version(1)), invocation).await
    }

    async fn all(&self, payload: &str) -> (String, End) {
        rest(&mut self.stream(payload).await.unwrap()).await
    }
}

async fn part(answer: &mut StreamedAnswer) -> Option<Part> {
    let part = poll_fn(|context| answer.stream.poll_part(context));
    let part = Rt::real().within(LIMIT, part).await.expect("the next part");
    part.transpose().unwrap()
}

/// All that is left, and how it ended.
async fn rest(answer: &mut StreamedAnswer) -> (String, End) {
    let mut text = String::new();
    loop {
        match part(answer).await {
            Some(Part::Piece(piece)) => text.push_str(std::str::from_utf8(&piece).unwrap()),
            Some(Part::End(end)) => {
                assert!(part(answer).await.is_none(), "the end is the last part");
                return (text, end);
            }
            None => panic!("no end"),
        }
    }
}

fn error(code: &str, details: Option<&str>) -> End {
    let (error_code, error_details) = (Some(code.to_owned()), details.map(str::to_owned));
    End { error_code, error_details, log_tail: None }
}

#[tokio::test]
async fn parts_come_while_the_function_runs() {
    let gate = Arc::new(Semaphore::new(0));
    let inner = gate.clone();
    let machine = Machine::new(script(move |mut inside: Inside| {
        let gate = inner.clone();
        async move {
            while let Some(event) = inside.runtime.try_next().await {
                begin(&mut inside, &event.request_id()).await;
                inside.runtime.send(b"5\r\nfirst\r\n").await;
                gate.acquire().await.unwrap().forget();
                inside.runtime.send(b"6\r\nsecond\r\n0\r\n\r\n").await;
                inside.runtime.try_reply().await;
            }
            exited(0)
        }
    }));
    for _ in 0..3 {
        let mut answer = machine.stream("1").await.unwrap();
        assert_eq!(answer.executed_version, "$LATEST");
        assert_eq!(part(&mut answer).await, Some(Part::Piece(Bytes::from_static(b"first"))));
        // Only now may the function go on.
        gate.add_permits(1);
        assert_eq!(rest(&mut answer).await, ("second".to_owned(), End::default()));
    }
    assert_eq!(machine.launches(), 1);
    assert_eq!(machine.invoker.figures().invocations.value(), 3);
}

#[tokio::test]
async fn what_is_no_stream_comes_as_one() {
    let machine = Machine::new(script(echo));
    assert_eq!(machine.all("1").await, ("1".to_owned(), End::default()));
    let big = format!("\"{}\"", "x".repeat(1_000_000));
    assert_eq!(machine.all(&big).await, (big, End::default()));
    let mut answer = machine.stream("1").await.unwrap();
    assert_eq!(part(&mut answer).await, Some(Part::Piece(Bytes::from_static(b"1"))), "the order");
}

#[tokio::test]
async fn invoke_gathers_a_stream() {
    let machine = Machine::new(streams("0\r\n\r\n"));
    assert_eq!(machine.text("12").await, ("12".to_owned(), None));
    let failed = "0\r\nLambda-Runtime-Function-Error-Type: T\r\n\
                  Lambda-Runtime-Function-Error-Body: eyJhIjoxfQ==\r\n\r\n";
    let machine = Machine::new(streams(failed));
    assert_eq!(machine.text("12").await, (r#"{"a":1}"#.to_owned(), Some("Unhandled")));
    assert_eq!(machine.all("12").await, ("12".to_owned(), error("T", Some(r#"{"a":1}"#))));
    assert_eq!(machine.invoker.figures().errors.value(), 2);
}

#[tokio::test]
async fn errors_before_the_stream_are_told_as_invoke_tells_them() {
    let machine = Machine::new(script(|mut inside: Inside| async move {
        let event = inside.runtime.next().await;
        if event.text() == "\"exit\"" {
            return exited(3);
        }
        inside.runtime.fail(&event.request_id(), br#"{"errorType":"T"}"#).await;
        exited(0)
    }));
    let expected = error("Unhandled", Some(r#"{"errorType":"T"}"#));
    assert_eq!(machine.all("1").await, (String::new(), expected));
    let (text, end) = machine.all("\"exit\"").await;
    assert_eq!((text.as_str(), end.error_code.as_deref()), ("", Some("Unhandled")));
    let details = end.error_details.unwrap();
    assert!(
        details.starts_with(r#"{"errorType":"Runtime.ExitError","errorMessage":"#),
        "{details}"
    );
}

#[tokio::test]
async fn a_start_that_fails_is_the_end_of_the_stream() {
    let machine = Machine::new(script(|mut inside: Inside| async move {
        inside.runtime.post("init/error", br#"{"errorType":"Runtime.Bad"}"#).await;
        exited(1)
    }));
    let (_, end) = machine.all("1").await;
    assert_eq!(end, error("Unhandled", Some(r#"{"errorType":"Runtime.Bad"}"#)));
}

#[tokio::test]
async fn an_exit_in_the_middle_is_a_truncated_response() {
    let gate = Arc::new(Semaphore::new(0));
    let inner = gate.clone();
    let machine = Machine::new(script(move |mut inside: Inside| {
        let gate = inner.clone();
        async move {
            let event = inside.runtime.next().await;
            begin(&mut inside, &event.request_id()).await;
            inside.runtime.send(b"3\r\nabc\r\n").await;
            gate.acquire().await.unwrap().forget();
            exited(3)
        }
    }));
    let mut answer = machine.stream("1").await.unwrap();
    gate.add_permits(1);
    let truncated = error("Runtime.TruncatedResponse", None);
    assert_eq!(rest(&mut answer).await, ("abc".to_owned(), truncated));
}

/// The time runs also while nobody takes anything.
#[tokio::test]
async fn a_timeout_in_the_middle_needs_no_caller() {
    let machine = Machine::new(script(|mut inside: Inside| async move {
        let event = inside.runtime.next().await;
        begin(&mut inside, &event.request_id()).await;
        loop {
            inside.runtime.send(b"5\r\n12345\r\n").await;
        }
    }));
    let version = Arc::new(Version { timeout_s: 1, ..machine.version(1) });
    let invocation = Invocation { log_tail: false, ..request("1") };
    let mut answer = machine.invoker.invoke_streamed(version, invocation).await.unwrap();
    machine.until_alive(0).await;
    let (text, end) = rest(&mut answer).await;
    assert!(text.starts_with("12345"), "{text}");
    assert_eq!(end, error("Sandbox.Timedout", None));
}

#[tokio::test]
async fn a_caller_that_is_gone_ends_nothing() {
    let gate = Arc::new(Semaphore::new(0));
    let inner = gate.clone();
    let machine = Machine::new(script(move |mut inside: Inside| {
        let gate = inner.clone();
        async move {
            while let Some(event) = inside.runtime.try_next().await {
                begin(&mut inside, &event.request_id()).await;
                inside.runtime.send(b"3\r\nabc\r\n").await;
                gate.acquire().await.unwrap().forget();
                let more = format!("{:x}\r\n{}\r\n0\r\n\r\n", 1_000_000, "x".repeat(1_000_000));
                inside.runtime.send(more.as_bytes()).await;
                inside.runtime.try_reply().await;
            }
            exited(0)
        }
    }));
    drop(machine.stream("1").await.unwrap());
    assert_eq!(machine.invoker.figures().invocations.value(), 0, "it is still at work");
    gate.add_permits(2);
    let ended = async {
        while machine.invoker.figures().invocations.value() == 0 {
            tokio::task::yield_now().await;
        }
    };
    assert!(Rt::real().within(LIMIT, ended).await.is_some(), "it was to end");
    let (text, end) = machine.all("2").await;
    assert_eq!((text.len(), end), (1_000_003, End::default()));
    assert_eq!(machine.invoker.figures().invocations.value(), 2);
    assert_eq!(machine.invoker.figures().errors.value(), 0);
    assert_eq!(machine.launches(), 1);
}

#[tokio::test]
async fn draining_waits_for_a_stream() {
    let gate = Arc::new(Semaphore::new(0));
    let inner = gate.clone();
    let machine = Machine::new(script(move |mut inside: Inside| {
        let gate = inner.clone();
        async move {
            let event = inside.runtime.next().await;
            begin(&mut inside, &event.request_id()).await;
            inside.runtime.send(b"3\r\nabc\r\n").await;
            gate.acquire().await.unwrap().forget();
            inside.runtime.send(b"0\r\n\r\n").await;
            inside.runtime.try_next().await;
            exited(0)
        }
    }));
    let mut answer = machine.stream("1").await.unwrap();
    assert_eq!(part(&mut answer).await, Some(Part::Piece(Bytes::from_static(b"abc"))));
    let ends = async {
        gate.add_permits(1);
        rest(&mut answer).await
    };
    let (drained, end) = tokio::join!(machine.invoker.drain(LIMIT), ends);
    assert_eq!((drained, end), (true, (String::new(), End::default())));
}

#[tokio::test]
async fn without_room_the_request_is_throttled_and_there_is_no_stream() {
    let config = InvokeConfig {
        budget: Budget { memory_mb_max: 64, environments_max: 1 },
        ..InvokeConfig::default()
    };
    let machine = Machine::with(config, script(echo), false);
    let error = machine.stream("1").await.unwrap_err();
    assert_eq!((error.status, error.code.as_ref()), (429, "TooManyRequestsException"));
}
