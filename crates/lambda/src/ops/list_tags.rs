//! The tags of a function or a code signing configuration.
//!
//! ```text
//! GET /2017-03-31/tags/arn%3Aaws%3Alambda%3Aus-east-1%3A000000000000%3Afunction%3Ahello
//!
//! 200
//! {"Tags": {"team": "blue"}}
//! ```

use lambic_front::{Cx, Serve};
use lambic_model_lambda as model;
use lambic_model_lambda::{ListTagsRequest, ListTagsResponse};
use lambic_wire::{Arn, Error};

use super::tags::{parse, tags};
use crate::Lambda;

/// The operation.
pub struct ListTags;

impl Serve for ListTags {
    type Service = Lambda;
    type Operation = model::ops::ListTags;

    fn resource(cx: &Cx<'_, Lambda>, input: &ListTagsRequest) -> Arn {
        parse(cx, &input.resource)
    }

    async fn run(cx: &Cx<'_, Lambda>, input: ListTagsRequest) -> Result<ListTagsResponse, Error> {
        Ok(ListTagsResponse { tags: Some(tags(cx, &input.resource, None).await?) })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::ops::testing::{Harness, documented};

    #[tokio::test]
    async fn as_documented() {
        let harness = Harness::with_hello().await;
        harness.check(&documented(include_str!("list_tags.rs"))).await;
    }

    #[tokio::test]
    async fn none_and_nowhere() {
        let harness = Harness::with_hello().await;
        let arn = "/2017-03-31/tags/arn:aws:lambda:us-east-1:000000000000:function:hello";
        harness.delete(&format!("{arn}?tagKeys=team")).await;
        assert_eq!(harness.get(arn).await.json(), json!({"Tags": {}}));
        let reply = harness.get(&format!("{arn}:live")).await;
        assert!(reply.message().starts_with("Tags on function aliases"), "{}", reply.message());
        let reply = harness.get(&arn.replace("hello", "none")).await;
        assert_eq!(
            (reply.status, reply.message().as_str()),
            (404, "Function not found: arn:aws:lambda:us-east-1:000000000000:function:none")
        );
        let elsewhere = harness.get(&arn.replace("us-east-1", "eu-west-1")).await;
        assert_eq!(
            elsewhere.message(),
            "Functions from 'eu-west-1' are not reachable in this region ('us-east-1')"
        );
    }
}
