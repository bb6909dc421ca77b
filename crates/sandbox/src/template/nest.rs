//! Making the first process of an environment inside the namespaces of a template's.
//!
//! A process that makes a user namespace owns it, and its owner's rights in it are what lets a copy
//! enter; a process namespace can only be made from within the one that it is to be in. So two
//! processes of ours go the way: one enters the user namespace of the template and becomes the
//! template's user there, its child, which is then inside its process namespace too, makes the
//! first process, and writes its user map, which only somebody inside can. Both are gone when that is
//! done, and the spawner is the parent of the first process, also when one of its makers has made it.

use std::fs::{self, File};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::sched::{CloneFlags, setns};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::{Gid, Uid, setresgid, setresuid};
use serde::{Deserialize, Serialize};

use crate::channel::Channel;
use crate::machine::write_maps;
use crate::rootfs::{GID_INSIDE, UID_INSIDE};
use crate::sys::{self, Cloned};

/// The first user and group of those that environments inside a template's have there; the number
/// of their slot is added.
pub(crate) const FIRST_INNER_ID: u32 = 100_000;
const PATIENCE_MS: u16 = 2_000;

/// Said by whoever has made it. Descriptors: the process.
#[derive(Serialize, Deserialize)]
enum Made {
    Made { pid: i32 },
    Failed(String),
}

/// The namespaces of a template's. Whoever has them cannot take those of another process for them that has
/// got the template's number after its end.
pub(crate) struct Nest {
    users: OwnedFd,
    processes: OwnedFd,
}

impl Nest {
    /// Those around a template, of which this is the first process.
    pub(crate) fn of(template: i32) -> Result<Nest, String> {
        let open = |name: &str| {
            let path = format!("/proc/{template}/ns/{name}");
            File::open(&path).map_err(|error| format!("{path}: {error}"))
        };
        Ok(Nest { users: open("user")?.into(), processes: open("pid")?.into() })
    }

    /// As it was handed over, by its [`Nest::descriptors`].
    pub(crate) fn received(descriptors: Vec<OwnedFd>) -> Option<Nest> {
        let [users, processes] = descriptors.try_into().ok()?;
        Some(Nest { users, processes })
    }

    /// What it consists of.
    pub(crate) fn descriptors(&self) -> [BorrowedFd<'_>; 2] {
        [self.users.as_fd(), self.processes.as_fd()]
    }
}

/// Makes it; `run` is its life, and returns only if that cannot begin. `inner` is its user of those that
/// the template's namespace has. With `CLONE_PARENT` in the flags it is made for the caller's parent.
pub(crate) fn make(
    nest: &Nest,
    flags: u64,
    inner: u32,
    run: impl FnOnce(),
) -> Result<(i32, OwnedFd), String> {
    let (report, theirs) = Channel::pair().map_err(|error| format!("socket pair: {error}"))?;
    let sibling = flags & libc::CLONE_PARENT as u64;
    match sys::clone_process(sibling).map_err(|error| format!("fork: {error}"))? {
        Cloned::Parent { .. } => {}
        Cloned::Child => {
            drop(report);
            if let Err(why) = go(nest, flags, inner, &theirs, run) {
                let _ = theirs.send(&Made::Failed(why), &[]);
            }
            sys::exit_now(0)
        }
    }
    drop(theirs);
    let packet = report.receive_within(PATIENCE_MS).map_err(|error| error.to_string())?;
    let mut packet = packet.ok_or("it ended without a word")?;
    match packet.parse().map_err(|error| error.to_string())? {
        Made::Made { pid } => Ok((pid, packet.descriptors.pop().ok_or("no process came")?)),
        Made::Failed(why) => Err(why),
    }
}

/// In the first of the two.
fn go(
    nest: &Nest,
    flags: u64,
    inner: u32,
    report: &Channel,
    run: impl FnOnce(),
) -> Result<(), String> {
    let step = |name: &'static str| move |errno: nix::errno::Errno| format!("{name}: {errno}");
    // Whoever makes a user namespace bounds all that is in it by its own limits.
    for resource in [Resource::RLIMIT_NPROC, Resource::RLIMIT_SIGPENDING] {
        let (_, most) = getrlimit(resource).map_err(step("limits"))?;
        setrlimit(resource, most, most).map_err(step("limits"))?;
    }
    setns(&nest.processes, CloneFlags::CLONE_NEWPID).map_err(step("the template's processes"))?;
    setns(&nest.users, CloneFlags::CLONE_NEWUSER).map_err(step("the template's users"))?;
    let (uid, gid) = (Uid::from_raw(UID_INSIDE), Gid::from_raw(GID_INSIDE));
    setresgid(gid, gid, gid).map_err(step("the template's group"))?;
    setresuid(uid, uid, uid).map_err(step("the template's user"))?;
    // Changing the user has closed its files below /proc, which are what is written next.
    sys::set_dumpable(true).map_err(|error| format!("dumpable: {error}"))?;
    let born = |error: std::io::Error| format!("new namespaces: {error}");
    let sibling = libc::CLONE_PARENT as u64;
    match sys::clone_process(sibling).map_err(born)? {
        Cloned::Parent { .. } => Ok(()),
        Cloned::Child => {
            let (pid, process) = match sys::clone_process(flags | sibling).map_err(born)? {
                Cloned::Child => {
                    run();
                    sys::exit_now(1)
                }
                Cloned::Parent { pidfd, .. } => (number(&pidfd)?, pidfd),
            };
            write_maps(pid, |inside| format!("{inside} {inner} 1"))?;
            let told = report.send(&Made::Made { pid }, &[process.as_fd()]);
            told.map_err(|error| error.to_string())
        }
    }
}

/// The process that a descriptor refers to, as the spawner numbers it.
fn number(process: &OwnedFd) -> Result<i32, String> {
    let text = fs::read_to_string(format!("/proc/self/fdinfo/{}", process.as_raw_fd()));
    let text = text.map_err(|error| format!("the new process: {error}"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pid:"));
    line.and_then(|pid| pid.trim().parse().ok()).ok_or_else(|| "no process id".to_owned())
}
