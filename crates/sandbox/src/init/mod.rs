//! The first process of an environment (pid 1 of its namespace).
//!
//! Its life: born by the spawner into new namespaces, it builds the root file system, opens the
//! listeners of the Runtime API and of the AWS endpoint, says `Ready`, makes the process that becomes
//! the runtime and waits. When it is told what to become (late, so that all of the above is off the path
//! of a request) it attaches the code, starts the extensions and the runtime as unprivileged, filtered
//! children (`program`) and gives up every privilege itself. As a spare it does so in two steps: the runtime is started
//! when there is no code yet, and waits; init keeps its rights until the code has come, and has given
//! them up before the runtime is told to go on. From then on it reaps processes and passes on the
//! daemon's few words to them (`reaper`). It ends, and with it everything inside, when the control channel
//! closes: that is how the daemon ends an environment, and what happens to all of them when the
//! daemon dies.

mod program;
mod reaper;
mod understudy;

use std::ffi::CStr;
use std::io;
use std::net::TcpListener;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::sys::stat::Mode;
use nix::unistd::{Gid, Uid};

use crate::barrier::BarrierKind;
use crate::channel::{Channel, Packet};
use crate::landlock;
use crate::network;
use crate::oom;
use crate::protocol::{
    Adopt, Assignment, Attachment, Go, InitReport, LATE_TARGETS, Origin, READY_TMP_MB, Spec,
};
use crate::rootfs::{self, GID_INSIDE, UID_INSIDE};
use crate::seccomp::Filter;
use crate::sys;
use crate::template::NAMESPACES;
use crate::trial::stands;
use program::{Child, Program, Streams};
use reaper::{Programs, Reaper, Wait};
use understudy::Understudy;

/// Ports inside every environment: the Runtime API (as on AWS) and the AWS endpoint.
pub(crate) const RUNTIME_API_PORT: u16 = 9001;
/// See [`RUNTIME_API_PORT`].
pub(crate) const AWS_ENDPOINT_PORT: u16 = 4566;

/// What `ps` shows.
const PROCESS_NAME: &CStr = c"lambic-init";
/// AWS's, whatever the server was started with.
pub(crate) const UMASK: Mode = Mode::from_bits_truncate(0o022);
/// For how long it may run at a time when it is told something, until it has handed over. Its work at a
/// launch takes a tenth of a millisecond.
pub(crate) const PROMPT_SLICE_NS: u64 = 200_000;
/// As many processes come before a template, in its environment, or fewer.
const FIRST_NUMBERS: u32 = 4;
/// How long the daemon may take to read an environment's last accounts.
const GOODBYE_MS: u16 = 5_000;

/// What init needs to know before it is told what to become.
#[derive(Clone)]
pub(crate) struct Setup {
    /// The spawner's private scratch space, where what all environments share is prepared.
    pub(crate) scratch: PathBuf,
    /// The compiled system call filter.
    pub(crate) filter: Arc<Filter>,
    /// Whether the environment has namespaces of its own.
    pub(crate) isolated: bool,
    /// The user and group of the host that it is; inside they have other numbers.
    pub(crate) host_user: (u32, u32),
}

/// Runs as the first process of an environment; never returns to the spawner's code.
pub(crate) fn run(control: Channel, setup: &Setup) -> ! {
    sys::set_process_name(PROCESS_NAME);
    if stands(BarrierKind::ClosedInit) {
        forget_command_line("lambic-init");
    }
    if let Err(step) = live(&control, setup) {
        let _ = control.send(&InitReport::SetupFailed { step }, &[]);
        sys::exit_now(1);
    }
    sys::exit_now(0)
}

/// Overwrites the command line that was inherited from the daemon: it tells about the host, and
/// whoever is inside can read that of pid 1.
pub(crate) fn forget_command_line(name: &str) {
    let place = || -> Option<(u64, usize)> {
        let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
        // The second field, in parentheses, may contain spaces; 48 and 49 are arg_start, arg_end.
        let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(45);
        let (start, end): (u64, u64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        Some((start, usize::try_from(end.checked_sub(start)?).ok()?))
    };
    let Some((start, length)) = place() else { return };
    let mut text = name.as_bytes().to_vec();
    text.resize(length, 0);
    let memory = std::fs::OpenOptions::new().write(true).open("/proc/self/mem");
    // If the kernel forbids it, the command line stays: nothing there is a secret.
    let _ =
        memory.and_then(|memory| std::os::unix::fs::FileExt::write_all_at(&memory, &text, start));
}

fn live(control: &Channel, setup: &Setup) -> Result<(), String> {
    sys::die_with_parent().map_err(|error| format!("parent death signal: {error}"))?;
    // The spawner writes the user map and the control groups first, then sends one packet.
    let packet = expect_packet(control)?;
    let go: Go = packet.parse().map_err(|error| format!("go: {error}"))?;
    let mut given = Given(packet.descriptors.into_iter());
    for _ in 0..go.doors {
        // A thread that moves itself does not wait for the kernel as one does that is moved.
        let moved = nix::unistd::write(given.next("a control group")?, b"0");
        moved.map_err(|error| format!("joining a control group: {error}"))?;
    }
    if setup.isolated {
        if stands(BarrierKind::UserNamespace) {
            become_user(UID_INSIDE, GID_INSIDE)?;
        }
        // Changing the user has cleared it.
        sys::die_with_parent().map_err(|error| format!("parent death signal: {error}"))?;
        if stands(BarrierKind::HostName) {
            nix::unistd::sethostname("sandbox").map_err(|error| format!("host name: {error}"))?;
        }
        if stands(BarrierKind::CgroupNamespace) {
            // The group of the environment becomes the root of what it can see of control groups.
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWCGROUP)
                .map_err(|error| format!("cgroup namespace: {error}"))?;
        }
        if stands(BarrierKind::NetworkNamespace) {
            sys::loopback_up().map_err(|error| format!("loopback interface: {error}"))?;
        }
        if let Some(arrival) = &go.way {
            network::arrive(arrival)?;
        }
    }
    let (api, endpoint) = listeners(setup.isolated && stands(BarrierKind::NetworkNamespace))?;
    if setup.isolated {
        rootfs::build_and_enter(&setup.scratch)?;
        if stands(BarrierKind::UserNamespace) && !go.is_template {
            limit_shared_objects();
        }
        if go.is_for_copy {
            leave_first_numbers();
        }
        attach_tmp(go.tmp_disk, READY_TMP_MB, &mut given)?;
    }
    control
        .send(&InitReport::Ready, &[api.as_fd(), endpoint.as_fd()])
        .map_err(|error| format!("reporting readiness: {error}"))?;
    drop((api, endpoint));
    let reaper = Reaper::new()?;
    // From here on nobody should wait for it longer than for its work.
    sys::set_promptness(0, Some(PROMPT_SLICE_NS));
    let understudy = match go.is_for_copy {
        true => None,
        false => Some(Understudy::wait_ahead(setup)?),
    };
    if gives_up_ahead(setup) {
        sys::drop_bounding_set().map_err(|error| format!("capabilities: {error}"))?;
    }
    if go.rehearses {
        rehearse();
    }
    let packet = expect_packet(control)?;
    become_environment(control, packet, Ahead { reaper, understudy }, setup)
}

/// Does once, for nothing, what a launch does with memory. This process has been copied from another,
/// and each page that it changes for the first time costs it a few microseconds; there are about thirty.
fn rehearse() {
    let variable = |number: usize| (format!("VARIABLE_{number}"), "x".repeat(48));
    let spec = Spec {
        name: "rehearsal".to_owned(),
        memory_mb: 128,
        tmp_mb: READY_TMP_MB,
        pids_max: 2,
        files_max: 16,
        binds: Vec::new(),
        argv: vec!["/var/task/bootstrap".to_owned()],
        env: (0..32).map(variable).collect(),
        cwd: "/var/task".to_owned(),
        network: None,
        egress: None,
        file_system: None,
        log_pipe: true,
        extensions: None,
    };
    let assignment = Assignment {
        spec,
        tmp_disk: false,
        limit_data: false,
        oom_descriptors: 0,
        confinement: None,
        spare: false,
        origin: Origin::Started,
    };
    // What goes wrong here will go wrong, and be told, when it matters.
    let Ok((ours, theirs)) = Channel::pair() else { return };
    let _ = ours.send(&assignment, &[ours.as_fd(), theirs.as_fd()]);
    let Ok(Some(packet)) = theirs.receive() else { return };
    if let Ok(assignment) = packet.parse::<Assignment>() {
        let _ = program::exec_arguments(&assignment.spec.argv, &assignment.spec.env);
    }
}

/// What init has made before it knows what it becomes.
struct Ahead {
    reaper: Reaper,
    /// `None` where the program is to come from a template.
    understudy: Option<Understudy>,
}

fn expect_packet(control: &Channel) -> Result<Packet, String> {
    match control.receive() {
        Ok(Some(packet)) => Ok(packet),
        // The other side is gone before there was anything to do: end quietly.
        Ok(None) => sys::exit_now(0),
        Err(error) => Err(format!("control channel: {error}")),
    }
}

fn become_user(uid: u32, gid: u32) -> Result<(), String> {
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    nix::unistd::setresgid(gid, gid, gid).map_err(|error| format!("setresgid: {error}"))?;
    nix::unistd::setresuid(uid, uid, uid).map_err(|error| format!("setresuid: {error}"))
}

/// The kernel counts these per user and user namespace, up to the host's own user: an environment
/// gets a small part. Where the kernel does not let it, the descriptors' limit is the bound. It is said
/// in the environment's own `/proc`: in that of the host the kernel keeps an entry of the same name for
/// each environment that there ever was, and walks through all of them.
fn limit_shared_objects() {
    for (name, most) in [("max_inotify_instances", "16"), ("max_inotify_watches", "8192")] {
        let _ = std::fs::write(format!("/proc/sys/user/{name}"), most);
    }
}

/// A copy must have another number than its template, which has one of the first.
fn leave_first_numbers() {
    if std::fs::write("/proc/sys/kernel/ns_last_pid", FIRST_NUMBERS.to_string()).is_ok() {
        return;
    }
    // A kernel that does not let it be said gives them one after the other.
    for _ in 0..FIRST_NUMBERS {
        match sys::fork() {
            Ok(Some(pid)) => drop(nix::sys::wait::waitpid(nix::unistd::Pid::from_raw(pid), None)),
            Ok(None) => sys::exit_now(0),
            Err(_) => return,
        }
    }
}

fn listeners(isolated: bool) -> Result<(TcpListener, TcpListener), String> {
    let bind = |port: u16| {
        let port = if isolated { port } else { 0 };
        TcpListener::bind(("127.0.0.1", port)).map_err(|error| format!("port {port}: {error}"))
    };
    Ok((bind(RUNTIME_API_PORT)?, bind(AWS_ENDPOINT_PORT)?))
}

/// Descriptors of one message, taken in their order.
struct Given(std::vec::IntoIter<OwnedFd>);

impl Given {
    fn next(&mut self, what: &str) -> Result<OwnedFd, String> {
        self.0.next().ok_or_else(|| format!("{what} is missing"))
    }

    fn oom_watch(&mut self, count: usize) -> Result<Option<oom::Watch>, String> {
        Ok(match count {
            0 => None,
            1 => Some(oom::Watch::new(self.next("the memory's events")?, None)),
            _ => {
                let counts = self.next("the memory's counts")?;
                Some(oom::Watch::new(counts, Some(self.next("its events")?)))
            }
        })
    }
}

fn become_environment(
    control: &Channel,
    packet: Packet,
    ahead: Ahead,
    setup: &Setup,
) -> Result<(), String> {
    let assignment: Assignment = packet.parse().map_err(|error| format!("assignment: {error}"))?;
    let assignment = &assignment;
    let Ahead { reaper, understudy } = ahead;
    let mut given = Given(packet.descriptors.into_iter());
    let spec = &assignment.spec;
    let streams = match assignment.origin {
        Origin::Copied => None,
        _ => Some(streams(assignment, &mut given)?),
    };
    let extensions_output = match &spec.extensions {
        Some(_) => Some(given.next("the extensions' output pipe")?),
        None => None,
    };
    let cast = cast(assignment, understudy, streams)?;
    let oom = given.oom_watch(assignment.oom_descriptors)?;
    if let Some(confinement) = &assignment.confinement {
        network::confine(confinement)?;
    }
    if setup.isolated {
        furnish(assignment, &mut given)?;
    }
    if assignment.spare {
        // So that `ps` tells them from environments of functions.
        sys::set_process_name(c"lambic-spare");
    } else if assignment.origin == Origin::Zygote {
        sys::set_process_name(c"lambic-zygote");
    }
    let opened = if matches!(cast, Cast::Copy) { open(spec)? } else { Vec::new() };
    close_to_those_inside()?;
    let extensions = match extensions_output {
        Some(output) => start_extensions(&output, assignment, setup)?,
        None => Vec::new(),
    };
    let runtime = match cast {
        Cast::Understudy(child) => child,
        Cast::New(streams) => {
            let held = !extensions.is_empty();
            let runtime = Program { argv: &spec.argv, env: &spec.env, cwd: &spec.cwd, held };
            program::start(&runtime, streams, assignment, setup)?
        }
        Cast::Copy => wait_for_copy(control, opened)?,
    };
    sys::set_promptness(0, None);
    // A spare's init keeps what it needs for attaching the code.
    give_up(assignment.spare, setup).map_err(|error| format!("giving up privileges: {error}"))?;
    if assignment.origin == Origin::Copied {
        let told = control.send(&InitReport::Adopted, &[]);
        told.map_err(|error| format!("reporting: {error}"))?;
    }
    let mut programs = Programs::new(runtime, extensions);
    if let Some(report) = programs.begin(control) {
        return say_goodbye(control, &report);
    }
    let oom = match assignment.spare {
        false => oom,
        true => match reaper.wait_for_code(control, &mut programs)? {
            Wait::Code(packet) => attach(control, packet)?,
            Wait::Ended(report) => return say_goodbye(control, &report),
            Wait::LetGo => return Ok(()),
        },
    };
    reaper.watch(control, programs, setup.isolated, oom.as_ref())
}

/// Who becomes the runtime.
enum Cast {
    /// The process that was made ahead.
    Understudy(Child),
    /// One that is made at the launch, with this.
    New(Streams),
    /// One that comes from a template.
    Copy,
}

/// The process that was made ahead has its bounds already: those around the usual `/tmp`, no file system
/// and nothing that is to be forked. It is ended where others are wanted.
fn cast(
    assignment: &Assignment,
    understudy: Option<Understudy>,
    streams: Option<Streams>,
) -> Result<Cast, String> {
    let spec = &assignment.spec;
    let fits = spec.tmp_mb == READY_TMP_MB
        && spec.file_system.is_none()
        && !assignment.origin.is_template();
    match (streams, understudy) {
        (Some(streams), Some(understudy)) if fits => {
            understudy.learn(assignment)?;
            Ok(Cast::Understudy(Child::of(understudy, streams)))
        }
        (streams, understudy) => {
            understudy.into_iter().for_each(Understudy::dismiss);
            Ok(streams.map_or(Cast::Copy, Cast::New))
        }
    }
}

/// What the runtime gets. The order is that of [`crate::protocol::Request::Launch`].
fn streams(assignment: &Assignment, given: &mut Given) -> Result<Streams, String> {
    let output = given.next("the output pipe")?;
    let runtime = Some(given.next("the runtime's stream")?);
    let log = assignment.spec.log_pipe.then(|| given.next("the log pipe")).transpose()?;
    let is_template = assignment.origin.is_template();
    let word = is_template.then(|| given.next("the template's socket")).transpose()?;
    Ok(Streams { output, runtime, log, word })
}

/// What a copy of a template needs to come in: the namespaces of this process and the rules for files.
fn open(spec: &Spec) -> Result<Vec<OwnedFd>, String> {
    let mut opened = Vec::new();
    for (name, _) in NAMESPACES {
        let file = std::fs::File::open(format!("/proc/self/ns/{name}"));
        opened.push(file.map_err(|error| format!("namespace {name}: {error}"))?.into());
    }
    if stands(BarrierKind::Landlock) {
        let mounted = spec.file_system.as_ref().map(|mounted| Path::new(&mounted.target));
        let program = spec.argv.first().map(String::as_str).unwrap_or_default();
        let rules = landlock::rules_of_copy(mounted, Path::new(program));
        opened.extend(rules.map_err(|error| format!("landlock: {error}"))?);
    }
    Ok(opened)
}

/// The copy comes as a child of this process, born with the user and the bounds of a program.
fn wait_for_copy(control: &Channel, opened: Vec<OwnedFd>) -> Result<Child, String> {
    let descriptors: Vec<_> = opened.iter().map(AsFd::as_fd).collect();
    let told = control.send(&InitReport::Open, &descriptors);
    told.map_err(|error| format!("reporting: {error}"))?;
    let packet = expect_packet(control)?;
    let Adopt { pid } = packet.parse().map_err(|error| format!("adoption: {error}"))?;
    Ok(Child::adopted(pid))
}

/// Mounts what the environment has from its beginning. Nothing can be added after it but mounts.
fn furnish(assignment: &Assignment, given: &mut Given) -> Result<(), String> {
    let spec = &assignment.spec;
    if spec.tmp_mb != READY_TMP_MB {
        rootfs::detach("/tmp")?;
        attach_tmp(assignment.tmp_disk, spec.tmp_mb, given)?;
    }
    for bind in &spec.binds {
        rootfs::attach(given.next(&bind.target)?.as_fd(), &bind.target)?;
    }
    if let Some(mounted) = &spec.file_system {
        rootfs::attach(given.next("the file system")?.as_fd(), &mounted.target)?;
    }
    if assignment.spare || assignment.origin == Origin::Zygote {
        rootfs::make_library_folders()?;
    }
    rootfs::make_read_only(Path::new("/")).map_err(|error| format!("read-only root: {error}"))
}

/// Mounts `/tmp`: the disk that was given, or one in memory.
fn attach_tmp(is_disk: bool, size_mb: u32, given: &mut Given) -> Result<(), String> {
    if is_disk {
        return rootfs::attach(given.next("the disk of /tmp")?.as_fd(), "/tmp");
    }
    rootfs::mount_tmp_in_memory(stands(BarrierKind::Tmp).then_some(size_mb))
}

/// A spare gets its function. Its program waits meanwhile, and is told to go on only by whoever hears
/// the report: no code of the function runs before every right is gone.
fn attach(control: &Channel, packet: Packet) -> Result<Option<oom::Watch>, String> {
    let attachment: Attachment = packet.parse().map_err(|error| format!("attachment: {error}"))?;
    let mut given = Given(packet.descriptors.into_iter());
    let oom = given.oom_watch(attachment.oom_descriptors)?;
    if let Some(confinement) = &attachment.confinement {
        network::confine(confinement)?;
    }
    let is_given =
        |target: &str| attachment.targets.iter().any(|given| Path::new(given) == Path::new(target));
    // Where nothing comes it is as empty as in any other environment.
    for target in LATE_TARGETS.into_iter().filter(|target| !is_given(target)) {
        rootfs::cover(target)?;
    }
    for target in &attachment.targets {
        rootfs::attach(given.next(target)?.as_fd(), target)?;
    }
    sys::drop_own_capabilities().map_err(|error| format!("giving up privileges: {error}"))?;
    sys::set_process_name(PROCESS_NAME);
    let told = control.send(&InitReport::Attached, &[]);
    told.map_err(|error| format!("reporting: {error}"))?;
    Ok(oom)
}

fn start_extensions(
    output: &OwnedFd,
    assignment: &Assignment,
    setup: &Setup,
) -> Result<Vec<Child>, String> {
    let Some(extensions) = &assignment.spec.extensions else { return Ok(Vec::new()) };
    let start = |path: &String| {
        let output = output.try_clone().map_err(|error| format!("the output pipe: {error}"))?;
        let program = Program {
            argv: std::slice::from_ref(path),
            env: &extensions.env,
            cwd: &extensions.cwd,
            held: true,
        };
        program::start(
            &program,
            Streams { output, runtime: None, log: None, word: None },
            assignment,
            setup,
        )
    };
    extensions.programs.iter().map(start).collect()
}

/// Nobody inside may look into init. Said before anything else runs inside, because the init of a
/// spare has rights that its program has not.
fn close_to_those_inside() -> Result<(), String> {
    let closed = sys::set_dumpable(!stands(BarrierKind::ClosedInit));
    closed.map_err(|error| format!("dumpable: {error}"))
}

/// Whether nothing that init starts can get a capability from before it knows what it becomes. Without
/// isolation what it starts has what the server's user has.
fn gives_up_ahead(setup: &Setup) -> bool {
    setup.isolated && stands(BarrierKind::Capabilities)
}

/// Init itself needs no privilege any more, but those of its own that it keeps for a moment.
fn give_up(keeps_its_own: bool, setup: &Setup) -> io::Result<()> {
    sys::no_new_privileges()?;
    if !gives_up_ahead(setup) {
        sys::drop_bounding_set()?;
    }
    if keeps_its_own { Ok(()) } else { sys::drop_own_capabilities() }
}

/// Sends the last report and stays (so that the accounts stay readable) until it is read.
fn say_goodbye(control: &Channel, report: &InitReport) -> Result<(), String> {
    control.send(report, &[]).map_err(|error| error.to_string())?;
    let _ = control.receive_within(GOODBYE_MS);
    Ok(())
}
