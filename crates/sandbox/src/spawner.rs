//! The spawner: the one process with privileges, single-threaded and small.
//!
//! It is forked from the daemon before the daemon has threads, keeps what privileges there are,
//! and does three things on request: make an environment, kill one, clean up after one. Ahead of
//! requests it keeps a few init processes ready, because making them waits for the kernel. It reads
//! a closed set of messages and checks each. It ends when the daemon's socket closes, and ends
//! every environment with it.

use std::fs;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::mount::{MsFlags, mount};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{SigSet, SigmaskHow, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};

use crate::SpawnerConfig;
use crate::cgroup::{Controller, Groups, Limits};
use crate::channel::{Channel, Packet};
use crate::init::{self, Setup};
use crate::network::Network;
use crate::protocol::{
    Assignment, Barrier, BarrierState, Go, InitReport, Mode, Reply, Request, Spec,
};
use crate::rootfs::{self, GID_INSIDE, UID_INSIDE};
use crate::seccomp::Filter;
use crate::sys::{self, Cloned};
use crate::tmpdisk::TmpDisks;
use crate::unisolated;

/// What `ps` shows; leftovers of an earlier start are told by it.
pub(crate) const PROCESS_NAME: &str = "lambic-spawner";
/// Environments that can exist at a time; each has a user id of its own.
const SLOTS_MAX: u32 = 20_000;
/// First user id of the host that environments get (one each); far above what systems hand out.
const FIRST_HOST_UID: u32 = 0x6f00_0000;
/// The size of `/tmp` that waiting processes already have, in MB: the default of a function.
const READY_TMP_MB: u32 = 512;
/// How long an init process may take to build its file system.
const READY_LIMIT_MS: u16 = 10_000;
/// How long a group may stay non-empty after its last process was killed before another look.
const CLEAN_AGAIN_MS: u16 = 20;

/// Runs the spawner until the daemon is gone. Never returns.
pub(crate) fn run(daemon: Channel, config: &SpawnerConfig) -> ! {
    sys::set_process_name(c"lambic-spawner");
    match Spawner::start(daemon, config) {
        Ok(mut spawner) => {
            spawner.serve();
            spawner.end_all();
            sys::exit_now(0)
        }
        Err((daemon, reason)) => {
            let _ = daemon.send(&Reply::Unable { reason }, &[]);
            sys::exit_now(1)
        }
    }
}

struct Spawner {
    daemon: Channel,
    signals: SignalFd,
    machine: Machine,
    /// Waiting for work, newest last.
    ready: Vec<Waiting>,
    /// Handed to the daemon.
    running: Vec<Running>,
    /// Ended; their groups are not empty yet.
    cleaning: Vec<u32>,
    ready_wanted: usize,
    bind_roots: Vec<PathBuf>,
}

/// What making an environment needs and does not change from one to the next.
struct Machine {
    mode: Mode,
    scratch: PathBuf,
    filter: Filter,
    groups: Option<Groups>,
    groups_missing: String,
    disks: Option<TmpDisks>,
    disks_missing: String,
    network: Option<Network>,
    network_missing: String,
    slots: Vec<bool>,
}

struct Waiting {
    slot: u32,
    pid: i32,
    pidfd: OwnedFd,
    control: Channel,
    listeners: Vec<OwnedFd>,
    disk: Option<OwnedFd>,
}

impl Waiting {
    /// The ports of the Runtime API and of the AWS endpoint, as the host sees them.
    fn ports(&self) -> Result<Vec<u16>, String> {
        let port = |fd: &OwnedFd| {
            let listener = std::net::TcpListener::from(fd.try_clone()?);
            Ok::<_, std::io::Error>(listener.local_addr()?.port())
        };
        self.listeners.iter().map(port).collect::<Result<_, _>>().map_err(|error| error.to_string())
    }
}

struct Running {
    id: u64,
    slot: u32,
    pid: i32,
    pidfd: OwnedFd,
}

impl Spawner {
    fn start(daemon: Channel, config: &SpawnerConfig) -> Result<Spawner, (Channel, String)> {
        match Spawner::prepare(config) {
            Ok((machine, signals, first)) => {
                let barriers = machine.barriers();
                let hello = Reply::Hello { barriers, mode: machine.mode };
                if let Err(error) = daemon.send(&hello, &[]) {
                    return Err((daemon, error.to_string()));
                }
                Ok(Spawner {
                    daemon,
                    signals,
                    machine,
                    ready: vec![first],
                    running: Vec::new(),
                    cleaning: Vec::new(),
                    ready_wanted: config.ready_count,
                    bind_roots: config.bind_roots.clone(),
                })
            }
            Err(reason) => Err((daemon, reason)),
        }
    }

    /// Sets everything up and proves it by making one environment's first process.
    fn prepare(config: &SpawnerConfig) -> Result<(Machine, SignalFd, Waiting), String> {
        let _ = nix::unistd::setsid();
        let signals = take_signals()?;
        let mut machine = Machine::prepare(config)?;
        let first = machine.make_waiting()?;
        Ok((machine, signals, first))
    }

    /// Serves until the daemon is gone.
    fn serve(&mut self) {
        loop {
            let idle = self.ready.len() >= self.ready_wanted;
            let timeout = match (idle, self.cleaning.is_empty()) {
                (false, _) => PollTimeout::ZERO,
                (true, false) => PollTimeout::from(CLEAN_AGAIN_MS),
                (true, true) => PollTimeout::NONE,
            };
            let mut polled = [
                PollFd::new(self.daemon.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.signals.as_fd(), PollFlags::POLLIN),
            ];
            match poll(&mut polled, timeout) {
                Ok(_) | Err(nix::errno::Errno::EINTR) => {}
                Err(_) => return,
            }
            let [from_daemon, from_children] =
                polled.map(|p| p.revents().is_some_and(|events| !events.is_empty()));
            if from_children {
                self.reap();
            }
            if from_daemon {
                match self.daemon.receive() {
                    Ok(Some(packet)) => self.answer(packet),
                    Ok(None) => return,
                    Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                    Err(_) => return,
                }
                continue;
            }
            self.clean();
            if !idle {
                match self.machine.make_waiting() {
                    Ok(waiting) => self.ready.insert(0, waiting),
                    // The machine has no room for more; the next launch will say why.
                    Err(_) => self.ready_wanted = self.ready.len(),
                }
            }
        }
    }

    fn answer(&mut self, packet: Packet) {
        match packet.parse() {
            Ok(Request::Launch { id, spec }) => self.launch(id, spec, packet.descriptors),
            Ok(Request::Kill { id }) => {
                if let Some(running) = self.running.iter().find(|running| running.id == id) {
                    let _ = sys::signal_pidfd(running.pidfd.as_fd(), libc::SIGKILL);
                }
            }
            // Only a broken daemon sends what cannot be read; it gets no answer.
            Err(_) => {}
        }
    }

    fn launch(&mut self, id: u64, spec: Spec, descriptors: Vec<OwnedFd>) {
        let reply = match self.try_launch(id, spec, descriptors) {
            Ok(()) => return,
            Err(reason) => Reply::Failed { id, reason },
        };
        let _ = self.daemon.send(&reply, &[]);
    }

    fn try_launch(&mut self, id: u64, spec: Spec, given: Vec<OwnedFd>) -> Result<(), String> {
        spec.check(&self.bind_roots)?;
        let [output, stream]: [OwnedFd; 2] =
            given.try_into().map_err(|_| "two descriptors were expected".to_owned())?;
        let waiting = match self.ready.pop() {
            Some(waiting) => waiting,
            None => self.machine.make_waiting()?,
        };
        let slot = waiting.slot;
        let mut spec = spec;
        if self.machine.mode == Mode::None {
            let ports = waiting.ports()?;
            unisolated::rewrite(&mut spec, ports[0], ports[1]);
        }
        let assigned = self.machine.assign(&waiting, spec, output, stream);
        let Waiting { pid, pidfd, control, listeners, .. } = waiting;
        self.running.push(Running { id, slot, pid, pidfd });
        // On failure `control` closes here, which ends the process; it is reaped as a running one.
        assigned?;
        let group = self.machine.group(slot);
        let [api, endpoint] =
            <[OwnedFd; 2]>::try_from(listeners).map_err(|_| "listeners are missing".to_owned())?;
        let descriptors = [control.as_fd(), api.as_fd(), endpoint.as_fd()];
        let launched = Reply::Launched { id, pid, group };
        self.daemon.send(&launched, &descriptors).map_err(|error| error.to_string())
    }

    /// Collects ended init processes.
    fn reap(&mut self) {
        while let Ok(Some(_)) = self.signals.read_signal() {}
        loop {
            let pid = match waitpid(None::<nix::unistd::Pid>, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(pid, _) | WaitStatus::Signaled(pid, _, _)) => pid.as_raw(),
                Ok(WaitStatus::StillAlive) | Err(_) => return,
                Ok(_) => continue,
            };
            if let Some(at) = self.running.iter().position(|running| running.pid == pid) {
                self.cleaning.push(self.running.swap_remove(at).slot);
            } else if let Some(at) = self.ready.iter().position(|waiting| waiting.pid == pid) {
                self.cleaning.push(self.ready.remove(at).slot);
            }
        }
    }

    fn clean(&mut self) {
        let machine = &mut self.machine;
        self.cleaning.retain(|slot| !machine.release(*slot));
    }

    /// The daemon is gone: end everything, wait for it, remove the groups.
    fn end_all(&mut self) {
        for pidfd in
            self.running.iter().map(|r| &r.pidfd).chain(self.ready.iter().map(|w| &w.pidfd))
        {
            let _ = sys::signal_pidfd(pidfd.as_fd(), libc::SIGKILL);
        }
        while waitpid(None::<nix::unistd::Pid>, None).is_ok() {}
        let slots = self.running.iter().map(|r| r.slot).chain(self.ready.iter().map(|w| w.slot));
        for slot in slots.chain(self.cleaning.iter().copied()) {
            self.machine.release(slot);
        }
        if let Some(groups) = &self.machine.groups {
            groups.remove_all();
        }
        if let Some(network) = &self.machine.network {
            network.close();
        }
    }
}

/// Blocks the signals that a terminal or a service manager sends to the daemon, and reads SIGCHLD.
fn take_signals() -> Result<SignalFd, String> {
    let mut children = SigSet::empty();
    children.add(Signal::SIGCHLD);
    let mut blocked = children;
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGPIPE] {
        blocked.add(signal);
    }
    nix::sys::signal::sigprocmask(SigmaskHow::SIG_SETMASK, Some(&blocked), None)
        .map_err(|error| format!("signal mask: {error}"))?;
    SignalFd::with_flags(&children, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
        .map_err(|error| format!("signalfd: {error}"))
}

impl Machine {
    fn prepare(config: &SpawnerConfig) -> Result<Machine, String> {
        let mode = config.mode;
        let scratch = config.run_dir.clone();
        fs::create_dir_all(&scratch).map_err(|error| format!("{}: {error}", scratch.display()))?;
        enter_own_mounts(mode, &scratch)?;
        let _ = fs::write("/proc/self/oom_score_adj", "-900");
        let mut machine = Machine {
            mode,
            filter: Filter::compile()?,
            groups: None,
            groups_missing: "needs root".to_owned(),
            disks: None,
            disks_missing: "needs root".to_owned(),
            network: None,
            network_missing: "needs root".to_owned(),
            slots: Vec::new(),
            scratch: scratch.clone(),
        };
        if mode != Mode::None {
            rootfs::write_etc(&scratch.join("etc"))?;
            fs::create_dir_all(scratch.join("root")).map_err(|error| error.to_string())?;
            match Groups::discover() {
                Ok(groups) => {
                    groups.sweep();
                    machine.groups = Some(groups);
                }
                Err(reason) => machine.groups_missing = reason,
            }
        }
        if mode == Mode::Privileged && !config.outbound {
            machine.network_missing = "turned off".to_owned();
        } else if mode == Mode::Privileged {
            match Network::open() {
                Ok(network) => machine.network = Some(network),
                Err(reason) => machine.network_missing = reason,
            }
        }
        if mode == Mode::Privileged {
            match TmpDisks::open(&scratch, &config.images_dir) {
                Ok(disks) => machine.disks = Some(disks),
                Err(reason) => machine.disks_missing = reason,
            }
        }
        Ok(machine)
    }

    fn host_ids(&self, slot: u32) -> (u32, u32) {
        match self.mode {
            // Inside the spawner's own user namespace there is one user only: the caller, as root.
            Mode::Rootless => (0, 0),
            _ => (FIRST_HOST_UID + slot, FIRST_HOST_UID + slot),
        }
    }

    fn take_slot(&mut self) -> Result<u32, String> {
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
    fn release(&mut self, slot: u32) -> bool {
        let gone = self.groups.as_ref().is_none_or(|groups| groups.remove(&group_name(slot)));
        if gone && let Some(taken) = self.slots.get_mut(slot as usize) {
            *taken = false;
        }
        gone
    }

    fn group(&self, slot: u32) -> crate::protocol::Group {
        self.groups.as_ref().map(|groups| groups.group(&group_name(slot))).unwrap_or_default()
    }

    /// Makes an init process that waits for its assignment, limits and `/tmp` at their defaults.
    fn make_waiting(&mut self) -> Result<Waiting, String> {
        let slot = self.take_slot()?;
        let made = self.try_make_waiting(slot);
        if made.is_err() {
            self.release(slot);
        }
        made
    }

    fn try_make_waiting(&mut self, slot: u32) -> Result<Waiting, String> {
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
            root: self.scratch.join("root"),
            etc: self.scratch.join("etc"),
            filter: &self.filter,
            isolated,
        };
        let flags = if isolated { NEW_NAMESPACES } else { 0 };
        let (pid, pidfd) = match sys::clone_process(flags) {
            Ok(Cloned::Child) => {
                drop(control);
                init::run(inner, &setup)
            }
            Ok(Cloned::Parent { pid, pidfd }) => (pid, pidfd),
            Err(error) => return Err(format!("new namespaces: {error}{}", namespace_hint(&error))),
        };
        drop(inner);
        match self.wait_until_ready(slot, pid, &control) {
            Ok(listeners) => Ok(Waiting { slot, pid, pidfd, control, listeners, disk }),
            Err(reason) => {
                let _ = sys::signal_pidfd(pidfd.as_fd(), libc::SIGKILL);
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
    ) -> Result<Vec<OwnedFd>, String> {
        if self.mode != Mode::None {
            write_id_maps(pid, self.host_ids(slot))?;
        }
        if let Some(groups) = &self.groups {
            groups
                .attach(&group_name(slot), pid)
                .map_err(|error| format!("joining a control group: {error}"))?;
        }
        let link = match &mut self.network {
            Some(network) => Some(network.connect(pid)?),
            None => None,
        };
        control.send(&Go { link }, &[]).map_err(|error| format!("starting init: {error}"))?;
        let packet = control
            .receive_within(READY_LIMIT_MS)
            .map_err(|error| format!("waiting for init: {error}"))?
            .ok_or("init ended without a word")?;
        match packet.parse() {
            Ok(InitReport::Ready) => Ok(packet.descriptors),
            Ok(InitReport::SetupFailed { step }) => Err(step),
            Ok(other) => Err(format!("init said {other:?} instead of ready")),
            Err(error) => Err(format!("init: {error}")),
        }
    }

    /// Tells a waiting init process what to become.
    fn assign(
        &mut self,
        waiting: &Waiting,
        spec: Spec,
        output: OwnedFd,
        stream: OwnedFd,
    ) -> Result<(), String> {
        let name = group_name(waiting.slot);
        if let Some(groups) = &self.groups {
            let limits = Limits {
                memory_bytes: u64::from(spec.memory_mb) << 20,
                // Init and its runtime's first process are not the function's.
                pids_max: spec.pids_max + 1,
            };
            groups.limit(&name, limits).map_err(|error| format!("setting limits: {error}"))?;
        }
        let (uid, gid) = self.host_ids(waiting.slot);
        let own_disk = match &mut self.disks {
            Some(disks) if spec.tmp_mb != READY_TMP_MB => {
                Some(disks.create(spec.tmp_mb, uid, gid)?)
            }
            _ => None,
        };
        let disk = own_disk.as_ref().or(waiting.disk.as_ref());
        let mut mounts = Vec::new();
        if self.mode != Mode::None {
            for bind in &spec.binds {
                mounts.push(detached_copy(&bind.source)?);
            }
        }
        let limit_data = !self.groups.as_ref().is_some_and(|g| g.has(Controller::Memory));
        let assignment = Assignment { spec, tmp_disk: disk.is_some(), limit_data };
        let mut descriptors: Vec<BorrowedFd<'_>> = vec![output.as_fd(), stream.as_fd()];
        descriptors.extend(disk.map(AsFd::as_fd));
        descriptors.extend(mounts.iter().map(AsFd::as_fd));
        waiting
            .control
            .send(&assignment, &descriptors)
            .map_err(|error| format!("assigning: {error}"))
    }

    fn barriers(&self) -> Vec<Barrier> {
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
        match (&self.network, self.mode) {
            (_, Mode::None) => add("network", Err("isolation is off")),
            (Some(_), _) => add("network", Ok("private; outbound, but not to the host itself")),
            (None, _) => {
                let how = format!("private; no way out ({})", self.network_missing);
                add("network", Ok(&how));
            }
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

const NEW_NAMESPACES: u64 = (libc::CLONE_NEWUSER
    | libc::CLONE_NEWNS
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUTS) as u64;

fn group_name(slot: u32) -> String {
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

fn write_id_maps(pid: i32, (uid, gid): (u32, u32)) -> Result<(), String> {
    let write = |file: &str, text: String| {
        fs::write(format!("/proc/{pid}/{file}"), text).map_err(|error| format!("{file}: {error}"))
    };
    write("setgroups", "deny".to_owned())?;
    write("uid_map", format!("{UID_INSIDE} {uid} 1"))?;
    write("gid_map", format!("{GID_INSIDE} {gid} 1"))
}

/// A read-only copy of a folder's mount, ready to be attached inside. Links are not followed, so
/// that what was checked is what is shown.
fn detached_copy(source: &Path) -> Result<OwnedFd, String> {
    let real = fs::canonicalize(source).map_err(|e| format!("{}: {e}", source.display()))?;
    if real != source {
        return Err(format!("{} is reached through a link", source.display()));
    }
    let tree = sys::open_tree(source).map_err(|e| format!("{}: {e}", source.display()))?;
    let attributes = libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV;
    sys::set_mount_attributes(tree.as_fd(), attributes)
        .map_err(|error| format!("{}: {error}", source.display()))?;
    Ok(tree)
}
