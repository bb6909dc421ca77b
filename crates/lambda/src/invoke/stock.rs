//! How many environments wait for functions that are about to start, beyond the few that always do.
//!
//! Starting a function in an environment that waits costs a third of making one for it, so a burst of
//! starts is as quick as what has been made ahead of it is large. What is expected of each kind:
//!
//! - **Again what there was.** The most that were away at one moment ([`Demand`]) are expected again for
//!   [`HOLD`], and half as many with every [`HALF_LIFE`] after that.
//! - **What has been deployed.** A function that was created or changed a moment ago and has not started
//!   yet is likely to be invoked soon; each counts one for [`COMING_FOR`] ([`Coming`]).
//!
//! The greater of the two is wanted. It is cut where all kinds together would take more memory than they
//! may ([`share`]), each by the same part. Pure: [`super::spares`] asks and tells.

use std::collections::HashMap;
use std::time::Duration;

use lambic_rt::Instant;
use lambic_sandbox::AHEAD_MAX;

use super::place::{Budget, Used};

/// The time in which one is made again, a busy machine allowed for: the sandbox makes one at a time,
/// with processor time that nobody else wants.
const REFILL: Duration = Duration::from_millis(100);
/// So long a peak is expected to come again as high as it was.
const HOLD: Duration = Duration::from_secs(300);
/// After that half of it is, and half of that.
const HALF_LIFE: Duration = Duration::from_secs(60);
/// So long after a deployment its first invoke is expected.
const COMING_FOR: Duration = Duration::from_secs(300);
/// Deployed functions that are remembered; no more than [`AHEAD_MAX`] are prepared for anyway.
const COMING_MAX: usize = 4 * AHEAD_MAX as usize;
/// What waits takes so much of the memory that may still be promised.
const PROMISED_PART: u64 = 4;

/// Starts of one kind.
///
/// Each takes an environment away, and every [`REFILL`] one comes back: what is away with a start is how
/// many it would have taken to find one.
#[derive(Debug)]
pub(super) struct Demand {
    away: f32,
    at: Instant,
    /// The most that were away, and when they last were.
    peak: f32,
    peaked: Instant,
}

impl Demand {
    pub(super) fn new(now: Instant) -> Demand {
        Demand { away: 0.0, at: now, peak: 0.0, peaked: now }
    }

    /// One of the kind is started.
    pub(super) fn start(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.at).as_secs_f32();
        self.at = self.at.max(now);
        let left = (self.away - passed / REFILL.as_secs_f32()).max(0.0);
        self.away = (left + 1.0).min(AHEAD_MAX as f32);
        if self.away >= self.lasting(now) {
            (self.peak, self.peaked) = (self.away, now);
        }
    }

    fn lasting(&self, now: Instant) -> f32 {
        let over = now.saturating_duration_since(self.peaked).saturating_sub(HOLD);
        self.peak * (-over.as_secs_f32() / HALF_LIFE.as_secs_f32()).exp2()
    }

    /// How many starts are expected to come at once.
    pub(super) fn expected(&self, now: Instant) -> u32 {
        self.lasting(now).round() as u32
    }
}

/// Functions that have been deployed, by ARN.
#[derive(Debug, Default)]
pub(super) struct Coming {
    deployed: HashMap<String, Deployed>,
}

#[derive(Debug)]
struct Deployed {
    /// Of what it is going to start from.
    kind: u64,
    /// When it was changed last, as its record says: what is known of an older one is nothing new.
    modified_micros: i64,
    since: Instant,
    is_started: bool,
}

impl Coming {
    /// A function has been created or changed.
    pub(super) fn deployed(&mut self, arn: &str, kind: u64, modified_micros: i64, now: Instant) {
        let known = self.deployed.get(arn).map(|known| known.modified_micros);
        let is_news = known.is_none_or(|known| known < modified_micros);
        if is_news && (known.is_some() || self.deployed.len() < COMING_MAX) {
            let deployed = Deployed { kind, modified_micros, since: now, is_started: false };
            self.deployed.insert(arn.to_owned(), deployed);
        }
    }

    /// One of its environments is started.
    pub(super) fn started(&mut self, arn: &str) {
        if let Some(known) = self.deployed.get_mut(arn) {
            known.is_started = true;
        }
    }

    /// It does not exist any more.
    pub(super) fn deleted(&mut self, arn: &str) {
        self.deployed.remove(arn);
    }

    /// How many of each kind are to be expected.
    pub(super) fn expected(&mut self, now: Instant) -> HashMap<u64, u32> {
        let is_new = |one: &Deployed| now.saturating_duration_since(one.since) < COMING_FOR;
        self.deployed.retain(|_, one| is_new(one));
        let mut counts = HashMap::new();
        for one in self.deployed.values().filter(|one| !one.is_started) {
            *counts.entry(one.kind).or_default() += 1;
        }
        counts
    }
}

/// What is wanted of one kind beyond what always waits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wish {
    pub(super) count: u32,
    /// What each takes.
    pub(super) memory_kb: u64,
}

/// What all that wait beyond the least may take together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bounds {
    memory_kb: u64,
    environments: u32,
}

impl Bounds {
    /// At most `memory_mb` of the machine, and of what may still be promised a part.
    pub(super) fn new(memory_mb: u64, budget: Budget, used: Used) -> Bounds {
        let promised_mb = budget.memory_mb_max.saturating_sub(used.memory_mb) / PROMISED_PART;
        let places = budget.environments_max.saturating_sub(used.environments);
        Bounds {
            memory_kb: memory_mb.min(promised_mb).saturating_mul(1_024),
            environments: u32::try_from(places).unwrap_or(u32::MAX).min(AHEAD_MAX),
        }
    }
}

/// How much of each wish is granted: all of it, or of each the same part.
pub(super) fn share(wishes: &[Wish], bounds: Bounds) -> Vec<u32> {
    let memory_kb: u64 = wishes.iter().map(|wish| u64::from(wish.count) * wish.memory_kb).sum();
    let environments: u64 = wishes.iter().map(|wish| u64::from(wish.count)).sum();
    let part = |count: u32, limit: u64, all: u64| match all <= limit {
        true => count,
        // Less than `count`, because the limit is less than all.
        false => (u128::from(count) * u128::from(limit) / u128::from(all)) as u32,
    };
    let granted = |wish: &Wish| {
        let by_memory = part(wish.count, bounds.memory_kb, memory_kb);
        by_memory.min(part(wish.count, bounds.environments.into(), environments))
    };
    wishes.iter().map(granted).collect()
}

/// What one that waits takes of the machine's memory, in KB, the kernel's part included, rounded up from
/// what was measured (docs/performance.md).
pub(super) fn memory_kb(runtime: Option<&str>, is_copy: bool) -> u64 {
    match (runtime, is_copy) {
        (None, _) => 1_200,
        (Some("python"), true) => 2_000,
        (Some(_), true) => 2_500,
        (Some("java"), false) => 48_000,
        (Some(_), false) => 12_000,
    }
}

#[cfg(test)]
mod tests {
    use lambic_rt::Rt;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const MINUTE: Duration = Duration::from_secs(60);

    fn began() -> Instant {
        Rt::simulated(1).instant()
    }

    #[test]
    fn a_burst_is_expected_again_for_minutes_and_then_less() {
        let mut demand = Demand::new(began());
        assert_eq!(demand.expected(began()), 0);
        (0..200).for_each(|_| demand.start(began()));
        let after = |minutes| demand.expected(began() + minutes * MINUTE);
        assert_eq!([after(0), after(5), after(6), after(7)], [200, 200, 100, 50]);
        assert!(after(12) <= 2);
        assert_eq!(after(24 * 60), 0);
    }

    #[test]
    fn starts_that_come_no_faster_than_environments_are_made_need_one() {
        let (mut demand, mut now) = (Demand::new(began()), began());
        for _ in 0..1_000 {
            now += REFILL;
            demand.start(now);
        }
        assert!(demand.expected(now) <= 2);
        for _ in 0..10_000 {
            now += REFILL / 2;
            demand.start(now);
        }
        assert_eq!(demand.expected(now), AHEAD_MAX);
    }

    #[test]
    fn a_smaller_burst_counts_when_the_greater_one_is_forgotten() {
        let mut demand = Demand::new(began());
        (0..64).for_each(|_| demand.start(began()));
        let later = began() + 8 * MINUTE;
        (0..10).for_each(|_| demand.start(later));
        assert_eq!(demand.expected(later), 10);
        assert_eq!(demand.expected(later + 5 * MINUTE), 10);
        // One that changes nothing keeps nothing.
        let mut demand = Demand::new(began());
        (0..64).for_each(|_| demand.start(began()));
        demand.start(began() + MINUTE);
        assert_eq!(demand.expected(began() + 6 * MINUTE), 32);
    }

    #[test]
    fn deployed_functions_count_until_they_start() {
        let mut coming = Coming::default();
        let now = began();
        for at in 0..50 {
            coming.deployed(&format!("f{at}"), at % 2, 1_000, now);
        }
        assert_eq!(coming.expected(now), HashMap::from([(0, 25), (1, 25)]));
        coming.started("f0");
        coming.started("unknown");
        coming.deleted("f1");
        assert_eq!(coming.expected(now), HashMap::from([(0, 24), (1, 24)]));
        // What is said again of a change that has led to a start is nothing new; another change is.
        coming.deployed("f0", 0, 1_000, now + SECOND);
        assert_eq!(coming.expected(now)[&0], 24);
        coming.deployed("f0", 7, 1_001, now + MINUTE);
        assert_eq!(coming.expected(now)[&7], 1);
        assert_eq!(coming.expected(now + 5 * MINUTE), HashMap::from([(7, 1)]));
        assert!(coming.expected(now + 6 * MINUTE).is_empty() && coming.deployed.is_empty());
    }

    #[test]
    fn only_so_many_are_remembered() {
        let mut coming = Coming::default();
        for at in 0..2 * COMING_MAX {
            coming.deployed(&at.to_string(), 1, 1, began());
        }
        assert_eq!(coming.deployed.len(), COMING_MAX);
        coming.deployed("0", 2, 2, began());
        assert_eq!(coming.expected(began())[&2], 1, "a change of one that is known is noted");
    }

    #[test]
    fn memory_is_cut_for_all_alike() {
        let wish = |count, memory_kb| Wish { count, memory_kb };
        let bounds = |memory_kb, environments| Bounds { memory_kb, environments };
        let wishes = [wish(100, 1_000), wish(50, 2_000), wish(0, 9)];
        assert_eq!(share(&wishes, bounds(200_000, 150)), [100, 50, 0]);
        assert_eq!(share(&wishes, bounds(100_000, 150)), [50, 25, 0]);
        assert_eq!(share(&wishes, bounds(200_000, 15)), [10, 5, 0]);
        assert_eq!(share(&wishes, bounds(0, 150)), [0, 0, 0]);
        assert!(share(&[], bounds(1, 1)).is_empty());
    }

    #[test]
    fn the_bounds_are_the_setting_and_what_is_left() {
        let budget = Budget { memory_mb_max: 8_000, environments_max: 100 };
        let used = |memory_mb, environments| Used { memory_mb, environments };
        let bounds = |memory_mb, used| {
            let Bounds { memory_kb, environments } = Bounds::new(memory_mb, budget, used);
            (memory_kb / 1_024, environments)
        };
        assert_eq!(bounds(500, used(0, 0)), (500, 100));
        assert_eq!(bounds(5_000, used(0, 0)), (2_000, 100));
        assert_eq!(bounds(500, used(7_600, 90)), (100, 10));
        assert_eq!(bounds(500, used(9_000, 110)), (0, 0));
    }

    proptest::proptest! {
        #[test]
        fn no_more_is_granted_than_there_is_and_than_is_wished(
            wishes in proptest::collection::vec((0_u32..100_000, 1_u64..100_000), 0..70),
            memory_kb in 0_u64..10_000_000,
            environments in 0_u32..2_000,
        ) {
            let wishes: Vec<Wish> = wishes
                .into_iter()
                .map(|(count, memory_kb)| Wish { count, memory_kb })
                .collect();
            let granted = share(&wishes, Bounds { memory_kb, environments });
            assert_eq!(granted.len(), wishes.len());
            let pairs = || wishes.iter().zip(&granted);
            assert!(pairs().all(|(wish, granted)| *granted <= wish.count));
            let taken: u64 = pairs().map(|(wish, got)| u64::from(*got) * wish.memory_kb).sum();
            assert!(taken <= memory_kb);
            assert!(granted.iter().map(|got| u64::from(*got)).sum::<u64>() <= environments.into());
        }

        #[test]
        fn demand_is_never_above_what_may_wait_and_ends(
            gaps in proptest::collection::vec(0_u64..400, 1..600),
        ) {
            let (mut demand, mut now) = (Demand::new(began()), began());
            for gap in &gaps {
                now += Duration::from_millis(*gap);
                demand.start(now);
                assert!((1..=AHEAD_MAX).contains(&demand.expected(now)));
                assert!(demand.expected(now) as usize <= gaps.len());
            }
            assert_eq!(demand.expected(now + 20 * MINUTE), 0);
        }
    }
}
