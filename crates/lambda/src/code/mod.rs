//! From a deployment package to an immutable, content-addressed bundle on disk.

pub mod link;
mod merge;
pub mod packages;
mod plan;
mod unpack;

#[cfg(test)]
pub(crate) mod testing;
