//! The `Op` enumeration of all operations, the route table, and the codecs of the offered ones.

use std::fmt::Write;

use serde_json::Value;

use super::model::{Member, Model, side, text};
use super::{names, shapes};

pub(super) fn write(model: &Model) -> Result<String, String> {
    Ok(format!("{}\n{}\n{}\n", enumeration(model), routes(model)?, codecs(model)?))
}

fn enumeration(model: &Model) -> String {
    let mut variants = String::new();
    let mut all = String::new();
    let mut name_arms = String::new();
    let mut action_arms = String::new();
    let mut status_arms = String::new();
    for (name, operation) in model.operations() {
        let action = model.override_of("iam_actions", name).and_then(Value::as_str);
        let action = action.map_or_else(|| format!("{}:{name}", model.service), str::to_owned);
        let status = status(model, name, operation);
        // Writing into a String cannot fail.
        _ = write!(variants, "/// `{name}`\n{name},");
        _ = write!(all, "Op::{name},");
        _ = write!(name_arms, "Op::{name} => {name:?},");
        _ = write!(action_arms, "Op::{name} => {action:?},");
        _ = write!(status_arms, "Op::{name} => {status},");
    }
    let mut offered = String::new();
    for (name, _) in model.offered() {
        _ = write!(offered, "Op::{name},");
    }
    format!(
        "/// Every operation of the service, offered or not.\n\
         #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]\n\
         pub enum Op {{ {variants} }}\n\
         impl Op {{\n\
         /// All of them, in the model's order.\n\
         pub const ALL: &'static [Op] = &[{all}];\n\
         /// Those with a codec in [`ops`].\n\
         pub const OFFERED: &'static [Op] = &[{offered}];\n\
         /// AWS's name.\n\
         pub fn name(self) -> &'static str {{ match self {{ {name_arms} }} }}\n\
         /// The IAM action that must be allowed.\n\
         pub fn iam_action(self) -> &'static str {{ match self {{ {action_arms} }} }}\n\
         /// The HTTP status of success.\n\
         pub fn success_status(self) -> u16 {{ match self {{ {status_arms} }} }}\n\
         }}\n"
    )
}

fn status(model: &Model, name: &str, operation: &Value) -> u64 {
    let recorded = model.override_of("success_status", name).and_then(Value::as_u64);
    let modelled = operation.pointer("/http/responseCode").and_then(Value::as_u64);
    recorded.or(modelled).unwrap_or(200)
}

/// One route as its sort key and its Rust text.
struct Row {
    /// Per segment, fixed ones before labels before greedy ones.
    order: Vec<(u8, String)>,
    without_query: bool,
    text: String,
}

fn routes(model: &Model) -> Result<String, String> {
    let mut rows = Vec::new();
    for (name, operation) in model.operations() {
        rows.push(row(name, operation)?);
    }
    rows.sort_by(|left, right| {
        (&left.order, left.without_query).cmp(&(&right.order, right.without_query))
    });
    let text: String = rows.into_iter().map(|row| row.text).collect();
    Ok(format!(
        "use lambic_wire::route::{{Route, Segment}};\n\
         /// Where the operations live, the more particular routes first.\n\
         pub static ROUTES: &[Route<Op>] = &[{text}];\n"
    ))
}

fn row(name: &str, operation: &Value) -> Result<Row, String> {
    let http = operation.get("http").ok_or_else(|| format!("'{name}' has no http binding"))?;
    let uri = text(http, "requestUri").ok_or_else(|| format!("'{name}' has no uri"))?;
    let method = text(http, "method").ok_or_else(|| format!("'{name}' has no method"))?;
    let (path, query) = match uri.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (uri, None),
    };
    let mut order = Vec::new();
    let mut segments = String::new();
    for piece in path.trim_matches('/').split('/') {
        let label = piece.strip_prefix('{').and_then(|piece| piece.strip_suffix('}'));
        let (rank, segment) = match label {
            None => (0, format!("Segment::Fixed({piece:?}),")),
            Some(label) => match label.strip_suffix('+') {
                None => (1, format!("Segment::Label({label:?}),")),
                Some(label) => (2, format!("Segment::Greedy({label:?}),")),
            },
        };
        order.push((rank, piece.to_owned()));
        segments.push_str(&segment);
    }
    let query_text = match query {
        None => "None".to_owned(),
        Some(query) => {
            let (key, value) = query.split_once('=').unwrap_or((query, ""));
            format!("Some(({key:?}, {value:?}))")
        }
    };
    let text = format!(
        "Route {{ method: {method:?}, segments: &[{segments}], query: {query_text}, \
         op: Op::{name} }},"
    );
    Ok(Row { order, without_query: query.is_none(), text })
}

fn codecs(model: &Model) -> Result<String, String> {
    let mut text = String::from(
        "/// The codecs of the offered operations.\n\
         pub mod ops {\n\
         use lambic_wire::{Error, Labels, Operation, Request, Response, restjson};\n\
         use super::shapes;\nuse super::tables;\n",
    );
    let mut arms = String::new();
    for (name, operation) in model.offered() {
        text.push_str(&codec(model, name, operation)?);
        // Writing into a String cannot fail.
        _ = write!(arms, "super::Op::{name} => Some({name}::decode(request, labels).map(drop)),");
    }
    _ = write!(
        text,
        "/// Decodes a request and forgets the input; `None` when the operation is not offered.\n\
         /// So that fuzzing and tests reach every decoder without a list of their own.\n\
         pub fn decode_any(op: super::Op, request: &Request, labels: &Labels) -> \
         Option<Result<(), Error>> {{ match op {{ {arms} _ => None }} }}\n}}\n"
    );
    Ok(text)
}

fn codec(model: &Model, name: &str, operation: &Value) -> Result<String, String> {
    let input = side(operation, "input").ok_or_else(|| format!("'{name}' has no input"))?;
    let decode = decode(model, input)?;
    let (output, encode) = match side(operation, "output") {
        None => {
            let status = status(model, name, operation);
            ("()".to_owned(), format!("let () = output; Ok(Response::empty({status}))"))
        }
        Some(output) => {
            let type_name = format!("shapes::{}", names::type_name(output));
            (type_name, encode(model, output, status(model, name, operation))?)
        }
    };
    let input = names::type_name(input);
    Ok(format!(
        "/// `{name}`\npub struct {name};\n\
         impl Operation for {name} {{\n\
         const NAME: &'static str = {name:?};\n\
         type Input = shapes::{input};\n\
         type Output = {output};\n\
         fn decode(request: &Request, labels: &Labels) -> Result<Self::Input, Error> {{\
         {decode} }}\n\
         fn encode(output: Self::Output) -> Result<Response, Error> {{ {encode} }}\n\
         }}\n"
    ))
}

fn decode(model: &Model, input: &str) -> Result<String, String> {
    let table = names::screaming(input);
    let call = format!("restjson::decode(request, labels, &tables::{table})");
    for member in model.members(input)? {
        if shapes::is_raw(model, &member)? {
            let field = names::field(member.name);
            let type_name = names::type_name(input);
            return Ok(format!(
                "let mut input: shapes::{type_name} = {call}?;\n\
                 input.{field} = request.body.clone();\nOk(input)"
            ));
        }
    }
    Ok(call)
}

fn encode(model: &Model, output: &str, usual: u64) -> Result<String, String> {
    let members = model.members(output)?;
    let mut status = usual.to_string();
    let (mut raw, mut stream) = (None, None);
    let mut body = false;
    let mut headers = String::new();
    for member in &members {
        let field = names::field(member.name);
        match member.location {
            Some("statusCode") => status = format!("restjson::status(output.{field}, {usual})"),
            Some("header") => headers.push_str(&header(model, member)),
            Some(other) => return Err(format!("'{output}' has the unknown place '{other}'")),
            None if model.is_event_stream(member.shape) => stream = Some(field),
            None if shapes::is_raw(model, member)? => raw = Some(field),
            None if member.payload => return Err(format!("'{output}' has a structured payload")),
            None => body = true,
        }
    }
    let response = match (raw, stream) {
        (_, Some(field)) => {
            format!("restjson::encode_event_stream({status}, output.{field})")
        }
        (Some(field), None) => {
            format!("restjson::encode_payload({status}, output.{field})")
        }
        // An output without body members is an empty object, where a body may stand at all.
        (None, None) if body || (members.is_empty() && usual != 204) => {
            if !headers.is_empty() {
                return Err(format!("'{output}' mixes body members and headers"));
            }
            return Ok(format!("restjson::encode({status}, &output)"));
        }
        (None, None) => format!("Response::empty({status})"),
    };
    if headers.is_empty() {
        let unused = if members.is_empty() { "drop(output);" } else { "" };
        return Ok(format!("{unused} Ok({response})"));
    }
    Ok(format!("let mut response = {response};\n{headers}\nOk(response)"))
}

fn header(model: &Model, member: &Member<'_>) -> String {
    let field = names::field(member.name);
    let name = member.location_name.to_ascii_lowercase();
    let value = if model.is_enum(member.shape) {
        format!("output.{field}.as_ref().map(|value| value.as_str())")
    } else {
        format!("output.{field}.as_deref()")
    };
    format!("restjson::push_header(&mut response, {name:?}, {value})?;\n")
}
