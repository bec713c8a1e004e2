"""gateway.yaml with ecds.patch: a fault of the guard's configuration concerns the guard alone."""

from __future__ import annotations

import threading

import pytest

from harness.client import post
from harness.http1 import Closed
from harness.istio import Installation, Proxy, check, guard_of
from harness.polling import until

BODY = b'{"order": 42}'
FAILED = "extension_config_discovery.http_filter.webhook_guard.config_fail"
REJECTED = "listener_manager.lds.update_rejected"


@pytest.fixture(scope="module")
def installed(istiod, tmp_path_factory):
    folder = tmp_path_factory.mktemp("mounts")
    with Installation(istiod, folder, "gateway.yaml", "gateway-example.yaml", patches=["ecds"]) as found:
        yield found


@pytest.fixture(scope="module")
def gateway(istiod, installed):
    with Proxy(istiod, "webhook-gateway", installed.port) as running:
        yield running


@pytest.fixture
def change(istiod, installed, gateway):
    """Changes the EnvoyFilter, until the end of the test: `change(edit)`."""

    def change(edit) -> None:
        changed = installed.object("EnvoyFilter")
        edit(changed)
        istiod.apply([changed])

    yield change
    istiod.apply([installed.object("EnvoyFilter")])
    until(lambda: gateway.signed_status() == 200, what="the shipped filters to serve again")


def break_guard(envoy_filter: dict) -> None:
    guard_of(envoy_filter)["configuration"]["value"]["endpoints"] = [{"nmae": "x"}]


def headers_limit(gateway) -> int:
    return gateway.manager()["max_request_headers_kb"]


def test_a_signed_request_passes_and_an_unsigned_one_does_not(gateway):
    assert post(gateway.port, "/webhook", [], BODY).status == 401
    assert gateway.deliver(b"x" * 1_000_000).status == 200
    assert gateway.filters().index("gate") == gateway.filters().index("webhook_guard") + 1
    assert check(gateway) == []


def test_a_faulty_guard_is_refused_alone(change, gateway, istiod):
    def edit(envoy_filter):
        break_guard(envoy_filter)
        (manager,) = [each for each in envoy_filter["spec"]["configPatches"] if each["applyTo"] == "NETWORK_FILTER"]
        manager["patch"]["value"]["typed_config"]["max_request_headers_kb"] = 17

    failed = gateway.stats(FAILED)[FAILED]
    change(edit)
    until(lambda: headers_limit(gateway) == 17, what="the other change of the listener")
    until(lambda: gateway.stats(FAILED)[FAILED] > failed, what="the rejection of the guard")
    assert gateway.stats(REJECTED)[REJECTED] == 0
    assert "ACK ERROR" in istiod.log()
    assert ["has rejected an update of the guard" in each for each in check(gateway)] == [True]
    until(lambda: gateway.signed_status() == 200, what="a verified request")
    assert post(gateway.port, "/webhook", [], BODY).status == 401


def test_an_allow_all_in_the_place_of_the_guard_is_rejected_by_the_gate(change, gateway):
    """istio-proxy puts this filter there if it cannot fetch a module with FAIL_OPEN."""

    def edit(envoy_filter):
        (patch,) = [each for each in envoy_filter["spec"]["configPatches"] if each["applyTo"] == "EXTENSION_CONFIG"]
        rbac = "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC"
        patch["patch"]["value"]["typed_config"] = {"@type": rbac}

    change(edit)
    until(lambda: gateway.signed_status() == 403, what="the answer 403")
    assert post(gateway.port, "/webhook", [], BODY).status == 403


def test_no_unverified_request_passes_while_the_first_guard_arrives(istiod, installed):
    """The clients start before Envoy does, and end after the first signed request has passed."""
    for _ in range(3):
        proxy = Proxy(istiod, "webhook-gateway", installed.port)
        seen, stop = set(), threading.Event()
        clients = [threading.Thread(target=send_unsigned, args=(installed.port, seen, stop)) for _ in range(4)]
        for each in clients:
            each.start()
        try:
            with proxy:
                until(lambda: proxy.signed_status() == 200, what="a verified request")
                until(lambda: 401 in seen, what="an answer to an unsigned request")
        finally:
            stop.set()
            for each in clients:
                each.join()
        assert seen <= {401, 403, 429, 500, 503}, seen


def send_unsigned(port: int, seen: set, stop: threading.Event) -> None:
    while not stop.is_set():
        try:
            seen.add(post(port, "/webhook", [], BODY).status)
        except (Closed, OSError):
            pass
        stop.wait(0.01)
