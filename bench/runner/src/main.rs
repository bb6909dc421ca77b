//! `bench`: Lambic and other ways to run functions, interleaved, on this machine, now.
//!
//! Life of a run: install the peers ([`setup`]), then the parts one after another ([`parts`]). Each starts
//! its competitors ([`contender`], [`peers`]) and measures in rounds; what counts is the ratio of two
//! windows of the same round, and rounds in which the floor itself was off are refused ([`record`]). What
//! there is by then is kept in `bench/out/` after each part. A run of all parts also writes what the
//! documentation shows ([`report`]): `docs/bench/record.json`, and from it the tables and plots.

mod contender;
mod options;
mod parts;
mod peers;
mod plots;
mod record;
mod report;
mod setup;
mod tables;
mod targets;
mod window;

use std::process::ExitCode;
use std::time::Instant;

use lambic_bench::sign::{now_s, stamp};

use crate::options::{Mode, Options};
use crate::parts::Bench;
use crate::record::Record;

/// The event of every measured invoke.
pub const EVENT: &str = r#"{"n": 1}"#;
pub const RUNTIMES: [&str; 3] = ["Python", "Node.js", "Rust"];
pub const CALLERS: [usize; 2] = [1, 8];

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), String> {
    let options = options::parse(std::env::args().skip(1))?;
    match options.mode {
        Mode::Check => return report::check(&options.root),
        Mode::Render => return report::render(&options.root),
        Mode::Measure => {}
    }
    let begun = Instant::now();
    let nice = lambic_bench::priority::nice();
    let kit = setup::install(&options.root)?;
    let fresh = Record {
        at: stamp(now_s()),
        commit: report::commit(&options.root),
        machine: report::machine(&kit, nice),
        quick: options.quick,
        window_ms: options.window_ms,
        load: [report::load_average(), String::new()],
        ..Record::default()
    };
    let record = match options.resume {
        true => report::last(&options.root)?,
        false => fresh,
    };
    println!("machine   {}", record.machine);
    let mut bench = Bench { options, kit, record, begun };
    bench.run()?;
    bench.record.load[1] = report::load_average();
    report::finish(&bench)
}
