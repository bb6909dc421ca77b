"""What is written down of each way in which an invocation can go, compared with golden files.

A golden file holds, for one scenario and one log format, what the caller got and every line of the function's
log, with only ids, times and measured figures masked. `LAMBIC_WRITE_GOLDEN=1` writes them anew; the difference is
to be read before it is committed.
"""

import json
import os
import re

import pytest

from support.extensions import publish_extensions
from support.functions import CUSTOM
from support.server import ROOT
from support.wait import until

GOLDEN = ROOT / "tests/e2e/golden"

FAITHFUL = """
import os, sys, time
print("imported")
def handler(event, context):
    print("called")
    if event == "fail":
        raise ValueError("over")
    if event == "exit":
        os._exit(3)
    if event == "late":
        time.sleep(60)
    if event == "large":
        return "x" * 7_000_000
    return event
"""

WATCHER = """
id, _ = register(["INVOKE", "SHUTDOWN"])
while next_event(id)["eventType"] != "SHUTDOWN": pass
"""

# Name: source, event, settings, extension.
SCENARIOS = {
    "success": (FAITHFUL, "fine", {}, None),
    "error": (FAITHFUL, "fail", {}, None),
    "exit": (FAITHFUL, "exit", {}, None),
    "timeout": (FAITHFUL, "late", {"Timeout": 1}, None),
    "too-large": (FAITHFUL, "large", {"MemorySize": 512}, None),
    "import-error": ("import nowhere\n", "fine", {}, None),
    "no-handler": ("x = 1\n", "fine", {}, None),
    "exit-at-import": ("import os\nos._exit(4)\n", "fine", {}, None),
    "no-bootstrap": (None, "fine", {"Runtime": CUSTOM}, None),
    "extension": (FAITHFUL, "fine", {}, WATCHER),
    "extension-crash-at-init": (FAITHFUL, "fine", {}, "sys.exit(5)"),
    # Its runtime is let go when the extension has registered, and must not be faster than the extension's end.
    "extension-init-error": ("import signal\nsignal.pause()\n", "fine", {}, """
id, _ = register(["INVOKE"])
report(id, "init", "Extension.NoLicence")
sys.exit(1)
"""),
    # What the function says could come before or after the extension's end; so it says nothing.
    "extension-crash-in-invoke": ("import signal\ndef handler(event, context): signal.pause()\n", "x", {"Timeout": 60}, """
id, _ = register(["INVOKE"])
next_event(id)
sys.exit(6)
"""),
}

MASKS = [
    (r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "<id>"),
    (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3,6}Z", "<time>"),
    (r"\d{4}/\d\d/\d\d/\[\$LATEST\][0-9a-f]{32}", "<stream>"),
    (r"::runtime:[0-9a-f]{64}", "::runtime:<hash>"),
    (r"python:3\.\d+\.\d+", "python:<release>"),
    (r"Duration: [\d.]+ ms", "Duration: <ms> ms"),
    (r"Max Memory Used: \d+ MB", "Max Memory Used: <mb> MB"),
    (r'"(durationMs|billedDurationMs|initDurationMs|maxMemoryUsedMB)":[\d.]+', r'"\1":<figure>'),
    (r"fn-\d+", "<function>"),
    (r"line \d+, in _", "line <n>, in _"),
]


def masked(text):
    for pattern, mask in MASKS:
        text = re.sub(pattern, mask, text)
    return text


def log_of(server, name):
    lines = (json.loads(line) for line in server.text().splitlines() if '"target":"function"' in line)
    return [line["message"] for line in lines if line["function"] == name]


@pytest.mark.parametrize("log_format", ["Text", "JSON"])
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_what_is_written_down(server, functions, client, scenario, log_format):
    source, event, settings, extension = SCENARIOS[scenario]
    logging = {"LogFormat": log_format}
    if log_format == "JSON":
        logging.update(ApplicationLogLevel="DEBUG", SystemLogLevel="DEBUG")
    # A processor of its own, so that a start that is repeated in the invocation does not run into a timeout.
    settings = {"MemorySize": 1769, "LoggingConfig": logging, **settings}
    if extension is not None:
        settings["Layers"] = [publish_extensions(client, watcher=extension)]
    name = functions.create(source, files={"data": "x"} if source is None else None, **settings)
    answer = functions.invoke(name, event)
    last = re.compile(r'REPORT |\{"time":"[^"]*","type":"platform.report"')
    until(lambda: any(last.match(line) for line in log_of(server, name)), "the last line of the invocation")
    text = "\n".join([
        f"error: {answer.error}", f"payload: {answer.payload.decode()[:500]}", "log:", *log_of(server, name), ""])
    check(GOLDEN / f"{scenario}.{log_format.lower()}.txt", masked(text))


def check(path, text):
    if os.environ.get("LAMBIC_WRITE_GOLDEN"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    assert path.exists(), f"{path} is missing; LAMBIC_WRITE_GOLDEN=1 writes it"
    assert text == path.read_text(), f"not what {path.name} says"
