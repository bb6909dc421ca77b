//! The functions of `tests/e2e/fixtures` that have to be built, each by the official tool of its
//! language from its public registry, into `target/fixtures`. What needs no building, such as a script
//! or a `bootstrap` in shell, is taken from its folder by the tests.
//!
//! What a folder holds says how it is built. Rust and Go build what has changed; the others are
//! built again when one of their files has, so that the second run needs no network.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::shell;
use crate::test::Stamp;

/// Folders with programs as execution environments have them in their PATH.
const SYSTEM_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// Builds every fixture that has to be built. A Rust one is a package of its own, built to
/// `target/fixtures/release/`; the others have `target/fixtures/<folder>`: Go a `bootstrap`, and
/// those with a runtime interface client what is installed for them and goes into their zip.
pub(crate) fn build(root: &Path, python: &Path) -> Result<(), String> {
    let (fixtures, target) = (root.join("tests/e2e/fixtures"), root.join("target/fixtures"));
    for folder in shell::folders(&fixtures)? {
        let name = folder.file_name().expect("an entry of a folder has a name");
        let out = target.join(name);
        if folder.join("Cargo.toml").exists() {
            let mut cargo = Command::new("cargo");
            cargo.current_dir(&folder).args(["build", "--release", "--locked", "--target-dir"]);
            shell::run(cargo.arg(&target))?;
        } else if folder.join("go.mod").exists() {
            let mut go = Command::new("go");
            go.current_dir(&folder).env("CGO_ENABLED", "0").env("GOFLAGS", "-buildvcs=false");
            go.args(["build", "-trimpath", "-tags", "lambda.norpc", "-o"]);
            shell::run(go.arg(out.join("bootstrap")).arg("."))?;
        } else if folder.join("requirements.txt").exists() {
            let wanted = [folder.join("requirements.txt")];
            once(&wanted, &out, || python_packages(&wanted[0], &out, python))?;
        } else if folder.join("package.json").exists() {
            let wanted = ["package.json", "package-lock.json"].map(|file| folder.join(file));
            once(&wanted, &out, || node_packages(&wanted, &out))?;
        } else if folder.join("pom.xml").exists() {
            let mut wanted = shell::files_below(&folder.join("src"))?;
            wanted.push(folder.join("pom.xml"));
            once(&wanted, &out, || java_archives(&folder, &out))?;
        }
    }
    Ok(())
}

/// Builds `out` anew when it was made from other files than those that are there now.
fn once(
    sources: &[PathBuf],
    out: &Path,
    build: impl FnOnce() -> Result<(), String>,
) -> Result<(), String> {
    let sources: Vec<&Path> = sources.iter().map(PathBuf::as_path).collect();
    let stamp = Stamp::of(out.with_extension("built"), &sources)?;
    if out.exists() && stamp.is_current() {
        return Ok(());
    }
    if out.exists() {
        std::fs::remove_dir_all(out).map_err(|e| format!("cannot empty {}: {e}", out.display()))?;
    }
    std::fs::create_dir_all(out).map_err(|e| format!("cannot make {}: {e}", out.display()))?;
    build()?;
    stamp.write()
}

/// The packages as wheels for the Python that environments see, which need not be the one whose pip
/// is used here.
fn python_packages(wanted: &Path, out: &Path, python: &Path) -> Result<(), String> {
    let version = shell::output(Command::new("env").arg(format!("PATH={SYSTEM_PATH}")).args([
        "python3",
        "-c",
        "import sys; print('%d.%d' % sys.version_info[:2])",
    ]))?;
    let mut pip = Command::new(python);
    pip.args(["-m", "pip", "install", "-q", "--only-binary=:all:", "--implementation=cp"]);
    pip.arg(format!("--python-version={}", version.trim())).arg("--target").arg(out);
    shell::run(pip.arg("-r").arg(wanted))
}

/// The packages, their native add-ons built against the headers of this machine's Node.js.
fn node_packages(wanted: &[PathBuf], out: &Path) -> Result<(), String> {
    for file in wanted {
        let name = file.file_name().expect("a manifest has a name");
        shell::write(&out.join(name), &shell::read(file)?)?;
    }
    let mut npm = Command::new("npm");
    npm.current_dir(out).args(["ci", "--no-audit", "--no-fund"]);
    if let Some(prefix) = node_prefix().filter(|prefix| has_headers(prefix)) {
        npm.env("npm_config_nodedir", prefix);
    }
    shell::run(&mut npm)
}

/// Whether the headers are there that native add-ons for Node.js are compiled against.
pub(crate) fn node_has_headers() -> bool {
    node_prefix().is_some_and(|prefix| has_headers(&prefix))
}

fn has_headers(prefix: &Path) -> bool {
    prefix.join("include/node/node.h").exists()
}

/// The folder above the one of the `node` program.
fn node_prefix() -> Option<PathBuf> {
    let found = Command::new("node").args(["-p", "process.execPath"]).output().ok()?;
    let program = PathBuf::from(String::from_utf8(found.stdout).ok()?.trim());
    Some(program.parent()?.parent()?.to_owned())
}

/// The function and what it depends on, as `lib/*.jar`.
fn java_archives(folder: &Path, out: &Path) -> Result<(), String> {
    let mut maven = Command::new("mvn");
    maven.args(["-q", "-B", "package", "-f"]).arg(folder.join("pom.xml"));
    shell::run(maven.arg(format!("-Dout={}", out.display())))
}
