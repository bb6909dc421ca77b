//! A function with its tags and a link to its package, good for ten minutes.
//!
//! ```text
//! GET /2015-03-31/functions/hello
//!
//! 200
//! {"Configuration": "<any>",
//!  "Code": {"RepositoryType": "S3", "Location": "<any>"},
//!  "Tags": {"team": "blue"}}
//! ```

use lambic_front::{Cx, Serve};
use lambic_model_lambda as model;
use lambic_model_lambda::{
    Concurrency, FunctionCodeLocation, GetFunctionRequest, GetFunctionResponse,
};
use lambic_wire::{Arn, Error};

use super::qualifier::shown;
use crate::Lambda;
use crate::names;

/// The operation.
pub struct GetFunction;

impl Serve for GetFunction {
    type Service = Lambda;
    type Operation = model::ops::GetFunction;

    fn resource(cx: &Cx<'_, Lambda>, input: &GetFunctionRequest) -> Arn {
        let qualifier = input.qualifier.as_deref();
        names::qualified_resource(cx.account, cx.region, &input.function_name, qualifier)
    }

    async fn run(
        cx: &Cx<'_, Lambda>,
        input: GetFunctionRequest,
    ) -> Result<GetFunctionResponse, Error> {
        let qualifier = input.qualifier.as_deref();
        let target = names::resolve(cx.account, cx.region, &input.function_name, qualifier)?;
        let (function, shown, code) = shown(cx, &target).await?;
        let record = &function.stored.value;
        let link = cx.service.links.link(cx.endpoint, &code.sha256);
        Ok(GetFunctionResponse {
            configuration: Some(shown),
            code: Some(FunctionCodeLocation {
                repository_type: Some("S3".to_owned()),
                location: Some(link),
                ..FunctionCodeLocation::default()
            }),
            concurrency: record.reserved_concurrency.map(|reserved| Concurrency {
                reserved_concurrent_executions: Some(reserved as i32),
            }),
            tags: Some(record.tags.clone()).filter(|tags| !tags.is_empty()),
            ..GetFunctionResponse::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use crate::ops::testing::{Harness, documented, zip};

    #[tokio::test]
    async fn as_documented() {
        let harness = Harness::with_hello().await;
        harness.check(&documented(include_str!("get_function.rs"))).await;
    }

    #[tokio::test]
    async fn the_link_gives_the_zip_that_was_sent() {
        let harness = Harness::with_hello().await;
        let reply = harness.get("/2015-03-31/functions/hello").await.json();
        let link = reply["Code"]["Location"].as_str().unwrap();
        assert_eq!(harness.download(link).await, zip());
    }
}
