"""Measures the memory of held requests: 10,000 at once, in one worker, whose bodies do not end.

The guard counts the bytes of held requests to bound them by `max_held_bytes`. The last column shows whether its count is
honest: 1 is exactly what Envoy and the module allocate, and more is on the safe side. Run this by `make bench-scale`.
"""

from __future__ import annotations

import contextlib
import resource
from dataclasses import dataclass

from contestants import reduce
from scale import NAME, exact, numbered
from scale_memory import linear_memories, memory

from harness import client, sign
from harness.envoy import Envoy
from harness.http2_client import Http2Client
from harness.polling import until
from harness.raw_http import allocated, held
from harness.upstream import Upstream

HELD, STREAMS = 10_000, 1_000
PATH = f"/hooks/{NAME}"
HEADERS = [("user-agent", "Example-Hooks/1.0"), ("content-type", "application/json"), ("x-webhook-signature", "0" * 64)]
MORE_HEADERS = [(f"x-header-{number}", "v" * 100) for number in range(40)]
# The protocol, the bytes of the body that arrive, and further headers.
CASES = (
    ("HTTP/2", 0, []),
    ("HTTP/2", 1024, []),
    ("HTTP/2", 8192, []),
    ("HTTP/2", 1024, MORE_HEADERS),
    ("HTTP/1.1", 1024, []),
)


@dataclass(frozen=True)
class Memory:
    """The memory of an Envoy, in bytes."""

    resident: int
    allocated: int
    linear: int
    counted: int

    def grown(self, before: "Memory") -> list[float]:
        """The growth for each held request."""
        pairs = zip(vars(self).values(), vars(before).values())
        return [(now - then) / HELD for now, then in pairs]


def main() -> None:
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    print("\n| protocol | body so far | headers | resident | allocated by Envoy | by the module | counted by the guard | counted / allocated |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|")
    with Upstream(on_request=lambda _: None) as upstream:
        for protocol, size, more in CASES:
            # A connection of HTTP/1.1 holds one request, and the client and Envoy need a file for it.
            if protocol == "HTTP/1.1" and files < HELD + 1000:
                print(f"| {protocol} | | | not measured: `ulimit -Hn` is {files} | | | | |")
                continue
            with envoy_of(upstream.port) as envoy:
                show(envoy, protocol, size, [*HEADERS, *more])


def envoy_of(upstream_port: int) -> Envoy:
    envoy = Envoy(upstream_port, {**numbered(1, exact), "max_held_bytes": 1 << 30}, patch=patient)
    envoy.workers = 1
    return envoy


def patient(document) -> None:
    """Takes many streams and waits for their bodies."""
    reduce(document)
    document.manager.update(request_timeout="600s", stream_idle_timeout="600s", max_request_headers_kb=60)
    document.manager["http2_protocol_options"]["max_concurrent_streams"] = STREAMS


def show(envoy: Envoy, protocol: str, size: int, headers: list) -> None:
    body = b"x" * 2000
    assert client.post(envoy.port, PATH, sign.default(f"a-secret-of-{NAME}", body), body).status == 200
    before = measured(envoy)
    with contextlib.ExitStack() as opened:
        hold = hold_streams if protocol == "HTTP/2" else hold_connections
        hold(opened, envoy.port, headers, b"y" * size)
        until(lambda: held(envoy) == HELD, what="Envoy to hold all requests")
        until(lambda: received(envoy) > HELD * size, what="Envoy to read all bodies")
        resident, allocated_, linear, counted = measured(envoy).grown(before)
    honest = counted / (allocated_ + linear)
    print(
        f"| {protocol} | {size:,} | {len(headers) + 4} | {resident:,.0f} | {allocated_:,.0f} | {linear:,.0f} | {counted:,.0f} "
        f"| {honest:.2f} |", flush=True,
    )


def hold_streams(opened, port: int, headers: list, body: bytes) -> None:
    for number in range(HELD // STREAMS):
        connection = opened.enter_context(Http2Client(port, source=f"127.0.1.{number + 1}"))
        for _ in range(STREAMS):
            stream = connection.headers(PATH, headers)
            if body:
                connection.data(stream, body)


def hold_connections(opened, port: int, headers: list, body: bytes) -> None:
    sent = client.head(PATH, [*headers, ("content-length", str(len(body) + 1))]) + body
    for number in range(HELD):
        connection = client.connect(port, 60, source=f"127.0.1.{number % 200 + 1}")
        opened.callback(connection.close)
        connection.sendall(sent)


def received(envoy: Envoy) -> int:
    """The bytes that Envoy has read from clients."""
    name = "http.webhooks.downstream_cx_rx_bytes_total"
    return envoy.stats(f"^{name}$")[name]


def measured(envoy: Envoy) -> Memory:
    pid = envoy.process.pid
    counted = envoy.stats("held_bytes")["wasmcustom.webhook_guard_held_bytes"]
    return Memory(memory(pid), allocated(envoy), max(linear_memories(pid)), counted)


if __name__ == "__main__":
    main()
