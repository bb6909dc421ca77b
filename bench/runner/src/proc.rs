//! What processes used: processor time to the nanosecond, memory, groups, and who descends from whom.

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;

/// A process and all that descend from it.
pub fn family(root: u32) -> Vec<u32> {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    for pid in numbers("/proc") {
        if let Some(parent) = parent(pid) {
            children.entry(parent).or_default().push(pid);
        }
    }
    let (mut found, mut next) = (Vec::new(), vec![root]);
    while let Some(pid) = next.pop() {
        found.push(pid);
        next.extend(children.remove(&pid).unwrap_or_default());
    }
    found
}

fn parent(pid: u32) -> Option<u32> {
    parent_of(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// The name of a process may hold spaces and brackets; what counts comes after its last bracket.
fn parent_of(stat: &str) -> Option<u32> {
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

fn numbers(folder: &str) -> Vec<u32> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// The threads of a process.
pub fn threads(pid: u32) -> Vec<u32> {
    numbers(&format!("/proc/{pid}/task"))
}

/// Processor time that the threads of a process have had, in nanoseconds: user and system together, as
/// the scheduler counts it and not as the clock's tick samples it.
pub fn cpu_ns(pid: u32) -> u64 {
    let of_thread = |tid: u32| {
        let text = fs::read_to_string(format!("/proc/{pid}/task/{tid}/schedstat")).ok()?;
        text.split(' ').next()?.parse::<u64>().ok()
    };
    threads(pid).into_iter().filter_map(of_thread).sum()
}

/// The processor time of each of these processes.
pub fn cpu_of(pids: &[u32]) -> HashMap<u32, u64> {
    pids.iter().map(|pid| (*pid, cpu_ns(*pid))).collect()
}

/// What was used between two looks, by process. Those that came between do not count: they are being
/// made, and not asked.
pub fn used_ns(before: &HashMap<u32, u64>, after: &HashMap<u32, u64>) -> HashMap<u32, u64> {
    let since = |pid: &u32, now: &u64| Some((*pid, now.saturating_sub(*before.get(pid)?)));
    after.iter().filter_map(|(pid, now)| since(pid, now)).collect()
}

/// A field of `/proc/<pid>/smaps_rollup` in kilobytes, such as `Pss`.
pub fn smaps_kb(pid: u32, field: &str) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let line = text.lines().find(|line| line.split(':').next() == Some(field))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// The folder of a process's group of one controller (control groups v1, else v2).
pub fn group(pid: u32, controller: &str) -> Option<PathBuf> {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    group_in(&text, &mounts, controller)
}

fn group_in(groups: &str, mounts: &str, controller: &str) -> Option<PathBuf> {
    let find = |wanted: &str| {
        groups.lines().find_map(|line| {
            let mut parts = line.splitn(3, ':').skip(1);
            let (names, path) = (parts.next()?, parts.next()?);
            names.split(',').any(|name| name == wanted).then(|| path.trim_start_matches('/').to_owned())
        })
    };
    let mount = |kind: &str, option: &str| {
        mounts.lines().find_map(|line| {
            let (front, back) = line.split_once(" - ")?;
            let (back, point) = (back.split(' ').collect::<Vec<_>>(), front.split(' ').nth(4)?);
            let is_it = back.first() == Some(&kind)
                && (option.is_empty() || back.last()?.split(',').any(|one| one == option));
            is_it.then(|| PathBuf::from(point))
        })
    };
    match find(controller).and_then(|path| Some(mount("cgroup", controller)?.join(path))) {
        Some(folder) => Some(folder),
        None => Some(mount("cgroup2", "")?.join(find("")?)),
    }
}

/// Bytes that a memory group is charged with, what the kernel holds for it included.
pub fn memory_bytes(folder: &std::path::Path) -> Option<u64> {
    let read = |name: &str| fs::read_to_string(folder.join(name)).ok()?.trim().parse().ok();
    read("memory.usage_in_bytes").or_else(|| read("memory.current"))
}

/// `cgroup v1`, `cgroup v2` or neither, by who has the memory controller.
pub fn cgroup_version() -> &'static str {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let has = |text: &str| mounts.lines().any(|line| line.contains(text));
    match (has(" - cgroup "), has(" - cgroup2 ")) {
        (true, _) => "cgroup v1",
        (false, true) => "cgroup v2",
        (false, false) => "no control groups",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_strange_name_hides_no_parent() {
        assert_eq!(parent_of("12 (a) b (c)) S 7 12 12 0"), Some(7));
        assert_eq!(parent_of("nonsense"), None);
    }

    #[test]
    fn groups_of_both_layouts() {
        let v1 = "30 24 0:26 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
                  31 24 0:27 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
                  32 24 0:28 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        let of = "5:memory:/lambic-1/e2\n2:cpu,cpuacct:/lambic-1/e2\n0::/\n";
        assert_eq!(group_in(of, v1, "cpu"), Some(PathBuf::from("/sys/fs/cgroup/cpu,cpuacct/lambic-1/e2")));
        assert_eq!(group_in(of, v1, "memory"), Some(PathBuf::from("/sys/fs/cgroup/memory/lambic-1/e2")));
        let v2 = "30 24 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n";
        assert_eq!(group_in("0::/a/b\n", v2, "memory"), Some(PathBuf::from("/sys/fs/cgroup/a/b")));
    }

    #[test]
    fn a_child_is_of_the_family_and_uses_time() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let found = family(std::process::id());
        assert!(found.contains(&std::process::id()) && found.contains(&child.id()));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(cpu_ns(std::process::id()) > 0);
    }

    #[test]
    fn use_is_the_difference() {
        let (before, after) = (HashMap::from([(1, 10), (2, 5)]), HashMap::from([(1, 30), (3, 7)]));
        assert_eq!(used_ns(&before, &after), HashMap::from([(1, 20)]));
    }
}
