//! `GET /2018-06-01/ping`: legacy; some runtimes wait for it.

use http::StatusCode;

use super::answer::{Answer, plain};

pub(super) fn get() -> Answer {
    plain(StatusCode::OK, "pong")
}
