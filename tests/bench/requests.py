"""The cost of the replay memory: CPU time of Envoy for an accepted request, with and without the guard and its memory.

Each row is one size of body. All Envoys run side by side and take turns, so that noise affects all of them
alike. A figure is the median of the turns. Compare ratios, not figures. The time of the upstream, a Python server, is not
included. Run it by `make bench`.
"""

from __future__ import annotations

import itertools
import statistics

from load import cpu_nanoseconds

from harness import sign
from harness.client import Client, request
from harness.envoy import Envoy
from harness.full_config import WHSEC, endpoint
from harness.upstream import Upstream

TURNS = 7
SLACK = "secret-of-slack-1"
# The size of the body, and how many requests a turn has.
SIZES = ((256, 2000), (4096, 2000), (65536, 500), (1048576, 60))
NUMBERS = itertools.count()


def ids(**more) -> dict:
    return endpoint("ids", {"version": "v1", "value": WHSEC}, provider="standard-webhooks", **more)


def times(**more) -> dict:
    return endpoint("times", {"version": "v1", "value": SLACK}, provider="slack", **more)


def request_of(path: str, size: int) -> bytes:
    """A new delivery."""
    body = (b"%d " % next(NUMBERS)).ljust(size, b"x")
    headers = sign.slack(SLACK, body) if path == "/times" else sign.standard_webhooks(WHSEC, body, identity=f"m{body[:9]}")
    return request(path, headers, body)


def without_guard(document) -> None:
    document.remove_filters("webhook_guard", "gate")


OFF = {"window": "0s"}
CASES = {
    "no guard": ("/times", None, without_guard),
    "time, no memory": ("/times", times(replay=OFF), None),
    "time, memory": ("/times", times(), None),
    "id, no memory": ("/ids", ids(replay=OFF), None),
    "id, memory": ("/ids", ids(), None),
}


def main() -> None:
    print(__doc__)
    with Upstream(on_request=lambda _: None) as upstream:
        running = {}
        try:
            for name, (_, guarded, patch) in CASES.items():
                configuration = {"environment": "test", "endpoints": [guarded or times()]}
                running[name] = Envoy(upstream.port, configuration, patch=patch).start()
            print("Envoy", next(iter(running.values())).get("/server_info").split('"version": "')[1].split("/")[1])
            print(f"{'body':>9}" + "".join(f"{name:>18}" for name in CASES) + "    memory costs (time, id)")
            for size, count in SIZES:
                measure(upstream, running, size, count)
        finally:
            for each in running.values():
                each.stop()


def measure(upstream, running: dict, size: int, count: int) -> None:
    found: dict = {name: [] for name in running}
    for _ in range(TURNS):
        for name, envoy in running.items():
            requests = [request_of(CASES[name][0], size) for _ in range(count)]
            upstream.connections.clear()
            found[name].append(turn(envoy, requests))
    median = {name: statistics.median(each) for name, each in found.items()}
    ratios = (median[f"{kind}, memory"] / median[f"{kind}, no memory"] for kind in ("time", "id"))
    row = "".join(f"{median[name]:>15.0f} us" for name in running)
    print(f"{size:>9}{row}    " + ", ".join(f"x {ratio:.2f}" for ratio in ratios), flush=True)


def turn(envoy, requests: list) -> float:
    """The microseconds of CPU time for each of the requests."""
    with Client(envoy.port) as client:
        before = cpu_nanoseconds(envoy.process.pid)
        for each in requests:
            assert client.ask(each).body == b"hello"
        return (cpu_nanoseconds(envoy.process.pid) - before) / len(requests) / 1000


if __name__ == "__main__":
    main()
