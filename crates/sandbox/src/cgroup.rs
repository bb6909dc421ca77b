//! Control groups: the hard limits on memory, processors and processes of one environment.
//!
//! Both layouts are supported: v2 (one hierarchy) and v1 or hybrid (a hierarchy per controller).
//! Every folder that Lambic makes stands below `lambic-<pid of the spawner>`, so that the next
//! start can tell and sweep what a dead one left.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use nix::poll::{PollTimeout, poll};
use serde::{Deserialize, Serialize};

use crate::account::CPU_PERIOD_US;
use crate::barrier::BarrierKind;
use crate::protocol::Group;
use crate::trial::stands;

/// Of the v2 group that holds the daemon and the spawner themselves.
const LEAF_SUFFIX: &str = "-self";

/// Looks at what dead spawners have left, and the pause between them.
const SWEEPS_MAX: u32 = 50;
const SWEEP_AGAIN_MS: u16 = 20;

/// The controllers that are used, and where this process's own group is in each.
#[derive(Debug, Clone)]
pub(crate) struct Groups {
    layout: Layout,
}

#[derive(Debug, Clone)]
enum Layout {
    V1 { controllers: Vec<(Controller, PathBuf)> },
    V2 { base: PathBuf, controllers: Vec<Controller> },
}

/// A controller that limits something an environment must not have without limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Controller {
    /// Memory of the whole environment.
    Memory,
    /// Share of the processors.
    Cpu,
    /// Number of processes and threads.
    Pids,
    /// Stopping and resuming everything inside.
    Freezer,
}

impl Controller {
    const ALL: [Controller; 4] =
        [Controller::Memory, Controller::Cpu, Controller::Pids, Controller::Freezer];

    /// The barrier that it is for.
    pub(crate) fn barrier(self) -> BarrierKind {
        match self {
            Controller::Memory => BarrierKind::MemoryLimit,
            Controller::Cpu => BarrierKind::ProcessorShare,
            Controller::Pids => BarrierKind::ProcessLimit,
            Controller::Freezer => BarrierKind::Freezer,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Controller::Memory => "memory",
            Controller::Cpu => "cpu",
            Controller::Pids => "pids",
            Controller::Freezer => "freezer",
        }
    }
}

/// What one environment may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Limits {
    pub(crate) memory_bytes: u64,
    pub(crate) pids_max: u32,
}

impl Groups {
    /// Finds the writable controllers of this machine; `Err` says why there are none.
    pub(crate) fn discover() -> Result<Groups, String> {
        let mounts = fs::read_to_string("/proc/self/mountinfo").map_err(|e| e.to_string())?;
        let own = fs::read_to_string("/proc/self/cgroup").map_err(|e| e.to_string())?;
        let name = format!("lambic-{}", std::process::id());
        let layout = match find_v1(&mounts, &own) {
            controllers if controllers.is_empty() => {
                let base =
                    find_v2(&mounts, &own).ok_or("no control group file system is mounted")?;
                prepare_v2(
                    &base,
                    &name,
                    &[std::process::id(), std::os::unix::process::parent_id()],
                )?
            }
            controllers => Layout::V1 {
                controllers: controllers.into_iter().map(|(c, p)| (c, p.join(&name))).collect(),
            },
        };
        let groups = Groups { layout };
        for (_, base) in groups.bases() {
            fs::create_dir_all(&base)
                .map_err(|error| format!("no right to divide the control groups ({error})"))?;
        }
        Ok(groups)
    }

    fn bases(&self) -> Vec<(Controller, PathBuf)> {
        match &self.layout {
            Layout::V1 { controllers } => controllers.clone(),
            Layout::V2 { base, controllers } => {
                controllers.iter().map(|controller| (*controller, base.clone())).collect()
            }
        }
    }

    /// The folders below which every environment's are.
    pub(crate) fn folders_of_all(&self) -> Vec<PathBuf> {
        self.bases().into_iter().map(|(_, base)| base).collect()
    }

    /// Whether environments can be limited by this controller.
    pub(crate) fn has(&self, controller: Controller) -> bool {
        self.bases().iter().any(|(have, _)| *have == controller)
    }

    /// `cgroup v1` or `cgroup v2`.
    pub(crate) fn version(&self) -> &'static str {
        match self.layout {
            Layout::V1 { .. } => "cgroup v1",
            Layout::V2 { .. } => "cgroup v2",
        }
    }

    fn folders(&self, name: &str) -> Vec<(Controller, PathBuf)> {
        self.bases().into_iter().map(|(controller, base)| (controller, base.join(name))).collect()
    }

    /// Makes the groups of one environment, without limits yet.
    pub(crate) fn create(&self, name: &str) -> io::Result<()> {
        for (controller, folder) in self.folders(name) {
            match fs::create_dir(&folder) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                _ => {}
            }
            if controller == Controller::Cpu && matches!(self.layout, Layout::V1 { .. }) {
                // With v2 it is said together with the share.
                write_existing(&folder.join("cpu.cfs_period_us"), &CPU_PERIOD_US.to_string());
            }
        }
        Ok(())
    }

    /// Moves a process into the groups. This waits for the kernel (up to 12 ms): never on the path
    /// of a request.
    pub(crate) fn attach(&self, name: &str, pid: i32) -> io::Result<()> {
        let mut done: Vec<PathBuf> = Vec::new();
        for (_, folder) in self.folders(name) {
            if !done.contains(&folder) {
                fs::write(folder.join("cgroup.procs"), pid.to_string())?;
                done.push(folder);
            }
        }
        Ok(())
    }

    /// Files by which a process of one thread moves itself into the groups, which does not wait for
    /// the kernel; none where that is not how it is done.
    pub(crate) fn doors(&self, name: &str) -> io::Result<Vec<fs::File>> {
        if matches!(self.layout, Layout::V2 { .. }) {
            return Ok(Vec::new());
        }
        let mut folders: Vec<PathBuf> = self.folders(name).into_iter().map(|(_, f)| f).collect();
        folders.dedup();
        let open = |folder: PathBuf| fs::OpenOptions::new().write(true).open(folder.join("tasks"));
        folders.into_iter().map(open).collect()
    }

    /// Sets the limits of one environment.
    pub(crate) fn limit(&self, name: &str, limits: Limits) -> io::Result<()> {
        let v2 = matches!(self.layout, Layout::V2 { .. });
        for (controller, folder) in self.folders(name) {
            match (controller, v2) {
                _ if !stands(controller.barrier()) => {}
                (Controller::Memory, false) => limit_memory_v1(&folder, limits.memory_bytes)?,
                (Controller::Memory, true) => {
                    fs::write(folder.join("memory.max"), limits.memory_bytes.to_string())?;
                    write_if_present(&folder.join("memory.swap.max"), "0")?;
                }
                (Controller::Pids, _) => {
                    fs::write(folder.join("pids.max"), limits.pids_max.to_string())?;
                }
                (Controller::Cpu | Controller::Freezer, _) => {}
            }
        }
        Ok(())
    }

    /// Takes the limits of one environment away again.
    pub(crate) fn lift(&self, name: &str) -> io::Result<()> {
        let v2 = matches!(self.layout, Layout::V2 { .. });
        for (controller, folder) in self.folders(name) {
            match (controller, v2) {
                _ if !stands(controller.barrier()) => {}
                (Controller::Memory, false) => {
                    write_if_present(&folder.join("memory.memsw.limit_in_bytes"), "-1")?;
                    fs::write(folder.join("memory.limit_in_bytes"), "-1")?;
                    write_if_present(&folder.join("memory.kmem.tcp.limit_in_bytes"), "-1")?;
                }
                (Controller::Memory, true) => fs::write(folder.join("memory.max"), "max")?,
                (Controller::Pids, _) => fs::write(folder.join("pids.max"), "max")?,
                (Controller::Cpu | Controller::Freezer, _) => {}
            }
        }
        Ok(())
    }

    /// Gives an environment only the processor time that no other wants, or its usual part again.
    /// Where that cannot be said, it is as any other.
    pub(crate) fn set_background(&self, name: &str, background: bool) {
        let v2 = matches!(self.layout, Layout::V2 { .. });
        // The kernel's least and its default.
        let (file, part) = match (v2, background) {
            (true, true) => ("cpu.weight", "1"),
            (true, false) => ("cpu.weight", "100"),
            (false, true) => ("cpu.shares", "2"),
            (false, false) => ("cpu.shares", "1024"),
        };
        for (_, folder) in self.folders(name).iter().filter(|(c, _)| *c == Controller::Cpu) {
            write_existing(&folder.join(file), part);
        }
    }

    /// Where the daemon reads and writes the running environment's accounts.
    pub(crate) fn group(&self, name: &str) -> Group {
        let mut group = Group { v2: matches!(self.layout, Layout::V2 { .. }), ..Group::default() };
        for (controller, folder) in self.folders(name) {
            match controller {
                Controller::Memory => group.memory = Some(folder),
                _ if !stands(controller.barrier()) => {}
                Controller::Cpu => group.cpu = Some(folder),
                Controller::Freezer => group.freezer = Some(folder),
                Controller::Pids => {}
            }
        }
        group
    }

    /// Lets a frozen environment go on, because a frozen process does not die.
    pub(crate) fn thaw(&self, name: &str) {
        // It fails where it is not frozen or already gone: nothing to do then.
        let _ = self.group(name).set_frozen(false);
    }

    /// Removes an environment's groups; `false` while a process is still in one of them.
    pub(crate) fn remove(&self, name: &str) -> bool {
        let mut gone = true;
        for (_, folder) in self.folders(name) {
            match fs::remove_dir(&folder) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => gone = false,
                _ => {}
            }
        }
        gone
    }

    /// Removes what spawners that no longer run have left behind. Processes that are killed take a
    /// moment to leave their groups, and frozen ones have to be let go on first, which is said in
    /// another hierarchy than the one looked at first: so it looks several times.
    pub(crate) fn sweep(&self) {
        for _ in 0..SWEEPS_MAX {
            if self.sweep_once() {
                return;
            }
            let _ = poll(&mut [], PollTimeout::from(SWEEP_AGAIN_MS));
        }
    }

    /// Whether nothing is left.
    fn sweep_once(&self) -> bool {
        let mut gone = true;
        for (_, base) in self.bases() {
            let Some(parent) = base.parent() else { continue };
            let Ok(entries) = fs::read_dir(parent) else { continue };
            for entry in entries.flatten() {
                let name = entry.file_name();
                let pid = name.to_str().and_then(|name| name.strip_prefix("lambic-"));
                let pid = pid.map(|pid| pid.strip_suffix(LEAF_SUFFIX).unwrap_or(pid));
                let Some(pid) = pid.and_then(|pid| pid.parse::<u32>().ok()) else { continue };
                if pid != std::process::id() && !is_running_spawner(pid) {
                    gone &= end_tree(&entry.path());
                }
            }
        }
        gone
    }

    /// Ends whatever is left in the groups of this spawner, and removes them; `false` while
    /// something is still in one of them.
    pub(crate) fn end_all(&self) -> bool {
        let mut gone = true;
        for (_, base) in self.bases() {
            gone &= end_tree(&base);
        }
        if gone && let Layout::V2 { base, .. } = &self.layout {
            leave_v2(base);
        }
        gone
    }

    /// Removes everything of this spawner, as far as it is empty.
    pub(crate) fn remove_all(&self) {
        for (_, base) in self.bases() {
            remove_tree(&base);
        }
        if let Layout::V2 { base, .. } = &self.layout {
            leave_v2(base);
        }
    }
}

/// Whether `pid` is a spawner that runs.
pub(crate) fn is_running_spawner(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    is_living_spawner(&stat)
}

/// By the text of `/proc/<pid>/stat`. One that has ended but was not waited for does not run.
fn is_living_spawner(stat: &str) -> bool {
    let Some((name, rest)) = stat.split_once('(').and_then(|(_, rest)| rest.rsplit_once(')'))
    else {
        return false;
    };
    let state = rest.trim_start().chars().next();
    name == crate::spawner::PROCESS_NAME && !matches!(state, None | Some('Z' | 'X'))
}

/// Lets what is frozen below a spawner's folder go on, kills it, and removes what is empty;
/// whether all is gone.
fn end_tree(folder: &Path) -> bool {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        // Which of the two there is depends on the hierarchy; most have neither.
        write_existing(&entry.path().join("freezer.state"), "THAWED");
        write_existing(&entry.path().join("cgroup.freeze"), "0");
        let members = fs::read_to_string(entry.path().join("cgroup.procs")).unwrap_or_default();
        for pid in members.lines().filter_map(|pid| pid.parse::<i32>().ok()) {
            let pid = nix::unistd::Pid::from_raw(pid);
            let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
        }
    }
    remove_tree(folder);
    !folder.exists()
}

/// Writes to a file of the kernel where there is one. What fails is tried again, or told, by
/// whoever looks at the result.
fn write_existing(path: &Path, value: &str) {
    let file = fs::OpenOptions::new().write(true).open(path);
    let _ = file.and_then(|mut file| io::Write::write_all(&mut file, value.as_bytes()));
}

fn remove_tree(folder: &Path) {
    if let Ok(entries) = fs::read_dir(folder) {
        for entry in entries.flatten() {
            if entry.path().is_dir() {
                let _ = fs::remove_dir(entry.path());
            }
        }
    }
    let _ = fs::remove_dir(folder);
}

fn write_if_present(path: &Path, value: &str) -> io::Result<()> {
    match fs::write(path, value) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        // The file exists but swap accounting is off: there is nothing to limit.
        Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => Ok(()),
        other => other,
    }
}

fn limit_memory_v1(folder: &Path, bytes: u64) -> io::Result<()> {
    let (memory, with_swap) =
        (folder.join("memory.limit_in_bytes"), folder.join("memory.memsw.limit_in_bytes"));
    let bytes_text = bytes.to_string();
    // The smaller of the two may not be the larger one for a moment, whichever way they go.
    match fs::write(&memory, &bytes_text) {
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
            fs::write(&with_swap, &bytes_text)?;
            fs::write(&memory, &bytes_text)?;
        }
        lowered => {
            lowered?;
            write_if_present(&with_swap, &bytes_text)?;
        }
    }
    // v1 keeps the buffers of sockets in an account of their own; v2 counts them with the rest.
    write_if_present(&folder.join("memory.kmem.tcp.limit_in_bytes"), &(bytes / 4).to_string())
}

/// The v1 hierarchies of the controllers we use, each with this process's own group in it.
fn find_v1(mounts: &str, own: &str) -> Vec<(Controller, PathBuf)> {
    let mut found = Vec::new();
    for controller in Controller::ALL {
        let Some(path) = own.lines().find_map(|line| {
            let mut parts = line.splitn(3, ':').skip(1);
            let names = parts.next()?;
            let path = parts.next()?;
            names.split(',').any(|name| name == controller.name()).then_some(path)
        }) else {
            continue;
        };
        let Some((root, point)) = mounts.lines().find_map(|line| {
            let (left, right) = line.split_once(" - ")?;
            let mut right = right.split(' ');
            let kind = right.next()?;
            let options = right.nth(1)?;
            let is_it = kind == "cgroup" && options.split(',').any(|o| o == controller.name());
            let mut left = left.split(' ').skip(3);
            is_it.then_some((left.next()?, left.next()?))
        }) else {
            continue;
        };
        found.push((controller, below(point, root, path)));
    }
    found
}

/// This process's own group in the v2 hierarchy.
fn find_v2(mounts: &str, own: &str) -> Option<PathBuf> {
    let path = own.lines().find_map(|line| line.strip_prefix("0::"))?;
    mounts.lines().find_map(|line| {
        let (left, right) = line.split_once(" - ")?;
        let mut left = left.split(' ').skip(3);
        let (root, point) = (left.next()?, left.next()?);
        right.starts_with("cgroup2 ").then(|| below(point, root, path))
    })
}

/// The folder of group `path` when the mount at `point` shows the hierarchy from `root` down.
fn below(point: &str, root: &str, path: &str) -> PathBuf {
    let inner = path.strip_prefix(root).unwrap_or(path).trim_start_matches('/');
    Path::new(point).join(inner)
}

/// v2 lets only leaf groups hold processes: the daemon and the spawner move into a leaf of their own
/// before the controllers are handed down to its siblings. Processes of others are not moved.
fn prepare_v2(own: &Path, name: &str, ours: &[u32]) -> Result<Layout, String> {
    let available = fs::read_to_string(own.join("cgroup.controllers")).unwrap_or_default();
    let controllers: Vec<Controller> = [Controller::Memory, Controller::Cpu, Controller::Pids]
        .into_iter()
        .filter(|controller| available.split_whitespace().any(|name| name == controller.name()))
        .collect();
    if controllers.is_empty() {
        return Err(format!("{} offers no memory, cpu or pids controller", own.display()));
    }
    let base = own.join(name);
    let leaf = own.join(format!("{name}{LEAF_SUFFIX}"));
    let members = fs::read_to_string(own.join("cgroup.procs")).unwrap_or_default();
    let members: Vec<u32> = members.split_whitespace().filter_map(|pid| pid.parse().ok()).collect();
    if members.iter().any(|pid| !ours.contains(pid)) {
        return Err(format!(
            "other processes share the control group {}: start as a service with Delegate=yes, or \
             with systemd-run --scope -p Delegate=yes",
            own.display()
        ));
    }
    let run = || -> io::Result<()> {
        fs::create_dir_all(&leaf)?;
        for pid in members {
            fs::write(leaf.join("cgroup.procs"), pid.to_string())?;
        }
        fs::create_dir_all(&base)?;
        for controller in &controllers {
            let enable = format!("+{}", controller.name());
            fs::write(own.join("cgroup.subtree_control"), &enable)?;
            fs::write(base.join("cgroup.subtree_control"), &enable)?;
        }
        Ok(())
    };
    run().map_err(|error| format!("{} is not ours to divide: {error}", own.display()))?;
    let controllers = controllers.into_iter().chain([Controller::Freezer]).collect();
    Ok(Layout::V2 { base, controllers })
}

/// Undoes [`prepare_v2`] as far as possible: the daemon and this process go back to where they
/// were, and the leaf goes away.
fn leave_v2(base: &Path) {
    let (Some(own), Some(name)) = (base.parent(), base.file_name()) else { return };
    let leaf = own.join(format!("{}{LEAF_SUFFIX}", name.to_string_lossy()));
    for controller in [Controller::Memory, Controller::Cpu, Controller::Pids] {
        let _ = fs::write(own.join("cgroup.subtree_control"), format!("-{}", controller.name()));
    }
    let members = fs::read_to_string(leaf.join("cgroup.procs")).unwrap_or_default();
    for pid in members.split_whitespace() {
        let _ = fs::write(own.join("cgroup.procs"), pid);
    }
    let _ = fs::remove_dir(&leaf);
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID_MOUNTS: &str = "\
30 24 0:26 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
31 24 0:27 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
32 24 0:28 /docker/abc /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids
33 24 0:29 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw";
    const HYBRID_OWN: &str = "\
4:memory:/user/1
2:cpu,cpuacct:/
8:pids:/docker/abc/child
0::/";

    #[test]
    fn v1_controllers_are_found_wherever_they_are_mounted() {
        let found = find_v1(HYBRID_MOUNTS, HYBRID_OWN);
        let expected = [
            (Controller::Memory, PathBuf::from("/sys/fs/cgroup/memory/user/1")),
            (Controller::Cpu, PathBuf::from("/sys/fs/cgroup/cpu,cpuacct")),
            (Controller::Pids, PathBuf::from("/sys/fs/cgroup/pids/child")),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn a_spawner_that_has_ended_does_not_run() {
        assert!(is_living_spawner("12 (lambic-spawner) S 1 12 12 0"));
        assert!(!is_living_spawner("12 (lambic-spawner) Z 1 12 12 0"));
        assert!(!is_living_spawner("12 (lambic) S 1 12 12 0"));
        assert!(!is_living_spawner(""));
    }

    #[test]
    fn the_own_group_is_found_in_v2() {
        let mounts = "25 1 0:22 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw";
        let own = "0::/system.slice/lambic.service";
        let expected = PathBuf::from("/sys/fs/cgroup/system.slice/lambic.service");
        assert_eq!(find_v2(mounts, own), Some(expected));
        assert!(find_v1(mounts, own).is_empty());
    }

    #[test]
    fn v2_is_divided_into_a_leaf_for_ourselves_and_a_base_for_environments() {
        let own = tempfile::tempdir().unwrap();
        fs::write(own.path().join("cgroup.controllers"), "cpuset cpu io memory pids\n").unwrap();
        fs::write(own.path().join("cgroup.procs"), "1\n2\n").unwrap();
        let Layout::V2 { base, controllers } = prepare_v2(own.path(), "lambic-9", &[1, 2]).unwrap()
        else {
            panic!("not v2");
        };
        assert_eq!(base, own.path().join("lambic-9"));
        assert_eq!(controllers.len(), 4);
        let moved = fs::read_to_string(own.path().join("lambic-9-self/cgroup.procs")).unwrap();
        assert_eq!(moved, "2");
        let groups = Groups { layout: Layout::V2 { base, controllers } };
        groups.create("e1").unwrap();
        groups.limit("e1", Limits { memory_bytes: 1 << 27, pids_max: 10 }).unwrap();
        let folder = own.path().join("lambic-9/e1");
        assert_eq!(fs::read_to_string(folder.join("memory.max")).unwrap(), "134217728");
        assert_eq!(fs::read_to_string(folder.join("pids.max")).unwrap(), "10");
        assert_eq!(groups.group("e1").memory, Some(folder));
    }

    #[test]
    fn a_v2_group_that_others_live_in_is_left_alone() {
        let own = tempfile::tempdir().unwrap();
        fs::write(own.path().join("cgroup.controllers"), "cpu memory pids\n").unwrap();
        fs::write(own.path().join("cgroup.procs"), "1\n2\n3\n").unwrap();
        let error = prepare_v2(own.path(), "lambic-9", &[2, 3]).unwrap_err();
        assert!(error.contains("Delegate=yes"), "{error}");
        assert_eq!(fs::read_dir(own.path()).unwrap().count(), 2, "nothing was made");
    }

    #[test]
    fn a_v2_folder_without_controllers_is_refused_by_name() {
        let own = tempfile::tempdir().unwrap();
        let error = prepare_v2(own.path(), "lambic-9", &[]).unwrap_err();
        assert!(error.contains("offers no memory, cpu or pids controller"), "{error}");
    }
}
