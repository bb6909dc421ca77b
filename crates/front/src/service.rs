//! What a service crate gives to the front.

use std::future::Future;
use std::pin::Pin;

use lambic_wire::{Error, Request, Response};

use crate::cx::Call;

/// A boxed, sendable future.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// One AWS service.
pub trait Service: Send + Sync + 'static {
    /// The service's name in a signature's credential scope, for example `lambda`.
    fn signing_name(&self) -> &'static str;

    /// The greatest body, in bytes, that this request may have. Asked before any of it is read.
    fn body_bytes_max(&self, method: &http::Method, path: &str) -> usize;

    /// The operation's name as AWS words it in "Request must be smaller than N bytes for the X
    /// operation" (for example `CreateFunction`, `InvokeFunction`); `None` for unknown routes.
    fn operation_name(&self, _method: &http::Method, _path: &str, _query: &str) -> Option<&str> {
        None
    }

    /// Whether an unsigned request for this path is meant for this service. Services are asked in
    /// the order in which they were given to the front, and the first that says yes serves it.
    fn owns_path(&self, _method: &http::Method, _path: &str) -> bool {
        true
    }

    /// Routes, decodes and runs the operation, normally by a `match` whose arms call
    /// [`crate::serve`] with `call.cx(self)`.
    fn handle<'a>(
        &'a self,
        call: &'a Call,
        request: Request,
    ) -> BoxFuture<'a, Result<Response, Error>>;
}
