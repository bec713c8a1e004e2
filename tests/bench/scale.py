"""Measures how the cost of a request depends on the number of endpoints, of allowed prefixes and of workers.

Each Envoy has the guard and the router alone. Two Envoys at a time take turns, and one of the two is the base. The measure is
the CPU time of Envoy for a request of 1 KiB, as the kernel counts it. A target is that a request costs within 5 % of the
base. Run this by `make bench-scale`, which also measures start and memory.
"""

from __future__ import annotations

import argparse
import contextlib
import tempfile
from pathlib import Path

import load
import pairs
from compare import say
from contestants import reduce
from report import spread

from harness import sign
from harness.envoy import Envoy

NAME, SECRET, HOST = "sender-09999", "a-secret-of-sender-09999", "hooks-09999.example.com"
FLAT = 1.05


def endpoint(name: str, match: dict, **more) -> dict:
    secret = {"version": "v1", "value": f"a-secret-of-{name}"}
    return {"name": name, "match": match, "secrets": [secret], **more}


def numbered(count: int, match, **more) -> dict:
    """A configuration with so many endpoints. The last one is the same for each number."""
    names = [f"sender-{number:05}" for number in range(10_000 - count, 10_000)]
    return {"environment": "test", "endpoints": [endpoint(name, match(name), **more) for name in names]}


def exact(name: str) -> dict:
    return {"path": f"/hooks/{name}"}


def prefix(name: str) -> dict:
    return {"prefix": f"/hooks/{name}/"}


def host(name: str) -> dict:
    return {"path": f"/hooks/{NAME}", "host": name.replace("sender", "hooks") + ".example.com"}


def allowed(count: int) -> list:
    """So many prefixes that do not merge, and the last one is the client's network."""
    spread = [f"{16 + (number >> 15)}.{number >> 7 & 255}.{number << 1 & 255}.0/24" for number in range(count - 1)]
    return [*spread, "127.0.0.0/8"]


PASSING = {"unmatched": {"pass": ["/app/"]}}
CONFIGURATIONS = {
    "1 path": numbered(1, exact),
    "100 paths": numbered(100, exact),
    "1,000 paths": numbered(1000, exact),
    "1 prefix": numbered(1, prefix),
    "1,000 prefixes": numbered(1000, prefix),
    "1 host": numbered(1, host),
    "1,000 hosts": numbered(1000, host),
    "1 path, some pass": {**numbered(1, exact), **PASSING},
    "1,000 paths, some pass": {**numbered(1000, exact), **PASSING},
    "1 allowed network": numbered(1, exact, allow=allowed(1)),
    "50,000 allowed networks": numbered(1, exact, allow=allowed(50_000)),
    "1 worker": numbered(1, exact),
    "2 workers": numbered(1, exact),
}
# Several workers need several CPUs, which they share with the load generator. An Envoy without the guard shows what that
# costs Envoy itself.
NOT_PINNED = ("1 worker", "2 workers")
WITHOUT_GUARD = ("1 worker without the guard", "2 workers without the guard")
# Each request has a path, the status of its answer, and configurations. The first of them is the base.
GROUPS = {
    "accepted, the last of all endpoints": (f"/hooks/{NAME}", 200, ("1 path", "100 paths", "1,000 paths")),
    "accepted, the last of all prefixes": (f"/hooks/{NAME}/a", 200, ("1 prefix", "1,000 prefixes")),
    "accepted, the last of all hosts": (f"/hooks/{NAME}", 200, ("1 host", "1,000 hosts")),
    "denied, of no endpoint": ("/nothing/here", 404, ("1 path", "100 paths", "1,000 paths")),
    "passed, of no endpoint": ("/app/orders/42", 200, ("1 path, some pass", "1,000 paths, some pass")),
    "accepted, by address": (f"/hooks/{NAME}", 200, ("1 allowed network", "50,000 allowed networks")),
    "accepted, by several workers": (f"/hooks/{NAME}", 200, NOT_PINNED),
    "forwarded, by several workers": (f"/hooks/{NAME}", 200, WITHOUT_GUARD),
}


class Server(Envoy):
    """An Envoy with the guard and the router, or with the router alone."""

    log_levels = ("-l", "warning")

    def __init__(self, upstream_port: int, name: str) -> None:
        self.workers = 2 if name.startswith("2 workers") else 1
        super().__init__(upstream_port, CONFIGURATIONS.get(name), patch=reduce)
        if name in WITHOUT_GUARD:
            self.document.remove_filters("webhook_guard")


def main(arguments: list | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--seconds", type=float, default=0.25, help="the length of a turn")
    parser.add_argument("--groups", default="", help="only the requests with this text in their names")
    options = parser.parse_args(arguments)
    groups = {name: group for name, group in GROUPS.items() if options.groups in name}
    servers, clients = load.cpus()
    with contextlib.ExitStack() as opened:
        folder = Path(opened.enter_context(tempfile.TemporaryDirectory(prefix="webhook-guard-")))
        with load.on_cpu(clients):
            upstream = opened.enter_context(load.Upstream())
        running = {}
        for name in dict.fromkeys(name for _, _, names in groups.values() for name in names):
            say(f"starting an Envoy with {name}")
            with load.on_cpu(servers) if name not in NOT_PINNED + WITHOUT_GUARD else contextlib.nullcontext():
                running[name] = opened.enter_context(Server(upstream.port, name))
        opened.enter_context(load.on_cpu(clients))
        print("| request | configuration | us for a request | against the base (middle half) |")
        print("|---|---|---:|---:|")
        for request, (path, status, names) in groups.items():
            loaded = requests(path, status, folder)
            targets = {name: pairs.Target(running[name], loaded) for name in names}
            show(request, names[0], pairs.compare(targets, names[0], options.rounds, options.seconds, folder))


def requests(path: str, status: int, folder: Path) -> load.Load:
    body = b'{"order": 42}'.ljust(1024)
    file = folder / "body"
    file.write_bytes(body)
    headers = ((":authority", HOST), *sign.default(SECRET, body))
    return load.Load(file, headers, "HTTP/1.1", status, 16, 1, path)


def show(request: str, base: str, found: dict) -> None:
    print(f"| {request} | {base} | {spread(cost for costs in found.values() for cost, _ in costs).middle:.1f} | |")
    for name, costs in found.items():
        ratio = spread(cost / of_base for of_base, cost in costs)
        target = "" if ratio.middle <= FLAT else ", above the target"
        print(f"| | {name} | {spread(cost for _, cost in costs).middle:.1f} | {ratio.text()}{target} |", flush=True)


if __name__ == "__main__":
    main()
