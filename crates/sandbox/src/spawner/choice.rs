//! What a launch that can be made from a spare is made from.

use super::Spawner;
use crate::protocol::Spec;
use crate::spares::Spare;

/// See the module.
pub(super) enum Choice {
    /// This one, and what it was started with.
    Taken(Box<(Spare, Spec)>),
    /// A copy of the zygote of this kind, which is to be made.
    Copied(u64),
    /// It is started by itself.
    Neither,
}

impl Spawner {
    /// One of the first kind, be it still to be copied, is better than one of the second; that one is
    /// better than nothing.
    pub(super) fn choose(&mut self, kind: u64, second: Option<u64>, spec: &Spec) -> Choice {
        for kind in [Some(kind), second].into_iter().flatten() {
            if let Some(taken) = self.spares.take(kind, spec) {
                return Choice::Taken(Box::new(taken));
            }
            if self.can_be_copied(kind, spec) {
                return Choice::Copied(kind);
            }
        }
        Choice::Neither
    }
}
