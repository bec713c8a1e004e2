"""Floods of all kinds: Envoy and the module survive, forward nothing, and need no additional memory afterwards."""

from __future__ import annotations

import contextlib
import resource
import struct

import pytest

from harness import client
from harness.envoy import SECRET, Envoy
from harness.full_config import endpoint, signed
from harness.http2_client import Http2Client
from harness.http2_frames import (
    CONTINUATION,
    DATA,
    HEADERS,
    PING,
    PRIORITY,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    Wire,
    begin,
    block,
    coded,
    data,
    frame,
    text,
)
from harness.polling import until
from harness.raw_http import GOOD, Watch, allocated, held, resident, send_raw
from harness.sign import default
from harness.upstream import Upstream

MIB = 1 << 20
HEAD = block(headers=[(name.lower(), value) for name, value in signed(GOOD)])
STREAMS = range(1, 20_001, 2)
# The number of requests held at once, within the limit of this process for open files.
MANY = min(10_000, resource.getrlimit(resource.RLIMIT_NOFILE)[1] - 1_000)
# The most that one of them may cost, in bytes, with its connection; measured were 31,000.
HELD = 48 * 1024


def bomb(references: int) -> bytes:
    """Headers of some kilobytes that are a hundred times as long when they are read."""
    return b"\x40" + text("x-bomb") + text("a" * 3_900) + b"\xbe" * references


# Frames on one HTTP/2 connection, until Envoy closes it.
FRAMES = {
    "streams begun and reset": [
        begin(each, HEAD) + frame(RST_STREAM, 0, each, struct.pack(">I", 8)) for each in STREAMS
    ],
    "streams that the server must reset": [
        begin(each, HEAD) + frame(WINDOW_UPDATE, 0, each, bytes(4)) for each in STREAMS
    ],
    "more streams than are allowed": [begin(each, HEAD) for each in STREAMS[:2_000]],
    "empty continuations": [frame(HEADERS, 0, 1, HEAD), *[frame(CONTINUATION, 0, 1) * 1_000] * 200],
    "small continuations": [
        frame(HEADERS, 0, 1, HEAD),
        *[frame(CONTINUATION, 0, 1, coded([("x", "y")])) * 1_000] * 200,
    ],
    "large continuations": [
        frame(HEADERS, 0, 1, HEAD),
        *[frame(CONTINUATION, 0, 1, coded([("x", "a" * 16_000)]))] * 4_000,
    ],
    "headers that are longer than they look": [begin(1, bomb(15_000))],
    "the same, a little in each of many streams": [
        begin(1, bomb(2), end=True),
        *[begin(each, b"\xbe" * 3, end=True) for each in STREAMS[1:]],
    ],
    "crumbs of a cookie": [begin(1, block() + coded([("cookie", "a=b")]) * 3_000), data(1, GOOD)],
    "empty pieces of a body": [begin(1, HEAD), *[frame(DATA, 0, 1) * 1_000] * 200],
    "pings": [frame(PING, 0, 0, bytes(8)) * 1_000] * 200,
    "settings": [frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 65_535)) * 1_000] * 200,
    "priorities": [frame(PRIORITY, 0, each, b"\0\0\0\0\x10") for each in STREAMS],
    "windows": [begin(1, HEAD), *[frame(WINDOW_UPDATE, 0, 1, struct.pack(">I", 1)) * 1_000] * 200],
    "resets of one stream": [begin(1, HEAD), *[frame(RST_STREAM, 0, 1, bytes(4)) * 1_000] * 200],
    "frames of no known kind": [frame(99, 0, 0, bytes(16_000))] * 2_000,
}


def head(*headers) -> bytes:
    return client.head("/webhook", [*headers, ("content-length", str(len(GOOD)))])


# The same for HTTP/1.1. None of them is accepted.
BYTES = {
    "many headers": [head(*[(f"x-{number}", "y") for number in range(101)], *signed(GOOD)), GOOD],
    "long headers": [head(*[(f"x-{number}", "y" * 1_000) for number in range(90)], *signed(GOOD)), GOOD],
    "many signatures": [head(*signed(GOOD) * 90), GOOD],
    "a long signature": [head(("X-Webhook-Signature", "0" * 50_000)), GOOD],
    "a header without an end": [b"POST /webhook HTTP/1.1\r\nx: ", *[b"y" * MIB] * 16],
    "a name without an end": [b"POST /webhook HTTP/1.1\r\n", *[b"y" * MIB] * 16],
    "a path without an end": [b"POST /", *[b"y" * MIB] * 16],
    "a method without an end": [*[b"Y" * MIB] * 16],
    "empty lines": [*[b"\r\n" * 500_000] * 16],
    "a size without an end": [client.chunked("/webhook", signed(GOOD))[0], *[b"0" * MIB] * 16],
    "an extension without an end": [client.chunked("/webhook", signed(GOOD))[0], b"d;", *[b"x" * MIB] * 16],
    "trailers without an end": [client.chunked("/webhook", signed(b""))[0], b"0\r\n", *[b"x: y\r\n" * 100_000] * 16],
}


def patch(document) -> None:
    """Many connections, and time for all of them on a busy machine."""
    (_, connections) = document.data["overload_manager"]["resource_monitors"]
    connections["typed_config"]["max_active_downstream_connections"] = MANY + 1_000
    document.manager.update(request_timeout="300s", request_headers_timeout="300s", stream_idle_timeout="300s")
    options = document.manager["http2_protocol_options"]
    options.update(max_concurrent_streams=100, initial_connection_window_size=options["initial_stream_window_size"])


@pytest.fixture(scope="module", autouse=True)
def room():
    """As many connections as this process may have, and Envoy after it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture(scope="module")
def watch(room):
    with Upstream() as upstream:
        with Envoy(upstream.port, {"endpoints": [endpoint("orders", path="/webhook")]}, patch=patch) as envoy:
            watch = Watch(envoy, upstream)
            watch.assert_alive()
            yield watch


@contextlib.contextmanager
def memory_returns(watch: Watch, growth: int = 96 * MIB):
    """Envoy frees what it allocated. The process may keep `growth` bytes for later."""
    before, resident_before = allocated(watch.envoy), resident(watch.envoy)
    with watch:
        yield
        until(lambda: allocated(watch.envoy) < before + 8 * MIB, what="memory to be freed")
        assert resident(watch.envoy) < resident_before + growth


@pytest.mark.parametrize("kind", FRAMES)
def test_frames(kind, watch):
    sent = FRAMES[kind]
    with memory_returns(watch), watch.upstream.nothing(), Wire(watch.envoy.port) as wire:
        for at in range(0, len(sent), 100):
            wire.send(b"".join(sent[at : at + 100]))
            if wire.closed:
                break
        wire.settle(0.2)
        assert 200 not in wire.statuses.values()


def test_streams_reset_over_many_connections(watch):
    """Envoy ends each connection that resets too many streams, so the test opens many."""
    before = watch.envoy.count("orders", "denied", "incomplete")
    with memory_returns(watch), watch.upstream.nothing():
        for _ in range(50):
            with Wire(watch.envoy.port) as wire:
                wire.send(b"".join(FRAMES["streams begun and reset"][:400]))
                wire.settle(0.02)
    assert watch.envoy.count("orders", "denied", "incomplete") > before


@pytest.mark.parametrize("kind", BYTES)
def test_bytes(kind, watch):
    with memory_returns(watch), watch.upstream.nothing():
        assert 200 not in send_raw(watch.envoy.port, *BYTES[kind])


@pytest.mark.parametrize("secret, status", [(SECRET, 200), ("forged", 401)])
@pytest.mark.parametrize("http", [1, 2])
def test_a_large_body_byte_by_byte(http, secret, status, watch):
    body = bytes(range(256)) * (MIB // 256)
    headers = default(secret, body)
    with memory_returns(watch):
        if http == 1:
            chunks = b"".join(client.chunk(body[at : at + 1]) for at in range(256)) * (MIB // 256)
            first, last = client.chunked("/webhook", headers)
            assert client.ask(watch.envoy.port, first, chunks, last, timeout=300).status == status
        else:
            piece = b"".join(data(1, body[at : at + 1], False) for at in range(256)) * 16
            with Wire(watch.envoy.port, timeout=300) as wire:
                wire.agree()  # Until then the window is smaller than the body.
                wire.send(begin(1, block(headers=[(name.lower(), value) for name, value in headers])))
                wire.send(*[piece] * (MIB // 4096), data(1, b""))
                assert wire.answer(1) == status
        assert [request.body == body for request in watch.arrived()] == [True] * (status == 200)


@contextlib.contextmanager
def holding(watch: Watch):
    """Connections, each with a request whose end is not sent yet. Every other one has a wrong signature."""
    with contextlib.ExitStack() as ends:
        connections = []
        # The requests of an earlier test must have ended, or they would count as held here.
        until(lambda: held(watch.envoy) == 0, what="the end of earlier requests")
        for number in range(MANY):
            # An address has a limited number of ports, and the test before still uses some.
            source = f"127.0.{1 + number // 1000}.{1 + number % 100}"
            connection = ends.enter_context(client.Client(watch.envoy.port, source=source, timeout=60))
            connection.send(b"".join(client.chunked("/webhook", deliver(number), [GOOD])[:-1]))
            connections.append(connection)
        until(lambda: held(watch.envoy) >= MANY, what="all to be held")
        yield connections


def deliver(number: int) -> list:
    return signed(GOOD) if number % 2 else signed(GOOD, "forged")


def test_many_held_requests_each_get_their_verdict(watch):
    with memory_returns(watch, MANY * HELD), holding(watch) as connections:
        statuses = []
        for at in range(0, MANY, 100):
            for connection in connections[at : at + 100]:
                connection.send(b"0\r\n\r\n")
            for connection in connections[at : at + 100]:
                statuses.append(connection.response().status)
                connection.close()
        assert statuses == [401, 200] * (MANY // 2)
        assert len(watch.arrived()) == MANY // 2


def test_many_held_requests_that_all_leave(watch):
    before = watch.envoy.count("orders", "denied", "incomplete")
    with memory_returns(watch, MANY * HELD), watch.upstream.nothing(), holding(watch) as connections:
        for connection in connections:
            connection.close()
        until(lambda: watch.envoy.count("orders", "denied", "incomplete") == before + MANY, what="all to end")


def test_many_held_requests_over_http2(watch):
    with memory_returns(watch, MANY * HELD), contextlib.ExitStack() as ends:
        wires = [ends.enter_context(Http2Client(watch.envoy.port, timeout=60)) for _ in range(MANY // 100)]
        with watch.upstream.nothing():
            streams = []
            for wire in wires:
                for number in range(100):
                    headers = [(name.lower(), value) for name, value in deliver(number)]
                    streams.append((wire, wire.headers("/webhook", headers)))
                    wire.data(streams[-1][1], GOOD)
            until(lambda: held(watch.envoy) >= len(streams), what="all to be held")
        statuses = []
        for at in range(0, len(streams), 100):
            for wire, stream in streams[at : at + 100]:
                wire.data(stream, b"", end=True)
            statuses += [wire.answer(stream)[0] for wire, stream in streams[at : at + 100]]
        assert statuses == [401, 200] * (len(streams) // 2)


def test_many_held_requests_need_no_additional_memory_again(watch):
    """The process reuses the memory that it keeps."""
    grown = []
    for _ in range(3):
        with memory_returns(watch, MANY * HELD), watch.upstream.nothing(), holding(watch):
            pass
        grown.append(resident(watch.envoy))
    assert grown[2] < grown[0] + 32 * MIB
