"""Versions and aliases, as a deployment uses them: publish, shift traffic, roll back, delete."""

from collections import Counter

import pytest

from support.functions import new_name, python_zip, wait_updated
from support.wait import until
from test_layers import refused

SAYS = "import os\ndef handler(event, context):\n    return [{word!r}, context.function_version, context.invoked_function_arn, os.environ['AWS_LAMBDA_FUNCTION_VERSION']]\n"


def says(word):
    return python_zip(SAYS.format(word=word))


@pytest.fixture
def two(functions, client):
    """A function with versions 1 ("old") and 2 ("new")."""
    name = functions.create(SAYS.format(word="old"))
    assert client.publish_version(FunctionName=name, Description="old")["Version"] == "1"
    client.update_function_code(FunctionName=name, ZipFile=says("new"))
    wait_updated(client, name)
    assert client.publish_version(FunctionName=name)["Version"] == "2"
    return name


def test_each_version_runs_what_it_was_published_with(two, client, functions):
    arn = f"arn:aws:lambda:us-east-1:000000000000:function:{two}"
    for qualifier, word in [("1", "old"), ("2", "new"), ("$LATEST", "new")]:
        answer = functions.invoke(two, Qualifier=qualifier)
        assert answer.value == [word, qualifier, f"{arn}:{qualifier}", qualifier]
        assert answer.version == qualifier
        assert f"Version: {qualifier}\n" in answer.log
    assert functions.invoke(f"{arn}:1").value[0] == "old"
    listed = client.get_paginator("list_versions_by_function").paginate(FunctionName=two, PaginationConfig={"PageSize": 1})
    assert [version["Version"] for page in listed for version in page["Versions"]] == ["$LATEST", "1", "2"]
    client.get_waiter("published_version_active").wait(FunctionName=two, Qualifier="1")
    assert refused(client.invoke, FunctionName=two, Qualifier="3") == (
        404, "ResourceNotFoundException", f"Function not found: {arn}:3")


def test_a_version_lives_on_beside_a_changed_function(two, client, functions):
    client.update_function_configuration(FunctionName=two, Timeout=9, Environment={"Variables": {"MODE": "b"}})
    wait_updated(client, two)
    version = client.get_function_configuration(FunctionName=two, Qualifier="2")
    assert version["Timeout"] == 20 and "Environment" not in version
    assert functions.invoke(two, Qualifier="2").value[0] == "new"


def test_traffic_is_shifted_by_weight_and_back(two, client, functions):
    arn = f"arn:aws:lambda:us-east-1:000000000000:function:{two}:live"
    made = client.create_alias(FunctionName=two, Name="live", FunctionVersion="1")
    assert (made["AliasArn"], made["Description"]) == (arn, "")
    assert functions.invoke(two, Qualifier="live").value == ["old", "1", arn, "1"]
    half = {"AdditionalVersionWeights": {"2": 0.5}}
    client.update_alias(FunctionName=two, Name="live", RoutingConfig=half, RevisionId=made["RevisionId"])
    seen = Counter()
    until(lambda: seen.update([functions.invoke(two, Qualifier="live").version]) or len(seen) == 2, "both versions run")
    everything = client.update_alias(FunctionName=two, Name="live", FunctionVersion="2", RoutingConfig={})
    assert "RoutingConfig" not in everything
    assert {functions.invoke(arn).value[0] for _ in range(10)} == {"new"}
    assert refused(client.update_alias, FunctionName=two, Name="live", RevisionId=made["RevisionId"])[:2] == (
        412, "PreconditionFailedException")


def test_what_an_alias_leads_to_cannot_be_deleted(two, client):
    client.create_alias(FunctionName=two, Name="live", FunctionVersion="2")
    assert refused(client.delete_function, FunctionName=two, Qualifier="2") == (
        409, "ResourceConflictException",
        "Unable to delete version because the following aliases reference it: [live]")
    client.delete_alias(FunctionName=two, Name="live")
    client.delete_function(FunctionName=two, Qualifier="2")
    assert refused(client.get_function, FunctionName=two, Qualifier="2")[0] == 404
    assert client.publish_version(FunctionName=two)["Version"] == "3"


def test_all_that_was_published_is_there_after_a_crash(fresh_server):
    one = fresh_server("--set", "functions.transition_ms=0")
    client = one.client()
    name = new_name()
    client.create_function(FunctionName=name, Runtime="python3.13", Handler="app.handler", Publish=True,
                           Role="arn:aws:iam::000000000000:role/lambda", Code={"ZipFile": says("old")})
    client.get_waiter("function_active_v2").wait(FunctionName=name)
    client.update_function_code(FunctionName=name, ZipFile=says("new"), Publish=True)
    client.get_waiter("published_version_active").wait(FunctionName=name, Qualifier="2")
    client.create_alias(FunctionName=name, Name="live", FunctionVersion="1", RoutingConfig={
        "AdditionalVersionWeights": {"2": 0.25}})
    client.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=7)
    seen = [client.get_alias(FunctionName=name, Name="live"), client.list_versions_by_function(FunctionName=name)]
    one.kill()
    one.start()
    client = one.client()
    again = [client.get_alias(FunctionName=name, Name="live"), client.list_versions_by_function(FunctionName=name)]
    for answer in seen + again:
        del answer["ResponseMetadata"]
    assert again == seen
    assert client.get_function_concurrency(FunctionName=name)["ReservedConcurrentExecutions"] == 7
    assert client.invoke(FunctionName=name, Qualifier="2")["Payload"].read().startswith(b'["new"')
    assert client.invoke(FunctionName=name, Qualifier="1")["Payload"].read().startswith(b'["old"')


def test_a_new_version_that_fails_loses_its_traffic(fresh_server):
    one = fresh_server("--set", "functions.transition_ms=0", "--set", "functions.rollback_error_percent=50",
                       "--set", "functions.rollback_calls_min=3")
    client = one.client()
    name = new_name()
    client.create_function(FunctionName=name, Runtime="python3.13", Handler="app.handler", Publish=True,
                           Role="arn:aws:iam::000000000000:role/lambda", Code={"ZipFile": says("old")})
    client.get_waiter("function_active_v2").wait(FunctionName=name)
    broken = python_zip("def handler(event, context):\n    raise ValueError('new')\n")
    client.update_function_code(FunctionName=name, ZipFile=broken, Publish=True)
    client.get_waiter("published_version_active").wait(FunctionName=name, Qualifier="2")
    made = client.create_alias(FunctionName=name, Name="live", FunctionVersion="1",
                               RoutingConfig={"AdditionalVersionWeights": {"2": 0.5}})

    def is_rolled_back():
        client.invoke(FunctionName=name, Qualifier="live")
        return "RoutingConfig" not in client.get_alias(FunctionName=name, Name="live")
    until(is_rolled_back, "the alias has only its first version")
    alias = client.get_alias(FunctionName=name, Name="live")
    assert alias["FunctionVersion"] == "1" and alias["RevisionId"] != made["RevisionId"]
    until(lambda: "it gets no more" in one.text(), "the log tells")
