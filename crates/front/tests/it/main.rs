//! The front as its clients see it: bytes in, bytes out, over pipes in memory and simulated time.

mod auth;
mod drain;
mod hostile;
mod http1;
mod limits;
mod operations;
mod world;
