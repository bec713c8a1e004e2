"""Compares servers in pairs of turns: the base, and next to it another one, so that noise affects both alike."""

from __future__ import annotations

import itertools
import time
from dataclasses import dataclass
from pathlib import Path

import load

from harness.envoy import Envoy


@dataclass(frozen=True)
class Target:
    """A server, and the requests that it gets."""

    server: Envoy
    load: load.Load
    scheme: str = "http"

    def turn(self, count: int, folder: Path) -> load.Round:
        return load.measure(self.load, self.server.port, [self.server.process.pid], count, folder, self.scheme)

    def warm_up(self, seconds: float, folder: Path) -> int:
        """How many requests fill a turn."""
        count, end = 64, time.monotonic() + 4 * seconds
        while time.monotonic() < end:
            count = max(64, int(self.turn(count, folder).rate * seconds))
        return count


def compare(targets: dict, base: str, rounds: int, seconds: float, folder: Path) -> dict:
    """By the name of each other target, the CPU times of a request in each round: of the base, and of the target."""
    counts = {name: target.warm_up(seconds, folder) for name, target in targets.items()}
    found: dict = {name: [] for name in targets if name != base}
    for number, name in itertools.product(range(rounds), found):
        # Each of the two begins every other time.
        pair = (base, name) if number % 2 else (name, base)
        cpu = {each: targets[each].turn(counts[each], folder).cpu for each in pair}
        found[name].append((cpu[base], cpu[name]))
    return found
