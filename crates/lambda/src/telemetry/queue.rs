//! What one subscriber has not been sent yet: a pure value without clock and without I/O.
//!
//! Events are put together into batches as they come. A batch is ready when it is full, when its
//! first event is as old as the subscriber allows, or when it is asked for. What waits is bounded to
//! two full batches besides the one that is on its way, and all queues of an environment share one
//! budget. What has no room is dropped and counted; a `platform.logsDropped` stands in its place, as
//! soon as there is room for that. The order of what is left is the order in which it happened.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use lambic_rt::Instant;

use super::subscription::Buffering;

/// Full batches that may wait.
const BATCHES_WAITING_MAX: usize = 2;

/// Reason of a `platform.logsDropped` when there was no room; AWS's words.
pub(super) const SLOW: &str = "Some logs were dropped because the downstream consumer is slower than the logs production rate";
/// Reason of a `platform.logsDropped` after the last attempt; AWS's words.
pub(super) const UNACKNOWLEDGED: &str =
    "Consumer seems to have fallen behind as it has not acknowledged receipt of logs.";

/// How a batch is put together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// `[…,…]`
    Array,
    /// A line each.
    Lines,
}

/// Events that were not sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Dropped {
    pub(super) records: u64,
    pub(super) bytes: u64,
}

impl Dropped {
    pub(super) fn add(&mut self, records: u64, bytes: u64) {
        self.records += records;
        self.bytes += bytes;
    }
}

/// Bytes that all queues of an environment may hold together.
#[derive(Debug)]
pub(super) struct Budget {
    left: AtomicUsize,
}

impl Budget {
    pub(super) fn new(bytes_max: usize) -> Arc<Budget> {
        Arc::new(Budget { left: AtomicUsize::new(bytes_max) })
    }

    fn take(&self, bytes: usize) -> bool {
        let less = |left: usize| left.checked_sub(bytes);
        self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok()
    }

    fn give_back(&self, bytes: usize) {
        self.left.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// What a batch has taken from the budget; given back when it is dropped, wherever that is.
#[derive(Debug, Default)]
struct Held {
    bytes: usize,
    budget: Option<Arc<Budget>>,
}

impl Held {
    /// `None`: the budget does not allow it.
    fn take(budget: &Arc<Budget>, bytes: usize) -> Option<Held> {
        budget.take(bytes).then(|| Held { bytes, budget: Some(budget.clone()) })
    }

    fn join(&mut self, mut other: Held) {
        self.bytes += std::mem::take(&mut other.bytes);
        self.budget = self.budget.take().or_else(|| other.budget.take());
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(budget) = &self.budget {
            budget.give_back(self.bytes);
        }
    }
}

/// Renders a `platform.logsDropped`; `None` for a subscriber that is not told of it.
pub(super) trait Notice {
    fn render(&self, dropped: Dropped, reason: &'static str) -> Option<String>;
}

impl<F: Fn(Dropped, &'static str) -> Option<String>> Notice for F {
    fn render(&self, dropped: Dropped, reason: &'static str) -> Option<String> {
        self(dropped, reason)
    }
}

/// Events that are sent together.
#[derive(Debug, Default)]
struct Batch {
    text: Vec<u8>,
    /// Events without notices.
    records: u64,
    /// Of events and notices, without framing.
    bytes: usize,
    /// Of events without notices.
    held: Held,
    /// What its notices tell.
    told: Dropped,
    notices: usize,
}

impl Batch {
    fn items(&self) -> usize {
        self.records as usize + self.notices
    }

    fn append(&mut self, framing: Framing, record: &str) {
        match framing {
            Framing::Array => {
                self.text.push(if self.text.is_empty() { b'[' } else { b',' });
                self.text.extend_from_slice(record.as_bytes());
            }
            Framing::Lines => {
                self.text.extend_from_slice(record.as_bytes());
                self.text.push(b'\n');
            }
        }
        self.bytes += record.len();
    }

    fn append_notice(&mut self, framing: Framing, notice: &str, dropped: Dropped) {
        self.append(framing, notice);
        self.notices += 1;
        self.told.add(dropped.records, dropped.bytes);
    }
}

/// A batch that is on its way; it comes back as delivered or as given up.
#[derive(Debug)]
#[must_use = "what becomes of a batch has to be told to its queue"]
pub(super) struct Parcel {
    /// What is sent.
    pub(super) text: Bytes,
    batch: Batch,
}

/// When the next batch is ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ready {
    Now,
    At(Instant),
    /// Nothing waits.
    Never,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Queue {
    buffering: Buffering,
    framing: Framing,
    budget: Arc<Budget>,
    full: VecDeque<Batch>,
    filling: Batch,
    /// When `filling` is old enough.
    due: Option<Instant>,
    /// Dropped after everything that waits, and not told yet.
    untold: Dropped,
    /// Whether everything is to be sent at once.
    is_urgent: bool,
    is_sending: bool,
}

impl Queue {
    pub(super) fn new(buffering: Buffering, framing: Framing, budget: Arc<Budget>) -> Queue {
        Queue {
            buffering,
            framing,
            budget,
            full: VecDeque::new(),
            filling: Batch::default(),
            due: None,
            untold: Dropped::default(),
            is_urgent: false,
            is_sending: false,
        }
    }

    /// Whether an event of about so many bytes has room. One alone always has, whatever its size,
    /// as far as the budget goes.
    pub(super) fn has_room(&self, bytes: usize) -> bool {
        let waiting = || self.full.iter().chain([&self.filling]);
        let items: usize = waiting().map(Batch::items).sum();
        let held: usize = waiting().map(|batch| batch.bytes).sum();
        let Buffering { items_max, bytes_max, .. } = self.buffering;
        items < BATCHES_WAITING_MAX * items_max
            && (items == 0 || held + bytes <= BATCHES_WAITING_MAX * bytes_max)
    }

    /// Events happened for which there is no room.
    pub(super) fn dropped(&mut self, dropped: Dropped) {
        self.untold.add(dropped.records, dropped.bytes);
    }

    /// An event happened. It is counted as dropped when it has no room; one that comes after dropped
    /// ones needs room for telling of them too.
    pub(super) fn push(&mut self, now: Instant, record: &str, notice: &dyn Notice) {
        let dropped = self.untold;
        let told = (dropped.records > 0).then(|| notice.render(dropped, SLOW)).flatten();
        let bytes = record.len();
        let has_room = self.has_room(bytes + told.as_ref().map_or(0, String::len));
        let Some(held) = has_room.then(|| Held::take(&self.budget, bytes)).flatten() else {
            self.untold.add(1, bytes as u64);
            return;
        };
        if let Some(told) = told {
            self.append_notice(now, &told);
        }
        self.make_room_in_batch(bytes);
        self.filling.append(self.framing, record);
        self.filling.records += 1;
        self.filling.held.join(held);
        self.appended(now);
    }

    /// When there is something to send.
    pub(super) fn ready(&self, now: Instant) -> Ready {
        match self.due {
            _ if !self.full.is_empty() => Ready::Now,
            None => Ready::Never,
            Some(due) if self.is_urgent || due <= now => Ready::Now,
            Some(due) => Ready::At(due),
        }
    }

    /// The next batch, if one is ready. There is one on its way at a time.
    pub(super) fn take(&mut self, now: Instant, notice: &dyn Notice) -> Option<Parcel> {
        assert!(!self.is_sending, "the batch before is still on its way");
        if self.ready(now) != Ready::Now {
            return None;
        }
        let mut batch = self.full.pop_front().unwrap_or_else(|| {
            self.due = None;
            std::mem::take(&mut self.filling)
        });
        self.is_sending = true;
        self.tell(now, notice);
        let mut text = std::mem::take(&mut batch.text);
        if self.framing == Framing::Array {
            text.push(b']');
        }
        Some(Parcel { text: text.into(), batch })
    }

    /// The subscriber has the batch.
    pub(super) fn delivered(&mut self, now: Instant, parcel: Parcel, notice: &dyn Notice) {
        drop(parcel);
        self.is_sending = false;
        self.tell(now, notice);
        self.calm();
    }

    /// The subscriber does not take the batch. What is told of it comes before all that waits.
    pub(super) fn give_up(&mut self, now: Instant, parcel: Parcel, notice: &dyn Notice) {
        // A notice that was in it is no loss of its own, but what it tells is not told yet.
        let Batch { records, held, told, .. } = &parcel.batch;
        let mut lost = *told;
        lost.add(*records, held.bytes as u64);
        drop(parcel);
        self.is_sending = false;
        match notice.render(lost, UNACKNOWLEDGED) {
            Some(text) => {
                let mut first = Batch::default();
                first.append_notice(self.framing, &text, lost);
                self.full.push_front(first);
            }
            None => self.untold.add(lost.records, lost.bytes),
        }
        self.tell(now, notice);
        self.calm();
    }

    /// Sends everything at once.
    pub(super) fn hurry(&mut self) {
        self.is_urgent = self.due.is_some() || !self.full.is_empty();
    }

    /// Whether nothing is left to be sent.
    pub(super) fn is_settled(&self) -> bool {
        !self.is_sending && self.due.is_none() && self.full.is_empty()
    }

    /// Tells of dropped events although nothing has come after them, once there is room.
    fn tell(&mut self, now: Instant, notice: &dyn Notice) {
        if self.untold.records == 0 || !self.has_room(0) {
            return;
        }
        if let Some(text) = notice.render(self.untold, SLOW)
            && self.has_room(text.len())
        {
            self.append_notice(now, &text);
        }
    }

    fn append_notice(&mut self, now: Instant, text: &str) {
        let dropped = std::mem::take(&mut self.untold);
        self.make_room_in_batch(text.len());
        self.filling.append_notice(self.framing, text, dropped);
        self.appended(now);
    }

    fn make_room_in_batch(&mut self, bytes: usize) {
        if self.filling.items() > 0 && self.filling.bytes + bytes > self.buffering.bytes_max {
            self.seal();
        }
    }

    fn appended(&mut self, now: Instant) {
        self.due.get_or_insert(now + self.buffering.timeout);
        let Buffering { items_max, bytes_max, .. } = self.buffering;
        if self.filling.items() >= items_max || self.filling.bytes >= bytes_max {
            self.seal();
        }
    }

    fn seal(&mut self) {
        self.due = None;
        self.full.push_back(std::mem::take(&mut self.filling));
    }

    fn calm(&mut self) {
        self.is_urgent &= !self.is_settled();
    }
}

#[cfg(test)]
#[path = "queue_tests.rs"]
mod tests;
