//! The runtime clients that we ship, as files.
//!
//! They are part of the binary and written out at start, because an environment sees them through
//! a read-only mount at `/var/runtime`.

use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

/// Python's, one file for 3.8 and later.
pub const PYTHON: &str = include_str!("python/bootstrap.py");
/// Node.js's, an ES module for 18 and later.
pub const NODEJS: &str = include_str!("nodejs/index.mjs");
/// What it loads for a handler that streams its response.
pub const NODEJS_STREAMING: &str = include_str!("nodejs/streaming.mjs");
/// What it loads when layers bring modules.
pub const NODEJS_MODULES: &str = include_str!("nodejs/modules.mjs");
/// What functions register hooks of SnapStart with.
const PYTHON_HOOKS: &str = include_str!("python/snapshot_restore_py.py");
/// Ruby's, one file for 3.0 and later.
pub const RUBY: &str = include_str!("ruby/bootstrap.rb");
/// Java's and what it is made with, as they lie in its folder; `java/jars.toml` says what they are made of.
const JAVA: [(&str, &[u8]); 6] = [
    ("lib/lambic-runtime.jar", include_bytes!("java/lib/lambic-runtime.jar")),
    (
        "lib/aws-lambda-java-core-1.4.0.jar",
        include_bytes!("java/lib/aws-lambda-java-core-1.4.0.jar"),
    ),
    (
        "lib/aws-lambda-java-serialization-1.2.0.jar",
        include_bytes!("java/lib/aws-lambda-java-serialization-1.2.0.jar"),
    ),
    ("rehearsal/lib/rehearsal.jar", include_bytes!("java/lib/rehearsal.jar")),
    ("rehearsal/lambic/rehearsal/OfMaps.class", include_bytes!("java/lib/OfMaps.class")),
    ("lib/liblambic.so", include_bytes!(concat!(env!("OUT_DIR"), "/liblambic.so"))),
];
/// Their digests, so that nobody has to read them to know whether they are in place.
const JAVA_DIGESTS: [[u8; 32]; 6] = include!(concat!(env!("OUT_DIR"), "/java_digests.rs"));
/// Of them, what functions see, in this order.
pub(super) const JAVA_CLASS_PATH: [&str; 3] = [JAVA[0].0, JAVA[1].0, JAVA[2].0];
/// What they load in a spare.
const PYTHON_REHEARSAL: &str = include_str!("python/_lambic_rehearsal.py");
const RUBY_REHEARSAL: &str = include_str!("ruby/lambic_rehearsal.rb");
const NODEJS_SPARE: &str = include_str!("nodejs/spare.mjs");
const NODEJS_ZYGOTE: &str = include_str!("nodejs/zygote.mjs");
const NODEJS_REHEARSAL: &str = include_str!("nodejs/rehearsal.cjs");
const NODEJS_MODULE: &str = include_str!("nodejs/rehearsal-of-modules.mjs");

/// Where the clients are on this machine; each folder is to be mounted at `/var/runtime`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clients {
    /// Holds `bootstrap.py`.
    pub python: PathBuf,
    /// Holds `index.mjs` and what it loads when it needs it.
    pub nodejs: PathBuf,
    /// Holds `bootstrap.rb`.
    pub ruby: PathBuf,
    /// Holds what is `lib` of Java's, and what Java keeps of it (see `archives`).
    pub java: PathBuf,
}

impl Clients {
    /// Writes the clients below `dir` (created if need be) unless they are there already.
    /// Everybody may read them, because environments run as another user.
    pub fn install(dir: &Path) -> io::Result<Clients> {
        let places = ["python", "nodejs", "ruby", "java"].map(|name| dir.join(name));
        let [python, nodejs, ruby, java] = places;
        let clients = Clients { python, nodejs, ruby, java };
        folder(dir)?;
        for (place, name, text) in [
            (&clients.python, "bootstrap.py", PYTHON),
            (&clients.python, "_lambic_rehearsal.py", PYTHON_REHEARSAL),
            (&clients.python, "snapshot_restore_py.py", PYTHON_HOOKS),
            (&clients.nodejs, "index.mjs", NODEJS),
            (&clients.nodejs, "streaming.mjs", NODEJS_STREAMING),
            (&clients.nodejs, "modules.mjs", NODEJS_MODULES),
            (&clients.nodejs, "spare.mjs", NODEJS_SPARE),
            (&clients.nodejs, "zygote.mjs", NODEJS_ZYGOTE),
            (&clients.nodejs, "rehearsal.cjs", NODEJS_REHEARSAL),
            (&clients.nodejs, "rehearsal-of-modules.mjs", NODEJS_MODULE),
            (&clients.ruby, "bootstrap.rb", RUBY),
            (&clients.ruby, "lambic_rehearsal.rb", RUBY_REHEARSAL),
        ] {
            folder(place)?;
            let place = place.join(name);
            if !fs::read(&place).is_ok_and(|old| old == text.as_bytes()) {
                replace(&place, text.as_bytes())?;
            }
        }
        for ((name, bytes), digest) in JAVA.into_iter().zip(JAVA_DIGESTS) {
            let mut place = clients.java.clone();
            folder(&place)?;
            let (folders, _) = name.rsplit_once('/').unwrap_or_default();
            for part in folders.split('/') {
                place.push(part);
                folder(&place)?;
            }
            let place = clients.java.join(name);
            if !digest_of(&place).is_ok_and(|old| old == digest) {
                replace(&place, bytes)?;
            }
        }
        Ok(clients)
    }
}

/// What stands for this edition of Java's.
pub(super) fn java_digest() -> Vec<u8> {
    Sha256::digest(JAVA_DIGESTS.concat()).to_vec()
}

/// Of a file, which is not read as a whole.
fn digest_of(path: &Path) -> io::Result<[u8; 32]> {
    let mut file = fs::File::open(path)?;
    let mut digest = Sha256::new();
    let mut piece = vec![0; 64 * 1024];
    loop {
        match file.read(&mut piece)? {
            0 => return Ok(digest.finalize().into()),
            bytes => digest.update(&piece[..bytes]),
        }
    }
}

/// One that everybody may read.
pub(super) fn folder(path: &Path) -> io::Result<()> {
    fs::create_dir_all(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
}

/// In one step, so that an environment that starts now finds the old or the new one.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let fresh = path.with_extension("fresh");
    let mut out = fs::File::create(&fresh)?;
    out.write_all(bytes)?;
    out.set_permissions(fs::Permissions::from_mode(0o644))?;
    fs::rename(fresh, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_once_and_renewed_when_changed() {
        let dir = tempfile::tempdir().unwrap();
        let clients = Clients::install(dir.path()).unwrap();
        let path = clients.python.join("bootstrap.py");
        assert_eq!(fs::read_to_string(&path).unwrap(), PYTHON);
        fs::write(&path, "old").unwrap();
        assert_eq!(Clients::install(dir.path()).unwrap(), clients);
        assert_eq!(fs::read_to_string(&path).unwrap(), PYTHON);
    }

    #[test]
    fn files_of_java_are_told_by_their_digests() {
        let dir = tempfile::tempdir().unwrap();
        let clients = Clients::install(dir.path()).unwrap();
        for ((name, bytes), digest) in JAVA.into_iter().zip(JAVA_DIGESTS) {
            let path = clients.java.join(name);
            assert_eq!(digest_of(&path).unwrap(), digest, "{name}");
            let mut other = bytes.to_vec();
            other[bytes.len() / 2] ^= 1;
            fs::write(&path, other).unwrap();
            Clients::install(dir.path()).unwrap();
            assert!(fs::read(&path).unwrap() == bytes, "{name}");
        }
    }
}
