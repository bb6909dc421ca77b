//! Typed records: versions, keys, transactions over several tables.

use lambic_rt::Rt;
use lambic_store::{
    CommitError, Record, RecordChange, Store, StoreError, Stored, Table, Transaction,
};
use serde::{Deserialize, Serialize};

use crate::open;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct ThingV1 {
    size_kb: u32,
}

impl Record for ThingV1 {
    const KIND: &'static str = "thing";
    const VERSION: u32 = 1;
    fn upgrade(version: u32, _: serde_json::Value) -> Result<Self, String> {
        Err(format!("there was no version {version}"))
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Thing {
    size_bytes: u32,
}

impl Record for Thing {
    const KIND: &'static str = "thing";
    const VERSION: u32 = 2;
    fn upgrade(version: u32, value: serde_json::Value) -> Result<Self, String> {
        assert_eq!(version, 1);
        let old: ThingV1 = serde_json::from_value(value).map_err(|error| error.to_string())?;
        Ok(Thing { size_bytes: old.size_kb * 1_024 })
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Note(String);

impl Record for Note {
    const KIND: &'static str = "note";
    const VERSION: u32 = 1;
    fn upgrade(version: u32, _: serde_json::Value) -> Result<Self, String> {
        Err(format!("there was no version {version}"))
    }
}

fn memory() -> Store {
    Store::in_memory(Rt::real()).unwrap()
}

async fn write<R: Record>(store: &Store, key: &[&str], value: &R) {
    let mut transaction = Transaction::new();
    transaction.put(key, value);
    store.commit(transaction).await.unwrap();
}

#[tokio::test]
async fn old_records_are_understood_and_newer_ones_refused() {
    let store = memory();
    write(&store, &["a", "b"], &ThingV1 { size_kb: 3 }).await;
    let thing = store.table::<Thing>().get(&["a", "b"]).await.unwrap().unwrap();
    assert_eq!(thing.value, Thing { size_bytes: 3_072 });
    assert_eq!(thing.key, ["a", "b"]);

    let mut transaction = Transaction::new();
    transaction.replace(&thing, &Thing { size_bytes: 5 });
    store.commit(transaction).await.unwrap();
    let error = store.table::<ThingV1>().get(&["a", "b"]).await.unwrap_err();
    let text = "the record thing a b cannot be read: it has version 2, this program knows up to 1";
    assert_eq!(error.to_string(), text);
}

#[tokio::test]
async fn what_is_stored_can_be_read_with_sql() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    write(&store, &["000000000000", "us-east-1", "a-b"], &Thing { size_bytes: 5 }).await;
    let database = rusqlite::Connection::open(dir.path().join("lambic.db")).unwrap();
    let row: (String, String, i64, String) = database
        .query_row("SELECT key, value, revision, typeof(value) FROM records", [], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
        })
        .unwrap();
    let key = "thing 000000000000 us-east-1 a-b".to_string();
    let value = r#"{"v":2,"data":{"size_bytes":5}}"#.to_string();
    assert_eq!(row, (key, value, 1, "text".to_string()));
}

async fn names(table: &Table<Note>, prefix: &[&str], after: Option<&[&str]>) -> Vec<String> {
    let listed = table.list(prefix, after, 100).await.unwrap();
    listed.into_iter().map(|stored| stored.key.join("|")).collect()
}

#[tokio::test]
async fn listings_follow_segments() {
    let store = memory();
    let keys: [&[&str]; 6] =
        [&["a"], &["a", "x"], &["a", "x", "1"], &["a", "y"], &["a-b", "x"], &["a b", "x"]];
    for key in keys {
        write(&store, key, &Note("n".into())).await;
    }
    write(&store, &["a", "x"], &Thing { size_bytes: 1 }).await;
    let table = store.table::<Note>();
    let all = ["a", "a|x", "a|x|1", "a|y", "a b|x", "a-b|x"];
    assert_eq!(names(&table, &[], None).await, all);
    assert_eq!(names(&table, &["a"], None).await, all[1..4]);
    assert_eq!(names(&table, &["a", "x"], None).await, all[2..3]);
    assert_eq!(names(&table, &["a"], Some(&["a", "x"])).await, all[2..4]);
    assert_eq!(names(&table, &["a"], Some(&["a", "y"])).await, [""; 0]);
    assert_eq!(names(&table, &["a"], Some(&["a", "xx"])).await, all[3..4]);
    assert_eq!(table.list(&[], None, 2).await.unwrap().len(), 2);
    // Paging with the last key of each page visits everything once.
    let mut visited = Vec::new();
    let mut after: Option<Vec<String>> = None;
    loop {
        let last: Option<Vec<&str>> = after.as_ref().map(|key| key.iter().map(|s| &**s).collect());
        let page = table.list(&[], last.as_deref(), 1).await.unwrap();
        let Some(stored) = page.into_iter().next() else { break };
        visited.push(stored.key.join("|"));
        after = Some(stored.key);
    }
    assert_eq!(visited, all);
}

#[tokio::test]
async fn a_transaction_spans_tables() {
    let store = memory();
    let mut transaction = Transaction::new();
    transaction.insert(&["a"], &Note("one".into()));
    transaction.insert(&["a"], &Thing { size_bytes: 1 });
    let revision = store.commit(transaction).await.unwrap();
    let note = store.table::<Note>().get(&["a"]).await.unwrap().unwrap();
    let expected = Stored { key: vec!["a".into()], value: Note("one".into()), revision };
    assert_eq!(note, expected);

    let mut again = Transaction::new();
    again.put(&["b"], &Note("two".into()));
    again.insert(&["a"], &Thing { size_bytes: 2 });
    let conflict = CommitError::Conflict { key: b"thing a".to_vec() };
    assert_eq!(store.commit(again).await, Err(conflict));
    assert_eq!(store.table::<Note>().get(&["b"]).await, Ok(None));

    let mut remove = Transaction::new();
    remove.remove(&note);
    remove.delete::<Thing>(&["a"]);
    store.commit(remove).await.unwrap();
    let mut stale = Transaction::new();
    stale.replace(&note, &Note("three".into()));
    let conflict = CommitError::Conflict { key: b"note a".to_vec() };
    assert_eq!(store.commit(stale).await, Err(conflict));
}

#[tokio::test]
async fn typed_watches() {
    let store = memory();
    write(&store, &["a", "1"], &ThingV1 { size_kb: 1 }).await;
    let table = store.table::<Thing>();
    let (listed, mut watch) = table.list_and_watch(&["a"]).await.unwrap();
    assert_eq!(listed.records.len(), 1);
    write(&store, &["b", "1"], &Thing { size_bytes: 1 }).await;
    write(&store, &["a", "2"], &ThingV1 { size_kb: 1 }).await;
    let RecordChange::Put(stored) = watch.next().await.unwrap() else { panic!("no put") };
    assert_eq!((stored.key.join("|"), stored.value.size_bytes), ("a|2".into(), 1_024));
    let mut transaction = Transaction::new();
    transaction.delete::<Thing>(&["a", "1"]);
    let revision = store.commit(transaction).await.unwrap();
    let deleted = RecordChange::Deleted { key: vec!["a".into(), "1".into()], revision };
    assert_eq!(watch.try_next(), Some(Ok(deleted)));
    store.close().await;
    assert!(matches!(watch.next().await, Err(StoreError::Watch(_))));
}
