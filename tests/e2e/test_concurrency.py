"""Reserved and provisioned concurrency, enforced."""

import contextlib
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from support.functions import new_name, python_zip
from support.wait import until
from test_layers import refused

ENVIRONMENT = """
import os, time, uuid
mine = str(uuid.uuid4())
def handler(event, context):
    time.sleep((event or {}).get("sleep", 0))
    return [os.environ["AWS_LAMBDA_INITIALIZATION_TYPE"], mine]
"""


@pytest.fixture
def published(functions, client):
    name = functions.create(ENVIRONMENT)
    client.publish_version(FunctionName=name)
    client.create_alias(FunctionName=name, Name="live", FunctionVersion="1")
    yield name
    for config in client.list_provisioned_concurrency_configs(FunctionName=name)["ProvisionedConcurrencyConfigs"]:
        client.delete_provisioned_concurrency_config(FunctionName=name, Qualifier=config["FunctionArn"].split(":")[-1])


@contextlib.contextmanager
def busy(functions, name, callers, **more):
    """So many callers call again and again, half a second each; whoever is refused tries again."""
    over = threading.Event()

    def call(_):
        while not over.is_set():
            try:
                functions.invoke(name, {"sleep": 0.5}, **more)
            except functions.client.exceptions.TooManyRequestsException:
                pass

    with ThreadPoolExecutor(callers) as pool:
        all_calls = pool.map(call, range(callers))
        try:
            yield
        finally:
            over.set()
            list(all_calls)


def ready(client, name, qualifier):
    def is_ready():
        return client.get_provisioned_concurrency_config(FunctionName=name, Qualifier=qualifier)["Status"] == "READY"
    until(is_ready, f"{qualifier} of {name} is provisioned")


def test_nobody_gets_more_than_is_reserved(functions, client):
    name = functions.create(ENVIRONMENT)
    client.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=0)
    with pytest.raises(client.exceptions.TooManyRequestsException) as caught:
        client.invoke(FunctionName=name)
    answer = caught.value.response
    assert answer["Reason"] == "ReservedFunctionConcurrentInvocationLimitExceeded"
    assert answer["message"] == "Rate Exceeded."
    assert answer["ResponseMetadata"]["HTTPHeaders"]["retry-after"]
    assert client.get_function(FunctionName=name)["Concurrency"] == {"ReservedConcurrentExecutions": 0}
    unreserved = client.get_account_settings()["AccountLimit"]["UnreservedConcurrentExecutions"]
    client.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=2)
    assert client.get_account_settings()["AccountLimit"]["UnreservedConcurrentExecutions"] == unreserved - 2

    def throttled():
        try:
            functions.invoke(name)
        except client.exceptions.TooManyRequestsException:
            return True

    with busy(functions, name, 2):
        until(throttled, "a third call is refused")
    client.delete_function_concurrency(FunctionName=name)
    assert "Concurrency" not in client.get_function(FunctionName=name)
    assert client.get_account_settings()["AccountLimit"]["UnreservedConcurrentExecutions"] == unreserved


def test_provisioned_environments_are_there_before_the_first_call(published, client, functions):
    answer = client.put_provisioned_concurrency_config(
        FunctionName=published, Qualifier="live", ProvisionedConcurrentExecutions=2)
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 202
    assert (answer["Status"], answer["RequestedProvisionedConcurrentExecutions"]) == ("IN_PROGRESS", 2)
    ready(client, published, "live")
    config = client.get_provisioned_concurrency_config(FunctionName=published, Qualifier="live")
    assert config["AvailableProvisionedConcurrentExecutions"] == 2
    assert functions.invoke(published, Qualifier="live").value[0] == "provisioned-concurrency"
    with busy(functions, published, 2, Qualifier="live"):
        until(lambda: functions.invoke(published, Qualifier="live").value[0] == "on-demand", "a third call spills over")


def test_environments_follow_their_alias(published, client, functions):
    client.put_provisioned_concurrency_config(
        FunctionName=published, Qualifier="live", ProvisionedConcurrentExecutions=1)
    ready(client, published, "live")
    first = functions.invoke(published, Qualifier="live").value
    client.update_function_configuration(FunctionName=published, Description="next")
    client.get_waiter("function_updated_v2").wait(FunctionName=published)
    assert client.publish_version(FunctionName=published)["Version"] == "2"
    client.update_alias(FunctionName=published, Name="live", FunctionVersion="2")
    ready(client, published, "live")
    second = functions.invoke(published, Qualifier="live").value
    assert first[0] == second[0] == "provisioned-concurrency" and first[1] != second[1]
    listed = client.list_provisioned_concurrency_configs(FunctionName=published)["ProvisionedConcurrencyConfigs"]
    assert [config["FunctionArn"].split(":")[-1] for config in listed] == ["live"]


def test_a_function_that_does_not_start_is_told(functions, client):
    name = functions.create("raise ValueError('not today')\n")
    client.publish_version(FunctionName=name)
    client.put_provisioned_concurrency_config(FunctionName=name, Qualifier="1", ProvisionedConcurrentExecutions=1)

    def failed():
        return client.get_provisioned_concurrency_config(FunctionName=name, Qualifier="1")["Status"] == "FAILED"
    until(failed, "the start fails")
    config = client.get_provisioned_concurrency_config(FunctionName=name, Qualifier="1")
    assert config["StatusReason"] == "FUNCTION_ERROR_INIT_FAILURE"
    client.delete_provisioned_concurrency_config(FunctionName=name, Qualifier="1")
    assert refused(client.get_provisioned_concurrency_config, FunctionName=name, Qualifier="1")[:2] == (
        404, "ProvisionedConcurrencyConfigNotFoundException")


def test_they_come_back_after_a_crash(fresh_server):
    one = fresh_server()
    client = one.client()
    name = new_name()
    client.create_function(FunctionName=name, Runtime="python3.13", Handler="app.handler", Publish=True,
                           Role="arn:aws:iam::000000000000:role/lambda", Code={"ZipFile": python_zip(ENVIRONMENT)})
    client.get_waiter("function_active_v2").wait(FunctionName=name)
    client.put_provisioned_concurrency_config(FunctionName=name, Qualifier="1", ProvisionedConcurrentExecutions=1)
    ready(client, name, "1")
    one.kill()
    one.start()
    client = one.client()
    ready(client, name, "1")
    payload = client.invoke(FunctionName=name, Qualifier="1")["Payload"].read()
    assert payload.startswith(b'["provisioned-concurrency"')
