//! The end of an environment with extensions, in AWS's order: the runtime gets SIGTERM and a part of
//! the time, then SIGKILL; then external extensions that registered for it get SHUTDOWN and the rest
//! of the time, the others SIGKILL; what is left then is killed. Those who have subscribed to
//! telemetry get what there is of it before they get SHUTDOWN, as far as they take it in time.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::launcher::{Happening, Stop};
use super::running::Running;
use super::shell::Shell;
use crate::runtime_api::extensions::ShutdownReason;

/// With extensions of their own processes.
const BUDGET_EXTERNAL: Duration = Duration::from_millis(2_000);
/// With internal ones only.
const BUDGET_INTERNAL: Duration = Duration::from_millis(500);
/// No end takes longer, but for what the kernel takes to kill.
pub(super) const BUDGET_MAX: Duration = Duration::from_millis(2_500);
/// The runtime's part of the time, in percent.
const RUNTIME_SHARE: u32 = 30;
/// Part of the time that telemetry may take, in percent.
const TELEMETRY_SHARE: u32 = 20;

/// Ends it. Connections are served meanwhile: extensions ask for their last event.
pub(super) async fn run(running: &mut Running, shell: &Arc<Shell>, reason: ShutdownReason) {
    let budget = match (running.desk.has_external_extensions(), running.desk.has_extensions()) {
        (true, _) => BUDGET_EXTERNAL,
        (false, true) => BUDGET_INTERNAL,
        (false, false) => Duration::ZERO,
    };
    let _counted = Farewell::of(shell);
    let rt = running.rt.clone();
    let began = rt.instant();
    let deadline = rt.now().after(budget).millis();
    running.hub.hurry();
    if !budget.is_zero() && !running.ended[0] {
        running.control.stop(0, Stop::Terminate);
        let share = budget * RUNTIME_SHARE / 100;
        if rt.within(share, gone(running, shell, |ended| ended[0])).await.is_none() {
            running.control.stop(0, Stop::Kill);
        }
    }
    tell_the_rest(running, shell, budget * TELEMETRY_SHARE / 100).await;
    for (at, is_told) in running.desk.shut_down(reason, deadline) {
        if !is_told {
            running.control.stop(at + 1, Stop::Kill);
        }
    }
    let left = (began + budget).saturating_duration_since(rt.instant());
    let all = |ended: &[bool]| ended.iter().all(|ended| *ended);
    // Whoever is left has had its time.
    let _ = rt.within(left, gone(running, shell, all)).await;
    running.control.kill();
}

/// Counts one that is ending, so that the server's own end waits for it.
struct Farewell(Arc<Shell>);

impl Farewell {
    fn of(shell: &Arc<Shell>) -> Farewell {
        shell.farewells.fetch_add(1, Ordering::Relaxed);
        Farewell(shell.clone())
    }
}

impl Drop for Farewell {
    fn drop(&mut self) {
        self.0.farewells.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Brings telemetry to those who listen.
async fn tell_the_rest(running: &mut Running, shell: &Arc<Shell>, limit: Duration) {
    let mut flush = Box::pin(running.hub.flush(limit));
    loop {
        match running.until(shell, &mut flush).await {
            Ok(_) | Err(Happening::Ended(_)) => return,
            Err(Happening::ProgramEnded(0, _)) => {}
            Err(Happening::ProgramEnded(program, ended)) => {
                // As below.
                let _ = running.extension_failed(program, ended);
            }
        }
    }
}

/// Waits until those have ended that it depends on.
async fn gone(running: &mut Running, shell: &Arc<Shell>, enough: impl Fn(&[bool]) -> bool) {
    while !enough(&running.ended) {
        let never = std::future::pending::<()>();
        match running.until(shell, never).await {
            Err(Happening::Ended(_)) | Ok(()) => return,
            Err(Happening::ProgramEnded(0, _)) => {}
            Err(Happening::ProgramEnded(program, ended)) => {
                // As it should: what it means while all goes well does not count.
                let _ = running.extension_failed(program, ended);
            }
        }
    }
}
