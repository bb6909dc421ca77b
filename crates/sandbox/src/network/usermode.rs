//! The way out without root: for each environment a program of the calling user, `pasta` or
//! `slirp4netns`, that carries its connections. It makes the interface inside and does with ordinary
//! sockets outside what comes through it.
//!
//! Life of a carrier: started beside a new init process, whose namespaces it joins; ready when the
//! default route inside is there; ended with its environment or with the spawner, whichever is
//! first. It runs in a process id namespace of its own whose first process only watches: when that
//! one ends, so does the program, which could not rely on a signal that it may itself turn off.
//!
//! Both programs are told to forward nothing inwards and not to lead to the host's loopback. What
//! they do not refuse (metadata, the host's other addresses) is closed inside; see `routes`.

use std::cell::Cell;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::ifaddrs::getifaddrs;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::SigSet;

use super::{AddressRange, INTERFACE, METADATA_ADDRESSES, SPECIAL_ADDRESSES};
use crate::channel::Channel;
use crate::sys::{self, Cloned};

const TUN: &str = "/dev/net/tun";
/// Where programs are when `PATH` does not say.
const USUAL_FOLDERS: &str = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin";
/// Descriptors of one carrier, so connections of one environment: with root it has 1,024.
const DESCRIPTORS_MAX: u64 = 1_024;
/// What is kept of a carrier's last words.
const WORDS_MAX: usize = 2_048;
/// Which program carries, and where it is.
pub(super) struct Usermode {
    program: Program,
    path: PathBuf,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Program {
    Pasta,
    Slirp4netns,
}

impl Usermode {
    /// Looks for what is needed; the error says what is missing.
    pub(super) fn find() -> Result<Usermode, String> {
        let folders = std::env::var("PATH").unwrap_or_else(|_| USUAL_FOLDERS.to_owned());
        let found = [(Program::Pasta, "pasta"), (Program::Slirp4netns, "slirp4netns")]
            .into_iter()
            .find_map(|(program, name)| Some((program, find(name, &folders)?)));
        let Some((program, path)) = found else {
            let needed = "pasta (package passt) or slirp4netns (package slirp4netns)";
            return Err(format!("needs root, or {needed}"));
        };
        let tun = std::fs::OpenOptions::new().read(true).write(true).open(TUN);
        tun.map_err(|error| format!("{} needs {TUN}: {error}", path.display()))?;
        Ok(Usermode { program, path })
    }

    pub(super) fn name(&self) -> &'static str {
        match self.program {
            Program::Pasta => "pasta",
            Program::Slirp4netns => "slirp4netns",
        }
    }

    /// Starts a carrier for the network namespace of process `pid`.
    pub(super) fn start(&self, pid: i32) -> Result<Carrier, String> {
        let (status, theirs) = Channel::pair().map_err(|error| format!("socket pair: {error}"))?;
        match sys::clone_process(libc::CLONE_NEWPID as u64) {
            Ok(Cloned::Child) => {
                if let Ok(status) = theirs.keep_only() {
                    self.attend(&status, pid);
                }
                sys::exit_now(1)
            }
            Ok(Cloned::Parent { pid, pidfd }) => {
                Ok(Carrier { pid, pidfd, status, name: self.name(), ended: Cell::new(false) })
            }
            Err(error) => Err(format!("{}: {error}", self.name())),
        }
    }

    /// In the first process of the carrier's process ids: runs it, and tells its last words.
    fn attend(&self, status: &Channel, pid: i32) {
        sys::set_process_name(c"lambic-carrier");
        crate::init::forget_command_line("lambic-carrier");
        let started = sys::die_with_parent().and_then(|()| {
            setrlimit(Resource::RLIMIT_NOFILE, DESCRIPTORS_MAX, DESCRIPTORS_MAX)?;
            // The spawner blocks signals that the program lives by.
            SigSet::empty().thread_set_mask()?;
            self.command(pid).spawn()
        });
        let words = match started {
            Ok(child) => listen(child, status),
            Err(error) => Some(error.to_string()),
        };
        if let Some(words) = words {
            let _ = status.send(&words, &[]);
        }
    }

    fn command(&self, pid: i32) -> Command {
        let (user, network) = (format!("/proc/{pid}/ns/user"), format!("/proc/{pid}/ns/net"));
        let mut command = Command::new(&self.path);
        match self.program {
            Program::Pasta => command
                .args(["--foreground", "--quiet", "--config-net", "--ipv4-only", "--no-map-gw"])
                .args(["--no-dhcp", "--no-ra", "-t", "none", "-u", "none", "-T", "none"])
                .args(["-U", "none", "-a", "198.18.0.2", "-n", "30", "-g", "198.18.0.1"])
                .args(["-I", INTERFACE, "--userns", &user, "--netns", &network]),
            Program::Slirp4netns => command
                .args(["--configure", "--mtu=65520", "--cidr=198.18.0.0/25"])
                .args(["--disable-host-loopback", "--disable-dns", "--enable-seccomp"])
                .args(["--userns-path", &user, "--netns-type=path", &network, INTERFACE]),
        };
        command
            .env_clear()
            .env("PATH", USUAL_FOLDERS)
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        command
    }
}

fn find(name: &str, folders: &str) -> Option<PathBuf> {
    let paths = folders.split(':').filter(|folder| folder.starts_with('/'));
    paths.map(|folder| Path::new(folder).join(name)).find(|path| path.is_file())
}

/// Reads what the program prints until it ends or the spawner does (`None`).
fn listen(mut child: Child, status: &Channel) -> Option<String> {
    let mut printed = child.stderr.take()?;
    let (mut words, mut buffer) = (Vec::new(), [0; 512]);
    loop {
        let mut polled = [
            PollFd::new(status.as_fd(), PollFlags::POLLIN),
            PollFd::new(printed.as_fd(), PollFlags::POLLIN),
        ];
        match poll(&mut polled, PollTimeout::NONE) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(_) => return None,
        }
        let [over, spoke] = polled.map(|p| p.revents().is_some_and(|events| !events.is_empty()));
        if over {
            return None;
        }
        if spoke {
            match printed.read(&mut buffer).ok()? {
                0 => break,
                // The last ones tell why it ended.
                length => {
                    words.extend_from_slice(&buffer[..length]);
                    let excess = words.len().saturating_sub(WORDS_MAX);
                    words.drain(..excess);
                }
            }
        }
    }
    let ended = child.wait().map(|status| status.to_string()).unwrap_or_default();
    Some(last_words(&String::from_utf8_lossy(&words)).map_or(ended, str::to_owned))
}

/// The last line that is not about its own logging.
fn last_words(text: &str) -> Option<&str> {
    let matters = |line: &&str| !line.trim().is_empty() && !line.starts_with("Failed to send");
    text.lines().rev().find(matters)
}

/// What no environment may reach: what is special, metadata, and the addresses that the host has now.
pub(super) fn closed() -> Result<Vec<AddressRange>, String> {
    let own = getifaddrs().map_err(|error| format!("the host's addresses: {error}"))?;
    let own = own.filter_map(|interface| Some(interface.address?.as_sockaddr_in()?.ip()));
    let own = own.map(AddressRange::single);
    let mut closed: Vec<AddressRange> = SPECIAL_ADDRESSES.into_iter().collect();
    for range in METADATA_ADDRESSES.into_iter().chain(own) {
        if !closed.iter().any(|other| other.contains(range)) {
            closed.push(range);
        }
    }
    Ok(closed)
}

/// A running carrier; ends when this is dropped.
pub(crate) struct Carrier {
    pid: i32,
    pidfd: OwnedFd,
    status: Channel,
    name: &'static str,
    /// Whether we have ended it.
    ended: Cell<bool>,
}

impl Carrier {
    /// Ends it, if it has not ended.
    pub(super) fn end(&self) {
        self.ended.set(true);
        let _ = sys::signal_pidfd(self.pidfd.as_fd(), libc::SIGKILL);
    }

    /// See [`super::Way::was_lost_with`].
    pub(super) fn was(&self, pid: i32) -> bool {
        self.pid == pid && !self.ended.get()
    }

    /// See [`super::Way::wait_for`].
    pub(super) fn wait_for(&self, control: &Channel, limit_ms: u16) -> Result<(), String> {
        let mut polled = [
            PollFd::new(control.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.status.as_fd(), PollFlags::POLLIN),
        ];
        let number = poll(&mut polled, PollTimeout::from(limit_ms))
            .map_err(|error| format!("waiting for {}: {error}", self.name))?;
        let [spoken, ended] = polled.map(|p| p.revents().is_some_and(|events| !events.is_empty()));
        if spoken || (number == 0 && !ended) {
            return Ok(());
        }
        let words = self.status.receive().ok().flatten().and_then(|packet| packet.parse().ok());
        let words: String = words.unwrap_or_else(|| "it ended".to_owned());
        Err(format!("{}: {words}", self.name))
    }
}

impl Drop for Carrier {
    fn drop(&mut self) {
        self.end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_the_host_and_its_loopback_are_closed() {
        let closed = closed().unwrap();
        let covered = |text: &str| closed.iter().any(|c| c.contains(text.parse().unwrap()));
        assert!(covered("169.254.169.254") && covered("127.0.0.1") && covered("100.100.100.200"));
        assert!(!covered("192.0.2.99") && !covered("198.51.100.2"));
        for (at, range) in closed.iter().enumerate() {
            assert!(!closed[..at].contains(range), "{range} is there twice");
        }
    }

    #[test]
    fn the_reason_for_an_end_is_found_among_noise() {
        let text =
            "starting\nFailed to send 5 bytes to syslog\nno route\nFailed to send 9 bytes\n\n";
        assert_eq!(last_words(text), Some("no route"));
        assert_eq!(last_words(""), None);
    }
}
