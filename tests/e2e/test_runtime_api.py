"""The Runtime API inside an environment, spoken by a runtime that does just what the test says."""

import json

import pytest

from support.wait import until

# A runtime on bare sockets. The event is a list of raw requests, each on a connection of its own, in
# which `{id}` is the request's id; their answers become the response, if nobody has answered yet.
RUNTIME = '''\
#!/usr/bin/env python3
import json, os, socket, sys

HOST, PORT = os.environ["AWS_LAMBDA_RUNTIME_API"].split(":")
API = "/2018-06-01/runtime"


def talk(raw, close=False):
    """Sends bytes and gives status, headers and body of the answer; "closed" if there is none."""
    io = socket.create_connection((HOST, int(PORT)))
    try:
        io.sendall(raw)
        if close:
            io.shutdown(socket.SHUT_WR)
        input = io.makefile("rb")
        status = input.readline().decode()
        if not status:
            return "closed", {}, ""
        headers = {}
        while True:
            line = input.readline().decode("latin-1").strip()
            if not line:
                break
            name, _, value = line.partition(": ")
            headers[name.lower()] = value
        body = input.read(int(headers.get("content-length", 0)))
        return int(status.split()[1]), headers, body.decode()
    except ConnectionError:
        return "closed", {}, ""
    finally:
        io.close()


def request(method, path, body=b"", more=""):
    head = f"{method} {path} HTTP/1.1\\r\\nHost: x\\r\\n{more}Content-Length: {len(body)}\\r\\n\\r\\n"
    return talk(head.encode() + body)


while True:
    status, headers, event = request("GET", f"{API}/invocation/next")
    if status != 200:
        sys.exit(1)
    id = headers["lambda-runtime-aws-request-id"]
    answers = []
    for step in json.loads(event):
        if "repeat" in step:
            step["raw"] = step["raw"].replace("{long}", "x" * step["repeat"])
        raw = step["raw"].replace("{id}", id).encode("latin-1")
        status, _, body = talk(raw, step.get("close", False))
        answers.append([status, body])
    request("POST", f"{API}/invocation/{id}/response", json.dumps(answers).encode())
'''


@pytest.fixture
def speak(functions):
    name = functions.bootstrap(RUNTIME, Timeout=20)

    def steps(*all):
        event = [step if isinstance(step, dict) else {"raw": step} for step in all]
        return functions.invoke(name, event)

    yield steps
    # Whatever was said, the function serves on.
    answer = functions.invoke(name, [{"raw": get("/2018-06-01/ping")}])
    assert (answer.error, answer.value) == (None, [[200, "pong"]]), answer


def get(path):
    return f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n"


def post(route, body="{}", more="", length=None):
    length = len(body) if length is None else length
    head = f"POST /2018-06-01/runtime/{route} HTTP/1.1\r\nHost: x\r\n{more}Content-Length: {length}\r\n\r\n"
    return head + body


def chunked(body):
    return ("POST /2018-06-01/runtime/invocation/{id}/response HTTP/1.1\r\nHost: x\r\n"
            "Lambda-Runtime-Function-Response-Mode: streaming\r\nTransfer-Encoding: chunked\r\n"
            "Trailer: Lambda-Runtime-Function-Error-Type, Lambda-Runtime-Function-Error-Body\r\n\r\n" + body)


def test_routes_that_are_not_there(speak):
    answer = speak(
        get("/2018-06-01/runtime/restore/next"), post("restore/error"), get("/2018-06-01/runtime/nonsense"),
        get("/2015-01-01/ping"), post("invocation/next"), get("/2018-06-01/runtime/invocation/{id}/response"))
    assert [status for status, _ in answer.value] == [404, 404, 404, 404, 405, 405]
    assert answer.value[0][1] == "404 page not found\n"


def test_moves_that_the_state_does_not_allow(speak):
    answer = speak(
        post("init/error"), post("invocation/00000000-0000-4000-8000-000000000000/response"),
        post("invocation/{id}/response", "1", "Lambda-Runtime-Function-Response-Mode: sideways\r\n"))
    assert [(status, json.loads(body)["errorType"]) for status, body in answer.value] == [
        (403, "InvalidStateTransition"), (400, "InvalidRequestID"), (400, "InvalidFunctionResponseMode")]
    assert json.loads(answer.value[0][1])["errorMessage"] == \
        "State transition from Running to InitError failed for runtime. Error: State transition is not allowed"


def test_asking_again_while_working_gives_the_same_event(speak):
    steps = [get("/2018-06-01/runtime/invocation/next")] * 2
    answer = speak(*steps)
    assert [status for status, _ in answer.value] == [200, 200]
    assert json.loads(answer.value[0][1]) == [{"raw": step} for step in steps]


@pytest.mark.parametrize("kind", ["application/json", "application/vnd.aws.lambda.error+json",
                                  "application/vnd.aws.lambda.error.cause+json", "text/plain"])
def test_errors_of_every_content_type(speak, kind):
    body = '{"errorMessage":"no","errorType":"Mine","errorCause":{"paths":[]}}'
    more = f"Content-Type: {kind}\r\nLambda-Runtime-Function-Error-Type: Function.Mine\r\n"
    answer = speak(post("invocation/{id}/error", body, more))
    document = json.loads(body)
    if "cause" in kind:
        del document["errorCause"]
    assert (answer.error, answer.value) == ("Unhandled", document)


def test_a_cause_for_x_ray_of_200_kb_in_the_head(speak):
    more = "Lambda-Runtime-Function-XRay-Error-Cause: {long}\r\n"
    answer = speak({"raw": post("invocation/{id}/error", '{"errorMessage":"no"}', more), "repeat": 200_000})
    assert (answer.error, answer.value) == ("Unhandled", {"errorMessage": "no"})


def test_a_head_beyond_256_kb_is_refused_and_the_runtime_may_answer_otherwise(speak):
    answer = speak({"raw": post("invocation/{id}/response", "1", "A: {long}\r\n"), "repeat": 400_000})
    # A connection that is closed while it is written to may lose the answer on its way.
    assert answer.error is None and answer.value[0][0] in (431, "closed"), answer


def test_streams_and_their_trailers(speak):
    answer = speak(chunked("3\r\n\"ab\r\n2\r\nc\"\r\n0\r\n\r\n"))
    assert (answer.error, answer.value) == (None, "abc")
    failed = "eyJlcnJvclR5cGUiOiJNaW5lIiwiZXJyb3JNZXNzYWdlIjoiYnJva2Ugb2ZmIn0="
    answer = speak(chunked(
        "3\r\nabc\r\n0\r\nLambda-Runtime-Function-Error-Type: Function.Mine\r\n"
        f"Lambda-Runtime-Function-Error-Body: {failed}\r\n\r\n"))
    assert (answer.error, answer.value) == ("Unhandled", {"errorType": "Mine", "errorMessage": "broke off"})


def test_answers_that_break_off_or_make_no_sense(speak):
    cut = {"raw": post("invocation/{id}/response", "half", length=100), "close": True}
    answer = speak(
        cut, chunked("zz\r\nabc\r\n"), "\x00\x01\x02\r\n\r\n", "GET / HTTP/1.1\r\n" + "A: b\r\n" * 5_000 + "\r\n",
        post("invocation/{id}/response", "1", length="-1"))
    assert answer.error is None, answer
    statuses = [status for status, _ in answer.value]
    assert all(status in (400, 431, "closed") for status in statuses), statuses
    truncated = [json.loads(body)["errorType"] for status, body in answer.value[:2] if status == 400 and body]
    assert set(truncated) <= {"TruncatedHTTPRequest"}


def test_a_second_answer_is_refused_and_the_first_one_stands(functions):
    """The runtime answers with what it was told when it answered too often the last time."""
    answers_three_times = RUNTIME.replace("while True:\n    status,", "said = None\nwhile True:\n    status,").replace(
        "    answers = []\n", """\
    route = f"{API}/invocation/{id}"
    request("POST", f"{route}/response", json.dumps(said).encode())
    said = [request("POST", f"{route}/response", b"2"), request("POST", f"{route}/error", b"{}")]
    continue
""")
    name = functions.bootstrap(answers_three_times)
    # The first invoke of an environment has nothing to tell yet.
    refused = until(lambda: functions.invoke(name, []).value, "the runtime's report")
    for (status, _, body), state in zip(refused, ["InvocationResponse", "InvocationErrorResponse"], strict=True):
        assert (status, json.loads(body)) == (403, {
            "errorType": "InvalidStateTransition",
            "errorMessage": f"State transition from ResponseSent to {state} failed for runtime. "
                            "Error: State transition is not allowed",
        })
