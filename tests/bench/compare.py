"""Measures the guard side by side with what users would otherwise run: `make bench`.

Each peer is an Envoy with one worker and one filter before its router. All of them run at once, and take turns: a turn is
some thousand equal requests, of a load generator that keeps the server busy. The measure is the CPU time of the server
for a request, as the kernel counts it. The floor is Envoy with its buffer filter.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import re
import subprocess
import tempfile
import time
from datetime import datetime, timezone
from pathlib import Path

import contestants
import load
import picture
from contestants import CHOICE, FLOOR, Peer, Worker
from report import BEGIN, END, Case, Results

from harness import sign
from harness.envoy import ROOT, SECRET, version
from harness.tools import tool

FOLDER = ROOT / "tests" / "bench"
RESULTS = ROOT / "target" / "bench" / "results.json"
SIZES = (256, 1024, 8192, 65536, 1048576)
KINDS = ("accepted", "forged", "denied")
PROTOCOLS = ("HTTP/1.1", "HTTP/2")
# A whole run. A forged or denied request of one size says what those of other sizes cost.
WHOLE = (
    *(Case("accepted", size, protocol) for size in SIZES for protocol in PROTOCOLS),
    *(Case("forged", size, protocol) for size in (1024, 65536) for protocol in PROTOCOLS),
    *(Case("denied", 1024, protocol) for protocol in PROTOCOLS),
    *(Case("accepted", size, "HTTP/1.1", is_alone=True) for size in (1024, 65536)),
)


def main() -> None:
    options = arguments()
    cases = list(WHOLE)
    if options.kinds or options.sizes or options.protocols:
        chosen = (options.kinds or KINDS[:1], options.sizes or (1024,), options.protocols or PROTOCOLS[:1])
        cases = [Case(*each) for each in itertools.product(*chosen)]
    results = Results({})
    if options.resume and RESULTS.exists():
        results = Results.of_json(json.loads(RESULTS.read_text()))
    run(cases, options, results)
    print("Targets:", *results.target_rows(), sep="\n")
    if options.write:
        write_page(results, options)


def run(cases: list, options: argparse.Namespace, results: Results) -> None:
    peers = [contestants.ALL[name] for name in options.peers]
    peers += [Peer(name, contestants.module_at(Path(path).absolute())) for name, path in options.module]
    end = time.monotonic() + options.limit
    for start in range(options.starts):
        todo = [case for case in cases if results.starts(case) <= start]
        if not todo:
            continue
        # Where the memory of a process lies decides some 10 % of its speed, so all of them are started several times.
        with Stage(peers) as stage:
            for number, case in enumerate(todo, 1):
                if time.monotonic() > end:
                    say("stopped at the limit: continue with --resume")
                    return
                say(f"start {start + 1} of {options.starts}, {number} of {len(todo)}: {case}")
                results.add(case, stage.measure(case, options.rounds, options.seconds))
                print(*results.rows(case), sep="\n", flush=True)
                if not options.is_part:
                    RESULTS.parent.mkdir(parents=True, exist_ok=True)
                    RESULTS.write_text(json.dumps(results.to_json()))


def arguments() -> argparse.Namespace:
    def listed(*known):
        def read(text: str) -> tuple:
            found = tuple(type(known[0])(each) for each in text.split(","))
            for each in set(found) - set(known):
                raise argparse.ArgumentTypeError(f"{each} is not one of {', '.join(map(str, known))}")
            return found
        return read

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    several = "several are separated by commas"
    parser.add_argument("--peers", type=listed(*contestants.ALL), default=tuple(contestants.ALL), help=several)
    parser.add_argument("--sizes", type=listed(*SIZES), help=f"bytes of the body, {several}")
    parser.add_argument("--kinds", type=listed(*KINDS), help=several)
    parser.add_argument("--protocols", type=listed(*PROTOCOLS), help=several)
    parser.add_argument("--starts", type=int, default=4, help="how often all peers are started")
    parser.add_argument("--rounds", type=int, default=5, help="how many turns each peer has after a start")
    parser.add_argument("--seconds", type=float, default=0.3, help="the length of a turn")
    parser.add_argument(
        "--module", type=lambda text: tuple(text.split("=", 1)), action="append", default=[], metavar="NAME=PATH",
        help="another module of the guard, as a further peer",
    )
    parser.add_argument("--resume", action="store_true", help=f"keep what {RESULTS.relative_to(ROOT)} has, measure the rest")
    parser.add_argument("--limit", type=float, default=float("inf"), help="after so many seconds, begin no other case")
    parser.add_argument("--write", action="store_true", help="write the page and the picture in tests/bench")
    options = parser.parse_args()
    options.is_part = bool(options.kinds or options.sizes or options.protocols or options.module)
    options.is_part |= options.peers != tuple(contestants.ALL)
    if options.is_part and (options.resume or options.write):
        parser.error("--resume and --write are for a whole run, with all peers and requests")
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
        connections = 1 if case.is_alone else 32 if case.size <= 65536 else 8
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


def write_page(results: Results, options: argparse.Namespace) -> None:
    """Puts the tables into the page, and draws the picture."""
    page = FOLDER / "README.md"
    (FOLDER / "costs.svg").write_text(picture.draw(results))
    before, rest = page.read_text().split(BEGIN)
    _, after = rest.split(END)
    page.write_text(before + BEGIN + results.page(facts(options), "costs.svg") + END + after)
    say(f"wrote {page.relative_to(ROOT)} and costs.svg")


def facts(options: argparse.Namespace) -> dict:
    """When, where, how and with which programs the run was."""
    cpus = Path("/proc/cpuinfo").read_text()
    model = re.search(r"^model name\s*: (.*)$", cpus, re.MULTILINE)
    virtual = " (virtual)" if re.search(r"^flags\s*:.* hypervisor\b", cpus, re.MULTILINE) else ""
    commit = subprocess.run(
        ["git", "log", "-1", "--format=%h"], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ).stdout.strip()
    return {
        "Date": f"{datetime.now(timezone.utc):%Y-%m-%d}" + (f", commit {commit}" if commit else ""),
        "Machine": f"{model.group(1) if model else os.uname().machine}{virtual}, {os.cpu_count()} CPUs, Linux {'.'.join(os.uname().release.split('.')[:2])}",
        "Turns": f"{options.starts} starts, {options.rounds} turns of {options.seconds} s each",
        "Programs": f"Envoy {'.'.join(map(str, version()))}, {shown('h2load', '--version')}, {shown('nginx', '-v')}",
    }


def shown(program: str, option: str) -> str:
    run = subprocess.run([str(tool(program)), option], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=True)
    return run.stdout.strip().removeprefix("nginx version: ")


def say(text: str) -> None:
    print(f"bench: {text}", flush=True)


if __name__ == "__main__":
    main()
