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
    /// Uses up to this moment may have been forgotten; an older mark no longer tells anything.
    forgotten_through: u64,
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
            None => mark.0 >= self.forgotten_through,
        }
    }

    /// Nothing with this digest is left.
    pub(super) fn forget(&mut self, digest: &Digest) {
        self.used.remove(digest);
    }

    /// Forgets every use that no removal from `mark` on would spare. Otherwise each package that
    /// was ever held, and be it a broken one, would be remembered for ever.
    pub(super) fn forget_through(&mut self, mark: Mark) {
        self.forgotten_through = self.forgotten_through.max(mark.0);
        self.used.retain(|_, used| used.holds > 0 || used.last > mark.0);
    }

    fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }

    fn of(&mut self, digest: &Digest) -> &mut Use {
        self.used.entry(digest.clone()).or_default()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use bytes::Bytes;
    use lambic_rt::Rt;

    use super::*;
    use crate::Store;

    #[tokio::test]
    async fn a_sweep_forgets_what_was_never_stored() {
        let store = Store::in_memory(Rt::real()).unwrap();
        let blobs = store.blobs();
        let remembered = || blobs.inner.uses.lock().used.len();
        for number in 0..100 {
            drop(blobs.hold(&Digest::of(format!("broken {number}").as_bytes())));
        }
        let kept = blobs.put(Bytes::from_static(b"kept")).await.unwrap();
        let held = blobs.hold(&Digest::of(b"held"));
        assert_eq!(remembered(), 102);
        let older = blobs.mark();
        let again = blobs.put(Bytes::from_static(b"again")).await.unwrap();
        let mark = blobs.mark();
        let after = blobs.put(Bytes::from_static(b"after")).await.unwrap();
        let referenced = HashSet::from([kept, again.clone()]);
        blobs.sweep(referenced, mark).await.unwrap();
        assert_eq!(remembered(), 2, "what is held, and what came after the mark");
        // An older mark does not know of a use that is forgotten.
        assert_eq!(blobs.remove(&again, older).await, Ok(false));
        assert_eq!(blobs.remove(&again, blobs.mark()).await, Ok(true));
        assert_eq!(blobs.remove(&after, blobs.mark()).await, Ok(true));
        drop(held);
    }
}
