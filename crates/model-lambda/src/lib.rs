//! AWS Lambda's API as types: every operation's name, route, IAM action and status, and for the
//! offered ones shapes, decoding with AWS's validation, and encoding.
//!
//! Nearly all of it is generated from AWS's model; see `cargo xtask gen`.

#[allow(clippy::all, clippy::pedantic, missing_docs, unused_imports, dead_code)]
mod generated;

use http::Method;
use lambic_wire::route;

pub use generated::{Op, ROUTES, errors, ops, shapes, tables};
pub use shapes::*;

/// What the route table says about a request.
pub type Routed = route::Found<Op>;

/// Looks up the operation of a request. `path` and `query` are raw.
pub fn route(method: &Method, path: &str, query: &str) -> Routed {
    route::find(ROUTES, method, path, query)
}
