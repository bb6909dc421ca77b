//! The code signing configuration that a function uses; an empty answer without one.
//!
//! ```text
//! GET /2020-06-30/functions/hello/code-signing-config
//!
//! 200
//! {"CodeSigningConfigArn": "<config>", "FunctionName": "hello"}
//! ```

use lambic_front::{Cx, Serve};
use lambic_model_lambda as model;
use lambic_model_lambda::{
    GetFunctionCodeSigningConfigRequest, GetFunctionCodeSigningConfigResponse,
};
use lambic_wire::{Arn, Error};

use super::change::read;
use crate::Lambda;
use crate::names;

/// The operation.
pub struct GetFunctionCodeSigningConfig;

impl Serve for GetFunctionCodeSigningConfig {
    type Service = Lambda;
    type Operation = model::ops::GetFunctionCodeSigningConfig;

    fn resource(cx: &Cx<'_, Lambda>, input: &GetFunctionCodeSigningConfigRequest) -> Arn {
        names::resource(cx.account, cx.region, &input.function_name)
    }

    async fn run(
        cx: &Cx<'_, Lambda>,
        input: GetFunctionCodeSigningConfigRequest,
    ) -> Result<GetFunctionCodeSigningConfigResponse, Error> {
        let target = names::resolve_unqualified(cx.account, cx.region, &input.function_name)?;
        let record = read(cx, &target).await?.value;
        let function_name = record.code_signing_config.is_some().then_some(target.name);
        let code_signing_config_arn = record.code_signing_config;
        Ok(GetFunctionCodeSigningConfigResponse { code_signing_config_arn, function_name })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::ops::testing::{Harness, documented};

    const PATH: &str = "/2020-06-30/functions/hello/code-signing-config";

    #[tokio::test]
    async fn as_documented() {
        let harness = Harness::with_hello().await;
        let config = harness.code_signing_config("Enforce").await;
        assert_eq!(harness.get(PATH).await.json(), json!({}));
        harness.put(PATH, &json!({"CodeSigningConfigArn": config})).await;
        let source = include_str!("get_function_code_signing_config.rs");
        harness.check(&documented(&source.replace("<config>", &config))).await;
        let reply = harness.get(&PATH.replace("hello", "none")).await;
        assert_eq!(
            (reply.status, reply.message().as_str()),
            (404, "Function not found: arn:aws:lambda:us-east-1:000000000000:function:none")
        );
    }
}
