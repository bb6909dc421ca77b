"""Extensions that listen to telemetry: a listener that keeps what it is sent, and what to do with it."""

from .extensions import extension

PORT = 8080

# A listener in the extension's process. It keeps every request, and tells of them when it is asked,
# so that a function can ask what its own extension has heard.
LISTENER = f"""
import http.server, threading
posts = []
came = threading.Condition()

class Listener(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        with came:
            posts.append({{"method": self.command, "path": self.path, "host": self.headers["Host"],
                          "type": self.headers["Content-Type"], "batch": json.loads(body)}})
            came.notify_all()
        self.send_response(200)
        self.end_headers()

    do_PUT = do_POST

    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        with came:
            self.wfile.write(json.dumps(posts).encode())

    def log_message(self, *_):
        pass

def listen(port={PORT}):
    server = http.server.ThreadingHTTPServer(("sandbox.localdomain", port), Listener)
    threading.Thread(target=server.serve_forever, daemon=True).start()

def subscribe(id, api="2022-07-01/telemetry", port={PORT}, **more):
    body = {{"schemaVersion": "2022-12-13", "types": ["platform", "function"],
            "buffering": {{"timeoutMs": 25}},
            "destination": {{"protocol": "HTTP", "URI": f"http://sandbox.localdomain:{{port}}/heard"}}, **more}}
    status, _, answer = ask("PUT", "/" + api, {{"Lambda-Extension-Identifier": id}}, json.dumps(body))
    return status, json.loads(answer)

def heard():
    return [event for post in posts for event in post["batch"]]

def wait_for(kind, request_id):
    with came:
        assert came.wait_for(lambda: any(event["type"] == kind and event["record"]["requestId"] == request_id
                                         for event in heard()), 30), "telemetry that does not come"
"""

# Listens until it is told to end, and then says all it has heard.
COLLECTOR = """
listen(**{key: value for key, value in SUBSCRIPTION.items() if key == "port"})
id, _ = register(["INVOKE", "SHUTDOWN"])
status, answer = subscribe(id, **SUBSCRIPTION)
assert (status, answer) == (200, "OK"), (status, answer)
while next_event(id)["eventType"] != "SHUTDOWN": pass
kinds = lambda: [event["type"] for event in heard()]
with came:
    # What is on its way on a slow machine; the platform does not wait for longer than this either.
    came.wait_for(lambda: kinds().count("platform.start") == kinds().count("platform.report"), 1)
say("heard", json.dumps(heard()))
"""

# A function that gives what the listener beside it has heard.
ASKING = f"""
import json, urllib.request

def handler(event, context):
    if event == "heard":
        with urllib.request.urlopen("http://sandbox.localdomain:{PORT}/") as answer:
            return json.loads(answer.read())
    print("said", event)
    return event
"""


def listening(source):
    return extension(LISTENER + source)


def collector(**subscription):
    return listening(f"SUBSCRIPTION = {subscription!r}\n" + COLLECTOR)


def events(posts):
    return [event for post in posts for event in post["batch"]]


def outline(events):
    """Of each event its type, and of lines what they say."""
    said = []
    for event in events:
        record, kind = event["record"], event["type"].removeprefix("platform.")
        said.append(f"{kind}: {record.strip()}" if isinstance(record, str) else kind)
    return said
