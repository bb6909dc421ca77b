//! Attempts to break out of an environment or to do harm, each bound to the barriers that stop it.
//!
//! Every attempt is made several times: with all barriers up it is stopped; with those that are
//! bound to it taken away it gets through, so it is a real one; and with each of them up alone it
//! is stopped again. So a barrier that falls makes its attempts fail, however many others stand.
//!
//! With all barriers up they are made in environments from spares, too: when the function has come,
//! and, as if harm were in the interpreter itself, before, beside an init process that still has rights.
//! Likewise in copies of a template (spares, and environments of one function) and in what stands as one.
//!
//! Runs without the test harness: a spawner is forked before the first thread, and what is taken
//! away is so for a whole process; each set of barriers has one of its own.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    missing_docs,
    reason = "a test"
)]

mod plan;
mod special;
mod world;

use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use lambic_rt::Rt;
use lambic_sandbox::{
    BarrierKind, Bind, FileReach, Mode, Role, Sandbox, SandboxHost, Sandboxes, SpawnerConfig, Spec,
    start, take_away,
};
use nix::fcntl::{FcntlArg, fcntl};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use plan::{ATTEMPTS, Attempt, Class, NOT_MET};
use world::World;

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Through,
    Stopped(String),
    /// It neither got through nor was stopped, so it tests nothing.
    Broken(String),
}

/// Above what is used, below what the spawner moves out of its way.
const LEFT_OPEN: i32 = 40;
const PATIENCE: Duration = Duration::from_secs(60);
/// The least that a suite worth the name has.
const ATTEMPTS_MIN: usize = 60;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    let after = |flag: &str| {
        let at = arguments.iter().position(|argument| argument == flag)?;
        arguments.get(at + 1).map(String::as_str)
    };
    match (after("--away"), after("--attempts")) {
        (Some(away), Some(attempts)) => {
            let attempts: Vec<&str> = attempts.split(',').collect();
            make(&named(away), Spare::named(after("--spare").unwrap_or_default()), &attempts);
            ExitCode::SUCCESS
        }
        _ => everything(after("--only")),
    }
}

fn named(list: &str) -> Vec<BarrierKind> {
    let find = |name| BarrierKind::named(name).expect("the name of a barrier");
    list.split(',').filter(|name| !name.is_empty()).map(find).collect()
}

/// Whether an attempt is made in an environment that was a spare, and when; or what it has to do with a
/// template.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Spare {
    No,
    Before,
    After,
    /// As after, and it was copied from another.
    Copied,
    /// As that, from one that has threads.
    Whole,
    /// In what is going to stand as a template.
    Template,
    /// In a copy of one.
    From,
}

impl Spare {
    const ALL: [Spare; 7] = [
        Spare::No,
        Spare::Before,
        Spare::After,
        Spare::Copied,
        Spare::Whole,
        Spare::Template,
        Spare::From,
    ];

    fn name(self) -> &'static str {
        match self {
            Spare::No => "no",
            Spare::Before => "before",
            Spare::After => "after",
            Spare::Copied => "copied",
            Spare::Whole => "whole",
            Spare::Template => "template",
            Spare::From => "from",
        }
    }

    fn named(name: &str) -> Spare {
        Spare::ALL.into_iter().find(|spare| spare.name() == name).unwrap_or(Spare::No)
    }

    /// Whether this attempt can be made there. Limits and code come with the function.
    fn fits(self, attempt: &Attempt) -> bool {
        let of_function = attempt.class == Class::Resources || needs_code(attempt.name);
        match self {
            Spare::No => true,
            _ if attempt.class == Class::Server => false,
            _ if attempt.name == "outlive_the_spawner_while_frozen" => false,
            Spare::Before => !of_function,
            Spare::After | Spare::Copied | Spare::Whole | Spare::Template | Spare::From => true,
        }
    }
}

fn needs_code(name: &str) -> bool {
    ["package", "code"].iter().any(|word| name.contains(word))
}

/// A set of barriers that are away, whether the attempts are made in the server, and whether in what
/// was a spare.
type Place = (Vec<BarrierKind>, bool, Spare);

fn everything(only: Option<&str>) -> ExitCode {
    assert!(nix::unistd::geteuid().is_root(), "this suite needs root, to build what it attacks");
    assert!(ATTEMPTS.len() >= ATTEMPTS_MIN);
    for kind in BarrierKind::ALL {
        let met = ATTEMPTS.iter().any(|attempt| attempt.barriers.contains(&kind));
        assert_ne!(met, NOT_MET.contains(&kind), "{kind:?}: is there an attempt at it?");
    }
    let mut places: BTreeMap<Place, Vec<(&Attempt, bool)>> = BTreeMap::new();
    for attempt in ATTEMPTS.iter().filter(|a| only.is_none_or(|only| a.name.contains(only))) {
        let bound = attempt.barriers;
        let mut add = |away: Vec<BarrierKind>, spare, through| {
            let place = (away, attempt.class == Class::Server, spare);
            places.entry(place).or_default().push((attempt, through));
        };
        for spare in Spare::ALL.into_iter().filter(|spare| spare.fits(attempt)) {
            add(vec![], spare, false);
        }
        add(bound.to_vec(), Spare::No, true);
        for alone in bound.iter().filter(|_| bound.len() > 1) {
            add(bound.iter().copied().filter(|kind| kind != alone).collect(), Spare::No, false);
        }
    }
    let (mut passed, mut failed) = (0, 0);
    for ((away, _, spare), attempts) in &places {
        let outcomes = in_a_process(away, *spare, attempts);
        for (attempt, through) in attempts {
            let told = outcomes.get(attempt.name).map_or("no word", String::as_str);
            if told.starts_with(if *through { "THROUGH" } else { "STOPPED" }) {
                passed += 1;
                continue;
            }
            failed += 1;
            let away: Vec<&str> = away.iter().map(|kind| kind.name()).collect();
            let expected = if *through { "get through" } else { "be stopped" };
            let name = attempt.name;
            println!("{name} without {away:?} ({spare:?} spare) had to {expected}: {told}");
        }
    }
    let mut classes: BTreeMap<Class, usize> = BTreeMap::new();
    ATTEMPTS.iter().for_each(|attempt| *classes.entry(attempt.class).or_default() += 1);
    println!("{} attempts: {classes:?}; {} sets of barriers", ATTEMPTS.len(), places.len());
    let word = if failed == 0 { "ok" } else { "FAILED" };
    println!(
        "\ntest result: {word}. {passed} passed; {failed} failed; 0 ignored; 0 measured; 0 filtered out"
    );
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn in_a_process(
    away: &[BarrierKind],
    spare: Spare,
    attempts: &[(&Attempt, bool)],
) -> BTreeMap<String, String> {
    let away: Vec<&str> = away.iter().map(|kind| kind.name()).collect();
    let names: Vec<&str> = attempts.iter().map(|(attempt, _)| attempt.name).collect();
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--away", &away.join(","), "--attempts", &names.join(",")])
        .args(["--spare", spare.name()])
        .stderr(std::process::Stdio::inherit())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        println!("without {away:?}: {}\n{text}", output.status);
    }
    let outcome = |line: &str| line.split_once('\t').map(|(a, b)| (a.to_owned(), b.to_owned()));
    text.lines().filter_map(outcome).collect()
}

/// Makes these attempts without those barriers, and prints how each ended.
fn make(away: &[BarrierKind], spare: Spare, names: &[&str]) {
    let world = World::build();
    // As if somebody had forgotten to close it: without close-on-exec, out of everybody's way.
    let folder = std::fs::File::open(world.path(".")).unwrap();
    let left_open = fcntl(folder.as_fd(), FcntlArg::F_DUPFD(LEFT_OPEN)).unwrap();
    take_away(away);
    let config = SpawnerConfig {
        mode: Mode::Privileged,
        run_dir: world.path("run"),
        images_dir: world.path("images"),
        bind_roots: vec![world.path("code")],
        outbound: true,
        networks: vec![],
        limits_egress: false,
        file_systems: Vec::new(),
        io_uring: false,
        ready_count: 0,
    };
    let host = start(&config).unwrap();
    let say = |name: &str, outcome: Outcome| {
        let (word, why) = match outcome {
            Outcome::Through => ("THROUGH", String::new()),
            Outcome::Stopped(why) => ("STOPPED", why),
            Outcome::Broken(why) => ("BROKEN", why),
        };
        println!("{name}\t{word} {}", why.replace(['\n', '\t'], " "));
    };
    let attempt = |name: &str| ATTEMPTS.iter().find(|a| a.name == name).unwrap();
    if attempt(names[0]).class == Class::Server {
        give_up_rights(&host, &world);
        names.iter().for_each(|name| say(name, special::in_the_server(name, &world)));
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let sandboxes = host.into_async(&Rt::real()).unwrap();
        let (_neighbour, neighbour, address) = neighbour(&sandboxes, &world).await;
        let facts = world.facts(&[
            ("neighbour", neighbour.into()),
            ("neighbour_address", address.into()),
            ("leak", left_open.into()),
        ]);
        // The one that kills the spawner comes last.
        let mut names = names.to_vec();
        names.sort_by_key(|name| *name == "outlive_the_spawner_while_frozen");
        for name in names {
            say(name, Box::pin(inside(&sandboxes, &world, name, &facts, spare)).await);
        }
    });
}

fn give_up_rights(host: &SandboxHost, world: &World) {
    let reach =
        FileReach { read: vec!["/usr".into()], written: vec![world.path("data")], left: vec![] };
    host.drop_privileges(&reach).unwrap();
}

fn spec(world: &World, script: &str, name: &str, facts: &str) -> Spec {
    let large = name == "write_more_than_tmp_holds";
    let code = Bind { source: world.path("code"), target: "/var/task".to_owned() };
    let argv = ["/usr/bin/python3", "-c", script, name].map(str::to_owned).to_vec();
    let env = [("PATH", "/usr/bin:/bin:/usr/sbin:/sbin"), ("FACTS", facts)];
    Spec {
        name: "attack".to_owned(),
        memory_mb: if large { 1_024 } else { 128 },
        tmp_mb: 512,
        pids_max: 64,
        files_max: 1_024,
        binds: if needs_code(name) { vec![code] } else { vec![] },
        argv,
        env: env.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec(),
        cwd: "/".to_owned(),
        network: None,
        egress: None,
        file_system: None,
        log_pipe: false,
        extensions: None,
    }
}

async fn inside(
    sandboxes: &Sandboxes,
    world: &World,
    name: &str,
    facts: &str,
    spare: Spare,
) -> Outcome {
    let mut spec = spec(world, include_str!("attacks.py"), name, facts);
    if name == "outlive_the_spawner_while_frozen" {
        return special::outlive_the_spawner(sandboxes, &spec).await;
    }
    spec.env.push(("SPARE".to_owned(), spare.name().to_owned()));
    // Lives as long as its copy does.
    let mut template = None;
    let mut sandbox = match spare {
        Spare::No => sandboxes.launch(&spec).await.unwrap(),
        Spare::Before | Spare::After => from_spare(sandboxes, &spec, false).await,
        Spare::Copied | Spare::Whole => {
            let sandbox = from_spare(sandboxes, &spec, true).await;
            assert!(is_copy(&sandbox), "it was started");
            sandbox
        }
        Spare::Template => sandboxes.launch_as(&spec, Role::Becomes(1)).await.unwrap(),
        Spare::From => {
            let (kept, copy) = from_template(sandboxes, &spec).await;
            template = Some(kept);
            copy
        }
    };
    match name {
        "work_while_frozen" => return special::work_while_frozen(sandbox).await,
        "use_a_whole_processor" => sandbox.control().set_cpu(Some(100)).unwrap(),
        _ => {}
    }
    let exit = sandbox.take_events().unwrap();
    let text = all_output(&mut sandbox).await;
    let exit = tokio::time::timeout(PATIENCE, exit.exit()).await.expect("it ends");
    drop(template);
    match text.lines().find_map(|line| line.split_once(' ').or(Some((line, "")))) {
        Some(("THROUGH", _)) => Outcome::Through,
        Some(("STOPPED", why)) => Outcome::Stopped(why.to_owned()),
        _ if exit.oom => Outcome::Stopped("killed for want of memory".to_owned()),
        _ => Outcome::Broken(format!("{exit:?} {text}")),
    }
}

/// Waits until a spare is at hand, makes it what it is wanted for, and lets it go on.
async fn from_spare(sandboxes: &Sandboxes, spec: &Spec, copied: bool) -> Sandbox {
    const KIND: u64 = 1;
    let prepared = Spec { binds: vec![], ..spec.clone() };
    match copied {
        true => sandboxes.keep_copied_spares(KIND, &prepared, 1).unwrap(),
        false => sandboxes.keep_spares(KIND, &prepared, 1).unwrap(),
    }
    let at_hand = async {
        while sandboxes.spares_at_hand(KIND) == 0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(PATIENCE, at_hand).await.expect("a spare loads itself");
    let mut sandbox = sandboxes.launch_from_spare(spec, KIND, None).await.unwrap();
    assert!(sandbox.is_from_spare);
    sandboxes.keep_spares(KIND, &prepared, 0).unwrap();
    let mut stream = sandbox.runtime_stream.take().unwrap();
    stream.write_all(b"g").await.unwrap();
    // Kept open, so that it goes on.
    sandbox.runtime_stream = Some(stream);
    sandbox
}

/// A copy is in a process namespace of its own inside its template's.
fn is_copy(sandbox: &Sandbox) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{}/status", sandbox.control().pid()));
    let status = status.expect("its first process lives");
    let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
    numbers.is_some_and(|numbers| numbers.split_whitespace().count() > 2)
}

/// A template that has loaded itself and is stopped, and a copy of it.
async fn from_template(sandboxes: &Sandboxes, spec: &Spec) -> (Sandbox, Sandbox) {
    static LAST: AtomicU64 = AtomicU64::new(1);
    let number = LAST.fetch_add(1, Ordering::Relaxed) + 1;
    let mut template = sandboxes.launch_as(spec, Role::Becomes(number)).await.unwrap();
    let mut loaded = [0; 5];
    let read = template.runtime_stream.as_mut().unwrap().read_exact(&mut loaded);
    tokio::time::timeout(PATIENCE, read).await.expect("a template loads itself").unwrap();
    template.control().freeze().unwrap();
    let copy = sandboxes.launch_as(spec, Role::From(number)).await.unwrap();
    (template, copy)
}

async fn all_output(sandbox: &mut Sandbox) -> String {
    let mut output = sandbox.output.take().unwrap();
    let mut text = Vec::new();
    let mut buffer = [0; 4096];
    let read = async {
        while let count @ 1.. = output.read(&mut buffer).await.unwrap() {
            text.extend_from_slice(&buffer[..count]);
        }
    };
    tokio::time::timeout(PATIENCE, read).await.expect("output ends");
    String::from_utf8_lossy(&text).into_owned()
}

/// Says hello on port 7000 to everyone who connects.
const NEIGHBOUR: &str = "
import socket, subprocess
server = socket.create_server(('0.0.0.0', 7000))
shown = subprocess.run(['ip', '-4', '-o', 'addr', 'show', 'dev', 'eth0'], capture_output=True, text=True)
fields = shown.stdout.split()
print(fields[3].split('/')[0] if len(fields) > 3 else 'nowhere', flush=True)
while True:
    server.accept()[0].sendall(b'hello')
";

/// Another environment, the first one of its spawner: itself, its process on the host, its address.
async fn neighbour(sandboxes: &Sandboxes, world: &World) -> (Sandbox, i32, String) {
    let mut sandbox = sandboxes.launch(&spec(world, NEIGHBOUR, "neighbour", "")).await.unwrap();
    let mut output = sandbox.output.take().unwrap();
    let mut buffer = [0; 256];
    let read = tokio::time::timeout(PATIENCE, output.read(&mut buffer)).await;
    let count = read.expect("the neighbour tells its address").unwrap();
    let address = String::from_utf8_lossy(&buffer[..count]).trim().to_owned();
    let pid = special::children_of(sandbox.control().pid() as u32)[0];
    // Kept open, so that it goes on.
    sandbox.output = Some(output);
    (sandbox, pid, address)
}
