//! Priorities: everybody who takes part has nice -20, and single windows of warm load run at real-time
//! priority.
//!
//! Real time is for windows of at most a second, on all threads of a competitor and of the load
//! generator, and is taken back after each. The kernel keeps a twentieth of every second for others
//! (`sched_rt_runtime_us`), so nothing that spins can take the machine. In control groups v1 a process
//! can only be real-time in a group that has real-time runtime of its own; [`Raised`] gives it to the
//! groups whose processes work, by what they used before, and refuses where it would not suffice:
//! then the whole row is measured without, for everybody alike.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::proc;

/// Low among real-time priorities: the kernel's own threads stay above.
const FIFO: i32 = 5;
/// Of every second, what all groups may have together; below the kernel's own bound.
const RUNTIME_US: u64 = 900_000;
/// A group that shares must be given so many times what its processes used.
const MARGIN: f64 = 1.5;
/// Who used less of a processor does not work for the load.
const WORKS_PERCENT: u64 = 2;
/// Weight of a group: that of a process with nice -20.
const WEIGHT: u64 = 88_761;

/// How a window is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    RealTime,
    Nice,
}

impl Mode {
    pub fn text(self) -> &'static str {
        match self {
            Mode::RealTime => "real time (SCHED_FIFO)",
            Mode::Nice => "nice -20",
        }
    }
}

/// Gives this process nice -20, and what it starts from now on. The nice level that was reached.
pub fn nice() -> i32 {
    // Sessions are scheduled against each other by the nice level of their group.
    _ = fs::write("/proc/self/autogroup", "-20");
    // SAFETY: system calls on numbers only.
    unsafe {
        libc::setpriority(libc::PRIO_PROCESS, 0, -20);
        libc::getpriority(libc::PRIO_PROCESS, 0)
    }
}

/// Gives the groups of functions the weight of a process with nice -20, which the peers' functions have.
pub fn weigh_groups(of: &[u32]) {
    for folder in parents(of) {
        _ = fs::write(folder.join("cpu.shares"), WEIGHT.to_string());
        _ = fs::write(folder.join("cpu.weight"), "10000");
    }
}

/// The groups above those of these processes, the root and the bench's own excepted.
fn parents(of: &[u32]) -> Vec<PathBuf> {
    let own = proc::group(std::process::id(), "cpu");
    let groups =
        of.iter().filter_map(|pid| proc::group(*pid, "cpu")).filter(|group| Some(group) != own.as_ref());
    let mut found: Vec<PathBuf> = groups.filter_map(|group| Some(group.parent()?.to_owned())).collect();
    found.retain(|folder| Some(folder) != own.as_ref());
    found.sort();
    found.dedup();
    found
}

/// Puts the calling process at real-time priority; what it starts is not.
pub fn real_time_self() -> bool {
    set_scheduler(0, libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK, FIFO)
}

fn set_scheduler(tid: u32, policy: i32, priority: i32) -> bool {
    // SAFETY: an all-zero parameter is a valid one, and the call reads no more than that.
    unsafe {
        let mut parameter: libc::sched_param = std::mem::zeroed();
        parameter.sched_priority = priority;
        libc::sched_setscheduler(tid as i32, policy, &raw const parameter) == 0
    }
}

/// Processes at real-time priority; dropped, they are as before.
pub struct Raised {
    pids: Vec<u32>,
    runtimes: Vec<(PathBuf, String)>,
}

impl Raised {
    /// Raises these processes. `used`: nanoseconds of processor time that each had in `span_ns`.
    ///
    /// # Errors
    /// Why it cannot be; nothing is changed then.
    pub fn new(pids: &[u32], used: &HashMap<u32, u64>, span_ns: u64) -> Result<Raised, String> {
        let mut raised = Raised { pids: Vec::new(), runtimes: Vec::new() };
        let mut groups: HashMap<PathBuf, u64> = HashMap::new();
        let root = proc::group(1, "cpu");
        for pid in pids {
            let Some(group) = proc::group(*pid, "cpu") else { continue };
            let in_root = Some(&group) == root.as_ref();
            let ns = used.get(pid).copied().unwrap_or(0);
            if !in_root && ns < span_ns / 100 * WORKS_PERCENT {
                // An init, a spare or another function's environment: it has no work in the window.
                continue;
            }
            if !in_root && group.join("cpu.rt_runtime_us").exists() {
                *groups.entry(group).or_default() += ns;
            }
            raised.pids.push(*pid);
        }
        raised.give_runtime(&groups, span_ns)?;
        for pid in raised.pids.clone() {
            for tid in proc::threads(pid) {
                let done = set_scheduler(tid, libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK, FIFO);
                if !done && Path::new(&format!("/proc/{pid}/task/{tid}")).exists() {
                    return Err(format!("thread {tid}: {}", std::io::Error::last_os_error()));
                }
            }
        }
        Ok(raised)
    }

    fn give_runtime(&mut self, groups: &HashMap<PathBuf, u64>, span_ns: u64) -> Result<(), String> {
        let shares = shares(groups, span_ns)?;
        let mut parents: Vec<&Path> = shares.iter().filter_map(|(group, _)| group.parent()).collect();
        parents.sort();
        parents.dedup();
        for parent in parents {
            self.write(parent, RUNTIME_US)?;
        }
        for (group, runtime_us) in shares {
            self.write(&group, runtime_us)?;
        }
        Ok(())
    }

    fn write(&mut self, group: &Path, runtime_us: u64) -> Result<(), String> {
        let file = group.join("cpu.rt_runtime_us");
        let text = |error: std::io::Error| format!("{}: {error}", file.display());
        let before = fs::read_to_string(&file).map_err(text)?.trim().to_owned();
        fs::write(&file, runtime_us.to_string()).map_err(text)?;
        self.runtimes.push((file, before));
        Ok(())
    }
}

/// How the runtime is divided: by what each group used.
fn shares(groups: &HashMap<PathBuf, u64>, span_ns: u64) -> Result<Vec<(PathBuf, u64)>, String> {
    let sum: u64 = groups.values().sum();
    // One by itself has it all, and that on each processor.
    let margin = if groups.len() > 1 { MARGIN } else { 1.0 };
    let wanted = sum as f64 / span_ns.max(1) as f64 * margin * 1_000_000.0;
    if wanted > RUNTIME_US as f64 {
        return Err(format!(
            "{} groups of functions would need {:.0} % of a processor as real-time runtime, and can have {} %",
            groups.len(),
            wanted / 10_000.0,
            RUNTIME_US / 10_000
        ));
    }
    let part = |ns: u64| (ns as f64 / sum.max(1) as f64 * RUNTIME_US as f64) as u64;
    Ok(groups.iter().map(|(group, ns)| (group.clone(), part(*ns))).collect())
}

impl Drop for Raised {
    fn drop(&mut self) {
        for pid in &self.pids {
            for tid in proc::threads(*pid) {
                set_scheduler(tid, libc::SCHED_OTHER, 0);
            }
        }
        // The last first, because a group above must have what those in it have.
        for (file, before) in self.runtimes.iter().rev() {
            _ = fs::write(file, before);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runtime_goes_by_use_and_is_refused_when_short() {
        let groups = HashMap::from([(PathBuf::from("/a"), 300), (PathBuf::from("/b"), 100)]);
        let mut found = shares(&groups, 1_000).unwrap();
        found.sort();
        assert_eq!(found, [(PathBuf::from("/a"), 675_000), (PathBuf::from("/b"), 225_000)]);
        let error = shares(&groups, 500).unwrap_err();
        assert!(error.contains("2 groups") && error.contains("120 %"), "{error}");
        assert!(shares(&HashMap::new(), 500).unwrap().is_empty());
        let one = HashMap::from([(PathBuf::from("/a"), 850)]);
        assert_eq!(shares(&one, 1_000).unwrap(), [(PathBuf::from("/a"), 900_000)]);
    }
}
