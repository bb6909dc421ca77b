//! Checks JSON types against the shapes, before any constraint is looked at: a string where a
//! number belongs is a `SerializationException`, not a violated constraint.

use crate::error::Error;
use crate::tree::Tree;

use super::{Kind, Shape};

/// Checks a tree's types and brings numbers into their member's form. Unknown members are
/// dropped, nulls stay.
///
/// # Errors
/// `SerializationException` for the first value of a wrong type.
pub fn normalize(tree: &mut Tree<'_>, shape: &Shape) -> Result<(), Error> {
    if matches!(tree, Tree::Null) {
        return Ok(());
    }
    match shape.kind {
        Kind::Structure(members) => {
            let Tree::Map(entries) = tree else { return Err(unexpected(tree)) };
            entries.retain(|(name, _)| members.iter().any(|member| member.name == name));
            for (name, value) in entries {
                if let Some(member) = members.iter().find(|member| member.name == name.as_ref()) {
                    normalize(value, member.shape)?;
                }
            }
            Ok(())
        }
        Kind::List { item, .. } => {
            let Tree::List(items) = tree else { return Err(unexpected(tree)) };
            items.iter_mut().try_for_each(|value| normalize(value, item))
        }
        Kind::Map { value: shape, .. } => {
            let Tree::Map(entries) = tree else { return Err(unexpected(tree)) };
            entries.iter_mut().try_for_each(|(_, value)| normalize(value, shape))
        }
        Kind::Text => match tree {
            Tree::Text(_) => Ok(()),
            _ => Err(inconvertible(tree, "a String")),
        },
        Kind::Boolean => match tree {
            Tree::Bool(_) => Ok(()),
            _ => Err(inconvertible(tree, "a Boolean")),
        },
        Kind::Integer => whole_number(tree, i64::from(i32::MIN), i64::from(i32::MAX), "an Integer"),
        Kind::Long => whole_number(tree, i64::MIN, i64::MAX, "a Long"),
        Kind::Double => match tree {
            Tree::Int(value) => {
                *tree = Tree::Float(*value as f64);
                Ok(())
            }
            Tree::Float(_) => Ok(()),
            _ => Err(inconvertible(tree, "a Double")),
        },
        Kind::Blob => match tree {
            Tree::Text(text) if is_base64(text) => Ok(()),
            Tree::Text(_) => Err(Error::serialization("Invalid base64 encoding in the request")),
            _ => Err(inconvertible(tree, "a Blob")),
        },
        Kind::Timestamp => match tree {
            Tree::Int(_) | Tree::Float(_) => Ok(()),
            Tree::Text(text) if crate::Timestamp::from_text(text).is_some() => Ok(()),
            _ => Err(inconvertible(tree, "a Timestamp")),
        },
    }
}

/// AWS cuts a number's fraction off where a whole one belongs.
fn whole_number(tree: &mut Tree<'_>, min: i64, max: i64, name: &str) -> Result<(), Error> {
    let value = match tree {
        Tree::Int(value) => *value,
        Tree::Float(value) if value.abs() < 9.0e18 => value.trunc() as i64,
        _ => return Err(inconvertible(tree, name)),
    };
    if value < min || value > max {
        return Err(inconvertible(tree, name));
    }
    *tree = Tree::Int(value);
    Ok(())
}

/// A cheap look at alphabet and length; decoding happens once, into the typed value.
fn is_base64(text: &str) -> bool {
    let body = text.strip_suffix("==").or_else(|| text.strip_suffix('=')).unwrap_or(text);
    body.len() % 4 != 1
        && body.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'+' || byte == b'/')
}

fn unexpected(tree: &Tree<'_>) -> Error {
    match tree {
        Tree::List(_) => Error::serialization("Start of list found where not expected"),
        Tree::Map(_) => Error::serialization("Start of structure or map found where not expected."),
        _ => Error::serialization("Unexpected field type"),
    }
}

fn inconvertible(tree: &Tree<'_>, wanted: &str) -> Error {
    let have = match tree {
        Tree::Bool(true) => "TRUE_VALUE",
        Tree::Bool(false) => "FALSE_VALUE",
        Tree::Int(_) | Tree::Float(_) => "NUMBER_VALUE",
        Tree::Text(_) => "STRING_VALUE",
        _ => return unexpected(tree),
    };
    Error::serialization(format!("{have} can not be converted to {wanted}"))
}
