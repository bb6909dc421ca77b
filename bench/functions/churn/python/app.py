"""The Python function of the soak: does what its event says, as `churn/native` does."""

import os
import signal
import socket
import subprocess
import time
import uuid

LEFT_MAX = 30
ENVIRONMENT, CLEAN = str(uuid.uuid4()), not os.listdir("/tmp")
count, children, sockets = 0, [], []


def handler(event, context):
    global count
    count += 1
    act(event)
    return {"n": event["n"] + 1, "function": os.environ["AWS_LAMBDA_FUNCTION_NAME"], "environment": ENVIRONMENT,
            "count": count, "clean": CLEAN}


def act(event):
    if event.get("bytes"):
        print("\n".join(["x" * 99] * (event["bytes"] // 100)))
    match event["do"]:
        case "quick" | "print":
            pass
        case "allocate":
            bytearray(b"\1") * (32 << 20)
        case "write":
            with open(f"/tmp/churn-{count % 4}", "wb") as file:
                file.write(b"\7" * (1 << 20))
        case "fork":
            if len(children) < LEFT_MAX:
                children.extend(subprocess.Popen(["sleep", "1000"]) for _ in range(3))
        case "exec":
            subprocess.run(["true"], check=True)
        case "socket":
            open_sockets()
        case "throw":
            raise ValueError("on purpose")
        case "exit":
            os._exit(event["code"])
        case "signal":
            signal.signal(event["signal"], signal.SIG_DFL) if event["signal"] != signal.SIGKILL else None
            os.kill(os.getpid(), event["signal"])
            time.sleep(60)
        case "oom":
            kept = []
            while True:
                kept.append(bytearray(b"\1") * (8 << 20))
        case "sleep":
            time.sleep(60)
        case other:
            raise RuntimeError(f"'{other}' is nothing this function can do")


def open_sockets():
    if len(sockets) < LEFT_MAX:
        listener = socket.create_server(("127.0.0.1", 0))
        sockets.append((listener, socket.create_connection(listener.getsockname()), listener.accept()))
    host, port = os.environ["AWS_ENDPOINT_URL"].removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as one:
        one.sendall(f"GET / HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n".encode())
        if not one.recv(100).startswith(b"HTTP/1.1 "):
            raise RuntimeError("the AWS endpoint does not answer")
