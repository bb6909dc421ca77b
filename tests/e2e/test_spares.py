"""Functions whose interpreter was started before it was known for whom: they see and do what others do."""

import concurrent.futures
import os
import pathlib
import re
import signal
import subprocess

import pytest

from support.extensions import publish
from support.functions import JAVA, NODE, PYTHON, RUBY, Functions, invoke
from support.interpreter import RUNTIME as INTERPRETED
from support.interpreter import Interpreter
from support.server import Server
from support.tools import java_package, need
from support.traces import Traces, is_frozen
from support.wait import until

# Every kind on its own, so that a test of one finds spares of it. After several starts at once there are
# more for a while (docs/keep-alive.md); no test here depends on that.
KEPT = 2


class Made:
    """A server, its client, and what its spares come to."""

    def __init__(self, server):
        self.server, self.client, self.figure = server, server.client(), server.figure
        self.functions = Functions(self.client)

    def wait_for_spares(self, count):
        """Until so many wait at least, of all kinds that are in use."""
        until(lambda: self.figure("lambic_spares") >= count, f"{count} spares")

    def wait_for_just(self, count):
        until(lambda: self.figure("lambic_spares") == count, f"{count} spares and no more")

    def first_invoke(self, name, event=None, spares=KEPT):
        """An invoke for which a spare is at hand; the function's kind must be the only one."""
        self.wait_for_spares(spares)
        used = self.figure("lambic_spares_used_total")
        answer = invoke(self.client, name, event)
        assert self.figure("lambic_spares_used_total") == used + 1, "it was not made from a spare"
        return answer


def started(tmp_path_factory, name, *args):
    server = Server(tmp_path_factory.mktemp(name), "--set", "functions.transition_ms=0", *args)
    return Made(server.start())


@pytest.fixture(scope="module")
def fresh(tmp_path_factory):
    """Without spares."""
    made = started(tmp_path_factory, "fresh", "--set", "functions.spares=0")
    yield made
    assert made.server.spares() == [] and made.figure("lambic_spares_missed_total") == 0
    assert made.server.stop() == 0


@pytest.fixture(scope="module")
def python(tmp_path_factory):
    """With spares, all of its functions in Python."""
    made = started(tmp_path_factory, "python")
    yield made
    assert made.server.stop() == 0


@pytest.fixture(scope="module")
def node(tmp_path_factory):
    """With spares, all of its functions in Node.js of 256 MB."""
    made = started(tmp_path_factory, "node")
    yield made
    assert made.server.stop() == 0


@pytest.fixture(scope="module")
def ruby(tmp_path_factory):
    """With spares, all of its functions in Ruby."""
    need("ruby", "ruby")
    made = started(tmp_path_factory, "ruby")
    yield made
    assert made.server.stop() == 0


@pytest.fixture(scope="module")
def java(tmp_path_factory):
    """With spares, all of its functions in Java of 512 MB."""
    made = started(tmp_path_factory, "java")
    yield made
    assert made.server.stop() == 0


# What a function finds

# What differs between any two environments.
OWN = {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_LAMBDA_LOG_STREAM_NAME", "_X_AMZN_TRACE_ID",
       "AWS_LAMBDA_FUNCTION_NAME", "AWS_LAMBDA_LOG_GROUP_NAME"}

LOOK_PYTHON = """
import gc, locale, os, resource, signal, sys, time
names = list(sys.modules)
def status(pid):
    wanted = ("CapEff", "CapBnd", "CapPrm", "NoNewPrivs", "Seccomp", "SigBlk", "SigIgn", "SigCgt", "Uid", "Gid", "Groups")
    return [line.split() for line in open(f"/proc/{pid}/status") if line.split(":")[0] in wanted]
def tree(folder):
    return sorted(os.path.join(at, name) for at, folders, files in os.walk(folder) for name in folders + files)
def mounted():
    fields = [line.split() for line in open("/proc/self/mounts")]
    return sorted([at, kind, sorted(set(flags.split(",")) & {"ro", "rw", "nosuid", "nodev", "noexec"})]
                  for _, at, kind, flags, *_ in fields)
def handler(event, context):
    return {
        "spare": "_LAMBIC_SPARE=1" in open("/proc/self/environ").read().split("\\0"),
        "variables": dict(os.environ), "folder": os.getcwd(), "path": sys.path, "arguments": [sys.argv, sys.orig_argv],
        "flags": str(sys.flags), "modules": sorted(names), "encodings": [sys.stdout.encoding, sys.stdout.errors,
            sys.stderr.encoding, locale.getpreferredencoding(), sys.getfilesystemencoding()],
        "zone": time.tzname, "hooks": [str(hook) for hook in sys.meta_path], "collector": [gc.isenabled(), gc.get_threshold()],
        "status": status("self"), "init": status(1), "umask": os.umask(0o22), "session": os.getsid(0) == os.getpid(),
        "descriptors": sorted(os.listdir("/proc/self/fd")), "limits": [resource.getrlimit(one) for one in range(16)],
        "processes": len([name for name in os.listdir("/proc") if name.isdigit()]),
        "parent": open("/proc/1/comm").read(), "files": tree("/opt") + tree("/var/task") + tree("/tmp") + tree("/var/runtime"),
        "mounted": mounted(), "inheritable": os.get_inheritable(3),
        "context": [context.function_name, context.memory_limit_in_mb, context.log_group_name],
    }
"""

LOOK_NODE = """
const fs = require('node:fs');
const modules = require('node:module');
exports.handler = async (event, context) => ({
  spare: fs.readFileSync('/proc/self/environ', 'utf8').split('\\0').includes('_LAMBIC_SPARE=1'),
  variables: { ...process.env }, folder: process.cwd(), arguments: [process.argv, process.execArgv, process.title],
  paths: [modules.globalPaths, require.resolve.paths('x'), module.paths], globals: Object.getOwnPropertyNames(globalThis),
  umask: process.umask(), listeners: process.eventNames().map((name) => [String(name), process.listenerCount(name)]),
  resources: console.log('once') ?? process.getActiveResourcesInfo(), heap: require('node:v8').getHeapStatistics().heap_size_limit,
  descriptors: fs.readdirSync('/proc/self/fd'), opt: fs.readdirSync('/opt', { recursive: true }),
  task: fs.readdirSync('/var/task', { recursive: true }), tmp: fs.readdirSync('/tmp'), zone: new Date(0).toString(),
  pair: [process.stdout.isTTY, process.stdout.constructor.name, process.stderr.constructor.name],
  context: [context.functionName, context.memoryLimitInMB, context.logGroupName],
});
"""


LOOK_RUBY = """
FEATURES = $LOADED_FEATURES.dup
CONSTANTS = Object.constants
def status(pid)
  wanted = %w[CapEff CapBnd CapPrm NoNewPrivs Seccomp SigBlk SigIgn SigCgt Uid Gid Groups]
  File.readlines("/proc/#{pid}/status").map(&:split).select { |name, *| wanted.include?(name.to_s.chomp(":")) }
end
def handler(event:, context:)
  {
    "spare" => File.read("/proc/self/environ").split("\\0").include?("_LAMBIC_SPARE=1"),
    "variables" => ENV.to_h, "folder" => Dir.pwd, "path" => $LOAD_PATH, "arguments" => [$0, ARGV, $PROGRAM_NAME, $VERBOSE, $DEBUG],
    "features" => FEATURES, "constants" => CONSTANTS.sort, "globals" => global_variables.sort, "main" => self.class.name,
    "private" => Object.private_instance_methods(false).sort, "public" => Object.public_instance_methods(false).sort,
    "gems" => [Gem.path, Gem.dir, Gem.loaded_specs.keys, Gem::Specification.map(&:full_name).sort],
    "encodings" => [Encoding.default_external, Encoding.default_internal, Encoding.find("locale"), Encoding.find("filesystem"),
                    $stdout.external_encoding, __ENCODING__].map(&:to_s),
    "zone" => Time.now.zone, "status" => status("self"), "init" => status(1), "umask" => File.umask, "sync" => [STDOUT.sync, STDERR.sync],
    "session" => Process.getsid == Process.pid, "descriptors" => Dir.children("/proc/self/fd").size, "threads" => Thread.list.size,
    "limits" => (0..15).map { |one| Process.getrlimit(one) }, "gc" => [GC.disable, GC.enable, GC.stress],
    "kept" => IO.for_fd(3, "r+b", autoclose: false).close_on_exec?, "parent" => File.read("/proc/1/comm"),
    "files" => %w[/opt /var/task /tmp /var/runtime].flat_map { |folder| Dir.glob("#{folder}/**/*").sort },
    "traps" => %w[TERM INT HUP].map { |name| trap(name, "DEFAULT").to_s },
    "context" => [context.function_name, context.memory_limit_in_mb, context.log_group_name],
  }
end
"""


def compared(name, fresh, made, source, event=None, **settings):
    """What two first invokes found, without what any two differ in."""
    found = []
    for where, take in ((fresh, lambda one: invoke(fresh.client, one, event)), (made, lambda one: made.first_invoke(one, event))):
        value = take(where.functions.create(name=name, files=source, env={"OWN": "a=b", "EMPTY": "", "PATH": "/bin:/usr/bin"},
                                            **settings)).value
        assert value.pop("spare") == (where is made), value
        variables = value["variables"]
        assert OWN - {"_X_AMZN_TRACE_ID"} <= set(variables)
        value["variables"] = {key: text for key, text in variables.items() if key not in OWN}
        found.append(value)
    return found


def test_python_finds_what_it_always_finds(fresh, python):
    before, after = compared("look", fresh, python, {"app.py": LOOK_PYTHON, "lib/file": "x"}, MemorySize=256)
    assert after["variables"]["OWN"] == "a=b" and after["variables"]["EMPTY"] == ""
    assert not [name for name in after["variables"] if name.startswith("_LAMBIC")]
    assert after["parent"] == "lambic-init\n"
    # Without layers /opt is an empty folder behind a mount of its own.
    assert ["/opt", "tmpfs", ["nodev", "nosuid", "ro"]] in after["mounted"]
    after["mounted"] = [mount for mount in after["mounted"] if mount[0] != "/opt"]
    assert after == before


def test_node_finds_what_it_always_finds(fresh, node):
    before, after = compared("look-node", fresh, node, {"index.js": LOOK_NODE, "lib/file": "x"}, MemorySize=256, Runtime=NODE)
    assert not [name for name in after["variables"] if name.startswith("_LAMBIC")]
    assert after == before


def test_ruby_finds_what_it_always_finds(fresh, ruby):
    before, after = compared("look-ruby", fresh, ruby, {"app.rb": LOOK_RUBY, "lib/file": "x"}, MemorySize=256, Runtime=RUBY)
    assert after["variables"]["OWN"] == "a=b" and after["variables"]["EMPTY"] == ""
    assert not [name for name in after["variables"] if name.startswith("_LAMBIC") or name == "LC_CTYPE"]
    assert not [name for name in after["features"] if "rehearsal" in name] and "LambicRehearsal" not in after["constants"]
    assert after == before


def test_java_finds_what_it_always_finds(fresh, java):
    before, after = compared("look-java", fresh, java, java_package(), {"do": "look"}, MemorySize=512, Runtime=JAVA,
                             Handler="lambic.Does")
    assert after["variables"]["OWN"] == "a=b" and after["variables"]["EMPTY"] == ""
    assert not [name for name in after["variables"] if name.startswith(("_LAMBIC", "LC_"))]
    assert (after["folder"], after["properties"]["user.dir"], after["code"]) == ("/var/task", "/var/task", ["lib"])
    assert after == before


# Layers and libraries

@pytest.fixture(scope="module")
def libraries(tmp_path_factory):
    """One that tells 1, one that tells 2, and one that needs the second."""
    folder = tmp_path_factory.mktemp("libraries")
    (folder / "one.c").write_text("int one(void) { return 1; }\n")
    (folder / "two.c").write_text("int two(void) { return 2; }\n")
    (folder / "sum.c").write_text("int two(void); int sum(void) { return two() + 40; }\n")
    cc = [need("cc", "gcc"), "-shared", "-fPIC"]
    for name, more in (("one", ()), ("two", ()), ("sum", ("-L.", "-ltwo"))):
        done = [*cc, "-o", f"lib{name}.so", f"{name}.c", *more]
        subprocess.run(done, cwd=folder, check=True, timeout=60)
    return {name: (folder / f"lib{name}.so").read_bytes() for name in ("one", "two", "sum")}


LIBRARIES = """
import ctypes, os, subprocess, tool
one = ctypes.CDLL("libone.so").one()
sum = ctypes.CDLL("libsum.so").sum()
def handler(event, context):
    return [one, sum, tool.NAME, sorted(os.listdir("/opt")), sorted(os.listdir("/var/task"))]
"""


def test_libraries_of_package_and_layers_are_found(python, libraries):
    """The loader looks into these folders before they hold anything, and must not remember that."""
    layer = publish(python.client, {"lib/libtwo.so": libraries["two"], "python/tool.py": "NAME = 'tool'\n"})
    name = python.functions.create(files={"app.py": LIBRARIES, "lib/libone.so": libraries["one"], "libsum.so": libraries["sum"]},
                                   Layers=[layer])
    answer = python.first_invoke(name)
    assert answer.value == [1, 42, "tool", ["lib", "python"], ["app.py", "lib", "libsum.so"]], answer.log


LOADED = """
def handler(event:, context:)
  File.read("/proc/self/maps").scan(%r{/\\S+\\.so[.\\d]*$}).uniq
end
"""


def test_a_library_that_the_interpreter_is_made_of_may_be_the_function_s_own(ruby):
    """Only one that starts with the function in place takes it instead of the machine's."""
    loaded = ruby.first_invoke(ruby.functions.create(files={"app.rb": LOADED}, Runtime=RUBY)).value
    path = next(path for path in loaded if re.match(r"lib(crypt|gmp|z)\.so", path.rpartition("/")[2]))
    name = pathlib.Path(path).name
    file = {f"lib/{re.match('lib[a-z]+.so.[0-9]+', name)[0]}": pathlib.Path(path).read_bytes()}
    answer = invoke(ruby.client, ruby.functions.create(files={"app.rb": LOADED, **file}, Runtime=RUBY))
    assert answer.error is None, answer.log
    assert f"/var/task/{next(iter(file))}" in answer.value and path not in answer.value, answer.value


def test_the_c_library_is_the_system_s_whatever_a_package_brings(python):
    """As on AWS, where /lib64 comes first and has it; the host may have it elsewhere."""
    source = """
        import re
        def handler(event, context):
            return sorted(set(re.findall(r"\\S+/libc\\.so\\S+$", open("/proc/self/maps").read(), re.M)))
    """
    machines = invoke(python.client, python.functions.create(files={"app.py": source})).value
    own = {"lib/libc.so.6": pathlib.Path(machines[0]).read_bytes()}
    answer = invoke(python.client, python.functions.create(files={"app.py": source, **own}))
    assert (answer.error, answer.value) == (None, machines)


def test_node_finds_modules_of_layers(node):
    layer = publish(node.client, {"nodejs/node_modules/tool/index.js": "exports.name = 'tool';\n"})
    for file, source in (("index.js", "exports.handler = async () => require('tool').name;"),
                         ("index.mjs", "import tool from 'tool';\nexport const handler = async () => tool.name;")):
        name = node.functions.node(source, file=file, Layers=[layer], MemorySize=256)
        answer = node.first_invoke(name)
        assert (answer.error, answer.value) == (None, "tool"), answer.log


# Starts that fail, logs, ends

def plain(log):
    """A log without what differs each time."""
    log = re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "ID", log)
    log = re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+Z?( #\d+)?", "TIME", log)
    log = re.sub(r"0x[0-9a-f]{16}", "ADDRESS", log)
    return re.sub(r"\d+(\.\d+)? (ms|MB)", r"N \2", log)


STARTS = {
    "python": [
        "import nowhere\n",
        "def handler(event, context:\n",
        "raise ValueError('early')\n",
        "import sys\nprint('going')\nsys.exit(3)\n",
        "import os\nos.kill(os.getpid(), 11)\n",
        "x = 1\n",
        "import logging\nprint('loaded')\nlogging.warning('two\\nlines')\n"
        "def handler(event, context):\n    logging.getLogger().setLevel('INFO')\n    logging.info('called')\n    raise KeyError('late')\n",
    ],
    "node": [
        "require('nowhere');",
        "exports.handler = async (",
        "throw new RangeError('early');",
        "console.log('going'); process.exit(3);",
        "exports.other = 1;",
        "console.log('loaded\\nin two lines'); exports.handler = async () => { console.error('called'); throw new Error('late'); };",
    ],
    "ruby": [
        "require 'nowhere'\n",
        "def handler(event:, context:\n",
        "raise ArgumentError, 'early'\n",
        "puts 'going'\nexit 3\n",
        "puts 'going'\nexit! 3\n",
        "Process.kill(:KILL, $$)\nsleep\n",
        "X = 1\n",
        "puts 'loaded', \"in two\\nlines\"\nLogger.new($stdout).warn(\"two\\nlines\")\n"
        "def handler(event:, context:)\n  Logger.new($stderr).info('called')\n  raise KeyError, 'late'\nend\n",
    ],
}
FILES = {"python": ("app.py", PYTHON), "node": ("index.js", NODE), "ruby": ("app.rb", RUBY)}


@pytest.mark.parametrize("kind, at", [(kind, at) for kind, sources in STARTS.items() for at in range(len(sources))])
def test_starts_and_errors_are_told_the_same(fresh, python, node, ruby, kind, at):
    made, source, name = {"python": python, "node": node, "ruby": ruby}[kind], STARTS[kind][at], f"start-{kind}-{at}"
    path, runtime = FILES[kind]
    file, settings = {path: source}, {"MemorySize": 256, "Runtime": runtime}
    told = []
    for where, take in ((fresh, lambda one: invoke(fresh.client, one)), (made, made.first_invoke)):
        answer = take(where.functions.create(files=file, name=name, **settings))
        told.append((answer.status, answer.error, plain(answer.payload.decode()), plain(answer.log)))
    assert told[0] == told[1]


def test_logs_as_json(fresh, python):
    source = "import logging\nlogging.error('at once')\ndef handler(event, context):\n    logging.error('called'); print('x')\n"
    told = []
    for where, take in ((fresh, lambda one: invoke(fresh.client, one)), (python, python.first_invoke)):
        name = where.functions.python(source, name="json", MemorySize=256, LoggingConfig={"LogFormat": "JSON"})
        told.append(plain(re.sub(r'("\w*(durationMs|DurationMs|maxMemoryUsedMB)":)[\d.]+', r"\1N", take(name).log)))
    assert told[0] == told[1] and "at once" in told[1]


def test_a_timeout_ends_it_and_the_next_one_is_another(python):
    name = python.functions.python("""
        import time, uuid
        ID = str(uuid.uuid4())
        def handler(event, context):
            time.sleep(event)
            return ID
    """, Timeout=1)
    first = python.first_invoke(name, 0).value
    assert invoke(python.client, name, 0).value == first
    answer = invoke(python.client, name, 30)
    assert answer.value["errorType"] == "Sandbox.Timedout" and answer.report.status == "timeout"
    assert python.first_invoke(name, 0).value != first


def test_init_begins_when_there_is_a_function(python):
    """However long the spare has waited, its start is what its function makes of it."""
    source = "import time\ntime.sleep(0.3)\ndef handler(event, context): pass\n"
    init = python.first_invoke(python.functions.python(source)).report.init
    assert 300 <= init < 5000


def test_an_idle_one_is_frozen_and_goes_on(python):
    name = python.functions.python("import uuid\nID = str(uuid.uuid4())\ndef handler(event, context): return ID\n")
    known = set(python.server.runtimes())
    first = python.first_invoke(name).value
    mine = [pid for pid in python.server.runtimes() if pid not in known]
    assert len(mine) == 1
    until(lambda: is_frozen(mine[0]), "the idle environment to be frozen")
    assert not any(is_frozen(pid) for pid in python.server.spares())
    assert invoke(python.client, name).value == first


# Which are made from spares

@pytest.mark.parametrize("variables", [
    {"TZ": "Europe/Berlin"}, {"PYTHONPATH": "/opt/own"}, {"PYTHONHASHSEED": "7"}, {"LC_ALL": "C"}, {"HOME": "/tmp"},
    {"LD_LIBRARY_PATH": "/var/lang/lib:/opt/own"}, {"AWS_LAMBDA_EXEC_WRAPPER": "/var/task/wrapper"},
], ids=lambda variables: next(iter(variables)))
def test_variables_that_python_reads_at_its_start_are_read(python, variables):
    source = """
        import os
        def handler(event, context):
            return ["_LAMBIC_SPARE=1" in open("/proc/self/environ").read(), dict(os.environ)]
    """
    wrapper = "#!/bin/sh\nexec \"$@\"\n"
    name = python.functions.create(files={"app.py": source, "wrapper": wrapper}, executable=("wrapper",), env=variables)
    python.wait_for_spares(KEPT)
    was_spare, found = invoke(python.client, name).value
    assert not was_spare and variables.items() <= found.items()


@pytest.mark.parametrize("variables", [
    {"TZ": "Europe/Berlin"}, {"RUBYOPT": "-W2"}, {"RUBYLIB": "/opt/own"}, {"GEM_PATH": "/opt/own"}, {"LC_ALL": "C"},
], ids=lambda variables: next(iter(variables)))
def test_variables_that_ruby_reads_at_its_start_are_read(ruby, variables):
    source = """
        def handler(event:, context:)
          [File.read("/proc/self/environ").include?("_LAMBIC_SPARE=1"), ENV.to_h]
        end
    """
    name = ruby.functions.ruby(source, env=variables)
    ruby.wait_for_spares(KEPT)
    was_spare, found = invoke(ruby.client, name).value
    assert not was_spare and variables.items() <= found.items()


@pytest.mark.parametrize("variables", [
    {"TZ": "Europe/Berlin"}, {"JAVA_TOOL_OPTIONS": "-Dof.tools=1"}, {"JDK_JAVA_OPTIONS": "-Dof.jdk=1"}, {"LC_ALL": "C"},
], ids=lambda variables: next(iter(variables)))
def test_variables_that_java_reads_at_its_start_are_read(java, variables):
    name = java.functions.java(java_package(), "lambic.Does", env=variables)
    java.wait_for_spares(KEPT)
    found = invoke(java.client, name, {"do": "look"}).value
    assert not found["spare"] and variables.items() <= found["variables"].items()
    assert found["properties"].get("of.tools") == ("1" if "JAVA_TOOL_OPTIONS" in variables else None)
    assert found["locale"].endswith(variables.get("TZ", "UTC"))


def test_options_of_node_are_obeyed(node):
    name = node.functions.node("exports.handler = async () => process.allowedNodeEnvironmentFlags.size > 0 && globalThis.ready;",
                               MemorySize=256, env={"NODE_OPTIONS": "--import data:text/javascript,globalThis.ready=7"})
    node.wait_for_spares(KEPT)
    assert invoke(node.client, name).value == 7


def test_more_at_once_than_there_are(python):
    """Those who find no spare are started as ever, and all have an environment of their own."""
    source = "import uuid\nID = str(uuid.uuid4())\ndef handler(event, context): return [ID, event]\n"
    names = [python.functions.python(source) for _ in range(12)]
    python.wait_for_spares(KEPT)
    before = [python.figure(f"lambic_spares_{word}_total") for word in ("used", "missed")]
    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda number: invoke(python.client, names[number], number).value, range(12)))
    assert [number for _, number in answers] == list(range(12))
    assert len({one for one, _ in answers}) == 12
    used, missed = [python.figure(f"lambic_spares_{word}_total") - was for word, was in zip(("used", "missed"), before)]
    assert used >= KEPT and used + missed == 12
    python.wait_for_spares(KEPT)


# Numbers

def test_spares_have_what_the_budget_leaves(fresh_server):
    made = Made(fresh_server("--set", "functions.transition_ms=0", "--set", "functions.memory_mb_max=256",
                             "--set", "functions.spares=4"))
    source = "def handler(event, context): return 1\n"
    small, large = made.functions.python(source, MemorySize=128), made.functions.python(source, MemorySize=256)
    made.wait_for_just(4)
    # 128 MB are left, which is room for two.
    assert made.first_invoke(small, spares=4).value == 1
    made.wait_for_just(2)
    # The other environment needs it all.
    assert invoke(made.client, large).value == 1
    made.wait_for_just(0)
    until(lambda: made.server.spares() == [], "the spares to end")
    made.server.stop()


def test_spares_that_are_killed_are_replaced_and_harm_nobody(python):
    name = python.functions.python("def handler(event, context): return 1\n")
    python.wait_for_spares(KEPT)
    killed = python.server.spares()
    assert len(killed) >= KEPT
    for pid in killed:
        os.kill(pid, signal.SIGKILL)
    assert invoke(python.client, name).value == 1
    until(lambda: len(set(python.server.spares()) - set(killed)) >= KEPT, "spares in their place")
    assert python.first_invoke(python.functions.python("def handler(event, context): return 2\n")).value == 2


def test_nothing_of_spares_is_left_by_a_server_that_is_killed(fresh_server):
    made = Made(fresh_server("--set", "functions.transition_ms=0"))
    made.functions.python("def handler(event, context): return 1\n")
    made.functions.node("exports.handler = async () => 1;")
    made.wait_for_spares(2 * KEPT)
    traces = Traces(made.server)
    assert len(made.server.spares()) == 2 * KEPT
    made.server.kill()
    try:
        until(lambda: not traces.left(), "nothing to be left")
    except AssertionError:
        left = traces.left()
        traces.end_processes()
        raise AssertionError(f"left after SIGKILL: {left}") from None


def test_one_that_does_not_come_up_keeps_no_other_kind_from_being_made(tmp_path_factory):
    """An interpreter that hangs while it starts is ended after a minute; nobody else waits for that."""
    folder = tmp_path_factory.mktemp("stuck")
    interpreter = Interpreter(folder / "python")
    (interpreter.modules / "sitecustomize.py").write_text(
        "import os, time\nif '_LAMBIC_SPARE' in os.environ: time.sleep(600)\n")
    (folder / "python.toml").write_text(interpreter.setting())
    made = started(tmp_path_factory, "unstuck", "--config", str(folder / "python.toml"), "--set", "functions.zygotes=false")
    made.functions.python("def handler(event, context): return 1\n", Runtime=INTERPRETED)

    def hangs():
        commands = [pathlib.Path(f"/proc/{pid}/cmdline") for pid in made.server.started()]
        return any("bootstrap.py" in command.read_text() for command in commands if command.exists())

    until(hangs, "a spare that hangs")
    ruby = made.functions.ruby("def handler(event:, context:) = 2\n")
    assert made.first_invoke(ruby).value == 2
    assert hangs()
    assert made.server.stop() == 0
