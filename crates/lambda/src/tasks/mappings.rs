//! Removes what is left of event source mappings that were deleted: their records and what they claimed
//! of their sources.
//!
//! Nobody sees them any more by then: a mapping's state follows from its record and the clock, and a
//! claim of a mapping that is gone is taken over. So this may run late, and twice.

use std::time::Duration;

use lambic_rt::Rt;
use lambic_store::{CommitError, Store, Stored, Transaction};

use crate::state::mapping::{MappingRecord, SourceClaim};

/// Records read at a time.
const PAGE_RECORDS: usize = 500;

/// Runs until shutdown, once every `every`.
pub(crate) async fn run(store: Store, rt: Rt, every: Duration) {
    let mut shutdown = rt.shutdown();
    loop {
        tokio::select! {
            () = shutdown.requested() => return,
            () = rt.sleep(every) => {}
        }
        if let Err(error) = remove_deleted(&store, &rt).await {
            tracing::error!(error, "deleted event source mappings could not be removed");
        }
    }
}

/// One round. Answers how many were removed.
///
/// # Errors
/// The store's, in words.
pub(crate) async fn remove_deleted(store: &Store, rt: &Rt) -> Result<usize, String> {
    let table = store.table::<MappingRecord>();
    let mut removed = 0;
    let mut after: Option<Vec<String>> = None;
    loop {
        let key = after.as_ref().map(|key| key.iter().map(String::as_str).collect::<Vec<_>>());
        let page = table.list(&[], key.as_deref(), PAGE_RECORDS).await;
        let page = page.map_err(|error| error.to_string())?;
        for mapping in page.iter().filter(|mapping| mapping.value.state(rt.now()).is_none()) {
            removed += usize::from(remove(store, mapping).await?);
        }
        match page.into_iter().last() {
            Some(last) => after = Some(last.key),
            None => return Ok(removed),
        }
    }
}

/// Whether it was removed; otherwise somebody else did something with it, and a later round comes.
async fn remove(store: &Store, mapping: &Stored<MappingRecord>) -> Result<bool, String> {
    let mut transaction = Transaction::new();
    transaction.remove(mapping);
    let claims = store.table::<SourceClaim>();
    let record = &mapping.value;
    for claim in record.claims() {
        let key = [record.account.as_str(), &record.region, claim.as_str()];
        let claim = claims.get(&key).await.map_err(|error| error.to_string())?;
        // Another mapping may have it by now.
        if let Some(claim) = claim.filter(|claim| claim.value.uuid == record.uuid) {
            transaction.remove(&claim);
        }
    }
    match store.commit(transaction).await {
        Ok(_) => Ok(true),
        Err(CommitError::Conflict { .. }) => Ok(false),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::mapping::{MappingChange, tests::record};

    async fn put(store: &Store, record: &MappingRecord, claims_for: &str) {
        let mut transaction = Transaction::new();
        transaction.put(&record.key(), record);
        for claim in record.claims() {
            let key = [record.account.as_str(), &record.region, claim.as_str()];
            transaction.put(&key, &SourceClaim { uuid: claims_for.to_owned() });
        }
        store.commit(transaction).await.unwrap();
    }

    async fn left(store: &Store) -> (usize, usize) {
        let mappings = store.table::<MappingRecord>().list(&[], None, 9_999).await.unwrap();
        let claims = store.table::<SourceClaim>().list(&[], None, 9_999).await.unwrap();
        (mappings.len(), claims.len())
    }

    #[tokio::test]
    async fn only_what_is_gone_is_removed() {
        let rt = Rt::real();
        let store = Store::in_memory(rt.clone()).unwrap();
        for number in 0..PAGE_RECORDS + 2 {
            let mut mapping = record(&format!("{number:04}"));
            mapping.source.arn = Some(format!("arn:aws:sqs:us-east-1:000000000000:q{number}"));
            if number % 2 == 0 {
                mapping.change = MappingChange::Deleted;
            }
            if number == 0 {
                mapping.settle_at_micros = i64::MAX;
            }
            put(&store, &mapping, &mapping.uuid.clone()).await;
        }
        assert_eq!(remove_deleted(&store, &rt).await, Ok(PAGE_RECORDS / 2));
        assert_eq!(left(&store).await, (PAGE_RECORDS / 2 + 2, PAGE_RECORDS / 2 + 2));
        assert_eq!(remove_deleted(&store, &rt).await, Ok(0));
    }

    #[tokio::test]
    async fn a_claim_that_another_has_taken_over_stays() {
        let rt = Rt::real();
        let store = Store::in_memory(rt.clone()).unwrap();
        let mut mapping = record("old");
        mapping.change = MappingChange::Deleted;
        put(&store, &mapping, "new").await;
        assert_eq!(remove_deleted(&store, &rt).await, Ok(1));
        assert_eq!(left(&store).await, (0, 1));
    }

    #[tokio::test]
    async fn the_task_ends_at_shutdown() {
        let rt = Rt::real();
        let store = Store::in_memory(rt.clone()).unwrap();
        rt.shutdown_sender().stop();
        run(store, rt, Duration::from_secs(3_600)).await;
    }
}
