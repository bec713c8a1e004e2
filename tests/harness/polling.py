"""Waiting with an end to it."""

from __future__ import annotations

import time


def until(condition, seconds: float = 5.0, what: str = "it"):
    """What `condition` returns as soon as that is truthy; fails when it does not get there in time."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"waited {seconds} s in vain for {what}: {value!r}")
        time.sleep(0.02)
