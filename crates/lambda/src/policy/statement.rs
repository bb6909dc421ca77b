//! One statement of a policy: what it is about, and its grammar.

use serde_json::{Map, Value};

use super::condition::{Condition, texts};
use super::evaluate::{Caller, Facts, Verdict, session_role};
use super::pattern::{Met, Pattern, Syntax};

/// A statement that can be evaluated.
#[derive(Clone, Debug, PartialEq)]
pub struct Statement {
    /// Its `Sid`.
    pub sid: Option<String>,
    denies: bool,
    principals: Principals,
    actions: Patterns,
    resources: Patterns,
    conditions: Vec<Condition>,
}

/// `Principal` or `NotPrincipal`.
#[derive(Clone, Debug, Default, PartialEq)]
struct Principals {
    is_negated: bool,
    everybody: bool,
    aws: Vec<AwsPrincipal>,
    services: Vec<String>,
}

#[derive(Clone, Debug, PartialEq)]
enum AwsPrincipal {
    /// All of an account.
    Account(String),
    /// A role, with all its sessions. The name is without the role's path, which sessions do not tell.
    Role { account: String, name: String, arn: String },
    /// A user or one session.
    Arn(String),
}

/// `Action` and `Resource`, or `NotAction` and `NotResource`.
#[derive(Clone, Debug, PartialEq)]
struct Patterns {
    is_negated: bool,
    patterns: Vec<Pattern>,
}

const MEMBERS: &[&str] = &[
    "Sid",
    "Effect",
    "Principal",
    "NotPrincipal",
    "Action",
    "NotAction",
    "Resource",
    "NotResource",
    "Condition",
];

impl Statement {
    /// Reads it. `variables` says whether the policy's version has them.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(value: &Value, variables: bool) -> Result<Statement, String> {
        let members = value.as_object().ok_or("a statement has to be an object")?;
        if let Some(other) = members.keys().find(|name| !MEMBERS.contains(&name.as_str())) {
            return Err(format!("a statement has no member '{other}'"));
        }
        let sid = members.get("Sid").map(sid).transpose()?;
        let denies = match members.get("Effect").and_then(Value::as_str) {
            Some("Allow") => false,
            Some("Deny") => true,
            _ => return Err("Effect has to be Allow or Deny".to_owned()),
        };
        let (is_negated, value) = either(members, "Principal", "NotPrincipal")?;
        if is_negated && !denies {
            return Err("NotPrincipal can only stand beside the effect Deny".to_owned());
        }
        let principals = principals(is_negated, value)?;
        let (is_negated, value) = either(members, "Action", "NotAction")?;
        let actions = patterns(is_negated, value, "Action", &action)?;
        let (is_negated, value) = either(members, "Resource", "NotResource")?;
        let resource = |text: &str| resource(text, variables);
        let resources = patterns(is_negated, value, "Resource", &resource)?;
        let conditions = match members.get("Condition") {
            Some(value) => conditions(value, variables)?,
            None => Vec::new(),
        };
        Ok(Statement { sid, denies, principals, actions, resources, conditions })
    }

    /// What it says of a request.
    pub fn verdict(&self, facts: &Facts<'_>) -> Verdict {
        match (self.is_about(facts), self.denies) {
            (Met::Yes, false) => Verdict::Allow,
            (Met::Yes | Met::Unknown, true) => Verdict::Deny,
            (Met::No, _) | (Met::Unknown, false) => Verdict::Nothing,
        }
    }

    fn is_about(&self, facts: &Facts<'_>) -> Met {
        if !self.principals.include(facts.caller()) {
            return Met::No;
        }
        let action = facts.action();
        let actions = self.actions.met(|pattern| pattern.matches_ignoring_case(action, facts));
        let resource = facts.resource();
        let resources = self.resources.met(|pattern| pattern.matches_arn(resource, facts));
        let conditions = self.conditions.iter().map(|condition| condition.met(facts));
        Met::all([actions, resources].into_iter().chain(conditions))
    }
}

impl Principals {
    fn include(&self, caller: Caller<'_>) -> bool {
        let named = self.everybody
            || match caller {
                Caller::Anonymous => false,
                Caller::Service(name) => self.services.iter().any(|service| service == name),
                Caller::Principal(principal) => self.aws.iter().any(|named| match named {
                    AwsPrincipal::Account(account) => *account == principal.account,
                    AwsPrincipal::Arn(arn) => *arn == principal.arn,
                    AwsPrincipal::Role { account, name, arn } => {
                        let is_session = *account == principal.account
                            && session_role(principal) == Some(name.as_str());
                        is_session || *arn == principal.arn
                    }
                }),
            };
        named != self.is_negated
    }
}

impl Patterns {
    fn met(&self, test: impl Fn(&Pattern) -> Met) -> Met {
        let met = Met::any(self.patterns.iter().map(test));
        if self.is_negated { met.inverted() } else { met }
    }
}

/// Exactly one of two members.
fn either<'a>(
    members: &'a Map<String, Value>,
    plain: &str,
    negated: &str,
) -> Result<(bool, &'a Value), String> {
    match (members.get(plain), members.get(negated)) {
        (Some(value), None) => Ok((false, value)),
        (None, Some(value)) => Ok((true, value)),
        (None, None) => Err(format!("a statement needs {plain} or {negated}")),
        (Some(_), Some(_)) => Err(format!("a statement has {plain} or {negated}, not both")),
    }
}

fn sid(value: &Value) -> Result<String, String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    let text = value.as_str().filter(|text| text.bytes().all(plain) && text.len() <= 100);
    let text = text.ok_or("a Sid has at most 100 letters, digits, dashes and underscores")?;
    Ok(text.to_owned())
}

/// One text or several, at least one.
fn some_texts(value: &Value, member: &str) -> Result<Vec<String>, String> {
    let is_text = |value: &Value| value.is_string();
    let all_texts = is_text(value)
        || value.as_array().is_some_and(|all| !all.is_empty() && all.iter().all(is_text));
    let found = if all_texts { texts(value) } else { None };
    found.ok_or_else(|| format!("{member} has to be a text or a list of texts"))
}

fn patterns(
    is_negated: bool,
    value: &Value,
    member: &str,
    read: &dyn Fn(&str) -> Result<Pattern, String>,
) -> Result<Patterns, String> {
    let texts = some_texts(value, member)?;
    let patterns = texts.iter().map(|text| read(text)).collect::<Result<_, _>>()?;
    Ok(Patterns { is_negated, patterns })
}

fn action(text: &str) -> Result<Pattern, String> {
    let letters = |text: &str| {
        let letter = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'*' || byte == b'?';
        !text.is_empty() && text.bytes().all(letter)
    };
    let is_ours = text
        .split_once(':')
        .is_some_and(|(service, name)| service.eq_ignore_ascii_case("lambda") && letters(name));
    if text != "*" && !is_ours {
        return Err(format!("'{text}' is no action of Lambda"));
    }
    Pattern::new(text, Syntax { wildcards: true, variables: false })
}

fn resource(text: &str, variables: bool) -> Result<Pattern, String> {
    let is_arn = text.starts_with("arn:") && text.splitn(6, ':').count() == 6;
    if text != "*" && !is_arn {
        return Err(format!("the Resource '{text}' is neither an ARN nor '*'"));
    }
    Pattern::new(text, Syntax { wildcards: true, variables })
}

fn principals(is_negated: bool, value: &Value) -> Result<Principals, String> {
    let mut principals = Principals { is_negated, ..Principals::default() };
    if value.as_str() == Some("*") {
        principals.everybody = true;
        return Ok(principals);
    }
    let wrong = "Principal has to be '*' or an object of AWS and Service";
    let kinds = value.as_object().filter(|kinds| !kinds.is_empty()).ok_or(wrong)?;
    for (kind, value) in kinds {
        for text in some_texts(value, "Principal")? {
            match kind.as_str() {
                "AWS" if text == "*" => principals.everybody = true,
                "AWS" => principals.aws.push(
                    aws_principal(&text)
                        .ok_or_else(|| format!("the principal '{text}' is not valid"))?,
                ),
                "Service" if is_service(&text) => principals.services.push(text),
                "Service" => return Err(format!("the principal '{text}' is no service")),
                // Nobody signs in that way here, so no statement could ever be about them.
                _ => return Err(format!("principals of the kind '{kind}' do not exist here")),
            }
        }
    }
    Ok(principals)
}

fn is_account(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Account, root, user, role or session.
fn aws_principal(text: &str) -> Option<AwsPrincipal> {
    if is_account(text) {
        return Some(AwsPrincipal::Account(text.to_owned()));
    }
    let rest = text.strip_prefix("arn:aws:")?;
    let mut parts = rest.splitn(4, ':');
    let (service, region, account, resource) =
        (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    if !region.is_empty() || !is_account(account) {
        return None;
    }
    let named = |byte: u8| byte.is_ascii_alphanumeric() || b"_+=,.@-/".contains(&byte);
    let is_name = |name: &str| !name.is_empty() && !name.ends_with('/') && name.bytes().all(named);
    let account = account.to_owned();
    match (service, resource.split_once('/')) {
        ("iam", None) if resource == "root" => Some(AwsPrincipal::Account(account)),
        ("iam", Some(("user", name))) if is_name(name) => Some(AwsPrincipal::Arn(text.to_owned())),
        ("iam", Some(("role", path))) if is_name(path) => {
            let name = path.rsplit('/').next()?.to_owned();
            Some(AwsPrincipal::Role { account, name, arn: text.to_owned() })
        }
        ("sts", Some(("assumed-role", names))) if is_name(names) && names.contains('/') => {
            Some(AwsPrincipal::Arn(text.to_owned()))
        }
        ("sts", Some(("federated-user", name))) if is_name(name) => {
            Some(AwsPrincipal::Arn(text.to_owned()))
        }
        _ => None,
    }
}

/// Such as `s3.amazonaws.com` or `alexa-appkit.amazon.com`.
pub(crate) fn is_service(text: &str) -> bool {
    let label = |label: &str| {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        !label.is_empty() && label.bytes().all(plain)
    };
    let suffixes = [".amazonaws.com", ".amazonaws.com.cn", ".aws.internal", ".amazon.com"];
    let name = suffixes.iter().find_map(|suffix| text.strip_suffix(suffix));
    name.is_some_and(|name| name.split('.').all(label))
}

/// Whether it is one that a statement can name under `AWS`, other than `*`.
pub(crate) fn is_aws_principal(text: &str) -> bool {
    aws_principal(text).is_some()
}

fn conditions(value: &Value, variables: bool) -> Result<Vec<Condition>, String> {
    let operators = value.as_object().ok_or("Condition has to be an object")?;
    let mut conditions = Vec::new();
    for (operator, keys) in operators {
        let keys = keys.as_object();
        let keys = keys.ok_or_else(|| format!("the condition {operator} has to be an object"))?;
        for (key, values) in keys {
            conditions.push(Condition::parse(operator, key, values, variables)?);
        }
    }
    Ok(conditions)
}
