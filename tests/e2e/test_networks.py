"""Private networks: functions that reach what their network names, and nothing else."""

import pathlib
import socket
import subprocess
import threading

import pytest

from support.functions import Functions
from support.server import descendants
from support.wait import until
from support.world import HOST, METADATA, OTHER, PORT, SERVER, World

CONFIG = f"""
[[sandbox.network]]
name = "partner"
functions = ["partner-*"]
reach = ["{SERVER}"]

[[sandbox.network]]
name = "alone"
functions = ["alone"]
reach = []

[[sandbox.network]]
name = "everywhere"
functions = ["*-everywhere", "partner-special"]
reach = ["internet"]
"""
PROBE = """
    import socket
    def handler(event, context):
        try:
            with socket.create_connection(event, timeout=1) as stream:
                return stream.recv(5).decode()
        except OSError as error:
            return type(error).__name__
"""


@pytest.fixture(scope="module")
def world():
    one = World()
    try:
        one.build()
        yield one
    finally:
        one.remove()


@pytest.fixture
def host_port():
    """A port on which a program of the host says hello, on all addresses."""
    with socket.create_server(("0.0.0.0", 0)) as listener:
        def greet():
            while True:
                try:
                    listener.accept()[0].sendall(b"hello")
                except OSError:
                    return
        thread = threading.Thread(target=greet, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(10)


@pytest.fixture
def server(world, fresh_server, tmp_path):
    config = tmp_path / "lambic.toml"
    config.write_text(CONFIG)
    return fresh_server("--config", str(config))


def probes(server):
    """One function in each network, and one in none; each tells what a connection got it."""
    made = Functions(server.client())
    names = {name: made.python(PROBE, name=name)
             for name in ("partner-1", "alone", "for-everywhere", "no-network", "partner-special")}

    def reach(name, address, port=PORT):
        answer = made.invoke(names[name], [address, port])
        assert answer.error is None, answer
        return answer.value == "hello"
    return reach


def test_functions_reach_what_their_network_names(server, host_port):
    reach = probes(server)
    expected = {
        "partner-1": {SERVER},
        "alone": set(),
        "for-everywhere": {SERVER, OTHER},
        "no-network": {SERVER, OTHER},
        # The first network of the file that has it.
        "partner-special": {SERVER},
    }
    found = {name: {address for address in (SERVER, OTHER, METADATA) if reach(name, address)}
             for name in expected}
    assert found == expected
    for name in expected:
        assert not reach(name, HOST, host_port), f"{name} reached a program of the host"
        assert not reach(name, "127.0.0.1", host_port), f"{name} reached the host's loopback"


def test_the_filter_comes_back_when_it_is_removed(server, host_port):
    reach = probes(server)
    assert reach("no-network", SERVER) and not reach("no-network", HOST, host_port)
    table = f"lambic_{spawner(server)}"
    for _ in range(3):
        subprocess.run(["nft", "delete", "table", "inet", table], check=True)
        until(lambda: is_there(table), f"the table {table} to be back")
    until(lambda: f"{table} was changed by somebody and is back" in server.text(), "the log to tell")
    assert reach("no-network", SERVER) and not reach("no-network", HOST, host_port)
    assert not reach("partner-1", OTHER) and not reach("alone", SERVER)
    assert server.stop() == 0
    until(lambda: not is_there(table), f"the table {table} to end with its server")


def is_there(table):
    return subprocess.run(["nft", "list", "table", "inet", table], capture_output=True).returncode == 0


def spawner(server):
    for pid in descendants(server.process.pid):
        if pathlib.Path(f"/proc/{pid}/comm").read_text().strip() == "lambic-spawner":
            return pid
    raise AssertionError("the server has no spawner")


def test_a_network_that_cannot_be_meant_is_refused_at_start(fresh_server, tmp_path):
    config = tmp_path / "lambic.toml"
    config.write_text(CONFIG.replace('["alone"]', '["alone", "partner-*"]'))
    server = fresh_server("--config", str(config), start=False)
    server.spawn()
    assert server.process.wait(timeout=20) != 0
    assert "'alone' and 'partner' both have 'partner-*'" in server.text()
