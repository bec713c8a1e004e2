"""Very many requests of every kind: the guard's counters are the client's, and nothing grows.

`make soak` sends SOAK_REQUESTS of them, 100,000 if it does not say.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import multiprocessing
import os
import random
import socket
import time
import urllib.request
from collections import Counter
from concurrent.futures import ProcessPoolExecutor

import pytest

from harness import client, sign
from harness.envoy import SECRET, Envoy
from harness.full_config import endpoint
from harness.http1 import Closed, Reader
from harness.polling import until
from harness.raw_http import allocated, resident
from harness.server import Server

REQUESTS = int(os.environ.get("SOAK_REQUESTS", 100_000))
CLIENTS = 8
MIB = 1 << 20
LEAKED = "the-secret-that-leaked"
WHSEC = "whsec_" + "c29tZSBrZXkgdGhhdCBpcyBsb25nIGVub3VnaA=="
BODY = b'{"order": 42, "items": [1, 2, 3]}'
CONFIGURATION = {
    "environment": "development",
    "endpoints": [
        endpoint(
            "plain",
            {"version": "v1", "env": "WEBHOOK_SECRET"},
            {"version": "leaked", "value": LEAKED, "revoked": True},
        ),
        # As many as the memory holds are soon there, so that it does not look like a leak.
        endpoint(
            "svix",
            {"version": "v1", "value": WHSEC},
            provider="svix",
            replay={"window": "10m", "max_memory_bytes": 256 * 1024},
        ),
        endpoint("slack", provider="slack", answer_challenges=True),
        endpoint("watched", mode="monitor"),
        endpoint("off", mode="disabled"),
        endpoint("elsewhere", allow=["192.0.2.0/24"]),
        endpoint("small", max_body_bytes=100),
    ],
}


class Kinds:
    """Makes requests: each method returns the bytes, the endpoint, the verdict, the reason and the status."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.seed = seed
        self.number = 0
        self.last_id = None

    def body(self) -> bytes:
        self.number += 1
        filling = b"x" * self.random.choice((0, 10, 1000, 20_000))
        return b'{"seed": %d, "number": %d, "filling": "%s"}' % (self.seed, self.number, filling)

    def accepted(self):
        body = self.body()
        return client.request("/plain", sign.default(SECRET, body), body), "plain", "accepted", "accepted", 200

    def chunked(self):
        body = self.body()
        cut = self.random.randrange(1, len(body))
        pieces = client.chunked("/plain", sign.default(SECRET, body), [body[:cut], body[cut:]])
        return b"".join(pieces), "plain", "accepted", "accepted", 200

    def remembered(self):
        self.number += 1
        self.last_id = f"msg_{self.seed}_{self.number}"
        return self.svix(), "svix", "accepted", "accepted", 200

    def copied(self):
        if self.last_id is None:
            return self.remembered()
        return self.svix(), "svix", "denied", "replayed", 200

    def svix(self) -> bytes:
        return client.request("/svix", sign.svix(WHSEC, BODY, identity=self.last_id), BODY)

    def forged(self):
        body = self.body()
        return self.plain(sign.default("forged", body), body, "signature_invalid")

    def changed(self):
        body = self.body()
        return self.plain(sign.default(SECRET, body), body + b" ", "signature_invalid")

    def revoked(self):
        body = self.body()
        return self.plain(sign.default(LEAKED, body), body, "secret_revoked")

    def unsigned(self):
        return self.plain([], b"", "signature_missing")

    def malformed(self):
        return self.plain([("X-Webhook-Signature", "zz" * 32)], b"", "signature_malformed")

    def doubled(self):
        return self.plain(sign.default(SECRET, b"") * 2, b"", "signature_duplicated")

    def plain(self, headers, body: bytes, reason: str):
        return client.request("/plain", headers, body), "plain", "denied", reason, 401

    def stale(self):
        return self.slack(int(time.time()) - 900, BODY, "denied", "timestamp_expired", 401)

    def future(self):
        return self.slack(int(time.time()) + 900, BODY, "denied", "timestamp_future", 401)

    def challenge(self):
        self.number += 1
        asked = {"type": "url_verification", "challenge": f"{self.seed}-{self.number}"}
        body = json.dumps(asked).encode()
        return self.slack(int(time.time()), body, "challenged", "challenge_answered", 200)

    def slack(self, at: int, body: bytes, verdict: str, reason: str, status: int):
        # A request that is rejected at its headers has no body here, because Envoy closes the connection.
        if verdict == "denied":
            headers = [*sign.slack(SECRET, body, at), ("content-length", "0")]
            return client.head("/slack", headers), "slack", verdict, reason, status
        return client.request("/slack", sign.slack(SECRET, body, at), body), "slack", verdict, reason, status

    def watched(self):
        body = self.body()
        headers = sign.default("forged", body)
        return client.request("/watched", headers, body), "watched", "monitored", "signature_invalid", 200

    def large(self):
        headers = [*sign.default(SECRET, b""), ("content-length", "101")]
        return client.head("/small", headers), "small", "denied", "body_too_large", 413

    def larger(self):
        pieces = client.chunked("/small", sign.default(SECRET, b""), [b"x" * 60, b"x" * 60])[:-1]
        return b"".join(pieces), "small", "denied", "body_too_large", 413

    def elsewhere(self):
        return self.empty("/elsewhere", "elsewhere", "client_address_denied", 403)

    def off(self):
        return self.empty("/off", "off", "endpoint_disabled", 503)

    def unmatched(self):
        return self.empty("/nobody", "-", "unmatched", 404)

    def ambiguous(self):
        return self.empty("/a//plain", "-", "path_ambiguous", 400)

    def method(self):
        return self.empty("/plain", "plain", "method_not_allowed", 405, "PUT")

    def empty(self, path: str, name: str, reason: str, status: int, method: str = "POST"):
        headers = sign.default(SECRET, b"")
        return client.request(path, headers, b"", method), name, "denied", reason, status

    def aborted(self):
        # Envoy says that it has the headers; then the connection ends in the middle of the body.
        headers = [*sign.default(SECRET, BODY), ("content-length", "1000"), ("expect", "100-continue")]
        return client.head("/plain", headers), "plain", "denied", "incomplete", None


# How often each comes.
SHARES = {
    "accepted": 30,
    "chunked": 10,
    "remembered": 10,
    "copied": 5,
    "forged": 8,
    "changed": 4,
    "revoked": 2,
    "challenge": 3,
    "watched": 5,
    **dict.fromkeys(
        "unsigned malformed doubled stale future large larger elsewhere off unmatched ambiguous method aborted".split(),
        2,
    ),
}


class Connection:
    """A connection that reconnects after it has been closed."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.socket = None

    def ask(self, sent: bytes):
        """Sends a request; returns the first status, or ends the connection after the first line says 100."""
        if self.socket is None:
            self.socket = client.connect(self.port, 60)
            self.reader = Reader(self.socket)
        self.socket.sendall(sent)
        answer = self.reader.head()
        if answer is None:
            raise Closed("no answer")
        if answer.status != 100:
            self.reader.body(answer)
        if answer.status in (100, 413) or answer.get("connection") == "close":
            self.close()
        return None if answer.status == 100 else answer.status

    def close(self) -> None:
        if self.socket is not None:
            self.socket.close()
        self.socket = None


def send(port: int, seed: int, count: int) -> tuple:
    """Sends so many requests; returns what the guard should have counted, and what was answered otherwise."""
    kinds, connection = Kinds(seed), Connection(port)
    names, weights = list(SHARES), list(SHARES.values())
    expected, wrong = Counter(), []
    for name in kinds.random.choices(names, weights, k=count):
        sent, where, verdict, reason, status = getattr(kinds, name)()
        answered = connection.ask(sent)
        expected[f"webhook_guard_requests_total.endpoint={where}.verdict={verdict}.reason={reason}"] += 1
        version = {"accepted": "v1", "replayed": "v1", "challenge_answered": "v1", "secret_revoked": "leaked"}
        if reason in version:
            expected[f"webhook_guard_secret_uses_total.endpoint={where}.version={version[reason]}"] += 1
        if answered != status:
            wrong.append((name, answered))
    connection.close()
    return expected, wrong


class Counting(Server):
    """An upstream that only counts requests, and those without a signature."""

    def __init__(self, counts) -> None:
        self.counts = counts
        super().__init__()

    def _serve(self, peer: socket.socket) -> None:
        reader = Reader(peer)
        with contextlib.suppress(OSError, Closed), peer:
            while True:
                request = reader.head()
                if request is None:
                    return
                reader.body(request)
                self._count(request)
                peer.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello")

    def _count(self, request) -> None:
        if request.get("x-webhook-guard-verdict") == "monitored":
            kind = "monitored"
        elif request.path == "/plain":
            right = hmac.new(SECRET.encode(), request.body, hashlib.sha256).hexdigest()
            kind = "signed" if request.get("x-webhook-signature") == right else "unsigned"
        else:
            kind = "signed" if request.path == "/svix" and request.get("svix-signature") else "unsigned"
        with self.counts.get_lock():
            self.counts[("signed", "monitored", "unsigned").index(kind)] += 1


def serve(counts, port) -> None:
    with Counting(counts) as upstream:
        port.value = upstream.port
        time.sleep(24 * 3600)


@pytest.fixture
def upstream():
    """Runs the upstream in its own process, so that the clients stay fast. Yields its port and its counts."""
    counts, port = multiprocessing.Array("q", 3), multiprocessing.Value("i", 0)
    process = multiprocessing.Process(target=serve, args=(counts, port), daemon=True)
    process.start()
    until(lambda: port.value, what="the upstream")
    yield port.value, counts
    process.terminate()
    process.join()


def patch(document) -> None:
    """Without an access log, which would be longer than the disk is."""
    del document.manager["access_log"]


def test_soak(upstream):
    port, counts = upstream
    with Envoy(port, CONFIGURATION, patch=patch) as envoy, ProcessPoolExecutor(CLIENTS) as pool:
        urllib.request.urlopen(f"http://127.0.0.1:{envoy.admin}/logging?wasm=error", data=b"", timeout=30)
        began = time.monotonic()
        # In parts, so that memory can be looked at after each.
        parts, samples, expected, wrong, sent = 40, [], Counter(), [], 0
        for part in range(parts):
            share = REQUESTS // parts // CLIENTS
            results = [
                pool.submit(send, envoy.port, part * CLIENTS + number, share) for number in range(CLIENTS)
            ]
            for result in results:
                more, wrongly = result.result()
                expected += more
                wrong += wrongly
                sent += share
            samples.append((resident(envoy), allocated(envoy)))
        took = time.monotonic() - began
        counted = until(lambda: settled(envoy, expected), what="the counters to settle")
        report(sent, took, samples, counted, list(counts))
        assert wrong == []
        assert counted == dict(expected)
        assert envoy.process.poll() is None
        assert not any(envoy.stats("^wasm.webhook_guard.*reload").values()), "the module trapped"
        upstream_expected = sum(
            number
            for name, number in expected.items()
            if "requests_total" in name and ("verdict=accepted" in name or "verdict=monitored" in name)
        )
        assert (sum(counts), counts[2]) == (upstream_expected, 0)
        assert_flat([rss for rss, _ in samples])


def settled(envoy, expected) -> dict:
    """The guard's counters, once as many requests have been counted as were sent."""
    found = {
        name[len("wasmcustom.") :]: value
        for name, value in envoy.stats("^wasmcustom.webhook_guard").items()
        if value and ("requests_total" in name or "secret_uses" in name)
    }

    def requests(counters) -> int:
        return sum(value for name, value in counters.items() if "requests_total" in name)

    return found if requests(found) >= requests(expected) else {}


def assert_flat(samples: list) -> None:
    """After the first quarter, what the process has grows by no more than a thirtieth."""
    after = samples[len(samples) // 4 :]
    assert max(after) - after[0] < max(after[0] / 30, 4 * MIB), [rss // MIB for rss in samples]


def report(sent: int, took: float, samples: list, counted: dict, arrived: list) -> None:
    print(f"\n{sent} requests in {took:.0f} s, {sent / took:.0f} a second")
    for name, value in sorted(counted.items()):
        print(f"  {value:8} {name}")
    print(f"  at the upstream: {arrived[0]} signed, {arrived[1]} monitored, {arrived[2]} neither")
    print("  resident, in MiB:", *[rss // MIB for rss, _ in samples])
    print("  allocated, in MiB:", *[used // MIB for _, used in samples])
