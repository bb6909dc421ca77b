//! Bursts: the first invokes of 500 functions at once, each with an environment of its own.
//!
//! In two ways, because a server that has seen 500 functions being deployed makes environments ready for
//! them: after it has had the time to ("prepared", as after a deployment), and with a server that keeps no
//! more than the few that always wait ("unprepared"). How many were waiting is recorded with each.
//!
//! Beside them what the machine can do without any of it: programs that are executed without a sandbox,
//! and a Python that forks.

use std::process::Command;
use std::time::{Duration, Instant};

use lambic_bench::burst;

use super::{Bench, Probe};
use crate::RUNTIMES;
use crate::contender;
use crate::record::{LAMBIC, Sample};
use crate::setup::Kit;

pub const MANY: usize = 500;
const ANSWERS_MAX: Duration = Duration::from_secs(60);
/// What a server may take to make environments ready for all of them.
const PREPARED_MAX: Duration = Duration::from_secs(60);
/// After that, and with a server that makes none ready.
const QUIET: Duration = Duration::from_millis(500);
/// Small, so that as many as wanted are promised to fit.
const MEMORY_MB: u32 = 128;

pub const EXEC: &str = "exec, no sandbox";
pub const FORK: &str = "Python fork, no sandbox";

/// Forks so many children at once, each of which decodes the event, calls the function and answers
/// through its pipe; prints the seconds that it took.
const FORKS: &str = r#"
import json, os, selectors, sys, time
sys.path.insert(0, sys.argv[1])
import app
many, event = int(sys.argv[2]), sys.argv[3]
begun = time.perf_counter()
waiting, children = selectors.DefaultSelector(), []
for _ in range(many):
    ours, theirs = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(theirs, json.dumps(app.handler(json.loads(event), None)).encode())
        os._exit(0)
    os.close(theirs)
    waiting.register(ours, selectors.EVENT_READ)
    children.append(child)
answered = 0
while answered < many:
    for key, _ in waiting.select():
        assert os.read(key.fd, 100)
        waiting.unregister(key.fd)
        os.close(key.fd)
        answered += 1
print(time.perf_counter() - begun)
for child in children:
    os.waitpid(child, 0)
"#;

/// After a deployment, with the environments that were made ready for it.
pub fn row(kind: &str) -> String {
    format!("burst {kind}")
}

/// With the few environments only that always wait.
pub fn unprepared(kind: &str) -> String {
    format!("burst {kind}, unprepared")
}

pub fn run(bench: &mut Bench) -> Result<(), String> {
    let probe = Probe::start(&bench.kit)?;
    let rows: Vec<String> = RUNTIMES.iter().flat_map(|kind| [row(kind), unprepared(kind)]).collect();
    let rounds = if bench.options.quick { 1 } else { bench.options.rounds };
    let mut round = 0;
    while round < rounds && bench.has_time(round) {
        bench.say(&format!("burst, round {}", round + 1));
        probe.look(bench, &rows, round)?;
        for kind in RUNTIMES {
            for (row, is_prepared) in [(row(kind), true), (unprepared(kind), false)] {
                if let Err(error) = measure(bench, (&row, kind), is_prepared, round) {
                    bench.failed(&row, &error);
                }
            }
        }
        for (kind, name, rate) in [("Rust", EXEC, execs(&bench.kit)), ("Python", FORK, forks(&bench.kit))] {
            match rate {
                Ok(rate) => bench.record.add(Sample::new(&row(kind), name, round, &[("rate", rate)])),
                Err(error) => bench.failed(&format!("{}, {name}", row(kind)), &error),
            }
        }
        round += 1;
    }
    Ok(())
}

fn measure(
    bench: &mut Bench,
    (row, kind): (&str, &str),
    is_prepared: bool,
    round: usize,
) -> Result<(), String> {
    let mut settings = vec![("memory_mb_max", "200000")];
    settings.extend((!is_prepared).then_some(("spare_memory_mb_max", "0")));
    let mut contender = contender::start(&bench.options, &bench.kit, &settings)?;
    let names: Vec<String> = (0..MANY).map(|at| format!("burst-{at}")).collect();
    contender.create_many(&names, kind, MEMORY_MB)?;
    let requests: Vec<Vec<u8>> = names.iter().map(|name| contender.invoke_request(name)).collect();
    let begun = Instant::now();
    if is_prepared {
        contender.wait_for_many(kind, MANY, PREPARED_MAX)?;
    }
    let prepared_s = begun.elapsed().as_secs_f64();
    std::thread::sleep(QUIET);
    let (waiting, _) = contender.waiting(kind)?;
    let address = contender.address.parse().map_err(|error| format!("{error}"))?;
    let answers = burst::run(address, &requests, ANSWERS_MAX)?;
    println!(
        "          {kind}: {} of {} answered, {:.0} /s, with {waiting} waiting",
        answers.good(),
        answers.asked,
        answers.rate()
    );
    let figures = [
        ("rate", answers.rate()),
        ("good", answers.good() as f64),
        ("asked", answers.asked as f64),
        ("last_ms", answers.answered_ms.last().copied().unwrap_or_default()),
        ("waiting", waiting as f64),
        ("prepared_s", prepared_s),
    ];
    let mut sample = Sample::new(row, LAMBIC, round, &figures);
    let quarter = |share: usize| answers.answered_ms.get(answers.answered_ms.len() * share / 4).copied();
    sample.figures.insert("half_ms".to_owned(), quarter(2).unwrap_or_default());
    bench.record.add(sample);
    if let Some(first) = answers.failures.first() {
        bench.failed(row, &format!("{} answers were no good ones, such as {first}", answers.failures.len()));
    }
    Ok(())
}

/// Programs that start and end, a second.
fn execs(kit: &Kit) -> Result<f64, String> {
    let seconds = Kit::printed(
        Command::new(kit.program("execs")).args([MANY.to_string()]).arg(kit.program("nothing")),
    )?;
    per_second(&seconds)
}

fn forks(kit: &Kit) -> Result<f64, String> {
    let mut python = Command::new(kit.python());
    python.args(["-c", FORKS]).arg(kit.function("Python")).args([&MANY.to_string(), crate::EVENT]);
    per_second(&Kit::printed(&mut python)?)
}

fn per_second(seconds: &str) -> Result<f64, String> {
    let seconds: f64 = seconds.trim().parse().map_err(|_| format!("'{seconds}' is no number"))?;
    Ok(MANY as f64 / seconds)
}
