//! What a template has left in its `/tmp`, for its copy.
//!
//! The files are a function's, so nothing about them is trusted. But nobody changes them meanwhile: the
//! template, which has no other process beside it, is held. Links are made again, never followed.

use std::fs::{self, File, FileTimes, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, lchown, symlink};
use std::path::Path;

use super::words::Why;
use crate::tmpdisk::copy_data;

/// Most files and folders that are brought along, and how deep folders may be.
const FILES_MAX: u32 = 20_000;
/// Most that is written for a copy: what a `/tmp` of the usual size holds. Holes stay holes.
const BYTES_MAX: u64 = 520 << 20;
const DEPTH_MAX: u32 = 64;
/// What permissions have beside those of users.
const MODE: u32 = 0o777;

/// Brings along what is in the `/tmp` of one process's root, to that of another's, where it belongs to
/// this user and group of the host.
pub(super) fn bring(from: i32, to: i32, owner: (u32, u32)) -> Result<(), Why> {
    let place = |pid: i32| format!("/proc/{pid}/root/tmp");
    let mut bringing = Bringing { owner, left: FILES_MAX, bytes_left: BYTES_MAX };
    let brought = bringing.folder(Path::new(&place(from)), Path::new(&place(to)), 0);
    brought.map_err(|error| {
        let why = format!("bringing along what is in /tmp: {error}");
        // What is said here, of what is there, not by the kernel.
        match error.kind() {
            io::ErrorKind::Other => Why::Unfit(why),
            _ => Why::Failed(why),
        }
    })
}

struct Bringing {
    owner: (u32, u32),
    left: u32,
    bytes_left: u64,
}

impl Bringing {
    fn folder(&mut self, from: &Path, to: &Path, depth: u32) -> io::Result<()> {
        if depth > DEPTH_MAX {
            return Err(io::Error::other("folders are too deep"));
        }
        for entry in fs::read_dir(from)? {
            let name = entry?.file_name();
            // The file system's own.
            if depth == 0 && name == "lost+found" {
                continue;
            }
            self.left =
                self.left.checked_sub(1).ok_or_else(|| io::Error::other("too many files"))?;
            self.one(&from.join(&name), &to.join(&name), depth)?;
        }
        Ok(())
    }

    fn one(&mut self, from: &Path, to: &Path, depth: u32) -> io::Result<()> {
        let found = fs::symlink_metadata(from)?;
        let kind = found.file_type();
        if kind.is_symlink() {
            symlink(fs::read_link(from)?, to)?;
        } else if kind.is_dir() {
            fs::create_dir(to)?;
            self.folder(from, to, depth + 1)?;
        } else if kind.is_file() {
            let bytes = found.blocks().saturating_mul(512);
            self.bytes_left =
                self.bytes_left.checked_sub(bytes).ok_or_else(|| io::Error::other("too much"))?;
            copy(from, to)?;
        } else {
            return Err(io::Error::other("there is a pipe or a socket"));
        }
        lchown(to, Some(self.owner.0), Some(self.owner.1))?;
        if kind.is_symlink() {
            return Ok(());
        }
        fs::set_permissions(to, Permissions::from_mode(found.mode() & MODE))?;
        let times =
            FileTimes::new().set_accessed(found.accessed()?).set_modified(found.modified()?);
        open(to, OpenOptions::new().read(true))?.set_times(times)
    }
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let from = open(from, OpenOptions::new().read(true))?;
    let to = open(to, OpenOptions::new().write(true).create_new(true))?;
    copy_data(&from, &to)
}

fn open(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    options.custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_comes_along_and_links_are_not_followed() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let at = |name: &str| from.path().join(name);
        fs::create_dir_all(at("a/b")).unwrap();
        fs::write(at("a/b/file"), "text").unwrap();
        fs::set_permissions(at("a/b/file"), Permissions::from_mode(0o640)).unwrap();
        symlink("/etc/passwd", at("a/link")).unwrap();
        symlink("a", at("folder")).unwrap();
        let own = fs::metadata(at("a")).unwrap();
        let owner = (own.uid(), own.gid());
        Bringing { owner, left: 10, bytes_left: 1 << 20 }
            .folder(from.path(), to.path(), 0)
            .unwrap();
        let there = |name: &str| to.path().join(name);
        assert_eq!(fs::read_to_string(there("a/b/file")).unwrap(), "text");
        let (before, after) = (fs::metadata(at("a/b/file")), fs::metadata(there("a/b/file")));
        let (before, after) = (before.unwrap(), after.unwrap());
        assert_eq!((after.mode(), after.mtime()), (before.mode(), before.mtime()));
        assert_eq!(fs::read_link(there("a/link")).unwrap(), Path::new("/etc/passwd"));
        assert_eq!(fs::read_link(there("folder")).unwrap(), Path::new("a"));
        let again = tempfile::tempdir().unwrap();
        let too_many =
            Bringing { owner, left: 4, bytes_left: 1 << 20 }.folder(from.path(), again.path(), 0);
        assert!(too_many.is_err());
        let too_much = Bringing { owner, left: 10, bytes_left: 1 };
        let again = tempfile::tempdir().unwrap();
        assert!({ too_much }.folder(from.path(), again.path(), 0).is_err());
    }

    #[test]
    fn what_cannot_come_along_is_an_error() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let _socket = std::os::unix::net::UnixListener::bind(from.path().join("socket")).unwrap();
        let owner = (0, 0);
        assert!(
            Bringing { owner, left: 10, bytes_left: 1 << 20 }
                .folder(from.path(), to.path(), 0)
                .is_err()
        );
    }
}
