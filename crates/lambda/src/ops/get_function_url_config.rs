//! Shows the URL of a function, or of one of its aliases.
//!
//! ```text
//! GET /2021-10-31/functions/hello/url
//!
//! 200
//! {"FunctionUrl": "<any>", "AuthType": "NONE", "InvokeMode": "BUFFERED",
//!  "FunctionArn": "arn:aws:lambda:us-east-1:000000000000:function:hello",
//!  "CreationTime": "<any>", "LastModifiedTime": "<any>"}
//! ```

use lambic_front::{Cx, Serve};
use lambic_model_lambda as model;
use lambic_model_lambda::{GetFunctionUrlConfigRequest, GetFunctionUrlConfigResponse};
use lambic_wire::{Arn, Error};

use super::function_urls::{key, no_url, resolve, show};
use crate::Lambda;
use crate::names;

/// The operation.
pub struct GetFunctionUrlConfig;

impl Serve for GetFunctionUrlConfig {
    type Service = Lambda;
    type Operation = model::ops::GetFunctionUrlConfig;

    fn resource(cx: &Cx<'_, Lambda>, input: &GetFunctionUrlConfigRequest) -> Arn {
        let qualifier = input.qualifier.as_deref();
        names::qualified_resource(cx.account, cx.region, &input.function_name, qualifier)
    }

    async fn run(
        cx: &Cx<'_, Lambda>,
        input: GetFunctionUrlConfigRequest,
    ) -> Result<GetFunctionUrlConfigResponse, Error> {
        let target = resolve(cx, &input.function_name, input.qualifier.as_deref())?;
        let found = cx.service.catalog.find(&target.account, &target.region, &target.name);
        let function = found.ok_or_else(no_url)?;
        let settings = function.stored.value.qualified.get(key(&target));
        let url = settings.and_then(|settings| settings.url.as_ref()).ok_or_else(no_url)?;
        let shown = show(cx, &target, url);
        Ok(GetFunctionUrlConfigResponse {
            function_url: shown.function_url,
            function_arn: shown.function_arn,
            auth_type: shown.auth_type,
            cors: shown.cors,
            creation_time: shown.creation_time,
            last_modified_time: shown.last_modified_time,
            invoke_mode: shown.invoke_mode,
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::ops::testing::{Harness, documented};

    const PATH: &str = "/2021-10-31/functions/hello/url";

    #[tokio::test]
    async fn as_documented() {
        let harness = Harness::with_hello().await;
        let created = harness.post(PATH, &json!({"AuthType": "NONE"})).await.json();
        harness.check(&documented(include_str!("get_function_url_config.rs"))).await;
        let got = harness.get(PATH).await.json();
        assert_eq!(got["FunctionUrl"], created["FunctionUrl"]);
        assert_eq!(got["CreationTime"], created["CreationTime"]);
        assert_eq!(got["LastModifiedTime"], created["CreationTime"]);
    }

    #[tokio::test]
    async fn what_there_is_not() {
        let harness = Harness::with_hello().await;
        for path in [PATH, "/2021-10-31/functions/nobody/url", &format!("{PATH}?Qualifier=x")] {
            let reply = harness.get(path).await;
            assert_eq!((reply.status, reply.code().as_str()), (404, "ResourceNotFoundException"));
            assert_eq!(reply.message(), "The resource you requested does not exist.");
        }
    }
}
