"""What waits ahead of bursts: as many environments as functions were deployed, and no trace of them later."""

import concurrent.futures
import urllib.request

import pytest

from support.functions import Functions, invoke, wait_active
from support.rootless import rootless_server
from support.tools import HERE
from support.traces import Traces, disks_of, named
from support.wait import until

# Always ready, whatever is expected.
USUAL, SPARES = 4, 2
MANY = 30
# That zygotes of Python have ready for their copies.
FOR_COPIES = 2 * USUAL
BASH = (HERE / "fixtures/bootstrap.sh").read_text()
PYTHON = "def handler(event, context): return event\n"


class Stocked:
    def __init__(self, server):
        self.server = server
        self.client = server.client(max_pool_connections=2 * MANY)
        self.functions = Functions(self.client)

    def waiting(self, runtime, word="waiting"):
        name = f'lambic_environments_{word}{{runtime="{runtime}"}} '
        with urllib.request.urlopen(f"{self.server.endpoint}/metrics", timeout=10) as reply:
            lines = reply.read().decode().splitlines()
        return next(int(line.removeprefix(name)) for line in lines if line.startswith(name))

    def wait_for(self, **counts):
        """Until just so many wait for each runtime."""
        until(lambda: all(self.waiting(one) == count for one, count in counts.items()), f"{counts} to wait", 180)

    def deploy(self, count):
        """Native functions and functions of Python, so many of each."""
        native = [self.functions.bootstrap(BASH, wait=False) for _ in range(count)]
        python = [self.functions.python(PYTHON, wait=False) for _ in range(count)]
        for name in native + python:
            wait_active(self.client, name)
        return native, python


@pytest.fixture
def stocked(fresh_server):
    return lambda *args: Stocked(fresh_server("--set", "functions.transition_ms=0", *args))


def test_what_is_deployed_is_prepared_for_and_what_is_deleted_is_not(stocked):
    made = stocked()
    made.wait_for(any=USUAL)
    before = len(named(made.server, "lambic-init"))
    native, python = made.deploy(MANY)
    made.wait_for(any=USUAL + MANY, python=MANY)
    assert made.waiting("any", "waiting_wanted") == MANY and made.waiting("python", "waiting_wanted") == MANY
    assert made.server.figure("lambic_spares") == MANY
    inits, spares = named(made.server, "lambic-init"), named(made.server, "lambic-spare")
    # The first process of each, and the one that becomes the program; those for copies have only the first.
    assert before + 2 * MANY <= len(inits) <= before + 2 * MANY + FOR_COPIES and len(spares) == MANY
    for name in native + python:
        made.client.delete_function(FunctionName=name)
    made.wait_for(any=USUAL, python=SPARES)
    until(lambda: len(named(made.server, "lambic-init")) <= before + FOR_COPIES, "what was ready to end")
    until(lambda: len(named(made.server, "lambic-spare")) == SPARES, "the spares to end")
    until(lambda: len(disks_of(made.server)) <= USUAL + SPARES + FOR_COPIES + 1, "their disks to be gone")


def test_a_burst_after_a_deployment_finds_what_waits(stocked):
    made = stocked("--set", "functions.memory_mb_max=20000")
    native, python = made.deploy(MANY)
    made.wait_for(any=USUAL + MANY, python=MANY)
    with concurrent.futures.ThreadPoolExecutor(2 * MANY) as pool:
        answers = list(pool.map(lambda name: invoke(made.client, name, {"n": name}), native + python))
    values = [answer.value for answer in answers]
    assert [value["bash"] for value in values[:MANY]] + values[MANY:] == [{"n": name} for name in native + python]
    assert made.server.figure("lambic_spares_missed_total") == 0
    assert made.server.figure("lambic_spares_used_total") == MANY
    # They are not expected any more, but a burst like this one is, for some minutes.
    again = MANY // 2
    until(lambda: made.waiting("any") >= USUAL + again and made.waiting("python") >= again, "others to wait", 180)
    warm = [invoke(made.client, name, 1) for name in native + python]
    assert all(answer.error is None and answer.report.init is None for answer in warm)


def test_it_takes_no_more_memory_than_it_may(stocked):
    made = stocked("--set", "functions.spare_memory_mb_max=0")
    made.deploy(MANY)
    made.wait_for(any=USUAL, python=SPARES)
    assert made.waiting("any", "waiting_wanted") == 0 and made.waiting("python", "waiting_wanted") == SPARES
    # Each takes somewhat more than a megabyte, a copy of Python two.
    small = stocked("--set", "functions.spare_memory_mb_max=20")
    small.deploy(MANY)

    def is_cut():
        any_, python = (small.waiting(one, "waiting_wanted") for one in ("any", "python"))
        some = 0 < any_ < MANY // 2 and SPARES < python < MANY // 2
        return some and small.waiting("any") == USUAL + any_ and small.waiting("python") == python

    until(is_cut, "a part of each to wait", 120)


def test_nothing_of_many_that_wait_is_left_by_a_server_that_is_killed(stocked):
    made = stocked()
    made.deploy(MANY)
    made.wait_for(any=USUAL + MANY, python=MANY)
    traces = Traces(made.server)
    made.server.kill()
    try:
        until(lambda: not traces.left() and not disks_of(made.server), "everything of the server to be gone")
    except AssertionError:
        raise AssertionError(f"left after SIGKILL: {traces.left()}, {disks_of(made.server)}") from None
    finally:
        traces.end_processes()


def test_a_server_of_an_ordinary_user_keeps_the_usual_number():
    """Its spawner makes each by itself, and serves nobody meanwhile."""
    with rootless_server("--set", "functions.transition_ms=0") as server:
        made = Stocked(server.start())
        names = [made.functions.bootstrap(BASH, wait=False) for _ in range(MANY)]
        for name in names:
            wait_active(made.client, name)
        assert invoke(made.client, names[0], 1).value["bash"] == 1
        assert made.waiting("any", "waiting_wanted") == 0
        made.wait_for(any=USUAL)
