//! Whether the thread that serves all requests has more to do than it can.
//!
//! Then no function is served sooner because more of its environments are at work at once: all of them go
//! through this thread. It only costs more to have them take turns. The kernel counts what a thread spends
//! at work and waiting for a processor, and the rest is what it has left; this is asked at most every
//! few milliseconds, and only by pools that have many environments at work.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lambic_rt::Instant;

/// What the thread has spent at work and waiting for a processor, in nanoseconds since it began.
pub type Spent = Arc<dyn Fn() -> Option<u64> + Send + Sync>;

/// The kernel brings a running thread's count up to date with each of its ticks, which are 4 ms apart.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Of the time, in percent.
const SPENT_PERCENT: u128 = 90;

/// See the module. Without an account of the thread nobody ever is under strain.
#[derive(Clone, Default)]
pub struct Strain {
    spent: Option<Spent>,
    seen: Arc<Mutex<Seen>>,
}

#[derive(Default)]
struct Seen {
    at: Option<Instant>,
    spent_ns: u64,
    is_strained: bool,
}

impl fmt::Debug for Strain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Strain").field("is_counted", &self.spent.is_some()).finish_non_exhaustive()
    }
}

impl Strain {
    /// Of the one thread that this counts.
    pub fn new(spent: Spent) -> Strain {
        Strain { spent: Some(spent), seen: Arc::default() }
    }

    /// Whether it had hardly any time left lately.
    pub(super) fn is_strained(&self, now: Instant) -> bool {
        let Some(spent) = &self.spent else { return false };
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let elapsed = seen.at.map(|at| now.saturating_duration_since(at));
        if elapsed.is_some_and(|elapsed| elapsed < LOOK_EVERY) {
            return seen.is_strained;
        }
        let Some(spent_ns) = spent() else { return false };
        let since = u128::from(spent_ns.saturating_sub(seen.spent_ns));
        let is_strained = |elapsed: Duration| since * 100 >= elapsed.as_nanos() * SPENT_PERCENT;
        *seen = Seen { at: Some(now), spent_ns, is_strained: elapsed.is_some_and(is_strained) };
        seen.is_strained
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    #[test]
    fn nearly_all_of_the_time_since_the_last_look() {
        let spent = Arc::new(AtomicU64::new(5_000_000_000));
        let count = spent.clone();
        let strain = Strain::new(Arc::new(move || Some(count.load(Ordering::Relaxed))));
        let start = lambic_rt::Rt::simulated(1).instant();
        let ms = Duration::from_millis;
        let look = |more_ms: u64, at| {
            spent.fetch_add(more_ms * 1_000_000, Ordering::Relaxed);
            strain.is_strained(start + ms(at))
        };
        assert!(!look(0, 0), "what was before says nothing");
        assert!(!look(19, 19), "too soon");
        assert!(look(1, 20));
        assert!(look(0, 39), "as before");
        assert!(!look(17, 40));
        assert!(look(19, 60));
        assert!(!look(100, 400), "most of it was idle");
        assert!(!Strain::default().is_strained(start));
    }
}
