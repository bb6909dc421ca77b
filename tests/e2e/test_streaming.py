"""Answers that come while the function runs: InvokeWithResponseStream, from handlers and runtimes to real clients."""

import base64
import json
import re

import boto3
import botocore.exceptions
import pytest
import urllib3
from botocore.config import Config

from support.functions import Functions
from support.http import Wire, request
from support.server import REGION
from support.streams import NODE, Bells, Stream, peak_kb, streamed
from support.wait import until

PAYLOAD_BYTES_MAX = 6 * 1024 * 1024 + 100
STREAMED_BYTES_MAX = 200 * 1024 * 1024


@pytest.fixture
def bells(functions):
    return Bells(functions)


def node(functions, body, before="", **settings):
    """A Node.js handler that streams; its body has `event`, `out`, `context` and `gone`."""
    source = f"{NODE}\n{before}\nexports.handler = awslambda.streamifyResponse(async (event, out, context) => {{\n{body}\n}});"
    return functions.node(source, **settings)


WAITS = "out.write('first;'); await gone(event.bell); out.write('second;'); out.end('third');"


def test_pieces_arrive_while_the_function_runs(functions, bells):
    name = node(functions, WAITS)
    for _ in range(3):
        bell = bells.new()
        stream = Stream(functions.client, name, {"bell": bell})
        assert stream.until(b"first;") == b"first;"
        bells.ring(bell)
        whole = stream.rest()
        assert (whole.payload, whole.end.code, whole.end.details) == (b"second;third", None, None)
        assert whole.end.report.request_id == stream.request_id


def test_pieces_arrive_in_javascript(functions, bells, js):
    name = node(functions, WAITS)
    bell = bells.new()
    payload = {"base64": base64.b64encode(json.dumps({"bell": bell}).encode()).decode()}
    head, events = js.stream(
        FunctionName=name, Payload=payload, LogType="Tail", after=("DeleteFunction", {"FunctionName": bell}))
    assert (head["StatusCode"], head["ExecutedVersion"]) == (200, "$LATEST")
    assert head["ResponseStreamContentType"] == "application/vnd.amazon.eventstream"
    pieces = [base64.b64decode(event["PayloadChunk"]["Payload"]["base64"]) for event in events[:-1]]
    assert (pieces[0], b"".join(pieces)) == (b"first;", b"first;second;third")
    assert base64.b64decode(events[-1]["InvokeComplete"]["LogResult"]).startswith(b"START RequestId: ")
    head, events = js.stream(FunctionName=name, InvocationType="DryRun")
    assert (head["StatusCode"], events) == (204, [])
    answer = js.raw("InvokeWithResponseStream", FunctionName="nobody")
    assert (answer["error"]["name"], answer["error"]["status"]) == ("ResourceNotFoundException", 404)


def test_a_piece_goes_over_the_wire_as_a_chunk_of_its_own(functions, bells, server):
    """What no client library can hide: bytes are sent when they are there, framed and chunked."""
    name, bell = node(functions, WAITS), bells.new()
    body = json.dumps({"bell": bell})
    with Wire(server.port) as wire:
        wire.send(f"POST /2021-11-15/functions/{name}/response-streaming-invocations HTTP/1.1\r\n"
                  f"Host: 127.0.0.1\r\nContent-Length: {len(body)}\r\n\r\n{body}")
        status, headers = wire.head()
        assert (status, headers["transfer-encoding"]) == (200, "chunked")
        assert headers["content-type"] == "application/vnd.amazon.eventstream"
        assert re.fullmatch(r"[0-9a-f-]{36}", headers["x-amzn-requestid"])
        message = wire.input.read(int(wire.input.readline(), 16))
        assert b":event-type\x07\x00\x0cPayloadChunk" in message and b"first;" in message
        wire.input.readline()
        bells.ring(bell)
        last = b""
        while (size := int(wire.input.readline(), 16)):
            last = wire.input.read(size)
            wire.input.readline()
        assert b"InvokeComplete" in last and b"{}" in last
        # The connection serves the next request.
        wire.input.readline()
        assert wire.send("GET /_lambic/health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n").reply().status == 200


def test_a_function_that_does_not_stream(functions):
    name = functions.python("""
        def handler(event, context):
            if event == "fail":
                raise ValueError("no")
            return "x" * event if isinstance(event, int) else event
    """)
    whole = streamed(functions.client, name, {"n": 1})
    assert (whole.payload, whole.end.code) == (b'{"n": 1}', None)
    # Six megabytes are the limit of Invoke, not of what is streamed.
    whole = streamed(functions.client, name, PAYLOAD_BYTES_MAX)
    assert (len(whole.payload), whole.end.code) == (PAYLOAD_BYTES_MAX + 2, None)
    whole = streamed(functions.client, name, "fail")
    assert (whole.pieces, whole.end.code, whole.end.document["errorType"]) == ([], "Unhandled", "ValueError")


def test_invoke_gathers_a_stream_up_to_six_megabytes(functions):
    name = node(functions, """
        if (event.fail) { out.write('abc'); throw new RangeError('broke off'); }
        for (let left = event.n; left > 0; left -= 65536) out.write('x'.repeat(Math.min(left, 65536)));
        out.end();
    """, Timeout=60)
    assert functions.invoke(name, {"n": 10}).payload == b"x" * 10
    answer = functions.invoke(name, {"n": PAYLOAD_BYTES_MAX})
    assert (answer.error, len(answer.payload)) == (None, PAYLOAD_BYTES_MAX)
    answer = functions.invoke(name, {"n": PAYLOAD_BYTES_MAX + 1})
    assert (answer.error, answer.value["errorType"]) == ("Unhandled", "Function.ResponseSizeTooLarge")
    answer = functions.invoke(name, {"fail": True})
    assert (answer.error, answer.value["errorType"], answer.value["errorMessage"]) == (
        "Unhandled", "RangeError", "broke off")
    assert len(streamed(functions.client, name, {"n": PAYLOAD_BYTES_MAX + 1}).payload) == PAYLOAD_BYTES_MAX + 1


def test_errors_of_a_handler(functions):
    name = node(functions, """
        console.log('at work');
        if (event === 'first') throw new RangeError('no');
        out.write('abc');
        if (event === 'middle') throw new RangeError('no');
        if (event === 'unfinished') return;
        out.end();
    """)
    for event, pieces in [("first", b""), ("middle", b"abc")]:
        whole = streamed(functions.client, name, event)
        assert (whole.payload, whole.end.code) == (pieces, "RangeError")
        document = whole.end.document
        assert (document["errorType"], document["errorMessage"]) == ("RangeError", "no")
        assert document["trace"][0] == "RangeError: no"
        assert "\tINFO\tat work\n" in whole.end.log and "\tERROR\tInvoke Error \t" in whole.end.log
        assert whole.end.report.status is None
    whole = streamed(functions.client, name, "unfinished")
    assert (whole.payload, whole.end.document["errorMessage"]) == (b"abc", "Response stream is not finished.")
    assert streamed(functions.client, name, "fine").end.code is None


def test_a_prelude_for_http(functions):
    name = node(functions, """
        out = awslambda.HttpResponseStream.from(out, { statusCode: 418, headers: { 'X-A': 'b' } });
        await require('util').promisify(require('stream').pipeline)(require('stream').Readable.from(['te', 'a']), out);
    """)
    whole = streamed(functions.client, name)
    assert whole.payload == b'{"statusCode":418,"headers":{"X-A":"b"}}' + bytes(8) + b"tea"


def test_time_is_up_in_the_middle(functions):
    name = node(functions, "out.write('abc'); await new Promise(() => setInterval(() => {}, 1000));", Timeout=1)
    stream = Stream(functions.client, name)
    whole = stream.rest()
    assert (whole.payload, whole.end.code, whole.end.details) == (b"abc", "Sandbox.Timedout", None)
    assert f"{stream.request_id} Task timed out after 1.00 seconds" in whole.end.log
    assert whole.end.report.status == "timeout"
    silent = node(functions, "await new Promise(() => setInterval(() => {}, 1000));", Timeout=1)
    whole = streamed(functions.client, silent)
    assert (whole.pieces, whole.end.code) == ([], "Unhandled")
    assert whole.end.document["errorType"] == "Sandbox.Timedout"


ENDS = {
    "exit": ("process.exit(3)", "exit status 3", "Runtime.ExitError"),
    "killed": ("process.kill(process.pid, 'SIGKILL')", "signal: killed", "Runtime.ExitError"),
    "out of memory": ("const kept = []; for (;;) kept.push(Buffer.alloc(8 << 20, 1))", "signal: killed",
                      "Runtime.OutOfMemory"),
}


@pytest.mark.parametrize("case", ENDS)
def test_a_runtime_that_ends_in_the_middle(functions, bells, case):
    deed, words, kind = ENDS[case]
    name = node(functions, f"""
        out.write(instance);
        if (event.bell) {{ await gone(event.bell); {deed}; }}
        out.end();
    """, before="const instance = require('crypto').randomUUID();", MemorySize=256)
    bell = bells.new()
    stream = Stream(functions.client, name, {"bell": bell})
    first = stream.piece()
    bells.ring(bell)
    whole = stream.rest()
    assert (whole.pieces, whole.end.code, whole.end.details) == ([], "Runtime.TruncatedResponse", None)
    assert f"RequestId: {stream.request_id} Error: Runtime exited with error: {words}\n" in whole.end.log
    assert (whole.end.report.status, whole.end.report.error_type) == ("error", kind)
    assert streamed(functions.client, name, {}).payload != first, "the environment is not used again"


# A runtime that streams just what the event says, step by step, and prints how it was answered.
RAW = '''\
#!/usr/bin/env python3
import http.client, json, os, socket, time

HOST, PORT = os.environ["AWS_LAMBDA_RUNTIME_API"].split(":")
API = "/2018-06-01/runtime/invocation"


def gone(bell):
    while True:
        client = http.client.HTTPConnection(os.environ["AWS_ENDPOINT_URL"].removeprefix("http://"))
        client.request("GET", f"/2015-03-31/functions/{bell}")
        if client.getresponse().status == 404:
            return
        client.close()
        time.sleep(0.005)


while True:
    client = http.client.HTTPConnection(HOST, int(PORT))
    client.request("GET", f"{API}/next")
    reply = client.getresponse()
    steps = json.loads(reply.read())
    io = socket.create_connection((HOST, int(PORT)))
    io.sendall(f"POST {API}/{reply.headers['Lambda-Runtime-Aws-Request-Id']}/response HTTP/1.1\\r\\nHost: x\\r\\n"
               "Lambda-Runtime-Function-Response-Mode: streaming\\r\\nTransfer-Encoding: chunked\\r\\n"
               "Trailer: Lambda-Runtime-Function-Error-Type, Lambda-Runtime-Function-Error-Body\\r\\n\\r\\n".encode())
    for step in steps:
        if "bell" in step:
            gone(step["bell"])
        else:
            for _ in range(step["times"]):
                io.sendall(step["send"].encode("latin-1"))
    io.shutdown(socket.SHUT_WR)
    print("answered", io.makefile("rb").readline().decode().strip(), flush=True)
    io.close()
'''


def sends(text, times=1):
    return {"send": text, "times": times}


@pytest.fixture
def raw(functions):
    return functions.bootstrap(RAW, Timeout=60)


def test_trailers_of_a_runtime(functions, bells, raw):
    document = '{"errorType":"Mine","errorMessage":"bröke off"}'
    encoded = base64.b64encode(document.encode()).decode()
    kind, body = "Lambda-Runtime-Function-Error-Type", "Lambda-Runtime-Function-Error-Body"
    cases = [
        ("", None, None),
        (f"{kind}: Function.Mine\r\n{body}: {encoded}\r\n", "Function.Mine", document),
        (f"{kind}: Mine\r\n", "Mine", None),
        (f"{kind}: \r\n{body}: \r\n", None, None),
    ]
    for trailers, code, details in cases:
        bell = bells.new()
        stream = Stream(functions.client, raw, [sends("3\r\nabc\r\n"), {"bell": bell}, sends(f"0\r\n{trailers}\r\n")])
        assert stream.piece() == b"abc"
        bells.ring(bell)
        end = stream.rest().end
        assert (end.code, end.details) == (code, details), trailers


def test_a_stream_that_breaks_off(functions, bells, raw):
    """The runtime lives on and is told; its environment serves the next event."""
    for rest in ["", "zz\r\n", "5\r\nab"]:
        bell = bells.new()
        stream = Stream(functions.client, raw, [sends("3\r\nabc\r\n"), {"bell": bell}, sends(rest)], tail=False)
        assert stream.piece() == b"abc"
        bells.ring(bell)
        whole = stream.rest()
        assert (b"".join(whole.pieces) in (b"", b"ab"), whole.end.code) == (True, "Runtime.TruncatedResponse")
    whole = streamed(functions.client, raw, [sends("0\r\n\r\n")])
    assert (whole.pieces, whole.end.code, whole.end.report.init) == ([], None, None)


def test_two_hundred_megabytes_are_the_limit(functions, raw, server):
    piece = "100000\r\n" + "x" * 0x100000 + "\r\n"
    exact = Stream(functions.client, raw, [sends(piece, 200), sends("0\r\n\r\n")])
    whole = exact.rest()
    assert (sum(map(len, whole.pieces)), whole.end.code) == (STREAMED_BYTES_MAX, None)
    whole = streamed(functions.client, raw, [sends(piece, 200), sends("1\r\nx\r\n0\r\n\r\n")])
    assert sum(map(len, whole.pieces)) == STREAMED_BYTES_MAX
    assert (whole.end.code, whole.end.details) == ("Function.ResponseSizeTooLarge", None)
    assert f"exceeded maximum allowed payload size ({STREAMED_BYTES_MAX} bytes)" in whole.end.log
    assert whole.end.report.error_type == "Function.ResponseSizeTooLarge"
    until(lambda: "answered HTTP/1.1 413" in server.text(), "the runtime to be told")
    whole = streamed(functions.client, raw, [sends("0\r\n\r\n")])
    assert (whole.end.code, whole.end.report.init) == (None, None), "its environment serves on"


def test_a_client_that_hangs_up_ends_nothing(functions, bells, server):
    name = node(functions, """
        out.write(instance);
        if (event.bell) {
          await gone(event.bell);
          for (let piece = 0; piece < 40; piece += 1) {
            if (!out.write('x'.repeat(100_000))) await require('events').once(out, 'drain');
          }
          console.log(`to the end of ${event.bell}`);
        }
        out.end();
    """, before="const instance = require('crypto').randomUUID();")
    bell = bells.new()
    stream = Stream(functions.client, name, {"bell": bell})
    instance = stream.piece()
    stream.hang_up()
    bells.ring(bell)
    until(lambda: f"to the end of {bell}" in server.text(), "the function to go on to its end")
    [report] = until(lambda: re.findall(rf"REPORT RequestId: {stream.request_id}.*", server.text()), "its REPORT")
    assert "Status: " not in report
    assert streamed(functions.client, name, {}).payload == instance, "its environment serves on"


def test_dry_runs_and_what_cannot_be_invoked(functions):
    client, name = functions.client, functions.python("def handler(event, context): return event\n")
    reply = client.invoke_with_response_stream(FunctionName=name, InvocationType="DryRun")
    assert (reply["StatusCode"], list(reply["EventStream"])) == (204, [])
    assert streamed(client, name, 1, Qualifier="$LATEST").payload == b"1"
    arn = client.get_function_configuration(FunctionName=name)["FunctionArn"]
    assert streamed(client, f"{arn}:$LATEST", 2).payload == b"2"
    assert streamed(client, name, raw=b"").payload == b"{}"
    cases = [
        ({"FunctionName": "nobody"}, "ResourceNotFoundException", 404),
        ({"FunctionName": name, "Qualifier": "live"}, "ResourceNotFoundException", 404),
        ({"FunctionName": name, "Payload": b"{"}, "InvalidRequestContentException", 400),
        ({"FunctionName": name, "Payload": b'"' + b"x" * 6_291_456}, "RequestTooLargeException", 413),
        ({"FunctionName": name, "ClientContext": "!"}, "InvalidRequestContentException", 400),
        ({"FunctionName": name, "TenantId": "blue"}, "InvalidParameterValueException", 400),
    ]
    for words, code, status in cases:
        with pytest.raises(botocore.exceptions.ClientError) as refused:
            client.invoke_with_response_stream(**words)
        error = refused.value.response
        assert (error["Error"]["Code"], error["ResponseMetadata"]["HTTPStatusCode"]) == (code, status), words


def test_the_client_context_reaches_the_function(functions):
    name = node(functions, "out.end(JSON.stringify([context.clientContext, context.awsRequestId]));")
    sent = base64.b64encode(b'{"custom": {"who": "me"}}').decode()
    stream = Stream(functions.client, name, {}, ClientContext=sent)
    assert json.loads(stream.rest().payload) == [{"custom": {"who": "me"}}, stream.request_id]


def test_the_figures_of_a_stream(functions, bells):
    settings = {"LogFormat": "JSON", "SystemLogLevel": "DEBUG"}
    name = node(functions, """
        out.write('x'.repeat(1000));
        if (event.bell) await gone(event.bell);
        if (event.fail) throw new RangeError('no');
        out.end('y'.repeat(500));
    """, LoggingConfig=settings, Timeout=2)

    def records(log):
        lines = [json.loads(line) for line in log.splitlines()]
        return {line["type"]: line["record"] for line in lines if "type" in line}

    bell = bells.new()
    stream = Stream(functions.client, name, {"bell": bell})
    stream.piece()
    bells.ring(bell)
    told = records(stream.rest().end.log)
    done = told["platform.runtimeDone"]
    assert (done["status"], done["metrics"]["producedBytes"]) == ("success", 1500)
    latency, duration = done["spans"]
    assert (latency["name"], duration["name"]) == ("responseLatency", "responseDuration")
    whole = done["metrics"]["durationMs"]
    assert abs(latency["durationMs"] + duration["durationMs"] - whole) < 0.01 * len(done["spans"])
    assert told["platform.report"]["metrics"]["durationMs"] == whole
    done = records(streamed(functions.client, name, {"fail": True}).end.log)["platform.runtimeDone"]
    assert done["metrics"]["producedBytes"] == 1000
    # A bell that nobody rings.
    done = records(streamed(functions.client, name, {"bell": bells.new()}).end.log)["platform.runtimeDone"]
    assert (done["status"], done["metrics"]["producedBytes"]) == ("timeout", 1000)


def test_fifty_megabytes_pass_in_flat_memory(fresh_server):
    server = fresh_server()
    functions = Functions(server.client())
    name = node(functions, """
        const piece = Buffer.alloc(65536, 'x');
        for (let sent = 0; sent < event; sent += piece.length) {
          if (!out.write(piece)) await require('events').once(out, 'drain');
        }
        out.end();
    """, Timeout=60)
    other = functions.python("def handler(event, context): return event\n")
    size = 50 * 1024 * 1024
    assert len(streamed(functions.client, name, 1024 * 1024).payload) == 1024 * 1024
    before = peak_kb(server)
    stream = Stream(functions.client, name, size)
    taken = len(stream.piece())
    # Nobody takes anything for a while; the function waits and others are served.
    for number in range(50):
        assert functions.invoke(other, number).value == number
    for event in stream.events:
        taken += len(event.get("PayloadChunk", {}).get("Payload", b""))
    assert taken == size
    assert peak_kb(server) - before < 8 * 1024, "what is on its way is bounded"
    with_metrics = request(server.port, "GET", "/metrics").body.decode()
    sent = float(re.search(r"^lambic_front_streamed_bytes_total (\S+)$", with_metrics, re.M)[1])
    assert size < sent < size * 1.1
    assert re.search(r"^lambic_front_requests [01]$", with_metrics, re.M)
    assert server.stop() == 0


def test_many_streams_at_the_same_time(functions, bells):
    name, count = node(functions, WAITS), 12
    bell = bells.new()
    streams = [Stream(functions.client, name, {"bell": bell}) for _ in range(count)]
    assert [stream.until(b"first;") for stream in streams] == [b"first;"] * count
    bells.ring(bell)
    assert [stream.rest().payload for stream in streams] == [b"second;third"] * count


def test_signatures_are_checked_before_a_stream_begins(guarded):
    def client(secret):
        return boto3.client(
            "lambda", endpoint_url=guarded.endpoint, region_name=REGION, aws_access_key_id="LKIATESTER",
            aws_secret_access_key=secret, config=Config(retries={"total_max_attempts": 1}))

    functions = Functions(client("very secret"))
    name = node(functions, "out.write('a'); out.end('b');")
    whole = streamed(functions.client, name)
    assert (whole.payload, whole.end.code) == (b"ab", None)
    with pytest.raises(botocore.exceptions.ClientError) as refused:
        client("guess").invoke_with_response_stream(FunctionName=name)
    assert refused.value.response["Error"]["Code"] == "InvalidSignatureException"
    path = f"/2021-11-15/functions/{name}/response-streaming-invocations"
    assert request(guarded.port, "POST", path, {}).code == "MissingAuthenticationTokenException"


def test_a_server_that_stops_finishes_its_streams(fresh_server):
    server = fresh_server()
    functions = Functions(server.client())
    name = node(functions, """
        out.write('first;');
        const http = require('http');
        const status = () => new Promise((done) => http.get(`${process.env.AWS_ENDPOINT_URL}/_lambic/health`, (reply) => {
          reply.resume();
          done(reply.statusCode);
        }));
        // The server says so from the moment at which it was asked to stop.
        while ((await status()) !== 503) await new Promise((done) => setTimeout(done, 5));
        out.end('last');
    """)
    stream = Stream(functions.client, name)
    assert stream.until(b"first;") == b"first;"
    server.terminate()
    whole = stream.rest()
    assert (whole.payload, whole.end.code) == (b"last", None)
    assert server.process.wait(timeout=40) == 0


def test_a_server_that_is_killed_breaks_its_streams(fresh_server):
    server = fresh_server()
    functions = Functions(server.client())
    bells = Bells(functions)
    name = node(functions, WAITS)
    stream = Stream(functions.client, name, {"bell": bells.new()})
    assert stream.until(b"first;") == b"first;"
    server.kill()
    with pytest.raises(urllib3.exceptions.ProtocolError):
        stream.rest()
    server.start()
    bell = bells.new()
    stream = Stream(functions.client, name, {"bell": bell})
    assert stream.until(b"first;") == b"first;"
    bells.ring(bell)
    assert stream.rest().payload == b"second;third"
    assert server.stop() == 0
