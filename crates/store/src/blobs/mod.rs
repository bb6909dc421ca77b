//! Files and folders by the hash of their contents.
//!
//! ```text
//! <dir>/blobs/files/<sha256>     packages as they were sent; their owner's only
//! <dir>/blobs/bundles/<sha256>/  folders, such as unpacked code; readable, they are mounted
//! <dir>/blobs/sizes/<sha256>     the bytes of a bundle, a hint
//! <dir>/blobs/staging/           what is being written; swept at every start
//! <dir>/blobs/trash/             what is being removed; swept at every start
//! ```
//! Everything appears by an atomic rename after it has been made durable, and goes by a rename
//! into the trash first: nothing half-written or half-removed is ever found under its name.

mod bundles;
mod digest;
mod tree;
mod uses;

pub use bundles::Staged;
pub use digest::Digest;
pub use uses::{Hold, Mark};

use std::collections::HashSet;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use lambic_rt::Rt;

use crate::dir::{self, OpenError, sync_dir};

use uses::Uses;

/// Why a blob could not be stored, read or removed.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum BlobError {
    /// There is none of that name.
    #[error("there is no such blob")]
    Missing,
    /// A text that is no SHA-256.
    #[error("a digest is 64 lower-case hexadecimal digits")]
    NoDigest,
    /// The disk is full. Nothing was stored.
    #[error("the disk is full: {0}")]
    Full(String),
    /// Anything else.
    #[error("{doing} failed: {why}")]
    Failed {
        /// What was tried.
        doing: &'static str,
        /// What the system said.
        why: String,
    },
}

/// What a sweep removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Files.
    pub files: usize,
    /// Bundles.
    pub bundles: usize,
    /// The bytes of both.
    pub bytes: u64,
}

/// The blobs of one data directory. Cheap to clone.
#[derive(Clone)]
pub struct Blobs {
    inner: Arc<Inner>,
}

struct Inner {
    files: PathBuf,
    bundles: PathBuf,
    sizes: PathBuf,
    staging: PathBuf,
    trash: PathBuf,
    uses: Arc<Uses>,
    total_bytes: AtomicU64,
    rt: Rt,
}

impl Blobs {
    /// Opens (or makes) the folders in `dir` and sweeps what a crash has left. Blocks.
    pub(crate) fn open(dir: &Path, rt: Rt) -> Result<Blobs, OpenError> {
        let opened = Inner::open(&dir.join("blobs"), rt).and_then(|inner| {
            sync_dir(dir)?;
            Ok(inner)
        });
        let inner = opened.map_err(|error| OpenError::io(dir, error))?;
        Ok(Blobs { inner: Arc::new(inner) })
    }

    /// Keeps whatever has (or will have) this name from being removed.
    pub fn hold(&self, digest: &Digest) -> Hold {
        self.inner.uses.hold(digest)
    }

    /// The present moment, for removals.
    pub fn mark(&self) -> Mark {
        self.inner.uses.lock().mark()
    }

    /// Stores a file; it is on disk when this answers.
    pub async fn put(&self, bytes: Bytes) -> Result<Digest, BlobError> {
        let inner = self.inner.clone();
        self.blocking("store a blob", move || inner.put(&bytes)).await
    }

    /// Opens a file for reading.
    pub async fn open_file(&self, digest: &Digest) -> Result<File, BlobError> {
        let path = self.path(digest);
        self.blocking("open a blob", move || File::open(path)).await
    }

    /// A file's contents.
    pub async fn read(&self, digest: &Digest) -> Result<Bytes, BlobError> {
        let path = self.path(digest);
        self.blocking("read a blob", move || std::fs::read(path).map(Bytes::from)).await
    }

    /// Where the file is, or would be.
    pub fn path(&self, digest: &Digest) -> PathBuf {
        self.inner.files.join(digest.as_str())
    }

    /// All files with their bytes, in no order.
    pub async fn list(&self) -> Result<Vec<(Digest, u64)>, BlobError> {
        let inner = self.inner.clone();
        self.blocking("list blobs", move || inner.list()).await
    }

    /// Removes a file that nobody has used since `mark`; false if there was none to remove.
    pub async fn remove(&self, digest: &Digest, mark: Mark) -> Result<bool, BlobError> {
        let (inner, digest) = (self.inner.clone(), digest.clone());
        self.blocking("remove a blob", move || Ok(inner.remove_file(&digest, mark)?.is_some()))
            .await
    }

    /// Removes every file and bundle that is not in `referenced` and that nobody has used since
    /// `mark`, which must have been taken before the references were read.
    pub async fn sweep(&self, referenced: HashSet<Digest>, mark: Mark) -> Result<Swept, BlobError> {
        let inner = self.inner.clone();
        self.blocking("sweep blobs", move || inner.sweep(&referenced, mark)).await
    }

    /// The bytes of all files and bundles.
    pub fn total_bytes(&self) -> u64 {
        self.inner.total_bytes.load(Ordering::Relaxed)
    }

    async fn blocking<T: Send + 'static>(
        &self,
        doing: &'static str,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> Result<T, BlobError> {
        self.inner.rt.blocking(doing, work).await.map_err(|error| match error.kind() {
            ErrorKind::NotFound => BlobError::Missing,
            kind if dir::is_full(kind) => BlobError::Full(error.to_string()),
            _ => BlobError::Failed { doing, why: error.to_string() },
        })
    }
}

impl Inner {
    fn open(root: &Path, rt: Rt) -> io::Result<Inner> {
        let folder = |name: &str| -> io::Result<PathBuf> {
            let path = root.join(name);
            DirBuilder::new().recursive(true).mode(0o711).create(&path)?;
            Ok(path)
        };
        let inner = Inner {
            files: folder("files")?,
            bundles: folder("bundles")?,
            sizes: folder("sizes")?,
            staging: folder("staging")?,
            trash: folder("trash")?,
            uses: Arc::new(Uses::new()),
            total_bytes: AtomicU64::new(0),
            rt,
        };
        sync_dir(root)?;
        inner.empty(&inner.staging)?;
        inner.empty(&inner.trash)?;
        let mut total: u64 = inner.list()?.iter().map(|(_, bytes)| bytes).sum();
        for digest in digests(&inner.bundles)? {
            total += inner.bundle_bytes(&digest)?;
        }
        inner.total_bytes.store(total, Ordering::Relaxed);
        Ok(inner)
    }

    fn put(&self, bytes: &[u8]) -> io::Result<Digest> {
        let digest = Digest::of(bytes);
        let path = self.files.join(digest.as_str());
        let mut uses = self.uses.lock();
        uses.touch(&digest);
        let known = path.try_exists()?;
        drop(uses);
        if !known {
            let temporary = self.staging.join(self.rt.uuid());
            let result = write_synced(&temporary, bytes)
                .and_then(|()| self.appear(&temporary, &path, &digest, bytes.len() as u64));
            if result.is_err() {
                let _ = std::fs::remove_file(&temporary);
            }
            result?;
        }
        sync_dir(&self.files)?;
        Ok(digest)
    }

    fn appear(&self, from: &Path, to: &Path, digest: &Digest, bytes: u64) -> io::Result<()> {
        let mut uses = self.uses.lock();
        uses.touch(digest);
        if to.try_exists()? {
            return std::fs::remove_file(from);
        }
        std::fs::rename(from, to)?;
        self.total_bytes.fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    }

    fn list(&self) -> io::Result<Vec<(Digest, u64)>> {
        let mut files = Vec::new();
        for digest in digests(&self.files)? {
            match self.files.join(digest.as_str()).metadata() {
                Ok(metadata) => files.push((digest, metadata.len())),
                // Removed since.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(files)
    }

    fn remove_file(&self, digest: &Digest, mark: Mark) -> io::Result<Option<u64>> {
        let path = self.files.join(digest.as_str());
        match path.metadata() {
            Ok(metadata) => self.trash(&path, digest, metadata.len(), mark),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Moves a file or folder out of sight unless it is in use, then removes it.
    fn trash(
        &self,
        path: &Path,
        digest: &Digest,
        bytes: u64,
        mark: Mark,
    ) -> io::Result<Option<u64>> {
        let trash = self.trash_path();
        {
            let mut uses = self.uses.lock();
            if !uses.may_remove(digest, mark) {
                return Ok(None);
            }
            match std::fs::rename(path, &trash) {
                // Somebody else was faster.
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
                result => result?,
            }
            self.total_bytes.fetch_sub(bytes, Ordering::Relaxed);
            let name = digest.as_str();
            if !self.files.join(name).try_exists()? && !self.bundles.join(name).try_exists()? {
                uses.forget(digest);
                let _ = std::fs::remove_file(self.sizes.join(name));
            }
        }
        if let Err(error) = tree::remove(&trash) {
            tracing::warn!(%error, path = %trash.display(), "trash is left for the next start");
        }
        Ok(Some(bytes))
    }

    fn sweep(&self, referenced: &HashSet<Digest>, mark: Mark) -> io::Result<Swept> {
        let mut swept = Swept::default();
        for digest in digests(&self.files)? {
            if referenced.contains(&digest) {
                continue;
            }
            if let Some(bytes) = self.remove_file(&digest, mark)? {
                swept.files += 1;
                swept.bytes += bytes;
            }
        }
        for digest in digests(&self.bundles)? {
            if referenced.contains(&digest) {
                continue;
            }
            if let Some(bytes) = self.remove_bundle(&digest, mark)? {
                swept.bundles += 1;
                swept.bytes += bytes;
            }
        }
        self.uses.lock().forget_through(mark);
        self.empty(&self.trash)?;
        Ok(swept)
    }

    fn empty(&self, folder: &Path) -> io::Result<()> {
        for entry in std::fs::read_dir(folder)? {
            tree::remove(&entry?.path())?;
        }
        Ok(())
    }

    fn trash_path(&self) -> PathBuf {
        self.trash.join(self.rt.uuid())
    }
}

/// The digests that name something in `folder`; other names are not ours to judge.
fn digests(folder: &Path) -> io::Result<Vec<Digest>> {
    let mut digests = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        if let Some(digest) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) {
            digests.push(digest);
        }
    }
    Ok(digests)
}

fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}
