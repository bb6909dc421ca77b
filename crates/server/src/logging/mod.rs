//! Where log lines go: standard error, as text for people or as JSON for machines.
//!
//! A warm invoke writes four lines and takes a tenth of a millisecond, so lines are collected and
//! written by a thread of their own ([`writer`]), and those for machines are made by hand ([`json`]).

mod json;
mod writer;

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::config::Log;
use json::{JsonLines, NoFields};
use writer::Collected;
pub(crate) use writer::LogWriter;

/// Starts logging for the whole process. A second call changes nothing. Lines are kept until
/// [`LogWriter::run`] starts writing them, because that needs a thread.
pub(crate) fn start(log: &Log) -> LogWriter {
    // The resolver has tried the filter.
    let filter = EnvFilter::try_new(&log.level).unwrap_or_else(|_| EnvFilter::new("info"));
    let (collected, writer) = Collected::new();
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(collected)
        // It would complain on the same standard error, and panic: a full disk must not end requests.
        .log_internal_errors(false);
    let started = if log.json {
        builder.event_format(JsonLines::new()).fmt_fields(NoFields).try_init()
    } else {
        builder.with_ansi(std::io::stderr().is_terminal()).compact().try_init()
    };
    // Only a test can have started logging before.
    drop(started);
    writer
}
