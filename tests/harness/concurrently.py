"""Things that happen at the same time, none of whose failures is lost."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor


def at_once(function, arguments) -> list:
    """Calls `function` with all arguments at the same time, and returns the results."""
    arguments = list(arguments)
    with ThreadPoolExecutor(len(arguments)) as pool:
        return list(pool.map(function, arguments))
