//! How the policies of functions bind requests: the front asks here before an operation runs.

use lambic_front::{Origin, PolicyQuestion, PolicySays, ResourcePolicies};

use crate::Lambda;
use crate::policy::{self, Asked, Caller, Verdict};

/// What a policy can let other accounts do. Whatever else it says it allows stays with the function's own
/// account, as on AWS: what gives rights to others or makes the function act in another role.
const ACROSS_ACCOUNTS: &[&str] = &[
    "CreateAlias",
    "DeleteAlias",
    "DeleteFunction",
    "DeleteFunctionConcurrency",
    "DeleteFunctionEventInvokeConfig",
    "DeleteProvisionedConcurrencyConfig",
    "GetAlias",
    "GetFunction",
    "GetFunctionConcurrency",
    "GetFunctionConfiguration",
    "GetFunctionEventInvokeConfig",
    "GetPolicy",
    "GetProvisionedConcurrencyConfig",
    "InvokeAsync",
    "InvokeFunction",
    "ListAliases",
    "ListFunctionEventInvokeConfigs",
    "ListProvisionedConcurrencyConfigs",
    "ListTags",
    "ListVersionsByFunction",
    "PublishVersion",
    "PutFunctionConcurrency",
    "PutFunctionEventInvokeConfig",
    "PutProvisionedConcurrencyConfig",
    "TagResource",
    "UntagResource",
    "UpdateAlias",
    "UpdateFunctionCode",
    "UpdateFunctionEventInvokeConfig",
];

/// What no policy takes from an account's root and administrators, so that nobody locks himself out.
const POLICY_OPERATIONS: &[&str] = &[
    "AddPermission",
    "DeleteResourcePolicy",
    "GetPolicy",
    "GetResourcePolicy",
    "PutResourcePolicy",
    "RemovePermission",
];

impl ResourcePolicies for Lambda {
    fn policy_says(&self, question: &PolicyQuestion<'_>) -> PolicySays {
        let PolicyQuestion { principal, action, resource, .. } = *question;
        let Some(name) = resource.resource.strip_prefix("function:") else {
            return PolicySays::Nothing;
        };
        let (name, qualifier) = match name.split_once(':') {
            Some((name, qualifier)) => (name, Some(qualifier)),
            None => (name, None),
        };
        let Some(function) = self.catalog.find(&resource.account, &resource.region, name) else {
            return PolicySays::Nothing;
        };
        let record = &function.stored.value;
        if record.qualified.values().all(|settings| settings.policy.is_none()) {
            return PolicySays::Nothing;
        }
        let is_own = principal.account == record.account;
        match policy::decide(record, qualifier, &asked(question)) {
            Verdict::Nothing => PolicySays::Nothing,
            Verdict::Allow if is_own || ACROSS_ACCOUNTS.contains(&action) => PolicySays::Allow,
            Verdict::Allow => PolicySays::Nothing,
            Verdict::Deny if is_own && principal.admin && POLICY_OPERATIONS.contains(&action) => {
                PolicySays::Nothing
            }
            Verdict::Deny => PolicySays::Deny,
        }
    }
}

fn asked<'a>(question: &PolicyQuestion<'a>) -> Asked<'a> {
    let caller = Caller::Principal(question.principal);
    let asked = Asked::new(caller, format!("lambda:{}", question.action)).at(question.now);
    match question.origin {
        Origin::Remote(address) => asked.from_address(address.ip()),
        // It came over no connection that has an address anybody could write into a policy.
        Origin::Environment(_) | Origin::Process => asked,
    }
}

#[cfg(test)]
mod tests {
    use lambic_front::Principal;
    use serde_json::{Value, json};

    use crate::ops::testing::{Harness, Reply, other_zip};

    const ARN: &str = "arn:aws:lambda:us-east-1:000000000000:function:two";

    /// What an operation is called, and how another account asks for it.
    const REQUESTS: &[(&str, &str, &str)] = &[
        ("GetFunction", "GET", "/2015-03-31/functions/{}"),
        ("GetFunctionConfiguration", "GET", "/2015-03-31/functions/{}/configuration"),
        ("GetPolicy", "GET", "/2015-03-31/functions/{}/policy"),
        ("ListAliases", "GET", "/2015-03-31/functions/{}/aliases"),
        ("GetAlias", "GET", "/2015-03-31/functions/{}/aliases/stable"),
        ("ListVersionsByFunction", "GET", "/2015-03-31/functions/{}/versions"),
        ("InvokeFunction", "POST", "/2015-03-31/functions/{}/invocations"),
        ("InvokeFunction", "POST", "/2021-11-15/functions/{}/response-streaming-invocations"),
        ("GetFunctionConcurrency", "GET", "/2019-09-30/functions/{}/concurrency"),
        ("PutFunctionConcurrency", "PUT", "/2017-10-31/functions/{}/concurrency"),
        ("DeleteFunctionConcurrency", "DELETE", "/2017-10-31/functions/{}/concurrency"),
        (
            "ListProvisionedConcurrencyConfigs",
            "GET",
            "/2019-09-30/functions/{}/provisioned-concurrency?List=ALL",
        ),
        ("TagResource", "POST", "/2017-03-31/tags/{}"),
        ("ListTags", "GET", "/2017-03-31/tags/{}"),
        ("UntagResource", "DELETE", "/2017-03-31/tags/{}?tagKeys=theirs"),
        ("PublishVersion", "POST", "/2015-03-31/functions/{}/versions"),
        ("CreateAlias", "POST", "/2015-03-31/functions/{}/aliases"),
        ("UpdateAlias", "PUT", "/2015-03-31/functions/{}/aliases/stable"),
        ("DeleteAlias", "DELETE", "/2015-03-31/functions/{}/aliases/none"),
        ("UpdateFunctionCode", "PUT", "/2015-03-31/functions/{}/code"),
        // It is gone then.
        ("DeleteFunction", "DELETE", "/2015-03-31/functions/{}"),
    ];

    async fn ask(harness: &Harness, who: &Principal, method: &str, path: &str) -> Reply {
        let body = match (method, path.rsplit('/').next().unwrap()) {
            ("GET" | "DELETE", _) | (_, "invocations" | "response-streaming-invocations") => {
                json!(0)
            }
            ("POST", "aliases") => json!({"Name": "theirs", "FunctionVersion": "1"}),
            (_, "concurrency") => json!({"ReservedConcurrentExecutions": 5}),
            ("POST", tagged) if tagged.starts_with("arn") => json!({"Tags": {"theirs": "x"}}),
            (_, "code") => json!({"ZipFile": other_zip()}),
            _ => json!({}),
        };
        let body = if body == 0 { String::new() } else { body.to_string() };
        let request = Harness::request(method, path, body.as_bytes());
        harness.send_as(who.clone(), request).await
    }

    async fn put_policy(harness: &Harness, arn: &str, statements: Value) {
        let policy = json!({"Version": "2012-10-17", "Statement": statements});
        let path = format!("/2026-07-09/resource-policy/{}", arn.replace(':', "%3A"));
        let reply = harness.put(&path, &json!({"Policy": policy.to_string()})).await;
        assert_eq!(reply.status, 200, "{reply:?}");
    }

    fn allow(action: &str, resource: &str) -> Value {
        json!({
            "Effect": "Allow", "Principal": {"AWS": "111111111111"},
            "Action": format!("lambda:{action}"), "Resource": resource,
        })
    }

    fn named(path: &str, arn: &str) -> String {
        path.replace("{}", &arn.replace(':', "%3A"))
    }

    #[tokio::test]
    async fn another_account_is_let_in_by_the_policy_only() {
        let harness = Harness::with_versions().await;
        let other = Principal::root("111111111111");
        for (action, method, path) in REQUESTS {
            let path = named(path, ARN);
            put_policy(&harness, ARN, json!([allow("InvokeAsync", ARN)])).await;
            let refused = ask(&harness, &other, method, &path).await;
            assert_eq!(refused.status, 403, "{action} {path} {refused:?}");
            assert_eq!(
                refused.message(),
                format!(
                    "User: arn:aws:iam::111111111111:root is not authorized to perform: \
                     lambda:{action} on resource: {ARN} because no resource-based policy allows the \
                     lambda:{action} action"
                )
            );
            put_policy(&harness, ARN, json!([allow(action, ARN)])).await;
            let third = Principal::root("222222222222");
            assert_eq!(ask(&harness, &third, method, &path).await.status, 403, "{action}");
            let reply = ask(&harness, &other, method, &path).await;
            assert!(reply.status < 300, "{action} {path} {reply:?}");
        }
    }

    #[tokio::test]
    async fn whether_a_function_is_there_is_not_told() {
        let harness = Harness::with_versions().await;
        let other = Principal::root("111111111111");
        let missing = ARN.replace("two", "no");
        let deny = json!({
            "Effect": "Deny", "Principal": "*", "Action": "*", "Resource": "*",
        });
        for policy in [allow("InvokeAsync", ARN), deny] {
            put_policy(&harness, ARN, policy).await;
            for (action, method, path) in REQUESTS {
                for (there, not) in
                    [(ARN, missing.as_str()), (&format!("{ARN}:7"), &format!("{missing}:7"))]
                {
                    let text = async |arn: &str| {
                        let reply = ask(&harness, &other, method, &named(path, arn)).await;
                        (reply.status, reply.message().replace(arn, ""))
                    };
                    let (status, message) = text(there).await;
                    assert_eq!((status, message), text(not).await, "{action} {there}");
                    assert_eq!(status, 403);
                }
            }
        }
    }

    #[tokio::test]
    async fn latest_is_the_function_by_another_name() {
        let harness = Harness::with_versions().await;
        let own = Principal::root("000000000000");
        let arn = "arn:aws:iam::000000000000:role/r".to_owned();
        let role = Principal { arn, admin: false, ..own };
        let body = br#"{"ReservedConcurrentExecutions": 1}"#;
        let deny = json!({
            "Effect": "Deny", "Principal": "*", "Action": "lambda:*", "Resource": ARN,
        });
        put_policy(&harness, ARN, deny).await;
        for (method, path) in [
            ("PUT", "/2017-10-31/functions/two{}/concurrency"),
            ("POST", "/2015-03-31/functions/two{}/versions"),
            ("POST", "/2015-03-31/functions/two{}/invocations"),
            ("GET", "/2015-03-31/functions/two{}"),
        ] {
            for latest in ["", "%3A%24LATEST", ":$LATEST"] {
                let request = Harness::request(method, &path.replace("{}", latest), body);
                let reply = harness.send_as(role.clone(), request).await;
                assert_eq!(reply.status, 403, "{method} {path} {latest} {reply:?}");
            }
        }
    }

    #[tokio::test]
    async fn a_policy_lets_nobody_change_policies_or_settings_from_outside() {
        let harness = Harness::with_versions().await;
        let other = Principal::root("111111111111");
        put_policy(&harness, ARN, allow("*", "*")).await;
        let policy = format!("/2026-07-09/resource-policy/{}", ARN.replace(':', "%3A"));
        for (method, path, body) in [
            ("PUT", named("/2015-03-31/functions/{}/configuration", ARN), json!({"Timeout": 5})),
            (
                "POST",
                named("/2015-03-31/functions/{}/policy", ARN),
                json!({"StatementId": "s", "Action": "*", "Principal": "*"}),
            ),
            ("DELETE", named("/2015-03-31/functions/{}/policy/s", ARN), Value::Null),
            ("GET", policy.clone(), Value::Null),
            ("DELETE", policy, Value::Null),
        ] {
            let body = if body.is_null() { String::new() } else { body.to_string() };
            let request = Harness::request(method, &path, body.as_bytes());
            let reply = harness.send_as(other.clone(), request).await;
            assert_eq!(reply.status, 403, "{method} {path} {reply:?}");
        }
        // Creating a function in another account is no matter of any function's policy.
        let mut creation = Harness::creation("x");
        creation["FunctionName"] = json!(ARN.replace("two", "x"));
        let request =
            Harness::request("POST", "/2015-03-31/functions", creation.to_string().as_bytes());
        assert_eq!(harness.send_as(other, request).await.status, 403);
    }

    /// Else a policy that opens a function would open its versions and aliases too.
    #[test]
    fn operations_that_take_a_qualifier_ask_about_what_it_names() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/ops");
        let mut asking = 0;
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let source = std::fs::read_to_string(&path).unwrap();
            if source.contains("impl Serve for") && source.contains("input.qualifier") {
                assert!(source.contains("names::qualified_resource("), "{}", path.display());
                asking += 1;
            }
        }
        assert!(asking > 5, "{asking}");
    }

    #[tokio::test]
    async fn an_alias_and_its_function_have_different_doors() {
        let harness = Harness::with_versions().await;
        let other = Principal::root("111111111111");
        let alias = format!("{ARN}:stable");
        put_policy(&harness, &alias, allow("InvokeFunction", &alias)).await;
        let invoke = async |arn: &str, query: &str| {
            let path = named("/2015-03-31/functions/{}/invocations", arn);
            ask(&harness, &other, "POST", &format!("{path}{query}")).await.status
        };
        assert_eq!(invoke(&alias, "").await, 200);
        assert_eq!(invoke(ARN, "?Qualifier=stable").await, 200);
        assert_eq!(invoke(ARN, "").await, 403);
        assert_eq!(invoke(ARN, "?Qualifier=1").await, 403);
        put_policy(&harness, ARN, allow("InvokeFunction", &format!("{ARN}:*"))).await;
        assert_eq!(invoke(ARN, "?Qualifier=1").await, 200);
        assert_eq!(invoke(ARN, "?Qualifier=77").await, 404);
        assert_eq!(invoke(ARN, "").await, 403);
    }

    #[tokio::test]
    async fn roles_and_conditions() {
        let harness = Harness::with_versions().await;
        let role = "arn:aws:iam::111111111111:role/worker";
        let statement = json!({
            "Effect": "Allow", "Principal": {"AWS": role}, "Action": "lambda:InvokeFunction",
            "Resource": ARN,
            "Condition": {"DateGreaterThan": {"aws:CurrentTime": "2020-01-01T00:00:00Z"}},
        });
        put_policy(&harness, ARN, statement.clone()).await;
        let path = named("/2015-03-31/functions/{}/invocations", ARN);
        let worker = Principal::role_session("111111111111", "worker", "f");
        let writer = Principal::role_session("111111111111", "writer", "f");
        assert_eq!(ask(&harness, &worker, "POST", &path).await.status, 200);
        assert_eq!(ask(&harness, &writer, "POST", &path).await.status, 403);
        let mut over = statement;
        over["Condition"] = json!({"DateLessThan": {"aws:CurrentTime": "2020-01-01T00:00:00Z"}});
        put_policy(&harness, ARN, over).await;
        assert_eq!(ask(&harness, &worker, "POST", &path).await.status, 403);
    }

    #[tokio::test]
    async fn a_denial_binds_the_own_account_but_not_its_root_s_hold_on_the_policy() {
        let harness = Harness::with_versions().await;
        let deny = json!({
            "Effect": "Deny", "Principal": "*", "Action": "*", "Resource": "*",
        });
        put_policy(&harness, ARN, deny).await;
        let root = Principal::root("000000000000");
        let worker = Principal::role_session("000000000000", "worker", "f");
        let delete = named("/2015-03-31/functions/{}", ARN);
        let refused = ask(&harness, &root, "DELETE", &delete).await;
        assert_eq!(
            (refused.status, refused.message()),
            (
                403,
                format!(
                    "User: arn:aws:iam::000000000000:root is not authorized to perform: \
                     lambda:DeleteFunction on resource: {ARN} with an explicit deny in a \
                     resource-based policy"
                )
            )
        );
        let policy = named("/2015-03-31/functions/{}/policy", ARN);
        assert_eq!(ask(&harness, &worker, "GET", &policy).await.status, 403);
        assert_eq!(ask(&harness, &root, "GET", &policy).await.status, 200);
        let whole = format!("/2026-07-09/resource-policy/{}", ARN.replace(':', "%3A"));
        assert_eq!(ask(&harness, &worker, "DELETE", &whole).await.status, 403);
        assert_eq!(ask(&harness, &root, "DELETE", &whole).await.status, 204);
        assert_eq!(ask(&harness, &root, "DELETE", &delete).await.status, 204);
    }
}
