//! Noticing that the kernel has killed something for want of memory.
//!
//! The limit is the whole environment's, so its end is too: whatever the kernel chose to kill, the
//! runtime or one of its children, the invocation ends with AWS's error and the next one gets a
//! fresh environment. The spawner, which may read control groups, opens what tells about it; the
//! environment's first process, which cannot see them, waits on it.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::Path;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};

/// Between two looks at the kernel's count, which goes up a moment after it has told.
const LOOK_AGAIN_MS: u16 = 5;
/// Looks before it is taken for nothing: what ended by itself at that moment was enough.
const LOOKS_MAX: u32 = 20;

/// What the spawner opens for one environment.
pub(crate) struct Notice {
    /// The file with the count of kills.
    counts: OwnedFd,
    /// With cgroup v1, what becomes readable; with v2 the file itself does.
    event: Option<OwnedFd>,
}

impl Notice {
    /// Opens what tells of the group whose memory files are in `folder`.
    pub(crate) fn open(folder: &Path, v2: bool) -> io::Result<Notice> {
        if v2 {
            let counts = File::open(folder.join("memory.events"))?;
            return Ok(Notice { counts: counts.into(), event: None });
        }
        let counts = File::open(folder.join("memory.oom_control"))?;
        let event = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        let register = {
            use std::os::fd::AsRawFd;
            format!("{} {}", event.as_fd().as_raw_fd(), counts.as_raw_fd())
        };
        std::fs::write(folder.join("cgroup.event_control"), register)?;
        Ok(Notice { counts: counts.into(), event: Some(event.into()) })
    }

    /// From what [`Notice::descriptors`] gives.
    pub(crate) fn from_descriptors(counts: OwnedFd, event: Option<OwnedFd>) -> Notice {
        Notice { counts, event }
    }

    /// In the order in which [`Watch::new`] wants them.
    pub(crate) fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        [Some(self.counts.as_fd()), self.event.as_ref().map(AsFd::as_fd)].into_iter().flatten()
    }
}

/// The same, in the environment's first process.
pub(crate) struct Watch {
    counts: File,
    event: Option<OwnedFd>,
}

impl Watch {
    pub(crate) fn new(counts: OwnedFd, event: Option<OwnedFd>) -> Watch {
        Watch { counts: counts.into(), event }
    }

    /// What to wait for.
    pub(crate) fn polled(&self) -> PollFd<'_> {
        match &self.event {
            Some(event) => PollFd::new(event.as_fd(), PollFlags::POLLIN),
            None => PollFd::new(self.counts.as_fd(), PollFlags::POLLPRI),
        }
    }

    /// It was told: whether something was killed.
    pub(crate) fn is_true(&self) -> bool {
        if let Some(event) = &self.event {
            // Taken, so that the next wait is for the next event.
            let _ = nix::unistd::read(event, &mut [0; 8]);
        }
        for _ in 0..LOOKS_MAX {
            if self.kills() > 0 {
                return true;
            }
            let _ = poll(&mut [], PollTimeout::from(LOOK_AGAIN_MS));
        }
        false
    }

    fn kills(&self) -> u64 {
        let mut text = [0; 1024];
        let length = self.counts.read_at(&mut text, 0).unwrap_or(0);
        kills_told(&String::from_utf8_lossy(&text[..length]))
    }
}

fn kills_told(text: &str) -> u64 {
    let count = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
    count.and_then(|count| count.trim().parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kills_are_read_from_both_layouts() {
        assert_eq!(kills_told("oom_kill_disable 0\nunder_oom 1\noom_kill 2\n"), 2);
        assert_eq!(kills_told("low 0\nhigh 0\nmax 7\noom 3\noom_kill 1\noom_group_kill 0\n"), 1);
        assert_eq!(kills_told("oom_kill_disable 0\nunder_oom 0\n"), 0);
    }
}
