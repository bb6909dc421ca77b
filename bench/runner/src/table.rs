//! What the windows say: medians of per-round ratios with their spread, as JSON and as a table.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::process::Command;

use lambic_bench::load::Outcome;
use lambic_bench::sign::{now_s, stamp};
use serde_json::{Value, json};

use crate::{CALLERS, Cold, Options, RUNTIMES, STARTS, Sample, Start};

/// A round counts for a cell when the floor's rate is within this share of its median.
const FLOOR_OFF_MAX: f64 = 0.30;
const PEERS: [&str; 3] = ["floor", "RIE", "cargo lambda watch"];
const MARKS: [&str; 2] = ["<!-- bench:begin -->", "<!-- bench:end -->"];

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => f64::NAN,
        count if count % 2 == 1 => values[middle],
        _ => f64::midpoint(values[middle - 1], values[middle]),
    }
}

fn find<'a>(samples: &'a [Sample], name: &str, cell: (&str, usize), round: usize) -> Option<&'a Outcome> {
    samples
        .iter()
        .find(|one| one.name == name && (one.runtime, one.callers) == cell && one.round == round)
        .map(|one| &one.outcome)
}

/// The rounds of a cell in which the floor was what it usually is.
fn accepted(samples: &[Sample], cell: (&str, usize)) -> Vec<usize> {
    let floors: Vec<(usize, f64)> = samples
        .iter()
        .filter(|one| one.name == "floor" && (one.runtime, one.callers) == cell)
        .map(|one| (one.round, one.outcome.rate))
        .collect();
    let usual = median(floors.iter().map(|(_, rate)| *rate).collect());
    floors
        .iter()
        .filter(|(_, rate)| (rate / usual - 1.0).abs() <= FLOOR_OFF_MAX)
        .map(|(round, _)| *round)
        .collect()
}

/// How many accepted rounds the poorest cell has.
pub fn accepted_min(samples: &[Sample]) -> usize {
    cells().map(|cell| accepted(samples, cell).len()).min().unwrap_or(0)
}

fn cells() -> impl Iterator<Item = (&'static str, usize)> {
    RUNTIMES.into_iter().flat_map(|runtime| CALLERS.into_iter().map(move |callers| (runtime, callers)))
}

/// Median, least and greatest of a figure of Lambic's over the same figure of a peer's, round by round.
struct Ratio {
    median: f64,
    least: f64,
    greatest: f64,
}

fn ratio(samples: &[Sample], peer: &str, cell: (&str, usize), figure: fn(&Outcome) -> f64) -> Option<Ratio> {
    let values: Vec<f64> = accepted(samples, cell)
        .into_iter()
        .filter_map(|round| {
            let ours = find(samples, "Lambic", cell, round)?;
            Some(figure(ours) / figure(find(samples, peer, cell, round)?))
        })
        .collect();
    if values.is_empty() {
        return None;
    }
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    let greatest = values.iter().copied().fold(0.0, f64::max);
    Some(Ratio { median: median(values), least, greatest })
}

fn figure_of(samples: &[Sample], name: &str, cell: (&str, usize), figure: fn(&Outcome) -> f64) -> f64 {
    let rounds = accepted(samples, cell);
    median(rounds.into_iter().filter_map(|round| find(samples, name, cell, round)).map(figure).collect())
}

/// Writes everything there is to write, and prints the table.
pub fn write(options: &Options, priority: i32, samples: &[Sample], cold: &[Cold]) -> Result<(), String> {
    let table = markdown(options, priority, samples, cold);
    println!("\n{table}");
    let out = options.root.join("bench/out");
    let text = |path: &Path, error: std::io::Error| format!("{}: {error}", path.display());
    std::fs::create_dir_all(&out).map_err(|error| text(&out, error))?;
    let document = document(priority, samples, cold);
    let document = serde_json::to_string_pretty(&document).map_err(|error| error.to_string())?;
    for name in [stamp(now_s()), "latest".to_owned()] {
        let path = out.join(format!("{name}.json"));
        std::fs::write(&path, &document).map_err(|error| text(&path, error))?;
    }
    if !options.only.is_empty() {
        return Ok(());
    }
    let page = options.root.join("docs/bench-table.md");
    std::fs::create_dir_all(options.root.join("docs")).map_err(|error| text(&page, error))?;
    std::fs::write(&page, &table).map_err(|error| text(&page, error))?;
    include(&options.root.join("README.md"), &table)
}

/// Puts the table between the README's marks, if it has them.
fn include(readme: &Path, table: &str) -> Result<(), String> {
    let Ok(text) = std::fs::read_to_string(readme) else { return Ok(()) };
    let (Some((before, rest)), [begin, end]) = (text.split_once(MARKS[0]), MARKS) else { return Ok(()) };
    let Some((_, after)) = rest.split_once(end) else { return Ok(()) };
    let text = format!("{before}{begin}\n{table}{end}{after}");
    std::fs::write(readme, text).map_err(|error| format!("{}: {error}", readme.display()))
}

fn document(priority: i32, samples: &[Sample], cold: &[Cold]) -> Value {
    let windows: Vec<Value> = samples
        .iter()
        .map(|one| {
            json!({"name": one.name, "runtime": one.runtime, "callers": one.callers, "round": one.round,
                   "accepted": accepted(samples, (one.runtime, one.callers)).contains(&one.round),
                   "outcome": one.outcome})
        })
        .collect();
    let cold: Vec<Value> = cold
        .iter()
        .map(|one| {
            json!({"name": one.name, "runtime": one.runtime, "start": format!("{:?}", one.start),
                   "round": one.round, "ms": one.ms})
        })
        .collect();
    json!({"at": stamp(now_s()), "machine": machine(priority), "load": load_average(), "windows": windows, "cold": cold})
}

fn markdown(options: &Options, priority: i32, samples: &[Sample], cold: &[Cold]) -> String {
    let mut text = String::new();
    // Writing into a String cannot fail.
    let rounds = samples.iter().map(|one| one.round + 1).max().unwrap_or(0);
    _ = writeln!(
        text,
        "Measured by `cargo xtask bench` on {}; {rounds} interleaved rounds, windows of {} ms, medians; \
         ratios are medians of per-round ratios with their range; rounds in which the \
         floor was off by more than 30 % are refused. Load average {}.\n",
        machine(priority),
        options.window_ms,
        load_average()
    );
    text.push_str("| warm | callers | Lambic p50 / p99 | rate | rate against RIE | against `cargo lambda watch` | p50 against the floor | rounds |\n");
    text.push_str("|---|---|---|---|---|---|---|---|\n");
    for cell in cells() {
        let ours = |figure| figure_of(samples, "Lambic", cell, figure);
        _ = writeln!(
            text,
            "| {} | {} | {:.0} / {:.0} µs | {:.1} k/s | {} | {} | {} | {} |",
            cell.0,
            cell.1,
            ours(|one| one.p50_us),
            ours(|one| one.p99_us),
            ours(|one| one.rate) / 1_000.0,
            shown(ratio(samples, "RIE", cell, |one| one.rate)),
            shown(ratio(samples, "cargo lambda watch", cell, |one| one.rate)),
            shown(ratio(samples, "floor", cell, |one| one.p50_us)),
            accepted(samples, cell).len(),
        );
    }
    text.push_str("\n| peers | callers | floor p50, rate | RIE p50, rate | `cargo lambda watch` p50, rate |\n|---|---|---|---|---|\n");
    for cell in cells() {
        _ = write!(text, "| {} | {} |", cell.0, cell.1);
        for peer in PEERS {
            let (p50, rate) = (
                figure_of(samples, peer, cell, |one| one.p50_us),
                figure_of(samples, peer, cell, |one| one.rate),
            );
            if p50.is_nan() {
                text.push_str(" – |");
            } else {
                _ = write!(text, " {p50:.0} µs, {:.1} k/s |", rate / 1_000.0);
            }
        }
        text.push('\n');
    }
    text.push_str("\n| cold: first invoke | Lambic, median (range) | RIE | ratio |\n|---|---|---|---|\n");
    for (runtime, start) in STARTS {
        let finds = match start {
            Start::SpareAtHand => ", a spare at hand",
            Start::Fresh if runtime == "Rust" => "",
            Start::Fresh => ", spares exhausted",
        };
        let ours = cold_of(cold, "Lambic", (runtime, start));
        let theirs = median(cold_of(cold, "RIE", (runtime, Start::Fresh)));
        let least = ours.iter().copied().fold(f64::INFINITY, f64::min);
        let greatest = ours.iter().copied().fold(0.0, f64::max);
        let ours = median(ours);
        _ = writeln!(
            text,
            "| {runtime}{finds} | {ours:.1} ms ({least:.1}–{greatest:.1}) | {theirs:.1} ms | {:.2} × |",
            ours / theirs
        );
    }
    text.push_str(
        "\nLambic runs each function in its full sandbox and verifies signatures; the peers do neither. RIE and the \
         floor run Python with AWS's client and Node.js with a minimal one on `http.Agent`. RIE serves one request \
         at a time, so it has no figure for 8 callers. The floor is a bound, not a product: an epoll loop that only \
         passes events on.\n",
    );
    text
}

fn cold_of(cold: &[Cold], name: &str, case: (&str, Start)) -> Vec<f64> {
    let of_case = cold.iter().filter(|one| one.name == name && (one.runtime, one.start) == case);
    of_case.map(|one| one.ms).collect()
}

fn shown(ratio: Option<Ratio>) -> String {
    match ratio {
        Some(Ratio { median, least, greatest }) => format!("**{median:.2} ×** ({least:.2}–{greatest:.2})"),
        None => "–".to_owned(),
    }
}

/// Processor, kernel and versions, in one line.
pub fn machine(priority: i32) -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let info = read("/proc/cpuinfo");
    let model =
        info.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("an unknown processor");
    let model = model.trim_start_matches(['\t', ' ', ':']);
    let kernel = read("/proc/sys/kernel/osrelease");
    let mut versions = BTreeMap::new();
    for (name, words) in [("Python", ["python3", "--version"]), ("Node.js", ["node", "--version"])] {
        let done = Command::new(words[0]).arg(words[1]).output();
        let text =
            done.map(|done| String::from_utf8_lossy(&done.stdout).trim().to_owned()).unwrap_or_default();
        versions.insert(name, text.trim_start_matches(name).trim().to_owned());
    }
    let versions: Vec<String> = versions.iter().map(|(name, version)| format!("{name} {version}")).collect();
    format!(
        "{} × {model}, Linux {}, {}, nice {priority}",
        crate::peers::processors(),
        kernel.trim(),
        versions.join(", ")
    )
}

/// The load averages, as the kernel words them.
pub fn load_average() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').take(3).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median(Vec::new()).is_nan());
    }

    #[test]
    fn a_round_with_a_strange_floor_is_refused() {
        let sample = |name, round, rate| Sample {
            name,
            runtime: "Rust",
            callers: 1,
            round,
            outcome: Outcome { rate, ..Outcome::default() },
        };
        let mut samples = Vec::new();
        for (round, floor) in [100.0, 105.0, 60.0, 98.0].into_iter().enumerate() {
            samples.push(sample("floor", round, floor));
            samples.push(sample("Lambic", round, 50.0 * (round + 1) as f64));
        }
        assert_eq!(accepted(&samples, ("Rust", 1)), [0, 1, 3]);
        let ratio = ratio(&samples, "floor", ("Rust", 1), |one| one.rate).unwrap();
        assert!(ratio.least == 0.5 && ratio.greatest > 2.0 && (ratio.median - 0.952).abs() < 0.01);
    }
}
