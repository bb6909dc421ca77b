//! The file system that a function sees: the host's system folders read-only, a minimal `/etc` and
//! `/dev`, its own `/proc`, and places for code and `/tmp` that are filled in later.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use nix::mount::{MntFlags, MsFlags, mount, umount2};

use crate::barrier::BarrierKind;
use crate::sys;
use crate::trial::stands;

/// Inside every environment the runtime has this user and group, as on AWS (`sbx_user1051`).
pub(crate) const UID_INSIDE: u32 = 993;
/// See [`UID_INSIDE`].
pub(crate) const GID_INSIDE: u32 = 990;

const SYSTEM_FOLDERS: [&str; 7] = ["usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32"];
const EMPTY_FOLDERS: [&str; 9] =
    ["proc", "sys", "tmp", "opt", "mnt", "run", "var/task", "var/runtime", "var/lang"];
const DEVICES: [&str; 5] = ["null", "zero", "full", "random", "urandom"];
const DEVICE_LINKS: [(&str, &str); 4] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
];
/// Files of the host's `/etc` that say nothing about the host and that programs look for.
const ETC_COPIED: [&str; 8] = [
    "ld.so.cache",
    "ld.so.conf",
    "mime.types",
    "protocols",
    "services",
    "os-release",
    "debian_version",
    "gai.conf",
];
/// Folders of the host's `/etc` with certificates, alternatives and fonts.
const ETC_FOLDERS: [&str; 7] =
    ["ssl", "pki", "ca-certificates", "alternatives", "fonts", "crypto-policies", "ld.so.conf.d"];
/// Files below `/proc` that tell about the host's kernel rather than about the environment.
const MASKED: [&str; 14] = [
    "proc/cmdline",
    "proc/diskstats",
    "proc/partitions",
    "proc/config.gz",
    "proc/iomem",
    "proc/ioports",
    "proc/interrupts",
    "proc/slabinfo",
    "proc/kcore",
    "proc/keys",
    "proc/key-users",
    "proc/timer_list",
    "proc/sysrq-trigger",
    "proc/kallsyms",
];

/// Names the step that failed.
fn step<T>(name: &str, result: io::Result<T>) -> Result<T, String> {
    result.map_err(|error| format!("{name}: {error}"))
}

/// What all environments share, below the spawner's scratch space: their `/etc` and `/dev`; and the
/// place of a root that is being built.
const ETC: &str = "etc";
/// See [`ETC`].
const DEV: &str = "dev";
/// See [`ETC`].
const LIBRARIES: &str = "lib64";
/// See [`ETC`].
const ROOT: &str = "root";

/// Where the loader of programs is, by the kind of processor.
const LOADERS: [&str; 2] = ["/lib64/ld-linux-x86-64.so.2", "/lib/ld-linux-aarch64.so.1"];
/// Libraries that come with the loader, and that of the C compiler, which nearly all programs need. As on
/// AWS, a package that brings one of them gets the system's.
const LOADERS_OWN: [&str; 9] = [
    "libc.so.6",
    "libm.so.6",
    "libmvec.so.1",
    "libgcc_s.so.1",
    "libpthread.so.0",
    "libdl.so.2",
    "librt.so.1",
    "libutil.so.1",
    "libresolv.so.2",
];

/// Prepares what all environments share, read-only as they see it; called once by the spawner, in a
/// mount namespace of its own.
pub(crate) fn prepare(scratch: &Path) -> Result<(), String> {
    let etc = scratch.join(ETC);
    write_etc(&etc)?;
    if stands(BarrierKind::OwnEtc) {
        show(&etc, &etc, libc::MOUNT_ATTR_NOEXEC)?;
        for name in etc_folders() {
            show(&Path::new("/etc").join(&name), &etc.join(&name), 0)?;
        }
    }
    if stands(BarrierKind::Devices) {
        build_dev(&scratch.join(DEV))?;
    }
    if stands(BarrierKind::PrivateRoot) {
        write_libraries(&scratch.join(LIBRARIES))?;
    }
    step(ROOT, fs::create_dir_all(scratch.join(ROOT)))
}

/// Writes the `/lib64` of environments where the host keeps libraries elsewhere (Debian does). The loader
/// looks there first (`LD_LIBRARY_PATH`), as on AWS, where they are; else it goes through all other folders
/// and their variants, which are some hundred calls.
fn write_libraries(folder: &Path) -> Result<(), String> {
    let home = LOADERS.iter().find_map(|loader| fs::canonicalize(loader).ok());
    let Some(home) = home.as_deref().and_then(Path::parent) else { return Ok(()) };
    let host = Path::new("/").join(LIBRARIES);
    if host.join(LOADERS_OWN[0]).exists() || !home.join(LOADERS_OWN[0]).exists() {
        return Ok(());
    }
    let run = || -> io::Result<()> {
        fs::create_dir_all(folder)?;
        for entry in fs::read_dir(&host).into_iter().flatten().flatten() {
            let target = fs::canonicalize(entry.path());
            target.map_or(Ok(()), |target| symlink(target, folder.join(entry.file_name())))?;
        }
        for name in LOADERS_OWN.iter().filter(|name| home.join(name).exists()) {
            symlink(home.join(name), folder.join(name))?;
        }
        Ok(())
    };
    step("writing /lib64 for environments", run())?;
    show(folder, folder, 0)
}

/// Writes the `/etc` that all environments share.
fn write_etc(etc: &Path) -> Result<(), String> {
    let run = || -> io::Result<()> {
        fs::create_dir_all(etc)?;
        let passwd = format!(
            "root:x:0:0:root:/:/bin/sh\nsbx_user1051:x:{UID_INSIDE}:{GID_INSIDE}::/tmp:/bin/sh\n\
             nobody:x:65534:65534:nobody:/:/bin/false\n"
        );
        fs::write(etc.join("passwd"), passwd)?;
        let group = format!("root:x:0:\nsbx_group:x:{GID_INSIDE}:\nnogroup:x:65534:\n");
        fs::write(etc.join("group"), group)?;
        fs::write(
            etc.join("hosts"),
            "127.0.0.1 localhost sandbox sandbox.local sandbox.localdomain\n::1 localhost\n",
        )?;
        fs::write(etc.join("nsswitch.conf"), "passwd: files\ngroup: files\nhosts: files dns\n")?;
        fs::write(etc.join("resolv.conf"), name_servers())?;
        symlink("/usr/share/zoneinfo/UTC", etc.join("localtime"))?;
        for name in ETC_COPIED {
            if let Ok(content) = fs::read(Path::new("/etc").join(name)) {
                fs::write(etc.join(name), content)?;
            }
        }
        for name in etc_folders() {
            fs::create_dir_all(etc.join(name))?;
        }
        Ok(())
    };
    step("writing /etc for environments", run())
}

/// The host's name servers. A resolver that listens on the host's loopback cannot be reached from
/// inside; systemd's then tells which servers it asks itself.
fn name_servers() -> String {
    let of = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let text = of("/etc/resolv.conf");
    let servers = || text.lines().filter_map(|line| line.strip_prefix("nameserver"));
    if servers().all(|address| address.trim().starts_with("127.")) {
        let upstream = of("/run/systemd/resolve/resolv.conf");
        return if upstream.is_empty() { text } else { upstream };
    }
    text
}

/// The folders of the host's `/etc` that environments see, java's own configuration included.
fn etc_folders() -> Vec<std::ffi::OsString> {
    let java = fs::read_dir("/etc").into_iter().flatten().flatten().filter_map(|entry| {
        let name = entry.file_name();
        name.to_str().is_some_and(|name| name.starts_with("java-")).then_some(name)
    });
    let known = ETC_FOLDERS.iter().map(|name| OsStr::new(name).to_owned());
    known.chain(java).filter(|name| Path::new("/etc").join(name).is_dir()).collect()
}

/// Builds a root and enters it. Runs in the new namespaces of an environment.
pub(crate) fn build_and_enter(scratch: &Path) -> Result<(), String> {
    let root = &scratch.join(ROOT);
    step("root", mount_tmpfs(root, "size=1m,mode=0755"))?;
    if stands(BarrierKind::PrivateRoot) {
        fill_root(root, scratch)?;
    } else {
        show(Path::new("/"), root, 0)?;
    }
    if stands(BarrierKind::OwnEtc) {
        show_as_it_is(&scratch.join(ETC), &root.join("etc"))?;
    } else {
        show(Path::new("/etc"), &root.join("etc"), 0)?;
    }
    if stands(BarrierKind::Devices) {
        show_as_it_is(&scratch.join(DEV), &root.join("dev"))?;
    } else {
        // Without the attributes of what else is shown, by which no device can be opened.
        show_as_it_is(Path::new("/dev"), &root.join("dev"))?;
    }
    mount_proc(root)?;
    step("chdir", nix::unistd::chdir(root).map_err(io::Error::from))?;
    step("pivot_root", sys::pivot_root_here())?;
    step("leaving the host's root", umount2(".", MntFlags::MNT_DETACH).map_err(io::Error::from))?;
    step("chdir", nix::unistd::chdir("/").map_err(io::Error::from))
}

/// What stands in a root of its own.
fn fill_root(root: &Path, scratch: &Path) -> Result<(), String> {
    for name in EMPTY_FOLDERS {
        step(name, fs::create_dir_all(root.join(name)))?;
    }
    let libraries = scratch.join(LIBRARIES);
    for name in SYSTEM_FOLDERS {
        if name == LIBRARIES && libraries.exists() {
            step(name, fs::create_dir(root.join(name)))?;
            show_as_it_is(&libraries, &root.join(name))?;
        } else {
            show_system_folder(root, name)?;
        }
    }
    for name in ["etc", "dev"] {
        step(name, fs::create_dir(root.join(name)))?;
    }
    Ok(())
}

/// Attributes of everything that is shown of the host.
pub(crate) fn shown_attributes() -> u64 {
    let mut attributes = 0;
    if stands(BarrierKind::ReadOnlyFiles) {
        attributes |= libc::MOUNT_ATTR_RDONLY;
    }
    if stands(BarrierKind::PlainFiles) {
        attributes |= libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV;
    }
    attributes
}

fn mount_tmpfs(at: &Path, options: &str) -> io::Result<()> {
    fs::create_dir_all(at)?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(Some("tmpfs"), at, Some("tmpfs"), flags, Some(options)).map_err(io::Error::from)
}

/// Shows what is mounted at a place, with everything mounted below it.
fn show_as_it_is(source: &Path, target: &Path) -> Result<(), String> {
    let name = source.display();
    let tree = step(&format!("copying the mount of {name}"), sys::open_tree(source))?;
    step(&format!("attaching {name}"), sys::move_mount(tree.as_fd(), target))
}

/// Shows a folder of the host read-only, with everything mounted below it.
fn show(source: &Path, target: &Path, more: u64) -> Result<(), String> {
    let name = source.display();
    let tree = step(&format!("copying the mount of {name}"), sys::open_tree(source))?;
    let attributes = shown_attributes() | more;
    step(&format!("making {name} read-only"), sys::set_mount_attributes(tree.as_fd(), attributes))?;
    step(&format!("attaching {name}"), sys::move_mount(tree.as_fd(), target))
}

fn show_system_folder(root: &Path, name: &str) -> Result<(), String> {
    let source = Path::new("/").join(name);
    let Ok(metadata) = fs::symlink_metadata(&source) else { return Ok(()) };
    if metadata.is_symlink() {
        let run = || symlink(fs::read_link(&source)?, root.join(name));
        return step(name, run());
    }
    step(name, fs::create_dir(root.join(name)))?;
    show(&source, &root.join(name), 0)
}

fn build_dev(dev: &Path) -> Result<(), String> {
    step("dev", mount_tmpfs(dev, "size=64k,mode=0755"))?;
    for name in DEVICES {
        step(name, fs::write(dev.join(name), ""))?;
        let tree = step(name, sys::open_tree(&Path::new("/dev").join(name)))?;
        let attributes = libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NOEXEC;
        step(name, sys::set_mount_attributes(tree.as_fd(), attributes))?;
        step(name, sys::move_mount(tree.as_fd(), &dev.join(name)))?;
    }
    for (name, target) in DEVICE_LINKS {
        step(name, symlink(target, dev.join(name)))?;
    }
    step("dev", make_read_only(dev))
}

fn mount_proc(root: &Path) -> Result<(), String> {
    if !stands(BarrierKind::ProcessNamespace) {
        return show(Path::new("/proc"), &root.join("proc"), 0);
    }
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    let mounted = mount(Some("proc"), &root.join("proc"), Some("proc"), flags, None::<&str>);
    mounted.map_err(|error| {
        format!("mounting /proc: {error} (inside a container, /proc must not be masked)")
    })?;
    for name in MASKED {
        if !stands(BarrierKind::MaskedProc) {
            break;
        }
        let path = root.join(name);
        if path.exists() {
            let tree = step(name, sys::open_tree(Path::new("/dev/null")))?;
            step(name, sys::move_mount(tree.as_fd(), &path))?;
        }
    }
    Ok(())
}

/// Makes the mount at `path` (not what is mounted below it) read-only.
pub(crate) fn make_read_only(path: &Path) -> io::Result<()> {
    if !stands(BarrierKind::ReadOnlyFiles) {
        return Ok(());
    }
    let flags = MsFlags::MS_REMOUNT
        | MsFlags::MS_BIND
        | MsFlags::MS_RDONLY
        | MsFlags::MS_NOSUID
        | MsFlags::MS_NODEV;
    mount(None::<&str>, path, None::<&str>, flags, None::<&str>).map_err(io::Error::from)
}

/// A `/tmp` in memory, for machines where no disk of its own can be made.
pub(crate) fn mount_tmp_in_memory(size_mb: Option<u32>) -> Result<(), String> {
    let size = size_mb.map_or("100%".to_owned(), |mb| format!("{mb}m"));
    step("/tmp", mount_tmpfs(Path::new("/tmp"), &format!("size={size},mode=0700")))
}

/// Attaches a prepared mount at `target`, making the folder where it is missing.
pub(crate) fn attach(tree: std::os::fd::BorrowedFd<'_>, target: &str) -> Result<(), String> {
    let path = Path::new(target);
    if !path.is_dir() {
        step(target, fs::create_dir_all(path))?;
        step(target, fs::set_permissions(path, fs::Permissions::from_mode(0o755)))?;
    }
    step(target, sys::move_mount(tree, path))
}

/// Takes away what was attached at `target`.
pub(crate) fn detach(target: &str) -> Result<(), String> {
    step(target, umount2(target, MntFlags::MNT_DETACH).map_err(io::Error::from))
}

/// Folders that the loader of programs looks into (`LD_LIBRARY_PATH`) and that may come with code. It
/// remembers which of them are absent from its first look on, so a spare has to have them from its
/// beginning, though empty; code covers them.
const LIBRARY_FOLDERS: [&str; 3] = ["/var/task", "/var/task/lib", "/opt/lib"];
/// Below each of them, for what processors of today can do.
const LIBRARY_VARIANTS: [&str; 3] =
    ["glibc-hwcaps/x86-64-v2", "glibc-hwcaps/x86-64-v3", "glibc-hwcaps/x86-64-v4"];

/// Makes the folders that a spare has to have before its program starts.
pub(crate) fn make_library_folders() -> Result<(), String> {
    for folder in LIBRARY_FOLDERS {
        for variant in LIBRARY_VARIANTS {
            step(folder, fs::create_dir_all(Path::new(folder).join(variant)))?;
        }
    }
    Ok(())
}

/// Hides what stands at `target` behind an empty folder.
pub(crate) fn cover(target: &str) -> Result<(), String> {
    let empty = step(target, sys::open_tree(Path::new("/mnt")))?;
    step(target, sys::move_mount(empty.as_fd(), Path::new(target)))
}
