//! Blobs and bundles: whole or not at all, and never removed under somebody's hands.

use std::collections::HashSet;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use bytes::Bytes;
use lambic_rt::Rt;
use lambic_store::{BlobError, Blobs, Digest, Staged, Store, Swept};

use crate::open;

fn memory() -> Store {
    Store::in_memory(Rt::real()).unwrap()
}

async fn staged(blobs: &Blobs, text: &str) -> Staged {
    let staged = blobs.stage().await.unwrap();
    std::fs::create_dir_all(staged.path().join("a/b")).unwrap();
    std::fs::write(staged.path().join("a/b/file"), text).unwrap();
    std::os::unix::fs::symlink("file", staged.path().join("a/b/link")).unwrap();
    staged
}

fn entries(dir: &Path, name: &str) -> usize {
    std::fs::read_dir(dir.join("blobs").join(name)).unwrap().count()
}

#[tokio::test]
async fn files() {
    let store = memory();
    let blobs = store.blobs();
    let bytes = Bytes::from_static(b"hello");
    let digest = blobs.put(bytes.clone()).await.unwrap();
    assert_eq!(digest, Digest::of(b"hello"));
    assert_eq!(blobs.put(bytes.clone()).await, Ok(digest.clone()));
    assert_eq!(blobs.read(&digest).await, Ok(bytes));
    assert_eq!(blobs.open_file(&digest).await.unwrap().metadata().unwrap().len(), 5);
    assert_eq!(blobs.list().await, Ok(vec![(digest.clone(), 5)]));
    assert_eq!(blobs.total_bytes(), 5);
    let mark = blobs.mark();
    assert_eq!(blobs.remove(&digest, mark).await, Ok(true));
    assert_eq!(blobs.remove(&digest, mark).await, Ok(false));
    assert_eq!(blobs.read(&digest).await, Err(BlobError::Missing));
    assert_eq!(blobs.total_bytes(), 0);
    assert_eq!(entries(store.dir(), "staging") + entries(store.dir(), "trash"), 0);
}

#[tokio::test]
async fn bundles() {
    let store = memory();
    let blobs = store.blobs();
    let digest = Digest::of(b"package");
    assert_eq!(blobs.has_bundle(&digest).await, Ok(false));
    let path = blobs.publish(staged(blobs, "text").await, &digest).await.unwrap();
    assert_eq!(path, blobs.bundle_path(&digest));
    assert_eq!(std::fs::read_to_string(path.join("a/b/link")).unwrap(), "text");
    assert_eq!(blobs.total_bytes(), 4);
    // The first one stays: it may be in use.
    blobs.publish(staged(blobs, "longer text").await, &digest).await.unwrap();
    assert_eq!(std::fs::read_to_string(path.join("a/b/file")).unwrap(), "text");
    assert_eq!(blobs.total_bytes(), 4);
    assert_eq!(blobs.list_bundles().await, Ok(vec![digest.clone()]));
    assert_eq!(blobs.remove_bundle(&digest, blobs.mark()).await, Ok(true));
    assert_eq!(blobs.remove_bundle(&digest, blobs.mark()).await, Ok(false));
    assert_eq!(blobs.has_bundle(&digest).await, Ok(false));
    assert_eq!(blobs.total_bytes(), 0);
}

#[tokio::test]
async fn odd_permissions_and_special_files() {
    let store = memory();
    let blobs = store.blobs();
    let stage = staged(blobs, "text").await;
    let mode = |path: &str, mode| {
        let permissions = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(stage.path().join(path), permissions).unwrap();
    };
    mode("a/b/file", 0o000);
    mode("a/b", 0o555);
    let digest = Digest::of(b"x");
    blobs.publish(stage, &digest).await.unwrap();
    assert_eq!(blobs.remove_bundle(&digest, blobs.mark()).await, Ok(true));

    let stage = staged(blobs, "text").await;
    nix::unistd::mkfifo(&stage.path().join("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert!(matches!(blobs.publish(stage, &digest).await, Err(BlobError::Failed { .. })));
    assert_eq!(blobs.has_bundle(&digest).await, Ok(false));
}

#[tokio::test]
async fn what_is_used_is_spared() {
    let store = memory();
    let blobs = store.blobs();
    let digest = blobs.put(Bytes::from_static(b"a")).await.unwrap();
    let mark = blobs.mark();
    assert_eq!(blobs.put(Bytes::from_static(b"a")).await, Ok(digest.clone()));
    // Somebody put it again after the records were read.
    assert_eq!(blobs.remove(&digest, mark).await, Ok(false));
    let hold = blobs.hold(&digest);
    let clone = hold.clone();
    drop(hold);
    let mark = blobs.mark();
    assert_eq!(blobs.remove(&digest, mark).await, Ok(false));
    drop(clone);
    // The record may have been committed between the mark and the end of the hold.
    assert_eq!(blobs.remove(&digest, mark).await, Ok(false));
    assert_eq!(blobs.remove(&digest, blobs.mark()).await, Ok(true));
}

#[tokio::test]
async fn a_sweep_removes_what_nobody_refers_to() {
    let store = memory();
    let blobs = store.blobs();
    let keep = blobs.put(Bytes::from_static(b"keep")).await.unwrap();
    let lose = blobs.put(Bytes::from_static(b"lose")).await.unwrap();
    blobs.publish(staged(blobs, "text").await, &keep).await.unwrap();
    blobs.publish(staged(blobs, "words").await, &lose).await.unwrap();
    let mark = blobs.mark();
    let swept = blobs.sweep(HashSet::from([keep.clone()]), mark).await.unwrap();
    assert_eq!(swept, Swept { files: 1, bundles: 1, bytes: 9 });
    assert_eq!(blobs.list().await, Ok(vec![(keep.clone(), 4)]));
    assert_eq!(blobs.list_bundles().await, Ok(vec![keep]));
    assert_eq!(blobs.total_bytes(), 8);
}

#[tokio::test]
async fn leftovers_go_at_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let blobs = store.blobs().clone();
    blobs.put(Bytes::from_static(b"hello")).await.unwrap();
    let digest = Digest::of(b"package");
    blobs.publish(staged(&blobs, "text").await, &digest).await.unwrap();
    drop(staged(&blobs, "given up").await);
    let forgotten = staged(&blobs, "never published").await;
    store.close().await;
    std::mem::forget(forgotten);
    std::fs::remove_dir_all(dir.path().join("blobs/sizes")).unwrap();
    assert_eq!((entries(dir.path(), "staging"), entries(dir.path(), "trash")), (1, 1));
    let store = open(dir.path()).await;
    assert_eq!((entries(dir.path(), "staging"), entries(dir.path(), "trash")), (0, 0));
    assert_eq!(store.blobs().total_bytes(), 9);
    assert_eq!(store.blobs().has_bundle(&digest).await, Ok(true));
}

#[tokio::test]
async fn memory_stores_leave_nothing_behind() {
    let store = memory();
    let dir = store.dir().to_path_buf();
    store.blobs().put(Bytes::from_static(b"hello")).await.unwrap();
    assert!(dir.exists());
    drop(store);
    assert!(!dir.exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_file_from_many_at_once() {
    let store = memory();
    let blobs = store.blobs();
    let puts = (0..32).map(|_| blobs.put(Bytes::from(vec![7; 100_000])));
    for result in futures_util::future::join_all(puts).await {
        result.unwrap();
    }
    assert_eq!(blobs.total_bytes(), 100_000);
}
