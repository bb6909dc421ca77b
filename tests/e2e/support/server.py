"""Starting, stopping and killing the real binary."""

import os
import pathlib
import re
import signal
import socket
import subprocess
import urllib.error
import urllib.request

import boto3
from botocore.config import Config

from .wait import until

ROOT = pathlib.Path(__file__).resolve().parents[3]
REGION = "us-east-1"
ACCOUNT = "000000000000"
# What functions of tests run on, whatever day it is; tests of retirement use others.
EVERGREEN = [*(f"python3.{minor}" for minor in range(8, 15)), *(f"nodejs{major}.x" for major in (18, 20, 22, 24)),
             "ruby3.2", "ruby3.3", "ruby3.4", "ruby4.0", "java8.al2", "java11", "java17", "java21", "java25",
             "provided.al2", "provided.al2023"]


def binary():
    path = pathlib.Path(os.environ.get("LAMBIC_BIN", ROOT / "target/release/lambic"))
    assert path.is_file(), f"there is no {path}: build it with `cargo build --release`, or set LAMBIC_BIN"
    return path


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def environment(**more):
    """The variables of this process without what would change the server or its clients."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("LAMBIC_", "AWS_"))}
    return {**clean, **more}


class Server:
    """One `lambic serve`. What it prints is kept in `<folder>/serve.log`, over all starts."""

    def __init__(self, folder, *args, env=None, before=()):
        self.folder = pathlib.Path(folder)
        self.data = self.folder / "data"
        self.log = self.folder / "serve.log"
        self.args, self.before = args, before
        self.env = {"LAMBIC_RUNTIMES_ALLOW_RETIRED": ",".join(EVERGREEN), **(env or {})}
        self.port = free_port()
        self.process = None

    @property
    def endpoint(self):
        return f"http://127.0.0.1:{self.port}"

    def command(self):
        return [
            *self.before, str(binary()), "serve",
            "--listen", f"127.0.0.1:{self.port}", "--data-dir", str(self.data), *self.args,
        ]

    def spawn(self):
        self.folder.mkdir(parents=True, exist_ok=True)
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder,
                env=environment(**self.env), start_new_session=True,
            )
        return self

    def start(self, seconds=20):
        self.spawn()
        until(self.is_ready, f"{self.endpoint} to be ready; see {self.log}", seconds)
        return self

    def is_ready(self):
        code = self.process.poll()
        assert code is None, f"the server ended with {code}:\n{self.text()}"
        try:
            with urllib.request.urlopen(f"{self.endpoint}/_lambic/health", timeout=5) as reply:
                return reply.status == 200
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return False

    def text(self):
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def kill(self):
        """The hardest end: no handler runs."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(timeout=30)

    def terminate(self):
        self.process.send_signal(signal.SIGTERM)

    def stop(self, seconds=40):
        """Asks it to end and returns its exit code."""
        if self.process is None:
            return None
        if self.process.poll() is None:
            self.terminate()
        try:
            return self.process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"the server did not end within {seconds} s after SIGTERM") from None

    def client(self, account=ACCOUNT, region=REGION, **config):
        """boto3 as a user makes it, but that it does not repeat a request behind the test's back."""
        settings = {"retries": {"total_max_attempts": 1}, "read_timeout": 120, "max_pool_connections": 256}
        return boto3.client(
            "lambda", endpoint_url=self.endpoint, region_name=region,
            aws_access_key_id=account, aws_secret_access_key="anything",
            config=Config(**{**settings, **config}),
        )

    def memory_kb(self):
        """Resident memory of the server and its spawner, without the functions'."""
        return sum(resident_kb(pid) for pid in self.processes())

    def processes(self):
        """The server and those of its children that run the same binary (the spawner)."""
        mine, program = [self.process.pid], os.path.realpath(f"/proc/{self.process.pid}/exe")
        for pid, parent in parents().items():
            if parent == self.process.pid and same_program(pid, program):
                mine.append(pid)
        return mine

    def runtimes(self):
        """Processes of functions: everything below the server that runs another program, but spares
        and what they are copied from."""
        return [pid for pid in self.started() if waits_as(pid) is None]

    def spares(self):
        """Interpreters that wait for a function."""
        return [pid for pid in self.started() if waits_as(pid) == "spare"]

    def figure(self, name):
        """What /metrics counts under this name now."""
        with urllib.request.urlopen(f"{self.endpoint}/metrics", timeout=10) as reply:
            return int(re.search(rf"^{name} (\d+)$", reply.read().decode(), re.M)[1])

    def zygotes(self):
        """Interpreters of which spares are copies."""
        return [pid for pid in self.started() if waits_as(pid) == "zygote"]

    def started(self):
        program = os.path.realpath(f"/proc/{self.process.pid}/exe")
        return [pid for pid in descendants(self.process.pid)
                if not same_program(pid, program) and resident_kb(pid)]


def same_program(pid, program):
    try:
        return os.path.realpath(f"/proc/{pid}/exe") == program
    except OSError:
        return False


def waits_as(pid):
    """What the first process of its sandbox, its parent, says that it waits as; `None` if it has a function.
    One that is just being copied is still below the zygote's program, and interpreters are asked for their
    version by the server itself."""
    direct = True
    while True:
        try:
            parent = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]
            name = pathlib.Path(f"/proc/{parent}/comm").read_text().strip()
        except OSError:
            return None
        if name.startswith("lambic"):
            kinds = {"lambic-init": None, "lambic-spare": "spare", "lambic-zygote": "zygote"}
            kind = kinds.get(name, "being asked")
            return kind if direct or kind is None else "being copied"
        pid, direct = parent, False


def resident_kb(pid):
    try:
        status = pathlib.Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    found = re.search(r"^VmRSS:\s+(\d+) kB", status, re.M)
    return int(found[1]) if found else 0


def parents():
    """Every process of the machine and its parent."""
    found = {}
    for folder in pathlib.Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                stat = (folder / "stat").read_text()
            except OSError:
                continue
            found[int(folder.name)] = int(stat.rpartition(")")[2].split()[1])
    return found


def descendants(root):
    """All processes below `root`, whatever session or group they are in."""
    tree, found, border = parents(), set(), {root}
    while border:
        border = {pid for pid, parent in tree.items() if parent in border} - found
        found |= border
    return found
