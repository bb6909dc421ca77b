//! Moments as AWS's protocols write them: epoch seconds in JSON bodies, ISO 8601 in queries, HTTP
//! dates in headers.

use std::fmt;

use serde::de::{Error as _, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Milliseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp {
    /// May be negative.
    pub epoch_ms: i64,
}

/// A moment split into its UTC calendar parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Civil {
    /// Year.
    pub year: i64,
    /// 1 to 12.
    pub month: u32,
    /// 1 to 31.
    pub day: u32,
    /// 0 to 23.
    pub hour: u32,
    /// 0 to 59.
    pub minute: u32,
    /// 0 to 59.
    pub second: u32,
    /// 0 to 999.
    pub millisecond: u32,
}

/// Years beyond these are not times anyone means, and would overflow.
const EPOCH_SECONDS_LIMIT: f64 = 253_402_300_800.0;

impl Timestamp {
    /// From whole seconds.
    pub fn from_epoch_s(seconds: i64) -> Timestamp {
        Timestamp { epoch_ms: seconds.saturating_mul(1000) }
    }

    /// The calendar parts in UTC.
    pub fn civil(self) -> Civil {
        let days = self.epoch_ms.div_euclid(86_400_000);
        let rest = self.epoch_ms.rem_euclid(86_400_000);
        let (year, month, day) = civil_from_days(days);
        Civil {
            year,
            month,
            day,
            hour: (rest / 3_600_000) as u32,
            minute: (rest / 60_000 % 60) as u32,
            second: (rest / 1000 % 60) as u32,
            millisecond: (rest % 1000) as u32,
        }
    }

    /// `2026-11-20T21:30:00.000+0000`, as functions' `LastModified` is written.
    pub fn to_lambda_text(self) -> String {
        format!("{}+0000", self.to_iso_millis())
    }

    /// `2026-11-20T21:30:00.000Z`.
    pub fn to_iso_text(self) -> String {
        format!("{}Z", self.to_iso_millis())
    }

    fn to_iso_millis(self) -> String {
        let Civil { year, month, day, hour, minute, second, millisecond } = self.civil();
        format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millisecond:03}")
    }

    /// `20261120T213000Z`, the form of signatures.
    pub fn to_basic_text(self) -> String {
        let Civil { year, month, day, hour, minute, second, .. } = self.civil();
        format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z")
    }

    /// Reads `20261120T213000Z`; `None` for anything else.
    pub fn from_basic_text(text: &str) -> Option<Timestamp> {
        let bytes = text.as_bytes();
        if bytes.len() != 16 || bytes[8] != b'T' || bytes[15] != b'Z' {
            return None;
        }
        let number = |from: usize, to: usize| digits(&bytes[from..to]);
        from_parts(
            [number(0, 4)?, number(4, 6)?, number(6, 8)?],
            [number(9, 11)?, number(11, 13)?, number(13, 15)?],
            0,
        )
    }

    /// Reads ISO 8601 with `Z` or an offset (`2026-11-20T21:30:00.123Z`, `…+01:00`), or a number
    /// of epoch seconds; `None` for anything else.
    pub fn from_text(text: &str) -> Option<Timestamp> {
        if let Ok(seconds) = text.parse::<f64>() {
            return Timestamp::from_epoch_float(seconds);
        }
        let bytes = text.as_bytes();
        if bytes.len() < 20 || !text.is_ascii() {
            return None;
        }
        let marks = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')];
        if marks.iter().any(|(place, mark)| bytes[*place].to_ascii_uppercase() != *mark) {
            return None;
        }
        let number = |from: usize, to: usize| digits(&bytes[from..to]);
        let date = [number(0, 4)?, number(5, 7)?, number(8, 10)?];
        let time = [number(11, 13)?, number(14, 16)?, number(17, 19)?];
        let (millisecond, zone) = fraction(&text[19..])?;
        let local = from_parts(date, time, millisecond)?;
        Some(Timestamp { epoch_ms: local.epoch_ms - offset_minutes(zone)? * 60_000 })
    }

    /// From epoch seconds with a fraction; `None` when not finite or beyond the year 9999.
    pub fn from_epoch_float(seconds: f64) -> Option<Timestamp> {
        if !seconds.is_finite() || seconds.abs() >= EPOCH_SECONDS_LIMIT {
            return None;
        }
        Some(Timestamp { epoch_ms: (seconds * 1000.0).round() as i64 })
    }
}

fn digits(bytes: &[u8]) -> Option<i64> {
    let mut value = 0;
    for byte in bytes {
        if !byte.is_ascii_digit() {
            return None;
        }
        value = value * 10 + i64::from(byte - b'0');
    }
    Some(value)
}

/// Splits `.123Z` into milliseconds and zone.
fn fraction(rest: &str) -> Option<(i64, &str)> {
    let Some(after) = rest.strip_prefix('.') else { return Some((0, rest)) };
    let end = after.find(|character: char| !character.is_ascii_digit())?;
    if end == 0 || end > 9 {
        return None;
    }
    let mut millis = 0;
    for place in 0..3 {
        let digit = after.as_bytes()[..end].get(place).map_or(0, |byte| i64::from(byte - b'0'));
        millis = millis * 10 + digit;
    }
    Some((millis, &after[end..]))
}

fn offset_minutes(zone: &str) -> Option<i64> {
    if zone.eq_ignore_ascii_case("z") {
        return Some(0);
    }
    let sign = match zone.as_bytes().first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let plain: String = zone[1..].chars().filter(|character| *character != ':').collect();
    if plain.len() != 4 {
        return None;
    }
    let value = digits(plain.as_bytes())?;
    Some(sign * (value / 100 * 60 + value % 100))
}

fn from_parts(date: [i64; 3], time: [i64; 3], millisecond: i64) -> Option<Timestamp> {
    let [year, month, day] = date;
    let [hour, minute, second] = time;
    let in_range = (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && (0..24).contains(&hour)
        && (0..60).contains(&minute)
        && (0..=60).contains(&second);
    if !in_range {
        return None;
    }
    let days = days_from_civil(year, month, day);
    if civil_from_days(days) != (year, month as u32, day as u32) {
        return None;
    }
    let seconds = days * 86_400 + hour * 3600 + minute * 60 + second;
    Some(Timestamp { epoch_ms: seconds * 1000 + millisecond })
}

/// Days since 1970-01-01 of a date in the proleptic Gregorian calendar: Howard Hinnant's
/// "chrono-Compatible Low-Level Date Algorithms", `days_from_civil`.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let shifted_month = (month + 9) % 12;
    let day_of_year = (153 * shifted_month + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// The inverse, `civil_from_days` of the same paper.
fn civil_from_days(days: i64) -> (i64, u32, u32) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month as u32, day as u32)
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.epoch_ms % 1000 == 0 {
            return serializer.serialize_i64(self.epoch_ms / 1000);
        }
        serializer.serialize_f64(self.epoch_ms as f64 / 1000.0)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
        struct Seconds;
        impl Visitor<'_> for Seconds {
            type Value = Timestamp;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("epoch seconds")
            }
            fn visit_i64<E>(self, value: i64) -> Result<Timestamp, E> {
                Ok(Timestamp::from_epoch_s(value))
            }
            fn visit_u64<E>(self, value: u64) -> Result<Timestamp, E> {
                Ok(Timestamp::from_epoch_s(i64::try_from(value).unwrap_or(i64::MAX)))
            }
            fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Timestamp, E> {
                Timestamp::from_epoch_float(value).ok_or_else(|| E::custom("time out of range"))
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Timestamp, E> {
                Timestamp::from_text(text).ok_or_else(|| E::custom("not a time"))
            }
        }
        deserializer.deserialize_any(Seconds).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        let moment = Timestamp { epoch_ms: 1_795_210_200_123 };
        assert_eq!(moment.to_iso_text(), "2026-11-20T21:30:00.123Z");
        assert_eq!(moment.to_lambda_text(), "2026-11-20T21:30:00.123+0000");
        assert_eq!(moment.to_basic_text(), "20261120T213000Z");
        assert_eq!(Timestamp::from_text("2026-11-20T21:30:00.123Z"), Some(moment));
        assert_eq!(Timestamp::from_text("2026-11-20T22:30:00.123+01:00"), Some(moment));
        assert_eq!(Timestamp::from_text("1795210200.123"), Some(moment));
        let whole = Timestamp::from_epoch_s(1_795_210_200);
        assert_eq!(Timestamp::from_basic_text("20261120T213000Z"), Some(whole));
        assert_eq!(serde_json::to_string(&whole).unwrap(), "1795210200");
        assert_eq!(serde_json::to_string(&moment).unwrap(), "1795210200.123");
    }

    #[test]
    fn what_is_no_time() {
        for text in [
            "",
            "x",
            "2026-02-30T00:00:00Z",
            "2026-11-20T21:30:00",
            "1e300",
            "NaN",
            "2026-11-20T21:30:00.Z",
            "2026-11-20T21:30:00+1",
            "2026é11-20T21:30:00Z",
        ] {
            assert_eq!(Timestamp::from_text(text), None, "{text}");
        }
        assert_eq!(Timestamp::from_basic_text("20261320T213000Z"), None);
    }
}
