//! Deletes an event source mapping. It answers `Deleting`, and the mapping is gone a moment later.
//!
//! ```text
//! DELETE /2015-03-31/event-source-mappings/11111111-2222-4333-8444-555555555555
//!
//! 202
//! {"UUID": "11111111-2222-4333-8444-555555555555", "BatchSize": 10,
//!  "EventSourceMappingArn":
//!    "arn:aws:lambda:us-east-1:000000000000:event-source-mapping:11111111-2222-4333-8444-555555555555",
//!  "MaximumBatchingWindowInSeconds": 0, "EventSourceArn": "arn:aws:sqs:us-east-1:000000000000:q",
//!  "FunctionArn": "arn:aws:lambda:us-east-1:000000000000:function:hello", "LastModified": 0,
//!  "State": "Deleting", "StateTransitionReason": "USER_INITIATED", "FunctionResponseTypes": []}
//! ```

use lambic_front::{Cx, Serve};
use lambic_model_lambda as model;
use lambic_model_lambda::{DeleteEventSourceMappingRequest, EventSourceMappingConfiguration};
use lambic_store::Transaction;
use lambic_wire::{Arn, Error};

use super::change::{EDIT_ATTEMPTS_MAX, settle_at, write};
use super::mapping::{check_free, read, resource, show};
use crate::Lambda;
use crate::limits::too_many_changes;
use crate::state::mapping::MappingChange;

/// The operation.
pub struct DeleteEventSourceMapping;

impl Serve for DeleteEventSourceMapping {
    type Service = Lambda;
    type Operation = model::ops::DeleteEventSourceMapping;

    fn resource(cx: &Cx<'_, Lambda>, input: &DeleteEventSourceMappingRequest) -> Arn {
        resource(cx, &input.uuid)
    }

    async fn run(
        cx: &Cx<'_, Lambda>,
        input: DeleteEventSourceMappingRequest,
    ) -> Result<EventSourceMappingConfiguration, Error> {
        for _ in 0..EDIT_ATTEMPTS_MAX {
            let (stored, state) = read(cx, &input.uuid).await?;
            check_free(state, "delete")?;
            let mut next = stored.value.clone();
            next.change = MappingChange::Deleted;
            next.settle_at_micros = settle_at(cx).micros();
            let mut transaction = Transaction::new();
            transaction.replace(&stored, &next);
            if write(cx, transaction).await?.is_some() {
                return Ok(show(&next, next.changing()));
            }
        }
        Err(too_many_changes())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::ops::testing::{Harness, documented};
    use crate::state::mapping::{MappingRecord, SourceClaim};
    use crate::tasks::mappings::remove_deleted;

    const PATH: &str = "/2015-03-31/event-source-mappings";

    #[tokio::test]
    async fn as_documented() {
        let harness = Harness::with_mapping().await;
        harness.check(&documented(include_str!("delete_event_source_mapping.rs"))).await;
    }

    #[tokio::test]
    async fn it_goes_and_its_source_is_free() {
        let harness = Harness::with_hello().await;
        let made = harness.map_queue("q").await;
        let path = format!("{PATH}/{}", made["UUID"].as_str().unwrap());
        let reply = harness.delete(&path).await;
        let mut expected = made.clone();
        expected["State"] = json!("Deleting");
        assert_eq!((reply.status, reply.json()), (202, expected));
        for reply in [harness.get(&path).await, harness.delete(&path).await] {
            assert_eq!((reply.status, reply.code().as_str()), (404, "ResourceNotFoundException"));
        }
        assert_eq!(harness.get(PATH).await.json(), json!({"EventSourceMappings": []}));
        // Its record is still there, and in nobody's way.
        let again = harness.map_queue("q").await;
        let lambda = &harness.lambda;
        let removed = remove_deleted(&lambda.store, &lambic_rt::Rt::real()).await;
        assert_eq!(removed, Ok(1));
        let claims = lambda.store.table::<SourceClaim>().list(&[], None, 9).await.unwrap();
        assert_eq!(claims.len(), 1);
        assert_eq!(claims[0].value.uuid, again["UUID"].as_str().unwrap());
        let mappings = lambda.store.table::<MappingRecord>().list(&[], None, 9).await.unwrap();
        assert_eq!(mappings.len(), 1);
    }

    #[tokio::test]
    async fn a_mapping_outlives_its_function() {
        let harness = Harness::with_hello().await;
        let made = harness.map_queue("q").await;
        let path = format!("{PATH}/{}", made["UUID"].as_str().unwrap());
        assert_eq!(harness.delete("/2015-03-31/functions/hello").await.status, 204);
        assert_eq!(harness.get(&path).await.json()["FunctionArn"], made["FunctionArn"]);
        assert_eq!(harness.put(&path, &json!({"BatchSize": 1})).await.status, 202);
        assert_eq!(harness.delete(&path).await.status, 202);
        assert_eq!(harness.get(&path).await.status, 404);
    }
}
