//! Reading records of one type.

use std::marker::PhantomData;
use std::sync::Arc;

use crate::StoreError;
use crate::engine::{Engine, Revision, Snapshot, prefix_end};
use crate::key;
use crate::record::{self, Record, Stored};
use crate::watch::{Change, Watch, WatchEnd};

/// All records of type `R`. Cheap to clone; writes go through a [`crate::Transaction`].
pub struct Table<R> {
    engine: Arc<dyn Engine>,
    record: PhantomData<fn() -> R>,
}

impl<R> Clone for Table<R> {
    fn clone(&self) -> Table<R> {
        Table { engine: self.engine.clone(), record: PhantomData }
    }
}

impl<R: Record> Table<R> {
    pub(crate) fn new(engine: Arc<dyn Engine>) -> Table<R> {
        Table { engine, record: PhantomData }
    }

    /// The record at `key`.
    pub async fn get(&self, key: &[&str]) -> Result<Option<Stored<R>>, StoreError> {
        match self.engine.get(key::encode(R::KIND, key)).await? {
            Some(entry) => Ok(Some(record::decode(&entry)?)),
            None => Ok(None),
        }
    }

    /// Up to `limit` records below `prefix` in the order of their keys, those after the key
    /// `after` if it is given (all of its segments, not only what follows the prefix).
    pub async fn list(
        &self,
        prefix: &[&str],
        after: Option<&[&str]>,
        limit: usize,
    ) -> Result<Vec<Stored<R>>, StoreError> {
        let first = key::encode_prefix(R::KIND, prefix);
        let end = prefix_end(&first);
        let mut start = first;
        if let Some(after) = after {
            // The smallest text that is greater than the key.
            let mut next = key::encode(R::KIND, after);
            next.push(0);
            start = start.max(next);
        }
        let entries = self.engine.range(start, end, limit).await?;
        entries.iter().map(record::decode).collect()
    }

    /// Changes from now on to records below `prefix`.
    pub fn watch(&self, prefix: &[&str]) -> TableWatch<R> {
        TableWatch::new(self.engine.watch(key::encode_prefix(R::KIND, prefix)))
    }

    /// All records below `prefix`, and every change after them without a gap.
    pub async fn list_and_watch(
        &self,
        prefix: &[&str],
    ) -> Result<(Listing<R>, TableWatch<R>), StoreError> {
        let prefix = key::encode_prefix(R::KIND, prefix);
        let (Snapshot { entries, revision }, watch) = self.engine.list_and_watch(prefix).await?;
        let records = entries.iter().map(record::decode).collect::<Result<_, _>>()?;
        Ok((Listing { records, revision }, TableWatch::new(watch)))
    }
}

/// What a table looked like at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing<R> {
    /// The records in the order of their keys.
    pub records: Vec<Stored<R>>,
    /// The last commit that `records` reflect, whichever keys it touched: also one that only
    /// removed some, so it may be later than the revision of every record.
    pub revision: Revision,
}

/// Changes to records of one type.
pub struct TableWatch<R> {
    watch: Watch,
    record: PhantomData<fn() -> R>,
}

/// One change to one record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecordChange<R> {
    /// It was written.
    Put(Stored<R>),
    /// It was removed.
    Deleted {
        /// The segments of its key.
        key: Vec<String>,
        /// The commit that removed it.
        revision: Revision,
    },
}

impl<R: Record> TableWatch<R> {
    fn new(watch: Watch) -> TableWatch<R> {
        TableWatch { watch, record: PhantomData }
    }

    /// The next change. [`StoreError::Watch`] says that the watch is over: after
    /// [`WatchEnd::Lagged`] list and watch again. Any other error is about one record only and
    /// the watch goes on. Safe to cancel.
    pub async fn next(&mut self) -> Result<RecordChange<R>, StoreError> {
        decode_change(self.watch.next().await)
    }

    /// The next change if one waits already; `None` if none does.
    pub fn try_next(&mut self) -> Option<Result<RecordChange<R>, StoreError>> {
        self.watch.try_next().map(decode_change)
    }
}

fn decode_change<R: Record>(
    change: Result<Change, WatchEnd>,
) -> Result<RecordChange<R>, StoreError> {
    match change? {
        Change::Put(entry) => Ok(RecordChange::Put(record::decode(&entry)?)),
        Change::Deleted { key, revision } => match key::decode(&key) {
            Some(key) => Ok(RecordChange::Deleted { key, revision }),
            None => Err(StoreError::Record {
                key: String::from_utf8_lossy(&key).into_owned(),
                why: "the key is malformed".into(),
            }),
        },
    }
}
