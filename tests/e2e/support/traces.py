"""What a server has on this machine beside its data, and whether an environment is frozen."""

import json
import os
import pathlib
import signal
import subprocess

from .server import descendants, parents
from .tools import need

GROUPS = pathlib.Path("/sys/fs/cgroup")


def started(pid):
    """When a process began, in ticks since the machine did; None when it has ended.

    With the id it names a process for good: ids are given again. One that only waits for its
    parent to read how it ended has ended.
    """
    try:
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else int(fields[19])


def groups_of(pid):
    """The control groups that a process is in, as folders of this machine."""
    try:
        lines = pathlib.Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        roots = [GROUPS / one for one in controllers.split(",")] if controllers else [GROUPS / "unified", GROUPS]
        found += [root / path.lstrip("/") for root in roots if (root / path.lstrip("/")).is_dir()]
    return found


def is_frozen(pid):
    """Whether the kernel says that this process's group stands still, in either layout."""
    for folder in groups_of(pid):
        try:
            if (folder / "freezer.state").read_text().strip() == "FROZEN":
                return True
        except OSError:
            pass
        try:
            if "frozen 1" in (folder / "cgroup.events").read_text().splitlines():
                return True
        except OSError:
            pass
    return False


def named(server, name):
    """The processes of a server with this name, `lambic-spawner` for one."""
    found = []
    for pid in descendants(server.process.pid):
        try:
            if pathlib.Path(f"/proc/{pid}/comm").read_text().strip() == name:
                found.append(pid)
        except OSError:
            pass
    return found


def _ip(*words):
    done = subprocess.run([need("ip", "iproute2"), "-j", *words], capture_output=True, text=True, check=True)
    return json.loads(done.stdout or "[]")


def _links_of(pids):
    """Indexes and names, on the host, of the links that lead into network namespaces of these processes."""
    def space(pid):
        try:
            return os.readlink(f"/proc/{pid}/ns/net")
        except OSError:
            return None

    by_space = {space(pid): pid for pid in pids}
    by_space.pop(None, None)
    by_space.pop(space("self"), None)
    peers = set()
    for pid in by_space.values():
        done = subprocess.run([need("nsenter", "util-linux"), "-t", str(pid), "-n", "ip", "-j", "link"],
                              capture_output=True, text=True)
        if done.returncode == 0:
            peers |= {link["link_index"] for link in json.loads(done.stdout) if "link_index" in link}
    return {(link["ifindex"], link["ifname"]) for link in _ip("link") if link["ifindex"] in peers}


def _tables():
    done = subprocess.run([need("nft", "nftables"), "list", "tables"], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def disks_of(server):
    """Loop devices whose files are, or were, below the data directory."""
    found = set()
    for backing in pathlib.Path("/sys/block").glob("loop*/loop/backing_file"):
        try:
            if backing.read_text().startswith(str(server.data)):
                found.add(backing.parts[3])
        except OSError:
            pass
    return found


class Traces:
    """Everything of one running server that must be gone when it is, however it ended.

    Only its own things are looked at: other servers may run on the same machine.
    """

    def __init__(self, server):
        self.server, self.root = server, os.geteuid() == 0
        pids = {server.process.pid} | descendants(server.process.pid)
        self.processes = {(pid, started(pid)) for pid in pids}
        own = {folder for pid in (os.getpid(), parents()[server.process.pid]) for folder in groups_of(pid)}
        mine = {folder for pid in pids for folder in groups_of(pid)} - own
        # With the folder that holds those of all its environments.
        mine |= {folder.parent for folder in mine if folder.parent.name.startswith("lambic-")}
        self.folders = {folder for folder in mine if not any(folder in one.parents for one in own)}
        self.folders |= {pathlib.Path(f"/run/lambic-run-{server.process.pid}"),
                         server.data / "sandbox" / str(server.process.pid)}
        self.folders = {folder for folder in self.folders if folder.is_dir()}
        self.links = _links_of(pids) if self.root else set()
        self.tables = {f"lambic_{pid}" for pid in pids} & _tables() if self.root else set()
        self.disks = disks_of(server)

    def left(self):
        """What is still there, in words."""
        found = [f"process {pid}" for pid, begun in self.processes if begun and started(pid) == begun]
        found += [str(folder) for folder in self.folders if folder.is_dir()]
        if self.links:
            now = {(link["ifindex"], link["ifname"]) for link in _ip("link")}
            found += [f"link {name}" for _, name in self.links & now]
        if self.tables:
            found += [f"table {name}" for name in self.tables & _tables()]
        found += [f"disk {name}" for name in self.disks & disks_of(self.server)]
        return sorted(found)

    def end_processes(self):
        """For a test that has failed: ends what it has found still running, frozen or not."""
        for pid, begun in self.processes:
            if begun and started(pid) == begun:
                for folder in groups_of(pid):
                    for name, word in (("freezer.state", "THAWED"), ("cgroup.freeze", "0")):
                        if folder in self.folders and (folder / name).exists():
                            (folder / name).write_text(word)
                os.kill(pid, signal.SIGKILL)
