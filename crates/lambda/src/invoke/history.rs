//! What a pool remembers of its own past: how long each level of concurrency rests before it is reached
//! again, how long invocations take, and how long a start does.
//!
//! Pure. Level n is reached when n requests are there at once, and left when fewer are. Idle
//! environments are used newest first, so the next one is needed when the level rests no longer: the
//! first copy has the arrivals of the function, the n-th those of "n at once", whatever is kept.
//!
//! It outlives the pool, so that a function which is called once an hour is not a stranger each time.
//! On the path of a warm invoke it costs two additions to a histogram that is there already.

use std::time::Duration;

use lambic_rt::Instant;

/// Half octaves of rests: the first bin is below a second, then come 24 up to 4,096 seconds, then what is
/// longer.
const BINS: usize = 26;
/// The same of invocations, from a sixteenth of a millisecond up to four seconds.
const SERVED_BINS: usize = 34;
/// Where the last bin is taken to end, in its own beginning: it stands for "hardly ever".
const LAST_TIMES: f32 = 16.0;
/// With so many in all, all are halved: what was seen lately counts more.
const TOTAL_MAX: u16 = 96;
/// Levels that outlive the pool. What is beyond comes from bursts, which are learnt again.
const LEVELS_KEPT: usize = 8;
/// Levels that are told apart; beyond, nothing is remembered.
const LEVELS_MAX: usize = 2_048;
/// So much of each new start's time goes into the mean.
const START_WEIGHT: f32 = 0.25;
/// Before so many invocations nothing is said of the next one.
const SERVED_MIN: u16 = 4;

/// A histogram of times, in units of its owner.
#[derive(Clone, Debug)]
pub struct Histogram<const N: usize> {
    counts: [u16; N],
    total: u16,
}

impl<const N: usize> Default for Histogram<N> {
    fn default() -> Self {
        Histogram { counts: [0; N], total: 0 }
    }
}

impl<const N: usize> Histogram<N> {
    fn add(&mut self, time: Duration, unit: Duration) {
        if self.total >= TOTAL_MAX {
            self.counts.iter_mut().for_each(|count| *count /= 2);
            self.total = self.counts.iter().sum();
        }
        self.counts[bin(time, unit).min(N - 1)] += 1;
        self.total += 1;
    }
}

/// The last one has all that is longer, too.
fn bin(time: Duration, unit: Duration) -> usize {
    // In 256ths of a unit, so that the first octaves have halves, too.
    let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    let parts = nanos.saturating_mul(256) / unit.as_nanos() as u64;
    if parts < 256 {
        return 0;
    }
    let octave = parts.ilog2() - 8;
    let is_upper_half = parts >> octave >= 362;
    1 + 2 * octave as usize + usize::from(is_upper_half)
}

/// Where each bin begins, in units, and where the last one ends.
const fn edges<const ENDS: usize>() -> [f32; ENDS] {
    let mut edges = [0.0; ENDS];
    let last = ENDS - 1;
    let mut octave = 1.0;
    let mut at = 1;
    while at < last {
        edges[at] = octave;
        if at + 1 < last {
            edges[at + 1] = octave * std::f32::consts::SQRT_2;
        }
        octave *= 2.0;
        at += 2;
    }
    edges[last] = edges[last - 1] * LAST_TIMES;
    edges
}

const EDGES: [f32; BINS + 1] = edges();
const SERVED_EDGES: [f32; SERVED_BINS + 1] = edges();

/// Before anything is known, a rest is as likely to end in any one bin as in any other: the longer a
/// function has not been called, the longer it takes until it is. It counts as a few observations.
const PRIOR: f32 = 0.04;
/// And so much for the last one.
const PRIOR_LAST: f32 = 0.4;

/// One level of concurrency.
#[derive(Clone, Debug, Default)]
struct Level {
    /// Since when it rests; `None` while it is reached, and when it is not known.
    left: Option<Instant>,
    rests: Histogram<BINS>,
}

/// In what rests are counted.
const SECOND: Duration = Duration::from_secs(1);
/// In what invocations are counted. Whole milliseconds would be too coarse: a short jam of one that takes
/// a tenth of that would look as if it lasted longer than the start of another environment.
const SERVED_UNIT: Duration = Duration::from_nanos(62_500);

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct History {
    levels: Vec<Level>,
    served: Histogram<SERVED_BINS>,
    /// Mean time of a start, in seconds.
    start_s: Option<f32>,
}

impl History {
    /// So many requests are there at once now, one more than before.
    pub fn reached(&mut self, level: usize, now: Instant) {
        if level > self.levels.len() {
            self.levels.resize_with(level.min(LEVELS_MAX), Level::default);
        }
        let Some(level) = self.levels.get_mut(level.wrapping_sub(1)) else { return };
        if let Some(left) = level.left.take() {
            level.rests.add(now.saturating_duration_since(left), SECOND);
        }
    }

    /// One of so many requests is gone.
    pub fn left(&mut self, level: usize, now: Instant) {
        if let Some(level) = self.levels.get_mut(level.wrapping_sub(1)) {
            level.left = Some(now);
        }
    }

    /// A start took so long.
    pub fn started(&mut self, took: Duration) {
        let took = took.as_secs_f32();
        let mean = self.start_s.unwrap_or(took);
        self.start_s = Some(mean + (took - mean) * START_WEIGHT);
    }

    /// An invocation took so long, until the environment was free again.
    pub fn served(&mut self, took: Duration) {
        self.served.add(took, SERVED_UNIT);
    }

    /// How long a start takes, as far as is known.
    pub fn start(&self) -> Option<Duration> {
        self.start_s.map(Duration::from_secs_f32)
    }

    /// Of invocations that have run for `age`, three of four are over within this. `None`: too few are
    /// known, or too few of them took so long.
    pub fn left_of(&self, age: Duration) -> Option<Duration> {
        if self.served.total < SERVED_MIN {
            return None;
        }
        let (edges, counts) = (&SERVED_EDGES, &self.served.counts);
        let unit = SERVED_UNIT.as_secs_f32();
        let age = age.as_secs_f32() / unit;
        let first = edges[1..SERVED_BINS].iter().position(|end| age < *end)?;
        let share = (edges[first + 1] - age.max(edges[first])) / (edges[first + 1] - edges[first]);
        let mass = |at: usize| {
            let count = f32::from(counts[at]);
            if at == first { count * share } else { count }
        };
        let whole: f32 = (first..SERVED_BINS).map(mass).sum();
        if whole <= 0.0 {
            return None;
        }
        let mut below = 0.0;
        for at in first..SERVED_BINS - 1 {
            below += mass(at);
            if below >= 0.75 * whole {
                return Some(Duration::from_secs_f32((edges[at + 1] - age).max(0.0) * unit));
            }
        }
        None
    }

    /// How often a copy that is needed at this level is used, for each second that it is kept from now
    /// on, if it is kept for the best of all times.
    ///
    /// This is the index of Gittins: the greatest of (chance to be used within t) / (time that it is
    /// kept meanwhile) over all t. It is small when the next use is far or improbable, and rises when
    /// it comes near, as with timers; the mere rate of arrivals would not tell. `since` is when the
    /// copy became idle, for a level of which nothing is known.
    pub fn use_rate(&self, level: usize, since: Instant, now: Instant) -> f32 {
        let known = self.levels.get(level.wrapping_sub(1));
        let left = known.and_then(|level| level.left).unwrap_or(since);
        let age = now.saturating_duration_since(left).as_secs_f32();
        index(known.map(|level| &level.rests), age)
    }

    /// What is remembered when the pool is gone.
    pub fn kept(mut self) -> History {
        self.levels.truncate(LEVELS_KEPT);
        self.levels.shrink_to_fit();
        self
    }
}

fn index(rests: Option<&Histogram<BINS>>, age: f32) -> f32 {
    let weight = |at: usize| {
        let prior = if at == BINS - 1 { PRIOR_LAST } else { PRIOR };
        prior + rests.map_or(0.0, |rests| f32::from(rests.counts[at]))
    };
    let Some(first) = EDGES[1..].iter().position(|end| age < *end) else { return 0.0 };
    let width = EDGES[first + 1] - EDGES[first];
    let share = (EDGES[first + 1] - age) / width;
    let mass = |at: usize| if at == first { weight(at) * share } else { weight(at) };
    let mut rest: f32 = (first..BINS).map(mass).sum();
    let (mut used, mut kept_s, mut best) = (0.0, 0.0, 0.0_f32);
    for at in first..BINS {
        let length = EDGES[at + 1] - age.max(EDGES[at]);
        let ends = mass(at);
        kept_s += ends * length / 2.0 + (rest - ends).max(0.0) * length;
        used += ends;
        rest -= ends;
        best = best.max(used / kept_s.max(f32::MIN_POSITIVE));
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Instant {
        lambic_rt::Rt::simulated(1).instant()
    }

    const SECONDS: fn(u64) -> Duration = Duration::from_secs;

    /// One that is called so often, each time for a moment.
    fn called_every(period_s: u64, times: u32, start: Instant) -> (History, Instant) {
        let (mut history, mut at) = (History::default(), start);
        for _ in 0..times {
            history.reached(1, at);
            history.left(1, at);
            at += SECONDS(period_s);
        }
        (history, at - SECONDS(period_s))
    }

    #[test]
    fn bins_are_half_octaves() {
        let at = |ms| bin(Duration::from_millis(ms), SECOND).min(BINS - 1);
        assert_eq!((at(0), at(999), at(1_000), at(1_413), at(1_415)), (0, 0, 1, 1, 2));
        assert_eq!((at(2_000), at(4_095_000), at(4_096_000), at(u32::MAX.into())), (3, 24, 25, 25));
        for ms in (0..5_000_000_u64).step_by(3_001) {
            let (bin, s) = (at(ms), ms as f32 / 1_000.0);
            let slack = s * 0.002;
            assert!(EDGES[bin] <= s + slack && s - slack < EDGES[bin + 1], "{ms} is in {bin}");
        }
        assert_eq!((EDGES[25], EDGES[26]), (4_096.0, 65_536.0));
        assert_eq!((SERVED_EDGES[33], SERVED_EDGES[34]), (65_536.0, 1_048_576.0));
        assert!(bin(Duration::MAX, SERVED_UNIT) >= SERVED_BINS - 1);
    }

    #[test]
    fn what_is_called_often_is_used_soon() {
        let start = now();
        let rate = |period_s| {
            let (history, last) = called_every(period_s, 20, start);
            history.use_rate(1, last, last + SECONDS(3))
        };
        assert!(rate(5) > 5.0 * rate(60) && rate(60) > 5.0 * rate(1_000));
    }

    #[test]
    fn a_timer_is_nearer_the_longer_it_rests_and_a_stranger_is_farther() {
        let start = now();
        let (timer, last) = called_every(300, 20, start);
        let rate = |history: &History, age_s| history.use_rate(1, last, last + SECONDS(age_s));
        assert!(rate(&timer, 250) > 2.0 * rate(&timer, 20));
        assert!(rate(&timer, 1_000) < 0.2 * rate(&timer, 250), "it does not come any more");
        let stranger = History::default();
        assert!(rate(&stranger, 10) > 3.0 * rate(&stranger, 100));
        assert!(rate(&stranger, 100) > 3.0 * rate(&stranger, 1_000));
        assert_eq!(rate(&stranger, 100_000), 0.0);
    }

    #[test]
    fn copies_beyond_what_is_needed_at_once_are_used_less() {
        let (mut history, mut at) = (History::default(), now());
        for round in 0..50 {
            let most = if round % 10 == 0 { 3 } else { 1 };
            (1..=most).for_each(|level| history.reached(level, at));
            at += SECONDS(1);
            (1..=most).rev().for_each(|level| history.left(level, at));
            at += SECONDS(20);
        }
        let rate = |level| history.use_rate(level, at, at);
        assert!(rate(1) > 3.0 * rate(2), "{} {}", rate(1), rate(2));
        assert!((rate(2) - rate(3)).abs() < 1e-6);
        assert!(rate(4) < rate(3) * 2.0);
    }

    #[test]
    fn what_remains_of_an_invocation_follows_those_before_it() {
        let mut history = History::default();
        let ms = Duration::from_millis;
        for _ in 0..3 {
            history.served(ms(20));
        }
        assert_eq!(history.left_of(ms(0)), None, "too few");
        (0..7).for_each(|_| history.served(ms(20)));
        let left = history.left_of(ms(0)).unwrap();
        assert!(left >= ms(20) && left <= ms(24), "{left:?}");
        assert!(history.left_of(ms(18)).unwrap() <= ms(6));
        assert_eq!(history.left_of(ms(50)), None, "none took so long");
        (0..10).for_each(|_| history.served(ms(3_000)));
        assert!(history.left_of(ms(0)).unwrap() > ms(1_000), "one of two takes long");
    }

    #[test]
    fn fractions_of_a_millisecond_are_told_apart() {
        let mut history = History::default();
        (0..10).for_each(|_| history.served(Duration::from_micros(100)));
        let left = history.left_of(Duration::ZERO).unwrap();
        assert!(
            left >= Duration::from_micros(100) && left < Duration::from_micros(140),
            "{left:?}"
        );
    }

    #[test]
    fn the_time_of_a_start_is_a_mean_that_follows() {
        let mut history = History::default();
        assert_eq!(history.start(), None);
        history.started(Duration::from_millis(100));
        assert_eq!(history.start().unwrap().as_millis(), 100);
        (0..20).for_each(|_| history.started(Duration::from_millis(2)));
        assert!(history.start().unwrap() < Duration::from_millis(3));
    }

    proptest::proptest! {
        #[test]
        fn rates_are_numbers_and_memory_is_bounded(
            steps in proptest::collection::vec((0_usize..5_000, 0_u64..100_000_000, 0..3_u8), 0..300),
        ) {
            let (mut history, mut at) = (History::default(), now());
            for (level, ms, what) in steps {
                at += Duration::from_millis(ms % 10_000_000);
                match what {
                    0 => history.reached(level, at),
                    1 => history.left(level, at),
                    _ => history.served(Duration::from_millis(ms)),
                }
                let rate = history.use_rate(level, at, at + Duration::from_millis(ms));
                assert!(rate.is_finite() && rate >= 0.0);
                assert!(history.levels.len() <= LEVELS_MAX && history.served.total <= TOTAL_MAX);
            }
            assert!(history.kept().levels.len() <= LEVELS_KEPT);
        }
    }
}
