//! A jam of a few milliseconds, and what becomes of it: one thread serves everything, requests come
//! whether or not it can serve them, and each invocation costs it more when many environments take turns.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::super::strain::Strain;
use super::tests::{QUICK, busy, now};
use super::*;

/// Environments at work on what takes a moment only; another one would be ready after 6 ms.
fn busy_with_quick(count: u64, start: Instant) -> Pool {
    let mut pool = busy(count, start);
    (0..200).for_each(|_| pool.history.served(QUICK));
    (0..40).for_each(|_| pool.history.started(Duration::from_millis(6)));
    pool
}

/// As many requests as come while the server or the machine does something else for five milliseconds.
#[test]
fn a_short_jam_of_quick_invocations_costs_no_environment() {
    let start = now();
    let mut pool = busy_with_quick(8, start);
    for ticket in 100..150 {
        let answer = pool.request(ticket, start);
        assert!(matches!(answer, Answer::WaitBriefly(_)), "{ticket}: {answer:?}");
    }
    // A long one is: it is started for, whatever the quick ones did.
    for ticket in 150..1_000 {
        pool.request(ticket, start);
    }
    assert_eq!(pool.request(1_000, start), Answer::WaitAndStart);
}

#[test]
fn what_rests_is_woken_for_those_who_would_wait_longer() {
    let start = now();
    let mut pool = busy_with_quick(4, start);
    for id in [2, 3, 4] {
        pool.responded(id, start);
        assert_eq!(pool.ready(id, start), Free::Idle);
    }
    [2, 3].into_iter().for_each(|id| pool.rests(id));
    assert_eq!(pool.request(20, start), Answer::Use(4), "it does not rest");
    // Two are at work, and soon done.
    for ticket in 21..25 {
        let Answer::WaitBriefly(patience) = pool.request(ticket, start) else { panic!("{ticket}") };
        assert!(patience <= Duration::from_millis(1));
    }
    assert_eq!(pool.wanted(), 0);
    pool.responded(1, start);
    assert_eq!(pool.ready(1, start), Free::Use(21));
    let late = start + Duration::from_millis(1);
    assert_eq!(pool.impatient(22, late), Impatient::Use(3));
    // They are all held up by something, which may soon be over.
    let later = start + Duration::from_millis(30);
    assert_eq!(pool.request(26, later), Answer::WaitBriefly(Duration::from_millis(1)));
    assert_eq!(pool.impatient(26, later + Duration::from_millis(1)), Impatient::Use(2));
    for id in [1, 3, 4] {
        pool.responded(id, later);
    }
    assert_eq!(pool.ready(1, later), Free::Use(23));
    assert_eq!(pool.impatient(24, later), Impatient::Start, "none rests");
    // What takes as long as most does not wait for others.
    let mut pool = busy(2, start);
    pool.responded(2, start);
    pool.ready(2, start);
    pool.rests(2);
    assert_eq!(pool.request(20, start), Answer::Use(2));
}

#[test]
fn under_strain_no_more_are_set_to_work_than_a_crowd() {
    let start = now();
    let mut pool = busy_with_quick(CROWD as u64 + 4, start);
    pool.set_strained(true);
    for id in 1..=3 {
        pool.responded(id, start);
        assert_eq!(pool.ready(id, start), Free::Idle);
    }
    assert_eq!(pool.request(100, start), Answer::WaitBriefly(SETTLING_PATIENCE));
    pool.responded(4, start);
    assert_eq!(pool.ready(4, start), Free::Idle, "it is one too many");
    pool.responded(5, start);
    assert_eq!(pool.ready(5, start), Free::Use(100));
    // As soon as there is time again they are used as ever.
    pool.set_strained(false);
    assert_eq!(pool.request(101, start), Answer::Use(4));
    // Whoever waits in vain is served by one of them.
    pool.set_strained(true);
    assert_eq!(pool.request(102, start), Answer::WaitBriefly(SETTLING_PATIENCE));
    let then = start + SETTLING_PATIENCE;
    assert_eq!(pool.impatient(102, then), Impatient::Use(3), "nobody was served since");
    for id in [6, 7] {
        pool.responded(id, start);
        assert_eq!(pool.ready(id, start), Free::Idle);
    }
    // As long as others are served nothing would be quicker.
    let crowd = CROWD as u64;
    for ticket in 200..=200 + crowd {
        assert_eq!(pool.request(ticket, start), Answer::WaitBriefly(SETTLING_PATIENCE));
    }
    for ticket in 200..200 + crowd {
        pool.responded(5, start);
        assert_eq!(pool.ready(5, start), Free::Use(ticket));
    }
    let last = 200 + crowd;
    assert_eq!(pool.impatient(last, then), Impatient::Hold(SETTLING_PATIENCE));
    assert_eq!(pool.impatient(last, then + SETTLING_PATIENCE), Impatient::Use(7));
    // What takes long is not held back: it is not the server that it waits for.
    let mut pool = busy(CROWD as u64 + 4, start);
    pool.set_strained(true);
    pool.responded(1, start);
    pool.ready(1, start);
    assert_eq!(pool.request(100, start), Answer::Use(1));
}

/// Microseconds. Ten thousand requests in a second.
const EVERY: u64 = 100;
const END: u64 = 1_000_000;
/// What an invocation costs the thread; and when more environments than this are at work.
const COST: u64 = 75;
const MANY: usize = 24;
const COST_OF_MANY: u64 = 115;
/// One of so many takes so long, in which the thread has nothing to do with it.
const LONG_EVERY: u64 = 1_000;
const LONG: u64 = 100_000;
const START: u64 = 6_500;
/// Of which the thread has so much.
const START_COST: u64 = 500;
/// The thread, or the whole machine, does something else.
const JAM: (u64, u64) = (500_000, 4_000);

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Arrives(Ticket),
    Served(EnvironmentId),
    LongOver(EnvironmentId),
    Started(EnvironmentId),
    LosesPatience(Ticket),
}

struct Jam {
    pool: Pool,
    origin: Instant,
    at: u64,
    events: BinaryHeap<Reverse<(u64, Event)>>,
    /// Until when the thread is at work, and how long it was in all.
    thread: (u64, u64),
    strain: Option<Strain>,
    spent: std::sync::Arc<std::sync::atomic::AtomicU64>,
    serving: HashMap<EnvironmentId, Ticket>,
    /// When each came, and how long the last ones took.
    took: VecDeque<u64>,
    next: EnvironmentId,
}

impl Jam {
    fn new(environments: u64, has_gauge: bool) -> Jam {
        let spent = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
        let count = spent.clone();
        let gauge = move || Some(count.load(std::sync::atomic::Ordering::Relaxed));
        let strain = has_gauge.then(|| Strain::new(std::sync::Arc::new(gauge)));
        let (mut pool, origin) = (Pool::default(), lambic_rt::Rt::simulated(1).instant());
        for id in 1..=environments {
            pool.starts(id, origin);
            pool.ready(id, origin + Duration::from_micros(START));
            pool.history.served(Duration::from_micros(COST));
        }
        let events = BinaryHeap::from([Reverse((0, Event::Arrives(0)))]);
        let (serving, took) = Default::default();
        Jam {
            pool,
            origin,
            at: 0,
            events,
            thread: (0, 0),
            strain,
            spent,
            serving,
            took,
            next: environments,
        }
    }

    fn now(&self) -> Instant {
        self.origin + Duration::from_micros(self.at)
    }

    fn later(&mut self, after: u64, event: Event) {
        self.events.push(Reverse((self.at + after, event)));
    }

    /// The thread does this after all else that it has to do; when it is done with it.
    fn work(&mut self, cost: u64) -> u64 {
        let mut from = self.thread.0.max(self.at);
        if (JAM.0..JAM.0 + JAM.1).contains(&from) {
            // It is at work for somebody.
            self.thread.1 += JAM.0 + JAM.1 - from;
            from = JAM.0 + JAM.1;
        }
        self.thread = (from + cost, self.thread.1 + cost);
        self.thread.0 - self.at
    }

    fn serve(&mut self, id: EnvironmentId, ticket: Ticket) {
        self.serving.insert(id, ticket);
        let cost = if self.serving.len() > MANY { COST_OF_MANY } else { COST };
        let done = self.work(cost);
        let is_long = ticket % LONG_EVERY == LONG_EVERY / 2;
        self.later(done, if is_long { Event::LongOver(id) } else { Event::Served(id) });
    }

    fn start(&mut self) {
        self.next += 1;
        let now = self.now();
        self.pool.starts(self.next, now);
        let done = self.work(START_COST);
        self.later(done.max(START), Event::Started(self.next));
    }

    fn look(&mut self) {
        // What it has still to do is work from now on.
        let spent =
            (self.thread.1 - self.thread.0.saturating_sub(self.at).min(self.thread.1)) * 1_000;
        self.spent.store(spent, std::sync::atomic::Ordering::Relaxed);
        if let (Some(strain), true) = (&self.strain, self.pool.is_busy()) {
            let is_strained = strain.is_strained(self.now());
            self.pool.set_strained(is_strained);
        }
    }

    fn free(&mut self, id: EnvironmentId) {
        self.look();
        if let Free::Use(ticket) = self.pool.ready(id, self.now()) {
            self.serve(id, ticket);
        }
    }

    fn happens(&mut self, event: Event) {
        let now = self.now();
        match event {
            Event::Arrives(ticket) => {
                if self.at < END {
                    let next = ticket + 1;
                    self.events.push(Reverse((next * EVERY, Event::Arrives(next))));
                }
                self.look();
                match self.pool.request(ticket, now) {
                    Answer::Use(id) => self.serve(id, ticket),
                    Answer::WaitAndStart => self.start(),
                    Answer::WaitBriefly(patience) => {
                        self.later(patience.as_micros() as u64, Event::LosesPatience(ticket));
                    }
                    Answer::Wait => {}
                    Answer::Closed => unreachable!("nobody closes it"),
                }
            }
            Event::LosesPatience(ticket) => match self.pool.impatient(ticket, now) {
                Impatient::Use(id) => self.serve(id, ticket),
                Impatient::Start => self.start(),
                Impatient::Hold(patience) => {
                    self.later(patience.as_micros() as u64, Event::LosesPatience(ticket));
                }
                Impatient::Wait => {}
            },
            Event::LongOver(id) => self.later(LONG, Event::Served(id)),
            Event::Served(id) => {
                let ticket = self.serving.remove(&id).expect("it served somebody");
                self.took.push_back(self.at - ticket * EVERY);
                self.pool.responded(id, now + Duration::from_secs(3));
                self.free(id);
            }
            Event::Started(id) => self.free(id),
        }
    }

    /// Of the last thousand, what 99 of 100 took no longer than; and how many environments there are.
    fn at_the_end(mut self) -> (u64, usize) {
        while let Some(Reverse((at, event))) = self.events.pop() {
            // What comes during the jam is seen after it.
            self.at = if (JAM.0..JAM.0 + JAM.1).contains(&at) { JAM.0 + JAM.1 } else { at };
            if self.at > END {
                break;
            }
            self.happens(event);
        }
        let mut last: Vec<u64> = self.took.iter().rev().take(1_000).copied().collect();
        last.sort_unstable();
        (last[989], self.pool.environments.len())
    }
}

#[test]
fn a_jam_costs_hardly_an_environment() {
    let (p99, environments) = Jam::new(8, false).at_the_end();
    assert!(p99 < 2_000 && environments <= 12, "{p99} us, {environments} environments");
}

/// The environments of an earlier burst are all put to work by a jam. Each invocation costs more then, so
/// that the queue never gets shorter by itself.
#[test]
fn a_jam_of_many_environments_dissolves() {
    let (blind, _) = Jam::new(64, false).at_the_end();
    assert!(blind > 20_000, "it would dissolve by itself: {blind} us");
    let (seeing, environments) = Jam::new(64, true).at_the_end();
    assert!(seeing < 2_000, "{seeing} us");
    assert!(environments <= 68, "{environments}");
}
