//! Functions by account and region, and those that somebody has something to do with.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::{Function, Usage};
use crate::state::function::FunctionRecord;

/// Account, region, name.
pub(super) type Key = (String, String, String);

#[derive(Default)]
pub(super) struct Contents {
    /// Account → region → functions.
    pub(super) accounts: HashMap<String, HashMap<String, Region>>,
    /// When which function is due to be settled.
    pub(super) unsettled: BTreeSet<(i64, Key)>,
    /// Functions that have provisioned concurrency.
    pub(super) provisioned: BTreeSet<Key>,
    /// Functions that have versions with SnapStart.
    pub(super) snapshots: BTreeSet<Key>,
}

#[derive(Default)]
pub(super) struct Region {
    pub(super) functions: BTreeMap<String, Arc<Function>>,
    pub(super) usage: Usage,
}

/// What the function takes of the account's room for code.
fn code_bytes(record: &FunctionRecord) -> u64 {
    record.shown().code.zip_bytes + record.version_bytes
}

impl Contents {
    pub(super) fn find_all(&self, keys: &BTreeSet<Key>) -> Vec<Arc<Function>> {
        let find = |(account, region, name): &Key| {
            self.accounts.get(account)?.get(region)?.functions.get(name).cloned()
        };
        keys.iter().filter_map(find).collect()
    }

    pub(super) fn put(&mut self, function: Arc<Function>) {
        let record = &function.stored.value;
        let [account, region, name] = record.key().map(str::to_owned);
        self.remove(&account, &region, &name);
        if let Some(at) = record.settle_at_micros {
            self.unsettled.insert((at, (account.clone(), region.clone(), name.clone())));
        }
        if !record.snapshots.is_empty() {
            self.snapshots.insert((account.clone(), region.clone(), name.clone()));
        }
        if record.provisioned() > 0 {
            self.provisioned.insert((account.clone(), region.clone(), name.clone()));
        }
        let region = self.accounts.entry(account).or_default().entry(region).or_default();
        region.usage.functions += 1;
        region.usage.code_bytes += code_bytes(record);
        region.usage.reserved_concurrency += u64::from(record.reserved_concurrency.unwrap_or(0));
        region.usage.kept_concurrency += u64::from(record.kept_concurrency());
        region.functions.insert(name, function);
    }

    pub(super) fn remove(
        &mut self,
        account: &str,
        region: &str,
        name: &str,
    ) -> Option<Arc<Function>> {
        let contents = self.accounts.get_mut(account)?.get_mut(region)?;
        let old = contents.functions.remove(name)?;
        contents.usage.functions -= 1;
        let record = &old.stored.value;
        contents.usage.code_bytes -= code_bytes(record);
        contents.usage.reserved_concurrency -= u64::from(record.reserved_concurrency.unwrap_or(0));
        contents.usage.kept_concurrency -= u64::from(record.kept_concurrency());
        let key = (account.to_owned(), region.to_owned(), name.to_owned());
        self.provisioned.remove(&key);
        self.snapshots.remove(&key);
        if let Some(at) = record.settle_at_micros {
            self.unsettled.remove(&(at, key));
        }
        Some(old)
    }
}
