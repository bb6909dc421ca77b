//! From what was written to what is meant.
//!
//! Every refusal names the setting, the value and where it was written.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use lambic_lambda::invoke::worth::Policy;
use lambic_lambda::rollback::RollbackConfig;
use lambic_lambda::state::runtime_id::{self, AllowRetired};
use lambic_lambda::urls::UrlBase;
use toml::Value;

use super::machine::Machine;
use super::raw::{Raw, RawFront, RawFunctions, RawRuntimes, RawUser};
use super::{
    Config, Front, Functions, Isolation, Log, Runtimes, User, file_systems, keys, networks,
};
use crate::failure::{Failure, Kind};

/// The names of settings and their sources, for messages.
pub(super) struct Origins<'a>(&'a BTreeMap<String, String>);

impl Origins<'_> {
    pub(super) fn refuse(&self, setting: &str, what: &str) -> Failure {
        let origin = self.0.get(setting).map_or("the defaults", String::as_str);
        Failure::new(Kind::Configuration, format!("{origin}: '{setting}' {what}"))
    }

    fn number(&self, setting: &str, value: i64, min: i64, max: i64) -> Result<u64, Failure> {
        if !(min..=max).contains(&value) {
            let what = format!("is {value}; it has to be between {min} and {max}");
            return Err(self.refuse(setting, &what));
        }
        Ok(u64::try_from(value).expect("no setting goes below zero"))
    }

    /// A number, or `None` for "auto".
    fn number_or_auto(
        &self,
        setting: &str,
        value: &Value,
        min: i64,
        max: i64,
    ) -> Result<Option<u64>, Failure> {
        match value {
            Value::String(text) if text == "auto" => Ok(None),
            Value::Integer(number) => self.number(setting, *number, min, max).map(Some),
            other => {
                let what = format!("is {other}; it has to be a whole number or \"auto\"");
                Err(self.refuse(setting, &what))
            }
        }
    }

    fn word<T: Copy>(&self, setting: &str, value: &str, words: &[(&str, T)]) -> Result<T, Failure> {
        match words.iter().find(|(word, _)| *word == value) {
            Some((_, meaning)) => Ok(*meaning),
            None => {
                let words: Vec<String> = words.iter().map(|(w, _)| format!("\"{w}\"")).collect();
                let what = format!("is \"{value}\"; it has to be {}", words.join(" or "));
                Err(self.refuse(setting, &what))
            }
        }
    }
}

pub(super) fn resolve(
    raw: Raw,
    origins: &BTreeMap<String, String>,
    machine: &Machine,
) -> Result<Config, Failure> {
    let origins = Origins(origins);
    let listen = address(&origins, &raw.listen)?;
    let users = users(&origins, raw.user)?;
    let signed = origins.word("auth", &raw.auth, &[("auto", false), ("required", true)])?;
    let auth_required = signed || !listen.ip().is_loopback();
    refuse_exposure(&origins, listen, auth_required, &users)?;
    let threads = origins.number_or_auto("threads", &raw.threads, 1, 1_024)?;
    let isolation = isolation(&origins, &raw.sandbox.isolation)?;
    let formats = [("auto", !machine.terminal), ("json", true), ("text", false)];
    let networks = networks::resolve(&origins, raw.sandbox.network, isolation)?;
    let data_dir = data_dir(&origins, &raw.data_dir, machine)?;
    Ok(Config {
        file: None,
        variables_unknown: Vec::new(),
        listen,
        keys: keys::resolve(&origins, raw.kms.keys, &data_dir)?,
        data_dir,
        region: region(&origins, raw.region)?,
        auth_required,
        users,
        allowed_hosts: raw.allowed_hosts,
        allowed_origins: raw.allowed_origins,
        threads: threads.map_or((machine.processors / 4).max(1), |threads| threads as usize),
        drain: Duration::from_secs(origins.number("drain_s", raw.drain_s, 0, 3_600)?),
        log: Log {
            json: origins.word("log.format", &raw.log.format, &formats)?,
            level: level(&origins, raw.log.level)?,
        },
        front: front(&origins, &raw.front)?,
        functions: functions(&origins, &raw.functions, machine)?,
        runtimes: runtimes(&origins, raw.runtimes)?,
        isolation,
        outbound: raw.sandbox.outbound,
        security_groups: networks::security_groups(
            &origins,
            raw.sandbox.security_group,
            &networks,
        )?,
        networks,
        file_systems: file_systems::resolve(&origins, raw.sandbox.file_system, isolation)?,
        io_uring: raw.sandbox.io_uring,
    })
}

fn address(origins: &Origins<'_>, text: &str) -> Result<SocketAddr, Failure> {
    let numeric = match text.strip_prefix("localhost:") {
        Some(port) => format!("127.0.0.1:{port}"),
        None => text.to_owned(),
    };
    numeric.parse().map_err(|_| {
        let what = format!("is \"{text}\"; it has to be an address and a port, as 127.0.0.1:4566");
        origins.refuse("listen", &what)
    })
}

fn refuse_exposure(
    origins: &Origins<'_>,
    listen: SocketAddr,
    auth_required: bool,
    users: &[User],
) -> Result<(), Failure> {
    if !auth_required || !users.is_empty() {
        return Ok(());
    }
    if listen.ip().is_loopback() {
        return Err(origins.refuse("auth", "is \"required\" but no [[user]] is configured"));
    }
    Err(Failure::new(
        Kind::Exposed,
        format!(
            "refusing to listen on {listen}, where other machines could run code here: \
             add a [[user]] to the configuration file, or listen on 127.0.0.1"
        ),
    ))
}

fn users(origins: &Origins<'_>, raw: Vec<RawUser>) -> Result<Vec<User>, Failure> {
    let mut users: Vec<User> = Vec::new();
    for user in raw {
        let id = &user.access_key_id;
        if id.is_empty() || id.len() > 128 || !id.bytes().all(|b| b.is_ascii_alphanumeric()) {
            let what = format!("has the access_key_id '{id}'; it has to be letters and digits");
            return Err(origins.refuse("user", &what));
        }
        if user.secret_access_key.is_empty() {
            let what = format!("'{id}' has no secret_access_key");
            return Err(origins.refuse("user", &what));
        }
        if user.account.len() != 12 || !user.account.bytes().all(|b| b.is_ascii_digit()) {
            let what = format!("'{id}' has the account '{}'; it has to be 12 digits", user.account);
            return Err(origins.refuse("user", &what));
        }
        if users.iter().any(|other| other.access_key_id == *id) {
            return Err(origins.refuse("user", &format!("'{id}' is there twice")));
        }
        users.push(User {
            access_key_id: user.access_key_id,
            secret_access_key: user.secret_access_key,
            account: user.account,
        });
    }
    Ok(users)
}

fn data_dir(origins: &Origins<'_>, text: &str, machine: &Machine) -> Result<PathBuf, Failure> {
    match text {
        "" => Err(origins.refuse("data_dir", "is empty")),
        "auto" => machine.data_dir().ok_or_else(|| {
            origins.refuse("data_dir", "is \"auto\" but neither XDG_DATA_HOME nor HOME is set")
        }),
        path => Ok(PathBuf::from(path)),
    }
}

fn region(origins: &Origins<'_>, region: String) -> Result<String, Failure> {
    let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    if region.is_empty() || region.len() > 64 || !region.bytes().all(fits) {
        return Err(origins.refuse("region", &format!("is \"{region}\"; use one like us-east-1")));
    }
    Ok(region)
}

fn level(origins: &Origins<'_>, level: String) -> Result<String, Failure> {
    match tracing_subscriber::EnvFilter::try_new(&level) {
        Ok(_) if !level.is_empty() => Ok(level),
        _ => Err(origins.refuse("log.level", &format!("is \"{level}\"; use one like \"info\""))),
    }
}

fn front(origins: &Origins<'_>, raw: &RawFront) -> Result<Front, Failure> {
    let number = |name: &str, value: i64, min: i64, max: i64| {
        origins.number(&format!("front.{name}"), value, min, max)
    };
    let body_mb = number("body_mb_in_flight_max", raw.body_mb_in_flight_max, 64, 1_048_576)?;
    Ok(Front {
        connections_max: number("connections_max", raw.connections_max, 1, 1_000_000)? as usize,
        requests_in_flight_max: number(
            "requests_in_flight_max",
            raw.requests_in_flight_max,
            1,
            1_000_000,
        )? as usize,
        body_bytes_in_flight_max: body_mb as usize * 1_048_576,
        header_read_ms_max: 1_000 * number("header_read_s_max", raw.header_read_s_max, 1, 3_600)?,
        idle_ms_max: 1_000 * number("idle_s_max", raw.idle_s_max, 1, 86_400)?,
        body_stall_ms_max: 1_000 * number("body_stall_s_max", raw.body_stall_s_max, 1, 3_600)?,
    })
}

/// Execution environments that one machine has places for; each runs one invocation at a time, so
/// promising more would only be refused later.
const CONCURRENCY_MAX: i64 = 20_000;
/// Spares of each kind that may always wait; a started interpreter takes up to 40 MB.
const SPARES_MAX: i64 = 64;
/// Unless something else is set, what waits ahead of bursts takes one part of so many of the memory.
const SPARE_MEMORY_PART: u64 = 16;

fn functions(
    origins: &Origins<'_>,
    raw: &RawFunctions,
    machine: &Machine,
) -> Result<Functions, Failure> {
    let number = |name: &str, value: i64, min: i64, max: i64| {
        origins.number(&format!("functions.{name}"), value, min, max)
    };
    let concurrency = number("concurrency_max", raw.concurrency_max, 1, CONCURRENCY_MAX)?;
    let scale_out = number("scale_out_max", raw.scale_out_max, 1, CONCURRENCY_MAX)?;
    let error_percent = number("rollback_error_percent", raw.rollback_error_percent, 0, 100)?;
    let calls_min = number("rollback_calls_min", raw.rollback_calls_min, 1, 1_000_000)?;
    let memory_mb = origins.number_or_auto(
        "functions.memory_mb_max",
        &raw.memory_mb_max,
        128,
        1_073_741_824,
    )?;
    let idle_minutes = number("idle_minutes", raw.idle_minutes, 1, 1_440)?;
    let spares = number("spares", raw.spares, 0, SPARES_MAX)?;
    let spare_memory_mb = origins.number_or_auto(
        "functions.spare_memory_mb_max",
        &raw.spare_memory_mb_max,
        0,
        1_048_576,
    )?;
    let lifetime_minutes = number("lifetime_minutes", raw.lifetime_minutes, 1, 100_000)?;
    let transition_ms = number("transition_ms", raw.transition_ms, 0, 60_000)?;
    Ok(Functions {
        concurrency_max: u32::try_from(concurrency).expect("the limit is twenty thousand"),
        scale_out_max: u32::try_from(scale_out).expect("the limit is twenty thousand"),
        rollback: RollbackConfig {
            error_percent: u32::try_from(error_percent).expect("the limit is a hundred"),
            calls_min: u32::try_from(calls_min).expect("the limit is a million"),
        },
        memory_mb_max: memory_mb.unwrap_or((machine.memory_mb * 3).max(128)),
        idle: Duration::from_secs(60 * idle_minutes),
        idle_policy: idle_policy(origins, &raw.idle_policy)?,
        spares: u32::try_from(spares).expect("the limit is small"),
        zygotes: raw.zygotes,
        spare_memory_mb_max: spare_memory_mb.unwrap_or(machine.memory_mb / SPARE_MEMORY_PART),
        lifetime: Duration::from_secs(60 * lifetime_minutes),
        transition: Duration::from_millis(transition_ms),
        url_base: url_base(origins, &raw.url_base)?,
    })
}

fn idle_policy(origins: &Origins<'_>, text: &str) -> Result<Policy, Failure> {
    match text {
        "worth" => Ok(Policy::Worth),
        "fixed" => Ok(Policy::Fixed),
        _ => {
            let what = format!("is \"{text}\"; it has to be \"worth\" or \"fixed\"");
            Err(origins.refuse("functions.idle_policy", &what))
        }
    }
}

fn url_base(origins: &Origins<'_>, text: &str) -> Result<Option<UrlBase>, Failure> {
    if text == "auto" {
        return Ok(None);
    }
    UrlBase::parse(text).map(Some).ok_or_else(|| {
        let what = format!(
            "is \"{text}\"; it has to be \"auto\" or like http://lambic.test:4566 or \
             https://functions.example.com (lower case, 40 characters at most)"
        );
        origins.refuse("functions.url_base", &what)
    })
}

fn runtimes(origins: &Origins<'_>, raw: RawRuntimes) -> Result<Runtimes, Failure> {
    let mut interpreters = BTreeMap::new();
    for (id, path) in raw.interpreters {
        let path = PathBuf::from(path);
        if !path.is_absolute() {
            let what = format!("gives {id} the path {}, which is relative", path.display());
            return Err(origins.refuse("runtimes.interpreters", &what));
        }
        interpreters.insert(id, path);
    }
    for id in &raw.allow_retired {
        if id != AllowRetired::ALL && !runtime_id::is_known(id) {
            let what = format!("has \"{id}\", which is no runtime of AWS Lambda");
            return Err(origins.refuse("runtimes.allow_retired", &what));
        }
    }
    let allow_retired = raw.allow_retired;
    Ok(Runtimes { strict: raw.strict, allow_retired, interpreters })
}

/// Functions without isolation must be somebody's conscious act, so a file cannot ask for it.
fn isolation(origins: &Origins<'_>, text: &str) -> Result<Isolation, Failure> {
    let setting = "sandbox.isolation";
    let words = [("namespaces", Isolation::Namespaces), ("none", Isolation::None)];
    let isolation = origins.word(setting, text, &words)?;
    let by_flag = origins.0.get(setting).is_some_and(|origin| origin == "--isolation");
    if isolation == Isolation::None && !by_flag {
        let what = "is \"none\"; that is only taken from the flag --isolation none";
        return Err(origins.refuse(setting, what));
    }
    Ok(isolation)
}
