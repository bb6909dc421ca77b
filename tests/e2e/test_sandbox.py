"""What an execution environment promises, seen through the API: memory, freezing, a clean start, credentials, its end."""

import concurrent.futures
import json
import os
import pathlib
import re
import signal
import subprocess
import threading

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from support.functions import Functions, invoke, sdk_files, wait_active
from support.rootless import rootless_server
from support.server import REGION, binary, environment
from support.tools import HERE
from support.traces import Traces, disks_of, is_frozen, named, started
from support.wait import until

UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
# Functions of a burst.
MANY = 40
BASH = (HERE / "fixtures/bootstrap.sh").read_text()


@pytest.fixture(params=["root", "rootless"])
def any_server(request, fresh_server):
    """Makes one server as root and one as an ordinary user; what it gives is started."""
    if request.param == "root":
        assert os.geteuid() == 0, "these tests need root for the barriers that only root has"
        yield lambda *args, **more: fresh_server(*args, **more)
        return
    with rootless_servers() as make:
        yield make


class rootless_servers:
    """Makes and ends the one server of an ordinary user that a test asks for."""

    def __enter__(self):
        self.open = []

        def make(*args, **more):
            manager = rootless_server(*args, **more)
            self.open.append(manager)
            return manager.__enter__().start()
        return make

    def __exit__(self, *reason):
        for one in self.open:
            one.__exit__(*reason)


# Memory

# Children eat, say so, and stay until all of them have eaten or ended.
EATER = """
import os, signal, uuid
ID = str(uuid.uuid4())
def eat(mb):
    return len(bytearray(b"x") * (mb << 20)) >> 20
def handler(event, context):
    children, codes = [], []
    (eaten, say), (released, release) = os.pipe(), os.pipe()
    for mb in event.get("children", []):
        pid = os.fork()
        if pid == 0:
            os.close(release)
            hoard = bytearray(b"x") * (mb << 20)
            os.write(say, b".")
            os.close(say)
            os.read(released, 1)
            os._exit(0)
        children.append(pid)
    os.close(say)
    while os.read(eaten, 1):
        pass
    os.close(release)
    for pid in children:
        codes.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    os.close(eaten)
    os.close(released)
    if -signal.SIGKILL in codes:
        # An answer could be faster than the end that is to come.
        signal.pause()
    return {"id": ID, "codes": codes, "own": eat(event.get("own", 0))}
"""


def assert_out_of_memory(answer, memory_mb):
    assert (answer.status, answer.error) == (200, "Unhandled"), (answer.value, answer.log)
    assert answer.value["errorType"] == "Runtime.ExitError"
    assert re.fullmatch(rf"RequestId: {UUID} Error: Runtime exited with error: signal: killed",
                        answer.value["errorMessage"]), answer.value
    report = answer.report
    assert (report.status, report.error_type) == ("error", "Runtime.OutOfMemory")
    assert memory_mb * 0.8 <= report.used <= memory_mb, answer.log


def test_memory_of_children_counts_and_ends_the_environment(functions):
    name = functions.python(EATER, MemorySize=256, Timeout=110)
    first = functions.invoke(name, {"children": [60, 60]})
    assert first.value["codes"] == [0, 0]
    assert 120 <= first.report.used <= 256, "children count"
    # The child that is killed is not the runtime: on AWS too the environment ends with it.
    assert_out_of_memory(functions.invoke(name, {"children": [400]}), 256)
    after = functions.invoke(name, {"own": 10})
    assert after.value["id"] != first.value["id"] and after.value["own"] == 10, "a fresh environment"


def test_children_that_are_too_large_together(functions):
    name = functions.python(EATER, MemorySize=256, Timeout=110)
    first = functions.invoke(name, {}).value["id"]
    assert_out_of_memory(functions.invoke(name, {"children": [100, 100, 100]}), 256)
    assert functions.invoke(name, {}).value["id"] != first


def test_files_in_tmp_are_not_memory(functions):
    name = functions.python("""
        import os
        def handler(event, context):
            block = os.urandom(1 << 20)
            with open("/tmp/large", "wb", buffering=0) as file:
                for _ in range(event):
                    file.write(block)
            with open("/tmp/large", "rb", buffering=0) as file:
                read = sum(len(part) for part in iter(lambda: file.read(1 << 20), b""))
            return read >> 20
    """, MemorySize=512, EphemeralStorage={"Size": 512}, Timeout=60)
    answer = functions.invoke(name, 300)
    assert answer.value == 300
    assert answer.report.used < 200, "the page cache of files in /tmp is the machine's, not the function's"


# A clean start

# What a program finds when it is started. The first line looks without a pipe of its own; 255 is bash's script.
AT_START = r'''
ls /proc/$$/fd > /tmp/descriptors
start_descriptors=$(grep -v '^255$' /tmp/descriptors | tr '\n' ' ')
start_umask=$(umask)
start_signals=$(grep -E '^Sig(Blk|Ign):' /proc/self/status | tr '\t\n' '  ')
yes | head -1 > /dev/null
start_pipe="${PIPESTATUS[*]}"
start_limits="$(ulimit -n) $(ulimit -c)"
'''
TELL = r'''
        '"start"') call POST "$base/$id/response" "{\"umask\": \"$start_umask\", \"pipe\": \"$start_pipe\",
            \"descriptors\": \"$start_descriptors\", \"signals\": \"$start_signals\", \"limits\": \"$start_limits\"}" ;;
'''


def started_program():
    """The bootstrap in bash that can also tell how it was started."""
    head, _, body = BASH.partition("set -u\n")
    return head + AT_START + "set -u\n" + body.replace("    case $event in\n", "    case $event in" + TELL, 1)


def test_a_program_starts_clean(any_server):
    """Nothing of how the server was started reaches a function: mask, descriptors, signals."""
    odd = ("env", "--ignore-signal=USR2", "--block-signal=USR1", "bash", "-c",
           'umask 077; exec 9</etc/hosts; exec "$@"', "bash")
    server = any_server(before=odd)
    client = server.client()
    name = Functions(client).bootstrap(started_program())
    value = invoke(client, name, "start").value
    assert value["umask"] == "0022"
    assert value["pipe"].split() == ["141", "0"], "SIGPIPE ends a program whose reader has gone"
    signals = dict(zip(*[iter(value["signals"].split())] * 2))
    assert {int(bits, 16) for bits in signals.values()} == {0} and len(signals) == 2, signals
    # The fifth is the pipe for log records that a custom runtime has.
    assert set(value["descriptors"].split()) <= {"0", "1", "2", "3", "5"}
    assert value["limits"].split()[0] == "1024"
    server.stop()


def test_children_of_python_and_node_start_clean(functions):
    look = "grep -E '^Sig(Blk|Ign):' /proc/self/status; umask; (yes; echo $? >&2) 2>&1 >/dev/full | tail -1"
    python = functions.python(f"""
        import subprocess
        def handler(event, context):
            return subprocess.run(["bash", "-c", {look!r}], capture_output=True, text=True).stdout
    """)
    node = functions.node(f"""
        const {{ execFileSync }} = require('node:child_process');
        exports.handler = async () => execFileSync('bash', ['-c', {json.dumps(look)}], {{ encoding: 'utf8' }});
    """)
    for name in (python, node):
        lines = functions.invoke(name).value.split("\n")
        assert [int(line.split()[1], 16) for line in lines[:2]] == [0, 0], lines
        assert lines[2] == "0022", lines


# Freezing

FROZEN = """
import mmap, os, struct, threading, time, uuid
ID, count, child, beats = str(uuid.uuid4()), 0, None, mmap.mmap(-1, 8)
def tick():
    global count
    while True:
        count += 1
        time.sleep(0.005)
def beat():
    for number in range(1 << 62):
        struct.pack_into("q", beats, 0, number)
        time.sleep(0.005)
def counted():
    return [count, *struct.unpack("q", beats)]
def handler(event, context):
    global child
    if child is None:
        child = os.fork()
        if child == 0:
            beat()
        threading.Thread(target=tick, daemon=True).start()
    before = counted()
    deadline = time.monotonic() + 10
    while any(now <= was for now, was in zip(counted(), before)) and time.monotonic() < deadline:
        time.sleep(0.01)
    return {"id": ID, "before": before, "after": counted(), "child": os.waitpid(child, os.WNOHANG)[0]}
"""


def processor_ticks(pids):
    """Time that processes have spent on a processor, in nanoseconds, summed over their threads."""
    total = 0
    for pid in pids:
        for path in pathlib.Path(f"/proc/{pid}/task").glob("*/schedstat"):
            total += int(path.read_text().split()[0])
    return total


def test_thread_and_child_stand_still_between_invokes_and_go_on(fresh_server):
    server = fresh_server()
    client = server.client()
    name = Functions(client).python(FROZEN, MemorySize=512)
    first = invoke(client, name).value
    runtimes = server.runtimes()
    assert len(runtimes) >= 2, "the runtime and its child"
    until(lambda: all(is_frozen(pid) for pid in runtimes), "the environment to be frozen", 20)
    spent = processor_ticks(runtimes)
    # Not a wait for anything: this is the pause in which nothing may happen.
    threading.Event().wait(2)
    assert processor_ticks(runtimes) == spent, "no processor time while it is frozen"
    second = invoke(client, name).value
    assert second["id"] == first["id"], "the same environment went on"
    for before, after in zip(second["before"], second["after"]):
        assert after > before, "thread and child went on"
    assert second["child"] == 0, "the child is the one from before"
    assert processor_ticks(runtimes) > spent
    until(lambda: all(is_frozen(pid) for pid in runtimes), "it to be frozen again", 20)
    server.stop()


def test_a_frozen_environment_answers_and_ends(fresh_server):
    """Frozen processes do not die of a signal: deleting the function has to thaw them."""
    server = fresh_server()
    client = server.client()
    name = Functions(client).python(FROZEN, MemorySize=512)
    invoke(client, name)
    runtimes = [(pid, started(pid)) for pid in server.runtimes()]
    until(lambda: all(is_frozen(pid) for pid, _ in runtimes), "the environment to be frozen", 20)
    client.delete_function(FunctionName=name)
    until(lambda: not [pid for pid, begun in runtimes if started(pid) == begun], "the frozen processes to end", 20)
    assert server.stop() == 0


# Credentials

CREDENTIALS = """
import os, time
def handler(event, context):
    time.sleep(event or 0)
    return [os.environ[name] for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")]
"""


def two_at_once(client, name):
    """Asks twice at the same moment; the answers of two environments."""
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        answers = [one.value for one in pool.map(lambda _: invoke(client, name, 1), range(2))]
    return answers if answers[0] != answers[1] else None


def test_each_environment_has_credentials_of_its_own(any_server):
    server = any_server()
    client = server.client()
    functions = Functions(client)
    name = functions.python(CREDENTIALS)
    one, two = until(lambda: two_at_once(client, name), "two environments at once", 60)
    other = invoke(client, functions.python(CREDENTIALS)).value
    for position in range(3):
        assert len({each[position] for each in (one, two, other)}) == 3, "nothing is shared"
    assert invoke(client, name).value in (one, two), "an environment keeps its credentials"
    assert all(each[0].startswith("ASIA") and len(each[0]) == 20 for each in (one, two, other))
    server.stop()


SDK = """
import boto3, os
def handler(event, context):
    client = boto3.client("lambda")
    reply = client.invoke(FunctionName=event["callee"], Payload=b'{"n": 1}')
    names = [one["FunctionName"] for page in client.get_paginator("list_functions").paginate()
             for one in page["Functions"]]
    signer = boto3.Session().get_credentials().get_frozen_credentials()
    return {"answer": reply["Payload"].read().decode(), "found": event["callee"] in names,
            "file": boto3.__file__, "key": [signer.access_key, os.environ["AWS_ACCESS_KEY_ID"]]}
"""
STRICT = """
auth = "required"
[[user]]
access_key_id = "LKIATESTER"
secret_access_key = "the secret of the tester"
account = "111122223333"
"""
TESTER = {"aws_access_key_id": "LKIATESTER", "aws_secret_access_key": "the secret of the tester"}


def signed_client(server, **credentials):
    return boto3.client("lambda", endpoint_url=server.endpoint, region_name=REGION, **credentials,
                        config=Config(retries={"total_max_attempts": 1}))


def session_client(server, key, secret, token):
    return signed_client(server, aws_access_key_id=key, aws_secret_access_key=secret, aws_session_token=token)


@pytest.fixture
def strict_server(fresh_server, tmp_path):
    """A server that believes nobody without a signature that holds."""
    config = tmp_path / "strict.toml"
    config.write_text(STRICT)
    return fresh_server("--config", str(config))


@pytest.mark.parametrize("access", ["any credentials", "signed requests"])
def test_an_sdk_inside_a_function_comes_back_here(request, fresh_server, access):
    """boto3 without one word of configuration: address, region and credentials are the environment's."""
    server = request.getfixturevalue("strict_server") if access == "signed requests" else fresh_server()
    functions = Functions(signed_client(server, **TESTER) if access == "signed requests" else server.client())
    callee = functions.python("def handler(event, context): return ['called', event]\n")
    name = functions.create(files={"app.py": SDK, **sdk_files()}, MemorySize=512, Timeout=60)
    answer = functions.invoke(name, {"callee": callee})
    assert answer.error is None, answer.log
    value = answer.value
    assert json.loads(value["answer"]) == ["called", {"n": 1}] and value["found"]
    assert value["file"].startswith("/var/task/") and value["key"][0] == value["key"][1]
    assert server.stop() == 0


def refusal(call):
    with pytest.raises(ClientError) as caught:
        call()
    answer = caught.value.response
    return answer["ResponseMetadata"]["HTTPStatusCode"], answer["Error"]["Code"], answer["Error"]["Message"]


INVALID_TOKEN = (403, "UnrecognizedClientException", "The security token included in the request is invalid.")


def altered(text):
    """The text with another first character, whatever its first character is."""
    return ("y" if text[0] == "x" else "x") + text[1:]


def test_credentials_end_with_their_environment(strict_server):
    server = strict_server
    functions = Functions(signed_client(server, **TESTER))
    name = functions.python(CREDENTIALS)
    key, secret, token = functions.invoke(name).value
    session = session_client(server, key, secret, token)
    assert session.get_function_configuration(FunctionName=name)["FunctionArn"].split(":")[4] == "111122223333"
    assert refusal(session_client(server, key, secret, altered(token)).list_functions) == INVALID_TOKEN
    assert refusal(session_client(server, key, secret, None).list_functions) == INVALID_TOKEN
    assert refusal(session_client(server, key, altered(secret), token).list_functions)[:2] == (
        403, "InvalidSignatureException")
    # New code ends the environment; its credentials go with it and the new one's are others.
    functions.replace_code(name, CREDENTIALS + "# changed\n")
    fresh = functions.invoke(name).value
    assert fresh[0] != key

    def ended():
        try:
            session.list_functions()
        except ClientError as error:
            return error.response["Error"]["Code"] == "UnrecognizedClientException"
    until(ended, "the ended environment's credentials to be refused", 20)
    assert refusal(session.list_functions) == INVALID_TOKEN
    session_client(server, *fresh).list_functions()
    functions.clean()
    assert server.stop() == 0


def test_credentials_end_when_the_function_crashes(strict_server):
    functions = Functions(signed_client(strict_server, **TESTER))
    name = functions.python("import os\n" + CREDENTIALS.replace(
        "    time.sleep(event or 0)\n", "    if event == 'die': os._exit(1)\n"))
    session = session_client(strict_server, *functions.invoke(name).value)
    session.list_functions()
    assert functions.invoke(name, "die").value["errorType"] == "Runtime.ExitError"
    assert refusal(session.list_functions) == INVALID_TOKEN


# The end

def busy_and_frozen(server):
    """One environment that works, one that is frozen, and some that wait for work; what all of them are."""
    client = server.client(read_timeout=60, connect_timeout=5)
    functions = Functions(client)
    idle = functions.python(FROZEN, MemorySize=512)
    invoke(client, idle)
    frozen = server.runtimes()
    name = functions.python("import time\ndef handler(event, context): time.sleep(event)\n", Timeout=100)
    ended = []

    def call():
        # Whoever asks gets an error of one kind or the other, according to which process ends first.
        try:
            ended.append(invoke(client, name, 90).error)
        except (BotoCoreError, ClientError) as error:
            ended.append(error)
    thread = threading.Thread(target=call)
    thread.start()
    until(lambda: len(server.runtimes()) > len(frozen), "the other function to be at work")
    if os.geteuid() == 0 and not server.before:
        until(lambda: all(is_frozen(pid) for pid in frozen), "the idle environment to be frozen", 20)
    return thread, ended


KILLED = {
    "the server": lambda server: [server.process.pid],
    "the spawner": lambda server: named(server, "lambic-spawner"),
    "both at the same moment": lambda server: [server.process.pid, *named(server, "lambic-spawner")],
}


@pytest.mark.parametrize("case", KILLED)
def test_nothing_is_left_after_a_kill(any_server, case):
    """Without another start: there may never be one."""
    server = any_server()
    thread, ended = busy_and_frozen(server)
    victims = KILLED[case](server)
    assert len(victims) == (2 if "both" in case else 1), "one server, one spawner"
    traces = Traces(server)
    if traces.root and not server.before:
        assert traces.links and traces.tables and traces.disks, "there is something to be left"
        assert any(path.name.startswith("lambic-run-") for path in traces.folders)
    # A stopped process cannot do anything about the other's end, so that both end at one moment.
    for sent in (signal.SIGSTOP, signal.SIGKILL):
        for pid in victims:
            os.kill(pid, sent)
    try:
        server.process.wait(timeout=30)
        thread.join()
        assert ended and ended[0], "the invoke that was running ended in an error"
        try:
            until(lambda: not traces.left(), "everything of the server to be gone", 10)
        except AssertionError:
            raise AssertionError(f"10 s after the kill there still are {traces.left()}") from None
    finally:
        traces.end_processes()


def test_nothing_is_left_after_a_kill_in_the_midst_of_a_burst(fresh_server):
    """What is half made ends with the spawner, as do those who make it."""
    server = fresh_server("--set", "functions.memory_mb_max=20000")
    client = server.client(read_timeout=60, max_pool_connections=MANY, retries={"total_max_attempts": 1})
    functions = Functions(client)
    names = [functions.bootstrap(BASH, wait=False) for _ in range(MANY)]
    for name in names:
        wait_active(client, name)

    def call(name):
        try:
            return invoke(client, name).error
        except (BotoCoreError, ClientError) as error:
            return error

    with concurrent.futures.ThreadPoolExecutor(MANY) as pool:
        calls = [pool.submit(call, name) for name in names]
        until(lambda: len(named(server, "lambic-init")) > 8, "some environments")
        victims = [server.process.pid, *named(server, "lambic-spawner")]
        # Those who make environments end what they are at, and nobody takes it from them.
        for pid in victims:
            os.kill(pid, signal.SIGSTOP)
        traces = Traces(server)
        assert named(server, "lambic-maker"), "several are made at a time"
        for pid in victims:
            os.kill(pid, signal.SIGKILL)
        server.process.wait(timeout=30)
        ended = [one.result() for one in calls]
    assert any(ended), "it was ended in the midst of them"
    try:
        # The folder of the groups holds those that were made after the look at them, too.
        until(lambda: not traces.left() and not disks_of(server), "everything of the server to be gone", 20)
    except AssertionError:
        raise AssertionError(f"20 s after the kill there still are {traces.left()}, {disks_of(server)}") from None
    finally:
        traces.end_processes()


# What is offered and told

IO_URING = """
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
def handler(event, context):
    room = ctypes.create_string_buffer(120)
    descriptor = libc.syscall(425, 4, room)
    return [descriptor >= 0, ctypes.get_errno() if descriptor < 0 else 0]
"""


def test_io_uring_is_refused_unless_allowed(functions, fresh_server):
    assert functions.invoke(functions.python(IO_URING)).value in ([False, 1], [False, 38])
    server = fresh_server("--set", "sandbox.io_uring=true")
    client = server.client()
    allowed = invoke(client, Functions(client).python(IO_URING)).value
    # The host may forbid it to everybody; then it stays forbidden.
    here = {}
    exec(IO_URING, here)
    assert allowed == here["handler"](None, None)
    assert server.stop() == 0


BARRIERS = (
    "user namespace", "user id", "capabilities", "no new privileges", "process namespace", "closed init", "private root",
    "read-only files", "plain files", "devices", "own /etc", "masked /proc", "landlock", "/tmp", "network namespace",
    "network filter", "ipc namespace", "host name", "cgroup namespace", "system calls", "memory limit", "process limit",
    "processor share", "freezer", "resource limits", "closed descriptors", "keeper", "spawner", "server rules",
)


def barriers_of(text):
    """What `lambic doctor` says of each barrier: `{name: state}`."""
    part = re.split(r"^Barriers.*\n", text, flags=re.M)[1].split("\n\n")[0]
    return {line[2:20].strip(): line[20:].split()[0] for line in part.splitlines() if line.strip()}


def test_doctor_has_a_line_for_each_barrier_and_serve_the_sum(any_server):
    server = any_server()
    words = [str(server.program) if hasattr(server, "program") else str(binary()), "doctor"]
    done = subprocess.run([*server.before, *words], capture_output=True, text=True, timeout=60,
                          env=environment(**server.env), cwd=server.folder)
    assert done.returncode == 0, done
    told = barriers_of(done.stdout)
    assert set(BARRIERS) <= set(told), f"{set(BARRIERS) - set(told)} are not told: {done.stdout}"
    ready = next(json.loads(line) for line in server.text().splitlines() if '"isolation"' in line)
    fields = ready.get("fields", ready)
    in_force = [name for name, state in told.items() if state == "ok"]
    assert re.search(rf"\b{len(in_force)}\b", fields["isolation"]), f"{len(in_force)} of {len(told)}: {fields}"
    for name in set(told) - set(in_force):
        assert name in fields["lacking"], f"{name} is lacking and not in the sum {fields['lacking']}"
    server.stop()
