//! The restJson1 protocol: where a request's members come from and where an answer's go.
//! Smithy's "AWS restJson1 protocol" is the reference.

use std::borrow::Cow;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::event_stream::{self, Event, EventStream};
use crate::operation::{Body, Labels, Request, Response};
use crate::tree::Tree;
use crate::uri;
use crate::validate::{Kind, Member, Place, Shape, normalize, violations};

/// Binds, checks and types a request. `shape` is the operation's input structure. A raw payload
/// is left to the caller.
///
/// # Errors
/// `SerializationException` or `ValidationException`, 400.
pub fn decode<'r, T: Deserialize<'r>>(
    request: &'r Request,
    labels: &'r Labels,
    shape: &'static Shape,
) -> Result<T, Error> {
    let Kind::Structure(members) = shape.kind else {
        return Err(Error::internal("an operation's input is not a structure"));
    };
    let mut tree = bind(request, labels, members)?;
    normalize(&mut tree, shape)?;
    let violated = violations(&tree, members);
    if !violated.is_empty() {
        return Err(Error::validation(violated));
    }
    drop_nulls(&mut tree);
    T::deserialize(tree).map_err(|error| Error::serialization(error.to_string()))
}

/// Brings all members together into one tree, under AWS's names.
fn bind<'r>(
    request: &'r Request,
    labels: &'r Labels,
    members: &'static [Member],
) -> Result<Tree<'r>, Error> {
    let mut bound = Vec::with_capacity(members.len());
    if members.iter().any(|member| member.place == Place::Body) {
        for (name, value) in body_object(&request.body)? {
            // What travels elsewhere is not taken from the body.
            let is_body = |member: &&Member| member.place == Place::Body && member.name == name;
            if members.iter().any(|member| is_body(&member)) {
                bound.push((name, value));
            }
        }
    }
    for member in members {
        let value = match member.place {
            Place::Body | Place::RawPayload => None,
            Place::Label => label(labels, member)?,
            Place::Query(name) => query(&request.query, name, member)?,
            Place::Header(name) => header(request, name, member)?,
            Place::JsonPayload => json_payload(&request.body)?,
        };
        if let Some(value) = value {
            bound.push((Cow::Borrowed(member.name), value));
        }
    }
    Ok(Tree::Map(bound))
}

fn body_object(body: &[u8]) -> Result<Vec<(Cow<'_, str>, Tree<'_>)>, Error> {
    match json_payload(body)? {
        None => Ok(Vec::new()),
        Some(Tree::Map(members)) => Ok(members),
        Some(Tree::List(_)) => Err(Error::serialization("Start of list found where not expected")),
        Some(_) => Err(Error::serialization("Unexpected field type")),
    }
}

/// An empty body and `null` are the same as none.
fn json_payload(body: &[u8]) -> Result<Option<Tree<'_>>, Error> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(None);
    }
    match Tree::parse(body) {
        Ok(Tree::Null) => Ok(None),
        Ok(tree) => Ok(Some(tree)),
        Err(reason) => {
            Err(Error::serialization(format!("Could not parse request body into json: {reason}")))
        }
    }
}

fn label<'r>(labels: &'r Labels, member: &Member) -> Result<Option<Tree<'r>>, Error> {
    let found = labels.iter().find(|(name, _)| *name == member.name);
    found.map(|(_, text)| scalar(Cow::Borrowed(text.as_str()), member.shape)).transpose()
}

fn query<'r>(query: &'r str, name: &str, member: &Member) -> Result<Option<Tree<'r>>, Error> {
    let decoded = |value: &'r str| {
        uri::decode_query(value).ok_or_else(|| Error::serialization("The query is not UTF-8"))
    };
    let mut values = uri::query_pairs(query)
        .filter(|(have, _)| *have == name || uri::decode_query(have).as_deref() == Some(name))
        .map(|(_, value)| decoded(value));
    if let Kind::List { item, .. } = member.shape.kind {
        let mut items = Vec::new();
        for value in values {
            items.push(scalar(value?, item)?);
        }
        return Ok(if items.is_empty() { None } else { Some(Tree::List(items)) });
    }
    let Some(value) = values.next().transpose()? else { return Ok(None) };
    if value.is_empty() && !matches!(member.shape.kind, Kind::Text) {
        return Ok(None);
    }
    scalar(value, member.shape).map(Some)
}

fn header<'r>(
    request: &'r Request,
    name: &str,
    member: &Member,
) -> Result<Option<Tree<'r>>, Error> {
    let Some(value) = request.headers.get(name) else { return Ok(None) };
    let text = std::str::from_utf8(value.as_bytes())
        .map_err(|_| Error::serialization(format!("The header {name} is not UTF-8")))?;
    if text.is_empty() {
        return Ok(None);
    }
    if let Kind::List { item, .. } = member.shape.kind {
        let mut items = Vec::new();
        for piece in text.split(',') {
            items.push(scalar(Cow::Borrowed(piece.trim()), item)?);
        }
        return Ok(Some(Tree::List(items)));
    }
    scalar(Cow::Borrowed(text), member.shape).map(Some)
}

/// A text from the path, the query or a header as a value of its shape.
fn scalar<'r>(text: Cow<'r, str>, shape: &Shape) -> Result<Tree<'r>, Error> {
    let refused = |wanted: &str| {
        Error::serialization(format!("STRING_VALUE can not be converted to {wanted}"))
    };
    match shape.kind {
        Kind::Integer => text.parse().map(Tree::Int).map_err(|_| refused("an Integer")),
        Kind::Long => text.parse().map(Tree::Int).map_err(|_| refused("a Long")),
        Kind::Double => match text.parse::<f64>() {
            Ok(number) if number.is_finite() => Ok(Tree::Float(number)),
            _ => Err(refused("a Double")),
        },
        Kind::Boolean if text.eq_ignore_ascii_case("true") => Ok(Tree::Bool(true)),
        Kind::Boolean if text.eq_ignore_ascii_case("false") => Ok(Tree::Bool(false)),
        Kind::Boolean => Err(refused("a Boolean")),
        _ => Ok(Tree::Text(text)),
    }
}

/// A null member is the same as none to the typed value. Nulls inside lists and maps have been
/// refused by the validation, or are dropped where AWS is silent about them.
fn drop_nulls(tree: &mut Tree<'_>) {
    match tree {
        Tree::List(items) => {
            items.retain(|item| !matches!(item, Tree::Null));
            items.iter_mut().for_each(drop_nulls);
        }
        Tree::Map(entries) => {
            entries.retain(|(_, value)| !matches!(value, Tree::Null));
            entries.iter_mut().for_each(|(_, value)| drop_nulls(value));
        }
        _ => {}
    }
}

/// An answer whose body members are the JSON form of `output`.
///
/// # Errors
/// `ServiceException` when the output cannot be written, which no generated type causes.
pub fn encode<T: Serialize>(status: u16, output: &T) -> Result<Response, Error> {
    let body = serde_json::to_vec(output).map_err(|error| Error::internal(error.to_string()))?;
    Ok(Response::json(status, Bytes::from(body)))
}

/// An answer whose body is a raw payload; without payload it has no content type.
pub fn encode_payload(status: u16, payload: Bytes) -> Response {
    let mut response = Response::empty(status);
    if !payload.is_empty() {
        response.headers.push((CONTENT_TYPE, HeaderValue::from_static("application/json")));
        response.body = Body::Whole(payload);
    }
    response
}

/// An answer whose body is an event stream; without a stream it has no body.
pub fn encode_event_stream<E: Event + 'static>(status: u16, stream: EventStream<E>) -> Response {
    let mut response = Response::empty(status);
    if let Some(pieces) = stream.into_pieces() {
        let content_type = HeaderValue::from_static(event_stream::CONTENT_TYPE);
        response.headers.push((CONTENT_TYPE, content_type));
        response.body = Body::Pieces(pieces);
    }
    response
}

/// The status to answer with: an output's own when it has set one.
pub fn status(own: i32, usual: u16) -> u16 {
    u16::try_from(own).ok().filter(|status| (100..=999).contains(status)).unwrap_or(usual)
}

/// Adds a header-bound member; `name` is lower case. Replaces a header of that name.
///
/// # Errors
/// `ServiceException` when the value cannot stand in a header.
pub fn push_header(
    response: &mut Response,
    name: &'static str,
    value: Option<impl AsRef<str>>,
) -> Result<(), Error> {
    let Some(value) = value else { return Ok(()) };
    let value = HeaderValue::from_str(value.as_ref())
        .map_err(|_| Error::internal(format!("the value of {name} cannot stand in a header")))?;
    let name = HeaderName::from_static(name);
    response.headers.retain(|(have, _)| *have != name);
    response.headers.push((name, value));
    Ok(())
}
