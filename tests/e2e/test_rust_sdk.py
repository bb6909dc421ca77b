"""The same path with the AWS SDK for Rust: its waiters, its paginators and the types of its errors."""

import json
import subprocess

from support.functions import new_name, python_zip
from support.server import ACCOUNT, REGION, environment
from support.tools import rust_sdk

SOURCE = "def handler(event, context): return context.function_version\n"


def test_a_function_its_versions_and_an_alias(server, tmp_path):
    name = new_name("rust")
    package = tmp_path / "package.zip"
    package.write_bytes(python_zip(SOURCE))
    done = subprocess.run([rust_sdk(), server.endpoint, name, package], env=environment(), text=True,
                          capture_output=True, timeout=120)
    assert done.returncode == 0, done.stderr
    created, versions, errors, deleted = json.loads(done.stdout)
    assert created == {"pending": True, "active": True, "tags": {"team": "blue"}, "memory": 128,
                       "code_size": len(python_zip(SOURCE))}
    assert versions == {"executed": ["1", "2"], "versions": ["$LATEST", "1", "2"], "weights": {"2": 0.5}}
    arn = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function"
    assert errors == {
        "missing": [True, f"Function not found: {arn}:nobody"],
        "twice": [True, f"Alias already exists: {arn}:{name}:live"],
        "stale": [True, "PreconditionFailedException"]}
    assert deleted == {"reserved": 3, "gone": True}
