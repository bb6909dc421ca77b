//! What a template waits for in the kernel, made again for its copy.
//!
//! A fork leaves both with the same pipes, counters (`eventfd`) and lists of what is waited for (`epoll`):
//! what one writes, the other would read. So each is made anew, with what it holds, and put in the
//! copy where the template has its own. Only a zygote comes here, whose program is ours; what cannot be
//! made again keeps it from being copied.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, SpliceFFlags, fcntl, tee};
use nix::sys::epoll::{Epoll, EpollCreateFlags};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::unistd::{Pid, pipe2};

use super::block::Block;
use super::trace::{Held, failed};

/// Most that is in a pipe that a runtime uses for itself.
const PIPE_BYTES_MAX: usize = 4_096;
/// Most that are made again, and that is waited for.
const MADE_MAX: usize = 24;
const WAITED_MAX: usize = 64;
/// `struct epoll_event`, which is packed on x86-64.
const EVENT_BYTES: usize = 12;

/// One descriptor of a copy.
struct Made {
    number: i32,
    closes: bool,
    made: OwnedFd,
}

/// That one is waited for by means of another.
#[derive(Debug, PartialEq, Eq)]
struct Waited {
    epoll: i32,
    number: i32,
    events: u32,
    data: u64,
}

/// What is made again.
pub(super) struct Renewal {
    made: Vec<Made>,
    waited: Vec<Waited>,
}

/// What `/proc` tells of a descriptor.
pub(super) struct Info {
    pub(super) text: String,
    pub(super) flags: OFlag,
}

impl Info {
    pub(super) fn of(pid: Pid, number: i32) -> Result<Info, String> {
        let text = fs::read_to_string(format!("/proc/{pid}/fdinfo/{number}"));
        let text = text.map_err(|error| format!("descriptor {number}: {error}"))?;
        let flags = field(&text, "flags:").and_then(|flags| i32::from_str_radix(flags, 8).ok());
        let flags = flags.ok_or("a descriptor without flags")?;
        Ok(Info { text, flags: OFlag::from_bits_retain(flags) })
    }
}

/// What stands behind a name in it.
pub(super) fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim)
}

impl Renewal {
    /// Makes all of it. `ends` are what stands in the copy in place of the first of `ours`: the pipe for
    /// its output, which has two numbers, and its stream.
    pub(super) fn of(template: Pid, ends: &[OwnedFd], ours: &[i32]) -> Result<Renewal, String> {
        let folder = PathBuf::from(format!("/proc/{template}/fd"));
        let mut renewal = Renewal { made: Vec::new(), waited: Vec::new() };
        let mut pipes: BTreeMap<PathBuf, Vec<(i32, OFlag)>> = BTreeMap::new();
        for (end, number) in ends.iter().zip([1, 3]) {
            // The runtime has said so of its own, and expects it.
            let flags = Info::of(template, number)?.flags & OFlag::O_NONBLOCK;
            fcntl(end.as_fd(), FcntlArg::F_SETFL(flags)).map_err(failed("its pipes"))?;
        }
        for number in numbers(&folder)?.into_iter().filter(|number| !ours.contains(number)) {
            let path = folder.join(number.to_string());
            let target = fs::read_link(&path).map_err(|error| error.to_string())?;
            let info = Info::of(template, number)?;
            let closes = info.flags.contains(OFlag::O_CLOEXEC);
            let made = match target.to_str().unwrap_or_default() {
                "anon_inode:[eventpoll]" => {
                    renewal.waited.extend(waited(number, &info.text)?);
                    Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).map_err(failed("epoll"))?.0
                }
                "anon_inode:[eventfd]" => counter(&info)?,
                text if text.starts_with("pipe:[") => {
                    pipes.entry(target).or_default().push((number, info.flags));
                    continue;
                }
                text => {
                    can_be_shared(&path).map_err(|why| format!("{text}: {why}"))?;
                    continue;
                }
            };
            renewal.made.push(Made { number, closes, made });
        }
        for ends in pipes.values() {
            renewal.made.extend(pipe(&folder, ends)?);
        }
        match (renewal.made.len(), renewal.waited.len()) {
            (made, waited) if made > MADE_MAX || waited > WAITED_MAX => {
                Err(format!("it has {made} pipes and the like and waits for {waited}"))
            }
            _ => Ok(renewal),
        }
    }

    pub(super) fn made(&self) -> Vec<BorrowedFd<'_>> {
        self.made.iter().map(|made| made.made.as_fd()).collect()
    }

    /// Has them put where they belong, in a copy that was handed them under these numbers and has its pipes
    /// and its stream by then; at `room` there is memory for [`WAITED_MAX`] events.
    pub(super) fn put(
        &self,
        copy: &Held<'_>,
        block: &mut Block,
        room: u64,
        given: &[u64],
    ) -> Result<(), String> {
        for (made, given) in self.made.iter().zip(given) {
            let flags = if made.closes { libc::O_CLOEXEC as u64 } else { 0 };
            block.must("a descriptor", libc::SYS_dup3, &[*given, made.number as u64, flags]);
        }
        for given in given {
            block.must("closing", libc::SYS_close, &[*given]);
        }
        let mut events = Vec::with_capacity(self.waited.len() * EVENT_BYTES);
        for waited in &self.waited {
            let add = libc::EPOLL_CTL_ADD as u64;
            let event = room + events.len() as u64;
            let arguments = [waited.epoll as u64, add, waited.number as u64, event];
            block.must("what is waited for", libc::SYS_epoll_ctl, &arguments);
            events.extend(waited.events.to_ne_bytes());
            events.extend(waited.data.to_ne_bytes());
        }
        copy.write(room, &events)
    }
}

fn numbers(folder: &Path) -> Result<Vec<i32>, String> {
    let entries = fs::read_dir(folder).map_err(|error| error.to_string())?.flatten();
    Ok(entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect())
}

/// What a list has, of what `/proc` tells of it.
fn waited(epoll: i32, text: &str) -> Result<Vec<Waited>, String> {
    let lines = text.lines().filter(|line| line.starts_with("tfd:"));
    let parse = |line: &str| {
        let after = |name: &str| {
            line.split_once(name).and_then(|(_, rest)| rest.split_ascii_whitespace().next())
        };
        let number = after("tfd:")?.parse().ok()?;
        let events = u32::from_str_radix(after("events:")?, 16).ok()?;
        let data = u64::from_str_radix(after("data:")?, 16).ok()?;
        Some(Waited { epoll, number, events, data })
    };
    lines.map(|line| parse(line).ok_or_else(|| format!("what is waited for: {line}"))).collect()
}

fn counter(info: &Info) -> Result<OwnedFd, String> {
    let count = field(&info.text, "eventfd-count:");
    let count = count.and_then(|count| u32::from_str_radix(count, 16).ok());
    let is_semaphore = field(&info.text, "eventfd-semaphore:").is_some_and(|text| text != "0");
    let mut flags = EfdFlags::EFD_CLOEXEC;
    flags.set(EfdFlags::EFD_NONBLOCK, info.flags.contains(OFlag::O_NONBLOCK));
    flags.set(EfdFlags::EFD_SEMAPHORE, is_semaphore);
    let made = EventFd::from_value_and_flags(count.ok_or("a counter that counts too far")?, flags);
    Ok(made.map_err(failed("eventfd"))?.into())
}

/// A pipe whose ends are both the template's.
fn pipe(folder: &Path, ends: &[(i32, OFlag)]) -> Result<Vec<Made>, String> {
    let is_for = |mode: OFlag| {
        let mut found = ends.iter().filter(move |(_, flags)| *flags & OFlag::O_ACCMODE == mode);
        found.next().filter(|_| found.next().is_none())
    };
    let (Some(from), Some(to)) = (is_for(OFlag::O_RDONLY), is_for(OFlag::O_WRONLY)) else {
        return Err("it has a pipe to somebody else".to_owned());
    };
    let (reads, writes) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK).map_err(failed("a pipe"))?;
    let theirs = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(folder.join(from.0.to_string()))
        .map_err(|error| format!("its pipe: {error}"))?;
    copy_content(&theirs, &writes)?;
    let mut made = Vec::new();
    for ((number, flags), end) in [(from, reads), (to, writes)] {
        let nonblocking = *flags & OFlag::O_NONBLOCK;
        fcntl(end.as_fd(), FcntlArg::F_SETFL(nonblocking)).map_err(failed("a pipe"))?;
        let closes = flags.contains(OFlag::O_CLOEXEC);
        made.push(Made { number: *number, closes, made: end });
    }
    Ok(made)
}

/// Puts what is in a pipe into another, and leaves it there.
fn copy_content(from: &File, to: &OwnedFd) -> Result<(), String> {
    match tee(from, to, PIPE_BYTES_MAX + 1, SpliceFFlags::SPLICE_F_NONBLOCK) {
        Ok(bytes) if bytes > PIPE_BYTES_MAX => Err("there is much in a pipe".to_owned()),
        Ok(_) | Err(Errno::EAGAIN) => Ok(()),
        Err(errno) => Err(failed("what is in a pipe")(errno)),
    }
}

/// A device; or a file, which is looked at with those of any template (`files`).
fn can_be_shared(path: &Path) -> Result<(), String> {
    let opened = fs::metadata(path).map_err(|error: io::Error| error.to_string())?;
    let kind = opened.file_type();
    match kind.is_char_device() || kind.is_file() {
        true => Ok(()),
        false => Err("it cannot be made again".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    #[test]
    fn what_is_waited_for_is_read_from_what_the_kernel_tells() {
        let text = "pos:\t0\nflags:\t02000002\nmnt_id:\t17\nino:\t1038\n\
                    tfd:       13 events:       19 data:                d  pos:0 ino:40e sdev:10\n\
                    tfd:        3 events: 80000001 data: 7f00000000000003  pos:0 ino:1 sdev:f\n";
        let found = waited(9, text).unwrap();
        let [first, second] = [(13, 0x19, 13), (3, 0x8000_0001, 0x7f00_0000_0000_0003)]
            .map(|(number, events, data)| Waited { epoll: 9, number, events, data });
        assert_eq!(found, [first, second]);
        assert!(waited(9, "tfd: x events: 19 data: d").is_err());
    }

    #[test]
    fn pipes_counters_and_lists_are_made_again_with_what_they_hold() {
        let (reads, writes) = pipe2(OFlag::O_CLOEXEC).unwrap();
        let mut writes = File::from(writes);
        writes.write_all(b"lock").unwrap();
        let folder = PathBuf::from("/proc/self/fd");
        let ends = [(reads.as_fd(), OFlag::O_RDONLY), (writes.as_fd(), OFlag::O_WRONLY)];
        let ends = ends
            .map(|(end, flags)| (std::os::fd::AsRawFd::as_raw_fd(&end), flags | OFlag::O_CLOEXEC));
        let made = pipe(&folder, &ends).unwrap();
        for end in [File::from(reads), made[0].made.try_clone().unwrap().into()] {
            let mut text = [0; 4];
            { end }.read_exact(&mut text).unwrap();
            assert_eq!(&text, b"lock", "neither lacks what the other has");
        }
        assert!(pipe(&folder, &ends[..1]).is_err(), "its other end is somebody's");
    }
}
