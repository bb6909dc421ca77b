//! `cargo xtask java`: compiles the Java runtime client and packs it.
//!
//! What comes out is checked in, because whoever builds Lambic needs no JDK. `jars.toml` beside it says of
//! which sources it was made, so that `cargo xtask gen --check` can tell without one whether it is fresh;
//! and where the libraries in it come from, whose files are as their makers published them.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, ZipWriter};

use crate::shell;

const FOLDER: &str = "crates/lambda/src/runtimes/java";
const ABOUT: &str = "\
# What the Java runtime client is made of.
#
# [ours] is written by `cargo xtask java`, which wants a JDK, and compared by `cargo xtask gen --check`,
# which does not. [[theirs]] are files of Maven Central as they are published; `cargo xtask deps` looks at
# their licences.

";
/// The oldest Java that functions may have.
const RELEASE: &str = "8";
/// What also lies there as it was compiled: most functions are folders of classes.
const PLAIN: &str = "OfMaps.class";

/// `jars.toml`.
#[derive(Serialize, Deserialize)]
struct Jars {
    theirs: Vec<Theirs>,
    ours: Ours,
}

#[derive(Serialize, Deserialize)]
struct Theirs {
    file: String,
    artifact: String,
    license: String,
    sha256: String,
}

#[derive(Default, PartialEq, Serialize, Deserialize)]
struct Ours {
    /// Of all sources together.
    sources: String,
    files: BTreeMap<String, String>,
}

/// Runs the command.
pub(crate) fn run(args: &[String]) -> Result<(), String> {
    if !args.is_empty() {
        return Err("usage: cargo xtask java".to_owned());
    }
    if !shell::has("javac") {
        return Err("a JDK is needed (Debian: apt-get install default-jdk-headless)".to_owned());
    }
    let mut jars = read()?;
    let libraries: Vec<PathBuf> = jars.theirs.iter().map(|jar| lib().join(&jar.file)).collect();
    let runtime = compiled("runtime", &libraries)?;
    let rehearsal = compiled("rehearsal", &libraries)?;
    let plain = format!("lambic/rehearsal/{PLAIN}");
    let found = rehearsal.iter().find(|(name, _)| *name == plain);
    let (_, bytes) = found.ok_or_else(|| format!("there is no {plain}"))?;
    put(PLAIN, bytes)?;
    put("lambic-runtime.jar", &packed(&runtime)?)?;
    put("rehearsal.jar", &packed(&rehearsal)?)?;
    jars.ours = found_ours(["lambic-runtime.jar", "rehearsal.jar", PLAIN].into_iter())?;
    let text = toml::to_string(&jars).map_err(|error| error.to_string())?;
    shell::write(&root().join("jars.toml"), &format!("{ABOUT}{text}"))
}

/// What is there is what the sources give, and what others have published.
pub(crate) fn check() -> Result<(), String> {
    let jars = read()?;
    for jar in &jars.theirs {
        if digest(&bytes(&lib().join(&jar.file))?) != jar.sha256 {
            return Err(format!("{FOLDER}/lib/{} is not what jars.toml says", jar.file));
        }
    }
    if found_ours(jars.ours.files.keys().map(String::as_str))? == jars.ours {
        return Ok(());
    }
    Err(format!("{FOLDER}/lib is not what the sources say; run `cargo xtask java`"))
}

/// Name and licence of each library.
pub(crate) fn theirs() -> Result<Vec<(String, String)>, String> {
    Ok(read()?.theirs.into_iter().map(|jar| (jar.artifact, jar.license)).collect())
}

fn root() -> PathBuf {
    shell::root().join(FOLDER)
}

fn lib() -> PathBuf {
    root().join("lib")
}

fn read() -> Result<Jars, String> {
    toml::from_str(&shell::read(&root().join("jars.toml"))?)
        .map_err(|error| format!("{FOLDER}/jars.toml: {error}"))
}

fn found_ours<'a>(names: impl Iterator<Item = &'a str>) -> Result<Ours, String> {
    let file = |name: &str| Ok((name.to_owned(), digest(&bytes(&lib().join(name))?)));
    let files = names.map(file).collect::<Result<_, String>>()?;
    let mut sources = Sha256::new();
    for (name, path) in sorted(&root().join("src"))? {
        sources.update(format!("{name}\n"));
        sources.update(bytes(&path)?);
    }
    Ok(Ours { sources: hex(&sources.finalize()), files })
}

/// The classes of one package.
fn compiled(package: &str, libraries: &[PathBuf]) -> Result<Vec<(String, Vec<u8>)>, String> {
    let out = shell::root().join("target/java").join(package);
    drop(fs::remove_dir_all(&out));
    fs::create_dir_all(&out).map_err(|error| format!("{}: {error}", out.display()))?;
    let path: Vec<String> = libraries.iter().map(|jar| jar.display().to_string()).collect();
    let mut command = Command::new("javac");
    command.args(["--release", RELEASE, "-encoding", "UTF-8", "-Xlint:all,-options", "-Werror"]);
    command.args(["-proc:none", "-cp", &path.join(":"), "-d"]).arg(&out);
    command
        .args(sorted(&root().join("src/lambic").join(package))?.into_iter().map(|(_, path)| path));
    shell::run(&mut command)?;
    sorted(&out)?.into_iter().map(|(name, path)| Ok((name, bytes(&path)?))).collect()
}

/// A jar that is the same whenever and wherever it is made.
fn packed(files: &[(String, Vec<u8>)]) -> Result<Vec<u8>, String> {
    let mut jar = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default()
        .compression_method(CompressionMethod::Stored)
        .last_modified_time(DateTime::default())
        .unix_permissions(0o644);
    let mut add = |name: &str, bytes: &[u8]| {
        jar.start_file(name, options).map_err(|error| error.to_string())?;
        jar.write_all(bytes).map_err(|error| error.to_string())
    };
    add("META-INF/MANIFEST.MF", b"Manifest-Version: 1.0\r\n\r\n")?;
    for (name, bytes) in files {
        add(name, bytes)?;
    }
    jar.finish().map(Cursor::into_inner).map_err(|error| error.to_string())
}

fn put(name: &str, bytes: &[u8]) -> Result<(), String> {
    let path = lib().join(name);
    fs::write(&path, bytes).map_err(|error| format!("{}: {error}", path.display()))
}

/// All files below a folder, by their names.
fn sorted(folder: &Path) -> Result<Vec<(String, PathBuf)>, String> {
    let named = |path: PathBuf| {
        let name = path.strip_prefix(folder).map_err(|error| error.to_string())?;
        Ok((name.display().to_string(), path.clone()))
    };
    let mut found: Vec<(String, PathBuf)> =
        shell::files_below(folder)?.into_iter().map(named).collect::<Result<_, String>>()?;
    found.sort();
    Ok(found)
}

fn bytes(path: &Path) -> Result<Vec<u8>, String> {
    fs::read(path).map_err(|error| format!("{}: {error}", path.display()))
}

fn digest(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn hex(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_checked_in_is_fresh() {
        check().unwrap();
    }

    #[test]
    fn a_jar_is_the_same_whenever_it_is_made() {
        let files = [("a/B.class".to_owned(), b"bytes".to_vec())];
        let (one, other) = (packed(&files).unwrap(), packed(&files).unwrap());
        assert_eq!(one, other);
        let mut read = zip::ZipArchive::new(Cursor::new(one)).unwrap();
        let names: Vec<String> = read.file_names().map(str::to_owned).collect();
        assert!(names.contains(&"a/B.class".to_owned()) && names.len() == 2, "{names:?}");
        assert_eq!(read.by_name("a/B.class").unwrap().last_modified(), Some(DateTime::default()));
    }
}
