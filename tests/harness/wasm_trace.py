"""Reads from Envoy's log what a request costs: each callback of the module, and each call of the module to Envoy.

At the log level trace, Envoy writes a line for each of them.
"""

from __future__ import annotations

import re
from collections import Counter

from harness.envoy import Envoy
from harness.polling import until

LINE = re.compile(r"\]\[(\d+)\]\[trace\]\[wasm\] \[.*?\] \[(host->vm|host<-vm|vm->host)\] (?:\w+\.)?(\w+)(?:\((.*)\))?")
CREATED = re.compile(r"\[host->vm\] proxy_on_context_create\((\d+), [1-9]")
DELETED = re.compile(r"\[host->vm\] proxy_on_delete\((\d+)\)\n(?s:.*?)\[host<-vm\] proxy_on_delete return")
# A call that returns bytes calls the module back for the memory.
ALLOCATE = "memory_allocate"
# Callbacks whose last parameter says that a part of the message is its end.
ENDING = ("headers", "body")


class Callback:
    """One callback of a request, and how often each function was called during it."""

    def __init__(self, name: str, arguments: list) -> None:
        self.name = short(name)
        self.arguments = arguments
        self.calls: Counter = Counter()

    def __str__(self) -> str:
        ends = self.name.endswith(ENDING) and self.arguments[-1] == "1"
        calls = ", ".join(f"{count} {name}" for name, count in sorted(self.calls.items()))
        return f"{self.name}{' (end)' if ends else ''}{': ' if calls else ''}{calls}"


def short(name: str) -> str:
    return name.removeprefix("proxy_").removeprefix("on_")


def start(envoy: Envoy) -> None:
    """Makes Envoy write the trace."""
    envoy.get("/logging?wasm=trace", method="POST")


def wait(envoy: Envoy) -> None:
    """Waits for the end of every request."""

    def are_over() -> bool:
        created, deleted = CREATED.findall(envoy.log()), DELETED.findall(envoy.log())
        return sorted(created) == sorted(deleted)

    until(are_over, what="the end of all requests")


def callbacks(envoy: Envoy, since: int) -> list:
    """All callbacks of the first request that began after this byte of the log, when the request is over."""
    (context,) = until(lambda: CREATED.findall(envoy.log(since))[:1], what="a request in the trace")
    wait(envoy)
    return list(parsed(envoy.log(), context))


def parsed(log: str, context: str):
    """The callbacks of this context, in their order. Threads write their lines in between each other's."""
    running: dict = {}
    for thread, way, name, arguments in LINE.findall(log):
        stack = running.setdefault(thread, [])
        if way == "host->vm":
            if stack:
                stack[0].calls[short(name)] += 1
            stack.append(Callback(name, arguments.split(", ")))
        # A callback that began before the trace has an end only.
        elif stack and way == "host<-vm":
            ended = stack.pop()
            if not stack and ended.arguments[0] == context:
                yield ended
        elif stack:
            stack[0].calls[short(name)] += 1
