//! Whole folders: made durable, measured, removed.

use std::fs::{DirEntry, File, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use nix::sys::{statfs, utsname};

/// So many files and folders are made durable one by one; each costs a turn of the disk, so the rest of
/// a large tree is written in one go where that can be relied on.
const ONE_BY_ONE: usize = 32;

/// Makes every file and folder below (and at) `root` durable, and answers the bytes of all files.
/// Refuses what is neither file, folder nor symbolic link.
pub(super) fn sync(root: &Path) -> io::Result<u64> {
    let whole = File::open(root)?;
    let at_once = syncs_at_once(&whole);
    let (mut bytes, mut seen) = (0, 0_usize);
    walk(root, &mut |path, kind| {
        seen += 1;
        let leave = at_once && seen > ONE_BY_ONE;
        match kind {
            Kind::File(length) => {
                bytes += length;
                if leave { Ok(()) } else { open_readable(path)?.sync_all() }
            }
            Kind::Folder if leave => Ok(()),
            Kind::Folder => File::open(path)?.sync_all(),
            // A link is part of its folder.
            Kind::Link => Ok(()),
            Kind::Other => {
                let path = path.display();
                Err(io::Error::new(ErrorKind::InvalidData, format!("{path} is a special file")))
            }
        }
    })?;
    if at_once && seen > ONE_BY_ONE {
        nix::unistd::syncfs(&whole)?;
    }
    Ok(bytes)
}

/// Whether `syncfs` here returns only when all is on disk, and tells when it is not. Kernels before 5.8
/// keep errors to themselves, and what is not in this list may do nothing at all.
fn syncs_at_once(file: &File) -> bool {
    let known = [
        statfs::BTRFS_SUPER_MAGIC,
        statfs::EXT4_SUPER_MAGIC,
        statfs::F2FS_SUPER_MAGIC,
        statfs::TMPFS_MAGIC,
        statfs::XFS_SUPER_MAGIC,
    ];
    let kind = statfs::fstatfs(file).map(|found| found.filesystem_type());
    let kernel = utsname::uname().ok();
    let tells = kernel.as_ref().and_then(|kernel| kernel.release().to_str());
    tells.is_some_and(tells_errors) && kind.is_ok_and(|kind| known.contains(&kind))
}

/// Of a kernel's release, such as `6.1.0-13-amd64`.
fn tells_errors(release: &str) -> bool {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor) >= (5, 8),
        _ => false,
    }
}

/// The bytes of all files below `root`.
pub(super) fn bytes(root: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    walk(root, &mut |_, kind| {
        if let Kind::File(length) = kind {
            bytes += length;
        }
        Ok(())
    })?;
    Ok(bytes)
}

/// Removes a file or a folder with all it contains; it need not exist.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    match remove_once(path) {
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            // A package may contain folders that not even their owner may change.
            walk(path, &mut |path, kind| match kind {
                Kind::Folder => std::fs::set_permissions(path, Permissions::from_mode(0o700)),
                _ => Ok(()),
            })?;
            remove_once(path)
        }
        result => result,
    }
}

fn remove_once(path: &Path) -> io::Result<()> {
    let result = match path.symlink_metadata() {
        Ok(metadata) if metadata.is_dir() => std::fs::remove_dir_all(path),
        Ok(_) => std::fs::remove_file(path),
        Err(error) => Err(error),
    };
    match result {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

enum Kind {
    Folder,
    File(u64),
    Link,
    Other,
}

/// Visits `root` and everything below, a folder before what it contains. Links are not followed.
fn walk(root: &Path, visit: &mut dyn FnMut(&Path, Kind) -> io::Result<()>) -> io::Result<()> {
    let mut folders: Vec<PathBuf> = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        visit(&folder, Kind::Folder)?;
        for entry in std::fs::read_dir(&folder)? {
            let entry = entry?;
            match kind(&entry)? {
                Kind::Folder => folders.push(entry.path()),
                other => visit(&entry.path(), other)?,
            }
        }
    }
    Ok(())
}

fn kind(entry: &DirEntry) -> io::Result<Kind> {
    let metadata = entry.metadata()?;
    let kind = metadata.file_type();
    Ok(if kind.is_dir() {
        Kind::Folder
    } else if kind.is_symlink() {
        Kind::Link
    } else if kind.is_file() {
        Kind::File(metadata.len())
    } else {
        Kind::Other
    })
}

/// A file of a package may be unreadable for its owner; that much is granted, or it could not be
/// made durable.
fn open_readable(path: &Path) -> io::Result<File> {
    match File::open(path) {
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            let mode = path.metadata()?.permissions().mode();
            std::fs::set_permissions(path, Permissions::from_mode(mode | 0o400))?;
            File::open(path)
        }
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_that_tell_errors() {
        for (release, expected) in [
            ("6.18.44-fc-v445", true),
            ("5.8.0", true),
            ("5.10", true),
            ("10.0.1", true),
            ("5.7.19", false),
            ("4.18.0-553.el8", false),
            ("", false),
            ("x", false),
        ] {
            assert_eq!(tells_errors(release), expected, "{release}");
        }
    }

    #[test]
    fn large_and_small_trees_are_measured_alike_and_refuse_the_same() {
        for files in [1, ONE_BY_ONE, 10 * ONE_BY_ONE] {
            let folder = tempfile::tempdir().unwrap();
            for number in 0..files {
                let inner = folder.path().join(format!("{}", number % 7));
                std::fs::create_dir_all(&inner).unwrap();
                std::fs::write(inner.join(number.to_string()), "four").unwrap();
            }
            std::os::unix::fs::symlink("nowhere", folder.path().join("link")).unwrap();
            assert_eq!(sync(folder.path()).unwrap(), 4 * files as u64);
            assert_eq!(bytes(folder.path()).unwrap(), 4 * files as u64);
            let socket = folder.path().join("0/socket");
            let _socket = std::os::unix::net::UnixListener::bind(&socket).unwrap();
            assert_eq!(sync(folder.path()).unwrap_err().kind(), ErrorKind::InvalidData);
        }
    }
}
