//! Which idle environments are kept: those that are worth their memory.
//!
//! Pure. What an idle environment is worth is the waiting that it saves: (time to make it again) × (how
//! often it is used for each second that it is kept, see [`History::use_rate`]) / (its memory). When room
//! is needed, the one that is worth least goes first; when none is, those go that are worth less than
//! their memory, which costs the more the less of it is left ([`Keep::with`]). So a function that starts within milliseconds is let go early and one that takes seconds
//! late, a function that is called all the time keeps its environment, and the surplus of a burst goes
//! before the last copy of another function.
//!
//! `docs/keep-alive.md` compares this with other policies, and with the best possible, in a simulator
//! that drives this very code.

use std::time::Duration;

use lambic_rt::Instant;

use super::history::History;
use super::place::{Budget, Used};

/// How idle environments are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Policy {
    /// As long as they are worth their memory, at most for the idle time.
    #[default]
    Worth,
    /// For the idle time, each.
    Fixed,
}

/// How, and how long at most.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Keep {
    /// How.
    pub policy: Policy,
    /// Nothing is kept idle for longer, unless it is provisioned.
    pub idle_max: Duration,
    /// What is worth less is let go.
    pub price: f32,
}

/// What a second of idle memory costs on a machine that is full: seconds of waiting that one GB kept
/// for one second has to save. In the simulator's day this price makes the product keep as much idle
/// memory as ten minutes for each environment would.
pub const PRICE: f32 = 0.001_2;

/// Beside its start an environment has what cannot be measured from outside: open connections, warm
/// caches, compiled code. They count as so much waiting. Less favours functions with long starts, more
/// saves cold starts of all kinds (docs/keep-alive.md).
const STATE: Duration = Duration::from_millis(100);

/// Nothing is let go sooner, unless its room is needed: a person who tries a function out thinks so long
/// between two calls.
pub const IDLE_MIN: Duration = Duration::from_secs(60);

/// What an idle environment is worth: seconds of waiting saved by a GB in a second. Any two can be
/// compared.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Worth(pub f32);

impl Eq for Worth {}

impl Ord for Worth {
    fn cmp(&self, other: &Worth) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0)
    }
}

impl PartialOrd for Worth {
    fn partial_cmp(&self, other: &Worth) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Keep {
    /// By worth, at most for so long.
    pub fn new(policy: Policy, idle_max: Duration) -> Keep {
        Keep { policy, idle_max, price: PRICE }
    }

    /// The same with memory as dear as it is now: by the square of the part of the budget that is used.
    /// A machine that is half empty keeps what it has nearly for the longest time.
    pub fn with(self, budget: Budget, used: Used) -> Keep {
        let part = used.memory_mb as f32 / budget.memory_mb_max.max(1) as f32;
        Keep { price: PRICE * part.min(1.0).powi(2), ..self }
    }

    /// What the idle environment that is needed at this level of concurrency is worth.
    pub fn worth(&self, history: &History, idle: &Idle, now: Instant) -> Worth {
        if self.policy == Policy::Fixed {
            // The oldest goes first.
            return Worth(-now.saturating_duration_since(idle.since).as_secs_f32());
        }
        let rate = history.use_rate(idle.level, idle.since, now);
        let start = history.start().unwrap_or_default() + STATE;
        let gigabytes = idle.memory_mb.max(1) as f32 / 1_024.0;
        Worth(rate * start.as_secs_f32() / gigabytes)
    }

    /// Whether it is let go though nobody needs its room.
    pub fn is_over(&self, history: &History, idle: &Idle, now: Instant) -> bool {
        let age = now.saturating_duration_since(idle.since);
        if age >= self.idle_max {
            return true;
        }
        let is_fixed = self.policy == Policy::Fixed;
        !is_fixed && age >= IDLE_MIN && self.worth(history, idle, now) < Worth(self.price)
    }
}

/// An idle environment, as its worth is seen.
#[derive(Clone, Copy, Debug)]
pub struct Idle {
    /// Since when.
    pub since: Instant,
    /// It is needed when so many requests are there at once.
    pub level: usize,
    /// Its memory size.
    pub memory_mb: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECONDS: fn(u64) -> Duration = Duration::from_secs;

    /// Called so often, with a start of so many milliseconds; and its idle environment after the last
    /// call.
    fn function(start_ms: u64, period_s: u64, memory_mb: u32) -> (History, Idle) {
        let mut history = History::default();
        history.started(Duration::from_millis(start_ms));
        let mut at = lambic_rt::Rt::simulated(1).instant();
        for _ in 0..20 {
            at += SECONDS(period_s);
            history.reached(1, at);
            history.left(1, at);
        }
        (history, Idle { since: at, level: 1, memory_mb })
    }

    fn worth(of: (u64, u64, u32), age_s: u64) -> Worth {
        let (history, idle) = function(of.0, of.1, of.2);
        let keep = Keep::new(Policy::Worth, SECONDS(3_600));
        keep.worth(&history, &idle, idle.since + SECONDS(age_s))
    }

    #[test]
    fn the_dear_the_busy_and_the_small_are_worth_more() {
        let usual = worth((100, 60, 256), 30);
        assert!(worth((2_000, 60, 256), 30) > usual);
        assert!(worth((100, 40, 256), 30) > usual);
        assert!(worth((100, 60, 128), 30) > usual);
        assert!(worth((1, 60, 256), 30) < usual);
        // One with a start of milliseconds is not worth nothing: its connections are open.
        assert!(worth((1, 60, 256), 30).0 > 0.3 * usual.0);
    }

    /// After how many seconds it is let go.
    fn kept_s(keep: Keep, start_ms: u64, period_s: u64) -> u64 {
        let (history, idle) = function(start_ms, period_s, 128);
        let is_over = |age_s: &u64| keep.is_over(&history, &idle, idle.since + SECONDS(*age_s));
        (0..=4_000).find(is_over).expect("there is a longest time")
    }

    #[test]
    fn an_idle_environment_is_kept_as_long_as_it_is_worth_its_memory() {
        let budget = Budget { memory_mb_max: 1_000, environments_max: 10 };
        let used = |memory_mb| Used { memory_mb, environments: 1 };
        let by_worth = Keep::new(Policy::Worth, SECONDS(3_600));
        let full = by_worth.with(budget, used(1_000));
        assert_eq!(full, by_worth);
        // Called every second, then not any more.
        let (cheap, dear) = (kept_s(full, 5, 1), kept_s(full, 3_000, 1));
        assert!((60..=300).contains(&cheap), "{cheap}");
        assert!(dear > 3 * cheap && dear <= 3_600, "{dear}");
        // A timer keeps its environment until it is due, and not for long after that.
        let timer = kept_s(full, 200, 300);
        assert!((363..900).contains(&timer), "{timer}");
        assert!(kept_s(by_worth.with(budget, used(500)), 5, 1) > cheap);
        assert_eq!(kept_s(by_worth.with(budget, used(1)), 5, 1), 3_600, "nobody wants the room");
        let short = Keep::new(Policy::Worth, SECONDS(30));
        assert_eq!(kept_s(short, 3_000, 300), 30, "the longest time holds");
    }

    #[test]
    fn fixed_is_fixed() {
        let keep = Keep::new(Policy::Fixed, SECONDS(600));
        assert_eq!((kept_s(keep, 1, 1), kept_s(keep, 5_000, 1_000)), (600, 600));
        let ((history, idle), now) = (function(1, 1, 128), lambic_rt::Rt::simulated(1).instant());
        let at = |age_s: u64| Idle { since: now + SECONDS(1_000 - age_s), ..idle };
        let worth = |age_s: u64| keep.worth(&history, &at(age_s), now + SECONDS(1_000));
        assert!(worth(10) > worth(20), "the oldest goes first");
    }
}
