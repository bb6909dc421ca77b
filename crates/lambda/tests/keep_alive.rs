//! A small day in the simulator of `cargo xtask sim`: the promises of docs/keep-alive.md, by seed.

#[path = "../examples/keep_alive/bound.rs"]
mod bound;
#[allow(dead_code, reason = "the command draws more from it")]
#[path = "../examples/keep_alive/trace.rs"]
mod trace;
#[allow(dead_code, reason = "the command shows more of it")]
#[path = "../examples/keep_alive/world.rs"]
mod world;

use bound::{Bound, Levels};
use lambic_lambda::invoke::worth::PRICE;
use trace::{DAY, Trace};
use world::{Keeping, Machine, Outcome};

const FIXED: Keeping = Keeping::Fixed { minutes: 10 };
const OURS: Keeping = Keeping::Worth;
const NO_LIMIT: u64 = 1 << 40;

struct Day {
    trace: Trace,
    levels: Vec<Levels>,
    bound: Bound,
}

fn day(seed: u64) -> Day {
    let trace = trace::make(seed, 120);
    let (levels, bound) = bound::of(&trace);
    Day { trace, levels, bound }
}

impl Day {
    fn run(&self, memory_mb_max: u64, keeping: Keeping, binds_early: bool) -> Outcome {
        let machine = Machine { memory_mb_max, keeping, binds_early };
        let outcome = world::run(&self.trace, &self.levels, machine);
        assert!(outcome.memory_mb_most <= memory_mb_max, "above the budget");
        assert_eq!(outcome.waited_too_long, 0, "waited beyond patience and start");
        assert!(outcome.served + outcome.refused <= outcome.calls);
        // What the end of the day cut off was still waiting for its start.
        assert!(outcome.calls - outcome.served - outcome.refused <= 20, "lost");
        outcome
    }
}

#[test]
fn with_as_much_idle_memory_fewer_cold_starts_than_ten_minutes_for_each() {
    for seed in 1..=3 {
        let day = day(seed);
        let fixed = day.run(NO_LIMIT, FIXED, false);
        // At the price that keeps no more than that.
        let prices =
            [0.8, 1.0, 1.2, 1.5, 2.0].map(|times| Keeping::Priced { price: PRICE * times });
        let mut outcomes = prices.into_iter().map(|priced| day.run(NO_LIMIT, priced, false));
        let ours = outcomes.find(|ours| ours.idle_mb <= fixed.idle_mb).expect("one is dear enough");
        assert!(ours.idle_mb > 0.8 * fixed.idle_mb, "{seed}: {} {}", ours.idle_mb, fixed.idle_mb);
        assert!(ours.cold < fixed.cold, "{seed}: {} {}", ours.cold, fixed.cold);
        assert!(ours.wait_ms_mean() < 0.8 * fixed.wait_ms_mean());
        for outcome in [fixed, ours] {
            assert!(day.bound.cold_share(outcome.idle_mb, DAY) <= outcome.cold_share());
        }
    }
}

#[test]
fn with_a_budget_that_is_short_fewer_cold_starts_than_the_oldest_first() {
    for seed in 1..=3 {
        let day = day(seed);
        let limit = day.run(NO_LIMIT, FIXED, false).memory_mb_most * 2 / 5;
        let fixed = day.run(limit, FIXED, false);
        let ours = day.run(limit, OURS, false);
        let knows = day.run(limit, Keeping::Clairvoyant, false);
        assert!(ours.cold < fixed.cold, "{seed}: {} {}", ours.cold, fixed.cold);
        assert!(ours.wait_ms_mean() < 0.8 * fixed.wait_ms_mean());
        assert!(ours.refused <= fixed.refused);
        assert!(knows.cold < ours.cold, "{seed}: {} {}", knows.cold, ours.cold);
        let idle_mb = limit as f64 - (ours.memory_mb - ours.idle_mb);
        assert!(day.bound.cold_share(idle_mb, DAY) <= knows.cold_share());
    }
}

#[test]
fn early_binding_starts_fewer_and_nobody_waits_beyond_the_bound() {
    let day = day(1);
    let limit = day.run(NO_LIMIT, FIXED, false).memory_mb_most * 2 / 5;
    let at_once = day.run(limit, OURS, false);
    let early = day.run(limit, OURS, true);
    assert!(early.starts < at_once.starts, "{} {}", early.starts, at_once.starts);
    assert!(early.bound > early.disappointed, "{} {}", early.bound, early.disappointed);
    assert!(early.wait_ms_mean() < at_once.wait_ms_mean());
}

#[test]
fn the_same_seed_gives_the_same_day() {
    let (one, other) = (day(7), day(7));
    assert_eq!(one.trace.functions, other.trace.functions);
    assert_eq!(one.run(20_000, OURS, true), other.run(20_000, OURS, true));
}
