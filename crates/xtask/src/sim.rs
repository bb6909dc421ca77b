//! `cargo xtask sim`: how well idle environments are kept, in a simulator.
//!
//! The simulator is the example `keep_alive` of `lambic-lambda`, because it drives that crate's own
//! decisions. This command runs it and writes its tables and its plot into `docs/`.

use std::process::Command;

use crate::shell;

/// `cargo xtask sim [--seed N] [--functions N]`
pub(crate) fn run(args: &[String]) -> Result<(), String> {
    let root = shell::root();
    let mut cargo = Command::new("cargo");
    cargo.current_dir(&root).args([
        "run",
        "--release",
        "--locked",
        "--package=lambic-lambda",
        "--example=keep_alive",
        "--",
        "--into",
        "docs/keep-alive.md",
        "--plot",
        "docs/keep-alive.svg",
    ]);
    shell::run(cargo.args(args))
}
