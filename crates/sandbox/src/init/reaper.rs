//! What init does once everything has begun: it collects ended processes and notices the ends: the
//! programs', the daemon's, and that of the memory.
//!
//! Without extensions the environment ends with its runtime. With extensions each program's end is
//! told and the daemon decides how the others end; when all have, the environment does.

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal, kill, killpg};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use nix::unistd::Pid;
use std::os::fd::AsFd;

use super::program::Child;
use super::say_goodbye;
use crate::barrier::BarrierKind;
use crate::channel::{Channel, Packet};
use crate::oom;
use crate::protocol::{Command, InitReport, ProgramEnd};
use crate::sys::{self, Ended};
use crate::trial::stands;

/// All programs of the environment, the runtime first.
pub(super) struct Programs {
    children: Vec<Child>,
    /// Whose end has been told.
    ended: Vec<bool>,
    has_extensions: bool,
    /// How the runtime ended, once it has.
    runtime: (Option<i32>, Option<i32>),
}

impl Programs {
    pub(super) fn new(runtime: Child, extensions: Vec<Child>) -> Programs {
        let has_extensions = !extensions.is_empty();
        let children: Vec<_> = std::iter::once(runtime).chain(extensions).collect();
        let ended = vec![false; children.len()];
        Programs { children, ended, has_extensions, runtime: (None, None) }
    }

    /// Lets all begin that need no further word, and waits until they are their programs. A report that
    /// ends the environment, if one does.
    pub(super) fn begin(&mut self, control: &Channel) -> Option<InitReport> {
        if !self.has_extensions {
            return self.children[0].begin().map(|failure| match failure {
                ProgramEnd::NotExecuted { errno } => InitReport::ExecFailed { errno },
                ProgramEnd::NotPrepared { step } => InitReport::SetupFailed { step },
                ProgramEnd::Exited { code, signal } => InitReport::Exited { code, signal },
            });
        }
        for at in 1..self.children.len() {
            self.tell_failure(control, at);
        }
        None
    }

    fn tell_failure(&mut self, control: &Channel, at: usize) {
        if let Some(end) = self.children[at].begin() {
            self.tell(control, at, end);
        }
    }

    fn tell(&mut self, control: &Channel, at: usize, end: ProgramEnd) {
        if !std::mem::replace(&mut self.ended[at], true) {
            // A daemon that is gone ends this environment in a moment.
            let _ = control.send(&InitReport::ProgramEnded { program: at, end }, &[]);
        }
    }

    /// A process has ended. A report that ends the environment, if it does.
    fn reaped(&mut self, control: &Channel, ended: Ended) -> Option<InitReport> {
        let Ended { pid, code, signal } = ended;
        let at = self.children.iter().position(|child| child.pid.as_raw() == pid)?;
        if at == 0 {
            self.runtime = (code, signal);
        }
        if !self.has_extensions {
            return Some(InitReport::Exited { code, signal });
        }
        self.tell(control, at, ProgramEnd::Exited { code, signal });
        let (code, signal) = self.runtime;
        self.ended.iter().all(|ended| *ended).then_some(InitReport::Exited { code, signal })
    }

    fn obey(&mut self, control: &Channel, command: &Command) {
        match command {
            Command::Go if self.has_extensions && !self.ended[0] => {
                self.tell_failure(control, 0);
            }
            Command::Go => {}
            Command::Signal { program, signal } => {
                let child = self.children.get(*program).filter(|_| !self.ended[*program]);
                if let (Some(child), Ok(signal)) = (child, Signal::try_from(*signal)) {
                    // Each leads a group of its own; one that has just ended has none.
                    let _ = killpg(child.pid, signal);
                }
            }
            Command::Socket => {
                let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
                let _ = match socket(AddressFamily::Inet, SockType::Stream, flags, None) {
                    Ok(made) => control.send(&InitReport::Socket, &[made.as_fd()]),
                    Err(errno) => control.send(&InitReport::NoSocket { errno: errno as i32 }, &[]),
                };
            }
        }
    }

    fn kill_everything(&self, isolated: bool) {
        // In a pid namespace of our own, -1 is everything but this process; else their groups.
        if isolated && stands(BarrierKind::ProcessNamespace) {
            let _ = kill(Pid::from_raw(-1), Signal::SIGKILL);
            return;
        }
        for child in &self.children {
            let _ = killpg(child.pid, Signal::SIGKILL);
        }
    }
}

/// What a spare's waiting comes to.
pub(super) enum Wait {
    /// An attachment has come.
    Code(Packet),
    /// The program ended before; the report that ends the environment.
    Ended(InitReport),
    /// The spawner does not want it any more.
    LetGo,
}

/// See the module.
pub(super) struct Reaper {
    signals: SignalFd,
}

impl Reaper {
    /// Must exist before the first child is forked, so that no SIGCHLD is lost.
    pub(super) fn new() -> Result<Reaper, String> {
        let mut mask = SigSet::empty();
        mask.add(Signal::SIGCHLD);
        mask.thread_block().map_err(|error| format!("signal mask: {error}"))?;
        let signals = SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
            .map_err(|error| format!("signalfd: {error}"))?;
        Ok(Reaper { signals })
    }

    /// In a spare whose program has started: waits for its function, or for the program's end.
    pub(super) fn wait_for_code(
        &self,
        control: &Channel,
        programs: &mut Programs,
    ) -> Result<Wait, String> {
        loop {
            let mut polled = [
                PollFd::new(control.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.signals.as_fd(), PollFlags::POLLIN),
            ];
            match poll(&mut polled, PollTimeout::NONE) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(error) => return Err(format!("poll: {error}")),
            }
            let said = polled[0].revents().is_some_and(|events| !events.is_empty());
            while let Ok(Some(_)) = self.signals.read_signal() {}
            if let Some(report) = reap(control, programs) {
                return Ok(Wait::Ended(report));
            }
            if said {
                let packet = control.receive().map_err(|error| format!("control: {error}"))?;
                return Ok(packet.map_or(Wait::LetGo, Wait::Code));
            }
        }
    }

    pub(super) fn watch(
        self,
        control: &Channel,
        mut programs: Programs,
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
                Ok(_) | Err(Errno::EINTR) => {}
                Err(error) => return Err(format!("poll: {error}")),
            }
            let happened = |at: usize| {
                let events = polled.get(at).and_then(PollFd::revents);
                events.is_some_and(|events| !events.is_empty())
            };
            let (said, told) = (happened(0), happened(2));
            if said {
                match control.receive().ok().flatten().map(|packet| packet.parse()) {
                    Some(Ok(command)) => programs.obey(control, &command),
                    // The daemon has let go of this environment, or is not what it was.
                    None | Some(Err(_)) => {
                        programs.kill_everything(isolated);
                        return Ok(());
                    }
                }
            }
            while let Ok(Some(_)) = self.signals.read_signal() {}
            if told && oom.is_some_and(oom::Watch::is_true) {
                programs.kill_everything(isolated);
                let report = InitReport::Exited { code: None, signal: Some(libc::SIGKILL) };
                return say_goodbye(control, &report);
            }
            if let Some(report) = reap(control, &mut programs) {
                programs.kill_everything(isolated);
                return say_goodbye(control, &report);
            }
        }
    }
}

/// Reaps whatever has ended; the report that ends the environment if that does.
fn reap(control: &Channel, programs: &mut Programs) -> Option<InitReport> {
    while let Some(ended) = sys::next_ended(false) {
        if let Some(report) = programs.reaped(control, ended) {
            return Some(report);
        }
    }
    None
}
