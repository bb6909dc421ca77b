//! Which snapshots of SnapStart there are, and which are to be: a snapshot is a *template*, an
//! environment that has been initialized, stands still, and has others forked from it (`template` makes
//! and keeps one).
//!
//! What was forked from a template lives in it: its processes are in the template's namespace, and the
//! function may use the template's credentials. So a template that is not wanted any more ends with the
//! last environment of it.
//!
//! A template counts in the machine's budget like any idle environment and, when nothing lives in it,
//! gives way like one. One that is lost (evicted, dead, the runtime replaced) is made again while there is room that nobody needs;
//! until then environments of its version are initialized in the ordinary way. The first snapshot of a
//! version is not this module's: it decides what becomes of the version.
//!
//! What is here decides and remembers; nothing waits.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lambic_rt::Instant;

use super::launcher::Edition;
use super::place::IdleEnvironment;
use super::room::Room;
use super::shell::Handle;
use super::worker::OpenSession;
use super::worth::{Policy, Worth};
use crate::runtime_api::extensions::ShutdownReason;
use crate::runtimes::plan::Made;
use crate::state::version::Version;

/// As on AWS: a snapshot that nobody has used for so long is let go.
const UNUSED_MAX: Duration = Duration::from_secs(14 * 24 * 3_600);
/// Made again at a time.
const AT_ONCE_MAX: usize = 2;
/// After a first template that was lost or could not be made; twice as long after each further one.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// After one that made room for others.
const EVICTED_FOR: Duration = Duration::from_secs(60);
/// Forks in a row that fail before a template is made anew: what the sandbox has failed with once it
/// does not try again.
const FORKS_FAILED_MAX: u32 = 1;

/// Reasons that are told of one version.
const TOLD_MAX: usize = 8;

/// Why there is no snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SnapshotFault {
    /// The function cannot be initialized, and why, in AWS's words where it has some.
    Function(String),
    /// It may be another time.
    Platform(String),
}

impl SnapshotFault {
    /// The function's code or its hooks failed.
    pub fn of_function() -> SnapshotFault {
        SnapshotFault::Function("An error occurred during function initialization.".to_owned())
    }
}

/// A version whose snapshot is to be there.
#[derive(Clone)]
pub struct Wanted {
    /// Which one.
    pub version: Arc<Version>,
    /// Whether it could be initialized before.
    pub is_taken: bool,
}

/// Why nothing could be forked from a template.
#[derive(Clone, Copy, Debug)]
pub(super) enum Unforked<'a> {
    /// It has what a fork cannot have; so has any that is initialized in the same way.
    Unfit(&'a str),
    /// It may be another time, or from another one.
    Failed(&'a str),
}

/// What a template has been made of; others can be forked from it as long as theirs is the same.
#[derive(PartialEq, Eq)]
pub(super) struct MadeOf {
    binds: Vec<(std::path::PathBuf, String)>,
    argv: Vec<String>,
    env: Vec<(String, String)>,
    edition: Edition,
}

impl MadeOf {
    pub(super) fn new(made: &Made) -> MadeOf {
        let plan = &made.plan;
        let (binds, argv, env) = (plan.binds.clone(), plan.argv.clone(), plan.env.clone());
        MadeOf { binds, argv, env, edition: made.edition }
    }
}

/// A template that stands.
pub(super) struct Standing {
    /// By which the sandbox knows it.
    pub(super) number: u64,
    /// What its function, and every one that is forked from it, names to get credentials.
    pub(super) token: Arc<str>,
    /// Functions may have kept the credentials that were in the snapshot.
    pub(super) _session: OpenSession,
    pub(super) made_of: MadeOf,
    pub(super) handle: Handle,
    pub(super) _room: Room,
    pub(super) since: Instant,
    /// How long its initialization took.
    pub(super) saves: Duration,
}

impl Drop for Standing {
    /// Nothing is forked from it any more, and nothing lives in it. Its room is free at once, as that of
    /// any environment that makes room.
    fn drop(&mut self) {
        self.handle.end(ShutdownReason::Spindown);
    }
}

struct Kept {
    version: Arc<Version>,
    is_taken: bool,
    standing: Option<Arc<Standing>>,
    is_making: bool,
    used: Instant,
    failures: u32,
    forks_failed: u32,
    not_before: Option<Instant>,
    /// Nothing can ever be forked from a template of it.
    is_unfit: bool,
    /// Why nothing could be, each told once.
    told: Vec<String>,
}

impl Kept {
    fn new(version: Arc<Version>, is_taken: bool, now: Instant) -> Kept {
        Kept {
            version,
            is_taken,
            standing: None,
            is_making: false,
            used: now,
            failures: 0,
            forks_failed: 0,
            not_before: None,
            is_unfit: false,
            told: Vec::new(),
        }
    }

    fn retry_later(&mut self, now: Instant) {
        self.not_before = Some(now + RETRY_AFTER * 2_u32.pow(self.failures.min(9)));
        self.failures += 1;
    }

    /// Whether one is to be made, now that nothing speaks against it but room.
    fn is_missing(&self, now: Instant, lifetime_max: Duration) -> bool {
        let old = |standing: &Arc<Standing>| {
            now.saturating_duration_since(standing.since) >= lifetime_max
        };
        self.is_taken
            && !self.is_unfit
            && !self.is_making
            && self.standing.as_ref().is_none_or(old)
            && self.not_before.is_none_or(|at| at <= now)
            && now.saturating_duration_since(self.used) < UNUSED_MAX
    }
}

/// See the module.
pub(crate) struct Templates {
    is_possible: bool,
    lifetime_max: Duration,
    is_over: AtomicBool,
    kept: Mutex<HashMap<u64, Kept>>,
}

impl Templates {
    pub(super) fn new(is_possible: bool, lifetime_max: Duration) -> Templates {
        let (is_over, kept) = Default::default();
        Templates { is_possible, lifetime_max, is_over, kept }
    }

    pub(super) fn are_possible(&self) -> bool {
        self.is_possible
    }

    /// So many stand.
    pub(super) fn standing(&self) -> usize {
        self.lock().values().filter(|kept| kept.standing.is_some()).count()
    }

    /// These are to be there, and no others.
    pub(super) fn want(&self, wanted: Vec<Wanted>, now: Instant) {
        let mut kept = self.lock();
        let all: HashSet<u64> = wanted.iter().map(|wanted| wanted.version.generation).collect();
        kept.retain(|generation, _| all.contains(generation));
        for Wanted { version, is_taken } in wanted {
            let fresh = || Kept::new(version.clone(), is_taken, now);
            let known = kept.entry(version.generation).or_insert_with(fresh);
            (known.version, known.is_taken) = (version, is_taken);
        }
    }

    /// The template to fork an environment of this version from, which is used now.
    pub(super) fn of(&self, generation: u64, now: Instant) -> Option<Arc<Standing>> {
        let mut kept = self.lock();
        let known = kept.get_mut(&generation)?;
        known.used = now;
        known.standing.clone()
    }

    /// Those that are to be made now; each is told of with [`Templates::made`] or
    /// [`Templates::not_made`].
    pub(super) fn due(&self, now: Instant) -> Vec<Arc<Version>> {
        if !self.is_possible || self.is_over.load(Ordering::Relaxed) {
            return Vec::new();
        }
        let mut kept = self.lock();
        for known in kept.values_mut() {
            let is_unused = now.saturating_duration_since(known.used) >= UNUSED_MAX;
            known.standing.take_if(|_| is_unused);
        }
        let making = kept.values().filter(|known| known.is_making).count();
        let missing = kept.values_mut().filter(|known| known.is_missing(now, self.lifetime_max));
        let mut missing: Vec<&mut Kept> = missing.collect();
        // Those that were used last come first.
        missing.sort_by_key(|known| (std::cmp::Reverse(known.used), known.version.generation));
        let next = missing.into_iter().take(AT_ONCE_MAX.saturating_sub(making));
        next.map(|known| {
            known.is_making = true;
            known.version.clone()
        })
        .collect()
    }

    /// It is made for the first time.
    pub(super) fn begins(&self, version: &Arc<Version>, now: Instant) {
        let fresh = || Kept::new(version.clone(), false, now);
        self.lock().entry(version.generation).or_insert_with(fresh).is_making = true;
    }

    /// Whether it is being made, and still wanted.
    pub(super) fn is_making(&self, generation: u64) -> bool {
        let is_over = self.is_over.load(Ordering::Relaxed);
        !is_over && self.lock().get(&generation).is_some_and(|known| known.is_making)
    }

    /// It stands. If it is not wanted any more, it ends.
    pub(super) fn made(&self, generation: u64, standing: Arc<Standing>, now: Instant) {
        let mut kept = self.lock();
        let is_over = self.is_over.load(Ordering::Relaxed);
        let Some(known) = kept.get_mut(&generation).filter(|_| !is_over) else { return };
        (known.is_making, known.forks_failed, known.not_before) = (false, 0, None);
        if known.standing.is_none() {
            known.used = known.used.max(now);
        }
        // One that was begun before that was known ends.
        known.standing = Some(standing).filter(|_| !known.is_unfit);
    }

    /// It could not be made.
    pub(super) fn not_made(&self, generation: u64, now: Instant) {
        if let Some(known) = self.lock().get_mut(&generation) {
            known.is_making = false;
            known.retry_later(now);
        }
    }

    /// An environment was forked from it.
    pub(super) fn forked(&self, generation: u64) {
        if let Some(known) = self.lock().get_mut(&generation) {
            (known.forks_failed, known.failures) = (0, 0);
        }
    }

    /// None could be. After some it is made anew, unless nothing ever comes of that. Whether the reason is
    /// to be told.
    pub(super) fn not_forked(
        &self,
        generation: u64,
        number: u64,
        unforked: Unforked<'_>,
        now: Instant,
    ) -> bool {
        let mut kept = self.lock();
        let Some(known) = kept.get_mut(&generation) else { return false };
        // Others that were waiting for the same template only hear that there is none any more.
        let was_unfit = known.is_unfit;
        known.forks_failed += 1;
        let is_it = |standing: &mut Arc<Standing>| standing.number == number;
        let (why, is_broken) = match unforked {
            Unforked::Unfit(why) => (why, true),
            Unforked::Failed(why) => (why, known.forks_failed >= FORKS_FAILED_MAX),
        };
        if is_broken && known.standing.take_if(is_it).is_some() {
            known.retry_later(now);
        }
        known.is_unfit |= matches!(unforked, Unforked::Unfit(_));
        // Reasons are few; what is not is not worth remembering.
        let is_new = known.told.len() < TOLD_MAX && !known.told.iter().any(|told| told == why);
        if is_new && !was_unfit {
            known.told.push(why.to_owned());
        }
        is_new && !was_unfit
    }

    /// It is not what environments of its version are made of any more, or has ended.
    pub(super) fn lost(&self, generation: u64, number: u64, now: Instant) {
        let mut kept = self.lock();
        let Some(known) = kept.get_mut(&generation) else { return };
        if known.standing.take_if(|standing| standing.number == number).is_some() {
            known.retry_later(now);
        }
    }

    /// Those that may make room for environments.
    pub(super) fn evictable(&self, now: Instant, policy: Policy) -> Vec<IdleEnvironment> {
        let kept = self.lock();
        let idle = |known: &Kept| {
            let standing = known.standing.as_ref().filter(|standing| is_alone(standing))?;
            let (id, memory_mb) = (standing.number, known.version.memory_mb);
            let unused_s = now.saturating_duration_since(known.used).as_secs_f32();
            let worth = match policy {
                Policy::Fixed => Worth(-unused_s),
                // It saves an initialization about once in the time that it was not used for.
                Policy::Worth => {
                    let gigabytes = memory_mb.max(1) as f32 / 1_024.0;
                    Worth(standing.saves.as_secs_f32() / unused_s.max(1.0) / gigabytes)
                }
            };
            Some(IdleEnvironment { id, worth, memory_mb })
        };
        kept.values().filter_map(idle).collect()
    }

    /// Ends this one, if it is there. Whether it was.
    pub(super) fn evict(&self, number: u64, now: Instant) -> bool {
        let mut kept = self.lock();
        for known in kept.values_mut() {
            let is_it = |it: &mut Arc<Standing>| it.number == number && is_alone(it);
            if known.standing.take_if(is_it).is_some() {
                known.not_before = Some(now + EVICTED_FOR);
                return true;
            }
        }
        false
    }

    /// The function is gone: so are its templates.
    pub(super) fn retire(&self, is_current: impl Fn(&Version) -> bool) {
        self.lock().retain(|_, known| is_current(&known.version));
    }

    /// Ends all, for good.
    pub(super) fn end_all(&self) {
        self.is_over.store(true, Ordering::Relaxed);
        let ended = std::mem::take(&mut *self.lock());
        ended.values().filter_map(|kept| kept.standing.as_ref()).for_each(|standing| {
            standing.handle.end(ShutdownReason::Spindown);
        });
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether no environment lives in it; asked while nobody can begin to.
fn is_alone(standing: &Arc<Standing>) -> bool {
    Arc::strong_count(standing) == 1
}
