//! Takes the snapshots of published versions with SnapStart: `Pending` → `Active`, or `Failed`, and
//! tells the invoke path which of them are to be there.
//!
//! An operation only stores that a version is to have one; this task reads all of it after every
//! change, and after a start. A snapshot is in memory only, so the invoke path takes those of active
//! versions again when they are lost; whether a version can be initialized is found out once.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use lambic_front::BoxFuture;
use lambic_rt::{Rt, Timestamp};
use lambic_store::{CommitError, Store, StoreError, Transaction};

use crate::catalog::{Catalog, Function};
use crate::invoke::templates::{SnapshotFault, Wanted};
use crate::service::Runner;
use crate::state::function::FunctionRecord;
use crate::state::snapshot::{Outcome, Snapshot};
use crate::state::version::Version;

/// Looked at least so often, in seconds, whatever was missed.
const CLOCK_S: u64 = 30;
/// After an attempt that failed through no fault of the function.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// Taken at a time; each may take minutes.
const AT_ONCE_MAX: usize = 4;
/// Attempts to write what came of one, while others write the same function.
const WRITES_MAX: usize = 64;

/// Runs until shutdown.
pub(crate) async fn run(catalog: Catalog, store: Store, runner: Arc<dyn Runner>, rt: Rt) {
    let mut shutdown = rt.shutdown();
    let mut changes = catalog.changes();
    let mut round = Round::new(catalog, store, runner, rt.clone());
    loop {
        let pause = round.look().await;
        tokio::select! {
            () = shutdown.requested() => return,
            () = rt.sleep(pause) => {}
            Some(()) = round.work.next(), if !round.work.is_empty() => {}
            changed = changes.changed() => if changed.is_err() { return },
        }
    }
}

/// Takes all that are pending, and answers when that is done.
#[cfg(test)]
pub(crate) async fn take_all(catalog: &Catalog, store: &Store, runner: &Arc<dyn Runner>, rt: &Rt) {
    let mut round = Round::new(catalog.clone(), store.clone(), runner.clone(), rt.clone());
    round.look().await;
    while round.work.next().await.is_some() {
        round.look().await;
    }
}

struct Round {
    shared: Arc<Shared>,
    /// Of those that are at work, by generation; when they may be tried again.
    tried: Arc<std::sync::Mutex<HashMap<u64, Option<Timestamp>>>>,
    work: FuturesUnordered<BoxFuture<'static, ()>>,
}

struct Shared {
    catalog: Catalog,
    store: Store,
    runner: Arc<dyn Runner>,
    rt: Rt,
}

/// A version whose snapshot is to be there.
struct One {
    function: Arc<Function>,
    number: u64,
    version: Arc<Version>,
    is_pending: bool,
}

impl Round {
    fn new(catalog: Catalog, store: Store, runner: Arc<dyn Runner>, rt: Rt) -> Round {
        let shared = Arc::new(Shared { catalog, store, runner, rt });
        Round { shared, tried: Arc::default(), work: FuturesUnordered::new() }
    }

    /// Begins what is to be done; how long nothing else is.
    async fn look(&mut self) -> Duration {
        let all = self.shared.all().await;
        let wanted = all
            .iter()
            .map(|one| Wanted { version: one.version.clone(), is_taken: !one.is_pending });
        self.shared.runner.keep_snapshots(wanted.collect());
        let now = self.shared.rt.now();
        let mut pause = Duration::from_secs(CLOCK_S);
        for one in all.into_iter().filter(|one| one.is_pending) {
            let generation = one.version.generation;
            if self.work.len() >= AT_ONCE_MAX {
                break;
            }
            let mut tried = self.tried.lock().expect("nobody panics while holding it");
            match tried.get(&generation) {
                Some(None) => continue,
                Some(Some(at)) if *at > now => {
                    pause = RETRY_AFTER;
                    continue;
                }
                _ => {}
            }
            tried.insert(generation, None);
            drop(tried);
            let (shared, tried) = (self.shared.clone(), self.tried.clone());
            let work = async move {
                let again = shared.take(one).await.then(|| shared.rt.now().after(RETRY_AFTER));
                let mut tried = tried.lock().expect("nobody panics while holding it");
                match again {
                    Some(at) => drop(tried.insert(generation, Some(at))),
                    None => drop(tried.remove(&generation)),
                }
            };
            self.work.push(work.boxed());
        }
        pause
    }
}

impl Shared {
    /// All versions whose snapshot is to be there.
    async fn all(&self) -> Vec<One> {
        let mut all = Vec::new();
        for function in self.catalog.with_snapshots() {
            for (number, snapshot) in &function.stored.value.snapshots {
                let is_pending = match snapshot {
                    Snapshot::Pending => true,
                    Snapshot::Taken => false,
                    Snapshot::Failed { .. } => continue,
                };
                match self.catalog.published(&function, *number).await {
                    Ok(Some(version)) => {
                        let function = function.clone();
                        all.push(One { function, number: *number, version, is_pending });
                    }
                    // Deleted meanwhile; the next change tells.
                    Ok(None) => {}
                    Err(error) => {
                        tracing::error!(%error, "a version with SnapStart cannot be read");
                    }
                }
            }
        }
        all
    }

    /// Takes one, and writes down what came of it. Whether it is to be tried again.
    async fn take(&self, one: One) -> bool {
        let outcome = match self.runner.take_snapshot(&one.version).await {
            Ok(()) => Outcome::Taken,
            Err(SnapshotFault::Function(reason)) => Outcome::Failed { reason },
            Err(SnapshotFault::Platform(reason)) => {
                tracing::warn!(
                    function = %one.version.function_arn,
                    version = %one.version.version,
                    reason,
                    "a snapshot was not taken; trying again"
                );
                return true;
            }
        };
        for _ in 0..WRITES_MAX {
            match self.write(&one, outcome.clone()).await {
                Ok(true) => return false,
                Ok(false) => {}
                Err(error) => {
                    tracing::error!(error, "what came of a snapshot was not stored");
                    return true;
                }
            }
        }
        true
    }

    /// `false`: somebody else was faster.
    async fn write(&self, one: &One, outcome: Outcome) -> Result<bool, String> {
        let failed = |error: StoreError| error.to_string();
        let table = self.store.table::<FunctionRecord>();
        let key = one.function.stored.value.key();
        let Some(stored) = table.get(&key).await.map_err(failed)? else { return Ok(true) };
        let Some(before) = stored.value.snapshots.get(&one.number) else { return Ok(true) };
        // The function may have been deleted and created again, with a version of the same number.
        let present = self.catalog.find(key[0], key[1], key[2]);
        let Some(present) = present.filter(|now| now.stored.revision == stored.revision) else {
            self.catalog.caught_up(stored.revision).await;
            return Ok(false);
        };
        let version = self.catalog.published(&present, one.number).await.map_err(failed)?;
        if version.is_none_or(|version| version.generation != one.version.generation) {
            return Ok(true);
        }
        let Ok(settled) = before.settle(outcome) else { return Ok(true) };
        let mut record = stored.value.clone();
        record.snapshots.insert(one.number, settled);
        let mut transaction = Transaction::new();
        transaction.replace(&stored, &record);
        match self.store.commit(transaction).await {
            Ok(revision) => {
                self.catalog.caught_up(revision).await;
                Ok(true)
            }
            Err(CommitError::Conflict { .. }) => Ok(false),
            Err(error) => Err(error.to_string()),
        }
    }
}
