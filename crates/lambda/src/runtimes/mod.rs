//! Runtimes: which interpreter of this machine serves a runtime id ([`packs`]), what an
//! environment of a function is made of ([`plan`]), and the runtime clients that we ship
//! ([`clients`]: Python, Node.js, Ruby and Java; custom runtimes bring their own).

mod archives;
#[cfg(test)]
mod client_harness;
pub mod clients;
#[cfg(test)]
mod from_spares;
#[cfg(test)]
mod java_tests;
#[cfg(test)]
mod nodejs_streaming_tests;
#[cfg(test)]
mod nodejs_tests;
pub mod packs;
pub mod plan;
mod probe;
#[cfg(test)]
mod python_tests;
#[cfg(test)]
mod ruby_tests;
mod spare;
#[cfg(test)]
mod wrapper_tests;
