//! Takes traffic back from the second version of an alias when too many of its invocations fail.
//!
//! On AWS a deployment service watches alarms and does this; here the server can do it itself, when
//! the operator says so. Of an alias with two versions the second is the one being tried. Its
//! invocations by that alias are counted from the moment on in which the alias got its present form;
//! once there are enough of them and too many have failed, the alias loses its second version, as
//! UpdateAlias with an empty `RoutingConfig` would make it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use lambic_rt::{Rt, TaskKind};
use lambic_store::{CommitError, Store, StoreError, Transaction};

use crate::catalog::Catalog;
use crate::invoke::Observer;
use crate::state::function::FunctionRecord;
use crate::state::version::Version;

/// When traffic is taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RollbackConfig {
    /// So many of a hundred invocations have failed, 1 to 100; 0: never.
    pub error_percent: u32,
    /// Not before so many invocations.
    pub calls_min: u32,
}

impl Default for RollbackConfig {
    fn default() -> RollbackConfig {
        RollbackConfig { error_percent: 0, calls_min: 20 }
    }
}

impl RollbackConfig {
    fn is_too_much(self, count: &Count) -> bool {
        let calls = u64::from(count.calls);
        calls >= u64::from(self.calls_min)
            && u64::from(count.errors) * 100 >= calls * u64::from(self.error_percent)
    }
}

/// What has become of the second version of one alias.
#[derive(Debug)]
struct Count {
    /// Of the alias; another one begins anew.
    revision_id: String,
    calls: u32,
    errors: u32,
}

/// Watches invocations by aliases.
pub(crate) struct Rollback {
    config: RollbackConfig,
    catalog: Catalog,
    store: Store,
    rt: Rt,
    /// By ARN of the alias.
    counts: Mutex<HashMap<String, Count>>,
}

impl Rollback {
    pub(crate) fn new(config: RollbackConfig, catalog: Catalog, store: Store, rt: Rt) -> Rollback {
        Rollback { config, catalog, store, rt, counts: Mutex::default() }
    }

    /// Counts one invocation. Whether it was the one too many.
    fn count(&self, alias_arn: &str, revision_id: &str, is_error: bool) -> bool {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = || Count { revision_id: revision_id.to_owned(), calls: 0, errors: 0 };
        let count = counts.entry(alias_arn.to_owned()).or_insert_with(fresh);
        if count.revision_id != revision_id {
            *count = fresh();
        }
        count.calls = count.calls.saturating_add(1);
        count.errors = count.errors.saturating_add(u32::from(is_error));
        let is_too_much = self.config.is_too_much(count);
        if is_too_much {
            counts.remove(alias_arn);
        }
        is_too_much
    }
}

impl Observer for Rollback {
    fn finished(&self, invoked_arn: &str, version: &Version, is_error: bool) {
        let Some(alias) = invoked_arn.strip_prefix(&version.function_arn) else { return };
        let name = alias.trim_start_matches(':');
        let function = self.catalog.find(&version.account, &version.region, &version.function_name);
        let Some(function) = function else { return };
        let Some(alias) = function.stored.value.aliases.get(name) else { return };
        let is_second =
            alias.second.as_ref().is_some_and(|second| second.version == version.version);
        if !is_second || !self.count(invoked_arn, &alias.revision_id, is_error) {
            return;
        }
        tracing::warn!(
            alias = invoked_arn,
            version = version.version,
            error_percent = self.config.error_percent,
            "too many invocations of an alias's second version failed: it gets no more"
        );
        let key = [&version.account, &version.region, &version.function_name].map(Clone::clone);
        let (store, rt, name) = (self.store.clone(), self.rt.clone(), name.to_owned());
        let revision_id = alias.revision_id.clone();
        let work = async move {
            if let Err(error) = take_back(&store, &rt, &key, &name, &revision_id).await {
                tracing::error!(error, "an alias could not be rolled back");
            }
        };
        self.rt.spawn("roll an alias back", TaskKind::Request, work).detach();
    }
}

/// Takes the second version from the alias, if it is still the one that was counted.
async fn take_back(
    store: &Store,
    rt: &Rt,
    key: &[String; 3],
    name: &str,
    revision_id: &str,
) -> Result<(), String> {
    let key = key.each_ref().map(String::as_str);
    let table = store.table::<FunctionRecord>();
    loop {
        let stored = table.get(&key).await.map_err(|error: StoreError| error.to_string())?;
        let Some(stored) = stored else { return Ok(()) };
        let mut record = stored.value.clone();
        let Some(alias) = record.aliases.get_mut(name) else { return Ok(()) };
        if alias.revision_id != revision_id {
            return Ok(());
        }
        alias.second = None;
        alias.revision_id = rt.uuid();
        let mut transaction = Transaction::new();
        transaction.replace(&stored, &record);
        match store.commit(transaction).await {
            Ok(_) => return Ok(()),
            Err(CommitError::Conflict { .. }) => {}
            Err(error) => return Err(error.to_string()),
        }
    }
}

/// The observer that the configuration asks for.
pub(crate) fn observer(
    config: RollbackConfig,
    catalog: &Catalog,
    store: &Store,
    rt: &Rt,
) -> Option<Arc<dyn Observer>> {
    (config.error_percent > 0).then(|| {
        let rollback = Rollback::new(config, catalog.clone(), store.clone(), rt.clone());
        Arc::new(rollback) as Arc<dyn Observer>
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::ops::testing::Harness;

    const ALIAS: &str = "/2015-03-31/functions/two/aliases/stable";
    const ARN: &str = "arn:aws:lambda:us-east-1:000000000000:function:two:stable";

    async fn setup(error_percent: u32) -> (Harness, Rollback, Arc<Version>) {
        let harness = Harness::with_versions().await;
        let half = json!({"RoutingConfig": {"AdditionalVersionWeights": {"2": 0.5}}});
        assert_eq!(harness.put(ALIAS, &half).await.status, 200);
        let lambda = &harness.lambda;
        let config = RollbackConfig { error_percent, calls_min: 4 };
        let (catalog, store) = (lambda.catalog.clone(), lambda.store.clone());
        let function = catalog.find("000000000000", "us-east-1", "two").unwrap();
        let second = catalog.published(&function, 2).await.unwrap().unwrap();
        (harness, Rollback::new(config, catalog, store, Rt::real()), second)
    }

    async fn is_weighted(harness: &Harness) -> bool {
        harness.get(ALIAS).await.json().get("RoutingConfig").is_some()
    }

    #[tokio::test]
    async fn a_version_that_fails_too_often_gets_no_more() {
        let (harness, rollback, second) = setup(50).await;
        let mut changes = harness.lambda.catalog.changes();
        changes.mark_unchanged();
        for is_error in [false, true, false] {
            rollback.finished(ARN, &second, is_error);
        }
        assert!(is_weighted(&harness).await, "three are too few to tell");
        rollback.finished(ARN, &second, true);
        changes.changed().await.unwrap();
        assert!(!is_weighted(&harness).await);
    }

    #[tokio::test]
    async fn what_does_not_count() {
        let (harness, rollback, second) = setup(50).await;
        let function = harness.lambda.catalog.find("000000000000", "us-east-1", "two").unwrap();
        let first = harness.lambda.catalog.published(&function, 1).await.unwrap().unwrap();
        for _ in 0..20 {
            // The first version, the version by its number, no qualifier at all.
            rollback.finished(ARN, &first, true);
            rollback.finished(&format!("{}:2", second.function_arn), &second, true);
            rollback.finished(&second.function_arn, &second, true);
        }
        assert!(rollback.counts.lock().unwrap().is_empty());
        // An alias that was changed begins anew.
        for _ in 0..3 {
            rollback.finished(ARN, &second, true);
        }
        harness.put(ALIAS, &json!({"Description": "changed"})).await;
        rollback.finished(ARN, &second, true);
        assert_eq!(rollback.counts.lock().unwrap()[ARN].calls, 1);
        assert!(is_weighted(&harness).await);
    }

    #[tokio::test]
    async fn one_that_was_changed_meanwhile_is_left_alone() {
        let (harness, _, _) = setup(50).await;
        let key = ["000000000000", "us-east-1", "two"].map(str::to_owned);
        let store = &harness.lambda.store;
        take_back(store, &Rt::real(), &key, "stable", "another revision").await.unwrap();
        assert!(is_weighted(&harness).await);
    }
}
