//! The server itself: how soon after its start it answers, and what it takes with a thousand functions
//! that nobody uses.

use std::time::{Duration, Instant};

use lambic_bench::proc;

use super::{Bench, Probe};
use crate::RUNTIMES;
use crate::contender::{self, Plan};
use crate::peers::{self, retried};
use crate::record::{LAMBIC, Sample};

pub const REQUEST: &str = "start, first request";
pub const INVOKE: &str = "start, first invoke";
pub const MEMORY: &str = "server memory";
pub const FUNCTIONS: usize = 1_000;
const IDLE: Duration = Duration::from_secs(3);

pub fn run(bench: &mut Bench) -> Result<(), String> {
    let probe = Probe::start(&bench.kit)?;
    let plan = prepared(bench)?;
    let rounds = if bench.options.quick { 3 } else { bench.options.rounds.max(5) };
    for round in 0..rounds {
        probe.look(bench, &[REQUEST.to_owned(), INVOKE.to_owned()], round)?;
        let request = first_answer_ms(&plan, None)?;
        let invoke = first_answer_ms(&plan, Some("started"))?;
        bench.record.add(Sample::with_values(REQUEST, LAMBIC, round, &[request]));
        bench.record.add(Sample::with_values(INVOKE, LAMBIC, round, &[invoke]));
        let (rie, _) = peers::rie_first_ms(&bench.kit, "Rust")?;
        bench.record.add(Sample::with_values(REQUEST, peers::RIE, round, &[rie]));
        bench.record.add(Sample::with_values(INVOKE, peers::RIE, round, &[rie]));
    }
    drop(plan);
    memory(bench)
}

/// A data directory in which there is a function.
fn prepared(bench: &Bench) -> Result<Plan, String> {
    let plan = Plan::new(&bench.options, &bench.kit, &[])?;
    let server = plan.start()?;
    retried(|| contender::once(&plan.address, None))?;
    contender::create_once(&plan.address, &bench.kit, "started")?;
    drop(server);
    Ok(plan)
}

fn first_answer_ms(plan: &Plan, function: Option<&str>) -> Result<f64, String> {
    let begun = Instant::now();
    let server = plan.start()?;
    retried(|| contender::once(&plan.address, function))?;
    let ms = begun.elapsed().as_secs_f64() * 1_000.0;
    drop(server);
    Ok(ms)
}

/// What its three processes take, and what waits beside them.
fn memory(bench: &mut Bench) -> Result<(), String> {
    let mut contender = contender::start(&bench.options, &bench.kit, &[])?;
    let names: Vec<String> = (0..FUNCTIONS).map(|at| format!("idle-{at}")).collect();
    let parts = names.chunks(FUNCTIONS.div_ceil(RUNTIMES.len()));
    for (names, kind) in parts.zip(RUNTIMES) {
        contender.create_many(names, kind, 128)?;
    }
    // What it took to make them is gone with the server that made them.
    let mut contender = contender.restarted(&bench.kit)?;
    std::thread::sleep(IDLE);
    let (mut server, mut resident, mut waiting) = (0.0, 0.0, 0.0);
    let own = proc::group(contender.pid(), "memory");
    for pid in proc::family(contender.pid()) {
        let megabytes = |field| proc::smaps_kb(pid, field).unwrap_or(0) as f64 * 1.024e-3;
        if proc::group(pid, "memory") == own {
            server += megabytes("Pss");
            resident += if pid == contender.pid() { megabytes("Rss") } else { 0.0 };
        } else {
            waiting += megabytes("Pss");
        }
    }
    let spares = contender.figure("lambic_spares")?.unwrap_or(0);
    let figures = [
        ("server_mb", server),
        ("resident_mb", resident),
        ("waiting_mb", waiting),
        ("spares", spares as f64),
    ];
    bench.record.add(Sample::new(MEMORY, LAMBIC, 0, &figures));
    let rie = peers::rie(&bench.kit, "Rust")?;
    let kb = rie.target.roots.first().and_then(|pid| proc::smaps_kb(*pid, "Pss")).unwrap_or(0);
    bench.record.add(Sample::new(MEMORY, peers::RIE, 0, &[("server_mb", kb as f64 * 1.024e-3)]));
    Ok(())
}
