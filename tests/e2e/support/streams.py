"""Answers that come in pieces, and functions that go on when a test says so."""

import base64
import dataclasses
import json

from .functions import Report, new_name

# For Node.js functions: waits until a function of this name is gone. A test creates the function, its
# "bell", and deletes it when the other side may go on, so that no clock decides what comes first.
NODE = """
    const gone = (bell) => new Promise((done) => {
      const ask = () => {
        const url = `${process.env.AWS_ENDPOINT_URL}/2015-03-31/functions/${bell}`;
        require('http').get(url, (reply) => {
          reply.resume();
          if (reply.statusCode === 404) done();
          else setTimeout(ask, 5);
        });
      };
      ask();
    });
"""


@dataclasses.dataclass
class End:
    code: str | None
    details: str | None
    log: str

    @property
    def document(self):
        return json.loads(self.details)

    @property
    def report(self):
        return Report.of(self.log)


@dataclasses.dataclass
class Streamed:
    """A whole answer."""

    pieces: list
    end: End

    @property
    def payload(self):
        return b"".join(self.pieces)


class Stream:
    """One InvokeWithResponseStream by boto3, of which the test takes event after event."""

    def __init__(self, client, name, event=None, *, raw=None, tail=True, **more):
        payload = raw if raw is not None else json.dumps(event).encode()
        if tail:
            more["LogType"] = "Tail"
        self.reply = client.invoke_with_response_stream(FunctionName=name, Payload=payload, **more)
        assert self.reply["StatusCode"] == 200
        assert self.reply["ResponseStreamContentType"] == "application/vnd.amazon.eventstream"
        self.request_id = self.reply["ResponseMetadata"]["RequestId"]
        self.events = iter(self.reply["EventStream"])

    def piece(self):
        """The next event, which must be a piece of the answer."""
        event = next(self.events)
        assert set(event) == {"PayloadChunk"}, event
        return event["PayloadChunk"]["Payload"]

    def until(self, text):
        """Takes pieces until they hold `text`."""
        have = b""
        while text not in have:
            have += self.piece()
        return have

    def rest(self):
        pieces = []
        for event in self.events:
            if "PayloadChunk" in event:
                pieces.append(event["PayloadChunk"]["Payload"])
                continue
            end = event["InvokeComplete"]
            assert next(self.events, None) is None, "there is more after the end"
            log = base64.b64decode(end.get("LogResult", "")).decode(errors="replace")
            return Streamed(pieces, End(end.get("ErrorCode"), end.get("ErrorDetails"), log))
        raise AssertionError(f"the stream ended without InvokeComplete after {pieces[:3]}")

    def hang_up(self):
        self.reply["EventStream"].close()


def streamed(client, name, event=None, **more):
    return Stream(client, name, event, **more).rest()


class Bells:
    """Functions whose absence is a sign."""

    def __init__(self, functions):
        self.functions = functions

    def new(self):
        return self.functions.python("def handler(event, context): pass\n", name=new_name("bell"), wait=False)

    def ring(self, bell):
        self.functions.client.delete_function(FunctionName=bell)


def peak_kb(server):
    """Most memory that a server has had resident so far, whichever of its processes it was."""
    def of(pid):
        with open(f"/proc/{pid}/status") as status:
            return next(int(line.split()[1]) for line in status if line.startswith("VmHWM:"))

    return max(of(pid) for pid in server.processes())
