//! Which spares are kept, and how many: interpreters that have been started, with our client loaded,
//! and wait for a function (the sandbox makes and keeps them; see docs/performance.md).
//!
//! A kind is in use from the first function of its runtime on: one that is created, changed or
//! started. After a while without any it keeps one spare, which is what a function that is called now
//! and then finds; after a day, none. Spares have what is left of the machine's budget: no environment
//! waits for room that a spare takes.
//!
//! Where starts come faster than spares are made again, more are kept: as many as 99 of a hundred starts
//! of the last minutes would have needed to find one ([`Demand`]). They fall back to the configured
//! number within half an hour or so after the last burst.
//!
//! [`wanted`] and [`Demand`] are pure; [`Spares`] remembers and finds out what has to be said.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lambic_rt::Instant;
use lambic_sandbox::{SPARE_KINDS_MAX, SPARES_PER_KIND_MAX};

use super::launcher::Prepared;
use super::place::{Budget, Used};

/// What a spare counts for in the budget, in MB: more than an interpreter without code uses.
pub(crate) const SPARE_MEMORY_MB: u32 = 64;
/// The only size of `/tmp` that spares have, AWS's default.
pub(crate) const SPARE_TMP_MB: u32 = 512;
/// A kind without any function for so long is forgotten.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(24 * 3_600);
/// What was said is said again, because spares that broke are not tried again otherwise.
const SAID_AGAIN_AFTER: Duration = Duration::from_secs(60);

/// In place of a number that the sandbox was not told.
const NOT_SAID: u32 = u32::MAX;

/// The time in which a spare is made again, a busy machine allowed for: the sandbox makes one at a time,
/// with processor time that nobody else wants.
const REFILL: Duration = Duration::from_millis(100);
/// After so long a start counts half.
const HALF_LIFE: Duration = Duration::from_secs(300);
/// So many of a hundred starts may find no spare.
const MISSES_PERCENT: f32 = 1.0;
/// And so many starts in all: what happened once is forgotten at last.
const MISSES_MIN: f32 = 0.5;
/// Spares beyond the configured number take so much of the room that there is.
const MORE_PART: u32 = 4;

const RANKS: usize = SPARES_PER_KIND_MAX as usize + 1;

/// How many spares the starts of one kind need.
///
/// Each start takes a spare away, and every [`REFILL`] one comes back. A start's *rank* is how many are
/// away with it: it finds a spare exactly if so many are kept. So the number that is wanted is a
/// quantile of the ranks; neither a rate nor a guess about how starts are spread comes in.
#[derive(Debug)]
struct Demand {
    /// Starts by rank, from 1; the first is not used. Old ones count less.
    starts: [f32; RANKS],
    away: f32,
    at: Instant,
}

impl Demand {
    fn new(now: Instant) -> Demand {
        Demand { starts: [0.0; RANKS], away: 0.0, at: now }
    }

    fn pass(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.at).as_secs_f32();
        self.at = self.at.max(now);
        self.away = (self.away - passed / REFILL.as_secs_f32()).max(0.0);
        let factor = (-passed / HALF_LIFE.as_secs_f32()).exp2();
        self.starts.iter_mut().for_each(|count| *count *= factor);
    }

    /// One of the kind is started.
    fn start(&mut self, now: Instant) {
        self.pass(now);
        self.away = (self.away + 1.0).min(RANKS as f32);
        self.starts[(self.away.ceil() as usize).min(RANKS - 1)] += 1.0;
    }

    /// How many are to be kept for as many starts as may be expected.
    fn wanted(&mut self, now: Instant) -> u32 {
        self.pass(now);
        let all: f32 = self.starts.iter().sum();
        let misses_max = (all * MISSES_PERCENT / 100.0).max(MISSES_MIN);
        let mut misses = 0.0;
        for rank in (1..RANKS).rev() {
            misses += self.starts[rank];
            if misses > misses_max {
                return rank as u32;
            }
        }
        0
    }
}

/// What is known of one kind when it is decided how many are kept.
#[derive(Clone, Copy, Debug)]
struct Need {
    /// How long it has had no function.
    since: Duration,
    /// How many its starts need.
    starts: u32,
}

/// How many of each kind are to be kept; `room` is for how many there is. The kinds that were used
/// last come first.
fn wanted(needs: &[Need], per_kind: u32, idle_max: Duration, room: usize) -> Vec<u32> {
    let mut order: Vec<usize> = (0..needs.len()).collect();
    order.sort_by_key(|at| needs[*at].since);
    let mut left = u32::try_from(room).unwrap_or(u32::MAX);
    let mut counts = vec![0; needs.len()];
    for at in &order {
        let count = match needs[*at].since {
            since if since < idle_max => per_kind,
            since if since < FORGOTTEN_AFTER => per_kind.min(1),
            _ => 0,
        };
        counts[*at] = count.min(left);
        left -= counts[*at];
    }
    // More than that where starts come fast, once each kind has its own.
    let mut left = left / MORE_PART;
    for at in order {
        let more = needs[at].starts.min(SPARES_PER_KIND_MAX).saturating_sub(counts[at]).min(left);
        counts[at] += more;
        left -= more;
    }
    counts
}

/// For how many spares there is room beside what is used.
pub(super) fn room(budget: Budget, used: Used) -> usize {
    let memory_mb = budget.memory_mb_max.saturating_sub(used.memory_mb);
    let by_memory = usize::try_from(memory_mb / u64::from(SPARE_MEMORY_MB)).unwrap_or(usize::MAX);
    by_memory.min(budget.environments_max.saturating_sub(used.environments))
}

struct Kind {
    id: u64,
    prepared: Arc<Prepared>,
    used: Instant,
    demand: Demand,
    /// How many were last asked for, and when.
    said: Option<(u32, Instant)>,
}

#[derive(Default)]
struct Kinds {
    list: Vec<Kind>,
    last_id: u64,
}

/// See the module.
pub(crate) struct Spares {
    per_kind: u32,
    idle_max: Duration,
    kinds: Mutex<Kinds>,
    /// How many were last asked for, of all kinds.
    asked_for: AtomicUsize,
}

/// So many of a kind are to be kept from now on.
pub(super) struct Keep {
    pub(super) kind: u64,
    pub(super) prepared: Arc<Prepared>,
    pub(super) count: u32,
}

impl Spares {
    /// `per_kind` of each kind are kept while its functions are used; none at all with 0.
    pub(super) fn new(per_kind: u32, idle_max: Duration) -> Spares {
        let (kinds, asked_for) = Default::default();
        Spares { per_kind, idle_max, kinds, asked_for }
    }

    /// Whether there are any.
    pub(super) fn are_kept(&self) -> bool {
        self.per_kind > 0
    }

    /// The kind of this, in use now, by a start that takes a spare or otherwise; `true` if it is a new
    /// one, for which nothing is kept yet. `None` when there are no spares.
    pub(super) fn used(
        &self,
        prepared: &Prepared,
        is_start: bool,
        now: Instant,
    ) -> Option<(u64, bool)> {
        if self.per_kind == 0 {
            return None;
        }
        let mut kinds = self.lock();
        if let Some(kind) = kinds.list.iter_mut().find(|kind| *kind.prepared == *prepared) {
            kind.used = now;
            if is_start {
                kind.demand.start(now);
            }
            return Some((kind.id, false));
        }
        kinds.last_id += 1;
        let id = kinds.last_id;
        let prepared = Arc::new(prepared.clone());
        let mut demand = Demand::new(now);
        if is_start {
            demand.start(now);
        }
        kinds.list.push(Kind { id, prepared, used: now, demand, said: None });
        Some((id, true))
    }

    /// The kind is still in use.
    pub(super) fn is_used(&self, kind: u64, now: Instant) {
        if let Some(kind) = self.lock().list.iter_mut().find(|known| known.id == kind) {
            kind.used = now;
        }
    }

    /// Whether more are asked for than there is room for.
    pub(super) fn are_too_many(&self, room: usize) -> bool {
        self.asked_for.load(Ordering::Relaxed) > room
    }

    /// What is to be said now. Kinds for which nothing is kept any more are forgotten.
    pub(super) fn review(&self, now: Instant, room: usize) -> Vec<Keep> {
        let mut kinds = self.lock();
        let is_remembered = |kind: &Kind| {
            now.saturating_duration_since(kind.used) < FORGOTTEN_AFTER
                || kind.said.is_some_and(|(count, _)| count > 0)
        };
        kinds.list.retain(is_remembered);
        kinds.list.sort_by_key(|kind| std::cmp::Reverse(kind.used));
        let need = |kind: &mut Kind| {
            let since = now.saturating_duration_since(kind.used);
            Need { since, starts: kind.demand.wanted(now) }
        };
        let needs: Vec<Need> = kinds.list.iter_mut().map(need).collect();
        let counts = wanted(&needs, self.per_kind, self.idle_max, room);
        let mut said = Vec::new();
        let mut sum = 0;
        for (at, (kind, mut count)) in kinds.list.iter_mut().zip(counts).enumerate() {
            // The sandbox knows no more kinds than that.
            if at >= SPARE_KINDS_MAX {
                count = 0;
            }
            sum += count as usize;
            let is_news = match kind.said {
                None => count > 0,
                Some((before, at)) => {
                    before != count
                        || count > 0 && now.saturating_duration_since(at) >= SAID_AGAIN_AFTER
                }
            };
            if is_news {
                kind.said = Some((count, now));
                said.push(Keep { kind: kind.id, prepared: kind.prepared.clone(), count });
            }
        }
        // Those that make room come first.
        said.sort_by_key(|keep| keep.count);
        self.asked_for.store(sum, Ordering::Relaxed);
        said
    }

    /// It could not be said: it is said again next time.
    pub(super) fn was_not_said(&self, kind: u64) {
        if let Some(kind) = self.lock().list.iter_mut().find(|known| known.id == kind) {
            kind.said = kind.said.map(|(_, at)| (NOT_SAID, at));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Kinds> {
        self.kinds.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use lambic_rt::Rt;

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn prepared(name: &str) -> Prepared {
        let argv = vec![name.to_owned()];
        let (cwd, edition) = ("/".to_owned(), Default::default());
        Prepared { binds: vec![], argv, env: vec![], cwd, edition, forks: false }
    }

    fn said(spares: &Spares, now: Instant, room: usize) -> Vec<(u64, u32)> {
        let mut said: Vec<_> =
            spares.review(now, room).iter().map(|keep| (keep.kind, keep.count)).collect();
        said.sort_unstable();
        said
    }

    #[test]
    fn the_number_falls_with_the_time_without_functions_and_with_the_room() {
        let idle = 10 * MINUTE;
        let since = [11 * MINUTE, MINUTE, 25 * 60 * MINUTE, 2 * MINUTE];
        let needs = since.map(|since| Need { since, starts: 0 });
        assert_eq!(wanted(&needs, 2, idle, 100), [1, 2, 0, 2]);
        assert_eq!(wanted(&needs, 2, idle, 3), [0, 2, 0, 1]);
        assert_eq!(wanted(&needs, 2, idle, 0), [0, 0, 0, 0]);
        assert_eq!(wanted(&needs, 0, idle, 100), [0, 0, 0, 0]);
    }

    #[test]
    fn more_are_kept_where_starts_come_fast_in_a_part_of_what_is_left() {
        let need = |minutes, starts| Need { since: minutes * MINUTE, starts };
        let needs = [need(2, 30), need(1, 1), need(3, 500)];
        let idle = 10 * MINUTE;
        assert_eq!(wanted(&needs, 2, idle, 1_000), [30, 2, 64]);
        assert_eq!(wanted(&needs, 2, idle, 6 + 4 * 40), [30, 2, 14]);
        assert_eq!(wanted(&needs, 2, idle, 6), [2, 2, 2], "each has its own first");
        assert_eq!(wanted(&needs, 2, idle, 3), [1, 2, 0]);
    }

    #[test]
    fn as_many_are_wanted_as_bursts_take_away() {
        let start = Rt::simulated(1).instant();
        let mut demand = Demand::new(start);
        assert_eq!(demand.wanted(start), 0);
        // Now and then one: it is made again in time.
        let mut now = start;
        for _ in 0..100 {
            now += Duration::from_secs(2);
            demand.start(now);
        }
        assert_eq!(demand.wanted(now), 1);
        (0..20).for_each(|_| demand.start(now));
        assert_eq!(demand.wanted(now), 20);
        // Slowly at first, then faster.
        let after = |demand: &mut Demand, minutes| demand.wanted(now + minutes * MINUTE);
        assert!(after(&mut demand, 10) >= 15);
        assert!(after(&mut demand, 60) <= 2);
        assert_eq!(after(&mut demand, 24 * 60), 0);
        // What is rare among many does not count.
        let mut now = now + 2_000 * MINUTE;
        for round in 0..2_000 {
            now += Duration::from_millis(500);
            demand.start(now);
            if round == 1_900 {
                demand.start(now);
            }
        }
        assert_eq!(demand.wanted(now), 1);
        // As fast as they are made they are not missing; faster, all there may be are too few.
        for _ in 0..1_000 {
            now += REFILL;
            demand.start(now);
        }
        assert!(demand.wanted(now) <= 2);
        for _ in 0..10_000 {
            now += REFILL / 2;
            demand.start(now);
        }
        assert_eq!(demand.wanted(now), SPARES_PER_KIND_MAX);
    }

    proptest::proptest! {
        #[test]
        fn never_more_than_there_is_room_for(
            needs in proptest::collection::vec((0_u64..3_000, 0_u32..200), 0..12),
            per_kind in 0_u32..8,
            room in 0_usize..200,
        ) {
            let needs: Vec<Need> = needs
                .into_iter()
                .map(|(minutes, starts)| Need { since: minutes as u32 * MINUTE, starts })
                .collect();
            let counts = wanted(&needs, per_kind, 10 * MINUTE, room);
            assert!(counts.iter().sum::<u32>() as usize <= room);
            assert!(counts.iter().all(|count| *count <= SPARES_PER_KIND_MAX));
        }
    }

    #[test]
    fn the_room_is_what_environments_leave() {
        let budget = Budget { memory_mb_max: 1_000, environments_max: 10 };
        let used = |memory_mb, environments| Used { memory_mb, environments };
        assert_eq!(room(budget, used(0, 0)), 10);
        assert_eq!(room(budget, used(800, 1)), 3);
        assert_eq!(room(budget, used(128, 9)), 1);
        assert_eq!(room(budget, used(2_000, 20)), 0);
    }

    #[test]
    fn only_news_is_said_and_what_broke_is_asked_for_again() {
        let now = Rt::simulated(1).instant();
        let spares = Spares::new(2, 10 * MINUTE);
        assert_eq!(spares.used(&prepared("a"), false, now), Some((1, true)));
        assert_eq!(spares.used(&prepared("a"), false, now), Some((1, false)));
        assert_eq!(said(&spares, now, 100), [(1, 2)]);
        assert_eq!(said(&spares, now + Duration::from_secs(1), 100), []);
        assert_eq!(said(&spares, now + MINUTE, 100), [(1, 2)]);
        assert_eq!(spares.used(&prepared("b"), false, now + MINUTE), Some((2, true)));
        assert!(!spares.are_too_many(2) && spares.are_too_many(1));
        // Less room: the one that was used last keeps its own.
        assert_eq!(said(&spares, now + MINUTE, 2), [(1, 0), (2, 2)]);
        assert_eq!(said(&spares, now + MINUTE, 100), [(1, 2)]);
        spares.is_used(2, now + 20 * MINUTE);
        assert_eq!(said(&spares, now + 20 * MINUTE, 100), [(1, 1), (2, 2)]);
        spares.was_not_said(1);
        assert_eq!(said(&spares, now + 20 * MINUTE, 100), [(1, 1)]);
        let later = now + FORGOTTEN_AFTER + 20 * MINUTE;
        assert_eq!(said(&spares, later, 100), [(1, 0), (2, 0)]);
        spares.was_not_said(2);
        assert_eq!(said(&spares, later, 100), [(2, 0)], "what is not known is not forgotten");
        assert_eq!(said(&spares, later + MINUTE, 100), []);
        assert_eq!(spares.used(&prepared("a"), false, later + MINUTE), Some((3, true)));
    }

    #[test]
    fn without_spares_nothing_is_remembered() {
        let now = Rt::simulated(1).instant();
        let spares = Spares::new(0, MINUTE);
        assert_eq!(spares.used(&prepared("a"), false, now), None);
        assert_eq!(said(&spares, now, 100), []);
    }
}
