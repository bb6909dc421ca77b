"""What must hold of many functions with many versions, and has nothing to do with speed. `cargo xtask scale` measures
the same with ten thousand."""

import base64
import hashlib

import pytest

from support import multitude
from support.functions import invoke, python_zip, wait_active
from support.multitude import FUNCTIONS, NAME, Reader
from support.server import Server

COUNT, VERSIONS = 130, 4


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("many"), "--set", "functions.transition_ms=100")
    multitude.make(server, COUNT, VERSIONS)
    server.start()
    yield server
    assert server.stop() == 0


def test_pages_are_whole_and_in_order(full):
    reader = Reader(full)
    pages = [[item["FunctionName"] for item in items] for items, _ in reader.pages(FUNCTIONS, "Functions")]
    assert [len(page) for page in pages] == [50, 50, 30]
    assert [name for page in pages for name in page] == [NAME.format(number) for number in range(COUNT)]
    every = [item["FunctionArn"] for items, _ in reader.pages(FUNCTIONS, "Functions", FunctionVersion="ALL")
             for item in items]
    assert len(every) == len(set(every)) == COUNT * (VERSIONS + 1)


def test_each_has_its_own_versions_and_runs_them(full):
    reader, client = Reader(full), full.client()
    for number in (0, COUNT // 2, COUNT - 1):
        name = NAME.format(number)
        listed, _ = reader.get(f"{FUNCTIONS}/{name}/versions")
        assert [one["Version"] for one in listed["Versions"]] == ["$LATEST", "1", "2", "3", "4"]
        assert {one["FunctionName"] for one in listed["Versions"]} == {name}
        aliases, _ = reader.get(f"{FUNCTIONS}/{name}/aliases")
        assert [one["AliasArn"].split(":", 6)[6] for one in aliases["Aliases"]] == [f"{name}:live"]
        assert invoke(client, name, Qualifier="live").value == [name, "4"]


def test_usage_is_the_sum_and_follows_what_is_done(full):
    client = full.client()
    size = len(python_zip(multitude.SOURCE))
    usage = client.get_account_settings()["AccountUsage"]
    assert usage == {"FunctionCount": COUNT, "TotalCodeSize": COUNT * (VERSIONS + 1) * size}
    # The package that all of them have is kept as long as one of them is there.
    last = NAME.format(COUNT - 1)
    for number in range(COUNT - 10, COUNT - 1):
        client.delete_function(FunctionName=NAME.format(number))
    client.delete_function(FunctionName=last, Qualifier="1")
    usage = client.get_account_settings()["AccountUsage"]
    assert usage == {"FunctionCount": COUNT - 9, "TotalCodeSize": ((COUNT - 9) * (VERSIONS + 1) - 1) * size}
    assert invoke(client, last, Qualifier="2").value == [last, "2"]
    found = client.get_function_configuration(FunctionName=last)
    package = base64.b64encode(hashlib.sha256(python_zip(multitude.SOURCE)).digest()).decode()
    assert found["CodeSha256"] == package
    client.create_function(FunctionName="new", Runtime=found["Runtime"], Handler="app.handler", Role=found["Role"],
                           Code={"ZipFile": python_zip(multitude.SOURCE)})
    wait_active(client, "new")
    assert invoke(client, "new").value == ["new", "$LATEST"]
