//! `cargo xtask soak`: a day of a busy server in twenty minutes, and nothing may leak.
//!
//! The work is done by `bench/runner/src/soak`, in the workspace of the measurements. This command
//! builds the server, the runner and the function that carries the volume, and hands over. It is not
//! part of `.ci/run`, because it takes its time and the whole machine.

use std::path::PathBuf;
use std::process::Command;

use crate::shell;

/// What the functions and the census call.
const TOOLS: [&str; 4] = ["python3", "node", "nft", "mkfs.ext4"];

/// `cargo xtask soak [--minutes N] [--seed N] [--invokes N] [--environments N] [--lambic FILE]`
pub(crate) fn run(args: &[String]) -> Result<(), String> {
    let root = shell::root();
    for tool in TOOLS {
        if !shell::has(tool) {
            return Err(format!("the soak needs {tool}"));
        }
    }
    let bench = root.join("bench");
    let target = bench.join("target");
    let mut build = Command::new("cargo");
    build.current_dir(&bench).args(["build", "--release", "--locked", "--target-dir"]).arg(&target);
    build.args(["--package=lambic-bench", "--bin=soak", "--package=bench-churn", "--bin=churn"]);
    shell::run(&mut build)?;
    let mut runner = Command::new(target.join("release/soak"));
    runner.arg("--root").arg(&root);
    if !args.iter().any(|arg| arg == "--lambic") {
        shell::run(Command::new("cargo").current_dir(&root).args([
            "build",
            "--release",
            "--locked",
            "--package=lambic-server",
        ]))?;
        // Cargo may be told to build elsewhere.
        let target =
            std::env::var_os("CARGO_TARGET_DIR").map(|folder| root.join(PathBuf::from(folder)));
        let target = target.unwrap_or_else(|| root.join("target"));
        runner.arg("--lambic").arg(target.join("release/lambic"));
    }
    shell::run(runner.args(args))
}
