//! The configuration as it is written, before anybody has thought about it.
//!
//! One field per setting of `lambic.default.toml`. Values that may be "auto" are kept as they are
//! and resolved in [`super::resolve`].

use std::collections::BTreeMap;

use serde::Deserialize;
use toml::Value;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Raw {
    pub(super) listen: String,
    pub(super) data_dir: String,
    pub(super) region: String,
    pub(super) auth: String,
    pub(super) user: Vec<RawUser>,
    pub(super) allowed_hosts: Vec<String>,
    pub(super) allowed_origins: Vec<String>,
    pub(super) threads: Value,
    pub(super) drain_s: i64,
    pub(super) log: RawLog,
    pub(super) front: RawFront,
    pub(super) functions: RawFunctions,
    pub(super) runtimes: RawRuntimes,
    pub(super) kms: RawKms,
    pub(super) sandbox: RawSandbox,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawUser {
    pub(super) access_key_id: String,
    pub(super) secret_access_key: String,
    pub(super) account: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawLog {
    pub(super) format: String,
    pub(super) level: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawFront {
    pub(super) connections_max: i64,
    pub(super) requests_in_flight_max: i64,
    pub(super) body_mb_in_flight_max: i64,
    pub(super) header_read_s_max: i64,
    pub(super) idle_s_max: i64,
    pub(super) body_stall_s_max: i64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawFunctions {
    pub(super) concurrency_max: i64,
    pub(super) scale_out_max: i64,
    pub(super) rollback_error_percent: i64,
    pub(super) rollback_calls_min: i64,
    pub(super) memory_mb_max: Value,
    pub(super) idle_policy: String,
    pub(super) idle_minutes: i64,
    pub(super) spares: i64,
    pub(super) zygotes: bool,
    pub(super) spare_memory_mb_max: Value,
    pub(super) lifetime_minutes: i64,
    pub(super) transition_ms: i64,
    pub(super) url_base: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawRuntimes {
    pub(super) strict: bool,
    pub(super) allow_retired: Vec<String>,
    pub(super) interpreters: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawKms {
    pub(super) keys: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawSandbox {
    pub(super) isolation: String,
    pub(super) outbound: bool,
    pub(super) network: Vec<RawNetwork>,
    pub(super) security_group: Vec<RawSecurityGroup>,
    pub(super) file_system: Vec<RawFileSystem>,
    pub(super) io_uring: bool,
}

/// Of requests that name none.
fn usual_account() -> String {
    "000000000000".to_owned()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawSecurityGroup {
    pub(super) id: String,
    pub(super) vpc_id: String,
    #[serde(default = "usual_account")]
    pub(super) account: String,
    pub(super) allow: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawFileSystem {
    pub(super) arn: String,
    pub(super) path: String,
    pub(super) uid: i64,
    pub(super) gid: i64,
    #[serde(default)]
    pub(super) read_only: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawNetwork {
    pub(super) name: String,
    #[serde(default)]
    pub(super) functions: Vec<String>,
    pub(super) reach: Vec<String>,
    #[serde(default)]
    pub(super) subnet_ids: Vec<String>,
    #[serde(default)]
    pub(super) vpc_id: String,
    #[serde(default = "usual_account")]
    pub(super) account: String,
    #[serde(default)]
    pub(super) members_reach_each_other: bool,
}
