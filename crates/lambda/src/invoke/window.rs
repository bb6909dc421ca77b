//! How much of what an environment prints is read and passed on in a second: one that prints without
//! an end takes no more of the server than that, and is told what was left out.

use std::time::Duration;

use lambic_rt::Instant;

use super::platform_events::LogsDropped;

/// Lines of one environment that are passed on in a second.
pub const LINES_PER_S_MAX: u32 = 10_000;
/// Bytes of one environment that are passed on in a second.
pub const BYTES_PER_S_MAX: usize = 4 * 1024 * 1024;
/// Bytes that are read of one environment in a second.
pub const READ_BYTES_PER_S_MAX: usize = 32 * 1024 * 1024;

/// What has been read and passed on in the present second.
pub(super) struct Window {
    since: Instant,
    lines: u32,
    bytes: usize,
    pub(super) read_bytes: usize,
    dropped_lines: u64,
    dropped_bytes: u64,
}

impl Window {
    pub(super) fn new(since: Instant) -> Window {
        Window { since, lines: 0, bytes: 0, read_bytes: 0, dropped_lines: 0, dropped_bytes: 0 }
    }

    pub(super) fn take_dropped(&mut self) -> Option<LogsDropped> {
        let dropped_records = std::mem::take(&mut self.dropped_lines);
        let dropped_bytes = std::mem::take(&mut self.dropped_bytes);
        let reason = "too many in a second";
        (dropped_records > 0).then_some(LogsDropped { reason, dropped_records, dropped_bytes })
    }

    fn renew(&mut self, now: Instant) {
        if now.duration_since(self.since) >= Duration::from_secs(1) {
            let (dropped_lines, dropped_bytes) = (self.dropped_lines, self.dropped_bytes);
            *self = Window { dropped_lines, dropped_bytes, ..Window::new(now) };
        }
    }

    pub(super) fn wait_to_read(&mut self, now: Instant) -> Option<Duration> {
        self.renew(now);
        let end = self.since + Duration::from_secs(1);
        (self.read_bytes >= READ_BYTES_PER_S_MAX).then(|| end.duration_since(now))
    }

    pub(super) fn may_pass(&mut self, now: Instant, bytes: usize) -> bool {
        self.renew(now);
        let passes = self.lines < LINES_PER_S_MAX && self.bytes + bytes <= BYTES_PER_S_MAX;
        if passes {
            self.lines += 1;
            self.bytes += bytes;
        } else {
            self.dropped_lines += 1;
            self.dropped_bytes += bytes as u64;
        }
        passes
    }
}
