//! Licences and sources of everything that is compiled in, checked against `deny.toml`.
//!
//! cargo-deny does this better and is used when it is installed; this small check reads the same
//! file and needs nothing but cargo, so that it runs on every machine every time.

use std::process::Command;

use serde::Deserialize;

use crate::shell;

/// The part of `deny.toml` that this check obeys; cargo-deny obeys all of it.
#[derive(Deserialize)]
struct Policy {
    licenses: Licenses,
    bans: Bans,
    sources: Sources,
}

#[derive(Deserialize)]
struct Licenses {
    allow: Vec<String>,
}

#[derive(Deserialize)]
struct Bans {
    deny: Vec<Ban>,
    skip: Vec<Skip>,
}

#[derive(Deserialize)]
struct Ban {
    #[serde(rename = "crate")]
    name: String,
    reason: String,
}

/// `crate = "name@version"`: the older of two versions that we cannot avoid, and why.
#[derive(Deserialize)]
struct Skip {
    #[serde(rename = "crate")]
    name: String,
}

#[derive(Deserialize)]
struct Sources {
    #[serde(rename = "allow-registry")]
    allow_registry: Vec<String>,
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    version: String,
    license: Option<String>,
    source: Option<String>,
}

/// `cargo xtask deps`
pub(crate) fn run(args: &[String]) -> Result<(), String> {
    if !args.is_empty() {
        return Err("usage: cargo xtask deps".to_owned());
    }
    let root = shell::root();
    let policy: Policy = toml::from_str(&shell::read(&root.join("deny.toml"))?)
        .map_err(|error| format!("deny.toml: {error}"))?;
    let text = shell::output(Command::new("cargo").current_dir(&root).args([
        "metadata",
        "--locked",
        "--format-version=1",
        "--filter-platform=x86_64-unknown-linux-gnu",
    ]))?;
    let metadata: Metadata =
        serde_json::from_str(&text).map_err(|error| format!("cargo metadata: {error}"))?;
    let mut sins = check(&policy, &metadata.packages);
    sins.extend(jars(&policy)?);
    for sin in &sins {
        println!("{sin}");
    }
    if !sins.is_empty() {
        return Err(format!("{} of the dependencies break deny.toml", sins.len()));
    }
    println!("deps: {} packages, all as deny.toml wants them", metadata.packages.len());
    if shell::has("cargo-deny") {
        let deny = ["deny", "--offline", "check", "licenses", "bans", "sources"];
        shell::run(Command::new("cargo").current_dir(&root).args(deny))?;
    }
    Ok(())
}

/// Of the Java libraries that the runtime client brings along.
fn jars(policy: &Policy) -> Result<Vec<String>, String> {
    let jars = crate::java::theirs()?;
    let refused =
        jars.into_iter().filter(|(_, license)| !is_allowed(license, &policy.licenses.allow));
    Ok(refused
        .map(|(name, license)| format!("{name}: the licence '{license}' is not on the list"))
        .collect())
}

fn check(policy: &Policy, packages: &[Package]) -> Vec<String> {
    let mut sins = Vec::new();
    for package in packages {
        let place = format!("{} {}", package.name, package.version);
        match &package.license {
            None => sins.push(format!("{place}: names no licence")),
            Some(license) if !is_allowed(license, &policy.licenses.allow) => {
                sins.push(format!("{place}: the licence '{license}' is not on the list"));
            }
            Some(_) => {}
        }
        if let Some(ban) = policy.bans.deny.iter().find(|ban| ban.name == package.name) {
            sins.push(format!("{place}: refused, {}", ban.reason));
        }
        if let Some(source) = &package.source {
            let registry = source.trim_start_matches("registry+");
            if !policy.sources.allow_registry.iter().any(|allowed| allowed == registry) {
                sins.push(format!("{place}: comes from {source}"));
            }
        }
    }
    sins.extend(duplicates(policy, packages));
    sins
}

/// One version of each library; the exceptions stand in `bans.skip` with their reason.
fn duplicates(policy: &Policy, packages: &[Package]) -> Vec<String> {
    let skipped = |package: &&Package| {
        let exact = format!("{}@{}", package.name, package.version);
        !policy.bans.skip.iter().any(|skip| skip.name == exact || skip.name == package.name)
    };
    let counted: Vec<&Package> = packages.iter().filter(skipped).collect();
    let mut sins = Vec::new();
    for (index, package) in counted.iter().enumerate() {
        if let Some(other) = counted[..index].iter().find(|other| other.name == package.name) {
            let (name, a, b) = (&package.name, &other.version, &package.version);
            sins.push(format!("{name}: two versions, {a} and {b}"));
        }
    }
    sins
}

/// Whether an SPDX expression (`A OR B`, `A AND (B OR C)`, the old `A/B`) can be met with
/// licences of the list. `A WITH exception` stands on the list as a whole.
fn is_allowed(expression: &str, allowed: &[String]) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut at = 0;
    any_of(&words, &mut at, allowed) && at == words.len()
}

fn any_of(words: &[&str], at: &mut usize, allowed: &[String]) -> bool {
    let mut met = all_of(words, at, allowed);
    while words.get(*at) == Some(&"OR") {
        *at += 1;
        met |= all_of(words, at, allowed);
    }
    met
}

fn all_of(words: &[&str], at: &mut usize, allowed: &[String]) -> bool {
    let mut met = one(words, at, allowed);
    while words.get(*at) == Some(&"AND") {
        *at += 1;
        met &= one(words, at, allowed);
    }
    met
}

fn one(words: &[&str], at: &mut usize, allowed: &[String]) -> bool {
    let Some(word) = words.get(*at) else { return false };
    *at += 1;
    if *word == "(" {
        let met = any_of(words, at, allowed);
        let closed = words.get(*at) == Some(&")");
        *at += 1;
        return met && closed;
    }
    let mut license = (*word).to_owned();
    if words.get(*at) == Some(&"WITH") {
        let exception = words.get(*at + 1).copied().unwrap_or_default();
        license = format!("{license} WITH {exception}");
        *at += 2;
    }
    allowed.contains(&license)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn licence_expressions() {
        let allowed = ["MIT", "Apache-2.0", "Unicode-3.0", "Apache-2.0 WITH LLVM-exception"]
            .map(str::to_owned);
        for good in [
            "MIT",
            "GPL-3.0 OR MIT",
            "MIT/Apache-2.0",
            "(MIT OR GPL-3.0) AND Unicode-3.0",
            "Apache-2.0 WITH LLVM-exception OR GPL-3.0",
        ] {
            assert!(is_allowed(good, &allowed), "{good}");
        }
        for bad in ["", "GPL-3.0", "MIT AND GPL-3.0", "MIT WITH x", "(MIT", "MIT MIT", "MIT AND"] {
            assert!(!is_allowed(bad, &allowed), "{bad}");
        }
    }

    #[test]
    fn packages_are_held_against_the_policy() {
        let policy: Policy = toml::from_str(
            "[licenses]\nallow = [\"MIT\"]\n\
             [bans]\ndeny = [{ crate = \"openssl\", reason = \"too big\" }]\n\
             skip = [{ crate = \"syn@1.0.0\", reason = \"x\" }]\n\
             [sources]\nallow-registry = [\"https://a\"]\n",
        )
        .unwrap();
        let package = |name: &str, version: &str, license: Option<&str>, source: &str| Package {
            name: name.to_owned(),
            version: version.to_owned(),
            license: license.map(str::to_owned),
            source: Some(format!("registry+{source}")),
        };
        let found = check(
            &policy,
            &[
                package("good", "1.0.0", Some("MIT"), "https://a"),
                package("syn", "1.0.0", Some("MIT"), "https://a"),
                package("syn", "2.0.0", Some("MIT"), "https://a"),
                package("nothing", "1.0.0", None, "https://a"),
                package("openssl", "1.0.0", Some("MIT"), "https://a"),
                package("far", "1.0.0", Some("MIT"), "https://b"),
                package("good", "2.0.0", Some("GPL-3.0"), "https://a"),
            ],
        );
        let expected = [
            "nothing 1.0.0: names no licence",
            "openssl 1.0.0: refused, too big",
            "far 1.0.0: comes from registry+https://b",
            "good 2.0.0: the licence 'GPL-3.0' is not on the list",
            "good: two versions, 1.0.0 and 2.0.0",
        ];
        assert_eq!(found, expected);
    }
}
