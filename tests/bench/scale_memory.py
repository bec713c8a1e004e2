"""Measures how long Envoy takes to start, and the memory that it uses, by the number of workers and of endpoints.

A start is measured from the process to an Envoy that is ready. The memory of a module is that of its linear memory, which
V8 maps before a large region that it only reserves. Run this by `make bench-scale`.
"""

from __future__ import annotations

import base64
import time
from dataclasses import dataclass
from pathlib import Path

import load
from report import spread
from scale import NAME, SECRET, exact, numbered

from harness import sign, wasm
from harness.client import post
from harness.envoy import STRING, Envoy
from harness.upstream import Upstream

KIB, MIB = 1 << 10, 1 << 20
WORKERS = (1, 2, 4)
ENDPOINTS = (1, 100, 1000, 5000)
ROUNDS = 5
# V8 reserves this much behind each linear memory, at least.
RESERVED = 1 << 32
# Two periods of the guard's timer, once a body has proven that the host shows bodies.
TICKS, SECONDS_OF_TICKS = 2, 10


@dataclass(frozen=True)
class Start:
    """The measures of an Envoy that has started."""

    seconds: float
    cpu: float
    memory: int


def main() -> None:
    with Upstream(on_request=lambda _: None) as upstream:
        show_starts(upstream.port)
        show_endpoints(upstream.port)


def show_starts(upstream_port: int) -> None:
    """Shows the start of Envoy without a module, with an empty one, and with the guard."""
    print("\n| workers | module | ready after, ms | CPU, ms | memory, MiB |")
    print("|---:|---|---:|---:|---:|")
    patches = {"none": without_module, "empty": with_empty_module, "the guard": lambda document: None}
    found: dict = {}
    for _ in range(ROUNDS):
        for workers in WORKERS:
            for name, patch in patches.items():
                with server(upstream_port, None, workers, patch) as envoy:
                    found.setdefault((workers, name), []).append(started(envoy))
    for (workers, name), starts in found.items():
        ready, cpu = (spread(1000 * value for value in values) for values in zip(*((each.seconds, each.cpu) for each in starts)))
        memory_ = spread(each.memory / MIB for each in starts)
        print(f"| {workers} | {name} | {ready.text(0)} | {cpu.text(0)} | {memory_.text(1)} |")


def show_endpoints(upstream_port: int) -> None:
    """Shows start, memory, timer and metrics by the number of endpoints, with two workers."""
    print("\n| endpoints | ready after, ms | CPU, ms | memory, MiB | a module's memory, KiB | a tick, ms above the first row | series | `/stats/prometheus` |")
    print("|---:|---:|---:|---:|---:|---:|---:|---:|")
    first_tick = None
    for count in ENDPOINTS:
        with server(upstream_port, numbered(count, exact), 2, lambda document: None) as envoy:
            start = started(envoy)
            linear = max(linear_memories(envoy.process.pid))
            prove(envoy)
            tick = seconds_of_tick(envoy.process.pid)
            if first_tick is None:
                first_tick = tick
            begin = time.monotonic()
            scraped = envoy.prometheus()
            took = time.monotonic() - begin
        series = sum(line.startswith("webhook_guard") for line in scraped.splitlines())
        print(
            f"| {count:,} | {1000 * start.seconds:.0f} | {1000 * start.cpu:.0f} | {start.memory / MIB:.1f} | {linear // KIB:,} "
            f"| {1000 * (tick - first_tick):.2f} | {series:,} | {len(scraped) / MIB:.1f} MiB in {1000 * took:.0f} ms |", flush=True,
        )


class Timed(Envoy):
    """An Envoy that notes how long its start took."""

    seconds = 0.0

    def start(self) -> "Timed":
        begin = time.monotonic()
        super().start()
        self.seconds = time.monotonic() - begin
        return self


def server(upstream_port: int, configuration, workers: int, patch) -> Timed:
    envoy = Timed(upstream_port, configuration, patch=patch)
    envoy.workers = workers
    return envoy


def started(envoy: Timed) -> Start:
    cpu = load.cpu_nanoseconds(envoy.process.pid) / 1e9
    return Start(envoy.seconds, cpu, memory(envoy.process.pid))


def without_module(document) -> None:
    document.remove_filters("webhook_guard", "gate")


def with_empty_module(document) -> None:
    """The guard's filter with a module that does nothing."""
    code = document.guard["vm_config"]["code"]["local"]
    code.clear()
    code["inline_bytes"] = base64.b64encode(empty_module()).decode()
    document.guard["configuration"] = {"@type": STRING, "value": ""}


def empty_module() -> bytes:
    """The smallest module that Envoy starts: a memory, and the functions that Envoy needs."""
    number, nothing, one = b"\x7f", b"", b"\x41\x01"
    kinds = {"()": (0, 0), "(i32) i32": (1, 1), "(i32, i32)": (2, 0), "(i32, i32) i32": (2, 1)}
    functions = {
        "proxy_abi_version_0_2_1": ("()", nothing),
        "proxy_on_memory_allocate": ("(i32) i32", one),
        "proxy_on_vm_start": ("(i32, i32) i32", one),
        "proxy_on_configure": ("(i32, i32) i32", one),
        "proxy_on_context_create": ("(i32, i32)", nothing),
    }
    types = [b"\x60" + wasm.vector([number] * takes) + wasm.vector([number] * gives) for takes, gives in kinds.values()]
    exports = [wasm.sized(name.encode()) + b"\x00" + wasm.number(index) for index, name in enumerate(functions)]
    sections = {
        wasm.TYPE_SECTION: types,
        wasm.FUNCTION_SECTION: [wasm.number(list(kinds).index(kind)) for kind, _ in functions.values()],
        wasm.MEMORY_SECTION: [b"\x00\x01"],
        wasm.EXPORT_SECTION: [*exports, wasm.sized(b"memory") + b"\x02\x00"],
        wasm.CODE_SECTION: [wasm.sized(wasm.body(code)) for _, code in functions.values()],
    }
    return wasm.write(b"\0asm\1\0\0\0", {section: wasm.vector(items) for section, items in sections.items()})


def memory(pid: int) -> int:
    """The memory of a process, with its share of the pages that others use, too."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return KIB * next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def linear_memories(pid: int) -> list[int]:
    """The sizes of the memories of all modules."""
    found, before = [], 0
    for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
        range_, access = line.split()[:2]
        begin, end = (int(address, 16) for address in range_.split("-"))
        if access == "---p" and end - begin > RESERVED - before:
            found.append(before)
        before = end - begin
    return found


def prove(envoy: Timed) -> None:
    """Sends a body, after which the guard's timer has its long period."""
    body = b'{"order": 42}' * 100
    for _ in range(4):
        assert post(envoy.port, f"/hooks/{NAME}", sign.default(SECRET, body), body).status == 200


def seconds_of_tick(pid: int) -> float:
    """The CPU time of one worker for one tick of the guard's timer, with what Envoy itself does meanwhile."""
    threads = [file.parent for file in Path(f"/proc/{pid}/task").glob("*/comm") if file.read_text().startswith("wrk:")]
    before = [nanoseconds(thread) for thread in threads]
    time.sleep(SECONDS_OF_TICKS)
    used = [nanoseconds(thread) - begin for thread, begin in zip(threads, before)]
    return spread(used).middle / TICKS / 1e9


def nanoseconds(thread: Path) -> int:
    return int((thread / "schedstat").read_text().split()[0])


if __name__ == "__main__":
    main()
