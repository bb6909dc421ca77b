//! What is stored, one file per record, and the snapshots made from it.

pub mod alias;
pub mod code_link_secret;
pub mod code_signing;
pub mod event_invoke;
pub mod file_system;
pub mod function;
pub mod function_url;
pub mod imports;
pub mod layer;
pub mod layer_policy;
pub mod logging;
pub mod mapping;
pub mod numbers;
pub mod published;
pub mod qualified;
pub mod runtime_id;
pub mod runtime_management;
pub mod sealed;
pub mod snapshot;
pub mod version;
pub mod vpc;
