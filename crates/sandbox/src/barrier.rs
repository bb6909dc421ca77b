//! The one list of what stands between a function and everything else.
//!
//! Whoever talks of barriers takes them from here: `lambic doctor`, the first lines of `lambic
//! serve`, the table of `docs/security.md`, and the attempts to break out, each of which is bound
//! to the barriers that stop it. A barrier that is not in this list does not exist; one that is
//! has a line in each of those places, which tests hold to it.

use serde::{Deserialize, Serialize};

use crate::protocol::Mode;

/// One barrier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[repr(u8)]
pub enum BarrierKind {
    /// No root inside: a user namespace with one unprivileged user.
    UserNamespace,
    /// A user id of the host for each environment.
    HostUser,
    /// No capability of any kind.
    Capabilities,
    /// Nothing that is executed gains rights.
    NoNewPrivileges,
    /// Processes outside do not exist inside.
    ProcessNamespace,
    /// The first process, which was ours, cannot be looked into.
    ClosedInit,
    /// A root file system of its own; the host's is not there.
    PrivateRoot,
    /// Code, libraries and everything else that is shown cannot be written.
    ReadOnlyFiles,
    /// Set-user-id bits and device files in what is shown mean nothing.
    PlainFiles,
    /// No devices but null, zero, full, random and urandom.
    Devices,
    /// An `/etc` that says nothing about the host.
    OwnEtc,
    /// Files of `/proc` that tell about the host's kernel are covered.
    MaskedProc,
    /// Only files below known folders can be opened, and only `/tmp` written.
    Landlock,
    /// A disk of exactly the configured size.
    Tmp,
    /// No interface, address, port or abstract socket of the host.
    NetworkNamespace,
    /// What the way out leads to, and what not.
    NetworkFilter,
    /// Shared memory, semaphores and message queues of its own.
    IpcNamespace,
    /// A host name of its own.
    HostName,
    /// The host's control groups are not visible.
    CgroupNamespace,
    /// An allow-list of system calls.
    SystemCalls,
    /// Memory of everything inside together.
    MemoryLimit,
    /// Processes and threads of everything inside together.
    ProcessLimit,
    /// Processor time, by memory.
    ProcessorShare,
    /// No work between invocations.
    Freezer,
    /// Open files, locked memory, queues, core dumps of each process.
    ResourceLimits,
    /// Nothing that the server or the spawner has open.
    ClosedDescriptors,
    /// Everything ends with the server and the spawner, however they end.
    Keeper,
    /// Privileges are in a process that listens to nobody but the server.
    Spawner,
    /// What the process that talks to clients may do is narrowed for good.
    ServerRules,
}

/// How a barrier is on this machine: in force in this form, or missing for this reason.
pub(crate) type How = Result<String, String>;

impl BarrierKind {
    /// All of them, in the order in which they are shown.
    pub const ALL: [BarrierKind; 29] = {
        use BarrierKind::*;
        [
            UserNamespace,
            HostUser,
            Capabilities,
            NoNewPrivileges,
            ProcessNamespace,
            ClosedInit,
            PrivateRoot,
            ReadOnlyFiles,
            PlainFiles,
            Devices,
            OwnEtc,
            MaskedProc,
            Landlock,
            Tmp,
            NetworkNamespace,
            NetworkFilter,
            IpcNamespace,
            HostName,
            CgroupNamespace,
            SystemCalls,
            MemoryLimit,
            ProcessLimit,
            ProcessorShare,
            Freezer,
            ResourceLimits,
            ClosedDescriptors,
            Keeper,
            Spawner,
            ServerRules,
        ]
    };

    /// What it is called, everywhere.
    pub const fn name(self) -> &'static str {
        match self {
            BarrierKind::UserNamespace => "user namespace",
            BarrierKind::HostUser => "user id",
            BarrierKind::Capabilities => "capabilities",
            BarrierKind::NoNewPrivileges => "no new privileges",
            BarrierKind::ProcessNamespace => "process namespace",
            BarrierKind::ClosedInit => "closed init",
            BarrierKind::PrivateRoot => "private root",
            BarrierKind::ReadOnlyFiles => "read-only files",
            BarrierKind::PlainFiles => "plain files",
            BarrierKind::Devices => "devices",
            BarrierKind::OwnEtc => "own /etc",
            BarrierKind::MaskedProc => "masked /proc",
            BarrierKind::Landlock => "landlock",
            BarrierKind::Tmp => "/tmp",
            BarrierKind::NetworkNamespace => "network namespace",
            BarrierKind::NetworkFilter => "network filter",
            BarrierKind::IpcNamespace => "ipc namespace",
            BarrierKind::HostName => "host name",
            BarrierKind::CgroupNamespace => "cgroup namespace",
            BarrierKind::SystemCalls => "system calls",
            BarrierKind::MemoryLimit => "memory limit",
            BarrierKind::ProcessLimit => "process limit",
            BarrierKind::ProcessorShare => "processor share",
            BarrierKind::Freezer => "freezer",
            BarrierKind::ResourceLimits => "resource limits",
            BarrierKind::ClosedDescriptors => "closed descriptors",
            BarrierKind::Keeper => "keeper",
            BarrierKind::Spawner => "spawner",
            BarrierKind::ServerRules => "server rules",
        }
    }

    /// The barrier of this name.
    pub fn named(name: &str) -> Option<BarrierKind> {
        BarrierKind::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// How it is where it needs nothing but namespaces; `None` where the machine decides.
    pub(crate) fn given_by(self, mode: Mode) -> Option<How> {
        let (privileged, rootless): (&str, How) = match self {
            BarrierKind::UserNamespace => same("one unprivileged user, no root"),
            BarrierKind::HostUser => (
                "one of the host's user ids for each environment",
                Err("all environments are the calling user".to_owned()),
            ),
            BarrierKind::Capabilities => same("none"),
            BarrierKind::NoNewPrivileges => same("set for all"),
            BarrierKind::ProcessNamespace => same("its own"),
            BarrierKind::ClosedInit => same("not dumpable, without privileges"),
            BarrierKind::PrivateRoot => same("entered by pivot_root, the host's is unmounted"),
            BarrierKind::ReadOnlyFiles => same("everything but /tmp"),
            BarrierKind::PlainFiles => same("nosuid, nodev"),
            BarrierKind::Devices => same("null, zero, full, random, urandom"),
            BarrierKind::OwnEtc => same("invented users, the host's certificates"),
            BarrierKind::MaskedProc => same("its own, covered where it tells of the host"),
            BarrierKind::NetworkNamespace => same("its own"),
            BarrierKind::IpcNamespace => same("its own"),
            BarrierKind::HostName => same("sandbox"),
            BarrierKind::CgroupNamespace => same("its own"),
            BarrierKind::SystemCalls => same("seccomp allow-list"),
            BarrierKind::ResourceLimits => same("files, locked memory, queues, no core dumps"),
            BarrierKind::ClosedDescriptors => same("the output, the runtime's stream"),
            BarrierKind::Spawner => {
                ("privileges are in a process of its own", Ok("nobody has privileges".to_owned()))
            }
            BarrierKind::Landlock
            | BarrierKind::Tmp
            | BarrierKind::NetworkFilter
            | BarrierKind::MemoryLimit
            | BarrierKind::ProcessLimit
            | BarrierKind::ProcessorShare
            | BarrierKind::Freezer
            | BarrierKind::Keeper
            | BarrierKind::ServerRules => return None,
        };
        Some(match mode {
            Mode::Privileged => Ok(privileged.to_owned()),
            Mode::Rootless => rootless,
            Mode::None => Err("isolation is off".to_owned()),
        })
    }
}

fn same(how: &'static str) -> (&'static str, How) {
    (how, Ok(how.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_barrier_has_a_place_and_a_name_of_its_own() {
        for (at, kind) in BarrierKind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, at, "{kind:?}");
            assert_eq!(BarrierKind::named(kind.name()), Some(kind));
        }
    }

    /// A barrier that the document does not explain is one that nobody can judge.
    #[test]
    fn the_security_document_explains_every_barrier() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/security.md");
        let text = std::fs::read_to_string(path).unwrap();
        for kind in BarrierKind::ALL {
            let row = format!("| {} |", kind.name());
            assert!(text.contains(&row), "docs/security.md has no row {row:?}");
        }
    }
}
