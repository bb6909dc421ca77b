//! The policy of a function, version or alias, as PutResourcePolicy gives it.
//!
//! ```text
//! GET /2026-07-09/resource-policy/arn%3Aaws%3Alambda%3Aus-east-1%3A000000000000%3Afunction%3Ahello
//!
//! 200
//! {"Policy": "{\"Version\":\"2012-10-17\",\"Id\":\"default\",\"Statement\":[{\"Sid\":\"topic\",\"Effect\":\"Allow\",\"Principal\":{\"Service\":\"sns.amazonaws.com\"},\"Action\":\"lambda:InvokeFunction\",\"Resource\":\"arn:aws:lambda:us-east-1:000000000000:function:hello\"}]}",
//!  "RevisionId": "<any>"}
//! ```

use lambic_front::{Cx, Serve};
use lambic_model_lambda as model;
use lambic_model_lambda::{GetResourcePolicyRequest, GetResourcePolicyResponse};
use lambic_wire::{Arn, Error};

use super::change::read;
use super::policies::{check_qualifier, no_policy, policy, revision_id, target};
use super::put_resource_policy::{check_kind, resource};
use crate::Lambda;

/// The operation.
pub struct GetResourcePolicy;

impl Serve for GetResourcePolicy {
    type Service = Lambda;
    type Operation = model::ops::GetResourcePolicy;

    fn resource(cx: &Cx<'_, Lambda>, input: &GetResourcePolicyRequest) -> Arn {
        resource(cx, &input.resource_arn)
    }

    async fn run(
        cx: &Cx<'_, Lambda>,
        input: GetResourcePolicyRequest,
    ) -> Result<GetResourcePolicyResponse, Error> {
        check_kind(&input.resource_arn)?;
        let target = target(cx, &input.resource_arn, None)?;
        let stored = read(cx, &target).await?;
        check_qualifier(&stored.value, &target)?;
        let policy = policy(&stored.value, &target).ok_or_else(no_policy)?;
        Ok(GetResourcePolicyResponse {
            policy: Some(policy.text()),
            revision_id: Some(revision_id(cx, &stored.value, &target).await?),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::ops::testing::{Harness, documented};

    const PATH: &str = "/2026-07-09/resource-policy/\
                        arn%3Aaws%3Alambda%3Aus-east-1%3A000000000000%3Afunction%3A";

    #[tokio::test]
    async fn as_documented() {
        let harness = Harness::with_hello().await;
        let body = json!({
            "StatementId": "topic", "Action": "lambda:InvokeFunction",
            "Principal": "sns.amazonaws.com",
        });
        assert_eq!(harness.post("/2015-03-31/functions/hello/policy", &body).await.status, 201);
        harness.check(&documented(include_str!("get_resource_policy.rs"))).await;
    }

    #[tokio::test]
    async fn what_is_not_there() {
        let harness = Harness::with_hello().await;
        for (name, text) in [
            ("hello", "The resource you requested does not exist."),
            ("hello%3Alive", "Cannot find alias arn: "),
            ("hello%3A7", "Function not found: "),
            ("nobody", "Function not found: "),
        ] {
            let reply = harness.get(&format!("{PATH}{name}")).await;
            assert_eq!(reply.status, 404, "{name}");
            assert!(reply.message().starts_with(text), "{name}: {}", reply.message());
        }
    }
}
