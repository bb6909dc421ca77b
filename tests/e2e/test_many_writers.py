"""Many callers change the same function, and different ones, at the same time: no acknowledged change is lost, and who
comes in between is told so in AWS's words."""

import concurrent.futures

import pytest
from botocore.exceptions import ClientError

from support.functions import ROLE, PYTHON, new_name, python_zip, wait_active

WRITERS = 32
SOURCE = "def handler(event, context): return 1\n"


def outcomes(work, count=WRITERS):
    """What each of so many callers, all at once, was answered: a document, or an error's code and text."""
    def attempt(number):
        try:
            return work(number)
        except ClientError as error:
            return error.response["Error"]["Code"], error.response["Error"]["Message"]
    with concurrent.futures.ThreadPoolExecutor(count) as pool:
        return list(pool.map(attempt, range(count)))


def split(answers):
    return [one for one in answers if isinstance(one, dict)], [one for one in answers if not isinstance(one, dict)]


def test_one_of_many_creates_a_function(client, functions):
    name = new_name("raced")
    functions.names.append(name)
    done, refused = split(outcomes(lambda number: client.create_function(
        FunctionName=name, Runtime=PYTHON, Handler="app.handler", Role=ROLE, Description=str(number),
        Code={"ZipFile": python_zip(SOURCE)})))
    assert len(done) == 1
    assert set(refused) == {("ResourceConflictException", f"Function already exist: {name}")}
    assert client.get_function_configuration(FunctionName=name)["Description"] == done[0]["Description"]


def test_updates_of_one_function_exclude_each_other(client, functions):
    name = functions.python(SOURCE)
    arn = client.get_function_configuration(FunctionName=name)["FunctionArn"]
    done, refused = split(outcomes(lambda number: client.update_function_configuration(
        FunctionName=name, Description=str(number))))
    in_progress = ("ResourceConflictException", "The operation cannot be performed at this time. "
                   f"An update is in progress for resource: {arn}")
    assert done and set(refused) <= {in_progress}
    client.get_waiter("function_updated_v2").wait(FunctionName=name, WaiterConfig={"Delay": 0.05, "MaxAttempts": 400})
    # Whoever was the last to be acknowledged is what is there.
    last = max(done, key=lambda answer: answer["LastModified"])
    assert client.get_function_configuration(FunctionName=name)["Description"] in {
        answer["Description"] for answer in done if answer["LastModified"] == last["LastModified"]}


def test_a_revision_id_is_good_for_one_writer(client, functions):
    name = functions.python(SOURCE)
    revision = client.get_function_configuration(FunctionName=name)["RevisionId"]
    done, refused = split(outcomes(lambda number: client.update_function_configuration(
        FunctionName=name, Description=str(number), RevisionId=revision)))
    assert len(done) == 1
    assert {code for code, _ in refused} <= {"PreconditionFailedException", "ResourceConflictException"}


def test_different_functions_are_changed_at_the_same_time(client, functions):
    made, refused = split(outcomes(lambda number: client.create_function(
        FunctionName=f"writer-{number}", Runtime=PYTHON, Handler="app.handler", Role=ROLE,
        Code={"ZipFile": python_zip(SOURCE)})))
    functions.names += [f"writer-{number}" for number in range(WRITERS)]
    assert (len(made), refused) == (WRITERS, [])
    for number in range(WRITERS):
        wait_active(client, f"writer-{number}")
    changed, refused = split(outcomes(lambda number: client.update_function_configuration(
        FunctionName=f"writer-{number}", Description=str(number))))
    assert (len(changed), refused) == (WRITERS, [])
    for number in range(WRITERS):
        assert client.get_function_configuration(FunctionName=f"writer-{number}")["Description"] == str(number)


def test_aliases_of_one_function_are_all_made(client, functions):
    """They do not exclude each other on AWS, so each caller succeeds and none takes away another's."""
    name = functions.python(SOURCE)
    client.publish_version(FunctionName=name)
    made, refused = split(outcomes(lambda number: client.create_alias(
        FunctionName=name, Name=f"a{number}", FunctionVersion="1")))
    assert (len(made), refused) == (WRITERS, [])
    assert len(client.list_aliases(FunctionName=name)["Aliases"]) == WRITERS


def test_versions_published_at_once_are_one_version(client, functions):
    name = functions.python(SOURCE)
    done, refused = split(outcomes(lambda _: client.publish_version(FunctionName=name)))
    assert done and {answer["Version"] for answer in done} == {"1"}, "nothing has changed between them"
    assert {code for code, _ in refused} <= {"ResourceConflictException"}
    assert [one["Version"] for one in client.list_versions_by_function(FunctionName=name)["Versions"]] == ["$LATEST", "1"]


def test_tags_and_permissions_of_many_callers_are_all_there(client, functions):
    name = functions.python(SOURCE)
    arn = client.get_function_configuration(FunctionName=name)["FunctionArn"]
    tagged, refused = split(outcomes(lambda number: client.tag_resource(Resource=arn, Tags={f"t{number}": "x"})))
    assert (len(tagged), refused) == (WRITERS, [])
    assert len(client.list_tags(Resource=arn)["Tags"]) == WRITERS
    added, refused = split(outcomes(lambda number: client.add_permission(
        FunctionName=name, StatementId=f"s{number}", Action="lambda:InvokeFunction", Principal="s3.amazonaws.com")))
    policy = client.get_policy(FunctionName=name)["Policy"]
    # AWS lets some of them try again; an acknowledged statement is there.
    assert added and {code for code, _ in refused} <= {"ResourceConflictException", "TooManyRequestsException"}
    assert policy.count('"Sid"') == len(added)


@pytest.mark.parametrize("rounds", [8])
def test_layer_versions_of_many_callers_have_numbers_of_their_own(client, rounds):
    layer = new_name("raced-layer")
    done, refused = split(outcomes(lambda number: client.publish_layer_version(
        LayerName=layer, Description=str(number), Content={"ZipFile": python_zip(SOURCE)}), rounds))
    assert refused == [] and sorted(answer["Version"] for answer in done) == list(range(1, rounds + 1))
    for answer in done:
        version = client.get_layer_version(LayerName=layer, VersionNumber=answer["Version"])
        assert version["Description"] == answer["Description"]
        client.delete_layer_version(LayerName=layer, VersionNumber=answer["Version"])
