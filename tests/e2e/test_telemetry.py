"""The Telemetry API and the Logs API, from subscription to shutdown, with extensions as AWS describes them."""

import json

import pytest

from support.extensions import command, is_frozen, publish
from support.functions import Functions
from support.rootless import rootless_server
from support.server import free_port
from support.telemetry import ASKING, PORT, collector, events, listening, outline
from support.tools import rust_extension
from support.wait import until

ECHO = "def handler(event, context): return event\n"


def lines(server, beginning):
    """Lines of the log that begin so, without that beginning."""
    all_lines = (json.loads(line) for line in server.text().splitlines() if '"target":"function"' in line)
    return [line["message"][len(beginning):] for line in all_lines if line["message"].startswith(beginning)]


def last_words(server, name):
    """What the collector of this name says at its end that it has heard."""
    said = until(lambda: lines(server, f"[{name}] heard "), f"the end of {name}")
    return json.loads(said[-1])


def has(posts, kind, request_id):
    return any(event["type"] == kind and event["record"].get("requestId") == request_id
               for event in events(posts) if isinstance(event["record"], dict))


def heard_of(functions, name, kind, request_id):
    """What the collector beside the function has heard, once it has heard of this."""
    posts = []

    def is_there():
        posts[:] = functions.invoke(name, "heard").value
        return has(posts, kind, request_id)
    until(is_there, f"{kind} of {request_id}")
    return posts


def test_an_environment_s_life_as_it_is_told(server, client, functions):
    layer = publish(client, {"extensions/collector": collector()})
    name = functions.create(ASKING, Layers=[layer])
    # Who asks for the log's tail has the invocation's figures written with its answer.
    first = functions.invoke(name, "hello", tail=False)
    posts = heard_of(functions, name, "platform.report", first.request_id)
    assert {(post["method"], post["path"], post["host"], post["type"]) for post in posts} == {
        ("POST", "/heard", f"sandbox.localdomain:{PORT}", "application/json")}
    told = events(posts)
    upto = next(i for i, event in enumerate(told) if event["type"] == "platform.report")
    assert outline(told[:upto + 1]) == [
        "initStart", "telemetrySubscription", "initRuntimeDone", "extension", "initReport",
        "start", "function: said hello", "runtimeDone", "report"]
    records = {event["type"]: event["record"] for event in told[:upto + 1]}
    start = records["platform.initStart"]
    assert (start["initializationType"], start["phase"], start["functionName"], start["functionVersion"]) == (
        "on-demand", "init", name, "$LATEST")
    assert records["platform.telemetrySubscription"] == {
        "name": "collector", "state": "Subscribed", "types": ["platform", "function"]}
    assert records["platform.extension"] == {
        "name": "collector", "state": "Ready", "events": ["INVOKE", "SHUTDOWN"]}
    assert records["platform.start"] == {"requestId": first.request_id, "version": "$LATEST"}
    done = records["platform.runtimeDone"]
    assert (done["requestId"], done["status"]) == (first.request_id, "success")
    assert [span["name"] for span in done["spans"]] == ["responseLatency", "responseDuration", "runtimeOverhead"]
    assert done["metrics"]["producedBytes"] == len('"hello"')
    report = records["platform.report"]
    assert [span["name"] for span in report["spans"]] == ["extensionOverhead"]
    assert report["metrics"]["memorySizeMB"] == 128 and report["metrics"]["initDurationMs"] > 0
    assert "TELEMETRY\tName: collector\tState: Subscribed\tTypes: [Platform, Function]" in server.text().replace(
        "\\t", "\t")
    # The one environment has served all of it.
    assert outline(events(posts)).count("initStart") == 1


def test_an_extension_may_wait_for_the_runtime_to_be_done(client, functions):
    """As AWS recommends: the extension asks for more when it has seen everything of the invocation."""
    layer = publish(client, {"extensions/waits": listening("""
listen()
id, _ = register(["INVOKE"])
assert subscribe(id, types=["platform"])[0] == 200
while True:
    wait_for("platform.runtimeDone", next_event(id)["requestId"])
""")})
    name = functions.create("import uuid\nme = str(uuid.uuid4())\ndef handler(event, context): return me\n", Layers=[layer])
    answers = []

    def again():
        answers.append(functions.invoke(name))
        assert answers[-1].error is None, answers[-1]
        # An invocation that comes while the extension still waits finds another environment.
        return len(answers) - len({answer.value for answer in answers}) >= 3
    until(again, "environments that serve more than one invocation")


def test_an_extension_may_wait_for_the_runtime_to_start(client, functions):
    layer = publish(client, {"extensions/waits": listening("""
listen()
id, _ = register(["INVOKE"])
assert subscribe(id, types=["platform"])[0] == 200
with came:
    assert came.wait_for(lambda: any(event["type"] == "platform.initRuntimeDone" for event in heard()), 30)
while True: next_event(id)
""")})
    name = functions.create(ECHO, Layers=[layer])
    answer = functions.invoke(name, 1)
    # In the first start, not in one that was repeated because it took too long.
    assert answer.value == 1 and answer.report.init is not None, answer
    assert "INIT_REPORT" not in answer.log


def test_what_is_left_comes_before_the_end(server, client, functions):
    # It would be kept for half a minute.
    layer = publish(client, {"extensions/patient": collector(buffering={"timeoutMs": 30000})})
    name = functions.create(ECHO, Layers=[layer])
    answer = functions.invoke(name, 1)
    functions.clean()
    told = last_words(server, "patient")
    assert [event["record"]["requestId"] for event in told if event["type"] == "platform.report"] == [answer.request_id]


def test_lines_of_extensions_and_of_functions_that_log_as_json(client, functions):
    line = json.dumps({"timestamp": "2026-11-28T07:00:00Z", "level": "DEBUG", "message": "fine"})
    source = f"""
say = lambda line: print(line, flush=True)
listen()
id, _ = register([])
assert subscribe(id, schemaVersion=VERSION, types=["extension", "function"])[0] == 200
say({line!r})
say("plain")
next_event(id)
"""
    handler = ASKING.replace('print("said", event)', f"print({line!r})")
    expected = {
        "2022-07-01": [line + "\n", "plain\n", line + "\n"],
        "2022-12-13": [json.loads(line), "plain\n", json.loads(line)],
        "2025-01-29": [json.loads(line), "plain\n", json.loads(line)],
    }
    for version, records in expected.items():
        layer = publish(client, {"extensions/says": listening(f"VERSION = {version!r}\n{source}")})
        name = functions.create(handler, Layers=[layer], LoggingConfig={
            "LogFormat": "JSON", "ApplicationLogLevel": "ERROR", "SystemLogLevel": "WARN"})
        answer = functions.invoke(name, 1)
        assert "fine" not in answer.log and "plain" in answer.log, "the log has its levels"

        def told():
            return [(event["type"], event["record"]) for event in events(functions.invoke(name, "heard").value)]
        until(lambda: len(told()) >= 3, "all lines")
        # Lines of two processes have no order between them.
        kinds = [("extension", records[0]), ("extension", records[1]), ("function", records[2])]
        assert sorted(told(), key=str) == sorted(kinds, key=str), version


def test_the_logs_api_by_tcp(client, functions):
    layer = publish(client, {"extensions/logs": listening("""
import socketserver

class Lines(socketserver.StreamRequestHandler):
    def handle(self):
        for line in self.rfile:
            posts.append({"batch": [json.loads(line)]})

tcp = socketserver.ThreadingTCPServer(("sandbox", 9000), Lines)
threading.Thread(target=tcp.serve_forever, daemon=True).start()
listen()
id, _ = register(["INVOKE"])
status, answer = subscribe(id, "2020-08-15/logs", schemaVersion="2021-03-18", destination={"protocol": "TCP", "port": 9000})
assert (status, answer) == (200, "OK"), answer
while True: next_event(id)
""")})
    name = functions.create(ASKING, Layers=[layer])
    first = functions.invoke(name, "hello")
    told = events(heard_of(functions, name, "platform.report", first.request_id))
    upto = next(i for i, event in enumerate(told) if event["type"] == "platform.report")
    assert outline(told[:upto + 1]) == [
        "initStart", "logsSubscription", "initRuntimeDone", "extension", "initReport",
        "start", "function: said hello", "runtimeDone", "end", "report"]
    of = {event["type"]: event["record"] for event in told[:upto + 1]}
    assert of["platform.runtimeDone"] == {"requestId": first.request_id, "status": "success"}
    assert set(of["platform.report"]) == {"requestId", "metrics"}


SHELL = r"""#!/bin/bash
    # A listener of its own, and the rest with curl.
    python3 -u -c '
import http.server, json
class Listener(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        for event in json.loads(self.rfile.read(int(self.headers["Content-Length"]))):
            if event["type"] == "function": print("[shell] told", event["record"], end="", flush=True)
        self.send_response(200)
        self.end_headers()
    def log_message(self, *_): pass
server = http.server.HTTPServer(("sandbox.local", 4243), Listener)
print("[shell] listens", flush=True)
server.serve_forever()' &
    api="http://$AWS_LAMBDA_RUNTIME_API"
    headers=$(mktemp)
    curl -sS -D "$headers" -o /dev/null -H "Lambda-Extension-Name: $(basename "$0")" \
      -d '{"events": ["INVOKE"]}' "$api/2020-01-01/extension/register"
    id=$(sed -n 's/^lambda-extension-identifier: *\([^\r]*\).*/\1/Ip' "$headers")
    curl -sS -X PUT -H "Lambda-Extension-Identifier: $id" "$api/2022-07-01/telemetry" -d '{
      "schemaVersion": "2022-07-01", "types": ["function"], "buffering": {"timeoutMs": 25},
      "destination": {"protocol": "HTTP", "URI": "http://sandbox.local:4243"}}'
    while curl -sS -o /dev/null -H "Lambda-Extension-Identifier: $id" "$api/2020-01-01/extension/event/next"; do :; done
"""


def test_a_subscriber_in_shell(server, client, functions):
    layer = publish(client, {"extensions/shell": SHELL})
    name = functions.create(ASKING, Layers=[layer])
    assert functions.invoke(name, "to the shell").error is None
    until(lambda: "said to the shell" in lines(server, "[shell] told "), "the shell to be told")


def test_the_official_crate_for_extensions(server, client, functions):
    """It refuses a whole batch for one event that it cannot read."""
    layer = publish(client, {"extensions/rust": rust_extension()})
    name = functions.create(ASKING, Layers=[layer], Timeout=2)
    ids = [functions.invoke(name, "to rust").request_id]
    until(lambda: f"report {ids[0]}" in lines(server, "[rust] "), "the report")
    crash = functions.create("import os\ndef handler(event, context): os._exit(3)\n", Layers=[layer])
    ids.append(functions.invoke(crash, 1).request_id)
    until(lambda: f"report {ids[1]}" in lines(server, "[rust] "), "the report of the crash")
    said = lines(server, "[rust] ")
    for request_id, status in zip(ids, ["Success", "Error"]):
        assert f"start {request_id}" in said and f"done {request_id} {status}" in said
    assert "function said to rust" in said
    functions.clean()
    until(lambda: "shutdown spindown" in lines(server, "[rust] "), "the end")


INTERNAL = """
import http.client, http.server, json, os, threading
API = os.environ["AWS_LAMBDA_RUNTIME_API"]
heard = []

def ask(method, path, headers, body=None):
    connection = http.client.HTTPConnection(API)
    connection.request(method, path, json.dumps(body) if body is not None else None, headers)
    answer = connection.getresponse()
    return answer.status, answer.headers, json.loads(answer.read())

class Listener(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        heard.extend(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(200)
        self.end_headers()
    def log_message(self, *_): pass

listener = http.server.HTTPServer(("sandbox.localdomain", 1234), Listener)
threading.Thread(target=listener.serve_forever, daemon=True).start()
_, headers, _ = ask("POST", "/2020-01-01/extension/register", {"Lambda-Extension-Name": "inner"}, {"events": ["INVOKE"]})
ID = {"Lambda-Extension-Identifier": headers["Lambda-Extension-Identifier"]}

def subscribe(api="2022-07-01/telemetry", **more):
    body = {"schemaVersion": "2022-12-13", "types": ["platform"], "buffering": {"timeoutMs": 25},
            "destination": {"protocol": "HTTP", "URI": "http://sandbox.localdomain:1234"}, **more}
    return ask("PUT", "/" + api, ID, {key: value for key, value in body.items() if value is not None})[::2]

tried = [
    subscribe(types=[], destination={"protocol": "HTTP", "URI": "http://sandbox.localdomain"}),
    subscribe(schemaVersion="2020-08-15"),
    subscribe(destination={"protocol": "HTTP", "URI": "http://169.254.169.254:80/latest"}),
    subscribe(destination={"protocol": "TCP", "port": 9001}),
    subscribe("2020-08-15/logs", schemaVersion=None, types=["stuff"]),
    subscribe(),
    subscribe(),
    subscribe("2020-08-15/logs", schemaVersion=None),
]

def watch():
    while True: ask("GET", "/2020-01-01/extension/event/next", ID)

threading.Thread(target=watch, daemon=True).start()

def handler(event, context):
    if event == "tried": return tried
    if event == "late": return subscribe(types=["function"]), subscribe("2020-08-15/logs", schemaVersion=None)
    return heard
"""


def test_an_extension_inside_of_the_function_and_what_is_refused(functions):
    name = functions.create(INTERNAL)
    of = lambda kind, message: [400, {"errorType": kind, "errorMessage": message}]
    ok = [200, "OK"]
    assert functions.invoke(name, "tried").value == [
        of("ValidationError", "URI port is not provided; types should not be empty"),
        of("ValidationError", "schemaVersion should be one of [2022-07-01, 2022-12-13, 2025-01-29]"),
        of("ValidationError", "URI host should be sandbox.localdomain"),
        of("ValidationError", "port 9001 is reserved"),
        of("Logs.ValidationError", "types should be among [platform, function, extension]"),
        ok, ok,
        of("Logs.ValidationError", "the extension is already subscribed to the Telemetry API"),
    ]
    assert functions.invoke(name, "late").value == [
        [403, {"errorType": "Telemetry.SubscriptionClosed",
               "errorMessage": "Telemetry API subscription is closed already"}],
        [403, {"errorType": "Logs.SubscriptionClosed", "errorMessage": "Logs API subscription is closed already"}]]
    told = until(lambda: functions.invoke(name).value, "events")
    states = [event["record"]["state"] for event in told if event["type"] == "platform.telemetrySubscription"]
    assert states == ["Subscribed", "Already subscribed"]


def test_without_root():
    with rootless_server() as server:
        server.start()
        client = server.client()
        functions = Functions(client)
        layer = publish(client, {"extensions/collector": collector()})
        name = functions.create(ASKING, Layers=[layer])
        answer = functions.invoke(name, "hello")
        posts = heard_of(functions, name, "platform.report", answer.request_id)
        assert "function: said hello" in outline(events(posts))


def test_without_isolation(fresh_server):
    """The names of an environment do not exist on the machine; its loopback is the machine's."""
    server = fresh_server("--isolation", "none")
    functions = Functions(server.client())
    port = free_port()
    source = INTERNAL.replace('("sandbox.localdomain", 1234)', f'("127.0.0.1", {port})').replace(
        "http://sandbox.localdomain:1234", f"http://sandbox.localdomain:{port}")
    name = functions.create(source)
    told = until(lambda: functions.invoke(name).value, "events")
    assert outline(told)[0] == "initStart"
    assert server.stop() == 0


def test_nothing_is_lost_while_an_environment_is_frozen(server, client, functions):
    # What is due while it is frozen waits until the next invocation.
    layer = publish(client, {"extensions/sleeper": collector(buffering={"timeoutMs": 3000})})
    name = functions.create(ASKING, Layers=[layer])
    ids = [functions.invoke(name, 1).request_id]
    pid = next(pid for pid in server.runtimes() if "sleeper" in command(pid))
    for number in (2, 3):
        until(lambda: is_frozen(pid), "the environment to be frozen")
        ids.append(functions.invoke(name, number).request_id)
    functions.clean()
    told = last_words(server, "sleeper")
    assert [event["record"]["requestId"] for event in told if event["type"] == "platform.report"] == ids
    assert "logsDropped" not in outline(told)


def test_a_start_that_fails_is_told_of(server, client, functions):
    layer = publish(client, {"extensions/witness": collector()})
    name = functions.create("raise RuntimeError('no')\n", Layers=[layer], MemorySize=1769)
    assert functions.invoke(name, 1).error == "Unhandled"

    def phases():
        told = [json.loads(said) for said in lines(server, "[witness] heard ")]
        return {(event["record"]["phase"], event["record"]["status"])
                for words in told for event in words if event["type"] == "platform.initRuntimeDone"}
    until(lambda: {("init", "error"), ("invoke", "error")} <= phases(), "both failures to be told of")
    # The subscription of the first start is that of the second too.
    assert "TELEMETRY\\tName: witness\\tState: Already subscribed" in server.text()


def test_a_function_that_is_killed_is_told_of(server, client, functions):
    layer = publish(client, {"extensions/observer": collector()})
    name = functions.create("import os\ndef handler(event, context): os._exit(3)\n", Layers=[layer])
    answer = functions.invoke(name, 1)
    assert answer.value["errorType"] == "Runtime.ExitError"
    told = last_words(server, "observer")
    done = next(event["record"] for event in told if event["type"] == "platform.runtimeDone")
    assert (done["requestId"], done["status"], done["errorType"]) == (answer.request_id, "error", "Runtime.ExitError")
    assert outline(told)[-1] == "report"


HOSTILE = """
import socket
server = socket.create_server(("sandbox.localdomain", 8081), backlog=100)

def serve(connection, number):
    {manner}

def accept():
    number, kept = 0, []
    while True:
        connection, _ = server.accept()
        kept.append(connection)
        threading.Thread(target=serve, args=(connection, number), daemon=True).start()
        number += 1

threading.Thread(target=accept, daemon=True).start()
listen()
id, _ = register(["INVOKE"])
assert subscribe(id, port=8081)[0] == 200
while True: next_event(id)
"""

MANNERS = {
    "never answers": "pass",
    "closes": "connection.close()",
    "talks first": "connection.sendall(b'220 mail ESMTP' + bytes([13, 10]))",
    "has an endless answer": """
    connection.sendall(b'HTTP/1.1 200 OK' + bytes([13, 10, 13, 10]))
    while True: connection.sendall(b'x' * 65536)""",
    "has an endless head": """
    connection.sendall(b'HTTP/1.1 200 OK' + bytes([13, 10]))
    while True: connection.sendall((b'X: ' + b'y' * 1000 + bytes([13, 10])) * 60)""",
}


@pytest.mark.parametrize("manner", MANNERS)
def test_a_hostile_subscriber_harms_nobody(server, client, functions, manner):
    source = HOSTILE.replace("{manner}", MANNERS[manner].strip())
    layer = publish(client, {"extensions/hostile": listening(source), "extensions/good": collector(port=PORT + 10)})
    flood = """
def handler(event, context):
    for number in range(event): print(number, "x" * 1000)
    return event
"""
    name = functions.create(flood, Layers=[layer], MemorySize=1769)
    before = server.memory_kb()
    for count in (2_000, 2_000, 2_000, 1):
        assert functions.invoke(name, count).value == count
    assert server.memory_kb() - before < 64 * 1024
    functions.clean()
