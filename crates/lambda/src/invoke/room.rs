//! Room on the machine: taken for a start, given back, and made ahead of need.
//!
//! What has to go is decided by [`place`]. A request that finds no room takes that of an idle
//! environment, and the environment is ended after the request's own start is on its way: the room is
//! a promise, which passes from one to the other at once, even if its extensions have yet to hear of it and
//! take their two seconds. As a rule there is room, because a part of the
//! budget is kept free by a task of its own.

use std::sync::{Arc, PoisonError};

use lambic_rt::TaskKind;

use super::place::{self, IdleEnvironment, Placement, Used};
use super::shell::{Handle, Shell};
use super::{Common, spares};
use crate::runtime_api::extensions::ShutdownReason;

/// Room for one environment; dropping it gives the room back.
pub(super) struct Room {
    common: Arc<Common>,
    memory_mb: u32,
}

impl Room {
    /// Room for one more environment of this size, idle ones giving way. `None`: there is none.
    pub(super) fn make(common: &Arc<Common>, memory_mb: u32) -> Option<Room> {
        common.make_room(memory_mb).then(|| Room { common: common.clone(), memory_mb })
    }

    /// The same without any giving way, now or ahead of need.
    pub(super) fn free(common: &Arc<Common>, memory_mb: u32) -> Option<Room> {
        let is_free = !common.config.budget.is_short(common.used().plus(memory_mb));
        let is_taken = is_free && common.take_room(memory_mb);
        is_taken.then(|| Room { common: common.clone(), memory_mb })
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.common.give_room_back(self.memory_mb);
    }
}

/// Starts the task that makes room ahead of need.
pub(super) fn keep_reserve(common: &Arc<Common>) {
    let (rt, is_short) = (common.rt.clone(), common.is_short.clone());
    let (mut shutdown, weak) = (rt.shutdown(), Arc::downgrade(common));
    let keeper = async move {
        loop {
            tokio::select! {
                () = shutdown.requested() => return,
                () = is_short.notified() => {}
            }
            let Some(common) = weak.upgrade() else { return };
            common.make_reserve();
        }
    };
    rt.spawn("room ahead of need", TaskKind::Essential, keeper).detach();
}

impl Common {
    /// Takes the room, if need be that of idle environments.
    fn make_room(&self, memory_mb: u32) -> bool {
        let mut going = Vec::new();
        let mut is_taken = self.take_room(memory_mb);
        // Twice, because an idle environment may have been taken for work in between.
        for _ in 0..2 {
            if is_taken {
                break;
            }
            let pools = self.all_pools();
            let (budget, used) = (self.config.budget, self.used());
            match place::place(budget, used, memory_mb, self.idle_of(&pools)) {
                Placement::Start => {}
                Placement::Evict(ids) => {
                    let evicted = self.evict(&pools, &ids);
                    evicted.iter().for_each(Handle::give_way);
                    going.extend(evicted);
                }
                Placement::Full => break,
            }
            is_taken = self.take_room(memory_mb);
        }
        self.see_off(going);
        is_taken
    }

    /// What the machine holds now.
    pub(super) fn used(&self) -> Used {
        *self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the room if it is there.
    fn take_room(&self, memory_mb: u32) -> bool {
        let budget = self.config.budget;
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        if place::place(budget, *used, memory_mb, Vec::new()) != Placement::Start {
            return false;
        }
        *used = used.plus(memory_mb);
        let now = *used;
        self.figures.environments_are(now);
        drop(used);
        if budget.is_short(now) {
            self.is_short.notify_one();
        }
        if self.spares.are_too_many(spares::room(budget, now)) {
            self.review_spares();
        }
        true
    }

    /// Ends idle environments until a part of the budget is free again.
    pub(super) fn make_reserve(&self) {
        let used = self.used();
        if !self.config.budget.is_short(used) {
            return;
        }
        let pools = self.all_pools();
        let ids = place::make_reserve(self.config.budget, used, self.idle_of(&pools));
        let going = self.evict(&pools, &ids);
        self.figures.environments_evicted.add(going.len() as u64);
        going.into_iter().for_each(|handle| handle.end(ShutdownReason::Spindown));
    }

    fn idle_of(&self, pools: &[Arc<Shell>]) -> Vec<IdleEnvironment> {
        let now = self.rt.instant();
        let mut idle = self.templates.evictable(now, self.keep.policy);
        idle.extend(pools.iter().flat_map(|shell| shell.idle(now)));
        idle
    }

    /// Takes them out of their pools; templates end at once.
    fn evict(&self, pools: &[Arc<Shell>], ids: &[u64]) -> Vec<Handle> {
        let now = self.rt.instant();
        let evict = |id: &u64| {
            let handle = pools.iter().find_map(|shell| shell.evict(*id));
            if handle.is_none() && self.templates.evict(*id, now) {
                self.figures.environments_evicted.add(1);
            }
            handle
        };
        ids.iter().filter_map(evict).collect()
    }

    /// Ends them when whoever needed their room has gone on.
    fn see_off(&self, going: Vec<Handle>) {
        if going.is_empty() {
            return;
        }
        self.figures.environments_evicted.add(going.len() as u64);
        let ending = async move {
            going.into_iter().for_each(|handle| handle.end(ShutdownReason::Spindown));
        };
        self.rt.spawn("eviction", TaskKind::Request, ending).detach();
    }

    fn give_room_back(&self, memory_mb: u32) {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        *used = used.minus(memory_mb);
        self.figures.environments_are(*used);
    }
}
