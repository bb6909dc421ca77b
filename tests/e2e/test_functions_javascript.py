"""The same main path with the AWS SDK for JavaScript v3."""

import base64
import json

from support.functions import NODE, ROLE, new_name, zip_of

HELLO = """
exports.handler = async (event, context) => {
  console.log("greeting", event.name);
  return { hello: event.name, memory: context.memoryLimitInMB };
};
"""


def as_bytes(data):
    return {"base64": base64.b64encode(data).decode()}


def payload_of(answer):
    return json.loads(base64.b64decode(answer["Payload"]["base64"]))


def test_a_function_from_creation_to_deletion(js):
    name = new_name("js")
    made = js("CreateFunction", FunctionName=name, Runtime=NODE, Role=ROLE, Handler="index.handler",
              Code={"ZipFile": as_bytes(zip_of({"index.js": HELLO}))}, Timeout=10)
    assert made["State"] == "Pending" and made["$metadata"]["httpStatusCode"] == 201
    assert js("waitUntilFunctionActiveV2", FunctionName=name) == "SUCCESS"

    answer = js("Invoke", FunctionName=name, Payload=as_bytes(b'{"name": "world"}'), LogType="Tail")
    assert answer["StatusCode"] == 200 and "FunctionError" not in answer
    assert payload_of(answer) == {"hello": "world", "memory": "128"}
    assert "greeting world" in base64.b64decode(answer["LogResult"]).decode()

    assert js("GetFunction", FunctionName=name)["Configuration"]["Runtime"] == NODE
    names = [one["FunctionName"] for page in js("paginateListFunctions", pageSize=1) for one in page["Functions"]]
    assert name in names and len(names) == len(set(names))

    js("UpdateFunctionCode", FunctionName=name,
       ZipFile=as_bytes(zip_of({"index.js": "exports.handler = async () => 'new';"})))
    assert js("waitUntilFunctionUpdatedV2", FunctionName=name) == "SUCCESS"
    assert payload_of(js("Invoke", FunctionName=name)) == "new"
    assert js("UpdateFunctionConfiguration", FunctionName=name, Timeout=8)["Timeout"] == 8
    assert js("waitUntilFunctionUpdated", FunctionName=name) == "SUCCESS"
    assert js("GetFunctionConfiguration", FunctionName=name)["Timeout"] == 8
    assert js("DeleteFunction", FunctionName=name)["StatusCode"] == 204
    assert js.fails("GetFunction", FunctionName=name)["name"] == "ResourceNotFoundException"


def test_errors_are_the_classes_of_the_sdk(js, functions):
    error = js.fails("GetFunction", FunctionName="nobody")
    assert (error["name"], error["status"], error["fault"]) == ("ResourceNotFoundException", 404, "client")
    assert error["Type"] == "User"
    assert error["message"].startswith("Function not found: arn:aws:lambda:")
    name = functions.node("exports.handler = async () => { throw new RangeError('too far'); };")
    answer = js("Invoke", FunctionName=name)
    assert answer["FunctionError"] == "Unhandled"
    assert payload_of(answer)["errorType"] == "RangeError"
    error = js.fails("ListCapacityProviders")
    assert error["status"] == 501 and "ListCapacityProviders" in error["message"]


def test_account_settings(js):
    assert js("GetAccountSettings")["AccountLimit"]["ConcurrentExecutions"] == 1000
