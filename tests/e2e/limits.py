"""Measures every limit of an environment inside functions and writes the table of docs/limits.md.

It starts the release binary in a folder of its own, as root. `cargo xtask limits` prepares and runs it.
Ends with 1 if a limit does not hold; the table then says which.
"""

import argparse
import datetime
import os
import pathlib
import platform
import re
import sys
import tempfile
import time

from support import measure
from support.functions import Functions
from support.server import ROOT, Server

INTRODUCTION = """\
# Limits

What a function's configuration says, and what a function finds. Each row was measured from inside a
function that uses up what it gets; "measured inside" is its own account, and AWS's errors are quoted
as a client received them.

This table is written by `{command}`, which ends with an error if a row does not hold. What the
limits are made of stands in [security.md](security.md).

Measured on {date}: {processors} processors ({machine}), {memory} GiB of memory, Linux {kernel}, {groups}.

| Limit | Configured | Measured inside | May differ by | Holds |
|---|---|---|---|---|
"""


def machine_memory_gib():
    return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30))


def control_groups():
    """The layout that limits memory on this machine."""
    v2 = pathlib.Path("/sys/fs/cgroup/cgroup.controllers")
    return "control groups v2" if v2.exists() else "control groups v1"


def document(rows, command):
    text = INTRODUCTION.format(
        command=command, date=datetime.date.today().isoformat(), processors=os.cpu_count(),
        machine=platform.machine(), memory=machine_memory_gib(),
        kernel=re.match(r"[\d.]*\d", platform.release())[0], groups=control_groups())
    for row in rows:
        cells = (row.limit, row.configured, row.measured, row.tolerance, "yes" if row.holds else "**no**")
        text += "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"
    return text


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "docs/limits.md")
    parser.add_argument("--only", help="measure only what has this word in its name, and write nothing")
    options = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("limits: root is needed, because without it some limits are weaker")
    wanted = [one for one in measure.ALL if not options.only or options.only in one.__name__]
    if not wanted:
        sys.exit(f"limits: there is no '{options.only}' among {', '.join(one.__name__ for one in measure.ALL)}")
    rows = []
    with tempfile.TemporaryDirectory(prefix="lambic-limits-") as folder:
        # What is promised to functions together is no limit of one of them.
        server = Server(folder, "--set", "functions.memory_mb_max=65536", "--set", "functions.transition_ms=50").start()
        try:
            for one in wanted:
                rows += measured(one, server)
        finally:
            server.stop()
    if not options.only:
        options.out.write_text(document(rows, "cargo xtask limits"))
        print(f"wrote {options.out}", flush=True)
    broken = [row for row in rows if not row.holds]
    if broken:
        sys.exit(f"limits: {len(broken)} of {len(rows)} do not hold: "
                 + "; ".join(f"{row.limit} ({row.configured})" for row in broken))
    print(f"{len(rows)} limits hold")


def measured(one, server):
    """Runs one measurement, with functions that are gone when it is over."""
    begun = time.monotonic()
    functions = Functions(server.client(read_timeout=400))
    rows = []
    try:
        for row in one(server, functions):
            print(f"{'ok ' if row.holds else 'NOT'} {row.limit} | {row.configured} | {row.measured}", flush=True)
            rows.append(row)
    finally:
        functions.clean()
    print(f"    {one.__name__} took {time.monotonic() - begun:.1f} s", flush=True)
    return rows


if __name__ == "__main__":
    main()
