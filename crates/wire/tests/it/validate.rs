//! Constraint texts that AWS was seen to answer, for forms that a hand-written table can show.

use lambic_wire::Error;
use lambic_wire::tree::Tree;
use lambic_wire::validate::{Kind, Member, Pattern, Place, Shape, normalize, violations};

static VERSION_PATTERN: Pattern = Pattern::new("[0-9]+", r"\A(?:[0-9]+)\z");
static VERSION: Shape = Shape {
    min: Some(1.0),
    max: Some(1024.0),
    pattern: Some(&VERSION_PATTERN),
    ..Shape::plain(Kind::Text)
};
static WEIGHT: Shape = Shape { min: Some(0.0), max: Some(1.0), ..Shape::plain(Kind::Double) };
static WEIGHTS: Shape = Shape::plain(Kind::Map { key: &VERSION, value: &WEIGHT });
static ROUTING: Shape = Shape::plain(Kind::Structure(&[member(
    "AdditionalVersionWeights",
    "additionalVersionWeights",
    &WEIGHTS,
)]));
static LOOP: Shape = Shape { values: &["Terminate", "Allow"], ..Shape::plain(Kind::Text) };
static COUNT: Shape = Shape { min: Some(1.0), ..Shape::plain(Kind::Integer) };
static SECRET: Shape = Shape { sensitive: true, min: Some(3.0), ..Shape::plain(Kind::Text) };
static PACKAGE: Shape = Shape { max: Some(2.0), ..Shape::plain(Kind::Blob) };
static NESTED: Shape = Shape::plain(Kind::List { item: &ROUTING, names_null: true });
static INPUT: Shape = Shape::plain(Kind::Structure(&[
    member("RoutingConfig", "routingConfig", &ROUTING),
    member("RecursiveLoop", "recursiveLoop", &LOOP),
    member("Count", "count", &COUNT),
    member("Secret", "secret", &SECRET),
    member("Package", "package", &PACKAGE),
    member("Nested", "nested", &NESTED),
]));

const fn member(name: &'static str, path: &'static str, shape: &'static Shape) -> Member {
    Member { name, path, place: Place::Body, required: false, shape }
}

fn validate(body: &str) -> Result<(), Error> {
    let mut tree = Tree::parse(body.as_bytes()).unwrap();
    normalize(&mut tree, &INPUT)?;
    let Kind::Structure(members) = INPUT.kind else { panic!("a structure") };
    let violated = violations(&tree, members);
    if violated.is_empty() { Ok(()) } else { Err(Error::validation(violated)) }
}

#[track_caller]
fn check(body: &str, message: &str) {
    assert_eq!(validate(body).unwrap_err().message, message);
}

#[test]
fn maps() {
    check(
        r#"{"RoutingConfig":{"AdditionalVersionWeights":{"$LATEST":0.5}}}"#,
        "1 validation error detected: Value '{$LATEST=0.5}' at \
         'routingConfig.additionalVersionWeights' failed to satisfy constraint: Map keys must \
         satisfy constraint: [Member must have length less than or equal to 1024, Member must \
         have length greater than or equal to 1, Member must satisfy regular expression pattern: \
         [0-9]+]",
    );
    for (given, shown) in [("2", "2.0"), ("-1.0", "-1.0")] {
        check(
            &format!(r#"{{"RoutingConfig":{{"AdditionalVersionWeights":{{"2":{given}}}}}}}"#),
            &format!(
                "1 validation error detected: Value '{{2={shown}}}' at \
                 'routingConfig.additionalVersionWeights' failed to satisfy constraint: Map value \
                 must satisfy constraint: [Member must have value less than or equal to 1.0, \
                 Member must have value greater than or equal to 0.0, Member must not be null]"
            ),
        );
    }
}

#[test]
fn enumerations_numbers_secrets_and_blobs() {
    check(
        r#"{"RecursiveLoop":"InvalidValue"}"#,
        "1 validation error detected: Value 'InvalidValue' at 'recursiveLoop' failed to satisfy \
         constraint: Member must satisfy enum value set: [Terminate, Allow]",
    );
    check(
        r#"{"Count":0}"#,
        "1 validation error detected: Value '0' at 'count' failed to satisfy constraint: Member \
         must have value greater than or equal to 1",
    );
    check(
        r#"{"Secret":"ab"}"#,
        "1 validation error detected: Value at 'secret' failed to satisfy constraint: Member must \
         have length greater than or equal to 3",
    );
    assert_eq!(validate(r#"{"Package":"aGk="}"#), Ok(()));
    assert!(validate(r#"{"Package":"aGlp"}"#).is_err());
}

#[test]
fn structures_in_lists_are_numbered_from_one() {
    check(
        r#"{"Nested":[{},{"AdditionalVersionWeights":{"1":9}}]}"#,
        "1 validation error detected: Value '{1=9.0}' at \
         'nested.2.member.additionalVersionWeights' failed to satisfy constraint: Map value must \
         satisfy constraint: [Member must have value less than or equal to 1.0, Member must have \
         value greater than or equal to 0.0, Member must not be null]",
    );
}

#[test]
fn long_values_are_cut_in_the_answer_and_many_violations_counted_to_a_limit() {
    let body = format!(r#"{{"RecursiveLoop":"{}"}}"#, "é".repeat(20_000));
    let message = validate(&body).unwrap_err().message;
    assert!(message.len() < 17_000, "{}", message.len());
    let items = vec![r#"{"AdditionalVersionWeights":{"1":9}}"#; 1000].join(",");
    let message = validate(&format!(r#"{{"Nested":[{items}]}}"#)).unwrap_err().message;
    assert!(message.starts_with("100 validation errors detected"), "{}", &message[..60]);
}

#[test]
fn a_pattern_the_engine_gives_up_on_does_not_match() {
    static HARD: Pattern = Pattern::new("(a+)+$", r"\A(?:(?=(a+)+b)a+)\z");
    assert!(!HARD.matches(&"a".repeat(2000)));
}
