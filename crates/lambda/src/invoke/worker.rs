//! One execution environment, from its making to its end.
//!
//! Made → the runtime starts (10 s) → its first `next`: it joins the pool. If the start fails or
//! takes too long, it is repeated once inside the invocation of a request that waits, within the
//! function's timeout; what goes wrong then is that invocation's error. After its start the worker
//! only accepts connections and waits for the process to end, for whatever reason: idle too long,
//! retired, evicted, timed out, crashed. Invocations pass by it, from the pool to the desk.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use lambic_rt::{Instant, Rt, TaskKind};
use tokio::sync::{Semaphore, oneshot};

use super::fault::{Exit, Fault, Status, bootstrap_refused};
use super::launcher::{Accept, Control, Ended, LaunchFault, Session};
use super::pool::EnvironmentId;
use super::record::{Attached, Phase as InitPhase, Recorder};
use super::shell::{Grant, Handle, Shell};
use super::target;
use crate::limits;
use crate::runtime_api::connection::{self, BoxIo, CONNECTIONS_MAX};
use crate::runtime_api::desk::{Completion, Desk, Outcome, Owner};
use crate::runtime_api::life::Life;
use crate::runtimes::plan;

/// Connections to the AWS endpoint that one environment may have open at a time.
const API_CONNECTIONS_MAX: usize = 128;
/// How long a killed environment may take to end before it is left to the sandbox.
const END_MAX: Duration = Duration::from_secs(10);
/// How long an answer that was written right before the process ended may take to arrive.
const LAST_WORDS_MAX: Duration = Duration::from_millis(200);

/// After a connection that could not be accepted.
const ACCEPT_AGAIN: Duration = Duration::from_millis(50);

/// How the start of a runtime ended.
enum InitEnd {
    Ready,
    Error { body: Bytes, error_type: String },
}

/// Tells the pool and the log what happens at the desk of one environment.
struct Keeper {
    shell: Arc<Shell>,
    id: EnvironmentId,
    recorder: Arc<Recorder>,
    init: Mutex<Option<oneshot::Sender<InitEnd>>>,
}

impl Keeper {
    fn end_init(&self, end: InitEnd) -> bool {
        let sender = self.init.lock().unwrap_or_else(PoisonError::into_inner).take();
        // Nobody listens when the start took too long; the environment is being killed then.
        sender.map(|sender| drop(sender.send(end))).is_some()
    }
}

impl Owner for Keeper {
    fn ready(&self) {
        if !self.end_init(InitEnd::Ready) {
            self.shell.ready(self.id);
        }
    }

    fn init_failed(&self, body: Bytes, error_type: String) {
        self.end_init(InitEnd::Error { body, error_type });
    }

    fn responded(&self, until: Instant) {
        self.shell.responded(self.id, until);
    }

    fn record(&self, outcome: &Outcome, wants_tail: bool) -> Option<Vec<u8>> {
        target::count(&self.shell, outcome);
        self.recorder.finish(outcome, wants_tail)
    }
}

/// A start that failed.
struct StartFailed {
    completion: Result<Completion, LaunchFault>,
    status: Status,
}

impl StartFailed {
    fn fault(fault: Fault) -> StartFailed {
        StartFailed { status: fault.status(), completion: Ok(Completion::Fault(fault)) }
    }

    fn ended(ended: Ended, program: &str) -> StartFailed {
        match ended {
            Ended::Exited(exit) => StartFailed::fault(Fault::Exited(exit)),
            Ended::NotExecuted(why) => StartFailed::fault(bootstrap_refused(program, &why)),
            Ended::NotMade(step) => StartFailed::sandbox(LaunchFault(step)),
        }
    }

    fn sandbox(fault: LaunchFault) -> StartFailed {
        let status = Status::Error("Sandbox.Failure".to_owned());
        StartFailed { completion: Err(fault), status }
    }
}

/// When a runtime is started, and how long it may take: ahead of the invocation with all the
/// processors there are, as on AWS, or again inside of it with the function's share of them.
#[derive(Clone, Copy)]
enum Phase {
    Init(Duration),
    Invoke(Duration),
}

/// An environment whose runtime is at work.
struct Running {
    runtime: Box<dyn Accept>,
    api: Box<dyn Accept>,
    exit: BoxFuture<'static, Ended>,
    control: Arc<dyn Control>,
    desk: Arc<Desk>,
    connections: Arc<Semaphore>,
    api_connections: Arc<Semaphore>,
    rt: Rt,
    /// Ends the reading of its output when it is over.
    _output: Attached,
}

/// Credentials that are valid as long as this lives.
struct OpenSession {
    shell: Arc<Shell>,
    session: Session,
}

impl Drop for OpenSession {
    fn drop(&mut self) {
        self.shell.common.sessions.close(&self.session.access_key_id);
    }
}

/// Makes the environment and keeps it until it ends.
pub(super) async fn live(shell: Arc<Shell>, id: EnvironmentId) {
    let leaving = Leaving { shell, id };
    if let Some(running) = begin(&leaving.shell, id).await {
        end(running).await;
    }
}

/// Tells the pool when the worker ends, however it does: nobody may wait for one that is gone.
struct Leaving {
    shell: Arc<Shell>,
    id: EnvironmentId,
}

impl Drop for Leaving {
    fn drop(&mut self) {
        if std::thread::panicking()
            && let Some(sender) = self.shell.claim(self.id)
        {
            // One request pays for it, so that a worker that always panics does not go on for ever.
            let error = lambic_wire::error::Error::internal("an execution environment was lost");
            let _ = sender.send(Grant::Refused(error));
        }
        self.shell.gone(self.id);
    }
}

/// Starts it, if need be a second time. `None`: it failed and whoever waited has been told.
async fn begin(shell: &Arc<Shell>, id: EnvironmentId) -> Option<(Running, OpenSession)> {
    let rt = &shell.common.rt;
    let recorder = Arc::new(Recorder::new(shell.version().clone(), rt.clone()));
    let session = open_session(shell);
    let since = rt.instant();
    let limit = shell.common.config.init_max;
    let failed = match start(shell, id, &recorder, &session.session, Phase::Init(limit)).await {
        Ok(running) => {
            let init = rt.instant().duration_since(since);
            recorder.init_ended(InitPhase::Init, init, &Status::Answered);
            shell.started(id, running.handle(&recorder), init);
            return Some((running, session));
        }
        Err(failed) => failed,
    };
    report(shell, &recorder, InitPhase::Init, since, &failed);
    // Nobody may wait any more: others became free meanwhile.
    let sender = shell.claim(id)?;
    let since = rt.instant();
    let timeout = Duration::from_secs(u64::from(shell.version().timeout_s));
    match start(shell, id, &recorder, &session.session, Phase::Invoke(timeout)).await {
        Ok(running) => {
            let init = rt.instant().duration_since(since);
            recorder.init_ended(InitPhase::Invoke, init, &Status::Answered);
            let init = Some(init);
            let handle = running.handle(&recorder);
            let grant = Grant::Use { handle: handle.clone(), init, since: Some(since) };
            shell.grant_claimed(id, handle, sender, grant);
            Some((running, session))
        }
        Err(mut failed) => {
            report(shell, &recorder, InitPhase::Invoke, since, &failed);
            if failed.status == Status::Timeout {
                failed = StartFailed::fault(Fault::TimedOut { timeout });
            }
            // If the caller's task is gone with the server, nobody needs to be told.
            let _ = sender.send(refusal(failed, recorder, since));
            None
        }
    }
}

fn refusal(failed: StartFailed, recorder: Arc<Recorder>, since: Instant) -> Grant {
    match failed.completion {
        Ok(completion) => Grant::Failed { recorder, completion, status: failed.status, since },
        Err(fault) => Grant::Refused(lambic_wire::error::Error::internal(format!(
            "no execution environment could be made: {fault}"
        ))),
    }
}

fn report(
    shell: &Shell,
    recorder: &Recorder,
    phase: InitPhase,
    since: Instant,
    failed: &StartFailed,
) {
    if let Err(fault) = &failed.completion {
        tracing::error!(
            function = %shell.version().function_arn,
            error = %fault,
            "an execution environment could not be made"
        );
    }
    let duration = shell.common.rt.instant().duration_since(since);
    recorder.init_ended(phase, duration, &failed.status);
}

fn open_session(shell: &Arc<Shell>) -> OpenSession {
    let session = plan::fresh_session(&shell.common.rt);
    shell.common.sessions.open(&session, shell.version());
    OpenSession { shell: shell.clone(), session }
}

/// Makes an environment and waits until its runtime asks for work, as long as the phase allows.
async fn start(
    shell: &Arc<Shell>,
    id: EnvironmentId,
    recorder: &Arc<Recorder>,
    session: &Session,
    phase: Phase,
) -> Result<Running, StartFailed> {
    let common = &shell.common;
    let version = shell.version();
    let share = limits::cpu_millis(version.memory_mb);
    let log_stream = recorder.log_stream();
    let made = plan::make(common, version, session, log_stream, id).await;
    let made = made.map_err(StartFailed::fault)?;
    let recorded = match phase {
        Phase::Init(_) => InitPhase::Init,
        Phase::Invoke(_) => InitPhase::Invoke,
    };
    recorder.init_start(recorded, &made.runtime);
    let (sender, mut init) = oneshot::channel();
    let keeper = Keeper {
        shell: shell.clone(),
        id,
        recorder: recorder.clone(),
        init: Mutex::new(Some(sender)),
    };
    let desk = Arc::new(Desk::new(Box::new(keeper), common.rt.clone()));
    let program = made.plan.argv.first().cloned().unwrap_or_default();
    let launched = common.launcher.launch(made.plan).await.map_err(StartFailed::sandbox)?;
    let (attached, reading) =
        recorder.attach(launched.output, launched.log_frames, launched.control.clone());
    common.rt.spawn("function output", TaskKind::Request, reading).detach();
    let mut running = Running {
        runtime: launched.runtime,
        api: launched.api,
        exit: launched.exit,
        control: launched.control,
        desk,
        connections: Arc::new(Semaphore::new(CONNECTIONS_MAX)),
        api_connections: Arc::new(Semaphore::new(API_CONNECTIONS_MAX)),
        rt: common.rt.clone(),
        _output: attached,
    };
    if let Some(io) = launched.inherited {
        running.serve_runtime(io);
    }
    let limit = match phase {
        Phase::Init(limit) => limit,
        Phase::Invoke(limit) => {
            running.control.limit_cpu(share);
            limit
        }
    };
    let ended = common.rt.within(limit, running.until(shell, &mut init)).await;
    let failed = match ended {
        Some(Ok(Ok(InitEnd::Ready))) => {
            running.control.limit_cpu(share);
            return Ok(running);
        }
        Some(Ok(Ok(InitEnd::Error { body, error_type }))) => StartFailed {
            completion: Ok(Completion::Error(body)),
            status: Status::Error(error_type),
        },
        Some(Ok(Err(_))) => StartFailed::fault(Fault::Exited(Exit::default())),
        Some(Err(ended)) => {
            running.desk.close(Exit::default());
            return Err(StartFailed::ended(ended, &program));
        }
        None => StartFailed::fault(Fault::TimedOut { timeout: limit }),
    };
    stop(running, shell).await;
    Err(failed)
}

/// Waits for the next connection. What fails (no descriptors, a connection that was reset at once)
/// passes, so it is tried again after a moment.
async fn accept(listener: &mut Box<dyn Accept>, rt: &Rt, what: &'static str) -> BoxIo {
    loop {
        match listener.accept().await {
            Ok(io) => return io,
            Err(error) => {
                tracing::warn!(%error, what, "an environment's connection was not accepted");
                rt.sleep(ACCEPT_AGAIN).await;
            }
        }
    }
}

impl Running {
    fn handle(&self, recorder: &Arc<Recorder>) -> Handle {
        Handle {
            desk: self.desk.clone(),
            recorder: recorder.clone(),
            control: self.control.clone(),
        }
    }

    /// Accepts connections until `what` is there, or the process has ended.
    async fn until<T>(
        &mut self,
        shell: &Shell,
        mut what: impl Future<Output = T> + Unpin,
    ) -> Result<T, Ended> {
        loop {
            tokio::select! {
                biased;
                value = &mut what => return Ok(value),
                exit = &mut self.exit => return Err(exit),
                io = accept(&mut self.runtime, &self.rt, "Runtime API") => self.serve_runtime(io),
                io = accept(&mut self.api, &self.rt, "AWS endpoint") => self.serve_api(shell, io),
            }
        }
    }

    fn serve_runtime(&self, io: BoxIo) {
        // Dropping the connection closes it: the environment has too many.
        let Ok(permit) = self.connections.clone().try_acquire_owned() else { return };
        let desk = self.desk.clone();
        let served = async move {
            connection::serve(io, desk).await;
            drop(permit);
        };
        self.rt.spawn("runtime connection", TaskKind::Request, served).detach();
    }

    fn serve_api(&self, shell: &Shell, io: BoxIo) {
        let Some(front) = shell.common.api_front.get() else { return };
        let Ok(permit) = self.api_connections.clone().try_acquire_owned() else { return };
        let served = front.serve(io, shell.version());
        let served = async move {
            served.await;
            drop(permit);
        };
        self.rt.spawn("environment's AWS connection", TaskKind::Request, served).detach();
    }

    /// Ends what the process left open.
    async fn close(&mut self, exit: Exit) {
        self.desk.exited(exit);
        if self.desk.life() == Life::Answering {
            let all = u32::try_from(CONNECTIONS_MAX).unwrap_or(u32::MAX);
            let quiet = self.connections.acquire_many(all);
            let _ = self.rt.within(LAST_WORDS_MAX, quiet).await;
        }
        self.desk.close(exit);
    }
}

/// Keeps a running environment until its process ends.
async fn end((mut running, session): (Running, OpenSession)) {
    let exit = match running.until(&session.shell, std::future::pending::<()>()).await {
        Err(Ended::Exited(exit)) => exit,
        _ => Exit::default(),
    };
    running.close(exit).await;
}

/// Ends an environment that did not start.
async fn stop(mut running: Running, shell: &Shell) {
    running.control.kill();
    let never = std::future::pending::<()>();
    let ended = running.rt.clone().within(END_MAX, running.until(shell, never)).await;
    if ended.is_none() {
        tracing::warn!("a killed environment has not ended in time");
    }
    running.desk.close(Exit::default());
}
