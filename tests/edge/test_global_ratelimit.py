"""One limit for a fleet: what the service is asked, and what happens without it."""

from __future__ import annotations

import time

import pytest

from harness.client import post
from harness.edge import FOLDER
from harness.envoy import SECRET, Envoy
from harness.full_config import endpoint
from harness.polling import until
from harness.ratelimit import RateLimitService
from harness.sign import default

BODY = b'{"order": 42}'
TEXT = (FOLDER / "global-ratelimit.yaml").read_text()
TWO = {"endpoints": [endpoint("orders", path="/webhook"), endpoint("other", path="/other")]}
FORGED = default("not the secret", BODY)


@pytest.fixture
def service():
    with RateLimitService(limit=5) as running:
        yield running


@pytest.fixture
def fleet(request, upstream, service):
    """Starts Envoys that ask the same service."""

    def start(configuration=None) -> Envoy:
        def ask(document):
            (cluster,) = [each for each in document.data["static_resources"]["clusters"] if each["name"] == "ratelimit"]
            (host,) = cluster["load_assignment"]["endpoints"][0]["lb_endpoints"]
            host["endpoint"]["address"]["socket_address"]["port_value"] = service.port

        running = Envoy(upstream.port, configuration, text=TEXT, patch=ask)
        request.addfinalizer(running.stop)
        return running.start()

    return start


def deliver(envoy, path: str = "/webhook", headers=None, **how):
    return post(envoy.port, path, default(SECRET, BODY) if headers is None else headers, BODY, **how)


def test_the_service_is_asked_about_accepted_requests_alone(fleet, service, upstream):
    envoy = fleet(TWO)
    with upstream.nothing():
        assert deliver(envoy, headers=FORGED).status == 401
        assert deliver(envoy, "/elsewhere").status == 404
    assert service.asked == []
    assert deliver(envoy).status == 200
    assert deliver(envoy, "/other", source="127.0.0.7").status == 200
    assert service.asked == [
        ("webhooks", (("endpoint", "orders"), ("masked_remote_address", "127.0.0.1/32"))),
        ("webhooks", (("endpoint", "other"), ("masked_remote_address", "127.0.0.7/32"))),
    ]


def test_over_the_limit(fleet, service, upstream):
    envoy = fleet(TWO)
    assert [deliver(envoy).status for _ in range(5)] == [200] * 5
    with upstream.nothing():
        answer = deliver(envoy)
    assert (answer.status, answer.all("retry-after")) == (429, ["10"])
    assert deliver(envoy, "/other").status == 200
    assert deliver(envoy, source="127.0.0.7").status == 200
    assert envoy.count("orders", "accepted", "accepted") == 7


def test_all_envoys_share_it(fleet, service):
    envoys = [fleet(), fleet()]
    statuses = [deliver(envoys[number % 2]).status for number in range(8)]
    assert statuses == [200] * 5 + [429] * 3


@pytest.mark.parametrize("trouble", ["failing", "silent", "gone"])
def test_without_the_service_the_guard_verifies_and_the_limit_is_off(trouble, fleet, service, upstream, capsys):
    envoy = fleet()
    assert deliver(envoy).status == 200
    if trouble == "gone":
        service.stop()
    service.behaviour = trouble
    begun = time.monotonic()
    assert [deliver(envoy).status for _ in range(10)] == [200] * 10
    cost = (time.monotonic() - begun) / 10
    with upstream.nothing():
        assert deliver(envoy, headers=FORGED).status == 401
    assert cost < 0.4, "no longer than it is waited for"
    failed = "cluster.upstream.ratelimit.limit.failure_mode_allowed"
    assert envoy.stats("failure_mode_allowed") == {failed: 10}
    with capsys.disabled():
        print(f"\n  the service {trouble}: {cost * 1000:.1f} ms for each delivery")


def test_each_machine_has_its_own_shield(fleet, service):
    envoy = fleet()
    statuses = [deliver(envoy, headers=FORGED).status for _ in range(640)]
    assert statuses.index(429) >= 600
    assert service.asked == []
    until(lambda: deliver(envoy, source="127.0.0.7").status == 200)
