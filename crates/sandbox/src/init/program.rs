//! The programs of an environment: from our own code to theirs.
//!
//! Each is a child of init in a session of its own. It gets its descriptors, its limits and, as the
//! last step before its program, its bounds. With extensions all of them take these steps and then wait
//! for the word to begin: nobody else's code runs before the last of them stands, and init has no
//! privilege left by then with which the steps could be taken. Until it is its program, none can be
//! looked into: it is still a copy of init.
//!
//! The runtime's is made ahead (`understudy`). Where that one cannot be used, because its bounds would
//! not be those that are wanted, a child is made at the launch.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::SigSet;
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use super::understudy::Understudy;
use super::{Setup, UMASK, become_user};
use crate::barrier::BarrierKind;
use crate::channel::Channel;
use crate::landlock;
use crate::protocol::{Assignment, LOG_PIPE_FD, ProgramEnd, Spec};
use crate::sys;
use crate::template::TEMPLATE_FD;
use crate::trial::stands;

/// Descriptor number under which the runtime finds its end of the stream socket.
const RUNTIME_STREAM_FD: i32 = 3;
const EXEC_STATUS_FD: i32 = 4;
/// Numbers from which on descriptors are out of the way of all that have a place.
const ABOVE: i32 = 64;

/// What one program is.
pub(super) struct Program<'a> {
    pub(super) argv: &'a [String],
    pub(super) env: &'a [(String, String)],
    pub(super) cwd: &'a str,
    /// Whether it waits for [`Child::begin`].
    pub(super) held: bool,
}

/// What it inherits.
pub(super) struct Streams {
    pub(super) output: OwnedFd,
    pub(super) runtime: Option<OwnedFd>,
    pub(super) log: Option<OwnedFd>,
    /// Of a template.
    pub(super) word: Option<OwnedFd>,
}

/// A child that is about to become its program.
pub(super) struct Child {
    pub(super) pid: Pid,
    way: Way,
}

/// How it hears that it may begin, and tells what kept it from its program.
enum Way {
    /// It has everything, and waits only if it is held.
    Forked { status: Channel, held: bool },
    /// It hears its part then.
    Understudy { understudy: Understudy, streams: Option<Streams> },
    /// A copy of a template is its program from the beginning.
    Adopted,
}

impl Child {
    /// One that was made ahead, and what it gets when it begins.
    pub(super) fn of(understudy: Understudy, streams: Streams) -> Child {
        Child { pid: understudy.pid, way: Way::Understudy { understudy, streams: Some(streams) } }
    }

    /// One that came as a copy of a template.
    pub(super) fn adopted(pid: i32) -> Child {
        Child { pid: Pid::from_raw(pid), way: Way::Adopted }
    }

    /// Lets it begin, if it waits for that, and waits until it is its program; what kept it from that, if
    /// it is not. One that has ended does not hear it.
    pub(super) fn begin(&mut self) -> Option<ProgramEnd> {
        let error = match &mut self.way {
            Way::Forked { status, held } => {
                if std::mem::take(held) {
                    let _ = status.send(&(), &[]);
                }
                let packet = status.receive().ok()??;
                packet.parse().unwrap_or_else(|error| StartError::Step(error.to_string()))
            }
            Way::Adopted => return None,
            // Whose ends are closed here, so that nobody but the program holds them.
            Way::Understudy { understudy, streams } => understudy.begin(streams.take()?)?,
        };
        Some(match error {
            StartError::Exec { errno } => ProgramEnd::NotExecuted { errno },
            StartError::Step(step) => ProgramEnd::NotPrepared { step },
        })
    }
}

#[derive(Serialize, Deserialize)]
pub(super) enum StartError {
    Exec { errno: i32 },
    Step(String),
}

/// Starts one.
pub(super) fn start(
    program: &Program<'_>,
    streams: Streams,
    assignment: &Assignment,
    setup: &Setup,
) -> Result<Child, String> {
    let (status, child_status) = Channel::pair().map_err(|error| format!("pipe: {error}"))?;
    match sys::fork().map_err(|error| format!("fork: {error}"))? {
        Some(pid) => {
            let way = Way::Forked { status, held: program.held };
            Ok(Child { pid: Pid::from_raw(pid), way })
        }
        None => {
            drop(status);
            let Ok(status) = arrange_descriptors(streams, child_status) else {
                sys::exit_now(126);
            };
            let error = become_program(program, &status, assignment, setup);
            let _ = status.send(&error, &[]);
            sys::exit_now(127);
        }
    }
}

/// In the new child. Returns only if it fails.
fn become_program(
    program: &Program<'_>,
    status: &Channel,
    assignment: &Assignment,
    setup: &Setup,
) -> StartError {
    let ready = prepare(program, assignment, setup)
        .and_then(|exec| if program.held { wait(status).map(|()| exec) } else { Ok(exec) });
    execute(ready)
}

/// The last step. Returns only if it fails.
pub(super) fn execute(ready: Result<Exec, String>) -> StartError {
    match ready {
        Ok((program, argv, env)) => match nix::unistd::execve(&program, &argv, &env) {
            Err(errno) => StartError::Exec { errno: errno as i32 },
        },
        Err(step) => StartError::Step(step),
    }
}

/// Waits for the word.
fn wait(status: &Channel) -> Result<(), String> {
    let packet = status.receive().map_err(|error| format!("waiting for the word: {error}"))?;
    if packet.is_none() {
        sys::exit_now(0);
    }
    Ok(())
}

pub(super) type Exec = (CString, Vec<CString>, Vec<CString>);

fn prepare(program: &Program<'_>, assignment: &Assignment, setup: &Setup) -> Result<Exec, String> {
    prepare_alone()?;
    // The kernel makes it so again for the program.
    let closed = sys::set_dumpable(!stands(BarrierKind::ClosedInit));
    closed.map_err(|error| format!("dumpable: {error}"))?;
    if stands(BarrierKind::ResourceLimits) {
        limit_as_all()?;
        limit_resources(&assignment.spec, assignment.limit_data, setup.isolated)?;
    }
    enter(program.cwd)?;
    let exec = exec_arguments(program.argv, program.env)?;
    // The filter lets nobody say that afterwards.
    sys::set_promptness(0, None);
    if setup.isolated {
        confine(setup, &Bounds::of(assignment))?;
    }
    Ok(exec)
}

/// What does not depend on the program.
pub(super) fn prepare_alone() -> Result<(), String> {
    nix::unistd::setsid().map_err(|error| format!("setsid: {error}"))?;
    SigSet::empty().thread_set_mask().map_err(|error| format!("signal mask: {error}"))?;
    sys::default_actions();
    nix::sys::stat::umask(UMASK);
    Ok(())
}

pub(super) fn enter(cwd: &str) -> Result<(), String> {
    std::env::set_current_dir(cwd).map_err(|error| format!("working directory: {error}"))
}

/// For which files a program's rules are.
pub(super) enum Bounds<'a> {
    /// Those of an environment, and where a file system is mounted.
    Environment(Option<&'a Path>),
    /// Those that each copy narrows for itself.
    Template,
}

impl Bounds<'_> {
    fn of(assignment: &Assignment) -> Bounds<'_> {
        let mounted = assignment.spec.file_system.as_ref();
        match assignment.origin.is_template() {
            true => Bounds::Template,
            false => Bounds::Environment(mounted.map(|mounted| Path::new(&mounted.target))),
        }
    }
}

/// The last rights go, in the order in which each step can still be taken.
pub(super) fn confine(setup: &Setup, bounds: &Bounds<'_>) -> Result<(), String> {
    let step = |name: &'static str| move |error: io::Error| format!("{name}: {error}");
    if stands(BarrierKind::NoNewPrivileges) {
        sys::no_new_privileges().map_err(step("no_new_privs"))?;
    }
    if stands(BarrierKind::Landlock) {
        let enforced = match bounds {
            Bounds::Environment(mounted) => landlock::enforce_on_environment(*mounted),
            Bounds::Template => landlock::enforce_on_template(),
        };
        enforced.map_err(step("landlock"))?;
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

fn limit(resource: Resource, value: u64) -> Result<(), String> {
    setrlimit(resource, value, value).map_err(|error| format!("{resource:?}: {error}"))
}

/// Limits that are those of every program.
pub(super) fn limit_as_all() -> Result<(), String> {
    // 1 keeps crashes from the host's core handler too, which 0 does not (core(5)).
    limit(Resource::RLIMIT_CORE, 1)?;
    limit(Resource::RLIMIT_SIGPENDING, 4_096)?;
    limit(Resource::RLIMIT_MSGQUEUE, 0)?;
    limit(Resource::RLIMIT_MEMLOCK, 64 * 1024)
}

/// And those that are its own.
pub(super) fn limit_resources(spec: &Spec, limit_data: bool, isolated: bool) -> Result<(), String> {
    limit(Resource::RLIMIT_NOFILE, spec.files_max.into())?;
    if limit_data && isolated {
        // Without control groups these stand in for them, per process and per user.
        limit(Resource::RLIMIT_DATA, u64::from(spec.memory_mb) << 20)?;
        limit(Resource::RLIMIT_NPROC, spec.pids_max.into())?;
    }
    Ok(())
}

/// 0: nothing, 1 and 2: the output pipe, 3: the runtime's stream, if it is the runtime, 4: the
/// returned channel, closed by a successful exec, 5: the log pipe, if there is one, 6: a template's
/// socket. Everything else is closed.
pub(super) fn arrange_descriptors(streams: Streams, status: Channel) -> io::Result<Channel> {
    let above = |fd: OwnedFd| sys::duplicate_above(fd, ABOVE);
    let null = above(std::fs::File::open("/dev/null")?.into())?;
    let status = above(status.into_fd())?;
    let output = above(streams.output)?;
    let runtime = streams.runtime.map(above).transpose()?;
    let log = streams.log.map(above).transpose()?;
    let word = streams.word.map(above).transpose()?;
    sys::duplicate_to(null.as_fd(), 0)?;
    sys::duplicate_to(output.as_fd(), 1)?;
    sys::duplicate_to(output.as_fd(), 2)?;
    match &runtime {
        Some(runtime) => sys::duplicate_to(runtime.as_fd(), RUNTIME_STREAM_FD)?,
        None => sys::close_number(RUNTIME_STREAM_FD)?,
    }
    sys::duplicate_to(status.as_fd(), EXEC_STATUS_FD)?;
    sys::close_on_exec(EXEC_STATUS_FD)?;
    if let Some(log) = &log {
        sys::duplicate_to(log.as_fd(), LOG_PIPE_FD)?;
    }
    let mut last = if log.is_some() { LOG_PIPE_FD } else { EXEC_STATUS_FD };
    if let Some(word) = &word {
        sys::close_number(last + 1)?;
        last = TEMPLATE_FD;
        sys::duplicate_to(word.as_fd(), last)?;
    }
    for fd in [null, output, status].into_iter().chain(runtime).chain(log).chain(word) {
        sys::leak(fd);
    }
    if stands(BarrierKind::ClosedDescriptors) {
        sys::close_from(last + 1)?;
    }
    Ok(Channel::from_fd(sys::own(&[EXEC_STATUS_FD]).remove(0)))
}

/// As [`arrange_descriptors`], before there are any: nothing is in all places. Returns the channel in its
/// place.
pub(super) fn arrange_ahead(status: Channel) -> io::Result<Channel> {
    let null = sys::duplicate_above(std::fs::File::open("/dev/null")?.into(), ABOVE)?;
    let status = sys::duplicate_above(status.into_fd(), ABOVE)?;
    for number in (0..=RUNTIME_STREAM_FD).chain([LOG_PIPE_FD]) {
        sys::duplicate_to(null.as_fd(), number)?;
    }
    sys::duplicate_to(status.as_fd(), EXEC_STATUS_FD)?;
    sys::close_on_exec(EXEC_STATUS_FD)?;
    Ok(Channel::from_fd(sys::own(&[EXEC_STATUS_FD]).remove(0)))
}

/// Puts what has come since into those places, and closes the others. `streams` have come after all that is
/// in place, so none of them is there already.
pub(super) fn put_in_place(streams: Streams) -> io::Result<()> {
    sys::duplicate_to(streams.output.as_fd(), 1)?;
    sys::duplicate_to(streams.output.as_fd(), 2)?;
    for (stream, number) in [(&streams.runtime, RUNTIME_STREAM_FD), (&streams.log, LOG_PIPE_FD)] {
        match stream {
            Some(stream) => sys::duplicate_to(stream.as_fd(), number)?,
            None => sys::close_number(number)?,
        }
    }
    let Streams { output, runtime, log, word } = streams;
    if stands(BarrierKind::ClosedDescriptors) {
        [Some(output), runtime, log, word].into_iter().flatten().for_each(sys::leak);
        sys::close_from(LOG_PIPE_FD + 1)?;
    }
    Ok(())
}

pub(super) fn exec_arguments(argv: &[String], env: &[(String, String)]) -> Result<Exec, String> {
    let text = |text: String| CString::new(text).map_err(|_| "NUL in an argument".to_owned());
    let argv: Vec<CString> = argv.iter().cloned().map(text).collect::<Result<_, _>>()?;
    let env = env.iter().map(|(name, value)| text(format!("{name}={value}")));
    let path = argv.first().cloned().ok_or("argv is empty")?;
    Ok((path, argv, env.collect::<Result<_, _>>()?))
}
