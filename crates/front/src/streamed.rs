//! Replies that come in pieces, while the operation still runs.
//!
//! A client that takes nothing is not asked to: HTTP holds a bounded number of pieces, and whoever
//! makes more waits. A client that hangs up ends nothing either: the rest is taken in its place and
//! thrown away, so that what makes the pieces comes to its end as it would have.

use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use lambic_rt::{Rt, TaskKind};
use lambic_wire::event_stream::Pieces;

use crate::budget::{Budget, Slot};
use crate::reply;

/// The pieces of one reply, taken to their end whatever happens to the connection.
pub(crate) struct Streamed {
    /// `None` after the last piece.
    pieces: Option<Box<dyn Pieces>>,
    /// Whether the connection is still to be broken off.
    breaks_off: bool,
    rt: Rt,
}

impl Streamed {
    pub(crate) fn new(rt: &Rt, pieces: Box<dyn Pieces>) -> Streamed {
        Streamed { pieces: Some(pieces), breaks_off: false, rt: rt.clone() }
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.pieces.is_none() && !self.breaks_off
    }

    /// An error comes after the last piece of what was cut short.
    pub(crate) fn poll_piece(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Bytes>>> {
        let Some(pieces) = &mut self.pieces else {
            let breaks_off = std::mem::take(&mut self.breaks_off);
            let error = || io::Error::new(io::ErrorKind::UnexpectedEof, "the rest does not come");
            return Poll::Ready(breaks_off.then(|| Err(error())));
        };
        if let Some(piece) = ready!(pieces.poll_piece(context)) {
            return Poll::Ready(Some(Ok(piece)));
        }
        self.breaks_off = pieces.is_cut_short();
        self.pieces = None;
        if self.breaks_off {
            // HTTP throws away what it has not sent when it is told of an error. It sends as soon as
            // it is asked to wait, so it is asked to, for a moment.
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(None)
    }
}

impl Drop for Streamed {
    fn drop(&mut self) {
        let Some(mut pieces) = self.pieces.take() else { return };
        // As for an operation without its client: at the very end of the process nothing goes on,
        // and what has panicked is not asked again.
        if tokio::runtime::Handle::try_current().is_err() || std::thread::panicking() {
            return;
        }
        let rest =
            async move { while poll_fn(|context| pieces.poll_piece(context)).await.is_some() {} };
        self.rt.spawn("stream without its client", TaskKind::Request, rest).detach();
    }
}

/// Pieces that count as bytes in memory until they have gone to the client, of a request that counts
/// as being served until its last piece.
pub(crate) struct Counted {
    pieces: Box<dyn Pieces>,
    /// Given back after the last piece.
    slot: Option<Slot>,
    budget: Arc<Budget>,
    from_environment: bool,
}

impl Counted {
    pub(crate) fn new(
        pieces: Box<dyn Pieces>,
        slot: Slot,
        budget: Arc<Budget>,
        from_environment: bool,
    ) -> Counted {
        Counted { pieces, slot: Some(slot), budget, from_environment }
    }
}

impl Pieces for Counted {
    fn poll_piece(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let piece = ready!(self.pieces.poll_piece(context));
        if piece.is_none() {
            self.slot = None;
        }
        Poll::Ready(
            piece.map(|bytes| reply::counted(bytes, self.budget.loan(self.from_environment))),
        )
    }

    fn is_cut_short(&self) -> bool {
        self.pieces.is_cut_short()
    }
}
