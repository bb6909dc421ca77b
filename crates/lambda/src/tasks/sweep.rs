//! Removes packages that no function and no layer version refers to any more.
//!
//! What a snapshot in memory still holds (an environment that is finishing with old code) is left
//! alone and goes at a later round. What is being uploaded is safe too: the mark is taken before the
//! records are read, and nothing that was stored since is touched.

use std::collections::HashSet;
use std::time::Duration;

use lambic_rt::Rt;
use lambic_store::{Digest, Record, Store, Swept};

use crate::state::function::{Configuration, FunctionRecord};
use crate::state::layer::{LayerVersionRecord, merged_digest};
use crate::state::published::VersionRecord;

/// Records read at a time.
const PAGE_RECORDS: usize = 500;

/// After a start, in seconds: what a crash has left goes soon, but not in the way of first requests.
const FIRST_ROUND_S: u64 = 2;

/// Runs until shutdown, soon after the start and then once every `every`.
pub(crate) async fn run(store: Store, rt: Rt, every: Duration) {
    let mut shutdown = rt.shutdown();
    let mut pause = Duration::from_secs(FIRST_ROUND_S).min(every);
    loop {
        tokio::select! {
            () = shutdown.requested() => return,
            () = rt.sleep(pause) => {}
        }
        pause = every;
        match sweep(&store).await {
            Ok(swept) if swept == Swept::default() => {}
            Ok(Swept { files, bundles, bytes }) => {
                tracing::info!(files, bundles, bytes, "unused packages removed");
            }
            Err(error) => tracing::error!(error, "unused packages could not be removed"),
        }
    }
}

/// One round.
///
/// # Errors
/// The store's, in words. Nothing that is referred to is ever removed.
pub(crate) async fn sweep(store: &Store) -> Result<Swept, String> {
    let mark = store.blobs().mark();
    let mut referenced: HashSet<Digest> = HashSet::new();
    // Functions before their versions: what is published from a function is in one of the two.
    each(store, |record: FunctionRecord| {
        add(&mut referenced, &record.running);
        add(&mut referenced, record.shown());
    })
    .await?;
    each(store, |record: VersionRecord| add(&mut referenced, &record.configuration)).await?;
    each(store, |record: LayerVersionRecord| {
        referenced.insert(record.code.sha256);
    })
    .await?;
    store.blobs().sweep(referenced, mark).await.map_err(|error| error.to_string())
}

/// Visits every record of one kind. One that cannot be read may refer to anything, so it is an error.
async fn each<R: Record>(store: &Store, mut visit: impl FnMut(R)) -> Result<(), String> {
    let table = store.table::<R>();
    let mut after: Option<Vec<String>> = None;
    loop {
        let key = after.as_ref().map(|key| key.iter().map(String::as_str).collect::<Vec<_>>());
        let page = table.list(&[], key.as_deref(), PAGE_RECORDS).await;
        let page = page.map_err(|error| error.to_string())?;
        let Some(last) = page.last() else { return Ok(()) };
        after = Some(last.key.clone());
        page.into_iter().for_each(|stored| visit(stored.value));
    }
}

/// What a configuration needs on disk.
fn add(referenced: &mut HashSet<Digest>, configuration: &Configuration) {
    referenced.insert(configuration.code.sha256.clone());
    referenced.extend(merged_digest(&configuration.layers));
    // Also of layers whose version was deleted: another order may be made of them.
    referenced.extend(configuration.layers.iter().map(|layer| layer.code.sha256.clone()));
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use lambic_store::Transaction;

    use super::*;
    use crate::state::function::tests::record;

    #[tokio::test]
    async fn what_is_referred_to_or_held_stays() {
        let store = Store::in_memory(Rt::real()).unwrap();
        let used = store.blobs().put(Bytes::from_static(b"zip")).await.unwrap();
        let held = store.blobs().put(Bytes::from_static(b"held")).await.unwrap();
        store.blobs().put(Bytes::from_static(b"unused")).await.unwrap();
        let hold = store.blobs().hold(&held);
        for number in 0..PAGE_RECORDS + 1 {
            let record = record(&format!("f{number}"));
            let mut transaction = Transaction::new();
            transaction.put(&record.key(), &record);
            store.commit(transaction).await.unwrap();
        }
        assert_eq!(sweep(&store).await.unwrap().files, 1);
        drop(hold);
        assert_eq!(sweep(&store).await.unwrap().files, 1);
        assert_eq!(sweep(&store).await.unwrap().files, 0);
        assert_eq!(store.blobs().list().await.unwrap().first().unwrap().0, used);
    }
}
