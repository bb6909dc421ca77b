//! `cargo xtask bench`: measures Lambic against other ways to run functions.
//!
//! The measuring itself is `bench/runner`, in a workspace of its own, so that neither its dependencies
//! nor its use of the clock are the product's. This command builds what is measured and what measures,
//! and hands over.

use std::process::Command;

use crate::shell;

/// `cargo xtask bench [--quick] [--only PART,...] [--rounds N] [--window-ms N] [--lambic FILE]`
pub(crate) fn run(args: &[String]) -> Result<(), String> {
    let root = shell::root();
    for tool in ["python3", "node"] {
        if !shell::has(tool) {
            return Err(format!("the measurements need {tool}"));
        }
    }
    let bench = root.join("bench");
    // Where the runner looks for its programs, whatever cargo is told for the product.
    let target = bench.join("target");
    let mut build = Command::new("cargo");
    build.current_dir(&bench).args(["build", "--release", "--locked", "--target-dir"]).arg(&target);
    shell::run(&mut build)?;
    let mut runner = Command::new(target.join("release/bench"));
    runner.arg("--root").arg(&root);
    if !args.iter().any(|arg| arg == "--lambic") {
        shell::run(Command::new("cargo").current_dir(&root).args([
            "build",
            "--release",
            "--locked",
            "--package=lambic-server",
        ]))?;
        let built = std::env::var_os("CARGO_TARGET_DIR").map(|folder| root.join(folder));
        let built = built.unwrap_or_else(|| root.join("target"));
        runner.arg("--lambic").arg(built.join("release/lambic"));
    }
    shell::run(runner.args(args))
}
