"""Runs many commands of the AWS CLI in one process, as starting Python for each takes a second.

A line of JSON on standard input is the words of one command; a line on standard output tells its exit status
and what it printed.
"""

import contextlib
import io
import json
import sys

from awscli.clidriver import create_clidriver


def run(words):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status = create_clidriver().main(words)
        except SystemExit as end:
            status = end.code
    return {"status": status, "out": out.getvalue(), "err": err.getvalue()}


for line in sys.stdin:
    print(json.dumps(run(json.loads(line))), flush=True)
