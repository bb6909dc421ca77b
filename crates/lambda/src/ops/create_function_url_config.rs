//! Gives a function, or one of its aliases, a URL. Whom it lets in is up to `AuthType` and the
//! function's policy: without a statement that allows it, nobody.
//!
//! ```text
//! POST /2021-10-31/functions/hello/url
//! {"AuthType": "NONE", "Cors": {"AllowOrigins": ["https://example.com"], "MaxAge": 300}}
//!
//! 201
//! {"FunctionUrl": "<any>", "AuthType": "NONE", "CreationTime": "<any>",
//!  "FunctionArn": "arn:aws:lambda:us-east-1:000000000000:function:hello",
//!  "Cors": {"AllowOrigins": ["https://example.com"], "MaxAge": 300}}
//! ```

use lambic_front::{Cx, Serve};
use lambic_model_lambda as model;
use lambic_model_lambda::{CreateFunctionUrlConfigRequest, CreateFunctionUrlConfigResponse};
use lambic_wire::{Arn, Error};

use super::change::edit;
use super::function_urls::{auth, cors, exists, invoke_mode, key, no_function, or, resolve, show};
use crate::Lambda;
use crate::names;
use crate::state::function_url::{FunctionUrl, new_id};

/// The operation.
pub struct CreateFunctionUrlConfig;

impl Serve for CreateFunctionUrlConfig {
    type Service = Lambda;
    type Operation = model::ops::CreateFunctionUrlConfig;

    fn resource(cx: &Cx<'_, Lambda>, input: &CreateFunctionUrlConfigRequest) -> Arn {
        let qualifier = input.qualifier.as_deref();
        names::qualified_resource(cx.account, cx.region, &input.function_name, qualifier)
    }

    async fn run(
        cx: &Cx<'_, Lambda>,
        input: CreateFunctionUrlConfigRequest,
    ) -> Result<CreateFunctionUrlConfigResponse, Error> {
        let target = resolve(cx, &input.function_name, input.qualifier.as_deref())?;
        let now = cx.rt.now().micros();
        let url = FunctionUrl {
            id: new_id(cx.rt),
            auth: auth(&input.auth_type),
            cors: input.cors.and_then(cors),
            invoke_mode: input.invoke_mode.as_ref().map(invoke_mode),
            created_micros: now,
            last_modified_micros: now,
        };
        let created = edit(cx, &target, |record| {
            if !record.has(key(&target)) {
                return Err(no_function());
            }
            let settings = record.qualified.entry(key(&target).to_owned()).or_default();
            if settings.url.is_some() {
                return Err(exists(&target));
            }
            settings.url = Some(url.clone());
            Ok(())
        });
        created.await.map_err(or(no_function))?;
        let shown = show(cx, &target, &url);
        Ok(CreateFunctionUrlConfigResponse {
            function_url: shown.function_url,
            function_arn: shown.function_arn,
            auth_type: shown.auth_type,
            cors: shown.cors,
            creation_time: shown.creation_time,
            invoke_mode: input.invoke_mode,
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::ops::testing::{Harness, Reply, documented};

    const PATH: &str = "/2021-10-31/functions/hello/url";

    async fn create(harness: &Harness, path: &str, more: Value) -> Reply {
        let mut body = json!({"AuthType": "NONE"});
        for (name, value) in more.as_object().unwrap() {
            body[name] = value.clone();
        }
        harness.post(path, &body).await
    }

    #[tokio::test]
    async fn as_documented() {
        let harness = Harness::with_hello().await;
        harness.check(&documented(include_str!("create_function_url_config.rs"))).await;
        let reply = create(&harness, PATH, json!({})).await;
        assert_eq!((reply.status, reply.code().as_str()), (409, "ResourceConflictException"));
        assert_eq!(
            reply.message(),
            "Failed to create function url config for [functionArn = \
             arn:aws:lambda:us-east-1:000000000000:function:hello]. Error message:  \
             FunctionUrlConfig exists for this Lambda function"
        );
    }

    #[tokio::test]
    async fn the_url_has_the_form_of_aws_s() {
        let harness = Harness::with_hello().await;
        let reply = create(&harness, PATH, json!({"InvokeMode": "RESPONSE_STREAM"})).await.json();
        let url = reply["FunctionUrl"].as_str().unwrap();
        let id = url.strip_prefix("http://").unwrap();
        let id = id.strip_suffix(".lambda-url.us-east-1.localhost:4566/").unwrap();
        assert_eq!(id.len(), 32);
        assert_eq!(reply["InvokeMode"], "RESPONSE_STREAM");
        assert_eq!(reply["CreationTime"].as_str().unwrap().len(), 27);
        let found = harness.lambda.catalog.url(id).unwrap();
        assert!(found.qualified_arn().ends_with(":function:hello"));
    }

    #[tokio::test]
    async fn whom_there_is_not() {
        let harness = Harness::with_hello().await;
        for path in ["/2021-10-31/functions/nobody/url", &format!("{PATH}?Qualifier=nobody")] {
            let reply = create(&harness, path, json!({})).await;
            assert_eq!((reply.status, reply.message().as_str()), (404, "Function does not exist"));
            assert_eq!(
                (reply.json()["Type"].clone(), reply.json().get("Message").is_some()),
                (json!("User"), true)
            );
        }
        let other = "/2021-10-31/functions/arn:aws:lambda:eu-west-1:000000000000:function:f/url";
        let reply = create(&harness, other, json!({})).await;
        assert!(reply.message().starts_with("Functions from 'eu-west-1' are not reachable"));
    }

    #[tokio::test]
    async fn versions_have_none() {
        let harness = Harness::with_hello().await;
        for qualifier in ["$LATEST", "1"] {
            let path = format!("{PATH}?Qualifier={qualifier}");
            let reply = create(&harness, &path, json!({})).await;
            assert_eq!((reply.status, reply.code().as_str()), (400, "ValidationException"));
            assert_eq!(
                reply.message(),
                format!(
                    "1 validation error detected: Value '{qualifier}' at 'qualifier' failed to \
                     satisfy constraint: Member must satisfy regular expression pattern: \
                     ((?!^\\d+$)^[0-9a-zA-Z-_]+$)"
                )
            );
            let path = format!("/2021-10-31/functions/hello:{qualifier}/url");
            let reply = create(&harness, &path, json!({})).await;
            assert_eq!((reply.status, reply.code().as_str()), (400, "ValidationException"));
            assert!(reply.message().contains("at 'functionName'"), "{}", reply.message());
        }
    }

    #[tokio::test]
    async fn values_that_are_none() {
        let harness = Harness::with_hello().await;
        for (more, expect) in [
            (
                json!({"InvokeMode": "UNKNOWN"}),
                "Value 'UNKNOWN' at 'invokeMode' failed to satisfy constraint: Member must satisfy \
                 enum value set: [RESPONSE_STREAM, BUFFERED]",
            ),
            (json!({"AuthType": "IAM"}), "Value 'IAM' at 'authType' failed to satisfy"),
            (json!({"Cors": {"MaxAge": 86_401}}), "Value '86401' at 'cors.maxAge' failed to"),
            (json!({"Cors": {"AllowMethods": ["OPTIONS"]}}), "at 'cors.allowMethods' failed"),
            (json!({"Cors": {"AllowOrigins": [""]}}), "at 'cors.allowOrigins' failed"),
        ] {
            let reply = create(&harness, PATH, more).await;
            assert_eq!((reply.status, reply.code().as_str()), (400, "ValidationException"));
            assert!(reply.message().contains(expect), "{}", reply.message());
        }
        let reply = harness.post(PATH, &json!({})).await;
        assert!(reply.message().contains("at 'authType' failed"), "{}", reply.message());
    }
}
