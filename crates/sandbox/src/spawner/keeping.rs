//! The spares that the daemon wants: starting one more, following it, giving it a function.

use std::os::fd::AsFd;

use super::copies::LOADS_IN;
use super::{Spawner, UNWANTED};
use crate::channel::is_readable;
use crate::protocol::{InitReport, NewCopy, Origin, Refusal, Spec};
use crate::sandbox::Ends;
use crate::spares::Spare;

impl Spawner {
    /// Turns a spare into the environment that is wanted.
    pub(super) fn use_spare(
        &mut self,
        id: u64,
        spec: &Spec,
        spare: Spare,
        prepared: &Spec,
    ) -> Result<(), Refusal> {
        let late = spec.left_to_attach(prepared);
        let late = late.ok_or_else(|| "it was started for something else".to_owned())?;
        if !spare.is_at_hand() {
            self.machine.set_background(&spare.waiting, false);
        }
        let is_new = !spare.is_at_hand() && self.copies.is_copy(spare.waiting.pid);
        let copied = is_new.then_some(NewCopy::Spare);
        let attached = self.machine.attach(&spare.waiting, spec, late).map_err(Refusal::from);
        let id = if attached.is_ok() { id } else { UNWANTED };
        let ends = (spare.kind, [spare.output, spare.stream]);
        self.hand_over(id, spare.waiting, attached, Some(ends), copied)
    }

    /// So many spares of this kind are wanted.
    pub(super) fn keep(
        &mut self,
        kind: u64,
        spec: Spec,
        count: u32,
        copied: bool,
    ) -> Result<(), String> {
        spec.check_spare(&self.bind_roots)?;
        if !self.machine.has_spares() {
            return Err("limits cannot be set late on this machine".to_owned());
        }
        let at_hand = self.spares.at_hand(kind);
        if count == 0 || !self.spares.is_as_before(kind, &spec) {
            self.retire_zygotes(kind);
        }
        self.copies.try_again(kind);
        let copied = copied && self.machine.has_templates();
        for spare in self.spares.keep(kind, spec, count, copied)? {
            self.discard(spare.waiting);
        }
        if self.spares.at_hand(kind) != at_hand {
            self.tell_at_hand(kind);
        }
        Ok(())
    }

    /// Starts one more of those that are missing.
    pub(super) fn start_spare(&mut self) {
        let Some((kind, spec, copied)) = self.spares.missing() else { return };
        let spec = spec.clone();
        let started = match copied {
            true => self.copy_spare(kind, spec),
            false => self.try_start_spare(kind, spec),
        };
        if let Err(reason) = started {
            self.spares.has_failed(kind);
            self.tell(format!("a spare could not be made: {reason}"));
        }
    }

    pub(super) fn try_start_spare(&mut self, kind: u64, spec: Spec) -> Result<(), String> {
        let ends = Ends::of(&spec).map_err(|error| error.to_string())?;
        let mut waiting = match self.ready.pop() {
            Some(waiting) => waiting,
            None => self.machine.make_waiting()?,
        };
        if let Err(reason) =
            self.machine.prepare_spare(&mut waiting, spec, &ends.inside(), Origin::Started)
        {
            self.discard(waiting);
            return Err(reason);
        }
        self.spares.add(Spare::starting(kind, waiting, [ends.output, ends.stream], LOADS_IN));
        Ok(())
    }

    /// Something has happened to a spare: its program has loaded itself, or it has ended.
    pub(super) fn follow_spare(&mut self, pid: i32, has_loaded: bool) {
        if has_loaded {
            let Some(spare) = self.spares.has_loaded(pid) else { return };
            let kind = spare.kind;
            self.machine.set_background(&spare.waiting, false);
            self.machine.limit_ahead(&mut spare.waiting);
            self.tell_at_hand(kind);
            return;
        }
        if self.spares.is_well(pid) {
            // It has loaded itself at the very moment at which it was too late.
            return;
        }
        let Some((spare, goes_on)) = self.spares.has_broken(pid) else { return };
        let as_copy = match spare.is_at_hand() {
            true => None,
            false => self.copies.has_broken(pid),
        };
        let control = &spare.waiting.control;
        let has_ended = is_readable(control.as_fd());
        let said = has_ended.then(|| control.receive().ok().flatten()).flatten();
        let why = match said.and_then(|packet| packet.parse().ok()) {
            None if !has_ended => "it did nothing for too long".to_owned(),
            Some(InitReport::SetupFailed { step }) => step,
            Some(InitReport::ExecFailed { errno }) => {
                std::io::Error::from_raw_os_error(errno).to_string()
            }
            Some(report) => format!("{report:?}"),
            None => "it ended".to_owned(),
        };
        let kind = spare.kind;
        let end = match as_copy {
            Some(end) => {
                // It says nothing of those that are started.
                self.spares.is_forgiven(kind);
                end
            }
            None if goes_on => "",
            None => "; no more are tried for now",
        };
        self.tell(format!("a spare has broken: {why}{end}"));
        self.discard(spare.waiting);
        self.tell_at_hand(kind);
        self.end_retired();
        self.serve_wanted();
    }
}
