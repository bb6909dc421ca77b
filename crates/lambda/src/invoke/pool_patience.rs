//! How long a request waits for an environment at work before another one is woken or started for it.
//!
//! Part of the pool, and as pure: it only looks.

use std::time::Duration;

use lambic_rt::Instant;

use super::{Environment, Pool, Slot};

/// A request behind an environment that has just answered waits so long before it costs another
/// environment. A runtime asks for its next event within a fraction of a millisecond, but one that
/// has used up its share of the processor is held back for tens of them.
pub const SETTLING_PATIENCE: Duration = Duration::from_millis(50);

/// Nobody waits longer for one that is at work before one is started for him, nor longer than a start
/// takes: a wrong guess costs at most the time of one more start.
pub const PATIENCE_MAX: Duration = Duration::from_millis(250);

/// Nor is less worth a timer.
const PATIENCE_MIN: Duration = Duration::from_millis(1);

/// One that rests is not woken for whoever is expected to be served sooner than this.
const WAKING: Duration = Duration::from_millis(1);

/// What is usually over within this time, and is not, is given half of it more.
const QUICK: Duration = Duration::from_millis(1);

/// Fewer environments at work than this are never held back.
pub const CROWD: usize = 16;

/// Nor are those whose invocations take longer: it is they that keep each other waiting, not the server.
const SHORT: Duration = Duration::from_millis(20);

impl Pool {
    /// Whether so many are at work that it may soon make a difference if the server is under strain.
    pub fn is_busy(&self) -> bool {
        self.busy() + self.settling >= CROWD / 2
    }

    fn is_crowded(&self) -> bool {
        self.busy() + self.settling >= CROWD
    }

    /// Whether the server is under strain.
    pub fn set_strained(&mut self, strained: bool) {
        self.strained = strained;
    }

    /// Whether no more of them are to work at once.
    pub(super) fn holds_back(&self) -> bool {
        let is_short = |left| left <= SHORT;
        self.strained
            && self.is_crowded()
            && self.history.left_of(Duration::ZERO).is_some_and(is_short)
    }

    /// How long one more request may wait before one that rests is woken for it.
    pub(super) fn patience_before_waking(&self, now: Instant) -> Option<Duration> {
        let newest = self.idle.last().and_then(|id| self.environments.get(id));
        if !newest.is_some_and(|environment| environment.rests) {
            return None;
        }
        let expected = self.expected(self.waiting.len(), now)?;
        (expected <= WAKING).then(|| (expected * 2).max(PATIENCE_MIN))
    }

    /// How long one more request may wait before an environment is started for it. `None`: one is to
    /// be started now, or more are being started than requests wait.
    pub(super) fn patience(&self, now: Instant) -> Option<Duration> {
        let ahead = self.waiting.len();
        if self.starting > ahead {
            return None;
        }
        if self.starting + self.settling > ahead {
            return Some(SETTLING_PATIENCE);
        }
        // Those that start or settle serve so many of them; the others and this one come after.
        self.patience_for_busy(ahead - self.starting - self.settling, now)
    }

    /// The same for one that has so many before it at those that are at work.
    fn patience_for_busy(&self, ahead: usize, now: Instant) -> Option<Duration> {
        let start = self.history.start()?;
        // Twice what is expected: a wait that is cut off just before its end was for nothing. And well
        // before a new one would be ready: a new one serves the next burst as well.
        let patience = (self.expected(ahead, now)? * 2).max(PATIENCE_MIN);
        (patience < start).then(|| patience.min(PATIENCE_MAX))
    }

    /// In which time those at work have probably served so many and are free for one more.
    fn expected(&self, ahead: usize, now: Instant) -> Option<Duration> {
        let busy = self.busy();
        let whole = self.history.left_of(Duration::ZERO)?;
        // Each of them would have to serve so many before.
        let rounds = u32::try_from(ahead.checked_div(busy)?).ok()?;
        let before = whole.checked_mul(rounds)?;
        if before >= PATIENCE_MAX {
            return None;
        }
        // When all are late it is not they: something has held up the server, or the machine.
        let late = (whole <= QUICK).then_some(QUICK / 2);
        let left = |environment: &Environment| match environment.slot {
            Slot::Busy { since: Some(since) } => {
                self.history.left_of(now.saturating_duration_since(since)).or(late)
            }
            _ => None,
        };
        let mut left: Vec<Duration> = self.environments.values().filter_map(left).collect();
        let at = ahead % busy;
        if at >= left.len() {
            return None;
        }
        let (_, nth, _) = left.select_nth_unstable(at);
        Some(*nth + before)
    }

    /// How long one that has waited in vain may wait on, by how fast those before it were served: what was
    /// expected knew nothing of the others who take the same server's time.
    pub(super) fn patience_left(&self, at: usize, now: Instant) -> Option<Duration> {
        let waiter = self.waiting.get(at).filter(|waiter| waiter.is_patient)?;
        let served = u32::try_from(self.answered - waiter.answered).ok()?;
        if self.holds_back() && served >= CROWD as u32 {
            return Some(SETTLING_PATIENCE);
        }
        let waited = now.saturating_duration_since(waiter.since);
        let before = u32::try_from(at + 1).ok()?;
        let left = waited.checked_mul(before)?.checked_div(served)?;
        let other = if self.idle.is_empty() { self.history.start()? } else { WAKING };
        (left < other).then(|| (left * 2).clamp(PATIENCE_MIN, PATIENCE_MAX))
    }
}
