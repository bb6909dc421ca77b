//! Typed writes that happen together or not at all, over one or several tables.

use bytes::Bytes;

use crate::engine::{Commit, CommitError, Revision};
use crate::key;
use crate::record::{self, Record, Stored};

/// Collects writes; `Store::commit` makes them happen.
#[derive(Default)]
#[must_use = "a transaction does nothing until Store::commit takes it"]
pub struct Transaction {
    commit: Commit,
    failure: Option<String>,
}

impl Transaction {
    /// Nothing yet.
    pub fn new() -> Transaction {
        Transaction::default()
    }

    /// Only commit if the record at `key` still has `revision` (`None`: is absent).
    pub fn expect<R: Record>(&mut self, key: &[&str], revision: Option<Revision>) {
        self.commit.expect.push((key::encode(R::KIND, key), revision));
    }

    /// Only commit if there is no record at `key`.
    pub fn expect_absent<R: Record>(&mut self, key: &[&str]) {
        self.expect::<R>(key, None);
    }

    /// Only commit if `stored` has not been written or removed since it was read.
    pub fn expect_unchanged<R: Record>(&mut self, stored: &Stored<R>) {
        self.expect::<R>(&stored.segments(), Some(stored.revision));
    }

    /// Writes `value`, whatever is there.
    pub fn put<R: Record>(&mut self, key: &[&str], value: &R) {
        match record::encode(value) {
            Ok(text) => {
                self.commit.puts.push((key::encode(R::KIND, key), Bytes::from(text)));
            }
            Err(why) => {
                self.failure.get_or_insert(format!("a {} cannot be written: {why}", R::KIND));
            }
        }
    }

    /// Writes `value` where nothing may be yet.
    pub fn insert<R: Record>(&mut self, key: &[&str], value: &R) {
        self.expect_absent::<R>(key);
        self.put(key, value);
    }

    /// Writes `value` in the place of `stored`, if that has not changed since it was read.
    pub fn replace<R: Record>(&mut self, stored: &Stored<R>, value: &R) {
        self.expect_unchanged(stored);
        self.put(&stored.segments(), value);
    }

    /// Removes the record at `key`, whatever is there.
    pub fn delete<R: Record>(&mut self, key: &[&str]) {
        self.commit.deletes.push(key::encode(R::KIND, key));
    }

    /// Removes `stored`, if it has not changed since it was read.
    pub fn remove<R: Record>(&mut self, stored: &Stored<R>) {
        self.expect_unchanged(stored);
        self.delete::<R>(&stored.segments());
    }

    pub(crate) fn into_commit(self) -> Result<Commit, CommitError> {
        match self.failure {
            Some(why) => Err(CommitError::Failed(why)),
            None => Ok(self.commit),
        }
    }
}
