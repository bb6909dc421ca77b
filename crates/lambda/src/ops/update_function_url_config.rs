//! Changes what is set about a function's URL; the URL itself stays. An empty `Cors` takes it away.
//!
//! ```text
//! PUT /2021-10-31/functions/hello/url
//! {"AuthType": "AWS_IAM"}
//!
//! 200
//! {"FunctionUrl": "<any>", "AuthType": "AWS_IAM",
//!  "FunctionArn": "arn:aws:lambda:us-east-1:000000000000:function:hello",
//!  "CreationTime": "<any>", "LastModifiedTime": "<any>"}
//! ```

use lambic_front::{Cx, Serve};
use lambic_model_lambda as model;
use lambic_model_lambda::{UpdateFunctionUrlConfigRequest, UpdateFunctionUrlConfigResponse};
use lambic_wire::{Arn, Error};

use super::change::edit;
use super::function_urls::{auth, cors, invoke_mode, no_url, or, resolve, show, show_mode, url_of};
use crate::Lambda;
use crate::names;

/// The operation.
pub struct UpdateFunctionUrlConfig;

impl Serve for UpdateFunctionUrlConfig {
    type Service = Lambda;
    type Operation = model::ops::UpdateFunctionUrlConfig;

    fn resource(cx: &Cx<'_, Lambda>, input: &UpdateFunctionUrlConfigRequest) -> Arn {
        let qualifier = input.qualifier.as_deref();
        names::qualified_resource(cx.account, cx.region, &input.function_name, qualifier)
    }

    async fn run(
        cx: &Cx<'_, Lambda>,
        input: UpdateFunctionUrlConfigRequest,
    ) -> Result<UpdateFunctionUrlConfigResponse, Error> {
        let target = resolve(cx, &input.function_name, input.qualifier.as_deref())?;
        let given_cors = input.cors.map(cors);
        let now = cx.rt.now().micros();
        let updated = edit(cx, &target, |record| {
            let url = url_of(record, &target)?;
            if let Some(given) = &input.auth_type {
                url.auth = auth(given);
            }
            if let Some(given) = &given_cors {
                url.cors.clone_from(given);
            }
            if let Some(given) = &input.invoke_mode {
                url.invoke_mode = Some(invoke_mode(given));
            }
            url.last_modified_micros = now;
            Ok(url.clone())
        });
        let (_, url) = updated.await.map_err(or(no_url))?;
        let shown = show(cx, &target, &url);
        Ok(UpdateFunctionUrlConfigResponse {
            function_url: shown.function_url,
            function_arn: shown.function_arn,
            auth_type: shown.auth_type,
            cors: shown.cors,
            creation_time: shown.creation_time,
            last_modified_time: shown.last_modified_time,
            invoke_mode: show_mode(&url),
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
        harness.check(&documented(include_str!("update_function_url_config.rs"))).await;
        let got = harness.get(PATH).await.json();
        assert_eq!(got["FunctionUrl"], created["FunctionUrl"]);
        assert_eq!(got["AuthType"], "AWS_IAM");
        assert_eq!(got["InvokeMode"], "BUFFERED");
        assert!(got["LastModifiedTime"].as_str() > got["CreationTime"].as_str());
    }

    #[tokio::test]
    async fn what_is_not_given_stays() {
        let harness = Harness::with_hello().await;
        let cors = json!({"AllowOrigins": ["*"], "AllowCredentials": false});
        let body = json!({"AuthType": "AWS_IAM", "Cors": cors, "InvokeMode": "BUFFERED"});
        harness.post(PATH, &body).await;
        let reply = harness.put(PATH, &json!({"InvokeMode": "RESPONSE_STREAM"})).await.json();
        assert_eq!(reply["InvokeMode"], "RESPONSE_STREAM");
        let reply = harness.put(PATH, &json!({})).await.json();
        assert_eq!(reply["InvokeMode"], "RESPONSE_STREAM");
        assert_eq!((&reply["AuthType"], &reply["Cors"]), (&json!("AWS_IAM"), &cors));
        let reply = harness.put(PATH, &json!({"Cors": {}})).await.json();
        assert!(reply.get("Cors").is_none());
        assert!(harness.get(PATH).await.json().get("Cors").is_none());
    }

    #[tokio::test]
    async fn what_there_is_not() {
        let harness = Harness::with_hello().await;
        for path in [PATH, "/2021-10-31/functions/nobody/url", &format!("{PATH}?Qualifier=x")] {
            let reply = harness.put(path, &json!({"AuthType": "NONE"})).await;
            assert_eq!(reply.status, 404);
            assert_eq!(reply.message(), "The resource you requested does not exist.");
        }
    }
}
