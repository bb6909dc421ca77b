//! What each barrier costs on this machine, in microseconds: `cargo run --release -p lambic-sandbox
//! --features trial --example barriers`, as root.
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "an example")]

use lambic_sandbox::{Mode, SpawnerConfig, costs};

const ROUNDS: usize = 100;

fn main() {
    let data = tempfile::tempdir().unwrap();
    std::fs::create_dir(data.path().join("images")).unwrap();
    let config = SpawnerConfig {
        mode: Mode::Privileged,
        run_dir: data.path().join("run"),
        images_dir: data.path().join("images"),
        bind_roots: vec![],
        outbound: true,
        networks: vec![],
        limits_egress: false,
        file_systems: Vec::new(),
        io_uring: false,
        ready_count: 0,
    };
    println!("{:<46} {:>8} {:>8} {:>8}", "microseconds", "least", "median", "p90");
    for (name, mut times) in costs::measure(&config, ROUNDS).unwrap() {
        times.sort_unstable();
        let at = |part: usize| times[(times.len() - 1) * part / 100] / 1_000;
        println!("{name:<46} {:>8} {:>8} {:>8}", at(0), at(50), at(90));
    }
}
