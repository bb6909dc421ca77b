//! AWS's words for constraints and values.

use std::fmt::Write;

use crate::tree::Tree;

use super::{Kind, Shape};

/// A value is repeated up to this many bytes; AWS has no such limit, but an answer needs one.
const VALUE_BYTES_MAX: usize = 16 * 1024;

/// Every constraint of a shape, as AWS lists them for the items of a list.
pub(super) fn all(shape: &Shape) -> Vec<String> {
    let mut texts = Vec::new();
    texts.extend(shape.max.map(|max| at_most(shape, max)));
    texts.extend(shape.min.map(|min| at_least(shape, min)));
    texts.extend(shape.pattern.map(|pattern| matching(pattern.source)));
    if !shape.values.is_empty() {
        texts.push(one_of(shape.values));
    }
    texts
}

pub(super) const NOT_NULL: &str = "Member must not be null";

pub(super) fn at_most(shape: &Shape, max: f64) -> String {
    format!("Member must have {} less than or equal to {}", measure(shape), limit(shape, max))
}

pub(super) fn at_least(shape: &Shape, min: f64) -> String {
    format!("Member must have {} greater than or equal to {}", measure(shape), limit(shape, min))
}

pub(super) fn matching(source: &str) -> String {
    format!("Member must satisfy regular expression pattern: {source}")
}

pub(super) fn one_of(values: &[&str]) -> String {
    format!("Member must satisfy enum value set: [{}]", values.join(", "))
}

fn measure(shape: &Shape) -> &'static str {
    match shape.kind {
        Kind::Integer | Kind::Long | Kind::Double => "value",
        _ => "length",
    }
}

fn limit(shape: &Shape, bound: f64) -> String {
    match shape.kind {
        Kind::Double => format!("{bound:?}"),
        _ => format!("{bound:.0}"),
    }
}

/// `'value' ` as it stands after "Value "; empty for what must not be repeated.
pub(super) fn quoted(value: &Tree<'_>, shape: &Shape) -> String {
    if shape.sensitive || has_sensitive_items(shape) {
        return String::new();
    }
    let mut text = String::new();
    write_value(&mut text, value);
    format!("'{text}' ")
}

fn has_sensitive_items(shape: &Shape) -> bool {
    match shape.kind {
        Kind::List { item, .. } => item.sensitive,
        Kind::Map { key, value } => key.sensitive || value.sensitive,
        _ => false,
    }
}

/// Writes a value as Java's `toString` does: `[a, b]`, `{k=v}`, `1.0`.
fn write_value(text: &mut String, value: &Tree<'_>) {
    if text.len() > VALUE_BYTES_MAX {
        return;
    }
    match value {
        Tree::Null => text.push_str("null"),
        Tree::Text(plain) => {
            let room = VALUE_BYTES_MAX.min(plain.len());
            text.push_str(&plain[..plain.floor_char_boundary(room)]);
        }
        // Writing into a String cannot fail.
        Tree::Bool(flag) => _ = write!(text, "{flag}"),
        Tree::Int(number) => _ = write!(text, "{number}"),
        Tree::Float(number) => _ = write!(text, "{number:?}"),
        Tree::List(items) => {
            text.push('[');
            for (index, item) in items.iter().enumerate() {
                text.push_str(if index == 0 { "" } else { ", " });
                write_value(text, item);
            }
            text.push(']');
        }
        Tree::Map(entries) => {
            text.push('{');
            for (index, (name, item)) in entries.iter().enumerate() {
                text.push_str(if index == 0 { "" } else { ", " });
                text.push_str(name);
                text.push('=');
                write_value(text, item);
            }
            text.push('}');
        }
    }
}
