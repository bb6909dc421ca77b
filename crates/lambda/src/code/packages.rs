//! Takes deployment packages in: checks, unpacks and stores them, each content once.
//!
//! When [`Packages::take`] answers, both the zip (for GetFunction's download) and the unpacked
//! bundle (for `/var/task`) are on disk. The record that refers to them is committed afterwards, so
//! a crash in between leaves only files that the sweep removes.

use std::sync::Arc;

use bytes::Bytes;
use lambic_rt::Rt;
use lambic_store::{BlobError, Digest, Hold, Staged, Store};
use lambic_wire::Error;
use tokio::sync::Semaphore;

use super::merge::merge;
use super::unpack::{UnpackError, unpack};
use crate::limits::{
    UNPACKING_MAX, UNZIPPED_BYTES_MAX, ZIPPED_BYTES_MAX, invalid, unzipped_too_large,
    zipped_too_large,
};
use crate::state::function::Code;
use crate::state::layer::{LayerUse, merged_digest};

/// AWS's words for any package that it cannot read.
const CANNOT_UNZIP: &str =
    "Could not unzip uploaded file. Please check your file, then try to upload again.";

/// The door for deployment packages.
#[derive(Clone)]
pub struct Packages {
    store: Store,
    rt: Rt,
    unpacking: Arc<Semaphore>,
}

/// A package that is on disk.
pub struct Package {
    /// What a function's record refers to.
    pub code: Code,
    /// Keep it until the record is committed and the catalog has seen it.
    pub hold: Hold,
}

impl Packages {
    /// Packages are stored in `store`'s blobs.
    pub fn new(store: Store, rt: Rt) -> Packages {
        Packages { store, rt, unpacking: Arc::new(Semaphore::new(UNPACKING_MAX)) }
    }

    /// Stores a zip and what it unpacks to.
    ///
    /// # Errors
    /// AWS's for what is too large or cannot be unzipped; ServiceException when the disk fails.
    pub async fn take(&self, zip: Bytes) -> Result<Package, Error> {
        let code = self.measure(&zip).await?;
        let blobs = self.store.blobs();
        // Held before looking: from here on no sweep can take away what is found.
        let hold = blobs.hold(&code.sha256);
        if !blobs.has_bundle(&code.sha256).await.map_err(failed)? {
            let staged = self.unpack(zip.clone()).await?;
            blobs.publish(staged, &code.sha256).await.map_err(failed)?;
        }
        blobs.put(zip).await.map_err(failed)?;
        let unzipped_bytes = Some(blobs.bundle_bytes(&code.sha256).await.map_err(failed)?);
        Ok(Package { code: Code { unzipped_bytes, ..code }, hold })
    }

    /// Sees to it that what these layers make together is on disk. Keep what is returned until the
    /// record that uses them is committed and the catalog has seen it.
    ///
    /// # Errors
    /// AWS's for a layer that is gone; ServiceException when the disk fails.
    pub async fn merge(&self, layers: &[LayerUse]) -> Result<Vec<Hold>, Error> {
        let blobs = self.store.blobs();
        let Some(merged) = merged_digest(layers) else { return Ok(Vec::new()) };
        let used = layers.iter().map(|layer| &layer.code.sha256).chain([&merged]);
        // Held before looking, as above.
        let holds = used.map(|digest| blobs.hold(digest)).collect();
        for layer in layers {
            if !blobs.has_bundle(&layer.code.sha256).await.map_err(failed)? {
                // Deleted and swept since its record was read.
                return Err(invalid(format!("Layer version {} does not exist.", layer.arn)));
            }
        }
        if layers.len() > 1 && !blobs.has_bundle(&merged).await.map_err(failed)? {
            let _turn = self.unpacking.acquire().await.expect("the semaphore is never closed");
            let staged = blobs.stage().await.map_err(failed)?;
            let into = staged.path().to_owned();
            let from: Vec<_> =
                layers.iter().map(|layer| blobs.bundle_path(&layer.code.sha256)).collect();
            let work = move || from.iter().try_for_each(|layer| merge(layer, &into));
            if let Err(error) = self.rt.blocking("merge layers", work).await {
                self.discard(staged).await;
                return Err(unpack_failed(&UnpackError::Write(error)));
            }
            blobs.publish(staged, &merged).await.map_err(failed)?;
        }
        Ok(holds)
    }

    /// Answers what [`Packages::take`] would, and stores nothing.
    ///
    /// # Errors
    /// As for [`Packages::take`].
    pub async fn check(&self, zip: Bytes) -> Result<Code, Error> {
        let code = self.measure(&zip).await?;
        let staged = self.unpack(zip).await?;
        self.discard(staged).await;
        Ok(code)
    }

    async fn measure(&self, zip: &Bytes) -> Result<Code, Error> {
        let zip_bytes = zip.len() as u64;
        if zip_bytes >= ZIPPED_BYTES_MAX {
            return Err(zipped_too_large());
        }
        let bytes = zip.clone();
        let sha256 = self.rt.blocking("hash a package", move || Digest::of(&bytes)).await;
        Ok(Code { sha256, zip_bytes, unzipped_bytes: None, signature: None })
    }

    async fn unpack(&self, zip: Bytes) -> Result<Staged, Error> {
        let _turn = self.unpacking.acquire().await.expect("the semaphore is never closed");
        let staged = self.store.blobs().stage().await.map_err(failed)?;
        let into = staged.path().to_owned();
        let work = move || unpack(&zip, &into, UNZIPPED_BYTES_MAX);
        match self.rt.blocking("unpack a package", work).await {
            Ok(unpacked) => {
                let (bytes, files) = (unpacked.bytes, unpacked.files);
                tracing::debug!(bytes, files, "package unpacked");
                Ok(staged)
            }
            Err(error) => {
                self.discard(staged).await;
                Err(unpack_failed(&error))
            }
        }
    }

    /// At once: the disk may be full of it. What cannot be discarded is swept at the next start; it
    /// changes nothing for the caller, so it must not take the place of the caller's answer.
    async fn discard(&self, staged: Staged) {
        if let Err(error) = self.store.blobs().discard(staged).await {
            tracing::error!(%error, "an unpacked package could not be discarded");
        }
    }
}

/// What was refused for a reason of ours is told with the reason; what no reader could read is told
/// in AWS's words alone.
fn unpack_failed(error: &UnpackError) -> Error {
    tracing::info!(%error, "package refused");
    match error {
        UnpackError::Broken(_) => invalid(CANNOT_UNZIP),
        UnpackError::Refused(reason) => invalid(format!("{CANNOT_UNZIP} Reason: {reason}")),
        UnpackError::TooLarge { .. } => unzipped_too_large(),
        UnpackError::Write(error) => {
            tracing::error!(%error, "a package could not be written");
            Error::internal(match error.kind() {
                std::io::ErrorKind::StorageFull => "The server's disk is full.",
                _ => "The deployment package could not be stored.",
            })
        }
    }
}

fn failed(error: BlobError) -> Error {
    tracing::error!(%error, "a package could not be stored");
    Error::internal(match error {
        BlobError::Full(_) => "The server's disk is full.",
        _ => "The deployment package could not be stored.",
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::code::testing::{Item, zip_of};

    fn packages() -> (Packages, Store) {
        let rt = Rt::real();
        let store = Store::in_memory(rt.clone()).unwrap();
        (Packages::new(store.clone(), rt), store)
    }

    #[tokio::test]
    async fn the_same_package_is_stored_once() {
        let (packages, store) = packages();
        let zip = Bytes::from(zip_of(&[Item::file("main.py", b"x = 1")]));
        let first = packages.take(zip.clone()).await.unwrap();
        let second = packages.take(zip.clone()).await.unwrap();
        assert_eq!(first.code, second.code);
        assert_eq!(first.code.sha256, Digest::of(&zip));
        assert_eq!(store.blobs().list().await.unwrap().len(), 1);
        assert_eq!(store.blobs().read(&first.code.sha256).await.unwrap(), zip);
        let file = store.blobs().bundle_path(&first.code.sha256).join("main.py");
        assert_eq!(std::fs::read(file).unwrap(), b"x = 1");
    }

    #[tokio::test]
    async fn who_knows_the_digests_of_layers_is_not_given_what_they_hold() {
        let (packages, _store) = packages();
        let mut layers = Vec::new();
        for name in ["one", "two"] {
            let zip = Bytes::from(zip_of(&[Item::file(name, b"secret")]));
            let package = packages.take(zip).await.unwrap();
            layers.push((LayerUse { arn: name.into(), code: package.code }, package.hold));
        }
        let uses: Vec<_> = layers.iter().map(|(layer, _)| layer.clone()).collect();
        let _merged = packages.merge(&uses).await.unwrap();
        let digests: Vec<_> = uses.iter().map(|layer| layer.code.sha256.as_str()).collect();
        let names = digests.join("\n");
        for text in [names.clone(), format!("layers\n{names}")] {
            let hash = Digest::of(text.as_bytes()).to_bytes();
            for sent in [text.into_bytes(), hash.to_vec()] {
                let error = packages.take(Bytes::from(sent)).await.err().unwrap();
                assert_eq!(error.message, CANNOT_UNZIP);
            }
        }
    }

    #[tokio::test]
    async fn checking_stores_nothing() {
        let (packages, store) = packages();
        let zip = Bytes::from(zip_of(&[Item::file("main.py", b"x = 1")]));
        assert_eq!(packages.check(zip.clone()).await.unwrap().sha256, Digest::of(&zip));
        assert!(store.blobs().list().await.unwrap().is_empty());
        assert!(store.blobs().list_bundles().await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn refusals_in_awss_words() {
        let (packages, store) = packages();
        let check = async |zip: Vec<u8>| {
            let error = packages.take(Bytes::from(zip)).await.err().unwrap();
            format!("{} {}: {}", error.status, error.code, error.message)
        };
        assert_eq!(
            check(b"no zip".to_vec()).await,
            format!("400 InvalidParameterValueException: {CANNOT_UNZIP}")
        );
        assert_eq!(
            check(zip_of(&[Item::file("../x", b"1")])).await,
            format!(
                "400 InvalidParameterValueException: {CANNOT_UNZIP} Reason: '../x' leads out of \
                 the package"
            )
        );
        assert_eq!(
            check(vec![0; ZIPPED_BYTES_MAX as usize]).await,
            "413 RequestEntityTooLargeException: Zipped size must be smaller than 52428800 bytes"
        );
        assert!(store.blobs().list_bundles().await.unwrap().is_empty());
    }
}
