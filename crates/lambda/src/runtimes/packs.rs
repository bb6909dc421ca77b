//! Runtime packs: which interpreter of this machine serves a runtime id such as `python3.13`.
//!
//! Interpreters are looked for when first needed: `PATH`, `/usr/bin`, `/usr/local/bin`, pyenv, nvm,
//! rbenv, `JAVA_HOME`, `/usr/lib/jvm` and `/opt`. Each is asked for its version by running it, those whose name promises the wanted
//! version first. Without an exact match the nearest of the family serves and the log says so;
//! `strict` refuses. `provided` runtimes need nothing.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use lambic_rt::Rt;

use super::archives;
use super::clients::Clients;
use super::probe::{self, Candidate};

/// What the configuration says about runtimes.
#[derive(Clone, Debug, Default)]
pub struct PacksConfig {
    /// Runtime id → interpreter, an absolute path; used whatever its version is.
    pub overrides: BTreeMap<String, PathBuf>,
    /// Refuse a runtime that is not on this machine in exactly its version.
    pub strict: bool,
}

/// Families of runtimes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// CPython.
    Python,
    /// Node.js.
    Nodejs,
    /// The Ruby that is written in C.
    Ruby,
    /// The one of OpenJDK.
    Java,
    /// The function brings its own `bootstrap`.
    Provided,
}

/// A version of an interpreter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Release {
    /// 3 of 3.13.1.
    pub major: u32,
    /// 13 of 3.13.1.
    pub minor: u32,
    /// 1 of 3.13.1.
    pub patch: u32,
}

/// An interpreter that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pack {
    /// What it interprets.
    pub family: Family,
    /// Its version.
    pub release: Release,
    /// The program, without symbolic links.
    pub executable: PathBuf,
    /// The folder that holds the program and its library.
    pub prefix: PathBuf,
    /// Names of the shared libraries that it has loaded when our client has loaded itself, without
    /// versions: `libz` for libz.so.1.3.
    pub libraries: Vec<String>,
    /// What else `require` finds loaded by then, by the first parts of their names; Ruby only, where the
    /// package comes first in the search from the interpreter's start on.
    pub features: Vec<String>,
    /// Where packages that are installed for everybody are, if that is apart from the interpreter.
    pub gems: Option<PathBuf>,
    /// What Java begins with instead of loading all classes itself; its place below the client.
    pub archive: Option<String>,
}

/// What a runtime id asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Wanted {
    family: Family,
    major: u32,
    /// Absent where the major version decides (Node.js, Java).
    minor: Option<u32>,
}

/// The runtime packs of this machine.
pub struct Packs {
    config: PacksConfig,
    rt: Rt,
    clients: Clients,
    dirs: Vec<PathBuf>,
    resolved: Mutex<HashMap<String, Option<Arc<Pack>>>>,
    /// What has been asked for its version; held while asking, so that a burst asks once.
    probed: tokio::sync::Mutex<HashMap<PathBuf, Option<Pack>>>,
    /// Held while something is made for an interpreter.
    preparing: tokio::sync::Mutex<()>,
}

impl Release {
    /// As Java has it: `17.0.15`, `21`, and `1.8.0_392` for Java 8.
    pub(super) fn parse_java(text: &str) -> Option<Release> {
        let digits = |part: &str| part.parse().ok();
        let mut parts = text.trim().split(|c: char| !c.is_ascii_digit()).map(digits);
        let (major, minor, patch) = (parts.next()??, parts.next(), parts.next());
        let (minor, patch) = (minor.flatten().unwrap_or(0), patch.flatten().unwrap_or(0));
        match major {
            1 => Some(Release {
                major: minor,
                minor: patch,
                patch: parts.next().flatten().unwrap_or(0),
            }),
            _ => Some(Release { major, minor, patch }),
        }
    }

    /// From `3.13.1`, `v20.11.0`, `3.14.0rc1`.
    pub fn parse(text: &str) -> Option<Release> {
        let mut parts = text.trim().trim_start_matches('v').splitn(3, '.');
        let major = parts.next()?.parse().ok()?;
        let minor = parts.next()?.parse().ok()?;
        let patch = parts.next().unwrap_or("0");
        let digits = patch.find(|c: char| !c.is_ascii_digit()).unwrap_or(patch.len());
        Some(Release { major, minor, patch: patch[..digits].parse().unwrap_or(0) })
    }
}

impl fmt::Display for Release {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

impl Family {
    /// Those that an interpreter of the machine serves.
    pub const INTERPRETED: [Family; 4] =
        [Family::Python, Family::Nodejs, Family::Ruby, Family::Java];
}

impl fmt::Display for Family {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Family::Python => "python",
            Family::Nodejs => "nodejs",
            Family::Ruby => "ruby",
            Family::Java => "java",
            Family::Provided => "provided",
        })
    }
}

impl Wanted {
    fn parse(runtime: &str) -> Option<Wanted> {
        if runtime == "provided" || runtime.starts_with("provided.") {
            return Some(Wanted { family: Family::Provided, major: 0, minor: None });
        }
        for (name, family) in [("python", Family::Python), ("ruby", Family::Ruby)] {
            if let Some(version) = runtime.strip_prefix(name) {
                let (major, minor) = version.split_once('.')?;
                let (major, minor) = (major.parse().ok()?, Some(minor.parse().ok()?));
                return Some(Wanted { family, major, minor });
            }
        }
        if let Some(version) = runtime.strip_prefix("java") {
            // What stands behind the version is the system that AWS has beneath it.
            let major = version.split_once('.').map_or(version, |(major, _)| major).parse().ok()?;
            return Some(Wanted { family: Family::Java, major, minor: None });
        }
        let major = runtime.strip_prefix("nodejs")?.strip_suffix(".x")?.parse().ok()?;
        Some(Wanted { family: Family::Nodejs, major, minor: None })
    }

    fn is_met_by(self, release: Release) -> bool {
        release.major == self.major && self.minor.is_none_or(|minor| minor == release.minor)
    }

    fn may_be(self, candidate: &Candidate) -> bool {
        candidate.hint.is_some_and(|(major, minor)| {
            major == self.major
                && self.minor.is_none_or(|wanted| minor.is_none_or(|hinted| hinted == wanted))
        })
    }

    /// Smaller is nearer; a newer release is nearer than an older one equally far away.
    fn distance(self, release: Release) -> (u32, bool) {
        let is_older = release.major < self.major;
        match self.minor {
            // A newer one runs what is made for an older one, but not the other way round.
            None if self.family == Family::Java => {
                (release.major.abs_diff(self.major) + 1_000 * u32::from(is_older), is_older)
            }
            Some(minor) => (
                release.major.abs_diff(self.major) * 1_000 + release.minor.abs_diff(minor),
                release.minor < minor,
            ),
            None => (release.major.abs_diff(self.major), is_older),
        }
    }
}

impl Packs {
    /// Looks for nothing yet.
    pub fn new(config: PacksConfig, clients: Clients, rt: Rt) -> Packs {
        let dirs = probe::search_dirs(|name| std::env::var(name).ok());
        let (resolved, probed, preparing) = Default::default();
        Packs { config, rt, clients, dirs, resolved, probed, preparing }
    }

    /// Where the clients that we ship are.
    pub fn clients(&self) -> &Clients {
        &self.clients
    }

    /// Folders of this machine that environments may have to see for their interpreter, beyond
    /// `/usr` and `/lib`. Cheap; needs no `Packs`, because the sandbox is told before any thread
    /// runs.
    pub fn bind_roots(config: &PacksConfig) -> Vec<PathBuf> {
        let dirs = probe::search_dirs(|name| std::env::var(name).ok());
        let found = Family::INTERPRETED
            .into_iter()
            .flat_map(|family| probe::candidates(family, &dirs))
            .map(|candidate| candidate.path);
        let configured = config.overrides.values().filter_map(|path| path.canonicalize().ok());
        let mut roots: Vec<PathBuf> = found
            .chain(configured)
            .filter_map(|path| Some(path.parent()?.parent()?.to_owned()))
            .chain(probe::gem_folders())
            .filter(|root| root.parent().is_some() && !is_host_system(root))
            .collect();
        roots.sort();
        roots.dedup();
        roots
    }

    /// Folders that whoever looks for interpreters reads, and starts programs from.
    pub fn searched(config: &PacksConfig) -> Vec<PathBuf> {
        let variable = |name: &str| std::env::var(name).ok();
        let mut searched = probe::search_dirs(variable);
        searched.extend(probe::version_roots(variable));
        searched.extend(probe::java_settings());
        searched.extend(Packs::bind_roots(config));
        searched
    }

    /// The interpreter for a runtime id; `None` for `provided` ones, which bring their own.
    /// The error names what is missing and how to get it.
    pub async fn resolve(&self, runtime: &str) -> Result<Option<Arc<Pack>>, String> {
        if let Some(pack) = self.known(runtime) {
            return Ok(pack);
        }
        let wanted = Wanted::parse(runtime)
            .ok_or_else(|| format!("the runtime {runtime} is not offered by this server"))?;
        let pack = match wanted.family {
            Family::Provided => None,
            Family::Java => {
                let pack = self.find(runtime, wanted).await?;
                let _alone = self.preparing.lock().await;
                Some(Arc::new(archives::prepared(&self.rt, pack, &self.clients.java).await?))
            }
            _ => Some(Arc::new(self.find(runtime, wanted).await?)),
        };
        let mut known = self.resolved.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(known.entry(runtime.to_owned()).or_insert(pack).clone())
    }

    fn known(&self, runtime: &str) -> Option<Option<Arc<Pack>>> {
        self.resolved.lock().unwrap_or_else(PoisonError::into_inner).get(runtime).cloned()
    }

    /// Every interpreter that is found, each asked for its version; for `lambic doctor`.
    pub async fn list(&self) -> Vec<Pack> {
        let mut found = Vec::new();
        for family in Family::INTERPRETED {
            for candidate in probe::candidates(family, &self.dirs) {
                found.extend(self.probe(family, &candidate.path).await);
            }
        }
        found.sort_by_key(|pack| (pack.family.to_string(), pack.release));
        found
    }

    async fn find(&self, runtime: &str, wanted: Wanted) -> Result<Pack, String> {
        if let Some(path) = self.config.overrides.get(runtime) {
            let said = self.probe(wanted.family, path).await;
            return said.ok_or_else(|| {
                format!(
                    "the interpreter configured for {runtime}, {}, does not work or is too old",
                    path.display()
                )
            });
        }
        let mut candidates = probe::candidates(wanted.family, &self.dirs);
        // Those that promise the wanted version first; the sort keeps the order of the search.
        candidates.sort_by_key(|candidate| !wanted.may_be(candidate));
        let mut nearest: Option<Pack> = None;
        for candidate in candidates {
            let Some(pack) = self.probe(wanted.family, &candidate.path).await else { continue };
            if wanted.is_met_by(pack.release) {
                return Ok(pack);
            }
            let is_nearer = nearest
                .as_ref()
                .is_none_or(|near| wanted.distance(pack.release) < wanted.distance(near.release));
            if is_nearer {
                nearest = Some(pack);
            }
        }
        self.nearest(runtime, wanted, nearest)
    }

    fn nearest(&self, runtime: &str, wanted: Wanted, near: Option<Pack>) -> Result<Pack, String> {
        let remedy = format!(
            "install it (for example with {}), or name it in the configuration under [runtimes]",
            match wanted.family {
                Family::Python => "pyenv",
                Family::Ruby => "rbenv",
                Family::Java => "the packages of Eclipse Temurin",
                Family::Nodejs | Family::Provided => "nvm",
            }
        );
        match near {
            None => Err(format!("no {} interpreter is on this machine: {remedy}", wanted.family)),
            Some(pack) if self.config.strict => Err(format!(
                "{runtime} is not on this machine, the nearest is {}: {remedy}",
                pack.release
            )),
            Some(pack) => {
                tracing::warn!(
                    runtime,
                    served_by = %pack.executable.display(),
                    release = %pack.release,
                    "no exact match for the runtime on this machine; the nearest serves"
                );
                Ok(pack)
            }
        }
    }

    async fn probe(&self, family: Family, path: &Path) -> Option<Pack> {
        let mut probed = self.probed.lock().await;
        if let Some(known) = probed.get(path) {
            return known.clone();
        }
        let said = probe::probe(&self.rt, family, path).await;
        probed.insert(path.to_owned(), said.clone());
        said
    }
}

/// What every environment sees of the host anyway.
pub(super) fn is_host_system(path: &Path) -> bool {
    ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64"].iter().any(|dir| path.starts_with(dir))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn release(text: &str) -> Release {
        Release::parse(text).unwrap()
    }

    #[test]
    fn versions_are_read() {
        assert_eq!(release("3.13.1"), Release { major: 3, minor: 13, patch: 1 });
        assert_eq!(release("v20.11.0").to_string(), "20.11.0");
        assert_eq!(release("3.14.0rc1"), Release { major: 3, minor: 14, patch: 0 });
        assert_eq!(Release::parse("python"), None);
        for (text, told) in [("17.0.15", "17.0.15"), ("21", "21.0.0"), ("1.8.0_392", "8.0.392")] {
            assert_eq!(Release::parse_java(text).unwrap().to_string(), told);
        }
    }

    #[test]
    fn ids_are_read() {
        let wanted = |text: &str| Wanted::parse(text).map(|wanted| (wanted.major, wanted.minor));
        assert_eq!(wanted("python3.13"), Some((3, Some(13))));
        assert_eq!(wanted("nodejs22.x"), Some((22, None)));
        assert_eq!(wanted("ruby3.4"), Some((3, Some(4))));
        assert_eq!(wanted("provided.al2023"), Some((0, None)));
        assert_eq!((wanted("java21"), wanted("java8.al2")), (Some((21, None)), Some((8, None))));
        assert_eq!((wanted("javascript"), wanted("dotnet8")), (None, None));
    }

    #[test]
    fn the_nearest_is_the_newer_of_two_equally_far() {
        let wanted = Wanted::parse("python3.10").unwrap();
        let mut found = ["3.8.1", "3.9.0", "3.11.0", "3.13.0"].map(release);
        found.sort_by_key(|release| wanted.distance(*release));
        assert_eq!(found.map(|release| release.minor), [11, 9, 8, 13]);
        assert!(Wanted::parse("nodejs20.x").unwrap().is_met_by(release("20.1.0")));
        let wanted = Wanted::parse("java21").unwrap();
        let mut found = ["17.0.1", "24.0.0", "25.0.0", "8.0.0"].map(release);
        found.sort_by_key(|release| wanted.distance(*release));
        assert_eq!(
            found.map(|release| release.major),
            [24, 25, 17, 8],
            "code for 21 runs on those"
        );
    }

    #[tokio::test]
    async fn this_machine_has_python_nodejs_ruby_and_java() {
        let dir = tempfile::tempdir().unwrap();
        let clients = Clients::install(dir.path()).unwrap();
        let packs = Packs::new(PacksConfig::default(), clients.clone(), Rt::real());
        let found = packs.list().await;
        for family in Family::INTERPRETED {
            assert!(found.iter().any(|pack| pack.family == family), "no {family}: {found:?}");
        }
        let python = packs.resolve("python3.13").await.unwrap().unwrap();
        assert!(python.executable.starts_with(&python.prefix), "{python:?}");
        assert_eq!(packs.resolve("provided.al2").await, Ok(None));
        assert!(packs.resolve("dotnet8").await.unwrap_err().contains("dotnet8"));

        let config = PacksConfig { strict: true, ..PacksConfig::default() };
        let strict = Packs::new(config, clients.clone(), Rt::real());
        assert!(strict.resolve("nodejs98.x").await.unwrap_err().contains("nodejs98.x"));

        let overrides = BTreeMap::from([("python3.14".to_owned(), python.executable.clone())]);
        let config = PacksConfig { overrides, strict: true };
        let overridden = Packs::new(config, clients, Rt::real());
        let chosen = overridden.resolve("python3.14").await.unwrap().unwrap();
        assert_eq!(chosen.executable, python.executable);
    }
}
