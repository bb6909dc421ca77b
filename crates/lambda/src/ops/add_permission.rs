//! Lets an AWS service, another account or one of its users and roles do something with a function,
//! version or alias.
//!
//! ```text
//! POST /2015-03-31/functions/hello/policy
//! {"StatementId": "upload", "Action": "lambda:InvokeFunction", "Principal": "s3.amazonaws.com",
//!  "SourceArn": "arn:aws:s3:::my-bucket", "SourceAccount": "000000000000"}
//!
//! 201
//! {"Statement": "{\"Sid\":\"upload\",\"Effect\":\"Allow\",\"Principal\":{\"Service\":\"s3.amazonaws.com\"},\"Action\":\"lambda:InvokeFunction\",\"Resource\":\"arn:aws:lambda:us-east-1:000000000000:function:hello\",\"Condition\":{\"StringEquals\":{\"AWS:SourceAccount\":\"000000000000\"},\"ArnLike\":{\"AWS:SourceArn\":\"arn:aws:s3:::my-bucket\"}}}"}
//! ```

use lambic_front::{Cx, Serve};
use lambic_model_lambda as model;
use lambic_model_lambda::{AddPermissionRequest, AddPermissionResponse, errors};
use lambic_wire::{Arn, Error};
use serde_json::{Map, Value, json};

use super::policies::{Api, change, changeable};
use crate::Lambda;
use crate::limits::invalid;
use crate::names;
use crate::policy::Document;
use crate::policy::statement::{is_aws_principal, is_service};

/// The operation.
pub struct AddPermission;

impl Serve for AddPermission {
    type Service = Lambda;
    type Operation = model::ops::AddPermission;

    fn resource(cx: &Cx<'_, Lambda>, input: &AddPermissionRequest) -> Arn {
        let qualifier = input.qualifier.as_deref();
        names::qualified_resource(cx.account, cx.region, &input.function_name, qualifier)
    }

    async fn run(
        cx: &Cx<'_, Lambda>,
        input: AddPermissionRequest,
    ) -> Result<AddPermissionResponse, Error> {
        let target = changeable(cx, &input.function_name, input.qualifier.as_deref())?;
        check_together(&input)?;
        let sid = &input.statement_id;
        let arn = target.qualified_arn();
        change(cx, &target, Api::Statements, |present| {
            present.check_revision(input.revision_id.as_deref())?;
            if present.policy.is_some_and(|policy| policy.has(sid)) {
                return Err(errors::resource_conflict(format!(
                    "The statement id ({sid}) provided already exists. Please provide a new \
                     statement id, or remove the existing statement."
                )));
            }
            let statement = statement(&input, &arn)?;
            Ok(Some(match present.policy {
                Some(policy) => policy.with(statement),
                None => Document::with_first(statement),
            }))
        })
        .await?;
        let statement = statement(&input, &arn)?.to_string();
        Ok(AddPermissionResponse { statement: Some(statement) })
    }
}

/// Whether the members go together.
fn check_together(input: &AddPermissionRequest) -> Result<(), Error> {
    if input.function_url_auth_type.is_some() && input.action != "lambda:InvokeFunctionUrl" {
        return Err(invalid(
            "FunctionUrlAuthType is only supported for lambda:InvokeFunctionUrl action",
        ));
    }
    if input.invoked_via_function_url.is_some() && input.action != "lambda:InvokeFunction" {
        return Err(invalid(
            "InvokedViaFunctionUrl is only supported for lambda:InvokeFunction action",
        ));
    }
    let has_source = input.source_arn.is_some() || input.source_account.is_some();
    if input.event_source_token.is_some() && has_source {
        return Err(invalid("EventSourceToken is not supported with SourceArn or SourceAccount"));
    }
    Ok(())
}

/// As AWS writes it.
fn statement(input: &AddPermissionRequest, arn: &str) -> Result<Value, Error> {
    let mut statement = json!({
        "Sid": input.statement_id, "Effect": "Allow", "Principal": principal(&input.principal)?,
        "Action": input.action, "Resource": arn,
    });
    let condition = condition(input);
    if !condition.is_empty() {
        statement["Condition"] = Value::Object(condition);
    }
    Ok(statement)
}

fn principal(text: &str) -> Result<Value, Error> {
    let is_account = text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit());
    Ok(match text {
        "*" => json!("*"),
        _ if is_account => json!({"AWS": format!("arn:aws:iam::{text}:root")}),
        _ if is_aws_principal(text) => json!({"AWS": text}),
        _ if is_service(text) => json!({"Service": text}),
        _ => {
            return Err(invalid(
                "The provided principal was invalid. Please check the principal and try again.",
            ));
        }
    })
}

fn condition(input: &AddPermissionRequest) -> Map<String, Value> {
    let auth_type = input.function_url_auth_type.as_ref().map(|auth_type| auth_type.as_str());
    let via_url = input.invoked_via_function_url.map(|via_url| via_url.to_string());
    let mut condition = Map::new();
    for (operator, key, value) in [
        ("StringEquals", "lambda:FunctionUrlAuthType", auth_type),
        ("StringEquals", "lambda:EventSourceToken", input.event_source_token.as_deref()),
        ("StringEquals", "aws:PrincipalOrgID", input.principal_org_id.as_deref()),
        ("StringEquals", "AWS:SourceAccount", input.source_account.as_deref()),
        ("Bool", "lambda:InvokedViaFunctionUrl", via_url.as_deref()),
        ("ArnLike", "AWS:SourceArn", input.source_arn.as_deref()),
    ] {
        if let Some(value) = value {
            let keys = condition.entry(operator).or_insert_with(|| json!({}));
            keys[key] = json!(value);
        }
    }
    condition
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::ops::testing::{Harness, documented};

    const PATH: &str = "/2015-03-31/functions/hello/policy";
    const ARN: &str = "arn:aws:lambda:us-east-1:000000000000:function:hello";

    #[tokio::test]
    async fn as_documented() {
        let harness = Harness::with_hello().await;
        harness.check(&documented(include_str!("add_permission.rs"))).await;
    }

    /// A request with these members beside the necessary ones.
    fn adding(sid: &str, members: Value) -> Value {
        let mut body = json!({
            "StatementId": sid, "Action": "lambda:InvokeFunction", "Principal": "*",
        });
        for (name, value) in members.as_object().unwrap() {
            body[name] = value.clone();
        }
        body
    }

    async fn statement(harness: &Harness, sid: &str, members: Value) -> String {
        let reply = harness.post(PATH, &adding(sid, members)).await;
        assert_eq!(reply.status, 201, "{reply:?}");
        reply.json()["Statement"].as_str().unwrap().to_owned()
    }

    #[tokio::test]
    async fn principals_and_conditions_as_recorded_on_aws() {
        let harness = Harness::with_hello().await;
        let invoke = format!(r#""Action":"lambda:InvokeFunction","Resource":"{ARN}""#);
        for (sid, members, expect) in [
            (
                "all",
                json!({"SourceAccount": "111111111111"}),
                format!(
                    r#""Principal":"*",{invoke},"Condition":{{"StringEquals":{{"AWS:SourceAccount":"111111111111"}}}}"#
                ),
            ),
            (
                "service",
                json!({"Principal": "lambda.amazonaws.com"}),
                format!(r#""Principal":{{"Service":"lambda.amazonaws.com"}},{invoke}"#),
            ),
            (
                "account",
                json!({"Principal": "111111111111"}),
                format!(r#""Principal":{{"AWS":"arn:aws:iam::111111111111:root"}},{invoke}"#),
            ),
            (
                "user",
                json!({"Principal": "arn:aws:iam::111111111111:user/dev/ann"}),
                format!(
                    r#""Principal":{{"AWS":"arn:aws:iam::111111111111:user/dev/ann"}},{invoke}"#
                ),
            ),
            (
                "alexaSkill",
                json!({"EventSourceToken": "amzn1.ask.skill.x-y"}),
                format!(
                    r#""Principal":"*",{invoke},"Condition":{{"StringEquals":{{"lambda:EventSourceToken":"amzn1.ask.skill.x-y"}}}}"#
                ),
            ),
            (
                "url",
                json!({
                    "Action": "lambda:InvokeFunctionUrl", "SourceArn": "arn:aws:s3:::test-bucket",
                    "SourceAccount": "111111111111", "PrincipalOrgID": "o-1234567890",
                    "FunctionUrlAuthType": "NONE",
                }),
                format!(
                    r#""Principal":"*","Action":"lambda:InvokeFunctionUrl","Resource":"{ARN}","Condition":{{"StringEquals":{{"lambda:FunctionUrlAuthType":"NONE","aws:PrincipalOrgID":"o-1234567890","AWS:SourceAccount":"111111111111"}},"ArnLike":{{"AWS:SourceArn":"arn:aws:s3:::test-bucket"}}}}"#
                ),
            ),
            (
                "viaUrl",
                json!({"InvokedViaFunctionUrl": true}),
                format!(
                    r#""Principal":"*",{invoke},"Condition":{{"Bool":{{"lambda:InvokedViaFunctionUrl":"true"}}}}"#
                ),
            ),
        ] {
            let expect = format!(r#"{{"Sid":"{sid}","Effect":"Allow",{expect}}}"#);
            assert_eq!(statement(&harness, sid, members).await, expect);
        }
    }

    #[tokio::test]
    async fn versions_and_aliases_have_policies_of_their_own() {
        let harness = Harness::with_versions().await;
        let path = "/2015-03-31/functions/two/policy";
        let arn = "arn:aws:lambda:us-east-1:000000000000:function:two";
        for (query, suffix) in [("", ""), ("?Qualifier=1", ":1"), ("?Qualifier=stable", ":stable")]
        {
            let reply = harness.post(&format!("{path}{query}"), &adding("same", json!({}))).await;
            assert_eq!(reply.status, 201, "{reply:?}");
            let text = reply.json()["Statement"].as_str().unwrap().to_owned();
            assert!(text.ends_with(&format!(r#""Resource":"{arn}{suffix}"}}"#)), "{text}");
        }
        // They go with what they are of.
        assert_eq!(harness.delete("/2015-03-31/functions/two/aliases/stable").await.status, 204);
        assert_eq!(harness.get(&format!("{path}?Qualifier=stable")).await.status, 404);
        assert_eq!(harness.get(path).await.status, 200);
    }

    async fn check_refused(harness: &Harness, path: &str, members: Value, expect: String) {
        let reply = harness.post(path, &adding("s", members.clone())).await;
        let got = format!("{} {}: {}", reply.status, reply.code(), reply.message());
        assert_eq!(got, expect, "{path} {members}");
    }

    #[tokio::test]
    async fn members_that_are_refused() {
        let harness = Harness::with_hello().await;
        statement(&harness, "s", json!({})).await;
        let invalid = "400 InvalidParameterValueException";
        for (members, expect) in [
            (
                json!({}),
                "409 ResourceConflictException: The statement id (s) provided already exists. Please \
                 provide a new statement id, or remove the existing statement."
                    .to_owned(),
            ),
            (
                json!({"StatementId": "t", "Principal": "invalid.nonaws.com"}),
                format!(
                    "{invalid}: The provided principal was invalid. Please check the principal and \
                     try again."
                ),
            ),
            (
                json!({"StatementId": "t", "FunctionUrlAuthType": "NONE"}),
                format!(
                    "{invalid}: FunctionUrlAuthType is only supported for lambda:InvokeFunctionUrl \
                     action"
                ),
            ),
            (
                json!({
                    "StatementId": "t", "Action": "lambda:InvokeFunctionUrl",
                    "InvokedViaFunctionUrl": true,
                }),
                format!(
                    "{invalid}: InvokedViaFunctionUrl is only supported for lambda:InvokeFunction \
                     action"
                ),
            ),
            (
                json!({
                    "StatementId": "t", "EventSourceToken": "x", "SourceAccount": "000000000000",
                }),
                format!(
                    "{invalid}: EventSourceToken is not supported with SourceArn or SourceAccount"
                ),
            ),
            (
                json!({"RevisionId": "wrong", "StatementId": "t"}),
                "412 PreconditionFailedException: The Revision Id provided does not match the latest \
                 Revision Id. Call the GetPolicy API to retrieve the latest Revision Id"
                    .to_owned(),
            ),
            (
                json!({"StatementId": "example.com"}),
                "400 ValidationException: 1 validation error detected: Value 'example.com' at \
                 'statementId' failed to satisfy constraint: Member must satisfy regular expression \
                 pattern: ([a-zA-Z0-9-_]+)"
                    .to_owned(),
            ),
        ] {
            check_refused(&harness, PATH, members, expect).await;
        }
    }

    #[tokio::test]
    async fn names_that_are_refused() {
        let harness = Harness::with_hello().await;
        let invalid = "400 InvalidParameterValueException";
        let missing = "404 ResourceNotFoundException";
        for (path, expect) in [
            (
                "/2015-03-31/functions/hello:$LATEST/policy?Qualifier=$LATEST",
                format!("{invalid}: We currently do not support adding policies for $LATEST."),
            ),
            (
                "/2015-03-31/functions/hello:one/policy?Qualifier=42",
                format!(
                    "{invalid}: The derived qualifier from the function name does not match the \
                     specified qualifier."
                ),
            ),
            (
                "/2015-03-31/functions/doesnotexist/policy",
                format!("{missing}: Function not found: {}", ARN.replace("hello", "doesnotexist")),
            ),
            (
                "/2015-03-31/functions/hello:doesnotexist/policy",
                format!("{missing}: Cannot find alias arn: {ARN}:doesnotexist"),
            ),
            (
                "/2015-03-31/functions/hello/policy?Qualifier=42",
                format!("{missing}: Function not found: {ARN}:42"),
            ),
            (
                "/2015-03-31/functions/hello/policy?Qualifier=valid-with-$-but-doesnotexist",
                format!("{missing}: Function not found: {ARN}:valid-with-$-but-doesnotexist"),
            ),
        ] {
            check_refused(&harness, path, json!({}), expect).await;
        }
    }

    #[tokio::test]
    async fn a_policy_has_a_greatest_length() {
        let harness = Harness::with_hello().await;
        let source = format!("arn:aws:s3:::{}", "b".repeat(9_800));
        statement(&harness, "a", json!({"SourceArn": source})).await;
        let reply = harness.post(PATH, &adding("b", json!({"SourceArn": source}))).await;
        assert_eq!((reply.status, reply.code().as_str()), (201, ""));
        let reply = harness.post(PATH, &adding("c", json!({"SourceArn": source}))).await;
        assert_eq!((reply.status, reply.code().as_str()), (400, "PolicyLengthExceededException"));
        let message = reply.message();
        assert!(message.starts_with("The final policy size (3"), "{message}");
        assert!(message.ends_with(") is bigger than the limit (20480)."), "{message}");
    }

    #[tokio::test]
    async fn the_revision_is_that_of_what_the_policy_is_for() {
        let harness = Harness::with_versions().await;
        for (function, policy, member) in [
            ("two/configuration", "two/policy?", "RevisionId"),
            ("two/configuration?Qualifier=1", "two/policy?Qualifier=1", "RevisionId"),
            ("two/aliases/stable", "two/policy?Qualifier=stable", "RevisionId"),
        ] {
            let path = |rest: &str| format!("/2015-03-31/functions/{rest}");
            let revision = async || harness.get(&path(function)).await.json()[member].clone();
            let before = revision().await;
            let wrong = adding("s", json!({"RevisionId": "wrong"}));
            assert_eq!(harness.post(&path(policy), &wrong).await.status, 412);
            assert_eq!(revision().await, before);
            let right = adding("s", json!({"RevisionId": before}));
            assert_eq!(harness.post(&path(policy), &right).await.status, 201);
            let after = revision().await;
            assert_ne!(before, after, "{function}");
            assert_eq!(harness.get(&path(policy)).await.json()["RevisionId"], after);
        }
    }

    #[tokio::test]
    async fn many_at_once_are_all_added() {
        let harness = Harness::with_hello().await;
        let adds = (0..32).map(|number| {
            let harness = &harness;
            async move {
                harness.post(PATH, &adding(&format!("s{number}"), json!({}))).await.status
            }
        });
        let statuses = futures_util::future::join_all(adds).await;
        assert!(statuses.iter().all(|status| *status == 201), "{statuses:?}");
        let policy = harness.get(PATH).await.json()["Policy"].as_str().unwrap().to_owned();
        let policy: Value = serde_json::from_str(&policy).unwrap();
        assert_eq!(policy["Statement"].as_array().unwrap().len(), 32);
    }
}
