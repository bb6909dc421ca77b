//! Background tasks, each with a name and a declared fate.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use tokio::task::JoinHandle;

use crate::{ShutdownSender, vigil};

/// What a task's end means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskKind {
    /// Serves one connection, request or environment; its panic is logged and ends only itself.
    Request,
    /// Must run as long as the server does; its panic stops the server, which then ends with a
    /// failure ([`crate::Shutdown::fault`]).
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
        let _fate = Fate { name, kind, shutdown };
        let mut future = pin!(future);
        let counted = poll_fn(|context| {
            vigil::count_turn();
            future.as_mut().poll(context)
        });
        Some(counted.await)
    });
    Task { handle }
}

/// Lives as long as a task or thread does, and tells of its panic. Any other end, an abort too, is
/// no fault.
#[derive(Debug)]
pub struct Fate {
    name: &'static str,
    kind: TaskKind,
    shutdown: ShutdownSender,
}

impl Fate {
    pub(crate) fn essential(name: &'static str, shutdown: ShutdownSender) -> Fate {
        Fate { name, kind: TaskKind::Essential, shutdown }
    }
}

impl Drop for Fate {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        tracing::error!(task = self.name, "a task panicked");
        if self.kind == TaskKind::Essential {
            self.shutdown.stop_because(self.name);
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

/// Lets everybody else who is ready have their turn first.
///
/// Unlike tokio's own way it does not wait for the machine's events, so it costs no system call.
pub async fn turn() {
    let mut has_waited = false;
    poll_fn(|context| {
        if std::mem::replace(&mut has_waited, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

#[cfg(test)]
mod tests {
    use crate::{Rt, TaskKind};

    #[tokio::test]
    async fn the_panic_of_an_essential_task_stops_everything_and_says_so() {
        let rt = Rt::simulated(1);
        rt.spawn("small", TaskKind::Request, async { panic!("on purpose") }).await;
        assert!(!rt.shutdown().is_requested());
        rt.spawn("finished", TaskKind::Essential, async {}).await;
        assert!(!rt.shutdown().is_requested());
        rt.spawn("great", TaskKind::Essential, async { panic!("on purpose") }).await;
        assert!(rt.shutdown().is_requested());
        rt.shutdown_sender().stop_because("later");
        assert_eq!(rt.shutdown().fault(), Some("great"));
    }

    #[tokio::test]
    async fn the_panic_of_an_essential_thread_too_even_while_all_stops() {
        let rt = Rt::simulated(1);
        rt.shutdown_sender().stop();
        assert_eq!(rt.shutdown().fault(), None);
        let fate = rt.essential_thread("thread");
        let thread = std::thread::spawn(move || {
            let _fate = fate;
            panic!("on purpose");
        });
        assert!(thread.join().is_err());
        assert_eq!(rt.shutdown().fault(), Some("thread"));
    }
}
