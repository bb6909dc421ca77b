//! The targets: what was wanted, what was measured, and whether it was reached.

use std::fmt::Write;

use lambic_bench::plot::short;
use lambic_bench::stats::{Spread, quantile};

use crate::parts::{burst, cold, memory, start};
use crate::peers;
use crate::record::{FLOOR, LAMBIC, Record};

/// One of them.
pub struct Verdict {
    /// What `bench/reasons.json` may explain.
    pub key: &'static str,
    pub what: String,
    pub target: String,
    pub measured: String,
    /// Nothing when it was not measured.
    pub reached: Option<bool>,
}

/// All of them, in the order in which they were set.
pub fn all(record: &Record) -> Vec<Verdict> {
    let mut verdicts = warm(record);
    verdicts.extend(cold_starts(record));
    verdicts.extend(bursts(record));
    verdicts.extend(memories(record));
    verdicts.extend(starts(record));
    verdicts
}

/// A bound from above or from below.
#[derive(Clone, Copy)]
enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

impl Bound {
    fn text(self) -> String {
        match self {
            Bound::AtMost(limit) => format!("≤ {}", short(limit)),
            Bound::AtLeast(limit) => format!("≥ {}", short(limit)),
        }
    }

    fn holds(self, value: f64) -> bool {
        match self {
            Bound::AtMost(limit) => value <= limit,
            Bound::AtLeast(limit) => value >= limit,
        }
    }
}

/// A median of per-round ratios against a bound.
fn ratio(
    key: &'static str,
    what: &str,
    found: Option<Spread>,
    bound: Bound,
    against: &str,
    own: Option<String>,
) -> Verdict {
    let target = format!("{} × {against}", bound.text());
    let measured = match found {
        Some(Spread { median, least, greatest }) => {
            let own = own.map(|text| format!("; {text}")).unwrap_or_default();
            format!("{median:.2} × ({least:.2}–{greatest:.2}){own}")
        }
        None => "not measured".to_owned(),
    };
    Verdict {
        key,
        what: what.to_owned(),
        target,
        measured,
        reached: found.map(|one| bound.holds(one.median)),
    }
}

fn warm(record: &Record) -> Vec<Verdict> {
    let own = |row: &str, figure: &str| {
        let spread = record.spread(row, LAMBIC, figure)?;
        Some(match figure {
            "rate" => format!("{} /s", short(spread.median)),
            _ => format!("{} µs", short(spread.median)),
        })
    };
    let of = |key, what: &str, row: &str, peer: &str, figure: &str, bound, against: &str| {
        ratio(key, what, record.ratio(row, peer, figure), bound, against, own(row, figure))
    };
    use Bound::{AtLeast, AtMost};
    let (rust, python, node) = ("warm Rust 1", "warm Python 1", "warm Node.js 1");
    let mut verdicts = vec![
        of("warm rust floor", "warm, Rust, 1 caller: p50", rust, FLOOR, "p50_us", AtMost(1.2), "floor"),
        of(
            "warm rust watch",
            "warm, Rust, 1 caller: rate",
            rust,
            peers::WATCH,
            "rate",
            AtLeast(1.6),
            "`cargo lambda watch`",
        ),
        of(
            "warm rust 8 watch",
            "warm, Rust, 8 callers: rate",
            "warm Rust 8",
            peers::WATCH,
            "rate",
            AtLeast(1.8),
            "`cargo lambda watch`",
        ),
        of(
            "warm python floor",
            "warm, Python, 1 caller: p50",
            python,
            FLOOR,
            "p50_us",
            AtMost(0.55),
            "floor with AWS's client",
        ),
        of(
            "warm python rie",
            "warm, Python, 1 caller: rate",
            python,
            peers::RIE,
            "rate",
            AtLeast(4.0),
            "RIE",
        ),
        of("warm node floor", "warm, Node.js, 1 caller: p50", node, FLOOR, "p50_us", AtMost(0.6), "floor"),
        of("warm node rie", "warm, Node.js, 1 caller: rate", node, peers::RIE, "rate", AtLeast(4.0), "RIE"),
        of(
            "cpu",
            "processor time of an invoke, Rust, 8 callers",
            "warm Rust 8",
            FLOOR,
            "cpu_us",
            AtMost(1.25),
            "floor",
        ),
    ];
    verdicts.push(tail(record));
    verdicts
}

/// Who falls behind has no tail worth telling, however flat it is.
fn tail(record: &Record) -> Verdict {
    let tail = record.spread("tail even", LAMBIC, "p99_over_p50");
    let random = record.spread("tail random", LAMBIC, "p99_over_p50");
    let keeps_up = record.spread("tail even", LAMBIC, "p50_over_full").is_some_and(|one| one.median <= 1.0);
    let measured = match tail {
        Some(Spread { median, least, greatest }) => {
            let behind = if keeps_up { "" } else { ", but it falls behind" };
            let random = random.map(|one| format!("; {:.2} with random arrivals", one.median));
            format!("{median:.2} ({least:.2}–{greatest:.2}){behind}{}", random.unwrap_or_default())
        }
        None => "not measured".to_owned(),
    };
    Verdict {
        key: "tail",
        what: "tail: p99/p50 at 70 % of the greatest rate, one of 1,000 takes 1,000 times as long".to_owned(),
        target: "≤ 2.5".to_owned(),
        measured,
        reached: tail.map(|one| one.median <= 2.5 && keeps_up),
    }
}

fn cold_starts(record: &Record) -> Vec<Verdict> {
    let with = [
        ("cold rust", "Rust", 1.2),
        ("cold ruby", "Ruby", 1.5),
        ("cold node", "Node.js", 2.0),
        ("cold python", "Python", 2.0),
        ("cold boto3", "Python with boto3", 3.0),
        ("cold java", "Java", 5.0),
    ];
    let without =
        [("fresh rust", "Rust", 3.0), ("fresh python", "Python", 4.0), ("fresh node", "Node.js", 7.0)];
    let mut verdicts = Vec::new();
    for (key, kind, limit) in with {
        let what = format!("cold, a spare at hand: {kind}");
        verdicts.push(one_cold(record, key, what, &cold::row(kind, true), limit, true));
    }
    for (key, kind, limit) in without {
        let what = format!("cold, spares exhausted: {kind}");
        verdicts.push(one_cold(record, key, what, &cold::row(kind, false), limit, false));
    }
    verdicts
}

fn one_cold(
    record: &Record,
    key: &'static str,
    what: String,
    row: &str,
    limit: f64,
    with_p99: bool,
) -> Verdict {
    let values = record.values(row, LAMBIC);
    let (p50, p99) = (quantile(&values, 0.5), quantile(&values, 0.99));
    let mut target = format!("p50 ≤ {} ms", short(limit));
    let mut reached = p50 <= limit;
    if with_p99 {
        target.push_str(", p99 ≤ 5 × p50");
        reached &= p99 <= 5.0 * p50;
    }
    let measured = match values.len() {
        0 => "not measured".to_owned(),
        count => {
            let rie = record.ratio(row, peers::RIE, "p50");
            let rie = rie.map(|one| format!(", {:.2} × RIE", one.median)).unwrap_or_default();
            format!("{p50:.2} ms, p99 {p99:.1} ms ({count} starts{rie})")
        }
    };
    Verdict { key, what, target, measured, reached: (!values.is_empty()).then_some(reached) }
}

fn bursts(record: &Record) -> Vec<Verdict> {
    let wanted = [
        ("burst rust", "Rust", 1_000.0),
        ("burst python", "Python", 500.0),
        ("burst node", "Node.js", 250.0),
    ];
    let of = |(key, kind, limit): (&'static str, &str, f64)| {
        let (row, unprepared) = (burst::row(kind), burst::unprepared(kind));
        let rate = record.spread(&row, LAMBIC, "rate");
        let sum = |figure| record.counted(&row, LAMBIC, figure).iter().map(|(_, value)| value).sum::<f64>();
        let (good, asked) = (sum("good"), sum("asked"));
        let middle = |row: &str, figure| record.spread(row, LAMBIC, figure).map(|one| one.median);
        let measured = match rate {
            Some(Spread { median, least, greatest }) => {
                let mut text = format!(
                    "{} /s ({}–{}), {good:.0} of {asked:.0} answered",
                    short(median),
                    short(least),
                    short(greatest)
                );
                if let (Some(waiting), Some(seconds)) = (middle(&row, "waiting"), middle(&row, "prepared_s"))
                {
                    _ = write!(text, "; {waiting:.0} waited, {seconds:.0} s after they were deployed");
                }
                if let (Some(rate), Some(waiting)) =
                    (middle(&unprepared, "rate"), middle(&unprepared, "waiting"))
                {
                    _ = write!(text, "; {} /s when {waiting:.0} waited", short(rate));
                }
                text
            }
            None => "not measured".to_owned(),
        };
        Verdict {
            key,
            what: format!(
                "burst: {} first invokes of as many environments at once, after their deployment, {kind}",
                burst::MANY
            ),
            target: format!("≥ {} /s, all answered", short(limit)),
            measured,
            reached: rate.map(|one| one.median >= limit && good >= asked),
        }
    };
    wanted.into_iter().map(of).collect()
}

fn memories(record: &Record) -> Vec<Verdict> {
    let wanted =
        [("memory rust", "Rust", 0.7), ("memory python", "Python", 2.6), ("memory node", "Node.js", 5.0)];
    let of = |(key, kind, limit): (&'static str, &str, f64)| {
        let values = record.values(&memory::row(kind), LAMBIC);
        let spread = Spread::of(&values);
        Verdict {
            key,
            what: format!("idle memory of an environment, the kernel's for it included: {kind}"),
            target: format!("≤ {} MB", short(limit)),
            measured: spread.map_or("not measured".to_owned(), |one| {
                format!(
                    "{:.2} MB ({:.2}–{:.2}, {} environments)",
                    one.median,
                    one.least,
                    one.greatest,
                    values.len()
                )
            }),
            reached: spread.map(|one| one.median <= limit),
        }
    };
    let mut verdicts: Vec<Verdict> = wanted.into_iter().map(of).collect();
    let figure = |name| record.spread(memory::HEALTH, LAMBIC, name).map(|one| one.median);
    let healthy = figure("answered_warm").map(|warm| warm as usize);
    verdicts.push(Verdict {
        key: "healthy",
        what: format!("{} idle environments on one machine stay healthy", short(memory::HEALTHY as f64)),
        target: "all answer again".to_owned(),
        measured: healthy.map_or("not measured (not in a quick run)".to_owned(), |warm| {
            format!(
                "{warm} answered from the environment that they had, p50 {:.2} ms, p99 {:.1} ms; server {:.0} MB",
                figure("thawed_p50_ms").unwrap_or(f64::NAN),
                figure("thawed_p99_ms").unwrap_or(f64::NAN),
                figure("server_mb").unwrap_or(f64::NAN)
            )
        }),
        reached: healthy.map(|warm| warm == memory::HEALTHY),
    });
    verdicts
}

fn starts(record: &Record) -> Vec<Verdict> {
    let first = |row| Spread::of(&record.values(row, LAMBIC));
    let (request, invoke) = (first(start::REQUEST), first(start::INVOKE));
    let ratio = record.ratio(start::INVOKE, peers::RIE, "p50");
    let request_text = request.map_or("not measured".to_owned(), |one| {
        let invoke = invoke.map(|one| format!("; to the first answered invoke {:.0} ms", one.median));
        let ratio = ratio.map(|one| format!(", {:.2} × RIE's", one.median));
        format!(
            "{:.0} ms ({:.0}–{:.0}){}{}",
            one.median,
            one.least,
            one.greatest,
            invoke.unwrap_or_default(),
            ratio.unwrap_or_default()
        )
    });
    let figure = |name| record.spread(start::MEMORY, LAMBIC, name).map(|one| one.median);
    let server = figure("server_mb");
    let server_text = server.map_or("not measured".to_owned(), |megabytes| {
        format!(
            "{megabytes:.1} MB; beside it {:.1} MB for {:.0} spares and the processes that wait",
            figure("waiting_mb").unwrap_or(f64::NAN),
            figure("spares").unwrap_or(f64::NAN)
        )
    });
    vec![
        Verdict {
            key: "start",
            what: "server: start to first answered request".to_owned(),
            target: "≤ 60 ms".to_owned(),
            measured: request_text,
            reached: request.map(|one| one.median <= 60.0),
        },
        Verdict {
            key: "server memory",
            what: format!(
                "server: idle memory with {} functions (PSS of its processes)",
                short(start::FUNCTIONS as f64)
            ),
            target: "≤ 25 MB".to_owned(),
            measured: server_text,
            reached: server.map(|megabytes| megabytes <= 25.0),
        },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Sample;

    #[test]
    fn nothing_measured_is_nothing_reached() {
        let verdicts = all(&Record::default());
        assert_eq!(verdicts.len(), 27);
        assert!(verdicts.iter().all(|one| one.reached != Some(true)));
        let mut keys: Vec<&str> = verdicts.iter().map(|one| one.key).collect();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), verdicts.len(), "each has a key of its own");
    }

    #[test]
    fn bounds_are_held_against_medians() {
        let mut record = Record::default();
        for (round, ours) in [110.0, 120.0, 140.0].into_iter().enumerate() {
            record.add(Sample::new("warm Rust 1", FLOOR, round, &[("rate", 10_000.0), ("p50_us", 100.0)]));
            record.add(Sample::new("warm Rust 1", LAMBIC, round, &[("rate", 8_000.0), ("p50_us", ours)]));
            record.add(Sample::new("warm Rust 1", peers::WATCH, round, &[("rate", 6_000.0)]));
        }
        let verdicts = all(&record);
        let of = |key: &str| verdicts.iter().find(|one| one.key == key).unwrap();
        assert_eq!((of("warm rust floor").reached, of("warm rust watch").reached), (Some(true), Some(false)));
        assert_eq!(of("warm rust floor").measured, "1.20 × (1.10–1.40); 120 µs");
    }

    #[test]
    fn who_falls_behind_has_no_good_tail() {
        let reached = |over: f64| {
            let mut record = Record::default();
            record.add(Sample::new(
                "tail even",
                LAMBIC,
                0,
                &[("p99_over_p50", 1.4), ("p50_over_full", over)],
            ));
            all(&record).iter().find(|one| one.key == "tail").unwrap().reached
        };
        assert_eq!((reached(0.4), reached(60.0)), (Some(true), Some(false)));
    }

    #[test]
    fn a_cold_start_has_two_bounds() {
        let mut record = Record::default();
        let mut values = vec![1.0; 50];
        record.add(Sample::with_values(&cold::row("Rust", true), LAMBIC, 0, &values));
        let reached =
            |record: &Record| all(record).iter().find(|one| one.key == "cold rust").unwrap().reached;
        assert_eq!(reached(&record), Some(true));
        values.extend([9.0; 5]);
        record.samples.clear();
        record.add(Sample::with_values(&cold::row("Rust", true), LAMBIC, 0, &values));
        assert_eq!(reached(&record), Some(false));
    }
}
