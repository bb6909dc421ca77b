//! The tail under load: requests come at 70 % of the rate that was possible a moment ago, whether or not
//! earlier ones are answered, and one in a thousand takes a thousand times as long.
//!
//! What is possible is found with as many connections, and as many long requests, as the load has that
//! does not wait. It was found with eight callers and short requests before: such a rate nobody can hold
//! here, the floor neither, because callers who wait for each other are served in batches and because
//! the load generator takes more of the same two processors when each request comes by itself.

use lambic_bench::priority::Mode;

use super::Bench;
use crate::record::Sample;
use crate::window::{self, Load, Target};
use crate::{contender, peers};

pub const ROWS: [(&str, bool); 2] = [("tail even", false), ("tail random", true)];

const SHARE: f64 = 0.7;
const LONG_EVERY: u64 = 1_000;
/// Workers of the floor, and callers whose usual latency nobody is to exceed at a part of the greatest rate.
const WORKERS: usize = 8;

pub fn run(bench: &mut Bench) -> Result<(), String> {
    // Room for as many environments as there are connections.
    let mut contender = contender::start(&bench.options, &bench.kit, &[("memory_mb_max", "200000")])?;
    let ours = contender.target("Rust", "tail")?;
    let floor = peers::floor(&bench.kit, "Rust", WORKERS)?;
    let mut targets = vec![ours, floor.target.clone()];
    let watch = peers::watch(&bench.kit);
    match &watch {
        Ok(peer) => targets.push(peer.target.clone()),
        Err(error) => bench.failed("tail", error),
    }
    bench.record.priorities.insert("tail".to_owned(), Mode::Nice.text().to_owned());
    let mut round = 0;
    while round < bench.options.rounds && bench.has_time(round) {
        bench.say(&format!("tail, round {}", round + 1));
        for index in 0..targets.len() {
            let target = targets[(index + round) % targets.len()].clone();
            if let Err(error) = measure(bench, &target, round) {
                bench.failed(&format!("tail, {}", target.name), &error);
            }
        }
        round += 1;
    }
    Ok(())
}

fn measure(bench: &mut Bench, target: &Target, round: usize) -> Result<(), String> {
    let full = Load::Full { long_every: LONG_EVERY };
    let full = window::run(&bench.kit, target, full, Mode::Nice, 400)?.outcome;
    let eight = window::run(&bench.kit, target, Load::Callers(WORKERS), Mode::Nice, 200)?.outcome;
    for (row, random) in ROWS {
        let load = Load::Rate { per_second: full.rate * SHARE, random, long_every: LONG_EVERY };
        let seen = window::run(&bench.kit, target, load, Mode::Nice, bench.options.window_ms.max(800))?;
        let outcome = seen.outcome;
        bench.record.add(Sample::new(
            row,
            target.name,
            round,
            &[
                ("p50_us", outcome.p50_us),
                ("p99_us", outcome.p99_us),
                ("p99_over_p50", outcome.p99_us / outcome.p50_us),
                ("rate", full.rate),
                // Who is slower at 70 % than with eight callers, who ask all the time, falls behind.
                ("p50_over_full", outcome.p50_us / eight.p50_us),
                ("generator", outcome.generator),
            ],
        ));
    }
    Ok(())
}
