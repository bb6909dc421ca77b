//! The parts of a run. Each starts what it needs, measures in rounds, and leaves samples; one that fails
//! takes nothing from the others.

pub mod burst;
pub mod cold;
pub mod memory;
pub mod start;
pub mod tail;
mod warm;

use std::time::{Duration, Instant};

use lambic_bench::priority::Mode;

use crate::peers::{self, Peer};
use crate::record::{FLOOR, Record, Sample};
use crate::setup::Kit;
use crate::window::{self, Load, Seen, Target};
use crate::{Options, report};

/// What all parts share.
pub struct Bench {
    pub options: Options,
    pub kit: Kit,
    pub record: Record,
    pub begun: Instant,
}

type Part = fn(&mut Bench) -> Result<(), String>;

/// By the names that `--only` takes, in the order in which they run.
pub const PARTS: [(&str, Part); 6] = [
    ("start", start::run),
    ("cold", cold::run),
    ("burst", burst::run),
    ("memory", memory::run),
    ("warm", warm::run),
    ("tail", tail::run),
];

/// A quick run stops adding rounds when it is as old as this.
const QUICK_MAX: Duration = Duration::from_secs(150);

impl Bench {
    /// Runs the parts that were asked for, and keeps what there is after each.
    pub fn run(&mut self) -> Result<(), String> {
        for (name, part) in PARTS {
            if !self.options.runs(name) || self.record.done.iter().any(|done| done == name) {
                continue;
            }
            self.say(name);
            match part(self) {
                Ok(()) => self.record.done.push(name.to_owned()),
                Err(error) => self.failed(name, &error),
            }
            report::keep(self)?;
        }
        Ok(())
    }

    pub fn failed(&mut self, what: &str, error: &str) {
        println!("          {what} failed: {error}");
        self.record.failures.insert(what.to_owned(), error.to_owned());
    }

    pub fn say(&self, what: &str) {
        println!("{:>5} s   {what}   load {}", self.begun.elapsed().as_secs(), report::load_average());
    }

    /// Whether there is time for one more round.
    pub fn has_time(&self, round: usize) -> bool {
        round == 0 || !self.options.quick || self.begun.elapsed() < QUICK_MAX
    }

    /// One window; what it showed is kept.
    pub fn window(
        &mut self,
        row: &str,
        target: &Target,
        load: Load,
        mode: Mode,
        round: usize,
    ) -> Option<Seen> {
        match window::run(&self.kit, target, load, mode, self.options.window_ms) {
            Ok(seen) => {
                let outcome = &seen.outcome;
                self.record.add(Sample::new(
                    row,
                    target.name,
                    round,
                    &[
                        ("p50_us", outcome.p50_us),
                        ("p99_us", outcome.p99_us),
                        ("rate", outcome.rate),
                        ("generator", outcome.generator),
                        ("cpu_us", seen.cpu_us),
                    ],
                ));
                Some(seen)
            }
            Err(error) => {
                self.failed(&format!("{row}, {}", target.name), &error);
                None
            }
        }
    }
}

/// Tells of a round whether the machine was as usual, for rows in which the floor has no part.
pub struct Probe(Peer);

impl Probe {
    pub fn start(kit: &Kit) -> Result<Probe, String> {
        peers::floor(kit, "Rust", 1).map(Probe)
    }

    /// Measures the floor for a moment and keeps its rate for these rows.
    pub fn look(&self, bench: &mut Bench, rows: &[String], round: usize) -> Result<(), String> {
        let seen = window::run(&bench.kit, &self.0.target, Load::Callers(1), Mode::Nice, 150)?;
        for row in rows {
            bench.record.add(Sample::new(row, FLOOR, round, &[("rate", seen.outcome.rate)]));
        }
        Ok(())
    }
}
