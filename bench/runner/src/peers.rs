//! Starts the peers: the floor with workers, AWS's emulator, `cargo lambda watch` and `lambda-local`.

use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use lambic_bench::http::{self, Connection};
use lambic_bench::sign;

use crate::EVENT;
use crate::record::FLOOR;
use crate::setup::Kit;
use crate::window::Target;

pub const RIE: &str = "RIE";
pub const WATCH: &str = "cargo lambda watch";
pub const LOCAL: &str = "lambda-local";

const RIE_PATH: &str = "/2015-03-31/functions/function/invocations";
const WATCH_PATH: &str = "/2015-03-31/functions/bootstrap/invocations";
const START_S_MAX: u64 = 60;

/// A child that ends with us, and with its own children.
pub struct Running(Child);

impl Running {
    pub fn start(command: &mut Command) -> Result<Running, String> {
        use std::os::unix::process::CommandExt;
        let shown = format!("{:?}", command.get_program());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        // SAFETY: the child makes one system call on numbers before it executes the program.
        unsafe {
            command.pre_exec(|| {
                // When we are killed, nobody else ends it.
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM);
                Ok(())
            });
        }
        command.spawn().map(Running).map_err(|error| format!("cannot start {shown}: {error}"))
    }

    pub fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // SAFETY: one system call on numbers; the group is the child's own.
        unsafe { libc::kill(-(self.0.id() as i32), libc::SIGTERM) };
        let asked = Instant::now();
        while asked.elapsed() < Duration::from_secs(5) {
            if matches!(self.0.try_wait(), Ok(Some(_))) {
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        // SAFETY: as above; what is left of the group had its time.
        unsafe { libc::kill(-(self.0.id() as i32), libc::SIGKILL) };
        _ = self.0.wait();
    }
}

/// A peer that stays up: ended when it is dropped.
pub struct Peer {
    pub target: Target,
    _running: Vec<Running>,
}

fn peer(
    name: &'static str,
    address: String,
    path: &str,
    body: &str,
    running: Vec<Running>,
) -> Result<Peer, String> {
    let roots = running.iter().map(Running::pid).collect();
    let target = Target { name, address, path: path.to_owned(), body: body.to_owned(), sign: None, roots };
    retried(|| answers(&target)).map_err(|error| format!("{name}: {error}"))?;
    Ok(Peer { target, _running: running })
}

/// The floor with so many workers of this kind.
pub fn floor(kit: &Kit, kind: &str, workers: usize) -> Result<Peer, String> {
    let (invoke, api) = (free_port()?, free_port()?);
    let floor =
        Running::start(Command::new(kit.program("floor")).args([invoke.to_string(), api.to_string()]))?;
    let mut running = vec![floor];
    connected(&format!("127.0.0.1:{invoke}"))?;
    for _ in 0..workers {
        let mut worker = worker(kit, kind);
        running.push(Running::start(worker.env("AWS_LAMBDA_RUNTIME_API", format!("127.0.0.1:{api}")))?);
    }
    peer(FLOOR, format!("127.0.0.1:{invoke}"), "/", EVENT, running)
}

pub fn rie(kit: &Kit, kind: &str) -> Result<Peer, String> {
    let (address, running) = rie_started(kit, kind)?;
    peer(RIE, address, RIE_PATH, EVENT, vec![running])
}

pub fn watch(kit: &Kit) -> Result<Peer, String> {
    let port = free_port()?;
    let mut command = Command::new(kit.peer("cargo-lambda"));
    command.args(["lambda", "watch", "--ignore-changes", "--release", "--package", "bench-rust"]);
    command.args(["--invoke-address", "127.0.0.1", "--invoke-port", &port.to_string()]);
    command.current_dir(kit.function("Rust")).env("CARGO_TARGET_DIR", kit.bench.join("target"));
    let running = Running::start(&mut command)?;
    peer(WATCH, format!("127.0.0.1:{port}"), WATCH_PATH, EVENT, vec![running])
}

/// Nothing where npm could not install it.
pub fn local(kit: &Kit) -> Result<Option<Peer>, String> {
    let Some(program) = kit.lambda_local() else { return Ok(None) };
    let port = free_port()?;
    let mut command = Command::new(kit.node());
    command.arg(program).arg("--lambda-path").arg(kit.function("Node.js").join("local.cjs"));
    command.args(["--watch", &port.to_string(), "--verboselevel", "0"]);
    let running = Running::start(&mut command)?;
    let event = format!("{{\"event\": {EVENT}}}");
    peer(LOCAL, format!("127.0.0.1:{port}"), "/", &event, vec![running]).map(Some)
}

/// The processors that this process may use.
pub fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn worker(kit: &Kit, kind: &str) -> Command {
    let words = kit.worker(kind);
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).current_dir(kit.function(kind));
    for (name, value) in VARIABLES {
        command.env(name, value);
    }
    command.env("LAMBDA_TASK_ROOT", kit.function(kind));
    command
}

const VARIABLES: [(&str, &str); 6] = [
    ("AWS_LAMBDA_FUNCTION_NAME", "function"),
    ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST"),
    ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128"),
    ("AWS_LAMBDA_FUNCTION_TIMEOUT", "30"),
    ("AWS_LAMBDA_LOG_GROUP_NAME", "/aws/lambda/function"),
    ("AWS_LAMBDA_LOG_STREAM_NAME", "stream"),
];

fn rie_started(kit: &Kit, kind: &str) -> Result<(String, Running), String> {
    let (invoke, api) = (format!("127.0.0.1:{}", free_port()?), format!("127.0.0.1:{}", free_port()?));
    let mut command = Command::new(kit.rie());
    command.args(["--runtime-interface-emulator-address", &invoke, "--runtime-api-address", &api]);
    command.args(kit.worker(kind)).current_dir(kit.function(kind));
    for (name, value) in VARIABLES {
        command.env(name, value);
    }
    command.env("LAMBDA_TASK_ROOT", kit.function(kind)).env("_HANDLER", "app.handler");
    Ok((invoke, Running::start(&mut command)?))
}

/// A new emulator: milliseconds from its start to its first answer, which starts the runtime, and from
/// the first byte of that request to the first of its answer.
pub fn rie_first_ms(kit: &Kit, kind: &str) -> Result<(f64, f64), String> {
    let begun = Instant::now();
    let (address, _running) = rie_started(kit, kind)?;
    connected(&address)?;
    let request = sign::request("POST", &address, RIE_PATH, EVENT.as_bytes(), None);
    let (reply, first) = Connection::open(&address, Duration::from_secs(START_S_MAX))?.timed(&request)?;
    let whole = begun.elapsed();
    if reply.status() != 200 {
        return Err(format!("{RIE}: {}", String::from_utf8_lossy(&reply.body)));
    }
    Ok((whole.as_secs_f64() * 1_000.0, first.as_secs_f64() * 1_000.0))
}

fn answers(target: &Target) -> Result<(), String> {
    let request = sign::request("POST", &target.address, &target.path, target.body.as_bytes(), None);
    let reply = http::ask(&target.address, &request, Duration::from_secs(START_S_MAX))?;
    let text = String::from_utf8_lossy(&reply.body).into_owned();
    if reply.status() == 200 && text.contains("\"n\"") { Ok(()) } else { Err(text) }
}

/// Waits until somebody listens.
pub fn connected(address: &str) -> Result<(), String> {
    retried(|| TcpStream::connect(address).map(drop).map_err(|error| format!("{address}: {error}")))
}

/// Tries again until it works or the time to start is over.
pub fn retried(mut attempt: impl FnMut() -> Result<(), String>) -> Result<(), String> {
    let begun = Instant::now();
    loop {
        match attempt() {
            Err(_) if begun.elapsed() < Duration::from_secs(START_S_MAX) => {
                std::thread::sleep(Duration::from_micros(500));
            }
            result => return result,
        }
    }
}

pub fn free_port() -> Result<u16, String> {
    let text = |error: std::io::Error| format!("no free port: {error}");
    Ok(TcpListener::bind("127.0.0.1:0").map_err(text)?.local_addr().map_err(text)?.port())
}
