//! Files that a template has open for reading, for its copy.
//!
//! A fork leaves both with the same opened file, and so with one place up to which it has been read: who
//! reads on in one copy, or goes elsewhere in the file, would do so in all. So a copy opens each of them
//! again, by its path, once it is in its own namespaces and has no right but those of its program: it gets
//! nothing that the program could not open itself, and of what is in `/tmp` it gets its own. What a copy
//! does not find as it was keeps the template from being copied.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use nix::unistd::Pid;

use super::block::Block;
use super::kernel::{Info, field};
use super::trace::Held;
use super::words::Why;
use crate::sys;

/// Most that are opened again; a program that has more would take too long to copy.
const OPENED_MAX: usize = 1_000;
/// So many at a time: as many numbers are in use beside those that it has.
const AT_ONCE: usize = 32;
/// Opening must neither wait for anybody nor follow a link that has come in its place.
const OPENS: OFlag =
    OFlag::O_NONBLOCK.union(OFlag::O_NOFOLLOW).union(OFlag::O_NOCTTY).union(OFlag::O_CLOEXEC);
/// What may be said of it when it is opened, and afterwards.
const KEPT: OFlag = OFlag::O_DIRECT.union(OFlag::O_NOATIME);
const SET_LATER: OFlag = KEPT.union(OFlag::O_NONBLOCK).union(OFlag::O_APPEND);

/// One that is open, however many numbers it has.
struct Opened {
    /// Each with whether it is closed when another program is executed.
    numbers: Vec<(i32, bool)>,
    path: PathBuf,
    /// Where in it who reads goes on.
    place: u64,
    flags: OFlag,
    file: File,
}

/// Which file it is.
#[derive(Clone, Copy, PartialEq, Eq)]
struct File {
    device: u64,
    inode: u64,
    bytes: u64,
    changed_s: i64,
}

impl File {
    fn of(found: &Metadata) -> File {
        let (device, inode) = (found.dev(), found.ino());
        File { device, inode, bytes: found.len(), changed_s: found.mtime() }
    }
}

/// See the module.
#[derive(Default)]
pub(super) struct Files(Vec<Opened>);

impl Files {
    /// Adds one of a process that is held, which is this file. Every process that has been forked from
    /// the template has the same.
    pub(super) fn add(&mut self, pid: Pid, number: i32, found: &Metadata) -> Result<(), Why> {
        let path = fs::read_link(format!("/proc/{pid}/fd/{number}"));
        let path = path.map_err(|error| format!("descriptor {number}: {error}"))?;
        let info = Info::of(pid, number)?;
        // A file without a name may be memory; one that is open for its path only can be opened for
        // writing by means of that, and is the template's.
        if found.nlink() == 0 || info.flags.contains(OFlag::O_PATH) {
            return Err(Why::Unfit(format!("it has {} open", path.display())));
        }
        if info.flags & OFlag::O_ACCMODE != OFlag::O_RDONLY {
            return Err(Why::Unfit("it has a file open for writing".to_owned()));
        }
        let place = field(&info.text, "pos:").and_then(|place| place.parse().ok());
        let place = place.ok_or("a file without a place")?;
        let closes = info.flags.contains(OFlag::O_CLOEXEC);
        let flags = info.flags & SET_LATER;
        let file = File::of(found);
        let known = self
            .0
            .iter_mut()
            .filter(|known| (known.file, known.place, known.flags) == (file, place, flags));
        for known in known {
            let other = known.numbers.first().map_or(number, |(number, _)| *number);
            let is_same = sys::have_opened_the_same(pid.as_raw(), number, other);
            if is_same.map_err(|error| format!("comparing descriptors: {error}"))? {
                known.numbers.push((number, closes));
                return Ok(());
            }
        }
        if self.0.len() == OPENED_MAX {
            return Err(Why::Unfit(format!("it has more than {OPENED_MAX} files open")));
        }
        self.0.push(Opened { numbers: vec![(number, closes)], path, place, flags, file });
        Ok(())
    }

    /// Has a copy open them that is in its own namespaces by now, and has the rights of its program.
    /// `template` is a process of the template's environment; at `room` there are so many bytes of memory
    /// for paths, at `list` as many for what it does.
    pub(super) fn open_again(
        &self,
        copy: &mut Held<'_>,
        template: i32,
        (room, room_bytes): (u64, u64),
        (list, list_bytes): (u64, u64),
    ) -> Result<(), Why> {
        if self.0.is_empty() {
            return Ok(());
        }
        let own = Own { template: tmp_of(template)?, copy: tmp_of(copy.pid.as_raw())? };
        let mut left = self.0.as_slice();
        while !left.is_empty() {
            let (paths, count) = paths(left, room_bytes as usize);
            let (some, rest) = left.split_at(count);
            let Some(first) = some.first() else {
                return Err(left[0].refused("its path is too long"));
            };
            copy.write(room, &paths)?;
            let mut opening = Block::default();
            let mut at = room;
            for opened in some {
                let flags = (opened.flags & KEPT | OPENS).bits() as u64;
                let folder = i64::from(libc::AT_FDCWD) as u64;
                opening.may("opening a file", libc::SYS_openat, &[folder, at, flags, 0]);
                at += opened.path.as_os_str().len() as u64 + 1;
            }
            let numbers = opening.run(copy, list, list_bytes)?;
            let mut putting = Block::default();
            for (opened, number) in some.iter().zip(numbers) {
                let number = opened.check(copy.pid, number, own)?;
                opened.put(number, &mut putting);
            }
            putting.run(copy, list, list_bytes).map_err(|why| first.refused(&why))?;
            left = rest;
        }
        Ok(())
    }
}

/// The devices of the two that a template and its copy have for themselves: what was in the one has been
/// brought along to the other.
#[derive(Clone, Copy)]
struct Own {
    template: u64,
    copy: u64,
}

fn tmp_of(pid: i32) -> Result<u64, String> {
    let found = fs::metadata(format!("/proc/{pid}/root/tmp"));
    Ok(found.map_err(|error| format!("its /tmp: {error}"))?.dev())
}

/// The paths of the first ones, each ended as the kernel wants it, and of how many.
fn paths(opened: &[Opened], bytes_max: usize) -> (Vec<u8>, usize) {
    let mut paths = Vec::new();
    let mut count = 0;
    for opened in opened.iter().take(AT_ONCE) {
        let path = opened.path.as_os_str().as_bytes();
        if paths.len() + path.len() + 1 > bytes_max {
            break;
        }
        paths.extend(path);
        paths.push(0);
        count += 1;
    }
    (paths, count)
}

impl Opened {
    fn refused(&self, why: &str) -> Why {
        let path = self.path.display();
        Why::Unfit(format!("it has {path} open, which a copy cannot open as it was: {why}"))
    }

    /// Makes sure that what a copy has opened is what was open.
    fn check(&self, copy: Pid, result: i64, own: Own) -> Result<u64, Why> {
        let number = u64::try_from(result)
            .map_err(|_| self.refused(&io::Error::from_raw_os_error(-result as i32).to_string()))?;
        let found = fs::metadata(format!("/proc/{copy}/fd/{number}"));
        let found = found.map_err(|error| format!("what a copy has opened: {error}"))?;
        let file = File::of(&found);
        let is_it = (file.device, file.inode) == (self.file.device, self.file.inode);
        let was_brought = self.path.starts_with(Path::new("/tmp"))
            && (self.file.device, file.device) == (own.template, own.copy)
            && (file.bytes, file.changed_s) == (self.file.bytes, self.file.changed_s);
        match found.is_file() && (is_it || was_brought) {
            true => Ok(number),
            false => Err(self.refused("it is another file there")),
        }
    }

    /// Has it go on where it was, under its numbers.
    fn put(&self, given: u64, block: &mut Block) {
        let flags = self.flags.bits() as u64;
        block.must("its flags", libc::SYS_fcntl, &[given, libc::F_SETFL as u64, flags]);
        let start = libc::SEEK_SET as u64;
        block.must("its place", libc::SYS_lseek, &[given, self.place, start]);
        for (number, closes) in &self.numbers {
            let flags = if *closes { libc::O_CLOEXEC as u64 } else { 0 };
            block.must("its number", libc::SYS_dup3, &[given, *number as u64, flags]);
        }
        block.must("closing", libc::SYS_close, &[given]);
    }
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;
    use std::io::{Read, Seek, SeekFrom};
    use std::os::fd::AsRawFd;
    use std::os::unix::fs::OpenOptionsExt;

    use super::*;

    fn added(files: &mut Files, opened: &std::fs::File) -> Result<(), Why> {
        files.add(Pid::this(), opened.as_raw_fd(), &opened.metadata().unwrap())
    }

    #[test]
    fn what_is_open_once_is_one_whatever_numbers_it_has() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, "0123456789").unwrap();
        let mut first = std::fs::File::open(&path).unwrap();
        let second = first.try_clone().unwrap();
        let other = std::fs::File::open(&path).unwrap();
        first.seek(SeekFrom::Start(4)).unwrap();
        { &other }.read_exact(&mut [0; 4]).unwrap();
        let mut files = Files::default();
        for opened in [&first, &second, &other] {
            added(&mut files, opened).unwrap();
        }
        let found: Vec<(usize, u64)> =
            files.0.iter().map(|opened| (opened.numbers.len(), opened.place)).collect();
        assert_eq!(found, [(2, 4), (1, 4)], "two at the same place are two");
        assert!(files.0.iter().all(|opened| opened.path == path));
        assert!(files.0[0].numbers.iter().all(|(_, closes)| *closes));
        let (bytes, count) = paths(&files.0, path.as_os_str().len() + 1);
        assert_eq!((bytes.last(), bytes.len(), count), (Some(&0), path.as_os_str().len() + 1, 1));
        assert_eq!(paths(&files.0, path.as_os_str().len()).1, 0);
    }

    #[test]
    fn what_is_open_for_more_than_reading_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, "x").unwrap();
        let mut read = OpenOptions::new();
        let read = read.read(true);
        let written = read.clone().write(true).open(&path).unwrap();
        let named = read.clone().custom_flags(libc::O_PATH).open(&path).unwrap();
        let other = folder.path().join("other");
        fs::write(&other, "x").unwrap();
        let nameless = std::fs::File::open(&other).unwrap();
        fs::remove_file(&other).unwrap();
        for (opened, why) in [(written, "writing"), (named, "open"), (nameless, "(deleted) open")] {
            let refused = added(&mut Files::default(), &opened);
            assert!(matches!(&refused, Err(Why::Unfit(text)) if text.contains(why)), "{refused:?}");
        }
    }
}
