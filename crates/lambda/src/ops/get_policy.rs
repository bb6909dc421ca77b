//! The policy of a function, version or alias.
//!
//! ```text
//! GET /2015-03-31/functions/hello/policy
//!
//! 200
//! {"Policy": "{\"Version\":\"2012-10-17\",\"Id\":\"default\",\"Statement\":[{\"Sid\":\"topic\",\"Effect\":\"Allow\",\"Principal\":{\"Service\":\"sns.amazonaws.com\"},\"Action\":\"lambda:InvokeFunction\",\"Resource\":\"arn:aws:lambda:us-east-1:000000000000:function:hello\"}]}",
//!  "RevisionId": "<any>"}
//! ```

use lambic_front::{Cx, Serve};
use lambic_model_lambda as model;
use lambic_model_lambda::{GetPolicyRequest, GetPolicyResponse};
use lambic_wire::{Arn, Error};

use super::policies::{no_policy, policy, revision_id, target};
use crate::Lambda;
use crate::names;

/// The operation.
pub struct GetPolicy;

impl Serve for GetPolicy {
    type Service = Lambda;
    type Operation = model::ops::GetPolicy;

    fn resource(cx: &Cx<'_, Lambda>, input: &GetPolicyRequest) -> Arn {
        let qualifier = input.qualifier.as_deref();
        names::qualified_resource(cx.account, cx.region, &input.function_name, qualifier)
    }

    async fn run(cx: &Cx<'_, Lambda>, input: GetPolicyRequest) -> Result<GetPolicyResponse, Error> {
        let target = target(cx, &input.function_name, input.qualifier.as_deref())?;
        let stored = super::change::read(cx, &target).await?;
        // A version or an alias that is not there has no policy either.
        let policy = policy(&stored.value, &target).ok_or_else(no_policy)?;
        Ok(GetPolicyResponse {
            policy: Some(policy.text()),
            revision_id: Some(revision_id(cx, &stored.value, &target).await?),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::ops::testing::{Harness, documented};

    #[tokio::test]
    async fn as_documented() {
        let harness = Harness::with_hello().await;
        let path = "/2015-03-31/functions/hello/policy";
        let body = json!({
            "StatementId": "topic", "Action": "lambda:InvokeFunction",
            "Principal": "sns.amazonaws.com",
        });
        assert_eq!(harness.post(path, &body).await.status, 201);
        harness.check(&documented(include_str!("get_policy.rs"))).await;
    }

    #[tokio::test]
    async fn what_is_not_there() {
        let harness = Harness::with_hello().await;
        let arn = "arn:aws:lambda:us-east-1:000000000000:function";
        for (rest, expect) in [
            ("hello/policy", "The resource you requested does not exist.".to_owned()),
            ("hello/policy?Qualifier=77", "The resource you requested does not exist.".to_owned()),
            ("hello:no/policy", "The resource you requested does not exist.".to_owned()),
            ("hello:$LATEST/policy", "The resource you requested does not exist.".to_owned()),
            ("nobody/policy", format!("Function not found: {arn}:nobody")),
        ] {
            let reply = harness.get(&format!("/2015-03-31/functions/{rest}")).await;
            assert_eq!((reply.status, reply.message()), (404, expect), "{rest}");
        }
    }
}
