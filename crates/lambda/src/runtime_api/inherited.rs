//! The stream that our own runtime clients inherit, served without a general HTTP server: they send
//! few kinds of requests, always in the same form, and this is the path that every warm invoke takes.
//!
//! What is of that form, and there in one piece, is answered here. Everything else (a chunked body, a
//! header that our clients do not send, half a request) goes to hyper together with what has been
//! read, and stays there; both give the same answers. The peer is user code as everywhere: nothing is
//! believed because it comes on this stream, and no more than [`READ_BYTES`] are held of it.
//!
//! Our clients send their answer and the request for the next event at once. Then the caller gets the
//! answer first, and the runtime hears that it arrived together with its next event: one write and one
//! wake-up instead of two.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use bytes::{Buf, Bytes, BytesMut};
use http::header::{CONTENT_TYPE, HeaderName};
use http::{HeaderValue, Request};
use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::answer::{Answer, Payload};
use super::connection::{BoxIo, Kind};
use super::desk::{Desk, Event, NextEvent};
use super::{next, response, route};

/// Read at a time, so also the longest request that is served here.
const READ_BYTES: usize = 64 * 1024 + 4 * 1024;
/// Shorter bodies are copied, so that what they were read into can be used again, and no answer that waits
/// for its caller holds more than twice its size.
const COPIED_BYTES_MAX: usize = READ_BYTES / 2;
/// Longer events are written from where they lie.
const JOINED_BYTES_MAX: usize = 16 * 1024;

const INVOCATION: &[u8] = b"POST /2018-06-01/runtime/invocation/";
const NEXT: &[u8] = b"GET /2018-06-01/runtime/invocation/next HTTP/1.1";
const ACCEPTED: &[u8] =
    b"HTTP/1.1 202 Accepted\r\ncontent-type: application/json\r\ncontent-length: 16\r\n\r\n{\"status\":\"OK\"}\n";
const ERROR_TYPE: HeaderName = HeaderName::from_static("lambda-runtime-function-error-type");

/// Serves the stream until it closes; or until something comes that is not for here, which is given
/// back with what was read.
pub(super) async fn serve(mut io: BoxIo, desk: &Arc<Desk>) -> Option<(BoxIo, BytesMut)> {
    let mut read = BytesMut::new();
    // Answers that have not been sent.
    let mut out = Vec::new();
    loop {
        if read.is_empty() {
            send(&mut io, &mut out, None).await.ok()?;
            read.reserve(READ_BYTES);
            match io.read_buf(&mut read).await {
                Ok(0) | Err(_) => return None,
                Ok(_) => {}
            }
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
                        print(&mut out, super::answer::from_refusal(refusal)).await;
                        continue;
                    }
                };
                match event {
                    Some(event) => {
                        let rest = print_event(&mut out, &event);
                        send(&mut io, &mut out, rest).await.ok()?;
                    }
                    None => print(&mut out, next::superseded()).await,
                }
            }
            What::Response { id, content_type } => {
                let id = String::from_utf8_lossy(&read[id]).into_owned();
                let content_type = content_type.map(|value| read[value].to_vec());
                let body = take(&mut read, asked.bytes, asked.body_bytes);
                match response::whole(desk, &id, content_type.as_deref(), body).await {
                    None => out.extend_from_slice(ACCEPTED),
                    Some(answer) => print(&mut out, answer).await,
                }
            }
            What::Other(request) => {
                let body = take(&mut read, asked.bytes, asked.body_bytes);
                let request = request.map(|()| Payload::Whole(Some(body)));
                let answer = route(desk.clone(), Kind::Inherited, request).await;
                print(&mut out, answer).await;
            }
        }
    }
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

async fn send(io: &mut BoxIo, out: &mut Vec<u8>, rest: Option<Bytes>) -> io::Result<()> {
    if !out.is_empty() {
        io.write_all(out).await?;
        out.clear();
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
    /// `None` for all that is not plainly one of the requests of our clients, and whole.
    fn read(read: &[u8]) -> Option<Asked> {
        let (line, mut at) = line(read, 0)?;
        let mut length = None;
        let mut content_type = None;
        let mut error_type = None;
        loop {
            let (header, after) = self::line(read, at)?;
            let from = at;
            at = after;
            if header.is_empty() {
                break;
            }
            let colon = header.iter().position(|byte| *byte == b':')?;
            let (name, value) = (&header[..colon], header[colon + 1..].trim_ascii());
            let begin = from + colon + 1 + offset(&header[colon + 1..]);
            let place = begin..begin + value.len();
            if !value.iter().all(|byte| fits(*byte)) {
                return None;
            }
            if name.eq_ignore_ascii_case(b"host") || name.eq_ignore_ascii_case(b"user-agent") {
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
    after_colon.len() - after_colon.trim_ascii_start().len()
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

/// Adds an event. A long one is not copied: it is what comes after that.
fn print_event(out: &mut Vec<u8>, event: &Event) -> Option<Bytes> {
    let texts = [
        ("lambda-runtime-aws-request-id", Some(&event.request_id)),
        ("lambda-runtime-invoked-function-arn", Some(&event.invoked_arn)),
        ("lambda-runtime-trace-id", Some(&event.trace_id)),
        ("lambda-runtime-client-context", event.client_context.as_ref()),
        ("lambda-runtime-aws-tenant-id", event.tenant_id.as_ref()),
    ];
    out.extend_from_slice(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n");
    for (name, text) in texts {
        // As in `next`: what cannot stand in a header is left out.
        let text = text.filter(|text| !text.is_empty() && text.bytes().all(fits));
        if let Some(text) = text {
            print_header(out, name, text.as_bytes());
        }
    }
    print_number(out, "lambda-runtime-deadline-ms", event.deadline_ms);
    print_number(out, "content-length", event.payload.len() as i64);
    out.extend_from_slice(b"\r\n");
    if event.payload.len() > JOINED_BYTES_MAX {
        return Some(event.payload.clone());
    }
    out.extend_from_slice(&event.payload);
    None
}

/// Adds any other answer.
async fn print(out: &mut Vec<u8>, answer: Answer) {
    let (head, body) = answer.into_parts();
    // A body that is there already cannot fail.
    let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(head.status.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(head.status.canonical_reason().unwrap_or_default().as_bytes());
    out.extend_from_slice(b"\r\n");
    for (name, value) in &head.headers {
        print_header(out, name.as_str(), HeaderValue::as_bytes(value));
    }
    print_number(out, "content-length", body.len() as i64);
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(&body);
}

fn print_header(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

fn print_number(out: &mut Vec<u8>, name: &str, value: i64) {
    use std::io::Write;
    // A vector takes everything.
    let _ = write!(out, "{name}: {value}\r\n");
}
