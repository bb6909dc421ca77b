"""Terraform and OpenTofu: what their AWS provider creates reads back as it was configured, is changed in place, and goes.

The provider itself takes longer to build than all of this product's tests to run; `support/provider.py` makes the same
calls in the same order and looks at the same members.
"""

import pytest

from support.functions import PYTHON, ROLE, new_name
from support.provider import Alias, EventSourceMapping, Function, LayerVersion, Permission, ProvisionedConcurrency
from support.server import ACCOUNT, REGION

HELLO = {"app.py": "def handler(event, context): return 'hello'\n"}
NEWER = {"app.py": "def handler(event, context): return 'newer'\n"}


@pytest.fixture
def made():
    """Destroys what a test has left, the last one first."""
    resources = []
    yield resources
    for resource in reversed(resources):
        resource.read()
        if resource.state is not None:
            resource.destroy()


@pytest.fixture
def function(client, made):
    one = Function(client, function_name=new_name("tf"), filename=HELLO, handler="app.handler", runtime=PYTHON,
                   role=ROLE, publish=True)
    made.append(one.create())
    return one


def test_a_function_with_defaults_has_no_difference(client, made):
    """The defaults of the provider's schema, which Read must give although nobody configured them."""
    one = Function(client, function_name=new_name("tf"), filename=HELLO, handler="app.handler", runtime=PYTHON, role=ROLE)
    made.append(one.create())
    assert one.plan() == {}
    state = one.state
    assert (state["memory_size"], state["timeout"], state["description"]) == (128, 3, "")
    assert state["reserved_concurrent_executions"] == -1 and state["package_type"] == "Zip"
    assert state["tracing_config"] == {"Mode": "PassThrough"} and state["ephemeral_storage"] == {"Size": 512}
    assert state["architectures"] == ["x86_64"] and state["layers"] == [] and state["snap_start"] == []
    assert state["environment"] is None and state["tags"] == {} and state["kms_key_arn"] == ""
    # Without a published version the newest one is $LATEST, with its number in the ARN.
    assert state["version"] == "$LATEST" and state["qualified_arn"] == f"{state['arn']}:$LATEST"
    assert state["logging_config"] == {"LogFormat": "Text", "LogGroup": f"/aws/lambda/{one.name}"}
    one.destroy()
    one.read()
    assert one.state is None


def test_a_function_with_everything_is_changed_in_place(client, made):
    layer = LayerVersion(client, layer_name=new_name("tf-layer"), filename={"python/one.py": "one = 1\n"}).create()
    made.append(layer)
    one = Function(
        client, function_name=new_name("tf"), filename=HELLO, handler="app.handler", runtime=PYTHON, role=ROLE,
        publish=True, description="first", memory_size=256, timeout=10, environment={"Variables": {"AA": "1"}},
        ephemeral_storage={"Size": 600}, tracing_config={"Mode": "Active"}, layers=[layer.state["arn"]],
        logging_config={"LogFormat": "JSON", "ApplicationLogLevel": "DEBUG", "SystemLogLevel": "WARN",
                        "LogGroup": "/mine"},
        reserved_concurrent_executions=5, tags={"team": "blue", "old": "yes"})
    made.append(one.create())
    assert one.plan() == {}
    assert one.state["version"] == "1" and one.state["qualified_arn"] == f"{one.state['arn']}:1"
    sha = one.state["code_sha256"]

    one.apply(description="second", memory_size=512, environment={"Variables": {"BB": "2"}}, layers=[],
              tracing_config={"Mode": "PassThrough"})
    assert one.plan() == {} and one.state["version"] == "2"
    one.apply(filename=NEWER)
    assert one.plan() == {} and one.state["version"] == "3" and one.state["code_sha256"] != sha
    one.apply(tags={"team": "red"}, reserved_concurrent_executions=0)
    assert one.plan() == {} and one.state["version"] == "3", "neither makes a version"
    # An attribute that is taken out of the configuration is set back by what the provider sends.
    one.apply(environment={"Variables": {}}, reserved_concurrent_executions=-1, tags={})
    assert one.state["reserved_concurrent_executions"] == -1 and one.state["tags"] == {}
    one.destroy()


def test_an_alias_moves_and_is_weighted(client, function, made):
    function.apply(filename=NEWER)
    alias = Alias(client, function_name=function.name, name="live", function_version="1", description="")
    made.append(alias.create())
    assert alias.plan() == {}
    alias.apply(routing_config={"2": 0.25}, description="careful")
    assert alias.plan() == {}
    alias.apply(function_version="2", routing_config={})
    assert alias.plan() == {}, "no weights are no block"
    # The resource may be given the function's ARN as well.
    by_arn = Alias(client, function_name=function.state["arn"], name="by-arn", function_version="2", description="")
    made.append(by_arn.create())
    assert by_arn.plan() == {} and by_arn.state["arn"] == f"{function.state['arn']}:by-arn"
    alias.destroy()
    # DeleteAlias of what is gone is no error for the provider either way.
    client.delete_alias(FunctionName=function.name, Name="live")


def test_a_layer_version(client, made):
    layer = LayerVersion(client, layer_name=new_name("tf-layer"), filename={"python/one.py": "one = 1\n"},
                         description="shared", license_info="MIT", compatible_runtimes=["python3.13", "python3.12"],
                         compatible_architectures=["x86_64"])
    made.append(layer.create())
    assert layer.plan() == {} and layer.state["version"] == "1"
    # Attributes that nobody configured read as empty, not as something.
    plain = LayerVersion(client, layer_name=layer.config["layer_name"], filename={"python/two.py": "two = 2\n"},
                         description="", license_info="", compatible_runtimes=[], compatible_architectures=[])
    made.append(plain.create())
    assert plain.plan() == {} and plain.state["version"] == "2"
    plain.destroy()
    layer.destroy()


@pytest.mark.parametrize("settings", [
    {"principal": "s3.amazonaws.com", "source_arn": "arn:aws:s3:::bucket", "source_account": "111122223333"},
    {"principal": "events.amazonaws.com", "source_arn": f"arn:aws:events:{REGION}:{ACCOUNT}:rule/r"},
    {"principal": "111122223333", "reads": "arn:aws:iam::111122223333:root"},
    {"principal": "arn:aws:iam::111122223333:root"},
    {"principal": "*", "principal_org_id": "o-0123456789"},
    {"principal": "*", "action": "lambda:InvokeFunctionUrl", "function_url_auth_type": "NONE"},
    {"principal": "alexa-appkit.amazon.com", "event_source_token": "amzn1.ask.skill.1"},
], ids=["a bucket", "a rule", "an account", "a root user", "an organization", "a function URL", "a token"])
def test_a_permission(client, function, settings):
    settings = dict(settings)
    reads = settings.pop("reads", None)
    one = Permission(client, **{"function_name": function.name, "statement_id": "AllowExecution",
                                "action": "lambda:InvokeFunction", **settings}).create()
    # An account's number reads as the ARN of its root, which is a difference on AWS too.
    assert one.plan() == ({"principal": (reads, settings["principal"])} if reads else {})
    assert one.state["qualifier"] == ""
    one.destroy()


def test_a_permission_on_an_alias(client, function, made):
    made.append(Alias(client, function_name=function.name, name="live", function_version="1").create())
    one = Permission(client, function_name=function.name, statement_id="s", action="lambda:InvokeFunction",
                     principal="sns.amazonaws.com", source_arn=f"arn:aws:sns:{REGION}:{ACCOUNT}:t", qualifier="live")
    one.create()
    assert one.plan() == {}
    other = Permission(client, function_name=function.name, statement_id="s", action="lambda:InvokeFunction",
                       principal="sns.amazonaws.com")
    other.read()
    assert other.state is None, "the alias has a policy of its own"
    one.destroy()


def test_provisioned_concurrency(client, function, made):
    made.append(Alias(client, function_name=function.name, name="live", function_version="1").create())
    one = ProvisionedConcurrency(client, function_name=function.name, qualifier="live",
                                 provisioned_concurrent_executions=1)
    made.append(one.create())
    assert one.plan() == {}
    one.apply(provisioned_concurrent_executions=2)
    assert one.plan() == {}
    one.destroy()


@pytest.mark.parametrize("source", [
    {"event_source_arn": f"arn:aws:sqs:{REGION}:{ACCOUNT}:q", "batch_size": 10, "scaling_config": {"MaximumConcurrency": 5},
     "maximum_batching_window_in_seconds": 0, "function_response_types": ["ReportBatchItemFailures"],
     "filter_criteria": {"Filters": [{"Pattern": '{"body": {"a": [1]}}'}]}},
    {"event_source_arn": f"arn:aws:kinesis:{REGION}:{ACCOUNT}:stream/s", "starting_position": "LATEST", "batch_size": 100,
     "parallelization_factor": 2, "maximum_retry_attempts": 3, "maximum_record_age_in_seconds": 60,
     "bisect_batch_on_function_error": True, "tumbling_window_in_seconds": 0,
     "destination_config": {"OnFailure": {"Destination": f"arn:aws:sqs:{REGION}:{ACCOUNT}:failed"}}},
], ids=["SQS", "Kinesis"])
def test_an_event_source_mapping(client, function, made, source):
    # One that would be enabled is not offered yet.
    one = EventSourceMapping(client, function_name=function.name, enabled=False, **source)
    made.append(one.create())
    assert one.plan() == {}
    one.apply(batch_size=7, maximum_batching_window_in_seconds=1)
    assert one.plan() == {}
    one.destroy()
