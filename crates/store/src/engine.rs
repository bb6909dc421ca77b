//! The one small trait that every engine gives: what SQLite, PostgreSQL, FoundationDB and TiKV have in
//! common, and nothing more.
//!
//! Keys are UTF-8 text without NUL, ordered by their bytes. A commit is a set of writes that is
//! refused as a whole when one of its expectations no longer holds (optimistic concurrency: the
//! caller reads again and retries). Nothing here knows of records, versions or JSON.

use std::collections::HashSet;

use bytes::Bytes;
use futures_util::future::BoxFuture;

use crate::watch::Watch;

/// The number of a commit; it grows with every commit and is never used twice.
pub type Revision = u64;

/// The largest commit, keys and values together, in bytes.
pub const COMMIT_BYTES_MAX: usize = 16 * 1024 * 1024;
/// The most keys that one commit may name (expectations, puts and deletes together).
pub const COMMIT_KEYS_MAX: usize = 10_000;
/// The longest key, in bytes.
pub const KEY_BYTES_MAX: usize = 2_048;
/// The most entries that one listing for a watch may hold.
pub const LISTING_ENTRIES_MAX: usize = 4_000_000;

/// A key with its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The key, UTF-8.
    pub key: Vec<u8>,
    /// The value, as it was put.
    pub value: Bytes,
    /// The commit that last put it.
    pub revision: Revision,
}

/// What a range looked like at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The entries in the order of their keys.
    pub entries: Vec<Entry>,
    /// The last commit that `entries` reflect, whichever keys it touched.
    pub revision: Revision,
}

/// Writes that happen together or not at all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Commit {
    /// Keys with the revision they must still have; `None`: the key must be absent.
    pub expect: Vec<(Vec<u8>, Option<Revision>)>,
    /// Keys to write with their values.
    pub puts: Vec<(Vec<u8>, Bytes)>,
    /// Keys to remove; removing an absent key is no error.
    pub deletes: Vec<Vec<u8>>,
}

/// Why a commit did not happen.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum CommitError {
    /// An expectation did not hold. Nothing was written: read again, decide again.
    #[error("the record {} was changed by somebody else", String::from_utf8_lossy(key))]
    Conflict {
        /// The first key whose expectation did not hold.
        key: Vec<u8>,
    },
    /// The disk is full (or a quota is used up, or it refuses writes). Nothing was written.
    #[error("the disk is full: {0}")]
    Full(String),
    /// Anything else. The commit was not acknowledged; after a failing disk it may still show up.
    #[error("the store failed: {0}")]
    Failed(String),
}

/// Why a read did not happen.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum EngineError {
    /// The engine was closed.
    #[error("the store is closed")]
    Closed,
    /// Anything else.
    #[error("the store failed: {0}")]
    Failed(String),
}

/// A transactional, ordered key-value engine.
pub trait Engine: Send + Sync + 'static {
    /// The entry at `key`.
    fn get(&self, key: Vec<u8>) -> BoxFuture<'_, Result<Option<Entry>, EngineError>>;

    /// The first `limit` entries with `start <= key < end`, all as of one moment.
    fn snapshot(
        &self,
        start: Vec<u8>,
        end: Vec<u8>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Snapshot, EngineError>>;

    /// Makes the writes durable and visible, or changes nothing. Once called it may take effect
    /// even when the returned future is dropped.
    fn commit(&self, commit: Commit) -> BoxFuture<'_, Result<Revision, CommitError>>;

    /// Every change from now on to keys that start with `prefix`, in the order of commits.
    fn watch(&self, prefix: Vec<u8>) -> Watch;

    /// Finishes what was accepted, then frees files and threads. Later calls answer that the
    /// engine is closed; closing twice is the same as closing once.
    fn close(&self) -> BoxFuture<'_, ()>;

    /// The first `limit` entries with `start <= key < end`.
    fn range(
        &self,
        start: Vec<u8>,
        end: Vec<u8>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Entry>, EngineError>> {
        Box::pin(async move { Ok(self.snapshot(start, end, limit).await?.entries) })
    }

    /// All entries under `prefix` and every change after them: no change is missing between the
    /// two, none is in both.
    fn list_and_watch(
        &self,
        prefix: Vec<u8>,
    ) -> BoxFuture<'_, Result<(Snapshot, Watch), EngineError>> {
        Box::pin(async move {
            // The watch starts first, so that whatever the snapshot misses is in the watch; what
            // both have is then skipped by its revision.
            let mut watch = self.watch(prefix.clone());
            let end = prefix_end(&prefix);
            let snapshot = self.snapshot(prefix, end, LISTING_ENTRIES_MAX + 1).await?;
            if snapshot.entries.len() > LISTING_ENTRIES_MAX {
                return Err(EngineError::Failed(format!(
                    "a listing for a watch holds at most {LISTING_ENTRIES_MAX} entries"
                )));
            }
            watch.skip_through(snapshot.revision);
            Ok((snapshot, watch))
        })
    }
}

/// The first key after all keys that start with `prefix`.
pub fn prefix_end(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return end;
        }
    }
    // 0xff never occurs in UTF-8, so this is after every key.
    vec![u8::MAX]
}

impl Commit {
    /// The bytes of all keys and values.
    pub fn bytes(&self) -> usize {
        let expect: usize = self.expect.iter().map(|(key, _)| key.len()).sum();
        let puts: usize = self.puts.iter().map(|(key, value)| key.len() + value.len()).sum();
        let deletes: usize = self.deletes.iter().map(Vec::len).sum();
        expect + puts + deletes
    }

    /// Refuses what no engine may be asked to do: a broken key, a key written twice, too much.
    pub fn check(&self) -> Result<(), CommitError> {
        let names = self.expect.len() + self.puts.len() + self.deletes.len();
        if names > COMMIT_KEYS_MAX {
            return Err(refused(format!("a commit names at most {COMMIT_KEYS_MAX} keys")));
        }
        if self.bytes() > COMMIT_BYTES_MAX {
            return Err(refused(format!("a commit holds at most {COMMIT_BYTES_MAX} bytes")));
        }
        for (key, _) in &self.expect {
            check_key(key)?;
        }
        let mut written = HashSet::with_capacity(self.puts.len() + self.deletes.len());
        for key in self.puts.iter().map(|(key, _)| key).chain(&self.deletes) {
            check_key(key)?;
            if !written.insert(key) {
                let key = String::from_utf8_lossy(key);
                return Err(refused(format!("the key {key} is written twice in one commit")));
            }
        }
        Ok(())
    }
}

fn check_key(key: &[u8]) -> Result<(), CommitError> {
    if key.is_empty() || key.len() > KEY_BYTES_MAX {
        return Err(refused(format!("a key has 1 to {KEY_BYTES_MAX} bytes")));
    }
    if key.contains(&0) || std::str::from_utf8(key).is_err() {
        return Err(refused("a key is UTF-8 text without NUL".into()));
    }
    Ok(())
}

fn refused(why: String) -> CommitError {
    CommitError::Failed(why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_prefix() {
        assert_eq!(prefix_end(b"a"), b"b");
        assert_eq!(prefix_end(b"a\xff\xff"), b"b");
        assert_eq!(prefix_end(b""), b"\xff");
    }

    #[test]
    fn broken_commits_are_refused() {
        let put = |key: &[u8]| (key.to_vec(), Bytes::new());
        let check = |puts| Commit { puts, ..Commit::default() }.check().is_ok();
        assert!(check(vec![put(b"a"), put(b"b")]));
        assert!(!check(vec![put(b"a"), put(b"a")]));
        assert!(!check(vec![put(b"")]));
        assert!(!check(vec![put(b"a\0")]));
        assert!(!check(vec![put(b"\xff")]));
        assert!(!check(vec![put(&vec![b'a'; KEY_BYTES_MAX + 1])]));
        assert!(!check(vec![(b"a".to_vec(), Bytes::from(vec![0; COMMIT_BYTES_MAX]))]));
    }
}
