//! The tables of a run as Markdown: the targets, and below them what everybody showed.

use std::collections::BTreeMap;
use std::fmt::Write;

use lambic_bench::plot::short;
use lambic_bench::stats::{Spread, quantile};

use crate::parts::{burst, cold, memory, tail};
use crate::peers::{LOCAL, RIE, WATCH};
use crate::record::{FLOOR, LAMBIC, Record};
use crate::targets::{self, Verdict};
use crate::{CALLERS, RUNTIMES};

/// The whole page. Writing into a String cannot fail, here and below.
pub fn page(record: &Record, reasons: Option<&BTreeMap<String, String>>) -> String {
    let mut text = intro(record);
    text.push_str(&verdicts(&targets::all(record), reasons));
    warm(record, &mut text);
    cold_starts(record, &mut text);
    others(record, &mut text);
    text.push_str(
        "\nLambic runs each function in its full sandbox, with limits, logs and metering, and verifies signatures; \
         the peers do none of it. All run the same interpreters; RIE and the floor run Python with AWS's client and \
         Node.js with a minimal one on `http.Agent`. RIE and `lambda-local` serve one request at a time. The floor \
         is a bound, not a product: an epoll loop that only passes events on.\n",
    );
    text
}

fn intro(record: &Record) -> String {
    let rounds = record.rounds("warm Rust 1");
    let mut text = format!(
        "Measured by `cargo xtask bench{}` on {}; load average {} before and {} after. {} interleaved rounds ({} \
         counted), windows of {} ms; figures are medians, ratios medians of per-round ratios with their range; \
         rounds in which the floor was off by more than 30 % are refused. The load generator had at most {:.0} % of \
         a processor.",
        if record.quick { " --quick" } else { "" },
        record.machine,
        record.load[0],
        record.load[1],
        rounds.0,
        rounds.1,
        record.window_ms,
        record.generator_max() * 100.0
    );
    for (how, rows) in priorities(record) {
        _ = write!(text, " Run at {how}: {}.", rows.join(", "));
    }
    if !record.failures.is_empty() {
        let failed: Vec<&str> = record.failures.keys().map(String::as_str).collect();
        _ = write!(text, " **Failed**: {}.", failed.join("; "));
    }
    text.push_str("\n\n");
    text
}

/// The rows by how they were run; the rest ran as everything does.
fn priorities(record: &Record) -> Vec<(&str, Vec<&str>)> {
    let mut by: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (row, how) in &record.priorities {
        let how = how.split(", because").next().unwrap_or(how);
        by.entry(how).or_default().push(row);
    }
    let mut found: Vec<(&str, Vec<&str>)> = by.into_iter().collect();
    if let Some((_, rows)) = found.iter_mut().find(|(how, _)| how.starts_with("nice")) {
        rows.push("everything else");
    }
    found
}

/// The table of the targets; with reasons, it has a column for why some are not reached.
pub fn verdicts(verdicts: &[Verdict], reasons: Option<&BTreeMap<String, String>>) -> String {
    let why = reasons.is_some();
    let mut text = String::from("| what | target | measured | reached |");
    text.push_str(if why { " why not |\n|---|---|---|---|---|\n" } else { "\n|---|---|---|---|\n" });
    for one in verdicts {
        let reached = match one.reached {
            Some(true) => "yes",
            Some(false) => "**no**",
            None => "–",
        };
        _ = write!(text, "| {} | {} | {} | {reached} |", one.what, one.target, one.measured);
        if let Some(reasons) = reasons {
            let reason = reasons.get(one.key).filter(|_| one.reached == Some(false));
            _ = write!(text, " {} |", reason.map_or("", String::as_str));
        }
        text.push('\n');
    }
    text
}

fn warm(record: &Record, text: &mut String) {
    let cells = || RUNTIMES.into_iter().flat_map(|runtime| CALLERS.map(|callers| (runtime, callers)));
    if cells().all(|(runtime, callers)| record.rounds(&format!("warm {runtime} {callers}")).0 == 0) {
        return;
    }
    text.push_str(
        "\n| warm | callers | Lambic p50 / p99 | rate | CPU per invoke | rate against RIE | against `cargo lambda watch` \
         | p50 against the floor | rounds |\n|---|---|---|---|---|---|---|---|---|\n",
    );
    for (runtime, callers) in cells() {
        let row = format!("warm {runtime} {callers}");
        let ours = |figure| record.spread(&row, LAMBIC, figure).map(|one| one.median);
        _ = writeln!(
            text,
            "| {runtime} | {callers} | {} / {} µs | {} /s | {} µs | {} | {} | {} | {} |",
            figure(ours("p50_us")),
            figure(ours("p99_us")),
            figure(ours("rate")),
            figure(ours("cpu_us")),
            shown(record.ratio(&row, RIE, "rate")),
            shown(record.ratio(&row, WATCH, "rate")),
            shown(record.ratio(&row, FLOOR, "p50_us")),
            record.rounds(&row).1,
        );
    }
    text.push_str("\n| peers: p50, rate | callers | floor | RIE | `cargo lambda watch` | `lambda-local` |\n|---|---|---|---|---|---|\n");
    for (runtime, callers) in cells() {
        let row = format!("warm {runtime} {callers}");
        _ = write!(text, "| {runtime} | {callers} |");
        for peer in [FLOOR, RIE, WATCH, LOCAL] {
            match (record.spread(&row, peer, "p50_us"), record.spread(&row, peer, "rate")) {
                (Some(p50), Some(rate)) => {
                    _ = write!(text, " {} µs, {} /s |", short(p50.median), short(rate.median));
                }
                _ => text.push_str(" – |"),
            }
        }
        text.push('\n');
    }
}

fn cold_starts(record: &Record, text: &mut String) {
    let measured = |kind: &&str| !record.values(&cold::row(kind, true), LAMBIC).is_empty();
    if !crate::contender::KINDS.iter().any(measured) {
        return;
    }
    text.push_str("\n| cold, to the first byte of the answer | p50 | p90 | p99 | starts | RIE p50 | ratio |\n|---|---|---|---|---|---|---|\n");
    for kind in crate::contender::KINDS {
        for spare in [true, false] {
            let row = cold::row(kind, spare);
            let values = record.values(&row, LAMBIC);
            if values.is_empty() {
                continue;
            }
            let at = |share| quantile(&values, share);
            _ = writeln!(
                text,
                "| {} | {:.2} ms | {:.2} ms | {:.2} ms | {} | {} ms | {} |",
                row.trim_start_matches("cold "),
                at(0.5),
                at(0.9),
                at(0.99),
                values.len(),
                figure(record.spread(&row, RIE, "p50").map(|one| one.median)),
                shown(record.ratio(&row, RIE, "p50")),
            );
        }
    }
}

fn others(record: &Record, text: &mut String) {
    let before = text.len();
    text.push_str("\n| more | Lambic | beside it |\n|---|---|---|\n");
    let empty = text.len();
    for (kind, row) in
        RUNTIMES.iter().flat_map(|kind| [(*kind, burst::row(kind)), (*kind, burst::unprepared(kind))])
    {
        let of = |name| record.spread(&row, name, "rate").map(|one| format!("{} /s", short(one.median)));
        let Some(ours) = of(LAMBIC) else { continue };
        let beside =
            [burst::EXEC, burst::FORK].into_iter().filter_map(|name| Some(format!("{name}: {}", of(name)?)));
        let ms =
            |name| record.spread(&row, LAMBIC, name).map_or("–".to_owned(), |one| micros(one.median * 1e3));
        let (half, last) = (ms("half_ms"), ms("last_ms"));
        let waiting = record.spread(&row, LAMBIC, "waiting");
        let waiting = waiting.map(|one| format!(", {} waiting", short(one.median))).unwrap_or_default();
        _ = writeln!(
            text,
            "| burst of {}, {kind}{waiting} | {ours}, half of them after {half}, the last after {last} | {} |",
            burst::MANY,
            beside.collect::<Vec<_>>().join(", ")
        );
    }
    for kind in RUNTIMES {
        let row = memory::row(kind);
        let of = |name| Spread::of(&record.values(&row, name)).map(|one| format!("{:.2} MB", one.median));
        let Some(ours) = of(LAMBIC) else { continue };
        let beside = of(memory::PLAIN).map(|plain| format!("{}: {plain}", memory::PLAIN));
        _ = writeln!(text, "| idle memory, {kind} | {ours} | {} |", beside.unwrap_or_default());
    }
    for (row, _) in tail::ROWS {
        let of = |name: &str| {
            let figure = |figure| Some(record.spread(row, name, figure)?.median);
            let (p50, p99) = (figure("p50_us")?, figure("p99_us")?);
            Some(format!(
                "p50 {} µs, p99 {} µs, ratio {:.2}",
                short(p50),
                short(p99),
                figure("p99_over_p50")?
            ))
        };
        let Some(ours) = of(LAMBIC) else { continue };
        let beside = [FLOOR, WATCH].into_iter().filter_map(|name| Some(format!("{name}: {}", of(name)?)));
        let what = row.replace("tail ", "tail at 70 %, arrivals ");
        _ = writeln!(text, "| {what} | {ours} | {} |", beside.collect::<Vec<_>>().join("; "));
    }
    if text.len() == empty {
        text.truncate(before);
    }
}

/// A time with the unit that suits it.
fn micros(value: f64) -> String {
    match value {
        value if value >= 1e6 => format!("{} s", short(value / 1e6)),
        value if value >= 1e4 => format!("{} ms", short(value / 1e3)),
        value => format!("{} µs", short(value)),
    }
}

fn figure(value: Option<f64>) -> String {
    value.map_or("–".to_owned(), short)
}

fn shown(ratio: Option<Spread>) -> String {
    match ratio {
        Some(Spread { median, least, greatest }) => format!("**{median:.2} ×** ({least:.2}–{greatest:.2})"),
        None => "–".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Sample;

    fn record() -> Record {
        let mut record = Record { machine: "2 × a processor".into(), window_ms: 800, ..Record::default() };
        for round in 0..5 {
            let figures = [("rate", 9_000.0), ("p50_us", 100.0), ("p99_us", 180.0), ("generator", 0.3)];
            record.add(Sample::new("warm Rust 1", FLOOR, round, &figures));
            let figures =
                [("rate", 8_000.0 + round as f64), ("p50_us", 110.0), ("p99_us", 200.0), ("cpu_us", 99.0)];
            record.add(Sample::new("warm Rust 1", LAMBIC, round, &figures));
            record.add(Sample::with_values(&cold::row("Python", true), LAMBIC, round, &[1.5, 2.5]));
        }
        record.priorities.insert("warm Rust 1".into(), "real time (SCHED_FIFO)".into());
        record.priorities.insert("warm Rust 8".into(), "nice -20, because of a long story".into());
        record.failures.insert("memory Rust".into(), "no groups".into());
        record
    }

    #[test]
    fn the_page_has_all_tables_and_whole_rows() {
        let page = page(&record(), None);
        assert!(
            page.contains(
                "| Rust | 1 | 110 / 200 µs | 8002 /s | 99 µs | – | – | **1.10 ×** (1.10–1.10) | 5 |"
            ),
            "{page}"
        );
        assert!(page.contains("| Python, a spare at hand | 2.00 ms |"), "{page}");
        assert!(page.contains("Run at real time (SCHED_FIFO): warm Rust 1."));
        assert!(page.contains("Run at nice -20: warm Rust 8, everything else."));
        assert!(page.contains("**Failed**: memory Rust."));
        for (number, line) in page.lines().enumerate().filter(|(_, line)| line.starts_with('|')) {
            let next = page.lines().nth(number + 1).filter(|next| next.starts_with('|'));
            let columns = |line: &str| line.matches('|').count();
            assert!(next.is_none_or(|next| columns(next) == columns(line)), "{line}");
        }
    }

    #[test]
    fn times_have_the_unit_that_suits_them() {
        assert_eq!([micros(232.0), micros(60_100.0), micros(18_500_000.0)], ["232 µs", "60.1 ms", "18.5 s"]);
    }

    #[test]
    fn reasons_stand_where_a_target_is_missed() {
        let reasons = BTreeMap::from([
            ("cold java".to_owned(), "slow Java.".to_owned()),
            ("warm rust floor".to_owned(), "not to be shown.".to_owned()),
        ]);
        let mut record = record();
        record.add(Sample::with_values(&cold::row("Java", true), LAMBIC, 0, &[9.0, 9.5]));
        let text = verdicts(&targets::all(&record), Some(&reasons));
        assert!(text.contains("slow Java.") && !text.contains("not to be shown."));
        assert!(
            text.starts_with("| what | target | measured | reached | why not |\n|---|---|---|---|---|\n")
        );
    }
}
