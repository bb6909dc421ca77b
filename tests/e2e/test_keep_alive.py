"""Which idle environment makes room for another: the one that is worth least, or the oldest."""

import pytest

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
