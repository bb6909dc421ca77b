//! Watches: ordered, without gaps, bounded.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use lambic_rt::{Rt, TaskKind};
use lambic_store::{Change, Commit, Revision, WATCH_BYTES_MAX, WATCH_CHANGES_MAX, Watch, WatchEnd};

use crate::{delete, on_every_engine, put, random};

#[tokio::test]
async fn a_watch_sees_its_prefix_in_order() {
    on_every_engine(async |engine| {
        engine.commit(put("a 0", "before")).await.unwrap();
        let mut watch = engine.watch(b"a ".to_vec());
        assert_eq!(watch.try_next(), None);
        let first = engine.commit(put("a 1", "x")).await.unwrap();
        engine.commit(put("b 1", "other")).await.unwrap();
        engine.commit(put("a", "not below")).await.unwrap();
        engine.commit(delete("a 7")).await.unwrap();
        let last = engine.commit(delete("a 1")).await.unwrap();
        let change = watch.next().await.unwrap();
        assert_eq!((change.key(), change.revision()), (&b"a 1"[..], first));
        let gone = Change::Deleted { key: b"a 1".to_vec(), revision: last };
        assert_eq!(watch.next().await, Ok(gone));
        assert_eq!(watch.try_next(), None);
        engine.close().await;
        assert_eq!(watch.next().await, Err(WatchEnd::Closed));
        assert_eq!(engine.watch(Vec::new()).next().await, Err(WatchEnd::Closed));
    })
    .await;
}

#[tokio::test]
async fn a_slow_reader_is_told_and_may_start_again() {
    on_every_engine(async |engine| {
        let mut watch = engine.watch(b"a".to_vec());
        let more = WATCH_CHANGES_MAX + 1;
        for chunk in 0..=more / 1_000 {
            let keys = chunk * 1_000..((chunk + 1) * 1_000).min(more);
            let puts = keys.map(|i| (format!("a{i:05}").into_bytes(), Bytes::new())).collect();
            engine.commit(Commit { puts, ..Commit::default() }).await.unwrap();
        }
        for i in 0..WATCH_CHANGES_MAX {
            assert_eq!(watch.next().await.unwrap().key(), format!("a{i:05}").as_bytes());
        }
        assert_eq!(watch.next().await, Err(WatchEnd::Lagged));
        assert_eq!(watch.next().await, Err(WatchEnd::Lagged));
        let (listed, mut watch) = engine.list_and_watch(b"a".to_vec()).await.unwrap();
        assert_eq!(listed.entries.len(), more);
        engine.commit(put("a", "again")).await.unwrap();
        assert_eq!(watch.next().await.unwrap().key(), b"a");
    })
    .await;
}

#[tokio::test]
async fn a_slow_reader_does_not_hold_much_memory() {
    on_every_engine(async |engine| {
        let mut watch = engine.watch(b"a".to_vec());
        let value = "v".repeat(8_000_000);
        for _ in 0..10 {
            engine.commit(put("a", &value)).await.unwrap();
        }
        let kept = WATCH_BYTES_MAX / value.len();
        for _ in 0..kept {
            watch.next().await.unwrap();
        }
        assert_eq!(watch.next().await, Err(WatchEnd::Lagged));

        // A reader that keeps up may see any amount.
        let mut watch = engine.watch(b"a".to_vec());
        for _ in 0..10 {
            engine.commit(put("a", &value)).await.unwrap();
            watch.next().await.unwrap();
        }
    })
    .await;
}

type State = BTreeMap<Vec<u8>, Revision>;

fn apply(state: &mut State, change: Change) {
    match change {
        // The listing has everything up to its moment and the watch only what came after.
        Change::Put(entry) => {
            let before = state.insert(entry.key, entry.revision);
            assert!(before.is_none_or(|before| before < entry.revision), "a change came twice");
        }
        Change::Deleted { key, revision } => {
            let before = state.remove(&key).expect("deleted, but neither listed nor put");
            assert!(before < revision, "a change came twice");
        }
    }
}

async fn read_through(watch: &mut Watch, state: &mut State, end: Revision) {
    loop {
        let change = watch.next().await.unwrap();
        let revision = change.revision();
        apply(state, change);
        if revision == end {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_missing_between_listing_and_watch() {
    on_every_engine(async |engine| {
        let rt = Rt::real();
        let writers = (0..4).map(|who| {
            let engine = engine.clone();
            rt.spawn("writer", TaskKind::Request, async move {
                for i in 0..300_u64 {
                    let key = format!("a {who} {}", random(5));
                    let commit = if random(3) == 0 { delete(&key) } else { put(&key, "x") };
                    engine.commit(commit).await.unwrap();
                    if i % 16 == 0 {
                        tokio::task::yield_now().await;
                    }
                }
            })
        });
        let writers: Vec<_> = writers.collect();
        let mut readers = Vec::new();
        for _ in 0..20 {
            let (listed, watch) = engine.list_and_watch(b"a ".to_vec()).await.unwrap();
            let state: State = listed.entries.into_iter().map(|e| (e.key, e.revision)).collect();
            readers.push((state, watch));
        }
        for writer in writers {
            writer.await.expect("no writer panics");
        }
        let end = engine.commit(put("a end", "x")).await.unwrap();
        let (listed, _) = engine.list_and_watch(b"a ".to_vec()).await.unwrap();
        assert_eq!(listed.revision, end);
        let expected: State = listed.entries.into_iter().map(|e| (e.key, e.revision)).collect();
        for (mut state, mut watch) in readers {
            let reading = read_through(&mut watch, &mut state, end);
            let limit = Duration::from_secs(20);
            rt.within(limit, reading).await.expect("a change is missing");
            assert_eq!(state, expected);
        }
    })
    .await;
}
