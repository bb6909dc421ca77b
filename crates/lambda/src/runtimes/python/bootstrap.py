"""The Python runtime client of Lambic: AWS Lambda's Runtime API on one raw socket.

Life: take over the inherited socket (or connect to AWS_LAMBDA_RUNTIME_API), import the function's
module, then for ever: ask for an event, call the handler, send its result or error. What a
function can see (context object, error documents, log format, exit codes) is as on AWS. Imports are
kept to what every function needs, because each one delays a cold start; `logging` is set up when the
function imports it, `traceback` when something goes wrong. When the platform closes the socket the
process ends quietly.

A template stands still when it has loaded itself (with its function, or without one: a zygote) and is
forked for each environment that is wanted. A spare is started before there is a function: it
rehearses, asks what it becomes and waits, takes on the function's variables and working directory, and goes on as above. Nothing here may have kept a
variable of the function's before that.

With SnapStart the function's hooks are called: those that come before a snapshot once its module is
imported, those that come after when the platform says that the environment is restored. In a template,
which others are forked from, that is said to what is forked from it only.

One file, standard library only, Python 3.8 and later.
"""

import sys

import _signal
import _socket
import gc
import importlib.machinery
import json
import os
import time
import traceback

# What `logging` is made of: it is loaded when the function asks for it, from the interpreter's own folders, and
# so has to be all that it imports.
import collections.abc
import io
import re
import string
import threading
import types
import warnings
import weakref

_API = "/2018-06-01/runtime/"
_HEAD_BYTES_MAX = 1 << 20
_CHUNK_BYTES = 1 << 16
# On which a template is told to fork.
_TEMPLATE_FD = 6
# What the platform says to a response, as it writes it on the inherited socket.
_ACCEPTED = (
    b"HTTP/1.1 202 Accepted\r\ncontent-type: application/json\r\ncontent-length: 16\r\n\r\n"
    b'{"status":"OK"}\n'
)

_request_id = None
_tenant_id = None


class _Fault(Exception):
    """An error of the runtime itself, with AWS's error type."""

    def __init__(self, kind, message, trace=None):
        Exception.__init__(self, message)
        self.kind = kind
        self.message = message
        self.trace = trace


class _Connection:
    """HTTP/1.1 to the Runtime API. An answer goes together with the request for the next event; what
    the platform says to it is read when that event comes."""

    def __init__(self):
        inherited = os.environ.pop("_LAMBIC_RUNTIME_FD", None)
        if inherited is not None:
            # The function's own child processes have no business with it.
            os.set_inheritable(int(inherited), False)
            self.socket = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM, 0, int(inherited))
        else:
            name, _, port = os.environ["AWS_LAMBDA_RUNTIME_API"].rpartition(":")
            self.socket = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM)
            self.socket.connect((name, int(port)))
            self.socket.setsockopt(_socket.IPPROTO_TCP, _socket.TCP_NODELAY, 1)
        self.socket.settimeout(None)
        self.rest = b""
        self.is_inherited = inherited is not None
        # Whether the next event has been asked for, with an answer that is still to be confirmed.
        self.has_asked = False

    def begin(self):
        self.host = os.environ["AWS_LAMBDA_RUNTIME_API"]
        self.next_request = self.head("GET", "invocation/next", "")
        # What stands around the id and the length of nearly every answer.
        begin, end = self.head("POST", "invocation/ /response", "Content-Type: application/json\r\nContent-Length: ").split(b" /response")
        self.response_begin, self.response_end = begin, b"/response" + end[:-2]

    def become(self):
        """Waits until there is a function, and takes on what it was to be started with."""
        self.send(b"GET /lambic/become HTTP/1.1\r\nHost: lambic\r\n\r\n")
        status, _, body = self.receive()
        if status != b"200":
            _end()
        self.take_on(json.loads(body))

    def take_on(self, becomes):
        variables, now = becomes["env"], dict(os.environ)
        # The interpreter sets this one itself where the machine has not the locale of LANG.
        for name in now.keys() - variables.keys() - {"LC_CTYPE"}:
            del os.environ[name]
        for name, value in variables.items():
            if now.get(name) != value:
                os.environ[name] = value
        del os.environ["_LAMBIC_RUNTIME_FD"]
        os.chdir(becomes["cwd"])

    def restored(self):
        """Waits until the platform says that this environment is restored."""
        self.send(self.head("GET", "restore/next", ""))
        if self.receive()[0] != b"200":
            _end()

    def head(self, method, path, more):
        agent = "lambic-python/%d.%d" % sys.version_info[:2]
        text = "%s %s%s HTTP/1.1\r\nHost: %s\r\nUser-Agent: %s\r\n%s\r\n"
        return (text % (method, _API, path, self.host, agent, more)).encode("latin-1")

    def next(self):
        """The headers (lower-case names) and the body of the next event."""
        if self.has_asked:
            self.has_asked = False
            rest = self.rest or self.read()
            if rest.startswith(_ACCEPTED):
                self.rest = rest[len(_ACCEPTED) :]
            else:
                # Whether it was accepted or came too late makes no difference here.
                self.rest = rest
                self.receive()
        else:
            self.send(self.next_request)
        status, headers, body = self.receive()
        if status != b"200":
            # The platform is done with this environment, for instance after a timeout.
            _end()
        return headers, body

    def respond(self, request_id, body):
        """Sends JSON that the handler returned."""
        head = b"%s%s%s%d\r\n\r\n" % (self.response_begin, request_id, self.response_end, len(body))
        self.answer(head, body)

    def post(self, path, body, more):
        self.answer(self.head("POST", path, "%sContent-Length: %d\r\n" % (more, len(body))), body)

    def answer(self, head, body):
        if len(body) < _CHUNK_BYTES // 2:
            self.has_asked = True
            self.send(b"%s%s%s" % (head, body, self.next_request))
        else:
            self.send(head)
            self.send(body)
            self.receive()

    def tell_imports(self, names):
        """Together with the first request for an event."""
        head = "POST /lambic/imported/%s HTTP/1.1\r\nHost: %s\r\nContent-Length: 0\r\n\r\n"
        self.answer((head % (",".join(names), self.host)).encode("latin-1"), b"")

    def report(self, path, body, more):
        """Sends what ends this process, and waits until it has arrived."""
        self.send(self.head("POST", path, "%sContent-Length: %d\r\n" % (more, len(body))) + body)
        self.receive()

    def send(self, data):
        try:
            self.socket.sendall(data)
        except OSError:
            _end()

    def receive(self):
        data = self.rest
        while True:
            end = data.find(b"\r\n\r\n")
            if end >= 0:
                break
            more = self.read()
            if not more or len(data) > _HEAD_BYTES_MAX:
                _end()
            data += more
        headers = {}
        # The first line is none, and does no harm.
        for line in data[:end].decode("utf-8", "replace").split("\r\n"):
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        length = int(headers.get("content-length", "0"))
        begin = end + 4
        if len(data) == begin + length:
            body, self.rest = data[begin:], b""
        else:
            body = data[begin : begin + length]
            self.rest = data[begin + length :]
            if len(body) < length:
                body = self.read_body(body, length)
        return data[9:12], headers, body

    def read_body(self, begin, length):
        body = bytearray(length)
        body[: len(begin)] = begin
        view = memoryview(body)
        filled = len(begin)
        while filled < length:
            try:
                count = self.socket.recv_into(view[filled:])
            except OSError:
                count = 0
            if not count:
                _end()
            filled += count
        return bytes(body)

    def read(self):
        try:
            return self.socket.recv(_CHUNK_BYTES)
        except OSError:
            return b""


def _end():
    """The platform has closed the connection: this environment is over."""
    _flush()
    os._exit(0)


def _flush():
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except Exception:
            pass


def _wait_as_template(connection, is_zygote):
    """Forks whenever the platform says so. Returns in each copy, in whose place the platform has put
    another stream and other pipes, and never in this process. Whether somebody waits for the copy."""
    os.set_inheritable(_TEMPLATE_FD, False)
    gc.collect()
    # A collection in a copy would write to, and so copy, every object there is.
    gc.freeze()
    _flush()
    if is_zygote:
        # The next word comes before the last copy is where it belongs: nobody waits for what was forked.
        _signal.signal(_signal.SIGCHLD, _signal.SIG_IGN)
    while True:
        try:
            word = os.read(_TEMPLATE_FD, 64)
        except OSError:
            word = b""
        if not word:
            _end()
        copy = os.fork()
        if not copy:
            if is_zygote:
                _signal.signal(_signal.SIGCHLD, _signal.SIG_DFL)
            # OpenSSL tells a copy by its process id, which is no other one in a namespace of its own.
            if "_ssl" in sys.modules:
                sys.modules["_ssl"].RAND_add(os.urandom(32), 32.0)
            if "multiprocessing.process" in sys.modules:
                # With it processes prove to each other that they belong together.
                sys.modules["multiprocessing.process"].current_process().authkey = os.urandom(32)
            connection.rest = b""
            return b"somebody" in word
        if not is_zygote:
            os.waitpid(copy, 0)


# ---- The context object ------------------------------------------------------------------------


class CognitoIdentity:
    __slots__ = ["cognito_identity_id", "cognito_identity_pool_id"]

    def __repr__(self):
        return _show(self)


class Client:
    __slots__ = [
        "installation_id",
        "app_title",
        "app_version_name",
        "app_version_code",
        "app_package_name",
    ]

    def __repr__(self):
        return _show(self)


class ClientContext:
    __slots__ = ["custom", "env", "client"]

    def __repr__(self):
        return _show(self)


def _show(thing):
    fields = ",".join("%s=%s" % (name, getattr(thing, name)) for name in thing.__slots__)
    return "%s([%s])" % (type(thing).__name__, fields)


def _filled(kind, members):
    thing = kind()
    for name in kind.__slots__:
        setattr(thing, name, members.get(name))
    return thing


class LambdaContext:
    """What a handler gets as its second argument."""

    def __init__(self, request_id, deadline_ms, arn, client_context, identity, tenant_id):
        self.aws_request_id = request_id
        (
            self.log_group_name,
            self.log_stream_name,
            self.function_name,
            self.memory_limit_in_mb,
            self.function_version,
        ) = _variables()
        self.invoked_function_arn = arn
        self.tenant_id = tenant_id
        self.client_context = None
        if client_context is not None:
            self.client_context = _filled(ClientContext, client_context)
            if self.client_context.client is not None:
                self.client_context.client = _filled(Client, self.client_context.client)
        self.identity = CognitoIdentity()
        self.identity.cognito_identity_id = self.identity.cognito_identity_pool_id = None
        if identity is not None:
            self.identity.cognito_identity_id = identity.get("cognitoIdentityId")
            self.identity.cognito_identity_pool_id = identity.get("cognitoIdentityPoolId")
        self._epoch_deadline_time_in_ms = deadline_ms

    def get_remaining_time_in_millis(self):
        left = self._epoch_deadline_time_in_ms - int(time.time() * 1000)
        return left if left > 0 else 0

    def log(self, message):
        sys.stdout.write(str(message))

    def __repr__(self):
        names = (
            "aws_request_id log_group_name log_stream_name function_name memory_limit_in_mb "
            "function_version invoked_function_arn client_context identity tenant_id"
        ).split()
        fields = ",".join("%s=%s" % (name, getattr(self, name)) for name in names)
        return "LambdaContext([%s])" % fields


_VARIABLES = (
    "AWS_LAMBDA_LOG_GROUP_NAME",
    "AWS_LAMBDA_LOG_STREAM_NAME",
    "AWS_LAMBDA_FUNCTION_NAME",
    "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
    "AWS_LAMBDA_FUNCTION_VERSION",
)
_VARIABLES_AS_BYTES = [name.encode() for name in _VARIABLES]
_TRACE = "_X_AMZN_TRACE_ID"
_TRACE_AS_BYTES = _TRACE.encode()
# The variables as they were last, as bytes and as text.
_known_variables = ([], ())


def _bytes_of_environ():
    """What `os.environ` keeps, which spares encoding; `None` when the function has its own."""
    data = getattr(os.environ, "_data", None)
    return data if type(os.environ) is os._Environ and type(data) is dict else None


def _variables():
    """What of the environment is in every context: a function may change it."""
    global _known_variables
    data = _bytes_of_environ()
    if data is None:
        return tuple(map(os.environ.get, _VARIABLES))
    now = [data.get(name) for name in _VARIABLES_AS_BYTES]
    if now != _known_variables[0]:
        _known_variables = (now, tuple(map(os.environ.get, _VARIABLES)))
    return _known_variables[1]


def _set_trace(trace_id):
    """Sets the variable for Python. What the C library is told of it, it keeps for ever, even when
    there is a new value; so it is told only when somebody is going to look (`_follow_children`)."""
    data = _bytes_of_environ()
    if not trace_id:
        os.environ.pop(_TRACE, None)
    elif data is None:
        os.environ[_TRACE] = trace_id
    else:
        data[_TRACE_AS_BYTES] = trace_id.encode("utf-8", "surrogateescape")


def _tell_children():
    data = _bytes_of_environ()
    value = data.get(_TRACE_AS_BYTES) if data is not None else None
    if value is not None:
        os.putenv(_TRACE_AS_BYTES, value)


def _follow_children():
    """Whatever starts a program with the variables of this process tells them first."""
    import _posixsubprocess

    def telling(function):
        def tell_and_call(*args, **kwargs):
            _tell_children()
            return function(*args, **kwargs)

        return tell_and_call

    _posixsubprocess.fork_exec = telling(_posixsubprocess.fork_exec)
    # From 3.13 on `subprocess` has the second start what is named by its path.
    for name in ("execv", "posix_spawn", "posix_spawnp", "system"):
        setattr(os, name, telling(getattr(os, name)))
    os.register_at_fork(before=_tell_children)


def _context(headers, request_id):
    return LambdaContext(
        request_id,
        int(headers.get("lambda-runtime-deadline-ms", "0")),
        headers.get("lambda-runtime-invoked-function-arn"),
        _json_header(headers, "lambda-runtime-client-context", "Client Context"),
        _json_header(headers, "lambda-runtime-cognito-identity", "Cognito Identity"),
        headers.get("lambda-runtime-aws-tenant-id"),
    )


def _json_header(headers, name, what):
    text = headers.get(name)
    if not text:
        return None
    try:
        return json.loads(text)
    except Exception as error:
        message = "Unable to parse %s JSON: %s" % (what, error)
        raise _Fault("Runtime.LambdaContextUnmarshalError", message)


# ---- Events and results ------------------------------------------------------------------------


def _event(body):
    try:
        return json.loads(body.decode("utf-8", "surrogatepass"))
    except Exception as error:
        raise _Fault("Runtime.UnmarshalError", "Unable to unmarshal input: %s" % error)


def _result(value):
    """What is sent, and its type unless that is JSON."""
    if isinstance(value, bytes):
        return value, "application/unknown"
    try:
        return _encode(value).encode("utf-8", "surrogatepass"), None
    except Exception as error:
        raise _Fault("Runtime.MarshalError", "Unable to marshal response: %s" % error)


# From 3.12 on AWS sends text as it is; before, it escapes what is not ASCII. See `_configure`.
_ASCII = False


class _Encoder(json.JSONEncoder):
    """JSON with decimals as numbers, which the standard encoder cannot write by itself."""

    def __init__(self, ensure_ascii):
        json.JSONEncoder.__init__(self, ensure_ascii=ensure_ascii)
        self.numbers = []
        self.mark = "lambic-decimal-%s-" % id(self.numbers)

    def default(self, thing):
        decimal = sys.modules.get("decimal")
        if decimal is not None and isinstance(thing, decimal.Decimal):
            if thing.is_nan():
                return float("nan")
            self.numbers.append(str(thing))
            return "%s%d" % (self.mark, len(self.numbers) - 1)
        message = "Object of type %s is not JSON serializable" % type(thing).__name__
        raise TypeError(message)


_plain_encoders = {}


def _encode(value):
    # One of its own once somebody has met a decimal, also half-way to an error.
    encoder = _plain_encoders.get(_ASCII)
    if encoder is None:
        encoder = _plain_encoders[_ASCII] = _Encoder(_ASCII)
    try:
        text = encoder.encode(value)
    finally:
        if encoder.numbers:
            del _plain_encoders[_ASCII]
    for index, number in enumerate(encoder.numbers):
        text = text.replace('"%s%d"' % (encoder.mark, index), number, 1)
    return text


# ---- Errors ------------------------------------------------------------------------------------


def _document(message, kind, trace, request_id):
    return {
        "errorMessage": message or "",
        "errorType": kind or "",
        "requestId": request_id or "",
        "stackTrace": trace or [],
    }


def _from_fault(fault, request_id):
    return _document(fault.message, fault.kind, fault.trace, request_id)


def _from_exception(request_id):
    kind, value, frames = sys.exc_info()
    try:
        entries = [
            (frame.filename, frame.lineno, frame.name, frame.line)
            for frame in traceback.extract_tb(frames)
        ]
        for index, entry in enumerate(entries):
            if "/bootstrap.py" not in entry[0]:
                entries = entries[index:]
                break
        trace = traceback.format_list(entries)
    except Exception:
        # What the function has done to its process is no reason not to tell its error.
        trace = []
    return _document(str(value), kind.__name__, trace, request_id)


def _log_error(document):
    """The error as AWS writes it into the log: one record, indented with no-break spaces."""
    if _JSON:
        members = {"timestamp": _timestamp(time.time()), "level": "ERROR"}
        members.update(document)
        _log(json.dumps(members, ensure_ascii=False), 5)
        return
    first = "[ERROR]"
    if document["errorType"]:
        first += " " + document["errorType"]
    if document["errorMessage"]:
        first += (":" if document["errorType"] else "") + " " + document["errorMessage"]
    lines = [first, "Traceback (most recent call last):"]
    for element in document["stackTrace"]:
        for line in element.splitlines() or [""]:
            bare = line.lstrip(" ")
            lines.append("\u00a0" * (len(line) - len(bare)) + bare)
    _log("\n".join(lines), 5)


# ---- Logging -----------------------------------------------------------------------------------

# See `_configure`.
_JSON = False
_FRAME = 0xA55A0003
# The stream that the platform reads, whatever the function makes of sys.stdout.
_log_stream = sys.stdout


def _log(text, level):
    """Writes one record; one of several lines as a frame, so that the platform keeps it together.

    Levels are those of AWS's frames: 2 is DEBUG, 6 is FATAL. A frame goes to standard output, so
    that it keeps its place among what is printed, and in one piece.
    """
    if not text.endswith("\n"):
        text += "\n"
    _flush()
    if "\n" not in text[:-1]:
        _log_stream.write(text)
    else:
        data = text.encode("utf-8", "backslashreplace")
        head = (_FRAME | level << 2).to_bytes(4, "big") + len(data).to_bytes(4, "big")
        head += (time.time_ns() // 1000).to_bytes(8, "big")
        _log_stream.flush()
        _log_stream.buffer.write(head + data)
    _log_stream.flush()


def _timestamp(seconds):
    millis = int(seconds * 1000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(millis // 1000)) + ".%03dZ" % (
        millis % 1000
    )


# What every log record has; anything else was given by the function as `extra`.
_RECORD_MEMBERS = frozenset(
    "name msg args levelname levelno pathname filename module exc_info exc_text stack_info lineno "
    "funcName created msecs relativeCreated thread threadName processName process "
    "aws_request_id tenant_id".split()
)


# Where the interpreter's own modules are.
_OWN_FOLDERS = [entry for entry in sys.path if entry and entry != os.path.dirname(os.path.abspath(__file__))]


class _LoggingFinder:
    """Sets up the root logger at the moment somebody imports `logging`. AWS's client has imported it before it
    sees the function, so it is the interpreter's own that is found, whatever the function brings."""

    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name != "logging":
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, _OWN_FOLDERS)
        if spec is not None:
            _set_up_after(spec.loader)
        return spec


def _set_up_after(loader):
    execute = loader.exec_module

    def exec_module(module):
        execute(module)
        if _LoggingFinder in sys.meta_path:
            sys.meta_path.remove(_LoggingFinder)
        _set_up_logging(module)

    loader.exec_module = exec_module


def _set_up_logging(logging):
    # From when records count their time; with a spare that has imported it, from now.
    now = time.time_ns() if isinstance(logging._startTime, int) else time.time()
    logging._startTime = now

    def level_of(record):
        """As AWS rounds levels: to a multiple of ten from 0 to 50."""
        return min(50, max(0, record.levelno)) // 10 * 10

    class LambdaLoggerHandler(logging.Handler):
        def emit(self, record):
            try:
                # A record is one of its own, whatever format the function has set.
                level = level_of(record) // 10
                _log(self.format(record), level + 1 if level else 0)
            except Exception:
                self.handleError(record)

    class JsonFormatter(logging.Formatter):
        def format(self, record):
            members = {
                "timestamp": _timestamp(record.created),
                "level": logging.getLevelName(level_of(record)),
                "message": record.getMessage(),
                "logger": record.name,
            }
            if record.exc_info and record.exc_info[0]:
                kind, error, frames = record.exc_info
                place = (record.pathname, record.funcName, record.lineno)
                members["stackTrace"] = traceback.format_tb(frames)
                members["errorType"] = kind.__name__
                members["errorMessage"] = str(error)
                members["location"] = "%s:%s:%d" % place
            members["requestId"] = getattr(record, "aws_request_id", None)
            members["tenantId"] = getattr(record, "tenant_id", None)
            for name, value in record.__dict__.items():
                if name not in _RECORD_MEMBERS and name not in members:
                    members[name] = value
            members = {name: value for name, value in members.items() if value is not None}
            return json.dumps(members, ensure_ascii=False, default=str)

    class LambdaLoggerFilter(logging.Filter):
        def filter(self, record):
            record.aws_request_id = _request_id or ""
            record.tenant_id = _tenant_id
            return True

    logging.Formatter.converter = time.gmtime
    handler = LambdaLoggerHandler()
    text = logging.Formatter(
        "[%(levelname)s]\t%(asctime)s.%(msecs)03dZ\t%(aws_request_id)s\t%(message)s\n",
        "%Y-%m-%dT%H:%M:%S",
    )
    handler.setFormatter(JsonFormatter() if _JSON else text)
    handler.addFilter(LambdaLoggerFilter())
    root = logging.getLogger()
    level = os.environ.get("AWS_LAMBDA_LOG_LEVEL", "").upper()
    level = {"TRACE": "DEBUG", "FATAL": "CRITICAL"}.get(level, level)
    if level in ("DEBUG", "INFO", "WARN", "WARNING", "ERROR", "CRITICAL"):
        root.setLevel(level)
    root.addHandler(handler)


# ---- The function ------------------------------------------------------------------------------


def _handler(name):
    try:
        module_name, function_name = name.rsplit(".", 1)
    except ValueError as error:
        raise _Fault("Runtime.MalformedHandlerName", "Bad handler '%s': %s" % (name, error))
    if module_name.split(".")[0] in sys.builtin_module_names:
        message = "Cannot use built-in module %s as a handler module" % module_name
        raise _Fault("Runtime.BuiltInModuleConflict", message)
    try:
        module = importlib.import_module(module_name.replace("/", "."))
    except ImportError as error:
        message = "Unable to import module '%s': %s" % (module_name, error)
        raise _Fault("Runtime.ImportModuleError", message)
    except SyntaxError as error:
        trace = ['  File "%s" Line %s\n    %s' % (error.filename, error.lineno, error.text)]
        message = "Syntax error in module '%s': %s" % (module_name, error)
        raise _Fault("Runtime.UserCodeSyntaxError", message, trace)
    try:
        return getattr(module, function_name)
    except AttributeError:
        message = "Handler '%s' missing on module '%s'" % (function_name, module_name)
        raise _Fault("Runtime.HandlerNotFound", message)


def _configure():
    """What the function's settings say about this client."""
    global _ASCII, _JSON
    runtime = os.environ.get("AWS_EXECUTION_ENV") or ""
    _ASCII = runtime.endswith(("3.8", "3.9", "3.10", "3.11"))
    _JSON = os.environ.get("AWS_LAMBDA_LOG_FORMAT", "").upper() == "JSON"


def _prepare_streams():
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.reconfigure(encoding="utf-8", errors="backslashreplace", line_buffering=True)


def _prepare():
    """Module path and the hook for `logging`, before any of the function's code."""
    folders = _prepare_paths()
    if "logging" in sys.modules:
        _set_up_logging(sys.modules["logging"])
    else:
        sys.meta_path.insert(0, _LoggingFinder)
    # As in every folder of packages, `.pth` files may add paths and run code.
    for folder in folders:
        if any(name.endswith(".pth") for name in os.listdir(folder)):
            import site

            site.addsitedir(folder)


def _prepare_paths():
    """Where modules are looked for; the folders of the function's own."""
    here = os.path.dirname(os.path.abspath(__file__))
    task = os.environ.get("LAMBDA_TASK_ROOT") or os.getcwd()
    rest = [entry for entry in sys.path if os.path.abspath(entry or ".") not in (here, task)]
    layers = []
    opt = os.environ.pop("_LAMBIC_LAYERS", None)
    # As on AWS: a function that has a module path of its own says itself where layers come.
    if opt and os.environ.get("PYTHONPATH") in (None, os.environ.get("LAMBDA_RUNTIME_DIR")):
        packages = "python/lib/python%d.%d/site-packages" % sys.version_info[:2]
        layers = [os.path.join(opt, packages), os.path.join(opt, "python")]
    # Paths that are not there cost a look at every import.
    layers = [path for path in layers if os.path.isdir(path)]
    sys.path[:] = [task] + layers + rest + [here]
    return [task] + layers


def _begin(connection):
    """The handler; a function that cannot be loaded ends the process."""
    try:
        return _handler(os.environ.get("_HANDLER", ""))
    except _Fault as fault:
        document = _from_fault(fault, "")
    except Exception:
        document = _from_exception("")
    _log_error(document)
    kind = "Lambda-Runtime-Function-Error-Type: %s\r\n" % _header_text(document["errorType"])
    connection.report("init/error", json.dumps(document).encode(), kind)
    _flush()
    sys.exit(1)


def _failed(connection, path, kind, status):
    """Reports the exception that a hook has raised, and ends."""
    document = _from_exception("")
    _log_error(document)
    kind = "Lambda-Runtime-Function-Error-Type: %s\r\n" % kind
    connection.report(path, json.dumps(document).encode(), kind)
    _flush()
    sys.exit(status)


def _hooks(name):
    """What the function has registered, by AWS's package or ours."""
    registered = getattr(sys.modules.get("snapshot_restore_py"), name, None)
    return registered() if registered else []


def _snapshot(connection, is_template):
    """Calls the hooks before and after the snapshot; exit codes and error types are AWS's."""
    try:
        before = _hooks("get_before_snapshot")
        while before:
            hook, args, kwargs = before.pop()
            hook(*args, **kwargs)
    except Exception:
        _failed(connection, "init/error", "Runtime.BeforeSnapshotError", 64)
    _flush()
    if is_template:
        # Not answered here.
        connection.send(connection.head("GET", "restore/next", ""))
        _wait_as_template(connection, False)
        _reseed()
    connection.restored()
    try:
        for hook, args, kwargs in _hooks("get_after_restore"):
            hook(*args, **kwargs)
    except Exception:
        _failed(connection, "restore/error", "Runtime.AfterRestoreError", 65)
    _flush()


def _reseed():
    """Random numbers that are drawn from a state in memory: every environment has its own."""
    for name in ("random", "numpy.random"):
        module = sys.modules.get(name)
        if module is not None:
            module.seed()


def _header_text(text):
    return "".join(c for c in text if " " <= c <= "~")


def _serve(connection, handler):
    global _request_id, _tenant_id
    while True:
        headers, body = connection.next()
        request_id = _request_id = headers.get("lambda-runtime-aws-request-id", "")
        _tenant_id = headers.get("lambda-runtime-aws-tenant-id")
        _set_trace(headers.get("lambda-runtime-trace-id"))
        document = None
        try:
            context = _context(headers, request_id)
            result, kind = _result(handler(_event(body), context))
        except _Fault as fault:
            document = _from_fault(fault, request_id)
        except Exception:
            document = _from_exception(request_id)
        # An event of several MB is not kept while waiting for the next one.
        body = context = None
        if document is None:
            _flush()
            if kind is None:
                connection.respond(request_id.encode(), result)
            else:
                path = "invocation/%s/response" % request_id
                connection.post(path, result, "Content-Type: %s\r\n" % kind)
            result = None
        else:
            _log_error(document)
            kind = _header_text(document["errorType"])
            more = "Lambda-Runtime-Function-Error-Type: %s\r\n" % kind
            text = json.dumps(document, ensure_ascii=_ASCII)
            more += "Content-Type: application/json\r\n"
            path = "invocation/%s/error" % request_id
            connection.post(path, text.encode("utf-8", "backslashreplace"), more)


class _Rehearsal(_Connection):
    """A connection to nobody: on it come what a function is started with and one event."""

    def __init__(self, task):
        variables = dict(os.environ)
        variables.update((name, "rehearsal") for name in _VARIABLES)
        variables.update(("_LAMBIC_REHEARSAL_%d" % number, "x" * 32) for number in range(24))
        runtime = "AWS_Lambda_python%d.%d" % sys.version_info[:2]
        variables.update(AWS_LAMBDA_RUNTIME_API="rehearsal", LAMBDA_TASK_ROOT=task, _LAMBIC_RUNTIME_FD="", AWS_EXECUTION_ENV=runtime)
        event = ("Lambda-Runtime-Aws-Request-Id: \r\nLambda-Runtime-Deadline-Ms: 0\r\n"
                 "Lambda-Runtime-Trace-Id: rehearsal\r\n")
        self.answers = [self.answer_of(event, {}), self.answer_of("", {"env": variables, "cwd": "."})]
        self.rest = b""
        self.has_asked = False

    @staticmethod
    def answer_of(headers, document):
        body = json.dumps(document)
        head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n%sContent-Length: %d\r\n\r\n"
        return (head % (headers, len(body)) + body).encode()

    def send(self, data):
        # The answer to the event, after which there is no other one.
        if not self.answers:
            raise EOFError

    def read(self):
        return self.answers.pop()


def _rehearse():
    """Does once what every function needs, because the first time takes far longer: learning what it
    becomes, importing a module from its source, taking an event, answering. Leaves nothing behind but what
    is faster by it."""
    global _request_id, _ASCII, _JSON
    name = "_lambic_rehearsal"
    here = os.path.dirname(os.path.abspath(__file__))
    variables, paths, finders = dict(os.environ), sys.path[:], sys.meta_path[:]
    settings = (_ASCII, _JSON)
    try:
        connection = _Rehearsal(here)
        connection.become()
        connection.begin()
        _configure()
        _prepare_paths()
        sys.meta_path.insert(0, _LoggingFinder)
        # A function's folder is one that nobody has looked at.
        sys.path_importer_cache.pop(here, None)
        _serve(connection, _handler(name + ".handler"))
    except EOFError:
        pass
    sys.path[:], sys.meta_path[:] = paths, finders
    del sys.modules[name]
    for variable in os.environ.keys() - variables.keys():
        del os.environ[variable]
    os.environ.update(variables)
    _request_id = None
    _ASCII, _JSON = settings


# What spares can have imported already, because importing it takes longer than all else.
_SDKS = ("boto3",)


class _Search:
    """Where modules are looked for, as far as it comes before the interpreter's own."""

    def __init__(self):
        finders = sys.meta_path
        last = [at for at, finder in enumerate(finders) if getattr(finder, "__name__", "") == "PathFinder"]
        # What somebody adds behind it finds only what nobody else has found.
        finders = finders[: last[0] + 1] if last else finders[:]
        finders = [finder for finder in finders if finder is not _LoggingFinder]
        self.state = (sys.path[:], finders, sys.path_hooks[:], __import__)

    def has_changed(self):
        return self.state != _Search().state or "gevent" in sys.modules or "eventlet" in sys.modules


def _imported_sdks(search):
    """Those that the function has imported from the interpreter's own folders, exactly as a spare would."""
    names = [name for name in _SDKS if name in sys.modules]
    if not names or search.has_changed():
        return []
    own = (os.environ.get("LAMBDA_TASK_ROOT", ""), "/opt", "/tmp")
    places = [getattr(getattr(sys.modules[name], "__spec__", None), "origin", None) for name in names]
    return [name for name, place in zip(names, places) if place and not place.startswith(own)]


def _import_sdks(names):
    """In a spare. There is no function yet, nor any variable of one."""
    for name in names.split(","):
        importlib.import_module(name)
    if "boto3" in sys.modules:
        try:
            _share_findings(sys.modules["boto3"])
        except Exception:
            # It is of another make, and works as well without.
            pass
    _rehearse_sdks()


def _share_findings(boto3):
    """Each session looks at the signatures of all handlers of events, and for each name of an event in a
    list of old ones. It would find what every other one finds: signatures are left with the functions, where
    `inspect` looks first, and a new session has the names from its beginning."""
    import functools
    import inspect

    botocore = sys.modules["botocore"]
    for _, handler, *_ in botocore.handlers.BUILTIN_HANDLERS:
        function = getattr(handler, "__func__", handler)
        if inspect.isfunction(function):
            function.__signature__ = inspect.signature(function)
    hooks, logging = botocore.hooks, sys.modules["logging"]
    session = boto3.session.Session(region_name="us-east-1")
    known = dict(session._session.get_component("event_emitter")._alias_name_cache)
    aliases = dict(hooks.EVENT_ALIASES)
    begin = hooks.EventAliaser.__init__

    @functools.wraps(begin)
    def begin_with_names(self, *args, **kwargs):
        begin(self, *args, **kwargs)
        # Looking says something to whoever listens that closely.
        if self._event_aliases == aliases and not hooks.logger.isEnabledFor(logging.DEBUG):
            self._alias_name_cache.update(known)

    hooks.EventAliaser.__init__ = begin_with_names


def _rehearse_sdks():
    """What uses the SDK begins with a session. One that nobody gets, and with no function's variables, has
    the memory that it takes there for the next."""
    if "boto3" in sys.modules:
        sys.modules["boto3"].session.Session(region_name="us-east-1")
        gc.collect()


def _main():
    _prepare_streams()
    _follow_children()
    is_spare = os.environ.pop("_LAMBIC_SPARE", None) is not None
    is_template = os.environ.pop("_LAMBIC_TEMPLATE", None) is not None
    is_zygote = is_spare and is_template
    sdks = os.environ.pop("_LAMBIC_IMPORTS", None)
    connection = _Connection()
    if is_spare:
        _rehearse()
    if sdks:
        _import_sdks(sdks)
    is_awaited = True
    if is_zygote:
        # That it is there.
        connection.send(b"\n")
        is_awaited = _wait_as_template(connection, True)
    if not is_awaited:
        # What is done in the copy has its own memory.
        _rehearse()
        _rehearse_sdks()
    if is_spare:
        connection.become()
    connection.begin()
    _configure()
    _prepare()
    search = _Search()
    handler = _begin(connection)
    if sdks is None and connection.is_inherited:
        imported = _imported_sdks(search)
    else:
        imported = []
    if os.environ.get("AWS_LAMBDA_INITIALIZATION_TYPE") == "snap-start":
        # What has been copied from a zygote is none itself.
        _snapshot(connection, is_template and not is_zygote)
    elif imported:
        connection.tell_imports(imported)
    _serve(connection, handler)


if __name__ == "__main__":
    _main()
