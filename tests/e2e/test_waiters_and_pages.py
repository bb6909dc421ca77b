"""Every waiter and every paginator of the clients, on versions, aliases and what belongs to them."""

import base64

import pytest
from botocore.exceptions import WaiterError

from support.functions import PYTHON, ROLE, new_name, python_zip
from support.server import ACCOUNT, REGION
from support.wait import until

FAST = {"Delay": 0.05, "MaxAttempts": 400}
# So that a waiter which waits for what never comes says so soon.
BRIEF = {"Delay": 0.05, "MaxAttempts": 3}
ONE = "def handler(event, context): return 1\n"
TWO = "def handler(event, context): return 2\n"
SIGNER = f"arn:aws:signer:{REGION}:{ACCOUNT}:/signing-profiles/mine/AbCdEfGhIj"


def made_of(source):
    return {"Runtime": PYTHON, "Handler": "app.handler", "Role": ROLE, "Code": {"ZipFile": python_zip(source)}}


def test_the_waiters_of_boto3(client, functions):
    assert sorted(client.waiter_names) == [
        "function_active", "function_active_v2", "function_exists", "function_updated", "function_updated_v2",
        "published_version_active"], "there is a new one"
    name = new_name("waited")
    with pytest.raises(WaiterError, match="Max attempts exceeded"):
        client.get_waiter("function_exists").wait(FunctionName=name, WaiterConfig=BRIEF)
    client.create_function(FunctionName=name, **made_of(ONE))
    functions.names.append(name)
    for waiter in ["function_exists", "function_active", "function_active_v2", "function_updated", "function_updated_v2"]:
        client.get_waiter(waiter).wait(FunctionName=name, WaiterConfig=FAST)
    client.update_function_code(FunctionName=name, ZipFile=python_zip(TWO))
    client.get_waiter("function_updated_v2").wait(FunctionName=name, WaiterConfig=FAST)
    client.update_function_configuration(FunctionName=name, Timeout=9)
    client.get_waiter("function_updated").wait(FunctionName=name, WaiterConfig=FAST)
    version = client.publish_version(FunctionName=name)["Version"]
    client.get_waiter("published_version_active").wait(FunctionName=name, Qualifier=version, WaiterConfig=FAST)
    client.create_alias(FunctionName=name, Name="live", FunctionVersion=version)
    # Those that take a qualifier take a version and an alias.
    for qualifier in [version, "live"]:
        for waiter in ["function_exists", "function_active", "function_active_v2", "function_updated",
                       "function_updated_v2"]:
            client.get_waiter(waiter).wait(FunctionName=name, Qualifier=qualifier, WaiterConfig=FAST)
    client.delete_function(FunctionName=name)
    with pytest.raises(WaiterError, match="ResourceNotFoundException"):
        client.get_waiter("function_active_v2").wait(FunctionName=name, WaiterConfig=BRIEF)


@pytest.fixture(scope="module")
def much(server):
    """A client of an account of its own, with five of everything."""
    client = server.client(account="555500001111")
    for number in range(5):
        client.create_function(FunctionName=f"f{number}", **made_of(ONE))
        layer = {"LayerName": f"layer-{number}", "Content": {"ZipFile": python_zip(ONE)}}
        client.publish_layer_version(**layer)
        client.publish_layer_version(**{**layer, "LayerName": "layer-0"})
    client.get_waiter("function_active_v2").wait(FunctionName="f0", WaiterConfig=FAST)
    for number in range(1, 6):
        client.update_function_configuration(FunctionName="f0", Description=f"number {number}")
        client.get_waiter("function_updated_v2").wait(FunctionName="f0", WaiterConfig=FAST)
        assert client.publish_version(FunctionName="f0")["Version"] == str(number)
        client.create_alias(FunctionName="f0", Name=f"alias-{number}", FunctionVersion=str(number))
    return client


def with_settings(client):
    """What belongs to aliases and functions, beside [`much`]; made by the test that lists it."""
    for number in range(1, 6):
        alias = {"FunctionName": "f0", "Qualifier": f"alias-{number}"}
        client.put_function_event_invoke_config(**alias, MaximumRetryAttempts=1)
        client.create_function_url_config(**alias, AuthType="NONE")
        client.create_event_source_mapping(
            FunctionName=f"f{number - 1}", Enabled=False, EventSourceArn=f"arn:aws:sqs:{REGION}:555500001111:q{number}")
        signing = client.create_code_signing_config(AllowedPublishers={"SigningProfileVersionArns": [SIGNER]})
        arn = signing["CodeSigningConfig"]["CodeSigningConfigArn"]
        if number == 1:
            first = arn
    for number in range(5):
        client.put_function_code_signing_config(FunctionName=f"f{number}", CodeSigningConfigArn=first)
    for number in range(1, 3):
        client.put_provisioned_concurrency_config(
            FunctionName="f0", Qualifier=f"alias-{number}", ProvisionedConcurrentExecutions=1)
        # Pages that are listed twice are to be the same.
        until(lambda alias=f"alias-{number}": client.get_provisioned_concurrency_config(
            FunctionName="f0", Qualifier=alias)["Status"] == "READY", alias["Qualifier"])
    return first


def pages(client, operation, member, **words):
    """The items of all pages of two; no page but the last is short."""
    found = [page[member] for page in client.get_paginator(operation).paginate(
        **words, PaginationConfig={"PageSize": 2})]
    assert all(len(page) == 2 for page in found[:-1]), found
    items = [item for page in found for item in page]
    # The token between two pages goes through a client's hands, and leads on from there.
    paginator = client.get_paginator(operation)
    first = paginator.paginate(**words, PaginationConfig={"PageSize": 2, "MaxItems": 3}).build_full_result()
    rest = paginator.paginate(
        **words, PaginationConfig={"PageSize": 2, "StartingToken": first.get("NextToken")}).build_full_result()
    assert first[member] + (rest[member] if "NextToken" in first else []) == items
    return items


def test_the_paginators_of_boto3(much):
    names = [item["FunctionName"] for item in pages(much, "list_functions", "Functions")]
    assert names == [f"f{number}" for number in range(5)]
    every = [item["FunctionArn"].split(":", 6)[6] for item in pages(much, "list_functions", "Functions", FunctionVersion="ALL")]
    versions = [f"f0:{number}" for number in ["$LATEST", 1, 2, 3, 4, 5]]
    assert sorted(every) == sorted(versions + [f"f{number}:$LATEST" for number in range(1, 5)])
    numbers = [item["Version"] for item in pages(much, "list_versions_by_function", "Versions", FunctionName="f0")]
    assert numbers == ["$LATEST", "1", "2", "3", "4", "5"]
    aliases = [item["Name"] for item in pages(much, "list_aliases", "Aliases", FunctionName="f0")]
    assert aliases == [f"alias-{number}" for number in range(1, 6)]
    assert [item["Name"] for item in much.list_aliases(FunctionName="f0", FunctionVersion="3")["Aliases"]] == ["alias-3"]
    assert {item["LayerName"] for item in pages(much, "list_layers", "Layers")} == {f"layer-{n}" for n in range(5)}
    newest_first = pages(much, "list_layer_versions", "LayerVersions", LayerName="layer-0")
    assert [item["Version"] for item in newest_first] == [6, 5, 4, 3, 2, 1]


def test_the_paginators_of_what_belongs_to_functions(much):
    signing = with_settings(much)
    arns = {item["FunctionArn"] for item in pages(
        much, "list_function_event_invoke_configs", "FunctionEventInvokeConfigs", FunctionName="f0")}
    assert len(arns) == 5
    urls = pages(much, "list_function_url_configs", "FunctionUrlConfigs", FunctionName="f0")
    assert len({item["FunctionUrl"] for item in urls}) == 5
    mappings = pages(much, "list_event_source_mappings", "EventSourceMappings")
    assert len({item["UUID"] for item in mappings}) == 5
    assert len(pages(much, "list_event_source_mappings", "EventSourceMappings", FunctionName="f3")) == 1
    configs = pages(much, "list_code_signing_configs", "CodeSigningConfigs")
    assert len({item["CodeSigningConfigArn"] for item in configs}) == 5
    users = pages(much, "list_functions_by_code_signing_config", "FunctionArns", CodeSigningConfigArn=signing)
    assert len(set(users)) == 5
    provisioned = pages(
        much, "list_provisioned_concurrency_configs", "ProvisionedConcurrencyConfigs", FunctionName="f0")
    assert len({item["FunctionArn"] for item in provisioned}) == 2


def test_versions_and_aliases_with_the_javascript_sdk(js, functions):
    name = functions.python(ONE)
    first = js("PublishVersion", FunctionName=name, Description="first")
    assert first["Version"] == "1" and first["$metadata"]["httpStatusCode"] == 201
    assert js("waitUntilPublishedVersionActive", FunctionName=name, Qualifier="1") == "SUCCESS"
    alias = js("CreateAlias", FunctionName=name, Name="live", FunctionVersion="1")
    functions.replace_code(name, TWO)
    assert js("PublishVersion", FunctionName=name)["Version"] == "2"
    error = js.fails("UpdateAlias", FunctionName=name, Name="live", FunctionVersion="2", RevisionId=first["RevisionId"])
    assert (error["name"], error["status"]) == ("PreconditionFailedException", 412)
    moved = js("UpdateAlias", FunctionName=name, Name="live", FunctionVersion="2", RevisionId=alias["RevisionId"],
               RoutingConfig={"AdditionalVersionWeights": {"1": 0.5}})
    assert moved["RoutingConfig"] == {"AdditionalVersionWeights": {"1": 0.5}}
    answers = {(answer["ExecutedVersion"], base64.b64decode(answer["Payload"]["base64"]))
               for answer in (js("Invoke", FunctionName=name, Qualifier="live") for _ in range(40))}
    assert answers == {("1", b"1"), ("2", b"2")}
    numbers = [version["Version"] for page in js("paginateListVersionsByFunction", FunctionName=name, pageSize=1)
               for version in page["Versions"]]
    assert numbers == ["$LATEST", "1", "2"]
    assert [page["Aliases"][0]["Name"] for page in js("paginateListAliases", FunctionName=name, pageSize=1)] == ["live"]
    error = js.fails("DeleteFunction", FunctionName=name, Qualifier="1")
    assert (error["name"], error["status"]) == ("ResourceConflictException", 409)
    assert js("DeleteAlias", FunctionName=name, Name="live")["$metadata"]["httpStatusCode"] == 204
    js("DeleteFunction", FunctionName=name, Qualifier="1")
    assert js.fails("GetFunction", FunctionName=name, Qualifier="1")["name"] == "ResourceNotFoundException"


def test_concurrency_with_the_javascript_sdk(js, functions):
    name = functions.python(ONE)
    js("PublishVersion", FunctionName=name)
    assert js("PutFunctionConcurrency", FunctionName=name, ReservedConcurrentExecutions=7)["ReservedConcurrentExecutions"] == 7
    assert js("GetFunctionConcurrency", FunctionName=name)["ReservedConcurrentExecutions"] == 7
    assert js("GetFunction", FunctionName=name)["Concurrency"] == {"ReservedConcurrentExecutions": 7}
    made = js("PutProvisionedConcurrencyConfig", FunctionName=name, Qualifier="1", ProvisionedConcurrentExecutions=1)
    assert made["$metadata"]["httpStatusCode"] == 202 and made["Status"] == "IN_PROGRESS"
    error = js.fails("PutProvisionedConcurrencyConfig", FunctionName=name, Qualifier="$LATEST", ProvisionedConcurrentExecutions=1)
    assert error["name"] == "InvalidParameterValueException"
    js("DeleteProvisionedConcurrencyConfig", FunctionName=name, Qualifier="1")
    error = js.fails("GetProvisionedConcurrencyConfig", FunctionName=name, Qualifier="1")
    assert (error["name"], error["status"]) == ("ProvisionedConcurrencyConfigNotFoundException", 404)
    js("DeleteFunctionConcurrency", FunctionName=name)
    assert "ReservedConcurrentExecutions" not in js("GetFunctionConcurrency", FunctionName=name)
