//! The syntax of event patterns, by which a mapping chooses among its source's records.
//!
//! They are EventBridge's: a JSON object whose leaves are lists of what a field may be. Pure; whether
//! an event matches a pattern is not decided here.

use std::net::IpAddr;

use serde_json::{Map, Value};

/// Numbers in a pattern are at most so far from 0.
const NUMBER_MAX: f64 = 5.0e9;

/// What an object in a list may ask for, by its only member.
const OPERATORS: [&str; 8] = [
    "anything-but",
    "cidr",
    "equals-ignore-case",
    "exists",
    "numeric",
    "prefix",
    "suffix",
    "wildcard",
];

/// Whether this text is a pattern; if not, why.
///
/// # Errors
/// The first reason that was found.
pub fn check(text: &str) -> Result<(), &'static str> {
    let pattern: Value = serde_json::from_str(text).map_err(|_| "it is not JSON")?;
    match pattern {
        Value::Object(fields) => object(&fields),
        _ => Err("it is not an object"),
    }
}

fn object(fields: &Map<String, Value>) -> Result<(), &'static str> {
    if fields.is_empty() {
        return Err("an object is empty");
    }
    for (name, value) in fields {
        match value {
            Value::Array(items) if name == "$or" && are_alternatives(items) => {
                for alternative in items.iter().filter_map(Value::as_object) {
                    object(alternative)?;
                }
            }
            Value::Array(items) => list(items)?,
            Value::Object(inner) => object(inner)?,
            _ => return Err("a field's value is neither an object nor a list"),
        }
    }
    Ok(())
}

/// Whether `$or` combines several patterns; otherwise it is a field like any other.
fn are_alternatives(items: &[Value]) -> bool {
    let is_pattern = |item: &Value| {
        let fields = item.as_object();
        fields.is_some_and(|fields| !fields.keys().any(|key| OPERATORS.contains(&key.as_str())))
    };
    items.len() >= 2 && items.iter().all(is_pattern)
}

fn list(items: &[Value]) -> Result<(), &'static str> {
    if items.is_empty() {
        return Err("a list is empty");
    }
    for item in items {
        match item {
            Value::Array(_) => return Err("there is a list in a list"),
            Value::Object(asked) => operator(asked)?,
            _ => {}
        }
    }
    Ok(())
}

fn operator(asked: &Map<String, Value>) -> Result<(), &'static str> {
    let (Some((name, value)), 1) = (asked.iter().next(), asked.len()) else {
        return Err("an object in a list has not exactly one member");
    };
    let is_right = match name.as_str() {
        "anything-but" => anything_but(value),
        "cidr" => value.as_str().is_some_and(is_network),
        "equals-ignore-case" => value.is_string(),
        "exists" => value.is_boolean(),
        "numeric" => value.as_array().is_some_and(|items| is_range(items)),
        "prefix" | "suffix" => value.is_string() || ignores_case(value),
        "wildcard" => value.as_str().is_some_and(is_wildcard),
        _ => return Err("there is no operator of this name"),
    };
    if is_right { Ok(()) } else { Err("an operator has the wrong value") }
}

/// `{"equals-ignore-case": "text"}`
fn ignores_case(value: &Value) -> bool {
    let asked = value.as_object().filter(|asked| asked.len() == 1);
    asked.and_then(|asked| asked.get("equals-ignore-case")).is_some_and(Value::is_string)
}

/// A value, values of one kind, or something that a text must not be.
fn anything_but(value: &Value) -> bool {
    match value {
        Value::String(_) | Value::Number(_) => true,
        Value::Array(items) => {
            let all = |is: fn(&Value) -> bool| items.iter().all(is);
            !items.is_empty() && (all(Value::is_string) || all(Value::is_number))
        }
        Value::Object(asked) if asked.len() == 1 => asked.iter().all(|(name, value)| {
            let is_right: fn(&str) -> bool = match name.as_str() {
                "prefix" | "suffix" => |text| !text.is_empty(),
                "equals-ignore-case" => |_| true,
                "wildcard" => is_wildcard,
                _ => return false,
            };
            match value {
                Value::Array(items) => {
                    !items.is_empty() && items.iter().all(|one| one.as_str().is_some_and(is_right))
                }
                one => one.as_str().is_some_and(is_right),
            }
        }),
        _ => false,
    }
}

/// `["=", 1]`, `["<", 2]`, `[">=", 1, "<", 2]`: a lower bound comes before an upper one.
fn is_range(items: &[Value]) -> bool {
    let number = |value: &Value| value.as_f64().filter(|number| number.abs() <= NUMBER_MAX);
    match items {
        [Value::String(sign), bound] => {
            ["=", "<", "<=", ">", ">="].contains(&sign.as_str()) && number(bound).is_some()
        }
        [Value::String(above), low, Value::String(below), high] => {
            let signs =
                [">", ">="].contains(&above.as_str()) && ["<", "<="].contains(&below.as_str());
            signs && matches!((number(low), number(high)), (Some(low), Some(high)) if low < high)
        }
        _ => false,
    }
}

/// Such as `10.0.0.0/24` or `2001:db8::/32`.
fn is_network(text: &str) -> bool {
    let Some((address, bits)) = text.split_once('/') else { return false };
    let bits_max = match address.parse() {
        Ok(IpAddr::V4(_)) => 32,
        Ok(IpAddr::V6(_)) => 128,
        Err(_) => return false,
    };
    bits.bytes().all(|byte| byte.is_ascii_digit())
        && bits.parse().is_ok_and(|bits: u32| bits <= bits_max)
}

/// A backslash only before a star or another backslash, and no two stars in a row.
fn is_wildcard(text: &str) -> bool {
    let mut after_star = false;
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        let is_star = letter == '*';
        if is_star && after_star {
            return false;
        }
        if letter == '\\' && !matches!(letters.next(), Some('*' | '\\')) {
            return false;
        }
        after_star = is_star;
    }
    true
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn patterns() {
        for pattern in [
            json!({"a": ["x"]}),
            json!({"a": [""]}),
            json!({"a": [null, true, 1, -2.5, "x"]}),
            json!({"a": {"b": {"c": ["x"]}}, "d": [1]}),
            json!({"body": {"a": [{"prefix": "x"}, {"suffix": "y"}]}}),
            json!({"a": [{"prefix": {"equals-ignore-case": "x"}}]}),
            json!({"a": [{"suffix": {"equals-ignore-case": "x"}}]}),
            json!({"a": [{"equals-ignore-case": "x"}]}),
            json!({"a": [{"exists": true}], "b": [{"exists": false}]}),
            json!({"a": [{"anything-but": "x"}]}),
            json!({"a": [{"anything-but": 1}]}),
            json!({"a": [{"anything-but": ["x", "y"]}]}),
            json!({"a": [{"anything-but": [1, 2]}]}),
            json!({"a": [{"anything-but": {"prefix": "x"}}]}),
            json!({"a": [{"anything-but": {"suffix": ["x", "y"]}}]}),
            json!({"a": [{"anything-but": {"equals-ignore-case": ["x"]}}]}),
            json!({"a": [{"anything-but": {"wildcard": "*x*"}}]}),
            json!({"a": [{"numeric": ["=", 1]}]}),
            json!({"a": [{"numeric": [">", 0, "<=", 5e9]}]}),
            json!({"a": [{"cidr": "10.0.0.0/24"}, {"cidr": "2001:db8::/32"}]}),
            json!({"a": [{"wildcard": "*/x\\*y\\\\*"}]}),
            json!({"$or": [{"a": ["x"]}, {"b": {"c": [1]}}], "d": [2]}),
            json!({"$or": ["x", "y"]}),
            json!({"$or": [{"prefix": "x"}, {"prefix": "y"}]}),
        ] {
            assert_eq!(check(&pattern.to_string()), Ok(()), "{pattern}");
        }
    }

    #[test]
    fn no_patterns() {
        for pattern in [
            json!(null),
            json!("simple string"),
            json!([{"a": ["x"]}]),
            json!({}),
            json!({"a": {}}),
            json!({"a": []}),
            json!({"a": "x"}),
            json!({"a": 1}),
            json!({"a": null}),
            json!({"a": [["x"]]}),
            json!({"a": [{}]}),
            json!({"a": [{"prefix": "x", "suffix": "y"}]}),
            json!({"a": [{"begins": "x"}]}),
            json!({"a": [{"prefix": 1}]}),
            json!({"a": [{"prefix": {"suffix": "x"}}]}),
            json!({"a": [{"exists": "true"}]}),
            json!({"a": [{"equals-ignore-case": 1}]}),
            json!({"a": [{"anything-but": []}]}),
            json!({"a": [{"anything-but": ["x", 1]}]}),
            json!({"a": [{"anything-but": null}]}),
            json!({"a": [{"anything-but": true}]}),
            json!({"a": [{"anything-but": {"prefix": ""}}]}),
            json!({"a": [{"anything-but": {"numeric": ["=", 1]}}]}),
            json!({"a": [{"anything-but": {"prefix": ["x", 1]}}]}),
            json!({"a": [{"anything-but": {"wildcard": "**"}}]}),
            json!({"a": [{"numeric": []}]}),
            json!({"a": [{"numeric": ["="]}]}),
            json!({"a": [{"numeric": ["=", "1"]}]}),
            json!({"a": [{"numeric": ["!=", 1]}]}),
            json!({"a": [{"numeric": ["<", 1, ">", 0]}]}),
            json!({"a": [{"numeric": [">", 1, "<", 1]}]}),
            json!({"a": [{"numeric": ["=", 1, "<", 2]}]}),
            json!({"a": [{"numeric": ["<", 5.1e9]}]}),
            json!({"a": [{"cidr": "10.0.0.0"}]}),
            json!({"a": [{"cidr": "10.0.0.0/33"}]}),
            json!({"a": [{"cidr": "10.0.0.0/+8"}]}),
            json!({"a": [{"cidr": "host/8"}]}),
            json!({"a": [{"wildcard": "a**"}]}),
            json!({"a": [{"wildcard": "\\x"}]}),
            json!({"a": [{"wildcard": "x\\"}]}),
            json!({"$or": [{"a": ["x"]}]}),
            json!({"$or": [{"a": ["x"]}, {"b": "y"}]}),
        ] {
            assert!(check(&pattern.to_string()).is_err(), "{pattern}");
        }
        for text in ["", " ", "{", "{\"a\": [\"INSERT\"=123]}", "[{\"a\": 1"] {
            assert!(check(text).is_err(), "{text}");
        }
        let deep = "{\"a\":".repeat(4_096);
        assert!(check(&deep).is_err());
    }

    fn leaf() -> impl Strategy<Value = Value> {
        prop_oneof![
            ".*".prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            any::<bool>().prop_map(Value::from),
            Just(Value::Null),
            ".*".prop_map(|text| json!({"prefix": text})),
            any::<bool>().prop_map(|is| json!({"exists": is})),
            (-1_000..0_i32, 1..1_000_i32)
                .prop_map(|(low, high)| json!({"numeric": [">", low, "<=", high]})),
            prop::collection::vec(".*", 1..4).prop_map(|texts| json!({"anything-but": texts})),
        ]
    }

    fn pattern() -> impl Strategy<Value = Value> {
        // Too short to be an operator.
        let field = || "[a-z]{1,3}";
        let flat = prop::collection::hash_map(
            field(),
            prop::collection::vec(leaf(), 1..4).prop_map(Value::from),
            1..4,
        );
        let flat = flat.prop_map(|fields| json!(fields));
        flat.prop_recursive(4, 32, 4, move |inner| {
            prop_oneof![
                prop::collection::hash_map(field(), inner.clone(), 1..4)
                    .prop_map(|fields| json!(fields)),
                prop::collection::vec(inner, 2..4).prop_map(|all| json!({"$or": all})),
            ]
        })
    }

    /// The pattern with its first leaf replaced.
    fn broken(pattern: &Value, leaf: &Value) -> Value {
        match pattern {
            Value::Object(fields) => {
                let mut fields = fields.clone();
                for value in fields.values_mut().take(1) {
                    *value = broken(value, leaf);
                }
                Value::Object(fields)
            }
            Value::Array(items) if items.iter().all(is_operator_free) => {
                let mut items = items.clone();
                for item in items.iter_mut().take(1) {
                    *item = broken(item, leaf);
                }
                Value::Array(items)
            }
            _ => leaf.clone(),
        }
    }

    /// Whether this is one of the patterns of a `$or`.
    fn is_operator_free(value: &Value) -> bool {
        let fields = value.as_object();
        fields.is_some_and(|fields| !fields.keys().any(|key| OPERATORS.contains(&key.as_str())))
    }

    proptest! {
        #[test]
        fn whatever_is_put_together_from_right_parts_is_right(pattern in pattern()) {
            prop_assert_eq!(check(&pattern.to_string()), Ok(()));
        }

        #[test]
        fn one_wrong_leaf_makes_a_pattern_wrong(pattern in pattern(), text in ".*") {
            for leaf in [json!(text), json!([]), json!({}), json!([[text]])] {
                let broken = broken(&pattern, &leaf);
                prop_assert!(check(&broken.to_string()).is_err(), "{}", broken);
            }
        }

        #[test]
        fn any_text_has_an_answer(text in "[\\[\\]{}\":,a-z0-9$ ]{0,64}") {
            let is_object = serde_json::from_str::<Map<String, Value>>(&text).is_ok();
            prop_assert!(is_object || check(&text).is_err());
        }
    }
}
