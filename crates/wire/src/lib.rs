//! AWS on the wire, server side, and nothing else: decoding and encoding of requests, validation,
//! signatures, ARNs, paging tokens and the error type.
//!
//! Pure by promise: nothing in here opens a file or a socket, reads a clock or draws a random
//! number. What needs the time is given it as an argument.

pub mod arn;
pub mod blob;
pub mod chunked;
pub mod error;
pub mod event_stream;
pub mod operation;
pub mod paging;
pub mod pairs;
pub mod restjson;
pub mod route;
pub mod sigv4;
pub mod text_enum;
pub mod timestamp;
pub mod tree;
pub mod uri;
pub mod validate;

pub use arn::Arn;
pub use blob::Blob;
pub use error::{Error, Fault, MessageKey};
pub use operation::{Body, Labels, Operation, Request, Response};
pub use pairs::Pairs;
pub use timestamp::Timestamp;
