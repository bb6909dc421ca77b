//! The front door: HTTP in, AWS answers out.
//!
//! One request goes through one visible list of steps (`pipeline.rs`): limit → request id →
//! browser guard → identify the service → read the body → authenticate → the service's own routing
//! and decoding → authorize → the operation → the reply. A service crate sees none of HTTP's
//! troubles: it implements [`Service`], and for every operation [`Serve`]; [`serve`] does the rest
//! (one span, one counter, one audit record for each operation).
//!
//! A reply may come in pieces (`streamed.rs`); then all of this ends with its last piece.
//!
//! What this crate refuses to do: it knows no AWS service by name, stores nothing, answers no CORS
//! preflight (a browser on another site has no business here), and never cancels an operation that
//! has begun because its client went away.

mod absent;
mod authenticate;
mod authorize;
mod body;
mod browser;
mod budget;
mod config;
mod connection;
mod credentials;
mod cx;
mod date;
mod driven;
mod front;
mod internal;
mod listener;
pub mod metrics;
mod pipeline;
mod reply;
mod serve;
mod service;
mod streamed;

pub use authenticate::{AuthMode, LoopbackOnly, NotLoopback};
pub use authorize::{PolicyQuestion, PolicySays, ResourcePolicies};
pub use config::{FrontConfig, Limits};
pub use credentials::{CredentialTable, Principal};
pub use cx::{Call, Cx, EnvironmentOrigin, Origin};
pub use front::Front;
pub use internal::{InternalCall, InternalReply, InternalRoute, ReplyContent};
pub use listener::{Drained, ListenError};
pub use serve::{InputOf, OutputOf, Serve, serve};
pub use service::{BoxFuture, Service};
