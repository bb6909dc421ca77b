//! Looking at a template that has forked and is held: whether what it has can be copied, and whether
//! nobody else could interfere. A program of a function may be anything; what is told to whoever asked is
//! why it is no template.

use std::fs;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::PathBuf;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, recv};
use nix::unistd::Pid;

use super::TEMPLATE_FD;

/// How long the first copy of a zygote may take until it asks what it becomes, on a busy machine.
const LIVES_IN_MS: u16 = 5_000;

/// What of a program that may be a function's keeps it from being copied; `init` is the first process
/// of its environment, and `ours` what the program has from us. Gives the numbers of its sockets, whose
/// other ends know nothing of a copy.
pub(super) fn at_function(
    init: i32,
    template: Pid,
    copy: Pid,
    ours: &[i32],
) -> Result<Vec<i32>, String> {
    let mut relatives = children(template)?;
    relatives.retain(|pid| *pid != copy.as_raw());
    if !relatives.is_empty() || children(Pid::from_raw(init))? != [template.as_raw()] {
        return Err("it has started other processes".to_owned());
    }
    shares_no_memory(template)?;
    sockets(copy, ours)
}

/// Only the thread that forks is copied.
pub(super) fn has_one_thread(template: Pid) -> Result<(), String> {
    match threads(template)?.len() {
        1 => Ok(()),
        count => Err(format!("it has {count} threads")),
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
fn shares_no_memory(template: Pid) -> Result<(), String> {
    let maps = fs::read_to_string(format!("/proc/{template}/maps")).map_err(|e| e.to_string())?;
    let shared = maps.lines().find(|line| {
        let rights = line.split(' ').nth(1).unwrap_or_default().as_bytes();
        let file = line.splitn(6, ' ').nth(5).unwrap_or_default().trim_start();
        let is_of_the_system =
            rights.get(1) == Some(&b'-') && SYSTEM.iter().any(|folder| file.starts_with(folder));
        rights.get(3) == Some(&b's') && !is_of_the_system
    });
    shared.map_or(Ok(()), |_| Err("it shares memory".to_owned()))
}

fn sockets(copy: Pid, ours: &[i32]) -> Result<Vec<i32>, String> {
    let folder = PathBuf::from(format!("/proc/{copy}/fd"));
    let word = fs::metadata(folder.join(TEMPLATE_FD.to_string())).map_err(|e| e.to_string())?.ino();
    let mut sockets = Vec::new();
    for entry in fs::read_dir(&folder).map_err(|error| error.to_string())?.flatten() {
        let number: i32 = match entry.file_name().to_str().and_then(|name| name.parse().ok()) {
            Some(number) if !ours.contains(&number) => number,
            _ => continue,
        };
        let opened = fs::metadata(entry.path()).map_err(|error| error.to_string())?;
        let kind = opened.file_type();
        if kind.is_socket() && opened.ino() == word {
            return Err("it has the template's socket twice".to_owned());
        } else if kind.is_socket() {
            sockets.push(number);
        } else if !(kind.is_file() && opened.nlink() > 0 || kind.is_char_device()) {
            // A file without a name may be memory, and a folder leads to the template's own files.
            let target = fs::read_link(entry.path()).unwrap_or_default();
            return Err(format!("it has {} open", target.display()));
        } else if kind.is_file() && !is_only_read(copy, number) {
            return Err("it has a file open for writing".to_owned());
        }
    }
    Ok(sockets)
}

fn is_only_read(pid: Pid, number: i32) -> bool {
    let info = fs::read_to_string(format!("/proc/{pid}/fdinfo/{number}")).unwrap_or_default();
    let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
    let flags = flags.and_then(|flags| i32::from_str_radix(flags.trim(), 8).ok());
    flags.is_some_and(|flags| flags & libc::O_ACCMODE == libc::O_RDONLY)
}
