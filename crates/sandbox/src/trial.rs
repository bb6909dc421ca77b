//! Whether a barrier stands: always, except in the builds of our own trials.
//!
//! The suite of attempts to break out shows for each attempt that it is real (it gets through once
//! the barriers bound to it are away) and that each of those barriers stops it alone. For that,
//! and for nothing else, the feature `trial` lets a test take barriers away before it starts a
//! spawner. The program is built without it, and then there is no such switch.

use crate::barrier::BarrierKind;

#[cfg(not(feature = "trial"))]
pub(crate) const fn stands(_: BarrierKind) -> bool {
    true
}

#[cfg(feature = "trial")]
pub(crate) use with_trial::stands;
#[cfg(feature = "trial")]
pub use with_trial::take_away;

#[cfg(feature = "trial")]
mod with_trial {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::BarrierKind;

    static AWAY: AtomicU64 = AtomicU64::new(0);

    /// Leaves these barriers out of everything that this process and its children make from now on.
    pub fn take_away(kinds: &[BarrierKind]) {
        let bits = kinds.iter().fold(0, |bits, kind| bits | 1 << (*kind as u64));
        AWAY.store(bits, Ordering::Relaxed);
    }

    pub(crate) fn stands(kind: BarrierKind) -> bool {
        AWAY.load(Ordering::Relaxed) & 1 << (kind as u64) == 0
    }
}
