//! The static constraint tables of the offered operations' inputs.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::Value;

use super::model::{Member, Model, flag, side, text, texts};
use super::{names, patterns, shapes};

pub(super) fn write(model: &Model) -> Result<String, String> {
    let roots = model.offered().filter_map(|(_, operation)| side(operation, "input"));
    let mut tables = Tables { model, text: String::new(), patterns: BTreeMap::new() };
    for name in model.reachable(roots)? {
        tables.shape(name)?;
    }
    let mut text = format!(
        "/// What the inputs of the offered operations must be like.\n\
         pub mod tables {{\n\
         use lambic_wire::validate::{{Kind, Member, Pattern, Place, Shape}};\n{}\n",
        tables.text
    );
    text.push_str("/// Every pattern, for tests.\npub static PATTERNS: &[&Pattern] = &[");
    for name in tables.patterns.values() {
        // Writing into a String cannot fail.
        _ = write!(text, "&{name},");
    }
    text.push_str("];\n}\n");
    Ok(text)
}

struct Tables<'m> {
    model: &'m Model,
    text: String,
    /// AWS's text of each pattern, and its static's name.
    patterns: BTreeMap<String, String>,
}

impl Tables<'_> {
    fn shape(&mut self, name: &str) -> Result<(), String> {
        let kind = self.kind(name)?;
        let constraints = self.constraints(name, &[])?;
        let item = names::screaming(name);
        // Writing into a String cannot fail.
        _ = writeln!(
            self.text,
            "pub static {item}: Shape = Shape {{ {constraints} ..Shape::plain({kind}) }};"
        );
        Ok(())
    }

    fn kind(&mut self, name: &str) -> Result<String, String> {
        let model = self.model;
        Ok(match model.kind(name)? {
            "structure" => {
                let mut members = String::new();
                for member in model.members(name)? {
                    members.push_str(&self.member(name, &member)?);
                }
                format!("Kind::Structure(&[{members}])")
            }
            "list" => {
                let item = names::screaming(model.part(name, "member")?);
                let names_null = model.override_of("lists_without_null", name).is_none();
                format!("Kind::List {{ item: &{item}, names_null: {names_null} }}")
            }
            "map" => {
                let key = names::screaming(model.part(name, "key")?);
                let value = names::screaming(model.part(name, "value")?);
                format!("Kind::Map {{ key: &{key}, value: &{value} }}")
            }
            "string" => "Kind::Text".to_owned(),
            "integer" => "Kind::Integer".to_owned(),
            "long" => "Kind::Long".to_owned(),
            "double" | "float" => "Kind::Double".to_owned(),
            "boolean" => "Kind::Boolean".to_owned(),
            "blob" => "Kind::Blob".to_owned(),
            "timestamp" => "Kind::Timestamp".to_owned(),
            other => return Err(format!("the shape '{name}' has the unknown type '{other}'")),
        })
    }

    fn member(&mut self, structure: &str, member: &Member<'_>) -> Result<String, String> {
        let name = member.name;
        let key = format!("{structure}.{name}");
        let dropped = self.model.override_of("unchecked", &key);
        let shape = match dropped {
            Some(dropped) => self.loose_shape(&key, member.shape, &texts(Some(dropped)))?,
            None => names::screaming(member.shape),
        };
        let place = place(self.model, member)?;
        let path = names::lower_first(name);
        let required = member.required;
        Ok(format!(
            "Member {{ name: {name:?}, path: {path:?}, place: {place}, required: {required}, \
             shape: &{shape} }},"
        ))
    }

    /// The shape of one member, without some of its constraints.
    fn loose_shape(&mut self, key: &str, shape: &str, drop: &[&str]) -> Result<String, String> {
        let kind = self.kind(shape)?;
        let constraints = self.constraints(shape, drop)?;
        let (structure, member) = key.split_once('.').unwrap_or((key, ""));
        let item = format!("{}_{}", names::screaming(structure), names::screaming(member));
        // Writing into a String cannot fail.
        _ = writeln!(
            self.text,
            "static {item}: Shape = Shape {{ {constraints} ..Shape::plain({kind}) }};"
        );
        Ok(item)
    }

    fn constraints(&mut self, name: &str, drop: &[&str]) -> Result<String, String> {
        let shape = self.model.shape(name)?;
        let mut text = String::new();
        for bound in ["min", "max"] {
            let value = shape.get(bound).and_then(Value::as_f64);
            if let Some(value) = value.filter(|_| !drop.contains(&bound)) {
                // Writing into a String cannot fail.
                _ = write!(text, "{bound}: Some({value:?}),");
            }
        }
        if !drop.contains(&"pattern")
            && let Some(source) = self.pattern_of(name, shape)
        {
            let item = self.pattern(name, &source);
            _ = write!(text, "pattern: Some(&{item}),");
        }
        if !drop.contains(&"enum") && self.model.is_enum(name) {
            let own = texts(shape.get("enum"));
            let values = match self.model.override_of("enum_order", name) {
                Some(order) => texts(Some(order)),
                None => own,
            };
            _ = write!(text, "values: &{values:?},");
        }
        if flag(shape, "sensitive") {
            text.push_str("sensitive: true,");
        }
        Ok(text)
    }

    fn pattern_of(&self, name: &str, shape: &Value) -> Option<String> {
        let recorded = self.model.override_of("patterns", name).and_then(Value::as_str);
        recorded.or_else(|| text(shape, "pattern")).map(str::to_owned)
    }

    fn pattern(&mut self, name: &str, source: &str) -> String {
        if let Some(item) = self.patterns.get(source) {
            return item.clone();
        }
        let item = format!("{}_PATTERN", names::screaming(name));
        let anchored = patterns::anchored(source);
        // Writing into a String cannot fail.
        _ = writeln!(self.text, "static {item}: Pattern = Pattern::new({source:?}, {anchored:?});");
        self.patterns.insert(source.to_owned(), item.clone());
        item
    }
}

fn place(model: &Model, member: &Member<'_>) -> Result<String, String> {
    Ok(match member.location {
        Some("uri") => "Place::Label".to_owned(),
        Some("querystring") => format!("Place::Query({:?})", member.location_name),
        Some("header") => {
            format!("Place::Header({:?})", member.location_name.to_ascii_lowercase())
        }
        Some(other) => return Err(format!("'{}' has the unknown place '{other}'", member.name)),
        None if shapes::is_raw(model, member)? => "Place::RawPayload".to_owned(),
        None if member.payload => "Place::JsonPayload".to_owned(),
        None => "Place::Body".to_owned(),
    })
}
