//! The immutable snapshot that the invoke path runs.
//!
//! A [`Version`] is resolved once, when the catalog learns of a change, and never altered: whoever
//! holds an `Arc<Version>` runs exactly that code with exactly that configuration, whatever is
//! updated or deleted meanwhile. It also keeps its code on disk: the sweep of unused bundles leaves
//! alone what any living snapshot refers to, so an execution environment only has to keep its
//! `Arc<Version>` for as long as it has the bundle mounted.

use std::fmt;
use std::path::PathBuf;

use lambic_store::Hold;

use super::file_system::FileSystemUse;
use super::logging::LogFormat;
use super::sealed::Sealed;
use super::vpc::VpcUse;

/// Whether invokes may run a function at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VersionState {
    /// Being created; an invoke answers ResourceConflictException.
    Pending,
    /// Ready.
    Active,
    /// Its creation failed; an invoke answers ResourceConflictException.
    Failed,
}

/// Variables that are encrypted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedVariables {
    /// Of the key, or of an alias of it.
    pub key_arn: String,
    /// Under that key.
    pub sealed: Sealed,
}

/// One version of one function as it is run.
#[derive(Clone)]
pub struct Version {
    /// Twelve digits.
    pub account: String,
    /// Such as `us-east-1`.
    pub region: String,
    /// The plain name, at most 64 characters.
    pub function_name: String,
    /// Without a qualifier.
    pub function_arn: String,
    /// `$LATEST` or a number.
    pub version: String,
    /// What GetFunction shows; changes with every change, also with those of the state.
    pub revision_id: String,
    /// AWS's id, such as `python3.13`.
    pub runtime: String,
    /// Absent only for `provided` runtimes made without one.
    pub handler: Option<String>,
    /// ARN of the execution role.
    pub role: String,
    /// 128 to 10,240 MB.
    pub memory_mb: u32,
    /// 1 to 900 seconds.
    pub timeout_s: u32,
    /// Size of `/tmp`, 512 to 10,240 MB.
    pub tmp_mb: u32,
    /// The function's own variables. Values are secrets.
    pub environment: Vec<(String, String)>,
    /// The variables as they are stored when they are encrypted; `environment` is empty then. They are
    /// decrypted for each environment, so that a key that is taken away stops new ones.
    pub sealed_environment: Option<SealedVariables>,
    /// CloudWatch log group, `/aws/lambda/<name>` by default.
    pub log_group: String,
    /// In which form the log is written, and which lines of it.
    pub log_format: LogFormat,
    /// Whether it traces actively (`TracingConfig`), or passes traces through.
    pub active_tracing: bool,
    /// Whether every tenant has environments of its own (`TenancyConfig`).
    pub isolates_tenants: bool,
    /// Whether it is a published version with SnapStart.
    pub snap_start: bool,
    /// Sha256 of the unpacked code's zip, 64 hexadecimal digits.
    pub bundle: String,
    /// Where the unpacked code is: to be mounted read-only at `/var/task`.
    pub bundle_path: PathBuf,
    /// Where its layers are, made one: to be mounted read-only at `/opt`.
    pub layers_path: Option<PathBuf>,
    /// What is mounted below `/mnt`.
    pub file_system: Option<FileSystemUse>,
    /// Its subnets and security groups.
    pub vpc: Option<VpcUse>,
    /// Unique among all snapshots ever made on this server: changes with every update of code or
    /// configuration, and is another one when a deleted name is created again.
    pub generation: u64,
    /// Whether it may be invoked.
    pub state: VersionState,
    /// Keep `bundle_path` and `layers_path` on disk while this snapshot lives; absent only in tests.
    pub holds: Vec<Hold>,
}

impl fmt::Debug for Version {
    /// Names what it is and none of its secrets.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Version")
            .field("function_arn", &self.function_arn)
            .field("version", &self.version)
            .field("generation", &self.generation)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}
