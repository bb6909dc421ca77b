//! `floor INVOKE_PORT RUNTIME_PORT`: the least that has to happen between a caller and a runtime.
//!
//! One thread, one epoll: an event that arrives on the first port goes to a runtime that waits on the
//! second, and its answer goes back. No authentication, logs, limits, timeouts or isolation: a bound to
//! measure against, not a product.

use std::collections::{HashMap, VecDeque};
use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;

use lambic_bench::http::Message;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Registry, Token};

const INVOKE: Token = Token(0);
const RUNTIME: Token = Token(1);
const ACCEPTED: &str = "HTTP/1.1 202 Accepted\r\nContent-Type: application/json\r\nContent-Length: 16\r\n\r\n{\"status\":\"OK\"}\n";

struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
    is_runtime: bool,
}

#[derive(Default)]
struct Floor {
    connections: HashMap<usize, Connection>,
    next_token: usize,
    next_id: u64,
    /// Events that no runtime has taken yet: caller and body.
    queued: VecDeque<(usize, Vec<u8>)>,
    /// Runtimes that wait for an event.
    idle: VecDeque<usize>,
    /// Invocations that run: id to caller.
    running: HashMap<u64, usize>,
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
    let mut floor = Floor { next_token: 2, ..Floor::default() };
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
            let token = self.next_token;
            self.next_token += 1;
            registry.register(&mut stream, Token(token), Interest::READABLE)?;
            self.connections.insert(token, Connection { stream, buffer: Vec::new(), is_runtime });
        }
        Ok(())
    }

    fn readable(&mut self, token: usize) {
        let Some(connection) = self.connections.get_mut(&token) else { return };
        let mut part = [0; 65_536];
        loop {
            match connection.stream.read(&mut part) {
                Ok(0) => {
                    self.connections.remove(&token);
                    self.idle.retain(|waiting| *waiting != token);
                    return;
                }
                Ok(count) => connection.buffer.extend_from_slice(&part[..count]),
                Err(_) => break,
            }
        }
        while let Some(connection) = self.connections.get_mut(&token) {
            let Some(message) = Message::read(&connection.buffer) else { return };
            connection.buffer.drain(..message.length);
            match (connection.is_runtime, message.head.starts_with("GET ")) {
                (false, _) => self.queued.push_back((token, message.body)),
                (true, true) => self.idle.push_back(token),
                (true, false) => self.answered(token, &message),
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
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\
                 Lambda-Runtime-Aws-Request-Id: 00000000-0000-4000-8000-{:012x}\r\n\
                 Lambda-Runtime-Deadline-Ms: 9999999999999\r\n\
                 Lambda-Runtime-Invoked-Function-Arn: arn:aws:lambda:us-east-1:000000000000:function:floor\r\n\
                 Lambda-Runtime-Trace-Id: Root=1-00000000-000000000000000000000000\r\n\
                 Content-Length: {}\r\n\r\n",
                self.next_id,
                event.len()
            );
            self.send(runtime, &[head.as_bytes(), &event].concat());
        }
    }

    /// A runtime posted an answer: it goes to the caller first, then the runtime hears that it arrived.
    fn answered(&mut self, runtime: usize, message: &Message) {
        let id = message.head.split("/invocation/").nth(1).and_then(|rest| rest.get(24..36));
        let id = id.and_then(|digits| u64::from_str_radix(digits, 16).ok());
        if let Some(caller) = id.and_then(|id| self.running.remove(&id)) {
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
                message.body.len()
            );
            self.send(caller, &[head.as_bytes(), &message.body].concat());
        }
        self.send(runtime, ACCEPTED.as_bytes());
    }

    fn send(&mut self, token: usize, mut data: &[u8]) {
        let Some(connection) = self.connections.get_mut(&token) else { return };
        while !data.is_empty() {
            match connection.stream.write(data) {
                Ok(count) => data = &data[count..],
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_) => return,
            }
        }
    }
}
