//! Which idle environments are kept: those that are worth their memory.
//!
//! Pure. What an idle environment is worth is the waiting that it saves: (time to make it again) × (how
//! often it is used for each second that it is kept, see [`History::use_rate`]) / (its memory). When room
//! is needed, the one that is worth least goes first; when none is, those go that are worth less than
//! [`PRICE`]. So a function that starts within milliseconds is let go early and one that takes seconds
//! late, a function that is called all the time keeps its environment, and the surplus of a burst goes
//! before the last copy of another function.
//!
//! `docs/keep-alive.md` compares this with other policies, and with the best possible, in a simulator
//! that drives this very code.

use std::time::Duration;

use lambic_rt::Instant;

use super::history::History;

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
    /// What is worth less is let go; [`PRICE`].
    pub price: f32,
}

/// What a second of idle memory costs: seconds of waiting that one GB kept for one second has to save.
/// In the simulator's trace it makes this policy keep as much memory as ten minutes for each would.
pub const PRICE: f32 = 0.000_2;

/// Beside its start an environment has what cannot be measured: open connections, warm caches. They
/// count as so much waiting.
const STATE: Duration = Duration::from_millis(20);

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
