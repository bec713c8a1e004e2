"""Filters behind the guard that forward a body in pieces, and then wait. The verified body arrives whole."""

from __future__ import annotations

import pytest

from harness import client
from harness.envoy import SECRET
from harness.full_config import endpoint
from harness.http2_client import Http2Client
from harness.neighbours import DELAY, TYPES, authz
from harness.sign import default
from harness.upstream import Upstream
from harness.verdict import verdict

CONFIGURATION = {"endpoints": [endpoint("orders", path="/webhook")]}
SIZE = 300_000
DELIVERIES = 20
# Forwards a body in pieces, for longer than the service below needs to answer.
BANDWIDTH = {
    "@type": f"{TYPES}.bandwidth_limit.v3.BandwidthLimit",
    "stat_prefix": "bandwidth",
    "enable_mode": "REQUEST",
    "limit_kbps": 4_000,
    "fill_interval": "0.02s",
}


@pytest.fixture
def authorizer():
    with Upstream(delay=DELAY) as server:
        yield server


def neighbours(port: int, order: str):
    """A patch: the filters in this order behind the guard and its gate."""
    filters = {"bandwidth": BANDWIDTH, "authz": authz()}

    def patch(document) -> None:
        document.trailers()
        document.virtual_host["routes"][0]["route"]["timeout"] = "2s"
        document.add_cluster("authorizer", port)
        for name in order.split(" > "):
            document.filters.insert(-1, {"name": name, "typed_config": filters[name]})

    return patch


def body(number: int) -> bytes:
    return b"%08d" % number + b"x" * SIZE


def deliver(envoy, number: int, trailers=()):
    """Sends a delivery over HTTP/2 without a length; returns its status."""
    signed = [(name.lower(), value) for name, value in default(SECRET, body(number))]
    with Http2Client(envoy.port) as connection:
        stream = connection.headers("/webhook", signed)
        connection.data(stream, body(number), end=not trailers)
        if trailers:
            connection.trailers(stream, trailers)
        return connection.answer(stream)[0]


def test_in_the_safe_order_every_body_arrives_whole(start, upstream_alone, authorizer):
    """The filter that waits precedes the one that forwards the body in pieces."""
    envoy = start(upstream_alone, CONFIGURATION, patch=neighbours(authorizer.port, "authz > bandwidth"))
    assert [deliver(envoy, number) for number in range(DELIVERIES)] == [200] * DELIVERIES
    assert [each.body for each in upstream_alone.requests] == [body(number) for number in range(DELIVERIES)]


def test_in_the_unsafe_order_no_cut_body_is_taken_for_a_whole_one(start, upstream_alone, authorizer):
    """Envoy 1.36 and 1.37 lose the end of a body here. The length that the guard sets shows that to the upstream."""
    envoy = start(upstream_alone, CONFIGURATION, patch=neighbours(authorizer.port, "bandwidth > authz"))
    statuses = [deliver(envoy, number) for number in range(DELIVERIES)]
    assert statuses.count(200) == len(upstream_alone.requests)
    whole = {body(number) for number in range(DELIVERIES)}
    assert all(each.body in whole for each in upstream_alone.requests)


@pytest.mark.parametrize("order", ["bandwidth > authz", "authz > bandwidth"])
def test_trailers_cut_nothing(order, start, upstream_alone, authorizer):
    """A client can add trailers to a captured delivery. Envoy then truncates its body, or writes the trailers twice."""
    envoy = start(upstream_alone, CONFIGURATION, patch=neighbours(authorizer.port, order))
    with upstream_alone.nothing():
        for number in range(DELIVERIES):
            assert deliver(envoy, number, [("x", "y")]) == 400


def test_monitor_holds_a_body_that_is_too_large_to_its_end(start, upstream_alone, authorizer):
    """A filter before the guard forwards the body in pieces. A body that the guard released halfway arrived cut."""

    def patch(document) -> None:
        neighbours(authorizer.port, "authz")(document)
        document.filters.insert(0, {"name": "bandwidth", "typed_config": BANDWIDTH})

    watched = endpoint("orders", path="/webhook", mode="monitor", max_body_bytes=50_000)
    envoy = start(upstream_alone, {"endpoints": [watched]}, patch=patch)
    for number in range(5):
        with verdict(envoy, "orders", "monitored", "body_too_large"):
            assert deliver(envoy, number) == 200
    assert [each.body for each in upstream_alone.requests] == [body(number) for number in range(5)]
    before = len(upstream_alone.requests)
    pieces = client.chunked("/webhook", default(SECRET, body(9)), [body(9)])
    client.ask(envoy.port, *pieces)
    assert upstream_alone.next(before).body == body(9)
