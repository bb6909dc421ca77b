//! Medians, quantiles, ratios of the same round, and which rounds count.

use serde::{Deserialize, Serialize};

/// A round counts when the floor's rate is within this share of its median.
pub const FLOOR_OFF_MAX: f64 = 0.30;

/// The middle of the values; not a number when there are none.
pub fn median(values: &[f64]) -> f64 {
    quantile(values, 0.5)
}

/// The value below which this share of the others lies, between two of them where it falls between.
pub fn quantile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let Some(last) = sorted.len().checked_sub(1) else { return f64::NAN };
    let place = last as f64 * share.clamp(0.0, 1.0);
    let (below, above) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
    below + (above - below) * place.fract()
}

/// A median with its range.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
pub struct Spread {
    pub median: f64,
    pub least: f64,
    pub greatest: f64,
}

impl Spread {
    /// Nothing when there are no values.
    pub fn of(values: &[f64]) -> Option<Spread> {
        if values.is_empty() {
            return None;
        }
        let least = values.iter().copied().fold(f64::INFINITY, f64::min);
        let greatest = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        Some(Spread { median: median(values), least, greatest })
    }
}

/// The rounds in which the floor was what it usually is. `floors`: round and rate.
pub fn accepted(floors: &[(usize, f64)]) -> Vec<usize> {
    let usual = median(&floors.iter().map(|(_, rate)| *rate).collect::<Vec<_>>());
    // What is exactly at the bound counts, whatever its last digit.
    let is_usual = |rate: f64| (rate / usual - 1.0).abs() <= FLOOR_OFF_MAX + 1e-9;
    floors.iter().filter(|(_, rate)| is_usual(*rate)).map(|(round, _)| *round).collect()
}

/// Ours over theirs, for every round that both have.
pub fn ratios(ours: &[(usize, f64)], theirs: &[(usize, f64)]) -> Vec<f64> {
    let same = |round: usize| theirs.iter().find(|(other, _)| *other == round).map(|(_, value)| *value);
    ours.iter().filter_map(|(round, value)| Some(value / same(*round)?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_quantiles() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median(&[]).is_nan());
        let hundred: Vec<f64> = (0..=100).map(f64::from).collect();
        assert_eq!(quantile(&hundred, 0.99), 99.0);
        assert_eq!(quantile(&hundred, 0.995), 99.5);
        assert_eq!((quantile(&hundred, 0.0), quantile(&hundred, 1.0)), (0.0, 100.0));
        assert_eq!(quantile(&[7.0], 0.99), 7.0);
    }

    #[test]
    fn spreads() {
        let spread = Spread::of(&[2.0, 8.0, 4.0]).unwrap();
        assert_eq!(spread, Spread { median: 4.0, least: 2.0, greatest: 8.0 });
        assert_eq!(Spread::of(&[]), None);
    }

    #[test]
    fn a_round_with_a_strange_floor_is_refused() {
        let floors = [(0, 100.0), (1, 105.0), (2, 60.0), (3, 98.0), (4, 140.0)];
        assert_eq!(accepted(&floors), [0, 1, 3]);
        // Exactly at the bound still counts.
        assert_eq!(accepted(&[(0, 70.0), (1, 100.0), (2, 130.0)]), [0, 1, 2]);
        assert!(accepted(&[]).is_empty());
    }

    #[test]
    fn ratios_are_of_the_same_round() {
        let ours = [(0, 50.0), (1, 60.0), (3, 90.0)];
        let theirs = [(3, 100.0), (0, 100.0), (2, 1.0)];
        assert_eq!(ratios(&ours, &theirs), [0.5, 0.9]);
        assert!(ratios(&ours, &[]).is_empty());
    }
}
