//! A response on its way to a caller that takes it piece by piece, while the function still sends it.
//!
//! Life: the caller makes a [`channel`] and its invocation carries the [`Sink`] → the runtime begins
//! to send → [`serve`] passes on what comes, at most [`PIECES_AHEAD_MAX`] pieces ahead of the caller,
//! so that a slow caller slows the function down → the end: complete, with an error in the
//! trailers, too large, or broken off. A caller that is gone changes nothing for the function: what
//! it sends is read and thrown away. A caller that wants its answer in one piece has no sink.
//!
//! The rate of a stream is not limited. AWS sends what follows the first 6 MB at 2 MB a second,
//! which says something about its network and nothing about a function.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use http_body_util::BodyExt;
use lambic_rt::TaskKind;
use tokio::sync::mpsc;

use super::answer::{Answer, Payload, accepted, from_refusal, stream_too_large, truncated};
use super::desk::{Completion, Desk};
use crate::invoke::fault::{Fault, STREAMED_BYTES_MAX};

/// Pieces that wait for the caller.
const PIECES_AHEAD_MAX: usize = 4;
/// Bytes of one piece.
pub(super) const PIECE_BYTES_MAX: usize = 64 * 1024;
/// A stream beyond its limit is read on for so many bytes, so that the runtime hears why it is
/// refused.
const DISCARD_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// A connection that breaks often is the first sign of a process that ends; so long the news of it
/// may take, so that the log names the cause.
const EXIT_GRACE: Duration = Duration::from_secs(2);

/// Where the pieces of a streamed response go.
#[derive(Clone, Debug)]
pub struct Sink {
    sender: mpsc::Sender<Bytes>,
    progress: Arc<Progress>,
}

#[derive(Debug, Default)]
struct Progress {
    begun: AtomicBool,
    /// As the runtime named it when it began.
    content_type: OnceLock<String>,
    /// Sent by the function so far.
    bytes: AtomicU64,
}

/// What a response is, once its runtime has begun to send it.
#[derive(Clone, Debug)]
pub struct ContentType(Arc<Progress>);

impl ContentType {
    /// As the runtime named it; `None` when it did not, or has not begun.
    pub fn get(&self) -> Option<&str> {
        self.0.content_type.get().map(String::as_str)
    }
}

/// A way for the pieces of one response.
pub fn channel() -> (Sink, mpsc::Receiver<Bytes>) {
    let (sender, receiver) = mpsc::channel(PIECES_AHEAD_MAX);
    (Sink { sender, progress: Arc::default() }, receiver)
}

/// How a stream failed that the runtime itself brought to an end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// As the trailer names it.
    pub error_type: String,
    /// The error document; empty when there was none.
    pub document: Bytes,
}

impl Sink {
    /// Whether the runtime has begun to send its response.
    pub fn has_begun(&self) -> bool {
        self.progress.begun.load(Ordering::Acquire)
    }

    /// Bytes that the function has sent; `None` when it has not begun.
    pub(super) fn bytes(&self) -> Option<u64> {
        self.has_begun().then(|| self.progress.bytes.load(Ordering::Acquire))
    }

    pub(super) fn begin(&self) {
        self.progress.begun.store(true, Ordering::Release);
    }

    /// What the runtime says that it sends; before its first piece.
    pub(super) fn say_content_type(&self, headers: &HeaderMap) {
        if let Some(Ok(text)) = headers.get(CONTENT_TYPE).map(|value| value.to_str()) {
            // A response begins once.
            let _ = self.progress.content_type.set(text.to_owned());
        }
    }

    /// What the runtime has said that it sends.
    pub fn content_type(&self) -> ContentType {
        ContentType(self.progress.clone())
    }

    /// As if so many bytes had been sent already.
    #[cfg(test)]
    pub(super) fn skip(&self, bytes: u64) {
        self.progress.bytes.fetch_add(bytes, Ordering::AcqRel);
    }

    /// Passes some bytes on and waits until there is room for them. `false`: the stream is too long,
    /// and only what is within its limit went on.
    async fn take(&self, mut data: Bytes) -> bool {
        let sent = data.len() as u64;
        let before = self.progress.bytes.fetch_add(sent, Ordering::AcqRel);
        let room = STREAMED_BYTES_MAX.saturating_sub(before);
        data.truncate(usize::try_from(room).unwrap_or(usize::MAX));
        while !data.is_empty() {
            let piece = data.split_to(data.len().min(PIECE_BYTES_MAX));
            // A caller that is gone needs no more of it.
            let _ = self.sender.send(piece).await;
        }
        sent <= room
    }
}

/// What came of passing a stream on.
enum Passed {
    /// All of it, with these trailers.
    Whole(HeaderMap),
    TooLarge,
    Broken,
}

/// Serves a response to who takes it as a stream. It has begun at the desk.
pub(super) async fn serve(desk: &Arc<Desk>, sink: &Sink, mut body: Payload) -> Answer {
    let unfinished = Unfinished { desk: Some(desk.clone()) };
    match pass_on(&mut body, sink).await {
        Passed::Whole(trailers) => {
            unfinished.ends();
            ended(desk, Completion::Streamed(failure(&trailers)), accepted())
        }
        Passed::TooLarge => {
            unfinished.ends();
            let bytes = sink.bytes().unwrap_or_default();
            let fault = Fault::StreamTooLarge { bytes };
            let answer = ended(desk, Completion::Fault(fault), stream_too_large());
            discard(&mut body).await;
            answer
        }
        Passed::Broken => {
            drop(unfinished);
            truncated()
        }
    }
}

/// The invocation is over; `answer` is for the runtime, unless the invocation ended before.
fn ended(desk: &Desk, completion: Completion, answer: Answer) -> Answer {
    match desk.answer(completion) {
        Ok(()) => answer,
        Err(refusal) => from_refusal(refusal),
    }
}

async fn pass_on(body: &mut Payload, sink: &Sink) -> Passed {
    let mut trailers = HeaderMap::new();
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return Passed::Broken };
        match frame.into_data() {
            Ok(data) => {
                if !sink.take(data).await {
                    return Passed::TooLarge;
                }
            }
            Err(frame) => {
                if let Ok(more) = frame.into_trailers() {
                    trailers = more;
                }
            }
        }
    }
    Passed::Whole(trailers)
}

async fn discard(body: &mut Payload) {
    let mut left = DISCARD_BYTES_MAX;
    while let Some(Ok(frame)) = body.frame().await {
        let bytes = frame.data_ref().map_or(0, |data| data.len() as u64);
        left = left.saturating_sub(bytes);
        if left == 0 {
            return;
        }
    }
}

/// What the trailers of a stream say about its end. AWS passes the type on as it is.
pub(super) fn failure(trailers: &HeaderMap) -> Option<Failure> {
    let text = trailers.get("lambda-runtime-function-error-type")?.as_bytes();
    let document = trailers
        .get("lambda-runtime-function-error-body")
        .and_then(|value| STANDARD.decode(value.as_bytes()).ok())
        .unwrap_or_default();
    let error_type = String::from_utf8_lossy(text).into_owned();
    // Clients announce both trailers and send an empty type when all went well.
    (!error_type.is_empty()).then(|| Failure { error_type, document: Bytes::from(document) })
}

/// A stream that has begun and whose end is not known. Dropped so, with its connection, it is one
/// that broke off.
struct Unfinished {
    desk: Option<Arc<Desk>>,
}

impl Unfinished {
    fn ends(mut self) {
        self.desk = None;
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        let Some(desk) = self.desk.take() else { return };
        let Some(request_id) = desk.stream_broken() else { return };
        let rt = desk.rt().clone();
        let settle = async move {
            desk.rt().sleep(EXIT_GRACE).await;
            desk.settle_broken(|broken| broken == request_id);
        };
        rt.spawn("broken stream", TaskKind::Request, settle).detach();
    }
}
