"""A first installation that Envoy rejects: on a new gateway, and on one that already serves without the guard."""

from __future__ import annotations

import contextlib
import socket

import pytest

from harness.client import post
from harness.istio import Installation, Proxy, check, guard_of
from harness.polling import until

BODY = b'{"order": 42}'
ECDS_FAILED = "extension_config_discovery.http_filter.webhook_guard.config_fail"
REJECTED = "listener_manager.lds.update_rejected"


def faulty_configuration(plugin: dict) -> None:
    plugin["configuration"]["value"]["endpoints"] = [{"nmae": "x"}]


def absent_module(plugin: dict) -> None:
    plugin["vm_config"]["code"]["local"]["filename"] += ".absent"


@pytest.fixture(params=[faulty_configuration, absent_module], ids=lambda each: each.__name__)
def fault(request):
    return request.param


@pytest.fixture
def install(istiod, tmp_path):
    """Applies gateway-example.yaml and gateway.yaml, with or without ecds.patch, whose guard has a fault."""
    with contextlib.ExitStack() as stack:

        def install(fault, *patches: str) -> Installation:
            found = Installation(istiod, tmp_path, "gateway.yaml", "gateway-example.yaml", patches=patches)
            for each in found.applied:
                if each["kind"] == "EnvoyFilter":
                    fault(guard_of(each))
            return stack.enter_context(found)

        yield install


def statuses(proxy: Proxy) -> set:
    return {proxy.deliver(BODY).status, post(proxy.port, "/webhook", [], BODY).status}


def test_a_new_gateway_opens_no_listener(install, istiod, fault):
    """The pod does not become ready, so a rollout stops, and the pods before it go on."""
    installed = install(fault)
    proxy = Proxy(istiod, "webhook-gateway", installed.port)
    try:
        proxy.spawn()
        until(lambda: proxy.answers() and proxy.stats(REJECTED).get(REJECTED), what="the rejection")
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", installed.port)).close()
        (finding,) = check(proxy)
        assert "has no other, so the port is closed" in finding
    finally:
        proxy.stop()


def test_a_new_gateway_with_ecds_answers_500(install, istiod, fault):
    """The pod becomes ready, so a rollout would replace the pods that serve. A probe of /healthz would prevent that."""
    installed = install(fault, "ecds")
    with Proxy(istiod, "webhook-gateway", installed.port) as proxy:
        until(lambda: proxy.stats(ECDS_FAILED)[ECDS_FAILED], what="the rejection")
        assert statuses(proxy) == {500}
        assert post(proxy.port, "/healthz", method="GET").status == 500
        assert ["has accepted no configuration of the guard" in each for each in check(proxy)] == [True]


@pytest.fixture
def unguarded(istiod, install):
    """A gateway without the EnvoyFilter: `unguarded(...)` returns it and a function that applies the filter."""
    with contextlib.ExitStack() as stack:

        def unguarded(*arguments):
            installed = install(*arguments)
            envoy_filter = installed.object("EnvoyFilter")
            istiod.cluster.delete(istiod.cluster.path(envoy_filter))
            istiod.apply([installed.object("Telemetry")])
            proxy = stack.enter_context(Proxy(istiod, "webhook-gateway", installed.port))
            assert "gate" not in proxy.filters()
            assert statuses(proxy) == {200}
            istiod.apply([envoy_filter])
            return proxy

        yield unguarded


def test_a_gateway_that_serves_without_the_guard_goes_on_and_check_py_reports_it(unguarded, fault):
    proxy = unguarded(fault)
    until(lambda: proxy.stats(REJECTED)[REJECTED], what="the rejection")
    assert statuses(proxy) == {200}
    assert any("The gate is absent" in each for each in check(proxy))


def test_a_gateway_that_serves_without_the_guard_answers_500_with_ecds(unguarded, fault):
    proxy = unguarded(fault, "ecds")
    until(lambda: statuses(proxy) == {500}, what="the answer 500")
    assert ["has accepted no configuration of the guard" in each for each in check(proxy)] == [True]
