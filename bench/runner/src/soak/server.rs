//! The server under soak: its start, its ends, its processes, and what it prints.
//!
//! This program is the reaper of orphans (`PR_SET_CHILD_SUBREAPER`), so whatever a server leaves behind
//! stays a descendant of ours and cannot be mistaken for somebody else's process. Orphans that are
//! zombies are only collected at a checkpoint: in many containers nobody collects them at all, and a
//! server has to cope with that.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::zoo::Api;

const READY_S_MAX: u64 = 30;
/// What a server may take for its end: its drain and some more.
pub const END_S_MAX: u64 = DRAIN_S + 20;
const DRAIN_S: u64 = 10;
const LINES_KEPT: usize = 40;
const SPAWNER: &str = "lambic-spawner";

/// One start of the server.
pub struct Life {
    child: Child,
    pub daemon: i32,
    pub spawner: i32,
    pub log: Arc<Log>,
}

/// What the server prints: the last lines, and those that tell of a fault.
#[derive(Default)]
pub struct Log {
    last: Mutex<VecDeque<String>>,
    faults: Mutex<Vec<String>>,
}

/// One process, as `/proc/<pid>/stat` has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Process {
    pub parent: i32,
    pub zombie: bool,
}

impl Life {
    pub fn start(lambic: &Path, data: &Path, api: &Api) -> Result<Life, String> {
        let mut command = Command::new(lambic);
        command.args(["serve", "--listen", &api.address, "--data-dir"]).arg(data);
        let settings = [
            "functions.transition_ms=50",
            "log.format=json",
            // What waits for a burst like the last one would still be there when all is to be as at first.
            "functions.spare_memory_mb_max=0",
            &format!("drain_s={DRAIN_S}"),
        ];
        for setting in settings {
            command.args(["--set", setting]);
        }
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("LAMBIC_")) {
            command.env_remove(name);
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        // A run that is killed leaves no server behind.
        let end_with_us = || {
            // SAFETY: one system call on numbers, between fork and exec.
            unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
            Ok(())
        };
        // SAFETY: what runs in the child is the system call above and nothing else.
        unsafe { std::os::unix::process::CommandExt::pre_exec(&mut command, end_with_us) };
        let mut child = command.spawn().map_err(|error| format!("{}: {error}", lambic.display()))?;
        let log = Log::follow(&mut child);
        let daemon = child.id() as i32;
        let mut life = Life { child, daemon, spawner: 0, log };
        crate::until(Duration::from_secs(READY_S_MAX), "the server to answer", || {
            if let Some(status) = life.child.try_wait().map_err(|error| error.to_string())? {
                return Err(format!("the server ended at its start ({status}): {}", life.log.text()));
            }
            Ok(api.ask("GET", "/_lambic/health", "").is_ok_and(|reply| reply.status() == 200))
        })?;
        let tree = processes();
        let below = descendants(&tree, daemon);
        let found = below.iter().find(|pid| name_of(**pid).is_some_and(|name| name == SPAWNER));
        life.spawner = *found.ok_or("the server has no spawner")?;
        Ok(life)
    }

    /// Waits until the daemon has ended; kills it when that takes too long.
    pub fn wait(&mut self) -> Result<ExitStatus, String> {
        let ended = crate::until(Duration::from_secs(END_S_MAX), "the server to end", || {
            Ok(self.child.try_wait().map_err(|error| error.to_string())?.is_some())
        });
        if ended.is_err() {
            // A child that was not waited for: nobody else has its number.
            _ = self.child.kill();
        }
        let status = self.child.wait().map_err(|error| error.to_string())?;
        ended.map(|()| status).map_err(|error| format!("{error}; its last words: {}", self.log.text()))
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    pub fn signal_daemon(&mut self, signal: i32) {
        if self.ended().is_none() {
            // SAFETY: one system call on numbers; the daemon is our child and not yet waited for.
            unsafe { libc::kill(self.daemon, signal) };
        }
    }

    pub fn signal_spawner(&self, signal: i32) {
        signal_below(self.daemon, self.spawner, signal);
    }
}

impl Log {
    fn follow(child: &mut Child) -> Arc<Log> {
        let log = Arc::new(Log::default());
        if let Some(stderr) = child.stderr.take() {
            let log = log.clone();
            // It ends with the last process that holds the pipe.
            std::thread::spawn(move || {
                for line in BufReader::new(stderr).split(b'\n').map_while(Result::ok) {
                    log.take(String::from_utf8_lossy(&line).into_owned());
                }
            });
        }
        log
    }

    fn take(&self, line: String) {
        let fault = line.contains("\"level\":\"ERROR\"") || line.contains("panicked at");
        if fault && !line.contains("\"target\":\"function\"") {
            self.faults.lock().unwrap_or_else(PoisonError::into_inner).push(line.clone());
        }
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.len() == LINES_KEPT {
            last.pop_front();
        }
        last.push_back(line);
    }

    /// The last lines.
    pub fn text(&self) -> String {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.iter().map(String::as_str).collect::<Vec<_>>().join("\n")
    }

    /// The lines that tell of a fault, since the last question.
    pub fn faults(&self) -> Vec<String> {
        std::mem::take(&mut self.faults.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Every process of the machine.
pub fn processes() -> BTreeMap<i32, Process> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else { continue };
        let mut rest = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
        let zombie = rest.next() == Some("Z");
        let parent = rest.next().and_then(|text| text.parse().ok()).unwrap_or(0);
        found.insert(pid, Process { parent, zombie });
    }
    found
}

/// All processes below `root`.
pub fn descendants(tree: &BTreeMap<i32, Process>, root: i32) -> BTreeSet<i32> {
    let mut found = BTreeSet::new();
    let mut border = vec![root];
    while let Some(parent) = border.pop() {
        for (pid, process) in tree {
            if process.parent == parent && found.insert(*pid) {
                border.push(*pid);
            }
        }
    }
    found
}

/// What `/proc/<pid>/comm` says.
pub fn name_of(pid: i32) -> Option<String> {
    std::fs::read_to_string(format!("/proc/{pid}/comm")).ok().map(|name| name.trim().to_owned())
}

/// Signals a process if it is, for certain, one below `root`: it is held by a descriptor before its
/// descent is looked at, so that another process which gets its number is not hit. Whether it was sent.
pub fn signal_below(root: i32, pid: i32, signal: i32) -> bool {
    use std::os::fd::{FromRawFd, OwnedFd};
    // SAFETY: a system call on numbers; the descriptor it gives is ours alone.
    let held = unsafe {
        let descriptor = libc::syscall(libc::SYS_pidfd_open, pid, 0);
        if descriptor < 0 {
            return false;
        }
        OwnedFd::from_raw_fd(descriptor as i32)
    };
    if !descendants(&processes(), root).contains(&pid) {
        return false;
    }
    let descriptor = std::os::fd::AsRawFd::as_raw_fd(&held);
    // SAFETY: a system call on numbers and no structure.
    let sent =
        unsafe { libc::syscall(libc::SYS_pidfd_send_signal, descriptor, signal, std::ptr::null::<u8>(), 0) };
    sent == 0
}

/// From now on orphans below us become our children.
pub fn adopt_orphans() -> Result<(), String> {
    // SAFETY: one system call on numbers.
    if unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1) } == 0 {
        Ok(())
    } else {
        Err(format!("cannot become the reaper of orphans: {}", std::io::Error::last_os_error()))
    }
}

/// Collects the adopted zombies; `daemon` has somebody who waits for it.
pub fn collect_zombies(daemon: i32) {
    let own = std::process::id() as i32;
    for (pid, process) in processes() {
        if process.parent == own && process.zombie && pid != daemon {
            // SAFETY: one system call; the zombie is our child, so it does not block.
            unsafe { libc::waitpid(pid, std::ptr::null_mut(), libc::WNOHANG) };
        }
    }
}

/// The folders of a dead server that must be gone.
pub fn folders_of(daemon: i32, data: &Path) -> [PathBuf; 3] {
    [
        PathBuf::from(format!("/run/lambic-run-{daemon}")),
        PathBuf::from(format!("/tmp/lambic-run-{daemon}")),
        data.join("sandbox").join(daemon.to_string()),
    ]
}
