//! SQLite's errors in our words.

use std::path::Path;

use rusqlite::{Error, ErrorCode, ffi};

use crate::dir::OpenError;
use crate::engine::{CommitError, EngineError};

/// For a commit.
pub(crate) fn commit(error: &Error) -> CommitError {
    if is_full(error) {
        CommitError::Full(error.to_string())
    } else {
        CommitError::Failed(error.to_string())
    }
}

/// For a read.
pub(crate) fn read(error: &Error) -> EngineError {
    EngineError::Failed(error.to_string())
}

/// For opening the database in `dir`.
pub(crate) fn open(dir: &Path, error: &Error) -> OpenError {
    let (dir, why) = (dir.to_path_buf(), error.to_string());
    if is_full(error) {
        return OpenError::Full { dir, why };
    }
    match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => {
            OpenError::Damaged { dir, why }
        }
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => {
            OpenError::NotWritable { dir, source: std::io::Error::other(why) }
        }
        _ => OpenError::Failed { dir, why },
    }
}

/// SQLite says `SQLITE_FULL` for ENOSPC only. A used-up quota (EDQUOT) or a file size limit
/// (EFBIG) is a failed write to it, and so is a failed growth of its shared memory file.
pub(crate) fn is_full(error: &Error) -> bool {
    let Some(code) = error.sqlite_error() else { return false };
    let extended = code.extended_code;
    code.code == ErrorCode::DiskFull
        || extended == ffi::SQLITE_IOERR_WRITE
        || extended == ffi::SQLITE_IOERR_SHMSIZE
}
