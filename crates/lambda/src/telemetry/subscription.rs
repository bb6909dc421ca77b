//! What an extension asks for: the body of a subscription, checked.
//!
//! All that is wrong with it is told at once, as AWS does. Members that are not known are passed
//! over, as AWS does too.

use std::time::Duration;

use http::{Method, Uri};
use serde_json::{Map, Value};

use super::Api;

/// Of a request; AWS's examples have a few hundred.
pub(super) const BODY_BYTES_MAX: usize = 64 * 1024;
/// The Runtime API listens there.
const PORT_RESERVED: u16 = 9001;
/// The names that stand for the execution environment itself.
const HOSTS: [&str; 3] = ["sandbox.localdomain", "sandbox.local", "sandbox"];

const ITEMS: Bounds = Bounds { name: "maxItems", min: 1_000, max: 10_000, default: 10_000 };
const BYTES: Bounds =
    Bounds { name: "maxBytes", min: 256 * 1024, max: 1024 * 1024, default: 256 * 1024 };
const TIMEOUT: Bounds = Bounds { name: "timeoutMs", min: 25, max: 30_000, default: 1_000 };

struct Bounds {
    name: &'static str,
    min: u64,
    max: u64,
    default: u64,
}

/// Which form the events have that a subscriber is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Schema {
    /// Of the Logs API, the first.
    Logs20200815,
    /// Of the Logs API, with `platform.runtimeDone` and the start of environments.
    Logs20210318,
    /// Of the Telemetry API, the first.
    Telemetry20220701,
    /// Of the Telemetry API; JSON lines of a function are objects from here on.
    Telemetry20221213,
    /// Of the Telemetry API, the newest.
    Telemetry20250129,
}

/// A stream of telemetry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Category {
    /// What the platform tells.
    Platform,
    /// What the function prints.
    Function,
    /// What extensions print.
    Extension,
}

/// When a batch is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Buffering {
    /// At so many events.
    pub(super) items_max: usize,
    /// At so many bytes of events.
    pub(super) bytes_max: usize,
    /// When its first event is so old.
    pub(super) timeout: Duration,
}

/// Where batches are sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Destination {
    /// A request for each batch, which is a JSON array.
    Http {
        /// POST, or PUT for subscribers of the Logs API that ask for it.
        method: Method,
        /// On the environment's own loopback.
        port: u16,
        /// Host and port as the subscriber wrote them.
        authority: String,
        /// Path and query.
        path: String,
    },
    /// Lines of JSON on one connection.
    Tcp {
        /// On the environment's own loopback.
        port: u16,
    },
}

/// What an extension wants to be told, how and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Request {
    /// The form of the events.
    pub(super) schema: Schema,
    /// Each once, in the order in which they were asked for.
    pub(super) types: Vec<Category>,
    /// When.
    pub(super) buffering: Buffering,
    /// Where.
    pub(super) destination: Destination,
}

impl Category {
    /// AWS's name of it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Category::Platform => "platform",
            Category::Function => "function",
            Category::Extension => "extension",
        }
    }

    fn of_name(name: &str) -> Option<Category> {
        let all = [Category::Platform, Category::Function, Category::Extension];
        all.into_iter().find(|category| category.name() == name)
    }
}

impl Schema {
    /// Those of an API, oldest first.
    fn all(api: Api) -> &'static [(&'static str, Schema)] {
        match api {
            Api::Telemetry => &[
                ("2022-07-01", Schema::Telemetry20220701),
                ("2022-12-13", Schema::Telemetry20221213),
                ("2025-01-29", Schema::Telemetry20250129),
            ],
            Api::Logs => {
                &[("2020-08-15", Schema::Logs20200815), ("2021-03-18", Schema::Logs20210318)]
            }
        }
    }
}

impl Request {
    /// Reads the body of a subscription; the error is what AWS calls its message.
    pub(super) fn parse(api: Api, body: &[u8]) -> Result<Request, String> {
        let value: Value = serde_json::from_slice(body)
            .map_err(|error| format!("failed to parse JSON: {error}"))?;
        let Value::Object(members) = value else {
            return Err("the request should be a JSON object".to_owned());
        };
        let mut errors = Vec::new();
        let schema = schema(api, &members, &mut errors);
        let destination = destination(api, &members, &mut errors);
        let types = types(&members, &mut errors);
        let buffering = buffering(&members, &mut errors);
        match (schema, destination, types, buffering) {
            (Some(schema), Some(destination), Some(types), Some(buffering))
                if errors.is_empty() =>
            {
                Ok(Request { schema, types, buffering, destination })
            }
            _ => Err(errors.join("; ")),
        }
    }
}

/// A member that is `null` is one that is not there.
fn member<'a>(members: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    members.get(name).filter(|value| !value.is_null())
}

/// Notes what is wrong.
fn wrong<T>(errors: &mut Vec<String>, text: impl Into<String>) -> Option<T> {
    errors.push(text.into());
    None
}

/// The Logs API has a default, the Telemetry API has none.
fn schema(api: Api, members: &Map<String, Value>, errors: &mut Vec<String>) -> Option<Schema> {
    let all = Schema::all(api);
    let Some(value) = member(members, "schemaVersion") else {
        return match api {
            Api::Telemetry => wrong(errors, "schemaVersion is not provided"),
            Api::Logs => Some(all[0].1),
        };
    };
    let known = all.iter().find(|(name, _)| value.as_str() == Some(name));
    known.map(|(_, schema)| *schema).or_else(|| {
        let names: Vec<&str> = all.iter().map(|(name, _)| *name).collect();
        wrong(errors, format!("schemaVersion should be one of [{}]", names.join(", ")))
    })
}

fn types(members: &Map<String, Value>, errors: &mut Vec<String>) -> Option<Vec<Category>> {
    let Some(value) = member(members, "types") else {
        return wrong(errors, "types is not provided");
    };
    let Some(names) = value.as_array() else {
        return wrong(errors, "types should be an array of strings");
    };
    if names.is_empty() {
        return wrong(errors, "types should not be empty");
    }
    let mut types = Vec::new();
    for name in names {
        match name.as_str().and_then(Category::of_name) {
            Some(category) if types.contains(&category) => {}
            Some(category) => types.push(category),
            None => return wrong(errors, "types should be among [platform, function, extension]"),
        }
    }
    Some(types)
}

fn buffering(members: &Map<String, Value>, errors: &mut Vec<String>) -> Option<Buffering> {
    let empty = Map::new();
    let members = match member(members, "buffering") {
        None => &empty,
        Some(Value::Object(members)) => members,
        Some(_) => return wrong(errors, "buffering should be an object"),
    };
    let items = ITEMS.of(members, errors);
    let bytes = BYTES.of(members, errors);
    let timeout_ms = TIMEOUT.of(members, errors);
    Some(Buffering {
        items_max: usize::try_from(items?).ok()?,
        bytes_max: usize::try_from(bytes?).ok()?,
        timeout: Duration::from_millis(timeout_ms?),
    })
}

impl Bounds {
    fn of(&self, members: &Map<String, Value>, errors: &mut Vec<String>) -> Option<u64> {
        let Bounds { name, min, max, default } = self;
        let Some(value) = member(members, name) else { return Some(*default) };
        let within = value.as_u64().filter(|value| (*min..=*max).contains(value));
        within.or_else(|| {
            wrong(errors, format!("{name} should be an integer between {min} and {max}"))
        })
    }
}

fn destination(
    api: Api,
    members: &Map<String, Value>,
    errors: &mut Vec<String>,
) -> Option<Destination> {
    let members = match member(members, "destination") {
        None => return wrong(errors, "destination is not provided"),
        Some(Value::Object(members)) => members,
        Some(_) => return wrong(errors, "destination should be an object"),
    };
    if member(members, "encoding").is_some_and(|encoding| encoding != "JSON") {
        errors.push("encoding should be JSON".to_owned());
    }
    match member(members, "protocol").map(Value::as_str) {
        None => wrong(errors, "protocol is not provided"),
        Some(Some("HTTP")) => {
            let method = method(api, members, errors);
            let (port, authority, path) = uri(members, errors)?;
            Some(Destination::Http { method: method?, port, authority, path })
        }
        Some(Some("TCP")) => {
            let Some(port) = member(members, "port") else {
                return wrong(errors, "port is not provided");
            };
            let port = port.as_u64().and_then(|port| u16::try_from(port).ok());
            Some(Destination::Tcp { port: usable(port.filter(|port| *port > 0), errors)? })
        }
        Some(_) => wrong(errors, "protocol should be one of [HTTP, TCP]"),
    }
}

/// The Logs API lets subscribers choose; the Telemetry API knows POST only.
fn method(api: Api, members: &Map<String, Value>, errors: &mut Vec<String>) -> Option<Method> {
    match (api, member(members, "method").map(Value::as_str)) {
        (_, None | Some(Some("POST"))) => Some(Method::POST),
        (Api::Logs, Some(Some("PUT"))) => Some(Method::PUT),
        (Api::Logs, _) => wrong(errors, "method should be one of [POST, PUT]"),
        (Api::Telemetry, _) => wrong(errors, "method should be POST"),
    }
}

/// Port, authority and path.
fn uri(members: &Map<String, Value>, errors: &mut Vec<String>) -> Option<(u16, String, String)> {
    let Some(value) = member(members, "URI") else { return wrong(errors, "URI is not provided") };
    let uri: Option<Uri> = value.as_str().and_then(|text| text.parse().ok());
    let Some((uri, authority)) = uri.as_ref().and_then(|uri| Some((uri, uri.authority()?))) else {
        return wrong(errors, "URI is not valid");
    };
    if uri.scheme_str() != Some("http") {
        return wrong(errors, "URI scheme should be http");
    }
    let is_inside = HOSTS.iter().any(|host| host.eq_ignore_ascii_case(authority.host()));
    if !is_inside || authority.as_str().contains('@') {
        return wrong(errors, "URI host should be sandbox.localdomain");
    }
    let port = match authority.as_str().split_once(':') {
        None | Some((_, "")) => return wrong(errors, "URI port is not provided"),
        Some(_) => usable(authority.port_u16().filter(|port| *port > 0), errors)?,
    };
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    Some((port, authority.as_str().to_owned(), path.to_owned()))
}

fn usable(port: Option<u16>, errors: &mut Vec<String>) -> Option<u16> {
    match port {
        None => wrong(errors, "port should be an integer between 1 and 65535"),
        Some(PORT_RESERVED) => wrong(errors, format!("port {PORT_RESERVED} is reserved")),
        Some(port) => Some(port),
    }
}

#[cfg(test)]
#[path = "subscription_tests.rs"]
mod tests;
