//! Snapshots over fake environments: taken, restored from, lost, taken again.

use std::sync::Arc;

use futures_util::future::join_all;

use super::fake::{Inside, Machine, Script, exited, request, script, tail};
use super::launcher::{Ended, LaunchFault, TemplateRole};
use super::place::Budget;
use super::templates::{SnapshotFault, Unforked, Wanted};
use super::worth::Policy;
use super::*;
use crate::state::function::tests::record;

const RESTORE: &str = "GET /2018-06-01/runtime/restore/next";
const AFTER: &str = "Lambda-Runtime-Function-Error-Type: Runtime.AfterRestoreError\r\n";
const BEFORE: &str = "Lambda-Runtime-Function-Error-Type: Runtime.BeforeSnapshotError\r\n";

fn variable(inside: &Inside, name: &str) -> Option<String> {
    let found = inside.plan.env.iter().find(|(known, _)| known == name);
    found.map(|(_, value)| value.clone())
}

/// A runtime with hooks: notes what happens to it, and answers events with how it came to be, what it
/// is given for credentials, and its token.
async fn runtime(mut inside: Inside) -> Ended {
    let token = variable(&inside, "AWS_CONTAINER_AUTHORIZATION_TOKEN").unwrap();
    let note = |what| inside.happened.lock().unwrap().push(what);
    let how = match inside.plan.template {
        Some(TemplateRole::Becomes(_)) => {
            assert_eq!(variable(&inside, "_LAMBIC_TEMPLATE").as_deref(), Some("1"));
            note("template");
            // It is never answered.
            inside.runtime.request(RESTORE, "", b"").await;
            return exited(0);
        }
        Some(TemplateRole::From { .. }) => "restored",
        None => "initialized",
    };
    note(how);
    assert_eq!(variable(&inside, "_LAMBIC_TEMPLATE"), None);
    for absent in ["AWS_ACCESS_KEY_ID", "AWS_LAMBDA_LOG_STREAM_NAME", "AWS_LAMBDA_LOG_GROUP_NAME"] {
        assert_eq!(variable(&inside, absent), None, "{absent}");
    }
    let kind = variable(&inside, "AWS_LAMBDA_INITIALIZATION_TYPE");
    assert_eq!(kind.as_deref(), Some("snap-start"));
    let ask = format!("Authorization: {token}\r\n");
    let keys = inside.runtime.request("GET /2021-04-23/credentials", &ask, b"").await;
    let keys: serde_json::Value = serde_json::from_slice(&keys.body).unwrap();
    assert_eq!(inside.runtime.request(RESTORE, "", b"").await.status, 200);
    while let Some(event) = inside.runtime.try_next().await {
        let said = serde_json::json!([how, keys["AccessKeyId"], token]).to_string();
        inside.runtime.respond(&event.request_id(), said.as_bytes()).await;
    }
    exited(0)
}

/// What an environment that is not a template does instead.
fn with_hook<F>(hook: impl Fn(Inside) -> F + Send + Sync + 'static) -> Script
where
    F: Future<Output = Ended> + Send + 'static,
{
    let hook = Arc::new(hook);
    script(move |mut inside: Inside| {
        let hook = hook.clone();
        async move {
            let answer = inside.runtime.request(RESTORE, "", b"").await;
            if answer.status != 200 {
                return exited(0);
            }
            hook(inside).await
        }
    })
}

fn version(machine: &Machine) -> Arc<Version> {
    Arc::new(Version { version: "1".into(), snap_start: true, ..machine.version(7) })
}

async fn invoke(machine: &Machine, version: &Arc<Version>) -> (Vec<String>, String) {
    let answer = machine.invoker.invoke(version.clone(), request("1")).await.unwrap();
    assert_eq!(answer.function_error, None);
    (serde_json::from_slice(&answer.payload).unwrap(), tail(&answer))
}

fn wanted(version: &Arc<Version>) -> Vec<Wanted> {
    vec![Wanted { version: version.clone(), is_taken: true }]
}

async fn taken(machine: &Machine) -> Arc<Version> {
    let version = version(machine);
    machine.invoker.take_snapshot(&version).await.unwrap();
    machine.invoker.keep_snapshots(wanted(&version));
    version
}

async fn until(what: &str, is_so: impl Fn() -> bool) {
    let reached = async {
        while !is_so() {
            tokio::task::yield_now().await;
        }
    };
    let reached = Rt::real().within(Duration::from_secs(20), reached).await;
    assert!(reached.is_some(), "{what}");
}

fn now() -> lambic_rt::Instant {
    Rt::real().instant()
}

fn standing(machine: &Machine) -> usize {
    machine.invoker.common.templates.standing()
}

#[tokio::test]
async fn environments_are_restored_from_one_initialization() {
    let machine = Machine::with_templates(InvokeConfig::default(), script(runtime));
    assert!(machine.invoker.has_snapshots());
    let version = taken(&machine).await;
    assert_eq!(machine.happened(), ["template", "frozen"]);
    assert_eq!((standing(&machine), machine.launches()), (1, 1));
    assert_eq!(machine.invoker.figures().used(), (1, 128), "it counts");
    let all = join_all((0..3).map(|_| invoke(&machine, &version))).await;
    let mut keys: Vec<&str> = all.iter().map(|(said, _)| said[1].as_str()).collect();
    keys.sort_unstable();
    keys.dedup();
    let environments = machine.launches() - 1;
    assert_eq!(keys.len(), environments, "each has its own");
    for (said, log) in &all {
        assert_eq!(said[0], "restored");
        assert_eq!(said[2], all[0].0[2], "all name the same");
        assert!(!log.contains("Init Duration"), "{log}");
    }
    let restored = all.iter().filter(|(_, log)| {
        log.contains("\tRestore Duration: ") && log.contains(" ms\tBilled Restore Duration: ")
    });
    assert_eq!(restored.count(), environments, "once for each environment");
    let (_, warm) = invoke(&machine, &version).await;
    assert!(!warm.contains("Restore Duration"), "{warm}");
    assert_eq!(machine.keys.0.lock().unwrap().len(), environments + 1);
    let figures = machine.invoker.figures();
    assert_eq!(figures.restored.value(), environments as u64);
    assert_eq!((figures.snapshots_taken.value(), figures.not_restored.value()), (1, 0));
    // What was forked from it lives in it: it ends with the last of them.
    assert!(machine.invoker.common.templates.evictable(now(), Policy::Fixed).is_empty());
    machine.invoker.keep_snapshots(Vec::new());
    assert_eq!(standing(&machine), 0);
    assert_eq!(machine.fake.alive.load(Ordering::SeqCst), environments + 1);
    assert_eq!(machine.keys.0.lock().unwrap().len(), environments + 1);
    machine.invoker.follow(&version.function_arn, None);
    machine.until_alive(0).await;
    until("all sessions are closed", || machine.keys.0.lock().unwrap().is_empty()).await;
    assert_eq!(machine.invoker.figures().used(), (0, 0));
}

#[tokio::test]
async fn a_function_that_cannot_be_initialized_has_no_snapshot() {
    let fails = |route: &'static str, head: &'static str| {
        script(move |mut inside: Inside| async move {
            inside.runtime.post_with(route, head, b"{\"errorMessage\":\"no\"}").await;
            exited(64)
        })
    };
    let exits = script(|_| async { exited(1) });
    for run in [fails("init/error", BEFORE), exits] {
        let machine = Machine::with_templates(InvokeConfig::default(), run);
        let result = machine.invoker.take_snapshot(&version(&machine)).await;
        assert_eq!(result, Err(SnapshotFault::of_function()));
        machine.until_alive(0).await;
        assert_eq!((standing(&machine), machine.invoker.figures().used()), (0, (0, 0)));
    }
    let machine = Machine::with_templates(InvokeConfig::default(), script(runtime));
    let wrapped = Version {
        environment: vec![("AWS_LAMBDA_EXEC_WRAPPER".into(), "/opt/wrap".into())],
        ..(*version(&machine)).clone()
    };
    let Err(SnapshotFault::Function(reason)) =
        machine.invoker.take_snapshot(&Arc::new(wrapped)).await
    else {
        panic!("it was taken");
    };
    assert_eq!(
        reason,
        "SnapStart is not offered by this server for functions with AWS_LAMBDA_EXEC_WRAPPER."
    );
    let budget = Budget { memory_mb_max: 100, environments_max: 10 };
    let config = InvokeConfig { budget, ..InvokeConfig::default() };
    let machine = Machine::with_templates(config, script(runtime));
    let full = machine.invoker.take_snapshot(&version(&machine)).await;
    assert!(matches!(full, Err(SnapshotFault::Platform(_))), "{full:?}");
    assert_eq!(machine.launches(), 0);
}

#[tokio::test]
async fn a_hook_that_fails_is_the_callers_error_and_is_not_repeated() {
    let fails = |mut inside: Inside| async move {
        inside.runtime.post_with("restore/error", AFTER, b"{\"errorMessage\":\"no\"}").await;
        exited(65)
    };
    let machine = Machine::with_templates(InvokeConfig::default(), with_hook(fails));
    let version = taken(&machine).await;
    for launches in [2, 3] {
        let error = machine.invoker.invoke(version.clone(), request("1")).await.unwrap_err();
        assert_eq!((error.code.as_ref(), error.status), ("SnapStartException", 400));
        assert!(error.message.starts_with("The afterRestore() runtime hook encountered an error."));
        assert_eq!(machine.launches(), launches);
    }
    machine.until_alive(1).await;
    // So is one of an environment that was initialized.
    breaks(&machine, Some(LaunchFault::Template("broken".into())));
    let error = machine.invoker.invoke(version, request("1")).await.unwrap_err();
    assert_eq!(error.code, "SnapStartException");
    assert_eq!(machine.launches(), 5, "a fork that failed, and one initialization");
}

#[tokio::test]
async fn a_hook_that_takes_too_long_is_the_callers_error() {
    let never = |inside: Inside| async move {
        let _inside = inside;
        std::future::pending().await
    };
    let restore_max = Duration::from_millis(100);
    let config = InvokeConfig { restore_max, ..InvokeConfig::default() };
    let machine = Machine::with_templates(config, with_hook(never));
    let version = taken(&machine).await;
    let error = machine.invoker.invoke(version, request("1")).await.unwrap_err();
    assert_eq!((error.code.as_ref(), error.status), ("SnapStartTimeoutException", 408));
    assert_eq!(error.message, "Lambda couldn't restore the snapshot within the timeout limit.");
    machine.until_alive(1).await;
}

#[tokio::test]
async fn what_cannot_be_forked_is_initialized_and_the_template_made_anew() {
    let machine = Machine::with_templates(InvokeConfig::default(), script(runtime));
    let version = taken(&machine).await;
    breaks(&machine, Some(LaunchFault::Template("broken".into())));
    let all = join_all((0..3).map(|_| invoke(&machine, &version))).await;
    assert!(all.iter().all(|(said, _)| said[0] == "initialized"), "{all:?}");
    assert!(all.iter().any(|(_, log)| log.contains("Init Duration: ")), "{all:?}");
    let figures = machine.invoker.figures();
    let initialized = figures.not_restored.value();
    assert!((1..=3).contains(&initialized) && figures.restored.value() == 0);
    // It may have taken fewer than three attempts for as many requests.
    while standing(&machine) > 0 {
        machine.invoker.common.templates.not_forked(
            7,
            number(&machine),
            Unforked::Failed("broken"),
            Rt::real().instant(),
        );
    }
    breaks(&machine, None);
    until("it is made anew", || standing(&machine) == 1).await;
    assert_eq!(figures.snapshots_taken.value(), 2);
}

/// From now on every fork fails so, or none.
fn breaks(machine: &Machine, fault: Option<LaunchFault>) {
    *machine.fake.templates.as_ref().unwrap().lock().unwrap() = fault;
}

#[tokio::test]
async fn what_can_never_be_forked_is_told_and_not_made_again() {
    let machine = Machine::with_templates(InvokeConfig::default(), script(runtime));
    let version = taken(&machine).await;
    breaks(&machine, Some(LaunchFault::Unfit("it has 2 threads".into())));
    assert_eq!(invoke(&machine, &version).await.0[0], "initialized");
    assert_eq!(standing(&machine), 0);
    let templates = &machine.invoker.common.templates;
    let later = now() + Duration::from_secs(24 * 3_600);
    assert!(templates.due(later).is_empty(), "it would be initialized in vain");
    // It is asked for again whenever another version is published.
    machine.invoker.keep_snapshots(wanted(&version));
    assert!(templates.due(later).is_empty());
    assert_eq!(invoke(&machine, &version).await.0[0], "initialized");
    assert_eq!(machine.invoker.figures().snapshots_taken.value(), 1);
}

#[tokio::test]
async fn each_version_is_told_its_own_reasons_once() {
    let machine = Machine::with_templates(InvokeConfig::default(), script(runtime));
    let version = taken(&machine).await;
    let other = Arc::new(Version { generation: 8, ..(*version).clone() });
    machine.invoker.take_snapshot(&other).await.unwrap();
    machine.invoker.keep_snapshots([wanted(&version), wanted(&other)].concat());
    let templates = &machine.invoker.common.templates;
    let told = |generation, unforked| templates.not_forked(generation, 0, unforked, now());
    let why = "it has 2 threads";
    assert!(told(7, Unforked::Failed("late")) && !told(7, Unforked::Failed("late")));
    assert!(told(7, Unforked::Unfit(why)) && !told(7, Unforked::Unfit(why)));
    assert!(!told(7, Unforked::Failed("there is none any more")), "that follows");
    assert!(told(8, Unforked::Unfit(why)), "another version, the same reason");
    assert!(!told(9, Unforked::Unfit(why)), "one that is not there any more");
}

#[tokio::test]
async fn a_template_that_is_busy_stays_and_who_waits_is_initialized() {
    let machine = Machine::with_templates(InvokeConfig::default(), script(runtime));
    let version = taken(&machine).await;
    breaks(&machine, Some(LaunchFault::Busy));
    assert_eq!(invoke(&machine, &version).await.0[0], "initialized");
    assert_eq!((standing(&machine), machine.invoker.figures().not_restored.value()), (1, 1));
}

#[tokio::test]
async fn the_time_for_which_others_are_forked_is_not_the_environments() {
    let restore_max = Duration::from_millis(300);
    let config = InvokeConfig { restore_max, ..InvokeConfig::default() };
    let machine = Machine::with_templates(config, script(runtime));
    let version = taken(&machine).await;
    *machine.fake.forks_in.lock().unwrap() = restore_max * 2;
    assert_eq!(invoke(&machine, &version).await.0[0], "restored");
}

fn number(machine: &Machine) -> u64 {
    machine.invoker.common.templates.evictable(now(), Policy::Fixed)[0].id
}

#[tokio::test]
async fn a_template_that_dies_is_made_again() {
    let dies = script(|mut inside: Inside| async move {
        if inside.number == 1 {
            inside.runtime.send(format!("{RESTORE} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).await;
            Rt::real().sleep(Duration::from_millis(50)).await;
            return exited(1);
        }
        runtime(inside).await
    });
    let machine = Machine::with_templates(InvokeConfig::default(), dies);
    let version = taken(&machine).await;
    until("it is made again", || machine.invoker.figures().snapshots_taken.value() == 2).await;
    assert_eq!(invoke(&machine, &version).await.0[0], "restored");
}

#[tokio::test]
async fn a_template_gives_way_and_does_not_take_room_that_is_needed() {
    let budget = Budget { memory_mb_max: 300, environments_max: 10 };
    let config = InvokeConfig { budget, ..InvokeConfig::default() };
    let machine = Machine::with_templates(config, script(runtime));
    let version = taken(&machine).await;
    // One beside it, and a second instead of it.
    let plain = |generation| {
        let version = Version { snap_start: true, ..machine.version(generation) };
        Arc::new(version)
    };
    assert_eq!(invoke(&machine, &plain(20)).await.0[0], "initialized");
    assert_eq!(standing(&machine), 1);
    assert_eq!(invoke(&machine, &plain(21)).await.0[0], "initialized");
    assert_eq!(standing(&machine), 0);
    assert_eq!(machine.invoker.figures().used(), (2, 256));
    super::template::make_missing(&machine.invoker.common);
    assert_eq!(standing(&machine), 0);
    assert_eq!(invoke(&machine, &version).await.0[0], "initialized");
}

#[tokio::test]
async fn a_template_of_something_else_is_not_used() {
    let machine = Machine::with_templates(InvokeConfig::default(), script(runtime));
    let version = taken(&machine).await;
    let environment = vec![("OWN".into(), "2".into())];
    let changed = Arc::new(Version { environment, ..(*version).clone() });
    assert_eq!(invoke(&machine, &changed).await.0[0], "initialized");
    assert_eq!(standing(&machine), 0);
}

#[tokio::test]
async fn a_version_that_is_deleted_keeps_no_template() {
    let machine = Machine::with_templates(InvokeConfig::default(), script(runtime));
    let version = taken(&machine).await;
    let mut record = record("f");
    record.versions.push(1);
    machine.invoker.follow(&version.function_arn, Some(&record));
    assert_eq!(standing(&machine), 1);
    record.remove_version(1);
    machine.invoker.follow(&version.function_arn, Some(&record));
    machine.until_alive(0).await;
    assert_eq!((standing(&machine), machine.invoker.figures().used()), (0, (0, 0)));
    let again = version;
    machine.invoker.take_snapshot(&again).await.unwrap();
    assert!(machine.invoker.drain(Duration::from_secs(1)).await);
    machine.until_alive(0).await;
}

#[tokio::test]
async fn one_whose_version_is_deleted_meanwhile_is_not_made() {
    let never = script(|inside: Inside| async move {
        let _inside = inside;
        std::future::pending().await
    });
    let machine = Machine::with_templates(InvokeConfig::default(), never);
    let version = version(&machine);
    let (invoker, taken) = (machine.invoker.clone(), version.clone());
    let making = async move { invoker.take_snapshot(&taken).await };
    let deleting = async {
        machine.until_alive(1).await;
        machine.invoker.follow(&version.function_arn, None);
    };
    let (result, ()) = tokio::join!(making, deleting);
    assert!(matches!(result, Err(SnapshotFault::Platform(_))), "{result:?}");
    machine.until_alive(0).await;
    assert_eq!(machine.invoker.figures().used(), (0, 0));
}

#[tokio::test]
async fn without_templates_all_are_initialized() {
    let machine = Machine::new(script(runtime));
    assert!(!machine.invoker.has_snapshots());
    let version = version(&machine);
    machine.invoker.take_snapshot(&version).await.unwrap();
    assert_eq!(machine.launches(), 0);
    assert_eq!(invoke(&machine, &version).await.0[0], "initialized");
}
