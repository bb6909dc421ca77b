//! What Java keeps of the classes that our client loads, so that later starts begin with them: an archive
//! of class data sharing (from Java 17 on) or an AOT cache (from 25 on).
//!
//! It is made once for each Java and each edition of the client, by a run that only rehearses, when a
//! function first needs that Java. It lies beside the client, where environments see it. Java takes one
//! only if the class path is the same text as in that run; environments have the client in another place
//! than the host, so the text leads through the working directory. An archive that Java does not like
//! costs nothing but its time: Java goes on without it.
//!
//! The same run tells which libraries Java has loaded.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use lambic_rt::Rt;
use sha2::{Digest, Sha256};

use super::packs::{Pack, Release};
use super::{probe, spare};

/// The folder of them, below the client's.
const FOLDER: &str = "archives";
/// A run takes about two seconds on a free processor.
const RUN_MAX: Duration = Duration::from_secs(60);
/// The heap of that run, in KB.
const HEAP_KB: u32 = 128 * 1024;

/// Which of the two ways this Java knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Shared,
    Aot,
}

impl Way {
    fn of(release: Release) -> Option<Way> {
        match release.major {
            0..17 => None,
            17..25 => Some(Way::Shared),
            _ => Some(Way::Aot),
        }
    }

    fn extension(self) -> &'static str {
        match self {
            Way::Shared => "jsa",
            Way::Aot => "aot",
        }
    }
}

/// What a start of Java needs to begin with this archive.
pub(super) fn option(archive: &str) -> String {
    let name = if archive.ends_with(".aot") { "AOTCache" } else { "SharedArchiveFile" };
    format!("-XX:{name}={archive}")
}

/// Whether it is one of [`option`].
pub(super) fn is_option(word: &str) -> bool {
    word.starts_with("-XX:AOTCache=") || word.starts_with("-XX:SharedArchiveFile=")
}

/// Which options Java starts with, whatever it runs. The heap is `heap_kb` at most.
pub(super) fn options(release: Release, heap_kb: u32) -> Vec<String> {
    let mut options: Vec<String> = vec![format!("-Xmx{heap_kb}k")];
    // As AWS, whose functions have little time and few processors. Limits are the environment's, which
    // Java would look for in control groups that it does not see.
    let usual = [
        "-Xms8m",
        "-XX:+UseSerialGC",
        "-XX:TieredStopAtLevel=1",
        "-XX:-UsePerfData",
        "-XX:-UseContainerSupport",
        "-XX:+IgnoreUnrecognizedVMOptions",
    ];
    options.extend(usual.map(str::to_owned));
    if release.major >= 9 {
        // What Java has to say of its own start is not the function's.
        options.extend(["-Xlog:disable", "-Xlog:all=error:stderr"].map(str::to_owned));
    }
    if release.major >= 22 {
        options.push("--enable-native-access=ALL-UNNAMED".to_owned());
    }
    options
}

/// The class path, for whoever has the client's folder `through`.
pub(super) fn class_path(through: &str) -> String {
    super::clients::JAVA_CLASS_PATH.map(|jar| format!("{through}/{jar}")).join(":")
}

/// Tells our client where it is.
pub(super) fn home(client: &str) -> String {
    format!("-Dlambic.home={client}")
}

/// Where the class path begins in environments and in the run here.
pub(super) const THROUGH: &str = "/proc/self/cwd";
/// Our client's first class.
pub(super) const MAIN: &str = "lambic.runtime.Main";

/// This Java with what is kept for it. `client` is the folder of ours.
pub(super) async fn prepared(rt: &Rt, pack: Pack, client: &Path) -> Result<Pack, String> {
    let kept = Kept::of(&pack, client)
        .ok_or_else(|| format!("{} is not there any more", pack.executable.display()))?;
    if let Some((libraries, archive)) = kept.read() {
        return Ok(Pack { libraries, archive, ..pack });
    }
    let made = make(rt, &pack, &kept).await;
    made.map_err(|error| format!("{}: {error}", pack.executable.display()))?;
    let (libraries, archive) = kept.read().unwrap_or_default();
    Ok(Pack { libraries, archive, ..pack })
}

/// Where it is kept.
struct Kept {
    client: PathBuf,
    /// Without extension, below the client's folder.
    name: String,
}

impl Kept {
    fn of(pack: &Pack, client: &Path) -> Option<Kept> {
        let edition = spare::edition(pack)?;
        let text = format!("{} {edition:?}", pack.executable.display());
        let java = short(Sha256::digest(text).as_slice());
        let ours = short(super::clients::java_digest().as_slice());
        let name = format!("{FOLDER}/{ours}/java-{}-{java}", pack.release);
        Some(Kept { client: client.to_owned(), name })
    }

    fn path(&self, extension: &str) -> PathBuf {
        self.client.join(format!("{}.{extension}", self.name))
    }

    /// Libraries and archive; `None` when nothing has been made yet.
    fn read(&self) -> Option<(Vec<String>, Option<String>)> {
        let listed = fs::read_to_string(self.path("libraries")).ok()?;
        let libraries = listed.lines().map(str::to_owned).collect();
        let extension = [Way::Shared, Way::Aot].map(Way::extension);
        let found = extension.into_iter().find(|extension| self.path(extension).is_file());
        Some((libraries, found.map(|extension| format!("{}.{extension}", self.name))))
    }

    /// Only one edition of the client uses these.
    fn make_folder(&self) -> io::Result<()> {
        let place = self.path("libraries");
        let folder = place.parent().expect("it is below the client");
        if folder.is_dir() {
            return Ok(());
        }
        let all = folder.parent().expect("it is below the client");
        drop(fs::remove_dir_all(all));
        super::clients::folder(all)?;
        super::clients::folder(folder)
    }
}

fn short(digest: &[u8]) -> String {
    digest.iter().take(6).map(|byte| format!("{byte:02x}")).collect()
}

async fn make(rt: &Rt, pack: &Pack, kept: &Kept) -> Result<(), String> {
    kept.make_folder().map_err(|error| error.to_string())?;
    if let Some(way) = Way::of(pack.release) {
        // Nobody sees it before it is whole.
        let fresh = kept.path("fresh");
        let option = match way {
            Way::Shared => format!("-XX:ArchiveClassesAtExit={}", fresh.display()),
            Way::Aot => format!("-XX:AOTCacheOutput={}", fresh.display()),
        };
        let told = run(rt, pack, kept, Some(option)).await;
        let archive = kept.path(way.extension());
        match told.and_then(|told| published(&fresh, &archive).map(|()| told)) {
            Ok(told) => return keep(kept, &told),
            Err(error) => {
                drop(fs::remove_file(&fresh));
                tracing::warn!(java = %pack.executable.display(), error, "starts without an archive");
            }
        }
    }
    let told = run(rt, pack, kept, None).await?;
    keep(kept, &told)
}

fn published(fresh: &Path, archive: &Path) -> Result<(), String> {
    use std::os::unix::fs::PermissionsExt;
    let readable = fs::set_permissions(fresh, fs::Permissions::from_mode(0o644));
    readable.and_then(|()| fs::rename(fresh, archive)).map_err(|error| error.to_string())
}

/// Last of all: when it is there, nothing is missing.
fn keep(kept: &Kept, maps: &str) -> Result<(), String> {
    let libraries = probe::libraries(maps.lines());
    let fresh = kept.path("fresh");
    let written = fs::write(&fresh, libraries.join("\n"));
    written.and_then(|()| fs::rename(&fresh, kept.path("libraries"))).map_err(|e| e.to_string())
}

/// The client rehearses; what it has to tell.
async fn run(rt: &Rt, pack: &Pack, kept: &Kept, option: Option<String>) -> Result<String, String> {
    let mut command = tokio::process::Command::new(&pack.executable);
    command.args(options(pack.release, HEAP_KB)).args(option);
    command.arg(home(&kept.client.to_string_lossy()));
    command.args(["-cp", &class_path(THROUGH), MAIN, "archive"]);
    command.env_clear().env("LC_ALL", "C.UTF-8").env("PATH", "/usr/bin:/bin");
    command.current_dir(&kept.client).stdin(Stdio::null()).kill_on_drop(true);
    let ended = rt.within(RUN_MAX, command.output()).await;
    let output = ended.ok_or("does not end")?.map_err(|error| error.to_string())?;
    let Output { status, stdout, stderr } = output;
    if status.success() {
        return Ok(String::from_utf8_lossy(&stdout).into_owned());
    }
    let said = String::from_utf8_lossy(if stderr.is_empty() { &stdout } else { &stderr });
    Err(format!("cannot run our client ({status}): {}", said.trim().lines().next().unwrap_or("")))
}

#[cfg(test)]
mod tests {
    use super::super::clients::Clients;
    use super::super::packs::{Family, Packs, PacksConfig};
    use super::*;

    #[tokio::test]
    async fn made_once_for_each_java_and_used_from_then_on() {
        let dir = tempfile::tempdir().unwrap();
        let clients = Clients::install(dir.path()).unwrap();
        let rt = Rt::real();
        let found = Packs::new(PacksConfig::default(), clients.clone(), rt.clone()).list().await;
        let javas: Vec<Pack> = found.into_iter().filter(|p| p.family == Family::Java).collect();
        assert!(
            !javas.is_empty(),
            "no java on this machine (apt-get install default-jdk-headless)"
        );
        for java in javas {
            let first = prepared(&rt, java.clone(), &clients.java).await.unwrap();
            assert!(first.libraries.iter().any(|name| name == "libjvm"), "{:?}", first.libraries);
            let Some(archive) = &first.archive else {
                assert!(Way::of(java.release).is_none(), "{java:?}");
                continue;
            };
            let path = clients.java.join(archive);
            let made = fs::metadata(&path).unwrap().modified().unwrap();
            assert_eq!(prepared(&rt, java.clone(), &clients.java).await.unwrap(), first);
            assert_eq!(fs::metadata(&path).unwrap().modified().unwrap(), made);
            // Java itself says whether it takes it.
            let mut command = tokio::process::Command::new(&java.executable);
            command.args(options(java.release, 64 * 1024)).arg(option(archive));
            let (on, told) = match Way::of(java.release) {
                Some(Way::Aot) => ("-XX:AOTMode=on", "-Xlog:class+load"),
                _ => ("-Xshare:on", "-Xlog:class+load"),
            };
            command.args([on, told, &home(clients.java.to_str().unwrap())]);
            command.args(["-cp", &class_path(THROUGH), MAIN, "archive"]);
            let output = command.current_dir(&clients.java).output().await.unwrap();
            let text = String::from_utf8_lossy(&output.stdout);
            let line = text.lines().find(|line| line.contains("lambic.runtime.Main ")).unwrap();
            assert!(output.status.success() && line.contains("shared objects file"), "{line}");
        }
    }

    #[tokio::test]
    async fn a_java_that_does_not_work_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let clients = Clients::install(dir.path()).unwrap();
        let executable = dir.path().join("broken");
        std::os::unix::fs::symlink("/bin/false", &executable).unwrap();
        let pack = Pack {
            family: Family::Java,
            release: Release { major: 17, minor: 0, patch: 1 },
            executable: executable.clone(),
            prefix: dir.path().to_owned(),
            libraries: Vec::new(),
            features: Vec::new(),
            gems: None,
            archive: None,
        };
        let error = prepared(&Rt::real(), pack, &clients.java).await.unwrap_err();
        assert!(
            error.contains(executable.to_str().unwrap()) && error.contains("our client"),
            "{error}"
        );
    }
}
