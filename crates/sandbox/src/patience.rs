//! How long a program may take until it stands as a zygote, and a spare until it has loaded itself. One that
//! never does would keep others from being made.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};

use crate::channel::is_readable;

/// See the module.
pub(crate) struct Patience {
    lasts: Duration,
    timer: Option<TimerFd>,
}

impl Patience {
    pub(crate) fn of(lasts: Duration) -> Patience {
        Patience { lasts, timer: None }
    }

    /// One is being started. Where the kernel has no timer for it, there is no limit.
    pub(crate) fn begin(&mut self) {
        let flags = TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK;
        self.timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, flags).ok();
        if let Some(timer) = &self.timer {
            let once = Expiration::OneShot(self.lasts.into());
            let _ = timer.set(once, TimerSetTimeFlags::empty());
        }
    }

    /// Whether the last one that was started has taken too long; said once.
    pub(crate) fn is_over(&mut self) -> bool {
        self.timer.take_if(|timer| is_readable(timer.as_fd())).is_some()
    }

    /// What tells it.
    pub(crate) fn watched(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.timer.iter().map(AsFd::as_fd)
    }
}
