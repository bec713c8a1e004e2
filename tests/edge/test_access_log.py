"""The access log: no client can fill the disk, and what reached the guard has its line."""

from __future__ import annotations

import time
from collections import Counter

import pytest

from harness.client import post, request
from harness.edge import Edge
from harness.envoy import SECRET, Envoy
from harness.http1 import Closed
from harness.http2_frames import Wire, begin, coded, text
from harness.polling import until
from harness.sign import default

BODY = b'{"order": 42}'
# `:method`, `:scheme` and `:path`. HPACK keeps the last one as its entry 62.
GET, HTTPS, PATH, SAME = b"\x82", b"\x87", b"\x44", b"\xbe"
AUTHORITY = coded([(":authority", "hooks.test")])
# In JSON each takes two bytes at least.
LONG = '/"' * 1_900
SHIELD = 600


def wire(edge) -> Wire:
    opened = Wire(edge.port, tls=edge.authority.context(alpn=["h2"]))
    opened.agree()
    return opened


def flood(wire: Wire, count: int, fields, again) -> Counter:
    """Sends as many requests as the connection takes, a few at a time: statuses, and None for a reset."""
    statuses: Counter = Counter()
    streams = range(1, 2 * count, 2)
    for at in range(0, count, 8):
        some = streams[at : at + 8]
        wire.send(b"".join(begin(each, again if each > 1 else fields, end=True) for each in some))
        statuses.update(wire.answer(each) for each in some)
        if wire.closed:
            break
    return statuses


def settled(edge, least: int = 0) -> list:
    """The lines of the access log, after it has `least` lines and has stopped growing."""
    path = edge.folder / "access"
    until(lambda: path.read_bytes().count(b"\n") >= least, what=f"{least} lines in the access log")
    size = -1
    while size != (size := path.stat().st_size):
        time.sleep(0.3)
    return path.read_bytes().splitlines()


def test_a_flood_of_long_paths_writes_little(start, upstream):
    """HPACK's table holds the path once, and each request repeats it with one byte."""
    edge = start(upstream, sampled=True)
    with upstream.nothing(), wire(edge) as flooding:
        fields = GET + HTTPS + AUTHORITY + PATH + text(LONG)
        statuses = flood(flooding, 3_000, fields, GET + HTTPS + AUTHORITY + SAME)
    assert statuses[429] > 2_000
    lines = settled(edge, least=SHIELD)
    # One in a hundred of what the shield refused: Eight times as many practically never happen.
    assert SHIELD <= len(lines) < 3_000 - statuses[429] + 8 * 30
    assert max(map(len, lines)) < 1_500


@pytest.mark.parametrize("method", ["M" * 3_000, '"' * 3_000, "\\" * 3_000], ids=["letters", "quotes", "backslashes"])
def test_a_long_method_is_cut(method, edge, upstream):
    with upstream.nothing(), wire(edge) as connection:
        fields = coded([(":method", method)]) + HTTPS + AUTHORITY + PATH + text("/webhook")
        connection.send(begin(1, fields, end=True))
        connection.answer(1)
    (line,) = until(edge.access_lines)
    assert len(line.get("method") or "") <= 16


def test_requests_that_envoy_refuses_itself_are_sampled(start, upstream):
    """Headers above the limit are answered 431, before any filter."""
    edge = start(upstream, sampled=True)
    filler = b"\x40" + text("x-filler") + text("a" * 3_900)
    with upstream.nothing(), wire(edge) as flooding:
        usual = GET + HTTPS + AUTHORITY + coded([(":path", "/webhook")])
        statuses = flood(flooding, 800, usual + filler + SAME * 4, usual + SAME * 5)
    assert set(statuses) <= {431, None}
    assert sum(statuses.values()) > 200
    assert len(settled(edge)) < 40


@pytest.mark.parametrize("path", ["/%2fwebhook", "//webhook", "/x/..%2fwebhook", "/web%00hook"])
def test_an_ambiguous_path_meets_the_shield(path, edge, upstream):
    """Envoy's own checks would refuse it before any filter, 80,000 times a second."""
    statuses = []
    with upstream.nothing(), edge.http2_client() as client:
        # Ten tokens come back each second, and a busy machine needs many seconds.
        while 429 not in statuses and len(statuses) < 20 * SHIELD:
            statuses.append(client.ask(path)[0])
    assert statuses.index(429) >= SHIELD
    assert set(statuses) == {400, 429}
    assert edge.count("-", "denied", "path_ambiguous") == statuses.count(400)


def test_a_client_does_not_choose_what_is_sampled(start, upstream):
    """By default Envoy takes the choice from `x-request-id`."""
    edge = start(upstream, sampled=True)
    chosen = [("x-request-id", "00000000-0000-9000-8000-000000000000")]
    for number in range(60):
        with edge.client() as client:
            try:
                client.ask(request("/webhook", chosen, BODY).replace(b"host: hooks.test\r\n", b""))
            except (Closed, OSError):
                pass
    assert len(settled(edge)) < 20


@pytest.mark.parametrize("which", ["edge.yaml", "envoy.yaml"])
def test_deliveries_and_denials_have_a_line_each(which, upstream):
    with (Edge if which == "edge.yaml" else Envoy)(upstream.port, sampled=True) as envoy:
        tls = envoy.authority.context() if which == "edge.yaml" else None
        for number in range(40):
            body, secret = b"%d" % number, (SECRET, "forged")[number % 2]
            post(envoy.port, "/webhook", default(secret, body), body, tls=tls)
        lines = until(lambda: len(envoy.access_lines()) == 40 and envoy.access_lines())
    assert Counter(each["reason"] for each in lines) == {"accepted": 20, "signature_invalid": 20}
