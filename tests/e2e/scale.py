"""Measures a server with very many functions and versions and writes docs/scale.md.

`cargo xtask scale` prepares and runs it. Ends with 1 if something does not hold; the table then says what.
"""

import argparse
import dataclasses
import datetime
import os
import pathlib
import platform
import re
import statistics
import sys
import tempfile
import time

from support import multitude
from support.functions import invoke
from support.multitude import FUNCTIONS, NAME, Reader
from support.server import ROOT, Server
from support.wait import until

INTRODUCTION = """\
# Scale

How a server with {functions:,} functions of {versions} versions each answers, how long it takes to start with them,
and what they need of memory. All of them have one package, which is stored once.

This table is written by `cargo xtask scale`, which ends with an error if a row does not hold.

Measured on {date}: {processors} processors ({machine}), {memory} GiB of memory, Linux {kernel}. Times are those of a
client on the same machine, with the request's way there and back.

| What | Measured | Must be | Holds |
|---|---|---|---|
"""

STARTS = 5
START_S_MAX = 2.0
# Pages at the beginning, in the middle and at the end whose times are compared.
WINDOW = 15
# Their medians may differ by this factor, or by this many milliseconds where all are short.
FACTOR_MAX = 3.0
SLACK_MS = 1.0


@dataclasses.dataclass
class Row:
    what: str
    measured: str
    must: str
    holds: bool


def ms(seconds):
    return f"{seconds * 1000:.1f} ms"


def started(server, functions):
    """Seconds from the start of the process to the first answer that needs what is stored."""
    def answers():
        try:
            return Reader(server).get(f"{FUNCTIONS}/{NAME.format(functions // 2)}/configuration")
        except OSError:
            assert server.process.poll() is None, server.text()
            return None

    begun = time.perf_counter()
    server.spawn()
    until(answers, "the first answer", 120, every=0.002)
    return time.perf_counter() - begun


def starts(server, functions):
    times = []
    for number in range(STARTS):
        times.append(started(server, functions))
        if number + 1 < STARTS:
            assert server.stop() == 0
    yield Row("from the start of the process to the first answer about a function",
              f"{statistics.median(times):.2f} s (slowest of {STARTS}: {max(times):.2f} s)",
              f"under {START_S_MAX:.0f} s", max(times) < START_S_MAX)


def paged(name, pages, expected):
    """A row about a list: all of it, and its last page as fast as its first."""
    count, times = 0, []
    for items, took in pages:
        count += len(items)
        times.append(took)
    middle = len(times) // 2
    windows = [times[:WINDOW], times[middle - WINDOW // 2:][:WINDOW], times[-WINDOW:]]
    medians = [statistics.median(window) for window in windows]
    constant = max(medians) <= max(min(medians) * FACTOR_MAX, min(medians) + SLACK_MS / 1000)
    yield Row(f"{name}, a page of 50", f"{ms(medians[0])} at the beginning, {ms(medians[1])} in the middle, "
              f"{ms(medians[2])} at the end of {count:,} items", "all of them, in constant time",
              count == expected and constant)


def lists(server, functions, versions):
    reader = Reader(server)
    yield from paged("ListFunctions", reader.pages(FUNCTIONS, "Functions"), functions)
    yield from paged("ListFunctions with all versions", reader.pages(FUNCTIONS, "Functions", FunctionVersion="ALL"),
                     functions * (versions + 1))
    for operation, path, member, expected in [
            ("ListVersionsByFunction", "versions", "Versions", versions + 1), ("ListAliases", "aliases", "Aliases", 1)]:
        medians = []
        for number in (0, functions // 2, functions - 1):
            times = []
            for _ in range(WINDOW):
                page, took = reader.get(f"{FUNCTIONS}/{NAME.format(number)}/{path}")
                assert len(page[member]) == expected
                times.append(took)
            medians.append(statistics.median(times))
        told = ", ".join(ms(median) for median in medians)
        yield Row(f"{operation} of the first, a middle and the last function", told, "constant time",
                  max(medians) <= max(min(medians) * FACTOR_MAX, min(medians) + SLACK_MS / 1000))


def writes(server, functions):
    """Changes and invokes among so many."""
    client = server.client()
    for what, work in [
        ("GetAccountSettings", lambda number: client.get_account_settings()),
        ("PublishVersion", lambda number: client.publish_version(FunctionName=NAME.format(number))),
        ("UpdateAlias", lambda number: client.update_alias(
            FunctionName=NAME.format(number), Name="live", FunctionVersion="1")),
    ]:
        times = []
        for number in range(WINDOW):
            begun = time.perf_counter()
            work(functions - 1 - number)
            times.append(time.perf_counter() - begun)
        yield Row(f"{what}, with boto3", ms(statistics.median(times)), "under 100 ms", statistics.median(times) < 0.1)
    last = NAME.format(functions - 1)
    answer = invoke(client, last, Qualifier="live").value
    yield Row("an invoke of the last function's alias", f"`{answer}`", "its own name and version", answer == [last, "1"])


def memory(server, empty_kb, entries):
    full_kb = server.memory_kb()
    each = (full_kb - empty_kb) * 1024 / entries
    yield Row("resident memory of the server", f"{full_kb / 1024:.0f} MB ({empty_kb / 1024:.0f} MB without any function): "
              f"{each / 1000:.1f} kB for each function and version", "reported", True)


def empty(folder):
    """Resident memory of a server that has nothing."""
    server = Server(folder).start()
    kilobytes = server.memory_kb()
    assert server.stop() == 0
    return kilobytes


def measured(folder, functions, versions):
    empty_kb = empty(folder / "empty")
    server = Server(folder / "full", "--set", "functions.transition_ms=50")
    begun = time.perf_counter()
    multitude.make(server, functions, versions)
    print(f"made in {time.perf_counter() - begun:.0f} s", flush=True)
    try:
        yield from starts(server, functions)
        yield from memory(server, empty_kb, functions * (versions + 1))
        yield from lists(server, functions, versions)
        yield from writes(server, functions)
    finally:
        server.stop()


def document(rows, functions, versions):
    text = INTRODUCTION.format(
        functions=functions, versions=versions, date=datetime.date.today().isoformat(), processors=os.cpu_count(),
        machine=platform.machine(), kernel=re.match(r"[\d.]*\d", platform.release())[0],
        memory=round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)))
    for row in rows:
        text += f"| {row.what} | {row.measured} | {row.must} | {'yes' if row.holds else '**no**'} |\n"
    return text


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "docs/scale.md")
    parser.add_argument("--functions", type=int, default=10_000)
    parser.add_argument("--versions", type=int, default=10)
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory(prefix="lambic-scale-") as folder:
        for row in measured(pathlib.Path(folder), options.functions, options.versions):
            print(f"{'ok ' if row.holds else 'NO '} {row.what}: {row.measured}", flush=True)
            rows.append(row)
    options.out.write_text(document(rows, options.functions, options.versions))
    sys.exit(0 if all(row.holds for row in rows) else 1)


if __name__ == "__main__":
    main()
