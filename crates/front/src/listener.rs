//! Accepting connections, and letting them go at the end.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use lambic_rt::{Shutdown, TaskKind};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};

use crate::authenticate::{NotLoopback, is_loopback};
use crate::budget::Slot;
use crate::connection;
use crate::cx::Origin;
use crate::front::Front;

/// How a listener ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drained {
    /// Requests that had not finished when the time to drain was up; 0 after a clean end.
    pub requests_abandoned: usize,
    /// Connections that were still open then.
    pub connections_abandoned: usize,
}

/// Why a listener cannot be served.
#[derive(Debug)]
pub enum ListenError {
    /// Development mode on an address that others can reach.
    NotLoopback(NotLoopback),
    /// The socket does not tell its address.
    Socket(io::Error),
}

impl fmt::Display for ListenError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ListenError::NotLoopback(error) => error.fmt(out),
            ListenError::Socket(error) => write!(out, "cannot serve the listener: {error}"),
        }
    }
}

impl std::error::Error for ListenError {}

/// How long to wait when the kernel has no descriptor or memory left for a new connection.
const ACCEPT_RETRY: Duration = Duration::from_millis(50);

impl Front {
    /// Serves a listener until `shutdown` is requested; then accepts nothing more, closes idle
    /// connections, and gives requests in flight `drain_ms_max` to finish.
    ///
    /// # Errors
    /// [`ListenError`] at once; a running listener does not fail.
    pub async fn serve_listener(
        self: &Arc<Front>,
        listener: TcpListener,
        mut shutdown: Shutdown,
    ) -> Result<Drained, ListenError> {
        let listen = listener.local_addr().map_err(ListenError::Socket)?;
        if self.config.auth.is_development() && !is_loopback(&listen) {
            return Err(ListenError::NotLoopback(NotLoopback { listen }));
        }
        let stop = shutdown.clone();
        loop {
            let accepted = tokio::select! {
                biased;
                () = shutdown.requested() => break,
                accepted = self.accept(&listener) => accepted,
            };
            let (stream, address) = accepted;
            let (front, stop) = (self.clone(), stop.clone());
            let connection =
                async move { front.serve(stream, Origin::Remote(address), Some(stop)).await };
            self.rt.spawn("connection", TaskKind::Request, connection).detach();
        }
        drop(listener);
        Ok(self.drain().await)
    }

    /// Serves one connection until it ends. A connection from outside ends after its present
    /// request when the process is asked to stop.
    pub async fn serve_connection<IO>(self: &Arc<Front>, io: IO, origin: Origin)
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let stop = match &origin {
            Origin::Remote(_) => Some(self.rt.shutdown()),
            Origin::Environment(_) | Origin::Process => None,
        };
        self.serve(io, origin, stop).await;
    }

    async fn serve<IO>(self: &Arc<Front>, io: IO, origin: Origin, stop: Option<Shutdown>)
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        if let Origin::Remote(address) = &origin
            && self.config.auth.is_development()
            && !is_loopback(address)
        {
            tracing::warn!(%address, "refused a connection from another machine in development mode");
            return;
        }
        match self.connection_slot(&origin) {
            Some(slot) => {
                connection::run(self, io, origin, stop).await;
                drop(slot);
            }
            None => self.turn_away(io),
        }
    }

    fn connection_slot(&self, origin: &Origin) -> Option<Slot> {
        match origin {
            Origin::Remote(_) | Origin::Process => self.load.remote_connections.take(),
            Origin::Environment(_) => self.load.environment_connections.take(),
        }
    }

    /// Tells a client that there are too many connections, or just closes when even those that
    /// are being told are too many.
    fn turn_away<IO>(self: &Arc<Front>, io: IO)
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        self.refused.connection.increment();
        if let Some(slot) = self.load.excess_connections.take() {
            let front = self.clone();
            let farewell = async move {
                connection::refuse(&front, io).await;
                drop(slot);
            };
            self.rt.spawn("excess connection", TaskKind::Request, farewell).detach();
        }
    }

    async fn accept(&self, listener: &TcpListener) -> (TcpStream, std::net::SocketAddr) {
        loop {
            match listener.accept().await {
                Ok((stream, address)) => {
                    // Without it, small answers would wait for the client's delayed acknowledgement.
                    if let Err(error) = stream.set_nodelay(true) {
                        tracing::debug!(%error, "a connection ended before it was served");
                    }
                    return (stream, address);
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    self.rt.sleep(ACCEPT_RETRY).await;
                }
            }
        }
    }

    async fn drain(&self) -> Drained {
        let limit = Duration::from_millis(self.config.limits.drain_ms_max);
        let all = async {
            self.load.remote_connections.all_free().await;
            self.load.requests.all_free().await;
        };
        if self.rt.within(limit, all).await.is_none() {
            tracing::warn!(
                requests = self.load.requests.used(),
                connections = self.load.remote_connections.used(),
                "the time to drain is up"
            );
        }
        Drained {
            requests_abandoned: self.load.requests.used(),
            connections_abandoned: self.load.remote_connections.used(),
        }
    }
}
