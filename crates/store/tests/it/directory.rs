//! The data directory: one process at a time, and a clear sentence for whatever is wrong with it.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use lambic_rt::Rt;
use lambic_store::{OpenError, Store};

use crate::{open, put};

async fn refusal(dir: &Path) -> OpenError {
    match Store::open(dir, Rt::real()).await {
        Ok(_) => panic!("{} was opened", dir.display()),
        Err(error) => error,
    }
}

#[tokio::test]
async fn it_is_made_with_its_parents() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a/b");
    let store = open(&path).await;
    assert_eq!(store.dir(), path);
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o711);
    assert_eq!(mode(&path.join("lambic.db")), 0o600);
    assert_eq!(mode(&path.join("lambic.db-wal")), 0o600);
}

#[tokio::test]
async fn only_one_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    store.engine().commit(put("a", "1")).await.unwrap();
    let text = refusal(dir.path()).await.to_string();
    let (shown, pid) = (dir.path().display(), std::process::id());
    assert_eq!(text, format!("the data directory {shown} is already in use by process {pid}"));
    drop(store);
    let store = open(dir.path()).await;
    let other = store.clone();
    store.close().await;
    let store = open(dir.path()).await;
    drop(other);
    assert!(matches!(refusal(dir.path()).await, OpenError::InUse { .. }));
    assert!(store.engine().get(b"a".to_vec()).await.unwrap().is_some());
}

#[tokio::test]
async fn what_is_no_directory() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    for path in [file.clone(), file.join("below")] {
        let text = refusal(&path).await.to_string();
        assert_eq!(text, format!("the data directory {} is not a directory", path.display()));
    }
}

#[tokio::test]
async fn what_cannot_be_written() {
    // Nobody, not even root, makes directories there.
    let text = refusal(Path::new("/sys/lambic-test")).await.to_string();
    assert!(text.starts_with("the data directory /sys/lambic-test is not writable: "), "{text}");
}

#[tokio::test]
async fn what_a_newer_program_wrote() {
    let dir = tempfile::tempdir().unwrap();
    open(dir.path()).await.close().await;
    std::fs::write(dir.path().join("format"), "2\n").unwrap();
    let text = refusal(dir.path()).await.to_string();
    let end = "has format 2, and this program understands up to 1";
    assert_eq!(text, format!("the data directory {} {end}", dir.path().display()));

    std::fs::write(dir.path().join("format"), "1\n").unwrap();
    let database = rusqlite::Connection::open(dir.path().join("lambic.db")).unwrap();
    database.execute("UPDATE meta SET value = 7 WHERE name = 'format'", []).unwrap();
    drop(database);
    assert!(matches!(refusal(dir.path()).await, OpenError::Newer { found: 7, .. }));
}

#[tokio::test]
async fn what_is_damaged() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("lambic.db"), "this is no database".repeat(500)).unwrap();
    assert!(matches!(refusal(dir.path()).await, OpenError::Damaged { .. }));
    std::fs::write(dir.path().join("format"), "x").unwrap();
    assert!(matches!(refusal(dir.path()).await, OpenError::Damaged { .. }));
}

#[tokio::test]
async fn revisions_go_on_after_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    store.engine().commit(put("a", "1")).await.unwrap();
    let last = store.engine().commit(crate::delete("a")).await.unwrap();
    store.close().await;
    // A clean close leaves no log behind.
    let log = dir.path().join("lambic.db-wal").metadata();
    assert!(log.is_err() || log.is_ok_and(|log| log.len() == 0));
    let store = open(dir.path()).await;
    assert!(store.engine().commit(put("a", "1")).await.unwrap() > last);
}
