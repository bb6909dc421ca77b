//! Where interpreters may be on this machine, and what one that is found says of itself.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use lambic_rt::Rt;

use super::packs::{Family, Pack, Release, is_host_system};

/// An interpreter that does not say its version within this time is left out.
const PROBE_MAX: Duration = Duration::from_secs(10);
/// Python ids that exist or may exist soon.
const PYTHON_MINORS: std::ops::RangeInclusive<u32> = 8..=16;
/// Releases of Ruby by which Debian names its programs, past and soon.
const RUBY_RELEASES: [(u32, u32); 8] =
    [(3, 0), (3, 1), (3, 2), (3, 3), (3, 4), (3, 5), (4, 0), (4, 1)];
/// Where Debian's Ruby installs gems.
const DEBIAN_GEMS: &str = "/var/lib/gems";

/// Major version, and minor version if it is known.
pub(super) type Hint = (u32, Option<u32>);

/// A file that may be an interpreter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) path: PathBuf,
    /// Major and minor version as far as its name or folder tells.
    pub(super) hint: Option<Hint>,
}

/// The folders in which interpreters are looked for, in order, from the variables of this process.
pub(super) fn search_dirs(variable: impl Fn(&str) -> Option<String>) -> Vec<PathBuf> {
    let mut dirs: Vec<PathBuf> = Vec::new();
    let path = variable("PATH").unwrap_or_default();
    dirs.extend(path.split(':').filter(|dir| dir.starts_with('/')).map(PathBuf::from));
    dirs.extend(["/usr/bin", "/usr/local/bin"].map(PathBuf::from));
    let java_home = variable("JAVA_HOME").filter(|home| home.starts_with('/'));
    dirs.extend(java_home.map(|home| PathBuf::from(home).join("bin")));
    for root in version_roots(variable) {
        // Packages of Java leave files between the folders.
        let versions = subfolders(&root).into_iter().filter(|version| version.is_dir());
        dirs.extend(versions.map(|version| version.join("bin")));
    }
    let mut seen = HashSet::new();
    // The shims of version managers are scripts that choose by folder; they tell nothing.
    dirs.retain(|dir| !dir.ends_with("shims") && seen.insert(dir.clone()));
    dirs
}

/// Folders that hold one folder for each version.
pub(super) fn version_roots(variable: impl Fn(&str) -> Option<String>) -> Vec<PathBuf> {
    let home = variable("HOME").map(PathBuf::from);
    let mut roots: Vec<PathBuf> = Vec::new();
    roots.extend(variable("PYENV_ROOT").map(|root| PathBuf::from(root).join("versions")));
    roots.extend(home.as_ref().map(|home| home.join(".pyenv/versions")));
    roots.extend(variable("NVM_DIR").map(|root| PathBuf::from(root).join("versions/node")));
    roots.extend(home.as_ref().map(|home| home.join(".nvm/versions/node")));
    roots.extend(variable("RBENV_ROOT").map(|root| PathBuf::from(root).join("versions")));
    roots.extend(home.as_ref().map(|home| home.join(".rbenv/versions")));
    roots.extend(home.as_ref().map(|home| home.join(".sdkman/candidates/java")));
    roots.push(PathBuf::from("/usr/lib/jvm"));
    roots.push(PathBuf::from("/opt/rubies"));
    roots.push(PathBuf::from("/opt"));
    roots
}

fn subfolders(root: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(root) else { return Vec::new() };
    let mut found: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    found.sort();
    found
}

/// The interpreters of a family in these folders; each file once.
pub(super) fn candidates(family: Family, dirs: &[PathBuf]) -> Vec<Candidate> {
    let mut found: Vec<Candidate> = Vec::new();
    let mut seen = HashSet::new();
    for dir in dirs {
        for (name, of_name) in names(family) {
            let Ok(path) = dir.join(name).canonicalize() else { continue };
            if path.is_file() && seen.insert(path.clone()) {
                let hint = of_name.or_else(|| hint_of_folder(&path));
                found.push(Candidate { path, hint });
            }
        }
    }
    found
}

fn names(family: Family) -> Vec<(String, Option<Hint>)> {
    match family {
        Family::Python => PYTHON_MINORS
            .map(|minor| (format!("python3.{minor}"), Some((3, Some(minor)))))
            .chain([("python3".to_owned(), None)])
            .collect(),
        Family::Nodejs => vec![("node".to_owned(), None), ("nodejs".to_owned(), None)],
        Family::Ruby => {
            [("ruby".to_owned(), None)]
                .into_iter()
                .chain(RUBY_RELEASES.map(|(major, minor)| {
                    (format!("ruby{major}.{minor}"), Some((major, Some(minor))))
                }))
                .collect()
        }
        Family::Java => vec![("java".to_owned(), None)],
        Family::Provided => Vec::new(),
    }
}

/// Folders with gems that are apart from their interpreter.
pub(super) fn gem_folders() -> Vec<PathBuf> {
    subfolders(Path::new(DEBIAN_GEMS))
}

/// Where Debian keeps what the packages of Java read when they start.
pub(super) fn java_settings() -> Vec<PathBuf> {
    let is_of_java = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str());
        path.is_dir() && name.is_some_and(|name| name.starts_with("java-"))
    };
    subfolders(Path::new("/etc")).into_iter().filter(is_of_java).collect()
}

/// `…/v20.11.0/bin/node`, `…/3.13.0/bin/python3`, `…/ruby-3.4.1/bin/ruby` and `…/java-17-openjdk/bin/java`
/// tell their version.
fn hint_of_folder(path: &Path) -> Option<Hint> {
    let folder = path.parent()?.parent()?.file_name()?.to_str()?;
    if path.file_name()? == "java" {
        let digits = folder.find(|c: char| c.is_ascii_digit())?;
        return Some((Release::parse_java(&folder[digits..])?.major, None));
    }
    let mut numbers = folder
        .trim_start_matches("ruby-")
        .trim_start_matches('v')
        .split('.')
        .map(|part| part.parse().ok());
    let major = numbers.next()??;
    Some((major, numbers.next().flatten()))
}

/// Asks an interpreter for its version and for the folder it lives in. `None`: it does not work.
pub(super) async fn probe(rt: &Rt, family: Family, path: &Path) -> Option<Pack> {
    let (option, program) = match family {
        Family::Python => (
            "-c",
            "import sys, _socket, importlib, json, os, time\n\
             print('%d.%d.%d' % sys.version_info[:3])\nprint(sys.base_prefix)\n\
             print(getattr(sys, '_base_executable', None) or sys.executable)\n\
             print(open('/proc/self/maps').read())",
        ),
        Family::Nodejs => {
            let program = "const maps = require('fs').readFileSync('/proc/self/maps', 'utf8');\
                 [process.versions.node, '', process.execPath, maps].join(String.fromCharCode(10))";
            ("-p", program)
        }
        Family::Ruby => ("-e", PROBE_RUBY),
        Family::Java => return probe_java(rt, path).await,
        Family::Provided => return None,
    };
    let mut command = tokio::process::Command::new(path);
    command.arg(option).arg(program).stdin(Stdio::null()).kill_on_drop(true);
    let output = rt.within(PROBE_MAX, command.output()).await?.ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let mut lines = text.lines();
    let release = Release::parse(lines.next()?)?;
    if !is_supported(family, release) {
        return None;
    }
    let prefix = lines.next()?.trim();
    let executable = Path::new(lines.next()?.trim()).canonicalize().ok()?;
    let prefix = match prefix {
        "" => executable.parent()?.parent()?.to_owned(),
        prefix => Path::new(prefix).canonicalize().ok()?,
    };
    let mut more = (Vec::new(), None);
    if family == Family::Ruby {
        let gems = Some(PathBuf::from(lines.next()?)).filter(|gems| has_gems(gems, &prefix));
        more = (lines.next()?.split(' ').map(str::to_owned).collect(), gems);
    }
    let ((features, gems), libraries) = (more, libraries(lines));
    let archive = None;
    Some(Pack { family, release, executable, prefix, libraries, features, gems, archive })
}

/// As [`probe`]; what Java has loaded is found out when the client is run with it, see `archives`. Other
/// virtual machines take other options.
async fn probe_java(rt: &Rt, path: &Path) -> Option<Pack> {
    let mut command = tokio::process::Command::new(path);
    command.args(["-XX:-UsePerfData", "-XX:+IgnoreUnrecognizedVMOptions"]);
    command.args(["-XshowSettings:properties", "-version"]);
    command.stdin(Stdio::null()).kill_on_drop(true);
    let output = rt.within(PROBE_MAX, command.output()).await?.ok()?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let property = |name: &str| {
        let mut lines = text.lines().filter_map(|line| line.trim().split_once(" = "));
        lines.find(|(known, _)| *known == name).map(|(_, value)| value.trim())
    };
    let release = Release::parse_java(property("java.version")?)?;
    let virtual_machine = property("java.vm.name")?;
    let is_hotspot = ["OpenJDK", "HotSpot"].iter().any(|name| virtual_machine.contains(name));
    if !is_hotspot || !is_supported(Family::Java, release) {
        return None;
    }
    let prefix = Path::new(property("java.home")?).canonicalize().ok()?;
    let executable = prefix.join("bin/java").canonicalize().ok()?;
    let (libraries, features) = Default::default();
    let (family, gems, archive) = (Family::Java, None, None);
    Some(Pack { family, release, executable, prefix, libraries, features, gems, archive })
}

/// Prints version, prefix, program, the folder of gems, what the client that we ship finds loaded with
/// itself, and the memory map. Other implementations of the language are left out.
const PROBE_RUBY: &str = r##"
    exit unless RUBY_ENGINE == "ruby"
    require "json"
    require "time"
    folders = $LOAD_PATH.map { |folder| "#{folder}/" }
    features = $LOADED_FEATURES.map do |file|
      folder = folders.find { |folder| file.start_with?(folder) }
      file.delete_prefix(folder.to_s).split("/").first.to_s.sub(/\.(rb|so)$/, "")
    end
    puts RUBY_VERSION, RbConfig::CONFIG["prefix"], RbConfig.ruby, Gem.default_dir
    puts (features + Gem.loaded_specs.keys).uniq.sort.join(" ")
    puts File.read("/proc/self/maps")
"##;

/// Whether there are gems in this folder which environments would not see anyway.
fn has_gems(folder: &Path, prefix: &Path) -> bool {
    let is_apart = !is_host_system(folder) && !folder.starts_with(prefix);
    is_apart && !subfolders(&folder.join("specifications")).is_empty()
}

/// Of the lines of a process's memory map.
pub(super) fn libraries<'a>(maps: impl Iterator<Item = &'a str>) -> Vec<String> {
    let files = maps.filter_map(|line| Path::new(line.split_whitespace().nth(5)?).file_name());
    let mut names: Vec<String> =
        files.filter_map(|name| library_name(name.to_str()?)).map(str::to_owned).collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// What stands before `.so` in the name of a shared library.
pub(super) fn library_name(file: &str) -> Option<&str> {
    let (name, version) = file.split_once(".so")?;
    (version.is_empty() || version.starts_with('.')).then_some(name)
}

/// What the clients that we ship can run on.
fn is_supported(family: Family, release: Release) -> bool {
    match family {
        Family::Python => (release.major, release.minor) >= (3, 8),
        Family::Nodejs => release.major >= 18,
        Family::Ruby => release.major >= 3,
        Family::Java => release.major >= 8,
        Family::Provided => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_tell_versions() {
        let hint = |path: &str| hint_of_folder(Path::new(path));
        assert_eq!(hint("/r/.nvm/versions/node/v20.11.0/bin/node"), Some((20, Some(11))));
        assert_eq!(hint("/r/.pyenv/versions/3.13.0/bin/python3"), Some((3, Some(13))));
        assert_eq!(hint("/opt/rubies/ruby-3.4.1/bin/ruby"), Some((3, Some(4))));
        assert_eq!(hint("/usr/bin/node"), None);
        assert_eq!(hint("/usr/lib/jvm/temurin-25-jdk-amd64/bin/java"), Some((25, None)));
        assert_eq!(hint("/opt/jdk1.8.0_392/bin/java"), Some((8, None)));
        assert_eq!(hint("/usr/bin/java"), None);
    }

    #[test]
    fn libraries_are_told_by_their_names_without_versions() {
        let maps = "7f00-7f01 r--p 0000 fe:00 12 /usr/lib/x86_64-linux-gnu/libz.so.1.2.13\n\
                    7f01-7f02 r-xp 1000 fe:00 12 /usr/lib/x86_64-linux-gnu/libz.so.1.2.13\n\
                    7f03-7f04 rw-p 0000 00:00 0\n\
                    7f05-7f06 r--p 0000 fe:00 13 /usr/lib/libc.so.6\n\
                    7f07-7f08 r--p 0000 fe:00 14 /usr/bin/python3.11\n7f09-7f0a rw-p 0 00:00 0 [heap]";
        assert_eq!(libraries(maps.lines()), ["libc", "libz"]);
        assert_eq!(library_name("libx.source"), None);
        assert_eq!(library_name("libx.so"), Some("libx"));
    }

    #[test]
    fn version_managers_and_the_path_are_searched_but_not_shims() {
        let home = tempfile::tempdir().unwrap();
        let bin = home.path().join(".pyenv/versions/3.12.1/bin");
        std::fs::create_dir_all(&bin).unwrap();
        std::fs::write(bin.join("python3.12"), "").unwrap();
        let home_text = home.path().to_str().unwrap().to_owned();
        let dirs = search_dirs(|name| match name {
            "HOME" => Some(home_text.clone()),
            "PATH" => Some("/x/shims:/x/bin:relative".to_owned()),
            _ => None,
        });
        assert!(dirs.contains(&PathBuf::from("/x/bin")) && dirs.contains(&bin));
        assert!(!dirs.contains(&PathBuf::from("/x/shims")));
        let found = candidates(Family::Python, &[bin.clone(), bin]);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].hint, Some((3, Some(12))));
    }
}
