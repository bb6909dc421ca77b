//! `lambic doctor`: what this machine offers to functions, what is missing, how to get it.
//!
//! Findings are plain values; probing, judging and printing are kept apart so that the judgement can
//! be tested. The barriers are not guessed at: the spawner is started as `serve` would, and asked.

mod kernel;

use std::path::PathBuf;

use lambic_rt::Rt;
use lambic_sandbox::{Barrier, BarrierState};

use crate::config::{Config, Isolation};
use crate::failure::{Failure, Kind};
use crate::machine_runtimes::Served;
use crate::{machine_runtimes, spawner};

/// What a finding means for running functions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Good,
    /// Functions run, but less apart from each other or with fewer limits.
    Weaker,
    /// Functions cannot run, or not of this family.
    Missing,
    /// Nothing needs it today.
    Unused,
}

#[derive(Clone, Debug)]
struct Finding {
    name: String,
    state: State,
    detail: String,
    /// How to get it; empty when there is nothing to get.
    remedy: String,
}

impl Finding {
    fn good(name: impl Into<String>, detail: impl Into<String>) -> Finding {
        Finding {
            name: name.into(),
            state: State::Good,
            detail: detail.into(),
            remedy: String::new(),
        }
    }

    fn bad(
        name: impl Into<String>,
        state: State,
        detail: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Finding {
        Finding { name: name.into(), state, detail: detail.into(), remedy: remedy.into() }
    }
}

/// Looks, prints, and fails when the main job could not run here.
pub(crate) fn run(config: &Config) -> Result<(), Failure> {
    // First, because it forks and so wants to come before any thread.
    let barriers = barriers(config);
    let kernel = kernel::findings(crate::config::is_root());
    let interpreters = interpreters(&served(config)?);
    print_section("Kernel", &kernel);
    print_section("Interpreters", &interpreters);
    print_section("Barriers in force", &barriers);
    match verdict([&kernel, &interpreters, &barriers]) {
        None => {
            println!("Functions can run here.");
            Ok(())
        }
        Some(missing) => {
            Err(Failure::new(Kind::Verdict, format!("functions cannot run here without {missing}")))
        }
    }
}

fn served(config: &Config) -> Result<Vec<Served>, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::new(Kind::Other, error.to_string()))?;
    Ok(runtime.block_on(machine_runtimes::served(config, &Rt::real())))
}

/// Asks a spawner of the kind that `serve` would start.
fn barriers(config: &Config) -> Vec<Finding> {
    if config.isolation == Isolation::None {
        return vec![Finding::bad("isolation", State::Weaker, "none, as asked for", "")];
    }
    match spawner::start_scratch(config) {
        Ok((host, _scratch)) => host.barriers().iter().map(barrier).collect(),
        Err(failure) => vec![Finding::bad("isolation", State::Missing, failure.message, "")],
    }
}

fn barrier(barrier: &Barrier) -> Finding {
    match &barrier.state {
        BarrierState::InForce(how) => Finding::good(barrier.kind.name(), how),
        BarrierState::Missing(why) => Finding::bad(barrier.kind.name(), State::Weaker, why, ""),
    }
}

/// One line for each runtime id that is served exactly, and one for each family that is not there.
fn interpreters(served: &[Served]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for runtime in served {
        findings.push(Finding::good(&runtime.id, &runtime.interpreter));
    }
    for (family, package) in [("python", "python3"), ("nodejs", "nodejs")] {
        if !served.iter().any(|runtime| runtime.id.starts_with(family)) {
            let remedy = format!("apt-get install {package}");
            findings.push(Finding::bad(family, State::Missing, "no interpreter found", remedy));
        }
    }
    if !served.iter().any(|runtime| runtime.id.starts_with("ruby")) {
        findings.push(ruby(program("ruby")));
    }
    if !served.iter().any(|runtime| runtime.id.starts_with("java")) {
        findings.push(java(program("java")));
    }
    findings
}

/// Of a machine that has none of AWS's versions. Debian's may be older than those; it serves them all
/// the same.
fn ruby(nearest: Option<PathBuf>) -> Finding {
    let (detail, remedy) = match nearest {
        Some(path) => (format!("{}, none of AWS's versions", path.display()), ""),
        None => ("no interpreter found; few functions need one".to_owned(), "apt-get install ruby"),
    };
    Finding::bad("ruby", State::Unused, detail, remedy)
}

/// As [`ruby`].
fn java(nearest: Option<PathBuf>) -> Finding {
    let (detail, remedy) = match nearest {
        Some(path) => (format!("{}, none of AWS's versions", path.display()), ""),
        None => (
            "no interpreter found; few functions need one".to_owned(),
            "apt-get install default-jre-headless",
        ),
    };
    Finding::bad("java", State::Unused, detail, remedy)
}

/// What is missing, if anything is.
fn verdict<'a>(sections: impl IntoIterator<Item = &'a Vec<Finding>>) -> Option<String> {
    let missing: Vec<&str> = sections
        .into_iter()
        .flatten()
        .filter(|finding| finding.state == State::Missing)
        .map(|finding| finding.name.as_str())
        .collect();
    (!missing.is_empty()).then(|| missing.join(", "))
}

fn print_section(title: &str, findings: &[Finding]) {
    println!("{title}");
    for finding in findings {
        println!("{}", line(finding));
    }
    println!();
}

fn line(finding: &Finding) -> String {
    let word = match finding.state {
        State::Good => "ok",
        State::Weaker => "weaker",
        State::Missing => "MISSING",
        State::Unused => "-",
    };
    let remedy = match finding.remedy.as_str() {
        "" => String::new(),
        remedy => format!("  -> {remedy}"),
    };
    format!("  {:<18} {word:<8} {}{remedy}", finding.name, finding.detail)
}

/// Where the program `name` is.
fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Where administrators' programs are, which an ordinary user's PATH leaves out.
    let usual = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    std::env::split_paths(&path)
        .chain(usual)
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_missing_decides() {
        let good = vec![Finding::good("a", "b")];
        let weaker = vec![Finding::bad("c", State::Weaker, "d", "e")];
        let missing = vec![Finding::bad("f", State::Missing, "g", "h")];
        assert_eq!(verdict([&good, &weaker]), None);
        assert_eq!(verdict([&good, &missing, &missing]).unwrap(), "f, f");
        assert_eq!(line(&missing[0]), "  f                  MISSING  g  -> h");
    }

    #[test]
    fn families_without_an_interpreter_are_missing() {
        let served = |id: &str| Served { id: id.to_owned(), interpreter: "/usr/bin/x".to_owned() };
        let found = interpreters(&[served("python3.11"), served("provided.al2023")]);
        let missing: Vec<&Finding> = found.iter().filter(|f| f.state == State::Missing).collect();
        assert_eq!(missing.len(), 1);
        assert_eq!(missing[0].remedy, "apt-get install nodejs");
        assert_eq!(interpreters(&[]).len(), 4);
        let (one, none) = (ruby(Some("/usr/bin/ruby".into())), ruby(None));
        assert_eq!((one.remedy.as_str(), none.remedy.as_str()), ("", "apt-get install ruby"));
        let (one, none) = (java(Some("/usr/bin/java".into())), java(None));
        assert_eq!((one.remedy.as_str(), none.remedy.contains("jre")), ("", true));
        assert_eq!((one.state, none.state), (State::Unused, State::Unused));
    }
}
