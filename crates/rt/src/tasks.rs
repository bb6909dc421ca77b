//! Background tasks, each with a name and a declared fate.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::task::JoinHandle;

use crate::ShutdownSender;

/// What a task's end means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskKind {
    /// Serves one connection, request or environment; its panic is logged and ends only itself.
    Request,
    /// Must run as long as the server does; its panic stops the server.
    Essential,
}

/// A running task. Dropping it lets the task go on.
#[must_use = "call detach() if nobody waits for the task"]
pub struct Task<T> {
    handle: JoinHandle<Option<T>>,
}

impl<T> Task<T> {
    /// Lets the task run by itself.
    pub fn detach(self) {}

    /// Ends the task at its next await.
    pub fn abort(&self) {
        self.handle.abort();
    }
}

impl<T> Future for Task<T> {
    /// `None` when the task panicked or was aborted.
    type Output = Option<T>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.handle).poll(context).map(|joined| joined.ok().flatten())
    }
}

pub(crate) fn spawn<F>(
    name: &'static str,
    kind: TaskKind,
    shutdown: ShutdownSender,
    future: F,
) -> Task<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    #[allow(clippy::disallowed_methods, reason = "this is the door")]
    let handle = tokio::spawn(async move {
        let guard = OnPanic { name, kind, shutdown, armed: true };
        let output = future.await;
        guard.disarm();
        Some(output)
    });
    Task { handle }
}

/// Dropped while armed only when the future unwinds (or is aborted, which is not a fault).
struct OnPanic {
    name: &'static str,
    kind: TaskKind,
    shutdown: ShutdownSender,
    armed: bool,
}

impl OnPanic {
    fn disarm(mut self) {
        self.armed = false;
    }
}

impl Drop for OnPanic {
    fn drop(&mut self) {
        if !self.armed || !std::thread::panicking() {
            return;
        }
        tracing::error!(task = self.name, "a task panicked");
        if self.kind == TaskKind::Essential {
            self.shutdown.stop();
        }
    }
}

pub(crate) async fn blocking<T: Send + 'static>(
    name: &'static str,
    work: impl FnOnce() -> T + Send + 'static,
) -> T {
    #[allow(clippy::disallowed_methods, reason = "this is the door")]
    match tokio::task::spawn_blocking(work).await {
        Ok(output) => output,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime is going down and the work never ran; nobody waits for its answer.
            Err(_) => {
                tracing::debug!(work = name, "blocking work dropped at shutdown");
                std::future::pending().await
            }
        },
    }
}
