//! The whole invoke path over fake environments.

use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::AtomicUsize;

use futures_util::future::join_all;
use tokio::io::AsyncWriteExt;
use tokio::sync::Semaphore;

use super::fake::{Inside, Machine, echo, exited, gated, request, script, tail};
use super::fault::Exit;
use super::launcher::Ended;
use super::*;
use crate::keys::Owner;
use crate::runtime_api::connection::CONNECTIONS_MAX;
use crate::runtime_api::testing::Client;
use crate::state::file_system::FileSystemUse;
use crate::state::function::tests::{configuration, record};
use crate::state::version::SealedVariables;

#[tokio::test]
async fn an_environment_is_reused_and_its_start_is_reported_once() {
    let machine = Machine::new(script(echo));
    let first = machine.invoke(machine.version(1), "1").await.unwrap();
    assert_eq!((&first.payload[..], first.function_error), (&b"1"[..], None));
    assert_eq!(first.executed_version, "$LATEST");
    let log = tail(&first);
    assert!(log.starts_with("START RequestId: "), "{log}");
    assert!(log.contains("\tMax Memory Used: 30 MB\tInit Duration: "), "{log}");
    for number in 0..50 {
        let answer = machine.invoke(machine.version(1), &number.to_string()).await.unwrap();
        assert_eq!(answer.payload, number.to_string());
        let log = tail(&answer);
        assert!(log.starts_with("START") && !log.contains("Init Duration"), "{log}");
    }
    assert_eq!(machine.launches(), 1);
    assert_eq!(machine.invoker.figures().invocations.value(), 51);
    assert_eq!(machine.invoker.figures().used(), (1, 128));
    let shown = machine.metrics.render();
    for line in [
        "lambic_invocations_total 51",
        "lambic_invocation_errors_total 0",
        "lambic_throttles_total 0",
        "lambic_cold_starts_total 1",
        "lambic_invocation_duration_seconds_count 51",
        "lambic_environments_started_total 1",
        "lambic_environments 1",
        "lambic_memory_promised_mb 128",
    ] {
        assert!(shown.lines().any(|shown| shown == line), "no {line} in\n{shown}");
    }
}

#[tokio::test]
async fn the_environment_is_what_aws_documents() {
    let machine = Machine::new(script(|mut inside: Inside| async move {
        let get = |name: &str| {
            let entry = inside.plan.env.iter().find(|(known, _)| known == name);
            entry.map_or(String::new(), |(_, value)| value.clone())
        };
        let said = [
            get("AWS_REGION"),
            get("OWN"),
            get("_HANDLER"),
            get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE"),
            get("AWS_ENDPOINT_URL"),
            inside.plan.argv.join(" "),
            inside.plan.name.clone(),
        ];
        let event = inside.runtime.next().await;
        inside.runtime.respond(&event.request_id(), said.join("|").as_bytes()).await;
        inside.runtime.try_next().await;
        exited(0)
    }));
    let (text, _) = machine.text("{}").await;
    let expected = "us-east-1|1|a.b|128|http://127.0.0.1:4566|/var/task/bootstrap|f-1-";
    assert!(text.starts_with(expected), "{text}");
    assert_eq!(machine.keys.0.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn an_error_of_the_function_leaves_its_environment_alive() {
    let machine = Machine::new(script(|mut inside: Inside| async move {
        while let Some(event) = inside.runtime.try_next().await {
            inside.runtime.fail(&event.request_id(), br#"{"errorType":"T"}"#).await;
        }
        exited(0)
    }));
    for _ in 0..3 {
        assert_eq!(machine.text("1").await, (r#"{"errorType":"T"}"#.into(), Some("Unhandled")));
    }
    assert_eq!(machine.launches(), 1);
    assert_eq!(machine.invoker.figures().errors.value(), 3);
}

#[tokio::test]
async fn a_timeout_ends_the_environment_and_the_next_invoke_gets_another() {
    let machine = Machine::new(script(|mut inside: Inside| async move {
        if inside.number > 1 {
            return echo(inside).await;
        }
        inside.runtime.next().await;
        inside.printed.write_all(b"still here\n").await.unwrap();
        std::future::pending().await
    }));
    let version = Version { timeout_s: 1, ..machine.version(1) };
    let answer = machine.invoke(version, "1").await.unwrap();
    let payload = String::from_utf8(answer.payload.to_vec()).unwrap();
    assert!(payload.starts_with(r#"{"errorType":"Sandbox.Timedout","errorMessage":"RequestId: "#));
    assert!(payload.ends_with(r#" Error: Task timed out after 1.00 seconds"}"#), "{payload}");
    assert_eq!(answer.function_error, Some("Unhandled"));
    let log = tail(&answer);
    assert!(
        log.contains("still here\n20") && log.contains("Task timed out after 1.00 seconds\n\n")
    );
    assert!(log.ends_with("\tStatus: timeout\n"), "{log}");
    assert_eq!(machine.text("2").await, ("2".into(), None));
    machine.until_alive(1).await;
    assert_eq!(machine.keys.0.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn exits_are_told_as_aws_tells_them() {
    let killed = Exit { code: None, signal: Some(9), oom: true };
    let cases = [
        (exited(1), "Runtime exited with error: exit status 1", "Runtime.ExitError"),
        (exited(0), "Runtime exited without providing a reason", "Runtime.ExitError"),
        (Ended::Exited(killed), "Runtime exited with error: signal: killed", "Runtime.OutOfMemory"),
    ];
    for (ended, text, reported) in cases {
        let machine = Machine::new(script(move |mut inside: Inside| {
            let ended = ended.clone();
            async move {
                inside.runtime.next().await;
                ended
            }
        }));
        let answer = machine.invoke(machine.version(1), "1").await.unwrap();
        let payload = String::from_utf8(answer.payload.to_vec()).unwrap();
        assert!(payload.starts_with(r#"{"errorType":"Runtime.ExitError","#), "{payload}");
        assert!(payload.ends_with(&format!(" Error: {text}\"}}")), "{payload}");
        let log = tail(&answer);
        assert!(log.contains(&format!("\tStatus: error\tError Type: {reported}\n")), "{log}");
        machine.until_alive(0).await;
    }
}

#[tokio::test]
async fn a_start_that_fails_is_repeated_inside_the_invocation() {
    let machine = Machine::new(script(|mut inside: Inside| async move {
        let kind = "Lambda-Runtime-Function-Error-Type: Runtime.ImportModuleError\r\n";
        let body = format!(r#"{{"errorMessage":"no {}"}}"#, inside.number);
        inside.runtime.post_with("init/error", kind, body.as_bytes()).await;
        exited(1)
    }));
    let answer = machine.invoke(machine.version(1), "1").await.unwrap();
    assert_eq!(answer.payload, r#"{"errorMessage":"no 2"}"#);
    assert_eq!(answer.function_error, Some("Unhandled"));
    let log = tail(&answer);
    for phase in ["init", "invoke"] {
        let said =
            format!("Phase: {phase}\tStatus: error\tError Type: Runtime.ImportModuleError\n");
        assert!(log.contains(&said), "{log}");
    }
    assert_eq!(machine.launches(), 2);
    machine.until_alive(0).await;
    assert_eq!(machine.invoker.figures().used(), (0, 0));
}

#[tokio::test]
async fn a_slow_start_goes_on_inside_the_invocation_and_may_time_out_there() {
    let config = InvokeConfig { init_max: Duration::from_millis(50), ..InvokeConfig::default() };
    let slow = script(|inside: Inside| async move {
        let ms = if inside.number == 1 { 60_000 } else { 100 };
        Rt::real().sleep(Duration::from_millis(ms)).await;
        echo(inside).await
    });
    let machine = Machine::with(config.clone(), slow, false);
    assert_eq!(machine.text("7").await, ("7".into(), None));
    assert_eq!(machine.launches(), 2);

    let never = script(|inside: Inside| async move {
        let _inside = inside;
        std::future::pending().await
    });
    let machine = Machine::with(config, never, false);
    let version = Version { timeout_s: 1, ..machine.version(1) };
    let answer = machine.invoke(version, "1").await.unwrap();
    let payload = String::from_utf8(answer.payload.to_vec()).unwrap();
    assert!(payload.contains("Task timed out after 1.00 seconds"), "{payload}");
    assert!(tail(&answer).contains("Phase: init\tStatus: timeout\n"));
    machine.until_alive(0).await;
}

#[tokio::test]
async fn programs_that_cannot_run_are_named() {
    let refused = script(|_| async { Ended::NotExecuted("exec format error".into()) });
    let machine = Machine::new(refused);
    let (text, _) = machine.text("1").await;
    let said = "Error: fork/exec /var/task/bootstrap: exec format error";
    assert!(text.contains(said) && text.contains("Runtime.InvalidEntrypoint"), "{text}");

    let machine = Machine::new(script(echo));
    let bootstrap = machine.folder.path().join("bootstrap");
    std::fs::set_permissions(&bootstrap, std::fs::Permissions::from_mode(0o644)).unwrap();
    let (text, _) = machine.text("1").await;
    assert!(text.contains("fork/exec /var/task/bootstrap: permission denied"), "{text}");
    std::fs::remove_file(bootstrap).unwrap();
    let (text, error) = machine.text("1").await;
    let said = "Couldn't find valid bootstrap(s): [/var/task/bootstrap /opt/bootstrap]";
    assert!(text.contains(said), "{text}");
    assert_eq!((error, machine.launches()), (Some("Unhandled"), 0));

    let version = Version { runtime: "dotnet8".into(), ..machine.version(2) };
    let answer = machine.invoke(version, "1").await.unwrap();
    let text = String::from_utf8(answer.payload.to_vec()).unwrap();
    assert!(text.contains("Runtime.NotAvailable") && text.contains("dotnet8"), "{text}");
}

#[tokio::test]
async fn a_sandbox_that_fails_is_the_server_s_error() {
    let machine = Machine::with(InvokeConfig::default(), script(echo), true);
    let error = machine.invoke(machine.version(1), "1").await.unwrap_err();
    assert_eq!((error.status, error.code.as_ref()), (500, "ServiceException"));
    let error = machine.invoke(machine.version(1), "1").await.unwrap_err();
    assert!(error.message.contains("no room"), "{error}");
    assert_eq!(machine.invoker.figures().used(), (0, 0));
}

#[tokio::test]
async fn two_hundred_at_once_are_each_alone_in_their_environment() {
    let most = Arc::new(AtomicUsize::new(0));
    let seen = most.clone();
    let machine = Machine::new(script(move |mut inside: Inside| {
        let seen = seen.clone();
        async move {
            while let Some(event) = inside.runtime.try_next().await {
                seen.fetch_max(inside.number, Ordering::SeqCst);
                Rt::real().sleep(Duration::from_millis(50)).await;
                inside.runtime.respond(&event.request_id(), &event.body).await;
            }
            exited(0)
        }
    }));
    for round in 0..3 {
        let texts: Vec<String> = (0..200).map(|number| number.to_string()).collect();
        let answers = join_all(texts.iter().map(|text| machine.text(text))).await;
        for (text, answer) in texts.iter().zip(answers) {
            assert_eq!(answer, (text.clone(), None));
        }
        // Later rounds may start some more when the machine is too busy to free one in time.
        let launches = machine.launches();
        assert!(round > 0 || launches <= 200, "{launches} environments");
    }
    assert!(machine.invoker.drain(Duration::from_secs(5)).await);
    machine.until_alive(0).await;
}

#[tokio::test]
async fn the_account_s_limit_throttles_and_gives_back() {
    let gate = Arc::new(Semaphore::new(0));
    let config = InvokeConfig { concurrency_max: 2, ..InvokeConfig::default() };
    let machine = Machine::with(config, gated(&gate), false);
    let (one, two) = (machine.text("1"), machine.text("2"));
    let third = async {
        machine.until_alive(2).await;
        let error = machine.invoke(machine.version(1), "3").await.unwrap_err();
        gate.add_permits(2);
        error
    };
    let (_, _, error) = tokio::join!(one, two, third);
    assert_eq!((error.status, error.message.as_str()), (429, "Rate Exceeded."));
    assert_eq!(error.members[0].1, "ConcurrentInvocationLimitExceeded");
    gate.add_permits(1);
    assert_eq!(machine.text("4").await, ("4".into(), None));
    assert_eq!(machine.invoker.figures().throttles.value(), 1);
}

#[tokio::test]
async fn idle_environments_of_others_make_room_and_busy_ones_do_not() {
    let gate = Arc::new(Semaphore::new(0));
    let budget = Budget { memory_mb_max: 256, environments_max: 10 };
    let config = InvokeConfig { budget, ..InvokeConfig::default() };
    let machine = Machine::with(config, gated(&gate), false);
    gate.add_permits(3);
    for generation in 1..=3 {
        machine.invoke(machine.version(generation), "1").await.unwrap();
    }
    machine.until_alive(2).await;
    assert_eq!((machine.launches(), machine.invoker.figures().used()), (3, (2, 256)));
    let (four, five) =
        (machine.invoke(machine.version(4), "1"), machine.invoke(machine.version(5), "1"));
    let six = async {
        while machine.launches() < 5 {
            tokio::task::yield_now().await;
        }
        let error = machine.invoke(machine.version(6), "1").await.unwrap_err();
        gate.add_permits(2);
        error
    };
    let (four, five, six) = tokio::join!(four, five, six);
    assert!(four.is_ok() && five.is_ok());
    assert_eq!(six.status, 429);
}

#[tokio::test]
async fn environments_are_of_one_tenant_only() {
    let machine = Machine::new(script(echo));
    let version = Arc::new(Version { isolates_tenants: true, ..machine.version(1) });
    let invoke = async |tenant: &str| {
        let tenant_id = Some(tenant.to_owned());
        let asked = Invocation { tenant_id, ..request("1") };
        machine.invoker.invoke(version.clone(), asked).await.map_err(|error| error.status)
    };
    for tenant in ["blue", "green", "blue", "green", "Blue"] {
        invoke(tenant).await.unwrap();
    }
    assert_eq!(machine.launches(), 3);
    machine.invoker.follow(&version.function_arn, None);
    machine.until_alive(0).await;
}

#[tokio::test]
async fn tenants_have_so_many_environments_and_idle_ones_do_not_give_way() {
    // 2,500 for each 1,000 that may run at once.
    let config = InvokeConfig { concurrency_max: 1, ..InvokeConfig::default() };
    let machine = Machine::with(config, script(echo), false);
    let version = Arc::new(Version { isolates_tenants: true, ..machine.version(1) });
    let invoke = async |tenant: &str| {
        let tenant_id = Some(tenant.to_owned());
        let asked = Invocation { tenant_id, ..request("1") };
        machine.invoker.invoke(version.clone(), asked).await.map(drop)
    };
    assert_eq!((invoke("a").await, invoke("b").await), (Ok(()), Ok(())));
    let refused = invoke("c").await.unwrap_err();
    assert_eq!((refused.status, refused.code.as_ref()), (429, "TooManyRequestsException"));
    assert_eq!(invoke("a").await, Ok(()));
    assert_eq!(machine.launches(), 2);
}

#[tokio::test]
async fn a_key_that_is_taken_away_stops_new_environments_only() {
    let folder = tempfile::tempdir().unwrap();
    let (file, rt) = (folder.path().join("k"), Rt::real());
    std::fs::write(&file, [1; 32]).unwrap();
    let key_arn = "arn:aws:kms:us-east-1:000000000000:key/k".to_owned();
    let keys = Arc::new(Keys::new([(key_arn.clone(), file.clone())].into()));
    let config = InvokeConfig { keys: keys.clone(), ..InvokeConfig::default() };
    let machine = Machine::with(config, script(echo), false);
    let plain = machine.version(1);
    let (account, region) = (plain.account.as_str(), plain.region.as_str());
    let owner = Owner { account, region, function_arn: &plain.function_arn };
    let sealed = keys.seal(&rt, &key_arn, owner, br#"{"OWN":"1"}"#).unwrap();
    let sealed_environment = Some(SealedVariables { key_arn, sealed });
    let sealed = |generation| Version {
        environment: Vec::new(),
        sealed_environment: sealed_environment.clone(),
        ..machine.version(generation)
    };
    assert_eq!(&machine.invoke(sealed(1), "1").await.unwrap().payload[..], b"1");
    std::fs::remove_file(&file).unwrap();
    // The environment that there is has its variables.
    assert_eq!(&machine.invoke(sealed(1), "2").await.unwrap().payload[..], b"2");
    let refused = machine.invoke(sealed(2), "3").await.unwrap_err();
    assert_eq!((refused.status, refused.code.as_ref()), (502, "KMSNotFoundException"));
    assert_eq!(machine.launches(), 1);
}

#[tokio::test]
async fn a_file_system_that_is_not_to_be_had_is_the_caller_s_answer() {
    let machine = Machine::new(script(echo));
    let file_system =
        Some(FileSystemUse { arn: "arn:ap".into(), local_mount_path: "/mnt/x".into() });
    let version = Version { file_system, ..machine.version(1) };
    let refused = machine.invoke(version, "1").await.unwrap_err();
    assert_eq!((refused.status, refused.code.as_ref()), (403, "EFSMountFailureException"));
    let text = "The function couldn't mount the file system of access point arn:ap.";
    assert_eq!(refused.message, text);
}

#[tokio::test]
async fn old_snapshots_end_when_idle_and_finish_when_busy() {
    let gate = Arc::new(Semaphore::new(1));
    let machine = Machine::new(gated(&gate));
    let arn = machine.version(1).function_arn;
    machine.text("1").await;
    machine.until_alive(1).await;
    let mut now = record("f");
    now.running = configuration(2);
    machine.invoker.follow(&arn, Some(&now));
    machine.until_alive(0).await;
    let busy = machine.invoke(machine.version(2), "2");
    let change = async {
        machine.until_alive(1).await;
        machine.invoker.follow(&arn, None);
        gate.add_permits(1);
    };
    let (answer, ()) = tokio::join!(busy, change);
    assert_eq!(answer.unwrap().payload, "2");
    machine.until_alive(0).await;
}

#[tokio::test]
async fn a_caller_that_hangs_up_does_not_end_its_invocation() {
    let gate = Arc::new(Semaphore::new(0));
    let machine = Machine::new(gated(&gate));
    let rt = Rt::real();
    let call = machine.text("1");
    assert!(rt.within(Duration::from_millis(50), call).await.is_none());
    gate.add_permits(1);
    let counted = || machine.invoker.figures().invocations.value();
    let done = async {
        while counted() < 1 {
            tokio::task::yield_now().await;
        }
    };
    assert!(rt.within(Duration::from_secs(5), done).await.is_some());
    gate.add_permits(1);
    assert_eq!(machine.text("2").await, ("2".into(), None));
    assert_eq!(machine.launches(), 1);
}

#[tokio::test]
async fn a_runtime_that_ends_between_two_invocations_harms_nobody() {
    let machine = Machine::new(script(|mut inside: Inside| async move {
        let event = inside.runtime.next().await;
        inside.runtime.respond(&event.request_id(), &event.body).await;
        exited(0)
    }));
    for number in 0..20 {
        assert_eq!(machine.text(&number.to_string()).await, (number.to_string(), None));
    }
    assert_eq!(machine.launches(), 20);
}

#[tokio::test]
async fn a_runtime_that_never_asks_again_is_ended_after_its_timeout() {
    let machine = Machine::new(script(|mut inside: Inside| async move {
        let event = inside.runtime.next().await;
        inside.runtime.respond(&event.request_id(), &event.body).await;
        std::future::pending().await
    }));
    let version = Version { timeout_s: 1, ..machine.version(1) };
    assert_eq!(machine.invoke(version, "1").await.unwrap().payload, "1");
    machine.until_alive(0).await;
}

#[tokio::test]
async fn connections_beyond_the_limit_are_closed() {
    let machine = Machine::new(script(|mut inside: Inside| async move {
        let event = inside.runtime.next().await;
        let mut open = Vec::new();
        for _ in 0..CONNECTIONS_MAX * 3 {
            let (ours, theirs) = tokio::io::duplex(1024);
            inside.dial.send(Box::pin(theirs)).await.unwrap();
            open.push(Client::new(ours));
        }
        let mut closed = 0;
        for client in &mut open {
            let ping = client.io.write_all(b"GET /2018-06-01/ping HTTP/1.1\r\nHost: x\r\n\r\n");
            let answered = ping.await.is_ok() && client.try_reply().await.is_some();
            closed += usize::from(!answered);
        }
        let text = closed.to_string();
        inside.runtime.respond(&event.request_id(), text.as_bytes()).await;
        exited(0)
    }));
    let closed = CONNECTIONS_MAX * 2 + 1;
    assert_eq!(machine.text("1").await, (closed.to_string(), None));
}

#[tokio::test]
async fn idle_environments_are_reaped() {
    let config = InvokeConfig { idle_max: Duration::from_millis(1), ..InvokeConfig::default() };
    let machine = Machine::with(config, script(echo), false);
    assert_eq!(machine.text("1").await, ("1".into(), None));
    machine.until_alive(0).await;
    assert_eq!(machine.invoker.figures().used(), (0, 0));
    assert_eq!(machine.text("2").await, ("2".into(), None));
}

#[tokio::test]
async fn an_idle_environment_is_frozen_and_thawed_before_its_next_event() {
    let machine = Machine::new(script(|mut inside: Inside| async move {
        while let Some(event) = inside.runtime.try_next().await {
            inside.happened.lock().unwrap().push("event");
            inside.runtime.respond(&event.request_id(), &event.body).await;
        }
        exited(0)
    }));
    let rt = Rt::real();
    let begun = rt.instant();
    for _ in 0..3 {
        machine.text("1").await;
    }
    let frozen = async {
        while !machine.happened().contains(&"frozen") {
            tokio::task::yield_now().await;
        }
    };
    assert!(rt.within(Duration::from_secs(10), frozen).await.is_some(), "never frozen");
    assert!(rt.instant().duration_since(begun) >= Duration::from_secs(1), "frozen too early");
    machine.text("2").await;
    let expected = ["event", "event", "event", "frozen", "thawed", "event"];
    assert_eq!(machine.happened(), expected);
    assert_eq!(machine.launches(), 1);
}

/// A runtime that is slow to ask again, for instance because its share of the processor is used up.
async fn launches_when_asking_again_takes(pause: Duration) -> usize {
    let machine = Machine::new(script(move |mut inside: Inside| async move {
        while let Some(event) = inside.runtime.try_next().await {
            inside.runtime.respond(&event.request_id(), &event.body).await;
            Rt::real().sleep(pause).await;
        }
        exited(0)
    }));
    for number in 0..5 {
        let (text, error) = machine.text(&number.to_string()).await;
        assert_eq!((text, error), (number.to_string(), None));
    }
    machine.launches()
}

#[tokio::test(start_paused = true)]
async fn a_sequential_caller_keeps_its_environment_though_it_is_slow_to_ask_again() {
    assert_eq!(launches_when_asking_again_takes(Duration::from_millis(45)).await, 1);
    assert!(launches_when_asking_again_takes(Duration::from_millis(500)).await > 1);
}
