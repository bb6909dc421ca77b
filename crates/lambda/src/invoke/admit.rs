//! How many invocations may be in flight, and the lease that each of them holds.
//!
//! An account has a number of them in a region. A function may reserve a part of it: then it runs that
//! many at most, and all others share what is left. Provisioned concurrency of a function that
//! reserves nothing takes its environments out of what is shared as well, and gives them to the
//! invocations of its version first.
//!
//! [`Account`] and [`Meter`] count without a lock; a [`Lease`] gives back on drop.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use lambic_wire::error::{Error, Fault};

/// Invocations that an AWS account may have in flight unless its quota was raised.
pub const CONCURRENCY_MAX_DEFAULT: u32 = 1_000;

/// Why an invocation was not admitted; AWS's `Reason`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Throttle {
    /// The account has as many invocations in flight as it may have, or the machine as many
    /// environments as it can hold, or the function has just been given as many as it may be in a
    /// while.
    ConcurrentInvocationLimitExceeded,
    /// The function has as many invocations in flight as it has reserved.
    ReservedFunctionConcurrentInvocationLimitExceeded,
}

impl Throttle {
    /// AWS's answer: 429 `TooManyRequestsException`.
    pub fn to_error(self) -> Error {
        let reason = match self {
            Throttle::ConcurrentInvocationLimitExceeded => "ConcurrentInvocationLimitExceeded",
            Throttle::ReservedFunctionConcurrentInvocationLimitExceeded => {
                "ReservedFunctionConcurrentInvocationLimitExceeded"
            }
        };
        Error::new("TooManyRequestsException", 429, "Rate Exceeded.")
            .with_member("Reason", reason)
            .with_fault(Fault::User)
            .with_header("retry-after", "1")
    }
}

/// A number of places, some of them taken.
#[derive(Debug, Default)]
struct Places {
    taken: AtomicU32,
}

impl Places {
    /// Takes one if fewer than `max` are taken.
    fn take(&self, max: u32) -> bool {
        let step = |now| (now < max).then_some(now + 1);
        self.taken.fetch_update(Ordering::AcqRel, Ordering::Acquire, step).is_ok()
    }

    fn give_back(&self) {
        let before = self.taken.fetch_sub(1, Ordering::AcqRel);
        assert!(before > 0, "a lease was given back that nobody held");
    }

    fn taken(&self) -> u32 {
        self.taken.load(Ordering::Acquire)
    }
}

/// What one account has in one region.
#[derive(Debug)]
pub struct Account {
    concurrency_max: u32,
    /// Kept for functions by reservation or for their provisioned environments.
    kept: AtomicU64,
    shared: Places,
}

impl Account {
    /// An account with nothing in flight.
    pub fn new(concurrency_max: u32) -> Arc<Account> {
        let (kept, shared) = (AtomicU64::new(0), Places::default());
        Arc::new(Account { concurrency_max, kept, shared })
    }

    fn shared_max(&self) -> u32 {
        let kept = self.kept.load(Ordering::Acquire);
        u64::from(self.concurrency_max).saturating_sub(kept) as u32
    }

    fn keep(&self, before: u32, now: u32) {
        self.kept.fetch_add(u64::from(now), Ordering::AcqRel);
        self.kept.fetch_sub(u64::from(before), Ordering::AcqRel);
    }
}

/// No reservation.
const NOT_RESERVED: u64 = u64::MAX;

/// What one function has.
#[derive(Debug)]
pub struct Meter {
    account: Arc<Account>,
    reserved: AtomicU64,
    /// Environments provisioned for all of its versions.
    provisioned: AtomicU32,
    in_flight: Places,
    /// What it keeps of the account at the moment.
    kept: std::sync::Mutex<u32>,
}

impl Meter {
    /// A function that reserves nothing.
    pub fn new(account: Arc<Account>) -> Arc<Meter> {
        Arc::new(Meter {
            account,
            reserved: AtomicU64::new(NOT_RESERVED),
            provisioned: AtomicU32::new(0),
            in_flight: Places::default(),
            kept: std::sync::Mutex::default(),
        })
    }

    /// What it reserves from now on. Invocations in flight go on.
    pub fn reserve(&self, reserved: Option<u32>) {
        self.reserved.store(reserved.map_or(NOT_RESERVED, u64::from), Ordering::Release);
        self.settle();
    }

    /// How many environments are provisioned for its versions from now on.
    pub fn provision(&self, environments: u32) {
        self.provisioned.store(environments, Ordering::Release);
        self.settle();
    }

    /// Invocations of the function in flight now.
    pub fn in_flight(&self) -> u32 {
        self.in_flight.taken()
    }

    fn reserved(&self) -> Option<u32> {
        u32::try_from(self.reserved.load(Ordering::Acquire)).ok()
    }

    fn settle(&self) {
        let mut kept = self.kept.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let now = self.reserved().unwrap_or_else(|| self.provisioned.load(Ordering::Acquire));
        self.account.keep(*kept, now);
        *kept = now;
    }

    /// Takes a place for one invocation of the version that `provisioned` belongs to.
    pub fn admit(self: &Arc<Meter>, provisioned: &Arc<Provisioned>) -> Result<Lease, Throttle> {
        if let Some(reserved) = self.reserved() {
            if !self.in_flight.take(reserved) {
                return Err(Throttle::ReservedFunctionConcurrentInvocationLimitExceeded);
            }
            return Ok(Lease { meter: self.clone(), from: From::Reserved });
        }
        let from = if provisioned.in_use.take(provisioned.count.load(Ordering::Acquire)) {
            From::Provisioned(provisioned.clone())
        } else if self.account.shared.take(self.account.shared_max()) {
            From::Shared
        } else {
            return Err(Throttle::ConcurrentInvocationLimitExceeded);
        };
        // No limit of its own; counted because a reservation may come.
        self.in_flight.take(u32::MAX);
        Ok(Lease { meter: self.clone(), from })
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        let kept = self.kept.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner);
        self.account.keep(*kept, 0);
    }
}

/// The provisioned environments of one version, as places.
#[derive(Debug, Default)]
pub struct Provisioned {
    count: AtomicU32,
    in_use: Places,
}

impl Provisioned {
    /// How many there are to be from now on.
    pub fn set(&self, count: u32) {
        self.count.store(count, Ordering::Release);
    }
}

#[derive(Debug)]
enum From {
    Reserved,
    Provisioned(Arc<Provisioned>),
    Shared,
}

/// A place for one invocation; dropping it gives the place back to where it came from.
#[derive(Debug)]
pub struct Lease {
    meter: Arc<Meter>,
    from: From,
}

impl Drop for Lease {
    fn drop(&mut self) {
        match &self.from {
            From::Reserved => {}
            From::Provisioned(provisioned) => provisioned.in_use.give_back(),
            From::Shared => self.meter.account.shared.give_back(),
        }
        self.meter.in_flight.give_back();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn none() -> Arc<Provisioned> {
        Arc::default()
    }

    #[test]
    fn throttled_as_aws_says_it() {
        let meter = Meter::new(Account::new(0));
        let error = meter.admit(&none()).unwrap_err().to_error();
        assert_eq!((error.status, error.code.as_ref()), (429, "TooManyRequestsException"));
        assert_eq!(
            error.body(),
            r#"{"Reason":"ConcurrentInvocationLimitExceeded","Type":"User","message":"Rate Exceeded."}"#
        );
        assert_eq!(error.headers, [("retry-after", "1".to_owned())]);
        meter.reserve(Some(0));
        let error = meter.admit(&none()).unwrap_err().to_error();
        assert_eq!(
            error.body(),
            r#"{"Reason":"ReservedFunctionConcurrentInvocationLimitExceeded","Type":"User","message":"Rate Exceeded."}"#
        );
    }

    #[test]
    fn what_is_reserved_is_nobody_else_s_and_no_more() {
        let account = Account::new(5);
        let (one, other) = (Meter::new(account.clone()), Meter::new(account));
        let before = one.admit(&none()).unwrap();
        one.reserve(Some(2));
        let second = one.admit(&none()).unwrap();
        assert!(one.admit(&none()).is_err(), "what was in flight before counts");
        let shared: Vec<_> = (0..2).map(|_| other.admit(&none()).unwrap()).collect();
        assert!(other.admit(&none()).is_err(), "three are shared, and one of them is taken");
        drop(before);
        let third = other.admit(&none()).unwrap();
        drop((second, shared, third));
        one.reserve(None);
        let all: Vec<_> = (0..5).map(|_| other.admit(&none()).unwrap()).collect();
        assert!(one.admit(&none()).is_err());
        drop(all);
        one.reserve(Some(5));
        assert!(other.admit(&none()).is_err());
        // A function that is deleted gives back what it reserved.
        drop(one);
        assert!(other.admit(&none()).is_ok());
    }

    #[test]
    fn provisioned_places_first_and_then_what_is_shared() {
        let account = Account::new(3);
        let (one, other) = (Meter::new(account.clone()), Meter::new(account));
        let provisioned = none();
        provisioned.set(2);
        one.provision(2);
        let taken = other.admit(&none()).unwrap();
        assert!(other.admit(&none()).is_err());
        let two = [one.admit(&provisioned).unwrap(), one.admit(&provisioned).unwrap()];
        assert!(one.admit(&provisioned).is_err());
        drop(taken);
        let spilt = one.admit(&provisioned).unwrap();
        assert_eq!(one.in_flight(), 3);
        drop((two, spilt));
        assert_eq!(one.in_flight(), 0);
    }

    proptest::proptest! {
        #[test]
        fn never_more_leases_than_allowed(
            limit in 0_u32..8,
            moves in proptest::collection::vec((0_u8..6, 0_usize..3, 0_u32..5), 0..64),
        ) {
            let account = Account::new(limit);
            let meters = [Meter::new(account.clone()), Meter::new(account.clone())];
            let mut held: Vec<(usize, Lease)> = Vec::new();
            for (step, which, number) in moves {
                let meter = &meters[which % 2];
                match step {
                    0..=2 => {
                        let mine = held.iter().filter(|(of, _)| *of == which % 2).count() as u32;
                        if let Ok(lease) = meter.admit(&none()) {
                            assert!(meter.reserved().is_none_or(|reserved| mine < reserved));
                            held.push((which % 2, lease));
                        } else if let Some(reserved) = meter.reserved() {
                            assert!(mine >= reserved);
                        }
                    }
                    3 => { held.pop(); }
                    4 => meter.reserve(Some(number.min(limit / 2))),
                    _ => meter.reserve(None),
                }
                for (at, meter) in meters.iter().enumerate() {
                    let mine = held.iter().filter(|(of, _)| *of == at).count();
                    assert_eq!(meter.in_flight() as usize, mine);
                }
                let shared = held.iter().filter(|(_, lease)| matches!(lease.from, From::Shared));
                assert_eq!(account.shared.taken() as usize, shared.count());
            }
            drop(held);
            assert_eq!(account.shared.taken(), 0);
        }
    }
}
