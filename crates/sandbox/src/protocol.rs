//! The closed set of messages between the daemon and the spawner, and between the spawner (later
//! the daemon) and the init process of one environment. The spawner trusts none of what it reads:
//! [`Spec::check`] is the gate.

use std::path::{Component, Path, PathBuf};

use crate::barrier::BarrierKind;
use crate::network::{EGRESS_MAX, Egress};

use serde::{Deserialize, Serialize};

/// Descriptor number of the second output pipe.
pub const LOG_PIPE_FD: i32 = 5;

/// What one environment is made of. Everything in it is checked again by the spawner.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Spec {
    /// A name for `ps` and for the control group: 1 to 64 characters of `[a-z0-9-]`.
    pub name: String,
    /// Memory of the whole environment, in MB (2^20 bytes); 64 to 65,536.
    pub memory_mb: u32,
    /// Size of its private `/tmp`, in MB; 1 to 65,536.
    pub tmp_mb: u32,
    /// Most processes and threads at a time.
    pub pids_max: u32,
    /// Most open file descriptors of one process.
    pub files_max: u32,
    /// Folders of the host that appear read-only inside.
    pub binds: Vec<Bind>,
    /// Program and arguments; the program is an absolute path inside.
    pub argv: Vec<String>,
    /// Environment variables, the complete set.
    pub env: Vec<(String, String)>,
    /// Working directory inside.
    pub cwd: String,
    /// One of the private networks of [`crate::SpawnerConfig::networks`]; `None` is the default one.
    pub network: Option<String>,
    /// What it may send to of what its network reaches; `None` is all of it. At most [`EGRESS_MAX`].
    pub egress: Option<Vec<Egress>>,
    /// One of the folders of [`crate::SpawnerConfig::file_systems`], and where it appears.
    pub file_system: Option<Mounted>,
    /// Whether the program inherits a second output pipe, as descriptor [`LOG_PIPE_FD`].
    pub log_pipe: bool,
    /// Programs that run beside the runtime. With any, the runtime waits for [`crate::Control::go`],
    /// and the environment outlives it.
    pub extensions: Option<Extensions>,
}

/// Programs that are started before the runtime.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Extensions {
    /// Absolute paths inside; 1 to [`EXTENSIONS_MAX`].
    pub programs: Vec<String>,
    /// Environment variables, the complete set, of each of them.
    pub env: Vec<(String, String)>,
    /// Their working directory inside.
    pub cwd: String,
}

/// Most extensions of one environment; AWS's limit.
pub const EXTENSIONS_MAX: usize = 10;

/// A folder of the host and where it appears inside, read-only.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Bind {
    /// An absolute path on the host, at or below one of the configured bind roots.
    pub source: PathBuf,
    /// An absolute path inside.
    pub target: String,
}

/// A folder of the operator's and where it appears inside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mounted {
    /// Of [`crate::FileSystem::name`].
    pub name: String,
    /// A folder of `/mnt`.
    pub target: String,
}

/// Places inside that are made by the sandbox and that no bind may cover.
const RESERVED_TARGETS: [&str; 7] = ["/proc", "/dev", "/sys", "/etc", "/tmp", "/usr", "/"];
const BINDS_MAX: usize = 16;

impl Spec {
    /// Refuses a spec that is not what a well-behaved daemon would send.
    pub fn check(&self, bind_roots: &[PathBuf]) -> Result<(), String> {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if self.name.is_empty() || self.name.len() > 64 || !self.name.chars().all(plain) {
            return Err(format!("name {:?} is not 1 to 64 of [a-z0-9-]", self.name));
        }
        within("memory_mb", self.memory_mb, 64, 65_536)?;
        within("tmp_mb", self.tmp_mb, 1, 65_536)?;
        within("pids_max", self.pids_max, 2, 65_536)?;
        within("files_max", self.files_max, 16, 1_048_576)?;
        if self.binds.len() > BINDS_MAX {
            return Err(format!("more than {BINDS_MAX} binds"));
        }
        for bind in &self.binds {
            check_bind(bind, bind_roots)?;
        }
        if self.egress.as_ref().is_some_and(|list| list.len() > EGRESS_MAX) {
            return Err(format!("more than {EGRESS_MAX} entries of egress"));
        }
        if let Some(mounted) = &self.file_system {
            check_mounted(mounted)?;
        }
        match self.argv.first() {
            Some(program) if program.starts_with('/') => {}
            _ => return Err("argv does not begin with an absolute path".to_owned()),
        }
        check_program(&self.argv, &self.env, &self.cwd)?;
        let Some(extensions) = &self.extensions else { return Ok(()) };
        let count = extensions.programs.len();
        if !(1..=EXTENSIONS_MAX).contains(&count) {
            return Err(format!("{count} extensions are not 1 to {EXTENSIONS_MAX}"));
        }
        if let Some(program) =
            extensions.programs.iter().find(|program| !is_plain_absolute(Path::new(program)))
        {
            return Err(format!("extension {program:?} is not a plain absolute path"));
        }
        check_program(&extensions.programs, &extensions.env, &extensions.cwd)
    }
}

fn check_program(argv: &[String], env: &[(String, String)], cwd: &str) -> Result<(), String> {
    if !is_plain_absolute(Path::new(cwd)) {
        return Err(format!("cwd {cwd:?} is not a plain absolute path"));
    }
    let mut texts = argv.iter().chain(env.iter().flat_map(|(name, value)| [name, value]));
    if texts.any(|text| text.contains('\0')) {
        return Err("an argument or a variable contains a NUL byte".to_owned());
    }
    if env.iter().any(|(name, _)| name.is_empty() || name.contains('=')) {
        return Err("a variable's name is empty or contains '='".to_owned());
    }
    Ok(())
}

fn within(name: &str, value: u32, least: u32, most: u32) -> Result<(), String> {
    if (least..=most).contains(&value) {
        Ok(())
    } else {
        Err(format!("{name} {value} is not between {least} and {most}"))
    }
}

fn check_bind(bind: &Bind, roots: &[PathBuf]) -> Result<(), String> {
    if !is_plain_absolute(&bind.source) || !roots.iter().any(|root| bind.source.starts_with(root)) {
        return Err(format!("{} is outside the folders that may be shown", bind.source.display()));
    }
    let target = Path::new(&bind.target);
    let reserved = |path: &&str| match *path {
        "/" => target == Path::new("/"),
        path => target.starts_with(path),
    };
    if !is_plain_absolute(target) || RESERVED_TARGETS.iter().any(reserved) {
        return Err(format!("{} cannot be covered by a bind", bind.target));
    }
    Ok(())
}

/// Nothing else is ever below `/mnt`.
fn check_mounted(mounted: &Mounted) -> Result<(), String> {
    let name = mounted.target.strip_prefix("/mnt/").unwrap_or_default();
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    let is_plain = is_plain_absolute(Path::new(&mounted.target)) && name.bytes().all(fits);
    if name.is_empty() || name.len() > 255 || !is_plain {
        return Err(format!("{:?} is no folder of /mnt", mounted.target));
    }
    Ok(())
}

/// Whether the path is absolute and free of `.` and `..`.
fn is_plain_absolute(path: &Path) -> bool {
    let mut components = path.components();
    components.next() == Some(Component::RootDir)
        && components.all(|part| matches!(part, Component::Normal(_)))
}

/// From the daemon to the spawner.
#[derive(Serialize, Deserialize)]
pub(crate) enum Request {
    /// Make an environment. Descriptors: write end of the output pipe, runtime's stream socket,
    /// write ends of the log pipe and of the extensions' output pipe (if the spec wants them).
    Launch { id: u64, spec: Box<Spec> },
    /// End an environment at once, however busy it is.
    Kill { id: u64 },
}

/// Why an environment was not made.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Refusal {
    /// Something of the machine's or of the spec's.
    Reason(String),
    /// Its file system could not be mounted.
    FileSystem(String),
}

impl From<String> for Refusal {
    fn from(reason: String) -> Refusal {
        Refusal::Reason(reason)
    }
}

/// From the spawner to the daemon.
#[derive(Serialize, Deserialize)]
pub(crate) enum Reply {
    /// Sent once: what this machine gives, and the control groups below which environments are.
    Hello { barriers: Vec<Barrier>, mode: Mode, accounts: Vec<PathBuf> },
    /// The spawner cannot work here, and why.
    Unable { reason: String },
    /// An environment exists. Descriptors: control channel of its init, listeners of port 9001 and
    /// of port 4566 inside.
    Launched { id: u64, pid: i32, group: Group },
    /// It could not be made.
    Failed { id: u64, reason: Refusal },
    /// Something that whoever runs this machine should know. May come at any time.
    Notice { text: String },
}

/// From the spawner to a new init process: user map and control groups are in place, go on.
#[derive(Serialize, Deserialize)]
pub(crate) struct Go {
    /// What to do for the way out, if there is one.
    pub(crate) way: Option<crate::network::Arrival>,
}

/// From the spawner to a waiting init process: become this environment. Descriptors: those of
/// [`Request::Launch`], what tells of memory, `/tmp` (if `tmp_disk`), then one mount per bind, and that of
/// the file system (if there is one).
#[derive(Serialize, Deserialize)]
pub(crate) struct Assignment {
    pub(crate) spec: Spec,
    pub(crate) tmp_disk: bool,
    pub(crate) limit_data: bool,
    /// How many descriptors tell that memory ran out (see `oom`).
    pub(crate) oom_descriptors: usize,
    /// What of the way out is to be closed.
    pub(crate) confinement: Option<crate::network::Confinement>,
}

/// From an init process to whoever holds its control channel.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum InitReport {
    /// Waiting for its assignment. Descriptors: listeners of port 9001 and of port 4566.
    Ready,
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

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> Spec {
        Spec {
            name: "hello-1".to_owned(),
            memory_mb: 128,
            tmp_mb: 512,
            pids_max: 1024,
            files_max: 1024,
            binds: vec![Bind { source: "/data/b/1".into(), target: "/var/task".to_owned() }],
            argv: vec!["/var/task/bootstrap".to_owned()],
            env: vec![("A".to_owned(), "b=c".to_owned())],
            cwd: "/var/task".to_owned(),
            network: None,
            egress: None,
            file_system: None,
            log_pipe: false,
            extensions: None,
        }
    }

    fn check(change: impl FnOnce(&mut Spec)) -> Result<(), String> {
        let mut spec = spec();
        change(&mut spec);
        spec.check(&["/data".into()])
    }

    #[test]
    fn a_well_formed_spec_passes() {
        assert_eq!(check(|_| ()), Ok(()));
    }

    #[test]
    fn what_a_broken_daemon_could_send_is_refused() {
        let refused: [fn(&mut Spec); 14] = [
            |s| s.name = "../x".to_owned(),
            |s| s.name = String::new(),
            |s| s.memory_mb = 1,
            |s| s.tmp_mb = 0,
            |s| s.pids_max = 0,
            |s| s.binds[0].source = "/etc".into(),
            |s| s.binds[0].source = "/data/../etc".into(),
            |s| s.binds[0].source = "/database".into(),
            |s| s.binds[0].target = "/etc/x".to_owned(),
            |s| s.binds[0].target = "/var/../proc".to_owned(),
            |s| s.binds[0].target = "/".to_owned(),
            |s| s.argv = vec![],
            |s| s.cwd = "relative".to_owned(),
            |s| s.env.push(("A=B".to_owned(), String::new())),
        ];
        for (index, change) in refused.into_iter().enumerate() {
            assert!(check(change).is_err(), "case {index} was accepted");
        }
        assert!(check(|s| s.argv.push("a\0b".to_owned())).is_err());
        assert!(check(|s| s.binds = vec![s.binds[0].clone(); 17]).is_err());
    }

    #[test]
    fn extensions_are_checked_like_the_runtime() {
        let with = |programs: Vec<&str>, change: fn(&mut Extensions)| {
            let programs = programs.into_iter().map(str::to_owned).collect();
            let mut extensions = Extensions { programs, env: vec![], cwd: "/".to_owned() };
            change(&mut extensions);
            check(|s| s.extensions = Some(extensions))
        };
        assert_eq!(with(vec!["/opt/extensions/a"], |_| ()), Ok(()));
        assert!(with(vec![], |_| ()).is_err());
        assert!(with(vec!["/opt/extensions/a"; 11], |_| ()).is_err());
        assert!(with(vec!["a"], |_| ()).is_err());
        assert!(with(vec!["/opt/../a"], |_| ()).is_err());
        assert!(with(vec!["/a"], |e| e.cwd = "x".to_owned()).is_err());
        assert!(with(vec!["/a"], |e| e.env.push((String::new(), String::new()))).is_err());
    }
}
