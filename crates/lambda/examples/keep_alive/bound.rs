//! The best that is possible, for somebody who knows the future.
//!
//! A function's level n is reached when n invocations run at once. Between two times that it is reached
//! lies a rest. To keep an environment through the rest costs memory × length of the rest, and saves one
//! cold start. So with so much memory for idle environments, on average over the day, the fewest cold
//! starts come from keeping through the cheapest rests, as many as fit (a knapsack whose parts all have the
//! same worth, so that taking the cheapest first is best). No policy that starts nothing ahead of requests
//! and lets no request wait for one at work can do better; nor can one that has to stay below a limit at every
//! moment.

use super::trace::{Time, Trace};

/// When each level of one function is reached; from a day in which starts take no time.
#[derive(Clone, Debug, Default)]
pub(crate) struct Levels {
    /// Of each level: when it is reached, in order.
    pub(crate) reached: Vec<Vec<Time>>,
}

/// A rest that an environment may be kept through.
struct Rest {
    /// MB times microseconds.
    cost: f64,
}

pub(crate) struct Bound {
    rests: Vec<Rest>,
    /// The first time that a level is reached nothing helps.
    first: usize,
    calls: usize,
}

/// The levels of all functions, and the bound that follows.
pub(crate) fn of(trace: &Trace) -> (Vec<Levels>, Bound) {
    let mut calls: Vec<Vec<(Time, Time)>> = vec![Vec::new(); trace.functions.len()];
    for call in &trace.calls {
        calls[call.function as usize].push((call.at, call.at + Time::from(call.runs)));
    }
    let mut bound = Bound { rests: Vec::new(), first: 0, calls: trace.calls.len() };
    let mut all = Vec::new();
    for (function, calls) in trace.functions.iter().zip(calls) {
        let mut levels = Levels::default();
        let mut left: Vec<Option<Time>> = Vec::new();
        let mut ends: std::collections::BinaryHeap<std::cmp::Reverse<Time>> = Default::default();
        for (at, end) in calls {
            while let Some(std::cmp::Reverse(over)) = ends.peek().copied().filter(|end| end.0 <= at)
            {
                left[ends.len() - 1] = Some(over);
                ends.pop();
            }
            let level = ends.len();
            ends.push(std::cmp::Reverse(end));
            if level == left.len() {
                left.push(None);
                levels.reached.push(Vec::new());
                bound.first += 1;
            }
            if let Some(since) = left[level].take() {
                let cost = f64::from(function.memory_mb) * (at - since) as f64;
                bound.rests.push(Rest { cost });
            }
            levels.reached[level].push(at);
        }
        all.push(levels);
    }
    bound.rests.sort_by(|one, other| one.cost.total_cmp(&other.cost));
    (all, bound)
}

impl Levels {
    /// When that level is reached next; level 1 is the first.
    pub(crate) fn next(&self, level: usize, now: Time) -> Option<Time> {
        let reached = self.reached.get(level.checked_sub(1)?)?;
        reached.get(reached.partition_point(|at| *at <= now)).copied()
    }
}

impl Bound {
    /// The smallest share of cold starts with so much memory for idle environments, in MB on average
    /// over `span`.
    pub(crate) fn cold_share(&self, idle_mb: f64, span: Time) -> f64 {
        let mut left = idle_mb * span as f64;
        let kept = self.rests.iter().take_while(|rest| {
            left -= rest.cost;
            left >= 0.0
        });
        let cold = self.first + self.rests.len() - kept.count();
        cold as f64 / self.calls as f64
    }
}
