//! The pool's promises, by example and over random histories.

use std::collections::{HashMap, HashSet};

use proptest::prelude::*;

use super::*;

fn now() -> Instant {
    lambic_rt::Rt::simulated(1).instant()
}

#[test]
fn an_old_environment_serves_nobody_any_more() {
    let (mut pool, start) = (Pool::default(), now());
    let hour = Duration::from_secs(3_600);
    for id in [1, 2] {
        pool.starts(id);
        pool.ages(id, start + hour);
        assert_eq!(pool.ready(id, start), Free::Idle);
    }
    assert_eq!(pool.request(5), Answer::Use(2));
    assert!(pool.reap(start + hour / 2, hour).is_empty());
    assert_eq!(pool.reap(start + hour, 2 * hour), [1], "only what is idle can be taken");
    pool.responded(2, start + 2 * hour);
    assert_eq!(pool.request(6), Answer::WaitBriefly);
    assert_eq!(pool.ready(2, start + hour), Free::Stop);
    assert_eq!(pool.wanted(), 1, "who waits for it gets another");
}

#[test]
fn newest_idle_first_and_oldest_reaped() {
    let (mut pool, start) = (Pool::default(), now());
    for id in [1, 2] {
        assert_eq!(pool.request(id), Answer::WaitAndStart);
        pool.starts(id);
    }
    assert_eq!(pool.ready(1, start), Free::Use(1));
    assert_eq!(pool.ready(2, start), Free::Use(2));
    for id in [1, 2] {
        pool.responded(id, start + Duration::from_secs(3));
        assert_eq!(pool.ready(id, start + Duration::from_secs(id)), Free::Idle);
    }
    assert_eq!(pool.request(9), Answer::Use(2));
    let later = start + Duration::from_secs(601);
    assert_eq!(pool.reap(later, Duration::from_secs(600)), [1]);
    assert_eq!(pool.ready(1, later), Free::Unknown);
}

#[test]
fn a_request_behind_an_answered_one_waits_a_moment_before_it_costs_an_environment() {
    let (mut pool, start) = (Pool::default(), now());
    pool.request(1);
    pool.starts(7);
    pool.ready(7, start);
    pool.responded(7, start + Duration::from_secs(3));
    assert_eq!(pool.request(2), Answer::WaitBriefly);
    assert_eq!(pool.request(3), Answer::WaitAndStart);
    assert!(pool.impatient(2));
    assert_eq!(pool.ready(7, start), Free::Use(2));
    assert!(!pool.impatient(2));
}

#[test]
fn a_freed_environment_serves_who_waits_for_a_starting_one() {
    let (mut pool, start) = (Pool::default(), now());
    pool.request(1);
    pool.starts(10);
    pool.ready(10, start);
    assert_eq!(pool.request(2), Answer::WaitAndStart);
    pool.starts(11);
    pool.responded(10, start);
    assert_eq!(pool.ready(10, start), Free::Use(2));
    assert_eq!(pool.ready(11, start), Free::Idle);
}

#[test]
fn a_failed_start_is_claimed_by_the_first_who_waits() {
    let mut pool = Pool::default();
    pool.request(1);
    pool.starts(10);
    assert_eq!(pool.claim(10), Some(1));
    assert_eq!(pool.claim(10), None);
    assert_eq!(pool.gone(10), 0);
    pool.starts(11);
    assert_eq!(pool.claim(11), None);
}

#[test]
fn retired_ones_finish_and_end() {
    let (mut pool, start) = (Pool::default(), now());
    for (ticket, id) in [(1, 10), (2, 11)] {
        pool.request(ticket);
        pool.starts(id);
        pool.ready(id, start);
    }
    pool.responded(10, start);
    pool.ready(10, start);
    assert_eq!(pool.retire(), [10]);
    assert!(!pool.close_if_empty());
    pool.responded(11, start);
    assert_eq!(pool.ready(11, start), Free::Stop);
    assert!(pool.close_if_empty());
    assert_eq!(pool.request(3), Answer::Closed);
}

#[test]
fn a_runtime_that_never_asks_again_is_taken_out() {
    let (mut pool, start) = (Pool::default(), now());
    pool.request(1);
    pool.starts(10);
    pool.ready(10, start);
    pool.responded(10, start + Duration::from_secs(3));
    assert!(pool.overdue(start).is_empty());
    assert_eq!(pool.overdue(start + Duration::from_secs(3)), [10]);
    assert_eq!(pool.request(2), Answer::WaitAndStart);
}

#[test]
fn what_is_provisioned_stays_however_long_it_is_idle() {
    let (mut pool, start) = (Pool::default(), now());
    let minute = Duration::from_secs(60);
    pool.keep(2);
    assert!(!pool.close_if_empty());
    assert_eq!(pool.missing(), 2);
    for id in [1, 2, 3] {
        pool.starts(id);
        assert_eq!(pool.ready(id, start + Duration::from_secs(id)), Free::Idle);
    }
    assert_eq!((pool.missing(), pool.started()), (0, 3));
    assert_eq!(pool.evictable().len(), 1);
    assert_eq!(pool.reap(start + 10 * minute, minute), [1], "one more than is kept");
    assert!(!pool.evict(2) && pool.evictable().is_empty());
    assert_eq!(pool.reap(start + 20 * minute, minute), Vec::<EnvironmentId>::new());
    // One that is too old goes, and is missing.
    pool.ages(2, start + 30 * minute);
    assert_eq!(pool.reap(start + 30 * minute, minute), [2]);
    assert_eq!(pool.missing(), 1);
    pool.keep(0);
    assert_eq!(pool.reap(start + 40 * minute, minute), [3]);
    assert!(pool.close_if_empty());
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
        1 => Just(Move::Reap),
        1 => (0_usize..4).prop_map(Move::Keep),
        1 => Just(Move::Retire),
    ]
}

/// What an observer outside the pool knows.
#[derive(Default)]
struct World {
    pool: Pool,
    serving: HashMap<EnvironmentId, Ticket>,
    alive: Vec<EnvironmentId>,
    waiting: HashSet<Ticket>,
    next: u64,
}

impl World {
    fn start(&mut self, count: usize) {
        for _ in 0..count {
            self.next += 1;
            self.pool.starts(self.next);
            self.alive.push(self.next);
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
        }
    }

    fn pick(&self, index: usize) -> Option<EnvironmentId> {
        (!self.alive.is_empty()).then(|| self.alive[index % self.alive.len()])
    }

    fn step(&mut self, step: Move, at: Instant) {
        match step {
            Move::Request => self.request(),
            Move::Ready(index) => {
                let Some(id) = self.pick(index) else { return };
                match self.pool.ready(id, at) {
                    Free::Use(ticket) => self.serve(id, ticket),
                    Free::Stop => self.drop_out(vec![id]),
                    Free::Idle | Free::Unknown => {}
                }
            }
            Move::Respond(index) => {
                let Some(id) = self.pick(index) else { return };
                if self.serving.remove(&id).is_some() {
                    self.pool.responded(id, at + Duration::from_secs(1));
                }
            }
            Move::Die(index) => {
                let Some(id) = self.pick(index) else { return };
                self.serving.remove(&id);
                self.alive.retain(|other| *other != id);
                let more = self.pool.gone(id);
                self.start(more);
            }
            Move::Claim(index) => {
                let Some(id) = self.pick(index) else { return };
                if let Some(ticket) = self.pool.claim(id) {
                    self.serve(id, ticket);
                }
            }
            Move::Withdraw(index) => {
                let mut tickets: Vec<_> = self.waiting.iter().copied().collect();
                tickets.sort_unstable();
                let Some(ticket) = tickets.get(index).copied() else { return };
                assert!(self.pool.withdraw(ticket));
                self.waiting.remove(&ticket);
            }
            Move::Reap => {
                let out = self.pool.reap(at, Duration::from_secs(5));
                self.drop_out(out);
                let out = self.pool.overdue(at);
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
        self.waiting.insert(ticket);
        match self.pool.request(ticket) {
            Answer::Use(id) => self.serve(id, ticket),
            Answer::WaitAndStart => self.start(1),
            Answer::Wait => {}
            Answer::WaitBriefly => {
                if self.pool.impatient(ticket) {
                    self.start(1);
                }
            }
            Answer::Closed => panic!("closed without having been closed"),
        }
    }
}

proptest! {
    #[test]
    fn one_invocation_at_a_time_and_nobody_is_forgotten(
        history in proptest::collection::vec(any_move(), 0..200),
    ) {
        let (mut world, start) = (World::default(), now());
        for (second, step) in history.into_iter().enumerate() {
            world.step(step, start + Duration::from_secs(second as u64));
        }
        // Whoever waits is served once the environments there are become free.
        let end = start + Duration::from_secs(1_000);
        for _ in 0..400 {
            for index in 0..world.alive.len() {
                world.step(Move::Respond(index), end);
                world.step(Move::Ready(index), end);
            }
        }
        prop_assert!(world.waiting.is_empty());
    }
}
