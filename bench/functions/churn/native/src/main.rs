//! The function of the soak that carries its volume: a custom runtime that does what its event says.
//!
//! `{"do": "quick", "n": 1}` is answered with `{"n": 2, ...}`; other words print, allocate, write,
//! fork, start programs, open sockets, or end the environment in one of the ways there are. It speaks
//! the Runtime API itself, because a start has to be cheap: the soak wants tens of thousands of them.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::time::Duration;

use lambic_bench::http::Connection;
use serde_json::{Value, json};

/// What `fork` leaves running in one environment, and what `socket` leaves open.
const LEFT_MAX: usize = 30;
const RUNTIME: &str = "/2018-06-01/runtime";
const ANSWER_S_MAX: u64 = 3_600;

/// What this environment has become.
struct State {
    function: String,
    /// Tells this environment from all others.
    environment: String,
    count: u64,
    /// Whether `/tmp` was empty at the start.
    clean: bool,
    children: usize,
    sockets: Vec<(TcpListener, TcpStream, TcpStream)>,
}

fn main() {
    if let Err(error) = run() {
        eprintln!("churn: {error}");
        std::process::exit(70);
    }
}

fn run() -> Result<(), String> {
    let variable = |name: &str| std::env::var(name).map_err(|_| format!("{name} is not set"));
    let api = variable("AWS_LAMBDA_RUNTIME_API")?;
    let token = std::fs::read("/proc/sys/kernel/random/uuid").map_err(|error| error.to_string())?;
    let mut state = State {
        function: variable("AWS_LAMBDA_FUNCTION_NAME")?,
        environment: String::from_utf8_lossy(&token).trim().to_owned(),
        count: 0,
        clean: std::fs::read_dir("/tmp").is_ok_and(|mut entries| entries.next().is_none()),
        children: 0,
        sockets: Vec::new(),
    };
    let mut connection = Connection::open(&api, Duration::from_secs(ANSWER_S_MAX))?;
    loop {
        let next = format!("GET {RUNTIME}/invocation/next HTTP/1.1\r\nHost: {api}\r\n\r\n");
        let message = connection.call(next.as_bytes())?;
        let id = message.header("lambda-runtime-aws-request-id").ok_or("an event without an id")?.to_owned();
        let event: Value = serde_json::from_slice(&message.body).map_err(|error| error.to_string())?;
        state.count += 1;
        let (path, body) = match state.act(&event) {
            Ok(value) => ("response", value),
            Err(text) => ("error", json!({"errorType": "Churn.Failed", "errorMessage": text})),
        };
        let body = body.to_string();
        let post = format!(
            "POST {RUNTIME}/invocation/{id}/{path} HTTP/1.1\r\nHost: {api}\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        connection.call(post.as_bytes())?;
    }
}

impl State {
    fn act(&mut self, event: &Value) -> Result<Value, String> {
        let text = |error: std::io::Error| error.to_string();
        print(event["bytes"].as_u64().unwrap_or(0));
        match event["do"].as_str().unwrap_or_default() {
            "quick" | "print" => {}
            "allocate" => drop(touched(32)),
            "write" => write_file(self.count % 4).map_err(text)?,
            "fork" => self.leave_children().map_err(text)?,
            "exec" => start_program()?,
            "socket" => self.open_sockets()?,
            "throw" => return Err("on purpose".to_owned()),
            "exit" => std::process::exit(event["code"].as_i64().unwrap_or(0) as i32),
            "signal" => raise(event["signal"].as_i64().unwrap_or(9) as i32),
            "oom" => {
                let mut kept = Vec::new();
                loop {
                    kept.push(touched(8));
                }
            }
            "sleep" => std::thread::sleep(Duration::from_secs(60)),
            other => return Err(format!("'{other}' is nothing this function can do")),
        }
        Ok(json!({
            "n": event["n"].as_i64().unwrap_or(0) + 1, "function": self.function,
            "environment": self.environment, "count": self.count, "clean": self.clean,
        }))
    }

    /// Children that nobody waits for; they end with the environment.
    fn leave_children(&mut self) -> std::io::Result<()> {
        if self.children < LEFT_MAX {
            for _ in 0..3 {
                Command::new("sleep").arg("1000").stdin(Stdio::null()).spawn()?;
                self.children += 1;
            }
        }
        Ok(())
    }

    /// A listener and a connection to it, and a request to the AWS endpoint.
    fn open_sockets(&mut self) -> Result<(), String> {
        let text = |error: std::io::Error| error.to_string();
        if self.sockets.len() < LEFT_MAX {
            let listener = TcpListener::bind("127.0.0.1:0").map_err(text)?;
            let one = TcpStream::connect(listener.local_addr().map_err(text)?).map_err(text)?;
            let (other, _) = listener.accept().map_err(text)?;
            self.sockets.push((listener, one, other));
        }
        let endpoint = std::env::var("AWS_ENDPOINT_URL").map_err(|_| "there is no AWS endpoint")?;
        let address = endpoint.trim_start_matches("http://");
        let mut stream = TcpStream::connect(address).map_err(text)?;
        let request = format!("GET / HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).map_err(text)?;
        let mut reply = Vec::new();
        stream.read_to_end(&mut reply).map_err(text)?;
        if reply.starts_with(b"HTTP/1.1 ") {
            Ok(())
        } else {
            Err("the AWS endpoint does not answer".to_owned())
        }
    }
}

fn print(bytes: u64) {
    let line = "x".repeat(99);
    let mut out = std::io::stdout().lock();
    for _ in 0..bytes / 100 {
        // Nobody who reads is nobody to tell.
        _ = writeln!(out, "{line}");
    }
}

/// Memory that is really there.
fn touched(megabytes: usize) -> Vec<u8> {
    let mut memory = vec![0_u8; megabytes << 20];
    for at in (0..memory.len()).step_by(4_096) {
        memory[at] = 1;
    }
    std::hint::black_box(memory)
}

fn write_file(number: u64) -> std::io::Result<()> {
    std::fs::write(format!("/tmp/churn-{number}"), vec![7_u8; 1 << 20])
}

fn start_program() -> Result<(), String> {
    let status = Command::new("true").stdin(Stdio::null()).status().map_err(|error| error.to_string())?;
    if status.success() { Ok(()) } else { Err(format!("true: {status}")) }
}

fn raise(signal: i32) {
    // SAFETY: two system calls on numbers; the process means to end.
    unsafe {
        libc::signal(signal, libc::SIG_DFL);
        libc::kill(libc::getpid(), signal);
    }
    std::thread::sleep(Duration::from_secs(60));
}
