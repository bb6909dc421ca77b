//! The caller's end of an answer that it takes as a stream.
//!
//! Pieces come from the Runtime API while the function runs; the end comes from the invocation, and
//! is told after the last piece.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use lambic_wire::error::Error;
use tokio::sync::{mpsc, oneshot};

use crate::runtime_api::stream::ContentType;

/// An answer that has begun.
#[derive(Debug)]
pub struct StreamedAnswer {
    /// The version that runs, such as `$LATEST`.
    pub executed_version: String,
    /// What the runtime says that it sends.
    pub content_type: Option<String>,
    /// What it answers.
    pub stream: AnswerStream,
}

/// What comes in a stream.
#[derive(Debug, PartialEq, Eq)]
pub enum Part {
    /// Some of the answer.
    Piece(Bytes),
    /// There is no more.
    End(End),
}

/// How an answer ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct End {
    /// Of an answer that failed.
    pub error_code: Option<String>,
    /// The error document, where there is one.
    pub error_details: Option<String>,
    /// The last 4 KB of the log, not yet base64, when they were asked for.
    pub log_tail: Option<Vec<u8>>,
}

/// The parts of one answer; the last one is its [`End`].
#[derive(Debug)]
pub struct AnswerStream {
    pieces: mpsc::Receiver<Bytes>,
    /// `None` once it is known.
    ended: Option<oneshot::Receiver<Result<End, Error>>>,
    /// Parts that are known and were not taken.
    known: VecDeque<Part>,
}

impl StreamedAnswer {
    /// Waits for the answer to begin. An invocation that never began is an error.
    pub(super) async fn begin(
        executed_version: String,
        content_type: &ContentType,
        pieces: mpsc::Receiver<Bytes>,
        ended: oneshot::Receiver<Result<End, Error>>,
    ) -> Result<StreamedAnswer, Error> {
        let mut stream = AnswerStream { pieces, ended: Some(ended), known: VecDeque::new() };
        let first = poll_fn(|context| stream.poll_part(context)).await;
        if let Some(first) = first.transpose()? {
            stream.known.push_front(first);
        }
        let content_type = content_type.get().map(str::to_owned);
        Ok(StreamedAnswer { executed_version, content_type, stream })
    }

    /// An answer of which these parts are known, for tests of operations.
    #[cfg(test)]
    pub(crate) fn of(
        executed_version: &str,
        parts: impl IntoIterator<Item = Part>,
    ) -> StreamedAnswer {
        let (_, pieces) = mpsc::channel(1);
        let stream = AnswerStream { pieces, ended: None, known: parts.into_iter().collect() };
        let executed_version = executed_version.to_owned();
        StreamedAnswer { executed_version, content_type: None, stream }
    }
}

impl AnswerStream {
    /// The next part; `None` after the last. An error means that the end was lost.
    pub fn poll_part(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Part, Error>>> {
        if let Some(part) = self.known.pop_front() {
            return Poll::Ready(Some(Ok(part)));
        }
        let Some(ended) = &mut self.ended else { return Poll::Ready(None) };
        if let Poll::Ready(Some(piece)) = self.pieces.poll_recv(context) {
            return Poll::Ready(Some(Ok(Part::Piece(piece))));
        }
        let ended = ready!(Pin::new(ended).poll(context));
        self.ended = None;
        let lost = || Err(Error::internal("the end of the invocation was lost"));
        match ended.unwrap_or_else(|_| lost()) {
            Ok(end) => self.know(end),
            Err(error) => return Poll::Ready(Some(Err(error))),
        }
        Poll::Ready(self.known.pop_front().map(Ok))
    }

    /// The end is known; all that is to be told before it has been sent.
    fn know(&mut self, end: End) {
        self.pieces.close();
        while let Ok(piece) = self.pieces.try_recv() {
            self.known.push_back(Part::Piece(piece));
        }
        self.known.push_back(Part::End(end));
    }
}
