"""Bytes that two servers could read in two ways, over HTTP/1.1: what arrives has one meaning, and is signed."""

from __future__ import annotations

import pytest

from harness import client
from harness.concurrently import at_once
from harness.envoy import SECRET, Envoy
from harness.full_config import endpoint
from harness.raw_http import GOOD, HIDDEN, Watch, send_raw
from harness.sign import default
from harness.upstream import Upstream

CHUNKED = b"Transfer-Encoding: chunked"
# A body for a server that reads chunks, and for one that does not.
CHUNKS = b"d\r\n" + GOOD + b"\r\n0\r\n\r\n"
LENGTH = b"Content-Length: 13"
UNSIGNED = b"POST " + HIDDEN + b" HTTP/1.1\r\nHost: hooks.test\r\nContent-Length: 3\r\n\r\nabc"


def signature(body: bytes, name: bytes = b"X-Webhook-Signature: ") -> bytes:
    return name + default(SECRET, body)[0][1].encode()


def head(*lines: bytes, start: bytes = b"POST /webhook HTTP/1.1") -> bytes:
    return b"\r\n".join([start, b"Host: hooks.test", *lines, b"", b""])


SIGNED = signature(GOOD)
FORGED = signature(GOOD + b" ")


def start(line: bytes) -> bytes:
    return head(SIGNED, LENGTH, start=line) + GOOD


def with_lines(*lines: bytes) -> bytes:
    return head(SIGNED, LENGTH, *lines) + GOOD


def by_length(line: bytes) -> bytes:
    return head(SIGNED, line) + GOOD


def chunks(text: bytes) -> bytes:
    return head(SIGNED, CHUNKED) + text


def with_trailer(line: bytes) -> bytes:
    return CHUNKS[:-2] + line + b"\r\n\r\n"


def both(body: bytes, read: bytes) -> bytes:
    """Two lengths of one body, signed for the server that reads `read`."""
    return head(signature(read), b"Content-Length: %d" % len(body), CHUNKED) + body


def coded(line: bytes) -> bytes:
    """Chunks, if `line` says so."""
    return head(SIGNED, line) + CHUNKS


def coded_or_long(line: bytes) -> bytes:
    """Chunks, if `line` says so and counts for more than the length: then it is not what was signed."""
    return head(signature(CHUNKS), b"Content-Length: %d" % len(CHUNKS), line) + CHUNKS


def old(*lines: bytes) -> bytes:
    return head(*lines, start=b"POST /webhook HTTP/1.0")


KEPT = b"Connection: keep-alive"
ENDED = b"0\r\n\r\n" + UNSIGNED
NESTED = b"%x\r\n%s\r\n0\r\n\r\n" % (len(UNSIGNED), UNSIGNED)
# Every Envoy, however lenient, refuses these whole.
REFUSED = {
    "CL.TE, signed for CL": both(ENDED, ENDED),
    "TE.CL, signed for CL": head(signature(NESTED[:4]), b"Content-Length: 4", CHUNKED) + NESTED,
    **{
        f"a coding that is none: {line!r}": coded(line)
        for line in (
            b"Transfer-Encoding: xchunked",
            b"Transfer-Encoding : chunked",
            b"Transfer-Encoding\n: chunked",
            b"Transfer-Encoding: \x0bchunked",
            b"Transfer-Encoding: chu\0nked",
            b"Transfer-Encoding: chunked, chunked",
            b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
            b"Transfer-Encoding: chunked\r\nTransfer-Encoding: x",
            b"Transfer-Encoding: x\r\nTransfer-Encoding: chunked",
            b"Transfer-Encoding: identity, chunked",
            b"Transfer-Encoding: chunked, identity",
            b"Transfer-Encoding: gzip, chunked",
            b"Transfer-Encoding: chunked;q=1",
            b"Transfer-Encoding: ,chunked",
            b'Transfer-Encoding: "chunked"',
            b"Transfer-Encoding: identity",
            b"Transfer-Encoding:",
            # No header of that name, and so no body, which was signed.
            b"Transfer_Encoding: chunked",
            b"X: y\r\n Transfer-Encoding: chunked",
        )
    },
    **{
        f"a length and a coding: {line!r}": coded_or_long(line)
        for line in (
            b"Transfer-Encoding: chunked",
            b"Transfer-Encoding:\tCHUNKED ",
            b"Transfer-Encoding:\r\n chunked",
            b"X: y\nTransfer-Encoding: chunked",
            b"Transfer-Encoding: x\r\nTransfer-Encoding: chunked",
            b"Transfer-Encoding: identity, chunked",
            b"Transfer-Encoding: identity",
        )
    },
    **{
        f"a length that is none: {line!r}": by_length(line)
        for line in (
            b"Content-Length: 13\r\nContent-Length: 13",
            b"Content-Length: 13\r\nContent-Length: 14",
            b"Content-Length:13\r\ncontent-length:0",
            b"Content-Length: 13, 13",
            b"Content-Length: 13, 14",
            b"Content-Length: +13",
            b"Content-Length: -13",
            b"Content-Length: 0xd",
            b"Content-Length: 1 3",
            b"Content-Length: 13.0",
            b"Content-Length: 013",
            b"Content-Length: 1.3e1",
            b"Content-Length: 13abc",
            b"Content-Length: 13\x0b",
            b"Content-Length: 18446744073709551629",
            b"Content-Length:",
            b"Content-Length : 13",
            b"Content_Length: 13",
        )
    },
    **{
        f"a chunk that is none: {text[:20]!r}": chunks(text)
        for text in (
            b"0xd\r\n" + GOOD + b"\r\n0\r\n\r\n",
            b"+d\r\n" + GOOD + b"\r\n0\r\n\r\n",
            b"-d\r\n" + GOOD + b"\r\n0\r\n\r\n",
            b" d\r\n" + GOOD + b"\r\n0\r\n\r\n",
            b"g\r\n" + GOOD + b"\r\n0\r\n\r\n",
            b"\r\n" + GOOD + b"\r\n0\r\n\r\n",
            b"1000000000000000d\r\n" + GOOD + b"\r\n0\r\n\r\n",
            b"ffffffffffffffff\r\n" + GOOD + b"\r\n0\r\n\r\n",
            b"d\n" + GOOD + b"\n0\n\n",
            b"d\r" + GOOD + b"\r\n0\r\n\r\n",
            b"d;\nxx\r\n" + GOOD + b"\r\n0\r\n\r\n",
            b"d;a\rb\r\n" + GOOD + b"\r\n0\r\n\r\n",
            b"e\r\n" + GOOD + b"\r\n0\r\n\r\n",
        )
    },
    "HTTP/1.0 of two lengths, signed for the length": old(signature(CHUNKS), b"Content-Length: 23", CHUNKED) + CHUNKS,
    "HTTP/1.0 in chunks, signed for no body": old(signature(b""), CHUNKED, KEPT) + CHUNKS,
    "HTTP/1.0 in chunks, signed as sent": old(signature(CHUNKS), CHUNKED) + CHUNKS,
    "HTTP/1.0 without a length, signed for the rest": old(SIGNED) + GOOD,
    "HTTP/1.0 with two lengths": old(SIGNED, LENGTH, LENGTH) + GOOD,
    "HTTP/1.0 with another coding": old(SIGNED, LENGTH, b"Transfer-Encoding: identity") + GOOD,
    "HTTP/1.00": start(b"POST /webhook HTTP/1.00"),
    "HTTP/0.9": b"POST /webhook\r\n\r\n" + GOOD,
    "chunks without an end of the first": chunks(b"d\r\n" + GOOD + b"0\r\n\r\n"),
    "chunks without a last one": chunks(b"d\r\n" + GOOD + b"\r\n"),
    "chunks without an end of the last": chunks(b"d\r\n" + GOOD + b"\r\n0\r\n"),
    "the signature in trailers alone": head(CHUNKED) + with_trailer(SIGNED),
    "the signature in trailers, a forged one before": head(FORGED, CHUNKED) + with_trailer(SIGNED),
    "the signature in both, forged": head(FORGED, CHUNKED) + with_trailer(FORGED),
    **{
        f"a first line that is none: {line!r}": start(line)
        for line in (
            b"POST /webhook",
            b"POST /webhook http/1.1",
            b"POST /webhook " + HIDDEN + b" HTTP/1.1",
            b"PO ST /webhook HTTP/1.1",
            b"P(ST /webhook HTTP/1.1",
            b"POST /webhook\0 HTTP/1.1",
            b"POST /webhook\xff HTTP/1.1",
            b"POST /webhook#x HTTP/1.1",
            b"POST /webhook HTTP/1.1\rX: y",
            b" POST /webhook HTTP/1.1",
            b"OPTIONS * HTTP/1.1",
        )
    },
    **{
        f"a header that is none: {line!r}": with_lines(line)
        for line in (
            b"X: a\0b",
            b"X\0: a",
            b"X : a",
            b"X: a\x01b",
            b"X: a\x7fb",
            b"nonsense",
            b": a",
            b"a b: c",
            b"a(b: c",
            b"a\xff: c",
            # Connection names what goes no further, and it does not.
            b"Connection: x-webhook-signature",
        )
    },
    "a signature twice": with_lines(SIGNED),
    "two in one": head(SIGNED + b", " + SIGNED.split(b": ")[1], LENGTH) + GOOD,
    "a space after the signature's name": head(signature(GOOD, b"X-Webhook-Signature : "), LENGTH) + GOOD,
    "a signature in two lines": head(SIGNED[:40] + b"\r\n " + SIGNED[40:], LENGTH) + GOOD,
}
# Unusual, but with one meaning: each arrives with the signed body, and reframed where that was chunked.
TAKEN = {
    "chunks": chunks(CHUNKS),
    "the coding in capitals": coded(b"TRANSFER-ENCODING:\tCHUNKED "),
    "the coding in a line of its own": coded(b"Transfer-Encoding:\r\n chunked"),
    "a size in capitals, with zeros": chunks(b"000000000000D\r\n" + CHUNKS[3:]),
    "extensions": chunks(b"d;a=b;c\r\n" + GOOD + b'\r\n0;d="e"\r\n\r\n'),
    "a long extension": chunks(b"d;" + b"a" * 100_000 + CHUNKS[1:]),
    "a length in a line of its own": by_length(b"Content-Length:\r\n 13"),
    "a signature in a line of its own": head(signature(GOOD, b"X-Webhook-Signature:\r\n "), LENGTH) + GOOD,
    "a folded header": with_lines(b"X: a\r\n b"),
    "a chunk in a header": head(signature(CHUNKS), b"X: y\r\n Transfer-Encoding: chunked", b"Content-Length: 23")
    + CHUNKS,
    "a whole URL": start(b"POST http://hooks.test/webhook HTTP/1.1"),
    "empty lines before": b"\r\n\r\n" + start(b"POST /webhook HTTP/1.1"),
    "the length as a hop": with_lines(b"Connection: content-length"),
    "the guard's headers as hops": with_lines(
        b"Connection: x-webhook-guard-endpoint, x-webhook-guard-message, x-webhook-guard-secret-version"
    ),
    "an upgrade to HTTP/2": with_lines(
        b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA"
    ),
    "an expectation": with_lines(b"Expect: 100-continue"),
    "HTTP/1.0": old(SIGNED, LENGTH) + GOOD,
    "HTTP/1.0 that stays open": old(SIGNED, LENGTH, KEPT) + GOOD,
    "HTTP/1.0 with an expectation": old(SIGNED, LENGTH, b"Expect: 100-continue") + GOOD,
    "HTTP/1.0 with a whole URL": start(b"POST http://hooks.test/webhook HTTP/1.0"),
}
# Envoy, its version and its settings decide whether these pass.
EITHER = {
    "CL.TE, signed for TE": both(ENDED, b""),
    "TE.CL, signed for TE": head(signature(UNSIGNED), b"Content-Length: 4", CHUNKED) + NESTED,
    "a coding after a bare LF": coded(b"X: y\nTransfer-Encoding: chunked"),
    "a coding before a bare CR": coded(b"Transfer-Encoding: chunked\r"),
    "a header after a bare LF": with_lines(b"X: a\nY: b"),
    "a header after a bare CR": with_lines(b"X: a\rY: b"),
    "a size before blanks": chunks(b"d \t\r\n" + CHUNKS[3:]),
    "a size before a bare LF": chunks(b"d\n" + CHUNKS[3:]),
    "data before a bare LF": chunks(b"d\r\n" + GOOD + b"\n0\r\n\r\n"),
    "NUL in an extension": chunks(b"d;\0\r\n" + CHUNKS[3:]),
    "data longer than its size": chunks(b"d\r\n" + GOOD + b"xx\r\n0\r\n\r\n"),
    "a folded trailer": chunks(with_trailer(b"x: a\r\n b")),
    "a length in trailers": chunks(with_trailer(b"Content-Length: 0")),
    "a coding in trailers": chunks(with_trailer(b"Transfer-Encoding: identity")),
    "the signature again in trailers": chunks(with_trailer(SIGNED)),
    "another signature in trailers": chunks(with_trailer(FORGED)),
    "a host in trailers": chunks(with_trailer(b"Host: " + HIDDEN)),
    "a request after the last chunk": chunks(CHUNKS) + UNSIGNED,
    "two hosts": with_lines(b"Host: other.test"),
    "another host in the URL": start(b"POST http://other.test/webhook HTTP/1.1"),
    "HTTP/1.0 of two lengths, signed for chunks": old(SIGNED, b"Content-Length: 23", CHUNKED) + CHUNKS,
    "HTTP/1.0 in chunks": old(SIGNED, CHUNKED) + CHUNKS,
    "HTTP/1.0 in chunks that stays open": old(SIGNED, CHUNKED, KEPT) + CHUNKS + UNSIGNED,
    "HTTP/1.0 without a length, signed for no body": old(signature(b"")) + UNSIGNED,
    "HTTP/1.0 without a length that stays open": old(signature(b""), KEPT) + UNSIGNED,
    "HTTP/1.0 that stays open, and a request behind": old(SIGNED, LENGTH, KEPT) + GOOD + UNSIGNED,
    "HTTP/1.0 and a request behind": old(SIGNED, LENGTH) + GOOD + UNSIGNED,
    "HTTP/1.0 without a host": b"POST /webhook HTTP/1.0\r\n" + SIGNED + b"\r\n" + LENGTH + b"\r\n\r\n" + GOOD,
    "HTTP/1.2": start(b"POST /webhook HTTP/1.2"),
    "HTTP/2.0": start(b"POST /webhook HTTP/2.0"),
    "two blanks": start(b"POST  /webhook  HTTP/1.1"),
    "tabs for blanks": start(b"POST\t/webhook\tHTTP/1.1"),
    "an unknown expectation": with_lines(b"Expect: x"),
}


def lenient(document) -> None:
    """Makes Envoy accept as much as it can."""
    document.trailers()
    document.manager["http_protocol_options"] = {
        "accept_http_10": True,
        "allow_chunked_length": True,
        "default_host_for_http_10": "hooks.test",
        "enable_trailers": True,
    }
    document.manager["common_http_protocol_options"]["headers_with_underscores_action"] = "ALLOW"


@pytest.fixture(scope="module", params=["as shipped", "lenient"])
def watch(request):
    """An Envoy of its own, as it is shipped or as lenient as it can be."""
    patch = lenient if request.param == "lenient" else None
    with Upstream() as upstream:
        with Envoy(upstream.port, {"endpoints": [endpoint("orders", path="/webhook")]}, patch=patch) as envoy:
            yield Watch(envoy, upstream)


def send_all(watch: Watch, shapes: dict, patience: float = 1) -> dict:
    """The statuses that each shape is answered, all sent at once."""
    answers = at_once(lambda sent: send_raw(watch.envoy.port, sent, patience=patience), shapes.values())
    return dict(zip(shapes, answers))


def test_a_request_with_two_meanings_never_goes_upstream(watch):
    with watch, watch.upstream.nothing():
        answers = send_all(watch, REFUSED)
    assert [shape for shape, statuses in answers.items() if 200 in statuses] == []


def test_an_unusual_request_arrives_with_its_one_meaning(watch):
    with watch:
        assert send_all(watch, TAKEN, client.TIMEOUT) == {shape: [200] for shape in TAKEN}
        arrived = watch.arrived()
    assert len(arrived) == len(TAKEN)
    assert {request.body for request in arrived} == {GOOD, CHUNKS}


def test_each_request_that_envoy_accepts_arrives_signed(watch):
    with watch:
        answers = send_all(watch, EITHER)
        assert len(watch.arrived()) == sum(statuses.count(200) for statuses in answers.values())


@pytest.mark.parametrize(
    "status, path, lines",
    [
        (401, b"/webhook", []),
        (401, b"/webhook", [b"X-Webhook-Signature: nonsense"]),
        (404, b"/other", [SIGNED]),
        (400, b"/a//webhook", [SIGNED]),
        (405, b"/webhook", [SIGNED]),
    ],
)
def test_the_body_of_a_rejected_request_is_not_read_as_a_request(status, path, lines, watch):
    """The guard rejects it at the headers. Its body contains requests that the guard would accept."""
    inner = by_length(LENGTH) * 3
    method = b"PUT " if status == 405 else b"POST "
    for length, body in (
        (b"Content-Length: %d" % len(inner), inner),
        (b"Content-Length: %d" % (2 << 20), inner),
        (CHUNKED, b"%x\r\n%s\r\n0\r\n\r\n" % (len(inner), inner)),
    ):
        sent = head(*lines, length, start=method + path + b" HTTP/1.1")
        with watch, watch.upstream.nothing():
            answers = send_raw(watch.envoy.port, sent, body, patience=client.TIMEOUT)
        # The guard checks the size before the signature.
        assert answers == [413 if status == 401 and length.endswith(b"2097152") else status]


def test_requests_that_come_at_once_each_get_their_own_verdict(watch):
    """Envoy may end the connection after a denial. No request gets the verdict of another."""
    forged = head(signature(b"forged"), LENGTH) + GOOD
    sent = [by_length(LENGTH), chunks(CHUNKS), forged, coded_or_long(b"X: y"), head(LENGTH) + GOOD]
    for _ in range(10):
        with watch:
            answers = send_raw(watch.envoy.port, b"".join(sent), patience=client.TIMEOUT)
            assert answers in [[200, 200, 401, 200, 401][:size] for size in (3, 4, 5)]
            assert len(watch.arrived()) == answers.count(200)
