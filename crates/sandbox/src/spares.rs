//! The spares that the spawner keeps: environments whose program has started before it is known what
//! for.
//!
//! The daemon says which kinds there are and how many of each are wanted; this remembers, counts and
//! chooses. One of a kind is being started at a time. It is at hand as soon as its program has sent
//! something on its stream, which it does when it has loaded itself, and is given up when that takes too
//! long. A spare serves one launch, and is ended when it is not wanted any more; none ever goes back.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use crate::channel::is_readable;
use crate::machine::Waiting;
use crate::patience::Patience;
use crate::protocol::Spec;

/// Kinds of spares that there can be at a time.
pub const SPARE_KINDS_MAX: usize = 64;
/// Spares of one kind that can be wanted, and environments that can be ready beyond the usual number.
pub const AHEAD_MAX: u32 = 512;
/// Spares of one kind in a row that may break before no further is tried until the kind is asked for
/// again.
pub(crate) const FAILURES_MAX: u32 = 3;

/// So many are being started at a time, of different kinds: one that does not come up keeps no other kind
/// from being made.
const STARTING_MAX: usize = 2;

/// What spares of one kind are started with.
struct Kind {
    id: u64,
    spec: Spec,
    wanted: usize,
    /// Whether they are copied from one that stands as a template.
    copied: bool,
    failures: u32,
}

/// A spare, starting or at hand.
pub(crate) struct Spare {
    pub(crate) kind: u64,
    pub(crate) waiting: Waiting,
    /// Our ends, which go to the daemon with the environment.
    pub(crate) output: OwnedFd,
    pub(crate) stream: OwnedFd,
    is_at_hand: bool,
    /// With its program, until it has loaded itself.
    patience: Patience,
}

impl Spare {
    pub(crate) fn starting(
        kind: u64,
        waiting: Waiting,
        [output, stream]: [OwnedFd; 2],
        loads_in: Duration,
    ) -> Spare {
        let mut patience = Patience::of(loads_in);
        patience.begin();
        Spare { kind, waiting, output, stream, is_at_hand: false, patience }
    }

    /// Whether its program has loaded itself.
    pub(crate) fn is_at_hand(&self) -> bool {
        self.is_at_hand
    }
}

/// All of them.
#[derive(Default)]
pub(crate) struct Spares {
    kinds: Vec<Kind>,
    /// The oldest first.
    list: Vec<Spare>,
}

impl Spares {
    /// So many of a kind are wanted from now on. Those that were started with something else, which are to
    /// be ended; those that are too many are let go one by one ([`Spares::take_surplus`]).
    pub(crate) fn keep(
        &mut self,
        id: u64,
        spec: Spec,
        count: u32,
        copied: bool,
    ) -> Result<Vec<Spare>, String> {
        if count > AHEAD_MAX {
            return Err(format!("{count} spares of one kind"));
        }
        let out = match self.is_as_before(id, &spec) {
            true => Vec::new(),
            false => self.remove_where(|spare| spare.kind == id),
        };
        let list = &self.list;
        let has_some = |id: u64| list.iter().any(|spare| spare.kind == id);
        self.kinds.retain(|kind| kind.id != id && (kind.wanted > 0 || has_some(kind.id)));
        let wanted = count as usize;
        if wanted > 0 && self.kinds.iter().filter(|kind| kind.wanted > 0).count() >= SPARE_KINDS_MAX
        {
            return Err(format!("more than {SPARE_KINDS_MAX} kinds of spares"));
        }
        if wanted > 0 || has_some(id) {
            self.kinds.push(Kind { id, spec, wanted, copied, failures: 0 });
        }
        Ok(out)
    }

    /// One that is too many, which is to be ended: the oldest of its kind. See [`Spares::surplus`].
    pub(crate) fn take_surplus(&mut self, most: usize) -> Option<Spare> {
        let id = self.surplus(most)?;
        let at = self.list.iter().position(|spare| spare.kind == id)?;
        Some(self.list.remove(at))
    }

    /// A kind of which there are more than are wanted, or than `most`.
    pub(crate) fn surplus(&self, most: usize) -> Option<u64> {
        let is_over = |kind: &&Kind| self.count(kind.id) > kind.wanted.min(most);
        self.kinds.iter().find(is_over).map(|kind| kind.id)
    }

    /// Whether spares of this kind, if there are any, have been started with this.
    pub(crate) fn is_as_before(&self, id: u64, spec: &Spec) -> bool {
        self.kinds.iter().all(|kind| kind.id != id || kind.spec == *spec)
    }

    /// The kind of which the next one is to be made, that which has the fewest; and whether it is to be
    /// copied.
    pub(crate) fn missing(&self) -> Option<(u64, &Spec, bool)> {
        let starting = |spare: &&Spare| !spare.is_at_hand;
        if self.list.iter().filter(starting).count() >= STARTING_MAX {
            return None;
        }
        let is_starting =
            |kind: u64| self.list.iter().filter(starting).any(|spare| spare.kind == kind);
        let wanting = self.kinds.iter().filter(|kind| {
            kind.failures < FAILURES_MAX
                && self.count(kind.id) < kind.wanted
                && !is_starting(kind.id)
        });
        wanting
            .min_by_key(|kind| self.count(kind.id))
            .map(|kind| (kind.id, &kind.spec, kind.copied))
    }

    pub(crate) fn add(&mut self, spare: Spare) {
        self.list.push(spare);
    }

    /// One that can become an environment of this spec; one that still starts is nearer to it than
    /// nothing.
    pub(crate) fn take(&mut self, id: u64, spec: &Spec) -> Option<(Spare, Spec)> {
        let kind = self.kinds.iter().find(|kind| kind.id == id)?;
        spec.left_to_attach(&kind.spec)?;
        let prepared = kind.spec.clone();
        let of_kind = |spare: &Spare| spare.kind == id;
        let at = self.list.iter().position(|spare| of_kind(spare) && spare.is_at_hand);
        let at = at.or_else(|| self.list.iter().position(of_kind))?;
        Some((self.list.remove(at), prepared))
    }

    /// What spares of this kind are started with.
    pub(crate) fn prepared(&self, id: u64) -> Option<Spec> {
        self.kinds.iter().find(|kind| kind.id == id).map(|kind| kind.spec.clone())
    }

    /// The program of this spare has loaded itself.
    pub(crate) fn has_loaded(&mut self, pid: i32) -> Option<&mut Spare> {
        let spare = self.list.iter_mut().find(|spare| spare.waiting.pid == pid)?;
        spare.is_at_hand = true;
        let id = spare.kind;
        if let Some(kind) = self.kinds.iter_mut().find(|kind| kind.id == id) {
            kind.failures = 0;
        }
        Some(spare)
    }

    /// Whether the program of this spare has loaded itself, and its environment has said nothing since.
    pub(crate) fn is_well(&self, pid: i32) -> bool {
        let spare = self.list.iter().find(|spare| spare.waiting.pid == pid);
        spare.is_some_and(|spare| spare.is_at_hand && !is_readable(spare.waiting.control.as_fd()))
    }

    /// This spare has broken. Whether its kind is tried again: one that had loaded itself says nothing
    /// of the next one.
    pub(crate) fn has_broken(&mut self, pid: i32) -> Option<(Spare, bool)> {
        let at = self.list.iter().position(|spare| spare.waiting.pid == pid)?;
        let spare = self.list.remove(at);
        let kind = self.kinds.iter_mut().find(|kind| kind.id == spare.kind);
        let goes_on = kind.is_none_or(|kind| {
            kind.failures += u32::from(!spare.is_at_hand);
            kind.failures < FAILURES_MAX
        });
        Some((spare, goes_on))
    }

    /// The last one of this kind that has broken did not break as a spare that is started does.
    pub(crate) fn is_forgiven(&mut self, id: u64) {
        if let Some(kind) = self.kinds.iter_mut().find(|kind| kind.id == id) {
            kind.failures = kind.failures.saturating_sub(1);
        }
    }

    /// One of this kind could not even be begun.
    pub(crate) fn has_failed(&mut self, id: u64) {
        if let Some(kind) = self.kinds.iter_mut().find(|kind| kind.id == id) {
            kind.failures += 1;
        }
    }

    pub(crate) fn at_hand(&self, kind: u64) -> usize {
        self.list.iter().filter(|spare| spare.kind == kind && spare.is_at_hand).count()
    }

    pub(crate) fn count(&self, kind: u64) -> usize {
        self.list.iter().filter(|spare| spare.kind == kind).count()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Waiting> {
        self.list.iter().map(|spare| &spare.waiting)
    }

    /// What tells that one has ended or broken, or has taken too long, and what tells that it has loaded itself
    /// (which is not asked of one that has), with its process id.
    pub(crate) fn watched(&self) -> impl Iterator<Item = (i32, BorrowedFd<'_>, bool)> {
        self.list.iter().flat_map(|spare| {
            let pid = spare.waiting.pid;
            let stream = (!spare.is_at_hand).then(|| (pid, spare.stream.as_fd(), true));
            let late = spare.patience.watched().map(move |timer| (pid, timer, false));
            let late = late.filter(|_| !spare.is_at_hand);
            std::iter::once((pid, spare.waiting.control.as_fd(), false)).chain(stream).chain(late)
        })
    }

    fn remove_where(&mut self, mut condition: impl FnMut(&Spare) -> bool) -> Vec<Spare> {
        let (out, left) = std::mem::take(&mut self.list).into_iter().partition(|s| condition(s));
        self.list = left;
        out
    }
}
