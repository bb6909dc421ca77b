"""SnapStart: what environments that are restored from one initialization share, when they have to wait for each other, and
what becomes of versions that cannot be restored."""

import concurrent.futures
import io
import json
import zipfile

import pytest

from support.functions import Functions, invoke
from support.server import Server
from support.wait import until

RUNTIME = "python3.13"
ON = {"ApplyOn": "PublishedVersions"}

# Reads on where the initialization has stopped; stays until the others are there, too.
READING = """
import os, time, zipfile
numbers = open("/var/task/numbers", "rb")
numbers.read(80)
archive = zipfile.ZipFile("/var/task/archive.zip")
with open("/tmp/own", "w") as own:
    own.write("from the initialization")
own = open("/tmp/own")
own.read(5)

def handler(event, context):
    read = [own.read(), numbers.read(8).decode()]
    end, wrong = time.monotonic() + event["seconds"], 0
    while time.monotonic() < end:
        for at in range(100):
            numbers.seek(at * 800)
            wrong += numbers.read(8) != b"%08d" % (at * 100)
            wrong += archive.read("f%d" % (at % 10)) != b"%d-" % (at % 10) * 200
    numbers.seek(80)
    return {"read": read, "wrong": wrong, "own": os.path.samestat(os.fstat(own.fileno()), os.stat("/tmp/own"))}
"""

# To bring along many files takes a while, one environment after the other.
MANY_FILES = """
import os, time
os.mkdir("/tmp/many")
for at in range(10_000):
    with open(f"/tmp/many/{at}", "w") as file:
        file.write("x")

def handler(event, context):
    time.sleep(event["seconds"])
    return len(os.listdir("/tmp/many"))
"""

LOOPS = """
import asyncio, os
loop = asyncio.new_event_loop()
def handler(event, context):
    return loop.run_until_complete(asyncio.sleep(0, os.environ["AWS_LAMBDA_INITIALIZATION_TYPE"]))
"""


class Snapped:
    """A server, and versions with SnapStart."""

    def __init__(self, server):
        self.server, self.client, self.figure = server, server.client(), server.figure
        self.functions = Functions(self.client)

    def published(self, source=None, **settings):
        settings = {"Runtime": RUNTIME, "SnapStart": ON, "Timeout": 60, **settings}
        name = self.functions.create(source, **settings) if source else self.functions.create(**settings)
        version = self.client.publish_version(FunctionName=name)["Version"]

        def is_active():
            now = self.client.get_function_configuration(FunctionName=name, Qualifier=version)
            assert now["State"] in ("Pending", "Active"), now
            return now["State"] == "Active"
        until(is_active, f"{name}:{version} to be active", 60)
        return name

    def at_once(self, name, count, event):
        with concurrent.futures.ThreadPoolExecutor(count) as pool:
            asked = [pool.submit(invoke, self.client, name, event, Qualifier="1") for _ in range(count)]
            return [one.result() for one in asked]


@pytest.fixture(scope="module")
def snapped(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("snapstart"), "--set", "functions.transition_ms=0").start()
    yield Snapped(server)
    assert server.stop() == 0


def test_environments_do_not_move_each_other_in_files(snapped):
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as content:
        for at in range(10):
            content.writestr(f"f{at}", f"{at}-" * 200)
    numbers = b"".join(b"%08d" % at for at in range(10_000))
    files = {"app.py": READING.encode(), "numbers": numbers, "archive.zip": archive.getvalue()}
    name = snapped.published(files=files, MemorySize=1769)
    answers = snapped.at_once(name, 3, {"seconds": 2})
    for answer in answers:
        assert answer.value == {"read": ["the initialization", "00000010"], "wrong": 0, "own": True}, answer
        assert "Restore Duration" in answer.log, answer.log


def test_who_waits_for_others_to_be_restored_is_served_all_the_same(snapped):
    snapshots, taken = snapped.figure("lambic_snapshots"), snapped.figure("lambic_snapshots_taken_total")
    name = snapped.published(MANY_FILES, MemorySize=128)
    answers = snapped.at_once(name, 12, {"seconds": 4})
    assert [answer.value for answer in answers] == [10_000] * 12
    assert any("Restore Duration" in answer.log for answer in answers)
    # That some did not wait any longer says nothing about what they waited for.
    assert (snapped.figure("lambic_snapshots"), snapped.figure("lambic_snapshots_taken_total")) == (snapshots + 1, taken + 1)


def test_each_version_that_cannot_be_restored_is_told(snapped):
    taken = snapped.figure("lambic_snapshots_taken_total")
    names = [snapped.published(LOOPS) for _ in range(2)]
    for name in names:
        answer = invoke(snapped.client, name, Qualifier="1")
        assert answer.value == "snap-start" and "Restore Duration" not in answer.log
        assert "it has anon_inode:[eventpoll] open" in snapped.server.text()
    lines = [json.loads(line) for line in snapped.server.text().splitlines() if "could not be restored" in line]
    for name in names:
        of_it = [line for line in lines if line["function"].endswith(f":{name}")]
        assert [(line["version"], line["why"]) for line in of_it] == [("1", "it has anon_inode:[eventpoll] open")]
        printed = [line for line in snapped.server.text().splitlines()
                   if "SnapStart: environments of this version are initialized, not restored: it has" in line]
        assert len([line for line in printed if name in line]) == 1
    assert snapped.figure("lambic_snapshots_taken_total") == taken + 2
