//! The invoke path: from a version snapshot and an event to the function's answer.
//!
//! Life of a synchronous invoke, in order: `target` (which snapshot, resolved by the operation) →
//! [`admit`] (a [`admit::Lease`] of the account's concurrency, or 429) → [`pool`] (an idle
//! environment of the snapshot, or a place in its queue) → [`place`] (only when one more
//! environment is needed: is there room, which idle ones make room, by their [`worth`]) → [`worker`] (makes and keeps
//! one environment) → the Runtime API's desk (event out, answer in) → [`reply`] → [`record`]
//! (START, END, REPORT) → the lease drops. `admit`, `place`, `pool`, [`history`] and `worth` are
//! pure; [`shell`] and `room` perform what they decide.
//!
//! An answer that is streamed goes from the Runtime API straight to its caller; [`streamed`] is the
//! caller's end of it, and only how it ended comes the way above.
//!
//! A warm invoke touches no disk and takes no lock that other functions take, but for reading the
//! table of pools. A caller that hangs up does not end its invocation.

pub mod admit;
pub mod cold_start;
mod expecting;
#[cfg(test)]
mod fake;
pub mod fault;
mod figures;
mod functions;
pub mod history;
pub(crate) mod imports;
mod invocation;
#[cfg(test)]
mod keep_tests;
mod keeper;
pub mod launcher;
pub(crate) mod lineage;
mod lines;
pub mod networks;
mod patience;
pub mod place;
pub mod platform_events;
mod platform_side_events;
pub mod pool;
pub mod product;
#[cfg(test)]
mod provision_tests;
mod provisioning;
mod reading;
pub mod record;
mod reply;
mod restoring;
mod room;
mod running;
pub mod scaling;
mod shell;
mod shutdown;
pub(crate) mod spares;
#[cfg(test)]
mod spares_tests;
mod start_events;
mod stock;
pub mod strain;
pub mod streamed;
#[cfg(test)]
mod streamed_tests;
mod target;
mod template;
pub mod templates;
#[cfg(test)]
mod templates_tests;
#[cfg(test)]
mod tests;
pub mod trace;
pub mod vpcs;
mod window;
mod worker;
pub mod worth;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use lambic_front::metrics::Metrics;
use lambic_rt::{Rt, TaskKind, Timestamp};
use lambic_store::Store;
use lambic_wire::error::Error;

use crate::keys::Keys;
use crate::limits::TENANT_ENVIRONMENTS_MAX;
use crate::names::LATEST;
use crate::runtime_api::desk::{Completion, Finished};
use crate::runtime_api::stream;
use crate::runtimes::packs::Packs;
use crate::state::function::FunctionRecord;
use crate::state::version::Version;
use admit::Account;
use figures::Figures;
use functions::FunctionUse;
pub use invocation::{Answer, Invocation};
use launcher::{ApiFront, Launcher, Sessions};
use networks::Networks;
use place::{Budget, Used};
use shell::Shell;
use spares::{Manner, Spares};
use strain::Strain;
use streamed::StreamedAnswer;
use templates::Templates;
use tokio::sync::{Notify, oneshot};
use vpcs::Vpcs;
use worth::{Keep, Policy};

/// Is told of every invocation that has ended.
pub trait Observer: Send + Sync + 'static {
    /// `invoked_arn` names the function as the caller did.
    fn finished(&self, invoked_arn: &str, version: &Version, is_error: bool);
}

/// Limits of the invoke path.
#[derive(Clone, Debug)]
pub struct InvokeConfig {
    /// Invocations that one account may have in flight.
    pub concurrency_max: u32,
    /// Environments that one function may get at once, and again within ten seconds.
    pub scale_out_max: u32,
    /// What the machine may hold.
    pub budget: Budget,
    /// An environment that was idle for so long ends.
    pub idle_max: Duration,
    /// Whether it may end sooner.
    pub idle_policy: Policy,
    /// Spares of each kind that is in use; 0: none.
    pub spares: u32,
    /// Whether those whose program can are copied from one process of their kind.
    pub zygotes: bool,
    /// Memory in MB that environments may take which wait ahead of an expected burst, beyond those that
    /// always wait.
    pub spare_memory_mb_max: u64,
    /// An environment that is as old as this serves nobody any more, however busy it is.
    pub lifetime_max: Duration,
    /// The start of a runtime, before it is repeated inside the invocation.
    pub init_max: Duration,
    /// The restoring of an environment from a snapshot, with the hooks that follow.
    pub restore_max: Duration,
    /// A request that got no environment for so long is refused.
    pub wait_max: Duration,
    /// Processes and threads of one environment (AWS: 1,024).
    pub pids_max: u32,
    /// File descriptors of one process (AWS: 1,024).
    pub files_max: u32,
    /// Which private network a function is in.
    pub networks: Networks,
    /// Subnets and security groups by their ids.
    pub vpcs: Arc<Vpcs>,
    /// Keys that functions' variables are encrypted under.
    pub keys: Arc<Keys>,
    /// Whether the server has more to do than it can.
    pub strain: Strain,
    /// Where invocations and environments are counted.
    pub metrics: Metrics,
}

impl Default for InvokeConfig {
    /// AWS's figures, and room for 64 GB of functions' memory sizes in 2,048 environments.
    fn default() -> InvokeConfig {
        InvokeConfig {
            concurrency_max: admit::CONCURRENCY_MAX_DEFAULT,
            scale_out_max: scaling::SCALE_OUT_MAX_DEFAULT,
            budget: Budget { memory_mb_max: 64 * 1024, environments_max: 2_048 },
            idle_max: Duration::from_secs(600),
            idle_policy: Policy::default(),
            spares: 2,
            zygotes: true,
            spare_memory_mb_max: 1_024,
            lifetime_max: Duration::from_secs(6 * 3_600),
            init_max: Duration::from_secs(10),
            restore_max: Duration::from_secs(10),
            wait_max: Duration::from_secs(60),
            pids_max: 1_024,
            files_max: 1_024,
            networks: Networks::default(),
            vpcs: Arc::default(),
            keys: Arc::default(),
            strain: Strain::default(),
            metrics: Metrics::process().clone(),
        }
    }
}

/// What all parts of the invoke path share.
pub(crate) struct Common {
    pub(crate) config: InvokeConfig,
    pub(crate) rt: Rt,
    pub(crate) launcher: Arc<dyn Launcher>,
    pub(crate) packs: Arc<Packs>,
    pub(crate) sessions: Arc<dyn Sessions>,
    pub(crate) api_front: OnceLock<Arc<dyn ApiFront>>,
    observer: OnceLock<Arc<dyn Observer>>,
    /// Where what functions import is remembered.
    pub(crate) store: OnceLock<Store>,
    pub(crate) figures: Figures,
    /// Pools by generation of their snapshot and by tenant, where a function isolates tenants.
    pools: RwLock<HashMap<PoolKey, Arc<Shell>>>,
    /// By account and region, as AWS counts.
    accounts: Mutex<HashMap<(String, String), Arc<Account>>>,
    /// By ARN: of functions that reserve concurrency, and of those that have pools.
    functions: Mutex<HashMap<String, Arc<FunctionUse>>>,
    used: Mutex<Used>,
    keep: Keep,
    /// Wakes the task that makes room ahead of need.
    is_short: Arc<Notify>,
    pub(crate) spares: Spares,
    /// What was changed before has been invoked before.
    began: Timestamp,
    pub(crate) templates: Templates,
    next_id: AtomicU64,
}

/// Runs functions. Cheap to clone.
#[derive(Clone)]
pub struct Invoker {
    common: Arc<Common>,
}

/// No environment is ever in two pools, so none serves two tenants.
type PoolKey = (u64, Option<Arc<str>>);

/// Whether the function still runs this snapshot.
fn is_current(record: &FunctionRecord, version: &Version) -> bool {
    match record.number(&version.version) {
        Some(_) => true,
        None => version.version == LATEST && version.generation == record.running.generation,
    }
}

/// How often idle and overdue environments are looked for.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// So many idle environments are stopped after a sweep; the others after the next one.
const FREEZES_PER_SWEEP_MAX: usize = 256;

/// Between two of them, for those who want to be served.
const FREEZE_PAUSE: Duration = Duration::from_millis(1);

impl Invoker {
    /// Starts the invoke path; environments come from `launcher`.
    pub fn start(
        config: InvokeConfig,
        rt: Rt,
        launcher: Arc<dyn Launcher>,
        packs: Arc<Packs>,
        sessions: Arc<dyn Sessions>,
    ) -> Invoker {
        let manner = Manner {
            per_kind: if launcher.has_spares() { config.spares } else { 0 },
            idle_max: config.idle_max,
            are_copied: launcher.has_templates() && config.zygotes,
            has_ready: launcher.has_ready(),
        };
        let common = Arc::new(Common {
            spares: Spares::new(manner, rt.instant()),
            began: rt.now(),
            templates: Templates::new(launcher.has_templates(), config.lifetime_max),
            figures: Figures::new(&config.metrics),
            keep: Keep::new(config.idle_policy, config.idle_max),
            is_short: Arc::default(),
            config,
            rt: rt.clone(),
            launcher,
            packs,
            sessions,
            api_front: OnceLock::new(),
            observer: OnceLock::new(),
            store: OnceLock::new(),
            pools: RwLock::default(),
            accounts: Mutex::default(),
            functions: Mutex::default(),
            used: Mutex::default(),
            next_id: AtomicU64::new(1),
        });
        let told = Arc::downgrade(&common);
        common.launcher.watch_waiting(Box::new(move |kind, count| {
            if let Some(common) = told.upgrade() {
                common.are_waiting(kind, count);
            }
        }));
        let sweeper = Arc::downgrade(&common);
        rt.clone()
            .spawn("environment sweep", TaskKind::Essential, async move {
                let mut shutdown = rt.shutdown();
                while rt.within(SWEEP_EVERY, shutdown.requested()).await.is_none() {
                    let Some(common) = sweeper.upgrade() else { return };
                    common.sweep();
                    common.freeze_idle().await;
                }
            })
            .detach();
        room::keep_reserve(&common);
        Invoker { common }
    }

    /// Who serves the AWS endpoint inside environments. Set once, before the first invoke.
    pub fn set_api_front(&self, front: Arc<dyn ApiFront>) {
        // A second front would be a mistake of the wiring; the first one stays.
        let _ = self.common.api_front.set(front);
    }

    /// Where what is learnt of functions outlives this server. Set once, before the first invoke.
    pub fn set_store(&self, store: Store) {
        // A second one would be a mistake of the wiring; the first one stays.
        let _ = self.common.store.set(store);
    }

    /// Who is told of every invocation that has ended. Set once, before the first invoke.
    pub fn set_observer(&self, observer: Arc<dyn Observer>) {
        // A second one would be a mistake of the wiring; the first one stays.
        let _ = self.common.observer.set(observer);
    }

    /// Runs one invocation and waits for its end. A caller that stops waiting does not end it.
    ///
    /// Errors: 429 `TooManyRequestsException` when the account or the machine is full; 500
    /// `ServiceException` when no environment can be made. What the function itself does wrong is
    /// an [`Answer`] with `function_error`.
    pub async fn invoke(
        &self,
        version: Arc<Version>,
        invocation: Invocation,
    ) -> Result<Answer, Error> {
        let pool = self.common.pool(&version, invocation.tenant_id.as_deref());
        let lease = pool.admit()?;
        let common = self.common.clone();
        let work = async move {
            let finished = target::run(pool, &invocation, None).await;
            drop(lease);
            common.observe(&invocation, &version, &finished);
            Ok(reply::answer(finished?, &invocation.request_id, &version.version))
        };
        reply::GoesOn::new(self.common.rt.clone(), Box::pin(work)).await
    }

    /// Runs one invocation whose answer is taken while the function still sends it. Returns when
    /// the answer begins. A caller that does not take the rest does not end it.
    ///
    /// Errors: as [`Invoker::invoke`].
    pub async fn invoke_streamed(
        &self,
        version: Arc<Version>,
        invocation: Invocation,
    ) -> Result<StreamedAnswer, Error> {
        let pool = self.common.pool(&version, invocation.tenant_id.as_deref());
        let lease = pool.admit()?;
        let (sink, pieces) = stream::channel();
        let content_type = sink.content_type();
        let (sender, ended) = oneshot::channel();
        let (common, ran) = (self.common.clone(), version.clone());
        let work = async move {
            let finished = target::run(pool, &invocation, Some(&sink)).await;
            drop(lease);
            common.observe(&invocation, &ran, &finished);
            let end = finished.map(|finished| reply::end(finished, &sink, &invocation.request_id));
            // A caller that is gone needs not be told.
            let _ = sender.send(end);
        };
        // Not driven by whoever takes the answer: time runs also while a slow caller takes nothing.
        self.common.rt.spawn("streamed invocation", TaskKind::Request, work).detach();
        StreamedAnswer::begin(version.version.clone(), &content_type, pieces, ended).await
    }

    /// The function is this from now on (`None`: it is deleted). Environments of snapshots that are
    /// no longer to be run end: idle ones now, busy ones when they have finished.
    pub fn follow(&self, function_arn: &str, now: Option<&FunctionRecord>) {
        self.common.follow_concurrency(function_arn, now);
        match now {
            Some(record) => self.common.expect(record),
            None => self.common.spares.is_deleted(function_arn),
        }
        self.common.templates.retire(|version| {
            version.function_arn != function_arn
                || now.is_some_and(|record| is_current(record, version))
        });
        for shell in self.common.all_pools() {
            let version = shell.version();
            if version.function_arn == function_arn
                && !now.is_some_and(|record| is_current(record, version))
            {
                shell.retire();
            }
        }
    }

    /// So many environments of this version are there from now on, started ahead of requests.
    pub fn provision(&self, version: &Arc<Version>, count: u32) {
        if count == 0 {
            // None is made for it: the function may be deleted.
            let pools = self.common.all_pools();
            let mut known = pools.iter().filter(|shell| shell.is_shared_by_all_of(version));
            let _ = known.next().is_none_or(|shell| shell.provision(0));
        } else {
            loop {
                let shell = self.common.pool(version, None);
                if shell.provision(count) {
                    break;
                }
                // It was closed at this very moment.
                self.common.forget(&shell);
            }
        }
        self.common.sum_up_provisioned(&version.function_arn);
    }

    /// How far that is.
    pub fn provisioned(&self, version: &Arc<Version>) -> Provision {
        self.common.pool(version, None).provisioned()
    }

    /// Waits until no invocation is at work, at most for `limit`, then ends all environments.
    /// Whether all work had ended.
    pub async fn drain(&self, limit: Duration) -> bool {
        let pools = self.common.clone();
        let rt = self.common.rt.clone();
        let deadline = rt.instant() + limit;
        let done = rt.within(limit, async {
            while pools.all_pools().iter().any(|shell| shell.is_working()) {
                pools.rt.sleep(Duration::from_millis(20)).await;
            }
        });
        let done = done.await.is_some();
        self.common.templates.end_all();
        let all = self.common.all_pools();
        all.iter().for_each(|shell| shell.end_all());
        // Extensions have their last words, as far as there is time; a plain environment ends at once.
        let left = deadline.saturating_duration_since(rt.instant()).min(shutdown::BUDGET_MAX);
        let last_words = rt.within(left, async {
            while all.iter().any(|shell| shell.is_saying_goodbye()) {
                rt.sleep(Duration::from_millis(20)).await;
            }
        });
        if last_words.await.is_none() {
            tracing::warn!("environments with extensions did not end in time");
        }
        done
    }

    /// What `/metrics` shows of the invoke path.
    #[cfg(test)]
    pub(crate) fn figures(&self) -> &Figures {
        &self.common.figures
    }
}

/// How far the provisioned environments of a version are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Provision {
    /// So many have started.
    pub available: u32,
    /// Whether their start fails, so that they are not there.
    pub fails: bool,
}

impl Common {
    fn observe(
        &self,
        invocation: &Invocation,
        version: &Version,
        finished: &Result<Finished, Error>,
    ) {
        // What the server could not run is not the function's failure.
        let (Some(observer), Ok(finished)) = (self.observer.get(), finished) else { return };
        let is_error = match &finished.completion {
            Completion::Response(_) | Completion::Streamed(None) => false,
            Completion::Streamed(Some(_)) | Completion::Error(_) | Completion::Fault(_) => true,
        };
        observer.finished(&invocation.invoked_arn, version, is_error);
    }

    /// A number that no environment or request had before.
    pub(crate) fn id(&self) -> u64 {
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }

    /// The pool of this snapshot and tenant, made if there is none.
    pub(crate) fn pool(
        self: &Arc<Common>,
        version: &Arc<Version>,
        tenant: Option<&str>,
    ) -> Arc<Shell> {
        let key: PoolKey = (version.generation, tenant.map(Arc::from));
        let known = self.pools.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(shell) = known.get(&key) {
            return shell.clone();
        }
        drop(known);
        let mut pools = self.pools.write().unwrap_or_else(PoisonError::into_inner);
        let fresh = || Shell::new(self.clone(), version.clone(), key.1.clone());
        pools.entry(key.clone()).or_insert_with(fresh).clone()
    }

    /// Whether one more environment of a function that isolates tenants may be started. Idle ones
    /// count, and those of other tenants do not give way, as on AWS.
    pub(crate) fn may_start_for_tenant(&self, version: &Version) -> bool {
        let max = u64::from(self.config.concurrency_max) * TENANT_ENVIRONMENTS_MAX.0
            / TENANT_ENVIRONMENTS_MAX.1;
        let of_function = |shell: &&Arc<Shell>| {
            shell.tenant().is_some() && shell.version().function_arn == version.function_arn
        };
        let pools = self.all_pools();
        let environments: usize =
            pools.iter().filter(of_function).map(|shell| shell.environments()).sum();
        (environments as u64) < max
    }

    pub(crate) fn all_pools(&self) -> Vec<Arc<Shell>> {
        self.pools.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// Ends what was idle for too long or did not come back, and forgets empty pools.
    fn sweep(self: &Arc<Common>) {
        if self.spares.prepare() {
            let now = self.rt.instant();
            let kinds = self.all_pools().into_iter().filter_map(|shell| shell.spare_kind());
            kinds.for_each(|kind| self.spares.is_used(kind, now));
            self.review_spares();
        }
        template::make_missing(self);
        let keep = self.keep.with(self.config.budget, self.used());
        for shell in self.all_pools() {
            if shell.sweep(self.rt.instant(), &keep) {
                // By identity: a request may have put a fresh pool in its place by now.
                self.forget(&shell);
            }
        }
        // What was at work when room became short may be idle now.
        self.make_reserve();
    }

    /// Stops what has been idle for a moment. Each takes a tenth of a millisecond, in which nobody is
    /// served: so one at a time.
    async fn freeze_idle(&self) {
        let mut left = FREEZES_PER_SWEEP_MAX;
        for shell in self.all_pools() {
            for id in shell.freezable(self.rt.instant()) {
                if left == 0 {
                    return;
                }
                left -= 1;
                shell.freeze(id);
                self.rt.sleep(FREEZE_PAUSE).await;
            }
        }
    }

    /// Forgets one closed pool, so that the next request gets a fresh one.
    pub(crate) fn forget(&self, shell: &Arc<Shell>) {
        let mut pools = self.pools.write().unwrap_or_else(PoisonError::into_inner);
        let key = (shell.version().generation, shell.tenant().cloned());
        if pools.get(&key).is_some_and(|known| Arc::ptr_eq(known, shell)) {
            pools.remove(&key);
        }
    }
}
