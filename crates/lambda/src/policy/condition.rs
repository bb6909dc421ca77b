//! One condition of a statement: an operator, a key and the values it is compared with.

use std::net::IpAddr;

use lambic_wire::timestamp::Timestamp;
use serde_json::Value;

use super::evaluate::{Facts, Found};
use super::pattern::{Met, Pattern, Syntax};

/// A condition.
#[derive(Clone, Debug, PartialEq)]
pub struct Condition {
    quantifier: Option<Quantifier>,
    is_negated: bool,
    /// Whether it holds for requests without the key.
    if_exists: bool,
    /// In lower case, but for the name of a tag.
    key: String,
    test: Test,
}

/// For keys with several values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Quantifier {
    All,
    Any,
}

#[derive(Clone, Debug, PartialEq)]
enum Test {
    Text {
        values: Vec<Pattern>,
        ignores_case: bool,
    },
    Arn(Vec<Pattern>),
    Number(Compare, Vec<f64>),
    /// In seconds since the epoch.
    Date(Compare, Vec<f64>),
    Bool(Vec<bool>),
    /// As base64.
    Binary(Vec<String>),
    Ip(Vec<Network>),
    /// Whether the key has to be absent.
    Null(Vec<bool>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Compare {
    Equal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Compare {
    fn holds(self, left: f64, right: f64) -> bool {
        match self {
            Compare::Equal => left == right,
            Compare::Less => left < right,
            Compare::LessOrEqual => left <= right,
            Compare::Greater => left > right,
            Compare::GreaterOrEqual => left >= right,
        }
    }
}

/// A block of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Network {
    address: IpAddr,
    prefix: u32,
}

impl Network {
    fn parse(text: &str) -> Option<Network> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix.parse::<u32>().ok()?)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().ok()?;
        let whole = if address.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.unwrap_or(whole);
        (prefix <= whole).then_some(Network { address, prefix })
    }

    fn contains(&self, address: IpAddr) -> bool {
        // The first bits, at the top of 128.
        let bits = |address: IpAddr| match address {
            IpAddr::V4(address) => u128::from(address.to_bits()) << 96,
            IpAddr::V6(address) => address.to_bits(),
        };
        let mask = u128::MAX.checked_shl(128 - self.prefix).unwrap_or(0);
        self.address.is_ipv4() == address.is_ipv4()
            && bits(self.address) & mask == bits(address) & mask
    }
}

/// An operator, taken apart.
struct Operator<'a> {
    name: &'a str,
    quantifier: Option<Quantifier>,
    if_exists: bool,
}

impl<'a> Operator<'a> {
    fn split(text: &'a str) -> Operator<'a> {
        let (quantifier, rest) = match text.split_once(':') {
            Some(("ForAllValues", rest)) => (Some(Quantifier::All), rest),
            Some(("ForAnyValue", rest)) => (Some(Quantifier::Any), rest),
            _ => (None, text),
        };
        let (name, if_exists) = match rest.strip_suffix("IfExists") {
            Some(name) if name != "Null" => (name, true),
            _ => (rest, false),
        };
        Operator { name, quantifier, if_exists }
    }
}

impl Condition {
    /// Reads one key of one operator.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(
        operator: &str,
        key: &str,
        values: &Value,
        variables: bool,
    ) -> Result<Condition, String> {
        let split = Operator::split(operator);
        let texts = texts(values).ok_or_else(|| {
            format!("the values of '{key}' are neither a text nor a list of texts")
        })?;
        let key = condition_key(key)?;
        let wrong = |text: &str| format!("'{text}' is no value for {operator}");
        let (test, is_negated) = test(split.name, &texts, variables, &wrong)?
            .ok_or_else(|| format!("the condition operator '{operator}' is not known"))?;
        let Operator { quantifier, if_exists, .. } = split;
        Ok(Condition { quantifier, is_negated, if_exists, key, test })
    }

    /// Whether the request meets it.
    pub fn met(&self, facts: &Facts<'_>) -> Met {
        let found = facts.find(&self.key);
        if let Test::Null(wanted) = &self.test {
            let is_absent = match found {
                Found::Unknown => return Met::Unknown,
                Found::Absent => true,
                Found::Values(_) => false,
            };
            return Met::of(wanted.contains(&is_absent));
        }
        match (found, self.quantifier) {
            (Found::Unknown, _) => Met::Unknown,
            (Found::Absent, Some(Quantifier::All)) => Met::Yes,
            (Found::Absent, Some(Quantifier::Any)) => Met::of(self.if_exists),
            (Found::Absent, None) => Met::of(self.is_negated || self.if_exists),
            (Found::Values(values), Some(Quantifier::All)) => {
                Met::all(values.iter().map(|value| self.met_by(value, facts)))
            }
            (Found::Values(values), Some(Quantifier::Any)) => {
                Met::any(values.iter().map(|value| self.met_by(value, facts)))
            }
            // Without a quantifier a key should have one value; that none of several is a forbidden
            // one is what the negated operators then say.
            (Found::Values(values), None) => {
                let met = values.iter().map(|value| self.met_by(value, facts));
                if self.is_negated { Met::all(met) } else { Met::any(met) }
            }
        }
    }

    fn met_by(&self, value: &str, facts: &Facts<'_>) -> Met {
        let met = self.test.passed_by(value, facts);
        if self.is_negated { met.inverted() } else { met }
    }
}

impl Test {
    /// Whether the value is one of those of the policy.
    fn passed_by(&self, value: &str, facts: &Facts<'_>) -> Met {
        let known = |passed: Option<bool>| passed.map_or(Met::Unknown, Met::of);
        match self {
            Test::Text { values, ignores_case: false } => {
                Met::any(values.iter().map(|pattern| pattern.matches(value, facts)))
            }
            Test::Text { values, ignores_case: true } => {
                Met::any(values.iter().map(|pattern| pattern.matches_ignoring_case(value, facts)))
            }
            Test::Arn(values) => {
                Met::any(values.iter().map(|pattern| pattern.matches_arn(value, facts)))
            }
            Test::Number(compare, values) => known(
                number(value)
                    .map(|number| values.iter().any(|wanted| compare.holds(number, *wanted))),
            ),
            Test::Date(compare, values) => known(
                date(value).map(|date| values.iter().any(|wanted| compare.holds(date, *wanted))),
            ),
            Test::Bool(values) => known(bool_of(value).map(|value| values.contains(&value))),
            Test::Binary(values) => Met::of(values.iter().any(|wanted| wanted == value)),
            Test::Ip(values) => known(
                value
                    .parse()
                    .ok()
                    .map(|address| values.iter().any(|network| network.contains(address))),
            ),
            Test::Null(_) => unreachable!("Null looks at no value"),
        }
    }
}

/// The test of an operator, and whether it is to be inverted; `None` when there is no such operator.
fn test(
    name: &str,
    texts: &[String],
    variables: bool,
    wrong: &dyn Fn(&str) -> String,
) -> Result<Option<(Test, bool)>, String> {
    if let Some((test, is_negated)) = text_test(name, texts, variables)? {
        return Ok(Some((test, is_negated)));
    }
    if let Some((compare, is_negated)) = comparison(name, "Numeric") {
        return Ok(Some((Test::Number(compare, all(texts, number, wrong)?), is_negated)));
    }
    if let Some((compare, is_negated)) = comparison(name, "Date") {
        return Ok(Some((Test::Date(compare, all(texts, date, wrong)?), is_negated)));
    }
    Ok(Some(match name {
        "Bool" => (Test::Bool(all(texts, bool_of, wrong)?), false),
        "BinaryEquals" => (Test::Binary(texts.to_vec()), false),
        "IpAddress" => (Test::Ip(all(texts, Network::parse, wrong)?), false),
        "NotIpAddress" => (Test::Ip(all(texts, Network::parse, wrong)?), true),
        "Null" => (Test::Null(all(texts, bool_of, wrong)?), false),
        _ => return Ok(None),
    }))
}

fn text_test(
    name: &str,
    texts: &[String],
    variables: bool,
) -> Result<Option<(Test, bool)>, String> {
    let (wildcards, is_arn, ignores_case, is_negated) = match name {
        "StringEquals" => (false, false, false, false),
        "StringNotEquals" => (false, false, false, true),
        "StringEqualsIgnoreCase" => (false, false, true, false),
        "StringNotEqualsIgnoreCase" => (false, false, true, true),
        "StringLike" => (true, false, false, false),
        "StringNotLike" => (true, false, false, true),
        // Both take wildcards, as on AWS.
        "ArnEquals" | "ArnLike" => (true, true, false, false),
        "ArnNotEquals" | "ArnNotLike" => (true, true, false, true),
        _ => return Ok(None),
    };
    let syntax = Syntax { wildcards, variables };
    let values = texts.iter().map(|text| Pattern::new(text, syntax)).collect::<Result<_, _>>()?;
    let test = if is_arn { Test::Arn(values) } else { Test::Text { values, ignores_case } };
    Ok(Some((test, is_negated)))
}

fn comparison(name: &str, prefix: &str) -> Option<(Compare, bool)> {
    Some(match name.strip_prefix(prefix)? {
        "Equals" => (Compare::Equal, false),
        "NotEquals" => (Compare::Equal, true),
        "LessThan" => (Compare::Less, false),
        "LessThanEquals" => (Compare::LessOrEqual, false),
        "GreaterThan" => (Compare::Greater, false),
        "GreaterThanEquals" => (Compare::GreaterOrEqual, false),
        _ => return None,
    })
}

fn all<T>(
    texts: &[String],
    read: impl Fn(&str) -> Option<T>,
    wrong: &dyn Fn(&str) -> String,
) -> Result<Vec<T>, String> {
    texts.iter().map(|text| read(text).ok_or_else(|| wrong(text))).collect()
}

/// A scalar or a list of scalars, as texts.
pub(super) fn texts(value: &Value) -> Option<Vec<String>> {
    let scalar = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(value) => Some(value.to_string()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    match value {
        Value::Array(values) => values.iter().map(scalar).collect(),
        other => scalar(other).map(|text| vec![text]),
    }
}

/// `prefix:Name`, in lower case; what follows a slash is the name of a tag and stays as it is.
fn condition_key(text: &str) -> Result<String, String> {
    let wrong = || format!("'{text}' is no condition key");
    if text.contains(char::is_whitespace) {
        return Err(wrong());
    }
    let (name, tag) = match text.split_once('/') {
        Some((name, tag)) => (name, Some(tag)),
        None => (text, None),
    };
    let (prefix, rest) = name.split_once(':').ok_or_else(wrong)?;
    if prefix.is_empty() || rest.is_empty() || tag == Some("") {
        return Err(wrong());
    }
    let name = name.to_ascii_lowercase();
    Ok(tag.map(|tag| format!("{name}/{tag}")).unwrap_or(name))
}

fn number(text: &str) -> Option<f64> {
    text.parse().ok().filter(|number: &f64| number.is_finite())
}

/// Seconds since the epoch, or a date, with or without a time, as ISO 8601 writes it.
fn date(text: &str) -> Option<f64> {
    let midnight = (text.len() == 10).then(|| format!("{text}T00:00:00Z"));
    let time = midnight.and_then(|text| Timestamp::from_text(&text));
    let time = time.or_else(|| Timestamp::from_text(text))?;
    Some(time.epoch_ms as f64 / 1_000.0)
}

fn bool_of(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" => Some(true),
        "false" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::policy::evaluate::tests::with_facts;

    fn met(operator: &str, key: &str, values: Value) -> Met {
        let condition = Condition::parse(operator, key, &values, true).unwrap();
        with_facts(|facts| condition.met(facts))
    }

    fn check(operator: &str, key: &str, values: Value, expect: Met) {
        let text = format!("{operator} {key} {values}");
        assert_eq!(met(operator, key, values), expect, "{text}");
    }

    #[test]
    fn every_operator() {
        use Met::{No, Yes};
        let account = "aws:PrincipalAccount";
        check("StringEquals", account, json!("111111111111"), Yes);
        check("StringEquals", account, json!(["x", "111111111111"]), Yes);
        check("StringEquals", account, json!("1*"), No);
        check("StringNotEquals", account, json!("x"), Yes);
        check("StringNotEquals", account, json!(["x", "111111111111"]), No);
        check("StringEqualsIgnoreCase", "aws:RequestedRegion", json!("US-EAST-1"), Yes);
        check("StringNotEqualsIgnoreCase", "aws:RequestedRegion", json!("US-EAST-1"), No);
        check("StringLike", account, json!("1*"), Yes);
        check("StringNotLike", account, json!("1*"), No);
        check("StringLike", "aws:PrincipalArn", json!("*:${aws:PrincipalAccount}:root"), Yes);
        for operator in ["ArnLike", "ArnEquals"] {
            check(operator, "aws:PrincipalArn", json!("arn:aws:iam::*:root"), Yes);
            check(operator, "aws:PrincipalArn", json!("arn:aws:iam::*:role"), No);
        }
        check("ArnNotLike", "aws:PrincipalArn", json!("arn:aws:iam::*:role"), Yes);
        check("ArnNotEquals", "aws:PrincipalArn", json!("arn:aws:iam::*:root"), No);
        check("Bool", "aws:SecureTransport", json!("false"), Yes);
        check("Bool", "aws:SecureTransport", json!(true), No);
        check("BinaryEquals", account, json!("QQ=="), No);
        check("IpAddress", "aws:SourceIp", json!("192.0.2.0/24"), Yes);
        check("IpAddress", "aws:SourceIp", json!(["10.0.0.0/8", "2001:db8::/32"]), No);
        check("NotIpAddress", "aws:SourceIp", json!("192.0.2.7"), No);
        check("IpAddress", "aws:SourceIp", json!("0.0.0.0/0"), Yes);
        check("Null", account, json!("false"), Yes);
        check("Null", "aws:PrincipalOrgID", json!("true"), Yes);
        check("Null", "aws:PrincipalOrgID", json!("false"), No);
    }

    #[test]
    fn numbers_and_dates() {
        use Met::{No, Yes};
        let epoch = "aws:EpochTime";
        for (name, less, equal, more) in [
            ("Equals", No, Yes, No),
            ("NotEquals", Yes, No, Yes),
            ("LessThan", No, No, Yes),
            ("LessThanEquals", No, Yes, Yes),
            ("GreaterThan", Yes, No, No),
            ("GreaterThanEquals", Yes, Yes, No),
        ] {
            let numeric = format!("Numeric{name}");
            check(&numeric, epoch, json!(1_699_999_999), less);
            check(&numeric, epoch, json!("1700000000"), equal);
            check(&numeric, epoch, json!("1.7e9"), equal);
            check(&numeric, epoch, json!(1_700_000_001), more);
            let date = format!("Date{name}");
            check(&date, "aws:CurrentTime", json!("2023-11-14T22:13:19Z"), less);
            check(&date, "aws:CurrentTime", json!("2023-11-14T22:13:20Z"), equal);
            check(&date, "aws:CurrentTime", json!("1700000001"), more);
            check(&date, "aws:CurrentTime", json!("2023-11-14"), less);
        }
    }

    #[test]
    fn keys_that_are_absent_and_keys_that_nobody_knows() {
        use Met::{No, Unknown, Yes};
        let absent = "aws:PrincipalOrgID";
        check("StringEquals", absent, json!("o-1"), No);
        check("StringNotEquals", absent, json!("o-1"), Yes);
        check("StringEqualsIfExists", absent, json!("o-1"), Yes);
        check("ForAllValues:StringEquals", absent, json!("o-1"), Yes);
        check("ForAnyValue:StringEquals", absent, json!("o-1"), No);
        for operator in
            ["StringEquals", "StringNotEquals", "StringEqualsIfExists", "ForAllValues:StringLike"]
        {
            check(operator, "aws:UserAgent", json!("x"), Unknown);
            check(operator, "lambda:Layer", json!("x"), Unknown);
        }
        check("Null", "aws:UserAgent", json!("true"), Unknown);
        // What is there and is not of the operator's kind.
        check("NumericEquals", "aws:PrincipalArn", json!("1"), Unknown);
        check("Bool", "aws:PrincipalArn", json!("true"), Unknown);
    }

    #[test]
    fn several_values() {
        let facts = |test: &dyn Fn(&Facts<'_>)| {
            let asked = crate::policy::Asked::new(crate::policy::Caller::Anonymous, "x")
                .with("aws:CalledVia", "a")
                .with("aws:CalledVia", "b");
            crate::policy::evaluate::tests::with_facts_of(&asked, |facts| test(facts));
        };
        facts(&|facts| {
            for (operator, values, expect) in [
                ("ForAllValues:StringEquals", json!(["a", "b", "c"]), true),
                ("ForAllValues:StringEquals", json!(["a"]), false),
                ("ForAnyValue:StringEquals", json!(["a"]), true),
                ("ForAnyValue:StringEquals", json!(["c"]), false),
                ("ForAnyValue:StringNotEquals", json!(["a"]), true),
                ("StringNotEquals", json!(["a"]), false),
                ("StringEquals", json!(["b"]), true),
            ] {
                let condition = Condition::parse(operator, "aws:CalledVia", &values, true).unwrap();
                assert_eq!(condition.met(facts), Met::of(expect), "{operator} {values}");
            }
        });
    }

    #[test]
    fn what_is_refused() {
        for (operator, key, values) in [
            ("StringEqual", "aws:x", json!("a")),
            ("stringequals", "aws:x", json!("a")),
            ("NullIfExists", "aws:x", json!("true")),
            ("ForSomeValues:StringEquals", "aws:x", json!("a")),
            ("NumericEquals", "aws:x", json!("a")),
            ("NumericEquals", "aws:x", json!("nan")),
            ("DateEquals", "aws:x", json!("yesterday")),
            ("Bool", "aws:x", json!("yes")),
            ("IpAddress", "aws:x", json!("1.2.3.4/33")),
            ("IpAddress", "aws:x", json!("host")),
            ("Null", "aws:x", json!("x")),
            ("StringEquals", "x", json!("a")),
            ("StringEquals", "aws:", json!("a")),
            ("StringEquals", "aws:x y", json!("a")),
            ("StringEquals", "aws:ResourceTag/", json!("a")),
            ("StringEquals", "aws:x", json!({"a": 1})),
            ("StringEquals", "aws:x", json!([["a"]])),
            ("StringEquals", "aws:x", json!(null)),
            ("StringEquals", "aws:x", json!("${aws:y")),
        ] {
            let parsed = Condition::parse(operator, key, &values, true);
            assert!(parsed.is_err(), "{operator} {key} {values}");
        }
    }

    proptest! {
        #[test]
        fn a_negated_operator_says_the_contrary(value in "[01]{0,12}", wanted in "[01*]{0,12}") {
            for (plain, negated) in [
                ("StringEquals", "StringNotEquals"),
                ("StringLike", "StringNotLike"),
                ("ArnLike", "ArnNotLike"),
            ] {
                let asked = crate::policy::Asked::new(crate::policy::Caller::Anonymous, "x")
                    .with("aws:SourceArn", value.clone());
                let met = |operator| {
                    let wanted = json!(wanted);
                    let condition = Condition::parse(operator, "aws:SourceArn", &wanted, true);
                    let condition = condition.unwrap();
                    crate::policy::evaluate::tests::with_facts_of(&asked, |facts| condition.met(facts))
                };
                prop_assert_eq!(met(plain), met(negated).inverted());
            }
        }
    }
}
