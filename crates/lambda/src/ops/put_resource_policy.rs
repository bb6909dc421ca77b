//! Gives a function, version or alias a whole policy, in place of the one it has.
//!
//! It is the same policy that AddPermission adds statements to. Nothing here answers
//! PublicPolicyException: it belongs to a setting that forbids public access, which AWS's API does not
//! offer at the moment.
//!
//! ```text
//! PUT /2026-07-09/resource-policy/arn%3Aaws%3Alambda%3Aus-east-1%3A000000000000%3Afunction%3Ahello
//! {"Policy": "{\"Version\": \"2012-10-17\", \"Statement\": {\"Sid\": \"no-deletion\", \"Effect\": \"Deny\", \"Principal\": \"*\", \"Action\": \"lambda:DeleteFunction\", \"Resource\": \"*\"}}"}
//!
//! 200
//! {"Policy": "{\"Version\":\"2012-10-17\",\"Statement\":{\"Sid\":\"no-deletion\",\"Effect\":\"Deny\",\"Principal\":\"*\",\"Action\":\"lambda:DeleteFunction\",\"Resource\":\"*\"}}",
//!  "RevisionId": "<any>"}
//! ```

use lambic_front::{Cx, Serve};
use lambic_model_lambda as model;
use lambic_model_lambda::{PutResourcePolicyRequest, PutResourcePolicyResponse};
use lambic_wire::{Arn, Error};

use super::policies::{Api, change, changeable};
use super::settings::refuse_if;
use crate::Lambda;
use crate::limits::invalid;
use crate::names;
use crate::policy::Document;

/// The operation.
pub struct PutResourcePolicy;

impl Serve for PutResourcePolicy {
    type Service = Lambda;
    type Operation = model::ops::PutResourcePolicy;

    fn resource(cx: &Cx<'_, Lambda>, input: &PutResourcePolicyRequest) -> Arn {
        resource(cx, &input.resource_arn)
    }

    async fn run(
        cx: &Cx<'_, Lambda>,
        input: PutResourcePolicyRequest,
    ) -> Result<PutResourcePolicyResponse, Error> {
        check_kind(&input.resource_arn)?;
        let target = changeable(cx, &input.resource_arn, None)?;
        let policy = Document::parse(&input.policy, &target.qualified_arn())
            .map_err(|why| invalid(format!("The policy is not valid: {why}.")))?;
        let revision_id = change(cx, &target, Api::Document, |present| {
            present.check_revision(input.revision_id.as_deref())?;
            Ok(Some(policy.clone()))
        })
        .await?;
        Ok(PutResourcePolicyResponse {
            policy: Some(policy.text()),
            revision_id: Some(revision_id),
        })
    }
}

/// What these operations are about, for authorization.
pub(super) fn resource(cx: &Cx<'_, Lambda>, arn: &str) -> Arn {
    match arn.parse::<Arn>() {
        Ok(arn) if !arn.resource.starts_with("function:") => arn,
        _ => names::resource(cx.account, cx.region, arn),
    }
}

/// Customers' own runtimes, the other kind of resource, are not offered.
pub(super) fn check_kind(arn: &str) -> Result<(), Error> {
    let is_function = arn.parse::<Arn>().is_ok_and(|arn| arn.resource.starts_with("function:"));
    refuse_if(!is_function, "ResourceArn of a runtime")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::ops::testing::{Harness, documented};

    const ARN: &str = "arn:aws:lambda:us-east-1:000000000000:function:hello";

    fn path(arn: &str) -> String {
        format!("/2026-07-09/resource-policy/{}", arn.replace(':', "%3A").replace('/', "%2F"))
    }

    fn policy(statement: Value) -> Value {
        let mut policy = json!({
            "Effect": "Allow", "Principal": {"AWS": "111111111111"},
            "Action": "lambda:InvokeFunction", "Resource": "*",
        });
        for (name, value) in statement.as_object().unwrap() {
            policy[name] = value.clone();
        }
        let policy = json!({"Version": "2012-10-17", "Id": "mine", "Statement": [policy]});
        json!({"Policy": policy.to_string()})
    }

    #[tokio::test]
    async fn as_documented() {
        let harness = Harness::with_hello().await;
        harness.check(&documented(include_str!("put_resource_policy.rs"))).await;
    }

    #[tokio::test]
    async fn both_ways_lead_to_the_same_policy() {
        let harness = Harness::with_hello().await;
        let statements = "/2015-03-31/functions/hello/policy";
        let add = json!({
            "StatementId": "topic", "Action": "lambda:InvokeFunction",
            "Principal": "sns.amazonaws.com",
        });
        assert_eq!(harness.post(statements, &add).await.status, 201);
        let shown = harness.get(&path(ARN)).await.json();
        assert_eq!(shown, harness.get(statements).await.json());
        let mut body = policy(json!({"Sid": "mine"}));
        body["RevisionId"] = shown["RevisionId"].clone();
        assert_eq!(harness.put(&path(ARN), &body).await.status, 200);
        // The other's statement is gone, and one can be added to the new ones.
        assert_eq!(harness.post(statements, &add).await.status, 201);
        let shown = harness.get(statements).await.json();
        let shown: Value = serde_json::from_str(shown["Policy"].as_str().unwrap()).unwrap();
        assert_eq!(shown["Id"], "mine");
        let sids = |policy: &Value| -> Vec<String> {
            let all = policy["Statement"].as_array().unwrap();
            all.iter().map(|one| one["Sid"].as_str().unwrap().to_owned()).collect()
        };
        assert_eq!(sids(&shown), ["mine", "topic"]);
        assert_eq!(harness.delete(&format!("{statements}/mine")).await.status, 204);
        assert_eq!(harness.delete(&path(ARN)).await.status, 204);
        assert_eq!(harness.get(statements).await.status, 404);
    }

    #[tokio::test]
    async fn what_is_refused() {
        let harness = Harness::with_hello().await;
        let invalid = "400 InvalidParameterValueException: ";
        for (arn, body, expect) in [
            (ARN, json!({"Policy": "{"}), format!("{invalid}The policy is not valid: it is not a JSON object.")),
            (
                ARN,
                policy(json!({"Effect": "Maybe"})),
                format!("{invalid}The policy is not valid: Effect has to be Allow or Deny."),
            ),
            (
                ARN,
                policy(json!({"Resource": "arn:aws:lambda:us-east-1:000000000000:function:other"})),
                format!(
                    "{invalid}The policy is not valid: the Resource \
                     'arn:aws:lambda:us-east-1:000000000000:function:other' is not {ARN}."
                ),
            ),
            (
                &format!("{ARN}:$LATEST"),
                policy(json!({})),
                format!("{invalid}We currently do not support adding policies for $LATEST."),
            ),
            (
                &format!("{ARN}:live"),
                policy(json!({})),
                format!("404 ResourceNotFoundException: Cannot find alias arn: {ARN}:live"),
            ),
            (
                &ARN.replace("hello", "nobody"),
                policy(json!({})),
                format!(
                    "404 ResourceNotFoundException: Function not found: {}",
                    ARN.replace("hello", "nobody")
                ),
            ),
            (
                &ARN.replace("us-east-1", "eu-west-1"),
                policy(json!({})),
                "404 ResourceNotFoundException: Functions from 'eu-west-1' are not reachable in this \
                 region ('us-east-1')"
                    .to_owned(),
            ),
            (
                "arn:aws:lambda:us-east-1:000000000000:runtime/mine/version/1",
                policy(json!({})),
                "501 NotImplementedException: ResourceArn of a runtime is not offered by this server"
                    .to_owned(),
            ),
        ] {
            let reply = harness.put(&path(arn), &body).await;
            let got = format!("{} {}: {}", reply.status, reply.code(), reply.message());
            assert_eq!(got, expect, "{arn} {body}");
        }
        let mut stale = policy(json!({}));
        stale["RevisionId"] = json!("00000000-0000-0000-0000-000000000000");
        let reply = harness.put(&path(ARN), &stale).await;
        assert_eq!(
            (reply.status, reply.message().as_str()),
            (
                412,
                "The Revision Id provided does not match the latest Revision Id. Call the \
                 GetResourcePolicy API to retrieve the latest Revision Id"
            )
        );
        // So many characters are allowed, and as bytes they are too many.
        let long = "ä".repeat(15_000);
        let condition = json!({"StringEquals": {"aws:PrincipalArn": long}});
        let reply = harness.put(&path(ARN), &policy(json!({"Condition": condition}))).await;
        assert_eq!((reply.status, reply.code().as_str()), (400, "PolicyLengthExceededException"));
    }

    #[tokio::test]
    async fn all_policies_of_a_function_have_a_limit_together() {
        let harness = Harness::with_hello().await;
        let long = "a".repeat(19_500);
        let body = policy(json!({"Condition": {"StringEquals": {"aws:PrincipalArn": long}}}));
        for number in 0..60 {
            let alias = json!({"Name": format!("a{number}"), "FunctionVersion": "$LATEST"});
            let aliases = "/2015-03-31/functions/hello/aliases";
            assert_eq!(harness.post(aliases, &alias).await.status, 201);
            let reply = harness.put(&path(&format!("{ARN}:a{number}")), &body).await;
            if reply.status != 200 {
                let code = reply.code();
                assert_eq!((reply.status, code.as_str()), (400, "PolicyLengthExceededException"));
                assert!(reply.message().contains("1048576"), "{}", reply.message());
                assert!(number > 50, "{number}");
                return;
            }
        }
        panic!("there is no limit");
    }
}
