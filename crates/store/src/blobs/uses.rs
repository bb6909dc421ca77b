//! Who uses which blob, so that nothing is removed under somebody's hands.
//!
//! Removing what no record refers to races with an operation that stores the same contents anew:
//! it finds the blob there already, and commits its record a moment after the remover has looked
//! at the records. So removal is given a [`Mark`] that was taken *before* the records were read,
//! and spares every blob that was put, published or held since, or is held still.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use super::Digest;

/// A moment. Take it first, then read which blobs the records refer to, then remove the others.
#[derive(Clone, Copy, Debug)]
pub struct Mark(u64);

/// Keeps a blob from being removed. Take it before `put` or `publish` and keep it until the record
/// that refers to the blob is committed; an execution environment keeps one for its code. Cloning
/// is cheap.
#[derive(Clone)]
pub struct Hold {
    _guard: Arc<Guard>,
}

struct Guard {
    uses: Arc<Uses>,
    digest: Digest,
}

impl Drop for Guard {
    fn drop(&mut self) {
        let mut table = self.uses.lock();
        let moment = table.tick();
        let used = table.of(&self.digest);
        used.holds -= 1;
        used.last = moment;
    }
}

pub(super) struct Uses {
    table: Mutex<UseTable>,
}

#[derive(Default)]
pub(super) struct UseTable {
    clock: u64,
    used: HashMap<Digest, Use>,
}

#[derive(Default)]
struct Use {
    holds: usize,
    last: u64,
}

impl Uses {
    pub(super) fn new() -> Uses {
        Uses { table: Mutex::new(UseTable::default()) }
    }

    /// Blobs appear and go only while this is locked.
    pub(super) fn lock(&self) -> MutexGuard<'_, UseTable> {
        self.table.lock().expect("nothing panics while the uses are locked")
    }

    pub(super) fn hold(self: &Arc<Self>, digest: &Digest) -> Hold {
        self.lock().of(digest).holds += 1;
        Hold { _guard: Arc::new(Guard { uses: self.clone(), digest: digest.clone() }) }
    }
}

impl UseTable {
    pub(super) fn mark(&self) -> Mark {
        Mark(self.clock)
    }

    pub(super) fn touch(&mut self, digest: &Digest) {
        let moment = self.tick();
        self.of(digest).last = moment;
    }

    pub(super) fn may_remove(&self, digest: &Digest, mark: Mark) -> bool {
        match self.used.get(digest) {
            Some(used) => used.holds == 0 && used.last <= mark.0,
            None => true,
        }
    }

    /// Nothing with this digest is left.
    pub(super) fn forget(&mut self, digest: &Digest) {
        self.used.remove(digest);
    }

    fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }

    fn of(&mut self, digest: &Digest) -> &mut Use {
        self.used.entry(digest.clone()).or_default()
    }
}
