//! The two clocks.

use std::future::Future;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A moment of the monotonic clock.
pub type Instant = tokio::time::Instant;

/// A moment of the wall clock, in microseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// From microseconds since the epoch.
    pub fn from_micros(micros: i64) -> Timestamp {
        Timestamp(micros)
    }

    /// Microseconds since the epoch.
    pub fn micros(self) -> i64 {
        self.0
    }

    /// Milliseconds since the epoch, rounded down.
    pub fn millis(self) -> i64 {
        self.0.div_euclid(1_000)
    }

    /// Seconds since the epoch, rounded down.
    pub fn seconds(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }

    /// This moment and `duration` more.
    pub fn after(self, duration: Duration) -> Timestamp {
        Timestamp(self.0.saturating_add(i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)))
    }

    /// Calendar fields in UTC: year, month 1–12, day 1–31, hour, minute, second, millisecond.
    ///
    /// Days to date after Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms".
    pub fn utc(self) -> (i64, u32, u32, u32, u32, u32, u32) {
        let millis = self.millis();
        let (days, of_day) = (millis.div_euclid(86_400_000), millis.rem_euclid(86_400_000) as u32);
        let z = days + 719_468;
        let era = z.div_euclid(146_097);
        let doe = z.rem_euclid(146_097);
        let yoe = (doe - doe / 1_460 + doe / 36_524 - doe / 146_096) / 365;
        let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
        let mp = (5 * doy + 2) / 153;
        let day = (doy - (153 * mp + 2) / 5 + 1) as u32;
        let month = if mp < 10 { mp + 3 } else { mp - 9 } as u32;
        let year = yoe + era * 400 + i64::from(month <= 2);
        let (h, m) = (of_day / 3_600_000, of_day / 60_000 % 60);
        (year, month, day, h, m, of_day / 1_000 % 60, of_day % 1_000)
    }

    /// `2026-11-20T21:30:00.000+0000`, the form of a function's `LastModified`.
    pub fn lambda_text(self) -> String {
        let (y, mo, d, h, mi, s, ms) = self.utc();
        format!("{y:04}-{mo:02}-{d:02}T{h:02}:{mi:02}:{s:02}.{ms:03}+0000")
    }

    /// `2026-11-20T21:30:00.000Z` (RFC 3339 with milliseconds).
    pub fn rfc3339(self) -> String {
        let (y, mo, d, h, mi, s, ms) = self.utc();
        format!("{y:04}-{mo:02}-{d:02}T{h:02}:{mi:02}:{s:02}.{ms:03}Z")
    }
}

/// Tells the wall-clock time.
pub(crate) enum Clock {
    Real,
    Simulated { start: std::sync::OnceLock<Instant> },
}

/// 2026-01-01T00:00:00Z, where simulated time begins.
const SIMULATED_START_MICROS: i64 = 1_767_225_600_000_000;

impl Clock {
    pub(crate) fn real() -> Clock {
        Clock::Real
    }

    pub(crate) fn simulated() -> Clock {
        Clock::Simulated { start: std::sync::OnceLock::new() }
    }

    pub(crate) fn now(&self) -> Timestamp {
        match self {
            #[allow(clippy::disallowed_methods, reason = "this is the door")]
            Clock::Real => Timestamp(match SystemTime::now().duration_since(UNIX_EPOCH) {
                Ok(since) => since.as_micros() as i64,
                Err(before) => -(before.duration().as_micros() as i64),
            }),
            Clock::Simulated { start } => {
                let elapsed = instant().duration_since(*start.get_or_init(instant));
                Timestamp(SIMULATED_START_MICROS).after(elapsed)
            }
        }
    }
}

pub(crate) fn instant() -> Instant {
    #[allow(clippy::disallowed_methods, reason = "this is the door")]
    tokio::time::Instant::now()
}

pub(crate) async fn sleep(duration: Duration) {
    #[allow(clippy::disallowed_methods, reason = "this is the door")]
    tokio::time::sleep(duration).await;
}

pub(crate) async fn within<F: Future>(limit: Duration, future: F) -> Option<F::Output> {
    #[allow(clippy::disallowed_methods, reason = "this is the door")]
    tokio::time::timeout(limit, future).await.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calendar_texts() {
        let moment = Timestamp::from_micros(1_763_674_200_123_456);
        assert_eq!(moment.lambda_text(), "2025-11-20T21:30:00.123+0000");
        assert_eq!(
            Timestamp::from_micros(951_782_400_000_000).rfc3339(),
            "2000-02-29T00:00:00.000Z"
        );
        assert_eq!(Timestamp::from_micros(-1).rfc3339(), "1969-12-31T23:59:59.999Z");
    }
}
