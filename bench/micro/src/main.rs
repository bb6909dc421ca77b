//! `micro`: what the pure stages of an invoke cost, in time and, where valgrind is there, in instructions.
//!
//! Times are `divan`'s. Instructions are counted by valgrind's `callgrind` for a thousand repetitions more
//! than for a few, so that what comes before them does not count; they hardly change from run to run, and
//! tell of a change that noise would hide. Valgrind offers no instructions for hashes, so those of
//! signatures are more than a processor needs.

mod runtime;
mod stages;

use std::process::{Command, Stdio};

use stages::STAGES;

const FEW: u64 = 200;
const MANY: u64 = 1_200;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let [flag, name, times] = &words[..]
        && flag == "--times"
    {
        let times = times.parse().unwrap_or(1);
        return repeat(name, times);
    }
    divan::Divan::from_args().run_benches();
    instructions();
}

#[divan::bench(args = STAGES.map(|(name, _)| name), sample_count = 200)]
fn stage(bencher: divan::Bencher<'_, '_>, name: &str) {
    bencher.bench_local(made(name));
}

fn made(name: &str) -> stages::Stage {
    let (_, make) = STAGES.into_iter().find(|(one, _)| *one == name).expect("a stage of the list");
    make()
}

fn repeat(name: &str, times: u64) {
    let mut once = made(name);
    for _ in 0..times {
        once();
    }
}

fn instructions() {
    println!("\ninstructions (callgrind)");
    for (name, _) in STAGES {
        let text = match (counted(name, FEW), counted(name, MANY)) {
            (Some(few), Some(many)) => format!("{}", many.saturating_sub(few) / (MANY - FEW)),
            _ => "not available".to_owned(),
        };
        println!("  {name:<34} {text:>14}");
    }
}

/// Instructions of a whole process that repeats a stage; nothing without valgrind.
fn counted(name: &str, times: u64) -> Option<u64> {
    let own = std::env::current_exe().ok()?;
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]).arg(own);
    valgrind.args(["--times", name, &times.to_string()]).stdout(Stdio::null());
    let done = valgrind.output().ok().filter(|done| done.status.success())?;
    let text = String::from_utf8_lossy(&done.stderr).into_owned();
    let line = text.lines().find_map(|line| line.split_once("Collected :"))?;
    line.1.trim().parse().ok()
}
