"""Java functions as their authors know them from AWS, in the sandbox: packages, handlers, events, context, errors, logs."""

import base64
import json
import re

import pytest

from support.extensions import publish
from support.functions import JAVA, wait_updated, zip_of
from support.server import ACCOUNT, REGION
from support.tools import java_classes_of_package, java_package
from support.wait import until

DOES = "lambic.Does"
UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
TRACE = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1"
EVENTS = [None, 1.5, 10**15, "ünï ☃ \U0001f600 \x00 \u2028", [1, [2, {"a": [None]}]], {"key": "välue", "nested": {"list": [1]}, "": 0}]


@pytest.fixture(scope="module")
def package():
    return java_package()


@pytest.fixture(scope="module")
def classes():
    return java_classes_of_package()


@pytest.fixture
def does(functions, package):
    name = functions.java(package, DOES)
    return lambda do, **more: functions.invoke(name, {"do": do, **more})


def test_events_come_back_as_they_went(does):
    for event in EVENTS:
        answer = does("echo", value=event)
        assert (answer.status, answer.error, answer.value) == (200, None, event)
    big = "x" * (6 * 1024 * 1024 - 100)
    assert does("echo", value=big).value == big
    too_big = does("big", n=7_000_000)
    assert (too_big.error, too_big.value["errorType"]) == ("Unhandled", "Function.ResponseSizeTooLarge")
    assert does("echo", value=1).value == 1


@pytest.mark.parametrize("runtime", ["java8.al2", "java11", "java17", "java21", "java25"])
def test_every_runtime_of_aws_is_served(functions, client, package, runtime):
    name = functions.java(package, DOES, Runtime=runtime)
    answer = functions.invoke(name, {"do": "process"})
    assert answer.value["execution"] == f"AWS_Lambda_{runtime}", answer
    # A newer Java may stand in for one that this machine does not have.
    served, wanted = answer.value["java"].removeprefix("1."), re.match(r"java(\d+)", runtime)[1]
    assert int(served) >= int(wanted) or runtime in ("java21", "java25"), answer
    assert client.get_function_configuration(FunctionName=name)["Runtime"] == runtime


def test_packages_as_one_jar_or_with_jars_in_lib(functions, package, classes):
    for files in (package, classes):
        answer = functions.invoke(functions.java(files, DOES, env={"OWN": "ä"}), {"do": "process"})
        assert answer.error is None, answer
        value = answer.value
        assert (value["own"], value["here"], value["code"], value["ours"]) == ("ä", "/var/task", True, [])
        assert value["child"] == "ä /var/task", "what it starts sees the same"


def test_a_layer_brings_jars(functions, client, package):
    own = {name: content for name, content in package.items() if "java-function" in name}
    theirs = {f"java/{name}": content for name, content in package.items() if "java-function" not in name}
    name = functions.java(own, "lambic.Events::scheduled", Layers=[publish(client, theirs)])
    event = {"detail-type": "Scheduled Event", "time": "2026-11-28T00:00:00Z"}
    assert functions.invoke(name, event).value == "Scheduled Event 1795824000000"


RECORDS = {
    "s3": ([{"eventTime": "2026-11-28T00:00:00.000Z", "s3": {"bucket": {"name": "b"}, "object": {"key": "a+b%C3%A4"}}}],
           ["b/a bä 2026-11-28T00:00:00.000Z"]),
    "sqs": ([{"messageId": "m", "body": "ü", "eventSourceARN": "arn:q", "messageAttributes": {"a": {"stringValue": "v", "dataType": "String"}}}],
            ["m ü arn:q v"]),
    "sns": ([{"Sns": {"Message": "hello", "Timestamp": "2026-11-28T00:00:00.000Z"}}], "hello 1795824000000"),
    "dynamodb": ([{"dynamodb": {"NewImage": {"id": {"N": "101"}}}}], "101"),
    "kinesis": ([{"kinesis": {"data": base64.b64encode("dätä".encode()).decode()}}], "dätä"),
}


@pytest.mark.parametrize("source", RECORDS)
def test_events_of_aws_have_their_types(functions, package, source):
    records, expected = RECORDS[source]
    answer = functions.invoke(functions.java(package, f"lambic.Events::{source}"), {"Records": records})
    assert (answer.error, answer.value) == (None, expected), answer


def test_a_request_over_http(functions, package):
    name = functions.java(package, "lambic.Events::http")
    answer = functions.invoke(name, {"queryStringParameters": {"name": "Ä"}, "requestContext": {"http": {"method": "POST"}}})
    assert answer.error is None, answer
    value = answer.value
    assert (value["statusCode"], value["headers"], value["body"]) == (201, {"x-java": "POST"}, "hello Ä")


def test_the_context_object(functions, client, package):
    name = functions.java(package, DOES, Timeout=8)
    told = base64.b64encode(json.dumps({"custom": {"who": "Grüße"}}).encode()).decode()
    answer = functions.invoke(name, {"do": "context"}, ClientContext=told)
    value = answer.value
    assert (value["function"], value["version"], value["memory"]) == (name, "$LATEST", 512)
    assert value["arn"] == f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{name}"
    assert value["request_id"] == answer.request_id and re.fullmatch(UUID, answer.request_id)
    assert value["log_group"] == f"/aws/lambda/{name}" and "[$LATEST]" in value["log_stream"]
    assert 0 < value["remaining_ms"] <= 8000 and value["client"] == {"who": "Grüße"}
    assert re.match("Root=1-[0-9a-f]{8}-[0-9a-f]{24};", value["trace"])


def test_errors_are_documents_and_logged(does):
    answer = does("error")
    assert answer.error == "Unhandled"
    assert list(answer.value) == ["errorMessage", "errorType", "stackTrace"]
    assert (answer.value["errorMessage"], answer.value["errorType"]) == ("the Java function refused", "lambic.Does$Refused")
    assert answer.value["stackTrace"][0].startswith("lambic.Does.handleRequest(Does.java:")
    assert not any("lambic.runtime" in frame for frame in answer.value["stackTrace"])
    lines = answer.log.splitlines()
    assert lines[1:3] == ["the Java function refused: lambic.Does$Refused", "lambic.Does$Refused: the Java function refused"]
    assert "Caused by: java.lang.IllegalStateException: because" in lines


def test_what_is_no_handler_is_named(functions, package):
    for handler, message, kind in [
        ("lambic.Absent", "Class not found: lambic.Absent", "java.lang.ClassNotFoundException"),
        ("lambic.Does::absent", "No public method named absent with appropriate method signature found on class lambic.Does", None),
    ]:
        answer = functions.invoke(functions.java(package, handler))
        assert (answer.error, answer.value["errorMessage"], answer.value.get("errorType")) == ("Unhandled", message, kind)


@pytest.mark.parametrize("do, error_type, text", [
    ("exit", "Runtime.ExitError", "exit status 7"),
    ("deep", "java.lang.StackOverflowError", "java.lang.StackOverflowError"),
    ("memory", "java.lang.OutOfMemoryError", "Java heap space"),
])
def test_after_these_the_next_invoke_has_a_fresh_environment(does, do, error_type, text):
    instance = does("instance").value
    assert does("instance").value == instance
    answer = does(do, n=7)
    assert (answer.error, answer.value["errorType"]) == ("Unhandled", error_type)
    assert text in answer.value["errorMessage"]
    assert does("instance").value != instance


def test_memory_outside_the_heap_has_the_function_s_limit(functions, package):
    name = functions.java(package, DOES, MemorySize=256)
    answer = functions.invoke(name, {"do": "outside the heap"})
    assert answer.error == "Unhandled" and answer.report.used <= 256, answer
    assert answer.value["errorType"] in ("Runtime.ExitError", "Runtime.OutOfMemory", "java.lang.OutOfMemoryError"), answer


def test_a_timeout_ends_it(functions, package):
    name = functions.java(package, DOES, Timeout=1)
    first = functions.invoke(name, {"do": "instance"}).value
    answer = functions.invoke(name, {"do": "sleep", "n": 30_000})
    assert (answer.error, answer.report.status) == ("Unhandled", "timeout")
    assert functions.invoke(name, {"do": "instance"}).value != first


@pytest.mark.parametrize("memory", [128, 256, 1024])
def test_the_heap_is_sized_by_the_memory(functions, package, memory):
    answer = functions.invoke(functions.java(package, DOES, MemorySize=memory), {"do": "process"})
    assert memory * 0.80 <= answer.value["heap_mb"] <= memory * 0.86, answer


def test_it_has_threads(does):
    assert does("threads", n=200).value == 200


def test_logs_as_text_and_as_json(functions, client, package):
    name = functions.java(package, DOES)
    answer = functions.invoke(name, {"do": "print"})
    assert answer.log.splitlines()[1:5] == ["printed ä", "to the other stream", "logged", "in two lines"]
    client.update_function_configuration(
        FunctionName=name, LoggingConfig={"LogFormat": "JSON", "ApplicationLogLevel": "INFO", "SystemLogLevel": "WARN"})
    wait_updated(client, name)
    answer = functions.invoke(name, {"do": "print"})
    records = [json.loads(line) for line in answer.log.splitlines() if line.startswith("{")]
    ours = [one for one in records if one.get("level") == "UNDEFINED"]
    assert [(one["message"], one["AWSRequestId"]) for one in ours] == [("logged\nin two lines\n", answer.request_id)]


def test_snapstart_is_refused_by_name(client, package):
    for runtime in (JAVA, "java21"):
        with pytest.raises(client.exceptions.ClientError) as refused:
            client.create_function(FunctionName="snap-java", Runtime=runtime, Handler=DOES, Role="arn:aws:iam::000000000000:role/x",
                                   Code={"ZipFile": zip_of(package)}, SnapStart={"ApplyOn": "PublishedVersions"})
        assert runtime in str(refused.value) and "SnapStart" in str(refused.value)


def test_shutdown_hooks_run_with_an_extension(functions, client, package, server):
    """As on AWS the runtime hears of the end only where an extension is."""
    program = """#!/usr/bin/env python3
import json, urllib.request
base = "http://127.0.0.1:9001/2020-01-01/extension"
def ask(path, headers, body=None):
    return urllib.request.urlopen(urllib.request.Request(base + path, body, headers))
with ask("/register", {"Lambda-Extension-Name": "hooked"}, json.dumps({"events": ["SHUTDOWN"]}).encode()) as answer:
    me = answer.headers["Lambda-Extension-Identifier"]
ask("/event/next", {"Lambda-Extension-Identifier": me}).read()
"""
    files = zip_of({"extensions/hooked": program}, executable=("extensions/hooked",))
    published = client.publish_layer_version(LayerName="hooked", Content={"ZipFile": files})
    name = functions.java(package, DOES, Layers=[published["LayerVersionArn"]])
    assert functions.invoke(name, {"do": "hook"}).error is None
    client.delete_function(FunctionName=name)
    until(lambda: "the hook ran" in server.text(), "the hook of the function")
