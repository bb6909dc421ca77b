"""FileSystemConfigs: folders of the machine in place of file systems behind access points."""

import os
import stat

import pytest

from support.functions import Functions, invoke, wait_updated
from support.refusals import refused
from support.server import Server

ARN = "arn:aws:elasticfilesystem:us-east-1:000000000000:access-point/fsap-{:017x}"
SHARED, FROZEN, GOES = (ARN.format(number) for number in (1, 2, 3))
# Whoever runs the tests without root can only give what is theirs.
UID, GID = (4_242, 4_243) if os.getuid() == 0 else (os.getuid(), os.getgid())


def mounted(arn, path="/mnt/data"):
    return [{"Arn": arn, "LocalMountPath": path}]


class Machine:
    """A server with three folders."""

    def __init__(self, folder):
        self.folders = {}
        self.server = Server(folder / "server", "--config", "folders.toml", "--set", "functions.transition_ms=250")
        self.server.folder.mkdir()
        blocks = []
        for arn, name in ((SHARED, "shared"), (FROZEN, "frozen"), (GOES, "goes")):
            path = self.folders[arn] = folder / name
            path.mkdir()
            (path / "old").write_text("from outside")
            for one in (path, path / "old"):
                os.chown(one, UID, GID)
            blocks.append(f'[[sandbox.file_system]]\narn = "{arn}"\npath = "{path}"\nuid = {UID}\ngid = {GID}\n'
                          f'read_only = {"true" if arn == FROZEN else "false"}\n')
        (self.server.folder / "folders.toml").write_text("".join(blocks))
        self.server.start()
        self.functions = Functions(self.server.client())


@pytest.fixture(scope="module")
def machine(tmp_path_factory):
    one = Machine(tmp_path_factory.mktemp("machine"))
    yield one
    assert one.server.stop() == 0


def test_files_outlast_environments_and_are_the_folders_owners(machine):
    write = machine.functions.create("""
import os, uuid
me = str(uuid.uuid4())
def handler(event, context):
    with open("/mnt/data/written", "a") as file:
        file.write(me + "\\n")
    found = os.stat("/mnt/data/old")
    return [me, found.st_uid == os.getuid(), found.st_gid == os.getgid(), open("/mnt/data/old").read()]
""", FileSystemConfigs=mounted(SHARED))
    client = machine.functions.client
    assert client.get_function_configuration(FunctionName=write)["FileSystemConfigs"] == mounted(SHARED)
    first = invoke(client, write).value
    assert first[1:] == [True, True, "from outside"]
    client.update_function_configuration(FunctionName=write, Timeout=9)
    wait_updated(client, write)
    second = invoke(client, write).value
    written = machine.folders[SHARED] / "written"
    assert written.read_text().splitlines() == [first[0], second[0]] and first[0] != second[0]
    assert (written.stat().st_uid, written.stat().st_gid) == (UID, GID)
    # Another function, another place.
    read = machine.functions.create("""
def handler(event, context): return open("/mnt/elsewhere/written").read().split()
""", FileSystemConfigs=mounted(SHARED, "/mnt/elsewhere"))
    assert invoke(client, read).value == [first[0], second[0]]


def test_a_read_only_folder_is_one(machine):
    name = machine.functions.create("""
import os
def attempt(action, *arguments):
    try: action(*arguments)
    except OSError as error: return error.strerror
def handler(event, context):
    return [open("/mnt/data/old").read(), attempt(open, "/mnt/data/new", "w"), attempt(os.remove, "/mnt/data/old"),
            attempt(os.chmod, "/mnt/data/old", 0o777)]
""", FileSystemConfigs=mounted(FROZEN))
    content, *errors = invoke(machine.functions.client, name).value
    assert content == "from outside"
    assert all(error in ("Read-only file system", "Permission denied") for error in errors), errors


def test_a_function_that_means_harm(machine):
    """What is mounted opens no door: not to the host, not to other folders, not to other users."""
    os.symlink("/etc/shadow", machine.folders[SHARED] / "shadow")
    name = machine.functions.create("""
import os, stat, subprocess
def attempt(action, *arguments):
    try: return repr(action(*arguments))
    except OSError as error: return "refused"
def handler(event, context):
    os.chdir("/mnt/data")
    with open("program", "w") as file: file.write("#!/bin/sh\\nid -u\\n")
    os.chmod("program", 0o6755)
    root = os.stat("/mnt/data/..").st_ino
    return {
        "shadow": attempt(lambda: open("shadow").read()),
        "device": attempt(os.mknod, "disk", stat.S_IFBLK | 0o666, os.makedev(8, 0)),
        "chown": attempt(os.chown, "program", 0, 0),
        "siblings": sorted(os.listdir("/mnt")),
        "frozen": attempt(os.listdir, "/mnt/data/../frozen"),
        "link out": attempt(os.link, "/etc/passwd", "passwd"),
        "beside": attempt(os.mkdir, "/mnt/beside"),
        "remount": subprocess.run(["mount", "-o", "remount,suid,dev", "/mnt/data"], capture_output=True).returncode != 0,
        "options": [line.split()[5] for line in open("/proc/self/mountinfo") if " /mnt/data " in line][0],
        "root": os.stat("/mnt").st_ino == root,
    }
""", FileSystemConfigs=mounted(SHARED))
    seen = invoke(machine.functions.client, name).value
    assert {key: seen[key] for key in ("shadow", "device", "chown", "frozen", "link out", "beside")} == \
        dict.fromkeys(("shadow", "device", "chown", "frozen", "link out", "beside"), "refused")
    assert seen["siblings"] == ["data"] and seen["remount"] and seen["root"]
    assert {"nosuid", "nodev"} <= set(seen["options"].split(","))
    program = (machine.folders[SHARED] / "program").stat()
    assert (program.st_uid, stat.S_ISREG(program.st_mode)) == (UID, True)


def test_a_folder_that_is_gone(machine):
    name = machine.functions.create("def handler(event, context): return 1\n", FileSystemConfigs=mounted(GOES))
    client, folder = machine.functions.client, machine.folders[GOES]
    aside = folder.rename(folder.with_name("aside"))
    assert refused(client.invoke, FunctionName=name) == (
        403, "EFSMountFailureException", f"The function couldn't mount the file system of access point {GOES}.")
    # Nor what is another one than it was when it comes by a link.
    folder.symlink_to(aside)
    assert refused(client.invoke, FunctionName=name)[1] == "EFSMountFailureException"
    folder.unlink()
    aside.rename(folder)
    assert invoke(client, name).value == 1


def test_an_access_point_that_nobody_has_named(machine, client):
    unknown = ARN.format(9)
    for one, arn in ((machine.functions.client, unknown), (client, SHARED)):
        status, code, text = refused(Functions(one).create, source="x", FileSystemConfigs=mounted(arn))
        assert (status, code) == (400, "InvalidParameterValueException")
        assert text == ("Error occurred while DescribeAccessPoints. EFS Error Code: AccessPointNotFound. EFS Error "
                        f"Message: Access point '{arn.rsplit('/')[-1]}' does not exist.")
