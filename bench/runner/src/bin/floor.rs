//! `floor INVOKE_PORT RUNTIME_PORT`: the least that has to happen between a caller and a runtime.
//!
//! One thread, one epoll: an event that arrives on the first port goes to a runtime that waits on the
//! second, and its answer goes back. No authentication, logs, limits, timeouts or isolation: a bound to
//! measure against, not a product.

use std::collections::{HashMap, VecDeque};
use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;

use lambic_bench::http::{Chunked, Frame, Message};
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Registry, Token};

const INVOKE: Token = Token(0);
const RUNTIME: Token = Token(1);
const ACCEPTED: &str = "HTTP/1.1 202 Accepted\r\nContent-Type: application/json\r\nContent-Length: 16\r\n\r\n{\"status\":\"OK\"}\n";

struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
    /// So much of the buffer has come.
    filled: usize,
    is_runtime: bool,
}

#[derive(Default)]
struct Floor {
    /// By token.
    connections: Vec<Option<Connection>>,
    next_id: u64,
    /// Events that no runtime has taken yet: caller and body.
    queued: VecDeque<(usize, Vec<u8>)>,
    /// Runtimes that wait for an event.
    idle: VecDeque<usize>,
    /// Invocations that run: id to caller.
    running: HashMap<u64, usize>,
    /// What is being sent.
    out: Vec<u8>,
}

fn main() -> std::io::Result<()> {
    let ports: Vec<u16> = std::env::args().skip(1).filter_map(|word| word.parse().ok()).collect();
    let [invoke, runtime] = ports[..] else {
        eprintln!("usage: floor INVOKE_PORT RUNTIME_PORT");
        std::process::exit(2);
    };
    let mut poll = Poll::new()?;
    let mut listeners = [listener(invoke)?, listener(runtime)?];
    for (listener, token) in listeners.iter_mut().zip([INVOKE, RUNTIME]) {
        poll.registry().register(listener, token, Interest::READABLE)?;
    }
    let mut floor = Floor { connections: Vec::from([None, None]), ..Floor::default() };
    let mut events = Events::with_capacity(256);
    loop {
        match poll.poll(&mut events, None) {
            Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
        for event in &events {
            match event.token() {
                token @ (INVOKE | RUNTIME) => {
                    floor.accept(&listeners[token.0], token == RUNTIME, poll.registry())?;
                }
                Token(token) => floor.readable(token),
            }
        }
    }
}

fn listener(port: u16) -> std::io::Result<TcpListener> {
    TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], port)))
}

impl Floor {
    fn accept(
        &mut self,
        listener: &TcpListener,
        is_runtime: bool,
        registry: &Registry,
    ) -> std::io::Result<()> {
        while let Ok((mut stream, _)) = listener.accept() {
            stream.set_nodelay(true)?;
            let token = self.connections.len();
            registry.register(&mut stream, Token(token), Interest::READABLE)?;
            let buffer = vec![0; 65_536];
            self.connections.push(Some(Connection { stream, buffer, filled: 0, is_runtime }));
        }
        Ok(())
    }

    fn readable(&mut self, token: usize) {
        let Some(connection) = self.connections.get_mut(token).and_then(Option::as_mut) else { return };
        loop {
            if connection.filled == connection.buffer.len() {
                connection.buffer.resize(connection.filled * 2, 0);
            }
            match connection.stream.read(&mut connection.buffer[connection.filled..]) {
                Ok(0) => {
                    self.connections[token] = None;
                    self.idle.retain(|waiting| *waiting != token);
                    return;
                }
                Ok(count) => connection.filled += count,
                Err(_) => break,
            }
        }
        while let Some(connection) = self.connections[token].as_mut() {
            let whole = &connection.buffer[..connection.filled];
            let (body, end) = match Frame::find(whole) {
                Ok(None) => return,
                Ok(Some(frame)) => (whole[frame.body..frame.end].to_vec(), frame.end),
                Err(Chunked) => match Message::read(whole) {
                    Some(message) => (message.body, message.length),
                    None => return,
                },
            };
            let (is_runtime, is_next) = (connection.is_runtime, whole.starts_with(b"GET "));
            let id = if is_runtime && !is_next { id_in(whole) } else { None };
            connection.buffer.copy_within(end..connection.filled, 0);
            connection.filled -= end;
            match (is_runtime, is_next) {
                (false, _) => self.queued.push_back((token, body)),
                (true, true) => self.idle.push_back(token),
                (true, false) => self.answered(token, id, &body),
            }
            self.hand_out();
        }
    }

    fn hand_out(&mut self) {
        while !self.queued.is_empty() && !self.idle.is_empty() {
            let (Some((caller, event)), Some(runtime)) = (self.queued.pop_front(), self.idle.pop_front())
            else {
                return;
            };
            self.next_id += 1;
            self.running.insert(self.next_id, caller);
            self.out.clear();
            // Writing into memory cannot fail.
            _ = write!(
                self.out,
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\
                 Lambda-Runtime-Aws-Request-Id: 00000000-0000-4000-8000-{:012x}\r\n\
                 Lambda-Runtime-Deadline-Ms: 9999999999999\r\n\
                 Lambda-Runtime-Invoked-Function-Arn: arn:aws:lambda:us-east-1:000000000000:function:floor\r\n\
                 Lambda-Runtime-Trace-Id: Root=1-00000000-000000000000000000000000\r\n\
                 Content-Length: {}\r\n\r\n",
                self.next_id,
                event.len()
            );
            self.out.extend_from_slice(&event);
            self.send(runtime);
        }
    }

    /// A runtime posted an answer: it goes to the caller first, then the runtime hears that it arrived.
    fn answered(&mut self, runtime: usize, id: Option<u64>, body: &[u8]) {
        if let Some(caller) = id.and_then(|id| self.running.remove(&id)) {
            self.out.clear();
            _ = write!(
                self.out,
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
                body.len()
            );
            self.out.extend_from_slice(body);
            self.send(caller);
        }
        self.out.clear();
        self.out.extend_from_slice(ACCEPTED.as_bytes());
        self.send(runtime);
    }

    /// Sends what is in `out`.
    fn send(&mut self, token: usize) {
        let Some(connection) = self.connections.get_mut(token).and_then(Option::as_mut) else { return };
        let mut data = self.out.as_slice();
        while !data.is_empty() {
            match connection.stream.write(data) {
                Ok(count) => data = &data[count..],
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_) => return,
            }
        }
    }
}

/// The number at the end of the id in the path of an answer.
fn id_in(message: &[u8]) -> Option<u64> {
    let line = &message[..message.iter().position(|byte| *byte == b'\r')?];
    let name = b"/invocation/";
    let at = line.windows(name.len()).position(|window| window == name)? + name.len();
    let digits = std::str::from_utf8(line.get(at + 24..at + 36)?).ok()?;
    u64::from_str_radix(digits, 16).ok()
}
