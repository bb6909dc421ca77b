"""Execution environments: reused while warm, one invocation at a time, private, and gone when idle."""

import concurrent.futures
import pathlib
import time

import pytest

from support.functions import Functions, invoke, wait_updated, zip_of
from support.wait import until

IDENTITY = """
import time, uuid
ID = str(uuid.uuid4())
served = 0

def handler(event, context):
    global served
    served += 1
    begun = time.monotonic()
    time.sleep(event.get("sleep", 0))
    return {"id": ID, "served": served, "n": event.get("n"), "begun": begun, "ended": time.monotonic()}
"""
CALLERS = 200


def test_an_environment_is_reused_while_it_is_warm(functions):
    name = functions.python(IDENTITY)
    values = [functions.invoke(name, {"n": number}).value for number in range(10)]
    assert len({value["id"] for value in values}) == 1
    assert [value["served"] for value in values] == list(range(1, 11))


def test_two_hundred_at_once(fresh_server):
    # 200 x 128 MB are promised, not used; a small machine has to be told that this is meant.
    server = fresh_server("--set", "functions.memory_mb_max=65536")
    client = server.client()
    functions = Functions(client)
    name = functions.python(IDENTITY, Timeout=60)

    def call(number):
        answer = invoke(client, name, {"n": number, "sleep": 0.2}, tail=False)
        assert answer.error is None, answer
        return answer.value

    for _ in range(2):
        with concurrent.futures.ThreadPoolExecutor(CALLERS) as pool:
            values = list(pool.map(call, range(CALLERS)))
        assert [value["n"] for value in values] == list(range(CALLERS))
        by_environment = {}
        for value in values:
            by_environment.setdefault(value["id"], []).append((value["begun"], value["ended"]))
        assert len(by_environment) > 10, "concurrent requests get environments of their own"
        for spans in by_environment.values():
            spans.sort()
            for (_, ended), (begun, _) in zip(spans, spans[1:]):
                assert begun >= ended, "an environment served two invocations at a time"
    # Everything is still in order afterwards.
    assert call(1)["n"] == 1
    assert server.stop() == 0


def test_concurrent_invokes_do_not_wait_for_each_other(functions):
    name = functions.python(IDENTITY)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: functions.invoke(name, {"sleep": 0.3}), range(8)))
        begun = time.monotonic()
        values = list(pool.map(lambda number: functions.invoke(name, {"sleep": 0.5}).value, range(8)))
    assert len({value["id"] for value in values}) == 8
    assert time.monotonic() - begun < 2.5


def test_new_code_and_configuration_start_anew(client, functions):
    name = functions.python(IDENTITY)
    first = functions.invoke(name, {}).value["id"]
    functions.replace_code(name, IDENTITY + "# changed\n")
    second = functions.invoke(name, {}).value["id"]
    client.update_function_configuration(FunctionName=name, Timeout=9)
    wait_updated(client, name)
    third = functions.invoke(name, {}).value["id"]
    assert len({first, second, third}) == 3


def test_an_update_lets_the_running_invoke_finish(client, functions):
    name = functions.python(IDENTITY)
    old = functions.invoke(name, {}).value["id"]
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        running = pool.submit(functions.invoke, name, {"sleep": 1.5})
        # The environment serves one at a time, so another id means that the first is taken.
        until(lambda: functions.invoke(name, {}).value["id"] != old, "the slow invoke to hold its environment")
        functions.replace_code(name, IDENTITY + "# changed\n")
        assert functions.invoke(name, {}).value["id"] != old
        assert running.result().value["id"] == old


def test_tmp_is_kept_between_warm_invokes_and_private(functions):
    source = """
import os
def handler(event, context):
    if event.get("write"):
        with open("/tmp/note", "w") as note:
            note.write(event["write"])
    return open("/tmp/note").read() if os.path.exists("/tmp/note") else None
"""
    one, other = functions.python(source), functions.python(source + "# another package\n")
    assert functions.invoke(one, {"write": "mine"}).value == "mine"
    assert functions.invoke(one, {}).value == "mine"
    assert functions.invoke(other, {}).value is None
    functions.replace_code(one, source + "# changed\n")
    assert functions.invoke(one, {}).value is None, "a new environment has an empty /tmp"


def test_environments_of_one_function_do_not_share_tmp(functions):
    name = functions.python("""
import os, time, uuid
def handler(event, context):
    before = os.listdir("/tmp")
    open("/tmp/" + str(uuid.uuid4()), "w").close()
    time.sleep(0.5)
    return [before, len(os.listdir("/tmp"))]
""")
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        values = list(pool.map(lambda _: functions.invoke(name).value, range(4)))
    assert values == [[[], 1]] * 4


def test_an_environment_that_failed_is_replaced(functions):
    name = functions.python(IDENTITY.replace("    global served\n",
                                             "    global served\n    if event.get('die'): import os; os._exit(1)\n"))
    first = functions.invoke(name, {}).value
    assert functions.invoke(name, {"die": True}).error == "Unhandled"
    second = functions.invoke(name, {}).value
    assert second["id"] != first["id"] and second["served"] == 1


def test_a_package_with_folders_and_modes_arrives_as_it_was(functions):
    name = functions.create(files={
        "app.py": """
            import os, subprocess
            def handler(event, context):
                return {"tool": subprocess.run(["/var/task/bin/tool"], capture_output=True, text=True).stdout,
                        "data": open("data/ä.txt", encoding="utf8").read(),
                        "mode": oct(os.stat("/var/task/app.py").st_mode & 0o777)}
        """,
        "bin/tool": "#!/bin/sh\necho run by $0\n", "data/ä.txt": "grün"})
    # zip_of marks only `bootstrap` as a program; the tool gets its mode from a package of its own.
    package = zip_of({
        "app.py": "import subprocess\ndef handler(e, c):\n"
                  "    return subprocess.run(['/var/task/bin/tool'], capture_output=True, text=True).stdout\n",
        "bin/tool": "#!/bin/sh\necho run by $0\n"}, executable=("bin/tool",))
    functions.client.update_function_code(FunctionName=name, ZipFile=package)
    wait_updated(functions.client, name)
    assert functions.invoke(name).value == "run by /var/task/bin/tool\n"


def test_a_function_calls_back_through_its_endpoint(server, functions):
    callee = functions.python("def handler(event, context): return ['called', event]\n")
    caller = functions.python("""
import json, os, urllib.request

def handler(event, context):
    url = os.environ["AWS_ENDPOINT_URL"] + "/2015-03-31/functions/" + event["callee"] + "/invocations"
    with urllib.request.urlopen(urllib.request.Request(url, b'{"n": 1}', method="POST"), timeout=10) as reply:
        return json.load(reply)
""")
    assert functions.invoke(caller, {"callee": callee}).value == ["called", {"n": 1}]


def test_a_function_is_nobody_else_at_its_endpoint(functions):
    name = functions.python("""
import os, urllib.error, urllib.request

def handler(event, context):
    scope = "20261101/us-east-1/lambda/aws4_request"
    auth = f"AWS4-HMAC-SHA256 Credential=111122223333/{scope}, SignedHeaders=host, Signature=" + "0" * 64
    headers = {"Authorization": auth, "X-Amz-Date": "20261101T000000Z"}
    url = os.environ["AWS_ENDPOINT_URL"] + "/2015-03-31/functions"
    try:
        urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=10)
    except urllib.error.HTTPError as error:
        return error.code
""")
    assert functions.invoke(name).value == 403


@pytest.mark.last
@pytest.mark.timeout(240)
def test_an_idle_environment_stands_still(fresh_server):
    """A thread that a function leaves behind gets no processor time until the next event."""
    server = fresh_server()
    client = server.client()
    name = Functions(client).python("""
        import threading, time
        ticks = []
        def tick():
            while True:
                ticks.append(time.monotonic())
                time.sleep(0.01)
        thread = threading.Thread(target=tick, daemon=True)
        def handler(event, context):
            if not thread.is_alive():
                thread.start()
            before = len(ticks)
            time.sleep(0.2)
            gaps = [b - a for a, b in zip(ticks, ticks[1:])]
            ticks.clear()
            return [before, max(gaps)]
    """, MemorySize=512)
    assert invoke(client, name).value[1] < 0.5
    [runtime] = server.runtimes()
    still_s = 1.0
    seen = {"switches": None, "since": 0.0}

    def stands_still():
        switches, now = context_switches(runtime), time.monotonic()
        if switches != seen["switches"]:
            seen.update(switches=switches, since=now)
        return now - seen["since"] >= still_s
    until(stands_still, f"the idle environment to do nothing for {still_s} s", 20)
    before, gap = invoke(client, name).value
    assert gap >= still_s, f"the longest pause of the thread was {gap:.3f} s, after {before} ticks"
    assert server.runtimes() == [runtime], "the same environment went on"


def context_switches(pid):
    """How often the threads of a process have given up the processor; ticking ones do all the time."""
    total = 0
    for status in pathlib.Path(f"/proc/{pid}/task").glob("*/status"):
        for line in status.read_text().splitlines():
            if line.startswith("voluntary_ctxt_switches:"):
                total += int(line.split()[1])
    return total


def test_idle_environments_end_and_new_ones_start(idle_probe):
    server, client, first = idle_probe
    until(lambda: not server.runtimes(), "the idle environment to end", 150, every=0.5)
    assert invoke(client, "idle").value != first
