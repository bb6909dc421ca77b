//! A full disk: an error to the caller, never damage, and life goes on when there is room again.
//!
//! A limit on the size of files (`RLIMIT_FSIZE`) needs no root and fails writes in the middle, as
//! a full disk does. It needs a process of its own, in which the signal that goes with it is
//! ignored: a shell does that, and starts this test binary again.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use bytes::Bytes;
use futures_util::future::join_all;
use lambic_rt::Rt;
use lambic_store::{BlobError, CommitError, Digest, Store};
use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit, setrlimit};

use crate::{block_on, open, put};

const DIR: &str = "LAMBIC_STORE_TEST_FULL_DIR";

#[test]
fn a_full_disk_is_an_error_and_no_damage() {
    let dir = tempfile::tempdir().unwrap();
    let output = Command::new("sh")
        .args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "full::child", "--nocapture"])
        .env(DIR, dir.path())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("went through"), "{output:?}");
}

/// Not a test by itself: what the child runs.
#[test]
fn child() {
    let Ok(dir) = std::env::var(DIR) else { return };
    let dir = Path::new(&dir);
    block_on(async {
        check_opening_when_full(dir).await;
        let store = open(dir).await;
        let mut stored = BTreeSet::new();
        for round in 0..3 {
            limit_file_bytes(Some(300_000 + 200_000 * round));
            fill(&store, round, &mut stored).await;
            check_blobs_when_full(&store).await;
            check_stored(&store, &stored).await;
            limit_file_bytes(None);
            let key = format!("again {round}");
            store.engine().commit(put(&key, "there is room")).await.unwrap();
            stored.insert(key);
            store.blobs().put(big()).await.unwrap();
            let mark = store.blobs().mark();
            store.blobs().remove(&Digest::of(&big()), mark).await.unwrap();
        }
        check_stored(&store, &stored).await;
        drop(store);
        let store = open(dir).await;
        check_stored(&store, &stored).await;
        println!("went through");
    });
}

fn limit_file_bytes(bytes: Option<u64>) {
    let (_, hard) = getrlimit(Resource::RLIMIT_FSIZE).unwrap();
    setrlimit(Resource::RLIMIT_FSIZE, bytes.unwrap_or(RLIM_INFINITY).min(hard), hard).unwrap();
}

fn big() -> Bytes {
    Bytes::from(vec![b'b'; 2_000_000])
}

async fn check_opening_when_full(dir: &Path) {
    for bytes in [0, 3, 1_000, 5_000, 33_000] {
        limit_file_bytes(Some(bytes));
        let Err(error) = Store::open(dir, Rt::real()).await else {
            assert!(bytes > 5_000, "opened with files of up to {bytes} bytes");
            continue;
        };
        let text = error.to_string();
        let start = format!("the disk of the data directory {} is full: ", dir.display());
        assert!(text.starts_with(&start), "{text}");
    }
    limit_file_bytes(None);
}

/// Commits, many at once, until the disk is full.
async fn fill(store: &Store, round: u64, stored: &mut BTreeSet<String>) {
    let value = "v".repeat(3_000);
    for turn in 0..1_000 {
        let keys: Vec<_> = (0..16).map(|i| format!("fill {round} {turn} {i}")).collect();
        let commits = keys.iter().map(|key| store.engine().commit(put(key, &value)));
        let mut full = 0;
        for (result, key) in join_all(commits).await.into_iter().zip(&keys) {
            match result {
                Ok(_) => drop(stored.insert(key.clone())),
                Err(CommitError::Full(_)) => full += 1,
                Err(other) => panic!("{other}"),
            }
        }
        if full > 0 {
            return;
        }
    }
    panic!("the disk was never full");
}

async fn check_blobs_when_full(store: &Store) {
    let digest = Digest::of(&big());
    let error = store.blobs().put(big()).await.unwrap_err();
    assert!(matches!(error, BlobError::Full(_)), "{error}");
    assert_eq!(store.blobs().read(&digest).await, Err(BlobError::Missing));
    let staging = store.dir().join("blobs/staging");
    assert_eq!(std::fs::read_dir(staging).unwrap().count(), 0);
}

async fn check_stored(store: &Store, stored: &BTreeSet<String>) {
    let entries = store.engine().range(Vec::new(), vec![0xff], usize::MAX).await.unwrap();
    let found: BTreeSet<_> =
        entries.into_iter().map(|entry| String::from_utf8(entry.key).unwrap()).collect();
    assert_eq!(&found, stored);
}
