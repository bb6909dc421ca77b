"""`kill -9` at any moment: what was acknowledged is there, what was not is whole or absent."""

import base64
import concurrent.futures
import hashlib
import os
import pathlib
import random
import subprocess
import threading
import time

import pytest
from botocore.exceptions import BotoCoreError, ClientError

from support.functions import PYTHON, ROLE, Functions, invoke, python_zip, wait_active, wait_updated, zip_of
from support.server import binary, descendants, environment
from support.wait import until

KILLS = 200
WRITERS = 4
NAMES_EACH = 4
INVOKE_EVERY = 10
SEED = 20_261_121


def package(text):
    return python_zip(f"def handler(event, context): return {text!r}\n")


def sha_of(data):
    return base64.b64encode(hashlib.sha256(data).digest()).decode()


class Writer:
    """Creates, updates and deletes functions of its own, and knows what may be there.

    `may[name]` holds every state that is allowed: one after an acknowledged request, two when the
    request was cut off. A state is the SHA-256 of the code, or None for no function.
    """

    def __init__(self, number):
        self.names = [f"crash-{number}-{index}" for index in range(NAMES_EACH)]
        self.may = {name: {None} for name in self.names}
        self.texts = {}
        self.random = random.Random(SEED + number)
        self.round = 0
        self.acknowledged = 0
        self.unexpected = []

    def run(self, server):
        """Writes until the server is gone."""
        client = server.client(connect_timeout=5, read_timeout=20)
        while True:
            name = self.random.choice(self.names)
            try:
                self.step(client, name)
            except ClientError as error:
                # Conflicts while an update is in progress are answers, and change nothing.
                if error.response["Error"]["Code"] != "ResourceConflictException":
                    self.unexpected.append(error)
                    return
            except BotoCoreError:
                return

    def step(self, client, name):
        before = self.may[name]
        assert len(before) == 1
        (now,) = before
        self.round += 1
        text = f"{name} {self.round}"
        data = package(text)
        if now is None:
            wanted, call = sha_of(data), lambda: client.create_function(
                FunctionName=name, Runtime=PYTHON, Role=ROLE, Handler="app.handler", Code={"ZipFile": data})
        elif self.random.random() < 0.4:
            wanted, call = None, lambda: client.delete_function(FunctionName=name)
        else:
            wanted, call = sha_of(data), lambda: client.update_function_code(FunctionName=name, ZipFile=data)
        self.texts[sha_of(data)] = text
        self.may[name] = before | {wanted}
        try:
            call()
        except ClientError:
            self.may[name] = before
            raise
        self.may[name] = {wanted}
        self.acknowledged += 1

    def check(self, listed):
        for name in self.names:
            found = listed.get(name)
            assert found in self.may[name], (
                f"{name}: found {found}, acknowledged {self.may[name]} ({self.texts.get(found)})")
            self.may[name] = {found}


def listed_functions(client):
    pages = client.get_paginator("list_functions").paginate(PaginationConfig={"PageSize": 5})
    return {one["FunctionName"]: one["CodeSha256"] for page in pages for one in page["Functions"]}


@pytest.mark.timeout(400)
def test_two_hundred_kills_lose_nothing(fresh_server):
    server = fresh_server("--set", "functions.transition_ms=20", start=False)
    writers = [Writer(number) for number in range(WRITERS)]
    chance = random.Random(SEED)
    for kill in range(KILLS + 1):
        server.start()
        client = server.client()
        listed = listed_functions(client)
        for writer in writers:
            writer.check(listed)
        assert set(listed) <= {name for writer in writers for name in writer.names}
        texts = {sha: text for writer in writers for sha, text in writer.texts.items()}
        if kill % INVOKE_EVERY == 0 and listed:
            for name in chance.sample(sorted(listed), min(2, len(listed))):
                wait_active(client, name)
                wait_updated(client, name)
                assert invoke(client, name).value == texts[listed[name]]
        if kill == KILLS:
            break
        with concurrent.futures.ThreadPoolExecutor(WRITERS) as pool:
            running = [pool.submit(writer.run, server) for writer in writers]
            # Not a wait for anything: the moment of the kill is what varies from round to round.
            threading.Event().wait(chance.uniform(0.0, 0.25))
            server.kill()
            for one in running:
                one.result()
        for writer in writers:
            assert not writer.unexpected, writer.unexpected
    acknowledged = sum(writer.acknowledged for writer in writers)
    assert acknowledged > KILLS, f"only {acknowledged} writes in {KILLS} rounds show nothing"
    # In the end every function that is left answers with what was acknowledged last.
    for name, sha in listed.items():
        wait_active(client, name)
        wait_updated(client, name)
        assert invoke(client, name).value == texts[sha]
    assert server.stop() == 0


def test_an_unfinished_transition_is_finished_after_a_restart(fresh_server):
    server = fresh_server("--set", "functions.transition_ms=3000")
    Functions(server.client()).create("def handler(event, context): return 'here'\n", wait=False, name="young")
    server.kill()
    client = server.start().client()
    assert client.get_function_configuration(FunctionName="young")["State"] in ("Pending", "Active")
    wait_active(client, "young")
    assert invoke(client, "young").value == "here"
    client.update_function_configuration(FunctionName="young", Timeout=7)
    server.kill()
    client = server.start().client()
    wait_updated(client, "young")
    assert client.get_function_configuration(FunctionName="young")["Timeout"] == 7
    assert invoke(client, "young").value == "here"


def test_a_second_process_on_the_same_data_is_refused(fresh_server):
    server = fresh_server()
    done = subprocess.run([binary(), "serve", "--listen", "127.0.0.1:0", "--data-dir", server.data],
                          capture_output=True, text=True, timeout=30, env=environment())
    assert done.returncode == 5, done
    assert str(server.data) in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert server.client().list_functions()["Functions"] == []
    # The lock goes with the process, not with a file that has to be removed.
    server.kill()
    assert server.start().client().list_functions()["Functions"] == []


def bytes_below(folder):
    return sum(path.lstat().st_size for path in pathlib.Path(folder).rglob("*") if path.is_file())


@pytest.mark.timeout(300)
def test_uploads_that_were_cut_off_leave_nothing_behind(fresh_server):
    server = fresh_server()
    empty = bytes_below(server.data)
    noise = {f"part-{number}": os.urandom(500_000) for number in range(20)}
    for number in range(6):
        data = zip_of({"app.py": f"def handler(e, c): return {number}\n", **noise})
        client = server.client(connect_timeout=5, read_timeout=20)

        def upload():
            try:
                client.create_function(FunctionName=f"cut-{number}", Runtime=PYTHON, Role=ROLE,
                                       Handler="app.handler", Code={"ZipFile": data})
            except BotoCoreError:
                pass
        thread = threading.Thread(target=upload)
        thread.start()
        if number == 0:
            thread.join()
        threading.Event().wait(0.03 * number)
        server.kill()
        thread.join()
        server.start()
    client = server.client()
    names = list(listed_functions(client))
    assert "cut-0" in names
    for name in names:
        wait_active(client, name)
        assert invoke(client, name).value == int(name.partition("-")[2])
        client.delete_function(FunctionName=name)
    assert server.stop() == 0
    server.start()
    until(lambda: bytes_below(server.data) - empty < 4_000_000, "the packages nobody refers to to be swept", 150,
          every=0.5)


def cgroups_of(pids):
    """The cgroup folders that these processes live in, as paths on this machine."""
    folders = set()
    for pid in pids:
        try:
            lines = pathlib.Path(f"/proc/{pid}/cgroup").read_text().splitlines()
        except OSError:
            continue
        for line in lines:
            _, controllers, path = line.split(":", 2)
            for root in ("", *controllers.split(","), "unified"):
                folder = pathlib.Path("/sys/fs/cgroup") / root / path.lstrip("/")
                if len(path) > 1 and folder.is_dir():
                    folders.add(folder)
    return folders


def test_nothing_is_left_of_a_killed_server(fresh_server):
    server = fresh_server()
    functions = Functions(server.client(read_timeout=5, connect_timeout=5))
    name = functions.python("import time\ndef handler(event, context):\n    time.sleep(event)\n    return 'ok'\n")
    functions.invoke(name, 0)
    threads = [threading.Thread(target=lambda: pytest.raises(BotoCoreError, functions.invoke, name, 60))
               for _ in range(3)]
    for thread in threads:
        thread.start()
    until(lambda: len(server.runtimes()) >= 3, "three environments to be busy")
    everything = descendants(server.process.pid)
    own = cgroups_of([os.getpid()])
    folders = {folder for folder in cgroups_of(everything) - own if not any(folder in one.parents for one in own)}
    server.kill()
    until(lambda: not [pid for pid in everything if pathlib.Path(f"/proc/{pid}").exists()],
          "the spawner and all environments to end with the server", 20)
    for thread in threads:
        thread.join()
    server.start()
    assert invoke(server.client(), name, 0).value == "ok"
    assert server.stop() == 0
    until(lambda: not [folder for folder in folders if folder.is_dir()], f"{folders} to be removed", 20)
    mounts = pathlib.Path("/proc/self/mountinfo").read_text()
    assert str(server.data) not in mounts, "no mount is left on the host"


def test_a_killed_spawner_is_noticed(fresh_server):
    server = fresh_server()
    spawners = [pid for pid in server.processes() if pid != server.process.pid]
    assert spawners, "the spawner is a child that runs the same binary"
    os.kill(spawners[0], 9)
    until(lambda: server.process.poll() is not None, "the server to notice that no function can run any more", 20)
    assert server.process.returncode == 6, server.text()
    assert "spawner" in server.text()
