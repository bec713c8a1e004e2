"""How large: headers, bodies, streams; and what is refused for its form alone."""

from __future__ import annotations

import re

import pytest

from harness.client import chunk, chunked, head, request
from harness.envoy import SECRET
from harness.http1 import Closed
from harness.sign import default
from harness.upstream import Upstream

BODY = b'{"order": 42}'
MIB = 1024 * 1024


def lower(headers) -> list:
    return [(name.lower(), value) for name, value in headers]


def test_more_than_100_headers(edge, upstream):
    """Envoy adds some of its own to those of the client, which count too."""
    few = [(f"x-{number}", "y") for number in range(80)]
    assert edge.deliver(BODY, few).status == 200
    with upstream.nothing():
        assert edge.deliver(BODY, [*few, *[(f"z-{number}", "y") for number in range(21)]]).status == 431


def test_headers_of_more_than_16_kib(edge, upstream):
    assert edge.deliver(BODY, [("x-long", "y" * 15 * 1024)]).status == 200
    with upstream.nothing():
        assert edge.deliver(BODY, [("x-long", "y" * 17 * 1024)]).status == 431


@pytest.mark.parametrize("framing", ["content-length", "chunked"])
def test_the_guards_own_limit_of_a_body_comes_first(framing, edge, upstream):
    """1 MiB goes upstream, one byte more is the guard's to refuse, with its reason and its counter."""
    body = b"x" * MIB
    if framing == "chunked":

        def send(body):
            pieces = [body[at : at + 65536] for at in range(0, len(body), 65536)]
            with edge.client() as client:
                try:
                    return client.ask(*chunked("/webhook", default(SECRET, body), pieces)).status
                except (Closed, OSError):
                    return None

    else:

        def send(body):
            return edge.deliver(body).status

    assert send(body) == 200
    assert upstream.requests[0].body == body
    with upstream.nothing():
        assert send(body + b"x") in (413, None)
    assert edge.count("orders", "denied", "body_too_large") == 1


def test_the_limit_of_a_body_over_http2(edge, upstream):
    for body, status in [(b"x" * MIB, 200), (b"x" * (MIB + 1), 413)]:
        with edge.http2_client() as client:
            stream = client.headers("/webhook", lower(default(SECRET, body)))
            client.data(stream, body, end=True)
            assert client.answer(stream)[0] == status
    assert len(upstream.requests) == 1
    assert edge.count("orders", "denied", "body_too_large") == 1


@pytest.mark.parametrize("name", ["x_webhook_signature", "x-webhook_signature", "content_length", "x_forwarded_for"])
def test_names_with_underscores(name, edge, upstream):
    """Some servers take `_` for `-`. The header does not go on, and the request meets the shield."""
    assert edge.deliver(BODY, [(name, "1")]).status == 200
    with edge.http2_client() as client:
        assert client.ask("/webhook", [*lower(default(SECRET, BODY)), (name, "1")], BODY)[0] == 200
    for each in upstream.requests:
        assert each.get(name) is None
        assert not any(b"_" in name for name, _ in each.headers)


def test_old_http(edge, upstream):
    """WooCommerce speaks HTTP/1.0, and nginx up to 1.29.6 does to Envoy. test_raw_http1.py has what could be read in two ways."""
    old = request("/webhook", default(SECRET, BODY), BODY).replace(b"HTTP/1.1", b"HTTP/1.0")
    with edge.client() as client:
        answer = client.ask(old)
        assert (answer.start, answer.get("connection")) == (b"HTTP/1.0 200 OK", "close")
    assert (upstream.requests[0].start, upstream.requests[0].body) == (b"POST /webhook HTTP/1.1", BODY)
    with upstream.nothing(), edge.client() as client:
        assert client.ask(old.replace(b"host: hooks.test\r\n", b"")).status == 400
    with upstream.nothing(), edge.client() as client:
        assert client.ask(old.replace(BODY, BODY[::-1])).status == 401


def test_old_http_meets_the_shield(edge, upstream):
    """Envoy answered it 426 before, which no filter counted."""
    old = request("/webhook", [("connection", "keep-alive")], BODY).replace(b"HTTP/1.1", b"HTTP/1.0")
    statuses = []
    with upstream.nothing():
        while 429 not in statuses and len(statuses) < 2000:
            with edge.client() as client:
                statuses.append(client.ask(old).status)
    assert set(statuses) == {401, 429} and len(statuses) > 600


def test_a_connection_has_a_bounded_number_of_streams(edge):
    with edge.http2_client() as client:
        limit = client.max_streams()
    assert limit == 8
    common = edge.document.data["overload_manager"]
    assert common["buffer_factory_config"]["minimum_account_to_track_power_of_two"] == 13


@pytest.mark.parametrize(
    "lines",
    [
        [("content-length", "13"), ("content-length", "14")],
        [("content-length", "13"), ("transfer-encoding", "chunked")],
        [("transfer-encoding", "chunked, identity")],
        [("content-length", "+13")],
        [("content-length", "13, 13")],
    ],
)
def test_a_body_of_two_lengths(lines, edge, upstream):
    """Envoy rejects requests whose end two servers could find at different places."""
    with upstream.nothing(), edge.client() as client:
        sent = head("/webhook", [*default(SECRET, BODY), *lines])
        try:
            assert client.ask(sent + BODY + chunk(b"")).status in (400, 401, 413, 501)
        except (Closed, OSError):
            pass


def test_a_sender_cannot_set_its_own_address(edge, upstream):
    for name in ("x-real-ip", "X-Real-IP"):
        assert edge.deliver(BODY, [(name, "192.0.2.1"), (name, "192.0.2.2")]).status == 200
        assert upstream.requests[-1].all("x-real-ip") == ["127.0.0.1"]


class Talkative(Upstream):
    """Says what it is in each answer."""

    def _answer(self, peer) -> None:
        peer.sendall(b"HTTP/1.1 200 OK\r\nserver: app/1.0\r\nx-powered-by: tea\r\ncontent-length: 0\r\n\r\n")


def test_answers_do_not_reveal_the_application(start):
    with Talkative() as upstream:
        answer = start(upstream).deliver()
    assert answer.status == 200
    assert answer.all("server") == answer.all("x-powered-by") == []


def test_headers_that_applications_trust_too_easily_are_removed(edge, upstream):
    believed = {
        "X-Original-URL": "/admin",
        "x-rewrite-url": "/admin",
        "x-http-method-override": "DELETE",
        "forwarded": "for=192.0.2.1",
        "x-forwarded-host": "elsewhere.test",
        "true-client-ip": "192.0.2.1",
        "cf-connecting-ip": "192.0.2.1",
        "remote-user": "admin",
        "proxy": "http://elsewhere.test",
        "x-middleware-subrequest": "middleware",
        "x-forwarded-scheme": "https",
        "x-remote-addr": "192.0.2.1",
        "grpc-timeout": "1n",
        "x-envoy-original-path": "/admin",
    }
    assert edge.deliver(BODY, [*believed.items(), ("x-forwarded-for", "192.0.2.1")]).status == 200
    names = {name.decode().lower() for name, _ in upstream.requests[0].headers}
    assert not names & {name.lower() for name in believed}
    # Only the last entry is Envoy's: for a client on the loopback interface, an address of the machine.
    (forwarded,) = upstream.requests[0].all("x-forwarded-for")
    assert re.fullmatch(r"192\.0\.2\.1,[\d.]+", forwarded)


def test_a_malformed_request_ends_alone(edge):
    """Over HTTP/2, others share its connection."""
    with edge.http2_client() as client:
        held = client.headers("/webhook", lower(default(SECRET, BODY)))
        bad = client.headers("/webhook", [("Upper-Case", "x")], end=True)
        assert client.answer(bad)[0] in (None, 400)
        client.data(held, BODY, end=True)
        assert client.answer(held)[0] == 200
