//! What stands between a function and the rest of this machine, in words.

use crate::cgroup::Controller;
use crate::machine::Machine;
use crate::protocol::{Barrier, BarrierState, Mode};

impl Machine {
    /// Every barrier, in force or not.
    pub(crate) fn barriers(&self) -> Vec<Barrier> {
        let mut list = Vec::new();
        let mut add = |name: &str, state: Result<&str, &str>| {
            let state = match state {
                Ok(how) => BarrierState::InForce(how.to_owned()),
                Err(why) => BarrierState::Missing(why.to_owned()),
            };
            list.push(Barrier { name: name.to_owned(), state });
        };
        let isolated = self.mode != Mode::None;
        let space = |how: &'static str| if isolated { Ok(how) } else { Err("isolation is off") };
        add("namespaces", space("user, mount, pid, network, ipc, uts, cgroup"));
        add(
            "user",
            match self.mode {
                Mode::Privileged => Ok("a host user id of its own for each environment"),
                Mode::Rootless => {
                    Err("all environments run as the calling user, in user namespaces")
                }
                Mode::None => Err("isolation is off"),
            },
        );
        add("files", space("read-only private root"));
        add("system calls", space("seccomp allow-list, no new privileges, no capabilities"));
        for (name, controller, instead) in [
            ("memory limit", Controller::Memory, "per process (RLIMIT_DATA) only"),
            ("process limit", Controller::Pids, "per user (RLIMIT_NPROC) only"),
            ("processor share", Controller::Cpu, "not limited"),
        ] {
            match &self.groups {
                Some(groups) if groups.has(controller) => add(name, Ok(groups.version())),
                _ => add(name, Err(&format!("{instead}: {}", self.groups_missing))),
            }
        }
        match (&self.disks, self.mode) {
            (Some(_), _) => add("/tmp", Ok("a disk of exactly the configured size")),
            (None, Mode::None) => add("/tmp", Err("isolation is off")),
            (None, _) => add("/tmp", Err(&format!("in memory: {}", self.disks_missing))),
        }
        match self.mode {
            Mode::None => add("network", Err("isolation is off")),
            _ => add("network", Ok(&self.network.describe())),
        }
        add(
            "spawner",
            match self.mode {
                Mode::Privileged => Ok("privileges are in a process of its own"),
                Mode::Rootless => Ok("nobody has privileges"),
                Mode::None => Err("isolation is off"),
            },
        );
        list
    }
}
