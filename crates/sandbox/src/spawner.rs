//! The spawner: the one process with privileges, single-threaded and small.
//!
//! It is forked from the daemon before the daemon has threads, keeps what privileges there are,
//! and does three things on request: make an environment, kill one, clean up after one. Ahead of
//! requests it keeps a few init processes ready, because making them waits for the kernel. It reads
//! a closed set of messages and checks each. It ends when the daemon's socket closes, and ends
//! every environment with it.

use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, SigmaskHow, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};

use crate::SpawnerConfig;
use crate::barrier::BarrierKind;
use crate::cgroup::Groups;
use crate::channel::{Channel, Packet};
use crate::keeper::Keeper;
use crate::machine::{Machine, Waiting};
use crate::network::Way;
use crate::protocol::{Mode, Refusal, Reply, Request, Spec};
use crate::trial::stands;
use crate::{init, sys, unisolated};

/// What `ps` shows; leftovers of an earlier start are told by it.
pub(crate) const PROCESS_NAME: &str = "lambic-spawner";
/// How long a group may stay non-empty after its last process was killed before another look.
const CLEAN_AGAIN_MS: u16 = 20;
/// Groups that may wait for a quiet moment to be removed.
const CLEANING_MAX: usize = 64;
/// After a process that was to wait could not be made.
const AGAIN_MS: u16 = 1_000;

/// Runs the spawner until the daemon is gone. Never returns.
pub(crate) fn run(daemon: Channel, config: &SpawnerConfig) -> ! {
    sys::set_process_name(c"lambic-spawner");
    nix::sys::stat::umask(init::UMASK);
    init::forget_command_line(PROCESS_NAME);
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
    /// The last process that was to wait could not be made; the next try has to wait a moment.
    failing: bool,
    bind_roots: Vec<PathBuf>,
    /// When to look at the network's filter again without being woken.
    network_again_ms: Option<u16>,
    keeper: Keeper,
    /// The keeper's process; `None` when it could not be started (again).
    keeper_pid: Option<i32>,
}

struct Running {
    id: u64,
    slot: u32,
    pid: i32,
    pidfd: OwnedFd,
    /// Kept as long as the environment lives.
    way: Way,
}

/// Everything that has to be there before the first request.
type Prepared = (Machine, SignalFd, Waiting, Keeper, Option<i32>);

impl Spawner {
    fn start(daemon: Channel, config: &SpawnerConfig) -> Result<Spawner, (Channel, String)> {
        match Spawner::prepare(config) {
            Ok((machine, signals, first, keeper, keeper_pid)) => {
                let barriers = machine.barriers();
                let accounts =
                    machine.groups.as_ref().map(Groups::folders_of_all).unwrap_or_default();
                let hello = Reply::Hello { barriers, mode: machine.mode, accounts };
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
                    failing: false,
                    bind_roots: config.bind_roots.clone(),
                    network_again_ms: None,
                    keeper,
                    keeper_pid,
                })
            }
            Err(reason) => Err((daemon, reason)),
        }
    }

    /// Sets everything up and proves it by making one environment's first process.
    fn prepare(config: &SpawnerConfig) -> Result<Prepared, String> {
        let _ = nix::unistd::setsid();
        let signals = take_signals()?;
        let mut machine = Machine::prepare(config)?;
        let first = machine.make_first()?;
        let keeper = Keeper::new(vec![config.run_dir.clone(), config.images_dir.clone()])?;
        let keeper_pid = match stands(BarrierKind::Keeper) {
            true => Some(keeper.start(&machine)?),
            false => None,
        };
        Ok((machine, signals, first, keeper, keeper_pid))
    }

    /// Serves until the daemon is gone.
    fn serve(&mut self) {
        loop {
            let idle = self.ready.len() >= self.ready_wanted;
            let timeout = match (idle, self.cleaning.is_empty()) {
                (false, _) if self.failing => PollTimeout::from(AGAIN_MS),
                (false, _) => PollTimeout::ZERO,
                (true, false) => PollTimeout::from(CLEAN_AGAIN_MS),
                (true, true) => PollTimeout::NONE,
            };
            let timeout = self.network_again_ms.map_or(timeout, |ms| at_most(timeout, ms));
            let mut polled = vec![
                PollFd::new(self.daemon.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.signals.as_fd(), PollFlags::POLLIN),
            ];
            polled.extend(
                self.machine.network.changes().map(|fd| PollFd::new(fd, PollFlags::POLLIN)),
            );
            match poll(&mut polled, timeout) {
                Ok(_) | Err(nix::errno::Errno::EINTR) => {}
                Err(_) => return,
            }
            let happened = |at: usize| {
                let events = polled.get(at).and_then(PollFd::revents);
                events.is_some_and(|events| !events.is_empty())
            };
            let (from_daemon, from_children, from_network) =
                (happened(0), happened(1), happened(2));
            if from_network || self.network_again_ms.is_some() {
                self.restore_network();
            }
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
                // Launches that come one after the other must not keep what has ended for ever.
                if self.cleaning.len() < CLEANING_MAX {
                    continue;
                }
            }
            self.clean();
            if from_daemon {
                continue;
            }
            if !idle {
                match self.machine.make_waiting() {
                    Ok(waiting) => {
                        self.ready.insert(0, waiting);
                        self.failing = false;
                    }
                    // The machine has no room for more; a launch that finds none ready says why.
                    Err(_) => self.failing = true,
                }
            }
        }
    }

    fn answer(&mut self, packet: Packet) {
        match packet.parse() {
            Ok(Request::Launch { id, spec }) => self.launch(id, *spec, packet.descriptors),
            Ok(Request::Kill { id }) => {
                if let Some(running) = self.running.iter().find(|running| running.id == id) {
                    let _ = sys::signal_pidfd(running.pidfd.as_fd(), libc::SIGKILL);
                    self.machine.thaw(running.slot);
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

    fn try_launch(&mut self, id: u64, spec: Spec, given: Vec<OwnedFd>) -> Result<(), Refusal> {
        spec.check(&self.bind_roots)?;
        let expected = 2 + usize::from(spec.log_pipe) + usize::from(spec.extensions.is_some());
        if given.len() != expected {
            return Err(format!("{} descriptors instead of {expected}", given.len()).into());
        }
        self.machine.network.find(spec.network.as_deref())?;
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
        let assigned = self.machine.assign(&waiting, spec, &given);
        let Waiting { pid, pidfd, control, listeners, way, .. } = waiting;
        self.running.push(Running { id, slot, pid, pidfd, way });
        // On failure `control` closes here, which ends the process; it is reaped as a running one.
        assigned?;
        let group = self.machine.group(slot);
        let [api, endpoint] =
            <[OwnedFd; 2]>::try_from(listeners).map_err(|_| "listeners are missing".to_owned())?;
        let descriptors = [control.as_fd(), api.as_fd(), endpoint.as_fd()];
        let launched = Reply::Launched { id, pid, group };
        let sent = self.daemon.send(&launched, &descriptors);
        sent.map_err(|error| error.to_string().into())
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
            } else if self.keeper_pid == Some(pid) {
                self.replace_keeper();
            } else {
                self.note_lost_way(pid);
            }
        }
    }

    /// Somebody has ended the keeper.
    fn replace_keeper(&mut self) {
        self.keeper_pid = self.keeper.start(&self.machine).ok();
        let again = self.keeper_pid.map_or("there is none now", |_| "there is another one now");
        self.tell(format!("the process that cleans up after a crash was ended; {again}"));
    }

    /// If this was the process behind a way out: the environment keeps its work, but is told about;
    /// one that waits is of no use any more.
    fn note_lost_way(&self, pid: i32) {
        for waiting in self.ready.iter().filter(|waiting| waiting.way.was_lost_with(pid)) {
            let _ = sys::signal_pidfd(waiting.pidfd.as_fd(), libc::SIGKILL);
        }
        for running in self.running.iter().filter(|running| running.way.was_lost_with(pid)) {
            let pid = running.pid;
            self.tell(format!("the environment of process {pid} has lost its way out"));
        }
    }

    fn restore_network(&mut self) {
        let (notice, again_ms) = self.machine.network.restore();
        self.network_again_ms = again_ms;
        if let Some(text) = notice {
            self.tell(text);
        }
    }

    fn tell(&self, text: String) {
        let _ = self.daemon.send(&Reply::Notice { text }, &[]);
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
        self.running.iter().for_each(|running| self.machine.thaw(running.slot));
        let ways = self.running.iter().map(|r| &r.way).chain(self.ready.iter().map(|w| &w.way));
        ways.for_each(Way::end);
        let mut left: Vec<i32> =
            self.running.iter().map(|r| r.pid).chain(self.ready.iter().map(|w| w.pid)).collect();
        // The keeper stays until this process has ended.
        while !left.is_empty()
            && let Ok(status) = waitpid(None::<nix::unistd::Pid>, None)
        {
            left.retain(|pid| status.pid().is_none_or(|ended| ended.as_raw() != *pid));
        }
        let slots = self.running.iter().map(|r| r.slot).chain(self.ready.iter().map(|w| w.slot));
        for slot in slots.chain(self.cleaning.iter().copied()) {
            self.machine.release(slot);
        }
        if let Some(groups) = &self.machine.groups {
            groups.remove_all();
        }
        self.machine.network.close();
    }
}

/// A wait that is not longer than `ms`.
fn at_most(timeout: PollTimeout, ms: u16) -> PollTimeout {
    let longer = timeout.is_none() || i32::from(timeout) > i32::from(ms);
    if longer { PollTimeout::from(ms) } else { timeout }
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
