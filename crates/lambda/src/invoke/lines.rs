//! From the bytes that an environment prints to the records of its log, and how important they are.
//!
//! A record is a line, or a frame: AWS's runtime clients put a record of several lines into one so
//! that it stays one record. A frame is a type, a length, a time in microseconds (4, 4 and 8 bytes,
//! big-endian), and then so many bytes of text. Our own clients write frames to standard output, so
//! that they keep their place among what the function prints.

use serde::Deserialize;
use serde_json::Value;

use crate::state::logging::Level;

/// A longer record is cut into pieces of this size, as CloudWatch Logs has it.
pub(super) const RECORD_BYTES_MAX: usize = 256 * 1024;
/// What claims to be longer is no frame.
const FRAME_BYTES_MAX: usize = 32 * 1024 * 1024;
const HEAD_BYTES: usize = 16;
/// The type's upper bytes. The lowest has a level in bits 2 to 4; bit 1 is set, and bit 0 says text.
const MAGIC: [u8; 3] = [0xa5, 0x5a, 0x00];

/// One record, or a piece of one that is too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Piece<'a> {
    /// A line with its newline, if it has one; the text of a frame as it was sent.
    pub(super) bytes: &'a [u8],
    /// The level that a frame was sent with.
    pub(super) level: Option<Level>,
    /// Whether it is a frame, or the first piece of one.
    pub(super) opens_frame: bool,
    /// Whether it is a frame, or the last piece of one.
    pub(super) closes_frame: bool,
}

/// What is left of a frame.
#[derive(Clone, Copy)]
struct Frame {
    is_begun: bool,
    bytes_left: usize,
    level: Option<Level>,
}

/// Takes bytes as they come; keeps at most one unfinished record.
#[derive(Default)]
pub(super) struct Splitter {
    pending: Vec<u8>,
    /// Bytes of `pending` that are known to hold neither a newline nor a frame.
    searched: usize,
    frame: Option<Frame>,
    has_frames: bool,
}

impl Splitter {
    /// `has_frames` for output of runtime clients that are known to write some.
    pub(super) fn new(has_frames: bool) -> Splitter {
        Splitter { has_frames, ..Splitter::default() }
    }

    /// Calls `each` for every record that has become complete.
    pub(super) fn take(&mut self, bytes: &[u8], mut each: impl FnMut(Piece<'_>)) {
        let mut pending = std::mem::take(&mut self.pending);
        pending.extend_from_slice(bytes);
        let mut rest = &pending[..];
        while let Some(count) = self.complete(rest, &mut each) {
            rest = &rest[count..];
            self.searched = 0;
        }
        let done = pending.len() - rest.len();
        pending.drain(..done);
        self.pending = pending;
    }

    /// Ends what is unfinished. What still comes of a frame is an ordinary line.
    pub(super) fn end(&mut self, mut each: impl FnMut(Piece<'_>)) {
        let pending = std::mem::take(&mut self.pending);
        let frame = self.frame.take();
        self.searched = 0;
        if !pending.is_empty() {
            each(Piece {
                bytes: &pending,
                level: frame.and_then(|frame| frame.level),
                opens_frame: frame.is_some_and(|frame| !frame.is_begun),
                closes_frame: frame.is_some(),
            });
        }
    }

    /// Bytes that are done at the front of `rest`; `None` when more has to come first.
    fn complete(&mut self, rest: &[u8], each: &mut impl FnMut(Piece<'_>)) -> Option<usize> {
        if let Some(frame) = &mut self.frame {
            let count = frame.bytes_left.min(RECORD_BYTES_MAX);
            let bytes = rest.get(..count)?;
            frame.bytes_left -= count;
            let opens_frame = !std::mem::replace(&mut frame.is_begun, true);
            let closes_frame = frame.bytes_left == 0;
            each(Piece { bytes, level: frame.level, opens_frame, closes_frame });
            if closes_frame {
                self.frame = None;
            }
            return Some(count);
        }
        while self.searched < rest.len().min(RECORD_BYTES_MAX) {
            let at = self.searched;
            match rest[at] {
                b'\n' => return Some(line(&rest[..=at], each)),
                0xa5 if self.has_frames => match head(&rest[at..]) {
                    Head::Cut => return None,
                    Head::None => {}
                    Head::Frame(frame) => {
                        if at > 0 {
                            line(&rest[..at], each);
                        }
                        self.frame = Some(frame);
                        return Some(at + HEAD_BYTES);
                    }
                },
                _ => {}
            }
            self.searched += 1;
        }
        (self.searched == RECORD_BYTES_MAX).then(|| line(&rest[..RECORD_BYTES_MAX], each))
    }
}

fn line(bytes: &[u8], each: &mut impl FnMut(Piece<'_>)) -> usize {
    each(Piece { bytes, level: None, opens_frame: false, closes_frame: false });
    bytes.len()
}

enum Head {
    None,
    /// It may become one.
    Cut,
    Frame(Frame),
}

fn head(bytes: &[u8]) -> Head {
    let known = bytes.len().min(MAGIC.len());
    if bytes[..known] != MAGIC[..known] {
        return Head::None;
    }
    let Some(head) = bytes.get(..HEAD_BYTES) else { return Head::Cut };
    let level = match head[3] >> 2 {
        0 => None,
        1 => Some(Level::Trace),
        2 => Some(Level::Debug),
        3 => Some(Level::Info),
        4 => Some(Level::Warn),
        5 => Some(Level::Error),
        6 => Some(Level::Fatal),
        _ => return Head::None,
    };
    let bytes_left = u32::from_be_bytes([head[4], head[5], head[6], head[7]]) as usize;
    if head[3] & 0b10 == 0 || bytes_left == 0 || bytes_left > FRAME_BYTES_MAX {
        return Head::None;
    }
    Head::Frame(Frame { is_begun: false, bytes_left, level })
}

/// How important a line is, after AWS's rules: a JSON object has the level of its member `level`,
/// and INFO when that is missing or unknown or when it has no valid time. `None` for any other line,
/// which has no level and is never left out.
pub(super) fn level_of(line: &[u8]) -> Option<Level> {
    #[derive(Deserialize)]
    struct Members {
        #[serde(default)]
        level: Value,
        #[serde(default)]
        timestamp: Value,
        #[serde(default)]
        time: Value,
        #[serde(default, rename = "@timestamp")]
        at_timestamp: Value,
    }
    let line = line.trim_ascii();
    if !line.starts_with(b"{") {
        return None;
    }
    let members: Members = serde_json::from_slice(line).ok()?;
    let times = [&members.timestamp, &members.time, &members.at_timestamp];
    let is_timed = times.iter().any(|time| time.as_str().is_some_and(is_rfc3339));
    let named = members.level.as_str().and_then(Level::of_name);
    Some(named.filter(|_| is_timed).unwrap_or(Level::Info))
}

/// `2026-11-28T07:00:00Z`, with any fraction of a second and any offset.
fn is_rfc3339(text: &str) -> bool {
    let Some((date_time, rest)) = text.as_bytes().split_at_checked(19) else { return false };
    let shape = b"dddd-dd-ddTdd:dd:dd";
    let fits = |(byte, shape): (&u8, &u8)| match shape {
        b'd' => byte.is_ascii_digit(),
        b'T' => matches!(byte, b'T' | b't' | b' '),
        other => byte == other,
    };
    let number = |at: usize| (date_time[at] - b'0') * 10 + (date_time[at + 1] - b'0');
    let offset = match rest.strip_prefix(b".") {
        Some(fraction) => {
            let digits = fraction.iter().take_while(|byte| byte.is_ascii_digit()).count();
            if digits == 0 {
                return false;
            }
            &fraction[digits..]
        }
        None => rest,
    };
    let is_offset = match offset {
        [b'Z' | b'z'] => true,
        [b'+' | b'-', h1, h2, b':', m1, m2] => [h1, h2, m1, m2].iter().all(|b| b.is_ascii_digit()),
        _ => false,
    };
    date_time.iter().zip(shape).all(fits)
        && (1..=12).contains(&number(5))
        && (1..=31).contains(&number(8))
        && number(11) < 24
        && number(14) < 60
        && number(17) <= 60
        && is_offset
}

#[cfg(test)]
#[path = "lines_tests.rs"]
mod tests;
