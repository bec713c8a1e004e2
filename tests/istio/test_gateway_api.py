"""gateway.yaml with gateway-api.patch, and gateway-api-example.yaml: a gateway of the Kubernetes Gateway API.

The test creates the Deployment, from the ConfigMap, and the Service in place of Istio's controller.
"""

from __future__ import annotations

import pytest
import yaml

from harness.client import post
from harness.istio import NAMESPACE, Installation, Proxy, check
from harness.upstream import Upstream

BODY = b'{"order": 42}'
DEPLOYMENT = "webhooks-istio"
HOST = "orders.shop.example"
NAME = "gateway.networking.k8s.io/gateway-name"
# A gateway of this API listens on every address.
ON_LOOPBACK = {
    "applyTo": "LISTENER",
    "match": {"context": "GATEWAY"},
    "patch": {"operation": "MERGE", "value": {"address": {"socket_address": {"address": "127.0.0.1"}}}},
}


@pytest.fixture(scope="module")
def upstream():
    with Upstream() as server:
        yield server


@pytest.fixture(scope="module")
def gateway(istiod, upstream, tmp_path_factory):
    folder = tmp_path_factory.mktemp("mounts")
    installed = Installation(istiod, folder, "gateway.yaml", "gateway-api-example.yaml", patches=["gateway-api"])
    for each in installed.applied:
        if each["kind"] == "EnvoyFilter":
            each["spec"]["configPatches"].append(ON_LOOPBACK)
        if each["kind"] == "Gateway":
            each["spec"]["listeners"][0]["port"] = installed.port
        if each["kind"] == "HTTPRoute":
            (backend,) = each["spec"]["rules"][0]["backendRefs"]
            backend.update(group="networking.istio.io", kind="Hostname", name=HOST)
    parameters = next(each["data"] for each in installed.applied if "deployment" in each.get("data", {}))
    installed.applied += [
        deployment(yaml.safe_load(parameters["deployment"])),
        service(installed.port),
        application(upstream.port),
    ]
    with installed, Proxy(istiod, DEPLOYMENT, installed.port) as running:
        yield running


def deployment(overlay: dict) -> dict:
    """The Deployment with the labels that Istio's controller sets."""
    labels = {NAME: "webhooks"}
    (container,) = overlay["spec"]["template"]["spec"]["containers"]
    container["image"] = "registry.example.com/proxy:1"
    overlay["spec"]["selector"] = {"matchLabels": labels}
    overlay["spec"]["template"]["metadata"] = {"labels": labels}
    metadata = {"name": DEPLOYMENT, "namespace": NAMESPACE}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, **overlay}


def service(port: int) -> dict:
    """The Service that Istio's controller creates."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": DEPLOYMENT, "namespace": NAMESPACE, "labels": {NAME: "webhooks"}},
        "spec": {"selector": {NAME: "webhooks"}, "ports": [{"name": "http", "port": port}]},
    }


def application(port: int) -> dict:
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "ServiceEntry",
        "metadata": {"name": "orders", "namespace": NAMESPACE},
        "spec": {
            "hosts": [HOST],
            "ports": [{"number": 80, "name": "http", "protocol": "HTTP"}],
            "resolution": "STATIC",
            "endpoints": [{"address": "127.0.0.1", "ports": {"http": port}}],
        },
    }


def test_the_application_gets_signed_requests_only(gateway, upstream):
    with upstream.nothing():
        assert post(gateway.port, "/webhook", [], BODY).status == 401
        assert gateway.deliver(secret="another secret").status == 401
    before, body = len(upstream.requests), bytes(range(250)) * 4000
    assert gateway.deliver(body).status == 200
    assert upstream.next(before).body == body


def test_check_py_has_no_finding(gateway):
    assert check(gateway) == []
