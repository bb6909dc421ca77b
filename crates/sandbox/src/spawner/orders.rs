//! What makers are asked for: environments for launches that found none ready, and those that are to be
//! ready for the next.

use std::os::fd::{AsFd, OwnedFd};

use super::{Spawner, UNWANTED};
use crate::machine::Waiting;
use crate::makers::Done;
use crate::protocol::{Mode, Origin, READY_KIND, Refusal, Reply, Spec};
use crate::{sys, unisolated};

/// A launch that found none ready. It has been checked.
pub(super) struct Expected {
    pub(super) id: u64,
    pub(super) spec: Spec,
    pub(super) given: Vec<OwnedFd>,
}

impl Spawner {
    /// Gives a launch an environment that is ready, or lets it wait for one that is made for it.
    pub(super) fn launch_fresh(&mut self, expected: Expected) -> Result<(), Refusal> {
        if let Some(waiting) = self.ready.pop() {
            return self.assign(expected, waiting);
        }
        if !self.makers.is_empty() {
            self.expected.push_back(expected);
            self.order_expected();
            return Ok(());
        }
        // This takes its time, and those who have an environment have work to do.
        sys::set_urgent(false);
        let waiting = self.machine.make_waiting()?;
        self.assign(expected, waiting)
    }

    fn assign(&mut self, expected: Expected, waiting: Waiting) -> Result<(), Refusal> {
        let Expected { id, mut spec, given } = expected;
        if self.machine.mode == Mode::None {
            let ports = waiting.ports()?;
            unisolated::rewrite(&mut spec, ports[0], ports[1]);
        }
        let outputs: Vec<_> = given.iter().map(AsFd::as_fd).collect();
        let assigned = self.machine.assign(&waiting, spec, &outputs, Origin::Started);
        // On failure `control` closes here, which ends the process; it is reaped as a running one.
        self.hand_over(id, waiting, assigned, None, None)
    }

    /// Orders as many as launches wait for, as far as makers can take orders.
    fn order_expected(&mut self) {
        while self.makers.ordered_for(None) < self.expected.len() && self.makers.can_order() {
            if let Err(reason) = self.order(true) {
                self.refuse_first(reason);
            }
        }
    }

    /// Makes the next one that is to be ready, or has it made.
    pub(super) fn make_ready(&mut self) {
        if let Some(template) = self.lacks_nested() {
            self.failing = self.make_nested(template).is_err();
            return;
        }
        let made = match self.makers.is_empty() {
            true => self.machine.make_waiting().map(|waiting| {
                self.ready.insert(0, waiting);
                self.tell_at_hand(READY_KIND);
            }),
            false => self.order(false),
        };
        match made {
            Ok(()) => self.failing = false,
            // The machine has no room for more; a launch that finds none ready says why, too.
            Err(reason) => self.has_not_made(&reason),
        }
    }

    fn order(&mut self, is_hurried: bool) -> Result<(), String> {
        let slot = self.machine.take_slot()?;
        match self.makers.order(slot, self.machine.limits_usual, is_hurried, None) {
            true => Ok(()),
            false => {
                self.machine.release(slot);
                Err("its maker could not be told".to_owned())
            }
        }
    }

    /// Makers have done something, or have ended.
    pub(super) fn follow_makers(&mut self) {
        let (done, ended) = self.makers.done();
        for _ in 0..ended {
            self.tell("a process that makes environments was ended by somebody".to_owned());
        }
        for Done { slot, template, made } in done {
            if let Some(template) = template {
                self.follow_nested(slot, template, made, ended > 0);
                continue;
            }
            match (made, self.expected.pop_front()) {
                (Ok(waiting), Some(expected)) => {
                    let id = expected.id;
                    if let Err(reason) = self.assign(expected, waiting) {
                        let _ = self.daemon.send(&Reply::Failed { id, reason }, &[]);
                    }
                }
                (Ok(waiting), None) => {
                    self.ready.insert(0, waiting);
                    self.failing = false;
                    self.tell_at_hand(READY_KIND);
                }
                (Err(reason), expected) => {
                    // Its process, if there is one, ends by itself, and is reaped as nobody known.
                    self.cleaning.push(slot);
                    match expected {
                        // Another one makes it.
                        Some(expected) if ended > 0 => self.expected.push_front(expected),
                        Some(Expected { id, .. }) => self.refuse(id, reason),
                        None => self.has_not_made(&reason),
                    }
                }
            }
        }
        if self.makers.is_empty() {
            for expected in std::mem::take(&mut self.expected) {
                let id = expected.id;
                if let Err(reason) = self.launch_fresh(expected) {
                    let _ = self.daemon.send(&Reply::Failed { id, reason }, &[]);
                }
            }
        }
        self.order_expected();
        self.order_nested();
    }

    fn refuse_first(&mut self, reason: String) {
        if let Some(Expected { id, .. }) = self.expected.pop_front() {
            self.refuse(id, reason);
        }
    }

    fn refuse(&self, id: u64, reason: String) {
        debug_assert_ne!(id, UNWANTED);
        let _ = self.daemon.send(&Reply::Failed { id, reason: reason.into() }, &[]);
    }
}
