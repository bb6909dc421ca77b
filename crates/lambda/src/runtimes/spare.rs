//! What a spare of a runtime is started with, and which functions cannot be made from one.
//!
//! A spare's interpreter has read its environment before it is known what the function's is. The client
//! takes on the function's variables before it loads anything of it; what the interpreter, or a library
//! that it is made of, has looked at by then must be what it would have found. So a function with a
//! variable of that sort is started by itself, and so is one that is started by a program of its own,
//! or that brings a library of which the interpreter has its own already.

use std::fs;
use std::os::unix::fs::MetadataExt;

use super::packs::{Family, Pack};
use super::plan::{Start, WRAPPER, defaults};
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
    let mut env = defaults(start.lang, start.variables.clone());
    env.push((SPARE_NAME.to_owned(), "1".to_owned()));
    let edition = edition(pack)?;
    Some(Prepared { binds: start.binds.clone(), argv: start.argv.clone(), env, edition })
}

/// What tells the program's file from one that is put in its place.
pub(super) fn edition(pack: &Pack) -> Option<Edition> {
    let file = fs::metadata(&pack.executable).ok()?;
    Some(Edition(file.dev(), file.ino(), file.mtime()))
}

/// Whether the package or a layer brings one of the libraries that this interpreter is made of, at a
/// place where its loader would find it before its own.
pub(super) fn has_libraries_of(pack: &Pack, version: &Version) -> bool {
    let task = &version.bundle_path;
    let opt = version.layers_path.as_ref().map(|layers| layers.join("lib"));
    // As in LD_LIBRARY_PATH.
    let folders = [Some(task.clone()), Some(task.join("lib")), opt].into_iter().flatten();
    folders.filter_map(|folder| fs::read_dir(folder).ok()).flatten().flatten().any(|entry| {
        let file = entry.file_name();
        let name = file.to_str().and_then(library_name);
        name.is_some_and(|name| pack.libraries.iter().any(|known| known == name))
    })
}

fn is_read_at_start(family: Family, name: &str) -> bool {
    let by_interpreter: &[&str] = match family {
        Family::Python => &READ_BY_PYTHON,
        Family::Nodejs => &READ_BY_NODEJS,
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
        for name in ["LD_PRELOAD", "LC_ALL", "TZ", "LANG", "GLIBC_TUNABLES", "MALLOC_ARENA_MAX"] {
            assert!(python(name) && nodejs(name), "{name}");
        }
        assert!(python("PYTHONPATH") && !nodejs("PYTHONPATH"));
        assert!(nodejs("NODE_OPTIONS") && nodejs("UV_THREADPOOL_SIZE") && !python("NODE_OPTIONS"));
        assert!(python(WRAPPER) && nodejs("HOME"));
        for name in ["PATH", "TABLE_NAME", "LOG_LEVEL", "AWS_ENDPOINT_URL", "MY_NODE_ENV"] {
            assert!(!python(name) && !nodejs(name), "{name}");
        }
    }
}
