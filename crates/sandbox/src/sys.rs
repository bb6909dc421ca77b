//! The system calls that neither std nor nix offers safely: the only `unsafe` code of Lambic.
//!
//! Each function wraps one call, states why it is sound, and returns `io::Result`. Nothing here
//! decides anything.
#![allow(unsafe_code, reason = "the one place for it; every block carries its justification")]

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::path::Path;

mod ended;
mod mounts;
mod priority;
mod restartable;
pub(crate) mod threads;
mod turns;

pub(crate) use ended::{Ended, next_ended};
pub(crate) use mounts::{copy_tree, mount_device};
pub(crate) use priority::{set_promptness, set_urgent, set_yielding};
pub(crate) use restartable::{RestartableArea, restartable_area};
pub(crate) use turns::{clone_sharing_memory, give_word, hear_word};

/// Who returns from [`clone_process`].
pub(crate) enum Cloned {
    /// The new process.
    Child,
    /// The calling process, with the child's pid and a descriptor that refers to it.
    Parent { pid: i32, pidfd: OwnedFd },
}

#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

fn check(result: libc::c_long) -> io::Result<libc::c_long> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn path_text(path: &Path) -> io::Result<CString> {
    use std::os::unix::ffi::OsStrExt;
    CString::new(path.as_os_str().as_bytes())
        .map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))
}

/// Copies the calling process into new namespaces (`clone3` with `flags` and its own stack copy).
///
/// The caller must be single-threaded: the child goes on in ordinary Rust code.
pub(crate) fn clone_process(flags: u64) -> io::Result<Cloned> {
    let mut pidfd: RawFd = -1;
    let sibling = flags & libc::CLONE_PARENT as u64 != 0;
    let args = CloneArgs {
        flags: flags | libc::CLONE_PIDFD as u64,
        pidfd: &raw mut pidfd as u64,
        // One that is made for our parent says it the same way as we would.
        exit_signal: if sibling { 0 } else { libc::SIGCHLD as u64 },
        ..CloneArgs::default()
    };
    // SAFETY: without CLONE_VM the child has its own copy of all memory, as after fork(); the
    // spawner has one thread, so no lock can be held by a thread that does not exist in the child.
    // `args` is valid for its size and `pidfd` outlives the call.
    let pid = check(unsafe {
        libc::syscall(libc::SYS_clone3, &raw const args, std::mem::size_of::<CloneArgs>())
    })?;
    if pid == 0 {
        return Ok(Cloned::Child);
    }
    // SAFETY: the kernel has just stored a new descriptor there that nobody else owns.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    Ok(Cloned::Parent { pid: pid as i32, pidfd })
}

/// Forks; `None` in the child. The caller must be single-threaded.
pub(crate) fn fork() -> io::Result<Option<i32>> {
    // SAFETY: the caller has one thread (checked by `single_threaded` where it matters), so the
    // child may run ordinary code.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(None),
        pid => Ok(Some(pid)),
    }
}

/// A detached copy of the mount tree at `path`, with everything mounted below it.
pub(crate) fn open_tree(path: &Path) -> io::Result<OwnedFd> {
    copy_mount(path, libc::AT_RECURSIVE as u32)
}

/// A detached copy of the mount that a folder is in, from that folder on and without other mounts.
pub(crate) fn open_folder(path: &Path) -> io::Result<OwnedFd> {
    copy_mount(path, 0)
}

fn copy_mount(path: &Path, flags: u32) -> io::Result<OwnedFd> {
    let path = path_text(path)?;
    let flags = libc::OPEN_TREE_CLONE | libc::OPEN_TREE_CLOEXEC | flags;
    // SAFETY: `path` is a valid C string; the result is a new descriptor or an error.
    let fd =
        check(unsafe { libc::syscall(libc::SYS_open_tree, libc::AT_FDCWD, path.as_ptr(), flags) })?;
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// Sets mount attributes on a detached mount, in which users and groups are translated by a user
/// namespace from now on.
pub(crate) fn translate_mount(
    tree: BorrowedFd<'_>,
    set: u64,
    names: BorrowedFd<'_>,
) -> io::Result<()> {
    set_attributes(tree, set | libc::MOUNT_ATTR_IDMAP, names.as_raw_fd() as u64, 0)
}

/// Sets mount attributes (`MOUNT_ATTR_*`) on a detached tree and everything below it.
pub(crate) fn set_mount_attributes(tree: BorrowedFd<'_>, set: u64) -> io::Result<()> {
    set_attributes(tree, set, 0, libc::AT_RECURSIVE)
}

fn set_attributes(tree: BorrowedFd<'_>, set: u64, userns_fd: u64, flags: i32) -> io::Result<()> {
    let attributes = libc::mount_attr { attr_set: set, attr_clr: 0, propagation: 0, userns_fd };
    let flags = libc::AT_EMPTY_PATH | flags;
    // SAFETY: the structure is valid for the size that is passed; the path is an empty C string.
    check(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            tree.as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const attributes,
            std::mem::size_of::<libc::mount_attr>(),
        )
    })?;
    Ok(())
}

/// Attaches a detached mount tree at `target`.
pub(crate) fn move_mount(tree: BorrowedFd<'_>, target: &Path) -> io::Result<()> {
    let target = path_text(target)?;
    // SAFETY: both paths are valid C strings and the descriptor is open.
    check(unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            tree.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_FDCWD,
            target.as_ptr(),
            libc::MOVE_MOUNT_F_EMPTY_PATH,
        )
    })?;
    Ok(())
}

/// Makes the current directory the root and stacks the old root on it, to be unmounted next.
pub(crate) fn pivot_root_here() -> io::Result<()> {
    // SAFETY: two constant C strings.
    check(unsafe { libc::syscall(libc::SYS_pivot_root, c".".as_ptr(), c".".as_ptr()) })?;
    Ok(())
}

/// Closes every descriptor from `first` upwards.
pub(crate) fn close_from(first: RawFd) -> io::Result<()> {
    // SAFETY: closing descriptors is always defined; the callers (a process about to exec, or the
    // freshly forked spawner) own no Rust value that still refers to one of them.
    check(unsafe { libc::syscall(libc::SYS_close_range, first as u32, u32::MAX, 0) })?;
    Ok(())
}

/// Closes the descriptor with this number, if there is one.
pub(crate) fn close_number(number: RawFd) -> io::Result<()> {
    // SAFETY: as above; the caller is about to exec.
    check(unsafe { libc::syscall(libc::SYS_close_range, number as u32, number as u32, 0) })?;
    Ok(())
}

/// `dup2` onto a fixed number, for a process that is about to exec.
pub(crate) fn duplicate_to(fd: BorrowedFd<'_>, number: RawFd) -> io::Result<()> {
    // SAFETY: both are plain numbers; the new descriptor is meant to be inherited by exec.
    check(unsafe { libc::dup2(fd.as_raw_fd(), number) }.into())?;
    Ok(())
}

/// Closes the descriptor with this number when the process execs.
pub(crate) fn close_on_exec(number: RawFd) -> io::Result<()> {
    // SAFETY: fcntl with plain numbers.
    check(unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) }.into())?;
    Ok(())
}

/// A copy of `fd` numbered `least` or higher.
pub(crate) fn duplicate_above(fd: OwnedFd, least: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: fcntl with an open descriptor and a number.
    let copy = check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_DUPFD_CLOEXEC, least) }.into())?;
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(copy as RawFd) })
}

/// Takes ownership of descriptors that arrived in a message.
pub(crate) fn own(received: &[RawFd]) -> Vec<OwnedFd> {
    // SAFETY: the kernel installed these descriptors for this message only; nobody else has them.
    received.iter().map(|fd| unsafe { OwnedFd::from_raw_fd(*fd) }).collect()
}

/// `prctl` with one number.
fn prctl(option: libc::c_int, value: libc::c_ulong) -> io::Result<()> {
    // SAFETY: the options used in this file take plain numbers, never pointers.
    check(unsafe { libc::prctl(option, value, 0, 0, 0) }.into())?;
    Ok(())
}

/// No exec from here on can gain privileges (set-uid bits and file capabilities are ignored).
pub(crate) fn no_new_privileges() -> io::Result<()> {
    prctl(libc::PR_SET_NO_NEW_PRIVS, 1)
}

/// Puts a filter of system calls on this thread and everything it starts.
pub(crate) fn install_filter(program: &[libc::sock_filter]) -> io::Result<()> {
    let length = u16::try_from(program.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let program = libc::sock_fprog { len: length, filter: program.as_ptr().cast_mut() };
    // SAFETY: the kernel copies `length` instructions from a slice that is that long and only reads
    // it; it checks the program before it takes it.
    check(
        unsafe {
            libc::prctl(
                libc::PR_SET_SECCOMP,
                libc::SECCOMP_MODE_FILTER as libc::c_ulong,
                &raw const program,
                0,
                0,
            )
        }
        .into(),
    )?;
    Ok(())
}

/// The version of Landlock that this kernel speaks; 0 without it.
pub(crate) fn landlock_version() -> u32 {
    const VERSION: u32 = 1;
    // SAFETY: with this flag the call takes no attributes and makes no descriptor.
    let version = unsafe {
        libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<u8>(), 0_usize, VERSION)
    };
    u32::try_from(version).unwrap_or(0)
}

/// Attributes of a Landlock rule set, as far as this code knows them.
#[repr(C)]
pub(crate) struct LandlockRules {
    /// Accesses to files that need a rule.
    pub(crate) files: u64,
    /// Uses of TCP ports that need a rule.
    pub(crate) ports: u64,
    /// What is kept inside altogether.
    pub(crate) scoped: u64,
}

/// A new rule set. Kernels that know fewer attributes are given fewer.
pub(crate) fn landlock_rules(rules: &LandlockRules, version: u32) -> io::Result<OwnedFd> {
    let length = match version {
        0..=3 => 8_usize,
        4..=5 => 16,
        _ => 24,
    };
    // SAFETY: the structure is at least `length` bytes long.
    let fd = check(unsafe {
        libc::syscall(libc::SYS_landlock_create_ruleset, &raw const *rules, length, 0_u32)
    })?;
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// Grants accesses to everything beneath a folder (or to one file).
pub(crate) fn landlock_grant(
    rules: BorrowedFd<'_>,
    beneath: BorrowedFd<'_>,
    accesses: u64,
) -> io::Result<()> {
    const PATH_BENEATH: u32 = 1;
    #[repr(C, packed)]
    struct PathBeneath {
        accesses: u64,
        parent: i32,
    }
    let rule = PathBeneath { accesses, parent: beneath.as_raw_fd() };
    // SAFETY: the rule is laid out as in linux/landlock.h, packed, and only read.
    check(unsafe {
        libc::syscall(
            libc::SYS_landlock_add_rule,
            rules.as_raw_fd(),
            PATH_BENEATH,
            &raw const rule,
            0_u32,
        )
    })?;
    Ok(())
}

/// Puts a rule set on this thread and everything it starts, for good.
pub(crate) fn landlock_enforce(rules: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: plain numbers.
    check(unsafe { libc::syscall(libc::SYS_landlock_restrict_self, rules.as_raw_fd(), 0_u32) })?;
    Ok(())
}

/// Whether others of the same user may trace this process or read its memory.
pub(crate) fn set_dumpable(dumpable: bool) -> io::Result<()> {
    prctl(libc::PR_SET_DUMPABLE, dumpable.into())
}

/// This process gets SIGKILL when the thread that made it ends.
pub(crate) fn die_with_parent() -> io::Result<()> {
    prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as libc::c_ulong)
}

/// Gives every signal its default action. What is ignored stays so through exec, and Rust programs
/// ignore SIGPIPE; others may be ignored by whoever started the server.
pub(crate) fn default_actions() {
    const SIGNALS: std::ops::RangeInclusive<i32> = 1..=64;
    // `struct sigaction` of the kernel, all zeroes: SIG_DFL, no flags, no restorer, an empty mask.
    let default = [0_u64; 4];
    let none: *mut u64 = std::ptr::null_mut();
    for signal in SIGNALS {
        // SAFETY: the kernel reads four words and a mask of eight bytes, and no handler of ours is
        // involved. libc would refuse the numbers it keeps for itself. SIGKILL and SIGSTOP are
        // refused by the kernel; nobody can ignore them.
        unsafe {
            libc::syscall(libc::SYS_rt_sigaction, signal, default.as_ptr(), none, 8_usize);
        }
    }
}

/// Has all threads of this process, and of those forked from it, allocate from one heap.
pub fn one_heap() {
    // SAFETY: a system library's call on numbers only; it changes where later allocations come from.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}

/// Names the process for `ps`; longer names are cut to 15 bytes.
pub(crate) fn set_process_name(name: &CStr) {
    // SAFETY: PR_SET_NAME reads at most 16 bytes up to the terminating NUL of a valid C string.
    unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr(), 0, 0, 0) };
}

/// Keeps every capability through exec, for trials of what is left without this barrier.
#[cfg(feature = "trial")]
pub(crate) fn keep_capabilities() -> io::Result<()> {
    const VERSION_3: u32 = 0x2008_0522;
    const CAPABILITIES: std::ops::Range<u32> = 0..41;
    let all = (1_u64 << CAPABILITIES.end) - 1;
    let (low, high) = (all as u32, (all >> 32) as u32);
    // Effective, permitted, inheritable; first of the lower 32, then of the others.
    let sets = [low, low, low, high, high, high];
    let header = [VERSION_3, 0];
    // SAFETY: version 3 reads a header of two words and two times three words; both are valid.
    check(unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), sets.as_ptr()) })?;
    for capability in CAPABILITIES {
        // SAFETY: plain numbers.
        check(
            unsafe {
                libc::prctl(
                    libc::PR_CAP_AMBIENT,
                    libc::PR_CAP_AMBIENT_RAISE as libc::c_ulong,
                    libc::c_ulong::from(capability),
                    0,
                    0,
                )
            }
            .into(),
        )?;
    }
    Ok(())
}

/// Gives up every capability of this thread, for good.
pub(crate) fn drop_capabilities() -> io::Result<()> {
    drop_bounding_set()?;
    drop_own_capabilities()
}

/// No program that this thread starts can get a capability. What the thread has, it keeps.
pub(crate) fn drop_bounding_set() -> io::Result<()> {
    for capability in 0..64 {
        match prctl(libc::PR_CAPBSET_DROP, capability) {
            Ok(()) => {}
            // EINVAL: past the last capability of this kernel. EPERM: there was none to drop with.
            Err(error) if matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EPERM)) => break,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Gives up what this thread has of capabilities, after [`drop_bounding_set`].
pub(crate) fn drop_own_capabilities() -> io::Result<()> {
    prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL as libc::c_ulong)?;
    #[repr(C)]
    struct Header {
        version: u32,
        pid: i32,
    }
    const VERSION_3: u32 = 0x2008_0522;
    let header = Header { version: VERSION_3, pid: 0 };
    let none = [0_u32; 6];
    // SAFETY: version 3 reads a header and two times three 32-bit words; both are valid.
    check(unsafe { libc::syscall(libc::SYS_capset, &raw const header, none.as_ptr()) })?;
    Ok(())
}

/// Brings the loopback interface of the current network namespace up.
pub(crate) fn loopback_up() -> io::Result<()> {
    // SAFETY: plain socket creation.
    let socket = check(
        unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) }.into(),
    )?;
    // SAFETY: the kernel has just made this descriptor for us.
    let socket = unsafe { OwnedFd::from_raw_fd(socket as RawFd) };
    // SAFETY: ifreq is plain data; all zeroes is a valid value of it.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    request.ifr_name[0] = b'l' as libc::c_char;
    request.ifr_name[1] = b'o' as libc::c_char;
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: SIOCSIFFLAGS reads one ifreq.
    check(
        unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS as _, &raw const request) }
            .into(),
    )?;
    Ok(())
}

/// The number of a free loop device (`LOOP_CTL_GET_FREE`).
pub(crate) fn free_loop_device(control: BorrowedFd<'_>) -> io::Result<i64> {
    const LOOP_CTL_GET_FREE: u64 = 0x4C82;
    // SAFETY: this ioctl takes no argument.
    check(unsafe { libc::ioctl(control.as_raw_fd(), LOOP_CTL_GET_FREE as _) }.into())
}

/// Puts `file` behind the loop device; the device frees itself with its last user.
pub(crate) fn configure_loop_device(
    device: BorrowedFd<'_>,
    file: BorrowedFd<'_>,
) -> io::Result<()> {
    const LOOP_CONFIGURE: u64 = 0x4C0A;
    const LO_FLAGS_AUTOCLEAR: u32 = 4;
    #[repr(C)]
    struct LoopInfo {
        device: u64,
        inode: u64,
        rdevice: u64,
        offset: u64,
        size_limit: u64,
        number: u32,
        encrypt_type: u32,
        encrypt_key_size: u32,
        flags: u32,
        file_name: [u8; 64],
        crypt_name: [u8; 64],
        encrypt_key: [u8; 32],
        init: [u64; 2],
    }
    #[repr(C)]
    struct LoopConfig {
        fd: u32,
        block_size: u32,
        info: LoopInfo,
        reserved: [u64; 8],
    }
    // SAFETY: both structures are plain data; all zeroes is a valid value of them.
    let mut config: LoopConfig = unsafe { std::mem::zeroed() };
    config.fd = file.as_raw_fd() as u32;
    config.block_size = 4096;
    config.info.flags = LO_FLAGS_AUTOCLEAR;
    // SAFETY: LOOP_CONFIGURE reads one loop_config, laid out as in linux/loop.h.
    check(
        unsafe { libc::ioctl(device.as_raw_fd(), LOOP_CONFIGURE as _, &raw const config) }.into(),
    )?;
    Ok(())
}

/// A descriptor that refers to a process; readable when the process has ended.
pub(crate) fn process_descriptor(pid: u32) -> io::Result<OwnedFd> {
    // SAFETY: plain numbers.
    let fd = check(unsafe { libc::syscall(libc::SYS_pidfd_open, pid as libc::pid_t, 0_u32) })?;
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// A descriptor of another process, by its number there. Takes the right to trace it.
pub(crate) fn descriptor_of(process: BorrowedFd<'_>, number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: plain numbers.
    let fd =
        check(unsafe { libc::syscall(libc::SYS_pidfd_getfd, process.as_raw_fd(), number, 0_u32) })?;
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// For a process that was just forked: closes everything but these and standard input, output and
/// error. Values that own what is closed must not be dropped any more.
pub(crate) fn keep_only<const COUNT: usize>(
    kept: [BorrowedFd<'_>; COUNT],
) -> io::Result<[OwnedFd; COUNT]> {
    const FIRST_FREE: RawFd = 3;
    const OUT_OF_THE_WAY: RawFd = 1_000;
    let mut moved = Vec::new();
    for fd in kept {
        moved.push(duplicate_above(fd.try_clone_to_owned()?, OUT_OF_THE_WAY)?);
    }
    let numbers: Vec<RawFd> = (FIRST_FREE..).take(COUNT).collect();
    for (fd, number) in moved.iter().zip(&numbers) {
        duplicate_to(fd.as_fd(), *number)?;
        close_on_exec(*number)?;
    }
    moved.into_iter().for_each(leak);
    close_from(FIRST_FREE + COUNT as RawFd)?;
    let own: [OwnedFd; COUNT] =
        own(&numbers).try_into().map_err(|_| io::Error::from(io::ErrorKind::Other))?;
    Ok(own)
}

/// Sends a signal through a process descriptor.
pub(crate) fn signal_pidfd(pidfd: BorrowedFd<'_>, signal: i32) -> io::Result<()> {
    // SAFETY: no pointers but a null siginfo, which the call allows.
    check(unsafe {
        libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), signal, 0_usize, 0_u32)
    })?;
    Ok(())
}

/// Ends this process at once, running nothing that was registered to run at exit.
pub(crate) fn exit_now(code: i32) -> ! {
    // SAFETY: _exit never returns and touches no memory of ours.
    unsafe { libc::_exit(code) }
}

/// Gives a descriptor up without closing it, because exec or exit will.
pub(crate) fn leak(fd: OwnedFd) {
    let _ = fd.into_raw_fd();
}

/// Watches a descriptor with the asynchronous runtime that the caller is in.
pub(crate) fn register(fd: OwnedFd) -> io::Result<tokio::io::unix::AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` keeps its descriptor open and always reports the same number.
    unsafe { tokio::io::unix::AsyncFd::register(fd) }.map_err(|error| error.into_parts().1)
}
