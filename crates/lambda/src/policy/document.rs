//! A policy document: its JSON as it was given, and its statements as they are evaluated.
//!
//! The JSON is what is stored and shown, with its members in the order in which they came. What is read
//! from the store is not judged again: a statement that this version of the program cannot read allows
//! nothing, and denies if it says so.

use std::collections::HashSet;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value, json};

use super::evaluate::{Facts, Verdict};
use super::statement::Statement;

/// A policy. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Document {
    json: Arc<Map<String, Value>>,
    statements: Arc<[Parsed]>,
}

#[derive(Clone, Debug)]
enum Parsed {
    Statement(Statement),
    /// Nobody can tell what it is about.
    Unreadable {
        denies: bool,
    },
}

impl PartialEq for Document {
    fn eq(&self, other: &Document) -> bool {
        self.json == other.json
    }
}

impl Eq for Document {}

impl Serialize for Document {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.json.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Document {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Document, D::Error> {
        Map::deserialize(deserializer).map(Document::stored)
    }
}

impl Document {
    /// A policy with this one statement, as AddPermission begins one.
    pub fn with_first(statement: Value) -> Document {
        let json = json!({"Version": "2012-10-17", "Id": "default", "Statement": [statement]});
        match json {
            Value::Object(json) => Document::stored(json),
            _ => unreachable!("it is an object"),
        }
    }

    /// Reads what a caller wrote for the resource of this ARN.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn parse(text: &str, resource_arn: &str) -> Result<Document, String> {
        let json: Map<String, Value> =
            serde_json::from_str(text).map_err(|_| "it is not a JSON object".to_owned())?;
        if let Some(other) =
            json.keys().find(|name| !["Version", "Id", "Statement"].contains(&name.as_str()))
        {
            return Err(format!("a policy has no member '{other}'"));
        }
        if !matches!(
            json.get("Version").map(Value::as_str),
            None | Some(Some("2012-10-17" | "2008-10-17"))
        ) {
            return Err("Version has to be 2012-10-17 or 2008-10-17".to_owned());
        }
        if json.get("Id").is_some_and(|id| !id.is_string()) {
            return Err("Id has to be a text".to_owned());
        }
        let statements = statements(&json);
        if statements.is_empty() {
            return Err("Statement has to be a statement or a list of statements".to_owned());
        }
        let mut sids = HashSet::new();
        for value in statements {
            let statement = Statement::parse(value, has_variables(&json))?;
            if let Some(sid) = statement.sid.filter(|sid| !sid.is_empty())
                && !sids.insert(sid.clone())
            {
                return Err(format!("the Sid '{sid}' is there twice"));
            }
            check_resources(value, resource_arn)?;
        }
        Ok(Document::stored(json))
    }

    fn stored(json: Map<String, Value>) -> Document {
        let variables = has_variables(&json);
        let parsed = |value: &Value| match Statement::parse(value, variables) {
            Ok(statement) => Parsed::Statement(statement),
            Err(_) => Parsed::Unreadable {
                denies: value.get("Effect").and_then(Value::as_str) != Some("Allow"),
            },
        };
        let statements = statements(&json).into_iter().map(parsed).collect();
        Document { json: Arc::new(json), statements }
    }

    /// As it is shown.
    pub fn text(&self) -> String {
        serde_json::to_string(&*self.json).expect("an object of JSON has a text")
    }

    /// Whether a statement has this `Sid`.
    pub fn has(&self, sid: &str) -> bool {
        statements(&self.json).iter().any(|statement| is(statement, sid))
    }

    /// With one more statement, the last.
    pub fn with(&self, statement: Value) -> Document {
        let mut all: Vec<Value> = statements(&self.json).into_iter().cloned().collect();
        all.push(statement);
        self.of_statements(all)
    }

    /// Without the statement of this `Sid`; `None` when none is left.
    pub fn without(&self, sid: &str) -> Option<Document> {
        let left = statements(&self.json).into_iter().filter(|statement| !is(statement, sid));
        let left: Vec<Value> = left.cloned().collect();
        (!left.is_empty()).then(|| self.of_statements(left))
    }

    fn of_statements(&self, statements: Vec<Value>) -> Document {
        let mut json = Map::clone(&self.json);
        json.insert("Statement".to_owned(), Value::Array(statements));
        Document::stored(json)
    }

    /// What it says of a request.
    pub fn verdict(&self, facts: &Facts<'_>) -> Verdict {
        let verdict = |statement: &Parsed| match statement {
            Parsed::Statement(statement) => statement.verdict(facts),
            Parsed::Unreadable { denies: true } => Verdict::Deny,
            Parsed::Unreadable { denies: false } => Verdict::Nothing,
        };
        self.statements.iter().map(verdict).max().unwrap_or(Verdict::Nothing)
    }
}

fn is(statement: &Value, sid: &str) -> bool {
    statement.get("Sid").and_then(Value::as_str) == Some(sid)
}

/// A single statement may stand for itself.
fn statements(json: &Map<String, Value>) -> Vec<&Value> {
    match json.get("Statement") {
        Some(Value::Array(all)) => all.iter().collect(),
        Some(one) => vec![one],
        None => Vec::new(),
    }
}

fn has_variables(json: &Map<String, Value>) -> bool {
    json.get("Version").and_then(Value::as_str) == Some("2012-10-17")
}

/// A `Resource` that is neither what the policy is for nor a version or an alias of it would never be
/// about anything.
fn check_resources(statement: &Value, resource_arn: &str) -> Result<(), String> {
    let Some(value) = statement.get("Resource") else { return Ok(()) };
    let texts = super::condition::texts(value).unwrap_or_default();
    match texts.iter().find(|text| !can_be_about(text, resource_arn)) {
        Some(other) => Err(format!("the Resource '{other}' is not {resource_arn}")),
        None => Ok(()),
    }
}

fn can_be_about(pattern: &str, resource_arn: &str) -> bool {
    use super::evaluate::{Asked, Caller, Target};
    use super::pattern::{Met, Pattern, Syntax};

    if pattern == "*" || pattern.contains("${") {
        return true;
    }
    let is_qualified = resource_arn.split(':').count() > 7;
    let below = pattern.strip_prefix(resource_arn).is_some_and(|rest| rest.starts_with(':'));
    let Ok(pattern) = Pattern::new(pattern, Syntax { wildcards: true, variables: false }) else {
        return false;
    };
    let asked = Asked::new(Caller::Anonymous, "");
    let tags = lambic_wire::Pairs(Vec::new());
    let target = Target { resource: resource_arn, account: "", region: "", tags: &tags };
    let facts = Facts::new(&asked, &target);
    let matches = |arn: &str| pattern.matches_arn(arn, &facts) == Met::Yes;
    matches(resource_arn) || !is_qualified && (below || matches(&format!("{resource_arn}:1")))
}
