"""X-Ray: the header of an invocation, TracingConfig, and what the log says of it."""

import json
import re

import pytest
from botocore.exceptions import ClientError

from support.functions import NODE, PYTHON, ROLE, python_zip, wait_updated
from support.http import before_lineage, request

ROOT = "1-5759e988-bd862e3fe1be46a994272793"
PARENT = "53995c3f42cd8ad8"
SHOW_PYTHON = "import os\ndef handler(event, context):\n    return os.environ['_X_AMZN_TRACE_ID']\n"
SHOW_NODE = "exports.handler = async () => process.env._X_AMZN_TRACE_ID;"
MADE = "Root=(1-[0-9a-f]{8}-[0-9a-f]{24});Parent=([0-9a-f]{16});Sampled="


def traced(server, name, header=None):
    """What the function saw, with this header of the caller."""
    headers = {"X-Amzn-Trace-Id": header} if header is not None else {}
    reply = request(server.port, "POST", f"/2015-03-31/functions/{name}/invocations", b"{}", headers=headers)
    assert reply.status == 200, reply
    return before_lineage(reply.json)


@pytest.fixture(params=[PYTHON, NODE])
def make(request, functions):
    """Makes the same function for each runtime that is shipped."""
    if request.param == PYTHON:
        return lambda **settings: functions.python(SHOW_PYTHON, **settings)
    return lambda **settings: functions.node(SHOW_NODE, **settings)


def test_what_the_caller_sent_goes_on_field_by_field(server, make):
    name = make()
    for tail in ["Sampled=1", "Sampled=0", "Sampled=0;Lineage=a87bd80c:1|68fd508a:5"]:
        sent = f"Root={ROOT};Parent={PARENT};{tail}"
        assert traced(server, name, sent) == sent
    assert traced(server, name, f"Sampled=1;Root={ROOT};Self=1-x;Parent={PARENT}") == \
        f"Root={ROOT};Parent={PARENT};Sampled=1"
    assert re.fullmatch(f"Root={ROOT};Parent=[0-9a-f]{{16}};Sampled=0", traced(server, name, f"Root={ROOT}"))


def test_a_header_that_is_absent_or_malformed_is_made_anew_each_time(server, make):
    name = make()
    bad = [None, "", "nonsense", "Root=1-x-y;Parent=z;Sampled=1", f"Root={ROOT}0;Sampled=1", ";" * 2000]
    seen = [traced(server, name, header) for header in bad]
    for header in seen:
        assert re.fullmatch(f"{MADE}0", header), header
    assert len(set(seen)) == len(seen)


def test_an_active_function_samples_and_its_segment_is_in_the_report(client, functions, server, make):
    name = make(TracingConfig={"Mode": "Active"})
    assert client.get_function_configuration(FunctionName=name)["TracingConfig"] == {"Mode": "Active"}
    answer = functions.invoke(name)
    root, parent = re.fullmatch(f"{MADE}1", before_lineage(answer.value)).groups()
    line = f"\nXRAY TraceId: {root}\tSegmentId: {parent}\tSampled: true\t\n"
    report = answer.log[answer.log.index("REPORT RequestId"):]
    assert report.endswith(line), report
    sampled = traced(server, name, f"Root={ROOT};Parent={PARENT};Sampled=1")
    assert re.fullmatch(f"Root={ROOT};Parent=[0-9a-f]{{16}};Sampled=1", sampled) and PARENT not in sampled
    refused = f"Root={ROOT};Parent={PARENT};Sampled=0"
    assert traced(server, name, refused) == refused, "the decision of who called stands"
    client.update_function_configuration(FunctionName=name, TracingConfig={"Mode": "PassThrough"})
    wait_updated(client, name)
    answer = functions.invoke(name)
    assert re.fullmatch(f"{MADE}0", before_lineage(answer.value)) and "XRAY" not in answer.log
    assert traced(server, name, f"Root={ROOT};Parent={PARENT};Sampled=1").endswith("Sampled=1")


def test_the_mode_is_shown_everywhere_and_lasts(client, functions):
    name = functions.python(SHOW_PYTHON)
    assert client.get_function(FunctionName=name)["Configuration"]["TracingConfig"] == {"Mode": "PassThrough"}
    changed = client.update_function_configuration(FunctionName=name, TracingConfig={"Mode": "Active"})
    assert changed["TracingConfig"] == {"Mode": "Active"}
    wait_updated(client, name)
    client.update_function_configuration(FunctionName=name, Timeout=9)
    wait_updated(client, name)
    listed = next(one for page in client.get_paginator("list_functions").paginate() for one in page["Functions"]
                  if one["FunctionName"] == name)
    assert listed["TracingConfig"] == {"Mode": "Active"}


def test_a_mode_that_there_is_not_is_refused(client):
    with pytest.raises(ClientError) as refusal:
        client.create_function(FunctionName="never", Runtime=PYTHON, Handler="app.handler", Role=ROLE,
                               Code={"ZipFile": python_zip("x = 1\n")}, TracingConfig={"Mode": "Sometimes"})
    error = refusal.value.response["Error"]
    assert error["Code"] == "ValidationException" and "tracingConfig.mode" in error["Message"], error


def test_the_mode_survives_a_restart(fresh_server):
    one = fresh_server()
    client = one.client()
    client.create_function(FunctionName="traced", Runtime=PYTHON, Handler="app.handler", Role=ROLE,
                           Code={"ZipFile": python_zip(SHOW_PYTHON)}, TracingConfig={"Mode": "Active"})
    client.get_waiter("function_active_v2").wait(FunctionName="traced")
    one.kill()
    one.start()
    assert one.client().get_function_configuration(FunctionName="traced")["TracingConfig"] == {"Mode": "Active"}
    seen = json.loads(one.client().invoke(FunctionName="traced")["Payload"].read())
    assert before_lineage(seen).endswith("Sampled=1")


def test_segments_of_the_function_go_to_the_daemon_that_it_names(functions):
    """There is no daemon here; a function may bring one, or name another."""
    name = functions.python("""
        import os, socket
        def handler(event, context):
            host, port = os.environ["AWS_XRAY_DAEMON_ADDRESS"].split(":")
            out = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            for _ in range(3):
                out.sendto(b'{"format": "json", "version": 1}\\n{}', (host, int(port)))
            daemon = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            daemon.bind((host, int(port)))
            daemon.settimeout(10)
            out.sendto(b"a segment", (host, int(port)))
            return daemon.recv(100).decode()
    """)
    assert functions.invoke(name).value == "a segment"
