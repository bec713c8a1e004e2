"""Counts the code that an accepted request of 1 KiB runs: its instructions, and the cache lines and pages that hold them.

Run it by `make bench-footprint`. Each peer is an Envoy in callgrind. With the same programs, and on CPUs with the same
features, the counts differ by a few lines. A request seldom finds its code in the caches of the processor. So its cost follows
the number of lines more than that of instructions.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import contestants
import load
from contestants import FLOOR, GUARD, Peer, Worker

from harness import client, sign
from harness.envoy import SECRET
from harness.tools import tool

PEERS = (FLOOR, GUARD, "signature", "lua", "lua-ffi")
WARM_UP, COUNTED = 3000, 100
LINE, PAGE = 64, 4096
BODY = b'{"order": 42}'.ljust(1024)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--module", type=lambda text: tuple(text.split("=", 1)), action="append", default=[], metavar="NAME=PATH",
        help="another module of the guard, as a further peer",
    )
    options = parser.parse_args()
    peers = [contestants.ALL[name] for name in PEERS]
    peers += [Peer(name, contestants.module_at(Path(path).absolute())) for name, path in options.module]
    print(f"{'':12}{'Envoy':>30}{'compiled by V8 or LuaJIT':>30}")
    print(f"{'':12}{'instructions':>14}{'lines':>8}{'pages':>8}" + f"{'instructions':>14}{'lines':>8}{'pages':>8}")
    with tempfile.TemporaryDirectory(prefix="webhook-guard-") as folder, load.Upstream() as upstream:
        for peer in peers:
            found = footprint(peer, upstream.port, Path(folder))
            print(f"{peer.name:12}" + "".join(f"{each.instructions:>14,.0f}{each.lines:>8,}{each.pages:>8,}" for each in found), flush=True)


@dataclass(frozen=True)
class Footprint:
    """The code of a part of the process that one request runs."""

    instructions: float
    lines: int
    pages: int


class Counted(Worker):
    """An Envoy in callgrind, which counts on demand."""

    identity = ("--disable-hot-restart",)

    def __init__(self, upstream_port: int, peer: Peer, output: Path) -> None:
        super().__init__(upstream_port, peer)
        self.output = output

    def command(self, config: Path) -> list:
        return [
            # V8 changes code while it runs.
            str(tool("valgrind")), "--tool=callgrind", "--smc-check=all-non-file", "--instr-atstart=no", "--dump-instr=yes",
            f"--callgrind-out-file={self.output}", *super().command(config),
        ]

    def control(self, *command: str) -> None:
        vgdb = next(Path(tool("valgrind")).parent.glob("root/usr/bin/vgdb"))
        subprocess.run([vgdb, f"--pid={self.process.pid}", *command], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def requests(self, count: int) -> None:
        """Sends accepted requests over one connection, one after the other."""
        request = client.request(load.PATH, sign.default(SECRET, BODY), BODY)
        with client.Client(self.port) as connection:
            for _ in range(count):
                status = connection.ask(request).status
                if status != 200:
                    raise AssertionError(f"the answer is {status}")


def footprint(peer: Peer, upstream_port: int, folder: Path, warm_up: int = WARM_UP, counted: int = COUNTED) -> tuple:
    """The footprints of Envoy's own code, and of code that was compiled while it ran."""
    output = folder / f"{peer.name}.callgrind"
    envoy = Counted(upstream_port, peer, output)
    try:
        envoy.start()
        envoy.requests(warm_up)
        envoy.control("instrumentation", "on")
        # The first ones are translated for valgrind.
        envoy.requests(counted)
        envoy.control("zero")
        envoy.requests(counted)
        envoy.control("dump")
        files = file_ranges(envoy.process.pid)
    finally:
        envoy.stop()
    return summary(Path(f"{output}.1").read_text(), counted, files)


def file_ranges(pid: int) -> list:
    """The addresses of code that is in files."""
    lines = [line.split() for line in Path(f"/proc/{pid}/maps").read_text().splitlines()]
    return [range(*(int(end, 16) for end in each[0].split("-"))) for each in lines if "x" in each[1] and each[5:] and each[5].startswith("/")]


def summary(dump: str, counted: int, files: list) -> tuple:
    counts: tuple = (Counter(), Counter())
    for (of_file, address), count in instructions(dump).items():
        is_compiled = not of_file and not any(address in each for each in files)
        # Code that fewer than half of the requests run is other work of Envoy.
        if count >= counted / 2:
            counts[is_compiled][of_file, address] += count
    return tuple(
        Footprint(
            instructions=sum(each.values()) / counted,
            lines=len({(of_file, address // LINE) for of_file, address in each}),
            pages=len({(of_file, address // PAGE) for of_file, address in each}),
        )
        for each in counts
    )


def instructions(dump: str) -> Counter:
    """How often each instruction ran, by the object file that has it and its address there."""
    found: Counter = Counter()
    names: dict = {}
    of_file, address, is_call = "", 0, False
    for line in dump.splitlines():
        if named := re.fullmatch(r"ob=\((\d+)\)(?: (.*))?", line):
            number, name = named.groups()
            if name is not None:
                names[number] = name
            of_file = names[number].strip("?")
        elif named := re.fullmatch(r"cob=\((\d+)\) (.*)", line):
            names[named[1]] = named[2]
        elif line.startswith("calls="):
            # The next line has the cost of the callee.
            is_call = True
        elif cost := re.match(r"(0x[0-9a-f]+|[+-]\d+|\*) \S+ ?(\d*)", line):
            place, count = cost.groups()
            address = int(place, 16) if place.startswith("0x") else address + int(place.replace("*", "0"))
            if not is_call:
                found[of_file, address] += int(count or 0)
            is_call = False
    return found


if __name__ == "__main__":
    main()
