"""Event source mappings and settings of asynchronous invokes, with boto3 and the AWS CLI."""

import datetime
import json
import time

import pytest
from botocore.exceptions import ClientError

from support.functions import Functions, new_name
from support.wait import until

AT = "us-east-1:000000000000"
ECHO = "def handler(event, context): return event\n"


def refused(call, **arguments):
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    answer = caught.value.response
    return answer["ResponseMetadata"]["HTTPStatusCode"], answer["Error"]["Code"], answer["Error"]["Message"]


def plain(answer):
    answer.pop("ResponseMetadata", None)
    return answer


def queue():
    return f"arn:aws:sqs:{AT}:{new_name('queue')}"


@pytest.fixture(scope="module")
def function(client):
    """A function with version 1 and an alias `live`."""
    functions = Functions(client)
    name = functions.python(ECHO)
    client.publish_version(FunctionName=name)
    client.create_alias(FunctionName=name, Name="live", FunctionVersion="1")
    yield name
    functions.clean()


def settled(client, uuid, state="Disabled"):
    return until(lambda: (now := client.get_event_source_mapping(UUID=uuid))["State"] == state and now,
                 f"mapping {uuid} to be {state}")


def gone(client, uuid):
    def is_gone():
        try:
            return client.get_event_source_mapping(UUID=uuid)["State"] != "Deleting" and "back"
        except ClientError as error:
            return error.response["Error"]["Code"]
    assert until(is_gone, f"mapping {uuid} to be gone") == "ResourceNotFoundException"


def test_the_life_of_a_mapping(client, function):
    source = queue()
    before = time.time()
    made = client.create_event_source_mapping(
        FunctionName=f"{function}:live", EventSourceArn=source, Enabled=False, Tags={"team": "blue"},
        FilterCriteria={"Filters": [{"Pattern": json.dumps({"body": {"kind": [{"prefix": "a"}]}})}]})
    assert made["ResponseMetadata"]["HTTPStatusCode"] == 202
    uuid = made["UUID"]
    assert made["EventSourceMappingArn"] == f"arn:aws:lambda:{AT}:event-source-mapping:{uuid}"
    assert made["FunctionArn"] == f"arn:aws:lambda:{AT}:function:{function}:live"
    assert isinstance(made["LastModified"], datetime.datetime)
    assert before - 1 <= made["LastModified"].timestamp() <= time.time() + 1
    assert (made["State"], made["StateTransitionReason"]) == ("Creating", "USER_INITIATED")
    assert (made["BatchSize"], made["MaximumBatchingWindowInSeconds"]) == (10, 0)
    expected = plain(made) | {"State": "Disabled"}
    assert plain(settled(client, uuid)) == expected

    changed = client.update_event_source_mapping(
        UUID=uuid, FunctionName=function, BatchSize=100, MaximumBatchingWindowInSeconds=5, Enabled=False,
        ScalingConfig={"MaximumConcurrency": 3}, FunctionResponseTypes=["ReportBatchItemFailures"])
    assert (changed["State"], changed["BatchSize"]) == ("Updating", 100)
    assert changed["FunctionArn"] == f"arn:aws:lambda:{AT}:function:{function}"
    now = settled(client, uuid)
    assert (now["ScalingConfig"], now["FunctionResponseTypes"]) == \
        ({"MaximumConcurrency": 3}, ["ReportBatchItemFailures"])
    assert now["FilterCriteria"] == made["FilterCriteria"]

    assert client.delete_event_source_mapping(UUID=uuid)["State"] == "Deleting"
    gone(client, uuid)
    again = client.create_event_source_mapping(FunctionName=function, EventSourceArn=source, Enabled=False)
    assert again["UUID"] != uuid


def test_every_kind_of_source(client, function):
    basic = [{"Type": "BASIC_AUTH", "URI": "arn:aws:secretsmanager:us-east-1:000000000000:secret:s"}]
    moment = datetime.datetime(2025, 2, 17, 16, 33, tzinfo=datetime.timezone.utc)
    kinds = {
        "stream": dict(EventSourceArn=f"arn:aws:kinesis:{AT}:stream/s", StartingPosition="AT_TIMESTAMP",
                       StartingPositionTimestamp=moment, ParallelizationFactor=2, TumblingWindowInSeconds=9,
                       DestinationConfig={"OnFailure": {"Destination": "arn:aws:s3:::bucket"}}),
        "table": dict(EventSourceArn=f"arn:aws:dynamodb:{AT}:table/t/stream/2025-02-17T16:33:01.784",
                      StartingPosition="TRIM_HORIZON", MaximumRetryAttempts=3, BisectBatchOnFunctionError=True),
        "msk": dict(EventSourceArn=f"arn:aws:kafka:{AT}:cluster/c/1-2", Topics=["topic"],
                    ProvisionedPollerConfig={"MinimumPollers": 1, "MaximumPollers": 2}),
        "kafka": dict(SelfManagedEventSource={"Endpoints": {"KAFKA_BOOTSTRAP_SERVERS": ["kafka:9092"]}},
                      Topics=["topic"], SourceAccessConfigurations=basic, StartingPosition="LATEST"),
        "mq": dict(EventSourceArn=f"arn:aws:mq:{AT}:broker:b:b-1", Queues=["queue"],
                   SourceAccessConfigurations=basic),
        "documentdb": dict(EventSourceArn=f"arn:aws:rds:{AT}:cluster:c", SourceAccessConfigurations=basic,
                           DocumentDBEventSourceConfig={"DatabaseName": "db", "FullDocument": "UpdateLookup"}),
    }
    for kind, members in kinds.items():
        made = client.create_event_source_mapping(FunctionName=function, Enabled=False, **members)
        assert {name: made[name] for name in members} == members, kind
        assert made["BatchSize"] == 100, kind
        status, code, text = refused(client.create_event_source_mapping, FunctionName=function, Enabled=False,
                                     **members)
        assert (status, code) == (409, "ResourceConflictException"), kind
        assert text.endswith(f"already exists. Please update or delete the existing mapping with UUID {made['UUID']}")


def test_what_would_have_to_be_obeyed_is_refused_by_name(client, function):
    for more in ({}, {"Enabled": True}):
        status, _, text = refused(client.create_event_source_mapping, FunctionName=function,
                                  EventSourceArn=queue(), **more)
        assert status == 501 and "Enabled" in text
    made = client.create_event_source_mapping(FunctionName=function, EventSourceArn=queue(), Enabled=False)
    settled(client, made["UUID"])
    status, _, text = refused(client.update_event_source_mapping, UUID=made["UUID"], Enabled=True)
    assert status == 501 and "Enabled" in text
    assert client.get_event_source_mapping(UUID=made["UUID"])["State"] == "Disabled"
    status, _, text = refused(client.create_event_source_mapping, FunctionName=function, EventSourceArn=queue(),
                              Enabled=False, KMSKeyArn=f"arn:aws:kms:{AT}:key/k")
    assert status == 501 and "KMSKeyArn" in text


@pytest.mark.parametrize("more, text", [
    ({"BatchSize": 11}, "Maximum batch window in seconds must be greater than 0 if maximum batch size is greater "
                        "than 10"),
    ({"StartingPosition": "LATEST"}, "StartingPosition is not valid for SQS event sources."),
    ({"FilterCriteria": {"Filters": [{"Pattern": '{"eventSource": "aws:sqs"}'}]}},
     "Invalid filter pattern definition."),
    ({"FunctionName": "doesnotexist"}, "Function does not exist"),
    ({"EventSourceArn": f"arn:aws:sns:{AT}:topic"}, "Unrecognized event source."),
    ({"DestinationConfig": {"OnSuccess": {"Destination": f"arn:aws:sqs:{AT}:q"}}},
     "Unsupported DestinationConfig parameter for given event source mapping type."),
    ({"ParallelizationFactor": 2},
     "Unsupported 'parallelizationFactor' parameter for given event source mapping type."),
])
def test_mistakes_are_told_in_awss_words(client, function, more, text):
    call = {"FunctionName": function, "EventSourceArn": queue(), "Enabled": False} | more
    assert refused(client.create_event_source_mapping, **call) == (400, "InvalidParameterValueException", text)


def test_lists_of_mappings(client, functions):
    name = functions.python(ECHO)
    sources = [queue() for _ in range(7)]
    for source in sources:
        client.create_event_source_mapping(FunctionName=name, EventSourceArn=source, Enabled=False)
    paginator = client.get_paginator("list_event_source_mappings")
    pages = list(paginator.paginate(FunctionName=name, PaginationConfig={"PageSize": 3}))
    assert [len(page["EventSourceMappings"]) for page in pages] == [3, 3, 1]
    listed = [one for page in pages for one in page["EventSourceMappings"]]
    assert sorted(one["EventSourceArn"] for one in listed) == sorted(sources)
    assert [one["UUID"] for one in listed] == sorted(one["UUID"] for one in listed)
    one = client.list_event_source_mappings(EventSourceArn=sources[3])["EventSourceMappings"]
    assert [mapping["EventSourceArn"] for mapping in one] == [sources[3]]
    assert client.list_event_source_mappings(FunctionName=f"{name}:$LATEST")["EventSourceMappings"] == []


def test_settings_of_asynchronous_invokes(client, functions, function):
    arn = f"arn:aws:lambda:{AT}:function:{function}"
    other = functions.python(ECHO)
    put = client.put_function_event_invoke_config(
        FunctionName=function, MaximumRetryAttempts=0, MaximumEventAgeInSeconds=60,
        DestinationConfig={"OnSuccess": {"Destination": f"arn:aws:lambda:{AT}:function:{other}"},
                           "OnFailure": {"Destination": "arn:aws:s3:::bucket"}})
    assert put["FunctionArn"] == f"{arn}:$LATEST"
    assert isinstance(put["LastModified"], datetime.datetime)
    assert plain(client.get_function_event_invoke_config(FunctionName=function)) == plain(put)
    for qualifier in ("1", "live"):
        client.put_function_event_invoke_config(FunctionName=function, Qualifier=qualifier, MaximumRetryAttempts=1)
    changed = client.update_function_event_invoke_config(FunctionName=f"{arn}:live", MaximumEventAgeInSeconds=99)
    assert (changed["MaximumRetryAttempts"], changed["MaximumEventAgeInSeconds"]) == (1, 99)
    assert changed["DestinationConfig"] == {"OnSuccess": {}, "OnFailure": {}}
    paginator = client.get_paginator("list_function_event_invoke_configs")
    pages = paginator.paginate(FunctionName=function, PaginationConfig={"PageSize": 2})
    listed = [one["FunctionArn"] for page in pages for one in page["FunctionEventInvokeConfigs"]]
    assert listed == [f"{arn}:$LATEST", f"{arn}:1", f"{arn}:live"]
    client.delete_function_event_invoke_config(FunctionName=function, Qualifier="1")
    assert refused(client.get_function_event_invoke_config, FunctionName=function, Qualifier="1") == \
        (404, "ResourceNotFoundException", f"The function {arn}:1 doesn't have an EventInvokeConfig")
    assert refused(client.put_function_event_invoke_config, FunctionName=function, Qualifier="dead",
                   MaximumRetryAttempts=1) == (404, "ResourceNotFoundException", "The function doesn't exist.")
    assert refused(client.put_function_event_invoke_config, FunctionName=function,
                   DestinationConfig={"OnSuccess": {"Destination": arn}}) == \
        (400, "InvalidParameterValueException", "You can't specify the function as a destination for itself.")


def test_dead_letters(client, functions):
    name = functions.python(ECHO)
    target = {"TargetArn": f"arn:aws:sqs:{AT}:dead"}
    changed = client.update_function_configuration(FunctionName=name, DeadLetterConfig=target)
    assert changed["DeadLetterConfig"] == target
    client.get_waiter("function_updated_v2").wait(FunctionName=name, WaiterConfig={"Delay": 1})
    assert client.get_function_configuration(FunctionName=name)["DeadLetterConfig"] == target
    changed = client.update_function_configuration(FunctionName=name, DeadLetterConfig={"TargetArn": ""})
    assert "DeadLetterConfig" not in changed




def test_with_the_cli(cli, function):
    source = queue()
    made = cli("create-event-source-mapping", "--function-name", function, "--event-source-arn", source,
               "--no-enabled", "--batch-size", "5", "--filter-criteria",
               json.dumps({"Filters": [{"Pattern": json.dumps({"body": {"a": [1]}})}]}))
    assert (made["State"], made["BatchSize"]) == ("Creating", 5)
    found = cli("list-event-source-mappings", "--function-name", function, "--event-source-arn", source)
    assert [one["UUID"] for one in found["EventSourceMappings"]] == [made["UUID"]]
    until(lambda: cli("get-event-source-mapping", "--uuid", made["UUID"])["State"] == "Disabled", "the mapping")
    assert cli("delete-event-source-mapping", "--uuid", made["UUID"])["State"] == "Deleting"


def test_what_is_stored_survives_a_kill(fresh_server):
    one = fresh_server()
    client = one.client()
    name = Functions(client).python(ECHO, DeadLetterConfig={"TargetArn": f"arn:aws:sns:{AT}:dead"})
    made = client.create_event_source_mapping(FunctionName=name, EventSourceArn=queue(), Enabled=False)
    gone_too = client.create_event_source_mapping(FunctionName=name, EventSourceArn=queue(), Enabled=False)
    settled(client, gone_too["UUID"])
    client.delete_event_source_mapping(UUID=gone_too["UUID"])
    put = client.put_function_event_invoke_config(FunctionName=name, MaximumRetryAttempts=1)
    one.kill()
    one.start()
    client = one.client()
    assert plain(settled(client, made["UUID"])) == plain(made) | {"State": "Disabled"}
    gone(client, gone_too["UUID"])
    assert plain(client.get_function_event_invoke_config(FunctionName=name)) == plain(put)
    shown = client.get_function_configuration(FunctionName=name)
    assert shown["DeadLetterConfig"] == {"TargetArn": f"arn:aws:sns:{AT}:dead"}
