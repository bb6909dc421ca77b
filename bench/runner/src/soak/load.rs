//! The threads that act on the server: callers, who invoke and judge each answer; the churner, who
//! makes, changes and deletes functions; the killer, who kills processes inside environments.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use lambic_bench::http::{Connection, Message};
use lambic_bench::sign;
use serde_json::Value;

use crate::chance::{Chance, Deed};
use crate::server::{self, descendants, processes};
use crate::soak::{Soak, locked};
use crate::zoo::{Changed, Kind, PERMANENT, REQUEST_S_MAX};

/// Who calls which kind of function: how many callers, and the share of all invokes that each makes.
/// Those that wait for a timeout every time are slow enough by themselves.
pub const CALLERS: [(Kind, u64, f64); 4] =
    [(Kind::Native, 8, 0.115), (Kind::Slow, 2, 1.0), (Kind::Python, 1, 0.04), (Kind::Node, 1, 0.04)];
/// Functions beside the permanent ones.
const TEMPORARY_MAX: usize = 4;
const CHURN_EVERY: Duration = Duration::from_millis(400);
const KILL_EVERY_MS_MAX: u64 = 800;
/// Streams of choices.
const CHURN_STREAM: u64 = 1_000;
const KILL_STREAM: u64 = 1_001;

/// Which function each environment has served: it may never serve another.
pub type Homes = Mutex<BTreeMap<String, String>>;

/// One caller, until the soak stops.
pub fn call(soak: &Soak, homes: &Homes, kind: Kind, number: u64, share: f64) {
    let mut chance = Chance::new(soak.seed, number);
    let names: Vec<&str> = PERMANENT.iter().filter(|(_, one)| *one == kind).map(|(name, _)| *name).collect();
    let mut connection = None;
    let mut pace = Pace::new(soak.rate * share);
    while !soak.stopping() {
        let Some(inside) = soak.gate.enter() else {
            connection = None;
            soak.gate.wait();
            pace.restart();
            continue;
        };
        let name = names[chance.below(names.len() as u64) as usize];
        let deed = Deed::choose(&mut chance, kind, soak.ending);
        let tail = chance.hits(0.1);
        invoke(soak, homes, &mut connection, name, deed, tail);
        drop(inside);
        pace.wait();
    }
}

/// One invoke, judged.
pub fn invoke(
    soak: &Soak,
    homes: &Homes,
    connection: &mut Option<Connection>,
    name: &str,
    deed: Deed,
    tail: bool,
) {
    let n = soak.counts.invokes.fetch_add(1, Ordering::Relaxed);
    let path = format!("/2015-03-31/functions/{name}/invocations");
    let mut request =
        sign::request("POST", &soak.api.address, &path, deed.event(n).to_string().as_bytes(), None);
    if tail {
        let end = b"Content-Type: ".len();
        let at = request.windows(end).position(|part| part == b"Content-Type: ").unwrap_or(0);
        request.splice(at..at, *b"X-Amz-Log-Type: Tail\r\n");
    }
    let then = soak.turbulence();
    let begun = Instant::now();
    let reply = match connection.take() {
        Some(open) => Ok(open),
        None => Connection::open(&soak.api.address, Duration::from_secs(REQUEST_S_MAX)),
    }
    .and_then(|mut open| {
        let reply = open.call(&request)?;
        *connection = Some(open);
        Ok(reply)
    });
    let took = begun.elapsed();
    let judged = reply.and_then(|reply| judge(homes, name, deed, n, tail, &reply));
    let Err(text) = judged else {
        if deed == Deed::Quick {
            soak.counts.slowest_us.fetch_max(took.as_micros() as u64, Ordering::Relaxed);
        }
        return;
    };
    if !soak.was_calm_since(then) {
        soak.counts.cut_off.fetch_add(1, Ordering::Relaxed);
        // The server is on its way down or up: no need to hammer at it.
        std::thread::sleep(Duration::from_millis(20));
    } else if !soak.excused(name) {
        soak.unexpected(format!("{name}, {deed:?}, after {} ms: {text}", took.as_millis()));
    }
}

/// What is wrong with an answer.
fn judge(homes: &Homes, name: &str, deed: Deed, n: u64, tail: bool, reply: &Message) -> Result<(), String> {
    let text = String::from_utf8_lossy(&reply.body);
    if reply.status() != 200 {
        return Err(format!("{} {text}", reply.status()));
    }
    if tail && reply.header("x-amz-log-result").is_none_or(str::is_empty) {
        return Err("a log tail was asked for, and none came".to_owned());
    }
    let failed = reply.header("x-amz-function-error").is_some();
    if let Some(wanted) = deed.error() {
        return if failed && text.contains(wanted) {
            Ok(())
        } else {
            Err(format!("not '{wanted}' but {text}"))
        };
    }
    let found: Value = serde_json::from_slice(&reply.body).map_err(|_| format!("no JSON: {text}"))?;
    if failed || found["n"] != n + 1 || found["function"] != name {
        return Err(format!("not an answer to event {n}: {text}"));
    }
    let environment = found["environment"].as_str().unwrap_or_default().to_owned();
    if environment.is_empty() || found["clean"] != true {
        return Err(format!("a new environment was not clean: {text}"));
    }
    // Only the first answer of an environment can bring a new name into the table.
    let mut homes = locked(homes);
    let home = homes.entry(environment).or_insert_with(|| name.to_owned());
    if home == name { Ok(()) } else { Err(format!("the environment served {home} before: {text}")) }
}

/// Spreads requests over time: no two seconds are full and the next ones empty.
struct Pace {
    every: Duration,
    next: Instant,
}

impl Pace {
    fn new(rate: f64) -> Pace {
        Pace { every: Duration::from_secs_f64(1.0 / rate.max(0.01)), next: Instant::now() }
    }

    /// What could not be sent during a pause is made up for, but not all at once.
    fn restart(&mut self) {
        self.next = self.next.max(Instant::now() - 100 * self.every);
    }

    fn wait(&mut self) {
        self.next += self.every;
        let now = Instant::now();
        if self.next > now {
            std::thread::sleep(self.next - now);
        }
    }
}

/// Makes, changes and deletes functions, until the soak stops.
pub fn churn(soak: &Soak, homes: &Homes) {
    let mut chance = Chance::new(soak.seed, CHURN_STREAM);
    let mut temporary: Vec<(String, Kind)> = Vec::new();
    let mut made = 0;
    while !soak.stopping() {
        let Some(inside) = soak.gate.enter() else {
            soak.gate.wait();
            continue;
        };
        let then = soak.turbulence();
        let step = chance.below(10);
        let done = if step < 6 {
            let (name, _) = PERMANENT[chance.below(PERMANENT.len() as u64) as usize];
            change(soak, name, Some(()))
        } else if step < 8 && temporary.len() < TEMPORARY_MAX {
            made += 1;
            let kind = chance.weighted(&[(6, Kind::Native), (1, Kind::Python), (1, Kind::Node)]);
            let name = format!("soak-temporary-{made}");
            temporary.push((name.clone(), kind));
            create(soak, &name, kind).map(|()| invoke(soak, homes, &mut None, &name, Deed::Quick, false))
        } else if temporary.is_empty() {
            Ok(())
        } else {
            let (name, _) = temporary.swap_remove(chance.below(temporary.len() as u64) as usize);
            change(soak, &name, None)
        };
        if let Err(text) = done
            && soak.was_calm_since(then)
        {
            soak.unexpected(text);
        }
        drop(inside);
        std::thread::sleep(CHURN_EVERY);
    }
}

/// Makes a function and waits until it can be used.
pub fn create(soak: &Soak, name: &str, kind: Kind) -> Result<(), String> {
    let round = soak.round();
    locked(&soak.ledger).begins(name, Some(round));
    if soak.api.create(&soak.packages, name, kind, round)? == Changed::Busy {
        return Err(format!("{name} is there already"));
    }
    locked(&soak.ledger).acknowledged(name, Some(round));
    soak.counts.changes.fetch_add(1, Ordering::Relaxed);
    soak.api.settled(name)
}

/// Gives a function another configuration, or deletes it.
pub fn change(soak: &Soak, name: &str, update: Option<()>) -> Result<(), String> {
    let wanted = update.map(|()| soak.round());
    locked(&soak.ledger).begins(name, wanted);
    let changed = match wanted {
        Some(round) => soak.api.update(name, round)?,
        // Its creation may have been cut off.
        None if soak.api.round(name)?.is_none() => Changed::Done,
        None => soak.api.delete(name)?,
    };
    match changed {
        Changed::Done => locked(&soak.ledger).acknowledged(name, wanted),
        // Its last update is not through.
        Changed::Busy => locked(&soak.ledger).refused(name, wanted),
    }
    soak.counts.changes.fetch_add(1, Ordering::Relaxed);
    Ok(())
}

/// Kills processes inside environments, until the soak stops. `server` gives daemon and spawner.
pub fn kill(soak: &Soak, server: impl Fn() -> (i32, i32)) {
    let mut chance = Chance::new(soak.seed, KILL_STREAM);
    while !soak.stopping() {
        std::thread::sleep(Duration::from_millis(chance.below(KILL_EVERY_MS_MAX)));
        let choice = chance.below(u64::MAX);
        let Some(_inside) = soak.gate.enter() else {
            soak.gate.wait();
            continue;
        };
        let (daemon, spawner) = server();
        let tree = processes();
        let inside: Vec<i32> = descendants(&tree, spawner).into_iter().collect();
        if inside.is_empty() {
            continue;
        }
        let victim = inside[(choice % inside.len() as u64) as usize];
        // Its first process knows nothing of the function, but what runs below it does.
        let below = descendants(&tree, victim);
        let function = [victim].iter().chain(&below).find_map(|pid| function_of(*pid));
        soak.excuse(function.as_deref());
        if server::signal_below(daemon, victim, libc::SIGKILL) {
            soak.counts.kills_inside.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The function that a process runs for.
fn function_of(pid: i32) -> Option<String> {
    let variables = std::fs::read(format!("/proc/{pid}/environ")).ok()?;
    let name =
        variables.split(|byte| *byte == 0).find_map(|one| one.strip_prefix(b"AWS_LAMBDA_FUNCTION_NAME="))?;
    Some(String::from_utf8_lossy(name).into_owned())
}
