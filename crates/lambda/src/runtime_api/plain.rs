//! The plain requests of the Runtime API, served without a general HTTP server: this is the path that
//! every warm invoke takes. Our own clients, on the stream that they inherit, and AWS's for Rust send
//! nothing else; what most others ask for their next event with is one too.
//!
//! What is of that form, and there in one piece, is answered here. Everything else (a chunked body, a
//! header that is not known here, half a request) goes to hyper together with what has been
//! read, and stays there; both give the same answers. The peer is user code as everywhere: nothing is
//! believed because it comes on this or that stream, and no more than [`READ_BYTES`] are held of it.
//!
//! Our clients send their answer and the request for the next event at once. Then the caller gets the
//! answer first, and the runtime hears that it arrived together with its next event: one write and one
//! wake-up instead of two.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use bytes::{Buf, Bytes, BytesMut};
use futures_util::FutureExt;
use http::header::{CONTENT_TYPE, HeaderName};
use http::{HeaderValue, Request};
use http_body_util::BodyExt;
use lambic_front::date;
use lambic_rt::Rt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::answer::{Answer, Payload};
use super::connection::{BoxIo, HEADERS_MAX, Kind};
use super::desk::{Desk, Event, NextEvent};
use super::{next, response, route};

/// What is read of a request if it is there at once, so also the longest that is served here.
const READ_BYTES: usize = 64 * 1024 + 4 * 1024;
/// Of which so much is held as long as no more comes: most environments wait for an event.
const USUAL_BYTES: usize = 4 * 1024;
/// Shorter bodies are copied, so that what they were read into can be used again, and no answer that waits
/// for its caller holds more than twice its size.
const COPIED_BYTES_MAX: usize = READ_BYTES / 2;
/// Longer events are written from where they lie.
const JOINED_BYTES_MAX: usize = 16 * 1024;

const INVOCATION: &[u8] = b"POST /2018-06-01/runtime/invocation/";
const NEXT: &[u8] = b"GET /2018-06-01/runtime/invocation/next HTTP/1.1";
const ERROR_TYPE: HeaderName = HeaderName::from_static("lambda-runtime-function-error-type");

/// Serves the stream until it closes; or until something comes that is not for here, which is given
/// back with what was read.
pub(super) async fn serve(
    mut io: BoxIo,
    kind: Kind,
    desk: &Arc<Desk>,
) -> Option<(BoxIo, BytesMut)> {
    let mut read = BytesMut::new();
    let mut out = Answers::new(kind, desk.rt());
    loop {
        if read.is_empty() {
            send(&mut io, &mut out, None).await.ok()?;
            read_more(&mut io, &mut read).await?;
        }
        let Some(asked) = Asked::read(&read) else {
            send(&mut io, &mut out, None).await.ok()?;
            return Some((io, read));
        };
        match asked.what {
            What::Next => {
                read.advance(asked.bytes);
                let event = match desk.next() {
                    Ok(NextEvent::Now(event)) => Some(event),
                    Ok(NextEvent::Later(receiver)) => receiver.await.ok(),
                    Err(refusal) => {
                        out.other(super::answer::from_refusal(refusal)).await;
                        continue;
                    }
                };
                match event {
                    Some(event) => {
                        let rest = out.event(&event);
                        send(&mut io, &mut out, rest).await.ok()?;
                    }
                    None => out.other(next::superseded()).await,
                }
            }
            What::Response { id, content_type } => {
                let id = String::from_utf8_lossy(&read[id]).into_owned();
                let content_type = content_type.map(|value| read[value].to_vec());
                let body = take(&mut read, asked.bytes, asked.body_bytes);
                match response::whole(desk, &id, content_type.as_deref(), body).await {
                    None => out.accepted(),
                    Some(answer) => out.other(answer).await,
                }
            }
            What::Other(request) => {
                let body = take(&mut read, asked.bytes, asked.body_bytes);
                let request = request.map(|()| Payload::Whole(Some(body)));
                out.other(route(desk.clone(), kind, request).await).await;
            }
        }
    }
}

/// Waits until something has come, and reads what is there. `None`: the stream has ended.
async fn read_more(io: &mut BoxIo, read: &mut BytesMut) -> Option<()> {
    if read.capacity() > 2 * USUAL_BYTES {
        *read = BytesMut::new();
    }
    read.reserve(USUAL_BYTES);
    if io.read_buf(read).await.ok()? == 0 {
        return None;
    }
    if read.len() == read.capacity() {
        read.reserve(READ_BYTES - read.len());
        // An end that is found here is found again.
        let more = io.read_buf(read).now_or_never();
        more.transpose().ok()?;
    }
    Some(())
}

/// Takes a request out of what was read; its body, which is the end of it.
fn take(read: &mut BytesMut, bytes: usize, body_bytes: usize) -> Bytes {
    if body_bytes > COPIED_BYTES_MAX {
        let mut whole = read.split_to(bytes);
        return whole.split_off(bytes - body_bytes).freeze();
    }
    let body = Bytes::copy_from_slice(&read[bytes - body_bytes..bytes]);
    read.advance(bytes);
    body
}

async fn send(io: &mut BoxIo, out: &mut Answers, rest: Option<Bytes>) -> io::Result<()> {
    if !out.text.is_empty() {
        io.write_all(&out.text).await?;
        out.text.clear();
    }
    if let Some(rest) = rest {
        io.write_all(&rest).await?;
    }
    io.flush().await
}

/// A request that is served here, as it lies at the beginning of what was read.
struct Asked {
    what: What,
    /// Of all of it.
    bytes: usize,
    /// Of its body.
    body_bytes: usize,
}

enum What {
    Next,
    Response {
        id: Range<usize>,
        content_type: Option<Range<usize>>,
    },
    /// What comes once, or when something went wrong.
    Other(Request<()>),
}

impl Asked {
    /// `None` for all that is not plainly a request of the usual form, and whole.
    fn read(read: &[u8]) -> Option<Asked> {
        let (line, mut at) = line(read, 0)?;
        let mut length = None;
        let mut content_type = None;
        let mut error_type = None;
        for count in 0.. {
            let (header, after) = self::line(read, at)?;
            let from = at;
            at = after;
            if header.is_empty() {
                break;
            }
            if count == HEADERS_MAX {
                return None;
            }
            let colon = header.iter().position(|byte| *byte == b':')?;
            let (name, value) = (&header[..colon], trimmed(&header[colon + 1..]));
            let begin = from + colon + 1 + offset(&header[colon + 1..]);
            let place = begin..begin + value.len();
            if !value.iter().all(|byte| fits(*byte)) {
                return None;
            }
            if says_nothing(name, value) {
                continue;
            }
            let known = if name.eq_ignore_ascii_case(b"content-length") {
                length.replace(number(value)?).is_none()
            } else if name.eq_ignore_ascii_case(b"content-type") {
                content_type.replace(place).is_none()
            } else if name.eq_ignore_ascii_case(b"lambda-runtime-function-error-type") {
                error_type.replace(place).is_none()
            } else {
                false
            };
            if !known {
                return None;
            }
        }
        let bytes = at + length.unwrap_or(0);
        if bytes > read.len() {
            return None;
        }
        let is_post = line.starts_with(b"POST ");
        if is_post != length.is_some() {
            return None;
        }
        let what = if line == NEXT {
            What::Next
        } else if let (Some(id), None) = (response_id(line), &error_type) {
            What::Response { id, content_type }
        } else {
            What::Other(request(read, line, content_type, error_type)?)
        };
        Some(Asked { what, bytes, body_bytes: bytes - at })
    }
}

/// The line that begins there, without its end, and where the next one begins.
fn line(read: &[u8], at: usize) -> Option<(&[u8], usize)> {
    let rest = &read[at..];
    let end = rest.iter().position(|byte| *byte == b'\n')?;
    // Those that end otherwise are hyper's to judge.
    let line = rest[..end].strip_suffix(b"\r")?;
    Some((line, at + end + 1))
}

/// Where the value begins.
fn offset(after_colon: &[u8]) -> usize {
    after_colon.iter().take_while(|byte| is_blank(**byte)).count()
}

/// Without the blanks around it. What else is white space has no place in a header.
fn trimmed(value: &[u8]) -> &[u8] {
    let rest = &value[offset(value)..];
    let blanks = rest.iter().rev().take_while(|byte| is_blank(**byte)).count();
    &rest[..rest.len() - blanks]
}

fn is_blank(byte: u8) -> bool {
    byte == b' ' || byte == b'\t'
}

/// Whether it may stand in the value of a header.
fn fits(byte: u8) -> bool {
    byte >= b' ' && byte != 0x7f || byte == b'\t'
}

fn number(digits: &[u8]) -> Option<usize> {
    let is_plain = (1..=6).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit);
    let value = |digits: &[u8]| digits.iter().fold(0, |sum, d| sum * 10 + usize::from(d - b'0'));
    is_plain.then(|| value(digits))
}

/// The request id of a response.
fn response_id(line: &[u8]) -> Option<Range<usize>> {
    let id = line.strip_prefix(INVOCATION)?.strip_suffix(b"/response HTTP/1.1")?;
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'-';
    id.iter().all(is_plain).then(|| INVOCATION.len()..INVOCATION.len() + id.len())
}

/// The same as hyper would make of it.
fn request(
    read: &[u8],
    line: &[u8],
    content_type: Option<Range<usize>>,
    error_type: Option<Range<usize>>,
) -> Option<Request<()>> {
    let mut words = std::str::from_utf8(line).ok()?.split(' ');
    let (Some(method @ ("GET" | "POST")), Some(path), Some("HTTP/1.1"), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return None;
    };
    if !path.starts_with('/') {
        return None;
    }
    let mut request = Request::builder().method(method).uri(path);
    for (name, place) in [(CONTENT_TYPE, content_type), (ERROR_TYPE, error_type)] {
        if let Some(place) = place {
            request = request.header(name, &read[place]);
        }
    }
    request.body(()).ok()
}

/// Whether a header makes no difference to anybody.
fn says_nothing(name: &[u8], value: &[u8]) -> bool {
    [&b"host"[..], b"user-agent", b"accept", b"accept-encoding"]
        .iter()
        .any(|known| name.eq_ignore_ascii_case(known))
        // As without it.
        || name.eq_ignore_ascii_case(b"connection") && value.eq_ignore_ascii_case(b"keep-alive")
}

/// Answers that have not been sent.
struct Answers {
    text: Vec<u8>,
    /// Whether they are dated, as general HTTP servers do; our own clients do not look at it.
    dated: Option<Rt>,
}

impl Answers {
    fn new(kind: Kind, rt: &Rt) -> Answers {
        let dated = (kind == Kind::Accepted).then(|| rt.clone());
        Answers { text: Vec::new(), dated }
    }

    fn accepted(&mut self) {
        self.text.extend_from_slice(
            b"HTTP/1.1 202 Accepted\r\ncontent-type: application/json\r\ncontent-length: 16\r\n",
        );
        self.end_head();
        self.text.extend_from_slice(b"{\"status\":\"OK\"}\n");
    }

    /// Adds an event. A long one is not copied: it is what comes after that.
    fn event(&mut self, event: &Event) -> Option<Bytes> {
        self.text.extend_from_slice(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n");
        // As in `next`: what cannot stand in a header is left out.
        for (name, text) in next::texts_of(event).filter(|(_, text)| text.bytes().all(fits)) {
            self.header(name, text.as_bytes());
        }
        self.number("lambda-runtime-deadline-ms", event.deadline_ms);
        self.number("content-length", event.payload.len() as i64);
        self.end_head();
        if event.payload.len() > JOINED_BYTES_MAX {
            return Some(event.payload.clone());
        }
        self.text.extend_from_slice(&event.payload);
        None
    }

    /// Adds any other answer.
    async fn other(&mut self, answer: Answer) {
        let (head, body) = answer.into_parts();
        // A body that is there already cannot fail.
        let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
        self.text.extend_from_slice(b"HTTP/1.1 ");
        self.text.extend_from_slice(head.status.as_str().as_bytes());
        self.text.push(b' ');
        let reason = head.status.canonical_reason().unwrap_or_default();
        self.text.extend_from_slice(reason.as_bytes());
        self.text.extend_from_slice(b"\r\n");
        for (name, value) in &head.headers {
            self.header(name.as_str(), HeaderValue::as_bytes(value));
        }
        self.number("content-length", body.len() as i64);
        self.end_head();
        self.text.extend_from_slice(&body);
    }

    fn header(&mut self, name: &str, value: &[u8]) {
        self.text.extend_from_slice(name.as_bytes());
        self.text.extend_from_slice(b": ");
        self.text.extend_from_slice(value);
        self.text.extend_from_slice(b"\r\n");
    }

    fn number(&mut self, name: &str, value: i64) {
        use std::io::Write;
        // A vector takes everything.
        let _ = write!(self.text, "{name}: {value}\r\n");
    }

    fn end_head(&mut self) {
        if let Some(rt) = &self.dated {
            let date = date::header(rt.now());
            self.header("date", date.as_bytes());
        }
        self.text.extend_from_slice(b"\r\n");
    }
}
