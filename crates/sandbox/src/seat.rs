//! A processor for a thread that must not wander.
//!
//! The kernel wakes a thread on whichever processor is idle. The thread that serves all requests
//! sleeps and wakes thousands of times a second, and would find nothing of what it needs in the caches
//! of its new processor each time. So it keeps one, and takes the next if it has to wait there: for a
//! function that computes, or for another program. Functions may run anywhere, as before.
//!
//! The same counts of the kernel tell whether it has more to do than it can ([`Gauge`]).

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use nix::sched::{CpuSet, sched_getaffinity, sched_getcpu, sched_setaffinity};
use nix::unistd::Pid;

/// A thread that waited for its processor for so much of the time since it was last asked, in
/// percent, takes another.
const WAITED_PERCENT_MAX: u64 = 10;

/// What the kernel counts of the thread that found it.
pub struct Gauge {
    counts: File,
}

impl Gauge {
    /// Of the thread that calls. `None`: the kernel does not count.
    pub fn find() -> Option<Gauge> {
        let gauge = Gauge { counts: File::open("/proc/thread-self/schedstat").ok()? };
        gauge.spent_ns()?;
        Some(gauge)
    }

    /// What the thread has spent at work and waiting for a processor, since it began. Any thread may ask.
    pub fn spent_ns(&self) -> Option<u64> {
        let (ran, waited) = self.read()?;
        Some(ran + waited)
    }

    /// Of that, what it has spent waiting.
    pub fn waited_ns(&self) -> Option<u64> {
        Some(self.read()?.1)
    }

    fn read(&self) -> Option<(u64, u64)> {
        let mut text = [0; 96];
        let length = self.counts.read_at(&mut text, 0).ok()?;
        counts(std::str::from_utf8(&text[..length]).ok()?)
    }
}

/// Makes sure that a thread can be seated later, when it may open no files any more.
pub struct Chair {
    gauge: Gauge,
    everywhere: CpuSet,
}

/// The processor that a thread keeps.
pub struct Seat {
    chair: Chair,
    at: usize,
    waited_ns: u64,
}

impl Chair {
    /// For the thread that calls. `None`: there is no choice of processors, or the kernel does not
    /// count how long threads wait.
    pub fn find() -> Option<Chair> {
        let everywhere = sched_getaffinity(Pid::from_raw(0)).ok()?;
        let chair = Chair { gauge: Gauge::find()?, everywhere };
        (chair.processors().count() > 1).then_some(chair)
    }

    /// Where it might have run without a seat: for threads that it starts, which inherit its seat.
    pub fn everywhere(&self) -> CpuSet {
        self.everywhere
    }

    /// The thread, which calls, stays where it is now.
    ///
    /// # Errors
    /// The kernel's.
    pub fn take(self) -> io::Result<Seat> {
        let at = sched_getcpu()?;
        let waited_ns = self.gauge.waited_ns().unwrap_or(0);
        let seat = Seat { chair: self, at, waited_ns };
        seat.sit()?;
        Ok(seat)
    }

    fn processors(&self) -> impl Iterator<Item = usize> {
        (0..CpuSet::count()).filter(|at| self.everywhere.is_set(*at).unwrap_or(false))
    }
}

/// The first two numbers: how long it ran, and how long it waited.
fn counts(schedstat: &str) -> Option<(u64, u64)> {
    let mut numbers = schedstat.split_ascii_whitespace().map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

impl Seat {
    /// Takes another processor if it had to wait too much in the `elapsed_ns` since the last call.
    /// Called by the thread itself.
    ///
    /// # Errors
    /// The kernel's.
    pub fn review(&mut self, elapsed_ns: u64) -> io::Result<()> {
        let Some(waited_ns) = self.chair.gauge.waited_ns() else { return Ok(()) };
        let waited = waited_ns.saturating_sub(std::mem::replace(&mut self.waited_ns, waited_ns));
        if waited.saturating_mul(100) <= elapsed_ns.saturating_mul(WAITED_PERCENT_MAX) {
            return Ok(());
        }
        let next = self.chair.processors().find(|at| *at > self.at);
        self.at = next.or_else(|| self.chair.processors().next()).unwrap_or(self.at);
        self.sit()
    }

    fn sit(&self) -> io::Result<()> {
        let mut only = CpuSet::new();
        only.set(self.at)?;
        Ok(sched_setaffinity(Pid::from_raw(0), &only)?)
    }
}

/// A thread that one with a seat has started may run where that might have run.
///
/// # Errors
/// The kernel's.
pub fn run_anywhere(everywhere: &CpuSet) -> io::Result<()> {
    Ok(sched_setaffinity(Pid::from_raw(0), everywhere)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed() -> Vec<usize> {
        let now = sched_getaffinity(Pid::from_raw(0)).unwrap();
        (0..CpuSet::count()).filter(|at| now.is_set(*at).unwrap()).collect()
    }

    #[test]
    fn what_the_kernel_counts() {
        assert_eq!(counts("8161 32154 7\n"), Some((8_161, 32_154)));
        assert_eq!(counts("8161\n"), None);
    }

    #[test]
    fn one_sits_moves_when_it_waits_and_its_children_go_where_they_like() {
        let thread = std::thread::spawn(|| {
            let before = allowed();
            let Some(chair) = Chair::find() else {
                assert_eq!(before.len(), 1, "there is a choice, but no seat");
                return;
            };
            let everywhere = chair.everywhere();
            let mut seat = chair.take().unwrap();
            let first = allowed();
            assert_eq!(first.len(), 1);
            seat.review(u64::MAX).unwrap();
            assert_eq!(allowed(), first, "it has hardly waited");
            for _ in 1..before.len() {
                // As if it had waited all the time.
                seat.waited_ns = 0;
                seat.review(1).unwrap();
                assert_eq!(allowed().len(), 1);
            }
            assert_ne!(allowed(), first);
            let child = std::thread::spawn(move || {
                run_anywhere(&everywhere).unwrap();
                allowed()
            });
            assert_eq!(child.join().unwrap(), before);
        });
        thread.join().unwrap();
    }
}
