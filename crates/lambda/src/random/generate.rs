//! Inputs that the model allows, made from few names so that requests meet each other's state.

use std::collections::BTreeMap;

use serde_json::{Map, Number, Value, json};

use super::dice::Dice;
use super::model::{Member, Model, Operation};
use super::words;

/// No deeper than this is anything made that need not be there.
const DEPTH_MAX: usize = 4;

/// Makes inputs, and remembers what answers told so that later inputs can name it.
pub(super) struct Generator<'m> {
    model: &'m Model,
    /// Texts that answers had, by the name of their member.
    known: BTreeMap<String, Vec<String>>,
}

/// Texts remembered of one member; the oldest go first.
const KNOWN_MAX: usize = 12;

/// Members whose values name something that the server made up.
const LEARNT: [&str; 9] = [
    "CodeSha256",
    "CodeSigningConfigArn",
    "CodeSigningConfigId",
    "EventSourceMappingArn",
    "FunctionArn",
    "LayerVersionArn",
    "NextMarker",
    "RevisionId",
    "UUID",
];

impl<'m> Generator<'m> {
    pub(super) fn new(model: &'m Model) -> Generator<'m> {
        Generator { model, known: BTreeMap::new() }
    }

    /// Remembers what an answer told.
    pub(super) fn learn(&mut self, answer: &Value) {
        match answer {
            Value::Object(members) => {
                for (name, value) in members {
                    if let (true, Some(text)) = (LEARNT.contains(&name.as_str()), value.as_str()) {
                        let texts = self.known.entry(name.clone()).or_default();
                        if !texts.iter().any(|known| known == text) {
                            texts.push(text.to_owned());
                        }
                        if texts.len() > KNOWN_MAX {
                            texts.remove(0);
                        }
                    }
                    self.learn(value);
                }
            }
            Value::Array(items) => items.iter().for_each(|item| self.learn(item)),
            _ => {}
        }
    }

    /// An input of this operation. A few in a hundred have nearly all their members.
    pub(super) fn input(&self, dice: &mut Dice, operation: &Operation) -> Map<String, Value> {
        let members = self.model.members(&operation.input);
        let optional = members.iter().filter(|member| !member.is_required).count().max(1);
        let chance = if dice.percent(8) { 60 } else { (120 / optional as u64).clamp(4, 40) };
        let mut input = Map::new();
        for member in &members {
            let chance = words::chance(&operation.input, member.name).unwrap_or(chance);
            if member.is_required || dice.percent(chance) {
                let value = self.member(dice, &operation.input, member, 0);
                input.insert(member.name.to_owned(), value);
            }
        }
        input
    }

    fn member(&self, dice: &mut Dice, owner: &str, member: &Member<'_>, depth: usize) -> Value {
        match member.name {
            "ZipFile" => return words::package(dice),
            "Payload" | "InvokeArgs" => return words::event(dice),
            _ => {}
        }
        if let Some(learnt) = self.learnt(dice, owner, member) {
            return json!(learnt);
        }
        self.value(dice, member.name, member.shape, depth)
    }

    /// A text of an answer, for a member that takes such.
    fn learnt(&self, dice: &mut Dice, owner: &str, member: &Member<'_>) -> Option<String> {
        let source = match (owner, member.name) {
            (_, "Marker") => "NextMarker",
            (_, "Resource") => dice.pick(&[
                "FunctionArn",
                "FunctionArn",
                "CodeSigningConfigArn",
                "EventSourceMappingArn",
            ]),
            (_, "Layers" | "ResourceArn") => return None,
            (_, "Arn") => "LayerVersionArn",
            (_, name) if LEARNT.contains(&name) => name,
            _ => return None,
        };
        let (known, chance) = (self.known.get(source)?, if source == "UUID" { 95 } else { 70 });
        dice.percent(chance).then(|| known[dice.below(known.len())].clone())
    }

    /// A value of this shape; `name` is the member's.
    pub(super) fn value(&self, dice: &mut Dice, name: &str, shape: &str, depth: usize) -> Value {
        let about = self.model.shape(shape);
        match self.model.kind(shape) {
            "structure" => {
                let mut made = Map::new();
                for member in self.model.members(shape) {
                    let chance = words::chance(shape, member.name).unwrap_or(35);
                    if member.is_required || depth < DEPTH_MAX && dice.percent(chance) {
                        let value = self.member(dice, shape, &member, depth + 1);
                        made.insert(member.name.to_owned(), value);
                    }
                }
                Value::Object(made)
            }
            "list" => {
                let (min, max) = (about["min"].as_i64().unwrap_or(0), about["max"].as_i64());
                let count = dice.between(min.max(0), max.unwrap_or(3).min(min.max(0) + 2));
                let item = about["member"]["shape"].as_str().unwrap();
                (0..count).map(|_| self.value(dice, name, item, depth + 1)).collect()
            }
            "map" => {
                let (key, value) = (&about["key"]["shape"], &about["value"]["shape"]);
                let entries = (0..dice.below(3)).map(|_| {
                    let key = self.value(dice, name, key.as_str().unwrap(), depth + 1);
                    let value = self.value(dice, name, value.as_str().unwrap(), depth + 1);
                    (key.as_str().unwrap().to_owned(), value)
                });
                Value::Object(entries.collect())
            }
            "string" => {
                json!(
                    words::text(dice, name, shape, about).unwrap_or_else(|| any_text(dice, about))
                )
            }
            "integer" | "long" => json!(number(dice, name, about)),
            "double" => {
                let (min, max) = (about["min"].as_f64(), about["max"].as_f64());
                let part = dice.below(5) as f64 / 4.0;
                let (min, max) = (min.unwrap_or(0.0), max.unwrap_or(1.0));
                Number::from_f64(min + (max - min) * part).map_or(Value::Null, Value::Number)
            }
            "timestamp" => json!(1_700_000_000 + dice.between(0, 1_000_000)),
            // A mapping that would be obeyed is not offered, so most are to be disabled.
            "boolean" => json!(dice.percent(if name == "Enabled" { 5 } else { 50 })),
            "blob" => words::event(dice),
            other => panic!("{shape} is {other}, which no input has"),
        }
    }
}

/// A number within the model's limits, often one of the limits.
fn number(dice: &mut Dice, name: &str, about: &Value) -> i64 {
    let (min, max) = (about["min"].as_i64().unwrap_or(0), about["max"].as_i64());
    let max = max.unwrap_or(min + 100);
    match (name, dice.below(10)) {
        ("VersionNumber", 0..=6) => 1,
        ("VersionNumber", _) => dice.between(1, 4),
        ("MaxItems", 0..=7) => dice.between(1, max.min(4)),
        ("ReservedConcurrentExecutions", 0..=7) => dice.between(0, 300),
        ("ProvisionedConcurrentExecutions", 0..=7) => dice.between(1, 20),
        (_, 0 | 1) => min,
        (_, 2) => max,
        (_, 3..=6) => dice.between(min, max.min(min + 10)),
        _ => dice.between(min, max),
    }
}

/// A member of the enumeration, or a plain text of an allowed length, often the shortest or longest.
fn any_text(dice: &mut Dice, about: &Value) -> String {
    if let Some(values) = about["enum"].as_array() {
        return values[dice.below(values.len())].as_str().unwrap().to_owned();
    }
    let min = about["min"].as_i64().unwrap_or(0);
    let max = about["max"].as_i64().unwrap_or(40).min(2_000);
    let length = match dice.below(6) {
        0 => min,
        1 => max,
        _ => dice.between(min.max(1).min(max), max.min(min + 12)),
    };
    "fidelity".chars().cycle().take(usize::try_from(length).unwrap()).collect()
}
