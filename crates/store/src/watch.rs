//! Watches: the changes under a prefix, in the order of commits, without gaps.
//!
//! A watch is a bounded queue. A reader that falls behind is not waited for: its watch ends with
//! [`WatchEnd::Lagged`] and it starts again with a listing. So a slow reader costs neither the
//! writer's time nor unbounded memory.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::mpsc;

use crate::engine::{Entry, Revision};

/// The most changes that wait for one reader.
pub const WATCH_CHANGES_MAX: usize = 4_096;

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
    lagged: Arc<AtomicBool>,
    skip_through: Revision,
}

impl Watch {
    /// The next change. Once it answered with an end it always will. Safe to cancel.
    pub async fn next(&mut self) -> Result<Change, WatchEnd> {
        loop {
            match self.receiver.recv().await {
                Some(change) if change.revision() <= self.skip_through => {}
                Some(change) => return Ok(change),
                None => return Err(self.end()),
            }
        }
    }

    /// The next change if one waits already; `None` if none does.
    pub fn try_next(&mut self) -> Option<Result<Change, WatchEnd>> {
        loop {
            match self.receiver.try_recv() {
                Ok(change) if change.revision() <= self.skip_through => {}
                Ok(change) => return Some(Ok(change)),
                Err(mpsc::error::TryRecvError::Empty) => return None,
                Err(mpsc::error::TryRecvError::Disconnected) => return Some(Err(self.end())),
            }
        }
    }

    /// Leaves out changes up to and with `revision`: the reader knows them from a listing.
    pub(crate) fn skip_through(&mut self, revision: Revision) {
        self.skip_through = revision;
    }

    fn end(&self) -> WatchEnd {
        if self.lagged.load(Ordering::Acquire) { WatchEnd::Lagged } else { WatchEnd::Closed }
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
    lagged: Arc<AtomicBool>,
}

impl Watchers {
    pub(crate) fn new() -> Watchers {
        Watchers { list: Mutex::new(Some(Vec::new())) }
    }

    pub(crate) fn watch(&self, prefix: Vec<u8>) -> Watch {
        let (sender, receiver) = mpsc::channel(WATCH_CHANGES_MAX);
        let lagged = Arc::new(AtomicBool::new(false));
        if let Some(list) = self.list().as_mut() {
            // Watches that nobody reads any more go now, so that the list cannot grow for ever.
            list.retain(|watcher| !watcher.sender.is_closed());
            list.push(Watcher { prefix, sender, lagged: lagged.clone() });
        }
        Watch { receiver, lagged, skip_through: 0 }
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
            match self.sender.try_send(change.clone()) {
                Ok(()) => {}
                Err(mpsc::error::TrySendError::Full(_)) => {
                    self.lagged.store(true, Ordering::Release);
                    return false;
                }
                Err(mpsc::error::TrySendError::Closed(_)) => return false,
            }
        }
        true
    }
}
