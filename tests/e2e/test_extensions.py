"""Extensions beside real functions: their life, their failures, their end."""

import json
import re

import pytest

from support.extensions import WATCHER, command, extension, is_frozen, publish, publish_extensions
from support.functions import PYTHON, zip_of
from support.wait import until

ECHO = "def handler(event, context): return event\n"
# Who it runs beside: an id that the environment keeps.
WHO = """
import uuid
me = str(uuid.uuid4())
def handler(event, context): return me
"""


def heard(server, name):
    """What an extension has said so far, without its name."""
    lines = (json.loads(line) for line in server.text().splitlines() if '"target":"function"' in line)
    prefix = f"[{name}] "
    return [line["message"][len(prefix):] for line in lines if line["message"].startswith(prefix)]


def lines(server, function, beginning):
    all_lines = (json.loads(line) for line in server.text().splitlines() if '"target":"function"' in line)
    return [line["message"] for line in all_lines
            if line["function"] == function and line["message"].startswith(beginning)]


def events(server, name):
    return [json.loads(line[6:]) for line in heard(server, name) if line.startswith("event ")]


def ended(server, name):
    """The SHUTDOWN that the extension has heard, once it has."""
    until(lambda: any(event["eventType"] == "SHUTDOWN" for event in events(server, name)),
          f"{name} to be told of the end")
    return events(server, name)[-1]


def test_the_life_of_an_external_extension(server, client, functions):
    layer = publish_extensions(client, watcher=WATCHER)
    name = functions.create(ECHO, Layers=[layer])
    first = functions.invoke(name, 1)
    assert (first.value, first.error) == (1, None), first.log
    second = functions.invoke(name, 2)
    assert second.value == 2 and second.report.init is None
    until(lambda: len(events(server, "watcher")) == 2, "both events")
    about = json.loads(next(line for line in heard(server, "watcher") if line.startswith("about "))[6:])
    assert about == {"functionName": name, "functionVersion": "$LATEST", "handler": "app.handler",
                     "accountId": "000000000000"}
    invoke = events(server, "watcher")[0]
    assert invoke.pop("tracing")["type"] == "X-Amzn-Trace-Id"
    assert invoke.pop("deadlineMs") > 1_700_000_000_000
    assert invoke == {"eventType": "INVOKE", "requestId": first.request_id,
                      "invokedFunctionArn": f"arn:aws:lambda:us-east-1:000000000000:function:{name}"}
    assert lines(server, name, "EXTENSION") == ["EXTENSION\tName: watcher\tState: Ready\tEvents: [INVOKE, SHUTDOWN]"]
    functions.clean()
    shutdown = ended(server, "watcher")
    assert shutdown.pop("deadlineMs") > 1_700_000_000_000
    assert shutdown == {"eventType": "SHUTDOWN", "shutdownReason": "spindown"}


def test_the_caller_does_not_wait_for_extensions_but_the_environment_does(server, client, functions):
    # The first invocation's event keeps the extension for ever; the second finds another environment.
    layer = publish_extensions(client, slow="""
id, _ = register(["INVOKE"])
next_event(id)
say("works on")
signal.pause()
""")
    name = functions.create(WHO, Layers=[layer])
    first, second = functions.invoke(name), functions.invoke(name)
    assert first.error is None and second.error is None
    assert first.value != second.value


def test_an_invocation_is_as_long_as_its_extensions(server, client, functions):
    layer = publish_extensions(client, works="""
id, _ = register(["INVOKE"])
while True:
    next_event(id)
    until = time.monotonic() + 0.3
    while time.monotonic() < until: pass
""")
    name = functions.create(ECHO, Layers=[layer], MemorySize=1769)
    functions.invoke(name, 1, tail=False)
    report = until_report(server, name)
    assert report >= 300
    # The environment is the same afterwards.
    assert functions.invoke(name, 2).report.init is None


def until_report(server, name):
    found = []

    def written():
        found[:] = lines(server, name, "REPORT")
        return found
    until(written, "the REPORT line")
    return float(re.search(r"Duration: ([\d.]+) ms", found[0])[1])


def failure(functions, client, source, handler=ECHO, **settings):
    layer = publish_extensions(client, fails=source)
    # A processor of its own: what starts again inside the invocation has the function's share.
    name = functions.create(handler, Layers=[layer], **{"MemorySize": 1769, **settings})
    answer = functions.invoke(name, 1)
    assert answer.error == "Unhandled", answer
    return name, answer


def check(answer, kind, text):
    assert answer.value == {"errorType": kind, "errorMessage": f"RequestId: {answer.request_id} Error: {text}"}
    assert f"RequestId: {answer.request_id} Error: {text}\n{kind}\n" in answer.log
    assert answer.report.status == "error" and answer.report.error_type == kind, answer.log


@pytest.mark.parametrize("source, text", [
    ("sys.exit(3)", "exit status 3"),
    ("sys.exit(0)", "exit code 0"),
    ("os.kill(os.getpid(), signal.SIGSEGV)", "signal: segmentation fault"),
    ("id, _ = register([]); sys.exit(4)", "exit status 4"),
], ids=["before it registers", "without a failure", "by a signal", "before it asks"])
def test_an_extension_that_crashes_at_init(functions, client, source, text):
    _, answer = failure(functions, client, source)
    check(answer, "Extension.Crash", text)


def test_an_extension_that_says_why_it_cannot_start(server, functions, client):
    name, answer = failure(functions, client, """
id, _ = register(["INVOKE"])
report(id, "init", "Extension.NoLicence")
sys.exit(1)
""")
    check(answer, "Extension.InitError", "exit status 1")
    line = "EXTENSION\tName: fails\tState: InitError\tEvents: [INVOKE]\tError Type: Extension.NoLicence"
    assert line in answer.log and "INIT_REPORT" in answer.log


def test_an_extension_that_crashes_during_invoke(server, functions, client):
    # The function would wait for ever; the extension's end is the invocation's.
    name, answer = failure(functions, client, """
id, _ = register(["INVOKE", "SHUTDOWN"])
next_event(id)
sys.exit(7)
""", handler="import signal\ndef handler(event, context): signal.pause()\n", Timeout=60)
    check(answer, "Extension.Crash", "exit status 7")


def test_an_extension_that_cannot_go_on(functions, client):
    _, answer = failure(functions, client, """
id, _ = register([])
next_event_is_never_asked = report(id, "exit", "Extension.Full")
sys.exit(2)
""")
    check(answer, "Extension.ExitError", "exit status 2")


def test_extensions_that_cannot_be_executed(functions, client):
    for content, mode, text in [("no program", True, "exec format error"), ("", False, "permission denied")]:
        files = {"extensions/broken": content}
        package = zip_of(files, executable=tuple(files) if mode else ())
        layer = client.publish_layer_version(LayerName="broken", Content={"ZipFile": package})["LayerVersionArn"]
        name = functions.create(ECHO, Layers=[layer])
        answer = functions.invoke(name, 1)
        check(answer, "Extension.LaunchError", f"fork/exec /opt/extensions/broken: {text}")
        assert "State: LaunchError" in answer.log


def test_one_that_never_registers_and_one_that_never_asks(functions, client, fresh_server):
    for source in ("signal.pause()", "register([])\nsignal.pause()"):
        _, answer = failure(functions, client, source, Timeout=1)
        assert answer.value["errorType"] == "Sandbox.Timedout"
        assert answer.value["errorMessage"].endswith("Error: Task timed out after 1.00 seconds")


def test_reasons_of_the_end(server, functions, client):
    handler = """
import os, time
def handler(event, context):
    if event == "late": time.sleep(60)
    if event == "exit": os._exit(3)
    return event
"""
    for event, reason, kind in [("late", "timeout", "Sandbox.Timedout"), ("exit", "failure", "Runtime.ExitError")]:
        watcher = f"watcher-{reason}"
        layer = publish_extensions(client, **{watcher: WATCHER})
        name = functions.create(handler, Layers=[layer], Timeout=2)
        assert functions.invoke(name, 1).value == 1
        assert functions.invoke(name, event).value["errorType"] == kind
        assert ended(server, watcher)["shutdownReason"] == reason
        assert functions.invoke(name, 2).value == 2


def test_the_runtime_is_told_first_and_who_ignores_the_end_is_killed(server, functions, client):
    layer = publish_extensions(client, stubborn="""
id, _ = register(["SHUTDOWN"])
signal.signal(signal.SIGTERM, lambda *_: say("SIGTERM"))
event = next_event(id)
say("event", json.dumps(event))
while True: signal.pause()
""", deaf="""
id, _ = register([])
signal.signal(signal.SIGTERM, lambda *_: say("SIGTERM"))
next_event(id)
say("an event")
""")
    handler = """
import os, signal
def told(*_):
    print("[runtime] SIGTERM", flush=True)
    signal.pause()
signal.signal(signal.SIGTERM, told)
def handler(event, context): return os.getpid()
"""
    name = functions.create(handler, Layers=[layer])
    functions.invoke(name)
    ours = {pid for pid in server.runtimes() if "stubborn" in command(pid)}
    assert len(ours) == 1
    functions.clean()
    assert ended(server, "stubborn")["shutdownReason"] == "spindown"
    assert heard(server, "runtime") == ["SIGTERM"]
    until(lambda: not any("stubborn" in command(pid) for pid in ours), "the stubborn one to be killed")
    assert heard(server, "deaf") == [] and len(heard(server, "stubborn")) == 1


def test_a_server_that_stops_lets_extensions_say_goodbye(fresh_server):
    server = fresh_server()
    from support.functions import Functions
    functions = Functions(server.client())
    layer = publish_extensions(server.client(), watcher=WATCHER)
    name = functions.create(ECHO, Layers=[layer])
    assert functions.invoke(name, 1).value == 1
    assert server.stop() == 0
    assert events(server, "watcher")[-1]["shutdownReason"] == "spindown"


def test_an_idle_environment_is_woken_for_its_end(fresh_server):
    server = fresh_server()
    from support.functions import Functions
    functions = Functions(server.client())
    layer = publish_extensions(server.client(), watcher=WATCHER)
    name = functions.create(ECHO, Layers=[layer])
    assert functions.invoke(name, 1).value == 1
    pids = [pid for pid in server.runtimes() if "watcher" in command(pid)]
    until(lambda: is_frozen(pids[0]), "the environment to be frozen")
    functions.clean()
    assert ended(server, "watcher")["shutdownReason"] == "spindown"
    assert server.stop() == 0


def test_ten_at_once_and_no_more(server, functions, client):
    source = extension("id, _ = register(['INVOKE'])\nwhile True: next_event(id)\n")
    ten = {f"extensions/e{number}": source for number in range(10)}
    name = functions.create(ECHO, Layers=[publish(client, ten)], MemorySize=512)
    assert functions.invoke(name, 1).value == 1
    assert functions.invoke(name, 2).value == 2
    assert len(lines(server, name, "EXTENSION")) == 10
    eleven = functions.create(ECHO, Layers=[publish(client, {**ten, "extensions/more": source})])
    answer = functions.invoke(eleven, 1)
    assert answer.value["errorType"] == "Extension.LaunchError"


INTERNAL = """
import http.client, json, os, threading
API = os.environ["AWS_LAMBDA_RUNTIME_API"]

def ask(method, path, headers, body=None):
    connection = http.client.HTTPConnection(API)
    connection.request(method, "/2020-01-01/extension" + path, body, headers)
    answer = connection.getresponse()
    return answer.status, answer.headers, json.loads(answer.read())

def register(name, events):
    return ask("POST", "/register", {"Lambda-Extension-Name": name}, json.dumps({"events": events}))

_, headers, _ = register("inner", ["INVOKE"])
seen = []
arrived = threading.Condition()

def watch():
    while True:
        _, _, event = ask("GET", "/event/next", {"Lambda-Extension-Identifier": headers["Lambda-Extension-Identifier"]})
        with arrived:
            seen.append(event["requestId"])
            arrived.notify()

shutdown = register("other", ["SHUTDOWN"])
threading.Thread(target=watch, daemon=True).start()

def handler(event, context):
    if event == "late":
        return register("late", ["INVOKE"])[::2]
    if event == "shutdown":
        return shutdown[::2]
    with arrived:
        arrived.wait_for(lambda: context.aws_request_id in seen)
    return seen
"""


def test_internal_extensions(functions):
    name = functions.create(INTERNAL)
    first = functions.invoke(name)
    assert first.value == [first.request_id]
    assert functions.invoke(name, "late").value == [403, {
        "errorType": "Extension.RegistrationClosed", "errorMessage": "Extension registration closed already"}]
    assert functions.invoke(name, "shutdown").value == [403, {
        "errorType": "Extension.InvalidEventType",
        "errorMessage": "SHUTDOWN: ShutdownEventNotSupportedForInternalExtension"}]


def test_what_an_extension_finds(functions, client, server):
    layer = publish_extensions(client, finds="""
say("finds", json.dumps([dict(os.environ), os.getcwd(), sorted(os.listdir("/proc/self/fd"))]))
id, _ = register([])
next_event(id)
""")
    name = functions.create(ECHO, Layers=[layer], env={"OWN": "1"})
    assert functions.invoke(name, 1).value == 1
    found = next(line for line in heard(server, "finds") if line.startswith("finds "))
    variables, folder, descriptors = json.loads(found[6:])
    assert folder == "/" and variables["OWN"] == "1"
    assert variables["AWS_LAMBDA_FUNCTION_NAME"] == name and variables["AWS_ACCESS_KEY_ID"]
    hidden = ["_HANDLER", "AWS_EXECUTION_ENV", "LAMBDA_TASK_ROOT", "LAMBDA_RUNTIME_DIR", "AWS_LAMBDA_LOG_GROUP_NAME",
              "AWS_LAMBDA_LOG_STREAM_NAME", "AWS_XRAY_DAEMON_ADDRESS", "_LAMBDA_TELEMETRY_LOG_FD"]
    assert [key for key in hidden if key in variables] == []
    assert not any(key.startswith("_LAMBIC") for key in variables)
    # 3 is the listing's own.
    assert descriptors == ["0", "1", "2", "3"]


SHELL = r"""#!/bin/bash
    api="http://$AWS_LAMBDA_RUNTIME_API/2020-01-01/extension"
    headers=$(mktemp)
    curl -sS -D "$headers" -o /dev/null -H "Lambda-Extension-Name: $(basename "$0")" \
      -d '{"events": ["INVOKE", "SHUTDOWN"]}' "$api/register"
    id=$(sed -n 's/^lambda-extension-identifier: *\([^\r]*\).*/\1/Ip' "$headers")
    while event=$(curl -sS -H "Lambda-Extension-Identifier: $id" "$api/event/next"); do
      echo "[shell] event $event"
      [[ $event == *SHUTDOWN* ]] && exit 0
    done
"""


def test_an_extension_in_shell(server, functions, client):
    name = functions.create(ECHO, Layers=[publish(client, {"extensions/shell": SHELL})], Runtime=PYTHON)
    assert functions.invoke(name, 1).value == 1
    functions.clean()
    assert ended(server, "shell")["shutdownReason"] == "spindown"


def test_the_account_of_what_is_reported_is_small(functions, client):
    """A report of any size is read and does not count; the extension's exit does."""
    _, answer = failure(functions, client, """
id, _ = register([])
ask("POST", "/2020-01-01/extension/init/error",
    {"Lambda-Extension-Identifier": id, "Lambda-Extension-Function-Error-Type": "Extension.Big"}, b"x" * 5_000_000)
sys.exit(1)
""")
    check(answer, "Extension.InitError", "exit status 1")
