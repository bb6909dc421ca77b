//! Fake environments: the runtime of each is a script that speaks real HTTP on a pair of streams.

use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicU32, AtomicUsize};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream;
use futures_util::{FutureExt, StreamExt};
use tokio::io::{AsyncReadExt, DuplexStream};
use tokio::sync::{Notify, Semaphore, mpsc};

use super::fault::Exit;
use super::launcher::{
    Accept, Control, Ended, Environment, Happening, LaunchFault, Output, Plan, Prepared, Session,
    Stop, TemplateRole,
};
use super::*;
use crate::runtime_api::becoming;
use crate::runtime_api::connection::BoxIo;
use crate::runtime_api::testing::Client;
use crate::runtimes::clients::Clients;
use crate::runtimes::packs::PacksConfig;
use crate::state::logging::LogFormat;
use crate::state::version::VersionState;

/// The inside of a fake environment.
pub(super) struct Inside {
    /// Counts from 1.
    pub(super) number: usize,
    pub(super) runtime: Client<DuplexStream>,
    pub(super) printed: DuplexStream,
    pub(super) plan: Plan,
    pub(super) dial: mpsc::Sender<BoxIo>,
    pub(super) happened: Happened,
}

/// What was done to environments and what they noted themselves, in order.
pub(super) type Happened = Arc<Mutex<Vec<&'static str>>>;

pub(super) type Script = Arc<dyn Fn(Inside) -> BoxFuture<'static, Ended> + Send + Sync>;

pub(super) fn script<F>(body: impl Fn(Inside) -> F + Send + Sync + 'static) -> Script
where
    F: Future<Output = Ended> + Send + 'static,
{
    Arc::new(move |inside| body(inside).boxed())
}

pub(super) fn exited(code: i32) -> Ended {
    Ended::Exited(Exit { code: Some(code), ..Exit::default() })
}

pub(super) struct Fake {
    pub(super) script: Script,
    pub(super) launches: AtomicUsize,
    pub(super) alive: Arc<AtomicUsize>,
    pub(super) fails: bool,
    pub(super) happened: Happened,
    /// Whether there can be templates, and why none can be forked from.
    pub(super) templates: Option<Mutex<Option<LaunchFault>>>,
    /// How long a fork takes.
    pub(super) forks_in: Mutex<Duration>,
    /// Whether there can be spares, and how many of which kind were last asked for.
    pub(super) spares: Option<Mutex<HashMap<u64, u32>>>,
    /// How many more than usual were last asked to be ready.
    pub(super) ready_more: AtomicU32,
}

pub(super) struct Dialled(mpsc::Receiver<BoxIo>);

impl Accept for Dialled {
    fn accept(&mut self) -> BoxFuture<'_, std::io::Result<BoxIo>> {
        async move {
            match self.0.recv().await {
                Some(io) => Ok(io),
                None => std::future::pending().await,
            }
        }
        .boxed()
    }
}

pub(super) struct Pipe(DuplexStream);

impl Output for Pipe {
    fn read<'a>(&'a mut self, buffer: &'a mut [u8]) -> BoxFuture<'a, std::io::Result<usize>> {
        self.0.read(buffer).boxed()
    }
}

pub(super) struct Switch {
    kill: Arc<Notify>,
    happened: Happened,
}

impl Control for Switch {
    fn kill(&self) {
        self.kill.notify_one();
    }

    fn limit_cpu(&self, _millis: u32) {}

    fn set_frozen(&self, frozen: bool) {
        self.happened.lock().unwrap().push(if frozen { "frozen" } else { "thawed" });
    }

    fn memory_peak_bytes(&self) -> Option<u64> {
        Some(30 * 1024 * 1024)
    }

    fn go(&self) {
        self.happened.lock().unwrap().push("let go");
    }

    fn stop(&self, _program: usize, _stop: Stop) {}

    fn connect(&self, _port: u16) -> BoxFuture<'static, std::io::Result<BoxIo>> {
        std::future::ready(Err(std::io::ErrorKind::ConnectionRefused.into())).boxed()
    }
}

/// Counts an environment as long as it lives.
pub(super) struct Alive(Arc<AtomicUsize>);

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Launcher for Fake {
    fn launch(&self, plan: Plan) -> BoxFuture<'_, Result<Environment, LaunchFault>> {
        let number = self.launches.fetch_add(1, Ordering::SeqCst) + 1;
        if plan.file_system.is_some() {
            // It has none.
            let fault = LaunchFault::FileSystem("/srv/data: No such file or directory".into());
            return std::future::ready(Err(fault)).boxed();
        }
        if self.fails {
            return std::future::ready(Err(LaunchFault::Sandbox("no room".into()))).boxed();
        }
        let is_fork = matches!(plan.template, Some(TemplateRole::From { .. }));
        if let (true, Some(broken)) = (is_fork, &self.templates)
            && let Some(why) = broken.lock().unwrap().clone()
        {
            return std::future::ready(Err(why)).boxed();
        }
        let (inherited, ours) = tokio::io::duplex(64 * 1024);
        let (output, printed) = tokio::io::duplex(64 * 1024);
        let (dial, runtime) = mpsc::channel(64);
        let (_, api) = mpsc::channel(1);
        let runtime_client = Client::new(ours);
        let happened = self.happened.clone();
        let (spare, env) = (plan.spare, plan.env.clone());
        let inside = Inside { number, runtime: runtime_client, printed, plan, dial, happened };
        let run = (self.script)(inside);
        self.alive.fetch_add(1, Ordering::SeqCst);
        let alive = Alive(self.alive.clone());
        let kill = Arc::new(Notify::new());
        let killed = kill.clone();
        let exit = async move {
            let _alive = alive;
            tokio::select! {
                ended = run => ended,
                () = killed.notified() => {
                    Ended::Exited(Exit { signal: Some(9), ..Exit::default() })
                }
            }
        };
        let environment = Environment {
            runtime: Box::new(Dialled(runtime)),
            inherited: Some(Box::pin(inherited)),
            // If it may be a spare, it is one.
            becomes: spare.map(|_| becoming::document(&env, "/var/task")),
            api: Box::new(Dialled(api)),
            output: Box::new(Pipe(output)),
            log_frames: None,
            extensions_output: None,
            happenings: stream::once(exit.map(Happening::Ended)).boxed(),
            control: Arc::new(Switch { kill, happened: self.happened.clone() }),
        };
        let takes = if is_fork { *self.forks_in.lock().unwrap() } else { Duration::ZERO };
        async move {
            if !takes.is_zero() {
                Rt::real().sleep(takes).await;
            }
            Ok(environment)
        }
        .boxed()
    }

    fn has_spares(&self) -> bool {
        self.spares.is_some()
    }

    fn has_templates(&self) -> bool {
        self.templates.is_some()
    }

    fn keep_spares(&self, kind: u64, _prepared: &Prepared, count: u32) -> bool {
        let Some(spares) = &self.spares else { return false };
        spares.lock().unwrap().insert(kind, count);
        true
    }

    fn has_ready(&self) -> bool {
        self.spares.is_some()
    }

    fn keep_ready(&self, more: u32) -> bool {
        self.ready_more.store(more, Ordering::SeqCst);
        true
    }
}

#[derive(Default)]
pub(super) struct Keys(pub(super) Mutex<Vec<String>>);

impl Sessions for Keys {
    fn open(&self, session: &Session, _version: &Version) {
        self.0.lock().unwrap().push(session.access_key_id.clone());
    }

    fn close(&self, access_key_id: &str) {
        self.0.lock().unwrap().retain(|known| known != access_key_id);
    }
}

/// A machine with a fake launcher.
pub(super) struct Machine {
    pub(super) invoker: Invoker,
    pub(super) metrics: Metrics,
    pub(super) fake: Arc<Fake>,
    pub(super) keys: Arc<Keys>,
    pub(super) folder: tempfile::TempDir,
}

impl Machine {
    pub(super) fn new(run: Script) -> Machine {
        Machine::with(InvokeConfig::default(), run, false)
    }

    pub(super) fn with(config: InvokeConfig, run: Script, fails: bool) -> Machine {
        Machine::made(config, run, fails, (false, false))
    }

    /// One that can keep spares.
    pub(super) fn with_spares(config: InvokeConfig, run: Script) -> Machine {
        Machine::made(config, run, false, (true, false))
    }

    /// One that can keep templates.
    pub(super) fn with_templates(config: InvokeConfig, run: Script) -> Machine {
        Machine::made(config, run, false, (false, true))
    }

    fn made(
        config: InvokeConfig,
        run: Script,
        fails: bool,
        (spares, templates): (bool, bool),
    ) -> Machine {
        let rt = Rt::real();
        // Of its own: the process's figures are those of all tests.
        let metrics = Metrics::new();
        let config = InvokeConfig { metrics: metrics.clone(), ..config };
        let folder = tempfile::tempdir().unwrap();
        let bootstrap = folder.path().join("bootstrap");
        std::fs::write(&bootstrap, "#!/bin/sh\n").unwrap();
        std::fs::set_permissions(&bootstrap, std::fs::Permissions::from_mode(0o755)).unwrap();
        let clients = Clients::install(&folder.path().join("clients")).unwrap();
        let packs = Packs::new(PacksConfig::default(), clients, rt.clone());
        let fake = Arc::new(Fake {
            script: run,
            launches: 0.into(),
            alive: Arc::default(),
            fails,
            happened: Arc::default(),
            templates: templates.then(Mutex::default),
            forks_in: Mutex::default(),
            spares: spares.then(Mutex::default),
            ready_more: 0.into(),
        });
        let keys = Arc::new(Keys::default());
        let invoker = Invoker::start(config, rt, fake.clone(), Arc::new(packs), keys.clone());
        Machine { invoker, metrics, fake, keys, folder }
    }

    pub(super) fn version(&self, generation: u64) -> Version {
        Version {
            account: "000000000000".into(),
            region: "us-east-1".into(),
            function_name: format!("F_{generation}"),
            function_arn: "arn:aws:lambda:us-east-1:000000000000:function:f".into(),
            version: "$LATEST".into(),
            revision_id: String::new(),
            runtime: "provided.al2023".into(),
            handler: Some("a.b".into()),
            role: "arn:aws:iam::000000000000:role/r".into(),
            memory_mb: 128,
            timeout_s: 3,
            tmp_mb: 512,
            environment: vec![("OWN".into(), "1".into()), ("AWS_REGION".into(), "mine".into())],
            log_group: "/aws/lambda/f".into(),
            log_format: LogFormat::Text,
            active_tracing: false,
            isolates_tenants: false,
            snap_start: false,
            sealed_environment: None,
            bundle: String::new(),
            bundle_path: self.folder.path().to_owned(),
            layers_path: None,
            file_system: None,
            vpc: None,
            generation,
            state: VersionState::Active,
            holds: Vec::new(),
        }
    }

    pub(super) async fn invoke(&self, version: Version, payload: &str) -> Result<Answer, Error> {
        self.invoker.invoke(Arc::new(version), request(payload)).await
    }

    pub(super) async fn text(&self, payload: &str) -> (String, Option<&'static str>) {
        let answer = self.invoke(self.version(1), payload).await.unwrap();
        (String::from_utf8(answer.payload.to_vec()).unwrap(), answer.function_error)
    }

    pub(super) fn launches(&self) -> usize {
        self.fake.launches.load(Ordering::SeqCst)
    }

    pub(super) fn happened(&self) -> Vec<&'static str> {
        self.fake.happened.lock().unwrap().clone()
    }

    pub(super) async fn until_alive(&self, count: usize) {
        let rt = Rt::real();
        let reached = async {
            while self.fake.alive.load(Ordering::SeqCst) != count {
                tokio::task::yield_now().await;
            }
        };
        let reached = rt.within(Duration::from_secs(10), reached).await;
        assert!(reached.is_some(), "{:?} alive, not {count}", self.fake.alive);
    }
}

pub(super) fn request(payload: &str) -> Invocation {
    Invocation {
        request_id: Rt::real().uuid(),
        invoked_arn: "arn:aws:lambda:us-east-1:000000000000:function:f".into(),
        payload: Bytes::copy_from_slice(payload.as_bytes()),
        client_context: None,
        trace_id: None,
        log_tail: true,
        tenant_id: None,
    }
}

pub(super) fn tail(answer: &Answer) -> String {
    String::from_utf8(answer.log_tail.clone().unwrap()).unwrap()
}

/// Answers every event with itself.
pub(super) async fn echo(mut inside: Inside) -> Ended {
    while let Some(event) = inside.runtime.try_next().await {
        inside.runtime.respond(&event.request_id(), &event.body).await;
    }
    exited(0)
}

/// Answers when it is allowed to.
pub(super) fn gated(gate: &Arc<Semaphore>) -> Script {
    let gate = gate.clone();
    script(move |mut inside: Inside| {
        let gate = gate.clone();
        async move {
            while let Some(event) = inside.runtime.try_next().await {
                gate.acquire().await.unwrap().forget();
                inside.runtime.respond(&event.request_id(), &event.body).await;
            }
            exited(0)
        }
    })
}
