//! Why the program ends, and with which exit code.
//!
//! Each kind has a number of its own, so that a unit file or a script can tell a port in use from a
//! broken data directory. The message is one sentence that says what to do.

use std::fmt;
use std::process::ExitCode;

/// The kind of a failure; its number is the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Anything without a number of its own.
    Other = 1,
    /// A flag, a variable or the configuration file is wrong.
    Configuration = 2,
    /// The address cannot be listened on.
    Address = 3,
    /// The data directory cannot be used.
    DataDirectory = 4,
    /// Another process uses the data directory.
    Locked = 5,
    /// The kernel or the machine lacks what isolation needs.
    Isolation = 6,
    /// The address is open to others and there is nobody who may sign.
    Exposed = 7,
    /// The demo got a wrong answer, or the doctor found that functions cannot run.
    Verdict = 8,
    /// A second signal ended the program before it had drained.
    Forced = 9,
}

/// One sentence and an exit code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) kind: Kind,
    pub(crate) message: String,
}

impl Failure {
    pub(crate) fn new(kind: Kind, message: impl Into<String>) -> Failure {
        Failure { kind, message: message.into() }
    }

    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.kind as u8)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}
