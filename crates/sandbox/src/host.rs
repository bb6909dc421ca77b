//! The daemon's side of the spawner: start it, ask it for environments.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::Duration;

use lambic_rt::{Rt, TaskKind};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::{oneshot, watch};

use crate::barrier::BarrierKind;
use crate::channel::{self, Channel, Packet};
use crate::protocol::{
    AtHand, Barrier, Group, Mode, NewCopy, READY_KIND, Refusal, Reply, Request, Role, Source, Spec,
};
use crate::sandbox::{Ends, Sandbox};
use crate::seccomp::Filter;
use crate::trial::stands;
use crate::{FileReach, SpawnerConfig, landlock, spawner, sys};

/// How long the spawner may take to say that it works.
const HELLO_LIMIT_MS: u16 = 20_000;
/// How long one environment may take to be made.
const LAUNCH_LIMIT: Duration = Duration::from_secs(30);
/// How long a spare may take to become one.
const ATTACH_LIMIT: Duration = Duration::from_secs(5);
/// And a new copy until it asks what it becomes.
const LIVES_IN: Duration = Duration::from_secs(5);

/// Why no environments can be made on this machine.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// [`start`] forks and must come before the first thread.
    #[error("the spawner must be started before any thread")]
    Threads,
    /// The machine lacks something; the text says what.
    #[error("functions cannot be isolated on this machine: {0}")]
    Unable(String),
    /// The spawner could not be started or did not answer.
    #[error("the spawner did not start: {0}")]
    Io(#[from] io::Error),
}

/// Why an environment was not made.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// The spawner refused or failed; the text says at which step.
    #[error("the environment could not be made: {0}")]
    Failed(String),
    /// Its file system could not be mounted; the text says why.
    #[error("the file system could not be mounted: {0}")]
    FileSystem(String),
    /// There is no such template, or it could not be copied; the text says why.
    #[error("the template could not be copied: {0}")]
    Template(String),
    /// The template has what no copy can have, nor could one of another template that has been initialized in
    /// the same way; the text says what.
    #[error("the template cannot be copied: {0}")]
    Unfit(String),
    /// Others were copied from the same template for longer than it was to wait.
    #[error("the template is being copied for others")]
    Busy,
    /// The spawner is gone: nothing can be launched any more.
    #[error("the spawner is gone")]
    SpawnerGone,
    /// A system call in this process failed (out of descriptors, for example).
    #[error("the environment could not be made: {0}")]
    Io(#[from] io::Error),
}

impl From<Refusal> for LaunchError {
    fn from(refusal: Refusal) -> LaunchError {
        match refusal {
            Refusal::Reason(reason) => LaunchError::Failed(reason),
            Refusal::FileSystem(reason) => LaunchError::FileSystem(reason),
            Refusal::Template(reason) => LaunchError::Template(reason),
            Refusal::Unfit(reason) => LaunchError::Unfit(reason),
            Refusal::Busy => LaunchError::Busy,
        }
    }
}

/// The spawner, started; not yet attached to an asynchronous runtime.
pub struct SandboxHost {
    channel: Channel,
    barriers: Vec<Barrier>,
    mode: Mode,
    /// The control groups of the environments.
    accounts: Vec<PathBuf>,
    has_spares: bool,
    has_templates: bool,
}

/// A spawner that has not proved yet that environments can be made here.
pub struct Starting {
    channel: Channel,
}

/// Forks the spawner. Before there is any thread, and before anything is open that it should not have.
pub fn begin(config: &SpawnerConfig) -> Result<Starting, StartError> {
    if fs::read_dir("/proc/self/task")?.count() != 1 {
        return Err(StartError::Threads);
    }
    raise_descriptor_limit();
    let (ours, theirs) = Channel::pair()?;
    if sys::fork()?.is_none() {
        // The end of the daemon is seen by the end of this socket, so nobody else may have it.
        drop(ours);
        // What the daemon has open is not the spawner's.
        match theirs.keep_only() {
            Ok(daemon) => spawner::run(daemon, config),
            Err(_) => sys::exit_now(1),
        }
    }
    Ok(Starting { channel: ours })
}

/// Forks the spawner and waits until it has proved that environments can be made here.
pub fn start(config: &SpawnerConfig) -> Result<SandboxHost, StartError> {
    begin(config)?.proven()
}

impl Starting {
    /// Waits until it has proved it.
    pub fn proven(self) -> Result<SandboxHost, StartError> {
        let packet = self.channel.receive_within(HELLO_LIMIT_MS)?;
        match packet.map(|packet| packet.parse()).transpose()? {
            Some(Reply::Hello { barriers, mode, accounts, spares, templates }) => Ok(SandboxHost {
                channel: self.channel,
                barriers,
                mode,
                accounts,
                has_spares: spares,
                has_templates: templates,
            }),
            Some(Reply::Unable { reason }) => Err(StartError::Unable(reason)),
            _ => Err(StartError::Unable("the spawner ended without a word".to_owned())),
        }
    }
}

/// An environment costs five to seven descriptors here, and the usual limit of 1,024 is meant for programs
/// that use `select`. Functions get a limit of their own.
fn raise_descriptor_limit() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard));
    if let Err(error) = raised {
        tracing::warn!(%error, "the limit of open files could not be raised");
    }
}

impl SandboxHost {
    /// What stands between a function and the rest of this machine.
    pub fn barriers(&self) -> &[Barrier] {
        &self.barriers
    }

    /// How environments are kept apart.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Gives up every capability of this process, for good, and everything else it has no business
    /// with: files outside of `reach`, calls that change the machine, signals to others. Must come
    /// after everything that needs one (a port below 1024, a foreign folder) and before the first
    /// thread: threads keep theirs. Without isolation, what the server may do its functions may,
    /// so it keeps its files and calls.
    pub fn drop_privileges(&self, reach: &FileReach) -> Result<(), String> {
        let step = |name: &'static str| move |error: io::Error| format!("{name}: {error}");
        sys::no_new_privileges().map_err(step("no_new_privs"))?;
        if self.mode != Mode::None && stands(BarrierKind::ServerRules) {
            landlock::enforce_on_server(reach, &self.accounts).map_err(step("landlock"))?;
            Filter::of_server()?.install()?;
        }
        sys::drop_capabilities().map_err(step("capabilities"))
    }

    /// Attaches to the asynchronous runtime that the caller is in.
    pub fn into_async(self, rt: &Rt) -> io::Result<Sandboxes> {
        let fd = self.channel.into_fd();
        set_nonblocking(&fd)?;
        let inner = Arc::new(Inner {
            socket: sys::register(fd)?,
            next_id: AtomicU64::new(1),
            pending: Mutex::new(Some(HashMap::new())),
            has_spares: self.has_spares,
            has_templates: self.has_templates,
            has_ready: self.mode == Mode::Privileged,
            spares: Mutex::default(),
            waiting_watch: OnceLock::new(),
            gone: watch::Sender::new(false),
            rt: rt.clone(),
        });
        let reader = Arc::clone(&inner);
        rt.spawn(
            "spawner replies",
            TaskKind::Essential,
            async move { reader.read_replies().await },
        )
        .detach();
        Ok(Sandboxes { inner })
    }
}

pub(crate) fn set_nonblocking(fd: &OwnedFd) -> io::Result<()> {
    use nix::fcntl::{FcntlArg, OFlag, fcntl};
    fcntl(fd, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    Ok(())
}

/// Makes environments. Cloning it gives another handle to the same spawner.
#[derive(Clone)]
pub struct Sandboxes {
    inner: Arc<Inner>,
}

type Tell = Box<dyn Fn(u64, usize) + Send + Sync>;
type Waiter = oneshot::Sender<Result<Launched, LaunchError>>;

struct Inner {
    socket: AsyncFd<OwnedFd>,
    next_id: AtomicU64,
    /// Who waits for which launch; `None` once the spawner is gone.
    pending: Mutex<Option<HashMap<u64, Waiter>>>,
    has_spares: bool,
    has_templates: bool,
    has_ready: bool,
    /// How many are at hand, by kind.
    spares: Mutex<HashMap<u64, usize>>,
    waiting_watch: OnceLock<Tell>,
    /// Becomes true when the spawner has ended.
    gone: watch::Sender<bool>,
    rt: Rt,
}

/// What the spawner hands over.
pub(crate) struct Launched {
    pub(crate) id: u64,
    pub(crate) pid: i32,
    pub(crate) group: Group,
    pub(crate) control: OwnedFd,
    pub(crate) runtime_listener: OwnedFd,
    pub(crate) api_listener: OwnedFd,
    /// Our ends of its output pipe and of its runtime's stream, if it was a spare.
    pub(crate) ends: Option<[OwnedFd; 2]>,
    pub(crate) copied: Option<NewCopy>,
}

impl Sandboxes {
    /// Makes an environment and starts its program. A program that cannot be started is not an
    /// error here: the environment's [`crate::Exit`] tells.
    pub async fn launch(&self, spec: &Spec) -> Result<Sandbox, LaunchError> {
        self.launch_from(spec, Source::Fresh).await
    }

    /// As [`Sandboxes::launch`], but one that stands as a template or is a copy of one.
    pub async fn launch_as(&self, spec: &Spec, role: Role) -> Result<Sandbox, LaunchError> {
        self.launch_from(spec, Source::Template(role)).await
    }

    /// As [`Sandboxes::launch_as`] a copy of this template, of which one copy is made at a time. It waits so
    /// long for those that were asked for before; after that it is [`LaunchError::Busy`], unless it is
    /// being made by then.
    pub async fn launch_copy(
        &self,
        spec: &Spec,
        template: u64,
        waits: Duration,
    ) -> Result<Sandbox, LaunchError> {
        self.launch_waiting(spec, Source::Template(Role::From(template)), Some(waits)).await
    }

    /// Whether environments can be copied on this machine.
    pub fn has_templates(&self) -> bool {
        self.inner.has_templates
    }

    /// As [`Sandboxes::launch`], but made from a spare of this kind, or else of the second, if one is at
    /// hand that can become what is wanted. [`Sandbox::is_from_spare`] tells; the program is then one that
    /// has been started
    /// with the kind's variables and working directory, waits, and has to be told the spec's.
    pub async fn launch_from_spare(
        &self,
        spec: &Spec,
        kind: u64,
        second: Option<u64>,
    ) -> Result<Sandbox, LaunchError> {
        let mut sandbox = self.launch_from(spec, Source::Spare { kind, second }).await?;
        if !sandbox.is_from_spare {
            return Ok(sandbox);
        }
        let rt = &self.inner.rt;
        let attached = rt.within(ATTACH_LIMIT, sandbox.attached()).await;
        let attached_well = matches!(attached, Some(Ok(())));
        let lives = match attached {
            Some(Ok(())) => rt.within(LIVES_IN, sandbox.has_come_to_life()).await,
            not_attached => not_attached,
        };
        let why = match lives {
            Some(Ok(())) => return Ok(sandbox),
            Some(Err(why)) => why,
            None => "it did not answer".to_owned(),
        };
        tracing::warn!(why, "a spare could not be used; a fresh environment takes its place");
        if attached_well {
            self.tell(&Request::Lifeless { id: sandbox.id() });
        }
        drop(sandbox);
        self.launch_from(spec, Source::Fresh).await
    }

    async fn launch_from(&self, spec: &Spec, from: Source) -> Result<Sandbox, LaunchError> {
        self.launch_waiting(spec, from, None).await
    }

    /// `waits` is how long it may wait for its turn, if it is to take turns.
    async fn launch_waiting(
        &self,
        spec: &Spec,
        from: Source,
        waits: Option<Duration>,
    ) -> Result<Sandbox, LaunchError> {
        let inner = &self.inner;
        let ends = Ends::of(spec)?;
        let id = inner.next_id.fetch_add(1, Ordering::Relaxed);
        let (sender, receiver) = oneshot::channel();
        match &mut *inner.pending.lock().expect("no panic while the table is held") {
            Some(pending) => pending.insert(id, sender),
            None => return Err(LaunchError::SpawnerGone),
        };
        let request = Request::Launch { id, spec: Box::new(spec.clone()), from };
        let descriptors = ends.inside();
        let asked = async {
            let send = |fd: &OwnedFd| channel::send_on(fd.as_fd(), &request, &descriptors);
            inner.socket.async_io(Interest::WRITABLE, send).await?;
            Ok::<_, io::Error>(receiver.await)
        };
        let answer = match self.within_limits(id, waits, asked).await.transpose() {
            Ok(answer) => answer,
            Err(error) => {
                inner.forget(id);
                return Err(error.into());
            }
        };
        match answer {
            Some(Ok(launched)) => Sandbox::assemble(launched?, ends, self.clone()),
            Some(Err(_)) => Err(LaunchError::SpawnerGone),
            None => {
                inner.forget(id);
                let why = "the spawner did not answer in 30 s".to_owned();
                // What has not been copied can still be made in another way.
                Err(match waits {
                    Some(_) => LaunchError::Template(why),
                    None => LaunchError::Failed(why),
                })
            }
        }
    }

    /// Waits for the answer to a launch; see [`Sandboxes::launch_waiting`].
    async fn within_limits<T>(
        &self,
        id: u64,
        waits: Option<Duration>,
        asked: impl Future<Output = T>,
    ) -> Option<T> {
        let rt = &self.inner.rt;
        let mut asked = std::pin::pin!(asked);
        if let Some(waits) = waits {
            if let Some(answer) = rt.within(waits, asked.as_mut()).await {
                return Some(answer);
            }
            self.tell(&Request::Forgo { id });
        }
        rt.within(LAUNCH_LIMIT, asked).await
    }

    /// Whether there can be spares on this machine: their limits are set when they are used, which
    /// takes control groups.
    pub fn has_spares(&self) -> bool {
        self.inner.has_spares
    }

    /// From now on `count` spares of this kind are kept, at most [`crate::AHEAD_MAX`]: they
    /// are started with this spec, which has nothing of any function. An error when the spawner cannot
    /// be told at this moment.
    pub fn keep_spares(&self, kind: u64, spec: &Spec, count: u32) -> io::Result<()> {
        self.keep(kind, spec, count, false)
    }

    /// As [`Sandboxes::keep_spares`], for a program that can stand as a template (see
    /// [`Role::Becomes`]): when it finds the variable `_LAMBIC_TEMPLATE`, it sends something on its stream
    /// once it has loaded itself, and forks whenever it is told to on [`crate::TEMPLATE_FD`]. The spares
    /// are copies of one such process, where this machine can.
    pub fn keep_copied_spares(&self, kind: u64, spec: &Spec, count: u32) -> io::Result<()> {
        self.keep(kind, spec, count, true)
    }

    fn keep(&self, kind: u64, spec: &Spec, count: u32, copied: bool) -> io::Result<()> {
        let keep = Request::Keep { kind, spec: Box::new(spec.clone()), count, copied };
        channel::send_on(self.inner.socket.get_ref().as_fd(), &keep, &[])
    }

    /// Whether more environments can be ready than [`crate::SpawnerConfig::ready_count`] says: where they
    /// are made beside everything else, and share nothing with the host.
    pub fn has_ready(&self) -> bool {
        self.inner.has_ready
    }

    /// From now on so many more are kept ready, at most [`crate::AHEAD_MAX`], as far as the machine has
    /// memory and processor time for them. An error when the spawner cannot be told at this moment.
    pub fn keep_ready(&self, more: u32) -> io::Result<()> {
        channel::send_on(self.inner.socket.get_ref().as_fd(), &Request::Ready { more }, &[])
    }

    /// Has told how many spares of a kind are at hand, now and whenever it changes; what is ready for any
    /// program is the kind 0. For one who asks, once.
    pub fn watch_waiting(&self, tell: Tell) {
        let _ = self.inner.waiting_watch.set(tell);
        let known = self.inner.spares().clone();
        let tell = self.inner.waiting_watch.get();
        tell.into_iter()
            .for_each(|tell| known.iter().for_each(|(kind, count)| tell(*kind, *count)));
    }

    /// How many environments are ready for any program.
    pub fn ready(&self) -> usize {
        self.spares_at_hand(READY_KIND)
    }

    /// How many spares of this kind are at hand.
    pub fn spares_at_hand(&self, kind: u64) -> usize {
        self.inner.spares().get(&kind).copied().unwrap_or(0)
    }

    /// Waits until the spawner has ended. No environment can be made after that, and those that
    /// were there have ended with it.
    pub async fn spawner_gone(&self) {
        // The sender lives as long as this handle does.
        let _ = self.inner.gone.subscribe().wait_for(|gone| *gone).await;
    }

    /// Asks the spawner to kill an environment's first process; best effort, never waits.
    pub(crate) fn kill(&self, id: u64) {
        self.tell(&Request::Kill { id });
    }

    fn tell(&self, request: &Request) {
        let _ = channel::send_on(self.inner.socket.get_ref().as_fd(), request, &[]);
    }
}

impl Inner {
    fn spares(&self) -> MutexGuard<'_, HashMap<u64, usize>> {
        self.spares.lock().expect("no panic while the table is held")
    }

    fn note(&self, at_hand: AtHand) {
        let mut spares = self.spares();
        match at_hand.count {
            0 => spares.remove(&at_hand.kind),
            count => spares.insert(at_hand.kind, count),
        };
        drop(spares);
        if let Some(tell) = self.waiting_watch.get() {
            tell(at_hand.kind, at_hand.count);
        }
    }

    fn forget(&self, id: u64) -> Option<Waiter> {
        self.pending.lock().expect("no panic while the table is held").as_mut()?.remove(&id)
    }

    async fn read_replies(&self) {
        loop {
            let read = self
                .socket
                .async_io(Interest::READABLE, |fd| channel::receive_on(fd.as_fd()))
                .await;
            match read {
                Ok(Some(packet)) => self.complete(packet),
                Ok(None) => break,
                Err(error) => {
                    tracing::error!(%error, "reading from the spawner");
                    break;
                }
            }
        }
        // Dropping the waiters tells each of them that the spawner is gone.
        self.pending.lock().expect("no panic while the table is held").take();
        self.gone.send_replace(true);
    }

    fn complete(&self, packet: Packet) {
        let (id, result) = match packet.parse() {
            Ok(Reply::Launched { id, pid, group, is_spare, left, copied }) => {
                self.note(left);
                let result = launched((id, pid, group), is_spare, packet.descriptors);
                let result = result.map(|launched| Launched { copied, ..launched });
                (id, result.ok_or(LaunchError::Failed("descriptors are missing".to_owned())))
            }
            Ok(Reply::Failed { id, reason }) => (id, Err(reason.into())),
            Ok(Reply::Spares(at_hand)) => return self.note(at_hand),
            Ok(Reply::Notice { text }) => {
                tracing::warn!("{text}");
                return;
            }
            Ok(Reply::Hello { .. } | Reply::Unable { .. }) | Err(_) => {
                tracing::error!("the spawner sent what was not asked for");
                return;
            }
        };
        if let Some(waiter) = self.forget(id) {
            // A caller that has given up drops the environment, which ends it.
            let _ = waiter.send(result);
        }
    }
}

fn launched(
    (id, pid, group): (u64, i32, Group),
    spare: bool,
    descriptors: Vec<OwnedFd>,
) -> Option<Launched> {
    let mut given = descriptors.into_iter();
    let [control, runtime_listener, api_listener] = [given.next()?, given.next()?, given.next()?];
    let ends = if spare { Some([given.next()?, given.next()?]) } else { None };
    let copied = None;
    Some(Launched { id, pid, group, control, runtime_listener, api_listener, ends, copied })
}
