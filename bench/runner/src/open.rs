//! Load that does not wait: requests come at fixed times, whether or not earlier ones are answered, and a
//! latency counts from the time at which its request was due. So a server that stalls cannot hide it by
//! being asked less (no coordinated omission).

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};

use crate::http;
use crate::load::{Outcome, cpu_s, summed};

/// What to send, where, how often.
pub struct Plan {
    pub address: SocketAddr,
    /// The usual request.
    pub short: Vec<u8>,
    /// One of so many is another request, which takes longer; 0: none is.
    pub long_every: u64,
    pub long: Vec<u8>,
    /// Requests per second.
    pub rate: f64,
    /// Whether they come at random times (a Poisson process) instead of evenly.
    pub random: bool,
    pub connections: usize,
    /// Not counted.
    pub warm: Duration,
    pub window: Duration,
}

/// Requests that are due but have no connection free; more end the window.
const BACKLOG_MAX: usize = 100_000;
const TIMER: Token = Token(usize::MAX);
/// How long answers may take after the last request.
const REST: Duration = Duration::from_secs(5);

struct Caller {
    stream: TcpStream,
    buffer: Vec<u8>,
    /// When the request was due whose answer is awaited.
    due: Option<Duration>,
}

struct Run<'a> {
    plan: &'a Plan,
    begun: Instant,
    callers: Vec<Caller>,
    free: Vec<usize>,
    /// Due, and waiting for a connection.
    backlog: VecDeque<(Duration, bool)>,
    arrivals: Arrivals,
    latencies: Vec<u32>,
    errors: u64,
    open: usize,
}

/// The times at which requests are due.
struct Arrivals {
    next: Duration,
    mean: Duration,
    random: bool,
    seed: u64,
    count: u64,
}

impl Arrivals {
    fn advance(&mut self) {
        self.count += 1;
        let share = if self.random { -(1.0 - self.uniform()).ln() } else { 1.0 };
        self.next += self.mean.mul_f64(share);
    }

    /// The same times in every run: xorshift, from a fixed seed.
    fn uniform(&mut self) -> f64 {
        self.seed ^= self.seed << 13;
        self.seed ^= self.seed >> 7;
        self.seed ^= self.seed << 17;
        (self.seed >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// Runs the plan.
///
/// # Errors
/// When no connection can be made, a connection breaks, or the server falls behind without end.
pub fn run(plan: &Plan) -> Result<Outcome, String> {
    let text = |error: std::io::Error| format!("{}: {error}", plan.address);
    let mut poll = Poll::new().map_err(text)?;
    let timer = timer().map_err(text)?;
    poll.registry().register(&mut SourceFd(&timer.as_raw_fd()), TIMER, Interest::READABLE).map_err(text)?;
    let mut callers = Vec::new();
    for index in 0..plan.connections {
        let stream = std::net::TcpStream::connect(plan.address).map_err(text)?;
        stream.set_nodelay(true).map_err(text)?;
        stream.set_nonblocking(true).map_err(text)?;
        let mut stream = TcpStream::from_std(stream);
        poll.registry().register(&mut stream, Token(index), Interest::READABLE).map_err(text)?;
        callers.push(Caller { stream, buffer: Vec::new(), due: None });
    }
    let mean = Duration::from_secs_f64(1.0 / plan.rate);
    let mut run = Run {
        plan,
        begun: Instant::now(),
        free: (0..callers.len()).collect(),
        callers,
        backlog: VecDeque::new(),
        arrivals: Arrivals { next: mean, mean, random: plan.random, seed: 0x9e37_79b9_7f4a_7c15, count: 0 },
        latencies: Vec::with_capacity(100_000),
        errors: 0,
        open: 0,
    };
    let used = cpu_s();
    run.drive(&mut poll, &timer)?;
    let cpu = (cpu_s() - used) / run.begun.elapsed().as_secs_f64();
    Ok(summed(run.latencies, run.errors, plan.window.as_secs_f64(), cpu))
}

impl Run<'_> {
    fn drive(&mut self, poll: &mut Poll, timer: &OwnedFd) -> Result<(), String> {
        let end = self.plan.warm + self.plan.window;
        let mut events = Events::with_capacity(256);
        loop {
            let now = self.begun.elapsed();
            while self.arrivals.next <= now && self.arrivals.next < end {
                let long = self.plan.long_every > 0
                    && self.arrivals.count % self.plan.long_every == self.plan.long_every / 2;
                self.backlog.push_back((self.arrivals.next, long));
                self.arrivals.advance();
            }
            self.send_due()?;
            if self.backlog.len() > BACKLOG_MAX {
                return Err(format!("{}: {BACKLOG_MAX} requests behind", self.plan.address));
            }
            let over = self.arrivals.next >= end;
            if over && self.open == 0 && self.backlog.is_empty() {
                return Ok(());
            }
            if over && now > end + REST {
                return Err(format!("{}: no answer within {REST:?}", self.plan.address));
            }
            if !over {
                set(timer, self.arrivals.next.saturating_sub(self.begun.elapsed()));
            }
            match poll.poll(&mut events, Some(Duration::from_millis(100))) {
                Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error.to_string()),
                _ => {}
            }
            for event in &events {
                match event.token() {
                    TIMER => forget(timer),
                    Token(index) => self.receive(index)?,
                }
            }
        }
    }

    fn send_due(&mut self) -> Result<(), String> {
        while !self.backlog.is_empty() {
            let Some(index) = self.free.pop() else { return Ok(()) };
            let Some((due, long)) = self.backlog.pop_front() else { return Ok(()) };
            let caller = &mut self.callers[index];
            caller.due = Some(due);
            let request = if long { &self.plan.long } else { &self.plan.short };
            caller.stream.write_all(request).map_err(|error| format!("cannot send: {error}"))?;
            self.open += 1;
        }
        Ok(())
    }

    fn receive(&mut self, index: usize) -> Result<(), String> {
        let caller = &mut self.callers[index];
        let mut part = [0; 16_384];
        loop {
            match caller.stream.read(&mut part) {
                Ok(0) => return Err("the connection was closed".to_owned()),
                Ok(count) => caller.buffer.extend_from_slice(&part[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(format!("cannot receive: {error}")),
            }
        }
        let Some((good, _)) = http::good_reply(&caller.buffer) else { return Ok(()) };
        caller.buffer.clear();
        let Some(due) = caller.due.take() else { return Err("an answer that nobody asked for".to_owned()) };
        self.free.push(index);
        self.open -= 1;
        if due >= self.plan.warm {
            let took = self.begun.elapsed().saturating_sub(due);
            self.latencies.push(took.as_nanos().min(u128::from(u32::MAX)) as u32);
            self.errors += u64::from(!good);
        }
        self.send_due()
    }
}

/// A timer that wakes the poll to the microsecond, which its own timeout does not.
fn timer() -> std::io::Result<OwnedFd> {
    // SAFETY: the descriptor is new and nobody else's.
    unsafe {
        let fd = libc::timerfd_create(libc::CLOCK_MONOTONIC, libc::TFD_NONBLOCK | libc::TFD_CLOEXEC);
        if fd < 0 { Err(std::io::Error::last_os_error()) } else { Ok(OwnedFd::from_raw_fd(fd)) }
    }
}

fn set(timer: &OwnedFd, after: Duration) {
    let nanos = after.as_nanos().max(1) as i64;
    let zero = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    let value = libc::timespec { tv_sec: nanos / 1_000_000_000, tv_nsec: nanos % 1_000_000_000 };
    let spec = libc::itimerspec { it_interval: zero, it_value: value };
    // SAFETY: the descriptor is a timer, and the call reads the one structure.
    unsafe { libc::timerfd_settime(timer.as_raw_fd(), 0, &raw const spec, std::ptr::null_mut()) };
}

fn forget(timer: &OwnedFd) {
    let mut count = [0u8; 8];
    // SAFETY: a timer gives eight bytes, which the buffer has.
    unsafe { libc::read(timer.as_raw_fd(), count.as_mut_ptr().cast(), count.len()) };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrivals(random: bool) -> Arrivals {
        let mean = Duration::from_micros(100);
        Arrivals { next: mean, mean, random, seed: 0x9e37_79b9_7f4a_7c15, count: 0 }
    }

    #[test]
    fn arrivals_keep_their_rate() {
        for random in [false, true] {
            let mut arrivals = arrivals(random);
            for _ in 0..20_000 {
                arrivals.advance();
            }
            let seconds = arrivals.next.as_secs_f64();
            assert!((seconds - 2.0).abs() < 0.05, "{random}: {seconds}");
        }
    }

    #[test]
    fn a_server_that_stalls_is_not_asked_less() {
        // One thread that takes 20 ms for each answer and is asked every 10 ms: it falls behind, and the
        // latencies tell, because they count from when the requests were due.
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut part = [0; 512];
            while stream.read(&mut part).is_ok_and(|count| count > 0) {
                std::thread::sleep(Duration::from_millis(20));
                _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
            }
        });
        let request = b"POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n".to_vec();
        let plan = Plan {
            address,
            short: request.clone(),
            long_every: 0,
            long: request,
            rate: 100.0,
            random: false,
            connections: 1,
            warm: Duration::ZERO,
            window: Duration::from_millis(300),
        };
        let outcome = run(&plan).unwrap();
        assert_eq!((outcome.errors, outcome.requests), (0, 29));
        // The last request is due at 290 ms and answered after 29 answers of 20 ms at least.
        assert!(outcome.max_us > 250_000.0 && outcome.p50_us > 120_000.0, "{outcome:?}");
    }
}
