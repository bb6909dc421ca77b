//! How each barrier is on this machine, in words.

use crate::barrier::{BarrierKind, How};
use crate::cgroup::Controller;
use crate::landlock;
use crate::machine::Machine;
use crate::protocol::{Barrier, BarrierState, Mode};
use crate::trial::stands;

impl Machine {
    /// Every barrier, in force or not.
    pub(crate) fn barriers(&self) -> Vec<Barrier> {
        let told = BarrierKind::ALL.into_iter().map(|kind| {
            let state = match self.how(kind) {
                _ if !stands(kind) => BarrierState::Missing("taken away for a trial".to_owned()),
                Ok(how) => BarrierState::InForce(how),
                Err(why) => BarrierState::Missing(why),
            };
            Barrier { kind, state }
        });
        told.collect()
    }

    fn how(&self, kind: BarrierKind) -> How {
        if let Some(how) = kind.given_by(self.mode) {
            return how;
        }
        if self.mode == Mode::None {
            return Err("isolation is off".to_owned());
        }
        match kind {
            BarrierKind::Landlock => landlock::describe(),
            BarrierKind::Tmp => match &self.disks {
                Some(_) => Ok("a disk of exactly the configured size".to_owned()),
                None => Err(format!("in memory: {}", self.disks_missing)),
            },
            BarrierKind::NetworkFilter => Ok(self.network.describe()),
            BarrierKind::MemoryLimit => {
                self.limit(Controller::Memory, "per process (RLIMIT_DATA) only")
            }
            BarrierKind::ProcessLimit => {
                self.limit(Controller::Pids, "per user (RLIMIT_NPROC) only")
            }
            BarrierKind::ProcessorShare => self.limit(Controller::Cpu, "not limited"),
            BarrierKind::Freezer => self.limit(Controller::Freezer, "idle environments may work"),
            BarrierKind::Keeper => Ok("also when all of Lambic is killed at once".to_owned()),
            BarrierKind::ServerRules => Ok(match landlock::describe() {
                Ok(_) => "no capabilities, system call filter, landlock".to_owned(),
                Err(_) => "no capabilities, system call filter".to_owned(),
            }),
            other => Err(format!("nobody says how {} is", other.name())),
        }
    }

    fn limit(&self, controller: Controller, instead: &str) -> How {
        match &self.groups {
            Some(groups) if groups.has(controller) => Ok(groups.version().to_owned()),
            Some(_) => Err(format!("{instead}: this machine's control groups lack it")),
            None => Err(format!("{instead}: {}", self.groups_missing)),
        }
    }
}
