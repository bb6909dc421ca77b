//! Starts the peers: the floor with a worker, AWS's emulator, and `cargo lambda watch`.

use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use lambic_bench::http;
use lambic_bench::sign;

use crate::setup::Kit;
use crate::{CALLERS, EVENT, RUNTIMES, Target};

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
        command.spawn().map(Running).map_err(|error| format!("cannot start {shown}: {error}"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // SAFETY: one system call on numbers; the group is the child's own.
        unsafe { libc::kill(-(self.0.id() as i32), libc::SIGTERM) };
        let asked = Instant::now();
        while asked.elapsed() < Duration::from_secs(3) {
            if matches!(self.0.try_wait(), Ok(Some(_))) {
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        // SAFETY: as above; what is left of the group had its time.
        unsafe { libc::kill(-(self.0.id() as i32), libc::SIGKILL) };
        _ = self.0.wait();
    }
}

/// All peers that stay up during the rounds.
pub struct Field {
    running: Vec<Running>,
    targets: Vec<Target>,
}

impl Field {
    pub fn targets(&self) -> Vec<Target> {
        self.targets
            .iter()
            .map(|one| Target { address: one.address.clone(), path: one.path.clone(), sign: None, ..*one })
            .collect()
    }
}

/// Starts them all and waits until each has answered.
pub fn start(kit: &Kit) -> Result<Field, String> {
    let mut field = Field { running: Vec::new(), targets: Vec::new() };
    for runtime in RUNTIMES {
        for callers in CALLERS {
            field.floor(kit, runtime, callers)?;
        }
        // The emulator serves one request at a time and refuses the others.
        let (address, running) = rie(kit, runtime)?;
        field.add("RIE", runtime, 1, address, RIE_PATH, running)?;
    }
    field.watch(kit)?;
    Ok(field)
}

impl Field {
    fn add(
        &mut self,
        name: &'static str,
        runtime: &'static str,
        callers: usize,
        address: String,
        path: &str,
        running: Running,
    ) -> Result<(), String> {
        self.running.push(running);
        first_answer(&address, path).map_err(|error| format!("{name}, {runtime}: {error}"))?;
        self.targets.push(Target { name, runtime, callers, address, path: path.to_owned(), sign: None });
        Ok(())
    }

    /// One floor for one caller with one worker; for more callers as many workers as processors.
    fn floor(&mut self, kit: &Kit, runtime: &'static str, callers: usize) -> Result<(), String> {
        let (invoke, api) = (free_port()?, free_port()?);
        let floor =
            Running::start(Command::new(kit.program("floor")).args([invoke.to_string(), api.to_string()]))?;
        let address = format!("127.0.0.1:{invoke}");
        connected(&address)?;
        let workers = if callers == 1 { 1 } else { processors() };
        for _ in 0..workers {
            let mut worker = worker(kit, runtime);
            self.running
                .push(Running::start(worker.env("AWS_LAMBDA_RUNTIME_API", format!("127.0.0.1:{api}")))?);
        }
        self.add("floor", runtime, callers, address, "/", floor)
    }

    fn watch(&mut self, kit: &Kit) -> Result<(), String> {
        for callers in CALLERS {
            let port = free_port()?;
            let mut command = Command::new(kit.peer("cargo-lambda"));
            command.args(["lambda", "watch", "--ignore-changes", "--release", "--package", "bench-rust"]);
            command.args(["--invoke-address", "127.0.0.1", "--invoke-port", &port.to_string()]);
            command.current_dir(kit.function("Rust")).env("CARGO_TARGET_DIR", kit.bench.join("target"));
            let running = Running::start(&mut command)?;
            let address = format!("127.0.0.1:{port}");
            self.add("cargo lambda watch", "Rust", callers, address, WATCH_PATH, running)?;
        }
        Ok(())
    }
}

/// The processors that this process may use.
pub fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn worker(kit: &Kit, runtime: &str) -> Command {
    let words = kit.worker(runtime);
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).current_dir(kit.function(runtime));
    for (name, value) in VARIABLES {
        command.env(name, value);
    }
    command.env("LAMBDA_TASK_ROOT", kit.function(runtime));
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

fn rie(kit: &Kit, runtime: &str) -> Result<(String, Running), String> {
    let (invoke, api) = (format!("127.0.0.1:{}", free_port()?), format!("127.0.0.1:{}", free_port()?));
    let mut command = Command::new(kit.rie());
    command.args(["--runtime-interface-emulator-address", &invoke, "--runtime-api-address", &api]);
    command.args(kit.worker(runtime)).current_dir(kit.function(runtime));
    for (name, value) in VARIABLES {
        command.env(name, value);
    }
    command.env("LAMBDA_TASK_ROOT", kit.function(runtime)).env("_HANDLER", "app.handler");
    let running = Running::start(&mut command)?;
    connected(&invoke)?;
    Ok((invoke, running))
}

/// A new emulator, up and waiting; its first invoke, which starts the runtime.
pub fn rie_cold_ms(kit: &Kit, runtime: &str) -> Result<f64, String> {
    let (address, _running) = rie(kit, runtime)?;
    let begun = Instant::now();
    once(&address, RIE_PATH)?;
    Ok(begun.elapsed().as_secs_f64() * 1_000.0)
}

fn once(address: &str, path: &str) -> Result<(), String> {
    let request = sign::request("POST", address, path, EVENT.as_bytes(), None);
    let reply = http::ask(address, &request, Duration::from_secs(START_S_MAX))?;
    let text = String::from_utf8_lossy(&reply.body).into_owned();
    if reply.status() == 200 && text.contains("\"n\"") { Ok(()) } else { Err(text) }
}

fn first_answer(address: &str, path: &str) -> Result<(), String> {
    retried(|| once(address, path))
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
                std::thread::sleep(Duration::from_millis(2));
            }
            result => return result,
        }
    }
}

pub fn free_port() -> Result<u16, String> {
    let text = |error: std::io::Error| format!("no free port: {error}");
    Ok(TcpListener::bind("127.0.0.1:0").map_err(text)?.local_addr().map_err(text)?.port())
}
