"""Custom runtimes: a shell script, the official Rust crate, the official Go library, and broken ones."""

import re
import time

import pytest

from support.functions import CUSTOM, zip_of
from support.server import ACCOUNT, REGION
from support.tools import HERE, go_bootstrap, rust_bootstrap

BASH = (HERE / "fixtures/bootstrap.sh").read_text()
UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"


@pytest.mark.parametrize("runtime", ["provided.al2023", "provided.al2"])
def test_a_bootstrap_in_bash(functions, runtime):
    name = functions.bootstrap(BASH, Runtime=runtime, Handler="any.thing")
    for event in ({"n": 1}, "☃", 5):
        answer = functions.invoke(name, event)
        assert answer.error is None, answer
        assert answer.value == {"bash": event, "handler": "any.thing"}
    assert "bash got 5" in answer.log and answer.report.init is None


def test_errors_of_a_bootstrap(functions):
    name = functions.bootstrap(BASH)
    answer = functions.invoke(name, "error")
    assert answer.error == "Unhandled"
    assert answer.value == {"errorMessage": "bash refused", "errorType": "Bash.Refused", "stackTrace": []}
    answer = functions.invoke(name, "exit")
    assert (answer.error, answer.value["errorType"]) == ("Unhandled", "Runtime.ExitError")
    assert re.fullmatch(rf"RequestId: {UUID} Error: Runtime exited with error: exit status 9",
                        answer.value["errorMessage"])
    assert functions.invoke(name, 1).value["bash"] == 1


def test_a_second_answer_and_a_wrong_id_are_refused(functions):
    name = functions.bootstrap(BASH)
    assert functions.invoke(name, "twice").value == "first"
    value = functions.invoke(name, "wrong id").value
    assert value["wrong"].startswith("400 ") and "InvalidRequestID" in value["wrong"]
    assert functions.invoke(name, 1).value["bash"] == 1


def test_the_official_rust_crate(client, functions):
    name = functions.bootstrap(rust_bootstrap(), Handler="bootstrap", MemorySize=192, Timeout=6)
    for _ in range(3):
        answer = functions.invoke(name, {"name": "Grüße", "n": 7})
        value = answer.value
        assert (value["hello"], value["n"], value["function"], value["memory"]) == ("Grüße", 7, name, 192)
        assert value["request_id"] == answer.request_id
        assert value["arn"] == f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{name}"
        assert 0 < value["deadline_ms"] / 1000 - time.time() <= 6
    answer = functions.invoke(name, {"do": "error"})
    assert (answer.error, answer.value["errorMessage"]) == ("Unhandled", "the Rust function refused")
    answer = functions.invoke(name, {"do": "panic"})
    assert answer.error == "Unhandled" and "the Rust function panicked" in answer.payload.decode() + answer.log
    answer = functions.invoke(name, {"do": "exit"})
    assert answer.value["errorMessage"].endswith("Error: Runtime exited with error: exit status 3")
    assert functions.invoke(name, {"n": 1}).value["n"] == 1


def test_the_official_go_library(functions):
    name = functions.bootstrap(go_bootstrap(), Handler="bootstrap", MemorySize=192)
    for _ in range(3):
        answer = functions.invoke(name, {"name": "Grüße"})
        value = answer.value
        assert (value["hello"], value["function"], value["memory"]) == ("Grüße", name, 192)
        assert value["request_id"] == answer.request_id
        assert value["arn"].endswith(f":function:{name}")
    answer = functions.invoke(name, {"do": "error"})
    assert answer.error == "Unhandled"
    assert answer.value == {"errorMessage": "the Go function refused", "errorType": "refused"}
    answer = functions.invoke(name, {"do": "panic"})
    assert answer.error == "Unhandled"
    assert "the Go function panicked" in answer.value["errorMessage"] or "exit status" in answer.value["errorMessage"]
    answer = functions.invoke(name, {"do": "exit"})
    assert answer.value["errorMessage"].endswith("Error: Runtime exited with error: exit status 4")


BROKEN = {
    "no bootstrap": ({"other": "x"}, "Couldn't find valid bootstrap(s): [/var/task/bootstrap /opt/bootstrap]"),
    "no interpreter": ({"bootstrap": "#!/no/such/interpreter\n"},
                       "fork/exec /var/task/bootstrap: no such file or directory"),
    "no program": ({"bootstrap": b"\x00\x01\x02\x03 nonsense"}, "fork/exec /var/task/bootstrap: exec format error"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_bootstraps_that_cannot_start(functions, case):
    files, text = BROKEN[case]
    name = functions.create(files=files, Runtime=CUSTOM, Handler="x")
    for _ in range(2):
        answer = functions.invoke(name)
        assert (answer.error, answer.value["errorType"]) == ("Unhandled", "Runtime.InvalidEntrypoint")
        assert re.fullmatch(rf"RequestId: {UUID} Error: {re.escape(text)}", answer.value["errorMessage"])


def test_a_bootstrap_that_may_not_be_executed(client, functions):
    name = functions.bootstrap("#!/bin/bash\n", wait=True)
    client.update_function_code(FunctionName=name, ZipFile=zip_of({"bootstrap": BASH}, executable=()))
    client.get_waiter("function_updated_v2").wait(FunctionName=name)
    answer = functions.invoke(name, 1)
    assert answer.value["errorMessage"].endswith("fork/exec /var/task/bootstrap: permission denied")


def test_a_bootstrap_that_never_asks_for_work(functions):
    name = functions.bootstrap("#!/bin/bash\nexec sleep 100\n", Timeout=2)
    begun = time.monotonic()
    answer = functions.invoke(name)
    assert answer.error == "Unhandled"
    assert "timed out" in answer.value["errorMessage"].lower()
    assert time.monotonic() - begun < 20


def test_a_bootstrap_that_ends_at_once(functions):
    name = functions.bootstrap("#!/bin/bash\necho on its way out\nexit 5\n")
    answer = functions.invoke(name)
    assert answer.value["errorMessage"].endswith("Error: Runtime exited with error: exit status 5")
    assert "on its way out" in answer.log
