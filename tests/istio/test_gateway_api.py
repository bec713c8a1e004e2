"""gateway.yaml with gateway-api.patch, and gateway-api-example.yaml: a gateway of the Kubernetes Gateway API."""

from __future__ import annotations

import pytest
import yaml

from harness.client import post
from harness.istio import FOLDER, NAMESPACE, Injecting, Installation, Proxy, application, check
from harness.kubernetes import ApiError, documents
from harness.polling import until

BODY = b'{"order": 42}'
NAME = "webhooks-istio"
DEPLOYMENT = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments/{NAME}"
SERVICE = f"/api/v1/namespaces/{NAMESPACE}/services/{NAME}"
HOST = "orders.shop.example"
# A gateway of this API listens on every address.
ON_LOOPBACK = {
    "applyTo": "LISTENER",
    "match": {"context": "GATEWAY"},
    "patch": {"operation": "MERGE", "value": {"address": {"socket_address": {"address": "127.0.0.1"}}}},
}


@pytest.fixture(scope="module")
def gateway(istiod, upstream, tmp_path_factory):
    """The gateway whose Deployment and Service Istio's controller has created."""
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
    installed.applied.append(application(HOST, upstream.port))
    with Injecting(istiod.cluster) as injecting, installed:
        until(lambda: created(istiod.cluster), what="the Deployment and the Service of the gateway")
        with Proxy(injecting, NAME, installed.port) as running:
            yield running
    for path in (DEPLOYMENT, SERVICE):
        istiod.cluster.delete(path)


def created(cluster) -> bool:
    try:
        return bool(cluster.get(DEPLOYMENT) and cluster.get(SERVICE))
    except ApiError:
        return False


def test_the_application_gets_signed_requests_only(gateway, upstream):
    with upstream.nothing():
        assert post(gateway.port, "/webhook", [], BODY).status == 401
        assert gateway.deliver(secret="another secret").status == 401
    before, body = len(upstream.requests), bytes(range(250)) * 4000
    assert gateway.deliver(body).status == 200
    assert upstream.next(before).body == body


def test_check_py_has_no_finding(gateway):
    assert check(gateway) == []


def test_istio_keeps_the_end_of_the_pod_in_the_deployment(gateway):
    name = "gateway-api-example.yaml"
    (settings,) = [each["data"]["deployment"] for each in documents(FOLDER / name) if each["kind"] == "ConfigMap"]
    wanted = yaml.safe_load(settings)["spec"]["template"]["spec"]
    spec = gateway.template["spec"]
    assert spec["terminationGracePeriodSeconds"] == wanted["terminationGracePeriodSeconds"]
    assert gateway.container["lifecycle"] == wanted["containers"][0]["lifecycle"]
    assert all(each in gateway.container["env"] for each in wanted["containers"][0]["env"])
