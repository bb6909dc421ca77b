//! How many environments are provisioned, and when their start is tried again after it failed.
//!
//! Pure. Each failure in a row doubles the pause; after one, a single start shows whether it is any
//! better.

use std::time::Duration;

use lambic_rt::Instant;

/// After a first failure to start a provisioned environment; twice as long after each further one.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Provisioned environments that are all there for so long after a failure are well.
const WELL_AFTER: Duration = Duration::from_secs(60);

/// What is known of the provisioned environments of one pool.
#[derive(Debug, Default)]
pub(super) struct Provisioning {
    pub(super) kept: u32,
    /// Starts in a row that failed.
    pub(super) failures: u32,
    /// After a failure.
    not_before: Option<Instant>,
}

impl Provisioning {
    /// So many are kept, and nothing has failed yet.
    pub(super) fn of(kept: u32) -> Provisioning {
        Provisioning { kept, ..Provisioning::default() }
    }

    /// How many may be started at this moment.
    pub(super) fn starts_max(&self, now: Instant) -> usize {
        match self.failures {
            _ if self.not_before.is_some_and(|at| now < at) => 0,
            0 => usize::MAX,
            _ => 1,
        }
    }

    /// A start has failed.
    pub(super) fn fail(&mut self, now: Instant) {
        let pause = RETRY_AFTER * 2_u32.pow(self.failures.min(6));
        self.failures += 1;
        self.not_before = Some(now + pause);
    }

    /// An environment is well.
    pub(super) fn recover(&mut self) {
        (self.failures, self.not_before) = (0, None);
    }

    /// So is what has been there for a while after a failure, though nobody has asked for it.
    pub(super) fn recover_with_time(&mut self, now: Instant) {
        if self.not_before.is_some_and(|at| now.saturating_duration_since(at) >= WELL_AFTER) {
            self.recover();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_failures_one_at_a_time_and_later_each_time() {
        let start = lambic_rt::Rt::simulated(1).instant();
        let mut provisioning = Provisioning::of(3);
        assert_eq!(provisioning.starts_max(start), usize::MAX);
        provisioning.fail(start);
        let after = |seconds| start + Duration::from_secs(seconds);
        assert_eq!((provisioning.starts_max(start), provisioning.starts_max(after(1))), (0, 1));
        (0..20).for_each(|_| provisioning.fail(start));
        assert_eq!(
            (provisioning.starts_max(after(63)), provisioning.starts_max(after(64))),
            (0, 1)
        );
        provisioning.recover_with_time(after(123));
        assert_eq!(provisioning.failures, 21);
        provisioning.recover_with_time(after(124));
        assert_eq!((provisioning.starts_max(start), provisioning.kept), (usize::MAX, 3));
    }
}
