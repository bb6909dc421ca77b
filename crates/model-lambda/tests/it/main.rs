//! The generated Lambda API from outside: routes, restJson1 rules and AWS's texts as tables in
//! `tests/data`, and decoders against anything.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod botocore;
mod codec;
mod names;
mod never_panics;
mod routes;
