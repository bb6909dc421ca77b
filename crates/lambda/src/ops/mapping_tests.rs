//! What CreateEventSourceMapping stores and refuses, for each kind of source.

use serde_json::{Value, json};

use crate::ops::testing::{Harness, documented};
use crate::state::mapping::MappingRecord;

const PATH: &str = "/2015-03-31/event-source-mappings";
const AT: &str = "us-east-1:000000000000";

fn arn(kind: &str) -> String {
    match kind {
        "sqs" => format!("arn:aws:sqs:{AT}:q"),
        "fifo" => format!("arn:aws:sqs:{AT}:q.fifo"),
        "kinesis" => format!("arn:aws:kinesis:{AT}:stream/s"),
        "dynamodb" => format!("arn:aws:dynamodb:{AT}:table/t/stream/2025-02-17T16:33:01.784"),
        "msk" => format!("arn:aws:kafka:{AT}:cluster/c/11111111-1111-1111-1111-111111111111-1"),
        "mq" => format!("arn:aws:mq:{AT}:broker:b:b-1"),
        "documentdb" => format!("arn:aws:rds:{AT}:cluster:c"),
        other => panic!("no kind {other}"),
    }
}

/// A request that is complete for this kind of source, with more members or other ones.
fn creation(kind: &str, more: &Value) -> Value {
    let secret = json!([{"Type": "BASIC_AUTH", "URI": "arn:aws:secretsmanager:us-east-1:000000000000:secret:s"}]);
    let mut body = json!({"FunctionName": "hello", "Enabled": false});
    if kind != "kafka" {
        body["EventSourceArn"] = json!(arn(kind));
    }
    match kind {
        "kinesis" | "dynamodb" => body["StartingPosition"] = json!("TRIM_HORIZON"),
        "msk" => body["Topics"] = json!(["topic"]),
        "kafka" => {
            let servers = json!(["kafka:1000"]);
            body["Topics"] = json!(["topic"]);
            body["SourceAccessConfigurations"] = secret;
            body["SelfManagedEventSource"] =
                json!({"Endpoints": {"KAFKA_BOOTSTRAP_SERVERS": servers}});
        }
        "mq" => {
            body["Queues"] = json!(["queue"]);
            body["SourceAccessConfigurations"] = secret;
        }
        "documentdb" => {
            body["SourceAccessConfigurations"] = secret;
            body["DocumentDBEventSourceConfig"] = json!({"DatabaseName": "db"});
        }
        _ => {}
    }
    for (member, value) in more.as_object().unwrap() {
        match value {
            Value::Null => {
                body.as_object_mut().unwrap().remove(member);
            }
            value => body[member] = value.clone(),
        }
    }
    body
}

async fn create(harness: &Harness, kind: &str, more: Value) -> Value {
    let reply = harness.post(PATH, &creation(kind, &more)).await;
    assert_eq!(reply.status, 202, "{kind} {more}: {reply:?}");
    reply.json()
}

/// Status, code and text of the error.
async fn refused(harness: &Harness, kind: &str, more: Value) -> String {
    let reply = harness.post(PATH, &creation(kind, &more)).await;
    assert!(reply.status >= 400, "{kind} {more}: {reply:?}");
    format!("{} {}: {}", reply.status, reply.code(), reply.message())
}

async fn check(harness: &Harness, kind: &str, more: Value, text: &str) {
    let got = refused(harness, kind, more.clone()).await;
    assert_eq!(got, format!("400 InvalidParameterValueException: {text}"), "{kind} {more}");
}

#[tokio::test]
async fn as_documented() {
    let harness = Harness::with_hello().await;
    harness.check(&documented(include_str!("create_event_source_mapping.rs"))).await;
}

#[tokio::test]
async fn what_each_kind_shows() {
    let harness = Harness::with_hello().await;
    let without = |mut shown: Value| {
        let uuid = shown["UUID"].as_str().unwrap().to_owned();
        let arn = format!("arn:aws:lambda:{AT}:event-source-mapping:{uuid}");
        assert_eq!(shown["EventSourceMappingArn"], arn);
        assert_eq!(shown["State"], "Creating");
        assert!(shown["LastModified"].is_number());
        assert_eq!(shown["FunctionArn"], format!("arn:aws:lambda:{AT}:function:hello"));
        let members = shown.as_object_mut().unwrap();
        for member in ["UUID", "EventSourceMappingArn", "State", "LastModified", "FunctionArn"] {
            members.remove(member);
        }
        (uuid, shown)
    };
    for kind in ["kinesis", "dynamodb"] {
        let (_, shown) = without(create(&harness, kind, json!({})).await);
        assert_eq!(
            shown,
            json!({
                "EventSourceArn": arn(kind), "BatchSize": 100, "MaximumBatchingWindowInSeconds": 0,
                "BisectBatchOnFunctionError": false, "DestinationConfig": {"OnFailure": {}},
                "FunctionResponseTypes": [], "LastProcessingResult": "No records processed",
                "MaximumRecordAgeInSeconds": -1, "MaximumRetryAttempts": -1,
                "ParallelizationFactor": 1, "StartingPosition": "TRIM_HORIZON",
                "StateTransitionReason": "User action", "TumblingWindowInSeconds": 0,
            })
        );
    }
    let common = json!({"BatchSize": 100, "LastProcessingResult": "No records processed",
                        "StateTransitionReason": "USER_INITIATED"});
    let access = json!([{"Type": "BASIC_AUTH", "URI": "arn:aws:secretsmanager:us-east-1:000000000000:secret:s"}]);
    for kind in ["msk", "kafka", "mq", "documentdb"] {
        let (uuid, shown) = without(create(&harness, kind, json!({})).await);
        let mut expected = common.clone();
        let more = match kind {
            "msk" => json!({
                "EventSourceArn": arn(kind), "Topics": ["topic"], "StartingPosition": "TRIM_HORIZON",
                "AmazonManagedKafkaEventSourceConfig": {"ConsumerGroupId": uuid},
            }),
            "kafka" => json!({
                "Topics": ["topic"], "StartingPosition": "TRIM_HORIZON",
                "SourceAccessConfigurations": access,
                "SelfManagedEventSource":
                    {"Endpoints": {"KAFKA_BOOTSTRAP_SERVERS": ["kafka:1000"]}},
                "SelfManagedKafkaEventSourceConfig": {"ConsumerGroupId": uuid},
            }),
            "mq" => json!({
                "EventSourceArn": arn(kind), "Queues": ["queue"],
                "SourceAccessConfigurations": access,
            }),
            _ => json!({
                "EventSourceArn": arn(kind), "StartingPosition": "LATEST",
                "SourceAccessConfigurations": access,
                "DocumentDBEventSourceConfig": {"DatabaseName": "db", "FullDocument": "Default"},
            }),
        };
        expected.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        assert_eq!(shown, expected, "{kind}");
    }
}

#[tokio::test]
async fn everything_that_is_given_is_kept() {
    let harness = Harness::with_hello().await;
    let registry = json!({
        "SchemaRegistryURI": "https://registry:8081", "EventRecordFormat": "JSON",
        "AccessConfigs": [{"Type": "BASIC_AUTH", "URI": "arn:aws:secretsmanager:us-east-1:000000000000:secret:r"}],
        "SchemaValidationConfigs": [{"Attribute": "KEY"}, {"Attribute": "VALUE"}],
    });
    let pollers = json!({"MinimumPollers": 2, "MaximumPollers": 5, "PollerGroupName": "g"});
    let filters = json!({"Filters": [{"Pattern": "{\"a\": [1]}"}, {"Pattern": "{\"b\": [2]}"}]});
    for (kind, more) in [
        (
            "kinesis",
            json!({
                "BatchSize": 10_000, "MaximumBatchingWindowInSeconds": 300, "ParallelizationFactor": 10,
                "MaximumRecordAgeInSeconds": 604_800, "BisectBatchOnFunctionError": true,
                "MaximumRetryAttempts": 10_000, "TumblingWindowInSeconds": 900,
                "FunctionResponseTypes": ["ReportBatchItemFailures"], "FilterCriteria": filters,
                "StartingPosition": "AT_TIMESTAMP", "StartingPositionTimestamp": 1_541_139_109,
                "DestinationConfig": {"OnFailure": {"Destination": "arn:aws:s3:::bucket"}},
                "MetricsConfig": {"Metrics": ["EventCount"]},
            }),
        ),
        (
            "dynamodb",
            json!({
                "StartingPosition": "LATEST", "MaximumRecordAgeInSeconds": 60,
                "DestinationConfig": {"OnFailure": {
                    "Destination": format!("arn:aws:sns:{AT}:topic")}},
            }),
        ),
        (
            "sqs",
            json!({
                "BatchSize": 10_000, "MaximumBatchingWindowInSeconds": 1, "FilterCriteria": filters,
                "FunctionResponseTypes": ["ReportBatchItemFailures"],
                "ScalingConfig": {"MaximumConcurrency": 1_000},
            }),
        ),
        (
            "fifo",
            json!({
                "ProvisionedPollerConfig": {"MinimumPollers": 2, "MaximumPollers": 2},
            }),
        ),
        (
            "msk",
            json!({
                "AmazonManagedKafkaEventSourceConfig":
                    {"ConsumerGroupId": "group", "SchemaRegistryConfig": registry},
                "ProvisionedPollerConfig": pollers, "MaximumRetryAttempts": 3,
                "MaximumRecordAgeInSeconds": -1, "BisectBatchOnFunctionError": false,
                "FunctionResponseTypes": ["ReportBatchItemFailures"],
                "MetricsConfig": {"Metrics": ["EventCount", "ErrorCount", "KafkaMetrics"]},
                "LoggingConfig": {"SystemLogLevel": "DEBUG"},
                "DestinationConfig": {"OnFailure": {"Destination": "kafka://failed"}},
                "SourceAccessConfigurations": [{"Type": "SASL_SCRAM_512_AUTH", "URI": "arn:aws:x:::s"}],
                "StartingPosition": "AT_TIMESTAMP", "StartingPositionTimestamp": 0,
            }),
        ),
        (
            "kafka",
            json!({
                "SelfManagedKafkaEventSourceConfig": {"ConsumerGroupId": "group"},
                "SourceAccessConfigurations": [{"Type": "VPC_SUBNET", "URI": "subnet:subnet-1"},
                                               {"Type": "SASL_SCRAM_256_AUTH", "URI": "arn:aws:x:::s"}],
            }),
        ),
        (
            "mq",
            json!({
                "SourceAccessConfigurations": [{"Type": "BASIC_AUTH", "URI": "arn:aws:x:::s"},
                                               {"Type": "VIRTUAL_HOST", "URI": "/"}],
            }),
        ),
        (
            "documentdb",
            json!({
                "DocumentDBEventSourceConfig": {"DatabaseName": "db", "CollectionName": "c",
                                                "FullDocument": "UpdateLookup"},
                "StartingPosition": "TRIM_HORIZON",
            }),
        ),
    ] {
        let shown = create(&harness, kind, more.clone()).await;
        for (member, value) in more.as_object().unwrap() {
            assert_eq!(&shown[member], value, "{kind}");
        }
        let path = format!("{PATH}/{}", shown["UUID"].as_str().unwrap());
        let mut read = harness.get(&path).await.json();
        read["State"] = json!("Creating");
        assert_eq!(read, shown, "{kind}");
    }
}

#[tokio::test]
async fn names_of_functions() {
    let harness = Harness::with_versions().await;
    let arn = format!("arn:aws:lambda:{AT}:function:two");
    for (number, (name, expected)) in [
        ("two", ""),
        (arn.as_str(), ""),
        ("000000000000:function:two", ""),
        ("two:1", ":1"),
        ("two:stable", ":stable"),
        ("two:$LATEST", ":$LATEST"),
        (&format!("{arn}:stable"), ":stable"),
    ]
    .into_iter()
    .enumerate()
    {
        let source = format!("arn:aws:sqs:{AT}:q{number}");
        let more = json!({"FunctionName": name, "EventSourceArn": source});
        let shown = create(&harness, "sqs", more).await;
        assert_eq!(shown["FunctionArn"], format!("{arn}{expected}"), "{name}");
    }
    let unknown = "Function does not exist";
    for name in
        ["nobody", "two:7", "two:dead", "arn:aws:lambda:us-east-1:111111111111:function:two"]
    {
        check(&harness, "sqs", json!({"FunctionName": name}), unknown).await;
    }
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

#[tokio::test]
async fn numbers_and_what_goes_together() {
    let harness = Harness::with_hello().await;
    let pollers = |min: i32, max: i32| json!({"ProvisionedPollerConfig": {"MinimumPollers": min, "MaximumPollers": max}});
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

#[tokio::test]
async fn tags_are_kept() {
    let harness = Harness::with_hello().await;
    create(&harness, "sqs", json!({"Tags": {"team": "blue"}})).await;
    let mappings = harness.lambda.store.table::<MappingRecord>();
    let stored = mappings.list(&[], None, 9).await.unwrap();
    assert_eq!(stored[0].value.tags.get("team").map(String::as_str), Some("blue"));
    let text = "aws: prefixed tag key names are not allowed for external use.";
    check(&harness, "kinesis", json!({"Tags": {"aws:x": "y"}}), text).await;
}

#[tokio::test]
async fn one_mapping_for_one_source_and_function() {
    let harness = Harness::with_versions().await;
    harness.create("hello").await;
    let full = format!("arn:aws:lambda:{AT}:function:hello");
    let two = json!({"SelfManagedEventSource":
        {"Endpoints": {"KAFKA_BOOTSTRAP_SERVERS": ["kafka:1000", "kafka:2000", "kafka:2000"]}}});
    for (kind, more, words) in [
        (
            "sqs",
            json!({}),
            format!(
                "An event source mapping with SQS arn (\" {} \") and function (\" hello \") already \
             exists.",
                arn("sqs")
            ),
        ),
        (
            "kinesis",
            json!({}),
            format!(
                "The event source arn (\" {} \") and function (\" hello \") provided mapping already \
             exists.",
                arn("kinesis")
            ),
        ),
        (
            "dynamodb",
            json!({}),
            format!(
                "The event source arn (\" {} \") and function (\" hello \") provided mapping already \
             exists.",
                arn("dynamodb")
            ),
        ),
        (
            "kafka",
            json!({}),
            format!(
                "An event source mapping with event source (\"kafka:1000\"), function (\"{full}\"), \
             topics (\"topic\") already exists."
            ),
        ),
        (
            "kafka",
            two.clone(),
            format!(
                "An event source mapping with event source (\"kafka:1000,kafka:2000,kafka:2000\"), \
             function (\"{full}\"), topics (\"topic\") already exists."
            ),
        ),
        (
            "msk",
            json!({}),
            format!(
                "An event source mapping with event source (\"{}\"), function (\"{full}\"), topics \
             (\"topic\") already exists.",
                arn("msk")
            ),
        ),
        (
            "mq",
            json!({}),
            format!(
                "An event source mapping with event source (\"{}\"), function (\"{full}\"), queues \
             (\"queue\") already exists.",
                arn("mq")
            ),
        ),
        (
            "documentdb",
            json!({}),
            format!(
                "An event source mapping with event source (\"{}\"), function (\"{full}\") already \
             exists.",
                arn("documentdb")
            ),
        ),
    ] {
        let first = harness.post(PATH, &creation(kind, &json!({}))).await;
        // The second of the two cases of a Kafka meets the mapping of the first.
        let is_first = first.status == 202;
        let uuid = match first.status {
            202 => first.json()["UUID"].as_str().unwrap().to_owned(),
            _ => first.message().rsplit(' ').next().unwrap().to_owned(),
        };
        let hint = format!("Please update or delete the existing mapping with UUID {uuid}");
        assert_eq!(
            refused(&harness, kind, more).await,
            format!("409 ResourceConflictException: {words} {hint}")
        );
        if is_first {
            // For another function it is free.
            create(&harness, kind, json!({"FunctionName": "two"})).await;
            create(&harness, kind, json!({"FunctionName": "two:stable"})).await;
        }
    }
    let mut other = two;
    other["Topics"] = json!(["other"]);
    create(&harness, "kafka", other).await;
}

#[tokio::test]
async fn of_many_at_once_one_gets_the_source_and_none_is_lost() {
    let harness = Harness::with_hello().await;
    let same =
        (0..32).map(|_| async { harness.post(PATH, &creation("sqs", &json!({}))).await.status });
    let mut same = futures_util::future::join_all(same).await;
    same.sort_unstable();
    assert_eq!((same[0], same[1], same[31]), (202, 409, 409), "{same:?}");
    let others = (0..32).map(|number| {
        let more = json!({"EventSourceArn": format!("arn:aws:sqs:{AT}:other{number}")});
        let harness = &harness;
        async move { harness.post(PATH, &creation("sqs", &more)).await.status }
    });
    let others = futures_util::future::join_all(others).await;
    assert!(others.iter().all(|status| *status == 202), "{others:?}");
    let listed = harness.get(PATH).await.json();
    assert_eq!(listed["EventSourceMappings"].as_array().unwrap().len(), 33);
}
