//! Linux isolation: execution environments that a function cannot leave.
//!
//! An environment is a process tree in namespaces of its own (user, mount, pid, network, IPC, UTS,
//! control group), with an unprivileged user, no capabilities, a system call filter, a read-only
//! root, a private `/tmp` of a fixed size, and limits on memory, processors, processes and files.
//! A small privileged process, the spawner, makes them; the process that uses this crate needs no
//! privileges once [`start`] has returned. This crate knows nothing of AWS: it starts a program,
//! hands over the sockets that were made inside, and tells how it ended.
//!
//! Order matters: [`start`] forks, so it comes before the first thread; [`SandboxHost::into_async`]
//! comes inside the runtime.

mod account;
mod assign;
mod barrier;
mod barriers;
mod cgroup;
mod channel;
#[cfg(feature = "trial")]
pub mod costs;
mod filesystem;
mod host;
mod init;
mod keeper;
mod landlock;
mod machine;
mod makers;
mod network;
mod oom;
mod patience;
mod protocol;
mod rootfs;
mod sandbox;
mod seat;
mod seccomp;
mod spares;
mod spawner;
mod spec;
mod sys;
mod template;
mod tmpdisk;
mod trial;
mod unisolated;

use std::path::PathBuf;

pub use barrier::BarrierKind;
pub use filesystem::FileSystem;
pub use host::{LaunchError, SandboxHost, Sandboxes, StartError, Starting, begin, start};
pub use landlock::Reach as FileReach;
pub use network::{
    AddressRange, EGRESS_MAX, Egress, PRIVATE_NETWORKS_MAX, PrivateNetwork, Reach, is_never_reached,
};
pub use protocol::{
    Barrier, BarrierState, Bind, EXTENSIONS_MAX, Extensions, LOG_PIPE_FD, Mode, Mounted,
    ProgramEnd, Role, Spec,
};
pub use sandbox::{Control, Event, Events, Exit, Output, Sandbox, StartFailure};
pub use seat::{Chair, Gauge, Seat, run_anywhere};
pub use spares::{AHEAD_MAX, SPARE_KINDS_MAX};
pub use sys::heap::{give_back, heap_spare_bytes, one_heap};
pub use template::TEMPLATE_FD;
#[cfg(feature = "trial")]
pub use trial::take_away;

/// How the spawner works on this machine.
#[derive(Clone, Debug)]
pub struct SpawnerConfig {
    /// How environments are kept apart; see [`Mode::detect`].
    pub mode: Mode,
    /// An empty folder that nobody else uses; the spawner mounts its scratch space on it.
    pub run_dir: PathBuf,
    /// A folder on a disk with room for the `/tmp` of all environments.
    pub images_dir: PathBuf,
    /// The folders of the host that a [`Bind`] may show (they, or anything below them).
    pub bind_roots: Vec<PathBuf>,
    /// Whether environments without a private network reach what the host can reach (see
    /// `network`), where this machine can.
    pub outbound: bool,
    /// The private networks that [`Spec::network`] may name.
    pub networks: Vec<PrivateNetwork>,
    /// Whether [`Spec::egress`] is going to be used, so that it has to be possible.
    pub limits_egress: bool,
    /// The folders that [`Spec::file_system`] may name.
    pub file_systems: Vec<FileSystem>,
    /// Whether functions may use io_uring, whose work the system call filter does not see.
    pub io_uring: bool,
    /// How many processes wait ready-made for their environment at least (see
    /// [`Sandboxes::keep_ready`]). Each costs about 0.5 MB.
    pub ready_count: usize,
}

impl Mode {
    /// The strongest mode that the calling user can have.
    pub fn detect() -> Mode {
        const SYS_ADMIN: u64 = 1 << 21;
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
        let effective = effective.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
        if effective.unwrap_or(0) & SYS_ADMIN != 0 { Mode::Privileged } else { Mode::Rootless }
    }
}
