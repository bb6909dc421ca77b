//! The functions that use a code signing configuration, by name, up to fifty on a page.
//!
//! ```text
//! GET /2020-04-22/code-signing-configs/<config>/functions
//!
//! 200
//! {"FunctionArns": ["arn:aws:lambda:us-east-1:000000000000:function:hello"]}
//! ```

use lambic_front::{Cx, Serve};
use lambic_model_lambda as model;
use lambic_model_lambda::{
    ListFunctionsByCodeSigningConfigRequest, ListFunctionsByCodeSigningConfigResponse,
};
use lambic_wire::{Arn, Error};

use super::code_signing::{read, resource, users};
use super::paging;
use crate::Lambda;
use crate::names::function_arn;

/// The operation.
pub struct ListFunctionsByCodeSigningConfig;

impl Serve for ListFunctionsByCodeSigningConfig {
    type Service = Lambda;
    type Operation = model::ops::ListFunctionsByCodeSigningConfig;

    fn resource(cx: &Cx<'_, Lambda>, input: &ListFunctionsByCodeSigningConfigRequest) -> Arn {
        resource(cx, &input.code_signing_config_arn)
    }

    async fn run(
        cx: &Cx<'_, Lambda>,
        input: ListFunctionsByCodeSigningConfigRequest,
    ) -> Result<ListFunctionsByCodeSigningConfigResponse, Error> {
        let after = paging::after(input.marker.as_deref())?;
        let limit = paging::usual_limit(input.max_items);
        let config = read(cx, &input.code_signing_config_arn).await?.value;
        let mut found = users(cx, &config, after.as_deref(), limit + 1).await?;
        let next_marker = paging::cut(&mut found, limit, String::clone);
        let arn = |name: &String| function_arn(&config.account, &config.region, name);
        let function_arns = Some(found.iter().map(arn).collect());
        Ok(ListFunctionsByCodeSigningConfigResponse { next_marker, function_arns })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::ops::testing::{Harness, documented};

    #[tokio::test]
    async fn as_documented() {
        let harness = Harness::with_hello().await;
        let config = harness.code_signing_config("Warn").await;
        let of_function = "/2020-06-30/functions/hello/code-signing-config";
        harness.put(of_function, &json!({"CodeSigningConfigArn": config})).await;
        let source = include_str!("list_functions_by_code_signing_config.rs");
        harness.check(&documented(&source.replace("<config>", &config))).await;
    }

    #[tokio::test]
    async fn pages_and_none() {
        let harness = Harness::new().await;
        let config = harness.code_signing_config("Warn").await;
        let path = format!("/2020-04-22/code-signing-configs/{config}/functions");
        assert_eq!(harness.get(&path).await.json(), json!({"FunctionArns": []}));
        for name in ["c", "a", "b"] {
            harness.create(name).await;
            let of_function = format!("/2020-06-30/functions/{name}/code-signing-config");
            harness.put(&of_function, &json!({"CodeSigningConfigArn": config})).await;
        }
        let arn = |name: &str| format!("arn:aws:lambda:us-east-1:000000000000:function:{name}");
        let first = harness.get(&format!("{path}?MaxItems=2")).await.json();
        assert_eq!(first["FunctionArns"], json!([arn("a"), arn("b")]));
        let marker = first["NextMarker"].as_str().unwrap();
        let second = harness.get(&format!("{path}?MaxItems=2&Marker={marker}")).await.json();
        assert_eq!(second, json!({"FunctionArns": [arn("c")]}));
        let none = path.replace("/functions", "x/functions").replace("csc-0", "csc-");
        let reply = harness.get(&none).await;
        assert_eq!((reply.status, reply.code().as_str()), (404, "ResourceNotFoundException"));
    }
}
