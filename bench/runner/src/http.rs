//! HTTP/1.1 messages as they lie in a buffer, and a client for one request.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// A body or a head may have this many bytes.
const MESSAGE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// A whole message at the beginning of a buffer.
pub struct Message {
    /// Request or status line and headers, without the empty line.
    pub head: String,
    /// The body, with chunks put together.
    pub body: Vec<u8>,
    /// How many bytes of the buffer it takes.
    pub length: usize,
}

impl Message {
    /// Reads the first message of `buffer`; nothing while it is not whole.
    pub fn read(buffer: &[u8]) -> Option<Message> {
        let end = find(buffer, b"\r\n\r\n")?;
        let head = String::from_utf8_lossy(&buffer[..end]).into_owned();
        let start = end + 4;
        let chunked = header_of(&head, "transfer-encoding").is_some_and(|v| v.contains("chunked"));
        if chunked {
            let (body, taken) = dechunk(&buffer[start..])?;
            return Some(Message { head, body, length: start + taken });
        }
        let size = header_of(&head, "content-length").map_or(0, |v| v.parse().unwrap_or(0));
        let body = buffer.get(start..start + size)?.to_vec();
        Some(Message { head, body, length: start + size })
    }

    /// A header's value; `name` in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        header_of(&self.head, name)
    }

    /// The status of a reply; 0 for what is none.
    pub fn status(&self) -> u16 {
        self.head.split(' ').nth(1).and_then(|word| word.parse().ok()).unwrap_or(0)
    }
}

fn header_of<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.split("\r\n").skip(1).find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

fn find(buffer: &[u8], wanted: &[u8]) -> Option<usize> {
    buffer.windows(wanted.len()).position(|window| window == wanted)
}

fn dechunk(mut rest: &[u8]) -> Option<(Vec<u8>, usize)> {
    let whole = rest.len();
    let mut body = Vec::new();
    loop {
        let line = find(rest, b"\r\n")?;
        let size = std::str::from_utf8(&rest[..line]).ok()?;
        let size = usize::from_str_radix(size.split(';').next()?.trim(), 16).ok()?;
        let data = rest.get(line + 2..line + 2 + size)?;
        rest = rest.get(line + 2 + size + 2..)?;
        if size == 0 {
            return Some((body, whole - rest.len()));
        }
        body.extend_from_slice(data);
    }
}

/// What the head of a message says of its length, found without copying anything: for those who read
/// many thousand messages in a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Where the body begins.
    pub body: usize,
    /// Where the message ends.
    pub end: usize,
    /// Whether a function's error is told.
    pub is_function_error: bool,
}

impl Frame {
    /// The first message of `buffer`. Nothing while it is not whole; an error where it comes in chunks,
    /// which [`Message::read`] is for.
    ///
    /// # Errors
    /// When the body is in chunks.
    pub fn find(buffer: &[u8]) -> Result<Option<Frame>, Chunked> {
        let (mut at, mut size, mut is_function_error) = (0, 0, false);
        loop {
            let Some(end) = buffer[at..].iter().position(|byte| *byte == b'\n') else { return Ok(None) };
            let line = &buffer[at..at + end];
            at += end + 1;
            match line.first() {
                None | Some(b'\r') => break,
                Some(b'c' | b'C') if starts(line, b"content-length:") => {
                    let digits = line[15..].iter().filter(|byte| byte.is_ascii_digit());
                    size = digits.fold(0, |sum, digit| sum * 10 + usize::from(digit - b'0'));
                }
                Some(b't' | b'T') if starts(line, b"transfer-encoding:") => return Err(Chunked),
                Some(b'x' | b'X') => is_function_error |= starts(line, b"x-amz-function-error:"),
                _ => {}
            }
        }
        Ok((buffer.len() >= at + size).then_some(Frame { body: at, end: at + size, is_function_error }))
    }
}

/// The body comes in chunks.
#[derive(Debug, PartialEq, Eq)]
pub struct Chunked;

fn starts(line: &[u8], name: &[u8]) -> bool {
    line.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name))
}

/// Whether the reply at the beginning of the buffer is a good one, and how long it is; nothing while it is
/// not whole.
pub fn good_reply(buffer: &[u8]) -> Option<(bool, usize)> {
    match Frame::find(buffer) {
        Ok(frame) => {
            frame.map(|one| (buffer.starts_with(b"HTTP/1.1 200") && !one.is_function_error, one.end))
        }
        Err(Chunked) => {
            let message = Message::read(buffer)?;
            let good = message.status() == 200 && message.header("x-amz-function-error").is_none();
            Some((good, message.length))
        }
    }
}

/// Sends one request on a connection of its own and gives status and body.
///
/// # Errors
/// A sentence when there is no connection or no whole reply.
pub fn ask(address: &str, request: &[u8], timeout: Duration) -> Result<Message, String> {
    Connection::open(address, timeout)?.call(request)
}

/// A connection that stays open from one request to the next.
pub struct Connection {
    address: String,
    stream: TcpStream,
    /// What has come of the reply that is being read.
    buffer: Vec<u8>,
}

impl Connection {
    /// Connects; each reply may take as long as `timeout`.
    ///
    /// # Errors
    /// A sentence when there is no connection.
    pub fn open(address: &str, timeout: Duration) -> Result<Connection, String> {
        let text = |error: std::io::Error| format!("{address}: {error}");
        let stream = TcpStream::connect(address).map_err(text)?;
        stream.set_read_timeout(Some(timeout)).map_err(text)?;
        stream.set_nodelay(true).map_err(text)?;
        Ok(Connection { address: address.to_owned(), stream, buffer: Vec::new() })
    }

    /// Sends one request and reads its reply. After an error the connection is of no more use.
    ///
    /// # Errors
    /// A sentence when no whole reply comes.
    pub fn call(&mut self, request: &[u8]) -> Result<Message, String> {
        self.timed(request).map(|(message, _)| message)
    }

    /// As [`Connection::call`], with the time from the first byte of the request to the first of the
    /// reply.
    ///
    /// # Errors
    /// As there.
    pub fn timed(&mut self, request: &[u8]) -> Result<(Message, Duration), String> {
        let text = |error: std::io::Error| format!("{}: {error}", self.address);
        let mut part = vec![0; 65_536];
        let begun = Instant::now();
        let mut first = Duration::ZERO;
        self.stream.write_all(request).map_err(text)?;
        loop {
            if let Some(message) = Message::read(&self.buffer) {
                self.buffer.drain(..message.length);
                return Ok((message, first));
            }
            let count = match self.stream.read(&mut part) {
                // Whoever is frozen and thawed while it waits with a time limit is told so.
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                other => other.map_err(text)?,
            };
            if first.is_zero() {
                first = begun.elapsed();
            }
            if count == 0 || self.buffer.len() > MESSAGE_BYTES_MAX {
                return Err(format!("{}: the connection ended before the reply did", self.address));
            }
            self.buffer.extend_from_slice(&part[..count]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_read_when_they_are_whole() {
        let text = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhiHTTP/1.1";
        let message = Message::read(text).unwrap();
        assert_eq!((message.status(), message.body.as_slice()), (200, b"hi".as_slice()));
        assert_eq!(message.length, text.len() - 8);
        assert!(Message::read(&text[..39]).is_none());
    }

    #[test]
    fn frames_are_found_as_messages_are() {
        let text = b"HTTP/1.1 200 OK\r\nX-Amz-Function-Error: Unhandled\r\ncontent-length: 12\r\n\r\n{\"a\":\"bcdef\"}GET";
        let frame = Frame::find(text).unwrap().unwrap();
        let message = Message::read(text).unwrap();
        assert_eq!((frame.end, &text[frame.body..frame.end]), (message.length, message.body.as_slice()));
        assert_eq!(good_reply(text), Some((false, frame.end)));
        for end in 0..frame.end {
            assert_eq!(Frame::find(&text[..end]), Ok(None), "{end}");
        }
        assert_eq!(Frame::find(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"), Err(Chunked));
        assert_eq!(
            good_reply(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
            Some((true, 52))
        );
        assert_eq!(good_reply(b"HTTP/1.1 429 No\r\n\r\n"), Some((false, 19)));
    }

    #[test]
    fn chunks_are_put_together() {
        let text = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n1\r\n!\r\n0\r\n\r\n";
        let message = Message::read(text).unwrap();
        assert_eq!((message.body.as_slice(), message.length), (b"hi!".as_slice(), text.len()));
        assert!(Message::read(&text[..text.len() - 1]).is_none());
    }
}
