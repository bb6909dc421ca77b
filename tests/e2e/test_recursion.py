"""Functions that set themselves off: how often, and PutFunctionRecursionConfig."""

import json

import pytest
from botocore.exceptions import ClientError

from support.functions import PYTHON, sdk_files
from support.http import request

# Through boto3 alone, without a word about traces: it passes on the header of its invocation.
SELF = """
import boto3, json, os
client = boto3.client("lambda")
def handler(event, context):
    if event["left"] == 0:
        return {"depth": 1, "stopped": None}
    event = {"left": event["left"] - 1}
    try:
        reply = client.invoke(FunctionName=os.environ["AWS_LAMBDA_FUNCTION_NAME"], Payload=json.dumps(event))
    except client.exceptions.RecursiveInvocationException as error:
        return {"depth": 1, "stopped": error.response}
    answer = json.loads(reply["Payload"].read())
    return {**answer, "depth": answer["depth"] + 1}
"""
TRACE = "import os\ndef handler(event, context): return os.environ['_X_AMZN_TRACE_ID']\n"
TEXT = ("Lambda has detected your function being invoked in a recursive loop with other AWS resources and stopped "
        "your function's invocation.")


def test_a_function_that_invokes_itself_is_stopped_after_sixteen_times_unless_it_is_allowed(client, functions):
    name = functions.create(files={"app.py": SELF, **sdk_files()}, MemorySize=256, Timeout=120)
    assert client.get_function_recursion_config(FunctionName=name)["RecursiveLoop"] == "Terminate"
    answer = functions.invoke(name, {"left": 100}).value
    stopped = answer["stopped"]
    assert answer["depth"] == 16
    assert stopped["ResponseMetadata"]["HTTPStatusCode"] == 400
    assert stopped["Error"] == {"Code": "RecursiveInvocationException", "Message": TEXT} and stopped["Type"] == "User"

    changed = client.put_function_recursion_config(FunctionName=name, RecursiveLoop="Allow")
    assert changed["RecursiveLoop"] == "Allow"
    assert client.get_function_recursion_config(FunctionName=name)["RecursiveLoop"] == "Allow"
    assert functions.invoke(name, {"left": 17}).value == {"depth": 18, "stopped": None}


def invoke(server, name, header):
    path = f"/2015-03-31/functions/{name}/invocations"
    return request(server.port, "POST", path, b"{}", headers={"X-Amzn-Trace-Id": header} if header else {})


def test_each_function_of_a_chain_has_its_own_count(server, client, functions):
    one, two = functions.python(TRACE), functions.python(TRACE)
    header = None
    for _ in range(16):
        for name in (one, two):
            reply = invoke(server, name, header)
            assert reply.status == 200, reply
            header = reply.json
    lineage = header.split(";Lineage=")[1].split("|")
    assert len(lineage) == 2 and all(part.endswith(":15") for part in lineage), header
    dropped = lambda: int(request(server.port, "GET", "/metrics").body.decode().split(
        "\nlambic_recursive_invocations_dropped_total ")[1].split()[0])
    before = dropped()
    refused = invoke(server, one, header)
    assert dropped() >= before + 1
    assert (refused.status, refused.code, refused.message) == (400, "RecursiveInvocationException", TEXT)
    # The one goes on, and is none of the other's business.
    client.put_function_recursion_config(FunctionName=one, RecursiveLoop="Allow")
    reply = invoke(server, one, header)
    assert reply.status == 200
    assert invoke(server, two, reply.json).code == "RecursiveInvocationException"
    # Another chain begins from nothing, also under the same trace.
    assert invoke(server, two, None).status == 200
    assert invoke(server, two, header.split(";Lineage=")[0]).status == 200
    # Streams too.
    path = f"/2021-11-15/functions/{two}/response-streaming-invocations"
    streamed = request(server.port, "POST", path, b"{}", headers={"X-Amzn-Trace-Id": header})
    assert streamed.code == "RecursiveInvocationException"


def test_bad_settings_are_refused(client, functions):
    name = functions.python(TRACE, wait=False)
    with pytest.raises(ClientError) as refusal:
        client.put_function_recursion_config(FunctionName=name, RecursiveLoop="Sometimes")
    assert refusal.value.response["Error"] == {
        "Code": "ValidationException",
        "Message": "1 validation error detected: Value 'Sometimes' at 'recursiveLoop' failed to satisfy constraint: "
                   "Member must satisfy enum value set: [Terminate, Allow]"}
    with pytest.raises(client.exceptions.ResourceNotFoundException):
        client.get_function_recursion_config(FunctionName="nobody")


def test_runtime_management(client, functions):
    name = functions.python(TRACE)
    assert client.get_runtime_management_config(FunctionName=name)["UpdateRuntimeOn"] == "Auto"
    version = client.get_function_configuration(FunctionName=name)["RuntimeVersionConfig"]["RuntimeVersionArn"]
    pinned = client.put_runtime_management_config(
        FunctionName=name, UpdateRuntimeOn="Manual", RuntimeVersionArn=version)
    assert (pinned["UpdateRuntimeOn"], pinned["RuntimeVersionArn"]) == ("Manual", version)
    assert client.get_runtime_management_config(FunctionName=name)["RuntimeVersionArn"] == version
    with pytest.raises(client.exceptions.InvalidParameterValueException, match="is not available"):
        client.put_runtime_management_config(
            FunctionName=name, UpdateRuntimeOn="Manual", RuntimeVersionArn=version[:-1] + "x")
    with pytest.raises(client.exceptions.InvalidParameterValueException, match="is not available"):
        client.update_function_configuration(FunctionName=name, Runtime="python3.12")
    # Each version has its own.
    number = client.publish_version(FunctionName=name)["Version"]
    client.put_runtime_management_config(FunctionName=name, Qualifier=number, UpdateRuntimeOn="FunctionUpdate")
    of_version = client.get_runtime_management_config(FunctionName=name, Qualifier=number)
    assert of_version["UpdateRuntimeOn"] == "FunctionUpdate" and of_version["FunctionArn"].endswith(f":{name}:{number}")
    assert client.get_runtime_management_config(FunctionName=name)["UpdateRuntimeOn"] == "Manual"
    client.put_runtime_management_config(FunctionName=name, UpdateRuntimeOn="Auto")
    client.update_function_configuration(FunctionName=name, Runtime=PYTHON)
    with pytest.raises(client.exceptions.ResourceNotFoundException):
        client.get_runtime_management_config(FunctionName=name, Qualifier="77")
    assert json.loads(client.invoke(FunctionName=name)["Payload"].read())
