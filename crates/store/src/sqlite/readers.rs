//! A few read connections, each used by one blocking thread at a time.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use lambic_rt::Rt;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension, Row};
use tokio::sync::Semaphore;

use crate::engine::{EngineError, Entry, Snapshot};

use super::{failure, schema};

/// How many reads happen at once; more wait.
const READERS: usize = 4;

/// The pool.
pub(crate) struct Readers {
    pool: Arc<Pool>,
    rt: Rt,
}

struct Pool {
    idle: Mutex<Vec<Connection>>,
    permits: Arc<Semaphore>,
}

impl Pool {
    fn idle(&self) -> MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().expect("nothing panics while the idle connections are locked")
    }
}

impl Readers {
    pub(crate) fn open(path: &Path, rt: Rt) -> rusqlite::Result<Readers> {
        let mut idle = Vec::with_capacity(READERS);
        for _ in 0..READERS {
            idle.push(schema::open_reader(path)?);
        }
        let permits = Arc::new(Semaphore::new(READERS));
        Ok(Readers { pool: Arc::new(Pool { idle: Mutex::new(idle), permits }), rt })
    }

    pub(crate) async fn get(&self, key: Vec<u8>) -> Result<Option<Entry>, EngineError> {
        let Ok(text) = String::from_utf8(key) else { return Ok(None) };
        self.read(move |connection| {
            connection
                .prepare_cached("SELECT key, value, revision FROM records WHERE key = ?1")?
                .query_row([text], entry)
                .optional()
        })
        .await
    }

    pub(crate) async fn snapshot(
        &self,
        start: Vec<u8>,
        end: Vec<u8>,
        limit: usize,
    ) -> Result<Snapshot, EngineError> {
        self.read(move |connection| {
            // One transaction, so that the revision is that of the entries.
            let transaction = connection.unchecked_transaction()?;
            let revision = schema::revision(&transaction)?;
            let entries = range(&transaction, &start, &end, limit)?;
            transaction.finish()?;
            Ok(Snapshot { entries, revision })
        })
        .await
    }

    /// Waits for the reads that go on and closes the connections.
    pub(crate) async fn close(&self) {
        let all = self.pool.permits.acquire_many(READERS as u32).await;
        self.pool.permits.close();
        drop(all);
        let connections = std::mem::take(&mut *self.pool.idle());
        self.rt.blocking("close readers", move || drop(connections)).await;
    }

    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, EngineError> {
        let permit = self.pool.permits.clone().acquire_owned().await;
        let permit = permit.map_err(|_| EngineError::Closed)?;
        let pool = self.pool.clone();
        self.rt
            .blocking("read the store", move || {
                let connection = pool.idle().pop().expect("there are as many as permits");
                let result = work(&connection);
                pool.idle().push(connection);
                // Only now may the next one look for an idle connection.
                drop(permit);
                result.map_err(|error| failure::read(&error))
            })
            .await
    }
}

fn range(
    connection: &Connection,
    start: &[u8],
    end: &[u8],
    limit: usize,
) -> rusqlite::Result<Vec<Entry>> {
    // Bounds may be no UTF-8 (the end of a prefix), which a bound text parameter could not be.
    let mut statement = connection.prepare_cached(
        "SELECT key, value, revision FROM records
         WHERE key >= CAST(?1 AS TEXT) AND key < CAST(?2 AS TEXT) ORDER BY key LIMIT ?3",
    )?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let rows = statement.query_map((start, end, limit), entry)?;
    rows.collect()
}

fn entry(row: &Row<'_>) -> rusqlite::Result<Entry> {
    let key = row.get_ref(0)?.as_bytes()?.to_vec();
    let value = match row.get_ref(1)? {
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => Bytes::copy_from_slice(bytes),
        other => Bytes::from(format!("{other:?}")),
    };
    let revision = row.get::<_, i64>(2)?.unsigned_abs();
    Ok(Entry { key, value, revision })
}
