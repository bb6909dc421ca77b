//! Memory of idle environments, with what the kernel holds for them: what the memory group of each is
//! charged with, an invoke and some idle seconds after its start. Beside it the share of memory of the
//! same function as a plain process.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use lambic_bench::proc;
use lambic_bench::stats::quantile;

use super::Bench;
use crate::contender::{self, Contender};
use crate::record::{LAMBIC, Sample};
use crate::{RUNTIMES, peers};

/// Environments of each runtime.
const MANY: usize = 60;
/// Until they are frozen and what ended before them is gone.
const IDLE: Duration = Duration::from_secs(3);
const MEMORY_MB: u32 = 128;
/// How many idle environments a machine of this size shall bear.
pub const HEALTHY: usize = 1_000;

pub const PLAIN: &str = "plain process (PSS)";
pub const HEALTH: &str = "1,000 idle environments";

pub fn row(kind: &str) -> String {
    format!("memory {kind}")
}

pub fn run(bench: &mut Bench) -> Result<(), String> {
    for kind in RUNTIMES {
        if let Err(error) = measure(bench, kind) {
            bench.failed(&row(kind), &error);
        }
        match plain(bench, kind) {
            Ok(values) => bench.record.add(Sample::with_values(&row(kind), PLAIN, 0, &values)),
            Err(error) => bench.failed(&format!("{}, {PLAIN}", row(kind)), &error),
        }
    }
    if bench.options.quick {
        return Ok(());
    }
    bench.say("memory, 1,000 idle environments");
    health(bench)
}

fn server(bench: &Bench) -> Result<Contender, String> {
    contender::start(&bench.options, &bench.kit, &[("memory_mb_max", "400000"), ("concurrency_max", "2000")])
}

fn measure(bench: &mut Bench, kind: &str) -> Result<(), String> {
    let mut contender = server(bench)?;
    let names: Vec<String> = (0..MANY).map(|at| format!("idle-{at}")).collect();
    contender.create_many(&names, kind, MEMORY_MB)?;
    for name in &names {
        contender.invoke(name)?;
    }
    std::thread::sleep(IDLE);
    let groups = environments(contender.pid());
    let megabytes: Vec<f64> = groups
        .iter()
        .filter_map(|folder| proc::memory_bytes(folder))
        .map(|bytes| bytes as f64 / 1e6)
        .collect();
    if megabytes.len() < MANY {
        return Err(format!("only {} of {MANY} environments have a memory group", megabytes.len()));
    }
    bench.record.add(Sample::with_values(&row(kind), LAMBIC, 0, &megabytes));
    Ok(())
}

/// The memory groups of environments that have a function. What waits for one is not among them: in its
/// group there are processes of ours only, or its first process says that it is a spare.
fn environments(server: u32) -> Vec<PathBuf> {
    let own = proc::group(server, "memory");
    let mut members: HashMap<PathBuf, Vec<String>> = HashMap::new();
    for pid in proc::family(server) {
        if let Some(group) = proc::group(pid, "memory").filter(|group| Some(group) != own.as_ref()) {
            let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            members.entry(group).or_default().push(name.trim().to_owned());
        }
    }
    let has_function = |names: &[String]| {
        let is_ours = |name: &String| name.starts_with("lambic-");
        let waits = |name: &String| name == "lambic-spare" || name == "lambic-zygote";
        !names.iter().all(is_ours) && !names.iter().any(waits)
    };
    members.into_iter().filter(|(_, names)| has_function(names)).map(|(group, _)| group).collect()
}

/// Five workers of the floor, after an event each.
fn plain(bench: &Bench, kind: &str) -> Result<Vec<f64>, String> {
    let floor = peers::floor(&bench.kit, kind, 5)?;
    std::thread::sleep(Duration::from_millis(500));
    let workers = floor.target.roots.iter().skip(1);
    let kb: Vec<f64> = workers.filter_map(|pid| proc::smaps_kb(*pid, "Pss")).map(|kb| kb as f64).collect();
    if kb.is_empty() {
        Err("no worker tells its memory".to_owned())
    } else {
        Ok(kb.iter().map(|kb| kb * 1.024e-3).collect())
    }
}

/// A thousand environments, and whether all of them answer again and the server is what it was.
fn health(bench: &mut Bench) -> Result<(), String> {
    let mut contender = server(bench)?;
    let names: Vec<String> = (0..HEALTHY).map(|at| format!("healthy-{at}")).collect();
    contender.create_many(&names, "Rust", MEMORY_MB)?;
    let begun = Instant::now();
    for name in &names {
        contender.invoke(name)?;
    }
    let seconds = begun.elapsed().as_secs_f64();
    std::thread::sleep(IDLE);
    let cold = contender.figure("lambic_cold_starts_total")?.unwrap_or(0);
    let mut again = Vec::new();
    for name in &names {
        again.push(contender.first_byte_ms(name)?);
    }
    let after = contender.figure("lambic_cold_starts_total")?.unwrap_or(0);
    let environments = contender.figure("lambic_environments")?.unwrap_or(0);
    let figures = [
        ("seconds", seconds),
        ("environments", environments as f64),
        ("answered_warm", names.len() as f64 - (after - cold) as f64),
        ("thawed_p50_ms", quantile(&again, 0.5)),
        ("thawed_p99_ms", quantile(&again, 0.99)),
        ("server_mb", proc::smaps_kb(contender.pid(), "Pss").unwrap_or(0) as f64 * 1.024e-3),
    ];
    bench.record.add(Sample::new(HEALTH, LAMBIC, 0, &figures));
    Ok(())
}
