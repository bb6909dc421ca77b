"""Advanced logging: formats, levels and log groups, from the setting to the lines."""

import json
import re

import pytest

from support.functions import Functions, wait_updated
from support.wait import until

PYTHON_SOURCE = """
    import json, logging, os, sys
    log = logging.getLogger("mine")

    def handler(event, context):
        if event == "env":
            return {name: value for name, value in os.environ.items() if name.startswith("AWS_LAMBDA_LOG")}
        if event == "context":
            return [context.log_group_name, context.log_stream_name]
        if event == "fail":
            raise ValueError("over")
        if event == "exit":
            sys.exit(3)
        if event == "sleep":
            import time
            time.sleep(60)
        print("printed")
        log.debug("fine")
        log.info("usual", extra={"user": 7})
        log.warning("two\\nlines")
        log.error("wrong")
"""

NODE_SOURCE = """
    exports.handler = async (event) => {
      if (event === 'fail') throw new RangeError('over');
      process.stdout.write('printed\\n');
      console.debug('fine');
      console.info('usual %s', 7);
      console.warn('two\\nlines');
      console.error('wrong');
    };
"""

# Says one line of each level, and one that has none, before it answers.
BASH_SOURCE = r"""#!/bin/bash
    api="http://$AWS_LAMBDA_RUNTIME_API/2018-06-01/runtime/invocation"
    say() { echo "{\"timestamp\": \"$(date -u +%Y-%m-%dT%H:%M:%SZ)\", \"level\": \"$1\", \"message\": \"$2\"}"; }
    while true; do
      headers=$(mktemp)
      curl -sS -D "$headers" "$api/next" > /dev/null
      id=$(sed -n 's/^lambda-runtime-aws-request-id: *\([^\r]*\).*/\1/Ip' "$headers")
      echo printed
      say debug fine
      say Info usual
      say WARN warned
      say error wrong
      say loud unknown
      curl -sS -o /dev/null -d "{\"format\": \"$AWS_LAMBDA_LOG_FORMAT\", \"level\": \"$AWS_LAMBDA_LOG_LEVEL\"}" "$api/$id/response"
    done
"""


def as_json(application="INFO", system="INFO"):
    return {"LogFormat": "JSON", "ApplicationLogLevel": application, "SystemLogLevel": system}


def outline(log):
    """Of each line what it says: the type of an event, the message of a record, or the line."""
    said = []
    for line in log.splitlines():
        try:
            value = json.loads(line)
            said.append(value.get("type") or value["message"])
        except ValueError:
            said.append(line)
    return said


def events(log, kind):
    values = [json.loads(line) for line in log.splitlines() if line.startswith('{"time"')]
    return [value["record"] for value in values if value["type"] == f"platform.{kind}"]


# What the function says below each application level, and the platform below each system level.
SAID = {
    "TRACE": ["fine", "usual", "two\nlines", "wrong"],
    "DEBUG": ["fine", "usual", "two\nlines", "wrong"],
    "INFO": ["usual", "two\nlines", "wrong"],
    "WARN": ["two\nlines", "wrong"],
    "ERROR": ["wrong"],
    "FATAL": [],
}
EVENTS = {
    "DEBUG": (["platform.start"], ["platform.runtimeDone", "platform.report"]),
    "INFO": (["platform.start"], ["platform.report"]),
    "WARN": ([], []),
}


@pytest.mark.parametrize("runtime", ["python", "node"])
def test_levels_decide_what_is_said(functions, runtime):
    source = {"python": PYTHON_SOURCE, "node": NODE_SOURCE}[runtime]
    name = getattr(functions, runtime)(source, LoggingConfig={"LogFormat": "JSON"})
    for application, system in [("TRACE", "DEBUG"), ("DEBUG", "INFO"), ("INFO", "WARN"), ("WARN", "INFO"),
                                ("ERROR", "DEBUG"), ("FATAL", "WARN")]:
        functions.client.update_function_configuration(
            FunctionName=name, LoggingConfig=as_json(application, system))
        wait_updated(functions.client, name)
        before, after = EVENTS[system]
        said = [text.replace("usual 7", "usual") for text in outline(functions.invoke(name, {}).log)]
        assert said == [*before, "printed", *SAID[application], *after], (application, system)


def test_levels_of_lines_of_a_custom_runtime(functions):
    expected = {
        "TRACE": ["printed", "fine", "usual", "warned", "wrong", "unknown"],
        "INFO": ["printed", "usual", "warned", "wrong", "unknown"],
        "WARN": ["printed", "warned", "wrong"],
        "FATAL": ["printed"],
    }
    for level, said in expected.items():
        name = functions.bootstrap(BASH_SOURCE, LoggingConfig=as_json(level, "WARN"))
        answer = functions.invoke(name, {})
        assert outline(answer.log) == said, level
        assert answer.value == {"format": "JSON", "level": level}
    plain = functions.invoke(functions.bootstrap(BASH_SOURCE), {})
    assert len(plain.log.splitlines()) == 9, "text is not filtered"
    assert plain.value == {"format": "Text", "level": ""}


FRAMES_SOURCE = r'''#!/usr/bin/env python3
import json, os, struct, urllib.request
log = int(os.environ["_LAMBDA_TELEMETRY_LOG_FD"])
api = "http://%s/2018-06-01/runtime/invocation/" % os.environ["AWS_LAMBDA_RUNTIME_API"]

def say(kind, text):
    data = text.encode()
    os.write(log, struct.pack(">IIQ", kind, len(data), 1790000000000000) + data)

while True:
    event = urllib.request.urlopen(api + "next")
    os.write(1, b"printed\n")
    say(0xA55A000B, "fine\nand\nsmall")
    say(0xA55A0013, "two\nlines")
    say(0xA55A0016, json.dumps({"message": "wrong"}))
    say(0xA55A0003, "no\nlevel\n")
    answer = json.dumps(sorted(os.listdir("/proc/self/fd"))[:6]).encode()
    urllib.request.urlopen(api + event.headers["Lambda-Runtime-Aws-Request-Id"] + "/response", answer).close()
'''


def test_frames_of_a_custom_runtime(fresh_server):
    server = fresh_server()
    functions = Functions(server.client())
    name = functions.bootstrap(FRAMES_SOURCE, LoggingConfig=as_json("INFO", "WARN"))
    said = functions.invoke(name, {}).log.splitlines()
    assert sorted(said) == sorted(["printed", "two", "lines", '{"message": "wrong"}', "no", "level"])
    assert functions.invoke(functions.bootstrap(FRAMES_SOURCE), {}).log.count("\n") == 12, "text is not filtered"
    text = until(lambda: "level" in server.text() and server.text(), "the records in the server's log")
    for record in (r'"two\nlines"', r'"no\nlevel"'):
        assert record in text, "a record is one line of the server's log"
    assert server.stop() == 0


def test_events_have_aws_s_fields(functions):
    name = functions.python(PYTHON_SOURCE, MemorySize=256, LoggingConfig=as_json("INFO", "DEBUG"))
    cold, warm = functions.invoke(name, {}), functions.invoke(name, {})
    arn = functions.client.get_function_configuration(FunctionName=name)["FunctionArn"]
    [start] = events(cold.log, "start")
    assert start == {"requestId": cold.request_id, "functionArn": arn, "version": "$LATEST"}
    [report] = events(cold.log, "report")
    assert (report["requestId"], report["status"]) == (cold.request_id, "success")
    metrics = report["metrics"]
    assert set(metrics) == {"durationMs", "billedDurationMs", "memorySizeMB", "maxMemoryUsedMB", "initDurationMs"}
    assert metrics["memorySizeMB"] == 256 and 0 < metrics["maxMemoryUsedMB"] <= 256
    spent = metrics["durationMs"] + metrics["initDurationMs"]
    assert spent <= metrics["billedDurationMs"] < spent + 2
    [done] = events(cold.log, "runtimeDone")
    assert (done["status"], done["metrics"]["producedBytes"]) == ("success", len("null"))
    assert [span["name"] for span in done["spans"]] == ["responseLatency", "responseDuration"]
    assert "initDurationMs" not in events(warm.log, "report")[0]["metrics"]
    for line in cold.log.splitlines():
        if line.startswith("{"):
            value = json.loads(line)
            assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", value.get("time") or value["timestamp"])


def test_records_of_both_runtimes(functions):
    python = functions.invoke(functions.python(PYTHON_SOURCE, LoggingConfig=as_json("INFO", "WARN")), {})
    record = json.loads(python.log.splitlines()[1])
    record.pop("timestamp")
    assert record == {"level": "INFO", "message": "usual", "logger": "mine", "requestId": python.request_id, "user": 7}
    node = functions.invoke(functions.node(NODE_SOURCE, LoggingConfig=as_json("INFO", "WARN")), {})
    record = json.loads(node.log.splitlines()[1])
    record.pop("timestamp")
    assert record == {"level": "INFO", "message": "usual 7", "requestId": node.request_id}


def test_what_goes_wrong_is_told_in_json(functions):
    python = functions.python(PYTHON_SOURCE, Timeout=1, LoggingConfig=as_json("INFO", "WARN"))
    failed = functions.invoke(python, "fail")
    [record] = [json.loads(line) for line in failed.log.splitlines()]
    assert (record["level"], record["errorType"], record["errorMessage"]) == ("ERROR", "ValueError", "over")
    assert record["requestId"] == failed.request_id and record["stackTrace"]

    node = functions.invoke(functions.node(NODE_SOURCE, LoggingConfig=as_json("INFO", "WARN")), "fail")
    [record] = [json.loads(line) for line in node.log.splitlines()]
    message = record["message"]
    assert (record["level"], message["errorType"], message["errorMessage"]) == ("ERROR", "RangeError", "over")
    assert message["stackTrace"][0] == "RangeError: over"

    for event, status, kind in [("exit", "error", "Runtime.ExitError"), ("sleep", "timeout", None)]:
        ended = functions.invoke(python, event)
        assert ended.error == "Unhandled"
        assert outline(ended.log) == ["platform.runtimeDone", "platform.report"]
        for of in ("runtimeDone", "report"):
            [record] = events(ended.log, of)
            assert (record["status"], record.get("errorType")) == (status, kind)


def test_text_is_as_before(functions):
    name = functions.python(PYTHON_SOURCE)
    answer = functions.invoke(name, {})
    lines = answer.log.splitlines()
    assert lines[0] == f"START RequestId: {answer.request_id} Version: $LATEST"
    assert lines[1] == "printed"
    assert re.fullmatch(rf"\[WARNING\]\t\S+Z\t{answer.request_id}\ttwo", lines[2]) and lines[3] == "lines"
    assert lines[-2] == f"END RequestId: {answer.request_id}"
    assert functions.invoke(name, "env").value["AWS_LAMBDA_LOG_FORMAT"] == "Text"
    assert "AWS_LAMBDA_LOG_LEVEL" not in functions.invoke(name, "env").value


def test_a_log_group_of_one_s_own(functions):
    name = functions.python(PYTHON_SOURCE)
    group, stream = functions.invoke(name, "context").value
    assert group == f"/aws/lambda/{name}"
    assert re.fullmatch(r"\d{4}/\d\d/\d\d/\[\$LATEST\][0-9a-f]{32}", stream)
    shown = functions.client.update_function_configuration(
        FunctionName=name, LoggingConfig={"LogGroup": "team/shared"})["LoggingConfig"]
    assert shown == {"LogFormat": "Text", "LogGroup": "team/shared"}
    wait_updated(functions.client, name)
    group, stream = functions.invoke(name, "context").value
    assert group == "team/shared"
    assert re.fullmatch(rf"\d{{4}}/\d\d/\d\d/{name}\[\$LATEST\][0-9a-f]{{32}}", stream)
    variables = functions.invoke(name, "env").value
    assert (variables["AWS_LAMBDA_LOG_GROUP_NAME"], variables["AWS_LAMBDA_LOG_STREAM_NAME"]) == (group, stream)


def test_updates_change_what_they_name(functions):
    client = functions.client
    name = functions.python(PYTHON_SOURCE, LoggingConfig={"LogFormat": "JSON", "SystemLogLevel": "WARN"})

    def update(**config):
        shown = client.update_function_configuration(FunctionName=name, LoggingConfig=config)["LoggingConfig"]
        wait_updated(client, name)
        assert client.get_function(FunctionName=name)["Configuration"]["LoggingConfig"] == shown
        assert client.get_function_configuration(FunctionName=name)["LoggingConfig"] == shown
        return shown

    group = f"/aws/lambda/{name}"
    assert update() == {**as_json("INFO", "WARN"), "LogGroup": group}
    assert update(ApplicationLogLevel="DEBUG") == {**as_json("DEBUG", "WARN"), "LogGroup": group}
    assert functions.invoke(name, "env").value["AWS_LAMBDA_LOG_LEVEL"] == "DEBUG"
    assert update(LogGroup="g") == {**as_json("DEBUG", "WARN"), "LogGroup": "g"}
    assert update(LogFormat="Text") == {"LogFormat": "Text", "LogGroup": "g"}
    assert update(LogFormat="JSON", LogGroup=group) == {**as_json(), "LogGroup": group}


@pytest.mark.parametrize("config, said", [
    ({"LogFormat": "Text", "ApplicationLogLevel": "INFO"}, "LogLevel is not supported when LogFormat is set to \"Text\""),
    ({"SystemLogLevel": "WARN"}, "LogLevel is not supported when LogFormat is set to \"Text\""),
    ({"LogFormat": "YAML"}, "logFormat"),
    ({"LogFormat": "JSON", "SystemLogLevel": "ERROR"}, "systemLogLevel"),
    ({"LogGroup": "not a name"}, "logGroup"),
])
def test_what_is_refused(functions, config, said):
    name = functions.python(PYTHON_SOURCE)
    for attempt in (
        lambda: functions.client.update_function_configuration(FunctionName=name, LoggingConfig=config),
        lambda: functions.create(PYTHON_SOURCE, LoggingConfig=config, wait=False),
    ):
        with pytest.raises(functions.client.exceptions.ClientError) as refused:
            attempt()
        error = refused.value.response
        assert error["ResponseMetadata"]["HTTPStatusCode"] == 400, error
        assert said in error["Error"]["Message"], error
    shown = functions.client.get_function_configuration(FunctionName=name)["LoggingConfig"]
    assert shown == {"LogFormat": "Text", "LogGroup": f"/aws/lambda/{name}"}


def test_the_server_s_log_has_whole_records_and_tells_starts(fresh_server):
    server = fresh_server()
    functions = Functions(server.client())
    name = functions.python(PYTHON_SOURCE)
    shared = functions.node(NODE_SOURCE, LoggingConfig={**as_json("WARN", "DEBUG"), "LogGroup": "shared"})
    functions.invoke(name, {})
    functions.invoke(shared, {})

    def messages(function):
        """What the server's log has of this function, once its report is there."""
        found = [line for line in server.text().splitlines() if f'"{function}"' in line]
        return found if any("REPORT" in line or "platform.report" in line for line in found) else None

    text = "\n".join(until(lambda: messages(name), "the report in the server's log"))
    assert r"two\nlines" in text, "a record of several lines is one line of the server's log"
    assert "log_group" not in text
    text = "\n".join(until(lambda: messages(shared), "the report in the server's log"))
    for kind in ("initStart", "initRuntimeDone", "initReport", "start", "runtimeDone", "report"):
        assert f"platform.{kind}" in text, kind
    assert "shared" in text and "usual" not in text
    assert server.stop() == 0


def test_the_setting_outlives_the_server(fresh_server):
    server = fresh_server()
    functions = Functions(server.client())
    config = {**as_json("ERROR", "WARN"), "LogGroup": "g"}
    name = functions.python(PYTHON_SOURCE, LoggingConfig=config)
    server.kill()
    server.start()
    assert functions.client.get_function_configuration(FunctionName=name)["LoggingConfig"] == config
    assert outline(functions.invoke(name, {}).log) == ["printed", "wrong"]
    assert server.stop() == 0
