//! `cargo xtask test`: installs what the tests need and runs them all.
//!
//! Three steps, in order: tools (from Debian's packages, when something is missing and we may
//! install), the environments of `tests/e2e` (a Python one, a Node.js one, the functions of
//! `fixtures`), and the runs. What was installed once is not asked for again, so that the second
//! run needs no network. Nothing is skipped: a missing tool ends the command and is named.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{fixtures, shell};

/// Programs the tests run, and the Debian packages that bring them.
const TOOLS: &[(&str, &str)] = &[
    ("cc", "gcc"),
    ("git", "git"),
    ("bash", "bash"),
    ("python3", "python3"),
    ("node", "nodejs"),
    ("npm", "npm"),
    ("go", "golang-go"),
    // For functions on the official runtime interface clients, one of which builds curl.
    ("javac", "default-jdk-headless"),
    ("mvn", "maven"),
    ("make", "make"),
    ("g++", "g++"),
    ("cmake", "cmake"),
    ("autoreconf", "autoconf"),
    ("automake", "automake"),
    ("libtoolize", "libtool"),
    // For environments: the size of /tmp, the way out, a network that stands for the world.
    ("mkfs.ext4", "e2fsprogs"),
    ("nft", "nftables"),
    ("ip", "iproute2"),
    ("pasta", "passt"),
    ("slirp4netns", "slirp4netns"),
    // Languages whose interpreters have to run unmodified under the system call filter, Java too.
    ("ruby", "ruby"),
    ("mcs", "mono-mcs"),
    ("openssl", "openssl"),
];

/// `cargo xtask test [--unit] [--e2e] [argument for pytest...]`; `--fixtures` only builds the functions
/// of the end-to-end tests, for who runs pytest by hand.
pub(crate) fn run(args: &[String]) -> Result<(), String> {
    let (flags, rest): (Vec<&String>, Vec<&String>) =
        args.iter().partition(|arg| ["--unit", "--e2e", "--fixtures"].contains(&arg.as_str()));
    let only = |flag: &str| flags.iter().any(|given| *given == flag);
    let fixtures_only = only("--fixtures");
    let (unit, e2e) = (only("--unit") || flags.is_empty(), only("--e2e") || flags.is_empty());
    if !e2e && !rest.is_empty() {
        return Err(format!("'{}' would go to pytest, which --unit leaves out", rest[0]));
    }
    let root = shell::root();
    install_tools(TOOLS)?;
    if fixtures_only {
        return fixtures::build(&root, &python_environment(&root.join("tests/e2e"))?);
    }
    let mut closing = Vec::new();
    let mut passed = true;
    if unit {
        passed &= cargo_test(&root, &mut closing)?;
    }
    if e2e {
        passed &= end_to_end(&root, &rest, &mut closing)?;
    }
    println!();
    for line in &closing {
        println!("{line}");
    }
    if passed { Ok(()) } else { Err("some tests failed; see above".to_owned()) }
}

fn install_tools(tools: &[(&str, &str)]) -> Result<(), String> {
    let mut missing: Vec<&(&str, &str)> =
        tools.iter().filter(|(tool, _)| !shell::has(tool)).collect();
    // Debian cuts the module that makes environments out of Python.
    if tools.len() > 1 && shell::has("python3") && !python_has_venv() {
        missing.push(&("python3 -m venv", "python3-venv"));
    }
    // And the headers out of Node.js.
    if tools.len() > 1 && shell::has("node") && !fixtures::node_has_headers() {
        missing.push(&("the headers of Node.js", "libnode-dev"));
    }
    if missing.is_empty() {
        return Ok(());
    }
    let packages: Vec<&str> = missing.iter().map(|(_, package)| *package).collect();
    if !shell::has("apt-get") || !is_root() {
        return Err(refusal(&missing));
    }
    let apt_get = |args: &[&str]| {
        shell::run(Command::new("apt-get").env("DEBIAN_FRONTEND", "noninteractive").args(args))
    };
    apt_get(&["update"])?;
    apt_get(&[&["install", "-y", "--no-install-recommends"], packages.as_slice()].concat())
}

fn refusal(missing: &[&(&str, &str)]) -> String {
    let tools: Vec<&str> = missing.iter().map(|(tool, _)| *tool).collect();
    let packages: Vec<&str> = missing.iter().map(|(_, package)| *package).collect();
    let (tools, packages) = (tools.join(", "), packages.join(" "));
    format!("the tests need {tools}; on Debian: apt-get install {packages}")
}

fn python_has_venv() -> bool {
    let status = Command::new("python3").args(["-c", "import venv, ensurepip"]).output();
    status.is_ok_and(|output| output.status.success())
}

pub(crate) fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").is_ok_and(|metadata| metadata.uid() == 0)
}

/// Runs `cargo test --workspace`, and the attempts to break out, which are built with what takes
/// barriers away; false when a test failed.
fn cargo_test(root: &Path, closing: &mut Vec<String>) -> Result<bool, String> {
    const ATTEMPTS: [&str; 4] =
        ["--package=lambic-sandbox", "--features=trial", "--test=attacks", "--locked"];
    let mut all_passed = true;
    for (name, arguments) in [
        ("cargo test", &["--workspace", "--locked", "--no-fail-fast"][..]),
        ("attempts to break out", &ATTEMPTS[..]),
    ] {
        let mut command = Command::new("cargo");
        command.current_dir(root).arg("test").args(arguments);
        let (lines, passed) = shell::run_keeping(&mut command, |l| l.starts_with("test result:"))?;
        closing.push(format!("{name}: {} binaries, {}", lines.len(), summed(&lines)));
        all_passed &= passed;
    }
    Ok(all_passed)
}

/// Adds up lines like `test result: ok. 12 passed; 0 failed; 1 ignored; …`.
fn summed(lines: &[String]) -> String {
    let mut totals = [("passed", 0_u64), ("failed", 0), ("ignored", 0)];
    for line in lines {
        for part in line.split([';', '.']) {
            let mut words = part.split_whitespace();
            let (Some(number), Some(word)) = (words.next(), words.next()) else { continue };
            let Ok(number) = number.parse::<u64>() else { continue };
            if let Some((_, total)) = totals.iter_mut().find(|(name, _)| *name == word) {
                *total += number;
            }
        }
    }
    totals.map(|(name, total)| format!("{total} {name}")).join(", ")
}

/// Builds the binary and the fixtures, prepares the environments and runs pytest.
fn end_to_end(root: &Path, rest: &[&String], closing: &mut Vec<String>) -> Result<bool, String> {
    let folder = root.join("tests/e2e");
    let python = binary_and_python(root)?;
    node_environment(&folder)?;
    fixtures::build(root, &python)?;
    let mut pytest = Command::new(python);
    pytest.current_dir(root).args(["-m", "pytest", "tests/e2e"]).args(rest);
    let is_summary = |line: &str| {
        line.contains(" in ") && [" passed", " failed", " error"].iter().any(|w| line.contains(w))
    };
    let (lines, passed) = shell::run_keeping(&mut pytest, is_summary)?;
    let last = lines.last().map_or("no closing line", |line| line.trim_matches(['=', ' ']));
    closing.push(format!("pytest tests/e2e: {last}"));
    Ok(passed)
}

/// Installs the tools, builds the binary and prepares the Python of `tests/e2e`, which is returned.
pub(crate) fn prepare(root: &Path) -> Result<PathBuf, String> {
    install_tools(TOOLS)?;
    binary_and_python(root)
}

fn binary_and_python(root: &Path) -> Result<PathBuf, String> {
    shell::run(Command::new("cargo").current_dir(root).args([
        "build",
        "--release",
        "--locked",
        "--package=lambic-server",
    ]))?;
    python_environment(&root.join("tests/e2e"))
}

/// `tests/e2e/.venv` with what `requirements.txt` asks for; the Python of that environment.
fn python_environment(folder: &Path) -> Result<PathBuf, String> {
    let (venv, wanted) = (folder.join(".venv"), folder.join("requirements.txt"));
    let python = venv.join("bin/python");
    let stamp = Stamp::of(venv.join("installed"), &[&wanted])?;
    if !python.exists() || !stamp.is_current() {
        shell::run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&venv))?;
        shell::run(Command::new(&python).args(["-m", "pip", "install", "-q", "-r"]).arg(&wanted))?;
        stamp.write()?;
    }
    Ok(python)
}

/// `tests/e2e/node_modules` as `package-lock.json` says.
fn node_environment(folder: &Path) -> Result<(), String> {
    let lock = folder.join("package-lock.json");
    let stamp =
        Stamp::of(folder.join("node_modules/installed"), &[&folder.join("package.json"), &lock])?;
    if stamp.is_current() {
        return Ok(());
    }
    shell::run(Command::new("npm").current_dir(folder).args(["ci", "--no-audit", "--no-fund"]))?;
    stamp.write()
}

/// Remembers what was installed: a copy of the files that asked for it.
pub(crate) struct Stamp {
    path: PathBuf,
    wanted: String,
}

impl Stamp {
    pub(crate) fn of(path: PathBuf, sources: &[&Path]) -> Result<Stamp, String> {
        // Environments hold absolute paths, so a repository that has moved needs new ones.
        let mut wanted = format!("{}\n", path.display());
        for source in sources {
            wanted.push_str(&shell::read(source)?);
        }
        Ok(Stamp { path, wanted })
    }

    pub(crate) fn is_current(&self) -> bool {
        shell::read(&self.path).is_ok_and(|text| text == self.wanted)
    }

    pub(crate) fn write(&self) -> Result<(), String> {
        shell::write(&self.path, &self.wanted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_added_up() {
        let lines = [
            "test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s",
            "test result: FAILED. 3 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.00s",
        ];
        let lines = lines.map(str::to_owned);
        assert_eq!(summed(&lines), "15 passed, 2 failed, 1 ignored");
    }

    #[test]
    fn a_stamp_is_current_until_its_source_changes() {
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join("requirements.txt");
        std::fs::write(&source, "boto3==1\n").unwrap();
        let stamp = || Stamp::of(folder.path().join("installed"), &[&source]).unwrap();
        assert!(!stamp().is_current());
        stamp().write().unwrap();
        assert!(stamp().is_current());
        std::fs::write(&source, "boto3==2\n").unwrap();
        assert!(!stamp().is_current());
    }

    #[test]
    fn a_missing_tool_is_named() {
        let text = refusal(&[&("no-such-tool", "some-package"), &("b", "c")]);
        assert_eq!(
            text,
            "the tests need no-such-tool, b; on Debian: apt-get install some-package c"
        );
    }
}
