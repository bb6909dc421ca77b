//! The world outside of the environments: folders with a secret, a package with traps, a process
//! that serves, a neighbour that is another environment.

use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

/// Where the host keeps what environments must not see; not below their own `/tmp`.
const PARENT: &str = "/var/tmp";

pub(crate) struct World {
    folder: tempfile::TempDir,
    served: Child,
    facts: Value,
}

impl World {
    /// Builds it in a network namespace of its own, which the calling process moves into.
    pub(crate) fn build() -> World {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).expect("needs root");
        let folder = tempfile::Builder::new().prefix("lambic-attacks-").tempdir_in(PARENT).unwrap();
        let open = |path: &Path, mode: u32| {
            fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
        };
        open(folder.path(), 0o777);
        fs::write(folder.path().join("secret"), "secret").unwrap();
        for name in ["code", "images", "data"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        let code = folder.path().join("code");
        open(&code, 0o777);
        for name in ["writable", "removable"] {
            fs::write(code.join(name), "").unwrap();
            open(&code.join(name), 0o666);
        }
        fs::copy("/usr/bin/id", code.join("become-root")).unwrap();
        open(&code.join("become-root"), 0o4755);
        let made = Command::new("mknod").arg(code.join("device")).args(["c", "1", "8"]).status();
        assert!(made.unwrap().success(), "mknod");
        open(&code.join("device"), 0o666);
        let mut served = Command::new("/usr/bin/python3")
            .args(["-c", include_str!("world.py")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("/usr/bin/python3 is needed");
        let mut line = String::new();
        BufReader::new(served.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let mut facts: Value =
            serde_json::from_str(&line).expect("the world's process tells facts");
        facts["folder"] = folder.path().to_str().into();
        facts["secret"] = folder.path().join("secret").to_str().into();
        World { folder, served, facts }
    }

    /// The process that serves.
    pub(crate) fn served(&self) -> i32 {
        self.served.id() as i32
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// What attempts have to know of it, and what is added here.
    pub(crate) fn facts(&self, more: &[(&str, Value)]) -> String {
        let mut facts = self.facts.clone();
        for (name, value) in more {
            facts[*name] = value.clone();
        }
        facts.to_string()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // Its end is the end of its standard input, or this signal: a process that was to forget
        // the pipe may have it still, and one that has taken over the server may not signal.
        drop(self.served.stdin.take());
        let pid = nix::unistd::Pid::from_raw(self.served());
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
        let _ = self.served.wait();
    }
}
