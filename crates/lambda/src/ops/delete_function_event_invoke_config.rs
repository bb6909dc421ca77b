//! Takes back what was said of asynchronous invokes of a version or an alias.
//!
//! ```text
//! DELETE /2019-09-25/functions/hello/event-invoke-config
//!
//! 204
//! ```

use lambic_front::{Cx, Serve};
use lambic_model_lambda as model;
use lambic_model_lambda::DeleteFunctionEventInvokeConfigRequest;
use lambic_wire::{Arn, Error};

use super::change::edit;
use super::event_invoke::{absent, present, resolve};
use super::find;
use crate::Lambda;
use crate::names;

/// The operation.
pub struct DeleteFunctionEventInvokeConfig;

impl Serve for DeleteFunctionEventInvokeConfig {
    type Service = Lambda;
    type Operation = model::ops::DeleteFunctionEventInvokeConfig;

    fn resource(cx: &Cx<'_, Lambda>, input: &DeleteFunctionEventInvokeConfigRequest) -> Arn {
        let qualifier = input.qualifier.as_deref();
        names::qualified_resource(cx.account, cx.region, &input.function_name, qualifier)
    }

    async fn run(
        cx: &Cx<'_, Lambda>,
        input: DeleteFunctionEventInvokeConfigRequest,
    ) -> Result<(), Error> {
        let (target, qualifier) = resolve(cx, &input.function_name, input.qualifier.as_deref())?;
        find(cx, &target).map_err(|_| absent(&target))?;
        edit(cx, &target, |record| {
            present(record, &target, &qualifier)?;
            if let Some(settings) = record.qualified.get_mut(&qualifier) {
                settings.event_invoke = None;
            }
            Ok(())
        })
        .await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::ops::testing::{Harness, documented};

    #[tokio::test]
    async fn as_documented() {
        let harness = Harness::with_hello().await;
        let path = "/2019-09-25/functions/hello/event-invoke-config";
        assert_eq!(harness.put(path, &json!({"MaximumRetryAttempts": 1})).await.status, 200);
        harness.check(&documented(include_str!("delete_function_event_invoke_config.rs"))).await;
        let find = harness.lambda.catalog.find("000000000000", "us-east-1", "hello").unwrap();
        assert!(find.stored.value.qualified.is_empty());
        for path in [path, &path.replace("hello", "nobody"), &format!("{path}?Qualifier=dead")] {
            let reply = harness.delete(path).await;
            assert_eq!(reply.status, 404);
            assert!(reply.message().ends_with("doesn't have an EventInvokeConfig"), "{reply:?}");
        }
    }
}
