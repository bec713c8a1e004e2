"""Figures of the rounds: medians, ratios with their spread, the targets, and the page tests/bench/README.md."""

from __future__ import annotations

import random
import statistics
from dataclasses import astuple, dataclass

from contestants import FLOOR, GUARD
from load import Round

# A part of the page, which a whole run replaces.
BEGIN, END = "<!-- written by make bench: begin -->\n", "<!-- end -->\n"
TITLES = {
    FLOOR: "buffer filter",
    GUARD: "guard",
    "guard-info": "guard, log level info",
    "guard-lines": "guard, a log line each",
    "signature": "signature-only wasm",
    "lua": "Lua",
    "lua-ffi": "Lua with FFI",
    "ext_authz-http": "ext_authz, HTTP",
    "ext_authz-grpc": "ext_authz, gRPC",
}
# With less of its CPU in use, a server was not at its limit.
BUSY = 0.9


@dataclass(frozen=True)
class Case:
    """One kind of request, from many connections or from one alone."""

    kind: str
    size: int
    protocol: str
    is_alone: bool = False

    def __str__(self) -> str:
        alone = ", one connection" if self.is_alone else ""
        return f"{self.kind}, {human(self.size)}, {self.protocol}{alone}"


# How often the rounds of a ratio are drawn again.
RESAMPLES = 1000


@dataclass(frozen=True)
class Spread:
    """A figure, and the range of the values around it."""

    middle: float
    low: float
    high: float

    def text(self, digits: int = 2) -> str:
        return f"{self.middle:.{digits}f} ({self.low:.{digits}f} to {self.high:.{digits}f})"


def spread(values) -> Spread:
    """The median of the values, and their middle half."""
    values = list(values)
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else values * 3
    return Spread(middle, low, high)


def ratio(ones: list, others: list, starts: int = 1) -> Spread | None:
    """The ratio of two medians, and 90 % of the ratios in resamples. None if a twentieth of these have no cost.

    The list of costs has a figure of each round. The noise of a round is often larger than a cost, so rounds have no ratios.
    The rounds after one start are alike, so a resample draws starts, and then rounds of each.
    """
    draw = random.Random(0)
    pairs = list(zip(ones, others, strict=True))
    size = len(pairs) // starts
    groups = [pairs[place : place + size] for place in range(0, len(pairs), size)]

    def resample() -> list:
        return [pair for group in draw.choices(groups, k=len(groups)) for pair in draw.choices(group, k=size)]

    samples = [list(zip(*resample())) for _ in range(RESAMPLES)]
    medians = [(statistics.median(one), statistics.median(other)) for one, other in ([ones, others], *samples)]
    (one, other), *resampled = medians
    ratios = [one / other for one, other in resampled if other > 0]
    if other <= 0 or len(ratios) <= RESAMPLES * 19 // 20:
        return None
    middle = one / other
    twentieths = statistics.quantiles(ratios, n=20, method="inclusive")
    return Spread(middle, twentieths[0], twentieths[-1])


def shown(ratio: Spread | None) -> str:
    return ratio.text() if ratio else "hidden by noise"


def verdict(limit: float, ratio: Spread | None) -> str:
    """Whether a target is met. Undecided where the limit is within the spread, or the noise hides the ratio."""
    if ratio is None or ratio.low <= limit < ratio.high:
        return "undecided"
    return "met" if ratio.high <= limit else "missed"


class Results:
    """The rounds of each peer in each case. Round for round, the peers took turns, so a cost compares two turns of one round."""

    def __init__(self, rounds: dict, starts: dict | None = None) -> None:
        self.rounds = rounds
        # After how many starts of the peers a case was measured.
        self._starts = starts if starts is not None else dict.fromkeys(rounds, 1)

    def starts(self, case: Case) -> int:
        return self._starts.get(case, 0)

    def add(self, case: Case, rounds: dict) -> None:
        """Adds the rounds after one more start."""
        found = self.rounds.setdefault(case, {name: [] for name in rounds})
        for name, rows in rounds.items():
            found[name] += rows
        self._starts[case] = self.starts(case) + 1

    @classmethod
    def of_json(cls, data: list) -> "Results":
        cases = {Case(**each["case"]): each for each in data}
        return cls(
            {
                case: {name: [Round(*row) for row in rows] for name, rows in each["rounds"].items()}
                for case, each in cases.items()
            },
            {case: each["starts"] for case, each in cases.items()},
        )

    def to_json(self) -> list:
        return [
            {
                "case": vars(case),
                "starts": self.starts(case),
                "rounds": {name: [astuple(each) for each in rows] for name, rows in found.items()},
            }
            for case, found in self.rounds.items()
        ]

    def peers(self) -> list:
        return list(dict.fromkeys(name for found in self.rounds.values() for name in found))

    def median(self, case: Case, name: str, field: str) -> float:
        return statistics.median(getattr(each, field) for each in self.rounds[case][name])

    def over(self, case: Case, name: str) -> list:
        """The CPU time of each round above that of the floor, in microseconds."""
        found = self.rounds[case]
        return [each.cpu - base.cpu for each, base in zip(found[name], found[FLOOR])]

    def ratio(self, case: Case, name: str, other: str) -> Spread | None:
        """How much one peer costs above the floor, against another. None if the noise hides what the other costs."""
        return ratio(self.over(case, name), self.over(case, other), self.starts(case))

    def cheapest(self, case: Case, names: list) -> str:
        return min(names, key=lambda name: statistics.median(self.over(case, name)), default="")

    # One row for each target: what it is, the limit, and the ratio that was reached.

    def targets(self) -> list:
        rows = []
        for size, other, limit in (
            (1024, "signature", 1.4), (1024, "lua", 0.75), (1024, "lua-ffi", 0.75), (1024, "ext_authz", 0.40),
            (8192, "signature", 1.15), (8192, "ext_authz", 0.65), (65536, "signature", 1.06),
        ):
            for protocol in ("HTTP/1.1", "HTTP/2"):
                case = Case("accepted", size, protocol)
                found = self.rounds.get(case, {})
                cheapest = self.cheapest(case, [name for name in found if name.startswith(other)]) if other == "ext_authz" else other
                if GUARD in found and cheapest in found:
                    what = f"guard / {TITLES[cheapest]}, {human(size)}, {protocol}"
                    rows.append((what, limit, self.ratio(case, GUARD, cheapest)))
        for protocol in ("HTTP/1.1", "HTTP/2"):
            denied, usual = (Case(kind, 1024, protocol) for kind in ("denied", "accepted"))
            if denied in self.rounds and usual in self.rounds and GUARD in self.rounds[denied]:
                found = ratio(self.over(denied, GUARD), self.over(usual, GUARD), self.starts(usual))
                rows.append((f"guard, denied at the headers / accepted, 1 KiB, {protocol}", 0.5, found))
            for name, what in (("guard-info", "log level info / warning"), ("guard-lines", "a log line each / log level warning")):
                if {GUARD, name} <= set(self.rounds.get(usual, {})):
                    rows.append((f"guard, {what}, 1 KiB, {protocol}", 1.5, self.ratio(usual, name, GUARD)))
        return rows

    # Text.

    def rows(self, case: Case) -> list:
        """The lines of a case for a terminal."""
        found = self.rounds[case]
        lines = []
        for name in found:
            above = "" if name == FLOOR else f"+ {spread(self.over(case, name)).text(1)}"
            rate, p50, p99, busy = (self.median(case, name, field) for field in ("rate", "p50", "p99", "busy"))
            lines.append(
                f"  {name:<15}{self.median(case, name, 'cpu'):8.1f} us  {above:<28}{rate:8.0f}/s"
                f"  p50 {p50 / 1000:7.3f} ms  p99 {p99 / 1000:7.3f} ms  busy {busy:4.0%}"
            )
        for name in found:
            if GUARD in found and name not in (FLOOR, GUARD):
                ratio = self.ratio(case, GUARD, name)
                lines.append(f"  guard / {name:<15}{ratio.text() if ratio else 'the noise hides the cost of the other'}")
        if not case.is_alone and min(self.median(case, name, "busy") for name in found) < BUSY:
            lines.append("  The servers were not busy all the time: the load generator, the upstream or other work limits this case.")
        return lines

    def target_rows(self) -> list:
        return [
            f"  {verdict(limit, ratio).upper():<9}  {what:<56} at most {limit:.2f}, is {shown(ratio)}"
            for what, limit, ratio in self.targets()
        ]

    def page(self, facts: dict, picture: str) -> str:
        """The part of the page that a whole run writes."""
        busy = [case for case in self.rounds if not case.is_alone]
        alone = [case for case in self.rounds if case.is_alone]
        peers = self.peers()
        others = [name for name in peers if name not in (FLOOR, GUARD)]

        def mark(case: Case, name: str) -> str:
            return " \\*" if self.median(case, name, "busy") < BUSY else ""

        def cost(case: Case, name: str) -> str:
            if name == FLOOR:
                return f"{self.median(case, name, 'cpu'):.1f}" + mark(case, name)
            found = spread(self.over(case, name))
            return f"{found.middle:.1f} ± {(found.high - found.low) / 2:.1f}" + mark(case, name)

        def ratio(case: Case, name: str) -> str:
            found = self.ratio(case, GUARD, name)
            return found.text() if found else "-"

        def latency(case: Case, name: str) -> str:
            return " / ".join(f"{self.median(case, name, field) / 1000:.2f}" for field in ("p50", "p99"))

        rows = [
            f"| {what} | {limit:.2f} | {shown(ratio)} | {verdict(limit, ratio)} |" for what, limit, ratio in self.targets()
        ]
        return "\n".join([
            *[f"* **{name}:** {value}" for name, value in facts.items()], "",
            f"![CPU time of an accepted request above that of the buffer filter]({picture})", "",
            "## Targets", "",
            "The project set these limits. [An explanation](#what-limits-the-guard) of those that are missed is above.", "",
            "| costs above the floor | at most | reached | |", "|---|---|---|---|", *rows, "",
            "## CPU time of a request", "",
            "In microseconds: the whole of the floor, and what the others use above the floor. The number after ± is half of the range that the middle",
            "half of the turns has. A star: the server used less than 90 % of its CPU, because something else limited the turns.", "",
            *table(busy, peers, cost), "",
            "## The guard against the others", "",
            "The ratios of these costs, with 90 % of the ratios in resamples. A dash: the noise hides the cost of the other.", "",
            *table(busy, others, ratio), "",
            "## Requests per second", "",
            "One CPU serves, and is busy except where the first table has a star.", "",
            *table(busy, peers, lambda case, name: f"{self.median(case, name, 'rate'):,.0f}"), "",
            "## Latency", "",
            "p50 / p99 in milliseconds. With many connections, requests wait for the CPU.", "",
            *table([*alone, *busy], peers, latency), "",
        ])


def table(cases: list, peers: list, cell) -> list:
    head = " | ".join(TITLES.get(name, name) for name in peers)
    rows = [f"| {case} | " + " | ".join(cell(case, name) for name in peers) + " |" for case in cases]
    return [f"| request | {head} |", "|---" * (len(peers) + 1) + "|", *rows]


def human(size: int) -> str:
    for unit in ("B", "KiB"):
        if size < 1024:
            return f"{size} {unit}"
        size //= 1024
    return f"{size} MiB"
