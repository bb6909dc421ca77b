//! Borrowed capacity: slots (connections, requests) and bytes (bodies). A guard gives back what it
//! holds when it is dropped; nobody waits for capacity, who finds none is told so at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

/// A number of equal slots, and a way to wait until all are free again.
pub(crate) struct Slots {
    used: AtomicUsize,
    max: usize,
    /// Told whenever the last slot is given back.
    idle: Notify,
}

impl Slots {
    pub(crate) fn new(max: usize) -> Arc<Slots> {
        Arc::new(Slots { used: AtomicUsize::new(0), max, idle: Notify::new() })
    }

    /// A slot, or `None` when all are taken.
    pub(crate) fn take(self: &Arc<Slots>) -> Option<Slot> {
        let more = |used: usize| (used < self.max).then_some(used + 1);
        self.used.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).ok()?;
        Some(Slot { slots: self.clone() })
    }

    pub(crate) fn used(&self) -> usize {
        self.used.load(Ordering::Acquire)
    }

    /// Waits until no slot is taken.
    pub(crate) async fn all_free(&self) {
        loop {
            let idle = self.idle.notified();
            tokio::pin!(idle);
            // Listening must begin before looking, or the last return could be missed.
            idle.as_mut().enable();
            if self.used() == 0 {
                return;
            }
            idle.await;
        }
    }
}

/// One slot; dropping it gives it back.
pub(crate) struct Slot {
    slots: Arc<Slots>,
}

impl Drop for Slot {
    fn drop(&mut self) {
        let before = self.slots.used.fetch_sub(1, Ordering::AcqRel);
        assert!(before > 0, "a slot was given back twice");
        if before == 1 {
            self.slots.idle.notify_waiters();
        }
    }
}

/// Bytes of bodies in memory, of which execution environments may hold half, so that functions
/// cannot shut the outside out.
pub(crate) struct Budget {
    used: AtomicUsize,
    environments_used: AtomicUsize,
    max: usize,
}

impl Budget {
    pub(crate) fn new(bytes_max: usize) -> Arc<Budget> {
        Arc::new(Budget {
            used: AtomicUsize::new(0),
            environments_used: AtomicUsize::new(0),
            max: bytes_max,
        })
    }

    /// An empty loan, to be extended.
    pub(crate) fn loan(self: &Arc<Budget>, from_environment: bool) -> Loan {
        Loan { budget: self.clone(), bytes: 0, from_environment }
    }

    pub(crate) fn used(&self) -> usize {
        self.used.load(Ordering::Acquire)
    }
}

/// Bytes that one body holds; dropping it gives them back.
pub(crate) struct Loan {
    budget: Arc<Budget>,
    bytes: usize,
    from_environment: bool,
}

impl Loan {
    /// Takes `bytes` more; `false` when there are not that many, and then nothing was taken.
    pub(crate) fn extend(&mut self, bytes: usize) -> bool {
        let budget = &*self.budget;
        if self.from_environment && !add(&budget.environments_used, bytes, budget.max / 2) {
            return false;
        }
        if add(&budget.used, bytes, budget.max) {
            self.bytes += bytes;
            return true;
        }
        if self.from_environment {
            budget.environments_used.fetch_sub(bytes, Ordering::AcqRel);
        }
        false
    }

    /// Takes `bytes` more even if there are not that many: a reply is in memory already, and what
    /// remains to be done is to refuse others until it has gone.
    pub(crate) fn extend_regardless(&mut self, bytes: usize) {
        self.budget.used.fetch_add(bytes, Ordering::AcqRel);
        if self.from_environment {
            self.budget.environments_used.fetch_add(bytes, Ordering::AcqRel);
        }
        self.bytes += bytes;
    }
}

fn add(used: &AtomicUsize, bytes: usize, max: usize) -> bool {
    let more = |used: usize| used.checked_add(bytes).filter(|sum| *sum <= max);
    used.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).is_ok()
}

impl Drop for Loan {
    fn drop(&mut self) {
        let before = self.budget.used.fetch_sub(self.bytes, Ordering::AcqRel);
        assert!(before >= self.bytes, "more bytes were given back than were taken");
        if self.from_environment {
            self.budget.environments_used.fetch_sub(self.bytes, Ordering::AcqRel);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn slots_are_bounded_and_come_back() {
        let slots = Slots::new(2);
        let first = slots.take().unwrap();
        let second = slots.take().unwrap();
        assert!(slots.take().is_none());
        drop(first);
        assert!(slots.take().is_some());
        drop(second);
        assert_eq!(slots.used(), 0);
    }

    #[test]
    fn environments_get_half() {
        let budget = Budget::new(100);
        let mut environment = budget.loan(true);
        assert!(!environment.extend(51));
        assert!(environment.extend(50));
        assert!(!environment.extend(1));
        let mut outside = budget.loan(false);
        assert!(!outside.extend(51));
        assert!(outside.extend(50));
        drop((environment, outside));
        assert_eq!(budget.used(), 0);
        assert_eq!(budget.environments_used.load(Ordering::Acquire), 0);
    }

    proptest! {
        #[test]
        fn a_budget_never_overdraws_and_ends_at_zero(
            steps in proptest::collection::vec((0_usize..4, 0_usize..200, any::<bool>()), 0..60)
        ) {
            let budget = Budget::new(256);
            let mut loans: Vec<Loan> = Vec::new();
            for (which, bytes, from_environment) in steps {
                match which {
                    0 => loans.push(budget.loan(from_environment)),
                    1 => drop(loans.pop()),
                    _ => if let Some(loan) = loans.last_mut() { loan.extend(bytes); },
                }
                let held: usize = loans.iter().map(|loan| loan.bytes).sum();
                prop_assert_eq!(held, budget.used());
                prop_assert!(held <= 256);
                let theirs: usize =
                    loans.iter().filter(|loan| loan.from_environment).map(|loan| loan.bytes).sum();
                prop_assert!(theirs <= 128);
            }
            drop(loans);
            prop_assert_eq!(budget.used(), 0);
        }
    }
}
