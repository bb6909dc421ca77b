//! Changes how asynchronous invokes of a version or an alias are tried again and where their outcome
//! goes; members that are not given stay as they are.
//!
//! ```text
//! POST /2019-09-25/functions/hello/event-invoke-config
//! {"MaximumRetryAttempts": 0}
//!
//! 200
//! {"FunctionArn": "arn:aws:lambda:us-east-1:000000000000:function:hello:$LATEST",
//!  "LastModified": "<any>", "MaximumRetryAttempts": 0, "MaximumEventAgeInSeconds": 60,
//!  "DestinationConfig": {"OnSuccess": {}, "OnFailure": {}}}
//! ```

use lambic_front::{Cx, Serve};
use lambic_model_lambda as model;
use lambic_model_lambda::{FunctionEventInvokeConfig, UpdateFunctionEventInvokeConfigRequest};
use lambic_wire::{Arn, Error};

use super::change::edit;
use super::event_invoke::{check, destinations, present, resolve, show};
use crate::Lambda;
use crate::names;

/// The operation.
pub struct UpdateFunctionEventInvokeConfig;

impl Serve for UpdateFunctionEventInvokeConfig {
    type Service = Lambda;
    type Operation = model::ops::UpdateFunctionEventInvokeConfig;

    fn resource(cx: &Cx<'_, Lambda>, input: &UpdateFunctionEventInvokeConfigRequest) -> Arn {
        let qualifier = input.qualifier.as_deref();
        names::qualified_resource(cx.account, cx.region, &input.function_name, qualifier)
    }

    async fn run(
        cx: &Cx<'_, Lambda>,
        input: UpdateFunctionEventInvokeConfigRequest,
    ) -> Result<FunctionEventInvokeConfig, Error> {
        let (target, qualifier) = resolve(cx, &input.function_name, input.qualifier.as_deref())?;
        let (retries_max, event_age_s_max) =
            (input.maximum_retry_attempts, input.maximum_event_age_in_seconds);
        let config = input.destination_config.as_ref();
        check(cx, &target, retries_max, event_age_s_max, config)?;
        let (record, settings) = edit(cx, &target, |record| {
            let mut settings = present(record, &target, &qualifier)?.clone();
            settings.retries_max = retries_max.or(settings.retries_max);
            settings.event_age_s_max = event_age_s_max.or(settings.event_age_s_max);
            if config.is_some() {
                (settings.on_success, settings.on_failure) = destinations(config);
            }
            settings.last_modified_micros = cx.rt.now().micros();
            let all = record.qualified.entry(qualifier.clone()).or_default();
            all.event_invoke = Some(settings.clone());
            Ok(settings)
        })
        .await?;
        Ok(show(&record, &qualifier, &settings))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::ops::testing::{Harness, documented};

    const PATH: &str = "/2019-09-25/functions/hello/event-invoke-config";

    #[tokio::test]
    async fn as_documented() {
        let harness = Harness::with_hello().await;
        let body = json!({"MaximumRetryAttempts": 2, "MaximumEventAgeInSeconds": 60});
        assert_eq!(harness.put(PATH, &body).await.status, 200);
        harness.check(&documented(include_str!("update_function_event_invoke_config.rs"))).await;
    }

    #[tokio::test]
    async fn destinations_are_changed_together() {
        let harness = Harness::with_hello().await;
        let queue = json!({"Destination": "arn:aws:sqs:us-east-1:000000000000:q"});
        let body = json!({"DestinationConfig": {"OnSuccess": queue}, "MaximumRetryAttempts": 1});
        assert_eq!(harness.put(PATH, &body).await.status, 200);
        let reply = harness.post(PATH, &json!({"MaximumEventAgeInSeconds": 90})).await.json();
        assert_eq!(reply["DestinationConfig"], json!({"OnSuccess": queue, "OnFailure": {}}));
        let body = json!({"DestinationConfig": {"OnFailure": queue}});
        let reply = harness.post(PATH, &body).await.json();
        assert_eq!(reply["DestinationConfig"], json!({"OnSuccess": {}, "OnFailure": queue}));
        assert_eq!(reply["MaximumRetryAttempts"], 1);
        assert_eq!(reply["MaximumEventAgeInSeconds"], 90);
    }

    #[tokio::test]
    async fn what_is_refused() {
        let harness = Harness::with_versions().await;
        let update = async |name: &str, body: serde_json::Value| {
            let path = format!("/2019-09-25/functions/{name}/event-invoke-config");
            let reply = harness.post(&path, &body).await;
            format!("{} {}", reply.status, reply.message())
        };
        let one = json!({"MaximumRetryAttempts": 1});
        let arn = "arn:aws:lambda:us-east-1:000000000000:function:two";
        for (name, qualifier) in [("two", "$LATEST"), ("two:1", "1"), ("two:stable", "stable")] {
            assert_eq!(
                update(name, one.clone()).await,
                format!("404 The function {arn}:{qualifier} doesn't have an EventInvokeConfig")
            );
        }
        for name in ["nobody", "two:7", "two:dead"] {
            assert_eq!(update(name, one.clone()).await, "404 The function doesn't exist.");
        }
        assert_eq!(
            update("two", json!({})).await,
            "400 You must specify at least one of error handling or destination setting."
        );
        let bad = json!({"DestinationConfig": {"OnSuccess": {"Destination": "arn:aws:iam:::x"}}});
        assert!(update("two", bad).await.starts_with("400 The provided destination config"));
    }

    #[tokio::test]
    async fn many_at_once_lose_none() {
        let harness = Harness::with_hello().await;
        assert_eq!(harness.put(PATH, &json!({"MaximumRetryAttempts": 2})).await.status, 200);
        let all = (0..32).map(|number| {
            let body = match number % 3 {
                0 => json!({"MaximumRetryAttempts": 1}),
                1 => json!({"MaximumEventAgeInSeconds": 61}),
                _ => json!({"DestinationConfig": {"OnFailure": {
                    "Destination": "arn:aws:s3:::b"}}}),
            };
            let harness = &harness;
            async move { harness.post(PATH, &body).await.status }
        });
        let all = futures_util::future::join_all(all).await;
        assert!(all.iter().all(|status| *status == 200), "{all:?}");
        let shown = harness.get(PATH).await.json();
        assert_eq!(
            (&shown["MaximumRetryAttempts"], &shown["MaximumEventAgeInSeconds"]),
            (&json!(1), &json!(61))
        );
        assert_eq!(shown["DestinationConfig"]["OnFailure"]["Destination"], "arn:aws:s3:::b");
    }
}
