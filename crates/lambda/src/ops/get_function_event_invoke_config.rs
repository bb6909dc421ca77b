//! How asynchronous invokes of a version or an alias are tried again and where their outcome goes.
//!
//! ```text
//! GET /2019-09-25/functions/hello/event-invoke-config?Qualifier=$LATEST
//!
//! 200
//! {"FunctionArn": "arn:aws:lambda:us-east-1:000000000000:function:hello:$LATEST",
//!  "LastModified": "<any>", "MaximumRetryAttempts": 1,
//!  "DestinationConfig": {"OnSuccess": {}, "OnFailure": {}}}
//! ```

use lambic_front::{Cx, Serve};
use lambic_model_lambda as model;
use lambic_model_lambda::{FunctionEventInvokeConfig, GetFunctionEventInvokeConfigRequest};
use lambic_wire::{Arn, Error};

use super::event_invoke::{absent, present, resolve, show};
use super::find;
use crate::Lambda;
use crate::names;

/// The operation.
pub struct GetFunctionEventInvokeConfig;

impl Serve for GetFunctionEventInvokeConfig {
    type Service = Lambda;
    type Operation = model::ops::GetFunctionEventInvokeConfig;

    fn resource(cx: &Cx<'_, Lambda>, input: &GetFunctionEventInvokeConfigRequest) -> Arn {
        let qualifier = input.qualifier.as_deref();
        names::qualified_resource(cx.account, cx.region, &input.function_name, qualifier)
    }

    async fn run(
        cx: &Cx<'_, Lambda>,
        input: GetFunctionEventInvokeConfigRequest,
    ) -> Result<FunctionEventInvokeConfig, Error> {
        let (target, qualifier) = resolve(cx, &input.function_name, input.qualifier.as_deref())?;
        // AWS says the same whether it is the function that is not there or its settings.
        let function = find(cx, &target).map_err(|_| absent(&target))?;
        let record = &function.stored.value;
        Ok(show(record, &qualifier, present(record, &target, &qualifier)?))
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
        harness.check(&documented(include_str!("get_function_event_invoke_config.rs"))).await;
    }

    #[tokio::test]
    async fn what_is_not_there() {
        let harness = Harness::with_versions().await;
        for (name, qualifier) in
            [("two", "$LATEST"), ("two", "stable"), ("two", "dead"), ("nobody", "$LATEST")]
        {
            let path = format!("/2019-09-25/functions/{name}/event-invoke-config");
            let reply = harness.get(&format!("{path}?Qualifier={qualifier}")).await;
            assert_eq!((reply.status, reply.code().as_str()), (404, "ResourceNotFoundException"));
            assert_eq!(
                reply.json(),
                json!({"Type": "User", "Message": format!(
                    "The function arn:aws:lambda:us-east-1:000000000000:function:{name}:{qualifier} \
                     doesn't have an EventInvokeConfig")})
            );
        }
    }
}
