"""Functions that mean harm: each harms nobody, and ends in AWS's error or the expected refusal."""

import os
import pathlib
import platform
import re
import socket
import threading
import time

import pytest

from support.functions import Functions, invoke
from support.server import descendants, resident_kb
from support.wait import until

EPERM, ENOSYS, ENOENT, EACCES = 1, 38, 2, 13
REFUSALS = {EPERM, ENOSYS, EACCES, ENOENT}


@pytest.fixture(scope="module")
def neighbour(client):
    """Another function, which has to answer whatever its neighbours do."""
    made = Functions(client)
    name = made.python("import os\ndef handler(event, context): return ['fine', event]\n")
    invoke(client, name)

    def check(seconds=5.0):
        begun = time.monotonic()
        assert invoke(client, name, 7).value == ["fine", 7]
        assert time.monotonic() - begun < seconds, "the neighbour had to wait"
    yield check
    made.clean()


@pytest.fixture(autouse=True)
def nobody_is_harmed(server, neighbour):
    """Before and after each attack the neighbour answers and the server is the same process."""
    pid = server.process.pid
    neighbour()
    yield
    assert server.process.poll() is None and server.process.pid == pid
    neighbour()


def while_it_runs(functions, name, event, look):
    """Invokes in the background and calls `look` over and over until the answer is there."""
    result = []
    thread = threading.Thread(target=lambda: result.append(functions.invoke(name, event)))
    thread.start()
    looks = 0
    while thread.is_alive():
        look()
        looks += 1
        thread.join(0.2)
    assert looks and result, "the attack ended without an answer"
    return result[0]


def test_a_fork_bomb(server, functions, neighbour):
    name = functions.python("""
        import os
        def handler(event, context):
            while True:
                try:
                    os.fork()
                except OSError:
                    pass
    """, Timeout=3)
    before, before_at_work = len(descendants(server.process.pid)), len(server.runtimes())
    most = []
    answer = while_it_runs(functions, name, None, lambda: (neighbour(10), most.append(
        len(descendants(server.process.pid)))))
    assert answer.error == "Unhandled"
    assert answer.value["errorType"] in ("Sandbox.Timedout", "Runtime.ExitError")
    assert max(most) - before < 1_500, "an environment's processes are limited (AWS: 1,024)"
    # What waits ahead of requests may have become more meanwhile.
    until(lambda: len(server.runtimes()) <= before_at_work + 3, "the bomb's processes to be gone", 30)


def test_a_thread_bomb(functions, neighbour):
    name = functions.python("""
        import threading, time
        def handler(event, context):
            made = 0
            try:
                while made < 5000:
                    threading.Thread(target=time.sleep, args=(5,), daemon=True).start()
                    made += 1
            except RuntimeError:
                pass
            return made
    """, Timeout=15, MemorySize=512)
    answer = while_it_runs(functions, name, None, lambda: neighbour(10))
    assert answer.error or answer.value < 1_500


def test_a_memory_bomb(functions, neighbour):
    name = functions.python("""
        import os
        def handler(event, context):
            for _ in range(8):
                if os.fork() == 0:
                    break
            hoard = []
            while True:
                hoard.append(bytearray(b"x" * (8 << 20)))
    """, Timeout=120, MemorySize=256)
    answer = while_it_runs(functions, name, None, lambda: neighbour(10))
    assert answer.error == "Unhandled"
    assert answer.value["errorType"] == "Runtime.ExitError"
    assert answer.value["errorMessage"].endswith("Error: Runtime exited with error: signal: killed")


def test_filling_tmp(functions, neighbour):
    name = functions.python("""
        import os
        def handler(event, context):
            written, block = 0, b"x" * (1 << 20)
            try:
                with open("/tmp/fill", "wb", buffering=0) as file:
                    while written < 4096:
                        written += file.write(block) >> 20
            except OSError as error:
                number = error.errno
            os.remove("/tmp/fill")
            open("/tmp/again", "w").write("works")
            return [written, number]
    """, Timeout=60, EphemeralStorage={"Size": 512})
    answer = while_it_runs(functions, name, None, lambda: neighbour(10))
    assert answer.error is None, answer
    written, number = answer.value
    assert 450 <= written <= 520 and number == 28, "ENOSPC at the size that was configured"


def test_filling_tmp_with_many_files(functions):
    name = functions.python("""
        def handler(event, context):
            made = 0
            try:
                for made in range(200_000):
                    open(f"/tmp/{made}", "w").close()
            except OSError as error:
                return [made, error.errno]
            return [made, 0]
    """, Timeout=60, MemorySize=1769)
    answer = functions.invoke(name)
    assert answer.error is None, answer
    made, number = answer.value
    assert number == 28 or (made, number) == (199_999, 0), "ENOSPC, or room for all of them"
    assert made > 1_000


def test_scanning_proc(server, functions):
    name = functions.python("""
        import os
        def handler(event, context):
            found = {}
            for pid in filter(str.isdigit, os.listdir("/proc")):
                seen = found.setdefault(pid, {})
                for what in ("cmdline", "environ"):
                    try:
                        seen[what] = open(f"/proc/{pid}/{what}", "rb").read().decode(errors="replace")
                    except OSError as error:
                        seen[what] = error.errno
            sensitive = {}
            for path in ("/proc/kcore", "/proc/kmsg", "/proc/1/root/etc/shadow", "/proc/sys/kernel/core_pattern",
                         "/proc/sysrq-trigger", "/proc/1/mem", "/sys/kernel/uevent_helper", "/sys/fs/cgroup/tasks"):
                for mode in ("rb", "r+b"):
                    try:
                        with open(path, mode) as file:
                            if mode == "r+b" or path != "/proc/sys/kernel/core_pattern":
                                sensitive[path + " " + mode] = repr(file.read(10))
                    except OSError:
                        pass
            return [found, sensitive]
    """)
    found, sensitive = functions.invoke(name).value
    assert 0 < len(found) <= 5, "an environment sees its own processes only"
    assert sensitive == {}
    everything = repr(found)
    for secret in (str(server.data), "SECRET_OF_THE_HOST", "pytest"):
        assert secret not in everything, f"{secret} can be seen from inside"


def test_no_open_files_are_inherited(server, functions):
    name = functions.python("""
        import os
        def handler(event, context):
            found = {}
            for fd in os.listdir("/proc/self/fd"):
                try:
                    found[fd] = os.readlink(f"/proc/self/fd/{fd}")
                except OSError:
                    pass
            return found
    """)
    for target in functions.invoke(name).value.values():
        assert re.match(r"(socket:|pipe:|/dev/null|/proc/|anon_inode:|/dev/urandom)", target), target


@pytest.fixture
def host_listeners():
    """Something of the host to reach: TCP on both loopbacks and a socket in the abstract namespace."""
    four = socket.create_server(("127.0.0.1", 0))
    six = socket.create_server(("::1", 0), family=socket.AF_INET6) if socket.has_dualstack_ipv6() else None
    abstract = socket.socket(socket.AF_UNIX)
    abstract.bind(f"\0lambic-e2e-{os.getpid()}")
    abstract.listen()
    yield four, six, abstract
    for one in (four, six, abstract):
        if one:
            one.close()


CONNECT = """
import socket
def attempt(family, address):
    try:
        with socket.socket(family, socket.SOCK_STREAM) as one:
            one.settimeout(2)
            one.connect(tuple(address) if isinstance(address, list) else address)
        return "connected"
    except OSError as error:
        return str(error)
def handler(event, context):
    return [attempt(family, address) for family, address in event]
"""


def test_the_loopback_of_the_host_is_out_of_reach(server, functions, host_listeners):
    four, six, abstract = host_listeners
    targets = [[socket.AF_INET, ["127.0.0.1", four.getsockname()[1]]],
               [socket.AF_INET, ["127.0.0.1", server.port]],
               [socket.AF_INET, ["127.0.0.2", server.port]],
               [socket.AF_INET, ["0.0.0.0", server.port]],
               [socket.AF_INET, ["10.0.2.2", server.port]],
               [socket.AF_UNIX, f"\0lambic-e2e-{os.getpid()}"]]
    if six:
        targets.append([socket.AF_INET6, ["::1", six.getsockname()[1]]])
    answer = functions.invoke(functions.python(CONNECT), targets)
    assert "connected" not in answer.value, answer.value


def test_the_runtime_api_of_another_environment_is_out_of_reach(functions):
    victim = functions.python("import time\ndef handler(event, context):\n    time.sleep(3)\n    return 'mine'\n")
    spy = functions.python("""
        import socket
        def handler(event, context):
            found = []
            for port in range(1, 65536):
                with socket.socket() as one:
                    # A socket that happens to get this very port as its own connects to itself.
                    if one.connect_ex(("127.0.0.1", port)) == 0 and one.getsockname() != one.getpeername():
                        found.append(port)
            for path in open("/proc/net/unix").read().split("\\n")[1:]:
                found += [word for word in path.split()[7:] if word]
            return found
    """, Timeout=60, MemorySize=1769)
    answer = while_it_runs(functions, victim, None, lambda: None)
    found = functions.invoke(spy).value
    assert answer.value == "mine"
    assert set(found) <= {9001, 4566}, "only the environment's own Runtime API and its way to the API are there"


MISBEHAVE = """
        import http.client, os, socket
        api = os.environ["AWS_LAMBDA_RUNTIME_API"]
        base = "/2018-06-01/runtime"

        def ask(method, path, body=None, headers={}):
            connection = http.client.HTTPConnection(api, timeout=5)
            connection.request(method, path, body, headers)
            reply = connection.getresponse()
            return [reply.status, reply.read().decode()]

        def bare(data):
            host, port = api.split(":")
            with socket.create_connection((host, int(port)), timeout=5) as one:
                try:
                    one.sendall(data)
                    one.shutdown(socket.SHUT_WR)
                    return one.recv(100).decode(errors="replace")
                except OSError as error:
                    return str(error)
"""


def test_clients_of_the_runtime_api_that_misbehave(functions):
    name = functions.python(MISBEHAVE + """
        def handler(event, context):
            other = "00000000-0000-4000-8000-000000000000"
            replies = {
                "unknown id": ask("POST", f"{base}/invocation/{other}/response", b'"forged"'),
                "no id": ask("POST", f"{base}/invocation/x/error", b"{}"),
                "init error too late": ask("POST", f"{base}/init/error", b"{}"),
                "unknown path": ask("GET", "/etc/passwd"),
                "wrong method": ask("DELETE", f"{base}/invocation/next"),
                "garbage": bare(b"\\x00\\xff" * 1000),
                "long head": bare(b"GET / HTTP/1.1\\r\\n" + b"X: y\\r\\n" * 200_000),
            }
            crowd = []
            try:
                for _ in range(3000):
                    host, port = api.split(":")
                    crowd.append(socket.create_connection((host, int(port)), timeout=1))
            except OSError:
                pass
            return replies
    """, Timeout=60)
    answer = functions.invoke(name)
    assert answer.error is None, answer
    value = answer.value
    assert value["unknown id"][0] == 400 and "InvalidRequestID" in value["unknown id"][1]
    assert value["no id"][0] in (400, 404)
    assert value["init error too late"][0] == 403
    assert value["unknown path"][0] == 404 and value["wrong method"][0] in (404, 405)
    for refused in ("garbage", "long head"):
        assert "200 OK" not in value[refused], value[refused]
    assert functions.invoke(name).error is None, "its own client was not pushed out by the crowd"


def test_an_answer_that_is_cut_off(functions):
    name = functions.python(MISBEHAVE + """
        def handler(event, context):
            if event == "cut":
                bare(b"POST /2018-06-01/runtime/invocation/" + context.aws_request_id.encode()
                     + b"/response HTTP/1.1\\r\\nHost: x\\r\\nContent-Length: 1000\\r\\n\\r\\nhalf")
            return "whole"
    """)
    answer = functions.invoke(name, "cut")
    # AWS may end the invocation here; half an answer is never taken for a whole one.
    if answer.error:
        assert answer.value["errorType"] in ("Runtime.TruncatedResponse", "Runtime.ExitError"), answer
    else:
        assert answer.value == "whole"
    assert functions.invoke(name, "again").value == "whole"


def test_writing_outside_of_tmp(functions):
    paths = ["/", "/var/task", "/var/runtime", "/etc", "/usr", "/usr/bin", "/bin", "/lib", "/root", "/home", "/opt",
             "/var", "/var/lib", "/sys", "/proc", "/proc/sys/kernel", "/run", "/mnt", "/boot"]
    name = functions.python("""
        import os
        def handler(event, context):
            done = []
            for folder in event:
                for act in (lambda: open(folder + "/intruder", "w").close(), lambda: os.mkdir(folder + "/folder"),
                            lambda: os.chmod(folder, 0o777), lambda: os.rename(folder, folder + "-moved"),
                            lambda: os.symlink("/etc/shadow", folder + "/link")):
                    try:
                        act()
                        done.append(folder)
                    except OSError:
                        pass
            for path in ("/var/task/app.py", "/etc/passwd", "/etc/hosts", "/usr/bin/env"):
                try:
                    open(path, "r+").close()
                    done.append(path)
                except OSError:
                    pass
            open("/tmp/fine", "w").close()
            return done
    """)
    assert functions.invoke(name, paths).value == []


def test_reading_the_host(server, functions):
    secret = server.folder / "secret.txt"
    secret.write_text("of the host")
    paths = ["/etc/shadow", "/etc/gshadow", str(secret), str(server.data), "/root/.ssh", "/root/.aws", "/home",
             "/var/log", "/var/run/docker.sock", "/dev/sda", "/dev/vda", "/dev/mem", "/dev/kmsg", "/var/lib/lambic",
             "/etc/ssl/private", "/proc/1/root", "/sys/kernel/debug", "/sys/fs/cgroup"]
    name = functions.python("""
        import os
        def handler(event, context):
            seen = {}
            for path in event:
                try:
                    inside = os.listdir(path) if os.path.isdir(path) else [open(path, "rb").read(10).hex()]
                    if inside and not (path == "/proc/1/root" and "app.py" in os.listdir("/var/task")):
                        seen[path] = inside
                except OSError:
                    pass
            return seen
    """)
    assert functions.invoke(name, paths).value == {}


KILLS = {
    "init": "os.kill(1, signal.SIGKILL)",
    "parent": "os.kill(os.getppid(), signal.SIGKILL)",
    "everybody": "os.kill(-1, signal.SIGKILL)",
    "its group": "os.killpg(0, signal.SIGKILL)",
    "any id": "[os.kill(pid, signal.SIGTERM) for pid in range(2, 40000) if pid != os.getpid()]",
}


@pytest.mark.parametrize("case", KILLS)
def test_killing(server, functions, case):
    name = functions.python(f"""
        import os, signal
        def handler(event, context):
            try:
                {KILLS[case]}
            except OSError as error:
                return type(error).__name__
            return "alive"
    """)
    spawner = server.processes()
    answer = functions.invoke(name)
    if answer.error:
        assert answer.value["errorType"] in ("Runtime.ExitError", "Sandbox.Timedout")
    else:
        assert answer.value in ("alive", "PermissionError", "ProcessLookupError")
    assert server.processes() == spawner, "the spawner lives"


def test_privileges_are_gone(functions):
    name = functions.python("""
        import os
        def handler(event, context):
            status = dict(line.split(":\\t", 1) for line in open("/proc/self/status").read().splitlines() if ":\\t" in line)
            seen = {key: status[key].strip() for key in ("CapEff", "CapPrm", "CapBnd", "NoNewPrivs", "Seccomp", "Uid")}
            refused = []
            for act in (lambda: os.setuid(0), lambda: os.setgid(0), lambda: os.setgroups([0]),
                        lambda: os.chown("/tmp", 0, 0), lambda: os.nice(-20),
                        lambda: os.mknod("/tmp/device", 0o60666, os.makedev(8, 0))):
                try:
                    act()
                except OSError:
                    refused.append(True)
            return [seen, len(refused)]
    """)
    seen, refused = functions.invoke(name).value
    assert int(seen["CapEff"], 16) == int(seen["CapPrm"], 16) == 0
    assert seen["NoNewPrivs"] == "1" and seen["Seccomp"] == "2"
    assert "0" not in seen["Uid"].split(), "it is not root, not even inside"
    assert refused == 6


def test_setuid_programs_give_nothing(functions):
    name = functions.python("""
        import glob, os, stat, subprocess
        def handler(event, context):
            won = []
            for path in glob.glob("/usr/bin/*") + glob.glob("/bin/*"):
                try:
                    if os.stat(path).st_mode & stat.S_ISUID and path.endswith(("su", "mount", "passwd", "sudo")):
                        done = subprocess.run([path, "--version"], capture_output=True, timeout=5)
                        status = open("/proc/self/status").read()
                        if "Uid:\\t0" in status:
                            won.append(path)
                except (OSError, subprocess.TimeoutExpired):
                    pass
            os.chmod("/tmp", 0o777)
            open("/tmp/me", "w").write("#!/bin/sh\\nid -u\\n")
            os.chmod("/tmp/me", 0o4755)
            uid = subprocess.run(["/tmp/me"], capture_output=True, text=True).stdout.strip()
            status = open("/proc/self/status").read().splitlines()
            mounts = [line.split() for line in open("/proc/self/mountinfo")]
            return {"won": won, "uid": uid, "status": [line.split() for line in status],
                    "options": {fields[4]: fields[5].split(",") for fields in mounts}}
    """)
    seen = functions.invoke(name).value
    assert seen["won"] == [] and seen["uid"] not in ("", "0")
    # Two barriers, each enough by itself: no process gains privileges, no file system grants them.
    assert ["NoNewPrivs:", "1"] in seen["status"]
    for place in ("/usr", "/tmp"):
        assert "nosuid" in seen["options"][place], f"{place}: {seen['options'][place]}"


def test_raw_sockets(functions):
    name = functions.python("""
        import socket
        def handler(event, context):
            done = []
            for family, kind, protocol in ((2, 3, 1), (2, 3, 255), (17, 3, 0x300), (10, 3, 58), (38, 5, 0), (40, 1, 0)):
                try:
                    socket.socket(family, kind, protocol).close()
                    done.append(family)
                except OSError:
                    pass
            return done
    """)
    assert functions.invoke(name).value == []


# x86_64 system calls that no function needs and exploits begin with: number and arguments.
SYSTEM_CALLS = {
    "ptrace attach to init": (101, 16, 1, 0, 0), "mount": (165, "tmpfs", "/tmp", "tmpfs", 0, 0),
    "umount": (166, "/proc", 2), "pivot_root": (155, "/tmp", "/tmp"), "chroot": (161, "/tmp"),
    "unshare user": (272, 0x10000000), "unshare mount": (272, 0x00020000), "unshare net": (272, 0x40000000),
    "setns": (308, 0, 0), "add_key": (248, "user", "x", "y", 1, -3), "keyctl": (250, 0, -3, 0, 0),
    "request_key": (249, "user", "x", 0, -3), "bpf": (321, 5, 0, 0), "perf_event_open": (298, 0, 0, -1, -1, 0),
    "init_module": (175, 0, 0, 0), "finit_module": (313, 0, 0, 0), "kexec_load": (246, 0, 0, 0, 0),
    "reboot": (169, 0xfee1dead, 672274793, 0x1234567, 0), "sethostname": (170, "evil", 4),
    "settimeofday": (164, 0, 0), "clock_settime": (227, 0, 0), "swapon": (167, "/tmp/x", 0), "acct": (163, 0),
    "process_vm_readv": (310, 1, 0, 0, 0, 0, 0), "open_by_handle_at": (304, 0, 0, 0), "userfaultfd": (323, 0),
    "io_uring_setup": (425, 1, 0), "iopl": (172, 3), "ioperm": (173, 0, 1, 1), "syslog": (103, 2, 0, 0),
    "quotactl": (179, 0, 0, 0, 0), "fanotify_init": (300, 0, 0),
    "open_tree": (428, -100, "/", 1), "move_mount": (429, -100, "/tmp", -100, "/opt", 0), "fsopen": (430, "tmpfs", 0),
    "clone3 garbage": (435, 0, 0), "lookup_dcookie": (212, 0, 0, 0), "vhangup": (153,),
}
CALL = """
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
def handler(event, context):
    arguments = [word.encode() if isinstance(word, str) else ctypes.c_long(word) for word in event]
    ctypes.set_errno(0)
    result = libc.syscall(*arguments)
    return [result, ctypes.get_errno()]
"""


@pytest.fixture(scope="module")
def caller(client):
    made = Functions(client)
    yield made.python(CALL)
    made.clean()


@pytest.mark.parametrize("case", SYSTEM_CALLS)
def test_system_calls_that_are_refused(functions, caller, case):
    assert platform.machine() == "x86_64", "these numbers are for x86_64"
    answer = functions.invoke(caller, SYSTEM_CALLS[case])
    if answer.error:
        assert "bad system call" in answer.value["errorMessage"] or "signal 31" in answer.value["errorMessage"]
        return
    result, number = answer.value
    allowed = REFUSALS | ({22} if case == "clone3 garbage" else set())
    assert result == -1 and number in allowed, f"{case}: {result}, errno {number}"


def test_new_user_namespaces_by_clone(functions):
    name = functions.python("""
        import ctypes, os
        libc = ctypes.CDLL(None, use_errno=True)
        def handler(event, context):
            pid = libc.syscall(56, 0x10000000 | 17, 0, 0, 0, 0)
            if pid == 0:
                os._exit(0)
            return [pid, ctypes.get_errno()]
    """)
    answer = functions.invoke(name)
    assert answer.error or answer.value[0] == -1, answer


def test_flooding_the_log(server, functions, neighbour):
    name = functions.python("""
        import os
        def handler(event, context):
            line = b"x" * 1023 + b"\\n"
            for _ in range(200):
                os.write(1, line * 1000)
            print("the end")
    """, Timeout=60)
    before = server.memory_kb()
    answer = while_it_runs(functions, name, None, lambda: neighbour(10))
    assert answer.error is None or answer.value["errorType"] == "Sandbox.Timedout"
    assert len(answer.log.encode()) <= 4096
    assert server.memory_kb() - before < 96 * 1024, "200 MB of output are not held in memory"


def test_a_log_without_line_ends(functions):
    name = functions.python("import os\ndef handler(event, context): return os.write(1, b'x' * 5_000_000)\n")
    answer = functions.invoke(name)
    assert len(answer.log.encode()) <= 4096


def test_processes_that_stay_behind(server, functions):
    name = functions.python("""
        import subprocess
        def handler(event, context):
            subprocess.Popen(["sh", "-c", "while :; do :; done # left-behind"], start_new_session=True)
            return "left"
    """)
    assert functions.invoke(name).value == "left"
    functions.client.delete_function(FunctionName=name)

    def left():
        found = []
        for pid in descendants(server.process.pid):
            try:
                if b"left-behind" in pathlib.Path(f"/proc/{pid}/cmdline").read_bytes():
                    found.append(pid)
            except OSError:
                pass
        return found
    until(lambda: not left(), "the deleted function's processes to be gone", 20)


def test_the_server_is_not_swollen(server):
    assert resident_kb(server.process.pid) < 400 * 1024
