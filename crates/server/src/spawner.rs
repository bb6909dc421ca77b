//! Starting the spawner, with folders of its own.
//!
//! The spawner must be forked before any thread exists, which is before the data directory can be
//! locked. So that two servers that were given the same directory do not step on each other until
//! the lock has told them apart, each has a folder named after its process id; what dead processes
//! left is swept once the lock is held.

use std::fs::DirBuilder;
use std::io::{self, ErrorKind};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use lambic_sandbox::{Mode, SandboxHost, SpawnerConfig, StartError};

use crate::config::{Config, Isolation};
use crate::failure::{Failure, Kind};
use crate::machine_runtimes;

/// Processes that wait ready-made for their environment.
const READY_COUNT: usize = 4;
/// The folder inside the data directory.
const FOLDER: &str = "sandbox";

/// Starts the spawner of a server, which keeps its scratch files in the data directory.
pub(crate) fn start(config: &Config) -> Result<SandboxHost, Failure> {
    start_in(config, &own_folder(&config.data_dir), READY_COUNT)
}

/// Makes the data directory where there is none, and gives its path without links: the spawner
/// compares paths, so all of them must come from the same root.
pub(crate) fn prepare_data_dir(data_dir: &Path) -> Result<PathBuf, Failure> {
    let made = DirBuilder::new().recursive(true).mode(0o711).create(data_dir);
    made.and_then(|()| data_dir.canonicalize()).map_err(|error| unusable(data_dir, &error))
}

/// Starts a spawner only to ask it what it can do.
pub(crate) fn start_scratch(config: &Config) -> Result<SandboxHost, Failure> {
    let folder = std::env::temp_dir().join(format!("lambic-doctor-{}", std::process::id()));
    let host = start_in(config, &folder, 0);
    // The spawner's mounts are in a namespace of its own; what is left here are empty folders.
    drop(std::fs::remove_dir_all(&folder));
    host
}

fn own_folder(data_dir: &Path) -> PathBuf {
    data_dir.join(FOLDER).join(std::process::id().to_string())
}

fn start_in(config: &Config, folder: &Path, ready_count: usize) -> Result<SandboxHost, Failure> {
    let (run_dir, images_dir) = (folder.join("run"), folder.join("images"));
    for folder in [&run_dir, &images_dir] {
        std::fs::create_dir_all(folder).map_err(|error| unusable(&config.data_dir, &error))?;
    }
    let mut bind_roots = machine_runtimes::bind_roots(config);
    bind_roots.push(config.data_dir.clone());
    let mode = match config.isolation {
        Isolation::Namespaces => Mode::detect(),
        Isolation::None => Mode::None,
    };
    let outbound = config.outbound;
    let spawner = SpawnerConfig { mode, run_dir, images_dir, bind_roots, outbound, ready_count };
    lambic_sandbox::start(&spawner).map_err(|error| match error {
        StartError::Unable(_) => Failure::new(
            Kind::Isolation,
            format!("{error}; `lambic doctor` says what is missing, --isolation none runs without"),
        ),
        error => Failure::new(Kind::Isolation, error.to_string()),
    })
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
    let own = own_folder(data_dir);
    let Ok(entries) = std::fs::read_dir(data_dir.join(FOLDER)) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        let pid = entry.file_name().to_string_lossy().into_owned();
        // A process that lives may be about to find the lock taken; it cleans up after itself.
        if path != own && !Path::new("/proc").join(pid).exists() {
            drop(std::fs::remove_dir_all(&path));
        }
    }
}

/// Removes this process's own folder, at the end.
pub(crate) fn remove_own(data_dir: &Path) {
    drop(std::fs::remove_dir_all(own_folder(data_dir)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_of_the_dead_are_swept() {
        let data = tempfile::tempdir().unwrap();
        let own = own_folder(data.path());
        // No process has this id: it is above the kernel's limit.
        let dead = data.path().join(FOLDER).join("99999999");
        for folder in [&own, &dead] {
            std::fs::create_dir_all(folder.join("run")).unwrap();
        }
        sweep(data.path());
        assert!(own.exists() && !dead.exists());
        remove_own(data.path());
        assert!(!own.exists());
    }
}
