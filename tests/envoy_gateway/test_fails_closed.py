"""Parts of the installation are missing, disabled or replaced: an unverified request never reaches the application."""

from __future__ import annotations

import pytest

from harness.envoy_gateway import CORS, PATIENCE, patched
from harness.polling import until

ALLOW_ALL = {"authorization": {"defaultAction": "Allow"}}
MERGED = {"mergeType": "StrategicMerge"}


@pytest.fixture(scope="module")
def proxy(installation, start):
    installation.gateway()
    installation.guard()
    return start()


@pytest.fixture(autouse=True)
def restored(proxy, installation):
    """Each test begins and ends with the shipped manifests."""
    until(lambda: (proxy.status(), proxy.deliver()) == (401, 200), PATIENCE, "401 and 200")
    yield
    installation.gateway()
    installation.guard()


def without(*filter_names: str):
    """A change of guard.yaml: removes the patches that insert these filters."""

    def change(document: dict) -> None:
        patches = document["spec"]["jsonPatches"]
        for name in filter_names:
            value = patched(document, name)
            patches[:] = [each for each in patches if each["operation"].get("value") != value]

    return change


def programmed(installation) -> bool:
    return installation.condition("envoypatchpolicies", "webhook-guard", "Programmed")["status"] == "True"


def problem(installation) -> str:
    """Why the guard's patches are not in Envoy, or an empty string. The controller writes that after Envoy's configuration."""
    found = installation.condition("envoypatchpolicies", "webhook-guard", "Programmed")
    return found["message"] if found["status"] == "False" else ""


def acceptance(installation) -> tuple:
    accepted = installation.condition("envoypatchpolicies", "webhook-guard", "Accepted")
    return accepted["status"], accepted.get("reason")


def test_a_deleted_guard_closes_the_gateway(proxy, installation, unsigned):
    assert proxy.status("/healthz", method="GET") == 200
    installation.delete("envoypatchpolicies", "webhook-guard")
    until(lambda: proxy.deliver() == 403, PATIENCE, "a closed Gateway")
    assert proxy.status("/healthz", method="GET") == 403


def test_disabled_patches_close_the_gateway(proxy, controller, installation, unsigned):
    controller.restart(extensionApis={"enableEnvoyPatchPolicy": False})
    try:
        until(lambda: proxy.deliver() == 403, PATIENCE, "a closed Gateway")
        until(lambda: acceptance(installation) == ("False", "Disabled"), PATIENCE, "the condition")
    finally:
        controller.restart()


def test_a_deleted_lock_closes_the_gateway(proxy, installation, unsigned):
    """The guard's patch then finds no place for the guard, and the gate denies."""
    installation.delete("securitypolicies", "webhook-guard-lock")
    until(lambda: proxy.deliver() == 403, PATIENCE, "a closed Gateway")
    until(lambda: "envoy.filters.http.rbac" in problem(installation), PATIENCE, "the condition")


def test_without_the_gate_a_deleted_lock_would_let_everything_pass(proxy, installation):
    installation.guard(without("gate"))
    until(lambda: len(proxy.manager()["http_filters"]) == 8, PATIENCE, "a listener without gate")
    assert (proxy.status(), proxy.deliver()) == (401, 200)
    installation.delete("securitypolicies", "webhook-guard-lock")
    until(lambda: proxy.status() == 200, PATIENCE, "an unverified answer")


def test_without_the_lock_disabled_patches_would_let_everything_pass(proxy, controller, installation):
    installation.delete("securitypolicies", "webhook-guard-lock")
    until(lambda: proxy.deliver() == 403, PATIENCE, "a closed Gateway")
    controller.restart(extensionApis={"enableEnvoyPatchPolicy": False})
    try:
        until(lambda: proxy.status() == 200, PATIENCE, "an unverified answer")
    finally:
        controller.restart()


def test_a_guard_that_is_not_a_filter_closes_the_gateway(proxy, installation, unsigned):
    """Envoy Gateway skips a patch that it cannot read, and applies the others."""

    def mistake(document: dict) -> None:
        patched(document, "webhook_guard")["typed_config"]["config"]["allow_on_header_stop_iteration"] = True

    installation.guard(mistake)
    until(lambda: proxy.deliver() == 403, PATIENCE, "a closed Gateway")
    until(lambda: "allow_on_header_stop_iteration" in problem(installation), PATIENCE, "the condition")


@pytest.fixture
def merged(proxy, installation):
    """A SecurityPolicy of the route that keeps the lock."""
    installation.own_policy("SecurityPolicy", {**CORS, **MERGED})
    until(lambda: "envoy.filters.http.cors" in names(proxy), PATIENCE, "the policy in Envoy")
    yield
    installation.delete("securitypolicies", "own")


@pytest.fixture
def replaced(proxy, installation):
    """A SecurityPolicy of the route that replaces the lock, as it can exist only without the admission policy."""
    installation.allow_policies()
    installation.own_policy("SecurityPolicy", CORS)
    until(lambda: "envoy.filters.http.cors" in names(proxy), PATIENCE, "the policy in Envoy")
    yield
    installation.delete("securitypolicies", "own")


def names(proxy) -> list:
    return [each["name"] for each in proxy.manager()["http_filters"]]


def lock(**changes) -> dict:
    """The lock's specification with changes of its `authorization`, on the route."""
    accepted = "filter_state['wasm.webhook_guard_verdict'] in [b'accepted', b'monitored', b'passed']"
    rule = {"name": "verified", "action": "Allow", "cel": accepted}
    return {"authorization": {"defaultAction": "Deny", "rules": [rule], **changes}}


def test_the_api_server_refuses_policies_that_replace_the_lock(installation):
    until(lambda: installation.refusal("own", CORS), PATIENCE, "the admission policy")
    assert "set mergeType: StrategicMerge" in installation.refusal("own", CORS)
    assert "remove authorization" in installation.refusal("own", {**MERGED, **ALLOW_ALL})
    assert installation.refusal("own", {**CORS, **MERGED}) == ""


@pytest.mark.parametrize(
    "changes",
    [
        {"defaultAction": "Allow"},
        {"rules": [{"name": "verified", "action": "Allow", "cel": "true"}]},
        {"rules": [{"name": "verified", "action": "Allow", "principal": {"clientCIDRs": ["0.0.0.0/0"]}}]},
    ],
)
def test_the_api_server_refuses_a_lock_that_allows_more(installation, changes):
    until(lambda: installation.refusal("webhook-guard-lock", lock(**changes)), PATIENCE, "the admission policy")
    assert installation.refusal("webhook-guard-lock", lock()) == ""


def test_a_merged_policy_of_a_route_keeps_the_lock(proxy, installation, merged, unsigned):
    assert (proxy.status(), proxy.deliver()) == (401, 200)
    installation.guard(without("gate", "webhook_guard"))
    until(lambda: proxy.deliver() == 403, PATIENCE, "a closed Gateway")


def test_a_merged_policy_and_disabled_patches_close_the_gateway(proxy, controller, merged, unsigned):
    controller.restart(extensionApis={"enableEnvoyPatchPolicy": False})
    try:
        until(lambda: proxy.deliver() == 403, PATIENCE, "a closed Gateway")
        assert "gate" not in names(proxy)
    finally:
        controller.restart()


def test_a_merged_policy_closes_a_second_listener(proxy, installation, merged, unsigned):
    second = second_listener(proxy, installation)
    assert (second.status(), second.deliver()) == (403, 403)


def test_a_replaced_lock_closes_the_gateway(proxy, replaced, unsigned):
    """The guard's patch finds no place for the guard, and the gate denies."""
    until(lambda: proxy.deliver() == 403, PATIENCE, "a closed Gateway")


def test_with_a_replaced_lock_disabled_patches_would_let_everything_pass(proxy, controller, replaced):
    controller.restart(extensionApis={"enableEnvoyPatchPolicy": False})
    try:
        until(lambda: proxy.status() == 200, PATIENCE, "an unverified answer")
    finally:
        controller.restart()


def test_with_a_replaced_lock_a_second_listener_would_let_everything_pass(proxy, installation, replaced):
    second = second_listener(proxy, installation)
    until(lambda: second.status() == 200, PATIENCE, "an unverified answer")
    assert proxy.status() in (401, 403)


def test_other_names_of_listeners_close_the_gateway(proxy, controller, installation, unsigned):
    controller.restart(runtimeFlags={"enabled": ["XDSNameSchemeV2"]})
    try:
        until(lambda: proxy.deliver() == 403, PATIENCE, "a closed Gateway")
        until(lambda: not programmed(installation), PATIENCE, "the condition")
    finally:
        controller.restart()
        until(lambda: programmed(installation), PATIENCE, "the condition")
        proxy.restart()  # otherwise the listener with the other name drains for a minute


@pytest.mark.parametrize(
    "kind, spec",
    [
        ("EnvoyExtensionPolicy", {}),
        ("SecurityPolicy", {**CORS, **MERGED}),
        ("BackendTrafficPolicy", {"timeout": {"http": {"requestTimeout": "9s"}}}),
    ],
)
def test_a_policy_of_a_route_does_not_switch_the_guard_off(proxy, installation, unsigned, kind, spec):
    installation.own_policy(kind, spec)
    try:
        plural = kind.lower().replace("policy", "policies")
        until(lambda: installation.condition(plural, "own", "Accepted")["status"] == "True", PATIENCE, "the policy")
        proxy.settle(installation)
        assert (proxy.status(), proxy.deliver()) == (401, 200)
    finally:
        installation.delete(plural, "own")


def test_a_grpc_route_inserts_no_filter_behind_the_guard(proxy, installation, unsigned):
    """The filter grpc_web would decode a body that the guard has verified. So the listener refuses the route."""
    before = [each["name"] for each in proxy.manager()["http_filters"]]
    at = "/apis/gateway.networking.k8s.io/v1/namespaces/webhooks/grpcroutes/calls"
    installation.cluster.apply([{
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "GRPCRoute",
        "metadata": {"name": "calls", "namespace": "webhooks"},
        "spec": {"parentRefs": [{"name": "webhooks"}], "hostnames": ["calls.example.com"],
                 "rules": [{"backendRefs": [{"name": "app", "port": 8080}]}]},
    }])
    try:
        until(lambda: accepted_route(installation.cluster.get(at)) == "False", PATIENCE, "the refusal of the route")
        proxy.settle(installation)
        assert [each["name"] for each in proxy.manager()["http_filters"]] == before
        assert (proxy.status(), proxy.deliver()) == (401, 200)
    finally:
        installation.cluster.delete(at)


def accepted_route(found: dict) -> str | None:
    conditions = [each for parent in found.get("status", {}).get("parents", []) for each in parent["conditions"]]
    return next((each["status"] for each in conditions if each["type"] == "Accepted"), None)


def test_a_second_listener_without_patches_is_closed(proxy, installation, unsigned):
    second = second_listener(proxy, installation)
    assert (second.status(), second.deliver()) == (403, 403)


def second_listener(proxy, installation):
    def add(document: dict) -> None:
        if document["kind"] == "Gateway":
            document["spec"]["listeners"].append({
                "name": "second", "protocol": "HTTP", "port": 8085, "allowedRoutes": {"namespaces": {"from": "Same"}},
            })

    installation.gateway(add)
    second = proxy.at(8085)
    until(lambda: second.status() is not None, PATIENCE, "a second listener")
    return second
