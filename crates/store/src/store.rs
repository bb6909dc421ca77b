//! The handle that the rest of Lambic holds: engine, blobs and the data directory they live in.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use lambic_rt::Rt;

use crate::blobs::Blobs;
use crate::dir::{self, OpenError};
use crate::engine::{CommitError, Engine, EngineError, Revision};
use crate::memory::MemoryEngine;
use crate::record::Record;
use crate::sqlite::SqliteEngine;
use crate::table::Table;
use crate::transaction::Transaction;
use crate::watch::WatchEnd;

/// Why records could not be read.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum StoreError {
    /// The engine could not answer.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// A stored record cannot be understood: it is damaged, or a newer program wrote it.
    #[error("the record {key} cannot be read: {why}")]
    Record {
        /// Its key as stored.
        key: String,
        /// What is wrong with it.
        why: String,
    },
    /// A watch is over.
    #[error(transparent)]
    Watch(#[from] WatchEnd),
}

/// All durable state. Cheap to clone; every clone is the same store.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    // Dropped in this order: the engine lets go of the directory before a scratch one is removed.
    engine: Arc<dyn Engine>,
    blobs: Blobs,
    dir: PathBuf,
    _scratch: Option<Scratch>,
}

impl Store {
    /// Opens the data directory `dir`, and makes it (with its parents) where there is none yet.
    ///
    /// The directory stays locked until [`Store::close`], or until the last clone is dropped.
    /// Dropping without closing is safe: it is what a crash does, only gentler.
    pub async fn open(dir: &Path, rt: Rt) -> Result<Store, OpenError> {
        // The working directory may change later, and others are told of paths in here.
        let path = std::path::absolute(dir).unwrap_or_else(|_| dir.to_path_buf());
        let opening = rt.clone();
        rt.blocking("open the store", move || {
            let lock = Arc::new(dir::prepare(&path)?);
            let engine = Arc::new(SqliteEngine::open(&path, lock, opening.clone())?);
            let blobs = Blobs::open(&path, opening)?;
            let inner = Inner { engine, blobs, dir: path, _scratch: None };
            Ok(Store { inner: Arc::new(inner) })
        })
        .await
    }

    /// For tests of other crates: records in memory, blobs in a directory of its own under the
    /// system's temporary one, removed with the last clone.
    pub fn in_memory(rt: Rt) -> Result<Store, OpenError> {
        // The name comes from the kernel's randomness: two simulated runtimes with one seed would
        // otherwise share the directory.
        let path = std::env::temp_dir().join(format!("lambic-{}", Rt::real().uuid()));
        dir::create(&path)?;
        let scratch = Scratch(path.clone());
        let blobs = Blobs::open(&path, rt)?;
        let engine = Arc::new(MemoryEngine::new());
        let inner = Inner { engine, blobs, dir: path, _scratch: Some(scratch) };
        Ok(Store { inner: Arc::new(inner) })
    }

    /// All records of type `R`.
    pub fn table<R: Record>(&self) -> Table<R> {
        Table::new(self.inner.engine.clone())
    }

    /// Makes the writes of `transaction` durable and visible, all or none. After
    /// [`CommitError::Conflict`] the caller reads again and decides again. Dropping the future
    /// does not take the writes back.
    pub async fn commit(&self, transaction: Transaction) -> Result<Revision, CommitError> {
        self.inner.engine.commit(transaction.into_commit()?).await
    }

    /// Files and folders by the hash of their contents.
    pub fn blobs(&self) -> &Blobs {
        &self.inner.blobs
    }

    /// The engine itself, for what is not a typed record.
    pub fn engine(&self) -> &Arc<dyn Engine> {
        &self.inner.engine
    }

    /// The data directory.
    pub fn dir(&self) -> &Path {
        &self.inner.dir
    }

    /// Finishes what was accepted, ends watches, and releases files, threads and the directory's
    /// lock. Other clones then answer that the store is closed.
    pub async fn close(self) {
        self.inner.engine.close().await;
    }
}

/// A directory that goes with its owner.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
