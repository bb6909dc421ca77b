//! Environments that are copied from a template: a process that has loaded itself, and is forked for
//! each of them.
//!
//! The template is the program of an ordinary environment: unprivileged, filtered, in namespaces of its
//! own. It waits on a socket for a word, forks when it is told to, and waits again; it never has a right
//! that other programs have not. A copy lives in an environment of its own, which is made as any other,
//! but inside the namespaces of the template's (`nest`): its init process has a root, `/tmp`, network,
//! control groups and a user of its own, and waits for its program. The two are brought together by a
//! process of ours (`midwife`), which holds the new process before its first instruction, lets it
//! enter the namespaces of its environment and give up every right, all by system calls that it is made
//! to do (`trace`), and lets it go.
//!
//! Why a copy may enter: whoever made a user namespace has every right in it, and the one around a
//! copy is made as the template's user, in the template's namespace. The filter that keeps the
//! template from entering anything is suspended in the copy as long as it is held, never in the
//! template.
//!
//! A zygote that has threads does not fork itself, it is made to, and its copy is given threads in place
//! of all that it has (`whole`) and what they wait for in the kernel (`kernel`).

mod block;
mod handing;
mod kernel;
mod look;
mod luggage;
pub(crate) mod midwife;
pub(crate) mod nest;
mod resting;
mod trace;
mod whole;
pub(crate) mod words;

use nix::sched::CloneFlags;

use crate::barrier::BarrierKind;
use crate::protocol::Mode;
use crate::trial::stands;

/// Descriptor number under which a template finds the socket on which it is told to fork.
pub const TEMPLATE_FD: i32 = 6;
/// The namespaces of an environment, by their files, in the order in which a copy enters them: the
/// first gives it the right to enter the others, and once it is in the mounts it sees nothing else.
pub(crate) const NAMESPACES: [(&str, CloneFlags); 7] = [
    ("user", CloneFlags::CLONE_NEWUSER),
    ("net", CloneFlags::CLONE_NEWNET),
    ("ipc", CloneFlags::CLONE_NEWIPC),
    ("uts", CloneFlags::CLONE_NEWUTS),
    ("cgroup", CloneFlags::CLONE_NEWCGROUP),
    ("mnt", CloneFlags::CLONE_NEWNS),
    ("pid", CloneFlags::CLONE_NEWPID),
];

/// Barriers that a copy has in another way than its template, so that there is none without them.
const NEEDED: [BarrierKind; 9] = [
    BarrierKind::UserNamespace,
    BarrierKind::HostUser,
    BarrierKind::ProcessNamespace,
    BarrierKind::NetworkNamespace,
    BarrierKind::IpcNamespace,
    BarrierKind::HostName,
    BarrierKind::CgroupNamespace,
    BarrierKind::ClosedDescriptors,
    BarrierKind::Landlock,
];

/// Whether there can be templates.
pub(crate) fn are_possible(mode: Mode) -> bool {
    trace::IS_KNOWN && mode == Mode::Privileged && NEEDED.into_iter().all(stands)
}
