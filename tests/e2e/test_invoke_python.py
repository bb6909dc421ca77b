"""Python functions as their authors know them from AWS: context, errors, logs."""

import json
import re
import time

import pytest

from support.functions import PYTHON, Report
from support.server import ACCOUNT, REGION

UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
ECHO = "def handler(event, context):\n    return event\n"

EVENTS = [None, True, 0, -1, 1.5, 10**15, "", "text", "ünï ☃ \U0001f600 \x00 \u2028", [], [1, [2, {"a": None}]], {},
          {"key": "välue", "nested": {"list": [1, 2, 3]}, "": 0}]


@pytest.fixture(scope="module")
def echo(client):
    from support.functions import Functions
    made = Functions(client)
    yield made.python(ECHO)
    made.clean()


@pytest.mark.parametrize("event", EVENTS, ids=range(len(EVENTS)))
def test_events_come_back_as_they_went(functions, echo, event):
    answer = functions.invoke(echo, event)
    assert (answer.status, answer.error, answer.version) == (200, None, "$LATEST")
    assert answer.value == event


def test_no_payload_is_an_empty_event(client, functions, echo):
    assert json.load(client.invoke(FunctionName=echo)["Payload"]) == {}
    assert functions.invoke(echo, raw=b"").value == {}


def test_the_context_object(functions):
    name = functions.python("""
        def handler(event, context):
            import time
            left = context.get_remaining_time_in_millis()
            time.sleep(0.05)
            return {
                "name": context.function_name, "version": context.function_version,
                "arn": context.invoked_function_arn, "memory": context.memory_limit_in_mb,
                "id": context.aws_request_id, "group": context.log_group_name, "stream": context.log_stream_name,
                "left": left, "less": left - context.get_remaining_time_in_millis(),
                "identity": context.identity is not None and context.identity.cognito_identity_id,
                "client": context.client_context, "text": "LambdaContext" in repr(context),
            }
    """, Timeout=8, MemorySize=256)
    answer = functions.invoke(name, {})
    value = answer.value
    assert value["name"] == name
    assert value["version"] == "$LATEST"
    assert value["arn"] == f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{name}"
    assert value["memory"] == "256"
    assert value["id"] == answer.request_id and re.fullmatch(UUID, value["id"])
    assert value["group"] == f"/aws/lambda/{name}"
    assert re.fullmatch(r"\d{4}/\d\d/\d\d/\[\$LATEST\][0-9a-f]{32}", value["stream"])
    assert 7_000 < value["left"] <= 8_000 and 45 <= value["less"] < 1_000
    assert value["identity"] is None
    assert value["client"] is None
    qualified = functions.invoke(name, {}, Qualifier="$LATEST")
    assert qualified.value["arn"].endswith(f":function:{name}:$LATEST")


def test_the_client_context(client, functions):
    import base64
    name = functions.python("""
        def handler(event, context):
            return [context.client_context.custom, context.client_context.env,
                    context.client_context.client.installation_id]
    """)
    sent = {"custom": {"colour": "blau"}, "env": {"locale": "de"}, "client": {"installation_id": "i-1"}}
    answer = functions.invoke(name, ClientContext=base64.b64encode(json.dumps(sent).encode()).decode())
    assert answer.value == [{"colour": "blau"}, {"locale": "de"}, "i-1"]


def test_the_environment_of_a_function(functions):
    name = functions.python("""
        import os, sys
        def handler(event, context):
            return {"env": dict(os.environ), "cwd": os.getcwd(), "path": sys.path, "argv0": __file__}
    """, env={"COLOUR": "blue", "UMLAUT": "äöü", "QUOTE": "a'b\"c\\d $HOME\nnext"}, MemorySize=192)
    value = functions.invoke(name).value
    env = value["env"]
    expected = {
        "COLOUR": "blue", "UMLAUT": "äöü", "QUOTE": "a'b\"c\\d $HOME\nnext", "_HANDLER": "app.handler",
        "LAMBDA_TASK_ROOT": "/var/task", "LAMBDA_RUNTIME_DIR": "/var/runtime", "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION, "AWS_EXECUTION_ENV": f"AWS_Lambda_{PYTHON}",
        "AWS_LAMBDA_FUNCTION_NAME": name, "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "192", "AWS_LAMBDA_LOG_GROUP_NAME": f"/aws/lambda/{name}",
        "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand", "TZ": ":UTC", "LANG": "en_US.UTF-8",
        "AWS_LAMBDA_RUNTIME_API": "127.0.0.1:9001",
    }
    assert {key: env.get(key) for key in expected} == expected
    for key in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL", "PATH"):
        assert env.get(key), key
    assert re.match(r"Root=1-[0-9a-f]{8}-[0-9a-f]{24};", env["_X_AMZN_TRACE_ID"])
    assert "SECRET_OF_THE_HOST" not in env, "the server's own variables do not leak"
    assert value["cwd"] == "/var/task" and value["path"][0] == "/var/task"
    assert value["argv0"] == "/var/task/app.py"


def test_an_exception(functions):
    name = functions.python("""
        class OutOfTea(Exception):
            pass

        def pour(cups):
            raise OutOfTea(f"no tea for {cups} cups ☕")

        def handler(event, context):
            pour(event)
    """)
    answer = functions.invoke(name, 3)
    assert (answer.status, answer.error) == (200, "Unhandled")
    value = answer.value
    assert value["errorType"] == "OutOfTea"
    assert value["errorMessage"] == "no tea for 3 cups ☕"
    assert value["requestId"] == answer.request_id
    trace = value["stackTrace"]
    assert len(trace) == 2
    assert trace[0] == '  File "/var/task/app.py", line 9, in handler\n    pour(event)\n'
    assert trace[1].startswith('  File "/var/task/app.py", line 6, in pour\n    raise OutOfTea(')
    assert "[ERROR] OutOfTea: no tea for 3 cups ☕\nTraceback (most recent call last):" in answer.log.replace("\r", "\n")
    # The environment lives on: an exception is an answer.
    assert functions.invoke(name, 4).report.init is None


FAILURES = {
    "module that is not there": (
        {"app.py": "import no_such_module\n"}, "app.handler", "Runtime.ImportModuleError",
        "Unable to import module 'app': No module named 'no_such_module'"),
    "file that is not there": (
        {"app.py": ECHO}, "other.handler", "Runtime.ImportModuleError",
        "Unable to import module 'other': No module named 'other'"),
    "handler that is not there": (
        {"app.py": ECHO}, "app.nothing", "Runtime.HandlerNotFound", "Handler 'nothing' missing on module 'app'"),
    "handler without a dot": (
        {"app.py": ECHO}, "app", "Runtime.MalformedHandlerName",
        "Bad handler 'app': not enough values to unpack (expected 2, got 1)"),
}


@pytest.mark.parametrize("case", FAILURES)
def test_functions_that_cannot_start(functions, case):
    files, handler, kind, text = FAILURES[case]
    name = functions.create(files=files, Handler=handler)
    for _ in range(2):
        answer = functions.invoke(name, {})
        assert (answer.status, answer.error) == (200, "Unhandled")
        assert (answer.value["errorType"], answer.value["errorMessage"]) == (kind, text)
        assert kind in answer.log


def test_a_syntax_error(functions):
    name = functions.python("def handler(event, context)\n    return 1\n")
    value = functions.invoke(name).value
    assert value["errorType"] == "Runtime.UserCodeSyntaxError"
    assert value["errorMessage"].startswith("Syntax error in module 'app': ")
    assert value["errorMessage"].endswith("(app.py, line 1)")


def test_an_exception_at_import(functions):
    answer = functions.invoke(functions.python("raise ZeroDivisionError('at import')\n" + ECHO))
    assert answer.error == "Unhandled"
    assert answer.value["errorType"] == "ZeroDivisionError"
    assert answer.value["errorMessage"] == "at import"


def test_a_module_in_a_folder(functions):
    name = functions.create(files={"pack/__init__.py": "", "pack/deep/main.py": "def go(e, c): return 'deep'\n"},
                            Handler="pack/deep/main.go")
    assert functions.invoke(name).value == "deep"
    name = functions.create(files={"pack/__init__.py": "", "pack/main.py": "def go(e, c): return 'dots'\n"},
                            Handler="pack.main.go")
    assert functions.invoke(name).value == "dots"


def test_a_result_that_is_no_json(functions):
    answer = functions.invoke(functions.python("def handler(event, context): return {1, 2}\n"))
    assert answer.error == "Unhandled"
    assert answer.value["errorType"] == "Runtime.MarshalError"
    assert answer.value["errorMessage"] == "Unable to marshal response: Object of type set is not JSON serializable"


ENDS = {
    "status 1": ("import sys\ndef handler(e, c): sys.exit(1)\n", "Runtime exited with error: exit status 1"),
    "status 0": ("import os\ndef handler(e, c): os._exit(0)\n", "Runtime exited without providing a reason"),
    "status 7": ("import os\ndef handler(e, c): os._exit(7)\n", "Runtime exited with error: exit status 7"),
    "a fault": ("import ctypes\ndef handler(e, c): ctypes.string_at(0)\n",
                "Runtime exited with error: signal: segmentation fault"),
    "a signal": ("import os\ndef handler(e, c): os.kill(os.getpid(), 6)\n",
                 "Runtime exited with error: signal: aborted"),
    "at import": ("import os\nos._exit(3)\n" + ECHO, "Runtime exited with error: exit status 3"),
}


@pytest.mark.parametrize("case", ENDS)
def test_a_runtime_that_ends(functions, case):
    source, text = ENDS[case]
    name = functions.python(source)
    for _ in range(2):
        answer = functions.invoke(name)
        assert (answer.status, answer.error) == (200, "Unhandled")
        assert answer.value["errorType"] == "Runtime.ExitError"
        assert re.fullmatch(rf"RequestId: {UUID} Error: {re.escape(text)}", answer.value["errorMessage"])
        assert "Runtime.ExitError" in answer.log


def test_logs_and_their_lines(functions):
    name = functions.python("""
        import logging, sys, os
        def handler(event, context):
            print("printed ☃")
            print("to stderr", file=sys.stderr)
            logging.getLogger().setLevel(logging.INFO)
            logging.info("an %s line", "info")
            logging.getLogger("named").warning("two\\nlines")
            os.write(1, b"raw without end")
    """)
    answer = functions.invoke(name)
    log = answer.log
    request = answer.request_id
    start, report = log.index("START RequestId"), log.index("REPORT ")
    assert log[start:].startswith(f"START RequestId: {request} Version: $LATEST\n")
    assert f"END RequestId: {request}\n" in log
    for line in ("printed ☃", "to stderr", "raw without end", "two\nlines"):
        assert start < log.index(line) < report, line
    assert re.search(rf"^\[INFO\]\t\d{{4}}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{{3}}Z\t{request}\tan info line$", log, re.M)
    assert log.index("printed") < log.index("END RequestId") < report


def test_the_log_tail_is_the_last_four_kilobytes(functions):
    name = functions.python("""
        def handler(event, context):
            for number in range(2000):
                print("line", number)
    """)
    answer = functions.invoke(name)
    assert len(answer.log.encode()) <= 4096
    assert "line 1999" in answer.log and "line 10\n" not in answer.log
    assert answer.report.request_id == answer.request_id
    assert functions.invoke(name, tail=False).log == ""


def test_the_report_tells_true_figures(functions):
    name = functions.python("""
        import time
        time.sleep(0.12)
        hoard = []
        def handler(event, context):
            time.sleep(event["sleep"])
            hoard.append(bytearray(event["mb"] << 20))
    """, MemorySize=256)
    begun = time.monotonic()
    first = functions.invoke(name, {"sleep": 0.15, "mb": 1}).report
    wall = (time.monotonic() - begun) * 1000
    assert first.init is not None and 120 <= first.init < wall
    assert 150 <= first.duration < wall and first.memory == 256
    assert first.status is None
    second = functions.invoke(name, {"sleep": 0.05, "mb": 100}).report
    assert second.init is None, "only the first invoke of an environment starts it"
    assert 50 <= second.duration < 1_000
    for report in (first, second):
        assert 0 <= report.billed - report.duration - (report.init or 0) < 1 or 0 <= report.billed - report.duration < 1
        assert report.billed == int(report.billed)
    # An environment that is a copy has of the interpreter only what it has written to itself.
    assert 2 <= first.used < 100 <= second.used <= 256


def test_a_fast_function_is_measured_fast(functions, echo):
    functions.invoke(echo)
    fastest = min(functions.invoke(echo).report.duration for _ in range(20))
    assert 0 < fastest < 20


def test_durations_are_rounded_up_for_billing():
    line = ("REPORT RequestId: 1\tDuration: 1.01 ms\tBilled Duration: 2 ms\tMemory Size: 128 MB\t"
            "Max Memory Used: 30 MB\tInit Duration: 9.50 ms\t\n")
    report = Report.of(line)
    assert (report.duration, report.billed, report.init) == (1.01, 2, 9.5)


def test_a_dry_run_runs_nothing(functions):
    name = functions.python("import os\ndef handler(e, c): os._exit(1)\n")
    answer = functions.invoke(name, {}, InvocationType="DryRun")
    assert (answer.status, answer.error, answer.payload) == (204, None, b"")


def test_asynchronous_invokes_are_refused_by_name_until_they_exist(client, functions, echo):
    from botocore.exceptions import ClientError
    with pytest.raises(ClientError) as caught:
        client.invoke(FunctionName=echo, InvocationType="Event", Payload=b"{}")
    answer = caught.value.response
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 501 and "Event" in answer["Error"]["Message"]


@pytest.mark.parametrize("runtime", ["python3.8", "python3.9", "python3.10", "python3.11", "python3.12", "python3.13",
                                     "python3.14"])
def test_every_python_id_runs(functions, runtime):
    name = functions.python("import sys\ndef handler(e, c): return sys.version_info[0]\n", Runtime=runtime)
    assert functions.invoke(name).value == 3
