//! `bench`: Lambic and other ways to run functions, interleaved, on this machine, now.
//!
//! Life of a run: install the peers ([`setup`]), start everybody ([`peers`], [`contender`]), warm them,
//! then rounds. In a round every cell (runtime and number of callers) gives each of its competitors one
//! short window, in an order that rotates; what counts is the ratio of two windows of the same round.
//! Rounds in which the floor itself was off are refused ([`table`]). The result goes to `bench/out/`,
//! to `docs/bench-table.md`, and into the README where it has room for it.

mod contender;
mod peers;
mod setup;
mod table;

use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use lambic_bench::load::Outcome;

/// The event of every measured invoke.
pub const EVENT: &str = r#"{"n": 1}"#;

/// What the run was asked to do.
pub struct Options {
    pub root: PathBuf,
    /// The binary that is measured.
    pub lambic: PathBuf,
    pub rounds: usize,
    pub window_ms: u64,
    pub quick: bool,
    /// Parts to run; all when empty.
    pub only: Vec<String>,
}

impl Options {
    /// Whether a part is to run.
    pub fn runs(&self, part: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|one| one == part)
    }
}

/// Who may run where: one target of load.
pub struct Target {
    /// Such as `floor`, `RIE`, `cargo lambda watch`, `Lambic`.
    pub name: &'static str,
    pub runtime: &'static str,
    pub callers: usize,
    pub address: String,
    pub path: String,
    /// `KEY:SECRET` where requests have to be signed.
    pub sign: Option<String>,
}

/// One window: who, in which round, and what came out.
pub struct Sample {
    pub name: &'static str,
    pub runtime: &'static str,
    pub callers: usize,
    pub round: usize,
    pub outcome: Outcome,
}

/// The first invoke of a fresh environment, in milliseconds.
pub struct Cold {
    pub name: &'static str,
    pub runtime: &'static str,
    pub start: Start,
    pub round: usize,
    pub ms: f64,
}

/// What a cold start finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// An interpreter that waits for a function.
    SpareAtHand,
    /// Nothing: others have taken those that waited, or there never are any.
    Fresh,
}

/// How each runtime starts with Lambic.
pub const STARTS: [(&str, Start); 5] = [
    ("Python", Start::SpareAtHand),
    ("Python", Start::Fresh),
    ("Node.js", Start::SpareAtHand),
    ("Node.js", Start::Fresh),
    ("Rust", Start::Fresh),
];

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
    let options = options()?;
    let begun = Instant::now();
    let priority = raise_priority();
    let kit = setup::install(&options.root)?;
    println!("machine   {}", table::machine(priority));
    let contender = contender::start(&options, &kit)?;
    let field = peers::start(&kit)?;
    let mut targets = contender.targets();
    targets.extend(field.targets());
    for target in &targets {
        window(&kit, target, 300)?;
    }
    let (mut samples, mut cold) = (Vec::new(), Vec::new());
    let mut round = 0;
    // A refused round is made up for, but not for ever.
    while round < options.rounds
        || (options.runs("warm")
            && table::accepted_min(&samples) < options.rounds
            && round < 2 * options.rounds)
    {
        let at = begun.elapsed().as_secs();
        println!("round {}   {at} s since the start, load {}", round + 1, table::load_average());
        for (runtime, start) in STARTS.into_iter().filter(|_| options.runs("cold")) {
            let ms = contender.cold_ms(runtime, start, round)?;
            cold.push(Cold { name: "Lambic", runtime, start, round, ms });
        }
        for runtime in RUNTIMES.into_iter().filter(|_| options.runs("cold")) {
            let ms = peers::rie_cold_ms(&kit, runtime)?;
            cold.push(Cold { name: "RIE", runtime, start: Start::Fresh, round, ms });
        }
        if options.runs("warm") {
            measure(&kit, &options, &targets, round, &mut samples)?;
        }
        round += 1;
        if options.quick && begun.elapsed() > Duration::from_secs(150) {
            break;
        }
    }
    drop(field);
    drop(contender);
    table::write(&options, priority, &samples, &cold)
}

/// One window for every target, cell by cell; who begins moves on with the round.
fn measure(
    kit: &setup::Kit,
    options: &Options,
    targets: &[Target],
    round: usize,
    samples: &mut Vec<Sample>,
) -> Result<(), String> {
    for runtime in RUNTIMES {
        for callers in CALLERS {
            let cell: Vec<&Target> =
                targets.iter().filter(|one| one.runtime == runtime && one.callers == callers).collect();
            for index in 0..cell.len() {
                let target = cell[(index + round) % cell.len()];
                let outcome = window(kit, target, options.window_ms)?;
                samples.push(Sample { name: target.name, runtime, callers, round, outcome });
            }
        }
    }
    Ok(())
}

/// Runs the load generator, a process of its own, for one window.
fn window(kit: &setup::Kit, target: &Target, window_ms: u64) -> Result<Outcome, String> {
    let mut command = Command::new(kit.program("loadgen"));
    command.args(["--address", &target.address, "--path", &target.path, "--body", EVENT]);
    command.args(["--connections", &target.callers.to_string(), "--warm-ms", "80"]);
    command.args(["--window-ms", &window_ms.to_string()]);
    if let Some(sign) = &target.sign {
        command.args(["--sign", sign]);
    }
    let who = format!("{}, {}, {} callers", target.name, target.runtime, target.callers);
    let done = command.output().map_err(|error| format!("cannot run the load generator: {error}"))?;
    if !done.status.success() {
        return Err(format!("{who}: {}", String::from_utf8_lossy(&done.stderr).trim()));
    }
    let outcome: Outcome = serde_json::from_slice(&done.stdout).map_err(|error| format!("{who}: {error}"))?;
    if outcome.errors > 0 || outcome.requests == 0 {
        return Err(format!("{who}: {} of {} answers were errors", outcome.errors, outcome.requests));
    }
    Ok(outcome)
}

/// Everybody who takes part inherits it, so that other work on the machine disturbs less.
fn raise_priority() -> i32 {
    // SAFETY: two system calls on numbers only.
    unsafe {
        libc::setpriority(libc::PRIO_PROCESS, 0, -15);
        libc::getpriority(libc::PRIO_PROCESS, 0)
    }
}

fn options() -> Result<Options, String> {
    let mut root = std::env::current_dir().map_err(|error| error.to_string())?;
    let mut only = Vec::new();
    let (mut quick, mut rounds, mut window_ms, mut lambic) = (false, None, None, None);
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or(format!("{word} needs a value"));
        match word.as_str() {
            "--quick" => quick = true,
            "--only" => only = value()?.split(',').map(str::to_owned).collect(),
            "--root" => root = PathBuf::from(value()?),
            "--lambic" => lambic = Some(PathBuf::from(value()?)),
            "--rounds" => rounds = value()?.parse().ok(),
            "--window-ms" => window_ms = value()?.parse::<u64>().ok().map(|ms| ms.min(1_000)),
            other => {
                return Err(format!(
                    "'{other}' is none of --quick, --only warm,cold, --rounds N, --window-ms N (at most 1000), --lambic FILE"
                ));
            }
        }
    }
    let lambic = lambic.unwrap_or_else(|| root.join("target/release/lambic"));
    if !lambic.is_file() {
        return Err(format!("there is no {}: build it with `cargo build --release`", lambic.display()));
    }
    Ok(Options {
        root,
        lambic,
        rounds: rounds.unwrap_or(if quick { 3 } else { 7 }),
        window_ms: window_ms.unwrap_or(if quick { 600 } else { 1_000 }),
        quick,
        only,
    })
}
