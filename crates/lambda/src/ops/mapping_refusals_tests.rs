//! What CreateEventSourceMapping refuses, for each kind of source, and in which words.

use serde_json::{Value, json};

use super::tests::{AT, arn, create, refused};
use crate::ops::testing::Harness;
use crate::state::mapping::MappingRecord;

async fn check(harness: &Harness, kind: &str, more: Value, text: &str) {
    let got = refused(harness, kind, more.clone()).await;
    assert_eq!(got, format!("400 InvalidParameterValueException: {text}"), "{kind} {more}");
}

#[tokio::test]
async fn sources_and_what_they_need() {
    let harness = Harness::with_hello().await;
    let unrecognized = "Unrecognized event source.";
    // Before the function is looked for.
    let nobody = json!({"FunctionName": "doesnotexist", "EventSourceArn": null});
    check(&harness, "sqs", nobody, unrecognized).await;
    for other in ["sns:us-east-1:000000000000:t", "dynamodb:us-east-1:000000000000:table/t"] {
        let more = json!({"EventSourceArn": format!("arn:aws:{other}")});
        check(&harness, "sqs", more, unrecognized).await;
    }
    for (kind, member, named) in [
        ("msk", "Topics", "topics"),
        ("kafka", "Topics", "topics"),
        ("kafka", "SourceAccessConfigurations", "sourceAccessConfigurations"),
        ("mq", "Queues", "queues"),
        ("mq", "SourceAccessConfigurations", "sourceAccessConfigurations"),
        ("documentdb", "SourceAccessConfigurations", "sourceAccessConfigurations"),
        ("documentdb", "DocumentDBEventSourceConfig", "documentDBEventSourceConfig"),
    ] {
        let text = format!("Required '{named}' parameter is missing.");
        check(&harness, kind, json!({member: null}), &text).await;
    }
    let text = "Required 'selfManagedEventSource' parameter is missing.";
    check(&harness, "kafka", json!({"SelfManagedEventSource": {}}), text).await;
    let text = "Required 'databaseName' parameter is missing.";
    check(&harness, "documentdb", json!({"DocumentDBEventSourceConfig": {}}), text).await;
    for (given, missing) in [
        (json!({"SchemaRegistryURI": "https://r"}), "eventRecordFormat"),
        (json!({"EventRecordFormat": "JSON"}), "schemaRegistryURI"),
    ] {
        let more = json!({"AmazonManagedKafkaEventSourceConfig": {"SchemaRegistryConfig": given}});
        let text = format!("Required '{missing}' parameter is missing.");
        check(&harness, "msk", more, &text).await;
    }
    for (given, missing) in
        [(json!({"URI": "arn:aws:x:::s"}), "type"), (json!({"Type": "BASIC_AUTH"}), "uri")]
    {
        let text = format!("Required '{missing}' parameter is missing.");
        check(&harness, "mq", json!({"SourceAccessConfigurations": [given]}), &text).await;
    }
}

#[tokio::test]
async fn members_that_a_kind_does_not_have() {
    let harness = Harness::with_hello().await;
    let all = ["sqs", "kinesis", "dynamodb", "msk", "kafka", "mq", "documentdb"];
    let access = json!([{"Type": "BASIC_AUTH", "URI": "arn:aws:x:::s"}]);
    let servers = json!({"Endpoints": {"KAFKA_BOOTSTRAP_SERVERS": ["a:1"]}});
    // A Kafka has some of these in provisioned mode only.
    for (member, value, having) in [
        ("ParallelizationFactor", json!(1), "kinesis dynamodb"),
        ("MaximumRecordAgeInSeconds", json!(60), "kinesis dynamodb"),
        ("BisectBatchOnFunctionError", json!(false), "kinesis dynamodb"),
        ("MaximumRetryAttempts", json!(1), "kinesis dynamodb"),
        ("TumblingWindowInSeconds", json!(0), "kinesis dynamodb"),
        ("FunctionResponseTypes", json!(["ReportBatchItemFailures"]), "sqs kinesis dynamodb"),
        ("Topics", json!(["topic"]), "msk kafka"),
        ("Queues", json!(["q"]), "mq"),
        ("SourceAccessConfigurations", access, "kafka mq documentdb"),
        ("SelfManagedEventSource", servers, "kafka"),
        ("AmazonManagedKafkaEventSourceConfig", json!({"ConsumerGroupId": "g"}), "msk"),
        ("SelfManagedKafkaEventSourceConfig", json!({"ConsumerGroupId": "g"}), "kafka"),
        ("DocumentDBEventSourceConfig", json!({"DatabaseName": "d"}), "documentdb"),
        ("ScalingConfig", json!({"MaximumConcurrency": 2}), "sqs"),
        ("ProvisionedPollerConfig", json!({"MinimumPollers": 2}), "sqs msk kafka"),
        ("MetricsConfig", json!({"Metrics": ["EventCount"]}), "sqs kinesis dynamodb"),
        ("LoggingConfig", json!({"SystemLogLevel": "INFO"}), ""),
    ] {
        let mut named = member.to_owned();
        if member == "DocumentDBEventSourceConfig" {
            named = "documentDBEventSourceConfig".to_owned();
        } else {
            named[..1].make_ascii_lowercase();
        }
        let text = format!("Unsupported '{named}' parameter for given event source mapping type.");
        for kind in all.iter().filter(|kind| !having.split(' ').any(|have| have == **kind)) {
            check(&harness, kind, json!({member: value}), &text).await;
        }
    }
    let text = "Unsupported DestinationConfig parameter for given event source mapping type.";
    let queue = json!({"Destination": format!("arn:aws:sqs:{AT}:q")});
    for kind in all {
        let more = json!({"DestinationConfig": {"OnSuccess": queue}});
        check(&harness, kind, more, text).await;
    }
    for kind in ["sqs", "mq", "documentdb"] {
        let more = json!({"DestinationConfig": {"OnFailure": queue}});
        check(&harness, kind, more, text).await;
    }
    let mode = json!({"SelfManagedKafkaEventSourceConfig": {"ConsumptionMode": "Stream"}});
    let text = "Unsupported 'ConsumptionMode' parameter for given event source mapping type.";
    check(&harness, "kafka", mode, text).await;
    let text = "Unsupported 'sourceAccessConfigurations' parameter for given event source mapping \
                type.";
    for (kind, way) in [
        ("msk", "BASIC_AUTH"),
        ("kafka", "VIRTUAL_HOST"),
        ("mq", "VPC_SUBNET"),
        ("documentdb", "SASL_SCRAM_512_AUTH"),
    ] {
        let more = json!({"SourceAccessConfigurations": [{"Type": way, "URI": "arn:aws:x:::s"}]});
        check(&harness, kind, more, text).await;
    }
    let text = "Unsupported 'metricsConfig' parameter for given event source mapping type.";
    let more = json!({"MetricsConfig": {"Metrics": ["KafkaMetrics"]}});
    check(&harness, "sqs", more, text).await;
    let text = "Unsupported 'schemaRegistryConfig' parameter for given event source mapping type.";
    let registry = json!({"SchemaRegistryURI": "https://r", "EventRecordFormat": "JSON"});
    let more = json!({"AmazonManagedKafkaEventSourceConfig": {"SchemaRegistryConfig": registry}});
    check(&harness, "msk", more, text).await;
}

#[tokio::test]
async fn where_reading_starts() {
    let harness = Harness::with_hello().await;
    let past = 1_741_139_109.0;
    for kind in ["sqs", "kinesis", "dynamodb"] {
        let text = refused(&harness, kind, json!({"StartingPosition": "0"})).await;
        assert_eq!(
            text,
            "400 ValidationException: 1 validation error detected: Value '0' at 'startingPosition' \
             failed to satisfy constraint: Member must satisfy enum value set: [LATEST, \
             AT_TIMESTAMP, TRIM_HORIZON]"
        );
    }
    let not_for_queues = "StartingPosition is not valid for SQS event sources.";
    check(&harness, "sqs", json!({"StartingPosition": "LATEST"}), not_for_queues).await;
    let both = json!({"StartingPosition": "LATEST", "StartingPositionTimestamp": past});
    check(&harness, "sqs", both.clone(), not_for_queues).await;
    for (kind, member, value) in [
        ("sqs", "startingPositionTimestamp", json!({"StartingPositionTimestamp": past})),
        ("mq", "startingPositionTimestamp", json!({"StartingPositionTimestamp": past})),
        ("mq", "startingPosition", json!({"StartingPosition": "LATEST"})),
    ] {
        let text = format!("Unsupported '{member}' parameter for given event source mapping type.");
        check(&harness, kind, value, &text).await;
    }
    for kind in ["kinesis", "dynamodb"] {
        check(
            &harness,
            kind,
            json!({"StartingPosition": null}),
            "1 validation error detected: Value null at 'startingPosition' failed to satisfy \
             constraint: Member must not be null.",
        )
        .await;
    }
    for kind in ["kinesis", "dynamodb", "msk", "kafka", "documentdb"] {
        let text = "Timestamp only valid with StartingPosition AT_TIMESTAMP";
        check(&harness, kind, both.clone(), text).await;
    }
    let at = |when: Value| json!({"StartingPosition": "AT_TIMESTAMP", "StartingPositionTimestamp": when});
    for when in [json!(past), json!(-1.0), Value::Null] {
        let text = format!("Unsupported starting position for arn type: {}", arn("dynamodb"));
        check(&harness, "dynamodb", at(when), &text).await;
    }
    for kind in ["kinesis", "msk"] {
        check(&harness, kind, at(Value::Null), "Need to specify a timestamp").await;
        check(
            &harness,
            kind,
            at(json!(-1.0)),
            "Received Exception while reading from provided stream. class java.lang.Long can not \
             be converted to a Timestamp",
        )
        .await;
        let text = "StartingPositionTimestamp cannot be in the future.";
        check(&harness, kind, at(json!(99_999_999_999.0)), text).await;
    }
}

fn pollers(min: i32, max: i32) -> Value {
    json!({"ProvisionedPollerConfig": {"MinimumPollers": min, "MaximumPollers": max}})
}

#[tokio::test]
async fn what_goes_together() {
    let harness = Harness::with_hello().await;
    let waits = "Maximum batch window in seconds must be greater than 0 if maximum batch size is \
                 greater than 10";
    check(&harness, "sqs", json!({"BatchSize": 11}), waits).await;
    let zero = json!({"BatchSize": 11, "MaximumBatchingWindowInSeconds": 0});
    check(&harness, "sqs", zero, waits).await;
    for (kind, more, text) in [
        (
            "fifo",
            json!({"BatchSize": 11}),
            "Batch size greater than 10 is not supported for FIFO \
          queues",
        ),
        (
            "fifo",
            json!({"MaximumBatchingWindowInSeconds": 1}),
            "Batching window is not supported \
          for FIFO queues",
        ),
        (
            "kinesis",
            json!({"MaximumRecordAgeInSeconds": 59}),
            "MaximumRecordAgeInSeconds must be -1 \
          or a value between 60 and 604800.",
        ),
        ("msk", pollers(5, 4), "MinimumPollers must not be greater than MaximumPollers."),
        (
            "sqs",
            json!({"ScalingConfig": {"MaximumConcurrency": 2},
                   "ProvisionedPollerConfig": {"MinimumPollers": 2}}),
            "ScalingConfig and ProvisionedPollerConfig cannot be used at the same time.",
        ),
        (
            "sqs",
            json!({"ProvisionedPollerConfig": {"PollerGroupName": "g"}}),
            "Unsupported 'pollerGroupName' parameter for given event source mapping type.",
        ),
    ] {
        check(&harness, kind, more, text).await;
    }
}

#[tokio::test]
async fn numbers_and_forms() {
    let harness = Harness::with_hello().await;
    for (kind, more, named) in [
        ("kinesis", json!({"BatchSize": 0}), "batchSize"),
        ("kinesis", json!({"BatchSize": 10_001}), "batchSize"),
        (
            "kinesis",
            json!({"MaximumBatchingWindowInSeconds": 301}),
            "maximumBatchingWindowInSeconds",
        ),
        ("kinesis", json!({"ParallelizationFactor": 11}), "parallelizationFactor"),
        ("kinesis", json!({"MaximumRecordAgeInSeconds": 604_801}), "maximumRecordAgeInSeconds"),
        ("kinesis", json!({"MaximumRetryAttempts": 10_001}), "maximumRetryAttempts"),
        ("kinesis", json!({"TumblingWindowInSeconds": 901}), "tumblingWindowInSeconds"),
        ("sqs", json!({"FunctionResponseTypes": ["Other"]}), "functionResponseTypes"),
        (
            "sqs",
            json!({"ScalingConfig": {"MaximumConcurrency": 1}}),
            "scalingConfig.maximumConcurrency",
        ),
        ("sqs", pollers(1, 2), "provisionedPollerConfig.minimumPollers"),
        ("msk", pollers(201, 300), "provisionedPollerConfig.minimumPollers"),
        ("msk", pollers(1, 2_001), "provisionedPollerConfig.maximumPollers"),
        ("msk", json!({"Topics": ["aa", "bb"]}), "topics"),
        ("mq", json!({"Queues": ["a", "b"]}), "queues"),
        ("sqs", json!({"EventSourceArn": "queue"}), "eventSourceArn"),
        ("sqs", json!({"FunctionName": "with space"}), "functionName"),
    ] {
        let text = refused(&harness, kind, more.clone()).await;
        let is_right = text.starts_with("400 ValidationException: 1 validation error detected: ")
            && text.contains(named);
        assert!(is_right, "{more}: {text}");
    }
    // What is not said of the two is AWS's default.
    let only = json!({"ProvisionedPollerConfig": {"MaximumPollers": 7}});
    let shown = create(&harness, "msk", only).await;
    let expected = json!({"MinimumPollers": 1, "MaximumPollers": 7});
    assert_eq!(shown["ProvisionedPollerConfig"], expected);
}

#[tokio::test]
async fn filters_and_destinations() {
    let harness = Harness::with_hello().await;
    let filters = |all: &[Value]| json!({"FilterCriteria": {"Filters": all}});
    let invalid = "Invalid filter pattern definition.";
    for filter in [
        json!({}),
        json!({"Pattern": ""}),
        json!({"Pattern": "null"}),
        json!({"Pattern": "simple string"}),
        json!({"Pattern": "\"simple string\""}),
        json!({"Pattern": "{\"eventSource\": \"aws:sqs\"}"}),
        json!({"Pattern": "{\"eventSource\": []}"}),
        json!({"Pattern": "{\"eventName\": [\"INSERT\"=123]}"}),
    ] {
        let good = json!({"Pattern": "{\"a\": [1]}"});
        check(&harness, "sqs", filters(&[good, filter]), invalid).await;
    }
    let one = json!({"Pattern": "{\"a\": [{\"prefix\": \"x\"}]}"});
    let many = vec![one.clone(); 6];
    let text = "Number of filters exceeds the limit of 5 for an event source mapping.";
    check(&harness, "sqs", filters(&many), text).await;
    let shown = create(&harness, "sqs", filters(&many[1..])).await;
    assert_eq!(shown["FilterCriteria"]["Filters"].as_array().unwrap().len(), 5);
    let long = json!({"Pattern": format!("{{\"a\": [\"{}\"]}}", "x".repeat(4_096))});
    let text = refused(&harness, "kinesis", filters(&[long])).await;
    assert!(
        text.starts_with("400 ValidationException: ") && text.contains("filterCriteria"),
        "{text}"
    );
    for destination in ["arn:aws:lambda:us-east-1:000000000000:function:hello", "kafka://topic"] {
        let more = json!({"DestinationConfig": {"OnFailure": {"Destination": destination}}});
        let text = format!(
            "The provided destination config DestinationConfig(onSuccess=null, \
             onFailure=OnFailure(destination={destination})) is invalid."
        );
        check(&harness, "kinesis", more, &text).await;
    }
    let fifo = format!("arn:aws:sqs:{AT}:q.fifo");
    let more = json!({"DestinationConfig": {"OnFailure": {"Destination": fifo}}});
    let text = format!("The destination ARN {fifo} is invalid.");
    check(&harness, "kinesis", more, &text).await;
    let none = json!({"DestinationConfig": {"OnFailure": {"Destination": ""}}});
    let shown = create(&harness, "kinesis", none).await;
    assert_eq!(shown["DestinationConfig"], json!({"OnFailure": {}}));
}

#[tokio::test]
async fn what_would_have_to_be_obeyed_is_refused_last() {
    let harness = Harness::with_hello().await;
    for enabled in [Value::Null, json!(true)] {
        let text = refused(&harness, "sqs", json!({"Enabled": enabled})).await;
        let is_named =
            text.starts_with("501 NotImplementedException: ") && text.contains("Enabled");
        assert!(is_named, "{text}");
        let more = json!({"Enabled": enabled, "FunctionName": "nobody"});
        check(&harness, "sqs", more, "Function does not exist").await;
        let more = json!({"Enabled": enabled, "BatchSize": 11});
        assert!(refused(&harness, "sqs", more).await.starts_with("400 "));
    }
    let key = json!({"KMSKeyArn": "arn:aws:kms:us-east-1:000000000000:key/k"});
    let text = refused(&harness, "sqs", key).await;
    assert!(text.starts_with("501 ") && text.contains("KMSKeyArn"), "{text}");
    let mappings = harness.lambda.store.table::<MappingRecord>();
    assert!(mappings.list(&[], None, 9).await.unwrap().is_empty());
    create(&harness, "sqs", json!({"KMSKeyArn": ""})).await;
    let text = refused(&harness, "sqs", json!({"Enabled": true})).await;
    assert!(text.starts_with("409 "), "{text}");
}
