//! Rust types for the shapes of the offered operations.

use std::fmt::Write;

use super::model::{Member, Model, side, texts};
use super::names;

pub(super) fn write(model: &Model) -> Result<String, String> {
    let roots = model
        .offered()
        .flat_map(|(_, operation)| [side(operation, "input"), side(operation, "output")])
        .flatten();
    let mut text = String::from(
        "/// The shapes of the offered operations, one type per AWS shape.\n\
         pub mod shapes {\n\
         use std::fmt;\nuse bytes::Bytes;\n\
         use lambic_wire::event_stream::{self, EventStream};\n\
         use lambic_wire::{Blob, Error, Pairs, Timestamp};\n\
         use serde::{Deserialize, Serialize};\n",
    );
    for name in model.reachable(roots)? {
        if model.is_event_stream(name) {
            text.push_str(&events(model, name)?);
        } else if model.kind(name)? == "structure" {
            text.push_str(&structure(model, name)?);
        } else if model.is_enum(name) {
            text.push_str(&enumeration(model, name)?);
        }
    }
    text.push_str("}\n");
    Ok(text)
}

fn enumeration(model: &Model, name: &str) -> Result<String, String> {
    let mut text = format!("lambic_wire::text_enum! {{ {} {{", names::type_name(name));
    for value in texts(model.shape(name)?.get("enum")) {
        // Writing into a String cannot fail.
        _ = write!(text, "{} = {value:?},", names::variant(value));
    }
    text.push_str("} }\n");
    Ok(text)
}

/// The events of a stream, each written as one message.
fn events(model: &Model, name: &str) -> Result<String, String> {
    let type_name = names::type_name(name);
    let mut variants = String::new();
    let mut arms = String::new();
    for member in model.members(name)? {
        let (event, shape) = (member.name, names::type_name(member.shape));
        let payload = model.members(member.shape)?.into_iter().find(|inner| inner.event_payload);
        let written = match payload {
            None => format!("event_stream::json_event({event:?}, event)"),
            Some(payload) if model.kind(payload.shape)? == "blob" => {
                let field = names::field(payload.name);
                format!(
                    "Ok(event_stream::event({event:?}, \"application/octet-stream\", \
                     event.{field}.as_ref().map_or(&[], |payload| &payload.0)))"
                )
            }
            Some(payload) => {
                return Err(format!("'{name}' has the odd payload '{}'", payload.name));
            }
        };
        // Writing into a String cannot fail.
        _ = write!(variants, "{event}({shape}),");
        _ = write!(arms, "{type_name}::{event}(event) => {written},");
    }
    Ok(format!(
        "#[derive(Clone, Debug, PartialEq)]\n\
         pub enum {type_name} {{ {variants} }}\n\
         impl event_stream::Event for {type_name} {{\n\
         fn to_message(&self) -> Result<Bytes, Error> {{ match self {{ {arms} }} }}\n\
         }}\n"
    ))
}

/// An output that holds a stream of events: it is no JSON, and there is only one of it.
fn streaming(model: &Model, type_name: &str, members: &[Member<'_>]) -> Result<String, String> {
    let mut text = format!("#[derive(Debug, Default)]\npub struct {type_name} {{\n");
    for member in members {
        let field = names::field(member.name);
        let held = if model.is_event_stream(member.shape) {
            format!("EventStream<{}>", names::type_name(member.shape))
        } else if member.location == Some("statusCode") {
            "i32".to_owned()
        } else {
            format!("Option<{}>", rust_type(model, member.shape)?)
        };
        // Writing into a String cannot fail.
        _ = writeln!(text, "pub {field}: {held},");
    }
    text.push_str("}\n");
    Ok(text)
}

fn structure(model: &Model, name: &str) -> Result<String, String> {
    let members = model.members(name)?;
    if members.iter().any(|member| model.is_event_stream(member.shape)) {
        return streaming(model, &names::type_name(name), &members);
    }
    let secret = members.iter().any(|member| model.is_sensitive(member.shape));
    let debug = if secret { "" } else { "Debug, " };
    let type_name = names::type_name(name);
    let mut text = format!(
        "#[derive(Clone, {debug}Default, PartialEq, Serialize, Deserialize)]\n\
         pub struct {type_name} {{\n"
    );
    for member in &members {
        text.push_str(&field(model, member)?);
    }
    text.push_str("}\n");
    if secret {
        text.push_str(&redacting_debug(model, &type_name, &members));
    }
    Ok(text)
}

fn field(model: &Model, member: &Member<'_>) -> Result<String, String> {
    let field = names::field(member.name);
    let plain = rust_type(model, member.shape)?;
    // A raw payload and a status are always there, and never in the JSON form.
    if is_raw(model, member)? {
        return Ok(format!("#[serde(skip)]\npub {field}: Bytes,\n"));
    }
    if member.location == Some("statusCode") {
        return Ok(format!("#[serde(skip)]\npub {field}: i32,\n"));
    }
    let name = member.name;
    if member.required {
        return Ok(format!("#[serde(rename = {name:?}, default)]\npub {field}: {plain},\n"));
    }
    Ok(format!(
        "#[serde(rename = {name:?}, default, skip_serializing_if = \"Option::is_none\")]\n\
         pub {field}: Option<{plain}>,\n"
    ))
}

/// Whether a member is the whole body as bytes.
pub(super) fn is_raw(model: &Model, member: &Member<'_>) -> Result<bool, String> {
    Ok(member.payload && model.kind(member.shape)? == "blob")
}

fn rust_type(model: &Model, name: &str) -> Result<String, String> {
    Ok(match model.kind(name)? {
        "structure" => names::type_name(name),
        "list" => format!("Vec<{}>", rust_type(model, model.part(name, "member")?)?),
        "map" => format!("Pairs<{}>", rust_type(model, model.part(name, "value")?)?),
        "string" if model.is_enum(name) => names::type_name(name),
        "string" => "String".to_owned(),
        "integer" => "i32".to_owned(),
        "long" => "i64".to_owned(),
        "double" | "float" => "f64".to_owned(),
        "boolean" => "bool".to_owned(),
        "blob" => "Blob".to_owned(),
        "timestamp" => "Timestamp".to_owned(),
        other => return Err(format!("the shape '{name}' has the unknown type '{other}'")),
    })
}

fn redacting_debug(model: &Model, type_name: &str, members: &[Member<'_>]) -> String {
    let mut text = format!(
        "impl fmt::Debug for {type_name} {{\n\
         fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {{\n\
         formatter.debug_struct({type_name:?})"
    );
    for member in members {
        let field = names::field(member.name);
        let shown = if model.is_sensitive(member.shape) {
            "&format_args!(\"<redacted>\")".to_owned()
        } else {
            format!("&self.{field}")
        };
        // Writing into a String cannot fail.
        _ = write!(text, ".field({field:?}, {shown})");
    }
    text.push_str(".finish()\n}\n}\n");
    text
}
