//! The front as its clients see it: bytes in, bytes out, over pipes in memory and simulated time.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on may stop")]

mod auth;
mod drain;
mod hostile;
mod http1;
mod limits;
mod operations;
mod records;
mod sites;
mod streamed;
mod world;
