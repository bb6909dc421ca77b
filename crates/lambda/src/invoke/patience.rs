//! How a request gets an environment, and how long it waits for one at work before it costs another.
//!
//! Many requests wait for a fraction of a millisecond, and a timer of the runtime is dear: the first one
//! that ends sooner than all others costs a system call and a turn of the reactor. So the requests of a
//! pool share one: their moments are kept here, and a task sleeps until the earliest of those that still
//! wait.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::time::Duration;

use lambic_rt::{Instant, TaskKind};
use lambic_wire::error::Error;
use tokio::sync::oneshot;

use super::admit::Throttle;
use super::pool::{Answer, EnvironmentId, Impatient, Ticket};
use super::shell::{Grant, Inner, Shell};

/// Until when which requests are patient.
#[derive(Default)]
pub(super) struct Patience {
    moments: BinaryHeap<Moment>,
    /// What the task sleeps until that is responsible; one that was before ends when it wakes.
    watched: Option<Instant>,
    /// Tells that task from those.
    watch: u64,
}

/// The end of one request's patience.
struct Moment {
    at: Instant,
    ticket: Ticket,
    /// Is told whether to start an environment; closed when the request does not wait any more.
    tell: oneshot::Sender<bool>,
}

// The earliest is the greatest.
impl Ord for Moment {
    fn cmp(&self, other: &Moment) -> Ordering {
        other.at.cmp(&self.at).then(other.ticket.cmp(&self.ticket))
    }
}

impl PartialOrd for Moment {
    fn partial_cmp(&self, other: &Moment) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Moment {
    fn eq(&self, other: &Moment) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Moment {}

impl Patience {
    /// One more request waits until `at`. The number of the task that has to be started, sleeps until
    /// then and is responsible from now on, if there has to be one.
    fn add(&mut self, at: Instant, ticket: Ticket, tell: oneshot::Sender<bool>) -> Option<u64> {
        self.moments.push(Moment { at, ticket, tell });
        let is_first = self.watched.is_none_or(|watched| at < watched);
        is_first.then(|| {
            self.watched = Some(at);
            self.watch += 1;
            self.watch
        })
    }

    /// Whom the task of this number tells when it wakes; `None` if it is not responsible any more.
    fn wake(&mut self, watch: u64, now: Instant) -> Option<Vec<(Ticket, oneshot::Sender<bool>)>> {
        if watch != self.watch {
            return None;
        }
        Some(std::iter::from_fn(|| self.due(now)).collect())
    }

    /// One that was due waits until `at` after all; before [`Patience::rest`].
    fn again(&mut self, at: Instant, ticket: Ticket, tell: oneshot::Sender<bool>) {
        self.moments.push(Moment { at, ticket, tell });
    }

    /// Until when the task that has been woken sleeps again, if it does.
    fn rest(&mut self) -> Option<Instant> {
        self.watched = self.next();
        self.watched
    }

    /// Takes out a request that has waited long enough.
    fn due(&mut self, now: Instant) -> Option<(Ticket, oneshot::Sender<bool>)> {
        let Moment { ticket, tell, .. } =
            self.next().filter(|at| *at <= now).and_then(|_| self.moments.pop())?;
        Some((ticket, tell))
    }

    /// The next moment that matters.
    fn next(&mut self) -> Option<Instant> {
        while self.moments.peek().is_some_and(|moment| moment.tell.is_closed()) {
            self.moments.pop();
        }
        self.moments.peek().map(|moment| moment.at)
    }
}

impl Shell {
    /// Gets an environment, or waits for one.
    pub(super) async fn obtain(self: &Arc<Shell>) -> Grant {
        let ticket = self.common.id();
        let (sender, mut receiver) = oneshot::channel();
        let now = self.common.rt.instant();
        let mut impatient = None;
        let answer = {
            let mut inner = self.lock();
            self.note_strain(&mut inner, now);
            let answer = inner.pool.request(ticket, now);
            match answer {
                Answer::Use(id) => return inner.grant(id, Some(now)),
                Answer::Closed => return Grant::Closed,
                Answer::WaitBriefly(patience) => {
                    let (tell, told) = oneshot::channel();
                    impatient = Some(told);
                    if let Some(watch) = inner.patience.add(now + patience, ticket, tell) {
                        self.watch(watch, patience);
                    }
                }
                _ => {}
            }
            inner.waiting.insert(ticket, sender);
            answer
        };
        let start = match impatient {
            Some(impatient) => {
                tokio::select! {
                    biased;
                    grant = &mut receiver => {
                        self.common.figures.waits_saved_a_start.increment();
                        return grant.unwrap_or(Grant::Closed);
                    }
                    start = impatient => start.unwrap_or(false),
                }
            }
            None => answer == Answer::WaitAndStart,
        };
        if start && !self.start_on_demand() && self.withdraw(ticket) {
            return Grant::Refused(self.throttled(Throttle::ConcurrentInvocationLimitExceeded));
        }
        match self.common.rt.within(self.common.config.wait_max, &mut receiver).await {
            Some(grant) => grant.unwrap_or(Grant::Closed),
            None if self.withdraw(ticket) => Grant::Refused(Error::internal(format!(
                "no execution environment became available within {} seconds",
                self.common.config.wait_max.as_secs()
            ))),
            // Served at this very moment.
            None => receiver.await.unwrap_or(Grant::Closed),
        }
    }

    /// Sleeps, and tells those whose patience is at its end; until nobody waits patiently.
    fn watch(self: &Arc<Shell>, watch: u64, patience: Duration) {
        let (shell, mut left) = (self.clone(), patience);
        let watching = async move {
            loop {
                shell.common.rt.sleep(left).await;
                let now = shell.common.rt.instant();
                let mut inner = shell.lock();
                let Some(due) = inner.patience.wake(watch, now) else { return };
                let lose = |(ticket, tell)| inner.loses_patience(ticket, tell, now);
                let unused: Vec<_> = due.into_iter().filter_map(lose).collect();
                let next = inner.patience.rest();
                drop(inner);
                for id in unused {
                    shell.responded(id, now);
                    shell.ready(id);
                }
                let Some(next) = next else { return };
                left = next.saturating_duration_since(now);
            }
        };
        self.common.rt.spawn("patience of requests", TaskKind::Request, watching).detach();
    }
}

impl Inner {
    /// Does for a request what is left to do. An environment that it would have had, when nobody takes it
    /// any more.
    fn loses_patience(
        &mut self,
        ticket: Ticket,
        tell: oneshot::Sender<bool>,
        now: Instant,
    ) -> Option<EnvironmentId> {
        match self.pool.impatient(ticket, now) {
            Impatient::Use(id) => {
                let grant = self.grant(id, None);
                let sender = self.waiting.remove(&ticket);
                let is_taken = sender.is_some_and(|sender| sender.send(grant).is_ok());
                (!is_taken).then_some(id)
            }
            Impatient::Hold(patience) => {
                self.patience.again(now + patience, ticket, tell);
                None
            }
            what => {
                // One that has gone since then needs to be told nothing.
                let _ = tell.send(what == Impatient::Start);
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use lambic_rt::Rt;

    use super::*;

    #[test]
    fn those_that_wait_no_longer_are_passed_over() {
        let now = Rt::simulated(1).instant();
        let at = |ms| now + Duration::from_millis(ms);
        let mut patience = Patience::default();
        let mut told = Vec::new();
        for (ticket, ms, watch) in
            [(1, 30, Some(1)), (2, 40, None), (3, 10, Some(2)), (4, 35, None)]
        {
            let (tell, receiver) = oneshot::channel();
            assert_eq!(patience.add(at(ms), ticket, tell), watch, "{ticket}");
            told.push(receiver);
        }
        assert!(patience.due(at(9)).is_none());
        let due = |patience: &mut Patience, ms| patience.due(at(ms)).map(|(ticket, _)| ticket);
        assert_eq!(due(&mut patience, 10), Some(3));
        // The first has got an environment.
        drop(told.remove(0));
        assert_eq!(patience.next(), Some(at(35)));
        assert_eq!(due(&mut patience, 30), None);
        assert_eq!((due(&mut patience, 99), due(&mut patience, 99)), (Some(4), Some(2)));
        assert_eq!((patience.next(), due(&mut patience, 99)), (None, None));
    }

    #[test]
    fn one_task_is_responsible_at_a_time() {
        let now = Rt::simulated(1).instant();
        let at = |ms| now + Duration::from_millis(ms);
        let mut patience = Patience::default();
        let mut told = Vec::new();
        let mut add = |patience: &mut Patience, ms| {
            let (tell, receiver) = oneshot::channel();
            told.push(receiver);
            patience.add(at(ms), ms, tell)
        };
        assert_eq!((add(&mut patience, 50), add(&mut patience, 10)), (Some(1), Some(2)));
        assert_eq!(patience.wake(2, at(10)).map(|due| due.len()), Some(1));
        let (tell, _told) = oneshot::channel();
        patience.again(at(45), 5, tell);
        assert_eq!(patience.rest(), Some(at(45)), "the second goes on with what is left");
        assert!(patience.wake(1, at(50)).is_none(), "the first ends");
        assert_eq!(patience.wake(2, at(50)).map(|due| due.len()), Some(2));
        assert_eq!(patience.rest(), None);
        assert_eq!(add(&mut patience, 70), Some(3));
    }
}
