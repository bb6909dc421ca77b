//! The spawner: the one process with privileges, single-threaded and small.
//!
//! It is forked from the daemon before the daemon has threads, keeps what privileges there are,
//! and does three things on request: make an environment, kill one, clean up after one. Ahead of
//! requests it keeps a few init processes ready, because making them waits for the kernel, and the
//! spares that the daemon wants, whose program has started, too. It reads a closed set of messages and
//! checks each. It ends when the daemon's socket closes, and ends every environment with it.

mod choice;
mod copies;
mod keeping;
mod orders;
mod stock;
mod waits;

use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signalfd::SignalFd;

use crate::SpawnerConfig;
use crate::barrier::BarrierKind;
use crate::cgroup::Groups;
use crate::channel::{Channel, Packet};
use crate::keeper::Keeper;
use crate::machine::{Machine, Waiting};
use crate::makers::Makers;
use crate::network::Way;
use crate::protocol::{NewCopy, READY_KIND, Refusal, Reply, Request, Source, Spec};
use crate::spares::Spares;
use crate::sys::Ended;
use crate::trial::stands;
use crate::{init, sys};
use choice::Choice;
use copies::{Copies, Wanted};
use orders::Expected;
use stock::Stock;
use waits::{Happened, take_signals};

/// What `ps` shows; leftovers of an earlier start are told by it.
pub(crate) const PROCESS_NAME: &str = "lambic-spawner";
/// Groups that may wait for a quiet moment to be removed.
const CLEANING_MAX: usize = 64;
/// What the daemon calls none of its environments: what was made ahead and is not wanted.
const UNWANTED: u64 = 0;

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
    makers: Makers,
    /// Waiting for work, newest last.
    ready: Vec<Waiting>,
    /// Launches that wait for what is being made, the first one first.
    expected: VecDeque<Expected>,
    /// With their program started.
    spares: Spares,
    /// Copied from others, and what they are copied from.
    copies: Copies,
    /// Handed to the daemon.
    running: Vec<Running>,
    /// Ended; their groups are not empty yet.
    cleaning: Vec<u32>,
    stock: Stock,
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
            Ok((mut machine, signals, first, keeper, keeper_pid)) => {
                let barriers = machine.barriers();
                let accounts =
                    machine.groups.as_ref().map(Groups::folders_of_all).unwrap_or_default();
                let (mode, spares) = (machine.mode, machine.has_spares());
                let templates = machine.has_templates();
                let hello = Reply::Hello { barriers, mode, accounts, spares, templates };
                if let Err(error) = daemon.send(&hello, &[]) {
                    return Err((daemon, error.to_string()));
                }
                // Not before: the server goes on meanwhile.
                let ours = [daemon.as_fd(), signals.as_fd()];
                let not_theirs: Vec<_> = ours
                    .into_iter()
                    .chain(first.descriptors())
                    .chain(keeper.descriptors())
                    .collect();
                let makers = Makers::start(&mut machine, &not_theirs).unwrap_or_else(|why| {
                    let text = format!("environments are made one at a time: {why}");
                    let _ = daemon.send(&Reply::Notice { text }, &[]);
                    Makers::default()
                });
                Ok(Spawner {
                    daemon,
                    signals,
                    machine,
                    makers,
                    ready: vec![first],
                    expected: VecDeque::new(),
                    spares: Spares::default(),
                    copies: Copies::none(),
                    running: Vec::new(),
                    cleaning: Vec::new(),
                    stock: Stock::new(config.ready_count),
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
        // The server begins meanwhile.
        let mut quiet = false;
        loop {
            let next = self.next(quiet);
            // What somebody waits for comes before everything else on the machine, and only that.
            sys::set_urgent(true);
            let Some(happened) = self.wait(self.timeout(next)) else { return };
            // What ends or loads itself takes the processors from nobody.
            let has_paused = happened.nothing && next.is_a_pause();
            quiet = has_paused || quiet && !happened.daemon;
            if happened.network || self.network_again_ms.is_some() {
                self.restore_network();
            }
            if happened.children {
                self.reap();
            }
            for &(pid, has_loaded) in &happened.spares {
                self.follow_spare(pid, has_loaded);
            }
            if happened.copies {
                self.follow_copies();
            }
            if happened.makers {
                self.follow_makers();
            }
            if happened.daemon {
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
            if happened.daemon {
                continue;
            }
            sys::set_urgent(false);
            self.go_on(next, &happened);
        }
    }

    /// Waits for the next thing that happens; `None` if that cannot be done.
    fn wait(&self, timeout: PollTimeout) -> Option<Happened> {
        let read = |fd| PollFd::new(fd, PollFlags::POLLIN);
        let mut polled = vec![read(self.daemon.as_fd()), read(self.signals.as_fd())];
        polled.extend(self.machine.network.changes().map(read));
        let first_maker = polled.len();
        polled.extend(self.makers.watched().map(read));
        let first_spare = polled.len();
        polled.extend(self.spares.watched().map(|(_, fd, _)| read(fd)));
        let first_copy = polled.len();
        polled.extend(self.copies.watched().map(read));
        match poll(&mut polled, timeout) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(_) => return None,
        }
        let happened: Vec<bool> = polled
            .iter()
            .map(|polled| polled.revents().is_some_and(|events| !events.is_empty()))
            .collect();
        let spares = self.spares.watched().zip(&happened[first_spare..first_copy]);
        Some(Happened {
            daemon: happened[0],
            children: happened[1],
            network: happened[2..first_maker].contains(&true),
            makers: happened[first_maker..first_spare].contains(&true),
            copies: happened[first_copy..].contains(&true),
            spares: spares
                .filter(|(_, happened)| **happened)
                .map(|((pid, _, has_loaded), _)| (pid, has_loaded))
                .collect(),
            nothing: !happened.contains(&true),
        })
    }

    fn answer(&mut self, packet: Packet) {
        match packet.parse() {
            Ok(Request::Launch { id, spec, from }) => {
                self.launch(id, *spec, from, packet.descriptors);
            }
            Ok(Request::Keep { kind, spec, count, copied }) => {
                if let Err(reason) = self.keep(kind, *spec, count, copied) {
                    self.tell(format!("spares were not kept: {reason}"));
                }
            }
            Ok(Request::Ready { more }) => self.keep_ready(more),
            Ok(Request::Kill { id }) => self.kill(id),
            Ok(Request::Lifeless { id }) => self.end_lifeless(id),
            Ok(Request::Forgo { id }) => self.forgo(id),
            // Only a broken daemon sends what cannot be read; it gets no answer.
            Err(_) => {}
        }
    }

    fn kill(&self, id: u64) {
        let is_it = |running: &&Running| running.id == id && id != UNWANTED;
        if let Some(running) = self.running.iter().find(is_it) {
            let _ = sys::signal_pidfd(running.pidfd.as_fd(), libc::SIGKILL);
            self.machine.thaw(running.slot);
            self.thaw_within(running.pid);
        }
    }

    fn launch(&mut self, id: u64, spec: Spec, from: Source, descriptors: Vec<OwnedFd>) {
        let reply = match self.try_launch(id, spec, from, descriptors) {
            Ok(()) => return,
            Err(reason) => Reply::Failed { id, reason },
        };
        let _ = self.daemon.send(&reply, &[]);
    }

    fn try_launch(
        &mut self,
        id: u64,
        spec: Spec,
        from: Source,
        given: Vec<OwnedFd>,
    ) -> Result<(), Refusal> {
        spec.check(&self.bind_roots)?;
        let expected = 2 + usize::from(spec.log_pipe) + usize::from(spec.extensions.is_some());
        if given.len() != expected {
            return Err(format!("{} descriptors instead of {expected}", given.len()).into());
        }
        self.machine.network.find(spec.network.as_deref())?;
        let spare = match from {
            Source::Fresh => None,
            Source::Spare { kind, second } => match self.choose(kind, second, &spec) {
                Choice::Taken(spare) => Some(*spare),
                Choice::Copied(kind) => {
                    self.want(Wanted { id, kind, spec, given });
                    return Ok(());
                }
                Choice::Neither => None,
            },
            Source::Template(role) => return self.launch_role(id, spec, role, given),
        };
        if let Some((spare, prepared)) = spare
            // What keeps it from becoming one keeps a fresh one, too, which then says why.
            && self.use_spare(id, &spec, spare, &prepared).is_ok()
        {
            return Ok(());
        }
        self.launch_fresh(Expected { id, spec, given })
    }

    /// Gives an environment that knows what it becomes to the daemon.
    fn hand_over(
        &mut self,
        id: u64,
        waiting: Waiting,
        assigned: Result<(), Refusal>,
        ends: Option<(u64, [OwnedFd; 2])>,
        copied: Option<NewCopy>,
    ) -> Result<(), Refusal> {
        let Waiting { slot, pid, pidfd, control, listeners, way, .. } = waiting;
        self.running.push(Running { id, slot, pid, pidfd, way });
        assigned?;
        let group = self.machine.group(slot);
        let [api, endpoint] =
            <[OwnedFd; 2]>::try_from(listeners).map_err(|_| "listeners are missing".to_owned())?;
        let left = self.at_hand(ends.as_ref().map_or(READY_KIND, |(kind, _)| *kind));
        let launched = Reply::Launched { id, pid, group, is_spare: ends.is_some(), left, copied };
        let mut descriptors = vec![control.as_fd(), api.as_fd(), endpoint.as_fd()];
        descriptors.extend(ends.iter().flat_map(|(_, ends)| ends).map(AsFd::as_fd));
        let sent = self.daemon.send(&launched, &descriptors);
        sent.map_err(|error| error.to_string().into())
    }

    /// Collects ended init processes.
    fn reap(&mut self) {
        while let Ok(Some(_)) = self.signals.read_signal() {}
        while let Some(Ended { pid, .. }) = sys::next_ended(false) {
            self.discard_stock(pid);
            self.copies.has_ended(pid);
            if self.has_lost_birth(pid) {
                continue;
            }
            if let Some(at) = self.running.iter().position(|running| running.pid == pid) {
                self.cleaning.push(self.running.swap_remove(at).slot);
            } else if let Some(at) = self.ready.iter().position(|waiting| waiting.pid == pid) {
                self.cleaning.push(self.ready.remove(at).slot);
                self.tell_at_hand(READY_KIND);
            } else if let Some(slot) = self.has_lost_nested(pid) {
                self.cleaning.push(slot);
            } else if let Some((spare, _)) = self.spares.has_broken(pid) {
                self.tell("a spare was ended by somebody".to_owned());
                self.cleaning.push(spare.waiting.slot);
                self.tell_at_hand(spare.kind);
            } else if self.keeper_pid == Some(pid) {
                self.replace_keeper();
            } else {
                self.note_lost_way(pid);
            }
        }
        self.end_retired();
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
        for waiting in self.ahead().filter(|waiting| waiting.way.was_lost_with(pid)) {
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
        self.copies.end_midwives();
        let (makers, being_made) = self.makers.end();
        let all: Vec<(u32, i32, &OwnedFd, &Way)> = (self.running.iter())
            .map(|r| (r.slot, r.pid, &r.pidfd, &r.way))
            .chain(self.ahead().map(|w| (w.slot, w.pid, &w.pidfd, &w.way)))
            .collect();
        for (_, _, pidfd, _) in &all {
            let _ = sys::signal_pidfd(pidfd.as_fd(), libc::SIGKILL);
        }
        self.running.iter().for_each(|running| self.machine.thaw(running.slot));
        all.iter().for_each(|(_, _, _, way)| way.end());
        let left = all.iter().map(|(_, pid, _, _)| *pid);
        let mut left: Vec<i32> = left.chain(makers).collect();
        let slots: Vec<u32> = all.iter().map(|(slot, _, _, _)| *slot).chain(being_made).collect();
        // The keeper stays until this process has ended.
        while !left.is_empty()
            && let Some(ended) = sys::next_ended(true)
        {
            left.retain(|pid| ended.pid != *pid);
        }
        for slot in slots.into_iter().chain(self.cleaning.iter().copied()) {
            self.machine.release(slot);
        }
        if let Some(groups) = &self.machine.groups {
            groups.remove_all();
        }
        self.machine.network.close();
    }

    /// What was made ahead of requests.
    fn ahead(&self) -> impl Iterator<Item = &Waiting> {
        self.ready.iter().chain(self.spares.iter()).chain(self.unborn())
    }
}
