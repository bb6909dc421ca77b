//! Prints how long environments take to be launched: with processes waiting, without, and from spares
//! (until the program may be told what it is).
#![allow(
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a measurement"
)]

use std::path::Path;
use std::time::{Duration, Instant};

use lambic_rt::Rt;
use lambic_sandbox::{Bind, Mode, Sandboxes, SpawnerConfig, Spec, start};

const ROUNDS: usize = 40;

fn main() {
    let data = tempfile::tempdir().unwrap();
    std::fs::create_dir(data.path().join("images")).unwrap();
    let config = SpawnerConfig {
        mode: Mode::detect(),
        run_dir: data.path().join("run"),
        images_dir: data.path().join("images"),
        bind_roots: vec![data.path().to_owned()],
        outbound: true,
        limits_egress: false,
        file_systems: Vec::new(),
        io_uring: false,
        networks: vec![],
        ready_count: 2,
    };
    let begun = Instant::now();
    let host = start(&config).unwrap();
    println!("spawner ready after {:?}", begun.elapsed());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let sandboxes = host.into_async(&Rt::real()).unwrap();
        report("one at a time, a process waiting", one_by_one(&sandboxes, 200).await);
        report("back to back, none waiting", one_by_one(&sandboxes, 0).await);
        report("from a spare", from_spares(&sandboxes, &data.path().join("code")).await);
    });
}

fn spec() -> Spec {
    Spec {
        name: "launch".to_owned(),
        memory_mb: 128,
        tmp_mb: 512,
        pids_max: 64,
        files_max: 1024,
        binds: vec![],
        argv: vec!["/bin/true".to_owned()],
        env: vec![],
        cwd: "/".to_owned(),
        network: None,
        egress: None,
        file_system: None,
        log_pipe: false,
        extensions: None,
    }
}

async fn one_by_one(sandboxes: &Sandboxes, pause_ms: u64) -> Vec<Duration> {
    let spec = spec();
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        tokio::time::sleep(Duration::from_millis(pause_ms)).await;
        let begun = Instant::now();
        let mut sandbox = sandboxes.launch(&spec).await.unwrap();
        let exit = sandbox.take_events().unwrap().exit().await;
        times.push(begun.elapsed());
        assert_eq!(exit.code, Some(0), "{exit:?}");
    }
    times
}

async fn from_spares(sandboxes: &Sandboxes, code: &Path) -> Vec<Duration> {
    std::fs::create_dir(code).unwrap();
    let argv = ["/bin/bash", "-c", "echo loaded >&3; read -r line <&3"].map(str::to_owned).to_vec();
    let prepared = Spec { argv, ..spec() };
    let bind = Bind { source: code.to_owned(), target: "/var/task".to_owned() };
    let wanted = Spec { binds: vec![bind], ..prepared.clone() };
    sandboxes.keep_spares(1, &prepared, 1).unwrap();
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        while sandboxes.spares_at_hand(1) == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        let begun = Instant::now();
        let sandbox = sandboxes.launch_from_spare(&wanted, 1, None).await.unwrap();
        times.push(begun.elapsed());
        assert!(sandbox.is_from_spare);
    }
    times
}

fn report(what: &str, mut times: Vec<Duration>) {
    times.sort();
    let [least, middle, most] = [0, ROUNDS / 2, ROUNDS - 1].map(|at| times[at]);
    println!("{what}: min {least:?}, p50 {middle:?}, max {most:?}");
}
