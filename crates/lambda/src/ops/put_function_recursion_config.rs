//! Says whether a function is stopped (`Terminate`, the default) or goes on (`Allow`) when the chain of
//! requests has passed it sixteen times. It holds for the next invoke.
//!
//! ```text
//! PUT /2024-08-31/functions/hello/recursion-config
//! {"RecursiveLoop": "Allow"}
//!
//! 200
//! {"RecursiveLoop": "Allow"}
//! ```

use lambic_front::{Cx, Serve};
use lambic_model_lambda as model;
use lambic_model_lambda::{
    PutFunctionRecursionConfigRequest, PutFunctionRecursionConfigResponse, RecursiveLoop,
};
use lambic_wire::{Arn, Error};

use super::change::edit;
use crate::Lambda;
use crate::names;

/// The operation.
pub struct PutFunctionRecursionConfig;

impl Serve for PutFunctionRecursionConfig {
    type Service = Lambda;
    type Operation = model::ops::PutFunctionRecursionConfig;

    fn resource(cx: &Cx<'_, Lambda>, input: &PutFunctionRecursionConfigRequest) -> Arn {
        names::resource(cx.account, cx.region, &input.function_name)
    }

    async fn run(
        cx: &Cx<'_, Lambda>,
        input: PutFunctionRecursionConfigRequest,
    ) -> Result<PutFunctionRecursionConfigResponse, Error> {
        let target = names::resolve_unqualified(cx.account, cx.region, &input.function_name)?;
        let allowed = input.recursive_loop == RecursiveLoop::Allow;
        edit(cx, &target, |record| {
            record.recursion_allowed = allowed;
            Ok(())
        })
        .await?;
        Ok(PutFunctionRecursionConfigResponse { recursive_loop: Some(input.recursive_loop) })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::ops::testing::{Harness, documented};

    const PATH: &str = "/2024-08-31/functions/hello/recursion-config";

    #[tokio::test]
    async fn as_documented() {
        let harness = Harness::with_hello().await;
        let before = harness.get("/2015-03-31/functions/hello").await.json();
        harness.check(&documented(include_str!("put_function_recursion_config.rs"))).await;
        assert_eq!(harness.get(PATH).await.json(), json!({"RecursiveLoop": "Allow"}));
        let after = harness.get("/2015-03-31/functions/hello").await.json();
        assert_eq!(before["Configuration"], after["Configuration"]);
        assert_eq!(harness.put(PATH, &json!({"RecursiveLoop": "Terminate"})).await.status, 200);
        assert_eq!(harness.get(PATH).await.json(), json!({"RecursiveLoop": "Terminate"}));
    }

    #[tokio::test]
    async fn what_is_refused() {
        let harness = Harness::with_hello().await;
        let allow = json!({"RecursiveLoop": "Allow"});
        let reply = harness.put(PATH, &json!({"RecursiveLoop": "InvalidValue"})).await;
        assert_eq!(
            (reply.status, reply.message().as_str()),
            (
                400,
                "1 validation error detected: Value 'InvalidValue' at 'recursiveLoop' failed to \
                 satisfy constraint: Member must satisfy enum value set: [Terminate, Allow]"
            )
        );
        let reply = harness.put(&PATH.replace("hello", "none"), &allow).await;
        assert_eq!((reply.status, reply.code().as_str()), (404, "ResourceNotFoundException"));
        let arn = "arn:aws:lambda:us-east-1:000000000000:function:hello:1";
        let reply = harness.put(&PATH.replace("hello", arn), &allow).await;
        assert_eq!((reply.status, reply.code().as_str()), (400, "ValidationException"));
    }

    #[tokio::test]
    async fn a_chain_that_has_passed_sixteen_times_is_stopped_unless_it_is_allowed() {
        let harness = Harness::with_hello().await;
        let lineage =
            crate::invoke::lineage::id("arn:aws:lambda:us-east-1:000000000000:function:hello");
        let invoke = async |passed: u32| {
            let count = passed - 1;
            let header =
                format!("Root=1-5759e988-bd862e3fe1be46a994272793;Lineage={lineage}:{count}");
            harness.invoke_traced("hello", &header).await
        };
        assert_eq!(invoke(15).await.status, 200);
        for passed in [16, 17, 4_000_000_000] {
            let reply = invoke(passed).await;
            assert_eq!(
                (reply.status, reply.code().as_str(), reply.message().as_str()),
                (
                    400,
                    "RecursiveInvocationException",
                    "Lambda has detected your function being invoked in a recursive loop with \
                     other AWS resources and stopped your function's invocation."
                )
            );
        }
        harness.put(PATH, &json!({"RecursiveLoop": "Allow"})).await;
        assert_eq!(invoke(16).await.status, 200);
        harness.put(PATH, &json!({"RecursiveLoop": "Terminate"})).await;
        assert_eq!(invoke(16).await.status, 400);
    }
}
