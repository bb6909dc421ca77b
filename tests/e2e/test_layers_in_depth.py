"""Layers where they are easily got wrong: AWS's texts, pages, races, crashes, module paths, accounts."""

import concurrent.futures
import hashlib
import json
import urllib.request

import pytest
from botocore.exceptions import ClientError

from support.extensions import publish
from support.functions import CUSTOM, NODE, Functions, new_name, wait_updated, zip_of
from support.rootless import rootless_server
from support.wait import until
from test_layers import BOOTSTRAP, READ, refused

REGION_ARN = "arn:aws:lambda:us-east-1:000000000000"
INVALID, VALIDATION = "InvalidParameterValueException", "ValidationException"
MISSING = "ResourceNotFoundException"
ADD = {"Action": "lambda:GetLayerVersion", "VersionNumber": 1}
SMALL = zip_of({"a": "1"})


def bundles(server):
    return {path.name for path in (server.data / "blobs/bundles").iterdir()}


def test_aws_s_texts(client):
    layer = new_name("layer")
    publish(client, {"a": "1"}, layer)
    for call, arguments, expected in [
        (client.get_layer_version, {"LayerName": layer, "VersionNumber": 2},
         (404, MISSING, f"Layer version {REGION_ARN}:layer:{layer}:2 does not exist.")),
        (client.get_layer_version, {"LayerName": "doesnotexist", "VersionNumber": 1},
         (404, MISSING, f"Layer version {REGION_ARN}:layer:doesnotexist:1 does not exist.")),
        (client.get_layer_version_by_arn, {"Arn": f"{REGION_ARN}:layer:{layer}:2"},
         (404, MISSING, f"Layer version {REGION_ARN}:layer:{layer}:2 does not exist.")),
        (client.delete_layer_version, {"LayerName": layer, "VersionNumber": -1},
         (400, INVALID, "Layer Version Cannot be less than 1")),
        (client.publish_layer_version, {"LayerName": layer, "Content": {"ZipFile": b"no zip"}},
         (400, INVALID, "Could not unzip uploaded file. Please check your file, then try to upload again.")),
        (client.list_layers, {"CompatibleArchitecture": "archdoesnotexist"},
         (400, VALIDATION, "1 validation error detected: Value 'archdoesnotexist' at 'compatibleArchitecture' failed "
          "to satisfy constraint: Member must satisfy enum value set: [x86_64, arm64]")),
        (client.add_layer_version_permission,
         {**ADD, "LayerName": layer, "StatementId": "s", "Action": "*", "Principal": "*"},
         (400, VALIDATION, "1 validation error detected: Value '*' at 'action' failed to satisfy constraint: Member must "
          "satisfy regular expression pattern: lambda:GetLayerVersion")),
        (client.add_layer_version_permission,
         {**ADD, "LayerName": layer, "StatementId": "example.com", "Principal": "*"},
         (400, VALIDATION, "1 validation error detected: Value 'example.com' at 'statementId' failed to satisfy "
          "constraint: Member must satisfy regular expression pattern: ([a-zA-Z0-9-_]+)")),
        (client.get_layer_version_policy, {"LayerName": layer, "VersionNumber": 1},
         (404, MISSING, "No policy is associated with the given resource.")),
        (client.remove_layer_version_permission, {"LayerName": layer, "VersionNumber": 1, "StatementId": "doesnotexist"},
         (404, MISSING, "Statement doesnotexist is not found in resource policy.")),
    ]:
        assert refused(call, **arguments) == expected
    for member, value in [("compatibleRuntimes", {"CompatibleRuntimes": ["invalidruntime"]}),
                          ("compatibleArchitectures", {"CompatibleArchitectures": ["invalidarch"]})]:
        status, code, text = refused(client.publish_layer_version, LayerName=layer, Content={"ZipFile": SMALL}, **value)
        assert (status, code) == (400, VALIDATION)
        given = next(iter(value.values()))[0]
        assert text.startswith(
            f"1 validation error detected: Value '[{given}]' at '{member}' failed to satisfy constraint: Member must")
    from_bucket = refused(client.publish_layer_version, LayerName=layer, Content={"S3Bucket": "bucket", "S3Key": "key"})
    assert from_bucket[0] == 501 and "Content.S3Bucket" in from_bucket[2]
    # Nothing of all this made a version.
    assert [found["Version"] for found in client.list_layer_versions(LayerName=layer)["LayerVersions"]] == [1]


def test_a_function_s_layers_are_checked_before_anything_changes(functions, client):
    layer = new_name("layer")
    arns = [publish(client, {"a": "1"}, layer) for _ in range(2)]
    name = functions.create(READ, Layers=arns[:1])
    before = client.get_function_configuration(FunctionName=name)

    def update(layers, **more):
        return refused(client.update_function_configuration, **{"FunctionName": name, "Layers": layers, **more})

    assert update(arns) == (400, INVALID, (
        "Two different versions of the same layer are not allowed to be referenced in the same function. "
        f"{arns[0]} and {arns[1]} are versions of the same layer."))
    assert update([f"{REGION_ARN}:layer:{layer}:9"]) == (
        400, INVALID, f"Layer version {REGION_ARN}:layer:{layer}:9 does not exist.")
    assert update([f"{REGION_ARN}:layer:l{number}:1" for number in range(6)]) == (
        400, INVALID, "Cannot reference more than 5 layers.")
    assert update([arns[0].replace("us-east-1", "eu-west-1")]) == (400, INVALID, (
        "Layers are not in the same region as the function. Layers are expected to be in region us-east-1."))
    assert update([f"{REGION_ARN}:layer:{layer}:0"]) == (400, INVALID, "Layer Version Cannot be less than 1")
    status, code, text = update([f"{REGION_ARN}:layer:{layer}"])
    assert (status, code) == (400, VALIDATION)
    assert text.startswith(f"1 validation error detected: Value '[{REGION_ARN}:layer:{layer}]' at 'layers' failed")
    # Of a function that is not there, or that somebody else has changed, nothing else is told.
    absent = [f"{REGION_ARN}:layer:{layer}:9"]
    assert update(absent, FunctionName="doesnotexist")[:2] == (404, MISSING)
    assert update(absent, RevisionId="another")[:2] == (412, "PreconditionFailedException")
    after = client.get_function_configuration(FunctionName=name)
    assert {**after, "ResponseMetadata": None} == {**before, "ResponseMetadata": None}
    assert functions.invoke(name).value == {"/opt/a": "1"}


def test_a_layer_is_shown_wherever_its_function_is(functions, client):
    arn = publish(client, {"a": "1"})
    size = client.get_layer_version_by_arn(Arn=arn)["Content"]["CodeSize"]
    name = functions.create(READ, Layers=[arn])
    pages = client.get_paginator("list_functions").paginate()
    listed = next(found for page in pages for found in page["Functions"] if found["FunctionName"] == name)
    for shown in (client.get_function(FunctionName=name)["Configuration"],
                  client.get_function_configuration(FunctionName=name), listed,
                  client.update_function_configuration(FunctionName=name, Timeout=5)):
        assert shown["Layers"] == [{"Arn": arn, "CodeSize": size}]


def test_pages_and_filters(client):
    layer = new_name("layer")
    for number in range(7):
        made = {"CompatibleRuntimes": ["nodejs22.x" if number % 2 else "python3.13"], "CompatibleArchitectures": ["x86_64"]}
        client.publish_layer_version(LayerName=layer, Content={"ZipFile": SMALL}, Description=f"the {number + 1}", **made)
    client.delete_layer_version(LayerName=layer, VersionNumber=3)

    def pages(**filters):
        found = client.get_paginator("list_layer_versions").paginate(
            LayerName=layer, PaginationConfig={"PageSize": 2}, **filters)
        return [[version["Version"] for version in page["LayerVersions"]] for page in found]

    assert pages() == [[7, 6], [5, 4], [2, 1]]
    assert pages(CompatibleRuntime="python3.13") == [[7, 5], [1]]
    assert pages(CompatibleRuntime="nodejs22.x", CompatibleArchitecture="x86_64") == [[6, 4], [2]]
    assert pages(CompatibleArchitecture="arm64") == [[]]

    def newest(**filters):
        found = client.get_paginator("list_layers").paginate(PaginationConfig={"PageSize": 1}, **filters)
        layers = [shown for page in found for shown in page["Layers"]]
        return [shown["LatestMatchingVersion"]["Description"] for shown in layers if shown["LayerName"] == layer]

    assert newest() == ["the 7"]
    assert newest(CompatibleRuntime="nodejs22.x") == ["the 6"]
    assert newest(CompatibleArchitecture="arm64") == []
    assert refused(client.list_layer_versions, LayerName=layer, Marker="nonsense")[0] == 400


def test_five_layers_and_what_stands_in_each_other_s_place(functions, client):
    layers = [
        {"thing": "a file", "other/inner": "in a folder", "lib/one": "1"},
        {"thing/inner": "in a folder", "lib/two": "2"},
        {"other": "a file", "lib/one": "3"},
        {"lib/deep/er": "4"},
        {"lib/deep/er": "5", "last": "5"},
    ]
    arns = [publish(client, files) for files in layers]
    name = functions.create(READ, Layers=arns)
    assert functions.invoke(name).value == {
        "/opt/thing/inner": "in a folder", "/opt/other": "a file", "/opt/lib/one": "3", "/opt/lib/two": "2",
        "/opt/lib/deep/er": "5", "/opt/last": "5"}
    client.update_function_configuration(FunctionName=name, Layers=arns[::-1])
    wait_updated(client, name)
    assert functions.invoke(name).value == {
        "/opt/thing": "a file", "/opt/other/inner": "in a folder", "/opt/lib/one": "1", "/opt/lib/two": "2",
        "/opt/lib/deep/er": "4", "/opt/last": "5"}
    # Each layer alone is as it was.
    alone = functions.create(READ, Layers=arns[3:4])
    assert functions.invoke(alone).value == {"/opt/lib/deep/er": "4"}


def test_what_many_publish_at_once_is_all_there_after_a_crash(fresh_server):
    server = fresh_server()
    client = server.client()
    packages = {number: zip_of({"number": str(number)}) for number in range(24)}
    with concurrent.futures.ThreadPoolExecutor(24) as pool:
        published = list(pool.map(
            lambda number: client.publish_layer_version(LayerName="busy", Content={"ZipFile": packages[number]}),
            packages))
    server.kill()
    assert sorted(answer["Version"] for answer in published) == list(range(1, 25))
    server.start()
    client = server.client()
    for number, answer in enumerate(published):
        found = client.get_layer_version(LayerName="busy", VersionNumber=answer["Version"])
        assert urllib.request.urlopen(found["Content"]["Location"]).read() == packages[number]
        assert found["CreatedDate"] == answer["CreatedDate"]
    size = sum(len(package) for package in packages.values())
    assert client.get_account_settings()["AccountUsage"]["TotalCodeSize"] == size
    functions = Functions(client)
    arns = [answer["LayerVersionArn"] for answer in published]
    name = functions.create(READ, Layers=[arns[0], publish(client, {"other": "x"})])
    server.kill()
    server.start()
    assert Functions(server.client()).invoke(name).value == {"/opt/number": "0", "/opt/other": "x"}
    assert server.stop() == 0


def test_what_layers_make_together_goes_with_its_last_function(fresh_server):
    server = fresh_server()
    client = server.client()
    functions = Functions(client)
    arns = [publish(client, {"a": "1"}), publish(client, {"b": "2"})]
    alone = bundles(server)
    assert len(alone) == 2
    first, second = (functions.create(READ, Layers=arns) for _ in range(2))
    # The function's package and the two layers together, each once.
    assert len(bundles(server) - alone) == 2
    client.delete_function(FunctionName=first)
    client.update_function_configuration(FunctionName=second, Layers=arns[:1])
    wait_updated(client, second)
    server.kill()
    server.start()
    until(lambda: "unused packages removed" in server.text(), "the merged folder to be swept")
    assert len(bundles(server) - alone) == 1 and alone < bundles(server)
    client = server.client()
    functions = Functions(client)
    assert functions.invoke(second).value == {"/opt/a": "1"}
    client.update_function_configuration(FunctionName=second, Layers=arns)
    wait_updated(client, second)
    assert functions.invoke(second).value == {"/opt/a": "1", "/opt/b": "2"}
    assert server.stop() == 0


def test_a_deleted_layer_may_stay_but_not_come_again(functions, client):
    layer = new_name("layer")
    arn, other = publish(client, {"a": "1"}, layer), publish(client, {"b": "2"})
    name = functions.create(READ, Layers=[arn])
    client.delete_layer_version(LayerName=layer, VersionNumber=1)
    client.update_function_configuration(FunctionName=name, Environment={"Variables": {"AA": "1"}})
    wait_updated(client, name)
    functions.replace_code(name, READ + "\n")
    assert functions.invoke(name).value == {"/opt/a": "1"}
    assert refused(client.update_function_configuration, FunctionName=name, Layers=[arn, other])[:2] == (400, INVALID)
    assert functions.invoke(name).value == {"/opt/a": "1"}


def test_python_s_module_path_is_aws_s(functions, client):
    layer = publish(client, {
        "python/one.py": "", "python/lib/python3.13/site-packages/two.py": "",
        "python/vendored/from_pth.py": "where = __file__\n",
        "python/packages.pth": "vendored\nimport builtins; builtins.told_by_layer = True\n",
    })
    source = """
    import builtins, sys
    def handler(event, context):
        here = [path for path in sys.path if path.startswith(("/var/task", "/opt"))]
        return [here, getattr(builtins, "told_by_layer", False), sys.path.index("/opt/python") < min(
            number for number, path in enumerate(sys.path) if path.endswith(("/dist-packages", "/site-packages"))
            and not path.startswith("/opt")) if "/opt/python" in sys.path else None]
    """
    name = functions.create(source, Layers=[layer])
    path, told, first = functions.invoke(name).value
    assert path == ["/var/task", "/opt/python/lib/python3.13/site-packages", "/opt/python", "/opt/python/vendored"]
    assert told and first
    # With a path of its own it is on its own.
    client.update_function_configuration(FunctionName=name, Environment={"Variables": {"PYTHONPATH": "/opt/python/vendored"}})
    wait_updated(client, name)
    assert functions.invoke(name).value == [["/var/task", "/opt/python/vendored"], False, None]


NODE_LAYER = {
    "nodejs/node_modules/dual/package.json":
        '{"name": "dual", "exports": {".": {"import": "./i.mjs", "require": "./r.cjs"}, "./sub": "./sub.mjs"}}',
    "nodejs/node_modules/dual/i.mjs": "import plain from 'plain';\nexport default ['import', plain];\n",
    "nodejs/node_modules/dual/r.cjs": "module.exports = ['require', require('plain')];\n",
    "nodejs/node_modules/dual/sub.mjs": "export default import.meta.url;\n",
    "nodejs/node_modules/plain/index.js": "module.exports = __filename;\n",
    "nodejs/node_modules/near/index.js": "module.exports = 'the layer';\n",
}
PLAIN = "/opt/nodejs/node_modules/plain/index.js"


def test_node_imports_from_layers(functions, client):
    layer = publish(client, NODE_LAYER)
    module = """
    import dual from 'dual';
    import sub from 'dual/sub';
    import near from 'near';
    import { readFile } from 'fs/promises';
    export const handler = async () => [dual, sub, near, typeof readFile];
    """
    near = {"node_modules/near/index.js": "module.exports = 'the function';\n"}
    name = functions.create(files={"index.mjs": module, **near}, Runtime=NODE, Layers=[layer])
    assert functions.invoke(name).value == [
        ["import", PLAIN], "file:///opt/nodejs/node_modules/dual/sub.mjs", "the function", "function"]
    script = "exports.handler = async () => [require('dual'), (await import('dual')).default];\n"
    name = functions.node(script, Layers=[layer])
    assert functions.invoke(name).value == [["require", PLAIN], ["import", PLAIN]]
    # Callbacks wait for what is under way, also with the hook of the module loader in place.
    waits = """
    import 'plain';
    let done = 0;
    export const handler = (event, context, callback) => {
      setTimeout(() => { done += 1; }, 50);
      callback(null, done);
    };
    """
    name = functions.create(files={"index.mjs": waits}, Runtime=NODE, Layers=[layer])
    assert [functions.invoke(name).value for _ in range(2)] == [0, 1]


def test_node_says_what_it_cannot_import(functions, client):
    files = {"index.mjs": "import 'absent';\nexport const handler = async () => 1;\n"}
    layered = functions.create(files=files, Runtime=NODE, Layers=[publish(client, NODE_LAYER)])
    alone = functions.create(files=files, Runtime=NODE)
    answers = [functions.invoke(name) for name in (layered, alone)]
    assert {answer.error for answer in answers} == {"Unhandled"}
    texts = {answer.value["errorMessage"] for answer in answers}
    assert len(texts) == 1 and texts.pop().startswith("Cannot find package 'absent' imported from /var/task/index.mjs")


def test_a_handler_may_be_in_a_layer(functions, client):
    layer = publish(client, {
        "nodejs/node_modules/wrapping/index.mjs": "export const handler = async () => import.meta.url;\n",
        "python/wrapping.py": "def handler(event, context): return __file__\n",
    })
    name = functions.node("", Handler="/opt/nodejs/node_modules/wrapping/index.handler", Layers=[layer])
    assert functions.invoke(name).value == "file:///opt/nodejs/node_modules/wrapping/index.mjs"
    name = functions.create("", Handler="wrapping.handler", Layers=[layer])
    assert functions.invoke(name).value == "/opt/python/wrapping.py"


def test_libraries_and_programs_of_layers(functions, client):
    tool = "#!/bin/sh\necho tool of the layer\n"
    name = functions.create("""
    import os, subprocess
    def handler(event, context):
        return [subprocess.check_output(["tool"], text=True), os.environ["LD_LIBRARY_PATH"].split(":")[-1]]
    """, Layers=[publish(client, {"bin/tool": tool, "lib/libx.so": "x"}), publish(client, {"bin/more": tool})])
    assert functions.invoke(name).value == ["tool of the layer\n", "/opt/lib"]


def test_a_runtime_from_the_later_of_two_layers(functions, client):
    earlier = publish(client, {"bootstrap": "#!/bin/sh\nexit 3\n"})
    later = publish(client, {"bootstrap": BOOTSTRAP})
    name = functions.create(files={"data": "x"}, Runtime=CUSTOM, Layers=[earlier, later])
    assert functions.invoke(name).value == "/opt/bootstrap"


def test_a_layer_for_everybody(server, client):
    layer = new_name("layer")
    arn = publish(client, {"a": "for all"}, layer)
    added = client.add_layer_version_permission(LayerName=layer, StatementId="all", Principal="*", **ADD)
    assert json.loads(added["Statement"]) == {
        "Sid": "all", "Effect": "Allow", "Principal": "*", "Action": "lambda:GetLayerVersion", "Resource": arn}
    other = Functions(server.client(account="444444444444"))
    name = other.create(READ, Layers=[arn], Role="arn:aws:iam::444444444444:role/r")
    assert other.invoke(name).value == {"/opt/a": "for all"}
    # They may read it, and nothing else.
    mine = arn.rpartition(":")[0]
    for call, arguments in [
        (other.client.delete_layer_version, {"LayerName": mine, "VersionNumber": 1}),
        (other.client.get_layer_version_policy, {"LayerName": mine, "VersionNumber": 1}),
        (other.client.list_layer_versions, {"LayerName": mine}),
        (other.client.publish_layer_version, {"LayerName": mine, "Content": {"ZipFile": SMALL}}),
        (other.client.remove_layer_version_permission, {"LayerName": mine, "VersionNumber": 1, "StatementId": "all"}),
        (other.client.add_layer_version_permission, {**ADD, "LayerName": mine, "StatementId": "x", "Principal": "*"}),
    ]:
        assert refused(call, **arguments)[:2] == (403, "AccessDeniedException"), call
    # The owner takes it away; who has it keeps it, nobody else is told what became of it.
    client.delete_layer_version(LayerName=layer, VersionNumber=1)
    assert other.invoke(name).value == {"/opt/a": "for all"}
    assert refused(other.client.get_layer_version_by_arn, Arn=arn)[0] == 403
    other.clean()


def test_who_knows_the_digests_of_layers_is_not_given_what_they_hold(server, client):
    packages = [zip_of({name: "secret"}) for name in ("one", "two")]
    published = [client.publish_layer_version(LayerName=new_name("layer"), Content={"ZipFile": package})
                 for package in packages]
    functions = Functions(client)
    functions.create(READ, Layers=[answer["LayerVersionArn"] for answer in published])
    thief = server.client(account="555555555555")
    digests = [hashlib.sha256(package).hexdigest() for package in packages]
    assert set(digests) < bundles(server)
    for text in ("\n".join(digests), "layers\n" + "\n".join(digests), "".join(digests)):
        status, code, message = refused(
            thief.publish_layer_version, LayerName="stolen", Content={"ZipFile": text.encode()})
        assert (status, code) == (400, INVALID) and message.startswith("Could not unzip")
    functions.clean()


def test_revisions_guard_a_policy(client):
    layer = new_name("layer")
    publish(client, {"a": "1"}, layer)
    first = client.add_layer_version_permission(LayerName=layer, StatementId="s1", Principal="111111111111", **ADD)
    assert refused(client.add_layer_version_permission, LayerName=layer, StatementId="s1", Principal="*", **ADD) == (
        409, "ResourceConflictException",
        "The statement id (s1) provided already exists. Please provide a new statement id, or remove the existing "
        "statement.")
    second = client.add_layer_version_permission(
        LayerName=layer, StatementId="s2", Principal="222222222222", RevisionId=first["RevisionId"], **ADD)
    stale = {"LayerName": layer, "RevisionId": first["RevisionId"]}
    text = ("The Revision Id provided does not match the latest Revision Id. Call the GetLayerPolicy API to retrieve "
            "the latest Revision Id")
    assert refused(client.add_layer_version_permission, StatementId="s3", Principal="*", **ADD, **stale) == (
        412, "PreconditionFailedException", text)
    assert refused(client.remove_layer_version_permission, VersionNumber=1, StatementId="s1", **stale) == (
        412, "PreconditionFailedException", text)
    client.remove_layer_version_permission(
        LayerName=layer, VersionNumber=1, StatementId="s1", RevisionId=second["RevisionId"])
    policy = json.loads(client.get_layer_version_policy(LayerName=layer, VersionNumber=1)["Policy"])
    assert [statement["Sid"] for statement in policy["Statement"]] == ["s2"]


def test_a_policy_has_a_limit(client):
    layer = new_name("layer")
    publish(client, {"a": "1"}, layer)
    for number in range(1000):
        statement = {"LayerName": layer, "StatementId": f"{'s' * 90}{number}", "Principal": "*", **ADD}
        try:
            client.add_layer_version_permission(**statement)
        except ClientError as error:
            assert error.response["Error"]["Code"] == "PolicyLengthExceededException"
            break
    else:
        pytest.fail("a policy without an end")
    size = len(client.get_layer_version_policy(LayerName=layer, VersionNumber=1)["Policy"])
    assert 20_000 < size <= 20_480


def test_the_cli_gives_and_takes_permissions(cli, client, functions):
    layer = new_name("layer")
    arn = publish(client, {"a": "cli"}, layer)
    version = ("--layer-name", layer, "--version-number", "1")
    added = cli("add-layer-version-permission", *version, "--statement-id", "xaccount",
                "--action", "lambda:GetLayerVersion", "--principal", "111111111111", "--output", "json")
    assert json.loads(added["Statement"])["Principal"] == {"AWS": "arn:aws:iam::111111111111:root"}
    policy = json.loads(cli("get-layer-version-policy", *version)["Policy"])
    assert [statement["Sid"] for statement in policy["Statement"]] == ["xaccount"]
    assert cli("remove-layer-version-permission", *version, "--statement-id", "xaccount") is None
    name = functions.create(READ)
    updated = cli("update-function-configuration", "--function-name", name, "--layers", arn)
    assert updated["Layers"][0]["Arn"] == arn
    wait_updated(client, name)
    assert functions.invoke(name).value == {"/opt/a": "cli"}


def uses_layers_everywhere(client):
    functions = Functions(client)
    arns = [publish(client, {"python/tool.py": "name = 'tool'\n", "bootstrap": BOOTSTRAP, "bin/say": "#!/bin/sh\necho hi\n"}),
            publish(client, {"nodejs/node_modules/tool/index.js": "module.exports = 'tool';\n"})]
    name = functions.create("""
    import subprocess, tool
    def handler(event, context): return [tool.name, subprocess.check_output(["say"], text=True)]
    """, Layers=arns)
    assert functions.invoke(name).value == ["tool", "hi\n"]
    name = functions.node("exports.handler = async () => [require('tool'), (await import('tool')).default];\n", Layers=arns)
    assert functions.invoke(name).value == ["tool", "tool"]
    name = functions.create(files={"data": "x"}, Runtime=CUSTOM, Layers=arns)
    assert functions.invoke(name).value.endswith("/bootstrap")


def test_layers_without_root():
    with rootless_server() as server:
        uses_layers_everywhere(server.start().client())


def test_layers_without_isolation(fresh_server):
    """There is no /opt then, so every runtime is told where its layers are."""
    server = fresh_server("--isolation", "none")
    uses_layers_everywhere(server.client())
    assert server.stop() == 0
