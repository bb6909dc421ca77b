//! Holding a process and making it do system calls, from outside.
//!
//! What a held process is made to do is done with its own rights. It executes nothing but the one
//! instruction that enters the kernel, from which it was born.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use std::os::fd::AsFd;

/// How often a template may stop for something else before it forks.
const STOPS_MAX: u32 = 16;
/// From linux/ptrace.h: the filter of system calls does not apply while the process is held.
const SUSPEND_SECCOMP: i32 = 1 << 21;

/// Held and unfiltered; ends with whoever holds it; its children are held from their birth.
pub(super) fn unfiltered() -> Options {
    Options::from_bits_retain(SUSPEND_SECCOMP) | held()
}

/// Held, with its filter.
pub(super) fn held() -> Options {
    Options::PTRACE_O_EXITKILL | Options::PTRACE_O_TRACEFORK
}

pub(super) fn failed(what: &str) -> impl Fn(Errno) -> String {
    move |errno| format!("{what}: {errno}")
}

/// Waits for what held processes do.
pub(super) struct Watch {
    signals: SignalFd,
    patience_ms: u16,
}

impl Watch {
    /// A process that is held may take so long to do what it is told, and a template to fork.
    pub(super) fn new(patience_ms: u16) -> Result<Watch, String> {
        let mut mask = SigSet::empty();
        mask.add(Signal::SIGCHLD);
        mask.thread_block().map_err(failed("signal mask"))?;
        let signals = SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
            .map_err(failed("signalfd"))?;
        Ok(Watch { signals, patience_ms })
    }

    /// What this process does next.
    pub(super) fn next(&self, pid: Pid) -> Result<WaitStatus, String> {
        loop {
            match waitpid(pid, Some(WaitPidFlag::__WALL | WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::StillAlive) => {}
                Ok(status) => return Ok(status),
                Err(errno) => return Err(failed("waiting for a process")(errno)),
            }
            let mut polled = [PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)];
            match poll(&mut polled, PollTimeout::from(self.patience_ms)) {
                Ok(0) => return Err(format!("nothing happened in {} ms", self.patience_ms)),
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => return Err(failed("poll")(errno)),
            }
            while let Ok(Some(_)) = self.signals.read_signal() {}
        }
    }

    /// Waits until a process that runs forks, and for its child's birth.
    pub(super) fn birth(&self, parent: Pid) -> Result<Pid, String> {
        for _ in 0..STOPS_MAX {
            match self.next(parent)? {
                WaitStatus::PtraceEvent(_, _, libc::PTRACE_EVENT_FORK) => {
                    return self.born(parent);
                }
                WaitStatus::Stopped(_, signal) => {
                    ptrace::cont(parent, signal).map_err(failed("letting it go on"))?;
                }
                WaitStatus::PtraceEvent(..) => {
                    ptrace::cont(parent, None).map_err(failed("letting it go on"))?;
                }
                other => return Err(format!("the template has ended: {other:?}")),
            }
        }
        Err("it does other things than to fork".to_owned())
    }

    /// The child of a process that has stopped at its fork, held.
    fn born(&self, parent: Pid) -> Result<Pid, String> {
        let child = ptrace::getevent(parent).map_err(failed("the child of a fork"))?;
        let child = Pid::from_raw(i32::try_from(child).map_err(|_| "no process id".to_owned())?);
        match self.next(child)? {
            WaitStatus::PtraceEvent(..) | WaitStatus::Stopped(..) => Ok(child),
            other => Err(format!("the child of a fork has ended: {other:?}")),
        }
    }

    /// Waits until a process that was killed is no more held.
    pub(super) fn gone(&self, pid: Pid) -> Result<(), String> {
        for _ in 0..STOPS_MAX {
            match self.next(pid) {
                Ok(WaitStatus::Exited(..) | WaitStatus::Signaled(..)) => return Ok(()),
                Ok(_) => {}
                Err(error) => return Err(error),
            }
        }
        Err("a process that was killed does not end".to_owned())
    }
}

pub(super) use arch::{IS_KNOWN, Registers, fork_of};

/// Arguments of a system call.
pub(super) type Arguments = [u64; 6];

/// A process that is held where it was born.
pub(super) struct Held<'a> {
    pub(super) pid: Pid,
    watch: &'a Watch,
    /// As they were at its birth.
    pub(super) registers: Registers,
    memory: File,
    /// Born in the last call.
    child: Option<Pid>,
}

impl<'a> Held<'a> {
    pub(super) fn new(pid: Pid, watch: &'a Watch) -> Result<Held<'a>, String> {
        let registers = ptrace::getregs(pid).map_err(failed("reading registers"))?;
        let held = Held::with(pid, watch, registers)?;
        arch::check(&registers, |at, bytes| held.memory.read_exact_at(bytes, at))?;
        let (at, code) = arch::enter(&registers);
        // From now on the page is its own: where others can change it, this cannot be done.
        held.memory.write_all_at(&code, at).map_err(|error| format!("its code: {error}"))?;
        Ok(held)
    }

    /// One that was born in a call of such a process.
    pub(super) fn with(
        pid: Pid,
        watch: &'a Watch,
        registers: Registers,
    ) -> Result<Held<'a>, String> {
        let memory = OpenOptions::new().read(true).write(true).open(format!("/proc/{pid}/mem"));
        let memory = memory.map_err(|error| format!("memory: {error}"))?;
        Ok(Held { pid, watch, registers, memory, child: None })
    }

    /// Makes it do a system call.
    pub(super) fn call(&mut self, number: i64, arguments: &[u64]) -> Result<i64, String> {
        let mut all = Arguments::default();
        all[..arguments.len()].copy_from_slice(arguments);
        let before = arch::before_call(&self.registers, number, all);
        ptrace::setregs(self.pid, before).map_err(failed("setting registers"))?;
        loop {
            ptrace::step(self.pid, None).map_err(failed("a step"))?;
            match self.watch.next(self.pid)? {
                WaitStatus::PtraceEvent(_, _, libc::PTRACE_EVENT_FORK) => {
                    self.child = Some(self.watch.born(self.pid)?);
                }
                WaitStatus::Stopped(_, Signal::SIGTRAP) => break,
                // One that it made has ended, which it does not hear of.
                WaitStatus::Stopped(_, Signal::SIGCHLD) => {}
                other => return Err(format!("call {number}: {other:?}")),
            }
        }
        let after = ptrace::getregs(self.pid).map_err(failed("reading registers"))?;
        arch::result(&self.registers, &after)
    }

    /// Makes it do one that must succeed.
    pub(super) fn must(
        &mut self,
        what: &str,
        number: i64,
        arguments: &[u64],
    ) -> Result<u64, String> {
        let result = self.call(number, arguments)?;
        u64::try_from(result)
            .map_err(|_| format!("{what}: {}", io::Error::from_raw_os_error(-result as i32)))
    }

    /// Makes it fork; `thread` is where the new process writes its number, if the template's fork did.
    pub(super) fn fork(&mut self, like: Option<(u64, u64)>) -> Result<Held<'a>, String> {
        let (flags, thread) = like.unwrap_or((libc::SIGCHLD as u64, 0));
        self.child = None;
        self.must("a fork", libc::SYS_clone, &[flags, 0, 0, thread, 0])?;
        let child = self.child.take().ok_or("a fork without a child")?;
        Held::with(child, self.watch, self.registers)
    }

    pub(super) fn write(&self, at: u64, bytes: &[u8]) -> Result<(), String> {
        self.memory.write_all_at(bytes, at).map_err(|error| format!("writing memory: {error}"))
    }

    pub(super) fn read(&self, at: u64, bytes: &mut [u8]) -> Result<(), String> {
        self.memory.read_exact_at(bytes, at).map_err(|error| format!("reading memory: {error}"))
    }

    /// Puts it back to where it was born, from where it goes on when it is let go.
    pub(super) fn put_back(&self) -> Result<(), String> {
        ptrace::setregs(self.pid, arch::at_birth(&self.registers))
            .map_err(failed("setting registers"))
    }
}

#[cfg(target_arch = "x86_64")]
mod arch {
    use super::{Arguments, io};

    pub(crate) const IS_KNOWN: bool = true;
    pub(crate) type Registers = libc::user_regs_struct;

    /// The instruction that enters the kernel.
    const ENTER: [u8; 2] = [0x0f, 0x05];
    /// What no system call has: none is taken up again.
    const NONE: u64 = u64::MAX;
    /// Flags of `clone` that glibc's `fork` uses, beside the signal.
    const FLAGS: u64 = (libc::CLONE_CHILD_SETTID | libc::CLONE_CHILD_CLEARTID) as u64;

    /// Whether a process was born by a fork that can be done again from the same place.
    pub(crate) fn check(
        born: &Registers,
        read: impl Fn(u64, &mut [u8]) -> io::Result<()>,
    ) -> Result<(), String> {
        let mut code = [0; 2];
        read(born.rip.wrapping_sub(2), &mut code).map_err(|error| format!("code: {error}"))?;
        fork_of(born)?;
        if code == ENTER { Ok(()) } else { Err("it did not enter the kernel as usual".to_owned()) }
    }

    /// Where the instruction is that enters the kernel, and what it is.
    pub(crate) fn enter(born: &Registers) -> (u64, [u8; 2]) {
        (born.rip.wrapping_sub(ENTER.len() as u64), ENTER)
    }

    /// Flags of the template's fork, and where the child writes its number.
    pub(crate) fn fork_of(born: &Registers) -> Result<(u64, u64), String> {
        let signal = libc::SIGCHLD as u64;
        match born.orig_rax as i64 {
            libc::SYS_fork => Ok((signal, 0)),
            libc::SYS_clone if born.rdi & !FLAGS == signal && born.rsi == 0 => {
                Ok((born.rdi, born.r10))
            }
            _ => Err("it did not fork as usual".to_owned()),
        }
    }

    pub(crate) fn before_call(born: &Registers, number: i64, arguments: Arguments) -> Registers {
        let [rdi, rsi, rdx, r10, r8, r9] = arguments;
        let (rip, rax) = (born.rip - ENTER.len() as u64, number as u64);
        Registers { rip, rax, rdi, rsi, rdx, r10, r8, r9, orig_rax: NONE, ..*born }
    }

    pub(crate) fn result(born: &Registers, after: &Registers) -> Result<i64, String> {
        if after.rip == born.rip { Ok(after.rax as i64) } else { Err("it went astray".to_owned()) }
    }

    pub(crate) fn at_birth(born: &Registers) -> Registers {
        Registers { rax: 0, orig_rax: NONE, ..*born }
    }
}

#[cfg(not(target_arch = "x86_64"))]
mod arch {
    use super::{Arguments, io};

    pub(crate) const IS_KNOWN: bool = false;
    pub(crate) type Registers = libc::user_regs_struct;

    pub(crate) fn check(
        _: &Registers,
        _: impl Fn(u64, &mut [u8]) -> io::Result<()>,
    ) -> Result<(), String> {
        Err("the registers of this machine are not known".to_owned())
    }

    pub(crate) fn enter(_: &Registers) -> (u64, [u8; 0]) {
        (0, [])
    }

    pub(crate) fn fork_of(_: &Registers) -> Result<(u64, u64), String> {
        Err("the registers of this machine are not known".to_owned())
    }

    pub(crate) fn before_call(born: &Registers, _: i64, _: Arguments) -> Registers {
        *born
    }

    pub(crate) fn result(_: &Registers, _: &Registers) -> Result<i64, String> {
        Err("the registers of this machine are not known".to_owned())
    }

    pub(crate) fn at_birth(born: &Registers) -> Registers {
        *born
    }
}
