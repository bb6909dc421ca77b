"""Which idle environment makes room for another: the one that is worth least, or the oldest."""

import pytest

from support.extensions import WATCHER, publish_extensions
from support.functions import Functions, invoke

DEAR = """
import time
time.sleep(2)
def handler(event, context): return "dear"
"""
CHEAP = "def handler(event, context): return 'cheap'\n"


def is_cold(client, name):
    return "Init Duration" in invoke(client, name, {}).log


@pytest.mark.parametrize("policy", ["worth", "fixed"])
def test_who_makes_room(fresh_server, policy):
    server = fresh_server(
        "--set", "functions.transition_ms=0", "--set", "functions.memory_mb_max=256", "--set", "functions.spares=0",
        "--set", f"functions.idle_policy={policy}")
    client = server.client()
    functions = Functions(client)
    dear, cheap, third = (functions.python(source, MemorySize=128) for source in (DEAR, CHEAP, CHEAP))
    assert is_cold(client, cheap) and is_cold(client, dear)
    assert not any(is_cold(client, dear) for _ in range(5))
    # The one that is worth least is the one that was used last.
    assert not is_cold(client, cheap)
    assert server.figure("lambic_environments_evicted_total") == 0
    assert is_cold(client, third)
    assert server.figure("lambic_environments_evicted_total") == 1
    assert server.figure("lambic_memory_promised_mb") == 256
    assert is_cold(client, dear) == (policy == "fixed")
    assert server.stop() == 0


def test_one_with_extensions_makes_room_at_once(fresh_server):
    """Its extensions have two seconds to end; whoever has been promised its room does not wait for that."""
    server = fresh_server("--set", "functions.transition_ms=0", "--set", "functions.memory_mb_max=512", "--set", "functions.spares=0")
    client = server.client()
    functions = Functions(client)
    layer = publish_extensions(client, watcher=WATCHER)
    warm = [functions.python(CHEAP, MemorySize=256, Layers=[layer]) for _ in range(2)]
    assert all(is_cold(client, name) for name in warm)
    assert is_cold(client, functions.python(CHEAP, MemorySize=256))
    assert server.figure("lambic_environments_evicted_total") == 1
    assert server.stop() == 0
