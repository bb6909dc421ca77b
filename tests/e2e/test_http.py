"""HTTP as old, odd and broken clients speak it."""

import json
import re

import botocore.auth
import botocore.awsrequest
import botocore.credentials
import pytest

from support.functions import ROLE, PYTHON, new_name, python_zip
from support.http import Wire, before_lineage, request
from support.server import REGION

FUNCTIONS = "/2015-03-31/functions"
ECHO = "def handler(event, context): return event\n"
UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"


@pytest.mark.parametrize("path", [FUNCTIONS, FUNCTIONS + "/", "/2016-08-19/account-settings",
                                  "/2016-08-19/account-settings/"])
def test_paths_with_and_without_their_last_slash(server, path):
    assert request(server.port, "GET", path).status == 200


def test_every_answer_has_its_own_request_id(server):
    replies = [request(server.port, "GET", FUNCTIONS), request(server.port, "GET", FUNCTIONS + "/nobody"),
               request(server.port, "GET", "/nothing/here")]
    ids = {reply.headers["x-amzn-requestid"] for reply in replies}
    assert len(ids) == 3 and all(re.fullmatch(UUID, one) for one in ids)


def test_unknown_paths_and_methods(server):
    reply = request(server.port, "GET", "/2099-01-01/nothing")
    assert (reply.status, reply.code) == (404, "UnknownOperationException"), reply
    reply = request(server.port, "PATCH", FUNCTIONS)
    assert reply.status in (404, 405) and reply.code, reply
    reply = request(server.port, "GET", FUNCTIONS + "/x/y/z")
    assert reply.status == 404, reply


@pytest.mark.parametrize("body", [b"{", b"[]", b'"text"', b"\xff\xfe", b'{"FunctionName": 5}', b"null x"])
def test_bodies_that_are_no_document(server, body):
    reply = request(server.port, "POST", FUNCTIONS, body)
    assert (reply.status, reply.code) == (400, "SerializationException"), reply


def test_an_empty_body_lacks_everything(server):
    reply = request(server.port, "POST", FUNCTIONS, b"")
    assert (reply.status, reply.code) == (400, "ValidationException"), reply
    for member in ("functionName", "role", "code"):
        assert f"Value null at '{member}' failed to satisfy constraint: Member must not be null" in reply.message


def test_unknown_members_are_ignored_as_aws_does(server, functions):
    import base64
    name = new_name("unknown")
    functions.names.append(name)
    reply = request(server.port, "POST", FUNCTIONS, {
        "FunctionName": name, "Runtime": PYTHON, "Role": ROLE, "Handler": "app.handler", "FromTheFuture": {"x": [1]},
        "Code": {"ZipFile": base64.b64encode(python_zip(ECHO)).decode()}})
    assert reply.status == 201, reply


def test_very_deep_json_is_refused(server):
    reply = request(server.port, "POST", FUNCTIONS, b'{"Tags":' + b"[" * 200_000 + b"]" * 200_000 + b"}")
    assert reply.status == 400, reply
    assert request(server.port, "GET", FUNCTIONS).status == 200


def test_expect_100_continue(server, functions):
    name = functions.python(ECHO)
    with Wire(server.port) as wire:
        wire.send(f"POST {FUNCTIONS}/{name}/invocations HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 11\r\n"
                  "Expect: 100-continue\r\n\r\n")
        assert wire.head()[0] == 100
        reply = wire.send('{"a": true}').reply()
        assert (reply.status, reply.json) == (200, {"a": True})


def test_chunked_bodies(server, functions):
    name = functions.python(ECHO)
    with Wire(server.port) as wire:
        head = f"POST {FUNCTIONS}/{name}/invocations HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n"
        for _ in range(2):
            reply = wire.send(head + '5\r\n{"a":\r\n').send("6\r\n[1, 2]\r\n").send("1\r\n}\r\n0\r\n\r\n").reply()
            assert (reply.status, reply.json) == (200, {"a": [1, 2]})


def test_keep_alive_and_pipelining(server, functions):
    name = functions.python(ECHO)
    with Wire(server.port) as wire:
        one = f"POST {FUNCTIONS}/{name}/invocations HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1\r\n\r\n"
        wire.send("".join(one + str(digit) for digit in range(5)))
        assert [wire.reply().json for _ in range(5)] == list(range(5))


def test_head_requests_have_no_body(server):
    with Wire(server.port) as wire:
        status, headers = wire.send(f"HEAD {FUNCTIONS}/nobody HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n").head()
        assert status in (403, 404, 405)
        wire.send(f"GET {FUNCTIONS} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        assert wire.reply().status == 200


GARBAGE = [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"GET\r\n\r\n", b"hello\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n",
           b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: minus\r\n\r\n",
           b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
           b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n" + b"X: " + b"y" * 2_000_000 + b"\r\n\r\n"]


@pytest.mark.parametrize("data", GARBAGE, ids=range(len(GARBAGE)))
def test_garbage_ends_the_connection_and_nothing_else(server, data):
    with Wire(server.port, timeout=40) as wire:
        try:
            wire.send(data)
            line = wire.input.readline()
            assert not line or int(line.split()[1]) in range(400, 600)
        except (ConnectionResetError, BrokenPipeError):
            pass
    assert request(server.port, "GET", FUNCTIONS).status == 200


def test_a_client_that_goes_away_harms_nobody(server, functions):
    name = functions.python("import time\ndef handler(event, context):\n    time.sleep(event)\n    return event\n")
    for _ in range(20):
        with Wire(server.port) as wire:
            wire.send(f"POST {FUNCTIONS}/{name}/invocations HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 3\r\n\r\n0.2")
    for _ in range(20):
        with Wire(server.port) as wire:
            wire.send(f"POST {FUNCTIONS}/{name}/invocations HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 300\r\n\r\n[")
    assert functions.invoke(name, 0).value == 0


def signed(server, path, *, method="GET", body=b"", key="test", secret="test", service="lambda", when=None):
    """A request as botocore signs it."""
    message = botocore.awsrequest.AWSRequest(method=method, url=server.endpoint + path, data=body)
    credentials = botocore.credentials.Credentials(key, secret)
    botocore.auth.SigV4Auth(credentials, service, REGION).add_auth(message)
    return dict(message.headers.items())


def test_any_credentials_are_accepted_on_loopback_and_none_too(server):
    for headers in ({}, signed(server, FUNCTIONS), signed(server, FUNCTIONS, key="111122223333", secret="x")):
        assert request(server.port, "GET", FUNCTIONS, headers=headers).status == 200


BROKEN_AUTH = {
    "no signature": "AWS4-HMAC-SHA256 Credential=a/20261101/us-east-1/lambda/aws4_request, SignedHeaders=host",
    "no scope": "AWS4-HMAC-SHA256 Credential=a, SignedHeaders=host, Signature=0",
    "region with a slash": "AWS4-HMAC-SHA256 Credential=a/20261101/../lambda/aws4_request, SignedHeaders=host, "
                           "Signature=" + "0" * 64,
}


def test_where_signatures_are_required(guarded):
    cases = [
        ({}, "MissingAuthenticationTokenException"),
        (signed(guarded, FUNCTIONS, key="nobody"), "UnrecognizedClientException"),
        (signed(guarded, FUNCTIONS, key="LKIATESTER", secret="guess"), "InvalidSignatureException"),
        (signed(guarded, FUNCTIONS + "/other", key="LKIATESTER", secret="very secret"), "InvalidSignatureException"),
    ]
    for headers, code in cases:
        reply = request(guarded.port, "GET", FUNCTIONS, headers=headers)
        assert (reply.status, reply.code) == (403, code), reply
    good = signed(guarded, FUNCTIONS, key="LKIATESTER", secret="very secret")
    assert request(guarded.port, "GET", FUNCTIONS, headers=good).status == 200
    stale = {**good, "X-Amz-Date": "20200101T000000Z"}
    assert request(guarded.port, "GET", FUNCTIONS, headers=stale).status == 403


def test_authorizations_that_cannot_be_read(guarded):
    for text in BROKEN_AUTH.values():
        reply = request(guarded.port, "GET", FUNCTIONS, headers={"Authorization": text})
        assert reply.status in (400, 403), reply
        assert reply.code in ("IncompleteSignatureException", "InvalidSignatureException",
                              "MissingAuthenticationTokenException"), reply


def test_a_signed_body_cannot_be_exchanged(guarded):
    path, body = FUNCTIONS + "/nobody/invocations", b'{"a": 1}'
    headers = signed(guarded, path, method="POST", body=body, key="LKIATESTER", secret="very secret")
    assert request(guarded.port, "POST", path, body, headers).status == 404
    reply = request(guarded.port, "POST", path, b'{"a": 2}', headers)
    assert (reply.status, reply.code) == (403, "InvalidSignatureException"), reply


def test_a_real_client_where_signatures_are_required(guarded):
    import boto3
    client = boto3.client("lambda", endpoint_url=guarded.endpoint, region_name=REGION,
                          aws_access_key_id="LKIATESTER", aws_secret_access_key="very secret")
    made = client.create_function(FunctionName="mine", Runtime=PYTHON, Role=ROLE, Handler="app.handler",
                                  Code={"ZipFile": python_zip(ECHO)})
    assert ":111122223333:" in made["FunctionArn"]
    client.get_waiter("function_active_v2").wait(FunctionName="mine")
    answer = client.invoke(FunctionName="mine", Payload=json.dumps({"n": 1}))
    assert json.load(answer["Payload"]) == {"n": 1}


def test_web_pages_of_strangers_are_refused(server):
    for headers in ({"Host": "evil.example"}, {"Origin": "https://evil.example"}):
        reply = request(server.port, "GET", FUNCTIONS, headers=headers)
        assert reply.status == 403, reply


def test_health_and_metrics(server):
    assert request(server.port, "GET", "/_lambic/health").status == 200
    metrics = request(server.port, "GET", "/metrics")
    assert metrics.status == 200 and b"# TYPE" in metrics.body


def test_metrics_tell_of_invocations(server, functions):
    names = ["lambic_invocations_total", "lambic_invocation_errors_total", "lambic_cold_starts_total"]
    before = [server.figure(name) for name in names]
    name = functions.python("def handler(event, context): return 1 / event\n")
    assert functions.invoke(name, 1).error is None
    assert functions.invoke(name, 0).error == "Unhandled"
    more = [server.figure(name) - was for name, was in zip(names, before)]
    assert more == [2, 1, 1], more
    assert server.figure("lambic_environments") >= 1 and server.figure("lambic_memory_promised_mb") >= 128


def test_the_caller_s_trace_reaches_the_function(server, functions):
    name = functions.python("""
        import os
        def handler(event, context):
            return os.environ["_X_AMZN_TRACE_ID"]
    """)
    path = f"/2015-03-31/functions/{name}/invocations"
    sent = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1"
    reply = request(server.port, "POST", path, b"{}", headers={"X-Amzn-Trace-Id": sent})
    assert before_lineage(json.loads(reply.body)) == sent
    made = json.loads(request(server.port, "POST", path, b"{}").body)
    made = before_lineage(made)
    assert re.fullmatch("Root=1-[0-9a-f]{8}-[0-9a-f]{24};Parent=[0-9a-f]{16};Sampled=0", made), made
