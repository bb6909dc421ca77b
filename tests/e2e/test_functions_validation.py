"""Bad input: AWS's code, status, text, spelling of the message's key and `Type`, case by case.

The requests are sent raw, because SDKs refuse some of them before they leave.
"""

import base64
import io
import json
import stat
import zipfile

import pytest

from support.functions import PYTHON, ROLE, new_name, python_zip, zip_of
from support.http import request
from support.server import ACCOUNT, REGION

HELLO = python_zip("def handler(event, context): return 1\n")
FUNCTIONS = "/2015-03-31/functions"
NAME_PATTERN = (r"(arn:(aws[a-zA-Z-]*)?:lambda:)?((eusc-)?[a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\d{1}:)?(\d{12}:)?"
                r"(function:)?([a-zA-Z0-9-_]+)(:(\$LATEST|[a-zA-Z0-9-_]+))?")
ANY_NAME_PATTERN = (r"(arn:(aws[a-zA-Z-]*)?:lambda:)?((eusc-)?[a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\d{1}:)?"
                    r"(\d{12}:)?(function:)?([a-zA-Z0-9-_\.]+)(:(\$LATEST(\.PUBLISHED)?|[a-zA-Z0-9-_]+))?")
ROLE_PATTERN = r"arn:(aws[a-zA-Z-]*)?:iam::\d{12}:role/?[a-zA-Z_0-9+=,.@\-_/]+"
QUALIFIER_PATTERN = r"\$(LATEST(\.PUBLISHED)?)|[a-zA-Z0-9-_$]+"
RUNTIMES = ("nodejs20.x, python3.14, provided.al2023, python3.12, python3.13, nodejs24.x, nodejs22.x, java25, "
            "python3.10, python3.11, java21, ruby3.3, ruby3.4, ruby3.2, python3.8, python3.9, java17, nodejs16.x, "
            "dotnet10, dotnet8, java11, dotnet6, nodejs18.x, provided.al2, java8.al2")
REVISION = ("The Revision Id provided does not match the latest Revision Id. Call the GetFunction/GetAlias API to "
            "retrieve the latest Revision Id")
ABSENT = object()


def as_text(data):
    return base64.b64encode(data).decode()


def creation(**changes):
    document = {"FunctionName": "refused", "Runtime": PYTHON, "Role": ROLE, "Handler": "app.handler",
                "Code": {"ZipFile": as_text(HELLO)}, **changes}
    return {key: value for key, value in document.items() if value is not ABSENT}


def violated(*texts):
    return f"{len(texts)} validation error{'s' if len(texts) > 1 else ''} detected: " + "; ".join(texts)


def pattern_at(value, member, pattern):
    return (f"Value '{value}' at '{member}' failed to satisfy constraint: Member must satisfy regular expression "
            f"pattern: {pattern}")


def at(member, value, must):
    shown = "null" if value is None else f"'{value}'"
    return f"Value {shown} at '{member}' failed to satisfy constraint: Member must {must}"


def check(server, method, path, body, code, status, text, **more):
    """One bad request and everything about its answer."""
    reply = request(server.port, method, path, body, **more)
    assert (reply.status, reply.code) == (status, code), reply
    document = reply.json
    assert reply.message == text
    if code == "ValidationException":
        assert "Type" not in document
    else:
        key = "Message" if code == "ResourceNotFoundException" else "message"
        assert document.get(key) == text, f"the text has to stand under '{key}'"
        assert document["Type"] == "User"
    assert reply.headers["x-amzn-requestid"]
    assert reply.headers["content-type"] == "application/json"


V, P = "ValidationException", "InvalidParameterValueException"
# What CreateFunction refuses: changes to a good request, code, text.
CREATIONS = {
    "no role": ({"Role": ABSENT}, V, violated(at("role", None, "not be null"))),
    "null role": ({"Role": None}, V, violated(at("role", None, "not be null"))),
    "no code": ({"Code": ABSENT}, V, violated(at("code", None, "not be null"))),
    "no name": ({"FunctionName": ABSENT}, V, violated(at("functionName", None, "not be null"))),
    "role that is no ARN": ({"Role": "r1"}, V, violated(pattern_at("r1", "role", ROLE_PATTERN))),
    "odd name": ({"FunctionName": "invalid:function:name"}, V,
                 violated(pattern_at("invalid:function:name", "functionName", NAME_PATTERN))),
    "name of 65": ({"FunctionName": "a" * 65}, P,
                   violated(at("functionName", "a" * 65, "have length less than or equal to 64"))),
    "ARN of 141": ({"FunctionName": f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:" + "b" * 94}, V,
                   violated(at("functionName", f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:" + "b" * 94,
                               "have length less than or equal to 140"))),
    "timeout 0": ({"Timeout": 0}, V, violated(at("timeout", 0, "have value greater than or equal to 1"))),
    "timeout 901": ({"Timeout": 901}, V, violated(at("timeout", 901, "have value less than or equal to 900"))),
    "memory 127": ({"MemorySize": 127}, V,
                   violated(at("memorySize", 127, "have value greater than or equal to 128"))),
    "memory 10241": ({"MemorySize": 10241}, V,
                     violated(at("memorySize", 10241, "have value less than or equal to 10240"))),
    "tmp 511": ({"EphemeralStorage": {"Size": 511}}, V,
                violated(at("ephemeralStorage.size", 511, "have value greater than or equal to 512"))),
    "description of 257": ({"Description": "d" * 257}, V,
                           violated(at("description", "d" * 257, "have length less than or equal to 256"))),
    "handler with a space": ({"Handler": "app handler"}, V, violated(pattern_at("app handler", "handler", r"[^\s]+"))),
    "architecture in capitals": (
        {"Architectures": ["X86_64"]}, V,
        violated(at("architectures", "[X86_64]", "satisfy constraint: [Member must satisfy enum value set: "
                    "[x86_64, arm64], Member must not be null]"))),
    "two architectures": ({"Architectures": ["x86_64", "arm64"]}, V,
                          violated(at("architectures", "[x86_64, arm64]", "have length less than or equal to 1"))),
    "snap start option": ({"SnapStart": {"ApplyOn": "invalidOption"}}, V,
                          violated(at("snapStart.applyOn", "invalidOption",
                                      "satisfy enum value set: [PublishedVersions, None]"))),
    "unknown runtime": ({"Runtime": "non-existent-runtime"}, P,
                        "Value non-existent-runtime at 'runtime' failed to satisfy constraint: Member must satisfy "
                        f"enum value set: [{RUNTIMES}] or be a valid ARN"),
    "runtime in capitals": ({"Runtime": "PYTHON3.9"}, P,
                            "Value PYTHON3.9 at 'runtime' failed to satisfy constraint: Member must satisfy enum "
                            f"value set: [{RUNTIMES}] or be a valid ARN"),
    "environment over 4 KB": (
        {"Environment": {"Variables": {"LARGE_VAR": "x" * 4081}}}, P,
        "Lambda was unable to configure your environment variables because the environment variables you have "
        'provided exceeded the 4KB limit. String measured: {"LARGE_VAR":"' + "x" * 4081 + '"}'),
    "reserved variable": (
        {"Environment": {"Variables": {"AWS_REGION": "mars"}}}, P,
        "Lambda was unable to configure your environment variables because the environment variables you have "
        "provided contains reserved keys that are currently not supported for modification. Reserved keys used in "
        "this request: AWS_REGION"),
    "no zip": ({"Code": {"ZipFile": as_text(b"this is no zip")}}, P,
               "Could not unzip uploaded file. Please check your file, then try to upload again."),
    "51 tags": ({"Tags": {f"tag{number}": "x" for number in range(51)}}, P,
                "Number of tags exceeds resource tag limit."),
}


@pytest.mark.parametrize("case", CREATIONS)
def test_what_create_function_refuses(server, case):
    changes, code, text = CREATIONS[case]
    check(server, "POST", FUNCTIONS, creation(**changes), code, 400, text)


@pytest.mark.parametrize("runtime", ["dotnetcore3.1", "go1.x", "java8", "nodejs12.x", "nodejs14.x", "provided",
                                     "python3.7", "ruby2.7"])
def test_retired_runtimes(server, runtime):
    check(server, "POST", FUNCTIONS, creation(Runtime=runtime), P, 400,
          f"The runtime parameter of {runtime} is no longer supported for creating or updating AWS Lambda functions. "
          "We recommend you use a supported runtime while creating or updating functions.")


def test_several_violations_are_counted_and_joined(server):
    reply = request(server.port, "POST", FUNCTIONS, creation(Role="r1", Timeout=0, Description="d" * 257))
    assert (reply.status, reply.code) == (400, V)
    head, _, rest = reply.message.partition(" detected: ")
    assert head == "3 validation errors"
    assert sorted(rest.split("; ")) == sorted([
        pattern_at("r1", "role", ROLE_PATTERN),
        at("timeout", 0, "have value greater than or equal to 1"),
        at("description", "d" * 257, "have length less than or equal to 256"),
    ])


# Requests other than CreateFunction: method, path, body, code, status, text. {} is an existing function.
MISSING = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:doesnotexist"
OTHERS = {
    "get: odd name": (
        "GET", f"{FUNCTIONS}/arn%3Aaws%3Alambda%3Aus-east-1%3A123400000000%40function%3Amyfn", None, V, 400,
        violated(pattern_at("arn:aws:lambda:us-east-1:123400000000@function:myfn", "functionName", ANY_NAME_PATTERN))),
    "get: odd qualifier": (
        "GET", FUNCTIONS + "/{}?Qualifier=invalid-qualifier-with-%3F-char", None, V, 400,
        violated(pattern_at("invalid-qualifier-with-?-char", "qualifier", QUALIFIER_PATTERN))),
    "get: missing": ("GET", f"{FUNCTIONS}/doesnotexist", None, "ResourceNotFoundException", 404,
                     f"Function not found: {MISSING}"),
    "get: missing with qualifier": ("GET", f"{FUNCTIONS}/doesnotexist?Qualifier=1", None, "ResourceNotFoundException",
                                    404, f"Function not found: {MISSING}:1"),
    "configuration: missing": ("GET", f"{FUNCTIONS}/doesnotexist/configuration", None, "ResourceNotFoundException",
                               404, f"Function not found: {MISSING}"),
    "invoke: missing": ("POST", f"{FUNCTIONS}/doesnotexist/invocations", b"{}", "ResourceNotFoundException", 404,
                        f"Function not found: {MISSING}:$LATEST"),
    "other region": (
        "GET", f"{FUNCTIONS}/arn%3Aaws%3Alambda%3Aap-southeast-1%3A{ACCOUNT}%3Afunction%3Adoesnotexist", None,
        "ResourceNotFoundException", 404,
        f"Functions from 'ap-southeast-1' are not reachable in this region ('{REGION}')"),
    "delete: $LATEST": ("DELETE", FUNCTIONS + "/{}?Qualifier=$LATEST", None, P, 400,
                        "$LATEST version cannot be deleted without deleting the function."),
    "two qualifiers": ("GET", FUNCTIONS + "/{}%3A1?Qualifier=2", None, P, 400,
                       "The derived qualifier from the function name does not match the specified qualifier."),
    "list: version": ("GET", f"{FUNCTIONS}?FunctionVersion=invalid", None, V, 400,
                      violated(at("functionVersion", "invalid", "satisfy enum value set: [ALL]"))),
    "list: no items": ("GET", f"{FUNCTIONS}?MaxItems=0", None, V, 400,
                       violated(at("maxItems", 0, "have value greater than or equal to 1"))),
    "list: 10001 items": ("GET", f"{FUNCTIONS}?MaxItems=10001", None, V, 400,
                          violated(at("maxItems", 10001, "have value less than or equal to 10000"))),
    "code: image for a zip": ("PUT", FUNCTIONS + "/{}/code", {"ImageUri": "000.dkr.ecr.example/x:1"}, P, 400,
                              "Please don't provide ImageUri when updating a function with packageType Zip."),
    "code: no zip": ("PUT", FUNCTIONS + "/{}/code", {"ZipFile": as_text(b"nothing")}, P, 400,
                     "Could not unzip uploaded file. Please check your file, then try to upload again."),
    "code: stale revision": ("PUT", FUNCTIONS + "/{}/code",
                             {"ZipFile": as_text(HELLO), "RevisionId": "00000000-0000-0000-0000-000000000000"},
                             "PreconditionFailedException", 412, REVISION),
    "configuration: stale revision": ("PUT", FUNCTIONS + "/{}/configuration",
                                      {"Timeout": 5, "RevisionId": "00000000-0000-0000-0000-000000000000"},
                                      "PreconditionFailedException", 412, REVISION),
    "configuration: timeout": ("PUT", FUNCTIONS + "/{}/configuration", {"Timeout": 0}, V, 400,
                               violated(at("timeout", 0, "have value greater than or equal to 1"))),
    "configuration: runtime": ("PUT", FUNCTIONS + "/{}/configuration", {"Runtime": "go1.x"}, P, 400,
                               "The runtime parameter of go1.x is no longer supported for creating or updating AWS "
                               "Lambda functions. We recommend you use a supported runtime while creating or updating "
                               "functions."),
    "configuration: environment": (
        "PUT", FUNCTIONS + "/{}/configuration",
        {"Environment": {"Variables": {"SMALL_VAR": "ok", "LARGE_VAR": "x" * 4064}}}, P, 400,
        "Lambda was unable to configure your environment variables because the environment variables you have "
        'provided exceeded the 4KB limit. String measured: {"SMALL_VAR":"ok","LARGE_VAR":"' + "x" * 4064 + '"}'),
}


@pytest.mark.parametrize("case", OTHERS)
def test_what_the_other_operations_refuse(server, functions, case):
    method, path, body, code, status, text = OTHERS[case]
    name = functions.python("def handler(event, context): return 1\n") if "{}" in path else ""
    check(server, method, path.format(name), body, code, status, text)


INVOCATIONS = {
    "type": ({"X-Amz-Invocation-Type": "Sometimes"}, "invocationType",
             "satisfy enum value set: [Event, RequestResponse, DryRun]"),
    "log type": ({"X-Amz-Log-Type": "Head"}, "logType", "satisfy enum value set: [None, Tail]"),
}


@pytest.mark.parametrize("case", INVOCATIONS)
def test_bad_headers_of_an_invoke(server, functions, case):
    headers, member, must = INVOCATIONS[case]
    name = functions.python("def handler(event, context): return 1\n")
    reply = request(server.port, "POST", f"{FUNCTIONS}/{name}/invocations", b"{}", headers)
    assert (reply.status, reply.code) == (400, V)
    head, _, values = reply.message.partition(" value set: ")
    wanted, _, set_of = must.partition(" value set: ")
    assert head.endswith(f"at '{member}' failed to satisfy constraint: Member must {wanted}")
    assert sorted(values.strip("[]").split(", ")) == sorted(set_of.strip("[]").split(", "))


PARSE = "Could not parse request body into json: Could not parse payload into json: "
REDACTED = "\n at [Source: REDACTED (`StreamReadFeature.INCLUDE_SOURCE_IN_LOCATION` disabled); line: 1, column: {}]"
PAYLOADS = {
    "a control character": (b"\x99\x01", "Unexpected character ((CTRL-CHAR, code 153)): expected a valid value (JSON "
                            "String, Number, Array, Object or token 'null', 'true' or 'false')" + REDACTED.format(1)),
    "not UTF-8 in a string": (b'"\x87"', "Invalid UTF-8 start byte 0x87" + REDACTED.format(3)),
}


@pytest.mark.parametrize("case", PAYLOADS)
def test_payloads_that_are_no_json(server, functions, case):
    payload, text = PAYLOADS[case]
    name = functions.python("def handler(event, context): return 1\n")
    reply = request(server.port, "POST", f"{FUNCTIONS}/{name}/invocations", payload)
    assert (reply.status, reply.code) == (400, "InvalidRequestContentException"), reply
    assert reply.message.startswith(PARSE)
    assert reply.message == PARSE + text
    assert reply.json["Type"] == "User"


@pytest.mark.parametrize("payload", [b"{", b"nope", b"{'a': 1}", b'{"a": 1} x', b"[1,]"])
def test_more_payloads_that_are_no_json(server, functions, payload):
    name = functions.python("def handler(event, context): return 1\n")
    reply = request(server.port, "POST", f"{FUNCTIONS}/{name}/invocations", payload)
    assert (reply.status, reply.code) == (400, "InvalidRequestContentException"), reply
    assert reply.message.startswith(PARSE)


# Settings that are real on AWS and not yet here: refused by name, never accepted and ignored.
NOT_YET = {
    "S3Bucket": {"Code": {"S3Bucket": "some-bucket", "S3Key": "some-key"}},
    "ImageUri": {"PackageType": "Image", "Code": {"ImageUri": "111122223333.dkr.ecr.us-east-1.amazonaws.com/x:1"},
                 "Runtime": ABSENT, "Handler": ABSENT},
    "dotnet8": {"Runtime": "dotnet8"},
    "arm64": {"Architectures": ["arm64"]},
    "DurableConfig": {"DurableConfig": {"ExecutionTimeout": 10}},
}


@pytest.mark.parametrize("setting", NOT_YET)
def test_settings_that_are_not_offered_are_refused_by_name(server, client, setting):
    name = new_name("not-yet")
    reply = request(server.port, "POST", FUNCTIONS, creation(FunctionName=name, **NOT_YET[setting]))
    assert reply.status in (400, 501), reply
    assert setting.lower() in reply.message.lower() or {"S3Bucket": "S3", "ImageUri": "Image"}.get(setting, "?") \
        in reply.message, reply.message
    assert name not in [one["FunctionName"] for one in client.list_functions()["Functions"]]


def create(server, package):
    name = new_name("zip")
    body = creation(FunctionName=name, Code={"ZipFile": as_text(package)})
    return name, request(server.port, "POST", FUNCTIONS, body, timeout=120)


def odd_zip(path, content=b"x", mode=stat.S_IFREG | 0o644):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as package:
        package.writestr("app.py", "def handler(e, c): return 1\n")
        entry = zipfile.ZipInfo(path)
        entry.external_attr = mode << 16
        package.writestr(entry, content)
    return out.getvalue()


HOSTILE_ZIPS = {
    "leads out": odd_zip("../../evil"),
    "absolute": odd_zip("/etc/evil"),
    "out by a detour": odd_zip("a/b/../../../evil"),
    "link out": odd_zip("link", b"/etc/passwd", stat.S_IFLNK | 0o777),
    "link out by a detour": odd_zip("d/link", b"../../etc", stat.S_IFLNK | 0o777),
    "device": odd_zip("device", b"", stat.S_IFBLK | 0o666),
    "cut off": HELLO[:-30],
    "garbage inside": HELLO[:20] + bytes(20) + HELLO[40:],
}


@pytest.mark.parametrize("case", HOSTILE_ZIPS)
def test_hostile_packages_are_refused(server, case):
    _, reply = create(server, HOSTILE_ZIPS[case])
    assert (reply.status, reply.code) == (400, P), reply
    assert reply.message.startswith("Could not unzip uploaded file. Please check your file, then try to upload again.")


def test_a_bomb_is_refused_by_what_comes_out(server):
    bomb = zip_of({"app.py": "def handler(e, c): return 1\n", "zeros": bytes(262_144_001)})
    assert len(bomb) < 1_000_000
    _, reply = create(server, bomb)
    assert (reply.status, reply.code) == (400, P), reply
    assert reply.message == "Unzipped size must be smaller than 262144000 bytes"


def test_packages_over_50_megabytes_are_refused(server):
    large = zip_of({"app.py": "x = 1\n", "noise": bytes(52_428_800)}, compression=zipfile.ZIP_STORED)
    _, reply = create(server, large)
    assert (reply.status, reply.code) == (413, "RequestEntityTooLargeException"), reply
    assert reply.message in ("Zipped size must be smaller than 52428800 bytes",
                             "Request must be smaller than 70167211 bytes for the CreateFunction operation")


def test_requests_over_70_megabytes_are_refused(server):
    body = json.dumps(creation(Description="x" * 70_200_000)).encode()
    reply = request(server.port, "POST", FUNCTIONS, body, timeout=120)
    assert (reply.status, reply.code) == (413, "RequestEntityTooLargeException"), reply
    assert reply.message == "Request must be smaller than 70167211 bytes for the CreateFunction operation"


def test_an_empty_zip_and_links_inside_are_fine(server, functions):
    name, reply = create(server, odd_zip("alias.py", b"app.py", stat.S_IFLNK | 0o777))
    functions.names.append(name)
    assert reply.status == 201, reply


def test_the_limits_themselves_are_allowed(client, functions):
    name = functions.python(
        "import os\ndef handler(event, context): return len(os.environ['VAR'])\n", Timeout=900, MemorySize=10_240,
        Description="d" * 256, name="n" * 55 + new_name("-limit")[-9:], env={"VAR": "x" * (4096 - len('{"VAR":""}'))})
    found = client.get_function_configuration(FunctionName=name)
    assert (found["Timeout"], found["MemorySize"]) == (900, 10_240)
