//! `cargo xtask bench`: measures Lambic against other ways to run functions.
//!
//! The measuring itself is `bench/runner`, in a workspace of its own, so that neither its dependencies
//! nor its use of the clock are the product's. This command builds what is measured and what measures,
//! and hands over.

use std::process::Command;

use crate::shell;

/// `cargo xtask bench [--quick] [--rounds N] [--window-ms N]`
pub(crate) fn run(args: &[String]) -> Result<(), String> {
    let root = shell::root();
    for tool in ["python3", "node"] {
        if !shell::has(tool) {
            return Err(format!("the measurements need {tool}"));
        }
    }
    shell::run(Command::new("cargo").current_dir(&root).args([
        "build",
        "--release",
        "--locked",
        "--package=lambic-server",
    ]))?;
    let bench = root.join("bench");
    shell::run(Command::new("cargo").current_dir(&bench).args(["build", "--release", "--locked"]))?;
    let mut runner = Command::new(bench.join("target/release/bench"));
    shell::run(runner.arg("--root").arg(&root).args(args))
}
