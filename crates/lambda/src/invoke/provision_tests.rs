//! Environments that are there before anybody asks for them, and limits on how many there may be.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use lambic_rt::Rt;
use tokio::sync::Semaphore;

use super::fake::{Inside, Machine, echo, exited, gated, request, script};
use super::*;
use crate::state::function::tests::record;
use crate::state::version::Version;

fn published(machine: &Machine) -> Arc<Version> {
    Arc::new(Version { version: "1".into(), ..machine.version(1) })
}

async fn until(machine: &Machine, version: &Arc<Version>, wanted: Provision) {
    let reached = async {
        while machine.invoker.provisioned(version) != wanted {
            tokio::task::yield_now().await;
        }
    };
    let reached = Rt::real().within(Duration::from_secs(10), reached).await;
    assert!(reached.is_some(), "{:?}, not {wanted:?}", machine.invoker.provisioned(version));
}

fn ready(available: u32) -> Provision {
    Provision { available, fails: false }
}

#[tokio::test]
async fn they_are_started_ahead_and_told_why() {
    let machine = Machine::new(script(|mut inside: Inside| async move {
        let variables = inside.plan.env.clone();
        let find = |(name, value): (String, String)| {
            (name == "AWS_LAMBDA_INITIALIZATION_TYPE").then_some(value)
        };
        let init_type = variables.into_iter().find_map(find).unwrap();
        while let Some(event) = inside.runtime.try_next().await {
            inside.runtime.respond(&event.request_id(), init_type.as_bytes()).await;
        }
        exited(0)
    }));
    let version = published(&machine);
    machine.invoker.provision(&version, 2);
    machine.until_alive(2).await;
    until(&machine, &version, ready(2)).await;
    let answer = machine.invoker.invoke(version.clone(), request("1")).await.unwrap();
    assert_eq!(answer.payload, "provisioned-concurrency");
    assert_eq!(machine.launches(), 2);
    let latest = machine.invoke(machine.version(2), "1").await.unwrap();
    assert_eq!(latest.payload, "on-demand");
}

#[tokio::test]
async fn they_outlive_idleness_and_go_when_they_are_not_wanted_any_more() {
    let config = InvokeConfig { idle_max: Duration::from_millis(1), ..InvokeConfig::default() };
    let machine = Machine::with(config, script(echo), false);
    let version = published(&machine);
    machine.invoker.provision(&version, 2);
    machine.until_alive(2).await;
    // One of another function is reaped meanwhile.
    machine.invoke(machine.version(2), "1").await.unwrap();
    machine.until_alive(2).await;
    assert_eq!(machine.invoker.provisioned(&version), ready(2));
    machine.invoker.provision(&version, 0);
    machine.until_alive(0).await;
}

#[tokio::test]
async fn one_that_ends_is_replaced() {
    let machine = Machine::new(script(|mut inside: Inside| async move {
        if let Some(event) = inside.runtime.try_next().await {
            inside.runtime.respond(&event.request_id(), b"1").await;
        }
        exited(1)
    }));
    let version = published(&machine);
    machine.invoker.provision(&version, 1);
    until(&machine, &version, ready(1)).await;
    machine.invoker.invoke(version.clone(), request("1")).await.unwrap();
    let again = async {
        while machine.launches() < 2 {
            tokio::task::yield_now().await;
        }
    };
    assert!(Rt::real().within(Duration::from_secs(10), again).await.is_some());
    until(&machine, &version, ready(1)).await;
}

#[tokio::test]
async fn one_that_ends_before_it_serves_anybody_is_not_started_without_end() {
    let machine = Machine::new(script(|mut inside: Inside| async move {
        let rt = Rt::real();
        let _ = rt.within(Duration::from_millis(1), inside.runtime.try_next()).await;
        exited(1)
    }));
    let version = published(&machine);
    machine.invoker.provision(&version, 1);
    until(&machine, &version, Provision { available: 0, fails: true }).await;
    let again = async {
        while machine.launches() < 3 {
            tokio::task::yield_now().await;
        }
    };
    let begun = Rt::real().instant();
    assert!(Rt::real().within(Duration::from_secs(20), again).await.is_some());
    // A second, and then two.
    let pause = Rt::real().instant().duration_since(begun);
    assert!(pause >= Duration::from_secs(1), "three starts in {pause:?}");
}

#[tokio::test]
async fn a_deleted_function_gives_back_what_it_kept_though_it_still_runs() {
    let gate = Arc::new(Semaphore::new(0));
    let config = InvokeConfig { concurrency_max: 3, ..InvokeConfig::default() };
    let machine = Machine::with(config, gated(&gate), false);
    let arn = machine.version(1).function_arn;
    let mut now = record("f");
    now.reserved_concurrency = Some(2);
    machine.invoker.follow(&arn, Some(&now));
    let running = machine.invoke(machine.version(1), "1");
    let others = async {
        machine.until_alive(1).await;
        machine.invoker.follow(&arn, None);
        // Another function of that name, with the same reservation, and one that reserves nothing.
        machine.invoker.follow(&arn, Some(&now));
        let other = Version { function_arn: format!("{arn}-other"), ..machine.version(2) };
        let other = machine.invoke(other, "2");
        let open = async {
            machine.until_alive(2).await;
            gate.add_permits(2);
        };
        tokio::join!(other, open).0
    };
    let (running, other) = tokio::join!(running, others);
    assert!(running.is_ok() && other.is_ok());
}

#[tokio::test]
async fn more_than_are_provisioned_spill_over() {
    let gate = Arc::new(Semaphore::new(0));
    let machine = Machine::new(gated(&gate));
    let version = published(&machine);
    machine.invoker.provision(&version, 1);
    until(&machine, &version, ready(1)).await;
    let three = (0..3).map(|_| machine.invoker.invoke(version.clone(), request("1")));
    let all = futures_util::future::join_all(three);
    let open = async {
        while machine.launches() < 3 {
            tokio::task::yield_now().await;
        }
        gate.add_permits(3);
    };
    let (all, ()) = tokio::join!(all, open);
    assert!(all.iter().all(Result::is_ok));
}

#[tokio::test]
async fn a_start_that_fails_is_tried_again_and_told() {
    let machine = Machine::new(script(|inside: Inside| async move {
        if inside.number < 2 {
            return exited(1);
        }
        echo(inside).await
    }));
    let version = published(&machine);
    machine.invoker.provision(&version, 2);
    until(&machine, &version, ready(2)).await;

    let broken = Machine::new(script(|_: Inside| async { exited(1) }));
    let version = published(&broken);
    broken.invoker.provision(&version, 1);
    until(&broken, &version, Provision { available: 0, fails: true }).await;
}

#[tokio::test]
async fn a_deleted_version_keeps_none() {
    let machine = Machine::new(script(echo));
    let version = published(&machine);
    machine.invoker.provision(&version, 2);
    machine.until_alive(2).await;
    let mut now = record("f");
    now.versions.push(1);
    machine.invoker.follow(&version.function_arn, Some(&now));
    assert_eq!(machine.fake.alive.load(Ordering::SeqCst), 2);
    now.versions.remove(1);
    machine.invoker.follow(&version.function_arn, Some(&now));
    machine.until_alive(0).await;
}

#[tokio::test]
async fn reserved_concurrency_is_a_limit_at_once_and_for_all_versions() {
    let gate = Arc::new(Semaphore::new(0));
    let machine = Machine::new(gated(&gate));
    let arn = machine.version(1).function_arn;
    let mut now = record("f");
    now.reserved_concurrency = Some(1);
    machine.invoker.follow(&arn, Some(&now));
    let first = machine.invoker.invoke(published(&machine), request("1"));
    let second = async {
        machine.until_alive(1).await;
        let refused = machine.invoke(machine.version(2), "2").await.unwrap_err();
        gate.add_permits(1);
        refused
    };
    let (first, second) = tokio::join!(first, second);
    assert!(first.is_ok());
    assert_eq!(second.status, 429);
    let body = String::from_utf8(second.body().to_vec()).unwrap();
    assert!(body.contains("ReservedFunctionConcurrentInvocationLimitExceeded"), "{body}");
    now.reserved_concurrency = Some(0);
    machine.invoker.follow(&arn, Some(&now));
    assert_eq!(machine.invoke(machine.version(1), "1").await.unwrap_err().status, 429);
    now.reserved_concurrency = None;
    machine.invoker.follow(&arn, Some(&now));
    gate.add_permits(1);
    assert!(machine.invoke(machine.version(1), "1").await.is_ok());
}

#[tokio::test]
async fn a_function_gets_only_so_many_environments_at_once() {
    let gate = Arc::new(Semaphore::new(0));
    let config = InvokeConfig { scale_out_max: 2, ..InvokeConfig::default() };
    let machine = Machine::with(config, gated(&gate), false);
    let two = [machine.invoke(machine.version(1), "1"), machine.invoke(machine.version(1), "2")];
    let third = async {
        machine.until_alive(2).await;
        let refused = machine.invoke(machine.version(1), "3").await.unwrap_err();
        gate.add_permits(2);
        refused
    };
    let (two, third) = tokio::join!(futures_util::future::join_all(two), third);
    assert!(two.iter().all(Result::is_ok));
    assert_eq!(third.status, 429);
}

#[tokio::test]
async fn what_there_was_no_room_for_uses_up_nothing_of_the_scaling() {
    let gate = Arc::new(Semaphore::new(0));
    let budget = Budget { memory_mb_max: 128, environments_max: 10 };
    let config = InvokeConfig { scale_out_max: 3, budget, ..InvokeConfig::default() };
    let machine = Machine::with(config, gated(&gate), false);
    let busy = machine.invoke(machine.version(2), "1");
    let refused = async {
        machine.until_alive(1).await;
        for _ in 0..10 {
            assert_eq!(machine.invoke(machine.version(1), "2").await.unwrap_err().status, 429);
        }
        gate.add_permits(1);
    };
    let (busy, ()) = tokio::join!(busy, refused);
    assert!(busy.is_ok());
    gate.add_permits(1);
    assert!(machine.invoke(machine.version(1), "2").await.is_ok(), "there is room now");
}
