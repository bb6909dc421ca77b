//! What is written as an event stream is read back by a decoder that was written from the
//! specification and shares no code with the encoder.

use std::collections::VecDeque;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use lambic_wire::event_stream::{
    Event, EventStream, OVERHEAD_BYTES, Source, error, event, exception, json_event, message,
};
use lambic_wire::{Body, Error, restjson};
use proptest::prelude::*;

/// A message taken apart.
#[derive(Debug, PartialEq)]
struct Decoded {
    headers: Vec<(String, String)>,
    payload: Vec<u8>,
}

impl Decoded {
    fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(have, _)| have == name);
        found.map_or("", |(_, value)| value)
    }
}

/// CRC-32 (IEEE 802.3), bit by bit.
fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 };
        }
    }
    !crc
}

fn number(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap())
}

/// Takes one message off the front.
fn decode(bytes: &mut &[u8]) -> Decoded {
    let total = number(bytes, 0) as usize;
    let headers_bytes = number(bytes, 4) as usize;
    assert_eq!(number(bytes, 8), crc32(&bytes[..8]), "the checksum of the prelude");
    assert_eq!(number(bytes, total - 4), crc32(&bytes[..total - 4]), "the checksum");
    let mut rest = &bytes[12..12 + headers_bytes];
    let mut headers = Vec::new();
    while let Some((length, after)) = rest.split_first() {
        let (name, after) = after.split_at(usize::from(*length));
        assert_eq!(after[0], 7, "only text");
        let length = usize::from(u16::from_be_bytes([after[1], after[2]]));
        let (value, after) = after[3..].split_at(length);
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        headers.push((text(name), text(value)));
        rest = after;
    }
    let payload = bytes[12 + headers_bytes..total - 4].to_vec();
    *bytes = &bytes[total..];
    Decoded { headers, payload }
}

fn decode_all(mut bytes: &[u8]) -> Vec<Decoded> {
    let mut all = Vec::new();
    while !bytes.is_empty() {
        all.push(decode(&mut bytes));
    }
    all
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(
        headers in prop::collection::vec(("[a-z:-]{1,40}", ".{0,80}"), 0..8),
        payload in prop::collection::vec(any::<u8>(), 0..5_000),
    ) {
        let borrowed: Vec<(&str, &str)> =
            headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let written = message(&borrowed, &payload);
        prop_assert_eq!(decode_all(&written), vec![Decoded { headers, payload }]);
    }

    #[test]
    fn messages_follow_each_other(payloads in prop::collection::vec(".{0,40}", 0..20)) {
        let written: Vec<u8> =
            payloads.iter().flat_map(|text| event("E", "t", text.as_bytes()).to_vec()).collect();
        let read: Vec<String> = decode_all(&written)
            .into_iter()
            .map(|message| String::from_utf8(message.payload).unwrap())
            .collect();
        prop_assert_eq!(read, payloads);
    }

    #[test]
    fn a_changed_bit_is_noticed(at in 0_usize..200, bit in 0_u8..8) {
        let mut bytes = event("PayloadChunk", "application/octet-stream", b"payload").to_vec();
        let at = at % bytes.len();
        bytes[at] ^= 1 << bit;
        let total = number(&bytes, 0) as usize;
        let intact = number(&bytes, 8) == crc32(&bytes[..8])
            && total == bytes.len()
            && number(&bytes, total - 4) == crc32(&bytes[..total - 4]);
        prop_assert!(!intact);
    }

    #[test]
    fn a_text_that_is_too_long_is_cut_between_characters(text in "[aäß☃]{10000,14000}") {
        let read = decode_all(&error("Code", &text)).remove(0);
        let kept = read.header(":error-message");
        prop_assert!(text.starts_with(kept));
        prop_assert!(kept.len() == text.len() || (kept.len() <= 32_767 && kept.len() > 32_763));
    }
}

/// The example of AWS's specification of the encoding: an empty message.
#[test]
fn an_empty_message() {
    let empty = message(&[], b"");
    assert_eq!(empty.len(), OVERHEAD_BYTES);
    let known = [0, 0, 0, 0x10, 0, 0, 0, 0, 0x05, 0xc2, 0x48, 0xeb, 0x7d, 0x98, 0xc8, 0xff];
    assert_eq!(&empty[..], &known);
}

#[test]
fn the_three_types_of_message() {
    let read = decode_all(&event("PayloadChunk", "application/octet-stream", b"\0x")).remove(0);
    assert_eq!(read.header(":message-type"), "event");
    assert_eq!(read.header(":event-type"), "PayloadChunk");
    assert_eq!(read.header(":content-type"), "application/octet-stream");
    assert_eq!(read.payload, b"\0x");
    let read = decode_all(&exception("ServiceException", b"{}")).remove(0);
    assert_eq!(read.header(":message-type"), "exception");
    assert_eq!(read.header(":exception-type"), "ServiceException");
    assert_eq!((read.header(":content-type"), &read.payload[..]), ("application/json", &b"{}"[..]));
    let read = decode_all(&error("InternalFailure", "it broke")).remove(0);
    assert_eq!(read.header(":message-type"), "error");
    assert_eq!(read.header(":error-code"), "InternalFailure");
    assert_eq!((read.header(":error-message"), read.payload.len()), ("it broke", 0));
}

struct Note(&'static str);

impl Event for Note {
    fn to_message(&self) -> Result<Bytes, Error> {
        json_event("Note", &self.0)
    }
}

/// Gives what it holds, and is not ready before each.
struct Held(VecDeque<Result<Note, Error>>, bool);

impl Source<Note> for Held {
    fn poll_event(&mut self, _: &mut Context<'_>) -> Poll<Option<Result<Note, Error>>> {
        self.1 = !self.1;
        if self.1 { Poll::Pending } else { Poll::Ready(self.0.pop_front()) }
    }
}

fn sent(events: Vec<Result<Note, Error>>) -> Vec<Decoded> {
    let stream = EventStream::new(Held(events.into(), false));
    let response = restjson::encode_event_stream(200, stream);
    assert_eq!(response.header("content-type"), Some("application/vnd.amazon.eventstream"));
    let Body::Pieces(mut pieces) = response.body else { panic!("not in pieces") };
    let mut context = Context::from_waker(Waker::noop());
    let mut all = Vec::new();
    loop {
        match pieces.poll_piece(&mut context) {
            Poll::Pending => {}
            Poll::Ready(Some(piece)) => all.extend_from_slice(&piece),
            Poll::Ready(None) => break,
        }
    }
    assert!(matches!(pieces.poll_piece(&mut context), Poll::Ready(None)), "it has ended");
    decode_all(&all)
}

#[test]
fn a_stream_of_events_is_a_body_of_messages() {
    let read = sent(vec![Ok(Note("a")), Ok(Note("b"))]);
    let payloads: Vec<&[u8]> = read.iter().map(|message| &message.payload[..]).collect();
    assert_eq!(payloads, [b"\"a\"", b"\"b\""]);
    assert!(read.iter().all(|message| message.header(":event-type") == "Note"));
    assert!(sent(Vec::new()).is_empty());
}

#[test]
fn an_error_is_the_last_message() {
    let read = sent(vec![Ok(Note("a")), Err(Error::internal("lost")), Ok(Note("never"))]);
    assert_eq!(read.len(), 2);
    assert_eq!(read[1].header(":error-code"), "ServiceException");
    assert_eq!(read[1].header(":error-message"), "lost");
}

#[test]
fn without_a_stream_there_is_no_body() {
    let response = restjson::encode_event_stream(204, EventStream::<Note>::default());
    assert_eq!((response.status, response.headers.len()), (204, 0));
    assert_eq!(response.body.whole(), Some(&Bytes::new()));
}
