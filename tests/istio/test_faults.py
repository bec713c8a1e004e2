"""Faults of an update, of the module or of neighbours: no unverified request passes, and check.py reports each."""

from __future__ import annotations

import pytest

from harness.client import post
from harness.istio import NAMESPACE, check, guard_of, patch_of
from harness.polling import until

BODY = b'{"order": 42}'
GUARD = "webhook_guard"


@pytest.fixture
def change(istiod, example, gateway):
    """Changes the shipped EnvoyFilter, until the end of the test: `change(edit)`."""

    def change(edit) -> None:
        changed = example.object("EnvoyFilter")
        edit(changed)
        istiod.apply([changed])

    yield change
    istiod.apply([example.object("EnvoyFilter")])
    until(lambda: gateway.signed_status() == 200 and not check(gateway), what="the shipped filters to serve again")


def unsigned(gateway) -> int:
    return post(gateway.port, "/webhook", [], BODY).status


def test_the_shipped_filters_have_no_finding(gateway):
    assert check(gateway) == []


def test_a_faulty_update_keeps_the_old_filters(change, gateway, istiod):
    def edit(envoy_filter):
        guard_of(envoy_filter)["configuration"]["value"]["endpoints"] = [{"nmae": "x"}]

    change(edit)
    rejected = "listener_manager.lds.update_rejected"
    until(lambda: gateway.stats(rejected)[rejected], what="the rejection of the update")
    assert "ACK ERROR" in istiod.log()
    assert (gateway.signed_status(), unsigned(gateway)) == (200, 401)
    (finding,) = check(gateway)
    assert "rejected its last update, and runs the one before" in finding


def test_a_good_update_serves(change, gateway):
    def edit(envoy_filter):
        guard_of(envoy_filter)["configuration"]["value"]["endpoints"][0]["match"] = {"path": "/moved"}

    change(edit)
    until(lambda: gateway.signed_status() == 404, what="the new path")
    assert post(gateway.port, "/moved", [], BODY).status == 401


def test_an_istiod_that_does_not_know_the_flag_serves_503(change, gateway):
    """Such an istiod drops the field with a warning, as this one does with another name."""

    def edit(envoy_filter):
        config = guard_of(envoy_filter)
        config["an_unknown_field"] = config.pop("allow_on_headers_stop_iteration")
        config["vm_config"]["vm_id"] = "installed_without_the_flag"

    change(edit)
    until(lambda: gateway.signed_status() == 503, what="the answer 503")
    assert unsigned(gateway) == 401
    assert ["use Istio 1.28 or later" in each for each in check(gateway)] == [True]


def test_an_istiod_that_does_not_know_a_type_skips_the_guard_and_the_gate_rejects(change, gateway):
    def edit(envoy_filter):
        patch_of(envoy_filter, GUARD)["typed_config"]["@type"] = "type.googleapis.com/envoy.of.a.later.Version"

    change(edit)
    until(lambda: gateway.signed_status() == 403, what="the answer 403")
    assert unsigned(gateway) == 403
    assert ["The guard is absent" in each for each in check(gateway)] == [True]


def test_an_allow_all_in_the_place_of_the_guard_is_rejected_by_the_gate(change, gateway):
    """Istio's agent writes this filter if it cannot fetch a module with FAIL_OPEN."""
    rbac = "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC"

    def edit(envoy_filter):
        patch_of(envoy_filter, GUARD)["typed_config"] = {"@type": rbac}

    change(edit)
    until(lambda: gateway.signed_status() == 403, what="the answer 403")
    assert unsigned(gateway) == 403
    assert ["has the place of the guard" in each for each in check(gateway)] == [True]


def test_a_later_filter_between_gate_and_router_is_a_finding(istiod, gateway, change):
    istiod.apply([later(1000)])
    try:
        (finding,) = until(lambda: check(gateway), what="a finding")
        assert "neighbour follow the gate" in finding
    finally:
        istiod.cluster.delete(istiod.cluster.path(later(1000)))
    until(lambda: not check(gateway), what="the neighbour's removal")


def test_filters_of_other_resources_precede_the_guard(istiod, gateway, change):
    """They have the priority 0 unless they set another."""
    istiod.apply([later(0)])
    try:
        until(lambda: "neighbour" in gateway.filters(), what="the neighbour")
        names = gateway.filters()
        assert names.index("neighbour") < names.index(GUARD)
        assert check(gateway) == []
    finally:
        istiod.cluster.delete(istiod.cluster.path(later(0)))


def later(priority: int) -> dict:
    """An EnvoyFilter of another team, with the same anchor."""
    lua = {"@type": "type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua"}
    manager = {"name": "envoy.filters.network.http_connection_manager", "subFilter": {"name": "envoy.filters.http.router"}}
    match = {"context": "GATEWAY", "listener": {"filterChain": {"filter": manager}}}
    value = {"name": "neighbour", "typed_config": lua}
    patch = {"applyTo": "HTTP_FILTER", "match": match, "patch": {"operation": "INSERT_BEFORE", "value": value}}
    return {
        "apiVersion": "networking.istio.io/v1alpha3",
        "kind": "EnvoyFilter",
        "metadata": {"name": "neighbour", "namespace": NAMESPACE},
        "spec": {"priority": priority, "configPatches": [patch]},
    }


def test_a_route_that_disables_the_guard_is_rejected_and_a_finding(istiod, gateway, change):
    off = {"@type": "type.googleapis.com/envoy.config.route.v3.FilterConfig", "disabled": True}
    patch = {"operation": "MERGE", "value": {"typed_per_filter_config": {GUARD: off}}}

    def edit(envoy_filter):
        envoy_filter["spec"]["configPatches"].append({"applyTo": "HTTP_ROUTE", "match": {"context": "GATEWAY"}, "patch": patch})

    change(edit)
    until(lambda: gateway.signed_status() == 403, what="the answer 403")
    assert any("settings of its own for the webhook_guard" in each for each in check(gateway))
