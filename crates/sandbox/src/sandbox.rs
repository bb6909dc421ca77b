//! One running environment, as the daemon holds it.
//!
//! Its life: launched, it owns the sockets that were made inside and the control channel of its
//! init process; it ends when the runtime exits (with extensions: when all programs have), when
//! [`Control::kill`] is called, or when the last [`Control`] is dropped. Everything inside ends with
//! it.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use nix::fcntl::OFlag;
use nix::sys::socket::{
    AddressFamily, MsgFlags, Shutdown, SockFlag, SockType, recv, shutdown, socketpair,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::net::unix::pipe;
use tokio::net::{TcpListener, TcpSocket, TcpStream, UnixStream};
use tokio::sync::oneshot;

use crate::account::MemoryFollower;
use crate::channel;
use crate::host::{LaunchError, Launched, Sandboxes, set_nonblocking};
use crate::protocol::{Command, Group, InitReport, NewCopy, ProgramEnd, Spec};
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
    /// Standard output and error of the extensions, if the spec has any. `None` once taken.
    pub extensions_output: Option<Output>,
    /// Whether it was a spare; see [`Sandboxes::launch_from_spare`].
    pub is_from_spare: bool,
    copied: Option<NewCopy>,
    control: Control,
    events: Option<Events>,
}

/// The ends of what connects an environment, before it exists.
pub(crate) struct Ends {
    pub(crate) output: OwnedFd,
    pub(crate) output_inside: OwnedFd,
    pub(crate) stream: OwnedFd,
    pub(crate) stream_inside: OwnedFd,
    pub(crate) log: Option<OwnedFd>,
    pub(crate) log_inside: Option<OwnedFd>,
    pub(crate) extensions: Option<OwnedFd>,
    pub(crate) extensions_inside: Option<OwnedFd>,
}

impl Ends {
    pub(crate) fn of(spec: &Spec) -> io::Result<Ends> {
        let (output, output_inside) = output_pipe()?;
        let (log, log_inside) = spec.log_pipe.then(output_pipe).transpose()?.unzip();
        let (extensions, extensions_inside) =
            spec.extensions.as_ref().map(|_| output_pipe()).transpose()?.unzip();
        let (stream, stream_inside) =
            socketpair(AddressFamily::Unix, SockType::Stream, None, SockFlag::SOCK_CLOEXEC)?;
        Ok(Ends {
            output,
            output_inside,
            stream,
            stream_inside,
            log,
            log_inside,
            extensions,
            extensions_inside,
        })
    }

    /// Theirs, in the order in which they are handed over.
    pub(crate) fn inside(&self) -> Vec<BorrowedFd<'_>> {
        let always = [&self.output_inside, &self.stream_inside];
        let all = always.into_iter().chain(&self.log_inside).chain(&self.extensions_inside);
        all.map(AsFd::as_fd).collect()
    }
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
        ends: Ends,
        sandboxes: Sandboxes,
    ) -> Result<Sandbox, LaunchError> {
        let listener = |fd: OwnedFd| {
            let listener = std::net::TcpListener::from(fd);
            listener.set_nonblocking(true)?;
            TcpListener::from_std(listener)
        };
        let is_from_spare = launched.ends.is_some();
        // A spare has had ends of its own from its start.
        let [output, stream] = launched.ends.unwrap_or([ends.output, ends.stream]);
        let stream = std::os::unix::net::UnixStream::from(stream);
        stream.set_nonblocking(true)?;
        set_nonblocking(&launched.control)?;
        let channel = Arc::new(sys::register(launched.control)?);
        let inner = Arc::new(ControlInner {
            id: launched.id,
            pid: launched.pid,
            group: launched.group,
            memory: Mutex::default(),
            channel,
            sockets: Mutex::default(),
            sandboxes,
        });
        let events = Events {
            group: inner.group.clone(),
            channel: inner.channel.clone(),
            inner: Arc::downgrade(&inner),
        };
        Ok(Sandbox {
            runtime_listener: listener(launched.runtime_listener)?,
            api_listener: listener(launched.api_listener)?,
            runtime_stream: Some(UnixStream::from_std(stream)?),
            output: Some(Output::of(output)?),
            log: ends.log.map(Output::of).transpose()?,
            extensions_output: ends.extensions.map(Output::of).transpose()?,
            is_from_spare,
            copied: launched.copied,
            control: Control { inner },
            events: Some(events),
        })
    }

    /// As the spawner numbers it.
    pub(crate) fn id(&self) -> u64 {
        self.control.inner.id
    }

    /// Waits until a copy of which nobody knows yet has said something; why it has not, if so.
    pub(crate) async fn has_come_to_life(&self) -> Result<(), String> {
        if self.copied.is_none() {
            return Ok(());
        }
        let stream = self.runtime_stream.as_ref().ok_or("nobody listens to it any more")?;
        stream.readable().await.map_err(|error| error.to_string())?;
        let look = MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT;
        match recv(stream.as_fd().as_raw_fd(), &mut [0], look) {
            Ok(1) => Ok(()),
            Ok(_) => Err("it ended".to_owned()),
            Err(errno) => Err(errno.to_string()),
        }
    }

    /// Waits until a spare has become what is wanted; why it has not, if so. A copy that was made for this
    /// is it from its beginning.
    pub(crate) async fn attached(&mut self) -> Result<(), String> {
        if self.copied == Some(NewCopy::Whole) {
            return Ok(());
        }
        let events = self.events.as_ref().ok_or("nobody listens to it any more")?;
        let read = |fd: &OwnedFd| channel::receive_on(fd.as_fd());
        let read = events.channel.async_io(Interest::READABLE, read).await;
        let packet = read.map_err(|error| error.to_string())?.ok_or("it ended")?;
        match packet.parse().map_err(|error| error.to_string())? {
            InitReport::Attached => Ok(()),
            InitReport::SetupFailed { step } => Err(step),
            other => Err(format!("init said {other:?}")),
        }
    }

    /// A handle to end the environment and to read its accounts.
    pub fn control(&self) -> Control {
        self.control.clone()
    }

    /// What tells of its programs' ends and of its own; can be taken once.
    pub fn take_events(&mut self) -> Option<Events> {
        self.events.take()
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
    /// Who waits for a socket, in the order of asking.
    sockets: Mutex<VecDeque<oneshot::Sender<io::Result<OwnedFd>>>>,
    sandboxes: Sandboxes,
}

impl Control {
    /// Ends the environment at once. Idempotent; returns before it is gone.
    pub fn kill(&self) {
        self.inner.kill();
    }

    /// Lets the runtime of an environment with extensions begin.
    pub fn go(&self) -> io::Result<()> {
        self.inner.command(&Command::Go)
    }

    /// Sends a signal (its number) to one program (0 is the runtime, the extensions follow in the
    /// order of the spec) and to what it has started in its session. Nothing when it has ended.
    pub fn signal(&self, program: usize, signal: i32) -> io::Result<()> {
        self.inner.command(&Command::Signal { program, signal })
    }

    /// Connects to this port of the environment's loopback, as a process inside would. Somebody has
    /// to be waiting for [`Events::next`] meanwhile.
    pub async fn connect(&self, port: u16) -> io::Result<TcpStream> {
        let (sender, receiver) = oneshot::channel();
        // Under the lock, so that answers come in the order of who waits.
        {
            let mut waiting = self.inner.sockets.lock().unwrap_or_else(PoisonError::into_inner);
            self.inner.command(&Command::Socket)?;
            waiting.push_back(sender);
        }
        let gone = |_| io::Error::from(io::ErrorKind::ConnectionAborted);
        let socket = receiver.await.map_err(gone)??;
        let socket = TcpSocket::from_std_stream(std::net::TcpStream::from(socket));
        socket.connect(SocketAddr::from(([127, 0, 0, 1], port))).await
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
    fn command(&self, command: &Command) -> io::Result<()> {
        channel::send_on(self.channel.get_ref().as_fd(), command, &[])
    }

    fn hand_over(&self, socket: io::Result<OwnedFd>) {
        let waiting = self.sockets.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        if let Some(waiting) = waiting {
            // Whoever asked may have lost interest.
            let _ = waiting.send(socket);
        }
    }

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

/// What happens in an environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Only with extensions: one program ended (0 is the runtime), or could not be started.
    ProgramEnded {
        /// Which; the extensions follow the runtime in the order of the spec.
        program: usize,
        /// How.
        end: ProgramEnd,
    },
    /// The environment ended: its only program did, all did, or it was killed. Nothing comes after.
    Ended(Exit),
}

/// Tells what happens in an environment, until its end.
pub struct Events {
    group: Group,
    channel: Arc<AsyncFd<OwnedFd>>,
    inner: Weak<ControlInner>,
}

impl Events {
    /// Waits for the next event. Cancelling loses nothing.
    pub async fn next(&mut self) -> Event {
        loop {
            let channel = &self.channel;
            let read =
                channel.async_io(Interest::READABLE, |fd| channel::receive_on(fd.as_fd())).await;
            let Ok(Some(mut packet)) = read else { return self.end(Exit::default()) };
            let report = match packet.parse() {
                Ok(report) => report,
                Err(error) => return self.end(setup_failure(error.to_string())),
            };
            match report {
                InitReport::ProgramEnded { program, end } => {
                    return Event::ProgramEnded { program, end };
                }
                InitReport::Socket => {
                    let missing = || io::Error::other("init sent no socket");
                    self.hand_over(packet.descriptors.pop().ok_or_else(missing));
                }
                InitReport::NoSocket { errno } => {
                    self.hand_over(Err(io::Error::from_raw_os_error(errno)));
                }
                report => return self.end(from_report(report)),
            }
        }
    }

    /// Waits for the end, whatever happens until then.
    pub async fn exit(mut self) -> Exit {
        loop {
            if let Event::Ended(exit) = self.next().await {
                return exit;
            }
        }
    }

    fn hand_over(&self, socket: io::Result<OwnedFd>) {
        if let Some(inner) = self.inner.upgrade() {
            inner.hand_over(socket);
        }
    }

    fn end(&self, mut exit: Exit) -> Event {
        // Init waits for us before it ends, so the accounts are still there.
        exit.oom = self.group.oom_kills() > 0;
        if let Some(inner) = self.inner.upgrade() {
            inner.sockets.lock().unwrap_or_else(PoisonError::into_inner).clear();
        }
        let _ = shutdown(self.channel.as_raw_fd(), Shutdown::Both);
        Event::Ended(exit)
    }
}

fn from_report(report: InitReport) -> Exit {
    match report {
        InitReport::Exited { code, signal } => Exit { code, signal, ..Exit::default() },
        InitReport::ExecFailed { errno } => {
            Exit { start_failure: Some(StartFailure::Exec { errno }), ..Exit::default() }
        }
        InitReport::SetupFailed { step } => setup_failure(step),
        InitReport::Ready
        | InitReport::Attached
        | InitReport::Open
        | InitReport::Adopted
        | InitReport::ProgramEnded { .. }
        | InitReport::Socket
        | InitReport::NoSocket { .. } => {
            setup_failure("init said what it does not say at the end".to_owned())
        }
    }
}

fn setup_failure(step: String) -> Exit {
    Exit { start_failure: Some(StartFailure::Setup(step)), ..Exit::default() }
}
