"""A slow client holds a connection for a bounded time, and no other client waits for it."""

from __future__ import annotations

import contextlib
import select
import socket
import statistics
import time

import pytest

from harness.client import chunk, chunked, head, request
from harness.concurrently import at_once
from harness.edge import EDGE
from harness.envoy import ROOT, SECRET, Document
from harness.failing_upstream import FailingUpstream
from harness.polling import until
from harness.sign import default

BODY = b"x" * 1000
SIGNED = default(SECRET, BODY)
SIGNED2 = [(name.lower(), value) for name, value in SIGNED]
# The headers that announce the whole body.
BEGIN = head("/webhook", [*SIGNED, ("content-length", "1000")])
# Long enough for Envoy to end a request by a timeout that is shortened, and too short for one that is not.
PATIENCE = 8


def with_timeouts(**seconds):
    """edge.yaml with some timeouts shortened, and that which it leaves as it is, `drain_timeout`."""

    def patch(document):
        common = document.manager["common_http_protocol_options"]
        for name, value in seconds.items():
            where = common if name in common else document.manager
            assert name in where or name == "drain_timeout", name
            where[name] = f"{value}s"

    return patch


def test_the_shipped_ones_are_those_of_the_page():
    manager = Document(EDGE.read_text()).manager
    common = manager["common_http_protocol_options"]
    (route,) = manager["route_config"]["virtual_hosts"][0]["routes"]
    page = " ".join((ROOT / "envoy" / "README.md").read_text().split())
    assert manager["request_headers_timeout"] == "10s"
    assert manager["request_timeout"] == "30s"
    assert manager["stream_idle_timeout"] == "20s"
    for figure in ("headers within 10 s", "the whole request within 30 s", "no gap of more than 20 s", "answers 408"):
        assert figure in page
    assert "An idle connection is closed after a minute, any connection after ten." in page
    assert (common["idle_timeout"], common["max_connection_duration"]) == ("60s", "600s")
    # Nothing that a slow sender or a slow application may do is cut by what is there for all else.
    assert route["route"]["timeout"] == "15s"
    assert common["max_stream_duration"] == "60s"


def drip(client, pieces, pause: float):
    """Sends piece after piece until there is an answer, which it returns."""
    for piece in pieces:
        # Envoy may have answered and closed the connection meanwhile.
        with contextlib.suppress(OSError):
            client.send(piece)
        if select.select([client.socket], [], [], pause)[0]:
            break
    return client.response()


def drip2(client, stream: int, pieces, pause: float):
    """Sends piece after piece over HTTP/2 until there is an answer, which it returns."""
    for piece in pieces:
        client.data(stream, piece)
        if client.ends(stream, pause):
            break
    return client.answer(stream)


def assert_incomplete(edge, details: str, endpoint: str = "orders", count: int = 1) -> None:
    """The guard counted the requests as incomplete, and the access log says why."""
    until(lambda: edge.count(endpoint, "denied", "incomplete") == count, what="the guard's counter")
    lines = until(lambda: edge.access_lines()[count - 1 :], what="the access log")
    last = lines[-1]
    assert (last["details"], last["reason"], last["endpoint"]) == (details, "incomplete", endpoint)


# Each slow request: the timeout that ends it, its name in the access log, and the pieces sent one by one.
SLOW = {
    "a body": ("request_timeout", "request_overall_timeout", [BEGIN, *[b"x"] * 200]),
    "a body that never ends": (
        "request_timeout",
        "request_overall_timeout",
        [chunked("/webhook", SIGNED)[0], *[b"x"] * 200],
    ),
    "a body that stops": ("stream_idle_timeout", "stream_idle_timeout", [BEGIN, b"x" * 10]),
    "a body that does not begin": ("stream_idle_timeout", "stream_idle_timeout", [BEGIN]),
    "what no other timeout ends": ("max_stream_duration", "max_duration_timeout", [BEGIN, *[b"x"] * 200]),
}


class TestSlowRequests:
    """Each is answered 408, and the application sees no byte of it."""

    def test_headers(self, start, upstream):
        """Over HTTP/2 it is a block of headers that does not end."""
        edge = start(upstream, patch=with_timeouts(request_headers_timeout=0.7))
        pieces = [BEGIN[at : at + 1] for at in range(len(BEGIN))]
        with upstream.nothing(), edge.client(timeout=PATIENCE) as client:
            assert drip(client, pieces, 0.05).status == 408
            assert_incomplete(edge, "request_header_timeout", endpoint="-")
        with upstream.nothing(), edge.http2_client() as client:
            stream = client.half_headers("/webhook", SIGNED2)
            assert client.ends(stream, PATIENCE)
            assert client.answer(stream)[0] == 408
            assert_incomplete(edge, "request_header_timeout", endpoint="-", count=2)

    @pytest.mark.parametrize("what", SLOW)
    def test_bodies(self, what, start, upstream):
        """A stream of HTTP/2 has the same timeouts, and its connection outlives it."""
        timeout, details, (begin, *pieces) = SLOW[what]
        edge = start(upstream, patch=with_timeouts(**{timeout: 0.7}))
        with upstream.nothing(), edge.client(timeout=PATIENCE) as client:
            framed = map(chunk, pieces) if b"chunked" in begin else pieces
            assert drip(client, [begin, *framed], 0.05).status == 408
            assert_incomplete(edge, details)
        with edge.http2_client() as client:
            with upstream.nothing():
                stream = client.headers("/webhook", SIGNED2)
                assert drip2(client, stream, pieces, 0.05)[0] == 408
                assert_incomplete(edge, details, count=2)
            assert client.ask("/webhook", SIGNED2, BODY)[0] == 200

    def test_a_body_that_never_ends_is_too_large_in_the_end(self, edge, upstream):
        """Where it comes fast, that is sooner than any timeout."""
        pieces = [b"x" * 16384] * 200
        with upstream.nothing():
            with edge.client(timeout=PATIENCE) as client:
                begin = chunked("/webhook", SIGNED)[0]
                assert drip(client, [begin, *map(chunk, pieces)], 0).status == 413
            with edge.http2_client() as client:
                stream = client.headers("/webhook", SIGNED2)
                assert drip2(client, stream, pieces, 0)[0] == 413
        assert edge.count("orders", "denied", "body_too_large") == 2
        assert edge.count("orders", "denied", "incomplete") == 0

    def test_200_at_once_are_all_ended(self, start, upstream):
        edge = start(upstream, patch=with_timeouts(stream_idle_timeout=1))
        with upstream.nothing(), Slow(edge, 200) as slow:
            statuses = at_once(lambda client: client.response().status, slow.clients)
        assert statuses == [408] * 200
        assert_incomplete(edge, "stream_idle_timeout", count=200)
        until(lambda: active(edge, "cx") == 0, what="the connections to be closed")


def active(edge, what: str) -> int:
    """How many connections (`cx`) or requests (`rq`) of senders there are."""
    name = f"http.webhooks.downstream_{what}_active"
    return edge.stats(f"^{name}$")[name]


class TestConnections:
    def test_idle_ones_are_closed(self, start, upstream):
        """Whether there has been a request before or not."""
        edge = start(upstream, patch=with_timeouts(idle_timeout=0.7, drain_timeout=0.3))
        with contextlib.ExitStack() as ends:
            unused, used = (ends.enter_context(edge.client(timeout=PATIENCE)) for _ in range(2))
            assert used.ask(request("/webhook", SIGNED, BODY)).status == 200
            http2 = ends.enter_context(edge.http2_client(timeout=PATIENCE))
            assert http2.ask("/webhook", SIGNED2, BODY)[0] == 200
            http2.read_to_end()
            assert http2.last_stream == 1
            assert (unused.socket.recv(1), used.socket.recv(1)) == (b"", b"")

    def test_a_connections_maximum_age_ends_without_a_loss(self, start, upstream):
        """Envoy announces the end of a connection in an answer, so that every request gets one."""
        edge = start(upstream, patch=with_timeouts(max_connection_duration=0.5))

        def ask(client):
            answer = client.ask(request("/webhook", SIGNED, BODY))
            return answer.status, answer.all("connection") == ["close"]

        statuses = for_a_while(edge.client, ask)
        assert set(statuses) == {200}
        assert len(upstream.requests) == len(statuses)

    def test_a_connections_maximum_age_over_http2_ends_without_a_loss(self, start, upstream):
        """Envoy announces the end of a connection by GOAWAY, and answers the requests before it."""
        edge = start(upstream, patch=with_timeouts(max_connection_duration=0.5))

        def ask(client):
            status, _ = client.ask("/webhook", SIGNED2, BODY)
            return status, client.last_stream is not None

        statuses = for_a_while(edge.http2_client, ask)
        assert set(statuses) == {200}
        assert len(upstream.requests) == len(statuses)

    def test_a_connection_closes_after_its_last_request(self, start, upstream):
        """Envoy closes a connection after the limit without losing a request, also if it rejected requests."""

        def few(document):
            common = document.manager["common_http_protocol_options"]
            assert common["max_requests_per_connection"] == 6000
            common["max_requests_per_connection"] = 10
            document.manager["drain_timeout"] = "0.2s"

        edge = start(upstream, patch=few)
        with edge.client() as client, edge.http2_client(timeout=PATIENCE) as http2:
            answers = [client.ask(request("/elsewhere")) for _ in range(10)]
            assert [each.all("connection") for each in answers] == [[]] * 9 + [["close"]]
            assert [http2.ask("/webhook", SIGNED2, BODY)[0] for _ in range(10)] == [200] * 10
            http2.read_to_end()
            assert http2.last_stream == 19

    def test_a_delivery_in_progress_outlives_its_connections_maximum_age(self, start):
        with FailingUpstream("slow", delay=1.5) as upstream:
            edge = start(upstream, patch=with_timeouts(max_connection_duration=0.5, drain_timeout=0.3))
            with edge.client(timeout=PATIENCE) as client, edge.http2_client() as http2:
                client.send(request("/webhook", SIGNED, BODY))
                assert http2.ask("/webhook", SIGNED2, BODY)[0] == 200
                http2.read_to_end()
                assert http2.last_stream == 1
                answer = client.response()
                assert (answer.status, answer.all("connection")) == (200, ["close"])
                assert client.socket.recv(1) == b""

    def test_a_client_that_does_not_read_the_answer_is_disconnected(self, start):
        """Until then, the answer uses Envoy's memory."""
        with FailingUpstream("large") as upstream:
            edge = start(upstream, patch=with_timeouts(stream_idle_timeout=0.7))
            with edge.client(timeout=PATIENCE) as client, edge.http2_client(timeout=PATIENCE) as http2:
                client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                client.send(request("/webhook", SIGNED, BODY))
                http2.data(http2.headers("/webhook", SIGNED2), BODY, end=True)
                until(lambda: len(upstream.requests) == 2, what="the deliveries")
                until(lambda: active(edge, "rq") == 0, PATIENCE, "the requests to end")
                until(lambda: active(edge, "cx") == 1, PATIENCE, "the connection of HTTP/1.1 to end")
            lines = until(lambda: edge.access_lines()[1:] and edge.access_lines())
            assert {each["details"] for each in lines} == {"stream_idle_timeout"}
            assert {each["reason"] for each in lines} == {"accepted"}


def for_a_while(connect, ask) -> list:
    """Asks over one connection after the other, each until an answer says that it is the last there.

    `ask` returns a status, and whether it is the last.
    """
    end, statuses, lasts = time.monotonic() + 2.2, [], 0
    while time.monotonic() < end:
        with connect() as client:
            is_last = False
            while not is_last and time.monotonic() < end:
                status, is_last = ask(client)
                statuses.append(status)
                time.sleep(0.05)
        lasts += is_last
    assert lasts >= 3
    return statuses


class Slow:
    """Connections that have begun a request and do not go on with it."""

    def __init__(self, edge, count: int) -> None:
        self.clients = []
        for number in range(count):
            client = edge.client(source=f"127.0.1.{number % 250 + 1}", timeout=PATIENCE)
            client.send(BEGIN + b"x")
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
        for number in range(count):
            body = b"%d-%d" % (address, number) + BODY
            sent = request("/webhook", default(SECRET, body), body)
            begun = time.perf_counter()
            assert client.ask(sent).status == 200
            found.append((time.perf_counter() - begun) * 1000)
    return found


def percentiles(times: list) -> tuple:
    """The median, and what all but one in a hundred take at most."""
    return statistics.median(times), sorted(times)[int(len(times) * 0.99) - 1]


def test_200_slow_senders_do_not_slow_a_good_one(start, upstream, capsys):
    """Rounds with and without them take turns, so that noise meets both alike."""
    edge = start(upstream)
    alone, among = [], []
    for round_ in range(4):
        until(lambda: active(edge, "cx") == 0, what="all connections to end")
        alone += latencies(edge, 2 * round_ + 1)
        with Slow(edge, 200):
            until(lambda: active(edge, "rq") == 200, what="the slow ones")
            among += latencies(edge, 2 * round_ + 2)
            assert active(edge, "rq") == 200, "all of them are still there"
    before, after = percentiles(alone), percentiles(among)
    with capsys.disabled():
        print("\n  a good sender alone: p50 %.2f ms, p99 %.2f ms;" % before, end=" ")
        print("among 200 slow ones: p50 %.2f ms, p99 %.2f ms;" % after, end=" ")
        print("ratios %.2f and %.2f" % (after[0] / before[0], after[1] / before[1]))
    assert after[0] < 3 * before[0] + 1
