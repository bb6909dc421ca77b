//! The private `/tmp` of an environment: a small ext4 file system in a file of its own, so that it
//! has exactly the configured size, lives on disk and is not charged to the function's memory.
//!
//! The file has no name and the mount has no place: both exist only through the descriptor that is
//! handed to the environment, so the kernel frees file, loop device and file system when the
//! environment ends, however it ends.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::unistd::{Whence, lseek64};

use crate::sys;

const MB: u64 = 1 << 20;
const LOOP_TRIES_MAX: u32 = 16;
/// Formatted images that are kept for the next of their size; each is an open file.
const TEMPLATES_MAX: usize = 16;
const FORMATS_MAX: u32 = 4;

/// Makes temporary disks of any size from templates that are formatted once.
pub(crate) struct TmpDisks {
    /// Where templates and the mount point are; private to the spawner's mount namespace.
    scratch: PathBuf,
    /// Where the disks' files are; on a real disk.
    images: PathBuf,
    control: OwnedFd,
    templates: HashMap<u32, File>,
}

impl TmpDisks {
    /// Checks that this machine can make such disks, by making one.
    pub(crate) fn open(scratch: &Path, images: &Path) -> Result<TmpDisks, String> {
        let control = OpenOptions::new()
            .read(true)
            .write(true)
            .open("/dev/loop-control")
            .map_err(|error| format!("/dev/loop-control: {error}"))?;
        let mut disks = TmpDisks {
            scratch: scratch.to_owned(),
            images: images.to_owned(),
            control: control.into(),
            templates: HashMap::new(),
        };
        disks.create(512, 0, 0)?;
        Ok(disks)
    }

    /// A mounted, empty file system with `size_mb` MB of room, as a detached mount that belongs to
    /// the given user and group of the host.
    pub(crate) fn create(&mut self, size_mb: u32, uid: u32, gid: u32) -> Result<OwnedFd, String> {
        if !self.templates.contains_key(&size_mb) {
            if self.templates.len() >= TEMPLATES_MAX {
                // Rarely more than a few sizes are in use; the usual ones are soon back.
                self.templates.clear();
            }
            let template = self.format(size_mb)?;
            self.templates.insert(size_mb, template);
        }
        let template = self.templates.get(&size_mb).expect("it was inserted above");
        let image = copy_sparse(template, &self.images).map_err(|e| format!("copying: {e}"))?;
        let tree = self.mount(&image, |point| {
            std::os::unix::fs::chown(point, Some(uid), Some(gid))?;
            fs::set_permissions(point, std::os::unix::fs::PermissionsExt::from_mode(0o700))
        })?;
        let attributes = libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV;
        sys::set_mount_attributes(tree.as_fd(), attributes)
            .map_err(|error| format!("mount attributes: {error}"))?;
        Ok(tree)
    }

    /// Formats a template whose free room is `size_mb` MB: the overhead is measured on a first try.
    fn format(&self, size_mb: u32) -> Result<File, String> {
        let wanted = u64::from(size_mb) * MB;
        let mut length = likely_length(wanted);
        for attempt in 0..FORMATS_MAX {
            let image = anonymous_file(&self.images).map_err(|e| format!("template: {e}"))?;
            image.set_len(length).map_err(|error| format!("template: {error}"))?;
            make_file_system(&image)?;
            let mut free = 0;
            self.mount(&image, |point| {
                let _ = fs::remove_dir(point.join("lost+found"));
                let room = nix::sys::statvfs::statvfs(point)?;
                free = room.blocks_available() * room.fragment_size();
                Ok(())
            })?;
            let excess = free as i64 - wanted as i64;
            // Block groups come and go with the length, so the last try may be a little larger.
            let most = if attempt + 1 < FORMATS_MAX { 256 * 1024 } else { 2 * MB as i64 };
            if (0..most).contains(&excess) {
                return Ok(image);
            }
            let spare = if attempt + 2 < FORMATS_MAX { 64 * 1024 } else { MB as i64 };
            length = (length as i64 - excess + spare) as u64 / 4096 * 4096;
        }
        Err(format!("no file system of exactly {size_mb} MB could be made"))
    }

    /// Mounts an image, lets `prepare` work on it and returns it detached.
    fn mount(
        &self,
        image: &File,
        prepare: impl FnOnce(&Path) -> io::Result<()>,
    ) -> Result<OwnedFd, String> {
        let device = self.attach(image).map_err(|error| format!("loop device: {error}"))?;
        let point = self.scratch.join("disk");
        fs::create_dir_all(&point).map_err(|error| format!("{}: {error}", point.display()))?;
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOATIME;
        mount(Some(&device.0), &point, Some("ext4"), flags, Some("discard"))
            .map_err(|error| format!("mounting {}: {error}", device.0.display()))?;
        drop(device);
        let prepared = prepare(&point);
        let tree = sys::open_tree(&point);
        umount2(&point, MntFlags::MNT_DETACH).map_err(|error| format!("unmounting: {error}"))?;
        prepared.map_err(|error| format!("preparing: {error}"))?;
        tree.map_err(|error| format!("open_tree: {error}"))
    }

    /// Puts the image behind a free loop device. Others may take the same one first: try again.
    fn attach(&self, image: &File) -> io::Result<(PathBuf, File)> {
        let mut last = io::Error::from(io::ErrorKind::NotFound);
        for _ in 0..LOOP_TRIES_MAX {
            let number = sys::free_loop_device(self.control.as_fd())?;
            let path = PathBuf::from(format!("/dev/loop{number}"));
            let device = OpenOptions::new().read(true).write(true).open(&path)?;
            match sys::configure_loop_device(device.as_fd(), image.as_fd()) {
                Ok(()) => return Ok((path, device)),
                Err(error) if error.raw_os_error() == Some(libc::EBUSY) => last = error,
                Err(error) => return Err(error),
            }
        }
        Err(last)
    }
}

/// How long an image has to be so that about `wanted` bytes of it are free, which saves formatting it
/// twice: inodes take a 64th, what the kernel holds back a 50th (at most 16 MB), bitmaps the rest.
fn likely_length(wanted: u64) -> u64 {
    const BITMAPS: u64 = 200 * 1024;
    const KEPT_MAX: u64 = 16 * MB;
    let length = (wanted + BITMAPS) * 3_200 / (3_200 - 50 - 64);
    let length = match length / 50 <= KEPT_MAX {
        true => length,
        false => (wanted + BITMAPS + KEPT_MAX) * 64 / 63 + wanted / 12_000,
    };
    length / 4096 * 4096
}

fn anonymous_file(folder: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).custom_flags(libc::O_TMPFILE).mode(0o600).open(folder)
}

fn make_file_system(image: &File) -> Result<(), String> {
    use std::os::fd::AsRawFd;
    // The file has no name; mke2fs reaches it through the descriptor it inherits as its own stdin.
    let _ = image.as_raw_fd();
    let stdin = image.try_clone().map_err(|error| error.to_string())?;
    let output = Command::new("mkfs.ext4")
        .env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin:/usr/local/sbin")
        .args(["-q", "-F", "-b", "4096", "-m", "0", "-i", "16384", "-I", "256"])
        .args(["-O", "^has_journal,^resize_inode", "-E", "lazy_itable_init=1,nodiscard"])
        .arg("/proc/self/fd/0")
        .stdin(Stdio::from(stdin))
        .output()
        .map_err(|error| format!("mkfs.ext4 (package e2fsprogs): {error}"))?;
    if output.status.success() {
        Ok(())
    } else {
        Err(format!("mkfs.ext4: {}", String::from_utf8_lossy(&output.stderr).trim()))
    }
}

/// A copy of `template` in a file without a name, holes kept as holes.
fn copy_sparse(template: &File, folder: &Path) -> io::Result<File> {
    let copy = anonymous_file(folder)?;
    copy_data(template, &copy)?;
    Ok(copy)
}

/// Writes what is in one file into another, empty one; holes are kept as holes.
pub(crate) fn copy_data(template: &File, copy: &File) -> io::Result<()> {
    let length = template.metadata()?.len();
    copy.set_len(length)?;
    let mut buffer = vec![0; 256 * 1024];
    let mut position = 0;
    while position < length as i64 {
        let start = match lseek64(template, position, Whence::SeekData) {
            Err(nix::errno::Errno::ENXIO) => break,
            other => other?,
        };
        let end = lseek64(template, start, Whence::SeekHole)?;
        let mut offset = start as u64;
        while offset < end as u64 {
            let want = buffer.len().min((end as u64 - offset) as usize);
            let read = template.read_at(&mut buffer[..want], offset)?;
            if read == 0 {
                break;
            }
            if buffer[..read].iter().any(|byte| *byte != 0) {
                copy.write_all_at(&buffer[..read], offset)?;
            }
            offset += read as u64;
        }
        position = end;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sparse_copy_is_equal_and_stays_sparse() {
        use std::os::unix::fs::MetadataExt;
        let folder = tempfile::tempdir().unwrap();
        let template = anonymous_file(folder.path()).unwrap();
        template.set_len(64 * MB).unwrap();
        template.write_all_at(b"first", 4096).unwrap();
        template.write_all_at(b"last", 64 * MB - 4).unwrap();
        let copy = copy_sparse(&template, folder.path()).unwrap();
        assert_eq!(copy.metadata().unwrap().len(), 64 * MB);
        assert!(copy.metadata().unwrap().blocks() * 512 < MB);
        let mut read = [0; 5];
        copy.read_at(&mut read, 4096).unwrap();
        assert_eq!(&read, b"first");
        copy.read_at(&mut read[..4], 64 * MB - 4).unwrap();
        assert_eq!(&read[..4], b"last");
    }
}
