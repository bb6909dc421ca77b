//! Every function of this server, in memory.
//!
//! Its life: [`Catalog::start`] lists what is stored and then follows a watch for ever. The invoke
//! path asks the catalog and never the engine. What it gives are immutable snapshots behind `Arc`,
//! so a reader holds its lock only for a look-up. An operation that has written waits with
//! [`Catalog::caught_up`] until the catalog knows of it, so that every caller reads its own writes.

use std::collections::{BTreeSet, HashMap};
use std::hash::{BuildHasher, RandomState};
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use lambic_rt::{Rt, TaskKind, Timestamp};
use lambic_store::{
    Listing, RecordChange, Revision, Store, StoreError, Stored, TableWatch, WatchEnd,
};
use tokio::sync::watch;

#[path = "catalog_contents.rs"]
mod contents;

use crate::names::{LATEST, Target, function_arn};
use crate::state::function::{Configuration, FunctionRecord, State};
use crate::state::layer::merged_digest;
use crate::state::published::{VersionRecord, number_key};
use crate::state::snapshot::Snapshot;
use crate::state::version::{SealedVariables, Version, VersionState};
use crate::urls::index::UrlIndex;
use contents::Contents;

/// An operation waits so long for the catalog to follow, in seconds; then it answers anyway.
const CATCH_UP_S_MAX: u64 = 5;
/// Between two attempts to read everything anew, in milliseconds.
const RELIST_PAUSE_MS: u64 = 500;

/// A function as the catalog knows it at one store revision.
#[derive(Clone, Debug)]
pub struct Function {
    /// What is stored.
    pub stored: Stored<FunctionRecord>,
    /// What `$LATEST` runs at the moment: during an update still the old snapshot.
    pub latest: Arc<Version>,
    /// The published versions that were asked for so far.
    published: Arc<Published>,
}

/// Snapshots of published versions by number. Read from the store when they are first invoked: most
/// versions never are, and there may be very many.
type Published = Mutex<HashMap<u64, Arc<Version>>>;

/// What an account uses in one region.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Number of functions.
    pub functions: u64,
    /// All their packages, zipped, in bytes. Every function and every published version counts its
    /// own.
    pub code_bytes: u64,
    /// Concurrency that functions have reserved for themselves.
    pub reserved_concurrency: u64,
    /// The same, and what is provisioned for functions that reserve none.
    pub kept_concurrency: u64,
}

/// Called after every change of a function, with its ARN and what it is now (`None`: deleted).
pub type OnChange = Arc<dyn Fn(&str, Option<&FunctionRecord>) + Send + Sync>;

/// All functions. Cheap to clone; every clone is the same catalog.
#[derive(Clone)]
pub struct Catalog {
    inner: Arc<Inner>,
}

struct Inner {
    store: Store,
    rt: Rt,
    /// For the invoke path: functions by their ARN, each part under a lock of its own.
    shards: [RwLock<HashMap<String, Arc<Function>>>; SHARDS],
    hasher: RandomState,
    /// For the URLs of functions: which function has which.
    urls: UrlIndex,
    /// For everything else.
    contents: RwLock<Contents>,
    seen: watch::Sender<Revision>,
    on_change: OnChange,
}

/// Parts of the look-up table. Invokes of different functions hardly ever meet at one of them.
const SHARDS: usize = 64;

impl Catalog {
    /// Reads all functions and follows their changes from then on.
    ///
    /// # Errors
    /// When a stored function cannot be read.
    pub async fn start(store: Store, rt: Rt, on_change: OnChange) -> Result<Catalog, StoreError> {
        let (listing, watch) = store.table::<FunctionRecord>().list_and_watch(&[]).await?;
        let (seen, _) = watch::channel(listing.revision);
        let inner = Inner {
            store,
            rt: rt.clone(),
            shards: std::array::from_fn(|_| RwLock::default()),
            hasher: RandomState::new(),
            urls: UrlIndex::default(),
            contents: RwLock::default(),
            seen,
            on_change,
        };
        let catalog = Catalog { inner: Arc::new(inner) };
        for stored in listing.records {
            catalog.put(stored);
        }
        let following = catalog.clone();
        rt.spawn("catalog", TaskKind::Essential, async move { following.follow(watch).await })
            .detach();
        Ok(catalog)
    }

    /// The function of that plain name, if there is one.
    pub fn find(&self, account: &str, region: &str, name: &str) -> Option<Arc<Function>> {
        let arn = function_arn(account, region, name);
        self.shard(&arn).read().unwrap_or_else(PoisonError::into_inner).get(&arn).cloned()
    }

    /// What the URL of this id runs, if there is such a URL.
    pub fn url(&self, id: &str) -> Option<Target> {
        self.inner.urls.find(id)
    }

    /// The snapshot of a published version, if it is there.
    ///
    /// # Errors
    /// When its record cannot be read.
    pub async fn published(
        &self,
        function: &Function,
        number: u64,
    ) -> Result<Option<Arc<Version>>, StoreError> {
        let record = &function.stored.value;
        if !record.versions.contains(number) {
            return Ok(None);
        }
        if let Some(known) = lock(&function.published).get(&number) {
            return Ok(Some(known.clone()));
        }
        let key = number_key(number);
        let key = [record.account.as_str(), &record.region, &record.name, &key];
        let table = self.inner.store.table::<VersionRecord>();
        // Deleted since the function was looked up.
        let Some(stored) = table.get(&key).await? else { return Ok(None) };
        let version = Arc::new(self.published_snapshot(record, &stored.value));
        if version.state == VersionState::Active {
            // Another one may have read it too; all use the same.
            let mut published = lock(&function.published);
            return Ok(Some(published.entry(number).or_insert(version).clone()));
        }
        Ok(Some(version))
    }

    /// Up to `limit` functions in the order of their names, those after the name `after`.
    pub fn list(
        &self,
        account: &str,
        region: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Vec<Arc<Function>> {
        let contents = self.read();
        let Some(region) = contents.accounts.get(account).and_then(|all| all.get(region)) else {
            return Vec::new();
        };
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let range = region.functions.range::<str, _>((from, Bound::Unbounded));
        range.take(limit).map(|(_, function)| function.clone()).collect()
    }

    /// What an account uses in one region.
    pub fn usage(&self, account: &str, region: &str) -> Usage {
        let contents = self.read();
        let region = contents.accounts.get(account).and_then(|all| all.get(region));
        region.map(|region| region.usage).unwrap_or_default()
    }

    /// Waits until the commit of this revision is known here.
    pub async fn caught_up(&self, revision: Revision) {
        let mut seen = self.inner.seen.subscribe();
        let limit = Duration::from_secs(CATCH_UP_S_MAX);
        let known = self.inner.rt.within(limit, seen.wait_for(|seen| *seen >= revision)).await;
        if known.is_none() {
            tracing::warn!(revision, "the catalog does not keep up with the store");
        }
    }

    /// Tells of every change, for those who have something to do then.
    pub fn changes(&self) -> watch::Receiver<Revision> {
        self.inner.seen.subscribe()
    }

    /// The functions that are due to be settled at `now`, and when the next one will be.
    pub fn unsettled(&self, now: Timestamp) -> (Vec<Arc<Function>>, Option<Timestamp>) {
        let contents = self.read();
        let mut due = Vec::new();
        for (at, (account, region, name)) in &contents.unsettled {
            if *at > now.micros() {
                return (due, Some(Timestamp::from_micros(*at)));
            }
            let functions = contents.accounts.get(account).and_then(|all| all.get(region));
            due.extend(functions.and_then(|region| region.functions.get(name)).cloned());
        }
        (due, None)
    }

    /// The functions that have provisioned concurrency.
    pub fn provisioned(&self) -> Vec<Arc<Function>> {
        let contents = self.read();
        contents.find_all(&contents.provisioned)
    }

    /// The functions that have versions with SnapStart.
    pub fn with_snapshots(&self) -> Vec<Arc<Function>> {
        let contents = self.read();
        contents.find_all(&contents.snapshots)
    }

    async fn follow(&self, mut watch: TableWatch<FunctionRecord>) {
        loop {
            match watch.next().await {
                Ok(RecordChange::Put(stored)) => {
                    let revision = stored.revision;
                    self.put(stored);
                    self.inner.seen.send_replace(revision);
                }
                Ok(RecordChange::Deleted { key, revision }) => {
                    self.remove(&key);
                    self.inner.seen.send_replace(revision);
                }
                Err(StoreError::Watch(WatchEnd::Lagged)) => watch = self.relist().await,
                Err(StoreError::Watch(WatchEnd::Closed)) => return,
                // One record; the others must not suffer.
                Err(error) => tracing::error!(%error, "a stored function cannot be read"),
            }
        }
    }

    async fn relist(&self) -> TableWatch<FunctionRecord> {
        let table = self.inner.store.table::<FunctionRecord>();
        loop {
            match table.list_and_watch(&[]).await {
                Ok((listing, watch)) => {
                    self.replace(listing);
                    return watch;
                }
                Err(error) => {
                    tracing::error!(%error, "the stored functions cannot be listed");
                    self.inner.rt.sleep(Duration::from_millis(RELIST_PAUSE_MS)).await;
                }
            }
        }
    }

    fn replace(&self, listing: Listing<FunctionRecord>) {
        let listed: BTreeSet<Vec<String>> =
            listing.records.iter().map(|stored| stored.key.clone()).collect();
        for key in self.keys() {
            if !listed.contains(&key) {
                self.remove(&key);
            }
        }
        for stored in listing.records {
            // It may have been deleted and created again meanwhile, with other versions of the same
            // numbers.
            if let [account, region, name] = &stored.key[..]
                && let Some(known) = self.find(account, region, name)
            {
                lock(&known.published).clear();
            }
            self.put(stored);
        }
        // The listing's own revision: the last commit may have been a deletion, which no record
        // that is left tells of.
        self.inner.seen.send_if_modified(|seen| {
            let newer = listing.revision > *seen;
            *seen = listing.revision.max(*seen);
            newer
        });
    }

    fn keys(&self) -> Vec<Vec<String>> {
        let mut keys = Vec::new();
        for (account, regions) in &self.read().accounts {
            for (region, contents) in regions {
                for name in contents.functions.keys() {
                    keys.push(vec![account.clone(), region.clone(), name.clone()]);
                }
            }
        }
        keys
    }

    fn put(&self, stored: Stored<FunctionRecord>) {
        let arn = stored.value.arn();
        let known = self.shard(&arn).read().unwrap_or_else(PoisonError::into_inner);
        let old = known.get(&arn).cloned();
        drop(known);
        let published = old.as_ref().map(|old| old.published.clone()).unwrap_or_default();
        lock(&published).retain(|number, _| stored.value.versions.contains(*number));
        let latest = Arc::new(self.snapshot(&stored.value));
        let function = Arc::new(Function { stored, latest, published });
        self.write().put(function.clone());
        let before = old.as_ref().map(|old| &old.stored.value);
        self.inner.urls.follow(before, Some(&function.stored.value));
        let mut shard = self.shard(&arn).write().unwrap_or_else(PoisonError::into_inner);
        shard.insert(arn.clone(), function.clone());
        drop(shard);
        (self.inner.on_change)(&arn, Some(&function.stored.value));
    }

    fn remove(&self, key: &[String]) {
        let [account, region, name] = key else { return };
        let old = self.write().remove(account, region, name);
        if let Some(old) = old {
            self.inner.urls.follow(Some(&old.stored.value), None);
            let arn = &old.latest.function_arn;
            self.shard(arn).write().unwrap_or_else(PoisonError::into_inner).remove(arn);
            (self.inner.on_change)(arn, None);
        }
    }

    /// What `$LATEST` runs.
    fn snapshot(&self, record: &FunctionRecord) -> Version {
        Version {
            version: LATEST.to_owned(),
            revision_id: record.revision_id.clone(),
            state: match record.state {
                State::Pending => VersionState::Pending,
                State::Active => VersionState::Active,
                State::Failed => VersionState::Failed,
            },
            ..self.snapshot_of(record, &record.running)
        }
    }

    fn published_snapshot(&self, record: &FunctionRecord, published: &VersionRecord) -> Version {
        let is_pending = published.is_pending(self.inner.rt.now());
        Version {
            version: published.number.to_string(),
            revision_id: published.revision_id.clone(),
            state: match record.snapshots.get(&published.number) {
                Some(Snapshot::Failed { .. }) => VersionState::Failed,
                Some(Snapshot::Pending) => VersionState::Pending,
                _ if is_pending => VersionState::Pending,
                _ => VersionState::Active,
            },
            snap_start: published.configuration.snap_start,
            ..self.snapshot_of(record, &published.configuration)
        }
    }

    /// A snapshot with this configuration, to be told which version it is.
    fn snapshot_of(&self, record: &FunctionRecord, configuration: &Configuration) -> Version {
        let blobs = self.inner.store.blobs();
        let environment = configuration.environment.clone().unwrap_or_default();
        let layers = merged_digest(&configuration.layers);
        let kept = std::iter::once(&configuration.code.sha256).chain(&layers);
        Version {
            account: record.account.clone(),
            region: record.region.clone(),
            function_name: record.name.clone(),
            function_arn: record.arn(),
            version: String::new(),
            revision_id: String::new(),
            runtime: configuration.runtime.clone(),
            handler: configuration.handler.clone(),
            role: configuration.role.clone(),
            memory_mb: configuration.memory_mb,
            timeout_s: configuration.timeout_s,
            tmp_mb: configuration.tmp_mb,
            environment: environment.0.0,
            sealed_environment: sealed_variables(configuration),
            log_group: configuration.logging.group_of(&record.name),
            log_format: configuration.logging.format,
            active_tracing: configuration.active_tracing,
            isolates_tenants: configuration.isolates_tenants,
            snap_start: false,
            bundle: configuration.code.sha256.as_str().to_owned(),
            bundle_path: blobs.bundle_path(&configuration.code.sha256),
            layers_path: layers.as_ref().map(|digest| blobs.bundle_path(digest)),
            file_system: configuration.file_system.as_deref().cloned(),
            vpc: configuration.vpc.as_deref().cloned(),
            generation: configuration.generation,
            state: VersionState::Pending,
            holds: kept.map(|digest| blobs.hold(digest)).collect(),
        }
    }

    fn shard(&self, arn: &str) -> &RwLock<HashMap<String, Arc<Function>>> {
        &self.inner.shards[self.inner.hasher.hash_one(arn) as usize % SHARDS]
    }

    fn read(&self) -> RwLockReadGuard<'_, Contents> {
        self.inner.contents.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Contents> {
        self.inner.contents.write().unwrap_or_else(PoisonError::into_inner)
    }
}

fn lock(published: &Published) -> MutexGuard<'_, HashMap<u64, Arc<Version>>> {
    published.lock().unwrap_or_else(PoisonError::into_inner)
}

fn sealed_variables(configuration: &Configuration) -> Option<SealedVariables> {
    let key_arn = configuration.kms_key_arn.clone()?;
    let sealed = *configuration.sealed_environment.clone()?;
    Some(SealedVariables { key_arn, sealed })
}

#[cfg(test)]
mod tests {
    use lambic_store::Transaction;

    use super::*;
    use crate::state::function::tests::{configuration, record};

    struct Setup {
        store: Store,
        catalog: Catalog,
        changes: Arc<Mutex<Vec<Option<u64>>>>,
    }

    async fn setup(existing: &[FunctionRecord]) -> Setup {
        let rt = Rt::real();
        let store = Store::in_memory(rt.clone()).unwrap();
        for record in existing {
            let mut transaction = Transaction::new();
            transaction.put(&record.key(), record);
            store.commit(transaction).await.unwrap();
        }
        let changes = Arc::new(Mutex::new(Vec::new()));
        let note = changes.clone();
        let on_change: OnChange = Arc::new(move |_, now| {
            note.lock().unwrap().push(now.map(|record| record.running.generation));
        });
        let catalog = Catalog::start(store.clone(), rt, on_change).await.unwrap();
        Setup { store, catalog, changes }
    }

    async fn put(setup: &Setup, record: &FunctionRecord) {
        let mut transaction = Transaction::new();
        transaction.put(&record.key(), record);
        let revision = setup.store.commit(transaction).await.unwrap();
        setup.catalog.caught_up(revision).await;
    }

    fn names(setup: &Setup, after: Option<&str>) -> Vec<String> {
        let page = setup.catalog.list("000000000000", "us-east-1", after, 2);
        page.iter().map(|function| function.latest.function_name.clone()).collect()
    }

    #[tokio::test]
    async fn what_is_stored_is_there_at_once_and_what_follows_too() {
        let setup = setup(&[record("b")]).await;
        assert_eq!(names(&setup, None), ["b"]);
        put(&setup, &record("a")).await;
        put(&setup, &record("c")).await;
        assert_eq!(names(&setup, None), ["a", "b"]);
        assert_eq!(names(&setup, Some("b")), ["c"]);
        // A name that is gone still tells where to go on.
        assert_eq!(names(&setup, Some("aa")), ["b", "c"]);
        assert!(setup.catalog.find("000000000000", "eu-west-1", "a").is_none());
        assert!(setup.catalog.find("111111111111", "us-east-1", "a").is_none());
        let usage = setup.catalog.usage("000000000000", "us-east-1");
        assert_eq!(usage, Usage { functions: 3, code_bytes: 9, ..Usage::default() });
    }

    #[tokio::test]
    async fn an_update_in_progress_runs_the_old_snapshot() {
        let setup = setup(&[record("f")]).await;
        let mut changed = record("f");
        changed.updating = Some(configuration(2));
        put(&setup, &changed).await;
        let find = || setup.catalog.find("000000000000", "us-east-1", "f").unwrap();
        assert_eq!(find().latest.generation, 1);
        assert_eq!(find().stored.value.shown().generation, 2);

        changed.running = configuration(2);
        changed.updating = None;
        put(&setup, &changed).await;
        assert_eq!(find().latest.generation, 2);
        assert_eq!(*setup.changes.lock().unwrap(), [Some(1), Some(1), Some(2)]);
    }

    #[tokio::test]
    async fn deleting_is_told_and_frees() {
        let setup = setup(&[record("f")]).await;
        let mut transaction = Transaction::new();
        transaction.delete::<FunctionRecord>(&record("f").key());
        let revision = setup.store.commit(transaction).await.unwrap();
        setup.catalog.caught_up(revision).await;
        assert!(setup.catalog.find("000000000000", "us-east-1", "f").is_none());
        assert_eq!(setup.catalog.usage("000000000000", "us-east-1"), Usage::default());
        assert_eq!(setup.catalog.unsettled(Timestamp::from_micros(i64::MAX)).0.len(), 0);
        assert_eq!(*setup.changes.lock().unwrap(), [Some(1), None]);
    }

    #[tokio::test]
    async fn a_deletion_after_which_the_watch_fell_behind_is_known() {
        let setup = setup(&[]).await;
        let mut flood = Transaction::new();
        for number in 0..=lambic_store::WATCH_CHANGES_MAX {
            let record = record(&format!("f{number}"));
            flood.put(&record.key(), &record);
        }
        setup.store.commit(flood).await.unwrap();
        let mut transaction = Transaction::new();
        transaction.delete::<FunctionRecord>(&record("f7").key());
        let revision = setup.store.commit(transaction).await.unwrap();
        setup.catalog.caught_up(revision).await;
        assert_eq!(*setup.catalog.changes().borrow(), revision);
        assert!(setup.catalog.find("000000000000", "us-east-1", "f7").is_none());
        assert!(setup.catalog.find("000000000000", "us-east-1", "f8").is_some());
    }

    #[tokio::test]
    async fn who_is_due() {
        let mut later = record("later");
        later.settle_at_micros = Some(5_000);
        let setup = setup(&[record("now"), later]).await;
        let (due, next) = setup.catalog.unsettled(Timestamp::from_micros(1_000));
        assert_eq!(due.len(), 1);
        assert_eq!(next, Some(Timestamp::from_micros(5_000)));
    }
}
