"""The hold check: the guard detects a host that hides the body of a held request, and spares a slow sender."""

from __future__ import annotations

import time

import pytest

from harness import client
from harness.clock import Clock
from harness.concurrently import at_once
from harness.envoy import Envoy
from harness.full_config import endpoint, signed
from harness.http2_client import Http2Client
from harness.polling import in_both_workers, until
from harness.verdict import assert_answer, verdict

BODY = b'{"order": 42}'
CONFIGURATION = {
    "endpoints": [
        endpoint("orders", methods=["GET", "POST"]),
        endpoint("watched", mode="monitor"),
    ]
}
FLAG = "allow_on_headers_stop_iteration"


def without_flag(document):
    del document.guard[FLAG]


def explanations(envoy) -> list:
    return [line for line in envoy.log().splitlines() if FLAG in line]


def test_without_the_flag_a_request_with_a_body_is_answered(start, upstream):
    envoy = start(upstream, CONFIGURATION, patch=without_flag)
    before = time.monotonic()
    with verdict(envoy, "orders", "denied", "body_unavailable"), upstream.nothing():
        response = client.post(envoy.port, "/orders", signed(BODY), BODY)
        took = time.monotonic() - before
    assert_answer(response, "body_unavailable")
    assert took > 1.5
    assert_explained_once(envoy)


def assert_explained_once(envoy) -> None:
    """Once for each worker, as an error."""
    lines = explanations(envoy)
    assert 1 <= len(lines) <= 2
    assert all("[error]" in line for line in lines)


def test_a_sender_that_waits_for_the_upstream_s_100_is_answered(start, upstream):
    """With `proxy_100_continue`, Envoy leaves the 100 to an upstream that sees nothing of a held request."""

    def patch(document):
        document.manager.update(proxy_100_continue=True, request_timeout="4s")

    envoy = start(upstream, CONFIGURATION, patch=patch)
    headers = [("expect", "100-continue"), ("content-length", str(len(BODY))), *signed(BODY)]
    with upstream.nothing(), client.Client(envoy.port) as connection:
        connection.send(client.head("/orders", headers))
        assert connection.response().status == 408
    assert explanations(envoy) == []


def test_without_the_flag_many_at_once(start, upstream):
    """A body that the guard cannot see does not go upstream, under `monitor` either."""
    envoy = start(upstream, CONFIGURATION, patch=without_flag)

    def send(path: str) -> int:
        return client.post(envoy.port, path, signed(BODY), BODY).status

    with upstream.nothing():
        assert at_once(send, ["/orders", "/watched"] * 6) == [503] * 12
    assert_explained_once(envoy)
    until(lambda: envoy.count("watched", "denied", "body_unavailable") == 6)


def test_without_the_flag_a_request_without_a_body_is_judged(start, upstream):
    """The headers decide the verdict, so the guard need not hold the request."""
    envoy = start(upstream, CONFIGURATION, patch=without_flag)
    head = client.head("/orders", signed(b""), "GET")
    with verdict(envoy, "orders", "accepted", "accepted"):
        assert client.ask(envoy.port, head).status == 200
    assert explanations(envoy) == []


def slow(envoy, path: str, headers, seconds: float):
    first, *rest = client.chunked(path, headers, [BODY])
    with client.Client(envoy.port) as connection:
        connection.send(first)
        time.sleep(seconds)
        return connection.ask(*rest)


def test_after_one_proof_a_slow_sender_is_left_alone(start, upstream):
    """One worker sees the proof, and both have slow senders."""
    envoy = start(upstream, CONFIGURATION)
    assert client.post(envoy.port, "/orders", signed(BODY), BODY).status == 200
    time.sleep(0.6)

    def send(headers) -> int:
        return slow(envoy, "/orders", headers, 3).status

    assert at_once(send, [signed(BODY), signed(BODY, "forged")] * 4) == [200, 401] * 4
    assert explanations(envoy) == []


@pytest.mark.parametrize("by", ["length", "chunks", "http2"])
def test_before_any_proof_a_slow_sender_is_left_alone(by, start, upstream_alone):
    """Envoy has received nothing that it could have shown."""
    envoy = start(upstream_alone, CONFIGURATION)
    if by == "http2":
        with Http2Client(envoy.port) as http2:
            stream = http2.headers("/orders", [(name.lower(), value) for name, value in signed(BODY)])
            time.sleep(4)
            http2.data(stream, BODY, end=True)
            status = http2.answer(stream)[0]
    elif by == "chunks":
        status = slow(envoy, "/orders", signed(BODY), 4).status
    else:
        with client.Client(envoy.port) as connection:
            sent = client.request("/orders", signed(BODY), BODY)
            status = connection.ask(sent[: -len(BODY)], sent[-len(BODY) :], pause=4).status
    assert status == 200
    assert upstream_alone.requests[0].body == BODY
    assert explanations(envoy) == []


def test_without_the_flag_a_slow_sender_is_answered_once_envoy_has_a_part_of_the_body(start, upstream):
    envoy = start(upstream, CONFIGURATION, patch=without_flag)
    with upstream.nothing(), client.Client(envoy.port) as connection:
        first, *rest = client.chunked("/orders", signed(BODY), [BODY])
        connection.send(first, rest[0], pause=3)
        assert_answer(connection.response(), "body_unavailable")
    assert_explained_once(envoy)


def test_a_clock_set_back_leaves_no_request_waiting(start, upstream, tmp_path):
    clock = Clock(tmp_path)
    envoy = start(upstream, CONFIGURATION, patch=without_flag, clock=clock)
    with upstream.nothing(), client.Client(envoy.port) as connection:
        connection.send(client.request("/orders", signed(BODY), BODY))
        time.sleep(0.2)
        clock.set(-3600)
        assert_answer(connection.response(), "body_unavailable")
    assert {line["duration_ms"] for line in envoy.guard_lines()} == {0}


def test_a_clock_set_ahead_ends_no_wait_and_blames_no_setting(start, upstream, tmp_path):
    clock = Clock(tmp_path)
    envoy = start(upstream, CONFIGURATION, clock=clock)
    first, *rest = client.chunked("/orders", signed(BODY), [BODY])
    with client.Client(envoy.port) as connection:
        connection.send(first)
        time.sleep(0.2)
        clock.set(3600)
        time.sleep(1)
        assert connection.ask(*rest).status == 200
    assert explanations(envoy) == []


def test_the_proof_outlives_a_new_configuration(start, upstream):
    """All generations of the guard share the knowledge that a body arrived."""
    envoy = Envoy(upstream.port, CONFIGURATION)
    file = envoy.document.discover_guard(envoy.folder / "watched")
    with envoy:
        assert client.post(envoy.port, "/orders", signed(BODY), BODY).status == 200
        renamed = {"endpoints": [endpoint("renamed")]}
        envoy.discover(file, renamed)
        until(lambda: in_both_workers(lambda: client.post(envoy.port, "/renamed", signed(b""), b"").status == 200))
        assert slow(envoy, "/renamed", signed(BODY), 3).status == 200
        assert explanations(envoy) == []
