//! Kills a process that commits, at random moments, and looks at what it left.
//!
//! The child is this very test binary, started again with an environment variable; it prints each
//! commit after it was acknowledged. Every commit writes two records, so that a half-applied one
//! would be seen.

use std::collections::{BTreeMap, HashSet};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use bytes::Bytes;
use futures_util::future::join_all;
use lambic_rt::Rt;
use lambic_store::engine::prefix_end;
use lambic_store::{Commit, Digest, OpenError, Store};

use crate::{block_on, open, random};

const DIR: &str = "LAMBIC_STORE_TEST_CRASH_DIR";
const WRITERS: usize = 8;
const KILLS: usize = 60;

/// Not a test by itself: what the child runs.
#[test]
fn child() {
    let Ok(dir) = std::env::var(DIR) else { return };
    block_on(async {
        let store = open(Path::new(&dir)).await;
        say("open");
        join_all((0..WRITERS).map(|writer| write_for_ever(&store, writer))).await;
    });
}

/// One write, so that lines of several writers do not mix.
fn say(line: &str) {
    std::io::stdout().write_all(format!("said {line}\n").as_bytes()).unwrap();
}

async fn write_for_ever(store: &Store, writer: usize) {
    let mut next = contiguous(store, "left").await.get(&writer).copied().unwrap_or(0);
    loop {
        let mut commit = Commit::default();
        for side in ["left", "right"] {
            let value = format!("{next} {}", "x".repeat(next % 1_500));
            commit.puts.push((key(side, writer, next), Bytes::from(value)));
        }
        if next.is_multiple_of(50) {
            let digest = store_blobs(store, writer, next).await;
            let name = format!("blob {writer:02} {next:08}").into_bytes();
            commit.puts.push((name, Bytes::from(digest.to_string())));
        }
        store.engine().commit(commit).await.unwrap();
        say(&format!("{writer} {next}"));
        next += 1;
    }
}

async fn store_blobs(store: &Store, writer: usize, next: usize) -> Digest {
    let content = format!("package {writer} {next}");
    let digest = store.blobs().put(Bytes::from(content.clone())).await.unwrap();
    let staged = store.blobs().stage().await.unwrap();
    std::fs::write(staged.path().join("code"), content).unwrap();
    store.blobs().publish(staged, &digest).await.unwrap();
    digest
}

fn key(side: &str, writer: usize, number: usize) -> Vec<u8> {
    format!("{side} {writer:02} {number:08}").into_bytes()
}

/// How many commits of each writer are there; panics if one in between is missing.
async fn contiguous(store: &Store, side: &str) -> BTreeMap<usize, usize> {
    let prefix = format!("{side} ").into_bytes();
    let end = prefix_end(&prefix);
    let mut counts = BTreeMap::new();
    for entry in store.engine().range(prefix, end, usize::MAX).await.unwrap() {
        let text = String::from_utf8(entry.key).unwrap();
        let mut parts = text.split(' ').skip(1).map(|part| part.parse::<usize>().unwrap());
        let (writer, number) = (parts.next().unwrap(), parts.next().unwrap());
        let count = counts.entry(writer).or_insert(0);
        assert_eq!(number, *count, "writer {writer} lost a commit in between");
        let whole = format!("{number} {}", "x".repeat(number % 1_500));
        assert_eq!(entry.value, whole.as_bytes());
        *count += 1;
    }
    counts
}

/// Checks what is there by itself: nothing missing in between, nothing half.
async fn check_whole(store: &Store) -> BTreeMap<usize, usize> {
    let counts = contiguous(store, "left").await;
    assert_eq!(counts, contiguous(store, "right").await, "half a commit is visible");
    let blobs = store.engine().range(b"blob ".to_vec(), b"blob!".to_vec(), usize::MAX);
    for entry in blobs.await.unwrap() {
        let digest: Digest = str::from_utf8(&entry.value).unwrap().parse().unwrap();
        let file = store.blobs().read(&digest).await.unwrap();
        assert_eq!(Digest::of(&file), digest);
        assert_eq!(std::fs::read(store.blobs().bundle_path(&digest).join("code")).unwrap(), file);
    }
    counts
}

fn start(dir: &Path) -> (Child, impl Iterator<Item = String>) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "crash::child", "--nocapture"])
        .env(DIR, dir)
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    // The test harness writes to the same pipe.
    let said = lines.filter_map(|line| line.unwrap().split_once("said ").map(|s| s.1.to_string()));
    (child, said)
}

/// Lets a child commit about `commits` times and kills it; what it acknowledged, per writer.
fn run_and_kill(dir: &Path, commits: usize) -> BTreeMap<usize, usize> {
    let (mut child, mut said) = start(dir);
    let mut acknowledged = BTreeMap::new();
    let mut note = |line: String| {
        if let Some((writer, number)) = line.split_once(' ') {
            let count: usize = number.parse::<usize>().unwrap() + 1;
            acknowledged.insert(writer.parse::<usize>().unwrap(), count);
        }
    };
    said.by_ref().take(commits + 1).for_each(&mut note);
    child.kill().unwrap();
    // A last line may be cut off by the kill, but lines are written whole, so it is not.
    said.for_each(&mut note);
    child.wait().unwrap();
    acknowledged
}

#[test]
fn nothing_acknowledged_is_lost_by_kills() {
    let dir = tempfile::tempdir().unwrap();
    let database_bytes = || dir.path().join("lambic.db").metadata().map_or(0, |data| data.len());
    let mut checkpoints = 0;
    for round in 0..KILLS {
        // Often at once, sometimes after several checkpoints.
        let commits = random(if round % 6 == 0 { 3_000 } else { 200 }) as usize;
        let before = database_bytes();
        let acknowledged = run_and_kill(dir.path(), commits);
        checkpoints += usize::from(database_bytes() > before.max(4_096));
        block_on(async {
            let store = open(dir.path()).await;
            let found = check_whole(&store).await;
            for (writer, count) in acknowledged {
                assert!(found[&writer] >= count, "round {round}: an acknowledged commit is lost");
            }
            // Sometimes the next child finds a log, sometimes a clean directory.
            if round % 2 == 0 {
                store.close().await;
            }
        });
    }
    assert!(checkpoints > 0, "too few kills came after a checkpoint");
}

#[test]
fn torn_logs_lose_only_their_tail() {
    let origin = tempfile::tempdir().unwrap();
    let acknowledged = run_and_kill(origin.path(), 150);
    let log = std::fs::read(origin.path().join("lambic.db-wal")).unwrap();
    let whole: usize = acknowledged.values().sum();
    assert!(whole >= 150 && !log.is_empty());
    let mut seen = HashSet::new();
    for round in 0..40 {
        let mut torn = log.clone();
        let cut = random(log.len() as u64) as usize;
        match round % 4 {
            0 => torn.extend((0..1 + random(20_000)).map(|_| random(256) as u8)),
            1 => torn.truncate(cut),
            2 => torn[cut..].fill(0),
            _ => torn[cut..].iter_mut().for_each(|byte| *byte ^= 0x5a),
        }
        let copy = tempfile::tempdir().unwrap();
        for name in ["lambic.db", "format"] {
            std::fs::copy(origin.path().join(name), copy.path().join(name)).unwrap();
        }
        std::fs::write(copy.path().join("lambic.db-wal"), torn).unwrap();
        block_on(async {
            let store = open(copy.path()).await;
            let found = contiguous(&store, "left").await;
            assert_eq!(found, contiguous(&store, "right").await);
            if round % 4 == 0 {
                assert!(acknowledged.iter().all(|(writer, count)| found[writer] >= *count));
            }
            seen.insert(found.values().sum::<usize>());
            store.engine().commit(crate::put("goes", "on")).await.unwrap();
            store.close().await;
            let store = open(copy.path()).await;
            assert!(store.engine().get(b"goes".to_vec()).await.unwrap().is_some());
        });
    }
    assert!(seen.len() > 5, "the log was torn in too few places to mean anything");
}

#[test]
fn a_second_process_is_refused_until_the_first_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let (mut child, mut said) = start(dir.path());
    assert_eq!(said.next().as_deref(), Some("open"));
    let refused = block_on(Store::open(dir.path(), Rt::real()));
    let Err(OpenError::InUse { pid, .. }) = refused else { panic!("not refused") };
    assert_eq!(pid, child.id().to_string());
    child.kill().unwrap();
    child.wait().unwrap();
    block_on(async { open(dir.path()).await.close().await });
}
