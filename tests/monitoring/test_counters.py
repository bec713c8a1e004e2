"""The counters equal the client's own counts, over two workers and while the configuration changes."""

from __future__ import annotations

import itertools
import random
import re
import threading
import time
from collections import Counter

from harness import client, sign
from harness.client import Client
from harness.concurrently import at_once
from harness.envoy import MODULE, Envoy, write_discovered
from harness.full_config import endpoint
from harness.polling import until
from harness.upstream import Upstream

SENDERS, COUNT = 8, 300
NEW, OLD, LEAKED = "the-new-secret-in-use", "the-old-secret-of-last-year", "the-secret-that-leaked"
CHAT = "secret-of-chat-1"
NUMBERS = itertools.count()
# A line of the metrics as Prometheus reads them: name, labels, value.
LINE = re.compile(r"^(webhook_guard_\w+)\{(.*)\} (\d+)$", re.MULTILINE)


def configuration(generation: int) -> dict:
    orders = [
        {"version": "new", "value": NEW},
        {"version": "old", "value": OLD},
        {"version": "leaked", "value": LEAKED, "revoked": True},
    ]
    endpoints = [
        endpoint("orders", *orders, max_body_bytes=1000 + generation),
        endpoint("chat", {"version": "v1", "value": CHAT}, provider="slack"),
        endpoint("tried", {"version": "v1", "value": NEW}, mode="monitor"),
        endpoint("elsewhere", {"version": "v1", "value": NEW}, allow=["192.0.2.0/24"]),
        endpoint("off", {"version": "v1", "value": NEW}, mode="disabled"),
    ]
    return {"environment": "test", "endpoints": endpoints}


def order(secret: str, path: str = "/orders") -> bytes:
    body = b'{"number": %d}' % next(NUMBERS)
    return client.request(path, sign.default(secret, body), body)


def chat() -> bytes:
    body = b'{"number": %d}' % next(NUMBERS)
    return client.request("/chat", sign.slack(CHAT, body), body)


# Each kind of request: its constructor, the expected labels, the version that verifies it, and the status. The last value
# says whether the guard reads the whole body.
KINDS = [
    (lambda: order(NEW), ("orders", "accepted", "accepted"), "new", 200, True),
    (lambda: order(OLD), ("orders", "accepted", "accepted"), "old", 200, True),
    (lambda: order(LEAKED), ("orders", "denied", "secret_revoked"), "leaked", 401, True),
    (lambda: order("forged"), ("orders", "denied", "signature_invalid"), None, 401, True),
    (lambda: client.request("/orders", [], b"{}"), ("orders", "denied", "signature_missing"), None, 401, False),
    (lambda: client.request("/orders", [], b"", "PUT"), ("orders", "denied", "method_not_allowed"), None, 405, False),
    (lambda: order(NEW, "/tried"), ("tried", "accepted", "accepted"), "v1", 200, True),
    (lambda: order("forged", "/tried"), ("tried", "monitored", "signature_invalid"), None, 200, True),
    (lambda: order(NEW, "/elsewhere"), ("elsewhere", "denied", "client_address_denied"), None, 403, False),
    (lambda: order(NEW, "/off"), ("off", "denied", "endpoint_disabled"), None, 503, False),
    (lambda: order(NEW, "/nowhere"), ("-", "denied", "unmatched"), None, 404, False),
    (lambda: order(NEW, "//orders"), ("-", "denied", "path_ambiguous"), None, 400, False),
    (chat, ("chat", "accepted", "accepted"), "v1", 200, True),
]
COPY = ("chat", "denied", "replayed"), "v1", 409, True


class Sender:
    """A client that counts what it sends."""

    def __init__(self, port: int, number: int) -> None:
        self.requests: Counter = Counter()
        self.uses: Counter = Counter()
        self.bodies: Counter = Counter()
        self._port = port
        self._chance = random.Random(number)
        self._connection = None

    def run(self) -> "Sender":
        for _ in range(COUNT):
            make, *expected = self._chance.choice(KINDS)
            request = make()
            self._send(request, *expected)
            if make is chat and self._chance.random() < 0.5:
                self._send(request, *COPY)
        return self

    def _send(self, request: bytes, verdict: tuple, version, status: int, is_read: bool) -> None:
        self._connection = self._connection or Client(self._port)
        response = self._connection.ask(request)
        assert response.status == status, verdict
        if response.get("connection") == "close":
            # Envoy closes the connection when it answers before the end of the body.
            self._connection.close()
            self._connection = None
        self.requests[verdict] += 1
        self.uses[verdict[0], version] += version is not None
        self.bodies[verdict[0]] += is_read


def test_counters_equal_what_the_client_counted():
    with Upstream(on_request=lambda _: None) as upstream:
        envoy = Envoy(upstream.port, configuration(0))
        file = envoy.document.discover_guard(envoy.folder / "watched")
        envoy.document.data["stats_flush_interval"] = "0.5s"
        with envoy:
            is_over = threading.Event()
            generations = threading.Thread(target=change, args=(envoy, file, is_over))
            generations.start()
            try:
                senders = at_once(lambda number: Sender(envoy.port, number).run(), range(SENDERS))
            finally:
                is_over.set()
                generations.join()
            check(envoy, senders)


def change(envoy, file, is_over) -> None:
    """Changes the configuration until the traffic ends, and at least twice."""
    for generation in itertools.count(1):
        envoy.discover(file, configuration(generation))
        number = "wasmcustom.webhook_guard_configuration_generation"
        until(lambda: envoy.stats("wasmcustom")[number] == generation + 1, what="the configuration")
        if generation >= 2 and is_over.wait(0.1):
            return


def check(envoy, senders: list) -> None:
    for worker in (0, 1):
        name = f"listener.127.0.0.1_0.worker_{worker}.downstream_cx_total"
        assert envoy.stats("downstream_cx_total")[name] > 0, "only one worker had anything to do"
    counts = ([getattr(sender, what) for sender in senders] for what in ("requests", "uses", "bodies"))
    requests, uses, bodies = (sum(each, Counter()) for each in counts)
    assert len(requests) == len({verdict for _, verdict, *_ in KINDS}) + 1
    assert metric(envoy, "requests_total", "endpoint", "verdict", "reason") == requests
    assert metric(envoy, "secret_uses_total", "endpoint", "version") == uses
    # Envoy shows histograms after it has merged those of its workers. The guard measures some of the requests.
    until(lambda: 0 < measured(envoy, "body_bytes").total(), what="the histograms")
    until(lambda: measured(envoy, "body_bytes") == measured(envoy, "verify_microseconds"), what="both histograms")
    assert measured(envoy, "body_bytes") <= bodies


def measured(envoy, histogram: str) -> Counter:
    return metric(envoy, f"{histogram}_count", "endpoint")


def metric(envoy, name: str, *labels: str) -> Counter:
    """The values of a metric by the values of its labels."""
    found: Counter = Counter()
    for each, text, value in LINE.findall(envoy.prometheus()):
        if each == f"webhook_guard_{name}":
            values = dict(re.findall(r'(\w+)="([^"]*)"', text))
            assert set(values) == set(labels), text
            found[tuple(values[label] for label in labels) if labels[1:] else values[labels[0]]] += int(value)
    return +found


def test_gauges_report_only_what_is_configured():
    """Otherwise an alert would fire for a removed secret until Envoy ends."""
    end = "2040-01-01T00:00:00Z"
    new, old = {"version": "new", "value": NEW}, {"version": "old", "value": OLD, "not_after": end}
    listed = endpoint("listed", old)
    listed["allow_from"] = [{"cluster": "upstream", "authority": "a.test", "path": "/", "pointer": "/hooks"}]
    whole = [endpoint("orders", new, old), endpoint("kept", old), listed]
    named = "wasmcustom.webhook_guard_(secret|allow_list)"
    with Upstream() as upstream:
        envoy = Envoy(upstream.port, {"environment": "test", "endpoints": whole})
        file = envoy.document.discover_guard(envoy.folder / "watched")
        with envoy:

            def reported() -> set:
                """The endpoints and versions whose gauges are not 0."""
                values = [(each.split(".endpoint=")[1], value) for each, value in envoy.stats(named).items()]
                return {name for name, value in values if value and ".result=" not in name}

            of_all = {f"{name}{version}" for name in ("kept", "listed") for version in ("", ".version=old")}
            until(lambda: reported() == of_all | {"orders.version=old"}, what="every gauge")
            envoy.discover(file, {"environment": "test", "endpoints": [endpoint("orders", new), endpoint("kept", old)]})
            until(lambda: reported() == {"kept", "kept.version=old"}, what="what is left")
            time.sleep(2)
            assert reported() == {"kept", "kept.version=old"}
            # Another module runs in another VM, beside the one that ends.
            module = envoy.folder / "other.wasm"
            module.write_bytes(MODULE.read_bytes() + b"\0\2\1x")
            envoy.document.guard["vm_config"]["code"]["local"]["filename"] = str(module)
            envoy.document.configure({"environment": "test", "endpoints": [endpoint("kept", old)]}, as_text=False)
            write_discovered(file, envoy.document.guard_config)
            number = "wasmcustom.webhook_guard_configuration_generation"
            until(lambda: envoy.stats("wasmcustom")[number] == 3, what="the other module")
            client.post(envoy.port, "/kept", [], b"{}")
            time.sleep(2)
            assert reported() == {"kept", "kept.version=old"}


def test_all_threads_take_a_configuration():
    """The threads that load the module: the workers, and the main thread twice."""
    with Upstream() as upstream, Envoy(upstream.port, configuration(0)) as envoy:
        stats = envoy.stats("wasmcustom.webhook_guard_configuration|server.concurrency")
        assert stats["wasmcustom.webhook_guard_configuration_generation"] == 1
        assert stats["wasmcustom.webhook_guard_configuration_loads"] == stats["server.concurrency"] + 2
