//! The suite for every engine: transactions, conflicts, ranges.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::join_all;
use lambic_rt::{Rt, TaskKind};
use lambic_store::engine::prefix_end;
use lambic_store::{Change, Commit, CommitError, Engine, EngineError, Revision};
use proptest::prelude::*;

use crate::{block_on, delete, on_every_engine, open, put, random};

#[tokio::test]
async fn a_commit_is_read_back() {
    on_every_engine(async |engine| {
        assert_eq!(engine.get(b"a".to_vec()).await, Ok(None));
        let first = engine.commit(put("a", "1")).await.unwrap();
        let entry = engine.get(b"a".to_vec()).await.unwrap().unwrap();
        assert_eq!((&entry.value[..], entry.revision), (&b"1"[..], first));
        let second = engine.commit(put("a", "2")).await.unwrap();
        assert!(second > first);
        assert_eq!(engine.get(b"a".to_vec()).await.unwrap().unwrap().revision, second);
        engine.commit(delete("a")).await.unwrap();
        engine.commit(delete("a")).await.unwrap();
        assert_eq!(engine.get(b"a".to_vec()).await, Ok(None));
    })
    .await;
}

#[tokio::test]
async fn values_are_any_bytes() {
    on_every_engine(async |engine| {
        for value in [&b""[..], b"\0", b"a\0b", b"\xff\xfe", "{\"é\":1}".as_bytes()] {
            let puts = vec![(b"a".to_vec(), Bytes::copy_from_slice(value))];
            engine.commit(Commit { puts, ..Commit::default() }).await.unwrap();
            assert_eq!(engine.get(b"a".to_vec()).await.unwrap().unwrap().value, value);
        }
    })
    .await;
}

#[tokio::test]
async fn expectations_hold_or_nothing_is_written() {
    on_every_engine(async |engine| {
        let revision = engine.commit(put("a", "1")).await.unwrap();
        let check = async |expect: Vec<(&str, Option<Revision>)>, conflict: Option<&str>| {
            let mut commit = put("b", "1");
            commit.expect = expect.into_iter().map(|(key, at)| (key.into(), at)).collect();
            let result = engine.commit(commit).await;
            match conflict {
                Some(key) => {
                    assert_eq!(result, Err(CommitError::Conflict { key: key.into() }));
                    assert_eq!(engine.get(b"b".to_vec()).await, Ok(None));
                }
                None => {
                    result.unwrap();
                    engine.commit(delete("b")).await.unwrap();
                }
            }
        };
        check(vec![("a", Some(revision))], None).await;
        check(vec![("a", Some(revision)), ("c", None)], None).await;
        check(vec![("a", None)], Some("a")).await;
        check(vec![("a", Some(revision + 1))], Some("a")).await;
        check(vec![("c", Some(revision))], Some("c")).await;
        check(vec![("c", None), ("a", None)], Some("a")).await;
    })
    .await;
}

#[tokio::test]
async fn one_conflict_fails_alone() {
    on_every_engine(async |engine| {
        // All are queued before the first is awaited, so that they share batches.
        let commits = (0..500).map(|i| {
            let mut commit = put(&format!("key {i:03}"), "x");
            if i % 7 == 0 {
                commit.expect.push((b"nothing".to_vec(), Some(1)));
            }
            engine.commit(commit)
        });
        let mut revisions = Vec::new();
        for (i, result) in join_all(commits).await.into_iter().enumerate() {
            match result {
                Ok(revision) => revisions.push(revision),
                Err(error) => {
                    assert_eq!(error, CommitError::Conflict { key: b"nothing".to_vec() });
                    assert_eq!(i % 7, 0);
                }
            }
        }
        let committed = revisions.len();
        revisions.sort_unstable();
        revisions.dedup();
        assert_eq!(revisions.len(), committed);
        let all = engine.range(b"key ".to_vec(), prefix_end(b"key "), 1_000).await.unwrap();
        assert_eq!(all.len(), committed);
    })
    .await;
}

#[tokio::test]
async fn conflicts_within_one_batch_are_seen() {
    on_every_engine(async |engine| {
        let commits = (0..100).map(|_| {
            let mut commit = put("once", "x");
            commit.expect.push((b"once".to_vec(), None));
            engine.commit(commit)
        });
        let won = join_all(commits).await.into_iter().filter(Result::is_ok).count();
        assert_eq!(won, 1);
    })
    .await;
}

#[tokio::test]
async fn ranges_are_ordered_and_bounded() {
    on_every_engine(async |engine| {
        for key in ["b", "a", "a b", "a!", "a/", "é", "c", "\u{10ffff}"] {
            engine.commit(put(key, key)).await.unwrap();
        }
        let check = async |start: &[u8], end: &[u8], limit: usize, keys: &[&str]| {
            let entries = engine.range(start.to_vec(), end.to_vec(), limit).await.unwrap();
            let found: Vec<_> = entries.iter().map(|e| str::from_utf8(&e.key).unwrap()).collect();
            assert_eq!(found, keys);
        };
        let all = ["a", "a b", "a!", "a/", "b", "c", "é", "\u{10ffff}"];
        check(b"", b"\xff", 100, &all).await;
        check(b"", &prefix_end(b""), 3, &all[..3]).await;
        check(b"a", b"b", 100, &all[..4]).await;
        check(b"a ", &prefix_end(b"a "), 100, &["a b"]).await;
        check(b"a\0", b"b", 100, &all[1..4]).await;
        check(b"b", b"b", 100, &[]).await;
        check(b"c", b"a", 100, &[]).await;
        check(b"", b"\xff", 0, &[]).await;
    })
    .await;
}

#[tokio::test]
async fn after_close_everything_says_so() {
    on_every_engine(async |engine| {
        engine.commit(put("a", "1")).await.unwrap();
        engine.close().await;
        engine.close().await;
        assert_eq!(engine.get(b"a".to_vec()).await, Err(EngineError::Closed));
        let failed = engine.commit(put("a", "2")).await.unwrap_err();
        assert_eq!(failed.to_string(), "the store failed: the store is closed");
    })
    .await;
}

#[tokio::test]
async fn what_was_accepted_before_close_happens() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let engine = store.engine().clone();
    let commits: Vec<_> = (0..300).map(|i| engine.commit(put(&format!("k{i}"), "x"))).collect();
    let (results, ()) = tokio::join!(join_all(commits), store.close());
    let acknowledged = results.iter().filter(|result| result.is_ok()).count();
    let store = open(dir.path()).await;
    let all = store.engine().range(b"k".to_vec(), b"l".to_vec(), 1_000).await.unwrap();
    assert_eq!(all.len(), acknowledged);
    // A clean close leaves everything in the database file.
    assert!(acknowledged > 0);
}

/// One step of the model.
#[derive(Clone, Debug)]
struct Step {
    /// Key, and whether the revision that is expected is the true one.
    expect: Vec<(u8, bool)>,
    puts: Vec<u8>,
    deletes: Vec<u8>,
}

fn step() -> impl Strategy<Value = Step> {
    let expect = prop::collection::vec((0..6_u8, prop::bool::weighted(0.8)), 0..3);
    let writes = prop::collection::btree_map(0..6_u8, any::<bool>(), 0..4);
    (expect, writes).prop_map(|(expect, writes)| {
        let some = |put: bool| {
            let keys = writes.iter().filter(move |(_, is_put)| **is_put == put);
            keys.map(|(key, _)| *key).collect()
        };
        Step { expect, puts: some(true), deletes: some(false) }
    })
}

fn name(key: u8) -> Vec<u8> {
    format!("model {key}").into_bytes()
}

type Model = BTreeMap<Vec<u8>, (Bytes, Revision)>;

async fn contents(engine: &dyn Engine) -> Model {
    let entries = engine.range(b"model ".to_vec(), prefix_end(b"model "), 1_000).await.unwrap();
    entries.into_iter().map(|entry| (entry.key, (entry.value, entry.revision))).collect()
}

async fn follow_the_model(engine: Arc<dyn Engine>, steps: Vec<Step>) {
    let mut model = Model::new();
    for (i, step) in steps.into_iter().enumerate() {
        let value = Bytes::from(format!("value {i}"));
        let mut conflict = None;
        let mut commit = Commit::default();
        for (key, truly) in step.expect {
            let key = name(key);
            let now = model.get(&key).map(|(_, revision)| *revision);
            let wrong = if now.is_some() { None } else { Some(1) };
            if !truly && conflict.is_none() {
                conflict = Some(key.clone());
            }
            commit.expect.push((key, if truly { now } else { wrong }));
        }
        commit.puts = step.puts.iter().map(|key| (name(*key), value.clone())).collect();
        commit.deletes = step.deletes.iter().map(|key| name(*key)).collect();
        match (engine.commit(commit).await, conflict) {
            (Ok(revision), None) => {
                step.deletes.iter().for_each(|key| drop(model.remove(&name(*key))));
                for key in step.puts {
                    model.insert(name(key), (value.clone(), revision));
                }
            }
            (Err(CommitError::Conflict { key }), Some(expected)) => assert_eq!(key, expected),
            other => panic!("{other:?}"),
        }
        assert_eq!(contents(&*engine).await, model);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn engines_follow_the_model(steps in prop::collection::vec(step(), 1..40)) {
        block_on(on_every_engine(async |engine| {
            follow_the_model(engine, steps.clone()).await;
        }));
    }

    /// Committers that know nothing of each other: whatever the interleaving, the commits that
    /// were acknowledged, replayed in the order of their revisions, satisfy each other's
    /// expectations and give what is stored, and a watch has seen exactly them.
    #[test]
    fn concurrent_commits_are_serializable(
        committers in prop::collection::vec(prop::collection::vec(step(), 1..12), 2..8),
    ) {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(on_every_engine(async |engine| {
            commit_concurrently(engine, committers.clone()).await;
        }));
    }
}

async fn commit_concurrently(engine: Arc<dyn Engine>, committers: Vec<Vec<Step>>) {
    let rt = Rt::real();
    let mut watch = engine.watch(b"model ".to_vec());
    let tasks = committers.into_iter().enumerate().map(|(who, steps)| {
        let task = run_steps(engine.clone(), who, steps);
        rt.spawn("committer", TaskKind::Request, task)
    });
    let mut done: Vec<(Revision, Commit)> = Vec::new();
    for commits in join_all(tasks).await {
        done.extend(commits.expect("no committer panics"));
    }
    done.sort_by_key(|(revision, _)| *revision);

    let mut model = Model::new();
    for (revision, commit) in done {
        for (key, expected) in commit.expect {
            assert_eq!(model.get(&key).map(|(_, at)| *at), expected, "a lost update");
        }
        for key in commit.deletes {
            if model.remove(&key).is_some() {
                let change = watch.try_next().unwrap().unwrap();
                assert_eq!(change, Change::Deleted { key, revision });
            }
        }
        for (key, value) in commit.puts {
            let Some(Ok(Change::Put(entry))) = watch.try_next() else { panic!("a gap") };
            assert_eq!((&entry.key, &entry.value, entry.revision), (&key, &value, revision));
            model.insert(key, (value, revision));
        }
    }
    assert_eq!(watch.try_next(), None);
    assert_eq!(contents(&*engine).await, model);
}

/// Reads, then commits with what was read as the expectation; gives back what was acknowledged.
async fn run_steps(
    engine: Arc<dyn Engine>,
    who: usize,
    steps: Vec<Step>,
) -> Vec<(Revision, Commit)> {
    let mut done = Vec::new();
    for (i, step) in steps.into_iter().enumerate() {
        let mut commit = Commit::default();
        for (key, _) in step.expect {
            let entry = engine.get(name(key)).await.unwrap();
            commit.expect.push((name(key), entry.map(|entry| entry.revision)));
        }
        let value = Bytes::from(format!("{who} {i}"));
        commit.puts = step.puts.iter().map(|key| (name(*key), value.clone())).collect();
        commit.deletes = step.deletes.iter().map(|key| name(*key)).collect();
        match engine.commit(commit.clone()).await {
            Ok(revision) => done.push((revision, commit)),
            Err(CommitError::Conflict { .. }) => {}
            Err(other) => panic!("{other}"),
        }
    }
    done
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_update_is_lost() {
    const COMMITTERS: u64 = 16;
    const INCREMENTS: u64 = 40;
    on_every_engine(async |engine| {
        let rt = Rt::real();
        let tasks = (0..COMMITTERS).map(|_| {
            let engine = engine.clone();
            rt.spawn("increment", TaskKind::Request, async move {
                for _ in 0..INCREMENTS {
                    increment(&*engine, &format!("counter {}", random(3))).await;
                }
            })
        });
        assert!(join_all(tasks).await.iter().all(Option::is_some));
        let counters =
            engine.range(b"counter ".to_vec(), prefix_end(b"counter "), 9).await.unwrap();
        let sum: u64 = counters.iter().map(|entry| number(&entry.value)).sum();
        assert_eq!(sum, COMMITTERS * INCREMENTS);
    })
    .await;
}

async fn increment(engine: &dyn Engine, key: &str) {
    loop {
        let entry = engine.get(key.into()).await.unwrap();
        let value = entry.as_ref().map_or(0, |entry| number(&entry.value));
        let mut commit = put(key, &(value + 1).to_string());
        commit.expect.push((key.into(), entry.map(|entry| entry.revision)));
        match engine.commit(commit).await {
            Ok(_) => return,
            Err(CommitError::Conflict { .. }) => {}
            Err(other) => panic!("{other}"),
        }
    }
}

fn number(value: &[u8]) -> u64 {
    str::from_utf8(value).unwrap().parse().unwrap()
}
