"""Requests end in every way that HTTP has. Each gets one verdict."""

from __future__ import annotations

import contextlib

import pytest

from harness import client
from harness.full_config import endpoint, signed
from harness.http2_client import Http2Client
from harness.verdict import verdict

BODY = b'{"order": 42}'


def body_of(size: int) -> bytes:
    return (b"0123456789abcdef" * (size // 16 + 1))[:size]


# The pieces that follow the given headers, and the signed body.
HTTP1 = {
    "nothing, by content-length": (lambda headers: [client.request("/any", headers, b"")], b""),
    "nothing, without a length": (lambda headers: [client.head("/any", headers)], b""),
    "GET": (lambda headers: [client.head("/any", headers, "GET")], b""),
    "GET with a body": (lambda headers: [client.request("/any", headers, BODY, "GET")], BODY),
    "DELETE with a body": (lambda headers: [client.request("/any", headers, BODY, "DELETE")], BODY),
    "PUT": (lambda headers: [client.request("/any", headers, BODY, "PUT")], BODY),
    "content-length": (lambda headers: [client.request("/any", headers, BODY)], BODY),
    "content-length, byte by byte": (lambda headers: split(client.request("/any", headers, BODY), 1), BODY),
    "one chunk": (lambda headers: client.chunked("/any", headers, [BODY]), BODY),
    "a chunk for each byte": (
        lambda headers: client.chunked("/any", headers, [bytes([byte]) for byte in BODY]),
        BODY,
    ),
    "all at once": (lambda headers: [b"".join(client.chunked("/any", headers, [BODY]))], BODY),
    "no chunk": (lambda headers: client.chunked("/any", headers), b""),
    "many chunks": (
        lambda headers: client.chunked("/any", headers, split(body_of(300_000), 7919)),
        body_of(300_000),
    ),
    "the largest": (lambda headers: [client.request("/any", headers, body_of(1 << 20))], body_of(1 << 20)),
    "the largest, chunked": (
        lambda headers: client.chunked("/any", headers, [body_of(1 << 20)]),
        body_of(1 << 20),
    ),
}


# The same with trailers, where Envoy takes them.
TRAILERS = {
    "no chunk": lambda headers: client.chunked("/any", headers, [], [("x-t", "1")]),
    "a chunk": lambda headers: client.chunked("/any", headers, [BODY], [("x-t", "1")]),
    "all at once": lambda headers: [b"".join(client.chunked("/any", headers, [BODY], [("x-t", "1")]))],
    "no text": lambda headers: client.chunked("/any", headers, [BODY], [("x-t", b"\xff\xfe"), ("x-t", "2")]),
}


def split(data: bytes, size: int) -> list:
    return [data[at : at + size] for at in range(0, len(data), size)]


@pytest.mark.parametrize("case", HTTP1)
def test_http1(case, envoy, upstream):
    pieces, body = HTTP1[case]
    pause = 0.002 if len(pieces([])) < 400 else 0
    before = len(upstream.requests)
    with verdict(envoy, "any", "accepted", "accepted") as seen:
        assert client.ask(envoy.port, *pieces(signed(body)), pause=pause).status == 200
    assert upstream.next(before).body == body
    assert seen["line"]["body_bytes"] == len(body)
    for wrong in (signed(body, "forged"), signed(body + b"x")):
        with verdict(envoy, "any", "denied", "signature_invalid"), upstream.nothing():
            assert client.ask(envoy.port, *pieces(wrong), pause=pause).status == 401


def test_too_large_by_one_byte(envoy, upstream):
    """One byte above the guard's own limit, and far above what Envoy buffers."""
    for size in ((1 << 20) + 1, 3 << 20):
        body = body_of(size)
        for pieces in (
            [client.request("/any", signed(body), body)],
            client.chunked("/any", signed(body), [body]),
        ):
            with upstream.nothing(), client.Client(envoy.port) as connection:
                with contextlib.suppress(OSError):  # Envoy may close once it has answered.
                    connection.send(*pieces)
                assert connection.response().status == 413
    assert envoy.count("any", "denied", "body_too_large") >= 2


def end_on_headers(http2, headers):
    return http2.headers("/any", headers, end=True)


def end_on_data(http2, headers):
    stream = http2.headers("/any", headers)
    http2.data(stream, BODY[:4])
    http2.data(stream, BODY[4:], end=True)
    return stream


def end_on_empty_data(http2, headers):
    stream = http2.headers("/any", headers)
    http2.data(stream, BODY)
    http2.data(stream, b"", end=True)
    return stream


def only_empty_data(http2, headers):
    stream = http2.headers("/any", headers)
    http2.data(stream, b"", end=True)
    return stream


def with_trailers(http2, headers):
    stream = http2.headers("/any", headers)
    http2.data(stream, BODY)
    http2.trailers(stream, [("x-t", "1")])
    return stream


def only_trailers(http2, headers):
    stream = http2.headers("/any", headers)
    http2.trailers(stream, [("x-t", "1")])
    return stream


def byte_by_byte(http2, headers):
    stream = http2.headers("/any", headers)
    for byte in BODY:
        http2.data(stream, bytes([byte]))
    http2.data(stream, b"", end=True)
    return stream


def large(size: int):
    def send(http2, headers):
        stream = http2.headers("/any", headers)
        http2.data(stream, body_of(size), end=True)
        return stream

    send.__name__ = f"{size}_bytes"
    return send


HTTP2 = [
    (large(65_536), body_of(65_536)),
    (large(65_537), body_of(65_537)),
    (large(1 << 20), body_of(1 << 20)),
    (end_on_headers, b""),
    (end_on_data, BODY),
    (end_on_empty_data, BODY),
    (only_empty_data, b""),
    (byte_by_byte, BODY),
]


@pytest.mark.parametrize("send, body", HTTP2, ids=[send.__name__ for send, _ in HTTP2])
def test_http2(send, body, envoy, upstream):
    before = len(upstream.requests)
    with Http2Client(envoy.port) as http2:
        with verdict(envoy, "any", "accepted", "accepted"):
            assert http2.answer(send(http2, lower(signed(body)))) == (200, b"hello")
        assert upstream.next(before).body == body
        for wrong in (signed(body, "forged"), signed(body + b"x")):
            with verdict(envoy, "any", "denied", "signature_invalid"), upstream.nothing():
                assert http2.answer(send(http2, lower(wrong))) == (401, b"Invalid signature")


@pytest.mark.parametrize("case", TRAILERS)
def test_trailers_are_refused_over_http1(case, envoy, upstream):
    """A correct signature does not cover them, and behind the guard Envoy may cut the body because of them."""
    body = b"" if case == "no chunk" else BODY
    with verdict(envoy, "any", "denied", "trailers_refused"), upstream.nothing():
        assert client.ask(envoy.port, *TRAILERS[case](signed(body))).status == 400


@pytest.mark.parametrize("send, body", [(with_trailers, BODY), (only_trailers, b"")])
def test_trailers_are_refused_over_http2(send, body, envoy, upstream):
    with verdict(envoy, "any", "denied", "trailers_refused"), upstream.nothing():
        with Http2Client(envoy.port) as http2:
            assert http2.answer(send(http2, lower(signed(body)))) == (400, b"Bad request")


def test_http2_with_a_length_that_is_wrong(envoy, upstream):
    with upstream.nothing(), Http2Client(envoy.port) as http2:
        stream = http2.headers("/any", [("content-length", "5"), *lower(signed(BODY))])
        http2.data(stream, BODY, end=True)
        assert http2.answer(stream)[0] in (None, 400)


def test_http2_reset_by_the_sender(envoy, upstream):
    with verdict(envoy, "any", "denied", "incomplete"), upstream.nothing():
        with Http2Client(envoy.port) as http2:
            stream = http2.headers("/any", lower(signed(BODY)))
            http2.data(stream, BODY)
            http2.reset(stream)


def test_http2_streams_side_by_side(start, upstream):
    """Many requests share one connection, interleaved. Each gets its own verdict."""
    def patch(document):
        document.manager["http2_protocol_options"]["max_concurrent_streams"] = 40

    envoy = start(upstream, {"endpoints": [endpoint("any")]}, patch=patch)
    with Http2Client(envoy.port) as http2:
        streams = {}
        for number in range(40):
            body = b"stream %d" % number
            secret = {} if number % 2 else {"secret": "forged"}
            streams[http2.headers("/any", lower(signed(body, **secret)))] = body
        for stream, body in streams.items():
            http2.data(stream, body[:4])
        for stream, body in reversed(list(streams.items())):
            http2.data(stream, body[4:], end=True)
        statuses = [http2.answer(stream)[0] for stream in streams]
    assert statuses == [401, 200] * 20


def test_http2_extended_connect(start, upstream):
    """A WebSocket over HTTP/2: Envoy hands it on as an upgrade."""
    def patch(document):
        document.manager["upgrade_configs"] = [{"upgrade_type": "websocket"}]
        document.manager["http2_protocol_options"]["allow_connect"] = True

    envoy = start(upstream, {"endpoints": [endpoint("any", methods=["GET", "POST"])]}, patch=patch)
    with verdict(envoy, "any", "denied", "upgrade_refused"), upstream.nothing():
        with Http2Client(envoy.port) as http2:
            pseudo = [(":protocol", "websocket")]
            stream = http2.headers("/any", lower(signed(b"")), method="CONNECT", pseudo=pseudo)
            assert http2.answer(stream)[0] == 400


def lower(headers) -> list:
    """HTTP/2 has names in lower case only."""
    return [(name.lower(), value) for name, value in headers]
