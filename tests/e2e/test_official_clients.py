"""AWS's own runtime clients, unmodified, as custom runtimes: each through the same scenarios."""

import base64
import dataclasses
import json
import re
import time
from collections.abc import Callable

import pytest

from support.functions import CUSTOM, ROLE, Answer, invoke, new_name, wait_active, zip_of
from support.http import before_lineage, request
from support.server import ACCOUNT, REGION
from support.streams import Bells, Stream, streamed
from support.tools import go_bootstrap, java_ric, node_ric, python_ric, rust_bootstrap

RESPONSE_BYTES_MAX = 6 * 1024 * 1024 + 100
TIMEOUT_S = 5


@dataclasses.dataclass
class Official:
    """What the documents of this client say where they differ."""

    package: Callable[[], dict]
    handler: str
    error_type: str
    custom_type: str
    # Of what the caller gets when the runtime crashes or the function uses up its memory.
    panic: str
    memory: str
    exit_code: int
    # A handler that is not there, and the type of the error, where the client looks for one.
    absent: tuple | None = None
    # What streams, if the client can: a handler's name, and what stands before the stream.
    stream_handler: str | None = None
    prelude: bytes = b""
    broken_type: str | None = None
    # The type of the error of a recursion without end, where it is one of the language.
    deep_type: str | None = None


KILLED = r"Runtime\.ExitError.*signal: killed"
ABORTED = r"Runtime\.ExitError.*signal: aborted"
CLIENTS = {
    "awslambdaric": Official(
        python_ric, "app.handler", "ValueError", "Refused", ABORTED, KILLED, 5,
        absent=("app.absent", "Runtime.HandlerNotFound"), deep_type="RecursionError"),
    "aws-lambda-ric": Official(
        node_ric, "index.handler", "RangeError", "Refused", ABORTED, KILLED, 6,
        absent=("index.absent", "Runtime.HandlerNotFound"), stream_handler="index.stream",
        broken_type="Refused", deep_type="RangeError"),
    "lambda_runtime": Official(
        lambda: {"bootstrap": rust_bootstrap()}, "any",
        "&alloc::boxed::Box<dyn core::error::Error + core::marker::Send + core::marker::Sync>", "Refused",
        "Lambda panicked: the Rust function panicked", KILLED, 3, stream_handler="any",
        prelude=b'{"statusCode":200,"headers":{"content-type":"application/octet-stream"},"cookies":[]}' + bytes(8)),
    "aws-lambda-go": Official(
        lambda: {"bootstrap": go_bootstrap()}, "any", "refused", "Refused",
        "the Go function panicked", KILLED, 4, stream_handler="any", broken_type="refused"),
    "aws-lambda-java-runtime-interface-client": Official(
        java_ric, "lambic.Handler::handleRequest", "java.lang.IllegalStateException", "lambic.Handler$Refused",
        r"Runtime\.ExitError.*exit status 134", r"java\.lang\.OutOfMemoryError", 7,
        absent=("lambic.Absent::handleRequest", "java.lang.ClassNotFoundException"),
        deep_type="java.lang.StackOverflowError"),
}


class Made:
    """The functions of one client, made when they are first asked for."""

    def __init__(self, client, official):
        self.client, self.official = client, official
        self.package = zip_of(official.package())
        self.names, self.dead = {}, set()

    def name(self, handler=None, **settings):
        handler = handler or self.official.handler
        key = (handler, tuple(settings.items()))
        if key not in self.names:
            name = self.names[key] = new_name("official")
            wanted = {"MemorySize": 256, "Timeout": 60, **settings}
            self.client.create_function(
                FunctionName=name, Runtime=CUSTOM, Handler=handler, Role=ROLE, Code={"ZipFile": self.package}, **wanted)
            wait_active(self.client, name)
        return self.names[key]

    def __call__(self, do, *, handler=None, settings=(), **more) -> Answer:
        return invoke(self.client, self.name(handler, **dict(settings)), {"do": do, **more})

    def works(self, settings=()):
        """Invokes once more, which must succeed, in no environment that was to be gone."""
        answer = self("context", settings=settings)
        assert answer.error is None, answer
        assert answer.value["instance"] not in self.dead, "an environment that had ended serves again"
        return answer.value["instance"]

    def ends_its_environment(self, do, settings=(), **more):
        """An invoke after which its environment is not to be used any more."""
        instance = self.works(settings)
        answer = self(do, settings=settings, **more)
        self.dead.add(instance)
        assert answer.error == "Unhandled", answer
        self.works(settings)
        return answer


@pytest.fixture(scope="module", params=CLIENTS)
def made(request, client):
    one = Made(client, CLIENTS[request.param])
    yield one
    for name in one.names.values():
        client.delete_function(FunctionName=name)


def only(wanted):
    """For what not every client can do."""
    names = [name for name, official in CLIENTS.items() if wanted(official)]
    return pytest.mark.parametrize("made", names, indirect=True)


def test_the_context_is_whole(made):
    client_context = base64.b64encode(json.dumps({"custom": {"who": "Grüße"}}).encode()).decode()
    for _ in range(3):
        name = made.name()
        before = time.time()
        answer = invoke(made.client, name, {"do": "context"}, ClientContext=client_context)
        took_ms = (time.time() - before) * 1000
        value = answer.value
        assert answer.error is None and answer.version == "$LATEST", answer
        assert (value["request_id"], value["function"], value["version"]) == (answer.request_id, name, "$LATEST")
        assert value["arn"] == f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{name}"
        assert (int(value["memory"]), value["log_group"]) == (256, f"/aws/lambda/{name}")
        assert re.fullmatch(r"\d{4}/\d\d/\d\d/\[\$LATEST\][0-9a-f]{32}", value["log_stream"])
        # The deadline is told in whole milliseconds, and what is left of it again.
        assert 60_000 - took_ms - 2 <= value["remaining_ms"] <= 60_000
        assert value["client"] == {"who": "Grüße"}
        trace = before_lineage(value["trace"])
        assert re.fullmatch("Root=1-[0-9a-f]{8}-[0-9a-f]{24};Parent=[0-9a-f]{16};Sampled=0", trace)


def test_the_trace_of_the_caller_reaches_the_function(made, server):
    sent = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1;Lineage=a87bd80c:1"
    path = f"/2015-03-31/functions/{made.name()}/invocations"
    reply = request(server.port, "POST", path, {"do": "context"}, headers={"X-Amzn-Trace-Id": sent})
    assert (reply.status, before_lineage(reply.json["trace"])) == (200, sent)


def test_an_error_of_the_handler(made):
    answer = made("error")
    assert (answer.error, answer.value["errorType"]) == ("Unhandled", made.official.error_type)
    assert re.fullmatch(r"the [\w.]+ function refused", answer.value["errorMessage"])
    assert answer.report.status is None
    made.works()


def test_an_error_of_a_type_of_its_own(made):
    answer = made("custom")
    assert (answer.error, answer.value["errorType"]) == ("Unhandled", made.official.custom_type)
    assert answer.value["errorMessage"].endswith("function refused in its own way")
    made.works()


@only(lambda official: official.deep_type)
def test_an_error_with_a_very_long_trace(made):
    """Clients send it in a header for X-Ray, too, which is longer than what HTTP servers usually take."""
    answer = made("deep")
    assert (answer.error, answer.value["errorType"]) == ("Unhandled", made.official.deep_type), answer
    made.works()


def test_a_crash(made):
    answer = made("panic")
    text = answer.payload.decode()
    assert answer.error == "Unhandled" and re.search(made.official.panic, text), answer
    made.works()


def test_an_exit(made):
    answer = made.ends_its_environment("exit")
    expected = f"RequestId: {answer.request_id} Error: Runtime exited with error: exit status {made.official.exit_code}"
    assert answer.value == {"errorType": "Runtime.ExitError", "errorMessage": expected}
    assert (answer.report.status, answer.report.error_type) == ("error", "Runtime.ExitError")


def test_a_timeout(made):
    settings = {"Timeout": TIMEOUT_S}.items()
    answer = made.ends_its_environment("sleep", settings, n=60_000)
    expected = f"RequestId: {answer.request_id} Error: Task timed out after {TIMEOUT_S}.00 seconds"
    assert answer.value == {"errorType": "Sandbox.Timedout", "errorMessage": expected}
    assert answer.report.status == "timeout"


def test_more_memory_than_there_is(made):
    answer = made.ends_its_environment("memory")
    assert re.search(made.official.memory, answer.payload.decode()), answer
    if made.official.memory == KILLED:
        assert (answer.report.error_type, answer.report.used) == ("Runtime.OutOfMemory", 256)


def test_the_longest_request_and_the_longest_response(made):
    padding = "y" * (6 * 1024 * 1024 - len(json.dumps({"do": "measure", "padding": ""})))
    answer = made("measure", padding=padding)
    assert (answer.error, answer.value) == (None, len(padding))
    answer = made("big", n=RESPONSE_BYTES_MAX - 2)
    assert (answer.error, len(answer.payload)) == (None, RESPONSE_BYTES_MAX), answer.payload[:200]
    made.works()


def test_a_response_beyond_the_limit(made):
    answer = made("big", n=RESPONSE_BYTES_MAX - 1)
    assert (answer.error, answer.value) == ("Unhandled", {
        "errorType": "Function.ResponseSizeTooLarge",
        "errorMessage": f"Response payload size ({RESPONSE_BYTES_MAX + 1} bytes) exceeded maximum allowed payload "
                        f"size ({RESPONSE_BYTES_MAX} bytes).",
    })
    made.works()


@only(lambda official: official.stream_handler)
def test_a_streamed_response_is_gathered(made):
    official = made.official
    answer = made("stream", handler=official.stream_handler, n=3)
    assert (answer.error, answer.payload) == (None, official.prelude + b"piece 0;piece 1;piece 2;")
    if official.broken_type:
        answer = made("broken stream", handler=official.stream_handler, n=3)
        assert (answer.error, answer.value["errorType"]) == ("Unhandled", official.broken_type)
        assert answer.value["errorMessage"].endswith("function broke off")
    assert made("stream", handler=official.stream_handler, n=1).error is None


@only(lambda official: official.stream_handler)
def test_a_streamed_response_comes_as_it_is_sent(made):
    official = made.official
    name = made.name(official.stream_handler)
    whole = streamed(made.client, name, {"do": "stream", "n": 3})
    assert (whole.payload, whole.end.code) == (official.prelude + b"piece 0;piece 1;piece 2;", None)
    if official.broken_type:
        whole = streamed(made.client, name, {"do": "broken stream", "n": 3})
        assert (whole.payload, whole.end.code) == (b"piece 0;piece 1;piece 2;", official.broken_type)
        document = whole.end.document
        assert document["errorType"] == official.broken_type
        assert document["errorMessage"].endswith("function broke off")
    whole = streamed(made.client, made.name(), {"do": "context"})
    assert (whole.end.code, json.loads(whole.payload)["function"]) == (None, made.name())
    whole = streamed(made.client, made.name(), {"do": "error"})
    assert (whole.pieces, whole.end.code) == ([], "Unhandled")
    assert whole.end.document["errorType"] == official.error_type


@only(lambda official: official.stream_handler and "index" in official.stream_handler)
def test_a_piece_arrives_before_the_next_is_sent(made, functions):
    bells = Bells(functions)
    for _ in range(2):
        bell = bells.new()
        stream = Stream(made.client, made.name(made.official.stream_handler), {"do": "stream", "n": 2, "bell": bell})
        assert stream.until(b"first;") == b"first;"
        bells.ring(bell)
        whole = stream.rest()
        assert (whole.payload, whole.end.code) == (b"piece 0;piece 1;", None)


@only(lambda official: official.absent)
def test_a_handler_that_is_not_there(made):
    handler, kind = made.official.absent
    for _ in range(2):
        answer = made("context", handler=handler)
        assert (answer.error, answer.value["errorType"]) == ("Unhandled", kind), answer
    made.works()
