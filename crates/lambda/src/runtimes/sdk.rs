//! What it means that a spare of Python has imported AWS's SDK, and which functions can be made from one.
//!
//! A function must get the modules that it would have got without spares. So an interpreter is asked, once
//! and only when a function has imported the SDK, what its import looks for and looks at. A function that
//! brings anything of that name, or has a variable of that name of its own, or a library that the import
//! loads, is not made from such a spare; nor is any as soon as something was installed or removed where
//! the interpreter has its modules, until it has been asked again.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;

use lambic_rt::Rt;

use super::packs::{Family, Pack};
use super::plan::managed;
use super::probe::{PROBE_MAX, libraries, library_name};
use super::spare::{self, has_entry};
use crate::invoke::Common;
use crate::invoke::imports::SDK;
use crate::invoke::launcher::{Edition, Prepared};
use crate::state::version::Version;

/// Tells our client what to import.
const IMPORTS_NAME: &str = "_LAMBIC_IMPORTS";
const PROGRAM: &str = include_str!("python/closure.py");

/// What the import of the SDK comes to with one interpreter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Closure {
    /// What it looks for, found or not, by the first parts of the names.
    modules: Vec<String>,
    /// Variables that it reads.
    variables: Vec<String>,
    /// Libraries that are loaded then.
    libraries: Vec<String>,
    /// Where the interpreter has modules.
    folders: Vec<(PathBuf, Edition)>,
}

impl Closure {
    /// Asks an interpreter. `None`: it has no SDK.
    pub(super) async fn of(rt: &Rt, pack: &Pack) -> Option<Closure> {
        let mut command = tokio::process::Command::new(&pack.executable);
        // Neither modules of this user nor what its variables name: environments have none of it.
        command.args(["-I", "-B", "-c", PROGRAM, SDK]);
        command.stdin(Stdio::null()).kill_on_drop(true);
        let output = rt.within(PROBE_MAX, command.output()).await?.ok()?;
        let text = String::from_utf8(output.stdout).ok().filter(|_| output.status.success())?;
        let mut lines = text.lines();
        let mut words = || Some(lines.next()?.split(' ').map(str::to_owned).collect::<Vec<_>>());
        let (modules, variables) = (words()?, words()?);
        let places: Vec<PathBuf> = serde_json::from_str(lines.next()?).ok()?;
        let folders = places.into_iter().map(|place| Some((edition(&place), place)));
        let folders = folders.flatten().map(|(edition, place)| (place, edition)).collect();
        Some(Closure { modules, variables, libraries: libraries(lines), folders })
    }

    /// Whether the interpreter's modules are those that they were.
    pub(super) fn is_current(&self) -> bool {
        self.folders.iter().all(|(place, known)| edition(place) == *known)
    }

    /// What a spare with the SDK is started with, if a function with this package and these
    /// layers finds what such a spare has; `env` are its variables.
    pub(super) fn prepared(
        &self,
        plain: &Prepared,
        pack: &Pack,
        (task, layers): (&PathBuf, Option<&PathBuf>),
        env: &[(String, String)],
    ) -> Option<Prepared> {
        let value = |env: &[(String, String)], name: &str| {
            env.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone())
        };
        let is_other = |name: &String| name == "*" || value(env, name) != value(&plain.env, name);
        if self.variables.iter().filter(|name| !name.is_empty()).any(is_other) {
            return None;
        }
        let modules = places(pack, task, layers);
        if has_entry(modules, |file| self.is_looked_for(file)) {
            return None;
        }
        let opt = layers.map(|layers| layers.join("lib"));
        let libraries = [Some(task.clone()), Some(task.join("lib")), opt].into_iter().flatten();
        let is_loaded = |name: &str| self.libraries.iter().any(|known| known == name);
        if has_entry(libraries, |file| library_name(file).is_some_and(is_loaded)) {
            return None;
        }
        let mut prepared = plain.clone();
        prepared.env.push((IMPORTS_NAME.to_owned(), SDK.to_owned()));
        prepared.modules.clone_from(&self.folders);
        Some(prepared)
    }

    /// Whether a file or folder of this name is found in place of something, or before something was.
    fn is_looked_for(&self, file: &str) -> bool {
        // What a path file names may be anything.
        let name = file.split('.').next().unwrap_or_default();
        file.ends_with(".pth") || self.modules.iter().any(|known| known == name)
    }
}

/// Where the function's own modules are that come before the interpreter's.
fn places(pack: &Pack, task: &Path, layers: Option<&PathBuf>) -> impl Iterator<Item = PathBuf> {
    let release = pack.release;
    let packages = format!("python/lib/python{}.{}/site-packages", release.major, release.minor);
    let of_layers = layers.map(|layers| [layers.join("python"), layers.join(packages)]);
    [task.to_owned()].into_iter().chain(of_layers.into_iter().flatten())
}

/// What a spare is started with that this version can be made from, and that has imported the SDK.
pub(crate) async fn spare_with_sdk(common: &Common, version: &Version) -> Option<Prepared> {
    let pack = common.packs.resolve(&version.runtime).await.ok()??;
    let start = managed(&pack, common.packs.clients(), version.memory_mb);
    let plain = spare::prepared(&start, &pack, version.tmp_mb, &version.environment)?;
    let closure = common.packs.learn_sdk(&pack).await?;
    let layers = version.layers_path.as_ref();
    closure.prepared(&plain, &pack, (&version.bundle_path, layers), &version.environment)
}

/// As [`spare_with_sdk`], if the version was seen to import it; `plain` is what one is started with that has not.
pub(super) async fn spare_of(
    common: &Arc<Common>,
    version: &Version,
    pack: Option<&Arc<Pack>>,
    plain: Option<&Prepared>,
    env: &[(String, String)],
) -> Option<Prepared> {
    let (pack, plain) = (pack?, plain?);
    if pack.family != Family::Python || !common.has_imported_sdk(version).await {
        return None;
    }
    match common.packs.sdk(pack) {
        Ok(closure) => {
            let layers = version.layers_path.as_ref();
            closure?.prepared(plain, pack, (&version.bundle_path, layers), env)
        }
        Err(_) => {
            common.learn_sdk(pack.clone());
            None
        }
    }
}

fn edition(place: &Path) -> Edition {
    let found = fs::metadata(place).map(|found| Edition(found.dev(), found.ino(), found.mtime()));
    found.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::runtimes::packs::Release;

    fn pack() -> Pack {
        let release = Release { major: 3, minor: 13, patch: 0 };
        let (executable, prefix) = ("/p/bin/python3.13".into(), "/p".into());
        let (family, archive, gems) = (Family::Python, None, Default::default());
        let (libraries, features) = Default::default();
        Pack { family, release, executable, prefix, libraries, features, gems, archive }
    }

    fn closure(place: &Path) -> Closure {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect();
        Closure {
            modules: words("boto3 certifi six urllib3"),
            variables: words("HOME"),
            libraries: words("libssl"),
            folders: vec![(place.to_owned(), edition(place))],
        }
    }

    fn plain() -> Prepared {
        let env = vec![("LANG".to_owned(), "C".to_owned())];
        let (binds, argv, edition, modules) = Default::default();
        let cwd = "/".to_owned();
        let (forks, runtime) = (true, "python");
        Prepared { binds, argv, env, cwd, edition, modules, forks, runtime }
    }

    #[test]
    fn who_brings_anything_of_it_has_its_own() {
        let [task, layers, installed] = [(); 3].map(|()| tempfile::tempdir().unwrap());
        let (own, opt) = (task.path().to_owned(), layers.path().to_owned());
        let closure = closure(installed.path());
        let may = |env: &[(&str, &str)]| {
            let env: Vec<(String, String)> =
                env.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
            closure.prepared(&plain(), &pack(), (&own, Some(&opt)), &env).is_some()
        };
        fs::write(task.path().join("app.py"), "").unwrap();
        assert!(may(&[("TABLE", "t"), ("LANG", "de")]));
        assert!(!may(&[("HOME", "/tmp")]), "a variable that was looked at");
        let packages = "python/lib/python3.13/site-packages";
        fs::create_dir_all(layers.path().join(packages)).unwrap();
        fs::create_dir_all(layers.path().join("lib")).unwrap();
        for (folder, name) in [
            (task.path().to_owned(), "six.py"),
            (task.path().to_owned(), "certifi"),
            (task.path().to_owned(), "urllib3.cpython-313-x86_64-linux-gnu.so"),
            (task.path().to_owned(), "own.pth"),
            (layers.path().join("python"), "boto3"),
            (layers.path().join(packages), "boto3"),
            (layers.path().join("lib"), "libssl.so.3"),
        ] {
            let file = folder.join(name);
            fs::write(&file, "").unwrap();
            assert!(!may(&[]), "{}", file.display());
            fs::remove_file(&file).unwrap();
            assert!(may(&[]));
        }
        fs::write(task.path().join("six_and_more.py"), "").unwrap();
        assert!(may(&[]) && closure.is_current());
        fs::remove_dir(installed.path()).unwrap();
        assert!(!closure.is_current(), "what is installed has changed");
    }
}
