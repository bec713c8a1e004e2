"""Measures the cost of a request through the whole of envoy/edge.yaml, and that of each of its parts.

Envoys with one worker run at once and take turns: one with the whole file, and others without one of its parts. A part
costs what the whole file needs more than the file without that part. The measure is the CPU time of Envoy for an accepted
request over TLS, as the kernel counts it. Only the limits are raised above the load. Run this by `make bench-edge`.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import tempfile
from dataclasses import replace
from pathlib import Path

import load
import pairs
from compare import say
from report import spread

from harness import sign
from harness.edge import Edge
from harness.envoy import SECRET

WHOLE = "the whole file"
NO_LIMIT = {"max_tokens": 4294967295, "tokens_per_fill": 4294967295, "fill_interval": "1s"}
CONNECTIONS = 16


class Server(Edge):
    """An Envoy with one worker and edge.yaml without a part."""

    workers = 1
    # Envoy's default.
    log_levels = ("-l", "info")

    def __init__(self, upstream_port: int, name: str) -> None:
        self.scheme = "http" if name == "TLS" else "https"
        super().__init__(upstream_port, patch=PARTS[name], sampled=True)
        raise_limits(self.document)


def raise_limits(document) -> None:
    for each in document.filters:
        for descriptor in each["typed_config"].get("descriptors", []):
            descriptor["token_bucket"] = NO_LIMIT
    del document.manager["common_http_protocol_options"]["max_requests_per_connection"]


def as_shipped(document) -> None:
    """The whole file."""


def without(*names: str):
    """The file without these filters."""
    def patch(document) -> None:
        missing = set(names) - {each["name"] for each in document.filters}
        assert not missing, f"edge.yaml has no filter {missing}"
        document.remove_filters(*names)
    return patch


def without_access_log(document) -> None:
    del document.manager["access_log"]


def without_tls(document) -> None:
    del document.listener["filter_chains"][0]["transport_socket"]


def without_overload_manager(document) -> None:
    del document.data["overload_manager"]


def router_alone(document) -> None:
    without_access_log(document)
    document.filters[:] = document.filters[-1:]


# The removed parts by their names. With `nothing`, a second Envoy has the whole file, and the difference of the two is the
# error of this measurement. Without the guard, the gate would reject each request.
PARTS = {
    WHOLE: as_shipped,
    "nothing": as_shipped,
    "TLS": without_tls,
    "webhook_guard, gate": without("webhook_guard", "gate"),
    "strip": without("strip"),
    "access log": without_access_log,
    "limit": without("limit"),
    "copies": without("copies"),
    "shield": without("shield"),
    "gate": without("gate"),
    "admitted": without("admitted"),
    "health_check": without("health_check"),
    "set_filter_state": without("envoy.filters.http.set_filter_state"),
    "overload_manager": without_overload_manager,
    "all filters, access log": router_alone,
}


def main(arguments: list | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=1024)
    parser.add_argument("--protocol", choices=("HTTP/1.1", "HTTP/2"), default="HTTP/1.1")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--seconds", type=float, default=0.2, help="the length of a turn")
    options = parser.parse_args(arguments)
    servers, clients = load.cpus()
    with contextlib.ExitStack() as opened:
        folder = Path(opened.enter_context(tempfile.TemporaryDirectory(prefix="webhook-guard-")))
        with load.on_cpu(clients):
            upstream = opened.enter_context(load.Upstream())
        loaded = request(options, folder)
        targets = {}
        for name in PARTS:
            say(f"starting edge.yaml, {name if name == WHOLE else f'without {name}'}")
            with load.on_cpu(servers):
                server = opened.enter_context(Server(upstream.port, name))
            targets[name] = pairs.Target(server, loaded, server.scheme)
        opened.enter_context(load.on_cpu(clients))
        show(pairs.compare(targets, WHOLE, options.rounds, options.seconds, folder))
        show_connections({name: targets[name] for name in (WHOLE, "TLS")}, options.rounds, folder)


def request(options, folder: Path) -> load.Load:
    body = b'{"order": 42}'.ljust(options.size)
    file = folder / "body"
    file.write_bytes(body)
    streams = 1 if options.protocol == "HTTP/1.1" else 4
    headers = tuple(sign.default(SECRET, body))
    return load.Load(file, headers, options.protocol, 200, CONNECTIONS // streams, streams)


def show(found: dict) -> None:
    whole = spread(whole for costs in found.values() for whole, _ in costs).middle
    print(f"\nThe whole file: {whole:.1f} us of CPU time for a request.\n")
    print("| without | us for a request | the part costs, us (middle half) | share |")
    print("|---|---:|---:|---:|")
    parts = {name: spread(whole - other for whole, other in costs) for name, costs in found.items()}
    for name, cost in sorted(parts.items(), key=lambda part: -part[1].middle):
        print(f"| {name} | {whole - cost.middle:.1f} | {cost.text(1)} | {cost.middle / whole:.1%} |")


def show_connections(targets: dict, rounds: int, folder: Path) -> None:
    """Shows the cost of a connection that sends one request."""
    found: dict = {name: [] for name in targets}
    for _, (name, target) in itertools.product(range(rounds), targets.items()):
        single = replace(target, load=replace(target.load, connections=64, streams=1))
        found[name].append(single.turn(64, folder).cpu)
    encrypted, plain = (spread(found[name]).middle for name in targets)
    print(f"\nA request on a connection of its own: {encrypted:.0f} us, and {plain:.0f} us without TLS.")


if __name__ == "__main__":
    main()
