//! What must hold of every answer, whatever was asked.

use serde_json::Value;

use super::model::{Model, Operation};
use crate::ops::testing::Reply;

/// Errors that every operation may answer although no model declares them.
const COMMON: [(&str, u64); 9] = [
    ("AccessDeniedException", 403),
    ("MethodNotAllowedException", 405),
    ("NotImplementedException", 501),
    ("RequestEntityTooLargeException", 413),
    ("SerializationException", 400),
    ("UnknownOperationException", 404),
    ("ValidationException", 400),
    // Of the service, and answered where what is written does not exist, whatever the model says.
    ("InvalidParameterValueException", 400),
    ("ResourceNotFoundException", 404),
];

/// Says what is wrong with the answer of `operation`, or of no operation.
pub(super) fn check(
    model: &Model,
    operation: Option<&Operation>,
    reply: &Reply,
) -> Result<(), String> {
    match reply.status {
        200..=299 => match operation {
            Some(operation) => check_success(model, operation, reply),
            None => Err("there is no such operation, and it succeeded".to_owned()),
        },
        400..=499 | 501 => check_error(operation, reply),
        status => Err(format!("status {status}: {}", shown(reply))),
    }
}

fn check_success(model: &Model, operation: &Operation, reply: &Reply) -> Result<(), String> {
    let invokes = operation.name.starts_with("Invoke");
    if u64::from(reply.status) != operation.status && !invokes {
        return Err(format!("status {} and not {}", reply.status, operation.status));
    }
    let Some(output) = &operation.output else {
        return if reply.body.is_empty() { Ok(()) } else { Err(shown(reply)) };
    };
    if model.payload(output).is_some() {
        // An event's answer is the function's own text; streams have tests of their own.
        return Ok(());
    }
    if reply.body.is_empty() {
        let silent = model.members(output).iter().all(|member| member.location.is_some());
        return if silent || reply.status == 204 { Ok(()) } else { Err("no body".to_owned()) };
    }
    if reply.header("content-type") != Some("application/json") {
        return Err(format!("content type {:?}", reply.header("content-type")));
    }
    let document: Value = serde_json::from_slice(&reply.body)
        .map_err(|error| format!("{error}: {}", shown(reply)))?;
    model.accepts(output, &document, output)
}

fn check_error(operation: Option<&Operation>, reply: &Reply) -> Result<(), String> {
    let code = reply.header("x-amzn-errortype").unwrap_or_default();
    let status = u64::from(reply.status);
    let declared = operation.and_then(|operation| operation.errors.get(code)).copied();
    let common = COMMON.iter().find(|(name, _)| *name == code).map(|(_, status)| *status);
    match declared.or(common) {
        None => return Err(format!("the model does not declare this error: {}", shown(reply))),
        Some(expected) if expected != status => {
            return Err(format!("{code} has status {status} and not {expected}"));
        }
        Some(_) => {}
    }
    let Ok(Value::Object(body)) = serde_json::from_slice::<Value>(&reply.body) else {
        return Err(format!("{code} without a document: {}", shown(reply)));
    };
    let text = match (body.get("message"), body.get("Message")) {
        (Some(Value::String(text)), None) | (None, Some(Value::String(text))) => text,
        _ => return Err(format!("{code} without one message: {}", shown(reply))),
    };
    // AWS has nothing to say about a path that it does not know.
    if text.is_empty() && code != "UnknownOperationException" {
        return Err(format!("{code} says nothing"));
    }
    if !matches!(body.get("Type").and_then(Value::as_str), None | Some("User")) {
        return Err(format!("{code} is not the caller's: {}", shown(reply)));
    }
    if status == 501 {
        let named = operation.is_none_or(|one| one.is_offered || text.contains(&one.name));
        if !named || !text.contains(" not offered") {
            return Err(format!("501 that does not name what is not offered: {text}"));
        }
    }
    Ok(())
}

fn shown(reply: &Reply) -> String {
    let code = reply.header("x-amzn-errortype").unwrap_or_default();
    let body: String = String::from_utf8_lossy(&reply.body).chars().take(700).collect();
    format!("{} {code} {body}", reply.status)
}
