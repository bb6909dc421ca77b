"""The real binary as an ordinary user, whoever runs the tests."""

import contextlib
import os
import pathlib
import shutil
import tempfile

from .server import Server, binary
from .tools import need

# Nobody has this number on any machine, so nothing of the machine belongs to it.
UID = 61_234


class RootlessServer(Server):
    """As `Server`, from a copy of the binary that the ordinary user can reach."""

    def __init__(self, home, *args, **more):
        before = more.pop("before", ())
        self.program = home / "lambic"
        if os.geteuid() == 0:
            switch = (need("setpriv", "util-linux"), f"--reuid={UID}", f"--regid={UID}", "--clear-groups")
            before = (*switch, *before)
        env = {"HOME": str(home), "PATH": "/usr/local/bin:/usr/bin:/bin"}
        super().__init__(home / "server", *args, before=before, env={**env, **more.pop("env", {})}, **more)

    def command(self):
        return [str(self.program) if word == str(binary()) else word for word in super().command()]


@contextlib.contextmanager
def rootless_server(*args, **more):
    """A server that is not started yet, in a folder of its user's; stopped and removed at the end."""
    home = pathlib.Path(tempfile.mkdtemp(prefix="lambic-rootless-"))
    server = RootlessServer(home, *args, **more)
    server.folder.mkdir()
    shutil.copy(binary(), server.program)
    server.program.chmod(0o755)
    if os.geteuid() == 0:
        for folder in (home, server.folder):
            os.chown(folder, UID, UID)
    try:
        yield server
    finally:
        if server.process and server.process.poll() is None:
            server.stop()
        shutil.rmtree(home)
