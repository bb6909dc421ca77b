//! Whether the machine can hold one more environment, and which idle ones make room for it.
//!
//! Pure: it is told what is used and which environments are idle, and answers what to do. What it
//! counts is the memory that functions are allowed, not what they use, so the budget may be larger
//! than the machine's memory (most functions use a fraction of what they are allowed).
//!
//! A part of the budget is kept free ([`make_reserve`]), by ending what is worth least before
//! anybody asks for its room, so that a request finds room and ends nothing.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::worth::Worth;

/// So much of the budget is kept free of idle environments. When there is less, twice as much is made
/// free at once, so that it is not looked for again with the next start.
const RESERVED_PART: u64 = 32;

/// The smallest size of a function, in MB: a reserve below it would not hold any.
const SMALLEST_MB: u64 = 128;

/// What the machine may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Sum of the memory sizes of all environments, in MB.
    pub memory_mb_max: u64,
    /// Environments in all.
    pub environments_max: usize,
}

/// What it holds now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Used {
    /// Sum of the memory sizes of all environments, in MB.
    pub memory_mb: u64,
    /// Environments in all.
    pub environments: usize,
}

/// An environment that serves nobody at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdleEnvironment {
    /// Which one.
    pub id: u64,
    /// What it is worth.
    pub worth: Worth,
    /// Its memory size, in MB.
    pub memory_mb: u32,
}

/// What to do for one more environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Placement {
    /// There is room.
    Start,
    /// There is room once these idle environments are gone, those worth least first.
    Evict(Vec<u64>),
    /// There is no room even then.
    Full,
}

impl Budget {
    /// What is left of it when the reserve is kept free so many times; all of it if the reserve would
    /// not hold anything.
    fn without_reserve(self, times: u8) -> Budget {
        let memory_mb = self.memory_mb_max / RESERVED_PART;
        let environments = self.environments_max / RESERVED_PART as usize;
        if memory_mb < SMALLEST_MB || environments == 0 {
            return self;
        }
        Budget {
            memory_mb_max: self.memory_mb_max - u64::from(times) * memory_mb,
            environments_max: self.environments_max - usize::from(times) * environments,
        }
    }

    /// Whether idle environments are to be ended before anybody needs their room.
    pub fn is_short(self, used: Used) -> bool {
        !used.fits(self.without_reserve(1))
    }
}

impl Used {
    /// This and one more environment of that size.
    pub fn plus(self, memory_mb: u32) -> Used {
        Used {
            memory_mb: self.memory_mb + u64::from(memory_mb),
            environments: self.environments + 1,
        }
    }

    /// This without one environment of that size.
    pub fn minus(self, memory_mb: u32) -> Used {
        assert!(self.environments > 0, "an environment was given back that nobody held");
        Used {
            memory_mb: self.memory_mb - u64::from(memory_mb),
            environments: self.environments - 1,
        }
    }

    fn fits(self, budget: Budget) -> bool {
        self.memory_mb <= budget.memory_mb_max && self.environments <= budget.environments_max
    }
}

/// Decides for one more environment of `memory_mb`. `idle` are those that may make room.
pub fn place(budget: Budget, used: Used, memory_mb: u32, idle: Vec<IdleEnvironment>) -> Placement {
    let then = used.plus(memory_mb);
    if then.fits(budget) {
        return Placement::Start;
    }
    match evict(budget, then, idle) {
        (evicted, true) => Placement::Evict(evicted),
        (_, false) => Placement::Full,
    }
}

/// The idle environments to be ended ahead of need, those worth least first.
pub fn make_reserve(budget: Budget, used: Used, idle: Vec<IdleEnvironment>) -> Vec<u64> {
    if budget.is_short(used) { evict(budget.without_reserve(2), used, idle).0 } else { Vec::new() }
}

/// Takes out those worth least until the others fit. Whether they do.
fn evict(budget: Budget, mut used: Used, idle: Vec<IdleEnvironment>) -> (Vec<u64>, bool) {
    let order = |environment: IdleEnvironment| Reverse((environment.worth, environment.id));
    let size = |environment: IdleEnvironment| environment.memory_mb;
    let mut queue: BinaryHeap<_> = idle.into_iter().map(|one| (order(one), size(one))).collect();
    let mut evicted = Vec::new();
    while !used.fits(budget) {
        let Some((Reverse((_, id)), memory_mb)) = queue.pop() else { return (evicted, false) };
        used = used.minus(memory_mb);
        evicted.push(id);
    }
    (evicted, true)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn idle(id: u64, worth: u64, memory_mb: u32) -> IdleEnvironment {
        IdleEnvironment { id, worth: Worth(worth as f32), memory_mb }
    }

    #[test]
    fn a_part_of_a_large_budget_is_kept_free() {
        let large = Budget { memory_mb_max: 32 * 1_024, environments_max: 320 };
        let used = |memory_mb, environments| Used { memory_mb, environments };
        assert!(!large.is_short(used(31 * 1_024, 310)));
        assert!(large.is_short(used(31 * 1_024 + 1, 1)) && large.is_short(used(1, 311)));
        let others = vec![idle(1, 5, 512), idle(2, 50, 512), idle(3, 20, 512)];
        let now = used(31 * 1_024 + 800, 100);
        assert_eq!(make_reserve(large, now, others.clone()), [1, 3, 2], "twice the reserve");
        let few = used(31 * 1_024 + 100, 100);
        let large_ones = vec![idle(1, 5, 600), idle(2, 50, 512), idle(3, 20, 600)];
        assert_eq!(make_reserve(large, few, large_ones), [1, 3]);
        assert_eq!(
            make_reserve(large, used(40_000, 3), others.clone()),
            [1, 3, 2],
            "all there are"
        );
        assert!(make_reserve(large, used(31 * 1_024, 3), others.clone()).is_empty());
        // Small ones are used up to their end.
        for small in [
            Budget { memory_mb_max: 1_024, environments_max: 320 },
            Budget { memory_mb_max: 32 * 1_024, environments_max: 31 },
        ] {
            let full = used(small.memory_mb_max, small.environments_max);
            assert!(!small.is_short(full));
            assert!(make_reserve(small, full, others.clone()).is_empty());
        }
    }

    #[test]
    fn those_worth_least_make_room() {
        let budget = Budget { memory_mb_max: 512, environments_max: 10 };
        let used = Used { memory_mb: 512, environments: 4 };
        let others = vec![idle(1, 50, 128), idle(2, 5, 128), idle(3, 20, 128)];
        assert_eq!(place(budget, used, 256, others.clone()), Placement::Evict(vec![2, 3]));
        assert_eq!(place(budget, used, 512, others), Placement::Full);
        assert_eq!(place(budget, Used::default(), 512, vec![]), Placement::Start);
    }

    proptest! {
        #[test]
        fn the_budget_is_never_exceeded(
            memory_mb_max in 0_u64..2_000,
            environments_max in 0_usize..8,
            sizes in proptest::collection::vec((128_u32..600, any::<bool>(), 0_u64..100), 0..12),
            wanted in 128_u32..600,
        ) {
            let budget = Budget { memory_mb_max, environments_max };
            let mut used = Used::default();
            let mut others = Vec::new();
            for (id, (size, is_idle, worth)) in sizes.into_iter().enumerate() {
                if used.plus(size).fits(budget) {
                    used = used.plus(size);
                    if is_idle {
                        others.push(idle(id as u64, worth, size));
                    }
                }
            }
            let size_of = |id: &u64| others.iter().find(|e| e.id == *id).expect("one of them").memory_mb;
            match place(budget, used, wanted, others.clone()) {
                Placement::Start => prop_assert!(used.plus(wanted).fits(budget)),
                Placement::Evict(ids) => {
                    let left = ids.iter().fold(used, |left, id| left.minus(size_of(id)));
                    prop_assert!(left.plus(wanted).fits(budget));
                    prop_assert!(!left.plus(size_of(&ids[ids.len() - 1])).plus(wanted).fits(budget));
                }
                Placement::Full => {
                    let left = others.iter().fold(used, |left, e| left.minus(e.memory_mb));
                    prop_assert!(!left.plus(wanted).fits(budget));
                }
            }
        }
    }
}
