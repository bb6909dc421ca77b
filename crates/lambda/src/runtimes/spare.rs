//! What a spare of a runtime is started with, and which functions cannot be made from one.
//!
//! A spare's interpreter has read its environment before it is known what the function's is. The client
//! takes on the function's variables before it loads anything of it; what the interpreter, or a library
//! that it is made of, has looked at by then must be what it would have found. So a function with a
//! variable of that sort is started by itself, and so is one that is started by a program of its own,
//! or that brings a library of which the interpreter has its own already.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use super::packs::{Family, Pack};
use super::plan::{Start, WRAPPER, defaults, gem_versions};
use super::probe::library_name;
use crate::invoke::launcher::{Edition, Prepared};
use crate::invoke::spares::SPARE_TMP_MB;
use crate::state::version::Version;

/// Tells our clients to ask what they become.
const SPARE_NAME: &str = "_LAMBIC_SPARE";

/// Variables, or beginnings of their names, that the C library, its loader or OpenSSL read when a
/// program starts.
const READ_BY_LIBRARIES: [&str; 11] = [
    "GCONV_PATH",
    "GLIBC_TUNABLES",
    "LANG",
    "LC_",
    "LD_",
    "LOCPATH",
    "MALLOC_",
    "NLSPATH",
    "OPENSSL_",
    "SSL_CERT_",
    "TZ",
];
/// And those that an interpreter reads. `HOME` has modules of its user.
const READ_BY_PYTHON: [&str; 2] = ["HOME", "PYTHON"];
/// See [`READ_BY_PYTHON`].
const READ_BY_NODEJS: [&str; 4] = ["HOME", "ICU_", "NODE_", "UV_"];
/// See [`READ_BY_PYTHON`]. Gems elsewhere than AWS has them are not looked at here, see [`has_own_of`].
const READ_BY_RUBY: [&str; 4] = ["DEBIAN_", "GEM_", "HOME", "RUBY"];

/// See [`READ_BY_PYTHON`]. Java's launcher and Java itself take options from there.
const READ_BY_JAVA: [&str; 3] = ["JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS", "_JAVA_"];

/// What the spare of such a function is started with; `None` if it cannot be made from one. `start` is
/// how it starts without a wrapper.
pub(super) fn prepared(
    start: &Start,
    pack: &Pack,
    tmp_mb: u32,
    environment: &[(String, String)],
) -> Option<Prepared> {
    let names = || environment.iter().map(|(name, _)| name.as_str());
    if tmp_mb != SPARE_TMP_MB || names().any(|name| is_read_at_start(pack.family, name)) {
        return None;
    }
    // A layer's place is told to the client with the rest.
    let mut env = defaults(start.lang.as_deref(), start.variables.clone());
    env.push((SPARE_NAME.to_owned(), "1".to_owned()));
    let edition = edition(pack)?;
    let forks = has_zygotes(pack);
    let (binds, argv, modules) = (start.binds.clone(), start.argv.clone(), Vec::new());
    let cwd = start.cwd.unwrap_or("/").to_owned();
    let runtime = match pack.family {
        Family::Python => "python",
        Family::Nodejs => "nodejs",
        Family::Ruby => "ruby",
        Family::Java => "java",
        Family::Provided => return None,
    };
    Some(Prepared { binds, argv, env, cwd, edition, modules, forks, runtime })
}

/// Whether spares are copied from one process. Ruby has a second thread from 3.3 on, which only its own
/// `fork` knows how to replace.
fn has_zygotes(pack: &Pack) -> bool {
    match pack.family {
        Family::Python | Family::Nodejs => true,
        Family::Ruby => (pack.release.major, pack.release.minor) < (3, 3),
        Family::Java | Family::Provided => false,
    }
}

/// What tells the program's file from one that is put in its place.
pub(super) fn edition(pack: &Pack) -> Option<Edition> {
    let file = fs::metadata(&pack.executable).ok()?;
    Some(Edition(file.dev(), file.ino(), file.mtime()))
}

/// Whether the package or a layer brings something that a spare of this interpreter has loaded, at a
/// place where one that starts with the function would find it before its own.
pub(super) fn has_own_of(pack: &Pack, version: &Version) -> bool {
    has_libraries_of(pack, version) || pack.family == Family::Ruby && has_features_of(pack, version)
}

/// Ruby looks for what is required in the package first, and takes the newest version of a gem.
fn has_features_of(pack: &Pack, version: &Version) -> bool {
    let (task, layers) = (&version.bundle_path, version.layers_path.as_ref());
    let is_loaded = |name: &str| pack.features.iter().any(|known| known == name);
    let plain = [Some(task.clone()), layers.map(|layers| layers.join("ruby/lib"))];
    let file = |name: &str| {
        is_loaded(name.strip_suffix(".rb").or_else(|| name.strip_suffix(".so")).unwrap_or(name))
    };
    let gems = gem_versions(pack, &version.runtime).into_iter().flat_map(|version| {
        let bundled = task.join("vendor/bundle/ruby").join(&version).join("gems");
        [Some(bundled), layers.map(|layers| layers.join("ruby/gems").join(version).join("gems"))]
    });
    let gem = |name: &str| is_loaded(gem_name(name));
    has_entry(plain.into_iter().flatten(), file) || has_entry(gems.flatten(), gem)
}

/// `net-http` of `net-http-0.4.1`.
fn gem_name(folder: &str) -> &str {
    let is_version = |at: &usize| folder[at + 1..].starts_with(|next: char| next.is_ascii_digit());
    let end = folder.match_indices('-').map(|(at, _)| at).find(is_version);
    &folder[..end.unwrap_or(folder.len())]
}

pub(super) fn has_entry(
    folders: impl Iterator<Item = PathBuf>,
    is_it: impl Fn(&str) -> bool,
) -> bool {
    let mut entries = folders.filter_map(|folder| fs::read_dir(folder).ok()).flatten().flatten();
    entries.any(|entry| entry.file_name().to_str().is_some_and(&is_it))
}

fn has_libraries_of(pack: &Pack, version: &Version) -> bool {
    let task = &version.bundle_path;
    let opt = version.layers_path.as_ref().map(|layers| layers.join("lib"));
    // As in LD_LIBRARY_PATH.
    let folders = [Some(task.clone()), Some(task.join("lib")), opt].into_iter().flatten();
    has_entry(folders, |file| {
        library_name(file).is_some_and(|name| pack.libraries.iter().any(|known| known == name))
    })
}

fn is_read_at_start(family: Family, name: &str) -> bool {
    let by_interpreter: &[&str] = match family {
        Family::Python => &READ_BY_PYTHON,
        Family::Nodejs => &READ_BY_NODEJS,
        Family::Ruby => &READ_BY_RUBY,
        Family::Java => &READ_BY_JAVA,
        Family::Provided => &[],
    };
    name == WRAPPER
        || READ_BY_LIBRARIES.iter().chain(by_interpreter).any(|known| name.starts_with(known))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_at_the_start_keeps_a_function_from_spares() {
        let python = |name| is_read_at_start(Family::Python, name);
        let nodejs = |name| is_read_at_start(Family::Nodejs, name);
        let ruby = |name| is_read_at_start(Family::Ruby, name);
        for name in ["LD_PRELOAD", "LC_ALL", "TZ", "LANG", "GLIBC_TUNABLES", "MALLOC_ARENA_MAX"] {
            assert!(python(name) && nodejs(name), "{name}");
        }
        assert!(python("PYTHONPATH") && !nodejs("PYTHONPATH"));
        assert!(nodejs("NODE_OPTIONS") && nodejs("UV_THREADPOOL_SIZE") && !python("NODE_OPTIONS"));
        assert!(python(WRAPPER) && nodejs("HOME"));
        for name in ["PATH", "TABLE_NAME", "LOG_LEVEL", "AWS_ENDPOINT_URL", "MY_NODE_ENV"] {
            assert!(!python(name) && !nodejs(name) && !ruby(name), "{name}");
        }
        for name in ["RUBYOPT", "RUBY_YJIT_ENABLE", "GEM_PATH", "LC_CTYPE"] {
            assert!(ruby(name), "{name}");
        }
        let java = |name| is_read_at_start(Family::Java, name);
        assert!(java("JAVA_TOOL_OPTIONS") && java("_JAVA_OPTIONS") && java("JDK_JAVA_OPTIONS"));
        assert!(!java("JAVA_HOME") && !java("CLASSPATH") && !ruby("JAVA_TOOL_OPTIONS"));
        assert!(!ruby("BUNDLE_GEMFILE") && !ruby("PYTHONPATH") && !python("RUBYOPT"));
    }

    #[test]
    fn folders_of_gems_tell_their_names() {
        for (folder, name) in [
            ("json-2.9.1", "json"),
            ("net-http-0.4.1", "net-http"),
            ("nokogiri-1.16.0-x86_64-linux", "nokogiri"),
            ("plain", "plain"),
            ("aws-sdk-s3-1.2", "aws-sdk-s3"),
        ] {
            assert_eq!(gem_name(folder), name);
        }
    }
}
