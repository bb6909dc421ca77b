//! AWS Lambda: operations, invoke path, runtime API, runtimes.

pub mod catalog;
pub mod code;
pub mod invoke;
pub mod runtime_api;
pub mod runtimes;
pub mod state;
