//! The process that becomes the runtime, made before it is known which.
//!
//! It has all of its bounds and waits to be told its program, so that neither making it nor putting the
//! bounds on is on the path of a request. It shares the memory of init, as `posix_spawn`'s do: nothing is
//! copied, and nothing has to be thrown away when it becomes its program, which would take longer than
//! all the rest. Two processes that share memory without locks take turns: each does something only
//! while the other waits for a word, and whoever gives the word waits next. Up to the program this is our
//! own code only; the program gets memory of its own.
//!
//! Its bounds are those of an environment whose `/tmp` is there already and that has no file system.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::{Mutex, MutexGuard, PoisonError};

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;

use super::Setup;
use super::program::{
    Bounds, Exec, StartError, Streams, arrange_ahead, confine, enter, exec_arguments, execute,
    limit_as_all, limit_resources, prepare_alone, put_in_place,
};
use crate::barrier::BarrierKind;
use crate::channel::Channel;
use crate::protocol::{Assignment, Spec};
use crate::sys;
use crate::trial::stands;

/// What it needs of a stack: it calls nothing that is deep. Only what is touched takes memory.
const STACK_BYTES: usize = 256 * 1024;
/// Output, the runtime's stream, the log.
const STREAMS_MAX: usize = 3;

/// See the module.
pub(super) struct Understudy {
    pub(super) pid: Pid,
    /// Through which both give the word.
    status: OwnedFd,
    stage: &'static Stage,
}

/// What both see.
struct Stage {
    setup: Setup,
    status: RawFd,
    part: Mutex<Option<Part>>,
    /// Why it is not its program, or does not have its bounds.
    error: Mutex<Option<StartError>>,
}

/// What it becomes.
struct Part {
    spec: Spec,
    limit_data: bool,
    exec: Exec,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Understudy {
    /// Makes one, and waits until it has its bounds.
    pub(super) fn wait_ahead(setup: &Setup) -> Result<Understudy, String> {
        let pair = Channel::pair().map_err(|error| format!("pipe: {error}"))?;
        let (status, theirs) = (pair.0.into_fd(), pair.1.into_fd());
        // Both live as long as this process.
        let stage: &'static Stage = Box::leak(Box::new(Stage {
            setup: setup.clone(),
            status: theirs.as_raw_fd(),
            part: Mutex::default(),
            error: Mutex::default(),
        }));
        let pid = sys::clone_sharing_memory(STACK_BYTES, play, stage, status.as_fd(), theirs);
        let pid = pid.map_err(|error| format!("fork: {error}"))?;
        match lock(&stage.error).take() {
            None => Ok(Understudy { pid: Pid::from_raw(pid), status, stage }),
            Some(StartError::Step(step)) => Err(step),
            Some(StartError::Exec { errno }) => Err(format!("error {errno}")),
        }
    }

    /// Decides what it becomes.
    pub(super) fn learn(&self, assignment: &Assignment) -> Result<(), String> {
        let spec = assignment.spec.clone();
        let exec = exec_arguments(&spec.argv, &spec.env)?;
        let part = Part { spec, limit_data: assignment.limit_data, exec };
        *lock(&self.stage.part) = Some(part);
        Ok(())
    }

    /// Lets it become that, and waits until it has; what kept it from it, if it has not.
    pub(super) fn begin(&self, streams: Streams) -> Option<StartError> {
        // It is no more prompt than others from now on.
        sys::set_promptness(self.pid.as_raw(), None);
        let all = std::iter::once(&streams.output).chain(&streams.runtime).chain(&streams.log);
        let mut descriptors: [Option<BorrowedFd<'_>>; STREAMS_MAX] = [None; STREAMS_MAX];
        for (place, fd) in descriptors.iter_mut().zip(all) {
            *place = Some(fd.as_fd());
        }
        sys::give_word(self.status.as_fd(), descriptors);
        sys::hear_word::<0>(self.status.as_fd());
        lock(&self.stage.error).take()
    }

    /// It is of no use: ends it.
    pub(super) fn dismiss(self) {
        let _ = kill(self.pid, Signal::SIGKILL);
        let _ = waitpid(self.pid, None);
    }
}

/// The life of an understudy.
fn play(stage: &'static Stage) -> ! {
    let status = Channel::from_fd(sys::own(&[stage.status]).remove(0));
    let Ok(status) = status.keep_only().and_then(arrange_ahead) else { sys::exit_now(126) };
    let bounds = take_bounds(&stage.setup);
    *lock(&stage.error) = bounds.err().map(StartError::Step);
    sys::give_word(status.as_fd(), []);
    let Some(given) = sys::hear_word::<STREAMS_MAX>(status.as_fd()) else { sys::exit_now(0) };
    *lock(&stage.error) = Some(become_part(stage, given.into_iter().flatten()));
    sys::give_word(status.as_fd(), []);
    sys::leak(status.into_fd());
    sys::exit_now(127)
}

/// All that can be put on before its part is known.
fn take_bounds(setup: &Setup) -> Result<(), String> {
    prepare_alone()?;
    if stands(BarrierKind::ResourceLimits) {
        limit_as_all()?;
    }
    match setup.isolated {
        true => confine(setup, &Bounds::Environment(None)),
        false => Ok(()),
    }
}

/// Returns only if it fails.
fn become_part(stage: &Stage, given: impl Iterator<Item = OwnedFd>) -> StartError {
    execute(learn_part(stage, given))
}

fn learn_part(stage: &Stage, mut given: impl Iterator<Item = OwnedFd>) -> Result<Exec, String> {
    let part = lock(&stage.part).take().ok_or("the part is missing")?;
    let output = given.next().ok_or("the output is missing")?;
    let streams = Streams { output, runtime: given.next(), log: given.next(), word: None };
    put_in_place(streams).map_err(|error| format!("descriptors: {error}"))?;
    if stands(BarrierKind::ResourceLimits) {
        limit_resources(&part.spec, part.limit_data, stage.setup.isolated)?;
    }
    enter(&part.spec.cwd)?;
    Ok(part.exec)
}
