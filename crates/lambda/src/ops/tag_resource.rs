//! Adds tags to a function or a code signing configuration. A function's RevisionId changes.
//!
//! ```text
//! POST /2017-03-31/tags/arn%3Aaws%3Alambda%3Aus-east-1%3A000000000000%3Afunction%3Ahello
//! {"Tags": {"team": "red", "cost": "7"}}
//!
//! 204
//! ```

use lambic_front::{Cx, Serve};
use lambic_model_lambda as model;
use lambic_model_lambda::TagResourceRequest;
use lambic_wire::{Arn, Error};

use super::tags::{Change, parse, tags};
use crate::Lambda;

/// The operation.
pub struct TagResource;

impl Serve for TagResource {
    type Service = Lambda;
    type Operation = model::ops::TagResource;

    fn resource(cx: &Cx<'_, Lambda>, input: &TagResourceRequest) -> Arn {
        parse(cx, &input.resource)
    }

    async fn run(cx: &Cx<'_, Lambda>, input: TagResourceRequest) -> Result<(), Error> {
        let change = Change::put(input.tags)?;
        tags(cx, &input.resource, Some(&change)).await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::ops::testing::{Harness, documented};

    const FUNCTION: &str = "/2017-03-31/tags/arn:aws:lambda:us-east-1:000000000000:function:hello";

    #[tokio::test]
    async fn as_documented() {
        let harness = Harness::with_hello().await;
        let before = harness.get("/2015-03-31/functions/hello").await.json();
        harness.check(&documented(include_str!("tag_resource.rs"))).await;
        let after = harness.get("/2015-03-31/functions/hello").await.json();
        assert_eq!(after["Tags"], json!({"team": "red", "cost": "7"}));
        let revision = |reply: &serde_json::Value| {
            reply["Configuration"]["RevisionId"].as_str().unwrap().to_owned()
        };
        assert_ne!(revision(&before), revision(&after));
        assert_eq!(before["Configuration"]["LastModified"], after["Configuration"]["LastModified"]);
    }

    #[tokio::test]
    async fn what_is_refused() {
        let harness = Harness::with_hello().await;
        let arn =
            |rest: &str| format!("/2017-03-31/tags/arn:aws:lambda:us-east-1:000000000000:{rest}");
        let some = json!({"Tags": {"a": "b"}});
        let many: serde_json::Map<_, _> =
            (0..50).map(|number| (format!("t{number}"), json!("v"))).collect();
        let invalid = "400 InvalidParameterValueException: ";
        let qualified = format!(
            "{invalid}Tags on function aliases and versions are not supported. Please specify a \
             function ARN."
        );
        let mapping = "event-source-mapping:01234567-89ab-cdef-0123-456789abcdef";
        let cases = [
            (arn("function:hello:1"), some.clone(), qualified.clone()),
            (arn("function:hello:live"), some.clone(), qualified.clone()),
            (arn("function:hello:$LATEST"), some.clone(), qualified),
            (
                FUNCTION.to_owned(),
                json!({"Tags": {}}),
                format!("{invalid}An error occurred and the request cannot be processed."),
            ),
            (
                FUNCTION.to_owned(),
                json!({"Tags": {"aws:x": "y"}}),
                format!("{invalid}aws: prefixed tag key names are not allowed for external use."),
            ),
            (
                FUNCTION.to_owned(),
                json!({"Tags": many}),
                format!("{invalid}Number of tags exceeds resource tag limit."),
            ),
            (
                arn("function:none"),
                some.clone(),
                "404 ResourceNotFoundException: Function not found: \
                 arn:aws:lambda:us-east-1:000000000000:function:none"
                    .to_owned(),
            ),
            (
                arn(mapping),
                some.clone(),
                format!(
                    "404 ResourceNotFoundException: Event source mapping not found: \
                     arn:aws:lambda:us-east-1:000000000000:{mapping}"
                ),
            ),
            (
                arn("capacity-provider:cp"),
                some.clone(),
                "404 ResourceNotFoundException: Capacity provider not found: \
                 arn:aws:lambda:us-east-1:000000000000:capacity-provider:cp"
                    .to_owned(),
            ),
            (
                arn("layer:shared"),
                some.clone(),
                format!(
                    "{invalid}Tags on this resource are not supported: \
                     arn:aws:lambda:us-east-1:000000000000:layer:shared"
                ),
            ),
        ];
        for (path, body, expected) in cases {
            let reply = harness.post(&path, &body).await;
            let got = format!("{} {}: {}", reply.status, reply.code(), reply.message());
            assert_eq!(got, expected, "{path} {body}");
        }
        let theirs = "/2017-03-31/tags/arn:aws:lambda:us-east-1:111111111111:function:hello";
        assert_eq!(harness.post(theirs, &some).await.code(), "AccessDeniedException");
        let malformed = harness.post("/2017-03-31/tags/arn:aws:something", &some).await;
        assert_eq!((malformed.status, malformed.code().as_str()), (400, "ValidationException"));
        let unchanged = harness.get("/2015-03-31/functions/hello").await.json();
        assert_eq!(unchanged["Tags"], json!({"team": "blue"}));
    }

    #[tokio::test]
    async fn many_at_once_are_all_added() {
        let harness = Harness::with_hello().await;
        let adds = (0..32).map(|number| {
            let body = json!({"Tags": {format!("t{number}"): "v"}});
            let harness = &harness;
            async move { harness.post(FUNCTION, &body).await.status }
        });
        let statuses = futures_util::future::join_all(adds).await;
        assert!(statuses.iter().all(|status| *status == 204), "{statuses:?}");
        let tags = harness.get(FUNCTION).await.json();
        assert_eq!(tags["Tags"].as_object().unwrap().len(), 33);
    }
}
