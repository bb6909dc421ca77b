//! One constructor per modelled error.

use std::fmt::Write;

use serde_json::Value;

use super::model::{Model, flag};
use super::names;

pub(super) fn write(model: &Model) -> Result<String, String> {
    let mut text = String::from(
        "/// One constructor per modelled error; the argument is the message.\n\
         pub mod errors {\nuse lambic_wire::{Error, Fault, MessageKey};\n",
    );
    for (name, shape) in model.shapes().filter(|(_, shape)| flag(shape, "exception")) {
        text.push_str(&constructor(model, name, shape)?);
    }
    text.push_str("}\n");
    Ok(text)
}

fn constructor(model: &Model, name: &str, shape: &Value) -> Result<String, String> {
    let status = shape.pointer("/error/httpStatusCode").and_then(Value::as_u64);
    let status = status.ok_or_else(|| format!("the error '{name}' has no status"))?;
    let members = model.members(name)?;
    let has = |wanted: &str| members.iter().any(|member| member.name == wanted);
    let key = if has("Message") { "Upper" } else { "Lower" };
    let function = names::snake(name.strip_suffix("Exception").unwrap_or(name));
    let mut text = format!(
        "/// `{name}`, {status}.\n\
         pub fn {function}(message: impl Into<String>) -> Error {{\n\
         Error::new({name:?}, {status}, message).with_message_key(MessageKey::{key})"
    );
    if has("Type") {
        let fault = if flag(shape, "fault") { "Service" } else { "User" };
        // Writing into a String cannot fail.
        _ = write!(text, ".with_fault(Fault::{fault})");
    }
    text.push_str("\n}\n");
    Ok(text)
}
