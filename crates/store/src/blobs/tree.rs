//! Whole folders: made durable, measured, removed.

use std::fs::{DirEntry, File, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Makes every file and folder below (and at) `root` durable, and answers the bytes of all files.
/// Refuses what is neither file, folder nor symbolic link.
pub(super) fn sync(root: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    walk(root, &mut |path, kind| match kind {
        Kind::Folder => File::open(path)?.sync_all(),
        Kind::File(length) => {
            bytes += length;
            open_readable(path)?.sync_all()
        }
        // A link is part of its folder.
        Kind::Link => Ok(()),
        Kind::Other => {
            let path = path.display();
            Err(io::Error::new(ErrorKind::InvalidData, format!("{path} is a special file")))
        }
    })?;
    Ok(bytes)
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
