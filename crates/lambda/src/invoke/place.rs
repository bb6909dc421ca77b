//! Whether the machine can hold one more environment, and which idle ones make room for it.
//!
//! Pure: it is told what is used and which environments are idle, and answers what to do. What it
//! counts is the memory that functions are allowed, not what they use, so the budget may be larger
//! than the machine's memory (most functions use a fraction of what they are allowed).

use lambic_rt::Instant;

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
    /// Since when.
    pub since: Instant,
    /// Its memory size, in MB.
    pub memory_mb: u32,
}

/// What to do for one more environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Placement {
    /// There is room.
    Start,
    /// There is room once these idle environments are gone, oldest first.
    Evict(Vec<u64>),
    /// There is no room even then.
    Full,
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

/// Decides for one more environment of `memory_mb`. `idle` are those of other functions.
pub fn place(
    budget: Budget,
    used: Used,
    memory_mb: u32,
    mut idle: Vec<IdleEnvironment>,
) -> Placement {
    let mut then = used.plus(memory_mb);
    if then.fits(budget) {
        return Placement::Start;
    }
    idle.sort_by_key(|environment| (environment.since, environment.id));
    let mut evicted = Vec::new();
    for environment in idle {
        then = then.minus(environment.memory_mb);
        evicted.push(environment.id);
        if then.fits(budget) {
            return Placement::Evict(evicted);
        }
    }
    Placement::Full
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn idle(id: u64, age_s: u64, memory_mb: u32) -> IdleEnvironment {
        let since = lambic_rt::Rt::simulated(1).instant() - Duration::from_secs(age_s);
        IdleEnvironment { id, since, memory_mb }
    }

    #[test]
    fn the_oldest_idle_make_room() {
        let budget = Budget { memory_mb_max: 512, environments_max: 10 };
        let used = Used { memory_mb: 512, environments: 4 };
        let others = vec![idle(1, 5, 128), idle(2, 50, 128), idle(3, 20, 128)];
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
            for (id, (size, is_idle, age_s)) in sizes.into_iter().enumerate() {
                if used.plus(size).fits(budget) {
                    used = used.plus(size);
                    if is_idle {
                        others.push(idle(id as u64, age_s, size));
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
