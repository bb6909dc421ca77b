"""Packages, functions and invokes, in as few words as a test can use."""

import base64
import dataclasses
import io
import itertools
import json
import pathlib
import re
import textwrap
import zipfile

ROLE = "arn:aws:iam::000000000000:role/lambda"
PYTHON = "python3.13"
NODE = "nodejs22.x"
RUBY = "ruby3.4"
JAVA = "java17"
CUSTOM = "provided.al2023"
_numbers = itertools.count(1)


def new_name(word="fn"):
    return f"{word}-{next(_numbers)}"


def zip_of(files, executable=("bootstrap",), compression=zipfile.ZIP_DEFLATED):
    """A package of `{path: text or bytes}`, the same bytes for the same files."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compression) as package:
        for path, content in files.items():
            entry = zipfile.ZipInfo(path, date_time=(2026, 11, 1, 0, 0, 0))
            entry.compress_type = compression
            entry.external_attr = (0o100755 if path in executable else 0o100644) << 16
            package.writestr(entry, textwrap.dedent(content) if isinstance(content, str) else content)
    return out.getvalue()


def python_zip(source):
    return zip_of({"app.py": source})


def sdk_files():
    """boto3 as a deployment package carries it, with the data of the one service it is asked for."""
    import botocore
    site = pathlib.Path(botocore.__file__).parents[1]
    files = {}
    for package in ("boto3", "botocore", "s3transfer", "jmespath", "dateutil", "urllib3"):
        for path in (site / package).rglob("*"):
            inside = path.relative_to(site)
            data = inside.parts[:2] == ("botocore", "data") and len(inside.parts) > 3
            if not path.is_file() or "__pycache__" in inside.parts or (data and inside.parts[2] not in ("lambda", "sts")):
                continue
            files[str(inside)] = path.read_bytes()
    files["six.py"] = (site / "six.py").read_bytes()
    return files


@dataclasses.dataclass
class Answer:
    status: int
    error: str | None
    payload: bytes
    log: str
    version: str | None
    request_id: str

    @property
    def value(self):
        return json.loads(self.payload)

    @property
    def report(self):
        return Report.of(self.log)


@dataclasses.dataclass
class Report:
    """The figures of the REPORT line, in milliseconds and megabytes."""

    request_id: str
    duration: float
    billed: int
    memory: int
    used: int
    init: float | None
    status: str | None
    error_type: str | None

    @staticmethod
    def of(log):
        line = next((line for line in log.splitlines() if line.startswith("REPORT ")), None)
        assert line, f"no REPORT line in {log!r}"

        def field(pattern):
            found = re.search(pattern, line)
            return found[1] if found else None

        init = field(r"\tInit Duration: ([\d.]+) ms\t")
        return Report(
            request_id=field(r"^REPORT RequestId: (\S+)\t"),
            duration=float(field(r"\tDuration: ([\d.]+) ms\t")),
            billed=int(field(r"\tBilled Duration: (\d+) ms\t")),
            memory=int(field(r"\tMemory Size: (\d+) MB\t")),
            used=int(field(r"\tMax Memory Used: (\d+) MB\t")),
            init=float(init) if init else None,
            status=field(r"\tStatus: (\w+)"),
            error_type=field(r"\tError Type: (\S+)"),
        )


def invoke(client, name, event=None, *, raw=None, tail=True, **more):
    """Invokes and collects everything that came back."""
    payload = raw if raw is not None else json.dumps(event).encode()
    if tail and more.get("InvocationType", "RequestResponse") == "RequestResponse":
        more["LogType"] = "Tail"
    reply = client.invoke(FunctionName=name, Payload=payload, **more)
    return Answer(
        status=reply["StatusCode"],
        error=reply.get("FunctionError"),
        payload=reply["Payload"].read(),
        log=base64.b64decode(reply.get("LogResult", "")).decode(errors="replace"),
        version=reply.get("ExecutedVersion"),
        request_id=reply["ResponseMetadata"]["RequestId"],
    )


def wait_active(client, name):
    client.get_waiter("function_active_v2").wait(
        FunctionName=name, WaiterConfig={"Delay": 0.05, "MaxAttempts": 600})


def wait_updated(client, name):
    client.get_waiter("function_updated_v2").wait(
        FunctionName=name, WaiterConfig={"Delay": 0.05, "MaxAttempts": 600})


class Functions:
    """Creates functions for one test and deletes them when it is over."""

    def __init__(self, client):
        self.client = client
        self.names = []

    def create(self, source=None, *, files=None, wait=True, name=None, **settings):
        """`source` is the text of app.py; `files` a whole package, of which those named in
        `executable` may be executed. Returns the name."""
        name = name or new_name()
        executable = settings.pop("executable", ("bootstrap",))
        package = zip_of(files, executable) if files is not None else python_zip(source)
        wanted = {"Runtime": PYTHON, "Handler": "app.handler", "Role": ROLE, "Timeout": 20, **settings}
        if wanted["Runtime"] == NODE and "Handler" not in settings:
            wanted["Handler"] = "index.handler"
        variables = wanted.pop("env", None)
        if variables is not None:
            wanted["Environment"] = {"Variables": variables}
        self.client.create_function(FunctionName=name, Code={"ZipFile": package}, **wanted)
        self.names.append(name)
        if wait:
            wait_active(self.client, name)
        return name

    def python(self, source, **settings):
        return self.create(source, **settings)

    def node(self, source, *, file="index.js", **settings):
        return self.create(files={file: source}, **{"Runtime": NODE, **settings})

    def ruby(self, source, **settings):
        return self.create(files={"app.rb": source}, **{"Runtime": RUBY, **settings})

    def java(self, files, handler, **settings):
        return self.create(files=files, **{"Runtime": JAVA, "Handler": handler, "MemorySize": 512, "Timeout": 60, **settings})

    def bootstrap(self, program, **settings):
        return self.create(files={"bootstrap": program}, **{"Runtime": CUSTOM, **settings})

    def replace_code(self, name, source):
        self.client.update_function_code(FunctionName=name, ZipFile=python_zip(source))
        wait_updated(self.client, name)

    def invoke(self, name, event=None, **more):
        return invoke(self.client, name, event, **more)

    def clean(self):
        for name in self.names:
            try:
                self.client.delete_function(FunctionName=name)
            except self.client.exceptions.ResourceNotFoundException:
                pass
