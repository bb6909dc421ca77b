//! The engine for tests of other crates: a sorted map that forgets everything when it is dropped.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Mutex, MutexGuard};

use bytes::Bytes;
use futures_util::future::BoxFuture;

use crate::engine::{Commit, CommitError, Engine, EngineError, Entry, Revision, Snapshot};
use crate::watch::{Change, Watch, Watchers};

/// All of it in memory.
pub struct MemoryEngine {
    state: Mutex<State>,
    watchers: Watchers,
}

struct State {
    records: BTreeMap<Vec<u8>, (Bytes, Revision)>,
    revision: Revision,
    closed: bool,
}

impl MemoryEngine {
    /// An empty engine.
    pub fn new() -> MemoryEngine {
        let state = State { records: BTreeMap::new(), revision: 0, closed: false };
        MemoryEngine { state: Mutex::new(state), watchers: Watchers::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics while the records are locked")
    }

    fn read(&self) -> Result<MutexGuard<'_, State>, EngineError> {
        let state = self.state();
        if state.closed { Err(EngineError::Closed) } else { Ok(state) }
    }

    fn apply(&self, commit: Commit) -> Result<Revision, CommitError> {
        commit.check()?;
        let mut state = self.state();
        if state.closed {
            return Err(CommitError::Failed(EngineError::Closed.to_string()));
        }
        for (key, expected) in commit.expect {
            if state.records.get(&key).map(|(_, revision)| *revision) != expected {
                return Err(CommitError::Conflict { key });
            }
        }
        state.revision += 1;
        let revision = state.revision;
        let mut changes = Vec::with_capacity(commit.puts.len() + commit.deletes.len());
        for key in commit.deletes {
            if state.records.remove(&key).is_some() {
                changes.push(Change::Deleted { key, revision });
            }
        }
        for (key, value) in commit.puts {
            state.records.insert(key.clone(), (value.clone(), revision));
            changes.push(Change::Put(Entry { key, value, revision }));
        }
        // Still under the lock, so that watches see commits in their order.
        self.watchers.publish(&changes);
        Ok(revision)
    }
}

impl Default for MemoryEngine {
    fn default() -> MemoryEngine {
        MemoryEngine::new()
    }
}

impl Engine for MemoryEngine {
    fn get(&self, key: Vec<u8>) -> BoxFuture<'_, Result<Option<Entry>, EngineError>> {
        Box::pin(async move {
            let state = self.read()?;
            let found = state.records.get(&key).cloned();
            Ok(found.map(|(value, revision)| Entry { key, value, revision }))
        })
    }

    fn snapshot(
        &self,
        start: Vec<u8>,
        end: Vec<u8>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Snapshot, EngineError>> {
        Box::pin(async move {
            let state = self.read()?;
            let mut entries = Vec::new();
            if start < end {
                let bounds = (Bound::Included(start), Bound::Excluded(end));
                for (key, (value, revision)) in state.records.range(bounds).take(limit) {
                    let (value, revision) = (value.clone(), *revision);
                    entries.push(Entry { key: key.clone(), value, revision });
                }
            }
            Ok(Snapshot { entries, revision: state.revision })
        })
    }

    fn commit(&self, commit: Commit) -> BoxFuture<'_, Result<Revision, CommitError>> {
        Box::pin(async move { self.apply(commit) })
    }

    fn watch(&self, prefix: Vec<u8>) -> Watch {
        self.watchers.watch(prefix)
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            self.state().closed = true;
            self.watchers.close();
        })
    }
}
