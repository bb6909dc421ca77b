"""Create, read, list, update and delete with boto3: the answers of AWS, field by field."""

import base64
import hashlib
import re
import time
import urllib.error
import urllib.request

import pytest
from botocore.exceptions import ClientError

from support.functions import PYTHON, ROLE, new_name, python_zip, wait_active, wait_updated, zip_of
from support.server import ACCOUNT, REGION

HELLO = "def handler(event, context):\n    return 'hello'\n"
UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"


def arn_of(name, region=REGION, account=ACCOUNT):
    return f"arn:aws:lambda:{region}:{account}:function:{name}"


def refused(code, status, call, **words):
    """The error of a call that must be refused."""
    with pytest.raises(ClientError) as caught:
        call(**words)
    answer = caught.value.response
    assert answer["Error"]["Code"] == code, answer
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == status, answer
    return answer["Error"]["Message"]


def test_a_new_function_answers_every_field(client, functions):
    name, package = new_name("fields"), python_zip(HELLO)
    functions.names.append(name)
    made = client.create_function(
        FunctionName=name, Runtime=PYTHON, Role=ROLE, Handler="app.handler", Code={"ZipFile": package},
        Description="says hello", Timeout=7, MemorySize=256, Environment={"Variables": {"COLOUR": "blue"}},
        Tags={"team": "one"}, Architectures=["x86_64"], EphemeralStorage={"Size": 600})
    assert made["ResponseMetadata"]["HTTPStatusCode"] == 201
    assert made["FunctionName"] == name
    assert made["FunctionArn"] == arn_of(name)
    assert made["Runtime"] == PYTHON
    assert made["Role"] == ROLE
    assert made["Handler"] == "app.handler"
    assert made["CodeSize"] == len(package)
    assert made["CodeSha256"] == base64.b64encode(hashlib.sha256(package).digest()).decode()
    assert made["Description"] == "says hello"
    assert made["Timeout"] == 7
    assert made["MemorySize"] == 256
    assert made["Version"] == "$LATEST"
    assert made["Environment"] == {"Variables": {"COLOUR": "blue"}}
    assert made["EphemeralStorage"] == {"Size": 600}
    assert made["Architectures"] == ["x86_64"]
    assert made["PackageType"] == "Zip"
    assert made["TracingConfig"] == {"Mode": "PassThrough"}
    assert made["SnapStart"] == {"ApplyOn": "None", "OptimizationStatus": "Off"}
    assert made["LoggingConfig"] == {"LogFormat": "Text", "LogGroup": f"/aws/lambda/{name}"}
    assert re.fullmatch(UUID, made["RevisionId"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+0000", made["LastModified"])
    assert made["State"] == "Pending"
    assert made["StateReasonCode"] == "Creating"
    assert made["StateReason"] == "The function is being created."
    assert "LastUpdateStatus" not in made

    wait_active(client, name)
    found = client.get_function_configuration(FunctionName=name)
    assert (found["State"], found["LastUpdateStatus"]) == ("Active", "Successful")
    assert "StateReason" not in found
    assert re.match(rf"arn:aws:lambda:{REGION}::runtime:\w+", found["RuntimeVersionConfig"]["RuntimeVersionArn"])
    same = ("CodeSha256", "CodeSize", "Description", "MemorySize", "Timeout", "Environment", "Handler", "Role")
    assert {key: found[key] for key in same} == {key: made[key] for key in same}


def test_defaults_are_those_of_aws(client, functions):
    name = new_name("defaults")
    functions.names.append(name)
    made = client.create_function(
        FunctionName=name, Runtime=PYTHON, Role=ROLE, Handler="app.handler",
        Code={"ZipFile": python_zip(HELLO)})
    assert made["Timeout"] == 3
    assert made["MemorySize"] == 128
    assert made["Description"] == ""
    assert made["EphemeralStorage"] == {"Size": 512}
    assert made["Architectures"] == ["x86_64"]
    assert "Environment" not in made


def test_get_function_gives_configuration_code_and_tags(client, functions):
    name = functions.python(HELLO, Tags={"team": "two", "stage": "test"})
    found = client.get_function(FunctionName=name)
    assert found["Configuration"]["FunctionArn"] == arn_of(name)
    assert found["Tags"] == {"team": "two", "stage": "test"}
    assert found["Code"]["RepositoryType"] == "S3"
    untagged = functions.python(HELLO)
    assert not client.get_function(FunctionName=untagged).get("Tags")


def test_the_download_link_gives_the_very_same_package(client, functions):
    name = new_name("download")
    functions.names.append(name)
    package = zip_of({"app.py": HELLO, "data/deep/file.bin": bytes(range(256)) * 40})
    client.create_function(
        FunctionName=name, Runtime=PYTHON, Role=ROLE, Handler="app.handler", Code={"ZipFile": package})
    wait_active(client, name)
    link = client.get_function(FunctionName=name)["Code"]["Location"]
    with urllib.request.urlopen(link) as reply:
        assert reply.read() == package
    # The signature is what gives access: without it, or with another one, there is nothing.
    for broken in (link.partition("?")[0], link[:-4] + ("0000" if link[-4:] != "0000" else "1111")):
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(broken)
        assert caught.value.code in (400, 403, 404)
    assert client.get_function(FunctionName=name)["Code"]["Location"].startswith("http://127.0.0.1:")


def test_names_may_be_partial_and_full_arns(client, functions):
    name = functions.python(HELLO)
    for spelling in (name, f"{ACCOUNT}:{name}", f"{ACCOUNT}:function:{name}", f"function:{name}", arn_of(name)):
        assert client.get_function_configuration(FunctionName=spelling)["FunctionName"] == name, spelling
        assert functions.invoke(spelling).value == "hello", spelling
    for spelling in (f"{name}:$LATEST", f"{arn_of(name)}:$LATEST"):
        found = client.get_function_configuration(FunctionName=spelling)
        assert (found["FunctionName"], found["Version"]) == (name, "$LATEST"), spelling
    by_qualifier = client.get_function_configuration(FunctionName=name, Qualifier="$LATEST")
    assert by_qualifier["FunctionArn"] == f"{arn_of(name)}:$LATEST"


def test_a_function_may_be_created_under_its_arn(client, functions):
    name = new_name("by-arn")
    functions.names.append(name)
    made = client.create_function(
        FunctionName=arn_of(name), Runtime=PYTHON, Role=ROLE, Handler="app.handler",
        Code={"ZipFile": python_zip(HELLO)})
    assert made["FunctionName"] == name


def test_two_qualifiers_must_agree(client, functions):
    name = functions.python(HELLO)
    text = refused("InvalidParameterValueException", 400, client.get_function,
                   FunctionName=f"{name}:$LATEST", Qualifier="1")
    assert text == "The derived qualifier from the function name does not match the specified qualifier."
    same = client.get_function(FunctionName=f"{name}:$LATEST", Qualifier="$LATEST")
    assert same["Configuration"]["Version"] == "$LATEST"


def test_what_is_not_there_is_not_found(client, functions):
    name = functions.python(HELLO)
    missing = f"Function not found: {arn_of('doesnotexist')}"
    calls = [
        (client.get_function, {}), (client.get_function_configuration, {}), (client.delete_function, {}),
        (client.update_function_code, {"ZipFile": python_zip(HELLO)}),
        (client.update_function_configuration, {"Timeout": 5}),
    ]
    for call, words in calls:
        assert refused("ResourceNotFoundException", 404, call, FunctionName="doesnotexist", **words) == missing
    # Invoke names the version that was looked for, also when none was asked for.
    assert refused("ResourceNotFoundException", 404, client.invoke, FunctionName="doesnotexist") == missing + ":$LATEST"
    assert refused("ResourceNotFoundException", 404, client.get_function, FunctionName=name, Qualifier="42") \
        == f"Function not found: {arn_of(name)}:42"
    assert refused("ResourceNotFoundException", 404, client.get_function, FunctionName=name, Qualifier="live") \
        == f"Function not found: {arn_of(name)}:live"


def test_the_same_name_twice_is_a_conflict(client, functions):
    name = functions.python(HELLO)
    text = refused("ResourceConflictException", 409, client.create_function, FunctionName=name,
                   Runtime=PYTHON, Role=ROLE, Handler="app.handler", Code={"ZipFile": python_zip(HELLO)})
    assert text == f"Function already exist: {name}"


def test_updating_the_code(client, functions):
    name = functions.python("def handler(event, context):\n    return 'old'\n")
    assert functions.invoke(name).value == "old"
    before = client.get_function_configuration(FunctionName=name)
    package = python_zip("def handler(event, context):\n    return 'new'\n")
    answer = client.update_function_code(FunctionName=name, ZipFile=package)
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 200
    assert answer["LastUpdateStatus"] == "InProgress"
    assert answer["LastUpdateStatusReasonCode"] == "Creating"
    assert answer["LastUpdateStatusReason"] == "The function is being created."
    assert answer["State"] == "Active"
    assert answer["CodeSha256"] != before["CodeSha256"]
    assert answer["CodeSize"] == len(package)
    assert answer["RevisionId"] != before["RevisionId"]
    wait_updated(client, name)
    after = client.get_function_configuration(FunctionName=name)
    assert after["LastUpdateStatus"] == "Successful"
    assert after["LastModified"] >= before["LastModified"]
    assert functions.invoke(name).value == "new"


def test_a_dry_run_of_an_update_changes_nothing(client, functions):
    name = functions.python(HELLO)
    before = client.get_function_configuration(FunctionName=name)
    package = python_zip("def handler(event, context):\n    return 'never'\n")
    answer = client.update_function_code(FunctionName=name, ZipFile=package, DryRun=True)
    assert answer["CodeSha256"] == base64.b64encode(hashlib.sha256(package).digest()).decode()
    after = client.get_function_configuration(FunctionName=name)
    assert (after["CodeSha256"], after["RevisionId"]) == (before["CodeSha256"], before["RevisionId"])
    assert functions.invoke(name).value == "hello"


def test_updating_the_configuration(client, functions):
    name = functions.python("import os\ndef handler(event, context):\n    return os.environ.get('COLOUR')\n",
                            env={"COLOUR": "red"})
    assert functions.invoke(name).value == "red"
    answer = client.update_function_configuration(
        FunctionName=name, Timeout=9, MemorySize=192, Description="changed",
        Environment={"Variables": {"COLOUR": "green"}}, EphemeralStorage={"Size": 512})
    assert answer["LastUpdateStatus"] == "InProgress"
    assert (answer["Timeout"], answer["MemorySize"], answer["Description"]) == (9, 192, "changed")
    wait_updated(client, name)
    assert functions.invoke(name).value == "green"
    # What is not named stays as it is.
    client.update_function_configuration(FunctionName=name, Timeout=10)
    wait_updated(client, name)
    found = client.get_function_configuration(FunctionName=name)
    assert (found["Timeout"], found["MemorySize"], found["Handler"]) == (10, 192, "app.handler")
    assert found["Environment"]["Variables"] == {"COLOUR": "green"}
    # An empty map takes all variables away.
    client.update_function_configuration(FunctionName=name, Environment={"Variables": {}})
    wait_updated(client, name)
    assert functions.invoke(name).value is None


def test_only_one_update_at_a_time(client, functions):
    name = functions.python(HELLO)
    client.update_function_configuration(FunctionName=name, Timeout=11)
    expected = ("The operation cannot be performed at this time. An update is in progress for resource: "
                + arn_of(name))
    assert refused("ResourceConflictException", 409, client.update_function_configuration,
                   FunctionName=name, Timeout=12) == expected
    assert refused("ResourceConflictException", 409, client.update_function_code,
                   FunctionName=name, ZipFile=python_zip(HELLO)) == expected
    wait_updated(client, name)
    client.update_function_configuration(FunctionName=name, Timeout=12)
    wait_updated(client, name)
    assert client.get_function_configuration(FunctionName=name)["Timeout"] == 12


def test_a_pending_function_can_be_neither_invoked_nor_updated(client, functions):
    name = functions.create(HELLO, wait=False)
    conflict = ("The operation cannot be performed at this time. The function is currently in the following "
                "state: Pending")
    assert refused("ResourceConflictException", 409, client.invoke, FunctionName=name) == conflict
    text = refused("ResourceConflictException", 409, client.update_function_configuration,
                   FunctionName=name, Timeout=4)
    assert text.startswith("The operation cannot be performed at this time.")
    wait_active(client, name)
    assert functions.invoke(name).value == "hello"


def test_a_function_answers_while_it_is_being_updated(client, functions):
    name = functions.python(HELLO)
    client.update_function_code(FunctionName=name, ZipFile=python_zip(HELLO.replace("hello", "newer")))
    assert functions.invoke(name).value in ("hello", "newer")
    wait_updated(client, name)
    assert functions.invoke(name).value == "newer"


def test_a_stale_revision_is_refused(client, functions):
    name = functions.python(HELLO)
    stale = client.get_function_configuration(FunctionName=name)["RevisionId"]
    client.update_function_configuration(FunctionName=name, Timeout=5, RevisionId=stale)
    wait_updated(client, name)
    expected = ("The Revision Id provided does not match the latest Revision Id. Call the GetFunction/GetAlias "
                "API to retrieve the latest Revision Id")
    assert refused("PreconditionFailedException", 412, client.update_function_configuration,
                   FunctionName=name, Timeout=6, RevisionId=stale) == expected
    assert refused("PreconditionFailedException", 412, client.update_function_code,
                   FunctionName=name, ZipFile=python_zip(HELLO), RevisionId=stale) == expected
    latest = client.get_function_configuration(FunctionName=name)["RevisionId"]
    client.update_function_code(FunctionName=name, ZipFile=python_zip(HELLO), RevisionId=latest)


def test_deleting(client, functions):
    name = functions.python(HELLO)
    assert functions.invoke(name).value == "hello"
    answer = client.delete_function(FunctionName=name)
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 204
    assert refused("ResourceNotFoundException", 404, client.get_function, FunctionName=name) \
        == f"Function not found: {arn_of(name)}"
    refused("ResourceNotFoundException", 404, client.invoke, FunctionName=name)
    # The name is free again, and nothing of the old function shows through.
    client.create_function(
        FunctionName=name, Runtime=PYTHON, Role=ROLE, Handler="app.handler",
        Code={"ZipFile": python_zip(HELLO.replace("hello", "again"))})
    wait_active(client, name)
    assert functions.invoke(name).value == "again"
    assert refused("InvalidParameterValueException", 400, client.delete_function,
                   FunctionName=name, Qualifier="$LATEST") \
        == "$LATEST version cannot be deleted without deleting the function."


def test_listing_goes_page_by_page(fresh_server):
    client = fresh_server("--set", "functions.transition_ms=0").client()
    names = sorted(f"page-{number:02}" for number in range(23))
    for name in reversed(names):
        client.create_function(FunctionName=name, Runtime=PYTHON, Role=ROLE, Handler="app.handler",
                               Code={"ZipFile": python_zip(HELLO)})
    everything = client.list_functions()
    assert sorted(one["FunctionName"] for one in everything["Functions"]) == names
    assert "NextMarker" not in everything
    seen, sizes, marker = [], [], None
    while True:
        page = client.list_functions(MaxItems=10, **({"Marker": marker} if marker else {}))
        seen += [one["FunctionName"] for one in page["Functions"]]
        sizes.append(len(page["Functions"]))
        marker = page.get("NextMarker")
        if not marker:
            break
    assert sorted(seen) == names and sizes == [10, 10, 3]
    paginator = client.get_paginator("list_functions")
    pages = list(paginator.paginate(PaginationConfig={"PageSize": 7}))
    assert [len(page["Functions"]) for page in pages] == [7, 7, 7, 2]
    # A function that goes away between two pages takes nobody with it.
    first = client.list_functions(MaxItems=10)
    client.delete_function(FunctionName=first["Functions"][-1]["FunctionName"])
    rest = client.list_functions(MaxItems=50, Marker=first["NextMarker"])
    assert len(rest["Functions"]) == 13
    one = everything["Functions"][0]
    assert {"FunctionArn", "CodeSha256", "LastModified", "Version", "RevisionId"} <= set(one)
    refused("InvalidParameterValueException", 400, client.list_functions, Marker="not-a-marker")


def test_accounts_and_regions_do_not_see_each_other(server, functions):
    name = functions.python(HELLO)
    other_account = server.client(account="111122223333")
    other_region = server.client(region="eu-central-1")
    for stranger in (other_account, other_region):
        refused("ResourceNotFoundException", 404, stranger.get_function, FunctionName=name)
        assert name not in [one["FunctionName"] for one in stranger.list_functions()["Functions"]]
    made = other_region.create_function(
        FunctionName=name, Runtime=PYTHON, Role=ROLE, Handler="app.handler", Code={"ZipFile": python_zip(HELLO)})
    assert made["FunctionArn"] == arn_of(name, region="eu-central-1")
    other_region.delete_function(FunctionName=name)
    made = other_account.create_function(
        FunctionName=name, Runtime=PYTHON, Role=ROLE, Handler="app.handler", Code={"ZipFile": python_zip(HELLO)})
    assert made["FunctionArn"] == arn_of(name, account="111122223333")
    other_account.delete_function(FunctionName=name)
    assert functions.invoke(name).value == "hello"
    wrong = refused("ResourceNotFoundException", 404, functions.client.get_function,
                    FunctionName=arn_of(name, region="ap-southeast-1"))
    assert wrong == f"Functions from 'ap-southeast-1' are not reachable in this region ('{REGION}')"


def test_account_settings_count_what_is_there(fresh_server):
    client = fresh_server("--set", "functions.transition_ms=0").client()
    empty = client.get_account_settings()
    assert empty["AccountLimit"] == {
        "TotalCodeSize": 80530636800, "CodeSizeUnzipped": 262144000, "CodeSizeZipped": 52428800,
        "ConcurrentExecutions": 1000, "UnreservedConcurrentExecutions": 1000}
    assert empty["AccountUsage"] == {"TotalCodeSize": 0, "FunctionCount": 0}
    packages = [python_zip(HELLO), python_zip(HELLO * 3)]
    for number, package in enumerate(packages):
        client.create_function(FunctionName=f"count-{number}", Runtime=PYTHON, Role=ROLE,
                               Handler="app.handler", Code={"ZipFile": package})
    usage = client.get_account_settings()["AccountUsage"]
    assert usage == {"TotalCodeSize": sum(map(len, packages)), "FunctionCount": 2}
    client.delete_function(FunctionName="count-0")
    assert client.get_account_settings()["AccountUsage"]["FunctionCount"] == 1


def test_the_intermediate_state_can_be_seen_and_does_not_last(client, functions):
    name = functions.create(HELLO, wait=False)
    assert client.get_function_configuration(FunctionName=name)["State"] == "Pending"
    begun = time.monotonic()
    client.get_waiter("function_active_v2").wait(FunctionName=name)
    assert time.monotonic() - begun < 5
    client.update_function_configuration(FunctionName=name, Timeout=4)
    assert client.get_function_configuration(FunctionName=name)["LastUpdateStatus"] == "InProgress"
    client.get_waiter("function_updated_v2").wait(FunctionName=name)
    client.get_waiter("function_active").wait(FunctionName=name)
    client.get_waiter("function_updated").wait(FunctionName=name)
    client.get_waiter("function_exists").wait(FunctionName=name)


def test_identical_packages_are_shared_and_outlive_each_other(client, functions):
    first, second = functions.python(HELLO), functions.python(HELLO)
    shas = {client.get_function_configuration(FunctionName=name)["CodeSha256"] for name in (first, second)}
    assert len(shas) == 1
    client.delete_function(FunctionName=first)
    assert functions.invoke(second).value == "hello"
    link = client.get_function(FunctionName=second)["Code"]["Location"]
    with urllib.request.urlopen(link) as reply:
        assert reply.read() == python_zip(HELLO)
