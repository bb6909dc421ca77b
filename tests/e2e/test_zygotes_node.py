"""Spares of Node.js that are copies of one process with all of its threads: they do what others do."""

import concurrent.futures
import os
import pathlib
import signal

import pytest

from support.copies import KEPT, Copies, plain
from support.functions import NODE, invoke
from support.wait import until

SOURCE = (pathlib.Path(__file__).parent / "fixtures/node-in-copies/app.mjs").read_text()
CHECKS = ["itself", "timers", "files", "watch", "crypto", "zlib", "dns", "http", "sockets", "tls", "workers", "children", "wasm", "modules",
          "storage", "inspector", "report", "memory", "compiled", "clock", "signals", "debugger", "output"]
ENDS = ["exit", "code", "listeners", "uncaught", "rejected", "killed", "terminated", "aborted", "busy", "memory"]


class Made(Copies):
    def function(self, **settings):
        settings = {"Runtime": NODE, "Handler": "app.handler", "MemorySize": 256, "Timeout": 60, **settings}
        return self.functions.create(files={"app.mjs": SOURCE}, **settings)


def started(tmp_path_factory, *args):
    return Made(tmp_path_factory.mktemp("zygotes-node"), *args)


@pytest.fixture(scope="module")
def copied(tmp_path_factory):
    made = started(tmp_path_factory)
    yield made
    assert made.server.stop() == 0


@pytest.fixture(scope="module")
def by_itself(tmp_path_factory):
    made = started(tmp_path_factory, "--set", "functions.spares=0")
    yield made
    assert made.server.stop() == 0


@pytest.fixture(scope="module")
def pair(copied, by_itself):
    """The function that has the checks: started by itself, and in copies."""
    names = by_itself.function(), copied.function()
    assert copied.from_spare(names[1], {"names": True}).value == [CHECKS, ENDS]
    assert len(copied.server.zygotes()) == 1
    return (by_itself, names[0]), (copied, names[1])


@pytest.mark.parametrize("check", CHECKS)
def test_a_copy_does_what_others_do(pair, check):
    answers = [invoke(made.client, name, {"check": check}) for made, name in pair]
    assert answers[0].error is None, answers[0].payload
    assert (answers[1].error, answers[1].value) == (None, answers[0].value), answers[1].log


@pytest.mark.parametrize("end", ENDS)
def test_a_copy_ends_as_others_do(pair, end):
    told = []
    for made, name in pair:
        answer = invoke(made.client, name, {"end": end})
        log = plain(answer.log)
        if end == "memory":
            # What the collector tells before it gives up differs each time.
            log = [line for line in log.splitlines() if line.startswith("FATAL ERROR")]
        told.append((answer.status, answer.error, plain(answer.payload.decode()), log))
    assert told[0] == told[1] and told[0][1] is not None, told


def test_no_two_copies_draw_the_same(copied):
    drawn = [copied.from_spare(copied.function(), {"draw": True}).value for _ in range(5)]
    assert len(copied.server.zygotes()) == 1
    for column in zip(*drawn):
        assert len(set(column)) == len(drawn), column
    for one in drawn:
        assert len({value for value in one if isinstance(value, float)}) == 5, "two generators of one copy are the same"


def test_a_copy_waits_for_its_own_things_only(copied):
    """Two copies of one process at work at the same time: what one waits for, the other does not take."""
    source = """
        import fs from 'node:fs'; import zlib from 'node:zlib'; import { promisify } from 'node:util';
        const gzip = promisify(zlib.gzip);
        export const handler = async ({ rounds }) => {
          let bytes = 0;
          for (let round = 0; round < rounds; round += 1) {
            const all = await Promise.all([gzip('x'.repeat(round + 1)), fs.promises.stat('/tmp'), gzip('y')]);
            bytes += all[0].length > 0;
          }
          return bytes;
        };
    """
    names = [copied.functions.create(files={"app.mjs": source}, Runtime=NODE, Handler="app.handler", MemorySize=256, Timeout=60)
             for _ in range(4)]
    for name in names:
        copied.from_spare(name, {"rounds": 1})
    with concurrent.futures.ThreadPoolExecutor(len(names)) as pool:
        answers = list(pool.map(lambda name: invoke(copied.client, name, {"rounds": 500}), names))
    assert [answer.value for answer in answers] == [500] * 4


def test_a_zygote_that_is_killed_is_replaced(copied):
    until(lambda: copied.figure("lambic_spares") >= KEPT, "spares")
    [zygote] = copied.server.zygotes()
    os.kill(zygote, signal.SIGKILL)
    until(lambda: copied.server.zygotes() not in ([], [zygote]), "another zygote")
    assert invoke(copied.client, copied.function(), {"check": "timers"}).error is None


def test_without_zygotes_each_is_started_by_itself(tmp_path_factory):
    made = started(tmp_path_factory, "--set", "functions.zygotes=false")
    assert made.from_spare(made.function(), {"check": "timers"}).error is None
    assert made.server.zygotes() == []
    assert made.server.stop() == 0


