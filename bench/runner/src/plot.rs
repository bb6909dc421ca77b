//! Plots as SVG: one figure for one metric, a logarithmic scale, a dot for each median and a line for its
//! range.
//!
//! Written by hand because a library for plots takes longer to compile than all of the measurements.

use std::fmt::Write;

use crate::stats::Spread;

/// One figure.
pub struct Plot {
    pub title: String,
    /// What the scale counts, such as `µs`.
    pub unit: String,
    pub rows: Vec<Row>,
}

/// One line of the figure: a case, and what each competitor showed in it.
pub struct Row {
    pub label: String,
    pub points: Vec<(String, Spread)>,
}

const WIDTH: f64 = 860.0;
const LEFT: f64 = 250.0;
const RIGHT: f64 = 70.0;
const TOP: f64 = 78.0;
const LINE: f64 = 17.0;
const GAP: f64 = 9.0;
/// Distinguishable with most kinds of colour blindness (Okabe and Ito).
const COLOURS: [&str; 7] = ["#0072b2", "#555555", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"];

impl Plot {
    /// The figure; nothing when it has no point above zero.
    pub fn svg(&self) -> Option<String> {
        let spreads = || self.rows.iter().flat_map(|row| row.points.iter().map(|(_, spread)| *spread));
        let positive = |value: f64| (value > 0.0 && value.is_finite()).then_some(value);
        let least = spreads().filter_map(|one| positive(one.least)).fold(f64::INFINITY, f64::min);
        let greatest = spreads().filter_map(|one| positive(one.greatest)).fold(0.0, f64::max);
        if greatest == 0.0 {
            return None;
        }
        let scale = Scale::over(least, greatest);
        let lines: usize = self.rows.iter().map(|row| row.points.len()).sum();
        let bottom = TOP + lines as f64 * LINE + self.rows.len() as f64 * GAP;
        let mut svg = String::new();
        self.head(&mut svg, bottom + 34.0);
        scale.grid(&mut svg, bottom, &self.unit);
        self.points(&mut svg, &scale);
        svg.push_str("</svg>\n");
        Some(svg)
    }

    /// Competitors in the order in which they come first.
    fn series(&self) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        for (name, _) in self.rows.iter().flat_map(|row| &row.points) {
            if !names.contains(&name.as_str()) {
                names.push(name);
            }
        }
        names
    }

    // Writing into a String cannot fail, here and below.
    fn head(&self, svg: &mut String, height: f64) {
        _ = writeln!(
            svg,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" \
             height=\"{height}\" font-family=\"sans-serif\" font-size=\"12\">\n\
             <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
             <text x=\"12\" y=\"24\" font-size=\"15\" font-weight=\"bold\">{}</text>",
            escaped(&self.title)
        );
        let mut x = 12.0;
        for (index, name) in self.series().iter().enumerate() {
            let colour = COLOURS[index % COLOURS.len()];
            _ = writeln!(
                svg,
                "<circle cx=\"{:.1}\" cy=\"46\" r=\"5\" fill=\"{colour}\"/><text x=\"{:.1}\" y=\"50\">{}</text>",
                x + 5.0,
                x + 15.0,
                escaped(name)
            );
            x += 32.0 + name.chars().count() as f64 * 6.6;
        }
    }

    fn points(&self, svg: &mut String, scale: &Scale) {
        let series = self.series();
        let mut y = TOP;
        for row in &self.rows {
            let middle = y + row.points.len() as f64 * LINE / 2.0;
            _ = writeln!(
                svg,
                "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                LEFT - 12.0,
                middle + 4.0,
                escaped(&row.label)
            );
            for (name, spread) in &row.points {
                let index = series.iter().position(|one| one == name).unwrap_or(0);
                let (at, colour) = (y + LINE / 2.0, COLOURS[index % COLOURS.len()]);
                let (x, from, to) = (scale.x(spread.median), scale.x(spread.least), scale.x(spread.greatest));
                _ = writeln!(
                    svg,
                    "<line x1=\"{from:.1}\" y1=\"{at:.1}\" x2=\"{to:.1}\" y2=\"{at:.1}\" stroke=\"{colour}\" \
                     stroke-width=\"2\" opacity=\"0.5\"/><circle cx=\"{x:.1}\" cy=\"{at:.1}\" r=\"5\" \
                     fill=\"{colour}\"/><text x=\"{:.1}\" y=\"{:.1}\" font-size=\"11\" fill=\"#333\">{}</text>",
                    to.max(x) + 9.0,
                    at + 4.0,
                    short(spread.median)
                );
                y += LINE;
            }
            y += GAP;
        }
    }
}

/// A logarithmic scale over whole powers of ten, or of their halves and fifths.
struct Scale {
    from: f64,
    to: f64,
}

impl Scale {
    fn over(least: f64, greatest: f64) -> Scale {
        let from = *ticks(least / 10.0, least).last().unwrap_or(&least);
        let to = *ticks(greatest, greatest * 10.0).first().unwrap_or(&greatest);
        Scale { from, to: if to > from { to } else { from * 10.0 } }
    }

    fn x(&self, value: f64) -> f64 {
        let share = (value.max(self.from) / self.from).ln() / (self.to / self.from).ln();
        LEFT + share.min(1.0) * (WIDTH - LEFT - RIGHT)
    }

    fn grid(&self, svg: &mut String, bottom: f64, unit: &str) {
        for tick in ticks(self.from, self.to) {
            let x = self.x(tick);
            _ = writeln!(
                svg,
                "<line x1=\"{x:.1}\" y1=\"{:.1}\" x2=\"{x:.1}\" y2=\"{bottom:.1}\" stroke=\"#ddd\"/>\
                 <text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\" fill=\"#555\">{}</text>",
                TOP - 8.0,
                bottom + 16.0,
                short(tick)
            );
        }
        _ = writeln!(
            svg,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\" fill=\"#555\">{}, logarithmic</text>",
            WIDTH - 8.0,
            bottom + 30.0,
            escaped(unit)
        );
    }
}

/// 1, 2 and 5 times the powers of ten from here to there.
fn ticks(from: f64, to: f64) -> Vec<f64> {
    let mut found = Vec::new();
    let slack = 1e-9;
    for power in (from.log10().floor() as i32)..=(to.log10().ceil() as i32) {
        for step in [1.0, 2.0, 5.0] {
            let tick = step * 10f64.powi(power);
            if tick >= from * (1.0 - slack) && tick <= to * (1.0 + slack) {
                found.push(tick);
            }
        }
    }
    found
}

/// Three digits, thousands as `k`.
pub fn short(value: f64) -> String {
    match value {
        value if value >= 1e6 => format!("{}M", trimmed(value / 1e6)),
        value if value >= 1e4 => format!("{}k", trimmed(value / 1e3)),
        value => trimmed(value),
    }
}

fn trimmed(value: f64) -> String {
    let text = match value {
        value if value >= 100.0 => return format!("{value:.0}"),
        value if value >= 10.0 => format!("{value:.1}"),
        value => format!("{value:.2}"),
    };
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spread(median: f64, least: f64, greatest: f64) -> Spread {
        Spread { median, least, greatest }
    }

    #[test]
    fn ticks_are_round() {
        assert_eq!(ticks(1.0, 100.0), [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0]);
        assert_eq!(ticks(0.03, 0.4), [0.05, 0.1, 0.2]);
    }

    #[test]
    fn a_scale_is_logarithmic_and_holds_all() {
        let scale = Scale::over(3.0, 700.0);
        assert_eq!((scale.from, scale.to), (2.0, 1000.0));
        let steps = [scale.x(20.0) - scale.x(2.0), scale.x(200.0) - scale.x(20.0)];
        assert!((steps[0] - steps[1]).abs() < 1e-6 && steps[0] > 0.0);
        assert!(scale.x(0.0) >= LEFT && scale.x(1e9) <= WIDTH - RIGHT + 1e-6);
        let flat = Scale::over(5.0, 5.0);
        assert!(flat.x(5.0).is_finite() && flat.to > flat.from);
    }

    #[test]
    fn a_figure_shows_each_point_and_each_name_once() {
        let plot = Plot {
            title: "a < b & c".into(),
            unit: "ms".into(),
            rows: vec![
                Row {
                    label: "one".into(),
                    points: vec![
                        ("Lambic".into(), spread(2.0, 1.0, 3.0)),
                        ("floor".into(), spread(1.0, 1.0, 1.0)),
                    ],
                },
                Row { label: "two".into(), points: vec![("Lambic".into(), spread(40.0, 30.0, 55.0))] },
            ],
        };
        let svg = plot.svg().unwrap();
        assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n") && svg.contains("a &lt; b &amp; c"));
        // Two in the legend, three points.
        assert_eq!(svg.matches("<circle").count(), 5);
        assert_eq!(svg.matches(">Lambic<").count(), 1);
        assert_eq!(svg.matches("opacity").count(), 3);
        assert!(!svg.contains("NaN") && !svg.contains("inf"));
        let none = Plot { title: String::new(), unit: String::new(), rows: Vec::new() };
        assert!(none.svg().is_none());
    }

    #[test]
    fn short_figures() {
        assert_eq!([short(0.05), short(2.0), short(12.34), short(345.6)], ["0.05", "2", "12.3", "346"]);
        assert_eq!([short(9_876.0), short(12_345.0), short(2e6)], ["9876", "12.3k", "2M"]);
    }
}
