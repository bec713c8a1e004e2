"""Held bodies are memory: Envoy keeps within its heap, serves the good sender, and recovers."""

from __future__ import annotations

import contextlib

import pytest
from h2.exceptions import ProtocolError

from harness.client import head
from harness.envoy import SECRET
from harness.http1 import Closed
from harness.polling import until
from harness.sign import default

MIB = 1024 * 1024
HEAP = 128 * MIB
# All but the last bytes of what a request announces: it is held until they come.
HELD = b"x" * (MIB - 4096)
ANNOUNCED = ("content-length", str(MIB))
SIGNED = default(SECRET, HELD)


def small(document) -> None:
    """A heap that a test can fill, and no shield against a flood from one address."""
    (heap, connections) = document.data["overload_manager"]["resource_monitors"]
    assert heap["typed_config"]["max_heap_size_bytes"] == 1024 * MIB
    assert connections["typed_config"]["max_active_downstream_connections"] == 900
    heap["typed_config"]["max_heap_size_bytes"] = HEAP
    document.remove_filters("shield")


def allocated(edge) -> int:
    return edge.stats("^server.memory_allocated$")["server.memory_allocated"]


def pressure(edge) -> int:
    """How full the heap is, in percent."""
    name = "overload.envoy.resource_monitors.fixed_heap.pressure"
    return edge.stats(name)[name]


def assert_recovers(edge) -> None:
    def is_served() -> bool:
        with contextlib.suppress(OSError, Closed):
            return edge.deliver(source="127.0.0.9", timeout=5).status == 200
        return False

    until(is_served, what="a good sender to be served")


def test_streams_that_hold_too_much_are_reset(start, upstream):
    """The last resort, where the guard's own bound is too high for the heap: Envoy ends the largest streams."""
    edge = start(upstream, patch=small)
    highest = 0
    with contextlib.ExitStack() as ends, upstream.nothing():
        for _ in range(32):
            client = ends.enter_context(edge.http2_client())
            # Under pressure Envoy may end the connection too.
            with contextlib.suppress(OSError, AssertionError, ProtocolError):
                for _ in range(8):
                    stream = client.headers("/webhook", [("x-webhook-signature", "00" * 32), ANNOUNCED])
                    client.data(stream, HELD)
            highest = max(highest, allocated(edge))
        resets = "envoy.overload_actions.reset_high_memory_stream.count"
        until(lambda: edge.stats(resets)[resets] > 10, what="the resets")
    assert highest < HEAP
    assert_recovers(edge)


def test_requests_are_refused_while_memory_is_short(start, upstream):
    """Over HTTP/1.1 what is held stays: new requests are refused, and taken again when it is free."""

    def smaller(document):
        small(document)
        document.manager["stream_idle_timeout"] = "60s"
        # The share of the heap at which requests are refused, below what the test fills.
        for each in document.data["overload_manager"]["actions"]:
            if each["name"].endswith("stop_accepting_requests"):
                assert each["triggers"][0]["threshold"]["value"] == 0.95
                each["triggers"][0]["threshold"]["value"] = 0.6

    edge = start(upstream, patch=smaller)
    with contextlib.ExitStack() as ends, upstream.nothing():
        for _ in range(90):
            client = ends.enter_context(edge.client())
            client.send(head("/webhook", [*SIGNED, ANNOUNCED]) + HELD)
        until(lambda: pressure(edge) >= 60, what="the heap to fill")
        with edge.client(source="127.0.0.9") as good:
            answer = good.ask(head("/webhook", [*SIGNED, ("content-length", "0")]))
        assert (answer.status, answer.body) == (503, b"envoy overloaded")
    assert_recovers(edge)


def test_connections_beyond_the_limit_are_refused_and_room_is_made(start, upstream):
    def few(document):
        small(document)
        (_, connections) = document.data["overload_manager"]["resource_monitors"]
        connections["typed_config"]["max_active_downstream_connections"] = 20

    edge = start(upstream, patch=few)
    with contextlib.ExitStack() as ends:
        for _ in range(20):
            ends.enter_context(edge.client())
        with pytest.raises(OSError):
            edge.client(timeout=5)
    assert_recovers(edge)
