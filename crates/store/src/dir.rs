//! The data directory: made, locked, and checked to be of a form this program understands.
//!
//! ```text
//! <dir>/lock         held by the one process that uses the directory; contains its process id
//! <dir>/format       the version of this layout, a number
//! <dir>/lambic.db    the SQLite database (with -wal and -shm beside it)
//! <dir>/blobs/       files and folders by the hash of their contents
//! ```
//! The directory may be passed through by everybody (an execution environment's user reaches its
//! code that way) but listed by its owner alone; database and packages are the owner's only.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The version of the layout that this program writes and understands.
pub const FORMAT_VERSION: u32 = 1;

const LOCK_FILE: &str = "lock";
const FORMAT_FILE: &str = "format";

/// Why a data directory cannot be used. Each is one sentence for an operator.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process (or this one, a second time) has it open.
    #[error("the data directory {} is already in use by process {pid}", dir.display())]
    InUse {
        /// The data directory.
        dir: PathBuf,
        /// The process id of the holder, or `unknown`.
        pid: String,
    },
    /// The path leads to, or through, something else.
    #[error("the data directory {} is not a directory", dir.display())]
    NotADirectory {
        /// The data directory.
        dir: PathBuf,
    },
    /// This user may not write there, or the file system is read-only.
    #[error("the data directory {} is not writable: {source}", dir.display())]
    NotWritable {
        /// The data directory.
        dir: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// No space is left, or no quota.
    #[error("the disk of the data directory {} is full: {why}", dir.display())]
    Full {
        /// The data directory.
        dir: PathBuf,
        /// What the system said.
        why: String,
    },
    /// A newer Lambic wrote it.
    #[error(
        "the data directory {} has format {found}, and this program understands up to {FORMAT_VERSION}",
        dir.display()
    )]
    Newer {
        /// The data directory.
        dir: PathBuf,
        /// The format found.
        found: u32,
    },
    /// What is in there cannot be read.
    #[error("the data directory {} is damaged: {why}", dir.display())]
    Damaged {
        /// The data directory.
        dir: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// Anything else.
    #[error("the data directory {} cannot be opened: {why}", dir.display())]
    Failed {
        /// The data directory.
        dir: PathBuf,
        /// What went wrong.
        why: String,
    },
}

impl OpenError {
    /// The sentence for an error of the file system.
    pub(crate) fn io(dir: &Path, source: io::Error) -> OpenError {
        let dir = dir.to_path_buf();
        match source.kind() {
            ErrorKind::NotADirectory | ErrorKind::AlreadyExists => OpenError::NotADirectory { dir },
            ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
                OpenError::NotWritable { dir, source }
            }
            kind if is_full(kind) => OpenError::Full { dir, why: source.to_string() },
            _ => OpenError::Failed { dir, why: source.to_string() },
        }
    }
}

/// Whether an error says that there is no room for what was to be written.
pub(crate) fn is_full(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge)
}

/// The right to use a data directory, given back when dropped (or when the process ends).
#[derive(Debug)]
pub(crate) struct DirLock {
    file: File,
}

impl Drop for DirLock {
    fn drop(&mut self) {
        // Closing would not be enough: a child that another thread is just forking holds a copy of
        // the descriptor until it execs, and the lock with it.
        if let Err(error) = self.file.unlock() {
            tracing::warn!(%error, "the data directory's lock goes with the process only");
        }
    }
}

/// Makes the directory if need be, locks it, and checks (or writes) its format.
pub(crate) fn prepare(dir: &Path) -> Result<DirLock, OpenError> {
    create(dir)?;
    let lock = lock(dir)?;
    check_format(dir)?;
    Ok(lock)
}

/// Makes the directory with its parents where there is none.
pub(crate) fn create(dir: &Path) -> Result<(), OpenError> {
    let failed = |error| OpenError::io(dir, error);
    let missing: Vec<&Path> = dir.ancestors().take_while(|path| !path.exists()).collect();
    // Recursive creation gives every new parent the same mode.
    DirBuilder::new().recursive(true).mode(0o711).create(dir).map_err(failed)?;
    if !dir.metadata().map_err(failed)?.is_dir() {
        return Err(OpenError::NotADirectory { dir: dir.to_path_buf() });
    }
    // What is acknowledged in a directory is worth nothing if the directory's own name is lost. A
    // parent that may be written but not read cannot be opened; then the system's own time counts.
    for parent in missing.iter().filter_map(|path| path.parent()) {
        match sync_dir(parent) {
            Err(error) if error.kind() != ErrorKind::PermissionDenied => return Err(failed(error)),
            _ => {}
        }
    }
    Ok(())
}

fn lock(dir: &Path) -> Result<DirLock, OpenError> {
    let failed = |error| OpenError::io(dir, error);
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(dir.join(LOCK_FILE))
        .map_err(failed)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut pid = String::new();
            let _ = file.read_to_string(&mut pid);
            let pid = if pid.trim().is_empty() { "unknown" } else { pid.trim() }.to_string();
            return Err(OpenError::InUse { dir: dir.to_path_buf(), pid });
        }
        Err(TryLockError::Error(error)) => return Err(failed(error)),
    }
    file.set_len(0).map_err(failed)?;
    writeln!(file, "{}", std::process::id()).map_err(failed)?;
    Ok(DirLock { file })
}

fn check_format(dir: &Path) -> Result<(), OpenError> {
    let failed = |error| OpenError::io(dir, error);
    match std::fs::read_to_string(dir.join(FORMAT_FILE)) {
        Ok(text) => match text.trim().parse::<u32>() {
            Ok(FORMAT_VERSION) => Ok(()),
            Ok(found) if found > FORMAT_VERSION => {
                Err(OpenError::Newer { dir: dir.to_path_buf(), found })
            }
            _ => {
                let why = format!("its format file says {:?}", text.trim());
                Err(OpenError::Damaged { dir: dir.to_path_buf(), why })
            }
        },
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let text = format!("{FORMAT_VERSION}\n");
            write_durably(dir, FORMAT_FILE, text.as_bytes(), 0o644).map_err(failed)
        }
        Err(error) => Err(failed(error)),
    }
}

/// Writes `<dir>/<name>` so that after a crash it is there whole or not at all.
fn write_durably(dir: &Path, name: &str, bytes: &[u8], mode: u32) -> io::Result<()> {
    let temporary = dir.join(format!("{name}.new"));
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&temporary, dir.join(name))?;
    sync_dir(dir)
}

/// Makes the names in a directory durable.
pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_of_the_descriptor_does_not_keep_the_lock() {
        let dir = tempfile::tempdir().unwrap();
        let lock = prepare(dir.path()).unwrap();
        let copy = lock.file.try_clone().unwrap();
        assert!(matches!(prepare(dir.path()), Err(OpenError::InUse { .. })));
        drop(lock);
        prepare(dir.path()).unwrap();
        drop(copy);
    }
}
