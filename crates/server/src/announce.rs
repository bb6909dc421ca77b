//! What the server says when it is up: where it is, where its data is, what keeps functions apart.
//!
//! On a terminal a few aligned lines; where logs are JSON, one event with the same facts.

use std::io::Write;
use std::net::SocketAddr;
use std::time::Duration;

use lambic_sandbox::{Barrier, BarrierKind, BarrierState};

use crate::config::{Config, Isolation};
use crate::machine_runtimes::Served;

/// Everything that is announced.
pub(crate) struct Facts<'a> {
    pub(crate) config: &'a Config,
    pub(crate) address: SocketAddr,
    pub(crate) barriers: &'a [Barrier],
    pub(crate) took: Duration,
}

/// Tells the facts, ending with the line that says that the server is ready.
pub(crate) fn announce(facts: &Facts<'_>) {
    let rows = rows(facts);
    if facts.config.log.json {
        let get = |wanted: &str| {
            let row = rows.iter().find(|(name, _)| *name == wanted);
            row.map_or("", |(_, text)| text.as_str())
        };
        tracing::info!(
            endpoint = get("endpoint"),
            data = get("data"),
            config = get("config"),
            access = get("access"),
            isolation = get("isolation"),
            network = get("network"),
            lacking = get("lacking"),
            took_ms = facts.took.as_millis() as u64,
            "ready"
        );
        return;
    }
    say(&format!("lambic {}", env!("CARGO_PKG_VERSION")));
    for (name, text) in rows {
        say(&format!("  {name:<10} {text}"));
    }
    say(&format!("  ready      after {} ms", facts.took.as_millis()));
}

/// Tells which runtimes are served exactly; the nearest serve for others.
pub(crate) fn announce_runtimes(config: &Config, runtimes: &[Served]) {
    let ids: Vec<&str> = runtimes.iter().map(|runtime| runtime.id.as_str()).collect();
    let ids = ids.join(", ");
    if config.log.json {
        tracing::info!(runtimes = ids, "runtimes found");
    } else {
        say(&format!("  {:<10} {ids}", "runtimes"));
    }
}

/// One line on standard error, which may be closed or on a full disk: that is no reason to end.
fn say(line: &str) {
    drop(writeln!(std::io::stderr(), "{line}"));
}

fn rows(facts: &Facts<'_>) -> Vec<(&'static str, String)> {
    let config = facts.config;
    let mut rows = vec![
        ("endpoint", format!("http://{}", facts.address)),
        ("data", config.data_dir.display().to_string()),
    ];
    if let Some(file) = &config.file {
        rows.push(("config", file.display().to_string()));
    }
    let access = match (config.auth_required, config.users.len()) {
        (false, _) => "any credentials, from this machine only".to_owned(),
        (true, 1) => "signed requests of 1 user".to_owned(),
        (true, users) => format!("signed requests of {users} users"),
    };
    rows.push(("access", access));
    let (in_force, lacking) = barriers(config, facts.barriers);
    rows.push(("isolation", in_force));
    rows.extend(network(facts.barriers).map(|how| ("network", how)));
    if let Some(lacking) = lacking {
        rows.push(("lacking", lacking));
    }
    rows
}

/// The barriers in force, and those that this machine does not give with the reasons.
fn barriers(config: &Config, barriers: &[Barrier]) -> (String, Option<String>) {
    if config.isolation == Isolation::None {
        let text = "NONE: functions can read and change whatever this user can";
        return (text.to_owned(), None);
    }
    let why = |barrier: &Barrier| match &barrier.state {
        BarrierState::InForce(_) => None,
        BarrierState::Missing(why) => Some(format!("{} ({why})", barrier.kind.name())),
    };
    let lacking: Vec<String> = barriers.iter().filter_map(why).collect();
    let all = barriers.len();
    if lacking.is_empty() {
        return (format!("all {all} barriers are up"), None);
    }
    let up =
        format!("{} of {all} barriers are up; `lambic doctor` tells of each", all - lacking.len());
    (up, Some(lacking.join(", ")))
}

/// How functions get out, or why they do not.
fn network(barriers: &[Barrier]) -> Option<String> {
    let filter = barriers.iter().find(|barrier| barrier.kind == BarrierKind::NetworkFilter)?;
    match &filter.state {
        BarrierState::InForce(how) => Some(how.clone()),
        BarrierState::Missing(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::test_config;

    fn barrier(kind: BarrierKind, state: BarrierState) -> Barrier {
        Barrier { kind, state }
    }

    #[test]
    fn what_is_lacking_is_told_with_its_reason() {
        let config = test_config();
        let list = [
            barrier(BarrierKind::UserNamespace, BarrierState::InForce("uid 1000".to_owned())),
            barrier(BarrierKind::MemoryLimit, BarrierState::Missing("no control group".to_owned())),
        ];
        let facts = Facts {
            config: &config,
            address: "127.0.0.1:4566".parse().unwrap(),
            barriers: &list,
            took: Duration::from_millis(3),
        };
        let rows = rows(&facts);
        let text: Vec<String> = rows.iter().map(|(name, text)| format!("{name}: {text}")).collect();
        assert!(text.contains(&"endpoint: http://127.0.0.1:4566".to_owned()));
        assert!(text.contains(
            &"isolation: 1 of 2 barriers are up; `lambic doctor` tells of each".to_owned()
        ));
        assert!(text.contains(&"lacking: memory limit (no control group)".to_owned()));
    }
}
