"""Attackers hold as much as they can: Envoy's memory stays within its bound, and a good sender is served."""

from __future__ import annotations

import resource
import statistics
import time

import pytest

from harness.attackers import Attack, attacking
from harness.client import post
from harness.edge import EDGE
from harness.envoy import SECRET, Document, Envoy, reads_secrets
from harness.rotating import DEMO, Rotating
from harness.sign import default

BODY = b'{"order": 42}'
MIB = 1 << 20
# The bytes of headers that the shipped files allow, less those of other headers.
HEADERS = Document(EDGE.read_text()).manager["max_request_headers_kb"] * 1024 - 1_024
# How long an attack lasts, in seconds, once it has begun.
LENGTH = 6
# The requests of one address that the shield admits in a minute.
SHIELD = 600
# The attackers' numbers: below all limits for addresses and connections.
MANY = {"addresses": 47, "connections": 420, "most": SHIELD - 50}
ATTACKS = {
    "bodies that do not end": Attack(**MANY, body=MIB - 8_192),
    "bodies below 64 KiB": Attack(**MANY, body=60_000),
    "headers that HPACK repeats": Attack(**MANY, headers=HEADERS),
    "a byte of each body a second": Attack(**MANY, headers=HEADERS, drip=1),
}
# Envoy's memory, as envoy/edge.yaml states it: for two workers.
WORKERS, BASE, HELD = 2, 128 * MIB, 128 * MIB


def bound(workers: int = WORKERS) -> int:
    """The most memory that the process may have."""
    return BASE + workers * HELD * 3 // 2


@pytest.fixture(autouse=True)
def room():
    """As many connections as this process may have, and its children after it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


class Sender:
    """A good sender, which makes a connection for each delivery and comes from many addresses."""

    def __init__(self, envoy, deliver) -> None:
        self.envoy, self.deliver, self.count = envoy, deliver, 0
        self.resident = 0

    def send(self) -> tuple:
        """The status, and the seconds that it took."""
        self.count += 1
        begun = time.monotonic()
        try:
            status = self.deliver(source=f"127.0.2.{self.count % 250 + 1}", timeout=90).status
        except OSError as error:
            status = error
        self.resident = max(self.resident, self.envoy.resident())
        return status, time.monotonic() - begun

    def send_for(self, seconds: float, reached=lambda: True) -> tuple:
        """All statuses, and the median of the times to an answer.

        On a busy machine, an attack needs up to a minute until it has reached its height.
        """
        begun, sent = time.monotonic(), []
        while (passed := time.monotonic() - begun) < seconds or passed < 60 and not reached():
            sent.append(self.send())
            time.sleep(0.02)
        return {status for status, _ in sent}, statistics.median(taken for _, taken in sent)


def assert_withstands(envoy, sender: Sender, attack: Attack, tls=None, reached=lambda: True) -> None:
    """The good sender is answered 200, the usual delivery within a second, and memory stays within its bound."""
    _, quiet = sender.send_for(1)
    with attacking(envoy.port, attack, tls) as (begun, ready):
        statuses, usual = sender.send_for(LENGTH, lambda: ready.is_set() and reached())
        assert ready.is_set() and reached(), "the attack never reached its height"
        assert begun.value >= attack.connections
        assert statuses == {200}
        # A busy machine is slow at everything.
        assert usual < max(1, 100 * quiet), (usual, quiet)
        assert sender.resident < bound(), f"{sender.resident >> 20} MiB"
        print(f"\n  median {usual:.3f} s ({quiet:.3f} s alone), {sender.resident >> 20} MiB, {begun.value} requests")
    assert not any(envoy.stats("^wasm.webhook_guard.*reload").values()), "the module trapped"
    assert sender.send()[0] == 200


def patient(document) -> None:
    """The upstream shares the machine with the attackers, which may keep it from answering for long."""
    (route,) = document.virtual_host["routes"]
    route["route"]["timeout"] = "80s"
    document.manager.update(stream_idle_timeout="80s")
    document.manager["common_http_protocol_options"]["max_stream_duration"] = "90s"


@pytest.mark.parametrize("kind", ATTACKS)
def test_edge(kind, start, upstream):
    edge = start(upstream, patch=patient)

    def reached() -> bool:
        """Whether the attack has reached the guard's bound."""
        return "bodies" not in kind or edge.count("orders", "denied", "overloaded") > 100

    assert_withstands(edge, Sender(edge, edge.deliver), ATTACKS[kind], edge.authority.context(alpn=["h2"]), reached)


@pytest.mark.parametrize("file", ["envoy.yaml", "rotating.yaml"])
def test_one_address_without_a_shield(file, upstream):
    """Two megabytes in all, and then silence."""
    if file == "rotating.yaml" and not reads_secrets():
        pytest.skip("it needs Envoy 1.38")
    attack = Attack(addresses=1, connections=260, headers=HEADERS, body=1)
    with (Envoy if file == "envoy.yaml" else Rotating)(upstream.port) as envoy:
        signed = default(SECRET if file == "envoy.yaml" else DEMO, BODY)

        def deliver(**how):
            return post(envoy.port, "/webhook", signed, BODY, **how)

        assert_withstands(envoy, Sender(envoy, deliver), attack)


def test_the_bound_for_four_workers_is_the_heap():
    document = Document(EDGE.read_text())
    heap, connections = document.data["overload_manager"]["resource_monitors"]
    assert document.guard["configuration"]["value"]["max_held_bytes"] == HELD
    assert bound(workers=4) < heap["typed_config"]["max_heap_size_bytes"] == 1024 * MIB
    assert connections["typed_config"]["max_active_downstream_connections"] == 900
