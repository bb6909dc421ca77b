//! The wire crate from outside: signatures against AWS's vectors and botocore's, and decoders
//! against anything.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod event_stream;
mod never_panics;
mod sigv4;
mod validate;
