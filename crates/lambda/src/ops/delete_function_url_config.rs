//! Takes a function's URL away. It is gone for good: the next one has another name.
//!
//! ```text
//! DELETE /2021-10-31/functions/hello/url
//!
//! 204
//! ```

use lambic_front::{Cx, Serve};
use lambic_model_lambda as model;
use lambic_model_lambda::DeleteFunctionUrlConfigRequest;
use lambic_wire::{Arn, Error};

use super::change::edit;
use super::function_urls::{key, no_url, or, resolve};
use crate::Lambda;
use crate::names;

/// The operation.
pub struct DeleteFunctionUrlConfig;

impl Serve for DeleteFunctionUrlConfig {
    type Service = Lambda;
    type Operation = model::ops::DeleteFunctionUrlConfig;

    fn resource(cx: &Cx<'_, Lambda>, input: &DeleteFunctionUrlConfigRequest) -> Arn {
        let qualifier = input.qualifier.as_deref();
        names::qualified_resource(cx.account, cx.region, &input.function_name, qualifier)
    }

    async fn run(cx: &Cx<'_, Lambda>, input: DeleteFunctionUrlConfigRequest) -> Result<(), Error> {
        let target = resolve(cx, &input.function_name, input.qualifier.as_deref())?;
        let deleted = edit(cx, &target, |record| {
            let settings = record.qualified.get_mut(key(&target)).ok_or_else(no_url)?;
            settings.url.take().map(|_| ()).ok_or_else(no_url)
        });
        deleted.await.map_err(or(no_url))?;
        Ok(())
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
        let body = json!({"AuthType": "NONE"});
        let first = harness.post(PATH, &body).await.json();
        harness.check(&documented(include_str!("delete_function_url_config.rs"))).await;
        let reply = harness.delete(PATH).await;
        assert_eq!(reply.status, 404);
        assert_eq!(reply.message(), "The resource you requested does not exist.");
        assert_eq!(harness.get(PATH).await.status, 404);
        let second = harness.post(PATH, &body).await.json();
        assert_ne!(first["FunctionUrl"], second["FunctionUrl"]);
    }

    #[tokio::test]
    async fn it_goes_with_its_function() {
        let harness = Harness::with_hello().await;
        let url = harness.post(PATH, &json!({"AuthType": "NONE"})).await.json();
        let id = url["FunctionUrl"].as_str().unwrap()["http://".len()..][..32].to_owned();
        assert!(harness.lambda.catalog.url(&id).is_some());
        harness.delete("/2015-03-31/functions/hello").await;
        assert!(harness.lambda.catalog.url(&id).is_none());
        harness.create("hello").await;
        assert_eq!(harness.get(PATH).await.status, 404);
    }
}
