//! The runs that are compared, as Markdown and as a plot.

use std::fmt::Write as _;

use lambic_lambda::invoke::worth::PRICE;

use super::bound::{self, Bound, Levels};
use super::trace::{self, DAY, Trace};
use super::world::{self, Keeping, Machine, Outcome};

/// More than the day ever needs, in MB.
const NO_LIMIT: u64 = 1 << 40;
/// What is written stands between these in its file.
const BEGIN: &str = "<!-- sim: written by cargo xtask sim -->";
const END: &str = "<!-- /sim -->";

pub(crate) struct Report {
    pub(crate) text: String,
    pub(crate) plot: String,
}

struct Day {
    trace: Trace,
    levels: Vec<Levels>,
    bound: Bound,
}

impl Day {
    fn run(&self, memory_mb_max: u64, keeping: Keeping) -> Outcome {
        let machine = Machine { memory_mb_max, keeping, binds_early: false };
        world::run(&self.trace, &self.levels, machine)
    }
}

/// One point of a line of the plot: idle memory in GB, cold starts in percent.
type Point = (f64, f64);

pub(crate) fn make(seed: u64, functions: u32) -> Report {
    let trace = trace::make(seed, functions);
    let (levels, bound) = bound::of(&trace);
    let day = Day { trace, levels, bound };
    let fixed = day.run(NO_LIMIT, Keeping::Fixed { minutes: 10 });
    let mut text = String::new();
    say(
        &mut text,
        format_args!(
            "{} functions, {} invocations in 24 hours, seed {seed}.\n",
            day.trace.functions.len(),
            day.trace.calls.len(),
        ),
    );
    without_limit(&mut text, &day, &fixed);
    with_limits(&mut text, &day, &fixed);
    early_binding(&mut text, &day, &fixed);
    Report { text, plot: plot(&frontier(&day, &fixed)) }
}

fn say(text: &mut String, what: std::fmt::Arguments<'_>) {
    // Writing to a string does not fail.
    let _ = writeln!(text, "{what}");
}

fn gb(mb: f64) -> f64 {
    mb / 1_024.0
}

fn row(text: &mut String, name: &str, outcome: &Outcome) {
    say(
        text,
        format_args!(
            "| {name} | {:.3} % | {:.1} | {:.1} | {:.1} | {:.0} | {:.2} |",
            100.0 * outcome.cold_share(),
            gb(outcome.idle_mb),
            gb(outcome.memory_mb),
            gb(outcome.memory_mb_most as f64),
            outcome.wait_ms(0.999),
            outcome.wait_ms_mean(),
        ),
    );
}

const HEAD: &str = "\
| Policy | Cold starts | Idle memory, GB | All memory, GB | At most, GB | Wait p99.9, ms | Wait mean, ms |
|---|---|---|---|---|---|---|";

/// The price at which the product keeps as much idle memory as that, by halving.
fn price_for(day: &Day, idle_mb: f64) -> Outcome {
    let (mut low, mut high) = (PRICE / 32.0, PRICE * 32.0);
    let mut found = None;
    for _ in 0..8 {
        let price = (low * high).sqrt();
        let outcome = day.run(NO_LIMIT, Keeping::Priced { price });
        if outcome.idle_mb > idle_mb {
            low = price;
        } else {
            high = price;
            found = Some(outcome);
        }
    }
    found.unwrap_or_else(|| day.run(NO_LIMIT, Keeping::Priced { price: high }))
}

fn without_limit(text: &mut String, day: &Day, fixed: &Outcome) {
    say(text, format_args!("### Room for all\n\n{HEAD}"));
    row(text, "fixed, 10 minutes", fixed);
    row(text, "**by worth, an hour at most**", &day.run(NO_LIMIT, Keeping::Worth));
    row(text, "**by worth, priced to keep as much as fixed**", &price_for(day, fixed.idle_mb));
    let best = day.bound.cold_share(fixed.idle_mb, DAY);
    say(
        text,
        format_args!(
            "| no policy can have fewer with as much | {:.3} % | {:.1} | | | | |\n",
            100.0 * best,
            gb(fixed.idle_mb),
        ),
    );
}

fn with_limits(text: &mut String, day: &Day, fixed: &Outcome) {
    for percent in [25, 50, 75] {
        let limit = fixed.memory_mb_most * percent / 100;
        say(
            text,
            format_args!(
                "### At most {:.0} GB: {percent} % of what fixed takes with room for all\n\n{HEAD}",
                gb(limit as f64)
            ),
        );
        let runs = [
            ("fixed, 10 minutes", Keeping::Fixed { minutes: 10 }),
            ("until the room is needed, oldest first (LRU)", Keeping::Lru),
            ("until the room is needed, Greedy-Dual (FaasCache)", Keeping::GreedyDual),
            ("**by worth, as it is by default**", Keeping::Worth),
            ("**by worth, until the room is needed**", Keeping::Priced { price: 0.0 }),
            ("knows the future, farthest next use × size first", Keeping::Clairvoyant),
        ];
        let mut busy_mb = 0.0;
        for (name, keeping) in runs {
            let outcome = day.run(limit, keeping);
            busy_mb = outcome.memory_mb - outcome.idle_mb;
            row(text, name, &outcome);
            if outcome.refused > 0 {
                say(
                    text,
                    format_args!("| … refused for want of room | {} | | | | | |", outcome.refused),
                );
            }
        }
        let idle_mb = (limit as f64 - busy_mb).max(0.0);
        say(
            text,
            format_args!(
                "| no policy can have fewer | {:.3} % | {:.1} | | | | |\n",
                100.0 * day.bound.cold_share(idle_mb, DAY),
                gb(idle_mb),
            ),
        );
    }
}

fn early_binding(text: &mut String, day: &Day, fixed: &Outcome) {
    say(
        text,
        format_args!(
            "### Early binding\n\n\
         | Requests | Cold starts | Environments started | Waited and got one at work | In vain | \
         Memory, GB | Wait p99, ms | Wait p99.9, ms | Wait mean, ms |\n\
         |---|---|---|---|---|---|---|---|---|"
        ),
    );
    let half = fixed.memory_mb_most / 2;
    for (name, memory_mb_max, binds_early) in [
        ("half the room: start one at once", half, false),
        ("half the room: may wait for one at work", half, true),
        ("room for all: start one at once", NO_LIMIT, false),
        ("room for all: may wait for one at work", NO_LIMIT, true),
    ] {
        let machine = Machine { memory_mb_max, keeping: Keeping::Worth, binds_early };
        let outcome = world::run(&day.trace, &day.levels, machine);
        say(
            text,
            format_args!(
                "| {name} | {:.3} % | {} | {} | {} | {:.1} | {:.1} | {:.0} | {:.2} |",
                100.0 * outcome.cold_share(),
                outcome.starts,
                outcome.bound,
                outcome.disappointed,
                gb(outcome.memory_mb),
                outcome.wait_ms(0.99),
                outcome.wait_ms(0.999),
                outcome.wait_ms_mean(),
            ),
        );
    }
}

struct Line {
    name: &'static str,
    colour: &'static str,
    points: Vec<Point>,
}

/// Cold starts by the idle memory that is kept, room for all.
fn frontier(day: &Day, fixed: &Outcome) -> Vec<Line> {
    let point = |outcome: Outcome| (gb(outcome.idle_mb), 100.0 * outcome.cold_share());
    let minutes = [1, 2, 5, 10, 20, 40, 80];
    let fixed_line = minutes.map(|minutes| point(day.run(NO_LIMIT, Keeping::Fixed { minutes })));
    let prices = [8.0, 4.0, 2.0, 1.0, 0.5, 0.25, 0.125];
    let worth_line = prices.map(|times| {
        let price = PRICE * times;
        point(day.run(NO_LIMIT, Keeping::Priced { price }))
    });
    let best = (1..=60).map(|step| {
        let idle_mb = fixed.idle_mb * f64::from(step) / 20.0;
        (gb(idle_mb), 100.0 * day.bound.cold_share(idle_mb, DAY))
    });
    vec![
        Line { name: "fixed: 1 to 80 minutes", colour: "#c0392b", points: fixed_line.into() },
        Line { name: "by worth, at several prices", colour: "#2166ac", points: worth_line.into() },
        Line { name: "the best that is possible", colour: "#777777", points: best.collect() },
    ]
}

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 420.0;
const LEFT: f64 = 64.0;
const BOTTOM: f64 = 48.0;
const TOP: f64 = 20.0;
const RIGHT: f64 = 20.0;

/// Cold starts on a logarithmic scale over idle memory.
fn plot(lines: &[Line]) -> String {
    let all = || lines.iter().flat_map(|line| line.points.iter());
    let most_gb = lines[0].points.iter().map(|point| point.0).fold(1.0, f64::max);
    let most = all().map(|point| point.1).fold(0.1, f64::max).log10().ceil();
    let least = all().map(|point| point.1.max(1e-3)).fold(100.0, f64::min).log10().floor();
    let x = |gb: f64| LEFT + gb / most_gb * (WIDTH - LEFT - RIGHT);
    let y = |percent: f64| {
        TOP + (most - percent.max(1e-3).log10()) / (most - least) * (HEIGHT - TOP - BOTTOM)
    };
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"white\"/>\n"
    );
    for decade in (least as i32)..=(most as i32) {
        let (at, percent) = (y(10_f64.powi(decade)), 10_f64.powi(decade));
        say(
            &mut svg,
            format_args!(
                "<line x1=\"{LEFT}\" x2=\"{:.0}\" y1=\"{at:.1}\" y2=\"{at:.1}\" stroke=\"#dddddd\"/>\
             <text x=\"{:.0}\" y=\"{:.1}\" text-anchor=\"end\">{percent} %</text>",
                WIDTH - RIGHT,
                LEFT - 6.0,
                at + 4.0,
            ),
        );
    }
    for step in 0..=5 {
        let gb = most_gb * f64::from(step) / 5.0;
        say(
            &mut svg,
            format_args!(
                "<text x=\"{:.0}\" y=\"{:.0}\" text-anchor=\"middle\">{gb:.0}</text>",
                x(gb),
                HEIGHT - BOTTOM + 18.0,
            ),
        );
    }
    say(
        &mut svg,
        format_args!(
            "<text x=\"{:.0}\" y=\"{:.0}\" text-anchor=\"middle\">idle memory kept, GB on average</text>",
            (LEFT + WIDTH - RIGHT) / 2.0,
            HEIGHT - 10.0,
        ),
    );
    for (at, line) in lines.iter().enumerate() {
        let inside = line.points.iter().filter(|point| point.0 <= most_gb);
        let points: Vec<String> =
            inside.map(|(gb, percent)| format!("{:.1},{:.1}", x(*gb), y(*percent))).collect();
        let legend = TOP + 16.0 + 18.0 * at as f64;
        say(
            &mut svg,
            format_args!(
                "<polyline fill=\"none\" stroke=\"{0}\" stroke-width=\"2\" points=\"{1}\"/>\
             <text x=\"{2:.0}\" y=\"{legend:.0}\" text-anchor=\"end\" fill=\"{0}\">{3}</text>",
                line.colour,
                points.join(" "),
                WIDTH - RIGHT - 8.0,
                line.name,
            ),
        );
    }
    svg.push_str("</svg>\n");
    svg
}

/// Puts the text between the marks of the file.
pub(crate) fn insert(file: &str, text: &str) -> Result<(), String> {
    let before = std::fs::read_to_string(file).map_err(|error| format!("{file}: {error}"))?;
    let begin = before.find(BEGIN).ok_or_else(|| format!("{file} has no line {BEGIN}"))?;
    let end = before.find(END).ok_or_else(|| format!("{file} has no line {END}"))?;
    let after = format!("{}{BEGIN}\n\n{}\n\n{}", &before[..begin], text.trim_end(), &before[end..]);
    std::fs::write(file, after).map_err(|error| format!("{file}: {error}"))
}
