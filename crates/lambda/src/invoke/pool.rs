//! The environments of one version snapshot and the requests that wait for one of them.
//!
//! Pure: no clock, no I/O. Each method is one step; it changes the pool and returns what the shell
//! has to do. Environments go Starting → Busy → Settling → Idle → Busy …; one that leaves the pool
//! never comes back. Idle ones are used newest first, so that a burst's surplus grows old and is
//! reaped. A request that finds none idle waits for whichever is first: one being started, or one
//! that becomes free.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use lambic_rt::Instant;

/// Names one environment on this server.
pub type EnvironmentId = u64;
/// Names one request that waits for an environment.
pub type Ticket = u64;

/// Where an environment of the pool is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Slot {
    /// Being made; nobody has it.
    Starting,
    /// Serving one invocation.
    Busy,
    /// Its invocation is answered, the runtime has not yet asked for the next one.
    Settling { until: Instant },
    /// Waiting for work.
    Idle { since: Instant },
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
    /// It waits for one that is about to be free; after a moment the shell asks
    /// [`Pool::impatient`].
    WaitBriefly,
    /// The pool is closed for good; look the snapshot's pool up again.
    Closed,
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

/// See the module.
#[derive(Debug, Default)]
pub struct Pool {
    slots: HashMap<EnvironmentId, Slot>,
    /// From when on an environment serves nobody any more.
    old_at: HashMap<EnvironmentId, Instant>,
    /// Newest last.
    idle: Vec<EnvironmentId>,
    waiting: VecDeque<Ticket>,
    starting: usize,
    settling: usize,
    /// Provisioned: so many are there all the time, whether anybody asks for them or not.
    kept: usize,
    retired: bool,
    closed: bool,
}

impl Pool {
    /// A request wants an environment.
    pub fn request(&mut self, ticket: Ticket) -> Answer {
        if self.closed {
            return Answer::Closed;
        }
        if let Some(id) = self.idle.pop() {
            let before = self.slots.insert(id, Slot::Busy);
            assert!(matches!(before, Some(Slot::Idle { .. })), "an idle environment was not idle");
            return Answer::Use(id);
        }
        self.waiting.push_back(ticket);
        if self.starting >= self.waiting.len() {
            Answer::Wait
        } else if self.starting + self.settling >= self.waiting.len() {
            Answer::WaitBriefly
        } else {
            Answer::WaitAndStart
        }
    }

    /// The brief wait of a request is over. Whether one more environment is to be started for it.
    pub fn impatient(&mut self, ticket: Ticket) -> bool {
        self.waiting.contains(&ticket) && self.starting < self.waiting.len()
    }

    /// The shell starts an environment.
    pub fn starts(&mut self, id: EnvironmentId) {
        let before = self.slots.insert(id, Slot::Starting);
        assert!(before.is_none(), "an environment's id was used twice");
        self.starting += 1;
    }

    /// From then on the environment is too old to serve; its credentials end about then.
    pub fn ages(&mut self, id: EnvironmentId, old_at: Instant) {
        self.old_at.insert(id, old_at);
    }

    fn is_old(&self, id: EnvironmentId, now: Instant) -> bool {
        self.old_at.get(&id).is_some_and(|old_at| *old_at <= now)
    }

    /// The runtime asks for work: its first, or its next after an invocation.
    pub fn ready(&mut self, id: EnvironmentId, now: Instant) -> Free {
        match self.slots.get(&id) {
            Some(Slot::Starting) => self.starting -= 1,
            Some(Slot::Settling { .. }) => self.settling -= 1,
            // A runtime that asks twice is not freer for it.
            Some(Slot::Idle { .. }) => return Free::Idle,
            Some(Slot::Busy) | None => return Free::Unknown,
        }
        if self.is_old(id, now) {
            self.slots.remove(&id);
            self.old_at.remove(&id);
            return Free::Stop;
        }
        if let Some(ticket) = self.waiting.pop_front() {
            self.slots.insert(id, Slot::Busy);
            return Free::Use(ticket);
        }
        if self.retired {
            self.slots.remove(&id);
            self.old_at.remove(&id);
            return Free::Stop;
        }
        self.slots.insert(id, Slot::Idle { since: now });
        self.idle.push(id);
        Free::Idle
    }

    /// The invocation is answered. The runtime has until `until` to ask for the next one.
    pub fn responded(&mut self, id: EnvironmentId, until: Instant) {
        if let Some(slot @ Slot::Busy) = self.slots.get_mut(&id) {
            *slot = Slot::Settling { until };
            self.settling += 1;
        }
    }

    /// The start of an environment failed once. It is tried again inside the invocation of the
    /// request that is returned, which has it from now on.
    pub fn claim(&mut self, id: EnvironmentId) -> Option<Ticket> {
        if self.slots.get(&id) != Some(&Slot::Starting) {
            return None;
        }
        let ticket = self.waiting.pop_front()?;
        self.slots.insert(id, Slot::Busy);
        self.starting -= 1;
        Some(ticket)
    }

    /// The environment is gone. How many more are to be started for those who still wait.
    pub fn gone(&mut self, id: EnvironmentId) -> usize {
        self.old_at.remove(&id);
        match self.slots.remove(&id) {
            Some(Slot::Starting) => self.starting -= 1,
            Some(Slot::Settling { .. }) => self.settling -= 1,
            Some(Slot::Idle { .. }) => self.idle.retain(|other| *other != id),
            Some(Slot::Busy) | None => {}
        }
        self.wanted()
    }

    /// How many more are to be started, now that some are gone, for those who wait.
    pub fn wanted(&self) -> usize {
        self.waiting.len().saturating_sub(self.starting + self.settling)
    }

    /// A request waits no longer. Whether it was still waiting.
    pub fn withdraw(&mut self, ticket: Ticket) -> bool {
        let before = self.waiting.len();
        self.waiting.retain(|other| *other != ticket);
        self.waiting.len() < before
    }

    /// So many environments are there from now on, whether anybody asks for them or not.
    pub fn keep(&mut self, kept: usize) {
        self.kept = kept;
    }

    /// How many are to be started for that.
    pub fn missing(&self) -> usize {
        if self.retired { 0 } else { self.kept.saturating_sub(self.slots.len()) }
    }

    /// How many have started.
    pub fn started(&self) -> usize {
        self.slots.len() - self.starting
    }

    /// How many may go without any being missing.
    fn surplus(&self) -> usize {
        if self.retired { self.slots.len() } else { self.slots.len().saturating_sub(self.kept) }
    }

    /// Takes out those that have been idle for `idle_max`, and idle ones that are too old; they end.
    pub fn reap(&mut self, now: Instant, idle_max: Duration) -> Vec<EnvironmentId> {
        let mut surplus = self.surplus();
        let mut out = Vec::new();
        for (id, since) in self.idle() {
            let is_surplus = now.saturating_duration_since(since) >= idle_max && surplus > 0;
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
        self.take_out(|slot| matches!(slot, Slot::Settling { until } if *until <= now))
    }

    /// The snapshot is no longer current: takes out the idle ones, which end; the others end as
    /// they become free.
    pub fn retire(&mut self) -> Vec<EnvironmentId> {
        self.retired = true;
        self.take_out(|slot| matches!(slot, Slot::Idle { .. }))
    }

    /// Takes this one out if it is idle and not provisioned. Whether it was.
    pub fn evict(&mut self, id: EnvironmentId) -> bool {
        let is_idle = matches!(self.slots.get(&id), Some(Slot::Idle { .. }));
        let is_idle = is_idle && self.surplus() > 0;
        if is_idle {
            self.gone(id);
        }
        is_idle
    }

    /// The idle environments, oldest first, and since when they are.
    pub fn idle(&self) -> Vec<(EnvironmentId, Instant)> {
        let since = |id: &EnvironmentId| match self.slots.get(id) {
            Some(Slot::Idle { since }) => Some((*id, *since)),
            _ => None,
        };
        self.idle.iter().filter_map(since).collect()
    }

    /// The idle environments that may make room for others, oldest first.
    pub fn evictable(&self) -> Vec<(EnvironmentId, Instant)> {
        let mut idle = self.idle();
        idle.truncate(self.surplus());
        idle
    }

    /// Closes the pool if it has neither environments nor waiting requests. Whether it is closed.
    pub fn close_if_empty(&mut self) -> bool {
        self.closed |= self.slots.is_empty() && self.waiting.is_empty() && self.missing() == 0;
        self.closed
    }

    /// Whether it was closed.
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// Whether it has environments or waiting requests that are not idle.
    pub fn is_working(&self) -> bool {
        self.slots.len() > self.idle.len() || !self.waiting.is_empty()
    }

    fn take_out(&mut self, which: impl Fn(&Slot) -> bool) -> Vec<EnvironmentId> {
        let mut out: Vec<_> =
            self.slots.iter().filter(|(_, slot)| which(slot)).map(|(id, _)| *id).collect();
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
