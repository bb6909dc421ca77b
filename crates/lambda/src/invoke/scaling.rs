//! How fast a function may get more environments: AWS gives each function 1,000 more in ten seconds,
//! so that one function's burst leaves room for the others.
//!
//! Pure: it is told what time it is. A bucket that fills evenly, so there is no moment at which a
//! whole new thousand appears.

use std::time::Duration;

use lambic_rt::Instant;

/// Environments that a function may get at once, and again in every [`WINDOW`] (AWS: "Understanding
/// Lambda function scaling").
pub const SCALE_OUT_MAX_DEFAULT: u32 = 1_000;

/// In which the bucket fills once.
pub const WINDOW: Duration = Duration::from_secs(10);

/// The bucket of one function; full at the beginning.
#[derive(Debug)]
pub struct Scaling {
    max: u32,
    /// In environments; what is taken out comes back with time.
    taken: f64,
    since: Instant,
}

impl Scaling {
    /// At most `max` environments in a [`WINDOW`].
    pub fn new(max: u32, now: Instant) -> Scaling {
        Scaling { max, taken: 0.0, since: now }
    }

    /// Takes one more environment out. Whether there was one.
    pub fn take(&mut self, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.since);
        let back = f64::from(self.max) * passed.as_secs_f64() / WINDOW.as_secs_f64();
        self.taken = (self.taken - back).max(0.0);
        self.since = self.since.max(now);
        let fits = self.taken + 1.0 <= f64::from(self.max);
        if fits {
            self.taken += 1.0;
        }
        fits
    }

    /// One that was taken out was not used after all.
    pub fn give_back(&mut self) {
        self.taken = (self.taken - 1.0).max(0.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_and_then_an_even_flow() {
        let start = lambic_rt::Rt::simulated(1).instant();
        let mut scaling = Scaling::new(1_000, start);
        let burst = (0..1_500).filter(|_| scaling.take(start)).count();
        assert_eq!(burst, 1_000);
        let second = start + Duration::from_secs(1);
        assert_eq!((0..1_500).filter(|_| scaling.take(second)).count(), 100);
        // An earlier time changes nothing.
        assert!(!scaling.take(start));
        // What was refused for another reason is not used up.
        scaling.give_back();
        assert!(scaling.take(second) && !scaling.take(second));
        let later = second + WINDOW * 5;
        assert_eq!((0..1_500).filter(|_| scaling.take(later)).count(), 1_000);
    }

    proptest::proptest! {
        #[test]
        fn never_more_than_allowed_in_any_window(
            max in 1_u32..20,
            steps in proptest::collection::vec(0_u64..4_000, 1..200),
        ) {
            let start = lambic_rt::Rt::simulated(1).instant();
            let mut scaling = Scaling::new(max, start);
            let (mut now, mut taken) = (start, Vec::new());
            for step in steps {
                now += Duration::from_millis(step);
                if scaling.take(now) {
                    taken.push(now);
                }
            }
            for first in &taken {
                let window = taken.iter().filter(|at| *at >= first && **at < *first + WINDOW);
                // What was saved up, and what came in meanwhile.
                assert!(window.count() <= 2 * max as usize);
            }
        }
    }
}
