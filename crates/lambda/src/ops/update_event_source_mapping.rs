//! Changes an event source mapping; members that are not given stay as they are. It answers `Updating`
//! and is `Disabled` again a moment later.
//!
//! ```text
//! PUT /2015-03-31/event-source-mappings/11111111-2222-4333-8444-555555555555
//! {"BatchSize": 5}
//!
//! 202
//! {"UUID": "11111111-2222-4333-8444-555555555555", "BatchSize": 5,
//!  "EventSourceMappingArn":
//!    "arn:aws:lambda:us-east-1:000000000000:event-source-mapping:11111111-2222-4333-8444-555555555555",
//!  "MaximumBatchingWindowInSeconds": 0, "EventSourceArn": "arn:aws:sqs:us-east-1:000000000000:q",
//!  "FunctionArn": "arn:aws:lambda:us-east-1:000000000000:function:hello", "LastModified": "<any>",
//!  "State": "Updating", "StateTransitionReason": "USER_INITIATED", "FunctionResponseTypes": []}
//! ```

use lambic_front::{Cx, Serve};
use lambic_model_lambda as model;
use lambic_model_lambda::{EventSourceMappingConfiguration, UpdateEventSourceMappingRequest};
use lambic_store::Transaction;
use lambic_wire::{Arn, Error};

use super::change::{EDIT_ATTEMPTS_MAX, settle_at, write};
use super::mapping::{check_free, claim, function, read, refuse_enabled, release, resource, show};
use super::mapping_settings::{apply, check, of_update, refuse_unsupported, unsupported};
use super::mapping_source::consumer_group;
use crate::Lambda;
use crate::limits::too_many_changes;
use crate::state::mapping::MappingChange;

/// The operation.
pub struct UpdateEventSourceMapping;

impl Serve for UpdateEventSourceMapping {
    type Service = Lambda;
    type Operation = model::ops::UpdateEventSourceMapping;

    fn resource(cx: &Cx<'_, Lambda>, input: &UpdateEventSourceMappingRequest) -> Arn {
        resource(cx, &input.uuid)
    }

    async fn run(
        cx: &Cx<'_, Lambda>,
        input: UpdateEventSourceMappingRequest,
    ) -> Result<EventSourceMappingConfiguration, Error> {
        let uuid = input.uuid.clone();
        let given = of_update(input);
        for _ in 0..EDIT_ATTEMPTS_MAX {
            let (stored, state) = read(cx, &uuid).await?;
            let mut next = stored.value.clone();
            refuse_unsupported(next.source.kind, &given)?;
            let group = consumer_group(&given);
            if group.is_some() && group != next.source.consumer_group.as_ref() {
                // It is chosen once.
                return Err(unsupported("consumerGroupId"));
            }
            apply(next.source.kind, &mut next.settings, &given)?;
            check(&next.source, &next.settings)?;
            if !given.function_name.is_empty() {
                let target = function(cx, &given.function_name)?;
                (next.function_name, next.qualifier) = (target.name, target.qualifier);
            }
            check_free(state, "update")?;
            let mut transaction = Transaction::new();
            claim(cx, &next, &stored.value.claims(), &mut transaction).await?;
            release(cx, &stored.value, &next, &mut transaction);
            refuse_enabled(given.enabled == Some(true))?;
            next.change = MappingChange::Updated;
            next.settle_at_micros = settle_at(cx).micros();
            next.last_modified_micros = cx.rt.now().micros();
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
    use serde_json::{Value, json};

    use crate::ops::testing::{Harness, documented};

    const PATH: &str = "/2015-03-31/event-source-mappings";

    #[tokio::test]
    async fn as_documented() {
        let harness = Harness::with_mapping().await;
        harness.check(&documented(include_str!("update_event_source_mapping.rs"))).await;
    }

    #[tokio::test]
    async fn what_is_given_changes_and_the_rest_stays() {
        let harness = Harness::with_hello().await;
        let made = harness.map_queue("q").await;
        let path = format!("{PATH}/{}", made["UUID"].as_str().unwrap());
        let filter = json!({"Filters": [{"Pattern": "{\"body\": {\"a\": [1]}}"}]});
        let steps = [
            ("BatchSize", json!(7)),
            ("FilterCriteria", filter),
            ("FunctionResponseTypes", json!(["ReportBatchItemFailures"])),
            ("ScalingConfig", json!({"MaximumConcurrency": 5})),
            ("MetricsConfig", json!({"Metrics": ["EventCount"]})),
            ("MaximumBatchingWindowInSeconds", json!(3)),
        ];
        let mut expected = made.clone();
        for (member, value) in &steps {
            let reply = harness.put(&path, &json!({*member: value})).await;
            assert_eq!(reply.status, 202, "{reply:?}");
            let mut reply = reply.json();
            assert_eq!(reply["State"], "Updating");
            expected[*member] = value.clone();
            expected["State"] = json!("Updating");
            expected["LastModified"] = reply["LastModified"].take();
            reply["LastModified"] = expected["LastModified"].clone();
            assert_eq!(reply, expected);
        }
        let cleared = json!({"FilterCriteria": {}, "ScalingConfig": {}, "FunctionResponseTypes": [],
                             "Enabled": false});
        let reply = harness.put(&path, &cleared).await.json();
        assert_eq!((reply.get("FilterCriteria"), reply.get("ScalingConfig")), (None, None));
        assert_eq!(reply["FunctionResponseTypes"], json!([]));
        assert_eq!(harness.get(&path).await.json()["State"], "Disabled");
    }

    #[tokio::test]
    async fn another_function_takes_over() {
        let harness = Harness::with_versions().await;
        harness.create("hello").await;
        let made = harness.map_queue("q").await;
        let path = format!("{PATH}/{}", made["UUID"].as_str().unwrap());
        let arn = "arn:aws:lambda:us-east-1:000000000000:function:two";
        for (name, expected) in [("two:stable", ":stable"), ("two", ""), (arn, "")] {
            let reply = harness.put(&path, &json!({"FunctionName": name})).await;
            assert_eq!(reply.json()["FunctionArn"], format!("{arn}{expected}"), "{reply:?}");
        }
        // What it had before is free again, and what it has now is not.
        let other = harness.map_queue("q").await;
        let back = harness.put(&path, &json!({"FunctionName": "hello"})).await;
        assert_eq!((back.status, back.code().as_str()), (409, "ResourceConflictException"));
        let uuid = other["UUID"].as_str().unwrap();
        assert_eq!(
            back.message(),
            format!(
                "An event source mapping with SQS arn (\" arn:aws:sqs:us-east-1:000000000000:q \") \
                 and function (\" hello \") already exists. Please update or delete the existing \
                 mapping with UUID {uuid}"
            )
        );
        for name in ["nobody", "two:7", "arn:aws:lambda:us-east-1:111111111111:function:two"] {
            let reply = harness.put(&path, &json!({"FunctionName": name})).await;
            assert_eq!((reply.status, reply.message().as_str()), (400, "Function does not exist"));
        }
    }

    #[tokio::test]
    async fn what_is_refused() {
        let harness = Harness::with_hello().await;
        let made = harness.map_queue("q").await;
        let path = format!("{PATH}/{}", made["UUID"].as_str().unwrap());
        let put = async |body: Value| {
            let reply = harness.put(&path, &body).await;
            format!("{} {}", reply.status, reply.message())
        };
        let enabled = put(json!({"Enabled": true})).await;
        assert!(enabled.starts_with("501 ") && enabled.contains("Enabled true"), "{enabled}");
        assert_eq!(
            put(json!({"Enabled": true, "BatchSize": 11})).await,
            "400 Maximum batch window in seconds must be greater than 0 if maximum batch size is \
             greater than 10"
        );
        assert_eq!(
            put(json!({"ParallelizationFactor": 2})).await,
            "400 Unsupported 'parallelizationFactor' parameter for given event source mapping type."
        );
        let key = put(json!({"KMSKeyArn": "arn:aws:kms:us-east-1:000000000000:key/k"})).await;
        assert!(key.starts_with("501 KMSKeyArn"), "{key}");
        let mut shown = harness.get(&path).await.json();
        shown["State"] = json!("Creating");
        assert_eq!(shown, made, "nothing was stored");
    }

    #[tokio::test]
    async fn a_consumer_group_is_chosen_once() {
        let harness = Harness::with_hello().await;
        let body = json!({"FunctionName": "hello", "Enabled": false, "Topics": ["topic"],
                          "EventSourceArn": "arn:aws:kafka:us-east-1:000000000000:cluster/c/1",
                          "AmazonManagedKafkaEventSourceConfig": {"ConsumerGroupId": "g"}});
        let made = harness.post(PATH, &body).await.json();
        let path = format!("{PATH}/{}", made["UUID"].as_str().unwrap());
        for (group, status) in [("g", 202), ("h", 400)] {
            let config = json!({"AmazonManagedKafkaEventSourceConfig": {"ConsumerGroupId": group}});
            assert_eq!(harness.put(&path, &config).await.status, status);
        }
    }

    #[tokio::test]
    async fn one_change_after_the_other() {
        let harness = Harness::slow_to_settle().await;
        let made = harness.map_queue("q").await;
        let path = format!("{PATH}/{}", made["UUID"].as_str().unwrap());
        assert_eq!(harness.get(&path).await.json()["State"], "Creating");
        for (reply, verb) in [
            (harness.put(&path, &json!({"BatchSize": 1})).await, "update"),
            (harness.delete(&path).await, "delete"),
        ] {
            assert_eq!((reply.status, reply.code().as_str()), (400, "ResourceInUseException"));
            let text = format!("Cannot {verb} the event source mapping because it is in use.");
            assert_eq!(reply.message(), text);
        }
    }

    #[tokio::test]
    async fn many_at_once_lose_none() {
        let harness = Harness::with_hello().await;
        let made = harness.map_queue("q").await;
        let path = format!("{PATH}/{}", made["UUID"].as_str().unwrap());
        let changes = [
            json!({"BatchSize": 9}),
            json!({"MaximumBatchingWindowInSeconds": 8}),
            json!({"FunctionResponseTypes": ["ReportBatchItemFailures"]}),
            json!({"ScalingConfig": {"MaximumConcurrency": 7}}),
        ];
        let all = (0..32).map(|number| {
            let (harness, path, body) = (&harness, &path, &changes[number % changes.len()]);
            async move { harness.put(path, body).await.status }
        });
        let all = futures_util::future::join_all(all).await;
        assert!(all.iter().all(|status| *status == 202), "{all:?}");
        let shown = harness.get(&path).await.json();
        for change in changes {
            for (member, value) in change.as_object().unwrap() {
                assert_eq!(&shown[member], value);
            }
        }
    }
}
