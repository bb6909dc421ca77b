//! The figures of a run: one for each metric.

use lambic_bench::plot::{Plot, Row};
use lambic_bench::stats::{Spread, quantile};

use crate::parts::{burst, cold, memory, start, tail};
use crate::peers::{LOCAL, RIE, WATCH};
use crate::record::{FLOOR, LAMBIC, Record};
use crate::{CALLERS, RUNTIMES, contender};

/// Name of the file and what is in it.
pub fn all(record: &Record) -> Vec<(&'static str, String)> {
    let plots = [
        ("warm-latency", warm(record, "p50_us", "Warm invoke: median latency", "µs")),
        ("warm-p99", warm(record, "p99_us", "Warm invoke: 99th percentile", "µs")),
        ("warm-rate", warm(record, "rate", "Warm invokes in a second", "1/s")),
        ("cpu", warm(record, "cpu_us", "Processor time of a warm invoke", "µs")),
        (
            "tail",
            of_figures(
                record,
                "Tail at 70 % of the greatest rate: p99 over p50",
                "ratio",
                "p99_over_p50",
                &tails(),
            ),
        ),
        ("cold", cold_starts(record)),
        (
            "burst",
            of_figures(
                record,
                "Burst of 500 first invokes: environments in a second",
                "1/s",
                "rate",
                &bursts(),
            ),
        ),
        ("memory", of_values(record, "Idle memory of an environment", "MB", &memories())),
        ("start", of_values(record, "Start of the server to its first answer", "ms", &starts())),
    ];
    plots.into_iter().filter_map(|(name, plot)| Some((name, plot.svg()?))).collect()
}

/// A row's name, its label and the competitors that it shows.
type Line = (String, String, Vec<&'static str>);

fn tails() -> Vec<Line> {
    tail::ROWS
        .map(|(row, _)| (row.to_owned(), row.replace("tail ", "arrivals "), vec![LAMBIC, FLOOR, WATCH]))
        .into()
}

/// The floor has a part in these rows as a probe only.
fn bursts() -> Vec<Line> {
    RUNTIMES.map(|kind| (burst::row(kind), kind.to_owned(), vec![LAMBIC, burst::EXEC, burst::FORK])).into()
}

fn memories() -> Vec<Line> {
    RUNTIMES.map(|kind| (memory::row(kind), kind.to_owned(), vec![LAMBIC, memory::PLAIN])).into()
}

fn starts() -> Vec<Line> {
    [(start::REQUEST, "first request"), (start::INVOKE, "first invoke")]
        .map(|(row, label)| (row.to_owned(), label.to_owned(), vec![LAMBIC, RIE]))
        .into()
}

fn warm(record: &Record, figure: &str, title: &str, unit: &str) -> Plot {
    let mut lines = Vec::new();
    for runtime in RUNTIMES {
        for callers in CALLERS {
            let label = format!("{runtime}, {callers} {}", if callers == 1 { "caller" } else { "callers" });
            lines.push((format!("warm {runtime} {callers}"), label, vec![LAMBIC, FLOOR, RIE, WATCH, LOCAL]));
        }
    }
    of_figures(record, title, unit, figure, &lines)
}

fn of_figures(record: &Record, title: &str, unit: &str, figure: &str, lines: &[Line]) -> Plot {
    plot(title, unit, lines, |row, name| record.spread(row, name, figure))
}

fn of_values(record: &Record, title: &str, unit: &str, lines: &[Line]) -> Plot {
    plot(title, unit, lines, |row, name| Spread::of(&record.values(row, name)))
}

/// From the median to the 99th percentile, since that is what counts of a start.
fn cold_starts(record: &Record) -> Plot {
    let mut lines = Vec::new();
    for kind in contender::KINDS {
        for spare in [true, false] {
            let row = cold::row(kind, spare);
            lines.push((row.clone(), row.trim_start_matches("cold ").to_owned(), vec![LAMBIC, RIE]));
        }
    }
    plot(
        "Cold start: median, and the range from the 1st to the 99th percentile",
        "ms",
        &lines,
        |row, name| {
            let values = record.values(row, name);
            let at = |share| quantile(&values, share);
            (!values.is_empty()).then(|| Spread { median: at(0.5), least: at(0.01), greatest: at(0.99) })
        },
    )
}

fn plot(title: &str, unit: &str, lines: &[Line], of: impl Fn(&str, &str) -> Option<Spread>) -> Plot {
    let mut rows = Vec::new();
    for (row, label, names) in lines {
        let points: Vec<(String, Spread)> =
            names.iter().filter_map(|name| Some(((*name).to_owned(), of(row, name)?))).collect();
        // Where Lambic was not measured, others say nothing.
        if points.iter().any(|(name, _)| name == LAMBIC) {
            rows.push(Row { label: label.clone(), points });
        }
    }
    Plot { title: title.to_owned(), unit: unit.to_owned(), rows }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Sample;

    #[test]
    fn there_is_a_figure_for_what_was_measured_only() {
        let mut record = Record::default();
        assert!(all(&record).is_empty());
        record.add(Sample::new("warm Rust 1", LAMBIC, 0, &[("p50_us", 100.0), ("rate", 9_000.0)]));
        record.add(Sample::with_values(&cold::row("Rust", true), LAMBIC, 0, &[1.0, 2.0]));
        record.add(Sample::new("warm Python 1", FLOOR, 0, &[("p50_us", 100.0)]));
        let found = all(&record);
        let names: Vec<&str> = found.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, ["warm-latency", "warm-rate", "cold"]);
        assert!(!found[0].1.contains("Python"), "a row without the contender is none");
    }
}
