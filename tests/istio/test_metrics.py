"""The metrics of the shipped manifests on Istio, as a real Prometheus finds and reads them.

pilot-agent writes the bootstrap, and istiod sends the listener and the clusters. tests/monitoring runs an incident with
the same bootstrap.
"""

from __future__ import annotations

import contextlib
import json
import re

import pytest
import yaml
from test_sidecar import PLAIN, ingress

from harness import version
from harness.envoy import MODULE
from harness.istio import FOLDER, NAMESPACE, Installation, Proxy, application
from harness.istio_bootstrap import CLUSTER, capture, config_yaml
from harness.polling import until
from harness.ports import free_ports
from harness.prometheus import RULES, Prometheus

OVERRIDE = yaml.safe_load((FOLDER / "bootstrap-override.yaml").read_text())
ANNOTATION = "sidecar.istio.io/bootstrapOverride"
EXPRESSIONS = " ".join(re.sub(r'"[^"]*"', "", rule["expr"]) for rule in RULES)
LABELS = {"envoy_cluster_name", "envoy_response_code_class"}
# Envoy's metrics in the alerts, without those of features that the gateway does not use.
METRICS = set(re.findall(r"\benvoy_\w+", EXPRESSIONS)) - LABELS
METRICS -= {
    "envoy_cluster_ratelimit_limit_error",
    "envoy_extension_config_discovery_http_filter_webhook_guard_config_fail",
    "envoy_extension_config_discovery_http_filter_webhook_guard_update_success",
}


class Scraped(Proxy):
    """A proxy with the bootstrap of istio-proxy, whose port 15090 Prometheus finds by the pod's address."""

    def __init__(self, istiod, deployment: str, port: int, override: dict | None, **how) -> None:
        self._override = override
        super().__init__(istiod, deployment, port, **how)

    def pod(self) -> dict:
        """The pod at the API server, with the annotations of the template and the override's."""
        found = self.cluster.get(f"/api/v1/namespaces/{NAMESPACE}/pods/{self.name}")
        annotations = {**self.template["metadata"].get("annotations", {}), ANNOTATION: OVERRIDE["metadata"]["name"]}
        return {**found, "metadata": {**found["metadata"], "annotations": annotations}}

    def _bootstrap(self, kind: str) -> dict:
        own = super()._bootstrap(kind)
        found = capture(kind, self._override)
        added = config_yaml(found["arguments"])
        self.arguments = ("--allow-unknown-static-fields", *(("--config-yaml", json.dumps(added)) if added else ()))
        bootstrap, (admin, health) = found["bootstrap"], free_ports(2)
        for listener in bootstrap["static_resources"]["listeners"]:
            address = listener["address"]["socket_address"]
            address["address"] = self.address
            if address["port_value"] != 15090:
                address["port_value"] = health
        clusters = bootstrap["static_resources"]["clusters"]
        (stats,) = [each for each in clusters if each["name"] == "prometheus_stats"]
        (endpoint,) = stats["load_assignment"]["endpoints"][0]["lb_endpoints"]
        endpoint["endpoint"]["address"]["socket_address"]["port_value"] = admin
        own["admin"]["address"]["socket_address"]["port_value"] = admin
        clusters[:] = [each for each in clusters if each["name"] != "xds-grpc"]
        clusters += own["static_resources"]["clusters"]
        bootstrap["dynamic_resources"]["ads_config"] = own["dynamic_resources"]["ads_config"]
        return {**bootstrap, "node": own["node"], "admin": own["admin"]}


@pytest.fixture(scope="module")
def mesh(istiod, upstream, tmp_path_factory):
    """The shipped gateway with the override, and an application behind it."""
    installed = Installation(istiod, tmp_path_factory.mktemp("mounts"), "gateway.yaml", "gateway-example.yaml")
    for each in installed.applied:
        if each["kind"] == "VirtualService":
            each["spec"]["http"] = [{"route": [{"destination": {"host": "app.example", "port": {"number": 80}}}]}]
    installed.applied += [OVERRIDE, application("app.example", upstream.port)]
    with installed:
        yield installed


@pytest.fixture(scope="module")
def gateway(istiod, mesh):
    with Scraped(istiod, "webhook-gateway", mesh.port, OVERRIDE) as running:
        assert running.deliver().status == 200
        yield running


@pytest.fixture(scope="module")
def prometheus(gateway):
    """A Prometheus that knows the gateway's pod, and one without the override."""
    pod = gateway.pod()
    other = {**pod, "metadata": {**pod["metadata"], "name": "other", "annotations": {}}}
    with Prometheus("prometheus-istio.yaml", pods=[pod, other]) as running:
        yield running


def series(prometheus, selector: str) -> list:
    return [each["metric"] for each in prometheus.query(selector)]


# First, because the objects of the gateway have the same names.
def test_of_a_sidecar_only_what_the_guard_sees_is_counted(istiod, upstream, tmp_path):
    """A sidecar also forwards the application's own requests, here to an address that the mesh does not know."""
    installed = Installation(istiod, tmp_path, "sidecar.yaml", "sidecar-example.yaml")
    for each in installed.applied:
        if each["kind"] == "Sidecar":
            each["spec"]["ingress"] = [ingress(installed.port, upstream.port)]
    installed.applied.append(PLAIN)
    with installed, Scraped(istiod, "orders", installed.port, OVERRIDE, kind="sidecar") as sidecar:
        assert sidecar.deliver().status == 200
        with Prometheus("prometheus-istio.yaml", pods=[sidecar.pod()]) as prometheus:
            wanted = "envoy_cluster_upstream_rq_total > 0"
            until(lambda: series(prometheus, wanted), what=wanted)
            found = series(prometheus, "envoy_cluster_upstream_rq_total")
    ours = [each for each in found if re.search("bound", each.get("envoy_cluster_name", ""))]
    assert {each["envoy_cluster_name"] for each in ours} == {f"inbound|{installed.port}||"}
    assert {each["proxy"] for each in ours} == {"sidecar"}


def test_prometheus_scrapes_only_pods_with_the_override(gateway, prometheus):
    until(lambda: series(prometheus, "up == 1"), what="a scrape")
    assert series(prometheus, "up") == [
        {"__name__": "up", "job": "webhook-guard", "instance": gateway.name, "proxy": "gateway"}
    ]


@pytest.mark.parametrize("name", sorted(METRICS))
def test_each_metric_of_envoy_in_the_alerts_has_its_name(name, gateway, prometheus):
    until(lambda: series(prometheus, name), what=name)


def test_the_labels_are_those_of_the_guard_and_of_envoy(gateway, prometheus):
    commit, own = version.labels(MODULE.read_bytes())
    for selector in (
        f'webhook_guard_build_info{{commit="{commit}",version="{own}"}} == 1',
        'webhook_guard_requests_total{endpoint="orders",verdict="accepted",reason="accepted"} > 0',
        'webhook_guard_verify_microseconds_bucket{endpoint="orders",le="25000"}',
        f'envoy_cluster_upstream_rq_total{{envoy_cluster_name="{CLUSTER.rstrip(";")}"}} > 0',
        'envoy_cluster_external_upstream_rq_xx{envoy_response_code_class="2"} > 0',
        'envoy_http_downstream_rq_xx{envoy_http_conn_manager_prefix=~"outbound_.+",envoy_response_code_class="2"} > 0',
    ):
        until(lambda: series(prometheus, selector), what=selector)


def test_a_request_that_only_the_gate_stops_is_counted_as_such(istiod, gateway, prometheus, upstream):
    """An EnvoyFilter disables the guard, and then the gate too."""
    closed = "sum(envoy_http_rbac_denied)"
    before = float(until(lambda: prometheus.query(closed), what=closed)[0]["value"][1])
    alerts = {"WebhookGateClosed"}
    with disabled(istiod, "webhook_guard"):
        until(lambda: gateway.deliver().status == 403, what="the gate's answer")
        until(lambda: gateway.deliver() and alerts <= prometheus.firing(), what=f"{alerts} to fire")
    assert float(prometheus.query(closed)[0]["value"][1]) > before
    until(lambda: gateway.deliver(secret="wrong").status == 401, what="the guard's answer")


def test_a_request_that_bypasses_guard_and_gate_fires_its_alert(istiod, gateway, prometheus):
    alerts = {"WebhookGuardBypassed"}
    with disabled(istiod, "webhook_guard", "gate"):
        until(lambda: gateway.deliver(secret="wrong").status == 200, what="the bypass")
        until(lambda: gateway.deliver() and alerts <= prometheus.firing(), what=f"{alerts} to fire")
    until(lambda: gateway.deliver(secret="wrong").status == 401, what="the guard's answer")


@contextlib.contextmanager
def disabled(istiod, *names: str):
    """An EnvoyFilter that disables filters for every route, as an operator could by mistake."""
    off = {"@type": "type.googleapis.com/envoy.config.route.v3.FilterConfig", "disabled": True}
    patch = {"operation": "MERGE", "value": {"typed_per_filter_config": {name: off for name in names}}}
    added = {
        "apiVersion": "networking.istio.io/v1alpha3",
        "kind": "EnvoyFilter",
        "metadata": {"name": "off", "namespace": NAMESPACE},
        "spec": {"configPatches": [{"applyTo": "VIRTUAL_HOST", "match": {"context": "GATEWAY"}, "patch": patch}]},
    }
    istiod.cluster.apply([added])
    try:
        yield
    finally:
        istiod.cluster.delete(istiod.cluster.path(added))


def test_without_the_override_the_labels_stay_in_the_names(istiod, mesh):
    with Scraped(istiod, "webhook-gateway", mesh.port, None) as proxy:
        assert proxy.deliver().status == 200
        text = proxy.prometheus()
    assert "\nwebhook_guard_requests_total{" not in text
    assert "webhook_guard_requests_total_endpoint_orders_verdict_accepted_reason_accepted" in text
    assert "outbound|" not in text.replace("outbound|80||webhook-gateway", "")
