//! Counting what belongs to the servers of this run, and to nobody else: other servers may run on the
//! same machine at the same time.
//!
//! A live server without environments has to be back at what it had at its start ([`Living`]); of a
//! dead one nothing may be left ([`left_of`]). Links carry no owner: ours are those that were not there
//! before the run, without those that a process of somebody else uses.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::server::{self, Life, descendants, processes};

/// Numbers of links: see `crates/sandbox/src/network.rs`.
const LINKS_MAX: u64 = 65_536;
const FIRST_LINK: u32 = u32::from_be_bytes([198, 18, 0, 0]);
/// Groups lie at most so deep below the mount of their hierarchy.
const GROUP_DEPTH_MAX: u32 = 6;

/// Open descriptors may differ by so many from one idle moment to another.
pub const DESCRIPTORS_SLACK: u64 = 4;
/// Threads come and go with blocking work.
const THREADS_SLACK: u64 = 16;
/// Resident memory may grow by so much over the life of one process, in kB.
pub const MEMORY_SLACK_KB: u64 = 24 * 1024;
/// The data directory may grow by so much, in kB: the journal of the store, and packages that wait
/// for their sweep.
const DISK_SLACK_KB: u64 = 32 * 1024;

/// Where the run takes place.
pub struct Ground {
    /// The data directory.
    pub data: PathBuf,
    /// Links that were there before the run.
    pub foreign: BTreeSet<String>,
}

/// The figure that belongs to the data directory, and so to all lives.
pub const DISK: &str = "disk, kB";
const MEMORY: [&str; 2] = ["memory of the daemon, kB", "memory of the spawner, kB"];

/// What a live server without environments has.
#[derive(Clone, Debug, Default)]
pub struct Living {
    pub figures: BTreeMap<&'static str, u64>,
    /// What the descriptors lead to, in kinds: for the words of a failure.
    descriptors: BTreeMap<String, u64>,
}

/// How much more than at first there may be.
fn slack(figure: &str) -> u64 {
    match figure {
        "descriptors of the daemon" | "descriptors of the spawner" => DESCRIPTORS_SLACK,
        "threads of the daemon" => THREADS_SLACK,
        memory if MEMORY.contains(&memory) => MEMORY_SLACK_KB,
        DISK => DISK_SLACK_KB,
        _ => 0,
    }
}

impl Living {
    pub fn count(life: &Life, ground: &Ground) -> Living {
        let data = &ground.data;
        let mut pids = descendants(&processes(), life.daemon);
        let mut descriptors = BTreeMap::new();
        let mut figures = BTreeMap::from([("processes", pids.len() as u64)]);
        pids.insert(life.daemon);
        figures.insert("namespaces", namespaces(&pids).len() as u64);
        figures.insert("control groups", groups(life.spawner).len() as u64);
        figures.insert("mounts", lines_of(&format!("/proc/{}/mountinfo", life.spawner), |_| true));
        figures.insert("mounts of the host", host_mounts(data, life.daemon));
        figures.insert("links", links(ground).len() as u64);
        figures.insert("loop devices", loops(data).len() as u64);
        figures.insert("descriptors of the daemon", kinds(life.daemon, "daemon", &mut descriptors));
        figures.insert("descriptors of the spawner", kinds(life.spawner, "spawner", &mut descriptors));
        figures.insert("threads of the daemon", status(life.daemon, "Threads:"));
        figures.insert("memory of the daemon, kB", status(life.daemon, "VmRSS:"));
        figures.insert("memory of the spawner, kB", status(life.spawner, "VmRSS:"));
        figures.insert(DISK, disk_kb(data));
        Living { figures, descriptors }
    }

    /// Memory is compared with another moment than the rest.
    pub fn take_memory_of(&mut self, other: &Living) {
        MEMORY.into_iter().for_each(|name| self.raise(name, other));
    }

    /// Takes one figure of the other.
    pub fn raise(&mut self, name: &'static str, other: &Living) {
        self.set(name, other.figures.get(name).copied().unwrap_or(0));
    }

    pub fn set(&mut self, name: &'static str, value: u64) {
        self.figures.insert(name, value);
    }

    /// Each figure, then and now.
    pub fn beside(&self, then: &Living) -> Vec<(&'static str, u64, u64)> {
        let before = |name: &str| then.figures.get(name).copied().unwrap_or(0);
        self.figures.iter().map(|(name, now)| (*name, before(name), *now)).collect()
    }

    /// What there is more of than at first: which, how many of them, and a sentence.
    pub fn beyond(&self, first: &Living) -> Vec<(&'static str, u64, String)> {
        let mut found = Vec::new();
        for (name, now) in &self.figures {
            let before = first.figures.get(name).copied().unwrap_or(0);
            if *now > before + slack(name) {
                let more =
                    if name.starts_with("descriptors") { self.kinds_beyond(first) } else { String::new() };
                let many = if name.ends_with("kB") { 1 } else { now - before };
                found.push((*name, many, format!("{name}: {before} at first, {now} now{more}")));
            }
        }
        found
    }

    fn kinds_beyond(&self, first: &Living) -> String {
        let mut text = String::new();
        for (kind, now) in &self.descriptors {
            let before = first.descriptors.get(kind).copied().unwrap_or(0);
            if *now > before {
                text.push_str(&format!("; {kind} {before} → {now}"));
            }
        }
        text
    }
}

/// A server that has ended.
#[derive(Clone, Copy, Debug)]
pub struct Dead {
    pub daemon: i32,
    pub spawner: i32,
    /// How it died.
    pub death: &'static str,
    /// Whether its environments were frozen then.
    pub asleep: bool,
    /// Whether its zombies were collected before the next start.
    pub collected: bool,
}

/// What is left of dead servers: kind and words. `alive` is the server that runs now.
pub fn left_of(dead: &[Dead], alive: Option<&Life>, ground: &Ground) -> Vec<(&'static str, String)> {
    let (mut left, data) = (Vec::new(), &ground.data);
    let tree = processes();
    let mut ours = descendants(&tree, std::process::id() as i32);
    if let Some(life) = alive {
        ours.remove(&life.daemon);
        ours = &ours - &descendants(&tree, life.daemon);
    }
    for pid in ours.iter().filter(|pid| tree.get(pid).is_some_and(|process| !process.zombie)) {
        let name = server::name_of(*pid).unwrap_or_default();
        // Our own helper programs are gone in a moment; the census is repeated.
        left.push(("processes", format!("process {pid} ({name})")));
    }
    let tables = tables();
    for one in dead {
        let asleep = if one.asleep { ", asleep" } else { "" };
        let zombies = if one.collected { "" } else { ", zombies not collected" };
        let mut told =
            |kind, what: String| left.push((kind, format!("{what} (after {}{asleep}{zombies})", one.death)));
        groups(one.spawner).iter().for_each(|folder| told("control groups", folder.display().to_string()));
        if tables.contains(&format!("lambic_{}", one.spawner)) {
            told("filter tables", format!("lambic_{}", one.spawner));
        }
        for folder in server::folders_of(one.daemon, data).iter().filter(|folder| folder.exists()) {
            told("folders", folder.display().to_string());
        }
        if host_mounts(data, one.daemon) > 0 {
            told("mounts", format!("mounts of server {}", one.daemon));
        }
        let folder = data.join("sandbox").join(one.daemon.to_string());
        loops(&folder).into_iter().for_each(|device| told("loop devices", device));
    }
    let in_use = alive.map(|life| links_used(&descendants(&tree, life.daemon))).unwrap_or_default();
    let how = dead.last().map_or("no death", |last| last.death);
    let links = &links(ground) - &in_use;
    left.extend(links.into_iter().map(|link| ("links", format!("{link} (after {how})"))));
    left
}

/// Removes what [`left_of`] has told of, so that the machine is as before.
pub fn remove_left(dead: &[Dead]) {
    let own = std::process::id() as i32;
    for pid in descendants(&processes(), own) {
        server::signal_below(own, pid, libc::SIGKILL);
    }
    for one in dead {
        let folders = groups(one.spawner);
        for folder in &folders {
            // Only the freezer's folders have this file.
            _ = std::fs::OpenOptions::new()
                .write(true)
                .open(folder.join("freezer.state"))
                .and_then(|mut file| std::io::Write::write_all(&mut file, b"THAWED"));
        }
        // The kernel needs a moment for the killed.
        _ = crate::until(std::time::Duration::from_secs(5), "groups to be empty", || {
            server::collect_zombies(0);
            groups(one.spawner).iter().rev().for_each(|folder| _ = std::fs::remove_dir(folder));
            Ok(groups(one.spawner).is_empty())
        });
        let table = format!("lambic_{}", one.spawner);
        if tables().contains(&table) {
            _ = Command::new("nft").args(["delete", "table", "inet", &table]).status();
        }
    }
}

/// The folders `lambic-<spawner>` below every hierarchy of control groups, and all below them; parents
/// come before their children.
fn groups(spawner: i32) -> Vec<PathBuf> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let names = [format!("lambic-{spawner}"), format!("lambic-{spawner}-self")];
    let mut found = Vec::new();
    for line in mounts.lines().filter(|line| line.contains(" - cgroup")) {
        if let Some(point) = line.split(' ').nth(4) {
            groups_below(Path::new(point), GROUP_DEPTH_MAX, false, &names, &mut found);
        }
    }
    found
}

fn groups_below(folder: &Path, depth: u32, inside: bool, names: &[String], found: &mut Vec<PathBuf>) {
    if depth == 0 {
        return;
    }
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        let inside = inside || names.iter().any(|name| entry.file_name() == name.as_str());
        if inside {
            found.push(entry.path());
        }
        groups_below(&entry.path(), depth - 1, inside, names, found);
    }
}

fn namespaces(pids: &BTreeSet<i32>) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    for pid in pids {
        for kind in ["user", "mnt", "pid", "net", "ipc", "uts", "cgroup"] {
            found.extend(std::fs::read_link(format!("/proc/{pid}/ns/{kind}")));
        }
    }
    found
}

fn lines_of(path: &str, wanted: impl Fn(&str) -> bool) -> u64 {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().filter(|line| wanted(line)).count() as u64
}

fn host_mounts(data: &Path, daemon: i32) -> u64 {
    let [run, other, images] =
        server::folders_of(daemon, data).map(|folder| format!(" {}", folder.display()));
    lines_of("/proc/self/mountinfo", |line| [&run, &other, &images].iter().any(|path| line.contains(*path)))
}

/// The links of this run's servers; see the module.
fn links(ground: &Ground) -> BTreeSet<String> {
    let found = &links_now() - &ground.foreign;
    if found.is_empty() {
        return found;
    }
    let tree = processes();
    let ours = descendants(&tree, std::process::id() as i32);
    let others = tree.keys().copied().filter(|pid| !ours.contains(pid)).collect();
    &found - &links_used(&others)
}

/// All links of environments on this machine.
pub fn links_now() -> BTreeSet<String> {
    let entries = std::fs::read_dir("/sys/class/net").into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|name| name.starts_with("lmb")).collect()
}

/// The links that these processes use.
fn links_used(pids: &BTreeSet<i32>) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for pid in pids {
        let table = std::fs::read_to_string(format!("/proc/{pid}/net/route")).unwrap_or_default();
        found.extend(table.lines().filter_map(link_of_route));
    }
    found
}

/// The link whose host end is the gateway of this line of a routing table.
fn link_of_route(line: &str) -> Option<String> {
    let gateway = line.split_whitespace().nth(2)?;
    let gateway = u32::from_str_radix(gateway, 16).ok()?.swap_bytes();
    let offset = gateway.checked_sub(FIRST_LINK)?;
    (u64::from(offset) < 2 * LINKS_MAX).then(|| format!("lmb{}", offset / 2))
}

/// Loop devices whose file lies, or lay, in this folder.
fn loops(folder: &Path) -> Vec<String> {
    let prefix = format!("{}/", folder.display());
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/sys/block").into_iter().flatten().flatten() {
        let backing = std::fs::read_to_string(entry.path().join("loop/backing_file"));
        if backing.is_ok_and(|path| path.starts_with(&prefix)) {
            found.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    found
}

/// The filter tables of the machine.
fn tables() -> BTreeSet<String> {
    let listed = Command::new("nft").args(["list", "tables", "inet"]).output();
    let listed =
        listed.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    listed.lines().filter_map(|line| line.strip_prefix("table inet ")).map(str::to_owned).collect()
}

/// How many descriptors a process has, and of which kinds.
fn kinds(pid: i32, who: &str, kinds: &mut BTreeMap<String, u64>) -> u64 {
    let mut count = 0;
    for entry in std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten() {
        let target = std::fs::read_link(entry.path()).unwrap_or_default().display().to_string();
        let kind = match target.split_once(":[") {
            Some((kind, _)) => kind.to_owned(),
            None if target.contains("(deleted)") => "deleted file".to_owned(),
            None => target,
        };
        *kinds.entry(format!("{kind} of the {who}")).or_default() += 1;
        count += 1;
    }
    count
}

/// A number of `/proc/<pid>/status`.
pub fn status(pid: i32, name: &str) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// What the folder takes on the disk.
fn disk_kb(folder: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let mut sum = 0;
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let Ok(data) = entry.metadata() else { continue };
        sum += data.blocks() / 2;
        if data.is_dir() {
            sum += disk_kb(&entry.path());
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_tells_its_link() {
        // 198.18.0.4, as the kernel prints it.
        let line = "eth0\t00000000\t040012C6\t0003\t0\t0\t0\t00000000\t0\t0\t0";
        assert_eq!(link_of_route(line), Some("lmb2".to_owned()));
        assert_eq!(link_of_route("eth0\t00000000\t0100A8C0\t0003"), None);
        assert_eq!(link_of_route("Iface\tDestination\tGateway \tFlags"), None);
    }

    #[test]
    fn only_what_is_beyond_its_slack_is_told() {
        let living = |descriptors, processes| Living {
            figures: BTreeMap::from([("descriptors of the daemon", descriptors), ("processes", processes)]),
            descriptors: BTreeMap::from([("socket of the daemon".to_owned(), descriptors)]),
        };
        let first = living(20, 5);
        assert!(living(20 + DESCRIPTORS_SLACK, 5).beyond(&first).is_empty());
        let found = living(21 + DESCRIPTORS_SLACK, 6).beyond(&first);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].2.contains("socket of the daemon 20 → 25"), "{found:?}");
    }
}
