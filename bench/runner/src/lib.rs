//! What the programs of the measurements share: HTTP/1.1 in its smallest form, signatures, and the
//! numbers that a window of load leaves behind.

pub mod http;
pub mod load;
pub mod sign;
