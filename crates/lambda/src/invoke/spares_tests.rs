//! Which environments are made from spares, and how many spares are asked for.

use std::sync::Arc;
use std::time::Duration;

use lambic_rt::Rt;

use super::fake::{Inside, Machine, exited, request, script};
use super::*;
use crate::state::function::tests::record;
use crate::state::version::Version;

fn python(machine: &Machine, generation: u64) -> Version {
    Version { runtime: "python3.13".into(), ..machine.version(generation) }
}

/// Answers with the kind that it was made from, and notes whether it could learn what it becomes.
async fn tells_its_kind(mut inside: Inside) -> super::launcher::Ended {
    let told = inside.runtime.request("GET /lambic/become", "", b"").await;
    let variables = told.text().contains("AWS_LAMBDA_FUNCTION_NAME");
    let is_spare = inside.plan.spare.is_some();
    assert_eq!((told.status == 200, variables), (is_spare, is_spare));
    while let Some(event) = inside.runtime.try_next().await {
        let kind = format!("{:?}", inside.plan.spare);
        inside.runtime.respond(&event.request_id(), format!("{kind:?}").as_bytes()).await;
    }
    exited(0)
}

async fn kind(machine: &Machine, version: Version) -> String {
    let answer = machine.invoke(version, "1").await.unwrap();
    String::from_utf8(answer.payload.to_vec()).unwrap()
}

fn asked_for(machine: &Machine) -> Vec<(u64, u32)> {
    let spares = machine.fake.spares.as_ref().unwrap().lock().unwrap();
    let mut spares: Vec<_> = spares.iter().map(|(kind, count)| (*kind, *count)).collect();
    spares.sort_unstable();
    spares
}

#[tokio::test]
async fn functions_that_can_are_made_from_spares_of_their_kind() {
    let machine = Machine::with_spares(InvokeConfig::default(), script(tells_its_kind));
    assert_eq!(kind(&machine, python(&machine, 1)).await, r#""Some(1)""#);
    assert_eq!(kind(&machine, python(&machine, 2)).await, r#""Some(1)""#, "of the same kind");
    let node = |generation, memory_mb| Version {
        runtime: "nodejs22.x".into(),
        memory_mb,
        ..machine.version(generation)
    };
    assert_eq!(kind(&machine, node(3, 128)).await, r#""Some(2)""#);
    // Its heap is told on the command line.
    assert_eq!(kind(&machine, node(4, 256)).await, r#""Some(3)""#);
    assert_eq!(asked_for(&machine), [(1, 2), (2, 2), (3, 2)]);
    let none: [fn(&mut Version); 4] = [
        |version| version.runtime = "provided.al2023".into(),
        |version| version.tmp_mb = 1_024,
        |version| version.environment = vec![("TZ".into(), "Europe/Berlin".into())],
        |version| version.environment = vec![("AWS_LAMBDA_EXEC_WRAPPER".into(), "/x".into())],
    ];
    for (at, change) in (10..).zip(none) {
        let mut version = python(&machine, at);
        change(&mut version);
        assert_eq!(kind(&machine, version).await, r#""None""#, "{at}");
    }
    assert_eq!(machine.invoker.figures().spares_used.value(), 4);
    assert_eq!(machine.invoker.figures().spares_missed.value(), 0);
}

#[tokio::test]
async fn a_start_that_is_repeated_and_one_that_nobody_waits_for_are_plain() {
    let machine = Machine::with_spares(
        InvokeConfig::default(),
        script(|mut inside: Inside| async move {
            let kind = format!("{:?}", inside.plan.spare);
            let is_first = inside.number == 1;
            inside.happened.lock().unwrap().push(if inside.plan.spare.is_some() {
                "from a spare"
            } else {
                "plain"
            });
            if is_first {
                return exited(1);
            }
            while let Some(event) = inside.runtime.try_next().await {
                inside.runtime.respond(&event.request_id(), format!("{kind:?}").as_bytes()).await;
            }
            exited(0)
        }),
    );
    assert_eq!(kind(&machine, python(&machine, 1)).await, r#""None""#);
    assert_eq!(machine.happened(), ["from a spare", "plain"]);
    let published = Version { version: "1".into(), ..python(&machine, 2) };
    machine.invoker.provision(&Arc::new(published), 1);
    machine.until_alive(2).await;
    assert_eq!(machine.happened(), ["from a spare", "plain", "plain"]);
}

#[tokio::test]
async fn spares_have_what_environments_leave() {
    let budget = place::Budget { memory_mb_max: 300, environments_max: 10 };
    let config = InvokeConfig { budget, spares: 8, ..InvokeConfig::default() };
    let machine = Machine::with_spares(config, script(tells_its_kind));
    // 128 of 300 MB are taken by the time that it is known which kind there is.
    kind(&machine, python(&machine, 1)).await;
    assert_eq!(asked_for(&machine), [(1, 2)]);
    kind(&machine, python(&machine, 2)).await;
    assert_eq!(asked_for(&machine), [(1, 0)]);
}

#[tokio::test]
async fn a_new_function_brings_its_kind_and_an_old_one_does_not() {
    let machine = Machine::with_spares(InvokeConfig::default(), script(tells_its_kind));
    let (mut new, mut old) = (record("new"), record("old"));
    let now = Rt::real().now().micros();
    for (record, age_s, memory_mb) in [(&mut new, 1, 128), (&mut old, 3_600, 256)] {
        record.running.runtime = "nodejs22.x".into();
        record.running.memory_mb = memory_mb;
        record.running.last_modified_micros = now - age_s * 1_000_000;
    }
    machine.invoker.follow(&old.arn(), Some(&old));
    machine.invoker.follow(&new.arn(), Some(&new));
    let there = async {
        while asked_for(&machine).is_empty() {
            tokio::task::yield_now().await;
        }
    };
    let there = Rt::real().within(Duration::from_secs(10), there).await;
    assert!(there.is_some(), "no spares were asked for");
    assert_eq!(asked_for(&machine), [(1, 2)]);
    let version = Version { runtime: "nodejs22.x".into(), memory_mb: 128, ..machine.version(1) };
    assert_eq!(kind(&machine, version).await, r#""Some(1)""#);
    assert!(machine.invoker.invoke(Arc::new(machine.version(2)), request("1")).await.is_ok());
}

#[tokio::test]
async fn what_was_deployed_is_prepared_for_until_it_starts() {
    let machine = Machine::with_spares(InvokeConfig::default(), script(tells_its_kind));
    let deployed = |name: &str, runtime: &str| {
        let mut record = record(name);
        record.running.runtime = runtime.into();
        record.running.last_modified_micros = Rt::real().now().micros();
        machine.invoker.follow(&record.arn(), Some(&record));
        record.arn()
    };
    let until = async |python: u32, ready: u32| {
        let there = async {
            while asked_for(&machine) != [(1, python)]
                || machine.fake.ready_more.load(std::sync::atomic::Ordering::SeqCst) != ready
            {
                tokio::task::yield_now().await;
            }
        };
        let there = Rt::real().within(Duration::from_secs(20), there).await;
        assert!(there.is_some(), "{:?} and {:?}", asked_for(&machine), machine.fake.ready_more);
    };
    let python: Vec<String> = (0..20).map(|at| deployed(&format!("p{at}"), "python3.13")).collect();
    let native: Vec<String> =
        (0..30).map(|at| deployed(&format!("n{at}"), "provided.al2023")).collect();
    until(20, 30).await;
    // Two start, one after the other; another one is deleted.
    for (at, arn) in (1..).zip([&python[0], &python[1]]) {
        let version = Version { function_arn: arn.clone(), ..self::python(&machine, at) };
        kind(&machine, version).await;
    }
    machine.invoker.follow(&native[0], None);
    until(18, 29).await;
}
