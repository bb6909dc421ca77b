//! The load: a number of connections, each of which sends its next request when it has its answer.
//!
//! One thread and one epoll drive all connections, so that the generator takes as little of a small
//! machine as it can. Every latency is kept, and sorted at the end.

use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use serde::{Deserialize, Serialize};

use crate::http;

/// What to send, where, and for how long.
pub struct Plan {
    pub address: SocketAddr,
    /// The whole request, as it goes over the wire.
    pub request: Vec<u8>,
    /// One of so many is another request, which takes longer; 0: none is.
    pub long_every: u64,
    pub long: Vec<u8>,
    pub connections: usize,
    /// Not counted.
    pub warm: Duration,
    pub window: Duration,
}

/// What a window showed. Latencies in microseconds.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Outcome {
    pub requests: u64,
    /// Replies other than 200, function errors, and connections that broke.
    pub errors: u64,
    pub seconds: f64,
    /// Answers per second.
    pub rate: f64,
    pub p50_us: f64,
    pub p90_us: f64,
    pub p99_us: f64,
    pub max_us: f64,
    /// Processor time of the load generator itself, as a share of one processor.
    #[serde(default)]
    pub generator: f64,
}

struct Caller {
    stream: TcpStream,
    buffer: Vec<u8>,
    sent: Instant,
    waiting: bool,
}

/// Longest wait for a single answer.
const ANSWER_S_MAX: u64 = 10;

/// Runs the plan.
///
/// # Errors
/// When no connection can be made or an answer does not come.
pub fn run(plan: &Plan) -> Result<Outcome, String> {
    let text = |error: std::io::Error| format!("{}: {error}", plan.address);
    let mut poll = Poll::new().map_err(text)?;
    let mut callers = Vec::new();
    for index in 0..plan.connections {
        // Connected before it counts, so that a refused connection is told as such.
        let stream = std::net::TcpStream::connect(plan.address).map_err(text)?;
        stream.set_nodelay(true).map_err(text)?;
        stream.set_nonblocking(true).map_err(text)?;
        let mut stream = TcpStream::from_std(stream);
        poll.registry().register(&mut stream, Token(index), Interest::READABLE).map_err(text)?;
        callers.push(Caller { stream, buffer: Vec::new(), sent: Instant::now(), waiting: false });
    }
    let (used, begun) = (cpu_s(), Instant::now());
    let (latencies, errors, seconds) = drive(plan, &mut poll, &mut callers)?;
    Ok(summed(latencies, errors, seconds, (cpu_s() - used) / begun.elapsed().as_secs_f64()))
}

/// Latencies in nanoseconds, how many answers were errors, and the seconds that it took.
fn drive(plan: &Plan, poll: &mut Poll, callers: &mut [Caller]) -> Result<(Vec<u32>, u64, f64), String> {
    let start = Instant::now() + plan.warm;
    let end = start + plan.window;
    let mut latencies: Vec<u32> = Vec::with_capacity(200_000);
    let mut errors = 0;
    let mut last = start;
    let mut sent = 0;
    let mut request = || {
        sent += 1;
        let is_long = plan.long_every > 0 && sent % plan.long_every == plan.long_every / 2;
        if is_long { &plan.long } else { &plan.request }
    };
    for caller in callers.iter_mut() {
        caller.send(request())?;
    }
    let mut events = Events::with_capacity(64);
    while callers.iter().any(|caller| caller.waiting) {
        poll.poll(&mut events, Some(Duration::from_millis(500)))
            .or_else(|error| if error.kind() == ErrorKind::Interrupted { Ok(()) } else { Err(error) })
            .map_err(|error| error.to_string())?;
        let now = Instant::now();
        for event in &events {
            let caller = &mut callers[event.token().0];
            let Some(good) = caller.receive()? else { continue };
            let now = Instant::now();
            if caller.sent >= start && now <= end + Duration::from_millis(200) {
                latencies.push(now.duration_since(caller.sent).as_nanos().min(u128::from(u32::MAX)) as u32);
                errors += u64::from(!good);
                last = now;
            }
            if now < end {
                caller.send(request())?;
            }
        }
        let late = |caller: &&Caller| caller.waiting && now - caller.sent > Duration::from_secs(ANSWER_S_MAX);
        if callers.iter().find(late).is_some() {
            return Err(format!("{}: no answer within {ANSWER_S_MAX} s", plan.address));
        }
    }
    Ok((latencies, errors, last.duration_since(start).as_secs_f64()))
}

/// Processor time of this process so far, in seconds.
pub(crate) fn cpu_s() -> f64 {
    // SAFETY: an all-zero structure is a valid one, and the call fills it.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_SELF, &raw mut usage);
        usage
    };
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    seconds(usage.ru_utime) + seconds(usage.ru_stime)
}

pub(crate) fn summed(mut latencies: Vec<u32>, errors: u64, seconds: f64, generator: f64) -> Outcome {
    latencies.sort_unstable();
    let at = |share: f64| {
        let index = (latencies.len() as f64 * share) as usize;
        latencies.get(index.min(latencies.len().saturating_sub(1))).map_or(0.0, |ns| f64::from(*ns) / 1_000.0)
    };
    let requests = latencies.len() as u64;
    let rate = if seconds > 0.0 { requests as f64 / seconds } else { 0.0 };
    Outcome {
        requests,
        errors,
        seconds,
        rate,
        p50_us: at(0.5),
        p90_us: at(0.9),
        p99_us: at(0.99),
        max_us: at(1.0),
        generator,
    }
}

impl Caller {
    fn send(&mut self, request: &[u8]) -> Result<(), String> {
        self.sent = Instant::now();
        self.waiting = true;
        self.stream.write_all(request).map_err(|error| format!("cannot send: {error}"))
    }

    /// Whether the answer was a good one; nothing while it is not whole.
    fn receive(&mut self) -> Result<Option<bool>, String> {
        let mut part = [0; 16_384];
        loop {
            match self.stream.read(&mut part) {
                Ok(0) => return Err("the connection was closed".to_owned()),
                Ok(count) => self.buffer.extend_from_slice(&part[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(format!("cannot receive: {error}")),
            }
        }
        let Some((good, _)) = http::good_reply(&self.buffer) else { return Ok(None) };
        self.buffer.clear();
        self.waiting = false;
        Ok(Some(good))
    }
}
