//! Folders of the host in environments: whose they are there, and what does not work in them.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

use lambic_sandbox::{FileSystem, LaunchError, Mode, Mounted, Sandboxes};

use super::{run, spec};

/// Somebody on the host, who is not the one that environments are.
const OWNER: u32 = 4_242;

/// Whose the folders are.
fn owner(mode: Mode) -> (u32, u32) {
    match mode {
        Mode::Privileged => (OWNER, OWNER + 1),
        _ => (nix::unistd::getuid().as_raw(), nix::unistd::getgid().as_raw()),
    }
}

pub(crate) fn file_systems(mode: Mode, data: &Path) -> Vec<FileSystem> {
    if mode == Mode::None {
        return Vec::new();
    }
    let (uid, gid) = owner(mode);
    let one = |name: &str, read_only: bool| {
        let path = data.canonicalize().unwrap().join(name);
        fs::create_dir(&path).unwrap();
        fs::write(path.join("old"), "from outside").unwrap();
        symlink("/etc/shadow", path.join("link")).unwrap();
        if mode == Mode::Privileged {
            chown(&path, Some(uid), Some(gid)).unwrap();
            chown(path.join("old"), Some(uid), Some(gid)).unwrap();
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o711)).unwrap();
        FileSystem { name: name.to_owned(), path, read_only, uid, gid }
    };
    vec![one("shared", false), one("frozen", true), one("goes", false)]
}

/// What goes wrong inside says so by its exit status; `no` is for what must not work.
const INSIDE: &str = "
    set -e
    no() { if \"$@\" 2>/dev/null; then echo \"possible: $*\"; exit 1; fi; }
    cd /mnt/data
    [ \"$(stat -c %u:%g . old)\" = \"993:990
993:990\" ]
    [ \"$(cat old)\" = 'from outside' ]
    echo new > new && mkdir folder && mv new folder/new && chmod 600 folder/new
    no cat link
    no mknod null c 1 3
    no chown 0:0 folder/new
    cp /bin/sh suid && chmod 6755 suid
    no touch /mnt/beside
    no ls /mnt/data/../frozen
    echo \"$(ls /mnt)\"
";

pub(crate) async fn inside(sandboxes: &Sandboxes, mode: Mode, data: &Path) {
    let mounted = |name: &str, script: &str| {
        let file_system = Some(Mounted { name: name.to_owned(), target: "/mnt/data".to_owned() });
        lambic_sandbox::Spec { file_system, ..spec(script) }
    };
    let ran = run(sandboxes, &mounted("shared", INSIDE)).await;
    assert_eq!((ran.output.as_str(), ran.exit.code), ("data\n", Some(0)));
    let shared: PathBuf = data.canonicalize().unwrap().join("shared");
    // Whoever looks from outside sees the folder's owner, whichever environment wrote it.
    let made = fs::symlink_metadata(shared.join("folder")).unwrap();
    assert_eq!((made.uid(), made.gid()), owner(mode));
    let again = "cat /mnt/data/folder/new && rm -r /mnt/data/folder /mnt/data/suid";
    let ran = run(sandboxes, &mounted("shared", again)).await;
    assert_eq!((ran.output.as_str(), ran.exit.code), ("new\n", Some(0)));

    let frozen = "cat /mnt/data/old; touch /mnt/data/new || rm -f /mnt/data/old || exit 3";
    let ran = run(sandboxes, &mounted("frozen", frozen)).await;
    assert_eq!(ran.exit.code, Some(3), "{}", ran.output);
    assert!(ran.output.starts_with("from outside"), "{}", ran.output);

    // Without one there is nothing.
    let ran = run(sandboxes, &spec("ls /mnt; touch /mnt/x || exit 3")).await;
    assert_eq!(ran.exit.code, Some(3), "{}", ran.output);

    let gone = data.canonicalize().unwrap().join("goes");
    fs::rename(&gone, gone.with_extension("away")).unwrap();
    for name in ["goes", "unknown"] {
        let refused = sandboxes.launch(&mounted(name, "true")).await.err().unwrap();
        assert!(matches!(refused, LaunchError::FileSystem(_)), "{refused}");
    }
    for target in ["/mnt", "/mnt/", "/mnt/..", "/mnt/a/b", "/tmp", "/mnt/a b"] {
        let spec = lambic_sandbox::Spec {
            file_system: Some(Mounted { name: "shared".to_owned(), target: target.to_owned() }),
            ..spec("true")
        };
        let refused = sandboxes.launch(&spec).await.err().unwrap();
        assert!(matches!(refused, LaunchError::Failed(_)), "{target}: {refused}");
    }
}
