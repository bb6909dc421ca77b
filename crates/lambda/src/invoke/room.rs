//! Room on the machine: taken for each environment and each template before it is made, given back when it
//! is gone. What decides is [`place`].

use std::sync::{Arc, PoisonError};

use super::{Common, place, spares};

/// Room on the machine for one environment; dropping it gives the room back.
pub(super) struct Room {
    common: Arc<Common>,
    memory_mb: u32,
}

impl Room {
    /// Room for one more environment of this size, idle ones giving way. `None`: there is none.
    pub(super) fn make(common: &Arc<Common>, memory_mb: u32) -> Option<Room> {
        common.make_room(memory_mb).then(|| Room { common: common.clone(), memory_mb })
    }

    /// The same without any giving way.
    pub(super) fn free(common: &Arc<Common>, memory_mb: u32) -> Option<Room> {
        common.take_free_room(memory_mb).then(|| Room { common: common.clone(), memory_mb })
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.common.give_room_back(self.memory_mb);
    }
}

impl Common {
    /// Takes room for one more environment of this size, idle ones of others giving way.
    /// `false`: there is none.
    pub(crate) fn make_room(&self, memory_mb: u32) -> bool {
        // Twice, because an idle environment may have been taken for work in between.
        for _ in 0..2 {
            let pools = self.all_pools();
            let mut idle = self.templates.evictable();
            idle.extend(pools.iter().flat_map(|shell| shell.idle()));
            let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
            match place::place(self.config.budget, *used, memory_mb, idle) {
                place::Placement::Start => {
                    *used = used.plus(memory_mb);
                    self.figures.environments_are(*used);
                    let room = spares::room(self.config.budget, *used);
                    drop(used);
                    if self.spares.are_too_many(room) {
                        self.review_spares();
                    }
                    return true;
                }
                place::Placement::Full => return false,
                place::Placement::Evict(ids) => {
                    drop(used);
                    for id in ids {
                        let now = self.rt.instant();
                        let _ = pools.iter().any(|shell| shell.evict(id))
                            || self.templates.evict(id, now);
                    }
                }
            }
        }
        false
    }

    /// Takes room for one more environment of this size that nobody has to give way for.
    pub(crate) fn take_free_room(&self, memory_mb: u32) -> bool {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let is_free = place::place(self.config.budget, *used, memory_mb, Vec::new());
        let is_free = is_free == place::Placement::Start;
        if is_free {
            *used = used.plus(memory_mb);
            self.figures.environments_are(*used);
        }
        is_free
    }

    pub(crate) fn give_room_back(&self, memory_mb: u32) {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        *used = used.minus(memory_mb);
        self.figures.environments_are(*used);
    }
}
