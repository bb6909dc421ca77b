//! Finding the operation of a request from a table of routes.
//!
//! The table is sorted when it is generated: fixed segments before labels, routes with a literal
//! query parameter before those without. So the first match is the right one.

use http::Method;

use crate::operation::Labels;
use crate::uri;

/// One piece of a route's path between two slashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Segment {
    /// This very text.
    Fixed(&'static str),
    /// One non-empty segment, bound to this member.
    Label(&'static str),
    /// One or more segments, slashes included, bound to this member. Always the last.
    Greedy(&'static str),
}

/// Where an operation lives.
#[derive(Clone, Copy, Debug)]
pub struct Route<O: 'static> {
    /// HTTP method.
    pub method: &'static str,
    /// The path's segments.
    pub segments: &'static [Segment],
    /// A query parameter that must be there with this value.
    pub query: Option<(&'static str, &'static str)>,
    /// The operation.
    pub op: O,
}

/// What a table says about a request.
#[derive(Clone, Debug, PartialEq)]
pub enum Found<O> {
    /// The operation and its decoded labels.
    Op(O, Labels),
    /// The path is known, but not with this method.
    MethodNotAllowed,
    /// Nobody lives there.
    Unknown,
}

/// More pieces of a path are not looked at; no route is so long.
const SEGMENTS_MAX: usize = 64;

/// Looks a request up. `path` is raw and may end in a slash; `query` is raw.
pub fn find<O: Copy>(routes: &[Route<O>], method: &Method, path: &str, query: &str) -> Found<O> {
    let Some(path) = path.strip_prefix('/') else { return Found::Unknown };
    let path = path.strip_suffix('/').unwrap_or(path);
    let pieces: Vec<&str> = path.split('/').take(SEGMENTS_MAX).collect();
    let mut known_path = false;
    for route in routes {
        if !matches_path(route.segments, &pieces) || !matches_query(route.query, query) {
            continue;
        }
        if route.method != method.as_str() {
            known_path = true;
            continue;
        }
        // A label that is not UTF-8 names nothing.
        return labels(route.segments, path)
            .map_or(Found::Unknown, |labels| Found::Op(route.op, labels));
    }
    if known_path { Found::MethodNotAllowed } else { Found::Unknown }
}

fn matches_path(segments: &[Segment], pieces: &[&str]) -> bool {
    // Most routes differ in length, and that is the cheapest thing to see.
    let greedy = matches!(segments.last(), Some(Segment::Greedy(_)));
    if pieces.len() != segments.len() && !(greedy && pieces.len() > segments.len()) {
        return false;
    }
    // From the end, because the beginning is the same for most.
    segments.iter().zip(pieces).rev().all(|(segment, piece)| match segment {
        Segment::Fixed(text) => piece == text,
        // A signature is made over the path without dot segments: such a one names nothing.
        Segment::Label(_) | Segment::Greedy(_) => !matches!(*piece, "" | "." | ".."),
    })
}

fn matches_query(wanted: Option<(&str, &str)>, query: &str) -> bool {
    match wanted {
        None => true,
        Some((name, value)) => uri::query_value(query, name).as_deref() == Some(value),
    }
}

fn labels(segments: &[Segment], path: &str) -> Option<Labels> {
    let mut labels = Labels::new();
    let mut rest = path;
    for segment in segments {
        let (piece, after) = rest.split_once('/').unwrap_or((rest, ""));
        match segment {
            Segment::Fixed(_) => {}
            Segment::Label(name) => labels.push((name, uri::decode(piece)?.into_owned())),
            Segment::Greedy(name) => {
                labels.push((name, uri::decode(rest)?.into_owned()));
                return Some(labels);
            }
        }
        rest = after;
    }
    Some(labels)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUTES: &[Route<u8>] = &[
        Route {
            method: "GET",
            segments: &[Segment::Fixed("layers")],
            query: Some(("find", "LayerVersion")),
            op: 1,
        },
        Route { method: "GET", segments: &[Segment::Fixed("layers")], query: None, op: 2 },
        Route {
            method: "GET",
            segments: &[Segment::Fixed("f"), Segment::Label("Name"), Segment::Fixed("list")],
            query: None,
            op: 3,
        },
        Route {
            method: "PUT",
            segments: &[Segment::Fixed("t"), Segment::Greedy("Rest")],
            query: None,
            op: 4,
        },
    ];

    #[track_caller]
    fn check(method: Method, path: &str, query: &str, expected: Found<u8>) {
        assert_eq!(find(ROUTES, &method, path, query), expected);
    }

    #[test]
    fn literals_labels_and_slashes() {
        check(Method::GET, "/layers", "find=LayerVersion&Arn=a", Found::Op(1, vec![]));
        check(Method::GET, "/layers/", "find=Other", Found::Op(2, vec![]));
        check(Method::GET, "/f/a%3Ab/list", "", Found::Op(3, vec![("Name", "a:b".into())]));
        check(Method::PUT, "/t/a/b%2Fc", "", Found::Op(4, vec![("Rest", "a/b/c".into())]));
        check(Method::POST, "/layers", "", Found::MethodNotAllowed);
        check(Method::GET, "/f//list", "", Found::Unknown);
        check(Method::GET, "/f/../list", "", Found::Unknown);
        check(Method::GET, "/f/%ff/list", "", Found::Unknown);
        check(Method::GET, "/layers//", "", Found::Unknown);
        check(Method::GET, "*", "", Found::Unknown);
    }
}
