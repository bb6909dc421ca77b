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
//! Requests whose `Host` names a site (`sites.rs`: the URLs of functions) are none of an API and leave
//! the list after its first step; the limits hold for them too.
//!
//! What this crate refuses to do: it knows no AWS service by name, stores nothing, answers no CORS
//! preflight of its own (a browser on another site has no business with the API), and never cancels
//! an operation that has begun because its client went away.

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
pub mod date;
mod driven;
mod front;
mod internal;
mod listener;
pub mod metrics;
mod pipeline;
mod reply;
mod serve;
mod service;
mod sites;
mod streamed;

pub use authenticate::{AuthMode, LoopbackOnly, NotLoopback};
pub use authorize::{PolicyQuestion, PolicySays, ResourcePolicies};
pub use config::{FrontConfig, Limits};
pub use credentials::{CredentialTable, Principal};
pub use cx::{Call, Cx, EnvironmentOrigin, Origin};
pub use front::Front;
pub use internal::{InternalCall, InternalReply, InternalRoute, ReplyContent};
pub use listener::{Drained, ListenError};
pub use serve::{InputOf, OutputOf, Serve, recorded, serve};
pub use service::{BoxFuture, Service};
pub use sites::{Signer, SiteCall, Sites};
