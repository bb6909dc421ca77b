"""Functions that isolate tenants: who is told of the tenant, and that environments are never shared."""

import concurrent.futures
import json

import pytest

from support.functions import NODE
from support.refusals import refused
from support.streams import streamed

PER_TENANT = {"TenantIsolationMode": "PER_TENANT"}
WHO = """
import logging, uuid
instance, seen = str(uuid.uuid4()), []
def handler(event, context):
    seen.append(context.tenant_id)
    logging.getLogger().warning("at work")
    return [instance, seen]
"""
JSON_LOGS = {"LogFormat": "JSON", "ApplicationLogLevel": "INFO", "SystemLogLevel": "DEBUG"}


def test_each_tenant_has_environments_of_its_own(functions):
    name = functions.create(WHO, TenancyConfig=PER_TENANT)
    assert functions.client.get_function_configuration(FunctionName=name)["TenancyConfig"] == PER_TENANT

    def ask(tenant):
        return tenant, functions.invoke(name, TenantId=tenant).value

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(ask, [f"tenant-{number % 4}" for number in range(40)]))
    of_instance = {}
    for tenant, (instance, seen) in answers:
        assert set(seen) == {tenant}
        assert of_instance.setdefault(instance, tenant) == tenant
    stream = json.loads(streamed(functions.client, name, {}, TenantId="tenant-0").payload)
    assert set(stream[1]) == {"tenant-0"}


def test_a_tenant_is_named_exactly_when_it_has_to_be(functions):
    isolating = functions.create(WHO, TenancyConfig=PER_TENANT)
    shared = functions.create("def handler(event, context): return context.tenant_id\n")
    assert functions.invoke(shared).value is None
    for call in (functions.client.invoke, functions.client.invoke_with_response_stream):
        assert refused(call, FunctionName=isolating) == (
            400, "InvalidParameterValueException",
            "The invoked function is enabled with tenancy configuration. Add a valid tenant ID in your request and "
            "try again.")
        assert refused(call, FunctionName=shared, TenantId="blue") == (
            400, "InvalidParameterValueException",
            "The invoked function is not enabled with tenancy configuration. Remove the tenant ID from your request "
            "and try again.")


@pytest.mark.parametrize("runtime", ["python", "nodejs"])
def test_logs_as_json_name_the_tenant(functions, runtime):
    if runtime == "python":
        name = functions.create(WHO, TenancyConfig=PER_TENANT, LoggingConfig=JSON_LOGS)
    else:
        files = {"index.mjs": "export const handler = async (e, c) => { console.warn('at work'); return [0, [c.tenantId]]; };"}
        name = functions.create(files=files, Runtime=NODE, TenancyConfig=PER_TENANT, LoggingConfig=JSON_LOGS)
    answer = functions.invoke(name, TenantId="blue")
    assert answer.value[1] == ["blue"]
    lines = [json.loads(line) for line in answer.log.splitlines() if line.startswith("{")]
    own = next(line for line in lines if line.get("message") == "at work")
    assert own["tenantId"] == "blue"
    for kind in ("platform.start", "platform.report"):
        assert next(line for line in lines if line.get("type") == kind)["record"]["tenantId"] == "blue"
