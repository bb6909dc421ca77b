//! Landlock: what a process may do with files, kept by the kernel whatever descriptors it holds.
//!
//! Mount namespaces decide what can be seen; Landlock decides what can be done with it, also
//! through a descriptor of a folder that should not have been left open. Around an environment it
//! says: read and execute below the environment's own root, write below `/tmp`, to the few devices and
//! to its file system, if it has one. Around the server, which as root without capabilities still owns root's files, it
//! says: its own folders, the programs it asks for their versions, the accounts of its
//! environments. Signals stay inside, too (Linux 6.12).
//!
//! What Landlock does not cover: changing modes, owners and times of files; connecting to sockets
//! that have a path. Kernels without it start as before; the list of barriers says so.

use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::sys::{self, LandlockRules};

// From linux/landlock.h.
const EXECUTE: u64 = 1 << 0;
const WRITE_FILE: u64 = 1 << 1;
const READ_FILE: u64 = 1 << 2;
const READ_DIR: u64 = 1 << 3;
const REMOVE_DIR: u64 = 1 << 4;
const MAKE_DIR: u64 = 1 << 7;
const REFER: u64 = 1 << 13;
const TRUNCATE: u64 = 1 << 14;
const IOCTL_DEV: u64 = 1 << 15;
const SCOPE_SIGNAL: u64 = 1 << 1;

const READ: u64 = EXECUTE | READ_FILE | READ_DIR;
const USE_FILE: u64 = READ_FILE | WRITE_FILE | TRUNCATE;
/// What a rule about a file, not a folder, may grant.
const ON_FILES: u64 = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV;
/// The first version that allows a file to be moved from one folder to another.
const WITH_REFER: u32 = 2;
/// The version with signals.
const WITH_SIGNALS: u32 = 6;

/// Everything that a version of Landlock can forbid about files.
fn everything(version: u32) -> u64 {
    let known = match version {
        0 => return 0,
        1 => REFER,
        2 => TRUNCATE,
        3 | 4 => IOCTL_DEV,
        _ => IOCTL_DEV << 1,
    };
    known - 1
}

/// Whether this kernel has it, and what of it; `Err` says why not.
pub(crate) fn describe() -> Result<String, String> {
    match sys::landlock_version() {
        0 => Err("this kernel has no Landlock, or it is switched off (lsm=)".to_owned()),
        version if version < WITH_REFER => Err("needs Linux 5.19".to_owned()),
        version if version < WITH_SIGNALS => Ok(format!("version {version}: files")),
        version => Ok(format!("version {version}: files, signals")),
    }
}

/// A rule set that is being made.
struct Wall {
    rules: OwnedFd,
    known: u64,
}

impl Wall {
    /// `None` where the kernel has no Landlock.
    fn begin() -> io::Result<Option<Wall>> {
        let version = sys::landlock_version();
        if version < WITH_REFER {
            return Ok(None);
        }
        let known = everything(version);
        let scoped = if version >= WITH_SIGNALS { SCOPE_SIGNAL } else { 0 };
        let rules = LandlockRules { files: known, ports: 0, scoped };
        Ok(Some(Wall { rules: sys::landlock_rules(&rules, version)?, known }))
    }

    /// Grants accesses below `path`; a path that does not exist needs no grant.
    fn grant(&self, path: &Path, accesses: u64) -> io::Result<()> {
        let opened = OpenOptions::new().read(true).custom_flags(libc::O_PATH).open(path);
        let opened = match opened {
            Ok(opened) => opened,
            // What this user cannot reach needs no grant either.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied
                ) =>
            {
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let possible = if opened.metadata()?.is_dir() { u64::MAX } else { ON_FILES };
        match accesses & self.known & possible {
            0 => Ok(()),
            accesses => sys::landlock_grant(self.rules.as_fd(), opened.as_fd(), accesses),
        }
    }

    fn enforce(self) -> io::Result<()> {
        sys::landlock_enforce(self.rules.as_fd())
    }
}

/// Puts the rules of an environment on the calling process, which is inside of it already. `mounted`
/// is where its file system is; one that is mounted read-only stays so.
pub(crate) fn enforce_on_environment(mounted: Option<&Path>) -> io::Result<()> {
    of_environment(mounted)?.map_or(Ok(()), Wall::enforce)
}

/// Puts those on a template that its copies can have, too: rules about files name the files of one
/// environment, and a copy, which can get more rules but never lose any, is in another.
pub(crate) fn enforce_on_template() -> io::Result<()> {
    let version = sys::landlock_version();
    if version < WITH_SIGNALS {
        return Ok(());
    }
    let rules = LandlockRules { files: 0, ports: 0, scoped: SCOPE_SIGNAL };
    sys::landlock_enforce(sys::landlock_rules(&rules, version)?.as_fd())
}

/// The rules of this environment for a copy, whose program was started in another one: below `/proc` it finds
/// its file as that one has it, which is not below its own root.
pub(crate) fn rules_of_copy(mounted: Option<&Path>, program: &Path) -> io::Result<Option<OwnedFd>> {
    let Some(wall) = of_environment(mounted)? else { return Ok(None) };
    wall.grant(program, READ)?;
    Ok(Some(wall.rules))
}

fn of_environment(mounted: Option<&Path>) -> io::Result<Option<Wall>> {
    let Some(wall) = Wall::begin()? else { return Ok(None) };
    wall.grant(Path::new("/"), READ)?;
    wall.grant(Path::new("/tmp"), u64::MAX)?;
    if let Some(mounted) = mounted {
        wall.grant(mounted, u64::MAX)?;
    }
    wall.grant(Path::new("/dev"), USE_FILE | IOCTL_DEV)?;
    // A process has a few files about itself there (coredump_filter, comm).
    wall.grant(Path::new("/proc"), USE_FILE)?;
    Ok(Some(wall))
}

/// What the server needs of the file system once it has started.
#[derive(Clone, Debug, Default)]
pub struct Reach {
    /// Folders and files that it reads, and whose programs it starts.
    pub read: Vec<PathBuf>,
    /// Folders in which it does what it likes.
    pub written: Vec<PathBuf>,
    /// Folders from which it removes a folder of its own at its end, or makes one.
    pub left: Vec<PathBuf>,
}

/// Puts the rules of a server on the calling process. `accounts` are the control groups of its
/// environments, whose figures it reads and whose limits it sets.
pub(crate) fn enforce_on_server(reach: &Reach, accounts: &[PathBuf]) -> io::Result<()> {
    let Some(wall) = Wall::begin()? else { return Ok(()) };
    for path in &reach.read {
        wall.grant(path, READ)?;
    }
    for path in &reach.written {
        wall.grant(path, !EXECUTE)?;
    }
    for path in &reach.left {
        wall.grant(path, REMOVE_DIR | MAKE_DIR | READ_DIR)?;
    }
    for path in accounts {
        wall.grant(path, USE_FILE | READ_DIR)?;
    }
    wall.grant(Path::new("/proc"), READ_FILE | READ_DIR)?;
    wall.grant(Path::new("/dev/null"), USE_FILE)?;
    wall.grant(Path::new("/dev/urandom"), READ_FILE)?;
    wall.enforce()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_version_adds_to_what_can_be_forbidden() {
        assert_eq!(everything(0), 0);
        assert_eq!(everything(1), (1 << 13) - 1);
        assert_eq!(everything(2), (1 << 14) - 1);
        assert_eq!(everything(3), (1 << 15) - 1);
        assert_eq!(everything(4), everything(3));
        assert_eq!(everything(5), (1 << 16) - 1);
        assert_eq!(everything(9), everything(5));
    }
}
