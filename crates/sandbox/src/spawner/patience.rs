//! How long a program may take until it stands as a zygote. One that never does would keep others from
//! being made.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};

use crate::channel::is_readable;

/// A start takes a tenth of a second, and some seconds where everything else comes first.
const LOADS_IN: Duration = Duration::from_secs(60);

/// See the module.
#[derive(Default)]
pub(super) struct Patience(Option<TimerFd>);

impl Patience {
    /// One is being started. Where the kernel has no timer for it, there is no limit.
    pub(super) fn begin(&mut self) {
        let flags = TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK;
        self.0 = TimerFd::new(ClockId::CLOCK_MONOTONIC, flags).ok();
        if let Some(timer) = &self.0 {
            let _ = timer.set(Expiration::OneShot(LOADS_IN.into()), TimerSetTimeFlags::empty());
        }
    }

    /// Whether the last one that was started has taken too long; said once.
    pub(super) fn is_over(&mut self) -> bool {
        self.0.take_if(|timer| is_readable(timer.as_fd())).is_some()
    }

    /// What tells it.
    pub(super) fn watched(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.0.iter().map(AsFd::as_fd)
    }
}
