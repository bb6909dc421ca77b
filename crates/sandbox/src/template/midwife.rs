//! Brings a copy of a template into its environment.
//!
//! Runs in a process of its own, which ends with the work: whoever holds processes this way must never
//! wait for them in a loop that serves others. The steps: the template is told to fork and held where
//! it has; its child is held from before its first instruction. A zygote is let go then, for the next copy.
//! The child takes what it is handed (`handing`), enters the namespaces of its environment, moves into its
//! control groups, gives up every right, puts its own pipes and stream in place of the template's, and forks
//! twice: its grandchild is born inside the process namespace and, once those between are gone, is a child of
//! the environment's first process, as a runtime is. That process is told, gives up its rights, too,
//! and only then the copy goes on: with its first instruction after `fork`.

use std::fs::{self, File};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, alarm};
use serde::{Deserialize, Serialize};

use super::block::Block;
use super::files::Files;
use super::handing::{Door, identity};
use super::kernel::Renewal;
use super::trace::{Held, Watch, failed, fork_of, held, unfiltered};
use super::whole::{Remembered, Whole};
use super::words::Why;
use super::{NAMESPACES, TEMPLATE_FD, look, luggage};
use crate::barrier::BarrierKind;
use crate::channel::Channel;
use crate::init::PROMPT_SLICE_NS;
use crate::protocol::{Adopt, InitReport, LOG_PIPE_FD};
use crate::rootfs::{GID_INSIDE, UID_INSIDE};
use crate::sys;
use crate::trial::stands;

/// How long the first process may take to open what it has to, or to give up its rights.
const PATIENCE_MS: u16 = 5_000;
/// And the whole of it, with what is brought along. This process ends then, and with it the copy.
const ALL_S: u32 = 30;
/// How long a program that may be hostile can take to fork.
const FORKS_IN_MS: u16 = 1_000;
/// Descriptors that a program has from us and that are replaced in a copy: its pipes and its stream, a
/// template's socket, the log pipe if there is one. Its input is looked at as any other.
const OURS: [i32; 5] = [1, 2, 3, TEMPLATE_FD, LOG_PIPE_FD];
/// Memory that a copy is given for what it is made to do.
const ROOM_BYTES: u64 = 3 * 4_096;
/// Where in it what is: what is written to control groups, its capabilities, what it waits for, what
/// `handing` needs, the folder, the list of calls.
const CAPABILITIES_AT: u64 = 64;
const EVENTS_AT: u64 = 128;
const FOLDER_AT: u64 = 3_072;
const LIST_AT: u64 = 4_096;
const CAPABILITIES: u64 = 64;
/// Of the structures of `capset`, from linux/capability.h.
const VERSION_3: u32 = 0x2008_0522;

/// What is to be done.
pub(crate) struct Work<'a> {
    /// The first process of the template's environment.
    pub(crate) template: i32,
    /// On which the template waits for the word.
    pub(crate) word: &'a Channel,
    /// Whether the template may be a function's program.
    pub(crate) is_function: bool,
    /// Whether somebody waits for the copy, which hears it.
    pub(crate) is_awaited: bool,
    /// To whom it is told that the template is free.
    pub(crate) report: &'a Channel,
    /// The first process of the copy's environment, and its user and group of the host.
    pub(crate) first: i32,
    pub(crate) owner: (u32, u32),
    /// Of the first process of the copy's environment, which has been told to wait for it.
    pub(crate) control: &'a Channel,
    /// What the program gets: output pipe, stream, log pipe if there is one.
    pub(crate) ends: Vec<OwnedFd>,
    /// The other end of its stream, if it is only trusted to live when it has said something there.
    pub(crate) trial: Option<BorrowedFd<'a>>,
    /// The control groups of its environment, where a process can move itself.
    pub(crate) groups: Vec<File>,
    /// Moves a process into them from outside, where it cannot.
    pub(crate) move_in: &'a dyn Fn(i32) -> Result<(), String>,
}

/// What it came to.
#[derive(Serialize, Deserialize)]
pub(crate) enum Outcome {
    /// Not the last word: the template waits for the next one.
    Free,
    /// The copy runs.
    Delivered,
    /// There is none.
    Failed(Why),
}

/// Does it. The copy ends with its environment, whatever happens.
pub(crate) fn deliver(work: &Work<'_>) -> Outcome {
    let mut born = Vec::new();
    alarm::set(ALL_S);
    match try_deliver(work, &mut born) {
        Ok(()) => Outcome::Delivered,
        Err(why) => {
            for pid in born {
                let _ = kill(pid, Signal::SIGKILL);
            }
            Outcome::Failed(why)
        }
    }
}

fn try_deliver(work: &Work<'_>, born: &mut Vec<Pid>) -> Result<(), Why> {
    let watch = Watch::new(if work.is_function { FORKS_IN_MS } else { PATIENCE_MS })?;
    let program = look::children(Pid::from_raw(work.template))?;
    let template = Pid::from_raw(*program.first().ok_or("the template has ended")?);
    let Begun { mut first, like, came, whole } = begin(work, template, &watch, born)?;
    let copy = first.pid;
    ptrace::setoptions(copy, unfiltered()).map_err(failed("suspending the filter"))?;
    if work.is_awaited {
        // Those two take turns; whoever else has work would come in between each time.
        for pid in [0, copy.as_raw()] {
            sys::set_promptness(pid, Some(PROMPT_SLICE_NS));
        }
    }
    if !work.is_function {
        // Nobody but the copy is held any more. A spawner that is gone ends this process, too.
        let _ = work.report.send(&Outcome::Free, &[]);
    }
    let opened = wait_until_open(work.control)?;
    let folder = fs::read_link(format!("/proc/{template}/cwd")).unwrap_or_default();
    let moved = enter(&mut first, work, &opened, &came, &folder)?;
    let mut between = first.fork(None)?;
    born.push(between.pid);
    let mut last = between.fork(Some(like))?;
    born.push(last.pid);
    last.must("a session of its own", libc::SYS_setsid, &[])?;
    last.restore_restarts(first.restartable())?;
    if whole.is_none() {
        last.put_back()?;
    }
    ptrace::setoptions(last.pid, held()).map_err(failed("its filter"))?;
    if !moved {
        (work.move_in)(last.pid.as_raw())?;
    }
    let inside = has_no_rights(last.pid, work.owner)?;
    is_inside(last.pid, &opened)?;
    let told = work.control.send(&Adopt { pid: inside }, &[]);
    told.map_err(|error| format!("adoption: {error}"))?;
    let threads = match &whole {
        Some(whole) => whole.complete(&mut last, inside, work.is_awaited)?,
        None => Vec::new(),
    };
    end_between([between.pid, copy], &mut first, work.is_function, &watch)?;
    // Their numbers may be somebody else's from now on.
    born.retain(|one| *one == last.pid);
    wait_until_adopted(work.control)?;
    for thread in threads.into_iter().chain([last.pid]) {
        if work.is_awaited {
            sys::set_promptness(thread.as_raw(), None);
        }
        ptrace::setoptions(thread, Options::empty()).map_err(failed("letting it go"))?;
        ptrace::detach(thread, None).map_err(failed("letting it go"))?;
    }
    born.clear();
    if work.is_function {
        ptrace::detach(template, None).map_err(failed("letting the template go"))?;
    }
    work.trial.map_or(Ok(()), look::has_come_to_life)?;
    Ok(())
}

/// Ends the two that only stand between the template and the copy, first the younger: its child then belongs
/// to the environment.
fn end_between(
    between: [Pid; 2],
    first: &mut Held<'_>,
    is_function: bool,
    watch: &Watch,
) -> Result<(), String> {
    for pid in between {
        kill(pid, Signal::SIGKILL).map_err(failed("ending a process between"))?;
        watch.gone(pid)?;
        if is_function && pid != first.pid {
            // Its parent takes note of its end: nobody else would before the template goes on.
            first.call(libc::SYS_wait4, &[u64::MAX, 0, 0, 0])?;
        }
    }
    Ok(())
}

/// A copy that has just been born, of a template that is held.
struct Begun<'a> {
    first: Held<'a>,
    /// How it was forked, for those that come after it.
    like: (u64, u64),
    came: Came,
    /// Of a template with threads.
    whole: Option<Remembered<'a>>,
}

fn begin<'a>(
    work: &Work<'_>,
    template: Pid,
    watch: &'a Watch,
    born: &mut Vec<Pid>,
) -> Result<Begun<'a>, Why> {
    let ours = &OURS[..2 + work.ends.len()];
    let mut came = Came::default();
    // Only our own clients have threads and stand as a template.
    if !work.is_function && look::threads(template)?.len() > 1 {
        let mut whole = Whole::hold(template, watch)?;
        let first = whole.fork()?;
        born.push(first.pid);
        came.renewal = Some(whole.renewal(&work.ends, ours)?);
        came.files = look::files(first.pid, ours)?;
        let like = whole.like();
        return Ok(Begun { first, like, came, whole: Some(whole.let_go()?) });
    }
    let copy = told_to_fork(template, work, watch, born)?;
    if work.is_function {
        (came.sockets, came.files) = look::at_function(work.template, template, copy, ours)?;
        luggage::bring(template.as_raw(), work.first, work.owner)?;
    } else {
        came.files = look::files(copy, ours)?;
    }
    if !work.is_function {
        ptrace::detach(template, None).map_err(failed("letting the template go"))?;
    }
    let first = Held::new(copy, watch)?;
    let like = fork_of(&first.registers)?;
    Ok(Begun { first, like, came, whole: None })
}

/// What comes with a copy, or has to be made again for it.
#[derive(Default)]
struct Came {
    /// The numbers of connections whose other ends know nothing of a copy.
    sockets: Vec<i32>,
    /// What it reads.
    files: Files,
    renewal: Option<Renewal>,
}

/// A template that forks itself is told to. Its child.
fn told_to_fork(
    template: Pid,
    work: &Work<'_>,
    watch: &Watch,
    born: &mut Vec<Pid>,
) -> Result<Pid, Why> {
    ptrace::seize(template, Options::PTRACE_O_TRACEFORK).map_err(failed("holding the template"))?;
    let word = if work.is_awaited { "fork for somebody" } else { "fork" };
    work.word.send(&word, &[]).map_err(|error| format!("the word: {error}"))?;
    let copy = watch.birth(template)?;
    born.push(copy);
    look::has_one_thread(template)?;
    Ok(copy)
}

/// The environment is furnished: its namespaces, and the rules of its files if there are any.
fn wait_until_open(control: &Channel) -> Result<Vec<OwnedFd>, String> {
    let packet = control.receive_within(PATIENCE_MS).map_err(|error| error.to_string())?;
    let packet = packet.ok_or("its environment ended without a word")?;
    match packet.parse().map_err(|error| error.to_string())? {
        InitReport::Open if packet.descriptors.len() >= NAMESPACES.len() => Ok(packet.descriptors),
        InitReport::SetupFailed { step } => Err(step),
        other => Err(format!("init said {other:?} instead of open")),
    }
}

/// The first process has given up its rights.
fn wait_until_adopted(control: &Channel) -> Result<(), String> {
    let packet = control.receive_within(PATIENCE_MS).map_err(|error| error.to_string())?;
    match packet.ok_or("its environment has ended")?.parse().map_err(|e| e.to_string())? {
        InitReport::Adopted => Ok(()),
        InitReport::SetupFailed { step } => Err(step),
        other => Err(format!("init said {other:?} instead of adopted")),
    }
}

/// All that it does with its own rights. Whether it is in its control groups.
fn enter(
    copy: &mut Held<'_>,
    work: &Work<'_>,
    opened: &[OwnedFd],
    came: &Came,
    folder: &Path,
) -> Result<bool, Why> {
    let rights = (libc::PROT_READ | libc::PROT_WRITE) as u64;
    let kind = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS) as u64;
    let wanted = [0, ROOM_BYTES, rights, kind, u64::MAX, 0];
    let room = copy.must("memory", libc::SYS_mmap, &wanted)?;
    let deaf = deaf_socket()?;
    let mut handed: Vec<BorrowedFd<'_>> = opened.iter().map(AsFd::as_fd).collect();
    handed.extend(work.ends.iter().map(AsFd::as_fd));
    handed.extend(work.groups.iter().map(AsFd::as_fd));
    handed.push(deaf.as_fd());
    let list = (room + LIST_AT, ROOM_BYTES - LIST_AT);
    let door = match work.is_function {
        true => Door::Template(work.word),
        false => Door::made_by(copy, room, list)?,
    };
    let numbers = door.hand_over(copy, room, &handed)?;
    let renewed = match &came.renewal {
        Some(renewal) if !renewal.made().is_empty() => {
            Some((renewal, door.hand_over(copy, room, &renewal.made())?))
        }
        _ => None,
    };
    let ours = &OURS[..2 + work.ends.len()];
    if numbers.iter().any(|number| ours.iter().any(|ours| *number == *ours as u64)) {
        return Err(Why::Unfit("it has closed what it was given".to_owned()));
    }
    let (spaces, rest) = numbers.split_at(NAMESPACES.len());
    let (rules, rest) = rest.split_at(opened.len() - NAMESPACES.len());
    let (ends, rest) = rest.split_at(work.ends.len());
    let (groups, deaf) = rest.split_at(work.groups.len());

    let mut block = Block::default();
    // Else the kernel would write to memory that the copy has, too, when this one ends.
    block.must("its number", libc::SYS_set_tid_address, &[0]);
    copy.write(room, b"0\0")?;
    let moves: Vec<usize> = groups
        .iter()
        .map(|group| block.may("its group", libc::SYS_write, &[*group, room, 1]))
        .collect();
    for ((name, _), space) in NAMESPACES.iter().zip(spaces) {
        block.must(name, libc::SYS_setns, &[*space, 0]);
    }
    let (uid, gid) = (u64::from(UID_INSIDE), u64::from(GID_INSIDE));
    block.must("its group", libc::SYS_setresgid, &[gid, gid, gid]);
    block.must("its user", libc::SYS_setresuid, &[uid, uid, uid]);
    if stands(BarrierKind::Capabilities) {
        drop_capabilities(copy, &mut block, room)?;
    }
    // What it has of itself below /proc is its own again.
    block.must("dumpable", libc::SYS_prctl, &[libc::PR_SET_DUMPABLE as u64, 1]);
    for rules in rules {
        block.must("landlock", libc::SYS_landlock_restrict_self, &[*rules, 0]);
    }
    put_ends(&mut block, ends, &came.sockets, deaf[0]);
    if let Some((renewal, given)) = &renewed {
        renewal.put(copy, &mut block, room + EVENTS_AT, given)?;
    }
    for number in numbers.iter().chain(door.numbers()).chain([&(TEMPLATE_FD as u64)]) {
        block.must("closing", libc::SYS_close, &[*number]);
    }
    if let Some(text) = folder.to_str().filter(|text| (2..1_000).contains(&text.len())) {
        copy.write(room + FOLDER_AT, &[text.as_bytes(), b"\0"].concat())?;
        // One that it has not got here (below /tmp) is the root instead.
        block.may("its folder", libc::SYS_chdir, &[room + FOLDER_AT]);
    }
    let results = block.run(copy, list.0, list.1)?;
    came.files.open_again(copy, work.template, (room, LIST_AT), list)?;
    copy.must("memory", libc::SYS_munmap, &[room, ROOM_BYTES])?;
    Ok(!moves.is_empty() && moves.iter().all(|at| results[*at] == 1))
}

/// Puts its own pipes and stream in place of the template's, and what is `deaf` in place of its connections.
fn put_ends(block: &mut Block, ends: &[u64], sockets: &[i32], deaf: u64) {
    let closed = libc::O_CLOEXEC as u64;
    // Processes that the program starts get its output, not its stream.
    let targets = [&[(1, 0), (2, 0)][..], &[(3, closed)], &[(LOG_PIPE_FD as u64, 0)]];
    for (end, targets) in ends.iter().zip(targets) {
        for (target, flags) in targets {
            block.must("its pipes", libc::SYS_dup3, &[*end, *target, *flags]);
        }
    }
    for socket in sockets {
        block.must("a connection's end", libc::SYS_dup3, &[deaf, *socket as u64, closed]);
    }
}

/// In place of a connection, whose other end knows nothing of a copy: one that has ended.
fn deaf_socket() -> Result<OwnedFd, String> {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
    let pair = socketpair(AddressFamily::Unix, SockType::Stream, None, SockFlag::SOCK_CLOEXEC);
    pair.map(|(ours, _)| ours).map_err(failed("socket pair"))
}

/// As a program of any environment.
fn drop_capabilities(copy: &Held<'_>, block: &mut Block, room: u64) -> Result<(), String> {
    for capability in 0..CAPABILITIES {
        // This kernel may not have them all; none may be left.
        block.may("capabilities", libc::SYS_prctl, &[libc::PR_CAPBSET_DROP as u64, capability]);
    }
    let words = [VERSION_3, 0, 0, 0, 0, 0, 0, 0];
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
    let at = room + CAPABILITIES_AT;
    copy.write(at, &bytes)?;
    block.must("capabilities", libc::SYS_capset, &[at, at + 8]);
    Ok(())
}

/// Makes sure of it; its number inside.
fn has_no_rights(pid: Pid, owner: (u32, u32)) -> Result<i32, String> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).map_err(|e| e.to_string())?;
    let of = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_default().trim().to_owned()
    };
    let capabilities = ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"];
    if stands(BarrierKind::Capabilities)
        && !capabilities.iter().all(|set| of(set).bytes().all(|digit| digit == b'0'))
    {
        return Err("it has kept a capability".to_owned());
    }
    let is_closed = (!stands(BarrierKind::NoNewPrivileges) || of("NoNewPrivs:") == "1")
        && (!stands(BarrierKind::SystemCalls) || of("Seccomp:") == "2");
    if !is_closed {
        return Err("it is not filtered".to_owned());
    }
    let is_all = |name: &str, id: u32| of(name).split_whitespace().all(|one| one == id.to_string());
    if !is_all("Uid:", owner.0) || !is_all("Gid:", owner.1) {
        return Err("it has not become its user".to_owned());
    }
    look::number_inside(pid)
}

/// Makes sure that it is in each of the namespaces that were opened for it.
fn is_inside(pid: Pid, opened: &[OwnedFd]) -> Result<(), String> {
    for ((name, _), space) in NAMESPACES.iter().zip(opened) {
        let ours = identity(&format!("/proc/self/fd/{}", space.as_raw_fd()))?;
        if identity(&format!("/proc/{pid}/ns/{name}"))? != ours {
            return Err(format!("it is not in its {name} namespace"));
        }
    }
    Ok(())
}
