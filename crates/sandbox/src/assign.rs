//! From an init process that waits to a function: in one step, or in two with a spare between them.
//!
//! In one step it gets code, limits and network, and starts the program. A spare gets those that do
//! not depend on the function and starts the program, which waits; its function comes in a second
//! step. What that may be is decided by [`Spec::left_to_attach`].

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, openat2};

use crate::cgroup::Limits;
use crate::machine::{Machine, Waiting, group_name};
use crate::network::egress;
use crate::oom::Notice;
use crate::protocol::{Assignment, Attachment, Bind, Mode, Origin, READY_TMP_MB, Refusal, Spec};
use crate::{rootfs, sys};

impl Machine {
    /// Tells a waiting init process what to become; `outputs` are the pipes and the stream of its
    /// runtime.
    pub(crate) fn assign(
        &mut self,
        waiting: &Waiting,
        spec: Spec,
        outputs: &[BorrowedFd<'_>],
        origin: Origin,
    ) -> Result<(), Refusal> {
        self.set_limits(waiting, &spec)?;
        let (uid, gid) = self.host_ids(waiting.slot);
        let own_disk = match &mut self.disks {
            Some(disks) if spec.tmp_mb != READY_TMP_MB => {
                Some(disks.create(spec.tmp_mb, uid, gid)?)
            }
            _ => None,
        };
        let mut mounts = self.mounts(&spec.binds)?;
        if let Some(mounted) = &spec.file_system {
            let mount = self.file_systems.mount(&mounted.name, (uid, gid));
            mounts.push(mount.map_err(Refusal::FileSystem)?);
        }
        let network = self.network.find(spec.network.as_deref())?;
        self.open_way(waiting, &spec, network)?;
        let confinement = self.network.confinement(&waiting.way, network);
        let mut descriptors: Vec<BorrowedFd<'_>> = outputs.to_vec();
        descriptors.extend(waiting.notice.iter().flat_map(Notice::descriptors));
        let oom_descriptors = descriptors.len() - outputs.len();
        let limit_data = !self.has_memory_limit();
        let (tmp_disk, spare) = (own_disk.is_some(), false);
        let assignment =
            Assignment { spec, tmp_disk, limit_data, oom_descriptors, confinement, spare, origin };
        descriptors.extend(own_disk.iter().map(AsFd::as_fd));
        descriptors.extend(mounts.iter().map(AsFd::as_fd));
        let sent = waiting.control.send(&assignment, &descriptors);
        sent.map_err(|error| format!("assigning: {error}").into())
    }

    /// Tells a waiting init process to start the program of a spare and to wait again. Its limits
    /// come with its function; until then it gets what processor time nobody else wants.
    pub(crate) fn prepare_spare(
        &mut self,
        waiting: &mut Waiting,
        spec: Spec,
        outputs: &[BorrowedFd<'_>],
        origin: Origin,
    ) -> Result<(), String> {
        // A copy is made in a moment.
        self.set_background(waiting, origin != Origin::Copied);
        if let (Some(groups), Some(_)) = (&self.groups, waiting.limits.take()) {
            let lifted = groups.lift(&group_name(waiting.slot));
            lifted.map_err(|error| format!("lifting limits: {error}"))?;
        }
        if std::mem::take(&mut waiting.is_in_network) {
            self.network.close_way(&waiting.way)?;
        }
        let mounts = self.mounts(&spec.binds)?;
        let assignment = Assignment {
            spec,
            tmp_disk: false,
            limit_data: false,
            oom_descriptors: 0,
            confinement: None,
            // The program of a template is not given anything later.
            spare: origin != Origin::Zygote,
            origin,
        };
        let mut descriptors: Vec<BorrowedFd<'_>> = outputs.to_vec();
        descriptors.extend(mounts.iter().map(AsFd::as_fd));
        let sent = waiting.control.send(&assignment, &descriptors);
        sent.map_err(|error| format!("preparing a spare: {error}"))
    }

    /// Gives a spare its function: limits, network, and what of `spec.binds` it has not got yet. What
    /// init has to do comes first, so that it is at work meanwhile; its program goes on only when the
    /// daemon has heard of both.
    pub(crate) fn attach(
        &mut self,
        waiting: &Waiting,
        spec: &Spec,
        late: &[Bind],
    ) -> Result<(), String> {
        let mounts = self.mounts(late)?;
        let network = self.network.find(spec.network.as_deref())?;
        let confinement = self.network.confinement(&waiting.way, network);
        let mut descriptors: Vec<BorrowedFd<'_>> =
            waiting.notice.iter().flat_map(Notice::descriptors).collect();
        let oom_descriptors = descriptors.len();
        descriptors.extend(mounts.iter().map(AsFd::as_fd));
        let targets = late.iter().map(|bind| bind.target.clone()).collect();
        let attachment = Attachment { targets, oom_descriptors, confinement };
        let sent = waiting.control.send(&attachment, &descriptors);
        sent.map_err(|error| format!("attaching: {error}"))?;
        self.set_limits(waiting, spec)?;
        self.open_way(waiting, spec, network)
    }

    /// Whether an environment yields the processors to all others.
    pub(crate) fn set_background(&self, waiting: &Waiting, background: bool) {
        if let Some(groups) = &self.groups {
            groups.set_background(&group_name(waiting.slot), background);
        }
    }

    fn set_limits(&mut self, waiting: &Waiting, spec: &Spec) -> Result<(), String> {
        let limits = Limits {
            memory_bytes: u64::from(spec.memory_mb) << 20,
            // Init and its runtime's first process are not the function's.
            pids_max: spec.pids_max + 1,
        };
        self.limits_usual = Some(limits);
        if waiting.limits == Some(limits) {
            return Ok(());
        }
        self.put_limits(waiting.slot, limits)
    }

    /// Gives a spare that waits the limits of the last launch, which the next one may have, too. What it has
    /// in use may be more than that; it gets its function's in any case.
    pub(crate) fn limit_ahead(&self, waiting: &mut Waiting) {
        if waiting.limits.is_none() {
            let usual = self.limits_usual;
            waiting.limits = usual.filter(|usual| self.put_limits(waiting.slot, *usual).is_ok());
        }
    }

    pub(crate) fn put_limits(&self, slot: u32, limits: Limits) -> Result<(), String> {
        let Some(groups) = &self.groups else { return Ok(()) };
        let limited = groups.limit(&group_name(slot), limits);
        limited.map_err(|error| format!("setting limits: {error}"))
    }

    fn mounts(&self, binds: &[Bind]) -> Result<Vec<OwnedFd>, String> {
        match self.mode {
            Mode::None => Ok(Vec::new()),
            _ => binds.iter().map(|bind| detached_copy(&bind.source)).collect(),
        }
    }

    fn open_way(&self, waiting: &Waiting, spec: &Spec, network: usize) -> Result<(), String> {
        // Before anything can pass.
        if let Some(allowed) = &spec.egress {
            egress::restrict(waiting.pid, allowed)?;
        }
        self.network.open_way(&waiting.way, network, waiting.is_in_network)
    }

    /// What tells that the memory of an environment has run out.
    pub(crate) fn notice(&self, slot: u32) -> Result<Option<Notice>, String> {
        let group = self.group(slot);
        let opened = group.memory.map(|folder| Notice::open(&folder, group.v2)).transpose();
        opened.map_err(|error| format!("memory events: {error}"))
    }
}

/// A read-only copy of a folder's mount, ready to be attached inside. Links are not followed, so
/// that what was checked is what is shown.
fn detached_copy(source: &Path) -> Result<OwnedFd, String> {
    let told = |error: io::Error| format!("{}: {error}", source.display());
    let how = OpenHow::new()
        .flags(OFlag::O_PATH | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_NO_SYMLINKS);
    let place = openat2(AT_FDCWD, source, how).map_err(|error| match error {
        Errno::ELOOP => format!("{} is reached through a link", source.display()),
        other => told(other.into()),
    })?;
    let tree = sys::copy_tree(place.as_fd()).map_err(told)?;
    sys::set_mount_attributes(tree.as_fd(), rootfs::shown_attributes()).map_err(told)?;
    Ok(tree)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_reached_through_a_link_is_not_shown() {
        let temp = tempfile::tempdir().unwrap();
        let root = temp.path().canonicalize().unwrap();
        std::fs::create_dir_all(root.join("real/below")).unwrap();
        std::os::unix::fs::symlink("real", root.join("link")).unwrap();
        for path in ["link", "link/below"] {
            let error = detached_copy(&root.join(path)).unwrap_err();
            assert!(error.contains("reached through a link"), "{error}");
        }
        assert!(detached_copy(&root.join("absent")).unwrap_err().contains("No such file"));
    }
}
