//! Cold starts: an invoke of a function that has no environment, from the first byte of the request to the
//! first of the answer.
//!
//! The function is not new: its configuration has just been changed, which ends its environments, so it is
//! known what it imports. With Lambic's own spares at hand, and without: where environments are made one
//! like the other (native code) or copied (all but Java), the later ones of several functions that are
//! invoked one right after the other by a server that prepares for no bursts, else with one that keeps no
//! spares. A start that was not what it was meant to be does not count.

use std::time::{Duration, Instant};

use super::{Bench, Probe};
use crate::contender::{self, Contender, KINDS};
use crate::peers;
use crate::record::{LAMBIC, Sample};

/// What is left to become quiet: the end of the environments before, and the making of new spares.
const QUIET: Duration = Duration::from_millis(60);
/// A start that was not as meant is tried again so many times.
const TRIES: usize = 5;
/// Functions that are invoked in a row. Without an interpreter so many at first find a process that waits;
/// spares are counted, because more than two may be kept.
const IN_A_ROW: usize = 24;
const FIRST: usize = 16;
const SPARES_MIN: u64 = 2;

/// The row of a kind.
pub fn row(kind: &str, spare: bool) -> String {
    format!("cold {kind}, {}", if spare { "a spare at hand" } else { "spares exhausted" })
}

pub fn run(bench: &mut Bench) -> Result<(), String> {
    let probe = Probe::start(&bench.kit)?;
    let mut with = contender::start(&bench.options, &bench.kit, &[])?;
    let mut without = contender::start(&bench.options, &bench.kit, &[("spares", "0")])?;
    // It prepares for no burst, else nothing would run out.
    let mut few = contender::start(&bench.options, &bench.kit, &[("spare_memory_mb_max", "0")])?;
    let kinds: Vec<&str> = KINDS.into_iter().filter(|kind| bench.kit.has(kind)).collect();
    for kind in &kinds {
        with.target(kind, &name(kind))?;
        if !runs_out(kind) {
            without.target(kind, &name(kind))?;
            continue;
        }
        for at in 0..IN_A_ROW {
            few.target(kind, &in_row(kind, at))?;
        }
    }
    let starts = if bench.options.quick { 4 } else { 9 };
    let rows: Vec<String> = kinds.iter().flat_map(|kind| [row(kind, true), row(kind, false)]).collect();
    let mut round = 0;
    while round < bench.options.rounds && bench.has_time(round) {
        bench.say(&format!("cold, round {}", round + 1));
        probe.look(bench, &rows, round)?;
        for kind in &kinds {
            let found = repeated(starts, || started(&mut with, kind, true));
            keep(bench, &row(kind, true), round, found);
            let found = match runs_out(kind) {
                true => {
                    let rows = starts.div_ceil(IN_A_ROW - FIRST);
                    repeated(rows, || used_up(&mut few, kind)).map(|rows| rows.concat())
                }
                false => repeated(starts, || started(&mut without, kind, false)),
            };
            keep(bench, &row(kind, false), round, found);
        }
        // AWS's clients for Ruby and Java are not among the peers.
        for kind in KINDS.into_iter().filter(|kind| !["Ruby", "Java"].contains(kind)) {
            let found = repeated(2, || peers::rie_first_ms(&bench.kit, kind).map(|(_, first)| first));
            if let Ok(values) = found {
                for spare in [true, false] {
                    bench.record.add(Sample::with_values(&row(kind, spare), peers::RIE, round, &values));
                }
            }
        }
        round += 1;
    }
    Ok(())
}

/// Whether interpreters wait for functions of this kind.
fn has_spares(kind: &str) -> bool {
    kind != "Rust"
}

/// Whether what is at hand for functions of this kind can be used up, and the next ones are made as quickly
/// as they can be. A Java that is started takes so long that there are spares again.
fn runs_out(kind: &str) -> bool {
    kind != "Java"
}

fn in_row(kind: &str, at: usize) -> String {
    format!("row-{}-{at}", name(kind))
}

fn name(kind: &str) -> String {
    kind.replace(['.', ' '], "-")
}

fn repeated<T>(times: usize, mut one: impl FnMut() -> Result<T, String>) -> Result<Vec<T>, String> {
    (0..times).map(|_| one()).collect()
}

fn keep(bench: &mut Bench, row: &str, round: usize, found: Result<Vec<f64>, String>) {
    match found {
        Ok(values) => bench.record.add(Sample::with_values(row, LAMBIC, round, &values)),
        Err(error) => bench.failed(row, &error),
    }
}

/// One start of the function of this kind.
fn started(contender: &mut Contender, kind: &str, spare: bool) -> Result<f64, String> {
    let name = name(kind);
    for _ in 0..TRIES {
        contender.renew(&name)?;
        if spare {
            contender.wait_for_spares()?;
        }
        std::thread::sleep(QUIET);
        let before = counts(contender)?;
        let ms = contender.first_byte_ms(&name)?;
        let after = counts(contender)?;
        let was_cold = after[0] == before[0] + 1;
        let was_meant = !has_spares(kind) || (after[1] > before[1]) == spare;
        if was_cold && was_meant {
            return Ok(ms);
        }
    }
    Err(format!("no start of {TRIES} was cold and as meant"))
}

/// Cold starts, and those of them that a spare was used for.
fn counts(contender: &mut Contender) -> Result<[u64; 2], String> {
    // Figures may be a moment behind the answer.
    std::thread::sleep(Duration::from_millis(3));
    let mut of = |name: &str| contender.figure(name).map(Option::unwrap_or_default);
    Ok([of("lambic_cold_starts_total")?, of("lambic_spares_used_total")?])
}

/// Starts without a pause between them: those that come when nothing that waited is left.
fn used_up(contender: &mut Contender, kind: &str) -> Result<Vec<f64>, String> {
    for at in 0..IN_A_ROW {
        contender.renew(&in_row(kind, at))?;
    }
    if has_spares(kind) {
        contender.wait_for_spares()?;
    }
    let begun = Instant::now();
    while begun.elapsed() < 3 * QUIET {
        std::thread::sleep(QUIET);
    }
    let mut found = Vec::new();
    for at in 0..IN_A_ROW {
        let waiting = match has_spares(kind) {
            true => contender.figure("lambic_spares")?.unwrap_or(0),
            false => 0,
        };
        found.push((waiting, contender.first_byte_ms(&in_row(kind, at))?));
    }
    if !has_spares(kind) {
        return Ok(found.split_off(FIRST).into_iter().map(|(_, ms)| ms).collect());
    }
    // What waits for functions of other kinds is always there.
    let least = found.iter().map(|(waiting, _)| *waiting).min().unwrap_or(0);
    if found[0].0 < least + SPARES_MIN {
        return Err("its spares were not used up".to_owned());
    }
    Ok(found.into_iter().filter(|(waiting, _)| *waiting == least).map(|(_, ms)| ms).collect())
}
