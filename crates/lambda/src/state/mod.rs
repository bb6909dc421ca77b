//! What is stored, one file per record, and the snapshots made from it.

pub mod version;
