"""Ten thousand mutated requests: none makes the module trap, and none goes upstream unsigned."""

from __future__ import annotations

import contextlib
import os
import random
import socket
from collections import Counter

import h2.exceptions

from harness import client
from harness.concurrently import at_once
from harness.full_config import CONFIGURATION, SECRET, patch, signed
from harness.http1 import Closed, Message
from harness.http2_client import Http2Client
from harness.mutations import SIGNED, broken_bytes, mutated_request
from harness.polling import until
from harness.sign import mac
from harness.upstream import Upstream

# More of them, and others, by hand: MUTATIONS=1000000 MUTATIONS_SEED=7.
COUNT = int(os.environ.get("MUTATIONS", "10000"))
SEED = int(os.environ.get("MUTATIONS_SEED", "20261124"))
SENDERS = 4
BODY = b'{"order": 42}'


def patch_for_speed(document) -> None:
    """Envoy waits this long, a second by default, before it closes a connection with an error."""
    patch(document)
    document.manager["delayed_close_timeout"] = "0.01s"


def test_mutations(start):
    unsigned: list = []
    arrived: Counter = Counter()

    def check(request) -> None:
        arrived[request.get("x-webhook-guard-endpoint")] += 1
        if not is_signed(request):
            unsigned.append(request)

    # A monitored endpoint lets through what is not signed: that is its purpose.
    endpoints = [each for each in CONFIGURATION["endpoints"] if "mode" not in each]
    with Upstream(on_request=check) as upstream:
        envoy = start(upstream, {**CONFIGURATION, "endpoints": endpoints}, patch=patch_for_speed)
        statuses = send_all(envoy)
        # A trap shows with the request after it, in either worker.
        for _ in range(8):
            assert client.post(envoy.port, "/webhook", signed(BODY), BODY).status == 200
        until(lambda: arrived["orders"] >= 8)
        reloads = envoy.stats("^wasm.webhook_guard.*reload")
    assert unsigned == []
    assert reloads and not any(reloads.values()), reloads
    assert statuses["timeout"] == 0, statuses
    # The mutations reach every part: much is denied in each way, and much is still accepted.
    assert min(arrived[name] for name in endpoint_names()) > COUNT // 1000, arrived
    assert all(statuses[status] > COUNT // 1000 for status in (200, 400, 401, 404, 405)), statuses


def endpoint_names() -> list:
    return ["orders" if path == "/webhook" else path.rsplit("/", 1)[1] for path in SIGNED]


def send_all(envoy) -> Counter:
    """Sends all of them, over several connections at once; returns how often each status came."""

    def send_share(number: int) -> Counter:
        chance = random.Random(SEED + number)
        statuses: Counter = Counter()
        with Connections(envoy.port) as connections:
            for _ in range(COUNT // SENDERS):
                statuses[connections.send(chance)] += 1
        return statuses

    statuses = sum(at_once(send_share, range(SENDERS)), Counter())
    assert envoy.process.poll() is None
    return statuses


class Connections:
    """A connection of each kind, replaced when Envoy has closed it."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.first = self.second = None

    def __enter__(self) -> "Connections":
        return self

    def __exit__(self, *_) -> None:
        for each in (self.first, self.second):
            if each:
                each.close()

    def send(self, chance: random.Random):
        """Sends something; returns the status, or what came instead of one."""
        kind = chance.random()
        if kind < 0.25:
            return self.raw(broken_bytes(chance))
        if kind < 0.4:
            return self.http2(mutated_request(chance))
        return self.http1(mutated_request(chance), chance)

    def raw(self, data: bytes):
        """Sends bytes that may or may not be a request, and reads the whole answer."""
        with client.Client(self.port, timeout=5) as connection:
            try:
                connection.send(data)
                connection.socket.shutdown(socket.SHUT_WR)
                while connection.socket.recv(65536):
                    pass
                return "closed"
            except socket.timeout:
                return "timeout"
            except OSError:
                return "closed"

    def http1(self, request, chance):
        """Sends bytes that are exactly one request."""
        pieces = request.pieces(chance)
        if request.method in ("HEAD", "CONNECT"):
            return self.raw(b"".join(pieces))
        self.first = self.first or client.Client(self.port)
        try:
            response = self.first.ask(*pieces)
            keep = response.get("connection") != "close"
            return response.status
        except socket.timeout:
            keep = False
            return "timeout"
        except (OSError, Closed):
            # Envoy answered and closed before all was sent.
            keep = False
            return "closed"
        finally:
            if not keep:
                self.first.close()
                self.first = None

    def http2(self, request):
        self.second = self.second or Http2Client(self.port)
        headers = [(client.as_bytes(name).lower(), value) for name, value in request.headers]
        try:
            stream = self.second.headers(request.path, headers, method=request.method)
            self.second.data(stream, request.body, end=not request.trailers)
            if request.trailers:
                self.second.trailers(stream, request.trailers)
            return self.second.answer(stream)[0] or "reset"
        except (OSError, AssertionError, ValueError, h2.exceptions.H2Error) as error:
            # Envoy closes a connection that does not speak HTTP/2.
            with contextlib.suppress(OSError):
                self.second.close()
            self.second = None
            return "timeout" if isinstance(error, socket.timeout) else "closed"


def is_signed(request) -> bool:
    """Whether the endpoint had to accept a request that reached the upstream, verified independently."""
    name = request.get("x-webhook-guard-endpoint")
    path = {"orders": "/webhook", "rotated": "/rotated", "any": "/any"}.get(name, f"/hooks/{name}")
    if path not in SIGNED or request.path.split("?")[0] != path:
        return False
    secret, signer = SIGNED[path]
    if name in ("slack", "stripe", "svix", "standard-webhooks"):
        expected = timed_signature(request, name, secret)
    else:
        expected = dict(signer(secret, request.body))
    [(header, value)] = expected.items()
    received = request.get(header)
    return received is not None and value.rstrip("=").lower() in received.lower()


def timed_signature(request, name: str, secret: str) -> dict:
    """The signature that the request's own timestamp and id ask for."""
    _, signer = SIGNED[f"/hooks/{name}"]
    if name == "stripe":
        at = request.get("stripe-signature").split("t=")[1].split(",")[0].strip()
        return {"Stripe-Signature": mac(secret.encode(), at.encode(), b".", request.body).hex()}
    if name == "slack":
        headers = dict(signer(secret, request.body, int(request.get("x-slack-request-timestamp"))))
        return {"X-Slack-Signature": headers["X-Slack-Signature"]}
    prefix = "svix" if name == "svix" else "webhook"
    at, identity = request.get(f"{prefix}-timestamp"), request.get(f"{prefix}-id")
    headers = dict(signer(secret, request.body, int(at), identity))
    return {f"{prefix}-signature": headers[f"{prefix}-signature"]}


def test_the_check_above_can_fail():
    """`is_signed` detects a request that is not signed."""
    headers = [(b"x-webhook-guard-endpoint", b"orders")]
    good = [(b"x-webhook-signature", signed(BODY, SECRET)[0][1].encode())]
    assert is_signed(Message(b"POST /webhook HTTP/1.1", headers + good, BODY))
    for wrong in (
        Message(b"POST /webhook HTTP/1.1", headers, BODY),
        Message(b"POST /webhook HTTP/1.1", headers + good, BODY + b"x"),
        Message(b"POST /other HTTP/1.1", headers + good, BODY),
        Message(b"POST /webhook HTTP/1.1", good, BODY),
    ):
        assert not is_signed(wrong)
