//! The Runtime API, `2018-06-01`: what a runtime inside an execution environment speaks with the
//! platform. Plain HTTP/1.1, on every connection accepted at 127.0.0.1:9001 inside, and on the
//! stream that the clients we ship inherit.
//!
//! The peer is user code and may be hostile: connections, heads and bodies are bounded, what is
//! too much is read and thrown away or closed, and nothing it sends reaches another environment.
//! A streamed response goes to its caller while it is being sent, and no faster than that takes it.
//! Only a `next` may wait without a limit. Beside AWS's routes there is one of our own, for spares, on
//! the inherited stream only (`becoming`). SnapStart's routes are there for functions with SnapStart
//! only, as on AWS (`restore`, `credentials`). What a runtime tells for X-Ray
//! (`Lambda-Runtime-Function-XRay-Error-Cause`, the cause in an error document) has no reader and is
//! dropped.

mod answer;
pub mod becoming;
pub mod connection;
#[cfg(test)]
mod contract_tests;
mod credentials;
pub mod desk;
mod error;
pub mod extensions;
#[cfg(test)]
mod hostile_tests;
mod imported;
mod init_error;
pub mod life;
mod next;
mod owner;
mod ping;
mod plain;
#[cfg(test)]
mod plain_tests;
mod response;
pub mod restore;
pub mod stream;
#[cfg(test)]
mod stream_tests;
mod subscribe;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use http::{Method, Request, StatusCode};

use crate::telemetry::Api;
use answer::{Answer, Payload, plain};
use desk::Desk;

/// All routes, in the order in which the protocol is told.
async fn route(desk: Arc<Desk>, on: connection::Kind, request: Request<Payload>) -> Answer {
    let path = request.uri().path().to_owned();
    let parts: Vec<&str> = path.split('/').skip(1).collect();
    match (request.method(), parts.as_slice()) {
        (&Method::GET, ["2018-06-01", "runtime", "invocation", "next"]) => next::get(&desk).await,
        (&Method::POST, ["2018-06-01", "runtime", "invocation", id, "response"]) => {
            response::post(&desk, id, request).await
        }
        (&Method::POST, ["2018-06-01", "runtime", "invocation", id, "error"]) => {
            error::post(&desk, id, request).await
        }
        (&Method::POST, ["2018-06-01", "runtime", "init", "error"]) => {
            init_error::post(&desk, request).await
        }
        (&Method::GET, ["2018-06-01", "ping"]) => ping::get(),
        (&Method::GET, ["2021-04-23", "credentials"]) => credentials::get(&desk, &request),
        (method, ["2018-06-01", "runtime", "restore", what @ ("next" | "error")])
            if desk.has_snapstart() =>
        {
            match (method, *what) {
                (&Method::GET, "next") => restore::next(&desk).await,
                (&Method::POST, "error") => restore::error(&desk, request).await,
                _ => plain(StatusCode::METHOD_NOT_ALLOWED, ""),
            }
        }
        (&Method::GET, ["lambic", "become"]) if on == connection::Kind::Inherited => {
            becoming::get(&desk)
        }
        (&Method::POST, ["lambic", "imported", modules]) if on == connection::Kind::Inherited => {
            imported::post(&desk, modules)
        }
        (_, ["2020-01-01", "extension", rest @ ..]) => {
            extensions::route(&desk, rest, request).await
        }
        (&Method::PUT, ["2022-07-01", "telemetry"]) => {
            subscribe::put(&desk, Api::Telemetry, request).await
        }
        (&Method::PUT, ["2020-08-15", "logs"]) => subscribe::put(&desk, Api::Logs, request).await,
        // The right path with the wrong method, as AWS tells it apart from a wrong path.
        (
            _,
            ["2018-06-01", "runtime", "invocation", "next"]
            | ["2018-06-01", "runtime", "invocation", _, "response" | "error"]
            | ["2018-06-01", "runtime", "init", "error"]
            | ["2018-06-01", "ping"]
            | ["2022-07-01", "telemetry"]
            | ["2020-08-15", "logs"],
        ) => plain(StatusCode::METHOD_NOT_ALLOWED, ""),
        _ => no_such_page(),
    }
}

fn no_such_page() -> Answer {
    plain(StatusCode::NOT_FOUND, "404 page not found\n")
}
