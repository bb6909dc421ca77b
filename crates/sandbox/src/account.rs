//! What an environment has used, read from its control group, or from `/proc` where there is none.

use std::fs;
use std::io;
use std::path::Path;

use crate::protocol::Group;

/// Memory of one environment since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryUse {
    /// The most that was in use at a time, in bytes; 0 when this machine cannot tell.
    pub peak_bytes: u64,
    /// How many processes the kernel has killed because the limit was reached.
    pub oom_kills: u64,
}

/// Length of the period within which the processor share is enforced, in microseconds. AWS uses
/// 20 ms too.
const CPU_PERIOD_US: u64 = 20_000;

impl Group {
    /// What has been used so far.
    pub(crate) fn memory_use(&self, init_pid: i32) -> MemoryUse {
        let Some(folder) = &self.memory else {
            return MemoryUse { peak_bytes: peak_of_tree(init_pid, 0), oom_kills: 0 };
        };
        let (peak, events) = if self.v2 {
            ("memory.peak", "memory.events")
        } else {
            ("memory.max_usage_in_bytes", "memory.oom_control")
        };
        MemoryUse {
            peak_bytes: number(&folder.join(peak)).unwrap_or(0),
            oom_kills: named_number(&folder.join(events), "oom_kill").unwrap_or(0),
        }
    }

    /// Limits the processors to `millis` thousandths of one; `None` lifts the limit.
    pub(crate) fn set_cpu(&self, millis: Option<u32>) -> io::Result<()> {
        let Some(folder) = &self.cpu else { return Ok(()) };
        let quota = millis.map(|millis| u64::from(millis) * CPU_PERIOD_US / 1_000);
        if self.v2 {
            let quota = quota.map_or("max".to_owned(), |quota| quota.to_string());
            return fs::write(folder.join("cpu.max"), format!("{quota} {CPU_PERIOD_US}"));
        }
        fs::write(folder.join("cpu.cfs_period_us"), CPU_PERIOD_US.to_string())?;
        let quota = quota.map_or("-1".to_owned(), |quota| quota.to_string());
        fs::write(folder.join("cpu.cfs_quota_us"), quota)
    }

    /// Stops (or resumes) every process inside.
    pub(crate) fn set_frozen(&self, frozen: bool) -> io::Result<()> {
        let Some(folder) = &self.freezer else { return Ok(()) };
        match (self.v2, frozen) {
            (true, true) => fs::write(folder.join("cgroup.freeze"), "1"),
            (true, false) => fs::write(folder.join("cgroup.freeze"), "0"),
            (false, true) => fs::write(folder.join("freezer.state"), "FROZEN"),
            (false, false) => fs::write(folder.join("freezer.state"), "THAWED"),
        }
    }
}

fn number(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

fn named_number(path: &Path, name: &str) -> Option<u64> {
    let text = fs::read_to_string(path).ok()?;
    text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
}

/// Peak resident memory of a process and its descendants, summed, in bytes.
fn peak_of_tree(pid: i32, depth: u32) -> u64 {
    const DEPTH_MAX: u32 = 16;
    if depth > DEPTH_MAX {
        return 0;
    }
    let own = named_number_kb(Path::new(&format!("/proc/{pid}/status")), "VmHWM:");
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    let children = children.unwrap_or_default();
    let children = children.split_whitespace().filter_map(|child| child.parse().ok());
    own.unwrap_or(0) * 1024 + children.map(|child| peak_of_tree(child, depth + 1)).sum::<u64>()
}

fn named_number_kb(path: &Path, name: &str) -> Option<u64> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().trim_end_matches("kB").trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(v2: bool, files: &[(&str, &str)]) -> (tempfile::TempDir, Group) {
        let folder = tempfile::tempdir().unwrap();
        for (name, content) in files {
            fs::write(folder.path().join(name), content).unwrap();
        }
        let path = Some(folder.path().to_owned());
        let group = Group { memory: path.clone(), cpu: path.clone(), freezer: path, v2 };
        (folder, group)
    }

    #[test]
    fn memory_is_read_from_both_layouts() {
        let expected = MemoryUse { peak_bytes: 4096, oom_kills: 2 };
        let v1 = [
            ("memory.max_usage_in_bytes", "4096\n"),
            ("memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n"),
        ];
        assert_eq!(check(false, &v1).1.memory_use(0), expected);
        let v2 = [("memory.peak", "4096\n"), ("memory.events", "low 0\noom 3\noom_kill 2\n")];
        assert_eq!(check(true, &v2).1.memory_use(0), expected);
    }

    #[test]
    fn the_processor_share_is_written_to_both_layouts() {
        let (folder, group) = check(true, &[]);
        group.set_cpu(Some(500)).unwrap();
        assert_eq!(fs::read_to_string(folder.path().join("cpu.max")).unwrap(), "10000 20000");
        group.set_cpu(None).unwrap();
        assert_eq!(fs::read_to_string(folder.path().join("cpu.max")).unwrap(), "max 20000");
        let (folder, group) = check(false, &[]);
        group.set_cpu(Some(2_000)).unwrap();
        let quota = fs::read_to_string(folder.path().join("cpu.cfs_quota_us")).unwrap();
        assert_eq!(quota, "40000");
    }

    #[test]
    fn without_a_memory_controller_the_peak_comes_from_proc() {
        let own = std::process::id() as i32;
        assert!(Group::default().memory_use(own).peak_bytes > 100_000);
    }
}
