//! Looking at a template that has forked and is held: whether what it has can be copied, and whether
//! nobody else could interfere. A program of a function may be anything; what is told to whoever asked is
//! why it is no template.

use std::fs::{self, Metadata};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, recv};
use nix::unistd::Pid;

use super::TEMPLATE_FD;
use super::files::Files;
use super::kernel::{Info, field};
use super::words::Why;

/// How long the first copy of a zygote may take until it asks what it becomes, on a busy machine.
const LIVES_IN_MS: u16 = 5_000;

/// What of a program that may be a function's keeps it from being copied; `init` is the first process
/// of its environment, and `ours` what the program has from us. Gives the numbers of its sockets, whose
/// other ends know nothing of a copy, and the files that it reads.
pub(super) fn at_function(
    init: i32,
    template: Pid,
    copy: Pid,
    ours: &[i32],
) -> Result<(Vec<i32>, Files), Why> {
    let mut relatives = children(template)?;
    relatives.retain(|pid| *pid != copy.as_raw());
    if !relatives.is_empty() || children(Pid::from_raw(init))? != [template.as_raw()] {
        return Err(Why::Unfit("it has started other processes".to_owned()));
    }
    shares_no_memory(template)?;
    opened(template, copy, ours)
}

/// Only the thread that forks is copied.
pub(super) fn has_one_thread(template: Pid) -> Result<(), Why> {
    match threads(template)?.len() {
        1 => Ok(()),
        count => Err(Why::Unfit(format!("it has {count} threads"))),
    }
}

pub(super) fn threads(pid: Pid) -> Result<Vec<Pid>, String> {
    let folder = fs::read_dir(format!("/proc/{pid}/task")).map_err(|error| error.to_string())?;
    let number = |entry: fs::DirEntry| entry.file_name().to_str()?.parse().ok().map(Pid::from_raw);
    Ok(folder.flatten().filter_map(number).collect())
}

/// Waits until a copy has said something on its stream, of which this is the other end.
pub(super) fn has_come_to_life(stream: BorrowedFd<'_>) -> Result<(), String> {
    let mut polled = [PollFd::new(stream, PollFlags::POLLIN)];
    let said = poll(&mut polled, PollTimeout::from(LIVES_IN_MS)).map_err(|e| e.to_string())?;
    let look = MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT;
    match (said, recv(stream.as_raw_fd(), &mut [0], look)) {
        (0, _) => Err(format!("a copy of it did nothing for {LIVES_IN_MS} ms")),
        (_, Ok(1)) => Ok(()),
        _ => Err("a copy of it has ended".to_owned()),
    }
}

/// How a process is numbered in its own process namespace.
pub(super) fn number_inside(pid: Pid) -> Result<i32, String> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).map_err(|e| e.to_string())?;
    let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
    let inside = numbers.and_then(|numbers| numbers.split_whitespace().last()?.parse().ok());
    inside.ok_or_else(|| "it has no number inside".to_owned())
}

pub(super) fn children(pid: Pid) -> Result<Vec<i32>, String> {
    let path = format!("/proc/{pid}/task/{pid}/children");
    let text = fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
    Ok(text.split_whitespace().filter_map(|pid| pid.parse().ok()).collect())
}

/// Folders of the system, whose files nobody inside can write.
const SYSTEM: [&str; 3] = ["/usr/", "/lib/", "/lib64/"];

/// Memory that is shared stays so in a copy, which would then not be one. That it cannot be written now
/// says nothing: who has it can make it so.
fn shares_no_memory(template: Pid) -> Result<(), Why> {
    let maps = fs::read_to_string(format!("/proc/{template}/maps")).map_err(|e| e.to_string())?;
    let shared = maps.lines().find(|line| {
        let rights = line.split(' ').nth(1).unwrap_or_default().as_bytes();
        let file = line.splitn(6, ' ').nth(5).unwrap_or_default().trim_start();
        let is_of_the_system =
            rights.get(1) == Some(&b'-') && SYSTEM.iter().any(|folder| file.starts_with(folder));
        rights.get(3) == Some(&b's') && !is_of_the_system
    });
    shared.map_or(Ok(()), |_| Err(Why::Unfit("it shares memory".to_owned())))
}

/// The descriptors of a process, but for these, and what each is of.
fn descriptors(pid: Pid, ours: &[i32]) -> Result<Vec<(i32, PathBuf, Metadata)>, String> {
    let folder = PathBuf::from(format!("/proc/{pid}/fd"));
    let mut found = Vec::new();
    for entry in fs::read_dir(&folder).map_err(|error| error.to_string())?.flatten() {
        let number: i32 = match entry.file_name().to_str().and_then(|name| name.parse().ok()) {
            Some(number) if !ours.contains(&number) => number,
            _ => continue,
        };
        let opened = fs::metadata(entry.path()).map_err(|error| error.to_string())?;
        found.push((number, entry.path(), opened));
    }
    Ok(found)
}

fn opened(template: Pid, copy: Pid, ours: &[i32]) -> Result<(Vec<i32>, Files), Why> {
    let word = format!("/proc/{copy}/fd/{TEMPLATE_FD}");
    let word = fs::metadata(word).map_err(|error| error.to_string())?.ino();
    let (mut sockets, mut files) = (Vec::new(), Files::default());
    for (number, path, opened) in descriptors(copy, ours)? {
        let kind = opened.file_type();
        if kind.is_socket() && opened.ino() == word {
            return Err(Why::Unfit("it has the template's socket twice".to_owned()));
        } else if kind.is_socket() {
            sockets.push(number);
        } else if kind.is_file() {
            files.add(copy, number, &opened)?;
            holds_no_lock(template, number, &path)?;
        } else if !kind.is_char_device() {
            // A folder leads to the template's own files.
            let target = fs::read_link(path).unwrap_or_default();
            return Err(Why::Unfit(format!("it has {} open", target.display())));
        }
    }
    Ok((sockets, files))
}

/// The files that a program of ours reads.
pub(super) fn files(copy: Pid, ours: &[i32]) -> Result<Files, Why> {
    let mut files = Files::default();
    for (number, _, opened) in descriptors(copy, ours)? {
        if opened.is_file() {
            files.add(copy, number, &opened)?;
        }
    }
    Ok(files)
}

/// The template keeps its locks; a copy, which would not have them, would wait for them without end.
fn holds_no_lock(template: Pid, number: i32, path: &Path) -> Result<(), Why> {
    if field(&Info::of(template, number)?.text, "lock:").is_none() {
        return Ok(());
    }
    let target = fs::read_link(path).unwrap_or_default();
    Err(Why::Unfit(format!("it holds a lock of {}", target.display())))
}
