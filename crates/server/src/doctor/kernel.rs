//! What the kernel offers, read from its own files.
//!
//! Each probe is a function from the text of a file to a finding, so that the tests can be any
//! kernel. Nothing here changes the machine, except that control groups are tried by making an empty
//! one and removing it again.

use std::path::Path;

use super::{Finding, State};

/// Looks at everything a function's environment can make use of.
pub(super) fn findings(is_root: bool) -> Vec<Finding> {
    let text = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let filesystems = text("/proc/filesystems");
    vec![
        namespaces(&|name| Path::new("/proc/self/ns").join(name).exists()),
        user_namespaces(
            is_root,
            &text("/proc/sys/user/max_user_namespaces"),
            &text("/proc/sys/kernel/unprivileged_userns_clone"),
            &text("/proc/sys/kernel/apparmor_restrict_unprivileged_userns"),
        ),
        control_groups(&text("/proc/self/mountinfo"), &text("/proc/self/cgroup"), &can_make_folder),
        seccomp(&text("/proc/sys/kernel/seccomp/actions_avail")),
        overlay(&filesystems),
        loop_devices(is_root, Path::new("/dev/loop-control").exists()),
        way_out(is_root, Path::new(TUN), &|name| super::program(name).is_some()),
    ]
}

fn namespaces(exists: &dyn Fn(&str) -> bool) -> Finding {
    let missing: Vec<&str> = ["pid", "mnt", "net", "ipc", "uts", "user", "cgroup"]
        .into_iter()
        .filter(|name| !exists(name))
        .collect();
    let remedy = "use a kernel built with CONFIG_NAMESPACES and all its kinds";
    if missing.is_empty() {
        Finding::good("namespaces", "pid, mount, network, IPC, UTS, user, control group")
    } else {
        Finding::bad("namespaces", State::Missing, format!("no {}", missing.join(", ")), remedy)
    }
}

fn user_namespaces(is_root: bool, max: &str, clone: &str, apparmor: &str) -> Finding {
    let name = "user namespaces";
    // Root can do without them.
    let state = if is_root { State::Weaker } else { State::Missing };
    if max.trim() == "0" || max.is_empty() {
        return Finding::bad(
            name,
            state,
            "switched off",
            "sysctl -w user.max_user_namespaces=10000",
        );
    }
    if !is_root && clone.trim() == "0" {
        let remedy = "sysctl -w kernel.unprivileged_userns_clone=1";
        return Finding::bad(name, state, "for root only", remedy);
    }
    if !is_root && apparmor.trim() == "1" {
        let remedy = "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0";
        return Finding::bad(name, state, "held back by AppArmor", remedy);
    }
    Finding::good(name, format!("up to {}", max.trim()))
}

/// One control group hierarchy and the controllers in it that matter to functions.
#[derive(Debug, PartialEq, Eq)]
struct Hierarchy {
    version: u8,
    controllers: Vec<String>,
    /// The folder of our own group.
    folder: String,
}

/// The controllers that limits are made of.
const CONTROLLERS: &[&str] = &["memory", "cpu", "pids", "freezer"];

/// Finds the hierarchies in the text of `mountinfo` and our place in each from `/proc/self/cgroup`.
fn hierarchies(mountinfo: &str, own: &str) -> Vec<Hierarchy> {
    let mut found = Vec::new();
    for line in mountinfo.lines() {
        let Some((left, right)) = line.split_once(" - ") else { continue };
        let (mut left, mut right) = (left.split(' ').skip(3), right.split(' '));
        let (Some(root), Some(mount)) = (left.next(), left.next()) else { continue };
        let (Some(kind), options) = (right.next(), right.nth(1).unwrap_or_default()) else {
            continue;
        };
        let in_group = |path: &str| {
            let below = path.strip_prefix(root.trim_end_matches('/')).unwrap_or(path);
            format!("{}{}", mount, below.trim_end_matches('/'))
        };
        if kind == "cgroup2" {
            let path = own.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or("/");
            found.push(Hierarchy { version: 2, controllers: Vec::new(), folder: in_group(path) });
        } else if kind == "cgroup" {
            let controllers: Vec<String> = options
                .split(',')
                .filter(|option| CONTROLLERS.contains(option))
                .map(str::to_owned)
                .collect();
            let Some(first) = controllers.first() else { continue };
            let path = own.lines().find_map(|line| {
                let (_, rest) = line.split_once(':')?;
                let (names, path) = rest.split_once(':')?;
                names.split(',').any(|name| name == first).then_some(path)
            });
            let folder = in_group(path.unwrap_or("/"));
            found.push(Hierarchy { version: 1, controllers, folder });
        }
    }
    found
}

fn control_groups(mountinfo: &str, own: &str, writable: &dyn Fn(&str) -> bool) -> Finding {
    let (name, mut parts, mut limits) = ("control groups", Vec::new(), Vec::new());
    for mut hierarchy in hierarchies(mountinfo, own) {
        if hierarchy.version == 2 {
            let path = format!("{}/cgroup.controllers", hierarchy.folder);
            let offered = std::fs::read_to_string(path).unwrap_or_default();
            hierarchy.controllers = offered
                .split_whitespace()
                .filter(|controller| CONTROLLERS.contains(controller))
                .map(str::to_owned)
                .collect();
        }
        let may_write = writable(&hierarchy.folder);
        let access = if may_write { "" } else { " (read-only)" };
        let controllers = match hierarchy.controllers.as_slice() {
            [] => "no controllers".to_owned(),
            controllers => controllers.join(", "),
        };
        parts.push(format!("cgroup v{}: {controllers}{access}", hierarchy.version));
        if may_write {
            limits.append(&mut hierarchy.controllers);
        }
    }
    let missing: Vec<&str> = ["memory", "cpu", "pids"]
        .into_iter()
        .filter(|wanted| !limits.iter().any(|limit| limit == wanted))
        .collect();
    if missing.is_empty() {
        return Finding::good(name, parts.join("; "));
    }
    let detail = format!("cannot limit {} ({})", missing.join(", "), parts.join("; "));
    let remedy = "run as root, or under systemd with Delegate=yes";
    Finding::bad(name, State::Weaker, detail, remedy)
}

/// Whether a control group can be made below this one.
fn can_make_folder(folder: &str) -> bool {
    let probe = Path::new(folder).join(format!("lambic-doctor-{}", std::process::id()));
    let made = std::fs::create_dir(&probe).is_ok();
    // A folder that cannot be removed was not made by us just now.
    made && std::fs::remove_dir(&probe).is_ok()
}

fn seccomp(actions: &str) -> Finding {
    if actions.split_whitespace().any(|action| action == "errno") {
        return Finding::good("seccomp", "filters of system calls");
    }
    let remedy = "use a kernel built with CONFIG_SECCOMP_FILTER";
    Finding::bad("seccomp", State::Missing, "no filters of system calls", remedy)
}

fn overlay(filesystems: &str) -> Finding {
    if filesystems.lines().any(|line| line.trim_start_matches("nodev").trim() == "overlay") {
        return Finding::good("overlayfs", "on");
    }
    Finding::bad("overlayfs", State::Unused, "not loaded", "modprobe overlay (not needed so far)")
}

fn loop_devices(is_root: bool, control: bool) -> Finding {
    if control && is_root {
        return Finding::good("loop devices", "for the size of /tmp on disk");
    }
    let detail = if control { "for root only" } else { "none" };
    let remedy = "run as root, modprobe loop; until then /tmp is held in memory";
    Finding::bad("loop devices", State::Weaker, detail, remedy)
}

/// What carrying packets without root needs besides a program.
const TUN: &str = "/dev/net/tun";

/// The program that functions' way out of this machine needs: a filter, or for an ordinary user one
/// that carries their connections.
fn way_out(is_root: bool, tun: &Path, has: &dyn Fn(&str) -> bool) -> Finding {
    let name = "way out";
    let (programs, packages) = if is_root {
        (&["nft"][..], "nftables")
    } else {
        (&["pasta", "slirp4netns"][..], "passt (or slirp4netns)")
    };
    let Some(program) = programs.iter().find(|program| has(program)) else {
        let detail = format!("no {}", programs.join(", no "));
        let remedy =
            format!("apt-get install {packages}; until then functions reach nothing outside");
        return Finding::bad(name, State::Weaker, detail, remedy);
    };
    let opened = is_root || std::fs::OpenOptions::new().read(true).write(true).open(tun).is_ok();
    if !opened {
        let detail = format!("{program}, but {} cannot be opened", tun.display());
        let remedy = format!("modprobe tun; chmod 666 {}", tun.display());
        return Finding::bad(name, State::Weaker, detail, remedy);
    }
    Finding::good(name, *program)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn namespaces_of_all_kinds_are_needed() {
        assert_eq!(namespaces(&|_| true).state, State::Good);
        let finding = namespaces(&|name| name != "net");
        assert_eq!((finding.state, finding.detail.as_str()), (State::Missing, "no net"));
    }

    #[test]
    fn user_namespaces_can_be_switched_off_in_three_ways() {
        let state = |root, max, clone, apparmor| user_namespaces(root, max, clone, apparmor).state;
        assert_eq!(state(false, "100\n", "1\n", "0\n"), State::Good);
        assert_eq!(state(false, "100\n", "", ""), State::Good);
        assert_eq!(state(false, "0\n", "1\n", "0\n"), State::Missing);
        assert_eq!(state(false, "100\n", "0\n", "0\n"), State::Missing);
        assert_eq!(state(false, "100\n", "1\n", "1\n"), State::Missing);
        assert_eq!(state(true, "100\n", "0\n", "1\n"), State::Good);
        assert_eq!(state(true, "0\n", "", ""), State::Weaker);
    }

    #[test]
    fn hierarchies_of_both_versions_are_found() {
        let mountinfo = "\
30 23 0:26 / /sys/fs/cgroup ro,nosuid - tmpfs tmpfs ro,mode=755
31 30 0:27 / /sys/fs/cgroup/unified rw,nosuid shared:9 - cgroup2 cgroup2 rw
32 30 0:28 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
33 30 0:29 /job /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct
34 30 0:30 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd\n";
        let own = "4:memory:/a/b\n3:cpu,cpuacct:/job/c\n0::/u\n";
        let found = hierarchies(mountinfo, own);
        let shown: Vec<(u8, String, &str)> =
            found.iter().map(|h| (h.version, h.controllers.join(","), h.folder.as_str())).collect();
        let expected = [
            (2, String::new(), "/sys/fs/cgroup/unified/u"),
            (1, "memory".to_owned(), "/sys/fs/cgroup/memory/a/b"),
            (1, "cpu".to_owned(), "/sys/fs/cgroup/cpu/c"),
        ];
        assert_eq!(shown, expected);
        let finding = control_groups(mountinfo, own, &|folder| !folder.contains("/cpu/"));
        assert_eq!(finding.state, State::Weaker);
        assert!(finding.detail.starts_with("cannot limit cpu, pids ("), "{}", finding.detail);
    }

    #[test]
    fn the_other_features() {
        assert_eq!(seccomp("kill_process trap errno trace log allow\n").state, State::Good);
        assert_eq!(seccomp("").state, State::Missing);
        assert_eq!(overlay("nodev\tproc\nnodev\toverlay\n").state, State::Good);
        assert_eq!(overlay("nodev\tproc\n").state, State::Unused);
        assert_eq!(loop_devices(false, true).state, State::Weaker);
    }

    #[test]
    fn the_way_out_is_another_for_an_ordinary_user() {
        let folder = tempfile::tempdir().unwrap();
        let (tun, none) = (folder.path().join("tun"), folder.path().join("none"));
        std::fs::write(&tun, "").unwrap();
        let check = |is_root, tun: &Path, programs: &[&str]| {
            let finding = way_out(is_root, tun, &|name| programs.contains(&name));
            (finding.state, finding.detail)
        };
        assert_eq!(check(true, &none, &["nft"]), (State::Good, "nft".to_owned()));
        assert_eq!(check(true, &tun, &["pasta"]), (State::Weaker, "no nft".to_owned()));
        assert_eq!(check(false, &tun, &["slirp4netns"]), (State::Good, "slirp4netns".to_owned()));
        let both = check(false, &tun, &["slirp4netns", "pasta"]);
        assert_eq!(both, (State::Good, "pasta".to_owned()));
        let neither = check(false, &tun, &["nft"]);
        assert_eq!(neither, (State::Weaker, "no pasta, no slirp4netns".to_owned()));
        assert_eq!(check(false, &none, &["pasta"]).0, State::Weaker);
    }
}
