"""SnapStart: published versions that are initialized once, and environments that are restored from that."""

import concurrent.futures
import re

import botocore.exceptions
import pytest

from support.functions import ROLE, Functions, invoke, new_name, python_zip, sdk_files, wait_updated
from support.server import Server
from support.wait import until

RUNTIME = "python3.13"
ON = {"ApplyOn": "PublishedVersions"}

# Waits for the others, so that each of the requests at once has an environment of its own.
COUNTING = """
import os, random, socket, time, uuid
from snapshot_restore_py import register_after_restore, register_before_snapshot

print("INITIALIZED", uuid.uuid4())
drawn = [random.random(), str(uuid.uuid4())]
table = list(range(100_000))
done = []
with open("/tmp/from-init", "w") as out:
    out.write("written before the snapshot")

register_before_snapshot(done.append, "before 1")
register_before_snapshot(done.append, "before 2")
register_after_restore(done.append, "after 1")
register_after_restore(done.append, "after 2")

def handler(event, context):
    time.sleep(event.get("seconds", 0))
    with open("/tmp/mine", "a") as mine:
        mine.write(context.aws_request_id + "\\n")
    return {
        "done": done, "drawn": drawn, "sum": sum(table),
        "random": random.random(), "uuid": str(uuid.uuid4()), "urandom": os.urandom(8).hex(),
        "kind": os.environ["AWS_LAMBDA_INITIALIZATION_TYPE"],
        "given": sorted(name for name in os.environ if name.startswith(("AWS_ACCESS", "AWS_LAMBDA_LOG_S", "_LAMBIC"))),
        "stream": context.log_stream_name, "version": context.function_version,
        "tmp": open("/tmp/from-init").read(), "mine": len(open("/tmp/mine").readlines()),
        "processes": len([name for name in os.listdir("/proc") if name.isdigit()]),
        "pid": os.getpid(), "time": time.time(), "id": context.aws_request_id,
    }
"""


class Snapped:
    """A server whose functions have SnapStart."""

    def __init__(self, server):
        self.server, self.client, self.figure = server, server.client(), server.figure
        self.functions = Functions(self.client)

    def create(self, source, **settings):
        return self.functions.create(source, Runtime=RUNTIME, SnapStart=ON, **settings)

    def publish(self, name):
        """The version, once it is no longer pending."""
        made = self.client.publish_version(FunctionName=name)
        assert made["SnapStart"] == {**ON, "OptimizationStatus": "Off"}
        return self.settled(name, made["Version"])

    def settled(self, name, version):
        def shown():
            now = self.client.get_function_configuration(FunctionName=name, Qualifier=version)
            return now if now["State"] != "Pending" else None
        return until(shown, f"{name}:{version} to be settled", 60)

    def refused(self, name, **more):
        with pytest.raises(botocore.exceptions.ClientError) as caught:
            invoke(self.client, name, **more)
        error = caught.value.response["Error"]
        return error["Code"], caught.value.response["ResponseMetadata"]["HTTPStatusCode"]


@pytest.fixture(scope="module")
def snapped(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("snapstart"), "--set", "functions.transition_ms=0").start()
    yield Snapped(server)
    assert server.stop() == 0


def test_environments_are_restored_from_one_initialization(snapped):
    name = snapped.create(COUNTING, Timeout=30)
    latest = snapped.client.get_function_configuration(FunctionName=name)
    assert latest["SnapStart"] == {**ON, "OptimizationStatus": "Off"}
    version = snapped.publish(name)
    assert (version["State"], version["LastUpdateStatus"]) == ("Active", "Successful")
    assert version["SnapStart"] == {**ON, "OptimizationStatus": "On"}
    restored = snapped.figure("lambic_restored_total")
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        asked = [pool.submit(invoke, snapped.client, name, {"seconds": 5}, Qualifier="1") for _ in range(3)]
        answers = [one.result() for one in asked]
    values = [answer.value for answer in answers]
    for value in values:
        assert value["done"] == ["before 2", "before 1", "after 1", "after 2"], value
        assert (value["sum"], value["kind"], value["version"]) == (sum(range(100_000)), "snap-start", "1")
        assert (value["given"], value["stream"], value["mine"]) == ([], None, 1), value
        assert value["tmp"] == "written before the snapshot"
        assert value["processes"] == 2, "init and the runtime; nothing is left of how it was made"
    assert len({tuple(value["drawn"]) for value in values}) == 1, "what was drawn before is shared"
    for own in ("random", "uuid", "urandom", "id"):
        assert len({value[own] for value in values}) == 3, own
    assert snapped.figure("lambic_restored_total") == restored + 3
    for answer in answers:
        assert "Init Duration" not in answer.log, answer.log
        assert re.search(r"\tRestore Duration: [\d.]+ ms\tBilled Restore Duration: \d+ ms\t", answer.log), answer.log
    warm = invoke(snapped.client, name, {}, Qualifier="1")
    assert "Restore Duration" not in warm.log and warm.value["mine"] == 2
    text = snapped.server.text()
    assert len(set(re.findall(r"INITIALIZED ([0-9a-f-]{36})", text))) == 1
    assert text.count("RESTORE_START Runtime Version: python:3.13") >= 3
    assert re.search(r'INIT_REPORT Init Duration: [\d.]+ ms"', text), text


def test_latest_has_none(snapped):
    name = snapped.create("import os\ndef handler(e, c): return os.environ['AWS_LAMBDA_INITIALIZATION_TYPE']\n")
    answer = invoke(snapped.client, name)
    assert answer.value == "on-demand" and "Init Duration" in answer.log
    assert "Restore Duration" not in answer.log


def test_an_alias_and_a_version_without(snapped):
    source = "import os\ndef handler(e, c): return os.environ['AWS_LAMBDA_INITIALIZATION_TYPE']\n"
    name = snapped.create(source)
    snapped.publish(name)
    snapped.client.update_function_configuration(FunctionName=name, SnapStart={"ApplyOn": "None"})
    wait_updated(snapped.client, name)
    plain = snapped.client.publish_version(FunctionName=name)
    assert plain["SnapStart"] == {"ApplyOn": "None", "OptimizationStatus": "Off"}
    snapped.settled(name, plain["Version"])
    snapped.client.create_alias(FunctionName=name, Name="live", FunctionVersion="1")
    assert invoke(snapped.client, name, Qualifier="live").value == "snap-start"
    assert invoke(snapped.client, name, Qualifier="2").value == "on-demand"


def test_what_cannot_be_initialized_has_failed(snapped):
    name = snapped.create("import nothing_of_that_name\ndef handler(e, c): return 1\n")
    version = snapped.publish(name)
    assert (version["State"], version["StateReasonCode"]) == ("Failed", "FunctionError")
    assert version["StateReason"] == "An error occurred during function initialization."
    assert (version["LastUpdateStatus"], version["SnapStart"]["OptimizationStatus"]) == ("Failed", "Off")
    assert snapped.refused(name, Qualifier="1") == ("ResourceConflictException", 409)
    hook = ("import snapshot_restore_py\n@snapshot_restore_py.register_before_snapshot\n"
            "def hook(): raise KeyError('before')\ndef handler(e, c): return 1\n")
    assert snapped.publish(snapped.create(hook))["State"] == "Failed"
    assert "Runtime.BeforeSnapshotError" in snapped.server.text()


def test_a_version_that_is_being_initialized_is_not_ready_and_may_be_deleted(snapped):
    source = ("import os, time\nif os.environ.get('AWS_LAMBDA_INITIALIZATION_TYPE') == 'snap-start':\n"
              "    time.sleep(600)\ndef handler(e, c): return 1\n")
    name = snapped.create(source, Timeout=900)
    made = snapped.client.publish_version(FunctionName=name)
    assert (made["State"], made["StateReasonCode"]) == ("Pending", "Creating")
    assert snapped.refused(name, Qualifier="1") == ("SnapStartNotReadyException", 409)
    environments = snapped.figure("lambic_environments")
    snapped.client.delete_function(FunctionName=name)
    until(lambda: snapped.figure("lambic_environments") < environments, "its environment to end")


def test_a_hook_that_fails_after_restoring_is_the_callers_error(snapped):
    source = ("import snapshot_restore_py\n@snapshot_restore_py.register_after_restore\n"
              "def hook(): raise KeyError('after')\ndef handler(e, c): return 1\n")
    name = snapped.create(source)
    assert snapped.publish(name)["State"] == "Active"
    assert snapped.refused(name, Qualifier="1") == ("SnapStartException", 400)
    until(lambda: re.search(r"RESTORE_REPORT Restore Duration: [\d.]+ ms\\tStatus: error\\t"
                            r"Error Type: Runtime.AfterRestoreError", snapped.server.text()), "its line")


def test_a_hook_that_takes_too_long_is_the_callers_error(snapped):
    source = ("import snapshot_restore_py, time\n@snapshot_restore_py.register_after_restore\n"
              "def hook(): time.sleep(600)\ndef handler(e, c): return 1\n")
    name = snapped.create(source)
    assert snapped.publish(name)["State"] == "Active"
    assert snapped.refused(name, Qualifier="1") == ("SnapStartTimeoutException", 408)


def test_credentials_are_each_environments_own(snapped):
    source = """
import os, json, urllib.request
def ask():
    request = urllib.request.Request(os.environ["AWS_CONTAINER_CREDENTIALS_FULL_URI"])
    request.add_header("Authorization", os.environ["AWS_CONTAINER_AUTHORIZATION_TOKEN"])
    with urllib.request.urlopen(request) as reply:
        return json.load(reply)
before = ask()["AccessKeyId"]
def handler(event, context):
    now = ask()
    assert sorted(now) == ["AccessKeyId", "Expiration", "SecretAccessKey", "Token"]
    return [before, now["AccessKeyId"]]
"""
    name = snapped.create(source)
    snapped.publish(name)
    before, now = invoke(snapped.client, name, Qualifier="1").value
    assert before.startswith("ASIA") and now.startswith("ASIA") and before != now


def test_boto3_works_before_and_after(snapped):
    source = """
import boto3
client = boto3.client("lambda")
first = client.get_account_settings()["AccountLimit"]["ConcurrentExecutions"]
def handler(event, context):
    fresh = boto3.client("lambda").get_account_settings()["AccountLimit"]["ConcurrentExecutions"]
    return [first, client.get_account_settings()["AccountLimit"]["ConcurrentExecutions"], fresh]
"""
    files = {**sdk_files(), "app.py": source.encode()}
    name = snapped.functions.create(files=files, Runtime=RUNTIME, SnapStart=ON, MemorySize=512, Timeout=60)
    assert snapped.publish(name)["State"] == "Active"
    answer = invoke(snapped.client, name, Qualifier="1")
    assert answer.error is None, answer
    assert len(set(answer.value)) == 1
    assert "Restore Duration" in answer.log


def test_after_a_crash_versions_are_active_and_restored(fresh_server):
    server = fresh_server("--set", "functions.transition_ms=0")
    before = Snapped(server)
    name = before.create(COUNTING)
    assert before.publish(name)["State"] == "Active"
    assert "Restore Duration" in invoke(before.client, name, {}, Qualifier="1").log
    server.kill()
    server.start()
    after = Snapped(server)
    shown = after.client.get_function_configuration(FunctionName=name, Qualifier="1")
    assert (shown["State"], shown["SnapStart"]["OptimizationStatus"]) == ("Active", "On")
    until(lambda: after.figure("lambic_snapshots") == 1, "the snapshot to be taken again", 60)
    assert "Restore Duration" in invoke(after.client, name, {}, Qualifier="1").log


def test_a_deleted_version_keeps_nothing(fresh_server):
    server = fresh_server("--set", "functions.transition_ms=0")
    one = Snapped(server)
    name = one.create(COUNTING)
    assert one.publish(name)["State"] == "Active"
    assert one.figure("lambic_environments") == 1
    one.client.delete_function(FunctionName=name, Qualifier="1")
    until(lambda: (one.figure("lambic_environments"), one.figure("lambic_snapshots")) == (0, 0), "nothing to be left")


def test_where_nothing_can_be_forked_it_is_refused_by_name(fresh_server):
    client = fresh_server("--isolation", "none").client()
    with pytest.raises(botocore.exceptions.ClientError) as caught:
        client.create_function(FunctionName=new_name("snap"), Runtime=RUNTIME, Handler="app.handler", Role=ROLE,
                               Code={"ZipFile": python_zip("def handler(e, c): return 1\n")}, SnapStart=ON)
    response = caught.value.response
    assert response["ResponseMetadata"]["HTTPStatusCode"] == 501
    assert "SnapStart.ApplyOn PublishedVersions" in response["Error"]["Message"]
