"""A scripted incident: a real Envoy under normal traffic, and one cause after another for each alert."""

from __future__ import annotations

import contextlib
import datetime
import itertools
import signal
import tempfile
import threading
import time
from pathlib import Path

from platforms import PLATFORMS, Platform

from harness import client, sign
from harness.concurrently import at_once
from harness.envoy import MODULE, SECRET, Envoy
from harness.full_config import endpoint
from harness.http1 import Closed
from harness.polling import until
from harness.ports import free_ports
from harness.prometheus import Prometheus
from harness.trapping_module import trapping
from harness.upstream import Upstream

NEW, OLD, LEAKED = "the-new-secret-in-use", "the-old-secret-of-last-year", "the-secret-that-leaked"
CHAT = "secret-of-chat-1"
UNLISTED = "127.0.0.9"
NOWHERE = "webhook_guard.nothing"
PAST = "2001-01-01T00:00:00Z"
FAR, NEAR = datetime.timedelta(days=400), datetime.timedelta(days=3)
FAULTY: dict = {"endpoints": []}
# How long the application takes to answer a slow request, in seconds.
SLOW = 3
# A large body: the guard hashes it once for each of eight secrets before it rejects the request.
HEAVY = b"x" * (4 << 20)
NUMBERS = itertools.count()


def configuration(ends: datetime.timedelta, *more, memory: int = 65536) -> dict:
    """The guard's configuration: secrets that expire after `ends`, more endpoints, and a replay memory of `memory` bytes."""
    end = f"{datetime.datetime.now(datetime.timezone.utc) + ends:%Y-%m-%dT%H:%M:%SZ}"
    orders = [
        {"version": "new", "value": NEW},
        {"version": "old", "value": OLD, "not_after": end},
        {"version": "leaked", "value": LEAKED, "revoked": True},
        {"version": "older", "value": f"{OLD}-1", "not_after": PAST},
    ]
    heavy = [{"version": f"v{number}", "value": f"{NEW}-{number}"} for number in range(8)]
    live = [{"version": "live", "filter_state": NOWHERE}, {"version": "v1", "value": NEW}]
    endpoints = [
        endpoint("orders", *orders),
        endpoint("chat", {"version": "v1", "value": CHAT}, provider="slack", replay={"max_memory_bytes": memory}),
        endpoint("partner", allow=["127.0.0.1"]),
        endpoint("last", {"version": "v1", "value": NEW, "not_after": end}),
        endpoint("lost", client_address={"filter_state": NOWHERE}, allow=["127.0.0.1"]),
        endpoint("live", *live),
        endpoint("heavy", *heavy, max_body_bytes=len(HEAVY)),
    ]
    return {"environment": "test", "max_held_bytes": 6 << 20, "endpoints": [*endpoints, *more]}


PUBLISHED = endpoint("published")
PUBLISHED["allow_from"] = [
    {"cluster": "addresses", "authority": "addresses.test", "path": "/", "pointer": "/hooks", "refresh": "1s"}
]


def work(request) -> None:
    """Delays the answer to a request, or closes its connection, as its headers ask."""
    if request.get("x-slow"):
        time.sleep(SLOW)
    if request.get("x-fatal"):
        raise ConnectionAbortedError("closed without an answer")


class Addresses(Upstream):
    """Publishes a sender's addresses once `is_healthy` is set, and answers 503 before."""

    is_healthy = False

    def _answer(self, peer) -> None:
        status, body = (b"200 OK", b'{"hooks": ["192.0.2.0/24"]}') if self.is_healthy else (b"503 Unavailable", b"")
        peer.sendall(b"HTTP/1.1 %s\r\ncontent-length: %d\r\n\r\n%s" % (status, len(body), body))


class Incident:
    """An Envoy with two workers and a watched configuration, its upstream, and Prometheus."""

    # The steps in order: a name, the method that causes it, and the alerts that must fire.
    STEPS = (
        ("forged signatures", "forge", {"WebhookSignatureFailures"}),
        ("wrong secret at the sender", "use_wrong_secret", {"WebhookNothingVerifies"}),
        ("leaked secret in use", "use_leaked_secret", {"WebhookRevokedSecretUsed"}),
        ("expiring secrets", "expire", {"WebhookSecretExpiring", "WebhookLastSecretExpiring", "WebhookSecretOutsideItsTime"}),
        ("duplicate deliveries", "duplicate", {"WebhookReplays", "WebhookReplayMemoryFull"}),
        ("clients off the allow list", "send_from_unlisted", {"WebhookAddressesDenied"}),
        ("missing secret and allow list", "remove_secret", {"WebhookHostErrors", "WebhookSecretMissing", "WebhookAllowListStale"}),
        ("unfinished bodies", "leave_bodies_unfinished", {"WebhookGuardOverloaded"}),
        ("module traps", "trap", {"WebhookGuardTrapped"}),
        ("faulty configuration", "misconfigure", {"WebhookConfigurationRefused"}),
        ("guard disabled on a route", "disable_guard", {"WebhookGateClosed"}),
        ("guard and gate disabled", "disable_guard_and_gate", {"WebhookGuardBypassed"}),
        ("Envoy without the guard", "remove_guard", {"WebhookGuardMissing"}),
        ("Envoy hangs", "hang", {"WebhookGuardDown"}),
        ("rate limit service down", "lose_limit", {"WebhookGlobalLimitDown"}),
        ("slow requests", "slow", {"WebhookVerificationSlow", "WebhookUpstreamSlow"}),
        ("failing application", "fail", {"WebhookUpstreamFailing"}),
        ("no deliveries", "pause", {"WebhookDeliveriesStopped"}),
    )

    def __init__(self, platform: Platform = PLATFORMS[0]) -> None:
        self.platform = platform
        self._ends = contextlib.ExitStack()
        self._is_over = threading.Event()
        self._is_partner_silent = False
        self._done = None
        # The start of each phase, and its name.
        self.phases: list = []

    def __enter__(self) -> "Incident":
        with contextlib.ExitStack() as ends:
            self.folder = Path(ends.enter_context(tempfile.TemporaryDirectory(prefix="webhook-guard-")))
            self.upstream = ends.enter_context(Upstream(on_request=work))
            self.addresses = ends.enter_context(Addresses())
            self.envoy = Envoy(self.upstream.port, configuration(FAR), patch=self._patch)
            self.platform.prepare(self.envoy)
            self.watched = self.envoy.document.discover_guard(self.envoy.folder / "watched")
            ends.enter_context(self.envoy)
            # An Envoy without the guard, which Prometheus scrapes in one step only.
            self.other = Envoy(self.upstream.port, patch=without_guard)
            self.platform.prepare(self.other)
            ends.enter_context(self.other)
            self.prometheus = ends.enter_context(Prometheus(self.platform.config, self.platform.labels))
            self.prometheus.watch(self.envoy)
            # An alert fires until Prometheus has scraped the first Envoy.
            until(lambda: self.prometheus.query("up") and not self.prometheus.firing(), what="Prometheus to scrape Envoy")
            ends.callback(self._is_over.set)
            for traffic, rate in ((self.order, 10), (self.chat, 5), (self.partner, 10)):
                threading.Thread(target=self._repeat, args=(traffic, rate), daemon=True).start()
            self._ends = ends.pop_all()
        return self

    def __exit__(self, *_) -> None:
        self._ends.close()

    def _patch(self, document) -> None:
        # The guard, with a trap in its callback for trailers.
        module = self.folder / "trap.wasm"
        module.write_bytes(trapping(MODULE.read_bytes(), "proxy_on_request_trailers"))
        document.guard["vm_config"]["code"]["local"]["filename"] = str(module)
        document.trailers()
        document.virtual_host["request_body_buffer_limit"] = 2 * len(HEAVY)
        document.data["stats_flush_interval"] = "1s"
        document.add_cluster("addresses", self.addresses.port)
        add_limit(document)
        for path, filters in (("/unguarded", ["webhook_guard"]), ("/aside", ["webhook_guard", "gate"])):
            route = {"match": {"path": path}, "route": {"cluster": "upstream"}}
            document.switch_off(route, *filters)
            document.virtual_host["routes"].insert(0, route)

    def _repeat(self, traffic, rate: float) -> None:
        while not self._is_over.wait(1 / rate):
            traffic()

    # The phases.

    def calm(self, seconds: float) -> None:
        """Normal traffic for a while."""
        self._enter("normal traffic")
        time.sleep(seconds)

    def run_steps(self) -> None:
        """Runs each step until its alerts fire."""
        self._is_partner_silent = True
        for name, cause, alerts in self.STEPS:
            self._enter(name)
            self._cause(getattr(self, cause), alerts)

    def _cause(self, cause, alerts: set) -> None:
        def are_firing() -> bool:
            cause()
            time.sleep(0.1)
            return alerts <= self.prometheus.firing()

        until(are_firing, 90, f"{alerts} to fire")

    def fix(self) -> None:
        """Fixes every cause, and waits until no alert fires."""
        self._enter("all causes fixed")
        self._is_partner_silent = False
        self.addresses.is_healthy = True
        self.prometheus.watch(self.envoy)
        self.envoy.discover(self.watched, configuration(FAR, PUBLISHED, memory=1 << 20))
        self.order(name="last")
        self.order(f"{NEW}-0", "heavy")
        end = time.monotonic() + 90
        while firing := self.prometheus.firing():
            assert time.monotonic() < end, f"still firing: {firing}"
            time.sleep(0.5)
        self.other.process.send_signal(signal.SIGCONT)
        self._enter("no alert fires")

    def _enter(self, phase: str) -> None:
        self.phases.append((time.time(), phase))

    # Normal traffic. Each method returns the status, or 0 without an answer.

    def order(self, secret: str = NEW, name: str = "orders", **how) -> int:
        body = b'{"number": %d}' % next(NUMBERS)
        return self.post(name, sign.default(secret, body), body, **how)

    def chat(self) -> int:
        return self.post("chat", *chat())

    def partner(self) -> int:
        return 0 if self._is_partner_silent else self.order(SECRET, "partner")

    def post(self, name: str, headers=(), body: bytes = b"{}", **how) -> int:
        try:
            return client.post(self.envoy.port, f"/{name}", headers, body, **how).status
        except (OSError, Closed):
            # A worker that traps also drops other requests.
            return 0

    # The causes. Each is repeated until its alerts fire.

    def forge(self) -> None:
        self.order("an unknown secret")

    def use_wrong_secret(self) -> None:
        self.order("an unknown secret", "last")

    def use_leaked_secret(self) -> None:
        self.order(LEAKED)

    def expire(self) -> None:
        self._once(lambda: self.envoy.discover(self.watched, configuration(NEAR)))
        self.order(OLD)
        self.order(f"{OLD}-1")

    def duplicate(self) -> None:
        self._once(lambda: at_once(self._chat_often, range(4)))
        delivery = chat()
        for _ in range(5):
            self.post("chat", *delivery)

    def _chat_often(self, _) -> None:
        """Sends more deliveries than the replay memory can hold."""
        with client.Client(self.envoy.port) as connection:
            for _ in range(700):
                headers, body = chat()
                connection.ask(client.request("/chat", headers, body))

    def send_from_unlisted(self) -> None:
        self.order(SECRET, "partner", source=UNLISTED)

    def remove_secret(self) -> None:
        self._once(lambda: self.envoy.discover(self.watched, configuration(NEAR, PUBLISHED)))
        self.order(SECRET, "lost")
        self.post("live")

    def leave_bodies_unfinished(self) -> None:
        """Starts more bodies than the workers may hold, and finishes none."""
        head = client.head("/heavy", [("x-webhook-signature", "0" * 64), ("content-length", str(len(HEAVY)))])
        with contextlib.ExitStack() as ends, contextlib.suppress(OSError):
            for _ in range(8):
                ends.enter_context(client.Client(self.envoy.port)).send(head, HEAVY[: 3 << 20])

    def trap(self) -> None:
        with contextlib.suppress(OSError, Closed):
            client.ask(self.envoy.port, *client.chunked("/orders", sign.default(NEW, b"{}"), [b"{}"], [("x-a", "b")]))

    def misconfigure(self) -> None:
        self._once(lambda: self.envoy.discover(self.watched, FAULTY))

    def disable_guard(self) -> None:
        """Sends a request as if its worker could not load the guard."""
        self.post("unguarded")

    def disable_guard_and_gate(self) -> None:
        for _ in range(20):
            self.post("aside")

    def remove_guard(self) -> None:
        self._once(lambda: self.prometheus.watch(self.envoy, self.other))

    def hang(self) -> None:
        self._once(lambda: self.other.process.send_signal(signal.SIGSTOP))

    def lose_limit(self) -> None:
        """Sends a request for which Envoy asks the rate limit service, which does not run."""
        self.post("orders", [("x-limited", "1"), *sign.default(NEW, b"{}")])

    def slow(self) -> None:
        headers = [("x-slow", "1"), *sign.default(NEW, b"{}")]
        threading.Thread(target=self.post, args=("orders", headers), daemon=True).start()
        self.post("heavy", sign.default("an unknown secret", HEAVY), HEAVY)

    def fail(self) -> None:
        self.post("orders", [("x-fatal", "1"), *sign.default(NEW, b"{}")])

    def pause(self) -> None:
        """Does nothing: the partner sends nothing since the first step."""

    def _once(self, act) -> None:
        """Calls `act` once in each step."""
        step = self.phases[-1]
        if self._done is not step:
            self._done = step
            act()


def chat() -> tuple:
    """The headers and the body of a new delivery."""
    body = b'{"number": %d}' % next(NUMBERS)
    return sign.slack(CHAT, body), body


def add_limit(document) -> None:
    """Adds the limit of a fleet, for requests with a header. Nothing listens at the service's port."""
    document.add_cluster("ratelimit", free_ports(1)[0])
    name = "envoy.extensions.filters.http.ratelimit.v3.RateLimit"
    service = {"transport_api_version": "V3", "grpc_service": {"envoy_grpc": {"cluster_name": "ratelimit"}}}
    limit = {"domain": "webhooks", "stat_prefix": "limit", "timeout": "0.1s", "rate_limit_service": service}
    typed = {"@type": f"type.googleapis.com/{name}", **limit}
    document.filters.insert(-1, {"name": "limit", "typed_config": typed})
    action = {"request_headers": {"header_name": "x-limited", "descriptor_key": "limited"}}
    document.virtual_host["rate_limits"] = [{"actions": [action]}]


def without_guard(document) -> None:
    document.remove_filters("webhook_guard", "gate")
