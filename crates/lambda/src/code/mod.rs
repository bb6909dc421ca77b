//! From a deployment package to an immutable, content-addressed bundle on disk.

pub mod hold;
