//! Starting the spawner, with folders of its own.
//!
//! The spawner must be forked before any thread exists, which is before the data directory can be
//! locked. So that two servers that were given the same directory do not step on each other until
//! the lock has told them apart, each has folders named after its process id; what dead processes
//! left is swept once the lock is held.

use std::fs::{DirBuilder, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use lambic_sandbox::{FileReach, Mode, SandboxHost, SpawnerConfig, StartError, Starting};

use crate::config::{Config, Isolation, is_root};
use crate::failure::{Failure, Kind};
use crate::machine_runtimes;

/// Processes that wait ready-made for their environment.
const READY_COUNT: usize = 4;
/// The folder inside the data directory.
const FOLDER: &str = "sandbox";
/// Folders that everybody may pass, in the order in which they are tried.
const RUN_PARENTS: [&str; 2] = ["/run", "/tmp"];
const RUN_PREFIX: &str = "lambic-run-";

/// What programs need that are asked for their version.
const PROGRAM_PATHS: [&str; 12] = [
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/etc/ld.so.cache",
    "/etc/ld.so.preload",
    "/etc/alternatives",
    "/etc/ssl",
    "/etc/localtime",
];

/// The folders of one spawner, removed when this is dropped.
pub(crate) struct Scratch {
    /// Where environments are put together. It must be reached by other users, because inside their
    /// user namespace that is what environments are; the data directory may be in a private folder.
    run_dir: PathBuf,
    /// Where the disks of `/tmp` are: in the data directory, because they can be large.
    images_dir: PathBuf,
    /// A folder around it that goes, too.
    temporary: Option<PathBuf>,
}

impl Scratch {
    fn make(data_dir: &Path) -> Result<Scratch, Failure> {
        let images_dir = own_folder(data_dir);
        let made = std::fs::create_dir_all(&images_dir);
        made.map_err(|error| unusable(data_dir, &error))?;
        // An ordinary user's environments are that user; only root's are others.
        let parents = if is_root() { &RUN_PARENTS[..] } else { &[] };
        let public = parents.iter().find_map(|parent| make_public(Path::new(parent)));
        let run_dir = public.unwrap_or_else(|| images_dir.join("run"));
        let made = std::fs::create_dir_all(&run_dir);
        made.map_err(|error| unusable(data_dir, &error))?;
        Ok(Scratch { run_dir, images_dir, temporary: None })
    }
}

impl Scratch {
    /// What of the file system a server needs once it has started.
    pub(crate) fn reach(&self, config: &Config) -> FileReach {
        let mut read = machine_runtimes::searched(config);
        read.extend(PROGRAM_PATHS.map(PathBuf::from));
        // The folders, because a file that comes or goes is a key that does.
        read.extend(config.keys.values().filter_map(|file| file.parent()).map(Path::to_owned));
        let written = vec![config.data_dir.clone(), self.run_dir.clone(), self.images_dir.clone()];
        let parents = [self.run_dir.parent(), config.data_dir.parent()];
        let left = parents.into_iter().flatten().map(Path::to_owned).collect();
        FileReach { read, written, left }
    }
}

impl Drop for Scratch {
    /// The spawner's mounts are in a namespace of its own; what is left here are plain folders.
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.run_dir));
        drop(std::fs::remove_dir_all(&self.images_dir));
        if let Some(parent) = self.images_dir.parent() {
            // Stays as long as another process has a folder in it.
            drop(std::fs::remove_dir(parent));
        }
        if let Some(temporary) = &self.temporary {
            drop(std::fs::remove_dir_all(temporary));
        }
    }
}

/// A folder of this process below `parent`, which nobody can have prepared for us.
fn make_public(parent: &Path) -> Option<PathBuf> {
    let folder = parent.join(format!("{RUN_PREFIX}{}", std::process::id()));
    // Left by a process of the same id that died.
    drop(std::fs::remove_dir_all(&folder));
    DirBuilder::new().mode(0o711).create(&folder).ok()?;
    // Whatever the umask of whoever started us is: other users pass through it.
    std::fs::set_permissions(&folder, Permissions::from_mode(0o711)).ok().map(|()| folder)
}

/// Starts the spawner of a server, which proves meanwhile that functions can be isolated ([`proven`]).
pub(crate) fn begin(config: &Config) -> Result<(Starting, Scratch), Failure> {
    begin_in(config, &config.data_dir, READY_COUNT)
}

pub(crate) fn proven(starting: Starting) -> Result<SandboxHost, Failure> {
    starting.proven().map_err(|error| failure(&error))
}

/// Makes the data directory where there is none, and gives its path without links: the spawner
/// compares paths, so all of them must come from the same root.
pub(crate) fn prepare_data_dir(data_dir: &Path) -> Result<PathBuf, Failure> {
    let made = DirBuilder::new().recursive(true).mode(0o711).create(data_dir);
    made.and_then(|()| data_dir.canonicalize()).map_err(|error| unusable(data_dir, &error))
}

/// Starts a spawner only to ask it what it can do.
pub(crate) fn start_scratch(config: &Config) -> Result<(SandboxHost, Scratch), Failure> {
    // A name of its own: another user's may be there.
    let folder = std::env::temp_dir().join(format!("lambic-doctor-{}", std::process::id()));
    let made = DirBuilder::new().mode(0o700).create(&folder);
    made.map_err(|error| unusable(&folder, &error))?;
    let begun = begin_in(config, &folder, 0);
    let started = begun.and_then(|(starting, mut scratch)| {
        scratch.temporary = Some(folder.clone());
        proven(starting).map(|host| (host, scratch))
    });
    if started.is_err() {
        drop(std::fs::remove_dir_all(&folder));
    }
    started
}

fn own_folder(data_dir: &Path) -> PathBuf {
    data_dir.join(FOLDER).join(std::process::id().to_string())
}

fn begin_in(
    config: &Config,
    data_dir: &Path,
    ready_count: usize,
) -> Result<(Starting, Scratch), Failure> {
    let scratch = Scratch::make(data_dir)?;
    let mut bind_roots = machine_runtimes::bind_roots(config);
    bind_roots.push(config.data_dir.clone());
    let mode = match config.isolation {
        Isolation::Namespaces => Mode::detect(),
        Isolation::None => Mode::None,
    };
    let outbound = config.outbound;
    let networks = config.networks.iter().map(|network| network.private.clone()).collect();
    let spawner = SpawnerConfig {
        mode,
        run_dir: scratch.run_dir.clone(),
        images_dir: scratch.images_dir.clone(),
        bind_roots,
        outbound,
        networks,
        limits_egress: !config.security_groups.is_empty(),
        file_systems: config.file_systems.clone(),
        io_uring: config.io_uring,
        ready_count,
    };
    let starting = lambic_sandbox::begin(&spawner).map_err(|error| failure(&error))?;
    Ok((starting, scratch))
}

fn failure(error: &StartError) -> Failure {
    let message = match error {
        StartError::Unable(_) => {
            format!("{error}; `lambic doctor` says what is missing, --isolation none runs without")
        }
        error => error.to_string(),
    };
    Failure::new(Kind::Isolation, message)
}

fn unusable(data_dir: &Path, error: &io::Error) -> Failure {
    let why = match error.kind() {
        ErrorKind::AlreadyExists | ErrorKind::NotADirectory => "is not a directory".to_owned(),
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
            format!("is not writable: {error}")
        }
        _ => format!("cannot be used: {error}"),
    };
    let message = format!("the data directory {} {why}", data_dir.display());
    Failure::new(Kind::DataDirectory, message)
}

/// Removes the folders of processes that are gone. Only for the holder of the directory's lock.
pub(crate) fn sweep(data_dir: &Path) {
    sweep_folder(&data_dir.join(FOLDER), "");
    for parent in RUN_PARENTS {
        sweep_folder(Path::new(parent), RUN_PREFIX);
    }
}

fn sweep_folder(parent: &Path, prefix: &str) {
    let Ok(entries) = std::fs::read_dir(parent) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let pid = name.strip_prefix(prefix).and_then(|pid| pid.parse::<u32>().ok());
        // A process that lives may be about to find the lock taken; it cleans up after itself.
        if pid.is_some_and(|pid| !is_running(pid)) {
            drop(std::fs::remove_dir_all(entry.path()));
        }
    }
}

/// Whether the process lives. One that has ended keeps its number until its parent asks for its exit
/// status, and in many containers nobody ever does.
fn is_running(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name before it may contain anything.
    let state = stat.rsplit(')').next().and_then(|rest| rest.trim_start().chars().next());
    state.is_some_and(|state| state != 'Z' && state != 'X')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_of_the_dead_are_swept() {
        let data = tempfile::tempdir().unwrap();
        let scratch = Scratch::make(data.path()).unwrap();
        // No process has this id: it is above the kernel's limit.
        let dead = data.path().join(FOLDER).join("99999999");
        std::fs::create_dir_all(dead.join("run")).unwrap();
        sweep(data.path());
        assert!(scratch.run_dir.exists() && scratch.images_dir.exists() && !dead.exists());
        let folders = [scratch.run_dir.clone(), scratch.images_dir.clone()];
        drop(scratch);
        assert!(folders.iter().all(|folder| !folder.exists()));
    }

    #[test]
    fn a_process_that_nobody_has_waited_for_is_dead() {
        assert!(is_running(std::process::id()));
        let mut child = std::process::Command::new("true").spawn().unwrap();
        // It ends by itself; then it is a zombie, because nobody asks for its status.
        while is_running(child.id()) {
            std::thread::yield_now();
        }
        assert!(Path::new(&format!("/proc/{}", child.id())).exists());
        assert!(child.wait().unwrap().success());
        assert!(!is_running(child.id()));
    }
}
