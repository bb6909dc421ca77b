//! Makes acknowledged creations and updates come into force: `Pending` → `Active`, `InProgress` →
//! `Successful`.
//!
//! An operation only stores the intent and the moment when it is due. Whatever was acknowledged
//! before a crash is found again by this task at the next start. Several nodes may run it: a record
//! that another one has settled already is a conflict, and left alone.

use std::sync::Arc;
use std::time::Duration;

use lambic_rt::{Rt, Timestamp};
use lambic_store::{CommitError, Store, Transaction};

use crate::catalog::{Catalog, Function};

/// Looked at least so often, in seconds, whatever was missed.
const CLOCK_S: u64 = 30;
/// After a failure of the store, in seconds.
const RETRY_S: u64 = 1;

/// Runs until shutdown.
pub(crate) async fn run(catalog: Catalog, store: Store, rt: Rt) {
    let mut shutdown = rt.shutdown();
    let mut changes = catalog.changes();
    loop {
        let pause = match settle(&catalog, &store, &rt).await {
            Ok(next) => until(&rt, next),
            Err(error) => {
                tracing::error!(%error, "functions could not be settled; trying again");
                Duration::from_secs(RETRY_S)
            }
        };
        tokio::select! {
            () = shutdown.requested() => return,
            () = rt.sleep(pause) => {}
            changed = changes.changed() => if changed.is_err() { return },
        }
    }
}

/// Settles all that is due now; answers when more will be.
///
/// # Errors
/// The store's. What was not reached is still due.
pub(crate) async fn settle(
    catalog: &Catalog,
    store: &Store,
    rt: &Rt,
) -> Result<Option<Timestamp>, CommitError> {
    let (due, next) = catalog.unsettled(rt.now());
    for function in due {
        settle_one(catalog, store, rt, &function).await?;
    }
    Ok(next)
}

async fn settle_one(
    catalog: &Catalog,
    store: &Store,
    rt: &Rt,
    function: &Arc<Function>,
) -> Result<(), CommitError> {
    let Some(settled) = function.stored.value.settled(rt.now(), rt.uuid()) else { return Ok(()) };
    let mut transaction = Transaction::new();
    transaction.replace(&function.stored, &settled);
    match store.commit(transaction).await {
        Ok(revision) => {
            catalog.caught_up(revision).await;
            Ok(())
        }
        // Deleted, or settled by another node: the catalog will hear of it.
        Err(CommitError::Conflict { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

fn until(rt: &Rt, next: Option<Timestamp>) -> Duration {
    let clock = Duration::from_secs(CLOCK_S);
    let Some(next) = next else { return clock };
    let micros = u64::try_from(next.micros() - rt.now().micros()).unwrap_or(0);
    Duration::from_micros(micros).min(clock)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::function::{FunctionRecord, State, tests::record};

    async fn setup(record: &FunctionRecord) -> (Catalog, Store, Rt) {
        let rt = Rt::real();
        let store = Store::in_memory(rt.clone()).unwrap();
        let mut transaction = Transaction::new();
        transaction.put(&record.key(), record);
        store.commit(transaction).await.unwrap();
        let nothing = Arc::new(|_: &str, _: Option<&FunctionRecord>| {});
        let catalog = Catalog::start(store.clone(), rt.clone(), nothing).await.unwrap();
        (catalog, store, rt)
    }

    fn state(catalog: &Catalog) -> State {
        catalog.find("000000000000", "us-east-1", "f").unwrap().stored.value.state
    }

    #[tokio::test]
    async fn what_was_pending_before_a_crash_is_finished_and_twice_does_no_harm() {
        let (catalog, store, rt) = setup(&record("f")).await;
        assert_eq!(state(&catalog), State::Pending);
        assert_eq!(settle(&catalog, &store, &rt).await, Ok(None));
        assert_eq!(state(&catalog), State::Active);
        let function = catalog.find("000000000000", "us-east-1", "f").unwrap();
        assert_eq!(settle(&catalog, &store, &rt).await, Ok(None));
        let again = catalog.find("000000000000", "us-east-1", "f").unwrap();
        assert_eq!(again.stored.revision, function.stored.revision);
    }

    #[tokio::test]
    async fn what_is_not_due_waits() {
        let mut later = record("f");
        later.settle_at_micros = Some(i64::MAX);
        let (catalog, store, rt) = setup(&later).await;
        let next = settle(&catalog, &store, &rt).await.unwrap();
        assert_eq!(next, Some(Timestamp::from_micros(i64::MAX)));
        assert_eq!(state(&catalog), State::Pending);
        assert_eq!(until(&rt, next), Duration::from_secs(CLOCK_S));
    }

    #[tokio::test]
    async fn the_task_is_woken_by_a_change() {
        let (catalog, store, rt) = setup(&record("other")).await;
        let task = run(catalog.clone(), store.clone(), rt.clone());
        let work = async {
            let created = record("f");
            let mut transaction = Transaction::new();
            transaction.put(&created.key(), &created);
            store.commit(transaction).await.unwrap();
            let mut changes = catalog.changes();
            let find = || catalog.find("000000000000", "us-east-1", "f");
            while find().is_none_or(|function| function.stored.value.state != State::Active) {
                changes.changed().await.unwrap();
            }
            rt.shutdown_sender().stop();
        };
        tokio::join!(task, work);
    }
}
