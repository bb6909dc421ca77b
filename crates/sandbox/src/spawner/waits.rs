//! What the spawner waits for, and how it comes out of it.

use nix::poll::PollTimeout;
use nix::sys::signal::{SigSet, SigmaskHow, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// What the spawner does when nobody wants anything.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    MakeWaiting,
    StartSpare,
    /// One that waits is not wanted.
    EndOne,
    /// Something is missing, but somebody may be at work.
    Pause,
    /// Something is missing that the machine has no means for at the moment.
    Rest,
    Nothing,
}

impl Next {
    /// There will be something to do.
    pub(super) fn or_rest(self) -> Next {
        if self == Next::Nothing { Next::Rest } else { self }
    }

    /// Whether nothing is done until some time has passed. What is done at once says nothing of the others.
    pub(super) fn is_a_pause(self) -> bool {
        !matches!(self, Next::MakeWaiting | Next::StartSpare)
    }
}

/// What a wait came to.
pub(super) struct Happened {
    pub(super) daemon: bool,
    pub(super) children: bool,
    pub(super) network: bool,
    /// By process id, and whether it is that its program has loaded itself.
    pub(super) spares: Vec<(i32, bool)>,
    pub(super) copies: bool,
    pub(super) makers: bool,
    /// Time is up.
    pub(super) nothing: bool,
}

/// A wait that is not longer than `ms`.
pub(super) fn at_most(timeout: PollTimeout, ms: u16) -> PollTimeout {
    let longer = timeout.is_none() || i32::from(timeout) > i32::from(ms);
    if longer { PollTimeout::from(ms) } else { timeout }
}

/// Blocks the signals that a terminal or a service manager sends to the daemon, and reads SIGCHLD.
pub(super) fn take_signals() -> Result<SignalFd, String> {
    let mut children = SigSet::empty();
    children.add(Signal::SIGCHLD);
    let mut blocked = children;
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGPIPE] {
        blocked.add(signal);
    }
    nix::sys::signal::sigprocmask(SigmaskHow::SIG_SETMASK, Some(&blocked), None)
        .map_err(|error| format!("signal mask: {error}"))?;
    SignalFd::with_flags(&children, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
        .map_err(|error| format!("signalfd: {error}"))
}
