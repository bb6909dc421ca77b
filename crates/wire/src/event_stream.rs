//! `application/vnd.amazon.eventstream`: answers that come in messages, and the messages.
//!
//! One message is its length, the length of its headers, a checksum of these two, the headers, the
//! payload, and a checksum of everything before; all numbers are big-endian, checksums are CRC-32.
//! Only text headers are written, because AWS's event streams use no others towards clients.
//! Smithy's "Amazon Event Stream Specification" is the reference.

use std::fmt;
use std::task::{Context, Poll};

use bytes::{BufMut, Bytes, BytesMut};
use serde::Serialize;

use crate::error::Error;

/// The content type of an answer that is an event stream.
pub const CONTENT_TYPE: &str = "application/vnd.amazon.eventstream";

/// Bytes of a message without headers and payload.
pub const OVERHEAD_BYTES: usize = 16;
/// Headers of one message, in bytes: what AWS's decoders take.
const HEADERS_BYTES_MAX: usize = 128 * 1_024;
/// One header's value, in bytes.
const VALUE_BYTES_MAX: usize = i16::MAX as usize;

/// The tag of a header that is text.
const TEXT: u8 = 7;

/// One event of a stream.
pub trait Event {
    /// The event as it is sent.
    ///
    /// # Errors
    /// `ServiceException` when it cannot be written, which no generated type causes.
    fn to_message(&self) -> Result<Bytes, Error>;
}

/// Where the events of a stream come from.
pub trait Source<E>: Send {
    /// The next event; `None` after the last. An error ends the stream and is told to the client.
    fn poll_event(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<E, Error>>>;
}

/// The events that an operation answers with; by default there are none and the answer has no body.
pub struct EventStream<E> {
    source: Option<Box<dyn Source<E>>>,
}

impl<E> EventStream<E> {
    /// A stream of what `source` gives.
    pub fn new(source: impl Source<E> + 'static) -> EventStream<E> {
        EventStream { source: Some(Box::new(source)) }
    }
}

impl<E: Event + 'static> EventStream<E> {
    /// The stream as the pieces of a body; `None` when there is no stream.
    pub(crate) fn into_pieces(self) -> Option<Box<dyn Pieces>> {
        Some(Box::new(Messages { source: Some(self.source?) }))
    }
}

impl<E> Default for EventStream<E> {
    fn default() -> EventStream<E> {
        EventStream { source: None }
    }
}

impl<E> fmt::Debug for EventStream<E> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(if self.source.is_some() { "EventStream" } else { "no EventStream" })
    }
}

/// A body that becomes known piece by piece.
pub trait Pieces: Send {
    /// The next piece; `None` after the last.
    fn poll_piece(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>>;

    /// Whether the last piece was not the end of what was to come. Asked after it; the connection is
    /// then broken off, so that nobody takes a part for the whole.
    fn is_cut_short(&self) -> bool {
        false
    }
}

/// Writes one message per event.
struct Messages<E> {
    /// `None` after the end.
    source: Option<Box<dyn Source<E>>>,
}

impl<E: Event> Pieces for Messages<E> {
    fn poll_piece(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let Some(source) = &mut self.source else { return Poll::Ready(None) };
        let event = match source.poll_event(context) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(event) => event,
        };
        let written = event.map(|event| event.and_then(|event| event.to_message()));
        if !matches!(written, Some(Ok(_))) {
            self.source = None;
        }
        // The status has been sent long ago; what is left is to say so within the stream.
        Poll::Ready(
            written.map(|result| result.unwrap_or_else(|fault| error(&fault.code, &fault.message))),
        )
    }
}

/// An event whose members are its payload as JSON.
///
/// # Errors
/// `ServiceException` when the members cannot be written as JSON.
pub fn json_event(event_type: &str, members: &impl Serialize) -> Result<Bytes, Error> {
    let payload =
        serde_json::to_vec(members).map_err(|fault| Error::internal(fault.to_string()))?;
    Ok(event(event_type, "application/json", &payload))
}

/// An event whose payload is bytes.
pub fn event(event_type: &str, content_type: &str, payload: &[u8]) -> Bytes {
    let headers =
        [(":event-type", event_type), (":content-type", content_type), (":message-type", "event")];
    message(&headers, payload)
}

/// An exception that the service's model names. It ends its stream.
pub fn exception(exception_type: &str, payload: &[u8]) -> Bytes {
    let headers = [
        (":exception-type", exception_type),
        (":content-type", "application/json"),
        (":message-type", "exception"),
    ];
    message(&headers, payload)
}

/// An error that no model names. It ends its stream. A long text is cut.
pub fn error(code: &str, text: &str) -> Bytes {
    let headers = [(":error-code", code), (":error-message", text), (":message-type", "error")];
    message(&headers, b"")
}

/// Any message. A value that is too long for a header is cut.
///
/// # Panics
/// When a name has more than 255 bytes, or the headers more than 128 KB together: names and most
/// values are the program's own.
pub fn message(headers: &[(&str, &str)], payload: &[u8]) -> Bytes {
    let lengths = headers.iter().map(|(name, value)| name.len() + cut(value).len() + 4);
    let headers_bytes: usize = lengths.sum();
    assert!(headers_bytes <= HEADERS_BYTES_MAX, "the headers of a message are too long");
    let total = OVERHEAD_BYTES + headers_bytes + payload.len();
    let number = |bytes: usize| u32::try_from(bytes).expect("a message is far below 4 GB");
    let mut out = BytesMut::with_capacity(total);
    out.put_u32(number(total));
    out.put_u32(number(headers_bytes));
    out.put_u32(crc32fast::hash(&out));
    for (name, value) in headers {
        let value = cut(value);
        out.put_u8(u8::try_from(name.len()).expect("a header's name is short"));
        out.put_slice(name.as_bytes());
        out.put_u8(TEXT);
        out.put_u16(u16::try_from(value.len()).expect("a header's value has been cut"));
        out.put_slice(value.as_bytes());
    }
    out.put_slice(payload);
    out.put_u32(crc32fast::hash(&out));
    out.freeze()
}

/// As much of a value as a header can hold.
fn cut(value: &str) -> &str {
    &value[..value.floor_char_boundary(VALUE_BYTES_MAX)]
}
