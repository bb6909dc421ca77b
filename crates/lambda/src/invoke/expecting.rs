//! What the invoke path sees of what is about to start, and has made ready for it.

use std::sync::Arc;
use std::time::Duration;

use lambic_rt::TaskKind;

use super::Common;
use super::figures::Figures;
use super::launcher::{Prepared, READY};
use super::spares::{self, Room};
use super::stock::Bounds;
use crate::runtimes::plan;
use crate::state::function::FunctionRecord;

impl Common {
    /// A function that is new or has just changed is about to be invoked: its kind of spares is in use,
    /// and one more of them is going to be.
    pub(super) fn expect(self: &Arc<Common>, record: &FunctionRecord) {
        let coming = record.updating.as_ref().unwrap_or(&record.running);
        let age = self.rt.now().micros() - coming.last_modified_micros;
        let age = Duration::from_micros(u64::try_from(age).unwrap_or(0));
        if !self.spares.prepare() || age >= self.config.idle_max {
            return;
        }
        let is_deployed = coming.last_modified_micros >= self.began.micros();
        let (common, coming, arn) = (self.clone(), coming.clone(), record.arn());
        let expected = async move {
            let kept = common.spares.are_kept();
            let prepared = if kept { plan::spare_of(&common, &coming).await } else { None };
            let kind = prepared.and_then(|prepared| common.spare_kind(&prepared, false));
            if is_deployed {
                let (kind, modified) = (kind.unwrap_or(READY), coming.last_modified_micros);
                common.spares.is_deployed(&arn, kind, modified, common.rt.instant());
            }
        };
        self.rt.spawn("spares for a new function", TaskKind::Request, expected).detach();
    }

    /// The kind of spares of this, which is in use now, by a start that takes one or not.
    pub(crate) fn spare_kind(&self, prepared: &Prepared, is_start: bool) -> Option<u64> {
        let (kind, is_new) = self.spares.used(prepared, is_start, self.rt.instant())?;
        if is_new {
            self.review_spares();
        }
        Some(kind)
    }

    /// Says how many spares are wanted and how many more are to be ready, where that has changed.
    pub(super) fn review_spares(&self) {
        let (budget, used) = (self.config.budget, self.used());
        let more = Bounds::new(self.config.spare_memory_mb_max, budget, used);
        let room = Room { spares: spares::room(budget, used), more };
        let orders = self.spares.review(self.rt.instant(), room);
        for keep in &orders.spares {
            if !self.launcher.keep_spares(keep.kind, &keep.prepared, keep.count) {
                self.spares.was_not_said(keep.kind);
            }
        }
        let ready = orders.ready_more;
        if ready.is_some_and(|more| !self.launcher.keep_ready(more)) {
            self.spares.was_not_said(READY);
        }
        if ready.is_some() || !orders.spares.is_empty() {
            for runtime in Figures::waiting_for() {
                self.figures.wait_for(runtime, self.spares.waiting(runtime));
            }
        }
    }

    /// A start that is not made from a spare, for a request.
    pub(super) fn is_plain_start(&self) {
        self.spares.is_plain_start(self.rt.instant());
    }

    /// So many of a kind wait now.
    pub(super) fn are_waiting(&self, kind: u64, count: usize) {
        let runtime = self.spares.are_at_hand(kind, count);
        // Of a kind that is not known any more nothing is told.
        if runtime.is_some() || kind == READY {
            self.figures.wait_for(runtime, self.spares.waiting(runtime));
        }
    }
}
