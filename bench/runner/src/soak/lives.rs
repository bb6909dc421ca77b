//! One server after the other on the same data directory: start, checkpoints, death, and what has to
//! hold after it.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::census::{self, Dead, Ground, Living};
use crate::chance::{Chance, Deed};
use crate::load::{self, CALLERS, Homes};
use crate::server::{self, Life};
use crate::soak::{Soak, locked};
use crate::table::{self, Tally};
use crate::zoo::{Api, Kind, PERMANENT, Packages};
use crate::{Options, until};

/// The first life takes this share of the time.
const FIRST_SHARE: f64 = 0.5;
/// The other lives, in ms.
const LIFE_MS: (u64, u64) = (4_000, 20_000);
/// Between checkpoints, at most.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(60);
/// How long what belonged to environments that have ended may take to go.
const SETTLE: Duration = Duration::from_secs(20);
/// An environment without work is frozen after a second.
const FROZEN_AFTER: Duration = Duration::from_millis(2_300);
const LIVES_STREAM: u64 = 1_002;
/// Servers that die while every environment is frozen.
const ASLEEP_SHARE: f64 = 0.4;
/// Deaths after which adopted zombies are collected before the next start.
const COLLECT_SHARE: f64 = 0.5;
/// Later lives that end with a checkpoint.
const CHECKPOINT_SHARE: f64 = 0.3;
/// Pauses have to be made up for.
const RATE_SPARE: f64 = 1.25;
/// Environments that end by what their event said; the others end by updates, timeouts and kills.
const ENDING_SHARE: f64 = 0.75;
const SERVE_STEP: Duration = Duration::from_millis(250);
const SPEAK_EVERY: Duration = Duration::from_secs(10);
const STEADY: Duration = Duration::from_millis(300);
/// Figures of `/metrics`.
const STARTED: &str = "lambic_environments_started_total";
const NOW: &str = "lambic_environments";
const SPARES: &str = "lambic_spares";
/// Spares that are kept all the time: two each of Python and of Node.js with 256 MB, because functions of
/// both are made and changed all the time.
const SPARES_KEPT: u64 = 4;
/// The run gives up after this multiple of its time.
const PATIENCE: f64 = 2.0;

/// How a server ends.
#[derive(Clone, Copy, Debug)]
enum Death {
    Daemon,
    Spawner,
    Both,
    Terminated,
}

impl Death {
    const ALL: [(u64, Death); 4] =
        [(3, Death::Daemon), (3, Death::Spawner), (3, Death::Both), (2, Death::Terminated)];

    fn name(self) -> &'static str {
        match self {
            Death::Daemon => "SIGKILL of the daemon",
            Death::Spawner => "SIGKILL of the spawner",
            Death::Both => "SIGKILL of both",
            Death::Terminated => "SIGTERM",
        }
    }
}

/// The run, as its main thread sees it.
struct Run<'a> {
    options: &'a Options,
    ground: Ground,
    soak: &'a Soak,
    homes: &'a Homes,
    chance: Chance,
    life: Life,
    /// What this life began with.
    first: Living,
    /// What it had at its first checkpoint after work.
    under_load: Option<Living>,
    /// What the data directory had at the start of the run.
    disk_first_kb: u64,
    dead: Vec<Dead>,
    /// What has been told of the dead; it is not told again.
    told: BTreeSet<String>,
    /// Environments that were started in this life, as last seen.
    started: u64,
    tally: Tally,
    begun: Instant,
    /// When progress was last printed.
    spoke: Instant,
    /// Daemon and spawner, for the killer.
    pids: &'a Mutex<(i32, i32)>,
}

/// The folder of a run; it goes with the run, unless something was wrong.
struct Folder(PathBuf);

/// Runs the soak. Whether everything was as it has to be.
pub fn run(options: &Options) -> Result<bool, String> {
    server::adopt_orphans()?;
    let folder = Folder(std::env::temp_dir().join(format!("lambic-soak-{}", std::process::id())));
    let data = folder.0.join("data");
    std::fs::create_dir_all(&data).map_err(|error| format!("{}: {error}", data.display()))?;
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let packages = Packages::make(&options.root.join("bench"), &program.with_file_name("churn"))?;
    let (invokes, environments) = (options.invokes as f64, options.environments as f64);
    let ending = (ENDING_SHARE * environments / invokes).min(1.0);
    let rate = RATE_SPARE * invokes / (options.minutes * 60.0);
    let api = Api { address: format!("127.0.0.1:{}", free_port()?) };
    let soak = Soak::new(api, packages, options.seed, ending, rate);
    println!(
        "soak: {invokes} invokes and {environments} environments in {} minutes, seed {}, data in {}",
        options.minutes,
        options.seed,
        data.display()
    );
    let foreign = census::links_now();
    let life = Life::start(&options.lambic, &data, &soak.api)?;
    let (homes, pids) = (Homes::default(), Mutex::new((life.daemon, life.spawner)));
    let mut run = Run {
        options,
        ground: Ground { data, foreign },
        soak: &soak,
        homes: &homes,
        chance: Chance::new(options.seed, LIVES_STREAM),
        life,
        first: Living::default(),
        under_load: None,
        disk_first_kb: 0,
        dead: Vec::new(),
        told: BTreeSet::new(),
        started: 0,
        tally: Tally::default(),
        begun: Instant::now(),
        spoke: Instant::now(),
        pids: &pids,
    };
    // Nobody acts before the gate is opened.
    soak.quiet()?;
    let ended = std::thread::scope(|scope| {
        let mut number = 0;
        for (kind, count, share) in CALLERS {
            for _ in 0..count {
                number += 1;
                let (soak, homes) = (&soak, &homes);
                scope.spawn(move || load::call(soak, homes, kind, number, share));
            }
        }
        scope.spawn(|| load::churn(&soak, &homes));
        scope.spawn(|| load::kill(&soak, || *locked(&pids)));
        let ended = run.live();
        soak.stop.store(true, Ordering::Release);
        ended
    });
    let verdict = run.close(ended);
    // What a failed run has left may be needed to understand it.
    if verdict {
        drop(std::fs::remove_dir_all(&folder.0));
    }
    Ok(verdict)
}

impl Run<'_> {
    /// Everything, from the first function to the last server's end.
    fn live(&mut self) -> Result<(), String> {
        self.soak.turbulence_ends();
        for (name, kind) in PERMANENT {
            load::create(self.soak, name, kind)?;
        }
        self.answers();
        self.retire()?;
        self.first = self.steady()?;
        self.disk_first_kb = self.first.figures.get(census::DISK).copied().unwrap_or(0);
        self.soak.gate.open();
        let whole = Duration::from_secs_f64(self.options.minutes * 60.0);
        let half = whole.mul_f64(FIRST_SHARE);
        let between = CHECKPOINT_EVERY.min(half / 3);
        while self.begun.elapsed() < half {
            self.serve(between.min(half.saturating_sub(self.begun.elapsed())))?;
            self.checkpoint()?;
        }
        while !self.is_over(whole)? {
            self.death()?;
            let life_ms = LIFE_MS.0 + self.chance.below(LIFE_MS.1 - LIFE_MS.0);
            self.serve(Duration::from_millis(life_ms))?;
            if self.chance.hits(CHECKPOINT_SHARE) {
                self.checkpoint()?;
            }
        }
        self.checkpoint()?;
        self.soak.quiet()?;
        self.end(Death::Terminated, false)?;
        self.nothing_left_of_the_dead(false);
        Ok(())
    }

    /// Whether time and work are over. An error when the machine is too slow for what was asked.
    fn is_over(&self, whole: Duration) -> Result<bool, String> {
        let took = self.begun.elapsed();
        let invokes = self.soak.counts.invokes.load(Ordering::Relaxed);
        let reached = invokes >= self.options.invokes && self.environments() >= self.options.environments;
        // Waiting for what does not go away is a failure of another kind.
        let waits = self.tally.checkpoints as u32 + self.dead.len() as u32;
        if took > whole.mul_f64(PATIENCE) + SETTLE * waits && !reached {
            let text = "of the invokes or environments that were asked for, some were not made in";
            return Err(format!("{text} {} s", took.as_secs()));
        }
        Ok(took >= whole && reached)
    }

    fn environments(&self) -> u64 {
        self.tally.environments + self.started
    }

    /// Lets the others work for a while.
    fn serve(&mut self, time: Duration) -> Result<(), String> {
        let begun = Instant::now();
        while begun.elapsed() < time {
            std::thread::sleep(SERVE_STEP);
            if let Some(status) = self.life.ended() {
                return Err(format!("the server ended by itself ({status}): {}", self.life.log.text()));
            }
            self.started = self.soak.api.figure(STARTED)?;
            self.read_log(true);
            if self.spoke.elapsed() > SPEAK_EVERY {
                self.spoke = Instant::now();
                let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
                let counts = &self.soak.counts;
                println!(
                    "{:>5.0} s  {:>8} invokes  {:>6} environments  {:>3} deaths  {} unexpected  {} kB",
                    self.begun.elapsed().as_secs_f64(),
                    count(&counts.invokes),
                    self.environments(),
                    self.dead.len(),
                    count(&counts.unexpected),
                    census::status(self.life.daemon, "VmRSS:"),
                );
            }
        }
        Ok(())
    }

    /// Lines of the server's log that tell of a fault; while all is calm each needs an excuse.
    fn read_log(&self, calm: bool) {
        for line in self.life.log.faults() {
            let explained = !line.contains("panicked") && (!calm || self.soak.excused(""));
            if !explained {
                self.soak.unexpected(format!("the server's log: {line}"));
            }
        }
    }

    /// Every function answers.
    fn answers(&self) {
        for (name, kind) in PERMANENT {
            let deed = if kind == Kind::Slow { Deed::Sleep } else { Deed::Quick };
            load::invoke(self.soak, self.homes, &mut None, name, deed, false);
        }
    }

    /// Ends all environments, by changing every function.
    fn retire(&mut self) -> Result<(), String> {
        let names = locked(&self.soak.ledger).names();
        for name in names {
            if self.soak.api.round(&name)?.is_some() {
                self.soak.api.settled(&name)?;
                load::change(self.soak, &name, Some(()))?;
                self.soak.api.settled(&name)?;
            }
        }
        let ended = until(SETTLE, "all environments to end", || Ok(self.soak.api.figure(NOW)? == 0));
        self.started = self.soak.api.figure(STARTED)?;
        ended
    }

    /// What there is once two counts in a row are equal, with all spares.
    fn steady(&self) -> Result<Living, String> {
        until(SETTLE, "all spares to wait", || Ok(self.soak.api.figure(SPARES)? == SPARES_KEPT))?;
        let mut last = self.count();
        _ = until(SETTLE, "the server to be steady", || {
            std::thread::sleep(STEADY);
            let now = self.count();
            let same = now.beyond(&last).is_empty() && last.beyond(&now).is_empty();
            last = now;
            Ok(same)
        });
        Ok(last)
    }

    fn count(&self) -> Living {
        Living::count(&self.life, &self.ground)
    }

    /// Pauses, ends all environments, and compares with the start of this life.
    fn checkpoint(&mut self) -> Result<(), String> {
        self.soak.quiet()?;
        self.retire()?;
        let mut now = self.count();
        // Memory is compared between moments after work; a fresh process has touched little of it.
        self.first.take_memory_of(self.under_load.as_ref().unwrap_or(&now));
        let settled = until(SETTLE, "the server to be as at first", || {
            server::collect_zombies(self.life.daemon);
            now = self.count();
            let spares = self.soak.api.figure(SPARES)?;
            Ok(spares == SPARES_KEPT && now.beyond(&self.first).is_empty())
        });
        if settled.is_err() {
            for (kind, more, text) in now.beyond(&self.first) {
                let text = format!("after {} environments of a server, {text}", self.started);
                self.tally.leaked(kind, more, text);
                // What was told is not told again.
                self.first.raise(kind, &now);
            }
        }
        let under_load = self.under_load.get_or_insert_with(|| now.clone());
        if self.dead.is_empty() {
            self.tally.figures = now.beside(under_load);
        }
        self.read_log(true);
        self.tally.checkpoints += 1;
        self.soak.gate.open();
        Ok(())
    }

    /// One server dies, the next one starts and has everything that was acknowledged.
    fn death(&mut self) -> Result<(), String> {
        let (death, asleep) = (self.chance.weighted(&Death::ALL), self.chance.hits(ASLEEP_SHARE));
        if asleep {
            self.soak.quiet()?;
            std::thread::sleep(FROZEN_AFTER);
        }
        self.end(death, asleep)?;
        self.soak.quiet()?;
        // Not everywhere are orphans collected at once, or ever; both have to do.
        if self.chance.hits(COLLECT_SHARE) {
            server::collect_zombies(0);
            if let Some(last) = self.dead.last_mut() {
                last.collected = true;
            }
        }
        let begun = Instant::now();
        self.life = Life::start(&self.options.lambic, &self.ground.data, &self.soak.api)?;
        let took_ms = begun.elapsed().as_millis() as u64;
        self.tally.restart_slowest_ms = self.tally.restart_slowest_ms.max(took_ms);
        *locked(self.pids) = (self.life.daemon, self.life.spawner);
        self.nothing_is_lost()?;
        self.nothing_left_of_the_dead(true);
        self.first = self.steady()?;
        self.first.set(census::DISK, self.disk_first_kb);
        self.under_load = None;
        self.soak.turbulence_ends();
        self.answers();
        self.soak.gate.open();
        Ok(())
    }

    /// Ends the server and looks at how it did.
    fn end(&mut self, death: Death, asleep: bool) -> Result<(), String> {
        // The last look at its figures; when it fails, the one before has to do.
        self.started = self.soak.api.figure(STARTED).unwrap_or(self.started);
        self.soak.turbulence_begins();
        match death {
            Death::Daemon => self.life.signal_daemon(libc::SIGKILL),
            Death::Spawner => self.life.signal_spawner(libc::SIGKILL),
            Death::Both => {
                self.life.signal_spawner(libc::SIGKILL);
                self.life.signal_daemon(libc::SIGKILL);
            }
            Death::Terminated => self.life.signal_daemon(libc::SIGTERM),
        }
        let status = self.life.wait()?;
        self.read_log(false);
        let right = match death {
            Death::Terminated => status.success(),
            // A service manager has to see that it was no success.
            Death::Spawner => status.code().is_some_and(|code| code != 0),
            Death::Daemon | Death::Both => true,
        };
        if !right {
            self.soak.unexpected(format!("after {} the server ended with {status}", death.name()));
        }
        *self.tally.deaths.entry(death.name()).or_default() += 1;
        self.bury(death.name(), asleep);
        Ok(())
    }

    fn bury(&mut self, death: &'static str, asleep: bool) {
        let (daemon, spawner) = (self.life.daemon, self.life.spawner);
        self.dead.push(Dead { daemon, spawner, death, asleep, collected: false });
        self.tally.environments += std::mem::take(&mut self.started);
    }

    /// Compares every function with what was acknowledged.
    fn nothing_is_lost(&mut self) -> Result<(), String> {
        let (known, found) = (locked(&self.soak.ledger).names(), self.soak.api.names()?);
        for name in &known {
            let round = self.soak.api.round(name)?;
            let checked = locked(&self.soak.ledger).check(name, round);
            if let Err(text) = checked {
                self.soak.unexpected(format!("lost: {text}"));
            }
            if found.contains(name) != round.is_some() {
                self.soak.unexpected(format!("{name}: ListFunctions and GetFunctionConfiguration differ"));
            }
        }
        for name in found.iter().filter(|name| !known.contains(name)) {
            self.soak.unexpected(format!("a function that nobody made: {name}"));
        }
        Ok(())
    }

    fn nothing_left_of_the_dead(&mut self, alive: bool) {
        let (mut left, told) = (Vec::new(), &self.told);
        _ = until(SETTLE, "what dead servers had to be gone", || {
            left = census::left_of(&self.dead, alive.then_some(&self.life), &self.ground);
            left.retain(|(_, text)| !told.contains(text));
            // The first process of a namespace stays until somebody collects those that were in it, and
            // copies live inside their template's.
            if left.iter().all(|(kind, _)| *kind == "processes") {
                server::collect_zombies(if alive { self.life.daemon } else { 0 });
            }
            Ok(left.is_empty())
        });
        for (kind, text) in left {
            self.told.insert(text.clone());
            self.tally.leaked(kind, 1, format!("left of a dead server: {text}"));
        }
        server::collect_zombies(if alive { self.life.daemon } else { 0 });
    }

    /// Prints the table and clears away what is left. Whether all was well.
    fn close(mut self, ended: Result<(), String>) -> bool {
        if let Err(text) = ended {
            self.soak.unexpected(text);
            self.life.signal_daemon(libc::SIGKILL);
            _ = self.life.wait();
            self.bury("the end of the run", false);
        }
        self.tally.seconds = self.begun.elapsed().as_secs_f64();
        table::print(&self.tally, &self.soak.counts, &self.soak.texts());
        census::remove_left(&self.dead);
        self.tally.leaks.is_empty() && self.soak.counts.unexpected.load(Ordering::Relaxed) == 0
    }
}

fn free_port() -> Result<u16, String> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").map_err(|error| error.to_string())?;
    Ok(listener.local_addr().map_err(|error| error.to_string())?.port())
}
