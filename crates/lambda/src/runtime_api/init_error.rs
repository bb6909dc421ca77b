//! `POST /2018-06-01/runtime/init/error`: the runtime cannot start, for instance because the
//! function's module cannot be imported. Allowed only before the first `next`.

use http::Request;

use super::answer::{
    Answer, Payload, Received, accepted, error_type, from_refusal, receive, too_large, truncated,
};
use super::desk::Desk;
use super::error::document;

pub(super) async fn post(desk: &Desk, request: Request<Payload>) -> Answer {
    if let Err(refusal) = desk.begin_init_error() {
        return from_refusal(refusal);
    }
    let (head, body) = request.into_parts();
    let body = match receive(body).await {
        Received::Whole(body, _) => document(body, &head.headers),
        Received::TooLarge(_) => {
            desk.init_error_broken();
            return too_large();
        }
        Received::Broken => {
            desk.init_error_broken();
            return truncated();
        }
    };
    match desk.init_error(body, error_type(&head.headers)) {
        Ok(()) => accepted(),
        Err(refusal) => from_refusal(refusal),
    }
}
