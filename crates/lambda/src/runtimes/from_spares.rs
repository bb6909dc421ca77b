//! The tests of the clients once more, with interpreters that were spares.

mod client_harness {
    pub(super) use crate::runtimes::client_harness::{Said, interpreters, taken};
    pub(super) type Function = crate::runtimes::client_harness::FunctionFrom<true>;
}
use crate::runtimes::{clients, packs};

#[path = "nodejs_streaming_tests.rs"]
mod nodejs_streaming_tests;
#[path = "nodejs_tests.rs"]
mod nodejs_tests;
#[path = "python_tests.rs"]
mod python_tests;
#[path = "wrapper_tests.rs"]
mod wrapper_tests;
