//! Files and child processes for the other commands, with errors that name what failed.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The root of the repository, wherever the command was started.
pub(crate) fn root() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.ancestors().nth(2).expect("crates/xtask is two folders below the root").to_owned()
}

/// Reads a text file.
pub(crate) fn read(path: &Path) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|e| format!("cannot read {}: {e}", path.display()))
}

/// Writes a text file.
pub(crate) fn write(path: &Path, text: &str) -> Result<(), String> {
    std::fs::write(path, text).map_err(|e| format!("cannot write {}: {e}", path.display()))
}

/// The folders right below `path`, sorted.
pub(crate) fn folders(path: &Path) -> Result<Vec<PathBuf>, String> {
    let mut found = entries(path)?;
    found.retain(|entry| entry.is_dir());
    Ok(found)
}

/// Every file below `path`, sorted.
pub(crate) fn files_below(path: &Path) -> Result<Vec<PathBuf>, String> {
    let mut files = Vec::new();
    for entry in entries(path)? {
        if entry.is_dir() {
            files.extend(files_below(&entry)?);
        } else {
            files.push(entry);
        }
    }
    Ok(files)
}

fn entries(path: &Path) -> Result<Vec<PathBuf>, String> {
    let listed = std::fs::read_dir(path).and_then(|all| {
        all.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<PathBuf>, _>>()
    });
    let mut found = listed.map_err(|e| format!("cannot read {}: {e}", path.display()))?;
    found.sort();
    Ok(found)
}

/// Whether `program` is found in `PATH`.
pub(crate) fn has(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Debian keeps administrators' tools where only root's PATH leads.
    let system = ["/usr/sbin", "/sbin"].map(std::path::PathBuf::from);
    std::env::split_paths(&path).chain(system).any(|folder| folder.join(program).is_file())
}

/// Runs a command with our own terminal; an error says which command failed and how.
pub(crate) fn run(command: &mut Command) -> Result<(), String> {
    announce(command);
    let status = command.status().map_err(|e| cannot_start(command, &e))?;
    if status.success() { Ok(()) } else { Err(format!("{} failed ({status})", text_of(command))) }
}

/// Runs a command and returns what it printed on standard output.
pub(crate) fn output(command: &mut Command) -> Result<String, String> {
    let output =
        command.stderr(Stdio::inherit()).output().map_err(|e| cannot_start(command, &e))?;
    if !output.status.success() {
        return Err(format!("{} failed ({})", text_of(command), output.status));
    }
    String::from_utf8(output.stdout).map_err(|_| format!("{} printed no text", text_of(command)))
}

/// Runs a command, passes its standard output on line by line, and keeps the lines that `keep`
/// wants. The second value says whether the command succeeded.
pub(crate) fn run_keeping(
    command: &mut Command,
    keep: impl Fn(&str) -> bool,
) -> Result<(Vec<String>, bool), String> {
    announce(command);
    let mut child =
        command.stdout(Stdio::piped()).spawn().map_err(|e| cannot_start(command, &e))?;
    let stdout = child.stdout.take().expect("standard output was asked for as a pipe");
    let mut kept = Vec::new();
    for line in BufReader::new(stdout).split(b'\n') {
        let line = line.map_err(|e| format!("cannot read from {}: {e}", text_of(command)))?;
        let line = String::from_utf8_lossy(&line).into_owned();
        println!("{line}");
        if keep(&line) {
            kept.push(line);
        }
    }
    let status = child.wait().map_err(|e| format!("cannot wait for {}: {e}", text_of(command)))?;
    Ok((kept, status.success()))
}

/// Every file that Git tracks or would track (so neither build output nor ignored caches), as
/// paths relative to the root, sorted.
pub(crate) fn repository_files(root: &Path) -> Result<Vec<String>, String> {
    let listed = output(Command::new("git").current_dir(root).args([
        "ls-files",
        "--cached",
        "--others",
        "--exclude-standard",
        "-z",
    ]))?;
    let mut files: Vec<String> = listed
        .split('\0')
        .filter(|path| !path.is_empty() && root.join(path).is_file())
        .map(str::to_owned)
        .collect();
    files.sort();
    files.dedup();
    Ok(files)
}

fn announce(command: &Command) {
    eprintln!("$ {}", text_of(command));
}

fn text_of(command: &Command) -> String {
    let mut text = command.get_program().to_string_lossy().into_owned();
    for arg in command.get_args() {
        text.push(' ');
        text.push_str(&arg.to_string_lossy());
    }
    text
}

fn cannot_start(command: &Command, error: &std::io::Error) -> String {
    format!("cannot start {}: {error}", command.get_program().to_string_lossy())
}
