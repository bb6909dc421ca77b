"""Waiting for something to become true, with a deadline and never by just sleeping."""

import time


def until(check, what, seconds=20.0, every=0.02):
    """Calls `check` until it gives something true, and returns that."""
    deadline = time.monotonic() + seconds
    while True:
        value = check()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"after {seconds:g} s still waiting for {what}")
        time.sleep(every)
