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
    pub(super) idle_minutes: i64,
    pub(super) lifetime_minutes: i64,
    pub(super) transition_ms: i64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawRuntimes {
    pub(super) strict: bool,
    pub(super) interpreters: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawSandbox {
    pub(super) isolation: String,
    pub(super) outbound: bool,
    pub(super) network: Vec<RawNetwork>,
    pub(super) io_uring: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawNetwork {
    pub(super) name: String,
    pub(super) functions: Vec<String>,
    pub(super) reach: Vec<String>,
    #[serde(default)]
    pub(super) members_reach_each_other: bool,
}
