//! Drives the runtime clients as real processes, without a sandbox: a launcher that starts the
//! program of a plan with the paths of the host, its socket as standard input, and the rest of the
//! invoke path as in the product. It starts them as the spares that they can be made from, too. Tests that need an interpreter fail, naming it, when it is missing.

use std::collections::HashMap;
use std::future::poll_fn;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt, stream};
use lambic_front::metrics::Metrics;
use lambic_rt::Rt;
use serde_json::Value;
use tokio::net::unix::pipe;
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::Notify;

use super::clients::Clients;
use super::packs::{Family, Packs, PacksConfig};
use crate::invoke::fault::Exit;
use crate::invoke::launcher::{
    Accept, Control, Ended, Environment, Happening, LaunchFault, Launcher, Output, Plan, Prepared,
    Session, Sessions, Stop,
};
use crate::invoke::streamed::{End, Part, StreamedAnswer};
use crate::invoke::{Answer, Invocation, InvokeConfig, Invoker};
use crate::runtime_api::becoming;
use crate::runtime_api::connection::BoxIo;
use crate::state::logging::{Level, LogFormat};
use crate::state::version::{Version, VersionState};

/// Starts plans as ordinary processes.
struct Processes {
    /// Leave the inherited socket out, so that the client connects by TCP.
    by_tcp: bool,
    /// Whether what can be made from spares is.
    from_spares: bool,
    spares: Mutex<HashMap<u64, Prepared>>,
    launches: AtomicUsize,
}

struct Listening(Option<TcpListener>);

impl Accept for Listening {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<BoxIo>> {
        async move {
            match &self.0 {
                Some(listener) => Ok(Box::pin(listener.accept().await?.0) as BoxIo),
                None => std::future::pending().await,
            }
        }
        .boxed()
    }
}

struct Printed(pipe::Receiver);

impl Output for Printed {
    fn read<'a>(&'a mut self, buffer: &'a mut [u8]) -> BoxFuture<'a, io::Result<usize>> {
        tokio::io::AsyncReadExt::read(&mut self.0, buffer).boxed()
    }
}

struct Killer(Arc<Notify>);

impl Control for Killer {
    fn kill(&self) {
        self.0.notify_one();
    }

    fn limit_cpu(&self, _millis: u32) {}

    fn set_frozen(&self, _frozen: bool) {}

    fn memory_peak_bytes(&self) -> Option<u64> {
        None
    }

    fn go(&self) {}

    fn stop(&self, _program: usize, _stop: Stop) {}

    fn connect(&self, port: u16) -> BoxFuture<'static, io::Result<BoxIo>> {
        async move { Ok(Box::pin(TcpStream::connect(("127.0.0.1", port)).await?) as BoxIo) }.boxed()
    }
}

impl Launcher for Processes {
    fn launch(&self, plan: Plan) -> BoxFuture<'_, Result<Environment, LaunchFault>> {
        self.launches.fetch_add(1, Ordering::SeqCst);
        let made = async move {
            let listener = TcpListener::bind("127.0.0.1:0").await?;
            let address = listener.local_addr()?.to_string();
            self.start(plan, listener, address)
        };
        made.map(|made: io::Result<_>| {
            made.map_err(|error| LaunchFault::Sandbox(error.to_string()))
        })
        .boxed()
    }

    fn has_spares(&self) -> bool {
        self.from_spares && !self.by_tcp
    }

    fn keep_spares(&self, kind: u64, prepared: &Prepared, _count: u32) -> bool {
        self.spares.lock().unwrap().insert(kind, prepared.clone());
        true
    }
}

impl Processes {
    fn start(&self, plan: Plan, listener: TcpListener, address: String) -> io::Result<Environment> {
        let outside = |text: &str| {
            let mut text = text.to_owned();
            for (source, target) in &plan.binds {
                text = text.replace(target.as_str(), &source.to_string_lossy());
            }
            text
        };
        let variables = |env: &[(String, String)]| -> Vec<(String, String)> {
            let outside = |(name, value): &(String, String)| {
                let value = match name.as_str() {
                    "AWS_LAMBDA_RUNTIME_API" => address.clone(),
                    "_LAMBIC_RUNTIME_FD" if self.by_tcp => return None,
                    "_LAMBIC_RUNTIME_FD" => "0".to_owned(),
                    _ => outside(value),
                };
                Some((name.clone(), value))
            };
            env.iter().filter_map(outside).collect()
        };
        let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
        let (reader, writer) = io::pipe()?;
        let spare = plan.spare.and_then(|kind| self.spares.lock().unwrap().get(&kind).cloned());
        let mut becomes = None;
        let (env, cwd) = match spare {
            Some(spare) => {
                assert_eq!(spare.argv, plan.argv);
                assert!(plan.binds.starts_with(&spare.binds));
                becomes = Some(becoming::document(&variables(&plan.env), &outside(&plan.cwd)));
                (variables(&spare.env), outside(&spare.cwd))
            }
            None => (variables(&plan.env), outside(&plan.cwd)),
        };
        let mut command = tokio::process::Command::new(outside(&plan.argv[0]));
        command.args(plan.argv[1..].iter().map(|text| outside(text)));
        command.env_clear().envs(env).current_dir(cwd).kill_on_drop(true);
        command.stdin(Stdio::from(OwnedFd::from(theirs)));
        command.stdout(writer.try_clone()?).stderr(writer);
        let mut child = command.spawn()?;
        drop(command);
        ours.set_nonblocking(true)?;
        let kill = Arc::new(Notify::new());
        let killed = kill.clone();
        let exit = async move {
            let status = tokio::select! {
                status = child.wait() => status,
                () = killed.notified() => {
                    let _ = child.start_kill();
                    child.wait().await
                }
            };
            let status = status.expect("a child can be waited for");
            Ended::Exited(Exit { code: status.code(), signal: status.signal(), oom: false })
        };
        Ok(Environment {
            runtime: Box::new(Listening(Some(listener))),
            inherited: Some(Box::pin(UnixStream::from_std(ours)?)),
            becomes,
            api: Box::new(Listening(None)),
            output: Box::new(Printed(pipe::Receiver::from_owned_fd(OwnedFd::from(reader))?)),
            log_frames: None,
            extensions_output: None,
            happenings: stream::once(exit.map(Happening::Ended)).boxed(),
            control: Arc::new(Killer(kill)),
        })
    }
}

struct NoKeys;

impl Sessions for NoKeys {
    fn open(&self, _session: &Session, _version: &Version) {}

    fn close(&self, _access_key_id: &str) {}
}

/// One function, run by a fresh interpreter.
pub(super) type Function = FunctionFrom<false>;

/// One function, its code in a folder, run by a real interpreter, which was a spare if it can be.
pub(super) struct FunctionFrom<const SPARES: bool> {
    invoker: Invoker,
    processes: Arc<Processes>,
    version: Arc<Version>,
    _folder: tempfile::TempDir,
}

/// What a function answered.
#[derive(Debug)]
pub(super) struct Said {
    pub(super) value: Value,
    pub(super) raw: Bytes,
    pub(super) is_error: bool,
    pub(super) log: String,
}

impl Said {
    /// The lines of a log that has only objects, as they are.
    pub(super) fn records(&self) -> Vec<Value> {
        let parse = |line| {
            let parsed = serde_json::from_str(line);
            parsed.unwrap_or_else(|error| panic!("{error}: {line}"))
        };
        self.log.lines().map(parse).collect()
    }
}

impl<const SPARES: bool> FunctionFrom<SPARES> {
    /// `files` are paths and texts below `/var/task`.
    pub(super) async fn new(runtime: &str, handler: &str, files: &[(&str, &str)]) -> Self {
        Self::with(runtime, handler, files, &[], None, false).await
    }

    pub(super) async fn with(
        runtime: &str,
        handler: &str,
        files: &[(&str, &str)],
        environment: &[(&str, &str)],
        interpreter: Option<std::path::PathBuf>,
        by_tcp: bool,
    ) -> Self {
        let rt = Rt::real();
        let folder = tempfile::tempdir().unwrap();
        let task = folder.path().join("task");
        for (path, text) in files {
            let path = task.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, text).unwrap();
            // Scripts may be executed, as a zip that was made on Unix has it.
            let mode = if text.starts_with("#!") { 0o755 } else { 0o644 };
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
        }
        let clients = Clients::install(&folder.path().join("clients")).unwrap();
        let overrides = interpreter.map(|path| (runtime.to_owned(), path)).into_iter().collect();
        let packs = Packs::new(PacksConfig { overrides, strict: false }, clients, rt.clone());
        packs.resolve(runtime).await.expect("an interpreter for this runtime");
        let processes = Arc::new(Processes {
            by_tcp,
            from_spares: SPARES,
            spares: Mutex::default(),
            launches: 0.into(),
        });
        let config = InvokeConfig { metrics: Metrics::new(), ..InvokeConfig::default() };
        let invoker =
            Invoker::start(config, rt, processes.clone(), Arc::new(packs), Arc::new(NoKeys));
        let pair = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let version = Version {
            account: "000000000000".into(),
            region: "eu-central-1".into(),
            function_name: "f".into(),
            function_arn: "arn:aws:lambda:eu-central-1:000000000000:function:f".into(),
            version: "$LATEST".into(),
            revision_id: String::new(),
            runtime: runtime.into(),
            handler: Some(handler.into()),
            role: String::new(),
            memory_mb: 256,
            timeout_s: 60,
            tmp_mb: 512,
            environment: environment.iter().map(pair).collect(),
            log_group: "/aws/lambda/f".into(),
            log_format: LogFormat::Text,
            active_tracing: false,
            isolates_tenants: false,
            snap_start: false,
            sealed_environment: None,
            bundle: String::new(),
            bundle_path: task,
            layers_path: None,
            file_system: None,
            vpc: None,
            generation: 1,
            state: VersionState::Active,
            holds: Vec::new(),
        };
        Self { invoker, processes, version: Arc::new(version), _folder: folder }
    }

    /// Where its package is.
    pub(super) fn package(&self) -> &std::path::Path {
        &self.version.bundle_path
    }

    /// The same function with a log as JSON; what the platform says of successes is left out.
    pub(super) fn with_json_log(self, application: Level) -> Self {
        let log_format = LogFormat::Json { application, system: Level::Warn };
        let version = Version { log_format, ..(*self.version).clone() };
        Self { version: Arc::new(version), ..self }
    }

    /// The same function as a published version with SnapStart.
    pub(super) fn with_snapstart(self) -> Self {
        let version = Version { version: "1".into(), snap_start: true, ..(*self.version).clone() };
        Self { version: Arc::new(version), ..self }
    }

    /// An invoke that is refused: its error's code.
    pub(super) async fn refused(&self, event: &str) -> String {
        let invocation = invocation(&self.version, event.as_bytes(), None);
        self.invoker.invoke(self.version.clone(), invocation).await.unwrap_err().code.to_string()
    }

    /// The same function with this in `/opt`.
    pub(super) fn with_layers(self, layers: &std::path::Path) -> Self {
        let version = Version { layers_path: Some(layers.to_owned()), ..(*self.version).clone() };
        Self { version: Arc::new(version), ..self }
    }

    pub(super) async fn call(&self, event: &str) -> Said {
        self.call_with(event.as_bytes(), None).await
    }

    pub(super) async fn call_with(&self, event: &[u8], client_context: Option<&str>) -> Said {
        let invocation = invocation(&self.version, event, client_context);
        let answer: Answer = self.invoker.invoke(self.version.clone(), invocation).await.unwrap();
        Said {
            value: serde_json::from_slice(&answer.payload).unwrap_or(Value::Null),
            raw: answer.payload,
            is_error: answer.function_error.is_some(),
            log: String::from_utf8_lossy(&answer.log_tail.unwrap()).into_owned(),
        }
    }

    /// As [`Function::call`], for a caller that takes the answer as a stream.
    pub(super) async fn stream(&self, event: &str) -> StreamedAnswer {
        let invocation = invocation(&self.version, event.as_bytes(), None);
        self.invoker.invoke_streamed(self.version.clone(), invocation).await.unwrap()
    }

    /// Waits until no process is left.
    pub(super) async fn until_gone(&self) {
        let gone = async {
            while self.invoker.figures().used().0 > 0 {
                tokio::task::yield_now().await;
            }
        };
        let limit = std::time::Duration::from_secs(10);
        assert!(Rt::real().within(limit, gone).await.is_some(), "the process goes on");
    }

    /// Processes started so far.
    pub(super) fn launches(&self) -> usize {
        self.processes.launches.load(Ordering::SeqCst)
    }
}

fn invocation(version: &Version, event: &[u8], client_context: Option<&str>) -> Invocation {
    Invocation {
        request_id: "8476a536-e9f4-11e8-9739-2dfe598c3fcd".into(),
        invoked_arn: format!("{}:live", version.function_arn),
        payload: Bytes::copy_from_slice(event),
        client_context: client_context.map(str::to_owned),
        trace_id: Some("Root=1-5759e988-bd862e3fe1be46a994272793;Sampled=1".into()),
        log_tail: true,
        tenant_id: None,
    }
}

/// What is left of a streamed answer, how it ended, and the log.
pub(super) async fn taken(mut answer: StreamedAnswer) -> (Vec<u8>, End, String) {
    let mut bytes = Vec::new();
    loop {
        match poll_fn(|context| answer.stream.poll_part(context)).await.unwrap().unwrap() {
            Part::Piece(piece) => bytes.extend_from_slice(&piece),
            Part::End(mut end) => {
                let log = end.log_tail.take().unwrap_or_default();
                return (bytes, end, String::from_utf8_lossy(&log).into_owned());
            }
        }
    }
}

/// Every interpreter of a family on this machine.
pub(super) async fn interpreters(family: Family) -> Vec<(String, std::path::PathBuf)> {
    let folder = tempfile::tempdir().unwrap();
    let clients = Clients::install(folder.path()).unwrap();
    let found = Packs::new(PacksConfig::default(), clients, Rt::real()).list().await;
    let of_family = found.into_iter().filter(|pack| pack.family == family);
    of_family.map(|pack| (pack.release.to_string(), pack.executable)).collect()
}
