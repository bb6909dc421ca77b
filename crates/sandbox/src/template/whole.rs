//! Copying a template with all of its threads.
//!
//! A program that has threads from its beginning cannot fork itself: its copy would have one of them,
//! and wait for the others some day. So it does not fork. It waits for a word that never comes, in one
//! call on the template's socket, and its other threads wait for work. All of them are held there. The
//! one is made to fork; in the copy threads are made in place of the others, each with the registers,
//! stack, signals and number that the library of threads has noted of it, and all of them take up their
//! calls again. What they wait for is in memory, which is the copy's own, or in the kernel, which is
//! made again (`kernel`). The first of them finds the template's socket closed: so it knows.

use std::fs;
use std::os::fd::OwnedFd;

use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::WaitStatus;
use nix::unistd::Pid;

use super::TEMPLATE_FD;
use super::kernel::Renewal;
use super::look;
use super::trace::{Held, Registers, Watch, failed, held};
use crate::sys::threads;

/// A program may have as many threads.
const THREADS_MAX: usize = 64;
/// How often a thread may stop for something else before it enters the kernel.
const STOPS_MAX: u32 = 64;
/// What the first thread may do after it has said that it is there, before it waits for the word.
const CALLS_MAX: u32 = 2_000;
/// How often it is made to fork for one copy.
const FORKS_MAX: u32 = 4;
/// Below the top of a stack nothing is kept that is not in use, but for what a function that calls no
/// other has there.
const BELOW_STACK: u64 = 256;
/// From asm-generic/signal-defs: there is no stack for signals.
const NO_STACK: i32 = 2;
/// Of the child of a `fork`, with the number that the library of threads keeps.
const FORK: u64 = (libc::SIGCHLD | libc::CLONE_CHILD_SETTID | libc::CLONE_CHILD_CLEARTID) as u64;
/// As the library of threads makes one.
const THREAD: u64 = (libc::CLONE_VM
    | libc::CLONE_FS
    | libc::CLONE_FILES
    | libc::CLONE_SIGHAND
    | libc::CLONE_THREAD
    | libc::CLONE_SYSVSEM
    | libc::CLONE_SETTLS
    | libc::CLONE_CHILD_SETTID
    | libc::CLONE_CHILD_CLEARTID) as u64;

/// A template that is held with all of its threads.
pub(super) struct Whole<'a> {
    template: Pid,
    watch: &'a Watch,
    /// The first is the one that waits for the word.
    threads: Vec<Thread>,
    main: Held<'a>,
    /// Where the library of threads keeps the number of the first.
    number_at: u64,
}

/// A thread that is held where it waits.
struct Thread {
    id: Pid,
    /// As they are after its call, and with which it takes that up again.
    stopped: Registers,
    resumes: Registers,
    /// The signals that it blocks. Whoever is made to do a call step by step does not block all of them
    /// any more.
    mask: u64,
}

/// What else a thread has.
struct Own {
    number_at: u64,
    state: Vec<u8>,
    noted: threads::Noted,
    robust: (u64, u64),
    name: Vec<u8>,
}

impl<'a> Whole<'a> {
    /// Holds it.
    pub(super) fn hold(template: Pid, watch: &'a Watch) -> Result<Whole<'a>, String> {
        let mut threads: Vec<Thread> = Vec::new();
        // Those that are held make no others; who came meanwhile is found by looking once more.
        loop {
            let before = threads.len();
            for id in look::threads(template)? {
                if threads.iter().all(|known| known.id != id) {
                    threads.push(hold(id, id == template, watch)?);
                }
            }
            if threads.len() == before {
                break;
            }
            if threads.len() > THREADS_MAX {
                return Err(format!("it has {} threads", threads.len()));
            }
        }
        threads.sort_by_key(|thread| thread.id != template);
        let first = threads.first().ok_or("it has no thread")?;
        let mut main = Held::with(template, watch, first.stopped)?;
        let number_at = number_at(&mut main)?;
        Ok(Whole { template, watch, threads, main, number_at })
    }

    /// Makes it fork. The copy, held, with one thread.
    pub(super) fn fork(&mut self) -> Result<Held<'a>, String> {
        let copy = self.main.fork(Some(self.like()))?;
        if layout(copy.pid)? == layout(self.template)? {
            return Ok(copy);
        }
        // There is memory that is kept from copies. The first time only: it stays as it is made.
        let _ = kill(copy.pid, Signal::SIGKILL);
        self.watch.gone(copy.pid)?;
        for (from, to) in kept_from_copies(self.template)? {
            let advice = [from, to - from, libc::MADV_DOFORK as u64];
            self.main.must("memory for copies", libc::SYS_madvise, &advice)?;
        }
        let copy = self.main.fork(Some(self.like()))?;
        match layout(copy.pid)? == layout(self.template)? {
            true => Ok(copy),
            false => {
                let _ = kill(copy.pid, Signal::SIGKILL);
                Err("it has memory that cannot be copied".to_owned())
            }
        }
    }

    /// How a process that is to be the copy is forked: flags, and where its number goes.
    pub(super) fn like(&self) -> (u64, u64) {
        (FORK, self.number_at)
    }

    /// What the copy has to have of its own in the kernel. `ends` are what it gets in place of its
    /// pipes and its stream, `ours` the numbers of these.
    pub(super) fn renewal(&self, ends: &[OwnedFd], ours: &[i32]) -> Result<Renewal, String> {
        Renewal::of(self.template, ends, ours)
    }

    /// Makes the other threads in the copy and has it go on where the template waits, once it is let go.
    /// `inside` is the number of the copy in its environment.
    pub(super) fn complete(&self, copy: &mut Held<'a>, inside: i32) -> Result<Vec<Pid>, String> {
        // OpenSSL draws anew in a process of another number.
        if look::number_inside(self.template)? == inside {
            return Err("it has the number of its template".to_owned());
        }
        ptrace::setoptions(copy.pid, held() | Options::PTRACE_O_TRACECLONE)
            .map_err(failed("watching for threads"))?;
        let (head, length) = robust_list(self.template)?;
        copy.must("its locks", libc::SYS_set_robust_list, &[head, length])?;
        let mut made = Vec::new();
        for thread in self.threads.iter().skip(1) {
            made.push(self.make(copy, thread)?);
        }
        let first = self.threads.first().ok_or("it has no thread")?;
        threads::set_signal_mask(copy.pid.as_raw(), first.mask)
            .map_err(|error| format!("its signals: {error}"))?;
        ptrace::setregs(copy.pid, first.resumes).map_err(failed("setting registers"))?;
        Ok(made)
    }

    fn make(&self, copy: &mut Held<'a>, thread: &Thread) -> Result<Pid, String> {
        let own = Own::of(thread, self.watch)?;
        let stack = super::resting::stack(&thread.stopped);
        let place = super::resting::place(&thread.stopped);
        let arguments = [THREAD, stack, 0, own.number_at, place];
        let id = copy.clone_thread(&arguments)?;
        let mut made = Held::with(id, self.watch, thread.stopped)?;
        if own.noted.at != 0 {
            let noted = own.noted;
            let arguments = [noted.at, u64::from(noted.bytes), 0, u64::from(noted.signature)];
            made.must("its processor", libc::SYS_rseq, &arguments)?;
        }
        made.must("its locks", libc::SYS_set_robust_list, &[own.robust.0, own.robust.1])?;
        let at = stack - BELOW_STACK;
        made.write(at, &own.name)?;
        made.must("its name", libc::SYS_prctl, &[libc::PR_SET_NAME as u64, at])?;
        let set = |error: std::io::Error| format!("a thread's state: {error}");
        threads::set_extended_state(id.as_raw(), &own.state).map_err(set)?;
        threads::set_signal_mask(id.as_raw(), thread.mask).map_err(set)?;
        ptrace::setregs(id, thread.resumes).map_err(failed("setting registers"))?;
        Ok(id)
    }

    /// Lets the template wait on, as it did.
    pub(super) fn let_go(mut self) -> Result<(), String> {
        self.release()
    }

    fn release(&mut self) -> Result<(), String> {
        if self.threads.is_empty() {
            return Ok(());
        }
        // What was forked and has ended is its child.
        for _ in 0..FORKS_MAX {
            if self.main.call(libc::SYS_wait4, &[u64::MAX, 0, libc::WNOHANG as u64, 0])? <= 0 {
                break;
            }
        }
        for thread in std::mem::take(&mut self.threads) {
            let masked = threads::set_signal_mask(thread.id.as_raw(), thread.mask);
            masked.map_err(|error| format!("a thread's signals: {error}"))?;
            ptrace::setregs(thread.id, thread.resumes).map_err(failed("setting registers"))?;
            ptrace::detach(thread.id, None).map_err(failed("letting the template go"))?;
        }
        Ok(())
    }
}

impl Drop for Whole<'_> {
    fn drop(&mut self) {
        // When something has failed: those that were copied before live on only if it does.
        let _ = self.release();
    }
}

impl Own {
    fn of(thread: &Thread, watch: &Watch) -> Result<Own, String> {
        let mut held = Held::with(thread.id, watch, thread.stopped)?;
        let number_at = number_at(&mut held)?;
        let at = super::resting::stack(&thread.stopped) - BELOW_STACK;
        held.must("its stack for signals", libc::SYS_sigaltstack, &[0, at])?;
        let mut stack = [0; 12];
        held.read(at, &mut stack)?;
        if i32::from_ne_bytes([stack[8], stack[9], stack[10], stack[11]]) != NO_STACK {
            return Err("one of its threads has a stack for signals".to_owned());
        }
        let id = thread.id.as_raw();
        let told = |error: std::io::Error| format!("a thread's state: {error}");
        let mut name = fs::read(format!("/proc/{id}/comm")).map_err(told)?;
        // The kernel ends it with a new line, and is to be told with a zero.
        name.pop();
        name.push(0);
        Ok(Own {
            number_at,
            state: threads::extended_state(id).map_err(told)?,
            noted: threads::noted(id).map_err(told)?,
            robust: robust_list(thread.id)?,
            name,
        })
    }
}

fn robust_list(thread: Pid) -> Result<(u64, u64), String> {
    threads::robust_list(thread.as_raw()).map_err(|error| format!("its locks: {error}"))
}

/// Where the library of threads keeps the number of a thread, as it has told the kernel.
fn number_at(thread: &mut Held<'_>) -> Result<u64, String> {
    let at = super::resting::stack(&thread.registers) - BELOW_STACK;
    let get = [libc::PR_GET_TID_ADDRESS as u64, at];
    thread.must("where its number is", libc::SYS_prctl, &get)?;
    let mut number_at = [0; 8];
    thread.read(at, &mut number_at)?;
    match u64::from_ne_bytes(number_at) {
        0 => Err("a thread of it has no number in memory".to_owned()),
        at => Ok(at),
    }
}

/// Holds one thread where it waits, or where it next enters the kernel; the first one where it waits for
/// the word.
fn hold(id: Pid, is_first: bool, watch: &Watch) -> Result<Thread, String> {
    let options = Options::PTRACE_O_TRACESYSGOOD | Options::PTRACE_O_TRACEFORK;
    ptrace::seize(id, options).map_err(failed("holding a thread"))?;
    ptrace::interrupt(id).map_err(failed("stopping a thread"))?;
    for _ in 0..STOPS_MAX {
        match watch.next(id)? {
            WaitStatus::PtraceEvent(_, _, libc::PTRACE_EVENT_STOP) => break,
            WaitStatus::Stopped(_, signal) => {
                ptrace::cont(id, signal).map_err(failed("letting it go on"))?;
            }
            WaitStatus::PtraceEvent(..) => {
                ptrace::cont(id, None).map_err(failed("letting it go on"))?;
            }
            other => return Err(format!("a thread has ended: {other:?}")),
        }
    }
    let is_place =
        |registers: &Registers| !is_first || super::resting::reads(registers, TEMPLATE_FD as u64);
    let registers = ptrace::getregs(id).map_err(failed("reading registers"))?;
    if let Some(resumes) = super::resting::again(&registers).filter(|_| is_place(&registers)) {
        return at(id, watch, registers, resumes);
    }
    for _ in 0..CALLS_MAX {
        ptrace::syscall(id, None).map_err(failed("letting it go on"))?;
        match watch.next(id)? {
            WaitStatus::PtraceSyscall(_) => {}
            WaitStatus::Stopped(..) | WaitStatus::PtraceEvent(..) => continue,
            other => return Err(format!("a thread has ended: {other:?}")),
        }
        let entering = ptrace::getregs(id).map_err(failed("reading registers"))?;
        if !super::resting::is_entering(&entering) || !is_place(&entering) {
            continue;
        }
        ptrace::setregs(id, super::resting::without_call(&entering))
            .map_err(failed("setting registers"))?;
        ptrace::syscall(id, None).map_err(failed("letting it go on"))?;
        if !matches!(watch.next(id)?, WaitStatus::PtraceSyscall(_)) {
            return Err("a thread did not stop".to_owned());
        }
        let after = ptrace::getregs(id).map_err(failed("reading registers"))?;
        return at(id, watch, after, super::resting::call_again(&after, &entering));
    }
    Err("a thread of it does not wait".to_owned())
}

/// There, if it entered the kernel as usual.
fn at(id: Pid, watch: &Watch, stopped: Registers, resumes: Registers) -> Result<Thread, String> {
    let held = Held::with(id, watch, stopped)?;
    let (at, code) = super::resting::enters(&stopped);
    let mut found = code;
    held.read(at, &mut found)?;
    match found == code {
        true => {
            let mask = threads::signal_mask(id.as_raw());
            let mask = mask.map_err(|error| format!("a thread's signals: {error}"))?;
            Ok(Thread { id, stopped, resumes, mask })
        }
        false => Err("a thread did not enter the kernel as usual".to_owned()),
    }
}

/// Where a process has memory, and what it is.
fn layout(pid: Pid) -> Result<String, String> {
    fs::read_to_string(format!("/proc/{pid}/maps")).map_err(|error| error.to_string())
}

/// The memory of a process that its children do not get.
fn kept_from_copies(pid: Pid) -> Result<Vec<(u64, u64)>, String> {
    let smaps = fs::read_to_string(format!("/proc/{pid}/smaps")).map_err(|e| e.to_string())?;
    Ok(marked(&smaps, "dc"))
}

/// The mappings with this mark, of what `/proc/<pid>/smaps` shows.
fn marked(smaps: &str, mark: &str) -> Vec<(u64, u64)> {
    let mut found = Vec::new();
    let mut last = None;
    for line in smaps.lines() {
        let mut words = line.split_ascii_whitespace();
        let first = words.next().unwrap_or_default();
        if first == "VmFlags:" {
            found.extend(last.take().filter(|_| words.any(|word| word == mark)));
        } else if let Some((from, to)) = first.split_once('-') {
            let number = |text| u64::from_str_radix(text, 16).ok();
            last = number(from).zip(number(to));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_found_by_its_mark() {
        let smaps = "00400000-00500000 r-xp 00000000 fe:00 1 /usr/bin/node\nRss: 4 kB\n\
                     VmFlags: rd ex mr mw me sd \n\
                     7f0000000000-7f0000001000 rw-p 00000000 00:00 0 \nRss: 4 kB\n\
                     VmFlags: rd wr mr mw me dc ac sd \n\
                     7f0000002000-7f0000004000 ---p 00000000 00:00 0 \nVmFlags: mr mw me dc nr sd \n";
        let dc = [(0x7f00_0000_0000, 0x7f00_0000_1000), (0x7f00_0000_2000, 0x7f00_0000_4000)];
        assert_eq!(marked(smaps, "dc"), dc);
        assert_eq!(marked(smaps, "wf"), []);
    }
}
