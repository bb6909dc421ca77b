//! Prints how long environments take to be launched, with processes waiting and without.
#![allow(
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a measurement"
)]

use std::time::{Duration, Instant};

use lambic_rt::Rt;
use lambic_sandbox::{Mode, Sandboxes, SpawnerConfig, Spec, start};

fn main() {
    let data = tempfile::tempdir().unwrap();
    std::fs::create_dir(data.path().join("images")).unwrap();
    let config = SpawnerConfig {
        mode: Mode::detect(),
        run_dir: data.path().join("run"),
        images_dir: data.path().join("images"),
        bind_roots: vec![],
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
    });
}

async fn one_by_one(sandboxes: &Sandboxes, pause_ms: u64) -> Vec<Duration> {
    let spec = Spec {
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
    };
    let mut times = Vec::new();
    for _ in 0..40 {
        tokio::time::sleep(Duration::from_millis(pause_ms)).await;
        let begun = Instant::now();
        let mut sandbox = sandboxes.launch(&spec).await.unwrap();
        let exit = sandbox.take_events().unwrap().exit().await;
        times.push(begun.elapsed());
        assert_eq!(exit.code, Some(0), "{exit:?}");
    }
    times
}

fn report(what: &str, mut times: Vec<Duration>) {
    times.sort();
    println!("{what}: min {:?}, p50 {:?}, max {:?}", times[0], times[20], times[39]);
}
