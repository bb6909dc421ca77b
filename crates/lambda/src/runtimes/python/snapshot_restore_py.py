"""Hooks for SnapStart, by the names of AWS's package of this name, which its runtimes contain.

A function registers what is to be called before its snapshot is taken, and what after an environment
has been restored from it. What comes before is called in the opposite order of its registration, what
comes after in the order of it. Without SnapStart nothing is called.
"""

__all__ = ["register_before_snapshot", "register_after_restore"]

_before_snapshot = []
_after_restore = []


def register_before_snapshot(func, *args, **kwargs):
    """Calls `func` with these arguments before the snapshot is taken. Also as a decorator."""
    _before_snapshot.append((func, args, kwargs))
    return func


def register_after_restore(func, *args, **kwargs):
    """Calls `func` with these arguments after an environment has been restored. Also as a decorator."""
    _after_restore.append((func, args, kwargs))
    return func


def get_before_snapshot():
    """For the runtime: what was registered, each with its arguments."""
    return _before_snapshot


def get_after_restore():
    """For the runtime: what was registered, each with its arguments."""
    return _after_restore
