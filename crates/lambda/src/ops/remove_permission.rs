//! Takes back what AddPermission gave, or one statement of a policy that was given whole.
//!
//! ```text
//! DELETE /2015-03-31/functions/hello/policy/topic
//!
//! 204
//! ```

use lambic_front::{Cx, Serve};
use lambic_model_lambda as model;
use lambic_model_lambda::RemovePermissionRequest;
use lambic_wire::{Arn, Error};

use super::change::read;
use super::policies::{Api, change, nothing_to_remove, target};
use crate::Lambda;
use crate::names::{self, not_found};

/// The operation.
pub struct RemovePermission;

impl Serve for RemovePermission {
    type Service = Lambda;
    type Operation = model::ops::RemovePermission;

    fn resource(cx: &Cx<'_, Lambda>, input: &RemovePermissionRequest) -> Arn {
        let qualifier = input.qualifier.as_deref();
        names::qualified_resource(cx.account, cx.region, &input.function_name, qualifier)
    }

    async fn run(cx: &Cx<'_, Lambda>, input: RemovePermissionRequest) -> Result<(), Error> {
        let target = target(cx, &input.function_name, input.qualifier.as_deref())?;
        // AWS has words of its own for a function that is not there.
        read(cx, &target).await.map_err(|error| match error.status {
            404 => not_found(format!("No policy found for: {}", target.arn())),
            _ => error,
        })?;
        let sid = &input.statement_id;
        change(cx, &target, Api::Statements, |present| {
            let policy = present.policy.ok_or_else(nothing_to_remove)?;
            if !policy.has(sid) {
                let text = format!("Statement {sid} is not found in resource policy.");
                return Err(not_found(text));
            }
            present.check_revision(input.revision_id.as_deref())?;
            Ok(policy.without(sid))
        })
        .await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::ops::testing::{Harness, documented};

    const PATH: &str = "/2015-03-31/functions/hello/policy";

    async fn with_topic() -> Harness {
        let harness = Harness::with_hello().await;
        let body = json!({
            "StatementId": "topic", "Action": "lambda:InvokeFunction",
            "Principal": "sns.amazonaws.com",
        });
        assert_eq!(harness.post(PATH, &body).await.status, 201);
        harness
    }

    #[tokio::test]
    async fn as_documented() {
        let harness = with_topic().await;
        harness.check(&documented(include_str!("remove_permission.rs"))).await;
        // The last statement took the policy with it.
        assert_eq!(harness.get(PATH).await.status, 404);
        let again = harness.delete(&format!("{PATH}/topic")).await;
        assert_eq!(
            (again.status, again.message().as_str()),
            (404, "No policy is associated with the given resource.")
        );
    }

    #[tokio::test]
    async fn what_is_refused() {
        let harness = with_topic().await;
        let arn = "arn:aws:lambda:us-east-1:000000000000:function";
        for (rest, status, expect) in [
            ("hello/policy/other", 404, "Statement other is not found in resource policy."),
            (
                "hello/policy/topic?Qualifier=$LATEST",
                404,
                "No policy is associated with the given resource.",
            ),
            ("nobody/policy/topic", 404, &format!("No policy found for: {arn}:nobody")),
            (
                "hello/policy/topic?Qualifier=no",
                404,
                &format!("Cannot find alias arn: {arn}:hello:no"),
            ),
            ("hello/policy/topic?Qualifier=7", 404, &format!("Function not found: {arn}:hello:7")),
            (
                "hello/policy/topic?RevisionId=wrong",
                412,
                "The Revision Id provided does not match the latest Revision Id. Call the GetPolicy \
                 API to retrieve the latest Revision Id",
            ),
        ] {
            let reply = harness.delete(&format!("/2015-03-31/functions/{rest}")).await;
            assert_eq!((reply.status, reply.message().as_str()), (status, expect), "{rest}");
        }
        let revision = harness.get(PATH).await.json()["RevisionId"].as_str().unwrap().to_owned();
        let removed = harness.delete(&format!("{PATH}/topic?RevisionId={revision}")).await;
        assert_eq!(removed.status, 204);
        let function = harness.get("/2015-03-31/functions/hello/configuration").await;
        assert_ne!(function.json()["RevisionId"], revision);
    }
}
