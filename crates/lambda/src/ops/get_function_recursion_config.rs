//! Whether a function is stopped when it is part of a recursive loop.
//!
//! ```text
//! GET /2024-08-31/functions/hello/recursion-config
//!
//! 200
//! {"RecursiveLoop": "Terminate"}
//! ```

use lambic_front::{Cx, Serve};
use lambic_model_lambda as model;
use lambic_model_lambda::{
    GetFunctionRecursionConfigRequest, GetFunctionRecursionConfigResponse, RecursiveLoop,
};
use lambic_wire::{Arn, Error};

use super::find;
use crate::Lambda;
use crate::names;

/// The operation.
pub struct GetFunctionRecursionConfig;

impl Serve for GetFunctionRecursionConfig {
    type Service = Lambda;
    type Operation = model::ops::GetFunctionRecursionConfig;

    fn resource(cx: &Cx<'_, Lambda>, input: &GetFunctionRecursionConfigRequest) -> Arn {
        names::resource(cx.account, cx.region, &input.function_name)
    }

    async fn run(
        cx: &Cx<'_, Lambda>,
        input: GetFunctionRecursionConfigRequest,
    ) -> Result<GetFunctionRecursionConfigResponse, Error> {
        let target = names::resolve_unqualified(cx.account, cx.region, &input.function_name)?;
        let function = find(cx, &names::Target { qualifier: None, ..target })?;
        let recursive_loop = match function.stored.value.recursion_allowed {
            true => RecursiveLoop::Allow,
            false => RecursiveLoop::Terminate,
        };
        Ok(GetFunctionRecursionConfigResponse { recursive_loop: Some(recursive_loop) })
    }
}

#[cfg(test)]
mod tests {
    use crate::ops::testing::{Harness, documented};

    #[tokio::test]
    async fn as_documented() {
        let harness = Harness::with_hello().await;
        harness.check(&documented(include_str!("get_function_recursion_config.rs"))).await;
        let reply = harness.get("/2024-08-31/functions/none/recursion-config").await;
        assert_eq!(
            (reply.status, reply.message().as_str()),
            (404, "Function not found: arn:aws:lambda:us-east-1:000000000000:function:none")
        );
    }
}
