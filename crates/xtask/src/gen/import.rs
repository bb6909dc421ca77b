//! Reduces a botocore model to what the wire needs.

use std::fs;
use std::path::Path;

use serde_json::{Map, Value, json};

/// What the wire layer reads of a model's top level.
const KEPT: &[&str] = &["metadata", "operations", "shapes"];

pub(super) fn run(from: &Path, to: &Path) -> Result<(), String> {
    let text = fs::read_to_string(from)
        .map_err(|error| format!("cannot read {}: {error}", from.display()))?;
    let full: Value = serde_json::from_str(&text)
        .map_err(|error| format!("{} is not JSON: {error}", from.display()))?;
    let mut reduced = Map::new();
    reduced.insert("source".to_owned(), json!("botocore 1.44.5"));
    for key in KEPT {
        let part = full.get(key).ok_or_else(|| format!("the model has no '{key}'"))?;
        reduced.insert((*key).to_owned(), without_prose(part));
    }
    let mut text = serde_json::to_string_pretty(&Value::Object(reduced))
        .map_err(|error| format!("cannot write the reduced model: {error}"))?;
    text.push('\n');
    fs::write(to, text).map_err(|error| format!("cannot write {}: {error}", to.display()))
}

/// Prose is a text under one of these names; a member that happens to have such a name is an
/// object and stays.
fn without_prose(value: &Value) -> Value {
    match value {
        Value::Object(members) => members
            .iter()
            .filter(|(name, value)| !(is_prose(name) && value.is_string()))
            .map(|(name, value)| (name.clone(), without_prose(value)))
            .collect(),
        Value::Array(items) => items.iter().map(without_prose).collect(),
        other => other.clone(),
    }
}

fn is_prose(name: &str) -> bool {
    matches!(name, "documentation" | "documentationUrl" | "deprecatedMessage" | "deprecatedSince")
}
