//! Takes the policy of a function, version or alias away, all of it.
//!
//! ```text
//! DELETE /2026-07-09/resource-policy/arn%3Aaws%3Alambda%3Aus-east-1%3A000000000000%3Afunction%3Ahello
//!
//! 204
//! ```

use lambic_front::{Cx, Serve};
use lambic_model_lambda as model;
use lambic_model_lambda::DeleteResourcePolicyRequest;
use lambic_wire::{Arn, Error};

use super::policies::{Api, change, nothing_to_remove, target};
use super::put_resource_policy::{check_kind, resource};
use crate::Lambda;

/// The operation.
pub struct DeleteResourcePolicy;

impl Serve for DeleteResourcePolicy {
    type Service = Lambda;
    type Operation = model::ops::DeleteResourcePolicy;

    fn resource(cx: &Cx<'_, Lambda>, input: &DeleteResourcePolicyRequest) -> Arn {
        resource(cx, &input.resource_arn)
    }

    async fn run(cx: &Cx<'_, Lambda>, input: DeleteResourcePolicyRequest) -> Result<(), Error> {
        check_kind(&input.resource_arn)?;
        let target = target(cx, &input.resource_arn, None)?;
        change(cx, &target, Api::Document, |present| {
            if present.policy.is_none() {
                return Err(nothing_to_remove());
            }
            present.check_revision(input.revision_id.as_deref())?;
            Ok(None)
        })
        .await?;
        Ok(())
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
        let stale = "RevisionId=00000000-0000-0000-0000-000000000000";
        assert_eq!(harness.delete(&format!("{PATH}hello?{stale}")).await.status, 412);
        let example = documented(include_str!("delete_resource_policy.rs"));
        harness.check(&example).await;
        let again = harness.delete(&format!("{PATH}hello")).await;
        assert_eq!(
            (again.status, again.message().as_str()),
            (404, "No policy is associated with the given resource.")
        );
        assert_eq!(harness.delete(&format!("{PATH}nobody")).await.status, 404);
        assert_eq!(harness.delete(&format!("{PATH}hello%3Alive")).await.status, 404);
    }
}
