//! One running environment, as the daemon holds it.
//!
//! Its life: launched, it owns the sockets that were made inside and the control channel of its
//! init process; it ends when the runtime exits, when [`Control::kill`] is called, or when the last
//! [`Control`] is dropped. Everything inside ends with it.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};

use nix::fcntl::OFlag;
use nix::sys::socket::{AddressFamily, Shutdown, SockFlag, SockType, shutdown, socketpair};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::net::unix::pipe;
use tokio::net::{TcpListener, UnixStream};

use crate::account::MemoryFollower;
use crate::channel;
use crate::host::{LaunchError, Launched, Sandboxes, set_nonblocking};
use crate::protocol::{Group, InitReport};
use crate::sys;

/// A running environment.
pub struct Sandbox {
    /// `127.0.0.1:9001` in there: the Runtime API.
    pub runtime_listener: TcpListener,
    /// `127.0.0.1:4566` in there: where `AWS_ENDPOINT_URL` points.
    pub api_listener: TcpListener,
    /// The other end is descriptor 3 of the runtime. `None` once taken.
    pub runtime_stream: Option<UnixStream>,
    /// Standard output and error of everything inside. `None` once taken.
    pub output: Option<Output>,
    /// What is written to [`crate::LOG_PIPE_FD`], if the spec asked for it. `None` once taken.
    pub log: Option<Output>,
    control: Control,
    exit: Option<ExitWatch>,
}

/// The ends of what connects an environment, before it exists.
pub(crate) struct Ends {
    pub(crate) output: OwnedFd,
    pub(crate) output_inside: OwnedFd,
    pub(crate) stream: OwnedFd,
    pub(crate) stream_inside: OwnedFd,
    /// Ours and theirs.
    pub(crate) log: Option<(OwnedFd, OwnedFd)>,
}

pub(crate) fn ends(log_pipe: bool) -> io::Result<Ends> {
    let (output, output_inside) = output_pipe()?;
    let log = log_pipe.then(output_pipe).transpose()?;
    let (stream, stream_inside) =
        socketpair(AddressFamily::Unix, SockType::Stream, None, SockFlag::SOCK_CLOEXEC)?;
    Ok(Ends { output, output_inside, stream, stream_inside, log })
}

/// Our end, which never blocks, and theirs, which does.
fn output_pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let (output, inside) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
    set_nonblocking(&output)?;
    Ok((output, inside))
}

impl Sandbox {
    pub(crate) fn assemble(
        launched: Launched,
        output: OwnedFd,
        stream: OwnedFd,
        log: Option<OwnedFd>,
        sandboxes: Sandboxes,
    ) -> Result<Sandbox, LaunchError> {
        let listener = |fd: OwnedFd| {
            let listener = std::net::TcpListener::from(fd);
            listener.set_nonblocking(true)?;
            TcpListener::from_std(listener)
        };
        let stream = std::os::unix::net::UnixStream::from(stream);
        stream.set_nonblocking(true)?;
        set_nonblocking(&launched.control)?;
        let channel = Arc::new(sys::register(launched.control)?);
        let inner = Arc::new(ControlInner {
            id: launched.id,
            pid: launched.pid,
            group: launched.group,
            memory: Mutex::default(),
            channel: Arc::clone(&channel),
            sandboxes,
        });
        let exit = ExitWatch { channel, group: inner.group.clone() };
        Ok(Sandbox {
            runtime_listener: listener(launched.runtime_listener)?,
            api_listener: listener(launched.api_listener)?,
            runtime_stream: Some(UnixStream::from_std(stream)?),
            output: Some(Output::of(output)?),
            log: log.map(Output::of).transpose()?,
            control: Control { inner },
            exit: Some(exit),
        })
    }

    /// A handle to end the environment and to read its accounts.
    pub fn control(&self) -> Control {
        self.control.clone()
    }

    /// What tells how the environment ended; can be taken once.
    pub fn take_exit(&mut self) -> Option<ExitWatch> {
        self.exit.take()
    }
}

/// What the runtime and its children write to standard output and error.
pub struct Output {
    pipe: pipe::Receiver,
}

impl Output {
    fn of(pipe: OwnedFd) -> io::Result<Output> {
        Ok(Output { pipe: pipe::Receiver::from_owned_fd(pipe)? })
    }

    /// Waits for output and reads some of it; 0 when every writer is gone.
    pub async fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            self.pipe.readable().await?;
            match self.pipe.try_read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                other => return other,
            }
        }
    }

    /// Reads what is there without waiting; `WouldBlock` when there is nothing.
    pub fn try_read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.pipe.try_read(buffer)
    }
}

/// Ends an environment and reads its accounts. The last clone that is dropped ends it.
#[derive(Clone)]
pub struct Control {
    inner: Arc<ControlInner>,
}

struct ControlInner {
    id: u64,
    pid: i32,
    group: Group,
    memory: Mutex<MemoryFollower>,
    channel: Arc<AsyncFd<OwnedFd>>,
    sandboxes: Sandboxes,
}

impl Control {
    /// Ends the environment at once. Idempotent; returns before it is gone.
    pub fn kill(&self) {
        self.inner.kill();
    }

    /// The host's pid of the environment's first process.
    pub fn pid(&self) -> i32 {
        self.inner.pid
    }

    /// The most memory used so far, in bytes, without what the kernel caches of files; 0 when this
    /// machine cannot tell. Reads a few small files of the kernel.
    pub fn memory_peak_bytes(&self) -> u64 {
        let mut follower = self.inner.memory.lock().unwrap_or_else(PoisonError::into_inner);
        follower.peak_bytes(&self.inner.group, self.inner.pid)
    }

    /// Limits the processors to `millis` thousandths of one; `None` lifts the limit.
    pub fn set_cpu(&self, millis: Option<u32>) -> io::Result<()> {
        self.inner.group.set_cpu(millis)
    }

    /// Stops every process inside until [`Control::thaw`]. Does nothing where there is no freezer.
    pub fn freeze(&self) -> io::Result<()> {
        self.inner.group.set_frozen(true)
    }

    /// Resumes what [`Control::freeze`] stopped.
    pub fn thaw(&self) -> io::Result<()> {
        self.inner.group.set_frozen(false)
    }
}

impl ControlInner {
    fn kill(&self) {
        // A frozen process does not die, a throttled one dies slowly.
        let _ = self.group.set_frozen(false);
        let _ = self.group.set_cpu(None);
        let _ = shutdown(self.channel.as_raw_fd(), Shutdown::Both);
        self.sandboxes.kill(self.id);
    }
}

impl Drop for ControlInner {
    fn drop(&mut self) {
        self.kill();
    }
}

/// How an environment ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exit {
    /// Exit status of the runtime process, if it exited.
    pub code: Option<i32>,
    /// Number of the signal that ended it, if one did. Neither is set when it was killed from here.
    pub signal: Option<i32>,
    /// Whether the kernel killed anything inside because memory ran out.
    pub oom: bool,
    /// Why the program never ran.
    pub start_failure: Option<StartFailure>,
}

/// Why a program could not be started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StartFailure {
    /// `execve` refused, with this `errno`.
    Exec {
        /// For example 2 when the program does not exist and 13 when it is not executable.
        errno: i32,
    },
    /// The environment could not be completed; the text says at which step.
    Setup(String),
}

/// Waits for the end of an environment.
pub struct ExitWatch {
    channel: Arc<AsyncFd<OwnedFd>>,
    group: Group,
}

impl ExitWatch {
    /// Waits until the runtime process has ended, or the environment has been killed.
    pub async fn wait(self) -> Exit {
        let read =
            self.channel.async_io(Interest::READABLE, |fd| channel::receive_on(fd.as_fd())).await;
        let mut exit = match read {
            Ok(Some(packet)) => match packet.parse() {
                Ok(report) => from_report(report),
                Err(error) => setup_failure(error.to_string()),
            },
            Ok(None) | Err(_) => Exit::default(),
        };
        // Init waits for us before it ends, so the accounts are still there.
        exit.oom = self.group.oom_kills() > 0;
        let _ = shutdown(self.channel.as_raw_fd(), Shutdown::Both);
        exit
    }
}

fn from_report(report: InitReport) -> Exit {
    match report {
        InitReport::Exited { code, signal } => Exit { code, signal, ..Exit::default() },
        InitReport::ExecFailed { errno } => {
            Exit { start_failure: Some(StartFailure::Exec { errno }), ..Exit::default() }
        }
        InitReport::SetupFailed { step } => setup_failure(step),
        InitReport::Ready => setup_failure("init reported readiness twice".to_owned()),
    }
}

fn setup_failure(step: String) -> Exit {
    Exit { start_failure: Some(StartFailure::Setup(step)), ..Exit::default() }
}
