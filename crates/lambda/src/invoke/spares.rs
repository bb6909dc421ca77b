//! Which spares are kept, and how many: interpreters that have been started, with our client loaded,
//! and wait for a function (the sandbox makes and keeps them; see docs/performance.md).
//!
//! A kind is in use from the first function of its runtime on: one that is created, changed or
//! started. After a while without any it keeps one spare, which is what a function that is called now
//! and then finds; after a day, none. Spares have what is left of the machine's budget: no environment
//! waits for room that a spare takes.
//!
//! [`wanted`] is pure; [`Spares`] remembers and finds out what has to be said.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lambic_rt::Instant;
use lambic_sandbox::SPARE_KINDS_MAX;

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

/// How many of each kind are to be kept; `since` tells how long each has had no function, and `room`
/// is for how many there is. The kinds that were used last come first.
fn wanted(since: &[Duration], per_kind: u32, idle_max: Duration, room: usize) -> Vec<u32> {
    let mut order: Vec<usize> = (0..since.len()).collect();
    order.sort_by_key(|at| since[*at]);
    let mut left = u32::try_from(room).unwrap_or(u32::MAX);
    let mut counts = vec![0; since.len()];
    for at in order {
        let count = match since[at] {
            since if since < idle_max => per_kind,
            since if since < FORGOTTEN_AFTER => per_kind.min(1),
            _ => 0,
        };
        counts[at] = count.min(left);
        left -= counts[at];
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

    /// The kind of this, in use now; `true` if it is a new one, for which nothing is kept yet. `None`
    /// when there are no spares.
    pub(super) fn used(&self, prepared: &Prepared, now: Instant) -> Option<(u64, bool)> {
        if self.per_kind == 0 {
            return None;
        }
        let mut kinds = self.lock();
        if let Some(kind) = kinds.list.iter_mut().find(|kind| *kind.prepared == *prepared) {
            kind.used = now;
            return Some((kind.id, false));
        }
        kinds.last_id += 1;
        let id = kinds.last_id;
        let prepared = Arc::new(prepared.clone());
        kinds.list.push(Kind { id, prepared, used: now, said: None });
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
        let since: Vec<Duration> =
            kinds.list.iter().map(|kind| now.saturating_duration_since(kind.used)).collect();
        let counts = wanted(&since, self.per_kind, self.idle_max, room);
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
        Prepared { binds: vec![], argv, env: vec![], edition: Default::default(), forks: false }
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
        assert_eq!(wanted(&since, 2, idle, 100), [1, 2, 0, 2]);
        assert_eq!(wanted(&since, 2, idle, 3), [0, 2, 0, 1]);
        assert_eq!(wanted(&since, 2, idle, 0), [0, 0, 0, 0]);
        assert_eq!(wanted(&since, 0, idle, 100), [0, 0, 0, 0]);
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
        assert_eq!(spares.used(&prepared("a"), now), Some((1, true)));
        assert_eq!(spares.used(&prepared("a"), now), Some((1, false)));
        assert_eq!(said(&spares, now, 100), [(1, 2)]);
        assert_eq!(said(&spares, now + Duration::from_secs(1), 100), []);
        assert_eq!(said(&spares, now + MINUTE, 100), [(1, 2)]);
        assert_eq!(spares.used(&prepared("b"), now + MINUTE), Some((2, true)));
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
        assert_eq!(spares.used(&prepared("a"), later + MINUTE), Some((3, true)));
    }

    #[test]
    fn without_spares_nothing_is_remembered() {
        let now = Rt::simulated(1).instant();
        let spares = Spares::new(0, MINUTE);
        assert_eq!(spares.used(&prepared("a"), now), None);
        assert_eq!(said(&spares, now, 100), []);
    }
}
