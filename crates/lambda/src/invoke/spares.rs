//! Which spares are kept, and how many: interpreters that have been started, with our client loaded,
//! and wait for a function (the sandbox makes and keeps them; see docs/performance.md).
//!
//! A kind is in use from the first function of its runtime on: one that is created, changed or
//! started. After a while without any it keeps one spare, which is what a function that is called now
//! and then finds; after a day, none. Spares have what is left of the machine's budget: no environment
//! waits for room that a spare takes.
//!
//! Where more starts are expected, more are kept ([`stock`]), and so are more of the environments that
//! wait ready-made for whatever is not made from a spare. They fall back to the usual number within a
//! quarter of an hour or so.
//!
//! [`wanted`] and `stock` are pure; [`Spares`] remembers and finds out what has to be said.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lambic_rt::Instant;
use lambic_sandbox::{AHEAD_MAX, SPARE_KINDS_MAX};

use super::launcher::{Prepared, READY};
use super::place::{Budget, Used};
use super::stock::{self, Bounds, Coming, Demand, Wish, share};

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

/// How many of each kind always wait, by how long each has had no function; `room` is for how many there
/// is. The kinds that were used last come first.
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

/// What there is room for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    /// Spares that always wait.
    pub(super) spares: usize,
    /// What waits beyond that.
    pub(super) more: Bounds,
}

struct Kind {
    id: u64,
    prepared: Arc<Prepared>,
    used: Instant,
    demand: Demand,
    /// How many were last asked for, and when.
    said: Option<(u32, Instant)>,
    /// How many wait now.
    at_hand: usize,
}

/// The environments that wait ready-made.
struct Ready {
    demand: Demand,
    /// How many more than usual were last asked for.
    said: Option<u32>,
    at_hand: usize,
}

struct Kinds {
    list: Vec<Kind>,
    last_id: u64,
    ready: Ready,
    coming: Coming,
}

/// How spares are kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Manner {
    /// So many of each kind, while its functions are used; none at all with 0.
    pub(super) per_kind: u32,
    /// So long a kind is in use without any function.
    pub(super) idle_max: Duration,
    /// Whether those whose program can are copied.
    pub(super) are_copied: bool,
    /// Whether more environments than usual can be ready.
    pub(super) has_ready: bool,
}

/// See the module.
pub(crate) struct Spares {
    manner: Manner,
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

/// What is to be said.
#[derive(Default)]
pub(super) struct Orders {
    pub(super) spares: Vec<Keep>,
    /// So many more than usual are to be ready.
    pub(super) ready_more: Option<u32>,
}

/// Environments that wait for functions of one runtime.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Waiting {
    pub(super) now: usize,
    pub(super) asked_for: usize,
}

impl Spares {
    pub(super) fn new(manner: Manner, now: Instant) -> Spares {
        let ready = Ready { demand: Demand::new(now), said: None, at_hand: 0 };
        let kinds = Kinds { list: Vec::new(), last_id: READY, ready, coming: Coming::default() };
        Spares { manner, kinds: Mutex::new(kinds), asked_for: AtomicUsize::default() }
    }

    /// Whether there are any.
    pub(super) fn are_kept(&self) -> bool {
        self.manner.per_kind > 0
    }

    /// Whether it matters which functions are about to start.
    pub(super) fn prepare(&self) -> bool {
        self.are_kept() || self.manner.has_ready
    }

    /// The kind of this, in use now, by a start that takes a spare or otherwise; `true` if it is a new
    /// one, for which nothing is kept yet. `None` when there are no spares.
    pub(super) fn used(
        &self,
        prepared: &Prepared,
        is_start: bool,
        now: Instant,
    ) -> Option<(u64, bool)> {
        if !self.are_kept() {
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
        kinds.list.push(Kind { id, prepared, used: now, demand, said: None, at_hand: 0 });
        Some((id, true))
    }

    /// A start that is not made from a spare.
    pub(super) fn is_plain_start(&self, now: Instant) {
        self.lock().ready.demand.start(now);
    }

    /// A function has been created or changed, and will start from a spare of this kind, or from what is
    /// [`READY`].
    pub(super) fn is_deployed(&self, arn: &str, kind: u64, modified_micros: i64, now: Instant) {
        self.lock().coming.deployed(arn, kind, modified_micros, now);
    }

    /// One of its environments is started.
    pub(super) fn is_started(&self, arn: &str) {
        self.lock().coming.started(arn);
    }

    /// It is deleted.
    pub(super) fn is_deleted(&self, arn: &str) {
        self.lock().coming.deleted(arn);
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
    pub(super) fn review(&self, now: Instant, room: Room) -> Orders {
        let mut kinds = self.lock();
        let is_remembered = |kind: &Kind| {
            now.saturating_duration_since(kind.used) < FORGOTTEN_AFTER
                || kind.said.is_some_and(|(count, _)| count > 0)
        };
        kinds.list.retain(is_remembered);
        kinds.list.sort_by_key(|kind| std::cmp::Reverse(kind.used));
        // The sandbox knows no more kinds than that.
        let known = kinds.list.len().min(SPARE_KINDS_MAX);
        let since: Vec<Duration> = kinds.list[..known]
            .iter()
            .map(|kind| now.saturating_duration_since(kind.used))
            .collect();
        let mut counts = wanted(&since, self.manner.per_kind, self.manner.idle_max, room.spares);
        self.asked_for.store(counts.iter().sum::<u32>() as usize, Ordering::Relaxed);
        let more = self.more(&mut kinds, &counts, room.more, now);
        counts.iter_mut().zip(&more).for_each(|(count, more)| *count += more);
        let ready_more = more.last().copied().filter(|_| self.manner.has_ready);
        let ready_more = ready_more.filter(|more| kinds.ready.said.unwrap_or(0) != *more);
        if ready_more.is_some() {
            kinds.ready.said = ready_more;
        }
        let mut said = Vec::new();
        let counts = counts.into_iter().chain(std::iter::repeat(0));
        for (kind, count) in kinds.list.iter_mut().zip(counts) {
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
        Orders { spares: said, ready_more }
    }

    /// How many more of each kind for which there are `counts`, and last how many more are to be ready.
    fn more(&self, kinds: &mut Kinds, counts: &[u32], bounds: Bounds, now: Instant) -> Vec<u32> {
        let coming = kinds.coming.expected(now);
        let expected = |id: u64, demand: &Demand| {
            let coming = coming.get(&id).copied().unwrap_or(0);
            demand.expected(now).max(coming).min(AHEAD_MAX)
        };
        let of_kind = |(kind, count): (&Kind, &u32)| {
            let is_copy = kind.prepared.forks && self.manner.are_copied;
            let memory_kb = stock::memory_kb(Some(kind.prepared.runtime), is_copy);
            Wish { count: expected(kind.id, &kind.demand).saturating_sub(*count), memory_kb }
        };
        let mut wishes: Vec<Wish> = kinds.list.iter().zip(counts).map(of_kind).collect();
        let ready = if self.manner.has_ready { expected(READY, &kinds.ready.demand) } else { 0 };
        wishes.push(Wish { count: ready, memory_kb: stock::memory_kb(None, false) });
        let mut more = share(&wishes, bounds);
        // With those that wait anyway.
        for (more, count) in more.iter_mut().zip(counts) {
            *more = (*more).min(AHEAD_MAX - count);
        }
        more
    }

    /// It could not be said: it is said again next time.
    pub(super) fn was_not_said(&self, kind: u64) {
        let mut kinds = self.lock();
        if kind == READY {
            kinds.ready.said = Some(NOT_SAID);
        } else if let Some(kind) = kinds.list.iter_mut().find(|known| known.id == kind) {
            kind.said = kind.said.map(|(_, at)| (NOT_SAID, at));
        }
    }

    /// So many of a kind wait now. For which runtime they are, and how it stands with that.
    pub(super) fn are_at_hand(&self, kind: u64, count: usize) -> Option<&'static str> {
        let mut kinds = self.lock();
        if kind == READY {
            kinds.ready.at_hand = count;
            return None;
        }
        let known = kinds.list.iter_mut().find(|known| known.id == kind)?;
        known.at_hand = count;
        Some(known.prepared.runtime)
    }

    /// What waits for functions of this runtime; `None` is what is ready for any.
    pub(super) fn waiting(&self, runtime: Option<&str>) -> Waiting {
        let kinds = self.lock();
        let Some(runtime) = runtime else {
            let asked_for = kinds.ready.said.filter(|said| *said != NOT_SAID).unwrap_or(0);
            return Waiting { now: kinds.ready.at_hand, asked_for: asked_for as usize };
        };
        let mut sum = Waiting::default();
        for kind in kinds.list.iter().filter(|kind| kind.prepared.runtime == runtime) {
            let said = kind.said.map(|(count, _)| count).filter(|count| *count != NOT_SAID);
            sum.now += kind.at_hand;
            sum.asked_for += said.unwrap_or(0) as usize;
        }
        sum
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
        let (cwd, edition, modules) = ("/".to_owned(), Default::default(), Vec::new());
        let (binds, env, forks, runtime) = (vec![], vec![], true, "python");
        Prepared { binds, argv, env, cwd, edition, modules, forks, runtime }
    }

    fn spares(per_kind: u32, now: Instant) -> Spares {
        let (idle_max, are_copied, has_ready) = (10 * MINUTE, true, true);
        Spares::new(Manner { per_kind, idle_max, are_copied, has_ready }, now)
    }

    /// Room for so many that always wait, and memory for so many copies beyond.
    fn room_for(spares: usize, more: u64) -> Room {
        let budget = Budget { memory_mb_max: 1 << 30, environments_max: 20_000 };
        let memory_mb = more * stock::memory_kb(Some("python"), true) / 1_024 + 1;
        let more = Bounds::new(memory_mb, budget, Used::default());
        Room { spares, more }
    }

    fn said(spares: &Spares, now: Instant, room: usize) -> Vec<(u64, u32)> {
        let orders = spares.review(now, room_for(room, 0));
        let mut said: Vec<_> = orders.spares.iter().map(|keep| (keep.kind, keep.count)).collect();
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

    /// How many of each kind and how many more ready ones are asked for in the end.
    fn asked_for(spares: &Spares, now: Instant, room: Room) -> (Vec<usize>, usize) {
        spares.review(now, room);
        let kinds = spares.lock();
        let of_kind = |kind: &Kind| (kind.id, kind.said.map_or(0, |(count, _)| count as usize));
        let mut of_kinds: Vec<_> = kinds.list.iter().map(of_kind).collect();
        of_kinds.sort_unstable();
        let ready = kinds.ready.said.unwrap_or(0) as usize;
        (of_kinds.into_iter().map(|(_, count)| count).collect(), ready)
    }

    #[test]
    fn more_are_kept_for_what_was_deployed_and_for_bursts() {
        let now = Rt::simulated(1).instant();
        let spares = spares(2, now);
        let (python, _) = spares.used(&prepared("a"), false, now).unwrap();
        for at in 0..50 {
            spares.is_deployed(&format!("p{at}"), python, 1, now);
            spares.is_deployed(&format!("n{at}"), READY, 1, now);
        }
        let room = room_for(100, 1_000);
        assert_eq!(asked_for(&spares, now, room), (vec![50], 50));
        // They start, all at once: as many are expected again.
        for at in 0..50 {
            spares.used(&prepared("a"), true, now);
            spares.is_started(&format!("p{at}"));
        }
        (0..10).for_each(|at| spares.is_deleted(&format!("n{at}")));
        assert_eq!(asked_for(&spares, now, room), (vec![50], 40));
        (0..70).for_each(|_| spares.is_plain_start(now));
        assert_eq!(asked_for(&spares, now, room), (vec![50], 70));
        assert_eq!(asked_for(&spares, now + 20 * MINUTE, room), (vec![1], 0));
    }

    #[test]
    fn what_is_wanted_beyond_the_least_is_cut_and_the_least_is_not() {
        let now = Rt::simulated(1).instant();
        let spares = spares(2, now);
        for _ in 0..1_000 {
            spares.used(&prepared("a"), true, now);
            spares.used(&prepared("b"), true, now);
        }
        let (counts, _) = asked_for(&spares, now, room_for(100, 100));
        assert_eq!(counts, [52, 52]);
        assert_eq!(asked_for(&spares, now, room_for(100, 0)).0, [2, 2]);
        assert_eq!(asked_for(&spares, now, room_for(3, 0)).0, [2, 1]);
        let (counts, _) = asked_for(&spares, now, room_for(1_000, 10_000));
        assert_eq!(counts, [258, 258], "no more than may wait in all");
    }

    #[test]
    fn it_is_known_how_many_wait() {
        let now = Rt::simulated(1).instant();
        let spares = spares(2, now);
        let (a, _) = spares.used(&prepared("a"), false, now).unwrap();
        let (b, _) = spares.used(&prepared("b"), false, now).unwrap();
        spares.review(now, room_for(100, 100));
        assert_eq!(spares.are_at_hand(a, 1), Some("python"));
        assert_eq!(spares.are_at_hand(b, 2), Some("python"));
        assert_eq!(spares.are_at_hand(b + 1, 2), None);
        assert_eq!(spares.are_at_hand(READY, 4), None);
        assert_eq!(spares.waiting(Some("python")), Waiting { now: 3, asked_for: 4 });
        assert_eq!(spares.waiting(Some("nodejs")), Waiting::default());
        assert_eq!(spares.waiting(None), Waiting { now: 4, asked_for: 0 });
    }

    proptest::proptest! {
        #[test]
        fn never_more_than_there_is_room_for(
            minutes in proptest::collection::vec(0_u32..3_000, 0..12),
            per_kind in 0_u32..8,
            room in 0_usize..200,
        ) {
            let since: Vec<Duration> = minutes.into_iter().map(|minutes| minutes * MINUTE).collect();
            let counts = wanted(&since, per_kind, 10 * MINUTE, room);
            assert!(counts.iter().sum::<u32>() as usize <= room);
            assert!(counts.iter().all(|count| *count <= per_kind));
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
        let spares = spares(2, now);
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
        let spares = spares(0, now);
        assert_eq!(spares.used(&prepared("a"), false, now), None);
        assert_eq!(said(&spares, now, 100), []);
    }
}
