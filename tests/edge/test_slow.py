"""Who is slow holds a connection for so long and no longer, and nobody else waits for it."""

from __future__ import annotations

import contextlib
import select
import socket
import statistics
import time

from harness.client import chunk, chunked, head, request
from harness.edge import EDGE
from harness.envoy import SECRET
from harness.parallel import at_once
from harness.sign import default
from harness.wait import until

BODY = b"x" * 1000
SIGNED = default(SECRET, BODY)
# Long enough for Envoy to end a request by a timeout that is shortened to a second or less.
PATIENCE = 8


def shipped_timeouts(document) -> dict:
    manager = document.manager
    common = manager["common_http_protocol_options"]
    names = ["request_headers_timeout", "request_timeout", "stream_idle_timeout"]
    more = ["idle_timeout", "max_connection_duration", "max_stream_duration"]
    return {**{name: manager[name] for name in names}, **{name: common[name] for name in more}}


def with_timeouts(**seconds):
    """edge.yaml with some timeouts shortened."""

    def patch(document):
        common = document.manager["common_http_protocol_options"]
        for name, value in seconds.items():
            where = common if name in common else document.manager
            assert name in where, name
            where[name] = f"{value}s"

    return patch


def test_the_shipped_ones(start, upstream):
    edge = start(upstream)
    assert shipped_timeouts(edge.document) == {
        "request_headers_timeout": "10s",
        "request_timeout": "30s",
        "stream_idle_timeout": "20s",
        "idle_timeout": "60s",
        "max_connection_duration": "600s",
        "max_stream_duration": "60s",
    }
    assert "timeout: 15s # from the request's last byte" in EDGE.read_text()


def drip(client, pieces, pause: float):
    """Sends piece after piece until there is an answer, which it returns."""
    for piece in pieces:
        # Envoy may have answered and closed the connection meanwhile.
        with contextlib.suppress(OSError):
            client.send(piece)
        if select.select([client.socket], [], [], pause)[0]:
            break
    return client.response()


def assert_incomplete(edge, details: str, endpoint: str = "orders") -> None:
    """The guard counted the request as incomplete, and the access log tells why."""
    count = lambda: edge.count(endpoint, "denied", "incomplete")  # noqa: E731
    assert until(count, what="the guard's counter") == 1
    assert until(edge.access_lines)[-1]["details"] == details


def test_slow_headers(start, upstream):
    edge = start(upstream, patch=with_timeouts(request_headers_timeout=0.7))
    sent = head("/webhook", SIGNED)
    pieces = [sent[at : at + 1] for at in range(len(sent))]
    with upstream.nothing(), edge.client(timeout=PATIENCE) as client:
        answer = drip(client, pieces, 0.1)
        assert answer.status == 408
    assert until(edge.access_lines)[-1]["details"] == "request_header_timeout"


def test_a_slow_body(start, upstream):
    edge = start(upstream, patch=with_timeouts(request_timeout=1))
    pieces = [head("/webhook", [*SIGNED, ("content-length", "1000")]), *[b"x"] * 100]
    with upstream.nothing(), edge.client(timeout=PATIENCE) as client:
        assert drip(client, pieces, 0.05).status == 408
    assert_incomplete(edge, "request_overall_timeout")


def test_a_body_that_stops(start, upstream):
    edge = start(upstream, patch=with_timeouts(stream_idle_timeout=0.7))
    pieces = [head("/webhook", [*SIGNED, ("content-length", "1000")]), b"x" * 10]
    with upstream.nothing(), edge.client(timeout=PATIENCE) as client:
        client.send(*pieces)
        assert client.response().status == 408
    assert_incomplete(edge, "stream_idle_timeout")


def test_a_body_that_never_ends(start, upstream):
    """Fast, it is too large some time; slow, it takes too long."""
    edge = start(upstream, patch=with_timeouts(request_timeout=1))
    begin = chunked("/webhook", SIGNED)[0]
    with upstream.nothing():
        with edge.client(timeout=PATIENCE) as client:
            assert drip(client, [begin, *[chunk(b"x" * 65536)] * 40], 0).status == 413
        assert edge.count("orders", "denied", "body_too_large") == 1
        with edge.client(timeout=PATIENCE) as client:
            assert drip(client, [begin, *[chunk(b"x")] * 100], 0.05).status == 408
    assert_incomplete(edge, "request_overall_timeout")


def test_slow_over_http2(start, upstream):
    """A stream has the same timeouts, and its connection outlives it."""
    edge = start(upstream, patch=with_timeouts(stream_idle_timeout=0.7))
    signed = [(name.lower(), value) for name, value in SIGNED]
    with edge.client2() as client:
        with upstream.nothing():
            stream = client.headers("/webhook", signed)
            client.data(stream, b"x" * 10)
            assert client.answer(stream)[0] == 408
        assert client.ask("/webhook", signed, BODY)[0] == 200
    assert_incomplete(edge, "stream_idle_timeout")


def test_an_idle_connection_is_closed(start, upstream):
    edge = start(upstream, patch=with_timeouts(idle_timeout=0.7))
    with edge.client(timeout=PATIENCE) as client:
        assert client.ask(request("/webhook", SIGNED, BODY)).status == 200
        assert client.socket.recv(1) == b""


def for_a_while(connect, ask) -> list:
    """What `ask` returns, over one connection after the other; it raises where one is over."""
    end, statuses, connections = time.monotonic() + 2.5, [], 0
    while time.monotonic() < end:
        connections += 1
        with connect() as client, contextlib.suppress(Over):
            while time.monotonic() < end:
                statuses.append(ask(client))
                time.sleep(0.05)
    assert connections >= 3
    return statuses


class Over(Exception):
    """The connection takes no more requests."""


def test_a_connections_life_ends_without_a_loss(start, upstream):
    edge = start(upstream, patch=with_timeouts(max_connection_duration=0.7))
    is_last = []

    def ask(client) -> int:
        if is_last:
            is_last.clear()
            raise Over
        answer = client.ask(request("/webhook", SIGNED, BODY))
        if answer.all("connection") == ["close"]:
            is_last.append(True)
        return answer.status

    assert set(for_a_while(edge.client, ask)) == {200}


def test_a_life_over_http2_ends_without_a_loss(start, upstream):
    """Told to go away, the test's client reads no further: what it asked has arrived all the same."""
    edge = start(upstream, patch=with_timeouts(max_connection_duration=0.7))
    signed = [(name.lower(), value) for name, value in SIGNED]
    asked = []

    def ask(client):
        asked.append(True)
        status, _ = client.ask("/webhook", signed, BODY)
        if status is None:
            raise Over
        return status

    assert set(for_a_while(edge.client2, ask)) == {200}
    until(lambda: len(upstream.requests) == len(asked), what="the last of each connection")


class Slow:
    """Connections that have begun a request and do not go on with it."""

    def __init__(self, edge, count: int) -> None:
        begin = head("/webhook", [*SIGNED, ("content-length", "1000")]) + b"x"
        self.clients = []
        for number in range(count):
            client = edge.client(source=f"127.0.1.{number % 250 + 1}", timeout=PATIENCE)
            client.send(begin)
            self.clients.append(client)

    def __enter__(self) -> "Slow":
        return self

    def __exit__(self, *_) -> None:
        for each in self.clients:
            each.close()


def latencies(edge, address: int, count: int = 90) -> list:
    """How long a good sender's deliveries take, in milliseconds."""
    found = []
    with edge.client(source=f"127.0.2.{address}") as client:
        for _ in range(count):
            begun = time.perf_counter()
            assert client.ask(request("/webhook", SIGNED, BODY)).status == 200
            found.append((time.perf_counter() - begun) * 1000)
    return found


def summary(times: list) -> str:
    ranked = sorted(times)
    return f"p50 {statistics.median(ranked):.2f} ms, p99 {ranked[int(len(ranked) * 0.99) - 1]:.2f} ms"


def test_200_slow_senders_do_not_slow_a_good_one(start, upstream, capsys):
    """Rounds with and without them take turns, so that noise meets both alike."""
    edge = start(upstream)
    alone, among = [], []
    for round_ in range(4):
        alone += latencies(edge, 2 * round_ + 1)
        with Slow(edge, 200):
            among += latencies(edge, 2 * round_ + 2)
    with capsys.disabled():
        print(f"\n  a good sender alone: {summary(alone)}; among 200 slow ones: {summary(among)}")
    assert statistics.median(among) < 3 * statistics.median(alone) + 1


def test_200_slow_senders_are_all_ended(start, upstream):
    edge = start(upstream, patch=with_timeouts(stream_idle_timeout=1))
    with upstream.nothing(), Slow(edge, 200) as slow:
        statuses = at_once(lambda client: client.response().status, slow.clients)
    assert set(statuses) == {408}
    assert edge.count("orders", "denied", "incomplete") == 200
    active = "http.webhooks.downstream_cx_active"
    until(lambda: edge.stats(active)[active] == 0, what="the connections to be closed")


def test_a_client_that_reads_nothing_holds_nothing_for_ever(start, upstream):
    """What it was answered waits for it as long as a stream may be idle."""
    edge = start(upstream, patch=with_timeouts(stream_idle_timeout=1, idle_timeout=1))
    with edge.client(timeout=PATIENCE) as client:
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.send(request("/webhook", SIGNED, BODY))
        active = "http.webhooks.downstream_cx_active"
        until(lambda: edge.stats(active)[active] == 0, 10, "the connection to be closed")
