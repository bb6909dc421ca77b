"""A data directory that an older version wrote opens: everything is there, reads as it read then, and runs.

`fixtures/data` holds one archive for each version that was kept, with what its server answered to every question about
it. They stay for ever: a newer version adds one of its own and keeps the others. `LAMBIC_WRITE_FIXTURE=2027-01` writes
`fixtures/data/2027-01.tar.gz` from the present version.
"""

import json
import os
import pathlib
import shutil
import tarfile

import pytest
from botocore.exceptions import ClientError

from support.functions import NODE, PYTHON, ROLE, invoke, wait_active, wait_updated, zip_of
from support.server import ACCOUNT, REGION
from support.wait import until

FOLDER = pathlib.Path(__file__).resolve().parent / "fixtures/data"
KEPT = sorted(path.name.removesuffix(".tar.gz") for path in FOLDER.glob("*.tar.gz"))
SIGNER = f"arn:aws:signer:{REGION}:{ACCOUNT}:/signing-profiles/mine/AbCdEfGhIj"
OTHER_ACCOUNT = "111122223333"
KEY = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/1b4e28ba-2fa1-11d2-883f-0016d3cca427"
# The key itself is in the data directory, and so in the archive. The runtimes are retired one day, the archive is not.
CONFIG = f'[runtimes]\nallow_retired = ["*"]\n[kms.keys]\n"{KEY}" = "kept.key"\n'

PYTHON_FILES = {"app.py": """
    import os, shared
    def handler(event, context):
        return {"function": context.function_name, "version": context.function_version, "event": event,
                "colour": os.environ.get("COLOUR"), "layer": shared.word, "build": 1}
    """}
SECRET_FILES = {"app.py": "import os\ndef handler(e, context): return [os.environ.get('PASSWORD'), context.tenant_id]\n"}
NODE_FILES = {"index.mjs": "export const handler = async (event) => ({ node: event });\n"}


def write(client):
    """Some of everything that can be stored."""
    layer = {"LayerName": "shared", "CompatibleRuntimes": [PYTHON], "LicenseInfo": "MIT", "Description": "words"}
    for word in ["first", "second"]:
        layer_arn = client.publish_layer_version(
            **layer, Content={"ZipFile": zip_of({"python/shared.py": f"word = {word!r}\n"})})["LayerVersionArn"]
    other = client.publish_layer_version(
        LayerName="other", Content={"ZipFile": zip_of({"etc/other.txt": "other\n"})})["LayerVersionArn"]
    client.add_layer_version_permission(
        LayerName="shared", VersionNumber=2, StatementId="all", Action="lambda:GetLayerVersion", Principal="*")
    client.create_function(
        FunctionName="everything", Runtime=PYTHON, Handler="app.handler", Role=ROLE, Description="with all settings",
        Code={"ZipFile": zip_of(PYTHON_FILES)}, Timeout=20, MemorySize=256, EphemeralStorage={"Size": 600},
        Environment={"Variables": {"COLOUR": "blue", "BB": "2", "AA": "1"}}, Layers=[layer_arn, other],
        TracingConfig={"Mode": "Active"}, Tags={"team": "blue", "cost centre": "7"},
        LoggingConfig={"LogFormat": "JSON", "ApplicationLogLevel": "DEBUG", "SystemLogLevel": "WARN"})
    client.create_function(FunctionName="plain", Runtime=NODE, Handler="index.handler", Role=ROLE,
                           Code={"ZipFile": zip_of(NODE_FILES)})
    wait_active(client, "everything")
    wait_active(client, "plain")
    client.publish_version(FunctionName="everything", Description="the first")
    client.update_function_code(FunctionName="everything", ZipFile=zip_of(
        {"app.py": PYTHON_FILES["app.py"].replace('"build": 1', '"build": 2')}))
    wait_updated(client, "everything")
    client.publish_version(FunctionName="everything")
    client.create_alias(FunctionName="everything", Name="live", FunctionVersion="1", Description="what users see",
                        RoutingConfig={"AdditionalVersionWeights": {"2": 0.0}})
    client.create_alias(FunctionName="everything", Name="beta", FunctionVersion="2")
    client.create_function(FunctionName="secretive", Runtime=PYTHON, Handler="app.handler", Role=ROLE, KMSKeyArn=KEY,
                           Code={"ZipFile": zip_of(SECRET_FILES)}, Environment={"Variables": {"PASSWORD": "hush"}})
    client.create_function(FunctionName="tenanted", Runtime=PYTHON, Handler="app.handler", Role=ROLE,
                           Code={"ZipFile": zip_of(SECRET_FILES)}, TenancyConfig={"TenantIsolationMode": "PER_TENANT"})
    wait_active(client, "secretive")
    wait_active(client, "tenanted")
    write_settings(client)


def write_settings(client):
    """What is beside functions and versions."""
    live = {"FunctionName": "everything", "Qualifier": "live"}
    client.put_function_concurrency(FunctionName="everything", ReservedConcurrentExecutions=50)
    client.put_provisioned_concurrency_config(
        FunctionName="everything", Qualifier="beta", ProvisionedConcurrentExecutions=1)
    client.put_function_event_invoke_config(
        **live, MaximumRetryAttempts=1, MaximumEventAgeInSeconds=600,
        DestinationConfig={"OnFailure": {"Destination": f"arn:aws:sqs:{REGION}:{ACCOUNT}:failed"}})
    client.add_permission(FunctionName="everything", StatementId="s3", Action="lambda:InvokeFunction",
                          Principal="s3.amazonaws.com", SourceArn="arn:aws:s3:::bucket")
    client.add_permission(**live, StatementId="account", Action="lambda:InvokeFunction", Principal=OTHER_ACCOUNT)
    client.create_function_url_config(
        **live, AuthType="AWS_IAM", Cors={"AllowOrigins": ["https://example.com"]}, InvokeMode="BUFFERED")
    client.put_function_recursion_config(FunctionName="everything", RecursiveLoop="Allow")
    client.put_runtime_management_config(FunctionName="everything", UpdateRuntimeOn="FunctionUpdate")
    mapping = client.create_event_source_mapping(
        FunctionName="everything:live", EventSourceArn=f"arn:aws:sqs:{REGION}:{ACCOUNT}:q", Enabled=False, BatchSize=5,
        FilterCriteria={"Filters": [{"Pattern": '{"body": {"a": [1]}}'}]}, Tags={"team": "blue"})
    until(lambda: client.get_event_source_mapping(UUID=mapping["UUID"])["State"] == "Disabled", "the mapping")
    signing = client.create_code_signing_config(
        AllowedPublishers={"SigningProfileVersionArns": [SIGNER]}, Description="signers", Tags={"a": "b"},
        CodeSigningPolicies={"UntrustedArtifactOnDeployment": "Warn"})
    client.put_function_code_signing_config(
        FunctionName="plain", CodeSigningConfigArn=signing["CodeSigningConfig"]["CodeSigningConfigArn"])


def questions(client):
    """Everything that can be asked about it: `(operation, input)`."""
    yield "get_account_settings", {}
    yield "list_functions", {}
    yield "list_functions", {"FunctionVersion": "ALL"}
    yield "list_layers", {}
    yield "list_code_signing_configs", {}
    yield "list_event_source_mappings", {}
    for layer in client.list_layers()["Layers"]:
        name = {"LayerName": layer["LayerName"]}
        yield "list_layer_versions", name
        for version in client.list_layer_versions(**name)["LayerVersions"]:
            yield "get_layer_version", {**name, "VersionNumber": version["Version"]}
            yield "get_layer_version_policy", {**name, "VersionNumber": version["Version"]}
    for mapping in client.list_event_source_mappings()["EventSourceMappings"]:
        yield "get_event_source_mapping", {"UUID": mapping["UUID"]}
        yield "list_tags", {"Resource": mapping["EventSourceMappingArn"]}
    for config in client.list_code_signing_configs()["CodeSigningConfigs"]:
        arn = {"CodeSigningConfigArn": config["CodeSigningConfigArn"]}
        yield "get_code_signing_config", arn
        yield "list_functions_by_code_signing_config", arn
        yield "list_tags", {"Resource": arn["CodeSigningConfigArn"]}
    for function in client.list_functions()["Functions"]:
        yield from questions_about(client, function)


def questions_about(client, function):
    name = {"FunctionName": function["FunctionName"]}
    yield "list_tags", {"Resource": function["FunctionArn"]}
    for operation in ["list_versions_by_function", "list_aliases", "get_function_concurrency", "get_policy",
                      "get_function_code_signing_config", "get_function_recursion_config", "list_function_url_configs",
                      "list_function_event_invoke_configs", "list_provisioned_concurrency_configs"]:
        yield operation, name
    aliases = [alias["Name"] for alias in client.list_aliases(**name)["Aliases"]]
    for alias in aliases:
        yield "get_alias", {**name, "Name": alias}
    for version in client.list_versions_by_function(**name)["Versions"]:
        aliases.append(version["Version"])
    for qualifier in aliases:
        qualified = {**name, "Qualifier": qualifier}
        for operation in ["get_function", "get_policy", "get_runtime_management_config",
                          "get_function_event_invoke_config", "get_function_url_config"]:
            if operation != "get_function_url_config" or not qualifier[0] in "$0123456789":
                yield operation, qualified


# What tells of the present and not of what is stored: the time at which a link ends, and how many environments are up.
PASSING = {"Location", "ResponseMetadata", "AvailableProvisionedConcurrentExecutions",
           "AllocatedProvisionedConcurrentExecutions", "Status", "LastProcessingResult"}


def stored(answer):
    if isinstance(answer, dict):
        kept = {name: stored(value) for name, value in answer.items() if name not in PASSING}
        if "FunctionUrl" in kept:
            # The rest is where the server listens.
            kept["FunctionUrl"] = kept["FunctionUrl"].split(".lambda-url.")[0]
        return kept
    return [stored(item) for item in answer] if isinstance(answer, list) else answer


def answers(client, asked):
    told = []
    for operation, words in asked:
        try:
            answer = stored(getattr(client, operation)(**words))
        except ClientError as error:
            answer = {"error": error.response["Error"]["Code"]}
        told.append([operation, words, json.loads(json.dumps(answer, default=str))])
    return told


INVOKES = [
    ["everything", {}], ["everything", {"Qualifier": "1"}], ["everything", {"Qualifier": "beta"}],
    ["everything", {"Qualifier": "live"}], ["plain", {}], ["secretive", {}], ["tenanted", {"TenantId": "one"}],
]


def results(client):
    """What the functions answer: code, layers, variables and versions are those that were stored."""
    return [[name, more, invoke(client, name, {"n": 1}, **more).value] for name, more in INVOKES]


def make_server(fresh_server):
    """A server that is not started, with the operator's settings that what is stored refers to."""
    server = fresh_server("--set", "functions.transition_ms=250", "--config", "kept.toml", start=False)
    server.folder.mkdir()
    (server.folder / "kept.toml").write_text(CONFIG)
    return server


def pack(data, archive):
    """The data directory without what every start makes anew."""
    def wanted(entry):
        top = entry.name.split("/")[1] if "/" in entry.name else ""
        entry.uid = entry.gid = entry.mtime = 0
        entry.uname = entry.gname = ""
        return None if top in ("runtimes", "lock") else entry
    with tarfile.open(archive, "w:gz", compresslevel=9) as tar:
        tar.add(data, "data", filter=wanted)


def write_what_is_kept(fresh_server, name):
    server = make_server(fresh_server)
    (server.data / "keys").mkdir(parents=True)
    (server.data / "keys/kept.key").write_bytes(bytes(range(32)))
    (server.data / "keys/kept.key").chmod(0o600)
    client = server.start().client()
    write(client)
    told = {"answers": answers(client, list(questions(client))), "results": results(client)}
    assert server.stop() == 0
    FOLDER.mkdir(exist_ok=True)
    pack(server.data, FOLDER / f"{name}.tar.gz")
    (FOLDER / f"{name}.json").write_text(json.dumps(told, indent=1) + "\n")


if "LAMBIC_WRITE_FIXTURE" in os.environ:
    def test_writes_what_is_kept(fresh_server):
        write_what_is_kept(fresh_server, os.environ["LAMBIC_WRITE_FIXTURE"])


def differences(now, then, at):
    """Where an answer lost or changed something. A newer version may tell more."""
    if isinstance(then, dict) and isinstance(now, dict):
        lost = [f"{at}.{name} is gone" for name in then if name not in now]
        return lost + [one for name in then if name in now
                       for one in differences(now[name], then[name], f"{at}.{name}")]
    if isinstance(then, list) and isinstance(now, list) and len(now) == len(then):
        return [one for index, pair in enumerate(zip(now, then)) for one in differences(*pair, f"{at}[{index}]")]
    return [] if now == then else [f"{at} is {now!r} and was {then!r}"]


def test_one_is_kept():
    assert KEPT, f"there is no archive in {FOLDER}"


@pytest.mark.parametrize("name", KEPT)
def test_what_an_older_version_wrote_is_all_there(name, fresh_server):
    told = json.loads((FOLDER / f"{name}.json").read_text())
    server = make_server(fresh_server)
    with tarfile.open(FOLDER / f"{name}.tar.gz") as tar:
        tar.extractall(server.folder, filter="tar")
    assert server.folder / "data" == server.data
    server.start()
    client = server.client()
    asked = [(operation, words) for operation, words, _ in told["answers"]]
    for (operation, words, now), (_, _, then) in zip(answers(client, asked), told["answers"]):
        assert not differences(now, then, operation), f"{operation} {words}"
    assert results(client) == told["results"]
    # It can be changed too, and is still whole after another start.
    client.update_function_configuration(FunctionName="everything", Description="changed")
    wait_updated(client, "everything")
    assert client.publish_version(FunctionName="everything")["Version"] == "3"
    assert client.publish_layer_version(
        LayerName="shared", Content={"ZipFile": zip_of({"python/shared.py": "word = 3\n"})})["Version"] == 3
    assert server.stop() == 0
    client = server.start().client()
    assert client.get_function_configuration(FunctionName="everything", Qualifier="3")["Description"] == "changed"
    assert invoke(client, "everything", {"n": 1}, Qualifier="1").value == told["results"][1][2]
    shutil.rmtree(server.folder, ignore_errors=True)
