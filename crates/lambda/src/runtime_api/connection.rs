//! One connection of a runtime: HTTP/1.1 until it closes.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::BytesMut;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::answer::Payload;
use super::desk::Desk;
use super::plain;

/// Connections that one environment may have open at a time; further ones are closed at once.
pub const CONNECTIONS_MAX: usize = 32;
/// Head of a request, trailers of a streamed response, and what is buffered of a connection. AWS's
/// clients send the trace of an error in a header of up to 64 KB for X-Ray, and in a trailer.
pub const HEAD_BYTES_MAX: usize = 256 * 1024;
/// Headers of one request.
pub(super) const HEADERS_MAX: usize = 100;

/// A byte stream to a runtime.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// A byte stream to a runtime, of whatever kind.
pub type BoxIo = Pin<Box<dyn Io>>;

/// Serves the Runtime API on one connection until the runtime closes it or the environment ends.
///
/// There is no time limit on heads: hyper counts the quiet time between two requests too, and a
/// runtime is quiet as long as user code works. The number of connections and what each may buffer
/// bound the cost, and all end with the environment.
pub async fn serve(io: BoxIo, desk: Arc<Desk>) {
    serve_as(Kind::Accepted, io, desk).await;
}

/// The same on the stream that a runtime client of ours inherits.
pub async fn serve_inherited(io: BoxIo, desk: Arc<Desk>) {
    serve_as(Kind::Inherited, io, desk).await;
}

async fn serve_as(kind: Kind, io: BoxIo, desk: Arc<Desk>) {
    // What is not plainly a request of the usual form is read by hyper.
    if let Some((io, read)) = plain::serve(io, kind, &desk).await {
        serve_by_hyper(kind, Box::pin(Resumed { read, io }), desk).await;
    }
}

/// A stream of which something has been read already.
struct Resumed {
    read: BytesMut,
    io: BoxIo,
}

impl AsyncRead for Resumed {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.read.is_empty() {
            return self.io.as_mut().poll_read(context, buffer);
        }
        let bytes = self.read.len().min(buffer.remaining());
        buffer.put_slice(&self.read.split_to(bytes));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Resumed {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.io.as_mut().poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io.as_mut().poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io.as_mut().poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.io.as_mut().poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}

/// Where a connection comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Anybody inside.
    Accepted,
    /// The sandbox; the runtime has had it from its start.
    Inherited,
}

pub(super) async fn serve_by_hyper(kind: Kind, io: BoxIo, desk: Arc<Desk>) {
    let service = service_fn(move |request: http::Request<Incoming>| {
        let desk = desk.clone();
        let request = request.map(Payload::Pieces);
        async move { Ok::<_, Infallible>(super::route(desk, kind, request).await) }
    });
    let served = http1::Builder::new()
        // A runtime may close its sending side after its answer, or end: what it sent whole counts.
        .half_close(true)
        .header_read_timeout(None)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_header_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .serve_connection(TokioIo::new(io), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "a runtime's connection ended badly");
    }
}
