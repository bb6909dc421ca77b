//! The embedded engine: one SQLite database, one writer, many readers.
//!
//! Life of a commit: the caller puts it into a bounded queue → the writer thread takes everything
//! that waits, checks each commit's expectations, applies those that hold, and makes them durable
//! with a single fsync → watches learn of them in order → the callers are answered. Readers have
//! connections of their own and never wait for the writer (WAL). Moving the log into the database
//! file (a checkpoint) is the work of a third thread, so that no commit pays for it.

mod checkpoint;
mod failure;
mod readers;
mod schema;
mod writer;

use std::path::Path;
use std::sync::{Arc, Mutex};

use futures_util::future::BoxFuture;
use lambic_rt::Rt;

use crate::dir::{DirLock, OpenError};
use crate::engine::{Commit, CommitError, Engine, EngineError, Entry, Revision, Snapshot};
use crate::watch::{Watch, Watchers};

use readers::Readers;
use writer::Writer;

/// The database's name within the data directory.
pub const DATABASE_FILE: &str = "lambic.db";

/// The engine on a SQLite database.
pub struct SqliteEngine {
    writer: Arc<Writer>,
    readers: Arc<Readers>,
    watchers: Arc<Watchers>,
    /// Let go only after the last thread and connection.
    lock: Mutex<Option<Arc<DirLock>>>,
    rt: Rt,
}

impl SqliteEngine {
    /// Opens or makes the database in `dir`. Blocks.
    pub(crate) fn open(dir: &Path, lock: Arc<DirLock>, rt: Rt) -> Result<SqliteEngine, OpenError> {
        let failed = |error| failure::open(dir, &error);
        let path = dir.join(DATABASE_FILE);
        schema::create_file(dir, &path)?;
        let connection = schema::open_writer(&path).map_err(failed)?;
        let revision = schema::prepare(dir, &connection)?;
        let readers = Readers::open(&path, rt.clone()).map_err(failed)?;
        let checkpoints = schema::open_writer(&path).map_err(failed)?;
        let watchers = Arc::new(Watchers::new());
        let writer = Writer::start(connection, checkpoints, revision, watchers.clone(), &lock, &rt)
            .map_err(|error| OpenError::io(dir, error))?;
        Ok(SqliteEngine {
            writer: Arc::new(writer),
            readers: Arc::new(readers),
            watchers,
            lock: Mutex::new(Some(lock)),
            rt,
        })
    }

    fn unlock(&self) {
        self.lock.lock().expect("nothing panics while the lock is held").take();
    }
}

impl Engine for SqliteEngine {
    fn get(&self, key: Vec<u8>) -> BoxFuture<'_, Result<Option<Entry>, EngineError>> {
        Box::pin(self.readers.get(key))
    }

    fn snapshot(
        &self,
        start: Vec<u8>,
        end: Vec<u8>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Snapshot, EngineError>> {
        Box::pin(self.readers.snapshot(start, end, limit))
    }

    fn commit(&self, commit: Commit) -> BoxFuture<'_, Result<Revision, CommitError>> {
        Box::pin(self.writer.commit(commit, &self.rt))
    }

    fn watch(&self, prefix: Vec<u8>) -> Watch {
        self.watchers.watch(prefix)
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            // Readers first: the last checkpoint can only empty the log when nobody reads it.
            self.writer.refuse_new();
            self.readers.close().await;
            let writer = self.writer.clone();
            self.rt.blocking("close the store", move || writer.join()).await;
            self.watchers.close();
            self.unlock();
        })
    }
}

impl Drop for SqliteEngine {
    /// Ends the threads, so that the directory is free once the last handle is gone.
    fn drop(&mut self) {
        self.writer.refuse_new();
        self.writer.join();
        self.watchers.close();
    }
}
