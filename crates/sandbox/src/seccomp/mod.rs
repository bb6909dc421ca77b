//! Which system calls a function may make: an allow-list, with the arguments that matter checked.
//!
//! Not listed means EPERM. The list is what unmodified Python, Node.js, JVM, Go, Ruby, .NET and
//! native programs use; left out is what changes the machine or looks at others: mounts,
//! namespaces, tracing, keys, BPF, performance counters, kernel modules, clocks, raw sockets, and
//! io_uring unless the operator allows it. `clone3` answers ENOSYS, because its flags lie in memory where a filter cannot read
//! them and libc then falls back to `clone`, whose flags it can.

mod program;

use std::collections::BTreeMap;

use libc::sock_filter;

use crate::sys;
use program::{Rules, Test, Verdict};

/// A compiled filter.
pub(crate) struct Filter {
    program: Vec<sock_filter>,
}

impl Filter {
    /// What a function may call. `io_uring` says whether that is among it.
    pub(crate) fn of_environment(io_uring: bool) -> Result<Filter, String> {
        let mut calls: BTreeMap<u32, Verdict> =
            ALLOWED.iter().map(|call| (*call as u32, Verdict::Allow)).collect();
        if io_uring {
            calls.extend(IO_URING.map(|call| (call as u32, Verdict::Allow)));
        }
        calls.insert(libc::SYS_clone3 as u32, Verdict::Fail(libc::ENOSYS));
        calls.extend(conditional());
        Filter::compile(&Rules { calls, otherwise: Verdict::Fail(libc::EPERM) })
    }

    /// What the process that talks to clients may call: all but what it has no business with. What
    /// a library calls tomorrow must not stop a server, so this is a list of what is refused.
    pub(crate) fn of_server() -> Result<Filter, String> {
        let mut calls: BTreeMap<u32, Verdict> =
            NOT_FOR_SERVERS.iter().map(|call| (*call as u32, Verdict::Fail(libc::EPERM))).collect();
        // No set-user-id and no set-group-id bit on whatever belongs to root.
        for (call, argument) in MODE_ARGUMENTS {
            let bits = Test { argument: *argument, mask: 0o6000, value: 0, equal: false };
            calls.insert(*call as u32, Verdict::FailIf(bits));
        }
        Filter::compile(&Rules { calls, otherwise: Verdict::Allow })
    }

    fn compile(rules: &Rules) -> Result<Filter, String> {
        let architecture = match std::env::consts::ARCH {
            "x86_64" => AUDIT_ARCH_X86_64,
            "aarch64" => AUDIT_ARCH_AARCH64,
            other => return Err(format!("no filter of system calls for {other}")),
        };
        Ok(Filter { program: program::assemble(rules, architecture)? })
    }

    /// Puts the filter on this thread and everything it starts. Needs `no_new_privs`, or the
    /// capability to do without.
    pub(crate) fn install(&self) -> Result<(), String> {
        sys::install_filter(&self.program).map_err(|error| format!("system call filter: {error}"))
    }
}

// From linux/audit.h: the ELF machine, little-endian, 64 bits.
const AUDIT_ARCH_X86_64: u32 = 62 | 0xC000_0000;
const AUDIT_ARCH_AARCH64: u32 = 183 | 0xC000_0000;

/// Every flag that would make a new namespace.
const NEW_NAMESPACES: u32 = (libc::CLONE_NEWUSER
    | libc::CLONE_NEWNS
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWCGROUP) as u32;

/// `ADDR_NO_RANDOMIZE` of linux/personality.h.
const FIXED_ADDRESSES: i32 = 0x0004_0000;

/// Calls that are allowed with some arguments only.
fn conditional() -> [(u32, Verdict); 4] {
    let masked =
        |argument, mask, value: i32| Test { argument, mask, value: value as u32, equal: true };
    let is = |argument, value| masked(argument, u32::MAX, value);
    let mut sockets =
        vec![vec![is(0, libc::AF_UNIX)], vec![is(0, libc::AF_NETLINK), is(2, libc::NETLINK_ROUTE)]];
    for family in [libc::AF_INET, libc::AF_INET6] {
        for (kind, protocol) in [
            (libc::SOCK_STREAM, 0),
            (libc::SOCK_STREAM, libc::IPPROTO_TCP),
            (libc::SOCK_DGRAM, 0),
            (libc::SOCK_DGRAM, libc::IPPROTO_UDP),
        ] {
            sockets.push(vec![is(0, family), masked(1, 0xf, kind), is(2, protocol)]);
        }
    }
    // Querying it, the default, and the default without address randomisation (some runtimes ask).
    let personalities = [-1, 0, FIXED_ADDRESSES].map(|value| vec![is(0, value)]);
    [
        (libc::SYS_clone as u32, Verdict::Unless(vec![vec![masked(0, NEW_NAMESPACES, 0)]])),
        (libc::SYS_socket as u32, Verdict::Unless(sockets)),
        (libc::SYS_socketpair as u32, Verdict::Unless(vec![vec![is(0, libc::AF_UNIX)]])),
        (libc::SYS_personality as u32, Verdict::Unless(personalities.to_vec())),
    ]
}

/// Work that the kernel does for a process without asking this filter; off unless wanted.
const IO_URING: [i64; 3] =
    [libc::SYS_io_uring_setup, libc::SYS_io_uring_enter, libc::SYS_io_uring_register];

/// What changes the machine, looks into other processes, or passes over the rights on files.
#[rustfmt::skip]
const NOT_FOR_SERVERS: &[i64] = &[
    libc::SYS_mount, libc::SYS_umount2, libc::SYS_pivot_root, libc::SYS_chroot, libc::SYS_open_tree,
    libc::SYS_move_mount, libc::SYS_fsopen, libc::SYS_fsconfig, libc::SYS_fsmount, libc::SYS_fspick,
    libc::SYS_mount_setattr, libc::SYS_unshare, libc::SYS_setns, libc::SYS_ptrace,
    libc::SYS_process_vm_readv, libc::SYS_process_vm_writev, libc::SYS_kcmp, libc::SYS_pidfd_getfd,
    libc::SYS_bpf, libc::SYS_perf_event_open, libc::SYS_userfaultfd, libc::SYS_keyctl,
    libc::SYS_add_key, libc::SYS_request_key, libc::SYS_init_module, libc::SYS_finit_module,
    libc::SYS_delete_module, libc::SYS_kexec_load, libc::SYS_reboot, libc::SYS_swapon,
    libc::SYS_swapoff, libc::SYS_settimeofday, libc::SYS_clock_settime, libc::SYS_clock_adjtime,
    libc::SYS_adjtimex, libc::SYS_sethostname, libc::SYS_setdomainname, libc::SYS_syslog,
    libc::SYS_acct, libc::SYS_quotactl, libc::SYS_open_by_handle_at, libc::SYS_name_to_handle_at,
    libc::SYS_io_uring_setup, libc::SYS_io_uring_enter, libc::SYS_io_uring_register,
    libc::SYS_personality, libc::SYS_fanotify_init, libc::SYS_vhangup,
    #[cfg(target_arch = "x86_64")] libc::SYS_iopl, #[cfg(target_arch = "x86_64")] libc::SYS_ioperm,
    #[cfg(target_arch = "x86_64")] libc::SYS_modify_ldt, #[cfg(target_arch = "x86_64")] libc::SYS_kexec_file_load,
];

/// Calls that set the mode of a file, and which argument it is.
const MODE_ARGUMENTS: &[(i64, u32)] = &[
    (libc::SYS_fchmod, 1),
    (libc::SYS_fchmodat, 2),
    (libc::SYS_fchmodat2, 2),
    (libc::SYS_mkdirat, 2),
    (libc::SYS_mknodat, 2),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_chmod, 1),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_mknod, 1),
];

/// Calls that are allowed whatever their arguments.
#[rustfmt::skip]
const ALLOWED: &[i64] = &[
    // Files and descriptors.
    libc::SYS_read, libc::SYS_write, libc::SYS_readv, libc::SYS_writev, libc::SYS_pread64,
    libc::SYS_pwrite64, libc::SYS_preadv, libc::SYS_pwritev, libc::SYS_preadv2, libc::SYS_pwritev2,
    libc::SYS_openat, libc::SYS_openat2, libc::SYS_close, libc::SYS_close_range, libc::SYS_lseek,
    libc::SYS_fstat, libc::SYS_newfstatat, libc::SYS_statx, libc::SYS_statfs, libc::SYS_fstatfs,
    libc::SYS_faccessat, libc::SYS_faccessat2, libc::SYS_readlinkat, libc::SYS_getdents64,
    libc::SYS_getcwd, libc::SYS_chdir, libc::SYS_fchdir, libc::SYS_mkdirat, libc::SYS_unlinkat,
    libc::SYS_renameat, libc::SYS_renameat2, libc::SYS_linkat, libc::SYS_symlinkat,
    libc::SYS_mknodat, libc::SYS_fchmod, libc::SYS_fchmodat, libc::SYS_fchown, libc::SYS_fchownat,
    libc::SYS_umask, libc::SYS_truncate, libc::SYS_ftruncate, libc::SYS_fallocate, libc::SYS_fsync,
    libc::SYS_fdatasync, libc::SYS_sync_file_range, libc::SYS_syncfs, libc::SYS_utimensat, libc::SYS_flock,
    libc::SYS_fcntl, libc::SYS_ioctl, libc::SYS_dup, libc::SYS_dup3, libc::SYS_pipe2,
    libc::SYS_sendfile, libc::SYS_copy_file_range, libc::SYS_splice, libc::SYS_tee,
    libc::SYS_vmsplice, libc::SYS_fadvise64, libc::SYS_readahead, libc::SYS_inotify_init1,
    libc::SYS_inotify_add_watch, libc::SYS_inotify_rm_watch, libc::SYS_memfd_create,
    libc::SYS_getxattr, libc::SYS_lgetxattr, libc::SYS_fgetxattr, libc::SYS_listxattr,
    libc::SYS_llistxattr, libc::SYS_flistxattr, libc::SYS_setxattr, libc::SYS_lsetxattr,
    libc::SYS_fsetxattr, libc::SYS_removexattr, libc::SYS_lremovexattr, libc::SYS_fremovexattr,
    libc::SYS_fchmodat2, libc::SYS_io_setup, libc::SYS_io_submit, libc::SYS_io_getevents,
    libc::SYS_io_destroy, libc::SYS_io_cancel,
    // Waiting.
    libc::SYS_ppoll, libc::SYS_pselect6, libc::SYS_epoll_create1, libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait, libc::SYS_epoll_pwait2, libc::SYS_eventfd2, libc::SYS_signalfd4,
    libc::SYS_timerfd_create, libc::SYS_timerfd_settime, libc::SYS_timerfd_gettime,
    libc::SYS_futex, libc::SYS_futex_waitv, libc::SYS_set_robust_list, libc::SYS_get_robust_list,
    libc::SYS_nanosleep, libc::SYS_clock_nanosleep, libc::SYS_restart_syscall,
    // Memory.
    libc::SYS_mmap, libc::SYS_munmap, libc::SYS_mprotect, libc::SYS_mremap, libc::SYS_madvise,
    libc::SYS_brk, libc::SYS_mlock, libc::SYS_mlock2, libc::SYS_munlock, libc::SYS_mlockall,
    libc::SYS_munlockall, libc::SYS_msync, libc::SYS_mincore, libc::SYS_membarrier,
    libc::SYS_get_mempolicy, libc::SYS_set_mempolicy, libc::SYS_mbind, libc::SYS_rseq,
    libc::SYS_pkey_alloc, libc::SYS_pkey_free, libc::SYS_pkey_mprotect,
    // Processes and threads.
    libc::SYS_execve, libc::SYS_execveat, libc::SYS_exit, libc::SYS_exit_group, libc::SYS_wait4,
    libc::SYS_waitid, libc::SYS_kill, libc::SYS_tkill, libc::SYS_tgkill, libc::SYS_getpid,
    libc::SYS_gettid, libc::SYS_getppid, libc::SYS_getpgid, libc::SYS_setpgid, libc::SYS_getsid,
    libc::SYS_setsid, libc::SYS_getuid, libc::SYS_geteuid, libc::SYS_getgid, libc::SYS_getegid,
    libc::SYS_getresuid, libc::SYS_getresgid, libc::SYS_getgroups, libc::SYS_setuid,
    libc::SYS_setgid, libc::SYS_setreuid, libc::SYS_setregid, libc::SYS_setresuid,
    libc::SYS_setresgid, libc::SYS_setfsuid, libc::SYS_setfsgid, libc::SYS_setgroups,
    libc::SYS_capget, libc::SYS_capset, libc::SYS_prctl, libc::SYS_prlimit64,
    libc::SYS_getrlimit, libc::SYS_setrlimit, libc::SYS_getrusage, libc::SYS_times,
    libc::SYS_getpriority, libc::SYS_setpriority, libc::SYS_ioprio_get, libc::SYS_ioprio_set,
    libc::SYS_sched_yield, libc::SYS_sched_getaffinity, libc::SYS_sched_setaffinity,
    libc::SYS_sched_getparam, libc::SYS_sched_getscheduler, libc::SYS_sched_setscheduler,
    libc::SYS_sched_get_priority_max, libc::SYS_sched_get_priority_min, libc::SYS_sched_getattr,
    libc::SYS_sched_setparam, libc::SYS_sched_rr_get_interval, libc::SYS_getcpu,
    libc::SYS_set_tid_address, libc::SYS_pidfd_open, libc::SYS_pidfd_send_signal,
    // Signals.
    libc::SYS_rt_sigaction, libc::SYS_rt_sigprocmask, libc::SYS_rt_sigreturn,
    libc::SYS_rt_sigpending, libc::SYS_rt_sigtimedwait, libc::SYS_rt_sigsuspend,
    libc::SYS_rt_sigqueueinfo, libc::SYS_rt_tgsigqueueinfo, libc::SYS_sigaltstack,
    libc::SYS_getitimer, libc::SYS_setitimer, libc::SYS_timer_create, libc::SYS_timer_settime,
    libc::SYS_timer_gettime, libc::SYS_timer_getoverrun, libc::SYS_timer_delete,
    // Time, names, chance.
    libc::SYS_clock_gettime, libc::SYS_clock_getres, libc::SYS_gettimeofday, libc::SYS_uname,
    libc::SYS_sysinfo, libc::SYS_getrandom, libc::SYS_seccomp, libc::SYS_landlock_create_ruleset,
    libc::SYS_landlock_add_rule, libc::SYS_landlock_restrict_self,
    // Sockets that exist.
    libc::SYS_bind, libc::SYS_listen, libc::SYS_accept, libc::SYS_accept4,
    libc::SYS_connect, libc::SYS_getsockname, libc::SYS_getpeername, libc::SYS_sendto,
    libc::SYS_recvfrom, libc::SYS_sendmsg, libc::SYS_recvmsg, libc::SYS_sendmmsg,
    libc::SYS_recvmmsg, libc::SYS_setsockopt, libc::SYS_getsockopt, libc::SYS_shutdown,
    // Between the environment's own processes.
    libc::SYS_shmget, libc::SYS_shmat, libc::SYS_shmdt, libc::SYS_shmctl, libc::SYS_semget,
    libc::SYS_semop, libc::SYS_semtimedop, libc::SYS_semctl, libc::SYS_msgget, libc::SYS_msgsnd,
    libc::SYS_msgrcv, libc::SYS_msgctl,
    // The older names of the same, on x86-64 only.
    #[cfg(target_arch = "x86_64")] libc::SYS_open, #[cfg(target_arch = "x86_64")] libc::SYS_creat,
    #[cfg(target_arch = "x86_64")] libc::SYS_stat, #[cfg(target_arch = "x86_64")] libc::SYS_lstat,
    #[cfg(target_arch = "x86_64")] libc::SYS_access, #[cfg(target_arch = "x86_64")] libc::SYS_pipe,
    #[cfg(target_arch = "x86_64")] libc::SYS_dup2, #[cfg(target_arch = "x86_64")] libc::SYS_poll,
    #[cfg(target_arch = "x86_64")] libc::SYS_select, #[cfg(target_arch = "x86_64")] libc::SYS_pause,
    #[cfg(target_arch = "x86_64")] libc::SYS_alarm, #[cfg(target_arch = "x86_64")] libc::SYS_fork,
    #[cfg(target_arch = "x86_64")] libc::SYS_vfork, #[cfg(target_arch = "x86_64")] libc::SYS_mkdir,
    #[cfg(target_arch = "x86_64")] libc::SYS_rmdir, #[cfg(target_arch = "x86_64")] libc::SYS_link,
    #[cfg(target_arch = "x86_64")] libc::SYS_unlink, #[cfg(target_arch = "x86_64")] libc::SYS_rename,
    #[cfg(target_arch = "x86_64")] libc::SYS_symlink, #[cfg(target_arch = "x86_64")] libc::SYS_mknod,
    #[cfg(target_arch = "x86_64")] libc::SYS_readlink, #[cfg(target_arch = "x86_64")] libc::SYS_chmod,
    #[cfg(target_arch = "x86_64")] libc::SYS_chown, #[cfg(target_arch = "x86_64")] libc::SYS_lchown,
    #[cfg(target_arch = "x86_64")] libc::SYS_utime, #[cfg(target_arch = "x86_64")] libc::SYS_utimes,
    #[cfg(target_arch = "x86_64")] libc::SYS_futimesat, #[cfg(target_arch = "x86_64")] libc::SYS_getdents,
    #[cfg(target_arch = "x86_64")] libc::SYS_getpgrp, #[cfg(target_arch = "x86_64")] libc::SYS_time,
    #[cfg(target_arch = "x86_64")] libc::SYS_arch_prctl, #[cfg(target_arch = "x86_64")] libc::SYS_epoll_create,
    #[cfg(target_arch = "x86_64")] libc::SYS_epoll_wait, #[cfg(target_arch = "x86_64")] libc::SYS_eventfd,
    #[cfg(target_arch = "x86_64")] libc::SYS_signalfd, #[cfg(target_arch = "x86_64")] libc::SYS_inotify_init,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_filter_compiles_and_leaves_the_dangerous_calls_out() {
        Filter::of_environment(false).unwrap();
        Filter::of_server().unwrap();
        let dangerous = [
            libc::SYS_mount,
            libc::SYS_umount2,
            libc::SYS_pivot_root,
            libc::SYS_unshare,
            libc::SYS_setns,
            libc::SYS_ptrace,
            libc::SYS_process_vm_readv,
            libc::SYS_bpf,
            libc::SYS_perf_event_open,
            libc::SYS_keyctl,
            libc::SYS_add_key,
            libc::SYS_kexec_load,
            libc::SYS_init_module,
            libc::SYS_reboot,
            libc::SYS_io_uring_setup,
            libc::SYS_chroot,
            libc::SYS_userfaultfd,
            libc::SYS_open_by_handle_at,
            libc::SYS_settimeofday,
            libc::SYS_clock_settime,
            libc::SYS_sethostname,
            libc::SYS_syslog,
            libc::SYS_open_tree,
            libc::SYS_move_mount,
            libc::SYS_fsopen,
            libc::SYS_pidfd_getfd,
            libc::SYS_quotactl,
        ];
        for call in dangerous {
            assert!(!ALLOWED.contains(&call), "call {call} is allowed");
        }
    }
}
