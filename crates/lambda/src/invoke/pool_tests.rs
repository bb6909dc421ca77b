//! The pool's promises, by example and over random histories.

use std::collections::{HashMap, HashSet};

use proptest::prelude::*;

use super::super::worth::{PRICE, Policy};
use super::*;

/// Each for so long.
fn fixed(idle_max: Duration) -> Keep {
    Keep { policy: Policy::Fixed, idle_max, price: PRICE }
}

pub(super) fn now() -> Instant {
    lambic_rt::Rt::simulated(1).instant()
}

#[test]
fn an_old_environment_serves_nobody_any_more() {
    let (mut pool, start) = (Pool::default(), now());
    let hour = Duration::from_secs(3_600);
    for id in [1, 2] {
        pool.starts(id, start);
        pool.ages(id, start + hour);
        assert_eq!(pool.ready(id, start), Free::Idle);
    }
    assert_eq!(pool.request(5, start), Answer::Use(2));
    assert!(pool.reap(start + hour / 2, &fixed(hour)).is_empty());
    assert_eq!(pool.reap(start + hour, &fixed(2 * hour)), [1], "only what is idle can be taken");
    pool.responded(2, start + 2 * hour);
    assert_eq!(pool.request(6, start), Answer::WaitBriefly(SETTLING_PATIENCE));
    assert_eq!(pool.ready(2, start + hour), Free::Stop);
    assert_eq!(pool.wanted(), 1, "who waits for it gets another");
}

#[test]
fn newest_idle_first_and_oldest_reaped() {
    let (mut pool, start) = (Pool::default(), now());
    for id in [1, 2] {
        assert_eq!(pool.request(id, start), Answer::WaitAndStart);
        pool.starts(id, start);
    }
    assert_eq!(pool.ready(1, start), Free::Use(1));
    assert_eq!(pool.ready(2, start), Free::Use(2));
    for id in [1, 2] {
        pool.responded(id, start + Duration::from_secs(3));
        assert_eq!(pool.ready(id, start + Duration::from_secs(id)), Free::Idle);
    }
    assert_eq!(pool.request(9, start), Answer::Use(2));
    let later = start + Duration::from_secs(601);
    assert_eq!(pool.reap(later, &fixed(Duration::from_secs(600))), [1]);
    assert_eq!(pool.ready(1, later), Free::Unknown);
}

#[test]
fn a_request_behind_an_answered_one_waits_a_moment_before_it_costs_an_environment() {
    let (mut pool, start) = (Pool::default(), now());
    pool.request(1, start);
    pool.starts(7, start);
    pool.ready(7, start);
    pool.responded(7, start + Duration::from_secs(3));
    assert_eq!(pool.request(2, start), Answer::WaitBriefly(SETTLING_PATIENCE));
    assert_eq!(pool.request(3, start), Answer::WaitAndStart);
    assert_eq!(pool.impatient(2, start), Impatient::Start);
    assert_eq!(pool.ready(7, start), Free::Use(2));
    assert_eq!(pool.impatient(2, start), Impatient::Wait);
}

#[test]
fn a_freed_environment_serves_who_waits_for_a_starting_one() {
    let (mut pool, start) = (Pool::default(), now());
    pool.request(1, start);
    pool.starts(10, start);
    pool.ready(10, start);
    assert_eq!(pool.request(2, start), Answer::WaitAndStart);
    pool.starts(11, start);
    pool.responded(10, start);
    assert_eq!(pool.ready(10, start), Free::Use(2));
    assert_eq!(pool.ready(11, start), Free::Idle);
}

#[test]
fn a_failed_start_is_claimed_by_the_first_who_waits() {
    let (mut pool, start) = (Pool::default(), now());
    pool.request(1, start);
    pool.starts(10, start);
    assert_eq!(pool.claim(10), Some(1));
    assert_eq!(pool.claim(10), None);
    assert_eq!(pool.gone(10), 0);
    pool.starts(11, start);
    assert_eq!(pool.claim(11), None);
}

#[test]
fn retired_ones_finish_and_end() {
    let (mut pool, start) = (Pool::default(), now());
    for (ticket, id) in [(1, 10), (2, 11)] {
        pool.request(ticket, start);
        pool.starts(id, start);
        pool.ready(id, start);
    }
    pool.responded(10, start);
    pool.ready(10, start);
    assert_eq!(pool.retire(), [10]);
    assert!(!pool.close_if_empty());
    pool.responded(11, start);
    assert_eq!(pool.ready(11, start), Free::Stop);
    assert!(pool.close_if_empty());
    assert_eq!(pool.request(3, start), Answer::Closed);
}

#[test]
fn a_runtime_that_never_asks_again_is_taken_out() {
    let (mut pool, start) = (Pool::default(), now());
    pool.request(1, start);
    pool.starts(10, start);
    pool.ready(10, start);
    pool.responded(10, start + Duration::from_secs(3));
    assert!(pool.overdue(start).is_empty());
    assert_eq!(pool.overdue(start + Duration::from_secs(3)), [10]);
    assert_eq!(pool.request(2, start), Answer::WaitAndStart);
}

#[test]
fn what_is_provisioned_stays_however_long_it_is_idle() {
    let (mut pool, start) = (Pool::default(), now());
    let minute = Duration::from_secs(60);
    pool.keep(2);
    assert!(!pool.close_if_empty());
    assert_eq!(pool.missing(), 2);
    for id in [1, 2, 3] {
        pool.starts(id, start);
        assert_eq!(pool.ready(id, start + Duration::from_secs(id)), Free::Idle);
    }
    assert_eq!((pool.missing(), pool.started()), (0, 3));
    assert_eq!(pool.evictable(start, &fixed(minute)).len(), 1);
    assert_eq!(pool.reap(start + 10 * minute, &fixed(minute)), [1], "one more than is kept");
    assert!(!pool.evict(2) && pool.evictable(start, &fixed(minute)).is_empty());
    assert_eq!(pool.reap(start + 20 * minute, &fixed(minute)), Vec::<EnvironmentId>::new());
    // One that is too old goes, and is missing.
    pool.ages(2, start + 30 * minute);
    assert_eq!(pool.reap(start + 30 * minute, &fixed(minute)), [2]);
    assert_eq!(pool.missing(), 1);
    pool.keep(0);
    assert_eq!(pool.reap(start + 40 * minute, &fixed(minute)), [3]);
    assert!(pool.close_if_empty());
}

/// A function of this time is over before anything else can be done about it.
pub(super) const QUICK: Duration = Duration::from_micros(100);

/// One whose starts take 200 ms and whose invocations 20.
fn experienced() -> Pool {
    let mut history = History::default();
    history.started(Duration::from_millis(200));
    (0..8).for_each(|_| history.served(Duration::from_millis(20)));
    Pool::new(128, history)
}

/// One with so many environments at work since `start`.
pub(super) fn busy(count: u64, start: Instant) -> Pool {
    let mut pool = experienced();
    for id in 1..=count {
        pool.starts(id, start);
        pool.ready(id, start);
    }
    // Such a start would be quick; it is not what this is about.
    pool.history = experienced().history;
    for ticket in 1..=count {
        assert!(matches!(pool.request(ticket, start), Answer::Use(_)));
    }
    pool
}

#[test]
fn a_request_is_bound_to_an_environment_that_will_be_free_before_a_new_one_is_ready() {
    let (mut pool, start) = (busy(1, now()), now());
    let soon = start + Duration::from_millis(10);
    let Answer::WaitBriefly(patience) = pool.request(5, soon) else { panic!("one is started") };
    assert!(patience >= Duration::from_millis(10) && patience <= Duration::from_millis(60));
    assert_eq!(pool.wanted(), 0);
    pool.responded(1, soon);
    assert_eq!(pool.ready(1, soon), Free::Use(5));
    assert_eq!(pool.impatient(5, soon), Impatient::Wait);
}

#[test]
fn as_many_are_bound_as_are_served_before_a_new_one_would_be_ready() {
    let (mut pool, start) = (busy(2, now()), now());
    let bound = (10..100)
        .take_while(|ticket| matches!(pool.request(*ticket, start), Answer::WaitBriefly(_)));
    // Twenty milliseconds each, in two environments, for half of two hundred.
    let bound = bound.count();
    assert!((6..=10).contains(&bound), "{bound}");
}

#[test]
fn what_takes_longer_than_usual_is_not_waited_for() {
    let start = now();
    // It has run for so long that nobody knows when it will end.
    let late = start + Duration::from_millis(100);
    assert_eq!(busy(1, start).request(5, late), Answer::WaitAndStart);
    // And where a start is as quick as an invocation nobody waits at all.
    let mut pool = busy(1, start);
    (0..40).for_each(|_| pool.history.started(Duration::from_millis(3)));
    assert_eq!(pool.request(5, start), Answer::WaitAndStart);
    // Nor where nothing is known.
    let mut pool = Pool::default();
    pool.starts(1, start);
    pool.ready(1, start);
    assert_eq!(pool.request(1, start), Answer::Use(1));
    assert_eq!(pool.request(2, start), Answer::WaitAndStart);
}

#[test]
fn who_waited_in_vain_gets_an_environment_of_his_own() {
    let (mut pool, start) = (busy(1, now()), now());
    let patience = |answer| match answer {
        Answer::WaitBriefly(patience) => patience,
        answer => panic!("{answer:?}"),
    };
    let first = patience(pool.request(5, start));
    patience(pool.request(6, start));
    let late = start + first;
    assert_eq!(pool.impatient(5, start), Impatient::Start);
    pool.starts(9, late);
    // It was started for the one that had waited longest; the other may still hope.
    assert_eq!(pool.ready(9, late), Free::Use(5));
    assert_eq!(pool.impatient(6, start), Impatient::Start);
    pool.starts(10, late);
    assert_eq!(pool.gone(10), 1, "a start that fails is made good");
    // Without anything to wait for nobody is patient.
    let mut pool = busy(1, start);
    patience(pool.request(5, start));
    assert_eq!(pool.gone(1), 1);
}

#[test]
fn a_start_serves_the_impatient_first() {
    let (mut pool, start) = (busy(1, now()), now());
    assert!(matches!(pool.request(5, start), Answer::WaitBriefly(_)));
    assert!(matches!(pool.request(6, start), Answer::WaitBriefly(_)));
    assert_eq!(pool.impatient(6, start), Impatient::Start);
    pool.starts(9, start);
    assert_eq!(pool.ready(9, start), Free::Use(6));
    pool.responded(1, start);
    assert_eq!(pool.ready(1, start), Free::Use(5));
}

#[test]
fn the_oldest_of_a_burst_loses_its_worth_first() {
    let (mut pool, mut at) = (experienced(), now());
    let mut next = 100;
    let keep = Keep::new(Policy::Worth, Duration::from_secs(3_600));
    for id in [1, 2, 3] {
        pool.starts(id, at);
        pool.ready(id, at);
    }
    // One at a time is usual.
    for _ in 0..40 {
        next += 1;
        let Answer::Use(id) = pool.request(next, at) else { panic!("one is idle") };
        assert_eq!(id, 3);
        pool.responded(id, at);
        at += Duration::from_millis(20);
        pool.ready(id, at);
        at += Duration::from_secs(30);
    }
    let idle = pool.evictable(at, &keep);
    let levels: Vec<_> = idle.iter().map(|one| (one.id, one.level)).collect();
    assert_eq!(levels, [(1, 3), (2, 2), (3, 1)]);
    assert!(idle[2].worth > idle[1].worth && idle[1].worth >= idle[0].worth);
    assert!(idle[2].worth.0 > 5.0 * idle[1].worth.0);
}

/// What a random history does next.
#[derive(Clone, Debug)]
enum Move {
    Request,
    Ready(usize),
    Respond(usize),
    Die(usize),
    Claim(usize),
    Withdraw(usize),
    Rest(usize),
    Strain(bool),
    Reap,
    Keep(usize),
    Retire,
}

fn any_move() -> impl Strategy<Value = Move> {
    prop_oneof![
        6 => Just(Move::Request),
        6 => (0_usize..16).prop_map(Move::Ready),
        5 => (0_usize..16).prop_map(Move::Respond),
        2 => (0_usize..16).prop_map(Move::Die),
        1 => (0_usize..16).prop_map(Move::Claim),
        1 => (0_usize..16).prop_map(Move::Withdraw),
        3 => (0_usize..16).prop_map(Move::Rest),
        1 => any::<bool>().prop_map(Move::Strain),
        1 => Just(Move::Reap),
        1 => (0_usize..4).prop_map(Move::Keep),
        1 => Just(Move::Retire),
    ]
}

/// What an observer outside the pool knows.
struct World {
    pool: Pool,
    keep: Keep,
    serving: HashMap<EnvironmentId, Ticket>,
    alive: Vec<EnvironmentId>,
    starting: HashSet<EnvironmentId>,
    /// Until when each is patient; `None`: not any more.
    waiting: HashMap<Ticket, Option<Instant>>,
    next: u64,
    at: Instant,
}

impl World {
    fn new(pool: Pool, policy: Policy) -> World {
        let (serving, alive, starting, waiting, next) = Default::default();
        let keep = Keep::new(policy, Duration::from_secs(5));
        World { pool, keep, serving, alive, starting, waiting, next, at: now() }
    }

    fn start(&mut self, count: usize) {
        for _ in 0..count {
            self.next += 1;
            self.pool.starts(self.next, self.at);
            self.alive.push(self.next);
            self.starting.insert(self.next);
        }
    }

    fn serve(&mut self, id: EnvironmentId, ticket: Ticket) {
        assert!(self.alive.contains(&id), "a dead environment serves");
        assert!(self.serving.insert(id, ticket).is_none(), "two invocations in one environment");
        let others = self.serving.values().filter(|other| **other == ticket).count();
        assert_eq!(others, 1, "one invocation in two environments");
        self.waiting.remove(&ticket);
    }

    fn drop_out(&mut self, ids: Vec<EnvironmentId>) {
        for id in ids {
            assert!(!self.serving.contains_key(&id), "taken out while serving");
            self.alive.retain(|other| *other != id);
            self.starting.remove(&id);
        }
    }

    fn pick(&self, index: usize) -> Option<EnvironmentId> {
        (!self.alive.is_empty()).then(|| self.alive[index % self.alive.len()])
    }

    /// Lets time pass. Who has waited so long as he would is impatient.
    fn pass(&mut self, time: Duration) {
        self.at += time;
        let over = |until: &Option<Instant>| until.is_some_and(|until| until <= self.at);
        let mut over: Vec<_> = self.waiting.iter().filter(|(_, until)| over(until)).collect();
        over.sort_unstable();
        let over: Vec<Ticket> = over.into_iter().map(|(ticket, _)| *ticket).collect();
        for ticket in over {
            self.waiting.insert(ticket, None);
            match self.pool.impatient(ticket, self.at) {
                Impatient::Use(id) => self.serve(id, ticket),
                Impatient::Start => self.start(1),
                Impatient::Hold(patience) => {
                    self.waiting.insert(ticket, Some(self.at + patience));
                }
                Impatient::Wait => {}
            }
        }
    }

    fn step(&mut self, step: Move) {
        match step {
            Move::Request => self.request(),
            Move::Ready(index) => {
                let Some(id) = self.pick(index) else { return };
                self.starting.remove(&id);
                match self.pool.ready(id, self.at) {
                    Free::Use(ticket) => self.serve(id, ticket),
                    Free::Stop => {
                        self.drop_out(vec![id]);
                        self.start(self.pool.wanted());
                    }
                    Free::Idle | Free::Unknown => {}
                }
            }
            Move::Respond(index) => {
                let Some(id) = self.pick(index) else { return };
                if self.serving.remove(&id).is_some() {
                    self.pool.responded(id, self.at + Duration::from_secs(1));
                }
            }
            Move::Die(index) => {
                let Some(id) = self.pick(index) else { return };
                self.serving.remove(&id);
                self.drop_out(vec![id]);
                let more = self.pool.gone(id);
                self.start(more);
            }
            Move::Claim(index) => {
                let Some(id) = self.pick(index) else { return };
                if let Some(ticket) = self.pool.claim(id) {
                    self.starting.remove(&id);
                    self.serve(id, ticket);
                }
            }
            Move::Withdraw(index) => {
                let mut tickets: Vec<_> = self.waiting.keys().copied().collect();
                tickets.sort_unstable();
                let Some(ticket) = tickets.get(index).copied() else { return };
                assert!(self.pool.withdraw(ticket));
                self.waiting.remove(&ticket);
            }
            Move::Rest(index) => {
                let Some(id) = self.pick(index) else { return };
                if self.pool.idle_since(id).is_some() {
                    self.pool.rests(id);
                    assert_eq!(self.pool.idle_since(id), None);
                }
            }
            Move::Strain(is_strained) => self.pool.set_strained(is_strained),
            Move::Reap => {
                let out = self.pool.reap(self.at, &self.keep);
                self.drop_out(out);
                let out = self.pool.overdue(self.at);
                self.drop_out(out);
                self.start(self.pool.wanted());
            }
            Move::Keep(count) => {
                self.pool.keep(count);
                self.start(self.pool.missing());
                assert_eq!(self.pool.missing(), 0);
            }
            Move::Retire => {
                let out = self.pool.retire();
                self.drop_out(out);
            }
        }
    }

    fn request(&mut self) {
        self.next += 1;
        let ticket = self.next;
        let start = self.pool.history().start();
        self.waiting.insert(ticket, None);
        match self.pool.request(ticket, self.at) {
            Answer::Use(id) => self.serve(id, ticket),
            Answer::WaitAndStart => self.start(1),
            Answer::Wait => {}
            Answer::WaitBriefly(patience) => {
                let bound = start.unwrap_or_default().min(PATIENCE_MAX).max(SETTLING_PATIENCE);
                assert!(patience <= bound, "{patience:?} of {bound:?}");
                self.waiting.insert(ticket, Some(self.at + patience));
            }
            Answer::Closed => panic!("closed without having been closed"),
        }
    }

    /// Whoever waits without patience has an environment that is being started, and whoever is patient
    /// has one to hope for.
    fn nobody_waits_in_vain(&self) {
        let impatient = self.waiting.values().filter(|until| until.is_none()).count();
        assert!(impatient <= self.starting.len(), "{impatient} of {:?}", self.pool);
        assert!(self.waiting.is_empty() || !self.alive.is_empty());
    }
}

proptest! {
    #[test]
    fn one_invocation_at_a_time_and_nobody_waits_beyond_the_bound(
        history in proptest::collection::vec((any_move(), 0_u64..30), 0..200),
        knows in any::<bool>(),
        is_quick in any::<bool>(),
        is_fixed in any::<bool>(),
    ) {
        let mut pool = if knows { experienced() } else { Pool::default() };
        if knows && is_quick {
            (0..200).for_each(|_| pool.history.served(QUICK));
        }
        let mut world = World::new(pool, if is_fixed { Policy::Fixed } else { Policy::Worth });
        for (step, ms) in history {
            // The time of a start is what decides who may wait; here it is kept away from the quick
            // ones of a random history.
            if knows {
                world.pool.history.started(Duration::from_millis(300));
            }
            world.step(step);
            world.nobody_waits_in_vain();
            world.pass(Duration::from_millis(ms));
            world.nobody_waits_in_vain();
        }
        // With what is at work hung up for good, whoever waits is served by starts alone.
        world.pass(PATIENCE_MAX);
        // The queue may have moved until now.
        world.pass(PATIENCE_MAX);
        world.nobody_waits_in_vain();
        for _ in 0..400 {
            let starting: Vec<_> = world.starting.iter().copied().collect();
            for id in starting {
                let index = world.alive.iter().position(|other| *other == id).unwrap();
                world.step(Move::Ready(index));
            }
        }
        prop_assert!(world.waiting.is_empty());
    }
}
