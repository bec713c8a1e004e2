"""Things that happen at the same time, none of whose failures is lost."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor


def at_once(function, arguments) -> list:
    """What `function` returns for each of the arguments, all called at the same time."""
    arguments = list(arguments)
    with ThreadPoolExecutor(len(arguments)) as pool:
        return list(pool.map(function, arguments))
