//! The database file: its tables and the settings that make it durable.
//!
//! ```sql
//! records(key TEXT, value TEXT, revision INTEGER)   -- what is stored
//! meta(name TEXT, value INTEGER)                    -- 'format', 'revision': the last commit
//! ```
//! Looking is welcome (`sqlite3 lambic.db 'select key, value from records'`), even while the server
//! runs; writing from outside is not, as watches would not learn of it.

use std::fs::OpenOptions;
use std::io::ErrorKind;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, OptionalExtension};

use crate::dir::{FORMAT_VERSION, OpenError, sync_dir};
use crate::engine::Revision;

use super::failure;

/// How long a connection waits for a lock that somebody's `sqlite3` holds.
const BUSY_MS_MAX: u64 = 5_000;
/// The log is cut back to this size when it starts over.
const LOG_BYTES_KEPT: i64 = 64 * 1024 * 1024;

const TABLES: &str = "
    CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY NOT NULL, value INTEGER NOT NULL)
        WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS records (
        key TEXT PRIMARY KEY NOT NULL, value TEXT NOT NULL, revision INTEGER NOT NULL
    ) WITHOUT ROWID;";

/// Makes an empty file that only its owner reads (SQLite gives its log the same mode), and makes
/// its name durable.
pub(crate) fn create_file(dir: &Path, path: &Path) -> Result<(), OpenError> {
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(_) => sync_dir(dir).map_err(|error| OpenError::io(dir, error)),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(OpenError::io(dir, error)),
    }
}

/// A connection that may write: WAL, an fsync per commit, no checkpoints by itself.
pub(crate) fn open_writer(path: &Path) -> rusqlite::Result<Connection> {
    let connection = open(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "wal_autocheckpoint", 0)?;
    connection.pragma_update(None, "journal_size_limit", LOG_BYTES_KEPT)?;
    Ok(connection)
}

/// A connection that only reads.
pub(crate) fn open_reader(path: &Path) -> rusqlite::Result<Connection> {
    open(path, OpenFlags::SQLITE_OPEN_READ_ONLY)
}

fn open(path: &Path, access: OpenFlags) -> rusqlite::Result<Connection> {
    // One thread at a time uses a connection, so that SQLite needs no mutex of its own.
    let connection = Connection::open_with_flags(path, access | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(Duration::from_millis(BUSY_MS_MAX))?;
    Ok(connection)
}

/// Makes the tables where there are none, and answers the last revision.
pub(crate) fn prepare(dir: &Path, connection: &Connection) -> Result<Revision, OpenError> {
    let failed = |error| failure::open(dir, &error);
    let mode: String =
        connection.pragma_query_value(None, "journal_mode", |row| row.get(0)).map_err(failed)?;
    if mode != "wal" {
        // Some network file systems share no memory between connections.
        let why = "its file system offers no write-ahead log".to_string();
        return Err(OpenError::Failed { dir: dir.to_path_buf(), why });
    }
    connection.execute_batch("BEGIN IMMEDIATE").map_err(failed)?;
    connection.execute_batch(TABLES).map_err(failed)?;
    let format = meta(connection, "format").map_err(failed)?;
    match format {
        Some(found) if found != i64::from(FORMAT_VERSION) => {
            let dir = dir.to_path_buf();
            let found = u32::try_from(found).unwrap_or(u32::MAX);
            return Err(OpenError::Newer { dir, found });
        }
        Some(_) => {}
        None => {
            let rows = "INSERT INTO meta (name, value) VALUES ('format', ?1), ('revision', 0)";
            connection.execute(rows, [FORMAT_VERSION]).map_err(failed)?;
        }
    }
    let revision = meta(connection, "revision").map_err(failed)?;
    connection.execute_batch("COMMIT").map_err(failed)?;
    match revision.map(u64::try_from) {
        Some(Ok(revision)) => Ok(revision),
        _ => {
            let why = "its last revision is missing".to_string();
            Err(OpenError::Damaged { dir: dir.to_path_buf(), why })
        }
    }
}

fn meta(connection: &Connection, name: &str) -> rusqlite::Result<Option<i64>> {
    connection
        .prepare_cached("SELECT value FROM meta WHERE name = ?1")?
        .query_row([name], |row| row.get(0))
        .optional()
}

/// The last commit that this connection sees.
pub(crate) fn revision(connection: &Connection) -> rusqlite::Result<Revision> {
    let value = meta(connection, "revision")?.ok_or(rusqlite::Error::QueryReturnedNoRows)?;
    Ok(value.unsigned_abs())
}
