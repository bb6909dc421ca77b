//! Log lines as JSON, one object each: `timestamp`, `level`, the event's fields, `target`.
//!
//! Written by hand because four of them are written for every invoke: no map of fields, no tree of
//! values, no text twice.

use std::fmt::{self, Write};
use std::sync::{Mutex, PoisonError};

use lambic_rt::{Rt, Timestamp};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// See the module.
pub(super) struct JsonLines {
    rt: Rt,
    second: Mutex<Second>,
}

/// The text of the present second, which many lines have in common.
#[derive(Default)]
struct Second {
    number: i64,
    text: String,
}

impl JsonLines {
    pub(super) fn new() -> JsonLines {
        JsonLines { rt: Rt::real(), second: Mutex::default() }
    }

    /// `2026-11-20T21:30:00.123456Z`
    fn timestamp(&self, now: Timestamp, out: &mut dyn Write) -> fmt::Result {
        let (number, micros) = (now.seconds(), now.micros().rem_euclid(1_000_000));
        let mut second = self.second.lock().unwrap_or_else(PoisonError::into_inner);
        if second.number != number || second.text.is_empty() {
            let (year, month, day, hour, minute, in_minute, _) = now.utc();
            second.number = number;
            second.text =
                format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{in_minute:02}");
        }
        let digit = |place: u32| b'0' + (micros / 10_i64.pow(place) % 10) as u8;
        let fraction = [5, 4, 3, 2, 1, 0].map(digit);
        out.write_str(&second.text)?;
        out.write_char('.')?;
        out.write_str(str::from_utf8(&fraction).unwrap_or_default())?;
        out.write_char('Z')
    }
}

impl<S, N> FormatEvent<S, N> for JsonLines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut out: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        out.write_str("{\"timestamp\":\"")?;
        self.timestamp(self.rt.now(), &mut out)?;
        out.write_str("\",\"level\":\"")?;
        out.write_str(event.metadata().level().as_str())?;
        out.write_char('"')?;
        let mut members = Members { out: &mut out, result: Ok(()) };
        event.record(&mut members);
        members.result?;
        out.write_str(",\"target\":")?;
        string(&mut out, event.metadata().target())?;
        out.write_str("}\n")
    }
}

/// What a span knows, the audit record of its operation says once: nothing is kept of it.
pub(super) struct NoFields;

impl<'w> FormatFields<'w> for NoFields {
    fn format_fields<R: RecordFields>(&self, _: Writer<'w>, _: R) -> fmt::Result {
        Ok(())
    }
}

struct Members<'a> {
    out: &'a mut dyn Write,
    result: fmt::Result,
}

impl Members<'_> {
    fn member(&mut self, field: &Field, value: impl FnOnce(&mut dyn Write) -> fmt::Result) {
        if self.result.is_ok() {
            // Names of fields are written in the source, and hold nothing that has to be escaped.
            let name = field.name().trim_start_matches("r#");
            self.result = member(self.out, name).and_then(|()| value(self.out));
        }
    }
}

/// What stands before a value. A name has nothing to escape.
fn member(out: &mut dyn Write, name: &str) -> fmt::Result {
    out.write_str(",\"")?;
    out.write_str(name)?;
    out.write_str("\":")
}

impl Visit for Members<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.member(field, |out| {
            out.write_char('"')?;
            write!(Escaped(out), "{value:?}")?;
            out.write_char('"')
        });
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.member(field, |out| string(out, value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.member(field, |out| write!(out, "{value}"));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.member(field, |out| write!(out, "{value}"));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.member(field, |out| write!(out, "{value}"));
    }

    fn record_i128(&mut self, field: &Field, value: i128) {
        self.member(field, |out| write!(out, "{value}"));
    }

    fn record_u128(&mut self, field: &Field, value: u128) {
        self.member(field, |out| write!(out, "{value}"));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.member(field, |out| match value.is_finite() {
            true => write!(out, "{value:?}"),
            false => out.write_str("null"),
        });
    }
}

fn string(out: &mut dyn Write, text: &str) -> fmt::Result {
    out.write_char('"')?;
    Escaped(out).write_str(text)?;
    out.write_char('"')
}

/// Writes text as it stands inside a JSON string.
struct Escaped<'a>(&'a mut dyn Write);

impl Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let is_special = |byte: u8| byte < b' ' || byte == b'"' || byte == b'\\';
        // Nearly all of it has nothing to escape, and is looked at many bytes at a time.
        if !text.bytes().fold(false, |found, byte| found | is_special(byte)) {
            return self.0.write_str(text);
        }
        let mut rest = text;
        // All that has to be escaped is ASCII, so every cut is between characters.
        while let Some(at) = rest.bytes().position(is_special) {
            self.0.write_str(&rest[..at])?;
            match rest.as_bytes()[at] {
                b'"' => self.0.write_str("\\\"")?,
                b'\\' => self.0.write_str("\\\\")?,
                b'\n' => self.0.write_str("\\n")?,
                b'\r' => self.0.write_str("\\r")?,
                b'\t' => self.0.write_str("\\t")?,
                other => write!(self.0, "\\u{other:04x}")?,
            }
            rest = &rest[at + 1..];
        }
        self.0.write_str(rest)
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Arc;

    use serde_json::{Value, json};

    use super::*;

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(work: impl FnOnce()) -> Vec<Value> {
        let kept = Kept::default();
        let writer = kept.clone();
        let subscriber = tracing_subscriber::fmt()
            .event_format(JsonLines::new())
            .fmt_fields(NoFields)
            .with_writer(move || writer.clone())
            .finish();
        tracing::subscriber::with_default(subscriber, work);
        let bytes = kept.0.lock().unwrap().clone();
        let text = String::from_utf8(bytes).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn every_kind_of_value_is_valid_json() {
        let hostile = "quote \" back \\ line \n\r\t bell \u{7} ünï \u{1f980}";
        let lines = logged(|| {
            let none: Option<&str> = None;
            let numbers = (7_u64, -7_i64, 1.5_f64, f64::NAN, i128::MAX);
            tracing::info!(
                target: "t", text = hostile, shown = %hostile, debug = ?[1, 2], yes = true,
                a = numbers.0, b = numbers.1, c = numbers.2, d = numbers.3, e = numbers.4, none,
                "message: {hostile}"
            );
            tracing::warn!("plain");
        });
        let mut first = lines[0].clone();
        let timestamp = first.as_object_mut().unwrap().remove("timestamp").unwrap();
        let timestamp = timestamp.as_str().unwrap();
        assert_eq!((timestamp.len(), &timestamp[10..11], &timestamp[26..]), (27, "T", "Z"));
        // serde_json has no place for larger numbers, so that one is looked at by itself.
        let largest = first.as_object_mut().unwrap().remove("e").unwrap();
        assert!(largest.as_f64().unwrap() > 1e38);
        assert_eq!(
            first,
            json!({
                "level": "INFO", "message": format!("message: {hostile}"), "text": hostile,
                "shown": hostile, "debug": "[1, 2]", "yes": true, "a": 7, "b": -7, "c": 1.5,
                "d": null, "target": "t",
            })
        );
        assert_eq!((&lines[1]["level"], &lines[1]["message"]), (&json!("WARN"), &json!("plain")));
    }

    #[test]
    fn the_second_changes_with_the_time() {
        let lines = JsonLines::new();
        let text = |micros: i64| {
            let mut out = String::new();
            lines.timestamp(Timestamp::from_micros(micros), &mut out).unwrap();
            out
        };
        assert_eq!(text(1_763_674_200_123_456), "2025-11-20T21:30:00.123456Z");
        assert_eq!(text(1_763_674_200_000_001), "2025-11-20T21:30:00.000001Z");
        assert_eq!(text(1_763_674_201_000_000), "2025-11-20T21:30:01.000000Z");
        assert_eq!(text(0), "1970-01-01T00:00:00.000000Z");
    }
}
