//! All at once: each request on a connection of its own, which is open before the first one is sent.

use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use crate::http;

/// What came of it.
pub struct Answers {
    /// From the first request to each answer, in the order of the answers, in milliseconds.
    pub answered_ms: Vec<f64>,
    /// Those among them that were not good, in words.
    pub failures: Vec<String>,
    pub asked: usize,
}

impl Answers {
    pub fn good(&self) -> usize {
        self.answered_ms.len() - self.failures.len()
    }

    /// Answers per second, from the first request to the last answer.
    pub fn rate(&self) -> f64 {
        self.answered_ms.last().map_or(0.0, |ms| self.answered_ms.len() as f64 / ms * 1_000.0)
    }
}

/// Sends all of them and waits for all answers, or for as long as `limit`.
///
/// # Errors
/// When a connection cannot be made.
pub fn run(address: SocketAddr, requests: &[Vec<u8>], limit: Duration) -> Result<Answers, String> {
    let text = |error: std::io::Error| format!("{address}: {error}");
    let mut poll = Poll::new().map_err(text)?;
    let mut waiting: Vec<Option<(TcpStream, Vec<u8>)>> = Vec::new();
    for index in 0..requests.len() {
        let stream = std::net::TcpStream::connect(address).map_err(text)?;
        stream.set_nodelay(true).map_err(text)?;
        stream.set_nonblocking(true).map_err(text)?;
        let mut stream = TcpStream::from_std(stream);
        poll.registry().register(&mut stream, Token(index), Interest::READABLE).map_err(text)?;
        waiting.push(Some((stream, Vec::new())));
    }
    let mut answers = Answers { answered_ms: Vec::new(), failures: Vec::new(), asked: requests.len() };
    let begun = Instant::now();
    for (one, request) in waiting.iter_mut().zip(requests) {
        if let Some((stream, _)) = one {
            stream.write_all(request).map_err(text)?;
        }
    }
    let mut events = Events::with_capacity(1_024);
    while answers.answered_ms.len() < requests.len() && begun.elapsed() < limit {
        match poll.poll(&mut events, Some(Duration::from_millis(100))) {
            Err(error) if error.kind() != ErrorKind::Interrupted => return Err(text(error)),
            _ => {}
        }
        for event in &events {
            let one = &mut waiting[event.token().0];
            let Some(answer) = one.as_mut().and_then(|(stream, buffer)| read(stream, buffer)) else {
                continue;
            };
            *one = None;
            answers.answered_ms.push(begun.elapsed().as_secs_f64() * 1_000.0);
            answers.failures.extend(answer.err());
        }
    }
    Ok(answers)
}

/// A whole answer, whether it is a good one, and nothing while there is more to come.
fn read(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<Result<(), String>> {
    let mut part = [0; 16_384];
    loop {
        match stream.read(&mut part) {
            Ok(0) if buffer.is_empty() => return Some(Err("the connection was closed".to_owned())),
            // What came before the end may be a whole answer.
            Ok(0) => {
                let whole = http::good_reply(buffer).is_some();
                return if whole { answered(buffer) } else { Some(Err("half an answer".to_owned())) };
            }
            Ok(count) => buffer.extend_from_slice(&part[..count]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => return Some(Err(error.to_string())),
        }
    }
    answered(buffer)
}

fn answered(buffer: &[u8]) -> Option<Result<(), String>> {
    let (good, end) = http::good_reply(buffer)?;
    Some(if good { Ok(()) } else { Err(String::from_utf8_lossy(&buffer[..end]).into_owned()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_good_and_bad_answers() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = std::thread::spawn(move || {
            for status in ["200 OK", "500 Oh", "200 OK"] {
                let (mut stream, _) = listener.accept().unwrap();
                std::thread::spawn(move || {
                    let mut part = [0; 512];
                    assert!(stream.read(&mut part).unwrap() > 0);
                    write!(stream, "HTTP/1.1 {status}\r\nContent-Length: 2\r\n\r\n{{}}").unwrap();
                });
            }
        });
        let request = b"POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n".to_vec();
        let answers = run(address, &vec![request; 3], Duration::from_secs(20)).unwrap();
        server.join().unwrap();
        assert_eq!((answers.asked, answers.good(), answers.failures.len()), (3, 2, 1));
        assert!(answers.failures[0].starts_with("HTTP/1.1 500") && answers.rate() > 0.0);
    }
}
