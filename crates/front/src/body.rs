//! Request bodies: read whole, within their limits and out of the budget.

use std::future::poll_fn;
use std::pin::Pin;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame};
use lambic_rt::{Instant, Rt};

use crate::budget::Loan;
use crate::config::Limits;

/// Why a body was not read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Longer than the request may be.
    TooLarge,
    /// Too many bytes of all bodies in memory.
    Busy,
    /// Its client took too long.
    Slow,
    /// It ended early, or its chunks are malformed.
    Broken,
}

/// Reads a body one frame at a time under two limits of time.
struct Frames<'a, B> {
    body: &'a mut B,
    rt: &'a Rt,
    stall: Duration,
    deadline: Instant,
}

impl<'a, B: Body<Data = Bytes> + Unpin> Frames<'a, B> {
    fn new(body: &'a mut B, rt: &'a Rt, limits: &Limits) -> Frames<'a, B> {
        let deadline = rt.instant() + Duration::from_millis(limits.body_read_ms_max);
        let stall = Duration::from_millis(limits.body_stall_ms_max);
        Frames { body, rt, stall, deadline }
    }

    /// The next data; `None` at the end.
    async fn next(&mut self) -> Result<Option<Bytes>, Refusal> {
        loop {
            let left = self.deadline.saturating_duration_since(self.rt.instant());
            if left.is_zero() {
                return Err(Refusal::Slow);
            }
            let body = &mut *self.body;
            let frame = poll_fn(|context| Pin::new(&mut *body).poll_frame(context));
            match self.rt.within(self.stall.min(left), frame).await {
                None => return Err(Refusal::Slow),
                Some(None) => return Ok(None),
                Some(Some(Err(_))) => return Err(Refusal::Broken),
                Some(Some(Ok(frame))) => {
                    // Trailers are passed over: nothing that is offered reads them.
                    if let Ok(data) = Frame::into_data(frame) {
                        return Ok(Some(data));
                    }
                }
            }
        }
    }
}

/// Reads a whole body of at most `bytes_max` bytes. What is taken of the loan stays taken, also
/// after an error, until the loan is dropped.
pub(crate) async fn read<B: Body<Data = Bytes> + Unpin>(
    body: &mut B,
    bytes_max: usize,
    loan: &mut Loan,
    rt: &Rt,
    limits: &Limits,
) -> Result<Bytes, Refusal> {
    if body.is_end_stream() {
        return Ok(Bytes::new());
    }
    // Known when there is a Content-Length. Then the refusal needs no reading at all.
    let expected =
        body.size_hint().exact().map(|exact| usize::try_from(exact).unwrap_or(usize::MAX));
    if expected.is_some_and(|expected| expected > bytes_max) {
        return Err(Refusal::TooLarge);
    }
    let mut frames = Frames::new(body, rt, limits);
    let Some(first) = frames.next().await? else { return Ok(Bytes::new()) };
    take(&first, 0, bytes_max, loan)?;
    if Some(first.len()) == expected {
        return Ok(first);
    }
    let Some(second) = frames.next().await? else { return Ok(first) };
    take(&second, first.len(), bytes_max, loan)?;
    // Untouched capacity costs no memory, so a client that promises much and sends little holds
    // only what it has sent.
    let capacity = expected.unwrap_or(0).max(first.len() + second.len());
    let mut whole = BytesMut::with_capacity(capacity);
    whole.extend_from_slice(&first);
    whole.extend_from_slice(&second);
    drop((first, second));
    while let Some(data) = frames.next().await? {
        take(&data, whole.len(), bytes_max, loan)?;
        whole.extend_from_slice(&data);
    }
    Ok(whole.freeze())
}

fn take(data: &Bytes, so_far: usize, bytes_max: usize, loan: &mut Loan) -> Result<(), Refusal> {
    if so_far + data.len() > bytes_max {
        return Err(Refusal::TooLarge);
    }
    if loan.extend(data.len()) { Ok(()) } else { Err(Refusal::Busy) }
}

/// Reads on and throws away, so that a client that is still sending gets to see the answer: closing
/// with unread bytes would reset the connection under it.
pub(crate) async fn discard<B: Body<Data = Bytes> + Unpin>(body: &mut B, rt: &Rt, limits: &Limits) {
    let mut frames = Frames::new(body, rt, limits);
    let mut left = limits.discard_bytes_max;
    while let Ok(Some(data)) = frames.next().await {
        if data.len() > left {
            return;
        }
        left -= data.len();
    }
}
