"""Layers, from publishing to what a function finds in /opt."""

import hashlib
import json
import urllib.request
from base64 import b64encode

import pytest
from botocore.exceptions import ClientError

from support.extensions import publish
from support.functions import CUSTOM, NODE, Functions, new_name, wait_updated, zip_of
from support.wait import until

READ = """
import os
def handler(event, context):
    found = {}
    for folder, _, files in os.walk("/opt"):
        for file in files:
            with open(os.path.join(folder, file)) as text:
                found[os.path.join(folder, file)] = text.read()
    return found
"""


def refused(call, **arguments):
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    answer = caught.value.response
    return answer["ResponseMetadata"]["HTTPStatusCode"], answer["Error"]["Code"], answer["Error"]["Message"]


def test_what_is_published_comes_back(client):
    name, package = new_name("layer"), zip_of({"python/tool.py": "x = 1\n"})
    published = client.publish_layer_version(
        LayerName=name, Description="tools", Content={"ZipFile": package}, LicenseInfo="MIT",
        CompatibleRuntimes=["python3.13", "nodejs22.x"], CompatibleArchitectures=["x86_64"])
    arn = f"arn:aws:lambda:us-east-1:000000000000:layer:{name}"
    assert (published["LayerArn"], published["LayerVersionArn"], published["Version"]) == (arn, f"{arn}:1", 1)
    assert published["Content"]["CodeSha256"] == b64encode(hashlib.sha256(package).digest()).decode()
    for found in (client.get_layer_version(LayerName=name, VersionNumber=1),
                  client.get_layer_version(LayerName=arn, VersionNumber=1),
                  client.get_layer_version_by_arn(Arn=f"{arn}:1")):
        location = found["Content"].pop("Location")
        assert urllib.request.urlopen(location).read() == package
        same = dict(published, Content={key: value for key, value in published["Content"].items() if key != "Location"})
        assert {**found, "ResponseMetadata": None} == {**same, "ResponseMetadata": None}
    listed = client.list_layer_versions(LayerName=name, CompatibleRuntime="nodejs22.x")["LayerVersions"]
    assert [version["Version"] for version in listed] == [1]
    assert client.list_layer_versions(LayerName=name, CompatibleRuntime="java21")["LayerVersions"] == []
    all_layers = [layer for page in client.get_paginator("list_layers").paginate() for layer in page["Layers"]]
    assert [layer["LatestMatchingVersion"]["Version"] for layer in all_layers if layer["LayerName"] == name] == [1]


def test_later_layers_stand_over_earlier_ones(functions, client):
    first = publish(client, {"a": "1", "both": "1", "lib/x": "1"})
    second = publish(client, {"b": "2", "both": "2", "lib/y": "2"})
    name = functions.create(READ, Layers=[first, second])
    assert functions.invoke(name).value == {
        "/opt/a": "1", "/opt/b": "2", "/opt/both": "2", "/opt/lib/x": "1", "/opt/lib/y": "2"}
    shown = client.get_function_configuration(FunctionName=name)["Layers"]
    assert [layer["Arn"] for layer in shown] == [first, second]
    client.update_function_configuration(FunctionName=name, Layers=[second, first])
    wait_updated(client, name)
    assert functions.invoke(name).value["/opt/both"] == "1"
    client.update_function_configuration(FunctionName=name, Layers=[])
    wait_updated(client, name)
    assert functions.invoke(name).value == {}
    assert "Layers" not in client.get_function_configuration(FunctionName=name)


def test_opt_is_read_only(functions, client):
    name = functions.create("""
def handler(event, context):
    try:
        open("/opt/new", "w")
    except OSError as error:
        return error.errno
""", Layers=[publish(client, {"a": "1"})])
    assert functions.invoke(name).value == 30


def test_python_imports_from_layers(functions, client):
    layer = publish(client, {
        "python/tool.py": "where = __file__\n",
        "python/lib/python3.13/site-packages/package.py": "where = __file__\n",
        "python/app_helper.py": "where = 'the layer'\n",
        "bin/tool": "#!/bin/sh\necho from a layer\n",
    })
    name = functions.create(files={
        "app.py": """
import subprocess, app_helper, package, tool
def handler(event, context):
    return [tool.where, package.where, app_helper.where, subprocess.check_output(["tool"], text=True)]
""", "app_helper.py": "where = 'the function'\n"}, Layers=[layer])
    assert functions.invoke(name).value == [
        "/opt/python/tool.py", "/opt/python/lib/python3.13/site-packages/package.py", "the function", "from a layer\n"]


def test_node_requires_from_layers(functions, client):
    layer = publish(client, {"nodejs/node_modules/tool/index.js": "module.exports = __filename;\n"})
    name = functions.node("const tool = require('tool'); exports.handler = async () => tool;\n",
                          Layers=[layer], Runtime=NODE)
    assert functions.invoke(name).value == "/opt/nodejs/node_modules/tool/index.js"


BOOTSTRAP = r"""#!/bin/bash
    api="http://$AWS_LAMBDA_RUNTIME_API/2018-06-01/runtime/invocation"
    while true; do
      headers=$(mktemp)
      curl -sS -D "$headers" "$api/next" > /dev/null || exit 1
      id=$(sed -n 's/^lambda-runtime-aws-request-id: *\([^\r]*\).*/\1/Ip' "$headers")
      curl -sS -o /dev/null -d "\"$0\"" "$api/$id/response"
    done
"""


def test_a_layer_may_bring_the_runtime(functions, client):
    layer = publish(client, {"bootstrap": BOOTSTRAP})
    name = functions.create(files={"data": "x"}, Runtime=CUSTOM, Layers=[layer])
    assert functions.invoke(name).value == "/opt/bootstrap"
    own = functions.create(files={"bootstrap": BOOTSTRAP}, Runtime=CUSTOM, Layers=[layer])
    assert functions.invoke(own).value == "/var/task/bootstrap"


def test_a_layer_may_bring_the_wrapper(functions, client):
    layer = publish(client, {"wrapper": "#!/bin/bash\nexport WRAPPED=yes\nexec \"$@\"\n"})
    name = functions.create("import os\ndef handler(event, context): return os.environ['WRAPPED']\n",
                            Layers=[layer], env={"AWS_LAMBDA_EXEC_WRAPPER": "/opt/wrapper"})
    assert functions.invoke(name).value == "yes"


def test_a_deleted_version_goes_on_where_it_is_used(fresh_server):
    server = fresh_server()
    client = server.client()
    functions = Functions(client)
    first, second = publish(client, {"a": "1"}, "one"), publish(client, {"b": "2"}, "two")
    name = functions.create(READ, Layers=[first, second])
    publish(client, {"c": "unused"}, "gone")
    for layer in ("one", "two", "gone"):
        client.delete_layer_version(LayerName=layer, VersionNumber=1)
    assert refused(client.get_layer_version, LayerName="one", VersionNumber=1)[:2] == (404, "ResourceNotFoundException")
    other = {"FunctionName": "other", "Runtime": "python3.13", "Handler": "app.handler",
             "Role": "arn:aws:iam::000000000000:role/r", "Code": {"ZipFile": zip_of({"app.py": READ})}}
    assert refused(client.create_function, Layers=[first], **other) == (
        400, "InvalidParameterValueException", f"Layer version {first} does not exist.")
    # After a crash and the sweep that follows a start it is still there; what nobody uses is not.
    server.kill()
    server.start()
    until(lambda: "unused packages removed" in server.text(), "the unused layer to be swept")
    client = server.client()
    assert Functions(client).invoke(name).value == {"/opt/a": "1", "/opt/b": "2"}
    # The number is not given again.
    assert client.publish_layer_version(LayerName="one", Content={"ZipFile": zip_of({"a": "3"})})["Version"] == 2
    assert server.stop() == 0


def test_code_and_layers_have_a_limit_together(functions, client):
    big = publish(client, {"zeros": bytes(200 * 1024 * 1024)})
    name = functions.create("def handler(event, context): return event\n", Layers=[big])
    assert functions.invoke(name, 1).value == 1
    status, code, text = refused(
        client.update_function_code, FunctionName=name,
        ZipFile=zip_of({"app.py": "x = 1\n", "zeros": bytes(60 * 1024 * 1024)}))
    assert (status, code) == (400, "InvalidParameterValueException")
    assert text.startswith("Function code combined with layers exceeds the maximum allowed size of 262144000 bytes.")
    more = publish(client, {"zeros": bytes(60 * 1024 * 1024)})
    assert refused(client.update_function_configuration, FunctionName=name, Layers=[big, more])[2] == (
        "Layers consume more than the available size of 262144000 bytes")


def test_the_cli_publishes_and_uses(cli, tmp_path):
    package = tmp_path / "layer.zip"
    package.write_bytes(zip_of({"python/tool.py": "x = 7\n"}))
    name = new_name("layer")
    published = cli("publish-layer-version", "--layer-name", name, "--zip-file",
                               f"fileb://{package}", "--compatible-runtimes", "python3.13")
    found = cli("get-layer-version-by-arn", "--arn", published["LayerVersionArn"])
    assert found["CompatibleRuntimes"] == ["python3.13"]
    listed = cli("list-layers", "--compatible-runtime", "python3.13")
    assert name in [layer["LayerName"] for layer in listed["Layers"]]
    assert cli("delete-layer-version", "--layer-name", name, "--version-number", "1") is None



def test_other_accounts_use_what_they_are_let(server, client):
    layer = new_name("layer")
    arn = publish(client, {"a": "theirs"}, layer)
    other = server.client(account="222222222222")
    settings = {"Runtime": "python3.13", "Handler": "app.handler", "Role": "arn:aws:iam::222222222222:role/r",
                "Code": {"ZipFile": zip_of({"app.py": READ})}, "Layers": [arn]}
    assert refused(other.create_function, FunctionName="uses", **settings)[:2] == (403, "AccessDeniedException")
    assert refused(other.get_layer_version_by_arn, Arn=arn)[:2] == (403, "AccessDeniedException")
    added = client.add_layer_version_permission(
        LayerName=layer, VersionNumber=1, StatementId="friend", Action="lambda:GetLayerVersion",
        Principal="222222222222")
    policy = client.get_layer_version_policy(LayerName=layer, VersionNumber=1)
    assert json.loads(policy["Policy"])["Statement"] == [json.loads(added["Statement"])]
    assert other.get_layer_version_by_arn(Arn=arn)["LayerVersionArn"] == arn
    functions = Functions(other)
    functions.client.create_function(FunctionName="uses", **settings)
    other.get_waiter("function_active_v2").wait(FunctionName="uses")
    client.remove_layer_version_permission(LayerName=layer, VersionNumber=1, StatementId="friend")
    # What it has it keeps.
    assert functions.invoke("uses").value == {"/opt/a": "theirs"}
    assert refused(other.get_layer_version_by_arn, Arn=arn)[:2] == (403, "AccessDeniedException")
    third = server.client(account="333333333333")
    assert refused(third.get_layer_version, LayerName=arn.rpartition(":")[0], VersionNumber=1)[0] == 403
    other.delete_function(FunctionName="uses")
