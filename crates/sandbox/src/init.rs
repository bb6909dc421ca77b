//! The first process of an environment (pid 1 of its namespace).
//!
//! Its life: born by the spawner into new namespaces, it builds the root file system, opens the
//! listeners of the Runtime API and of the AWS endpoint, says `Ready` and waits. When it is told
//! what to become (late, so that all of the above is off the path of a request) it attaches code
//! and `/tmp`, starts the runtime as an unprivileged, filtered child and gives up every privilege
//! itself. From then on it only reaps processes. It ends, and with it everything inside, when the
//! control channel closes: that is how the daemon ends an environment, and what happens to all of
//! them when the daemon dies.

use std::ffi::CString;
use std::io;
use std::net::TcpListener;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::stat::Mode;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Gid, Pid, Uid};

use crate::barrier::BarrierKind;
use crate::channel::{Channel, Packet};
use crate::landlock;
use crate::network;
use crate::oom;
use crate::protocol::{Assignment, Go, InitReport, LOG_PIPE_FD, Spec};
use crate::rootfs::{self, GID_INSIDE, UID_INSIDE};
use crate::seccomp::Filter;
use crate::sys;
use crate::trial::stands;

/// Ports inside every environment: the Runtime API (as on AWS) and the AWS endpoint.
pub(crate) const RUNTIME_API_PORT: u16 = 9001;
/// See [`RUNTIME_API_PORT`].
pub(crate) const AWS_ENDPOINT_PORT: u16 = 4566;

/// Descriptor number under which the runtime finds its end of the stream socket.
const RUNTIME_STREAM_FD: i32 = 3;
const EXEC_STATUS_FD: i32 = 4;
/// AWS's, whatever the server was started with.
pub(crate) const UMASK: Mode = Mode::from_bits_truncate(0o022);
/// How long the daemon may take to read an environment's last accounts.
const GOODBYE_MS: u16 = 5_000;

/// What init needs to know before it is told what to become.
pub(crate) struct Setup<'a> {
    /// Where the new root is mounted; in the spawner's private scratch space.
    pub(crate) root: PathBuf,
    /// The shared `/etc`.
    pub(crate) etc: PathBuf,
    /// The compiled system call filter.
    pub(crate) filter: &'a Filter,
    /// Whether the environment has namespaces of its own.
    pub(crate) isolated: bool,
    /// The user and group of the host that it is; inside they have other numbers.
    pub(crate) host_user: (u32, u32),
}

/// Runs as the first process of an environment; never returns to the spawner's code.
pub(crate) fn run(control: Channel, setup: &Setup<'_>) -> ! {
    sys::set_process_name(c"lambic-init");
    if stands(BarrierKind::ClosedInit) {
        forget_command_line("lambic-init");
    }
    if let Err(step) = live(&control, setup) {
        let _ = control.send(&InitReport::SetupFailed { step }, &[]);
        sys::exit_now(1);
    }
    sys::exit_now(0)
}

/// Overwrites the command line that was inherited from the daemon: it tells about the host, and
/// whoever is inside can read that of pid 1.
pub(crate) fn forget_command_line(name: &str) {
    let place = || -> Option<(u64, usize)> {
        let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
        // The second field, in parentheses, may contain spaces; 48 and 49 are arg_start, arg_end.
        let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(45);
        let (start, end): (u64, u64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        Some((start, usize::try_from(end.checked_sub(start)?).ok()?))
    };
    let Some((start, length)) = place() else { return };
    let mut text = name.as_bytes().to_vec();
    text.resize(length, 0);
    let memory = std::fs::OpenOptions::new().write(true).open("/proc/self/mem");
    // If the kernel forbids it, the command line stays: nothing there is a secret.
    let _ =
        memory.and_then(|memory| std::os::unix::fs::FileExt::write_all_at(&memory, &text, start));
}

fn live(control: &Channel, setup: &Setup<'_>) -> Result<(), String> {
    sys::die_with_parent().map_err(|error| format!("parent death signal: {error}"))?;
    // The spawner writes the user map and the control groups first, then sends one packet.
    let go: Go = expect_packet(control)?.parse().map_err(|error| format!("go: {error}"))?;
    if setup.isolated {
        if stands(BarrierKind::UserNamespace) {
            become_user(UID_INSIDE, GID_INSIDE)?;
        }
        // Changing the user has cleared it.
        sys::die_with_parent().map_err(|error| format!("parent death signal: {error}"))?;
        if stands(BarrierKind::UserNamespace) {
            limit_shared_objects();
        }
        if stands(BarrierKind::HostName) {
            nix::unistd::sethostname("sandbox").map_err(|error| format!("host name: {error}"))?;
        }
        if stands(BarrierKind::CgroupNamespace) {
            // The group of the environment becomes the root of what it can see of control groups.
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWCGROUP)
                .map_err(|error| format!("cgroup namespace: {error}"))?;
        }
        if stands(BarrierKind::NetworkNamespace) {
            sys::loopback_up().map_err(|error| format!("loopback interface: {error}"))?;
        }
        if let Some(arrival) = &go.way {
            network::arrive(arrival)?;
        }
    }
    let (api, endpoint) = listeners(setup.isolated && stands(BarrierKind::NetworkNamespace))?;
    if setup.isolated {
        rootfs::build_and_enter(&setup.root, &setup.etc)?;
    }
    control
        .send(&InitReport::Ready, &[api.as_fd(), endpoint.as_fd()])
        .map_err(|error| format!("reporting readiness: {error}"))?;
    drop((api, endpoint));
    let packet = expect_packet(control)?;
    let assignment: Assignment = packet.parse().map_err(|error| format!("assignment: {error}"))?;
    become_environment(control, &assignment, packet.descriptors, setup)
}

fn expect_packet(control: &Channel) -> Result<Packet, String> {
    match control.receive() {
        Ok(Some(packet)) => Ok(packet),
        // The other side is gone before there was anything to do: end quietly.
        Ok(None) => sys::exit_now(0),
        Err(error) => Err(format!("control channel: {error}")),
    }
}

fn become_user(uid: u32, gid: u32) -> Result<(), String> {
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    nix::unistd::setresgid(gid, gid, gid).map_err(|error| format!("setresgid: {error}"))?;
    nix::unistd::setresuid(uid, uid, uid).map_err(|error| format!("setresuid: {error}"))
}

/// The kernel counts these per user and user namespace, up to the host's own user: an environment
/// gets a small part. Where the kernel does not let it, the descriptors' limit is the bound.
fn limit_shared_objects() {
    for (name, most) in [("max_inotify_instances", "16"), ("max_inotify_watches", "8192")] {
        let _ = std::fs::write(format!("/proc/sys/user/{name}"), most);
    }
}

fn listeners(isolated: bool) -> Result<(TcpListener, TcpListener), String> {
    let bind = |port: u16| {
        let port = if isolated { port } else { 0 };
        TcpListener::bind(("127.0.0.1", port)).map_err(|error| format!("port {port}: {error}"))
    };
    Ok((bind(RUNTIME_API_PORT)?, bind(AWS_ENDPOINT_PORT)?))
}

fn become_environment(
    control: &Channel,
    assignment: &Assignment,
    descriptors: Vec<OwnedFd>,
    setup: &Setup<'_>,
) -> Result<(), String> {
    let mut descriptors = descriptors.into_iter();
    let mut next = |what: &str| descriptors.next().ok_or_else(|| format!("{what} is missing"));
    let output = next("the output pipe")?;
    let stream = next("the runtime's stream")?;
    let spec = &assignment.spec;
    let log = if spec.log_pipe { Some(next("the log pipe")?) } else { None };
    let oom = match assignment.oom_descriptors {
        0 => None,
        1 => Some(oom::Watch::new(next("the memory's events")?, None)),
        _ => Some(oom::Watch::new(next("the memory's counts")?, Some(next("its events")?))),
    };
    if let Some(confinement) = &assignment.confinement {
        network::confine(confinement)?;
    }
    if setup.isolated {
        if assignment.tmp_disk {
            rootfs::attach(next("the disk of /tmp")?.as_fd(), "/tmp")?;
        } else {
            let limit = stands(BarrierKind::Tmp).then_some(spec.tmp_mb);
            rootfs::mount_tmp_in_memory(limit)?;
        }
        for bind in &spec.binds {
            rootfs::attach(next(&bind.target)?.as_fd(), &bind.target)?;
        }
        rootfs::make_read_only(Path::new("/"))
            .map_err(|error| format!("read-only root: {error}"))?;
    }
    let reaper = Reaper::new()?;
    let (status, child_status) = Channel::pair().map_err(|error| format!("pipe: {error}"))?;
    let Some(pid) = sys::fork().map_err(|error| format!("fork: {error}"))? else {
        drop(status);
        let Ok(status) = arrange_descriptors(output, stream, log, child_status) else {
            sys::exit_now(126);
        };
        let error = start_runtime(assignment, setup);
        let _ = status.send(&error, &[]);
        sys::exit_now(127);
    };
    drop((child_status, output, stream, log));
    drop_everything()?;
    if let Ok(Some(packet)) = status.receive() {
        let report = match packet.parse() {
            Ok(StartError::Exec { errno }) => InitReport::ExecFailed { errno },
            Ok(StartError::Step(step)) => InitReport::SetupFailed { step },
            Err(error) => InitReport::SetupFailed { step: error.to_string() },
        };
        return say_goodbye(control, &report);
    }
    reaper.watch(control, Pid::from_raw(pid), setup.isolated, oom.as_ref())
}

/// Init itself needs no privilege any more, and nobody inside may look into it.
fn drop_everything() -> Result<(), String> {
    let run = || -> io::Result<()> {
        sys::set_dumpable(!stands(BarrierKind::ClosedInit))?;
        sys::no_new_privileges()?;
        sys::drop_capabilities()
    };
    run().map_err(|error| format!("giving up privileges: {error}"))
}

#[derive(serde::Serialize, serde::Deserialize)]
enum StartError {
    Exec { errno: i32 },
    Step(String),
}

/// In the new child: from our own code to the runtime's. Returns only if that fails.
fn start_runtime(assignment: &Assignment, setup: &Setup<'_>) -> StartError {
    match prepare_runtime(assignment, setup) {
        Ok((program, argv, env)) => match nix::unistd::execve(&program, &argv, &env) {
            Err(errno) => StartError::Exec { errno: errno as i32 },
        },
        Err(step) => StartError::Step(step),
    }
}

type Exec = (CString, Vec<CString>, Vec<CString>);

fn prepare_runtime(assignment: &Assignment, setup: &Setup<'_>) -> Result<Exec, String> {
    let spec = &assignment.spec;
    let step = |name: &'static str| move |error: io::Error| format!("{name}: {error}");
    nix::unistd::setsid().map_err(|error| format!("setsid: {error}"))?;
    SigSet::empty().thread_set_mask().map_err(|error| format!("signal mask: {error}"))?;
    sys::set_dumpable(true).map_err(step("dumpable"))?;
    sys::default_actions();
    nix::sys::stat::umask(UMASK);
    if stands(BarrierKind::ResourceLimits) {
        limit_resources(spec, assignment.limit_data, setup.isolated)?;
    }
    std::env::set_current_dir(&spec.cwd).map_err(step("working directory"))?;
    let exec = exec_arguments(spec)?;
    if setup.isolated {
        confine(setup)?;
    }
    Ok(exec)
}

/// The last rights go, in the order in which each step can still be taken.
fn confine(setup: &Setup<'_>) -> Result<(), String> {
    let step = |name: &'static str| move |error: io::Error| format!("{name}: {error}");
    if stands(BarrierKind::NoNewPrivileges) {
        sys::no_new_privileges().map_err(step("no_new_privs"))?;
    }
    if stands(BarrierKind::Landlock) {
        landlock::enforce_on_environment().map_err(step("landlock"))?;
    }
    if stands(BarrierKind::SystemCalls) {
        setup.filter.install()?;
    }
    if !stands(BarrierKind::UserNamespace) && stands(BarrierKind::HostUser) {
        become_user(setup.host_user.0, setup.host_user.1)?;
    }
    if stands(BarrierKind::Capabilities) {
        sys::drop_capabilities().map_err(step("capabilities"))?;
    }
    #[cfg(feature = "trial")]
    if !stands(BarrierKind::Capabilities) {
        sys::keep_capabilities().map_err(step("keeping capabilities"))?;
    }
    Ok(())
}

fn limit_resources(spec: &Spec, limit_data: bool, isolated: bool) -> Result<(), String> {
    let set = |resource: Resource, value: u64| {
        setrlimit(resource, value, value).map_err(|error| format!("{resource:?}: {error}"))
    };
    // 1 keeps crashes from the host's core handler too, which 0 does not (core(5)).
    set(Resource::RLIMIT_CORE, 1)?;
    set(Resource::RLIMIT_SIGPENDING, 4_096)?;
    set(Resource::RLIMIT_MSGQUEUE, 0)?;
    set(Resource::RLIMIT_MEMLOCK, 64 * 1024)?;
    set(Resource::RLIMIT_NOFILE, spec.files_max.into())?;
    if limit_data && isolated {
        // Without control groups these stand in for them, per process and per user.
        set(Resource::RLIMIT_DATA, u64::from(spec.memory_mb) << 20)?;
        set(Resource::RLIMIT_NPROC, spec.pids_max.into())?;
    }
    Ok(())
}

/// 0: nothing, 1 and 2: the output pipe, 3: the runtime's stream, 4: the returned channel, closed
/// by a successful exec, 5: the log pipe, if there is one. Everything else is closed.
fn arrange_descriptors(
    output: OwnedFd,
    stream: OwnedFd,
    log: Option<OwnedFd>,
    status: Channel,
) -> io::Result<Channel> {
    const ABOVE: i32 = 64;
    let null: OwnedFd = std::fs::File::open("/dev/null")?.into();
    let status = sys::duplicate_above(status.into_fd(), ABOVE)?;
    let output = sys::duplicate_above(output, ABOVE)?;
    let stream = sys::duplicate_above(stream, ABOVE)?;
    let log = log.map(|log| sys::duplicate_above(log, ABOVE)).transpose()?;
    let null = sys::duplicate_above(null, ABOVE)?;
    sys::duplicate_to(null.as_fd(), 0)?;
    sys::duplicate_to(output.as_fd(), 1)?;
    sys::duplicate_to(output.as_fd(), 2)?;
    sys::duplicate_to(stream.as_fd(), RUNTIME_STREAM_FD)?;
    sys::duplicate_to(status.as_fd(), EXEC_STATUS_FD)?;
    sys::close_on_exec(EXEC_STATUS_FD)?;
    if let Some(log) = &log {
        sys::duplicate_to(log.as_fd(), LOG_PIPE_FD)?;
    }
    let last = if log.is_some() { LOG_PIPE_FD } else { EXEC_STATUS_FD };
    for fd in [null, output, stream, status].into_iter().chain(log) {
        sys::leak(fd);
    }
    if stands(BarrierKind::ClosedDescriptors) {
        sys::close_from(last + 1)?;
    }
    Ok(Channel::from_fd(sys::own(&[EXEC_STATUS_FD]).remove(0)))
}

fn exec_arguments(spec: &Spec) -> Result<Exec, String> {
    let text = |text: String| CString::new(text).map_err(|_| "NUL in an argument".to_owned());
    let argv: Vec<CString> = spec.argv.iter().cloned().map(text).collect::<Result<_, _>>()?;
    let env = spec.env.iter().map(|(name, value)| text(format!("{name}={value}")));
    let program = argv.first().cloned().ok_or("argv is empty")?;
    Ok((program, argv, env.collect::<Result<_, _>>()?))
}

/// Sends the last report and stays (so that the accounts stay readable) until it is read.
fn say_goodbye(control: &Channel, report: &InitReport) -> Result<(), String> {
    control.send(report, &[]).map_err(|error| error.to_string())?;
    let _ = control.receive_within(GOODBYE_MS);
    Ok(())
}

/// Collects ended processes and notices the two ends: the runtime's and the daemon's.
struct Reaper {
    signals: SignalFd,
}

impl Reaper {
    /// Must exist before the child is forked, so that no SIGCHLD is lost.
    fn new() -> Result<Reaper, String> {
        let mut mask = SigSet::empty();
        mask.add(Signal::SIGCHLD);
        mask.thread_block().map_err(|error| format!("signal mask: {error}"))?;
        let signals = SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
            .map_err(|error| format!("signalfd: {error}"))?;
        Ok(Reaper { signals })
    }

    fn watch(
        self,
        control: &Channel,
        runtime: Pid,
        isolated: bool,
        oom: Option<&oom::Watch>,
    ) -> Result<(), String> {
        loop {
            let mut polled = vec![
                PollFd::new(control.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.signals.as_fd(), PollFlags::POLLIN),
            ];
            polled.extend(oom.map(oom::Watch::polled));
            match poll(&mut polled, PollTimeout::NONE) {
                Ok(_) | Err(nix::errno::Errno::EINTR) => {}
                Err(error) => return Err(format!("poll: {error}")),
            }
            let happened = |at: usize| {
                let events = polled.get(at).and_then(PollFd::revents);
                events.is_some_and(|events| !events.is_empty())
            };
            let (ended, told) = (happened(0), happened(2));
            if ended {
                // Whatever the daemon sends now, or its end: this environment is over.
                kill_everything(runtime, isolated);
                return Ok(());
            }
            while let Ok(Some(_)) = self.signals.read_signal() {}
            if told && oom.is_some_and(oom::Watch::is_true) {
                kill_everything(runtime, isolated);
                let report = InitReport::Exited { code: None, signal: Some(libc::SIGKILL) };
                return say_goodbye(control, &report);
            }
            if let Some(report) = reap(runtime) {
                kill_everything(runtime, isolated);
                return say_goodbye(control, &report);
            }
        }
    }
}

/// Reaps whatever has ended; the report if the runtime is among it.
fn reap(runtime: Pid) -> Option<InitReport> {
    loop {
        match waitpid(None::<Pid>, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, code)) if pid == runtime => {
                return Some(InitReport::Exited { code: Some(code), signal: None });
            }
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid == runtime => {
                return Some(InitReport::Exited { code: None, signal: Some(signal as i32) });
            }
            Ok(WaitStatus::StillAlive) | Err(_) => return None,
            Ok(_) => {}
        }
    }
}

fn kill_everything(runtime: Pid, isolated: bool) {
    // In a pid namespace of our own, -1 is everything but this process; else the runtime's group.
    let alone = isolated && stands(BarrierKind::ProcessNamespace);
    let target = if alone { Pid::from_raw(-1) } else { Pid::from_raw(-runtime.as_raw()) };
    let _ = kill(target, Signal::SIGKILL);
}
