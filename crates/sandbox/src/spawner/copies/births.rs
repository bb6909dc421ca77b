//! What copies that are being made come to.

use super::{Birth, LIVES_IN, Purpose, Spawner, State};
use crate::channel::is_readable;
use crate::machine::Waiting;
use crate::protocol::{NewCopy, Reply, Why};
use crate::spares::Spare;
use crate::template::midwife::Outcome;
use std::os::fd::AsFd;

impl Spawner {
    /// Those who make copies have said something, or have ended.
    pub(super) fn follow_births(&mut self) {
        for mut birth in std::mem::take(&mut self.copies.births) {
            if !is_readable(birth.report.as_fd()) {
                self.copies.births.push(birth);
                continue;
            }
            let said = birth.report.receive().ok().flatten().map(|packet| packet.parse());
            let outcome = match said {
                Some(Ok(Outcome::Free)) => {
                    self.let_others_copy(&mut birth);
                    self.copies.births.push(birth);
                    continue;
                }
                Some(Ok(Outcome::Delivered)) => Ok(()),
                Some(Ok(Outcome::Failed(why))) => Err(why),
                None | Some(Err(_)) => Err("the process that was to make it has ended".into()),
            };
            self.finish(birth, outcome);
        }
    }

    /// A zygote waits again, while its copy is brought in. Before one of its copies lives there is no other.
    fn let_others_copy(&mut self, birth: &mut Birth) {
        let zygote = self.copies.template(birth.template);
        if let Some(zygote) = zygote.filter(|zygote| zygote.is_proven) {
            birth.holds = false;
            if zygote.state == State::Busy {
                zygote.state = State::Ready;
            }
        }
    }

    fn finish(&mut self, birth: Birth, outcome: Result<(), Why>) {
        let Birth { purpose, template, waiting, holds, is_lost, .. } = birth;
        let is_zygote = !matches!(purpose, Purpose::Launch { .. });
        if let Some(known) = self.copies.template(template) {
            known.is_proven |= outcome.is_ok();
            if outcome.is_err() {
                // What has failed once fails again: it holds what cannot be copied, or is hostile.
                known.state = State::Retired;
            } else if holds && known.state == State::Busy {
                known.state = State::Ready;
            }
            let slot = known.slot;
            if !is_zygote {
                let _ = self.machine.group(slot).set_frozen(true);
            }
        }
        let outcome = outcome.and_then(|()| match is_lost {
            true => Err("its environment has ended".into()),
            false => Ok(()),
        });
        match outcome {
            Ok(()) => self.has_been_born(purpose, waiting),
            Err(why) => {
                self.discard_unborn(waiting, is_lost);
                self.was_not_born(purpose, why);
            }
        }
        self.end_retired();
    }

    fn has_been_born(&mut self, purpose: Purpose, waiting: Waiting) {
        match purpose {
            Purpose::Spare { kind, output, stream } => {
                self.spares.add(Spare::starting(kind, waiting, [output, stream], LIVES_IN));
            }
            Purpose::Wanted { wanted, output, stream } => {
                let ends = (wanted.kind, [output, stream]);
                let whole = Some(NewCopy::Whole);
                if self.hand_over(wanted.id, waiting, Ok(()), Some(ends), whole).is_err() {
                    self.start_instead(*wanted);
                }
            }
            Purpose::Launch { id } => {
                if let Err(reason) = self.hand_over(id, waiting, Ok(()), None, None) {
                    let _ = self.daemon.send(&Reply::Failed { id, reason }, &[]);
                }
            }
        }
    }

    fn was_not_born(&mut self, purpose: Purpose, why: Why) {
        let kind = match purpose {
            Purpose::Spare { kind, .. } => kind,
            Purpose::Wanted { wanted, .. } => {
                let kind = wanted.kind;
                self.start_instead(*wanted);
                kind
            }
            Purpose::Launch { id } => {
                let _ = self.daemon.send(&Reply::Failed { id, reason: why.into() }, &[]);
                return;
            }
        };
        self.copies.has_failed(kind);
        self.tell(format!("a spare could not be copied: {why}"));
    }

    fn discard_unborn(&mut self, waiting: Waiting, is_lost: bool) {
        match is_lost {
            true => self.cleaning.push(waiting.slot),
            false => self.discard(waiting),
        }
    }

    /// Whether an environment that has ended was that of a copy that is being made.
    pub(in crate::spawner) fn has_lost_birth(&mut self, pid: i32) -> bool {
        let birth = self.copies.births.iter_mut().find(|birth| birth.waiting.pid == pid);
        birth.map(|birth| birth.is_lost = true).is_some()
    }

    /// The first processes of environments that wait for a copy.
    pub(in crate::spawner) fn unborn(&self) -> impl Iterator<Item = &Waiting> {
        let stock = self.copies.templates.iter().flat_map(|template| &template.stock);
        self.copies.births.iter().map(|birth| &birth.waiting).chain(stock)
    }

    /// A launch got a copy that has done nothing, or has ended at once. What it was copied from is not
    /// trusted any more.
    pub(in crate::spawner) fn end_lifeless(&mut self, id: u64) {
        self.kill(id);
        let pid = self.running.iter().find(|running| running.id == id).map(|running| running.pid);
        let ended = pid.and_then(|pid| self.copies.has_broken(pid));
        if let Some(end) = ended {
            self.tell(format!("a copy for a function did not come to life{end}"));
        }
        self.end_retired();
        self.serve_wanted();
    }
}
