"""Spares of Python that are copies of one process: what they have in common, and what they must not have."""

import json
import os
import signal

import pytest

from support.copies import KEPT, Copies
from support.functions import invoke
from support.wait import until

# Each draws what has to be its own. The standard library's generator is loaded before the copy is made only
# if our client loads it; what counts is that no two environments ever draw the same.
DRAWS = """
import hashlib, os, random, secrets, ssl, tempfile, uuid
def handler(event, context):
    return {
        "hash": hash("a text"),
        "own": [random.random(), random.getrandbits(64), str(uuid.uuid4()), secrets.token_hex(), os.urandom(8).hex(),
                ssl.RAND_bytes(16).hex(), next(tempfile._get_candidate_names()), random.SystemRandom().random()],
        "inside": [os.readlink(f"/proc/self/ns/{name}") for name in ("user", "pid", "mnt", "net", "ipc", "uts", "cgroup")],
        "pids": [os.getpid(), os.getppid()],
    }
"""


class Made(Copies):
    def from_spare(self, name):
        return json.loads(super().from_spare(name).payload)


def started(tmp_path_factory, *args):
    return Made(tmp_path_factory.mktemp("zygotes"), *args)


@pytest.fixture
def copied(tmp_path_factory):
    made = started(tmp_path_factory)
    yield made
    assert made.server.stop() == 0


def test_copies_share_the_seed_of_hashes_and_nothing_that_is_drawn(copied):
    answers = [copied.from_spare(copied.functions.create(DRAWS)) for _ in range(4)]
    assert len(copied.server.zygotes()) == 1
    assert len({answer["hash"] for answer in answers}) == 1, "they are no copies of one process"
    assert all(answer["pids"] == answers[0]["pids"] and answer["pids"][1] == 1 for answer in answers)
    for kind in ("own", "inside"):
        columns = list(zip(*[answer[kind] for answer in answers]))
        for column in columns:
            assert len(set(column)) == len(answers), column


def test_without_zygotes_each_is_started_by_itself(tmp_path_factory):
    made = started(tmp_path_factory, "--set", "functions.zygotes=false")
    answers = [made.from_spare(made.functions.create(DRAWS)) for _ in range(3)]
    assert made.server.zygotes() == []
    assert len({answer["hash"] for answer in answers}) == 3
    assert made.server.stop() == 0


def test_a_zygote_that_is_killed_is_replaced(copied):
    name = copied.functions.create(DRAWS)
    before = copied.from_spare(name)
    until(lambda: copied.figure("lambic_spares") == KEPT, "spares")
    [zygote] = copied.server.zygotes()
    os.kill(zygote, signal.SIGKILL)
    # Its copies end with it: the spares, and the function's environment.
    until(lambda: copied.server.zygotes() not in ([], [zygote]), "another zygote")
    until(lambda: copied.figure("lambic_spares") == KEPT, "spares")
    answer = invoke(copied.client, name)
    assert answer.error is None
    assert json.loads(answer.payload)["hash"] != before["hash"]


def test_what_the_kernel_counts_for_each_user_is_each_copys_own(copied):
    """Copies are inside their zygote's user namespace: what one uses up, the others still have."""
    source = """
import ctypes
libc, kept = ctypes.CDLL(None), []
def handler(event, context):
    while (made := libc.inotify_init()) >= 0:
        kept.append(made)
    return len(kept)
"""
    counts = [copied.from_spare(copied.functions.create(source)) for _ in range(3)]
    assert counts == [16, 16, 16]


OWN_PROGRAM = """
import os, subprocess, sys
def answers(program):
    said = subprocess.run([program, "-c", "import os, sys; print(sys.version_info[:3], os.getcwd())"], capture_output=True, text=True)
    return [said.returncode, said.stdout, said.stderr]
def handler(event, context):
    with open("/proc/self/exe", "rb") as own, open(sys.executable, "rb") as named:
        same = own.read(1 << 16) == named.read(1 << 16)
    child = os.fork()
    if not child:
        os._exit(7)
    return {"executable": sys.executable, "link": os.readlink("/proc/self/exe"), "same": same,
            "named": answers(sys.executable), "own": answers("/proc/self/exe"), "forked": os.waitpid(child, 0)[1] >> 8,
            "threads": len(os.listdir("/proc/self/task")), "maps": sum("deleted" in line for line in open("/proc/self/maps"))}
"""


def test_a_copys_own_program_is_that_of_a_started_one(copied, tmp_path_factory):
    started_one = started(tmp_path_factory, "--set", "functions.zygotes=false")
    answers = [made.from_spare(made.functions.create(OWN_PROGRAM)) for made in (copied, started_one)]
    assert answers[0] == answers[1]
    assert answers[0]["named"][0] == 0 and answers[0]["named"] == answers[0]["own"]
    assert answers[0]["same"] and answers[0]["forked"] == 7 and answers[0]["threads"] == 1
    assert started_one.server.stop() == 0
