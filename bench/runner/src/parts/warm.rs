//! Warm invokes: each runtime with one caller and with eight, everybody in the same round one after
//! another, in an order that rotates. The processor time of an invoke comes from the same windows.

use lambic_bench::priority::{self, Mode};

use super::Bench;
use crate::peers::{self, Peer};
use crate::record::LAMBIC;
use crate::window::{self, Load, Target};
use crate::{CALLERS, RUNTIMES, contender};

/// One row: who runs in it, and how.
struct Cell {
    row: String,
    callers: usize,
    targets: Vec<Target>,
    mode: Mode,
}

pub fn run(bench: &mut Bench) -> Result<(), String> {
    let mut contender = contender::start(&bench.options, &bench.kit, &[])?;
    let (mut cells, mut field) = (Vec::new(), Vec::new());
    for runtime in RUNTIMES {
        for callers in CALLERS {
            let row = format!("warm {runtime} {callers}");
            let name = format!("{}-{callers}", runtime.replace('.', "-"));
            let mut targets = vec![contender.target(runtime, &name)?];
            for peer in start_peers(bench, &row, runtime, callers) {
                targets.push(peer.target.clone());
                field.push(peer);
            }
            cells.push(Cell { row, callers, targets, mode: Mode::Nice });
        }
    }
    for cell in &mut cells {
        choose_mode(bench, cell);
    }
    // Those whose first environments came meanwhile.
    priority::weigh_groups(&lambic_bench::proc::family(contender.pid()));
    rounds(bench, &mut cells);
    Ok(())
}

/// Those that can be started; of the others it is kept why not.
fn start_peers(bench: &mut Bench, row: &str, runtime: &'static str, callers: usize) -> Vec<Peer> {
    let workers = if callers == 1 { 1 } else { peers::processors() };
    let mut tried = vec![peers::floor(&bench.kit, runtime, workers).map(Some)];
    if callers == 1 {
        // The emulator serves one request at a time and refuses the others; lambda-local is one process.
        tried.push(peers::rie(&bench.kit, runtime).map(Some));
        if runtime == "Node.js" {
            tried.push(peers::local(&bench.kit));
        }
    }
    if runtime == "Rust" {
        tried.push(peers::watch(&bench.kit).map(Some));
    }
    let mut started = Vec::new();
    for one in tried {
        match one {
            Ok(peer) => started.extend(peer),
            Err(error) => bench.failed(row, &error),
        }
    }
    started
}

fn choose_mode(bench: &mut Bench, cell: &mut Cell) {
    let tried = match cell.callers {
        1 if !bench.options.nice_only => {
            window::try_real_time(&bench.kit, &cell.targets, Load::Callers(cell.callers))
        }
        1 => Err("it was not wanted".to_owned()),
        // Together they need more real-time runtime than groups can have.
        _ => Err("the environments of several callers would be throttled".to_owned()),
    };
    let text = match tried {
        Ok(()) => {
            cell.mode = Mode::RealTime;
            cell.mode.text().to_owned()
        }
        Err(error) => format!("{}, because real time is not to be had: {error}", cell.mode.text()),
    };
    bench.record.priorities.insert(cell.row.clone(), text);
}

fn rounds(bench: &mut Bench, cells: &mut [Cell]) {
    let mut round = 0;
    loop {
        let poorest = cells.iter().map(|cell| bench.record.accepted(&cell.row).len()).min().unwrap_or(0);
        let wanted = bench.options.rounds;
        // A refused round is made up for, but not for ever.
        if (round >= wanted && poorest >= wanted) || round >= 2 * wanted || !bench.has_time(round) {
            return;
        }
        bench.say(&format!("warm, round {}", round + 1));
        for cell in cells.iter_mut() {
            let mut broken = Vec::new();
            for index in 0..cell.targets.len() {
                let target = &cell.targets[(index + round) % cell.targets.len()];
                let load = Load::Callers(cell.callers);
                if bench.window(&cell.row, target, load, cell.mode, round).is_none() {
                    broken.push(target.name);
                }
            }
            // A peer that fails has no further rounds; the contender has to go on.
            cell.targets.retain(|one| one.name == LAMBIC || !broken.contains(&one.name));
        }
        round += 1;
    }
}
