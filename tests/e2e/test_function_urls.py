"""The URLs of functions: how they are set, and plain HTTP clients, curl, browsers and signers on the other side."""

import json
import re
import subprocess

import pytest

from support.functions import Functions
from support.http import Wire, request
from support.streams import NODE, Bells
from support.tools import need
from support.urls import Url, open_to, url_of

OBEDIENT = """
    import json

    def handler(event, context):
        if event["rawPath"] == "/event":
            return event
        if event["rawPath"] == "/fail":
            raise ValueError("secret")
        if event["rawPath"] == "/arn":
            return [context.invoked_function_arn, context.function_version, context.aws_request_id]
        return json.loads(event["body"])
"""
FORBIDDEN = ("Forbidden. For troubleshooting Function URL authorization issues, see: "
             "https://docs.aws.amazon.com/lambda/latest/dg/urls-auth.html")


@pytest.fixture(scope="module")
def kept(client):
    """Functions that several tests of this file use."""
    made = Functions(client)
    yield made
    made.clean()


@pytest.fixture(scope="module")
def obedient(kept):
    return kept.python(OBEDIENT)


@pytest.fixture(scope="module")
def public(server, client, obedient):
    """The URL of a function that answers what it is told, for everybody."""
    open_to(client, obedient)
    return url_of(server, client, obedient)


def refused(call, code):
    with pytest.raises(Exception) as error:
        call()
    assert error.value.response["Error"]["Code"] == code
    return error.value.response["Error"]["Message"]


# Configuration.

def test_the_life_of_a_url(functions, client, server):
    name = functions.python(OBEDIENT)
    made = client.create_function_url_config(
        FunctionName=name, AuthType="NONE", Cors={"AllowOrigins": ["https://a.example"], "AllowMethods": ["GET"]})
    url = made["FunctionUrl"]
    assert re.fullmatch(rf"http://[a-z0-9]{{32}}\.lambda-url\.us-east-1\.localhost:{server.port}/", url)
    arn = f"arn:aws:lambda:us-east-1:000000000000:function:{name}"
    assert (made["FunctionArn"], made["AuthType"], made.get("InvokeMode")) == (arn, "NONE", None)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", made["CreationTime"])
    text = refused(lambda: client.create_function_url_config(FunctionName=name, AuthType="NONE"),
                   "ResourceConflictException")
    assert text == (f"Failed to create function url config for [functionArn = {arn}]. Error message:  "
                    "FunctionUrlConfig exists for this Lambda function")
    got = client.get_function_url_config(FunctionName=name)
    assert (got["FunctionUrl"], got["InvokeMode"], got["LastModifiedTime"]) == (url, "BUFFERED", made["CreationTime"])
    assert got["Cors"] == {"AllowOrigins": ["https://a.example"], "AllowMethods": ["GET"]}
    changed = client.update_function_url_config(FunctionName=name, AuthType="AWS_IAM", Cors={})
    assert (changed["FunctionUrl"], changed["AuthType"], changed.get("Cors")) == (url, "AWS_IAM", None)
    assert changed["LastModifiedTime"] > changed["CreationTime"] == made["CreationTime"]
    pages = client.get_paginator("list_function_url_configs").paginate(FunctionName=name)
    assert [one["FunctionUrl"] for page in pages for one in page["FunctionUrlConfigs"]] == [url]
    client.delete_function_url_config(FunctionName=name)
    assert refused(lambda: client.get_function_url_config(FunctionName=name), "ResourceNotFoundException") == (
        "The resource you requested does not exist.")
    assert refused(lambda: client.create_function_url_config(FunctionName="nobody", AuthType="NONE"),
                   "ResourceNotFoundException") == "Function does not exist"


def test_the_cli_makes_one(cli, functions, server):
    name = functions.python(OBEDIENT)
    made = cli("create-function-url-config", "--function-name", name, "--auth-type", "NONE",
               "--invoke-mode", "RESPONSE_STREAM", "--cors", "AllowOrigins=*,MaxAge=60")
    assert (made["InvokeMode"], made["Cors"]) == ("RESPONSE_STREAM", {"AllowOrigins": ["*"], "MaxAge": 60})
    assert cli("list-function-url-configs", "--function-name", name)["FunctionUrlConfigs"][0]["FunctionUrl"] == (
        made["FunctionUrl"])
    text = cli.fails("get-function-url-config", "--function-name", name, "--qualifier", "1")
    assert "Member must satisfy regular expression pattern: ((?!^\\d+$)^[0-9a-zA-Z-_]+$)" in text


def test_an_alias_has_a_url_of_its_own(functions, client, server):
    name = functions.python(OBEDIENT)
    client.publish_version(FunctionName=name)
    client.create_alias(FunctionName=name, Name="live", FunctionVersion="1")
    url = url_of(server, client, name, Qualifier="live")
    open_to(client, name)
    assert url.ask(path="/arn").status == 403, "the function's policy is not the alias's"
    open_to(client, name, Qualifier="live")
    arn = f"arn:aws:lambda:us-east-1:000000000000:function:{name}:live"
    answer = url.ask(path="/arn")
    assert answer.json == [arn, "1", answer.headers["x-amzn-requestid"]]
    client.delete_alias(FunctionName=name, Name="live")
    assert url.ask(path="/arn").status == 403
    assert client.list_function_url_configs(FunctionName=name)["FunctionUrlConfigs"] == []


# Requests and answers.

def test_the_event(public, server):
    headers = {"Cookie": "a=b; c=d", "X-Twice": "one", "User-Agent": "tester", "Content-Type": "text/plain"}
    answer = public.ask("PATCH", "/event?q=a+b&q=%26&flag", "hällo".encode(), headers)
    event, head = answer.json, answer.headers
    assert (answer.status, head["content-type"]) == (200, "application/json")
    assert (event["version"], event["routeKey"], event["rawPath"]) == ("2.0", "$default", "/event")
    assert event["rawQueryString"] == "q=a+b&q=%26&flag"
    assert event["queryStringParameters"] == {"q": "a b,&", "flag": ""}
    assert event["cookies"] == ["a=b", "c=d"]
    assert (event["body"], event["isBase64Encoded"]) == ("hällo", False)
    context = event["requestContext"]
    assert context["accountId"] == "anonymous" and "authorizer" not in context
    assert context["domainName"] == public.host.split(":")[0]
    assert (context["apiId"], context["domainPrefix"]) == (public.id, public.id)
    assert context["http"] == {"method": "PATCH", "path": "/event", "protocol": "HTTP/1.1", "sourceIp": "127.0.0.1",
                               "userAgent": "tester"}
    assert context["requestId"] == head["x-amzn-requestid"]
    assert re.fullmatch(r"\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d \+0000", context["time"])
    seen = event["headers"]
    assert (seen["host"], seen["x-twice"], seen["x-forwarded-for"]) == (public.host, "one", "127.0.0.1")
    assert (seen["x-forwarded-proto"], seen["x-forwarded-port"]) == ("http", str(server.port))
    assert seen["x-amzn-trace-id"] == head["x-amzn-trace-id"]
    assert re.match(r"Root=1-[0-9a-f]{8}-[0-9a-f]{24}", head["x-amzn-trace-id"])
    binary = public.ask("POST", "/event", b"\x00\xff", {"Content-Type": "application/octet-stream"}).json
    assert (binary["body"], binary["isBase64Encoded"]) == ("AP8=", True)
    bare = public.ask(path="/event").json
    assert not {"body", "cookies", "queryStringParameters"} & set(bare)


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "BREW"])
def test_every_method_reaches_the_function(public, method):
    assert public.ask(method, "/event").json["requestContext"]["http"]["method"] == method


def test_head(public):
    answer = public.ask("HEAD", "/event")
    assert (answer.status, answer.body) == (200, b"")
    assert int(answer.headers["content-length"]) > 100


def test_answers(public):
    answer = public.says({
        "statusCode": 201, "headers": {"Content-Type": "text/html", "X-A": "b", "Date": "mine"}, "cookies": ["a=1", "b=2"],
        "body": "<p>é"})
    assert (answer.status, answer.body.decode(), answer.headers["x-a"]) == (201, "<p>é", "b")
    assert (answer.headers["content-type"], answer.headers["x-amzn-remapped-date"]) == ("text/html", "mine")
    with public.wire("/answer", '{"statusCode": 200, "cookies": ["a=1", "b=2"]}') as wire:
        lines = []
        while (line := wire.input.readline().strip()):
            lines.append(line)
        assert [line for line in lines if line.lower().startswith(b"set-cookie")] == [
            b"set-cookie: a=1", b"set-cookie: b=2"]
    assert public.says({"statusCode": 200, "body": "AP8=", "isBase64Encoded": True}).body == b"\x00\xff"
    assert public.says({"statusCode": "418", "body": "tea"}).status == 418
    assert public.says({"statusCode": 204}).status == 204
    # A body where HTTP has none does not spoil the connection.
    body = '{"statusCode": 204, "body": "none"}'
    with public.wire("/answer", body) as wire:
        assert wire.reply().status == 204
        again = wire.send(f"POST /answer HTTP/1.1\r\nHost: {public.host}\r\nContent-Type: text/plain\r\n"
                          f"Content-Length: {len(body)}\r\n\r\n{body}")
        assert again.reply().status == 204
    for value, body in [({"a": [1, None]}, b'{"a": [1, null]}'), ("text", b"text"), (3, b"3"), (None, b"null"),
                        ([True], b"[true]")]:
        answer = public.says(value)
        assert (answer.status, answer.body) == (200, body)
        assert answer.headers["content-type"] == "application/json"


def test_what_goes_wrong(public, client, server, obedient):
    for answer in [public.ask(path="/fail"), public.says({"statusCode": 7}),
                   public.says({"statusCode": 200, "headers": {"a": "b\r\nc: d"}})]:
        assert (answer.status, answer.body) == (502, b"Internal Server Error")
    answer = public.ask("POST", "/event", b"x" * (6 * 1024 * 1024 + 1), {"Content-Type": "text/plain"})
    assert (answer.status, set(answer.json)) == (413, {"Message"})
    nobody = Url(server.port, public.text.replace(public.id, "a" * 32))
    answer = nobody.ask()
    assert (answer.status, answer.body, answer.code) == (403, b'{"Message":null}', "AccessDeniedException")
    client.put_function_concurrency(FunctionName=obedient, ReservedConcurrentExecutions=0)
    try:
        answer = public.ask(path="/event")
        assert (answer.status, answer.json) == (429, {"Message": "Rate Exceeded."})
    finally:
        client.delete_function_concurrency(FunctionName=obedient)


def test_odd_requests(public):
    """Whatever HTTP allows has an answer, and whatever it does not allow harms nobody."""
    host = f"Host: {public.host}\r\n"
    for head, path in [
        (f"GET http://elsewhere.example/event HTTP/1.1\r\n{host}", "/event"),
        (f"GET /event HTTP/1.0\r\n{host}", "/event"),
        (f"GET /event?{'&'.join(f'p{n}={n}' for n in range(3000))} HTTP/1.1\r\n{host}", "/event"),
        (f"GET /event HTTP/1.1\r\n{host}" + "".join(f"X-{n}: {n}\r\n" for n in range(90)), "/event"),
        (f"GET /event HTTP/1.1\r\nX-Bytes: \xff\xfe\r\n{host}", "/event"),
        (f"GET /event?%ff%zz=%f HTTP/1.1\r\n{host}", "/event"),
    ]:
        with Wire(public.port) as wire:
            reply = wire.send(head.encode("latin-1") + b"\r\n").reply()
            assert (reply.status, reply.json["rawPath"]) == (200, path), head[:80]
    for head in [f"GET /event HTTP/1.1\r\n{host}{host}", "GET /event HTTP/1.1\r\nHost: \xff\r\n",
                 f"GET /event HTTP/1.1\r\n{host}Content-Length: x\r\n"]:
        with Wire(public.port) as wire:
            assert wire.send(head.encode("latin-1") + b"\r\n").reply().status in (400, 403), head[:80]
    assert public.ask(path="/event").status == 200


def test_curl_finds_the_url_as_it_is_told(public):
    """Names below localhost are this machine's for curl, as for browsers."""
    done = subprocess.run(
        [need("curl", "curl"), "-sS", "--noproxy", "*", "-d", '{"statusCode": 202, "body": "hi"}',
         "-H", "Content-Type: application/json", "-w", " %{http_code}", f"{public.text}answer"],
        capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "hi 202"), done.stderr


def test_names_of_aws_are_answered_too(public, server):
    host = public.host.split(":")[0].replace("localhost", "on.aws")
    assert request(server.port, "GET", "/event", headers={"Host": host}).json["requestContext"]["domainName"] == host


def test_a_function_calls_another_s_url(public, functions):
    """Through the endpoint inside its environment, where no name has to be resolved."""
    name = functions.python("""
        import os, urllib.request

        def handler(event, context):
            asked = urllib.request.Request(os.environ["AWS_ENDPOINT_URL"] + "/event", headers={"Host": event})
            return urllib.request.urlopen(asked, timeout=10).read().decode()
    """)
    event = json.loads(functions.invoke(name, public.host).value)
    assert event["requestContext"]["accountId"] == "anonymous"


# Who is let in.

def test_without_a_statement_nobody_is_let_in(functions, client, server):
    name = functions.python(OBEDIENT)
    url = url_of(server, client, name)
    answer = url.ask()
    assert (answer.status, answer.json, answer.code) == (403, {"Message": FORBIDDEN}, "AccessDeniedException")
    client.add_permission(FunctionName=name, StatementId="one", Action="lambda:InvokeFunctionUrl", Principal="*",
                          FunctionUrlAuthType="NONE")
    assert url.ask(path="/event").status == 403, "AWS wants lambda:InvokeFunction too"
    client.add_permission(FunctionName=name, StatementId="two", Action="lambda:InvokeFunction", Principal="*",
                          InvokedViaFunctionUrl=True)
    assert url.ask(path="/event").status == 200
    client.update_function_url_config(FunctionName=name, AuthType="AWS_IAM")
    assert url.ask(path="/event").status == 403
    client.update_function_url_config(FunctionName=name, AuthType="NONE")
    client.remove_permission(FunctionName=name, StatementId="one")
    assert url.ask(path="/event").status == 403


def test_signed_requests(functions, client, server):
    name = functions.python(OBEDIENT)
    url = url_of(server, client, name, auth="AWS_IAM")
    assert url.ask(path="/event").json == {"Message": FORBIDDEN}
    answer = url.signed(path="/event", method="POST", body=b"hi", headers={"Content-Type": "text/plain"})
    assert answer.status == 200, answer
    iam = answer.json["requestContext"]["authorizer"]["iam"]
    assert (iam["accountId"], iam["userArn"]) == ("000000000000", "arn:aws:iam::000000000000:root")
    assert "authorization" not in answer.json["headers"]
    for wrong in [{"service": "s3"}, {"region": "eu-west-1"}, {"key": "111122223333"}]:
        assert url.signed(**wrong).status == 403, wrong
    open_to(client, name, "111122223333", auth="AWS_IAM")
    answer = url.signed("111122223333")
    assert answer.json["requestContext"]["accountId"] == "111122223333"


def test_where_signatures_are_demanded(guarded):
    """A public URL is public there too, and nothing else is; what is signed is verified; a restart changes nothing."""
    client = guarded.client()
    client._request_signer._credentials.access_key = "LKIATESTER"
    client._request_signer._credentials.secret_key = "very secret"
    made = Functions(client)
    name = made.python(OBEDIENT)
    public, private = url_of(guarded, client, name), None
    assert public.ask(path="/event").status == 403
    open_to(client, name)
    assert public.ask(path="/event").status == 200
    answer = public.ask(path="/2015-03-31/functions")
    assert answer.status == 502, "the path is the function's, which fails for want of a body"
    assert request(guarded.port, "GET", "/2015-03-31/functions").status == 403
    client.publish_version(FunctionName=name)
    client.create_alias(FunctionName=name, Name="live", FunctionVersion="1")
    private = url_of(guarded, client, name, auth="AWS_IAM", Qualifier="live")
    assert private.ask(path="/event").status == 403
    assert private.signed("LKIATESTER", "very secret").status == 200
    for key, secret in [("LKIATESTER", "wrong"), ("AKIANOBODY", "very secret"), ("111122223333", "any")]:
        assert private.signed(key, secret).status == 403
    guarded.kill()
    guarded.start()
    assert public.ask(path="/event").status == 200
    assert private.signed("LKIATESTER", "very secret").status == 200


# Browsers.

def test_cors(functions, client, server):
    page = "https://page.example"
    name = functions.python(OBEDIENT)
    url = url_of(server, client, name, Cors={
        "AllowOrigins": [page], "AllowMethods": ["PUT"], "AllowHeaders": ["x-a"], "ExposeHeaders": ["x-b"],
        "MaxAge": 60, "AllowCredentials": True})
    asks = {"Origin": page, "Access-Control-Request-Method": "PUT", "Access-Control-Request-Headers": "x-a"}
    # The platform answers, whether the function may be invoked or not.
    answer = url.ask("OPTIONS", "/event", headers=asks)
    assert (answer.status, answer.body) == (200, b"")
    told = {name: value for name, value in answer.headers.items() if name.startswith("access-control-")}
    assert told == {
        "access-control-allow-origin": page, "access-control-allow-credentials": "true",
        "access-control-allow-methods": "PUT", "access-control-allow-headers": "x-a", "access-control-max-age": "60"}
    stranger = url.ask("OPTIONS", "/event", headers={**asks, "Origin": "https://evil.example"})
    assert not any(name.startswith("access-control-") for name in stranger.headers)
    open_to(client, name)
    own = {"statusCode": 200, "headers": {"Access-Control-Allow-Origin": "*"}}
    answer = url.ask("PUT", "/answer", own, {"Origin": page, "Content-Type": "application/json"})
    assert answer.headers["access-control-allow-origin"] == page
    assert answer.headers["access-control-expose-headers"] == "x-b"
    assert "access-control-allow-origin" not in url.ask("PUT", "/answer", own, {"Content-Type": "application/json"}).headers
    # Without Cors it is the function's.
    client.update_function_url_config(FunctionName=name, Cors={})
    assert url.says(own).headers["access-control-allow-origin"] == "*"
    assert url.ask("OPTIONS", "/event", headers=asks).json["requestContext"]["http"]["method"] == "OPTIONS"


# Streams.

STREAMS = NODE + """
    exports.handler = awslambda.streamifyResponse(async (event, out) => {
      const { bell, head, fail, early } = JSON.parse(event.body);
      if (early) throw new Error('early');
      if (head) out = awslambda.HttpResponseStream.from(out, head);
      out.write('first;');
      if (bell) await gone(bell);
      if (fail) process.exit(1);
      out.end('last');
    });
"""


@pytest.fixture(scope="module")
def streaming(server, client, kept):
    name = kept.node(STREAMS)
    open_to(client, name)
    return url_of(server, client, name, InvokeMode="RESPONSE_STREAM")


def test_an_answer_comes_while_the_function_runs(streaming, functions):
    bells = Bells(functions)
    bell = bells.new()
    head = {"statusCode": 418, "headers": {"X-A": "b", "Content-Type": "text/tea"}, "cookies": ["a=1", "b=2"]}
    with streaming.wire(body=json.dumps({"bell": bell, "head": head})) as wire:
        status, headers = wire.head()
        assert (status, headers["content-type"], headers["x-a"]) == (418, "text/tea", "b")
        assert headers["transfer-encoding"] == "chunked"
        assert wire.input.read(int(wire.input.readline(), 16)) == b"first;"
        wire.input.readline()
        bells.ring(bell)
        rest = b""
        while (size := int(wire.input.readline(), 16)):
            rest += wire.input.read(size)
            wire.input.readline()
        assert rest == b"last"


def test_a_stream_without_a_head(streaming):
    answer = streaming.ask("POST", "/", {}, {"Content-Type": "application/json"})
    assert (answer.status, answer.body) == (200, b"first;last")
    assert answer.headers["content-type"] == "application/octet-stream"


def test_streams_that_fail(streaming, functions):
    answer = streaming.ask("POST", "/", {"early": True}, {"Content-Type": "application/json"})
    assert (answer.status, answer.body) == (502, b"Internal Server Error")
    bells = Bells(functions)
    for head, status in [(None, 200), ({"statusCode": 201}, 201)]:
        bell = bells.new()
        with streaming.wire(body=json.dumps({"bell": bell, "head": head, "fail": True})) as wire:
            assert wire.head()[0] == status
            assert wire.input.read(int(wire.input.readline(), 16)) == b"first;"
            wire.input.readline()
            bells.ring(bell)
            assert wire.at_end(), "neither more of it nor the mark of an end"


def test_a_streaming_handler_behind_a_url_that_does_not_stream(server, client, functions):
    name = functions.node(STREAMS)
    open_to(client, name)
    url = url_of(server, client, name)
    head = {"statusCode": 418, "headers": {"X-A": "b"}}
    answer = url.ask("POST", "/", {"head": head}, {"Content-Type": "application/json"})
    assert (answer.status, answer.headers["x-a"], answer.body) == (418, "b", b"first;last")


CUSTOM = '''\
#!/usr/bin/env python3
import http.client, json, os

HOST, PORT = os.environ["AWS_LAMBDA_RUNTIME_API"].split(":")
while True:
    api = http.client.HTTPConnection(HOST, int(PORT))
    api.request("GET", "/2018-06-01/runtime/invocation/next")
    event = api.getresponse()
    event.read()
    pieces = [b'{"statusCode": 203, "coo', b'kies": ["a=b"]}', bytes(3), bytes(5) + b"one", b"two"]
    api.request(
        "POST", f"/2018-06-01/runtime/invocation/{event.headers['Lambda-Runtime-Aws-Request-Id']}/response",
        body=iter(pieces), encode_chunked=True,
        headers={"Content-Type": "application/vnd.awslambda.http-integration-response",
                 "Lambda-Runtime-Function-Response-Mode": "streaming", "Transfer-Encoding": "chunked"})
    api.getresponse().read()
'''


def test_sizes(server, client, functions):
    """Six megabytes are the limit of what is not streamed."""
    name = functions.node(NODE + """
        exports.handler = awslambda.streamifyResponse(async (event, out) => {
          for (let left = Number(event.rawPath.slice(1)); left > 0; left -= 65536)
            out.write('x'.repeat(Math.min(left, 65536)));
          out.end();
        });
    """, Timeout=60)
    open_to(client, name)
    url = url_of(server, client, name, InvokeMode="RESPONSE_STREAM")
    assert len(url.ask(path=f"/{20 << 20}").body) == 20 << 20
    client.update_function_url_config(FunctionName=name, InvokeMode="BUFFERED")
    answer = url.ask(path=f"/{20 << 20}")
    assert (answer.status, answer.body) == (502, b"Internal Server Error")


def test_a_custom_runtime_streams(server, client, functions):
    name = functions.bootstrap(CUSTOM)
    open_to(client, name)
    answer = url_of(server, client, name, InvokeMode="RESPONSE_STREAM").ask()
    assert (answer.status, answer.headers["set-cookie"], answer.body) == (203, "a=b", b"onetwo")


def test_a_function_that_does_not_stream_behind_a_url_that_does(server, client, functions):
    """What the function returns is the body, as AWS has it: nobody takes it apart."""
    name = functions.python(OBEDIENT)
    open_to(client, name)
    url = url_of(server, client, name, InvokeMode="RESPONSE_STREAM")
    answer = url.says({"statusCode": 201, "body": "b"})
    assert (answer.status, answer.json) == (200, {"statusCode": 201, "body": "b"})
    assert answer.headers["content-type"] == "application/json"
