//! One execution environment, from its making to its end.
//!
//! Made → the runtime starts (10 s) → its first `next`: it joins the pool. If the start fails or
//! takes too long, it is repeated once inside the invocation of a request that waits, within the
//! function's timeout; what goes wrong then is that invocation's error. After its start the worker
//! only accepts connections and waits for the process to end, for whatever reason: idle too long,
//! retired, evicted, timed out, crashed. Invocations pass by it, from the pool to the desk.
//!
//! With extensions the runtime begins when those of `/opt/extensions` have registered, the start is
//! over when all have asked for an event, the first failure of any ends the environment, and the end
//! is a sequence of its own (`shutdown`).

use std::fmt;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use lambic_model_lambda::errors;
use lambic_rt::Instant;
use lambic_wire::error::Error;
use tokio::sync::oneshot;

use super::cold_start::ColdStart;
use super::fault::{Exit, Fault, Status, bootstrap_refused};
use super::keeper::{InitEnd, Keeper};
use super::launcher::{
    Control, Ended, Environment, Extensions, Happening, LaunchFault, Plan, Session,
};
use super::platform_events::InitType;
use super::pool::EnvironmentId;
use super::record::{Phase as InitPhase, Recorder};
use super::restoring::{self, Restored};
use super::running::Running;
use super::shell::{Grant, Shell};
use super::shutdown;
use super::templates::Standing;
use crate::limits;
use crate::ops::secrets;
use crate::runtime_api::desk::{Completion, Desk};
use crate::runtime_api::extensions::crew::Info;
use crate::runtime_api::extensions::{About, ShutdownReason};
use crate::runtime_api::restore::SnapStart;
use crate::runtimes::plan::{self, Access, Made};
use crate::state::version::Version;

/// Of everybody who is ready, until the first event is on its way: the request's, the connection's.
const TURNS_TO_SEND: usize = 2;
/// How long a killed environment may take to end before it is left to the sandbox.
const END_MAX: Duration = Duration::from_secs(10);

/// Why there is no environment.
#[derive(Debug)]
pub(super) enum Unmade {
    /// The sandbox could not make it.
    Sandbox(LaunchFault),
    /// What the function needs is not to be had; this is the caller's answer.
    Refused(Error),
}

impl fmt::Display for Unmade {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unmade::Sandbox(fault) => fault.fmt(out),
            Unmade::Refused(error) => write!(out, "{}: {}", error.code, error.message),
        }
    }
}

/// A start that failed.
pub(super) struct StartFailed {
    pub(super) completion: Result<Completion, Unmade>,
    pub(super) status: Status,
    /// What had become of them.
    extensions: Vec<Info>,
    /// What is left of the environment; it is told of the failure before it ends.
    pub(super) left: Option<Box<Running>>,
    /// It is not tried again for the same request.
    is_final: bool,
}

impl StartFailed {
    fn fault(fault: Fault) -> StartFailed {
        let status = fault.status();
        let completion = Ok(Completion::Fault(fault));
        StartFailed { completion, status, extensions: Vec::new(), left: None, is_final: false }
    }

    /// Its hooks failed, which is what its caller is told.
    pub(super) fn of_hooks(status: Status, error: Error, left: Running) -> StartFailed {
        let (completion, left) = (Err(Unmade::Refused(error)), Some(Box::new(left)));
        StartFailed { completion, status, extensions: Vec::new(), left, is_final: true }
    }

    fn ended(ended: Ended, program: &str) -> StartFailed {
        match ended {
            Ended::Exited(exit) => StartFailed::fault(Fault::Exited(exit)),
            Ended::NotExecuted(why) => StartFailed::fault(bootstrap_refused(program, &why)),
            Ended::NotMade(step) => {
                StartFailed::unmade(Unmade::Sandbox(LaunchFault::Sandbox(step)))
            }
        }
    }

    pub(super) fn sandbox(fault: LaunchFault, version: &Version) -> StartFailed {
        match (&fault, &version.file_system) {
            (LaunchFault::FileSystem(reason), Some(used)) => {
                tracing::error!(reason, access_point = used.arn, "a file system was not mounted");
                // The reason names folders of the host, which are not the caller's business.
                StartFailed::refused(errors::efs_mount_failure(format!(
                    "The function couldn't mount the file system of access point {}.",
                    used.arn
                )))
            }
            _ => StartFailed::unmade(Unmade::Sandbox(fault)),
        }
    }

    /// It is not to be made, for a reason that the caller is told.
    pub(super) fn refused(error: Error) -> StartFailed {
        StartFailed::unmade(Unmade::Refused(error))
    }

    fn unmade(unmade: Unmade) -> StartFailed {
        let status = Status::Error("Sandbox.Failure".to_owned());
        let completion = Err(unmade);
        StartFailed { completion, status, extensions: Vec::new(), left: None, is_final: false }
    }
}

/// When a runtime is started, and how long it may take: ahead of the invocation with all the
/// processors there are, as on AWS, or again inside of it with the function's share of them.
#[derive(Clone, Copy)]
enum Phase {
    Init(Duration),
    Invoke(Duration),
}

/// Credentials that are valid as long as this lives.
pub(super) struct OpenSession {
    shell: Arc<Shell>,
    pub(super) session: Session,
    /// The template that it was forked from: it lives in it, and may use its credentials.
    _template: Option<Arc<Standing>>,
}

/// What an environment is started for, and what it is given.
pub(super) struct Order<'a> {
    pub(super) shell: &'a Arc<Shell>,
    pub(super) id: EnvironmentId,
    pub(super) recorder: &'a Arc<Recorder>,
    pub(super) session: &'a Session,
    pub(super) access: &'a Access,
}

impl Order<'_> {
    /// What it is made of.
    pub(super) async fn plan(&self, version: &Version) -> Result<Made, StartFailed> {
        let common = &self.shell.common;
        let place = common.config.vpcs.place(&common.config.networks, version);
        let place = place.map_err(StartFailed::refused)?;
        let start = (self.recorder.log_stream(), self.recorder.init_type());
        let made = plan::make(common, version, self.access, start, self.id, place).await;
        made.map_err(StartFailed::fault)
    }

    /// Its desk.
    pub(super) fn desk(
        &self,
        keeper: Keeper,
        version: &Version,
        extensions: Vec<String>,
        is_template: bool,
    ) -> Desk {
        let rt = self.shell.common.rt.clone();
        let desk = Desk::new(Box::new(keeper), rt, about(version), extensions);
        match self.access {
            Access::Keys(_) => desk,
            Access::Token(token) => {
                let (token, session) = (token.clone(), self.session.clone());
                desk.with_snapstart(SnapStart { is_template, token, session })
            }
        }
    }
}

impl Drop for OpenSession {
    fn drop(&mut self) {
        self.shell.common.sessions.close(&self.session.access_key_id);
    }
}

/// Makes the environment and keeps it until it ends.
pub(super) async fn live(shell: Arc<Shell>, id: EnvironmentId, init_type: InitType) {
    let leaving = Leaving { shell, id };
    if let Some(running) = begin(&leaving.shell, id, init_type).await {
        end(id, running).await;
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
            let error = Error::internal("an execution environment was lost");
            let _ = sender.send(Grant::Refused(error));
        }
        self.shell.gone(self.id);
    }
}

fn recorder(shell: &Shell, init_type: InitType) -> Arc<Recorder> {
    let recorder = Recorder::new(shell.version().clone(), shell.common.rt.clone());
    Arc::new(recorder.of_type(init_type).of_tenant(shell.tenant().cloned()))
}

/// Starts it, if need be a second time. `None`: it failed and whoever waited has been told.
async fn begin(
    shell: &Arc<Shell>,
    id: EnvironmentId,
    init_type: InitType,
) -> Option<(Running, OpenSession)> {
    let rt = &shell.common.rt;
    shell.common.spares.is_started(&shell.version().function_arn);
    let is_snapstart = shell.version().snap_start;
    let init_type = if is_snapstart { InitType::SnapStart } else { init_type };
    let recorder = recorder(shell, init_type);
    let template = is_snapstart.then(|| restoring::template(shell)).flatten();
    let session = open_session(shell, template.clone());
    let access = match &template {
        Some(template) => Access::Token(template.token.clone()),
        None if is_snapstart => Access::Token(plan::fresh_token(rt)),
        None => Access::Keys(session.session.clone()),
    };
    let order =
        Order { shell, id, recorder: &recorder, session: &session.session, access: &access };
    if let Some(template) = &template {
        match Box::pin(restoring::restore(&order, template)).await {
            Restored::Running(running, cold) => {
                shell.started(id, running.handle(&recorder), cold);
                return Some((*running, session));
            }
            Restored::Failed(failed) => {
                give_up(shell, id, &recorder, rt.instant(), *failed).await;
                return None;
            }
            Restored::Ordinary => {}
        }
    }
    let since = rt.instant();
    let mut failed = match start(&order, Phase::Init(restoring::init_max(shell))).await {
        Ok(running) => {
            let init = rt.instant().duration_since(since);
            let extensions = running.desk.extensions();
            recorder.init_ended(InitPhase::Init, init, &Status::Answered, extensions);
            shell.started(id, running.handle(&recorder), ColdStart::Init(init));
            limit_soon(shell, &running.control).await;
            return Some((running, session));
        }
        Err(failed) => failed,
    };
    fail(shell, &recorder, InitPhase::Init, since, &mut failed).await;
    if failed.is_final {
        give_up(shell, id, &recorder, since, failed).await;
        return None;
    }
    // Nobody may wait any more: others became free meanwhile.
    let Some(sender) = shell.claim(id) else {
        shell.provisioning_failed();
        return None;
    };
    let since = rt.instant();
    let timeout = Duration::from_secs(u64::from(shell.version().timeout_s));
    match start(&order, Phase::Invoke(timeout)).await {
        Ok(running) => {
            let init = rt.instant().duration_since(since);
            let extensions = running.desk.extensions();
            recorder.init_ended(InitPhase::Invoke, init, &Status::Answered, extensions);
            let init = Some(ColdStart::Init(init));
            let handle = running.handle(&recorder);
            let grant = Grant::Use { handle: handle.clone(), init, since: Some(since) };
            shell.grant_claimed(id, handle, sender, grant);
            Some((running, session))
        }
        Err(mut failed) => {
            fail(shell, &recorder, InitPhase::Invoke, since, &mut failed).await;
            if failed.status == Status::Timeout && !failed.is_final {
                failed = StartFailed::fault(Fault::TimedOut { timeout });
            }
            // If the caller's task is gone with the server, nobody needs to be told.
            let _ = sender.send(refusal(failed, recorder, since));
            None
        }
    }
}

/// The start is over: from now on the environment has its share of the processors. Whoever waits for it has
/// it first, and sends the event, because setting the share takes as long as that.
async fn limit_soon(shell: &Shell, control: &Arc<dyn Control>) {
    for _ in 0..TURNS_TO_SEND {
        lambic_rt::turn().await;
    }
    control.limit_cpu(limits::cpu_millis(shell.version().memory_mb));
}

/// Tells whoever waits of a failure that is not to be repeated.
async fn give_up(
    shell: &Arc<Shell>,
    id: EnvironmentId,
    recorder: &Arc<Recorder>,
    since: Instant,
    mut failed: StartFailed,
) {
    if let Some(running) = failed.left.take() {
        stop(*running, shell, &failed.status).await;
    }
    // If nobody waits any more, nobody needs to be told.
    if let Some(sender) = shell.claim(id) {
        let _ = sender.send(refusal(failed, recorder.clone(), since));
    }
}

fn refusal(failed: StartFailed, recorder: Arc<Recorder>, since: Instant) -> Grant {
    match failed.completion {
        Ok(completion) => Grant::Failed { recorder, completion, status: failed.status, since },
        Err(Unmade::Refused(error)) => Grant::Refused(error),
        Err(Unmade::Sandbox(fault)) => Grant::Refused(Error::internal(format!(
            "no execution environment could be made: {fault}"
        ))),
    }
}

/// Tells of a start that failed, and ends what is left of it.
async fn fail(
    shell: &Arc<Shell>,
    recorder: &Recorder,
    phase: InitPhase,
    since: Instant,
    failed: &mut StartFailed,
) {
    if let Err(fault) = &failed.completion {
        tracing::error!(
            function = %shell.version().function_arn,
            error = %fault,
            "an execution environment could not be made"
        );
    }
    let duration = shell.common.rt.instant().duration_since(since);
    recorder.init_ended(phase, duration, &failed.status, failed.extensions.clone());
    if let Some(running) = failed.left.take() {
        stop(*running, shell, &failed.status).await;
    }
}

/// `template` is what it is forked from.
pub(super) fn open_session(shell: &Arc<Shell>, template: Option<Arc<Standing>>) -> OpenSession {
    let session = plan::fresh_session(&shell.common.rt);
    shell.common.sessions.open(&session, shell.version());
    OpenSession { shell: shell.clone(), session, _template: template }
}

/// The version with variables that can be read.
pub(super) async fn readable(shell: &Arc<Shell>) -> Result<Arc<Version>, Error> {
    let version = shell.version().clone();
    if version.sealed_environment.is_none() {
        return Ok(version);
    }
    let keys = shell.common.config.keys.clone();
    let open = move || {
        let environment = secrets::opened(&keys, &version)?;
        Ok(Arc::new(Version { environment, ..(*version).clone() }))
    };
    shell.common.rt.blocking("decrypt variables", open).await
}

/// Makes an environment and waits until its runtime asks for work, as long as the phase allows.
async fn start(order: &Order<'_>, phase: Phase) -> Result<Running, StartFailed> {
    let (shell, recorder) = (order.shell, order.recorder);
    let common = &shell.common;
    let version = &readable(shell).await.map_err(StartFailed::refused)?;
    let share = limits::cpu_millis(version.memory_mb);
    let mut made = order.plan(version).await?;
    let recorded = match phase {
        Phase::Init(_) => InitPhase::Init,
        Phase::Invoke(_) => InitPhase::Invoke,
    };
    let (keeper, mut signals) = Keeper::new(shell, order.id, recorder);
    let extensions = made.plan.extensions.as_ref().map(Extensions::names).unwrap_or_default();
    let desk = Arc::new(order.desk(keeper, version, extensions.clone(), false));
    let program = made.plan.argv.first().cloned().unwrap_or_default();
    // Spares are for those who wait, and a second start is as plain as can be.
    if let (Phase::Init(_), InitType::OnDemand | InitType::SnapStart) =
        (phase, recorder.init_type())
    {
        let best = made.sdk_spare.as_ref().or(made.spare.as_ref());
        made.plan.spare = best.and_then(|prepared| shell.kind_of_spare(prepared));
        let second = made.spare.as_ref().filter(|_| made.sdk_spare.is_some());
        made.plan.second_spare = second.and_then(|plain| common.spare_kind(plain, false));
    }
    let is_asked_for = recorder.init_type() != InitType::ProvisionedConcurrency;
    if is_asked_for && made.plan.spare.is_none() {
        common.is_plain_start();
    }
    let mut launching = pin!(launch(shell, &desk, made.plan));
    let begun = poll_fn(|context| Poll::Ready(launching.as_mut().poll(context))).await;
    // Told while it is being made.
    recorder.init_start(recorded, &made.runtime);
    let launched = match begun {
        Poll::Ready(launched) => launched,
        Poll::Pending => launching.await,
    };
    let launched = launched.map_err(|fault| StartFailed::sandbox(fault, version))?;
    let mut running = Running::begin(launched, desk.clone(), extensions, recorder, &common.rt);
    let limit = match phase {
        Phase::Init(limit) => limit,
        Phase::Invoke(limit) => {
            running.control.limit_cpu(share);
            limit
        }
    };
    let started = async {
        if !running.extensions.is_empty() {
            match running.until(shell, &mut signals.registered).await {
                Ok(_) => running.control.go(),
                Err(happening) => return Err(happening),
            }
        }
        running.until(shell, &mut signals.init).await
    };
    let ended = common.rt.within(limit, started).await;
    match ended {
        Some(Ok(Ok(InitEnd::Ready))) => {}
        // Its version has SnapStart and no template: its hooks run all the same.
        Some(Ok(Ok(InitEnd::Restoring(_)))) => {
            let limit = common.config.restore_max;
            let hooks = restoring::hooks(shell, &mut running, &mut signals, limit);
            if let Err((status, error)) = hooks.await {
                return Err(StartFailed::of_hooks(status, error, running));
            }
        }
        ended => {
            let mut failed = start_failed(&running, ended, &program, limit);
            failed.extensions = running.desk.extensions();
            failed.left = Some(Box::new(running));
            return Err(failed);
        }
    }
    Ok(running)
}

/// Makes the environment, from a spare if one is at hand, whose runtime then learns what it is.
async fn launch(shell: &Shell, desk: &Desk, plan: Plan) -> Result<Environment, LaunchFault> {
    let common = &shell.common;
    let may_be_spare = plan.spare.is_some();
    let mut launched = common.launcher.launch(plan).await?;
    if let Some(document) = launched.becomes.take() {
        desk.offer(document);
        common.figures.spares_used.increment();
    } else if may_be_spare {
        common.figures.spares_missed.increment();
    }
    Ok(launched)
}

/// What a start that did not end well comes to; `None` is one that took longer than `limit`.
pub(super) fn start_failed(
    running: &Running,
    ended: Option<Result<Result<InitEnd, oneshot::error::RecvError>, Happening>>,
    program: &str,
    limit: Duration,
) -> StartFailed {
    match ended {
        Some(Ok(Ok(InitEnd::Error { body, error_type }))) => StartFailed {
            completion: Ok(Completion::Error(body)),
            status: Status::Error(error_type),
            extensions: Vec::new(),
            left: None,
            is_final: false,
        },
        Some(Ok(Ok(_) | Err(_))) => StartFailed::fault(Fault::Exited(Exit::default())),
        Some(Err(Happening::Ended(ended) | Happening::ProgramEnded(0, ended))) => {
            StartFailed::ended(ended, program)
        }
        Some(Err(Happening::ProgramEnded(program, ended))) => {
            StartFailed::fault(running.extension_failed(program, ended))
        }
        None => StartFailed::fault(Fault::TimedOut { timeout: limit }),
    }
}

fn about(version: &Version) -> About {
    About {
        function_name: version.function_name.clone(),
        function_version: version.version.clone(),
        handler: version.handler.clone().unwrap_or_default(),
        account_id: Some(version.account.clone()),
    }
}

/// Keeps a running environment until it ends, or is told to.
async fn end(id: EnvironmentId, (mut running, session): (Running, OpenSession)) {
    let shell = session.shell.clone();
    let reason = match running.until_told(&shell).await {
        Ok(reason) => {
            if reason == ShutdownReason::Timeout {
                running.desk.overrun();
            }
            reason
        }
        Err(Happening::Ended(ended)) => {
            running.close(exit(ended)).await;
            return;
        }
        Err(Happening::ProgramEnded(0, ended)) => {
            shell.leaves(id);
            running.settle_answer(exit(ended)).await;
            ShutdownReason::Failure
        }
        Err(Happening::ProgramEnded(program, ended)) => {
            shell.leaves(id);
            let fault = running.extension_failed(program, ended);
            running.desk.fail(fault);
            ShutdownReason::Failure
        }
    };
    shutdown::run(&mut running, &shell, reason).await;
    running.close(Exit::default()).await;
}

fn exit(ended: Ended) -> Exit {
    match ended {
        Ended::Exited(exit) => exit,
        Ended::NotExecuted(_) | Ended::NotMade(_) => Exit::default(),
    }
}

/// Ends an environment that did not start.
pub(super) async fn stop(mut running: Running, shell: &Arc<Shell>, status: &Status) {
    let reason = match status {
        Status::Timeout => ShutdownReason::Timeout,
        Status::Answered | Status::Error(_) => ShutdownReason::Failure,
    };
    if running.desk.has_extensions() && !running.is_over() {
        shutdown::run(&mut running, shell, reason).await;
    }
    running.control.kill();
    if !running.is_over() {
        let never = std::future::pending::<()>();
        let ended = running.rt.clone().within(END_MAX, running.until(shell, never)).await;
        if ended.is_none() {
            tracing::warn!("a killed environment has not ended in time");
        }
    }
    running.desk.close(Exit::default());
}
