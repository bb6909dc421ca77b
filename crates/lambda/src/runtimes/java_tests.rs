//! The Java client as a real process.
