//! What policies say, whole.

use lambic_front::Principal;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::state::function::tests::record;
use crate::state::qualified::Qualified;

const FUNCTION: &str = "arn:aws:lambda:us-east-1:000000000000:function:f";

fn of_policy(policy: Document) -> Qualified {
    let mut settings = Qualified::default();
    settings.policy.replace(policy);
    settings
}

/// The function with this policy at this qualifier.
fn with_policy(qualifier: &str, statements: Value) -> FunctionRecord {
    let mut record = record("f");
    let resource = match qualifier {
        LATEST => FUNCTION.to_owned(),
        other => format!("{FUNCTION}:{other}"),
    };
    let json = json!({"Version": "2012-10-17", "Statement": statements});
    let policy = Document::parse(&json.to_string(), &resource).unwrap();
    let settings = of_policy(policy);
    record.qualified.insert(qualifier.to_owned(), settings);
    record
}

fn statement(principal: Value) -> Value {
    json!({
        "Effect": "Allow", "Principal": principal, "Action": "lambda:InvokeFunction",
        "Resource": FUNCTION,
    })
}

fn ask(record: &FunctionRecord, qualifier: Option<&str>, caller: Caller<'_>) -> Verdict {
    decide(record, qualifier, &Asked::new(caller, "lambda:InvokeFunction"))
}

#[test]
fn whom_a_principal_means() {
    let root = Principal::root("111111111111");
    let session = Principal::role_session("111111111111", "worker", "f");
    let other = Principal::role_session("111111111111", "writer", "f");
    let stranger = Principal::root("222222222222");
    let callers = [
        Caller::Principal(&root),
        Caller::Principal(&session),
        Caller::Principal(&other),
        Caller::Principal(&stranger),
        Caller::Service("s3.amazonaws.com"),
        Caller::Service("sns.amazonaws.com"),
        Caller::Anonymous,
    ];
    for (principal, expect) in [
        (json!("*"), [true; 7]),
        (json!({"AWS": "*"}), [true; 7]),
        (json!({"AWS": "111111111111"}), [true, true, true, false, false, false, false]),
        (
            json!({"AWS": "arn:aws:iam::111111111111:root"}),
            [true, true, true, false, false, false, false],
        ),
        (
            json!({"AWS": ["arn:aws:iam::111111111111:role/some/path/worker", "222222222222"]}),
            [false, true, false, true, false, false, false],
        ),
        (
            json!({"AWS": "arn:aws:sts::111111111111:assumed-role/worker/f"}),
            [false, true, false, false, false, false, false],
        ),
        (json!({"AWS": "arn:aws:sts::111111111111:assumed-role/worker/g"}), [false; 7]),
        (json!({"Service": "s3.amazonaws.com"}), [false, false, false, false, true, false, false]),
    ] {
        let record = with_policy(LATEST, json!([statement(principal.clone())]));
        let got = callers.map(|caller| ask(&record, None, caller) == Verdict::Allow);
        assert_eq!(got, expect, "{principal}");
    }
}

#[test]
fn all_but_some() {
    let deny = json!({
        "Effect": "Deny", "NotPrincipal": {"AWS": "111111111111"}, "NotAction": "lambda:Get*",
        "NotResource": format!("{FUNCTION}:1"),
    });
    let record = with_policy(LATEST, json!([deny, statement(json!("*"))]));
    let one = Principal::root("111111111111");
    let other = Principal::root("222222222222");
    assert_eq!(ask(&record, None, Caller::Principal(&one)), Verdict::Allow);
    assert_eq!(ask(&record, None, Caller::Principal(&other)), Verdict::Deny);
    assert_eq!(ask(&record, Some("1"), Caller::Principal(&other)), Verdict::Nothing);
    let get = Asked::new(Caller::Principal(&other), "lambda:GetFunction");
    assert_eq!(decide(&record, None, &get), Verdict::Nothing);
}

#[test]
fn actions() {
    let caller = Principal::root("111111111111");
    for (action, asked, expect) in [
        ("lambda:InvokeFunction", "lambda:InvokeFunction", true),
        ("LAMBDA:invokefunction", "lambda:InvokeFunction", true),
        ("lambda:Invoke*", "lambda:InvokeFunctionUrl", true),
        ("lambda:*", "lambda:DeleteFunction", true),
        ("*", "lambda:DeleteFunction", true),
        ("lambda:InvokeFunction", "lambda:InvokeFunctionUrl", false),
        ("lambda:Get?unction", "lambda:GetFunction", true),
    ] {
        let mut statement = statement(json!("*"));
        statement["Action"] = json!([action]);
        let record = with_policy(LATEST, statement);
        let asked = Asked::new(Caller::Principal(&caller), asked);
        assert_eq!(allows(&record, None, &asked), expect, "{action}");
    }
}

#[test]
fn which_policy_is_about_what() {
    let caller = Principal::root("111111111111");
    let caller = Caller::Principal(&caller);
    let lets_in = |record: &FunctionRecord| {
        [None, Some(LATEST), Some("live"), Some("1")]
            .map(|qualifier| ask(record, qualifier, caller) == Verdict::Allow)
    };
    let on_function = with_policy(LATEST, statement(json!("*")));
    assert_eq!(lets_in(&on_function), [true, false, false, false]);
    let mut wide = statement(json!("*"));
    wide["Resource"] = json!(format!("{FUNCTION}:*"));
    assert_eq!(lets_in(&with_policy(LATEST, wide.clone())), [false, true, true, true]);
    wide["Resource"] = json!("*");
    assert_eq!(lets_in(&with_policy(LATEST, wide.clone())), [true; 4]);
    // That of an alias is about the alias only.
    assert_eq!(lets_in(&with_policy("live", wide)), [false, false, true, false]);
}

#[test]
fn a_denial_counts_whoever_wrote_it_and_wherever_it_stands() {
    let caller = Principal::root("111111111111");
    let caller = Caller::Principal(&caller);
    let mut deny = statement(json!("*"));
    deny["Effect"] = json!("Deny");
    deny["Resource"] = json!("*");
    let mut allow = statement(json!("*"));
    allow["Resource"] = json!(format!("{FUNCTION}:live"));
    let mut record = with_policy("live", allow);
    assert_eq!(ask(&record, Some("live"), caller), Verdict::Allow);
    record.qualified.extend(with_policy(LATEST, deny).qualified);
    assert_eq!(ask(&record, Some("live"), caller), Verdict::Deny);
}

#[test]
fn what_cannot_be_known_lets_nobody_in() {
    let caller = Principal::root("111111111111");
    let caller = Caller::Principal(&caller);
    for (effect, expect) in [("Allow", Verdict::Nothing), ("Deny", Verdict::Deny)] {
        let mut unknown = statement(json!("*"));
        unknown["Effect"] = json!(effect);
        unknown["Condition"] = json!({"StringNotEquals": {"aws:SomethingNew": "x"}});
        assert_eq!(ask(&with_policy(LATEST, unknown), None, caller), expect);
        // A statement that was stored by somebody who knew more.
        let json = json!({"Statement": [{"Effect": effect, "Wish": "x"}]});
        let policy: Document = serde_json::from_value(json).unwrap();
        let mut record = record("f");
        let settings = of_policy(policy);
        record.qualified.insert(LATEST.to_owned(), settings);
        assert_eq!(ask(&record, None, caller), expect);
    }
}

#[test]
fn who_may_use_a_url() {
    let own = Principal::root("000000000000");
    let other = Principal::root("111111111111");
    let callers = [Caller::Anonymous, Caller::Principal(&own), Caller::Principal(&other)];
    let url = |principal: &str, auth_type: &str| {
        json!({
            "Effect": "Allow", "Principal": principal, "Action": "lambda:InvokeFunctionUrl",
            "Resource": FUNCTION,
            "Condition": {"StringEquals": {"lambda:FunctionUrlAuthType": auth_type}},
        })
    };
    let invoke = json!({
        "Effect": "Allow", "Principal": "*", "Action": "lambda:InvokeFunction",
        "Resource": FUNCTION, "Condition": {"Bool": {"lambda:InvokedViaFunctionUrl": "true"}},
    });
    let check = |statements: Value, auth_type: &str, expect: [bool; 3]| {
        let record = with_policy(LATEST, statements.clone());
        let got = callers.map(|caller| {
            let asked = Asked::new(caller, "lambda:InvokeFunctionUrl");
            url_lets_in(&record, None, auth_type, &asked)
        });
        assert_eq!(got, expect, "{auth_type} {statements}");
    };
    check(json!([url("*", "NONE"), invoke]), "NONE", [true; 3]);
    check(json!([url("*", "NONE")]), "NONE", [false; 3]);
    check(json!([invoke]), "NONE", [false; 3]);
    check(json!([invoke]), "AWS_IAM", [false, true, false]);
    check(json!([url("*", "AWS_IAM"), invoke]), "AWS_IAM", [true; 3]);
    check(json!([url("*", "NONE"), invoke]), "AWS_IAM", [false, true, false]);
    // Neither statement lets anybody invoke the function but through its URL.
    let record = with_policy(LATEST, json!([url("*", "NONE"), invoke]));
    assert_eq!(ask(&record, None, Caller::Principal(&other)), Verdict::Nothing);
}

#[test]
fn documents_keep_their_form() {
    let text = r#"{"Statement":{"Resource":"*","Action":"lambda:*","Principal":"*","Effect":"Deny"},"Id":"mine"}"#;
    let policy = Document::parse(text, FUNCTION).unwrap();
    assert_eq!(policy.text(), text);
    let stored = serde_json::to_string(&policy).unwrap();
    assert_eq!(serde_json::from_str::<Document>(&stored).unwrap(), policy);
    let more = policy.with(json!({"Sid": "more"}));
    assert!(more.has("more") && !more.has("less"));
    assert!(more.text().starts_with(r#"{"Statement":[{"Resource":"*""#));
    assert_eq!(more.without("more").unwrap().text().len(), text.len() + 2);
    let only = Document::with_first(json!({"Sid": "only"}));
    assert_eq!(
        only.text(),
        r#"{"Version":"2012-10-17","Id":"default","Statement":[{"Sid":"only"}]}"#
    );
    assert_eq!(only.without("only"), None);
}

#[test]
fn what_is_no_policy() {
    let good = statement(json!("*"));
    let with = |member: &str, value: Value| {
        let mut statement = good.clone();
        statement[member] = value;
        json!({"Version": "2012-10-17", "Statement": [statement]})
    };
    let without = |member: &str| {
        let mut statement = good.clone();
        statement.as_object_mut().unwrap().remove(member);
        json!({"Statement": statement})
    };
    let twice =
        json!([with("Sid", json!("a"))["Statement"][0], with("Sid", json!("a"))["Statement"][0]]);
    for (document, why) in [
        (json!([]), "object"),
        (json!({}), "Statement"),
        (json!({"Statement": []}), "Statement"),
        (json!({"Statement": [1]}), "object"),
        (json!({"Statement": good, "Version": "2012-10-18"}), "Version"),
        (json!({"Statement": good, "Version": 2012}), "Version"),
        (json!({"Statement": good, "Id": 1}), "Id"),
        (json!({"Statement": good, "Wish": 1}), "Wish"),
        (json!({"Statement": twice}), "twice"),
        (with("Wish", json!(1)), "Wish"),
        (with("Sid", json!("a b")), "Sid"),
        (with("Effect", json!("allow")), "Effect"),
        (without("Effect"), "Effect"),
        (without("Principal"), "Principal"),
        (without("Action"), "Action"),
        (without("Resource"), "Resource"),
        (with("NotAction", json!("lambda:*")), "not both"),
        (with("Principal", json!("somebody")), "Principal"),
        (with("Principal", json!({})), "Principal"),
        (with("Principal", json!({"AWS": []})), "Principal"),
        (with("Principal", json!({"AWS": "11111111111"})), "11111111111"),
        (with("Principal", json!({"AWS": "arn:aws:iam::111111111111:user/*"})), "user/*"),
        (with("Principal", json!({"AWS": "arn:aws:iam::*:root"})), "not valid"),
        (with("Principal", json!({"AWS": "arn:aws:iam::111111111111:group/g"})), "group"),
        (with("Principal", json!({"Service": "*"})), "no service"),
        (with("Principal", json!({"Service": "invalid.nonaws.com"})), "no service"),
        (with("Principal", json!({"Federated": "accounts.google.com"})), "Federated"),
        (with("Action", json!("s3:GetObject")), "s3:GetObject"),
        (with("Action", json!("lambda:")), "lambda:"),
        (with("Action", json!([])), "Action"),
        (with("Action", json!(1)), "Action"),
        (with("Resource", json!("f")), "'f'"),
        (with("Resource", json!("arn:aws:lambda:*")), "ARN"),
        (with("Resource", json!(format!("{FUNCTION}2"))), "is not"),
        (with("Resource", json!(["*", "arn:aws:s3:::b"])), "arn:aws:s3:::b"),
        (with("Resource", json!(format!("{FUNCTION}:${{aws:x"))), "variable"),
        (with("Condition", json!([])), "Condition"),
        (with("Condition", json!({"StringEquals": "x"})), "StringEquals"),
        (with("Condition", json!({"StringIs": {"aws:x": "x"}})), "StringIs"),
    ] {
        let error = Document::parse(&document.to_string(), FUNCTION).unwrap_err();
        assert!(error.contains(why), "{document}: {error}");
    }
    assert!(Document::parse("{", FUNCTION).is_err());
    let not = json!({"Statement": {
        "Effect": "Allow", "NotPrincipal": "*", "Action": "*", "Resource": "*",
    }});
    assert!(Document::parse(&not.to_string(), FUNCTION).unwrap_err().contains("NotPrincipal"));
}

#[test]
fn which_resources_a_policy_can_name() {
    let parse = |resource: &str, of: &str| {
        let mut statement = statement(json!("*"));
        statement["Resource"] = json!(resource);
        Document::parse(&json!({"Statement": statement}).to_string(), of).is_ok()
    };
    let alias = format!("{FUNCTION}:live");
    for (resource, function, qualified) in [
        ("*", true, true),
        (FUNCTION, true, false),
        (&alias, true, true),
        (&format!("{FUNCTION}:*"), true, true),
        (&format!("{FUNCTION}*"), true, true),
        ("arn:aws:lambda:*:*:function:*", true, true),
        (&format!("{FUNCTION}:other"), true, false),
        ("arn:aws:lambda:us-east-1:111111111111:function:f", false, false),
    ] {
        assert_eq!(parse(resource, FUNCTION), function, "{resource}");
        assert_eq!(parse(resource, &alias), qualified, "{resource} of the alias");
    }
}

/// Any JSON that looks a little like a policy.
fn json_like() -> impl Strategy<Value = Value> {
    let names = [
        "Version",
        "Statement",
        "Effect",
        "Allow",
        "Deny",
        "Principal",
        "NotPrincipal",
        "AWS",
        "Service",
        "*",
        "Action",
        "lambda:*",
        "Resource",
        FUNCTION,
        "Condition",
        "StringLike",
        "aws:PrincipalArn",
        "2012-10-17",
        "Sid",
        "111111111111",
        "${aws:PrincipalArn}",
        "Null",
    ];
    let text = prop::sample::select(names.to_vec()).prop_map(|text| json!(text));
    let leaf = prop_oneof![text, any::<i32>().prop_map(|number| json!(number)), Just(json!(null))];
    leaf.prop_recursive(5, 64, 6, move |inner| {
        let name = prop::sample::select(names.to_vec());
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
            prop::collection::vec((name, inner), 0..6).prop_map(|members| {
                Value::Object(members.into_iter().map(|(k, v)| (k.to_owned(), v)).collect())
            }),
        ]
    })
}

/// Policies that mean something.
fn statements() -> impl Strategy<Value = Vec<Value>> {
    let condition = prop::sample::select(vec![
        json!({}),
        json!({"StringEquals": {"aws:PrincipalAccount": "111111111111"}}),
        json!({"StringNotEquals": {"aws:PrincipalAccount": "111111111111"}}),
        json!({"StringEquals": {"aws:SomethingNew": "x"}}),
        json!({"Null": {"aws:PrincipalOrgID": "true"}}),
    ]);
    let principal = prop::sample::select(vec![
        json!("*"),
        json!({"AWS": "111111111111"}),
        json!({"AWS": "arn:aws:iam::222222222222:root"}),
        json!({"Service": "s3.amazonaws.com"}),
    ]);
    let action = prop::sample::select(vec!["*", "lambda:InvokeFunction", "lambda:Get*"]);
    let resource = prop::sample::select(vec!["*", FUNCTION]);
    let statement = (any::<bool>(), principal, action, resource, condition).prop_map(
        |(denies, principal, action, resource, condition)| {
            json!({
                "Effect": if denies { "Deny" } else { "Allow" }, "Principal": principal,
                "Action": action, "Resource": resource, "Condition": condition,
            })
        },
    );
    prop::collection::vec(statement, 1..6)
}

proptest! {
    #[test]
    fn whatever_is_written_is_refused_or_evaluated(json in json_like()) {
        let caller = Principal::root("111111111111");
        if let Ok(policy) = Document::parse(&json.to_string(), FUNCTION) {
            prop_assert_eq!(serde_json::from_str::<Value>(&policy.text()).unwrap(), json.clone());
        }
        if let Value::Object(map) = json {
            // What came into the store somehow is evaluated too.
            let policy: Document = serde_json::from_value(Value::Object(map)).unwrap();
            let mut record = record("f");
            let settings = of_policy(policy);
            record.qualified.insert(LATEST.to_owned(), settings);
            ask(&record, None, Caller::Principal(&caller));
        }
    }

    #[test]
    fn a_policy_says_what_its_statements_say(
        all in statements(),
        account in prop::sample::select(vec!["111111111111", "222222222222", "333333333333"]),
    ) {
        let principal = Principal::root(account);
        let caller = Caller::Principal(&principal);
        let each = all.iter().map(|one| ask(&with_policy(LATEST, json!([one])), None, caller));
        let each: Vec<Verdict> = each.collect();
        let expect = if each.contains(&Verdict::Deny) {
            Verdict::Deny
        } else if each.contains(&Verdict::Allow) {
            Verdict::Allow
        } else {
            Verdict::Nothing
        };
        prop_assert_eq!(ask(&with_policy(LATEST, json!(all)), None, caller), expect);
        // The order does not matter.
        let turned: Vec<Value> = all.into_iter().rev().collect();
        prop_assert_eq!(ask(&with_policy(LATEST, json!(turned)), None, caller), expect);
    }
}
