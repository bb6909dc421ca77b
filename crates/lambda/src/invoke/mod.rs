//! Comes with the invoke path.
