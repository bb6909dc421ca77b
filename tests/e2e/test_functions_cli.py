"""The same main path as a shell user walks it, with the AWS CLI."""

import base64
import json

from support.functions import PYTHON, ROLE, new_name, python_zip, zip_of
from support.server import ACCOUNT, REGION

HELLO = """
import os

def handler(event, context):
    print("greeting", event["name"])
    return {"hello": event["name"], "colour": os.environ.get("COLOUR")}
"""


def test_a_function_from_creation_to_deletion(cli, tmp_path):
    name = new_name("cli")
    (tmp_path / "code.zip").write_bytes(python_zip(HELLO))
    made = cli("create-function", "--function-name", name, "--runtime", PYTHON, "--role", ROLE,
               "--handler", "app.handler", "--zip-file", "fileb://code.zip",
               "--environment", "Variables={COLOUR=blue}", "--tags", "team=one")
    assert made["State"] == "Pending"
    cli("wait", "function-active-v2", "--function-name", name)

    answer = cli("invoke", "--function-name", name, "--payload", '{"name": "world"}',
                 "--log-type", "Tail", "out.json")
    assert answer["StatusCode"] == 200 and answer["ExecutedVersion"] == "$LATEST"
    assert "FunctionError" not in answer
    assert json.loads((tmp_path / "out.json").read_text()) == {"hello": "world", "colour": "blue"}
    log = base64.b64decode(answer["LogResult"]).decode()
    assert "greeting world" in log and "REPORT RequestId: " in log

    found = cli("get-function", "--function-name", name)
    assert found["Tags"] == {"team": "one"}
    listed = cli("list-functions", "--query", "Functions[].FunctionName")
    assert name in listed
    assert cli("list-functions", "--max-items", "1")["Functions"]

    (tmp_path / "new.zip").write_bytes(zip_of({"app.py": "def handler(e, c): return 'new'\n"}))
    updated = cli("update-function-code", "--function-name", name, "--zip-file", "fileb://new.zip")
    assert updated["LastUpdateStatus"] == "InProgress"
    cli("wait", "function-updated-v2", "--function-name", name)
    changed = cli("update-function-configuration", "--function-name", name, "--timeout", "9",
                  "--memory-size", "200")
    assert (changed["Timeout"], changed["MemorySize"]) == (9, 200)
    cli("wait", "function-updated", "--function-name", name)
    cli("invoke", "--function-name", name, "out.json")
    assert (tmp_path / "out.json").read_text() == '"new"'
    assert cli("get-function-configuration", "--function-name", name)["Timeout"] == 9
    cli("delete-function", "--function-name", name)
    assert "ResourceNotFoundException" in cli.fails("get-function", "--function-name", name)


def test_errors_read_as_on_aws(cli):
    arn = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:nobody"
    assert cli.fails("get-function", "--function-name", "nobody").strip().endswith(
        "An error occurred (ResourceNotFoundException) when calling the GetFunction operation: "
        f"Function not found: {arn}")
    text = cli.fails("list-capacity-providers")
    assert "ListCapacityProviders" in text and "NotImplemented" in text


def test_account_settings_and_dry_run(cli, functions):
    name = functions.python("def handler(e, c): return 1\n")
    assert cli("get-account-settings")["AccountLimit"]["ConcurrentExecutions"] == 1000
    assert cli("invoke", "--function-name", name, "--invocation-type", "DryRun", "out.json")["StatusCode"] == 204
