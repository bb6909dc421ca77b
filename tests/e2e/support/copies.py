"""Servers whose spares are copies of one process, and what is compared of copies and of started ones."""

import re

from .functions import Functions, invoke
from .server import Server
from .wait import until

# So many wait of each kind, unless more starts are expected.
KEPT = 2


class Copies:
    """A server, its client, and invokes that find a spare; the function's kind must be the only one."""

    def __init__(self, folder, *args):
        self.server = Server(folder, "--set", "functions.transition_ms=0", *args).start()
        self.client, self.figure = self.server.client(), self.server.figure
        self.functions = Functions(self.client)

    def from_spare(self, name, event=None):
        until(lambda: self.figure("lambic_spares") >= KEPT, "spares")
        used = self.figure("lambic_spares_used_total")
        answer = invoke(self.client, name, event)
        assert self.figure("lambic_spares_used_total") == used + 1, self.server.text()
        return answer


def plain(log):
    """A log without what differs each time."""
    log = re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "ID", log)
    log = re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+Z?( #\d+)?", "TIME", log)
    log = re.sub(r"fn-\d+|\d+-\d+-\d+|[0-9a-f]{32}", "NAME", log)
    log = re.sub(r"\tInit Duration: [\d.]+ ms", "", log)
    return re.sub(r"\d+(\.\d+)? (ms|MB)", r"N \2", log)
