//! Which environments stay, who waits for one at work, and how many spares follow, over fake
//! environments and a clock that passes by itself.

use futures_util::future::join_all;

use super::fake::{Inside, Machine, exited, script};
use super::launcher::Ended;
use super::*;

const SECONDS: fn(u64) -> Duration = Duration::from_secs;

/// Starts as long as `START_MS` says, and works as many milliseconds as the event says.
async fn slow(mut inside: Inside) -> Ended {
    let known = inside.plan.env.iter().find(|(name, _)| name == "START_MS");
    let start_ms = known.and_then(|(_, value)| value.parse().ok()).unwrap_or(0);
    Rt::real().sleep(Duration::from_millis(start_ms)).await;
    while let Some(event) = inside.runtime.try_next().await {
        let work_ms = String::from_utf8_lossy(&event.body).parse().unwrap_or(0);
        Rt::real().sleep(Duration::from_millis(work_ms)).await;
        inside.runtime.respond(&event.request_id(), &event.body).await;
    }
    exited(0)
}

fn function(machine: &Machine, name: u64, start_ms: u64, memory_mb: u32) -> Arc<Version> {
    Arc::new(Version {
        function_arn: format!("arn:aws:lambda:us-east-1:000000000000:function:f{name}"),
        environment: vec![("START_MS".into(), start_ms.to_string())],
        memory_mb,
        timeout_s: 60,
        ..machine.version(name)
    })
}

async fn invoke(machine: &Machine, version: &Arc<Version>, work_ms: u64) -> Result<(), Error> {
    let request = super::fake::request(&work_ms.to_string());
    machine.invoker.invoke(version.clone(), request).await.map(drop)
}

/// How many environments are started when a third function needs the room of one of two, and the one
/// that is dear and often called is called again.
async fn launches_of_three_with_room_for_two(idle_policy: Policy) -> usize {
    let budget = Budget { memory_mb_max: 256, environments_max: 10 };
    let config = InvokeConfig { budget, idle_policy, ..InvokeConfig::default() };
    let machine = Machine::with(config, script(slow), false);
    let (dear, cheap) = (function(&machine, 1, 3_000, 128), function(&machine, 2, 10, 128));
    invoke(&machine, &cheap, 1).await.unwrap();
    for _ in 0..5 {
        invoke(&machine, &dear, 1).await.unwrap();
        Rt::real().sleep(SECONDS(1)).await;
    }
    // It is the one that was used last.
    invoke(&machine, &cheap, 1).await.unwrap();
    invoke(&machine, &function(&machine, 3, 10, 128), 1).await.unwrap();
    assert_eq!(machine.invoker.figures().environments_evicted.value(), 1);
    invoke(&machine, &dear, 1).await.unwrap();
    assert_eq!(machine.invoker.figures().used(), (2, 256));
    machine.launches()
}

#[tokio::test(start_paused = true)]
async fn what_is_dear_and_often_called_outlives_what_is_cheap_and_was_used_last() {
    assert_eq!(launches_of_three_with_room_for_two(Policy::Worth).await, 3);
    assert_eq!(launches_of_three_with_room_for_two(Policy::Fixed).await, 4);
}

#[tokio::test(start_paused = true)]
async fn a_part_of_a_large_budget_is_made_free_before_it_is_needed() {
    let budget = Budget { memory_mb_max: 32 * 1_024, environments_max: 100 };
    let config = InvokeConfig { budget, ..InvokeConfig::default() };
    let machine = Machine::with(config, script(slow), false);
    for name in 1..=31 {
        invoke(&machine, &function(&machine, name, 10, 1_024), 1).await.unwrap();
    }
    assert_eq!(machine.invoker.figures().used(), (31, 31 * 1_024));
    invoke(&machine, &function(&machine, 32, 10, 1_024), 1).await.unwrap();
    machine.until_alive(30).await;
    assert_eq!(machine.invoker.figures().used(), (30, 30 * 1_024));
    assert_eq!(machine.invoker.figures().environments_evicted.value(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_request_waits_for_one_at_work_and_not_beyond_its_patience() {
    let machine = Machine::new(script(slow));
    let version = function(&machine, 1, 2_000, 128);
    for _ in 0..6 {
        invoke(&machine, &version, 20).await.unwrap();
    }
    let saved = || machine.invoker.figures().waits_saved_a_start.value();
    assert_eq!((machine.launches(), saved()), (1, 0));
    let both = join_all([20, 20].map(|ms| invoke(&machine, &version, ms))).await;
    assert!(both.iter().all(Result::is_ok));
    assert_eq!((machine.launches(), saved()), (1, 1));
    // The one at work hangs: the other has one of its own after its patience and a start.
    let rt = Rt::real();
    let begun = rt.instant();
    let hangs = invoke(&machine, &version, 30_000);
    let waits = async {
        let answer = invoke(&machine, &version, 20).await;
        (answer, rt.instant().duration_since(begun))
    };
    let (hung, (waited, took)) = tokio::join!(hangs, waits);
    assert!(hung.is_ok() && waited.is_ok());
    assert_eq!((machine.launches(), saved()), (2, 1));
    assert!(took <= pool::PATIENCE_MAX + SECONDS(2) + Duration::from_millis(50), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn when_nothing_can_be_started_who_waits_for_one_at_work_still_gets_it() {
    let budget = Budget { memory_mb_max: 128, environments_max: 10 };
    let config = InvokeConfig { budget, ..InvokeConfig::default() };
    let machine = Machine::with(config, script(slow), false);
    let version = function(&machine, 1, 2_000, 128);
    for _ in 0..6 {
        invoke(&machine, &version, 20).await.unwrap();
    }
    for _ in 0..50 {
        let both = join_all([20, 20].map(|ms| invoke(&machine, &version, ms))).await;
        assert!(both.iter().all(Result::is_ok));
    }
    assert_eq!(machine.launches(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_version_is_remembered_when_its_environments_are_gone() {
    let config = InvokeConfig { idle_max: SECONDS(5), ..InvokeConfig::default() };
    let machine = Machine::with(config, script(slow), false);
    let version = function(&machine, 1, 2_000, 128);
    let known = || machine.invoker.common.function(&version).recall("$LATEST");
    for _ in 0..2 {
        invoke(&machine, &version, 20).await.unwrap();
        Rt::real().sleep(SECONDS(10)).await;
        assert!(known().unwrap().start().unwrap() >= SECONDS(2));
    }
    assert_eq!(machine.invoker.figures().environments_let_go.value(), 2);
    machine.invoker.follow(&version.function_arn, None);
    assert!(known().is_none(), "another function may have its name");
}

#[tokio::test]
async fn spares_follow_a_burst_and_fall_back_after_minutes() {
    let machine = Machine::with_spares(
        InvokeConfig::default(),
        script(|mut inside: Inside| async move {
            inside.runtime.request("GET /lambic/become", "", b"").await;
            slow(inside).await
        }),
    );
    let python = |name| {
        let version = function(&machine, name, 0, 128);
        Arc::new(Version { runtime: "python3.13".into(), ..(*version).clone() })
    };
    let asked_for = || {
        let spares = machine.fake.spares.as_ref().unwrap().lock().unwrap();
        spares.values().sum::<u32>()
    };
    let rt = Rt::real();
    invoke(&machine, &python(1), 1).await.unwrap();
    // Only now: looking for the interpreter took real time.
    tokio::time::pause();
    rt.sleep(SECONDS(2)).await;
    assert_eq!(asked_for(), 2);
    let burst: Vec<_> = (1..=12).map(python).collect();
    let answers = join_all(burst.iter().map(|version| invoke(&machine, version, 50))).await;
    assert!(answers.iter().all(Result::is_ok));
    rt.sleep(SECONDS(2)).await;
    // The first had an environment already.
    assert_eq!(asked_for(), 11);
    rt.sleep(SECONDS(240)).await;
    assert_eq!(asked_for(), 11);
    rt.sleep(SECONDS(120)).await;
    assert!((4..=8).contains(&asked_for()), "{}", asked_for());
    rt.sleep(SECONDS(600)).await;
    assert!(asked_for() <= 2, "{}", asked_for());
}
