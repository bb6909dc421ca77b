//! `cargo xtask bench`: measures Lambic against other ways to run functions.
//!
//! The measuring itself is `bench/runner`, in a workspace of its own, so that neither its dependencies
//! nor its use of the clock are the product's. This command builds what is measured and what measures,
//! and hands over.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::shell;

/// Of the measurements' own workspace, what is measured against Lambic and with it.
const PACKAGES: [&str; 2] = ["--package=lambic-bench", "--package=bench-rust"];

/// `cargo xtask bench [--quick] [--only PART,...] [--rounds N] [--window-ms N] [--lambic FILE]`, and
/// `--check`, `--render`, `--micro`
pub(crate) fn run(args: &[String]) -> Result<(), String> {
    let root = shell::root();
    let has = |flag: &str| args.iter().any(|arg| arg == flag);
    if has("--micro") {
        let program = build(&root, &["--package=lambic-micro"], "micro")?;
        return shell::run(Command::new(program).args(args.iter().filter(|arg| *arg != "--micro")));
    }
    for tool in ["python3", "node"] {
        if !shell::has(tool) {
            return Err(format!("the measurements need {tool}"));
        }
    }
    let mut runner = Command::new(build(&root, &PACKAGES, "bench")?);
    runner.arg("--root").arg(&root);
    if !has("--lambic") && !has("--check") && !has("--render") {
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

/// Builds in the measurements' workspace; where the program is then, whatever cargo is told for the
/// product.
fn build(root: &Path, packages: &[&str], program: &str) -> Result<PathBuf, String> {
    let bench = root.join("bench");
    let target = bench.join("target");
    let mut build = Command::new("cargo");
    build.current_dir(&bench).args(["build", "--release", "--locked", "--target-dir"]).arg(&target);
    shell::run(build.args(packages))?;
    Ok(target.join("release").join(program))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_readme_shows_the_table_that_was_measured() {
        let read = |name: &str| std::fs::read_to_string(shell::root().join(name)).unwrap();
        let (readme, table) = (read("README.md"), read("docs/bench-table.md"));
        let (_, rest) = readme.split_once("<!-- bench:begin -->\n").unwrap();
        let (shown, _) = rest.split_once("<!-- bench:end -->").unwrap();
        assert_eq!(shown, table, "`cargo xtask bench --render` writes both");
    }
}
