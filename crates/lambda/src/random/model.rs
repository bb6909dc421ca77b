//! AWS's description of the service, read at run time: what there is to ask, and what an answer must
//! look like. It is the same file from which the product's types are generated, read in another way, so
//! that a fault of the generator is not its own witness.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

const MODEL: &str = include_str!("../../../../models/lambda.json");
const OVERRIDES: &str = include_str!("../../../../models/overrides-lambda.json");
const NOT_OFFERED: &str = include_str!("../../not-offered.txt");

/// Values that AWS really sends and its model does not know.
const SENT_ALTHOUGH_UNKNOWN: [(&str, &str); 1] = [("LastUpdateStatusReasonCode", "Creating")];

/// Members that the model requires and that AWS really leaves out where there is nothing to tell.
const ABSENT_ALTHOUGH_REQUIRED: [(&str, &str); 2] = [
    ("GetFunctionCodeSigningConfigResponse", "CodeSigningConfigArn"),
    ("GetFunctionCodeSigningConfigResponse", "FunctionName"),
];

/// The service's description.
pub(super) struct Model {
    shapes: Map<String, Value>,
    /// Every operation, in the order of their names.
    pub(super) operations: Vec<Operation>,
}

/// One operation.
pub(super) struct Operation {
    pub(super) name: String,
    pub(super) method: String,
    /// With labels in braces, and perhaps a literal query.
    pub(super) uri: String,
    /// Status of success.
    pub(super) status: u64,
    /// Names of its structures.
    pub(super) input: String,
    pub(super) output: Option<String>,
    /// Code and status of each error it declares.
    pub(super) errors: BTreeMap<String, u64>,
    pub(super) is_offered: bool,
}

/// A member of a structure.
pub(super) struct Member<'a> {
    pub(super) name: &'a str,
    pub(super) shape: &'a str,
    /// `uri`, `querystring`, `header`, `statusCode`; `None` for the body.
    pub(super) location: Option<&'a str>,
    /// Its name there.
    pub(super) wire_name: &'a str,
    pub(super) is_required: bool,
}

impl Model {
    pub(super) fn read() -> Model {
        let document: Value = serde_json::from_str(MODEL).unwrap();
        let overrides: Value = serde_json::from_str(OVERRIDES).unwrap();
        let shapes = document["shapes"].as_object().unwrap().clone();
        let not_offered: BTreeSet<&str> = NOT_OFFERED.lines().collect();
        let operations = document["operations"].as_object().unwrap();
        let operations = operations
            .iter()
            .map(|(name, one)| {
                let status = overrides["success_status"].get(name);
                let declared = one["errors"].as_array().map_or(&[][..], Vec::as_slice);
                let errors = declared.iter().map(|error| {
                    let code = error["shape"].as_str().unwrap();
                    let status = shapes[code]["error"]["httpStatusCode"].as_u64().unwrap_or(400);
                    (code.to_owned(), status)
                });
                Operation {
                    name: name.clone(),
                    method: text(&one["http"]["method"]).to_owned(),
                    uri: text(&one["http"]["requestUri"]).to_owned(),
                    status: status.unwrap_or(&one["http"]["responseCode"]).as_u64().unwrap(),
                    input: text(&one["input"]["shape"]).to_owned(),
                    output: one["output"]["shape"].as_str().map(str::to_owned),
                    errors: errors.collect(),
                    is_offered: !not_offered.contains(name.as_str()),
                }
            })
            .collect();
        Model { shapes, operations }
    }

    /// Whether the operation of that name is offered.
    pub(super) fn offers(&self, name: &str) -> bool {
        self.operations.iter().any(|operation| operation.name == name && operation.is_offered)
    }

    pub(super) fn shape(&self, name: &str) -> &Value {
        &self.shapes[name]
    }

    /// `structure`, `list`, `map`, `string`, `integer`, …
    pub(super) fn kind(&self, name: &str) -> &str {
        text(&self.shapes[name]["type"])
    }

    /// The members of a structure.
    pub(super) fn members<'a>(&'a self, name: &str) -> Vec<Member<'a>> {
        let shape = &self.shapes[name];
        let required = strings(&shape["required"]);
        let all = shape["members"].as_object().unwrap();
        all.iter()
            .map(|(name, member)| Member {
                name,
                shape: text(&member["shape"]),
                location: member["location"].as_str(),
                wire_name: member["locationName"].as_str().unwrap_or(name),
                is_required: required.contains(&name.as_str()),
            })
            .collect()
    }

    /// The member that is the whole body, if there is one.
    pub(super) fn payload(&self, name: &str) -> Option<&str> {
        self.shapes[name]["payload"].as_str()
    }

    /// What an enumeration may be; empty for other shapes.
    pub(super) fn values(&self, name: &str) -> Vec<&str> {
        strings(&self.shapes[name]["enum"])
    }

    /// Whether an answer's document is one that the model describes. Says what is wrong and where.
    pub(super) fn accepts(&self, name: &str, value: &Value, at: &str) -> Result<(), String> {
        let shape = &self.shapes[name];
        let wrong = || Err(format!("{at} is no {name}: {value}"));
        match self.kind(name) {
            "structure" => self.accepts_structure(name, value, at),
            "list" => {
                let Some(items) = value.as_array() else { return wrong() };
                let item = text(&shape["member"]["shape"]);
                items.iter().enumerate().try_for_each(|(index, value)| {
                    self.accepts(item, value, &format!("{at}[{index}]"))
                })
            }
            "map" => {
                let Some(entries) = value.as_object() else { return wrong() };
                let item = text(&shape["value"]["shape"]);
                entries
                    .iter()
                    .try_for_each(|(key, value)| self.accepts(item, value, &format!("{at}.{key}")))
            }
            "string" => {
                let values = self.values(name);
                match value.as_str() {
                    Some(given) if values.is_empty() || values.contains(&given) => Ok(()),
                    Some(given) if SENT_ALTHOUGH_UNKNOWN.contains(&(name, given)) => Ok(()),
                    _ => wrong(),
                }
            }
            "integer" if value.as_i64().is_some_and(|number| i32::try_from(number).is_ok()) => {
                Ok(())
            }
            "long" if value.is_i64() => Ok(()),
            "double" | "timestamp" if value.is_number() => Ok(()),
            "boolean" if value.is_boolean() => Ok(()),
            "blob" if value.is_string() => Ok(()),
            _ => wrong(),
        }
    }

    fn accepts_structure(&self, name: &str, value: &Value, at: &str) -> Result<(), String> {
        let Some(given) = value.as_object() else {
            return Err(format!("{at} is no {name}: {value}"));
        };
        let mut known = BTreeSet::new();
        for member in self.members(name) {
            if member.location.is_some() {
                continue;
            }
            known.insert(member.wire_name);
            let at = format!("{at}.{}", member.name);
            match given.get(member.wire_name) {
                None if ABSENT_ALTHOUGH_REQUIRED.contains(&(name, member.name)) => {}
                Some(Value::Null) | None if member.is_required => {
                    return Err(format!("{at} is required and absent"));
                }
                Some(Value::Null) | None => {}
                Some(value) => self.accepts(member.shape, value, &at)?,
            }
        }
        match given.keys().find(|name| !known.contains(name.as_str())) {
            Some(name) => Err(format!("{at} has {name}, which the model does not know")),
            None => Ok(()),
        }
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

fn strings(value: &Value) -> Vec<&str> {
    value.as_array().map_or(Vec::new(), |all| all.iter().map(text).collect())
}
