"""The memory of held requests: above `max_held_bytes` the guard rejects requests of the address that holds most."""

from __future__ import annotations

import contextlib
import time

import h2.events
import pytest

from harness import client
from harness.envoy import SECRET
from harness.full_config import endpoint
from harness.http2_client import Http2Client
from harness.polling import until
from harness.raw_http import allocated, resident
from harness.sign import default
from harness.verdict import counters

MIB = 1 << 20
LIMIT = 4 * MIB
FORGED = [("x-webhook-signature", "0" * 64)]
GOOD = b'{"order": 42}'


def configuration(limit: int = LIMIT, **fields) -> dict:
    return {"max_held_bytes": limit, "endpoints": [endpoint("orders", path="/webhook", **fields)]}


def one_worker(document) -> None:
    """Sets long timeouts for bodies, and room for the streams and headers of the tests."""
    document.manager.update(request_timeout="60s", stream_idle_timeout="60s", max_request_headers_kb=60)
    document.manager["http2_protocol_options"]["max_concurrent_streams"] = 1000


def gauge(envoy) -> int:
    return envoy.stats("held_bytes")["wasmcustom.webhook_guard_held_bytes"]


@contextlib.contextmanager
def connection(envoy, source: str):
    with Http2Client(envoy.port, source=source) as opened:
        yield opened


def hold(connection: Http2Client, count: int, body: bytes, headers=()) -> list:
    """Begins requests whose bodies do not end; returns their streams."""
    streams = []
    for _ in range(count):
        stream = connection.headers("/webhook", [*FORGED, *headers])
        connection.data(stream, body)
        streams.append(stream)
    return streams


def good(envoy, source: str = "127.0.0.1") -> int:
    return client.post(envoy.port, "/webhook", default(SECRET, GOOD), GOOD, source=source).status


def statuses(connection: Http2Client, streams: list) -> list:
    """The statuses of the streams that have ended."""
    ended = [stream for stream in streams if connection.ends(stream, 0)]
    return [connection.answer(stream)[0] for stream in ended]


class TestAboveTheLimit:
    """One worker holds more than `max_held_bytes`."""

    def test_only_the_client_that_holds_most_is_rejected(self, start, upstream_alone):
        envoy = start(upstream_alone, configuration(), patch=one_worker)
        with connection(envoy, "127.0.0.3") as little, connection(envoy, "127.0.0.2") as much:
            kept = hold(little, 2, b"x" * 100_000)
            rejected = hold(much, 300, b"y" * 60_000)
            seen = until(lambda: statuses(much, rejected), what="a rejection")
            assert set(seen) == {503}
            assert good(envoy, "127.0.0.4") == 200
            assert statuses(little, kept) == []
            for stream in kept:
                little.data(stream, b"", end=True)
                assert little.answer(stream)[0] == 401
            count = envoy.count("orders", "denied", "overloaded")
            assert count >= len(seen)
            # Each worker stays within its limit, and the gauge may lag by a step.
            assert gauge(envoy) <= 2 * (LIMIT + 65_536)
        until(lambda: gauge(envoy) == 0, what="the gauge to return to 0")
        assert not any(envoy.stats("^wasm.webhook_guard.*reload").values())

    def test_headers_count(self, start, upstream_alone):
        """Thirty headers of 1 kB each, which HPACK sends once."""
        envoy = start(upstream_alone, configuration(), patch=one_worker)
        headers = [(f"x-{number}", "a" * 1_000) for number in range(30)]
        with connection(envoy, "127.0.0.2") as much:
            streams = hold(much, 400, b"y", headers)
            assert set(until(lambda: statuses(much, streams), what="a rejection")) == {503}
            assert gauge(envoy) <= 2 * (LIMIT + 65_536)
            assert good(envoy) == 200

    def test_the_answer_asks_for_a_retry(self, start, upstream_alone):
        envoy = start(upstream_alone, configuration(), patch=one_worker)
        with connection(envoy, "127.0.0.2") as much:
            streams = hold(much, 300, b"y" * 60_000)
            until(lambda: statuses(much, streams), what="a rejection")
            answers = [each.headers for each in much.events() if isinstance(each, h2.events.ResponseReceived)]
            assert {dict(headers)[b"retry-after"] for headers in answers} == {b"5"}

    def test_a_client_that_takes_no_answer_holds_no_body(self, start, upstream_alone):
        """Envoy keeps a request whose answer it cannot send, and would keep its body, too."""
        envoy = start(upstream_alone, configuration(), patch=one_worker)
        assert good(envoy) == 200
        before = allocated(envoy)
        with contextlib.ExitStack() as ends:
            for last in range(2, 6):
                silent = ends.enter_context(Http2Client(envoy.port, window=0, source=f"127.0.0.{last}"))
                for _ in range(25):
                    silent.data(silent.headers("/webhook", FORGED), b"y" * 500_000, end=True)
            until(lambda: envoy.count("orders", "denied", "signature_invalid") == 100)
            assert envoy.stats("rq_active")["http.webhooks.downstream_rq_active"] == 100
            # Measured were 43 kB of each.
            assert allocated(envoy) - before < 100 * 100_000

    def test_monitor_does_not_let_it_through(self, start, upstream_alone):
        envoy = start(upstream_alone, configuration(mode="monitor"), patch=one_worker)
        with connection(envoy, "127.0.0.2") as much:
            streams = hold(much, 300, b"y" * 60_000)
            assert set(until(lambda: statuses(much, streams), what="a rejection")) == {503}
        assert upstream_alone.requests == []


@pytest.mark.parametrize("headers", [[], [(f"x-{number}", "a" * 300) for number in range(80)]], ids=["few", "many"])
def test_the_gauge_is_near_what_envoy_allocates(headers, start, upstream_alone):
    """The limit bounds Envoy's memory only if what the guard counts is what Envoy uses."""
    envoy = start(upstream_alone, configuration(1 << 30), patch=one_worker)
    assert good(envoy) == 200
    before = allocated(envoy)
    with connection(envoy, "127.0.0.2") as first, connection(envoy, "127.0.0.3") as second:
        for each in (first, second):
            hold(each, 200, b"y" * 5_000, headers)
        until(lambda: envoy.stats("rq_active")["http.webhooks.downstream_rq_active"] == 400)

        def is_near() -> bool:
            used = allocated(envoy) - before
            return 0.6 * used < gauge(envoy) < 1.6 * used

        # A request is active before all of its body has arrived.
        until(lambda: envoy.stats("cx_rx_bytes_total")["http.webhooks.downstream_cx_rx_bytes_total"] > 400 * 5_000)
        until(is_near, what="the gauge to be near what Envoy allocates")


def test_held_requests_leave_no_memory_behind_in_the_module(start, upstream_alone):
    """The module's memory never shrinks, so that the second flood must fit where the first one was."""
    scheme = {"header": "X-S", "message": "{signed_headers}{encoded_path}{body}", "signed_headers": "X-L"}
    envoy = start(upstream_alone, configuration(signature=scheme), patch=one_worker)
    filler = "b" * 15_000
    headers = [("x-s", "0" * 64), ("x-l", "x-l,x-b"), ("x-b", filler)]

    def flood() -> int:
        """Floods the guard. Returns the resident memory of the process."""
        with contextlib.ExitStack() as stack:
            for last in range(2, 6):
                opened = stack.enter_context(connection(envoy, f"127.0.0.{last}"))
                for _ in range(100):
                    opened.data(opened.headers("/webhook", headers), b"x")
            time.sleep(0.5)
        until(lambda: gauge(envoy) == 0, what="the gauge to return to 0")
        return resident(envoy)

    first = flood()
    second = flood()
    assert second - first < 16 * MIB, (first, second)
    assert not any(envoy.stats("^wasm.webhook_guard.*reload").values())
    assert any("overloaded" in name for name in counters(envoy))
