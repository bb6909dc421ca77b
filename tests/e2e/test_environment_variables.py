"""The variables that a function starts with: those of the platform, those it may set, and what they do."""

import re
import subprocess

import pytest
from botocore.exceptions import ClientError

from support.functions import CUSTOM, NODE, PYTHON, ROLE, python_zip, wait_updated
from support.server import REGION
from support.tools import need

SHOW_PYTHON = """
    import os, sys, time
    def handler(event, context):
        return {"env": dict(os.environ), "path": sys.path, "zone": time.tzname, "argv": sys.argv}
"""
SHOW_NODE = """
    exports.handler = async () => ({ env: process.env, args: process.execArgv, zone: new Date(0).toString() });
"""
SHOW_CUSTOM = """\
    #!/bin/bash
    api=http://$AWS_LAMBDA_RUNTIME_API/2018-06-01/runtime/invocation
    while :; do
        head=$(mktemp)
        curl -sS -o /tmp/event -D "$head" "$api/next"
        id=$(sed -n 's/^lambda-runtime-aws-request-id: \\([^\\r]*\\)\\r*$/\\1/ip' "$head")
        env | curl -sS -o /tmp/answer --data-binary @- "$api/$id/response"
    done
"""


def environment_of(functions, name):
    answer = functions.invoke(name)
    assert answer.error is None, answer
    return answer.value["env"]


def check_platform(env, name, runtime, handler, log_stream=r"\d{4}/\d\d/\d\d/\[\$LATEST\][0-9a-f]{32}"):
    expected = {
        "_HANDLER": handler,
        "AWS_LAMBDA_RUNTIME_API": "127.0.0.1:9001",
        "LAMBDA_TASK_ROOT": "/var/task",
        "LAMBDA_RUNTIME_DIR": "/var/runtime",
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_LAMBDA_FUNCTION_NAME": name,
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "192",
        "AWS_LAMBDA_LOG_GROUP_NAME": f"/aws/lambda/{name}",
        "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
        "AWS_XRAY_CONTEXT_MISSING": "LOG_ERROR",
        "AWS_XRAY_DAEMON_ADDRESS": "127.0.0.1:2000",
        "TZ": ":UTC",
        "LANG": "en_US.UTF-8",
    }
    if runtime != CUSTOM:
        expected["AWS_EXECUTION_ENV"] = f"AWS_Lambda_{runtime}"
    assert {key: env.get(key) for key in expected} == expected
    assert re.fullmatch(log_stream, env["AWS_LAMBDA_LOG_STREAM_NAME"])
    assert re.fullmatch("ASIA[A-Z2-7]{16}", env["AWS_ACCESS_KEY_ID"])
    assert len(env["AWS_SECRET_ACCESS_KEY"]) == 40 and env["AWS_SESSION_TOKEN"]
    assert env["PATH"].endswith("/usr/local/bin:/usr/bin:/bin:/opt/bin")
    assert env["LD_LIBRARY_PATH"].endswith(
        "/lib64:/usr/lib64:/var/runtime:/var/runtime/lib:/var/task:/var/task/lib:/opt/lib")


def test_python_starts_with_what_aws_documents(functions):
    name = functions.python(SHOW_PYTHON, MemorySize=192)
    env = environment_of(functions, name)
    check_platform(env, name, PYTHON, "app.handler")
    assert env["PYTHONPATH"] == "/var/runtime"
    inside = [key for key in env if key.startswith(("_LAMBIC", "LAMBIC"))]
    assert inside == []


def test_node_starts_with_what_aws_documents(functions):
    name = functions.node(SHOW_NODE, MemorySize=192)
    value = functions.invoke(name).value
    env = value["env"]
    check_platform(env, name, NODE, "index.handler")
    assert value["args"] == [
        "--expose-gc", "--max-http-header-size", "81920", "--max-semi-space-size=9", "--max-old-space-size=172"]
    assert re.fullmatch(
        r"/opt/nodejs/node\d+/node_modules:/opt/nodejs/node_modules:/var/runtime/node_modules:/var/runtime:/var/task",
        env["NODE_PATH"])
    assert [key for key in env if key.startswith(("_LAMBIC", "LAMBIC"))] == []


def test_a_custom_runtime_starts_with_what_aws_documents(functions):
    name = functions.bootstrap(SHOW_CUSTOM, MemorySize=192, Handler="any.thing")
    answer = functions.invoke(name)
    assert answer.error is None, answer
    env = dict(line.split("=", 1) for line in answer.payload.decode().splitlines())
    check_platform(env, name, CUSTOM, "any.thing")
    assert "AWS_EXECUTION_ENV" not in env


def test_what_a_function_sets_replaces_the_defaults(client, functions):
    own = {
        "TZ": "Asia/Tokyo", "LANG": "C.UTF-8", "PATH": "/var/task/bin:/usr/bin:/bin", "OWN": "mine, ☃",
        "PYTHONPATH": "/var/task/more", "AWS_XRAY_DAEMON_ADDRESS": "127.0.0.1:2001",
        "AWS_XRAY_CONTEXT_MISSING": "IGNORE_ERROR",
    }
    name = functions.create(files={
        "app.py": SHOW_PYTHON.replace("import os,", "import found_there, os,"),
        "more/found_there.py": "",
    }, env=own)
    value = functions.invoke(name).value
    assert {key: value["env"][key] for key in own} == own
    assert value["zone"] == ["JST", "JST"] and "/var/task/more" in value["path"]
    client.update_function_configuration(FunctionName=name, Environment={"Variables": {"PYTHONPATH": "/var/task/more"}})
    wait_updated(client, name)
    value = functions.invoke(name).value
    assert "OWN" not in value["env"] and value["env"]["TZ"] == ":UTC" and value["zone"] == ["UTC", "UTC"]


def test_node_options_and_node_path(functions):
    files = {
        "index.js": "exports.handler = async () => [require('shared'), globalThis.early, process.env.NODE_OPTIONS];",
        "early.js": "globalThis.early = 'loaded first';",
        "libraries/shared/index.js": "module.exports = 'found';",
    }
    options = "--require /var/task/early.js --max-http-header-size=81920"
    name = functions.create(files=files, Runtime=NODE, env={
        "NODE_OPTIONS": options, "NODE_PATH": "/var/task/libraries"})
    assert functions.invoke(name).value == ["found", "loaded first", options]


def test_the_time_zone_of_node(functions):
    name = functions.node(SHOW_NODE, env={"TZ": "America/New_York"})
    assert "GMT-0500" in functions.invoke(name).value["zone"]


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    """A shared library that says so when it is loaded, and has one function."""
    folder = tmp_path_factory.mktemp("library")
    (folder / "x.c").write_text("""
        #include <stdio.h>
        __attribute__((constructor)) static void loaded(void) { fprintf(stderr, "preloaded\\n"); }
        int answer(void) { return 42; }
    """)
    subprocess.run([need("cc", "gcc"), "-shared", "-fPIC", "-o", "libx.so", "x.c"], cwd=folder, check=True, timeout=60)
    return (folder / "libx.so").read_bytes()


def test_ld_preload_and_the_library_folders_of_the_task(functions, library):
    source = """
        import ctypes
        def handler(event, context):
            return ctypes.CDLL("libx.so").answer()
    """
    name = functions.create(files={"app.py": source, "lib/libx.so": library})
    answer = functions.invoke(name)
    assert (answer.error, answer.value) == (None, 42), "/var/task/lib is in LD_LIBRARY_PATH"
    name = functions.create(files={"app.py": source, "elsewhere/libx.so": library}, env={
        "LD_LIBRARY_PATH": "/var/lang/lib:/lib64:/usr/lib64:/var/task/elsewhere",
        "LD_PRELOAD": "/var/task/elsewhere/libx.so"})
    answer = functions.invoke(name)
    assert (answer.error, answer.value) == (None, 42), answer
    assert "preloaded" in answer.log


RESERVED = [
    "_HANDLER", "_X_AMZN_TRACE_ID", "AWS_DEFAULT_REGION", "AWS_REGION", "AWS_EXECUTION_ENV",
    "AWS_LAMBDA_FUNCTION_NAME", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "AWS_LAMBDA_FUNCTION_VERSION",
    "AWS_LAMBDA_INITIALIZATION_TYPE", "AWS_LAMBDA_LOG_GROUP_NAME", "AWS_LAMBDA_LOG_STREAM_NAME", "AWS_ACCESS_KEY",
    "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_LAMBDA_RUNTIME_API", "LAMBDA_TASK_ROOT",
    "LAMBDA_RUNTIME_DIR",
]
REFUSAL = ("Lambda was unable to configure your environment variables because the environment variables you have "
           "provided contains reserved keys that are currently not supported for modification. Reserved keys used in "
           "this request: ")


@pytest.mark.parametrize("key", RESERVED)
def test_reserved_variables_are_refused(client, functions, key):
    def refused(operation, **words):
        with pytest.raises(ClientError) as refusal:
            operation(Environment={"Variables": {"OWN": "1", key: "x"}}, **words)
        return refusal.value.response["Error"]

    error = refused(client.create_function, FunctionName="never", Runtime=PYTHON, Handler="app.handler", Role=ROLE,
                    Code={"ZipFile": python_zip("x = 1\n")})
    # A name that begins with an underscore is no name at all in AWS's model.
    if key.startswith("_"):
        assert error["Code"] == "ValidationException", error
        assert error["Message"].endswith(
            "Map keys must satisfy constraint: [Member must satisfy regular expression pattern: "
            "[a-zA-Z]([a-zA-Z0-9_])+]")
        return
    assert (error["Code"], error["Message"]) == ("InvalidParameterValueException", REFUSAL + key)
    name = functions.python("def handler(e, c): return 1\n")
    error = refused(client.update_function_configuration, FunctionName=name)
    assert (error["Code"], error["Message"]) == ("InvalidParameterValueException", REFUSAL + key)


WRAPPER = """\
    #!/bin/bash
    # As in AWS's own examples: the program and its arguments come as arguments, the script last.
    export FROM_WRAPPER="$#"
    set -- "${@:1:$#-1}" $MORE "${@: -1}"
    exec "$@"
"""


def test_a_wrapper_script_starts_python(functions):
    name = functions.create(
        files={"app.py": SHOW_PYTHON, "wrapper": WRAPPER}, executable=("wrapper",),
        env={"AWS_LAMBDA_EXEC_WRAPPER": "/var/task/wrapper", "MORE": "-X importtime"})
    answer = functions.invoke(name)
    assert answer.error is None, answer
    assert int(answer.value["env"]["FROM_WRAPPER"]) >= 2
    assert answer.value["argv"] == ["/var/runtime/bootstrap.py"]
    log = functions.invoke(name)
    assert log.error is None and log.value["env"]["AWS_LAMBDA_EXEC_WRAPPER"] == "/var/task/wrapper"


def test_a_wrapper_script_starts_node_and_may_close_descriptors(functions):
    files = {"index.js": SHOW_NODE, "wrapper": WRAPPER.replace("exec ", "exec 0<&- 3>&- 4>&-\n    exec ")}
    name = functions.create(
        files=files, Runtime=NODE, executable=("wrapper",),
        env={"AWS_LAMBDA_EXEC_WRAPPER": "/var/task/wrapper", "MORE": "--no-warnings"})
    for _ in range(3):
        answer = functions.invoke(name)
        assert answer.error is None, answer
        assert "--no-warnings" in answer.value["args"] and "--expose-gc" in answer.value["args"]


def test_errors_of_a_wrapped_function_are_as_of_any(functions):
    files = {"app.py": "def handler(e, c):\n    raise ValueError(e)\n", "wrapper": "#!/bin/sh\nexec \"$@\"\n"}
    name = functions.create(files=files, executable=("wrapper",), Timeout=5,
                            env={"AWS_LAMBDA_EXEC_WRAPPER": "/var/task/wrapper"})
    assert functions.invoke(name, "x").value["errorType"] == "ValueError"
    name = functions.create(files={**files, "app.py": "import absent\n"},
                            executable=("wrapper",),
                            env={"AWS_LAMBDA_EXEC_WRAPPER": "/var/task/wrapper"})
    assert functions.invoke(name, "x").value["errorType"] == "Runtime.ImportModuleError"


BROKEN = {
    "absent": ("/var/task/absent", "/var/task/absent: does not exist", 127),
    "a folder": ("/var/task", "/var/task: does not exist", 127),
    "not executable": ("/var/task/app.py", "/var/task/app.py: is not an executable", 126),
    "fails": ("/bin/false", "", 1),
}


@pytest.mark.parametrize("case", BROKEN)
def test_wrappers_that_do_not_start_the_runtime(functions, case):
    path, text, code = BROKEN[case]
    name = functions.python("def handler(e, c): return 1\n", env={"AWS_LAMBDA_EXEC_WRAPPER": path})
    for _ in range(2):
        answer = functions.invoke(name)
        assert answer.error == "Unhandled"
        assert answer.value == {
            "errorType": "Runtime.ExitError",
            "errorMessage": f"RequestId: {answer.request_id} Error: Runtime exited with error: exit status {code}",
        }
        assert text in answer.log


def test_a_custom_runtime_has_no_wrapper(functions):
    name = functions.bootstrap(SHOW_CUSTOM, env={"AWS_LAMBDA_EXEC_WRAPPER": "/var/task/absent"})
    answer = functions.invoke(name)
    assert answer.error is None and b"AWS_LAMBDA_EXEC_WRAPPER=/var/task/absent" in answer.payload
