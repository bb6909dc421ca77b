"""The server's memory stays flat over 100,000 warm invokes."""

import socket
import threading

import pytest

INVOKES = 100_000
CALLERS = 4
EVENT = b'{"n": 12345, "text": "0123456789abcdef"}'


class Caller(threading.Thread):
    """One keep-alive connection that sends the same invoke over and over, and checks each answer."""

    def __init__(self, port, name, count):
        super().__init__()
        self.port, self.count, self.wrong = port, count, None
        self.message = (f"POST /2015-03-31/functions/{name}/invocations HTTP/1.1\r\nHost: 127.0.0.1\r\n"
                        f"Content-Length: {len(EVENT)}\r\n\r\n").encode() + EVENT

    def run(self):
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=60) as one:
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                for _ in range(self.count):
                    one.sendall(self.message)
                    reply = one.recv(65_536)
                    while not reply.endswith(EVENT):
                        more = one.recv(65_536)
                        assert more, f"the connection ended after {reply!r}"
                        reply += more
                    assert reply.startswith(b"HTTP/1.1 200 "), reply
        except Exception as error:  # noqa: BLE001 - whatever it is, the test reports it
            self.wrong = error


def call(server, name, count):
    callers = [Caller(server.port, name, count // CALLERS) for _ in range(CALLERS)]
    for one in callers:
        one.start()
    for one in callers:
        one.join()
        assert one.wrong is None, one.wrong


@pytest.mark.timeout(400)
def test_memory_is_flat_over_a_hundred_thousand_invokes(fresh_server):
    from support.functions import Functions
    server = fresh_server("--set", "log.level=warn")
    functions = Functions(server.client())
    name = functions.python("def handler(event, context): return event\n")
    call(server, name, INVOKES // 10)
    warm = server.memory_kb()
    sizes = []
    for _ in range(9):
        call(server, name, INVOKES // 10)
        sizes.append(server.memory_kb())
    assert sizes[-1] - warm < 6 * 1024 + warm // 20, f"from {warm} kB to {sizes} kB"
    report = functions.invoke(name, 1).report
    assert report.used < 128
    assert server.stop() == 0
