//! The one thread that serves everything: how much of its time it needs, and when it stays awake.
//!
//! It stays awake for a moment instead of sleeping ([`lambic_rt::Vigil`]) while one request at most is
//! being answered: then a processor is left for the function and for the caller. It does not while it
//! has to wait for its processor, because then others want that.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lambic_front::Front;
use lambic_lambda::invoke::strain::Strain;
use lambic_rt::{Instant, Vigil};
use lambic_sandbox::Gauge;

/// How often it is looked whether others want the processor.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Who waited for so much of the time, in percent, shares it with others. To be woken for each event of
/// one caller on an idle machine takes a tenth of it.
const WAITED_PERCENT_MAX: u128 = 25;
/// Then it sleeps as ever for so long, and twice as long each time that they are still there.
const YIELD_MIN: Duration = Duration::from_millis(20);
const YIELD_MAX: Duration = Duration::from_secs(1);

/// See the module.
pub(crate) struct Awake {
    vigil: Vigil,
    gauge: Arc<Gauge>,
}

impl Awake {
    /// Of the thread that calls. `None`: the kernel does not count its time.
    pub(crate) fn find() -> Option<Awake> {
        Some(Awake { vigil: Vigil::default(), gauge: Arc::new(Gauge::find()?) })
    }

    /// Whether it has more to do than it can. To be awake with nothing to do is nothing.
    pub(crate) fn strain(&self) -> Strain {
        let (vigil, gauge) = (self.vigil.clone(), self.gauge.clone());
        Strain::new(Arc::new(move || Some(gauge.spent_ns()?.saturating_sub(vigil.awake_ns()))))
    }

    /// Has the reactor tell when it sleeps.
    pub(crate) fn watch(&self, builder: &mut tokio::runtime::Builder) {
        let (rests, wakes) = (self.vigil.clone(), self.vigil.clone());
        builder.on_thread_park(move || rests.rests()).on_thread_unpark(move || wakes.wakes());
    }

    /// Stays awake while it pays.
    pub(crate) async fn keep(self, front: Arc<Front>) {
        let Awake { vigil, gauge } = self;
        let company = Mutex::new(Company::default());
        let may = move |now| {
            let mut company = company.lock().unwrap_or_else(PoisonError::into_inner);
            front.requests_in_flight() <= 1 && !company.is_there(now, || gauge.waited_ns())
        };
        vigil.keep(may).await;
    }
}

/// Whether others want the same processor.
#[derive(Default)]
struct Company {
    looked: Option<(Instant, u64)>,
    /// As long as they are taken to be there.
    until: Option<Instant>,
    /// How long that is the next time.
    yields: Duration,
}

impl Company {
    /// `waited_ns` tells how long the thread has waited for its processor since it began.
    fn is_there(&mut self, now: Instant, waited_ns: impl FnOnce() -> Option<u64>) -> bool {
        if self.until.is_some_and(|until| now < until) {
            return true;
        }
        if self.until.take().is_some() {
            // What it waited meanwhile says nothing of who is there now.
            self.looked = None;
        }
        let elapsed = self.looked.map(|(at, _)| now.saturating_duration_since(at));
        if elapsed.is_some_and(|elapsed| elapsed < LOOK_EVERY) {
            return false;
        }
        let Some(waited) = waited_ns() else { return true };
        let before = self.looked.replace((now, waited));
        let (Some(elapsed), Some((_, before))) = (elapsed, before) else { return false };
        let since = u128::from(waited.saturating_sub(before));
        if since * 100 <= elapsed.as_nanos() * WAITED_PERCENT_MAX {
            self.yields = Duration::ZERO;
            return false;
        }
        self.yields = (self.yields * 2).clamp(YIELD_MIN, YIELD_MAX);
        self.until = Some(now + self.yields);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_waits_for_the_processor_is_not_alone() {
        let start = lambic_rt::Rt::simulated(1).instant();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let mut company = Company::default();
        let mut look =
            |ms: u64, waited_us: u64| company.is_there(at(ms), || Some(waited_us * 1_000));
        assert!(!look(0, 90_000), "what was before says nothing");
        assert!(!look(19, 99_000), "too soon");
        assert!(!look(20, 95_000), "a quarter");
        assert!(look(40, 100_001));
        assert!(look(59, 100_001), "for a while");
        assert!(!look(60, 150_000), "it has slept meanwhile");
        assert!(look(80, 156_000));
        assert!(look(119, 156_000), "twice as long");
        assert!(!look(120, 156_000));
        assert!(!look(140, 156_000));
        assert!(look(160, 166_000));
        assert!(!look(180, 166_000), "they were gone in between");
        assert!(company.is_there(at(5_000), || None), "the kernel tells nothing any more");
    }
}
