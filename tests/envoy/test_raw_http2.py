"""Frames that no library sends, over HTTP/2: what arrives has one meaning, and is signed."""

from __future__ import annotations

import struct

import pytest

from harness.concurrently import at_once
from harness.envoy import SECRET, Envoy
from harness.full_config import endpoint
from harness.http2_frames import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PADDED,
    PING,
    PRIORITY,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    Wire,
    begin,
    block,
    coded,
    data,
    frame,
)
from harness.raw_http import GOOD, HIDDEN, Watch
from harness.sign import default
from harness.upstream import Upstream

HIDDEN = HIDDEN.decode()
SIGNED = [("x-webhook-signature", default(SECRET, GOOD)[0][1])]
FORGED = [("x-webhook-signature", default("forged", GOOD)[0][1])]
HEAD = block(headers=SIGNED)
BODY = data(1, GOOD)


def sent(*headers, **pseudo) -> bytes:
    """A signed request with further headers, and other pseudo-headers; None leaves one out."""
    usual = {"method": "POST", "scheme": "http", "authority": "hooks.test", "path": "/webhook", **pseudo}
    first = [(f":{name}", value) for name, value in usual.items() if value is not None]
    return begin(1, coded([*first, *SIGNED, *headers])) + BODY


def ends_with(trailers, headers=SIGNED, end: bool = True) -> bytes:
    return begin(1, block(headers=headers)) + data(1, GOOD, False) + begin(1, coded(trailers), end)


def settings(number: int, value: int) -> bytes:
    return frame(SETTINGS, 0, 0, struct.pack(">HI", number, value))


# A request that would be accepted, and what keeps every Envoy from taking it.
REFUSED = {
    **{
        f"a length that is a lie: {length!r}": sent(("content-length", length))
        for length in ("5", "14", "0", "13, 13", "+13", "013", "-1", "x", "", "18446744073709551629")
    },
    "two different lengths": sent(("content-length", "13"), ("content-length", "14")),
    "a length and no body": begin(1, block(headers=[*SIGNED, ("content-length", "13")]), end=True),
    **{
        f"a header of HTTP/1.1: {name}": sent((name, value))
        for name, value in (
            ("transfer-encoding", "chunked"),
            ("connection", "close"),
            ("keep-alive", "1"),
            ("proxy-connection", "close"),
            ("upgrade", "websocket"),
            ("te", "gzip"),
        )
    },
    **{
        f"a value that is more: {value!r}": sent(("x", value))
        for value in (f"a\r\n\r\nPOST {HIDDEN} HTTP/1.1\r\n", "a\r\nx-y: b", "a\nx-y: b", "a\rb", "a\0b")
    },
    **{
        f"a name that is none: {name!r}": sent((name, "a"))
        for name in ("X", "x\r\ny", "x y", "x:y", "", b"x\xff", ":x", ":status", ":path", ":method")
    },
    **{
        f"a pseudo-header that is none: {name}: {value!r}": sent(**{name: value})
        for name, values in {
            "path": (
                *(None, "", "*", "webhook", "/webhook#x", "/webhook\0", "/webhook\r\n", "/webhook?a b"),
                *(f"/webhook {HIDDEN}", "/webhook HTTP/1.1\r\nx: y", f"http://hooks.test{HIDDEN}"),
            ),
            "method": (None, "", "post", f"POST {HIDDEN}", f"POST {HIDDEN} HTTP/1.1\r\nx:", "PO\0ST"),
            "authority": (None, "a\r\nx: y", "a b", "a/b", "a@b"),
            "scheme": (None,),
        }.items()
        for value in values
    },
    "a pseudo-header twice": sent((":authority", "other.test")),
    "a pseudo-header after others": begin(
        1, coded([(":method", "POST"), (":scheme", "http"), *SIGNED, (":path", "/webhook")])
    )
    + BODY,
    "no headers at all": begin(1, b"", end=True),
    "the signature in trailers alone": ends_with(SIGNED, headers=[]),
    "the signature in trailers, a forged one before": ends_with(SIGNED, headers=FORGED),
    "the signature in both, forged": ends_with(FORGED, headers=FORGED),
    "trailers that do not end": ends_with([("x", "1")], end=False),
    **{
        f"a trailer that is none: {name!r}": ends_with([(name, value)])
        for name, value in (
            (":path", HIDDEN),
            ("transfer-encoding", "chunked"),
            ("x", f"a\r\n\r\nPOST {HIDDEN} HTTP/1.1\r\n"),
        )
    },
    "headers of stream 0": begin(0, HEAD) + BODY,
    "headers of a server's stream": begin(2, HEAD) + data(2, GOOD),
    "headers longer than their frame": frame(HEADERS, PADDED | END_HEADERS, 1, b"\xff" + HEAD) + BODY,
    "a body of stream 0": begin(1, HEAD) + frame(DATA, END_STREAM, 0, GOOD),
    "a body before its headers": BODY + begin(1, HEAD, end=True),
    "a body longer than its frame": begin(1, HEAD) + frame(DATA, PADDED | END_STREAM, 1, b"\xff" + GOOD),
    "a body without its padding": begin(1, HEAD) + frame(DATA, PADDED | END_STREAM, 1),
    "a frame larger than allowed": begin(1, HEAD) + frame(DATA, 0, 1, b"x" * 20_000) + BODY,
    "a frame that says it is larger": begin(1, HEAD) + frame(DATA, END_STREAM, 1, GOOD, size=2**24 - 1),
    "a frame that says it is smaller": begin(1, HEAD) + frame(DATA, END_STREAM, 1, GOOD, size=5),
    "a continuation of nothing": frame(CONTINUATION, END_HEADERS, 1, HEAD) + BODY,
    "a continuation of another stream": frame(HEADERS, 0, 1, HEAD[:9])
    + frame(CONTINUATION, END_HEADERS, 3, HEAD[9:])
    + BODY,
    "a frame within headers": frame(HEADERS, 0, 1, HEAD[:9])
    + frame(PING, 0, 0, bytes(8))
    + frame(CONTINUATION, END_HEADERS, 1, HEAD[9:])
    + BODY,
    "a request within headers": frame(HEADERS, 0, 1, HEAD[:9])
    + begin(3, HEAD)
    + frame(CONTINUATION, END_HEADERS, 1, HEAD[9:])
    + BODY,
    "a promise": frame(PUSH_PROMISE, END_HEADERS, 1, b"\0\0\0\2" + HEAD) + begin(3, HEAD) + data(3, GOOD),
    **{
        f"before it {name}": bad + begin(1, HEAD) + BODY
        for name, bad in {
            "a window larger by nothing": frame(WINDOW_UPDATE, 0, 0, bytes(4)),
            "a window too large": frame(WINDOW_UPDATE, 0, 0, b"\x7f\xff\xff\xff") * 2,
            "a window of three bytes": frame(WINDOW_UPDATE, 0, 0, b"\0\0\1"),
            "settings of five bytes": frame(SETTINGS, 0, 0, bytes(5)),
            "settings of a stream": frame(SETTINGS, 0, 1),
            "settings of a window too large": settings(4, 2**31),
            "settings of a frame too small": settings(5, 1),
            "settings acknowledged with settings": frame(SETTINGS, 1, 0, bytes(6)),
            "a reset of nothing": frame(RST_STREAM, 0, 1, bytes(4)),
            "a ping of seven bytes": frame(PING, 0, 0, bytes(7)),
        }.items()
    },
    **{
        f"headers that cannot be read: {name}": begin(1, fields) + BODY
        for name, fields in {
            "an index beyond the table": HEAD + b"\xff\xff\x7f",
            "index 0": HEAD + b"\x80",
            "a table too large": b"\x3f\xe1\xff\x7f" + HEAD,
            "a table's size at the end": HEAD + b"\x20",
            "a number without an end": HEAD + b"\xff" * 21,
            "cut short": HEAD[:-3],
            "no Huffman code": HEAD + b"\0\x81\xff\x81\0",
        }.items()
    },
    "trailers": ends_with([("x", "1")]),
    "trailers with the signature again": ends_with(SIGNED),
    "trailers with another signature": ends_with(FORGED),
    "no HTTP/2": b"\xde\xad\xbe\xef" * 1000,
}
# Unusual, but with one meaning.
TAKEN = {
    "no length": sent(),
    "a length": sent(("content-length", "13")),
    "another host than the authority": sent(("host", "other.test")),
    "padding": begin(1, HEAD) + frame(DATA, PADDED | END_STREAM, 1, b"\3" + GOOD + b"abc"),
    "headers byte by byte": begin(1, HEAD, most=1) + BODY,
    "a body byte by byte": begin(1, HEAD) + b"".join(data(1, bytes([byte]), False) for byte in GOOD) + data(1, b""),
    "a frame of no known kind": frame(77, 255, 0, b"x" * 100) + begin(1, HEAD) + BODY,
    "a setting of no known kind": settings(255, 1) + begin(1, HEAD) + BODY,
    "a priority": frame(PRIORITY, 0, 1, b"\0\0\0\0\x10") + begin(1, HEAD) + BODY,
}
# Frames that some Envoys accept, and complete requests with invalid frames after them. The requests may still
# arrive, but nothing else may.
EITHER = {
    "more of the body": begin(1, HEAD) + BODY + BODY,
    "a body after the end": begin(1, block(headers=default(SECRET, b"")), end=True) + BODY,
    "its headers again": begin(1, HEAD) + BODY + begin(1, HEAD),
    "trailers twice": ends_with([("x", "1")]) + begin(1, coded([("x", "2")]), end=True),
    "trailers after the end": begin(1, HEAD) + BODY + begin(1, coded([("x", "1")]), end=True),
    "trailers after headers that end": begin(1, block(headers=default(SECRET, b"")), end=True)
    + begin(1, coded([("x", "1")]), end=True),
    "a body after trailers": ends_with([("x", "1")]) + BODY,
    "an older stream": begin(5, HEAD) + begin(1, HEAD) + data(5, GOOD) + BODY,
    "a farewell before": frame(GOAWAY, 0, 0, bytes(8)) + begin(1, HEAD) + BODY,
    "a window larger by nothing": begin(1, HEAD) + frame(WINDOW_UPDATE, 0, 1, bytes(4)) + BODY,
    "a reset": begin(1, HEAD) + BODY + frame(RST_STREAM, 0, 1, bytes(4)),
    "a reset cut short": begin(1, HEAD) + BODY + frame(RST_STREAM, 0, 1, bytes(3)),
    "two lengths that are the same": sent(("content-length", "13"), ("content-length", "13")),
    "a length in trailers": ends_with([("content-length", "5")]),
    "headers that depend on themselves": frame(HEADERS, 0x20 | END_HEADERS, 1, b"\0\0\0\1\0" + HEAD) + BODY,
    "no authority to speak of": sent(authority=""),
    **{f"a scheme that is none: {scheme!r}": sent(scheme=scheme) for scheme in ("", "ht tp", f"http:/{HIDDEN}?")},
    "two authorities in one": sent(authority="hooks.test,other.test"),
    "a scheme of another kind": sent(scheme="javascript"),
}


def lenient(document) -> None:
    """Makes Envoy accept as much as it can, and end streams where it would end connections."""
    document.trailers()
    document.manager["upgrade_configs"] = [{"upgrade_type": "websocket"}]
    options = document.manager["http2_protocol_options"]
    options.update(allow_connect=True, override_stream_error_on_invalid_http_message=True)


@pytest.fixture(scope="module", params=["as shipped", "lenient"])
def watch(request):
    patch = lenient if request.param == "lenient" else None
    with Upstream() as upstream:
        with Envoy(upstream.port, {"endpoints": [endpoint("orders", path="/webhook")]}, patch=patch) as envoy:
            yield Watch(envoy, upstream)


def send_all(watch: Watch, shapes: dict, patience: float | None = None) -> dict:
    """The status of each shape's first stream, all sent at once, each over its own connection."""

    def send(sent: bytes):
        with Wire(watch.envoy.port) as wire:
            wire.send(sent)
            if patience is None:
                return wire.answer(1)
            wire.settle(patience)
            return 200 if 200 in wire.statuses.values() else None

    return dict(zip(shapes, at_once(send, shapes.values())))


def test_a_request_with_two_meanings_never_goes_upstream(watch):
    with watch, watch.upstream.nothing():
        answers = send_all(watch, REFUSED, 0.5)
    assert [shape for shape, status in answers.items() if status == 200] == []


def test_an_unusual_request_arrives_with_its_one_meaning(watch):
    with watch:
        assert send_all(watch, TAKEN) == {shape: 200 for shape in TAKEN}
        arrived = watch.arrived()
    assert [(each.body, each.get("host")) for each in arrived] == [(GOOD, "hooks.test")] * len(TAKEN)


def test_each_request_that_envoy_accepts_arrives_signed(watch):
    with watch:
        send_all(watch, EITHER, 0.5)
        assert len(watch.arrived()) <= len(EITHER)


def test_a_malformed_request_does_not_lend_its_signature(watch):
    """Valid and invalid streams share one connection. The valid signature counts for its own stream alone."""
    with watch, Wire(watch.envoy.port) as wire:
        wire.send(begin(1, HEAD), begin(3, block(headers=FORGED)), data(3, GOOD), begin(5, block()))
        assert [wire.answer(3), wire.answer(5)] == [401, 401]
        wire.send(BODY)
        assert wire.answer(1) == 200
        assert len(watch.arrived()) == 1
