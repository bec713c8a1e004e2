"""Measures the guard side by side with what users would otherwise run: `make bench`.

Each peer is an Envoy with one worker and one filter before its router. All of them run at once, and take turns: a turn is
some thousand equal requests, of a load generator that keeps the server busy. The measure is the CPU time of the server
for a request, as the kernel counts it. The floor is Envoy with its buffer filter.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import contestants
import load
from contestants import CHOICE, FLOOR, GUARD, Peer, Worker

from harness import sign
from harness.envoy import SECRET

SIZES = (256, 1024, 8192, 65536, 1048576)
KINDS = ("accepted", "forged", "denied")
PROTOCOLS = ("HTTP/1.1", "HTTP/2")


@dataclass(frozen=True)
class Case:
    """One kind of request."""

    kind: str
    size: int
    protocol: str

    def __str__(self) -> str:
        return f"{self.kind}, {human(self.size)}, {self.protocol}"


def human(size: int) -> str:
    for unit in ("B", "KiB"):
        if size < 1024:
            return f"{size} {unit}"
        size //= 1024
    return f"{size} MiB"


def main() -> None:
    options = arguments()
    peers = [contestants.ALL[name] for name in options.peers]
    peers += [Peer(name, contestants.module_at(Path(path).absolute())) for name, path in options.module]
    cases = [
        Case(*each) for each in itertools.product(options.kinds, options.sizes, options.protocols)
    ]
    with Stage(peers) as stage:
        for case in cases:
            say(f"{case}")
            show(case, stage.measure(case, options.rounds, options.seconds))


def arguments() -> argparse.Namespace:
    def listed(kind):
        return lambda text: tuple(kind(each) for each in text.split(","))

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", type=listed(str), default=tuple(contestants.ALL))
    parser.add_argument("--sizes", type=listed(int), default=(1024,))
    parser.add_argument("--kinds", type=listed(str), default=("accepted",))
    parser.add_argument("--protocols", type=listed(str), default=("HTTP/1.1",))
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=0.4, help="the length of a turn")
    parser.add_argument(
        "--module", type=lambda text: tuple(text.split("=", 1)), action="append", default=[], metavar="NAME=PATH",
        help="another module of the guard, as a further peer",
    )
    options = parser.parse_args()
    if FLOOR not in options.peers:
        options.peers = (FLOOR, *options.peers)
    return options


class Stage:
    """All peers, running and checked."""

    def __init__(self, peers: list) -> None:
        self._peers = peers
        self._open = contextlib.ExitStack()
        self._servers, self._clients = load.cpus()

    def __enter__(self) -> "Stage":
        with contextlib.ExitStack() as open_:
            self.folder = Path(open_.enter_context(tempfile.TemporaryDirectory(prefix="webhook-guard-")))
            with load.on_cpu(self._clients):
                upstream = open_.enter_context(load.Upstream())
            self.running = {}
            for peer in self._peers:
                say(f"starting {peer.name}")
                envoy = Worker(upstream.port, peer)
                with load.on_cpu(self._servers):
                    self.running[peer.name] = open_.enter_context(envoy)
                contestants.verify(peer, envoy)
            self._open = open_.pop_all()
        return self

    def __exit__(self, *_) -> None:
        self._open.close()

    def measure(self, case: Case, rounds: int, seconds: float) -> dict:
        """The rounds of each peer."""
        loaded = self.load(case)
        counts = {name: self.warm_up(loaded, envoy, seconds) for name, envoy in self.running.items()}
        found: dict = {name: [] for name in self.running}
        names = list(self.running)
        for number in range(rounds):
            # Another peer begins each round, so that a rhythm of the machine does not favour one.
            first = number % len(names)
            for name in names[first:] + names[:first]:
                found[name].append(self.turn(loaded, self.running[name], counts[name]))
        return found

    def load(self, case: Case) -> load.Load:
        body = b'{"order": 42}'.ljust(case.size)
        file = self.folder / "body"
        file.write_bytes(body)
        headers = [] if case.kind == "denied" else sign.default(SECRET if case.kind == "accepted" else "another", body)
        # With more, the buffers of large bodies do not fit into the caches of the processor.
        connections = 32 if case.size <= 65536 else 8
        streams = 1 if case.protocol == "HTTP/1.1" else 4
        return load.Load(
            file, (*headers, (CHOICE, case.kind)), case.protocol, 200 if case.kind == "accepted" else 401,
            connections // streams, streams,
        )

    def warm_up(self, loaded: load.Load, envoy: Worker, seconds: float) -> int:
        """How many requests fill a turn. Meanwhile V8 compiles the module again, with optimisations."""
        count, end = 64, time.monotonic() + 2 * seconds
        while True:
            rate = self.turn(loaded, envoy, count).rate
            if time.monotonic() > end:
                return max(64, int(rate * seconds))
            count = max(64, int(rate * seconds / 2))

    def turn(self, loaded: load.Load, envoy: Worker, count: int) -> load.Round:
        with load.on_cpu(self._clients):
            return load.measure(loaded, envoy.port, envoy.pids(), count, self.folder)


def show(case: Case, found: dict) -> None:
    floor = [each.cpu for each in found[FLOOR]]
    over = {name: [each.cpu - base for each, base in zip(rounds, floor)] for name, rounds in found.items()}
    for name, rounds in found.items():
        row = f"  {name:<14}{median(each.cpu for each in rounds):8.1f} us"
        if name != FLOOR:
            row += f"  over the floor {spread(over[name], '7.1f')} us"
        else:
            row += " " * 41
        row += f"  {median(each.rate for each in rounds):7.0f}/s  p50 {median(each.p50 for each in rounds) / 1000:6.2f} ms"
        row += f"  p99 {median(each.p99 for each in rounds) / 1000:6.2f} ms  busy {median(each.busy for each in rounds):4.0%}"
        print(row)
    if GUARD in found:
        for name in found:
            if name not in (FLOOR, GUARD):
                ratios = [a / b for a, b in zip(over[GUARD], over[name])]
                print(f"  guard / {name:<14}{spread(ratios, '5.2f')}", flush=True)


def spread(values: list, form: str) -> str:
    """The median, and the middle half of the values."""
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return f"{middle:{form}} ({low:{form}} to {high:{form}})"


def median(values) -> float:
    return statistics.median(list(values))


def say(text: str) -> None:
    print(f"bench: {text}", flush=True)


if __name__ == "__main__":
    main()
