//! Keys from segments, so that the order of keys is the order of their segments and a prefix of
//! segments is a prefix of keys.
//!
//! `["hello", "$LATEST"]` of kind `function` is `function hello $LATEST`: segments are joined by a
//! space, the lowest character that is printed. `!`, the next one, introduces an escape: a space, a
//! `!` or a control character within a segment becomes `!` and two hexadecimal digits. As
//! separator < escape < everything else, comparing keys compares segment by segment; a slash could not
//! do that, since the `-` and `.` of ordinary names sort before it. Nobody outside this crate
//! writes or parses such keys.

use std::fmt::Write;

const SEPARATOR: char = ' ';
const ESCAPE: char = '!';

/// The key of a record.
pub(crate) fn encode(kind: &str, segments: &[&str]) -> Vec<u8> {
    let mut key = String::with_capacity(kind.len() + 16 * segments.len());
    push_segment(&mut key, kind);
    for segment in segments {
        key.push(SEPARATOR);
        push_segment(&mut key, segment);
    }
    key.into_bytes()
}

/// What the keys of all records below `segments` start with (the record at `segments` itself is
/// not below them).
pub(crate) fn encode_prefix(kind: &str, segments: &[&str]) -> Vec<u8> {
    let mut prefix = encode(kind, segments);
    prefix.push(SEPARATOR as u8);
    prefix
}

/// The segments of a key, without its kind; `None` if the key is not of our making.
pub(crate) fn decode(key: &[u8]) -> Option<Vec<String>> {
    let key = std::str::from_utf8(key).ok()?;
    key.split(SEPARATOR).skip(1).map(decode_segment).collect()
}

fn push_segment(key: &mut String, segment: &str) {
    for character in segment.chars() {
        if character <= ESCAPE {
            let _ = write!(key, "{ESCAPE}{:02x}", u32::from(character));
        } else {
            key.push(character);
        }
    }
}

fn decode_segment(text: &str) -> Option<String> {
    let mut parts = text.split(ESCAPE);
    let mut segment = parts.next()?.to_string();
    for part in parts {
        let code = u8::from_str_radix(part.get(..2)?, 16).ok()?;
        segment.push(char::from(code));
        segment.push_str(&part[2..]);
    }
    Some(segment)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn keys_are_readable() {
        let check = |segments: &[&str], key: &str| {
            assert_eq!(String::from_utf8(encode("function", segments)).unwrap(), key);
        };
        check(&["000000000000", "us-east-1", "a-b"], "function 000000000000 us-east-1 a-b");
        check(&["a b!", "\0\n"], "function a!20b!21 !00!0a");
        check(&["ä/ö", ""], "function ä/ö ");
    }

    fn segments() -> impl Strategy<Value = Vec<String>> {
        prop::collection::vec("[ !\"/0a\u{0}\u{1}\u{1f}é-]{0,4}", 1..4)
    }

    fn strs(segments: &[String]) -> Vec<&str> {
        segments.iter().map(String::as_str).collect()
    }

    proptest! {
        #[test]
        fn there_and_back(a in segments()) {
            prop_assert_eq!(decode(&encode("k", &strs(&a))), Some(a));
        }

        #[test]
        fn order_is_that_of_the_segments(a in segments(), b in segments()) {
            prop_assert_eq!(encode("k", &strs(&a)).cmp(&encode("k", &strs(&b))), a.cmp(&b));
        }

        #[test]
        fn prefixes_are_those_of_the_segments(a in segments(), b in segments()) {
            let below = a.len() < b.len() && b.starts_with(&a);
            let starts = encode("k", &strs(&b)).starts_with(&encode_prefix("k", &strs(&a)));
            prop_assert_eq!(starts, below);
        }
    }
}
