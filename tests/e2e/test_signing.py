"""Code signing: `lambic sign`, configurations, and what they let in. Tags of all that has tags."""

import subprocess

import pytest
from botocore.exceptions import ClientError

from support.functions import PYTHON, ROLE, invoke, new_name, python_zip, wait_active, wait_updated, zip_of
from support.server import ACCOUNT, REGION, binary, environment

RELEASE = f"arn:aws:signer:{REGION}:{ACCOUNT}:/signing-profiles/release/2026a"
OTHER = f"arn:aws:signer:{REGION}:{ACCOUNT}:/signing-profiles/other/2026a"
ONE, TWO = "def handler(event, context): return 1\n", "def handler(event, context): return 2\n"


def lambic(folder, *words):
    done = subprocess.run([str(binary()), *words], cwd=folder, env=environment(), text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def profiles(server, tmp_path_factory):
    """Keys of two signing profile versions, which the server knows."""
    folder = tmp_path_factory.mktemp("signing")
    known = server.data / "signing-profiles"
    known.mkdir(exist_ok=True)
    for name, arn in (("release", RELEASE), ("other", OTHER)):
        text = lambic(folder, "signing-profile", "--key", f"{name}.key", "--profile-version", arn)
        (known / f"{name}.pem").write_text(text)
    return folder


@pytest.fixture
def sign(profiles):
    """Signs a package as a user would; returns it and its signing job."""
    def signed(package, profile="release", *more):
        path = profiles / "code.zip"
        path.write_bytes(package)
        arn = RELEASE if profile == "release" else OTHER
        job = lambic(profiles, "sign", "--key", f"{profile}.key", "--profile-version", arn, *more, "code.zip").strip()
        return path.read_bytes(), job
    return signed


def new_config(client, policy, **more):
    reply = client.create_code_signing_config(
        AllowedPublishers={"SigningProfileVersionArns": [RELEASE]},
        CodeSigningPolicies={"UntrustedArtifactOnDeployment": policy}, **more)
    return reply["CodeSigningConfig"]["CodeSigningConfigArn"]


@pytest.fixture
def config(client):
    return lambda policy, **more: new_config(client, policy, **more)


def refused(call, **arguments):
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    response = caught.value.response
    return response["ResponseMetadata"]["HTTPStatusCode"], response["Error"]["Code"]


NOT_ACCEPTED = (400, "CodeVerificationFailedException")
ALTERED = (400, "InvalidCodeSignatureException")


def test_only_signed_code_is_deployed_where_that_is_enforced(client, functions, sign, config, server, profiles):
    name = functions.python(ONE)
    arn = config("Enforce")
    assert client.put_function_code_signing_config(FunctionName=name, CodeSigningConfigArn=arn)["FunctionName"] == name
    update = lambda package: refused(client.update_function_code, FunctionName=name, ZipFile=package)
    package = python_zip(TWO)
    signed, job = sign(package)
    assert update(package) == NOT_ACCEPTED
    assert update(sign(package, "other")[0]) == NOT_ACCEPTED, "it is not among the allowed publishers"
    expired, _ = sign(package, "release", "--valid-days", "0")
    assert update(expired) == NOT_ACCEPTED
    altered = signed.replace(b"app.py", b"bpp.py")
    assert update(altered) == ALTERED
    assert invoke(client, name).value == 1, "what was there before goes on"

    updated = client.update_function_code(FunctionName=name, ZipFile=signed)
    assert (updated["SigningProfileVersionArn"], updated["SigningJobArn"]) == (RELEASE, job)
    wait_updated(client, name)
    assert invoke(client, name).value == 2
    published = client.publish_version(FunctionName=name)
    assert published["SigningJobArn"] == job

    # Revoked while the server runs: it counts for the next deployment, and for no other signature.
    another, _ = sign(package)
    known = server.data / "signing-profiles/release.pem"
    before = known.read_text()
    known.write_text(before.replace("\n", f"\nRevoked-Job: {job}\n", 1))
    assert update(signed) == NOT_ACCEPTED
    client.update_function_code(FunctionName=name, ZipFile=another)
    wait_updated(client, name)
    known.write_text("Revoked-From: 2026-01-01T00:00:00Z\n" + before)
    assert update(another) == NOT_ACCEPTED
    known.write_text(before)

    client.delete_function_code_signing_config(FunctionName=name)
    client.update_function_code(FunctionName=name, ZipFile=python_zip(ONE))


def test_a_warning_is_in_the_log_and_what_is_altered_is_refused(client, functions, sign, config, server):
    name = functions.python(ONE)
    client.put_function_code_signing_config(FunctionName=name, CodeSigningConfigArn=config("Warn"))
    updated = client.update_function_code(FunctionName=name, ZipFile=python_zip(TWO))
    assert "SigningProfileVersionArn" not in updated
    wait_updated(client, name)
    assert invoke(client, name).value == 2
    warnings = [line for line in server.text().splitlines() if "a package is not vouched for" in line]
    assert any(f":function:{name}" in line and "it is not signed" in line for line in warnings), warnings[-3:]
    signed, _ = sign(python_zip(TWO))
    altered = bytes([*signed[:40], signed[40] ^ 1, *signed[41:]])
    assert refused(client.update_function_code, FunctionName=name, ZipFile=altered)[1] in (
        "InvalidCodeSignatureException", "InvalidParameterValueException")


def test_functions_and_layers_from_their_creation_on(client, functions, sign, config):
    arn = config("Enforce")
    name = new_name("signed")
    creation = {"FunctionName": name, "Runtime": PYTHON, "Handler": "app.handler", "Role": ROLE,
                "CodeSigningConfigArn": arn}
    assert refused(client.create_function, Code={"ZipFile": python_zip(ONE)}, **creation) == NOT_ACCEPTED
    layer = zip_of({"python/shared.py": "value = 7\n"})
    plain = client.publish_layer_version(LayerName=name, Content={"ZipFile": layer})
    good = client.publish_layer_version(LayerName=name, Content={"ZipFile": sign(layer)[0]})
    assert good["Content"]["SigningProfileVersionArn"] == RELEASE
    code, _ = sign(python_zip("import shared\ndef handler(event, context): return shared.value\n"))
    assert refused(client.create_function, Code={"ZipFile": code}, Layers=[plain["LayerVersionArn"]],
                   **creation) == NOT_ACCEPTED
    client.create_function(Code={"ZipFile": code}, Layers=[good["LayerVersionArn"]], **creation)
    functions.names.append(name)
    wait_active(client, name)
    assert invoke(client, name).value == 7
    assert refused(client.update_function_configuration, FunctionName=name,
                   Layers=[plain["LayerVersionArn"]]) == NOT_ACCEPTED
    assert client.get_function_code_signing_config(FunctionName=name)["CodeSigningConfigArn"] == arn
    assert client.list_functions_by_code_signing_config(CodeSigningConfigArn=arn)["FunctionArns"] == [
        f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{name}"]
    assert refused(client.delete_code_signing_config, CodeSigningConfigArn=arn) == (409, "ResourceConflictException")
    client.delete_function(FunctionName=name)
    client.delete_code_signing_config(CodeSigningConfigArn=arn)
    assert refused(client.get_code_signing_config, CodeSigningConfigArn=arn) == (404, "ResourceNotFoundException")


def test_configurations_are_listed_and_changed(client, cli, config):
    made = {config("Warn", Description=f"number {number}") for number in range(3)}
    pages = client.get_paginator("list_code_signing_configs").paginate(PaginationConfig={"PageSize": 2})
    listed = {one["CodeSigningConfigArn"]: one for page in pages for one in page["CodeSigningConfigs"]}
    assert made <= set(listed)
    arn = sorted(made)[0]
    changed = cli("update-code-signing-config", "--code-signing-config-arn", arn, "--code-signing-policies",
                  "UntrustedArtifactOnDeployment=Enforce")["CodeSigningConfig"]
    assert changed["CodeSigningPolicies"] == {"UntrustedArtifactOnDeployment": "Enforce"}
    assert changed["Description"] == listed[arn]["Description"]
    assert cli("get-code-signing-config", "--code-signing-config-arn", arn)["CodeSigningConfig"] == changed
    for one in made:
        cli("delete-code-signing-config", "--code-signing-config-arn", one)


def test_a_function_without_a_configuration(client, functions, cli):
    name = functions.python(ONE, wait=False)
    assert set(client.get_function_code_signing_config(FunctionName=name)) == {"ResponseMetadata"}
    client.delete_function_code_signing_config(FunctionName=name)
    none = f"arn:aws:lambda:{REGION}:{ACCOUNT}:code-signing-config:csc-0123456789abcdefx"
    assert refused(client.put_function_code_signing_config, FunctionName=name, CodeSigningConfigArn=none) == (
        404, "CodeSigningConfigNotFoundException")
    text = cli.fails("get-code-signing-config", "--code-signing-config-arn", none)
    assert f"The Lambda code signing configuration {none} can not be found." in text


def test_all_of_it_lasts(fresh_server):
    one = fresh_server()
    client = one.client()
    arn = new_config(client, "Enforce", Tags={"team": "blue"})
    client.create_function(FunctionName="f", Runtime=PYTHON, Handler="app.handler", Role=ROLE,
                           Code={"ZipFile": python_zip(ONE)})
    wait_active(client, "f")
    client.put_function_code_signing_config(FunctionName="f", CodeSigningConfigArn=arn)
    client.put_function_recursion_config(FunctionName="f", RecursiveLoop="Allow")
    client.put_runtime_management_config(FunctionName="f", UpdateRuntimeOn="FunctionUpdate")
    function = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:f"
    client.tag_resource(Resource=function, Tags={"cost": "7"})
    one.kill()
    one.start()
    client = one.client()
    assert client.get_function_code_signing_config(FunctionName="f")["CodeSigningConfigArn"] == arn
    assert client.get_function_recursion_config(FunctionName="f")["RecursiveLoop"] == "Allow"
    assert client.get_runtime_management_config(FunctionName="f")["UpdateRuntimeOn"] == "FunctionUpdate"
    assert client.list_tags(Resource=function)["Tags"] == {"cost": "7"}
    assert client.list_tags(Resource=arn)["Tags"] == {"team": "blue"}
    assert refused(client.update_function_code, FunctionName="f", ZipFile=python_zip(TWO)) == NOT_ACCEPTED
    assert refused(client.delete_code_signing_config, CodeSigningConfigArn=arn)[0] == 409


@pytest.mark.parametrize("kind", ["function", "code signing configuration"])
def test_tags(client, functions, config, kind):
    if kind == "function":
        name = functions.python(ONE, wait=False, Tags={"team": "blue"})
        arn = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{name}"
    else:
        arn = config("Warn", Tags={"team": "blue"})
    tags = lambda: client.list_tags(Resource=arn)["Tags"]
    assert tags() == {"team": "blue"}
    client.tag_resource(Resource=arn, Tags={"team": "red", "cost": "7", "Größe": "a b:/=+-@"})
    assert tags() == {"team": "red", "cost": "7", "Größe": "a b:/=+-@"}
    client.untag_resource(Resource=arn, TagKeys=["cost", "never there"])
    assert tags() == {"team": "red", "Größe": "a b:/=+-@"}
    if kind == "function":
        assert client.get_function(FunctionName=name)["Tags"] == tags()
    many = {f"t{number}": "" for number in range(48)}
    client.tag_resource(Resource=arn, Tags=many)
    assert len(tags()) == 50
    with pytest.raises(client.exceptions.InvalidParameterValueException, match="exceeds resource tag limit"):
        client.tag_resource(Resource=arn, Tags={"one": "more"})
    for bad, code in (({"aws:x": "y"}, "InvalidParameterValueException"),
                      ({"k" * 129: "y"}, "ValidationException"), ({"k": "v" * 257}, "ValidationException"),
                      ({"k": "?"}, "ValidationException"), ({}, "InvalidParameterValueException")):
        assert refused(client.tag_resource, Resource=arn, Tags=bad) == (400, code), bad
    assert len(tags()) == 50


def test_a_function_s_revision_changes_with_its_tags(client, functions):
    name = functions.python(ONE)
    arn = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{name}"
    revision = client.get_function_configuration(FunctionName=name)["RevisionId"]
    client.tag_resource(Resource=arn, Tags={"a": "b"})
    with pytest.raises(client.exceptions.PreconditionFailedException):
        client.update_function_configuration(FunctionName=name, RevisionId=revision, Timeout=9)
    for qualified in (f"{arn}:1", f"{arn}:$LATEST", f"{arn}:live"):
        assert refused(client.tag_resource, Resource=qualified, Tags={"a": "b"}) == (
            400, "InvalidParameterValueException")
