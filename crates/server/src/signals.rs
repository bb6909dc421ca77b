//! SIGTERM and Ctrl-C: the first asks to stop, the second does not wait.

use lambic_rt::{Rt, TaskKind};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::failure::{Failure, Kind};

/// Watches both signals from now on.
pub(crate) fn watch(rt: &Rt) -> Result<(), Failure> {
    let on = |kind| {
        signal(kind)
            .map_err(|error| Failure::new(Kind::Other, format!("cannot watch signals: {error}")))
    };
    let (terminate, interrupt) = (on(SignalKind::terminate())?, on(SignalKind::interrupt())?);
    let sender = rt.shutdown_sender();
    let watching = async move {
        let (mut terminate, mut interrupt) = (terminate, interrupt);
        next(&mut terminate, &mut interrupt).await;
        tracing::info!("stopping: no new requests; a second signal does not wait");
        sender.stop();
        next(&mut terminate, &mut interrupt).await;
        let failure = Failure::new(Kind::Forced, "ended by a second signal, without waiting");
        crate::print_failure(&failure);
        // What was acknowledged is on disk; the environments end with the spawner's socket.
        std::process::exit(failure.kind as i32);
    };
    rt.spawn("signals", TaskKind::Essential, watching).detach();
    Ok(())
}

async fn next(terminate: &mut Signal, interrupt: &mut Signal) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}
