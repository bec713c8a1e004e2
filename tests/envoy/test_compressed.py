"""Bodies that were signed first and compressed then: edge-compressed.patch, and filters behind the guard that (de)compress."""

from __future__ import annotations

import contextlib
import copy
import gzip
import json
import random
import zlib

import h2.events
import pytest

from harness import client
from harness.client import head, request
from harness.concurrently import at_once
from harness.edge import Edge
from harness.envoy import SECRET, version
from harness.full_config import endpoint, signed
from harness.http1 import Closed
from harness.http2_upstream import Http2Upstream
from harness.polling import until
from harness.sign import default
from harness.upstream import Upstream

BODY = json.dumps({"orders": [{"id": number, "name": "tea"} for number in range(60)]}).encode()
GZIPPED = gzip.compress(BODY)
ENCODED = [("content-encoding", "gzip")]
# As in the patch: what Envoy reads of a connection at once, and by how much a body may grow.
READ, RATIO = 65536, 100
CONFIGURATION = {
    "environment": "test",
    "endpoints": [
        endpoint("orders", path="/webhook", decompressed=True),
        endpoint("plain"),
        endpoint("unprepared"),
        endpoint("unused", decompressed=True),
    ],
}


def routes(document) -> None:
    """Decompresses for /unprepared too, whose endpoint does not expect it."""
    first, *rest = document.virtual_host["routes"]
    more = copy.deepcopy(first)
    more["match"] = {"path": "/unprepared"}
    document.virtual_host["routes"][:] = [first, more, *rest]


@pytest.fixture(scope="module")
def upstream():
    with Upstream() as server:
        yield server


def edge_of(upstream, patch=routes) -> Edge:
    def changed(document):
        if version() < (1, 37):
            document.listener["per_connection_buffer_limit_bytes"] = 1114112
        patch(document)

    return Edge(upstream.port, CONFIGURATION, variant_name="compressed", patch=changed)


@pytest.fixture(scope="module")
def edge(upstream):
    with edge_of(upstream) as running:
        yield running


def random_bytes(size: int) -> bytes:
    return random.Random(size).randbytes(size)


# The encoding, what is sent, and what arrives, which is what was signed.
TAKEN = {
    "gzip": ("gzip", GZIPPED, BODY),
    "in capitals": ("GZIP", GZIPPED, BODY),
    "not compressed": (None, BODY, BODY),
    "compressed first and signed then, without the header": (None, GZIPPED, GZIPPED),
    "another encoding, signed as sent": ("br", GZIPPED, GZIPPED),
    "the largest": ("gzip", gzip.compress(random_bytes(1 << 20)), random_bytes(1 << 20)),
    "nothing": ("gzip", gzip.compress(b""), b""),
    "garbage after the end is cut off": ("gzip", GZIPPED + b"garbage", BODY),
    "a second member is cut off": ("gzip", GZIPPED + gzip.compress(b"more"), BODY),
    "a layer is taken off": ("gzip, gzip", gzip.compress(GZIPPED), GZIPPED),
}
# The same, but what was signed is not what the guard sees.
REFUSED = {
    "signed as sent": ("gzip", GZIPPED, GZIPPED),
    "without the header": (None, GZIPPED, BODY),
    "the header without gzip": ("gzip", BODY, BODY),
    "truncated": ("gzip", GZIPPED[:-20], BODY),
    "a wrong checksum": ("gzip", GZIPPED[:-8] + b"\0" * 8, BODY + b"x"),
    "another container": ("gzip", zlib.compress(BODY), BODY),
    "two layers": ("gzip, gzip", gzip.compress(GZIPPED), BODY),
    "two members": ("gzip", GZIPPED + gzip.compress(b"more"), BODY + b"more"),
    "garbage after the end": ("gzip", GZIPPED + b"garbage", BODY + b"garbage"),
    "another name": ("x-gzip", GZIPPED, BODY),
    "grows by more than the factor": ("gzip", gzip.compress(b"0" * 900_000), b"0" * 900_000),
}


def send(edge, path: str, encoding, sent: bytes, signature: list, chunks: bool = False):
    headers = [*signature, *([("content-encoding", encoding)] if encoding else [])]
    with edge.client() as connection:
        pieces = client.chunked(path, headers, [sent]) if chunks else [request(path, headers, sent)]
        return connection.ask(*pieces)


@pytest.mark.parametrize("chunks", [False, True], ids=["by length", "in chunks"])
@pytest.mark.parametrize("case", TAKEN)
def test_what_arrives_is_what_was_signed(case, chunks, edge, upstream):
    encoding, sent, arriving = TAKEN[case]
    before = len(upstream.requests)
    assert send(edge, "/webhook", encoding, sent, default(SECRET, arriving), chunks).status == 200
    request = upstream.next(before)
    assert request.body == arriving and request.trailers == []
    if arriving:
        assert request.get("content-length") == str(len(arriving))
    if case in ("gzip", "the largest"):
        assert request.get("content-encoding") is None


@pytest.mark.parametrize("case", REFUSED)
def test_anything_else_does_not_arrive(case, edge, upstream):
    encoding, sent, signed_body = REFUSED[case]
    with upstream.nothing():
        assert send(edge, "/webhook", encoding, sent, default(SECRET, signed_body)).status == 401


def test_byte_by_byte(edge, upstream):
    sent = request("/webhook", [*default(SECRET, BODY), *ENCODED], GZIPPED)
    before = len(upstream.requests)
    with edge.client() as connection:
        assert connection.ask(*(sent[at : at + 1] for at in range(len(sent)))).status == 200
    assert upstream.next(before).body == BODY


def test_over_http2(edge, upstream):
    before = len(upstream.requests)
    with edge.http2_client() as connection:
        headers = lower([*default(SECRET, BODY), *ENCODED])
        assert connection.ask("/webhook", headers, GZIPPED)[0] == 200
        assert connection.ask("/webhook", headers, GZIPPED[:-20])[0] == 401
    assert upstream.next(before).body == BODY


@pytest.mark.parametrize("length", [len(GZIPPED) - 20, len(GZIPPED) + 20])
def test_a_wrong_length_of_the_compressed_body(length, edge, upstream):
    """Too short, the rest is another request, which is malformed. Too long, the request never ends."""
    sent = head("/webhook", [*default(SECRET, BODY), *ENCODED, ("content-length", str(length))]) + GZIPPED
    with upstream.nothing(), edge.client() as connection:
        connection.send(sent)
        if length < len(GZIPPED):
            assert connection.response().status == 401


def lower(headers) -> list:
    return [(name.lower(), value) for name, value in headers]


OWN = ("x-envoy-decompressor-gzip-gzip-compressed-bytes", "1")


@pytest.mark.parametrize(
    "path, encoded, trailers, status",
    [
        ("/webhook", True, [("x-t", "1")], 400),
        ("/webhook", False, [("x-t", "1")], 400),
        ("/webhook", False, [OWN, ("x-t", "1")], 400),
        ("/webhook", False, [("x-envoy-decompressor", "1")], 400),
        # The names are Envoy's, and a client can write them. The guard removes them.
        ("/webhook", True, [OWN], 200),
        ("/webhook", False, [OWN, ("x-envoy-decompressor-x", "1")], 200),
        ("/plain", False, [OWN], 400),
        ("/unprepared", False, [OWN], 400),
    ],
)
def test_trailers_of_clients(path, encoded, trailers, status, edge, upstream):
    body, before = GZIPPED if encoded else BODY, len(upstream.requests)
    with edge.http2_client() as connection:
        stream = connection.headers(path, lower([*default(SECRET, BODY), *(ENCODED if encoded else [])]))
        connection.data(stream, body)
        connection.trailers(stream, trailers)
        assert connection.answer(stream)[0] == status
    if status == 200:
        request = upstream.next(before)
        assert request.body == BODY and request.trailers == []
    else:
        assert len(upstream.requests) == before


def test_no_trailer_reaches_an_application_over_http2():
    """Over HTTP/1.1, Envoy drops trailers in any case."""
    with Http2Upstream() as upstream, edge_of(upstream, lambda document: document.http2_upstream()) as edge:
        assert send(edge, "/webhook", "gzip", GZIPPED, default(SECRET, BODY)).status == 200
        kinds = [type(each) for each in upstream.events]
        received = [each.data for each in upstream.events if isinstance(each, h2.events.DataReceived)]
    assert b"".join(received) == BODY
    assert h2.events.StreamEnded in kinds and h2.events.TrailersReceived not in kinds


def test_other_endpoints_see_bodies_as_they_were_sent(edge, upstream):
    for path in ("/plain", "/unused"):
        before = len(upstream.requests)
        assert send(edge, path, "gzip", GZIPPED, default(SECRET, GZIPPED)).status == 200
        request = upstream.next(before)
        assert (request.body, request.get("content-encoding")) == (GZIPPED, "gzip")
        assert send(edge, path, "gzip", GZIPPED, default(SECRET, BODY)).status == 401


def test_an_endpoint_that_does_not_expect_it_refuses_every_compressed_body(edge, upstream):
    with upstream.nothing():
        assert send(edge, "/unprepared", "gzip", GZIPPED, default(SECRET, BODY)).status == 400
    assert edge.count("unprepared", "denied", "trailers_refused") > 0


def bomb() -> bytes:
    """A body of 1 MB that grows to 1 GB."""
    compressor = zlib.compressobj(9, zlib.DEFLATED, 31)
    return b"".join(compressor.compress(bytes(1 << 20)) for _ in range(1000)) + compressor.flush()


def test_a_body_that_grows_costs_little(upstream):
    """The guard answers after what one read of the connection grows to. Envoy 1.36 reads up to a MiB at once."""

    def unlimited(document):
        document.remove_filters("shield", "copies", "limit")

    sent, count = bomb(), 64 if version() >= (1, 37) else 8
    with edge_of(upstream, unlimited) as edge, upstream.nothing():

        def attack(_):
            # Envoy answers and closes before it has the whole body: the client may see a reset in place of the answer.
            with contextlib.suppress(OSError, Closed), edge.client() as connection:
                connection.send(*client.chunked("/webhook", [*default(SECRET, b"x"), *ENCODED], [sent]))
                assert connection.response().status == 413

        at_once(attack, range(count))
        until(lambda: edge.count("orders", "denied", "body_too_large") == count, what="the answers")
        (grown,) = edge.stats("request.total_uncompressed_bytes").values()
        # A read may exceed the limit of the buffer by what one call of the socket returns.
        read = 2 * READ if version() >= (1, 37) else 2 << 20
        assert grown < count * read * RATIO
        assert edge.resident() < 768 << 20


def filter_of(kind: str) -> dict:
    """Envoy's filter `compressor` or `decompressor`."""
    extensions = "type.googleapis.com/envoy.extensions"
    library = {"@type": f"{extensions}.compression.gzip.{kind}.v3.Gzip"}
    return {
        "name": kind,
        "typed_config": {
            "@type": f"{extensions}.filters.http.{kind}.v3.{kind.capitalize()}",
            f"{kind}_library": {"name": "gzip", "typed_config": library},
        },
    }


def test_behind_the_guard_the_application_sees_other_bytes_than_were_signed(start, upstream):
    """The guard verifies the bytes on the wire. A decompressor behind it is the operator's choice."""

    def behind(document):
        at = [each["name"] for each in document.filters].index("gate") + 1
        document.filters.insert(at, filter_of("decompressor"))

    envoy = start(upstream, {"endpoints": [endpoint("orders", path="/webhook")]}, patch=behind)
    before = len(upstream.requests)
    with upstream.nothing():
        assert client.post(envoy.port, "/webhook", [*signed(BODY), *ENCODED], GZIPPED).status == 401
    assert client.post(envoy.port, "/webhook", [*signed(GZIPPED), *ENCODED], GZIPPED).status == 200
    request = upstream.next(before)
    assert (request.body, request.get("content-encoding"), request.trailers) == (BODY, None, [])


class Talkative(Upstream):
    """Answers with a text that is worth compressing."""

    TEXT = b"hello " * 100

    def _answer(self, peer) -> None:
        peer.sendall(b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 600\r\n\r\n" + self.TEXT)


@pytest.mark.parametrize("place", ["webhook_guard", "gate"])
def test_a_compressor_of_answers_changes_no_verdict(place, start):
    """Before the guard or behind it: the request is what was signed, and the delivery is remembered."""

    def compress(document):
        at = [each["name"] for each in document.filters].index(place) + (place == "gate")
        document.filters.insert(at, filter_of("compressor"))

    configuration = {"endpoints": [endpoint("orders", path="/webhook", id={"json": "/id"})]}
    with Talkative() as upstream:
        envoy = start(upstream, configuration, patch=compress)

        def deliver(body: bytes, signature: list):
            return client.post(envoy.port, "/webhook", [*signature, ("accept-encoding", "gzip")], body)

        body = b'{"id": "1"}'
        answer = deliver(body, signed(body))
        assert (answer.status, answer.get("content-encoding")) == (200, "gzip")
        assert gzip.decompress(answer.body) == upstream.TEXT
        assert upstream.requests[0].body == body
        answer = deliver(body, signed(body))
        assert answer.status == 200 and answer.body != upstream.TEXT
        assert deliver(body, signed(b"other")).status == 401
        assert len(upstream.requests) == 1
    assert envoy.count("orders", "denied", "replayed") == 1
