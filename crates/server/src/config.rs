//! Configuration: where it comes from and what it means.
//!
//! Flags, `LAMBIC_*` variables and the file are layers of one TOML table over the default file
//! ([`layers`]); the result is read into [`raw::Raw`] and then resolved, once, into [`Config`].
//! Only `Config` travels inward: nothing further in knows about "auto", units of the file, or
//! where a value was written.

mod file_systems;
mod keys;
mod layers;
mod machine;
mod networks;
mod raw;
mod resolve;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use lambic_lambda::invoke::vpcs::SecurityGroup;
use lambic_lambda::invoke::worth::Policy;
use lambic_lambda::rollback::RollbackConfig;
use lambic_lambda::urls::UrlBase;
use lambic_sandbox::{FileSystem, PrivateNetwork};

pub(crate) use layers::{DEFAULTS, Sources, load};
pub(crate) use machine::is_root;

/// Everything that can be set, resolved.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Config {
    /// Which file was read, if any.
    pub(crate) file: Option<PathBuf>,
    /// Variables that look like ours and are none; the log warns about them.
    pub(crate) variables_unknown: Vec<String>,
    pub(crate) listen: SocketAddr,
    pub(crate) data_dir: PathBuf,
    pub(crate) region: String,
    /// Whether every request must be signed by one of `users`.
    pub(crate) auth_required: bool,
    pub(crate) users: Vec<User>,
    pub(crate) allowed_hosts: Vec<String>,
    pub(crate) allowed_origins: Vec<String>,
    pub(crate) threads: usize,
    pub(crate) drain: Duration,
    pub(crate) log: Log,
    pub(crate) front: Front,
    pub(crate) functions: Functions,
    pub(crate) runtimes: Runtimes,
    /// Key files by the ARN of their key or alias.
    pub(crate) keys: BTreeMap<String, PathBuf>,
    pub(crate) isolation: Isolation,
    /// Whether functions of no private network reach what the machine can reach.
    pub(crate) outbound: bool,
    /// In the order of the file: the first that has a function is the function's.
    pub(crate) networks: Vec<Network>,
    /// By their ids.
    pub(crate) security_groups: BTreeMap<String, SecurityGroup>,
    /// Folders that functions may have mounted.
    pub(crate) file_systems: Vec<FileSystem>,
    pub(crate) io_uring: bool,
}

/// Somebody who may sign requests.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct User {
    pub(crate) access_key_id: String,
    pub(crate) secret_access_key: String,
    /// 12 digits.
    pub(crate) account: String,
}

impl std::fmt::Debug for User {
    /// Without the secret, which must not reach a log.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "User({} in {})", self.access_key_id, self.account)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Log {
    pub(crate) json: bool,
    /// A filter in the words of `tracing_subscriber::EnvFilter`.
    pub(crate) level: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Front {
    pub(crate) connections_max: usize,
    pub(crate) requests_in_flight_max: usize,
    pub(crate) body_bytes_in_flight_max: usize,
    pub(crate) header_read_ms_max: u64,
    pub(crate) idle_ms_max: u64,
    pub(crate) body_stall_ms_max: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Functions {
    pub(crate) concurrency_max: u32,
    pub(crate) scale_out_max: u32,
    pub(crate) rollback: RollbackConfig,
    pub(crate) memory_mb_max: u64,
    pub(crate) idle: Duration,
    pub(crate) idle_policy: Policy,
    pub(crate) spares: u32,
    pub(crate) zygotes: bool,
    pub(crate) spare_memory_mb_max: u64,
    pub(crate) lifetime: Duration,
    pub(crate) transition: Duration,
    /// Where the URLs of functions are; `None`: on this machine, at the port of the API.
    pub(crate) url_base: Option<UrlBase>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Runtimes {
    pub(crate) strict: bool,
    /// Ids, or `*`.
    pub(crate) allow_retired: Vec<String>,
    /// Runtime id to interpreter.
    pub(crate) interpreters: BTreeMap<String, PathBuf>,
}

/// A network that some functions have to themselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Network {
    /// What the sandbox makes of it.
    pub(crate) private: PrivateNetwork,
    /// Names of functions, with `*` for any characters.
    pub(crate) functions: Vec<String>,
    /// By which functions that are not named may be in it.
    pub(crate) subnet_ids: Vec<String>,
    /// Of the subnets.
    pub(crate) vpc_id: String,
    /// Whose functions may name the subnets.
    pub(crate) account: String,
}

/// How functions are kept apart from each other and from the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Isolation {
    Namespaces,
    /// Not at all; only by the explicit flag.
    None,
}

/// The defaults on a small machine, for the tests of others.
#[cfg(test)]
pub(crate) fn test_config() -> Config {
    let sources =
        Sources { file: None, files_usual: Vec::new(), variables: Vec::new(), flags: Vec::new() };
    layers::load_on(&tests::machine(), sources).expect("the defaults are right")
}
