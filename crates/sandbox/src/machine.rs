//! What the spawner makes environments with: the machine's namespaces, control groups, disks and
//! links, and the steps from nothing to an init process that waits. Those from there to a function are
//! in `assign`.

use std::fs;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::wait::waitpid;

use crate::SpawnerConfig;
use crate::barrier::BarrierKind;
use crate::cgroup::{Controller, Groups, Limits};
use crate::channel::Channel;
use crate::filesystem::FileSystems;
use crate::init::{self, Setup};
use crate::network::{Network, Way};
use crate::oom::Notice;
use crate::protocol::{Go, InitReport, Mode, READY_TMP_MB};
use crate::rootfs::{self, GID_INSIDE, UID_INSIDE};
use crate::seccomp::Filter;
use crate::sys::{self, Cloned};
use crate::template;
use crate::template::nest::{self, Nest};
use crate::tmpdisk::{Formatting, TmpDisks};
use crate::trial::stands;

/// Environments that can exist at a time; each has a user id of its own.
const SLOTS_MAX: u32 = 20_000;
/// First user id of the host that environments get (one each); far above what systems hand out.
const FIRST_HOST_UID: u32 = 0x6f00_0000;
/// How long an init process may take to build its file system.
const READY_LIMIT_MS: u16 = 10_000;

/// What making an environment needs and does not change from one to the next.
pub(crate) struct Machine {
    pub(crate) mode: Mode,
    pub(crate) scratch: PathBuf,
    pub(crate) filter: Arc<Filter>,
    pub(crate) groups: Option<Groups>,
    pub(crate) groups_missing: String,
    pub(crate) disks: Option<TmpDisks>,
    pub(crate) disks_missing: String,
    pub(crate) network: Network,
    pub(crate) file_systems: FileSystems,
    pub(crate) slots: Vec<bool>,
    /// Whether what is made is not this process's child but that of its parent (see `makers`).
    for_parent: bool,
    /// Whether a launch waits for what is made: then nothing is done that only the launch would gain by.
    pub(crate) is_hurried: bool,
    /// Those of the last launch.
    pub(crate) limits_usual: Option<Limits>,
}

/// An init process that waits for its assignment.
pub(crate) struct Waiting {
    pub(crate) slot: u32,
    pub(crate) pid: i32,
    pub(crate) pidfd: OwnedFd,
    pub(crate) control: Channel,
    pub(crate) listeners: Vec<OwnedFd>,
    /// What tells that its memory has run out; `None` where nothing does.
    pub(crate) notice: Option<Notice>,
    /// Limits that it has already, because the last launch had them.
    pub(crate) limits: Option<Limits>,
    /// Whether it is in the default network already.
    pub(crate) is_in_network: bool,
    pub(crate) way: Way,
}

impl Waiting {
    /// All that it hangs on and is told by.
    pub(crate) fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let kept = self.listeners.iter().map(AsFd::as_fd);
        let told = self.notice.iter().flat_map(Notice::descriptors);
        [self.pidfd.as_fd(), self.control.as_fd()].into_iter().chain(kept).chain(told)
    }

    /// The ports of the Runtime API and of the AWS endpoint, as the host sees them.
    pub(crate) fn ports(&self) -> Result<Vec<u16>, String> {
        let port = |fd: &OwnedFd| {
            let listener = std::net::TcpListener::from(fd.try_clone()?);
            Ok::<_, std::io::Error>(listener.local_addr()?.port())
        };
        self.listeners.iter().map(port).collect::<Result<_, _>>().map_err(|error| error.to_string())
    }
}

impl Machine {
    pub(crate) fn prepare(config: &SpawnerConfig) -> Result<Machine, String> {
        let mode = config.mode;
        let scratch = config.run_dir.clone();
        fs::create_dir_all(&scratch).map_err(|error| format!("{}: {error}", scratch.display()))?;
        // As long as this process is who called it.
        let file_systems = FileSystems::new(&config.file_systems, mode)?;
        enter_own_mounts(mode, &scratch)?;
        let _ = fs::write("/proc/self/oom_score_adj", "-900");
        let formatting = (mode == Mode::Privileged && stands(BarrierKind::Tmp))
            .then(|| Formatting::of_first(&config.images_dir));
        let mut machine = Machine {
            mode,
            filter: Arc::new(Filter::of_environment(config.io_uring)?),
            groups: None,
            groups_missing: "needs root".to_owned(),
            disks: None,
            disks_missing: "needs root".to_owned(),
            network: Network::open(config)?,
            file_systems,
            slots: Vec::new(),
            for_parent: false,
            is_hurried: false,
            limits_usual: None,
            scratch: scratch.clone(),
        };
        if mode != Mode::None {
            rootfs::prepare(&scratch)?;
            match Groups::discover() {
                Ok(groups) => {
                    groups.sweep();
                    machine.groups = Some(groups);
                }
                Err(reason) => machine.groups_missing = reason,
            }
        }
        let disks = formatting.map(|begun| TmpDisks::open(&config.images_dir, begun?));
        match disks {
            Some(Ok(disks)) => machine.disks = Some(disks),
            Some(Err(reason)) => machine.disks_missing = reason,
            None => {}
        }
        machine.network.wait_until_open()?;
        Ok(machine)
    }

    pub(crate) fn host_ids(&self, slot: u32) -> (u32, u32) {
        match self.mode {
            // Inside the spawner's own user namespace there is one user only: the caller, as root.
            Mode::Rootless => (0, 0),
            _ if !stands(BarrierKind::HostUser) => (FIRST_HOST_UID, FIRST_HOST_UID),
            _ => (FIRST_HOST_UID + slot, FIRST_HOST_UID + slot),
        }
    }

    /// A slot for an environment that is going to be made.
    pub(crate) fn take_slot(&mut self) -> Result<u32, String> {
        if let Some(free) = self.slots.iter().position(|taken| !taken) {
            self.slots[free] = true;
            return Ok(free as u32);
        }
        if self.slots.len() as u32 >= SLOTS_MAX {
            return Err(format!("{SLOTS_MAX} environments exist already"));
        }
        self.slots.push(true);
        Ok(self.slots.len() as u32 - 1)
    }

    /// Frees what an ended environment used; `false` while the kernel has not let go of it.
    pub(crate) fn release(&mut self, slot: u32) -> bool {
        let gone = self.groups.as_ref().is_none_or(|groups| groups.remove(&group_name(slot)));
        if gone && let Some(taken) = self.slots.get_mut(slot as usize) {
            *taken = false;
        }
        gone
    }

    /// Lets a frozen environment go on, so that it can die.
    pub(crate) fn thaw(&self, slot: u32) {
        if let Some(groups) = &self.groups {
            groups.thaw(&group_name(slot));
        }
    }

    /// Whether the limits of an environment can be set after its program has started.
    pub(crate) fn has_spares(&self) -> bool {
        self.mode != Mode::None && self.has_memory_limit()
    }

    /// Whether environments can be copied.
    pub(crate) fn has_templates(&self) -> bool {
        self.has_spares() && template::are_possible(self.mode)
    }

    /// Whether control groups limit memory; where they do not, each process is limited by itself.
    pub(crate) fn has_memory_limit(&self) -> bool {
        self.groups.as_ref().is_some_and(|groups| groups.has(Controller::Memory))
    }

    /// See [`Groups::doors`].
    pub(crate) fn doors(&self, slot: u32) -> Result<Vec<fs::File>, String> {
        let doors = self.groups.as_ref().map(|groups| groups.doors(&group_name(slot)));
        doors.transpose().map(Option::unwrap_or_default).map_err(|error| format!("groups: {error}"))
    }

    pub(crate) fn group(&self, slot: u32) -> crate::protocol::Group {
        self.groups.as_ref().map(|groups| groups.group(&group_name(slot))).unwrap_or_default()
    }

    /// Makes the first one, which proves that this machine can.
    pub(crate) fn make_first(&mut self) -> Result<Waiting, String> {
        match self.make_waiting() {
            Err(reason) if self.network.is_unproven() => {
                self.network.give_up(&reason)?;
                // If it was not the way out that failed, this fails too.
                self.make_waiting()
            }
            made => made,
        }
    }

    /// Makes an init process that waits for its assignment, limits and `/tmp` at their defaults.
    pub(crate) fn make_waiting(&mut self) -> Result<Waiting, String> {
        self.make_placed(Place::Alone)
    }

    /// Makes one at this place.
    pub(crate) fn make_placed(&mut self, place: Place<'_>) -> Result<Waiting, String> {
        let slot = self.take_slot()?;
        let made = self.make_in(slot, place);
        if made.is_err() {
            self.release(slot);
        }
        made
    }

    /// This process was forked from the spawner, to make environments for it beside `parts` others.
    pub(crate) fn go_apart(&mut self, part: u32, parts: u32) -> Result<(), String> {
        self.for_parent = true;
        self.network.go_apart(part, parts)
    }

    /// Makes one in this slot and at this place.
    pub(crate) fn make_in(&mut self, slot: u32, place: Place<'_>) -> Result<Waiting, String> {
        let (uid, gid) = self.host_ids(slot);
        let disk = match &mut self.disks {
            Some(disks) => Some(disks.create(READY_TMP_MB, uid, gid)?),
            None => None,
        };
        let name = group_name(slot);
        if let Some(groups) = &self.groups {
            groups.create(&name).map_err(|error| format!("control group: {error}"))?;
        }
        let (control, inner) = Channel::pair().map_err(|error| format!("socket pair: {error}"))?;
        let isolated = self.mode != Mode::None;
        let setup = Setup {
            scratch: self.scratch.clone(),
            filter: self.filter.clone(),
            isolated,
            host_user: (uid, gid),
        };
        let mut flags = if isolated { new_namespaces() } else { 0 };
        if self.for_parent {
            flags |= libc::CLONE_PARENT as u64;
        }
        let (pid, pidfd) = {
            // Not the spawner's sockets, nor what belongs to other environments.
            let run = move || {
                if let Ok(control) = inner.keep_only() {
                    init::run(control, &setup);
                }
            };
            match place {
                Place::Within(nest) => nest::make(nest, flags, inner_id(slot), run)?,
                Place::Alone | Place::Template => match sys::clone_process(flags) {
                    Ok(Cloned::Child) => {
                        run();
                        sys::exit_now(1)
                    }
                    Ok(Cloned::Parent { pid, pidfd }) => (pid, pidfd),
                    Err(error) => {
                        return Err(format!("new namespaces: {error}{}", namespace_hint(&error)));
                    }
                },
            }
        };
        // The spawner is spared by the out-of-memory killer, a function is not. Whoever may spare
        // itself sets how far its children may: so this is said from here, not from inside.
        let _ = fs::write(format!("/proc/{pid}/oom_score_adj"), "0");
        let ready = self.wait_until_ready(slot, pid, &control, place, disk.as_ref());
        let ready = ready.and_then(|(listeners, way, is_in_network)| {
            let notice = self.notice(slot)?;
            let limits = self.limits_usual;
            limits.map_or(Ok(()), |limits| self.put_limits(slot, limits))?;
            Ok((listeners, way, is_in_network, notice, limits))
        });
        match ready {
            Ok((listeners, way, is_in_network, notice, limits)) => Ok(Waiting {
                slot,
                pid,
                pidfd,
                control,
                listeners,
                notice,
                limits,
                is_in_network,
                way,
            }),
            Err(reason) => {
                let _ = sys::signal_pidfd(pidfd.as_fd(), libc::SIGKILL);
                // A parent's child is the parent's to wait for.
                let _ = waitpid(nix::unistd::Pid::from_raw(pid), None);
                Err(reason)
            }
        }
    }

    fn wait_until_ready(
        &mut self,
        slot: u32,
        pid: i32,
        control: &Channel,
        place: Place<'_>,
        disk: Option<&OwnedFd>,
    ) -> Result<(Vec<OwnedFd>, Way, bool), String> {
        if self.mode != Mode::None && stands(BarrierKind::UserNamespace) {
            let (uid, _) = self.host_ids(slot);
            match place {
                Place::Alone => write_maps(pid, |inside| format!("{inside} {uid} 1"))?,
                Place::Template => write_maps(pid, |inside| wide_map(inside, slot))?,
                // Done by whoever made it.
                Place::Within(_) => {}
            }
        }
        let doors = self.doors(slot)?;
        if let Some(groups) = self.groups.as_ref().filter(|_| doors.is_empty()) {
            groups
                .attach(&group_name(slot), pid)
                .map_err(|error| format!("joining a control group: {error}"))?;
        }
        let (way, arrival, is_in_network) = match stands(BarrierKind::NetworkNamespace) {
            true => self.network.connect(pid)?,
            false => (Way::None, None, false),
        };
        let is_template = matches!(place, Place::Template);
        let tmp_disk = disk.is_some();
        let is_for_copy = matches!(place, Place::Within(_));
        let rehearses = !self.is_hurried;
        let go =
            Go { doors: doors.len(), is_template, is_for_copy, tmp_disk, rehearses, way: arrival };
        let descriptors: Vec<_> =
            doors.iter().map(AsFd::as_fd).chain(disk.map(AsFd::as_fd)).collect();
        control.send(&go, &descriptors).map_err(|error| format!("starting init: {error}"))?;
        way.wait_for(control, READY_LIMIT_MS)?;
        let packet = control
            .receive_within(READY_LIMIT_MS)
            .map_err(|error| format!("waiting for init: {error}"))?
            .ok_or("init ended without a word")?;
        match packet.parse() {
            Ok(InitReport::Ready) => Ok((packet.descriptors, way, is_in_network)),
            Ok(InitReport::SetupFailed { step }) => Err(step),
            Ok(other) => Err(format!("init said {other:?} instead of ready")),
            Err(error) => Err(format!("init: {error}")),
        }
    }
}

/// The namespaces that an environment is born into; that of control groups comes later, when it is
/// in its groups.
fn new_namespaces() -> u64 {
    let kinds = [
        (BarrierKind::UserNamespace, libc::CLONE_NEWUSER),
        (BarrierKind::ProcessNamespace, libc::CLONE_NEWPID),
        (BarrierKind::NetworkNamespace, libc::CLONE_NEWNET),
        (BarrierKind::IpcNamespace, libc::CLONE_NEWIPC),
        (BarrierKind::HostName, libc::CLONE_NEWUTS),
    ];
    let standing = kinds.into_iter().filter(|(kind, _)| stands(*kind));
    // Without mounts of its own nothing could be shown to it at all.
    standing.fold(libc::CLONE_NEWNS as u64, |flags, (_, flag)| flags | flag as u64)
}

pub(crate) fn group_name(slot: u32) -> String {
    format!("e{slot}")
}

fn namespace_hint(error: &std::io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::ENOSPC) => " (raise the sysctls user.max_*_namespaces)",
        Some(libc::EPERM) => " (user namespaces are forbidden here)",
        Some(libc::EINVAL | libc::ENOSYS) => " (the kernel lacks a namespace that is needed)",
        _ => "",
    }
}

/// A mount namespace of the spawner's own, from which nothing spreads to the host, with a scratch
/// space in memory; without root it is inside a user namespace of the spawner's own.
fn enter_own_mounts(mode: Mode, scratch: &Path) -> Result<(), String> {
    let (uid, gid) = (nix::unistd::getuid(), nix::unistd::getgid());
    match mode {
        Mode::None => return Ok(()),
        Mode::Privileged => {
            nix::unistd::setgroups(&[]).map_err(|error| format!("setgroups: {error}"))?;
            unshare(CloneFlags::CLONE_NEWNS)
                .map_err(|error| format!("mount namespace: {error}"))?;
        }
        Mode::Rootless => {
            unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS)
                .map_err(|error| format!("user namespaces are not available here: {error}"))?;
            let write = |file: &str, text: String| {
                fs::write(format!("/proc/self/{file}"), text).map_err(|e| format!("{file}: {e}"))
            };
            write("setgroups", "deny".to_owned())?;
            write("uid_map", format!("0 {uid} 1"))?;
            write("gid_map", format!("0 {gid} 1"))?;
        }
    }
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&str>, "/", None::<&str>, private, None::<&str>)
        .map_err(|error| format!("private mounts: {error}"))?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(Some("tmpfs"), scratch, Some("tmpfs"), flags, Some("size=16m,mode=0755"))
        .map_err(|error| format!("scratch space at {}: {error}", scratch.display()))
}

/// Writes the user and the group map of a new namespace; `map` is that for the one that everything
/// inside is.
pub(crate) fn write_maps(pid: i32, map: impl Fn(u32) -> String) -> Result<(), String> {
    let write = |file: &str, text: String| {
        fs::write(format!("/proc/{pid}/{file}"), text).map_err(|error| format!("{file}: {error}"))
    };
    write("setgroups", "deny".to_owned())?;
    write("uid_map", map(UID_INSIDE))?;
    write("gid_map", map(GID_INSIDE))
}

/// Where an environment is to be.
#[derive(Clone, Copy)]
pub(crate) enum Place<'a> {
    Alone,
    /// As one whose program stands as a template: its namespace has the users of the copies, too.
    Template,
    /// Inside the namespaces of a template's, for a copy of it.
    Within(&'a Nest),
}

/// The user, and the group, that the environment of a slot is inside a template's namespace.
fn inner_id(slot: u32) -> u32 {
    nest::FIRST_INNER_ID + slot
}

/// Its own user, and those of all other slots.
fn wide_map(inside: u32, slot: u32) -> String {
    let host = FIRST_HOST_UID + slot;
    let mut lines = vec![format!("{inside} {host} 1")];
    let above = SLOTS_MAX - slot - 1;
    let parts = [(inner_id(0), FIRST_HOST_UID, slot), (inner_id(slot + 1), host + 1, above)];
    let parts = parts.iter().filter(|(_, _, count)| *count > 0);
    lines.extend(parts.map(|(inner, outer, count)| format!("{inner} {outer} {count}")));
    lines.join("\n")
}
