//! All durable state of Lambic.
//!
//! At the bottom is [`Engine`], a small trait for a transactional, ordered key-value store, with an
//! embedded implementation on SQLite and one in memory for tests. Above it, written once for every
//! engine: typed, versioned records ([`Table`], [`Transaction`]), gapless watches, and
//! content-addressed files and folders ([`Blobs`]).
//!
//! What it promises: an acknowledged write is on disk and survives `kill -9` and power loss;
//! nothing half-written is ever visible; one process at a time uses a data directory; a full disk
//! is an error to the caller and never damage. What it refuses: to know anything of AWS.

pub mod blobs;
mod dir;
pub mod engine;
mod key;
mod memory;
mod record;
mod sqlite;
mod store;
mod table;
mod transaction;
mod watch;

pub use blobs::{BlobError, Blobs, Digest, Hold, Mark, Staged, Swept};
pub use dir::{FORMAT_VERSION, OpenError};
pub use engine::{Commit, CommitError, Engine, EngineError, Entry, Revision, Snapshot};
pub use memory::MemoryEngine;
pub use record::{Record, Stored};
pub use sqlite::{DATABASE_FILE, SqliteEngine};
pub use store::{Store, StoreError};
pub use table::{Listing, RecordChange, Table, TableWatch};
pub use transaction::Transaction;
pub use watch::{Change, WATCH_BYTES_MAX, WATCH_CHANGES_MAX, Watch, WatchEnd};
