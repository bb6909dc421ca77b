//! SIGTERM and Ctrl-C: the first asks to stop, the second does not wait.

use std::time::Duration;

use lambic_rt::{Rt, TaskKind};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::failure::{Failure, Kind};

/// The same signal that comes so soon after the first is the same wish.
const SAME_WISH: Duration = Duration::from_secs(1);

/// Watches both signals from now on.
pub(crate) fn watch(rt: &Rt) -> Result<(), Failure> {
    let on = |kind| {
        signal(kind)
            .map_err(|error| Failure::new(Kind::Other, format!("cannot watch signals: {error}")))
    };
    let (terminate, interrupt) = (on(SignalKind::terminate())?, on(SignalKind::interrupt())?);
    let (sender, clock) = (rt.shutdown_sender(), rt.clone());
    let watching = async move {
        let (mut terminate, mut interrupt) = (terminate, interrupt);
        let first = next(&mut terminate, &mut interrupt).await;
        tracing::info!("draining: no new requests; a second signal does not wait");
        sender.stop();
        let since = clock.instant();
        // timeout(1) and some shells send one wish twice, to the process and to its group.
        while next(&mut terminate, &mut interrupt).await == first
            && clock.instant().duration_since(since) < SAME_WISH
        {}
        let failure = Failure::new(Kind::Forced, "ended by a second signal, without waiting");
        crate::print_failure(&failure);
        // What was acknowledged is on disk; the environments end with the spawner's socket.
        std::process::exit(failure.kind as i32);
    };
    rt.spawn("signals", TaskKind::Essential, watching).detach();
    Ok(())
}

async fn next(terminate: &mut Signal, interrupt: &mut Signal) -> SignalKind {
    tokio::select! {
        _ = terminate.recv() => SignalKind::terminate(),
        _ = interrupt.recv() => SignalKind::interrupt(),
    }
}
