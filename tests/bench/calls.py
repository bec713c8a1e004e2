"""Measures what each call from a module to Envoy costs, and each callback: a part of `make bench`.

All figures are CPU time of Envoy, in microseconds, as the kernel counts it. The requests of all rows take turns, and a
figure is the median of the rounds, with the middle half.

* The calls: a filter makes one call many times in a request. A row is the cost of one of them. The first call of its kind in
  a request costs about twice as much, because the processor has to load the code of Envoy.
* The callbacks: modules that do nothing, each with one callback more. An Envoy has ten filters of the same module, and a
  row is the cost of one of them.
* The guard without some of its calls and callbacks: a copy of the module, where a stub takes the place of a call.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import tempfile
from pathlib import Path

import contestants
import load
from contestants import FLOOR, GUARD, Peer, Worker

from harness import sign, wasm
from harness.envoy import MODULE, SECRET, STRING
from harness.failing_host import constant, redirected

CALLS = contestants.BUILT / "wasm32-wasip1" / "release" / "calls.wasm"
SIZE, LARGE = 1024, 65536
COPIES = 10
# The requests that make no call.
NOTHING, NOTHING_LARGE = "nothing", "nothing, 64 KiB"
# Each call: its number in peers/calls, and how often a request makes it.
KINDS = {
    NOTHING: (0, 1),
    NOTHING_LARGE: (0, 1),
    "clock_time_get, monotonic": (1, 100),
    "clock_time_get, realtime": (2, 100),
    "get_current_time_nanoseconds": (3, 100),
    "get_header_map_pairs": (4, 50),
    "get_header_map_value": (5, 100),
    "get_header_map_value, absent": (6, 100),
    "get_property, source.address": (7, 50),
    "get_property, filter_state": (8, 50),
    "set_property, another each time": (9, 20),
    "set_property, the same": (10, 50),
    "replace_header_map_value, the same": (11, 100),
    "replace_header_map_value, new, and its removal": (12, 100),
    "remove_header_map_value, absent": (13, 100),
    "increment_metric": (14, 100),
    "record_metric, gauge": (15, 100),
    "record_metric, histogram": (16, 100),
    "get_metric": (17, 100),
    "get_log_level": (18, 100),
    "get_buffer_bytes": (19, 50),
    "get_buffer_bytes, 64 KiB": (19, 20),
    "log, below the log level": (20, 100),
    "log, written to a file": (21, 10),
    "get_shared_data, 1 KiB": (22, 50),
    "get_shared_data and set_shared_data": (23, 50),
    "set_effective_context": (24, 100),
}
# Envoy loads no module without these.
ALWAYS = ("memory", "proxy_abi_version_0_2_1", "proxy_on_memory_allocate", "proxy_on_vm_start", "proxy_on_configure")
# In the order in which the modules have one more of them.
CALLBACKS = ("context_create", "delete", "done", "log", "request_headers", "request_body", "response_headers", "response_body")
NOT_OF_THE_GUARD = ("done", "response_headers", "response_body")
CLOCKS = ("clock_time_get", "proxy_get_current_time_nanoseconds")
METRICS = ("proxy_increment_metric", "proxy_record_metric")
# Copies of the guard: the imports that a stub replaces.
WITHOUT = {
    "no clocks": CLOCKS,
    "no filter states": ("proxy_set_property",),
    "no headers": ("proxy_replace_header_map_value",),
    "no metrics": METRICS,
    "none of these": (*CLOCKS, *METRICS, "proxy_set_property", "proxy_replace_header_map_value"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=0.3, help="the length of a turn")
    parser.add_argument("--only", choices=PARTS, help="one part")
    options = parser.parse_args()
    build()
    for name in [options.only] if options.only else PARTS:
        with tempfile.TemporaryDirectory(prefix="webhook-guard-") as folder:
            PARTS[name](Bench(Path(folder), options.rounds, options.seconds))


def build() -> None:
    """Builds the filter."""
    contestants.build("--target", "wasm32-wasip1", "--package", "calls")


def measure_calls(bench: Bench) -> None:
    with bench.stage({"calls": other_module(CALLS, "hold")}) as running:
        (envoy,) = running.values()
        found = bench.measure({name: (bench.load(*headers_of(name)), envoy) for name in KINDS})
    bench.title("call", "each")
    for name, (call, times) in KINDS.items():
        if call:
            nothing = found[NOTHING_LARGE if is_large(name) else NOTHING]
            row(name, [(each - base) / times for each, base in zip(found[name], nothing)])


def headers_of(name: str) -> tuple:
    call, times = KINDS[name]
    return LARGE if is_large(name) else SIZE, [("x-call", f"{call} {times}")]


def is_large(name: str) -> bool:
    return name.startswith(("get_buffer_bytes", NOTHING)) and name.endswith("64 KiB")


def measure_callbacks(bench: Bench) -> None:
    patches = {"no filter": lambda document: document.remove_filters("webhook_guard")}
    for count in range(1, len(CALLBACKS) + 1):
        name = f"{'and ' if count > 1 else ''}{CALLBACKS[count - 1]}"
        patches[name] = copies(bench.exporting(CALLBACKS[:count]))
    patches["all of these, and it holds the request"] = copies(bench.exporting(CALLBACKS), "hold")
    fewer = [each for each in CALLBACKS if each not in NOT_OF_THE_GUARD]
    patches["the same, as many as the guard has"] = copies(bench.exporting(fewer), "hold")
    with bench.stage(patches) as running:
        found = bench.measure({name: (bench.load(SIZE), envoy) for name, envoy in running.items()})
    bench.title("callbacks", "over no filter")
    for name in patches:
        row(name, [(each - base) / COPIES for each, base in zip(found[name], found["no filter"])])


def measure_guard(bench: Bench) -> None:
    patches = {FLOOR: contestants.floor, GUARD: contestants.module_at(MODULE)}
    for name, imports in WITHOUT.items():
        patches[name] = contestants.module_at(bench.without(imports))
    patches["signature alone"] = contestants.signature
    headers = sign.default(SECRET, b"x" * SIZE)
    with bench.stage(patches) as running:
        found = bench.measure({name: (bench.load(SIZE, headers), envoy) for name, envoy in running.items()})
    bench.title("the guard, 1 KiB, accepted", "over the buffer filter")
    for name in patches:
        if name != FLOOR:
            row(name, [each - base for each, base in zip(found[name], found[FLOOR])])


PARTS = {"calls": measure_calls, "callbacks": measure_callbacks, "guard": measure_guard}


class Bench:
    """How to measure, and a folder for modules and bodies."""

    def __init__(self, folder: Path, rounds: int, seconds: float) -> None:
        self._folder, self._rounds, self._seconds = folder, rounds, seconds
        self._servers, self._clients = load.cpus()

    @contextlib.contextmanager
    def stage(self, patches: dict):
        """An Envoy with one worker for each patch."""
        with contextlib.ExitStack() as opened:
            with load.on_cpu(self._clients):
                upstream = opened.enter_context(load.Upstream())
            with load.on_cpu(self._servers):
                workers = {name: Worker(upstream.port, Peer(name, patch)) for name, patch in patches.items()}
                yield {name: opened.enter_context(worker) for name, worker in workers.items()}

    def load(self, size: int, headers=()) -> load.Load:
        body = self._folder / f"body-{size}"
        body.write_bytes(b"x" * size)
        return load.Load(body, tuple(headers), "HTTP/1.1", 200, 32, 1)

    def measure(self, turns: dict) -> dict:
        """The microseconds of a request in each round, by the name of the turn."""
        counts = {name: self._warm_up(*turn) for name, turn in turns.items()}
        found: dict = {name: [] for name in turns}
        names = list(turns)
        for number in range(self._rounds):
            # Another one begins each round, so that a rhythm of the machine does not favour one.
            first = number % len(names)
            for name in names[first:] + names[:first]:
                found[name].append(self._turn(*turns[name], counts[name]).cpu)
        return found

    def _warm_up(self, requests: load.Load, envoy: Worker) -> int:
        """How many requests fill a turn."""
        self._turn(requests, envoy, 1024)
        return max(64, int(self._turn(requests, envoy, 512).rate * self._seconds))

    def _turn(self, requests: load.Load, envoy: Worker, count: int) -> load.Round:
        with load.on_cpu(self._clients):
            return load.measure(requests, envoy.port, envoy.pids(), count, self._folder)

    def title(self, rows: str, figures: str) -> None:
        print(f"\n{rows:<48}microseconds {figures}: median (middle half)")

    # Changed copies of modules.

    def exporting(self, callbacks) -> Path:
        """The module of `peers/calls` with these callbacks."""
        names = (*ALWAYS, *(f"proxy_on_{each}" for each in callbacks))
        return self._write(CALLS, exporting(wasm.read(CALLS.read_bytes()), lambda name: name in names))

    def without(self, imports) -> Path:
        """The guard with stubs in place of these imports."""
        return self._write(MODULE, stubbed(wasm.read(MODULE.read_bytes()), imports))

    def _write(self, original: Path, sections: dict) -> Path:
        file = self._folder / f"{len(list(self._folder.iterdir()))}.wasm"
        file.write_bytes(wasm.write(original.read_bytes(), sections))
        return file


def exporting(sections: dict, keeps) -> dict:
    """A module with fewer exports. Envoy calls what a module exports, and finds out when it loads the module."""
    exported = [each for each in wasm.exported(sections[wasm.EXPORT_SECTION]) if keeps(each[0])]
    items = (wasm.sized(name.encode()) + bytes([kind]) + wasm.number(index) for name, kind, index in exported)
    return {**sections, wasm.EXPORT_SECTION: wasm.vector(items)}


def stubbed(sections: dict, names) -> dict:
    """A module with functions in place of these imports. They return the status OK, and nothing else."""
    imports = list(wasm.imported(sections[wasm.IMPORT_SECTION]))
    kinds = list(wasm.numbers(sections[wasm.FUNCTION_SECTION]))
    bodies = list(wasm.items(sections[wasm.CODE_SECTION]))
    first = len(imports) + len(kinds)
    # The guard may have stopped to make one of these calls.
    replaced = [(place, kind) for place, (name, kind) in enumerate(imports) if name in names]
    stubs = {place: first + number for number, (place, _) in enumerate(replaced)}
    code = [redirected(body, stubs) for body in bodies] + [wasm.body(constant(0)) for _ in stubs]
    return {
        **sections,
        wasm.FUNCTION_SECTION: wasm.vector(map(wasm.number, [*kinds, *(kind for _, kind in replaced)])),
        wasm.CODE_SECTION: wasm.vector(map(wasm.sized, code)),
    }


def other_module(module: Path, configuration: str = ""):
    """A filter with the settings of the guard. A filter before it sets the state that it can read."""
    def patch(document) -> None:
        document.guard["vm_config"]["code"]["local"]["filename"] = str(module)
        document.guard["configuration"] = {"@type": STRING, "value": configuration}
        if module == CALLS:
            state = {"object_key": "calls.peer", "factory_key": "envoy.string"}
            state["format_string"] = {"text_format_source": {"inline_string": "127.0.0.1"}}
            config = {"@type": f"{contestants.EXTENSIONS}.set_filter_state.v3.Config", "on_request_headers": [state]}
            document.filters.insert(0, {"name": "peer", "typed_config": config})
    return patch


def copies(module: Path, configuration: str = ""):
    """Several filters of one module."""
    one = other_module(module, configuration)

    def patch(document) -> None:
        one(document)
        place = document.filters.index(document.guard_filter)
        document.filters[place:place] = [{**document.guard_filter, "name": f"copy {number}"} for number in range(1, COPIES)]
    return patch


def row(name: str, values: list) -> None:
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    print(f"{name:<48}{middle:7.2f} ({low:.2f} to {high:.2f})", flush=True)


if __name__ == "__main__":
    main()
