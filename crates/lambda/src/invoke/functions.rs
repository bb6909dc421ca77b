//! What the versions of one function share: its place in the account's concurrency, how fast it may get
//! more environments, and what was learnt of versions that have none at the moment.

use std::sync::{Arc, Mutex, PoisonError};

use lambic_rt::Instant;

use super::Common;
use super::admit::{Account, Meter};
use super::history::History;
use super::imports::Imports;
use super::scaling::Scaling;
use crate::state::function::FunctionRecord;
use crate::state::version::Version;

/// Versions of one function that are remembered without a pool.
const HISTORIES_MAX: usize = 8;

/// What the versions of one function share.
pub(crate) struct FunctionUse {
    pub(crate) meter: Arc<Meter>,
    scaling: Mutex<Scaling>,
    /// Of versions that have no pool at the moment, the last one last.
    histories: Mutex<Vec<(String, History)>>,
    pub(crate) imports: Imports,
}

impl FunctionUse {
    /// Whether the function may have one more environment at this moment.
    pub(crate) fn may_scale(&self, now: Instant) -> bool {
        self.scaling.lock().unwrap_or_else(PoisonError::into_inner).take(now)
    }

    /// One more environment was not started after all.
    pub(crate) fn has_not_scaled(&self) {
        self.scaling.lock().unwrap_or_else(PoisonError::into_inner).give_back();
    }

    /// The pool of this version is gone, and this is what it has learnt.
    pub(crate) fn remember(&self, version: &str, history: History) {
        let mut histories = self.histories.lock().unwrap_or_else(PoisonError::into_inner);
        histories.retain(|(known, _)| known != version);
        if histories.len() >= HISTORIES_MAX {
            histories.remove(0);
        }
        histories.push((version.to_owned(), history));
    }

    /// What the pool of this version had learnt. A change of `$LATEST` makes no stranger of it.
    pub(crate) fn recall(&self, version: &str) -> Option<History> {
        let histories = self.histories.lock().unwrap_or_else(PoisonError::into_inner);
        let known = histories.iter().find(|(known, _)| known == version);
        known.map(|(_, history)| history.clone())
    }
}

impl Common {
    /// The counter of the account in its region.
    pub(super) fn account(&self, account: &str, region: &str) -> Arc<Account> {
        let key = (account.to_owned(), region.to_owned());
        let mut accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = || Account::new(self.config.concurrency_max);
        accounts.entry(key).or_insert_with(fresh).clone()
    }

    /// What the versions of this version's function share.
    pub(crate) fn function(&self, version: &Version) -> Arc<FunctionUse> {
        let account = self.account(&version.account, &version.region);
        let mut functions = self.functions.lock().unwrap_or_else(PoisonError::into_inner);
        let known = functions.get(&version.function_arn).cloned();
        known.unwrap_or_else(|| {
            let fresh = self.fresh_function(account);
            functions.insert(version.function_arn.clone(), fresh.clone());
            fresh
        })
    }

    fn fresh_function(&self, account: Arc<Account>) -> Arc<FunctionUse> {
        let scaling = Scaling::new(self.config.scale_out_max, self.rt.instant());
        let (meter, scaling) = (Meter::new(account), Mutex::new(scaling));
        let (histories, imports) = Default::default();
        Arc::new(FunctionUse { meter, scaling, histories, imports })
    }

    pub(super) fn follow_concurrency(&self, function_arn: &str, now: Option<&FunctionRecord>) {
        let mut functions = self.functions.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(record) = now else {
            // Now, and not with its last environment: another function may have taken it already.
            if let Some(known) = functions.remove(function_arn) {
                known.meter.provision(0);
                known.meter.reserve(None);
            }
            return;
        };
        let reserved = record.reserved_concurrency;
        match functions.get(function_arn) {
            Some(known) => known.meter.reserve(reserved),
            // What most functions have needs no memory until they are invoked.
            None if reserved.is_none() => {}
            None => {
                let account = self.account(&record.account, &record.region);
                let fresh = self.fresh_function(account);
                fresh.meter.reserve(reserved);
                functions.insert(function_arn.to_owned(), fresh);
            }
        }
    }

    pub(super) fn sum_up_provisioned(&self, function_arn: &str) {
        let functions = self.functions.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(known) = functions.get(function_arn).cloned() else { return };
        drop(functions);
        let pools = self.all_pools();
        let of_function = pools.iter().filter(|shell| shell.version().function_arn == function_arn);
        known.meter.provision(of_function.map(|shell| shell.kept()).sum());
    }
}
