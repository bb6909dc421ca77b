//! The seam between the invoke path and whatever makes execution environments: the sandbox in the
//! product, a fake in tests.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use lambic_sandbox::Egress;
use thiserror::Error;

use super::fault::Exit;
use crate::runtime_api::connection::BoxIo;
use crate::state::file_system::FileSystemUse;
use crate::state::version::Version;

/// What one environment is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// For `ps` and control groups: at most 64 characters of `[a-z0-9-]`.
    pub name: String,
    /// Memory of the whole environment, in MB.
    pub memory_mb: u32,
    /// Size of `/tmp`, in MB.
    pub tmp_mb: u32,
    /// Host folder and where it appears inside, read-only.
    pub binds: Vec<(PathBuf, String)>,
    /// Program (an absolute path inside) and arguments.
    pub argv: Vec<String>,
    /// The complete set of environment variables.
    pub env: Vec<(String, String)>,
    /// Working directory inside.
    pub cwd: String,
    /// The private network that it is in; `None` is the default one.
    pub network: Option<String>,
    /// What it may send to of what its network reaches; `None` is all of it.
    pub egress: Option<Vec<Egress>>,
    /// A folder of the operator's that is mounted inside.
    pub file_system: Option<FileSystemUse>,
    /// Whether the runtime gets a descriptor of its own for framed log records.
    pub log_frames: bool,
    /// What runs beside the runtime.
    pub extensions: Option<Extensions>,
    /// The kind of spare that it may be made from.
    pub spare: Option<u64>,
    /// The kind that is second to it.
    pub second_spare: Option<u64>,
    /// What it has to do with a template, if anything.
    pub template: Option<TemplateRole>,
}

/// What an environment has to do with a template: one that has finished its initialization and from
/// which others are copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TemplateRole {
    /// It is started as any other and then stands as the template of this number, until it ends.
    Becomes(u64),
    /// It is a copy of that template. If that cannot be made, [`LaunchFault::Template`] says why.
    From(u64),
}

/// What a spare is started with, before it is known whose environment it becomes. Spares that are
/// equal in this are of one kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prepared {
    /// Host folder and where it appears inside, read-only; the first ones of every plan of its kind.
    pub binds: Vec<(PathBuf, String)>,
    /// Program and arguments, those of every plan of its kind.
    pub argv: Vec<String>,
    /// Environment variables until it learns its own.
    pub env: Vec<(String, String)>,
    /// Where it begins, inside.
    pub cwd: String,
    /// What tells the program's file from one that is put in its place.
    pub edition: Edition,
    /// Folders of modules of which it has loaded some, as they were.
    pub modules: Vec<(PathBuf, Edition)>,
    /// Whether the program can stand as a template (see [`TemplateRole`]) when its environment has
    /// `_LAMBIC_TEMPLATE`.
    pub forks: bool,
    /// Whose interpreter it is, such as `python`.
    pub runtime: &'static str,
}

/// In place of a kind of spares: what waits ready-made for any program.
pub const READY: u64 = 0;

/// Device, inode and time of the last change of a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Edition(pub u64, pub u64, pub i64);

/// Programs beside the runtime, started before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extensions {
    /// Absolute paths inside.
    pub programs: Vec<String>,
    /// The complete set of environment variables of each.
    pub env: Vec<(String, String)>,
}

impl Extensions {
    /// By what each goes in the Extensions API: its file's name.
    pub fn names(&self) -> Vec<String> {
        let name = |path: &String| path.rsplit('/').next().unwrap_or_default().to_owned();
        self.programs.iter().map(name).collect()
    }
}

/// Why an environment could not be made.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum LaunchFault {
    /// The sandbox says at which step.
    #[error("the sandbox failed: {0}")]
    Sandbox(String),
    /// The function's file system is not to be had.
    #[error("the file system failed: {0}")]
    FileSystem(String),
    /// The template cannot be copied, or there is none of that number any more.
    #[error("the template could not be copied: {0}")]
    Template(String),
}

/// Is told of a kind how many wait.
pub type Tell = Box<dyn Fn(u64, usize) + Send + Sync>;

/// Makes environments.
pub trait Launcher: Send + Sync + 'static {
    /// Makes one and starts its runtime.
    fn launch(&self, plan: Plan) -> BoxFuture<'_, Result<Environment, LaunchFault>>;

    /// Whether it can keep spares.
    fn has_spares(&self) -> bool {
        false
    }

    /// From now on so many spares of this kind are kept. Whether that could be said.
    fn keep_spares(&self, _kind: u64, _prepared: &Prepared, _count: u32) -> bool {
        true
    }

    /// Whether it can make environments from a template.
    fn has_templates(&self) -> bool {
        false
    }

    /// Whether it can keep more environments ready than it does anyway.
    fn has_ready(&self) -> bool {
        false
    }

    /// From now on so many more than usual are kept ready. Whether that could be said.
    fn keep_ready(&self, _more: u32) -> bool {
        true
    }

    /// Has told how many spares of a kind, or environments that are [`READY`], wait for a function,
    /// whenever that changes.
    fn watch_waiting(&self, _tell: Tell) {}
}

/// A source of connections.
pub trait Accept: Send {
    /// Waits for the next connection.
    fn accept(&mut self) -> BoxFuture<'_, io::Result<BoxIo>>;
}

/// What the runtime process and its children print, standard output and error together.
pub trait Output: Send {
    /// Waits for some of it; 0 when every writer is gone. Cancelling loses nothing.
    fn read<'a>(&'a mut self, buffer: &'a mut [u8]) -> BoxFuture<'a, io::Result<usize>>;
}

/// How an environment ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Its runtime process ended, or the environment was killed.
    Exited(Exit),
    /// The program was never run; in the words of Go's `syscall`, such as `exec format error`.
    NotExecuted(String),
    /// The sandbox could not be completed; the text says at which step.
    NotMade(String),
}

/// What happens in an environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Happening {
    /// Only with extensions: one program ended or could not be started. 0 is the runtime, the others
    /// follow in the order of the plan.
    ProgramEnded(usize, Ended),
    /// The environment ended, and everything inside with it: its only program did, or all did, or it
    /// was killed.
    Ended(Ended),
}

/// How a program is told to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// SIGTERM
    Terminate,
    /// SIGKILL
    Kill,
}

/// Power over a running environment.
pub trait Control: Send + Sync {
    /// Ends it at once.
    fn kill(&self);
    /// Limits its processors to thousandths of one. Its start is not limited, as on AWS.
    fn limit_cpu(&self, millis: u32);
    /// Stops everything inside, or lets it go on. What is stopped gets no processor time.
    fn set_frozen(&self, frozen: bool);
    /// Most memory it has used so far, in bytes; `None` where the kernel does not tell.
    fn memory_peak_bytes(&self) -> Option<u64>;
    /// Lets the runtime of an environment with extensions begin.
    fn go(&self);
    /// Ends a program (0 is the runtime) and what it has started.
    fn stop(&self, program: usize, stop: Stop);
    /// Connects to a port of the environment's loopback, while its happenings are waited for.
    fn connect(&self, port: u16) -> BoxFuture<'static, io::Result<BoxIo>>;
}

/// A running environment.
pub struct Environment {
    /// Connections to 127.0.0.1:9001 inside.
    pub runtime: Box<dyn Accept>,
    /// The stream that the runtime clients we ship have inherited.
    pub inherited: Option<BoxIo>,
    /// If it was a spare: what its runtime, which asks on that stream, is to be told.
    pub becomes: Option<Bytes>,
    /// Connections to the AWS endpoint inside (`AWS_ENDPOINT_URL`).
    pub api: Box<dyn Accept>,
    /// What it prints.
    pub output: Box<dyn Output>,
    /// Its framed log records, if the plan has them.
    pub log_frames: Option<Box<dyn Output>>,
    /// What its extensions print, if it has any.
    pub extensions_output: Option<Box<dyn Output>>,
    /// What happens in it, until its end.
    pub happenings: BoxStream<'static, Happening>,
    /// Power over it.
    pub control: Arc<dyn Control>,
}

/// Serves the AWS endpoint inside an environment; the front does, in the product.
pub trait ApiFront: Send + Sync + 'static {
    /// Serves one connection from an environment of this function until it closes.
    fn serve(&self, io: BoxIo, version: &Version) -> BoxFuture<'static, ()>;
}

/// The credentials that a function finds in its environment.
#[derive(Clone, Debug)]
pub struct Session {
    /// `AWS_ACCESS_KEY_ID`
    pub access_key_id: String,
    /// `AWS_SECRET_ACCESS_KEY`
    pub secret_access_key: String,
    /// `AWS_SESSION_TOKEN`
    pub session_token: String,
}

/// Makes such credentials valid, and invalid again when their environment ends.
pub trait Sessions: Send + Sync + 'static {
    /// From now on requests signed with them are the function's.
    fn open(&self, session: &Session, version: &Version);
    /// They are worth nothing any more.
    fn close(&self, access_key_id: &str);
}
