"""Node.js functions: both module systems, every kind of handler, errors and logs."""

import re

import pytest

UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"

HANDLERS = {
    "async": ("index.js", "exports.handler = async (event) => ({ got: event });"),
    "plain value": ("index.js", "exports.handler = (event) => Promise.resolve({ got: event });"),
    "callback": ("index.js", "exports.handler = (event, context, callback) => callback(null, { got: event });"),
    "late callback": (
        "index.js", "exports.handler = (e, c, done) => { setTimeout(() => done(null, { got: e }), 20); };"),
    "commonjs file": ("index.cjs", "module.exports.handler = async (event) => ({ got: event });"),
    "es module": ("index.mjs", "export const handler = async (event) => ({ got: event });"),
    "top-level await": (
        "index.mjs", "const wait = await Promise.resolve(1);\nexport const handler = async (e) => ({ got: e, wait })"),
}


@pytest.mark.parametrize("case", HANDLERS)
def test_every_kind_of_handler(functions, case):
    file, source = HANDLERS[case]
    name = functions.node(source, file=file)
    for event in ({"n": 1}, "ünï ☃ \U0001f600"):
        answer = functions.invoke(name, event)
        assert answer.error is None, answer
        assert answer.value["got"] == event


def test_an_es_module_by_package_json(functions):
    name = functions.create(Runtime="nodejs22.x", files={
        "package.json": '{"type": "module"}', "lib/name.js": "export const name = 'Ada';",
        "index.js": "import { name } from './lib/name.js';\nexport async function handler() { return name; }"})
    assert functions.invoke(name).value == "Ada"


def test_a_handler_in_a_folder_and_in_an_object(functions):
    name = functions.create(Runtime="nodejs22.x", Handler="src/deep/app.api.go",
                            files={"src/deep/app.js": "exports.api = { go: async () => 'deep' };"})
    assert functions.invoke(name).value == "deep"


def test_no_value_is_null(functions):
    assert functions.invoke(functions.node("exports.handler = async () => {};")).payload == b"null"


def test_the_context_object(functions):
    name = functions.node("""
        exports.handler = async (event, context) => ({
          ...context, left: context.getRemainingTimeInMillis(), env: process.env, cwd: process.cwd(),
        });
    """, Timeout=9, MemorySize=256, env={"COLOUR": "blue"})
    answer = functions.invoke(name)
    value = answer.value
    assert value["functionName"] == name
    assert value["functionVersion"] == "$LATEST"
    assert value["memoryLimitInMB"] == "256"
    assert value["awsRequestId"] == answer.request_id
    assert value["invokedFunctionArn"].endswith(f":function:{name}")
    assert value["logGroupName"] == f"/aws/lambda/{name}"
    assert value["callbackWaitsForEmptyEventLoop"] is True
    assert 8_000 < value["left"] <= 9_000
    assert value["env"]["COLOUR"] == "blue" and value["env"]["_HANDLER"] == "index.handler"
    assert value["cwd"] == "/var/task"


ERRORS = {
    "thrown": ("exports.handler = async () => { throw new RangeError('too far'); };", "RangeError", "too far"),
    "thrown at once": ("exports.handler = () => { throw new TypeError('at once'); };", "TypeError", "at once"),
    "by callback": ("exports.handler = (e, c, done) => done(new Error('by callback'));", "Error", "by callback"),
    "rejected": ("exports.handler = () => Promise.reject(new Error('rejected'));", "Error", "rejected"),
    "own class": ("class Tea extends Error { constructor(m) { super(m); this.name = 'Tea'; } }\n"
                  "exports.handler = async () => { throw new Tea('cold'); };", "Tea", "cold"),
    "a text": ("exports.handler = (e, c, done) => done('just a text');", "string", "just a text"),
}


@pytest.mark.parametrize("case", ERRORS)
def test_errors(functions, case):
    source, kind, text = ERRORS[case]
    name = functions.node(source)
    answer = functions.invoke(name)
    assert (answer.status, answer.error) == (200, "Unhandled")
    assert (answer.value["errorType"], answer.value["errorMessage"]) == (kind, text)
    assert isinstance(answer.value["trace"], list)
    if case == "thrown":
        assert answer.value["trace"][0] == "RangeError: too far"
        assert "/var/task/index.js:1:" in answer.value["trace"][1]
        assert f"{answer.request_id}\tERROR\tInvoke Error \t" in answer.log
    assert functions.invoke(name).report.init is None, "the environment lives on"


FAILURES = {
    "no such file": ("exports.handler = 1;", "other.handler", "Runtime.ImportModuleError",
                     r"Error: Cannot find module 'other'\nRequire stack:\n.*"),
    "no such module": ("require('no-such-module');", "index.handler", "Runtime.ImportModuleError",
                       r"Error: Cannot find module 'no-such-module'\nRequire stack:\n- /var/task/index.js\n.*"),
    "no such handler": ("exports.other = async () => 1;", "index.handler", "Runtime.HandlerNotFound",
                        r"index\.handler is undefined or not exported"),
    "no function": ("exports.handler = 5;", "index.handler", "Runtime.HandlerNotFound",
                    r"index\.handler is not a function"),
    "syntax": ("exports.handler = async () => {", "index.handler", "Runtime.UserCodeSyntaxError", r"SyntaxError: .*"),
    "no dot": ("exports.handler = async () => 1;", "index", "Runtime.MalformedHandlerName", r"Bad handler"),
}


@pytest.mark.parametrize("case", FAILURES)
def test_functions_that_cannot_start(functions, case):
    source, handler, kind, text = FAILURES[case]
    name = functions.node(source, Handler=handler)
    for _ in range(2):
        answer = functions.invoke(name)
        assert (answer.status, answer.error) == (200, "Unhandled")
        assert answer.value["errorType"] == kind
        assert re.fullmatch(text, answer.value["errorMessage"], re.S), answer.value


def test_a_promise_that_nobody_caught(functions):
    name = functions.node("""
        exports.handler = async () => {
          Promise.reject(new Error("forgotten"));
          await new Promise((resolve) => setTimeout(resolve, 200));
          return "never";
        };
    """)
    answer = functions.invoke(name)
    assert answer.error == "Unhandled"
    assert answer.value["errorType"] == "Runtime.UnhandledPromiseRejection"
    assert answer.value["errorMessage"] == "Error: forgotten"


@pytest.mark.parametrize("status, text", [(0, "Runtime exited without providing a reason"),
                                          (1, "Runtime exited with error: exit status 1"),
                                          (42, "Runtime exited with error: exit status 42")])
def test_a_process_that_exits(functions, status, text):
    name = functions.node(f"exports.handler = async () => process.exit({status});")
    answer = functions.invoke(name)
    assert (answer.error, answer.value["errorType"]) == ("Unhandled", "Runtime.ExitError")
    assert re.fullmatch(rf"RequestId: {UUID} Error: {text}", answer.value["errorMessage"])


def test_an_exception_outside_of_the_handler(functions):
    name = functions.node("""
        exports.handler = async () => {
          setTimeout(() => { throw new Error("from a timer"); }, 10);
          await new Promise((resolve) => setTimeout(resolve, 1000));
        };
    """)
    answer = functions.invoke(name)
    assert answer.error == "Unhandled"
    assert answer.value["errorMessage"] in ("from a timer", "Error: from a timer") \
        or "exit status" in answer.value["errorMessage"]


def test_console_lines(functions):
    name = functions.node("""
        exports.handler = async () => {
          console.log("hello %s", "you", { a: 1 });
          console.error("oh no");
          console.warn("careful"); console.info("fyi"); console.debug("detail");
          process.stdout.write("raw\\n");
        };
    """)
    answer = functions.invoke(name)
    stamp = rf"\d{{4}}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{{3}}Z\t{answer.request_id}"
    for level, text in [("INFO", r"hello you \{ a: 1 \}"), ("ERROR", "oh no"), ("WARN", "careful"), ("INFO", "fyi"),
                        ("DEBUG", "detail")]:
        assert re.search(rf"^{stamp}\t{level}\t{text}$", answer.log, re.M), answer.log
    assert "raw\n" in answer.log


def test_a_callback_waits_for_the_event_loop_unless_told_otherwise(functions):
    source = """
        let late = "not yet";
        exports.handler = (event, context, callback) => {
          if (event.impatient) context.callbackWaitsForEmptyEventLoop = false;
          setTimeout(() => { late = "done"; }, 150);
          callback(null, late);
        };
    """
    name = functions.node(source)
    functions.invoke(name, {})
    assert functions.invoke(name, {}).value == "done", "the first invoke ended after its timer"
    quick = functions.invoke(functions.node(source), {"impatient": True})
    assert quick.report.duration < 140


@pytest.mark.parametrize("runtime", ["nodejs18.x", "nodejs20.x", "nodejs22.x", "nodejs24.x"])
def test_every_node_id_runs(functions, runtime):
    name = functions.node("exports.handler = async () => process.release.name;", Runtime=runtime, Handler="index.handler")
    assert functions.invoke(name).value == "node"
