//! The life of one connection: idle → head → request → idle …, each with its limit of time.
//!
//! One watch per connection looks after all of them. It sleeps until the nearest moment at which
//! something could be late, and looks; so a request costs two stores of the time and never a timer.

use std::convert::Infallible;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use lambic_rt::{Instant, Rt, Shutdown};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};

use crate::config::Limits;
use crate::cx::Origin;
use crate::front::Front;
use crate::{date, pipeline, reply};

/// What the requests of one connection share.
pub(crate) struct Peer {
    pub(crate) origin: Origin,
    pub(crate) activity: Arc<Activity>,
}

/// What a connection is doing and since when. Written by its own task only; atomic because the
/// parts of a connection are separate values.
pub(crate) struct Activity {
    rt: Rt,
    start: Instant,
    /// The phase in the two lowest bits, milliseconds since `start` above.
    phase: AtomicU64,
    /// Milliseconds since `start` when the client began to take nothing; [`NEVER`] while it does.
    write_blocked: AtomicU64,
}

const NEVER: u64 = u64::MAX;

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The first byte of a request.
    Idle = 0,
    /// The rest of its head.
    Head = 1,
    /// Its body and its answer, which keep their own time.
    Request = 2,
}

impl Activity {
    pub(crate) fn new(rt: &Rt) -> Arc<Activity> {
        Arc::new(Activity {
            rt: rt.clone(),
            start: rt.instant(),
            phase: AtomicU64::new(Phase::Idle as u64),
            write_blocked: AtomicU64::new(NEVER),
        })
    }

    fn now_ms(&self) -> u64 {
        let elapsed = self.rt.instant().duration_since(self.start);
        u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX >> 2)
    }

    fn enter(&self, phase: Phase) {
        self.phase.store(self.now_ms() << 2 | phase as u64, Ordering::Relaxed);
    }

    fn phase(&self) -> (Phase, u64) {
        let packed = self.phase.load(Ordering::Relaxed);
        let phase = match packed & 3 {
            0 => Phase::Idle,
            1 => Phase::Head,
            _ => Phase::Request,
        };
        (phase, packed >> 2)
    }

    pub(crate) fn request_begins(&self) {
        self.enter(Phase::Request);
    }

    pub(crate) fn reply_ends(&self) {
        self.enter(Phase::Idle);
    }

    fn bytes_came(&self) {
        if self.phase().0 == Phase::Idle {
            self.enter(Phase::Head);
        }
    }

    fn bytes_went(&self) {
        // The rest of an answer may still be on its way when its body has been taken over.
        if self.phase().0 == Phase::Idle {
            self.enter(Phase::Idle);
        }
    }

    fn write_waits(&self, waits: bool) {
        let blocked = self.write_blocked.load(Ordering::Relaxed) != NEVER;
        if waits != blocked {
            let value = if waits { self.now_ms() } else { NEVER };
            self.write_blocked.store(value, Ordering::Relaxed);
        }
    }

    /// Milliseconds until something will be late; 0 when it is.
    fn left_ms(&self, limits: &Limits) -> Option<u64> {
        let now = self.now_ms();
        let left = |since: u64, limit: u64| since.saturating_add(limit).saturating_sub(now);
        let phase = match self.phase() {
            (Phase::Idle, since) => Some(left(since, limits.idle_ms_max)),
            (Phase::Head, since) => Some(left(since, limits.header_read_ms_max)),
            (Phase::Request, _) => None,
        };
        let write = match self.write_blocked.load(Ordering::Relaxed) {
            NEVER => None,
            since => Some(left(since, limits.write_stall_ms_max)),
        };
        match (phase, write) {
            (Some(phase), Some(write)) => Some(phase.min(write)),
            (one, other) => one.or(other),
        }
    }

    /// Ends when something is late.
    async fn late(&self, limits: &Limits) {
        // A phase that begins after a look is looked at again before its limit can have passed.
        let step = limits.idle_ms_max.min(limits.header_read_ms_max).min(limits.write_stall_ms_max);
        loop {
            let left = self.left_ms(limits).unwrap_or(step);
            if left == 0 {
                return;
            }
            self.rt.sleep(Duration::from_millis(left.min(step).max(1))).await;
        }
    }
}

/// Serves one connection until it ends, is late, or has finished its request after `stop`.
pub(crate) async fn run<IO>(front: &Arc<Front>, io: IO, origin: Origin, stop: Option<Shutdown>)
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let activity = Activity::new(&front.rt);
    let peer = Arc::new(Peer { origin, activity: activity.clone() });
    let service = {
        let front = front.clone();
        service_fn(move |request| {
            let (front, peer) = (front.clone(), peer.clone());
            async move { Ok::<_, Infallible>(pipeline::answer(&front, &peer, request).await) }
        })
    };
    let limits = &front.config.limits;
    let header_bytes_max = limits.header_bytes_max.max(8_192);
    let connection = http1::Builder::new()
        // A client may close its sending side after its last request and still want the answer.
        .half_close(true)
        .max_buf_size(header_bytes_max)
        .max_header_size(header_bytes_max)
        // Both come from our own clock: see `Activity` and `date`.
        .header_read_timeout(None)
        .auto_date_header(false)
        .serve_connection(TokioIo::new(Watched { io, activity: activity.clone() }), service);
    let mut connection = pin!(connection);
    let mut late = pin!(activity.late(limits));
    let mut stop = pin!(stopped(stop));
    let mut stopping = false;
    loop {
        tokio::select! {
            biased;
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "a connection ended badly");
                }
                return;
            }
            () = stop.as_mut(), if !stopping => {
                stopping = true;
                connection.as_mut().graceful_shutdown();
            }
            // Dropping the connection closes it; an operation that runs is driven on.
            () = late.as_mut() => return,
        }
    }
}

async fn stopped(stop: Option<Shutdown>) {
    match stop {
        Some(mut stop) => stop.requested().await,
        None => std::future::pending().await,
    }
}

/// Bytes of a request that are waited for before an excess connection is told to go.
const REFUSED_HEAD_BYTES_MAX: usize = 16 * 1_024;
/// Time for all of that.
const REFUSE_TIME: Duration = Duration::from_secs(1);

/// Tells a connection beyond the limit so and closes it. The request's head is taken in first:
/// closing with unread bytes would reset the connection before the client saw the answer.
pub(crate) async fn refuse<IO>(front: &Arc<Front>, mut io: IO)
where
    IO: AsyncRead + AsyncWrite + Unpin + Send,
{
    let farewell = async {
        let mut head = Vec::with_capacity(1_024);
        while head.len() < REFUSED_HEAD_BYTES_MAX && !head.windows(4).any(|end| end == b"\r\n\r\n")
        {
            if io.read_buf(&mut head).await? == 0 {
                break;
            }
        }
        let error = reply::too_many("Too many connections. Close some, or use them again.");
        let (body, response) = (error.body(), error.to_response());
        let mut text = b"HTTP/1.1 429 Too Many Requests\r\nConnection: close\r\n".to_vec();
        let length = http::HeaderValue::from(body.len());
        let id = reply::header_value(&front.rt.uuid());
        let own = [
            (http::header::CONTENT_LENGTH, length),
            (http::header::DATE, date::header(front.rt.now())),
            (reply::REQUEST_ID, id),
        ];
        for (name, value) in own.iter().chain(&response.headers) {
            text.extend_from_slice(name.as_str().as_bytes());
            text.extend_from_slice(b": ");
            text.extend_from_slice(value.as_bytes());
            text.extend_from_slice(b"\r\n");
        }
        text.extend_from_slice(b"\r\n");
        text.extend_from_slice(&body);
        io.write_all(&text).await?;
        io.shutdown().await
    };
    if let Some(Err(error)) = front.rt.within(REFUSE_TIME, farewell).await {
        tracing::debug!(%error, "an excess connection ended badly");
    }
}

/// Tells [`Activity`] what the bytes do.
struct Watched<IO> {
    io: IO,
    activity: Arc<Activity>,
}

impl<IO: AsyncRead + Unpin> AsyncRead for Watched<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let result = ready!(Pin::new(&mut self.io).poll_read(context, buffer));
        if buffer.filled().len() > before {
            self.activity.bytes_came();
        }
        Poll::Ready(result)
    }
}

impl<IO: AsyncWrite + Unpin> Watched<IO> {
    fn noted<T>(&self, polled: Poll<T>) -> Poll<T> {
        self.activity.write_waits(polled.is_pending());
        if polled.is_ready() {
            self.activity.bytes_went();
        }
        polled
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Watched<IO> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.io).poll_write(context, bytes);
        self.noted(polled)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.io).poll_shutdown(context);
        self.noted(polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.io).poll_write_vectored(context, slices);
        self.noted(polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}
