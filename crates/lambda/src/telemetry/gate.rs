//! Whether subscribers can be reached: an environment that is frozen, or that is being started again,
//! answers nobody, and the time that passes meanwhile counts for nothing.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use lambic_rt::Rt;
use tokio::sync::watch;

use crate::runtime_api::connection::BoxIo;

/// Opens connections to an environment's own loopback.
pub trait Connect: Send + Sync {
    /// To 127.0.0.1 inside.
    fn connect(&self, port: u16) -> BoxFuture<'static, io::Result<BoxIo>>;
}

#[derive(Clone, Default)]
struct State {
    /// `None` while there is no environment.
    connect: Option<Arc<dyn Connect>>,
    is_frozen: bool,
}

impl State {
    fn is_open(&self) -> bool {
        self.connect.is_some() && !self.is_frozen
    }
}

/// The side of the environment.
#[derive(Default)]
pub(super) struct Gate {
    state: watch::Sender<State>,
}

/// The side of a delivery.
#[derive(Clone)]
pub(super) struct Way {
    state: watch::Receiver<State>,
}

impl Gate {
    /// There is an environment, or there is none any more.
    pub(super) fn set_connect(&self, connect: Option<Arc<dyn Connect>>) {
        self.state.send_modify(|state| state.connect = connect);
    }

    pub(super) fn set_frozen(&self, is_frozen: bool) {
        self.state.send_modify(|state| state.is_frozen = is_frozen);
    }

    pub(super) fn has_environment(&self) -> bool {
        self.state.borrow().connect.is_some()
    }

    pub(super) fn way(&self) -> Way {
        Way { state: self.state.subscribe() }
    }
}

impl Way {
    /// Waits until the environment can be reached.
    pub(super) async fn open(&mut self) -> Arc<dyn Connect> {
        let open = self.state.wait_for(State::is_open).await.ok();
        match open.and_then(|state| state.connect.clone()) {
            Some(connect) => connect,
            // The environment is over; whoever waits is about to be ended.
            None => std::future::pending().await,
        }
    }

    async fn closed(&mut self) {
        if self.state.wait_for(|state| !state.is_open()).await.is_err() {
            std::future::pending().await
        }
    }

    /// Runs `future` for at most `limit` of the time in which the environment can be reached; `None`
    /// says that time ran out first.
    pub(super) async fn within<F: Future>(
        &mut self,
        rt: &Rt,
        limit: Duration,
        future: F,
    ) -> Option<F::Output> {
        let mut future = pin!(future);
        let mut left = limit;
        loop {
            let since = rt.instant();
            tokio::select! {
                biased;
                output = &mut future => return Some(output),
                () = self.closed() => {}
                () = rt.sleep(left) => return None,
            }
            left = left.saturating_sub(rt.instant().duration_since(since));
            tokio::select! {
                biased;
                output = &mut future => return Some(output),
                _ = self.open() => {}
            }
        }
    }

    /// Lets so much of that time pass.
    pub(super) async fn sleep(&mut self, rt: &Rt, duration: Duration) {
        self.within(rt, duration, std::future::pending::<()>()).await;
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    struct Nowhere;

    impl Connect for Nowhere {
        fn connect(&self, _port: u16) -> BoxFuture<'static, io::Result<BoxIo>> {
            async { Err(io::ErrorKind::ConnectionRefused.into()) }.boxed()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn time_behind_a_closed_gate_does_not_count() {
        let rt = Rt::simulated(1);
        let gate = Gate::default();
        let mut way = gate.way();
        assert!(!gate.has_environment());
        assert!(way.open().now_or_never().is_none(), "no environment");
        gate.set_connect(Some(Arc::new(Nowhere)));
        way.open().await;
        let began = rt.instant();
        let second = Duration::from_secs(1);
        let freezes = async {
            rt.sleep(second / 2).await;
            gate.set_frozen(true);
            rt.sleep(second * 100).await;
            gate.set_frozen(false);
        };
        let never = std::future::pending::<()>();
        let mut waiting = way.clone();
        let (ended, ()) = tokio::join!(waiting.within(&rt, second, never), freezes);
        assert_eq!(ended, None);
        let took = rt.instant().duration_since(began);
        assert!((second * 101..second * 102).contains(&took), "{took:?}");
        gate.set_frozen(true);
        let done = way.within(&rt, second, rt.sleep(second * 10)).await;
        assert_eq!(done, Some(()), "what ends by itself while frozen has ended");
    }
}
