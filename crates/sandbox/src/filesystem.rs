//! Folders of the operator's that environments may have: shared, lasting and, if so configured,
//! written to. On AWS they are file systems behind access points.
//!
//! They are a closed set that the spawner was given at its start, and an environment has at most one
//! of them, below `/mnt`. Whoever is inside is one user of the host there, the folder's own: with root
//! the mount translates between the two (an idmapped mount), and nothing inside gets to be anybody
//! else. Without root environments are the calling user anyway, so the folder has to be that user's.
//! Set-user-id programs and devices mean nothing in such a mount.
//!
//! What this does not do: limit how much is written, or keep environments of one folder apart.

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::sys::wait::waitpid;
use nix::unistd::Pid;

use crate::barrier::BarrierKind;
use crate::protocol::Mode;
use crate::sys::{self, Cloned};
use crate::trial::stands;

/// A folder that environments may have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileSystem {
    /// What [`crate::Mounted::name`] says.
    pub name: String,
    /// The folder on the host: an absolute path without links.
    pub path: PathBuf,
    /// Whether nothing in it can be changed.
    pub read_only: bool,
    /// The user of the host that environments are in it; never root.
    pub uid: u32,
    /// The group of the host that environments are in it; never root's.
    pub gid: u32,
}

/// All of a spawner's.
pub(crate) struct FileSystems {
    list: Vec<FileSystem>,
    mode: Mode,
}

impl FileSystems {
    /// Refuses what this machine, or the calling user, cannot do.
    pub(crate) fn new(list: &[FileSystem], mode: Mode) -> Result<FileSystems, String> {
        let caller = (nix::unistd::getuid().as_raw(), nix::unistd::getgid().as_raw());
        for one in list {
            let refused = |why: &str| Err(format!("the file system '{}' {why}", one.name));
            match mode {
                Mode::None => return refused("cannot be mounted without isolation"),
                _ if one.uid == 0 || one.gid == 0 => {
                    return refused("would make functions root in it");
                }
                Mode::Rootless if (one.uid, one.gid) != caller => {
                    return refused("can only be the calling user's own without root");
                }
                Mode::Rootless | Mode::Privileged => {}
            }
        }
        Ok(FileSystems { list: list.to_vec(), mode })
    }

    /// The mount of a folder, for an environment that is this user of the host, ready to be attached
    /// inside.
    pub(crate) fn mount(&self, name: &str, environment: (u32, u32)) -> Result<OwnedFd, String> {
        let found = self.list.iter().find(|one| one.name == name);
        let found = found.ok_or_else(|| format!("there is no file system {name:?}"))?;
        let path = &found.path;
        let run = || -> io::Result<OwnedFd> {
            if fs::canonicalize(path)? != *path {
                return Err(io::Error::other("it is reached through a link"));
            }
            if !fs::metadata(path)?.is_dir() {
                return Err(io::Error::from(io::ErrorKind::NotADirectory));
            }
            self.tree(found, environment)
        };
        run().map_err(|error| format!("{}: {error}", path.display()))
    }

    fn tree(&self, found: &FileSystem, environment: (u32, u32)) -> io::Result<OwnedFd> {
        let mut attributes = 0;
        if found.read_only && stands(BarrierKind::ReadOnlyFiles) {
            attributes |= libc::MOUNT_ATTR_RDONLY;
        }
        if stands(BarrierKind::PlainFiles) {
            attributes |= libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV;
        }
        match self.mode {
            Mode::Privileged => {
                // Without what is mounted below it: that was not named.
                let tree = sys::open_folder(&found.path)?;
                let names = translation((found.uid, found.gid), environment)?;
                sys::translate_mount(tree.as_fd(), attributes, names.as_fd())?;
                Ok(tree)
            }
            Mode::Rootless | Mode::None => {
                // Whoever did not mount what is below may not look under it.
                let tree = sys::open_tree(&found.path)?;
                sys::set_mount_attributes(tree.as_fd(), attributes)?;
                Ok(tree)
            }
        }
    }
}

/// A user namespace in which what is `owner` on the disk is `environment` to whoever looks.
fn translation(owner: (u32, u32), environment: (u32, u32)) -> io::Result<OwnedFd> {
    let (pid, pidfd) = match sys::clone_process(libc::CLONE_NEWUSER as u64)? {
        Cloned::Child => {
            let _ = sys::die_with_parent();
            loop {
                nix::unistd::pause();
            }
        }
        Cloned::Parent { pid, pidfd } => (pid, pidfd),
    };
    let names = names(pid, owner, environment);
    // It was only there for its namespace, which lasts as long as the descriptor.
    let _ = sys::signal_pidfd(pidfd.as_fd(), libc::SIGKILL);
    let _ = waitpid(Pid::from_raw(pid), None);
    names
}

fn names(pid: i32, owner: (u32, u32), environment: (u32, u32)) -> io::Result<OwnedFd> {
    let of = |file: &str| Path::new("/proc").join(pid.to_string()).join(file);
    fs::write(of("uid_map"), format!("{} {} 1", owner.0, environment.0))?;
    fs::write(of("gid_map"), format!("{} {} 1", owner.1, environment.1))?;
    Ok(fs::File::open(of("ns/user"))?.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(uid: u32, gid: u32) -> FileSystem {
        let path = PathBuf::from("/nowhere");
        FileSystem { name: "data".to_owned(), path, read_only: false, uid, gid }
    }

    #[test]
    fn nobody_becomes_root_or_somebody_else() {
        let new = |mode: Mode, one: FileSystem| FileSystems::new(&[one], mode).err();
        let caller = (nix::unistd::getuid().as_raw(), nix::unistd::getgid().as_raw());
        assert_eq!(new(Mode::Privileged, folder(1, 1)), None);
        for one in [folder(0, 1), folder(1, 0)] {
            let refused = new(Mode::Privileged, one).unwrap();
            assert_eq!(refused, "the file system 'data' would make functions root in it");
        }
        assert!(new(Mode::Rootless, folder(caller.0 + 1, caller.1 + 1)).is_some());
        assert!(new(Mode::None, folder(1, 1)).unwrap().ends_with("without isolation"));
    }

    #[test]
    fn only_what_was_configured_is_mounted() {
        let known = FileSystems::new(&[folder(1, 1)], Mode::Privileged).unwrap();
        let error = |name: &str| known.mount(name, (2, 2)).unwrap_err();
        assert_eq!(error("other"), "there is no file system \"other\"");
        assert!(
            error("data").starts_with("/nowhere: No such file or directory"),
            "{}",
            error("data")
        );
    }

    #[test]
    fn links_and_files_are_no_folders() {
        let temp = tempfile::tempdir().unwrap();
        let root = temp.path().canonicalize().unwrap();
        fs::write(root.join("file"), "").unwrap();
        fs::create_dir(root.join("folder")).unwrap();
        std::os::unix::fs::symlink(root.join("folder"), root.join("link")).unwrap();
        for (name, text) in [("link", "reached through a link"), ("file", "not a directory")] {
            let one = FileSystem { path: root.join(name), ..folder(1, 1) };
            let known = FileSystems::new(&[one], Mode::Privileged).unwrap();
            let error = known.mount("data", (2, 2)).unwrap_err();
            assert!(error.contains(text), "{error}");
        }
    }
}
