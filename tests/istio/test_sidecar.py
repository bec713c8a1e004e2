"""sidecar.yaml and sidecar-example.yaml. The sidecar takes requests at a port of its own, without iptables."""

from __future__ import annotations

import copy

import pytest

from harness.client import post
from harness.edge import EDGE
from harness.envoy import Document
from harness.istio import NAMESPACE, Installation, Proxy, check, guard_of, listeners, managers
from harness.polling import until

PLAIN = {
    "apiVersion": "security.istio.io/v1",
    "kind": "PeerAuthentication",
    "metadata": {"name": "plain", "namespace": NAMESPACE},
    "spec": {"mtls": {"mode": "DISABLE"}},
}


@pytest.fixture(scope="module")
def sidecar(istiod, upstream, tmp_path_factory):
    """The sidecar of sidecar-example.yaml, in front of the upstream."""
    folder = tmp_path_factory.mktemp("mounts")
    installed = Installation(istiod, folder, "sidecar.yaml", "sidecar-example.yaml")
    for each in installed.applied:
        if each["kind"] == "Sidecar":
            each["spec"]["ingress"] = [ingress(installed.port, upstream.port)]
    installed.applied.append(PLAIN)
    with installed, Proxy(istiod, "orders", installed.port, kind="sidecar") as running:
        running.applied = installed.applied
        yield running


def ingress(port: int, destination: int) -> dict:
    """A port that the sidecar binds itself."""
    return {
        "port": {"number": port, "protocol": "HTTP", "name": "http-webhooks"},
        "bind": "127.0.0.1",
        "captureMode": "NONE",
        "defaultEndpoint": f"127.0.0.1:{destination}",
    }


@pytest.fixture
def policy(sidecar):
    (found,) = [each for each in sidecar.applied if each["kind"] == "AuthorizationPolicy"]
    return found


@pytest.mark.parametrize(
    "status, request_of",
    [
        (401, lambda sidecar: post(sidecar.port, "/webhook", [], b"{}")),
        (401, lambda sidecar: sidecar.deliver(secret="another secret")),
        (413, lambda sidecar: sidecar.deliver(b"x" * 2_000_000)),
        (404, lambda sidecar: post(sidecar.port, "/other", [], b"{}")),
        (405, lambda sidecar: sidecar.deliver(method="GET")),
    ],
    ids=["unsigned", "forged", "too large", "another path", "another method"],
)
def test_the_sidecar_rejects(sidecar, upstream, status, request_of):
    with upstream.nothing():
        assert request_of(sidecar).status == status


def test_the_application_gets_a_signed_body_of_1_mb(sidecar, upstream):
    before, body = len(upstream.requests), bytes(range(250)) * 4000
    assert sidecar.deliver(body).status == 200
    assert upstream.next(before).body == body


def test_no_answer_names_the_service(sidecar):
    for answer in (post(sidecar.port, "/webhook", [], b"{}"), sidecar.deliver()):
        assert answer.all("x-envoy-decorator-operation") == []


def test_check_py_has_no_finding_until_the_authorization_policy_is_gone(sidecar, policy):
    assert check(sidecar) == []
    sidecar.cluster.delete(sidecar.cluster.path(policy))
    until(lambda: any("not HTTP reaches the application" in each for each in check(sidecar)), what="a finding")
    sidecar.istiod.apply([policy])
    until(lambda: check(sidecar) == [], what="the end of the finding")


def test_only_inbound_connection_managers_have_the_guard_and_all_of_them(sidecar):
    """Requests of the application itself have no signature."""
    shipped = [each["name"] for each in Document(EDGE.read_text()).filters]
    found = {"INBOUND": [], "OUTBOUND": []}
    for listener in listeners(sidecar.dump()):
        for each in managers(listener):
            found[listener["traffic_direction"]].append([each["name"] for each in each["http_filters"]])
    assert found["INBOUND"] and all(each[-len(shipped) :] == shipped for each in found["INBOUND"])
    assert found["OUTBOUND"] and not any("webhook_guard" in each for each in found["OUTBOUND"])


def test_check_py_reports_that_a_new_pod_with_a_faulty_guard_has_no_listener(sidecar):
    (shipped,) = [each for each in sidecar.applied if each["kind"] == "EnvoyFilter"]
    faulty = copy.deepcopy(shipped)
    guard_of(faulty)["configuration"]["value"]["endpoints"] = [{"nmae": "x"}]
    sidecar.istiod.apply([faulty])
    proxy = Proxy(sidecar.istiod, "orders", sidecar.port, kind="sidecar")
    try:
        proxy.spawn()
        found = until(lambda: proxy.answers() and check(proxy), what="a finding")
        assert all("has no other, so the port is closed" in each for each in found), found
    finally:
        proxy.stop()
        sidecar.istiod.apply([shipped])
    until(lambda: check(sidecar) == [], what="the end of the rejection")


def test_check_py_reports_a_route_that_disables_guard_and_gate(sidecar):
    off = {"@type": "type.googleapis.com/envoy.config.route.v3.FilterConfig", "disabled": True}
    value = {"typed_per_filter_config": {"webhook_guard": off, "gate": off}}
    patch = {"applyTo": "VIRTUAL_HOST", "match": {"context": "SIDECAR_INBOUND"}, "patch": {"operation": "MERGE", "value": value}}
    other = {
        "apiVersion": "networking.istio.io/v1alpha3", "kind": "EnvoyFilter",
        "metadata": {"name": "of-another-team", "namespace": NAMESPACE}, "spec": {"configPatches": [patch]},
    }
    sidecar.istiod.apply([other])
    try:
        found = until(lambda: check(sidecar), what="the findings")
        assert {"webhook_guard" if "webhook_guard" in each else "gate" for each in found} == {"webhook_guard", "gate"}
        assert all("A route has settings of its own" in each for each in found), found
    finally:
        sidecar.cluster.delete(sidecar.cluster.path(other))
    until(lambda: check(sidecar) == [], what="the end of the findings")
