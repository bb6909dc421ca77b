//! Says how asynchronous invokes of a version or an alias are tried again and where their outcome goes,
//! in the place of whatever was said before.
//!
//! Asynchronous invokes themselves are not offered yet, so what is stored here waits for them.
//!
//! ```text
//! PUT /2019-09-25/functions/hello/event-invoke-config
//! {"MaximumRetryAttempts": 1, "DestinationConfig": {
//!   "OnFailure": {"Destination": "arn:aws:sqs:us-east-1:000000000000:failed"}}}
//!
//! 200
//! {"FunctionArn": "arn:aws:lambda:us-east-1:000000000000:function:hello:$LATEST",
//!  "LastModified": "<any>", "MaximumRetryAttempts": 1, "DestinationConfig": {"OnSuccess": {},
//!   "OnFailure": {"Destination": "arn:aws:sqs:us-east-1:000000000000:failed"}}}
//! ```

use lambic_front::{Cx, Serve};
use lambic_model_lambda as model;
use lambic_model_lambda::{FunctionEventInvokeConfig, PutFunctionEventInvokeConfigRequest};
use lambic_wire::{Arn, Error};

use super::change::edit;
use super::event_invoke::{check, destinations, no_function, resolve, show};
use crate::Lambda;
use crate::names;
use crate::state::event_invoke::EventInvoke;

/// The operation.
pub struct PutFunctionEventInvokeConfig;

impl Serve for PutFunctionEventInvokeConfig {
    type Service = Lambda;
    type Operation = model::ops::PutFunctionEventInvokeConfig;

    fn resource(cx: &Cx<'_, Lambda>, input: &PutFunctionEventInvokeConfigRequest) -> Arn {
        let qualifier = input.qualifier.as_deref();
        names::qualified_resource(cx.account, cx.region, &input.function_name, qualifier)
    }

    async fn run(
        cx: &Cx<'_, Lambda>,
        input: PutFunctionEventInvokeConfigRequest,
    ) -> Result<FunctionEventInvokeConfig, Error> {
        let (target, qualifier) = resolve(cx, &input.function_name, input.qualifier.as_deref())?;
        let (retries_max, event_age_s_max) =
            (input.maximum_retry_attempts, input.maximum_event_age_in_seconds);
        let config = input.destination_config.as_ref();
        check(cx, &target, retries_max, event_age_s_max, config)?;
        let (on_success, on_failure) = destinations(config);
        let settings = EventInvoke {
            retries_max,
            event_age_s_max,
            on_success,
            on_failure,
            last_modified_micros: cx.rt.now().micros(),
        };
        let (record, ()) = edit(cx, &target, |record| {
            if !record.has(&qualifier) {
                return Err(no_function());
            }
            let all = record.qualified.entry(qualifier.clone()).or_default();
            all.event_invoke = Some(settings.clone());
            Ok(())
        })
        .await?;
        Ok(show(&record, &qualifier, &settings))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::ops::testing::{Harness, documented};

    const PATH: &str = "/2019-09-25/functions/two/event-invoke-config";
    const ARN: &str = "arn:aws:lambda:us-east-1:000000000000:function:two";

    #[tokio::test]
    async fn as_documented() {
        let harness = Harness::with_hello().await;
        harness.check(&documented(include_str!("put_function_event_invoke_config.rs"))).await;
    }

    #[tokio::test]
    async fn every_qualifier_has_its_own() {
        let harness = Harness::with_versions().await;
        let body = json!({"MaximumRetryAttempts": 1});
        for (name, query, qualifier) in [
            ("two", "", "$LATEST"),
            ("two", "?Qualifier=$LATEST", "$LATEST"),
            ("two:$LATEST", "?Qualifier=$LATEST", "$LATEST"),
            ("two", "?Qualifier=1", "1"),
            ("two:1", "", "1"),
            ("two:stable", "?Qualifier=stable", "stable"),
            (&format!("{ARN}:stable"), "", "stable"),
        ] {
            let path = format!("/2019-09-25/functions/{name}/event-invoke-config{query}");
            let reply = harness.put(&path, &body).await;
            assert_eq!(reply.status, 200, "{path}: {reply:?}");
            assert_eq!(reply.json()["FunctionArn"], format!("{ARN}:{qualifier}"));
            assert!(reply.json()["LastModified"].is_number());
        }
    }

    #[tokio::test]
    async fn what_was_there_is_replaced() {
        let harness = Harness::with_versions().await;
        let body = json!({"MaximumRetryAttempts": 2, "MaximumEventAgeInSeconds": 21_600,
                          "DestinationConfig": {"OnSuccess": {
                              "Destination": "arn:aws:sns:us-east-1:000000000000:t"}}});
        let reply = harness.put(PATH, &body).await.json();
        assert_eq!(reply["MaximumEventAgeInSeconds"], 21_600);
        let reply = harness.put(PATH, &json!({"MaximumRetryAttempts": 0})).await.json();
        assert_eq!(reply["MaximumRetryAttempts"], 0);
        assert_eq!(reply.get("MaximumEventAgeInSeconds"), None);
        assert_eq!(reply["DestinationConfig"], json!({"OnSuccess": {}, "OnFailure": {}}));
        assert_eq!(harness.get(PATH).await.json(), reply);
    }

    #[tokio::test]
    async fn destinations() {
        let harness = Harness::with_versions().await;
        harness.create("other").await;
        let put = async |side: &str, arn: &str| {
            let body = json!({"DestinationConfig": {side: {"Destination": arn}}});
            let reply = harness.put(PATH, &body).await;
            match reply.status {
                200 => reply.json()["DestinationConfig"][side]["Destination"]
                    .as_str()
                    .unwrap_or_default()
                    .to_owned(),
                status => format!("{status} {}: {}", reply.code(), reply.message()),
            }
        };
        let at = "us-east-1:000000000000";
        for side in ["OnSuccess", "OnFailure"] {
            for arn in [
                format!("arn:aws:sqs:{at}:q"),
                format!("arn:aws:sns:{at}:t"),
                format!("arn:aws:events:{at}:event-bus/b"),
                format!("arn:aws:lambda:{at}:function:other"),
                format!("arn:aws:lambda:{at}:function:other:$LATEST"),
                String::new(),
            ] {
                assert_eq!(put(side, &arn).await, arn);
            }
            for arn in [
                format!("arn:aws:lambda:{at}:function:doesnotexist"),
                format!("arn:aws:lambda:{at}:function:other:7"),
                "arn:aws:lambda:eu-west-1:000000000000:function:other".to_owned(),
                format!("arn:aws:sqs:{at}:q.fifo"),
                format!("arn:aws:events:{at}:rule/r"),
            ] {
                let text = format!("The destination ARN {arn} is invalid.");
                let expected = format!("400 InvalidParameterValueException: {text}");
                assert_eq!(put(side, &arn).await, expected);
            }
            for qualifier in ["", ":1", ":$LATEST"] {
                assert_eq!(
                    put(side, &format!("{ARN}{qualifier}")).await,
                    "400 InvalidParameterValueException: You can't specify the function as a \
                     destination for itself."
                );
            }
        }
        let bucket = "arn:aws:s3:::bucket";
        assert_eq!(put("OnFailure", bucket).await, bucket);
        for arn in [bucket, &format!("arn:aws:iam:{at}:function:two"), "kafka://topic"] {
            assert_eq!(
                put("OnSuccess", arn).await,
                format!(
                    "400 InvalidParameterValueException: The provided destination config \
                     DestinationConfig(onSuccess=OnSuccess(destination={arn}), onFailure=null) is \
                     invalid."
                )
            );
        }
        let pattern = put("OnFailure", &format!("arn:aws:_-/!lambda:{at}:function:f")).await;
        assert!(
            pattern.starts_with("400 ValidationException: 1 validation error detected: Value ")
                && pattern.contains("at 'destinationConfig.onFailure.destination' failed"),
            "{pattern}"
        );
    }

    #[tokio::test]
    async fn what_is_refused() {
        let harness = Harness::with_versions().await;
        let put = async |path: &str, body: Value| {
            let reply = harness.put(path, &body).await;
            format!("{} {}: {}", reply.status, reply.code(), reply.message())
        };
        let one = json!({"MaximumRetryAttempts": 1});
        assert_eq!(
            put(PATH, json!({})).await,
            "400 InvalidParameterValueException: You must specify at least one of error handling \
             or destination setting."
        );
        let nobody = "404 ResourceNotFoundException: The function doesn't exist.";
        let path = PATH.replace("two", "nobody");
        assert_eq!(put(&path, one.clone()).await, nobody);
        for qualifier in ["3", "dead"] {
            assert_eq!(put(&format!("{PATH}?Qualifier={qualifier}"), one.clone()).await, nobody);
        }
        for path in ["two:1", "two:stable", "two:$LATEST"] {
            let path = format!("{}?Qualifier=2", PATH.replace("two", path));
            assert_eq!(
                put(&path, one.clone()).await,
                "400 InvalidParameterValueException: The derived qualifier from the function name \
                 does not match the specified qualifier."
            );
        }
        for (body, named) in [
            (json!({"MaximumRetryAttempts": 3}), "maximumRetryAttempts"),
            (json!({"MaximumRetryAttempts": -1}), "maximumRetryAttempts"),
            (json!({"MaximumEventAgeInSeconds": 59}), "maximumEventAgeInSeconds"),
            (json!({"MaximumEventAgeInSeconds": 21_601}), "maximumEventAgeInSeconds"),
        ] {
            let text = put(PATH, body).await;
            let refused = text.starts_with("400 ValidationException: 1") && text.contains(named);
            assert!(refused, "{text}");
        }
    }

    #[tokio::test]
    async fn many_at_once_lose_none() {
        let harness = Harness::with_versions().await;
        for number in 0..32 {
            let body = json!({"Name": format!("a{number}"), "FunctionVersion": "1"});
            let reply = harness.post("/2015-03-31/functions/two/aliases", &body).await;
            assert_eq!(reply.status, 201);
        }
        let all = (0..32).map(|number| {
            let path = format!("{PATH}?Qualifier=a{number}");
            let body = json!({"MaximumEventAgeInSeconds": 60 + number});
            let harness = &harness;
            async move { harness.put(&path, &body).await.status }
        });
        let all = futures_util::future::join_all(all).await;
        assert!(all.iter().all(|status| *status == 200), "{all:?}");
        for number in 0..32 {
            let shown = harness.get(&format!("{PATH}?Qualifier=a{number}")).await.json();
            assert_eq!(shown["MaximumEventAgeInSeconds"], 60 + number);
        }
    }

    #[tokio::test]
    async fn they_go_with_what_they_are_of() {
        let harness = Harness::with_versions().await;
        let body = json!({"MaximumRetryAttempts": 1});
        for qualifier in ["2", "stable"] {
            assert_eq!(
                harness.put(&format!("{PATH}?Qualifier={qualifier}"), &body).await.status,
                200
            );
        }
        let function = "/2015-03-31/functions/two";
        assert_eq!(harness.delete(&format!("{function}/aliases/stable")).await.status, 204);
        assert_eq!(harness.delete(&format!("{function}?Qualifier=2")).await.status, 204);
        let alias = json!({"Name": "stable", "FunctionVersion": "1"});
        assert_eq!(harness.post(&format!("{function}/aliases"), &alias).await.status, 201);
        let listed = harness.get(&format!("{PATH}/list")).await.json();
        assert_eq!(listed, json!({"FunctionEventInvokeConfigs": []}));
    }
}
