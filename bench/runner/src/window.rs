//! One window of load on one competitor: the load generator as a process of its own, priorities set and
//! taken back around it, and the processor time that the competitor used meanwhile.

use std::process::Command;
use std::time::Instant;

use lambic_bench::load::Outcome;
use lambic_bench::priority::{Mode, Raised};
use lambic_bench::proc;

use crate::setup::Kit;

/// Whom to ask, and for what.
#[derive(Clone)]
pub struct Target {
    /// Such as `floor`, `RIE`, `cargo lambda watch`, `Lambic`.
    pub name: &'static str,
    pub address: String,
    pub path: String,
    pub body: String,
    /// `KEY:SECRET` where requests have to be signed.
    pub sign: Option<String>,
    /// The processes that were started for it; what descends from them belongs to it.
    pub roots: Vec<u32>,
}

/// How requests come.
#[derive(Clone, Copy)]
pub enum Load {
    /// Each caller asks again when it has its answer.
    Callers(usize),
    /// The same with as many callers as a load that does not wait has connections; one of `long_every`
    /// requests takes longer.
    Full { long_every: u64 },
    /// So many a second, whatever the answers; one of `long_every` takes longer.
    Rate { per_second: f64, random: bool, long_every: u64 },
}

/// The event of the few invocations that take long.
pub const LONG_EVENT: &str = r#"{"n": 1, "sleep_ms": 100}"#;
/// Connections of a load that does not wait.
const CONNECTIONS: usize = 64;
/// Before a window: the environments thaw, and it shows who works.
const BEFORE_MS: u64 = 120;
/// The same for a load that does not wait: until there are as many environments as it takes.
const BEFORE_RATE_MS: u64 = 1_200;
/// At the beginning of a window, not counted.
const WARM_MS: u64 = 50;

/// What a window showed.
pub struct Seen {
    pub outcome: Outcome,
    /// Processor time of the competitor for each answer, in microseconds.
    pub cpu_us: f64,
}

/// Whether the competitors can all be measured in real time; why not otherwise.
pub fn try_real_time(kit: &Kit, targets: &[Target], load: Load) -> Result<(), String> {
    for target in targets {
        let raised = raise(kit, target, load).map_err(|error| format!("{}: {error}", target.name))?;
        drop(raised);
    }
    Ok(())
}

fn family(target: &Target) -> Vec<u32> {
    target.roots.iter().flat_map(|root| proc::family(*root)).collect()
}

/// Lets the competitor work for a moment, and raises those that did.
fn raise(kit: &Kit, target: &Target, load: Load) -> Result<Raised, String> {
    // Who is to answer has started before it is looked at.
    generate(kit, target, load, [0, BEFORE_MS], false)?;
    let (before, begun) = (proc::cpu_of(&family(target)), Instant::now());
    generate(kit, target, load, [0, BEFORE_MS], false)?;
    let span_ns = begun.elapsed().as_nanos() as u64;
    let pids = family(target);
    let used = proc::used_ns(&before, &proc::cpu_of(&pids));
    Raised::new(&pids, &used, span_ns)
}

/// Runs one window.
///
/// # Errors
/// When an answer is an error, none comes, or the priority cannot be had.
pub fn run(kit: &Kit, target: &Target, load: Load, mode: Mode, window_ms: u64) -> Result<Seen, String> {
    let who = |error: String| format!("{}: {error}", target.name);
    let raised = match mode {
        Mode::RealTime => Some(raise(kit, target, load).map_err(who)?),
        Mode::Nice => {
            let before_ms = if matches!(load, Load::Callers(_)) { BEFORE_MS } else { BEFORE_RATE_MS };
            generate(kit, target, load, [0, before_ms], false).map_err(who)?;
            None
        }
    };
    let before = proc::cpu_of(&family(target));
    let outcome = generate(kit, target, load, [WARM_MS, window_ms], mode == Mode::RealTime).map_err(who);
    let used: u64 = proc::used_ns(&before, &proc::cpu_of(&family(target))).values().sum();
    drop(raised);
    let outcome = outcome?;
    // Those of the beginning, which are not counted, took as much.
    let answers = outcome.rate * (outcome.seconds + WARM_MS as f64 / 1_000.0);
    Ok(Seen { cpu_us: used as f64 / 1_000.0 / answers.max(1.0), outcome })
}

fn generate(
    kit: &Kit,
    target: &Target,
    load: Load,
    ms: [u64; 2],
    real_time: bool,
) -> Result<Outcome, String> {
    let mut command = Command::new(kit.program("loadgen"));
    command.args(["--address", &target.address, "--path", &target.path, "--body", &target.body]);
    command.args(["--warm-ms", &ms[0].to_string(), "--window-ms", &ms[1].to_string()]);
    match load {
        Load::Callers(callers) => {
            command.args(["--connections", &callers.to_string()]);
        }
        Load::Full { long_every } => {
            command.args(["--connections", &CONNECTIONS.to_string()]);
            command.args(["--long-every", &long_every.to_string(), "--long-body", LONG_EVENT]);
        }
        Load::Rate { per_second, random, long_every } => {
            command.args(["--connections", &CONNECTIONS.to_string(), "--rate", &format!("{per_second:.0}")]);
            command.args(["--long-every", &long_every.to_string(), "--long-body", LONG_EVENT]);
            command.args(if random { ["--random", "yes"].as_slice() } else { &[] });
        }
    }
    if real_time {
        command.args(["--real-time", "yes"]);
    }
    if let Some(sign) = &target.sign {
        command.args(["--sign", sign]);
    }
    let done = command.output().map_err(|error| format!("cannot run the load generator: {error}"))?;
    if !done.status.success() {
        return Err(String::from_utf8_lossy(&done.stderr).trim().to_owned());
    }
    let outcome: Outcome = serde_json::from_slice(&done.stdout).map_err(|error| error.to_string())?;
    if outcome.errors > 0 || outcome.requests == 0 {
        return Err(format!("{} of {} answers were errors", outcome.errors, outcome.requests));
    }
    Ok(outcome)
}
