//! AWS Lambda: its operations, its invoke path, the Runtime API and the runtimes.
//!
//! What it promises: a 2xx to a write means that it is on disk, package and record; a setting is
//! obeyed or refused by its name; what a caller reads next contains what it wrote; an invoke runs
//! one immutable snapshot and reads nothing from the disk to find it.
//!
//! Where to begin reading: [`dispatch`](mod@dispatch) for the operations, [`invoke`] for the life of
//! an invocation, [`state`] for what is stored.

mod access;
pub mod catalog;
pub mod code;
mod dispatch;
pub mod event_pattern;
pub mod invoke;
pub mod keys;
pub mod limits;
pub mod names;
pub mod ops;
pub mod policy;
#[cfg(test)]
mod random;
pub mod rollback;
pub mod runtime_api;
pub mod runtimes;
mod service;
pub mod signing;
pub mod state;
mod tasks;
pub mod telemetry;
pub mod urls;

pub use service::{ControlConfig, Lambda, LambdaConfig, Runner, StartError};
