"""Measures inside functions what their configuration promises, each limit against what is found.

Every measurement is a generator of `Row`s. A row says what was configured, what was found, how far the two
may be apart, and whether they are within that.
"""

import concurrent.futures
import dataclasses
import json
import os
import re
import threading
import time

from botocore.exceptions import ClientError

from .functions import invoke, wait_updated
from .traces import is_frozen
from .wait import until

SIX_MB = 6 << 20
MB_PER_PROCESSOR = 1_769


@dataclasses.dataclass
class Row:
    limit: str
    configured: str
    measured: str
    tolerance: str
    holds: bool


def number(value):
    """1769 as `1,769`."""
    return f"{value:,}"


def value_of(client, name, event=None):
    answer = invoke(client, name, event)
    assert answer.error is None, f"{answer.value}\n{answer.log}"
    return answer.value


# Memory

GROW = """
import mmap
hoard = []
def own_mb():
    # Without the pages of programs and libraries, which the machine has once for everybody.
    [line] = [line for line in open("/proc/self/status") if line.startswith("RssAnon:")]
    [shared] = [line for line in open("/proc/self/status") if line.startswith("RssShmem:")]
    return int(line.split()[1]) + int(shared.split()[1]) >> 10
def handler(event, context):
    while len(hoard) < event:
        piece = mmap.mmap(-1, 1 << 20)
        for page in range(0, 1 << 20, mmap.PAGESIZE):
            piece[page] = 1
        hoard.append(piece)
        # Read from the log of an invocation that could not answer any more.
        print("has", len(hoard), own_mb(), flush=True)
    return len(hoard)
"""


def memory(server, functions):
    """The largest allocation that survives, and how the one that does not is told."""
    for configured in (128, 256, 512, MB_PER_PROCESSOR):
        name = functions.python(GROW, MemorySize=configured, Timeout=120)
        answer = functions.invoke(name, 2 * configured)
        survived = [tuple(map(int, found)) for found in re.findall(r"^has (\d+) (\d+)$", answer.log, re.M)]
        allocated, own = survived[-1] if survived else (0, 0)
        told = answer.value if answer.error else {}
        report = answer.report
        message = re.sub(r"^RequestId: \S+ ", "", told.get("errorMessage", ""))
        again = functions.invoke(name, allocated // 2)
        holds = (0.9 * configured <= own <= configured and told.get("errorType") == "Runtime.ExitError"
                 and message == "Error: Runtime exited with error: signal: killed"
                 and report.error_type == "Runtime.OutOfMemory" and 0.9 * configured <= report.used <= configured
                 and again.error is None)
        yield Row("Memory", f"{number(configured)} MB",
                  f"{number(allocated)} MB allocated, {number(own)} MB with the runtime's own; beyond: "
                  f"`{told.get('errorType')}`, \"{message}\", REPORT with Max Memory Used: {report.used} MB and "
                  f"Error Type: {report.error_type}; the next invoke {'answered' if again.error is None else 'failed'}",
                  "10 % less", holds)


# Processors

WORK = """
import os, time
def worker(seconds, pipe):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        pass
    os.write(pipe, b"%f\\n" % time.process_time())
    os._exit(0)
def handler(event, context):
    reading, writing = os.pipe()
    begun = time.monotonic()
    children = []
    for _ in range(2):
        pid = os.fork()
        if pid == 0:
            worker(event, writing)
        children.append(pid)
    used = 0.0
    for pid in children:
        used += sum(os.wait4(pid, 0)[2][:2])
    return used / (time.monotonic() - begun)
"""
SHARE_TRIES = 5
SHARE_SECONDS = 3


def machine_s():
    """Processor seconds since the machine started: used, and not used."""
    with open("/proc/stat") as file:
        fields = [int(field) / os.sysconf("SC_CLK_TCK") for field in file.readline().split()[1:9]]
    idle = fields[3] + fields[4]
    return sum(fields) - idle, idle


def share_and_others(client, name):
    """What the function had of the processors, what everybody else had, and what nobody used."""
    begun, before = time.monotonic(), machine_s()
    share = value_of(client, name, SHARE_SECONDS)
    wall, after = time.monotonic() - begun, machine_s()
    used, idle = ((now - then) / wall for now, then in zip(after, before))
    return share, max(0.0, used - share), idle


def processors(server, functions):
    """Processor seconds per second of two processes that never wait."""
    for configured in (128, MB_PER_PROCESSOR, 2 * MB_PER_PROCESSOR):
        expected = configured / MB_PER_PROCESSOR
        possible = min(expected, 2, os.cpu_count())
        name = functions.python(WORK, MemorySize=configured, Timeout=60)
        functions.invoke(name, 0)
        tries = []
        while len(tries) < SHARE_TRIES and (not tries or max(tries)[0] < 0.9 * possible):
            tries.append(share_and_others(functions.client, name))
        share, others, idle = max(tries)
        # Others can take processors away; a share that is too small while some are idle is ours.
        enough = share >= 0.9 * possible or idle < 0.05 * os.cpu_count()
        had = f" (others had {others:.2f} at the time)" if share < 0.9 * possible else ""
        yield Row("Processor share, two busy processes", f"{number(configured)} MB: {expected:.3f} processors",
                  f"{share:.3f} processors{had}", "10 %", enough and share <= 1.1 * expected)


# /tmp

FILL = """
import os
BLOCK = os.urandom(1 << 20)
def size(name):
    return os.stat("/tmp/" + name).st_size
def write(limit):
    written = 0
    with open("/tmp/fill", "wb", buffering=0) as file:
        try:
            while written < limit:
                written += file.write(BLOCK)
        except OSError as error:
            return written, error.errno
    return written, 0
def reserve(limit):
    # Takes the blocks without writing them; ten gigabytes of writing show nothing more.
    end, step = 0, 64 << 20
    descriptor = os.open("/tmp/reserved", os.O_CREAT | os.O_WRONLY)
    number = 0
    while end < limit and step >= 4096:
        try:
            os.posix_fallocate(descriptor, end, step)
            end += step
        except OSError as error:
            number, step = error.errno, step // 2
    os.close(descriptor)
    return end, number
def handler(event, context):
    if event["do"] == "list":
        return {name: size(name) for name in os.listdir("/tmp")}
    return {"write": write, "reserve": reserve}[event["do"]](event["limit"])
"""
ENOSPC = 28
WRITTEN_MB_MAX = 1_024


def temporary_files(server, functions):
    """How much fits, how the rest is refused, and how long it stays."""
    for configured in (512, 513, 1_024, 10_240):
        # The smallest function: if files were charged to memory, none of these would fit.
        name = functions.python(FILL, MemorySize=128, EphemeralStorage={"Size": configured}, Timeout=300)
        do = "write" if configured <= WRITTEN_MB_MAX else "reserve"
        room = configured << 20
        answer = functions.invoke(name, {"do": do, "limit": 2 * room})
        assert answer.error is None, f"{answer.value}\n{answer.log}"
        fits, refused = answer.value
        kept = list(value_of(functions.client, name, {"do": "list"}).values())
        functions.replace_code(name, FILL + "# another environment\n")
        fresh = value_of(functions.client, name, {"do": "list"})
        verb = "written" if do == "write" else "reserved"
        yield Row("/tmp of a 128 MB function", f"{number(configured)} MB",
                  f"{number(fits)} bytes {verb} ({fits / (1 << 20):,.1f} MB), then "
                  f"{'ENOSPC' if refused == ENOSPC else f'error {refused}'}; {number(sum(kept))} bytes in the next "
                  f"invoke, {len(fresh)} files in a new environment, Max Memory Used: {answer.report.used} MB",
                  "0.1 %", abs(fits - room) <= room / 1000 and refused == ENOSPC and kept == [fits] and fresh == {}
                  and answer.report.used <= 128)


# Counts

TASKS = """
import glob, os, signal, threading
def handler(event, context):
    release = threading.Event()
    children, threads, refused = [], 0, ""
    try:
        for _ in range(event["children"]):
            pid = os.fork()
            if pid == 0:
                signal.pause()
            children.append(pid)
        while threads < 5000:
            threading.Thread(target=release.wait, daemon=True).start()
            threads += 1
    except (OSError, RuntimeError) as error:
        refused = str(error)
    # Everything that runs inside but pid 1, which is the environment's own.
    most = len([path for path in glob.glob("/proc/[0-9]*/task/[0-9]*") if not path.startswith("/proc/1/")])
    release.set()
    for pid in children:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
    return [most, len(children), threads, refused]
"""
DESCRIPTORS = """
import os
def handler(event, context):
    opened = []
    try:
        while len(opened) < 5000:
            opened.append(os.open("/dev/null", os.O_RDONLY))
        number = 0
    except OSError as error:
        number = error.errno
    highest = max(opened)
    for descriptor in opened:
        os.close(descriptor)
    return [highest, number]
"""
EMFILE = 24


def counts(server, functions):
    """Processes with threads, and open files."""
    name = functions.python(TASKS, MemorySize=1_024, Timeout=60)
    most, children, threads, refused = value_of(functions.client, name, {"children": 100})
    yield Row("Processes and threads", "1,024",
              f"{number(most)} ({children} processes and {threads} threads made by the function, the rest its "
              f"runtime's), then \"{refused}\"", "1,022 to 1,024: pid 1 and a helper may count",
              1_022 <= most <= 1_024 and bool(refused))
    name = functions.python(DESCRIPTORS)
    highest, error = value_of(functions.client, name)
    yield Row("Open files of a process", "1,024",
              f"descriptors 0 to {number(highest)}, then {'EMFILE' if error == EMFILE else f'error {error}'}",
              "exact", highest == 1_023 and error == EMFILE)


# Time

def timeouts(server, functions):
    """How long an invocation that never ends may take."""
    for configured in (1, 3):
        name = functions.python("import time\ndef handler(event, context):\n    time.sleep(event)\n",
                                Timeout=configured)
        functions.invoke(name, 0)
        answer = functions.invoke(name, 60)
        report = answer.report
        message = re.sub(r"^RequestId: \S+ ", "", answer.value["errorMessage"])
        yield Row("Timeout", f"{configured} s",
                  f"ended after {report.duration / 1000:.3f} s; `{answer.value['errorType']}`, \"{message}\"",
                  "up to 0.1 s later",
                  answer.value["errorType"] == "Sandbox.Timedout"
                  and message == f"Error: Task timed out after {configured}.00 seconds"
                  and configured * 1000 <= report.duration <= configured * 1000 + 100)


# Sizes

def code_of(call):
    """What became of a request: `accepted`, or AWS's status and error code."""
    try:
        return "accepted", call()
    except ClientError as error:
        answer = error.response
        return f"{answer['ResponseMetadata']['HTTPStatusCode']} {answer['Error']['Code']}", None


def payloads(server, functions):
    """The largest event and the largest answer."""
    name = functions.python("def handler(event, context): return len(event)\n", MemorySize=512)
    largest, answer = code_of(lambda: functions.invoke(name, raw=b'"' + b"x" * (SIX_MB - 2) + b'"'))
    inside = answer.value if answer and answer.error is None else None
    beyond, _ = code_of(lambda: functions.invoke(name, raw=b'"' + b"x" * (SIX_MB - 1) + b'"'))
    yield Row("Request payload", f"{number(SIX_MB)} bytes",
              f"{number(SIX_MB)} bytes: {largest}, {number((inside or 0) + 2)} of them seen inside; one more: {beyond}",
              "exact", inside == SIX_MB - 2 and beyond == "413 RequestTooLargeException")
    # AWS grants a response a hundred bytes more, and says so in its error.
    room = SIX_MB + 100
    name = functions.python("def handler(event, context): return 'x' * (event - 2)\n", MemorySize=512)
    answer, larger = functions.invoke(name, room), functions.invoke(name, room + 1)
    told = larger.value.get("errorType") if larger.error else "accepted"
    yield Row("Response payload", f"{number(room)} bytes",
              f"{number(len(answer.payload))} bytes received; one more: `{told}`", "exact",
              answer.error is None and len(answer.payload) == room and told == "Function.ResponseSizeTooLarge")


def environment_variables(server, functions):
    """The size of the variables as JSON."""
    room = 4_096
    def of(size):
        return {"VALUE": "x" * (size - len(json.dumps({"VALUE": ""}, separators=(",", ":"))))}
    source = "import os\ndef handler(event, context): return len(os.environ['VALUE'])\n"
    name = functions.python(source, env=of(room))
    inside = value_of(functions.client, name)
    beyond, _ = code_of(lambda: functions.client.update_function_configuration(
        FunctionName=name, Environment={"Variables": of(room + 1)}))
    wait_updated(functions.client, name)
    yield Row("Environment variables", f"{number(room)} bytes of JSON",
              f"{number(room)} bytes: a value of {number(inside)} bytes seen inside; one more: {beyond}", "exact",
              inside == len(of(room)["VALUE"]) and beyond == "400 InvalidParameterValueException")


# Freezing

TICKS = """
import threading, time
ticks = []
def tick():
    while True:
        ticks.append(time.monotonic())
        time.sleep(0.005)
def handler(event, context):
    if not ticks:
        threading.Thread(target=tick, daemon=True).start()
    before = len(ticks)
    while len(ticks) < before + 10:
        time.sleep(0.005)
    gap = max((b - a for a, b in zip(ticks, ticks[1:])), default=0)
    del ticks[:-1]
    return [before, gap]
"""
FROZEN_S = 2.0
IDLE_S = 0.5
THAW_SAMPLES = 12
THAW_MS_MAX = 0.2


def spent_ns(pids):
    """Processor time of processes and all their threads."""
    total = 0
    for pid in pids:
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/schedstat") as file:
                total += int(file.read().split()[0])
    return total


def pause(seconds):
    """Lets time pass, because the passing of time is what is measured."""
    threading.Event().wait(seconds)


def freezing(server, functions):
    """What a background thread does between two invokes, and what thawing adds to the second."""
    name = functions.python(TICKS, MemorySize=MB_PER_PROCESSOR)
    known = set(server.runtimes())
    functions.invoke(name)
    mine = [pid for pid in server.runtimes() if pid not in known]

    def frozen():
        return mine and all(is_frozen(pid) for pid in mine)
    until(frozen, "the idle environment to be frozen", 20)
    before = spent_ns(mine)
    pause(FROZEN_S)
    during = spent_ns(mine) - before
    _, gap = value_of(functions.client, name)
    went_on = spent_ns(mine) > before
    yield Row("Frozen between invokes", f"{FROZEN_S:g} s with a thread that ticks every 5 ms",
              f"{during} ns of processor time while frozen; the thread's longest pause was {gap:.2f} s and it "
              f"{'went on' if went_on else 'did not go on'} with the next invoke", "exact",
              during == 0 and gap >= FROZEN_S and went_on)
    name = functions.python("def handler(event, context): return event\n", MemorySize=MB_PER_PROCESSOR)
    known = set(server.runtimes())
    functions.invoke(name)
    mine[:] = [pid for pid in server.runtimes() if pid not in known]
    timed = {"idle": [], "frozen": []}
    for _ in range(THAW_SAMPLES):
        pause(IDLE_S)
        timed["idle"].append(invoke_ms(functions, name))
        until(frozen, "the idle environment to be frozen", 20)
        timed["frozen"].append(invoke_ms(functions, name))
    # The best of each, because whatever else the machine does only ever adds to them.
    idle, cold = min(timed["idle"]), min(timed["frozen"])
    yield Row("Thawing", f"{THAW_MS_MAX} ms",
              f"an invoke took {cold:.2f} ms frozen and {idle:.2f} ms idle for {IDLE_S:g} s: {cold - idle:+.2f} ms "
              f"(best of {THAW_SAMPLES}, measured by the client)", "1 ms, as exactly as a client can tell",
              cold - idle <= THAW_MS_MAX + 1)


def invoke_ms(functions, name):
    begun = time.perf_counter()
    functions.invoke(name, 1, tail=False)
    return (time.perf_counter() - begun) * 1000


# Concurrency of an environment

def one_at_a_time(server, functions):
    """An environment has one invocation at a time, whatever the load."""
    name = functions.python("""
        import threading, time, uuid
        ID, lock = str(uuid.uuid4()), threading.Lock()
        def handler(event, context):
            alone = lock.acquire(blocking=False)
            time.sleep(0.2)
            if alone:
                lock.release()
            return [ID, alone]
    """)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: value_of(functions.client, name), range(32)))
    alone = sum(1 for _, free in answers if free)
    yield Row("Invocations in an environment at a time", "1",
              f"{alone} of {len(answers)} invokes were alone in theirs, with 8 callers and "
              f"{len({one for one, _ in answers})} environments", "exact", alone == len(answers))


ALL = (memory, processors, temporary_files, counts, timeouts, payloads, environment_variables, freezing, one_at_a_time)
