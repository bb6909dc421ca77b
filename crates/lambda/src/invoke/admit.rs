//! How many invocations an account may have in flight, and the lease that each of them holds.
//!
//! [`decide`] is the rule, without state; [`Account`] counts; a [`Lease`] gives back on drop.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use lambic_wire::error::{Error, Fault};

/// Invocations that an AWS account may have in flight unless its quota was raised.
pub const CONCURRENCY_MAX_DEFAULT: u32 = 1_000;

/// Why an invocation was not admitted; AWS's `Reason`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Throttle {
    /// The account has as many invocations in flight as it may have, or the machine as many
    /// environments as it can hold.
    ConcurrentInvocationLimitExceeded,
}

impl Throttle {
    /// AWS's answer: 429 `TooManyRequestsException`.
    pub fn to_error(self) -> Error {
        let Throttle::ConcurrentInvocationLimitExceeded = self;
        Error::new("TooManyRequestsException", 429, "Rate Exceeded.")
            .with_member("Reason", "ConcurrentInvocationLimitExceeded")
            .with_fault(Fault::User)
            .with_header("retry-after", "1")
    }
}

/// Whether one more invocation may run beside `in_flight` others.
pub fn decide(in_flight: u32, concurrency_max: u32) -> Result<u32, Throttle> {
    if in_flight < concurrency_max {
        Ok(in_flight + 1)
    } else {
        Err(Throttle::ConcurrentInvocationLimitExceeded)
    }
}

/// The counter of one account.
#[derive(Debug)]
pub struct Account {
    in_flight: AtomicU32,
    concurrency_max: u32,
}

impl Account {
    /// An account with nothing in flight.
    pub fn new(concurrency_max: u32) -> Arc<Account> {
        Arc::new(Account { in_flight: AtomicU32::new(0), concurrency_max })
    }

    /// Takes a place for one invocation.
    pub fn admit(self: &Arc<Account>) -> Result<Lease, Throttle> {
        let step = |now| decide(now, self.concurrency_max).ok();
        match self.in_flight.fetch_update(Ordering::AcqRel, Ordering::Acquire, step) {
            Ok(_) => Ok(Lease { account: self.clone() }),
            Err(_) => Err(Throttle::ConcurrentInvocationLimitExceeded),
        }
    }

    /// Invocations in flight now.
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Acquire)
    }
}

/// A place in the account's concurrency; dropping it gives the place back.
#[derive(Debug)]
pub struct Lease {
    account: Arc<Account>,
}

impl Drop for Lease {
    fn drop(&mut self) {
        let before = self.account.in_flight.fetch_sub(1, Ordering::AcqRel);
        assert!(before > 0, "a lease was given back that nobody held");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn throttled_as_aws_says_it() {
        let error = Account::new(0).admit().unwrap_err().to_error();
        assert_eq!((error.status, error.code.as_ref()), (429, "TooManyRequestsException"));
        assert_eq!(
            error.body(),
            r#"{"Reason":"ConcurrentInvocationLimitExceeded","Type":"User","message":"Rate Exceeded."}"#
        );
        assert_eq!(error.headers, [("retry-after", "1".to_owned())]);
    }

    proptest::proptest! {
        #[test]
        fn never_more_leases_than_allowed(
            limit in 0_u32..8,
            moves in proptest::collection::vec(proptest::bool::ANY, 0..64),
        ) {
            let account = Account::new(limit);
            let mut held = Vec::new();
            for take in moves {
                if take {
                    let full = held.len() as u32 == limit;
                    match account.admit() {
                        Ok(lease) => { assert!(!full); held.push(lease); }
                        Err(_) => assert!(full),
                    }
                } else {
                    held.pop();
                }
                assert_eq!(account.in_flight() as usize, held.len());
            }
        }
    }
}
