//! A reactor that stays awake for a moment before it sleeps, when that is likely to be worth it.
//!
//! To be woken costs a thread ten microseconds and more on a machine whose idle processors are given
//! back to a host: as much as a third of what else it does for a request. When what it waits for
//! usually comes within [`VIGIL`], it asks for it over and over instead of sleeping. As with the
//! kernel's own polling of idle processors, what came lately tells what comes next: a few short sleeps
//! begin it, one vigil in vain ends it, so that a reactor with little to do sleeps as ever.
//!
//! It never takes a turn from anybody of the reactor, and is for one that serves everything in one
//! thread. Its owner tells when it must not be, such as while others want the processor.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use crate::Instant;
use crate::time::instant;

/// The longest that nothing may come without sleep.
const VIGIL: Duration = Duration::from_micros(100);

/// So many short sleeps in a row begin it.
const SHORT_SLEEPS_MIN: u32 = 4;

thread_local! {
    /// Turns that tasks of this thread have had.
    static TURNS: Cell<u64> = const { Cell::new(0) };
}

/// A task of this thread has its turn.
pub(crate) fn count_turn() {
    TURNS.with(|turns| turns.set(turns.get().wrapping_add(1)));
}

/// Whether staying awake pays, by what came lately.
#[derive(Debug, Default)]
struct Likely {
    /// Sleeps in a row that were no longer than a vigil.
    short_sleeps: u32,
    /// Since when it sleeps, if it does.
    asleep: Option<Instant>,
    /// It has just been awake in vain.
    was_in_vain: bool,
}

impl Likely {
    /// There is nothing to do. Whether to stay awake.
    fn rests(&mut self, now: Instant, may: impl FnOnce(Instant) -> bool) -> bool {
        let was_in_vain = std::mem::take(&mut self.was_in_vain);
        if !was_in_vain && self.short_sleeps >= SHORT_SLEEPS_MIN && may(now) {
            return true;
        }
        self.asleep = Some(now);
        false
    }

    /// Something has come while it slept.
    fn wakes(&mut self, now: Instant) {
        let Some(since) = self.asleep.take() else { return };
        let is_short = now.saturating_duration_since(since) <= VIGIL;
        self.short_sleeps = if is_short { self.short_sleeps.saturating_add(1) } else { 0 };
    }

    /// Nothing has come.
    fn in_vain(&mut self) {
        self.short_sleeps = 0;
        self.was_in_vain = true;
    }
}

type May = Box<dyn Fn(Instant) -> bool + Send + Sync>;

/// See the module. Cheap to clone.
#[derive(Clone, Default)]
pub struct Vigil {
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    likely: Mutex<Likely>,
    begins: Notify,
    may: OnceLock<May>,
    awake_ns: AtomicU64,
}

impl Vigil {
    /// For a reactor of one thread, which has this before it sleeps.
    pub fn rests(&self) {
        let may = |now| self.inner.may.get().is_some_and(|may| may(now));
        if self.likely().rests(instant(), may) {
            // A task that is ready keeps the thread from sleeping.
            self.inner.begins.notify_one();
        }
    }

    /// What it has after it slept.
    pub fn wakes(&self) {
        self.likely().wakes(instant());
    }

    /// How long it has been awake with nothing to do, in nanoseconds.
    pub fn awake_ns(&self) -> u64 {
        self.inner.awake_ns.load(Ordering::Relaxed)
    }

    /// Stays awake whenever it pays and `may` allows it at that moment. A task of the reactor, which
    /// never ends; until it runs, the reactor sleeps as ever.
    pub async fn keep(self, may: impl Fn(Instant) -> bool + Send + Sync + 'static) {
        let may = self.inner.may.get_or_init(|| Box::new(may));
        loop {
            self.inner.begins.notified().await;
            self.stay_awake(may).await;
        }
    }

    async fn stay_awake(&self, may: &May) {
        let turns = || TURNS.with(Cell::get);
        let mut since = instant();
        let (mut last, mut seen) = (since, turns());
        loop {
            // Unlike `turn`, this lets the reactor look at the machine's events.
            tokio::task::yield_now().await;
            let now = instant();
            // This task's own turn is one of them.
            let is_empty = turns() == seen.wrapping_add(1);
            seen = turns();
            if is_empty {
                let awake = now.saturating_duration_since(last);
                self.inner.awake_ns.fetch_add(awake.as_nanos() as u64, Ordering::Relaxed);
                if now.saturating_duration_since(since) > VIGIL {
                    return self.likely().in_vain();
                }
            } else if may(now) {
                since = now;
            } else {
                return;
            }
            last = now;
        }
    }

    fn likely(&self) -> MutexGuard<'_, Likely> {
        self.inner.likely.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::*;
    use crate::{Rt, TaskKind, turn};

    fn us(count: u64) -> Duration {
        Duration::from_micros(count)
    }

    #[test]
    fn short_sleeps_begin_it_and_one_in_vain_ends_it() {
        let mut now = Rt::simulated(1).instant();
        let mut likely = Likely::default();
        let mut sleep = |likely: &mut Likely, length| {
            if likely.rests(now, |_| true) {
                return false;
            }
            now += length;
            likely.wakes(now);
            now += us(10);
            true
        };
        for _ in 0..2 {
            for _ in 0..SHORT_SLEEPS_MIN - 1 {
                assert!(sleep(&mut likely, us(20)));
            }
            assert!(sleep(&mut likely, us(101)), "a long one begins it anew");
        }
        for _ in 0..SHORT_SLEEPS_MIN {
            assert!(sleep(&mut likely, us(100)));
        }
        assert!(!sleep(&mut likely, us(20)));
        assert!(!sleep(&mut likely, us(20)), "as long as something comes");
        likely.in_vain();
        assert!(sleep(&mut likely, us(20)), "it sleeps, however short");
        assert!(sleep(&mut likely, us(20)), "and has to learn it again");
    }

    #[test]
    fn it_sleeps_where_it_may_not_stay_awake() {
        let now = Rt::simulated(1).instant();
        let mut likely = Likely { short_sleeps: SHORT_SLEEPS_MIN, ..Likely::default() };
        assert!(!likely.rests(now, |_| false));
        likely.wakes(now + us(1));
        assert!(likely.rests(now, |_| true));
    }

    #[test]
    fn a_reactor_stays_awake_while_something_comes_and_sleeps_again() {
        let vigil = Vigil::default();
        let (rests, wakes) = (vigil.clone(), vigil.clone());
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .on_thread_park(move || rests.rests())
            .on_thread_unpark(move || wakes.wakes())
            .build()
            .unwrap();
        runtime.block_on(async {
            let rt = Rt::real();
            let allowed = Arc::new(AtomicBool::new(true));
            let (may, asked) = (allowed.clone(), Arc::new(AtomicU64::new(0)));
            let count = asked.clone();
            let keep = vigil.clone().keep(move |_| {
                count.fetch_add(1, Ordering::Relaxed);
                may.load(Ordering::Relaxed)
            });
            rt.spawn("vigil", TaskKind::Request, keep).detach();
            turn().await;
            // As if it had slept a few times for a moment.
            vigil.likely().short_sleeps = SHORT_SLEEPS_MIN;
            while vigil.likely().short_sleeps > 0 || vigil.awake_ns() < 100_000 {
                rt.sleep(Duration::from_millis(2)).await;
            }
            let awake = vigil.awake_ns();
            rt.sleep(Duration::from_millis(2)).await;
            assert_eq!(vigil.awake_ns(), awake, "a vigil in vain ends it");
            allowed.store(false, Ordering::Relaxed);
            let asked_before = asked.load(Ordering::Relaxed);
            assert!(asked_before > 0);
            while asked.load(Ordering::Relaxed) == asked_before {
                vigil.likely().short_sleeps = SHORT_SLEEPS_MIN;
                rt.sleep(Duration::from_millis(2)).await;
            }
            assert_eq!(vigil.awake_ns(), awake, "it may not");
        });
    }
}
