//! What CreateEventSourceMapping stores and shows, for each kind of source.

use serde_json::{Value, json};

use crate::ops::testing::{Harness, documented};

const PATH: &str = "/2015-03-31/event-source-mappings";
pub(super) const AT: &str = "us-east-1:000000000000";

pub(super) fn arn(kind: &str) -> String {
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

pub(super) async fn create(harness: &Harness, kind: &str, more: Value) -> Value {
    let reply = harness.post(PATH, &creation(kind, &more)).await;
    assert_eq!(reply.status, 202, "{kind} {more}: {reply:?}");
    reply.json()
}

/// Status, code and text of the error.
pub(super) async fn refused(harness: &Harness, kind: &str, more: Value) -> String {
    let reply = harness.post(PATH, &creation(kind, &more)).await;
    assert!(reply.status >= 400, "{kind} {more}: {reply:?}");
    format!("{} {}: {}", reply.status, reply.code(), reply.message())
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

/// Creates a mapping with these members and looks whether it has them then.
async fn check_kept(harness: &Harness, kind: &str, more: Value) {
    let shown = create(harness, kind, more.clone()).await;
    for (member, value) in more.as_object().unwrap() {
        assert_eq!(&shown[member], value, "{kind}");
    }
    let path = format!("{PATH}/{}", shown["UUID"].as_str().unwrap());
    let mut read = harness.get(&path).await.json();
    read["State"] = json!("Creating");
    assert_eq!(read, shown, "{kind}");
}

#[tokio::test]
async fn what_is_given_for_streams_and_queues_is_kept() {
    let harness = Harness::with_hello().await;
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
    ] {
        check_kept(&harness, kind, more).await;
    }
}

#[tokio::test]
async fn what_is_given_for_kafka_brokers_and_databases_is_kept() {
    let harness = Harness::with_hello().await;
    let secret = "arn:aws:secretsmanager:us-east-1:000000000000:secret:r";
    let registry = json!({
        "SchemaRegistryURI": "https://registry:8081", "EventRecordFormat": "JSON",
        "AccessConfigs": [{"Type": "BASIC_AUTH", "URI": secret}],
        "SchemaValidationConfigs": [{"Attribute": "KEY"}, {"Attribute": "VALUE"}],
    });
    let pollers = json!({"MinimumPollers": 2, "MaximumPollers": 5, "PollerGroupName": "g"});
    for (kind, more) in [
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
        check_kept(&harness, kind, more).await;
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
        let text = refused(&harness, "sqs", json!({"FunctionName": name})).await;
        assert_eq!(text, format!("400 InvalidParameterValueException: {unknown}"), "{name}");
    }
}

#[tokio::test]
async fn tags_are_kept_and_changed() {
    let harness = Harness::with_hello().await;
    let made = create(&harness, "sqs", json!({"Tags": {"team": "blue"}})).await;
    let path = format!("/2017-03-31/tags/{}", made["EventSourceMappingArn"].as_str().unwrap());
    assert_eq!(harness.get(&path).await.json(), json!({"Tags": {"team": "blue"}}));
    assert_eq!(harness.post(&path, &json!({"Tags": {"a": "1", "b": "2"}})).await.status, 204);
    assert_eq!(harness.delete(&format!("{path}?tagKeys=team&tagKeys=a")).await.status, 204);
    assert_eq!(harness.get(&path).await.json(), json!({"Tags": {"b": "2"}}));
    let all = (0..32).map(|number| {
        let body = json!({"Tags": {format!("t{number}"): "v"}});
        let (harness, path) = (&harness, &path);
        async move { harness.post(path, &body).await.status }
    });
    let all = futures_util::future::join_all(all).await;
    assert!(all.iter().all(|status| *status == 204), "{all:?}");
    let tags = harness.get(&path).await.json();
    assert_eq!(tags["Tags"].as_object().unwrap().len(), 33);
    let elsewhere = path.replace("us-east", "eu-west");
    for (other, status) in [(path.replace("000000000000", "111111111111"), 403), (elsewhere, 404)] {
        assert_eq!(harness.get(&other).await.status, status, "{other}");
    }
    let text = refused(&harness, "kinesis", json!({"Tags": {"aws:x": "y"}})).await;
    assert!(text.ends_with("aws: prefixed tag key names are not allowed for external use."));
}

/// Creates a mapping of this kind and another one with `more`, which is refused with these words.
async fn check_conflict(harness: &Harness, kind: &str, more: Value, words: &str) {
    let first = create(harness, kind, json!({})).await;
    let hint = "Please update or delete the existing mapping with UUID";
    assert_eq!(
        refused(harness, kind, more).await,
        format!(
            "409 ResourceConflictException: {words} already exists. {hint} {}",
            first["UUID"].as_str().unwrap()
        )
    );
    // For another function it is free.
    for name in ["two", "two:stable"] {
        create(harness, kind, json!({"FunctionName": name})).await;
    }
}

#[tokio::test]
async fn one_mapping_for_one_source_and_function() {
    let harness = Harness::with_versions().await;
    harness.create("hello").await;
    let with_sqs = format!(
        "An event source mapping with SQS arn (\" {} \") and function (\" hello \")",
        arn("sqs")
    );
    check_conflict(&harness, "sqs", json!({}), &with_sqs).await;
    for kind in ["kinesis", "dynamodb"] {
        let from = arn(kind);
        let words = format!(
            "The event source arn (\" {from} \") and function (\" hello \") provided mapping"
        );
        check_conflict(&harness, kind, json!({}), &words).await;
    }
    let function = format!("arn:aws:lambda:{AT}:function:hello");
    for (kind, names) in
        [("msk", ", topics (\"topic\")"), ("mq", ", queues (\"queue\")"), ("documentdb", "")]
    {
        let from = arn(kind);
        let words = format!(
            "An event source mapping with event source (\"{from}\"), function \
             (\"{function}\"){names}"
        );
        check_conflict(&harness, kind, json!({}), &words).await;
    }
    let with = |servers: &[&str]| json!({"SelfManagedEventSource": {"Endpoints": {"KAFKA_BOOTSTRAP_SERVERS": servers}}});
    let words = format!(
        "An event source mapping with event source (\"kafka:1000,kafka:2000,kafka:2000\"), function \
         (\"{function}\"), topics (\"topic\")"
    );
    let more = with(&["kafka:1000", "kafka:2000", "kafka:2000"]);
    check_conflict(&harness, "kafka", more.clone(), &words).await;
    let text = refused(&harness, "kafka", json!({})).await;
    assert!(text.contains("with event source (\"kafka:1000\")"), "{text}");
    let mut other = more;
    other["Topics"] = json!(["other"]);
    create(&harness, "kafka", other).await;
    create(&harness, "kafka", with(&["kafka:3000"])).await;
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
