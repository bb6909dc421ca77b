//! Lines and frames however they are cut, and the levels of lines.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

type Record = (Vec<u8>, Option<Level>, bool);

/// The records of these pieces of output; those that are unfinished come last.
fn split(has_frames: bool, chunks: &[&[u8]]) -> Vec<Record> {
    let mut splitter = Splitter::new(has_frames);
    let mut records = Vec::new();
    let mut keep = |piece: Piece<'_>| {
        records.push((piece.bytes.to_vec(), piece.level, piece.closes_frame));
    };
    for chunk in chunks {
        splitter.take(chunk, &mut keep);
    }
    splitter.end(&mut keep);
    records
}

fn line(text: &str) -> Record {
    (text.as_bytes().to_vec(), None, false)
}

fn frame(kind: u32, text: &str) -> Vec<u8> {
    let mut bytes = kind.to_be_bytes().to_vec();
    bytes.extend((text.len() as u32).to_be_bytes());
    bytes.extend(1_790_000_000_000_000_u64.to_be_bytes());
    bytes.extend(text.as_bytes());
    bytes
}

#[test]
fn frames_stay_whole_between_lines() {
    let mut output = b"one\nhalf".to_vec();
    output.extend(frame(0xa55a_0003, "a\nb\n"));
    output.extend(frame(0xa55a_0012, "{\"json\":\n1}"));
    output.extend(b"two\nrest");
    let expected = vec![
        line("one\n"),
        line("half"),
        (b"a\nb\n".to_vec(), None, true),
        (b"{\"json\":\n1}".to_vec(), Some(Level::Warn), true),
        line("two\n"),
        line("rest"),
    ];
    assert_eq!(split(true, &[&output]), expected);
    for size in 1..output.len() {
        let chunks: Vec<&[u8]> = output.chunks(size).collect();
        assert_eq!(split(true, &chunks), expected, "in chunks of {size}");
    }
}

#[test]
fn levels_of_frames_as_aws_s_clients_number_them() {
    let known = [
        (0xa55a_0002, None),
        (0xa55a_0003, None),
        (0xa55a_0007, Some(Level::Trace)),
        (0xa55a_000a, Some(Level::Debug)),
        (0xa55a_000f, Some(Level::Info)),
        (0xa55a_0013, Some(Level::Warn)),
        (0xa55a_0016, Some(Level::Error)),
        (0xa55a_001b, Some(Level::Fatal)),
    ];
    for (kind, level) in known {
        assert_eq!(split(true, &[&frame(kind, "x")]), [(b"x".to_vec(), level, true)], "{kind:x}");
    }
}

#[test]
fn what_is_no_frame_is_text() {
    let almost: [Vec<u8>; 6] = [
        frame(0xa55a_0001, "x"),
        frame(0xa55a_001f, "x"),
        frame(0xa55a_0103, "x"),
        frame(0xa55a_0003, ""),
        b"\xa5\x5a".to_vec(),
        b"price: 3 \xc2\xa5".to_vec(),
    ];
    for bytes in almost {
        let records = split(true, &[&bytes]);
        let together: Vec<u8> = records.iter().flat_map(|record| record.0.clone()).collect();
        assert_eq!(together, bytes);
        assert!(records.iter().all(|record| !record.2), "{records:?}");
    }
    let mut claims = frame(0xa55a_0003, "x");
    claims[4] = 0x7f;
    assert!(split(true, &[&claims]).iter().all(|record| !record.2));
    // Only output that is known to hold frames is looked at.
    let bytes = frame(0xa55a_0003, "x");
    assert_eq!(split(false, &[&bytes]), [(bytes, None, false)]);
}

#[test]
fn a_frame_that_breaks_off_swallows_nothing() {
    let whole = frame(0xa55a_0017, "a\nb\nc\n");
    let mut splitter = Splitter::new(true);
    let mut records = Vec::new();
    let mut keep = |piece: Piece<'_>| records.push((piece.bytes.to_vec(), piece.closes_frame));
    splitter.take(&whole[..HEAD_BYTES + 3], &mut keep);
    splitter.end(&mut keep);
    splitter.take(b"next\n", &mut keep);
    assert_eq!(records, [(b"a\nb".to_vec(), true), (b"next\n".to_vec(), false)]);
}

#[test]
fn the_first_piece_of_a_frame_is_known() {
    let mut opens = Vec::new();
    let text = "x".repeat(2 * RECORD_BYTES_MAX + 1);
    let mut splitter = Splitter::new(true);
    splitter.take(&frame(0xa55a_0003, &text), |piece| {
        opens.push((piece.opens_frame, piece.closes_frame));
    });
    assert_eq!(opens, [(true, false), (false, false), (false, true)]);
}

#[test]
fn long_records_are_cut() {
    let text = "x".repeat(RECORD_BYTES_MAX + 10);
    let mut output = text.clone().into_bytes();
    output.push(b'\n');
    output.extend(frame(0xa55a_0003, &text));
    let records = split(true, &[&output]);
    let lengths: Vec<_> = records.iter().map(|record| (record.0.len(), record.2)).collect();
    assert_eq!(
        lengths,
        [(RECORD_BYTES_MAX, false), (11, false), (RECORD_BYTES_MAX, false), (10, true)]
    );
}

#[test]
fn levels_of_lines() {
    let at = r#""timestamp":"2026-11-28T07:00:00.123Z""#;
    let cases = [
        (format!(r#"{{{at},"level":"debug","msg":"x"}}"#), Some(Level::Debug)),
        (format!("  {{{at},\"level\":\"ERROR\"}}\n"), Some(Level::Error)),
        (r#"{"time":"2026-11-28T08:00:00+01:00","level":"WARN"}"#.into(), Some(Level::Warn)),
        (r#"{"@timestamp":"2026-11-28T08:00:00Z","level":"TRACE"}"#.into(), Some(Level::Trace)),
        // Unknown, missing, without a time or with one that is none: INFO.
        (format!(r#"{{{at},"level":"loud"}}"#), Some(Level::Info)),
        (format!(r#"{{{at},"level":7}}"#), Some(Level::Info)),
        (format!("{{{at}}}"), Some(Level::Info)),
        (r#"{"level":"debug"}"#.into(), Some(Level::Info)),
        (r#"{"level":"error","timestamp":"yesterday"}"#.into(), Some(Level::Info)),
        (r#"{"level":"error","timestamp":1790000000}"#.into(), Some(Level::Info)),
        // No JSON objects.
        ("plain".into(), None),
        (r#"["level"]"#.into(), None),
        (r#"{"level":"debug""#.into(), None),
        (String::new(), None),
    ];
    for (text, level) in cases {
        assert_eq!(level_of(text.as_bytes()), level, "{text}");
    }
}

#[test]
fn times() {
    for good in
        ["2026-11-28T07:00:00Z", "2026-11-28t07:00:60.123456789z", "2026-11-28 07:00:00-08:00"]
    {
        assert!(is_rfc3339(good), "{good}");
    }
    for bad in [
        "",
        "2026-11-28",
        "2026-11-28T07:00:00",
        "2026-13-28T07:00:00Z",
        "2026-11-28T24:00:00Z",
        "2026-11-28T07:00:00.Z",
        "2026-11-28T07:00:00+0100",
        "2026-11-28T07:00:0ä",
        "2026-11-32T07:00:00Z",
        "x026-11-28T07:00:00Z",
    ] {
        assert!(!is_rfc3339(bad), "{bad}");
    }
}

proptest! {
    /// However output is cut, the same records come of it and no byte is lost but frames' heads.
    #[test]
    fn cuts_do_not_matter(
        parts in vec((any::<bool>(), "[a-z\n\u{a5}]{1,40}"), 0..12),
        sizes in vec(1_usize..50, 1..20),
    ) {
        let mut output = Vec::new();
        for (is_frame, text) in &parts {
            if *is_frame {
                output.extend(frame(0xa55a_000f, text));
            } else {
                output.extend(text.as_bytes());
            }
        }
        let whole = split(true, &[&output]);
        let text: Vec<u8> = whole.iter().flat_map(|record| record.0.clone()).collect();
        let expected: Vec<u8> = parts.iter().flat_map(|part| part.1.bytes()).collect();
        prop_assert_eq!(text, expected);
        let frames = parts.iter().filter(|part| part.0).count();
        prop_assert_eq!(whole.iter().filter(|record| record.2).count(), frames);
        let mut chunks = Vec::new();
        let mut rest = &output[..];
        for size in sizes.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (chunk, behind) = rest.split_at((*size).min(rest.len()));
            chunks.push(chunk);
            rest = behind;
        }
        prop_assert_eq!(split(true, &chunks), whole);
    }

    /// Whatever is printed, nothing panics and no record is longer than allowed.
    #[test]
    fn any_bytes(bytes in vec(any::<u8>(), 0..2_000)) {
        let _ = level_of(&bytes);
        for record in split(true, &[&bytes]) {
            prop_assert!(record.0.len() <= RECORD_BYTES_MAX);
        }
    }
}
