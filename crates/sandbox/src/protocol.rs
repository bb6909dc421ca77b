//! The closed set of messages between the daemon and the spawner, and between the spawner (later
//! the daemon) and the init process of one environment. What an environment is made of is in `spec`.

use std::path::PathBuf;

use crate::barrier::BarrierKind;

use serde::{Deserialize, Serialize};

pub use crate::spec::{Bind, EXTENSIONS_MAX, Extensions, LOG_PIPE_FD, Mounted, Spec};
pub(crate) use crate::spec::{LATE_TARGETS, READY_TMP_MB};
pub use crate::template::words::Role;
pub(crate) use crate::template::words::{Adopt, NewCopy, Origin, Source, Why};

/// From the daemon to the spawner.
#[derive(Serialize, Deserialize)]
pub(crate) enum Request {
    /// Make an environment. Descriptors: write end of the output pipe, runtime's stream socket,
    /// write ends of the log pipe and of the extensions' output pipe (if the spec wants them). They
    /// are not needed when it is made from a spare of this kind, which has its own.
    Launch { id: u64, spec: Box<Spec>, from: Source },
    /// Keep so many spares that are started with this; of a kind that is known, from now on. If
    /// `copied`, their program can stand as a template, and they are copies of one.
    Keep { kind: u64, spec: Box<Spec>, count: u32, copied: bool },
    /// Keep so many more environments ready than usual.
    Ready { more: u32 },
    /// End an environment at once, however busy it is.
    Kill { id: u64 },
    /// As that: it was a new copy ([`NewCopy`]) and did not come to life.
    Lifeless { id: u64 },
    /// A launch is not to wait any longer for others that are copied from the same template. Nothing, when
    /// its copy, or only its environment, is being made.
    Forgo { id: u64 },
}

/// Why an environment was not made.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Refusal {
    /// Something of the machine's or of the spec's.
    Reason(String),
    /// Its file system could not be mounted.
    FileSystem(String),
    /// There is no such template, or it could not be copied.
    Template(String),
    /// The template has what no copy can have.
    Unfit(String),
    /// It waited for its template, and is not to wait any longer ([`Request::Forgo`]).
    Busy,
}

impl From<Why> for Refusal {
    fn from(why: Why) -> Refusal {
        match why {
            Why::Unfit(why) => Refusal::Unfit(why),
            Why::Failed(why) => Refusal::Template(why),
        }
    }
}

impl From<String> for Refusal {
    fn from(reason: String) -> Refusal {
        Refusal::Reason(reason)
    }
}

/// From the spawner to the daemon.
#[derive(Serialize, Deserialize)]
pub(crate) enum Reply {
    /// Sent once: what this machine gives, the control groups below which environments are, and
    /// whether there can be spares and templates.
    Hello {
        barriers: Vec<Barrier>,
        mode: Mode,
        accounts: Vec<PathBuf>,
        spares: bool,
        templates: bool,
    },
    /// The spawner cannot work here, and why.
    Unable { reason: String },
    /// An environment exists. Descriptors: control channel of its init, listeners of port 9001 and
    /// of port 4566 inside. One that is made from a spare is about to be complete
    /// ([`InitReport::Attached`]) and brings our ends of its output pipe and of its runtime's stream.
    /// So many are left of what it was made from.
    Launched {
        id: u64,
        pid: i32,
        group: Group,
        is_spare: bool,
        left: AtHand,
        copied: Option<NewCopy>,
    },
    /// The number of spares of a kind has changed.
    Spares(AtHand),
    /// It could not be made.
    Failed { id: u64, reason: Refusal },
    /// Something that whoever runs this machine should know. May come at any time.
    Notice { text: String },
}

/// In place of a kind of spares: what is ready for any program.
pub(crate) const READY_KIND: u64 = 0;

/// How many spares of a kind wait for a function.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct AtHand {
    pub(crate) kind: u64,
    pub(crate) count: usize,
}

/// From the spawner to a new init process: user map and control groups are in place, go on.
/// Descriptors: the usual `/tmp` (if `tmp_disk`).
#[derive(Serialize, Deserialize)]
pub(crate) struct Go {
    /// Control groups that it enters by itself; their descriptors come first.
    pub(crate) doors: usize,
    /// Whether others are made inside its namespaces, which are not to share what it may have.
    pub(crate) is_template: bool,
    /// Whether its program comes from a template, so that nobody has to become it.
    pub(crate) is_for_copy: bool,
    /// Whether `/tmp` is a disk.
    pub(crate) tmp_disk: bool,
    /// Whether there is time to do for nothing what a launch does.
    pub(crate) rehearses: bool,
    /// What to do for the way out, if there is one.
    pub(crate) way: Option<crate::network::Arrival>,
}

/// From the spawner to a waiting init process: become this environment. Descriptors: those of
/// [`Request::Launch`], what tells of memory, `/tmp` (if `tmp_disk`: one of another size than the usual),
/// then one mount per bind, and that of the file system (if there is one).
#[derive(Serialize, Deserialize)]
pub(crate) struct Assignment {
    pub(crate) spec: Spec,
    pub(crate) tmp_disk: bool,
    pub(crate) limit_data: bool,
    /// How many descriptors tell that memory ran out (see `oom`).
    pub(crate) oom_descriptors: usize,
    /// What of the way out is to be closed.
    pub(crate) confinement: Option<crate::network::Confinement>,
    /// Whether it only starts its program and then waits for an [`Attachment`].
    pub(crate) spare: bool,
    /// Where its program comes from.
    pub(crate) origin: Origin,
}

/// From the spawner to the init process of a spare: this is the function. Descriptors: what tells of
/// memory, then one mount per target.
#[derive(Serialize, Deserialize)]
pub(crate) struct Attachment {
    /// Where the mounts go, in their order.
    pub(crate) targets: Vec<String>,
    /// As in [`Assignment`].
    pub(crate) oom_descriptors: usize,
    /// As in [`Assignment`].
    pub(crate) confinement: Option<crate::network::Confinement>,
}

/// From an init process to whoever holds its control channel.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum InitReport {
    /// Waiting for its assignment. Descriptors: listeners of port 9001 and of port 4566.
    Ready,
    /// Furnished for a copy. Descriptors: its namespaces, in the order of `template::NAMESPACES`, and
    /// the rules of its files, if there are any.
    Open,
    /// The copy is its program, and init has given up its rights (a spare's, most of them).
    Adopted,
    /// A spare has become its environment, and init has given up its rights.
    Attached,
    /// Something could not be set up.
    SetupFailed { step: String },
    /// The program could not be started (`errno` of exec).
    ExecFailed { errno: i32 },
    /// The runtime process ended (with extensions: every program has), and everything else inside has
    /// been killed.
    Exited { code: Option<i32>, signal: Option<i32> },
    /// Only with extensions: one program ended, or never was. 0 is the runtime, the others follow in
    /// the order of the spec.
    ProgramEnded { program: usize, end: ProgramEnd },
    /// A TCP socket that was made inside. Descriptors: the socket.
    Socket,
    /// None could be made.
    NoSocket { errno: i32 },
}

/// How one program of an environment ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ProgramEnd {
    /// By itself, or by a signal.
    Exited {
        /// Exit status, if it exited.
        code: Option<i32>,
        /// Number of the signal that ended it, if one did.
        signal: Option<i32>,
    },
    /// `execve` refused, with this `errno`.
    NotExecuted {
        /// For example 8 when it is no program and 13 when it is not executable.
        errno: i32,
    },
    /// Its descriptors, limits or bounds could not be set.
    NotPrepared {
        /// At which step.
        step: String,
    },
}

/// From whoever holds the control channel to an init process that has become its environment. The
/// channel's end ends the environment.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Command {
    /// The runtime may begin.
    Go,
    /// Send this signal to a program and what it has started in its session.
    Signal { program: usize, signal: i32 },
    /// Make a TCP socket and hand it out.
    Socket,
}

/// Where the kernel accounts for an environment; empty paths where a controller is missing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Group {
    /// Folder with the memory controller's files.
    pub(crate) memory: Option<PathBuf>,
    /// Folder with the CPU controller's files.
    pub(crate) cpu: Option<PathBuf>,
    /// Folder with the freezer's files.
    pub(crate) freezer: Option<PathBuf>,
    /// Whether these are cgroup v2 files.
    pub(crate) v2: bool,
}

/// How environments are kept apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mode {
    /// All namespaces, limits by control groups, made by a privileged spawner.
    Privileged,
    /// All namespaces inside a user namespace of the calling user; limits as far as given.
    Rootless,
    /// No isolation: functions run as ordinary processes. Only on explicit request.
    None,
}

/// One barrier between a function and everything else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Barrier {
    /// Which one.
    pub kind: BarrierKind,
    /// Whether it is in force on this machine.
    pub state: BarrierState,
}

/// Whether a barrier is in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum BarrierState {
    /// It is, in this form.
    InForce(String),
    /// It is not, for this reason.
    Missing(String),
}
