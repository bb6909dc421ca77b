//! Walks a request and its shapes side by side and collects what is violated.

use crate::tree::Tree;

use super::texts;
use super::{Kind, Member, Place, Shape};

/// So many violations of one request are told; more would only make the answer long.
const VIOLATIONS_MAX: usize = 100;

/// Every violation in the members of a structure, in the model's order. `tree` has passed
/// [`super::normalize`].
pub fn violations(tree: &Tree<'_>, members: &'static [Member]) -> Vec<String> {
    let mut found = Vec::new();
    structure(tree, members, "", &mut found);
    found
}

fn structure(tree: &Tree<'_>, members: &'static [Member], prefix: &str, found: &mut Vec<String>) {
    for member in members {
        if found.len() >= VIOLATIONS_MAX {
            return;
        }
        match tree.get(member.name) {
            Some(value) => check(value, member.shape, prefix, member.path, found),
            // A raw payload is never part of the tree.
            None if member.required && member.place != Place::RawPayload => found.push(format!(
                "Value null at '{prefix}{}' failed to satisfy constraint: {}",
                member.path,
                texts::NOT_NULL
            )),
            None => {}
        }
    }
}

fn check(value: &Tree<'_>, shape: &Shape, prefix: &str, name: &str, found: &mut Vec<String>) {
    for constraint in own_violations(value, shape) {
        found.push(violation(value, shape, prefix, name, &constraint));
    }
    match (shape.kind, value) {
        (Kind::Structure(members), _) => {
            structure(value, members, &format!("{prefix}{name}."), found);
        }
        (Kind::List { item, names_null }, Tree::List(items)) => {
            list(items, item, names_null, (value, shape, prefix, name), found);
        }
        (Kind::Map { key, value: inner }, Tree::Map(entries)) => {
            map(entries, key, inner, (value, shape, prefix, name), found);
        }
        _ => {}
    }
}

fn violation(
    value: &Tree<'_>,
    shape: &Shape,
    prefix: &str,
    name: &str,
    constraint: &str,
) -> String {
    let quoted = texts::quoted(value, shape);
    format!("Value {quoted}at '{prefix}{name}' failed to satisfy constraint: {constraint}")
}

/// The value, its shape, and the two parts of its path.
type Whole<'w, 'a> = (&'w Tree<'a>, &'w Shape, &'w str, &'w str);

fn list(
    items: &[Tree<'_>],
    item: &'static Shape,
    names_null: bool,
    (value, shape, prefix, name): Whole<'_, '_>,
    found: &mut Vec<String>,
) {
    if is_nested(item) {
        for (index, entry) in items.iter().enumerate() {
            if found.len() >= VIOLATIONS_MAX {
                return;
            }
            let path = format!("{name}.{}.member", index + 1);
            check(entry, item, prefix, &path, found);
        }
        return;
    }
    let bad = |entry: &Tree<'_>| match entry {
        Tree::Null => names_null,
        _ => !own_violations(entry, item).is_empty(),
    };
    if items.iter().any(bad) {
        let mut all = texts::all(item);
        if names_null {
            all.push(texts::NOT_NULL.to_owned());
        }
        let constraint = format!("Member must satisfy constraint: [{}]", all.join(", "));
        found.push(violation(value, shape, prefix, name, &constraint));
    }
}

fn map(
    entries: &[(std::borrow::Cow<'_, str>, Tree<'_>)],
    key: &'static Shape,
    inner: &'static Shape,
    (value, shape, prefix, name): Whole<'_, '_>,
    found: &mut Vec<String>,
) {
    let bad_key = |text: &str| !own_violations(&Tree::Text(text.into()), key).is_empty();
    if entries.iter().any(|(text, _)| bad_key(text)) {
        let all = texts::all(key).join(", ");
        let constraint = format!("Map keys must satisfy constraint: [{all}]");
        found.push(violation(value, shape, prefix, name, &constraint));
    }
    if is_nested(inner) {
        for (text, entry) in entries {
            if found.len() >= VIOLATIONS_MAX {
                return;
            }
            check(entry, inner, prefix, &format!("{name}.{text}.member"), found);
        }
        return;
    }
    let bad =
        |entry: &Tree<'_>| matches!(entry, Tree::Null) || !own_violations(entry, inner).is_empty();
    if entries.iter().any(|(_, entry)| bad(entry)) {
        let mut all = texts::all(inner);
        all.push(texts::NOT_NULL.to_owned());
        let constraint = format!("Map value must satisfy constraint: [{}]", all.join(", "));
        found.push(violation(value, shape, prefix, name, &constraint));
    }
}

/// Structures, lists and maps inside a list have paths of their own; simple items do not.
fn is_nested(shape: &Shape) -> bool {
    matches!(shape.kind, Kind::Structure(_) | Kind::List { .. } | Kind::Map { .. })
}

/// The constraints that a value itself violates, without what is inside it.
fn own_violations(value: &Tree<'_>, shape: &Shape) -> Vec<String> {
    let mut violated = Vec::new();
    if let Some(size) = size(value, shape) {
        violated.extend(shape.max.filter(|max| size > *max).map(|max| texts::at_most(shape, max)));
        violated.extend(shape.min.filter(|min| size < *min).map(|min| texts::at_least(shape, min)));
    }
    let Tree::Text(text) = value else { return violated };
    if let Some(pattern) = shape.pattern.filter(|pattern| !pattern.matches(text)) {
        violated.push(texts::matching(pattern.source));
    }
    if !shape.values.is_empty() && !shape.values.contains(&text.as_ref()) {
        violated.push(texts::one_of(shape.values));
    }
    violated
}

/// What `min` and `max` are about: the value of a number, the length of all else.
fn size(value: &Tree<'_>, shape: &Shape) -> Option<f64> {
    if shape.min.is_none() && shape.max.is_none() {
        return None;
    }
    match (shape.kind, value) {
        (Kind::Blob, Tree::Text(text)) => Some((text.trim_end_matches('=').len() * 3 / 4) as f64),
        (_, Tree::Text(text)) => Some(text.chars().count() as f64),
        (_, Tree::Int(number)) => Some(*number as f64),
        (_, Tree::Float(number)) => Some(*number),
        (_, Tree::List(items)) => Some(items.len() as f64),
        (_, Tree::Map(entries)) => Some(entries.len() as f64),
        _ => None,
    }
}
