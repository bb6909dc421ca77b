"""Resource-based policies: given statement by statement and whole, shown as AWS shows them, and obeyed."""

import json

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from support.functions import Functions, new_name
from support.server import ACCOUNT, REGION

FRIEND, STRANGER = "222222222222", "333333333333"
ECHO = "def handler(event, context): return event\n"
CREDENTIALS = """
import os
def handler(event, context):
    names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
    return [os.environ[name] for name in names]
"""
INVOKE = "lambda:InvokeFunction"


def arn_of(name, qualifier=None):
    arn = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{name}"
    return f"{arn}:{qualifier}" if qualifier else arn


def refused(call, **arguments):
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    answer = caught.value.response
    return answer["ResponseMetadata"]["HTTPStatusCode"], answer["Error"]["Code"], answer["Error"]["Message"]


def denial(account, action, resource):
    return (403, "AccessDeniedException",
            f"User: arn:aws:iam::{account}:root is not authorized to perform: lambda:{action} on resource: {resource} "
            f"because no resource-based policy allows the lambda:{action} action")


def statement(principal=FRIEND, action=INVOKE, resource="*", effect="Allow", **more):
    principal = principal if principal == "*" else {"AWS": principal}
    return {"Effect": effect, "Principal": principal, "Action": action, "Resource": resource, **more}


def put(client, arn, *statements):
    policy = json.dumps({"Version": "2012-10-17", "Statement": list(statements)})
    return client.put_resource_policy(ResourceArn=arn, Policy=policy)


@pytest.fixture(scope="module")
def friend(server):
    return server.client(account=FRIEND)


@pytest.fixture(scope="module")
def stranger(server):
    return server.client(account=STRANGER)


@pytest.fixture(scope="module")
def shared(server):
    """A function with a version and an alias, for all tests of this file."""
    made = Functions(server.client())
    name = made.python(ECHO)
    version = made.client.publish_version(FunctionName=name)["Version"]
    made.client.get_waiter("published_version_active").wait(FunctionName=name, Qualifier=version)
    made.client.create_alias(FunctionName=name, Name="live", FunctionVersion=version)
    yield name
    made.clean()


@pytest.fixture
def name(client, shared):
    """The function, which has no policies before and after."""
    yield shared
    for qualifier in (None, "1", "live"):
        try:
            client.delete_resource_policy(ResourceArn=arn_of(shared, qualifier))
        except client.exceptions.ResourceNotFoundException:
            pass


def invokes(client, function, **more):
    try:
        return json.loads(client.invoke(FunctionName=function, Payload=b'"hi"', **more)["Payload"].read()) == "hi"
    except ClientError as error:
        assert error.response["Error"]["Code"] == "AccessDeniedException", error
        return False


def test_statements_come_and_go(client, name):
    before = client.get_function_configuration(FunctionName=name)["RevisionId"]
    added = client.add_permission(
        FunctionName=name, StatementId="bucket", Action=INVOKE, Principal="s3.amazonaws.com",
        SourceArn="arn:aws:s3:::my-bucket", SourceAccount=ACCOUNT, RevisionId=before)
    assert added["Statement"] == json.dumps({
        "Sid": "bucket", "Effect": "Allow", "Principal": {"Service": "s3.amazonaws.com"}, "Action": INVOKE,
        "Resource": arn_of(name), "Condition": {
            "StringEquals": {"AWS:SourceAccount": ACCOUNT}, "ArnLike": {"AWS:SourceArn": "arn:aws:s3:::my-bucket"}},
    }, separators=(",", ":"))
    shown = client.get_policy(FunctionName=name)
    assert shown["Policy"] == '{"Version":"2012-10-17","Id":"default","Statement":[' + added["Statement"] + "]}"
    # The policy's revision is the function's, and it has changed.
    assert shown["RevisionId"] == client.get_function_configuration(FunctionName=name)["RevisionId"] != before
    status, code, text = refused(
        client.remove_permission, FunctionName=name, StatementId="bucket", RevisionId=before)
    assert (status, code) == (412, "PreconditionFailedException") and "Call the GetPolicy API" in text
    client.remove_permission(FunctionName=name, StatementId="bucket", RevisionId=shown["RevisionId"])
    assert refused(client.get_policy, FunctionName=name) == (
        404, "ResourceNotFoundException", "The resource you requested does not exist.")


def test_the_cli_prints_what_aws_documents(cli, name):
    printed = cli("add-permission", "--function-name", f"{name}:live", "--statement-id", "xaccount",
                  "--action", INVOKE, "--principal", FRIEND)
    assert printed["Statement"] == (
        '{"Sid":"xaccount","Effect":"Allow","Principal":{"AWS":"arn:aws:iam::222222222222:root"},'
        f'"Action":"lambda:InvokeFunction","Resource":"{arn_of(name, "live")}"}}')
    done = cli.run("add-permission", "--function-name", name, "--statement-id", "again", "--action", INVOKE,
                   "--principal", FRIEND, "--output", "text")
    assert done.stdout.startswith('{"Sid":"again","Effect":"Allow","Principal":{"AWS":"arn:aws:iam::222222222222:root"}')
    wrong = cli.fails("add-permission", "--function-name", name, "--statement-id", "w", "--action", INVOKE,
                      "--principal", "invalid.nonaws.com")
    assert "An error occurred (InvalidParameterValueException) when calling the AddPermission operation: The provided " \
        "principal was invalid. Please check the principal and try again." in wrong
    policy = json.loads(cli("get-policy", "--function-name", name, "--qualifier", "live")["Policy"])
    assert [one["Sid"] for one in policy["Statement"]] == ["xaccount"]
    assert cli("remove-permission", "--function-name", name, "--qualifier", "live", "--statement-id", "xaccount") is None


def test_another_account_invokes_what_it_is_let(client, friend, stranger, name):
    function, alias = arn_of(name), arn_of(name, "live")
    assert refused(friend.invoke, FunctionName=function) == denial(FRIEND, "InvokeFunction", function)
    client.add_permission(FunctionName=f"{name}:live", StatementId="f", Action=INVOKE, Principal=FRIEND)
    assert invokes(friend, alias) and invokes(friend, function, Qualifier="live")
    # The alias is all they get: not the function, not the version that the alias leads to.
    assert refused(friend.invoke, FunctionName=function) == denial(FRIEND, "InvokeFunction", function)
    assert not invokes(friend, arn_of(name, "1"))
    assert refused(stranger.invoke, FunctionName=alias) == denial(STRANGER, "InvokeFunction", alias)
    stream = friend.invoke_with_response_stream(FunctionName=alias, Payload=b'"hi"')["EventStream"]
    assert b"".join(event["PayloadChunk"]["Payload"] for event in stream if "PayloadChunk" in event) == b'"hi"'
    assert refused(friend.get_function, FunctionName=alias) == denial(FRIEND, "GetFunction", alias)
    client.remove_permission(FunctionName=name, Qualifier="live", StatementId="f")
    assert not invokes(friend, alias)


def test_more_than_invokes(client, friend, name):
    function = arn_of(name)
    put(client, function, statement(action=["lambda:Get*", "lambda:List*"], resource=[function, f"{function}:*"]))
    assert friend.get_function(FunctionName=function)["Configuration"]["FunctionArn"] == function
    assert friend.get_function_configuration(FunctionName=function, Qualifier="live")["Version"] == "1"
    assert friend.list_aliases(FunctionName=function)["Aliases"][0]["Name"] == "live"
    assert [one["Version"] for one in friend.list_versions_by_function(FunctionName=function)["Versions"]] == ["$LATEST", "1"]
    assert json.loads(friend.get_policy(FunctionName=function)["Policy"])["Statement"]
    assert not invokes(friend, function)
    # Lists of an account are its own whatever policies say.
    assert name not in [one["FunctionName"] for one in friend.list_functions()["Functions"]]


def test_nobody_is_told_what_another_account_has(client, friend, name):
    put(client, arn_of(name), statement(principal="*", action="lambda:*", effect="Deny"))
    for qualifier in (None, "live", "77"):
        there, not_there = arn_of(name, qualifier), arn_of("never-made", qualifier)
        for call, action in ((friend.invoke, "InvokeFunction"), (friend.get_policy, "GetPolicy"),
                             (friend.delete_function, "DeleteFunction")):
            assert refused(call, FunctionName=there) == denial(FRIEND, action, there)
            assert refused(call, FunctionName=not_there) == denial(FRIEND, action, not_there)


def test_a_denial_binds_the_owner_who_can_still_take_it_back(client, friend, name):
    function = arn_of(name)
    put(client, function, statement(), statement(principal="*", effect="Deny", resource=f"{function}:live"))
    assert invokes(friend, function) and invokes(client, name)
    assert refused(client.invoke, FunctionName=name, Qualifier="live") == (
        403, "AccessDeniedException",
        f"User: arn:aws:iam::{ACCOUNT}:root is not authorized to perform: lambda:InvokeFunction on resource: "
        f"{function}:live with an explicit deny in a resource-based policy")
    put(client, function, statement(principal="*", action="*", effect="Deny"))
    assert refused(client.delete_function, FunctionName=name)[:2] == (403, "AccessDeniedException")
    assert client.get_policy(FunctionName=name)["Policy"] == client.get_resource_policy(ResourceArn=function)["Policy"]
    client.delete_resource_policy(ResourceArn=function)
    assert invokes(client, name)


def test_conditions(client, friend, name):
    function = arn_of(name)
    for condition, expect in (
        ({"IpAddress": {"aws:SourceIp": "127.0.0.0/8"}}, True),
        ({"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}, False),
        ({"DateGreaterThan": {"aws:CurrentTime": "2024-01-01T00:00:00Z"}}, True),
        ({"DateLessThan": {"aws:CurrentTime": "2024-01-01T00:00:00Z"}}, False),
        ({"StringLike": {"aws:PrincipalArn": "arn:aws:iam::2*:root"}}, True),
        ({"StringEquals": {"aws:PrincipalOrgID": "o-0123456789"}}, False),
        ({"Bool": {"lambda:InvokedViaFunctionUrl": "true"}}, False),
        ({"StringNotEquals": {"aws:SomethingNew": "x"}}, False),
    ):
        put(client, function, statement(principal="*", Condition=condition))
        assert invokes(friend, function) is expect, condition


def test_a_role_of_another_account(server, client, name):
    """The function of another account calls with its own credentials, which are its role's."""
    theirs = Functions(server.client(account=FRIEND))
    role = f"arn:aws:iam::{FRIEND}:role/service/{new_name('role')}"
    key, secret, token = theirs.invoke(theirs.python(CREDENTIALS, Role=role)).value
    session = boto3.client(
        "lambda", endpoint_url=server.endpoint, region_name=REGION, aws_access_key_id=key, aws_secret_access_key=secret,
        aws_session_token=token, config=Config(retries={"total_max_attempts": 1}))
    put(client, arn_of(name), statement(principal=f"arn:aws:iam::{FRIEND}:role/other"))
    assert not invokes(session, arn_of(name))
    client.add_permission(FunctionName=name, StatementId="role", Action=INVOKE, Principal=role)
    assert invokes(session, arn_of(name))
    assert not invokes(server.client(account=FRIEND), arn_of(name))
    theirs.clean()


def test_what_is_no_policy_is_refused(client, name):
    function = arn_of(name)
    for policy in ("{", "[]", '{"Statement": []}', json.dumps({"Statement": statement(effect="Maybe")}),
                   json.dumps({"Statement": statement(resource=arn_of("other"))}),
                   json.dumps({"Statement": statement(Condition={"StringIs": {"aws:SourceIp": "x"}})})):
        status, code, text = refused(client.put_resource_policy, ResourceArn=function, Policy=policy)
        assert (status, code) == (400, "InvalidParameterValueException"), policy
        assert text.startswith("The policy is not valid: "), text
    assert refused(client.get_resource_policy, ResourceArn=function)[0] == 404


def test_a_policy_ends_at_20_kilobytes(client, name):
    source = "arn:aws:s3:::" + "b" * 2_000
    for number in range(20):
        try:
            client.add_permission(FunctionName=name, StatementId=f"s{number}", Action=INVOKE,
                                  Principal="s3.amazonaws.com", SourceArn=source)
        except client.exceptions.PolicyLengthExceededException as error:
            assert "bigger than the limit (20480)" in str(error)
            break
    else:
        pytest.fail("a policy without an end")
    assert 17_000 < len(client.get_policy(FunctionName=name)["Policy"]) <= 20_480


def test_a_policy_outlives_the_server(fresh_server):
    server = fresh_server("--set", "functions.transition_ms=0")
    functions = Functions(server.client())
    name = functions.python(ECHO)
    put(functions.client, arn_of(name), statement())
    shown = functions.client.get_policy(FunctionName=name)
    server.kill()
    server.start()
    assert {**server.client().get_policy(FunctionName=name), "ResponseMetadata": 0} == {**shown, "ResponseMetadata": 0}
    assert invokes(server.client(account=FRIEND), arn_of(name))
    assert server.stop() == 0
