"""Spares of Ruby that are copies of one process: they do what others do."""

import os
import pathlib
import re
import signal
import subprocess

import pytest

from support.copies import KEPT, Copies, plain
from support.functions import invoke
from support.tools import need
from support.wait import until

SOURCE = (pathlib.Path(__file__).parent / "fixtures/ruby-in-copies/app.rb").read_text()
CHECKS = ["children", "descriptors", "files", "itself", "libraries", "memory", "places", "queues", "signals", "sleepers", "sockets",
          "timeouts", "turns"]
ENDS = ["aborted", "at_once", "code", "deep", "hooks", "killed", "raised", "terminated", "thread"]


class Made(Copies):
    def function(self):
        return self.functions.ruby(SOURCE, Handler="app.handler", MemorySize=256, Timeout=60)


def started(tmp_path_factory, *args):
    return Made(tmp_path_factory.mktemp("zygotes-ruby"), *args)


@pytest.fixture(scope="module")
def zygotes():
    """How many there are. Ruby of 3.3 and later has threads that only its own `fork` replaces: its spares are started."""
    version = subprocess.run([need("ruby", "ruby"), "-e", "print RUBY_VERSION"], capture_output=True, text=True, check=True, timeout=60)
    return int(tuple(int(part) for part in version.stdout.split(".")[:2]) < (3, 3))


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
def pair(copied, by_itself, zygotes):
    """The function that has the checks: started by itself, and in copies."""
    names = by_itself.function(), copied.function()
    assert copied.from_spare(names[1], {"names": True}).value == [CHECKS, ENDS]
    assert len(copied.server.zygotes()) == zygotes
    return (by_itself, names[0]), (copied, names[1])


@pytest.mark.parametrize("check", CHECKS)
def test_a_copy_does_what_others_do(pair, check):
    answers = [invoke(made.client, name, {"check": check}) for made, name in pair]
    values = [answer.value for answer in answers]
    assert answers[0].error is None, answers[0].payload
    assert (answers[1].error, values[1]) == (None, values[0]), answers[1].log


@pytest.mark.parametrize("end", ENDS)
def test_a_copy_ends_as_others_do(pair, end):
    told = []
    for made, name in pair:
        answer = invoke(made.client, name, {"end": end})
        # The tail is the last 4 KB: where a long log is cut depends on how many digits a time has.
        log = "" if end == "deep" else plain(answer.log)
        told.append((answer.status, answer.error, plain(answer.payload.decode()), log))
    assert told[0] == told[1] and told[0][1] is not None, told


def test_no_two_copies_draw_the_same(copied, zygotes):
    drawn = [copied.from_spare(copied.function(), {}).value for _ in range(5)]
    assert len(copied.server.zygotes()) == zygotes
    for column in zip(*drawn):
        assert len(set(column)) == len(drawn), column


def test_copies_have_nothing_in_common_to_wake_each_other_by(copied):
    """Ruby's own descriptors, by which a signal wakes it, are each process's own."""
    source = """
        def handler(event:, context:)
          Dir.children("/proc/self/fd").map(&:to_i).select { |number| number > 2 }.to_h do |number|
            [number, [(File.readlink("/proc/self/fd/#{number}") rescue ""), (File.read("/proc/self/fdinfo/#{number}")[/eventfd-id:\\s*(\\d+)/, 1] rescue nil)]]
          end
        end
    """
    seen = []
    for _ in range(3):
        answer = copied.from_spare(copied.functions.ruby(source, Handler="app.handler")).value
        own = {kind if ident is None else f"{kind} {ident}" for kind, ident in answer.values()
               if ident is not None or re.match(r"(pipe|socket):", kind)}
        assert own, answer
        assert not any(own & other for other in seen), (own, seen)
        seen.append(own)


def test_a_zygote_that_is_killed_is_replaced(copied, zygotes):
    name = copied.function()
    copied.from_spare(name, {})
    if zygotes:
        [zygote] = copied.server.zygotes()
        os.kill(zygote, signal.SIGKILL)
        until(lambda: copied.server.zygotes() not in ([], [zygote]), "another zygote")
    until(lambda: copied.figure("lambic_spares") >= KEPT, "spares")
    assert invoke(copied.client, name, {}).error is None
