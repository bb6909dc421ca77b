//! Watches: the changes under a prefix, in the order of commits, without gaps.
//!
//! A watch is a bounded queue. A reader that falls behind is not waited for: its watch ends with
//! [`WatchEnd::Lagged`] and it starts again with a listing. So a slow reader costs neither the
//! writer's time nor unbounded memory.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::mpsc;

use crate::engine::{Entry, Revision};

/// The most changes that wait for one reader.
pub const WATCH_CHANGES_MAX: usize = 4_096;
/// The most bytes of keys and values that wait for one reader.
pub const WATCH_BYTES_MAX: usize = 64 * 1024 * 1024;

/// One change to one key. Changes of one commit have the same revision and follow each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The key was written.
    Put(Entry),
    /// The key was removed.
    Deleted {
        /// The key that is gone.
        key: Vec<u8>,
        /// The commit that removed it.
        revision: Revision,
    },
}

impl Change {
    /// The key that changed.
    pub fn key(&self) -> &[u8] {
        match self {
            Change::Put(entry) => &entry.key,
            Change::Deleted { key, .. } => key,
        }
    }

    /// The commit that changed it.
    pub fn revision(&self) -> Revision {
        match self {
            Change::Put(entry) => entry.revision,
            Change::Deleted { revision, .. } => *revision,
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Change::Put(entry) => entry.key.len() + entry.value.len(),
            Change::Deleted { key, .. } => key.len(),
        }
    }
}

/// Why a watch gives no more changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WatchEnd {
    /// The reader was too slow and changes are missing: list again and watch again.
    #[error("the watch fell behind")]
    Lagged,
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
}

/// The reading side of a watch. Dropping it ends the watch.
#[derive(Debug)]
pub struct Watch {
    receiver: mpsc::Receiver<Change>,
    queue: Arc<Queue>,
    skip_through: Revision,
}

/// What both sides of a watch know of it.
#[derive(Debug, Default)]
struct Queue {
    bytes: AtomicUsize,
    lagged: AtomicBool,
}

impl Watch {
    /// The next change. Once it answered with an end it always will. Safe to cancel.
    pub async fn next(&mut self) -> Result<Change, WatchEnd> {
        loop {
            let Some(change) = self.receiver.recv().await else { return Err(self.end()) };
            if let Some(change) = self.taken(change) {
                return Ok(change);
            }
        }
    }

    /// The next change if one waits already; `None` if none does.
    pub fn try_next(&mut self) -> Option<Result<Change, WatchEnd>> {
        loop {
            match self.receiver.try_recv() {
                Ok(change) => {
                    if let Some(change) = self.taken(change) {
                        return Some(Ok(change));
                    }
                }
                Err(mpsc::error::TryRecvError::Empty) => return None,
                Err(mpsc::error::TryRecvError::Disconnected) => return Some(Err(self.end())),
            }
        }
    }

    /// Leaves out changes up to and with `revision`: the reader knows them from a listing.
    pub(crate) fn skip_through(&mut self, revision: Revision) {
        self.skip_through = revision;
    }

    /// Gives back the change's room in the queue; `None` for one that the reader knows already.
    fn taken(&self, change: Change) -> Option<Change> {
        self.queue.bytes.fetch_sub(change.bytes(), Ordering::Relaxed);
        if change.revision() <= self.skip_through { None } else { Some(change) }
    }

    fn end(&self) -> WatchEnd {
        let lagged = self.queue.lagged.load(Ordering::Acquire);
        if lagged { WatchEnd::Lagged } else { WatchEnd::Closed }
    }
}

/// The writing side: all watches of one engine.
pub(crate) struct Watchers {
    /// `None` once the engine is closed.
    list: Mutex<Option<Vec<Watcher>>>,
}

struct Watcher {
    prefix: Vec<u8>,
    sender: mpsc::Sender<Change>,
    queue: Arc<Queue>,
}

impl Watchers {
    pub(crate) fn new() -> Watchers {
        Watchers { list: Mutex::new(Some(Vec::new())) }
    }

    pub(crate) fn watch(&self, prefix: Vec<u8>) -> Watch {
        let (sender, receiver) = mpsc::channel(WATCH_CHANGES_MAX);
        let queue = Arc::new(Queue::default());
        if let Some(list) = self.list().as_mut() {
            // Watches that nobody reads any more go now, so that the list cannot grow for ever.
            list.retain(|watcher| !watcher.sender.is_closed());
            list.push(Watcher { prefix, sender, queue: queue.clone() });
        }
        Watch { receiver, queue, skip_through: 0 }
    }

    /// Hands `changes` to whoever watches them. The caller calls in the order of commits.
    pub(crate) fn publish(&self, changes: &[Change]) {
        if let Some(list) = self.list().as_mut() {
            list.retain(|watcher| watcher.offer(changes));
        }
    }

    pub(crate) fn close(&self) {
        *self.list() = None;
    }

    fn list(&self) -> MutexGuard<'_, Option<Vec<Watcher>>> {
        self.list.lock().expect("nothing panics while the watchers are locked")
    }
}

impl Watcher {
    /// False when this watch is over.
    fn offer(&self, changes: &[Change]) -> bool {
        for change in changes {
            if !change.key().starts_with(&self.prefix) {
                continue;
            }
            // Counted before it is sent: the reader may take it at once.
            let bytes = change.bytes();
            let waiting = self.queue.bytes.fetch_add(bytes, Ordering::Relaxed);
            if waiting + bytes > WATCH_BYTES_MAX {
                self.queue.lagged.store(true, Ordering::Release);
                return false;
            }
            match self.sender.try_send(change.clone()) {
                Ok(()) => {}
                Err(mpsc::error::TrySendError::Full(_)) => {
                    self.queue.lagged.store(true, Ordering::Release);
                    return false;
                }
                Err(mpsc::error::TrySendError::Closed(_)) => return false,
            }
        }
        true
    }
}
