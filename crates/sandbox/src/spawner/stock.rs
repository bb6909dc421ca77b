//! What the spawner makes ahead of requests, and when.
//!
//! A few environments are always ready, because a launch that finds none takes several times as long. The
//! daemon asks for more when it expects many launches. Those are made one at a time, while nothing is
//! launched, the processors have time left (else one now and then) and the machine has memory to spare;
//! when it runs short of memory, they go. What is not wanted any more is ended one by one in quiet moments,
//! never while something is launched. If the machine refuses one (no loop device, no process, no memory),
//! there are to be fewer from then on.

use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use nix::poll::PollTimeout;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};

use super::waits::{Happened, Next, at_most};
use super::{Running, Spawner, UNWANTED};
use crate::channel::is_readable;
use crate::machine::Waiting;
use crate::protocol::{AtHand, READY_KIND, Reply};
use crate::spares::AHEAD_MAX;
use crate::sys;

/// After a launch the function has the processors for so long before what it took is made anew.
const PAUSE_MS: u16 = 25;
/// After a process that was to wait could not be made.
const AGAIN_MS: u16 = 1_000;
/// When the machine has no time or memory for what can wait.
const REST_MS: u16 = 100;
/// After so long one is made even if the processors are busy, so that it goes on.
const BUSY_MS: u64 = 500;
/// Between two that are ended.
const END_MS: u64 = 25;
/// How long a group may stay non-empty after its last process was killed before another look.
const CLEAN_AGAIN_MS: u16 = 20;
/// How often it is looked whether there is still memory for what waits beyond the usual.
const LOOK_AGAIN_MS: u16 = 2_000;

/// Spares of one kind beyond which more of them are no hurry.
const FEW_SPARES: usize = 2;
/// In percent of the processors' time: with less left, what can wait is not made.
const LEFT_PERCENT_MIN: u64 = 40;
/// So many ticks of the kernel's count, of all processors, tell how busy they are.
const TICKS_MIN: u64 = 10;
/// With less of the memory available than one part in so many nothing more is made ahead, and with half of
/// that what is beyond the usual goes.
const MEMORY_PART: u64 = 8;

/// How many environments are to be ready.
pub(super) struct Stock {
    /// Always.
    least: usize,
    /// Beyond that, as the daemon has asked.
    more: usize,
    /// The machine has refused to have more than so many.
    most: Option<usize>,
    /// Since the processors were found busy, and since one was ended. Other things happen meanwhile, so
    /// how long the spawner was left alone does not tell.
    busy: Timer,
    ended: Timer,
    processors: Processors,
    memory: Memory,
}

impl Stock {
    pub(super) fn new(least: usize) -> Stock {
        let (processors, memory) = (Processors::find(), Memory::find());
        let (busy, ended) = Default::default();
        Stock { least, more: 0, most: None, busy, ended, processors, memory }
    }

    /// How many always are.
    pub(super) fn least(&self) -> usize {
        self.least
    }

    fn wanted(&self) -> usize {
        let all = self.least + self.more;
        self.most.map_or(all, |most| most.clamp(self.least, all))
    }

    /// The machine would not have one more than the `ready` that there are. Whether that is news.
    fn is_refused(&mut self, ready: usize) -> bool {
        // Some less, so that there is room for what functions do.
        let most = ready.saturating_sub(ready / 4);
        let is_news = self.most.is_none();
        self.most = Some(self.most.map_or(most, |known| known.min(most)));
        is_news && self.more > 0
    }
}

/// Tells that some time has passed.
#[derive(Default)]
struct Timer(Option<TimerFd>);

impl Timer {
    /// Whether so much has since this was first asked, and then no more until it is asked again. Where
    /// the kernel has no timer it always has.
    fn has_passed(&mut self, ms: u64) -> bool {
        if let Some(timer) = &self.0 {
            let is_over = is_readable(timer.as_fd());
            if is_over {
                self.0 = None;
            }
            return is_over;
        }
        let flags = TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK;
        let Ok(timer) = TimerFd::new(ClockId::CLOCK_MONOTONIC, flags) else { return true };
        let after = Expiration::OneShot(Duration::from_millis(ms).into());
        let is_set = timer.set(after, TimerSetTimeFlags::empty()).is_ok();
        self.0 = is_set.then_some(timer);
        !is_set
    }
}

/// Whether the processors have time left.
struct Processors {
    counts: Option<File>,
    all: u64,
    idle: u64,
    have_time: bool,
}

impl Processors {
    fn find() -> Processors {
        Processors { counts: File::open("/proc/stat").ok(), all: 0, idle: 0, have_time: false }
    }

    /// In the moment that has passed since the last look; without the kernel's counts always.
    fn have_time(&mut self) -> bool {
        let mut text = [0; 256];
        let Some(counts) = &self.counts else { return true };
        let length = counts.read_at(&mut text, 0).unwrap_or(0);
        let Some((all, idle)) = ticks(&String::from_utf8_lossy(&text[..length])) else {
            return true;
        };
        let passed = all.saturating_sub(self.all);
        if passed >= TICKS_MIN {
            let left = idle.saturating_sub(self.idle);
            self.have_time = left * 100 >= passed * LEFT_PERCENT_MIN;
            (self.all, self.idle) = (all, idle);
        }
        self.have_time
    }
}

/// All ticks of all processors and the idle ones among them, of `/proc/stat`.
fn ticks(stat: &str) -> Option<(u64, u64)> {
    let line = stat.lines().next()?.strip_prefix("cpu ")?;
    let counts: Vec<u64> =
        line.split_ascii_whitespace().map_while(|count| count.parse().ok()).take(8).collect();
    // User, nice, system, idle, waiting for the disk, interrupts, soft ones, stolen.
    let idle = counts.get(3)? + counts.get(4)?;
    Some((counts.iter().sum(), idle))
}

/// Whether there is memory for what can wait.
struct Memory(Option<File>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum MemoryLeft {
    Enough,
    /// For nothing more.
    Little,
    /// What can go has to.
    Hardly,
}

impl Memory {
    fn find() -> Memory {
        Memory(File::open("/proc/meminfo").ok())
    }

    /// Without the kernel's counts there is enough: the daemon has its own bounds.
    fn left(&self) -> MemoryLeft {
        let mut text = [0; 256];
        let length = self.0.as_ref().and_then(|counts| counts.read_at(&mut text, 0).ok());
        let text = String::from_utf8_lossy(&text[..length.unwrap_or(0)]);
        memory_left(&text).unwrap_or(MemoryLeft::Enough)
    }
}

/// Of `/proc/meminfo`.
fn memory_left(meminfo: &str) -> Option<MemoryLeft> {
    let count = |name: &str| {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().split(' ').next()?.parse::<u64>().ok()
    };
    let (all, available) = (count("MemTotal:")?, count("MemAvailable:")?);
    Some(match available {
        _ if available < all / (2 * MEMORY_PART) => MemoryLeft::Hardly,
        _ if available < all / MEMORY_PART => MemoryLeft::Little,
        _ => MemoryLeft::Enough,
    })
}

impl Spawner {
    /// The daemon wants so many more to be ready than usual.
    pub(super) fn keep_ready(&mut self, more: u32) {
        if more > AHEAD_MAX {
            self.tell(format!("{more} environments are too many to be ready"));
            return;
        }
        // What was refused may be granted at another time.
        if more as usize != self.stock.more {
            self.stock.most = None;
        }
        self.stock.more = more as usize;
    }

    /// What to do when nobody wants anything.
    pub(super) fn next(&mut self, quiet: bool) -> Next {
        let is_free = self.makers.ordered() == 0;
        let lacks_nested = self.lacks_nested().is_some();
        let is_missing = lacks_nested || is_free && self.ready.len() < self.stock.least;
        let spare = self.spares.missing().filter(|(kind, _, copied)| {
            !self.copies.is_preparing() && (!copied || self.can_copy_spare(*kind))
        });
        if spare.is_some_and(|(kind, _, copied)| copied && self.copies.lacks_zygote(kind)) {
            // Launches that do not wait for quiet never leave any, and each costs more without it.
            return Next::StartSpare;
        }
        let spare = spare.map(|(kind, _, _)| kind);
        let lacks_more = is_free && self.ready.len() < self.stock.wanted();
        if !is_missing && spare.is_none() && !lacks_more {
            return self.next_to_end(quiet);
        }
        // Without any the next launch would take long; else the last one has the processors first. What
        // makes those for copies takes the processors from nobody.
        let is_urgent = is_missing && (self.ready.is_empty() || lacks_nested);
        if !quiet && !is_urgent {
            return Next::Pause;
        }
        if is_missing {
            return Next::MakeWaiting;
        }
        if spare.is_some_and(|kind| self.spares.count(kind) < FEW_SPARES) {
            return Next::StartSpare;
        }
        // That first of which there are fewer.
        let is_behind = |kind| self.ready.len() < self.spares.count(kind);
        let is_ready_next = lacks_more && spare.is_none_or(is_behind);
        match (self.has_means(), is_ready_next) {
            (false, _) => self.next_to_end(quiet).or_rest(),
            (true, true) => Next::MakeWaiting,
            (true, false) => Next::StartSpare,
        }
    }

    /// Whether the machine can do what is no hurry.
    fn has_means(&mut self) -> bool {
        let have_time = self.stock.processors.have_time() || self.stock.busy.has_passed(BUSY_MS);
        have_time && self.stock.memory.left() == MemoryLeft::Enough
    }

    /// What is too much goes in quiet moments.
    fn next_to_end(&self, quiet: bool) -> Next {
        match (self.is_too_much(), quiet) {
            (false, _) => Next::Nothing,
            (true, false) => Next::Pause,
            (true, true) => Next::EndOne,
        }
    }

    fn is_too_much(&self) -> bool {
        let spares_most = self.spares_most();
        self.ready.len() > self.ready_most(spares_most)
            || self.spares.surplus(spares_most).is_some()
    }

    /// How many spares of each kind may stay: few, when they take memory that is needed.
    fn spares_most(&self) -> usize {
        match self.has_more() && self.stock.memory.left() == MemoryLeft::Hardly {
            true => FEW_SPARES,
            false => usize::MAX,
        }
    }

    fn ready_most(&self, spares_most: usize) -> usize {
        if spares_most == FEW_SPARES { self.stock.least } else { self.stock.wanted() }
    }

    fn has_more(&self) -> bool {
        self.ready.len() > self.stock.least || self.spares.surplus(FEW_SPARES).is_some()
    }

    pub(super) fn timeout(&self, next: Next) -> PollTimeout {
        let timeout = match (next, self.cleaning.is_empty()) {
            (Next::MakeWaiting, _) if self.failing => PollTimeout::from(AGAIN_MS),
            (Next::MakeWaiting | Next::StartSpare, _) => PollTimeout::ZERO,
            (Next::Pause | Next::EndOne, _) => PollTimeout::from(PAUSE_MS),
            (Next::Rest, _) => PollTimeout::from(REST_MS),
            (Next::Nothing, false) => PollTimeout::from(CLEAN_AGAIN_MS),
            (Next::Nothing, true) if self.has_more() => PollTimeout::from(LOOK_AGAIN_MS),
            (Next::Nothing, true) => PollTimeout::NONE,
        };
        self.network_again_ms.map_or(timeout, |ms| at_most(timeout, ms))
    }

    /// Does it, unless something else is to be done first.
    pub(super) fn go_on(&mut self, next: Next, happened: &Happened) {
        match next {
            Next::MakeWaiting if happened.nothing => self.make_ready(),
            Next::StartSpare if happened.nothing => self.start_spare(),
            Next::EndOne if self.stock.ended.has_passed(END_MS) => self.end_one(),
            _ => {}
        }
    }

    /// Ends one that waits and is too much.
    fn end_one(&mut self) {
        let spares_most = self.spares_most();
        if self.ready.len() > self.ready_most(spares_most) {
            let waiting = self.ready.remove(0);
            self.discard(waiting);
            self.tell_at_hand(READY_KIND);
        } else if let Some(spare) = self.spares.take_surplus(spares_most) {
            self.discard(spare.waiting);
            self.tell_at_hand(spare.kind);
        }
    }

    /// One that was to be ready could not be made.
    pub(super) fn has_not_made(&mut self, reason: &str) {
        self.failing = true;
        let ready = self.ready.len();
        if self.stock.is_refused(ready) {
            self.tell(format!("no more than {ready} environments can be made ready: {reason}"));
        }
    }

    /// How many of a kind wait.
    pub(super) fn at_hand(&self, kind: u64) -> AtHand {
        let count = match kind {
            READY_KIND => self.ready.len(),
            kind => self.spares.at_hand(kind),
        };
        AtHand { kind, count }
    }

    pub(super) fn tell_at_hand(&self, kind: u64) {
        let _ = self.daemon.send(&Reply::Spares(self.at_hand(kind)), &[]);
    }

    /// Ends what was made ahead; it is reaped as a running one.
    pub(super) fn discard(&mut self, waiting: Waiting) {
        let Waiting { slot, pid, pidfd, way, .. } = waiting;
        let _ = sys::signal_pidfd(pidfd.as_fd(), libc::SIGKILL);
        self.running.push(Running { id: UNWANTED, slot, pid, pidfd, way });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_than_the_machine_would_have_are_not_wanted() {
        let mut stock = Stock::new(4);
        assert_eq!(stock.wanted(), 4);
        stock.more = 200;
        assert_eq!(stock.wanted(), 204);
        assert!(stock.is_refused(100));
        assert_eq!(stock.wanted(), 75);
        assert!(!stock.is_refused(80), "it is told once");
        assert_eq!(stock.wanted(), 60);
        assert!(!stock.is_refused(0));
        assert_eq!(stock.wanted(), 4, "some are always tried");
        let mut usual = Stock::new(4);
        assert!(!usual.is_refused(2), "a launch that finds none tells why");
        assert_eq!(usual.wanted(), 4);
    }

    #[test]
    fn what_the_kernel_counts() {
        let stat = "cpu  10 1 20 300 40 5 6 7 8 9\ncpu0 1 2 3 4 5 6 7 8 9 10\n";
        assert_eq!(ticks(stat), Some((389, 340)));
        assert_eq!(ticks("cpu0 1 2"), None);
        assert_eq!(ticks("cpu  1 2"), None);
        let left = |available: u64| {
            memory_left(&format!(
                "MemTotal:  800 kB\nMemFree: 1 kB\nMemAvailable: {available} kB\n"
            ))
        };
        assert_eq!(left(100), Some(MemoryLeft::Enough));
        assert_eq!([left(99), left(50)], [Some(MemoryLeft::Little); 2]);
        assert_eq!(left(49), Some(MemoryLeft::Hardly));
        assert_eq!(memory_left("MemTotal: 800 kB\n"), None);
    }

    #[test]
    fn a_timer_is_over_once() {
        let mut timer = Timer::default();
        assert!(!timer.has_passed(60_000) && !timer.has_passed(60_000));
        let mut timer = Timer::default();
        assert!(!timer.has_passed(1), "it begins");
        while !timer.has_passed(1) {
            std::thread::yield_now();
        }
        assert!(!timer.has_passed(60_000), "it begins again");
    }

    #[test]
    fn this_machine_tells() {
        assert!(Processors::find().counts.is_some());
        let text = std::fs::read_to_string("/proc/stat").unwrap();
        assert!(ticks(&text).is_some_and(|(all, idle)| all > idle));
        let text = std::fs::read_to_string("/proc/meminfo").unwrap();
        assert!(memory_left(&text[..256]).is_some(), "it stands at the beginning");
    }
}
