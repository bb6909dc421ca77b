//! Takes tags away from a function or a code signing configuration; keys that it does not have do not
//! matter.
//!
//! ```text
//! DELETE /2017-03-31/tags/arn%3Aaws%3Alambda%3Aus-east-1%3A000000000000%3Afunction%3Ahello?tagKeys=team&tagKeys=none
//!
//! 204
//! ```

use lambic_front::{Cx, Serve};
use lambic_model_lambda as model;
use lambic_model_lambda::UntagResourceRequest;
use lambic_wire::{Arn, Error};

use super::tags::{Change, parse, tags};
use crate::Lambda;

/// The operation.
pub struct UntagResource;

impl Serve for UntagResource {
    type Service = Lambda;
    type Operation = model::ops::UntagResource;

    fn resource(cx: &Cx<'_, Lambda>, input: &UntagResourceRequest) -> Arn {
        parse(cx, &input.resource)
    }

    async fn run(cx: &Cx<'_, Lambda>, input: UntagResourceRequest) -> Result<(), Error> {
        tags(cx, &input.resource, Some(&Change::Remove(input.tag_keys))).await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::ops::testing::{Harness, documented};

    #[tokio::test]
    async fn as_documented() {
        let harness = Harness::with_hello().await;
        harness.check(&documented(include_str!("untag_resource.rs"))).await;
        let function = harness.get("/2015-03-31/functions/hello").await.json();
        assert!(function.get("Tags").is_none(), "{function}");
    }

    #[tokio::test]
    async fn what_is_refused() {
        let harness = Harness::with_hello().await;
        let path = |name: &str, query: &str| {
            format!("/2017-03-31/tags/arn:aws:lambda:us-east-1:000000000000:function:{name}{query}")
        };
        let reply = harness.delete(&path("hello", "")).await;
        assert_eq!(
            (reply.status, reply.message().as_str()),
            (
                400,
                "1 validation error detected: Value null at 'tagKeys' failed to satisfy \
                 constraint: Member must not be null"
            )
        );
        let reply = harness.delete(&path("hello:1", "?tagKeys=a")).await;
        assert!(reply.message().starts_with("Tags on function aliases"), "{}", reply.message());
        let reply = harness.delete(&path("none", "?tagKeys=a")).await;
        assert_eq!((reply.status, reply.code().as_str()), (404, "ResourceNotFoundException"));
    }
}
