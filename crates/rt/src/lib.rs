//! The only door to time, randomness, task spawning and shutdown.
//!
//! Everything that would make two runs of Lambic differ comes through [`Rt`]: the wall clock, the
//! monotonic clock, random bytes, background tasks and the signal to stop. The real one reads the
//! machine; the simulated one is driven by a seed and by a paused clock, so that a test that failed
//! once fails again. `clippy.toml` refuses the same things elsewhere and points here.

mod random;
mod shutdown;
mod tasks;
mod time;
mod vigil;

pub use shutdown::{Shutdown, ShutdownSender};
pub use tasks::{Fate, Task, TaskKind, turn};
pub use time::{Instant, Timestamp};
pub use vigil::Vigil;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

/// A cheap, cloneable handle to time, randomness, tasks and shutdown.
#[derive(Clone)]
pub struct Rt {
    inner: Arc<Inner>,
}

struct Inner {
    clock: time::Clock,
    random: random::Source,
    shutdown: ShutdownSender,
}

impl Rt {
    /// The handle that reads the real machine.
    pub fn real() -> Rt {
        Rt::with(time::Clock::real(), random::Source::system())
    }

    /// A handle whose random bytes follow from `seed` and whose wall clock starts at a fixed moment
    /// and moves with tokio's (pausable) clock.
    pub fn simulated(seed: u64) -> Rt {
        Rt::with(time::Clock::simulated(), random::Source::seeded(seed))
    }

    fn with(clock: time::Clock, random: random::Source) -> Rt {
        let (shutdown, _) = shutdown::channel();
        Rt { inner: Arc::new(Inner { clock, random, shutdown }) }
    }

    /// The wall clock.
    pub fn now(&self) -> Timestamp {
        self.inner.clock.now()
    }

    /// The monotonic clock; only differences mean anything.
    pub fn instant(&self) -> Instant {
        time::instant()
    }

    /// Waits for `duration`.
    pub async fn sleep(&self, duration: Duration) {
        time::sleep(duration).await;
    }

    /// Runs `future` for at most `limit`; `None` says that time ran out first.
    pub async fn within<F: Future>(&self, limit: Duration, future: F) -> Option<F::Output> {
        time::within(limit, future).await
    }

    /// Fills `bytes` with random bytes (from the kernel, or from the seed).
    pub fn fill_random(&self, bytes: &mut [u8]) {
        self.inner.random.fill(bytes);
    }

    /// A random (version 4) UUID in its lower-case text form, 36 characters.
    pub fn uuid(&self) -> String {
        random::uuid(&self.inner.random)
    }

    /// Starts a task. Its `kind` declares what happens when it ends badly and at shutdown.
    pub fn spawn<F>(&self, name: &'static str, kind: TaskKind, future: F) -> Task<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        tasks::spawn(name, kind, self.shutdown_sender(), future)
    }

    /// The fate of a thread that must run as long as the server does. The thread keeps it to its
    /// end; its panic stops the server, as that of an essential task does.
    pub fn essential_thread(&self, name: &'static str) -> Fate {
        Fate::essential(name, self.shutdown_sender())
    }

    /// Runs blocking work (files, SQLite, unpacking) on tokio's blocking threads and waits for it.
    pub async fn blocking<T: Send + 'static>(
        &self,
        name: &'static str,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> T {
        tasks::blocking(name, work).await
    }

    /// The receiving side of shutdown: a task awaits it to learn that it should end.
    pub fn shutdown(&self) -> Shutdown {
        self.inner.shutdown.subscribe()
    }

    /// The side that asks everything to stop (idempotent).
    pub fn shutdown_sender(&self) -> ShutdownSender {
        self.inner.shutdown.clone()
    }
}
