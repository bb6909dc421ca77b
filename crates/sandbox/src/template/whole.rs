//! Copying a template with all of its threads.
//!
//! A program that has threads from its beginning cannot fork itself: its copy would have one of them,
//! and wait for the others some day. So it does not fork. It waits for a word that never comes, in one
//! call on the template's socket, and its other threads wait for work. All of them are held there. The
//! one is made to fork; in the copy threads are made in place of the others, each with the registers,
//! stack, signals and number that the library of threads has noted of it, and all of them take up their
//! calls again. What they wait for is in memory, which is the copy's own, or in the kernel, which is
//! made again (`kernel`). The first of them finds the template's socket closed: so it knows.
//!
//! Only a zygote is copied so, whose program is ours. What is looked at here is not for fear of it: a copy
//! is whole or there is none. One thing is not looked at: threads beside the first have no stack for
//! signals of their own in a copy. Those of Node.js have none anyway.

use std::fs;
use std::os::fd::OwnedFd;

use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::WaitStatus;
use nix::unistd::Pid;

use super::TEMPLATE_FD;
use super::block::Block;
use super::kernel::Renewal;
use super::trace::{Held, Registers, Watch, failed};
use super::{look, resting};
use crate::sys::{RestartableArea, restartable_area, threads};

/// A program may have as many threads.
const THREADS_MAX: usize = 64;
/// How often a thread may stop for something else before it stops where it is told to.
const STOPS_MAX: u32 = 64;
/// What the first thread may do after it has said that it is there, before it waits for the word.
const CALLS_MAX: u32 = 2_000;
/// Below the end of a stack there is nothing that is in use, but for what a function that calls no
/// other has there (128 bytes). So much of it is used.
const ROOM_BYTES: u64 = 1_024;
const NAME_BYTES: u64 = 16;
const LIST_BYTES: u64 = 768;
/// Behind the list there is place for what a signal does: `struct sigaction` as the kernel has it.
const ACTION_AT: u64 = LIST_BYTES;
const ACTION_BYTES: usize = 32;
const MASK_BYTES: u64 = 8;
/// What the call ends with in which a template waits, in a copy that somebody waits for. It says that its
/// socket is closed in others.
const AWAITED: i32 = libc::ECANCELED;
/// Of the child of a `fork`, with the number that the library of threads keeps.
const FORK: u64 = (libc::SIGCHLD | libc::CLONE_CHILD_SETTID | libc::CLONE_CHILD_CLEARTID) as u64;
/// As the library of threads makes one, and held as the one that makes it.
const THREAD: u64 = (libc::CLONE_VM
    | libc::CLONE_FS
    | libc::CLONE_FILES
    | libc::CLONE_SIGHAND
    | libc::CLONE_THREAD
    | libc::CLONE_PTRACE
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

/// What is known of a template that is not held any more.
pub(super) struct Remembered<'a> {
    template: Pid,
    watch: &'a Watch,
    /// As in [`Whole`].
    threads: Vec<Thread>,
    number_at: u64,
}

/// A thread that waits, and that was held there.
struct Thread {
    id: Pid,
    /// As they are after its call, and with which it takes that up again.
    stopped: Registers,
    resumes: Registers,
    /// The signals that it blocks. Whoever is made to do a call step by step does not block all of them
    /// any more.
    mask: u64,
    /// What the kernel and the processor know of it beside.
    locks: (u64, u64),
    restartable: Option<RestartableArea>,
    name: Vec<u8>,
    state: Vec<u8>,
}

impl Thread {
    /// One that is held, with all that is known of it.
    fn at(id: Pid, stopped: Registers, resumes: Registers, mask: u64) -> Result<Thread, String> {
        let told = |error: std::io::Error| format!("a thread's state: {error}");
        Ok(Thread {
            id,
            stopped,
            resumes,
            mask,
            locks: threads::robust_list(id.as_raw()).map_err(told)?,
            restartable: restartable_area(id.as_raw()).map_err(told)?,
            name: name(id)?,
            state: threads::extended_state(id.as_raw()).map_err(told)?,
        })
    }
}

impl<'a> Whole<'a> {
    /// Holds it.
    pub(super) fn hold(template: Pid, watch: &'a Watch) -> Result<Whole<'a>, String> {
        let mut stopped: Vec<Pid> = Vec::new();
        // Those that have stopped make no others; who came meanwhile is found by looking once more.
        loop {
            let mut new = look::threads(template)?;
            new.retain(|id| !stopped.contains(id));
            if new.is_empty() {
                break;
            }
            stop(&new, watch)?;
            stopped.extend(new);
            if stopped.len() > THREADS_MAX {
                return Err(format!("it has {} threads", stopped.len()));
            }
        }
        stopped.sort_by_key(|id| *id != template);
        let threads: Vec<Thread> = stopped
            .into_iter()
            .map(|id| rest(id, id == template, watch))
            .collect::<Result<_, String>>()?;
        let first = threads.first().ok_or("it has no thread")?;
        let mut main = Held::with(template, watch, first.stopped)?;
        for thread in &threads {
            let (at, code) = resting::enters(&thread.stopped);
            let mut found = code;
            main.read(at, &mut found)?;
            if found != code {
                return Err("a thread did not enter the kernel as usual".to_owned());
            }
        }
        let number_at = number_at(&mut main)?;
        forgets_children(template, &mut main)?;
        Ok(Whole { template, watch, threads, main, number_at })
    }

    /// Makes it fork. The copy, held, with one thread.
    pub(super) fn fork(&mut self) -> Result<Held<'a>, String> {
        let mut copy = self.main.copy(self.like())?;
        let wanted = layout(self.template)?;
        if layout(copy.pid)? != wanted {
            // There is memory that is kept from copies. The first time only: it stays as it is made.
            let _ = kill(copy.pid, Signal::SIGKILL);
            self.watch.gone(copy.pid)?;
            for (from, to) in kept_from_copies(self.template)? {
                let advice = [from, to - from, libc::MADV_DOFORK as u64];
                self.main.must("memory for copies", libc::SYS_madvise, &advice)?;
            }
            copy = self.main.copy(self.like())?;
            if layout(copy.pid)? != layout(self.template)? {
                let _ = kill(copy.pid, Signal::SIGKILL);
                return Err("it has memory that cannot be copied".to_owned());
            }
        }
        copy.stop_restarts()?;
        Ok(copy)
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

    /// Lets the template wait on, as it did. What is known of it.
    pub(super) fn let_go(mut self) -> Result<Remembered<'a>, String> {
        let threads = self.release()?;
        let Whole { template, watch, number_at, .. } = self;
        Ok(Remembered { template, watch, threads, number_at })
    }

    fn release(&mut self) -> Result<Vec<Thread>, String> {
        let threads = std::mem::take(&mut self.threads);
        for thread in &threads {
            go_on_as(thread.id, thread)?;
            ptrace::detach(thread.id, None).map_err(failed("letting the template go"))?;
        }
        Ok(threads)
    }
}

impl<'a> Remembered<'a> {
    /// Makes the other threads in the copy and has it go on where the template waits, once it is let go; its
    /// call there ends with [`AWAITED`] if somebody waits for it. `inside` is the number of the copy in its
    /// environment.
    pub(super) fn complete(
        &self,
        copy: &mut Held<'a>,
        inside: i32,
        is_awaited: bool,
    ) -> Result<Vec<Pid>, String> {
        // OpenSSL draws anew in a process of another number.
        if look::number_inside(self.template)? == inside {
            return Err("it has the number of its template".to_owned());
        }
        let first = self.threads.first().ok_or("it has no thread")?;
        let others = self.threads.iter().skip(1);
        let room = resting::stack(&first.stopped) - ROOM_BYTES;
        let (head, length) = first.locks;
        let mut block = Block::default();
        block.must("its locks", libc::SYS_set_robust_list, &[head, length]);
        // It hears of its own children again: as at its beginning, with no action and no flags.
        copy.write(room + ACTION_AT, &[0; ACTION_BYTES])?;
        let default = [libc::SIGCHLD as u64, room + ACTION_AT, 0, MASK_BYTES];
        block.must("its children", libc::SYS_rt_sigaction, &default);
        for thread in others.clone() {
            let (stack, place) = (resting::stack(&thread.stopped), resting::place(&thread.stopped));
            // The library keeps it at the same place of what each thread has of its own.
            let number_at = place + (self.number_at - resting::place(&first.stopped));
            block.must("a thread", libc::SYS_clone, &[THREAD, stack, 0, number_at, place]);
        }
        block.run(copy, room, LIST_BYTES)?;
        let mut made = look::threads(copy.pid)?;
        made.retain(|id| *id != copy.pid);
        if made.len() != others.len() {
            return Err("not all of its threads came".to_owned());
        }
        for id in &made {
            if !matches!(self.watch.next(*id)?, WaitStatus::PtraceEvent(..)) {
                return Err("a thread of a copy did not stop".to_owned());
            }
            let born = ptrace::getregs(*id).map_err(failed("reading registers"))?;
            let is_it = |thread: &&Thread| resting::place(&thread.stopped) == resting::place(&born);
            let like = others.clone().find(is_it).ok_or("a thread of a copy is none of its")?;
            self.become_like(*id, like, &first.name)?;
        }
        go_on_as(copy.pid, first)?;
        if is_awaited {
            let resumes = resting::failing(&first.stopped, AWAITED);
            ptrace::setregs(copy.pid, resumes).map_err(failed("setting registers"))?;
        }
        Ok(made)
    }

    /// Makes a new thread, which is held, what another one is. `known` is what it is called.
    fn become_like(&self, id: Pid, like: &Thread, known: &[u8]) -> Result<(), String> {
        let mut made = Held::with(id, self.watch, like.stopped)?;
        let mut block = Block::default();
        if let Some(area) = like.restartable {
            let arguments = [area.at, u64::from(area.bytes), 0, u64::from(area.signature)];
            block.must("its processor", libc::SYS_rseq, &arguments);
        }
        let (head, length) = like.locks;
        block.must("its locks", libc::SYS_set_robust_list, &[head, length]);
        let name_at = resting::stack(&like.stopped) - ROOM_BYTES;
        if like.name != known {
            made.write(name_at, &like.name)?;
            block.must("its name", libc::SYS_prctl, &[libc::PR_SET_NAME as u64, name_at]);
        }
        block.run(&mut made, name_at + NAME_BYTES, LIST_BYTES)?;
        let told = |error: std::io::Error| format!("a thread's state: {error}");
        threads::set_extended_state(id.as_raw(), &like.state).map_err(told)?;
        go_on_as(id, like)
    }
}

impl Drop for Whole<'_> {
    fn drop(&mut self) {
        // When something has failed: those that were copied before live on only if it does.
        let _ = self.release();
    }
}

/// Has a thread go on where `like` was stopped, once it is let go.
fn go_on_as(id: Pid, like: &Thread) -> Result<(), String> {
    threads::set_signal_mask(id.as_raw(), like.mask)
        .map_err(|error| format!("a thread's signals: {error}"))?;
    ptrace::setregs(id, like.resumes).map_err(failed("setting registers"))
}

/// What a thread is called, ended as the kernel wants to be told.
fn name(thread: Pid) -> Result<Vec<u8>, String> {
    let mut name = fs::read(format!("/proc/{thread}/comm")).map_err(|error| error.to_string())?;
    name.pop();
    name.push(0);
    Ok(name)
}

/// Where the library of threads keeps the number of a thread, as it has told the kernel.
fn number_at(thread: &mut Held<'_>) -> Result<u64, String> {
    let at = resting::stack(&thread.registers) - ROOM_BYTES;
    let get = [libc::PR_GET_TID_ADDRESS as u64, at];
    thread.must("where its number is", libc::SYS_prctl, &get)?;
    let mut number_at = [0; 8];
    thread.read(at, &mut number_at)?;
    match u64::from_ne_bytes(number_at) {
        at if at > resting::place(&thread.registers) => Ok(at),
        _ => Err("it has no number in memory".to_owned()),
    }
}

/// What was forked of it and has ended is its child, and nobody would take note of that: so the kernel is told
/// that nobody wants to.
fn forgets_children(template: Pid, main: &mut Held<'_>) -> Result<(), String> {
    let status = fs::read_to_string(format!("/proc/{template}/status"));
    let status = status.map_err(|error| error.to_string())?;
    let has = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let signals = line.and_then(|line| u64::from_str_radix(line.trim(), 16).ok());
        signals.is_some_and(|signals| signals & 1 << (libc::SIGCHLD - 1) != 0)
    };
    if has("SigCgt:") {
        return Err("it has children of its own to care for".to_owned());
    }
    if has("SigIgn:") {
        return Ok(());
    }
    let at = resting::stack(&main.registers) - ROOM_BYTES;
    let mut action = [0; ACTION_BYTES];
    action[..8].copy_from_slice(&(libc::SIG_IGN as u64).to_ne_bytes());
    main.write(at, &action)?;
    let ignored = [libc::SIGCHLD as u64, at, 0, MASK_BYTES];
    main.must("its children", libc::SYS_rt_sigaction, &ignored).map(|_| ())
}

/// Stops threads, wherever they are.
fn stop(threads: &[Pid], watch: &Watch) -> Result<(), String> {
    let options = Options::PTRACE_O_TRACESYSGOOD | Options::PTRACE_O_TRACEFORK;
    for id in threads {
        ptrace::seize(*id, options).map_err(failed("holding a thread"))?;
        ptrace::interrupt(*id).map_err(failed("stopping a thread"))?;
    }
    for id in threads {
        let mut has_stopped = false;
        for _ in 0..STOPS_MAX {
            match watch.next(*id)? {
                WaitStatus::PtraceEvent(_, _, libc::PTRACE_EVENT_STOP) => {
                    has_stopped = true;
                    break;
                }
                WaitStatus::Stopped(_, signal) => {
                    ptrace::cont(*id, signal).map_err(failed("letting it go on"))?;
                }
                WaitStatus::PtraceEvent(..) => {
                    ptrace::cont(*id, None).map_err(failed("letting it go on"))?;
                }
                other => return Err(format!("a thread has ended: {other:?}")),
            }
        }
        if !has_stopped {
            return Err("a thread does not stop".to_owned());
        }
    }
    Ok(())
}

/// Where a thread that has stopped waits, or where it next enters the kernel; the first one where it waits
/// for the word.
fn rest(id: Pid, is_first: bool, watch: &Watch) -> Result<Thread, String> {
    let mask = threads::signal_mask(id.as_raw());
    let mask = mask.map_err(|error| format!("a thread's signals: {error}"))?;
    let is_place =
        |registers: &Registers| !is_first || resting::reads(registers, TEMPLATE_FD as u64);
    let stopped = ptrace::getregs(id).map_err(failed("reading registers"))?;
    if let Some(resumes) = resting::again(&stopped).filter(|_| is_place(&stopped)) {
        return Thread::at(id, stopped, resumes, mask);
    }
    for _ in 0..CALLS_MAX {
        ptrace::syscall(id, None).map_err(failed("letting it go on"))?;
        match watch.next(id)? {
            WaitStatus::PtraceSyscall(_) => {}
            WaitStatus::Stopped(..) | WaitStatus::PtraceEvent(..) => continue,
            other => return Err(format!("a thread has ended: {other:?}")),
        }
        let entering = ptrace::getregs(id).map_err(failed("reading registers"))?;
        if !resting::is_entering(&entering) || !is_place(&entering) {
            continue;
        }
        ptrace::setregs(id, resting::without_call(&entering))
            .map_err(failed("setting registers"))?;
        ptrace::syscall(id, None).map_err(failed("letting it go on"))?;
        if !matches!(watch.next(id)?, WaitStatus::PtraceSyscall(_)) {
            return Err("a thread did not stop".to_owned());
        }
        let stopped = ptrace::getregs(id).map_err(failed("reading registers"))?;
        let resumes = resting::call_again(&stopped, &entering);
        // It may have changed them.
        let mask = threads::signal_mask(id.as_raw());
        let mask = mask.map_err(|error| format!("a thread's signals: {error}"))?;
        return Thread::at(id, stopped, resumes, mask);
    }
    Err("a thread of it does not wait".to_owned())
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
