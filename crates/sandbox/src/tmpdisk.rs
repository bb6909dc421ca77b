//! The private `/tmp` of an environment: a small ext4 file system in a file of its own, so that it
//! has exactly the configured size, lives on disk and is not charged to the function's memory.
//!
//! The file has no name and the mount has no place: both exist only through the descriptor that is
//! handed to the environment, so the kernel frees file, loop device and file system when the
//! environment ends, however it ends.

use std::collections::HashMap;
use std::ffi::CStr;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::fcntl::AtFlags;
use nix::sys::stat::{FchmodatFlags, Mode, fchmodat};
use nix::sys::statvfs::fstatvfs;
use nix::unistd::{Gid, Uid, UnlinkatFlags, Whence, fchownat, lseek64, unlinkat};

use crate::protocol::READY_TMP_MB;
use crate::sys;

const MB: u64 = 1 << 20;
const LOOP_TRIES_MAX: u32 = 64;
/// Formatted file systems that are kept for the next disks of their size.
const TEMPLATES_MAX: usize = 16;
const FORMATS_MAX: u32 = 4;
/// What is looked at as one when a template is read: a block of the file system.
const BLOCK_BYTES: usize = 4096;
const NO_DEVICES: u64 = libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV;
/// Tables of inodes are holes in a file that nobody wrote to: nothing has to be zeroed later.
const OPTIONS: [&CStr; 2] = [c"discard", c"noinit_itable"];

/// Makes temporary disks of any size from templates that are formatted once.
pub(crate) struct TmpDisks {
    /// Where the disks' files are; on a real disk.
    images: PathBuf,
    control: OwnedFd,
    templates: HashMap<u32, Template>,
}

/// An empty file system: its length, and those of its blocks that are not all zeroes.
struct Template {
    length: u64,
    parts: Vec<(u64, Vec<u8>)>,
}

/// A file system that is being made in a file without a name.
pub(crate) struct Formatting {
    image: File,
    length: u64,
    mkfs: Child,
}

impl Formatting {
    /// Begins with the one that the first disk is made from: it takes as long as the way out, which can be
    /// made meanwhile.
    pub(crate) fn of_first(images: &Path) -> Result<Formatting, String> {
        Formatting::start(images, likely_length(u64::from(READY_TMP_MB) * MB))
    }

    fn start(images: &Path, length: u64) -> Result<Formatting, String> {
        let image = sized_file(images, length)?;
        // The file has no name; mke2fs reaches it through the descriptor it inherits as its own stdin.
        let stdin = image.try_clone().map_err(|error| error.to_string())?;
        let mkfs = Command::new("mkfs.ext4")
            .env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin:/usr/local/sbin")
            .args(["-q", "-F", "-b", "4096", "-m", "0", "-i", "16384", "-I", "256"])
            .args(["-O", "^has_journal,^resize_inode", "-E", "lazy_itable_init=1,nodiscard"])
            .arg("/proc/self/fd/0")
            .stdin(Stdio::from(stdin))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("mkfs.ext4 (package e2fsprogs): {error}"))?;
        Ok(Formatting { image, length, mkfs })
    }

    fn ended(self) -> Result<(File, u64), String> {
        let output = self.mkfs.wait_with_output().map_err(|error| format!("mkfs.ext4: {error}"))?;
        match output.status.success() {
            true => Ok((self.image, self.length)),
            false => Err(format!("mkfs.ext4: {}", String::from_utf8_lossy(&output.stderr).trim())),
        }
    }
}

impl TmpDisks {
    /// Checks that this machine can make such disks, by making one.
    pub(crate) fn open(images: &Path, first: Formatting) -> Result<TmpDisks, String> {
        let control = OpenOptions::new()
            .read(true)
            .write(true)
            .open("/dev/loop-control")
            .map_err(|error| format!("/dev/loop-control: {error}"))?;
        let mut disks = TmpDisks {
            images: images.to_owned(),
            control: control.into(),
            templates: HashMap::new(),
        };
        let template = disks.template(READY_TMP_MB, first)?;
        disks.templates.insert(READY_TMP_MB, template);
        disks.create(READY_TMP_MB, 0, 0)?;
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
            let length = likely_length(u64::from(size_mb) * MB);
            let template = self.template(size_mb, Formatting::start(&self.images, length)?)?;
            self.templates.insert(size_mb, template);
        }
        let template = self.templates.get(&size_mb).expect("it was inserted above");
        let image = sized_file(&self.images, template.length)?;
        let (path, device) = self.attach(&image)?;
        // Through the device: what was written to the file before would have to reach the disk first,
        // and then be read again.
        for (position, part) in &template.parts {
            device.write_all_at(part, *position).map_err(|error| format!("copying: {error}"))?;
        }
        let tree = mount(&path)?;
        let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
        let root_only = Mode::S_IRWXU;
        fchownat(tree.as_fd(), ".", Some(uid), Some(gid), AtFlags::empty())
            .and_then(|()| fchmodat(tree.as_fd(), ".", root_only, FchmodatFlags::FollowSymlink))
            .map_err(|error| format!("owner: {error}"))?;
        Ok(tree)
    }

    /// A template whose free room is `size_mb` MB, from the first try, which tells how much is overhead.
    fn template(&self, size_mb: u32, first: Formatting) -> Result<Template, String> {
        let wanted = u64::from(size_mb) * MB;
        let mut formatting = first;
        for attempt in 1..=FORMATS_MAX {
            let (image, length) = formatting.ended()?;
            let free = self.free_room(&image)?;
            let excess = free as i64 - wanted as i64;
            // Block groups come and go with the length, so the last try may be a little larger.
            let most = if attempt < FORMATS_MAX { 256 * 1024 } else { 2 * MB as i64 };
            if (0..most).contains(&excess) {
                let parts = used_blocks(&image).map_err(|error| format!("template: {error}"))?;
                return Ok(Template { length, parts });
            }
            let spare = if attempt + 1 < FORMATS_MAX { 64 * 1024 } else { MB as i64 };
            let next = (length as i64 - excess + spare) as u64 / 4096 * 4096;
            formatting = Formatting::start(&self.images, next)?;
        }
        Err(format!("no file system of exactly {size_mb} MB could be made"))
    }

    /// Removes what stands in a new file system; the room that there is then.
    fn free_room(&self, image: &File) -> Result<u64, String> {
        let (path, device) = self.attach(image)?;
        let tree = mount(&path)?;
        let _ = unlinkat(tree.as_fd(), "lost+found", UnlinkatFlags::RemoveDir);
        let room = fstatvfs(&tree).map_err(|error| format!("free room: {error}"))?;
        drop(tree);
        // What was only said to the device is to be in the file.
        device.sync_all().map_err(|error| format!("template: {error}"))?;
        Ok(room.blocks_available() * room.fragment_size())
    }

    fn attach(&self, image: &File) -> Result<(PathBuf, File), String> {
        self.try_attach(image).map_err(|error| format!("loop device: {error}"))
    }

    /// Puts the image behind a free loop device. Others may take the same one first: try again.
    fn try_attach(&self, image: &File) -> io::Result<(PathBuf, File)> {
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

/// A mount of what is on the device, at no place.
fn mount(device: &Path) -> Result<OwnedFd, String> {
    let attributes = NO_DEVICES | libc::MOUNT_ATTR_NOATIME;
    let mounted = sys::mount_device(c"ext4", device, &OPTIONS, attributes);
    mounted.map_err(|error| format!("mounting {}: {error}", device.display()))
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

fn sized_file(folder: &Path, length: u64) -> Result<File, String> {
    let made = anonymous_file(folder).and_then(|file| file.set_len(length).map(|()| file));
    made.map_err(|error| format!("image: {error}"))
}

/// The blocks of an image that are not all zeroes, neighbours together.
fn used_blocks(image: &File) -> io::Result<Vec<(u64, Vec<u8>)>> {
    let mut parts: Vec<(u64, Vec<u8>)> = Vec::new();
    each_piece(image, BLOCK_BYTES, |position, piece| {
        match parts.last_mut() {
            Some((start, part)) if *start + part.len() as u64 == position => {
                part.extend_from_slice(piece);
            }
            _ => parts.push((position, piece.to_vec())),
        }
        Ok(())
    })?;
    Ok(parts)
}

/// Writes what is in one file into another, empty one; holes are kept as holes.
pub(crate) fn copy_data(from: &File, copy: &File) -> io::Result<()> {
    copy.set_len(from.metadata()?.len())?;
    each_piece(from, 256 * 1024, |position, piece| copy.write_all_at(piece, position))
}

/// Goes through what is in a file, in pieces of at most `most` bytes, but not through holes and zeroes.
fn each_piece(
    file: &File,
    most: usize,
    mut visit: impl FnMut(u64, &[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let length = file.metadata()?.len();
    let mut buffer = vec![0; most];
    let mut position = 0;
    while position < length as i64 {
        let start = match lseek64(file, position, Whence::SeekData) {
            Err(nix::errno::Errno::ENXIO) => break,
            other => other?,
        };
        let end = lseek64(file, start, Whence::SeekHole)?;
        let mut offset = start as u64;
        while offset < end as u64 {
            let want = buffer.len().min((end as u64 - offset) as usize);
            let read = file.read_at(&mut buffer[..want], offset)?;
            if read == 0 {
                break;
            }
            if buffer[..read].iter().any(|byte| *byte != 0) {
                visit(offset, &buffer[..read])?;
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
        let copy = anonymous_file(folder.path()).unwrap();
        copy_data(&template, &copy).unwrap();
        assert_eq!(copy.metadata().unwrap().len(), 64 * MB);
        assert!(copy.metadata().unwrap().blocks() * 512 < MB);
        let mut read = [0; 5];
        copy.read_at(&mut read, 4096).unwrap();
        assert_eq!(&read, b"first");
        copy.read_at(&mut read[..4], 64 * MB - 4).unwrap();
        assert_eq!(&read[..4], b"last");
    }
    #[test]
    fn a_template_is_made_of_what_is_not_zero() {
        let folder = tempfile::tempdir().unwrap();
        let image = anonymous_file(folder.path()).unwrap();
        image.set_len(64 * MB).unwrap();
        image.write_all_at(&[1; 2 * BLOCK_BYTES], 2 * BLOCK_BYTES as u64).unwrap();
        image.write_all_at(&[0; 2 * BLOCK_BYTES], 4 * BLOCK_BYTES as u64).unwrap();
        image.write_all_at(b"last", 64 * MB - 4).unwrap();
        let parts = used_blocks(&image).unwrap();
        let places: Vec<(u64, usize)> = parts.iter().map(|(at, part)| (*at, part.len())).collect();
        let last = 64 * MB - BLOCK_BYTES as u64;
        assert_eq!(places, [(2 * BLOCK_BYTES as u64, 2 * BLOCK_BYTES), (last, BLOCK_BYTES)]);
        assert_eq!(&parts[1].1[BLOCK_BYTES - 4..], b"last");
    }
}
