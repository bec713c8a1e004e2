"""Parts of the installation are missing, disabled or replaced: an unverified request never reaches the application."""

from __future__ import annotations

import contextlib
import itertools
import threading

import pytest

from harness.envoy_gateway import NAMESPACE, PATIENCE, ROUTES, patched
from harness.polling import until

ROUTE = {"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "name": "app"}
ALLOW_ALL = {"authorization": {"defaultAction": "Allow"}}


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


class Unsigned:
    """Sends unsigned requests all the time, from many addresses because of the shield."""

    def __init__(self, proxy) -> None:
        self._proxy = proxy
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._send)
        self.statuses: set = set()

    def __enter__(self) -> "Unsigned":
        self._thread.start()
        return self

    def __exit__(self, *_) -> None:
        self._stopped.set()
        self._thread.join()

    def _send(self) -> None:
        for number in itertools.count():
            if self._stopped.wait(0.02):
                return
            with contextlib.suppress(ConnectionError):
                source = f"127.0.{1 + number // 200 % 200}.{1 + number % 200}"
                self.statuses.add(self._proxy.post(body=b"unsigned", source=source).status)


@pytest.fixture
def unsigned(proxy, restored, upstream):
    """Sends unsigned requests during the whole test. None may reach the application."""
    before = len(upstream.requests)
    with Unsigned(proxy) as unsigned:
        yield unsigned
    assert unsigned.statuses <= {401, 403}
    assert all(each.body != b"unsigned" for each in upstream.requests[before:])


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


def own_policy(installation, kind: str, spec: dict) -> None:
    """Gives the route a policy of its own, which replaces the Gateway's."""
    installation.cluster.apply([{
        "apiVersion": "gateway.envoyproxy.io/v1alpha1", "kind": kind,
        "metadata": {"name": "own", "namespace": NAMESPACE},
        "spec": {"targetRefs": [ROUTE], **spec},
    }])


def test_a_deleted_guard_closes_the_gateway(proxy, installation, unsigned):
    assert proxy.status("/healthz", method="GET") == 200
    installation.delete("envoypatchpolicies", "webhook-guard")
    until(lambda: proxy.deliver() == 403, PATIENCE, "a closed Gateway")
    assert proxy.status("/healthz", method="GET") == 403


def test_disabled_patches_close_the_gateway(proxy, controller, installation, unsigned):
    controller.restart(extensionApis={"enableEnvoyPatchPolicy": False})
    try:
        until(lambda: proxy.deliver() == 403, PATIENCE, "a closed Gateway")
        accepted = installation.condition("envoypatchpolicies", "webhook-guard", "Accepted")
        assert (accepted["status"], accepted["reason"]) == ("False", "Disabled")
    finally:
        controller.restart()


def test_a_deleted_lock_closes_the_gateway(proxy, installation, unsigned):
    """The guard's patch then finds no place for the guard, and the gate denies."""
    installation.delete("securitypolicies", "webhook-guard-lock")
    until(lambda: proxy.deliver() == 403, PATIENCE, "a closed Gateway")
    programmed = installation.condition("envoypatchpolicies", "webhook-guard", "Programmed")
    assert programmed["status"] == "False" and "envoy.filters.http.rbac" in programmed["message"]


def test_without_the_gate_a_deleted_lock_would_let_everything_pass(proxy, installation):
    installation.guard(without("gate"))
    until(lambda: len(proxy.manager()["http_filters"]) == 7, PATIENCE, "a listener without gate")
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
    programmed = installation.condition("envoypatchpolicies", "webhook-guard", "Programmed")
    assert programmed["status"] == "False" and "allow_on_header_stop_iteration" in programmed["message"]


def test_a_route_without_the_lock_is_closed(proxy, installation, unsigned):
    """A SecurityPolicy of the route replaces the lock. Without any lock, the patch finds no place for the guard."""
    own_policy(installation, "SecurityPolicy", {"cors": {"allowOrigins": ["https://example.com"]}})
    try:
        until(lambda: proxy.deliver() == 403, PATIENCE, "a closed Gateway")
    finally:
        installation.delete("securitypolicies", "own")


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
        ("SecurityPolicy", ALLOW_ALL),
        ("BackendTrafficPolicy", {"timeout": {"http": {"requestTimeout": "9s"}}}),
    ],
)
def test_a_policy_of_a_route_does_not_switch_the_guard_off(proxy, installation, unsigned, kind, spec):
    own_policy(installation, kind, spec)
    try:
        plural = kind.lower().replace("policy", "policies")
        until(lambda: installation.condition(plural, "own", "Accepted")["status"] == "True", PATIENCE, "the policy")
        installation.cluster.apply([probe_route()])
        until(lambda: proxy.status("/probe") == 404 and b"probe" in routes(proxy), PATIENCE, "the next update")
        assert (proxy.status(), proxy.deliver()) == (401, 200)
    finally:
        installation.delete(plural, "own")
        installation.cluster.delete(f"{ROUTES}/probe")


def probe_route() -> dict:
    """A route that shows in Envoy when the controller has processed everything before it."""
    return {
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
        "metadata": {"name": "probe", "namespace": NAMESPACE},
        "spec": {
            "parentRefs": [{"name": NAMESPACE}],
            "rules": [{"matches": [{"path": {"type": "Exact", "value": "/probe"}}],
                       "backendRefs": [{"name": "app", "port": 8080}]}],
        },
    }


def routes(proxy) -> bytes:
    return str(proxy.routes()).encode()


def test_a_second_listener_without_patches_is_closed(proxy, installation, unsigned):
    def add(document: dict) -> None:
        if document["kind"] == "Gateway":
            document["spec"]["listeners"].append({
                "name": "second", "protocol": "HTTP", "port": 8085, "allowedRoutes": {"namespaces": {"from": "Same"}},
            })

    installation.gateway(add)
    second = proxy.at(8085)
    until(lambda: second.status() is not None, PATIENCE, "a second listener")
    assert (second.status(), second.deliver()) == (403, 403)
