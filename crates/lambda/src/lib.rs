//! AWS Lambda: operations, invoke path, runtime API, runtimes.

pub mod catalog;
pub mod code;
pub mod state;
