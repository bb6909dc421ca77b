//! One template: an environment that is initialized when its version is published, runs the hooks that
//! come before a snapshot, and stands still from then on. It never gets an invocation.

use std::sync::Arc;
use std::time::Duration;

use lambic_rt::TaskKind;
use tokio::sync::oneshot;

use super::fault::{Exit, Fault, Status};
use super::keeper::{InitEnd, Keeper};
use super::launcher::{Happening, TemplateRole};
use super::platform_events::{InitType, Phase, whole_ms};
use super::record::Recorder;
use super::restoring::init_max;
use super::room::Room;
use super::running::Running;
use super::shell::Shell;
use super::templates::{MadeOf, SnapshotFault, Standing};
use super::worker::{Order, StartFailed, Unmade, open_session, readable, start_failed, stop};
use super::{Common, Invoker};
use crate::runtime_api::desk::Completion;
use crate::runtimes::plan::{self, Access};
use crate::state::version::Version;

/// Tells our client that it becomes one.
const TEMPLATE_NAME: &str = "_LAMBIC_TEMPLATE";
/// A program that would be started instead of the runtime.
const WRAPPER: &str = "AWS_LAMBDA_EXEC_WRAPPER";
/// How often it is asked, while one is being made, whether it is still wanted.
const LOOK_EVERY: Duration = Duration::from_secs(1);

impl Invoker {
    /// Whether there can be snapshots of initialized functions.
    pub fn has_snapshots(&self) -> bool {
        self.common.templates.are_possible()
    }

    /// Initializes this version and takes its snapshot, for the first time. Idle environments of others
    /// give way.
    ///
    /// # Errors
    /// See [`SnapshotFault`].
    pub async fn take_snapshot(&self, version: &Arc<Version>) -> Result<(), SnapshotFault> {
        let common = &self.common;
        if !common.templates.are_possible() {
            // Its environments are initialized one by one, as those of any other version.
            return Ok(());
        }
        let making = Making::begin(common, version);
        let Some(room) = Room::make(common, version.memory_mb) else {
            let reason = "there is no room for it (functions.memory_mb_max)";
            return Err(SnapshotFault::Platform(reason.to_owned()));
        };
        make(making, room).await
    }

    /// The snapshots of these versions, and of no others, are to be there from now on.
    pub fn keep_snapshots(&self, wanted: Vec<super::templates::Wanted>) {
        self.common.templates.want(wanted, self.common.rt.instant());
    }
}

/// Takes the snapshots again that have been lost, as far as there is room that nobody needs.
pub(super) fn make_missing(common: &Arc<Common>) {
    for version in common.templates.due(common.rt.instant()) {
        let making = Making { common: common.clone(), version, is_made: false };
        let Some(room) = Room::free(common, making.version.memory_mb) else { continue };
        let work = async move {
            let version = making.version.clone();
            if let Err(fault) = make(making, room).await {
                tracing::warn!(
                    function = %version.function_arn,
                    version = %version.version,
                    ?fault,
                    "a snapshot that was lost could not be taken again"
                );
            }
        };
        common.rt.spawn("snapshot", TaskKind::Request, work).detach();
    }
    let standing = common.templates.standing();
    common.figures.snapshots.set(i64::try_from(standing).unwrap_or(i64::MAX));
}

/// One is being made; what becomes of it is known in the end, also when whoever makes it is gone.
struct Making {
    common: Arc<Common>,
    version: Arc<Version>,
    is_made: bool,
}

impl Making {
    fn begin(common: &Arc<Common>, version: &Arc<Version>) -> Making {
        common.templates.begins(version, common.rt.instant());
        Making { common: common.clone(), version: version.clone(), is_made: false }
    }
}

impl Drop for Making {
    fn drop(&mut self) {
        if !self.is_made {
            self.common.templates.not_made(self.version.generation, self.common.rt.instant());
        }
    }
}

/// Makes one, which is kept by a task of its own from then on.
async fn make(mut making: Making, room: Room) -> Result<(), SnapshotFault> {
    let (common, version) = (making.common.clone(), making.version.clone());
    let rt = &common.rt;
    let shell = Shell::new(common.clone(), version.clone(), None);
    let recorder = Recorder::new(version.clone(), rt.clone()).of_type(InitType::SnapStart);
    let recorder = Arc::new(recorder);
    let session = open_session(&shell, None);
    let token = plan::fresh_token(rt);
    let access = Access::Token(token.clone());
    let number = common.id();
    let since = rt.instant();
    let order = Order {
        shell: &shell,
        id: number,
        recorder: &recorder,
        session: &session.session,
        access: &access,
    };
    let initialized = Box::pin(initialize(&order)).await;
    let took = rt.instant().saturating_duration_since(since);
    let (running, made_of) = match initialized {
        Ok(initialized) => initialized,
        Err(NotInitialized::Refused(fault)) => return Err(fault),
        Err(NotInitialized::Failed(mut failed)) => {
            recorder.init_ended(Phase::SnapStart, took, &failed.status, Vec::new());
            if let Some(running) = failed.left.take() {
                stop(*running, &shell, &failed.status).await;
            }
            return Err(fault(&failed));
        }
    };
    recorder.init_ended(Phase::SnapStart, took, &Status::Answered, Vec::new());
    running.control.set_frozen(true);
    common.figures.snapshots_taken.increment();
    // As on AWS, where the initialization of a snapshot is billed and no invocation's.
    common.figures.billed_ms.add(whole_ms(took));
    let standing = Arc::new(Standing {
        number,
        token,
        _session: session,
        made_of,
        handle: running.handle(&recorder),
        _room: room,
        since: rt.instant(),
        saves: took,
    });
    making.is_made = true;
    common.templates.made(version.generation, standing, rt.instant());
    rt.clone().spawn("snapshot", TaskKind::Request, keep(running, shell, number)).detach();
    Ok(())
}

enum NotInitialized {
    Failed(Box<StartFailed>),
    Refused(SnapshotFault),
}

impl From<StartFailed> for NotInitialized {
    fn from(failed: StartFailed) -> NotInitialized {
        NotInitialized::Failed(Box::new(failed))
    }
}

/// Starts it in the ordinary way and waits until it is initialized.
async fn initialize(order: &Order<'_>) -> Result<(Running, MadeOf), NotInitialized> {
    let (shell, recorder) = (order.shell, order.recorder);
    let version = readable(shell).await.map_err(StartFailed::refused)?;
    let mut made = order.plan(&version).await?;
    let refused = |what: &str| {
        let reason = format!("SnapStart is not offered by this server for functions with {what}.");
        Err(NotInitialized::Refused(SnapshotFault::Function(reason)))
    };
    // What runs beside the runtime, or starts it, cannot be forked with it.
    if made.plan.extensions.is_some() {
        return refused("extensions");
    }
    if made.plan.env.iter().any(|(name, value)| name == WRAPPER && !value.is_empty()) {
        return refused(WRAPPER);
    }
    let made_of = MadeOf::new(&made);
    made.plan.env.push((TEMPLATE_NAME.to_owned(), "1".to_owned()));
    made.plan.template = Some(TemplateRole::Becomes(order.id));
    recorder.init_start(Phase::SnapStart, &made.runtime);
    let (keeper, mut signals) = Keeper::new(shell, order.id, recorder);
    let desk = order.desk(keeper, &version, Vec::new(), true);
    let program = made.plan.argv.first().cloned().unwrap_or_default();
    let common = &shell.common;
    let launched = common.launcher.launch(made.plan).await;
    let launched = launched.map_err(|fault| StartFailed::sandbox(fault, &version))?;
    let mut running = Running::begin(launched, Arc::new(desk), Vec::new(), recorder, &common.rt);
    let limit = init_max(shell);
    let ended = common.rt.within(limit, wanted(shell, &mut running, &mut signals.init)).await;
    let ended = match ended {
        Some(None) => {
            stop(running, shell, &Status::Timeout).await;
            let reason = "nobody wants it any more".to_owned();
            return Err(NotInitialized::Refused(SnapshotFault::Platform(reason)));
        }
        ended => ended.flatten(),
    };
    if let Some(Ok(Ok(InitEnd::Template))) = ended {
        return Ok((running, made_of));
    }
    let mut failed = start_failed(&running, ended, &program, limit);
    failed.left = Some(Box::new(running));
    Err(failed.into())
}

/// Waits until it is initialized, or ends. `None`: its version was deleted meanwhile.
async fn wanted(
    shell: &Shell,
    running: &mut Running,
    init: &mut oneshot::Receiver<InitEnd>,
) -> Option<Result<Result<InitEnd, oneshot::error::RecvError>, Happening>> {
    let common = &shell.common;
    loop {
        if let Some(ended) = common.rt.within(LOOK_EVERY, running.until(shell, &mut *init)).await {
            return Some(ended);
        }
        if !common.templates.is_making(shell.version().generation) {
            return None;
        }
    }
}

/// Whose fault it is.
fn fault(failed: &StartFailed) -> SnapshotFault {
    match &failed.completion {
        Ok(Completion::Fault(Fault::RuntimeMissing { reason })) => {
            SnapshotFault::Function(reason.clone())
        }
        Ok(_) => SnapshotFault::of_function(),
        Err(Unmade::Sandbox(fault)) => SnapshotFault::Platform(fault.to_string()),
        Err(Unmade::Refused(error)) => {
            SnapshotFault::Platform(format!("{}: {}", error.code, error.message))
        }
    }
}

/// Keeps it until it ends.
async fn keep(mut running: Running, shell: Arc<Shell>, number: u64) {
    // Whether it was told to, or ended by itself: nothing is left to be done in it.
    let _ = running.until_told(&shell).await;
    let common = &shell.common;
    common.templates.lost(shell.version().generation, number, common.rt.instant());
    stop(running, &shell, &Status::Error(Fault::Exited(Exit::default()).error_type().to_owned()))
        .await;
}
