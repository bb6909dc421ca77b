//! The keeper: who cleans up when there is nobody left to do it.
//!
//! The spawner ends every environment when the daemon is gone, and the environments' first
//! processes die with the spawner. What is left when both are killed at the same moment: frozen
//! processes (which do not die before they are thawed), control groups, the table of the firewall,
//! folders. So the spawner has a child of its own that does nothing but wait for the end of the
//! two. It has no socket, reads no message, and acts on what the spawner had made when it forked
//! it: everything stands below names that are fixed by then.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use nix::mount::{MntFlags, umount2};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, SigmaskHow};

use crate::machine::Machine;
use crate::{init, sys};

/// Between two looks at groups that are not empty yet.
const LOOK_AGAIN_MS: u16 = 20;
/// Looks before the rest is left to the next start.
const LOOKS_MAX: u32 = 1_500;

/// What a keeper of its own is started with.
pub(crate) struct Keeper {
    /// The daemon's process, to know when it has ended.
    daemon: OwnedFd,
    /// The spawner's own.
    spawner: OwnedFd,
    /// Folders that the daemon removes at its end, if it has the time for it.
    folders: Vec<PathBuf>,
}

impl Keeper {
    /// Called by the spawner, whose parent is the daemon.
    pub(crate) fn new(folders: Vec<PathBuf>) -> Result<Keeper, String> {
        let of = |pid: u32| sys::process_descriptor(pid).map_err(|e| format!("pidfd_open: {e}"));
        let daemon = of(std::os::unix::process::parent_id())?;
        Ok(Keeper { daemon, spawner: of(std::process::id())?, folders })
    }

    pub(crate) fn descriptors(&self) -> [BorrowedFd<'_>; 2] {
        [self.daemon.as_fd(), self.spawner.as_fd()]
    }

    /// Forks the process; its id.
    pub(crate) fn start(&self, machine: &Machine) -> Result<i32, String> {
        match sys::fork().map_err(|error| format!("forking the keeper: {error}"))? {
            Some(pid) => Ok(pid),
            None => {
                self.keep(machine);
                sys::exit_now(0)
            }
        }
    }

    fn keep(&self, machine: &Machine) {
        sys::set_process_name(c"lambic-keeper");
        init::forget_command_line("lambic-keeper");
        // Not a member of what the terminal or a service manager signals as one.
        let _ = nix::unistd::setsid();
        let _ = nix::sys::signal::sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), None);
        let Ok([daemon, spawner]) = sys::keep_only([self.daemon.as_fd(), self.spawner.as_fd()])
        else {
            return;
        };
        wait_for_end(spawner.as_fd());
        // Children of the firewall's command are waited for, which needs their signal.
        let none = SigSet::empty();
        let _ = nix::sys::signal::sigprocmask(SigmaskHow::SIG_SETMASK, Some(&none), None);
        machine.network.close();
        if let Some(groups) = &machine.groups {
            for _ in 0..LOOKS_MAX {
                if groups.end_all() {
                    break;
                }
                let _ = poll(&mut [], PollTimeout::from(LOOK_AGAIN_MS));
            }
        }
        // The daemon ends when the spawner has; it may remove its folders itself.
        wait_for_end(daemon.as_fd());
        for folder in &self.folders {
            // The scratch space is mounted on one of them, here and nowhere else by now.
            let _ = umount2(folder, MntFlags::MNT_DETACH);
            let _ = std::fs::remove_dir_all(folder);
        }
    }
}

/// A descriptor of a process becomes readable when the process has ended.
fn wait_for_end(process: BorrowedFd<'_>) {
    let mut polled = [PollFd::new(process, PollFlags::POLLIN)];
    while let Err(nix::errno::Errno::EINTR) = poll(&mut polled, PollTimeout::NONE) {}
}
