"""Waits for a condition, with a limit."""

from __future__ import annotations

import time


# Long enough for a machine that other work keeps busy. Only a test that fails waits for it.
LIMIT = 60.0


def until(condition, seconds: float = LIMIT, what: str = "it"):
    """Polls `condition` and returns its first truthy value. Fails after `seconds`."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"{what} did not happen within {seconds} s: {value!r}")
        time.sleep(0.02)


def in_both_workers(condition) -> bool:
    """Whether a condition that opens a connection holds eight times in a row: Envoy spreads them over two workers."""
    return all(condition() for _ in range(8))
