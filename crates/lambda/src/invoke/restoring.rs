//! An environment of a version with SnapStart: restored from the version's snapshot, which is to fork
//! it from the template that stands for it; the hooks that run after that.
//!
//! When that fails through no fault of the function (the template is gone, or cannot be forked), the
//! environment is initialized in the ordinary way, and hooks of both kinds run in their order.

use std::sync::Arc;
use std::time::Duration;

use lambic_model_lambda::errors;
use lambic_wire::error::Error;

use super::cold_start::ColdStart;
use super::fault::Status;
use super::keeper::{InitEnd, Keeper, Signals};
use super::launcher::{LaunchFault, TemplateRole};
use super::running::Running;
use super::shell::Shell;
use super::templates::{MadeOf, Standing, Unforked};
use super::worker::{Order, StartFailed, readable, stop};
use crate::limits;
use crate::runtimes::plan::Made;

/// Within which a function with SnapStart has to be initialized, unless its timeout is longer (AWS: 130
/// seconds).
const SNAPSHOT_INIT_MAX: Duration = Duration::from_secs(130);

/// An environment waits as long for copies that were asked for before it as it would take to initialize it,
/// but not less than this: on a busy machine that takes longer than it did.
const WAITS_MIN: Duration = Duration::from_secs(1);

/// What came of it.
pub(super) enum Restored {
    /// It waits for work.
    Running(Box<Running>, ColdStart),
    /// Whoever waits is told.
    Failed(Box<StartFailed>),
    /// It is to be initialized.
    Ordinary,
}

/// How long the start of this version's environments may take, when they are initialized.
pub(super) fn init_max(shell: &Shell) -> Duration {
    let version = shell.version();
    match version.snap_start {
        true => SNAPSHOT_INIT_MAX.max(Duration::from_secs(u64::from(version.timeout_s))),
        false => shell.common.config.init_max,
    }
}

/// The template to restore from, if there is one.
pub(super) fn template(shell: &Shell) -> Option<Arc<Standing>> {
    let common = &shell.common;
    let template = common.templates.of(shell.version().generation, common.rt.instant());
    if template.is_none() {
        common.figures.not_restored.increment();
    }
    template
}

/// Restores an environment.
pub(super) async fn restore(order: &Order<'_>, template: &Standing) -> Restored {
    let (shell, rt) = (order.shell, &order.shell.common.rt);
    let since = rt.instant();
    let mut made = match planned(order, template).await {
        Ok(Some(made)) => made,
        Ok(None) => return ordinary(shell),
        Err(failed) => return Restored::Failed(Box::new(failed)),
    };
    let waits = template.saves.max(WAITS_MIN);
    made.plan.template = Some(TemplateRole::From { number: template.number, waits });
    let (keeper, mut signals) = Keeper::new(shell, order.id, order.recorder);
    let desk = order.desk(keeper, shell.version(), Vec::new(), false);
    let launched = match shell.common.launcher.launch(made.plan).await {
        Ok(launched) => launched,
        Err(LaunchFault::Busy) => return ordinary(shell),
        Err(LaunchFault::Template(why)) => {
            not_forked(order, template, Unforked::Failed(&why));
            return ordinary(shell);
        }
        Err(LaunchFault::Unfit(why)) => {
            not_forked(order, template, Unforked::Unfit(&why));
            return ordinary(shell);
        }
        Err(fault) => {
            let failed = StartFailed::sandbox(fault, shell.version());
            return Restored::Failed(Box::new(failed));
        }
    };
    // From here on its own time runs, not that of others who were restored before it.
    let born = rt.instant();
    let recorder = order.recorder;
    recorder.restore_start(&made.runtime);
    let mut running = Running::begin(launched, Arc::new(desk), Vec::new(), recorder, rt);
    let restore_max = shell.common.config.restore_max;
    let began = rt.within(restore_max, running.until(shell, &mut signals.init)).await;
    let Some(Ok(Ok(InitEnd::Restoring(at)))) = began else {
        let took = rt.instant().saturating_duration_since(since);
        let status = Status::Error("Runtime.ExitError".to_owned());
        recorder.restore_ended(took, &status);
        let why = "what was forked did not ask to be restored";
        not_forked(order, template, Unforked::Failed(why));
        stop(running, shell, &status).await;
        return ordinary(shell);
    };
    shell.common.templates.forked(shell.version().generation);
    let left = restore_max.saturating_sub(at.saturating_duration_since(born));
    let ended = hooks(shell, &mut running, &mut signals, left).await;
    let now = rt.instant();
    let (whole, billed) = (now.saturating_duration_since(since), now.saturating_duration_since(at));
    match ended {
        Ok(()) => {
            recorder.restore_ended(whole, &Status::Answered);
            shell.common.figures.restored.increment();
            running.control.limit_cpu(limits::cpu_millis(shell.version().memory_mb));
            Restored::Running(Box::new(running), ColdStart::Restore { whole, billed })
        }
        Err((status, error)) => {
            recorder.restore_ended(whole, &status);
            Restored::Failed(Box::new(StartFailed::of_hooks(status, error, running)))
        }
    }
}

/// What the environment is made of; `None` if the template is of something else by now.
async fn planned(order: &Order<'_>, template: &Standing) -> Result<Option<Made>, StartFailed> {
    let shell = order.shell;
    // Decrypted for each environment: a key that is taken away stops new ones.
    let version = readable(shell).await.map_err(StartFailed::refused)?;
    // The ordinary start tells what is wrong.
    let Ok(made) = order.plan(&version).await else { return Ok(None) };
    if MadeOf::new(&made) == template.made_of {
        return Ok(Some(made));
    }
    tracing::info!(
        function = %version.function_arn,
        version = %version.version,
        "the runtime or what the function is made of has changed since its snapshot was taken"
    );
    let common = &shell.common;
    common.templates.lost(version.generation, template.number, common.rt.instant());
    Ok(None)
}

fn ordinary(shell: &Shell) -> Restored {
    shell.common.figures.not_restored.increment();
    Restored::Ordinary
}

/// It is told whoever looks after the server, and whoever looks after the function.
fn not_forked(order: &Order<'_>, template: &Standing, unforked: Unforked<'_>) {
    let (common, version) = (&order.shell.common, order.shell.version());
    let now = common.rt.instant();
    if !common.templates.not_forked(version.generation, template.number, unforked, now) {
        return;
    }
    let (why, text) = match unforked {
        Unforked::Unfit(why) => (why, "environments of this version are initialized, not restored"),
        Unforked::Failed(why) => (why, "an environment is initialized, not restored"),
    };
    tracing::warn!(
        function = %version.function_arn,
        version = %version.version,
        why,
        "a snapshot could not be restored: {text} (told once for each version and reason)"
    );
    order.recorder.not_restored(&format!("SnapStart: {text}: {why}\n"));
}

/// Waits for the hooks of an environment that is being restored. The error is its caller's.
pub(super) async fn hooks(
    shell: &Shell,
    running: &mut Running,
    signals: &mut Signals,
    left: Duration,
) -> Result<(), (Status, Error)> {
    let rt = &shell.common.rt;
    let ended = rt.within(left, running.until(shell, &mut signals.restored)).await;
    let kind = match ended {
        Some(Ok(Ok(InitEnd::Ready))) => return Ok(()),
        Some(Ok(Ok(InitEnd::RestoreFailed(kind)))) => kind,
        Some(_) => "Runtime.ExitError".to_owned(),
        None => {
            let text = "Lambda couldn't restore the snapshot within the timeout limit.";
            return Err((Status::Timeout, errors::snap_start_timeout(text)));
        }
    };
    let text = "The afterRestore() runtime hook encountered an error. For more information, check \
                the Amazon CloudWatch logs.";
    Err((Status::Error(kind), errors::snap_start(text)))
}
