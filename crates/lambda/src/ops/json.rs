//! Whether a payload is JSON, and if not, what AWS (whose parser is Jackson) says about it.
//!
//! One pass, no recursion, nothing allocated unless the payload nests: this stands on the path of
//! every invoke.

use std::fmt;

/// Jackson's limit of nested arrays and objects.
const DEPTH_MAX: usize = 1_000;
const EXPECTED: &str = "(JSON String, Number, Array, Object or token 'null', 'true' or 'false')";
const SOURCE: &str = "Source: REDACTED (`StreamReadFeature.INCLUDE_SOURCE_IN_LOCATION` disabled)";

/// What is wrong, and where.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    what: String,
    line: usize,
    column: usize,
}

impl fmt::Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Fault { what, line, column } = self;
        write!(out, "{what}\n at [{SOURCE}; line: {line}, column: {column}]")
    }
}

/// # Errors
/// The first fault, in Jackson's words.
pub(crate) fn check(payload: &[u8]) -> Result<(), Fault> {
    let valid_utf8 = match std::str::from_utf8(payload) {
        Ok(_) => payload.len(),
        Err(error) => error.valid_up_to(),
    };
    let mut parser = Parser { text: payload, at: 0, valid_utf8, open: Vec::new() };
    parser.document()
}

/// One array or object that is not closed yet.
struct Open {
    is_object: bool,
    start: usize,
}

struct Parser<'a> {
    text: &'a [u8],
    at: usize,
    /// Everything before this byte is valid UTF-8.
    valid_utf8: usize,
    open: Vec<Open>,
}

impl Parser<'_> {
    fn document(&mut self) -> Result<(), Fault> {
        self.space();
        if self.at == self.text.len() {
            return Err(self.fault("No content to map due to end-of-input".into(), 0));
        }
        loop {
            // Here a value is expected.
            if self.value()? {
                continue;
            }
            // Here a value is complete; close what ends with it.
            loop {
                self.space();
                let Some(open) = self.open.last() else {
                    return self.end();
                };
                let is_object = open.is_object;
                match self.peek() {
                    None => return Err(self.end_of_input()),
                    Some(b',') => {
                        self.at += 1;
                        self.space();
                        if is_object {
                            self.name()?;
                        }
                        break;
                    }
                    Some(b'}') if is_object => self.close(),
                    Some(b']') if !is_object => self.close(),
                    Some(_) => {
                        let kind = if is_object { "Object" } else { "Array" };
                        let what = format!("was expecting comma to separate {kind} entries");
                        return Err(self.unexpected(&what));
                    }
                }
            }
        }
    }

    /// Reads a whole scalar or an empty collection (`false`), or the opening of a collection up to
    /// its first value (`true`: a value is expected next).
    fn value(&mut self) -> Result<bool, Fault> {
        match self.peek() {
            None => Err(self.end_of_input()),
            Some(b'"') => self.string().map(|()| false),
            Some(b'-' | b'0'..=b'9') => self.number().map(|()| false),
            Some(b't') => self.word("true").map(|()| false),
            Some(b'f') => self.word("false").map(|()| false),
            Some(b'n') => self.word("null").map(|()| false),
            Some(b'{') => self.open_object(),
            Some(b'[') => self.open_array(),
            Some(byte) if byte.is_ascii_alphabetic() || byte == b'_' || byte == b'$' => {
                Err(self.unrecognized(self.at))
            }
            Some(_) => Err(self.unexpected(&format!("expected a valid value {EXPECTED}"))),
        }
    }

    fn open_object(&mut self) -> Result<bool, Fault> {
        self.push(true)?;
        self.space();
        if self.peek() == Some(b'}') {
            self.close();
            return Ok(false);
        }
        self.name()?;
        Ok(true)
    }

    fn open_array(&mut self) -> Result<bool, Fault> {
        self.push(false)?;
        self.space();
        if self.peek() == Some(b']') {
            self.close();
            return Ok(false);
        }
        Ok(true)
    }

    fn push(&mut self, is_object: bool) -> Result<(), Fault> {
        self.open.push(Open { is_object, start: self.at });
        self.at += 1;
        if self.open.len() > DEPTH_MAX {
            let what = format!(
                "Document nesting depth ({}) exceeds the maximum allowed ({DEPTH_MAX}, from \
                 `StreamReadConstraints.getMaxNestingDepth()`)",
                self.open.len()
            );
            return Err(self.fault(what, self.at + 1));
        }
        Ok(())
    }

    fn close(&mut self) {
        self.at += 1;
        self.open.pop();
    }

    /// A member's name and the colon after it.
    fn name(&mut self) -> Result<(), Fault> {
        match self.peek() {
            None => return Err(self.end_of_input()),
            Some(b'"') => self.string()?,
            Some(_) => {
                return Err(self.unexpected("was expecting double-quote to start field name"));
            }
        }
        self.space();
        match self.peek() {
            None => Err(self.end_of_input()),
            Some(b':') => {
                self.at += 1;
                self.space();
                Ok(())
            }
            Some(_) => {
                Err(self.unexpected("was expecting a colon to separate field name and value"))
            }
        }
    }

    fn string(&mut self) -> Result<(), Fault> {
        self.at += 1;
        loop {
            self.plain();
            match self.peek() {
                None => {
                    let what =
                        "Unexpected end-of-input: was expecting closing quote for a string value";
                    return Err(self.fault(what.into(), self.at + 1));
                }
                Some(b'"') => {
                    self.at += 1;
                    return Ok(());
                }
                Some(b'\\') => self.escape()?,
                Some(byte) if byte < 0x20 => {
                    let what = format!(
                        "Illegal unquoted character ((CTRL-CHAR, code {byte})): has to be escaped \
                         using backslash to be included in string value"
                    );
                    return Err(self.fault(what, self.at + 2));
                }
                Some(byte) if byte >= 0x80 && self.at >= self.valid_utf8 => {
                    return Err(self.bad_utf8());
                }
                Some(_) => self.at += 1,
            }
        }
    }

    /// Passes what stands for itself in a string; nearly all bytes of a large payload do.
    fn plain(&mut self) {
        let rest = self.text.get(self.at..self.valid_utf8).unwrap_or_default();
        let special = |byte: &u8| *byte < 0x20 || *byte == b'"' || *byte == b'\\';
        self.at += rest.iter().position(special).unwrap_or(rest.len());
    }

    fn escape(&mut self) -> Result<(), Fault> {
        self.at += 1;
        match self.peek() {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {
                self.at += 1;
                Ok(())
            }
            Some(b'u') => {
                self.at += 1;
                for _ in 0..4 {
                    if !self.peek().is_some_and(|byte| byte.is_ascii_hexdigit()) {
                        return Err(
                            self.unexpected("expected a hex-digit for character escape sequence")
                        );
                    }
                    self.at += 1;
                }
                Ok(())
            }
            Some(byte) => {
                let what = format!("Unrecognized character escape {}", describe(u32::from(byte)));
                Err(self.fault(what, self.at + 2))
            }
            None => Err(self
                .fault("Unexpected end-of-input in character escape sequence".into(), self.at + 1)),
        }
    }

    fn number(&mut self) -> Result<(), Fault> {
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        let start = self.at;
        self.digits("expected digit (0-9) to follow minus sign, for valid numeric value")?;
        if self.text[start] == b'0' && self.at - start > 1 {
            let what = "Invalid numeric value: Leading zeroes not allowed";
            return Err(self.fault(what.into(), start + 2));
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits("Decimal point not followed by a digit")?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits("Exponent indicator not followed by a digit")?;
        }
        match self.peek() {
            None | Some(b' ' | b'\t' | b'\r' | b'\n' | b',' | b']' | b'}') => Ok(()),
            Some(_) if self.open.is_empty() => {
                Err(self.unexpected("Expected space separating root-level values"))
            }
            Some(_) => {
                let kind = if self.open.last().is_some_and(|open| open.is_object) {
                    "Object"
                } else {
                    "Array"
                };
                Err(self.unexpected(&format!("was expecting comma to separate {kind} entries")))
            }
        }
    }

    fn digits(&mut self, wanted: &str) -> Result<(), Fault> {
        if !self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            return match self.peek() {
                None => Err(self.end_of_input()),
                Some(_) => Err(self.unexpected(wanted)),
            };
        }
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        Ok(())
    }

    fn word(&mut self, word: &str) -> Result<(), Fault> {
        let start = self.at;
        let end = start + word.len();
        let goes_on = self.text.get(end).is_some_and(|byte| is_identifier(*byte));
        if self.text.get(start..end) != Some(word.as_bytes()) || goes_on {
            return Err(self.unrecognized(start));
        }
        self.at = end;
        Ok(())
    }

    /// Only space may follow the outermost value.
    fn end(&mut self) -> Result<(), Fault> {
        match self.peek() {
            None => Ok(()),
            Some(byte) if is_identifier(byte) => Err(self.unrecognized(self.at)),
            Some(_) => Err(self.unexpected(&format!("expected a valid value {EXPECTED}"))),
        }
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    /// A word that is no JSON. Jackson reads one character past it before it stops.
    fn unrecognized(&self, start: usize) -> Fault {
        let rest = &self.text[start..];
        let length = rest.iter().take_while(|byte| is_identifier(**byte)).count();
        let shown = String::from_utf8_lossy(&rest[..length.min(256)]).into_owned();
        let what = format!("Unrecognized token '{shown}': was expecting {EXPECTED}");
        self.fault(what, (start + length + 1).min(self.text.len()) + 1)
    }

    fn unexpected(&self, wanted: &str) -> Fault {
        let Some(byte) = self.peek() else { return self.end_of_input() };
        // Jackson decodes what it shows; a byte that starts no character is shown as it is.
        let valid = &self.text[self.at..self.valid_utf8.max(self.at)];
        let first = std::str::from_utf8(valid).ok().and_then(|text| text.chars().next());
        let code = first.map_or(u32::from(byte), u32::from);
        let what = format!("Unexpected character ({}): {wanted}", describe(code));
        self.fault(what, self.at + 1)
    }

    fn bad_utf8(&self) -> Fault {
        let byte = self.text[self.at];
        // A lead byte that Jackson accepts is followed by one that it does not.
        let length = match byte {
            0xc0..=0xdf => 2,
            0xe0..=0xef => 3,
            0xf0..=0xf7 => 4,
            _ => return self.fault(format!("Invalid UTF-8 start byte 0x{byte:x}"), self.at + 2),
        };
        for offset in 1..length {
            match self.text.get(self.at + offset) {
                Some(next) if next & 0xc0 == 0x80 => {}
                Some(next) => {
                    let what = format!("Invalid UTF-8 middle byte 0x{next:x}");
                    return self.fault(what, self.at + offset + 2);
                }
                None => return self.end_of_input(),
            }
        }
        self.fault(format!("Invalid UTF-8 start byte 0x{byte:x}"), self.at + 2)
    }

    fn end_of_input(&self) -> Fault {
        let what = match self.open.last() {
            None => "Unexpected end-of-input".to_owned(),
            Some(open) => {
                let kind = if open.is_object { "Object" } else { "Array" };
                let (line, column) = self.place(open.start + 1);
                format!(
                    "Unexpected end-of-input: expected close marker for {kind} (start marker at \
                     [{SOURCE}; line: {line}, column: {column}])"
                )
            }
        };
        self.fault(what, self.text.len() + 1)
    }

    /// `column` counts from the beginning of the text, from 1.
    fn fault(&self, what: String, column: usize) -> Fault {
        let (line, column) = self.place(column);
        Fault { what, line, column }
    }

    fn place(&self, column: usize) -> (usize, usize) {
        let before = &self.text[..column.saturating_sub(1).min(self.text.len())];
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        let start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        (line, column.saturating_sub(start))
    }
}

fn is_identifier(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'$'
}

/// A character in Jackson's words.
fn describe(code: u32) -> String {
    match code {
        0..=0x1f | 0x7f..=0x9f => format!("(CTRL-CHAR, code {code})"),
        _ => {
            let shown = char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER);
            if code > 255 {
                format!("'{shown}' (code {code} / 0x{code:x})")
            } else {
                format!("'{shown}' (code {code})")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fault(payload: &[u8]) -> String {
        let fault = check(payload).unwrap_err();
        format!("{} @ {}:{}", fault.what, fault.line, fault.column)
    }

    #[test]
    fn recorded_on_aws() {
        assert_eq!(
            fault(b"\x99"),
            format!(
                "Unexpected character ((CTRL-CHAR, code 153)): expected a valid value {EXPECTED} @ 1:1"
            )
        );
        assert_eq!(fault(b"\"\x87\""), "Invalid UTF-8 start byte 0x87 @ 1:3");
        assert_eq!(
            check(b"\x99").unwrap_err().to_string().split_once('\n').unwrap().1,
            " at [Source: REDACTED (`StreamReadFeature.INCLUDE_SOURCE_IN_LOCATION` disabled); \
             line: 1, column: 1]"
        );
    }

    #[test]
    fn in_jacksons_words() {
        assert_eq!(
            fault(b"hello"),
            format!("Unrecognized token 'hello': was expecting {EXPECTED} @ 1:6")
        );
        assert_eq!(
            fault(b"{\"a\": 1"),
            format!(
                "Unexpected end-of-input: expected close marker for Object (start marker at \
                 [{SOURCE}; line: 1, column: 1]) @ 1:8"
            )
        );
        assert_eq!(
            fault(b"{\n'a': 1}"),
            "Unexpected character (''' (code 39)): was expecting double-quote to start field name @ 2:1"
        );
        assert_eq!(
            fault(b"{\"a\" 1}"),
            "Unexpected character ('1' (code 49)): was expecting a colon to separate field name and value @ 1:6"
        );
        assert_eq!(
            fault(b"[1 2]"),
            "Unexpected character ('2' (code 50)): was expecting comma to separate Array entries @ 1:4"
        );
    }

    #[test]
    fn depth_has_a_limit() {
        let nested = |depth: usize| [vec![b'['; depth], vec![b']'; depth]].concat();
        assert_eq!(check(&nested(DEPTH_MAX)), Ok(()));
        assert!(fault(&nested(DEPTH_MAX + 1)).starts_with("Document nesting depth (1001)"));
        assert!(check(&[b'['; 1_000_000]).is_err());
    }

    fn agrees_with_serde(payload: &[u8]) {
        let theirs = serde_json::from_slice::<serde_json::Value>(payload);
        // serde_json refuses numbers beyond f64 and unpaired surrogates, which Jackson does not.
        if let Err(error) = &theirs
            && (error.to_string().contains("number out of range")
                || error.to_string().contains("surrogate")
                || error.to_string().contains("hex escape"))
        {
            return;
        }
        assert_eq!(
            check(payload).is_ok(),
            theirs.is_ok(),
            "{:?}",
            String::from_utf8_lossy(payload)
        );
    }

    proptest! {
        #[test]
        fn agrees_with_another_parser(
            parts in proptest::collection::vec(prop_oneof![
                Just("{"), Just("}"), Just("["), Just("]"), Just(","), Just(":"), Just("\"a\""),
                Just("\"\\n\""), Just("\"\\u00e9\""), Just("1"), Just("-"), Just("0"), Just("."),
                Just("e5"), Just("true"), Just("null"), Just(" "), Just("\n"), Just("é"),
            ], 0..12)
        ) {
            agrees_with_serde(parts.concat().as_bytes());
        }

        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            if let Err(fault) = check(&bytes) {
                let _ = fault.to_string();
            }
            agrees_with_serde(&bytes);
        }
    }
}
