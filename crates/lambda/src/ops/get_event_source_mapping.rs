//! One event source mapping.
//!
//! ```text
//! GET /2015-03-31/event-source-mappings/11111111-2222-4333-8444-555555555555
//!
//! 200
//! {"UUID": "11111111-2222-4333-8444-555555555555", "BatchSize": 10,
//!  "EventSourceMappingArn":
//!    "arn:aws:lambda:us-east-1:000000000000:event-source-mapping:11111111-2222-4333-8444-555555555555",
//!  "MaximumBatchingWindowInSeconds": 0, "EventSourceArn": "arn:aws:sqs:us-east-1:000000000000:q",
//!  "FunctionArn": "arn:aws:lambda:us-east-1:000000000000:function:hello", "LastModified": 0,
//!  "State": "Disabled", "StateTransitionReason": "USER_INITIATED", "FunctionResponseTypes": []}
//! ```

use lambic_front::{Cx, Serve};
use lambic_model_lambda as model;
use lambic_model_lambda::{EventSourceMappingConfiguration, GetEventSourceMappingRequest};
use lambic_wire::{Arn, Error};

use super::mapping::{read, resource, show};
use crate::Lambda;

/// The operation.
pub struct GetEventSourceMapping;

impl Serve for GetEventSourceMapping {
    type Service = Lambda;
    type Operation = model::ops::GetEventSourceMapping;

    fn resource(cx: &Cx<'_, Lambda>, input: &GetEventSourceMappingRequest) -> Arn {
        resource(cx, &input.uuid)
    }

    async fn run(
        cx: &Cx<'_, Lambda>,
        input: GetEventSourceMappingRequest,
    ) -> Result<EventSourceMappingConfiguration, Error> {
        let (stored, state) = read(cx, &input.uuid).await?;
        Ok(show(&stored.value, state))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::ops::testing::{Harness, documented};

    #[tokio::test]
    async fn as_documented() {
        let harness = Harness::with_mapping().await;
        harness.check(&documented(include_str!("get_event_source_mapping.rs"))).await;
        let other = "/2015-03-31/event-source-mappings/00000000-0000-4000-8000-000000000000";
        let none = harness.get(other).await;
        assert_eq!((none.status, none.code().as_str()), (404, "ResourceNotFoundException"));
        let text = "The resource you requested does not exist.";
        assert_eq!(none.json(), json!({"Type": "User", "Message": text}));
        let short = harness.get("/2015-03-31/event-source-mappings/short").await;
        assert_eq!((short.status, short.code().as_str()), (400, "ValidationException"));
    }

    #[tokio::test]
    async fn what_was_created() {
        let harness = Harness::with_hello().await;
        let made = harness.map_queue("q").await;
        let path = format!("/2015-03-31/event-source-mappings/{}", made["UUID"].as_str().unwrap());
        let mut expected = made.clone();
        expected["State"] = json!("Disabled");
        let shown = harness.get(&path).await;
        assert_eq!((shown.status, shown.json()), (200, expected));
        let elsewhere = harness.in_region("eu-west-1").get(&path).await;
        assert_eq!(elsewhere.status, 404);
    }
}
