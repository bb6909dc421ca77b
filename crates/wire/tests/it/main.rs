//! The wire crate from outside: signatures against AWS's vectors and botocore's, and decoders
//! against anything.

mod never_panics;
mod sigv4;
