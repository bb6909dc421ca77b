//! Bundles: immutable folders, such as unpacked code, published whole or not at all.

use std::fs::Permissions;
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::dir::sync_dir;

use super::uses::Mark;
use super::{BlobError, Blobs, Digest, Inner, tree};

/// A folder that is being filled. Dropping it without publishing throws it away.
pub struct Staged {
    path: PathBuf,
    inner: Arc<Inner>,
}

impl Staged {
    /// The folder to fill: files, folders and symbolic links, with the permissions they will keep.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        // Only a rename, as this may run where blocking for long is not welcome; the next
        // removal or start empties the trash.
        let _ = std::fs::rename(&self.path, self.inner.trash_path());
    }
}

impl Blobs {
    /// A new, empty folder to fill.
    pub async fn stage(&self) -> Result<Staged, BlobError> {
        let inner = self.inner.clone();
        self.blocking("stage a bundle", move || {
            let path = inner.staging.join(inner.rt.uuid());
            std::fs::DirBuilder::new().mode(0o755).create(&path)?;
            // Whatever the umask of whoever started us is: the function is another user.
            std::fs::set_permissions(&path, Permissions::from_mode(0o755))?;
            Ok(Staged { path, inner })
        })
        .await
    }

    /// Throws a folder away and gives its room back before this answers.
    pub async fn discard(&self, staged: Staged) -> Result<(), BlobError> {
        self.blocking("discard a bundle", move || tree::remove(&staged.path)).await
    }

    /// Makes a filled folder durable and gives it the name `digest`; answers its path. If a
    /// bundle of that name is there already, that one stays and the staged one goes.
    pub async fn publish(&self, staged: Staged, digest: &Digest) -> Result<PathBuf, BlobError> {
        let (inner, digest) = (self.inner.clone(), digest.clone());
        self.blocking("publish a bundle", move || inner.publish(&staged, &digest)).await
    }

    /// Where the bundle is, or would be.
    pub fn bundle_path(&self, digest: &Digest) -> PathBuf {
        self.inner.bundles.join(digest.as_str())
    }

    /// Whether there is a bundle of that name.
    pub async fn has_bundle(&self, digest: &Digest) -> Result<bool, BlobError> {
        let path = self.bundle_path(digest);
        self.blocking("look for a bundle", move || path.try_exists()).await
    }

    /// The bytes of all files of the bundle of that name.
    pub async fn bundle_bytes(&self, digest: &Digest) -> Result<u64, BlobError> {
        let (inner, digest) = (self.inner.clone(), digest.clone());
        self.blocking("measure a bundle", move || inner.bundle_bytes(&digest)).await
    }

    /// All bundles, in no order.
    pub async fn list_bundles(&self) -> Result<Vec<Digest>, BlobError> {
        let inner = self.inner.clone();
        self.blocking("list bundles", move || super::digests(&inner.bundles)).await
    }

    /// Removes a bundle that nobody has used since `mark`; false if there was none to remove.
    pub async fn remove_bundle(&self, digest: &Digest, mark: Mark) -> Result<bool, BlobError> {
        let (inner, digest) = (self.inner.clone(), digest.clone());
        self.blocking("remove a bundle", move || Ok(inner.remove_bundle(&digest, mark)?.is_some()))
            .await
    }
}

impl Inner {
    fn publish(&self, staged: &Staged, digest: &Digest) -> io::Result<PathBuf> {
        let path = self.bundles.join(digest.as_str());
        if !path.try_exists()? {
            let bytes = tree::sync(&staged.path)?;
            // A hint that saves walking the bundle at the next start; it may be lost.
            let _ = std::fs::write(self.size_path(digest), bytes.to_string());
            let mut uses = self.uses.lock();
            uses.touch(digest);
            if !path.try_exists()? {
                std::fs::rename(&staged.path, &path)?;
                self.total_bytes.fetch_add(bytes, Ordering::Relaxed);
            }
        } else {
            self.uses.lock().touch(digest);
            // It may have been removed between the look and the touch.
            if !path.try_exists()? {
                return self.publish(staged, digest);
            }
        }
        sync_dir(&self.bundles)?;
        Ok(path)
    }

    /// The bytes it had, if it was there and could go.
    pub(super) fn remove_bundle(&self, digest: &Digest, mark: Mark) -> io::Result<Option<u64>> {
        let path = self.bundles.join(digest.as_str());
        let bytes = match self.bundle_bytes(digest) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            bytes => bytes?,
        };
        self.trash(&path, digest, bytes, mark)
    }

    pub(super) fn bundle_bytes(&self, digest: &Digest) -> io::Result<u64> {
        let path = self.bundles.join(digest.as_str());
        path.metadata()?;
        let noted = std::fs::read_to_string(self.size_path(digest));
        match noted.ok().and_then(|text| text.parse().ok()) {
            Some(bytes) => Ok(bytes),
            None => {
                let bytes = tree::bytes(&path)?;
                let _ = std::fs::write(self.size_path(digest), bytes.to_string());
                Ok(bytes)
            }
        }
    }

    fn size_path(&self, digest: &Digest) -> PathBuf {
        self.sizes.join(digest.as_str())
    }
}
