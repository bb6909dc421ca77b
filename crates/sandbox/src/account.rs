//! What an environment has used, read from its control group, or from `/proc` where there is none.

use std::fs;
use std::io;
use std::path::Path;

use crate::protocol::Group;

/// The most memory that an environment has been seen to use, in bytes, without the cache of files.
///
/// The kernel's own record counts what it keeps of files too, everything a function wrote to `/tmp`
/// for example, which it gives back when memory is wanted. It has no record without. So this puts
/// together what is known for certain, and remembers the most of it: what is in use at the moment
/// without the cache, the peaks of the processes that live, and the kernel's record less the most
/// cache that was seen. As long as there was hardly any cache, the record itself is right.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct MemoryFollower {
    peak_bytes: u64,
    cache_bytes_max: u64,
}

/// Cache that makes no difference to a figure in megabytes.
const CACHE_BYTES_SMALL: u64 = 1 << 20;

impl MemoryFollower {
    /// The most until now; reads a few files of the kernel.
    pub(crate) fn peak_bytes(&mut self, group: &Group, init_pid: i32) -> u64 {
        let now = match &group.memory {
            None => peak_of_tree(init_pid, 0),
            Some(folder) => {
                let [record, current, shared] = match group.v2 {
                    true => ["memory.peak", "memory.current", "shmem"],
                    false => ["memory.max_usage_in_bytes", "memory.usage_in_bytes", "total_shmem"],
                };
                let cached = if group.v2 { "file" } else { "total_cache" };
                let record = number(&folder.join(record)).unwrap_or(0);
                if record != 0 && record <= self.peak_bytes {
                    // Nothing below can be more than the record.
                    return self.peak_bytes;
                }
                let stat = fs::read_to_string(folder.join("memory.stat")).unwrap_or_default();
                let of = |name| named(&stat, name).unwrap_or(0);
                // What is shared in memory is no cache: it has no file to go back to.
                let cache = of(cached).saturating_sub(of(shared));
                self.cache_bytes_max = self.cache_bytes_max.max(cache);
                if self.cache_bytes_max <= CACHE_BYTES_SMALL {
                    record
                } else {
                    let current = number(&folder.join(current)).unwrap_or(0);
                    let certain = record.saturating_sub(self.cache_bytes_max);
                    let processes = peak_of_tree(init_pid, 0).min(record);
                    certain.max(current.saturating_sub(cache)).max(processes)
                }
            }
        };
        self.peak_bytes = self.peak_bytes.max(now);
        self.peak_bytes
    }
}

/// Length of the period within which the processor share is enforced, in microseconds. AWS uses
/// 20 ms too.
pub(crate) const CPU_PERIOD_US: u64 = 20_000;

impl Group {
    /// How many processes the kernel has killed because the limit was reached.
    pub(crate) fn oom_kills(&self) -> u64 {
        let Some(folder) = &self.memory else { return 0 };
        let events = if self.v2 { "memory.events" } else { "memory.oom_control" };
        named_number(&folder.join(events), "oom_kill").unwrap_or(0)
    }

    /// Limits the processors to `millis` thousandths of one; `None` lifts the limit.
    pub(crate) fn set_cpu(&self, millis: Option<u32>) -> io::Result<()> {
        let Some(folder) = &self.cpu else { return Ok(()) };
        let quota = millis.map(|millis| u64::from(millis) * CPU_PERIOD_US / 1_000);
        if self.v2 {
            let quota = quota.map_or("max".to_owned(), |quota| quota.to_string());
            return fs::write(folder.join("cpu.max"), format!("{quota} {CPU_PERIOD_US}"));
        }
        // The period was set when the group was made.
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
    named(&fs::read_to_string(path).ok()?, name)
}

fn named(text: &str, name: &str) -> Option<u64> {
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
        let v1 = [
            ("memory.max_usage_in_bytes", "4096\n"),
            ("memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n"),
        ];
        let v2 = [("memory.peak", "4096\n"), ("memory.events", "low 0\noom 3\noom_kill 2\n")];
        for (is_v2, files) in [(false, v1), (true, v2)] {
            let (_folder, group) = check(is_v2, &files);
            assert_eq!(MemoryFollower::default().peak_bytes(&group, 0), 4096);
            assert_eq!(group.oom_kills(), 2);
        }
    }

    #[test]
    fn what_the_kernel_caches_of_files_is_not_used_memory() {
        const MB: u64 = 1 << 20;
        let stat = |cache: u64, shared: u64| {
            format!("cache 1\ntotal_cache {}\ntotal_shmem {}\n", cache * MB, shared * MB)
        };
        let (folder, group) = check(false, &[]);
        let set = |record: u64, current: u64, stat: &str| {
            let write = |name: &str, text: String| fs::write(folder.path().join(name), text);
            write("memory.max_usage_in_bytes", (record * MB).to_string()).unwrap();
            write("memory.usage_in_bytes", (current * MB).to_string()).unwrap();
            write("memory.stat", stat.to_owned()).unwrap();
        };
        let mut follower = MemoryFollower::default();
        set(50, 50, &stat(0, 0));
        assert_eq!(follower.peak_bytes(&group, 0), 50 * MB);
        set(360, 340, &stat(300, 0));
        assert_eq!(follower.peak_bytes(&group, 0), 60 * MB, "the record less the cache");
        set(360, 40, &stat(0, 0));
        assert_eq!(follower.peak_bytes(&group, 0), 60 * MB, "the most is remembered");
        set(500, 500, &stat(300, 280));
        assert_eq!(follower.peak_bytes(&group, 0), 480 * MB, "shared memory has no file");
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
        assert!(MemoryFollower::default().peak_bytes(&Group::default(), own) > 100_000);
    }
}
