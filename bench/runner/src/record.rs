//! What a run has measured: everything that tables and plots are made of, and what is kept as JSON.

use std::collections::BTreeMap;
use std::path::Path;

use lambic_bench::stats::{self, Spread};
use serde::{Deserialize, Serialize};

/// The contender's name in samples.
pub const LAMBIC: &str = "Lambic";
/// The bound's.
pub const FLOOR: &str = "floor";

/// A whole run.
#[derive(Default, Deserialize, Serialize)]
pub struct Record {
    pub at: String,
    /// The commit that was measured, where it is known.
    pub commit: String,
    pub machine: String,
    pub quick: bool,
    pub window_ms: u64,
    /// Load averages when it began and when it ended.
    pub load: [String; 2],
    /// How the windows of a row were run, and why not at real time.
    pub priorities: BTreeMap<String, String>,
    /// Parts that ran to their end.
    pub done: Vec<String>,
    /// What failed, by part or row.
    pub failures: BTreeMap<String, String>,
    pub samples: Vec<Sample>,
}

/// One competitor in one row and one round.
#[derive(Clone, Default, Deserialize, Serialize)]
pub struct Sample {
    /// Such as `warm Rust 1`.
    pub row: String,
    pub name: String,
    pub round: usize,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub figures: BTreeMap<String, f64>,
    /// Single measurements, where there are several in a round.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<f64>,
}

impl Sample {
    pub fn new(row: &str, name: &str, round: usize, figures: &[(&str, f64)]) -> Sample {
        let figures = figures.iter().map(|(name, value)| ((*name).to_owned(), rounded(*value))).collect();
        Sample { row: row.to_owned(), name: name.to_owned(), round, figures, values: Vec::new() }
    }

    pub fn with_values(row: &str, name: &str, round: usize, values: &[f64]) -> Sample {
        let values = values.iter().map(|value| rounded(*value)).collect();
        Sample { values, ..Sample::new(row, name, round, &[]) }
    }
}

/// Five digits are more than any of them is good for.
fn rounded(value: f64) -> f64 {
    if value == 0.0 || !value.is_finite() {
        return 0.0;
    }
    let step = 10f64.powi(value.abs().log10().floor() as i32 - 4);
    let rounded = (value / step).round() * step;
    // As short in JSON as it can be.
    format!("{rounded:.4}").parse().unwrap_or(rounded)
}

impl Record {
    pub fn add(&mut self, sample: Sample) {
        self.samples.push(sample);
    }

    fn of<'a>(&'a self, row: &'a str, name: &'a str) -> impl Iterator<Item = &'a Sample> {
        self.samples.iter().filter(move |one| one.row == row && one.name == name)
    }

    /// The rounds of a row that count: all, unless the floor was measured in it and was off.
    pub fn accepted(&self, row: &str) -> Vec<usize> {
        let floors = self.figures(row, FLOOR, "rate");
        if !floors.is_empty() {
            return stats::accepted(&floors);
        }
        let mut rounds: Vec<usize> =
            self.samples.iter().filter(|one| one.row == row).map(|one| one.round).collect();
        rounds.sort_unstable();
        rounds.dedup();
        rounds
    }

    /// A figure of each round, refused ones too.
    fn figures(&self, row: &str, name: &str, figure: &str) -> Vec<(usize, f64)> {
        self.of(row, name).filter_map(|one| Some((one.round, *one.figures.get(figure)?))).collect()
    }

    /// A figure of each round that counts. `p50` and `p99` of single measurements are made here.
    pub fn counted(&self, row: &str, name: &str, figure: &str) -> Vec<(usize, f64)> {
        let rounds = self.accepted(row);
        let mut found = self.figures(row, name, figure);
        if found.is_empty() {
            let share = if figure == "p99" { 0.99 } else { 0.5 };
            let with_values = self.of(row, name).filter(|one| !one.values.is_empty());
            found = with_values.map(|one| (one.round, stats::quantile(&one.values, share))).collect();
        }
        found.retain(|(round, _)| rounds.contains(round));
        found
    }

    /// Median and range of a figure over the rounds that count.
    pub fn spread(&self, row: &str, name: &str, figure: &str) -> Option<Spread> {
        Spread::of(&self.counted(row, name, figure).into_iter().map(|(_, value)| value).collect::<Vec<_>>())
    }

    /// Lambic's figure over a peer's, round by round.
    pub fn ratio(&self, row: &str, peer: &str, figure: &str) -> Option<Spread> {
        self.ratio_of(row, LAMBIC, peer, figure)
    }

    pub fn ratio_of(&self, row: &str, name: &str, peer: &str, figure: &str) -> Option<Spread> {
        Spread::of(&stats::ratios(&self.counted(row, name, figure), &self.counted(row, peer, figure)))
    }

    /// All single measurements of the rounds that count.
    pub fn values(&self, row: &str, name: &str) -> Vec<f64> {
        let rounds = self.accepted(row);
        self.of(row, name)
            .filter(|one| rounds.contains(&one.round))
            .flat_map(|one| one.values.clone())
            .collect()
    }

    /// How many rounds a row has, and how many of them count.
    pub fn rounds(&self, row: &str) -> (usize, usize) {
        let all =
            self.samples.iter().filter(|one| one.row == row).map(|one| one.round + 1).max().unwrap_or(0);
        (all, self.accepted(row).len())
    }

    /// The greatest share of a processor that the load generator had in any window.
    pub fn generator_max(&self) -> f64 {
        self.samples.iter().filter_map(|one| one.figures.get("generator")).copied().fold(0.0, f64::max)
    }

    /// # Errors
    /// When the file cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), String> {
        let text = serde_json::to_string(self).map_err(|error| error.to_string())?;
        // A line for each sample, so that a change is a change of some lines.
        let text = text.replace("{\"row\":", "\n{\"row\":");
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        }
        std::fs::write(path, text + "\n").map_err(|error| format!("{}: {error}", path.display()))
    }

    /// # Errors
    /// When there is no such file, or it is none.
    pub fn load(path: &Path) -> Result<Record, String> {
        let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
        serde_json::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        let mut record = Record::default();
        for (round, (floor, ours)) in
            [(100.0, 50.0), (104.0, 52.0), (40.0, 39.0), (98.0, 60.0)].into_iter().enumerate()
        {
            record.add(Sample::new("warm Rust 1", FLOOR, round, &[("rate", floor)]));
            record.add(Sample::new("warm Rust 1", LAMBIC, round, &[("rate", ours)]));
        }
        record
    }

    #[test]
    fn refused_rounds_do_not_count() {
        let record = record();
        assert_eq!(record.rounds("warm Rust 1"), (4, 3));
        let ratio = record.ratio("warm Rust 1", FLOOR, "rate").unwrap();
        assert_eq!((ratio.median, ratio.least), (0.5, 0.5));
        assert!((ratio.greatest - 0.612).abs() < 0.001);
        assert_eq!(record.spread("warm Rust 1", LAMBIC, "rate").unwrap().median, 52.0);
        assert!(record.ratio("warm Rust 1", "RIE", "rate").is_none());
    }

    #[test]
    fn rows_without_a_floor_count_whole() {
        let mut record = Record::default();
        for round in 0..3 {
            let values: Vec<f64> = (1..=10).map(|one| f64::from(one) + round as f64).collect();
            record.add(Sample::with_values("cold Rust", LAMBIC, round, &values));
        }
        assert_eq!((record.rounds("cold Rust"), record.values("cold Rust", LAMBIC).len()), ((3, 3), 30));
        assert_eq!(record.spread("cold Rust", LAMBIC, "p50").unwrap().median, 6.5);
    }

    #[test]
    fn it_comes_back_from_its_file() {
        let path = std::env::temp_dir().join(format!("lambic-bench-record-{}.json", std::process::id()));
        record().save(&path).unwrap();
        let back = Record::load(&path);
        std::fs::remove_file(&path).unwrap();
        assert_eq!(back.unwrap().samples.len(), 8);
    }

    #[test]
    fn figures_are_short() {
        assert_eq!([rounded(123_456.0), rounded(0.123_456_7), rounded(0.0)], [123_460.0, 0.1235, 0.0]);
    }
}
