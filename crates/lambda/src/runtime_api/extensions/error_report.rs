//! `POST /2020-01-01/extension/init/error` and `/exit/error`: an extension says why it is about to
//! exit. The type in its header is in the log; the environment ends with the process.

use http::Request;

use super::life::Move;
use super::{forbidden, from_refusal, identifier};
use crate::runtime_api::answer::{
    Answer, Payload, Received, accepted, receive, too_large, truncated,
};
use crate::runtime_api::desk::Desk;

const ERROR_TYPE: &str = "lambda-extension-function-error-type";

pub(super) async fn post(desk: &Desk, tried: Move, request: Request<Payload>) -> Answer {
    let (head, body) = request.into_parts();
    let id = match identifier(&head.headers) {
        Ok(id) => id.to_owned(),
        Err(answer) => return *answer,
    };
    let given = head.headers.get(ERROR_TYPE).and_then(|value| value.to_str().ok());
    let Some(error_type) = given.filter(|given| !given.is_empty()) else {
        let text = "Lambda-Extension-Function-Error-Type not found";
        return forbidden("Extension.MissingHeader", text);
    };
    // What the document says beyond the type has no reader, here or on AWS; it is read to its end so
    // that the extension is not left writing.
    match receive(body).await {
        Received::Whole(..) => {}
        Received::TooLarge(_) => return too_large(),
        Received::Broken => return truncated(),
    }
    match desk.extension_error(&id, tried, error_type) {
        Ok(()) => accepted(),
        Err(refusal) => from_refusal(&refusal, &id),
    }
}
