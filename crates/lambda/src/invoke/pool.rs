//! The environments of one version snapshot and the requests that wait for one of them.
//!
//! Pure: no clock, no I/O. Each method is one step; it changes the pool and returns what the shell
//! has to do. Environments go Starting → Busy → Settling → Idle → Busy …; one that leaves the pool
//! never comes back. Idle ones are used newest first, so that a burst's surplus grows old and loses its
//! worth. A request that finds none idle waits for whichever is first: one being started, or one that
//! becomes free.
//!
//! Early binding: when one that is at work will probably be free sooner than a new one would be ready,
//! nothing is started for a request; it is *patient*. Its patience has a bound, after which one is
//! started all the same, unless the queue before it moves so fast that its turn comes sooner. At any
//! time as many are being started as there are impatient requests, and one that has started serves an
//! impatient request first, so nobody waits for what never comes.
//!
//! An idle environment that has been stopped *rests*. To wake it takes the server a tenth of a millisecond,
//! and finds nothing of it in the caches; so a request is patient with those at work, too, before it wakes
//! one, if they are quicker. Otherwise a jam of a few milliseconds would wake all there are, for which
//! all others wait, and the next jam is there.
//!
//! The same holds for many at work at once when the thread that serves them is *under strain*
//! ([`super::strain`]): no more are set to work then for invocations that are short, and of those that
//! are, one that becomes free rests until there are few enough. Whoever waits is patient as long as the
//! others are served.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use lambic_rt::Instant;

use super::history::History;
use super::worth::{Idle, Keep, Worth};

#[path = "pool_patience.rs"]
mod patience;

pub use patience::{CROWD, PATIENCE_MAX, SETTLING_PATIENCE};

/// Names one environment on this server.
pub type EnvironmentId = u64;
/// Names one request that waits for an environment.
pub type Ticket = u64;

/// Where an environment of the pool is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Slot {
    /// Being made; nobody has it.
    Starting { since: Instant },
    /// Serving one invocation.
    Busy { since: Option<Instant> },
    /// Its invocation is answered, the runtime has not yet asked for the next one.
    Settling { since: Option<Instant>, until: Instant },
    /// Waiting for work.
    Idle { since: Instant },
}

#[derive(Debug)]
struct Environment {
    slot: Slot,
    /// From when on it serves nobody any more.
    old_at: Option<Instant>,
    /// It is idle, and stopped.
    rests: bool,
}

/// What the shell does for a new request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// This environment serves it now.
    Use(EnvironmentId),
    /// It waits; one more environment is to be started.
    WaitAndStart,
    /// It waits; as many environments are being started as requests wait.
    Wait,
    /// It waits for one that is about to be free; after this time the shell asks
    /// [`Pool::impatient`].
    WaitBriefly(Duration),
    /// The pool is closed for good; look the snapshot's pool up again.
    Closed,
}

/// What the shell does for a request whose patience is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Impatient {
    /// It is served by this environment, which has rested.
    Use(EnvironmentId),
    /// One more environment is to be started.
    Start,
    /// The queue moves, and nothing would make it quicker; the shell asks again after this time.
    Hold(Duration),
    /// Nothing: it does not wait any more, or as many are being started as there are impatient ones.
    Wait,
}

/// What the shell does with an environment that became free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Free {
    /// It serves the request of this ticket now.
    Use(Ticket),
    /// It waits for work.
    Idle,
    /// It ends: it is too old, or the snapshot is retired and nobody waits. It has left the pool;
    /// see [`Pool::wanted`].
    Stop,
    /// The pool does not have it (any more); it ends.
    Unknown,
}

/// An idle environment that may make room for others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Evictable {
    /// Which one.
    pub id: EnvironmentId,
    /// It is needed when so many requests are there at once.
    pub level: usize,
    /// Since when it is idle.
    pub since: Instant,
    /// Never less than that of an older one of the pool.
    pub worth: Worth,
}

#[derive(Debug)]
struct Waiter {
    ticket: Ticket,
    is_patient: bool,
    /// When it was last told to wait, and how many had been answered then.
    since: Instant,
    answered: u64,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Pool {
    environments: HashMap<EnvironmentId, Environment>,
    /// Newest last.
    idle: Vec<EnvironmentId>,
    waiting: VecDeque<Waiter>,
    patient: usize,
    starting: usize,
    settling: usize,
    /// Provisioned: so many are there all the time, whether anybody asks for them or not.
    kept: usize,
    /// Invocations so far.
    answered: u64,
    /// The server has more to do than it can.
    strained: bool,
    retired: bool,
    closed: bool,
    memory_mb: u32,
    history: History,
}

impl Pool {
    /// For environments of that size, with what is known from before.
    pub fn new(memory_mb: u32, history: History) -> Pool {
        Pool { memory_mb, history, ..Pool::default() }
    }

    /// What it has learnt.
    pub fn history(&self) -> &History {
        &self.history
    }

    /// Requests that wait or are served.
    fn at_work(&self) -> usize {
        self.environments.len() - self.idle.len() - self.starting + self.waiting.len()
    }

    fn busy(&self) -> usize {
        self.environments.len() - self.idle.len() - self.starting - self.settling
    }

    fn impatient_ones(&self) -> usize {
        self.waiting.len() - self.patient
    }

    fn set(&mut self, id: EnvironmentId, slot: Slot) {
        self.environments.get_mut(&id).expect("the pool has it").slot = slot;
    }

    /// A request wants an environment.
    pub fn request(&mut self, ticket: Ticket, now: Instant) -> Answer {
        if self.closed {
            return Answer::Closed;
        }
        let patience = match self.idle.last() {
            _ if self.holds_back() => Some(SETTLING_PATIENCE),
            Some(_) => match self.patience_before_waking(now) {
                Some(patience) => Some(patience),
                None => {
                    let id = self.take_idle(now).expect("one is idle");
                    self.history.reached(self.at_work(), now);
                    return Answer::Use(id);
                }
            },
            None => self.patience(now),
        };
        let (is_patient, answered) = (patience.is_some(), self.answered);
        self.waiting.push_back(Waiter { ticket, is_patient, since: now, answered });
        self.history.reached(self.at_work(), now);
        if let Some(patience) = patience {
            self.patient += 1;
            return Answer::WaitBriefly(patience);
        }
        if self.starting >= self.waiting.len() { Answer::Wait } else { Answer::WaitAndStart }
    }

    /// The newest of the idle ones, which serves from now on.
    fn take_idle(&mut self, now: Instant) -> Option<EnvironmentId> {
        let id = self.idle.pop()?;
        let environment = self.environments.get_mut(&id).expect("what is idle is there");
        assert!(matches!(environment.slot, Slot::Idle { .. }), "an idle environment was not idle");
        environment.slot = Slot::Busy { since: Some(now) };
        environment.rests = false;
        Some(id)
    }

    /// The patience of a request is over.
    pub fn impatient(&mut self, ticket: Ticket, now: Instant) -> Impatient {
        let Some(at) = self.waiting.iter().position(|waiter| waiter.ticket == ticket) else {
            return Impatient::Wait;
        };
        if let Some(patience) = self.patience_left(at, now) {
            let waiter = &mut self.waiting[at];
            (waiter.since, waiter.answered) = (now, self.answered);
            return Impatient::Hold(patience);
        }
        let waiter = &mut self.waiting[at];
        if std::mem::take(&mut waiter.is_patient) {
            self.patient -= 1;
        }
        if let Some(id) = self.take_idle(now) {
            self.waiting.remove(at);
            return Impatient::Use(id);
        }
        if self.starting < self.impatient_ones() { Impatient::Start } else { Impatient::Wait }
    }

    /// The shell has stopped one that is idle, until it serves again.
    pub fn rests(&mut self, id: EnvironmentId) {
        if let Some(environment) = self.environments.get_mut(&id) {
            debug_assert!(matches!(environment.slot, Slot::Idle { .. }), "only an idle one rests");
            environment.rests = true;
        }
    }

    /// Since when this one is idle without resting, if it is.
    pub fn idle_since(&self, id: EnvironmentId) -> Option<Instant> {
        let environment = self.environments.get(&id).filter(|environment| !environment.rests)?;
        if let Slot::Idle { since } = environment.slot { Some(since) } else { None }
    }

    /// The shell starts an environment.
    pub fn starts(&mut self, id: EnvironmentId, now: Instant) {
        let slot = Slot::Starting { since: now };
        let before = self.environments.insert(id, Environment { slot, old_at: None, rests: false });
        assert!(before.is_none(), "an environment's id was used twice");
        self.starting += 1;
    }

    /// From then on the environment is too old to serve; its credentials end about then.
    pub fn ages(&mut self, id: EnvironmentId, old_at: Instant) {
        if let Some(environment) = self.environments.get_mut(&id) {
            environment.old_at = Some(old_at);
        }
    }

    fn is_old(&self, id: EnvironmentId, now: Instant) -> bool {
        let old_at = self.environments.get(&id).and_then(|environment| environment.old_at);
        old_at.is_some_and(|old_at| old_at <= now)
    }

    /// The first who waits, or with `impatient` the first who has no patience left, if there is one.
    fn next_waiter(&mut self, impatient: bool) -> Option<Ticket> {
        let first = match impatient && self.patient > 0 {
            true => self.waiting.iter().position(|waiter| !waiter.is_patient).unwrap_or(0),
            false => 0,
        };
        let waiter = self.waiting.remove(first)?;
        self.patient -= usize::from(waiter.is_patient);
        Some(waiter.ticket)
    }

    /// The runtime asks for work: its first, or its next after an invocation.
    pub fn ready(&mut self, id: EnvironmentId, now: Instant) -> Free {
        let Some(environment) = self.environments.get(&id) else { return Free::Unknown };
        let has_started = match environment.slot {
            Slot::Starting { since } => {
                self.starting -= 1;
                self.history.started(now.saturating_duration_since(since));
                true
            }
            Slot::Settling { since, .. } => {
                // Before it is counted off, with the request that it has served.
                self.history.left(self.at_work(), now);
                self.settling -= 1;
                if let Some(since) = since {
                    self.history.served(now.saturating_duration_since(since));
                }
                false
            }
            // A runtime that asks twice is not freer for it.
            Slot::Idle { .. } => return Free::Idle,
            Slot::Busy { .. } => return Free::Unknown,
        };
        if self.is_old(id, now) {
            self.environments.remove(&id);
            return Free::Stop;
        }
        // It is counted among those at work here, with others enough for whoever waits.
        let is_one_too_many = !has_started && !self.retired && {
            let at_work = self.busy() + self.settling;
            at_work > CROWD && self.holds_back()
        };
        if !is_one_too_many && let Some(ticket) = self.next_waiter(has_started) {
            self.set(id, Slot::Busy { since: Some(now) });
            return Free::Use(ticket);
        }
        if self.retired {
            self.environments.remove(&id);
            return Free::Stop;
        }
        self.set(id, Slot::Idle { since: now });
        self.idle.push(id);
        Free::Idle
    }

    /// The invocation is answered. The runtime has until `until` to ask for the next one.
    pub fn responded(&mut self, id: EnvironmentId, until: Instant) {
        if let Some(environment) = self.environments.get_mut(&id)
            && let Slot::Busy { since } = environment.slot
        {
            environment.slot = Slot::Settling { since, until };
            self.settling += 1;
            self.answered += 1;
        }
    }

    /// The start of an environment failed once. It is tried again inside the invocation of the
    /// request that is returned, which has it from now on; `None` if nobody waits for it.
    pub fn claim(&mut self, id: EnvironmentId) -> Option<Ticket> {
        let environment = self.environments.get(&id)?;
        if !matches!(environment.slot, Slot::Starting { .. }) {
            return None;
        }
        if self.impatient_ones() == 0 && self.busy() + self.settling > 0 {
            // Those who wait patiently wait for another one.
            return None;
        }
        let ticket = self.next_waiter(true)?;
        // How long it serves says nothing: the start is part of it.
        self.set(id, Slot::Busy { since: None });
        self.starting -= 1;
        Some(ticket)
    }

    /// The environment is gone. How many more are to be started for those who still wait.
    pub fn gone(&mut self, id: EnvironmentId) -> usize {
        match self.environments.remove(&id).map(|environment| environment.slot) {
            Some(Slot::Starting { .. }) => self.starting -= 1,
            Some(Slot::Settling { .. }) => self.settling -= 1,
            Some(Slot::Idle { .. }) => self.idle.retain(|other| *other != id),
            Some(Slot::Busy { .. }) | None => {}
        }
        self.wanted()
    }

    /// How many more are to be started, now that some are gone, for those who wait. Patient ones need
    /// none as long as there is anything that they may wait for.
    pub fn wanted(&self) -> usize {
        let has_any = self.busy() + self.settling > 0;
        let need = if has_any { self.impatient_ones() } else { self.waiting.len() };
        // Those that rest are for whoever loses his patience with the others.
        need.saturating_sub(self.starting + self.idle.len())
    }

    /// A request waits no longer. Whether it was still waiting.
    pub fn withdraw(&mut self, ticket: Ticket) -> bool {
        let at = self.waiting.iter().position(|waiter| waiter.ticket == ticket);
        let waiter = at.and_then(|at| self.waiting.remove(at));
        self.patient -= usize::from(waiter.as_ref().is_some_and(|waiter| waiter.is_patient));
        waiter.is_some()
    }

    /// The first who has no patience left, if any has none; he is told when nothing can be started.
    pub fn first_impatient(&self) -> Option<Ticket> {
        let first = self.waiting.iter().find(|waiter| !waiter.is_patient);
        first.or_else(|| self.waiting.front()).map(|waiter| waiter.ticket)
    }

    /// So many environments are there from now on, whether anybody asks for them or not.
    pub fn keep(&mut self, kept: usize) {
        self.kept = kept;
    }

    /// How many are to be started for that.
    pub fn missing(&self) -> usize {
        if self.retired { 0 } else { self.kept.saturating_sub(self.environments.len()) }
    }

    /// How many have started.
    pub fn started(&self) -> usize {
        self.environments.len() - self.starting
    }

    /// How many may go without any being missing.
    fn surplus(&self) -> usize {
        let all = self.environments.len();
        if self.retired { all } else { all.saturating_sub(self.kept) }
    }

    /// Takes out idle ones that are not worth their memory any more, the oldest first, and those that
    /// are too old; they end.
    pub fn reap(&mut self, now: Instant, keep: &Keep) -> Vec<EnvironmentId> {
        let mut surplus = self.surplus();
        let mut out = Vec::new();
        // The first that stays is worth no more than those that came after it.
        let mut is_staying = false;
        for (id, idle) in self.idle_levels() {
            let is_surplus = !is_staying && surplus > 0 && keep.is_over(&self.history, &idle, now);
            is_staying |= !is_surplus;
            if is_surplus || self.is_old(id, now) {
                surplus = surplus.saturating_sub(1);
                out.push(id);
            }
        }
        out.sort_unstable();
        for id in &out {
            self.gone(*id);
        }
        out
    }

    /// Takes out those whose runtime did not ask for work in time after its answer; they end.
    pub fn overdue(&mut self, now: Instant) -> Vec<EnvironmentId> {
        if self.settling == 0 {
            return Vec::new();
        }
        self.take_out(|slot| matches!(slot, Slot::Settling { until, .. } if *until <= now))
    }

    /// The snapshot is no longer current: takes out the idle ones, which end; the others end as
    /// they become free.
    pub fn retire(&mut self) -> Vec<EnvironmentId> {
        self.retired = true;
        self.take_out(|slot| matches!(slot, Slot::Idle { .. }))
    }

    /// Takes this one out if it is idle and not provisioned. Whether it was.
    pub fn evict(&mut self, id: EnvironmentId) -> bool {
        let slot = self.environments.get(&id).map(|environment| environment.slot);
        let is_evicted = matches!(slot, Some(Slot::Idle { .. })) && self.surplus() > 0;
        if is_evicted {
            self.gone(id);
        }
        is_evicted
    }

    /// The idle environments, oldest first, and since when they are.
    pub fn idle(&self) -> impl Iterator<Item = (EnvironmentId, Instant)> {
        let since = |id: &EnvironmentId| match self.environments.get(id)?.slot {
            Slot::Idle { since } => Some((*id, since)),
            _ => None,
        };
        self.idle.iter().filter_map(since)
    }

    /// The idle environments, oldest first, and when each is needed: the newest by the next request.
    fn idle_levels(&self) -> impl Iterator<Item = (EnvironmentId, Idle)> {
        let (next, count) = (self.at_work() + 1, self.idle.len());
        self.idle().enumerate().map(move |(at, (id, since))| {
            (id, Idle { since, level: next + (count - 1 - at), memory_mb: self.memory_mb })
        })
    }

    /// The idle environments that may make room for others, oldest first.
    pub fn evictable(&self, now: Instant, keep: &Keep) -> Vec<Evictable> {
        let mut least: Option<Worth> = None;
        let evictable = |(id, idle): (EnvironmentId, Idle)| {
            let worth = keep.worth(&self.history, &idle, now);
            let worth = least.map_or(worth, |older| older.max(worth));
            least = Some(worth);
            Evictable { id, level: idle.level, since: idle.since, worth }
        };
        self.idle_levels().take(self.surplus()).map(evictable).collect()
    }

    /// Closes the pool if it has neither environments nor waiting requests. Whether it is closed.
    pub fn close_if_empty(&mut self) -> bool {
        let is_empty = self.environments.is_empty() && self.waiting.is_empty();
        self.closed |= is_empty && self.missing() == 0;
        self.closed
    }

    /// Whether it was closed.
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// Whether it has environments or waiting requests that are not idle.
    pub fn is_working(&self) -> bool {
        self.environments.len() > self.idle.len() || !self.waiting.is_empty()
    }

    fn take_out(&mut self, which: impl Fn(&Slot) -> bool) -> Vec<EnvironmentId> {
        let taken = self.environments.iter().filter(|(_, environment)| which(&environment.slot));
        let mut out: Vec<_> = taken.map(|(id, _)| *id).collect();
        out.sort_unstable();
        for id in &out {
            self.gone(*id);
        }
        out
    }
}

#[cfg(test)]
#[path = "pool_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "pool_jam_tests.rs"]
mod jam_tests;
