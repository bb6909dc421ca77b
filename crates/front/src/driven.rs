//! A future that is driven to its end whatever happens to whoever awaits it.
//!
//! A client that hangs up drops its connection, and with the connection everything it was waiting
//! for. An operation must not end half way like that. Spawning every operation as a task would pay
//! for the rare case on every request; instead the operation is awaited in place, and only if it is
//! dropped unfinished does it become a task of its own.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::FutureExt;
use lambic_rt::{Rt, TaskKind};
use lambic_wire::Error;

use crate::service::BoxFuture;

/// See the module.
pub(crate) struct Driven<T: Send + 'static> {
    /// `None` once it has finished.
    future: Option<BoxFuture<'static, T>>,
    rt: Rt,
}

impl<T: Send + 'static> Driven<T> {
    pub(crate) fn new(rt: &Rt, future: impl Future<Output = T> + Send + 'static) -> Driven<T> {
        Driven { future: Some(Box::pin(future)), rt: rt.clone() }
    }
}

impl<T: Send + 'static> Future for Driven<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        let future = self.future.as_mut().expect("a finished future is not polled again");
        let polled = future.as_mut().poll(context);
        if polled.is_ready() {
            self.future = None;
        }
        polled
    }
}

impl<T: Send + 'static> Drop for Driven<T> {
    fn drop(&mut self) {
        let Some(future) = self.future.take() else { return };
        // Without a runtime the process is at its very end and nothing can be driven any more; a
        // future that panicked must not be polled again.
        if tokio::runtime::Handle::try_current().is_err() || std::thread::panicking() {
            return;
        }
        self.rt.spawn("operation without its client", TaskKind::Request, future).detach();
    }
}

/// A fault in an operation ends that operation and nothing else: its caller gets a 500.
pub(crate) async fn unwinding_caught<T>(
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    match AssertUnwindSafe(work).catch_unwind().await {
        Ok(result) => result,
        Err(_) => {
            tracing::error!("an operation panicked");
            Err(Error::internal("An internal error occurred."))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use tokio::sync::Notify;

    #[tokio::test]
    async fn dropped_half_way_it_still_ends() {
        let rt = Rt::simulated(1);
        let (go, ended) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (go2, ended2) = (go.clone(), ended.clone());
        let mut driven = Driven::new(&rt, async move {
            go2.notified().await;
            ended2.notify_one();
        });
        assert_eq!((&mut driven).now_or_never(), None);
        drop(driven);
        go.notify_one();
        ended.notified().await;
    }

    #[tokio::test]
    async fn finished_it_is_not_run_again() {
        let rt = Rt::simulated(1);
        assert_eq!(Driven::new(&rt, async { 7 }).await, 7);
    }

    #[test]
    fn dropped_without_a_runtime_it_is_let_go() {
        let ran = Arc::new(AtomicBool::new(false));
        let ran2 = ran.clone();
        drop(Driven::new(&Rt::simulated(1), async move { ran2.store(true, Ordering::Relaxed) }));
        assert!(!ran.load(Ordering::Relaxed));
    }
}
