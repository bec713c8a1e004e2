"""The hold check: the guard detects a host that hides the body of a held request, and spares a slow sender."""

from __future__ import annotations

import time

from harness import client
from harness.clock import Clock
from harness.concurrently import at_once
from harness.envoy import Envoy
from harness.full_config import endpoint, signed
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
    assert 1.5 < took < 25
    assert_explained_once(envoy)


def assert_explained_once(envoy) -> None:
    """Once for each worker, as an error."""
    lines = explanations(envoy)
    assert 1 <= len(lines) <= 2
    assert all("[error]" in line for line in lines)


def test_a_sender_that_waits_for_the_upstream_s_100_is_answered(start, upstream):
    """With `proxy_100_continue`, Envoy leaves the 100 to an upstream that sees nothing of a held request."""

    def patch(document):
        document.manager["proxy_100_continue"] = True

    envoy = start(upstream, CONFIGURATION, patch=patch)
    headers = [("expect", "100-continue"), ("content-length", str(len(BODY))), *signed(BODY)]
    with upstream.nothing(), client.Client(envoy.port) as connection:
        connection.send(client.head("/orders", headers))
        assert_answer(connection.response(), "body_unavailable")


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


def test_before_any_proof_a_slow_sender_may_try_again(start, upstream):
    """The guard cannot distinguish a slow sender from a missing flag. So it asks for a retry and logs both causes."""
    envoy = start(upstream, CONFIGURATION)
    with upstream.nothing(), client.Client(envoy.port) as connection:
        connection.send(client.chunked("/orders", signed(BODY), [BODY])[0])
        assert_answer(connection.response(), "body_unavailable")
    assert all("the sender was slow" in line for line in explanations(envoy))
    assert client.post(envoy.port, "/orders", signed(BODY), BODY).status == 200


def test_a_clock_set_back_leaves_no_request_waiting(start, upstream, tmp_path):
    clock = Clock(tmp_path)
    envoy = start(upstream, CONFIGURATION, patch=without_flag, clock=clock)
    with upstream.nothing(), client.Client(envoy.port) as connection:
        connection.send(client.request("/orders", signed(BODY), BODY))
        time.sleep(0.2)
        clock.set(-3600)
        assert_answer(connection.response(), "body_unavailable")
    assert all(0 < line["duration_ms"] < 60_000 for line in envoy.guard_lines())


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
