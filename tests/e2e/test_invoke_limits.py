"""Limits that hold: payloads, time, memory, `/tmp`."""

import re
import subprocess
import sys
import time

import pytest
from botocore.exceptions import ClientError

SIX_MB = 6_291_456
UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
HELLO = "def handler(event, context): return 'hello'\n"


def test_six_megabytes_in(client, functions):
    name = functions.python("def handler(event, context): return len(event)\n", MemorySize=256)
    event = "x" * (SIX_MB - 2)
    assert functions.invoke(name, event).value == SIX_MB - 2
    with pytest.raises(ClientError) as caught:
        functions.invoke(name, event + "x")
    answer = caught.value.response
    assert answer["Error"]["Code"] == "RequestTooLargeException"
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 413
    assert answer["Error"]["Message"] == (f"{SIX_MB + 1} byte payload is too large for the RequestResponse invocation "
                                          f"type (limit {SIX_MB} bytes)")
    assert functions.invoke(name, "short").value == 5


def test_far_too_much_is_refused_quickly(client, functions):
    name = functions.python(HELLO)
    begun = time.monotonic()
    with pytest.raises(ClientError) as caught:
        functions.invoke(name, raw=b'"' + b"x" * 60_000_000 + b'"')
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 413
    assert time.monotonic() - begun < 20


@pytest.mark.parametrize("runtime", ["python", "node"])
def test_six_megabytes_out(functions, runtime):
    if runtime == "python":
        name = functions.python("def handler(event, context): return 'x' * event\n", MemorySize=256)
    else:
        name = functions.node("exports.handler = async (event) => 'x'.repeat(event);", MemorySize=256)
    answer = functions.invoke(name, SIX_MB - 2)
    assert answer.error is None and len(answer.payload) == SIX_MB
    answer = functions.invoke(name, SIX_MB + 200)
    assert (answer.status, answer.error) == (200, "Unhandled")
    assert answer.value["errorType"] == "Function.ResponseSizeTooLarge"
    assert re.fullmatch(r"Response payload size \(\d+ bytes\) exceeded maximum allowed payload size \(6291556 bytes\)\.",
                        answer.value["errorMessage"])
    assert functions.invoke(name, 3).value == "xxx"


SLOW = {
    "python": ("import time\ndef handler(event, context):\n    print('begun')\n    time.sleep(60)\n", "python"),
    "python, busy": ("def handler(event, context):\n    while True: pass\n", "python"),
    "python at import": ("import time\ntime.sleep(60)\n" + HELLO, "python"),
    "python, deaf": ("import signal, time\n[signal.signal(n, signal.SIG_IGN) for n in (1, 2, 15)]\n"
                     "def handler(event, context): time.sleep(60)\n", "python"),
    "python, stopped": ("import os, signal\ndef handler(event, context): os.kill(os.getpid(), signal.SIGSTOP)\n",
                        "python"),
    "node": ("exports.handler = async () => new Promise((resolve) => setTimeout(resolve, 60000));", "node"),
    "node, busy": ("exports.handler = async () => { for (;;); };", "node"),
}


@pytest.mark.parametrize("case", SLOW)
def test_a_function_that_takes_too_long(functions, case):
    source, runtime = SLOW[case]
    name = getattr(functions, runtime)(source, Timeout=1)
    begun = time.monotonic()
    answer = functions.invoke(name)
    wall = time.monotonic() - begun
    assert (answer.status, answer.error) == (200, "Unhandled")
    assert answer.value["errorType"] == "Sandbox.Timedout"
    assert re.fullmatch(rf"RequestId: {UUID} Error: Task timed out after 1\.00 seconds", answer.value["errorMessage"])
    # Starting up has ten seconds of its own, as on AWS, before the timeout counts.
    assert 1 <= wall < 13
    assert re.search(rf"^\d{{4}}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{{3}}Z {UUID} Task timed out after 1\.00 seconds$",
                     answer.log, re.M)
    report = answer.report
    assert report.status == "timeout" and 1_000 <= report.duration < 1_500
    if case == "python":
        assert "begun" in answer.log


def test_the_next_invoke_after_a_timeout_is_fresh(functions):
    name = functions.python("""
        import time
        served = 0
        def handler(event, context):
            global served
            served += 1
            time.sleep(event)
            return served
    """, Timeout=1)
    assert functions.invoke(name, 0).value == 1
    assert functions.invoke(name, 30).value["errorType"] == "Sandbox.Timedout"
    assert functions.invoke(name, 0).value == 1


def test_a_bootstrap_is_ended_by_the_timeout_with_its_children(server, functions):
    from support.server import descendants
    name = functions.python("""
        import subprocess, time
        def handler(event, context):
            subprocess.Popen(["sleep", "1234.5"], start_new_session=True)
            time.sleep(60)
    """, Timeout=1)
    assert functions.invoke(name).value["errorType"] == "Sandbox.Timedout"
    from support.wait import until

    def sleepers():
        found = []
        for pid in descendants(server.process.pid):
            try:
                with open(f"/proc/{pid}/cmdline", "rb") as line:
                    if b"1234.5" in line.read():
                        found.append(pid)
            except OSError:
                pass
        return found
    until(lambda: not sleepers(), "the function's own processes to be gone")


def test_out_of_memory(functions):
    # Near the limit the kernel tries for a while to do without killing anything.
    name = functions.python("""
        hoard = []
        def handler(event, context):
            for _ in range(event):
                hoard.append(bytearray(b"x" * (1 << 20)))
            return len(hoard)
    """, MemorySize=128, Timeout=110)
    assert functions.invoke(name, 60).value == 60
    answer = functions.invoke(name, 500)
    assert (answer.status, answer.error) == (200, "Unhandled")
    assert answer.value["errorType"] == "Runtime.ExitError"
    assert re.fullmatch(rf"RequestId: {UUID} Error: Runtime exited with error: signal: killed",
                        answer.value["errorMessage"])
    report = answer.report
    assert (report.status, report.error_type) == ("error", "Runtime.OutOfMemory")
    assert 100 <= report.used <= 128
    assert functions.invoke(name, 10).value == 10


def test_the_end_by_any_signal_is_noticed(functions):
    name = functions.python("""
        import os, signal
        def handler(event, context):
            os.kill(os.getpid(), event or signal.SIGRTMIN + 3)
            signal.pause()
    """, Timeout=110)
    for event, text in ((0, "signal 37"), (15, "terminated"), (11, "segmentation fault"), (64, "signal 64")):
        value = functions.invoke(name, event).value
        assert value["errorType"] == "Runtime.ExitError"
        assert value["errorMessage"].endswith(f"Error: Runtime exited with error: signal: {text}"), value


def test_memory_is_what_was_asked_for(functions):
    name = functions.python("def handler(event, context): return len(bytearray(b'x') * (event << 20)) >> 20\n",
                            MemorySize=512)
    assert functions.invoke(name, 400).value == 400
    assert functions.invoke(name, 600).error == "Unhandled"


SHARE = """
import time
def share():
    begun, cpu = time.monotonic(), time.process_time()
    while time.monotonic() - begun < 1.5:
        pass
    return (time.process_time() - cpu) / (time.monotonic() - begun)
"""


@pytest.mark.parametrize("memory_mb, least, most", [(128, 0.03, 0.25), (1769, 0.7, 1.1)])
def test_cpu_goes_with_memory(functions, memory_mb, least, most):
    """1,769 MB are one processor; a function with less memory gets that much less of it."""
    name = functions.python(SHARE + "def handler(event, context): return share()\n", MemorySize=memory_mb)
    functions.invoke(name)
    ratios = []
    for _ in range(3):
        # What a process without a limit gets at the same time, because others may be busy here too.
        free = subprocess.Popen([sys.executable, "-c", SHARE + "print(share())"], stdout=subprocess.PIPE)
        share = functions.invoke(name).value
        ratios.append(share / float(free.communicate(timeout=60)[0]))
        assert share < most, f"{share:.3f} of a processor at {memory_mb} MB"
    assert max(ratios) > least, f"{ratios} of what a process without a limit gets, at {memory_mb} MB"


def test_payload_of_an_error_is_limited_too(functions):
    name = functions.python("def handler(event, context): raise ValueError('x' * 7_000_000)\n", MemorySize=256)
    answer = functions.invoke(name)
    assert answer.error == "Unhandled" and len(answer.payload) <= SIX_MB + 200
    assert functions.invoke(name).error == "Unhandled"
