//! What the pool decides is done here: one [`Shell`] per version snapshot holds the pure pool, the
//! handles of its environments and the senders of those who wait, under one short lock.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lambic_rt::{Instant, TaskKind};
use lambic_wire::error::Error;
use tokio::sync::{oneshot, watch};

use super::admit::{Lease, Provisioned, Throttle};
use super::cold_start::ColdStart;
use super::fault::Status;
use super::imports::Imports;
use super::launcher::{Control, Prepared};
use super::lineage;
use super::patience::Patience;
use super::place::IdleEnvironment;
use super::platform_events::InitType;
use super::pool::{EnvironmentId, Evictable, Free, Pool, Ticket};
use super::provisioning::Provisioning;
use super::record::Recorder;
use super::room::Room;
use super::worker;
use super::worth::Keep;
use super::{Common, FunctionUse, Provision};
use crate::runtime_api::desk::{Completion, Desk};
use crate::runtime_api::extensions::ShutdownReason;
use crate::state::version::Version;

/// An environment that was idle for so long is stopped until its next event, as on AWS: threads
/// that a function leaves behind get no processor time. Stopping and resuming costs 0.02 to 0.1 ms,
/// so a function that is called all the time does not pay it.
const FREEZE_AFTER: Duration = Duration::from_secs(1);

/// A running environment, as those who use it see it.
#[derive(Clone)]
pub(super) struct Handle {
    pub(super) desk: Arc<Desk>,
    pub(super) recorder: Arc<Recorder>,
    pub(super) control: Arc<dyn Control>,
    /// Tells the worker to end it, and why.
    pub(super) ending: Arc<watch::Sender<Option<ShutdownReason>>>,
    /// The room of an environment that has left the pool and takes its time to end.
    pub(super) farewell: Arc<Mutex<Option<Room>>>,
}

impl Handle {
    /// Ends the environment: with extensions in AWS's order of steps, which take their time, without
    /// at once.
    pub(super) fn end(&self, reason: ShutdownReason) {
        if !self.desk.has_extensions() {
            self.control.kill();
            return;
        }
        self.control.set_frozen(false);
        self.recorder.hub().set_frozen(false);
        // The first reason counts.
        self.ending.send_if_modified(|ending| {
            let is_first = ending.is_none();
            ending.get_or_insert(reason);
            is_first
        });
    }

    /// Somebody has been promised its room, who does not wait until it has ended.
    pub(super) fn give_way(&self) {
        let room = self.farewell.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(room);
    }
}

/// What a request gets.
pub(super) enum Grant {
    /// An environment that waits for its event.
    Use {
        handle: Handle,
        /// How long its start took, if this is its first invocation.
        init: Option<ColdStart>,
        /// When the invocation began, if that is known: a start may have been repeated inside it.
        since: Option<Instant>,
    },
    /// The start failed inside the invocation; this is the invocation's end.
    Failed { recorder: Arc<Recorder>, completion: Completion, status: Status, since: Instant },
    /// There is no environment to be had.
    Refused(Error),
    /// The pool was closed; a fresh one is to be asked.
    Closed,
}

struct Entry {
    /// Absent while it is being started.
    handle: Option<Handle>,
    /// Taken by its first invocation.
    init: Option<ColdStart>,
    /// Stopped because it is idle; it goes on with its next event.
    frozen: bool,
    room: Room,
}

#[derive(Default)]
pub(super) struct Inner {
    pub(super) pool: Pool,
    provisioning: Provisioning,
    pub(super) waiting: HashMap<Ticket, oneshot::Sender<Grant>>,
    pub(super) patience: Patience,
    entries: HashMap<EnvironmentId, Entry>,
}

/// See the module.
pub(crate) struct Shell {
    pub(super) common: Arc<Common>,
    version: Arc<Version>,
    /// For whom all of its environments are, if the function isolates tenants.
    tenant: Option<Arc<str>>,
    function: Arc<FunctionUse>,
    /// What stands for the function in a chain of requests.
    lineage_id: String,
    places: Arc<Provisioned>,
    /// The kind of spares that its environments can be made from; 0 as long as it is not known.
    spare_kind: AtomicU64,
    /// Environments with extensions that are ending.
    pub(super) farewells: AtomicUsize,
    inner: Mutex<Inner>,
}

impl Shell {
    pub(super) fn new(
        common: Arc<Common>,
        version: Arc<Version>,
        tenant: Option<Arc<str>>,
    ) -> Arc<Shell> {
        let function = common.function(&version);
        let farewells = AtomicUsize::new(0);
        let places = Arc::default();
        let spare_kind = AtomicU64::default();
        // What one tenant does says nothing of another.
        let history = if tenant.is_none() { function.recall(&version.version) } else { None };
        let pool = Pool::new(version.memory_mb, history.unwrap_or_default());
        let inner = Mutex::new(Inner { pool, ..Inner::default() });
        let lineage_id = lineage::id(&version.function_arn);
        Arc::new(Shell {
            common,
            version,
            tenant,
            function,
            lineage_id,
            places,
            spare_kind,
            farewells,
            inner,
        })
    }

    /// The kind of spares of this, which is in use now.
    pub(super) fn kind_of_spare(&self, prepared: &Prepared) -> Option<u64> {
        let kind = self.common.spare_kind(prepared, true);
        self.spare_kind.store(kind.unwrap_or(0), Ordering::Relaxed);
        kind
    }

    /// What its function has been seen to import.
    pub(super) fn imports(&self) -> &Imports {
        &self.function.imports
    }

    /// The kind of spares that it last started with, as long as it has environments.
    pub(super) fn spare_kind(&self) -> Option<u64> {
        let kind = Some(self.spare_kind.load(Ordering::Relaxed)).filter(|kind| *kind != 0)?;
        (!self.lock().entries.is_empty()).then_some(kind)
    }

    pub(super) fn version(&self) -> &Arc<Version> {
        &self.version
    }

    pub(super) fn lineage_id(&self) -> &str {
        &self.lineage_id
    }

    pub(super) fn tenant(&self) -> Option<&Arc<str>> {
        self.tenant.as_ref()
    }

    /// Environments there are or that are being started.
    pub(super) fn environments(&self) -> usize {
        self.lock().entries.len()
    }

    /// A place in the concurrency of function and account, or 429.
    pub(super) fn admit(&self) -> Result<Lease, Error> {
        let lease = self.function.meter.admit(&self.places);
        lease.map_err(|throttle| self.throttled(throttle))
    }

    /// So many environments are there from now on, started ahead of requests.
    /// `false`: the pool is closed; a fresh one is to be told.
    pub(super) fn provision(self: &Arc<Shell>, count: u32) -> bool {
        let mut inner = self.lock();
        if inner.pool.is_closed() {
            return false;
        }
        inner.pool.keep(count as usize);
        inner.provisioning = Provisioning::of(count);
        drop(inner);
        self.places.set(count);
        self.top_up();
        true
    }

    /// Whether this is the pool of that snapshot, for whoever calls.
    pub(super) fn is_shared_by_all_of(&self, version: &Version) -> bool {
        self.version.generation == version.generation && self.tenant.is_none()
    }

    /// How many that are.
    pub(super) fn kept(&self) -> u32 {
        self.lock().provisioning.kept
    }

    /// How far they are.
    pub(super) fn provisioned(&self) -> Provision {
        let inner = self.lock();
        let kept = inner.provisioning.kept;
        let available = (inner.pool.started() as u32).min(kept);
        Provision { available, fails: available < kept && inner.provisioning.failures > 0 }
    }

    /// Starts the provisioned environments that are missing, later each time that it fails.
    fn top_up(self: &Arc<Shell>) {
        let now = self.common.rt.instant();
        let inner = self.lock();
        let missing = inner.pool.missing().min(inner.provisioning.starts_max(now));
        drop(inner);
        for _ in 0..missing {
            if !self.start_one(InitType::ProvisionedConcurrency) {
                self.provisioning_failed();
                return;
            }
        }
    }

    /// A start that nobody waited for has failed.
    pub(super) fn provisioning_failed(&self) {
        let now = self.common.rt.instant();
        self.lock().provisioning.fail(now);
    }

    pub(super) fn throttled(&self, throttle: Throttle) -> Error {
        self.common.figures.throttles.increment();
        throttle.to_error()
    }

    /// Whether the request was still waiting; it is not any more.
    pub(super) fn withdraw(&self, ticket: Ticket) -> bool {
        let mut inner = self.lock();
        inner.waiting.remove(&ticket);
        inner.pool.withdraw(ticket)
    }

    /// Starts one more environment for those who wait. `false`: the function or the machine cannot
    /// have it now.
    pub(super) fn start_on_demand(self: &Arc<Shell>) -> bool {
        if self.tenant.is_some() && !self.common.may_start_for_tenant(&self.version) {
            tracing::warn!(
                function = %self.version.function_arn,
                "the function's tenants have as many environments as they may: the request is throttled"
            );
            return false;
        }
        if !self.function.may_scale(self.common.rt.instant()) {
            tracing::warn!(
                function = %self.version.function_arn,
                "too many environments at once (functions.scale_out_max): the request is throttled"
            );
            return false;
        }
        let is_started = self.start_one(InitType::OnDemand);
        if !is_started {
            self.function.has_not_scaled();
        }
        is_started
    }

    /// Starts one more environment. `false`: the machine has no room for it.
    fn start_one(self: &Arc<Shell>, init_type: InitType) -> bool {
        let memory_mb = self.version.memory_mb;
        let Some(room) = Room::make(&self.common, memory_mb) else {
            tracing::warn!(
                function = %self.version.function_arn,
                memory_mb,
                "no room for another environment (functions.memory_mb_max): the request is throttled"
            );
            return false;
        };
        let (id, now) = (self.common.id(), self.common.rt.instant());
        let mut inner = self.lock();
        inner.pool.starts(id, now);
        inner.pool.ages(id, now + self.common.config.lifetime_max);
        inner.entries.insert(id, Entry { handle: None, init: None, frozen: false, room });
        drop(inner);
        self.common.figures.environments_started.increment();
        let life = worker::live(self.clone(), id, init_type);
        self.common.rt.spawn("execution environment", TaskKind::Request, life).detach();
        true
    }

    /// The environment's start has succeeded.
    pub(super) fn started(self: &Arc<Shell>, id: EnvironmentId, handle: Handle, init: ColdStart) {
        if let Some(entry) = self.lock().entries.get_mut(&id) {
            entry.handle = Some(handle);
            entry.init = Some(init);
        }
        self.ready(id);
    }

    /// The runtime waits for its next event.
    pub(super) fn ready(self: &Arc<Shell>, id: EnvironmentId) {
        let now = self.common.rt.instant();
        loop {
            let mut inner = self.lock();
            self.note_strain(&mut inner, now);
            let free = inner.pool.ready(id, now);
            match free {
                Free::Use(ticket) => {
                    let sender = inner.waiting.remove(&ticket);
                    let grant = inner.grant(id, None);
                    drop(inner);
                    if sender.is_some_and(|sender| sender.send(grant).is_ok()) {
                        return;
                    }
                    // Whoever waited is gone; the environment is free again.
                    self.lock().pool.responded(id, now);
                }
                Free::Stop => {
                    let entry = inner.entries.remove(&id);
                    let wanted = inner.pool.wanted();
                    drop(inner);
                    end(entry, ShutdownReason::Spindown);
                    self.replace(wanted);
                    return;
                }
                Free::Idle | Free::Unknown => return,
            }
        }
    }

    /// Tells a pool that has many at work whether the server is under strain.
    pub(super) fn note_strain(&self, inner: &mut Inner, now: Instant) {
        if inner.pool.is_busy() {
            inner.pool.set_strained(self.common.config.strain.is_strained(now));
        }
    }

    /// The runtime has answered.
    pub(super) fn responded(&self, id: EnvironmentId, until: Instant) {
        self.lock().pool.responded(id, until);
    }

    /// The start failed: who waits for it, if anybody.
    pub(super) fn claim(&self, id: EnvironmentId) -> Option<oneshot::Sender<Grant>> {
        let mut inner = self.lock();
        let ticket = inner.pool.claim(id)?;
        inner.waiting.remove(&ticket)
    }

    /// The repeated start has succeeded; the one who claimed it gets the environment.
    pub(super) fn grant_claimed(
        self: &Arc<Shell>,
        id: EnvironmentId,
        handle: Handle,
        sender: oneshot::Sender<Grant>,
        grant: Grant,
    ) {
        if let Some(entry) = self.lock().entries.get_mut(&id) {
            entry.handle = Some(handle);
        }
        if sender.send(grant).is_err() {
            self.responded(id, self.common.rt.instant());
            self.ready(id);
        }
    }

    /// The environment is about to end by itself: nobody gets it any more.
    pub(super) fn leaves(self: &Arc<Shell>, id: EnvironmentId) {
        let mut inner = self.lock();
        let wanted = inner.pool.gone(id);
        drop(inner);
        self.replace(wanted);
    }

    /// The environment has ended. Others are started for those who still wait.
    pub(super) fn gone(self: &Arc<Shell>, id: EnvironmentId) {
        let mut inner = self.lock();
        let entry = inner.entries.remove(&id);
        let wanted = inner.pool.gone(id);
        drop(inner);
        // One that came up and ended before it served anybody is no better than one that did not.
        if entry.as_ref().is_some_and(|entry| entry.init.is_some()) {
            self.provisioning_failed();
        }
        // The worker has left it.
        if let Some(handle) = entry.and_then(|entry| entry.handle) {
            handle.control.kill();
        }
        self.replace(wanted);
    }

    fn replace(self: &Arc<Shell>, wanted: usize) {
        for _ in 0..wanted {
            if self.start_on_demand() {
                continue;
            }
            let mut inner = self.lock();
            let Some(ticket) = inner.pool.first_impatient() else { break };
            inner.pool.withdraw(ticket);
            let sender = inner.waiting.remove(&ticket);
            drop(inner);
            let error = self.throttled(Throttle::ConcurrentInvocationLimitExceeded);
            if let Some(sender) = sender {
                // If nobody listens any more, nobody needs to be told.
                let _ = sender.send(Grant::Refused(error));
            }
        }
        self.top_up();
    }

    /// Ends what is not worth keeping or never came back. Whether the pool is empty and closed.
    pub(super) fn sweep(self: &Arc<Shell>, now: Instant, keep: &Keep) -> bool {
        let mut inner = self.lock();
        let idle = inner.pool.reap(now, keep);
        let overdue = inner.pool.overdue(now);
        let mut take = |ids: Vec<EnvironmentId>| -> Vec<_> {
            ids.iter().map(|id| inner.entries.remove(id)).collect()
        };
        let (idle, overdue) = (take(idle), take(overdue));
        if inner.pool.missing() == 0 {
            inner.provisioning.recover_with_time(now);
        }
        let wanted = inner.pool.wanted();
        let closed = inner.pool.close_if_empty();
        if closed {
            self.remember(&inner);
        }
        drop(inner);
        self.common.figures.environments_let_go.add(idle.len() as u64);
        idle.into_iter().for_each(|entry| end(entry, ShutdownReason::Spindown));
        overdue.into_iter().for_each(|entry| end(entry, ShutdownReason::Timeout));
        self.replace(wanted);
        closed
    }

    /// Those that are to be stopped by [`Shell::freeze`], the longest idle first.
    pub(super) fn freezable(&self, now: Instant) -> Vec<EnvironmentId> {
        let inner = self.lock();
        let is_due = |since| now.saturating_duration_since(since) >= FREEZE_AFTER;
        let idle = inner.pool.idle().map(|(id, _)| id);
        idle.filter(|id| inner.pool.idle_since(*id).is_some_and(is_due)).collect()
    }

    /// Stops an environment if it is still idle and has been for long enough.
    pub(super) fn freeze(&self, id: EnvironmentId) {
        let now = self.common.rt.instant();
        let mut inner = self.lock();
        let is_due = |since| now.saturating_duration_since(since) >= FREEZE_AFTER;
        if !inner.pool.idle_since(id).is_some_and(is_due) {
            return;
        }
        let Some(entry) = inner.entries.get_mut(&id) else { return };
        let Some(handle) = &entry.handle else { return };
        handle.recorder.hub().set_frozen(true);
        handle.control.set_frozen(true);
        entry.frozen = true;
        inner.pool.rests(id);
    }

    /// The snapshot is no longer current.
    pub(super) fn retire(&self) {
        let mut inner = self.lock();
        let out = inner.pool.retire();
        self.remember(&inner);
        let entries: Vec<_> = out.iter().map(|id| inner.entries.remove(id)).collect();
        drop(inner);
        entries.into_iter().for_each(|entry| end(entry, ShutdownReason::Spindown));
    }

    /// Leaves to the function what the pool has learnt.
    fn remember(&self, inner: &Inner) {
        if self.tenant.is_none() {
            let history = inner.pool.history().clone().kept();
            self.function.remember(&self.version.version, history);
        }
    }

    /// Takes this environment out if it is idle, and gives its room back. What is returned is still to
    /// be ended.
    pub(super) fn evict(&self, id: EnvironmentId) -> Option<Handle> {
        let mut inner = self.lock();
        let entry = if inner.pool.evict(id) { inner.entries.remove(&id) } else { None };
        drop(inner);
        leave(entry)
    }

    /// The idle environments that may make room for others.
    pub(super) fn idle(&self, now: Instant) -> Vec<IdleEnvironment> {
        let memory_mb = self.version.memory_mb;
        let idle = self.lock().pool.evictable(now, &self.common.keep);
        let environment = |one: Evictable| {
            let Evictable { id, worth, .. } = one;
            IdleEnvironment { id, worth, memory_mb }
        };
        idle.into_iter().map(environment).collect()
    }

    /// Whether anything is running, starting or waiting.
    pub(super) fn is_working(&self) -> bool {
        self.lock().pool.is_working()
    }

    /// Ends all environments, whatever they do.
    pub(super) fn end_all(&self) {
        let handles: Vec<_> =
            self.lock().entries.values().filter_map(|entry| entry.handle.clone()).collect();
        handles.iter().for_each(|handle| handle.end(ShutdownReason::Spindown));
    }

    /// Whether there are environments that take their time to end.
    pub(super) fn is_saying_goodbye(&self) -> bool {
        if self.farewells.load(Ordering::Relaxed) > 0 {
            return true;
        }
        let inner = self.lock();
        let mut handles = inner.entries.values().filter_map(|entry| entry.handle.as_ref());
        handles.any(|handle| handle.desk.has_extensions())
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Stops what has been idle for a while. Under the lock, so that none of it is handed out.
    /// The pool says that this environment serves a request now, which began at that time if it has not
    /// waited.
    pub(super) fn grant(&mut self, id: EnvironmentId, mut since: Option<Instant>) -> Grant {
        let entry = self.entries.get_mut(&id).expect("the pool names only environments there are");
        let init = entry.init.take();
        let handle = entry.handle.clone().expect("the pool names only environments that started");
        self.provisioning.recover();
        if std::mem::take(&mut entry.frozen) {
            handle.control.set_frozen(false);
            handle.recorder.hub().set_frozen(false);
            // Thawing is not the function's time.
            since = None;
        }
        Grant::Use { handle, init, since }
    }
}

/// What has left the pool: its room is free, or will be when its extensions have had their last words.
fn leave(entry: Option<Entry>) -> Option<Handle> {
    let Some(Entry { handle: Some(handle), room, .. }) = entry else { return None };
    if handle.desk.has_extensions() {
        *handle.farewell.lock().unwrap_or_else(PoisonError::into_inner) = Some(room);
    }
    Some(handle)
}

fn end(entry: Option<Entry>, reason: ShutdownReason) {
    if let Some(handle) = leave(entry) {
        handle.end(reason);
    }
}
