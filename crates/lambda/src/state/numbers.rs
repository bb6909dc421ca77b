//! Which numbers of versions there are: kept in a function's record as ranges, because nearly all
//! functions have theirs without a gap, and a few have thousands.

use serde::{Deserialize, Serialize};

/// A set of numbers, ascending.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Numbers {
    /// First and last of each range; between two ranges at least one number is missing.
    ranges: Vec<(u64, u64)>,
}

impl Numbers {
    /// Adds one that is greater than all there are.
    ///
    /// # Panics
    /// When it is not.
    pub fn push(&mut self, number: u64) {
        match self.ranges.last_mut() {
            Some((_, last)) if last.checked_add(1) == Some(number) => *last = number,
            Some((_, last)) => {
                assert!(*last < number, "numbers of versions only grow");
                self.ranges.push((number, number));
            }
            None => self.ranges.push((number, number)),
        }
    }

    /// Takes one out. Whether it was there.
    pub fn remove(&mut self, number: u64) -> bool {
        let Some(at) = self.range_of(number) else { return false };
        let (first, last) = self.ranges[at];
        let left = (first < number).then(|| (first, number - 1));
        let right = (number < last).then(|| (number + 1, last));
        self.ranges.splice(at..=at, left.into_iter().chain(right));
        true
    }

    /// Whether this one is there.
    pub fn contains(&self, number: u64) -> bool {
        self.range_of(number).is_some()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// Those greater than `after`, ascending.
    pub fn after(&self, after: u64) -> impl Iterator<Item = u64> {
        let from = self.ranges.partition_point(|(_, last)| *last <= after);
        self.ranges[from..].iter().flat_map(move |(first, last)| {
            // The range ends after `after`, so there is a next one.
            (*first).max(after.saturating_add(1))..=*last
        })
    }

    fn range_of(&self, number: u64) -> Option<usize> {
        let at = self.ranges.partition_point(|(_, last)| *last < number);
        self.ranges.get(at).filter(|(first, _)| *first <= number).map(|_| at)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn stored_as_ranges() {
        let mut numbers = Numbers::default();
        (1..=9).for_each(|number| numbers.push(number));
        assert!(numbers.remove(4) && !numbers.remove(4));
        assert_eq!(serde_json::to_string(&numbers).unwrap(), "[[1,3],[5,9]]");
    }

    proptest::proptest! {
        #[test]
        fn a_set(moves in proptest::collection::vec((0_u64..4, 1_u64..12), 0..40)) {
            let (mut numbers, mut set, mut last) = (Numbers::default(), BTreeSet::new(), 0);
            for (step, number) in moves {
                if step > 0 {
                    last += step;
                    numbers.push(last);
                    set.insert(last);
                } else {
                    assert_eq!(numbers.remove(number), set.remove(&number));
                }
                assert_eq!(numbers.is_empty(), set.is_empty());
                assert_eq!(numbers.contains(number), set.contains(&number));
                assert!(numbers.after(number).eq(set.range(number + 1..).copied()));
            }
        }
    }
}
