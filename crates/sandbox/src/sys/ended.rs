//! The ends of children. nix tells of those by a real-time signal as an error, when the kernel has
//! forgotten them already.

#![allow(unsafe_code, reason = "part of `sys`")]

use std::io;

use super::check;

/// A child that has been collected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ended {
    pub(crate) pid: i32,
    /// What it has ended with, if it has done so itself.
    pub(crate) code: Option<i32>,
    /// What has ended it, if something has.
    pub(crate) signal: Option<i32>,
}

/// Collects the next child that has ended, and `waits` for one if none has. Without children, and
/// without one that has ended, there is none.
pub(crate) fn next_ended(waits: bool) -> Option<Ended> {
    let flags = if waits { 0 } else { libc::WNOHANG };
    loop {
        let mut status = 0;
        // SAFETY: the kernel writes one number, which lives until it has.
        let pid = match check(unsafe { libc::waitpid(-1, &raw mut status, flags) }.into()) {
            Ok(0) => return None,
            Ok(pid) => pid as i32,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => return None,
        };
        let code = libc::WIFEXITED(status).then(|| libc::WEXITSTATUS(status));
        let signal = libc::WIFSIGNALED(status).then(|| libc::WTERMSIG(status));
        // What is held or goes on has not ended.
        if code.is_some() || signal.is_some() {
            return Some(Ended { pid, code, signal });
        }
    }
}
