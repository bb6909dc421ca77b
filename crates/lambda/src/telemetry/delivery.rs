//! Brings batches to one subscriber, one after the other, for as long as its environment lives.
//!
//! Its life: wait until a batch is ready and the environment can be reached; try to bring it, again
//! and again with growing pauses; after [`ATTEMPTS_MAX`] give it up and tell of that in the next. So
//! a subscriber that is slow, dead or hostile costs one task, one connection and what its queue may
//! hold, and nobody waits for it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lambic_rt::Rt;
use tokio::sync::Notify;

use super::gate::Way;
use super::queue::{Dropped, Notice, Parcel, Queue, Ready};
use super::schema::{Event, is_known, render};
use super::subscription::{Category, Schema};
use super::wire::Wire;
use crate::invoke::platform_events::{LogsDropped, PlatformEvent, PlatformRecord};

/// How often a batch is tried. With the pauses between: for half a minute at least.
pub(super) const ATTEMPTS_MAX: u32 = 12;
/// How long one attempt may take, in time in which the environment can answer.
pub(super) const ATTEMPT_MAX: Duration = Duration::from_secs(10);
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// Where events for one subscriber wait.
pub(super) struct Mailbox {
    rt: Rt,
    schema: Schema,
    types: Vec<Category>,
    queue: Mutex<Queue>,
    /// Wakes the delivery.
    changed: Notify,
    /// Wakes those who wait until all is sent.
    settled: Notify,
}

/// How a subscriber is told of dropped events: not at all, unless it listens to the platform.
impl Notice for Mailbox {
    fn render(&self, dropped: Dropped, reason: &'static str) -> Option<String> {
        if !self.types.contains(&Category::Platform) {
            return None;
        }
        let record = PlatformRecord::LogsDropped(LogsDropped {
            reason,
            dropped_records: dropped.records,
            dropped_bytes: dropped.bytes,
        });
        let event = PlatformEvent { time: self.rt.now(), record };
        render(self.schema, &Event::Platform(&event))
    }
}

impl Mailbox {
    pub(super) fn new(rt: Rt, schema: Schema, types: Vec<Category>, queue: Queue) -> Mailbox {
        let (changed, settled) = (Notify::new(), Notify::new());
        Mailbox { rt, schema, types, queue: Mutex::new(queue), changed, settled }
    }

    /// Takes an event, if its subscriber wants to be told of it.
    pub(super) fn put(&self, event: &Event<'_>) {
        if !self.types.contains(&event.category()) {
            return;
        }
        let now = self.rt.instant();
        let mut queue = self.lock();
        let before = queue.ready(now);
        if queue.has_room(event.bytes()) {
            if let Some(record) = render(self.schema, event) {
                queue.push(now, &record, self);
            }
        } else if is_known(self.schema, event) {
            // It is not worth being rendered.
            queue.dropped(Dropped { records: 1, bytes: event.bytes() as u64 });
        }
        let after = queue.ready(now);
        drop(queue);
        if before != after {
            self.changed.notify_one();
        }
    }

    /// These events were dropped before there was a subscriber.
    pub(super) fn put_dropped(&self, category: Category, dropped: Dropped) {
        if self.types.contains(&category) {
            self.lock().dropped(dropped);
        }
    }

    /// Sends what there is without waiting for more.
    pub(super) fn hurry(&self) {
        self.lock().hurry();
        self.changed.notify_one();
    }

    /// Sends what there is, and waits until that is done.
    pub(super) async fn flush(&self) {
        loop {
            let settled = self.settled.notified();
            self.hurry();
            if self.lock().is_settled() {
                return;
            }
            settled.await;
        }
    }

    /// Waits until a batch is ready.
    async fn ready(&self) {
        loop {
            let now = self.rt.instant();
            let ready = self.lock().ready(now);
            match ready {
                Ready::Now => return,
                Ready::Never => self.changed.notified().await,
                Ready::At(due) => {
                    let changed = self.changed.notified();
                    self.rt.within(due.saturating_duration_since(now), changed).await;
                }
            }
        }
    }

    fn take(&self) -> Option<Parcel> {
        self.lock().take(self.rt.instant(), self)
    }

    fn done(&self, parcel: Parcel, is_delivered: bool) {
        let (now, mut queue) = (self.rt.instant(), self.lock());
        if is_delivered {
            queue.delivered(now, parcel, self);
        } else {
            queue.give_up(now, parcel, self);
        }
        drop(queue);
        self.settled.notify_waiters();
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Delivers until it is aborted.
pub(super) async fn deliver(mailbox: Arc<Mailbox>, mut way: Way, mut wire: Wire) {
    loop {
        mailbox.ready().await;
        way.open().await;
        let Some(parcel) = mailbox.take() else { continue };
        let is_delivered = bring(&mailbox.rt, &parcel, &mut way, &mut wire).await;
        mailbox.done(parcel, is_delivered);
    }
}

/// Whether the subscriber has taken the batch in the end.
async fn bring(rt: &Rt, parcel: &Parcel, way: &mut Way, wire: &mut Wire) -> bool {
    let mut pause = PAUSE_MIN;
    let mut written = 0;
    for attempt in 1..=ATTEMPTS_MAX {
        let connect = way.open().await;
        let sending = wire.send(rt, connect, &parcel.text, &mut written);
        match way.within(rt, ATTEMPT_MAX, sending).await {
            Some(Ok(())) => return true,
            Some(Err(error)) => tracing::debug!(%error, attempt, "telemetry was not taken"),
            None => tracing::debug!(attempt, "a telemetry subscriber did not answer"),
        }
        written = whole_lines(&parcel.text, written);
        if attempt < ATTEMPTS_MAX {
            way.sleep(rt, pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }
    false
}

/// Up to where a batch of lines need not be written again.
fn whole_lines(text: &[u8], written: usize) -> usize {
    text[..written].iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1)
}
