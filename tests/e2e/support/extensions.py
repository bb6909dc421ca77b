"""Extensions as AWS's documentation describes them, and layers that carry them."""

import itertools

from .functions import zip_of

_numbers = itertools.count(1)

# What every extension here begins with. `ask` gives status, headers and body.
PRELUDE = """#!/usr/bin/env python3
import http.client, json, os, signal, sys, time
API = os.environ["AWS_LAMBDA_RUNTIME_API"]
NAME = os.path.basename(sys.argv[0])

def ask(method, path, headers=None, body=None):
    connection = http.client.HTTPConnection(API)
    connection.request(method, path, body, headers or {})
    answer = connection.getresponse()
    return answer.status, answer.headers, answer.read()

def say(*words):
    print(f"[{NAME}]", *words, flush=True)

def register(events, **headers):
    status, answer, body = ask("POST", "/2020-01-01/extension/register",
                               {"Lambda-Extension-Name": NAME, **headers}, json.dumps({"events": events}))
    assert status == 200, body
    return answer["Lambda-Extension-Identifier"], json.loads(body)

def next_event(id):
    status, answer, body = ask("GET", "/2020-01-01/extension/event/next", {"Lambda-Extension-Identifier": id})
    assert status == 200, body
    return json.loads(body)

def report(id, when, error_type):
    status, _, body = ask("POST", f"/2020-01-01/extension/{when}/error",
                          {"Lambda-Extension-Identifier": id, "Lambda-Extension-Function-Error-Type": error_type},
                          json.dumps({"errorMessage": "no", "errorType": error_type, "stackTrace": []}))
    assert status == 202, body
"""

# Says what it hears of until it is told to end.
WATCHER = """
id, about = register(["INVOKE", "SHUTDOWN"], **{"Lambda-Extension-Accept-Feature": "accountId"})
say("about", json.dumps(about))
while True:
    event = next_event(id)
    say("event", json.dumps(event))
    if event["eventType"] == "SHUTDOWN":
        break
"""


def extension(source):
    return PRELUDE + source


def publish(client, files, name=None):
    """A layer of `{path: text}`, all of it executable. Returns the version's ARN."""
    package = zip_of(files, executable=tuple(files))
    published = client.publish_layer_version(
        LayerName=name or f"layer-{next(_numbers)}", Content={"ZipFile": package})
    return published["LayerVersionArn"]


def publish_extensions(client, **sources):
    """A layer with these Python programs in `/opt/extensions`."""
    return publish(client, {f"extensions/{name}": extension(source) for name, source in sources.items()})


def command(pid):
    """The command line of a process; empty when it is gone."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read().decode(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return ""


def is_frozen(pid):
    """Whether the environment of this process is frozen."""
    with open(f"/proc/{pid}/cgroup") as file:
        groups = dict(line.strip().split(":", 2)[1:] for line in file)
    path = groups.get("freezer")
    if path is not None:
        with open(f"/sys/fs/cgroup/freezer{path}/freezer.state") as file:
            return file.read().strip() == "FROZEN"
    with open(f"/sys/fs/cgroup{groups['']}/cgroup.events") as file:
        return "frozen 1" in file.read()
