"""Fixtures: one server for all tests, servers of their own for tests that kill them, and clients."""

import pytest

from support.functions import Functions, invoke, python_zip, wait_active, ROLE, PYTHON
from support.server import Server
from support.tools import Cli, JavaScript


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: item.get_closest_marker("last") is not None)


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    one = Server(tmp_path_factory.mktemp("shared"), "--set", "functions.transition_ms=250", env={"SECRET_OF_THE_HOST": "hush"}).start()
    yield one
    assert one.process.poll() is None, f"the shared server did not live through the tests:\n{one.text()[-4000:]}"
    assert one.stop() == 0


@pytest.fixture(scope="session")
def client(server):
    return server.client()


@pytest.fixture
def functions(client):
    made = Functions(client)
    yield made
    made.clean()


@pytest.fixture
def fresh_server(tmp_path):
    """Makes servers that this test may stop and kill as it likes."""
    made = []

    def make(*args, start=True, **more):
        one = Server(tmp_path / f"server-{len(made)}", *args, **more)
        made.append(one)
        return one.start() if start else one

    yield make
    for one in made:
        if one.process and one.process.poll() is None:
            one.kill()


USER = """
[[user]]
access_key_id = "LKIATESTER"
secret_access_key = "very secret"
account = "111122223333"
"""


@pytest.fixture
def guarded(fresh_server):
    """A server that demands signatures and knows one user."""
    one = fresh_server("--set", "auth=required", "--config", "users.toml", start=False)
    one.folder.mkdir()
    (one.folder / "users.toml").write_text(USER)
    return one.start()


@pytest.fixture
def cli(server, tmp_path):
    return Cli(server.endpoint, tmp_path)


@pytest.fixture(scope="session")
def js(server):
    one = JavaScript(server.endpoint)
    yield one
    one.close()


@pytest.fixture(scope="session")
def idle_probe(tmp_path_factory):
    """A server that keeps idle environments for a minute only, with one that is idle from now on.

    It is started early, so that the minute passes while other tests run.
    """
    one = Server(tmp_path_factory.mktemp("idle"), "--set", "functions.idle_minutes=1").start()
    client = one.client()
    client.create_function(
        FunctionName="idle", Runtime=PYTHON, Handler="app.handler", Role=ROLE,
        Code={"ZipFile": python_zip("import uuid\nid = str(uuid.uuid4())\ndef handler(e, c): return id\n")})
    wait_active(client, "idle")
    yield one, client, invoke(client, "idle").value
    one.stop()


@pytest.fixture(scope="session", autouse=True)
def start_what_takes_a_minute(request):
    """Wakes `idle_probe` at the start of the run if the test that needs it will run."""
    if any("idle_probe" in getattr(item, "fixturenames", ()) for item in request.session.items):
        request.getfixturevalue("idle_probe")
