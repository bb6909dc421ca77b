//! Removes packages that no function and no layer version refers to any more.
//!
//! What a snapshot in memory still holds (an environment that is finishing with old code) is left
//! alone and goes at a later round. What is being uploaded is safe too: the mark is taken before the
//! records are read, and nothing that was stored since is touched.

use std::collections::HashSet;
use std::time::Duration;

use lambic_rt::Rt;
use lambic_store::{Digest, Store, Swept};

use crate::state::function::FunctionRecord;
use crate::state::layer::{LayerVersionRecord, merged_digest};

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
    let table = store.table::<FunctionRecord>();
    let mut after: Option<Vec<String>> = None;
    loop {
        let key = after.as_ref().map(|key| key.iter().map(String::as_str).collect::<Vec<_>>());
        let page = table.list(&[], key.as_deref(), PAGE_RECORDS).await;
        // A record that cannot be read may refer to anything, so nothing is removed then.
        let page = page.map_err(|error| error.to_string())?;
        for stored in &page {
            for configuration in [&stored.value.running, stored.value.shown()] {
                referenced.insert(configuration.code.sha256.clone());
                referenced.extend(merged_digest(&configuration.layers));
                // Also of those whose version was deleted: another order may be made of them.
                let layers = configuration.layers.iter();
                referenced.extend(layers.map(|layer| layer.code.sha256.clone()));
            }
        }
        match page.into_iter().last() {
            Some(last) => after = Some(last.key),
            None => break,
        }
    }
    add_layers(store, &mut referenced).await?;
    store.blobs().sweep(referenced, mark).await.map_err(|error| error.to_string())
}

/// What the versions of layers bring.
async fn add_layers(store: &Store, referenced: &mut HashSet<Digest>) -> Result<(), String> {
    let table = store.table::<LayerVersionRecord>();
    let mut after: Option<Vec<String>> = None;
    loop {
        let key = after.as_ref().map(|key| key.iter().map(String::as_str).collect::<Vec<_>>());
        let page = table.list(&[], key.as_deref(), PAGE_RECORDS).await;
        let page = page.map_err(|error| error.to_string())?;
        referenced.extend(page.iter().map(|stored| stored.value.code.sha256.clone()));
        match page.into_iter().last() {
            Some(last) => after = Some(last.key),
            None => return Ok(()),
        }
    }
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
