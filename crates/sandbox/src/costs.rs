//! What each barrier costs: the steps of making an environment, each done many times by itself.
//!
//! Part of the builds of our own trials only. What cannot be undone is done in a process that ends
//! right after it.

use std::os::fd::AsFd;
use std::time::Duration;

use lambic_rt::{Instant, Rt};
use nix::sched::{CloneFlags, unshare};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;

use crate::channel::Channel;
use crate::machine::Machine;
use crate::{SpawnerConfig, landlock, rootfs, sys};

/// How long the measured process may take for everything.
const ALL_LIMIT_MS: u16 = 60_000;

/// The name of a step, and how long it took each time, in nanoseconds.
pub type Cost = (String, Vec<u64>);

/// Measures every step `rounds` times, as root. Must be called before the first thread.
pub fn measure(config: &SpawnerConfig, rounds: usize) -> Result<Vec<Cost>, String> {
    let (ours, theirs) = Channel::pair().map_err(|error| error.to_string())?;
    if sys::fork().map_err(|error| error.to_string())?.is_none() {
        // Servers that start meanwhile sweep what belongs to no spawner.
        sys::set_process_name(c"lambic-spawner");
        let costs = Bench::prepare(config, rounds).and_then(|mut bench| bench.all());
        let _ = theirs.send(&costs, &[]);
        sys::exit_now(0);
    }
    drop(theirs);
    let packet = ours.receive_within(ALL_LIMIT_MS).map_err(|error| error.to_string())?;
    let packet = packet.ok_or("the measuring process ended without a word")?;
    packet.parse::<Result<Vec<Cost>, String>>().map_err(|error| error.to_string())?
}

struct Bench {
    machine: Machine,
    rt: Rt,
    rounds: usize,
}

impl Bench {
    fn prepare(config: &SpawnerConfig, rounds: usize) -> Result<Bench, String> {
        Ok(Bench { machine: Machine::prepare(config)?, rt: Rt::real(), rounds })
    }

    fn all(&mut self) -> Result<Vec<Cost>, String> {
        let scratch = self.machine.scratch.clone();
        let io = |error: std::io::Error| error.to_string();
        let apart = |flags| unshare(flags).map_err(|error| error.to_string());
        let few = CloneFlags::CLONE_NEWNS
            | CloneFlags::CLONE_NEWIPC
            | CloneFlags::CLONE_NEWUTS
            | CloneFlags::CLONE_NEWCGROUP
            | CloneFlags::CLONE_NEWPID;
        let mut costs = vec![
            self.inside("namespaces but network", || Ok(()), || apart(few))?,
            self.inside("network namespace", || Ok(()), || apart(CloneFlags::CLONE_NEWNET))?,
            self.inside(
                "private root, own /etc, devices, masked /proc",
                || apart(CloneFlags::CLONE_NEWNS),
                || rootfs::build_and_enter(&scratch),
            )?,
            self.inside("no new privileges", || Ok(()), || sys::no_new_privileges().map_err(io))?,
            self.inside(
                "landlock",
                || sys::no_new_privileges().map_err(io),
                || landlock::enforce_on_environment(None).map_err(io),
            )?,
            self.inside(
                "system calls",
                || sys::no_new_privileges().map_err(io),
                || self.machine.filter.install(),
            )?,
            self.inside("capabilities", || Ok(()), || sys::drop_capabilities().map_err(io))?,
        ];
        costs.push(self.disks()?);
        costs.extend(self.groups_and_links()?);
        Ok(costs)
    }

    /// Times `step` in a new process for each round, after `before`.
    fn inside(
        &self,
        name: &str,
        before: impl Fn() -> Result<(), String>,
        step: impl Fn() -> Result<(), String>,
    ) -> Result<Cost, String> {
        let mut times = Vec::new();
        for _ in 0..self.rounds {
            let (ours, theirs) = Channel::pair().map_err(|error| error.to_string())?;
            let Some(pid) = sys::fork().map_err(|error| error.to_string())? else {
                let timed = before().and_then(|()| {
                    let since = self.rt.instant();
                    step().map(|()| nanos(&self.rt, since))
                });
                let _ = theirs.send(&timed, &[]);
                sys::exit_now(0);
            };
            drop(theirs);
            let packet = ours.receive().map_err(|error| error.to_string())?;
            let _ = waitpid(Pid::from_raw(pid), None);
            let packet = packet.ok_or_else(|| format!("{name}: no figure"))?;
            let timed: Result<u64, String> = packet.parse().map_err(|error| error.to_string())?;
            times.push(timed.map_err(|error| format!("{name}: {error}"))?);
        }
        Ok((name.to_owned(), times))
    }

    fn disks(&mut self) -> Result<Cost, String> {
        let mut times = Vec::new();
        let disks = self.machine.disks.as_mut().ok_or("no disks can be made here")?;
        for _ in 0..self.rounds {
            let since = self.rt.instant();
            let disk = disks.create(512, 0, 0)?;
            times.push(nanos(&self.rt, since));
            drop(disk);
        }
        Ok(("/tmp".to_owned(), times))
    }

    fn groups_and_links(&mut self) -> Result<Vec<Cost>, String> {
        let Some(groups) = self.machine.groups.clone() else {
            return Err("there are no control groups here".to_owned());
        };
        let [mut made, mut linked, mut frozen, mut thawed] = [const { Vec::new() }; 4];
        for round in 0..self.rounds {
            let name = format!("cost{round}");
            let (ours, theirs) = Channel::pair().map_err(|error| error.to_string())?;
            let Some(pid) = sys::fork().map_err(|error| error.to_string())? else {
                let _ = unshare(CloneFlags::CLONE_NEWNET);
                drop(ours);
                let _ = theirs.send(&(), &[]);
                // Until it is killed, or the measuring process is gone.
                let _ = theirs.receive();
                sys::exit_now(0);
            };
            drop(theirs);
            let pidfd = sys::process_descriptor(pid as u32).map_err(|error| error.to_string())?;
            let _ = ours.receive();
            let since = self.rt.instant();
            groups.create(&name).map_err(|error| error.to_string())?;
            groups.attach(&name, pid).map_err(|error| error.to_string())?;
            made.push(nanos(&self.rt, since));
            let since = self.rt.instant();
            let way = self.machine.network.connect(pid)?;
            linked.push(nanos(&self.rt, since));
            drop(way);
            let group = groups.group(&name);
            for (figures, stop) in [(&mut frozen, true), (&mut thawed, false)] {
                let since = self.rt.instant();
                group.set_frozen(stop).map_err(|error| error.to_string())?;
                figures.push(nanos(&self.rt, since));
            }
            let _ = sys::signal_pidfd(pidfd.as_fd(), libc::SIGKILL);
            let _ = waitpid(Pid::from_raw(pid), None);
            groups.remove(&name);
        }
        groups.end_all();
        self.machine.network.close();
        let named = |name: &str, times| (name.to_owned(), times);
        Ok(vec![
            named("control groups", made),
            named("link and filter", linked),
            named("freeze", frozen),
            named("thaw", thawed),
        ])
    }
}

fn nanos(rt: &Rt, since: Instant) -> u64 {
    let taken: Duration = rt.instant().duration_since(since);
    u64::try_from(taken.as_nanos()).unwrap_or(u64::MAX)
}
