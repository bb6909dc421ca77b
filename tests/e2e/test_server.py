"""The command: what it says at start, what it refuses, how it ends, and how it does without root."""

import concurrent.futures
import json
import os
import pathlib
import re
import signal
import socket
import subprocess

import pytest
from botocore.exceptions import ClientError

from support.functions import PYTHON, ROLE, Functions, invoke, wait_active, zip_of
from support.http import request
from support.rootless import rootless_server
from support.server import ROOT, Server, binary, environment, free_port
from support.tools import need
from support.wait import until

SLOW = "import time\ndef handler(event, context):\n    time.sleep(event)\n    return 'finished'\n"


def run(*words, timeout=60, **more):
    return subprocess.run([binary(), *map(str, words)], capture_output=True, text=True, timeout=timeout,
                          **{"env": environment(), **more})


def refused(done, code, *words):
    """A start that has to fail: its exit code, and one sentence that says why."""
    assert done.returncode == code, done
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    assert len(lines) == 1, done.stderr
    for word in words:
        assert word in lines[0], done.stderr


def test_start_up_announces_what_there_is(fresh_server):
    server = fresh_server()
    text = until(lambda: server.endpoint in server.text() and server.text(), "the endpoint to be announced")
    assert str(server.data) in text
    assert "isolation" in text.lower()


def test_any_free_port(tmp_path):
    process = subprocess.Popen([binary(), "serve", "--listen", "127.0.0.1:0", "--data-dir", tmp_path / "data"],
                               stdout=open(tmp_path / "log", "wb"), stderr=subprocess.STDOUT, env=environment())
    try:
        found = until(lambda: re.search(r"http://127\.0\.0\.1:(\d+)", (tmp_path / "log").read_text()),
                      "the endpoint to be announced")
        assert int(found[1]) > 0
    finally:
        process.terminate()
        assert process.wait(timeout=30) == 0


def test_version():
    done = run("--version")
    assert done.returncode == 0 and re.match(r"lambic \d+\.\d+\.\d+", done.stdout)


def test_help_names_every_command():
    text = run("--help").stdout
    for word in ("serve", "demo", "doctor"):
        assert word in text


def test_doctor():
    done = run("doctor")
    assert done.returncode == 0, done
    for word in ("python", "node", "cgroup", "seccomp"):
        assert word in (done.stdout + done.stderr).lower()


def test_the_demo(tmp_path):
    done = run("demo", "--once", timeout=120, cwd=ROOT, env=environment(
        HOME=str(tmp_path), XDG_DATA_HOME=str(tmp_path / "share"), LAMBIC_LISTEN=f"127.0.0.1:{free_port()}",
        LAMBIC_DATA_DIR=str(tmp_path / "data")))
    assert done.returncode == 0, done
    assert done.stdout.count("REPORT RequestId") + done.stdout.count("Billed Duration") >= 3
    assert "aws " in done.stdout


def test_a_port_in_use(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refused(run("serve", "--listen", f"127.0.0.1:{port}", "--data-dir", tmp_path / "data"), 3, str(port))


def test_a_directory_that_cannot_be_made():
    refused(run("serve", "--listen", "127.0.0.1:0", "--data-dir", "/proc/lambic"), 4, "/proc/lambic")


def test_a_data_directory_that_is_a_file(tmp_path):
    (tmp_path / "file").write_text("no directory")
    refused(run("serve", "--listen", "127.0.0.1:0", "--data-dir", tmp_path / "file"), 4, str(tmp_path / "file"))


@pytest.fixture
def mount(tmp_path):
    """Mounts small file systems, which takes root."""
    assert os.geteuid() == 0, "the tests of full and read-only disks need root for their mounts"
    mounted = []

    def make(options):
        folder = tmp_path / f"mount-{len(mounted)}"
        folder.mkdir()
        subprocess.run([need("mount", "mount"), "-t", "tmpfs", "-o", options, "tmpfs", folder], check=True)
        mounted.append(folder)
        return folder
    yield make
    for folder in mounted:
        subprocess.run(["umount", "-l", folder], check=True)


def test_a_read_only_directory(mount):
    folder = mount("size=1m,ro")
    refused(run("serve", "--listen", "127.0.0.1:0", "--data-dir", folder), 4, str(folder))


def test_data_of_another_version(fresh_server):
    server = fresh_server()
    assert server.stop() == 0
    marks = [path for path in server.data.iterdir() if "version" in path.name.lower() or "format" in path.name.lower()]
    if marks:
        marks[0].write_text("999\n")
        refused(run("serve", "--listen", "127.0.0.1:0", "--data-dir", server.data), 4, str(server.data))


CONFIGURATIONS = {
    "unknown setting": ("no_such_setting = 1\n", "no_such_setting"),
    "unknown table": ("[nothing]\nx = 1\n", "nothing"),
    "wrong type": ("drain_s = 'long'\n", "drain_s"),
    "no TOML": ("listen = \n", "line 1"),
    "out of range": ("[functions]\nconcurrency_max = -5\n", "concurrency_max"),
    "isolation none by file": ("[sandbox]\nisolation = 'none'\n", "isolation"),
}


@pytest.mark.parametrize("case", CONFIGURATIONS)
def test_configurations_that_are_refused(tmp_path, case):
    text, word = CONFIGURATIONS[case]
    (tmp_path / "lambic.toml").write_text(text)
    refused(run("serve", "--config", tmp_path / "lambic.toml", "--data-dir", tmp_path / "data"), 2, word)


def test_flags_that_are_refused(tmp_path):
    done = run("serve", "--no-such-flag")
    assert done.returncode == 2 and "--no-such-flag" in done.stderr
    refused(run("serve", "--listen", "nonsense", "--data-dir", tmp_path), 2, "nonsense")
    refused(run("serve", "--config", tmp_path / "missing.toml"), 2, "missing.toml")


def test_other_machines_are_not_served_by_accident(tmp_path):
    refused(run("serve", "--listen", f"0.0.0.0:{free_port()}", "--data-dir", tmp_path / "data"), 7, "0.0.0.0")


def test_settings_come_from_flags_variables_and_file(fresh_server):
    server = fresh_server("--config", "lambic.toml", start=False,
                          env={"LAMBIC_FUNCTIONS_CONCURRENCY_MAX": "7", "LAMBIC_REGION": "eu-north-1"})
    server.folder.mkdir()
    (server.folder / "lambic.toml").write_text("region = 'us-west-2'\n[functions]\nconcurrency_max = 5\n")
    limits = server.start().client().get_account_settings()["AccountLimit"]
    assert limits["ConcurrentExecutions"] == 7
    assert server.stop() == 0
    server.args = (*server.args, "--set", "functions.concurrency_max=9")
    limits = server.start().client().get_account_settings()["AccountLimit"]
    assert limits["ConcurrentExecutions"] == 9


def test_concurrency_over_the_limit_is_throttled(fresh_server):
    server = fresh_server("--set", "functions.concurrency_max=2")
    functions = Functions(server.client())
    name = functions.python(SLOW)

    def call(_):
        try:
            return functions.invoke(name, 1).value
        except ClientError as error:
            return error.response
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        results = list(pool.map(call, range(6)))
    throttled = [one for one in results if one != "finished"]
    assert len(throttled) == 4
    for one in throttled:
        assert one["Error"]["Code"] == "TooManyRequestsException", one
        assert one["ResponseMetadata"]["HTTPStatusCode"] == 429
        assert one["Error"]["Message"] == "Rate Exceeded."
        assert one["Reason"] == "ConcurrentInvocationLimitExceeded"


def test_sigterm_lets_running_invokes_finish(fresh_server):
    server = fresh_server()
    functions = Functions(server.client())
    name = functions.python(SLOW)
    functions.invoke(name, 0)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        idle = in_flight(server)
        running = pool.submit(functions.invoke, name, 2)
        until(lambda: in_flight(server) > idle, "the invoke to run")
        server.terminate()
        assert running.result().value == "finished"
    assert server.process.wait(timeout=20) == 0


def in_flight(server):
    """How many requests are being served, this one too."""
    text = request(server.port, "GET", "/metrics").body.decode()
    return int(re.search(r"^lambic_front_requests (\d+)$", text, re.M)[1])


def test_new_work_is_refused_while_it_drains(fresh_server):
    server = fresh_server()
    functions = Functions(server.client())
    name = functions.python(SLOW)
    functions.invoke(name, 0)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        idle = in_flight(server)
        running = pool.submit(functions.invoke, name, 3)
        until(lambda: in_flight(server) > idle, "the invoke to run")
        server.terminate()

        def refuses():
            try:
                with socket.create_connection(("127.0.0.1", server.port), timeout=5) as one:
                    one.sendall(b"GET /2015-03-31/functions HTTP/1.1\r\nHost: x\r\n\r\n")
                    reply = one.recv(100)
                return not reply or b" 503 " in reply
            except OSError:
                return True
        until(refuses, "new connections to be refused", 2.5)
        assert running.result().value == "finished"
    assert server.process.wait(timeout=20) == 0


def test_a_second_signal_does_not_wait(fresh_server):
    server = fresh_server()
    functions = Functions(server.client(read_timeout=30))
    name = functions.python(SLOW, Timeout=60)
    functions.invoke(name, 0)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        idle = in_flight(server)
        running = pool.submit(functions.invoke, name, 50)
        until(lambda: in_flight(server) > idle, "the invoke to run")
        server.process.send_signal(signal.SIGTERM)
        until(lambda: "drain" in server.text().lower() or server.process.poll() is not None, "the drain to begin")
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(timeout=10) == 9
        assert running.exception() is not None


def test_an_idle_server_ends_at_once(fresh_server):
    server = fresh_server()
    functions = Functions(server.client())
    functions.invoke(functions.python("def handler(event, context): return 1\n"))
    server.terminate()
    assert server.process.wait(timeout=8) == 0


@pytest.fixture
def on_small_disk(mount, tmp_path):
    """A server whose data is on a disk of 24 MB, and a way to put packages of 1.5 MB onto it."""
    folder = mount("size=24m")
    server = Server(folder / "server", "--set", "functions.transition_ms=20")
    # The log has a test of its own.
    server.log = tmp_path / "serve.log"
    server.start()

    def create(number):
        package = {"app.py": f"def handler(e, c): return {number}\n", "noise": os.urandom(1_500_000)}
        try:
            server.client().create_function(
                FunctionName=f"full-{number}", Runtime=PYTHON, Role=ROLE, Handler="app.handler",
                Code={"ZipFile": zip_of(package)})
        except ClientError as error:
            return error.response
        return None
    yield server, folder, create
    if server.process.poll() is None:
        server.stop()


def names_of(server):
    return {one["FunctionName"] for one in server.client().list_functions()["Functions"]}


def assert_told(server, error):
    """A full disk is the server's fault, and whoever runs it is told what it is."""
    assert error["ResponseMetadata"]["HTTPStatusCode"] >= 500, error
    assert re.search(r"disk|space|full", error["Error"]["Message"] + server.text(), re.I), error


def test_a_disk_that_others_have_filled(on_small_disk):
    server, folder, create = on_small_disk
    assert create(0) is None
    wait_active(server.client(), "full-0")
    with open(folder / "filler", "wb", buffering=0) as filler:
        try:
            while True:
                filler.write(bytes(65_536))
        except OSError:
            pass
    error = create(1)
    assert error, "there was no room for a package"
    assert_told(server, error)
    assert names_of(server) == {"full-0"}, "nothing half-made is listed"
    assert invoke(server.client(), "full-0").value == 0, "what is there goes on"
    (folder / "filler").unlink()
    assert create(2) is None, "with room again everything works again"
    wait_active(server.client(), "full-2")
    assert invoke(server.client(), "full-2").value == 2
    server.kill()
    server.start()
    assert names_of(server) == {"full-0", "full-2"}
    assert invoke(server.client(), "full-2").value == 2


@pytest.mark.timeout(300)
def test_a_disk_that_packages_have_filled_can_be_cleared(on_small_disk):
    server, _, create = on_small_disk
    made, error = [], None
    for number in range(30):
        error = create(number)
        if error:
            break
        made.append(f"full-{number}")
    assert made and error, "a disk of 24 MB cannot hold 30 packages"
    assert_told(server, error)
    assert names_of(server) == set(made), "nothing half-made is listed, nothing made is lost"
    wait_active(server.client(), made[0])
    assert invoke(server.client(), made[0]).value == 0
    for name in made[1:]:
        server.client().delete_function(FunctionName=name)
    assert names_of(server) == {made[0]}
    # Packages nobody refers to are swept at the latest after a restart.
    assert server.stop() == 0
    server.start()
    until(lambda: create(99) is None, "room for a package after the others were deleted", 150, every=0.5)
    wait_active(server.client(), "full-99")
    assert invoke(server.client(), "full-99").value == 99


def test_a_log_that_cannot_be_written_harms_nobody(fresh_server):
    server = fresh_server(start=False)
    server.log = pathlib.Path("/dev/full")
    server.text = lambda: ""
    functions = Functions(server.start().client())
    name = functions.python("def handler(event, context):\n    print('x' * 1000)\n    return event\n")
    for number in range(20):
        assert functions.invoke(name, number).value == number
    assert server.stop() == 0


@pytest.fixture
def nobodys_server():
    """A server of an unprivileged user, from a folder that this user can reach."""
    with rootless_server() as server:
        yield server


def test_without_root(nobodys_server):
    server = nobodys_server.start()
    functions = Functions(server.client())
    name = functions.python("""
        import os
        def handler(event, context):
            status = open("/proc/self/status").read()
            seen = []
            for path in ("/etc/shadow", event["secret"]):
                try:
                    seen.append(open(path).read(1))
                except OSError:
                    pass
            try:
                os.kill(-1, 0)
                others = [pid for pid in os.listdir("/proc") if pid.isdigit()]
            except OSError:
                others = [pid for pid in os.listdir("/proc") if pid.isdigit()]
            return {"pids": len(others), "seen": seen, "tmp": open("/tmp/x", "w").write("fine"),
                    "seccomp": "Seccomp:\\t2" in status, "uid": os.getuid()}
    """)
    secret = server.folder / "secret"
    secret.write_text("s")
    secret.chmod(0o644)
    value = functions.invoke(name, {"secret": str(secret)}).value
    assert value["pids"] <= 5 and value["seen"] == [] and value["tmp"] == 4 and value["seccomp"]
    assert functions.invoke(name, {"secret": "/nothing"}).report.init is None
    text = server.text().lower()
    assert "isolation" in text
    for barrier in ("memory", "process"):
        assert barrier in text, "what is in force and what is lacking is said for every barrier"
    assert server.stop() == 0


def test_no_isolation_is_only_by_the_explicit_flag(fresh_server):
    server = fresh_server("--isolation", "none")
    functions = Functions(server.client())
    assert functions.invoke(functions.python("def handler(e, c): return 'bare'\n")).value == "bare"
    assert "isolation" in server.text().lower()
    assert server.stop() == 0


def test_logs_are_json_when_nobody_looks(fresh_server):
    server = fresh_server()
    lines = until(lambda: server.text().splitlines(), "the first line of the log")
    assert all(json.loads(line) for line in lines)


def test_secrets_never_reach_a_log(fresh_server):
    server = fresh_server(env={"LAMBIC_LOG_LEVEL": "trace"})
    functions = Functions(server.client())
    name = functions.python("def handler(event, context): return event\n", env={"PASSWORD": "swordfish-variable"})
    functions.invoke(name, "swordfish-payload")
    assert functions.invoke(functions.python(
        "import os\ndef handler(event, context): return os.environ['AWS_SECRET_ACCESS_KEY']\n")).value \
        not in server.text()
    assert "swordfish" not in server.text()
