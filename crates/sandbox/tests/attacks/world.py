# What is outside: services, objects of the kernel, a process. Prints what the attempts have to know
# and stays until its standard input ends.
import ctypes, json, os, signal, socket, subprocess, sys, threading

libc = ctypes.CDLL(None, use_errno=True)
CREATE, REMOVE = 0o1000, 0


def say_hello(listener):
    while True:
        try:
            listener.accept()[0].sendall(b"hello")
        except OSError:
            pass


for line in ("link set lo up", "addr add 169.254.169.254/32 dev lo"):
    subprocess.run(["ip", *line.split()], check=True)
signal.signal(signal.SIGTERM, lambda *_: sys.exit())
tcp = socket.create_server(("0.0.0.0", 0))
abstract = f"lambic-attacks-{os.getpid()}"
unix = socket.socket(socket.AF_UNIX)
unix.bind("\0" + abstract)
unix.listen()
for listener in (tcp, unix):
    threading.Thread(target=say_hello, args=(listener,), daemon=True).start()
key = 0x4C000000 | os.getpid()
shared = libc.shmget(key, 4096, CREATE | 0o666)
queue = libc.msgget(key, CREATE | 0o666)
semaphores = libc.semget(key, 1, CREATE | 0o666)
assert min(shared, queue, semaphores) >= 0, "the objects of the kernel could not be made"
victim = subprocess.Popen(["sleep", "1000"])
print(json.dumps({"port": tcp.getsockname()[1], "abstract": abstract, "key": key, "victim": victim.pid,
                  "hostname": socket.gethostname()}), flush=True)
try:
    sys.stdin.read()
finally:
    victim.kill()
    libc.shmctl(shared, REMOVE, None)
    libc.msgctl(queue, REMOVE, None)
    libc.semctl(semaphores, 0, REMOVE)
