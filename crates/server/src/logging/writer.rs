//! Collects log lines in memory and writes them together, from a thread that does nothing else.
//!
//! Writing a line costs a system call, and blocks when whoever reads standard error is slow; neither
//! may cost a request anything. Lines are written within [`FLUSH_EVERY`], and at the end; what does
//! not fit ([`COLLECTED_BYTES_MAX`]) is dropped and counted. A line of level error is written at once.

use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tracing_subscriber::fmt::MakeWriter;

/// How long a line may wait for others to be written with.
const FLUSH_EVERY: Duration = Duration::from_millis(5);
/// Most that may wait, when standard error is not read fast enough.
const COLLECTED_BYTES_MAX: usize = 8 << 20;

#[derive(Default)]
struct State {
    lines: Vec<u8>,
    dropped: u64,
    ended: bool,
    /// The thread sleeps until it is told that there is something.
    asleep: bool,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    wake: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where `tracing` writes its lines to.
pub(super) struct Collected {
    shared: Arc<Shared>,
}

impl Collected {
    /// What lines go into, and what writes them out.
    pub(super) fn new() -> (Collected, LogWriter) {
        let shared = Arc::new(Shared::default());
        (Collected { shared: shared.clone() }, LogWriter { shared, thread: None })
    }
}

impl<'a> MakeWriter<'a> for Collected {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line { shared: &self.shared, urgent: false }
    }

    fn make_writer_for(&'a self, metadata: &tracing::Metadata<'_>) -> Line<'a> {
        Line { shared: &self.shared, urgent: *metadata.level() == tracing::Level::ERROR }
    }
}

/// Takes one line; `tracing` writes each in one piece.
pub(super) struct Line<'a> {
    shared: &'a Shared,
    urgent: bool,
}

impl Write for Line<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut state = self.shared.lock();
        if state.lines.len() + line.len() > COLLECTED_BYTES_MAX {
            state.dropped += 1;
        } else {
            state.lines.extend_from_slice(line);
        }
        // Waking the thread costs more than the line, so it is done once for many.
        let wake = std::mem::take(&mut state.asleep) || self.urgent;
        drop(state);
        if wake {
            self.shared.wake.notify_one();
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes what was collected. Dropping it writes the rest.
pub(crate) struct LogWriter {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl LogWriter {
    /// Starts the thread. Not before everything that must come before the first thread.
    pub(crate) fn run(&mut self) -> io::Result<()> {
        let shared = self.shared.clone();
        let thread = std::thread::Builder::new().name("log".to_owned());
        self.thread = Some(thread.spawn(move || write_until_ended(&shared))?);
        Ok(())
    }
}

impl Drop for LogWriter {
    fn drop(&mut self) {
        self.shared.lock().ended = true;
        self.shared.wake.notify_one();
        match self.thread.take() {
            // It has nothing to report: whoever could be told has just lost the log.
            Some(thread) => drop(thread.join()),
            None => write_out(&mut self.shared.lock()),
        }
    }
}

fn write_until_ended(shared: &Shared) {
    let mut lines = Vec::new();
    loop {
        let mut state = shared.lock();
        while state.lines.is_empty() && !state.ended {
            state.asleep = true;
            state = shared.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.asleep = false;
        if state.ended {
            return write_out(&mut state);
        }
        let (mut state, _) =
            shared.wake.wait_timeout(state, FLUSH_EVERY).unwrap_or_else(PoisonError::into_inner);
        std::mem::swap(&mut lines, &mut state.lines);
        let dropped = std::mem::take(&mut state.dropped);
        drop(state);
        write(&lines, dropped);
        lines.clear();
    }
}

fn write_out(state: &mut State) {
    write(&state.lines, state.dropped);
    state.lines.clear();
    state.dropped = 0;
}

fn write(lines: &[u8], dropped: u64) {
    let mut out = io::stderr().lock();
    // A log that cannot be written ends nothing: the disk may be full, the reader gone.
    let _ = out.write_all(lines);
    if dropped > 0 {
        let _ = writeln!(out, "{dropped} log lines were dropped: standard error is too slow");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_kept_in_order_and_dropped_beyond_the_limit() {
        let (collected, writer) = Collected::new();
        let mut line = collected.make_writer();
        line.write_all(b"first\n").unwrap();
        line.write_all(b"second\n").unwrap();
        assert_eq!(writer.shared.lock().lines, b"first\nsecond\n");
        line.write_all(&vec![b'x'; COLLECTED_BYTES_MAX]).unwrap();
        let state = writer.shared.lock();
        assert_eq!((state.lines.len(), state.dropped), (13, 1));
    }

    #[test]
    fn the_thread_writes_everything_before_it_ends() {
        let (collected, mut writer) = Collected::new();
        writer.run().unwrap();
        for number in 0..100 {
            writeln!(collected.make_writer(), "line {number} of a test of the log").unwrap();
        }
        let shared = writer.shared.clone();
        drop(writer);
        assert!(shared.lock().lines.is_empty());
    }
}
