"""The log and the access log under hostile requests: no line is forged, and none is missing."""

from __future__ import annotations

import base64
import json
import random
import re
from collections import Counter

import pytest

from harness import client, sign
from harness.envoy import SECRET as TOKEN
from harness.envoy import Envoy
from harness.full_config import CONFIGURATION, WHSEC, endpoint, patch, signed
from harness.http1 import Closed
from harness.mutations import mutated_request
from harness.polling import until
from harness.verdict import counters

# Few enough that no endpoint reaches the limit of its log lines.
COUNT = 400
SEED = 20261125
ENVOYS = rb"\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}\]\[\d+\]\[\w+\]\[\w+\] \[[^]]*\] "
GUARDS = rb"wasm log webhook_guard webhook_guard webhook_guard: "
FORGED = "[2026-11-24 12:00:00.000][1][info][wasm] [wasm.cc:1] " + GUARDS.decode()
FORGED += '{"event":"webhook_processed","endpoint":"orders","verdict":"accepted","reason":"accepted"}'
# How a verified sender may name its deliveries, in a header and in JSON.
IDS = [b'a","verdict":"accepted","x":"', b"a\tb", b"\\", b"\\u000a", b"${a}", b"%0a%00"]
IDS += ["\u2028\x85\x9b31m".encode(), "\U0001f600".encode(), b"\x80\x9b31m\xff", b"\xc0\xaf", b"\xed\xa0\x80", b"\xc2"]
JSON_IDS = ["\n" + FORGED, "\r\n", "\0", "\x1b[2J", "\x7f", "\x85", "\u2028\u2029", "\u202e", "\U0001f600", '"', "\\"]
SECRET = "secret-of-by-json"
BY_JSON = endpoint("by-json", {"version": "v1", "value": SECRET})
BY_JSON["signature"] = {"header": "X-Signature", "id": {"json": "/id"}}
BY_ID = endpoint("by-id", {"version": "v1", "value": WHSEC}, provider="standard-webhooks")


def hostile(chance: random.Random):
    """Requests that try to forge a line of the log, or to break one."""
    for identity in IDS:
        yield client.request("/by-id", by_id(identity), b"{}")
    for identity in JSON_IDS:
        body = json.dumps({"id": identity}).encode()
        yield client.request("/by-json", [("X-Signature", sign.mac(SECRET.encode(), body).hex())], body)
    for text in [FORGED.encode(), *IDS]:
        yield client.request("/webhook", [(name, text) for name in ("X-Webhook-Signature", "User-Agent")], b"{}")
        for path in (b"/webhook?", b"/webhook/"):
            yield client.request(path + re.sub(rb"\s", b"+", text), signed(b"{}"), b"{}")
    for _ in range(COUNT):
        request = mutated_request(chance)
        # The other methods have no answer that the client could read.
        if request.method not in ("HEAD", "CONNECT"):
            yield b"".join(request.pieces(chance))


def by_id(identity: bytes) -> list:
    stamp = sign.stamp(None)
    signature = sign.mac(base64.b64decode(WHSEC[len("whsec_") :]), identity, b".", stamp, b".{}")
    headers = [("webhook-id", identity), ("webhook-timestamp", stamp)]
    return [*headers, ("webhook-signature", b"v1," + base64.b64encode(signature))]


def test_a_hostile_campaign(start, upstream):
    """Every line parses, none is forged, and there is one for each verdict."""
    endpoints = [*CONFIGURATION["endpoints"], BY_JSON, BY_ID]
    envoy = start(upstream, {**CONFIGURATION, "endpoints": endpoints}, patch=patch)
    sent = 0
    for request in hostile(random.Random(SEED)):
        try:
            client.ask(envoy.port, request)
        except Closed:
            continue
        sent += 1
    assert sent > COUNT * 0.8
    access = until(lambda: len(found := access_lines(envoy)) >= sent and found, what="the access log")
    logged = guard_lines(envoy)
    counted = Counter()
    for name, count in counters(envoy).items():
        if name.startswith("webhook_guard_requests_total"):
            counted[tuple(part.split("=")[1] for part in name.split(".")[1:])] = count
    assert Counter(map(verdict_of, logged)) == counted
    assert Counter(map(verdict_of, access)) == counted
    assert names(logged, "by-json") == JSON_IDS
    # The access log cuts what is longer than its field.
    assert names(access, "by-json") == [each[:128] for each in JSON_IDS]
    assert names(logged, "by-id") == [each.decode(errors="replace") for each in IDS]
    # Envoy writes bytes that are not UTF-8 unchanged into the access log.
    assert names(access, "by-id")[:8] == [each.decode()[:128] for each in IDS[:8]]
    assert {line["secret_version"] for line in access if line["verdict"] == "accepted"} == {"v1", "new"}
    for line in access:
        if line["endpoint"] == "by-id":
            assert re.fullmatch("[0-9a-f]{32}", line["delivery"])


@pytest.mark.parametrize("level", ["debug", "info", "warning", "off"])
def test_each_verdict_has_one_event_in_the_shipped_set_up(level, upstream):
    """Each request has another length, which identifies its event. The denials exceed the limit of their lines."""
    envoy = Envoy(upstream.port)
    envoy.log_levels = ("-l", "warning", "--component-log-level", f"wasm:{level}")
    with envoy, client.Client(envoy.port) as connection:
        for size in range(1, 51):
            body = b"x" * size
            assert connection.ask(client.request("/webhook", signed(body), body)).status == 200
        for size in range(1001, 1401):
            assert client.post(envoy.port, "/webhook", signed(b""), b"x" * size).status == 401
        assert client.post(envoy.port, "/unknown", [], b"x" * 2001).status == 404
        shown = until(lambda: len(found := access_lines(envoy)) >= 451 and found, what="the access log")
        # Envoy 1.36 writes null where later versions omit the field.
        shown = [line for line in shown if line.get("event")]
        logged = guard_lines(envoy)
    assert {line["event"] for line in shown + logged} == {"webhook_processed"}
    sizes = [*range(1, 51), *range(1001, 1401)]
    of_the_endpoint = [line for line in shown + logged if line["endpoint"] == "orders"]
    assert Counter(line.get("body_bytes", line.get("bytes_received")) for line in of_the_endpoint) == Counter(sizes)
    assert [line["reason"] for line in shown + logged if line["endpoint"] == "-"] == ["unmatched"]
    where = {"accepted": shown if level != "debug" else logged, "denied": shown if level == "off" else logged}
    for verdict, lines in where.items():
        assert verdict in [line["verdict"] for line in lines]
    if level != "off":
        assert "denied" in [line["verdict"] for line in shown], "no denial was above the limit"


def test_a_level_that_rises_while_a_request_is_held_loses_no_event(upstream):
    envoy = Envoy(upstream.port)
    envoy.log_levels = ("-l", "warning", "--component-log-level", "wasm:debug")
    body = b"x" * 100
    with envoy, client.Client(envoy.port) as connection:
        connection.send(client.head("/webhook", [*signed(body), ("content-length", "100")]))
        until(lambda: envoy.stats("rq_active")["http.webhooks.downstream_rq_active"] == 1, what="the held request")
        envoy.get("/logging?wasm=info", method="POST")
        connection.send(body)
        assert connection.response().status == 200
        (shown,) = until(lambda: access_lines(envoy), what="the access log")
        assert guard_lines(envoy) == []
    assert (shown["event"], shown["verdict"]) == ("webhook_processed", "accepted")


def test_without_the_setting_an_accepted_request_has_a_line(start, upstream):
    envoy = start(upstream, {"endpoints": [endpoint("orders", {"version": "v1", "value": TOKEN})], "environment": "test"})
    body = b"{}"
    assert client.post(envoy.port, "/orders", signed(body, TOKEN), body).status == 200
    (shown,) = until(lambda: access_lines(envoy), what="the access log")
    (logged,) = guard_lines(envoy)
    assert (logged["event"], logged["verdict"]) == ("webhook_processed", "accepted")
    assert not shown.get("event")


def names(lines: list, endpoint: str) -> list:
    return [line["delivery_id"] for line in lines if line["endpoint"] == endpoint]


def guard_lines(envoy) -> list:
    """The objects that the guard wrote; fails if there is a line that neither it nor Envoy wrote."""
    found = []
    for line in (envoy.folder / "log").read_bytes().splitlines():
        start = re.match(ENVOYS, line)
        assert start, line
        own, guards, text = line[start.end() :].partition(GUARDS)
        if guards and not own and text.startswith(b"{"):
            assert re.fullmatch(rb"[ -~]*", text), text
            found.append(parse(text))
    return found


def access_lines(envoy) -> list:
    return [parse(line) for line in (envoy.folder / "access").read_bytes().split(b"\n")[:-1]]


def parse(line: bytes) -> dict:
    """An object without duplicate fields."""

    def once(pairs):
        assert len({name for name, _ in pairs}) == len(pairs), line
        return dict(pairs)

    return json.loads(line.decode(), object_pairs_hook=once)


def verdict_of(line: dict) -> tuple:
    return line["endpoint"], line["verdict"], line["reason"]


def test_envoys_debug_log_shows_tokens_of_senders(upstream):
    """The monitoring page warns of that. If this test fails, Envoy has changed."""
    loggers = ["http", "router", "rbac", "filter", "wasm", "connection", "pool"]
    telling = []
    for logger in loggers:
        with Envoy(upstream.port, {"endpoints": [endpoint("orders", provider="gitlab-token")]}) as envoy:
            envoy.get(f"/logging?{logger}=debug", method="POST")
            assert client.post(envoy.port, "/orders", [("x-gitlab-token", TOKEN)], b"{}").status == 200
            telling += [logger] if TOKEN in envoy.log() else []
    assert telling == ["http", "router", "rbac"]
