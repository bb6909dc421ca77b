"""HTTP without a client library's good manners: what old, broken and hostile clients send."""

import dataclasses
import http.client
import json
import re
import socket


@dataclasses.dataclass
class Reply:
    status: int
    headers: dict
    body: bytes

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def code(self):
        """The error code as SDKs read it."""
        return self.headers.get("x-amzn-errortype", "").split(":")[0]

    @property
    def message(self):
        document = self.json
        return document.get("message", document.get("Message"))


def request(port, method, path, body=None, headers=None, timeout=60):
    """One request on a connection of its own; a dict becomes JSON."""
    if isinstance(body, (dict, list)):
        body = json.dumps(body).encode()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request(method, path, body=body, headers=headers or {})
        reply = connection.getresponse()
        return Reply(reply.status, {k.lower(): v for k, v in reply.getheaders()}, reply.read())
    finally:
        connection.close()


class Wire:
    """A bare connection: bytes out, one reply in."""

    def __init__(self, port, timeout=30):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=timeout)
        self.input = self.socket.makefile("rb")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.input.close()
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data if isinstance(data, bytes) else data.encode())
        return self

    def head(self):
        """Status and headers of the next reply, also of a `100 Continue`."""
        status = int(self.input.readline().split()[1])
        headers = {}
        while (line := self.input.readline().strip()):
            name, _, value = line.decode().partition(":")
            headers[name.lower()] = value.strip()
        return status, headers

    def reply(self):
        status, headers = self.head()
        if headers.get("transfer-encoding") == "chunked":
            body = b""
            while (size := int(self.input.readline(), 16)):
                body += self.input.read(size)
                self.input.readline()
            self.input.readline()
        else:
            body = self.input.read(int(headers.get("content-length", 0)))
        return Reply(status, headers, body)

    def at_end(self):
        """Whether the other side has closed."""
        try:
            return self.input.read(1) == b""
        except ConnectionResetError:
            return True


def before_lineage(header):
    """A trace header as a function sees it, without the part that names this invocation of it."""
    found = re.fullmatch(r"(.*?)(?:;Lineage=|\|)[0-9a-f]{8}:0", header)
    assert found, header
    return found[1]
