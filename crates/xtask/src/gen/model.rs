//! A reduced model with its two companions: `offered-<service>.txt`, the operations whose shapes
//! are generated, and `overrides-<service>.json`, what AWS does otherwise than its model says.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::{Map, Value};

pub(super) struct Model {
    pub(super) service: String,
    operations: Map<String, Value>,
    shapes: Map<String, Value>,
    overrides: Value,
    offered: BTreeSet<String>,
}

/// One member of a structure.
pub(super) struct Member<'m> {
    pub(super) name: &'m str,
    pub(super) shape: &'m str,
    pub(super) required: bool,
    /// `uri`, `querystring`, `header`, `statusCode`; the body when absent.
    pub(super) location: Option<&'m str>,
    /// The name in the query or the header.
    pub(super) location_name: &'m str,
    /// It is the whole body.
    pub(super) payload: bool,
    /// It is the whole payload of an event.
    pub(super) event_payload: bool,
}

impl Model {
    pub(super) fn load(folder: &Path, service: &str) -> Result<Model, String> {
        let model = read_json(&folder.join(format!("{service}.json")))?;
        let overrides = read_json(&folder.join(format!("overrides-{service}.json")))?;
        let part = |name: &str| match model.get(name) {
            Some(Value::Object(map)) => Ok(map.clone()),
            _ => Err(format!("models/{service}.json has no '{name}'")),
        };
        let offered = read(&folder.join(format!("offered-{service}.txt")))?;
        let offered = offered
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
            .map(str::to_owned)
            .collect();
        let model = Model {
            service: service.to_owned(),
            operations: part("operations")?,
            shapes: part("shapes")?,
            overrides,
            offered,
        };
        for name in &model.offered {
            if !model.operations.contains_key(name) {
                return Err(format!("offered-{service}.txt names '{name}', which is no operation"));
            }
        }
        Ok(model)
    }

    /// All operations in the model's order.
    pub(super) fn operations(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.operations.iter().map(|(name, operation)| (name.as_str(), operation))
    }

    /// The operations whose shapes are generated.
    pub(super) fn offered(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.operations().filter(|(name, _)| self.offered.contains(*name))
    }

    /// Offers everything, to see whether the generator understands it.
    #[cfg(test)]
    pub(super) fn offer_all(&mut self) {
        self.offered = self.operations.keys().cloned().collect();
    }

    /// All shapes in the model's order.
    pub(super) fn shapes(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.shapes.iter().map(|(name, shape)| (name.as_str(), shape))
    }

    pub(super) fn shape(&self, name: &str) -> Result<&Value, String> {
        self.shapes.get(name).ok_or_else(|| format!("the model has no shape '{name}'"))
    }

    pub(super) fn kind(&self, name: &str) -> Result<&str, String> {
        text(self.shape(name)?, "type").ok_or_else(|| format!("the shape '{name}' has no type"))
    }

    pub(super) fn is_enum(&self, name: &str) -> bool {
        self.shapes.get(name).is_some_and(|shape| shape.get("enum").is_some())
    }

    pub(super) fn is_event_stream(&self, name: &str) -> bool {
        self.shapes.get(name).is_some_and(|shape| shape.get("eventstream").is_some())
    }

    /// Whether a value of this shape must not be printed, itself or by what it holds directly.
    pub(super) fn is_sensitive(&self, name: &str) -> bool {
        let Some(shape) = self.shapes.get(name) else { return false };
        let inner = ["member", "key", "value"]
            .iter()
            .filter_map(|part| shape.get(part).and_then(|inner| text(inner, "shape")));
        flag(shape, "sensitive") || inner.into_iter().any(|inner| self.is_sensitive(inner))
    }

    pub(super) fn members(&self, structure: &str) -> Result<Vec<Member<'_>>, String> {
        let shape = self.shape(structure)?;
        let payload = text(shape, "payload");
        let required = self.override_of("required", structure).or(shape.get("required"));
        let required = texts(required);
        let Some(Value::Object(members)) = shape.get("members") else {
            return Err(format!("the shape '{structure}' is no structure"));
        };
        members
            .iter()
            .map(|(name, member)| {
                Ok(Member {
                    name,
                    shape: text(member, "shape")
                        .ok_or_else(|| format!("'{structure}.{name}' has no shape"))?,
                    required: required.contains(&name.as_str()),
                    location: text(member, "location"),
                    location_name: text(member, "locationName").unwrap_or(name),
                    payload: payload == Some(name),
                    event_payload: flag(member, "eventpayload"),
                })
            })
            .collect()
    }

    /// The shapes that `name` holds directly.
    pub(super) fn inner(&self, name: &str) -> Result<Vec<&str>, String> {
        match self.kind(name)? {
            "structure" => Ok(self.members(name)?.into_iter().map(|member| member.shape).collect()),
            "list" => Ok(vec![self.part(name, "member")?]),
            "map" => Ok(vec![self.part(name, "key")?, self.part(name, "value")?]),
            _ => Ok(Vec::new()),
        }
    }

    /// The shape of a list's `member` or a map's `key` or `value`.
    pub(super) fn part(&self, name: &str, part: &str) -> Result<&str, String> {
        let inner = self.shape(name)?.get(part).and_then(|inner| text(inner, "shape"));
        inner.ok_or_else(|| format!("the shape '{name}' has no {part}"))
    }

    /// All shapes reachable from these, themselves included.
    pub(super) fn reachable<'m>(
        &'m self,
        from: impl Iterator<Item = &'m str>,
    ) -> Result<BTreeSet<&'m str>, String> {
        let mut found = BTreeSet::new();
        let mut waiting: Vec<&str> = from.collect();
        while let Some(name) = waiting.pop() {
            if found.insert(name) {
                waiting.extend(self.inner(name)?);
            }
        }
        Ok(found)
    }

    /// An entry of the overrides: `section` → `key`.
    pub(super) fn override_of(&self, section: &str, key: &str) -> Option<&Value> {
        self.overrides.get(section).and_then(|section| section.get(key))
    }
}

pub(super) fn text<'v>(value: &'v Value, key: &str) -> Option<&'v str> {
    value.get(key).and_then(Value::as_str)
}

pub(super) fn flag(value: &Value, key: &str) -> bool {
    value.get(key).and_then(Value::as_bool).unwrap_or(false)
}

pub(super) fn texts(value: Option<&Value>) -> Vec<&str> {
    let items = value.and_then(Value::as_array);
    items.map(|items| items.iter().filter_map(Value::as_str).collect()).unwrap_or_default()
}

/// The name of an operation's `input` or `output` shape.
pub(super) fn side<'m>(operation: &'m Value, side: &str) -> Option<&'m str> {
    operation.get(side).and_then(|side| text(side, "shape"))
}

fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("cannot read {}: {error}", path.display()))
}

fn read_json(path: &Path) -> Result<Value, String> {
    serde_json::from_str(&read(path)?)
        .map_err(|error| format!("{} is not JSON: {error}", path.display()))
}
